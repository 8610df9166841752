"""Passes over the entries of a transport plan, row by row, in Numba.

With y in the units of the cost, the plan whose rows are exact is

    P_ij = a_i exp((y_j - C_ij) / eps) / sum_k exp((y_k - C_ik) / eps)
         = exp((x_i + y_j - C_ij) / eps).

A cost is a tuple ``(matrix, X, Yt, code)``: the matrix C (n, m) for the code DENSE, or points
X (n, d) and Yt (d, m) whose distances are computed where they are needed. Every pass works
on the rows from ``start`` to ``stop``, on short loops over one row buffer, which vectorise.
"""

import math

import numpy as np
from numba import njit

from sparseopt.transport._kernels.exponential import exponential

DENSE, SQEUCLIDEAN, EUCLIDEAN, CITYBLOCK = range(4)
TINY = 1e-250  # below: an entry that stands for zero
SMALLEST_SINGLE = 1e-30  # the same in single precision, with room for factors
REORDER = {"reassoc", "contract", "nsz"}  # NaN and inf keep their meaning


@njit(cache=True, nogil=True, fastmath=REORDER)
def cost_row(cost, i, row):
    """Write the i-th row of the cost to ``row``; m d flops."""
    matrix, X, Yt, code = cost
    if code == DENSE:
        for j in range(row.shape[0]):
            row[j] = matrix[i, j]
        return
    row[:] = 0.0
    for k in range(Yt.shape[0]):
        point = X[i, k]
        if code == CITYBLOCK:
            for j in range(row.shape[0]):
                row[j] += abs(point - Yt[k, j])
        else:
            for j in range(row.shape[0]):
                difference = point - Yt[k, j]
                row[j] += difference * difference
    if code == EUCLIDEAN:
        for j in range(row.shape[0]):
            row[j] = math.sqrt(row[j])


@njit(cache=True, nogil=True, fastmath=REORDER)
def exponent_row(cost, i, y, scale, row):
    """Write (y_j - C_ij) * scale to ``row``; m d flops."""
    if cost[3] == DENSE:
        matrix = cost[0]
        for j in range(row.shape[0]):
            row[j] = (y[j] - matrix[i, j]) * scale
        return
    cost_row(cost, i, row)
    for j in range(row.shape[0]):
        row[j] = (y[j] - row[j]) * scale


@njit(cache=True, nogil=True)
def _largest(row):
    top = row[0]
    for j in range(1, row.shape[0]):
        top = max(top, row[j])
    return top


@njit(cache=True, nogil=True)
def _largest_of_row(row, work):
    """Return the largest entry by halving, which vectorises where a running maximum does not."""
    size = row.shape[0]
    half = size // 2
    top = row[size - 1]
    for j in range(half):
        work[j] = row[j] if row[j] > row[j + half] else row[j + half]
    while half > 8:
        if half % 2 == 1:
            top = max(top, work[half - 1])
        half //= 2
        for j in range(half):
            work[j] = work[j] if work[j] > work[j + half] else work[j + half]
    for j in range(half):
        top = max(top, work[j])
    return top


@njit(cache=True, nogil=True, fastmath=REORDER)
def _total(row):
    total = 0.0
    for j in range(row.shape[0]):
        total += row[j]
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def _exponentiate(row, top):
    for j in range(row.shape[0]):
        row[j] = exponential(row[j] - top)


@njit(cache=True, nogil=True, fastmath=REORDER)
def _add_scaled(row, factor, sums):
    for j in range(row.shape[0]):
        row[j] *= factor
        sums[j] += row[j]


@njit(cache=True, nogil=True, fastmath=REORDER)
def _number_from(row, bound):
    number = 0
    for j in range(row.shape[0]):
        number += row[j] >= bound
    return number


@njit(cache=True, nogil=True)
def _largest_of_eight(row):
    return max(
        max(max(row[0], row[1]), max(row[2], row[3])),
        max(max(row[4], row[5]), max(row[6], row[7])),
    )


