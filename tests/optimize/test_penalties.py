"""Penalties: each operation against brute force, and kernels against classes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from sparseopt.optimize import (
    L1,
    Box,
    ElasticNet,
    GroupL2,
    NonNegative,
    SquaredLoss,
    coordinate_descent,
)
from sparseopt.optimize import _penalties as penalty_classes
from sparseopt.optimize._kernels import penalties as penalty_kernels

WEIGHTS = [0.0, 0.5, 1.0, 2.0, np.inf]
PENALTIES = [
    L1(0.7),
    L1(0.7, weights=WEIGHTS),
    L1(0.7, weights=WEIGHTS, positive=True),
    ElasticNet(0.7, l1_ratio=0.4),
    ElasticNet(0.7, l1_ratio=0.0, weights=WEIGHTS),
    ElasticNet(0.7, l1_ratio=0.4, weights=WEIGHTS, positive=True),
    NonNegative(),
    NonNegative(0.7, weights=WEIGHTS),
]
X = np.array([1.5, -0.2, 0.0, 3.0, -1.0])


def test_values():
    assert L1(0.5, weights=[1, 2]).value([1.0, -2.0]) == pytest.approx(2.5)
    assert ElasticNet(0.5, l1_ratio=0.5).value([1.0, -2.0]) == pytest.approx(0.75 + 0.625)
    assert L1(0.5, positive=True).value([1.0, -2.0]) == np.inf
    assert L1(0.5, weights=[1, np.inf]).value([1.0, 0.0]) == pytest.approx(0.5)
    assert L1(0.5, weights=[1, np.inf]).value([1.0, 1e-3]) == np.inf


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("step", [0.3, 2.0])
def test_prox_minimises(penalty, step):
    n = len(X)
    result = penalty.prox(X, step)
    for j in range(n):
        if np.isinf(WEIGHTS[j]) and penalty.weights is not None:
            assert result[j] == 0
            continue

        def objective(z, j=j):
            point = np.zeros(n)
            point[j] = z
            return 0.5 * (z - X[j]) ** 2 + step * penalty.value(point)

        lower = 0.0 if penalty.positive else -5.0
        best = optimize.minimize_scalar(objective, bounds=(lower, 5.0), method="bounded")
        assert objective(result[j]) <= best.fun + 1e-12


def test_prox_of_complex_numbers_shrinks_the_modulus():
    z = np.array([3 + 4j, 0.1j])
    np.testing.assert_allclose(L1(1.0).prox(z, 1.0), [(3 + 4j) * 0.8, 0])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_subdifferential_distance_vanishes_exactly_at_the_prox(penalty):
    # z = prox(x) is optimal for 1/2 (z - x)^2 + penalty(z), whose gradient is z - x.
    z = penalty.prox(X, 1.0)
    np.testing.assert_allclose(penalty.subdifferential_distance(z, z - X), 0, atol=1e-14)
    other = z + 0.3
    if penalty.weights is not None:
        other[-1] = 0  # excluded
    assert np.all(penalty.subdifferential_distance(other, other - X)[:-1] > 0.1)


@pytest.mark.parametrize("penalty", [PENALTIES[1], PENALTIES[2], PENALTIES[5]])
def test_alpha_max_is_the_smallest_strength_with_a_zero_prox(penalty):
    x = np.array([0.0, -1.3, 2.0, -0.5, 9.0])  # no gradient where there is no penalty
    largest = penalty.alpha_max(-x)
    kind = {"l1_ratio": penalty.l1_ratio, "weights": WEIGHTS, "positive": penalty.positive}
    assert not ElasticNet(largest * (1 + 1e-15), **kind).prox(x, 1.0).any()
    assert ElasticNet(0.999 * largest, **kind).prox(x, 1.0).any()


@settings(max_examples=30, deadline=None)
@given(
    z=st.floats(-5, 5),
    curvature=st.floats(0.1, 4),
    index=st.integers(0, 4),
    penalty=st.sampled_from(PENALTIES),
)
def test_kernel_agrees_with_the_class(z, curvature, index, penalty):
    table = penalty.kernel_table(5)
    x = np.zeros(5)
    x[index] = z / curvature
    expected = penalty.prox(x, 1 / curvature)[index]
    actual = penalty_kernels.prox_coordinate(penalty.kernel_code, table, index, z, curvature)
    assert actual == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_codes_agree():
    for name in ("ELASTIC_NET", "NONNEGATIVE_ELASTIC_NET", "BOX"):
        assert getattr(penalty_classes, name) == getattr(penalty_kernels, name)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"alpha": -1.0}, ValueError),
        ({"alpha": np.nan}, ValueError),
        ({"alpha": "1"}, TypeError),
        ({"alpha": 1.0, "l1_ratio": 1.5}, ValueError),
        ({"alpha": 1.0, "weights": [-1.0]}, ValueError),
        ({"alpha": 1.0, "weights": [np.nan]}, ValueError),
        ({"alpha": 1.0, "positive": "no"}, TypeError),
    ],
)
def test_bad_parameters_are_refused(arguments, error):
    with pytest.raises(error):
        ElasticNet(**arguments)


def test_penalties_do_not_share_their_weights_with_the_caller():
    weights = np.ones(2)
    penalty = L1(1.0, weights=weights)
    weights[:] = 5
    assert penalty.value([1.0, 1.0]) == 2


def test_penalties_are_immutable():
    group, box = GroupL2([0, 1], 1.0), Box([0.0, 0.0], [1.0, 1.0])
    for array in (L1(1.0, [1.0, 2.0]).weights, group.weights, group.groups, box.lower, box.upper):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


def test_subdifferential_distance_is_infinite_outside_the_constraints():
    assert L1(1.0, positive=True).subdifferential_distance([-1.0], [1.0]) == [np.inf]
    assert L1(1.0, weights=[np.inf]).subdifferential_distance([1.0], [0.0]) == [np.inf]
    assert L1(1.0, weights=[np.inf]).subdifferential_distance([0.0], [5.0]) == [0.0]


def test_penalties_can_be_replaced_and_compared():
    penalty = L1(1.0, weights=[1.0, 2.0])
    assert dataclasses.replace(penalty, alpha=2.0).value([1.0, 1.0]) == 6
    assert penalty != L1(1.0, weights=[1.0, 2.0])


ONE_OF_EACH = [L1(1.0), NonNegative(1.0), Box(), GroupL2([0, 0, 1], 1.0)]


@pytest.mark.parametrize("penalty", ONE_OF_EACH)
def test_arguments_that_would_broadcast_are_refused(penalty):
    x = np.ones(3)
    for wrong in (np.ones((3, 1)), np.ones((1, 3)), 1.0):
        with pytest.raises(ValueError, match="x must have shape"):
            penalty.value(wrong)
        with pytest.raises(ValueError, match="x must have shape"):
            penalty.prox(wrong, 1.0)
        with pytest.raises(ValueError, match="x must have shape"):
            penalty.subdifferential_distance(wrong, x)
        with pytest.raises(ValueError, match="gradient must have"):
            penalty.subdifferential_distance(x, wrong)
        if "alpha_max" in penalty.operations:
            with pytest.raises(ValueError, match="gradient_at_zero must have shape"):
                penalty.alpha_max(wrong)
    with pytest.raises(ValueError, match="gradient must have"):
        penalty.subdifferential_distance(x, np.ones(1))


@pytest.mark.parametrize("penalty", ONE_OF_EACH)
@pytest.mark.parametrize("step", [-1.0, np.nan])
def test_bad_steps_are_refused(penalty, step):
    with pytest.raises(ValueError, match="step"):
        penalty.prox(np.ones(3), step)


@pytest.mark.parametrize("penalty", [*ONE_OF_EACH, L1(1.0, positive=True)])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_is_not_optimal(penalty):
    x = np.array([np.nan, 1.0, 1.0])
    assert not penalty.subdifferential_distance(x, np.zeros(3))[0] <= 1e300
    assert not penalty.value(x) <= 1e300


def test_a_step_of_zero_projects_onto_what_is_allowed():
    weights = [1.0, np.inf]
    np.testing.assert_array_equal(L1(1.0, weights=weights).prox([2.0, 3.0], 0), [2, 0])
    np.testing.assert_array_equal(GroupL2([0, 1], 1.0, weights).prox([2.0, 3.0], 0), [2, 0])


def test_positive_coefficients_are_real():
    for operation in (
        lambda x: NonNegative().value(x),
        lambda x: NonNegative().subdifferential_distance(x, x),
        lambda x: NonNegative().alpha_max(x),
    ):
        with pytest.raises(ValueError, match="positive=True needs real data"):
            operation(np.array([1j]))


def test_alpha_max_of_a_ridge_penalty():
    assert ElasticNet(1.0, l1_ratio=0.0).alpha_max([1.0, -2.0]) == np.inf
    assert ElasticNet(1.0, l1_ratio=0.0).alpha_max([0.0, 0.0]) == 0
    free = ElasticNet(1.0, l1_ratio=0.0, weights=[0.0, np.inf])
    assert free.alpha_max([1.0, -2.0]) == 0


def test_single_precision_tables_are_rounded_once():
    table = L1(1e10, weights=[1e-50]).kernel_table(1, np.float32)
    np.testing.assert_array_equal(table, np.array([[1e-40], [0]], np.float32))


def test_group_distance_of_tiny_coefficients():
    penalty = GroupL2([0, 0], 1.0, weights=[1.0])
    distance = penalty.subdifferential_distance([3e-320, 4e-320], [0.0, 0.0])
    np.testing.assert_allclose(distance, [0.6, 0.8], rtol=1e-3)


def test_labels_of_groups_must_sort():
    with pytest.raises(TypeError, match="groups"):
        GroupL2(np.array([1, "a"], dtype=object), 1.0)


def slopes_of(penalty, x, j):
    """Return the one-sided derivatives along coordinate j, by differences."""
    step = 1e-6
    ahead, behind = x.copy(), x.copy()
    ahead[j] += step
    behind[j] -= step
    value = penalty.value(x)
    return (value - penalty.value(behind)) / step, (penalty.value(ahead) - value) / step


@pytest.mark.parametrize(
    "penalty", [*PENALTIES, Box(), Box(-1.0, 0.7), Box([-1.0, 0.0, 0.7, -np.inf, -0.1], 0.7)]
)
def test_subdifferential_distance_against_one_sided_derivatives(penalty):
    # The subdifferential is the interval between the one-sided derivatives.
    rng = np.random.default_rng(0)
    for _ in range(60):
        x = rng.choice([-1.0, -0.1, 0.0, 0.0, 0.3, 0.7], 5)
        gradient = rng.normal(size=5)
        distance = penalty.subdifferential_distance(x, gradient)
        for j in range(5):
            alone = np.zeros(5) if penalty.value(np.zeros(5)) == 0 else penalty.prox(np.zeros(5), 1)
            alone[j] = x[j]
            if np.isinf(penalty.value(alone)):
                assert distance[j] == np.inf
                continue
            lower, upper = slopes_of(penalty, alone, j)
            expected = max(lower + gradient[j], -gradient[j] - upper, 0)
            assert distance[j] == pytest.approx(expected, abs=1e-5)


def test_squared_loss_against_finite_differences():
    rng = np.random.default_rng(0)
    y, z = rng.standard_normal((2, 6))
    weights = rng.uniform(0.5, 2, 6)
    loss = SquaredLoss()
    numerical = optimize.approx_fprime(z, lambda p: loss.value(y, p, weights), 1e-7)
    np.testing.assert_allclose(loss.gradient(y, z, weights), numerical, atol=1e-6)
    curvature = optimize.approx_fprime(z, lambda p: loss.gradient(y, p, weights), 1e-7)
    np.testing.assert_allclose(np.diag(loss.hessian_diagonal(y, z, weights)), curvature, atol=1e-6)
    np.testing.assert_allclose(loss.lipschitz(np.array([8.0]), 4.0), [2.0])


def test_nonnegative_least_squares_by_coordinate_descent():
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((30, 10)), rng.standard_normal(30)
    expected, _ = optimize.nnls(A, y)
    result = coordinate_descent(A, y, NonNegative(), tol=1e-12)
    assert result.success
    assert 0 < np.count_nonzero(expected) < 10
    np.testing.assert_allclose(result.x, expected, atol=1e-8)


LOWER, UPPER = np.array([-1.0, 0.0, 0.5, -np.inf, -0.1]), np.array([1.0, 0.0, 2.0, 1.0, np.inf])
BOXES = [Box(), Box(-1.0, 1.0), Box(LOWER, UPPER), Box(LOWER, 3.0)]


def test_box_values():
    assert Box(-1, 1).value([1.0, -1.0]) == 0
    assert Box(-1, 1).value([1.0, -1.1]) == np.inf
    assert Box([0.0, -np.inf], [1.0, 0.0]).value([0.5, -1e9]) == 0


@pytest.mark.parametrize("penalty", BOXES)
def test_box_prox_is_the_closest_point_within_the_bounds(penalty):
    z = penalty.prox(X, 0.3)
    assert penalty.value(z) == 0
    np.testing.assert_array_equal(penalty.prox(z, 2.0), z)
    lower, upper = penalty.kernel_table(5)
    for corner in np.random.default_rng(0).uniform(-2, 2, (50, 5)):
        inside = np.clip(corner, lower, upper)
        assert np.all(np.abs(z - X) <= np.abs(inside - X) + 1e-15)


@pytest.mark.parametrize("penalty", BOXES)
def test_box_subdifferential_distance_vanishes_exactly_at_the_prox(penalty):
    z = penalty.prox(X, 1.0)
    np.testing.assert_array_equal(penalty.subdifferential_distance(z, z - X), 0)
    lower, upper = penalty.kernel_table(5)
    other = np.clip(z + 0.3, lower, upper)
    expected = np.abs(other - z)  # also the distance: bounds only cut the gradient off
    moved = other != z
    distance = penalty.subdifferential_distance(other, other - X)
    assert np.all(distance[moved] >= expected[moved] - 1e-15)
    outside = np.where(np.isfinite(upper), upper + 1, z)
    infinite = np.isfinite(upper)
    distance = penalty.subdifferential_distance(outside, np.zeros(5))
    np.testing.assert_array_equal(np.isinf(distance), infinite)


@pytest.mark.parametrize("penalty", BOXES)
@pytest.mark.parametrize("curvature", [0.5, 3.0])
def test_box_kernel_agrees_with_the_class(penalty, curvature):
    table, expected = penalty.kernel_table(5), penalty.prox(X / curvature, 1.0)
    for j in range(5):
        actual = penalty_kernels.prox_coordinate(penalty.kernel_code, table, j, X[j], curvature)
        assert actual == pytest.approx(expected[j], rel=1e-15)


@pytest.mark.parametrize(
    ("lower", "upper", "error"),
    [
        (1.0, 0.0, ValueError),
        (np.nan, 1.0, ValueError),
        (np.inf, np.inf, ValueError),
        (-np.inf, -np.inf, ValueError),
        ([0.0, 1.0], [1.0, 1.0, 1.0], ValueError),
        ([[0.0]], 1.0, ValueError),
        ("a", 1.0, TypeError),
        (np.array([1j]), 1.0, TypeError),
    ],
)
def test_bad_bounds_are_refused(lower, upper, error):
    with pytest.raises(error, match=r"lower|upper"):
        Box(lower, upper)


def test_boxes_of_another_length_or_for_complex_data_are_refused():
    with pytest.raises(ValueError, match=r"lower must be a number or have shape \(3,\)"):
        Box([0.0, 0.0]).value(np.ones(3))
    with pytest.raises(ValueError, match="Box needs real data"):
        Box().prox(np.array([1j]), 1.0)


GROUPS = ["b", "a", "b", "c", "a"]
GROUPED = [
    GroupL2(GROUPS, 0.7),
    GroupL2(GROUPS, 0.7, weights=[0.0, 1.0, 2.0]),
    GroupL2(GROUPS, 0.7, weights=[1.0, np.inf, 0.5]),
    GroupL2(np.arange(5), 0.7),
]


def test_group_values():
    x = [3.0, 1.0, 4.0, -2.0, 0.0]
    assert GroupL2(GROUPS, 0.5).value(x) == pytest.approx(0.5 * (np.sqrt(2) * (5 + 1) + 2))
    assert GroupL2(GROUPS, 0.5, weights=[1, 2, 3]).value(x) == pytest.approx(0.5 * (1 + 10 + 6))
    assert GroupL2(GROUPS, 0.5, weights=[1, 2, np.inf]).value(x) == np.inf
    x[3] = 0
    assert GroupL2(GROUPS, 0.5, weights=[1, 2, np.inf]).value(x) == pytest.approx(5.5)
    huge = GroupL2([0, 0], 1.0, weights=[1.0])
    assert huge.value([3e200, 4e200]) == pytest.approx(5e200)
    assert huge.value([3e-200, 4e-200]) == pytest.approx(5e-200)


@pytest.mark.parametrize("penalty", GROUPED)
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_group_prox_minimises(penalty, step):
    z = penalty.prox(X, step)

    def objective(point):
        return 0.5 * np.sum((point - X) ** 2) + step * penalty.value(point)

    rng = np.random.default_rng(0)
    allowed = np.isfinite(penalty.weights)[penalty.groups]
    for scale in (1e-3, 0.1, 1.0):
        for direction in rng.standard_normal((30, 5)) * allowed:
            assert objective(z) <= objective(z + scale * direction) + 1e-14
            assert objective(z) <= objective(z * (1 - scale)) + 1e-14


@pytest.mark.parametrize("penalty", GROUPED)
def test_group_subdifferential_distance(penalty):
    for step in (0.3, 1.0, 3.0):
        z = penalty.prox(X, step)
        gradient = (z - X) / step
        np.testing.assert_allclose(penalty.subdifferential_distance(z, gradient), 0, atol=1e-14)
    # At zero the distance is how far the gradient sticks out of the dual ball.
    distance = penalty.subdifferential_distance(np.zeros(5), -5 * X)
    norms = penalty.group_norms(5 * X)
    excess = np.maximum(norms - 0.7 * np.where(np.isinf(penalty.weights), 1e9, penalty.weights), 0)
    np.testing.assert_allclose(penalty.group_norms(distance), excess)


def test_groups_of_one_are_the_l1_norm():
    weights = np.array(WEIGHTS)
    group, single = GroupL2(np.arange(5), 0.7, weights=weights), L1(0.7, weights=weights)
    z = single.prox(X, 1.0)
    np.testing.assert_allclose(group.prox(X, 1.0), z)
    assert group.value(z) == pytest.approx(single.value(z))
    for point in (z, np.zeros(5), np.array([1.0, 0.0, -2.0, 3.0, 0.5])):
        np.testing.assert_allclose(
            group.subdifferential_distance(point, X), single.subdifferential_distance(point, X)
        )
    assert group.alpha_max(X) == single.alpha_max(X)


@pytest.mark.parametrize("penalty", GROUPED)
def test_group_alpha_max_is_the_smallest_strength_with_a_zero_prox(penalty):
    x = X * (penalty.weights > 0)[penalty.groups]
    largest = penalty.alpha_max(x)

    def prox(alpha):
        return dataclasses.replace(penalty, alpha=alpha).prox(x, 1.0)

    assert not prox(largest * (1 + 1e-15)).any()
    assert prox(0.999 * largest).any()


def test_group_prox_of_complex_numbers_shrinks_the_norm():
    z = np.array([3j, 4.0])
    np.testing.assert_allclose(GroupL2([0, 0], 1.0, weights=[1.0]).prox(z, 1.0), 0.8 * z)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": [[0, 1]], "alpha": 1.0}, "groups"),
        ({"groups": [], "alpha": 1.0}, "groups"),
        ({"groups": [0.0, np.nan], "alpha": 1.0}, "groups"),
        ({"groups": [0, 1], "alpha": -1.0}, "alpha"),
        ({"groups": [0, 1], "alpha": 1.0, "weights": [1.0]}, "one entry a group"),
        ({"groups": [0, 1], "alpha": 1.0, "weights": [1.0, -1.0]}, "weights"),
    ],
)
def test_bad_groups_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GroupL2(**arguments)


def test_group_penalty_refuses_vectors_of_another_length():
    with pytest.raises(ValueError, match=r"x must have shape \(2,\)"):
        GroupL2([0, 1], 1.0).value([1.0, 2.0, 3.0])


@pytest.mark.parametrize("penalty", [Box(), GroupL2(GROUPS, 1.0)])
def test_coordinate_descent_refuses_penalties_that_it_cannot_use(penalty):
    with pytest.raises(ValueError, match=type(penalty).__name__):
        coordinate_descent(np.eye(5), np.ones(5), penalty)
