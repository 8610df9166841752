"""Huber and least-absolute-deviations fits of rows on a few components: a Newton method.

For one row :math:`z` and components :math:`V` (k x p), with residuals :math:`u = z - V^T x`:

    minimise  sum_j h(u_j) + 1/2 sum_i ridge_i x_i^2,    h(u) = u^2 / 2 or d |u| - d^2 / 2.

The objective is piecewise quadratic with gradient -V clip(u, -d, d) + ridge x and the Hessian of
the inliers, |u_j| <= d. Newton steps with a line search end at the minimiser after finitely many
steps (K. Madsen, H. B. Nielsen, "Finite algorithms for robust linear regression", BIT 30, 1990);
a step takes 8 k p flops and k^2 more for each entry that has become an inlier or an outlier.
The smoothing of the l1 norm by d -> 0 is theirs too (SIAM J. Optim. 3, 1993).

Everything is computed in double precision. Arrays longer than the row's ``n`` observed
entries are used up to there; ``index`` holds their places.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

SUMS_IN_ANY_ORDER = {"reassoc", "contract"}  # NaN never gets here, but nothing relies on that
TILE = 1024  # entries; so many of each array that a pass reads stay in the first cache
EPS = 2.3e-16
SINGULAR = 1e-12  # a pivot of the Hessian that is this small, relatively, is none
MAX_STEPS = 200
SEARCH_STEPS = 60
SEARCH_ACCURACY = 0.05  # a line search ends when the slope has fallen to this share
DAMPING = 1e-7  # of directions that nothing observed determines
SMOOTHING_DECAY = 0.1
SMOOTHING_FLOOR = 1e-14
INTERPOLATED = 1e-12  # a residual of this size, for entries of size 1, is rounding


class Workspace(NamedTuple):
    """Arrays that a fit writes to; the last sides and their Hessian stay from fit to fit."""

    side: np.ndarray  # (p,): 0 for inliers, else the sign of the residual
    residual: np.ndarray  # (p,)
    change: np.ndarray  # (p,), of the residual along a step
    clipped: np.ndarray  # (p,)
    hessian: np.ndarray  # (k, k), lower triangle
    mixed: np.ndarray  # (k, k)
    factor: np.ndarray  # (k, k)
    descent: np.ndarray  # (k,)
    step: np.ndarray  # (k,)
    ridge: np.ndarray  # (k,)
    best: np.ndarray  # (k,)


@njit(cache=True, nogil=True)
def workspace(k, p):
    """Allocate a :class:`Workspace` for ``k`` components of length ``p``."""
    return Workspace(
        np.empty(p, np.int8),
        np.empty(p),
        np.empty(p),
        np.empty(p),
        np.empty((k, k)),
        np.empty((k, k)),
        np.empty((k, k)),
        np.empty(k),
        np.empty(k),
        np.empty(k),
        np.empty(k),
    )


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def combine(V, x, n, out):
    """Write ``V^T x`` to ``out``; 2 k n flops."""
    for start in range(0, n, TILE):
        stop = min(start + TILE, n)
        out[start:stop] = 0.0
        for i in range(x.size):
            factor, row = x[i], V[i]
            for j in range(start, stop):
                out[j] += factor * row[j]


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def descent(V, residual, threshold, ridge, x, n, clipped, g):
    """Write the negative gradient to ``g`` and ``clip(residual)`` to ``clipped``; 2 k n flops."""
    for i in range(x.size):
        g[i] = -ridge[i] * x[i]
    for start in range(0, n, TILE):
        stop = min(start + TILE, n)
        for j in range(start, stop):
            clipped[j] = min(max(residual[j], -threshold), threshold)
        for i in range(x.size):
            row = V[i]
            total = 0.0
            for j in range(start, stop):
                total += row[j] * clipped[j]
            g[i] += total


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def slope_along(residual, change, threshold, step, n):
    """Return first and second derivative of the loss along ``residual - step * change``."""
    slope, curvature = 0.0, 0.0
    for j in range(n):
        u = residual[j] - step * change[j]
        slope -= min(max(u, -threshold), threshold) * change[j]
        curvature += change[j] * change[j] if abs(u) <= threshold else 0.0
    return slope, curvature


@njit(cache=True, nogil=True)
def _rank_one(H, v, weight):
    for a in range(v.size):
        factor = weight * v[a]
        for b in range(a + 1):
            H[a, b] += factor * v[b]


@njit(cache=True, nogil=True)
def update_hessian(H, VT, index, residual, threshold, n, side):
    """Let the lower triangle of ``H`` follow the inliers; returns whether the piece has changed."""
    n_inliers, n_changes, n_crossings = 0, 0, 0
    for j in range(n):
        here = (residual[j] > threshold) - (residual[j] < -threshold)
        n_inliers += here == 0
        n_changes += (here == 0) != (side[j] == 0)
        n_crossings += here != side[j]
    if n_crossings == 0:
        return False
    # Differences of large sums would not do where few inliers are left.
    afresh = n_changes > 0 and (n_inliers <= n_changes or 8 * n_inliers <= n)
    if afresh:
        H[:] = 0.0
    for j in range(n):
        here = (residual[j] > threshold) - (residual[j] < -threshold)
        if afresh:
            if here == 0:
                _rank_one(H, VT[index[j]], 1.0)
        elif (here == 0) != (side[j] == 0):
            _rank_one(H, VT[index[j]], 1.0 if here == 0 else -1.0)
        side[j] = here
    return True


@njit(cache=True, nogil=True)
def _add_reweighted(H, VT, index, residual, threshold, n, share):
    """Add ``share`` times the majorising Hessian: weights min(1, threshold / |residual|)."""
    for j in range(n):
        size = abs(residual[j])
        _rank_one(H, VT[index[j]], share if size <= threshold else share * threshold / size)


@njit(cache=True, nogil=True)
def factorise(H, ridge, damping, factor):
    """Write a Cholesky factor of ``H + diag(ridge) + damping``; returns whether it is regular."""
    k = ridge.size
    for a in range(k):
        for b in range(a + 1):
            value = H[a, b]
            if a == b:
                value += ridge[a] + damping
                bound = SINGULAR * value
            for c in range(b):
                value -= factor[a, c] * factor[b, c]
            if a > b:
                factor[a, b] = value / factor[b, b]
            elif value > bound:
                factor[a, a] = np.sqrt(value)
            else:
                return False
    return True


@njit(cache=True, nogil=True)
def solve_factorised(factor, rhs, out):
    """Write the solution of ``factor factor^T out = rhs``; 2 k^2 flops."""
    k = rhs.size
    for a in range(k):
        value = rhs[a]
        for b in range(a):
            value -= factor[a, b] * out[b]
        out[a] = value / factor[a, a]
    for a in range(k - 1, -1, -1):
        value = out[a]
        for b in range(a + 1, k):
            value -= factor[b, a] * out[b]
        out[a] = value / factor[a, a]


@njit(cache=True, nogil=True)
def _newton_factor(VT, index, residual, threshold, ridge, n, work):
    """Factorise the Hessian or, where it is singular, one that all entries add a little to.

    Returns whether it is regular.
    """
    H, mixed, factor = work.hessian, work.mixed, work.factor
    if factorise(H, ridge, 0.0, factor):
        return True
    mixed[:] = H
    _add_reweighted(mixed, VT, index, residual, threshold, n, 1e-3)
    if factorise(mixed, ridge, 0.0, factor):
        return False
    largest = 0.0
    for a in range(ridge.size):
        largest = max(largest, mixed[a, a] + ridge[a])
    # The entries observed do not determine x: directions that they say nothing of stay zero.
    factorise(mixed, ridge, DAMPING * largest if largest > 0 else 1.0, factor)
    return False


@njit(cache=True, nogil=True)
def _search(residual, change, threshold, n, start, linear, quadratic):
    """Return a step along a descent direction whose slope is a small share of ``start``, the first.

    ``linear + step * quadratic`` is the slope of the ridge term.
    """
    if not start < 0:
        return 0.0
    low, high, step = 0.0, np.inf, 1.0
    for _ in range(SEARCH_STEPS):
        slope, curvature = slope_along(residual, change, threshold, step, n)
        slope += linear + step * quadratic
        curvature += quadratic
        if abs(slope) <= -SEARCH_ACCURACY * start:
            break
        if slope < 0:
            low = step
        else:
            high = step
        step = step - slope / curvature if curvature > 0 else np.inf
        if not low < step < high:
            step = 4.0 * low if high == np.inf else 0.5 * (low + high)
        if high - low <= 4 * EPS * low:
            break
    return step


@njit(cache=True, nogil=True)
def set_residual(V, z, x, n, residual):
    """Write ``z - V^T x`` to ``residual``; 2 k n flops."""
    combine(V, x, n, residual)
    for j in range(n):
        residual[j] = z[j] - residual[j]


@njit(cache=True, nogil=True)
def fit_huber(V, VT, index, z, n, threshold, ridge, scale, x, work):
    """Move ``x`` to the minimiser; returns the number of Newton steps.

    ``EPS * scale`` bounds the rounding errors of the gradient. The sides and the Hessian in
    ``work`` fit together before and after the call; its residuals belong to ``x`` at the end.
    """
    residual, change, g, d = work.residual, work.change, work.descent, work.step
    set_residual(V, z, x, n, residual)
    exact = False
    for count in range(MAX_STEPS):
        changed = update_hessian(work.hessian, VT, index, residual, threshold, n, work.side)
        descent(V, residual, threshold, ridge, x, n, work.clipped, g)
        if exact and not changed:
            return count  # a whole Newton step within one piece ends at the piece's minimiser
        steepest = 0.0
        for a in range(g.size):
            steepest = max(steepest, abs(g[a]) - EPS * scale[a])
        if steepest <= 0:
            return count
        regular = _newton_factor(VT, index, residual, threshold, ridge, n, work)
        solve_factorised(work.factor, g, d)
        combine(V, d, n, change)
        start, linear, quadratic = 0.0, 0.0, 0.0
        for a in range(d.size):
            start -= g[a] * d[a]
            linear += ridge[a] * x[a] * d[a]
            quadratic += ridge[a] * d[a] * d[a]
        step = _search(residual, change, threshold, n, start, linear, quadratic)
        if step == 0:
            return count  # no descent in this precision
        for a in range(d.size):
            x[a] += step * d[a]
        for j in range(n):
            residual[j] -= step * change[j]
        exact = regular and step == 1.0
    return MAX_STEPS


@njit(cache=True, nogil=True)
def fit_least_squares(V, VT, index, z, n, ridge, scale, x, work):
    """Set ``x`` to the least-squares fit; the Hessian in ``work`` is that of all entries."""
    x[:] = 0.0
    descent(V, z, np.inf, ridge, x, n, work.clipped, work.descent)
    if factorise(work.hessian, ridge, 0.0, work.factor):
        solve_factorised(work.factor, work.descent, x)
    else:
        fit_huber(V, VT, index, z, n, np.inf, ridge, scale, x, work)


@njit(cache=True, nogil=True)
def _to_limit(V, VT, index, n, work):
    """Set ``step`` to what leads to the limit for threshold 0, and ``change`` to its fit.

    The limit fits the inliers by least squares. No step where they do not determine it.
    """
    g, residual = work.descent, work.residual
    work.mixed[:] = work.hessian
    work.ridge[:] = 0.0
    if not factorise(work.mixed, work.ridge, 0.0, work.factor):
        work.step[:] = 0.0
        work.change[:n] = 0.0
        return
    g[:] = 0.0
    for j in range(n):
        if work.side[j] == 0:
            v = VT[index[j]]
            for a in range(g.size):
                g[a] += v[a] * residual[j]
    solve_factorised(work.factor, g, work.step)
    combine(V, work.step, n, work.change)


@njit(cache=True, nogil=True)
def fit_absolute(V, VT, index, z, n, ridge, scale, x, work):
    """Move ``x`` to a minimiser of the sum of absolute residuals, plus the ridge term.

    The minimisers for thresholds d -> 0 follow a line in the end, whose limit is accepted when
    the duality gap closes: clip(residual) / d is feasible for the dual. Returns the gap relative
    to the objective; residuals belong to ``x`` at the end.
    """
    residual, d = work.residual, work.step
    set_residual(V, z, x, n, residual)
    threshold = 0.0
    for j in range(n):
        threshold += abs(residual[j]) / n
    work.best[:] = x
    lowest, highest = np.inf, -np.inf
    while threshold > SMOOTHING_FLOOR:
        for a in range(x.size):
            work.ridge[a] = threshold * ridge[a]
        fit_huber(V, VT, index, z, n, threshold, work.ridge, scale, x, work)
        dual = 0.0
        for j in range(n):
            dual += residual[j] * work.clipped[j] / threshold
        _to_limit(V, VT, index, n, work)
        primal = 0.0
        for j in range(n):
            primal += abs(residual[j] - work.change[j])
        for a in range(x.size):
            primal += 0.5 * ridge[a] * (x[a] + d[a]) ** 2
            dual += 0.5 * ridge[a] * x[a] ** 2
        highest = max(highest, dual)
        if primal < lowest:
            lowest = primal
            for a in range(x.size):
                work.best[a] = x[a] + d[a]
        if lowest - highest <= EPS * (8 * lowest + n):
            break
        threshold *= SMOOTHING_DECAY
        for a in range(x.size):
            x[a] += (1.0 - SMOOTHING_DECAY) * d[a]
    x[:] = work.best
    set_residual(V, z, x, n, residual)
    return max(lowest - highest, 0.0) / lowest if 0 < lowest < np.inf else 0.0


@njit(cache=True, nogil=True)
def gather_row(row, V, z, index, W):
    """Copy the observed entries of a row, scaled to at most 1, and of the components there.

    Returns the number of entries and the scale, their largest absolute value.
    """
    n, size = 0, 0.0
    for j in range(row.size):
        if not np.isnan(row[j]):
            z[n] = row[j]
            index[n] = j
            size = max(size, abs(z[n]))
            n += 1
    if size > 0:
        for j in range(n):
            z[j] /= size
    if n < row.size:
        for a in range(V.shape[0]):
            for j in range(n):
                W[a, j] = V[a, index[j]]
    return n, size


@njit(cache=True, nogil=True)
def start_hessian(G, VT, index, n, work):
    """Make all observed entries inliers, and the Hessian theirs."""
    H, p = work.hessian, VT.shape[0]
    work.side[:n] = 0
    if 2 * n < p:
        H[:] = 0.0
        for j in range(n):
            _rank_one(H, VT[index[j]], 1.0)
        return
    H[:] = G
    known = 0
    for j in range(p):
        if known < n and index[known] == j:
            known += 1
        else:
            _rank_one(H, VT[j], -1.0)


@njit(cache=True, nogil=True)
def _write_excess(sparse, index, n, size, threshold, work):
    """Write the residuals, ``threshold`` nearer to zero, of one row."""
    sparse[:] = 0
    if threshold == np.inf:
        return
    for j in range(n):
        u = work.residual[j]
        if threshold == 0:
            fitted = work.side[j] == 0 and abs(u) <= INTERPOLATED
            u = 0.0 if fitted else u
        elif abs(u) <= threshold:
            u = 0.0
        else:
            u -= threshold if u > 0 else -threshold
        sparse[index[j]] = u * size


@njit(cache=True, nogil=True)
def project_rows(Z, V, VT, G, ridge, threshold, scores, sparse):
    """Fit each row of ``Z``; write its coefficients and its excess over the threshold.

    NaN is unobserved. ``V`` is (k, p), ``VT`` its transpose and ``G = V V^T``. Returns the
    largest number of Newton steps of a row, or for threshold 0 the largest relative duality gap.
    """
    k, p = V.shape
    work = workspace(k, p)
    z, index = np.empty(p), np.arange(p)
    W = np.empty((k, p if np.any(np.isnan(Z)) else 0))
    x, scale, row_ridge = np.empty(k), np.empty(k), np.empty(k)
    for a in range(k):
        scale[a] = 16 * np.sqrt(G[a, a] * p)
    worst = 0.0
    for i in range(Z.shape[0]):
        n, size = gather_row(Z[i], V, z, index, W)
        scores[i] = 0
        sparse[i] = 0
        if size == 0:
            continue
        U = V if n == p else W
        start_hessian(G, VT, index, n, work)
        fit_least_squares(U, VT, index, z, n, ridge, scale, x, work)
        measure = 1.0
        if threshold == 0:
            row_ridge[:] = ridge
            row_ridge *= size
            measure = fit_absolute(U, VT, index, z, n, row_ridge, scale, x, work)
        elif threshold < np.inf:
            measure = fit_huber(U, VT, index, z, n, threshold / size, ridge, scale, x, work) * 1.0
        worst = max(worst, measure)
        for a in range(k):
            scores[i, a] = x[a] * size
        _write_excess(sparse[i], index, n, size, threshold / size, work)
    return worst
