"""The entries of a transport plan that matter, row by row, in Numba.

With top_i = max_j (y_j - C_ij), the plan with exact rows at y has P_ij <= a_i exp((y_j - C_ij -
top_i) / eps). Entries whose exponent lies more than ``cut`` below zero are dropped: each has
at most a_i exp(-cut).
"""

import math

import numpy as np
from numba import njit

from sparseopt.transport._kernels.cpu import (
    DENSE,
    _exponentiate,
    _largest,
    _largest_of_row,
    _total,
    append_from,
    cost_row,
)


@njit(cache=True, nogil=True)
def keep_entries(cost, y, eps, cut, start, stop, step, tops, counts, indices, kept):
    """Append the entries that matter of every ``step``-th row from ``start`` to ``stop``.

    Writes the largest y_j - C_ij of the rows to ``tops``, the numbers of entries to ``counts``,
    their columns, in order, to ``indices`` and their costs to ``kept``, as long as there is
    room. Returns the number of entries.
    """
    m = y.shape[0]
    row, work, buffer = np.empty(m), np.empty(m), np.empty(m)
    place = 0
    for i in range(start, stop, step):
        costs = buffer
        if cost[3] == DENSE:
            costs = cost[0][i]
        else:
            cost_row(cost, i, costs)
        for j in range(m):
            row[j] = y[j] - costs[j]
        tops[i] = _largest_of_row(row, work)
        counts[i] = append_from(row, tops[i] - cut * eps, costs, indices, kept, place)
        place += counts[i]
    return place


@njit(cache=True, nogil=True)
def balance_entries(indptr, indices, costs, y, eps, a, x, column_sums, values):
    """Make the rows of the kept entries exact: one exponential an entry.

    Writes ``x`` (n,), the column sums (m,), and the entries to ``values``.
    """
    scale = 1.0 / eps
    column_sums[:] = 0.0
    for i in range(a.shape[0]):
        row = values[indptr[i] : indptr[i + 1]]
        columns = indices[indptr[i] : indptr[i + 1]]
        prices = costs[indptr[i] : indptr[i + 1]]
        for k in range(row.shape[0]):
            row[k] = (y[np.uint32(columns[k])] - prices[k]) * scale
        top = _largest(row)
        _exponentiate(row, top)
        total = _total(row)
        x[i] = eps * (math.log(a[i] / total) - top)
        factor = a[i] / total
        for k in range(row.shape[0]):
            row[k] *= factor
            column_sums[np.uint32(columns[k])] += row[k]


@njit(cache=True, nogil=True)
def select_kept(indptr, indices, values, threshold, counts, selected, larger):
    """Append the kept entries that reach the threshold; return their number."""
    place = 0
    for i in range(counts.shape[0]):
        before = place
        for k in range(indptr[i], indptr[i + 1]):
            selected[place] = indices[k]
            larger[place] = values[k]
            place += values[k] >= threshold
        counts[i] = place - before
    return place
