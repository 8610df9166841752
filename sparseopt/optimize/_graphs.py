r"""Forests, colourings and exact solves on the graph of a sparse symmetric matrix.

Reference: Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge
Faster. JMLR 23(131), section on message passing. A block of variables whose induced graph
is a forest can be solved exactly in linear time,

    minimise  1/2 d' A_bb d - h' d,   A (n, n) sparse, symmetric, positive definite on b,

by eliminating from the leaves to the roots and substituting back (Gaussian belief
propagation on a tree, or a Cholesky factorization without fill).
"""

import numpy as np
from scipy import sparse

from sparseopt.optimize._kernels import graphs as kernels

SYMMETRY_TOLERANCE = 1e-10  # relative to the largest entry; 1e-5 for float32


def check_symmetric(graph, name="graph", *, nonnegative=False):
    """Return a symmetric matrix as a sorted CSR array of floats without stored zeros.

    Parameters
    ----------
    graph : array-like or sparse container of shape (n, n)
        Adjacency or system matrix; float32 stays, everything else becomes float64.
    name : str
        How messages call it.
    nonnegative : bool, default=False
        Whether negative entries are refused.

    Raises
    ------
    ValueError
        If it is not a square, finite, symmetric real matrix.
    """
    if not sparse.issparse(graph):
        graph = np.asarray(graph)
    if graph.ndim != 2 or graph.shape[0] != graph.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {graph.shape}.")
    if graph.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be a real matrix of numbers, got dtype {graph.dtype}.")
    dtype = np.float32 if graph.dtype == np.float32 else np.float64
    rows = sparse.csr_array(graph, dtype=dtype)
    if not np.all(np.isfinite(rows.data)):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
    if not (rows.has_canonical_format and np.all(rows.data)):
        rows = rows.copy()  # may share its arrays with the argument
        rows.sum_duplicates()
        rows.eliminate_zeros()
    if nonnegative and rows.nnz and rows.data.min() < 0:
        raise ValueError(f"{name} must have entries >= 0, got {rows.data.min()!r}.")
    return _check_equal_to_transpose(rows, name)


def _check_equal_to_transpose(rows, name):
    largest, same_pattern = kernels.asymmetry(rows.indptr, rows.indices, rows.data)
    if not same_pattern:  # or there are entries so small that the other side lacks them
        transposed = rows.T.tocsr()
        largest = np.max(np.abs((rows - transposed).data), initial=0.0)
    tolerance = 1e-5 if rows.dtype == np.float32 else SYMMETRY_TOLERANCE
    if largest > tolerance * np.max(np.abs(rows.data), initial=0.0):
        raise ValueError(
            f"{name} must be symmetric, got entries that differ by {largest:.3g} from the "
            "transpose. Symmetrise it, for instance with 0.5 * (graph + graph.T)."
        )
    if not same_pattern:
        rows = (0.5 * (rows + transposed)).tocsr()
        rows.sort_indices()
    return rows


def greedy_forest(scores, graph):
    """Choose nodes by decreasing score, leaving out those that would close a cycle.

    The chosen nodes induce a forest that is maximal: each node left out closes a cycle.
    As a block of variables of a sparse quadratic it can be minimised exactly in linear time,
    see :func:`forest_solve`. Random scores give a random forest.

    Parameters
    ----------
    scores : array-like of shape (n_nodes,)
        One score a node, such as the size of its gradient. Ties are broken by the index.
    graph : {array-like, sparse matrix} of shape (n_nodes, n_nodes)
        Symmetric matrix whose nonzero entries off the diagonal are the edges.

    Returns
    -------
    nodes : ndarray of shape (n_chosen,)
        The chosen nodes, in increasing order.

    Raises
    ------
    ValueError
        If ``graph`` is not square and symmetric, or ``scores`` do not fit or are NaN.

    See Also
    --------
    tree_partition : All nodes in a few forests.

    References
    ----------
    Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
    JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import greedy_forest
    >>> triangle = np.ones((3, 3)) - np.eye(3)
    >>> greedy_forest([1.0, 3.0, 2.0], triangle)
    array([1, 2])
    """
    graph = check_symmetric(graph)
    if np.iscomplexobj(scores):
        raise ValueError("scores must be real, got complex values.")
    scores = np.asarray(scores, dtype=float)
    if scores.shape != (graph.shape[0],):
        raise ValueError(
            f"scores must have shape ({graph.shape[0]},), one a node, got {scores.shape}."
        )
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN.")
    order = np.argsort(-scores, kind="stable")
    return np.flatnonzero(kernels.select_forest(order, graph.indptr, graph.indices))


