"""Numba kernels of least-absolute-deviations fits: weighted medians and the simplex.

``weighted_median`` and ``weighted_quantile`` minimise a convex piecewise-linear function of one
variable in expected linear time.

``pivot_to_optimum`` solves, over the columns it is given,

    minimise  sum_i |y_i - a_i^T x|  +  sum_j penalty_j |x_j|

by a simplex method that stays at vertices: k active columns P (x may be nonzero), as many
interpolated rows D (the residual is zero), and the k x k inverse of A[D, P]. Penalised columns
outside P and residuals outside D never enter the matrix that is inverted. With zero penalties it
is l1 regression, and ``append_column`` adds one column to a fit. One pivot costs about
4 m k + 2 m q flops for q columns of m rows.

Rows and columns that are not in the basis carry a stored sign (the side on which a residual or a
coefficient is, or was when it reached zero), so that zeros outside the basis (ties, integer data)
are ordinary degenerate vertices and not special cases.
"""

import numpy as np
from numba import njit

from sparseopt.linear_model._kernels.lad_basis import (
    dot,
    insert,
    refactorise,
    remove,
    replace_column,
    replace_row,
    row_dot,
    solve_dual,
)

OPTIMAL = 0
PIVOT_LIMIT = 1
STALLED = 2
BREAKDOWN = 3

# Pivots smaller than this share of the largest entry of the direction are not taken: they would
# make the basis numerically singular.
SMALLEST_PIVOT = 1e-9

# Pivots between two inversions from scratch, which end the accumulation of rounding.
REFACTOR_EVERY = 80


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


@njit(cache=True, nogil=True)
def _most_violated(vertex, n_columns, tol):
    """Return (excess, position of a row or -1, column or -1, sign) of the steepest edge.

    ``excess`` is minus the slope of the objective along the edge; 2 m q flops.
    """
    best = tol
    excess = 0.0
    row = -1
    column = -1
    sign = 0.0
    for i in range(vertex.size[0]):
        value = vertex.solved[i]
        if abs(value) - 1.0 > best:
            best = abs(value) - 1.0
            excess = best
            row = i
            sign = np.sign(value)
    for j in range(n_columns):
        if vertex.column_sign[j] != 0.0:
            continue
        value = dot(vertex.columns[j], vertex.dual)
        violation = (value if vertex.nonnegative[j] else abs(value)) - vertex.penalty[j]
        if violation > best * vertex.scale[j]:
            best = violation / vertex.scale[j]
            excess = violation
            row = -1
            column = j
            sign = np.sign(value)
    return excess, row, column, sign


@njit(cache=True, nogil=True)
def _follow_edge(vertex, row, column, sign):
    """Fill direction and image of the edge that frees a row or activates a column."""
    k = vertex.size[0]
    if row >= 0:
        for i in range(vertex.image.shape[0]):
            vertex.image[i] = 0.0
        for p in range(k):
            vertex.direction[p] = -sign * vertex.inverse[p, row]
    else:
        entering = vertex.columns[column]
        for i in range(k):
            vertex.solved[i] = entering[vertex.rows[i]]
        for p in range(k):
            vertex.direction[p] = -sign * row_dot(vertex.inverse, p, vertex.solved, k)
        for i in range(entering.shape[0]):
            vertex.image[i] = sign * entering[i]
    for p in range(k):
        step = vertex.direction[p]
        moved = vertex.columns[vertex.active[p]]
        for i in range(moved.shape[0]):
            vertex.image[i] += step * moved[i]


@njit(cache=True, nogil=True)
def _break_points(vertex):
    """List where the slope jumps along the edge; return how many points there are.

    ``order`` of the list: rows first, then active columns; a jump of 0 means no break point.
    """
    m = vertex.target.shape[0]
    k = vertex.size[0]
    largest = 0.0
    for i in range(m):
        if vertex.row_sign[i] != 0.0:
            largest = max(largest, abs(vertex.image[i]))
    smallest = SMALLEST_PIVOT * largest
    n = 0
    for i in range(m):
        speed = vertex.row_sign[i] * vertex.image[i]
        vertex.jumps[i] = 0.0
        if speed > smallest:
            vertex.jumps[i] = 2.0 * speed
            vertex.ratios[i] = max(vertex.row_sign[i] * vertex.residual[i], 0.0) / speed
            vertex.values[n] = vertex.ratios[i]
            vertex.weights[n] = vertex.jumps[i]
            n += 1
    largest = 0.0
    for p in range(k):
        largest = max(largest, abs(vertex.direction[p]))
    smallest = SMALLEST_PIVOT * largest
    for p in range(k):
        j = vertex.active[p]
        speed = -vertex.column_sign[j] * vertex.direction[p]
        vertex.jumps[m + p] = 0.0
        if speed > smallest and (vertex.penalty[j] > 0.0 or vertex.nonnegative[j]):
            if vertex.nonnegative[j]:
                vertex.jumps[m + p] = np.inf
            else:
                vertex.jumps[m + p] = 2.0 * vertex.penalty[j] * speed
            vertex.ratios[m + p] = max(vertex.column_sign[j] * vertex.coef[j], 0.0) / speed
            vertex.values[n] = vertex.ratios[m + p]
            vertex.weights[n] = vertex.jumps[m + p]
            n += 1
    return n


