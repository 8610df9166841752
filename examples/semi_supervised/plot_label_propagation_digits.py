"""
Forty labels for 1797 digits
============================

Labels are often the expensive part of a data set. Label propagation joins each sample with its
nearest neighbours and lets the few known labels spread along this graph, until each unlabelled
sample holds the mean of its neighbours' class distributions.
:class:`~sparseopt.semi_supervised.GraphLabelPropagation` solves for that state directly, as one
sparse linear system with a right-hand side for each class.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE

from sparseopt.semi_supervised import GraphLabelPropagation

X, digit = load_digits(return_X_y=True)
rng = np.random.default_rng(0)


def hide_labels(n_per_class):
    """Return the classes with all but some samples of each marked as unlabelled."""
    y = np.full(digit.size, -1)
    for value in range(10):
        known = rng.choice(np.flatnonzero(digit == value), n_per_class, replace=False)
        y[known] = value
    return y


y = hide_labels(4)
model = GraphLabelPropagation(n_neighbors=10).fit(X, y)
hidden = y == -1
print(f"accuracy on {hidden.sum()} unlabelled digits:", end=" ")
print(f"{np.mean(model.transduction_[hidden] == digit[hidden]):.3f}")

# %%
# How labels spread
# -----------------
# With ``solver="tree-bcd"`` each iteration solves the system exactly on a *forest* of the graph,
# chosen where the residual is largest. Stopped early, it shows the labels on their way. Colours
# are classes, and grey samples have not heard of any label yet; t-SNE only places the points.

place = TSNE(max_iter=400, random_state=0).fit_transform(X)
figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
for axis, max_iter in zip(axes, (0, 3, 5, None), strict=True):
    if max_iter == 0:
        shown, title = y, "the 40 labels"
    elif max_iter is None:
        shown, title = model.transduction_, "solution"
    else:
        spreading = GraphLabelPropagation(n_neighbors=10, solver="tree-bcd", max_iter=max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early on purpose
            spreading.fit(X, y)
        # Where no label has arrived, all classes have their frequency among the labels, 1/10.
        has_heard = np.max(spreading.label_distributions_, axis=1) > 0.1 + 1e-9
        shown, title = np.where(has_heard, spreading.transduction_, -1), f"{max_iter} forests"
    colors = np.where(shown[:, None] == -1, [0.85, 0.85, 0.85, 1], plt.cm.tab10(shown))
    axis.scatter(*place.T, c=colors, s=4 + 20 * ((shown >= 0) & (max_iter == 0)))
    axis.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# What the unlabelled samples bring
# ---------------------------------
# A classifier that sees only the labelled digits needs several times as many of them.

counts = (1, 2, 4, 8, 16)
scores = {"label propagation": [], "logistic regression": []}
for n_per_class in counts:
    trials = []
    for _ in range(5):
        y = hide_labels(n_per_class)
        hidden = y == -1
        spread = GraphLabelPropagation(n_neighbors=10).fit(X, y).transduction_
        alone = LogisticRegression(max_iter=1000).fit(X[~hidden] / 16, y[~hidden]).predict(X / 16)
        trials.append([np.mean(guess[hidden] == digit[hidden]) for guess in (spread, alone)])
    for name, score in zip(scores, np.mean(trials, axis=0), strict=True):
        scores[name].append(score)

figure, axis = plt.subplots(layout="constrained")
for name, values in scores.items():
    axis.semilogx(counts, values, "o-", label=name)
axis.set(
    xlabel="labelled digits of each class",
    ylabel="accuracy on the others",
    xticks=counts,
    xticklabels=counts,
)
axis.minorticks_off()
axis.legend(loc="lower right")
plt.show()
