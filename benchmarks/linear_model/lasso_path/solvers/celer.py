import warnings

from benchopt import BaseSolver
from celer import celer_path


class Solver(BaseSolver):
    name = "celer"
    sampling_strategy = "tolerance"
    requirements = ["pip::celer"]

    def set_objective(self, X, y, alphas):
        self.X, self.y, self.alphas = X, y, alphas

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, self.coefs, _ = celer_path(
                self.X, self.y, "lasso", alphas=self.alphas, tol=min(tolerance, 1.0), max_iter=1000
            )

    def get_result(self):
        return {"coefs": self.coefs}
