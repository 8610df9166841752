"""Numba kernels of the polynomial features.

The univariate values that a row needs stand in one table, which fits the cache; entry
``starts[k] + p`` of it is the polynomial of degree p in variable k.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def legendre_values(t, values):
    """Fill ``values[p] = sqrt(2 p + 1) P_p(t)``; 5 flops an entry."""
    values[0] = 1.0
    if values.size > 1:
        values[1] = t
    for p in range(1, values.size - 1):
        values[p + 1] = ((2 * p + 1) * t * values[p] - p * values[p - 1]) / (p + 1)
    for p in range(1, values.size):
        values[p] *= np.sqrt(2.0 * p + 1.0)


@njit(cache=True, nogil=True)
def chebyshev_values(t, values):
    """Fill ``values[p] = sqrt(2) T_p(t)``, and 1 for p = 0; 3 flops an entry."""
    values[0] = 1.0
    if values.size > 1:
        values[1] = t
    for p in range(1, values.size - 1):
        values[p + 1] = 2.0 * t * values[p] - values[p - 1]
    for p in range(1, values.size):
        values[p] *= np.sqrt(2.0)


@njit(cache=True, nogil=True)
def tensor_products(T, chebyshev, starts, first_factor, factors, out):
    """Evaluate products of univariate polynomials at the rows of ``T``.

    ``T`` (n, d) lies in [-1, 1]; term j is the product of the table entries
    ``factors[first_factor[j]:first_factor[j + 1]]``; ``out`` (n, n_terms). The computation
    is in double precision whatever ``out`` holds. n (sum of degrees + number of factors)
    multiplications, and one pass over ``out``.
    """
    n_samples, n_variables = T.shape
    table = np.empty(starts[n_variables])
    for i in range(n_samples):
        for k in range(n_variables):
            values = table[starts[k] : starts[k + 1]]
            if chebyshev:
                chebyshev_values(T[i, k], values)
            else:
                legendre_values(T[i, k], values)
        for j in range(out.shape[1]):
            product = 1.0
            for f in range(first_factor[j], first_factor[j + 1]):
                product *= table[factors[f]]
            out[i, j] = product
