r"""Which step comes next: sweeps or Newton steps, at which regularisation.

The regularisation falls from a tenth of the range of the costs to the one asked for,
fourfold at a time; the potentials carry over unchanged, since they are in the units of
the cost. Each stage begins with a few sweeps and goes on with Newton steps.
"""

import math

import numpy as np

from sparseopt._core import Progress
from sparseopt.transport._newton import NewtonSteps
from sparseopt.transport._scaling import SWEEPS, LogSweeps, ScalingSweeps
from sparseopt.transport._semidual import NOTHING, SemiDual

EASY_RANGE = 50.0  # range of the costs over eps up to which no smaller problem comes first
FIRST_STAGE = 10.0  # range over eps there
STAGE_RATIO = 4.0
STAGE_TOL = 1e-3
STAGE_SWEEPS = 5
WORTH_NEWTON = 120  # predicted sweeps that cost more than Newton's method, measured
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
    """

    may_scale = True  # whether sweeps may scale a stored plan

    def __init__(
        self, cost, a, b, eps, y, *, solver, tol, max_iter, warm_start_sweeps, eps_scaling,
        sparsity, every_sweep, n_jobs,
    ):  # fmt: skip
        self.cost, self.a, self.b = cost, a, b
        self.solver, self.tol, self.max_iter = solver, tol, max_iter
        self.warm_start_sweeps, self.sparsity = warm_start_sweeps, sparsity
        self.every_sweep, self.n_jobs = every_sweep, n_jobs
        smallest, largest, _ = cost.statistics
        self.range = largest - smallest
        self.regs = _stages(self.range, eps, eps_scaling)
        self.stage = 0
        self.n_sweeps = self.n_newton = self.n_cg = 0
        self.best = None
        self.gave_up = False
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
        return Progress(point.objective, point.error, stalled, iterations)

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
        if self.newton is None:
            self._sweep()
        else:
            self._newton_step()
        while not self.last_stage and self.point.error <= max(STAGE_TOL, self.tol):
            self.stage += 1
            self._begin_stage(self.point.y)
        return self.progress(max(1, self.n_iter - before))

    def _dual_function(self, eps):
        return SemiDual(self.cost, self.a, self.b, eps, self.n_jobs)

    def _begin_stage(self, y):
        self.dual = self._dual_function(self.regs[self.stage])
        self.newton, self.n_kept, self.sweeps_here = None, 0, 1
        self.least_error, self.objective, self.since_best = np.inf, np.inf, 0  # of this stage
        self.factors = None
        if self.plan.size and self.may_scale:
            self.factors = ScalingSweeps(self.dual, y, self.plan, self._stage_tol())
            self.point = self.factors.point
        else:
            self.logs = LogSweeps(self.dual, y)
            self.point = self.logs.point
        self.n_sweeps += 1

    def _stage_tol(self):
        return self.tol if self.last_stage else max(STAGE_TOL, self.tol)

    def _sweep(self):
        sweeper = self.logs if self.factors is None else self.factors
        wanted = 1 if self.every_sweep or self.factors is None else SWEEPS
        if self.solver in ("auto", "sns"):
            wanted = max(1, min(wanted, self._sweeps_before_newton() - self.sweeps_here))
        earlier, before = self.point.error, sweeper.n_sweeps
        sweeper.step(sweeps=max(1, min(wanted, self.max_iter - self.n_iter)))
        self.point = sweeper.point
        done = sweeper.n_sweeps - before
        self.n_sweeps += done
        self.sweeps_here += done
        if self.point.error > self._stage_tol() and self._newton_pays(earlier, done):
            self._begin_newton()

    def _sweeps_before_newton(self):
        if len(self.regs) > 1:
            return STAGE_SWEEPS
        return self.warm_start_sweeps

    def _newton_pays(self, earlier, done):
        if self.solver not in ("auto", "sns") or self.gave_up or not self.plan.size:
            return False
        if self.sweeps_here < self._sweeps_before_newton():
            return False
        if self.solver == "sns":
            return True
        rate = (self.point.error / earlier) ** (1 / done) if earlier > 0 else 0.0
        if rate >= 1:
            return True
        return math.log(self._stage_tol() / self.point.error) / math.log(rate) > WORTH_NEWTON

    def _begin_newton(self):
        self.newton = NewtonSteps(self.dual, self.point.y, self.plan, sparsity=self.sparsity)
        self.point = self.newton.point

    def _newton_step(self):
        newton = self.newton
        before = newton.n_sweeps, newton.n_cg
        newton.step()
        self.n_newton += 1
        self.n_sweeps += newton.n_sweeps - before[0]
        self.n_cg += newton.n_cg - before[1]
        self.n_kept = newton.n_kept
        self.point = newton.point
        self.since_best += 1
        if self.since_best > PATIENCE:
            self.gave_up = True
            self._begin_stage(self.best.y if self.best else self.point.y)

    def _rounding_floor(self):
        point = self.point
        # Where the plan has mass, costs are no larger than the potentials.
        scale = 2 * (np.max(np.abs(point.x)) + np.max(np.abs(point.y)))
        return 1.1e-16 * scale / self.dual.eps


def _stages(cost_range, eps, scaling):
    if scaling is False or (scaling == "auto" and cost_range <= EASY_RANGE * eps):
        return [eps]
    regs = [cost_range / FIRST_STAGE]
    while regs[-1] > eps * STAGE_RATIO:
        regs.append(regs[-1] / STAGE_RATIO)
    return [reg for reg in regs if reg > eps] + [eps]
