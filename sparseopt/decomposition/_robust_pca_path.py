r"""Robust PCA for a sequence of weights of the sparse part.

For small lam the low-rank part is zero, for large lam the sparse part. The ends follow from
dual variables Y that prove it: those of L = 0 are Y = lam sign(X), which is feasible up to
lam = 1 / ||sign(X)||_2; those of S = 0 are U V' of the singular value decomposition, which is
feasible from lam = max |U V'|_ij on. With the limits |Y_ij| <= lam replaced by those of rows or
with the squared loss, the same is said of other Y.
"""

import numpy as np
from scipy.optimize import OptimizeResult

from sparseopt._core import array_namespace, check_at_least_one
from sparseopt.decomposition._noise import default_mu, noise_level
from sparseopt.decomposition._robust_pca_function import (
    METHOD_SOLVERS,
    check_observations,
    default_lam,
    robust_pca,
)
from sparseopt.decomposition._singular_values import spectral_norm

SHRINK = 1.25  # factor of the search for the lower end, where the loss is squared


def robust_pca_path(
    X, *, lams=None, n_lams=20, method="pcp", mask=None, noise_std=None, mu="auto", **options
):
    r"""Solve robust PCA for an increasing sequence of weights of the sparse part.

    Each problem starts from the solution of the one before.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data, from any array library. NaN marks missing entries.
    lams : array-like of shape (n_lams,), optional
        Weights > 0, sorted here in increasing order. By default a geometric sequence
        between the ends that :func:`lam_range` returns.
    n_lams : int, default=20
        Length of the default sequence.
    method : {"pcp", "stable", "outlier"}, default="pcp"
        The convex problem, as in :func:`robust_pca`.
    mask : array-like of bool of shape (n_samples, n_features), optional
        True where ``X`` is observed.
    noise_std : float, optional
        Standard deviation of dense noise, for "stable"; estimated once by default.
    mu : float or "auto", default="auto"
        Weight of the residual in the stable problem, the same for all problems.
    **options
        Other arguments of :func:`robust_pca` except for ``lam`` and ``start``; only solvers of
        the convex problems make sense.

    Returns
    -------
    path : OptimizeResult
        ``lams`` (n_lams,), ``results`` (a list of what :func:`robust_pca` returns), ``ranks``,
        ``n_nonzero`` (of the sparse parts), ``dual_gaps``, ``n_iters`` and ``converged``, each of
        shape (n_lams,), and ``success``, whether all converged.

    Raises
    ------
    TypeError
        For arguments that the path chooses itself.
    ValueError
        As :func:`robust_pca` raises it, and for ``lams`` that are not positive.

    Warns
    -----
    ConvergenceWarning
        For each problem whose tolerances were not met.

    See Also
    --------
    RobustPCACV : Chooses one of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import robust_pca_path
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    >>> X += 9.0 * (rng.random((40, 30)) < 0.05)
    >>> path = robust_pca_path(X, lams=[0.01, 0.2, 2.0])
    >>> path.ranks[:2]
    array([0, 2])
    >>> bool(np.allclose(path.results[2].sparse, 0, atol=1e-5))
    True
    """
    check_convex(method, options)
    for name in ("lam", "start"):
        if name in options:
            raise TypeError(f"robust_pca_path does not take the argument {name!r} of robust_pca.")
    X, observed, _ = check_observations(X, mask)
    if method == "stable":
        mu, noise_std = settle_mu(X, observed, mu, noise_std, options)
        options = options | {"mu": mu, "noise_std": noise_std} if mu > 0 else options
        method = "stable" if mu > 0 else "pcp"
    elif noise_std is not None or mu != "auto":
        raise ValueError(f"noise_std and mu are not used by method={method!r}: leave them out.")
    if lams is None:
        n_lams = check_at_least_one(n_lams, "n_lams")
        lams = lam_grid(X, n_lams, method=method, mask=observed, mu=mu)
    else:
        lams = check_lams(lams)
    results: list = []
    for lam in lams:
        start = results[-1] if results else None
        options |= {"method": method, "mask": observed, "start": start}
        results.append(robust_pca(X, lam=float(lam), **options))
    return OptimizeResult(
        lams=lams,
        results=results,
        ranks=np.array([result.x.rank for result in results]),
        n_nonzero=np.array([_count(result.sparse) for result in results]),
        dual_gaps=np.array([result.dual_gap for result in results]),
        n_iters=np.array([result.nit for result in results]),
        converged=np.array([result.success for result in results]),
        success=all(result.success for result in results),
    )


