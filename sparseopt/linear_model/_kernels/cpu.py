"""Numba kernels of greedy pursuit: certified selection, orthogonalisation, LAD gains.

Dictionaries are stored by columns; rows of the orthonormal basis ``Q`` (k, m) are its vectors.
A correlation is reported for the column scaled to unit norm.
"""

import numpy as np
from numba import njit

from sparseopt.linear_model._kernels.lad import weighted_median

# Sums may be reordered (that is what vectorises them); NaN and infinity keep their meaning.
SUMS = {"reassoc", "contract"}

# Codes of the selection rules.
OMP, LASSO_L0, LASSO_L1, SQRT_LASSO_L0, SQRT_LASSO_L1 = range(5)

# Gains closer than this are equal, and the smaller index wins.
TIE = 1e-12

# A column whose part outside the span of the support is shorter than this depends on it.
PIVOT = 1e-10


@njit(cache=True, nogil=True)
def entering_gain(rule, u, norm, lam, weight):
    """Gain of a coefficient that is zero, from its correlation ``u``; never decreasing in u.

    For OMP it is the selection score ``u / weight``, and ``lam`` the smallest correlation that
    is more than rounding noise.
    """
    if not weight < np.inf:
        return 0.0
    if rule == OMP:
        return u / weight if u > lam else 0.0
    u = min(u, norm)
    if rule == LASSO_L0:
        return max(u * u - lam * weight * weight, 0.0)
    if rule == LASSO_L1:
        excess = u - 0.5 * lam * weight
        return excess * excess if excess > 0.0 else 0.0
    d = np.sqrt((norm - u) * (norm + u))
    if rule == SQRT_LASSO_L0:
        if u == 0.0:
            return 0.0
        return max(u * u / (norm + d) - lam * weight * weight, 0.0)
    s = lam * weight
    if not (s < 1.0 and s * norm < u):
        return 0.0
    q = np.sqrt((1.0 - s) * (1.0 + s))
    sine = (u - s * norm) * (u + s * norm) / (norm * (u * q + d * s))
    cosine = (d * q + u * s) / norm
    return norm * sine * sine / (1.0 + cosine)


@njit(cache=True, nogil=True)
def support_gain(rule, x, norm, lam, weight):
    """Largest gain of moving a fitted coefficient of modulus ``x`` alone (its u is 0)."""
    if rule == OMP:
        return 0.0
    if rule == LASSO_L0:
        return max(lam * weight * weight - x * x, 0.0)
    if rule == LASSO_L1:
        th = lam * weight
        return th * x - x * x if 2.0 * x <= th else 0.25 * th * th
    at_zero = np.sqrt(norm * norm + x * x)
    loss = x * x / (norm + at_zero) if x > 0.0 else 0.0
    if rule == SQRT_LASSO_L0:
        return max(lam * weight * weight - loss, 0.0)
    s = lam * weight
    if s < 1.0:
        q = np.sqrt((1.0 - s) * (1.0 + s))
        if x * q >= s * norm:
            return norm * s * s / (1.0 + q)
    return max(s * x - loss, 0.0)


@njit(cache=True, nogil=True)
def best_in_support(rule, support, size, coef, norms, residual_norm, lam, weights):
    """Return (largest gain, index) over the fitted support; (0, -1) if nothing gains."""
    best, where = 0.0, -1
    for p in range(size):
        j = support[p]
        gain = support_gain(rule, np.abs(coef[p]) * norms[j], residual_norm, lam, weights[j])
        if gain > best:
            best, where = gain, j
    return best, where


@njit(cache=True, nogil=True)
def best_entering(rule, correlations, residual_norm, lam, weights, selectable):
    """Return (largest gain, smallest index that attains it) from the moduli of correlations."""
    gains = np.zeros(correlations.shape[0])
    for j in range(correlations.shape[0]):
        if selectable[j]:
            gains[j] = entering_gain(rule, correlations[j], residual_norm, lam, weights[j])
    return first_largest(gains)


@njit(cache=True, nogil=True)
def first_largest(gains):
    """Return (gain, index) of the first gain that is the largest up to rounding; (0, -1) if none.

    The index does not depend on the order in which the gains were found.
    """
    best = 0.0
    for j in range(gains.shape[0]):
        best = max(best, gains[j])
    for j in range(gains.shape[0]):
        if best > 0.0 and gains[j] >= best * (1.0 - TIE):
            return gains[j], j
    return 0.0, -1


