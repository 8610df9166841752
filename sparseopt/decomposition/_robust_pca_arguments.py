"""Arguments of robust PCA: what goes together, default constants, arrays of one library."""

import math
import numbers

import numpy as np
from array_api_compat import is_array_api_obj
from scipy.optimize import OptimizeResult

from sparseopt._core import array_namespace, check_at_least_one, check_nonnegative, is_numpy
from sparseopt.decomposition._known_rank import check_matrix
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._noise import default_mu, noise_level
from sparseopt.decomposition._singular_values import SOLVERS as SVD_SOLVERS

METHOD_SOLVERS = {
    "pcp": ("auto", "ialm", "admm"),
    "stable": ("auto", "fista"),
    "outlier": ("auto", "ialm", "admm"),
}
RARE_OUTLIERS = 0.01  # share of outlying samples that the default weight is made for
SPARELESS = 2.0  # no entry or row of Y exceeds ||Y||_2 <= 1: a larger lam changes nothing
COMPLEX = "complex floating"


def check_passes(reweighting):
    """Return ``reweighting`` as an int >= 0."""
    if isinstance(reweighting, numbers.Integral) and reweighting == 0:
        return 0
    return check_at_least_one(reweighting, "reweighting")


def check_observations(X, mask=None):
    """Return X as a real matrix, where it is observed (None: everywhere), and its namespace."""
    X, xp = check_matrix(X, "X")
    missing = xp.isnan(X)
    if bool(xp.any(xp.isinf(X))):
        raise ValueError("X must not contain infinite entries. NaN marks missing ones.")
    observed = ~missing
    if mask is not None:
        mask = _like(mask, X, xp)
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


def check_choices(method, solver, svd_solver, known_rank_solvers):
    """Raise unless the three names go together."""
    if method not in METHOD_SOLVERS:
        raise ValueError(f"method must be one of {tuple(METHOD_SOLVERS)}, got {method!r}.")
    accepted = METHOD_SOLVERS[method]
    if method != "outlier":
        accepted += tuple(known_rank_solvers)
    if solver not in accepted:
        raise ValueError(f"solver must be one of {accepted} for method={method!r}, got {solver!r}.")
    if svd_solver not in SVD_SOLVERS:
        raise ValueError(f"svd_solver must be one of {SVD_SOLVERS}, got {svd_solver!r}.")


def refuse(subject, **given):
    """Raise if an argument was given that ``subject`` has no use for."""
    subject = subject if "=" in subject else f"solver={subject!r}"
    names = [name for name, value in given.items() if value]
    if names:
        raise ValueError(f"{names[0]} is not used by {subject}: leave it out.")


def choose_lam(lam, method, X, observed, weights=None):
    """Return the weight of the sparse part as a number that the precision of X can hold."""
    xp = array_namespace(X)
    if isinstance(lam, str):
        if lam != "auto":
            raise ValueError(f"lam must be a positive number or 'auto', got {lam!r}.")
        n_samples = X.shape[0] if weights is None else float(xp.sum(weights))
        share = 1.0 if observed is None else _observed_share(observed, weights, X.dtype, xp)
        return default_lam(method, (n_samples, X.shape[1]), share=share)
    if check_nonnegative(lam, "lam") == 0:
        raise ValueError("lam must be positive, got 0: every entry of X would be an error.")
    least = float(xp.finfo(X.dtype).smallest_normal)
    if lam < least:
        raise ValueError(f"lam must be at least {least:.2g} for data of {X.dtype}, got {lam!r}.")
    return float(lam)


def _observed_share(observed, weights, dtype, xp):
    if weights is None:
        return int(xp.count_nonzero(observed)) / math.prod(observed.shape)
    counts = xp.astype(xp.count_nonzero(observed, axis=1), dtype)
    return float(xp.sum(weights * counts) / xp.sum(weights)) / observed.shape[1]


def choose_mu(mu, noise_std, X, lam, n_samples, options):
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


def check_weights(sample_weight, X, xp):
    """Return weights of the rows in the dtype of X, or None."""
    if sample_weight is None:
        return None
    weights = _like(sample_weight, X, xp)
    real = weights.dtype.kind in "biuf" if is_numpy(xp) else not xp.isdtype(weights.dtype, COMPLEX)
    if not real:
        raise TypeError(f"sample_weight must hold real numbers, got dtype {weights.dtype}.")
    if tuple(weights.shape) != (X.shape[0],):
        raise ValueError(
            f"sample_weight must have shape ({X.shape[0]},), one entry a row of X, got "
            f"{tuple(weights.shape)}."
        )
    weights = xp.astype(weights, X.dtype)
    if not bool(xp.all(xp.isfinite(weights) & (weights >= 0))):
        raise ValueError("sample_weight must be finite and >= 0.")
    if not bool(xp.any(weights > 0)):
        raise ValueError("sample_weight must have a positive sum, got only zeros.")
    return weights


def check_start(start, X, xp):
    """Return what a solver needs of an earlier result, as arrays like X."""
    if start is None:
        return None
    low = getattr(start, "x", None)
    if not (isinstance(start, OptimizeResult) and isinstance(low, LowRankMatrix)):
        raise TypeError(f"start must be a result of robust_pca, got {type(start).__name__}.")
    if tuple(low.shape) != tuple(X.shape):
        raise ValueError(
            f"start must be the result for a matrix of shape {tuple(X.shape)}, got one of shape "
            f"{low.shape}."
        )
    U, s, Vt = (xp.astype(_like(part, X, xp), X.dtype, copy=False) for part in low)
    dual = start.get("dual")
    dual = None if dual is None else xp.astype(_like(dual, X, xp), X.dtype, copy=False)
    return OptimizeResult(x=LowRankMatrix(U, s, Vt), dual=dual, admm_mu=start.get("admm_mu"))


def _like(values, X, xp):
    """Return ``values`` as an array of the library of X, on its device."""
    if is_numpy(xp):
        return np.asarray(values)
    if is_array_api_obj(values) and array_namespace(values) is xp:
        return values
    return xp.asarray(np.asarray(values), device=getattr(X, "device", None))
