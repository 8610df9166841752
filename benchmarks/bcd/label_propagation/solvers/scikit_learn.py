import warnings

from benchopt import BaseSolver
from sklearn.semi_supervised import LabelPropagation


class Solver(BaseSolver):
    """Fixed-point iteration. The graph is passed as a kernel function, which ignores the data."""

    name = "scikit-learn"
    sampling_strategy = "tolerance"
    requirements = ["pip::scikit-learn"]

    def set_objective(self, graph, y):
        self.X, self.y = graph, y
        self.model = LabelPropagation(kernel=lambda X, Y=None: graph.copy(), max_iter=10_000)

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        self.model.set_params(tol=min(tolerance, 1.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(self.X, self.y)

    def get_result(self):
        return {"distributions": self.model.label_distributions_}
