r"""Block descent on sparse quadratics with blocks that are forests.

Reference: Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge
Faster. JMLR 23(131), section on message passing.

    minimise  sum_c  1/2 x_c' A x_c - b_c' x_c,   A (n, n) sparse, symmetric, positive definite,

x and b (n,) or (n, n_columns); the columns share each block and its factorization. A block
whose graph is a forest may hold a large part of all variables and is still minimised
exactly in time linear in its edges. The gradient A x - b is kept up to date by the rows of
the block, and computed afresh before rounding errors can show in the residual.

After an exact step the gradient on the block is zero, so that a greedy order of those
variables is rounding noise. Here those that moved most come first: it is reproducible, and
on lattices halves the error after 500 steps.
"""

import math

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components

from sparseopt._core import (
    Progress,
    check_at_least_one,
    check_nonnegative,
    iterate,
    spawn_seeds,
)
from sparseopt.optimize._graphs import RootedForest, check_symmetric
from sparseopt.optimize._kernels import graphs as kernels

METHOD = "Tree block descent"
REFRESH = 500  # steps after which the gradient is computed afresh
RULES = ("greedy-tree", "random-tree", "tree-partition", "coloring", "general")
SELECTIONS = ("gs", "gsd")


class GraphQuadratic:
    r"""A quadratic with a sparse matrix, or several that share it.

    .. math:: f(x) = \sum_c \tfrac12 x_c^T A x_c - b_c^T x_c

    Parameters
    ----------
    A : {array-like, sparse matrix} of shape (n, n)
        Symmetric with a positive diagonal; solvers need it positive definite. float32 stays,
        everything else becomes float64.
    b : array-like of shape (n,) or (n, n_columns)
        Linear terms.

    Attributes
    ----------
    A : csr_array of shape (n, n)
        The matrix, which may share its arrays with the argument.
    b : ndarray of shape (n,) or (n, n_columns)
        The linear terms, in the dtype of ``A``.

    Raises
    ------
    ValueError
        For a matrix that is not square, symmetric, finite and of positive diagonal, or
        linear terms that do not fit.

    See Also
    --------
    tree_block_descent : Minimises it.

    Examples
    --------
    >>> from sparseopt.optimize import GraphQuadratic
    >>> quadratic = GraphQuadratic([[2.0, -1.0], [-1.0, 2.0]], [1.0, 1.0])
    >>> quadratic.value([1.0, 1.0]), quadratic.gradient([1.0, 1.0])
    (-1.0, array([0., 0.]))
    """

    operations = frozenset({"value", "gradient", "lipschitz", "relative_residual"})

    def __init__(self, A, b):
        self.A = check_symmetric(A, "A")
        n = self.A.shape[0]
        if sparse.issparse(b) or np.iscomplexobj(b):
            raise ValueError("b must be a dense real array.")
        self.b = np.array(b, dtype=self.A.dtype, order="C")
        if self.b.ndim not in (1, 2) or self.b.shape[0] != n:
            raise ValueError(f"b must have {n} rows, as many as A, got shape {self.b.shape}.")
        if not np.all(np.isfinite(self.b)):
            raise ValueError("b must be finite, got NaN or infinite entries.")
        scale = _norms(self.b, axis=0)
        self._scale = np.where(scale > 0, scale, 1)
        diagonal = self.A.diagonal()
        if np.any(diagonal <= 0):
            first = int(np.argmax(diagonal <= 0))
            raise ValueError(
                f"A must be positive definite, got the diagonal entry {diagonal[first]!r} for "
                f"variable {first}."
            )

    @classmethod
    def from_labels(cls, graph, values):
        r"""Return the energy of the unlabelled nodes of a graph.

        Its minimum gives each of them the weighted mean of its neighbours (label
        propagation): :math:`\tfrac14 \sum_{ij} W_{ij} (x_i - x_j)^2` but for a constant,
        with ``x`` given on labelled nodes.

        Parameters
        ----------
        graph : {array-like, sparse matrix} of shape (n_nodes, n_nodes)
            Symmetric weights W >= 0; loops have no effect.
        values : array-like of shape (n_nodes,)
            Values of the labelled nodes, NaN on the others.

        Returns
        -------
        problem : GraphQuadratic
            Its variables are the unlabelled nodes in increasing order.

        Raises
        ------
        ValueError
            For a graph that is not square, symmetric and non-negative, values that do not
            fit or are infinite, or a component of the graph without a label, whose values
            nothing determines.

        Examples
        --------
        >>> import numpy as np
        >>> from sparseopt.optimize import GraphQuadratic, tree_block_descent
        >>> path = np.eye(4, k=1) + np.eye(4, k=-1)
        >>> problem = GraphQuadratic.from_labels(path, [0.0, np.nan, np.nan, 3.0])
        >>> tree_block_descent(problem).x
        array([1., 2.])
        """
        W = check_symmetric(graph, nonnegative=True)
        if np.iscomplexobj(values):
            raise ValueError("values must be real, got complex values.")
        values = np.asarray(values, dtype=float)
        if values.shape != (W.shape[0],):
            raise ValueError(
                f"values must have shape ({W.shape[0]},), one a node, got {values.shape}."
            )
        if np.isinf(values).any():
            raise ValueError("values must be finite, or NaN on unlabelled nodes, got inf.")
        free = np.flatnonzero(np.isnan(values))
        _check_components(W, free)
        loops = W.diagonal()
        if loops.any():  # taken out first: large ones would swallow the other weights
            W = (W - sparse.diags_array(loops)).tocsr()
        rows = W[free]
        system = sparse.diags_array(rows.sum(axis=1)) - rows[:, free]
        return cls(system, rows @ np.where(np.isnan(values), 0.0, values))

    def value(self, x):
        """Return the sum of the quadratics at ``x``, which has the shape of ``b``."""
        x = self._checked(x)
        return 0.5 * float(np.sum(x * (self.A @ x - 2 * self.b)))

    def gradient(self, x):
        """Return ``A x - b``."""
        return self.A @ self._checked(x) - self.b

    def lipschitz(self):
        """Return the coordinate-wise Lipschitz constants, the diagonal of ``A``."""
        return self.A.diagonal()

    def relative_residual(self, gradient):
        """Return the largest ``||A x_c - b_c|| / ||b_c||`` over the columns c.

        Where ``b_c`` is zero it is the numerator.
        """
        return float(np.max(_norms(gradient, axis=0) / self._scale, initial=0.0))

    def _checked(self, x):
        x = np.asarray(x)
        if x.shape != self.b.shape:
            raise ValueError(f"x must have the shape {self.b.shape} of b, got {x.shape}.")
        return x


