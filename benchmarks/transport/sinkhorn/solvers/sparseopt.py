import warnings

from benchopt import BaseSolver

from sparseopt.transport import sinkhorn


class Solver(BaseSolver):
    name = "sparseopt"
    sampling_strategy = "run_once"

    def set_objective(self, **problem):
        self.problem = problem

    def run(self, _):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.plan = sinkhorn(**self.problem).plan()  # which POT returns too

    def get_result(self):
        return {"plan": self.plan}