def lam_range(X, *, method="pcp", mask=None, mu=None):
    r"""Return weights of the sparse part between which both parts can be nonzero.

    Parameters
    ----------
    X : array of shape (m, n)
        Data with at least one observed entry that is not zero. NaN marks missing entries.
    method : {"pcp", "stable", "outlier"}, default="pcp"
        The convex problem.
    mask : array of bool of shape (m, n), optional
        True where ``X`` is observed.
    mu : float, optional
        Weight of the residual in the stable problem.

    Returns
    -------
    smallest : float
        The low-rank part is zero up to here.
    largest : float
        The sparse part is zero (or one solution has none) from here on.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._robust_pca_path import lam_range
    >>> smallest, largest = lam_range(np.array([[3.0, 4.0], [6.0, 8.0]]))
    >>> round(smallest, 2), round(largest, 2)
    (0.5, 0.72)
    """
    X, observed, xp = check_observations(X, mask)
    zero = xp.zeros_like(X)
    filled = X if observed is None else xp.where(observed, X, zero)
    largest_entry = float(xp.max(xp.abs(filled)))
    if largest_entry == 0:
        raise ValueError("X is zero where it is observed: no lam makes a difference.")
    filled = filled / largest_entry
    mu = mu / largest_entry if method == "stable" else None
    if observed is None:
        Y = _dual_of_low_rank(filled, mu, xp)
    else:
        # No entry of Y exceeds its norm, 1: the sparse part is zero for lam = 1 anyway.
        options = {} if mu is None else {"mu": mu}
        kind = "pcp" if mu is None else "stable"
        Y = robust_pca(filled, method=kind, mask=observed, lam=1.0, warn=False, **options).dual
    sizes = xp.sqrt(xp.sum(Y * Y, axis=1)) if method == "outlier" else xp.abs(Y)
    largest = float(xp.max(sizes))
    smallest = _largest_lam_of_zero(filled, method, mu, xp)
    return min(smallest, largest), largest


def lam_grid(X, n_lams, *, method="pcp", mask=None, mu=None):
    """Return ``n_lams`` weights in a geometric sequence over :func:`lam_range`.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._robust_pca_path import lam_grid
    >>> lam_grid(np.array([[3.0, 4.0], [6.0, 8.0]]), 3).round(2).tolist()
    [0.5, 0.6, 0.72]
    """
    xp = array_namespace(X)
    seen = X if mask is None else xp.where(mask, X, xp.zeros_like(X))
    if not bool(xp.any((seen != 0) & ~xp.isnan(seen))):  # every weight gives the same
        return np.full(n_lams, default_lam(method, X.shape))
    return np.geomspace(*lam_range(X, method=method, mask=mask, mu=mu), n_lams)


def check_lams(lams):
    """Return weights of the sparse part as an increasing float array."""
    grid = np.array(lams, dtype=float)
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError(f"lams must be a non-empty 1-D sequence, got shape {grid.shape}.")
    if not (np.all(np.isfinite(grid)) and np.all(grid > 0)):
        raise ValueError(f"lams must be finite and > 0, got {lams!r}.")
    return np.sort(grid)


def check_convex(method, options):
    """Raise if the method is unknown or the solver is for a given rank."""
    if method not in METHOD_SOLVERS:
        raise ValueError(f"method must be one of {tuple(METHOD_SOLVERS)}, got {method!r}.")
    solver = options.get("solver", "auto")
    if solver not in METHOD_SOLVERS[method]:
        raise ValueError(
            f"solver must be one of {METHOD_SOLVERS[method]} for method={method!r}, got {solver!r}."
        )


def settle_mu(X, observed, mu, noise_std, options):
    """Return the one mu, 0 without noise, and the noise that it is for."""
    if mu != "auto":
        return mu, noise_std
    if noise_std is None:
        own = {name: options[name] for name in ("svd_solver", "random_state") if name in options}
        noise_std = noise_level(X, observed=observed, **own).noise_std
    return default_mu(noise_std, X.shape), noise_std


def _dual_of_low_rank(X, mu, xp):
    """Return the dual variable of the solution without a sparse part."""
    U, s, Vt = xp.linalg.svd(X, full_matrices=False)
    if mu is not None:
        return xp.matmul(U * xp.where(s < mu, s / mu, xp.ones_like(s)), Vt)
    rounding = max(X.shape) * float(xp.finfo(X.dtype).eps) * float(s[0])
    rank = int(xp.count_nonzero(s > rounding))
    return xp.matmul(U[:, :rank], Vt[:rank, :])


def _largest_lam_of_zero(X, method, mu, xp):
    """Return a weight up to which the solution without a low-rank part is optimal."""
    if method == "outlier":
        lengths = xp.sqrt(xp.sum(X * X, axis=1, keepdims=True))
        directions = X / xp.where(lengths > 0, lengths, xp.ones_like(lengths))
        return 1 / spectral_norm(directions)
    lam = 1 / spectral_norm(xp.sign(X))
    while mu is not None and spectral_norm(xp.clip(X, -lam * mu, lam * mu)) > mu:
        lam /= SHRINK
    return lam


def _count(sparse):
    xp = array_namespace(sparse)
    return int(xp.count_nonzero(sparse))
