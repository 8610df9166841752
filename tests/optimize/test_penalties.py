"""Penalties: each operation against brute force, and kernels against classes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from sparseopt.optimize import L1, ElasticNet, SquaredLoss
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
    x = np.array([0.0, -1.0, 2.0, -0.5, 9.0])  # no gradient where there is no penalty
    largest = penalty.alpha_max(-x)
    kind = {"l1_ratio": penalty.l1_ratio, "weights": WEIGHTS, "positive": penalty.positive}
    assert not ElasticNet(largest, **kind).prox(x, 1.0).any()
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
    for name in ("ELASTIC_NET", "NONNEGATIVE_ELASTIC_NET"):
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


def test_subdifferential_distance_is_infinite_outside_the_constraints():
    assert L1(1.0, positive=True).subdifferential_distance([-1.0], [1.0]) == [np.inf]
    assert L1(1.0, weights=[np.inf]).subdifferential_distance([1.0], [0.0]) == [np.inf]
    assert L1(1.0, weights=[np.inf]).subdifferential_distance([0.0], [5.0]) == [0.0]


def test_penalties_can_be_replaced_and_compared():
    penalty = L1(1.0, weights=[1.0, 2.0])
    assert dataclasses.replace(penalty, alpha=2.0).value([1.0, 1.0]) == 6
    assert penalty != L1(1.0, weights=[1.0, 2.0])


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
