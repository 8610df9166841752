"""Conjugate gradients for graph Laplacians with several right-hand sides, in Numba.

The matrix is A = diag(``degree``) - W. Row i of W is stored from ``start[i]`` to
``start[i + 1]`` in ``indices`` and ``weights``: neighbours below i up to ``middle[i]``, then
those above. Each half may be padded to even length by entries (i, weight 0), and loops that
go through rows take two entries at once: rows are short, and where one ends is hard to
predict for a processor.

The preconditioner is M = (D + L) D^-1 (D + L'), L the lower part of A and D the ``pivots``.
With S = D^-1/2 and U = S L S, Eisenstat's form of the preconditioned matrix is

    (I + U)^-1 (S A S) (I + U')^-1,

and a product with it is a backward and a forward substitution, which together read each
entry once, as a product with A does. ``scaled`` are the entries of S W S, in the dtype of the
vectors, which have shape (n, n_columns). ``columns`` is a tuple of that length: it is known
when the loops are compiled, which doubles their speed.
"""

import numpy as np
from numba import njit

SMALLEST_PIVOT = 1e-10  # relative to the degree
REORDER = {"reassoc", "contract", "nsz"}  # NaN and inf keep their meaning


@njit(cache=True, nogil=True)
def reach(indptr, indices, nodes):
    """Return a mask of the nodes that are connected with ``nodes``."""
    reached = np.zeros(indptr.shape[0] - 1, np.bool_)
    queue = np.empty(reached.shape[0], indices.dtype)
    length = 0
    for node in nodes:
        if not reached[node]:
            reached[node] = True
            queue[length] = node
            length += 1
    current = 0
    while current < length:
        node = queue[current]
        current += 1
        for e in range(indptr[node], indptr[node + 1]):
            neighbour = indices[e]
            if not reached[neighbour]:
                reached[neighbour] = True
                queue[length] = neighbour
                length += 1
    return reached


@njit(cache=True, nogil=True)
def count_neighbours(indptr, indices, order, place, below, above):
    """Count the neighbours of each node of ``order`` that come before and after it.

    ``place[node]`` is the position in ``order``, negative for nodes that are not in it.
    """
    for k in range(order.shape[0]):
        for e in range(indptr[order[k]], indptr[order[k] + 1]):
            there = place[indices[e]]
            if there > k:
                above[k] += 1
            elif 0 <= there < k:
                below[k] += 1


@njit(cache=True, nogil=True)
def arrange(
    indptr, indices, data, order, place, Y, next_below, next_above,
    new_indices, new_weights, degree, b,
):  # fmt: skip
    """Write the rows of W in the given order, sorted, with degrees and right-hand sides.

    The ``place`` of a labelled node is -1 minus its row in ``Y``. ``next_below`` and
    ``next_above`` are where the two halves of each row begin; they move to their ends. Loops
    are left out. Since W is symmetric, its rows in order fill the columns in order.
    """
    for k in range(order.shape[0]):
        for e in range(indptr[order[k]], indptr[order[k] + 1]):
            there, weight = place[indices[e]], data[e]
            if there == k:
                continue
            degree[k] += weight
            if there < 0:
                for c in range(Y.shape[1]):
                    b[k, c] += weight * Y[-1 - there, c]
                continue
            if k < there:
                entry = next_below[there]
                next_below[there] += 1
            else:
                entry = next_above[there]
                next_above[there] += 1
            new_indices[entry] = k
            new_weights[entry] = weight


@njit(cache=True, nogil=True)
def modified_pivots(start, middle, indices, weights, degree, omega):
    """Return pivots with which M has the diagonal (omega 0) or the row sums (1) of A.

    They are positive for omega <= 1 if A is an irreducibly diagonally dominant M-matrix, and
    are kept so where rounding errors would have it otherwise.
    """
    pivots = degree.copy()
    for j in range(pivots.shape[0]):
        pivots[j] = max(pivots[j], SMALLEST_PIVOT * degree[j])
        above = 0.0
        for e in range(middle[j], start[j + 1]):
            above += weights[e]
        for e in range(middle[j], start[j + 1]):
            fill = omega * above + (1 - omega) * weights[e]
            pivots[indices[e]] -= weights[e] * fill / pivots[j]
    return pivots


