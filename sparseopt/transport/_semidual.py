r"""The concave function that Sinkhorn and Newton climb.

With eps the regularisation, the dual of entropic transport in the variables
x = f + eps log a and y = g + eps log b is

    maximise  F(x, y) = -eps sum_ij P_ij + a'x + b'y,  P_ij = exp((x_i + y_j - C_ij) / eps).

Maximising over x is one row update of Sinkhorn's method and makes the rows of P exact.
What is left is the semi-dual in y alone, computed in the log domain with one exponential
an entry: with c = P' 1,

    value a'x(y) + b'y (up to eps),  gradient b - c,
    Hessian -(diag(c) - P' diag(1/a) P) / eps.
"""

from typing import NamedTuple

import numpy as np

from sparseopt.transport._kernels import cpu as kernels
from sparseopt.transport._problem import for_row_blocks

NOTHING = np.empty((0, 0))
NO_COUNTS = np.empty(0, np.int64)
NO_INDICES = np.empty(0, np.int32)
NO_VALUES = np.empty(0)


class Point(NamedTuple):
    """A dual point whose rows are exact."""

    x: np.ndarray
    y: np.ndarray
    column_sums: np.ndarray
    objective: float
    error: float


class SemiDual:
    """F as a function of y.

    Parameters
    ----------
    cost : Cost of shape (n, m)
        Cost of the bins with mass.
    a, b : ndarray of shape (n,) and (m,)
        Positive masses with sum 1.
    eps : float
        Regularisation, in the units of the cost.
    n_jobs : int, optional
        Threads for large passes.
    """

    n_chosen = 0  # choices of entries, where not all of them count

    def __init__(self, cost, a, b, eps, n_jobs=None):
        self.cost, self.a, self.b, self.eps, self.n_jobs = cost, a, b, eps, n_jobs

    @property
    def shape(self):
        """Number of rows and columns of the plan."""
        return self.a.size, self.b.size

    def evaluate(self, y, plan=NOTHING):
        """Return the point at ``y``, and write the plan unless it is empty."""
        x = np.empty(self.a.size)

        def rows(start, stop):
            sums = np.zeros(self.b.size)
            kernels.balance_rows(
                self.cost.arguments, y, self.eps, self.a, start, stop, x, sums, plan,
                np.inf, NO_COUNTS, NO_INDICES, NO_VALUES,
            )  # fmt: skip
            return sums

        column_sums = sum(for_row_blocks(rows, self.shape, self.n_jobs))
        return self.point(x, y, column_sums)

    def point(self, x, y, column_sums):
        """Return the point with the given exact rows."""
        error = float(np.sum(np.abs(column_sums - self.b)))
        return Point(x, y, column_sums, float(self.a @ x + self.b @ y), error)

    def gradient(self, point):
        """Return the derivative of the objective in y."""
        return self.b - point.column_sums

    def diagonals(self, point):
        """Return the diagonals of Newton's system for x and y, see sparseopt.transport._newton."""
        return self.a, point.column_sums

    def doubt(self, point):
        """Return by how much the objective at a point may be too large."""
        return 0.0

    def balance_columns(self, point):
        """Return y after the column update of Sinkhorn's method."""
        return point.y + self.eps * np.log(self.b / point.column_sums)
