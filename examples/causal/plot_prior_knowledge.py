"""
What is known beforehand helps
==============================

Gaussian data with unequal noise variances are hard: many edges are wrong. But often one knows that
some variables do not cause some others, or in which order things happen. Such knowledge is kept
exactly, and it makes the other edges better too.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.causal import CoLiDE, shd
from sparseopt.datasets import make_linear_sem

options = {"variance": "non_equal", "solver": "prox"}
shares = np.array([0, 0.1, 0.25, 0.5, 0.75, 1.0])
distances = {"forbidden edges": np.zeros((4, 6)), "tiers": np.zeros((4, 6))}
for seed in range(4):
    data = make_linear_sem(
        1000, 30, edges_per_node=4, weight_range=(0.25, 1), variance="non_equal", random_state=seed
    )
    truth = data.adjacency
    absent = np.argwhere((truth == 0) & ~np.eye(30, dtype=bool))
    np.random.default_rng(seed).shuffle(absent)
    for column, share in enumerate(shares):
        # Pairs (cause, effect); a boolean matrix and, for data frames, names will do as well.
        known = absent[: int(share * len(absent))]
        model = CoLiDE(**options, forbidden_edges=known).fit(data.X)
        distances["forbidden edges"][seed, column] = shd(truth, model.adjacency_)
        # Tiers: no variable causes one of an earlier group.
        groups = np.array_split(data.causal_order, 1 + round(share * 29))
        model = CoLiDE(**options, tiers=groups).fit(data.X)
        distances["tiers"][seed, column] = shd(truth, model.adjacency_)

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, values), marker in zip(distances.items(), "os", strict=True):
    axis.plot(100 * shares, values.mean(axis=0), marker + "-", label=name)
    print(f"{name:<16}", values.mean(axis=0))
axis.set(
    xlabel="known: share of the absent edges, or of the order, in %",
    ylabel="Hamming distance to the truth",
    ylim=(0, None),
    title="four graphs of 30 variables with about 120 edges",
)
axis.legend()
plt.show()
