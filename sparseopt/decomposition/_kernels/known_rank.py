"""Residuals of a low-rank fit without its outliers: one pass over a tile, in place.

NaN in the data marks what was not observed: it fails every comparison, so that its
residual is zero and it counts as no outlier. Hence no flag that would let the compiler
assume that there is no NaN. Sums are over one row in the dtype of the data, over the rows
in double precision. Each pass takes some 6 flops and 3 memory operations an entry.
"""

import numpy as np
from numba import njit

SUMS_IN_ANY_ORDER = {"reassoc", "contract"}


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def small_residual(data, low, threshold):
    """Overwrite ``low`` by ``data - low`` where that is at most ``threshold``, else by 0.

    Returns it, the sum of its squares and the number of entries beyond the threshold.
    """
    zero = data.dtype.type(0)
    energy, outliers = 0.0, 0
    for i in range(data.shape[0]):
        row, kept = data[i], low[i]
        row_energy, row_outliers = zero, 0
        for j in range(data.shape[1]):
            residual = row[j] - kept[j]
            size = abs(residual)
            value = residual if size <= threshold else zero
            kept[j] = value
            row_energy += value * value
            row_outliers += 1 if size > threshold else 0
        energy += row_energy
        outliers += row_outliers
    return low, energy, outliers


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def clipped_residual(data, low, threshold):
    """Overwrite ``low`` by ``data - low``, clipped to ``[-threshold, threshold]``.

    Returns it, the sum of its squares and the number of entries beyond the threshold.
    """
    zero = data.dtype.type(0)
    energy, outliers = 0.0, 0
    for i in range(data.shape[0]):
        row, kept = data[i], low[i]
        row_energy, row_outliers = zero, 0
        for j in range(data.shape[1]):
            residual = row[j] - kept[j]
            size = abs(residual)
            value = residual if size <= threshold else zero
            value = threshold if residual > threshold else value
            value = -threshold if residual < -threshold else value
            kept[j] = value
            row_energy += value * value
            row_outliers += 1 if size > threshold else 0
        energy += row_energy
        outliers += row_outliers
    return low, energy, outliers


@njit(cache=True, nogil=True)
def outliers_beyond(data, low, threshold, shrinkage, sparse):
    """Write ``data - low``, ``shrinkage`` nearer to 0, to ``sparse`` where beyond ``threshold``."""
    zero = data.dtype.type(0)
    for i in range(data.shape[0]):
        for j in range(data.shape[1]):
            residual = data[i, j] - low[i, j]
            value = residual - shrinkage if residual > threshold else zero
            sparse[i, j] = residual + shrinkage if residual < -threshold else value
    return sparse


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def fill_inliers(data, low, threshold):
    """Overwrite ``low`` by ``data`` where they differ by at most ``threshold``.

    Returns the sum of squares of these differences, and the number of larger ones.
    """
    zero = data.dtype.type(0)
    energy, outliers = 0.0, 0
    for i in range(data.shape[0]):
        row, filled = data[i], low[i]
        row_energy, row_outliers = zero, 0
        for j in range(data.shape[1]):
            residual = row[j] - filled[j]
            size = abs(residual)
            filled[j] = row[j] if size <= threshold else filled[j]
            row_energy += size * size if size <= threshold else zero
            row_outliers += 1 if size > threshold else 0
        energy += row_energy
        outliers += row_outliers
    return energy, outliers


@njit(cache=True, nogil=True)
def gather_large(data, low, bound, large):
    """Copy the sizes of ``data - low`` that are at least ``bound`` to ``large``.

    Returns how many there are, which may exceed the length of ``large``.
    """
    count = 0
    for i in range(data.shape[0]):
        for j in range(data.shape[1]):
            size = abs(data[i, j] - low[i, j])
            if size >= bound:
                if count < large.size:
                    large[count] = size
                count += 1
    return count


@njit(cache=True, nogil=True)
def fill_with_ties(data, low, threshold, n_ties, outlying):
    """Overwrite ``low`` by ``data`` except at outliers, which are marked.

    These are the residuals above ``threshold``, and the first ``n_ties`` that equal it.
    Returns the sum of squares of the other residuals.
    """
    energy = 0.0
    for i in range(data.shape[0]):
        for j in range(data.shape[1]):
            size = abs(data[i, j] - low[i, j])
            tie = size == threshold and n_ties > 0
            n_ties -= 1 if tie else 0
            outlying[i, j] = size > threshold or tie
            if size <= threshold and not tie:
                low[i, j] = data[i, j]
                energy += np.float64(size) * np.float64(size)
    return energy


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def add_clipped(data, low, threshold):
    """Add ``data - low``, clipped to ``[-threshold, threshold]``, to ``low``.

    Returns the sum of squares of what was added.
    """
    zero = data.dtype.type(0)
    energy = 0.0
    for i in range(data.shape[0]):
        row, moved = data[i], low[i]
        row_energy = zero
        for j in range(data.shape[1]):
            residual = row[j] - moved[j]
            value = residual if abs(residual) <= threshold else zero
            value = threshold if residual > threshold else value
            value = -threshold if residual < -threshold else value
            moved[j] += value
            row_energy += value * value
        energy += row_energy
    return energy
