r"""The semi-dual on the entries of the plan that matter, in memory O(n + m + entries).

References: Schmitzer (2019), Stabilized sparse scaling algorithms for entropy regularized
transport problems, SIAM J. Sci. Comput. 41(3). For small eps almost all entries of the plan

    P_ij = exp((x_i + y_j - C_ij) / eps)

vanish. At potentials y0, with t_i = max_j (y0_j - C_ij), those with (y0_j - C_ij - t_i) / eps >=
-cut are kept, with their costs. Whatever x and y are later, the others add up to at most

    exp(-cut) sum_i exp((x_i + t_i) / eps) sum_j exp((y_j - y0_j) / eps),

which at y0 is m exp(-cut). The bound counts as error, in rows and in columns; once it is no
longer small, the entries are chosen anew, by one pass over the costs without exponentials.
"""

import math

import numpy as np

from sparseopt.transport._kernels import truncated as kernels
from sparseopt.transport._problem import LARGEST_STORED, for_row_blocks
from sparseopt.transport._semidual import NOTHING, SemiDual

DROPPED = 0.01  # mass, relative to the tolerance, that a fresh choice of entries drops at most
MARGIN = 4.0  # further exponents that are kept, for potentials that move
OUTGROWN = 0.1  # dropped mass relative to the tolerance, ...
OUTGROWN_SHARE = 1e-3  # ... or to the error, above which the entries are chosen anew
SAMPLE = 64  # rows that tell how many entries there will be
SPARE = 1.25
FEWEST_KEPT = 2_000_000  # entries that are kept without a question where costs are not stored
KEPT_A_BIN = 200  # the same for each row and column
STARVED = 1e-6  # share of its mass up to which a column sum is computed from all entries
FLOOR = 1e-282  # of a column sum, as in dense plans


class TooManyEntriesError(Exception):
    """The entries that matter do not fit into the memory that is allowed for them."""


def largest_number(cost):
    """Return how many entries may be kept."""
    n, m = cost.shape
    return n * m if cost.stored else max(FEWEST_KEPT, KEPT_A_BIN * (n + m))


def exponent_cut(m, tol):
    """Return the exponent below which entries are dropped, for an error of ``tol``."""
    return math.log(m / (DROPPED * tol)) + MARGIN


