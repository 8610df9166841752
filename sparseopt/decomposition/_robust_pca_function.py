"""One function for all robust PCA: it chooses the problem, its constants and the solver."""

import warnings

from sparseopt._core import check_at_least_one, check_nonnegative
from sparseopt.decomposition._alternating_projections import accelerated_alternating_projections
from sparseopt.decomposition._godec import godec
from sparseopt.decomposition._gross_errors import bring_near, give_back
from sparseopt.decomposition._ircur import ircur
from sparseopt.decomposition._known_rank import check_rank
from sparseopt.decomposition._principal_pursuit import principal_component_pursuit
from sparseopt.decomposition._reweighted import reweighted_pursuit
from sparseopt.decomposition._robust_pca_arguments import (
    METHOD_SOLVERS,
    SPARELESS,
    check_choices,
    check_observations,
    check_passes,
    check_start,
    check_weights,
    choose_lam,
    choose_mu,
    default_lam,
    refuse,
)
from sparseopt.decomposition._row_weights import solve_weighted
from sparseopt.decomposition._scaled_gradient import scaled_gradient_descent
from sparseopt.decomposition._stable_pursuit import stable_principal_pursuit

__all__ = ["METHOD_SOLVERS", "check_observations", "default_lam", "robust_pca"]

KNOWN_RANK_SOLVERS = {
    "accaltproj": accelerated_alternating_projections,
    "scaledgd": scaled_gradient_descent,
    "godec": godec,
    "ircur": ircur,
}
SINGLE_PRECISION = 10  # factor of the default gap for float32
DEFAULT_TOL_GAP = {"pcp": 1e-4, "stable": 1e-6}


