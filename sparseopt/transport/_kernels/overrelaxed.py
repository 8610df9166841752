"""Overrelaxed Sinkhorn sweeps, on a stored plan or on its kept entries, in Numba.

A sweep multiplies the factors v and then u of the plan diag(u) P diag(v) by

    (b / (v P' u))^omega,  (a / (u P v))^omega.

omega = 1 is Sinkhorn's method; with the best omega in (1, 2) the error falls as fast as
under conjugate gradients. Sweeps come in blocks whose last row update is exact, so that the
error of the columns alone measures the block; omega follows the rate of the error.

References: Thibault, Chizat, Dossal, Papadakis (2021), Overrelaxed Sinkhorn-Knopp algorithm for
regularized optimal transport, Algorithms 14(5); Young (1954), Iterative methods for solving
partial difference equations of elliptic type, Trans. Amer. Math. Soc. 76.
"""

import math

import numpy as np
from numba import njit

from sparseopt.transport._kernels.cpu import (
    _add_scaled,
    _exponentiate,
    _largest_of_row,
    _total,
    exponent_row,
)
from sparseopt.transport._kernels.exponential import exponential

REORDER = {"reassoc", "contract", "nsz"}  # NaN and inf keep their meaning
BLOCK = 8  # sweeps between two choices of omega, ...
SHORT_BLOCK, SHORT_BLOCKS = 4, 3  # ... but for the first ones, which choose it roughly
SLOWEST = 0.9999  # rate of plain sweeps that omega is chosen for at most
OVERSHOT = 1.02  # rate over omega - 1 below which omega is as large as it may be, or larger
SHRINK = 0.97  # of omega - 1 in that case
SMALL = 0.05  # distance from one where a few terms give a power
OMEGA, ERROR, RATE, BLOCKS = range(4)  # places in ``state``: the last three of the last block


@njit(cache=True, nogil=True, error_model="numpy")
def relaxed_power(ratio, omega):
    """Return ratio**omega for a positive ratio, exactly 1 at 1."""
    if omega == 1.0:
        return ratio
    t = ratio - 1.0
    if abs(t) > SMALL:
        return math.exp(omega * math.log(min(max(ratio, 1e-280), 1e280)))
    tail = 1.0 + (omega - 4.0) / 5.0 * t
    tail = 1.0 + (omega - 3.0) / 4.0 * t * tail
    tail = 1.0 + (omega - 2.0) / 3.0 * t * tail
    tail = 1.0 + (omega - 1.0) / 2.0 * t * tail
    return 1.0 + omega * t * tail


@njit(cache=True, nogil=True, error_model="numpy")
def block_length(state):
    """Return the number of sweeps in a whole block."""
    return SHORT_BLOCK if state[BLOCKS] < SHORT_BLOCKS else BLOCK


@njit(cache=True, nogil=True, error_model="numpy")
def next_block(state, tol, limit):
    """Return the number of sweeps in the next block, fewer than usual if the end is near."""
    error, rate = state[ERROR], state[RATE]
    length = block_length(state)
    if tol < error < np.inf and 0.0 < rate < 1.0:
        left = math.log(tol / error) / math.log(rate)
        length = max(2, int(min(float(length), math.ceil(left))))
    return min(length, limit)


@njit(cache=True, nogil=True, error_model="numpy")
def adapt(state, error, sweeps):
    """Choose omega for the next block, given the sweeps in this one and the error after it.

    With the rate r of relaxed sweeps, that of plain ones is (r + omega - 1)^2 / (r omega^2),
    and the best factor for it 2 / (1 + sqrt(1 - it)). Beyond the best factor the rate is
    omega - 1 whatever the problem, so that omega is then lowered until it tells again.
    Blocks that are not whole tell nothing.
    """
    omega, previous = state[OMEGA], state[ERROR]
    state[ERROR] = error
    if not error < np.inf:  # a factor overflowed: begin anew
        state[OMEGA], state[ERROR] = 1.0, np.inf
        return
    if sweeps < block_length(state):
        return
    if previous < np.inf and error > 0.0:
        rate = (error / previous) ** (1.0 / sweeps)
        state[RATE] = rate
        if rate >= 1.0:
            omega = 1.0
        elif rate <= OVERSHOT * (omega - 1.0):
            omega = 1.0 + SHRINK * (omega - 1.0)
        else:
            plain = (rate + omega - 1.0) ** 2 / (rate * omega**2)
            omega = 2.0 / (1.0 + math.sqrt(1.0 - min(plain, SLOWEST)))
    state[OMEGA] = omega
    state[BLOCKS] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _relax_columns(b, column_sums, omega, v):
    for j in range(b.shape[0]):
        v[j] *= relaxed_power(b[j] / (v[j] * column_sums[j]), omega)


@njit(cache=True, nogil=True, error_model="numpy")
def _column_error(b, column_sums, v):
    error = 0.0
    for j in range(b.shape[0]):
        error += abs(v[j] * column_sums[j] - b[j])
    return error


@njit(cache=True, nogil=True, error_model="numpy")
def _extreme(u, v, bound):
    """Return whether a factor left [1 / bound, bound], or is not a number."""
    for vector in (u, v):
        for value in vector:
            if not 1.0 / bound <= value <= bound:
                return True
    return False


