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
from dataclasses import dataclass, field
from typing import Any

from sparseopt._core import Progress, is_numpy
from sparseopt._core._linalg import AndersonMixing
from sparseopt.decomposition._kernels import passes_for
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._singular_values import spectral_norm, spectral_norm_bound

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
LARGEST_GROWTH = 1e7  # of mu altogether: more would leave no digits of Y


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
        self.largest_mu = LARGEST_GROWTH * FIRST_MU / self.spectral if self.norm > 0 else 0.0

    @property
    def least_gap(self):
        """The relative gap that rounding permits to prove."""
        return 20 * self.data.eps + 50 * max(self.D.shape) * 2.0**-52

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

    problem: Pursuit
    low: LowRankMatrix
    L: Any  # low as a dense array
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
    rest: Any = None  # low, S, dual, gap and residual where the inexact ALM ended
    unsettled: Any = None  # low, V, mu, the bound and the dual variable where ADMM was left
    settle_gap: float = 0.0  # at which ADMM is left
    log: dict = field(default_factory=lambda: {"mu": [], "rank": [], "n_nonzero": []})

    @property
    def x(self):
        """The low-rank part of the matrix given, in its units."""
        return self.problem.data.restore(self.low)


class AugmentedLagrangian:
    """The iteration on a :class:`Pursuit`; ``step`` is what :func:`iterate` runs."""

    def __init__(self, problem, engine, *, tol, tol_gap, certify, shrink=None):
        self.problem, self.engine = problem, engine
        self.tol, self.tol_gap = tol, max(tol_gap, problem.least_gap)
        self.certify = certify  # whether the gap is a condition; ADMM closes it then
        self.shrink = shrink or _soft_values

    def start(self, L, Y, *, phase, mu=None):
        """Return the state for ``L`` (a LowRankMatrix, or None for zero) and the dual ``Y``.

        ``mu`` is given in units of 1 / ||D||_2, so that it serves data of another scale.
        """
        problem, xp = self.problem, self.problem.xp
        if mu is None:
            mu = FIRST_MU * (GROWTH**ADMM_START if phase == "admm" else 1.0)
        mu = mu / problem.spectral
        if L is None:
            dense = xp.zeros_like(problem.D)
            L = LowRankMatrix(dense[:, :0], dense[0, :0], dense[:0, :])
        else:
            dense = L.to_dense()
        return PursuitState(
            problem=problem,
            low=L,
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
            state.mu = min(state.mu * GROWTH, self.problem.largest_mu)
        nonzeros, penalty = moved
        state.log["mu"].append(state.last_mu)
        state.log["rank"].append(state.low.rank)
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
        state.low = LowRankMatrix(U, self.shrink(s, level), Vt)
        if state.phase == "admm":
            state.L, state.previous = state.previous, state.L
        if is_numpy(self.problem.xp):
            state.low.to_dense(out=state.L)
        else:
            state.L = state.low.to_dense()

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
                self.measure_gap(state)
            violation = max(violation, state.gap / self.tol_gap)
            if violation > 1:
                self._change_phase(state, feasible)
        objective = state.low.nuclear_norm + penalty
        return Progress(objective * problem.data.unit, violation)

    def _change_phase(self, state, feasible):
        if state.phase == "admm":
            late = state.steps >= SETTLE_AFTER and state.steps % BALANCE_EVERY == 0
            if late and self.relative_gap(state, rigorous=False)[0] <= state.settle_gap:
                self._settle(state)
        elif feasible or state.last_mu >= self.problem.largest_mu:
            # The inexact ALM has come to rest, as near to L + S = D as it gets.
            if state.phase == "ialm":
                self._start_admm(state)
            else:
                self._return_to_admm(state)

    def measure_gap(self, state):
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
        return state.low.nuclear_norm + penalty

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
        primal = state.low.nuclear_norm + penalty
        return (primal - product / factor) / primal, Y / factor

    def _start_admm(self, state):
        """Go on from the point where the inexact ALM came to rest, and keep that point."""
        xp = self.problem.xp
        gap, Y = self.relative_gap(state, rigorous=False)
        state.rest = state.low, xp.asarray(state.S, copy=True), Y, gap, state.residual
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
        state.unsettled = state.low, V, state.mu, bound, Y
        state.phase = "settle"
        state.wait = 0

    def _return_to_admm(self, state):
        """Go back to where ADMM was left: settling has cost too much of the gap."""
        state.low, state.V, state.mu = state.unsettled[:3]
        state.L, state.last_mu = state.low.to_dense(), state.mu
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
