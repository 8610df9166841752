r"""Which step comes next: sweeps or Newton steps, at which regularisation, on which entries.

The regularisation falls from a tenth of the range of the costs to the one asked for,
fourfold at a time; the potentials carry over unchanged, since they are in the units of
the cost. Each stage begins with a few sweeps and goes on with Newton steps, both on those
entries of the plan that matter if these are few.

"auto" relaxes its sweeps, which up to a range of some thousand eps need no larger eps first,
and takes Newton steps where many more sweeps are expected than these cost.
"""

import math

import numpy as np

from sparseopt._core import Progress
from sparseopt.transport._newton import NewtonSteps
from sparseopt.transport._overrelaxed import (
    Overrelaxed,
    OverrelaxedEntries,
    OverrelaxedScaling,
    OverrelaxedStream,
)
from sparseopt.transport._scaling import SWEEPS, LogSweeps, ScalingSweeps
from sparseopt.transport._semidual import NOTHING, SemiDual
from sparseopt.transport._truncated import (
    TooManyEntriesError,
    TruncatedDual,
    expected_entries,
    largest_number,
)

EASY_RANGE = 50.0  # range of the costs over eps up to which no smaller problem comes first
FIRST_STAGE = 10.0  # range over eps there
STAGE_RATIO = 4.0
STAGE_TOL = 1e-4
SWEEPS_STAGE_TOL = 1e-2  # the same where there are no Newton steps to profit from it
STAGE_SWEEPS = 5
BLOCKS = 3  # of overrelaxed sweeps between two reports
DIRECT_RANGE = 5000.0  # the same for overrelaxed sweeps
WORTH_NEWTON = 120  # predicted sweeps that cost more than Newton's method, measured
NEAR = 0.05  # error above which relaxed sweeps have not settled to their rate
DIRECT_SWEEPS = 120  # by which they have to be that near
FEW_ENTRIES = 0.08  # share of the plan up to which passes over the kept entries are shorter
PATIENCE = 30  # Newton steps without a better error, or a better objective than by a sweep


