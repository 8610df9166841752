import warnings

from benchopt import BaseSolver

from sparseopt.decomposition import robust_pca


class Solver(BaseSolver):
    """The default: inexact augmented Lagrangian steps, then a certificate."""

    name = "sparseopt"
    sampling_strategy = "tolerance"
    parameters = {"solver": ["auto"]}

    def set_objective(self, X, lam):
        self.X, self.lam = X, lam

    def run(self, tolerance):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = robust_pca(self.X, lam=self.lam, tol=tolerance, solver=self.solver)
        self.low_rank = result.low_rank

    def get_result(self):
        return {"low_rank": self.low_rank}
