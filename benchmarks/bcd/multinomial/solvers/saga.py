import warnings

from benchopt import BaseSolver
from sklearn.linear_model import LogisticRegression


class Solver(BaseSolver):
    name = "saga"
    sampling_strategy = "tolerance"
    requirements = ["pip::scikit-learn"]

    def set_objective(self, X, y, alpha):
        self.X, self.y = X.tocsr(), y
        self.model = LogisticRegression(
            C=1 / (alpha * len(y)), l1_ratio=1, solver="saga", max_iter=1000, random_state=0
        )

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        self.model.set_params(tol=min(tolerance, 1.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": self.model.coef_.T, "intercept": self.model.intercept_}
