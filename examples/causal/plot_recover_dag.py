"""
Recovering a causal graph
=========================

Thousand samples of a linear model with equal noise variances, and nothing else, tell who causes
whom. :class:`~sparseopt.causal.CoLiDE` learns the graph, its weights and the noise together. A
baseline that sorts the variables by their variances shows what is due to the method.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.causal import CoLiDE, SortRegress, shd
from sparseopt.datasets import make_linear_sem
from sparseopt.plotting import DAGDisplay

models = {"CoLiDE": CoLiDE(refit="ols"), "SortRegress": SortRegress()}
distances = {name: [] for name in models}
for seed in range(8):
    data = make_linear_sem(1000, 14, edges_per_node=1.5, random_state=seed)
    for name, model in models.items():
        distances[name].append(shd(data.adjacency, model.fit(data.X).adjacency_))
for name, values in distances.items():
    print(f"{name:<12} Hamming distances to the truth in eight simulations: {values}")

# %%
# One of them in pictures; the edges of the learnt graphs are compared with the true ones.

data = make_linear_sem(1000, 14, edges_per_node=1.5, random_state=5)
truth = data.adjacency
figure, axes = plt.subplots(1, 3, figsize=(14, 5.5), layout="constrained")
DAGDisplay.from_adjacency(truth, ax=axes[0])
axes[0].set_title(f"truth: {np.count_nonzero(truth)} edges")
for axis, (name, model) in zip(axes[1:], models.items(), strict=True):
    DAGDisplay.from_estimator(model.fit(data.X), reference=truth, ax=axis)
    axis.set_title(f"{name}: distance {shd(truth, model.adjacency_)}")

# %%
# With ``refit="ols"`` the weights are those of least squares, free of the penalty's bias.

model = models["CoLiDE"]
print(f"largest error of a weight: {np.abs(model.adjacency_ - truth).max():.2f}")
print(f"noise variance: {model.noise_variances_[0]:.3f} (1 in truth)")
print("strongest edges:", [(i, j, round(weight, 2)) for i, j, weight in model.edges_[:3]])
plt.show()
