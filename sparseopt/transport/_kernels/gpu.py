r"""The passes over plans, of balanced and unbalanced transport, for CuPy arrays.

Functions have the names, arguments and effects of their twins in
:mod:`sparseopt.transport._kernels.cpu` and :mod:`sparseopt.transport._kernels.relaxed`. They are
written as array expressions, over as many rows at once as fit into ``BLOCK_ENTRIES``, and run with
any array library; no entry of the plan is read on the host. With CuPy, the passes that a solver
repeats are CUDA kernels instead, which store no costs and no plan: memory is O(n + m) for points,
and time that of the exponentials (two an entry for :func:`balance_rows`). One thread works on
every ``LANES``-th column of a row, or row of a column; threads do not wait for each other, and
sums have an order that does not change from run to run.

No solver calls them yet: public functions refuse CuPy arrays. The CUDA source compiles for the
architectures sm_80 and sm_90, and agrees with Numba when its threads run on the host one after
the other; it has not run on a device so far.
"""

import functools

import array_api_compat
import numpy as np

from sparseopt._core import array_namespace
from sparseopt.transport._kernels.cpu import (
    CITYBLOCK,
    DENSE,
    EUCLIDEAN,
    SMALLEST_SINGLE,
    TINY,
)
from sparseopt.transport._kernels.exponential import LARGEST, SMALLEST

BLOCK_ENTRIES = 2**26  # of a temporary array: 512 MiB
LANES = 32  # threads that share a row or a column
THREADS = 256  # of a CUDA block

SOURCE = r"""
#define DENSE 0
#define EUCLIDEAN 2
#define CITYBLOCK 3

// exp(t) with t clamped to [-650, 709], so that no sum of it vanishes; NaN stays NaN.
__device__ __forceinline__ double exponential(double t)
{
    return exp(t < -650.0 ? -650.0 : (t > 709.0 ? 709.0 : t));
}

__device__ __forceinline__ double cost_entry(
    const double *matrix, const double *X, const double *Yt,
    long long d, int code, long long i, long long j, long long m)
{
    if (code == DENSE)
        return matrix[i * m + j];
    double total = 0.0;
    for (long long k = 0; k < d; ++k) {
        double difference = X[i * d + k] - Yt[k * m + j];
        total += code == CITYBLOCK ? fabs(difference) : difference * difference;
    }
    return code == EUCLIDEAN ? sqrt(total) : total;
}

// Largest exponent, and the sum of exponentials relative to it, over some columns of a row.
extern "C" __global__ void row_partials(
    const double *matrix, const double *X, const double *Yt, long long d, int code,
    const double *y, double scale, long long n, long long m, long long lanes,
    double *tops, double *totals)
{
    long long t = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n * lanes)
        return;
    long long i = t / lanes;
    double top = -1.0 / 0.0, total = 0.0;
    for (long long j = t % lanes; j < m; j += lanes) {
        double e = (y[j] - cost_entry(matrix, X, Yt, d, code, i, j, m)) * scale;
        if (e == -1.0 / 0.0)
            continue;
        if (e > top) {
            total = total * exponential(top - e) + 1.0;
            top = e;
        } else {
            total += exponential(e - top);
        }
    }
    tops[t] = top;
    totals[t] = total;
}

// Sums of the plan factor_i exp(e_ij - top_i) over some rows of a column, and its entries.
extern "C" __global__ void column_partials(
    const double *matrix, const double *X, const double *Yt, long long d, int code,
    const double *y, double scale, long long n, long long m, long long lanes,
    const double *tops, const double *factors, double cut, int stores, double *plan,
    double *sums)
{
    long long t = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= m * lanes)
        return;
    long long j = t % m;
    double total = 0.0;
    for (long long i = t / m; i < n; i += lanes) {
        double e = (y[j] - cost_entry(matrix, X, Yt, d, code, i, j, m)) * scale;
        double entry = factors[i] * exponential(e - tops[i]);
        if (entry <= cut)
            entry = 0.0;
        total += entry;
        if (stores)
            plan[i * m + j] = entry;
    }
    sums[t] = total;
}

// Sums of the plan exp(e_ij - top_i) and of its cost over some columns of a row.
extern "C" __global__ void cost_partials(
    const double *matrix, const double *X, const double *Yt, long long d, int code,
    const double *y, double scale, long long n, long long m, long long lanes,
    const double *tops, double cut, double *sums, double *costs)
{
    long long t = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n * lanes)
        return;
    long long i = t / lanes;
    double total = 0.0, cost = 0.0;
    for (long long j = t % lanes; j < m; j += lanes) {
        double c = cost_entry(matrix, X, Yt, d, code, i, j, m);
        double entry = exponential((y[j] - c) * scale - tops[i]);
        if (entry > cut) {
            total += entry;
            cost += entry * c;
        }
    }
    sums[t] = total;
    costs[t] = cost;
}
"""


