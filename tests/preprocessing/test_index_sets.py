"""Index sets: their definition by brute force, nesting, sizes, and errors."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseopt.preprocessing import hyperbolic_cross
from sparseopt.preprocessing._index_sets import (
    RULES,
    check_index_set,
    count_terms,
    enumerate_terms,
    largest_order,
)

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "greedy" / "polynomial.npz")
LEVEL = {
    "hyperbolic_cross": lambda nu: np.prod(np.array(nu) + 1) - 1,
    "total_degree": sum,
    "tensor": max,
}


@pytest.mark.parametrize("rule", RULES)
@given(n_features=st.integers(1, 4), order=st.integers(0, 5))
@settings(deadline=None, max_examples=15)
def test_terms_are_those_of_bounded_level_in_order_of_level(rule, n_features, order):
    terms = enumerate_terms(rule, n_features, order)
    expected = {
        nu for nu in product(range(order + 1), repeat=n_features) if LEVEL[rule](nu) <= order
    }
    assert {tuple(nu) for nu in terms.tolist()} == expected
    assert len(terms) == len(expected) == count_terms(rule, n_features, order)
    keys = [(LEVEL[rule](nu), *(-k for k in nu)) for nu in terms.tolist()]
    assert keys == sorted(keys)


@pytest.mark.parametrize("rule", RULES)
def test_smaller_set_is_the_beginning_of_the_larger(rule):
    larger = enumerate_terms(rule, 3, 5)
    smaller = enumerate_terms(rule, 3, 4)
    np.testing.assert_array_equal(larger[: len(smaller)], smaller)


def test_hyperbolic_cross_sizes():
    for n_features, order, size in GOLDEN["hc_sizes"].tolist():
        assert hyperbolic_cross(n_features, order).shape == (size, n_features)


@pytest.mark.parametrize(
    ("n_features", "order", "size"), [(5, 18, 426), (10, 8, 471), (2, 102, 494)]
)
def test_largest_hyperbolic_cross_of_500_terms(n_features, order, size):
    assert largest_order("hyperbolic_cross", n_features, 500) == order
    assert len(hyperbolic_cross(n_features, order)) == size


@pytest.mark.parametrize("rule", RULES)
@given(n_features=st.integers(1, 6), max_terms=st.integers(1, 400))
@settings(deadline=None, max_examples=20)
def test_largest_order_is_largest(rule, n_features, max_terms):
    order = largest_order(rule, n_features, max_terms)
    assert count_terms(rule, n_features, order) <= max_terms
    assert count_terms(rule, n_features, order + 1) > max_terms


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 3), ValueError, "n_features must be >= 1, got 0"),
        ((2, -1), ValueError, "order must be >= 0, got -1"),
        ((2.0, 3), TypeError, "n_features must be an integer, got 2.0"),
        ((2, True), TypeError, "order must be an integer, got True"),
        ((500, 60), ValueError, "more than"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        hyperbolic_cross(*arguments)


@pytest.mark.parametrize(
    ("index_set", "message"),
    [
        ([1, 2], "shape"),
        (np.zeros((0, 2), dtype=int), "shape"),
        ([[0.5, 1.0]], "integers"),
        ([[0, -1]], "degrees >= 0, got -1"),
        ([[0, 1, 2]], "3 columns"),
    ],
)
def test_bad_index_set(index_set, message):
    with pytest.raises(ValueError, match=message):
        check_index_set(index_set, n_features=2)
