"""Directed graphs as matrices: orders, cycles, and the cut to an acyclic graph.

Throughout, ``adjacency[i, j]`` is the weight of the edge from i to j, zero where there is none.
"""

import heapq

import numpy as np
from scipy import sparse

from sparseopt._core import check_nonnegative


def check_adjacency(adjacency, name="adjacency", *, acyclic=False):
    """Return an adjacency matrix as a finite, square, floating array.

    Parameters
    ----------
    adjacency : array-like, DataFrame or sparse container of shape (n_features, n_features)
        Weights or indicators; float32 stays, everything else becomes float64.
    name : str
        How messages call it.
    acyclic : bool, default=False
        Whether a cycle is refused.

    Returns
    -------
    adjacency : ndarray of shape (n_features, n_features)
        The argument itself where it has the right form.

    Raises
    ------
    ValueError
        If it is not a square, finite, real matrix, or has a cycle where none is accepted.
    """
    matrix = np.asarray(adjacency.toarray() if sparse.issparse(adjacency) else adjacency)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"{name} must be a square matrix, got shape {matrix.shape}.")
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be a real matrix of numbers, got dtype {matrix.dtype}.")
    matrix = matrix.astype(np.float32 if matrix.dtype == np.float32 else np.float64, copy=False)
    if not np.all(np.isfinite(matrix)):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
    if acyclic and not _edges_are_acyclic(matrix != 0):
        raise ValueError(f"{name} must be acyclic, got the cycle {_name_cycle(matrix != 0)}.")
    return matrix


def is_acyclic(adjacency):
    """Tell whether a directed graph has no cycle; an edge from a node to itself is one.

    Parameters
    ----------
    adjacency : array-like of shape (n_features, n_features)
        ``adjacency[i, j]`` is nonzero if there is an edge from i to j.

    Returns
    -------
    acyclic : bool
        Whether the graph is a DAG.

    Raises
    ------
    ValueError
        If the matrix is not square, real and finite.

    Examples
    --------
    >>> from sparseopt.causal import is_acyclic
    >>> is_acyclic([[0, 1], [0, 0]]), is_acyclic([[0, 1], [1, 0]])
    (True, False)
    """
    return _edges_are_acyclic(check_adjacency(adjacency) != 0)


def topological_order(adjacency):
    """Return an order of the nodes in which every edge goes forward.

    Of all such orders it is the one that takes the smallest index possible at each place.

    Parameters
    ----------
    adjacency : array-like of shape (n_features, n_features)
        ``adjacency[i, j]`` is nonzero if there is an edge from i to j.

    Returns
    -------
    order : ndarray of shape (n_features,)
        Indices of the nodes, causes before effects.

    Raises
    ------
    ValueError
        If the matrix is not square, real and finite, or if the graph has a cycle, which
        the message names.

    Examples
    --------
    >>> from sparseopt.causal import topological_order
    >>> topological_order([[0, 0, 0], [1, 0, 0], [1, 1, 0]]).tolist()
    [2, 1, 0]
    """
    return order_edges(check_adjacency(adjacency) != 0)


def order_edges(edges):
    """Do the work of :func:`topological_order` for a boolean matrix."""
    n_causes = edges.sum(axis=0)
    ready = np.flatnonzero(n_causes == 0).tolist()  # sorted, and so a heap
    order = []
    while ready:
        node = heapq.heappop(ready)
        order.append(node)
        for effect in np.flatnonzero(edges[node]).tolist():
            n_causes[effect] -= 1
            if n_causes[effect] == 0:
                heapq.heappush(ready, effect)
    if len(order) < len(edges):
        raise ValueError(f"adjacency must be acyclic, got the cycle {_name_cycle(edges)}.")
    return np.array(order)


def descendants(edges):
    """Return whether a path of at least one edge leads from i to j, for acyclic ``edges``."""
    reached = edges.copy()
    for node in order_edges(edges)[::-1]:
        reached[node] |= reached[edges[node]].any(axis=0)
    return reached


