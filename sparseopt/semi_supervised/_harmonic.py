r"""Labels that spread over a graph: one linear system for all classes.

Reference: Zhu, Ghahramani, Lafferty (2003). Semi-supervised Learning Using Gaussian Fields
and Harmonic Functions. ICML. For weights W (n, n), symmetric and >= 0,

    minimise  1/4 sum_ij W_ij ||F_i - F_j||^2   with F_l = Y_l given on labelled nodes,

F (n, n_classes). On the free nodes f this is A F_f = W_fl Y_l, A = (diag(W 1) - W)_ff, a
symmetric M-matrix that is positive definite if each component of the graph holds a
label. Each F_i is a mean of its neighbours', so F stays within the range of Y (maximum
principle). Three solvers: sparse LU, conjugate gradients (``_conjugate_gradients``), tree
block descent (:func:`sparseopt.optimize.tree_block_descent`).
"""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree, reverse_cuthill_mckee
from scipy.sparse.linalg import splu

from sparseopt._core import Progress, iterate
from sparseopt.optimize import GraphQuadratic, tree_block_descent
from sparseopt.optimize._graphs import RootedForest
from sparseopt.semi_supervised._conjugate_gradients import solve_laplacian
from sparseopt.semi_supervised._kernels import cpu as kernels

LARGEST_DIRECT = 5000  # free nodes up to which "auto" factorizes
UNEVEN = 1.25  # deviation of the weights' logarithms that decides about the order
LARGEST_SAMPLE = 100_000  # of weights to measure it
SMALLEST_WEIGHT = 1e-150  # relative to the largest; the square of less would vanish
ROUNDING = 1e-10  # relative residual that no tolerance asks a factorization to improve


def reach(graph, labelled):
    """Return a mask of the nodes whose component of the graph holds a label."""
    return kernels.reach(graph.indptr, graph.indices, labelled)


def propagate_labels(
    graph, labelled, Y, reached, *, solver, tol, max_iter, n_jobs=None, callback=None
):
    """Spread the rows ``Y`` of the nodes ``labelled`` over a graph.

    Parameters
    ----------
    graph : csr_array of shape (n, n)
        Symmetric, >= 0, without stored zeros; loops have no effect.
    labelled : ndarray of shape (n_labelled,)
        Labelled nodes.
    Y : ndarray of shape (n_labelled, n_classes)
        Their values.
    reached : ndarray of shape (n,)
        Where labels come, see :func:`reach`.
    solver : {"auto", "cg", "direct", "tree-bcd"}
        How the linear system is solved.
    tol : float
        Relative residual of the iterative solvers.
    max_iter : int
        Largest number of their iterations.
    n_jobs : int, optional
        Groups of classes solved at once by "cg".
    callback : callable, optional
        Called as ``callback(intermediate_result=...)`` with ``x`` of shape (n, n_classes).

    Returns
    -------
    result : OptimizeResult
        ``x`` (n, n_classes), zero on nodes out of reach; ``relative_residual``, ``nit``,
        ``success``, ``status``, ``message``, ``history``.

    Raises
    ------
    ValueError
        If the weights differ too much for double precision.
    """
    graph = _of_order_one(graph)
    n_free = np.count_nonzero(reached) - labelled.size
    if solver == "auto" or n_free == 0:
        solver = "direct" if n_free <= LARGEST_DIRECT else "cg"
    is_free = reached.copy()
    is_free[labelled] = False
    if solver == "cg":
        order = _elimination_order(graph)
        order = order[is_free[order]]
    else:
        order = np.flatnonzero(is_free)
    low, high = Y.min(axis=0), Y.max(axis=0)

    def expand(x):
        # The exact solution lies in the range of Y; so does its nearest neighbour in there.
        F = np.zeros((graph.shape[0], Y.shape[1]))
        F[labelled] = Y
        F[order] = np.clip(x, low, high)
        return F

    def notify(intermediate_result):
        intermediate_result.x = expand(intermediate_result.x)
        callback(intermediate_result=intermediate_result)

    system = FreeNodes(graph, order, labelled, Y, padded=solver == "cg")
    solve = {"direct": _solve_direct, "cg": solve_laplacian, "tree-bcd": _solve_trees}[solver]
    result = solve(system, tol, max_iter, n_jobs, notify if callback is not None else None)
    result.x = expand(result.x)
    return result