def color_graph(graph, *, order="degree"):
    """Colour a graph so that neighbours differ, with colours of similar size.

    Each node receives the colour least used so far among those that no neighbour has, and
    a new one if there is none. The matrix blocks of one colour are diagonal.

    Parameters
    ----------
    graph : {array-like, sparse matrix} of shape (n_nodes, n_nodes)
        Symmetric matrix whose nonzero entries off the diagonal are the edges.
    order : {"degree", "natural"} or array-like of shape (n_nodes,), default="degree"
        In which order nodes are coloured: by decreasing number of neighbours, as
        numbered, or as a given permutation says.

    Returns
    -------
    colors : ndarray of shape (n_nodes,)
        Colour of each node, numbered from 0; at most the largest degree plus one colours.

    Raises
    ------
    ValueError
        If ``graph`` is not square and symmetric, or for an unknown ``order``.

    See Also
    --------
    tree_partition : Fewer and larger blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import color_graph
    >>> path = np.eye(4, k=1) + np.eye(4, k=-1)
    >>> color_graph(path, order="natural")
    array([0, 1, 0, 1])
    """
    graph = check_symmetric(graph)
    return kernels.color_nodes(_node_order(order, graph), graph.indptr, graph.indices)


def tree_partition(graph, *, order="degree"):
    """Partition the nodes of a graph into forests.

    Each node joins the first forest in which it closes no cycle.

    Parameters
    ----------
    graph : {array-like, sparse matrix} of shape (n_nodes, n_nodes)
        Symmetric matrix whose nonzero entries off the diagonal are the edges.
    order : {"degree", "natural"} or array-like of shape (n_nodes,), default="degree"
        In which order nodes are placed: by decreasing number of neighbours, as numbered,
        or as a given permutation says.

    Returns
    -------
    forests : ndarray of shape (n_nodes,)
        Number of the forest of each node, from 0.

    Raises
    ------
    ValueError
        If ``graph`` is not square and symmetric, or for an unknown ``order``.

    See Also
    --------
    greedy_forest : A single large forest.
    forest_solve : The exact solve on such a block.

    References
    ----------
    Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
    JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import tree_partition
    >>> triangle = np.ones((3, 3)) - np.eye(3)
    >>> tree_partition(triangle)
    array([0, 0, 1])
    """
    graph = check_symmetric(graph)
    return kernels.partition_forests(_node_order(order, graph), graph.indptr, graph.indices)


def _node_order(order, graph):
    n = graph.shape[0]
    if isinstance(order, str):
        if order == "natural":
            return np.arange(n)
        if order == "degree":
            degree = np.diff(graph.indptr) - (graph.diagonal() != 0)
            return np.argsort(-degree, kind="stable")
        raise ValueError(f'order must be "degree", "natural" or a permutation, got {order!r}.')
    given = np.asarray(order)
    if given.shape != (n,) or not np.array_equal(np.sort(given), np.arange(n)):
        raise ValueError(f"order must be a permutation of the {n} nodes, got {given!r}.")
    return given.astype(np.int64)


