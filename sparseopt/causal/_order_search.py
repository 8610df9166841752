r"""Search over causal orders by best insertions, and the order of least conditional variance.

References: Andrews, Ramsey, Sanchez-Romero, Camchong, Kummerfeld (2023). Fast scalable and
accurate discovery of DAGs using the best order score search and grow-shrink trees. NeurIPS 36.
Chen, Drton, Wang (2019). On causal discovery with an equal variance assumption. Biometrika 106.

    minimise over orders   n/2 sum_j log v_j + penalty * |E|           (each node its own variance)
                      or   n d/2 log(sum_j v_j / d) + penalty * |E|    (one variance for all)

C (d, d) is the covariance matrix, v_j the residual variance of node j given its parents, which
grow-shrink chooses among its predecessors, and |E| the number of edges; with the penalty
log(n)/2 this is half of BIC up to a constant. A move takes a node out of the order and puts
it back where the score is lowest. A run has converged when no such move improves the score.

With one variance for all, the parents are chosen by n v_j / (2 s) with a mean s of variances
in place of the logarithm, which lies below this line and touches it where s is the current
mean. Orders are compared by the score itself, and a new s is taken only if it lowers the score.
"""

import math

import numpy as np

from sparseopt._core import Progress, check_at_least_one, check_nonnegative, iterate
from sparseopt.causal._kernels import order_search as kernels

METHOD = "Order search"
PATH_CAPACITY = 64  # longer paths are not kept but grown again when asked for: bounds memory
ROUNDING = 1e-13  # differences below this part of the score's terms are rounding errors
WANDERING_SWEEPS = 4  # over orders of equal score, before a local optimum is accepted
ASYMMETRY = 1e-8  # of a covariance matrix, relative to the variances
NEGATIVE = 1e-8  # largest negative eigenvalue of the correlation matrix