def _of_order_one(graph):
    """Return the graph in units, a power of two, in which no square over- or underflows.

    The solution does not depend on the unit.
    """
    data = graph.data.astype(np.float64, copy=False)
    largest = np.max(data, initial=0.0)
    if np.min(data, initial=np.inf) < SMALLEST_WEIGHT * largest:
        raise _unresolved(f"the smallest is {np.min(data):.3g}, the largest {largest:.3g}")
    data = np.ldexp(data, -np.frexp(largest)[1])
    return sparse.csr_array((data, graph.indices, graph.indptr), shape=graph.shape)


def _unresolved(what):
    return ValueError(
        f"The weights of the graph differ too much for double precision: {what}. Drop the "
        "negligible ones, or label a node of each part that they alone connect."
    )


def _elimination_order(graph):
    """Return the order of the nodes in which the preconditioner eliminates them.

    Neighbours close together in memory make a product several times faster. Where weights
    differ much, it matters more to eliminate the tree of the heaviest edges from its leaves,
    which is exact on the tree.
    """
    some = graph.data[:: max(1, graph.nnz // LARGEST_SAMPLE)]
    if np.std(np.log(some)) <= UNEVEN:
        return reverse_cuthill_mckee(graph, symmetric_mode=True).astype(np.int64)
    tree = -minimum_spanning_tree(-graph)
    tree = tree + tree.T
    matrix = sparse.csr_array(sparse.diags_array(tree.sum(axis=1) + graph.data.max()) - tree)
    matrix.sort_indices()
    return RootedForest(matrix, np.arange(graph.shape[0])).sequence[::-1].copy()


class FreeNodes:
    """The system A x = b among the free nodes, in a given order.

    Attributes
    ----------
    start, middle, indices, weights : ndarray
        Rows of W as :mod:`sparseopt.semi_supervised._kernels.cpu` describes them.
    degree : ndarray of shape (n_free,)
        Diagonal of A.
    b : ndarray of shape (n_free, n_classes)
        Right-hand sides.
    """

    def __init__(self, graph, order, labelled, Y, *, padded):
        n_free = order.size
        integers = np.int32 if 2 * graph.nnz < 2**31 else np.int64
        place = np.empty(graph.shape[0], integers)
        place[order] = np.arange(n_free)
        place[labelled] = -1 - np.arange(labelled.size)
        below, above = np.zeros(n_free, np.int64), np.zeros(n_free, np.int64)
        kernels.count_neighbours(graph.indptr, graph.indices, order, place, below, above)
        if padded:
            below += below % 2
            above += above % 2
        self.start = np.r_[0, np.cumsum(below + above)]
        self.middle = self.start[:-1] + below
        self.indices = np.repeat(np.arange(n_free, dtype=integers), below + above)
        self.weights = np.zeros(self.indices.size)
        self.degree = np.zeros(n_free)
        self.b = np.zeros((n_free, Y.shape[1]))
        kernels.arrange(
            graph.indptr, graph.indices, graph.data, order, place, Y, self.start[:-1].copy(),
            self.middle.copy(), self.indices, self.weights, self.degree, self.b,
        )  # fmt: skip

    def matrix(self):
        """Return A as a sparse matrix, of a system that is not padded."""
        n = self.degree.size
        W = sparse.csr_array((self.weights, self.indices, self.start), shape=(n, n))
        return sparse.diags_array(self.degree, shape=(n, n)) - W


class _Direct:
    """A state that a single step takes to the solution."""

    def __init__(self, system):
        self._system = system
        self.x = np.zeros_like(system.b)

    def step(self):
        b = self._system.b
        A = self._system.matrix().tocsc()
        if len(b):
            options = {"SymmetricMode": True, "DiagPivotThresh": 0.0}
            try:
                self.x = splu(A, permc_spec="MMD_AT_PLUS_A", options=options).solve(b)
            except RuntimeError as error:  # what SuperLU raises
                raise _unresolved("the matrix is singular") from error
        rest = b - A @ self.x
        scale = np.linalg.norm(b, axis=0)
        ratio = np.linalg.norm(rest, axis=0) / np.where(scale > 0, scale, 1)
        return Progress(-0.5 * np.sum(self.x * (b + rest)), np.max(ratio))


def _solve_direct(system, tol, max_iter, n_jobs, callback):
    result = iterate(
        lambda state: state.step(),
        _Direct(system),
        max_iter=1,
        tol=max(tol, ROUNDING),
        method="Sparse factorization",
        callback=callback,
        certificate_name="relative residual",
        advice="The weights of the graph differ too much for double precision.",
        warn=False,
    )
    result.relative_residual = result.certificate
    return result


def _solve_trees(system, tol, max_iter, n_jobs, callback):
    problem = GraphQuadratic(system.matrix(), system.b)
    return tree_block_descent(
        problem, selection="gsd", tol=tol, max_iter=max_iter, callback=callback
    )
