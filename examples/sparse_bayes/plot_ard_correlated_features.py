"""
Correlated features: relevance determination beside the LASSO
=============================================================

Neighbouring wavelengths of a spectrum measure nearly the same. Of two hundred such features five
matter here. The LASSO shrinks their weights and, to make up for it, lets neighbours in; its
penalty comes from cross-validation. :class:`~sparseopt.sparse_bayes.SparseBayesRegressor`
maximises the evidence instead and shrinks strong weights hardly at all.

But the evidence by itself is generous to weak features: it takes in a feature of pure noise
whenever that explains more than its expected share, which happens to every third. There are two
ways to a sparse model: give up the last stage that reconsiders what was removed,
``polish=False``, and say what share of the strongest feature counts as nothing, ``prune_tol``.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LassoCV

from sparseopt.sparse_bayes import SparseBayesRegressor

n_samples, n_features, correlation = 150, 200, 0.9
rng = np.random.default_rng(0)
X = rng.standard_normal((n_samples, n_features))
for j in range(1, n_features):  # each feature resembles the last one
    X[:, j] = correlation * X[:, j - 1] + np.sqrt(1 - correlation**2) * X[:, j]
coef = np.zeros(n_features)
coef[[20, 60, 94, 130, 170]] = 2.0, -1.5, 1.0, 3.0, -2.0
y = X @ coef + rng.standard_normal(n_samples)

# %%
# There are more features than samples, so that the noise could be learnt away. Its variance is
# known here, and given.

models = {
    "LASSO, cross-validated": LassoCV(cv=5),
    "sparse Bayes, maximum of the evidence": SparseBayesRegressor(noise_variance=1.0),
    "sparse Bayes, shares under 1 % removed": SparseBayesRegressor(
        noise_variance=1.0, polish=False, prune_tol=0.01
    ),
}
for name, model in models.items():
    model.fit(X, y)
    error = np.linalg.norm(model.coef_ - coef) / np.linalg.norm(coef)
    print(f"{name}: {np.count_nonzero(model.coef_)} features, error of the weights {error:.0%}")

# %%
# Bars of the Bayesian weights are two posterior standard deviations, given the variances that
# were found. ``certificate_`` is small only for the maximum: the third model has removed
# features that the evidence would take back.

figure, axes = plt.subplots(3, 1, figsize=(9, 8), sharex=True, sharey=True, layout="constrained")
for axis, (name, model) in zip(axes, models.items(), strict=True):
    chosen = np.flatnonzero(model.coef_)
    bars = np.zeros(len(chosen))
    if hasattr(model, "sigma_"):
        bars = 2 * np.sqrt(np.diag(model.sigma_))
    axis.axhline(0, color="0.8", linewidth=1)
    true = axis.plot(np.flatnonzero(coef), coef[coef != 0], "o", mfc="none", ms=11, color="k")
    found = axis.errorbar(chosen, model.coef_[chosen], bars, fmt="C0.", capsize=2)
    axis.set(title=f"{name}: {len(chosen)} features", ylabel="weight")
axes[-1].set_xlabel("feature")
axes[0].legend([true[0], found], ["true weights", "estimates"], loc="lower left")
plt.show()

for name, model in list(models.items())[1:]:
    print(f"{name}: certificate {model.certificate_:.1g}")
