r"""How near an estimate of sparse coefficients is: in value, and in support.

    nmse = ||x_hat - x||^2 / ||x||^2,    support_recovery_rate = |S_hat ∩ S| / |S_hat ∪ S|,

for real or complex arrays of any shape, from any array library.
"""

import math
from numbers import Real

import numpy as np

from sparseopt._core import array_namespace, is_numpy, to_numpy


def nmse(coef_true, coef_pred, *, axis=None):
    r"""Return the squared error of an estimate, relative to the truth.

    :math:`\|\hat x - x\|^2 / \|x\|^2`, the normalised mean squared error.

    Parameters
    ----------
    coef_true, coef_pred : array-like of one shape
        Truth and estimate, real or complex.
    axis : int or tuple of int, default=None
        The axes of one signal; the ratios of the signals along the other axes are averaged. By
        default all entries are one signal.

    Returns
    -------
    error : float
        0 for a perfect estimate, 1 for one of zeros, infinite if it is too large for a number.

    Raises
    ------
    ValueError
        If shapes differ, if an entry is not finite or if a true signal is zero.

    See Also
    --------
    support_recovery_rate : Agreement of the supports.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import nmse
    >>> nmse([3.0, 4.0j], [3.0, 3.0j])
    0.04
    >>> nmse([[3.0, 4.0], [0.0, 1.0]], [[3.0, 3.0], [0.0, 0.0]], axis=1)
    0.52
    """
    true, predicted, xp = _check_pair(coef_true, coef_pred)
    if axis is None:
        axis = tuple(range(true.ndim))
    size = xp.abs(true)
    largest = xp.max(size, axis=axis, keepdims=True) if math.prod(true.shape) else xp.zeros(1)
    if not bool(xp.all(largest > 0)):
        raise ValueError("coef_true must not be zero, since errors are relative to it.")
    # Squares and differences of very large entries would overflow, those of small ones vanish.
    with np.errstate(over="ignore"):
        error = xp.sum(xp.abs(predicted / largest - true / largest) ** 2, axis=axis)
        return float(xp.mean(error / xp.sum((size / largest) ** 2, axis=axis)))


def support_recovery_rate(coef_true, coef_pred, *, threshold=1e-3):
    r"""Return the agreement of an estimated support with the true one.

    :math:`|\hat S \cap S| / |\hat S \cup S|`, which counts both what is missing and what is there
    without being true.

    Parameters
    ----------
    coef_true, coef_pred : array-like of one shape
        Truth and estimate, real or complex, or masks of their supports.
    threshold : float, default=1e-3
        The estimated support is where absolute values are larger than this share of the largest
        one. The true support is where the truth is not zero.

    Returns
    -------
    rate : float
        1 for equal supports, 0 for disjoint ones; 1 also if both are empty.

    Raises
    ------
    ValueError
        If shapes differ, if an entry is not finite or if ``threshold`` is not in [0, 1).

    See Also
    --------
    nmse : Error of the values.

    Examples
    --------
    >>> from sparseopt.sparse_bayes import support_recovery_rate
    >>> support_recovery_rate([0.0, 2.0, -1.0, 0.0], [1e-6, 1.9, -1.2, 0.3])
    0.6666666666666666
    """
    if not isinstance(threshold, Real) or not 0 <= threshold < 1:
        raise ValueError(f"threshold must be a number in [0, 1), got {threshold!r}.")
    true, predicted, xp = _check_pair(coef_true, coef_pred)
    there = true != 0
    if math.prod(predicted.shape) == 0:
        return 1.0
    size = xp.abs(predicted)
    found = size > threshold * xp.max(size)
    union = int(xp.count_nonzero(there | found))
    return int(xp.count_nonzero(there & found)) / union if union else 1.0


def _check_pair(coef_true, coef_pred):
    """Return both arrays as finite floating ones of one shape, and their namespace."""
    xp = array_namespace(coef_true, coef_pred)
    checked = []
    for name, given in (("coef_true", coef_true), ("coef_pred", coef_pred)):
        array = to_numpy(given) if is_numpy(xp) else given
        if not xp.isdtype(array.dtype, ("bool", "numeric")):
            raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}.")
        if not xp.isdtype(array.dtype, ("real floating", "complex floating")):
            array = xp.astype(array, xp.float64)
        if not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
        checked.append(array)
    true, predicted = checked
    if tuple(true.shape) != tuple(predicted.shape):
        raise ValueError(
            f"coef_true and coef_pred must have the same shape, got {tuple(true.shape)} and "
            f"{tuple(predicted.shape)}."
        )
    return true, predicted, xp
