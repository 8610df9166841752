from benchopt import BaseSolver

from sparseopt.causal import SortRegress


class Solver(BaseSolver):
    """The baseline: sort by variances, and regress."""

    name = "sorted variances"
    sampling_strategy = "run_once"

    def set_objective(self, X, variance):
        self.X = X

    def run(self, _):
        self.model = SortRegress().fit(self.X)

    def get_result(self):
        return {"weights": self.model.adjacency_}
