r"""The exact solution path of the real weighted LASSO, followed from one kink to the next.

In the coordinates of the centred and weighted design (see ``_design``) and with the
strength mu decreasing, the solutions of

    minimise  1/2 ||y - X x||^2 + mu sum_j w_j |x_j|

are, while the support E and the signs u stay,

    x_E(mu) = G^-1 (X_E'y - mu w u),  r(mu) = p + mu v,  p = (I - P_E) y,  v = X_E G^-1 (w u),

G = X_E' X_E. The piece ends where a coefficient reaches zero, or where another column
reaches its bound |X_j'r| = mu w_j [1]. Everything is computed from (E, u) afresh at each
kink, so errors do not accumulate; the Cholesky factor of G is updated. A kink costs two
products with X and O(m |E| + |E|^2). Coordinate descent is faster where supports are
small; the path is what remains exact when the support approaches the number of rows.

[1] Osborne, Presnell, Turlach (2000). A new approach to variable selection in least
    squares problems. IMA J. Numerical Analysis 20(3).
"""

from typing import NamedTuple

import numpy as np

from sparseopt._core._linalg import (
    cholesky_append,
    cholesky_delete,
    solve_lower,
    solve_lower_adjoint,
)

TIE = 1e-12  # relative distance in mu below which two kinks are taken to coincide
LONGEST_TIE = 50  # kinks at one strength, before they are taken for a cycle
MAX_KINKS_PER_DIMENSION = 10


class PathPiece(NamedTuple):
    """One linear piece of the path; valid for ``mu`` between ``end`` and its start.

    Attributes
    ----------
    support : ndarray of shape (k,)
        The active features, in no particular order.
    fit, shrinkage : ndarray of shape (k,)
        ``x_E(mu) = fit - mu * shrinkage``.
    across, along : ndarray of shape (n_samples,)
        ``r(mu) = across + mu * along``; the two are orthogonal.
    end : float
        Where the piece ends; 0 for the last one.
    """

    support: np.ndarray
    fit: np.ndarray
    shrinkage: np.ndarray
    across: np.ndarray
    along: np.ndarray
    end: float

    def coefficients(self, mu, n_features):
        """Return the solution at ``mu``, shape (n_features,)."""
        x = np.zeros(n_features, dtype=self.fit.dtype)
        x[self.support] = self.fit - mu * self.shrinkage
        return x


def lasso_pieces(design, target, weights, *, positive, mu, x):
    """Yield the pieces of the path from the solution ``x`` at ``mu`` down to ``mu = 0``.

    If ``x`` is not accurate enough to name the support at ``mu``, the path starts at its
    top instead, where only unpenalised coefficients are non-zero. The generator ends
    early, without the piece that ends at 0, where kinks coincide without end, and
    yields nothing if the top has unpenalised non-negative ones. A column that depends on
    the active ones is set aside; a caller who needs certainty certifies the result.

    Parameters
    ----------
    design : DenseDesign or SparseDesign
        Real design of shape (n_samples, n_features).
    target : ndarray of shape (n_samples,)
        Target.
    weights : ndarray of shape (n_features,)
        Penalty weights, including 0 and inf.
    positive : bool
        Whether the coefficients are non-negative.
    mu : float
        Where the path starts.
    x : ndarray of shape (n_features,)
        The solution there.

    Yields
    ------
    PathPiece
    """
    state, mu = _start(design, target, weights, positive, mu, x)
    if state is None:
        return
    arrived = left = -1
    standing = 0
    for _ in range(MAX_KINKS_PER_DIMENSION * sum(design.shape)):
        fit, shrinkage = state.solve()
        across, along = state.residual_parts(fit, shrinkage)
        zero_at, position = state.next_zero(fit, shrinkage, mu, arrived)
        bound_at, feature, sign = state.next_bound(across, along, mu, left)
        standing = standing + 1 if max(zero_at, bound_at) >= mu * (1 - TIE) else 0
        if standing > LONGEST_TIE:
            return
        mu = max(zero_at, bound_at, 0.0)
        yield PathPiece(state.support.copy(), fit, shrinkage, across, along, mu)
        if mu == 0:
            return
        if zero_at >= bound_at:
            left, arrived = state.remove(position), -1
        elif state.add(feature, sign):
            left, arrived = -1, feature
        else:
            left = arrived = -1


def _start(design, target, weights, positive, mu, x):
    """Return the active set at ``mu`` if ``x`` reveals it, else that at the path's top."""
    usable = np.isfinite(weights) & (design.column_norms_squared > 0)
    free = usable & (weights == 0)
    state = _ActiveSet(design, target, weights, positive, usable)
    start = np.flatnonzero(usable & ((x != 0) | (free & (not positive))))
    if all(state.add(j, np.sign(x[j])) for j in start):
        fit, shrinkage = state.solve()
        if state.is_solution(fit, shrinkage, *state.residual_parts(fit, shrinkage), mu):
            return state, mu
    if positive and free.any():
        return None, mu
    state = _ActiveSet(design, target, weights, positive, usable)
    for j in np.flatnonzero(free):
        state.add(j, 0.0)  # a dependent column stays out: the others span what it does
    across, _ = state.residual_parts(*state.solve())
    slope = state.slope(design.correlate(across))
    return state, float(np.max(slope / weights[state.candidate], initial=0.0))


