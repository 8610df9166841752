"""Sparse regression on real data, clean and with grossly wrong targets.

The diabetes data of scikit-learn (442 patients, 10 variables) get orthogonal-polynomial
interactions. Five sparse models compete in one grid search, first on the data as they are,
then with a growing share of the training targets corrupted. The script prints test scores
and the number of selected features, and draws both against the corruption.

    python examples/quickstart.py [--figure quickstart.png]
"""

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Lasso
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, ParameterGrid, train_test_split
from sklearn.pipeline import Pipeline

from sparseopt.linear_model import LADLasso, SquareRootLasso, WeightedLasso, WeightedOMP
from sparseopt.preprocessing import OrthogonalPolynomialFeatures

CORRUPTION = (0.0, 0.05, 0.1, 0.2, 0.3)
SHOWN = (0.0, 0.1)  # the two runs of the score table


def make_pipeline_and_grids(X):
    """Return the pipeline and one parameter grid a model, by the model's name."""
    # The hyperbolic cross of degree 3: polynomials of single variables, and all pairs. The
    # model's intercept stands for the constant.
    features = OrthogonalPolynomialFeatures("legendre", degree=3, include_bias=False)
    pipeline = Pipeline([("polynomials", features), ("model", Lasso())])
    # Polynomials of higher degree are wilder: their intrinsic weights penalise them more.
    weights = clone(features).fit(X).weights_
    alphas = np.geomspace(0.3, 30, 8)
    grids = {
        "Lasso (scikit-learn)": {
            "model": [Lasso(max_iter=100_000)],
            "model__alpha": alphas,
        },
        "WeightedLasso": {
            "model": [WeightedLasso(weights=weights)],
            "model__alpha": alphas,
        },
        "SquareRootLasso": {
            "model": [SquareRootLasso()],
            "model__alpha": ["auto", *np.geomspace(0.01, 0.2, 7)],
        },
        "LADLasso": {
            "model": [LADLasso()],
            "model__alpha": np.geomspace(0.005, 0.2, 8),
        },
        "WeightedOMP": {
            "model": [WeightedOMP(lam=0.0)],
            "model__loss": ["lasso", "lad_lasso"],
            "model__n_nonzero_coefs": [2, 4, 6, 9, 13],
        },
    }
    return pipeline, grids


def corrupt(y, fraction, rng):
    """Return ``y`` with gross errors, of ten standard deviations, in a share of its entries."""
    corrupted = y.copy()
    rows = rng.choice(len(y), size=round(fraction * len(y)), replace=False)
    corrupted[rows] += 10 * y.std() * rng.standard_normal(len(rows))
    return corrupted


def search_all(pipeline, grids, X, y):
    """Run one grid search over all models; return the best pipeline of each, refitted."""
    # Validation targets are corrupted too: the median error is blind to that.
    search = GridSearchCV(
        pipeline,
        list(grids.values()),
        scoring="neg_median_absolute_error",
        cv=5,
        n_jobs=2,
        refit=False,
    )
    search.set_callbacks(ProgressBar(max_propagation_depth=0))
    search.fit(X, y)

    winners = {}
    candidates = search.cv_results_["params"]
    scores = search.cv_results_["mean_test_score"]
    for name, grid in grids.items():
        own = [i for i, c in enumerate(candidates) if c["model"] is grid["model"][0]]
        best = candidates[max(own, key=scores.__getitem__)]
        winners[name] = clone(pipeline).set_params(**clone(best, safe=False)).fit(X, y)
    return winners


def evaluate(fitted, X, y):
    """Return test MAE, test R2 and the number of selected features of a pipeline."""
    predicted = fitted.predict(X)
    selected = int(np.count_nonzero(fitted["model"].coef_))
    return mean_absolute_error(y, predicted), r2_score(y, predicted), selected


def print_table(rows, names):
    """Print the scores of the runs in ``SHOWN`` side by side."""
    runs = [f"{share:.0%} of targets corrupted" for share in SHOWN]
    print(f"\n{'':22}" + "".join(f"{run:>30}" for run in runs))
    print(f"{'model':22}" + f"{'test MAE':>12}{'test R2':>9}{'features':>9}" * len(runs))
    for name in names:
        cells = ""
        for share in SHOWN:
            mae, r2, selected = rows[share][name]
            cells += f"{mae:12.1f}{r2:9.2f}{selected:9d}"
        print(f"{name:22}{cells}")


def draw(rows, names, path):
    """Draw test error and support size against the share of corrupted targets."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    error, support = figure.subplots(1, 2)
    colours = ["#7f7f7f", "#E69F00", "#0072B2", "#009E73", "#CC79A7"]
    percent = [100 * share for share in CORRUPTION]
    for name, colour, marker in zip(names, colours, "xos^D", strict=True):
        style = {"color": colour, "marker": marker, "label": name}
        error.plot(percent, [rows[share][name][0] for share in CORRUPTION], **style)
        support.plot(percent, [rows[share][name][2] for share in CORRUPTION], **style)
    error.set(ylabel="mean absolute error on clean test data", title="Prediction")
    support.set(ylabel="selected features", title="Support")
    for axis in (error, support):
        axis.set(xlabel="corrupted training targets (%)")
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
        axis.grid(alpha=0.3)
    error.legend()
    figure.savefig(path, dpi=150)


def main():
    """Fit, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", type=Path, default=Path("quickstart.png"))
    path = parser.parse_args().figure.resolve()

    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=1 / 3, random_state=0)
    pipeline, grids = make_pipeline_and_grids(X_train)

    print("Compiling the kernels that are not on disk yet ...", flush=True)
    start = time.perf_counter()
    for grid in grids.values():
        candidates = list(ParameterGrid(grid))
        for candidate in (candidates[0], candidates[-1]):
            clone(pipeline).set_params(**clone(candidate, safe=False)).fit(X_train, y_train)
    print(f"... ready after {time.perf_counter() - start:.1f} s.")

    rows = {}
    for share in CORRUPTION:
        print(f"\nGrid search over {len(grids)} models, {share:.0%} of the targets corrupted")
        y_run = corrupt(y_train, share, np.random.default_rng(0))
        winners = search_all(pipeline, grids, X_train, y_run)
        rows[share] = {name: evaluate(fit, X_test, y_test) for name, fit in winners.items()}

    print_table(rows, list(grids))
    draw(rows, list(grids), path)
    print(f"\nFigure written to {path}")


if __name__ == "__main__":
    main()