@njit(cache=True, nogil=True)
def _places_from(row, bound, indices, place):
    """Write the indices where ``row`` reaches the bound, with room for the row; return the end.

    Eight entries are passed over at once, or else written without a branch: the next one
    overwrites what is not kept.
    """
    m = row.shape[0]
    for begin in range(0, m - 7, 8):
        part = row[begin : begin + 8]
        if _largest_of_eight(part) >= bound:
            for j in range(8):
                indices[place] = begin + j
                place += part[j] >= bound
    for j in range(m - m % 8, m):
        if row[j] >= bound:
            indices[place] = j
            place += 1
    return place


@njit(cache=True, nogil=True)
def append_from(row, bound, payload, indices, values, place):
    """Append indices and payload where ``row`` reaches the bound, if all fit; return how many.

    In the order of the row.
    """
    m = row.shape[0]
    if place + m <= indices.shape[0]:
        end = _places_from(row, bound, indices, place)
    else:
        end = place + _number_from(row, bound)
        if end > indices.shape[0]:
            return end - place
        free = place
        for j in range(m):
            if row[j] >= bound:
                indices[free] = j
                free += 1
    for k in range(place, end):
        values[k] = payload[np.uint32(indices[k])]
    return end - place


@njit(cache=True, nogil=True)
def _store(row, target):
    """Copy a row; where it loses precision, entries that would be subnormal become zero."""
    smallest = SMALLEST_SINGLE if target.itemsize == 4 else 0.0
    for j in range(row.shape[0]):
        target[j] = row[j] if row[j] > smallest else 0.0


@njit(cache=True, nogil=True)
def balance_rows(
    cost, y, eps, a, start, stop, x, column_sums, plan, threshold, counts, indices, values
):  # fmt: skip
    """Make the rows of the plan exact: one exponential an entry.

    Writes ``x[start:stop]``, adds the rows to ``column_sums``, writes them to ``plan``
    unless that is empty, and appends entries >= ``threshold`` to ``indices`` and ``values``
    with their number in ``counts``, unless that is empty. Returns the number of entries,
    which may exceed the capacity.
    """
    m = y.shape[0]
    row, work = np.empty(m), np.empty(m)
    scale = 1.0 / eps
    place = 0
    for i in range(start, stop):
        exponent_row(cost, i, y, scale, row)
        top = _largest_of_row(row, work)
        _exponentiate(row, top)
        total = _total(row)
        x[i] = eps * (math.log(a[i] / total) - top)
        _add_scaled(row, a[i] / total, column_sums)
        if plan.shape[0] > 0:
            _store(row, plan[i])
        if counts.shape[0] > 0:
            counts[i] = append_from(row, threshold, row, indices, values, place)
            place += counts[i]
    return place


@njit(cache=True, nogil=True)
def select_entries(plan, threshold, counts, indices, values):
    """Append the entries of a plan that reach the threshold; return their number."""
    place = 0
    for i in range(plan.shape[0]):
        counts[i] = append_from(plan[i], threshold, plan[i], indices, values, place)
        place += counts[i]
    return place


@njit(cache=True, nogil=True, fastmath=REORDER)
def _sweep(plan, a, v, u, column_sums):
    """Set u = a / (P v) and column_sums = P' u; reads the plan once."""
    column_sums[:] = 0.0
    m = v.shape[0]
    for i in range(plan.shape[0]):
        total = 0.0
        for j in range(m):
            total += plan[i, j] * v[j]
        u[i] = a[i] / total
        for j in range(m):
            column_sums[j] += u[i] * plan[i, j]


@njit(cache=True, nogil=True)
def scale_plan(plan, a, b, u, v, column_sums, tol, bound, errors):
    """Run Sinkhorn sweeps v = b / (P' u), u = a / (P v) on a fixed plan.

    On entry ``column_sums`` is P' u. The marginal error after each sweep goes to ``errors``,
    whose length limits the sweeps; they end early once it is below ``tol``, or once a factor
    leaves [1 / bound, bound]. Returns the number of sweeps, and whether a factor left.
    """
    for sweep in range(errors.shape[0]):
        for j in range(b.shape[0]):
            v[j] = b[j] / column_sums[j]
        _sweep(plan, a, v, u, column_sums)
        error = 0.0
        for j in range(b.shape[0]):
            error += abs(v[j] * column_sums[j] - b[j])
        errors[sweep] = error
        extreme = max(_largest(u), _largest(v), _largest(1 / u), _largest(1 / v))
        if not extreme < bound:
            return sweep + 1, True
        if error < tol:
            return sweep + 1, False
    return errors.shape[0], False


