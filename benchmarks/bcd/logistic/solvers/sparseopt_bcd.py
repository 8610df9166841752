import warnings

from benchopt import BaseSolver

from sparseopt.optimize import L1, LogisticLoss, block_coordinate_descent


class Solver(BaseSolver):
    """Greedy blocks instead of prox-Newton steps by cyclic coordinates."""

    name = "sparseopt-bcd"
    sampling_strategy = "tolerance"

    def set_objective(self, X, y, alpha):
        self.X, self.y, self.penalty = X, y, L1(alpha)

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.result = block_coordinate_descent(
                self.X, self.y, self.penalty, loss=LogisticLoss(), tol=min(tolerance, 1.0)
            )

    def get_result(self):
        return {"coef": self.result.x}