def cost_row(cost, i, row):
    """Write the i-th row of the cost to ``row``."""
    row[:] = _costs(array_namespace(row), cost, i, i + 1)[0, :]


def exponent_row(cost, i, y, scale, row):
    """Write (y_j - C_ij) * scale to ``row``."""
    row[:] = (y - _costs(array_namespace(row), cost, i, i + 1)[0, :]) * scale


def append_from(row, bound, payload, indices, values, place):
    """Append indices and payload where ``row`` reaches the bound, if all fit; return how many."""
    xp = array_namespace(row)
    (found,) = xp.nonzero(row >= bound)
    number = found.shape[0]
    if place + number <= indices.shape[0]:
        indices[place : place + number] = xp.astype(found, indices.dtype)
        values[place : place + number] = xp.astype(xp.take(payload, found), values.dtype)
    return number


def balance_rows(
    cost, y, eps, a, start, stop, x, column_sums, plan, threshold, counts, indices, values
):  # fmt: skip
    """Make the rows of the plan exact.

    Writes ``x[start:stop]``, adds the rows to ``column_sums``, writes them to ``plan``
    unless that is empty, and appends entries >= ``threshold`` to ``indices`` and ``values``
    with their number in ``counts``, unless that is empty. Returns the number of entries,
    which may exceed the capacity.
    """
    xp = array_namespace(y)
    stores, selects = plan.shape[0] > 0, counts.shape[0] > 0
    if _on_device(xp) and (plan.dtype == xp.float64 if stores else not selects):
        part = plan[start:stop, :] if stores else plan
        _balance_rows(xp, cost, y, eps, a, start, stop, x, column_sums, part)
        if not selects:
            return 0
        return select_entries(part, threshold, counts[start:stop], indices, values)
    place = 0
    for first, last in _blocks(start, stop, y.shape[0]):
        exponents = (y - _costs(xp, cost, first, last)) * (1 / eps)
        tops = xp.max(exponents, axis=1)
        rows = _exponential(xp, exponents - tops[:, None])
        factors = a[first:last] / xp.sum(rows, axis=1)
        x[first:last] = eps * (xp.log(factors) - tops)
        rows = rows * factors[:, None]
        column_sums[:] = column_sums + xp.sum(rows, axis=0)
        if stores:
            plan[first:last, :] = _stored(xp, rows, plan.dtype)
        if selects:
            place += _append(rows, threshold, counts[first:last], indices, values, place)
    return place


def balance_relaxed_rows(cost, y, eps, a, damping, start, stop, x, column_sums, plan):
    """Maximise the unbalanced dual over x.

    With the balanced update f_i = -eps log sum_j exp((y_j - C_ij) / eps), rows of the plan
    belong to damping * f_i, where 1 gives balanced rows. Writes ``x[start:stop]``, adds the
    rows to ``column_sums``, and writes them to ``plan`` unless that is empty.
    """
    xp = array_namespace(y)
    stores = plan.shape[0] > 0
    if _on_device(xp) and (not stores or plan.dtype == xp.float64):
        tops, totals = _row_sums(xp, cost, y, eps, start, stop)
        potentials = -damping * (tops + xp.log(totals))
        x[start:stop] = eps * (xp.log(a[start:stop]) + potentials)
        factors = a[start:stop] * xp.exp(potentials + tops)
        part = plan[start:stop, :] if stores else plan
        sums = _column_sums(xp, cost, y, eps, start, stop, tops, factors, -1.0, part)
        column_sums[:] = column_sums + sums
        return
    for first, last in _blocks(start, stop, y.shape[0]):
        exponents = (y - _costs(xp, cost, first, last)) * (1 / eps)
        tops = xp.max(exponents, axis=1)
        rows = _exponential(xp, exponents - tops[:, None])
        potentials = -damping * (tops + xp.log(xp.sum(rows, axis=1)))
        x[first:last] = eps * (xp.log(a[first:last]) + potentials)
        rows = rows * (a[first:last] * xp.exp(potentials + tops))[:, None]
        column_sums[:] = column_sums + xp.sum(rows, axis=0)
        if stores:
            plan[first:last, :] = xp.astype(rows, plan.dtype)


def select_entries(plan, threshold, counts, indices, values):
    """Append the entries of a plan that reach the threshold; return their number."""
    place = 0
    for first, last in _blocks(0, plan.shape[0], plan.shape[1]):
        rows = plan[first:last, :]
        place += _append(rows, threshold, counts[first:last], indices, values, place)
    return place


