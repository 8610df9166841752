r"""Optimal transport without regularisation, with a certificate.

    minimise  <P, C>  over P >= 0 (n, m) with P 1 = a, P' 1 = b.

Almost all entries of an optimal plan are zero. An entropic plan with little regularisation
tells which may not be; the linear program over these few is solved by HiGHS, and its dual
potentials are checked against all costs. Pairs that violate f_i + g_j <= C_ij join the program
until none does (column generation). Memory is O(n + m) where the costs are not stored.

References: Bonneel, van de Panne, Paris, Heidrich (2011), Displacement interpolation using
Lagrangian mass transport, ACM Trans. Graph. 30(6), for transport as a linear program; Schmitzer
(2016), A sparse multiscale algorithm for dense optimal transport, J. Math. Imaging Vis. 56(2),
for its reduction to few entries.
"""

import warnings

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport._sinkhorn import sinkhorn

SHARPNESS = 1e-5  # regularisation of the entropic plan, relative to the range of the costs
SEED_TOL = 1e-4
SHARE = 1e-4  # of its row's or column's mass that makes an entry of that plan a candidate
NEIGHBOURS = 2  # candidates of each row and column by reduced cost
ROUNDS = 30
LP_TOL = 1e-10
BLOCK_ENTRIES = 2**20


