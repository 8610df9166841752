"""Orthogonal matching pursuit: a least-squares fit on greedily chosen columns.

Pursuits are compared at equal work, the number of atoms; the accuracy says whether the
residual is orthogonal to the chosen columns.
"""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "Orthogonal matching pursuit"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "run_once"
    parameters = {"n_atoms": [100]}

    def set_data(self, X, y, coef):
        self.X, self.y, self.true_coef = X, y, coef

    def get_objective(self):
        return {"X": self.X, "y": self.y, "n_atoms": self.n_atoms}

    def evaluate_result(self, coef):
        coef = coef.reshape(self.true_coef.shape)
        chosen = coef != 0
        residual = self.y - self.X @ coef
        correlation = np.abs(self.X.T @ residual)[chosen].max()
        true = self.true_coef != 0
        return {
            "value": np.linalg.norm(residual) / np.linalg.norm(self.y),
            "accuracy": correlation / np.linalg.norm(self.y),
            "n_atoms": chosen.sum(axis=0).max(),
            "true_atoms_found": (chosen & true).sum() / true.sum(),
        }

    def get_one_result(self):
        return {"coef": self.true_coef}
