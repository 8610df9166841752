r"""Stable principal component pursuit: low rank plus sparse plus dense noise, certified.

    min_{L,S}  ||L||_* + lam sum w_ij |S_ij| + ||P(D - L - S)||_F^2 / (2 mu)

for D, L, S of shape (m, n) and the projection P onto observed entries (Z. Zhou, X. Li, J.
Wright, E. Candès & Y. Ma, "Stable principal component pursuit", ISIT 2010). The best S for a
given L is a soft threshold, and what is left is a Huber loss of L with gradient -Y,

    Y = P clip(D - L, -mu lam w, mu lam w) / mu,    L <- SVT_mu(H + mu Y(H)),

so that accelerated proximal gradient steps on L alone have the step size mu, twice that of
steps on the pair. Y / max(1, ||Y||_2) is feasible for the dual problem

    max_Y  <D, Y> - mu ||Y||_F^2 / 2    s. t.  ||Y||_2 <= 1,  |Y_ij| <= lam w_ij,

and a step shows at no cost that ||Y(H)||_2 <= 1 + ||H - L||_F / mu: since L is a shrunk
H + mu Y(H), the difference of both is at most mu. The gap is thus known after each step; the
last one is confirmed by a bound of ||Y(L)||_2 that does not rely on the decomposition.
"""

import math
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import (
    Progress,
    Status,
    check_at_least_one,
    check_nonnegative,
    describe_end,
    iterate,
    short_products,
)
from sparseopt.decomposition._huber_descent import RECHECK, HuberDescent, Problem, fill
from sparseopt.decomposition._singular_values import ThresholdedSVD
from sparseopt.decomposition._stable_radius import RadiusSearch, typical_mu

METHOD = "Stable principal component pursuit"
ADVICE = (
    "Increase max_iter, or tol if this accuracy suffices. A small mu takes many steps: data "
    "without dense noise are for principal component pursuit."
)


def stable_principal_pursuit(
    D,
    lam,
    mu=None,
    *,
    radius=None,
    observed=None,
    weights=None,
    shrink=None,
    start=None,
    svd_solver="auto",
    tol=1e-6,
    max_iter=5000,
    random_state=None,
    callback=None,
    warn=True,
):
    r"""Split a matrix with dense noise into a low-rank and a sparse part.

    Minimises :math:`\|L\|_* + \lambda \sum_{ij} w_{ij} |S_{ij}|
    + \frac{1}{2 \mu} \|P(D - L - S)\|_F^2`, or the first two terms subject to
    :math:`\|P(D - L - S)\|_F \le \delta`, where P keeps the observed entries.

    Parameters
    ----------
    D : array of shape (m, n)
        Real matrix, from any array library; float32 is kept. It is not written to.
    lam : float
        Price of the sparse part, > 0; :math:`1 / \sqrt{p \max(m, n)}` is usual if the share
        p of the entries is observed.
    mu : float, optional
        Weight of the residual, > 0, in the units of ``D``: :func:`default_mu` of the
        standard deviation of the noise.
    radius : float, optional
        :math:`\delta > 0`, given instead of ``mu``: :func:`default_radius` of the standard
        deviation of the noise.
    observed : bool array of shape (m, n), optional
        Which entries of ``D`` count; the others may be NaN.
    weights : array of shape (m,) or (m, n), optional
        :math:`w_{ij} \ge 0` of rows or entries; 1 by default. A zero lets the sparse part
        absorb the entry.
    shrink : SingularValueWeights, optional
        Weights of the singular values of L, instead of the nuclear norm. The problem is then
        not convex: the run ends where a step changes nothing, at a stationary point, and
        there is no duality gap. Only together with ``mu``.
    start : OptimizeResult, optional
        Result for a similar problem, from which to begin; zero by default.
    svd_solver : {"auto", "full", "gram", "subspace"}, default="auto"
        How singular values are found, see :class:`ThresholdedSVD`.
    tol : float, default=1e-6
        Largest duality gap, relative to the objective (with ``shrink``, change
        of a step relative to ``D``). At least what rounding permits is used: the machine
        epsilon times 20 and times :math:`4 \|D\|_F / \mu`.
    max_iter : int, default=5000
        Largest number of steps.
    random_state : None, int, RandomState or Generator
        Draws the first block of the subspace iteration.
    callback : callable, optional
        Called after each step (with ``radius``, every 50 steps at most) as ``callback(x)`` or
        ``callback(intermediate_result=...)``; raising ``StopIteration`` ends the run.
    warn : bool, default=True
        Whether to warn if ``tol`` was not reached.

    Returns
    -------
    result : OptimizeResult
        ``x`` (L as a :class:`LowRankMatrix`), ``low_rank`` and ``sparse`` of shape (m, n), the
        latter zero where nothing was observed, ``dual`` (Y, feasible), ``fun``,
        ``certificate`` and ``dual_gap`` (relative gap of the returned arrays), ``mu``,
        ``residual_norm``, ``nit``, ``success``, ``status``, ``message`` and ``history``.

    Raises
    ------
    TypeError
        For matrices that are sparse or not real.
    ValueError
        For parameters out of their range, entries that are neither finite nor declared
        missing, or rows or columns without any observed entry.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` was not reached.

    Notes
    -----
    A step takes one thresholded singular value decomposition, 2 m n r flops for the new L and
    two passes that read seven and write two matrices. Five matrices are held.

    References
    ----------
    Z. Zhou, X. Li, J. Wright, E. Candès & Y. Ma, "Stable principal component pursuit", IEEE
    International Symposium on Information Theory, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._noise import default_mu
    >>> from sparseopt.decomposition._stable_pursuit import stable_principal_pursuit
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 50))
    >>> errors = 9 * (rng.random((60, 50)) < 0.05)
    >>> D = low_rank + errors + 0.1 * rng.standard_normal((60, 50))
    >>> result = stable_principal_pursuit(D, 60**-0.5, default_mu(0.1, D.shape))
    >>> bool(result.dual_gap <= 1e-6)
    True
    >>> bool(np.all((result.sparse > 3) == (errors > 0)))
    True
    """
    _check_one_of(mu, radius, shrink)
    max_iter = check_at_least_one(max_iter, "max_iter")
    problem = Problem.of(D, _positive(lam, "lam"), observed, weights)
    level = _positive(*((mu, "mu") if radius is None else (radius, "radius"))) / problem.unit
    typical = level if radius is None else typical_mu(problem, level)
    tol = max(check_nonnegative(tol, "tol"), problem.accuracy(typical))
    engine = ThresholdedSVD(
        problem.shape, problem.dtype, xp=problem.xp, solver=svd_solver, random_state=random_state
    )
    with short_products(math.prod(problem.shape)):
        state = HuberDescent(problem, engine, problem.first(start), tol=tol, shrink=shrink)
        if radius is not None:
            state = step = RadiusSearch(state, level, max_iter)
            initial = state.initial()
        else:
            state.begin(level, gradually=start is None)
            step = _step if shrink is None else _step_to_fixed_point
            initial = Progress(0.0, 0.0) if problem.norm == 0 else None
        result = iterate(
            step,
            state,
            initial=initial,
            max_iter=max_iter,
            tol=tol,
            method=METHOD,
            callback=callback,
            warn=False,
        )
        if radius is None:
            _conclude(state, result)
        else:
            state.conclude(result)
    name = "duality gap" if shrink is None else "relative change"
    return _report(result, name, tol, warn)


