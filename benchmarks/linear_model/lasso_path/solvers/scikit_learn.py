import warnings

from benchopt import BaseSolver
from sklearn.linear_model import lasso_path


class Solver(BaseSolver):
    name = "scikit-learn"
    sampling_strategy = "tolerance"
    requirements = ["pip::scikit-learn"]

    def set_objective(self, X, y, alphas):
        self.X, self.y, self.alphas = X, y, alphas

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, self.coefs, _ = lasso_path(
                self.X, self.y, alphas=self.alphas, tol=min(tolerance, 1.0), max_iter=100_000
            )

    def get_result(self):
        return {"coefs": self.coefs}
