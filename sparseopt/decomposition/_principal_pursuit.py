r"""Principal component pursuit, by augmented Lagrangians, with a certificate.

E. J. Candes, X. Li, Y. Ma & J. Wright, "Robust principal component analysis?", Journal of
the ACM 58 (2011); Z. Lin, M. Chen & Y. Ma, "The augmented Lagrange multiplier method for
exact recovery of corrupted low-rank matrices" (2010); H. Xu, C. Caramanis & S. Sanghavi,
"Robust PCA via outlier pursuit", IEEE Trans. Inf. Theory 58 (2012).

    minimise  ||L||_* + sum_ij lam_ij |S_ij|   (or  sum_i lam_i ||S_i||_2  by rows)
    subject to  L + S = D                      D, L, S of shape (m, n)

Each iteration shrinks S, then the singular values of L, then moves the dual Y:

    T = D - L + Y / mu,  S = prox(T),  V = L + T - S,  L = SVT_{1/mu}(V),  Y = mu (V - L).

L and V hold the dual too, and the iteration is a map from V to the next V. Two rules for mu:

- *inexact ALM* multiplies it by 1.5 each time. It needs some 20 iterations where L and S can
  be recovered exactly, but comes to rest at a point that is not optimal where they cannot:
  the sum of 1 / mu is finite.
- *ADMM* changes mu only to balance the two residuals, and no longer at all in the end. It
  converges to the optimum, and Anderson's mixing of its steps about halves the iterations.

Where the optimum is degenerate, as in pictures, ADMM closes the gap long before L + S = D
holds to many digits. Then mu grows again, and all comes to rest beside the optimum.

Every Y, divided by the larger of ||Y||_2 and max |Y_ij| / lam_ij where that exceeds one,
satisfies the constraints of the dual, max <D, Y>; and (L, D - L) satisfies those of the
primal. So their difference, the duality gap, bounds the error of the objective.
"""

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import Progress, Status, array_namespace, is_numpy, iterate, short_products
from sparseopt._core._iteration import HISTORY_FIELDS
from sparseopt._core._linalg import AndersonMixing
from sparseopt.decomposition._huber_descent import Problem
from sparseopt.decomposition._kernels import passes_for
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._singular_values import (
    ThresholdedSVD,
    spectral_norm,
    spectral_norm_bound,
)

GROWTH = 1.5  # of mu in the inexact ALM, and of its changes in ADMM
FIRST_MU = 1.25  # over ||D||_2
ADMM_START = 9  # powers of GROWTH from there to the first mu of ADMM
BALANCE_EVERY = 10  # iterations of ADMM between two looks at mu
IMBALANCE = 30.0  # quotient of the residuals that calls for another mu
FREEZE_AFTER = 300  # iterations of ADMM, from which on mu stays: convergence needs it
ANDERSON_MEMORY = 5
RETRY_AFTER = 5  # iterations after a certificate that failed
SETTLE_AFTER = 100  # iterations of ADMM, from which on a small gap is enough to settle
SETTLE_GAP = 0.5  # part of the tolerance that the gap must meet then


class Pursuit:
    """One problem, and what is computed from it once.

    Parameters
    ----------
    data : Problem
        Data and limits of the dual variable: lam_ij, or 0 where an entry of S is free, as at
        missing entries.
    by_rows : bool, default=False
        Whether the penalty is that of rows.
    """

    def __init__(self, data, *, by_rows=False):
        self.data, self.by_rows = data, by_rows
        self.xp, self.D, self.limits = data.xp, data.D, data.limits
        self.norm = data.norm
        self.passes = passes_for(self.xp, "pursuit")
        self.spectral = spectral_norm(self.D, rtol=1e-3) if self.norm > 0 else 0.0

    def scalar(self, value):
        """Return ``value`` in the precision of the data, so that kernels stay in it."""
        return self.D.dtype.type(value) if is_numpy(self.xp) else float(value)

    def dual_start(self):
        """Return Y = D / J, J its dual norm: the start of the published algorithm."""
        zero = self.xp.zeros_like(self.D)
        _, excess, _ = self.passes.duality(
            self.D, zero, self.D, self.limits, self.scalar(1), self.by_rows
        )
        Y = self.D / max(self.spectral, excess)
        return self.xp.where(self.limits > 0, Y, self.xp.zeros_like(Y))

    def feasible(self, Y):
        """Return Y, divided by what makes it satisfy the constraints of the dual."""
        zero = self.xp.zeros_like(self.D)
        _, excess, _ = self.passes.duality(
            self.D, zero, Y, self.limits, self.scalar(1), self.by_rows
        )
        Y = self.xp.where(self.limits > 0, Y, zero)
        return Y / max(1.0, spectral_norm(Y), excess)


