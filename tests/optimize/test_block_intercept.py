"""Block coordinate descent with a free intercept: derivatives, bounds, limits."""

import itertools

import numpy as np
import pytest
from scipy import optimize, sparse
from sklearn.linear_model import Lasso, LogisticRegression

from sparseopt.optimize import (
    L1,
    Box,
    ElasticNet,
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    PoissonLoss,
    SquaredLoss,
    block_coordinate_descent,
)
from sparseopt.optimize._block_coordinate_descent import pose

LOSSES = {
    "squared": SquaredLoss(),
    "logistic": LogisticLoss(),
    "multinomial": MultinomialLoss(),
    "huber": HuberLoss(0.7),
}
SMOOTH, PENALISED = ("gradient", "matrix", "newton"), ("prox-gradient", "prox-newton", "tmp")


def make_data(name, n_samples=60, n_features=12, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * rng.uniform(0.5, 3, n_features)
    X = np.where(np.abs(X) < 0.5, 0, X + rng.uniform(-2, 2, n_features))
    z = X[:, 0] - X[:, 1] + rng.standard_normal(n_samples) + 4
    y = {
        "squared": z,
        "huber": z + 10 * (rng.random(n_samples) < 0.1),
        "logistic": np.where(z > 3, 1.0, -1.0),
        "multinomial": np.digitize(z, np.quantile(z, [0.25, 0.6])),
    }[name]
    return X, y


def make_problem(name, at=0.3, seed=0, kind=np.asarray):
    X, y = make_data(name, 40, 6, seed)
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 2, 40)
    problem = pose(kind(X), y, LOSSES[name], ElasticNet(0.3, 0.5), weights, True)
    problem.move_to(at * rng.standard_normal(problem.n_variables))
    return problem


@pytest.mark.parametrize("name", LOSSES)
def test_intercept_minimises_the_objective_at_every_point(name):
    problem = make_problem(name)
    n_outputs = np.size(problem.intercept)

    def value(b):
        shifted = problem.predictions + (b if n_outputs > 1 else b[0])
        return problem.loss.value(problem.y, shifted, problem.sample_weight)

    best = optimize.minimize(value, np.zeros(n_outputs), method="Nelder-Mead", tol=1e-9).fun
    assert value(np.zeros(n_outputs)) <= best + 1e-12
    assert problem.intercept_slope <= 1e-14


@pytest.mark.parametrize("kind", [np.asarray, sparse.csc_array, sparse.csr_array])
@pytest.mark.parametrize("name", ["squared", "logistic", "multinomial"])
def test_gradient_and_hessian_are_those_of_the_minimum_over_the_intercept(name, kind):
    problem = make_problem(name, kind=kind)
    x, n, h = problem.x.copy(), problem.n_variables, 1e-5
    gradient, indices = problem.gradient.copy(), np.arange(0, n, 2)
    block = problem.block(indices)
    hessian = block.hessian()
    np.testing.assert_allclose(block.model_hessian(), hessian, atol=1e-14)
    differences, gradients = np.zeros(n), np.zeros((n, n))
    for i in range(n):
        values = []
        for side in (1, -1):
            problem.move_to(x + side * h * np.eye(n)[i])
            values.append(problem.objective - problem.l1 @ np.abs(problem.x))
            gradients[i] += side * problem.gradient / (2 * h)
        differences[i] = (values[0] - values[1]) / (2 * h)
    np.testing.assert_allclose(differences, gradient, atol=1e-7)
    np.testing.assert_allclose(gradients[np.ix_(indices, indices)], hessian, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_bounds_hold_after_minimisation_over_the_intercept(name):
    rng = np.random.default_rng(1)
    for seed in range(15):
        problem = make_problem(name, seed=seed, at=rng.choice([0, 0.3, 3]))
        size = rng.integers(1, 7)
        indices = np.sort(rng.choice(problem.n_variables, size, replace=False))
        block = problem.block(indices)
        assert np.min(np.linalg.eigvalsh(block.hessian_bound() - block.hessian())) >= -1e-10
        for i in range(size):
            alone = problem.block(indices[i : i + 1]).hessian_bound()[0, 0]
            assert problem.lipschitz[indices[i]] == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csc_array])
