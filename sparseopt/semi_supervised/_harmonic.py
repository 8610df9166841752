r"""Labels that spread over a graph: one linear system for all classes.

Reference: Zhu, Ghahramani, Lafferty (2003). Semi-supervised Learning Using Gaussian Fields
and Harmonic Functions. ICML. For weights W (n, n), symmetric and >= 0,

    minimise  1/4 sum_ij W_ij ||F_i - F_j||^2   with F_l = Y_l given on labelled nodes,

F (n, n_classes). On the free nodes f this is A F_f = W_fl Y_l, A = (diag(W 1) - W)_ff, a
symmetric M-matrix that is positive definite if each component of the graph holds a
label. Each F_i is a mean of its neighbours', so F stays within the range of Y (maximum
principle). Three solvers: sparse LU, conjugate gradients, tree block descent
(:func:`sparseopt.optimize.tree_block_descent`).
"""

import math

import numpy as np
from scipy import sparse
from scipy.optimize import OptimizeResult
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee
from scipy.sparse.linalg import splu
from sklearn.utils.parallel import Parallel, delayed

from sparseopt._core import Progress, iterate
from sparseopt.optimize import GraphQuadratic, tree_block_descent
from sparseopt.semi_supervised._kernels import cpu as kernels

LARGEST_DIRECT = 5000  # free nodes up to which "auto" factorizes
CHECK_EVERY = 10  # conjugate gradient iterations between two residuals
COLUMNS = 5  # classes solved together: few enough for their rows to stay in the cache
ROW_SUMS = 0.97  # how much the preconditioner preserves row sums rather than the diagonal
PATIENCE = 5  # checks without a better residual before rounding errors are blamed


def propagate_labels(graph, labelled, Y, *, solver, tol, max_iter, n_jobs=None):
    """Spread the rows ``Y`` of the nodes ``labelled`` over a graph.

    Parameters
    ----------
    graph : csr_array of shape (n, n)
        Symmetric, >= 0, sorted, without stored zeros; loops have no effect.
    labelled : ndarray of shape (n_labelled,)
        Labelled nodes.
    Y : ndarray of shape (n_labelled, n_classes)
        Their values.
    solver : {"auto", "cg", "direct", "tree-bcd"}
        How the linear system is solved.
    tol : float
        Relative residual of the iterative solvers.
    max_iter : int
        Largest number of their iterations.
    n_jobs : int, optional
        Groups of classes solved at once by "cg".

    Returns
    -------
    result : OptimizeResult
        ``x`` (n, n_classes), zero on nodes out of reach; ``reached`` (n,), whether a node's
        component holds a label; ``relative_residual``, ``nit``, ``success``, ``message``.
    """
    n = graph.shape[0]
    graph = graph.astype(np.float64, copy=False)
    _, component = connected_components(graph, directed=False)
    reached = np.isin(component, component[labelled])
    is_free = reached.copy()
    is_free[labelled] = False
    free = np.flatnonzero(is_free)
    F = np.zeros((n, Y.shape[1]))
    F[labelled] = Y
    rows = graph[free]
    W = rows[:, free].tocsr()
    loops = W.diagonal()
    degree = rows.sum(axis=1) - loops
    if loops.any():
        W.setdiag(0)
        W.eliminate_zeros()
    b = np.asarray(rows @ F)
    if solver == "auto":
        solver = "direct" if free.size <= LARGEST_DIRECT else "cg"
    solve = {"direct": _solve_direct, "cg": _solve_cg, "tree-bcd": _solve_trees}[solver]
    if free.size == 0:
        result = OptimizeResult(x=b, relative_residual=0.0, nit=0, success=True, message="")
    else:
        result = solve(W, degree, b, tol, max_iter, n_jobs)
    # The exact solution lies in the range of Y; so does its nearest neighbour in there.
    F[free] = np.clip(result.x, Y.min(axis=0), Y.max(axis=0))
    result.x, result.reached = F, reached
    return result


def _solve_direct(W, degree, b, tol, max_iter, n_jobs):
    A = (sparse.diags_array(degree) - W).tocsc()
    options = {"SymmetricMode": True, "DiagPivotThresh": 0.0}
    x = splu(A, permc_spec="MMD_AT_PLUS_A", options=options).solve(b)
    residual = _largest_ratio(np.sum((b - A @ x) ** 2, axis=0), np.sum(b**2, axis=0))
    return OptimizeResult(x=x, relative_residual=residual, nit=1, success=True, message="")


