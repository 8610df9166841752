"""
Which edges would another sample show?
======================================

One graph from one sample does not tell how sure its edges are.
:func:`~sparseopt.causal.edge_stability` learns a graph from each of many bootstrapped samples and
counts. Here are the proteins of :func:`~sparseopt.datasets.load_sachs` again; frames mark the edges
of the consensus.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.causal import CoLiDE, edge_stability
from sparseopt.datasets import load_sachs

X, consensus = load_sachs(return_X_y=True, as_frame=True)
model = CoLiDE(variance="non_equal", solver="prox")
stability = edge_stability(model, X, n_bootstrap=100, random_state=0)

print("edge            frequency  median weight")
for cause, effect, frequency, weight in stability.edges:
    print(f"{cause:>5} -> {effect:<5}{frequency:12.2f}{weight:15.2f}")

# %%
# Frequent edges need not be true ones. In the consensus PKA is a cause of six others; the learnt
# graphs have all six edges reversed, two of them in every replicate. What a method gets wrong for
# other reasons than chance it gets wrong each time. And a frequency says nothing of signs: the
# median weight of Plcg -> PKA is near zero, since half of its weights are positive, half negative,
# and none is smaller than the threshold.

names = list(X.columns)
frequencies = stability.frequencies
figure, axis = plt.subplots(figsize=(7, 6), layout="constrained")
image = axis.imshow(frequencies, cmap="Blues", vmin=0, vmax=1)
for i, j in np.argwhere(frequencies >= 0.05):
    colour = "white" if frequencies[i, j] > 0.6 else "black"
    axis.text(j, i, f"{frequencies[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=8)
for i, j in np.argwhere(consensus.to_numpy()):
    axis.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="C1", lw=2))
axis.set(
    xticks=range(len(names)),
    yticks=range(len(names)),
    xlabel="effect",
    ylabel="cause",
    title="share of 100 bootstrapped samples with the edge",
)
axis.set_xticklabels(names, rotation=45)
axis.set_yticklabels(names)
figure.colorbar(image, shrink=0.8)
plt.show()
