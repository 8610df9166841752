import numpy as np
from benchopt import BaseSolver
from scipy import sparse
from scipy.sparse.linalg import cg


class Solver(BaseSolver):
    """Conjugate gradients, one class after the other, with the diagonal as preconditioner."""

    name = "scipy-cg"
    sampling_strategy = "tolerance"
    requirements = ["pip::scipy"]

    def set_objective(self, graph, y):
        self.graph, self.y = graph, y

    def warm_up(self):
        self.run_once()

    def run(self, tolerance):
        free = self.y < 0
        self.F = (self.y[:, None] == np.unique(self.y[~free])).astype(float)
        degree = self.graph.sum(axis=1)
        laplacian = (sparse.diags_array(degree) - self.graph).tocsr()[free][:, free]
        jacobi = sparse.diags_array(1 / degree[free])
        b = self.graph[free] @ self.F
        for column in range(b.shape[1]):
            self.F[free, column], _ = cg(
                laplacian, b[:, column], rtol=min(tolerance, 1.0), M=jacobi, maxiter=100_000
            )

    def get_result(self):
        return {"distributions": self.F}
