"""Coordinate descent on the second-order model of the multinomial loss, in Numba.

A coordinate is a pair of a feature and a class. At class probabilities p and with row
weights s, the Hessian of sample i in its predictions is ``s_i (diag(p_i) - p_i p_i')``.
A change ``u`` (n_samples, n_classes) of the predictions and its mean over the classes,
``t_i = p_i'u_i``, are kept up to date, so that a visit of the pair (f, c) touches nothing
but the rows that store feature f: the model's gradient there is

    g_fc + sum_i x_if s_i p_ic (u_ic - t_i),

its curvature ``sum_i x_if^2 s_i p_ic (1 - p_ic)``. Arrays over samples and classes are
stored by class; ``weighted`` holds ``s_i p_ic``. One epoch over pairs with n stored
entries costs about ``8 n`` flops, and one over the intercepts as much for each entry of u.
"""

from numba import njit

from sparseopt.optimize._kernels.penalties import prox_coordinate

# Sums may be reordered and fused; NaN and inf keep their meaning.
REORDER = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, inline="always")
def _minimise(code, table, j, old, slope, curvature):
    """Return the minimiser along a coordinate; where there is none, stay."""
    if curvature + table[1, j] > 0:
        return prox_coordinate(code, table, j, curvature * old - slope, curvature)
    return old if abs(slope) > table[0, j] else old * 0


@njit(cache=True, nogil=True, fastmath=REORDER)
def _dense_slope(X, f, weighted, change, mean, c):
    total = X[0, 0] * 0
    for i in range(X.shape[0]):
        total += X[i, f] * weighted[i, c] * (change[i, c] - mean[i])
    return total


@njit(cache=True, nogil=True, fastmath=REORDER)
def _dense_move(X, f, step, probabilities, change, mean, c):
    for i in range(X.shape[0]):
        moved = step * X[i, f]
        change[i, c] += moved
        mean[i] += probabilities[i, c] * moved


@njit(cache=True, nogil=True)
def dense_epoch(
    X, features, classes, gradient, curvature, code, table, x,
    probabilities, weighted, change, mean, skip_zeros,
):  # fmt: skip
    """Visit each pair once, in place; return the largest ``curvature * |step|``."""
    largest = 0.0
    for j in range(features.shape[0]):
        old = x[j]
        if skip_zeros and old == 0:
            continue
        f, c = features[j], classes[j]
        slope = gradient[j] + _dense_slope(X, f, weighted, change, mean, c)
        new = _minimise(code, table, j, old, slope, curvature[j])
        if new != old:
            _dense_move(X, f, new - old, probabilities, change, mean, c)
            x[j] = new
            largest = max(largest, abs(new - old) * curvature[j])
    return largest


@njit(cache=True, nogil=True)
def sparse_epoch(
    data, indices, indptr, features, classes, gradient, curvature, code, table, x,
    probabilities, weighted, change, mean, skip_zeros,
):  # fmt: skip
    """Visit each pair once, in place; return the largest ``curvature * |step|``."""
    largest = 0.0
    for j in range(features.shape[0]):
        old = x[j]
        if skip_zeros and old == 0:
            continue
        f, c = features[j], classes[j]
        slope = gradient[j]
        for k in range(indptr[f], indptr[f + 1]):
            i = indices[k]
            slope += data[k] * weighted[i, c] * (change[i, c] - mean[i])
        new = _minimise(code, table, j, old, slope, curvature[j])
        if new != old:
            step = new - old
            for k in range(indptr[f], indptr[f + 1]):
                i = indices[k]
                moved = step * data[k]
                change[i, c] += moved
                mean[i] += probabilities[i, c] * moved
            x[j] = new
            largest = max(largest, abs(step) * curvature[j])
    return largest


@njit(cache=True, nogil=True, fastmath=REORDER)
def intercept_epoch(gradient, intercepts, probabilities, weighted, change, mean):
    """Minimise the model over each intercept in turn; return the largest gradient met."""
    largest = 0.0
    for c in range(gradient.shape[0]):
        slope, curvature = gradient[c], gradient[c] * 0
        for i in range(mean.shape[0]):
            slope += weighted[i, c] * (change[i, c] - mean[i])
            curvature += weighted[i, c] * (1 - probabilities[i, c])
        if curvature <= 0:
            continue
        step = -slope / curvature
        intercepts[c] += step
        for i in range(mean.shape[0]):
            change[i, c] += step
            mean[i] += probabilities[i, c] * step
        largest = max(largest, abs(slope))
    return largest


@njit(cache=True, nogil=True)
def sparse_predict(data, indices, indptr, features, classes, values, out):
    """Add the predictions of the pairs to ``out`` (n_samples, n_classes)."""
    for j in range(features.shape[0]):
        f, c, value = features[j], classes[j], values[j]
        if value != 0:
            for k in range(indptr[f], indptr[f + 1]):
                out[indices[k], c] += value * data[k]


@njit(cache=True, nogil=True)
def sparse_correlate(data, indices, indptr, features, classes, residual, out):
    """Write ``x_f' residual_c`` of each pair to ``out``."""
    for j in range(features.shape[0]):
        f, c = features[j], classes[j]
        total = residual[0, 0] * 0
        for k in range(indptr[f], indptr[f + 1]):
            total += data[k] * residual[indices[k], c]
        out[j] = total


@njit(cache=True, nogil=True)
def sparse_weighted_squares(data, indices, indptr, features, classes, curvature, out):
    """Write ``sum_i x_if^2 curvature_ic`` of each pair to ``out``."""
    for j in range(features.shape[0]):
        f, c = features[j], classes[j]
        total = curvature[0, 0] * 0
        for k in range(indptr[f], indptr[f + 1]):
            total += data[k] * data[k] * curvature[indices[k], c]
        out[j] = total


@njit(cache=True, nogil=True, fastmath=REORDER)
def dense_predict(X, features, classes, values, out):
    """Add the predictions of the pairs to ``out`` (n_samples, n_classes)."""
    for j in range(features.shape[0]):
        f, c, value = features[j], classes[j], values[j]
        if value != 0:
            for i in range(X.shape[0]):
                out[i, c] += value * X[i, f]


@njit(cache=True, nogil=True, fastmath=REORDER)
def dense_correlate(X, features, classes, residual, out):
    """Write ``x_f' residual_c`` of each pair to ``out``."""
    for j in range(features.shape[0]):
        f, c = features[j], classes[j]
        total = residual[0, 0] * 0
        for i in range(X.shape[0]):
            total += X[i, f] * residual[i, c]
        out[j] = total


@njit(cache=True, nogil=True, fastmath=REORDER)
def dense_weighted_squares(X, features, classes, curvature, out):
    """Write ``sum_i x_if^2 curvature_ic`` of each pair to ``out``."""
    for j in range(features.shape[0]):
        f, c = features[j], classes[j]
        total = curvature[0, 0] * 0
        for i in range(X.shape[0]):
            total += X[i, f] * X[i, f] * curvature[i, c]
        out[j] = total