def expected_entries(cost, y, eps, tol):
    """Return about how many entries matter at y, from a sample of the rows."""
    n, m = cost.shape
    step = max(1, n // SAMPLE)
    tops, counts = np.empty(n), np.zeros(n, np.int64)
    number = kernels.keep_entries(
        cost.arguments, y, eps, exponent_cut(m, tol), step // 2, n, step, tops, counts,
        np.empty(0, np.int32), np.empty(0),
    )  # fmt: skip
    return number * n / len(range(step // 2, n, step))


class TruncatedDual(SemiDual):
    """The semi-dual of the kept entries; column sums and objective lack the dropped mass.

    Parameters
    ----------
    cost, a, b, eps, n_jobs
        As :class:`SemiDual` has them.
    y : ndarray of shape (m,)
        Where the entries are chosen first.
    tol : float
        Marginal error that is to be reached.
    expected : float, optional
        What :func:`expected_entries` returns, if it is known.

    Raises
    ------
    TooManyEntriesError
        Here, or by ``evaluate``, if more entries matter than may be kept.
    """

    def __init__(self, cost, a, b, eps, y, tol, n_jobs=None, expected=None):
        super().__init__(cost, a, b, eps, n_jobs)
        self.tol = tol
        self.cut = exponent_cut(b.size, tol)
        self.most = largest_number(cost)
        self.n_chosen = 0
        if expected is None:
            expected = expected_entries(cost, y, eps, tol)
        self.room = int(SPARE * expected) + b.size
        self._choose(y)

    @property
    def entries(self):
        """The kept entries at the last point as CSR arrays ``(indptr, indices, values)``."""
        return self.indptr, self.indices, self.values

    def evaluate(self, y, plan=NOTHING):
        """Return the point at ``y``, after choosing the entries anew where that is needed."""
        point = self._balance(y)
        if self.outgrown(point):
            self._choose(y)
            point = self._balance(y)
        return point

    def outgrown(self, point):
        """Return whether the entries do not suffice at the point that was computed last."""
        dropped = self.last_dropped
        return not dropped <= max(OUTGROWN * self.tol, OUTGROWN_SHARE * min(point.error, 1.0))

    def point(self, x, y, column_sums):
        """Return the point with the given exact rows; its error includes what was dropped."""
        point = super().point(x, y, column_sums)
        self.last_dropped = self.dropped(x, y)
        return point._replace(error=point.error + 2 * self.last_dropped)

    def dropped(self, x, y):
        """Return a bound of the mass of the plan outside of the kept entries."""
        with np.errstate(over="ignore", invalid="ignore"):
            rows = np.sum(np.exp((x + self.tops) / self.eps))
            columns = np.sum(np.exp((y - self.chosen_at) / self.eps))
            return float(math.exp(-self.cut) * rows * columns)

    def doubt(self, point):
        """Return by how much the objective at a point may be too large."""
        # Rows without the dropped mass d_i have x_i larger by eps log(1 + d_i / a_i).
        return self.eps * self.dropped(point.x, point.y)

    def balance_columns(self, point):
        """Return y after the column update of Sinkhorn's method."""
        sums = point.column_sums
        starved = np.flatnonzero(sums <= STARVED * self.b)  # what was dropped may be all they have
        y = point.y + self.eps * np.log(self.b / np.maximum(sums, FLOOR))
        if starved.size:
            part = self.cost.restrict(slice(None), starved).transpose()
            y[starved] = SemiDual(part, self.b[starved], self.a, self.eps).evaluate(point.x).x
        return y

    def select(self, threshold):
        """Return the entries at the last point that reach the threshold, as CSR arrays."""
        counts = np.empty(self.a.size, np.int64)
        indices, values = np.empty_like(self.indices), np.empty_like(self.values)
        number = kernels.select_kept(*self.entries, threshold, counts, indices, values)
        return np.concatenate([[0], np.cumsum(counts)]), indices[:number], values[:number]

    def _balance(self, y):
        x, column_sums = np.empty(self.a.size), np.empty(self.b.size)
        kernels.balance_entries(
            self.indptr, self.indices, self.costs, y, self.eps, self.a, x, column_sums, self.values
        )
        return self.point(x, y, column_sums)

    def _choose(self, y):
        n, m = self.shape
        self.tops, counts = np.empty(n), np.empty(n, np.int64)
        self.indices = self.costs = self.values = None  # frees the memory first

        def keep(start, stop, indices, costs):
            return kernels.keep_entries(
                self.cost.arguments, y, self.eps, self.cut, start, stop, 1, self.tops, counts,
                indices, costs,
            )  # fmt: skip

        def count(start, stop):
            return keep(start, stop, np.empty(0, np.int32), np.empty(0))

        def fill(start, stop):
            part = slice(indptr[start], indptr[stop])
            return keep(start, stop, self.indices[part], self.costs[part])

        if n * m > LARGEST_STORED:  # threads write to parts whose places must be known
            self.room = sum(for_row_blocks(count, self.shape, self.n_jobs))
        self._allocate(self.room)
        if n * m > LARGEST_STORED:
            indptr = np.concatenate([[0], np.cumsum(counts)])
            for_row_blocks(fill, self.shape, self.n_jobs)
        else:
            number = keep(0, n, self.indices, self.costs)
            if number > self.room:
                self.room = int(SPARE * number)
                self._allocate(self.room)
                keep(0, n, self.indices, self.costs)
            indptr = np.concatenate([[0], np.cumsum(counts)])
        self.indptr = indptr
        self.indices, self.costs = self.indices[: indptr[-1]], self.costs[: indptr[-1]]
        self.values = np.empty(indptr[-1])
        self.chosen_at = y.copy()
        self.n_chosen += 1

    def _allocate(self, room):
        if room > SPARE * self.most + self.b.size:
            raise TooManyEntriesError
        self.indices, self.costs = np.empty(room, np.int32), np.empty(room)
