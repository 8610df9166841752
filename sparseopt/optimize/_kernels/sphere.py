"""Stochastic gradient steps on the unit sphere, in Numba.

A step from theta (d,) with sample x of label a is theta + c (x - u theta), made a unit vector,
where u = theta . x and c = eta a h_k'(u). Its length is known beforehand, sqrt(1 + c^2 (|x|^2 -
u^2)), so that a step reads x twice and theta twice: 6 d flops, with the sum of the iterates.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# Sums may be reordered and fused; NaN and inf keep their meaning.
REORDER = {"reassoc", "contract", "nsz"}
AHEAD = 8  # steps for which samples are on their way from memory
LINE = 64  # bytes of a cache line
EXACT_EVERY = 64  # steps after which the length is computed anew, against rounding

INCREMENT = np.uint64(0x9E3779B97F4A7C15)
FIRST_MIX = np.uint64(0xBF58476D1CE4E5B9)
SECOND_MIX = np.uint64(0x94D049BB133111EB)


@njit(cache=True, nogil=True)
def next_index(state, n):
    """Return the next state of a SplitMix64 generator, and an index below n < 2^32."""
    state = state + INCREMENT
    z = state
    z = (z ^ (z >> np.uint64(30))) * FIRST_MIX
    z = (z ^ (z >> np.uint64(27))) * SECOND_MIX
    z = z ^ (z >> np.uint64(31))
    return state, np.int64(((z >> np.uint64(32)) * n) >> np.uint64(32))


def slope_table(degree):
    """Return the coefficients (2, degree) with which :func:`_hermite_slope` works."""
    k = np.arange(degree, dtype=np.float64)
    table = np.stack([1 / np.sqrt(k + 1), np.sqrt(k / (k + 1))])
    table[0, degree - 1] = np.sqrt(degree)  # the last one is not of the recurrence
    return table


@njit(cache=True, nogil=True)
def _hermite_slope(u, table):
    """Return h_k'(u) = sqrt(k) h_(k-1)(u) of the normalised Hermite polynomial, k >= 1."""
    below, value = 0.0, 1.0
    last = table.shape[1] - 1
    for k in range(last):
        below, value = value, table[0, k] * u * value - table[1, k] * below
    return table[0, last] * value


@intrinsic
def _prefetch_address(typing_context, address):
    """Ask for the cache line at an address, without waiting for it."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer.type],
            ir.FunctionType(ir.VoidType(), [pointer.type] + [flag] * 3),
        )
        # For reading, to be kept in all caches, data.
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(types.intp), generate


@njit(cache=True, nogil=True)
def _prefetch(start, n_bytes):
    """Ask for the bytes that begin at the address ``start``."""
    for offset in range(0, n_bytes + LINE - 1, LINE):
        _prefetch_address(start + offset)


@njit(cache=True, nogil=True, fastmath=REORDER)
def _inner(x, theta):
    total = 0.0
    for j in range(theta.shape[0]):
        total += x[j] * theta[j]
    return total


@njit(cache=True, nogil=True, fastmath=REORDER)
def _move(theta, keep, add, x, total):
    for j in range(theta.shape[0]):
        value = keep * theta[j] + add * x[j]
        theta[j] = value
        total[j] += value


@njit(cache=True, nogil=True, fastmath=REORDER)
def _add_products(theta, products):
    for i in range(theta.shape[0]):
        for j in range(i + 1):
            products[i, j] += theta[i] * theta[j]


@njit(cache=True, nogil=True)
def average_steps(X, squares, a, table, eta, first, last, state, theta, total, products, every):
    """Run steps ``first`` to ``last`` of one chain; return the generator's state and a count.

    ``X`` (n, d) has its rows one after another in memory; ``squares`` (n,) has the |x|^2, and
    ``table`` is :func:`slope_table`. ``theta`` (d,) moves in place, the iterates are added to
    ``total`` (d,), and every ``every``-th one's products to the lower triangle of ``products``
    (d, d); ``every`` = 0 leaves them out. The count is that of the products added.
    """
    n, d = np.uint64(X.shape[0]), theta.shape[0]
    row, item = X.shape[1] * X.itemsize, a.itemsize
    ahead = np.empty(AHEAD, dtype=np.int64)
    early = state
    for place in range(AHEAD):
        early, ahead[place] = next_index(early, n)
    count = 0
    for step in range(first, last):
        # Samples come in random order: their rows are asked for some steps ahead.
        place = (step - first) % AHEAD
        i = ahead[place]
        state += INCREMENT
        early, coming = next_index(early, n)
        ahead[place] = coming
        _prefetch(X.ctypes.data + coming * row, row)
        _prefetch(a.ctypes.data + coming * item, item)
        _prefetch(squares.ctypes.data + coming * item, item)
        x = X[i]
        u = _inner(x, theta)
        c = eta * a[i] * _hermite_slope(u, table)
        length = math.hypot(1.0, c * math.sqrt(max(squares[i] - u * u, 0.0)))
        _move(theta, (1.0 - c * u) / length, c / length, x, total)
        if step % EXACT_EVERY == 0:
            exact = 1.0 / math.sqrt(_inner(theta, theta))
            for j in range(d):
                theta[j] *= exact
        if every > 0 and step % every == 0:
            _add_products(theta, products)
            count += 1
    return state, count