def _step(state):
    """Take a step; a gap that would end the run is confirmed first."""
    objective, gap = state.advance()
    if gap <= 3 * state.tol and state.nit >= state.certified_at + RECHECK:
        gap = state.certify()
    elif gap <= state.tol:
        gap = max(gap, state.certified)
    return Progress(objective * state.problem.unit, gap)


def _step_to_fixed_point(state):
    """Take a step on a problem that is not convex, judged by how much it changes."""
    objective, _ = state.advance()
    return Progress(objective * state.problem.unit, state.change / state.problem.norm)


def _conclude(state, result):
    """Fill in the arrays of a result."""
    problem, state.mu = state.problem, state.goal
    if result.x is not state.x:  # the best iterate was not the last
        state.move_to(problem.first(result))
        state.certified_at = -1
    clipped = problem.xp.empty_like(problem.D)
    parts = problem.passes.clip_residual(problem.D, state.L, problem.limits, state.mu, clipped)
    fill(result, problem, state.L, clipped)
    result.loss = parts[0] / state.mu * problem.unit
    result.fun = state.penalty * problem.unit + result.loss
    result.mu = state.mu * problem.unit
    result.residual_norm = math.sqrt(parts[2]) * problem.unit
    if state.shrink is None:
        if state.certified_at != state.nit:
            state.certify()
        result.dual = problem.dense(clipped / (state.mu * state.excess))
        result.certificate = result.dual_gap = state.certified
    result.history["restart"] = np.isin(result.history["iteration"] - 1, state.restarts)


def _report(result, name, tol, warn):
    """Say how the run ended, by the certificate of what is returned."""
    if result.certificate <= tol:
        result.status, result.success = Status.CONVERGED, True
    result.message = describe_end(
        result.status, METHOD, name, result.certificate, tol, result.nit, ADVICE
    )
    if warn and result.status not in (Status.CONVERGED, Status.STOPPED_BY_CALLBACK):
        warnings.warn(result.message, ConvergenceWarning, stacklevel=3)
    return result


def _positive(value, name):
    value = check_nonnegative(value, name)
    if value == 0:
        raise ValueError(
            f"{name} must be > 0, got 0; without noise, use principal component pursuit."
            if name in ("mu", "radius")
            else f"{name} must be > 0, got 0."
        )
    return value


def _check_one_of(mu, radius, shrink):
    if (mu is None) == (radius is None):
        raise ValueError(f"Give one of mu and radius, got mu={mu!r} and radius={radius!r}.")
    if shrink is not None and radius is not None:
        raise ValueError("shrink needs mu, not radius: the problem would not be convex.")
