r"""Entropic optimal transport with one call for every regularisation strength.

References: Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying (2024),
Accelerating Sinkhorn algorithm with sparse Newton iterations, ICLR; Cuturi (2013), Sinkhorn
distances, NeurIPS 26. For masses a (n,), b (m,), costs C (n, m) and reg > 0,

    minimise  <P, C> + reg KL(P | a b')  over P >= 0 (n, m) with P 1 = a, P' 1 = b.
"""

import math
import numbers

import numpy as np

from sparseopt._core import Status, check_at_least_one, iterate
from sparseopt.transport._arguments import check_tol, refuse_device_arrays
from sparseopt.transport._assembly import (
    all_potentials,
    bins_with_mass,
    conclude,
    make_result,
    plan_sums,
)
from sparseopt.transport._problem import (
    check_cost,
    check_exponents,
    check_feasible,
    check_masses,
    check_reg,
)
from sparseopt.transport._result import OTResult
from sparseopt.transport._semidual import SemiDual
from sparseopt.transport._steps import TransportSteps

SOLVERS = ("auto", "sns", "sinkhorn", "sinkhorn_log")
SHARE_FOR_STEPS = 0.99  # of the tolerance; the rest is for rounding the potentials


def sinkhorn(
    a=None,
    b=None,
    C=None,
    *,
    X=None,
    Y=None,
    metric="sqeuclidean",
    reg=0.05,
    solver="auto",
    tol=1e-8,
    max_iter=1000,
    warm_start_sweeps=20,
    eps_scaling="auto",
    sparsity="auto",
    init=None,
    reg_scale=None,
    normalize=False,
    store_history=False,
    callback=None,
    n_jobs=None,
    dtype=None,
):
    """Solve an entropic optimal transport problem.

    Finds the plan ``P >= 0`` with row sums ``a`` and column sums ``b`` that minimises
    ``<P, C> + reg KL(P | a b')``, and its potentials ``f``, ``g``:
    ``P[i, j] = a[i] b[j] exp((f[i] + g[j] - C[i, j]) / reg)``.

    Parameters
    ----------
    a : array-like of shape (n,), optional
        Masses of the sources, >= 0; uniform with sum 1 by default. Sources without mass are
        left out.
    b : array-like of shape (m,), optional
        Masses of the targets, with the same sum.
    C : array-like of shape (n, m), optional
        Costs; ``numpy.inf`` forbids a pair.
    X : array-like of shape (n, n_features), optional
        Source points, instead of ``C``. With more than four million pairs the costs are
        computed where they are needed and never stored: memory is proportional to the bins
        and to the entries of the plan that matter, and where these are more than two
        million and more than 200 a bin, all solvers run sweeps alone.
    Y : array-like of shape (m, n_features), optional
        Target points; ``X`` by default.
    metric : str or callable, default="sqeuclidean"
        Cost between points: "sqeuclidean", "euclidean", "cityblock", or whatever
        :func:`scipy.spatial.distance.cdist` accepts, which is always stored.
    reg : float, default=0.05
        Strength of the regularisation, > 0, in the units of the cost.
    solver : {"auto", "sns", "sinkhorn", "sinkhorn_log"}, default="auto"
        "sns" is Sinkhorn-Newton-Sparse, "sinkhorn" scales a stored plan where memory
        allows, "sinkhorn_log" works in the log domain throughout. "auto" begins with
        overrelaxed Sinkhorn sweeps, and takes Newton steps where these will end sooner;
        where the range of the costs exceeds 5000 ``reg`` it does as "sns" does.
    tol : float, default=1e-8
        Largest marginal error ``|P 1 - a|_1 + |P' 1 - b|_1``, relative to the total mass.
    max_iter : int, default=1000
        Largest number of Sinkhorn sweeps and Newton steps together.
    warm_start_sweeps : int, default=20
        Sweeps of "sns" before the first Newton step where the regularisation is not scaled.
    eps_scaling : {"auto"} or bool, default="auto"
        Whether to solve problems with larger regularisation first. "auto" does so if
        the range of the costs exceeds 50 ``reg`` (5000 ``reg`` for ``solver="auto"``, or
        where its sweeps fail to come near a solution), unless ``init`` is given.
    sparsity : {"auto"}, float or None, default="auto"
        Which entries of the plan make up Newton's system. "auto" keeps those above a
        threshold that falls with the error; a number in (0, 1] keeps that share of all
        entries, as published; None keeps all.
    init : tuple of (array-like of shape (n,), array-like of shape (m,)), optional
        Potentials ``(f, g)`` to start from.
    reg_scale : {None, "max", "mean", "median"}, default=None
        Statistic of the costs that ``reg`` is multiplied by.
    normalize : bool, default=False
        Whether to divide ``a`` and ``b`` by their sums first.
    store_history : bool, default=False
        Whether the history has an entry for every sweep, or for every eight overrelaxed
        ones, rather than for more at a time.
    callback : callable, optional
        Called as ``callback(g)`` or ``callback(intermediate_result=...)`` after each
        report; raising ``StopIteration`` ends the run.
    n_jobs : int, optional
        Threads for passes over more than four million entries. Results do not depend on it.
    dtype : dtype, optional
        Of the result; float32 if all input is float32 and float64 otherwise. Everything is
        computed in float64.

    Returns
    -------
    result : OTResult
        Potentials, values, marginal errors, and the plan on demand.

    Raises
    ------
    ValueError
        For negative or non-finite masses, unequal sums, shapes that do not fit, ``reg`` not
        positive, or infinite costs that leave no plan.

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not reached; the message tells the error that was.

    See Also
    --------
    sinkhorn_newton_sparse : The same with ``solver="sns"``.

    Notes
    -----
    ``reg`` is the reciprocal of the paper's ``eta``. Its potentials differ from those here by
    ``reg log a`` and ``reg log b``; so do those of POT, which in addition are divided by ``reg``
    in ``ot.solve``.

    References
    ----------
    Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying (2024). Accelerating
    Sinkhorn algorithm with sparse Newton iterations. ICLR.

    Cuturi (2013). Sinkhorn distances: lightspeed computation of optimal transport. NeurIPS 26.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.transport import sinkhorn
    >>> C = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> result = sinkhorn([0.5, 0.5], [0.25, 0.75], C, reg=0.1)
    >>> result.plan().round(3)
    array([[0.25, 0.25],
           [0.  , 0.5 ]])
    """
    options = check_options(solver, tol, max_iter, warm_start_sweeps, eps_scaling, sparsity)
    refuse_device_arrays(a=a, b=b, C=C, X=X, Y=Y)
    dtype = result_dtype(dtype, a, b, C, X, Y)
    cost = check_cost(C, X, Y, metric)
    a, b = check_masses(a, b, cost.shape, normalize=normalize)
    eps = check_reg(reg, reg_scale, cost)
    cost, offset = cost.centred()
    rows, columns, inner = bins_with_mass(cost, a, b)
    if inner.stored and not np.isfinite(inner.statistics[1]):
        raise ValueError("C has no finite cost between bins with mass: no plan is feasible.")
    if inner.stored and not inner.all_finite:
        check_feasible(inner, a[rows], b[columns])
    check_exponents(inner, eps)
    mass = a.sum()
    p, q = a[rows] / mass, b[columns] / mass
    if init is None:
        y = eps * np.log(q)
        if solver == "auto":
            y += inner.first_potential
    else:
        y = check_init(init, cost.shape)[1][columns] + eps * np.log(q)
        if eps_scaling == "auto":
            options["eps_scaling"] = False
    options["tol"] = SHARE_FOR_STEPS * tol
    method = "Sinkhorn" if solver.startswith("sinkhorn") else "Sinkhorn-Newton-Sparse"
    state = TransportSteps(
        inner, p, q, eps, y, offset=offset, every_sweep=bool(store_history), n_jobs=n_jobs,
        **options,
    )  # fmt: skip
    run = iterate(
        TransportSteps.step,
        state,
        max_iter=max_iter - state.n_iter,
        tol=options["tol"],
        method=method,
        initial=state.progress(),
        callback=callback,
        warn=False,
    )
    result = _finish(cost, offset, a, b, eps, state, run, dtype)
    _judge(result, method, tol)
    return result


