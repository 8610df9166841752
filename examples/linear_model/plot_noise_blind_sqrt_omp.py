"""
One strength for every noise level: noise-blind greedy recovery
===============================================================

Orthogonal matching pursuit has to be told when to stop, and the right moment depends on the
noise. The square-root loss removes that dependence: a new column enters the path if and only if
its correlation with the residual, relative to the norm of the residual, exceeds
:math:`2 \\lambda \\sqrt{1 - \\lambda^2}`. A level that pure noise rarely reaches can be computed
from the shape of the data alone; :class:`~sparseopt.linear_model.WeightedOMP` does so for
``lam="auto"``.

The experiment follows Mohammad-Taheri and Brugiapaglia (2023): 150 measurements of 10 nonzero
among 300 coefficients, at three noise levels.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.datasets import make_sparse_recovery
from sparseopt.linear_model import WeightedOMP

NOISE_LEVELS = (1e-3, 1e-2, 1e-1)
N_TRIALS = 15


def relative_error(X, y, coef, **parameters):
    """Fit at most 30 columns and compare with the true coefficients."""
    model = WeightedOMP(n_nonzero_coefs=30, fit_intercept=False, **parameters).fit(X, y)
    return np.linalg.norm(model.coef_ - coef) / np.linalg.norm(coef)


def median_errors(noise, settings):
    """Return the median error of each setting at a noise level."""
    errors = []
    for trial in range(N_TRIALS):
        X, y, coef = make_sparse_recovery(noise=noise, coef=True, random_state=trial)
        errors.append([relative_error(X, y, coef, **setting) for setting in settings])
    return np.median(errors, axis=0)


# %%
# A grid of strengths for the LASSO loss and for the square-root LASSO loss, and the automatic
# one, which is the same number at each noise level.

sqrt_lams = np.geomspace(1e-2, 0.7, 16)
lasso_lams = np.geomspace(1e-5, 1, 16)
sqrt_settings = [{"loss": "sqrt_lasso", "lam": lam} for lam in sqrt_lams]
lasso_settings = [{"loss": "lasso", "lam": lam} for lam in lasso_lams]

curves = {}
for noise in NOISE_LEVELS:
    curves[noise] = {
        "lasso": median_errors(noise, lasso_settings),
        "sqrt_lasso": median_errors(noise, sqrt_settings),
        "auto": median_errors(noise, [{"loss": "sqrt_lasso", "lam": "auto"}])[0],
    }

X, y = make_sparse_recovery(random_state=0)
automatic = WeightedOMP(fit_intercept=False).fit(X, y).lam_

# %%
# With the LASSO loss the best strength grows with the noise; with the square-root loss the three
# valleys lie above one another, and the automatic strength lies in all of them.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for color, (noise, errors) in zip(("C0", "C1", "C3"), curves.items(), strict=True):
    label = f"noise {noise:g}"
    axes[0].loglog(lasso_lams, errors["lasso"], "o-", color=color, markersize=4, label=label)
    axes[1].loglog(sqrt_lams, errors["sqrt_lasso"], "o-", color=color, markersize=4, label=label)
    axes[1].plot(automatic, errors["auto"], "*", color=color, markersize=15, markeredgecolor="k")
axes[1].axvline(automatic, color="0.6", linestyle="--", zorder=0)
axes[1].annotate(
    f'lam="auto"\n{automatic:.3f}', (automatic, 0.2), xytext=(-66, 0), textcoords="offset points"
)
axes[0].set(title='loss="lasso"', xlabel=r"$\lambda$", ylabel="median relative error")
axes[1].set(title='loss="sqrt_lasso"', xlabel=r"$\lambda$")
axes[0].legend(loc="upper left")
plt.show()
