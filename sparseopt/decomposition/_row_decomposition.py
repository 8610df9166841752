r"""Decompositions of new rows by a fitted robust PCA.

To append a row x to a low-rank matrix with singular values s and right vectors V changes its
nuclear norm by :math:`\tfrac12 \sum_k c_k^2 / s_k` to second order, where c = V x, as long as x
lies in the span of V. So a new row z is split by the convex problem itself, at its margin:

.. math::

    \min_c \; \tfrac12 \sum_k c_k^2 / s_k + \text{loss}(z - V^\top c),

with the loss :math:`\lambda \|\cdot\|_1` (pcp), the same with a quadratic up to
:math:`\lambda \mu` (stable), or :math:`\lambda \|\cdot\|_2` (outlier). The optimality conditions of
the fit say that each of its own rows solves this problem: with the dual variable Y, V Y_i =
c / s, and Y_i is a subgradient of the loss. For a given rank there is no price to pay for c, and
the loss is the l1 norm.
"""

import numpy as np

from sparseopt.decomposition._robust_projection import robust_projection

LARGEST_WEIGHT = 1e100  # of a coordinate: it is kept whole
BISECTIONS = 200  # at most; enough to exhaust the digits of a double


def decompose_rows(Z, singular_values, components, *, method, lam=None, mu=None):
    """Split rows into a combination of components and a sparse or outlying part.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, n_features)
        Rows, NaN where they are not observed.
    singular_values : ndarray of shape (n_components,)
        Positive singular values of the low-rank part.
    components : ndarray of shape (n_components, n_features)
        Its right singular vectors, in rows.
    method : {"pcp", "stable", "outlier"}
        Loss of the rest.
    lam : float, optional
        Weight of the sparse part; None for fits of a given rank.
    mu : float, optional
        Weight of the residual of the stable problem.

    Returns
    -------
    scores : ndarray of shape (n_rows, n_components)
        Coefficients of the components.
    sparse : ndarray of shape (n_rows, n_features)
        Sparse part, zero where a row is not observed.
    """
    if lam is None:
        return robust_projection(Z, components, 0.0)
    scale = np.sqrt(singular_values)[:, None]
    if method == "outlier":
        scores = _outlying_rows(Z, scale * components, lam) * scale.T
        rest = np.where(np.isnan(Z), 0, Z - scores @ components)
        return scores.astype(Z.dtype), rest.astype(Z.dtype)
    threshold, ridge = (lam * mu, mu) if method == "stable" else (0.0, 1 / lam)
    scores, sparse = robust_projection(Z, scale * components, threshold, ridge=ridge)
    return scores * scale.T.astype(scores.dtype), sparse


def _outlying_rows(Z, V, lam):
    """Return the minimisers u of ``|u|^2 / 2 + lam |z - V'u|_2`` for rows z, row by row.

    With the length r of the rest, ``(V V' + (r / lam) I) u = V z``, and r is the root of a
    decreasing function, in the coordinates where V V' is diagonal.
    """
    V = V.astype(np.float64)
    scores = np.zeros((Z.shape[0], V.shape[0]))
    missing = np.isnan(Z)
    complete = ~missing.any(axis=1)
    if complete.any():
        scores[complete] = _solve_outlying(Z[complete].astype(np.float64), V, lam)
    for i in np.flatnonzero(~complete):
        seen = ~missing[i]
        scores[i] = _solve_outlying(Z[i : i + 1, seen].astype(np.float64), V[:, seen], lam)[0]
    return scores


def _solve_outlying(Z, V, lam):
    values, Q = np.linalg.eigh(V @ V.T)
    floor = np.finfo(float).eps * max(V.shape) * values.max(initial=0.0)
    Q, values = Q[:, values > floor], values[values > floor]
    basis = (Q.T @ V) / np.sqrt(values)[:, None]  # orthonormal rows
    size = largest_entries(Z)  # a unit for each row, so that squares are safe
    with np.errstate(over="ignore"):
        weights = np.minimum(lam * (values / size), LARGEST_WEIGHT)
    Z = Z / size
    inside = Z @ basis.T
    outside = Z - inside @ basis
    outside_squared = np.einsum("ij,ij->i", outside, outside)
    length = _rest_length(inside, outside_squared, weights)
    # z = basis' a; the part b of a that stays is a lam w / (lam w + r), and u = Q b / sqrt(w).
    kept = inside * (weights / (weights + length[:, None]))
    return size * ((kept / np.sqrt(values)) @ Q.T)


def largest_entries(Z):
    """Return the largest absolute value of each row, 1 for rows of zeros, as a column."""
    size = np.max(np.abs(Z), axis=1, initial=0.0, keepdims=True)
    return np.where(size > 0, size, 1)


def row_lengths(Z):
    """Return the Euclidean lengths of rows, whatever their scale."""
    size = largest_entries(Z)
    return size[:, 0] * np.linalg.norm(Z / size, axis=1)


def _rest_length(inside, outside_squared, weights):
    """Return the lengths r of the rests: ``sum_k (a_k r / (w_k + r))^2 + b^2 = r^2``."""
    total = np.sqrt(np.einsum("ij,ij->i", inside, inside) + outside_squared)
    low, high = np.sqrt(outside_squared), total.copy()
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        safe = np.where(middle > 0, middle, 1.0)
        ratio = np.sum((inside / (weights + middle[:, None])) ** 2, axis=1)
        too_short = ratio + outside_squared / safe**2 > 1
        low, high = np.where(too_short, middle, low), np.where(too_short, high, middle)
        if np.all(high - low <= 4 * np.finfo(float).eps * total):
            break
    # A rest within rounding of zero is zero: the row lies among the components.
    length = 0.5 * (low + high)
    return np.where(length <= 1e-14 * total, 0.0, length)