def sinkhorn_newton_sparse(a=None, b=None, C=None, **options):
    """Solve an entropic optimal transport problem by Sinkhorn-Newton-Sparse.

    Parameters
    ----------
    a, b, C
        As in :func:`sinkhorn`.
    **options
        Further arguments of :func:`sinkhorn`, except ``solver``. The published method has
        ``eps_scaling=False``, ``warm_start_sweeps=20`` and a number for ``sparsity``.

    Returns
    -------
    result : OTResult
        Potentials, values, marginal errors, and the plan on demand.

    See Also
    --------
    sinkhorn : All options, with a choice of solvers.

    References
    ----------
    Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying (2024). Accelerating
    Sinkhorn algorithm with sparse Newton iterations. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.transport import sinkhorn_newton_sparse
    >>> C = np.random.default_rng(0).random((100, 100))
    >>> result = sinkhorn_newton_sparse(C=C, reg=1e-3)
    >>> result.converged
    True
    """
    return sinkhorn(a, b, C, solver="sns", **options)


def _finish(cost, offset, a, b, eps, state, run, dtype):
    """Return the result: potentials on all bins, the gauge, and the values."""
    mass = a.sum()
    point = state.result_point()
    p, q, reached = a / mass, b / mass, state.dual.eps

    def update(side, part, y):
        return SemiDual(part, np.ones(part.shape[0]), np.ones(y.size), reached).evaluate(y).x

    f, g = all_potentials(cost, p, q, reached, point, update)
    # With masses of sum M the plan is M times that of the normalised ones.
    f = f - reached * math.log(mass)
    shift = (b @ g - a @ f) / (2 * mass)
    f, g = f + shift, g - shift
    sums = plan_sums(cost, a, b, f, g, eps, state.n_jobs)
    marginals = zip(sums, (a, b), strict=False)
    return make_result(
        OTResult,
        cost,
        (f, g),
        sums,
        state,
        run,
        offset=offset,
        dtype=dtype,
        a=a,
        b=b,
        reg=eps,
        value=float(a @ f + b @ g + offset * mass),
        marginal_error=tuple(float(np.sum(np.abs(sum_ - q))) for sum_, q in marginals),
    )


