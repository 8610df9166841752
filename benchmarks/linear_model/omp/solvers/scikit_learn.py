from benchopt import BaseSolver
from sklearn.linear_model import OrthogonalMatchingPursuit


class Solver(BaseSolver):
    name = "scikit-learn"
    sampling_strategy = "run_once"
    requirements = ["pip::scikit-learn"]
    # "auto" means a Gram matrix of all atoms, which does not pay for few targets.
    parameters = {"precompute": [False]}

    def set_objective(self, X, y, n_atoms):
        self.X, self.y = X, y
        self.model = OrthogonalMatchingPursuit(
            n_nonzero_coefs=n_atoms, fit_intercept=False, precompute=self.precompute
        )

    def run(self, _):
        self.model.fit(self.X, self.y)

    def get_result(self):
        return {"coef": self.model.coef_.T}
