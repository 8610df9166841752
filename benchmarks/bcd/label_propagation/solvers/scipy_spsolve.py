import numpy as np
from benchopt import BaseSolver
from scipy import sparse
from scipy.sparse.linalg import spsolve


class Solver(BaseSolver):
    """The textbook formula: a sparse LU factorization of the Laplacian."""

    name = "scipy-spsolve"
    sampling_strategy = "run_once"
    requirements = ["pip::scipy"]

    def set_objective(self, graph, y):
        self.graph, self.y = graph, y

    def run(self, _):
        free = self.y < 0
        self.F = (self.y[:, None] == np.unique(self.y[~free])).astype(float)
        laplacian = (sparse.diags_array(self.graph.sum(axis=1)) - self.graph).tocsr()
        b = self.graph[free] @ self.F
        self.F[free] = spsolve(laplacian[free][:, free].tocsc(), b)

    def get_result(self):
        return {"distributions": self.F}
