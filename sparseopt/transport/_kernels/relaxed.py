"""Passes over the plan of unbalanced transport, row by row, in Numba."""

import math

import numpy as np
from numba import njit

from sparseopt.transport._kernels.cpu import (
    _add_scaled,
    _exponentiate,
    _total,
    cost_row,
)


@njit(cache=True, nogil=True)
def balance_relaxed_rows(cost, y, eps, a, damping, start, stop, x, column_sums, plan):
    """Maximise the unbalanced dual over x: one exponential an entry.

    With the balanced update f_i = -eps log sum_j exp((y_j - C_ij) / eps), rows of the plan
    belong to damping * f_i, where 1 gives balanced rows. Writes ``x[start:stop]``, adds the
    rows to ``column_sums``, and writes them to ``plan`` unless that is empty.
    """
    m = y.shape[0]
    row = np.empty(m)
    scale = 1.0 / eps
    for i in range(start, stop):
        cost_row(cost, i, row)
        for j in range(m):
            row[j] = (y[j] - row[j]) * scale
        top = np.max(row)
        _exponentiate(row, top)
        potential = -damping * (top + math.log(_total(row)))
        x[i] = eps * (math.log(a[i]) + potential)
        _add_scaled(row, a[i] * math.exp(potential + top), column_sums)
        if plan.shape[0] > 0:
            plan[i] = row
