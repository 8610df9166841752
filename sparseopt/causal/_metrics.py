"""How far an estimated directed acyclic graph is from the true one.

The structural intervention distance follows

J. Peters, P. Bühlmann (2015). Structural Intervention Distance for Evaluating Causal Graphs.
Neural Computation 27(3),

and completed partially directed graphs

D. M. Chickering (1995). A Transformational Characterization of Equivalent Bayesian Network
Structures. UAI.
"""

import numpy as np
from sklearn.utils import Bunch

from sparseopt.causal._graphs import check_adjacency, order_edges
from sparseopt.causal._kernels import adjustment


def dag_to_cpdag(adjacency):
    """Return the graph that stands for all DAGs with the same conditional independences.

    An edge keeps its direction if it has the same one in each of these DAGs, and loses it
    otherwise. Observations of Gaussian variables with noise of unknown variances tell no
    more than this graph.

    Parameters
    ----------
    adjacency : array-like of shape (n_features, n_features)
        ``adjacency[i, j]`` is nonzero if there is an edge from i to j; no cycles.

    Returns
    -------
    cpdag : ndarray of int of shape (n_features, n_features)
        A directed edge from i to j has ``cpdag[i, j] = 1`` and ``cpdag[j, i] = 0``; an
        undirected one has 1 in both places.

    Raises
    ------
    ValueError
        If the matrix is not square, real and finite, or if the graph has a cycle.

    References
    ----------
    .. [1] D. M. Chickering (1995). A Transformational Characterization of Equivalent Bayesian
       Network Structures. UAI.

    Examples
    --------
    >>> from sparseopt.causal import dag_to_cpdag
    >>> dag_to_cpdag([[0, 1, 0], [0, 0, 0], [0, 1, 0]])  # two causes of one effect
    array([[0, 1, 0],
           [0, 0, 0],
           [0, 1, 0]])
    >>> dag_to_cpdag([[0, 1, 0], [0, 0, 1], [0, 0, 0]])  # a chain
    array([[0, 1, 0],
           [1, 0, 1],
           [0, 1, 0]])
    """
    return _complete(check_adjacency(adjacency, acyclic=True) != 0)


def shd(true, estimate):
    """Return the structural Hamming distance between two DAGs.

    It is the number of edges to add, delete or reverse; a reversal counts once.

    Parameters
    ----------
    true, estimate : array-like of shape (n_features, n_features)
        ``[i, j]`` is nonzero if there is an edge from i to j; no cycles.

    Returns
    -------
    distance : int
        At least 0, at most ``n_features * (n_features - 1) / 2``.

    Raises
    ------
    ValueError
        If the matrices are not square, real, finite and of the same shape, or if a graph has
        a cycle.

    See Also
    --------
    dag_metrics : This and other figures at once.

    Examples
    --------
    >>> from sparseopt.causal import shd
    >>> shd([[0, 1, 1], [0, 0, 0], [0, 0, 0]], [[0, 0, 1], [1, 0, 1], [0, 0, 0]])
    2
    """
    return _count_differing_pairs(*_check_pair(true, estimate))


def shd_cpdag(true, estimate):
    """Return the structural Hamming distance between the equivalence classes of two DAGs.

    It is the number of pairs of nodes that are joined by different marks in the two graphs of
    :func:`dag_to_cpdag`: no edge, an edge in one of the directions, or an undirected one.

    Parameters
    ----------
    true, estimate : array-like of shape (n_features, n_features)
        ``[i, j]`` is nonzero if there is an edge from i to j; no cycles.

    Returns
    -------
    distance : int
        Zero exactly if the graphs are equivalent.

    Raises
    ------
    ValueError
        As :func:`shd`.

    Examples
    --------
    >>> from sparseopt.causal import shd_cpdag
    >>> shd_cpdag([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    0
    """
    true, estimate = _check_pair(true, estimate)
    return _count_differing_pairs(_complete(true), _complete(estimate))


def sid(true, estimate):
    r"""Return the structural intervention distance of an estimated DAG.

    It is the number of ordered pairs (i, j) for which the estimated graph gives a wrong
    distribution of j under an intervention on i, though fed with the true distribution of
    the observations [1]_: adjusting for the causes that it names for i is not valid in the
    true graph, or it names j a cause of i although j is an effect.

    Unlike :func:`shd` it is not symmetric, and a superfluous edge that fits the true order
    costs nothing.

    Parameters
    ----------
    true, estimate : array-like of shape (n_features, n_features)
        ``[i, j]`` is nonzero if there is an edge from i to j; no cycles.

    Returns
    -------
    distance : int
        At least 0, at most ``n_features * (n_features - 1)``.

    Raises
    ------
    ValueError
        As :func:`shd`.

    Notes
    -----
    For each i three searches settle all j at once: with m edges and d nodes the whole costs
    O(d (d + m)).

    References
    ----------
    .. [1] J. Peters, P. Bühlmann (2015). Structural Intervention Distance for Evaluating Causal
       Graphs. Neural Computation 27(3).

    Examples
    --------
    >>> from sparseopt.causal import sid
    >>> chain = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    >>> sid(chain, [[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    0
    >>> sid(chain, [[0, 0, 0], [0, 0, 0], [0, 0, 0]])
    3
    """
    return _count_wrong_adjustments(*_check_pair(true, estimate))


