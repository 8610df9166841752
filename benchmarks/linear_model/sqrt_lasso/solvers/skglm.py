import numpy as np
from benchopt import BaseSolver
from skglm.experimental.sqrt_lasso import SqrtLasso


class Solver(BaseSolver):
    name = "skglm"
    sampling_strategy = "tolerance"
    requirements = ["pip::skglm"]

    def set_objective(self, X, y, alpha):
        self.X, self.y = X, y
        # Its loss is the norm of the residual, not divided by sqrt(n).
        self.alpha = alpha * np.sqrt(len(y))

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        # A fitted model keeps the tolerance of its first fit.
        self.model = SqrtLasso(self.alpha, tol=min(tolerance, 1.0), fit_intercept=False)
        self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": np.ravel(self.model.coef_)}