@njit(cache=True, nogil=True, fastmath=SUMS)
def dot(a, b):
    """Inner product conj(a) b in the precision of ``b``; 2 m flops."""
    total = np.conj(a[0]) * b[0]
    for i in range(1, a.shape[0]):
        total += np.conj(a[i]) * b[i]
    return total


@njit(cache=True, nogil=True)
def column_norms(A, norms):
    """2-norms of the columns, accumulated in double precision; 2 m N flops, one pass."""
    for j in range(A.shape[1]):
        column = A[:, j]
        total = 0.0
        for i in range(column.shape[0]):
            total += np.float64(np.abs(column[i])) ** 2
        norms[j] = np.sqrt(total)


@njit(cache=True, nogil=True)
def correlate(A, norms, residual, out):
    """``out_j = |a_j^H r| / ||a_j||``, 0 for columns of norm 0; 2 m N flops, one pass.

    One inner product a column, so that equal columns get equal values.
    """
    for j in range(A.shape[1]):
        out[j] = np.abs(dot(A[:, j], residual)) / norms[j] if norms[j] > 0.0 else 0.0


@njit(cache=True, nogil=True)
def best_entering_certified(
    rule, approximate, error, A, norms, residual, residual_norm, lam, weights, selectable, upper
):
    """Return (largest gain, its index, number of exact correlations) from bounded ones.

    ``|approximate_j - u_j / ||r||| <= error_j`` brackets every gain. Exact correlations are
    computed in the order of the upper bounds until the best exact gain exceeds the next bound.
    ``upper`` is work space. Cost: O(N) and 2 m flops for each exact correlation.
    """
    N = approximate.shape[0]
    gains = np.zeros(N)
    for j in range(N):
        upper[j] = -1.0
        if selectable[j]:
            u = (np.abs(np.float64(approximate[j])) + error[j]) * residual_norm
            upper[j] = entering_gain(rule, u, residual_norm, lam, weights[j])
    best, n_exact = 0.0, 0
    while n_exact < 64:
        j = np.argmax(upper)
        if upper[j] <= 0.0 or upper[j] < best * (1.0 - TIE):
            break
        u = np.abs(dot(A[:, j], residual)) / norms[j]
        gains[j] = entering_gain(rule, u, residual_norm, lam, weights[j])
        best = max(best, gains[j])
        upper[j] = -1.0
        n_exact += 1
    for j in range(N):
        if upper[j] > 0.0 and upper[j] >= best * (1.0 - TIE):
            u = np.abs(dot(A[:, j], residual)) / norms[j]
            gains[j] = entering_gain(rule, u, residual_norm, lam, weights[j])
            best = max(best, gains[j])
            n_exact += 1
    gain, where = first_largest(gains)
    return gain, where, n_exact


@njit(cache=True, nogil=True)
def encode_columns(A, norms, codes, scale, error):
    """Round the unit-norm columns to 8 bits: ``a_j / ||a_j|| ~ scale_j codes_j``.

    ``codes`` (N, m) is 8-bit; ``error_j`` is the 2-norm of what rounding lost. 4 m N flops, one
    pass over ``A``.
    """
    m, N = A.shape
    for j in range(N):
        column = A[:, j]
        peak = 0.0
        for i in range(m):
            peak = max(peak, np.abs(np.float64(column[i])))
        if peak == 0.0 or norms[j] == 0.0:
            codes[j, :] = 0
            scale[j] = 0.0
            error[j] = 0.0
            continue
        steps = 127.0 / peak
        lost = 0.0
        for i in range(m):
            value = np.float64(column[i]) * steps
            code = np.floor(value + 0.5)
            codes[j, i] = np.int8(code)
            lost += (value - code) ** 2
        unit = 1.0 / (steps * norms[j])
        scale[j] = unit
        error[j] = np.sqrt(lost) * unit


@njit(cache=True, nogil=True, fastmath=SUMS)
def _code_dot(codes, direction):
    total = np.float32(0.0)
    for i in range(codes.shape[0]):
        total += np.float32(codes[i]) * direction[i]
    return total


@njit(cache=True, nogil=True)
def correlate_codes(codes, scale, directions, out):
    """``out_tj = scale_j <codes_j, direction_t>`` in single precision, for T directions.

    2 m N T flops, and m N bytes read once for all directions.
    """
    for j in range(codes.shape[0]):
        for t in range(directions.shape[0]):
            out[t, j] = _code_dot(codes[j], directions[t]) * scale[j]