@njit(cache=True, nogil=True)
def scale_weights(start, indices, weights, root, unit, scaled):
    """Write the entries of S W S, with ``root`` the diagonal of S times ``unit**0.5``."""
    for i in range(root.shape[0]):
        for e in range(start[i], start[i + 1]):
            scaled[e] = root[i] * (weights[e] / unit) * root[indices[e]]


@njit(cache=True, nogil=True, fastmath=REORDER)
def substitute_backward(start, middle, indices, scaled, ratio, r, p, t, columns):
    """Replace p by r + ratio p and write t = (I + U')^-1 p."""
    row = np.empty(len(columns), p.dtype)
    for i in range(p.shape[0] - 1, -1, -1):
        for c in range(len(columns)):
            row[c] = r[i, c] + ratio[c] * p[i, c]
            p[i, c] = row[c]
        for e in range(middle[i], start[i + 1], 2):
            j, k, v, w = indices[e], indices[e + 1], scaled[e], scaled[e + 1]
            for c in range(len(columns)):
                row[c] += v * t[j, c] + w * t[k, c]
        for c in range(len(columns)):
            t[i, c] = row[c]


@njit(cache=True, nogil=True, fastmath=REORDER)
def substitute_forward(start, middle, indices, scaled, shift, p, t, s, p_dot_q, columns):
    """Write s with s + t the product with p, and p'(s + t) for each column.

    ``shift`` is the diagonal of S A S - 2 I.
    """
    row = np.empty(len(columns), p.dtype)
    total = np.zeros(len(columns), np.float64)
    for i in range(p.shape[0]):
        for c in range(len(columns)):
            row[c] = p[i, c] + shift[i] * t[i, c]
        for e in range(start[i], middle[i], 2):
            j, k, v, w = indices[e], indices[e + 1], scaled[e], scaled[e + 1]
            for c in range(len(columns)):
                row[c] += v * s[j, c] + w * s[k, c]
        for c in range(len(columns)):
            s[i, c] = row[c]
            total[c] += p[i, c] * (row[c] + t[i, c])
    for c in range(len(columns)):
        p_dot_q[c] = total[c]


@njit(cache=True, nogil=True, fastmath=REORDER)
def advance(step, t, s, y, r, energy, columns):
    """Move ``y`` along t and ``r`` along -(s + t); write r'r for each column."""
    total = np.zeros(len(columns), np.float64)
    for i in range(r.shape[0]):
        for c in range(len(columns)):
            y[i, c] += step[c] * t[i, c]
            rest = r[i, c] - step[c] * (s[i, c] + t[i, c])
            r[i, c] = rest
            total[c] += rest * rest
    for c in range(len(columns)):
        energy[c] = total[c]


@njit(cache=True, nogil=True, fastmath=REORDER)
def refresh_residual(
    start, middle, indices, weights, scaled, degree, root, unit, b, first, x, y, r, sums, columns
):  # fmt: skip
    """Add S y to x, set y to zero and r to (I + U)^-1 S (b - A x), from x itself.

    The vectors y and r are in units of ``unit**0.5``, so that their size does not depend on
    the weights'; ``root`` is as in :func:`scale_weights`. ``x`` and ``b`` hold more columns
    than y and r, beginning at ``first``. Writes for each column ||b - A x||^2, r'r and
    x'(2 b - A x) to the rows of ``sums``.
    """
    rest, row = np.empty(len(columns), np.float64), np.empty(len(columns), np.float64)
    sums[:] = 0
    for i in range(r.shape[0]):
        for c in range(len(columns)):
            x[i, first + c] += root[i] * y[i, c]
            y[i, c] = 0
    for i in range(r.shape[0]):
        for c in range(len(columns)):
            rest[c] = b[i, first + c] - degree[i] * x[i, first + c]
            row[c] = 0
        for e in range(start[i], start[i + 1]):
            j, weight = indices[e], weights[e]
            for c in range(len(columns)):
                rest[c] += weight * x[j, first + c]
        for e in range(start[i], middle[i]):
            j, entry = indices[e], scaled[e]
            for c in range(len(columns)):
                row[c] += entry * r[j, c]
        for c in range(len(columns)):
            value = root[i] * (rest[c] / unit) + row[c]
            r[i, c] = value
            sums[0, c] += rest[c] ** 2
            sums[1, c] += value**2
            sums[2, c] += x[i, first + c] * (b[i, first + c] + rest[c])
