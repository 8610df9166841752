from benchopt import BaseSolver
from sklearn.linear_model import QuantileRegressor


class Solver(BaseSolver):
    name = "scikit-learn"
    sampling_strategy = "run_once"
    requirements = ["pip::scikit-learn"]

    def set_objective(self, X, y, alpha):
        self.X, self.y = X, y
        # The pinball loss of the median is half the absolute value.
        self.model = QuantileRegressor(
            quantile=0.5, alpha=0.5 * alpha, fit_intercept=False, solver="highs"
        )

    def run(self, _):
        self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": self.model.coef_}