@njit(cache=True, nogil=True, error_model="numpy", fastmath=REORDER)
def _four_products(p, q, r, s, v, zero):
    """Return the products of four rows with v, which is read once."""
    one, two, three, four = zero, zero, zero, zero
    for j in range(v.shape[0]):
        one += p[j] * v[j]
        two += q[j] * v[j]
        three += r[j] * v[j]
        four += s[j] * v[j]
    return one, two, three, four


@njit(cache=True, nogil=True, error_model="numpy", fastmath=REORDER)
def _add_four(p, q, r, s, factors, sums):
    one, two, three, four = factors[0], factors[1], factors[2], factors[3]
    for j in range(sums.shape[0]):
        sums[j] += (one * p[j] + two * q[j]) + (three * r[j] + four * s[j])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=REORDER)
def _product(p, v, zero):
    total = zero
    for j in range(v.shape[0]):
        total += p[j] * v[j]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep_plan(plan, a, v, omega, u, column_sums):
    """Relax u and set column_sums = P' u; reads the plan once, four rows at a time."""
    n = plan.shape[0]
    zero = plan.dtype.type(0)
    column_sums[:] = zero
    for i in range(0, n - 3, 4):
        p, q, r, s = plan[i], plan[i + 1], plan[i + 2], plan[i + 3]
        totals = _four_products(p, q, r, s, v, zero)
        for k in range(4):
            u[i + k] *= relaxed_power(a[i + k] / (u[i + k] * totals[k]), omega)
        _add_four(p, q, r, s, u[i : i + 4], column_sums)
    for i in range(n - n % 4, n):
        u[i] *= relaxed_power(a[i] / (u[i] * _product(plan[i], v, zero)), omega)
        for j in range(v.shape[0]):
            column_sums[j] += u[i] * plan[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def relax_plan(plan, a, b, u, v, column_sums, state, tol, bound, sweeps):
    """Run overrelaxed sweeps on a fixed plan, in blocks.

    ``u``, ``v`` and ``column_sums`` = P' u have the plan's precision, and belong to exact rows
    on entry and on return; ``state`` is what :func:`adapt` changes. The sweeps
    end once the error is below ``tol``, or once a factor leaves [1 / bound, bound]. Returns
    their number, the error, and whether a factor left.
    """
    done, error = 0, np.inf
    while done < sweeps:
        block, omega = next_block(state, tol, sweeps - done), state[OMEGA]
        for sweep in range(block):
            _relax_columns(b, column_sums, omega, v)
            exact = sweep == block - 1
            _sweep_plan(plan, a, v, 1.0 if exact else omega, u, column_sums)
        done += block
        error = _column_error(b, column_sums, v)
        adapt(state, error, block)
        if _extreme(u, v, bound):
            return done, error, True
        if error < tol:
            break
    return done, error, False


@njit(cache=True, nogil=True, error_model="numpy", fastmath=REORDER)
def _sweep_entries(indptr, indices, values, a, v, omega, u, column_sums):
    """Relax u and set column_sums = S' u; reads the entries once."""
    column_sums[:] = 0.0
    for i in range(a.shape[0]):
        columns, row = indices[indptr[i] : indptr[i + 1]], values[indptr[i] : indptr[i + 1]]
        total = 0.0
        for k in range(row.shape[0]):
            total += row[k] * v[np.uint32(columns[k])]  # unsigned: no check for negative ones
        factor = u[i] * relaxed_power(a[i] / (u[i] * total), omega)
        u[i] = factor
        for k in range(row.shape[0]):
            column_sums[np.uint32(columns[k])] += factor * row[k]


@njit(cache=True, nogil=True, error_model="numpy")
def relax_entries(indptr, indices, values, a, b, u, v, column_sums, state, bound, sweeps):
    """Run one block of overrelaxed sweeps on the kept entries S (n, m) of a plan, as CSR rows.

    As :func:`relax_plan` does. Returns the error, and whether a factor left its bounds.
    """
    omega = state[OMEGA]
    for sweep in range(sweeps):
        _relax_columns(b, column_sums, omega, v)
        exact = sweep == sweeps - 1
        _sweep_entries(indptr, indices, values, a, v, 1.0 if exact else omega, u, column_sums)
    error = _column_error(b, column_sums, v)
    adapt(state, error, sweeps)
    return error, _extreme(u, v, bound)


@njit(cache=True, nogil=True, error_model="numpy")
def relax_rows(cost, y, eps, a, omega, start, stop, x, column_sums):
    """Relax rows of a plan that is not stored: one exponential an entry.

    Changes ``x[start:stop]`` and adds the rows to ``column_sums``; omega = 1 makes them exact.
    """
    m = y.shape[0]
    row, work = np.empty(m), np.empty(m)
    scale = 1.0 / eps
    for i in range(start, stop):
        exponent_row(cost, i, y, scale, row)
        top = _largest_of_row(row, work)
        _exponentiate(row, top)
        exact = math.log(a[i] / _total(row)) - top
        now = exact if omega == 1.0 else (1.0 - omega) * x[i] * scale + omega * exact
        x[i] = eps * now
        _add_scaled(row, exponential(now + top), column_sums)