def dag_metrics(true, estimate):
    """Compare an estimated DAG with the true one.

    Parameters
    ----------
    true, estimate : array-like of shape (n_features, n_features)
        ``[i, j]`` is nonzero if there is an edge from i to j; no cycles.

    Returns
    -------
    metrics : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries, of which the rates count a reversed edge as
        a wrong one:

        shd : int
            Structural Hamming distance, ``extra + missing + reversed``.
        shd_cpdag : int
            The same between the equivalence classes.
        sid : int
            Structural intervention distance.
        fdr : float
            Share of the estimated edges that are wrong; 0 if there are none.
        tpr : float
            Share of the true edges that are found; 1 if there are none.
        fpr : float
            Wrong edges over the number of pairs that no true edge joins, or over one if an edge
            joins every pair. Reversed edges can bring it above one.
        f1 : float
            Harmonic mean of ``1 - fdr`` and ``tpr``; 1 if neither graph has an edge.
        nnz, nnz_true : int
            Number of estimated and of true edges.
        extra, missing, reversed : int
            Number of estimated edges between nodes that no true edge joins, of true edges
            between nodes that no estimated one joins, and of edges in the wrong direction.

    Raises
    ------
    ValueError
        If the matrices are not square, real, finite and of the same shape, or if a graph has
        a cycle.

    See Also
    --------
    shd : Structural Hamming distance alone.
    shd_cpdag : The same between equivalence classes.
    sid : Structural intervention distance alone.

    Examples
    --------
    >>> from sparseopt.causal import dag_metrics
    >>> metrics = dag_metrics([[0, 1, 1], [0, 0, 0], [0, 0, 0]], [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    >>> metrics.shd, metrics.reversed, metrics.tpr
    (1, 1, 0.5)
    """
    true, estimate = _check_pair(true, estimate)
    n_pairs = len(true) * (len(true) - 1) // 2
    nnz, nnz_true = int(np.count_nonzero(estimate)), int(np.count_nonzero(true))
    right = int(np.count_nonzero(true & estimate))
    reversed_edges = int(np.count_nonzero(true & estimate.T))
    extra = nnz - right - reversed_edges
    missing = nnz_true - right - reversed_edges
    wrong = extra + reversed_edges
    return Bunch(
        shd=extra + missing + reversed_edges,
        shd_cpdag=_count_differing_pairs(_complete(true), _complete(estimate)),
        sid=_count_wrong_adjustments(true, estimate),
        fdr=wrong / max(nnz, 1),
        tpr=right / nnz_true if nnz_true else 1.0,
        fpr=wrong / max(n_pairs - nnz_true, 1),
        f1=2 * right / (nnz + nnz_true) if nnz + nnz_true else 1.0,
        nnz=nnz,
        nnz_true=nnz_true,
        extra=extra,
        missing=missing,
        reversed=reversed_edges,
    )


def _check_pair(true, estimate):
    """Return the edges of two DAGs over the same nodes as boolean matrices."""
    true = check_adjacency(true, "true", acyclic=True)
    estimate = check_adjacency(estimate, "estimate", acyclic=True)
    if true.shape != estimate.shape:
        raise ValueError(
            f"true and estimate must have the same shape, got {true.shape} and {estimate.shape}."
        )
    return true != 0, estimate != 0


def _count_differing_pairs(first, second):
    differ = first != second
    return int(np.count_nonzero(np.triu(differ | differ.T)))


def _complete(edges):
    """Return the completed partially directed graph by labelling the edges in order.

    The edges into a node are labelled together, after those into its causes. What the last of
    its causes is like decides whether all of them keep their directions.
    """
    order = order_edges(edges)
    place = np.argsort(order)
    compelled = np.zeros_like(edges)
    for effect in order:
        causes = edges[:, effect]
        if not causes.any():
            continue
        last = np.argmax(np.where(causes, place, -1))
        above = compelled[:, last]
        unrelated = causes & ~edges[:, last]
        unrelated[last] = False
        all_compelled = (above & ~causes).any() or unrelated.any()
        compelled[:, effect] = causes if all_compelled else above
    return (edges | (edges & ~compelled).T).astype(int)


def _count_wrong_adjustments(true, estimate):
    return int(
        adjustment.count_wrong_adjustments(*_edge_lists(true), *_edge_lists(true.T), estimate)
    )


def _edge_lists(edges):
    """Return, for each row, where its list begins, and the columns of all rows."""
    starts = np.zeros(len(edges) + 1, dtype=np.int64)
    np.cumsum(edges.sum(axis=1), out=starts[1:])
    return starts, np.nonzero(edges)[1]