class TransportSteps:
    """The state of :func:`sparseopt._core.iterate` for every solver.

    Parameters
    ----------
    cost : Cost of shape (n, m)
        Cost of the bins with mass.
    a, b : ndarray of shape (n,) and (m,)
        Positive masses with sum 1.
    eps : float
        Regularisation.
    y : ndarray of shape (m,)
        Start.
    solver, tol, max_iter, warm_start_sweeps, eps_scaling, sparsity, every_sweep, n_jobs
        As :func:`sinkhorn` has them.
    offset : float
        Constant that the cost lacks, for reports.
    """

    may_scale = True  # whether sweeps may scale a stored plan, or entries of it

    def __init__(
        self, cost, a, b, eps, y, *, solver, tol, max_iter, warm_start_sweeps, eps_scaling,
        sparsity, every_sweep, n_jobs, offset=0.0,
    ):  # fmt: skip
        self.cost, self.a, self.b, self.offset = cost, a, b, offset
        self.solver, self.tol, self.max_iter = solver, tol, max_iter
        self.warm_start_sweeps, self.sparsity = warm_start_sweeps, sparsity
        self.every_sweep, self.n_jobs = every_sweep, n_jobs
        smallest, largest, _ = cost.statistics
        self.range = largest - smallest
        may_relax = solver == "auto" and self.may_scale
        self.regs = _stages(self.range, eps, eps_scaling, DIRECT_RANGE if may_relax else EASY_RANGE)
        self.relaxes = may_relax and len(self.regs) == 1
        self.may_rescale = self.relaxes and eps_scaling == "auto"
        self.stage = 0
        self.n_sweeps = self.n_newton = self.n_cg = 0
        self.best = None
        self.gave_up = False
        self.may_keep = self.may_scale and solver in ("auto", "sns") and sparsity == "auto"
        self.trace = []
        stores = cost.stored and solver != "sinkhorn_log"
        self.plan = np.empty(cost.shape) if stores else NOTHING
        self._begin_stage(y)

    @property
    def x(self):
        """The current iterate."""
        return self.point.y

    @property
    def last_stage(self):
        """Whether the regularisation is the one asked for."""
        return self.stage == len(self.regs) - 1

    @property
    def n_iter(self):
        """Sweeps and Newton steps so far."""
        return self.n_sweeps + self.n_newton

    def progress(self, iterations=1):
        """Report on the current point, and keep it if it is the best."""
        point = self.point
        if self.last_stage and (self.best is None or point.error <= self.best.error):
            self.best = point
        if self._improves(point):
            self.since_best = 0
        self.least_error = min(self.least_error, point.error)
        self.objective = point.objective
        self.trace.append((self.dual.eps, self.n_sweeps, self.n_newton, self.n_kept))
        stalled = self.last_stage and point.error <= self._rounding_floor()
        return Progress(point.objective + self.offset, point.error, stalled, iterations)

    def _improves(self, point):
        """Return whether the error fell, or the objective grew by more than a sweep lifts it."""
        gain = point.objective - self.objective
        return point.error < self.least_error or gain > self.dual.eps * point.error**2

    def result_point(self):
        """Return the best point at the regularisation that was asked for."""
        if self.best is None:  # the run ended at a larger one
            self.dual = self._dual_function(self.regs[-1])
            self.best = self.dual.evaluate(self.point.y)
        return self.best

    def trace_columns(self, length):
        """Return what belongs to the first reports, as the columns of a history."""
        names = ("reg", "n_sweeps", "n_newton", "n_kept")
        columns = np.array(self.trace[:length], dtype=float).reshape(-1, len(names)).T
        return {
            name: column if name == "reg" else column.astype(int)
            for name, column in zip(names, columns, strict=True)
        }

    def step(self, state=None):
        """Run a few sweeps or one Newton step, and enter the next stage if this one is done."""
        before = self.n_iter
        try:
            if self.newton is None:
                self._sweep()
            else:
                self._newton_step()
        except TooManyEntriesError:
            self._begin_stage(self.point.y, may_keep=False)
        while not self.last_stage and self.point.error <= self._stage_tol():
            if self.n_iter >= self.max_iter:
                break
            self.stage += 1
            self._begin_stage(self.point.y)
        return self.progress(max(1, self.n_iter - before))

    def _dual_function(self, eps):
        return SemiDual(self.cost, self.a, self.b, eps, self.n_jobs)

    def _begin_stage(self, y, may_keep=True):
        self.dual = self._dual_function(self.regs[self.stage])
        self.newton, self.n_kept, self.sweeps_here = None, 0, 1
        self.least_error, self.objective, self.since_best = np.inf, np.inf, 0  # of this stage
        self.n_sweeps += 1
        self.entries = None
        if may_keep and (self.relaxes or not self.plan.size):
            self.entries = self._entries(y)
        self.sweeper = self._sweeper(y)
        self.point = self.sweeper.point

    def _sweeper(self, y):
        """Return the sweeps for this stage."""
        newton_like = self.may_scale and self.solver in ("auto", "sns")
        relaxes = self.relaxes or (newton_like and self.gave_up)
        if self.entries is not None:
            return (OverrelaxedEntries if relaxes else LogSweeps)(self.entries, y)
        if self.plan.size and self.may_scale:
            kind = OverrelaxedScaling if relaxes else ScalingSweeps
            return kind(self.dual, y, self.plan, self._stage_tol())
        # Where Newton's steps do not fit into memory, sweeps have to do.
        relaxes = relaxes or (newton_like and not self.plan.size)
        if relaxes:
            return OverrelaxedStream(self.dual, y, self._stage_tol())
        return LogSweeps(self.dual, y)

    def _entries(self, y):
        """Return the dual of the entries that matter at y, or None if they are too many."""
        if not self.may_keep:
            return None
        tol = self.tol if self.last_stage else max(STAGE_TOL, self.tol)
        most = FEW_ENTRIES * self.plan.size if self.plan.size else largest_number(self.cost)
        eps = self.dual.eps
        expected = expected_entries(self.cost, y, eps, tol)
        if expected > most:
            return None
        try:
            return TruncatedDual(self.cost, self.a, self.b, eps, y, tol, self.n_jobs, expected)
        except TooManyEntriesError:
            return None

    def _stage_tol(self):
        if self.last_stage:
            return self.tol
        steps = self.plan.size or self.entries is not None
        return max(STAGE_TOL if steps else SWEEPS_STAGE_TOL, self.tol)

    def _sweep(self):
        sweeper = self.sweeper
        earlier, before = self.point.error, sweeper.n_sweeps
        sweeper.step(sweeps=max(1, min(self._sweeps_at_once(), self.max_iter - self.n_iter)))
        self.point = sweeper.point
        done = sweeper.n_sweeps - before
        self.n_sweeps += done
        self.sweeps_here += done
        if self.point.error <= self._stage_tol() or self.n_iter >= self.max_iter:
            return
        if self._newton_pays(earlier, done):
            self._begin_newton()
        elif self._is_lost():
            self.relaxes = self.may_rescale = False
            self.regs, self.stage = _stages(self.range, self.regs[-1], True, 0.0), 0
            self._begin_stage(self.point.y)

    def _sweeps_at_once(self):
        if isinstance(self.sweeper, Overrelaxed):
            return self.sweeper.sweeps_in(1 if self.every_sweep or not self.plan.size else BLOCKS)
        wanted = 1 if self.every_sweep or isinstance(self.sweeper, LogSweeps) else SWEEPS
        if self.solver in ("auto", "sns"):
            wanted = min(wanted, self._sweeps_before_newton() - self.sweeps_here)
        return wanted

    def _sweeps_before_newton(self):
        if len(self.regs) > 1:
            return STAGE_SWEEPS
        return self.warm_start_sweeps

    def _is_lost(self):
        """Return whether sweeps have run for long without coming near the solution."""
        return (
            self.may_rescale
            and self.sweeps_here > DIRECT_SWEEPS
            and self.point.error > NEAR
            and self.range > EASY_RANGE * self.dual.eps
        )

    def _newton_pays(self, earlier, done):
        if self.solver not in ("auto", "sns") or self.gave_up:
            return False
        if not self.plan.size and self.entries is None:
            return False
        if self.relaxes:
            left = self.sweeper.expected_sweeps(self.tol)
            settled = self.point.error <= NEAR
            return settled and (left > WORTH_NEWTON or self.sweeps_here > 2 * WORTH_NEWTON)
        if self.sweeps_here < self._sweeps_before_newton():
            return False
        if self.solver == "sns" or len(self.regs) > 1:
            return True
        rate = (self.point.error / earlier) ** (1 / done) if earlier > 0 else 0.0
        if rate >= 1:
            return True
        return math.log(self._stage_tol() / self.point.error) / math.log(rate) > WORTH_NEWTON

    def _begin_newton(self):
        dual = self.entries or self._entries(self.point.y) or self.dual
        self.newton = NewtonSteps(dual, self.point.y, self.plan, sparsity=self.sparsity)
        self.point = self.newton.point

    def _newton_step(self):
        newton = self.newton
        before = newton.n_sweeps, newton.n_newton, newton.n_cg
        newton.step()
        self.n_sweeps += newton.n_sweeps - before[0]
        self.n_newton += newton.n_newton - before[1]
        self.n_cg += newton.n_cg - before[2]
        self.n_kept = newton.n_kept
        self.point = newton.point
        self.since_best += 1
        if self.since_best > PATIENCE and self.n_iter < self.max_iter:
            self.gave_up = True
            self._begin_stage(self.best.y if self.best else self.point.y)

    def _rounding_floor(self):
        point = self.point
        # Where the plan has mass, costs are no larger than the potentials.
        scale = 2 * (np.max(np.abs(point.x)) + np.max(np.abs(point.y)))
        return 1.1e-16 * scale / self.dual.eps


def _stages(cost_range, eps, scaling, easy):
    if scaling is False or (scaling == "auto" and cost_range <= easy * eps):
        return [eps]
    regs = [cost_range / FIRST_STAGE]
    while regs[-1] > eps * STAGE_RATIO:
        regs.append(regs[-1] / STAGE_RATIO)
    return [reg for reg in regs if reg > eps] + [eps]
