"""Find the DAG of a linear model; the accuracy is the Hamming distance a true edge."""

import numpy as np
from benchopt import BaseObjective

from sparseopt.causal import dag_metrics, threshold_to_dag


class Objective(BaseObjective):
    name = "linear DAG"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "run_once"

    def set_data(self, X, adjacency, variance):
        self.X, self.adjacency, self.variance = X, adjacency, variance

    def get_objective(self):
        return {"X": self.X, "variance": self.variance}

    def evaluate_result(self, weights):
        metrics = dag_metrics(self.adjacency, threshold_to_dag(weights))
        return {
            "value": metrics.shd,
            "shd_cpdag": metrics.shd_cpdag,
            "sid": metrics.sid,
            "tpr": metrics.tpr,
            "fdr": metrics.fdr,
            "accuracy": metrics.shd / max(metrics.nnz_true, 1),
        }

    def get_one_result(self):
        return {"weights": np.zeros_like(self.adjacency)}
