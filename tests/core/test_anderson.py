"""Anderson mixing of fixed-point steps."""

import array_api_strict
import numpy as np
import pytest

from sparseopt._core._linalg import AndersonMixing


def linear_map(n=30, rate=0.99, seed=0):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = (Q * np.linspace(0, rate, n)) @ Q.T
    b = rng.standard_normal(n)
    return (lambda x: A @ x + b), np.linalg.solve(np.eye(n) - A, b)


def steps_to(solution, function, mixing, tolerance=1e-8, limit=5000):
    x = np.zeros_like(solution)
    for step in range(limit):
        if np.linalg.norm(x - solution) <= tolerance * np.linalg.norm(solution):
            return step
        value = function(x)
        x = value if mixing is None else mixing(x, value)
    return limit


def test_it_saves_most_steps_of_a_slow_map():
    function, solution = linear_map()
    plain = steps_to(solution, function, None)
    assert steps_to(solution, function, AndersonMixing(5)) < plain / 5


def test_enough_memory_solves_a_linear_problem():
    function, solution = linear_map(n=6)
    assert steps_to(solution, function, AndersonMixing(6), tolerance=1e-6) <= 9


def test_first_steps_are_plain():
    function, _ = linear_map(n=4)
    mixing, x = AndersonMixing(3), np.zeros(4)
    first = mixing(x, function(x))
    np.testing.assert_array_equal(first, function(x))
    np.testing.assert_array_equal(mixing(first, function(first)), function(first))


def test_a_cleared_memory_is_a_new_one():
    function, _ = linear_map(n=4)
    used, fresh = AndersonMixing(3), AndersonMixing(3)
    x = np.zeros(4)
    for _ in range(6):
        x = used(x, function(x))
    used.clear()
    for _ in range(4):
        np.testing.assert_array_equal(used(x, function(x)), fresh(x, function(x)))
        x = function(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matrices_of_other_libraries(dtype):
    function, _ = linear_map(n=12)
    ours, theirs = AndersonMixing(4), AndersonMixing(4)
    x = np.zeros((3, 4), dtype)
    y = array_api_strict.asarray(x)
    for _ in range(8):
        value = function(x.ravel()).reshape(3, 4).astype(dtype)
        other = function(np.asarray(y).ravel()).reshape(3, 4).astype(dtype)
        x, y = ours(x, value), theirs(y, array_api_strict.asarray(other))
        assert x.dtype == dtype
    np.testing.assert_allclose(np.asarray(y), x, rtol=2e-2 if dtype == np.float32 else 1e-7)


def test_a_fixed_point_stays():
    function, solution = linear_map(n=5)
    mixing, x = AndersonMixing(3), solution.copy()
    for _ in range(6):
        x = mixing(x, function(x))
    np.testing.assert_allclose(x, solution, rtol=1e-10)
