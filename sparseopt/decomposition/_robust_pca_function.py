"""One function for all robust PCA: it chooses the problem, its constants and the solver."""

import math
import numbers
import warnings

import numpy as np

from sparseopt._core import array_namespace, check_at_least_one, check_nonnegative, is_numpy
from sparseopt.decomposition._alternating_projections import accelerated_alternating_projections
from sparseopt.decomposition._godec import godec
from sparseopt.decomposition._ircur import ircur
from sparseopt.decomposition._known_rank import check_matrix, check_rank
from sparseopt.decomposition._noise import default_mu, noise_level
from sparseopt.decomposition._principal_pursuit import principal_component_pursuit
from sparseopt.decomposition._reweighted import reweighted_pursuit
from sparseopt.decomposition._scaled_gradient import scaled_gradient_descent
from sparseopt.decomposition._singular_values import SOLVERS as SVD_SOLVERS
from sparseopt.decomposition._stable_pursuit import stable_principal_pursuit

METHOD_SOLVERS = {
    "pcp": ("auto", "ialm", "admm"),
    "stable": ("auto", "fista"),
    "outlier": ("auto", "ialm", "admm"),
}
KNOWN_RANK_SOLVERS = {
    "accaltproj": accelerated_alternating_projections,
    "scaledgd": scaled_gradient_descent,
    "godec": godec,
    "ircur": ircur,
}
RARE_OUTLIERS = 0.01  # share of outlying samples that the default weight is made for
SINGLE_PRECISION = 10  # factor of the default gap for float32
DEFAULT_TOL_GAP = {"pcp": 1e-4, "stable": 1e-6, "outlier": 1e-4}


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
        :math:`\varepsilon` is the hundredth part of the largest. They shrink large values less,
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
        Result for a similar problem, from which a convex solver goes on.
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
    _check_choices(method, solver, svd_solver)
    run = {
        "max_iter": check_at_least_one(max_iter, "max_iter"),
        "random_state": random_state,
        "callback": callback,
        "warn": warn,
    }
    tol = check_nonnegative(tol, "tol")
    if solver in KNOWN_RANK_SOLVERS:
        _refuse(solver, lam=lam != "auto", mu=mu != "auto", tol_gap=tol_gap is not None)
        _refuse(solver, sample_weight=sample_weight is not None, start=start is not None)
        return _fit_known_rank(
            X, mask, method, solver, n_components, noise_std, run | {"tol": tol} | solver_options
        )
    X, observed, xp = check_observations(X, mask)
    _refuse(solver, **dict.fromkeys(solver_options, True))
    if n_components is not None:
        check_rank(n_components, X.shape, "n_components")
    weights = _check_weights(sample_weight, X, xp)
    n_samples = X.shape[0] if weights is None else float(xp.sum(weights))
    lam = _choose_lam(lam, method, (n_samples, X.shape[1]), observed)
    gap = _default_gap(method, X, xp) if tol_gap is None else check_nonnegative(tol_gap, "tol_gap")
    run["svd_solver"] = svd_solver
    if method == "stable":
        noise = {"observed": observed, "svd_solver": svd_solver, "random_state": random_state}
        mu, noise_std = _choose_mu(mu, noise_std, X, lam, n_samples, noise)
    else:
        _refuse(f"method={method!r}", noise_std=noise_std is not None, mu=mu != "auto")
        mu = 0.0
    solver = "fista" if mu > 0 else solver
    tol = max(tol, 20 * float(xp.finfo(X.dtype).eps))
    pursue = _pursuit(method, solver, lam, mu, tol, gap, run)

    def solve(X, row_weights, observed):
        def once(shrink, previous):
            first = start if previous is None else previous
            return pursue(X, row_weights, observed, shrink=shrink, start=first)

        passes = check_passes(reweighting)
        return reweighted_pursuit(once, passes=passes, tol=tol) if passes else once(None, None)

    result = _solve_weighted(solve, X, weights, observed, xp)
    if method == "outlier" and warn:
        _warn_if_all_outlying(result)
    result.update(method=method, solver=solver, lam=lam, mu=mu, noise_std=noise_std)
    return result


def _default_gap(method, X, xp):
    single = float(xp.finfo(X.dtype).eps) > 1e-10
    return DEFAULT_TOL_GAP[method] * (SINGLE_PRECISION if single else 1)


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


def check_passes(reweighting):
    """Return ``reweighting`` as an int >= 0."""
    if isinstance(reweighting, numbers.Integral) and reweighting == 0:
        return 0
    return check_at_least_one(reweighting, "reweighting")


def _solve_weighted(solve, X, weights, observed, xp):
    """Solve the problem in which each row stands for as many equal ones as its weight says.

    If the rows of L and S are repeated w times, the nuclear norm is that of L with rows times
    the root of w, and the penalty of S counts w times. So rows are scaled by that root, and
    lam too. Rows that stand for none take no part; what belongs to them is NaN.
    """
    if weights is None:
        return solve(X, None, observed)
    roots = xp.sqrt(weights)
    rows = weights > 0
    everyone = bool(xp.all(rows))
    if not everyone:
        X, observed = X[rows, :], None if observed is None else observed[rows, :]
        roots = roots[rows]
    result = solve(X * roots[:, None], roots, observed)
    for name in ("low_rank", "sparse"):
        part = result[name] / roots[:, None]
        if not everyone:
            whole = xp.full((rows.shape[0], X.shape[1]), xp.nan, dtype=X.dtype)
            whole[rows, :] = part
            part = whole
        result[name] = part
    return result


