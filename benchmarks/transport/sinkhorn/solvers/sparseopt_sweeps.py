import warnings

from benchopt import BaseSolver

from sparseopt.transport import sinkhorn


class Solver(BaseSolver):
    """Sinkhorn's method alone, by scaling a stored plan."""

    name = "own sweeps"
    sampling_strategy = "run_once"

    def set_objective(self, **problem):
        self.problem = problem

    def run(self, _):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = sinkhorn(**self.problem, solver="sinkhorn", max_iter=200_000)
            self.plan = result.plan()

    def get_result(self):
        return {"plan": self.plan}
