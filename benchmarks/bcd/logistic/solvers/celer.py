import warnings

from benchopt import BaseSolver
from celer import LogisticRegression


class Solver(BaseSolver):
    name = "celer"
    sampling_strategy = "tolerance"
    requirements = ["pip::celer"]

    def set_objective(self, X, y, alpha):
        self.X, self.y = X, y
        self.model = LogisticRegression(C=1 / (alpha * len(y)), fit_intercept=False, max_iter=1000)

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        self.model.set_params(tol=min(tolerance, 1.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": self.model.coef_.ravel()}
