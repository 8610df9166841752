"""sgd_average against a plain loop, its Langevin limit, and what it promises."""

import math
import warnings

import array_api_strict
import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import spawn_seeds
from sparseopt._core._hermite import hermite, hermite_derivative
from sparseopt.optimize import sgd_average
from sparseopt.optimize._kernels.sphere import next_index
from sparseopt.optimize._langevin import leading_direction
from sparseopt.optimize._sgd_average import _Chain, _check_data, _run_chain

MASK = 2**64 - 1


def single_index(n, d, k, *, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    planted = rng.standard_normal(d)
    planted /= np.linalg.norm(planted)
    X = rng.standard_normal((n, d))
    return X, hermite(X @ planted, k) + noise * rng.standard_normal(n), planted


def overlap(direction, planted):
    return abs(direction @ planted) / np.linalg.norm(direction)


def split_mix(state):
    """The generator, in Python's integers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def plain_loop(X, a, degree, eta, n_steps, theta, state, every):
    numbers, total = split_mix(state), np.zeros_like(theta)
    products, count = np.zeros((theta.size, theta.size)), 0
    for step in range(n_steps):
        i = (next(numbers) >> 32) * len(X) >> 32
        u = X[i] @ theta
        theta = theta + eta * a[i] * hermite_derivative(u, degree) * (X[i] - u * theta)
        theta = theta / np.linalg.norm(theta)
        total += theta
        if every and step % every == 0:
            products += np.outer(theta, theta)
            count += 1
    return total / n_steps, theta, products / max(count, 1)


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n_steps", [1, 7, 150])
def test_it_is_the_plain_loop(degree, n_steps):
    X, a, _ = single_index(50, 8, degree, noise=0.1)
    theta0 = np.random.default_rng(3).standard_normal(8)
    result = sgd_average(
        X, a, degree, eta=0.05, n_steps=n_steps, second_moment=True, theta0=theta0,
        random_state=5, warn=False,
    )  # fmt: skip
    state = int(spawn_seeds(5, 1)[0].generate_state(1, np.uint64)[0])
    start = theta0 / np.linalg.norm(theta0)
    mean, last, products = plain_loop(X, a, degree, 0.05, n_steps, start, state, 4)
    np.testing.assert_allclose(result.x, mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(result.last[0], last, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(result.second_moment, products, rtol=1e-9, atol=1e-10)


def test_indices_are_uniform():
    state, counts = np.uint64(1), np.zeros(7)
    for _ in range(7000):
        state, index = next_index(np.uint64(state), np.uint64(7))
        counts[index] += 1
    assert np.sum((counts - 1000) ** 2 / 1000) < 22.5  # chi-squared with 6, p = 1e-3


def test_the_average_finds_what_the_iterate_does_not():
    X, a, planted = single_index(20_000, 40, 3)
    result = sgd_average(X, a, 3, eta=0.3, n_steps=1_000_000, n_chains=4, random_state=0)
    assert result.success
    assert overlap(result.x, planted) > 0.95
    assert np.median(np.abs(result.last @ planted)) < 3 / math.sqrt(40)


def test_even_degrees_need_the_second_moment():
    X, a, planted = single_index(10_000, 25, 4)
    result = sgd_average(X, a, 4, eta=0.1, n_steps=2_000_000, second_moment=True, random_state=0)
    assert overlap(leading_direction(result.second_moment), planted) > 0.95
    assert overlap(result.x, planted) < 0.9
    assert result.agreement["second_moment"] > 0.9
    np.testing.assert_array_equal(result.second_moment, result.second_moment.T)
    assert math.isclose(np.trace(result.second_moment), 1.0, rel_tol=1e-9)


def test_its_accuracy_does_not_depend_on_the_step():
    X, a, planted = single_index(20_000, 30, 3)
    found = [
        overlap(sgd_average(X, a, 3, eta=eta, n_steps=500_000, random_state=0).x, planted)
        for eta in (0.1, 0.3, 1.0)
    ]
    assert min(found) > 0.95


def test_degree_one_is_a_linear_regression():
    X, a, _ = single_index(5000, 20, 1, noise=1.0)
    result = sgd_average(X, a, 1, eta=0.01, n_steps=200_000, random_state=0)
    correlation = X.T @ a
    assert overlap(result.x, correlation / np.linalg.norm(correlation)) > 0.99


# Invariances


def test_flipping_the_labels_flips_the_average_of_odd_degrees():
    # With the other sign, theta0 and the labels mirror the whole path, rounding included.
    X, a, _ = single_index(100, 10, 3)
    start = np.random.default_rng(0).standard_normal(10)
    arguments = {"eta": 0.1, "n_steps": 5000, "random_state": 0, "warn": False}
    plus = sgd_average(X, a, 3, theta0=start, **arguments)
    minus = sgd_average(X, -a, 3, theta0=-start, **arguments)
    np.testing.assert_array_equal(plus.x, -minus.x)


def test_the_second_moment_of_even_degrees_does_not_see_the_sign_of_theta():
    X, a, _ = single_index(100, 10, 4)
    start = np.random.default_rng(0).standard_normal(10)
    arguments = {"eta": 0.1, "n_steps": 5000, "second_moment": True, "random_state": 0}
    plus = sgd_average(X, a, 4, theta0=start, warn=False, **arguments)
    minus = sgd_average(X, a, 4, theta0=-start, warn=False, **arguments)
    np.testing.assert_array_equal(plus.second_moment, minus.second_moment)


def test_labels_and_step_count_by_their_product():
    X, a, _ = single_index(100, 10, 3)
    arguments = {"n_steps": 2000, "random_state": 0, "warn": False}
    first = sgd_average(X, a, 3, eta=0.25, **arguments)
    second = sgd_average(X, 4.0 * a, 3, eta=0.0625, **arguments)
    np.testing.assert_array_equal(first.x, second.x)


def test_results_do_not_depend_on_the_number_of_jobs():
    X, a, _ = single_index(200, 12, 4)
    arguments = {"eta": 0.1, "n_steps": 3000, "n_chains": 5, "second_moment": True}
    alone = sgd_average(X, a, 4, random_state=0, warn=False, **arguments)
    shared = sgd_average(X, a, 4, random_state=0, n_jobs=2, warn=False, **arguments)
    for name in ("x", "second_moment", "last"):
        np.testing.assert_array_equal(shared[name], alone[name])


def test_a_piece_of_a_chain_leaves_its_start_alone():
    # Processes get read-only memory, and must send back where the chain is.
    data = _check_data(*GOOD[:2], 3, 0.1, False)
    start = _Chain(np.array([1.0, 0.0, 0.0, 0.0]), np.uint64(9))
    start.theta.flags.writeable = False
    end, _ = _run_chain(data, start, 0, 10)
    assert end.theta[0] != 1.0
    assert end.generator != start.generator


def test_chains_do_not_depend_on_what_runs_beside_them():
    X, a, _ = single_index(200, 12, 3)
    few, many = (
        sgd_average(X, a, 3, eta=0.1, n_steps=1000, n_chains=n, random_state=0, warn=False)
        for n in (2, 5)
    )
    np.testing.assert_array_equal(few.last, many.last[:2])


def test_single_precision_stays():
    X, a, planted = single_index(20_000, 30, 3)
    result = sgd_average(
        X.astype(np.float32), a.astype(np.float32), 3, eta=0.3, n_steps=500_000, random_state=0
    )
    assert result.last.dtype == np.float32
    assert result.x.dtype == np.float64
    assert overlap(result.x, planted) > 0.95
    assert math.isclose(np.linalg.norm(result.last[0].astype(float)), 1.0, abs_tol=1e-5)


@pytest.mark.parametrize("order", ["F", "strided", "read-only"])
def test_any_layout_gives_the_same(order):
    X, a, _ = single_index(100, 10, 3)
    arguments = {"eta": 0.1, "n_steps": 500, "random_state": 0, "warn": False}
    expected = sgd_average(X, a, 3, **arguments).x
    other = {"F": np.asfortranarray(X), "strided": np.repeat(X, 2, axis=1)[:, ::2]}.get(order, X)
    other.flags.writeable = order != "read-only"
    np.testing.assert_array_equal(sgd_average(other, a, 3, **arguments).x, expected)


# Reports


def test_a_callback_sees_averages_and_can_stop_the_run():
    X, a, _ = single_index(100, 10, 3)
    seen = []

    def watch(intermediate_result):
        seen.append(intermediate_result)
        if len(seen) == 3:
            raise StopIteration

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = sgd_average(X, a, 3, eta=0.1, n_steps=1000, random_state=0, callback=watch)
    assert [entry.nit for entry in seen] == [50, 100, 150]
    assert result.nit == 150
    assert "callback" in result.message
    np.testing.assert_array_equal(seen[-1].x, result.x)


def test_too_few_steps_warn():
    X, a, _ = single_index(100, 30, 3)
    with pytest.warns(ConvergenceWarning, match="needs more steps"):
        result = sgd_average(X, a, 3, eta=0.1, n_steps=100, random_state=0)
    assert not result.success
    assert result.history["iteration"].tolist() == list(range(5, 101, 5))
    assert np.all(np.isnan(result.history["agreement"][:10]))
    assert np.all(result.history["average_norm"] <= 1)


def test_agreement_of_two_chains_is_that_of_their_averages():
    X, a, _ = single_index(100, 5, 3)
    arguments = {"eta": 0.1, "n_steps": 30, "random_state": 0, "warn": False}
    first = sgd_average(X, a, 3, **arguments).x
    both = sgd_average(X, a, 3, n_chains=2, **arguments)
    second = 2 * both.x - first
    expected = abs(first @ second) / np.linalg.norm(first) / np.linalg.norm(second)
    assert math.isclose(both.agreement["x"], expected, rel_tol=1e-9)


def test_one_step_has_no_halves_to_compare():
    X, a, _ = single_index(100, 30, 3)
    result = sgd_average(X, a, 3, eta=0.1, n_steps=1, random_state=0, warn=False)
    assert math.isnan(result.agreement["x"])
    assert not result.success


GOOD = single_index(20, 4, 3)
BAD = {
    "eta must be > 0": (ValueError, {"eta": 0.0}),
    "eta must be finite": (ValueError, {"eta": math.inf}),
    "degree must be at least 1": (ValueError, {"degree": 0}),
    "degree must be an integer": (TypeError, {"degree": 3.0}),
    "second_moment=True": (ValueError, {"degree": 4}),
    "n_steps": (ValueError, {"n_steps": 0}),
    "n_chains": (ValueError, {"n_chains": 0}),
    "X must hold real": (ValueError, {"X": GOOD[0] + 1j}),
    "a must hold real": (ValueError, {"a": GOOD[1] + 1j}),
    "X must be a matrix": (ValueError, {"X": GOOD[0][0]}),
    "two columns": (ValueError, {"X": GOOD[0][:, :1]}),
    "a must have shape": (ValueError, {"a": GOOD[1][:-1]}),
    "must be finite": (ValueError, {"a": np.where(np.arange(20) == 3, np.nan, GOOD[1])}),
    "X and a must be finite": (ValueError, {"X": np.where(GOOD[0] > 1, np.inf, GOOD[0])}),
    "must be dense": (TypeError, {"X": sparse.csr_array(GOOD[0])}),
    "NumPy arrays": (TypeError, dict(zip("Xa", map(array_api_strict.asarray, GOOD), strict=False))),
    "theta0 must have shape": (ValueError, {"theta0": np.ones(5)}),
    "theta0 must be finite": (ValueError, {"theta0": np.zeros(4)}),
}


@pytest.mark.parametrize("match", BAD)
def test_bad_input_is_refused_by_name(match):
    kind, changed = BAD[match]
    arguments = {"X": GOOD[0], "a": GOOD[1], "degree": 3, "eta": 0.1, "n_steps": 10} | changed
    with pytest.raises(kind, match=match):
        sgd_average(**arguments)


def test_overflow_is_an_error():
    with pytest.raises(FloatingPointError, match="Decrease eta"):
        sgd_average(1e150 * GOOD[0], GOOD[1], 5, eta=1.0, n_steps=100)
