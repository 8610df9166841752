"""minimise ||y - X b||_1 / n + alpha ||b||_1, with a relative duality gap.

A solution is a vertex: as many zero residuals as coefficients. The dual point that belongs to
it is sign(r) off those rows, and solves a square system on them.
"""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "LAD-LASSO"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "run_once"
    # alpha as a share of the smallest strength whose solution is zero.
    parameters = {"fraction": [0.3, 0.1]}

    def set_data(self, X, y):
        self.X, self.y = X, y
        self.alpha = self.fraction * np.abs(X.T @ np.sign(y)).max() / len(y)

    def get_objective(self):
        return {"X": self.X, "y": self.y, "alpha": self.alpha}

    def evaluate_result(self, coef):
        lam = len(self.y) * self.alpha
        residual = self.y - self.X @ coef
        primal = np.abs(residual).sum() + lam * np.abs(coef).sum()
        dual_point = self._dual_point(coef, residual, lam)
        violation = max(np.abs(dual_point).max(), np.abs(self.X.T @ dual_point).max() / lam)
        dual = dual_point @ self.y / max(1.0, violation)
        return {
            "value": primal / len(self.y),
            "accuracy": (primal - dual) / np.abs(self.y).sum(),
            "n_nonzero": np.count_nonzero(coef),
        }

    def _dual_point(self, coef, residual, lam):
        support = np.abs(coef) > 1e-9 * np.abs(coef).max(initial=0.0)
        interpolated = np.argsort(np.abs(residual))[: np.count_nonzero(support)]
        dual_point = np.sign(residual)
        dual_point[interpolated] = 0.0
        wanted = lam * np.sign(coef[support]) - self.X[:, support].T @ dual_point
        system = self.X[np.ix_(interpolated, support)].T
        dual_point[interpolated] = np.linalg.lstsq(system, wanted, rcond=None)[0]
        return dual_point

    def get_one_result(self):
        return {"coef": np.zeros(self.X.shape[1])}
