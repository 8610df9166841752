import warnings

from benchopt import BaseSolver
from sklearn.base import clone

from sparseopt.causal import CoLiDE


class Solver(BaseSolver):
    name = "sparseopt"
    sampling_strategy = "run_once"
    parameters = {"solver, n_init, refine": [["adam", 1, None], ["prox", 2, None]]}

    def set_objective(self, X, variance):
        self.X = X
        self.model = CoLiDE(variance, solver=self.solver, n_init=self.n_init, refine=self.refine)

    def warm_up(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clone(self.model).set_params(warm_iter=2, max_iter=2).fit(self.X)  # compiles

    def run(self, _):
        self.model.fit(self.X)

    def get_result(self):
        return {"weights": self.model.adjacency_}