def forest_solve(A, b, indices=None):
    """Solve a symmetric positive definite system on a forest, exactly and in linear time.

    Parameters
    ----------
    A : {array-like, sparse matrix} of shape (n, n)
        Symmetric matrix; the graph of its nonzero entries, restricted to ``indices``,
        must be a forest and the restricted matrix positive definite.
    b : array-like of shape (n,) or (n, n_columns)
        Right-hand sides, for all variables, in the dtype of ``A``; only the rows
        ``indices`` are used.
    indices : array-like of shape (n_block,), optional
        Variables to solve for, with the others held at zero. All by default.

    Returns
    -------
    x : ndarray of shape (n_block,) or (n_block, n_columns)
        Solution of ``A[indices][:, indices] x = b[indices]``, in the order of ``indices``.

    Raises
    ------
    ValueError
        If the block's graph has a cycle, the block is not positive definite, ``A`` is not
        symmetric, or shapes and indices do not fit.

    See Also
    --------
    greedy_forest, tree_partition : Where forests come from.

    References
    ----------
    Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
    JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import forest_solve
    >>> A = 2 * np.eye(3) - np.eye(3, k=1) - np.eye(3, k=-1)
    >>> forest_solve(A, [0.0, 0.0, 4.0])
    array([1., 2., 3.])
    """
    A = check_symmetric(A, "A")
    n = A.shape[0]
    if sparse.issparse(b) or np.iscomplexobj(b):
        raise ValueError("b must be a dense real array.")
    b = np.asarray(b, dtype=A.dtype)
    if b.ndim not in (1, 2) or b.shape[0] != n:
        raise ValueError(f"b must have {n} rows, as many as A, got shape {b.shape}.")
    nodes = np.arange(n) if indices is None else _check_indices(indices, n)
    forest = RootedForest(A, nodes)
    h = b[forest.sequence]
    if not np.all(np.isfinite(h)):
        raise ValueError("b must be finite, got NaN or infinite entries.")
    place = np.empty(n, np.int64)
    place[nodes] = np.arange(nodes.size)
    x = np.empty_like(h)
    x[place[forest.sequence]] = forest.solve(h)
    return x


def _check_indices(indices, n):
    nodes = np.asarray(indices)
    if nodes.size == 0:
        return np.empty(0, np.int64)
    if nodes.ndim != 1 or nodes.dtype.kind not in "iu":
        raise ValueError(f"indices must be a list of integers, got {nodes!r}.")
    if nodes.min() < 0 or nodes.max() >= n:
        raise ValueError(f"indices must be between 0 and {n - 1}, got {nodes!r}.")
    if np.unique(nodes).size != nodes.size:
        raise ValueError(f"indices must not repeat, got {nodes!r}.")
    return nodes.astype(np.int64)


class RootedForest:
    """A factorized forest block of a symmetric CSR matrix.

    Parameters
    ----------
    A : csr_array of shape (n, n)
        As :func:`check_symmetric` returns it.
    nodes : ndarray of shape (n_block,)
        Distinct nodes whose induced graph is a forest.
    position : ndarray of shape (n,), optional
        Work space of -1, restored; worth keeping where many forests are made.

    Attributes
    ----------
    sequence : ndarray of shape (n_block,)
        The nodes, roots first.
    """

    def __init__(self, A, nodes, position=None):
        if position is None:
            position = np.full(A.shape[0], -1, np.int64)
        self.sequence = np.empty(nodes.size, np.int64)
        self._parent = np.empty(nodes.size, np.int64)
        self._multiplier = np.empty(nodes.size, A.dtype)
        self._pivot = np.empty(nodes.size, A.dtype)
        reached = kernels.root_forest(
            A.indptr, A.indices, A.data, nodes, position,
            self.sequence, self._parent, self._multiplier, self._pivot,
        )  # fmt: skip
        if reached == kernels.CYCLE:
            raise ValueError(
                "The graph of A restricted to indices must be a forest, but it has a cycle."
            )
        rounding = self._pivot.dtype.type(0.5) * np.finfo(self._pivot.dtype).eps
        failed = kernels.factor_forest(self._parent, self._multiplier, self._pivot, rounding)
        if failed >= 0:
            raise ValueError(
                "A restricted to indices must be positive definite, beyond rounding errors, but "
                f"elimination met the pivot {self._pivot[failed]:.3g} at variable "
                f"{self.sequence[failed]}."
            )

    def solve(self, h):
        """Return the solution for right-hand sides in the order of ``sequence``."""
        solution = np.array(h, dtype=self._pivot.dtype, order="C")
        columns = solution[:, None] if solution.ndim == 1 else solution
        kernels.solve_forest(self._parent, self._multiplier, self._pivot, columns)
        return solution
