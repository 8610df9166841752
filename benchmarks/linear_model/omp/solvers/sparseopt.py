from benchopt import BaseSolver

from sparseopt.linear_model import WeightedOMP


class Solver(BaseSolver):
    name = "sparseopt"
    sampling_strategy = "run_once"

    def set_objective(self, X, y, n_atoms):
        self.X, self.y = X, y
        self.model = WeightedOMP("omp", n_nonzero_coefs=n_atoms, fit_intercept=False)

    def warm_up(self):
        self.run_once()

    def run(self, _):
        self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": self.model.coef_.T}
