"""Proximal maps against their defining inequalities."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseopt.decomposition import effective_rank, singular_value_threshold, soft_threshold
from sparseopt.decomposition._shrinkage import hard_threshold


@given(st.floats(-9, 9), st.floats(0, 9), st.floats(-9, 9))
@settings(max_examples=50, deadline=None)
def test_soft_threshold_is_the_minimiser(x, t, other):
    best = float(soft_threshold(np.array([x]), t)[0])
    assert 0.5 * (best - x) ** 2 + t * abs(best) <= 0.5 * (other - x) ** 2 + t * abs(other) + 1e-12


def test_thresholds_of_each_entry():
    x = np.array([[3.0, -3.0], [0.5, -0.5]])
    np.testing.assert_array_equal(soft_threshold(x, np.array([1.0, 2.0])), [[2, -1], [0, 0]])
    np.testing.assert_array_equal(hard_threshold(x, 1.0), [[3, -3], [0, 0]])


def test_singular_value_threshold_is_the_minimiser():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((7, 5))
    best = singular_value_threshold(X, 1.2)

    def value(L):
        return 0.5 * np.linalg.norm(L - X) ** 2 + 1.2 * np.linalg.norm(L, "nuc")

    for size in (1e-3, 1e-1, 1.0):
        assert value(best) < value(best + size * rng.standard_normal((7, 5)))
    assert np.linalg.matrix_rank(best) < 5
    np.testing.assert_allclose(singular_value_threshold(X, 0.0), X, atol=1e-12)
    strict = singular_value_threshold(array_api_strict.asarray(X), 1.2)
    np.testing.assert_allclose(np.asarray(strict), best, atol=1e-12)


def test_negative_threshold():
    with pytest.raises(ValueError, match="threshold must be"):
        singular_value_threshold(np.eye(2), -1.0)


@pytest.mark.parametrize(
    ("values", "energy", "rank"),
    [
        ([3.0, 4.0], 1.0, 2),
        ([4.0, 3.0], 0.64, 1),
        ([4.0, 3.0], 0.65, 2),
        ([0.0, 0.0], 0.9, 0),
        ([], 0.9, 0),
        ([1e-200, 1e-200], 0.5, 1),
    ],
)
def test_effective_rank(values, energy, rank):
    assert effective_rank(values, energy) == rank


@pytest.mark.parametrize("energy", [0.0, 1.1])
def test_effective_rank_refuses(energy):
    with pytest.raises(ValueError, match="energy must be"):
        effective_rank([1.0], energy)
