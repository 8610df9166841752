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
            out[i] = (slope + l1[i] * sign) ** 2 / curvature
