from benchopt import BaseSolver

from sparseopt.linear_model import weighted_lasso_path


class Solver(BaseSolver):
    name = "sparseopt"
    sampling_strategy = "tolerance"

    def set_objective(self, X, y, alphas):
        self.X, self.y, self.alphas = X, y, alphas

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        tolerance = min(tolerance, 1.0)
        path = weighted_lasso_path(self.X, self.y, alphas=self.alphas, tol=tolerance)
        self.coefs = path.coefs

    def get_result(self):
        return {"coefs": self.coefs}
