"""Data sets A, B and C, and A with an l1 penalty and x >= 0."""

from functools import partial

import numpy as np

from benchmarks.bcd.experiments.protocol import STEPS, Curve, descend
from sparseopt.datasets import (
    make_badly_scaled_classification,
    make_badly_scaled_multiclass,
    make_badly_scaled_regression,
)
from sparseopt.optimize import (
    L1,
    LogisticLoss,
    MultinomialLoss,
    SquaredLoss,
    block_coordinate_descent,
)


def _curve(X, y, loss, update, partition, selection, size, published=None, remark="", n_steps=500):
    solve = partial(
        block_coordinate_descent, X, y, loss=loss, block_size=size, partition=partition,
        selection=selection, update=update, max_iter=n_steps, tol=0, random_state=0,
    )  # fmt: skip
    kind = "variable" if partition == "variable" else f"fixed ({partition})"
    gaps, times = descend(solve, 0.0, len(y))  # none of the three models has a penalty
    return Curve(f"{selection}, {kind} blocks of {size}, {update}", gaps, times, published, remark)


def squared():
    """Return the curves of least squares on data set A."""
    run = partial(_curve, *make_badly_scaled_regression(random_state=1), SquaredLoss())
    row_sums = "published with row sums of |X'X|"
    return [
        run("gradient", "variable", "random", 5, {500: 2.1e6}),
        run("gradient", "variable", "gs", 5, {500: 3.4e4}),
        run("gradient", "variable", "gsd", 5, {500: 7.9e3}, row_sums),
        run("gradient", "sort", "gs", 5, {500: 1.5e5}),
        run("gradient", "sort", "gsl", 5, {500: 8.4e3}),
        run("matrix", "variable", "gs", 5, {500: 3.0e3}),
        run("matrix", "variable", "gsd", 5, {500: 0.068}),
        run("matrix", "variable", "gsq-iht", 5, {500: 0.030}),
        run("matrix", "variable", "gsq", 5),
        run("matrix", "sort", "gs", 5, {500: 1.4e5}),
        run("matrix", "sort", "gsl", 5, {500: 4.9e3}),
        run("matrix", "sort", "gsq", 5, {500: 2.7e3}),
    ]


def logistic():
    """Return the curves of logistic regression on data set B, which are comparable exactly."""
    run = partial(_curve, *make_badly_scaled_classification(random_state=1), LogisticLoss())
    run = partial(run, "newton")
    at_steps = lambda *gaps: dict(zip(STEPS, gaps, strict=True))  # noqa: E731
    return [
        run("variable", "gs", 5, at_steps(250, 110, 27, 0.83)),
        run("variable", "gsd", 5, at_steps(110, 28, 2.5, 2.2e-3)),
        run("variable", "gsq-iht", 5, at_steps(100, 23, 1.7, 8.9e-4)),
        run("variable", "gsq", 5),
        run("sort", "gsl", 5, at_steps(340, 150, 40, 1.2)),
        run("variable", "gsd", 50, 276),
        run("variable", "gsq-iht", 50, 167),
        run("variable", "gsq", 50),
    ]


def multinomial():
    """Return curves of multinomial regression on data set C."""
    X, y = make_badly_scaled_multiclass(random_state=1)
    run = partial(_curve, X, y, MultinomialLoss(), "newton")
    return [
        run("variable", "random", 5),
        run("variable", "gs", 5),
        run("variable", "gsd", 5),
        run("sort", "gs", 5),
        run("sort", "gsl", 5),
    ]


def nonnegative():
    """Return curves of the nonnegative lasso on data set A, with the sum's lam = 5e4."""
    X, y = make_badly_scaled_regression(random_state=1)
    penalty = L1(5e4 / len(y), positive=True)
    best = block_coordinate_descent(X, y, penalty, tol=1e-15, max_iter=100)
    minimum = len(y) * best.fun
    curves = []
    for size, partition, update, published in (
        (5, "variable", "tmp", 61),
        (5, "variable", "prox-newton", 61),
        (5, "variable", "prox-gradient", 164),
        (50, "variable", "tmp", 10),
        (50, "variable", "prox-newton", 10),
        (50, "variable", "prox-gradient", 142),
        (50, "sort", "tmp", 190),
        (50, "sort", "prox-newton", 183),
        (50, "sort", "prox-gradient", None),
    ):
        solve = partial(
            block_coordinate_descent, X, y, penalty, block_size=size, partition=partition,
            selection="gs" if partition == "sort" else "gsd", update=update, max_iter=500, tol=0,
        )  # fmt: skip
        gaps, times = descend(solve, minimum, len(y))
        # The objective, about 1e7, is known to 1e-8 at best.
        gaps = np.where(gaps <= 1e-15 * minimum, 0.0, gaps)
        kind = "variable" if partition == "variable" else f"fixed ({partition})"
        remark = "published: more than 500" if published is None else ""
        curves.append(
            Curve(f"{kind} blocks of {size}, {update}", gaps, times, published or 500, remark)
        )
    return curves