def _norms(values, axis):
    """Return 2-norms along an axis, of numbers whose squares may leave the floating range."""
    if values.shape[axis] == 1:
        return np.abs(np.squeeze(values, axis))
    largest = np.max(np.abs(values), axis=axis, initial=0.0)
    unit = np.where(largest > 0, largest, 1)
    return unit * np.linalg.norm(values / np.expand_dims(unit, axis), axis=axis)


def _check_components(graph, free):
    """Raise if a component of the graph consists of the nodes ``free`` alone."""
    n_components, component = connected_components(graph, directed=False)
    labelled = np.ones(graph.shape[0], bool)
    labelled[free] = False
    n_labels = np.bincount(component[labelled], minlength=n_components)
    lost = free[n_labels[component[free]] == 0]
    if lost.size:
        raise ValueError(
            "Each component of the graph must hold a label, but none reaches "
            f"{lost.size} of the nodes, such as node {lost[0]}."
        )


def tree_block_descent(
    problem,
    *,
    rule="greedy-tree",
    selection="gs",
    x0=None,
    max_iter=10_000,
    tol=1e-6,
    random_state=None,
    callback=None,
):
    """Minimise a sparse quadratic by exact steps on blocks of variables.

    Parameters
    ----------
    problem : GraphQuadratic
        The quadratic, positive definite, with one or more columns.
    rule : str or array-like of shape (n,), default="greedy-tree"
        How blocks are chosen:

        - ``"greedy-tree"``: the greedy forest of the current gradient;
        - ``"random-tree"``: the greedy forest of a random order;
        - ``"tree-partition"``: all variables in a few forests, by turns;
        - ``"coloring"``: the colours of the graph by turns (red-black on a lattice);
        - ``"general"``: the ``floor(n^(1/3))`` variables with the best scores, whose dense
          solve costs as much as a forest's;
        - one block number a variable: these blocks by turns; each has to be a forest.
    selection : {"gs", "gsd"}, default="gs"
        Scores of the greedy rules: the size of the gradient, or the same divided by the
        square root of the diagonal entry. The columns' gradients count with their norm.
    x0 : array-like with the shape of ``b``, optional
        Start, zero by default.
    max_iter : int, default=10000
        Largest number of block steps.
    tol : float, default=1e-6
        The run ends once the relative residual is at most ``tol``.
    random_state : None, int, RandomState or Generator, default=None
        For ``"random-tree"``.
    callback : callable, optional
        Called after each step as ``callback(x)`` or ``callback(intermediate_result=...)``;
        ``StopIteration`` ends the run.

    Returns
    -------
    result : OptimizeResult
        ``x``, ``fun``, ``nit``, ``success``, ``status``, ``message``, ``history`` and
        ``relative_residual``, the largest ``||A x_c - b_c|| / ||b_c||`` over columns (the
        numerator where ``b_c`` is zero).

    Raises
    ------
    ValueError
        For an unknown rule, a block that is not a forest, or a matrix that is found not to
        be positive definite.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the tolerance is not reached.

    See Also
    --------
    greedy_forest, tree_partition, color_graph : The blocks.

    References
    ----------
    Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
    JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import GraphQuadratic, tree_block_descent
    >>> A = 3 * np.eye(4) - np.eye(4, k=1) - np.eye(4, k=-1)
    >>> result = tree_block_descent(GraphQuadratic(A, [2.0, 1.0, 1.0, 2.0]))
    >>> result.x, result.nit  # the graph is a tree: one step
    (array([1., 1., 1., 1.]), 1)
    """
    if not isinstance(problem, GraphQuadratic):
        raise TypeError(f"problem must be a GraphQuadratic, got {type(problem).__name__}.")
    check_at_least_one(max_iter, "max_iter")
    check_nonnegative(tol, "tol")
    if not isinstance(selection, str) or selection not in SELECTIONS:
        raise ValueError(f"selection must be one of {SELECTIONS}, got {selection!r}.")
    state = _State(problem, x0, tol)
    choose_block = _block_rule(problem, rule, selection, random_state)
    result = iterate(
        lambda state: state.step(*choose_block(state)),
        state,
        max_iter=max_iter,
        tol=tol,
        method=METHOD,
        initial=state.progress(),
        callback=callback,
        certificate_name="relative residual",
        descends=True,
    )
    result.relative_residual = result.certificate
    return result


