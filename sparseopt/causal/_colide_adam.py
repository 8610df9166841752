"""CoLiDE by the published algorithm: Adam on the objective, stage by stage.

The problem is in ``_problem``. S. S. Saboksayr, G. Mateos and M. Tepper, "CoLiDE: Concomitant
Linear DAG Estimation", ICLR 2024; the step is that of D. P. Kingma and J. Ba, "Adam: A Method for
Stochastic Optimization", ICLR 2015. A step costs 4 d^3 flops: one product with the covariance
and one inverse.
"""

import math

import numpy as np

from sparseopt._core import Progress, iterate, short_products
from sparseopt.causal._kernels.colide import LEFT_DOMAIN, STEP_VANISHED, adam_steps
from sparseopt.causal._path import DEFAULT_MU, DEFAULT_S, LeftDomain, follow_path


class _AdamStage:
    """The iterate ``x`` with the moments of Adam, at one point of the path."""

    def __init__(self, problem, W, scales, stage, *, rate, betas, check_every):
        self.problem, self.stage = problem, stage
        self.x = W.copy()
        self.scales = scales.copy()
        self.residual = problem.residual(self.x)
        self.moments = tuple(np.zeros_like(self.x) for _ in range(3))
        self.rate, self.betas, self.check_every = rate, betas, check_every
        self.done = 0
        self.objective = 1e16  # the published start of the test of convergence
        self._allowed = problem.allowed.astype(np.float64)
        self._scratch = np.empty_like(self.x)

    def step(self):
        """Take the steps up to the next test of convergence."""
        problem, stage = self.problem, self.stage
        before = self.done
        outcome, self.done, self.rate = adam_steps(
            problem.C,
            self.x,
            self.residual,
            self.scales,
            self.moments,
            self._allowed,
            problem.penalty,
            problem.floors,
            problem.equal_variance,
            stage.mu,
            stage.s,
            self.betas,
            self.rate,
            before,
            min(self.check_every, stage.max_iter - before),
            self._scratch,
            problem.workspace,
        )
        if outcome == LEFT_DOMAIN:
            raise LeftDomain
        previous, self.objective = self.objective, self._objective()
        return Progress(
            self.objective,
            abs(previous - self.objective) / abs(previous) if previous else math.inf,
            stalled=outcome == STEP_VANISHED,
            iterations=self.done - before,
        )

    def _objective(self):
        """Return the objective; the last step may have left the domain for a moment."""
        point = self.problem.point(self.x, self.stage.s)
        if point.acyclicity == math.inf:
            matrix = np.eye(self.x.shape[0]) - self.x * self.x / self.stage.s
            point.acyclicity = -np.linalg.slogdet(matrix)[1]
        return self.problem.objective(point, self.stage.mu)


def solve_adam(
    problem,
    W=None,
    scales=None,
    *,
    mu=DEFAULT_MU,
    s=DEFAULT_S,
    learning_rate=3e-4,
    betas=(0.99, 0.999),
    warm_iter=20_000,
    max_iter=70_000,
    tol=1e-6,
    check_every=1000,
    callback=None,
    warn=True,
):
    """Follow the path with Adam.

    Parameters
    ----------
    problem : CoLiDEProblem
        Its ``allowed`` decides whether the diagonal of W is free, as it is in the
        published code.
    W : ndarray of shape (d, d), optional
        Start, by default zero.
    scales : ndarray of shape (d,), optional
        Noise scales before the first step; by default the published ones: the smallest
        standard deviation of a column for equal variances, else that of each column.
    mu, s : sequence of float
        The path.
    learning_rate : float, default=3e-4
        Step size.
    betas : tuple of two floats, default=(0.99, 0.999)
        Decay rates of the moments.
    warm_iter, max_iter : int
        Largest number of steps of the early stages, and of the last.
    tol : float, default=1e-6
        A stage ends when the objective changes by at most this, relatively, between
        two checks.
    check_every : int, default=1000
        Steps from check to check.
    callback, warn
        As in :func:`sparseopt._core.iterate`.

    Returns
    -------
    result : OptimizeResult
        As :func:`sparseopt.causal._path.follow_path` describes it; ``certificate`` is the
        last relative change of the objective.
    """
    start = np.zeros_like(problem.C) if W is None else W
    if scales is None:
        scales = np.sqrt(np.diagonal(problem.C))
        if problem.equal_variance:
            scales = np.full_like(scales, scales.min())
        if W is not None:
            scales = problem.noise_scales(start, problem.residual(start))
    current = {"scales": scales}

    def run_stage(W, stage, callback):
        state = _AdamStage(
            problem,
            W,
            current["scales"],
            stage,
            rate=learning_rate / 2**stage.attempts,
            betas=tuple(betas),
            check_every=check_every,
        )
        result = iterate(
            _AdamStage.step,
            state,
            max_iter=stage.max_iter,
            tol=tol,
            method="CoLiDE (Adam, last stage)",
            callback=callback,
            certificate_name="relative change of the objective",
            descends=True,
            warn=warn and stage.last,
        )
        current["scales"] = state.scales
        return result

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
