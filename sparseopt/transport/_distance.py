r"""Wasserstein distances, with a certificate.

    W_p(a, b)^p = min <P, C>  over P >= 0 (n, m) with P 1 = a, P' 1 = b,  C_ij = |X_i - Y_j|^p.

On the line the quantile functions give the optimum (Villani 2003, Topics in Optimal
Transportation, theorem 2.18); equally many points of equal mass are an assignment problem;
the rest is a linear program (:mod:`sparseopt.transport._exact`). With regularisation the
entropic plan, made feasible, bounds the distance from above.
"""

import math
import numbers

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sparseopt.transport._arguments import check_points, check_tol, refuse_device_arrays
from sparseopt.transport._exact import exact_bounds
from sparseopt.transport._problem import Cost, check_cost, check_masses, check_reg
from sparseopt.transport._sinkhorn import sinkhorn

LARGEST_ASSIGNMENT = 2000


def wasserstein_distance(
    X, Y, a=None, b=None, *, p=2, reg=None, return_gap=False, normalize=False, tol=1e-9, n_jobs=None
):  # fmt: skip
    r"""Compute the Wasserstein distance between two point clouds.

    It is the distance itself, :math:`W_p = (\min_P \sum_{ij} P_{ij} |X_i - Y_j|^p)^{1/p}`
    with Euclidean :math:`|\cdot|`, not its p-th power.

    Parameters
    ----------
    X : array-like of shape (n, n_features) or (n,)
        Source points; a vector holds points on a line.
    Y : array-like of shape (m, n_features) or (m,)
        Target points.
    a : array-like of shape (n,), optional
        Masses of the sources, >= 0; uniform with sum 1 by default.
    b : array-like of shape (m,), optional
        Masses of the targets, with the same sum.
    p : float, default=2
        Exponent of the distance, >= 1.
    reg : float, optional
        Strength of an entropic regularisation, in the units of ``|X_i - Y_j|^p``. Without
        it the distance is exact.
    return_gap : bool, default=False
        Whether to return the certificate too.
    normalize : bool, default=False
        Whether to divide ``a`` and ``b`` by their sums first.
    tol : float, default=1e-9
        Without ``reg``, the largest gap of the p-th powers, relative to the result; with
        it, the marginal error of the entropic problem.
    n_jobs : int, optional
        Threads for passes over more than four million pairs. Results do not depend on it.

    Returns
    -------
    distance : float
        The distance; with ``reg``, an upper bound: the cost of the entropic plan, rounded to
        the given marginals.
    gap : float
        If ``return_gap``: the true distance lies in ``[distance - gap, distance]``. Zero,
        up to rounding errors, on the line and for assignments.

    Raises
    ------
    ValueError
        For negative or non-finite masses, unequal sums, shapes that do not fit, ``p`` below
        one or ``reg`` not positive.

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not reached.

    See Also
    --------
    sinkhorn_divergence : A smooth distance with gradients.
    sinkhorn : Entropic transport with any cost.

    Notes
    -----
    In one dimension the quantile functions give the distance in the time of sorting. Up to
    2000 points on each side, equally many and of equal mass, are assigned by
    :func:`scipy.optimize.linear_sum_assignment`. Otherwise a linear program over the few
    pairs that an entropic plan with little regularisation suggests is solved and checked
    against all pairs.

    A network simplex method made for transport, such as ``ot.emd2`` of POT, solves the general
    case in a fifth to two fifths of the time; it reports no duality gap.

    References
    ----------
    Villani (2003). Topics in Optimal Transportation. AMS.

    Examples
    --------
    >>> from sparseopt.transport import wasserstein_distance
    >>> wasserstein_distance([0.0, 1.0], [2.0, 3.0])
    2.0
    >>> X, Y = [[0, 0], [0, 1], [1, 0]], [[0, 0], [3, 0]]
    >>> distance, gap = wasserstein_distance(X, Y, p=1, return_gap=True)
    >>> round(distance, 6), gap < 1e-9
    (1.36038, True)
    """
    if not isinstance(p, numbers.Real) or isinstance(p, bool) or not 1 <= p < np.inf:
        raise ValueError(f"p must be a finite number >= 1, got {p!r}.")
    tol = check_tol(tol)
    refuse_device_arrays(X=X, Y=Y, a=a, b=b)
    X, Y = check_points(_as_points(X), _as_points(Y))
    a, b = check_masses(a, b, (len(X), len(Y)), normalize=normalize)
    if reg is not None:
        reg = check_reg(reg, None, None)
    X, Y, size = _at_size_one(X[a > 0], Y[b > 0])
    a, b = a[a > 0], b[b > 0]
    if size == 0:
        return (0.0, 0.0) if return_gap else 0.0
    if reg is not None:
        upper, lower = _entropic_bounds(X, Y, a, b, p, _scaled_reg(reg, size, p), tol, n_jobs)
    elif X.shape[1] == 1:
        upper = lower = _quantile_cost(X[:, 0], Y[:, 0], a, b, p)
    elif _is_assignment(a, b):
        cost = _power_cost(X, Y, p).dense()
        upper = lower = cost[linear_sum_assignment(cost)].sum() * a[0]
    else:
        upper, lower = exact_bounds(_power_cost(X, Y, p), a, b, tol=tol, n_jobs=n_jobs)
    distance, least = (float(size * max(cost, 0.0) ** (1 / p)) for cost in (upper, lower))
    return (distance, max(distance - least, 0.0)) if return_gap else distance