@njit(cache=True, nogil=True, fastmath=REORDER)
def _add_row(row, costs, sums):
    """Add a row of the plan to the column sums, without what stands for zero.

    Returns its sum, and its product with the costs, which may be infinite where it is zero.
    """
    total = product = 0.0
    for j in range(row.shape[0]):
        entry = row[j] if row[j] > TINY else 0.0
        total += entry
        product += entry * (costs[j] if entry > 0.0 else 0.0)
        sums[j] += entry
    return total, product


@njit(cache=True, nogil=True)
def plan_rows(cost, x, y, eps, start, stop, plan):
    """Write rows of the plan exp((x_i + y_j - C_ij) / eps), entries below TINY as zero."""
    m = y.shape[0]
    scale = 1.0 / eps
    for i in range(start, stop):
        row = plan[i - start]
        exponent_row(cost, i, y, scale, row)
        _exponentiate(row, -x[i] * scale)
        for j in range(m):
            row[j] = row[j] if row[j] > TINY else 0.0


@njit(cache=True, nogil=True)
def transport_cost(cost, x, y, eps, start, stop, row_sums, column_sums, row_costs):
    """Sum the plan and its cost by rows, and add it to the column sums; stores no plan."""
    m = y.shape[0]
    row, buffer = np.empty(m), np.empty(m)
    scale = 1.0 / eps
    for i in range(start, stop):
        costs = buffer
        if cost[3] == DENSE:
            costs = cost[0][i]
        else:
            cost_row(cost, i, costs)
        for j in range(m):
            row[j] = (y[j] - costs[j]) * scale
        _exponentiate(row, -x[i] * scale)
        row_sums[i], row_costs[i] = _add_row(row, costs, column_sums)


@njit(cache=True, nogil=True)
def _smallest_of_row(row, negative, work):
    for j in range(row.shape[0]):
        negative[j] = -row[j]
    return -_largest_of_row(negative, work)


@njit(cache=True, nogil=True)
def _extend_range(row, offset, nearest, largest):
    for j in range(row.shape[0]):
        value = row[j] - offset
        nearest[j] = value if value < nearest[j] else nearest[j]
        largest[j] = row[j] if row[j] > largest[j] else largest[j]


@njit(cache=True, nogil=True)
def _describe_finite(row):
    """Return the smallest entry, or NaN, and sum and number of the finite ones."""
    smallest, total, count = np.inf, 0.0, 0
    for value in row:
        if math.isnan(value):
            return np.nan, total, count
        smallest = min(smallest, value)
        if -np.inf < value < np.inf:
            total += value
            count += 1
    return smallest, total, count


@njit(cache=True, nogil=True)
def cost_statistics(cost, smallest, sums, counts, nearest, largest):
    """Write the smallest cost of each row, or NaN, and sum and number of its finite costs.

    ``largest`` (m,) gets the largest finite cost of each column, and ``nearest`` (m,) the
    smallest once each row's smallest cost is subtracted.
    """
    m = nearest.shape[0]
    buffer, negative, work = np.empty(m), np.empty(m), np.empty(m)
    nearest[:], largest[:] = np.inf, -np.inf
    for i in range(sums.shape[0]):
        row = buffer
        if cost[3] == DENSE:
            row = cost[0][i]
        else:
            cost_row(cost, i, row)
        sums[i], counts[i] = _total(row), m
        if -np.inf < sums[i] < np.inf:
            smallest[i] = _smallest_of_row(row, negative, work)
            _extend_range(row, smallest[i], nearest, largest)
            continue
        smallest[i], sums[i], counts[i] = _describe_finite(row)
        for j in range(m):
            nearest[j] = min(nearest[j], row[j] - smallest[i])
            if row[j] < np.inf:
                largest[j] = max(largest[j], row[j])


@njit(cache=True, nogil=True)
def scale_entries(plan, u, v):
    """Replace the plan by diag(u) P diag(v)."""
    for i in range(plan.shape[0]):
        for j in range(plan.shape[1]):
            plan[i, j] *= u[i] * v[j]
