import numpy as np
import regot as library
from benchopt import BaseSolver


class Solver(BaseSolver):
    """Sparse plus low-rank quasi-Newton, or safe sparse Newton."""

    name = "regot"
    sampling_strategy = "run_once"
    parameters = {"method": ["splr", "ssns"]}
    requirements = ["pip::regot"]

    def set_objective(self, C, a, b, reg, tol):
        # Its rule is a 2-norm.
        self.arguments = (np.asfortranarray(C), a, b, reg)
        self.options = {"tol": tol / (2 * len(b)) ** 0.5, "max_iter": 500}

    def run(self, _):
        function = getattr(library, f"sinkhorn_{self.method}")
        self.result = function(*self.arguments, **self.options)

    def get_result(self):
        return {"plan": self.result.plan}