def robust_pca(
    X,
    *,
    method="pcp",
    solver="auto",
    lam="auto",
    mask=None,
    n_components=None,
    noise_std=None,
    mu="auto",
    reweighting=0,
    sample_weight=None,
    tol=1e-7,
    tol_gap=None,
    max_iter=1000,
    svd_solver="auto",
    start=None,
    random_state=None,
    callback=None,
    warn=True,
    **solver_options,
):
    r"""Split a matrix into a low-rank and a sparse part.

    Three convex problems, solved to a certified accuracy,

    .. math::

        \text{pcp:} \quad & \min \|L\|_* + \lambda \|S\|_1
        \quad \text{subject to } L + S = X \text{ where } X \text{ is observed}

        \text{stable:} \quad & \min \|L\|_* + \lambda \|S\|_1
        + \tfrac{1}{2 \mu} \|P(X - L - S)\|_F^2

        \text{outlier:} \quad & \min \|L\|_* + \lambda \sum_i \|S_{i \cdot}\|_2
        \quad \text{subject to } L + S = X,

    and four methods for a given rank, which are faster and carry no certificate.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data, from any array library; float32 is kept. NaN marks missing entries.
    method : {"pcp", "stable", "outlier"}, default="pcp"
        "pcp" is for gross errors in some entries, "stable" for dense noise beside them, and
        "outlier" for samples that are wrong as a whole.
    solver : {"auto", "ialm", "admm", "fista", "accaltproj", "scaledgd", "godec", "ircur"}
        "ialm" ends where L + S = X, which may be a point that is not optimal; "admm" goes on
        until the duality gap is small; "auto" starts with the former and goes on to the
        latter if there is need. "fista" solves the stable problem. The others need
        ``n_components``: accelerated alternating projections, scaled gradient descent, GoDec
        (with ``card`` or ``tau``) and iterated robust CUR, which looks at some rows and columns
        only.
    lam : float or "auto", default="auto"
        Weight :math:`\lambda > 0` of the sparse part. "auto" is
        :math:`1 / \sqrt{p \max(n_{samples}, n_{features})}` for an observed share p, and
        :math:`3 / (7 \sqrt{0.01 n_{samples}})` for outlying samples.
    mask : array-like of bool of shape (n_samples, n_features), optional
        True where ``X`` is observed. NaN count as missing in any case.
    n_components : int, optional
        Rank of L, for the solvers that need it. Others find it, and have no use for this.
    noise_std : float, optional
        Standard deviation of the dense noise; it is estimated by default. Only for
        ``method="stable"`` and the solvers "accaltproj" and "scaledgd".
    mu : float or "auto", default="auto"
        Weight :math:`\mu` of the residual in the stable problem, in the units of ``X``. "auto" is
        :math:`\sqrt{2 \max(n_{samples}, n_{features})}` times ``noise_std``. Without noise it is
        0, and the stable problem is "pcp".
    reweighting : int, default=0
        Number of further passes of a convex solver with weights
        :math:`1 / (1 + \sigma_k / \varepsilon)` of the singular values, where
        :math:`\varepsilon` is the tenth part of the largest. They shrink large values less,
        for a concave penalty of the rank, which recovers more; there is no gap then.
    sample_weight : array-like of shape (n_samples,), optional
        Numbers of equal rows for which each row stands, >= 0 and not only integers; for convex
        problems only. ``x`` and ``dual`` are then those of rows times the roots of the weights,
        and both parts are NaN in rows of weight 0.
    tol : float, default=1e-7
        Largest :math:`\|X - L - S\|_F / \|X\|_F`. At least 20 times the machine epsilon.
    tol_gap : float, optional
        Largest duality gap over the objective: 1e-4 by default, and 1e-6 for the stable
        problem, where ``tol`` plays no part; ten times that for float32. "ialm" only reports
        its gap.
    max_iter : int, default=1000
        Largest number of iterations.
    svd_solver : {"auto", "full", "gram", "subspace"}, default="auto"
        How convex solvers find singular values: LAPACK's decomposition, the eigenvalues of
        the Gram matrix, or block iteration from the last ones. "auto" takes the fastest.
    start : OptimizeResult, optional
        Result of this function for a similar problem, from which a convex solver goes on.
    random_state : None, int, RandomState or Generator
        Draws the first block of iterations that need one.
    callback : callable, optional
        Called after each iteration as SciPy's optimizers do: ``callback(x)``, or
        ``callback(intermediate_result=...)``. Raising ``StopIteration`` ends the run.
    warn : bool, default=True
        Whether to emit a ``ConvergenceWarning`` if the tolerances were not met.
    **solver_options
        Further options of the solvers for a given rank, for example ``card`` (the number
        of nonzeros of S) or ``tau`` (a threshold) of "godec".

    Returns
    -------
    result : OptimizeResult
        ``low_rank`` and ``sparse`` of shape (n_samples, n_features), the latter zero where
        nothing was observed; ``x``, the low-rank part as ``U``, ``s`` and ``Vt``; ``fun``,
        ``nit``, ``success``, ``status``, ``message``, ``history``; ``method``, ``solver``, and for
        the convex problems ``lam``, ``mu``, ``noise_std``, ``dual`` (feasible) and ``dual_gap``,
        the proved relative distance to the optimum (NaN after reweighting, when ``weights`` has
        the weights of the singular values).

    Raises
    ------
    TypeError
        For sparse containers and data that are not real numbers.
    ValueError
        For infinite entries, rows or columns without observed entries, ``lam <= 0``,
        ``n_components`` above the smaller side, and arguments that do not go together.

    Warns
    -----
    ConvergenceWarning
        If the tolerances were not met; it tells the gap that was.
    UserWarning
        If outlier pursuit explains all samples as outliers.

    See Also
    --------
    RobustPCA : The estimator.
    robust_pca_path : Solutions for a sequence of ``lam``.

    References
    ----------
    E. J. Candès, X. Li, Y. Ma & J. Wright, "Robust principal component analysis?", Journal of
    the ACM 58 (2011).
    Z. Zhou et al., "Stable principal component pursuit", ISIT 2010.
    H. Xu, C. Caramanis & S. Sanghavi, "Robust PCA via outlier pursuit", IEEE Transactions on
    Information Theory 58 (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import robust_pca
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 40))
    >>> errors = 9.0 * (rng.random((60, 40)) < 0.05)
    >>> result = robust_pca(low_rank + errors)
    >>> result.x.rank, bool(result.dual_gap < 1e-4)
    (2, True)
    >>> bool(np.allclose(result.low_rank, low_rank, atol=1e-5))
    True
    """
    check_choices(method, solver, svd_solver, KNOWN_RANK_SOLVERS)
    run = {
        "max_iter": check_at_least_one(max_iter, "max_iter"),
        "random_state": random_state,
        "callback": callback,
        "warn": warn,
    }
    tol = check_nonnegative(tol, "tol")
    passes = check_passes(reweighting)
    if solver in KNOWN_RANK_SOLVERS:
        refuse(solver, lam=lam != "auto", mu=mu != "auto", tol_gap=tol_gap is not None)
        refuse(solver, sample_weight=sample_weight is not None, start=start is not None)
        refuse(solver, reweighting=passes > 0, svd_solver=svd_solver != "auto")
        refuse(solver, observed="observed" in solver_options)
        return _fit_known_rank(
            X, mask, method, solver, n_components, noise_std, run | {"tol": tol} | solver_options
        )
    X, observed, xp = check_observations(X, mask)
    refuse(solver, **dict.fromkeys(solver_options, True))
    if n_components is not None:
        check_rank(n_components, X.shape, "n_components")
    weights, start = check_weights(sample_weight, X, xp), check_start(start, X, xp)
    n_samples = X.shape[0] if weights is None else float(xp.sum(weights))
    lam = choose_lam(lam, method, X, observed, weights)
    near, excess = (X, None) if method == "outlier" else bring_near(X, observed)
    gap = None if tol_gap is None else check_nonnegative(tol_gap, "tol_gap")
    run["svd_solver"] = svd_solver
    if method == "stable":
        noise = {"observed": observed, "svd_solver": svd_solver, "random_state": random_state}
        mu, noise_std = choose_mu(mu, noise_std, near, min(lam, SPARELESS), n_samples, noise)
        solver = "fista" if mu > 0 else "auto"
    else:
        refuse(f"method={method!r}", noise_std=noise_std is not None, mu=mu != "auto")
        mu = 0.0
    gap = _default_gap("stable" if mu > 0 else "pcp", X, xp) if gap is None else gap
    tol = max(tol, 20 * float(xp.finfo(X.dtype).eps))

    def solve(X, lam, row_weights, observed, start):
        pursue = _pursuit(method, solver, lam, mu, tol, gap, run)

        def once(shrink, previous):
            first = start if previous is None else previous
            return pursue(X, row_weights, observed, shrink=shrink, start=first)

        return reweighted_pursuit(once, passes=passes, tol=tol) if passes else once(None, None)

    result = solve_weighted(solve, near, lam, weights, observed, start)
    if excess is not None:
        if excess.belongs_to(result.sparse):
            give_back(result, excess, lam, weights)
        else:  # large, but no errors
            result = solve_weighted(solve, X, lam, weights, observed, start)
    if method == "outlier" and warn:
        _warn_if_all_outlying(result)
    result.update(method=method, solver=solver, lam=lam, mu=mu, noise_std=noise_std)
    return result


