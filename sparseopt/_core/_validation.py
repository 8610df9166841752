"""Checks of arguments that every family shares. All raise before any work is done."""

import numbers

import numpy as np
from scipy import sparse


def check_nonnegative(value, name):
    """Return ``value`` as a float if it is a finite real number >= 0."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a real number, got {value!r}.")
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and >= 0, got {value!r}.")
    return float(value)


def check_at_least_one(value, name):
    """Return ``value`` as an int if it is an integer >= 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}.")
    return int(value)


def check_penalty_weights(weights, n_features, *, X=None, dtype=np.float64):
    """Return penalty weights as an array with one entry a feature.

    Parameters
    ----------
    weights : None, array-like of shape (n_features,) or callable
        ``None`` means ones; a callable is called as ``weights(X)``. Each weight is
        >= 0; 0 never penalises a feature, and ``inf`` excludes it.
    n_features : int
        Number of features.
    X : object, optional
        What a callable receives.
    dtype : dtype, default=float64
        Real dtype of the result.

    Returns
    -------
    weights : ndarray of shape (n_features,)
        A new array.

    Raises
    ------
    ValueError
        For a wrong length, NaN or negative entries.
    """
    if weights is None:
        return np.ones(n_features, dtype=dtype)
    given = weights(X) if callable(weights) else weights
    if np.iscomplexobj(given):
        raise ValueError("weights must be real, got complex values.")
    try:
        checked = np.array(given, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights must be numbers, got {given!r}.") from error
    if checked.shape != (n_features,):
        raise ValueError(
            f"weights must have shape ({n_features},), one entry a feature, got "
            f"shape {checked.shape}."
        )
    bad = ~(checked >= 0)  # catches NaN too
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"weights must be >= 0 (0: never penalised, inf: excluded), got "
            f"{checked[first]!r} for feature {first}."
        )
    return checked


def check_regression_data(X, y, sample_weight=None):
    """Validate the data of a solver function, which may be complex.

    Parameters
    ----------
    X : array-like or sparse container of shape (n_samples, n_features)
        Design.
    y : array-like of shape (n_samples,)
        Target.
    sample_weight : array-like of shape (n_samples,), optional
        Non-negative row weights with a positive sum.

    Returns
    -------
    X : ndarray, csc_array or csr_array
        In the common floating or complex dtype; integers become float64, float32 stays,
        also beside a ``y`` of integers, such as labels.
    y : ndarray of shape (n_samples,)
        In the dtype of ``X``.
    sample_weight : ndarray of shape (n_samples,) or None
        In the real dtype that belongs to ``X``.

    Raises
    ------
    ValueError
        For shapes that do not fit, non-finite entries or negative weights.
    """
    if sparse.issparse(X):
        X = X if X.format in ("csc", "csr") else X.tocsc()
        values = X.data
    else:
        X = values = np.asarray(X)
    y = np.asarray(y)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X must be a non-empty matrix, got shape {X.shape}.")
    if y.shape != (X.shape[0],):
        raise ValueError(f"y must have shape ({X.shape[0]},), one entry a row of X, got {y.shape}.")
    labels = y.dtype.kind in "biu" and X.dtype.kind in "fc"
    dtype = X.dtype if labels else np.result_type(X.dtype, y.dtype)
    if dtype.kind in "biu":
        dtype = np.dtype(np.float64)
    if dtype.char not in "fdFD":
        raise ValueError(f"X and y must hold numbers (float or complex), got dtype {dtype}.")
    for name, array in (("X", values), ("y", y)):
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
    X, y = X.astype(dtype, copy=False), y.astype(dtype, copy=False)
    if sample_weight is not None:
        sample_weight = _check_row_weights(sample_weight, y)
    return X, y, sample_weight


def _check_row_weights(sample_weight, y):
    sample_weight = np.asarray(sample_weight, dtype=y.real.dtype)
    if sample_weight.shape != y.shape:
        raise ValueError(
            f"sample_weight must have shape {y.shape}, one entry a row of X, got "
            f"{sample_weight.shape}."
        )
    if not (np.all(np.isfinite(sample_weight)) and np.all(sample_weight >= 0)):
        raise ValueError("sample_weight must be finite and >= 0.")
    if not np.sum(sample_weight) > 0:
        raise ValueError("sample_weight must have a positive sum, got only zeros.")
    return sample_weight
