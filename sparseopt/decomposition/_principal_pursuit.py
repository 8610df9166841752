"""Principal component pursuit: the solver function and its result.

The method and its papers are in ``_augmented_lagrangian``.
"""

import math
import warnings

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import Status, array_namespace, is_numpy, iterate, short_products
from sparseopt._core._iteration import HISTORY_FIELDS
from sparseopt.decomposition._augmented_lagrangian import AugmentedLagrangian, Pursuit
from sparseopt.decomposition._huber_descent import Problem
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._singular_values import ThresholdedSVD, spectral_norm_bound

FOREIGN = 100  # times the norm of the data: L of a start for data of another scale


def principal_component_pursuit(
    D,
    lam,
    *,
    by_rows=False,
    observed=None,
    row_weights=None,
    solver="auto",
    tol=1e-7,
    tol_gap=1e-4,
    max_iter=1000,
    svd_solver="auto",
    start=None,
    shrink=None,
    random_state=None,
    callback=None,
    warn=True,
):
    """Split ``D`` into a low-rank and a sparse matrix.

    Parameters
    ----------
    D : array of shape (m, n)
        Real data, from any array library; float32 is kept. It is not written to.
    lam : float
        Weight of the sparse part, > 0.
    by_rows : bool, default=False
        Whether S is sparse in its rows (outlier pursuit) rather than in its entries.
    observed : array of bool of shape (m, n), optional
        Where D is known. The low-rank part fills in the rest.
    row_weights : array of shape (m,), optional
        Factors >= 0 of ``lam`` for each row.
    solver : {"auto", "ialm", "admm"}, default="auto"
        "ialm" stops where L + S = D; "admm" goes for a small duality gap; "auto" is
        "ialm" followed by "admm" if the gap is still too large.
    tol : float, default=1e-7
        Bound of ``||D - L - S||_F / ||D||_F``.
    tol_gap : float, default=1e-4
        Bound of the duality gap over the objective, unless the solver is "ialm".
    max_iter : int, default=1000
        Largest number of iterations, with a decomposition of singular values each.
    svd_solver : {"auto", "full", "gram", "subspace"}, default="auto"
        How these are found; see :class:`ThresholdedSVD`.
    start : OptimizeResult, optional
        Result for a similar problem, in the dtype of ``D``. ADMM goes on from it.
    shrink : callable, optional
        Other shrinkage of singular values: ``shrink(s, level)``, with an attribute
        ``smallest``, the smallest factor of ``level`` that it subtracts. The solver is "ialm"
        then, and the gap means nothing.
    random_state : None, int, RandomState or Generator
        Draws the first block of the subspace iteration.
    callback : callable, optional
        As in SciPy's optimizers, with ``x`` a :class:`LowRankMatrix`.
    warn : bool, default=True
        Whether to emit a ``ConvergenceWarning``.

    Returns
    -------
    result : OptimizeResult
        ``x`` (L as a :class:`LowRankMatrix`), ``low_rank``, ``sparse`` (zero where D is not
        observed), ``dual`` (feasible), ``dual_gap`` (relative, proved), ``residual``
        (relative), ``admm_mu`` (times ||D||_2, for a later start), ``fun``, ``nit``, ``success``,
        ``status``, ``message`` and ``history``, which also has ``mu``, ``rank`` and ``n_nonzero``.
    """
    if is_numpy(array_namespace(D)):
        D = np.ascontiguousarray(D)
    problem = Pursuit(Problem.of(D, lam, observed, row_weights), by_rows=by_rows)
    if problem.norm == 0:
        return _nothing_to_split(problem)
    engine = ThresholdedSVD(
        problem.D.shape,
        problem.D.dtype,
        xp=problem.xp,
        solver=svd_solver,
        random_state=random_state,
        device=getattr(problem.D, "device", None),
    )
    # Other shrinkages are not monotone: only a growing mu makes them come to rest.
    certify = solver != "ialm" and shrink is None
    method = AugmentedLagrangian(
        problem, engine, tol=tol, tol_gap=tol_gap, certify=certify, shrink=shrink
    )
    if start is None:
        phase = "admm" if solver == "admm" else "ialm"
        state = method.start(None, problem.dual_start(), phase=phase)
    else:
        low, dual = problem.data.first(start), start.get("dual")
        foreign = low.rank > 0 and float(low.s[0]) > FOREIGN * problem.spectral
        state = method.start(
            None if foreign else low,
            problem.dual_start() if dual is None else problem.feasible(dual),
            phase="admm" if certify else "ialm",
            mu=start.get("admm_mu"),
        )
    with short_products(math.prod(problem.D.shape)):
        result = iterate(
            method.step,
            state,
            max_iter=max_iter,
            tol=1.0,
            method="Principal component pursuit",
            callback=callback,
            descends=True,
            warn=False,
        )
        _conclude(result, state, method)
    if warn and result.status not in (Status.CONVERGED, Status.STOPPED_BY_CALLBACK):
        warnings.warn(result.message, ConvergenceWarning, stacklevel=2)
    return result


