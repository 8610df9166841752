"""CoLiDE by a proximal trust-region method, with a certificate of stationarity.

The problem is in ``_problem``. h is convex and differentiable in B = W∘W, with gradient
(s I - B)^{-T}. Linearised there, and with the noise scales held, the objective falls apart into one
penalised least-squares problem a column, whose weights are damped by the linear term:

    mu / (2 sigma_j) (w' C w - 2 c_j' w) + mu sum_i p_ij |w_i| + sum_i ((s I - B)^{-1})_ji w_i^2.

The scales make the model an upper bound, the linearisation a lower one: a trust region keeps it
honest. An iteration costs 4 d^3 flops for the covariance and the inverse, and the columns; some
hundred iterations a stage take the place of ten thousand steps of Adam, and zeros are exact.
Anderson extrapolation is tried every few iterations and kept where the objective falls.
"""

import numpy as np

from sparseopt._core import Progress, iterate, short_products
from sparseopt._core._linalg import anderson_extrapolation
from sparseopt.causal._kernels.colide import solve_columns
from sparseopt.causal._path import DEFAULT_MU, DEFAULT_S, LeftDomain, follow_path

SWEEPS = 3  # of coordinate descent in a column problem
MEMORY = 6  # steps that an extrapolation combines
FIRST_RADIUS, LARGEST_RADIUS, SMALLEST_RADIUS = 0.05, 0.2, 1e-10
WARM_TOL = 0.1


class _ProximalStage:
    """The iterate ``x``, what is computed from it, and the trust region."""

    def __init__(self, problem, W, stage):
        self.problem, self.stage = problem, stage
        self.radius = FIRST_RADIUS
        self._recent: list[np.ndarray] = []
        self._columns = np.empty((problem.order + 6, problem.order))
        point = problem.point(W, stage.s)
        self._accept(point, problem.objective(point, stage.mu))
        if not np.isfinite(self.point.acyclicity):
            raise LeftDomain

    def _accept(self, point, objective):
        self.point, self.x, self.objective = point, point.W, objective
        self.violation = self._violation(point)

    def _violation(self, point):
        return self.problem.kkt_residual(point, self.stage.mu, self.stage.s)

    def progress(self):
        """Report the state as it is."""
        return Progress(self.objective, self.violation, stalled=self.radius < SMALLEST_RADIUS)

    def step(self):
        """Solve the columns, and move if that improves the objective."""
        problem, point, stage = self.problem, self.point, self.stage
        trial = np.empty_like(self.x)
        solve_columns(
            problem.C,
            point.W,
            point.residual,
            point.inverse,
            point.scales,
            problem.allowed,
            problem.penalty,
            stage.mu,
            stage.s,
            self.radius,
            SWEEPS,
            self._columns,
            trial,
        )
        trial_point = problem.point(trial, stage.s)
        objective = problem.objective(trial_point, stage.mu)
        if self._improves(trial_point, objective):
            self._accept(trial_point, objective)
            self._extrapolate()
            self.radius = min(1.5 * self.radius, LARGEST_RADIUS)
        else:
            self.radius = 0.5 * min(self.radius, float(np.max(np.abs(trial - self.x))))
        return self.progress()

    def _extrapolate(self):
        """Try the Anderson extrapolation of the last iterates; a zero stays a zero.

        Where two directions of an edge compete, the steps alone shrink the loser at a slow
        linear rate.
        """
        self._recent.append(self.x.ravel())
        if len(self._recent) <= MEMORY:
            return
        extrapolated = anderson_extrapolation(np.array(self._recent))
        self._recent.clear()
        if extrapolated is None:
            return
        trial = extrapolated.reshape(self.x.shape)
        trial[trial * self.x <= 0.0] = 0.0
        point = self.problem.point(trial, self.stage.s)
        objective = self.problem.objective(point, self.stage.mu)
        if objective < self.objective:
            self._accept(point, objective)

    def _improves(self, point, objective):
        """Tell whether the objective falls or, where rounding hides it, the violation."""
        gain = self.objective - objective
        rounding = 4 * np.finfo(float).eps * (self.problem.order + abs(self.objective))
        if abs(gain) > rounding or not np.isfinite(gain):
            return gain > 0
        return self._violation(point) < 0.99 * self.violation


def solve_prox(
    problem,
    W=None,
    *,
    mu=DEFAULT_MU,
    s=DEFAULT_S,
    warm_iter=500,
    max_iter=5000,
    tol=1e-2,
    callback=None,
    warn=True,
):
    """Follow the path with the proximal trust-region method.

    Parameters
    ----------
    problem : CoLiDEProblem
        The diagonal of W is never free here.
    W : ndarray of shape (d, d), optional
        Start, by default zero.
    mu, s : sequence of float
        The path.
    warm_iter, max_iter : int
        Largest number of iterations of the early stages, and of the last.
    tol : float, default=1e-2
        Largest violation of stationarity of the last stage, relative to the slope of the
        penalty; the early stages stop at 0.1 if that is larger.
    callback, warn
        As in :func:`sparseopt._core.iterate`.

    Returns
    -------
    result : OptimizeResult
        As :func:`sparseopt.causal._path.follow_path` describes it; ``certificate`` is the
        violation of stationarity.
    """

    def run_stage(W, stage, callback):
        state = _ProximalStage(problem, W, stage)
        return iterate(
            _ProximalStage.step,
            state,
            initial=state.progress(),
            max_iter=stage.max_iter,
            tol=tol if stage.last else max(tol, WARM_TOL),
            method="CoLiDE (proximal, last stage)",
            callback=callback,
            certificate_name="relative violation of stationarity",
            descends=True,
            warn=warn and stage.last,
        )

    start = np.zeros_like(problem.C) if W is None else W
    with short_products(problem.C.size):
        return follow_path(
            problem,
            start,
            run_stage,
            mu=mu,
            s=s,
            warm_iter=warm_iter,
            max_iter=max_iter,
            callback=callback,
        )
