"""minimise ||y - X b||_2 / sqrt(n) + alpha ||b||_1, with a relative duality gap."""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "Square-root LASSO"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "tolerance"
    # alpha as a share of the smallest strength whose solution is zero.
    parameters = {"fraction": [0.3, 0.2, 0.1]}

    def set_data(self, X, y):
        self.X, self.y = X, y
        correlation = np.abs(X.T @ y).max() / np.linalg.norm(y)
        self.alpha = self.fraction * correlation / np.sqrt(len(y))

    def get_objective(self):
        return {"X": self.X, "y": self.y, "alpha": self.alpha}

    def evaluate_result(self, coef):
        lam = np.sqrt(len(self.y)) * self.alpha
        residual = self.y - self.X @ coef
        residual_norm, size = np.linalg.norm(residual), np.linalg.norm(self.y)
        primal = residual_norm + lam * np.abs(coef).sum()
        candidates = [residual, self._support_dual_point(coef, lam)]
        dual = max(self._dual_value(point, lam) for point in candidates)
        return {
            "value": primal / np.sqrt(len(self.y)),
            "accuracy": (primal - dual) / size,
            "relative_residual": residual_norm / size,
            "n_nonzero": np.count_nonzero(coef),
        }

    def _dual_value(self, point, lam):
        violation = max(np.linalg.norm(point), np.abs(self.X.T @ point).max() / lam)
        return point @ self.y / violation if violation > 0 else 0.0

    def _support_dual_point(self, coef, lam):
        """Dual point of an interpolating solution, whose residual tells nothing."""
        support = np.abs(coef) > 1e-9 * np.abs(coef).max(initial=0.0)
        return np.linalg.lstsq(self.X[:, support].T, lam * np.sign(coef[support]), rcond=None)[0]

    def get_one_result(self):
        return {"coef": np.zeros(self.X.shape[1])}
