"""
Greedy rules for block coordinate descent
=========================================

:func:`~sparseopt.optimize.block_coordinate_descent` moves a few variables at a time. Which ones
makes orders of magnitude of difference. The rules below all move five of 3000 coefficients of a
least-squares problem per step, and minimise exactly over the five; only the choice differs. The
columns of the design have very different scales, as raw features do.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_badly_scaled_regression
from sparseopt.optimize import block_coordinate_descent

X, target = make_badly_scaled_regression(400, 3000, random_state=0)

# %%
# Variable blocks may hold any five variables; fixed blocks come from a partition that was made
# beforehand, here of variables with similar Lipschitz constants. With more coefficients than rows
# the minimum is zero, so that the objective itself is the distance to it.

RULES = {
    "random": {"selection": "random"},
    "gs": {"selection": "gs"},
    "gsl, fixed blocks": {"selection": "gsl", "partition": "sort"},
    "gsd": {"selection": "gsd"},
    "gsq by thresholding": {"selection": "gsq-iht"},
    "gsq, grown greedily": {"selection": "gsq"},
}
figure, (by_step, by_time) = plt.subplots(
    1, 2, figsize=(10, 4.2), sharey=True, layout="constrained"
)
block_coordinate_descent(X, target)  # loads compiled code, which is not to be timed
for name, rule in RULES.items():
    with warnings.catch_warnings():  # 500 steps are for the comparison, not for convergence
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = block_coordinate_descent(
            X, target, **rule, block_size=5, max_iter=500, tol=0, random_state=0
        )
    by_step.semilogy(result.history["objective"], label=name)
    by_time.semilogy(result.history["time"], result.history["objective"])
by_step.set(xlabel="steps", ylabel="distance to the minimum", xlim=(0, 500))
by_time.set(xlabel="seconds")
by_step.legend()
plt.show()

# %%
# ``gs`` looks at the slope alone and favours columns that are merely long. ``gsd`` divides by the
# curvature along each coordinate, costs nothing more, and is unaffected by the scale of the
# columns. ``gsq`` also sees how the variables of a block interact: it needs fewer steps, and more
# time for each. Growing its blocks one variable at a time finds better ones than ten iterations of
# hard thresholding, in less time.
#
# :ref:`sphx_glr_auto_examples_optimize_plot_support_identification.py` shows what follows when an
# l1 penalty makes the solution sparse.
