import dagma.linear  # noqa: F401  (benchopt reads from this whether it is installed)
from benchopt import BaseSolver

from benchmarks.causal.rivals import learn_by_dagma


class Solver(BaseSolver):
    name = "dagma"
    sampling_strategy = "run_once"
    requirements = ["pip::dagma"]

    def set_objective(self, X, variance):
        self.X = X

    def run(self, _):
        self.weights = learn_by_dagma(self.X)

    def get_result(self):
        return {"weights": self.weights}
