"""minimise |L|_* + lam |X - L|_1; the accuracy is the relative distance to the true L."""

import numpy as np
from benchopt import BaseObjective

from benchmarks.robust_pca.certificates import objective


class Objective(BaseObjective):
    name = "principal component pursuit"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "tolerance"

    def set_data(self, X, low_rank):
        self.X, self.low_rank = X, low_rank
        self.lam = 1 / np.sqrt(max(X.shape))

    def get_objective(self):
        return {"X": self.X, "lam": self.lam}

    def evaluate_result(self, low_rank):
        error = np.linalg.norm(low_rank - self.low_rank) / np.linalg.norm(self.low_rank)
        return {"value": objective(self.X, low_rank, self.lam), "accuracy": float(error)}

    def get_one_result(self):
        return {"low_rank": np.zeros_like(self.X)}