def search_order(
    C,
    n_samples,
    order,
    *,
    equal_variance=False,
    penalty=None,
    forbidden=None,
    required=None,
    max_sweeps=100,
    tol=1e-6,
    callback=None,
    warn=True,
):
    r"""Improve a causal order by best insertions, scored by BIC.

    A sweep visits each node once, takes it out of the order and puts it back where the score

    .. math:: \tfrac n2 \sum_j \log v_j + \text{penalty} \cdot |E|
              \quad\text{or}\quad
              \tfrac{nd}2 \log\Big(\tfrac1d \sum_j v_j\Big) + \text{penalty} \cdot |E|

    is lowest. Here :math:`v_j` is the residual variance of node :math:`j` given the parents
    that grow-shrink chooses among its predecessors.

    Parameters
    ----------
    C : array-like of shape (d, d)
        Covariance matrix, which may be singular. Computed with in float64.
    n_samples : int
        Number of samples that it was computed from, n.
    order : array-like of shape (d,)
        Where to start: the nodes, causes first.
    equal_variance : bool, default=False
        Whether all nodes share one noise variance.
    penalty : float, optional
        What an edge costs; ``log(n_samples) / 2``, that is BIC, by default. Adding
        ``log(d) / 2`` or ``log(d)`` gives extended BIC, which keeps out the false edges that
        become likely with many nodes.
    forbidden : array-like of shape (d, d), optional
        Boolean; the edge from i to j is never used where ``forbidden[i, j]``.
    required : array-like of shape (d, d), optional
        Boolean; i is always a parent of j where ``required[i, j]``, and orders that contradict
        this are never visited.
    max_sweeps : int, default=100
        Number of sweeps after which no further one is begun, except over equal scores.
    tol : float, default=1e-6
        Insertions that lower the score by no more than this are not made. Rounding errors
        bound it below.
    callback : callable, optional
        Called after each sweep as ``callback(order)`` or ``callback(intermediate_result=...)``;
        raising ``StopIteration`` ends the run.
    warn : bool, default=True
        Whether to warn if ``max_sweeps`` is reached.

    Returns
    -------
    result : OptimizeResult
        With ``order`` of shape (d,); ``adjacency`` of shape (d, d), the least-squares weights
        of the chosen edges, row = cause; ``noise_variances`` of shape (d,), all equal if
        ``equal_variance``; ``edges`` of shape (d, d), boolean, which differs from
        ``adjacency != 0`` only for required edges whose weight is exactly zero; ``fun``, the
        score; ``certificate``, the largest
        improvement that an insertion of the last sweep brought or, after convergence, would
        bring; ``nit``, ``success``, ``status``, ``message`` and ``history``, whose first entry
        is the start.

    Raises
    ------
    ValueError
        For a matrix that is no covariance matrix or has a variance of zero, an order that is
        no permutation or contradicts a required edge, and edges that are both required and
        forbidden.

    Warns
    -----
    ConvergenceWarning
        If ``max_sweeps`` was reached.

    See Also
    --------
    conditional_variance_order : A start for equal noise variances.

    Notes
    -----
    Up to rounding, no entry of the history exceeds the one before. The result is a local
    optimum: no single insertion improves it by more than ``tol``. Without equal variances, BIC
    is the same for all graphs of a Markov equivalence class, so that the direction of edges
    that differ within it is arbitrary. Such a search that finds no improvement makes four more
    sweeps over orders of equal score, from which one may exist, before it has converged.

    A candidate that keeps less than 1e-10 of its variance given the parents already chosen is
    no candidate, and no residual variance is counted as less than 1e-10 of the node's variance:
    duplicated columns and fewer samples than nodes give finite scores. With fewer samples than
    nodes BIC overfits, though; a larger ``penalty`` is needed then.

    References
    ----------
    Andrews, Ramsey, Sanchez-Romero, Camchong, Kummerfeld (2023). Fast scalable and accurate
    discovery of DAGs using the best order score search and grow-shrink trees. NeurIPS 36.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.causal._order_search import search_order
    >>> rng = np.random.default_rng(0)
    >>> a, b, noise = rng.standard_normal((3, 1000))
    >>> X = np.column_stack([a + b + noise, a, b])  # the first column is the effect
    >>> result = search_order(np.cov(X.T, bias=True), 1000, order=[0, 1, 2])
    >>> result.adjacency != 0
    array([[False, False, False],
           [ True, False, False],
           [ True, False, False]])
    """
    C = check_covariance(C)
    d = C.shape[0]
    n_samples = check_at_least_one(n_samples, "n_samples")
    max_sweeps = check_at_least_one(max_sweeps, "max_sweeps")
    tol = check_nonnegative(tol, "tol")
    penalty = math.log(n_samples) / 2 if penalty is None else check_nonnegative(penalty, "penalty")
    if not isinstance(equal_variance, bool | np.bool_):
        raise TypeError(f"equal_variance must be True or False, got {equal_variance!r}.")
    allowed, required = check_edges(forbidden, required, d)
    order = check_order(order, required)
    model = kernels.Model(C, n_samples / 2, penalty, 0.0, allowed, required)
    state = OrderState(model, order, tol, equal_variance=equal_variance)
    result = iterate(
        OrderState.step,
        state,
        max_iter=max_sweeps,
        tol=state.tol,
        method=METHOD,
        initial=Progress(state.score, math.inf),
        callback=callback,
        certificate_name="improvement by an insertion",
        advice="Increase max_sweeps.",
        descends=True,
        warn=warn,
    )
    result.order = result.pop("x")
    result.adjacency = regress_on_parents(C, state.paths.parents[:d])
    result.noise_variances = state.paths.variance[:d].copy()
    if equal_variance:
        result.noise_variances[:] = result.noise_variances.mean()
    result.edges = state.paths.parents[:d].T.copy()
    return result


def conditional_variance_order(C, required=None):
    """Order the nodes top down, next the one of least variance given those before it.

    This is the causal order if all noise variances are equal and ``C`` is exact. It takes
    d rank-one updates of a d x d matrix.

    Parameters
    ----------
    C : array-like of shape (d, d)
        Covariance matrix, which may be singular.
    required : array-like of shape (d, d), optional
        Boolean; i comes before j where ``required[i, j]``.

    Returns
    -------
    order : ndarray of shape (d,)
        The nodes, causes first; the lowest index first among equals.

    Raises
    ------
    ValueError
        For a matrix that is no covariance matrix or has a variance of zero, and for required
        edges that form a cycle.

    See Also
    --------
    search_order : Improves an order.

    References
    ----------
    Chen, Drton, Wang (2019). On causal discovery with an equal variance assumption.
    Biometrika 106, 973-980.

    Examples
    --------
    >>> from sparseopt.causal._order_search import conditional_variance_order
    >>> conditional_variance_order([[2.0, 1.0], [1.0, 1.0]])  # x_0 = x_1 + noise
    array([1, 0])
    """
    C = check_covariance(C)
    d = C.shape[0]
    _, required = check_edges(None, required, d)
    remaining = C.copy()
    waiting = required.sum(axis=0)  # causes that are still to come
    least = kernels.DEPENDENCE * np.diag(C)
    free = np.ones(d, dtype=bool)
    order = np.empty(d, dtype=np.int64)
    for k in range(d):
        eligible = free & (waiting == 0)
        if not eligible.any():
            raise ValueError(
                f"required edges form a cycle among the nodes {np.flatnonzero(free).tolist()} "
                "and what lies behind it."
            )
        node = np.argmin(np.where(eligible, np.diag(remaining), np.inf))
        order[k], free[node] = node, False
        waiting -= required[node]
        if remaining[node, node] > least[node]:
            column = remaining[:, node] / math.sqrt(remaining[node, node])
            remaining -= np.outer(column, column)
    return order