@njit(cache=True, nogil=True)
def _search_edge(vertex, excess):
    """Return (step, where) of the lowest point of the edge, flipping the signs it passes.

    ``where`` is a row, or m plus the position of an active column; -1 if the objective decreases
    along the whole edge, which only rounding can cause. O(m + k) expected flops.
    """
    m = vertex.target.shape[0]
    n = _break_points(vertex)
    if n == 0:
        return 0.0, -1
    step = weighted_quantile(vertex.values, vertex.weights, n, excess)
    slope = -excess
    where = -1
    for i in range(m + vertex.size[0]):
        if vertex.jumps[i] == 0.0:
            continue
        if vertex.ratios[i] < step:
            slope += vertex.jumps[i]
            _flip(vertex, i, m)
        elif vertex.ratios[i] == step and (where < 0 or vertex.jumps[i] > vertex.jumps[where]):
            where = i
    # Among ties, the largest jump enters the basis; the others are passed while the slope
    # stays negative, so that the multiplier of what enters is feasible.
    for i in range(m + vertex.size[0]):
        tied = vertex.jumps[i] > 0.0 and vertex.ratios[i] == step and i != where
        if tied and slope + vertex.jumps[i] < 0.0:
            slope += vertex.jumps[i]
            _flip(vertex, i, m)
    return step, where


@njit(cache=True, nogil=True)
def _flip(vertex, i, m):
    """Move row i, or active column i - m, to the other side of zero."""
    if i < m:
        vertex.row_sign[i] = -vertex.row_sign[i]
    else:
        vertex.column_sign[vertex.active[i - m]] *= -1.0


@njit(cache=True, nogil=True)
def pivot(vertex, row, column, sign, excess):
    """Walk along one edge to its lowest point and change the basis; return the step.

    The edge frees the interpolated row at position ``row``, or activates ``column`` (the other
    is -1), towards ``sign``; ``excess`` is minus its slope. A negative step says that no
    admissible pivot was found.
    """
    m = vertex.target.shape[0]
    _follow_edge(vertex, row, column, sign)
    step, where = _search_edge(vertex, excess)
    if where < 0:
        return -1.0
    vertex.since[1] += 1
    for p in range(vertex.size[0]):
        vertex.coef[vertex.active[p]] += step * vertex.direction[p]
    for i in range(m):
        vertex.residual[i] -= step * vertex.image[i]
    if column >= 0:
        vertex.coef[column] = sign * step
        vertex.column_sign[column] = sign
    else:
        vertex.residual[vertex.rows[row]] = sign * step
        vertex.row_sign[vertex.rows[row]] = sign
    if where < m:
        vertex.residual[where] = 0.0
        vertex.row_sign[where] = 0.0
        if column >= 0:
            insert(vertex, where, column)
        else:
            replace_row(vertex, row, where)
    else:
        position = where - m
        vertex.coef[vertex.active[position]] = 0.0
        vertex.column_sign[vertex.active[position]] = 0.0
        if column >= 0:
            replace_column(vertex, position, column)
        else:
            remove(vertex, row, position)
    return step


@njit(cache=True, nogil=True)
def append_column(vertex, column):
    """Activate a column of penalty 0 whatever its violation; return False if it cannot be.

    The vertex stays a vertex; ``pivot_to_optimum`` makes it optimal. A column that depends on
    the active ones to working precision is refused.
    """
    solve_dual(vertex)
    value = dot(vertex.columns[column], vertex.dual)
    sign = 1.0 if value >= 0.0 else -1.0
    _follow_edge(vertex, -1, column, sign)
    largest = 0.0
    norm = 0.0
    for i in range(vertex.target.shape[0]):
        norm = max(norm, abs(vertex.columns[column, i]))
        if vertex.row_sign[i] != 0.0:
            largest = max(largest, abs(vertex.image[i]))
    if not largest > 1e-10 * norm:
        return False
    if pivot(vertex, -1, column, sign, max(abs(value), 1e-300)) >= 0.0:
        return True
    # No residual lies ahead (the column is orthogonal to the dual): look behind.
    return pivot(vertex, -1, column, -sign, 1e-300) >= 0.0


@njit(cache=True, nogil=True)
def pivot_to_optimum(vertex, n_columns, max_pivots, tol, stall_limit):
    """Pivot until no edge descends more steeply than ``tol``; return (status, pivots).

    Starts at the given vertex and uses its first ``n_columns`` columns. ``STALLED``: more than
    ``stall_limit`` pivots in a row made no progress (degenerate data). ``BREAKDOWN``: the basis
    became singular to working precision.
    """
    negligible = 0.0
    for i in range(vertex.target.shape[0]):
        negligible = max(negligible, 1e-15 * abs(vertex.target[i]))
    pivots = 0
    while pivots < max_pivots:
        solve_dual(vertex)
        excess, row, column, sign = _most_violated(vertex, n_columns, tol)
        if row < 0 and column < 0:
            if vertex.since[1] == 0:
                return OPTIMAL, pivots
            if not refactorise(vertex):
                return BREAKDOWN, pivots
            continue
        step = pivot(vertex, row, column, sign, excess)
        if step < 0.0:
            if vertex.since[1] == 0 or not refactorise(vertex):
                return BREAKDOWN, pivots
            continue
        pivots += 1
        vertex.since[0] = vertex.since[0] + 1 if step * excess <= negligible else 0
        if vertex.since[0] > stall_limit:
            vertex.since[0] = 0
            return STALLED, pivots
        if vertex.since[1] >= REFACTOR_EVERY and not refactorise(vertex):
            return BREAKDOWN, pivots
    return PIVOT_LIMIT, pivots