def _default_gap(problem, X, xp):
    single = float(xp.finfo(X.dtype).eps) > 1e-10
    return DEFAULT_TOL_GAP[problem] * (SINGLE_PRECISION if single else 1)


def _pursuit(method, solver, lam, mu, tol, gap, run):
    """Return the convex solver as a function of the data, a shrinkage and a start."""

    def pursue(X, row_weights, observed, **modification):
        known = {"observed": observed, **run, **modification}
        if mu > 0:
            return stable_principal_pursuit(X, lam, mu, weights=row_weights, tol=gap, **known)
        return principal_component_pursuit(
            X,
            lam,
            by_rows=method == "outlier",
            row_weights=row_weights,
            solver=solver,
            tol=tol,
            tol_gap=gap,
            **known,
        )

    return pursue


def _fit_known_rank(X, mask, method, solver, n_components, noise_std, options):
    if n_components is None:
        raise ValueError(f"solver={solver!r} needs n_components, the rank of the low-rank part.")
    if solver == "ircur":  # X may be a file too large to be read as a whole
        refuse(solver, mask=mask is not None)
    else:
        X, observed, _ = check_observations(X, mask)
        check_rank(n_components, X.shape, "n_components")
        options["observed"] = observed
    if noise_std is not None:
        refuse(solver, noise_std=solver == "godec")
        options["noise_std"] = check_nonnegative(noise_std, "noise_std")
    result = KNOWN_RANK_SOLVERS[solver](X, n_components, **options)
    result.update(method=method, solver=solver)
    return result


def _warn_if_all_outlying(result):
    if result.x.rank == 0 and result.fun > 0:
        warnings.warn(
            "Outlier pursuit explains every sample as an outlier: the low-rank part is zero. This "
            "happens if lam is too small, or the share of outliers above about 9 / (49 rank): "
            "raise lam, or use method='pcp'.",
            UserWarning,
            stacklevel=3,
        )
