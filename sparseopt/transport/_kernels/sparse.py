"""Newton's system of a sparsified transport plan, in Numba.

The plan S (n, m) is given as CSR rows (``indptr``, ``indices``, ``values``); ``rows`` (n,)
and ``columns`` (m,) are positive diagonals that bound its row and column sums. The Schur
complement A = diag(columns) - S' diag(1 / rows) S is positive semidefinite.
"""

import math

import numpy as np
from numba import njit

from sparseopt.transport._kernels.forest import substitute

REORDER = {"reassoc", "contract", "nsz"}  # NaN and inf keep their meaning


@njit(cache=True, nogil=True, fastmath=REORDER)
def schur_product(indptr, indices, values, rows, columns, v, out):
    """Write A v to ``out``; reads S once, 4 nnz flops."""
    for j in range(v.shape[0]):
        out[j] = columns[j] * v[j]
    for i in range(rows.shape[0]):
        places, row = indices[indptr[i] : indptr[i + 1]], values[indptr[i] : indptr[i + 1]]
        total = 0.0
        for k in range(row.shape[0]):
            total += row[k] * v[np.uint32(places[k])]  # unsigned: no check for negative ones
        total /= rows[i]
        for k in range(row.shape[0]):
            out[np.uint32(places[k])] -= row[k] * total


@njit(cache=True, nogil=True)
def sum_entries(indptr, indices, values, column_sums):
    """Return the row sums of S and add its entries to ``column_sums``."""
    row_sums = np.zeros(indptr.shape[0] - 1)
    for i in range(row_sums.shape[0]):
        for k in range(indptr[i], indptr[i + 1]):
            row_sums[i] += values[k]
            column_sums[indices[k]] += values[k]
    return row_sums


@njit(cache=True, nogil=True, fastmath=REORDER)
def _dot(u, v):
    total = 0.0
    for j in range(u.shape[0]):
        total += u[j] * v[j]
    return total


@njit(cache=True, nogil=True)
def _precondition(factors, n, columns, work, r, z):
    """Write the preconditioned residual: by the factors, or the diagonal without any."""
    place = factors[0]
    m = r.shape[0]
    if place.shape[0] == 0:
        for j in range(m):
            z[j] = r[j] / columns[j]
        return
    for i in range(n):
        work[place[i]] = 0.0
    for j in range(m):
        work[place[n + j]] = r[j]
    substitute(factors, work)
    for j in range(m):
        z[j] = work[place[n + j]]


@njit(cache=True, nogil=True)
def solve_schur(indptr, indices, values, rows, columns, factors, h, rtol, max_iter, v):
    """Solve A v = h by conjugate gradients; return the iterations, and if it is solved.

    ``factors`` is what :func:`factorize` returned; with empty arrays the diagonal
    preconditions. 8 nnz flops an iteration, half with the diagonal.
    """
    n, m = rows.shape[0], h.shape[0]
    v[:] = 0.0
    r = h.copy()
    z, q, work = np.empty(m), np.empty(m), np.empty(factors[0].shape[0])
    _precondition(factors, n, columns, work, r, z)
    p = z.copy()
    energy = _dot(r, z)
    target = rtol * math.sqrt(_dot(h, h))
    for iteration in range(max_iter):
        schur_product(indptr, indices, values, rows, columns, p, q)
        curvature = _dot(p, q)
        if not curvature > 0:
            return iteration, True  # as far as rounding allows
        step = energy / curvature
        for j in range(m):
            v[j] += step * p[j]
            r[j] -= step * q[j]
        if math.sqrt(_dot(r, r)) <= target:
            return iteration + 1, True
        _precondition(factors, n, columns, work, r, z)
        new_energy = _dot(r, z)
        ratio = new_energy / energy
        energy = new_energy
        for j in range(m):
            p[j] = z[j] + ratio * p[j]
    return max_iter, False