@dataclass
class PursuitState:
    """What an iteration of a pursuit changes."""

    x: LowRankMatrix
    L: Any  # x as a dense array
    V: Any  # argument of the next or the last singular value shrinkage
    S: Any
    previous: Any  # the L before, in ADMM
    mu: float
    last_mu: float  # with which V and L hold the dual Y = last_mu (V - L)
    phase: str  # "ialm", "admm" or "settle"
    steps: int = 0  # of ADMM
    gap: float = math.inf  # relative, the last one computed
    residual: float = math.inf  # ||D - L - S||_F / ||D||_F
    wait: int = 0
    mixing: Any = None
    plain: Any = None  # the next V without mixing, to return to
    smallest_move: float = math.inf
    proof: Any = None  # the last gap whose bound was proved, and its dual variable
    rest: Any = None  # x, S, dual, gap and residual where the inexact ALM ended
    unsettled: Any = None  # x, V, mu, the bound and the dual variable where ADMM was left
    settle_gap: float = 0.0  # at which ADMM is left
    log: dict = field(default_factory=lambda: {"mu": [], "rank": [], "n_nonzero": []})


class AugmentedLagrangian:
    """The iteration on a :class:`Pursuit`; ``step`` is what :func:`iterate` runs."""

    def __init__(self, problem, engine, *, tol, tol_gap, certify, shrink=None):
        self.problem, self.engine = problem, engine
        self.tol, self.tol_gap = tol, tol_gap
        self.certify = certify  # whether the gap is a condition; ADMM closes it then
        self.shrink = shrink or _soft_values

    def start(self, L, Y, *, phase, mu=None):
        """Return the state for ``L`` (a LowRankMatrix, or None for zero) and the dual ``Y``."""
        problem, xp = self.problem, self.problem.xp
        if mu is None:
            mu = FIRST_MU / problem.spectral * (GROWTH**ADMM_START if phase == "admm" else 1.0)
        if L is None:
            dense = xp.zeros_like(problem.D)
            L = LowRankMatrix(dense[:, :0], dense[0, :0], dense[:0, :])
        else:
            dense = L.to_dense()
        return PursuitState(
            x=L,
            L=dense,
            V=dense + Y / problem.scalar(mu),
            S=xp.zeros_like(dense),
            previous=xp.zeros_like(dense),
            mu=mu,
            last_mu=mu,
            phase=phase,
            settle_gap=SETTLE_GAP * self.tol_gap,
            mixing=AndersonMixing(ANDERSON_MEMORY),
        )

    def step(self, state):
        """Run one iteration."""
        if state.phase == "admm":
            moved = self._separate_mixing(state)
            self._shrink_values(state)
            self._balance(state)
        else:
            moved = self._separate(state)
            self._shrink_values(state)
            state.mu = min(state.mu * GROWTH, 1e7 * FIRST_MU / self.problem.spectral)
        nonzeros, penalty = moved
        state.log["mu"].append(state.last_mu)
        state.log["rank"].append(state.x.rank)
        state.log["n_nonzero"].append(nonzeros)
        return self._progress(state, penalty)

    def _separate(self, state):
        problem = self.problem
        moved = problem.passes.separate(
            problem.D,
            state.L,
            state.V,
            problem.limits,
            problem.scalar(state.last_mu / state.mu),
            problem.scalar(state.mu),
            problem.by_rows,
            state.S,
        )
        state.last_mu = state.mu
        return moved

    def _separate_mixing(self, state):
        """Take a step of ADMM, mixed with those before as long as that helps."""
        if state.mu != state.last_mu:
            state.mixing.clear()
            state.plain, state.smallest_move = None, math.inf
            return self._separate(state)
        before = self.problem.xp.asarray(state.V, copy=True)
        moved = self._separate(state)
        move = self.problem.passes.squared_distance(state.V, before)
        if state.plain is not None and move > 4 * state.smallest_move:
            state.V = state.plain  # the mixture was a step back
            state.mixing.clear()
            state.plain, state.smallest_move = None, math.inf
            return moved
        state.smallest_move = min(state.smallest_move, move)
        state.plain = state.V
        state.V = state.mixing(before, state.V)
        return moved

    def _shrink_values(self, state):
        level = 1.0 / state.last_mu
        U, s, Vt = self.engine(state.V, self.shrink.smallest * level)
        state.x = LowRankMatrix(U, self.shrink(s, level), Vt)
        if state.phase == "admm":
            state.L, state.previous = state.previous, state.L
        if is_numpy(self.problem.xp):
            state.x.to_dense(out=state.L)
        else:
            state.L = state.x.to_dense()

    def _balance(self, state):
        state.steps += 1
        if state.steps % BALANCE_EVERY or state.steps > FREEZE_AFTER:
            return
        passes, norm = self.problem.passes, self.problem.norm
        primal = math.sqrt(passes.squared_residual(self.problem.D, state.L, state.S)) / norm
        dual = math.sqrt(passes.squared_distance(state.V, state.L))
        moved = math.sqrt(passes.squared_distance(state.L, state.previous))
        dual_residual = moved / dual if dual > 0 else 0.0
        if primal > IMBALANCE * dual_residual:
            state.mu *= GROWTH
        elif dual_residual > IMBALANCE * primal:
            state.mu /= GROWTH

    def _progress(self, state, penalty):
        problem = self.problem
        squared = problem.passes.squared_residual(problem.D, state.L, state.S)
        state.residual = math.sqrt(squared) / problem.norm
        state.wait -= 1
        feasible = state.residual <= self.tol
        violation = state.residual / self.tol
        if self.certify:
            if feasible and state.wait <= 0:
                self._measure_gap(state)
            violation = max(violation, state.gap / self.tol_gap)
            if violation > 1:
                self._change_phase(state, feasible)
        return Progress(state.x.nuclear_norm + penalty, violation)

    def _change_phase(self, state, feasible):
        if state.phase == "admm":
            late = state.steps >= SETTLE_AFTER and state.steps % BALANCE_EVERY == 0
            if late and self.relative_gap(state, rigorous=False)[0] <= state.settle_gap:
                self._settle(state)
        elif feasible and state.phase == "ialm":
            self._start_admm(state)
        elif feasible:
            self._return_to_admm(state)

    def _measure_gap(self, state):
        """Measure the duality gap; the bound of ||Y||_2 is proved before it is believed."""
        if state.phase == "settle":
            bound, Y = state.unsettled[-2:]
            primal = self._primal(state)
            state.proof = (primal - bound) / primal, Y
            state.gap = state.proof[0]
            return
        state.gap, _ = self.relative_gap(state, rigorous=False)
        if state.gap <= self.tol_gap:
            state.proof = self.relative_gap(state, rigorous=True)
            state.gap = state.proof[0]
        if state.gap > self.tol_gap:
            state.wait = RETRY_AFTER

    def _primal(self, state):
        """Return the objective of L and D - L."""
        problem = self.problem
        _, _, penalty = problem.passes.duality(
            problem.D, state.L, state.V, problem.limits, problem.scalar(1), problem.by_rows
        )
        return state.x.nuclear_norm + penalty

    def relative_gap(self, state, *, rigorous):
        """Return the duality gap over the primal objective, and the feasible dual variable."""
        problem = self.problem
        scale = state.last_mu
        product, excess, penalty = problem.passes.duality(
            problem.D, state.L, state.V, problem.limits, problem.scalar(scale), problem.by_rows
        )
        Y = scale * (state.V - state.L)
        Y = problem.xp.where(problem.limits > 0, Y, problem.xp.zeros_like(Y))
        factor = max(1.0, excess, spectral_norm_bound(Y, guess=1.0) if rigorous else 1.0)
        primal = state.x.nuclear_norm + penalty
        return (primal - product / factor) / primal, Y / factor

    def _start_admm(self, state):
        """Go on from the point where the inexact ALM came to rest, and keep that point."""
        xp = self.problem.xp
        _, Y = self.relative_gap(state, rigorous=False)
        state.rest = state.x, xp.asarray(state.S, copy=True), Y, state.gap, state.residual
        mu = FIRST_MU / self.problem.spectral * GROWTH**ADMM_START
        state.V = state.L + Y / self.problem.scalar(mu)
        state.mu = state.last_mu = mu
        state.phase = "admm"
        state.previous = xp.asarray(state.L, copy=True)

    def _settle(self, state):
        """Let mu grow, with the dual variable that is good enough in hand."""
        gap, Y = self.relative_gap(state, rigorous=True)
        bound = (1 - gap) * self._primal(state)
        V = self.problem.xp.asarray(state.V, copy=True)
        state.unsettled = state.x, V, state.mu, bound, Y
        state.phase = "settle"
        state.wait = 0

    def _return_to_admm(self, state):
        """Go back to where ADMM was left: settling has cost too much of the gap."""
        state.x, state.V, state.mu = state.unsettled[:3]
        state.L, state.last_mu = state.x.to_dense(), state.mu
        state.mixing.clear()
        state.plain, state.smallest_move = None, math.inf
        state.phase, state.gap = "admm", math.inf
        state.settle_gap /= 4


