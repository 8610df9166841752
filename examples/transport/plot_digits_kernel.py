"""
Digits classified by how far their ink has to move
==================================================

An image is a histogram: a distribution of ink over places. Two digits are close if little ink has
to move a short way from one to the other, however few pixels they have in common.
:class:`~sparseopt.transport.OTKernel` makes a kernel of that distance. As a function it goes
straight into a support vector machine, with parameters that a grid search sees.

Here the digits lie anywhere in a frame that is two pixels larger than they are.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from sparseopt.transport import OTKernel, pairwise_sinkhorn

side = 10
rng = np.random.default_rng(0)
images, labels = load_digits(return_X_y=True)
chosen = rng.permutation(len(labels))[:300]
images, labels = images[chosen].reshape(-1, 8, 8), labels[chosen]


def place(image, row, column):
    """Return a flat frame with the image in it."""
    frame = np.zeros((side, side))
    frame[row : row + 8, column : column + 8] = image
    return frame.ravel()


X = np.array([place(image, *rng.integers(0, side - 7, 2)) for image in images])
train, test = slice(0, 200), slice(200, 300)

places = np.stack(np.divmod(np.arange(side**2), side), axis=1)
C = np.sum((places[:, None] - places) ** 2, axis=2)  # squared distance in pixels
transport = GridSearchCV(
    SVC(kernel=OTKernel(C, reg=2.0, tol=1e-5), C=10), {"kernel__gamma": [0.1, 0.3]}, cv=2
)
gaussian = GridSearchCV(SVC(C=10), {"gamma": np.logspace(-4, -2, 9)}, cv=2)
scores = {
    "transport": transport.fit(X[train], labels[train]).score(X[test], labels[test]),
    "Gaussian": gaussian.fit(X[train], labels[train]).score(X[test], labels[test]),
}
print(scores, transport.best_params_)

# %%
# The Gaussian kernel compares pixel by pixel, and takes a digit that has moved for another one. On
# digits that are centred, as they come, it is the better kernel, and faster.

six, other = images[labels == 6][0], images[labels == 5][0]
shown = np.array([place(six, 0, 0), place(six, 1, 0), place(six, 1, 1), place(other, 0, 0)])
H = shown / shown.sum(axis=1, keepdims=True)
moved = pairwise_sinkhorn(H[:1], H, C, reg=2.0, kind="divergence")[0]
pixels = np.linalg.norm(shown - shown[0], axis=1)

figure, axes = plt.subplots(
    1, 5, figsize=(11, 3), layout="constrained", width_ratios=(1, 1, 1, 1, 1.3)
)
for axis, image, first, second in zip(axes, shown, moved, pixels, strict=False):
    axis.imshow(image.reshape(side, side), cmap="gray_r")
    axis.set(xticks=[], yticks=[], xlabel=f"transport {first:.1f}\npixels {second:.0f}")
figure.suptitle("distances from the first image, and accuracy")
axes[4].bar(list(scores), list(scores.values()), color=["C0", "C1"])
axes[4].set(ylim=(0, 1), ylabel="accuracy")
plt.show()
