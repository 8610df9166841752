import warnings

from benchopt import BaseSolver

from sparseopt.linear_model import WeightedLasso


class Solver(BaseSolver):
    """Greedy blocks instead of cyclic coordinates."""

    name = "sparseopt-bcd"
    sampling_strategy = "tolerance"

    def set_objective(self, X, y, alpha):
        self.X, self.y = X, y
        self.model = WeightedLasso(alpha, fit_intercept=False, solver="bcd")

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        self.model.set_params(tol=min(tolerance, 1.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": self.model.coef_}
