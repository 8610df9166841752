"""Fused passes over the matrices of principal component pursuit.

``limits`` of shape (m, 1) or (m, n) bounds the dual variable: the penalty is
``sum limits_ij |S_ij|``, or ``sum_i limits_i ||S_i||_2`` if it groups rows. Where it is zero
an entry of S is free, which is what a missing entry of the data asks for.

Each loop over a row is free of branches, so that it is compiled to vector instructions.
"""

import numpy as np
from numba import njit

REASSOCIATE = {"reassoc", "contract"}  # sums may be reordered; NaN and inf keep their meaning


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def separate(D, L, V, limits, ratio, mu, by_rows, S):
    """Shrink S given L, and make V the argument of the next singular value shrinkage.

    With the scaled dual ``R = ratio (V - L)``: ``T = D - L + R``, ``S = prox(T)``,
    ``V = L + T - S``. Returns the number of nonzeros and the penalty of S. Reads three and
    writes two matrices; 8 m n flops.
    """
    nonzeros = 0
    penalty = 0.0
    for i in range(D.shape[0]):
        if by_rows:
            count, share = _shrink_group(D[i], L[i], V[i], limits[i], ratio, mu, S[i])
        elif limits.shape[1] == 1:
            count, share = _shrink_alike(D[i], L[i], V[i], limits[i, 0], ratio, mu, S[i])
        else:
            count, share = _shrink_each(D[i], L[i], V[i], limits[i], ratio, mu, S[i])
        nonzeros += count
        penalty += share
    return nonzeros, penalty


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def _shrink_alike(d, low, v, limit, ratio, mu, s):
    bound = limit / mu
    total = 0 * bound
    count = 0
    for j in range(d.shape[0]):
        t = d[j] - low[j] + ratio * (v[j] - low[j])
        projected = min(max(t, -bound), bound)
        rest = t - projected
        s[j] = rest
        v[j] = low[j] + projected
        total += abs(rest)
        count += rest != 0
    return (count if limit > 0 else 0), np.float64(limit) * total


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def _shrink_each(d, low, v, limits, ratio, mu, s):
    total = 0 * mu
    count = 0
    for j in range(d.shape[0]):
        bound = limits[j] / mu
        t = d[j] - low[j] + ratio * (v[j] - low[j])
        projected = min(max(t, -bound), bound)
        rest = t - projected
        s[j] = rest
        v[j] = low[j] + projected
        total += limits[j] * abs(rest)
        count += (rest != 0) & (bound > 0)
    return count, np.float64(total)


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def _shrink_group(d, low, v, limits, ratio, mu, s):
    step = 1 if limits.shape[0] > 1 else 0
    limit = np.float64(limits.max())
    energy = 0.0
    for j in range(d.shape[0]):
        t = d[j] - low[j] + ratio * (v[j] - low[j])
        energy += np.float64(t) * t * (limits[j * step] > 0)
    length = np.sqrt(energy)
    scale = min(1.0, limit / (mu * length)) if length > 0 else 1.0
    count = 0
    for j in range(d.shape[0]):
        seen = limits[j * step] > 0
        t = d[j] - low[j] + ratio * (v[j] - low[j])
        projected = t * scale * seen
        s[j] = t - projected
        v[j] = low[j] + projected
        count += seen
    if scale == 1.0:  # exactly zero, whatever the rounding of the subtraction
        for j in range(d.shape[0]):
            s[j] *= limits[j * step] <= 0
        count = 0
    return count, limit * (1.0 - scale) * length


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def squared_residual(D, L, S):
    """Return ``||D - L - S||_F^2``; reads three matrices, 4 m n flops."""
    total = 0.0
    for i in range(D.shape[0]):
        for j in range(D.shape[1]):
            z = D[i, j] - L[i, j] - S[i, j]
            total += np.float64(z) * z
    return total


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def squared_distance(A, B):
    """Return ``||A - B||_F^2``; reads two matrices, 3 m n flops."""
    total = 0.0
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            z = A[i, j] - B[i, j]
            total += np.float64(z) * z
    return total


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def duality(D, L, V, limits, mu, by_rows):
    """Return ``<D, Y>``, the largest ``|Y| / limit``, and the penalty of D - L.

    ``Y = mu (V - L)``, zero where the limit is. Reads three matrices; 8 m n flops.
    """
    step = 1 if limits.shape[1] > 1 else 0
    product = 0.0
    excess = 0.0
    penalty = 0.0
    for i in range(D.shape[0]):
        limit = np.float64(limits[i].max())
        if limit <= 0:
            continue
        dual_energy = 0.0
        energy = 0.0
        total = 0.0
        largest = 0.0
        for j in range(D.shape[1]):
            bound = np.float64(limits[i, j * step])
            seen = bound > 0
            y = np.float64(mu) * (V[i, j] - L[i, j]) * seen
            rest = (np.float64(D[i, j]) - L[i, j]) * seen
            product += y * D[i, j]
            dual_energy += y * y
            energy += rest * rest
            total += bound * abs(rest)
            largest = max(largest, abs(y) / (bound if seen else 1.0))
        if by_rows:
            excess = max(excess, np.sqrt(dual_energy) / limit)
            penalty += limit * np.sqrt(energy)
        else:
            excess = max(excess, largest)
            penalty += total
    return product, excess, penalty
