"""Online robust PCA: rows in, components and their statistics updated, nothing kept of the rows.

For each row z (p,), with components C (k x p):

    x = argmin sum_j h(z_j - (C^T x)_j) + lam1 / 2 |x|^2, with Huber's h of threshold lam2,
    A <- nu A + x x^T,    B <- nu B + x (z - e)^T,    e = soft(z - C^T x, lam2),

and one sweep of block coordinate descent over the components,
    c_a <- c_a + (b_a - (A + lam1 I)_a C) / (A_aa + lam1)    for a = 1, ..., k in turn.

A row costs 2 k^2 p flops for the sweep, k^2 p for the Gram matrix of the components, 2 k p for B,
and some 3 Newton steps of 8 k p; no array longer than a tile is read twice by the sweep.
"""

import numpy as np
from numba import njit

from sparseopt.decomposition._kernels.projection import (
    combine,
    fit_huber,
    fit_least_squares,
    gather_row,
    start_hessian,
    workspace,
)

SUMS_IN_ANY_ORDER = {"reassoc", "contract"}
TILE = 512  # entries; so many of each component stay in the first cache during a sweep


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def sweep_components(C, A, B, ridge):
    """Update the components in turn, the later ones with the earlier ones' new values."""
    k, p = C.shape
    rest = np.empty(TILE)
    for start in range(0, p, TILE):
        size = min(TILE, p - start)
        for a in range(k):
            pivot = A[a, a] + ridge
            if not pivot > 0:
                continue
            target, current = B[a], C[a]
            for t in range(size):
                rest[t] = target[start + t] - ridge * current[start + t]
            for b in range(k):
                factor, other = A[a, b], C[b]
                for t in range(size):
                    rest[t] -= factor * other[start + t]
            factor = 1.0 / pivot
            for t in range(size):
                current[start + t] += factor * rest[t]


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def _gram(C, G):
    """Write ``C C^T`` to ``G``."""
    k, p = C.shape
    G[:] = 0.0
    for start in range(0, p, TILE):
        stop = min(start + TILE, p)
        for a in range(k):
            one = C[a]
            for b in range(a + 1):
                other = C[b]
                total = 0.0
                for j in range(start, stop):
                    total += one[j] * other[j]
                G[a, b] += total
    for a in range(k):
        for b in range(a):
            G[b, a] = G[a, b]


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def _add_row(A, B, x, clean):
    for a in range(x.size):
        factor, row = x[a], B[a]
        for b in range(x.size):
            A[a, b] += factor * x[b]
        for j in range(clean.size):
            row[j] += factor * clean[j]


@njit(cache=True, nogil=True)
def stream_rows(Z, C, A, B, lam1, lam2, forgetting, batch_size):
    """Learn from the rows of ``Z`` (NaN: unobserved, taken for what the fit says) in turn.

    ``C``, ``A`` and ``B`` change in place. The coefficients of ``batch_size`` rows belong to the
    same components, and one sweep follows.
    """
    k, p = C.shape
    work = workspace(k, p)
    transposed, G, ridge = np.empty((p, k)), np.empty((k, k)), np.full(k, lam1)
    z, index, clean = np.empty(p), np.arange(p), np.empty(p)
    W = np.empty((k, p if np.any(np.isnan(Z)) else 0))
    x, scale = np.empty(k), np.empty(k)
    for start in range(0, Z.shape[0], batch_size):
        stop = min(start + batch_size, Z.shape[0])
        _gram(C, G)
        transposed[:] = C.T
        for a in range(k):
            scale[a] = 16 * np.sqrt(G[a, a] * p)
        if forgetting < 1:
            A *= forgetting ** (stop - start)
            B *= forgetting ** (stop - start)
        for i in range(start, stop):
            n, size = gather_row(Z[i], C, z, index, W)
            if size == 0:
                continue  # nothing seen, or zeros: x = 0 changes neither A nor B
            V = C if n == p else W
            start_hessian(G, transposed, index, n, work)
            fit_least_squares(V, transposed, index, z, n, ridge, scale, x, work)
            fit_huber(V, transposed, index, z, n, lam2 / size, ridge, scale, x, work)
            combine(C, x, p, clean)
            for j in range(n):
                clean[index[j]] += work.clipped[j]
            x *= size
            clean *= size
            _add_row(A, B, x, clean)
        sweep_components(C, A, B, lam1)


@njit(cache=True, nogil=True)
def count_fits(rows, low_rank, threshold):
    """Count, for each feature, the residuals up to the threshold and those beyond it."""
    fits, misfits = np.zeros(rows.shape[1], np.int64), np.zeros(rows.shape[1], np.int64)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            size = abs(rows[i, j] - low_rank[i, j])
            fits[j] += size <= threshold
            misfits[j] += size > threshold  # neither, for NaN
    return fits, misfits
