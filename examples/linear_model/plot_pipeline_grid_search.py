"""
=========================================
A pipeline, a grid search, a progress bar
=========================================

Sparse estimators go where any scikit-learn estimator goes. Here a grid search chooses the
penalty strength of a :class:`~sparseopt.linear_model.WeightedLasso` on polynomial features, and
at the same time whether its penalty *weights* should be the intrinsic weights of the
polynomials, which grow with the degree and so prefer smooth terms to wild ones. A live
progress bar tells how far the search is.
"""

# %%
# Polynomial features in a pipeline
# ---------------------------------
# The transformer learns each variable's interval, on which Legendre polynomials live. The
# hyperbolic cross holds the polynomials of single variables up to a degree, and fewer and
# fewer of the interactions; its constant term is dropped, because the model has an intercept.
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from sparseopt.linear_model import WeightedLasso
from sparseopt.preprocessing import OrthogonalPolynomialFeatures

X, y = load_diabetes(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

features = OrthogonalPolynomialFeatures("legendre", degree=5, include_bias=False)
weights = features.fit(X_train).weights_
pipeline = Pipeline([("polynomials", features), ("lasso", WeightedLasso())])
print(f"{len(weights)} polynomials of {X.shape[1]} variables for {len(X_train)} patients")

# %%
# The search
# ----------
# ``set_callbacks`` registers a progress bar with the search; it follows the fits in the
# worker processes too.
from sklearn.callback import ProgressBar

alphas = np.geomspace(0.2, 20, 13)
search = GridSearchCV(
    pipeline,
    {"lasso__alpha": alphas, "lasso__weights": [None, weights]},
    scoring="neg_mean_absolute_error",
    cv=5,
    n_jobs=2,
)
search.set_callbacks(ProgressBar(max_propagation_depth=0))
search.fit(X_train, y_train)

best = search.best_estimator_["lasso"]
kind = "no" if best.weights is None else "intrinsic"
print(f"best: {kind} weights, alpha = {best.alpha:.3g}, {np.count_nonzero(best.coef_)} terms")
print(f"R2 on unseen patients: {search.best_estimator_.score(X_test, y_test):.3f}")

# %%
# What the search saw
# -------------------
# On these data the two choices of weights end level, at different strengths: a weight above 1
# multiplies alpha. Weights pay where the target is smooth and samples are few.
import matplotlib.pyplot as plt

results = search.cv_results_
weighted = np.array([params["lasso__weights"] is not None for params in results["params"]])
figure, axis = plt.subplots(layout="constrained")
for chosen, label, marker in ((~weighted, "all weights 1", "o"), (weighted, "intrinsic", "s")):
    axis.semilogx(alphas, -results["mean_test_score"][chosen], marker=marker, label=label)
axis.set(xlabel="alpha", ylabel="cross-validated mean absolute error")
axis.legend(title="penalty weights")
axis.grid(alpha=0.3)
plt.show()

# %%
# The terms that the winner kept, largest first.
names = search.best_estimator_[:-1].get_feature_names_out()
for j in np.argsort(-np.abs(best.coef_))[:8]:
    print(f"{names[j]:<16} {best.coef_[j]:8.2f}")
