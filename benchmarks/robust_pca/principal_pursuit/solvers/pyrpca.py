from benchopt import BaseSolver

from benchmarks.robust_pca.rivals import by_pyrpca


class Solver(BaseSolver):
    """The inexact augmented Lagrangian method with full decompositions."""

    name = "pyrpca"
    sampling_strategy = "tolerance"
    requirements = ["pip::pyrpca"]

    def set_objective(self, X, lam):
        self.X, self.lam = X, lam

    def run(self, tolerance):
        self.low_rank, _ = by_pyrpca(self.X, self.lam, tol=tolerance)

    def get_result(self):
        return {"low_rank": self.low_rank}
