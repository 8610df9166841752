"""minimise sum_ij W_ij ||F_i - F_j||^2 with given rows F_l, with the relative residual.

The optimality condition is a linear system with one right-hand side a class; the accuracy is
the largest relative residual among them.
"""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "Label propagation"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "tolerance"

    def set_data(self, graph, y):
        self.graph, self.y = graph, y

    def get_objective(self):
        return {"graph": self.graph, "y": self.y}

    def evaluate_result(self, distributions):
        free = self.y < 0
        given = np.zeros_like(distributions)
        given[~free] = distributions[~free]
        rows = self.graph[free]
        degree = rows.sum(axis=1)[:, None]
        residual = rows @ distributions - degree * distributions[free]
        scale = np.linalg.norm(rows @ given, axis=0)
        energy = np.sum(distributions * (self.graph.sum(axis=1)[:, None] * distributions))
        return {
            "value": 0.5 * (energy - np.sum(distributions * (self.graph @ distributions))),
            "accuracy": np.max(np.linalg.norm(residual, axis=0) / scale),
        }

    def get_one_result(self):
        classes = np.unique(self.y[self.y >= 0])
        return {"distributions": (self.y[:, None] == classes).astype(float)}
