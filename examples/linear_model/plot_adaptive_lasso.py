"""
Adaptive weights remove the LASSO's false positives
===================================================

The LASSO shrinks large coefficients, so cross-validation picks a weak penalty and lets many
irrelevant features in. Penalty weights from a first fit, one over the size of each
coefficient, cure both: this is the adaptive LASSO (Zou, 2006). The first fit is the
LASSO itself; features that it left at zero get the weight ``inf`` and stay out.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.linear_model import WeightedLassoCV

rng = np.random.default_rng(0)
n_samples, n_features = 100, 300
coef = np.zeros(n_features)
coef[:8] = [4, -4, 3, -3, 2, -2, 1.5, -1.5]
X = rng.standard_normal((n_samples, n_features))
y = X @ coef + 1.5 * rng.standard_normal(n_samples)

# %%
# Plain and adaptive fits; both choose their strength by cross-validation.

plain = WeightedLassoCV(alphas=50, eps=1e-2).fit(X, y)
with np.errstate(divide="ignore"):
    weights = 1 / np.abs(plain.coef_)
adaptive = WeightedLassoCV(alphas=50, eps=1e-2, weights=weights).fit(X, y)

# %%
# Of the features that the LASSO selects, the adaptive LASSO keeps those that matter, and it
# shrinks them far less.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for axis, model, title in ((axes[0], plain, "LASSO"), (axes[1], adaptive, "adaptive LASSO")):
    selected = np.flatnonzero(model.coef_)
    false = selected[selected >= 8]
    axis.plot(coef[:8], "o", color="0.6", markersize=9, label="true coefficients")
    axis.plot(model.coef_[:8], "x", color="C3", markersize=8, label="estimates")
    axis.plot(
        8 + np.arange(len(false)), model.coef_[false], ".", color="C0", label="false positives"
    )
    axis.axhline(0, color="0.8", zorder=0)
    axis.set(title=f"{title}: {len(false)} false positives", xlabel="selected features")
axes[0].set_ylabel("coefficient")
axes[0].legend(loc="upper right")
plt.show()
