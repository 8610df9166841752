"""Numba kernels of the basis of an l1 vertex: its inverse, the updates, primal and dual solves.

A vertex interpolates k rows D with k active columns P; the explicit inverse of the k x k matrix
A[D, P] follows each pivot by an update of rank one, and is recomputed from time to time.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

# A reassociated sum is a vector loop; NaN and infinities keep their meaning.
SUMS = {"reassoc", "contract"}

# Residuals below this share of the largest target may be rounding. Columns are scaled to norms
# near 1, so that it bounds the rounding of coefficients as well.
RELATIVE_NOISE = 1e-12


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


@njit(cache=True, nogil=True, fastmath=SUMS)
def dot(a, b):
    """Inner product of two vectors; 2 m flops."""
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True, fastmath=SUMS)
def row_dot(matrix, row, vector, size):
    """Inner product of the leading part of a matrix row with a vector; 2 size flops."""
    total = 0.0
    for i in range(size):
        total += matrix[row, i] * vector[i]
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
    for i in range(vertex.target.shape[0]):
        vertex.residual[i] = vertex.target[i]
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
    # Residuals and coefficients of rounding size keep the side on which they were.
    noise = 0.0
    for i in range(vertex.target.shape[0]):
        noise = max(noise, RELATIVE_NOISE * abs(vertex.target[i]))
    for i in range(vertex.target.shape[0]):
        if vertex.row_sign[i] == 0.0:
            vertex.residual[i] = 0.0
        elif vertex.row_sign[i] * vertex.residual[i] < -noise:
            vertex.row_sign[i] = -vertex.row_sign[i]
    for p in range(k):
        j = vertex.active[p]
        if vertex.column_sign[j] * vertex.coef[j] < -noise and not vertex.nonnegative[j]:
            vertex.column_sign[j] = -vertex.column_sign[j]
    return True


@njit(cache=True, nogil=True)
def solve_dual(vertex):
    """Compute theta with A_P^T theta = penalty_P sign_P; 2 m k + 2 k^2 flops."""
    k = vertex.size[0]
    for i in range(vertex.row_sign.shape[0]):
        vertex.dual[i] = vertex.row_sign[i]
    for i in range(k):
        vertex.solved[i] = 0.0
    for p in range(k):
        j = vertex.active[p]
        rhs = vertex.penalty[j] * vertex.column_sign[j] - dot(vertex.columns[j], vertex.row_sign)
        for i in range(k):
            vertex.solved[i] += vertex.inverse[p, i] * rhs
    for i in range(k):
        vertex.dual[vertex.rows[i]] = vertex.solved[i]


@njit(cache=True, nogil=True)
def insert(vertex, row, column):
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
def replace_row(vertex, position, row):
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
def replace_column(vertex, position, column):
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
def remove(vertex, row_position, column_position):
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