class OrderState:
    """An order, the parents that its nodes choose, and their score."""

    def __init__(self, model, order, tol, *, equal_variance=False):
        d = order.size
        self.x = order
        self.model = model
        self.work = allocate_workspace(d)
        self.paths = allocate_paths(d)
        self.memo = allocate_memo(d)
        self.spare = allocate_paths(d) if equal_variance else None
        self.score = kernels.choose_all(model, self.paths, order, self.work)
        terms = model.half_samples * (1 + np.abs(np.log(self.paths.variance[:d]))).sum()
        self.tie = ROUNDING * terms
        self.tol = max(tol, self.tie)
        self.leftmost = False
        if equal_variance:  # so far, each node chose by its own variance
            self.score = math.inf
            while self.update_variance() > self.tol:
                pass

    def step(self):
        """Sweep once; where nothing improves the score, look on from orders of equal score."""
        improvement, sweeps = self.sweep(), 1
        if self.spare is not None:
            improvement = max(improvement, self.update_variance())
        elif improvement <= self.tol:
            beyond, more = self.wander()
            improvement, sweeps = max(improvement, beyond), sweeps + more
        return Progress(self.score, improvement, iterations=sweeps)

    def sweep(self, *, wander=False):
        """Visit each node; return the largest improvement."""
        visits = self.x.copy()
        self.leftmost = not self.leftmost
        improvement = kernels.sweep(
            self.model,
            self.paths,
            self.memo,
            self.x,
            visits,
            self.tol,
            self.tie,
            self.leftmost,
            wander,
            self.work,
        )
        self.score = kernels.add_scores(self.model, self.paths, self.x)
        return improvement

    def wander(self):
        """Sweep over orders of equal score; return the improvement and the number of sweeps.

        Markov equivalent graphs have equal scores, and often only some of their orders lead on.
        If none was found to, the order is what it was.
        """
        order, score = self.x.copy(), self.score
        paths = kernels.Paths(*(array.copy() for array in self.paths))
        for sweeps in range(1, WANDERING_SWEEPS + 1):
            self.sweep(wander=True)
            if self.score < score - self.tol:
                return score - self.score, sweeps
        self.x[:] = order
        self.paths, self.score = paths, score
        self.forget()
        return 0.0, sweeps

    def update_variance(self):
        """Take the mean of the variances if that lowers the score; return by how much."""
        mean = self.paths.variance[: self.x.size].mean()
        model = self.model._replace(common_variance=mean)
        score = kernels.choose_all(model, self.spare, self.x, self.work)
        gain = self.score - score
        if gain > self.tol:
            self.model, self.score = model, score
            self.paths, self.spare = self.spare, self.paths
            self.forget()
        return gain

    def forget(self):
        """Let no score be remembered."""
        self.memo.node[:] += 1
        self.memo.clock[:] += 1
        self.memo.cut[:] = self.memo.clock


def regress_on_parents(C, parents):
    """Return the least-squares weights (d, d) of nodes on their parents, row = cause."""
    d = C.shape[0]
    weights = np.zeros((d, d))
    scale = np.sqrt(np.diag(C))
    correlation = C / np.outer(scale, scale)
    for j in range(d):
        chosen = np.flatnonzero(parents[j])
        block = correlation[np.ix_(chosen, chosen)]
        solution = np.linalg.lstsq(block, correlation[chosen, j], rcond=None)[0]
        weights[chosen, j] = solution * scale[j] / scale[chosen]
    return weights