def threshold_to_dag(adjacency, threshold=0.3, *, required=None):
    """Delete the weakest edges of a weighted graph until it has no cycle.

    The diagonal and every weight of absolute value ``threshold`` or less become zero, and so
    do the edges that close a cycle with required ones. If cycles are left, the remaining edges
    are deleted from the weakest on, until there is none; equal absolute values are taken by
    row, then by column. A graph without cycles stays so when more is deleted, so that the
    number of deletions can be found by bisection.

    Parameters
    ----------
    adjacency : array-like of shape (n_features, n_features)
        ``adjacency[i, j]`` is the weight of the edge from i to j. It is not changed.
    threshold : float, default=0.3
        Largest absolute value that is deleted in any case.
    required : array-like of bool of shape (n_features, n_features) or list of pairs, \
            default=None
        Edges (i, j) that are kept whatever their weights. One whose weight is zero stays
        zero, but counts when cycles are sought.

    Returns
    -------
    dag : ndarray of shape (n_features, n_features)
        New matrix of the remaining weights; float32 stays, everything else becomes float64.

    Raises
    ------
    ValueError
        If the matrix is not square, real and finite, if the threshold is negative, or if the
        required edges form a cycle by themselves.

    Examples
    --------
    >>> from sparseopt.causal import threshold_to_dag
    >>> threshold_to_dag([[0, 0.9, 0.1], [0.4, 0, 0.5], [0, 0, 0]])
    array([[0. , 0.9, 0. ],
           [0. , 0. , 0.5],
           [0. , 0. , 0. ]])
    """
    weights = check_adjacency(adjacency)
    threshold = check_nonnegative(threshold, "threshold")
    kept = _check_required(required, len(weights))
    size = np.abs(weights)
    optional = (size > threshold) & ~kept & ~descendants(kept).T
    np.fill_diagonal(optional, False)
    rows, columns = np.nonzero(optional)  # by row, then by column: the sort below is stable
    weakest_first = np.argsort(size[rows, columns], kind="stable")
    rows, columns = rows[weakest_first], columns[weakest_first]
    n_deleted = _count_deletions(kept, rows, columns)
    kept[rows[n_deleted:], columns[n_deleted:]] = True
    return np.where(kept, weights, weights.dtype.type(0))


def _count_deletions(kept, rows, columns):
    """Return the least number of leading edges whose deletion leaves no cycle."""
    fewest, most = 0, rows.size
    while fewest < most:
        middle = (fewest + most) // 2
        edges = kept.copy()
        edges[rows[middle:], columns[middle:]] = True
        if _edges_are_acyclic(edges):
            most = middle
        else:
            fewest = middle + 1
    return most


def _check_required(required, n_features):
    """Return required edges as a new boolean matrix without cycles."""
    shape = (n_features, n_features)
    kept = np.zeros(shape, dtype=bool)
    if required is None:
        return kept
    given = np.asarray(required.toarray() if sparse.issparse(required) else required)
    if given.dtype == bool and given.shape == shape:
        kept[given] = True
    elif given.size:
        if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
            raise ValueError(
                f"required must be a boolean matrix of shape {shape} or a list of pairs of "
                f"indices, got an array of shape {given.shape} and dtype {given.dtype}."
            )
        if given.min() < 0 or given.max() >= n_features:
            raise ValueError(
                f"required must hold indices from 0 to {n_features - 1}, got {given.min()} to "
                f"{given.max()}."
            )
        kept[given[:, 0], given[:, 1]] = True
    if not _edges_are_acyclic(kept):
        raise ValueError(f"required edges form the cycle {_name_cycle(kept)}.")
    return kept


def _left_after_peeling(edges):
    """Return the nodes left when those without causes are removed again and again."""
    left = np.ones(len(edges), dtype=bool)
    n_causes = edges.sum(axis=0)
    while True:
        first = np.flatnonzero(left & (n_causes == 0))
        if first.size == 0:
            return left
        left[first] = False
        n_causes -= edges[first].sum(axis=0)


def _edges_are_acyclic(edges):
    return not _left_after_peeling(edges).any()


def _name_cycle(edges):
    """Return one cycle as text; every node left by peeling has a cause that is left."""
    left = _left_after_peeling(edges)
    walk = [int(np.argmax(left))]
    while True:
        cause = int(np.argmax(edges[:, walk[-1]] & left))
        if cause in walk:
            cycle = walk[walk.index(cause) :] + [cause]
            return " -> ".join(map(str, reversed(cycle)))
        walk.append(cause)