def _as_points(points):
    return np.reshape(points, (-1, 1)) if np.ndim(points) == 1 else points


def _at_size_one(X, Y):
    """Return the points shifted and scaled to size one, and their size.

    Powers of distances overflow easily, and so do differences of huge points.
    """
    largest = max(np.max(np.abs(X)), np.max(np.abs(Y)))
    if largest == 0:
        return X, Y, 0.0
    X, Y = X / largest, Y / largest
    centre = X[0].copy()
    X, Y = X - centre, Y - centre
    size = max(np.max(np.abs(X)), np.max(np.abs(Y)))
    if size == 0:
        return X, Y, 0.0
    whole = float(largest) * float(size)
    if math.isinf(whole):
        raise ValueError(
            f"The distances between X and Y must be finite, got points up to {largest}."
        )
    return X / size, Y / size, whole


def _scaled_reg(reg, size, p):
    """Return the regularisation for points of size one."""
    try:
        scaled = math.exp(math.log(reg) - p * math.log(size))
    except OverflowError:
        scaled = math.inf
    if not 0 < scaled < math.inf:
        raise ValueError(
            f"reg must be comparable with the costs, powers of distances up to {size:.3g}**{p:g}, "
            f"got {reg!r}."
        )
    return scaled


def _power_cost(X, Y, p):
    if p in (1, 2):
        return check_cost(None, X, Y, "euclidean" if p == 1 else "sqeuclidean")
    return Cost(cdist(X, Y) ** p)


def _is_assignment(a, b):
    return a.size == b.size <= LARGEST_ASSIGNMENT and np.ptp(a) == 0 == np.ptp(b)


def _entropic_bounds(X, Y, a, b, p, reg, tol, n_jobs):
    cost = _power_cost(X, Y, p)
    points = {"X": X, "Y": Y, "metric": cost.metric} if cost.X is not None else {"C": cost.matrix}
    return sinkhorn(a, b, **points, reg=reg, tol=tol, n_jobs=n_jobs)._bounds()


def _quantile_cost(x, y, a, b, p):
    """Return the optimal cost on the line: both masses are moved in sorted order."""
    order_x, order_y = np.argsort(x), np.argsort(y)
    ends_x, ends_y = np.cumsum(a[order_x]), np.cumsum(b[order_y])
    total = ends_x[-1]
    ends = np.sort(np.concatenate([ends_x[:-1], ends_y[:-1]]))
    ends = np.concatenate([[0.0], np.minimum(ends, total), [total]])
    middles = (ends[:-1] + ends[1:]) / 2
    from_x = x[order_x[np.minimum(np.searchsorted(ends_x, middles), x.size - 1)]]
    to_y = y[order_y[np.minimum(np.searchsorted(ends_y, middles), y.size - 1)]]
    return float(np.diff(ends) @ np.abs(from_x - to_y) ** p)
