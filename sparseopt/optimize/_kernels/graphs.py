"""Forests, colourings and elimination on sparse graphs, in Numba.

Graphs come as the rows of a CSR matrix without duplicates (``indptr``, ``indices``,
``data``), structurally symmetric; diagonal entries are no edges. Union-find costs
practically constant time an edge, colouring a pass over the colours for each node, and
everything else is linear in the edges it visits.
"""

import numpy as np
from numba import njit

CYCLE = -1


@njit(cache=True, nogil=True)
def asymmetry(indptr, indices, data):
    """Return the largest difference from the transpose, and whether its pattern is the same.

    Rows have to be sorted. Going through them in order meets the entries of each column in
    order, so that one pass compares all; it ends early if the patterns differ.
    """
    n = indptr.shape[0] - 1
    unseen = indptr[:-1].copy()  # the first entry of each row whose counterpart is to come
    largest = 0.0
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            mirror = unseen[j]
            if mirror == indptr[j + 1] or indices[mirror] != i:
                return largest, False
            unseen[j] += 1
            largest = max(largest, abs(data[k] - data[mirror]))
    return largest, True


@njit(cache=True, nogil=True)
def find_root(root, node):
    """Return the representative of a node in a union-find forest."""
    while root[node] != node:
        root[node] = root[root[node]]  # path halving
        node = root[node]
    return node


@njit(cache=True, nogil=True)
def select_forest(order, indptr, indices):
    """Return a mask of the nodes that, taken in ``order``, close no cycle."""
    n = indptr.shape[0] - 1
    root = np.arange(n)
    stamp = np.full(n, -1, np.int64)  # the last node that met the tree with this root
    chosen = np.zeros(n, np.bool_)
    for node in order:
        acyclic = True
        for k in range(indptr[node], indptr[node + 1]):
            neighbour = indices[k]
            if neighbour == node or not chosen[neighbour]:
                continue
            tree = find_root(root, neighbour)
            if stamp[tree] == node:
                acyclic = False
                break
            stamp[tree] = node
        if acyclic:
            chosen[node] = True
            for k in range(indptr[node], indptr[node + 1]):
                if chosen[indices[k]]:
                    root[find_root(root, indices[k])] = node
    return chosen


@njit(cache=True, nogil=True)
def partition_forests(order, indptr, indices):
    """Put each node, in ``order``, into the first forest in which it closes no cycle.

    One union-find serves all forests, since trees of different forests never join.
    """
    n = indptr.shape[0] - 1
    root = np.arange(n)
    stamp = np.full(n, -1, np.int64)
    closed = np.full(n + 1, -1, np.int64)  # the last node that would close a cycle there
    forest = np.full(n, -1, np.int64)
    for node in order:
        for k in range(indptr[node], indptr[node + 1]):
            neighbour = indices[k]
            if neighbour == node or forest[neighbour] < 0:
                continue
            tree = find_root(root, neighbour)
            if stamp[tree] == node:
                closed[forest[neighbour]] = node
            stamp[tree] = node
        own = 0
        while closed[own] == node:
            own += 1
        forest[node] = own
        for k in range(indptr[node], indptr[node + 1]):
            neighbour = indices[k]
            if neighbour != node and forest[neighbour] == own:
                root[find_root(root, neighbour)] = node
    return forest


@njit(cache=True, nogil=True)
def color_nodes(order, indptr, indices):
    """Give each node, in ``order``, the least used colour that no neighbour has."""
    n = indptr.shape[0] - 1
    color = np.full(n, -1, np.int64)
    used = np.zeros(n, np.int64)
    taken = np.full(n, -1, np.int64)  # the last node with a neighbour of this colour
    n_colors = 0
    for node in order:
        for k in range(indptr[node], indptr[node + 1]):
            if indices[k] != node and color[indices[k]] >= 0:
                taken[color[indices[k]]] = node
        best = n_colors
        for candidate in range(n_colors):
            if taken[candidate] != node and (best == n_colors or used[candidate] < used[best]):
                best = candidate
        if best == n_colors:
            n_colors += 1
        color[node] = best
        used[best] += 1
    return color


@njit(cache=True, nogil=True)
def root_forest(indptr, indices, data, nodes, position, sequence, parent, weight, pivot):
    """Order the forest induced by ``nodes`` from its roots to its leaves.

    ``position`` (one entry a node of the graph, all -1, restored on return) marks the
    members. Writes, for the k-th node of the order, the node ``sequence[k]``, its
    parent's place ``parent[k]`` (-1 for roots), the entry ``weight[k]`` that joins them
    and the diagonal entry ``pivot[k]``. Returns the number of nodes, or CYCLE.
    """
    for node in nodes:
        position[node] = -2  # a member that was not reached yet
    reached, acyclic = 0, True
    for start in nodes:
        if position[start] != -2 or not acyclic:
            continue
        sequence[reached], parent[reached], weight[reached] = start, -1, 0
        position[start] = reached
        current = reached
        reached += 1
        while current < reached and acyclic:
            node = sequence[current]
            pivot[current] = 0
            for k in range(indptr[node], indptr[node + 1]):
                neighbour = indices[k]
                place = position[neighbour]
                if neighbour == node:
                    pivot[current] = data[k]
                elif place == -2:
                    sequence[reached], parent[reached] = neighbour, current
                    weight[reached] = data[k]
                    position[neighbour] = reached
                    reached += 1
                elif place >= 0 and place != parent[current] and parent[place] != current:
                    acyclic = False
            current += 1
    for node in nodes:
        position[node] = -1
    return reached if acyclic else CYCLE


@njit(cache=True, nogil=True)
def factor_forest(parent, weight, pivot, rounding):
    """Eliminate from the leaves to the roots: A = (I + M) diag(pivot) (I + M)'.

    Replaces ``weight`` by the multipliers M and ``pivot`` by the pivots; returns the place
    of the first pivot that is not above its own rounding error, or -1. ``rounding`` is the
    unit roundoff; the errors of the children's pivots add up.
    """
    error = 2 * rounding * np.abs(pivot)
    for k in range(parent.shape[0] - 1, -1, -1):
        if not pivot[k] > error[k]:
            return k
        if parent[k] >= 0:
            multiplier = weight[k] / pivot[k]
            change = weight[k] * multiplier
            pivot[parent[k]] -= change
            error[parent[k]] += multiplier * multiplier * error[k] + 2 * rounding * abs(change)
            weight[k] = multiplier
    return -1


@njit(cache=True, nogil=True)
def solve_forest(parent, multiplier, pivot, h):
    """Solve for the columns of ``h`` (n_nodes, n_columns), in place, by two passes."""
    for k in range(parent.shape[0] - 1, -1, -1):
        p = parent[k]
        if p >= 0:
            for c in range(h.shape[1]):
                h[p, c] -= multiplier[k] * h[k, c]
    for k in range(parent.shape[0]):
        p = parent[k]
        for c in range(h.shape[1]):
            h[k, c] /= pivot[k]
            if p >= 0:
                h[k, c] -= multiplier[k] * h[p, c]


@njit(cache=True, nogil=True)
def apply_block_step(indptr, indices, data, sequence, d, x, gradient):
    """Add ``d`` to the rows ``sequence`` of ``x``, and A d to the gradient A x - b."""
    for k in range(sequence.shape[0]):
        node = sequence[k]
        for c in range(d.shape[1]):
            x[node, c] += d[k, c]
        for e in range(indptr[node], indptr[node + 1]):
            neighbour, entry = indices[e], data[e]
            for c in range(d.shape[1]):
                gradient[neighbour, c] += entry * d[k, c]