def _solve_trees(W, degree, b, tol, max_iter, n_jobs):
    problem = GraphQuadratic(sparse.diags_array(degree) - W, b)
    return tree_block_descent(problem, selection="gsd", tol=tol, max_iter=max_iter)


def _solve_cg(W, degree, b, tol, max_iter, n_jobs):
    # Neighbours close together in memory make a product several times faster.
    order = reverse_cuthill_mckee(W, symmetric_mode=True)
    system = _CGSystem(W[order][:, order], degree[order])
    groups = [np.arange(b.shape[1])[i : i + COLUMNS] for i in range(0, b.shape[1], COLUMNS)]
    runs = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(system.solve)(np.ascontiguousarray(b[np.ix_(order, group)]), tol, max_iter)
        for group in groups
    )
    x = np.empty_like(b)
    for group, run in zip(groups, runs, strict=True):
        x[np.ix_(order, group)] = run.x
    worst = max(runs, key=lambda run: run.certificate)
    return OptimizeResult(
        x=x,
        relative_residual=worst.certificate,
        nit=max(run.nit for run in runs),
        success=all(run.success for run in runs),
        message=worst.message,
    )


class _CGSystem:
    """The matrix and its preconditioner, shared by groups of right-hand sides."""

    def __init__(self, W, degree):
        W.sort_indices()
        wide = np.int32 if max(W.nnz, W.shape[0]) < 2**31 else np.int64
        self.diagonal = degree
        self.indptr, self.indices = W.indptr.astype(wide), W.indices.astype(wide)
        self.data = W.data
        self.middle = kernels.split_rows(self.indptr, self.indices)
        self.pivots = kernels.modified_pivots(*self.rows, degree, ROW_SUMS)

    @property
    def rows(self):
        return self.indptr, self.middle, self.indices, self.data

    def solve(self, b, tol, max_iter):
        state = _CGState(self, b, max_iter)
        result = iterate(
            lambda state: state.step(),
            state,
            max_iter=math.ceil(max_iter / CHECK_EVERY),
            tol=tol,
            method="Label propagation",
            initial=state.progress(),
            certificate_name="relative residual",
            warn=False,
        )
        result.nit = state.iterations
        return result


class _CGState:
    """Iterate, residual and direction in Eisenstat's coordinates."""

    def __init__(self, system, b, max_iter):
        self.system, self.b, self.max_iter = system, b, max_iter
        self.x, self.r, self.p, self.t, self.s = (np.zeros_like(b) for _ in range(5))
        kernels.lower_solve(*system.rows, system.pivots, b, self.r)
        self.energy = np.sum(system.pivots[:, None] * self.r**2, axis=0)
        self.ratio = np.zeros_like(self.energy)
        self.scale = np.sum(b**2, axis=0)
        self.iterations, self.best, self.waited = 0, math.inf, 0

    def step(self):
        system = self.system
        p_dot_q, energy = np.zeros_like(self.energy), np.zeros_like(self.energy)
        for _ in range(min(CHECK_EVERY, self.max_iter - self.iterations)):
            kernels.direction_and_product(
                *system.rows, system.diagonal, system.pivots, self.ratio,
                self.r, self.p, self.t, self.s, p_dot_q,
            )  # fmt: skip
            step = _ratio(self.energy, p_dot_q)
            kernels.advance(step, self.t, self.s, system.pivots, self.x, self.r, energy)
            self.ratio = _ratio(energy, self.energy)
            self.energy[:] = energy
            self.iterations += 1
        return self.progress()

    def progress(self):
        s = self.system
        total = np.zeros_like(self.energy)
        kernels.residual_norms_squared(
            s.indptr, s.indices, s.data, s.diagonal, self.x, self.b, total
        )
        residual = _largest_ratio(total, self.scale)
        self.waited = 0 if residual < self.best else self.waited + 1
        self.best = min(self.best, residual)
        return Progress(residual, residual, stalled=self.waited >= PATIENCE)


def _ratio(numerator, denominator):
    """Return a quotient that is zero for columns that are solved already."""
    safe = denominator > 0
    return np.where(safe, numerator / np.where(safe, denominator, 1), 0.0)


def _largest_ratio(squares, scales):
    return math.sqrt(np.max(_ratio(squares, scales), initial=0.0))