class _SoftValues:
    """The shrinkage of the plain nuclear norm."""

    smallest = 1.0

    def __call__(self, s, level):
        return s - level


_soft_values = _SoftValues()


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
        Result for a similar problem. ADMM goes on from it.
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
        (relative), ``admm_mu`` (for a later start), ``fun``, ``nit``, ``success``, ``status``,
        ``message`` and ``history``, which also has ``mu``, ``rank`` and ``n_nonzero``.
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
        state = method.start(
            problem.data.first(start),
            problem.feasible(start.dual),
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
    proved = result.success and state.proof is not None
    gap, Y = state.proof if proved else method.relative_gap(state, rigorous=True)
    x, S, residual = state.x, state.S, state.residual
    if not result.success and state.rest is not None and state.rest[3] < gap:
        x, S, Y, gap, residual = state.rest  # ADMM was cut off before it did better
        state.L = x.to_dense()
    if problem.data.seen is not None:
        S = xp.where(problem.data.seen, S, xp.zeros_like(S))
    _, _, penalty = problem.passes.duality(
        S, xp.zeros_like(S), S, problem.limits, problem.scalar(1), problem.by_rows
    )
    unit = problem.data.unit
    result.fun = (x.nuclear_norm + penalty) * unit
    result.x = problem.data.restore(x)
    result.low_rank, result.sparse = (problem.data.dense(part, unit) for part in (state.L, S))
    result.dual, result.dual_gap, result.residual = Y, gap, residual
    balanced = {"ialm": None, "admm": state.mu, "settle": state.unsettled and state.unsettled[2]}
    result.admm_mu = balanced[state.phase]
    result.history.update({name: np.array(values) for name, values in state.log.items()})
    result.message = _describe(result, method)


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
