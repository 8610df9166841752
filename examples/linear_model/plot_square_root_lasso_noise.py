"""
One strength for every noise level: the square-root LASSO
=========================================================

The best strength of the LASSO is proportional to the noise level, which is rarely known; hence
the cross-validation that usually goes with it. The square-root LASSO estimates the noise level
along with the coefficients, so that one strength, computed from the shape of the data alone, fits
all noise levels. :class:`~sparseopt.linear_model.SquareRootLasso` takes it for ``alpha="auto"``.

150 measurements of 5 nonzero among 300 coefficients, at three noise levels. What is compared are
the *selected features*: each fit is followed by least squares on them, since both penalties shrink
coefficients, whatever their strength.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.datasets import make_sparse_recovery
from sparseopt.linear_model import (
    InterpolationWarning,
    SquareRootLasso,
    square_root_lasso_path,
    weighted_lasso_path,
)

NOISE_LEVELS = (1e-3, 1e-2, 1e-1)
N_TRIALS = 15

# Very weak penalties reproduce the target exactly; in this comparison that is no surprise.
warnings.simplefilter("ignore", InterpolationWarning)


def refitted_error(X, y, selected, coef):
    """Return the relative error of least squares on the selected features."""
    estimate = np.zeros_like(coef)
    estimate[selected] = np.linalg.lstsq(X[:, selected], y, rcond=None)[0]
    return np.linalg.norm(estimate - coef) / np.linalg.norm(coef)


def median_errors(noise, lasso_alphas, sqrt_alphas):
    """Return the median errors along both paths, and with the automatic strength."""
    errors = {"lasso": [], "sqrt": [], "auto": []}
    for trial in range(N_TRIALS):
        X, y, coef = make_sparse_recovery(n_nonzero=5, noise=noise, coef=True, random_state=trial)
        lasso = weighted_lasso_path(X, y, alphas=lasso_alphas, tol=1e-8).coefs.T[::-1]
        sqrt = square_root_lasso_path(X, y, alphas=sqrt_alphas).coefs.T[::-1]
        automatic = SquareRootLasso(fit_intercept=False).fit(X, y).coef_
        errors["lasso"].append([refitted_error(X, y, x != 0, coef) for x in lasso])
        errors["sqrt"].append([refitted_error(X, y, x != 0, coef) for x in sqrt])
        errors["auto"].append(refitted_error(X, y, automatic != 0, coef))
    return {name: np.median(values, axis=0) for name, values in errors.items()}


# %%
# Both grids span two orders of magnitude or more; the LASSO needs the wider one.

lasso_alphas = np.geomspace(1e-6, 1e-2, 17)
sqrt_alphas = np.geomspace(4e-3, 1e-1, 15)
curves = {noise: median_errors(noise, lasso_alphas, sqrt_alphas) for noise in NOISE_LEVELS}

X, y = make_sparse_recovery(n_nonzero=5, random_state=0)
automatic = SquareRootLasso(fit_intercept=False).fit(X, y).alpha_

# %%
# Ten times the noise moves the left edge of the LASSO's valley by a factor of ten. The valleys of
# the square-root LASSO lie above one another, with the automatic strength (stars) at their bottom.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for color, (noise, errors) in zip(("C0", "C1", "C3"), curves.items(), strict=True):
    label = f"noise {noise:g}"
    axes[0].loglog(lasso_alphas, errors["lasso"], "o-", color=color, markersize=4, label=label)
    axes[1].loglog(sqrt_alphas, errors["sqrt"], "o-", color=color, markersize=4, label=label)
    axes[1].plot(automatic, errors["auto"], "*", color=color, markersize=15, markeredgecolor="k")
axes[1].axvline(automatic, color="0.6", linestyle="--", zorder=0)
axes[1].annotate(
    f'alpha="auto"\n{automatic:.4f}', (automatic, 0.3), xytext=(-78, 0), textcoords="offset points"
)
axes[0].set(title="LASSO", xlabel="alpha", ylabel="median relative error after a refit")
axes[1].set(title="square-root LASSO", xlabel="alpha")
axes[0].legend(loc="upper left")
plt.show()
