"""minimise ||y - X b||^2 / (2 n) + alpha ||b||_1, with its relative duality gap or KKT residual."""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "Lasso"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "tolerance"
    # alpha as a share of the smallest strength whose solution is zero.
    # The accuracy that counts: "gap" or "kkt".
    parameters = {"fraction": [0.1, 0.02], "measure": ["gap"]}

    def set_data(self, X, y):
        self.X, self.y = X, y
        self.largest = np.abs(X.T @ y).max() / len(y)
        self.alpha = self.fraction * self.largest

    def get_objective(self):
        return {"X": self.X, "y": self.y, "alpha": self.alpha}

    def evaluate_result(self, coef):
        lam = len(self.y) * self.alpha
        residual = self.y - self.X @ coef
        primal = 0.5 * residual @ residual + lam * np.abs(coef).sum()
        dual_point = residual / max(1.0, np.abs(self.X.T @ residual).max() / lam)
        shifted = self.y - dual_point
        at_zero = 0.5 * self.y @ self.y
        gap = (primal - at_zero + 0.5 * shifted @ shifted) / at_zero
        gradient = -self.X.T @ residual / len(self.y)
        outside = np.maximum(np.abs(gradient) - self.alpha, 0)
        distance = np.where(coef != 0, np.abs(gradient + self.alpha * np.sign(coef)), outside)
        kkt = distance.max() / self.largest
        return {
            "value": primal / len(self.y),
            "accuracy": {"gap": gap, "kkt": kkt}[self.measure],
            "gap": gap,
            "kkt": kkt,
            "n_nonzero": np.count_nonzero(coef),
        }

    def get_one_result(self):
        return {"coef": np.zeros(self.X.shape[1])}
