r"""The Sinkhorn divergence of point clouds, and its gradients.

    S(a, b) = OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2,
    OT(a, b) = min <P, C> + reg KL(P | a b')  over P >= 0 (n, m) with P 1 = a, P' 1 = b.

References: Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré (2019), Interpolating between optimal
transport and MMD using Sinkhorn divergences, AISTATS. In the terms of a cloud with itself both
potentials agree, and the averaged iteration x <- (x + T(x)) / 2, T a Sinkhorn row update,
converges in a few steps.
"""

from typing import NamedTuple

import numpy as np

from sparseopt.transport._arguments import check_points, refuse_device_arrays
from sparseopt.transport._problem import METRICS, check_cost, check_masses, check_reg
from sparseopt.transport._semidual import SemiDual
from sparseopt.transport._sinkhorn import result_dtype, sinkhorn

SELF_ITERATIONS = 100  # of the averaged iteration, before sinkhorn takes over


class DivergenceGradient(NamedTuple):
    """Derivatives of a Sinkhorn divergence.

    Attributes
    ----------
    X, Y : ndarray of shape (n, n_features) and (m, n_features)
        In the points, with masses held.
    a, b : ndarray of shape (n,) and (m,)
        In the masses, up to a constant each, since masses keep their sum: ``a @ gradient.a`` and
        ``b @ gradient.b`` are zero.
    """

    X: np.ndarray
    Y: np.ndarray
    a: np.ndarray
    b: np.ndarray


def sinkhorn_divergence(
    X,
    Y,
    a=None,
    b=None,
    *,
    metric="sqeuclidean",
    reg=0.05,
    reg_scale=None,
    tol=1e-8,
    max_iter=1000,
    normalize=False,
    return_grad=False,
    n_jobs=None,
):
    r"""Compute the Sinkhorn divergence between two point clouds, and its gradient.

    :math:`S(a, b) = OT(a, b) - \tfrac12 OT(a, a) - \tfrac12 OT(b, b)` with the entropic value
    :math:`OT(a, b) = \min_P \langle P, C\rangle + \text{reg}\, KL(P | a b^T)`. Unlike ``OT`` itself
    it vanishes for equal clouds; for the metrics "sqeuclidean", "euclidean" and "cityblock" it
    is positive for any others.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        Source points.
    Y : array-like of shape (m, n_features)
        Target points.
    a : array-like of shape (n,), optional
        Masses of the sources, >= 0; uniform with sum 1 by default.
    b : array-like of shape (m,), optional
        Masses of the targets, with the same sum.
    metric : str or callable, default="sqeuclidean"
        Cost between points, as in :func:`sinkhorn`. It has to be symmetric.
    reg : float, default=0.05
        Strength of the regularisation, > 0, in the units of the cost.
    reg_scale : {None, "max", "mean", "median"}, default=None
        Statistic of the costs between ``X`` and ``Y`` that ``reg`` is multiplied by; the
        gradient takes it as constant.
    tol : float, default=1e-8
        Largest marginal error of each of the three problems, relative to the total mass.
    max_iter : int, default=1000
        Largest number of iterations for each of them.
    normalize : bool, default=False
        Whether to divide ``a`` and ``b`` by their sums first.
    return_grad : bool, default=False
        Whether to return the gradient too.
    n_jobs : int, optional
        Threads for passes over more than four million pairs. Results do not depend on it.

    Returns
    -------
    divergence : float
        In the units of the cost.
    gradient : DivergenceGradient
        If ``return_grad``: a named tuple with the derivatives in ``X``, ``Y``, ``a``, ``b``;
        float32 if all input is.

    Raises
    ------
    ValueError
        For negative or non-finite masses, unequal sums, shapes that do not fit, ``reg`` not
        positive, or a gradient with another metric than "sqeuclidean", "euclidean" and
        "cityblock".

    Warns
    -----
    ConvergenceWarning
        If a tolerance was not reached.

    See Also
    --------
    pairwise_sinkhorn : Divergences of many histograms with common bins.
    sinkhorn : The terms of the divergence.

    Notes
    -----
    The value agrees with OTT's ``sinkhorn_divergence``. POT's ``empirical_sinkhorn_divergence``
    is another number: it leaves out the entropies, and keeps the linear costs of the plans.

    References
    ----------
    Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré (2019). Interpolating between optimal
    transport and MMD using Sinkhorn divergences. AISTATS.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.transport import sinkhorn_divergence
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> value, gradient = sinkhorn_divergence(X, X + [2.0, 0.0], reg=0.1, return_grad=True)
    >>> round(value, 6)
    4.0
    >>> gradient.X.round(6)
    array([[-2.,  0.],
           [-2.,  0.]])
    """
    refuse_device_arrays(X=X, Y=Y, a=a, b=b)
    dtype = result_dtype(None, a, b, X, Y)
    X, Y = check_points(X, Y)
    cost = check_cost(None, X, Y, metric)
    if return_grad and metric not in METRICS:
        raise ValueError(f"return_grad needs a metric among {sorted(METRICS)}, got {metric!r}.")
    a, b = check_masses(a, b, cost.shape, normalize=normalize)
    options = {
        "reg": check_reg(reg, reg_scale, cost), "tol": tol, "max_iter": max_iter, "n_jobs": n_jobs
    }  # fmt: skip
    cross = sinkhorn(a, b, X=cost.X, Y=cost.Y, metric=metric, **options)
    own = [_self_transport(cost.X, a, metric, options), _self_transport(cost.Y, b, metric, options)]
    value = cross.value - (own[0].value + own[1].value) / 2
    if metric in METRICS:
        value = max(value, 0.0)  # as is true of the exact solution
    if not return_grad:
        return value
    gradients = (
        cross.grad_X() - _grad_points(own[0]),
        cross.grad_Y() - _grad_points(own[1]),
        cross.grad_a() - (own[0].grad_a() + own[0].grad_b()) / 2,
        cross.grad_b() - (own[1].grad_a() + own[1].grad_b()) / 2,
    )
    return value, DivergenceGradient(*(array.astype(dtype, copy=False) for array in gradients))


def _grad_points(own):
    """Return half the gradient of a term of a cloud with itself, which depends on it twice."""
    return (own.grad_X() + own.grad_Y()) / 2


def _self_transport(points, mass, metric, options):
    """Solve the problem of a cloud with itself."""
    init = None
    if metric in METRICS:
        y = _averaged_iteration(points, mass, metric, options)
        if y is not None:
            init = y, y
    return sinkhorn(mass, mass, X=points, Y=points, metric=metric, init=init, **options)


def _averaged_iteration(points, mass, metric, options):
    """Return a potential that meets the tolerance, or None where that takes too long."""
    present = np.flatnonzero(mass)
    total = mass.sum()
    cost = check_cost(None, points[present], None, metric)
    p = mass[present] / total
    eps = options["reg"]
    dual = SemiDual(cost, p, p, eps, options["n_jobs"])
    y = eps * np.log(p)
    for _ in range(min(SELF_ITERATIONS, options["max_iter"])):
        point = dual.evaluate(y)
        if point.error <= options["tol"]:
            potential = np.zeros(mass.size)
            potential[present] = y - eps * np.log(p)
            return potential
        y = (y + point.x) / 2
    return None
