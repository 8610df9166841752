"""Checks of arguments that every family shares. All raise before any work is done."""

import numbers

import numpy as np


def check_nonnegative(value, name):
    """Return ``value`` as a float if it is a finite real number >= 0."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a real number, got {value!r}.")
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and >= 0, got {value!r}.")
    return float(value)


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
