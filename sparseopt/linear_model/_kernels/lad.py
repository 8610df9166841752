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

from typing import NamedTuple

import numpy as np
from numba import njit

OPTIMAL = 0
PIVOT_LIMIT = 1
STALLED = 2
BREAKDOWN = 3

# Pivots smaller than this share of the largest entry of the direction are not taken: they would
# make the basis numerically singular.
SMALLEST_PIVOT = 1e-9

# Pivots between two inversions from scratch, which end the accumulation of rounding.
REFACTOR_EVERY = 40

# A reassociated sum is a vector loop; NaN and infinities keep their meaning.
SUMS = {"reassoc", "contract"}


class Vertex(NamedTuple):
    """A vertex of the problem with q columns and m rows; k is at most ``len(rows)``.

    Signs are +1.0 or -1.0, and 0.0 for interpolated rows and for columns that are not active.
    """

    columns: np.ndarray  # (q, m) the matrix, one column in each row of the array
    target: np.ndarray  # (m,) y
    penalty: np.ndarray  # (q,) price of one unit of |x_j|
    nonnegative: np.ndarray  # (q,) bool: x_j >= 0 is required
    scale: np.ndarray  # (q,) divides the violation of a column when violations are compared
    coef: np.ndarray  # (q,) x
    column_sign: np.ndarray  # (q,)
    residual: np.ndarray  # (m,) y - A x
    row_sign: np.ndarray  # (m,)
    dual: np.ndarray  # (m,) theta: the signs, and the multipliers of the interpolated rows
    size: np.ndarray  # (1,) k
    since: np.ndarray  # (2,) pivots since the last progress, and since the last inversion
    rows: np.ndarray  # (capacity,) D
    active: np.ndarray  # (capacity,) P
    inverse: np.ndarray  # (capacity, capacity) [p, l]: x_P = inverse @ y_D
    direction: np.ndarray  # (capacity,) change of x_P along an edge
    image: np.ndarray  # (m,) A times that change
    solved: np.ndarray  # (capacity,) work
    order: np.ndarray  # (capacity,) work
    ratios: np.ndarray  # (m + capacity,) work: break points of an edge
    values: np.ndarray  # (m + capacity,) work: the same, permuted by the selection
    weights: np.ndarray  # (m + capacity,) work: jumps of the slope at the break points
    jumps: np.ndarray  # (m + capacity,) work: the same, not permuted


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


@njit(cache=True, nogil=True, fastmath=SUMS)
def _dot(a, b):
    """Inner product of two vectors; 2 m flops."""
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True)
def _invert(matrix, size, order):
    """Invert the leading block in place by Gauss-Jordan steps; 2 size^3 flops.

    Returns False if the block is singular to working precision.
    """
    largest = 0.0
    for i in range(size):
        order[i] = i
        for j in range(size):
            largest = max(largest, abs(matrix[i, j]))
    for step in range(size):
        best = step
        for i in range(step + 1, size):
            if abs(matrix[i, step]) > abs(matrix[best, step]):
                best = i
        pivot = matrix[best, step]
        if not abs(pivot) > 1e-14 * largest:
            return False
        if best != step:
            order[step], order[best] = order[best], order[step]
            for j in range(size):
                matrix[step, j], matrix[best, j] = matrix[best, j], matrix[step, j]
        matrix[step, step] = 1.0
        for j in range(size):
            matrix[step, j] /= pivot
        for i in range(size):
            if i != step:
                factor = matrix[i, step]
                matrix[i, step] = 0.0
                for j in range(size):
                    matrix[i, j] -= factor * matrix[step, j]
    # Rows were exchanged: columns of the inverse go back to their places.
    for step in range(size):
        while order[step] != step:
            other = order[step]
            for i in range(size):
                matrix[i, step], matrix[i, other] = matrix[i, other], matrix[i, step]
            order[step], order[other] = order[other], order[step]
    return True


@njit(cache=True, nogil=True)
def _subtract_fit(vertex):
    """Recompute the residual y - A x from the active columns; 2 m k flops."""
    vertex.residual[:] = vertex.target
    for p in range(vertex.size[0]):
        column = vertex.columns[vertex.active[p]]
        value = vertex.coef[vertex.active[p]]
        for i in range(column.shape[0]):
            vertex.residual[i] -= value * column[i]


@njit(cache=True, nogil=True)
def refactorise(vertex):
    """Recompute inverse, x and r from the basis, and the signs of nonzero residuals.

    2 k^3 + 4 m k flops. Returns False if the basis is singular to working precision.
    """
    k = vertex.size[0]
    inverse = vertex.inverse
    vertex.since[1] = 0
    for p in range(k):
        column = vertex.columns[vertex.active[p]]
        for i in range(k):
            inverse[i, p] = column[vertex.rows[i]]
    if not _invert(inverse, k, vertex.order):
        return False
    for p in range(k):
        vertex.coef[vertex.active[p]] = 0.0
    # The second round is one step of iterative refinement.
    for _ in range(2):
        _subtract_fit(vertex)
        for p in range(k):
            value = 0.0
            for i in range(k):
                value += inverse[p, i] * vertex.residual[vertex.rows[i]]
            vertex.coef[vertex.active[p]] += value
    _subtract_fit(vertex)
    # Residuals of rounding size keep the side on which they were.
    size = 0.0
    for i in range(vertex.target.shape[0]):
        size = max(size, abs(vertex.target[i]))
    for i in range(vertex.target.shape[0]):
        if vertex.row_sign[i] == 0.0:
            vertex.residual[i] = 0.0
        elif vertex.row_sign[i] * vertex.residual[i] < -1e-13 * size:
            vertex.row_sign[i] = -vertex.row_sign[i]
    for p in range(k):
        j = vertex.active[p]
        if vertex.column_sign[j] * vertex.coef[j] < 0.0 and not vertex.nonnegative[j]:
            vertex.column_sign[j] = -vertex.column_sign[j]
    return True


