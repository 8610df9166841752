from benchopt import BaseSolver

from benchmarks.causal.published import learn_dag


class Solver(BaseSolver):
    """The published algorithm in NumPy."""

    name = "published"
    sampling_strategy = "run_once"

    def set_objective(self, X, variance):
        self.X, self.variance = X, variance

    def run(self, _):
        self.weights, _ = learn_dag(self.X, self.variance)

    def get_result(self):
        return {"weights": self.weights}
