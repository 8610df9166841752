import warnings

from benchopt import BaseSolver
from skglm import GeneralizedLinearEstimator
from skglm.experimental.pdcd_ws import PDCD_WS
from skglm.experimental.quantile_regression import Pinball
from skglm.penalties import L1


class Solver(BaseSolver):
    name = "skglm"
    sampling_strategy = "tolerance"
    requirements = ["pip::skglm"]

    def set_objective(self, X, y, alpha):
        self.X, self.y, self.alpha = X, y, alpha

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        # Its loss is the sum of half absolute values.
        penalty = L1(0.5 * len(self.y) * self.alpha)
        solver = PDCD_WS(tol=min(tolerance, 1.0), fit_intercept=False, max_iter=50)
        self.model = GeneralizedLinearEstimator(Pinball(0.5), penalty, solver)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": self.model.coef_}
