r"""Sinkhorn's method with overrelaxation: the factor omega > 1 follows the rate of convergence.

References: Thibault, Chizat, Dossal, Papadakis (2021), Overrelaxed Sinkhorn-Knopp algorithm for
regularized optimal transport, Algorithms 14(5). A sweep is, up to the update of omega,

    y <- y + omega eps log(b / P' 1),  x <- x + omega eps log(a / P 1).

If plain sweeps multiply the error by r, the best omega is 2 / (1 + sqrt(1 - r)), and multiplies
it by omega - 1. Rates 0.98, as at a range of costs of 1000 eps, become 0.75.
"""

import math

import numpy as np

from sparseopt._core import Progress
from sparseopt.transport._kernels import overrelaxed as kernels
from sparseopt.transport._problem import for_row_blocks

FIRST_FACTOR, SHARP = 1.35, 500.0  # omega before its choice, if the range exceeds so many eps
LARGEST_FACTOR = 1e100
LARGEST_SINGLE_FACTOR = 1e12
SINGLE_ERROR = 3e-5  # down to which plans are stored in single precision


class Overrelaxed:
    """What all overrelaxed sweeps share; states of :func:`sparseopt._core.iterate`."""

    def __init__(self, dual):
        self.dual = dual
        smallest, largest, _ = dual.cost.statistics
        first = FIRST_FACTOR if largest - smallest > SHARP * dual.eps else 1.0
        self.state = np.array([first, np.inf, 0.0, 0.0])  # of :func:`kernels.adapt`
        self.n_sweeps = 0

    @property
    def x(self):
        """The current iterate."""
        return self.point.y

    def progress(self):
        """Report objective and marginal error."""
        return Progress(self.point.objective, self.point.error)

    def sweeps_in(self, blocks):
        """Return the number of sweeps in the next blocks."""
        short = min(blocks, max(0, kernels.SHORT_BLOCKS - int(self.state[kernels.BLOCKS])))
        return kernels.SHORT_BLOCK * short + kernels.BLOCK * (blocks - short)

    def expected_sweeps(self, tol):
        """Return about how many sweeps are left, or 0 if that is not known yet."""
        rate, error = self.state[0] - 1, self.point.error
        return math.log(tol / error) / math.log(rate) if rate > 0 and error > tol else 0.0


class OverrelaxedScaling(Overrelaxed):
    """Overrelaxed sweeps that scale a stored plan, first in single precision.

    Parameters
    ----------
    dual : SemiDual
        The objective.
    y : ndarray of shape (m,)
        Start.
    plan : ndarray of shape (n, m)
        Work space, in double precision.
    tol : float
        Error at which sweeps end.
    """

    def __init__(self, dual, y, plan, tol):
        super().__init__(dual)
        self.plan, self.tol = plan, tol
        self.single = True
        self._rebuild(y)

    def _rebuild(self, y):
        plan = self.plan
        if self.single:  # in half of the memory
            plan = plan.reshape(-1).view(np.float32)[: plan.size].reshape(plan.shape)
        self.stored = plan
        self.base = self.point = self.dual.evaluate(y, plan)
        self.u, self.v = np.ones(self.base.x.size, plan.dtype), np.ones(y.size, plan.dtype)
        self.column_sums = self.base.column_sums.astype(plan.dtype)
        if self.single and self.point.error <= SINGLE_ERROR:
            self.single = False
            self._rebuild(y)

    def step(self, state=None, sweeps=kernels.BLOCK):
        """Run some sweeps, and absorb the factors where they are large or lose precision."""
        dual = self.dual
        bound = LARGEST_SINGLE_FACTOR if self.single else LARGEST_FACTOR
        goal = max(self.tol, SINGLE_ERROR) if self.single else self.tol
        before, state_before = self.point, self.state.copy()
        done, error, extreme = kernels.relax_plan(
            self.stored, dual.a, dual.b, self.u, self.v, self.column_sums, self.state, goal,
            bound, sweeps,
        )  # fmt: skip
        self.n_sweeps += done
        with np.errstate(invalid="ignore", divide="ignore"):
            x = self.base.x + dual.eps * np.log(self.u.astype(float))
            y = self.base.y + dual.eps * np.log(self.v.astype(float))
        if not np.isfinite(y).all():
            if self.single:  # a column vanished for lack of precision, not by the factor
                self.single, self.state = False, state_before
            self._rebuild(before.y)
        elif extreme or (self.single and error <= SINGLE_ERROR):
            self.single = self.single and error > SINGLE_ERROR
            self._rebuild(y)
        else:
            self.point = dual.point(x, y, (self.v * self.column_sums).astype(float))
        return self.progress()


