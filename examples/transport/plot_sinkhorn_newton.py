"""
Tens of iterations instead of tens of thousands
===============================================

With little regularisation Sinkhorn's method converges slowly. Most of the plan is then almost
zero, and *Sinkhorn-Newton-Sparse* (Tang et al. 2024) uses it: after a few sweeps it takes Newton
steps whose system keeps only the large entries. This is the figure of that paper: a random
assignment problem with 500 sources and targets and ``reg`` = 1/1200.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import sinkhorn

C = np.random.default_rng(0).random((500, 500))
options = {"C": C, "reg": 1 / 1200, "tol": 1e-10}
# The published schedule: 20 sweeps, then Newton steps, at one regularisation.
newton = sinkhorn(**options, solver="sns", eps_scaling=False, store_history=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # it would need 26 000 sweeps
    sweeps = sinkhorn(**options, solver="sinkhorn", max_iter=10_000)
print(newton)
print(sweeps)

# %%
# The error falls by a constant factor with each sweep in the end, and ever faster with the Newton
# steps.
# The right plot shows how few entries of the plan make up their systems.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for result, name in ((sweeps, "Sinkhorn"), (newton, "Sinkhorn-Newton-Sparse")):
    history = result.history
    iterations = history["n_sweeps"] + history["n_newton"]
    left.loglog(iterations, history["certificate"], label=name, lw=2)
left.axvline(20, color="grey", ls=":")
left.annotate("Newton steps begin", (18, 1e-9), color="grey", ha="right")
left.set(xlabel="sweeps and Newton steps", ylabel="marginal error")
left.legend(loc="upper right")
steps = newton.history["n_newton"] > 0
right.plot(
    newton.history["n_newton"][steps], newton.history["n_kept"][steps] / C.size, "o-", color="C1"
)
right.set(
    xlabel="Newton step",
    ylabel="share of the plan's entries in the system",
    ylim=(0, None),
)
plt.show()
