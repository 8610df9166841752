r"""Proximal gradient steps for the low-rank part of a matrix with sparse errors and noise.

The Huber loss of L that stable principal component pursuit leaves, once S is eliminated, its
accelerated descent, and the duality gap of each step; the formulas are in ``_stable_pursuit``.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from sparseopt._core import array_namespace, is_numpy
from sparseopt.decomposition._kernels import passes_for
from sparseopt.decomposition._known_rank import prepare
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._singular_values import spectral_norm, spectral_norm_bound

FIRST_SHARE = 0.1  # of the spectral norm of the data: the first mu
STAGE_FACTOR = 0.2  # of the mu of successive stages
STAGE_GAP = 1e-2  # relative, at which a stage ends
RECHECK = 10  # steps between two confirmations of the gap


class Problem(NamedTuple):
    """The data in C order and a safe scale, and ``lam`` times the weights.

    The matrix given is ``unit`` times ``D``, or times its transpose.
    """

    D: Any  # (m, n), zero where nothing was observed
    limits: Any  # (m, 1) or (m, n), zero where nothing was observed
    seen: Any  # (m, n) mask, or None
    norm: float
    n_observed: int
    unit: float
    transposed: bool
    xp: Any

    @classmethod
    def of(cls, D, lam, observed=None, weights=None):
        """Validate the arrays of a problem."""
        data = prepare(D, observed)
        xp, values = data.xp, data.values
        limits, seen = _limits(lam, weights, values, data.transposed, xp), None
        if observed is not None:
            seen = ~xp.isnan(values)
            zero = xp.zeros_like(values)
            values = xp.where(seen, values, zero)
            limits = xp.where(seen, xp.broadcast_to(limits, values.shape), zero)
        return cls(values, limits, seen, data.norm, data.n_observed, data.unit, data.transposed, xp)

    @property
    def shape(self):
        """Shape of ``D``."""
        return tuple(self.D.shape)

    @property
    def dtype(self):
        """Dtype of ``D``."""
        return self.D.dtype

    @property
    def eps(self):
        """Machine epsilon of the dtype."""
        return float(self.xp.finfo(self.dtype).eps)

    def accuracy(self, mu):
        """Return the least relative gap that rounding permits."""
        return self.eps * max(20.0, 4 * self.norm / mu)

    @property
    def passes(self):
        """The kernels for the arrays."""
        return passes_for(self.xp, "stable")

    def first(self, start=None):
        """Return the first iterate: zero, or that of another result for the matrix given."""
        xp, D = self.xp, self.D
        if start is None:
            return LowRankMatrix(xp.zeros_like(D[:, :0]), xp.zeros_like(D[0, :0]), D[:0, :])
        start = start.x.T if self.transposed else start.x
        if tuple(start.shape) != self.shape:
            raise ValueError(f"start must be for a matrix of the shape of D, got {start.shape}.")
        return LowRankMatrix(start.U, start.s / self.unit, start.Vt)

    def restore(self, low):
        """Return a low-rank ``D`` as one in terms of the matrix given."""
        restored = LowRankMatrix(low.U, low.s * self.unit, low.Vt)
        return restored.T if self.transposed else restored

    def dense(self, values, scale=1.0):
        """Return an array like ``D`` in the orientation of the matrix given, times ``scale``."""
        values = values if scale == 1 else values * scale
        return self.xp.matrix_transpose(values) if self.transposed else values


class HuberDescent:
    """Accelerated proximal gradient steps on L, restarted where momentum points uphill.

    Momentum is dropped when ``<H - L_new, L_new - L> > 0`` (B. O'Donoghue & E. Candès,
    "Adaptive restart for accelerated gradient schemes", 2015).
    """

    def __init__(self, problem, engine, first, *, tol, shrink=None):
        xp = problem.xp
        self.problem, self.engine, self.tol, self.shrink = problem, engine, tol, shrink
        self.L, self.H, self.W = (xp.empty_like(problem.D) for _ in range(3))
        self.move_to(first)
        self.nit, self.restarts = 0, []

    def begin(self, mu, *, gradually=False):
        """Start afresh from the present L with the parameter ``mu``.

        A small mu is approached through larger ones, if ``gradually``: steps are then large
        as long as L is far from the solution.
        """
        self.goal = mu
        largest = FIRST_SHARE * spectral_norm(self.problem.D) if gradually else 0.0
        self._set(max(largest, mu))

    def _set(self, mu):
        self.mu, self.t = mu, 1.0
        self.lower_bound = -math.inf
        self.certified, self.certified_at = math.inf, -RECHECK
        self._extrapolate(self.L, 0.0, self.W)

    def move_to(self, low):
        """Make ``low`` the present L."""
        self.low = low
        self.penalty = low.nuclear_norm if self.shrink is None else self.shrink.penalty(low.s)
        self.x = self.problem.restore(low)  # in terms of the matrix given
        if is_numpy(self.problem.xp):
            low.to_dense(out=self.L)
        else:
            self.L[...] = low.to_dense()

    def advance(self):
        """Take a step; return the objective and an estimate of the relative gap.

        The gap is said to be 1, which no gap exceeds, for a mu on the way to the one wanted.
        """
        problem, mu = self.problem, self.mu
        low = self._shrink_values()
        before, self.L = self.L, self.W
        self.move_to(low)
        loss, distance, uphill = problem.passes.compare(
            problem.D, self.L, before, self.H, problem.limits, mu
        )
        self.change = math.sqrt(distance)
        self.objective = self.penalty + loss / mu
        excess = 1 + self.change / mu
        self.lower_bound = max(self.lower_bound, dual_value(*self.products, mu, excess))
        following = (1 + math.sqrt(1 + 4 * self.t**2)) / 2
        momentum = (self.t - 1) / following
        if uphill > 0:
            following, momentum = 1.0, 0.0
            self.restarts.append(self.nit)
        self.t = following
        self.nit += 1
        self._extrapolate(before, momentum, before)
        gap = relative_gap(self.objective, self.lower_bound)
        if self.mu > self.goal:
            if gap <= max(STAGE_GAP, 4 * self.problem.accuracy(self.mu)):
                self._set(max(STAGE_FACTOR * self.mu, self.goal))
            gap = 1.0
        return self.objective, gap

    def certify(self):
        """Return the relative gap of the present L, which relies on no decomposition."""
        problem, mu = self.problem, self.mu
        clipped = problem.xp.empty_like(problem.D)
        loss, product, energy = problem.passes.clip_residual(
            problem.D, self.L, problem.limits, mu, clipped
        )
        objective = self.penalty + loss / mu
        wanted = objective * (1 - self.tol / 2)
        self.excess = self.dual_excess(clipped, excess_for(wanted, product, energy, mu))
        self.certified_at = self.nit
        self.certified = relative_gap(objective, dual_value(product, energy, mu, self.excess))
        return self.certified

    def dual_excess(self, clipped, enough):
        """Return what c / mu must be divided by to be feasible for the dual problem.

        What would be ``enough`` is tried first, since a proof takes less than to find the norm
        where many singular values are about 1.
        """
        guess = self.mu * enough
        bound = spectral_norm_bound(clipped, guess=guess)
        if bound > guess * (1 + self.tol / 4):
            guess = max(self.mu, spectral_norm(clipped, rtol=self.tol / 10))
            bound = min(bound, spectral_norm_bound(clipped, guess=guess))
        return max(1.0, bound / self.mu)

    def _shrink_values(self):
        if self.shrink is None:
            found = self.engine(self.W, self.mu)
            return LowRankMatrix(found.U, found.s - self.mu, found.Vt)
        found = self.engine(self.W, self.mu * self.shrink.smallest)
        return positive_part(found, self.shrink(found.s, self.mu))

    def _extrapolate(self, before, momentum, W):
        problem = self.problem
        self.W = W
        self.products = problem.passes.extrapolate(
            problem.D, self.L, before, problem.limits, self.mu, momentum, self.H, W
        )


def dual_value(product, energy, mu, excess):
    """Return the dual objective at the best multiple of c / mu that is feasible.

    ``product`` is <D, c>, ``energy`` is ||c||^2 and ``excess`` bounds ||c / mu||_2.
    """
    if energy == 0:
        return 0.0
    scale = min(1 / excess, max(product, 0.0) / energy)
    return scale * product / mu - scale**2 * energy / (2 * mu)


def excess_for(value, product, energy, mu):
    """Return the largest excess >= 1 at which :func:`dual_value` reaches ``value``, or 1."""
    root = product**2 - 2 * energy * mu * value
    if root < 0 or product <= 0 or value <= 0:
        return 1.0
    return max((product + math.sqrt(root)) / (2 * mu * value), 1.0)


def relative_gap(objective, bound):
    """Return the duality gap relative to the objective, which is 0 only for zero data."""
    return max(objective - bound, 0.0) / objective if objective > 0 else 0.0


def positive_part(found, s):
    """Return the triplets with the values ``s`` in place of their own, if positive."""
    kept = int(array_namespace(s).count_nonzero(s > 0))
    return LowRankMatrix(found.U[:, :kept], s[:kept], found.Vt[:kept, :])


def fill(result, problem, L, clipped):
    """Store L and S = D - L - c, zero where nothing was observed."""
    xp = problem.xp
    S = problem.D - L - clipped
    if problem.seen is not None:
        S = xp.where(problem.seen, S, xp.zeros_like(S))
    result.low_rank = problem.dense(L, problem.unit)
    result.sparse = problem.dense(S, problem.unit)


def _limits(lam, weights, values, transposed, xp):
    """Return ``lam`` times the weights in the orientation of ``values``."""
    m, n = values.shape
    if weights is None:
        return xp.full_like(values[:, :1], lam)
    given = np.asarray(weights) if is_numpy(xp) else weights
    shape = (n, m) if transposed else (m, n)
    if tuple(given.shape) == shape[:1]:
        given = xp.reshape(given, (-1, 1))
    if tuple(given.shape) not in (shape, (shape[0], 1)):
        raise ValueError(
            f"weights must have shape {shape} or {shape[:1]}, got {tuple(given.shape)}."
        )
    given = xp.astype(given, values.dtype)
    if not bool(xp.all(xp.isfinite(given) & (given >= 0))):
        raise ValueError("weights must be finite and >= 0.")
    given = xp.matrix_transpose(given) if transposed else given
    if tuple(given.shape) == (m, 1):
        return lam * given
    limits = xp.empty_like(values)
    limits[...] = lam * given
    return limits
