r"""Sinkhorn's method: rows and columns of the plan are made exact in turn.

References: Cuturi (2013), Sinkhorn Distances, NeurIPS 26; Schmitzer (2019), Stabilized sparse
scaling algorithms for entropy regularized transport problems, SIAM J. Sci. Comput. 41(3).
On the semi-dual (:mod:`sparseopt.transport._semidual`) a sweep is y <- y + eps log(b / c).

In the log domain each sweep costs n m exponentials. By scaling, factors u, v multiply a stored
plan, P <- diag(u) P diag(v), at two multiplications an entry; they are absorbed into y
before they become so large that accuracy suffers.
"""

import numpy as np

from sparseopt._core import Progress
from sparseopt.transport._kernels import cpu as kernels

SWEEPS = 10  # of scaling between two reports
LARGEST_FACTOR = 1e10


class LogSweeps:
    """Sinkhorn's method in the log domain; the state of :func:`sparseopt._core.iterate`."""

    def __init__(self, dual, y):
        self.dual = dual
        self.point = dual.evaluate(y)
        self.n_sweeps = 0

    @property
    def x(self):
        """The current iterate."""
        return self.point.y

    def step(self, state=None, sweeps=1):
        """Run some sweeps."""
        for _ in range(sweeps):
            self.point = self.dual.evaluate(self.dual.balance_columns(self.point))
        self.n_sweeps += sweeps
        return self.progress()

    def progress(self):
        """Report objective and marginal error."""
        return Progress(self.point.objective, self.point.error)


class ScalingSweeps:
    """Sinkhorn's method by scaling a stored plan; needs memory for the plan."""

    def __init__(self, dual, y, plan, tol):
        self.dual, self.plan, self.tol = dual, plan, tol
        self.n_sweeps = 0
        self._rebuild(y)

    def _rebuild(self, y):
        self.base = self.point = self.dual.evaluate(y, self.plan)
        self.u, self.v = np.ones_like(self.base.x), np.ones_like(y)
        self.column_sums = self.base.column_sums.copy()

    @property
    def x(self):
        """The current iterate."""
        return self.point.y

    def step(self, state=None, sweeps=SWEEPS):
        """Run some sweeps, and absorb the factors if they are large."""
        dual, eps = self.dual, self.dual.eps
        self.errors = np.empty(sweeps)
        done, extreme = kernels.scale_plan(
            self.plan, dual.a, dual.b, self.u, self.v, self.column_sums,
            self.tol, LARGEST_FACTOR, self.errors,
        )  # fmt: skip
        self.n_sweeps += done
        self.errors = self.errors[:done]
        y = self.base.y + eps * np.log(self.v)
        if extreme:
            self._rebuild(y)
        else:
            x = self.base.x + eps * np.log(self.u)
            self.point = dual.point(x, y, self.v * self.column_sums)
        return self.progress()

    def progress(self):
        """Report objective and marginal error."""
        return Progress(self.point.objective, self.point.error)