@njit(cache=True, nogil=True, fastmath=SUMS)
def orthogonalise(column, Q, R, size, pivot):
    """Append ``column`` (overwritten) to the factorisation A_S = Q^T R; 8 m k flops.

    Gram-Schmidt, twice. Returns False, leaving the factorisation as it was, if what remains of
    the column is at most ``pivot`` times its norm.
    """
    m = column.shape[0]
    original = 0.0
    for i in range(m):
        original += np.abs(column[i]) ** 2
    for row in range(size):
        R[row, size] = 0.0
    for _ in range(2):
        for row in range(size):
            q = Q[row]
            projection = np.conj(q[0]) * column[0]
            for i in range(1, m):
                projection += np.conj(q[i]) * column[i]
            for i in range(m):
                column[i] -= projection * q[i]
            R[row, size] += projection
    remaining = 0.0
    for i in range(m):
        remaining += np.abs(column[i]) ** 2
    if not remaining > pivot * pivot * original:
        return False
    remaining = np.sqrt(remaining)
    for i in range(m):
        Q[size, i] = column[i] / remaining
    R[size, size] = remaining
    return True


@njit(cache=True, nogil=True, fastmath=SUMS)
def project_out(residual, Q, first, last, image):
    """``image += Q r; r -= Q^H Q r`` for the basis vectors first..last-1, one after another."""
    m = residual.shape[0]
    for row in range(first, last):
        q = Q[row]
        projection = np.conj(q[0]) * residual[0]
        for i in range(1, m):
            projection += np.conj(q[i]) * residual[i]
        for i in range(m):
            residual[i] -= projection * q[i]
        image[row] += projection


@njit(cache=True, nogil=True)
def solve_upper(R, size, image, coef):
    """``coef = R^{-1} image``; size^2 flops."""
    for i in range(size - 1, -1, -1):
        value = image[i]
        for j in range(i + 1, size):
            value -= R[i, j] * coef[j]
        coef[i] = value / R[i, i]


@njit(cache=True, nogil=True)
def inverse_gram_diagonal(R, size, column, out):
    """``out = diag((R^H R)^{-1})``: squared row norms of R^{-1}; size^3 / 3 flops."""
    for i in range(size):
        out[i] = 0.0
    for j in range(size):
        column[j] = 1.0 / R[j, j]
        for i in range(j - 1, -1, -1):
            value = -R[i, j] * column[j]
            for p in range(i + 1, j):
                value -= R[i, p] * column[p]
            column[i] = value / R[i, i]
        for i in range(j + 1):
            out[i] += np.abs(column[i]) ** 2


@njit(cache=True, nogil=True)
def lad_gains(A, residual, coef, norms, lam, weights, l0, gains):
    """Exact gains of the l1-norm loss; expected O(m) a column.

    ``A`` (m, N) real, its columns scaled by ``1 / norms``; ``coef`` in the scaled coordinates.
    """
    m, N = A.shape
    values = np.empty(m + 1)
    masses = np.empty(m + 1)
    column = np.empty(m)
    for j in range(N):
        gains[j] = 0.0
        if not norms[j] > 0.0:
            continue
        for i in range(m):
            column[i] = A[i, j] / norms[j]
        gains[j] = _lad_gain(column, residual, coef[j], lam, weights[j], l0, values, masses)[0]


@njit(cache=True, nogil=True)
def _lad_gain(column, residual, x, lam, weight, l0, values, masses):
    """Gain and step of one coefficient; for l0, moving to zero or nowhere are choices too."""
    if not weight < np.inf:
        return (np.inf if x != 0.0 else 0.0), -x
    price = lam * weight * weight if l0 else lam * weight
    if not l0 and x == 0.0:
        slope, flat = 0.0, price
        for i in range(column.shape[0]):
            if residual[i] > 0.0:
                slope += column[i]
            elif residual[i] < 0.0:
                slope -= column[i]
            else:
                flat += np.abs(column[i])
        if np.abs(slope) <= flat:
            return 0.0, 0.0
    n = 0
    for i in range(column.shape[0]):
        if column[i] != 0.0:
            values[n] = residual[i] / column[i]
            masses[n] = np.abs(column[i])
            n += 1
    if not l0 and price > 0.0:
        values[n] = -x
        masses[n] = price
        n += 1
    step = weighted_median(values, masses, n) if n > 0 else 0.0
    if not l0:
        saved = price * (np.abs(x) - np.abs(x + step))
        return max(_lad_decrease(column, residual, step) + saved, 0.0), step
    paid = price if x != 0.0 else 0.0
    gain = _lad_decrease(column, residual, step) + paid
    if x + step != 0.0:
        gain -= price
    if x != 0.0:
        gain = max(gain, _lad_decrease(column, residual, -x) + price)
    return max(gain, 0.0), step


