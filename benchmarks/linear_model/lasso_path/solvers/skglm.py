import warnings

from benchopt import BaseSolver
from skglm import Lasso


class Solver(BaseSolver):
    name = "skglm"
    sampling_strategy = "tolerance"
    requirements = ["pip::skglm"]

    def set_objective(self, X, y, alphas):
        self.X, self.y, self.alphas = X, y, alphas
        self.model = Lasso(fit_intercept=False, max_iter=1000)

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        self.model.set_params(tol=min(tolerance, 1.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.coefs = self.model.path(self.X, self.y, alphas=self.alphas)[1]

    def get_result(self):
        return {"coefs": self.coefs}