@pytest.mark.parametrize("name", LOSSES)
def test_products_with_the_global_bound(name, kind):
    problem = make_problem(name, kind=kind)
    bound = problem.block(np.arange(problem.n_variables)).hessian_bound()
    d = np.array([1.0, -2.0, 0.5])
    indices = np.array([1, 2, 5])
    product = problem.bound_product(indices, d)
    np.testing.assert_allclose(product, bound[:, indices] @ d, atol=1e-12)
    full = np.random.default_rng(2).standard_normal(problem.n_variables)
    np.testing.assert_allclose(problem.bound_times(full), bound @ full, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("update", SMOOTH + PENALISED)
def test_steps_descend_and_report_their_intercept(name, update):
    X, y = make_data(name)
    penalty = ElasticNet(0.05, 0.0 if update in SMOOTH else 0.7)
    for partition, selection in (("variable", "gsd"), ("variable", "gsq"), ("sort", "cyclic")):
        result = block_coordinate_descent(
            sparse.csc_array(X), y, penalty, loss=LOSSES[name], fit_intercept=True, block_size=5,
            partition=partition, selection=selection, update=update, max_iter=5000, tol=1e-4,
        )  # fmt: skip
        objective = result.history["objective"]
        assert np.all(np.diff(objective) <= 1e-12 * objective[0])
        outputs = result.x.reshape(12, -1) if name == "multinomial" else result.x
        predictions = X @ outputs + result.intercept
        value = LOSSES[name].value(y, predictions) + penalty.value(result.x)
        assert value == pytest.approx(result.fun, rel=1e-12)
        assert result.success


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("update", ["prox-newton", "tmp"])
def test_equals_an_unpenalised_column_of_ones(name, update):
    X, y = make_data(name)
    with_ones, weights = np.column_stack([X, np.ones(60)]), np.append(np.ones(12), 0)
    options = {"loss": LOSSES[name], "update": update, "tol": 1e-9}
    result = block_coordinate_descent(X, y, L1(0.05), fit_intercept=True, **options)
    same = block_coordinate_descent(with_ones, y, L1(0.05, weights=weights), **options)
    n_outputs = np.size(result.intercept)
    np.testing.assert_allclose(result.x, same.x[:-n_outputs], atol=1e-6)
    assert result.fun == pytest.approx(same.fun, rel=1e-12)
    assert 0 < result.active_set.size < result.x.size
    if name == "multinomial":
        assert result.intercept.shape == (3,)
        # Determined up to a common constant, and reported with mean zero.
        expected = same.x[-3:] - same.x[-3:].mean()
        np.testing.assert_allclose(result.intercept, expected, atol=1e-6)
    else:
        assert isinstance(result.intercept, float)
        assert result.intercept == pytest.approx(same.x[-1], abs=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_limits_are_scikit_learns(kind):
    X, y = make_data("squared")
    result = block_coordinate_descent(kind(X), y, L1(0.1), fit_intercept=True, tol=1e-12)
    lasso = Lasso(alpha=0.1, tol=1e-14, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(result.x, lasso.coef_, atol=1e-8)
    assert result.intercept == pytest.approx(lasso.intercept_, abs=1e-8)
    for name in ("logistic", "multinomial"):
        X, y = make_data(name)
        result = block_coordinate_descent(
            kind(X), y, ElasticNet(1 / 60, 0.0), loss=LOSSES[name], fit_intercept=True,
            block_size=36, tol=1e-11,
        )  # fmt: skip
        ridge = LogisticRegression(tol=1e-11, max_iter=10_000, solver="newton-cg").fit(X, y)
        np.testing.assert_allclose(result.x.reshape(12, -1).T, ridge.coef_, atol=1e-5)
        expected = ridge.intercept_ - ridge.intercept_.mean() * (name == "multinomial")
        np.testing.assert_allclose(np.atleast_1d(result.intercept), expected, atol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_integer_sample_weights_repeat_rows_and_sparse_equals_dense(name):
    X, y = make_data(name)
    weights = np.random.default_rng(1).integers(0, 4, 60)
    rows = np.repeat(np.arange(60), weights)
    options = {"loss": LOSSES[name], "fit_intercept": True, "tol": 1e-10}
    repeated = block_coordinate_descent(X[rows], y[rows], L1(0.05), **options)
    for design in (X, sparse.csc_array(X)):
        weighted = block_coordinate_descent(design, y, L1(0.05), sample_weight=weights, **options)
        np.testing.assert_allclose(weighted.x, repeated.x, atol=1e-7)
        np.testing.assert_allclose(weighted.intercept, repeated.intercept, atol=1e-6)


def test_shifted_columns_change_the_intercept_alone():
    X, y = make_data("logistic")
    shift = np.linspace(-20, 20, 12)
    options = {"loss": LogisticLoss(), "fit_intercept": True, "tol": 1e-10}
    for selection, update in itertools.product(("gs", "gsd", "gsq"), ("prox-newton", "tmp")):
        first, moved = (
            block_coordinate_descent(
                data, y, L1(0.05), selection=selection, update=update, **options
            )
            for data in (X, X + shift)
        )
        np.testing.assert_allclose(moved.x, first.x, atol=1e-8)
        assert moved.intercept == pytest.approx(first.intercept - shift @ first.x, abs=1e-7)
        for block, other in zip(first.history["blocks"][:2], moved.history["blocks"], strict=False):
            np.testing.assert_array_equal(block, other)


def test_superlinear_finish_and_constant_columns():
    X, y = make_data("logistic", 200, 50)
    X[:, 7] = 3.0
    result = block_coordinate_descent(
        X, y, L1(0.03), loss=LogisticLoss(), fit_intercept=True, block_size=30, tol=1e-13
    )
    assert result.x[7] == 0
    assert result.active_set.size <= 30
    assert result.nit <= result.active_set_iteration + 10


def test_warm_start_and_targets_without_a_best_intercept():
    X, y = make_data("logistic")
    options = {"penalty": L1(0.05), "loss": LogisticLoss(), "fit_intercept": True}
    first = block_coordinate_descent(X, y, tol=1e-9, **options)
    again = block_coordinate_descent(X, y, tol=1e-8, coef_init=first.x, **options)
    assert again.nit == 0
    assert again.intercept == pytest.approx(first.intercept, abs=1e-8)
    with pytest.raises(ValueError, match="y must hold both labels"):
        block_coordinate_descent(X, np.ones(60), **options)
    with pytest.raises(ValueError, match="every label up to the largest, got no 1"):
        block_coordinate_descent(
            X, np.arange(60) % 2 * 2, loss=MultinomialLoss(), fit_intercept=True
        )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("unit", [1e-100, 1e-12, 1e12, 1e100])
def test_unit_of_the_design_does_not_matter(name, unit):
    X, y = make_data(name)
    options = {"loss": LOSSES[name], "fit_intercept": True, "tol": 1e-10}
    for more in ({}, {"selection": "gs", "update": "prox-newton"}):
        plain = block_coordinate_descent(X, y, L1(0.05), **options, **more)
        scaled = block_coordinate_descent(unit * X, y, L1(0.05 * unit), **options, **more)
        assert scaled.success
        np.testing.assert_allclose(scaled.x * unit, plain.x, atol=1e-7)
        np.testing.assert_allclose(scaled.intercept, plain.intercept, atol=1e-7)


@pytest.mark.parametrize("loss", [SquaredLoss(), HuberLoss(), PoissonLoss()])
@pytest.mark.parametrize("penalty", [None, L1(1e-8), ElasticNet(0.1, 0.0), Box(0.0, 1.0)])
@pytest.mark.parametrize("level", [1e-3 / 3, 0.1, 1e3 / 7])
def test_targets_that_a_constant_fits_up_to_rounding_need_no_step(level, penalty, loss):
    X, _ = make_data("squared")
    weights = np.random.default_rng(0).uniform(0, 2, 60)
    for design in (X, sparse.csr_array(X)):
        result = block_coordinate_descent(
            design, np.full(60, level), penalty, loss=loss, sample_weight=weights,
            fit_intercept=True, tol=1e-6,
        )  # fmt: skip
        assert result.success
        assert result.nit == 0
        constant = np.log(level) if isinstance(loss, PoissonLoss) else level
        assert result.intercept == pytest.approx(constant, rel=1e-12)


def test_targets_orthogonal_to_the_design_need_no_step():
    X = np.linalg.qr(np.random.default_rng(0).standard_normal((60, 6)))[0]
    y = X[:, 5] * 3
    assert np.any(X[:, :5].T @ y != 0)  # but for rounding
    assert block_coordinate_descent(X[:, :5], y).nit == 0
    assert block_coordinate_descent(X[:, :5], y, tol=1e-9, loss=HuberLoss(1e9)).nit == 0