def _fit_known_rank(X, mask, method, solver, n_components, noise_std, options):
    if n_components is None:
        raise ValueError(f"solver={solver!r} needs n_components, the rank of the low-rank part.")
    if solver == "ircur":  # X may be a file too large to be read as a whole
        _refuse(solver, mask=mask is not None)
    else:
        X, observed, _ = check_observations(X, mask)
        check_rank(n_components, X.shape, "n_components")
        options["observed"] = observed
    if noise_std is not None:
        _refuse(solver, noise_std=solver == "godec")
        options["noise_std"] = check_nonnegative(noise_std, "noise_std")
    result = KNOWN_RANK_SOLVERS[solver](X, n_components, **options)
    result.update(method=method, solver=solver)
    return result


def check_observations(X, mask=None):
    """Return X as a real matrix, where it is observed (None: everywhere), and its namespace."""
    X, xp = check_matrix(X, "X")
    missing = xp.isnan(X)
    if bool(xp.any(xp.isinf(X))):
        raise ValueError("X must not contain infinite entries. NaN marks missing ones.")
    observed = ~missing
    if mask is not None:
        mask = np.asarray(mask) if is_numpy(xp) else mask
        if mask.dtype != xp.bool or tuple(mask.shape) != tuple(X.shape):
            raise ValueError(
                f"mask must be an array of booleans of shape {tuple(X.shape)}, True where X is "
                f"observed, got dtype {mask.dtype} and shape {tuple(mask.shape)}."
            )
        observed = observed & mask
    if bool(xp.all(observed)):
        return X, None, xp
    for axis, name in ((1, "row"), (0, "column")):
        seen = xp.any(observed, axis=axis)
        if not bool(xp.all(seen)):
            first = int(xp.argmin(xp.astype(seen, xp.int8)))
            raise ValueError(
                f"{name} {first} of X has no observed entry: nothing determines its low-rank "
                f"part. Remove such {name}s."
            )
    return X, observed, xp


def default_lam(method, shape, *, share=1.0):
    """Return the weight of the sparse part that the papers recommend.

    That of outlying samples depends on how many there are. If it is too small, every sample
    becomes an outlier. What is right for one in a hundred still finds ten times as many.
    """
    if method == "outlier":
        return 3 / (7 * math.sqrt(RARE_OUTLIERS * shape[0]))
    return 1 / math.sqrt(share * max(shape))


def _check_choices(method, solver, svd_solver):
    if method not in METHOD_SOLVERS:
        raise ValueError(f"method must be one of {tuple(METHOD_SOLVERS)}, got {method!r}.")
    accepted = METHOD_SOLVERS[method]
    if method != "outlier":
        accepted += tuple(KNOWN_RANK_SOLVERS)
    if solver not in accepted:
        raise ValueError(f"solver must be one of {accepted} for method={method!r}, got {solver!r}.")
    if svd_solver not in SVD_SOLVERS:
        raise ValueError(f"svd_solver must be one of {SVD_SOLVERS}, got {svd_solver!r}.")


def _refuse(subject, **given):
    """Raise if an argument was given that ``subject`` has no use for."""
    subject = subject if "=" in subject else f"solver={subject!r}"
    names = [name for name, value in given.items() if value]
    if names:
        raise ValueError(f"{names[0]} is not used by {subject}: leave it out.")


def _choose_lam(lam, method, shape, observed):
    if isinstance(lam, str):
        if lam != "auto":
            raise ValueError(f"lam must be a positive number or 'auto', got {lam!r}.")
        share = 1.0 if observed is None else _mean(observed)
        return default_lam(method, shape, share=share)
    if check_nonnegative(lam, "lam") == 0:
        raise ValueError("lam must be positive, got 0: every entry of X would be an error.")
    return float(lam)


def _mean(observed):
    xp = array_namespace(observed)
    return int(xp.count_nonzero(observed)) / math.prod(observed.shape)


def _choose_mu(mu, noise_std, X, lam, n_samples, options):
    """Return mu and the noise that it was chosen for; without noise, mu is 0."""
    if isinstance(mu, str):
        if mu != "auto":
            raise ValueError(f"mu must be a positive number or 'auto', got {mu!r}.")
        if noise_std is None:
            noise_std = noise_level(X, lam, **options).noise_std
        return default_mu(noise_std, (n_samples, X.shape[1])), noise_std
    if check_nonnegative(mu, "mu") == 0:
        raise ValueError("mu must be positive, got 0: use method='pcp' for data without noise.")
    return float(mu), noise_std


def _check_weights(sample_weight, X, xp):
    if sample_weight is None:
        return None
    if is_numpy(xp):
        sample_weight = np.asarray(sample_weight, dtype=X.dtype)
    if tuple(sample_weight.shape) != (X.shape[0],):
        raise ValueError(
            f"sample_weight must have shape ({X.shape[0]},), one entry a row of X, got "
            f"{tuple(sample_weight.shape)}."
        )
    if not bool(xp.all(xp.isfinite(sample_weight) & (sample_weight >= 0))):
        raise ValueError("sample_weight must be finite and >= 0.")
    if not bool(xp.any(sample_weight > 0)):
        raise ValueError("sample_weight must have a positive sum, got only zeros.")
    return sample_weight


def _warn_if_all_outlying(result):
    if result.x.rank == 0 and result.fun > 0:
        warnings.warn(
            "Outlier pursuit explains every sample as an outlier: the low-rank part is zero. This "
            "happens if lam is too small, or the share of outliers above about 9 / (49 rank): "
            "raise lam, or use method='pcp'.",
            UserWarning,
            stacklevel=3,
        )
