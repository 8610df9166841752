r"""Sinkhorn-Newton-Sparse: Newton's method on the semi-dual with a sparsified plan.

References: Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying (2024),
Accelerating Sinkhorn algorithm with sparse Newton iterations, ICLR; Tang, Qiu (2024), Safe
and sparse Newton method for entropic-regularized optimal transport, NeurIPS.
With exact rows, column sums c and S the large entries of the plan P, a step solves

    (diag(c + s) - S' diag(1 / (a + s)) S) dy = eps (b - c),

s a Levenberg-Marquardt shift, and searches along dy. The diagonals hold the sums of all
of P, so that what S leaves out only shortens the step.
"""

import numpy as np

from sparseopt._core import Progress
from sparseopt.transport._kernels import cpu as kernels
from sparseopt.transport._kernels import sparse as system
from sparseopt.transport._kernels.forest import factorize
from sparseopt.transport._truncated import TruncatedDual

FORCING = 0.01  # dropped mass, relative to the gradient
SUFFICIENT = 1e-4  # share of the predicted increase that the line search asks for
FIRST_GROWTH = 50.0  # of an exponent in one step; twice that where the dual stays linear so far
NEARLY_LINEAR = 0.9  # share of the slope that is still there
HALVINGS = 20
TINY = 1e-100
ROUNDING = 1e-12  # relative change of the objective that may be rounding error
SMALLEST_SHIFT, LARGEST_SHIFT = 1e-3, 1e6
CG_ITERATIONS = 500
DENSE_SHARE = 0.2  # kept share of the entries from which the diagonal preconditions well
FEW_ITERATIONS = 24  # in which the diagonal has to do before a better preconditioner is built
DENSE_ITERATIONS = 60  # the same where that preconditioner has many entries
NO_FACTORS = (
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0), np.empty(0),
)  # fmt: skip


class NewtonSteps:
    """Sparse Newton steps; the state of :func:`sparseopt._core.iterate`.

    Parameters
    ----------
    dual : SemiDual
        The objective.
    y : ndarray of shape (m,)
        Start.
    plan : ndarray of shape (n, m)
        Work space; empty if ``dual`` keeps entries itself.
    sparsity : "auto", float or None
        Threshold rule, kept share of the entries, or all entries.
    """

    def __init__(self, dual, y, plan, *, sparsity="auto"):
        self.dual, self.plan, self.sparsity = dual, plan, sparsity
        smallest, largest, _ = dual.cost.statistics
        self.range = max(largest - smallest, dual.eps)
        self.damping = 1.0
        self.growth = FIRST_GROWTH
        self.ill_conditioned = False  # whether the diagonal is too weak a preconditioner
        self.n_newton = self.n_cg = self.n_sweeps = self.n_kept = 0
        n, m = dual.shape
        self.truncated = isinstance(dual, TruncatedDual)
        self.counts = np.empty(n, np.int64)
        # Memory is taken only where it is written.
        room = 0 if self.truncated else max(8 * (n + m), n * m // 4)
        self.indices, self.values = np.empty(room, np.int32), np.empty(room)
        self.point = dual.evaluate(y, plan)
        self.chosen = dual.n_chosen  # choices of entries so far

    @property
    def x(self):
        """The current iterate."""
        return self.point.y

    def progress(self, *, stalled=False):
        """Report objective and marginal error."""
        return Progress(self.point.objective, self.point.error, stalled)

    def step(self, state=None):
        """Take one Newton step, or one Sinkhorn sweep where none increases the dual."""
        dual, point = self.dual, self.point
        gradient = dual.gradient(point)
        norm = float(np.linalg.norm(gradient))
        dy = self._direction(gradient, norm)
        slope = float(gradient @ dy)
        new = self._search(dy, slope) if slope > 0 else None
        if new is None:
            self.damping = min(4 * self.damping, LARGEST_SHIFT)
            self.n_sweeps += 1
            new = dual.evaluate(dual.balance_columns(point), self.plan)
        else:
            self.n_newton += 1
        self.point = new
        self.chosen = dual.n_chosen
        return self.progress()

    def _direction(self, gradient, norm):
        dual = self.dual
        row_diagonal, column_diagonal = dual.diagonals(self.point)
        kept = self._kept(norm)
        shift = self.damping * norm * dual.eps / self.range
        rtol = min(max(norm**0.5, 1e-10), 0.1)
        dy = np.empty_like(gradient)

        def solve(factors, limit):
            iterations, solved = system.solve_schur(
                *kept, row_diagonal + shift, column_diagonal + shift, factors, dual.eps * gradient,
                rtol, limit, dy,
            )  # fmt: skip
            self.n_cg += iterations
            return solved

        if not self.ill_conditioned:
            dense = kept[2].size > DENSE_SHARE * dual.a.size * dual.b.size
            if solve(NO_FACTORS, DENSE_ITERATIONS if dense else FEW_ITERATIONS):
                return dy
            self.ill_conditioned = True
        sums = np.zeros_like(dy)
        rows = system.sum_entries(*kept, sums)
        factors = factorize(
            *kept,
            np.maximum(row_diagonal - rows, 0) + shift,
            np.maximum(column_diagonal - sums, 0) + shift,
        )
        solve(factors, CG_ITERATIONS)
        return dy

    def _kept(self, norm):
        n, m = self.dual.shape
        if self.truncated:
            kept = self.dual.select(FORCING * norm / max(n, m))
            self.n_kept = kept[2].size
            return kept
        if self.sparsity is None:
            threshold = 0.0
        elif self.sparsity == "auto":
            threshold = FORCING * norm / max(n, m)
        else:
            kept = min(n * m, max(1, int(np.ceil(self.sparsity * n * m))))
            threshold = np.partition(self.plan.ravel(), n * m - kept)[n * m - kept]
        number = kernels.select_entries(
            self.plan, threshold, self.counts, self.indices, self.values
        )
        if number > self.indices.size:
            self.indices, self.values = np.empty(2 * number, np.int32), np.empty(2 * number)
            kernels.select_entries(self.plan, threshold, self.counts, self.indices, self.values)
        self.n_kept = number
        indptr = np.concatenate([[0], np.cumsum(self.counts)])
        return indptr, self.indices[:number], self.values[:number]

    def _search(self, dy, slope):
        dual, old = self.dual, self.point
        length = bound = min(1.0, self.growth * dual.eps / max(float(np.ptp(dy)), TINY))
        doubt = dual.doubt(old)
        for _ in range(HALVINGS):
            new = dual.evaluate(old.y + length * dy, self.plan)
            # The objectives of different choices of entries differ by what the first one dropped.
            gain = new.objective - old.objective + (doubt if dual.n_chosen > self.chosen else 0.0)
            close = abs(gain) <= ROUNDING * max(abs(old.objective), dual.eps)
            if gain >= SUFFICIENT * length * slope or (close and new.error <= 0.9 * old.error):
                self._adapt(gain, length, slope, close)
                if length < bound:
                    self.growth = max(self.growth / 2, FIRST_GROWTH)
                elif length < 1 and gain > NEARLY_LINEAR * length * slope:
                    self.growth *= 2
                return new
            length /= 2
        return None

    def _adapt(self, gain, length, slope, close):
        # The quadratic model predicts the gain length (1 - length / 2) slope.
        ratio = 1.0 if close else gain / (length * (1 - length / 2) * slope)
        if ratio < 0.25:
            self.damping = min(4 * self.damping, LARGEST_SHIFT)
        elif ratio > 0.75:
            self.damping = max(self.damping / 2, SMALLEST_SHIFT)
