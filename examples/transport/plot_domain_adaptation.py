"""
Domain adaptation in a pipeline
===============================

A classifier is trained on labelled samples of one domain, and used in another one where the data
are rotated and shifted. :class:`~sparseopt.transport.SinkhornTransport` moves the training samples
onto unlabelled ones of the target domain first. Its regularisation is searched for like any other
parameter, with a scorer that looks at twenty labelled samples of the target domain.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from sparseopt.transport import SinkhornTransport

angle = np.deg2rad(40)
rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
X, y = make_moons(300, noise=0.1, random_state=0)
X_target, y_target = make_moons(400, noise=0.1, random_state=1)
X_target = X_target @ rotation + [0.2, -0.3]
few, rest = slice(0, 20), slice(20, None)


def target_score(pipeline, X, y):
    """Score the classifier at the end of the pipeline in the target domain."""
    return pipeline[-1].score(X_target[few], y_target[few])


pipeline = make_pipeline(SinkhornTransport(X_target=X_target[rest]), SVC())
search = GridSearchCV(
    pipeline,
    {"sinkhorntransport__reg": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3]},
    scoring=target_score,
    cv=ShuffleSplit(3, test_size=0.2, random_state=0),
).fit(X, y)
transport, adapted = search.best_estimator_
unadapted = SVC().fit(X, y)
for name, model in (("without", unadapted), ("with", adapted)):
    score = model.score(X_target[rest], y_target[rest])
    print(f"accuracy in the target domain {name} transport: {score:.3f}")
print(f"reg chosen: {transport.reg}")

# %%
# The samples arrive where the target domain has its own, and bring their labels along.

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharex=True, sharey=True)
panels = (
    (X, "training samples", unadapted),
    (transport.transform(X), "the same after transport", adapted),
)
for axis, (points, title, model) in zip(axes, panels, strict=False):
    DecisionBoundaryDisplay.from_estimator(
        model,
        np.vstack([X, X_target]),
        ax=axis,
        alpha=0.2,
        cmap="coolwarm",
        response_method="predict",
    )
    axis.scatter(*X_target[rest].T, s=8, color="0.6")
    axis.scatter(*points.T, c=y, s=12, cmap="coolwarm")
    axis.set_title(title)
scores = search.cv_results_
axes[2].remove()
axis = figure.add_subplot(1, 3, 3)
regs = search.param_grid["sinkhorntransport__reg"]
truth = [
    search.estimator.set_params(sinkhorntransport__reg=reg).fit(X, y)[-1]
    .score(X_target[rest], y_target[rest])
    for reg in regs
]  # fmt: skip
axis.semilogx(regs, scores["mean_test_score"], "o-", label="20 labelled target samples")
axis.semilogx(regs, truth, "s--", label="all target samples")
axis.set(xlabel="reg", ylabel="accuracy", ylim=(0.5, 1.02))
axis.legend(loc="lower right")
plt.show()
