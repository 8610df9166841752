"""The LASSO for a decreasing geometric grid of strengths, with its largest relative gap."""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "Lasso path"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "tolerance"
    # Smallest over largest strength of the grid.
    parameters = {"fraction": [0.02], "n_alphas": [50]}

    def set_data(self, X, y):
        self.X, self.y = X, y
        alpha_max = np.abs(X.T @ y).max() / len(y)
        self.alphas = np.geomspace(alpha_max, self.fraction * alpha_max, self.n_alphas)

    def get_objective(self):
        return {"X": self.X, "y": self.y, "alphas": self.alphas}

    def evaluate_result(self, coefs):
        lams = len(self.y) * self.alphas
        residuals = self.y[:, None] - self.X @ coefs
        primals = 0.5 * (residuals**2).sum(axis=0) + lams * np.abs(coefs).sum(axis=0)
        dual_points = residuals / np.maximum(1.0, np.abs(self.X.T @ residuals).max(axis=0) / lams)
        at_zero = 0.5 * self.y @ self.y
        gaps = primals - at_zero + 0.5 * ((self.y[:, None] - dual_points) ** 2).sum(axis=0)
        return {"value": primals.sum() / len(self.y), "accuracy": gaps.max() / at_zero}

    def get_one_result(self):
        return {"coefs": np.zeros((self.X.shape[1], len(self.alphas)))}
