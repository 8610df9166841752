"""Block coordinate descent with blocks that hold the support, which is the default."""

import numpy as np
import pytest
from scipy import sparse

from sparseopt.datasets import make_badly_scaled_regression
from sparseopt.optimize import (
    L1,
    ElasticNet,
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    NonNegative,
    SquaredLoss,
    block_coordinate_descent,
    coordinate_descent,
)
from sparseopt.optimize._block_coordinate_descent import pose
from sparseopt.optimize._block_working_sets import SupportBlocks, fresh_step, minimizer

LOSSES = {"squared": SquaredLoss(), "logistic": LogisticLoss(), "huber": HuberLoss()}
LOSSES["multinomial"] = MultinomialLoss()
PENALTIES = {
    "l1": L1(0.05),
    "elastic net": ElasticNet(0.05, 0.7),
    "nonnegative": NonNegative(0.05),
    "weighted": L1(0.05, weights=np.r_[0, np.inf, np.linspace(0.5, 2, 298)]),
}


def make_data(name, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((80, 300)) * rng.uniform(0.3, 3, 300)
    X = np.where(np.abs(X) < 0.5, 0, X + 0.3)
    z = X[:, :6] @ [1, -1, 2, 1, -2, 1] + rng.standard_normal(80) + 2
    y = {
        "squared": z,
        "huber": z + 20 * (rng.random(80) < 0.1),
        "logistic": np.where(z + 3 * rng.standard_normal(80) > 2, 1.0, -1.0),
        "multinomial": np.digitize(z + 3 * rng.standard_normal(80), [0, 4]),
    }[name]
    return X, y


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", LOSSES)
def test_same_minimum_as_coordinate_descent(name, penalty, fit_intercept):
    X, y = make_data(name)
    options = {
        "loss": LOSSES[name], "fit_intercept": fit_intercept, "tol": 1e-9,
        "sample_weight": np.random.default_rng(1).uniform(0, 2, 80),
    }  # fmt: skip
    penalty = PENALTIES[penalty]
    reference = coordinate_descent(X, y, penalty, **options)
    for design in (X, sparse.csr_array(X)):
        result = block_coordinate_descent(design, y, penalty, **options)
        assert result.success  # the distance from stationarity is not the engine's
        assert result.fun == pytest.approx(reference.fun, rel=1e-8)
        objective = result.history["objective"]
        assert np.all(np.diff(objective) <= 1e-12 * objective[0])
        np.testing.assert_array_equal(result.active_set, np.flatnonzero(reference.x))
        found, expected = (r.x.reshape(300, -1).copy() for r in (result, reference))
        if name == "multinomial":  # a constant that the classes share is free where unpenalised
            found[0] -= found[0].mean()
            expected[0] -= expected[0].mean()
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(result.intercept, reference.intercept, atol=1e-4)
        assert result.nit <= 25


def test_constraints_without_a_cost_take_blocks_of_ten():
    X, y = make_data("logistic")
    result = block_coordinate_descent(X, y, NonNegative(), loss=LogisticLoss(), tol=1e-4)
    assert result.success
    assert result.history["blocks"][0].size == 10
    assert np.isnan(result.dual_gap)


@pytest.mark.parametrize("name", LOSSES)
def test_gap_bounds_the_distance_to_the_minimum(name):
    X, y = make_data(name)
    options = {"loss": LOSSES[name], "fit_intercept": True}
    minimum = block_coordinate_descent(X, y, L1(0.05), tol=1e-11, **options).fun
    for more in ({}, {"block_size": 100}, {"selection": "gsq", "update": "prox-newton"}):
        gaps = []
        for tol in (1e-1, 1e-3, 1e-7):
            result = block_coordinate_descent(X, y, L1(0.05), tol=tol, **more, **options)
            assert result.dual_gap >= result.fun - minimum - 1e-12
            gaps.append(result.dual_gap)
        assert gaps[-1] <= 1e-5 * minimum
    assert np.isnan(block_coordinate_descent(X, y, ElasticNet(1.0, 0.0), **options).dual_gap)


def test_block_holds_the_support_and_the_largest_scores():
    X, y = make_data("logistic")
    problem = pose(X, y, LogisticLoss(), L1(0.05), None)
    x = np.zeros(300)
    x[[5, 50, 250]] = 1e-3
    problem.move_to(x)
    for size in (10, 40, 400):
        block = SupportBlocks(problem, size).select()
        assert block.indices.size == min(size, 300)
        assert {5, 50, 250} <= set(block.indices)
        scores = problem.prox_scores()
        scores[[5, 50, 250]] = np.inf
        left_out = np.setdiff1d(np.arange(300), block.indices)
        assert np.max(scores[left_out], initial=0) <= np.min(scores[block.indices])
    problem.move_to(np.where(np.arange(300) < 80, 1e-3, 0.0))
    assert SupportBlocks(problem, 10).select().indices.size == 160


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_minimises_over_its_block(name):
    X, y = make_data(name)
    problem = pose(X, y, LOSSES[name], L1(0.1), None, True)
    update = minimizer(problem, L1(0.1))
    before = problem.subdifferential_distance()
    for _ in range(2):
        block = SupportBlocks(problem, 30).select()
        problem.apply(update(block))
        after = problem.subdifferential_distance()[block.indices]
        assert np.max(after) <= 0.35 * np.max(before)
        before = problem.subdifferential_distance()


@pytest.fixture(scope="module")
def published_regression_data():
    """Data set A of the paper, with another seed, at a tenth of the largest strength."""
    X, y = make_badly_scaled_regression(random_state=1)
    return X, y, L1(0.1 * np.max(np.abs(X.T @ y)) / len(y))


@pytest.mark.parametrize("update", ["auto", "prox-newton", "tmp"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_ten_steps_from_identification_to_twelve_digits(
    published_regression_data, update, fit_intercept
):
    X, y, penalty = published_regression_data
    options = {"update": update, "fit_intercept": fit_intercept}
    result = block_coordinate_descent(X, y, penalty, tol=1e-12, **options)
    assert 100 < result.active_set.size < 500
    assert result.dual_gap <= 1e-12 * result.fun
    gaps = result.history["objective"] / result.fun - 1
    identified = result.active_set_iteration
    assert np.max(gaps[min(identified + 10, result.nit) :]) <= 1e-12
    assert np.count_nonzero(gaps[identified:] > 1e-12) <= 10


@pytest.mark.parametrize("positive", [False, True])
def test_weak_penalties_are_approached_in_stages(positive):
    X, y = make_data("squared")
    options = {"tol": 1e-9, "max_iter": 100}
    result = block_coordinate_descent(X, y, L1(1e-5, positive=positive), **options)
    assert result.success
    assert result.dual_gap <= 1e-9
    assert result.nit <= 60


def test_warm_start_takes_no_step_and_nothing_to_do_needs_none():
    X, y = make_data("logistic")
    first = block_coordinate_descent(X, y, L1(0.05), loss=LogisticLoss(), tol=1e-9)
    again = block_coordinate_descent(
        X, y, L1(0.05), loss=LogisticLoss(), tol=1e-8, coef_init=first.x
    )
    assert again.nit == 0
    assert block_coordinate_descent(X, y, L1(1e3), loss=LogisticLoss()).nit == 0
    assert block_coordinate_descent(np.zeros((3, 2)), np.ones(3), L1(0.1)).nit == 0


def test_block_holds_unpenalised_variables_without_a_slope():
    X, y = make_data("squared")
    X[:, 7] -= y * (X[:, 7] @ y) / (y @ y)
    weights = np.where(np.arange(300) == 7, 0.0, 1.0)
    problem = pose(X, y, SquaredLoss(), L1(0.05, weights=weights), None)
    assert abs(problem.gradient[7]) <= 1e-12
    assert 7 in SupportBlocks(problem, 10).select().indices


def test_an_ascent_is_replaced():
    X, y = make_data("squared")
    problem = pose(X, y, SquaredLoss(), L1(0.05), None)
    block = problem.block(np.arange(10))
    worse = np.where(np.arange(300) < 10, 100.0, 0.0)
    step = fresh_step(block, worse, problem.predict(worse), 0.0)
    assert step.objective < problem.objective
    problem.apply(step)
    assert problem.objective == pytest.approx(step.objective, rel=1e-12)
    assert np.max(np.abs(problem.x)) < 100
