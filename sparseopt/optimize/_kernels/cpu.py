"""Coordinate descent epochs for least squares, in Numba.

The residual ``r = y - X x`` is kept up to date. One epoch over a working set W costs
``2 m |W|`` flops for the correlations and ``2 m`` for each coefficient that changes,
and reads ``8 m |W|`` bytes.
"""

import numpy as np
from numba import njit

from sparseopt.optimize._kernels.penalties import prox_coordinate

# Sums may be reordered and fused; NaN and inf keep their meaning.
REORDER = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=REORDER)
def _column_dot(X, j, r):
    total = r[0] * 0
    for i in range(X.shape[0]):
        total += np.conj(X[i, j]) * r[i]
    return total


@njit(cache=True, nogil=True, fastmath=REORDER)
def _column_axpy(scale, X, j, r):
    for i in range(X.shape[0]):
        r[i] += scale * X[i, j]


@njit(cache=True, nogil=True)
def dense_epochs(X, norms_squared, code, table, x, r, n_epochs, skip_zeros, tolerance):
    """Run up to ``n_epochs`` cyclic epochs on the columns of ``X``, in place.

    With ``skip_zeros`` coefficients that are zero are not visited. Stops early when no
    coefficient moved by more than ``tolerance`` in the norm of the predictions; returns
    whether that happened.
    """
    for _ in range(n_epochs):
        largest = 0.0
        for j in range(X.shape[1]):
            norm_squared, old = norms_squared[j], x[j]
            if norm_squared == 0 or (skip_zeros and old == 0):
                continue
            z = _column_dot(X, j, r) + norm_squared * old
            new = prox_coordinate(code, table, j, z, norm_squared)
            if new != old:
                _column_axpy(old - new, X, j, r)
                x[j] = new
                largest = max(largest, np.abs(new - old) ** 2 * norm_squared)
        if largest <= tolerance**2:
            return True
    return False


@njit(cache=True, nogil=True)
def sparse_epochs(
    data, indices, indptr, loadings, direction_dot_r, columns, norms_squared, code, table, x, r,
    n_epochs, skip_zeros, tolerance,
):  # fmt: skip
    """Run epochs over ``columns`` of the implicitly centred CSC matrix ``A - q l'``.

    ``r`` holds ``A``'s part of the residual only; the true residual is
    ``r - q (q'r)``, and ``direction_dot_r[0]`` follows ``q'r``. ``norms_squared``,
    ``table`` and ``x`` are indexed by the position in ``columns``.
    """
    for _ in range(n_epochs):
        largest = 0.0
        for position in range(columns.shape[0]):
            norm_squared, old = norms_squared[position], x[position]
            if norm_squared == 0 or (skip_zeros and old == 0):
                continue
            j = columns[position]
            z = norm_squared * old - np.conj(loadings[j]) * direction_dot_r[0]
            for k in range(indptr[j], indptr[j + 1]):
                z += np.conj(data[k]) * r[indices[k]]
            new = prox_coordinate(code, table, position, z, norm_squared)
            if new != old:
                change = old - new
                for k in range(indptr[j], indptr[j + 1]):
                    r[indices[k]] += change * data[k]
                direction_dot_r[0] += change * loadings[j]
                x[position] = new
                largest = max(largest, np.abs(change) ** 2 * norm_squared)
        if largest <= tolerance**2:
            return True
    return False


@njit(cache=True, nogil=True)
def dense_correlations(X, columns, r, out):
    """Write ``X[:, columns]^H r`` to ``out[columns]``; reads 8 m |columns| bytes."""
    for position in range(columns.shape[0]):
        j = columns[position]
        out[j] = _column_dot(X, j, r)


@njit(cache=True, nogil=True)
def sparse_correlations(data, indices, indptr, loadings, direction_dot_r, columns, r, out):
    """Write ``(A - q l')[:, columns]^H r`` to ``out[columns]``; 2 nnz flops."""
    for position in range(columns.shape[0]):
        j = columns[position]
        total = -np.conj(loadings[j]) * direction_dot_r
        for k in range(indptr[j], indptr[j + 1]):
            total += np.conj(data[k]) * r[indices[k]]
        out[j] = total


@njit(cache=True, nogil=True)
def add_sparse_columns(data, indices, indptr, columns, values, out):
    """Add ``A[:, columns] @ values`` to ``out``; 2 nnz flops."""
    for position in range(columns.shape[0]):
        j = columns[position]
        for k in range(indptr[j], indptr[j + 1]):
            out[indices[k]] += data[k] * values[position]


@njit(cache=True, nogil=True)
def add_sparse_gram(left_data, left_indices, left_indptr, data, indices, indptr, right, out):
    """Add ``A_left^H A[:, right]`` to ``out``, with ``A_left`` in CSR and ``A`` in CSC.

    Only entries that meet in a row are multiplied: for each entry of a right column,
    the row of ``A_left``.
    """
    for b in range(right.shape[0]):
        for k in range(indptr[right[b]], indptr[right[b] + 1]):
            row, value = indices[k], data[k]
            for entry in range(left_indptr[row], left_indptr[row + 1]):
                out[left_indices[entry], b] += np.conj(left_data[entry]) * value


@njit(cache=True, nogil=True)
def principal_submatrix(hermitian, indices, out):
    """Write ``hermitian[indices][:, indices]`` to ``out``, which is stored by columns."""
    for b in range(indices.shape[0]):
        j = indices[b]
        for a in range(indices.shape[0]):
            out[a, b] = np.conj(hermitian[j, indices[a]])