def exact_bounds(cost, a, b, *, tol, n_jobs=None):
    """Return an upper and a lower bound on the optimal transport cost.

    Parameters
    ----------
    cost : Cost of shape (n, m)
        Finite costs.
    a, b : ndarray of shape (n,) and (m,)
        Positive masses with the same sum.
    tol : float
        Largest difference of the bounds, relative to the upper one.
    n_jobs : int, optional
        Threads for large passes.

    Returns
    -------
    upper, lower : float
        The cost of a feasible plan, and the value of feasible potentials.

    Warns
    -----
    ConvergenceWarning
        If the bounds remain further apart.
    """
    smallest, largest, _ = cost.statistics
    if largest == smallest:
        return largest * a.sum(), largest * a.sum()
    pairs, seed = _first_pairs(cost, a, b, largest - smallest, n_jobs)
    upper, lower = seed._bounds()
    for _ in range(ROUNDS):
        if upper - lower <= tol * abs(upper):
            return upper, lower
        solution = _restricted_program(cost, a, b, pairs)
        if solution is None:
            break
        plan_cost, f, g = solution
        upper = min(upper, plan_cost)
        dual_value, violating = _check_potentials(cost, a, b, f, g)
        lower = max(lower, dual_value)
        known = pairs.size
        pairs = np.union1d(pairs, violating)
        if pairs.size == known:
            break
    if upper - lower > tol * abs(upper):
        warnings.warn(
            f"Exact transport did not converge: the cost lies between {lower:.12g} and "
            f"{upper:.12g}. Increase tol if this accuracy suffices. Costs that are almost zero "
            "beside the largest one, as for large p or far outliers, limit it.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return upper, lower


def _first_pairs(cost, a, b, cost_range, n_jobs):
    """Return candidate entries ``i * m + j``, sorted, and the entropic result."""
    points = {"C": cost.matrix} if cost.stored else {"X": cost.X, "Y": cost.Y}
    with warnings.catch_warnings():
        # It only proposes entries: their check needs no converged plan.
        warnings.simplefilter("ignore", ConvergenceWarning)
        seed = sinkhorn(
            a, b, **points, metric=cost.metric, reg=SHARPNESS * cost_range, tol=SEED_TOL,
            n_jobs=n_jobs,
        )  # fmt: skip
    m = b.size
    found = [_northwest_corner(a, b)]
    nearest = np.empty((0, m), np.int64)
    nearest_cost = np.empty((0, m))
    for block, plan in seed._blocks():
        reduced = cost.restrict(block, slice(None)).dense() - seed.f[block, None] - seed.g
        first = np.arange(block.start, block.stop)[:, None]
        i, j = np.nonzero(plan > SHARE * np.minimum(a[block, None], b))
        found.append((block.start + i) * m + j)
        if m > NEIGHBOURS:
            closest = np.argpartition(reduced, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
            found.append((first * m + closest).ravel())
        nearest = np.vstack([nearest, np.broadcast_to(first, reduced.shape)])
        nearest_cost = np.vstack([nearest_cost, reduced])
        if len(nearest) > NEIGHBOURS:
            order = np.argpartition(nearest_cost, NEIGHBOURS - 1, axis=0)[:NEIGHBOURS]
            nearest = np.take_along_axis(nearest, order, axis=0)
            nearest_cost = np.take_along_axis(nearest_cost, order, axis=0)
    found.append((nearest * m + np.arange(m)).ravel())
    return np.unique(np.concatenate(found)), seed


def _northwest_corner(a, b):
    """Return the entries of a feasible plan, at most n + m - 1 of them."""
    ends_a, ends_b = np.cumsum(a), np.cumsum(b)
    ends = np.unique(np.concatenate([ends_a, ends_b]))
    middles = (np.concatenate([[0.0], ends[:-1]]) + ends) / 2
    i = np.minimum(np.searchsorted(ends_a, middles), a.size - 1)
    j = np.minimum(np.searchsorted(ends_b, middles), b.size - 1)
    return i * b.size + j


def _restricted_program(cost, a, b, pairs):
    """Solve over some entries; return the cost of a feasible plan, and potentials."""
    n, m = cost.shape
    i, j = np.divmod(pairs, m)
    costs = _costs_of(cost, i, j)
    _, largest, _ = cost.statistics
    unit, mass = max(abs(largest), float(np.max(np.abs(costs)))), a.sum() / max(n, m)
    rows = np.stack([i, n + j], axis=1).ravel()
    incidence = sparse.csc_array(
        (np.ones(rows.size), rows, np.arange(0, rows.size + 1, 2)), shape=(n + m, pairs.size)
    ).tocsr()
    # The last equation follows from the others; with it, rounding may make them infeasible.
    solution = linprog(
        costs / unit,
        A_eq=incidence[:-1],
        b_eq=np.concatenate([a, b[:-1]]) / mass,
        method="highs-ds",
        options={"primal_feasibility_tolerance": LP_TOL, "dual_feasibility_tolerance": LP_TOL},
    )
    if solution.status != 0:
        return None
    flow = np.maximum(solution.x, 0.0) * mass
    # The plan is made exactly feasible as entropic plans are: what lacks costs no more than
    # the largest cost.
    flow *= (a / np.maximum(np.bincount(i, flow, n), a))[i]
    flow *= (b / np.maximum(np.bincount(j, flow, m), b))[j]
    lacking = np.maximum(a - np.bincount(i, flow, n), 0.0).sum()
    upper = float(flow @ costs) + lacking * largest
    return upper, *np.split(np.append(solution.eqlin.marginals * unit, 0.0), [n])


def _costs_of(cost, i, j):
    if cost.stored:
        return cost.matrix[i, j]
    difference = cost.X[i] - cost.Y[j]
    if cost.metric == "sqeuclidean":
        return np.sum(difference**2, axis=1)
    if cost.metric == "euclidean":
        return np.sqrt(np.sum(difference**2, axis=1))
    return np.sum(np.abs(difference), axis=1)


def _check_potentials(cost, a, b, f, g):
    """Return a dual value, and the entry of each row and column that violates it most.

    With g held, the best feasible potential of the rows is ``min_j C_ij - g_j``.
    """
    n, m = cost.shape
    feasible = np.empty(n)
    best = np.empty(n, np.int64)
    worst = np.full(m, np.inf)
    worst_row = np.zeros(m, np.int64)
    n_rows = max(1, BLOCK_ENTRIES // m)
    for start in range(0, n, n_rows):
        block = slice(start, min(start + n_rows, n))
        reduced = cost.restrict(block, slice(None)).dense() - g
        best[block] = np.argmin(reduced, axis=1)
        feasible[block] = np.min(reduced, axis=1)
        reduced -= f[block, None]
        second = np.argmin(reduced, axis=0)
        value = reduced[second, np.arange(m)]
        closer = value < worst
        worst = np.where(closer, value, worst)
        worst_row = np.where(closer, start + second, worst_row)
    violating = np.concatenate([np.arange(n) * m + best, worst_row * m + np.arange(m)])
    return float(a @ feasible + b @ g), violating
