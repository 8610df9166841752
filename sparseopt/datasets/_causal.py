r"""Linear structural equation models, and protein measurements with a known causal graph.

The simulations of

S. S. Saboksayr, G. Mateos, M. Tepper (2024). CoLiDE: Concomitant Linear DAG Estimation. ICLR.

Rows of X are samples of x = W' x + z, so that X = Z (I - W)^{-1}, with a random acyclic W
(n_features, n_features), W[i, j] being the effect of i on j, and independent noise z.
"""

from importlib import resources
from numbers import Integral, Real

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

SACHS_EDGES = """
    PKC-Raf PKC-Mek PKC-Jnk PKC-P38 PKC-PKA PKA-Raf PKA-Mek PKA-Erk PKA-Akt PKA-Jnk PKA-P38
    Raf-Mek Mek-Erk Erk-Akt Plcg-PIP2 Plcg-PIP3 PIP3-PIP2
"""


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 2, None, closed="left")],
        "graph": [StrOptions({"er", "sf"})],
        "edges_per_node": [Interval(Real, 0, None, closed="left")],
        "weight_range": ["array-like"],
        "noise": [StrOptions({"gaussian", "exponential", "laplace"})],
        "variance": [StrOptions({"equal", "non_equal"})],
        "noise_variance": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "random_state": ["random_state", np.random.Generator],
    },
    prefer_skip_nested_validation=True,
)
def make_linear_sem(
    n_samples=1000,
    n_features=20,
    *,
    graph="er",
    edges_per_node=2,
    weight_range=(0.5, 2.0),
    noise="gaussian",
    variance="equal",
    noise_variance=None,
    random_state=None,
):
    r"""Generate data from a linear structural equation model on a random acyclic graph.

    Each variable is a weighted sum of its causes, plus noise that is independent of all
    others: :math:`x = W^\top x + z` [1]_. The indices of the variables
    tell nothing about their order.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_features : int, default=20
        Number of variables d, at least 2.
    graph : {"er", "sf"}, default="er"
        "er": Erdős-Rényi; each pair of nodes is joined with the same probability, and a
        random order directs the edges. "sf": scale-free, by preferential attachment; each
        new node points to nodes that are chosen with probabilities proportional to their
        degrees, so that hubs are common effects.
    edges_per_node : float, default=2
        The k of names such as ER4: the expected number of edges is k d with "er", where
        :math:`k \le (d - 1) / 2`. With "sf" an integer, the number of edges from a new node.
    weight_range : pair of float, default=(0.5, 2.0)
        Range of the weights' absolute values, which are uniform; signs are random.
    noise : {"gaussian", "exponential", "laplace"}, default="gaussian"
        Law of the noise. Exponential noise has a mean equal to its standard deviation, the
        others are centred.
    variance : {"equal", "non_equal"}, default="equal"
        Whether the noise has the same variance in all variables.
    noise_variance : float or pair of float, default=None
        With ``variance="equal"`` the variance, 1 by default; otherwise the range from which
        the variances are drawn uniformly, (0.5, 10) by default.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    model : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries:

        X : ndarray of shape (n_samples, n_features)
            Samples.
        adjacency : ndarray of shape (n_features, n_features)
            The weights; ``adjacency[i, j]`` is the effect of i on j.
        noise_variances : ndarray of shape (n_features,)
            Variances of the noise.
        causal_order : ndarray of shape (n_features,)
            An order of the variables in which causes stand before effects.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    load_sachs : Measurements with a known graph.

    References
    ----------
    .. [1] S. S. Saboksayr, G. Mateos, M. Tepper (2024). CoLiDE: Concomitant Linear DAG
       Estimation. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_linear_sem
    >>> model = make_linear_sem(500, 10, noise="laplace", random_state=0)
    >>> model.X.shape, int(np.count_nonzero(model.adjacency))
    ((500, 10), 16)
    >>> noise = model.X - model.X @ model.adjacency
    >>> bool(np.all(np.abs(noise.var(axis=0) - 1) < 0.3))
    True
    """
    d = n_features
    _check_edges_per_node(graph, edges_per_node, d)
    low, high = _check_range(weight_range, "weight_range")
    equal = variance == "equal"
    if equal and noise_variance is not None and not isinstance(noise_variance, Real):
        raise ValueError(
            f"noise_variance must be a number with variance='equal', got {noise_variance!r}."
        )
    if not equal:
        given = (0.5, 10.0) if noise_variance is None else noise_variance
        smallest, largest = _check_range(given, "noise_variance")
    rng = _generator(random_state)
    # The draws are those of the published comparison, in its order.
    draw_graph = _draw_erdos_renyi if graph == "er" else _draw_scale_free
    forward, relabelled = draw_graph(d, edges_per_node, rng)
    edges = np.zeros((d, d), dtype=bool)
    edges[np.ix_(relabelled, relabelled)] = forward
    adjacency = edges * rng.uniform(low, high, (d, d)) * rng.choice([-1, 1], (d, d))
    if equal:
        variances = np.full(d, 1.0 if noise_variance is None else float(noise_variance))
    else:
        variances = rng.uniform(smallest, largest, d)
    Z = _draw_noise(noise, (n_samples, d), rng) * np.sqrt(variances)
    order = relabelled if graph == "er" else relabelled[::-1]
    return Bunch(
        X=_solve_in_order(adjacency, Z, order),
        adjacency=adjacency,
        noise_variances=variances,
        causal_order=order,
    )


