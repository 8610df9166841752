from benchopt import BaseSolver

from benchmarks.robust_pca.rivals import by_tensorly


class Solver(BaseSolver):
    """Robust tensor PCA of a matrix: one decomposition for each of both unfoldings."""

    name = "tensorly"
    sampling_strategy = "tolerance"
    requirements = ["pip::tensorly"]
    parameters = {"tuned": [True]}

    def set_objective(self, X, lam):
        self.X, self.lam = X, lam

    def run(self, tolerance):
        self.low_rank, _ = by_tensorly(self.X, self.lam, tol=tolerance, tuned=self.tuned)

    def get_result(self):
        return {"low_rank": self.low_rank}