class _ActiveSet:
    """The active columns, their signs, and the Cholesky factor of their Gram matrix."""

    def __init__(self, design, target, weights, positive, usable):
        self.design, self.target, self.weights, self.positive = design, target, weights, positive
        self.products = design.correlate(target)  # X'y
        self.signed = (weights > 0) | positive
        self.candidate = usable & self.signed
        self.signs = np.zeros(design.shape[1], design.dtype)
        capacity = min(design.shape)
        self.columns = np.empty((design.shape[0], capacity), design.dtype, order="F")
        self.factor = np.empty((capacity, capacity), design.dtype)
        self.features = np.empty(capacity, dtype=np.intp)
        self.size = 0
        self.set_aside: list[int] = []

    @property
    def support(self):
        return self.features[: self.size]

    def add(self, feature, sign):
        """Append a column; False if it depends on those present."""
        size = self.size
        if size == len(self.features):
            self.candidate[feature] = False
            self.set_aside.append(feature)
            return False
        column = self.design.columns(np.array([feature]))[:, 0]
        cross = np.append(column @ self.columns[:, :size], 0).astype(self.factor.dtype)
        tolerance = 1e3 * np.finfo(self.factor.dtype).eps
        if not cholesky_append(self.factor, size, cross, column @ column, tolerance):
            # It stays at its bound with the others, until one of them leaves.
            self.candidate[feature] = False
            self.set_aside.append(feature)
            return False
        self.columns[:, size] = column
        self.features[size] = feature
        self.size += 1
        self.signs[feature] = sign
        self.candidate[feature] = False
        return True

    def remove(self, position):
        """Delete a column by its position in the support; return its feature."""
        feature = self.features[position]
        cholesky_delete(self.factor, self.size, position)
        self.features[position : self.size - 1] = self.features[position + 1 : self.size].copy()
        tail = self.columns[:, position + 1 : self.size].copy()
        self.columns[:, position : self.size - 1] = tail
        self.size -= 1
        self.signs[feature] = 0
        self.candidate[feature] = True
        self.candidate[self.set_aside] = True
        self.set_aside.clear()
        return feature

    def solve(self):
        """Return ``G^-1 X_E'y`` and ``G^-1 (w u)``."""
        support = self.support
        fit = self.products[support].copy()
        shrinkage = self.weights[support] * self.signs[support]
        for vector in (fit, shrinkage):
            solve_lower(self.factor, self.size, vector)
            solve_lower_adjoint(self.factor, self.size, vector)
        return fit, shrinkage

    def residual_parts(self, fit, shrinkage):
        """Return ``p`` and ``v`` of ``r(mu) = p + mu v``."""
        columns = self.columns[:, : self.size]
        return self.target - columns @ fit, columns @ shrinkage

    def next_zero(self, fit, shrinkage, mu, arrived):
        """Return the largest strength below ``mu`` where a coefficient vanishes, and where."""
        support = self.support
        crossing = (fit * shrinkage > 0) & self.signed[support] & (support != arrived)
        at = np.full(self.size, -1.0)
        np.divide(fit, shrinkage, out=at, where=crossing)
        at[at > mu * (1 + TIE)] = -1.0
        if self.size == 0:
            return -1.0, -1
        position = int(np.argmax(at))
        return min(float(at[position]), mu), position

    def next_bound(self, across, along, mu, left):
        """Return the largest strength below ``mu`` where a column reaches its bound.

        Also returns the column and the sign with which it enters.
        """
        nothing = -1.0, -1, 0.0
        if self.size == len(self.features):
            return nothing
        free = np.flatnonzero(self.candidate)
        free = free[free != left]
        if free.size == 0:
            return nothing
        constant = self.design.correlate(across)[free]
        slope = self.design.correlate(along)[free]
        best = nothing
        for sign in (1.0,) if self.positive else (1.0, -1.0):
            # sign * (constant + mu * slope) = mu * weight
            room = self.weights[free] - sign * slope
            at = np.full(free.size, -1.0)
            np.divide(sign * constant, room, out=at, where=room > 0)
            at[at > mu * (1 + TIE)] = -1.0
            j = int(np.argmax(at))
            if at[j] > best[0]:
                best = min(float(at[j]), mu), int(free[j]), sign
        return best

    def is_solution(self, fit, shrinkage, across, along, mu):
        """Check the signs on the support and the bounds off it."""
        outward = (fit - mu * shrinkage) * self.signs[self.support]
        if np.any(outward[self.signed[self.support]] < 0):
            return False
        slope = self.slope(self.design.correlate(across + mu * along))
        norms = np.sqrt(self.design.column_norms_squared[self.candidate])
        rounding = 1e3 * np.finfo(norms.dtype).eps * norms * np.linalg.norm(self.target)
        bound = mu * self.weights[self.candidate] * (1 + 1e-9)
        return bool(np.all(slope <= bound + rounding))

    def slope(self, correlations):
        """Return what the weights bound, for the inactive columns."""
        slope = correlations[self.candidate]
        return slope if self.positive else np.abs(slope)