@validate_params(
    {"return_X_y": ["boolean"], "as_frame": ["boolean"]}, prefer_skip_nested_validation=True
)
def load_sachs(*, return_X_y=False, as_frame=False):
    """Load the protein-signalling measurements of Sachs et al., with the consensus graph.

    Amounts of eleven phosphorylated proteins and phospholipids in single human immune cells,
    by flow cytometry: the 853 cells of the observational condition, in which no protein was
    inhibited or activated, on the raw scale. The graph is the consensus of 17 edges with
    which structure learning is usually compared; others of 18 to 20 edges are in use too.

    ==============   ==============
    Samples                     853
    Variables                    11
    Values           positive, real
    Edges                        17
    ==============   ==============

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(data, adjacency)``: the graph takes the place of a target.
    as_frame : bool, default=False
        Whether data and graph are pandas DataFrames with the variables' names.

    Returns
    -------
    sachs : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries:

        data : ndarray or DataFrame of shape (853, 11)
            Measurements.
        adjacency : ndarray or DataFrame of shape (11, 11)
            Consensus graph; ``adjacency[i, j]`` is 1 if i is a cause of j, else 0.
        feature_names : list of str
            Names of the variables.
        frame : DataFrame of shape (853, 11) or None
            The measurements; only with ``as_frame=True``.
        DESCR : str
            This description.

    (data, adjacency) : tuple
        Only with ``return_X_y=True``.

    See Also
    --------
    make_linear_sem : Simulated data with a known graph.

    Notes
    -----
    The measurements are the public supplementary data of [1]_. This copy is the part of the
    one in the Causal Discovery Toolbox (cdt 0.6.0, MIT licence); the notice is beside the file,
    in ``sparseopt/datasets/data/README.md``.

    References
    ----------
    .. [1] K. Sachs, O. Perez, D. Pe'er, D. A. Lauffenburger, G. P. Nolan (2005). Causal
       protein-signaling networks derived from multiparameter single-cell data. Science
       308(5721), 523-529.

    Examples
    --------
    >>> from sparseopt.datasets import load_sachs
    >>> sachs = load_sachs()
    >>> sachs.data.shape, int(sachs.adjacency.sum()), sachs.feature_names[:3]
    ((853, 11), 17, ['Raf', 'Mek', 'Plcg'])
    """
    file = resources.files("sparseopt.datasets") / "data" / "sachs.csv"
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    names = header.split(",")
    data = np.array([line.split(",") for line in lines], dtype=np.float64)
    adjacency = np.zeros((len(names), len(names)), dtype=int)
    for edge in SACHS_EDGES.split():
        cause, effect = edge.split("-")
        adjacency[names.index(cause), names.index(effect)] = 1
    frame = None
    if as_frame:
        import pandas as pd

        frame = data = pd.DataFrame(data, columns=names)
        adjacency = pd.DataFrame(adjacency, index=names, columns=names)
    if return_X_y:
        return data, adjacency
    return Bunch(
        data=data,
        adjacency=adjacency,
        feature_names=names,
        frame=frame,
        DESCR=load_sachs.__doc__,
    )


def _check_edges_per_node(graph, edges_per_node, n_features):
    if graph == "er" and 2 * edges_per_node > n_features - 1:
        raise ValueError(
            f"edges_per_node must be at most {(n_features - 1) / 2}, half the number of other "
            f"nodes, with graph='er', got {edges_per_node!r}."
        )
    if graph == "sf" and not isinstance(edges_per_node, Integral):
        raise ValueError(
            f"edges_per_node must be an integer with graph='sf', got {edges_per_node!r}."
        )


def _check_range(pair, name):
    values = np.asarray(pair)
    if (
        values.shape != (2,)
        or values.dtype.kind not in "iuf"
        or not (0 < values[0] <= values[1] < np.inf)
    ):
        raise ValueError(f"{name} must be a pair 0 < low <= high, got {pair!r}.")
    return float(values[0]), float(values[1])


def _generator(random_state):
    if random_state is np.random:
        random_state = None
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(2**31 - 1))
    return np.random.default_rng(random_state)


def _draw_erdos_renyi(d, k, rng):
    """Return the edges from smaller to larger places, and the node at each place."""
    return np.triu(rng.random((d, d)) < 2 * k / (d - 1), 1), rng.permutation(d)


def _draw_scale_free(d, k, rng):
    """Return the edges from larger to smaller places, and the node at each place."""
    degree = np.ones(d)
    edges = np.zeros((d, d), dtype=bool)
    for new in range(1, d):
        n_edges = min(int(k), new)
        share = degree[:new] / degree[:new].sum()
        hubs = rng.choice(new, n_edges, replace=False, p=share)
        edges[new, hubs] = True
        degree[hubs] += 1
        degree[new] += n_edges
    return edges, rng.permutation(d)


def _draw_noise(noise, shape, rng):
    """Return noise of variance one."""
    if noise == "gaussian":
        return rng.standard_normal(shape)
    if noise == "exponential":
        return rng.exponential(1.0, shape)
    return rng.laplace(0.0, 1 / np.sqrt(2), shape)


def _solve_in_order(adjacency, Z, order):
    """Return Z (I - W)^{-1} by substitution from causes to effects."""
    forward = np.eye(len(order)) - adjacency[np.ix_(order, order)]
    X = np.empty_like(Z)
    X[:, order] = solve_triangular(forward, Z[:, order].T, trans="T", unit_diagonal=True).T
    return X
