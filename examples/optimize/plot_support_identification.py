"""
Support identification and the superlinear finish
=================================================

With an l1 penalty, block coordinate descent finds the support of the solution after finitely many
steps. What happens then depends on the update: blocks that hold the support turn a Newton-like
update into Newton's method on it, which reaches rounding error in a few steps, while a gradient
step keeps its linear rate. The example follows the distance to the minimum for sparse logistic
regression; a dot marks the step after which the support no longer changed.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt.optimize import L1, LogisticLoss, block_coordinate_descent

rng = np.random.default_rng(0)
n_samples, n_features = 400, 3000
X = rng.standard_normal((n_samples, n_features))
scores = X[:, :20] @ rng.choice([-1.0, 1.0], 20)
y = np.where(scores + rng.logistic(size=n_samples) > 0, 1.0, -1.0)
penalty = L1(0.3 * np.max(np.abs(X.T @ y)) / (2 * n_samples))

# %%
# Three runs of one problem. Blocks of ten never hold the support, which has some dozens of
# features; blocks of a hundred do. The first two differ only in the block size, the last two only
# in the update.

RUNS = {
    "prox-Newton, blocks of 10": {"update": "prox-newton", "block_size": 10},
    "prox-Newton, blocks of 100": {"update": "prox-newton", "block_size": 100},
    "prox-gradient, blocks of 100": {"update": "prox-gradient", "block_size": 100},
}
problem = {"penalty": penalty, "loss": LogisticLoss(), "fit_intercept": True}
best = block_coordinate_descent(X, y, tol=1e-13, **problem)
figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
for name, options in RUNS.items():
    with warnings.catch_warnings():  # sixty steps are for the comparison
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = block_coordinate_descent(X, y, max_iter=60, tol=1e-13, **options, **problem)
    gap = np.maximum(result.history["objective"] / best.fun - 1, 1e-16)
    (line,) = axis.semilogy(gap, label=name)
    axis.plot(
        result.active_set_iteration, gap[result.active_set_iteration], "o", c=line.get_color()
    )
    print(
        f"{name}: {result.nit} steps, the last {result.nit - result.active_set_iteration} of them "
        f"on the final support of {result.active_set.size}"
    )
axis.set(
    xlabel="steps (dot: the support is final)", ylabel="relative distance to the minimum",
    ylim=(5e-17, 3), title="Newton's method, once a block holds the support",
)  # fmt: skip
axis.legend()
plt.show()

# %%
# Nothing has to be chosen to get there: by default blocks hold the support, and a step minimises
# over it.

print(best.message)
print(f"duality gap {best.dual_gap:.1e}, support final after step {best.active_set_iteration}")
