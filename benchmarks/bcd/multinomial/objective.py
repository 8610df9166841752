"""minimise mean multinomial loss + alpha ||B||_1, with its relative KKT residual.

B (n_features, n_classes) has one column a class; the intercepts are free.
"""

import numpy as np
from benchopt import BaseObjective
from scipy.special import log_softmax, softmax


class Objective(BaseObjective):
    name = "L1 multinomial logistic regression"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "tolerance"
    # alpha as a share of the smallest strength whose solution is zero.
    parameters = {"fraction": [0.1, 0.01]}

    def set_data(self, X, y):
        self.X, self.y = X, y
        self.indicator = np.eye(y.max() + 1)[y]
        at_best_constants = self.indicator.mean(axis=0) - self.indicator
        self.largest = np.abs(X.T @ at_best_constants).max() / len(y)
        self.alpha = self.fraction * self.largest

    def get_objective(self):
        return {"X": self.X, "y": self.y, "alpha": self.alpha}

    def evaluate_result(self, coef, intercept):
        decision = self.X @ coef + intercept
        loss = -log_softmax(decision, axis=1)[np.arange(len(self.y)), self.y].mean()
        residual = (softmax(decision, axis=1) - self.indicator) / len(self.y)
        gradient = self.X.T @ residual
        outside = np.maximum(np.abs(gradient) - self.alpha, 0)
        distance = np.where(coef != 0, np.abs(gradient + self.alpha * np.sign(coef)), outside)
        worst = max(distance.max(), np.abs(residual.sum(axis=0)).max())
        return {
            "value": loss + self.alpha * np.abs(coef).sum(),
            "accuracy": worst / self.largest,
            "n_nonzero": np.count_nonzero(coef),
        }

    def get_one_result(self):
        shape = self.X.shape[1], self.indicator.shape[1]
        return {"coef": np.zeros(shape), "intercept": np.zeros(shape[1])}
