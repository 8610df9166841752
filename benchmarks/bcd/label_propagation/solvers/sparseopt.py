import warnings

from benchopt import BaseSolver

from sparseopt.semi_supervised import GraphLabelPropagation


class Solver(BaseSolver):
    """Conjugate gradients or a factorization, by size."""

    name = "sparseopt"
    sampling_strategy = "tolerance"

    def set_objective(self, graph, y):
        self.graph, self.y = graph, y
        self.model = GraphLabelPropagation("precomputed")

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        self.model.set_params(tol=min(tolerance, 1.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(self.graph, self.y)

    def get_result(self):
        return {"distributions": self.model.label_distributions_}
