"""A preconditioner for Newton's system of a sparsified plan, in Numba.

The entries S_ij of a plan (n, m) are the weights of a bipartite graph with the rows as nodes
0 to n - 1 and the columns as nodes n to n + m - 1. Newton's matrix [D, S; S', E] is its
Laplacian but for the signs of the columns, plus an excess of the diagonal that is known
without subtraction: the mass that S leaves out, and the shift.

Nodes are eliminated from the leaves to the roots of a forest of the heaviest edges. Fill is
dropped, and what it would have contributed goes to the diagonal (modified incomplete
Cholesky), so that M has the row sums of the matrix. On a forest M is exact; on denser graphs
the order by the heaviest edges makes it accurate where the weights span many magnitudes.
"""

import numpy as np
from numba import njit

from sparseopt.optimize._kernels.graphs import find_root, root_forest

BUCKET_BITS = 48  # of a float's 64 that a bucket ignores: 16 buckets an octave


@njit(cache=True, nogil=True)
def _heaviest_first(values):
    """Return an order of positive values, decreasing but for those within 7 percent."""
    keys = values.view(np.int64) >> BUCKET_BITS
    top = keys.max()
    begin = np.zeros(top - keys.min() + 2, np.int64)
    for key in keys:
        begin[top - key + 1] += 1
    for bucket in range(1, begin.shape[0]):
        begin[bucket] += begin[bucket - 1]
    order = np.empty(values.shape[0], np.int64)
    for k in range(values.shape[0]):
        bucket = top - keys[k]
        order[begin[bucket]] = k
        begin[bucket] += 1
    return order


@njit(cache=True, nogil=True)
def heaviest_forest(indptr, indices, values, n_columns):
    """Return the rows, columns and weights of a forest with almost the largest weight.

    Kruskal's method on buckets of weights: linear in the entries, up to union-find.
    """
    n = indptr.shape[0] - 1
    row_of = np.empty(values.shape[0], np.int64)
    for i in range(n):
        row_of[indptr[i] : indptr[i + 1]] = i
    root = np.arange(n + n_columns)
    rows = np.empty(n + n_columns, np.int64)
    columns = np.empty(n + n_columns, np.int64)
    weights = np.empty(n + n_columns)
    found = 0
    for k in _heaviest_first(values):
        one, other = find_root(root, row_of[k]), find_root(root, n + indices[k])
        if one != other:
            root[one] = other
            rows[found], columns[found], weights[found] = row_of[k], n + indices[k], values[k]
            found += 1
            if found == n + n_columns - 1:
                break
    return rows[:found], columns[:found], weights[:found]


@njit(cache=True, nogil=True)
def _symmetric_rows(rows, columns, weights, n_nodes):
    """Return the CSR arrays of a graph given by its edges."""
    indptr = np.zeros(n_nodes + 1, np.int64)
    for k in range(rows.shape[0]):
        indptr[rows[k] + 1] += 1
        indptr[columns[k] + 1] += 1
    for node in range(n_nodes):
        indptr[node + 1] += indptr[node]
    place = indptr[:-1].copy()
    indices, data = np.empty(indptr[-1], np.int64), np.empty(indptr[-1])
    for k in range(rows.shape[0]):
        i, j = rows[k], columns[k]
        indices[place[i]], data[place[i]] = j, weights[k]
        indices[place[j]], data[place[j]] = i, weights[k]
        place[i] += 1
        place[j] += 1
    return indptr, indices, data


@njit(cache=True, nogil=True)
def leaves_first(indptr, indices, values, n_columns):
    """Return, for each node, its place in an order from the leaves of the forest to its roots."""
    n_nodes = indptr.shape[0] - 1 + n_columns
    tree = _symmetric_rows(*heaviest_forest(indptr, indices, values, n_columns), n_nodes)
    sequence, parent = np.empty(n_nodes, np.int64), np.empty(n_nodes, np.int64)
    root_forest(
        tree[0], tree[1], tree[2], np.arange(n_nodes), np.full(n_nodes, -1, np.int64),
        sequence, parent, np.empty(n_nodes), np.empty(n_nodes),
    )  # fmt: skip
    place = np.empty(n_nodes, np.int64)
    for k in range(n_nodes):
        place[sequence[k]] = n_nodes - 1 - k
    return place


@njit(cache=True, nogil=True)
def factorize(indptr, indices, values, excess_rows, excess_columns):
    """Factorize incompletely; linear in the entries.

    Returns ``place``, the place of each node in the order of elimination, ``start``,
    ``later`` and ``weight``, the edges to later places as CSR rows, and ``pivot``.
    """
    n, m = excess_rows.shape[0], excess_columns.shape[0]
    place = leaves_first(indptr, indices, values, m)
    start = np.zeros(n + m + 1, np.int64)
    for i in range(n):
        for e in range(indptr[i], indptr[i + 1]):
            start[min(place[i], place[n + indices[e]]) + 1] += 1
    for k in range(n + m):
        start[k + 1] += start[k]
    free = start[:-1].copy()
    later, weight = np.empty(values.shape[0], np.int32), np.empty(values.shape[0])
    for i in range(n):
        for e in range(indptr[i], indptr[i + 1]):
            one, other = place[i], place[n + indices[e]]
            first = min(one, other)
            later[free[first]], weight[free[first]] = max(one, other), values[e]
            free[first] += 1
    pivot = np.empty(n + m)
    for i in range(n):
        pivot[place[i]] = excess_rows[i]
    for j in range(m):
        pivot[place[n + j]] = excess_columns[j]
    for k in range(n + m):
        # So far pivot[k] is the excess, including what earlier nodes passed on.
        excess, total = pivot[k], 0.0
        for e in range(start[k], start[k + 1]):
            total += weight[e]
        pivot[k] = total + excess
        if not pivot[k] > 0:
            pivot[k] = 1.0  # a component whose excess vanished is solved up to a constant
        for e in range(start[k], start[k + 1]):
            pivot[later[e]] += weight[e] * (excess / pivot[k])
    return place, start, later, weight, pivot


@njit(cache=True, nogil=True)
def substitute(factors, work):
    """Solve with M in place, the vector in the order of elimination; 4 nnz flops."""
    _, start, later, weight, pivot = factors
    for k in range(pivot.shape[0]):
        work[k] /= pivot[k]
        value = work[k]
        for e in range(start[k], start[k + 1]):
            work[later[e]] -= weight[e] * value
    for k in range(pivot.shape[0] - 1, -1, -1):
        total = 0.0
        for e in range(start[k], start[k + 1]):
            total += weight[e] * work[later[e]]
        work[k] -= total / pivot[k]
