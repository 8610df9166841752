import warnings

import ot
from benchopt import BaseSolver

WORK = 5e9  # entries of the plan times iterations, after which it is stopped


class Solver(BaseSolver):
    """``ot.sinkhorn`` with its default method, which scales the kernel exp(-C / reg)."""

    name = "POT"
    sampling_strategy = "run_once"
    requirements = ["pip::pot"]

    def set_objective(self, C, a, b, reg, tol):
        self.arguments = (a, b, C, reg)
        # Its rule is the 2-norm of the error of one marginal.
        self.options = {"stopThr": tol / len(b) ** 0.5, "numItermax": int(WORK / C.size)}

    def run(self, _):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.plan = ot.sinkhorn(*self.arguments, **self.options)

    def get_result(self):
        return {"plan": self.plan}
