"""
From soft to hard assignment
============================

With little regularisation the entropic plan of an assignment problem becomes the assignment
itself. One call serves all strengths: the regularisation is lowered in stages, and what the
solution may still lack is known from a certificate.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sparseopt.transport import sinkhorn

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((60, 2)) * 0.5, rng.uniform(-1, 1, (60, 2))
C = cdist(X, Y, "sqeuclidean")
rows, columns = linear_sum_assignment(C)
exact = C[rows, columns].mean()

figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
for axis, reg in zip(axes, (0.3, 0.03, 1e-4), strict=False):
    plan = sinkhorn(C=C, reg=reg).plan() * len(X)
    for i, j in np.argwhere(plan > 0.02):
        axis.plot(*np.stack([X[i], Y[j]]).T, color="C0", alpha=min(plan[i, j], 1), lw=1)
    axis.scatter(*X.T, s=12, color="k", zorder=2)
    axis.scatter(*Y.T, s=12, color="C1", zorder=2)
    axis.set(title=f"reg = {reg:g}", xticks=[], yticks=[])

# %%
# The cost of the plan exceeds the exact one by at most ``reg`` times the entropy of the masses,
# here log 60; for small ``reg`` it falls exponentially. ``gap()`` bounds it without knowing the
# exact cost.

regs = np.logspace(0, -4.5, 10)
results = [sinkhorn(C=C, reg=reg) for reg in regs]
axis = axes[3]
axis.loglog(regs, [result.value_linear - exact for result in results], "o-", label="excess cost")
axis.loglog(regs, [result.gap() for result in results], "s--", label="gap()")
axis.loglog(regs, regs * np.log(60), ":", color="grey", label="reg log 60")
axis.set(xlabel="reg", ylim=(1e-12, None))
axis.legend()
plt.show()