class OverrelaxedEntries(Overrelaxed):
    """Overrelaxed sweeps that scale the kept entries of a plan.

    Parameters
    ----------
    dual : TruncatedDual
        The objective.
    y : ndarray of shape (m,)
        Start.
    """

    def __init__(self, dual, y):
        super().__init__(dual)
        self._rebuild(y)

    def _rebuild(self, y):
        self.base = self.point = self.dual.evaluate(y)
        self.u, self.v = np.ones_like(self.base.x), np.ones_like(y)
        self.column_sums = self.base.column_sums.copy()

    def step(self, state=None, sweeps=kernels.BLOCK):
        """Run some sweeps, and choose entries anew where the potentials outgrew them."""
        dual, before = self.dual, self.point
        while sweeps > 0:
            block = kernels.next_block(self.state, dual.tol, sweeps)
            sweeps -= block
            self.n_sweeps += block
            _, extreme = kernels.relax_entries(
                *dual.entries, dual.a, dual.b, self.u, self.v, self.column_sums, self.state,
                LARGEST_FACTOR, block,
            )  # fmt: skip
            if extreme and not (np.isfinite(self.u).all() and np.isfinite(self.v).all()):
                self._rebuild(dual.balance_columns(before))  # a column had no entries
                break
            x = self.base.x + dual.eps * np.log(self.u)
            y = self.base.y + dual.eps * np.log(self.v)
            self.point = dual.point(x, y, self.v * self.column_sums)
            if extreme or dual.outgrown(self.point):
                self._rebuild(y)
                break
            if self.point.error <= dual.tol:
                break
        return self.progress()


class OverrelaxedStream(Overrelaxed):
    """Overrelaxed sweeps that compute the plan and never store it.

    Parameters
    ----------
    dual : SemiDual
        The objective.
    y : ndarray of shape (m,)
        Start.
    tol : float
        Error at which sweeps end.
    """

    def __init__(self, dual, y, tol):
        super().__init__(dual)
        self.tol = tol
        self.point = dual.evaluate(y)

    def step(self, state=None, sweeps=kernels.BLOCK):
        """Run some sweeps, in blocks whose last one makes the rows exact."""
        while sweeps > 0:
            block = kernels.next_block(self.state, self.tol, sweeps)
            self._run(block)
            kernels.adapt(self.state, self.point.error, block)
            if self.point.error <= self.tol:
                break
            sweeps -= block
        return self.progress()

    def _run(self, block):
        dual, omega = self.dual, self.state[0]
        x, y, sums = self.point.x.copy(), self.point.y.copy(), self.point.column_sums
        for sweep in range(block):
            y = y + omega * dual.eps * np.log(dual.b / sums)
            factor = 1.0 if sweep == block - 1 else omega

            def rows(start, stop, y=y, factor=factor):
                sums = np.zeros(dual.b.size)
                kernels.relax_rows(
                    dual.cost.arguments, y, dual.eps, dual.a, factor, start, stop, x, sums
                )
                return sums

            sums = sum(for_row_blocks(rows, dual.shape, dual.n_jobs))
        self.n_sweeps += block
        self.point = dual.point(x, y, sums)
