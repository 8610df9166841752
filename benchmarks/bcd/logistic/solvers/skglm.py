import warnings

import numpy as np
from benchopt import BaseSolver
from skglm import SparseLogisticRegression


class Solver(BaseSolver):
    name = "skglm"
    sampling_strategy = "tolerance"
    requirements = ["pip::skglm"]

    def set_objective(self, X, y, alpha):
        self.X, self.y = X, y
        # Its tolerance bounds the KKT residual itself.
        self.unit = np.abs(X.T @ y).max() / (2 * len(y))
        self.model = SparseLogisticRegression(alpha, fit_intercept=False, max_iter=1000)

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        self.model.set_params(tol=min(tolerance, 1.0) * self.unit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": self.model.coef_.ravel()}
