"""
When robust PCA recovers, and when its usual solver does
=========================================================

Principal component pursuit separates a low-rank matrix from sparse errors *exactly*, if the rank is
low enough and the errors are few enough. How low and how few is the diagram of Candès, Li, Ma and
Wright (2011): each cell tells how often random instances were recovered.

The solver decides too. The inexact augmented Lagrangian method of most packages, here
``solver="ialm"``, raises its penalty geometrically and comes to rest wherever it is by then. The
default of :func:`~sparseopt.decomposition.robust_pca` goes on until the duality gap proves that it
is at the optimum.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.datasets import make_low_rank_plus_sparse
from sparseopt.decomposition import robust_pca

n, n_trials = 50, 3
ranks = np.arange(1, 13, 2)
shares = np.linspace(0.04, 0.36, 9)


def recovered(rank, share, seed, solver):
    """Tell whether the low-rank part is found up to a thousandth."""
    X, low_rank, _ = make_low_rank_plus_sparse(n, n, rank=rank, corrupted=share, random_state=seed)
    found = robust_pca(X, solver=solver, tol=1e-5, tol_gap=1e-3, warn=False).low_rank
    return np.linalg.norm(found - low_rank) < 1e-3 * np.linalg.norm(low_rank)


# %%
# Both panels show the same instances. Below the frontier the optimum is the truth; where only the
# left panel is bright, the truth was there to be found, and the growing penalty missed it.

names = {"auto": "to the optimum, certified", "ialm": "penalty growing by 1.5 a step"}
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for axis, (solver, title) in zip(axes, names.items(), strict=True):
    trials = [
        [[recovered(rank, share, seed, solver) for seed in range(n_trials)] for share in shares]
        for rank in ranks
    ]
    success = np.mean(trials, axis=2)
    print(f"{title}: {100 * success.mean():.0f} % of the instances")
    image = axis.pcolormesh(shares, ranks / n, success, cmap="cividis", vmin=0, vmax=1)
    axis.set(title=title, xlabel="share of corrupted entries")
axes[0].set_ylabel("rank / n")
figure.colorbar(image, ax=axes, label="share of instances recovered")
plt.show()
