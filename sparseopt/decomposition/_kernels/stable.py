r"""Fused passes over the matrices of stable principal component pursuit.

With S eliminated, the loss of an entry is Huber's, :math:`\min_s l |s| + (r - s)^2 / (2 \mu)`
for the residual r = D - L, and everything comes from the clipped residual
:math:`c = \min(\max(r, -\mu l), \mu l)`: S = r - c, the dual variable is c / mu, and mu times
the loss is c (r - c / 2). ``limits`` of shape (m, 1) or (m, n) holds l; it is zero where
nothing was observed. Sums are over a row in the dtype of the data, over rows in double
precision.
"""

import numpy as np
from numba import njit

REASSOCIATE = {"reassoc", "contract"}  # sums may be vectorised; NaN and inf keep their meaning


@njit(cache=True, nogil=True)
def _fill_bounds(bounds, limits, i, mu):
    """Write mu times row i of ``limits`` to ``bounds``."""
    if limits.shape[1] == 1:
        bounds[:] = mu * limits[i, 0]
    else:
        for j in range(bounds.size):
            bounds[j] = mu * limits[i, j]


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def extrapolate(D, L, before, limits, mu, momentum, H, W):
    """Set ``H = L + momentum (L - before)`` and ``W = H + c(D - H)``; W may be ``before``.

    W is the argument of the next singular value shrinkage. Returns ``<D, c>`` and
    ``||c||^2``. Reads three and writes two matrices; 11 m n flops.
    """
    zero, momentum = D.dtype.type(0), D.dtype.type(momentum)
    bounds = np.empty(D.shape[1], D.dtype)
    product, energy = 0.0, 0.0
    for i in range(D.shape[0]):
        _fill_bounds(bounds, limits, i, mu)
        row_product, row_energy = zero, zero
        for j in range(D.shape[1]):
            h = L[i, j] + momentum * (L[i, j] - before[i, j])
            c = min(max(D[i, j] - h, -bounds[j]), bounds[j])
            H[i, j] = h
            W[i, j] = h + c
            row_product += D[i, j] * c
            row_energy += c * c
        product += row_product
        energy += row_energy
    return product, energy


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def compare(D, L, before, H, limits, mu):
    """Return mu times the loss of L, ``||H - L||^2`` and ``<H - L, L - before>``.

    Reads four matrices; 12 m n flops.
    """
    zero = D.dtype.type(0)
    half = D.dtype.type(0.5)
    bounds = np.empty(D.shape[1], D.dtype)
    loss, distance, direction = 0.0, 0.0, 0.0
    for i in range(D.shape[0]):
        _fill_bounds(bounds, limits, i, mu)
        row_loss, row_distance, row_direction = zero, zero, zero
        for j in range(D.shape[1]):
            residual = D[i, j] - L[i, j]
            c = min(max(residual, -bounds[j]), bounds[j])
            row_loss += c * (residual - half * c)
            step = H[i, j] - L[i, j]
            row_distance += step * step
            row_direction += step * (L[i, j] - before[i, j])
        loss += row_loss
        distance += row_distance
        direction += row_direction
    return loss, distance, direction


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def clip_residual(D, L, limits, mu, clipped):
    """Write c(D - L) to ``clipped``; return mu times the loss, ``<D, c>`` and ``||c||^2``.

    Reads two matrices and writes one; 9 m n flops.
    """
    zero = D.dtype.type(0)
    half = D.dtype.type(0.5)
    bounds = np.empty(D.shape[1], D.dtype)
    loss, product, energy = 0.0, 0.0, 0.0
    for i in range(D.shape[0]):
        _fill_bounds(bounds, limits, i, mu)
        row_loss, row_product, row_energy = zero, zero, zero
        for j in range(D.shape[1]):
            residual = D[i, j] - L[i, j]
            c = min(max(residual, -bounds[j]), bounds[j])
            clipped[i, j] = c
            row_loss += c * (residual - half * c)
            row_product += D[i, j] * c
            row_energy += c * c
        loss += row_loss
        product += row_product
        energy += row_energy
    return loss, product, energy


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def clipped_energy(D, L, limits, mu):
    """Return ``||c||^2``, its derivative in mu, and the penalty of S = D - L - c.

    Reads two matrices; 9 m n flops.
    """
    zero = D.dtype.type(0)
    bounds = np.empty(D.shape[1], D.dtype)
    energy, outside, penalty = 0.0, 0.0, 0.0
    for i in range(D.shape[0]):
        _fill_bounds(bounds, limits, i, mu)
        row_energy, row_outside, row_penalty = zero, zero, zero
        for j in range(D.shape[1]):
            size = abs(D[i, j] - L[i, j])
            bound = bounds[j]
            beyond = size > bound
            c = bound if beyond else size
            row_energy += c * c
            row_outside += bound * bound if beyond else zero
            row_penalty += bound * (size - c)
        energy += row_energy
        outside += row_outside
        penalty += row_penalty
    return energy, 2 * outside / mu, penalty / mu