def _judge(result, method, tol):
    """Say whether the potentials that are returned meet the tolerance, and warn if not.

    Their error is that of the last step plus what rounding adds; a run that ended at a
    larger regularisation knows only the error there.
    """
    error = result.certificate / result.a.sum()
    status = result.status
    if status != Status.STOPPED_BY_CALLBACK and error <= tol:
        status = Status.CONVERGED
    elif status == Status.CONVERGED:
        status = Status.STALLED
    conclude(result, status, method, "marginal error", error, tol)


def check_options(solver, tol, max_iter, warm_start_sweeps, eps_scaling, sparsity):
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {SOLVERS}, got {solver!r}.")
    tol = check_tol(tol)
    check_at_least_one(max_iter, "max_iter")
    check_at_least_one(warm_start_sweeps, "warm_start_sweeps")
    if eps_scaling not in ("auto", True, False):
        raise ValueError(f'eps_scaling must be "auto", True or False, got {eps_scaling!r}.')
    if not (sparsity is None or sparsity == "auto"):
        real = isinstance(sparsity, numbers.Real) and not isinstance(sparsity, bool)
        if not (real and 0 < sparsity <= 1):
            raise ValueError(
                f'sparsity must be "auto", None or a number in (0, 1], got {sparsity!r}.'
            )
    return {
        "solver": solver,
        "tol": tol,
        "max_iter": max_iter,
        "warm_start_sweeps": warm_start_sweeps,
        "eps_scaling": eps_scaling if solver in ("auto", "sns") or eps_scaling is True else False,
        "sparsity": sparsity,
    }


def check_init(init, shape):
    try:
        f, g = (np.asarray(potential, dtype=np.float64) for potential in init)
    except (TypeError, ValueError) as error:
        raise ValueError("init must be a pair of potentials (f, g).") from error
    if (f.size, g.size) != shape or f.ndim != 1 or g.ndim != 1:
        raise ValueError(
            f"init must hold potentials of shapes ({shape[0]},) and ({shape[1]},), got "
            f"{f.shape} and {g.shape}."
        )
    if not (np.isfinite(f).all() and np.isfinite(g).all()):
        raise ValueError("init must be finite, got NaN or infinite potentials.")
    return f, g


def result_dtype(dtype, *arrays):
    if dtype is not None:
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype must be float32 or float64, got {dtype}.")
        return dtype
    given = [np.asarray(array).dtype for array in arrays if array is not None]
    return np.float32 if given and all(d == np.float32 for d in given) else np.float64
