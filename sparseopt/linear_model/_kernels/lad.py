"""Numba kernels of least-absolute-deviations fits: weighted medians and the simplex.

``weighted_median`` and ``weighted_quantile`` minimise a convex piecewise-linear function of one
variable in expected linear time.
"""

from numba import njit


@njit(cache=True, nogil=True)
def _exchange(values, weights, i, j):
    """Exchange entries i and j of both arrays."""
    values[i], values[j] = values[j], values[i]
    weights[i], weights[j] = weights[j], weights[i]


@njit(cache=True, nogil=True)
def weighted_quantile(values, weights, n, target):
    """Return the smallest of ``values[:n]`` whose cumulative weight reaches ``target``.

    Quick-select by Hoare partitions around the median of three: O(n) expected time, no
    allocation. The first n entries of both arrays are PERMUTED (together). Weights are
    non-negative (``inf`` is allowed), values are finite, ``n >= 1``.
    """
    low = 0
    high = n - 1
    remaining = target
    while low < high:
        middle = (low + high) // 2
        if values[middle] < values[low]:
            _exchange(values, weights, middle, low)
        if values[high] < values[low]:
            _exchange(values, weights, high, low)
        if values[high] < values[middle]:
            _exchange(values, weights, high, middle)
        pivot = values[middle]
        i = low - 1
        j = high + 1
        while True:
            i += 1
            while values[i] < pivot:
                i += 1
            j -= 1
            while values[j] > pivot:
                j -= 1
            if i >= j:
                break
            _exchange(values, weights, i, j)
        below = 0.0
        for i in range(low, j + 1):
            below += weights[i]
        if below >= remaining:
            high = j
        else:
            remaining -= below
            low = j + 1
    return values[low]


@njit(cache=True, nogil=True)
def weighted_median(values, weights, n):
    """Return the lower weighted median of ``values[:n]``: a minimiser of sum w_i |v_i - t|.

    It is the smallest value whose cumulative weight reaches half of the total. O(n) expected
    time, no allocation; the first n entries of both arrays are PERMUTED (together). Weights are
    non-negative and finite with a positive sum, ``n >= 1``.
    """
    total = 0.0
    for i in range(n):
        total += weights[i]
    return weighted_quantile(values, weights, n, 0.5 * total)