def scale_plan(plan, a, b, u, v, column_sums, tol, bound, errors):
    """Run Sinkhorn sweeps v = b / (P' u), u = a / (P v) on a fixed plan.

    On entry ``column_sums`` is P' u. The marginal error after each sweep goes to ``errors``,
    whose length limits the sweeps; they end early once it is below ``tol``, or once a factor
    leaves [1 / bound, bound]. Returns the number of sweeps, and whether a factor left.
    """
    xp = array_namespace(plan)
    for sweep in range(errors.shape[0]):
        v[:] = b / column_sums
        u[:] = a / (plan @ v)
        column_sums[:] = u @ plan
        errors[sweep] = xp.sum(xp.abs(v * column_sums - b))
        factors = xp.concat([u, v])
        extreme = xp.maximum(xp.max(factors), xp.max(1 / factors))
        if not bool(extreme < bound):
            return sweep + 1, True
        if bool(errors[sweep] < tol):
            return sweep + 1, False
    return errors.shape[0], False


def plan_rows(cost, x, y, eps, start, stop, plan):
    """Write rows of the plan exp((x_i + y_j - C_ij) / eps), entries below TINY as zero."""
    xp = array_namespace(y)
    tops = -x[start:stop] * (1 / eps)
    if _on_device(xp) and plan.dtype == xp.float64:
        _column_sums(xp, cost, y, eps, start, stop, tops, xp.ones_like(tops), TINY, plan)
        return
    for first, last in _blocks(start, stop, y.shape[0]):
        rows = _plan(xp, _costs(xp, cost, first, last), y, eps, tops[first - start : last - start])
        plan[first - start : last - start, :] = xp.astype(rows, plan.dtype)


def transport_cost(cost, x, y, eps, start, stop, row_sums, column_sums, row_costs):
    """Sum the plan and its cost by rows, and add it to the column sums; stores no plan."""
    xp = array_namespace(y)
    if _on_device(xp):
        tops = -x[start:stop] * (1 / eps)
        nothing = xp.empty((0, 0), dtype=xp.float64)
        sums = _column_sums(xp, cost, y, eps, start, stop, tops, xp.ones_like(tops), TINY, nothing)
        column_sums[:] = column_sums + sums
        by_lane = _lanes(xp, stop - start), _lanes(xp, stop - start)
        _launch(
            "cost_partials", by_lane[0].size, *_head(xp, cost, y, eps, start, stop),
            xp.ascontiguousarray(tops), np.float64(TINY), *by_lane,
        )  # fmt: skip
        row_sums[start:stop], row_costs[start:stop] = (xp.sum(part, axis=1) for part in by_lane)
        return
    for first, last in _blocks(start, stop, y.shape[0]):
        costs = _costs(xp, cost, first, last)
        rows = _plan(xp, costs, y, eps, -x[first:last] * (1 / eps))
        row_sums[first:last] = xp.sum(rows, axis=1)
        column_sums[:] = column_sums + xp.sum(rows, axis=0)
        row_costs[first:last] = xp.sum(rows * xp.where(rows > 0, costs, 0.0), axis=1)


def cost_statistics(cost, smallest, sums, counts, nearest, largest):
    """Write the smallest cost of each row, or NaN, and sum and number of its finite costs.

    ``largest`` (m,) gets the largest finite cost of each column, and ``nearest`` (m,) the
    smallest once each row's smallest cost is subtracted.
    """
    xp = array_namespace(sums)
    nearest[:], largest[:] = xp.inf, -xp.inf
    for first, last in _blocks(0, sums.shape[0], nearest.shape[0]):
        costs = _costs(xp, cost, first, last)
        finite = xp.isfinite(costs)
        least = xp.min(costs, axis=1)
        smallest[first:last] = least
        sums[first:last] = xp.sum(xp.where(finite, costs, 0.0), axis=1)
        counts[first:last] = xp.astype(_number(xp, finite), counts.dtype)
        offsets = xp.where(xp.isfinite(least), least, 0.0)
        nearest[:] = xp.minimum(nearest, xp.min(costs - offsets[:, None], axis=0))
        below = xp.where(finite, costs, -xp.inf)
        largest[:] = xp.maximum(largest, xp.max(below, axis=0))


def scale_entries(plan, u, v):
    """Replace the plan by diag(u) P diag(v)."""
    xp = array_namespace(plan)
    plan[:, :] = xp.astype(plan * (u[:, None] * v[None, :]), plan.dtype)