@njit(cache=True, nogil=True)
def solve_dual(vertex):
    """Compute theta with A_P^T theta = penalty_P sign_P; 2 m k + 2 k^2 flops."""
    k = vertex.size[0]
    vertex.dual[:] = vertex.row_sign
    for i in range(k):
        vertex.solved[i] = 0.0
    for p in range(k):
        j = vertex.active[p]
        rhs = vertex.penalty[j] * vertex.column_sign[j] - _dot(vertex.columns[j], vertex.row_sign)
        for i in range(k):
            vertex.solved[i] += vertex.inverse[p, i] * rhs
    for i in range(k):
        vertex.dual[vertex.rows[i]] = vertex.solved[i]


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
        value = _dot(vertex.columns[j], vertex.dual)
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
        vertex.image[:] = 0.0
        for p in range(k):
            vertex.direction[p] = -sign * vertex.inverse[p, row]
    else:
        entering = vertex.columns[column]
        for i in range(k):
            vertex.solved[i] = entering[vertex.rows[i]]
        for p in range(k):
            vertex.direction[p] = -sign * _dot(vertex.inverse[p, :k], vertex.solved[:k])
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
def _insert(vertex, row, column):
    """Add a row and a column to the basis by bordering; 4 k^2 flops."""
    k = vertex.size[0]
    inverse = vertex.inverse
    schur = vertex.columns[column, row]
    for i in range(k):
        vertex.solved[i] = 0.0
    for p in range(k):
        value = vertex.columns[vertex.active[p], row]
        for i in range(k):
            vertex.solved[i] += value * inverse[p, i]
    for p in range(k):
        vertex.direction[p] = 0.0
        for i in range(k):
            vertex.direction[p] += inverse[p, i] * vertex.columns[column, vertex.rows[i]]
        schur -= vertex.columns[vertex.active[p], row] * vertex.direction[p]
    for p in range(k):
        for i in range(k):
            inverse[p, i] += vertex.direction[p] * vertex.solved[i] / schur
        inverse[p, k] = -vertex.direction[p] / schur
    for i in range(k):
        inverse[k, i] = -vertex.solved[i] / schur
    inverse[k, k] = 1.0 / schur
    vertex.rows[k] = row
    vertex.active[k] = column
    vertex.size[0] = k + 1


@njit(cache=True, nogil=True)
def _replace_row(vertex, position, row):
    """Exchange an interpolated row for another; 4 k^2 flops."""
    k = vertex.size[0]
    inverse = vertex.inverse
    for i in range(k):
        vertex.solved[i] = 0.0
    for p in range(k):
        value = vertex.columns[vertex.active[p], row]
        for i in range(k):
            vertex.solved[i] += value * inverse[p, i]
    pivot = vertex.solved[position]
    for p in range(k):
        factor = inverse[p, position] / pivot
        for i in range(k):
            inverse[p, i] -= factor * vertex.solved[i]
        inverse[p, position] = factor
    vertex.rows[position] = row


@njit(cache=True, nogil=True)
def _replace_column(vertex, position, column):
    """Exchange an active column for another; 4 k^2 flops."""
    k = vertex.size[0]
    inverse = vertex.inverse
    for p in range(k):
        vertex.direction[p] = 0.0
        for i in range(k):
            vertex.direction[p] += inverse[p, i] * vertex.columns[column, vertex.rows[i]]
    pivot = vertex.direction[position]
    for i in range(k):
        inverse[position, i] /= pivot
    for p in range(k):
        if p != position:
            for i in range(k):
                inverse[p, i] -= vertex.direction[p] * inverse[position, i]
    vertex.active[position] = column


@njit(cache=True, nogil=True)
def _remove(vertex, row_position, column_position):
    """Delete a row and a column from the basis; 2 k^2 flops."""
    k = vertex.size[0]
    last = k - 1
    inverse = vertex.inverse
    for i in range(k):  # both go to the last place first
        inverse[column_position, i], inverse[last, i] = (
            inverse[last, i],
            inverse[column_position, i],
        )
    for p in range(k):
        inverse[p, row_position], inverse[p, last] = inverse[p, last], inverse[p, row_position]
    vertex.rows[row_position] = vertex.rows[last]
    vertex.active[column_position] = vertex.active[last]
    for p in range(last):
        factor = inverse[p, last] / inverse[last, last]
        for i in range(last):
            inverse[p, i] -= factor * inverse[last, i]
    vertex.size[0] = last


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
            _insert(vertex, where, column)
        else:
            _replace_row(vertex, row, where)
    else:
        position = where - m
        vertex.coef[vertex.active[position]] = 0.0
        vertex.column_sign[vertex.active[position]] = 0.0
        if column >= 0:
            _replace_column(vertex, position, column)
        else:
            _remove(vertex, row, position)
    return step


@njit(cache=True, nogil=True)
def append_column(vertex, column):
    """Activate a column of penalty 0 whatever its violation; return False if it cannot be.

    The vertex stays a vertex; ``pivot_to_optimum`` makes it optimal. A column that depends on
    the active ones to working precision is refused.
    """
    solve_dual(vertex)
    value = _dot(vertex.columns[column], vertex.dual)
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
