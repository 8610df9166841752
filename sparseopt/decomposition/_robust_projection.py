r"""Robust regression of rows on given components.

For each row :math:`z` (p,) of the data and components :math:`V` (r, p), as rows,

.. math::

    \min_{x, s} \tfrac12 \|z - V^\top x - s\|^2 + t \|s\|_1 + \tfrac{\gamma}{2} \|x\|^2,

where the sparse part :math:`s` can be eliminated: what is left is a regression with Huber's loss
(P. J. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35, 1964) and
threshold :math:`t`. It is solved exactly, by Newton's method; see ``_kernels/projection.py``.
"""

from numbers import Real

import numpy as np
from scipy import linalg

from sparseopt._core import check_nonnegative
from sparseopt.decomposition._kernels import projection

BLOCK_ENTRIES = 2**20  # of rows that are copied at once
LARGEST_RIDGE = 1e300  # holds a coordinate at zero


def robust_projection(Z, components, threshold, *, ridge=0.0, observed=None):
    r"""Regress rows on components, robustly against gross errors in some entries.

    Minimises :math:`\sum_j h(z_j - (V^\top x)_j) + \tfrac{\gamma}{2} \|x\|^2` for each row
    :math:`z`, with Huber's :math:`h(u) = u^2 / 2` up to :math:`|u| = t` and
    :math:`t |u| - t^2 / 2` beyond, to the accuracy of the floating-point numbers.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_features)
        Rows; NaN marks entries that were not observed.
    components : array-like of shape (n_components, n_features)
        Components :math:`V`; they need be neither orthonormal nor independent.
    threshold : float
        Huber's :math:`t \ge 0`. Infinity gives ordinary least squares. 0 gives least absolute
        deviations, :math:`\min_x \|z - V^\top x\|_1 + \tfrac{\gamma}{2} \|x\|^2`.
    ridge : float, default=0.0
        :math:`\gamma \ge 0`.
    observed : array-like of bool, of shape (n_samples, n_features), optional
        False marks entries that were not observed, beside NaN.

    Returns
    -------
    scores : ndarray of shape (n_samples, n_components)
        Coefficients :math:`x`. Where the observed entries of a row do not determine them, the
        fit :math:`V^\top x` of the whole row has the smallest norm; it is zero for a row without
        any observed entry. Where the components are dependent, so has :math:`x`.
    sparse : ndarray of shape (n_samples, n_features)
        What exceeds the threshold: the residuals, :math:`t` nearer to zero; 0 for an infinite
        threshold and for entries not observed. Both are float32 if ``Z`` is, else float64;
        all computations are in double precision.

    Raises
    ------
    ValueError
        For shapes that do not fit, infinite entries and invalid arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._robust_projection import robust_projection
    >>> components = np.ones((1, 5))
    >>> scores, sparse = robust_projection([[2.0, 2.0, 2.0, 90.0, np.nan]], components, 0.0)
    >>> scores.round(6).tolist(), sparse.round(6).tolist()
    ([[2.0]], [[0.0, 0.0, 0.0, 88.0, 0.0]])
    """
    Z, V, observed = _check_arrays(Z, components, observed)
    threshold = _check_threshold(threshold)
    ridge = check_nonnegative(ridge, "ridge")
    scores = np.empty((Z.shape[0], V.shape[0]), dtype=Z.dtype)
    sparse = np.empty(Z.shape, dtype=Z.dtype)
    basis, back, lengths = _orthonormal_basis(V)
    # The coordinates y of a fit belong to coefficients x = U (y / lengths).
    row_ridge = np.minimum((np.sqrt(ridge) / lengths) ** 2, LARGEST_RIDGE)
    transposed = np.ascontiguousarray(basis.T)
    gram = basis @ transposed
    # One dtype and layout for the compiled loops, and no copy of all the data.
    length = max(1, BLOCK_ENTRIES // max(1, Z.shape[1]))
    for start in range(0, Z.shape[0], length):
        rows = slice(start, start + length)
        block = np.array(Z[rows], dtype=np.float64, order="C")
        if observed is not None:
            block[~observed[rows]] = np.nan
        x, s = np.empty((block.shape[0], basis.shape[0])), np.empty(block.shape)
        projection.project_rows(block, basis, transposed, gram, row_ridge, threshold, x, s)
        scores[rows], sparse[rows] = x @ back, s
    return scores, sparse


def _check_threshold(threshold):
    if isinstance(threshold, Real) and threshold == np.inf:
        return np.inf
    return check_nonnegative(threshold, "threshold")


def _check_arrays(Z, components, observed):
    Z, V = np.asarray(Z), np.asarray(components)
    for name, array in (("Z", Z), ("components", V)):
        if array.ndim != 2 or array.dtype.kind not in "biuf":
            raise ValueError(
                f"{name} must be a real matrix, got shape {array.shape} and dtype {array.dtype}."
            )
    if Z.shape[1] != V.shape[1]:
        raise ValueError(
            f"Z and components must have equally many columns, got {Z.shape[1]} and {V.shape[1]}."
        )
    V = np.array(V, dtype=np.float64, order="C")  # read-only ones would compile the loops again
    if not np.all(np.isfinite(V)):
        raise ValueError("components must be finite, got NaN or infinite entries.")
    if Z.dtype not in (np.float32, np.float64):
        Z = Z.astype(np.float64)
    if np.any(np.isinf(Z)):
        raise ValueError("Z must not hold infinite entries.")
    if observed is None:
        return Z, V, None
    observed = np.asarray(observed)
    if observed.shape != Z.shape or observed.dtype != bool:
        raise ValueError(
            f"observed must be a boolean array of shape {Z.shape}, got shape {observed.shape} "
            f"and dtype {observed.dtype}."
        )
    return Z, V, observed


def _orthonormal_basis(V):
    """Return ``Q`` (k, p), ``B`` (k, r) and ``s`` (k,) with ``V^T B^T = Q^T``, B of minimum norm.

    Rows of ``Q`` are orthonormal and span those of ``V``; ``s`` are the singular values. (For
    V = 0 there is one row, of zeros.)
    """
    size = np.max(np.abs(V), initial=0.0)
    if size == 0:
        return np.zeros((1, V.shape[1])), np.zeros((1, V.shape[0])), np.ones(1)
    gram = V @ V.T
    if np.all(np.abs(gram - np.eye(V.shape[0])) <= 1e-14):
        return V, np.eye(V.shape[0]), np.ones(V.shape[0])
    Q, R = linalg.qr((V / size).T, mode="economic", check_finite=False)
    W, s, Ut = linalg.svd(R, full_matrices=False, check_finite=False)
    rank = np.count_nonzero(s > s[0] * max(V.shape) * np.finfo(np.float64).eps)
    lengths = s[:rank] * size
    return np.ascontiguousarray((Q @ W[:, :rank]).T), Ut[:rank] / lengths[:, None], lengths
