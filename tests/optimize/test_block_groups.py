"""Block coordinate descent with the group LASSO penalty."""

import numpy as np
import pytest
from scipy import sparse

from sparseopt.optimize import (
    L1,
    GroupL2,
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    SquaredLoss,
    block_coordinate_descent,
)
from sparseopt.optimize._block_coordinate_descent import pose

LOSSES = {
    "squared": SquaredLoss(),
    "logistic": LogisticLoss(),
    "multinomial": MultinomialLoss(),
    "huber": HuberLoss(),
}
GROUPS = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 5, 0, 1, 6, 6, 6])


def make_data(name, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((80, 20)) * rng.uniform(0.5, 3, 20)
    X[:, 5] = 0
    X[:, 7] = X[:, 6]  # a singular block
    z = X[:, :4] @ [1, -1, 2, 1] + rng.standard_normal(80) + 1
    y = {
        "squared": z,
        "huber": z + 20 * (rng.random(80) < 0.1),
        "logistic": np.where(z + 3 * rng.standard_normal(80) > 0, 1.0, -1.0),
        "multinomial": np.digitize(z + 3 * rng.standard_normal(80), [-2, 2]),
    }[name]
    return X, y


def check_conditions(problem, penalty, result, tolerance):
    """The optimality conditions of each group, from their definition."""
    gradient, groups = problem.gradient, np.repeat(penalty.groups, problem.n_classes)
    n_zero = 0
    for group in np.unique(groups):
        members = groups == group
        strength = penalty.alpha * penalty.weights[group]
        x, slope = result.x[members], gradient[members]
        if x.any():
            excess = slope + strength * x / np.linalg.norm(x)
            assert np.linalg.norm(excess) <= tolerance
        else:
            n_zero += 1
            assert np.linalg.norm(slope) <= strength + tolerance
    return n_zero


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("update", ["prox-gradient", "prox-newton", "backtracking"])
@pytest.mark.parametrize("name", LOSSES)
def test_optimality_conditions_of_groups(name, update, fit_intercept):
    X, y = make_data(name)
    weights = np.random.default_rng(1).uniform(0, 2, 80)
    penalty = GroupL2(GROUPS, 0.1)
    for design in (X, sparse.csc_array(X)):
        result = block_coordinate_descent(
            design, y, penalty, loss=LOSSES[name], update=update, sample_weight=weights,
            fit_intercept=fit_intercept, tol=1e-7, max_iter=50_000,
        )  # fmt: skip
        assert result.success
        assert np.all(np.diff(result.history["objective"]) <= 1e-12 * result.fun)
        problem = pose(design, y, LOSSES[name], penalty, weights, fit_intercept)
        problem.move_to(result.x)
        assert result.fun == pytest.approx(problem.objective, rel=1e-12)
        n_zero = check_conditions(problem, penalty, result, 3e-7 * problem.gradient_scale)
        assert 0 < n_zero < 7


@pytest.mark.parametrize(
    "selection", ["cyclic", "permutation", "random", "lipschitz", "gs", "gsl", "gsd", "gsq", "mi"]
)
def test_every_rule_arrives(selection):
    X, y = make_data("logistic")
    options = {"loss": LogisticLoss(), "tol": 1e-8, "random_state": 0}
    penalty = GroupL2(GROUPS, 0.1)
    result = block_coordinate_descent(X, y, penalty, selection=selection, **options)
    reference = block_coordinate_descent(X, y, penalty, **options)
    assert result.fun == pytest.approx(reference.fun, rel=1e-10)
    np.testing.assert_array_equal(result.active_set, reference.active_set)


def test_groups_of_one_are_the_lasso():
    X, y = make_data("squared")
    weights = np.linspace(0.5, 2, 20)
    weights[[2, 3]] = 0, np.inf
    grouped = block_coordinate_descent(X, y, GroupL2(np.arange(20), 0.1, weights), tol=1e-10)
    lasso = block_coordinate_descent(X, y, L1(0.1, weights=weights), tol=1e-10)
    assert grouped.fun == pytest.approx(lasso.fun, rel=1e-12)
    assert grouped.x[3] == 0
    np.testing.assert_allclose(np.delete(grouped.x, [6, 7]), np.delete(lasso.x, [6, 7]), atol=1e-7)


def test_one_group_is_rotated_with_the_design():
    X, y = make_data("squared")
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((20, 20)))[0]
    penalty = GroupL2(np.zeros(20), 0.3)
    plain = block_coordinate_descent(X, y, penalty, tol=1e-11)
    turned = block_coordinate_descent(X @ rotation, y, penalty, tol=1e-11)
    assert plain.nit == 1  # one block, minimised exactly
    np.testing.assert_allclose(rotation @ turned.x, plain.x, atol=1e-9)
    largest = penalty.alpha_max(X.T @ y / 80)
    above = block_coordinate_descent(X, y, GroupL2(np.zeros(20), 1.01 * largest))
    below = block_coordinate_descent(X, y, GroupL2(np.zeros(20), 0.99 * largest))
    assert not above.x.any()
    assert below.x.any()


