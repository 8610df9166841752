"""Conjugate gradients for graph Laplacians with several right-hand sides, in Numba.

The matrix is A = diag(``diagonal``) - W with W as CSR rows (``indptr``, ``indices``,
``data``), sorted, without a diagonal; row i holds its entries below the diagonal up to
``middle[i]``. The preconditioner is M = (D + L) D^-1 (D + L'), L the lower part of A and D
the ``pivots``. In Eisenstat's form one product with the preconditioned matrix is a backward
and a forward substitution, which together read each entry once, as a product with A does.
Vectors are arrays of shape (n, n_columns).
"""

import numpy as np
from numba import njit

REORDER = {"reassoc", "contract", "nsz"}  # NaN and inf keep their meaning


@njit(cache=True, nogil=True)
def split_rows(indptr, indices):
    """Return, for each row, where its entries above the diagonal begin."""
    middle = np.empty(indptr.shape[0] - 1, np.int64)
    for i in range(middle.shape[0]):
        place = indptr[i]
        while place < indptr[i + 1] and indices[place] < i:
            place += 1
        middle[i] = place
    return middle


@njit(cache=True, nogil=True)
def modified_pivots(indptr, middle, indices, data, diagonal, omega):
    """Return pivots with which M has the diagonal (omega 0) or the row sums (1) of A.

    They are positive for omega <= 1 if A is an irreducibly diagonally dominant M-matrix.
    """
    pivots = diagonal.copy()
    for j in range(pivots.shape[0]):
        above = 0.0
        for e in range(middle[j], indptr[j + 1]):
            above += data[e]
        for e in range(middle[j], indptr[j + 1]):
            fill = omega * above + (1 - omega) * data[e]
            pivots[indices[e]] -= data[e] * fill / pivots[j]
    return pivots


@njit(cache=True, nogil=True, fastmath=REORDER)
def lower_solve(indptr, middle, indices, data, pivots, b, s):
    """Write (D + L)^-1 b to ``s``."""
    for i in range(pivots.shape[0]):
        for c in range(b.shape[1]):
            s[i, c] = b[i, c]
        for e in range(indptr[i], middle[i]):
            j, weight = indices[e], data[e]
            for c in range(b.shape[1]):
                s[i, c] += weight * s[j, c]
        for c in range(b.shape[1]):
            s[i, c] /= pivots[i]


@njit(cache=True, nogil=True, fastmath=REORDER)
def direction_and_product(
    indptr, middle, indices, data, diagonal, pivots, ratio, r, p, t, s, p_dot_q
):  # fmt: skip
    """Replace p by D r + ratio p; write t = (D + L')^-1 p and s, with s + t the product.

    The product is q = (D + L)^-1 A t; p'q is written for each column. Memory traffic decides
    the speed, hence one pass down and one up, and no array for q.
    """
    n, n_columns = p.shape
    p_dot_q[:] = 0
    for i in range(n - 1, -1, -1):
        for c in range(n_columns):
            p[i, c] = pivots[i] * r[i, c] + ratio[c] * p[i, c]
            t[i, c] = p[i, c]
        for e in range(middle[i], indptr[i + 1]):
            j, weight = indices[e], data[e]
            for c in range(n_columns):
                t[i, c] += weight * t[j, c]
        for c in range(n_columns):
            t[i, c] /= pivots[i]
    for i in range(n):
        shift = diagonal[i] - 2 * pivots[i]
        for c in range(n_columns):
            s[i, c] = p[i, c] + shift * t[i, c]
        for e in range(indptr[i], middle[i]):
            j, weight = indices[e], data[e]
            for c in range(n_columns):
                s[i, c] += weight * s[j, c]
        for c in range(n_columns):
            s[i, c] /= pivots[i]
            p_dot_q[c] += p[i, c] * (s[i, c] + t[i, c])


@njit(cache=True, nogil=True, fastmath=REORDER)
def advance(step, t, s, pivots, x, r, energy):
    """Move ``x`` along t and ``r`` along -(s + t); write r' D r for each column."""
    energy[:] = 0
    for i in range(r.shape[0]):
        for c in range(r.shape[1]):
            x[i, c] += step[c] * t[i, c]
            r[i, c] -= step[c] * (s[i, c] + t[i, c])
            energy[c] += pivots[i] * r[i, c] ** 2


@njit(cache=True, nogil=True, fastmath=REORDER)
def residual_norms_squared(indptr, indices, data, diagonal, x, b, total):
    """Write ||b - A x||^2 for each column."""
    total[:] = 0
    row = np.empty(x.shape[1], x.dtype)
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            row[c] = b[i, c] - diagonal[i] * x[i, c]
        for e in range(indptr[i], indptr[i + 1]):
            j, weight = indices[e], data[e]
            for c in range(x.shape[1]):
                row[c] += weight * x[j, c]
        for c in range(x.shape[1]):
            total[c] += row[c] ** 2