def _conclude(result, state, method):
    """Store both parts, the certificate and the message that reports it."""
    problem, xp = method.problem, method.problem.xp
    gap, Y = _proof(result, state, method)
    low, S, residual = state.low, state.S, state.residual
    if not result.success and state.rest is not None and state.rest[3] < gap:
        rest_gap, rest_dual = _proof_of_rest(state)
        if rest_gap < gap:  # ADMM was cut off before it did better
            low, S, _, _, residual = state.rest
            gap, Y = rest_gap, rest_dual
            state.L = low.to_dense()
    if problem.data.seen is not None:
        S = xp.where(problem.data.seen, S, xp.zeros_like(S))
    _, _, penalty = problem.passes.duality(
        S, xp.zeros_like(S), S, problem.limits, problem.scalar(1), problem.by_rows
    )
    unit = problem.data.unit
    result.fun = (low.nuclear_norm + penalty) * unit
    result.x = problem.data.restore(low)
    result.low_rank, result.sparse = (problem.data.dense(part, unit) for part in (state.L, S))
    result.dual, result.dual_gap, result.residual = Y, gap, residual
    mu = {"ialm": None, "admm": state.mu, "settle": state.unsettled and state.unsettled[2]}
    result.admm_mu = mu[state.phase] and mu[state.phase] * problem.spectral
    result.history.update({name: np.array(values) for name, values in state.log.items()})
    result.message = _describe(result, method)


def _proof(result, state, method):
    """Return the relative gap of the last point and the dual variable that proves it."""
    if result.success and state.proof is not None:
        return state.proof
    if state.phase == "settle":
        method.measure_gap(state)
        return state.proof
    return method.relative_gap(state, rigorous=True)


def _proof_of_rest(state):
    """Return the same for the point where the inexact ALM came to rest."""
    _, _, Y, gap, _ = state.rest
    factor = max(1.0, spectral_norm_bound(Y, guess=1.0))
    return 1 - (1 - gap) / factor, Y / factor


def _describe(result, method):
    ends = {
        Status.CONVERGED: "converged",
        Status.STOPPED_BY_CALLBACK: "was stopped by its callback",
        Status.NON_FINITE: "met a non-finite value",
    }
    end = ends.get(result.status, "did not converge")
    text = (
        f"Principal component pursuit {end}: duality gap {result.dual_gap:.3g}"
        f"{f' (tolerance {method.tol_gap:.3g})' if method.certify else ''}, residual "
        f"{result.residual:.3g} (tolerance {method.tol:.3g}) after {result.nit} iterations."
    )
    advice = " Increase max_iter, or tol and tol_gap if this accuracy suffices."
    return text + (advice if end == "did not converge" else "")


def _nothing_to_split(problem):
    """Return the result for zero data."""
    zero = problem.xp.zeros_like(problem.D)
    return OptimizeResult(
        x=LowRankMatrix(zero[:, :0], zero[0, :0], zero[:0, :]),
        low_rank=zero,
        sparse=problem.xp.zeros_like(zero),
        dual=problem.xp.zeros_like(zero),
        dual_gap=0.0,
        residual=0.0,
        admm_mu=None,
        fun=0.0,
        certificate=0.0,
        nit=0,
        success=True,
        status=Status.CONVERGED,
        message="Principal component pursuit converged: the data are zero.",
        history={name: np.zeros(0) for name in (*HISTORY_FIELDS, "mu", "rank", "n_nonzero")},
    )