class _State:
    """The iterate, and its gradient as one row a variable."""

    def __init__(self, problem, x0, tol):
        self._problem, self._tol = problem, tol
        b = problem.b
        if np.iscomplexobj(x0):
            raise ValueError("x0 must be real, got complex values.")
        self.x = np.zeros_like(b) if x0 is None else np.array(x0, dtype=b.dtype, order="C")
        if self.x.shape != b.shape:
            raise ValueError(f"x0 must have the shape {b.shape} of b, got {self.x.shape}.")
        if not np.all(np.isfinite(self.x)):
            raise ValueError("x0 must be finite, got NaN or infinite entries.")
        self._rows = self.x[:, None] if b.ndim == 1 else self.x
        self._steps = 0
        self._settled = np.empty(0, np.int64)  # where the gradient is zero but for rounding
        self.moves = np.zeros(len(self.x))  # the last change of each variable
        self._eps = float(np.finfo(b.dtype).eps)
        self._refresh()

    def _refresh(self):
        """Compute the gradient without the rounding errors of the updates."""
        gradient = np.ascontiguousarray(self._problem.gradient(self.x))
        self.gradient = gradient[:, None] if gradient.ndim == 1 else gradient
        # Rounding errors of the updates, relative to this gradient or to the entries of A x,
        # would show in a smaller residual.
        noise = 4 * self._eps * (self._rows.T * self._problem.lipschitz()).T.reshape(self.x.shape)
        self._trusted = max(
            self._tol,
            math.sqrt(self._eps) * self.progress().certificate,
            self._problem.relative_residual(noise),
        )

    def sizes(self):
        """Return the size of the gradient at each variable."""
        sizes = _norms(self.gradient, axis=1)
        sizes[self._settled] = 0
        return sizes

    def progress(self):
        gradient = self.gradient.reshape(self.x.shape)
        objective = 0.5 * float(np.sum(self.x * (gradient - self._problem.b)))
        return Progress(objective, self._problem.relative_residual(gradient))

    def step(self, nodes, solve):
        """Minimise over the variables ``nodes``, whose system ``solve`` solves."""
        A = self._problem.A
        d = solve(-self.gradient[nodes])
        kernels.apply_block_step(A.indptr, A.indices, A.data, nodes, d, self._rows, self.gradient)
        self._settled = nodes
        self.moves[nodes] = _norms(d, axis=1)
        self._steps += 1
        progress = self.progress()
        if self._steps % REFRESH == 0 or progress.certificate <= self._trusted:
            self._refresh()
            progress = self.progress()
        return progress


