"""Penalties inside kernels: a code and a table of parameters, never an object.

A table has one column a feature. Row 0 holds the l1 weights, row 1 the ridge weights;
for a box they hold the lower and the upper bounds.
A new penalty adds a code here and a class in ``sparseopt.optimize._penalties``.
"""

import numpy as np
from numba import njit

ELASTIC_NET = 0
NONNEGATIVE_ELASTIC_NET = 1
BOX = 2


@njit(cache=True, nogil=True, inline="always")
def prox_coordinate(code, table, j, z, curvature):
    """Minimise ``curvature/2 |x|^2 - Re(conj(z) x) + penalty_j(x)`` over ``x``."""
    if code == BOX:
        return z * 0 + min(max(np.real(z) / curvature, table[0, j]), table[1, j])
    l1 = table[0, j]
    denominator = curvature + table[1, j]
    if code == NONNEGATIVE_ELASTIC_NET:
        if np.real(z) > l1:
            return z * (1 - l1 / np.real(z)) / denominator
        return z * 0
    modulus = np.abs(z)
    if modulus > l1:
        return z * (1 - l1 / modulus) / denominator
    return z * 0
