"""The options of greedy pursuit: their names, their checks, and the noise-blind strength."""

import math
import warnings
from numbers import Integral

from scipy.special import ndtri
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import check_nonnegative

LOSSES = ("omp", "lasso", "sqrt_lasso", "lad_lasso")

# Weighted OMP divides by the weight; this stands for the weight 0 ("never penalised").
SMALLEST_OMP_WEIGHT = 1e-30

# A QR decomposition costs as much as this many selections for each feature.
COMPRESS_STEPS = 2.5

NATURAL_STOPS = ("no_decrease", "in_support", "n_nonzero_coefs", "rank_deficient")

MESSAGES = {
    "no_decrease": "no coefficient can lower the penalised loss",
    "in_support": "the largest gain belongs to a column that is already in the support",
    "n_nonzero_coefs": "the support has n_nonzero_coefs columns",
    "tol": "the squared residual norm is at most tol",
    "rank_deficient": "every further column depends on those in the support",
    "max_iter": "max_iter steps were made",
    "callback": "the callback stopped the run",
}

# A gain counts if it exceeds rounding: residuals are trusted down to this share of the data.
RELATIVE_RESOLUTION = 1e-12


def noise_blind_lam(n_samples, n_features, *, complex_data=False):
    """Return the level of the square-root loss with l1 penalty that suits any noise level.

    ``tau`` is the universal level of the square-root LASSO on unit-norm columns; a new index
    enters the greedy path iff ``max |c_j| / ||r|| > 2 lam sqrt(1 - lam^2) = tau``.

    Parameters
    ----------
    n_samples : float
        Number of samples (the sum of their weights), less 1 with an intercept.
    n_features : int
        Number of columns.
    complex_data : bool, default=False
        Whether the data are complex.

    Returns
    -------
    lam : float
        ``sin(asin(min(tau, 1)) / 2)``.
    """
    if complex_data:
        tau = 1.1 * math.sqrt(math.log(n_features / 0.05) / max(n_samples, 1))
    else:
        tau = 1.1 * -ndtri(0.05 / (2 * n_features)) / math.sqrt(max(n_samples, 1))
    return math.sin(math.asin(min(tau, 1.0)) / 2)


def check_lam(lam, loss, penalty):
    """Return the strength as a number, or "auto" where there is a noise-blind level."""
    if isinstance(lam, str):
        if lam != "auto":
            raise ValueError(f"lam must be a number >= 0 or 'auto', got {lam!r}.")
        if loss == "omp":
            return 0.0
        if (loss, penalty) != ("sqrt_lasso", "l1"):
            raise ValueError(
                "lam='auto' is the noise-blind level of loss='sqrt_lasso', penalty='l1'; give "
                f"a number for loss={loss!r}, penalty={penalty!r}."
            )
        return lam
    lam = check_nonnegative(lam, "lam")
    if loss == "omp" and lam != 0:
        raise ValueError(f"loss='omp' has no penalty: lam must be 'auto' or 0, got {lam!r}.")
    return lam


def support_limit(n_nonzero_coefs, tol, loss, n_features):
    """Return the largest size of the support that was asked for, or None."""
    if n_nonzero_coefs is None:
        return max(n_features // 10, 1) if loss == "omp" and tol is None else None
    n_nonzero_coefs = check_count(n_nonzero_coefs, "n_nonzero_coefs")
    if n_nonzero_coefs > n_features:
        warnings.warn(
            f"n_nonzero_coefs={n_nonzero_coefs} is larger than the number of features: "
            f"{n_features} is used.",
            UserWarning,
            stacklevel=4,
        )
        return n_features
    return n_nonzero_coefs


def check_count(value, name):
    """Return ``value`` as an int if it is an integer >= 0."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer or None, got {value!r}.")
    if value < 0:
        raise ValueError(f"{name} must be >= 0, got {value!r}.")
    return int(value)


def warn_if_short(paths, tol):
    """Warn if a squared residual norm that was asked for is not reached."""
    short = [path for path in paths if path.stop_reason not in ("tol", "callback")]
    if tol is not None and short:
        worst = max(short, key=lambda path: path.certificate)
        warnings.warn(
            f"weighted_omp_path reached squared residual norm {worst.certificate:.3g} "
            f"(tolerance {tol:.3g}) after {worst.nit} steps: {MESSAGES[worst.stop_reason]}. "
            "Increase tol, n_nonzero_coefs or max_iter, or decrease lam.",
            ConvergenceWarning,
            stacklevel=3,
        )