def allocate_paths(d):
    """Return room for the growths of d nodes and the two spare ones."""
    rows, capacity = d + 2, min(d, PATH_CAPACITY)
    return kernels.Paths(
        length=np.zeros(rows, np.int64),
        fixed=np.zeros(rows, np.int64),
        nodes=np.zeros((rows, capacity), np.int64),
        reductions=np.zeros((rows, capacity)),
        factor=np.zeros((rows, capacity, capacity)),
        target=np.zeros((rows, capacity)),
        grown=np.zeros(rows),
        variance=np.zeros(rows),
        edges=np.zeros(rows, np.int64),
        grew=np.zeros((rows, d), np.bool_),
        parents=np.zeros((rows, d), np.bool_),
    )


def allocate_memo(d):
    """Return room for the scores of nodes in other places."""
    return kernels.Memo(
        node=np.ones(d, np.int64),
        cut=np.ones(d + 1, np.int64),
        clock=np.ones(1, np.int64),
        toggled=np.zeros((2, d, d)),
        toggled_version=np.zeros((d, d), np.int64),
        own=np.zeros((2, d, d)),
        own_version=np.zeros((d, d), np.int64),
    )


def allocate_workspace(d):
    """Return the memory that the kernels share."""
    return kernels.Workspace(
        candidates=np.zeros(d, np.int64),
        rows=np.zeros((d, d)),
        variances=np.zeros(d),
        covariances=np.zeros(d),
        chosen=np.zeros(d, np.int64),
        least=np.zeros(d),
        lower=np.zeros((d, d)),
        inverse=np.zeros((d, d)),
        weights=np.zeros(d),
        row=np.zeros(d),
        others=np.zeros(d - 1, np.int64),
        without=np.zeros((2, d)),
        within=np.zeros((2, d)),
        own=np.zeros((2, d)),
        scores=np.zeros(d),
    )


def check_covariance(C, name="C"):
    """Return a covariance matrix in float64, or tell what it lacks."""
    if np.iscomplexobj(C):
        raise ValueError(f"{name} must be real, got complex values.")
    try:
        C = np.ascontiguousarray(C, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a matrix of numbers: {error}.") from error
    if C.ndim != 2 or C.shape[0] != C.shape[1] or C.size == 0:
        raise ValueError(f"{name} must be a square matrix, got shape {C.shape}.")
    if not np.isfinite(C).all():
        raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
    variances = np.diag(C)
    if not (variances > 0).all():
        node = int(np.argmin(variances > 0))
        raise ValueError(
            f"{name} must have positive variances, got {variances[node]!r} for column {node}: "
            "leave out constant columns."
        )
    scale = np.sqrt(variances)
    correlation = C / scale / scale[:, None]
    if np.abs(correlation - correlation.T).max() > ASYMMETRY:
        raise ValueError(f"{name} must be symmetric.")
    smallest = np.linalg.eigvalsh(correlation)[0]
    if smallest < -NEGATIVE * C.shape[0]:
        raise ValueError(
            f"{name} must be positive semi-definite, got a correlation matrix with the eigenvalue "
            f"{smallest:.3g}."
        )
    return C


def check_edges(forbidden, required, d):
    """Return boolean matrices of the edges that are allowed and of those that are required."""
    forbidden = check_mask(forbidden, "forbidden", d)
    required = check_mask(required, "required", d)
    if required.diagonal().any():
        node = int(np.argmax(required.diagonal()))
        raise ValueError(f"required must have no edge from a node to itself, got one at {node}.")
    both = forbidden & required
    if both.any():
        i, j = np.argwhere(both)[0].tolist()
        raise ValueError(f"the edge from {i} to {j} is both required and forbidden.")
    return ~forbidden, required


def check_mask(mask, name, d):
    """Return a boolean matrix; None stands for no edge."""
    if mask is None:
        return np.zeros((d, d), dtype=bool)
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"{name} must be a boolean matrix, got dtype {mask.dtype}.")
    if mask.shape != (d, d):
        raise ValueError(f"{name} must have shape ({d}, {d}), got {mask.shape}.")
    return np.ascontiguousarray(mask)


def check_order(order, required):
    """Return a new array with the order, or tell why it is not a possible one."""
    given = np.asarray(order)
    d = required.shape[0]
    if given.shape != (d,) or not np.array_equal(np.sort(given), np.arange(d)):
        raise ValueError(f"order must be a permutation of the {d} nodes 0, ..., {d - 1}.")
    order = given.astype(np.int64)
    place = np.argsort(order)
    wrong = required & (place[:, None] > place)
    if wrong.any():
        i, j = np.argwhere(wrong)[0].tolist()
        raise ValueError(f"order must put {i} before {j}, as the required edge between them does.")
    return order
