"""Block coordinate descent within bounds."""

import numpy as np
import pytest
from scipy import optimize, sparse

from sparseopt.optimize import (
    Box,
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    NonNegative,
    SquaredLoss,
    block_coordinate_descent,
)

LOSSES = {
    "squared": SquaredLoss(),
    "logistic": LogisticLoss(),
    "multinomial": MultinomialLoss(),
    "huber": HuberLoss(),
}
UPDATES = ("prox-gradient", "prox-newton", "backtracking")


def make_data(name, n_features=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((80, n_features)) * rng.uniform(0.5, 3, n_features)
    X[:, 4] = 0
    z = X[:, :6] @ [1, -1, 2, 1, -2, 1] + rng.standard_normal(80) + 1
    y = {
        "squared": z,
        "huber": z + 20 * (rng.random(80) < 0.1),
        "logistic": np.where(z + 3 * rng.standard_normal(80) > 0, 1.0, -1.0),
        "multinomial": np.digitize(z + 3 * rng.standard_normal(80), [-2, 2]),
    }[name]
    return X, y


def bounds(n_features=20):
    rng = np.random.default_rng(1)
    lower, upper = -rng.uniform(0, 0.5, n_features), rng.uniform(0, 0.5, n_features)
    lower[:2], upper[1:3] = -np.inf, np.inf
    lower[3:6], upper[3:6] = 0.25, [0.25, 0.75, 0.5]  # fixed, empty column, zero excluded
    return Box(lower, upper)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("name", LOSSES)
def test_minimum_within_bounds_is_scipys(name, update, fit_intercept):
    X, y = make_data(name)
    loss, box = LOSSES[name], bounds()
    n_outputs = 3 if name == "multinomial" else 1
    lower, upper = np.repeat(box.kernel_table(20), n_outputs, axis=1)
    weights = np.random.default_rng(2).uniform(0, 2, 80)

    def predict(v):
        coef, b = v[: lower.size], v[lower.size :] * fit_intercept
        if n_outputs == 1:
            return X @ coef + b[0]
        return X @ coef.reshape(20, 3) + b

    def value(v):
        slopes = loss.gradient(y, predict(v), weights)
        slope = np.append(np.ravel(X.T @ slopes), fit_intercept * np.sum(slopes, axis=0))
        return loss.value(y, predict(v), weights), slope

    reference = optimize.minimize(
        value, np.zeros(lower.size + n_outputs), jac=True, method="L-BFGS-B",
        bounds=[*zip(lower, upper, strict=True), *[(None, None)] * n_outputs],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000},
    )  # fmt: skip
    for design in (X, sparse.csr_array(X)):
        result = block_coordinate_descent(
            design, y, box, loss=loss, update=update, sample_weight=weights,
            fit_intercept=fit_intercept, tol=1e-7, max_iter=20_000,
        )  # fmt: skip
        assert result.success
        assert result.fun == pytest.approx(reference.fun, rel=1e-9)
        assert np.all((lower <= result.x) & (result.x <= upper))
        assert np.all(np.diff(result.history["objective"]) <= 1e-12 * result.fun)
        free = (lower < result.x) & (result.x < upper)
        np.testing.assert_array_equal(result.active_set, np.flatnonzero(free))
        if name != "multinomial":  # whose classes may share a constant
            np.testing.assert_allclose(result.x, reference.x[: lower.size], atol=1e-3)


@pytest.mark.parametrize(
    ("partition", "selection"),
    [
        ("variable", "gs"), ("variable", "gsq"), ("variable", "random"), ("order", "cyclic"),
        ("sort", "gsl"), ("sort", "gsq"), ("avg", "permutation"),
    ],
)  # fmt: skip
def test_rules_arrive(partition, selection):
    X, y = make_data("squared")
    lower, upper = bounds().kernel_table(20)
    upper[3] = 0.3  # SciPy does not take fixed variables
    reference = optimize.lsq_linear(X, y, (lower, upper), tol=1e-13)
    result = block_coordinate_descent(
        X, y, Box(lower, upper), block_size=5, partition=partition, selection=selection, tol=1e-9,
        random_state=0,
    )  # fmt: skip
    assert result.fun == pytest.approx(reference.cost / 80, rel=1e-9)


def test_lower_bounds_of_zero_are_nonnegativity():
    X, y = make_data("logistic", 60)
    options = {"loss": LogisticLoss(), "fit_intercept": True, "tol": 1e-10}
    box = block_coordinate_descent(X, y, Box(0.0), **options)
    positive = block_coordinate_descent(X, y, NonNegative(), **options)
    np.testing.assert_allclose(box.x, positive.x, atol=1e-6)
    np.testing.assert_array_equal(box.active_set, positive.active_set)


def test_finish_is_superlinear_and_warm_starts_are_projected():
    X, y = make_data("logistic", 60)
    box = Box(-0.1, 0.1)
    result = block_coordinate_descent(X, y, box, loss=LogisticLoss(), block_size=60, tol=1e-13)
    assert result.nit <= result.active_set_iteration + 6
    again = block_coordinate_descent(
        X, y, box, loss=LogisticLoss(), tol=1e-10, coef_init=np.where(result.x == 0.1, 5, result.x)
    )
    assert again.nit == 0
    assert np.isnan(result.dual_gap)
