r"""Graphs with a few labelled nodes.

Data sets D and E of

J. Nutini, I. Laradji, M. Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
JMLR 23(131).
"""

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.neighbors import kneighbors_graph
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params


@validate_params(
    {
        "n_rows": [Interval(Integral, 1, None, closed="left")],
        "n_columns": [Interval(Integral, 1, None, closed="left")],
        "n_labelled": [Interval(Integral, 0, None, closed="left")],
        "weight": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_lattice_labels(n_rows=50, n_columns=50, *, n_labelled=100, weight=1e5, random_state=None):
    r"""Generate a lattice with values at a few random nodes.

    Each node is joined to the nodes beside, above and below it; some nodes have values
    :math:`10 N(0, 1)`. With the defaults and ``random_state=1`` it is data set D of [1]_.

    Parameters
    ----------
    n_rows, n_columns : int, default=50
        Size of the lattice. The node in a row and a column has the number
        ``column * n_rows + row``.
    n_labelled : int, default=100
        Number of nodes with a value.
    weight : float, default=1e5
        Weight of the edges.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    graph : csr_array of shape (n_nodes, n_nodes)
        Symmetric weights.
    y : ndarray of shape (n_nodes,)
        Values; NaN where there is none.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    sparseopt.optimize.GraphQuadratic.from_labels : The other values as a minimum.

    References
    ----------
    .. [1] J. Nutini, I. Laradji, M. Schmidt (2022). Let's Make Block Coordinate Descent
       Converge Faster. JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_lattice_labels
    >>> graph, y = make_lattice_labels(3, 2, n_labelled=2, weight=1.0, random_state=0)
    >>> graph.shape, graph.nnz, int(np.isnan(y).sum())
    ((6, 6), 14, 4)
    """
    n = n_rows * n_columns
    rng = check_random_state(random_state)
    labelled = _choose(n, n_labelled, rng)
    y = np.full(n, np.nan)
    y[labelled] = 10 * rng.standard_normal(n_labelled)
    node = np.arange(n).reshape(n_columns, n_rows)
    i = np.r_[node[:, :-1].ravel(), node[:-1].ravel()]
    j = np.r_[node[:, 1:].ravel(), node[1:].ravel()]
    graph = sparse.coo_array((np.full(i.size, float(weight)), (i, j)), shape=(n, n)).tocsr()
    return _symmetrized(graph), y


@validate_params(
    {
        "n_samples": [Interval(Integral, 2, None, closed="left")],
        "n_labelled": [Interval(Integral, 0, None, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_two_moons_graph(
    n_samples=2000, *, n_labelled=100, n_neighbors=5, noise=0.2, random_state=None
):
    r"""Generate the nearest-neighbour graph of two half circles with a few known classes.

    The half circles interleave as :func:`sklearn.datasets.make_moons`'s do, but classes and
    angles are random. Two samples are joined with weight one if either is among the nearest
    neighbours of the other. The defaults are data set E of [1]_.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of samples.
    n_labelled : int, default=100
        Number of samples whose class is given.
    n_neighbors : int, default=5
        Number of nearest neighbours.
    noise : float, default=0.2
        Standard deviation of the noise in each coordinate.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    graph : csr_array of shape (n_samples, n_samples)
        Symmetric weights.
    y : ndarray of shape (n_samples,)
        Given classes 1 and 2; -1 where the class is not given.
    X : ndarray of shape (n_samples, 2)
        Samples, those of the first class first.
    truth : ndarray of shape (n_samples,)
        All classes.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    sparseopt.semi_supervised.GraphLabelPropagation : Finds the classes that are not given.

    References
    ----------
    .. [1] J. Nutini, I. Laradji, M. Schmidt (2022). Let's Make Block Coordinate Descent
       Converge Faster. JMLR 23(131).

    Examples
    --------
    >>> from sparseopt.datasets import make_two_moons_graph
    >>> from sparseopt.semi_supervised import GraphLabelPropagation
    >>> graph, y, X, truth = make_two_moons_graph(random_state=0)
    >>> found = GraphLabelPropagation("precomputed").fit(graph, y).transduction_
    >>> bool((found == truth).mean() > 0.9)
    True
    """
    if n_neighbors >= n_samples:
        raise ValueError(
            f"n_neighbors must be smaller than n_samples={n_samples}, got {n_neighbors}."
        )
    rng = check_random_state(random_state)
    truth = np.sort(1 + (rng.random_sample(n_samples) >= 0.5))
    angle = np.pi * rng.random_sample(n_samples)
    upper = np.c_[np.cos(angle), np.sin(angle)]
    lower = np.c_[1 + np.cos(angle), 0.5 - np.sin(angle)]
    X = np.where((truth == 1)[:, None], upper, lower)
    X += noise * rng.standard_normal((n_samples, 2))
    labelled = _choose(n_samples, n_labelled, rng)
    y = np.full(n_samples, -1)
    y[labelled] = truth[labelled]
    graph = sparse.csr_array(kneighbors_graph(X, n_neighbors))
    return _symmetrized(graph), y, X, truth


def _choose(n, n_labelled, rng):
    if n_labelled > n:
        raise ValueError(f"n_labelled must be at most {n}, the number of nodes, got {n_labelled}.")
    return rng.choice(n, n_labelled, replace=False)


def _symmetrized(graph):
    graph = graph.maximum(graph.T).tocsr()
    graph.sort_indices()
    return graph
