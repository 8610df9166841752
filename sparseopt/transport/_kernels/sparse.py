"""Newton's system of a sparsified transport plan, in Numba.

The plan S (n, m) is given as CSR rows (``indptr``, ``indices``, ``values``); ``rows`` (n,)
and ``columns`` (m,) are positive diagonals that bound its row and column sums. The Schur
complement A = diag(columns) - S' diag(1 / rows) S is positive semidefinite.
"""

import math

import numpy as np
from numba import njit

REORDER = {"reassoc", "contract", "nsz"}  # NaN and inf keep their meaning


@njit(cache=True, nogil=True, fastmath=REORDER)
def schur_product(indptr, indices, values, rows, columns, v, out):
    """Write A v to ``out``; reads S once, 4 nnz flops."""
    for j in range(v.shape[0]):
        out[j] = columns[j] * v[j]
    for i in range(rows.shape[0]):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += values[k] * v[indices[k]]
        total /= rows[i]
        for k in range(indptr[i], indptr[i + 1]):
            out[indices[k]] -= values[k] * total


@njit(cache=True, nogil=True, fastmath=REORDER)
def _dot(u, v):
    total = 0.0
    for j in range(u.shape[0]):
        total += u[j] * v[j]
    return total


@njit(cache=True, nogil=True)
def solve_jacobi(indptr, indices, values, rows, columns, h, rtol, max_iter, v):
    """Solve A v = h by conjugate gradients with the diagonal; return the iterations."""
    m = h.shape[0]
    v[:] = 0.0
    r = h.copy()
    z = r / columns
    p = z.copy()
    q = np.empty(m)
    energy = _dot(r, z)
    target = rtol * math.sqrt(_dot(h, h))
    for iteration in range(max_iter):
        schur_product(indptr, indices, values, rows, columns, p, q)
        curvature = _dot(p, q)
        if not curvature > 0:
            return iteration
        step = energy / curvature
        for j in range(m):
            v[j] += step * p[j]
            r[j] -= step * q[j]
        if math.sqrt(_dot(r, r)) <= target:
            return iteration + 1
        for j in range(m):
            z[j] = r[j] / columns[j]
        new_energy = _dot(r, z)
        ratio = new_energy / energy
        energy = new_energy
        for j in range(m):
            p[j] = z[j] + ratio * p[j]
    return max_iter
