"""
When a planted direction can be found in a tensor
===================================================

A tensor :math:`Y = \\lambda\\, \\theta_*^{\\otimes k} + Z` of noise hides one direction. It exists
in the data from about :math:`\\lambda = \\sqrt{d}` on, where the planted value stands out from the
largest one that pure noise has to offer. Whether it is *found* depends on where the search starts:
going uphill from a random point gets stuck.

The average of hot Langevin dynamics (Wei, Damian and Lee 2026) is one good start;
:class:`~sparseopt.decomposition.TensorPCA` has others beside it. The lower panels show how often it
says that there is a signal. Without one, it has to keep silent.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_spiked_tensor
from sparseopt.decomposition import TensorPCA

# Averages do not converge, and ascents end on plateaus, where there is no signal: we look anyway.
warnings.simplefilter("ignore", ConvergenceWarning)

methods = {
    "power, one random start": {"solver": "power", "n_chains": 1},
    "partial trace, alone": {"solver": "partial_trace", "refine": False},
    "partial trace, then power": {"solver": "partial_trace"},
    "Langevin average, alone": {"solver": "langevin", "refine": False},
    "unfolding, then power": {"solver": "unfolding"},
    "auto: the best of all": {"solver": "auto"},
}
styles = [("C7", "-"), ("C0", ":"), ("C0", "-"), ("C1", ":"), ("C2", "-"), ("k", "-")]
problems = {3: (50, np.linspace(0, 4, 11)), 4: (22, np.linspace(0, 4, 11))}
n_seeds = 6

# %%
# Strengths are given over :math:`\sqrt{d}`. Each point is a mean over tensors that are the same for
# all methods.

figure, axes = plt.subplots(
    2, 2, figsize=(10, 6), sharex="col", sharey="row", height_ratios=[3, 1], layout="constrained"
)
for column, (order, (d, strengths)) in enumerate(problems.items()):
    overlaps = np.zeros((len(methods), len(strengths), n_seeds))
    detected = np.zeros((len(strengths), n_seeds))
    for i, strength in enumerate(strengths):
        for seed in range(n_seeds):
            problem = make_spiked_tensor(
                d, order=order, snr=strength * np.sqrt(d), random_state=seed
            )
            for j, options in enumerate(methods.values()):
                model = TensorPCA(tol=1e-6, random_state=seed, **options).fit(problem.tensor)
                overlaps[j, i, seed] = abs(model.components_[0] @ problem.direction)
            detected[i, seed] = model.detected_[0]
    upper, lower = axes[:, column]
    for overlap, name, (color, line) in zip(overlaps, methods, styles, strict=True):
        upper.plot(strengths, overlap.mean(axis=1), line, color=color, label=name)
    for axis in (upper, lower):
        axis.axvline(model.threshold_, color="C3", lw=1)
    upper.text(model.threshold_, 1.03, " threshold of noise", color="C3", va="bottom", ha="center")
    upper.set_title(f"order {order}, d = {d}", pad=20)
    lower.bar(strengths, detected.mean(axis=1), width=0.2, color="k")
    lower.set_xlabel(r"strength $\lambda / \sqrt{d}$")
    print(f"order {order}: {detected[0].sum():.0f} of {n_seeds} noise tensors reported as signals")
    for name, overlap in zip(methods, overlaps, strict=True):
        print(f"    {name}: mean overlap {overlap.mean():.2f}")
axes[0, 0].set_ylabel("overlap with the planted direction")
axes[1, 0].set_ylabel("share detected")
axes[0, 0].legend(loc="lower right", fontsize=8)
plt.show()

# %%
# Below the threshold the highest point of the landscape is made of noise, and nobody finds the
# direction. Above it, one random start fails at strengths where the others succeed. The raw
# averages are good enough to go uphill from. At ``kappa=1`` that of the dynamics works for weaker
# signals than the partial trace, which is its limit at infinite temperature.
