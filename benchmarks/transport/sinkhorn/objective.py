"""minimise <P, C> + reg KL(P | a b') with marginals a and b; the accuracy is the marginal error."""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "entropic optimal transport"
    url = "https://github.com/sparseopt/sparseopt"
    min_benchopt_version = "1.7"
    sampling_strategy = "run_once"
    # Range of the costs over reg, and the marginal error that all solvers are asked for.
    parameters = {"sharpness": [1000.0], "tol": [1e-8]}

    def set_data(self, C, a, b):
        self.C, self.a, self.b = C, a, b
        self.reg = np.ptp(C) / self.sharpness

    def get_objective(self):
        return {"C": self.C, "a": self.a, "b": self.b, "reg": self.reg, "tol": self.tol}

    def evaluate_result(self, plan):
        plan = np.asarray(plan)
        error = np.abs(plan.sum(axis=1) - self.a).sum() + np.abs(plan.sum(axis=0) - self.b).sum()
        return {
            "value": float(np.sum(plan * self.C)),
            "accuracy": float(np.nan_to_num(error, nan=2.0)),
        }

    def get_one_result(self):
        return {"plan": np.outer(self.a, self.b)}