def _block_rule(problem, rule, selection, random_state):
    """Return a function of the state that gives the next block and its solver."""
    A = problem.A
    root = np.sqrt(A.diagonal()) if selection == "gsd" else 1.0
    if not isinstance(rule, str):
        return _fixed_blocks(A, _check_blocks(rule, A.shape[0]))
    if rule == "tree-partition":
        return _fixed_blocks(A, kernels.partition_forests(_stiff_first(A), A.indptr, A.indices))
    if rule == "coloring":
        return _fixed_blocks(A, kernels.color_nodes(_stiff_first(A), A.indptr, A.indices))
    if rule == "greedy-tree":
        return _forests(A, lambda state: np.lexsort((-state.moves, -state.sizes() / root)))
    if rule == "random-tree":
        rng = np.random.default_rng(spawn_seeds(random_state, 1)[0])
        return _forests(A, lambda state: rng.permutation(A.shape[0]))
    if rule == "general":
        return _dense_blocks(A, lambda state: state.sizes() / root)
    raise ValueError(f"rule must be one of {RULES} or an array of block numbers, got {rule!r}.")


def _stiff_first(A):
    return np.argsort(A.diagonal(), kind="stable")[::-1].copy()


def _check_blocks(rule, n):
    blocks = np.asarray(rule)
    if blocks.shape != (n,) or blocks.dtype.kind not in "iu":
        raise ValueError(
            f"rule must be one of {RULES} or an integer array of shape ({n},) with the block of "
            f"each variable, got {blocks!r}."
        )
    return blocks


def _fixed_blocks(A, blocks):
    order = np.argsort(blocks, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1)
    position = np.full(A.shape[0], -1, np.int64)
    forests = [RootedForest(A, nodes, position) for nodes in members]
    turn = 0

    def choose(state):
        nonlocal turn
        forest = forests[turn % len(forests)]
        turn += 1
        return forest.sequence, forest.solve

    return choose


def _forests(A, order):
    position = np.full(A.shape[0], -1, np.int64)

    def choose(state):
        chosen = kernels.select_forest(order(state), A.indptr, A.indices)
        forest = RootedForest(A, np.flatnonzero(chosen), position)
        return forest.sequence, forest.solve

    return choose


def _dense_blocks(A, score):
    size = max(1, math.floor(A.shape[0] ** (1 / 3) + 1e-9))

    def choose(state):
        nodes = np.sort(np.argsort(score(state), kind="stable")[-size:])
        block = A[nodes][:, nodes].toarray()
        try:
            factor = linalg.cho_factor(block, lower=True)
        except linalg.LinAlgError as error:
            raise ValueError(
                "A must be positive definite, but one of its blocks is not."
            ) from error
        return nodes, lambda h: linalg.cho_solve(factor, h)

    return choose
