"""Validation of the problems with Kronecker-structured dictionaries."""

import math
from numbers import Real

import numpy as np

from sparseopt._core import array_namespace, is_numpy
from sparseopt.sparse_bayes._kronecker_dictionary import (
    check_factors,
    dense_numbers,
)
from sparseopt.sparse_bayes._kronecker_steps import neighbour_coupling

SMALLEST_SHARE = 1e-20


def check_measurements(factors, Y):
    """Return factors and measurements as tensors of one dtype.

    Parameters
    ----------
    factors : sequence of arrays of shape (m_d, n_d), or KroneckerDictionary
        Factors.
    Y : array of shape (M,), (M, L), (m_1, ..., m_I) or (m_1, ..., m_I, L)
        Measurements.

    Returns
    -------
    factors : list of arrays
        Of a floating dtype.
    Y : array of shape (m_1, ..., m_I) or (m_1, ..., m_I, L)
        In the same dtype.

    Raises
    ------
    ValueError
        If shapes do not fit, or entries are not finite.
    """
    factors, xp = check_factors(factors)
    if is_numpy(xp):
        whole = np.asarray(Y).dtype.kind in "biu"
        Y = dense_numbers(Y, "y")
        if whole:
            Y = Y.astype(xp.abs(factors[0][:1]).dtype)
    else:
        array_namespace(Y, *factors)
    if not xp.isdtype(Y.dtype, ("real floating", "complex floating")):
        raise ValueError(f"y must hold numbers, got dtype {Y.dtype}.")
    rows = tuple(factor.shape[0] for factor in factors)
    n_rows = math.prod(rows)
    shape = tuple(Y.shape)
    if shape[:1] == (n_rows,) and len(shape) <= 2:
        Y = xp.reshape(Y, rows + shape[1:])
    elif shape[: len(rows)] != rows or len(shape) > len(rows) + 1:
        product = " * ".join(map(str, rows))
        raise ValueError(
            f"y must have {n_rows} = {product} rows, the product of the factors' numbers of rows, "
            f"or the shape {rows}, each with one more axis for several targets, got shape {shape}."
        )
    if 0 in Y.shape:
        raise ValueError(f"y must hold at least one target, got shape {shape}.")
    if not bool(xp.all(xp.isfinite(Y))):
        raise ValueError("y must be finite, got NaN or infinite entries.")
    dtype = xp.result_type(Y, *factors)
    return [xp.astype(factor, dtype, copy=False) for factor in factors], xp.astype(
        Y, dtype, copy=False
    )


def per_factor(value, n_factors, name):
    """Return one nonnegative finite number a factor."""
    values = [value] * n_factors if _is_scalar(value) else list(value)
    if len(values) != n_factors:
        raise ValueError(
            f"{name} must be one number or one a factor ({n_factors}), got {len(values)}."
        )
    for entry in values:
        if not (_is_number(entry) and 0 <= entry < np.inf):
            raise ValueError(f"{name} must hold finite numbers >= 0, got {entry!r}.")
    return [float(entry) for entry in values]


def _is_scalar(value):
    return np.isscalar(value) or getattr(value, "ndim", 1) == 0


def _is_number(entry):
    return isinstance(entry, Real) and not isinstance(entry, (bool, np.bool_))


def check_couplings(pattern_coupling, sizes):
    """Return the coupling matrix of each factor, or None if no factor is coupled.

    Parameters
    ----------
    pattern_coupling : None, float or sequence
        A strength for all factors, or for each factor a strength, a matrix of shape (n_d, k_d)
        or None.
    sizes : sequence of int
        Numbers n_d of columns.

    Returns
    -------
    couplings : list of ndarray or None, or None
    """
    if pattern_coupling is None:
        return None
    if _is_scalar(pattern_coupling):
        pattern_coupling = [pattern_coupling] * len(sizes)
    if len(pattern_coupling) != len(sizes):
        raise ValueError(
            f"pattern_coupling must be one strength or one entry a factor ({len(sizes)}), got "
            f"{len(pattern_coupling)} entries."
        )
    couplings = [
        _check_coupling(entry, n, number)
        for number, (entry, n) in enumerate(zip(pattern_coupling, sizes, strict=True))
    ]
    return None if all(coupling is None for coupling in couplings) else couplings


def _check_range(coupling):
    """Refuse entries whose quotients, which the updates take squares of, are hardly numbers."""
    entries = coupling[coupling > 0]
    if np.any((entries < SMALLEST_SHARE) | (entries > 1 / SMALLEST_SHARE)):
        raise ValueError(
            f"pattern_coupling must be 0 or between {SMALLEST_SHARE:g} and "
            f"{1 / SMALLEST_SHARE:g}, got entries from {entries.min():.3g} to {entries.max():.3g}."
        )


def _check_coupling(entry, n, number):
    if entry is None:
        return None
    if _is_scalar(entry) and not _is_number(entry):
        raise ValueError(
            f"pattern_coupling of factor {number} must be a number, a matrix or None, got "
            f"{entry!r}."
        )
    if np.iscomplexobj(entry):
        raise ValueError("pattern_coupling must be real, got complex values.")
    matrix = np.asarray(entry, dtype=np.float64)
    if not (np.all(np.isfinite(matrix)) and np.all(matrix >= 0)):
        raise ValueError(f"pattern_coupling must be finite and >= 0, got {entry!r}.")
    if matrix.ndim == 0:
        _check_range(matrix)
        return neighbour_coupling(n, float(matrix)) if matrix > 0 else None
    if matrix.ndim != 2 or matrix.shape[0] != n:
        raise ValueError(
            f"a coupling matrix must have {n} rows, one a column of its factor, got shape "
            f"{matrix.shape}."
        )
    if not matrix.any(axis=1).all() or not matrix.any(axis=0).all():
        raise ValueError("a coupling matrix must have no row or column of zeros.")
    _check_range(matrix)
    return matrix