@njit(cache=True, nogil=True, fastmath=SUMS)
def _lad_decrease(column, residual, step):
    """``||r||_1 - ||r - step a||_1`` summed row by row, so that a zero step gives zero."""
    total = 0.0
    for i in range(column.shape[0]):
        total += np.abs(residual[i]) - np.abs(residual[i] - step * column[i])
    return total


@njit(cache=True, nogil=True)
def best_lad_gains(A, residual, coef, norms, lam, weights, l0, best, scale, gains):
    """Gains as in :func:`lad_gains` of the columns that may hold the largest; 0 for the others.

    Columns come in the order of their slopes at zero. The slope there and the slope at a trial
    step bound the gain (the loss is convex); a column is skipped if its bound is below ``best``,
    the largest gain so far. The trial step is the last best step, scaled by the slopes. Returns
    (best, scale), to go on with further columns; ``scale`` 0 knows no step yet. Cost: two passes
    over a column that is skipped, and its median otherwise.
    """
    m, N = A.shape
    values = np.empty(m + 1)
    masses = np.empty(m + 1)
    signs = np.sign(residual)
    rounding = 1e-14 * np.abs(residual).sum()
    slopes = np.zeros(N)
    for j in range(N):
        gains[j] = 0.0
        if norms[j] > 0.0 and weights[j] < np.inf:
            slopes[j] = dot(A[:, j], signs)
    zeros = np.flatnonzero(residual == 0.0)
    excess = np.empty(N)
    for j in range(N):
        flat = 0.0 if l0 else lam * weights[j] * norms[j]
        for i in zeros:
            flat += np.abs(A[i, j])
        excess[j] = np.abs(slopes[j]) - flat if slopes[j] != 0.0 else -1.0
    keys = np.where(norms > 0.0, excess / np.where(norms > 0.0, norms, 1.0), -1.0)
    for j in np.argsort(-keys):
        column = A[:, j]
        if not norms[j] > 0.0:
            continue
        if coef[j] == 0.0:
            if excess[j] <= 0.0:
                continue
            price = 0.0 if l0 else lam * weights[j] * norms[j]
            paid = lam * weights[j] * weights[j] if l0 else 0.0
            step = scale * excess[j] / norms[j] ** 2
            bound = _lad_bound(column, residual, np.sign(slopes[j]), step, excess[j], price)
            if bound - paid + rounding < best * (1.0 - TIE):
                continue
        # in the units of the column itself, whose penalty weight is w norm
        weight = weights[j] if l0 else weights[j] * norms[j]
        gain, step = _lad_gain(
            column, residual, coef[j] / norms[j], lam, weight, l0, values, masses
        )
        gains[j] = gain
        if coef[j] == 0.0 and gain > best:
            best = gain
            scale = np.abs(step) * norms[j] ** 2 / excess[j]
    return best, scale


@njit(cache=True, nogil=True)
def _lad_bound(column, residual, sign, step, excess, price):
    """Bound the decrease along ``sign`` by the tangents at 0 (slope -excess) and at ``step``."""
    for _ in range(3):
        if not step > 0.0:
            return np.inf
        decrease, slope = _lad_tangent(column, residual, sign * step)
        rise = price - sign * slope
        if rise > 0.0:
            meeting = (decrease - price * step + rise * step) / (excess + rise)
            return excess * meeting
        step *= 2.0
    return np.inf


@njit(cache=True, nogil=True, fastmath=SUMS)
def _lad_tangent(column, residual, step):
    """``||r||_1 - ||r - step a||_1`` and a derivative of it with respect to ``step``."""
    total = 0.0
    slope = 0.0
    for i in range(column.shape[0]):
        moved = residual[i] - step * column[i]
        total += np.abs(residual[i]) - np.abs(moved)
        slope += column[i] if moved > 0.0 else -column[i]
    return total, slope
