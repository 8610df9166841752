"""
A few strokes tell the digits apart
===================================

Multinomial logistic regression learns one image of coefficients for each digit: the score of
an image is what it has in common with the digit's coefficients. A ridge penalty spreads them over
all pixels. The l1 penalty keeps about a quarter of them, the strokes that tell a digit from the
others, and is no less accurate on images that were not used.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sparseopt.linear_model import SparseLogisticRegression, SparseLogisticRegressionCV

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)

# %%
# Cross-validation chooses the strength of the l1 penalty: the largest one whose error is within
# one standard error of the smallest. The ridge penalty gets the best strength of a grid.

sparse_model = SparseLogisticRegressionCV(alphas=20, eps=1e-2, selection_rule="1se")
sparse_model.fit(X_train, y_train)
ridge_model = SparseLogisticRegressionCV(alphas=np.geomspace(1e-1, 1e-5, 9), l1_ratio=0.0)
ridge_model.fit(X_train, y_train)

# %%
# Both have ten images of 64 coefficients. Red adds to the score of the digit, blue takes away;
# white pixels of the l1 penalty's images are exactly zero.

models = {"ridge": ridge_model, "l1": sparse_model}
figure, axes = plt.subplots(2, 10, figsize=(10, 2.7), layout="constrained")
for row, (name, model) in zip(axes, models.items(), strict=True):
    limit = np.quantile(np.abs(model.coef_), 0.99)
    for digit, axis in enumerate(row):
        image = model.coef_[digit].reshape(8, 8)
        axis.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{digit}", fontsize=10)
    share = np.count_nonzero(model.coef_) / model.coef_.size
    accuracy = model.score(X_test, y_test)
    row[0].set_ylabel(f"{name}\n{share:.0%} nonzero\n{accuracy:.1%} right", fontsize=9)
    print(f"{name}: {np.count_nonzero(model.coef_)} coefficients, accuracy {accuracy:.3f}")
plt.show()

# %%
# The fit comes with certificates: the distance of the gradient to the optimality conditions, and
# a bound on how far the objective is from its minimum.

model = SparseLogisticRegression(sparse_model.alpha_, tol=1e-12).fit(X_train, y_train)
print(f"{model.n_iter_} iterations, kkt {model.kkt_:.1e}, duality gap {model.dual_gap_:.1e}")