def _blocks(start, stop, m):
    """Yield ranges of rows that have few entries."""
    step = max(1, BLOCK_ENTRIES // max(1, m))
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


def _costs(xp, cost, first, last):
    """Return rows of the cost."""
    matrix, X, Yt, code = cost
    if code == DENSE:
        return matrix[first:last, :]
    total = xp.zeros(
        (last - first, Yt.shape[1]), dtype=Yt.dtype, device=array_api_compat.device(Yt)
    )
    for k in range(Yt.shape[0]):
        difference = X[first:last, k][:, None] - Yt[k, :][None, :]
        total = total + (xp.abs(difference) if code == CITYBLOCK else difference * difference)
    return xp.sqrt(total) if code == EUCLIDEAN else total


def _exponential(xp, t):
    """Return exp(t) with t clamped, as the kernels have it."""
    return xp.exp(xp.where(t < SMALLEST, SMALLEST, xp.where(t > LARGEST, LARGEST, t)))


def _plan(xp, costs, y, eps, tops):
    rows = _exponential(xp, (y - costs) * (1 / eps) - tops[:, None])
    return xp.where(rows > TINY, rows, 0.0)


def _stored(xp, rows, dtype):
    if dtype == xp.float32:
        rows = xp.where(rows > SMALLEST_SINGLE, rows, 0.0)
    return xp.astype(rows, dtype)


def _number(xp, mask):
    """Return how many entries of each row are true."""
    return xp.sum(xp.astype(mask, xp.int64), axis=1)


def _append(rows, threshold, counts, indices, values, place):
    """Append the entries of rows that reach the threshold, of as many rows as fit."""
    xp = array_namespace(rows)
    kept = rows >= threshold
    counts[:] = xp.astype(_number(xp, kept), counts.dtype)
    ends = xp.cumulative_sum(xp.astype(counts, xp.int64))
    number = int(ends[-1])
    fitting = ends[place + ends <= indices.shape[0]]
    if fitting.shape[0] == 0:
        return number
    written = int(fitting[-1])
    i, j = xp.nonzero(kept)
    i, j = i[:written], j[:written]
    flat = xp.reshape(rows, (-1,))
    indices[place : place + written] = xp.astype(j, indices.dtype)
    values[place : place + written] = xp.astype(xp.take(flat, i * rows.shape[1] + j), values.dtype)
    return number


def _on_device(xp):
    return array_api_compat.is_cupy_namespace(xp)


def _balance_rows(xp, cost, y, eps, a, start, stop, x, column_sums, plan):
    """Do what ``balance_rows`` does by CUDA kernels, without the selection."""
    tops, totals = _row_sums(xp, cost, y, eps, start, stop)
    factors = a[start:stop] / totals
    x[start:stop] = eps * (xp.log(factors) - tops)
    sums = _column_sums(xp, cost, y, eps, start, stop, tops, factors, -1.0, plan)
    column_sums[:] = column_sums + sums


def _row_sums(xp, cost, y, eps, start, stop):
    """Return each row's largest exponent, and its sum of exponentials relative to it."""
    tops, totals = _lanes(xp, stop - start), _lanes(xp, stop - start)
    _launch("row_partials", totals.size, *_head(xp, cost, y, eps, start, stop), tops, totals)
    largest = xp.max(tops, axis=1)
    return largest, xp.sum(totals * _exponential(xp, tops - largest[:, None]), axis=1)


def _column_sums(xp, cost, y, eps, start, stop, tops, factors, cut, plan):
    """Return the column sums of rows of a plan, and write these to ``plan`` unless it is empty."""
    stores = plan.shape[0] > 0
    part = plan if plan.flags.c_contiguous else xp.empty(plan.shape, dtype=plan.dtype)
    by_lane = xp.empty((LANES, y.shape[0]), dtype=xp.float64)
    tops, factors = xp.ascontiguousarray(tops), xp.ascontiguousarray(factors)
    _launch(
        "column_partials", by_lane.size, *_head(xp, cost, y, eps, start, stop), tops, factors,
        np.float64(cut), np.int32(stores), part, by_lane,
    )  # fmt: skip
    if part is not plan:
        plan[:, :] = part
    return xp.sum(by_lane, axis=0)


def _lanes(xp, n):
    return xp.empty((n, LANES), dtype=xp.float64)


def _head(xp, cost, y, eps, start, stop):
    """Return the arguments that all CUDA kernels have in common."""
    matrix, X, Yt, code = cost
    matrix = matrix[start:stop, :] if code == DENSE else matrix
    X = X if code == DENSE else X[start:stop, :]
    arrays = (xp.ascontiguousarray(array) for array in (matrix, X, Yt))
    return (
        *arrays, np.int64(Yt.shape[0]), np.int32(code), xp.ascontiguousarray(y),
        np.float64(1 / eps), np.int64(stop - start), np.int64(y.shape[0]), np.int64(LANES),
    )  # fmt: skip


@functools.cache
def _compiled():
    import cupy  # here, so that the package needs it nowhere else

    return cupy.RawModule(code=SOURCE)


def _launch(name, n_threads, *arguments):
    """Run a CUDA kernel with one thread for each number below ``n_threads``."""
    kernel = _compiled().get_function(name)
    kernel((-(-n_threads // THREADS),), (THREADS,), arguments)
