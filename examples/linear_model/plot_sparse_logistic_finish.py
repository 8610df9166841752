"""
Sparse logistic regression settles its support, then finishes in a few steps
============================================================================

The solver of ``SparseLogisticRegression`` works on a growing set of features. While that set
and the signs of the coefficients still change, progress is linear; once they have settled, the
remaining problem is smooth, and Newton steps on the support reach rounding error in about
three iterations. A callback records the iterates, and shows both phases.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.optimize import L1, LogisticLoss, coordinate_descent

rng = np.random.default_rng(0)
n_samples, n_features = 400, 3000
X = rng.standard_normal((n_samples, n_features))
scores = X[:, :20] @ rng.choice([-1.0, 1.0], 20)
y = np.where(scores + rng.logistic(size=n_samples) > 0, 1.0, -1.0)

# %%
# The smallest strength with a zero solution is the largest entry of the gradient there; we
# take a tenth of it, and record the support after each working set.

loss = LogisticLoss()
constant = np.full(n_samples, loss.best_constant(y))
largest = np.abs(X.T @ loss.gradient(y, constant)).max()
supports = []
result = coordinate_descent(
    X,
    y,
    L1(0.1 * largest),
    loss=loss,
    fit_intercept=True,
    tol=1e-14,
    callback=lambda x: supports.append(x != 0),
)
final = result.x != 0
wrong = [n_features - np.count_nonzero(support == final) for support in supports]
print(result.message)
print(f"duality gap {result.dual_gap:.1e}, {np.count_nonzero(final)} features")

# %%
# Left: the certificate. Right: the features whose presence differs from the solution's.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
iterations = result.history["iteration"]
axes[0].semilogy(iterations, np.maximum(result.history["certificate"], 1e-17), "o-")
axes[0].set(xlabel="iteration", ylabel="relative KKT residual", title="certificate")
axes[1].plot(iterations[1:], wrong, "o-", color="C1")
axes[1].set(xlabel="iteration", ylabel="features", title="wrongly in or out of the support")
plt.show()
