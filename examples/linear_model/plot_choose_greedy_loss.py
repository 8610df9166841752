"""
Choosing between the losses of greedy pursuit
=============================================

:class:`~sparseopt.linear_model.WeightedOMP` selects columns by how much they lower a penalised
loss, and each loss has its place:

- ``"omp"``: plain orthogonal matching pursuit; the number of columns must be known,
- ``"lasso"``: stops by itself once the strength fits the noise level,
- ``"sqrt_lasso"``: stops by itself at any noise level,
- ``"lad_lasso"``: also when some targets are grossly wrong.

Here all four meet the same problem, 10 nonzero among 300 coefficients seen through 150 noisy
measurements, first with clean targets and then with a tenth of them corrupted.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.datasets import make_sparse_recovery
from sparseopt.linear_model import WeightedOMP

LOSSES = {
    "omp": {"loss": "omp", "n_nonzero_coefs": 30},
    "lasso": {"loss": "lasso", "lam": 3e-3, "n_nonzero_coefs": 30},
    "sqrt_lasso": {"loss": "sqrt_lasso", "lam": "auto", "n_nonzero_coefs": 30},
    "lad_lasso": {"loss": "lad_lasso", "lam": 1.78, "n_nonzero_coefs": 30},
}
N_TRIALS = 10


def path_errors(corruption, trial):
    """Return for each loss the relative error after 0, ..., 30 steps, and the stop."""
    X, y, coef = make_sparse_recovery(
        noise=1e-2, corruption=corruption, coef=True, random_state=trial
    )
    errors, lengths = {}, {}
    for name, parameters in LOSSES.items():
        model = WeightedOMP(fit_intercept=False, **parameters).fit(X, y)
        distances = np.linalg.norm(model.path_coefs_.toarray() - coef, axis=1)
        lengths[name] = len(distances) - 1
        # a path that has stopped stays where it is
        errors[name] = np.append(distances, np.full(31 - len(distances), distances[-1]))
    return {name: e / np.linalg.norm(coef) for name, e in errors.items()}, lengths


# %%
# Every fitted model keeps its whole path, so that the error after each step is there to look at.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for axis, corruption in zip(axes, (0.0, 0.1), strict=True):
    trials = [path_errors(corruption, trial) for trial in range(N_TRIALS)]
    for color, width, name in zip(("0.5", "C0", "C1", "C3"), (6, 4, 2.5, 1.2), LOSSES, strict=True):
        median = np.median([errors[name] for errors, _ in trials], axis=0)
        stop = int(np.median([lengths[name] for _, lengths in trials]))
        axis.semilogy(median[: stop + 1], color=color, linewidth=width, label=name)
        axis.plot(stop, median[stop], "o", color=color, markersize=5 + width)
    title = "clean targets" if corruption == 0 else f"{corruption:.0%} of the targets corrupted"
    axis.set(title=title, xlabel="steps (dot: where the path stops)")
axes[0].set_ylabel("median relative error of the coefficients")
axes[0].legend(loc="upper right")
plt.show()

# %%
# With clean targets the penalised paths end when the ten columns are found, and plain matching
# pursuit goes on to fit the noise. Gross errors mislead every loss that squares the residual;
# least absolute deviations interpolates as many good targets as it has columns and ignores how
# far off the bad ones are.
