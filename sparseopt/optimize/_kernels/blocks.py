"""Kernels of block coordinate descent, in Numba."""

import numpy as np
from numba import njit

from sparseopt.optimize._kernels.penalties import prox_coordinate


@njit(cache=True, nogil=True)
def gather_columns(data, indices, indptr, columns, out):
    """Add the CSC columns ``columns`` to the dense ``out`` (m, |columns|), zero before."""
    for position in range(columns.shape[0]):
        j = columns[position]
        for k in range(indptr[j], indptr[j + 1]):
            out[indices[k], position] += data[k]


@njit(cache=True, nogil=True)
def correlate_rows(data, indices, indptr, residual, out):
    """Add ``A' R`` to ``out`` (n, k) for A in CSR; only rows where R is nonzero are read."""
    for i in range(residual.shape[0]):
        for c in range(residual.shape[1]):
            value = residual[i, c]
            if value != 0.0:
                for k in range(indptr[i], indptr[i + 1]):
                    out[indices[k], c] += value * data[k]


@njit(cache=True, nogil=True)
def bound_column(data, indices, indptr, row_data, row_indices, row_indptr, weights, j, out):
    """Add ``A' diag(weights) A_j`` to ``out`` (n,), for A in CSC and in CSR.

    Returns ``weights' A_j``. The cost is that of the rows which column j meets.
    """
    total = 0.0
    for k in range(indptr[j], indptr[j + 1]):
        i = indices[k]
        value = weights[i] * data[k]
        total += value
        if value != 0.0:
            start, stop = row_indptr[i], row_indptr[i + 1]
            columns, entries = row_indices[start:stop], row_data[start:stop]
            for position in range(columns.shape[0]):
                out[np.uint32(columns[position])] += value * entries[position]
    return total


@njit(cache=True, nogil=True)
def grow_block(gradient, curvatures, rows, slots, chosen, count, factor, corrected):
    """Grow a block as orthogonal matching pursuit does; go on from ``count`` variables.

    ``chosen`` (size,) receives the variable of largest ``c_i^2 / curvatures_i``, the later one
    of equals, then c becomes the gradient at the minimiser of the bound over the chosen
    variables, and so on. Row ``slots[i]`` of ``rows`` is column i of the bound; ``factor``
    keeps its Cholesky factor. NaN in ``curvatures`` excludes a variable, and is written for
    the chosen. Returns the number chosen: less than ``size`` if the column of the last is
    missing, -1 if the bound is singular on them. Choosing s variables costs O(s^2 n) flops.
    """
    size = chosen.shape[0]
    d = np.empty(size)
    while count < size:
        corrected[:] = gradient
        if count > 0:
            last = count - 1
            if slots[chosen[last]] < 0:
                return count
            row = rows[slots[chosen[last]]]
            pivot = row[chosen[last]]
            limit = 10.0 * count * np.finfo(np.float64).eps * pivot
            for j in range(last):
                value = row[chosen[j]]
                for t in range(j):
                    value -= factor[last, t] * factor[j, t]
                factor[last, j] = value / factor[j, j]
                pivot -= factor[last, j] ** 2
            if not pivot > limit:
                return -1
            factor[last, last] = np.sqrt(pivot)
            for j in range(count):
                value = -gradient[chosen[j]]
                for t in range(j):
                    value -= factor[j, t] * d[t]
                d[j] = value / factor[j, j]
            for j in range(last, -1, -1):
                value = d[j]
                for t in range(j + 1, count):
                    value -= factor[t, j] * d[t]
                d[j] = value / factor[j, j]
            for j in range(count):
                row = rows[slots[chosen[j]]]
                weight = d[j]
                for i in range(corrected.shape[0]):
                    corrected[i] += weight * row[i]
        best, index = -1.0, -1
        for i in range(corrected.shape[0]):
            score = corrected[i] * (corrected[i] / curvatures[i])  # the square could overflow
            if score >= best:
                best, index = score, i
        chosen[count] = index
        curvatures[index] = np.nan
        count += 1
    return count


@njit(cache=True, nogil=True)
def minimize_block_model(H, linear, code, table, x, n_epochs, tolerance):
    """Minimise ``x'Hx/2 - linear'x + penalty(x)`` by cyclic coordinate descent, in place.

    Coordinates without curvature stay. ``tolerance`` bounds the last change of each
    coordinate, times the square root of its curvature; returns whether it was met. An
    epoch costs ``2 n^2`` flops for n coordinates.
    """
    slope = linear - H @ x
    for _ in range(n_epochs):
        largest = 0.0
        for i in range(x.shape[0]):
            curvature, old = H[i, i], x[i]
            if curvature <= 0.0:
                continue
            new = prox_coordinate(code, table, i, slope[i] + curvature * old, curvature)
            if new != old:
                change = new - old
                for j in range(x.shape[0]):
                    slope[j] -= H[j, i] * change
                x[i] = new
                largest = max(largest, np.abs(change) * np.sqrt(curvature))
        if largest <= tolerance:
            return True
    return False


@njit(cache=True, nogil=True)
def prox_progress(x, gradient, lipschitz, l1, positive, usable, out):
    """Write twice the progress of each coordinate's prox step to ``out[usable]``.

    Where the sign stays, that is the square of a slope and nothing cancels.
    """
    for position in range(usable.shape[0]):
        i = usable[position]
        old, slope, curvature = x[i], gradient[i], lipschitz[i]
        z = old - slope / curvature
        shrunk = (z if positive else np.abs(z)) - l1[i] / curvature
        new = 0.0
        if shrunk > 0.0:
            new = shrunk if z > 0.0 else -shrunk
        if new == old:
            out[i] = 0.0
        elif old != 0.0 and new * old <= 0.0:
            change = new - old
            penalty = l1[i] * (np.abs(new) - np.abs(old))
            model = slope * change + penalty + 0.5 * curvature * change * change
            out[i] = max(-2.0 * model, 0.0)
        else:
            sign = np.sign(old) if old != 0.0 else np.sign(new)
            pull = slope + l1[i] * sign
            out[i] = pull * (pull / curvature)  # the square could overflow
