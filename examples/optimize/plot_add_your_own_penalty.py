r"""
Add your own penalty
====================

The LASSO shrinks every coefficient by the same amount, large ones too. Penalties that level off,
such as :math:`\alpha \sum_j \epsilon \log(1 + |x_j| / \epsilon)`, do not. The package has no such
penalty, and needs none: a concave function of :math:`|x_j|` lies below its tangents, so that a
weighted l1 norm majorises it, and the solvers take weights. Minimising the majorant, over and over
from the last point, decreases the objective each time.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.optimize import L1, SquaredLoss, block_coordinate_descent

# %%
# A penalty of your own, for this purpose, is its value and its slope.


class LogPenalty:
    """The sum of ``alpha * scale * log(1 + |x_j| / scale)``."""

    def __init__(self, alpha, scale):
        self.alpha, self.scale = alpha, scale

    def value(self, x):
        return self.alpha * self.scale * np.sum(np.log1p(np.abs(x) / self.scale))

    def tangent(self, x):
        """Return the weighted l1 norm with the slopes at ``x``."""
        return L1(self.alpha, weights=self.scale / (self.scale + np.abs(x)))


def minimize(X, y, penalty, n_rounds=20):
    x, objectives = np.zeros(X.shape[1]), []
    for _ in range(n_rounds):
        x = block_coordinate_descent(X, y, penalty.tangent(x), coef_init=x, tol=1e-10).x
        objectives.append(SquaredLoss().value(y, X @ x) + penalty.value(x))
    assert np.all(np.diff(objectives) <= 1e-12)  # it never increases
    return x, objectives


# %%
# The first round is the LASSO; the others let go of the coefficients that turn out large.

rng = np.random.default_rng(0)
X = rng.standard_normal((100, 400))
truth = np.zeros(400)
truth[:8] = [3, -3, 2, -2, 1.5, -1.5, 1, -1]
y = X @ truth + 0.3 * rng.standard_normal(100)
penalty = LogPenalty(alpha=0.2, scale=0.1)
lasso = block_coordinate_descent(X, y, L1(0.2)).x
ours, objectives = minimize(X, y, penalty)
print(f"objective after round 1: {objectives[0]:.4f}, after the last: {objectives[-1]:.4f}")

figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
positions = np.arange(8)
axis.bar(positions, truth[:8], width=0.8, color="0.85", label="truth")
for name, x, marker in (("LASSO", lasso, "v"), ("log penalty", ours, "o")):
    others = np.count_nonzero(x[8:])
    axis.plot(positions, x[:8], marker, label=f"{name} ({others} wrong features)")
axis.axhline(0, color="black", linewidth=0.8)
axis.set(xlabel="feature", ylabel="coefficient", title="A penalty that levels off removes the bias")
axis.legend()
plt.show()

# %%
# What this does and does not reach
# ---------------------------------
#
# - Weights of 0 and infinity, signs (``positive=True``) and a ridge part come with
#   :class:`~sparseopt.optimize.ElasticNet`; a majorant may use all of them. This route works with
#   every solver and loss of the package, and needs no compiled code.
# - The objective of a concave penalty has several local minima. The result is one of them; where
#   the rounds start decides which.
# - A convex penalty of another shape needs code inside the package. Compiled loops never see a
#   penalty object: they receive an integer code and a table with a column a coefficient, and
#   ``prox_coordinate`` in ``optimize/_kernels/penalties.py`` minimises along one coordinate. A new
#   penalty is a branch there, and a class in ``optimize/_penalties.py`` that returns the code and
#   the table. That is enough for epochs of coordinate descent, and not for a whole solver: duality
#   gaps, screening and Newton steps on the support are written for an l1 part and a ridge part,
#   and the solvers refuse any other penalty by name until they have been taught these. ``Box``
#   and ``GroupL2`` are such cases: block coordinate descent takes them, each by a file of its own
#   (``optimize/_block_bounds.py``, ``optimize/_block_groups.py``) that says how they project, score
#   and minimise; coordinate descent does not.