def grouped_problem(seed=0, scale=1.0):
    X, y = make_data("squared", seed)
    weights = np.array([0, np.inf, 1, 2, 0.5, 1, 1])
    return pose(scale * X, y, SquaredLoss(), GroupL2(GROUPS, 0.1 * scale, weights), None)


@pytest.mark.parametrize("scale", [1.0, 1e-130, 1e130])
def test_scores_are_the_progress_of_prox_steps(scale):
    problem = grouped_problem(scale=scale)
    penalty = GroupL2(GROUPS, 0.1 * scale, [0, np.inf, 1, 2, 0.5, 1, 1])
    rng = np.random.default_rng(1)
    for zero in ([], [1], [1, 2, 3, 4, 5], range(7)):
        problem.move_to(np.where(np.isin(GROUPS, zero), 0.0, rng.standard_normal(20) / scale))
        scores = problem.prox_scores()
        expected = np.zeros(20)
        for group in np.setdiff1d(np.arange(7), [1]):  # which is excluded
            members = np.intersect1d(np.flatnonzero(GROUPS == group), problem.usable)
            bound = members.size * np.max(problem.lipschitz[members])
            x, slope = problem.x.copy(), problem.gradient[members]
            moved = np.zeros(20)
            moved[members] = x[members] - slope / bound
            d = penalty.prox(moved, 1 / bound)[members] - x[members]
            before = penalty.value(x)
            x[members] += d
            change = slope @ d + 0.5 * (bound * d) @ d + penalty.value(x) - before
            expected[members[0]] = -2 * change
        np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)
        assert np.count_nonzero(scores) > 0


@pytest.mark.parametrize("selection", ["gs", "gsd", "gsq"])
def test_scores_do_not_drown_in_rounding(selection):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 100))
    y = X[:, :6] @ rng.standard_normal(6) + 0.1 * rng.standard_normal(200)
    penalty = GroupL2(np.arange(100) // 4, 0.02)
    result = block_coordinate_descent(X, y, penalty, selection=selection, tol=1e-12)
    assert result.success
    assert result.nit <= 25


@pytest.mark.parametrize(("design", "target"), [(1e12, 1e-150), (1e-130, 1e100), (1e140, 1e-90)])
def test_units_change_nothing_but_the_units(design, target):
    X, y = make_data("squared")
    plain = block_coordinate_descent(X, y, GroupL2(GROUPS, 0.1), tol=1e-10)
    scaled = block_coordinate_descent(
        design * X, target * y, GroupL2(GROUPS, 0.1 * design * target), tol=1e-10
    )
    assert scaled.success
    np.testing.assert_allclose(scaled.x * (design / target), plain.x, rtol=1e-7, atol=1e-9)
