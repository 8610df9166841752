"""
Corrupted digits: robust PCA as the first step of a pipeline
=============================================================

Faulty sensors have replaced pixels of scikit-learn's digits by values up to five times as large as
a grey value can be, of either sign, and lost a fifth of the rest. A few such values spoil the
components of PCA and the scores of every sample. :class:`~sparseopt.decomposition.RobustPCA` takes
missing values as they are, separates the errors from the components that it learns, and does the
same with new samples in ``transform``.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from sparseopt.decomposition import RobustPCA

digits, classes = load_digits(return_X_y=True)


def corrupt(X, share, rng):
    """Return a copy with gross errors in a share of the values, and a fifth missing."""
    X = X.copy()
    wrong = rng.random(X.shape) < share
    X[wrong] = rng.uniform(-80, 80, np.count_nonzero(wrong))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


# %%
# The weight of the errors is a parameter of the pipeline like any other, and a grid search picks it
# by the accuracy of the classifier, for which ``tol=1e-4`` is accurate enough. One rival knows that
# grey values lie between 0 and 16, and clips what does not; robust PCA is not told, and does about
# as well. Without any gross errors it has nothing to gain: PCA is then a little better.

ordinary = make_pipeline(SimpleImputer(strategy="median"), PCA(20), SVC(C=10))
clipped = make_pipeline(FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 16}), ordinary)
robust = GridSearchCV(
    make_pipeline(RobustPCA(n_components=20, tol=1e-4), SVC(C=10)),
    {"robustpca__lam": [0.04, 0.05, 0.06]},
    cv=2,
)
models = {"RobustPCA": robust, "values clipped, PCA": clipped, "PCA": ordinary}

shares = [0.0, 0.05, 0.1, 0.15, 0.2]
accuracy = {name: [] for name in models}
for share in shares:
    X = corrupt(digits, share, np.random.default_rng(0))
    train, test, y_train, y_test = train_test_split(X, classes, test_size=0.5, random_state=0)
    for name, model in models.items():
        accuracy[name].append(model.fit(train, y_train).score(test, y_test))
    lam = robust.best_params_["robustpca__lam"]
    scores = ", ".join(f"{name} {values[-1]:.3f}" for name, values in accuracy.items())
    print(f"{share:.0%} gross errors, lam = {lam}: {scores}")

figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), marker in zip(accuracy.items(), "osv", strict=True):
    axis.plot(shares, values, marker=marker, label=name)
axis.axhline(0.1, color="0.6", linestyle=":", label="guessing")
axis.set(xlabel="share of gross errors", ylabel="accuracy on new digits", ylim=(0, 1))
axis.legend()
plt.show()
