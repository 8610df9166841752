"""Coordinate descent on the second-order model of the multinomial loss, in Numba.

A coordinate is a pair of a feature and a class. At class probabilities p and with row
weights s, the Hessian of sample i in its predictions is ``s_i (diag(p_i) - p_i p_i')``.
A change ``u`` (n_samples, n_classes) of the predictions and its mean over the classes,
``t_i = p_i'u_i``, are kept up to date from class to class. The model's gradient in the pair
(f, c) is

    g_fc + sum_i x_if r_i,    r_i = s_i p_ic (u_ic - t_i),

its curvature ``sum_i x_if^2 s_i p_ic (1 - p_ic)``. Pairs are sorted by class, and while
those of a class are visited, r is kept up to date: a visit touches nothing but r and the
rows that store feature f. Arrays over samples and classes are stored by class; ``weighted``
holds ``s_i p_ic``. One epoch over pairs with n stored entries costs 2 to 6 n flops, and 8
for each entry of u; one over the intercepts costs as much for each entry of u.
"""

import numpy as np
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
def _begin_class(c, probabilities, weighted, change, mean, slopes, curvatures, moved):
    """Set the slopes and curvatures of the samples in the prediction of class ``c``."""
    for i in range(mean.shape[0]):
        slopes[i] = weighted[i, c] * (change[i, c] - mean[i])
        curvatures[i] = weighted[i, c] * (1 - probabilities[i, c])
        moved[i] = 0


@njit(cache=True, nogil=True, fastmath=REORDER)
def _end_class(c, probabilities, change, mean, moved):
    for i in range(mean.shape[0]):
        change[i, c] += moved[i]
        mean[i] += probabilities[i, c] * moved[i]


@njit(cache=True, nogil=True, fastmath=REORDER)
def _dense_slope(X, f, slopes):
    total = X[0, 0] * 0
    for i in range(X.shape[0]):
        total += X[i, f] * slopes[i]
    return total


@njit(cache=True, nogil=True, fastmath=REORDER)
def _dense_move(X, f, step, slopes, curvatures, moved):
    for i in range(X.shape[0]):
        along = step * X[i, f]
        moved[i] += along
        slopes[i] += curvatures[i] * along


@njit(cache=True, nogil=True)
def dense_epoch(
    X, features, classes, gradient, curvature, code, table, x,
    probabilities, weighted, change, mean, skip_zeros,
):  # fmt: skip
    """Visit each pair once, in place; return the largest ``curvature * |step|``."""
    slopes, curvatures, moved = np.empty_like(mean), np.empty_like(mean), np.empty_like(mean)
    largest, current, changed = 0.0, -1, False
    for j in range(features.shape[0]):
        old = x[j]
        if skip_zeros and old == 0:
            continue
        f, c = features[j], classes[j]
        if c != current:
            if changed:
                _end_class(current, probabilities, change, mean, moved)
            _begin_class(c, probabilities, weighted, change, mean, slopes, curvatures, moved)
            current, changed = c, False
        slope = gradient[j] + _dense_slope(X, f, slopes)
        new = _minimise(code, table, j, old, slope, curvature[j])
        if new != old:
            _dense_move(X, f, new - old, slopes, curvatures, moved)
            x[j] = new
            changed = True
            largest = max(largest, abs(new - old) * curvature[j])
    if changed:
        _end_class(current, probabilities, change, mean, moved)
    return largest


@njit(cache=True, nogil=True)
def sparse_epoch(
    data, indices, indptr, features, classes, gradient, curvature, code, table, x,
    probabilities, weighted, change, mean, skip_zeros,
):  # fmt: skip
    """Visit each pair once, in place; return the largest ``curvature * |step|``."""
    slopes, curvatures, moved = np.empty_like(mean), np.empty_like(mean), np.empty_like(mean)
    largest, current, changed = 0.0, -1, False
    for j in range(features.shape[0]):
        old = x[j]
        if skip_zeros and old == 0:
            continue
        f, c = features[j], classes[j]
        if c != current:
            if changed:
                _end_class(current, probabilities, change, mean, moved)
            _begin_class(c, probabilities, weighted, change, mean, slopes, curvatures, moved)
            current, changed = c, False
        slope = gradient[j]
        for k in range(indptr[f], indptr[f + 1]):
            slope += data[k] * slopes[indices[k]]
        new = _minimise(code, table, j, old, slope, curvature[j])
        if new != old:
            step = new - old
            for k in range(indptr[f], indptr[f + 1]):
                i = indices[k]
                along = step * data[k]
                moved[i] += along
                slopes[i] += curvatures[i] * along
            x[j] = new
            changed = True
            largest = max(largest, abs(step) * curvature[j])
    if changed:
        _end_class(current, probabilities, change, mean, moved)
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
