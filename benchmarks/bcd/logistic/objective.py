"""minimise mean log(1 + exp(-y X b)) + alpha ||b||_1, with its relative KKT residual."""

import numpy as np
from benchopt import BaseObjective
from scipy.special import expit


class Objective(BaseObjective):
    name = "L1 logistic regression"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "tolerance"
    # alpha as a share of the smallest strength whose solution is zero.
    parameters = {"fraction": [0.1, 0.01]}

    def set_data(self, X, y):
        self.X, self.y = X, y
        self.largest = np.abs(X.T @ y).max() / (2 * len(y))
        self.alpha = self.fraction * self.largest

    def get_objective(self):
        return {"X": self.X, "y": self.y, "alpha": self.alpha}

    def evaluate_result(self, coef):
        margins = self.y * (self.X @ coef)
        gradient = -self.X.T @ (self.y * expit(-margins)) / len(self.y)
        outside = np.maximum(np.abs(gradient) - self.alpha, 0)
        distance = np.where(coef != 0, np.abs(gradient + self.alpha * np.sign(coef)), outside)
        return {
            "value": np.logaddexp(0, -margins).mean() + self.alpha * np.abs(coef).sum(),
            "accuracy": distance.max() / self.largest,
            "n_nonzero": np.count_nonzero(coef),
        }

    def get_one_result(self):
        return {"coef": np.zeros(self.X.shape[1])}
