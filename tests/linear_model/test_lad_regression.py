"""Weighted medians, l1 regression and its growing fit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from sparseopt.linear_model import _lad_regression
from sparseopt.linear_model._kernels.lad import weighted_median, weighted_quantile
from sparseopt.linear_model._lad_regression import LADPath, lad_regression

GOLDEN = Path(__file__).parents[1] / "data" / "greedy" / "lad_fit.npz"


def highs_objective(A, y):
    """Return min ||y - A x||_1 by SciPy's linear programming."""
    m, k = A.shape
    cost = np.r_[np.zeros(k), np.ones(2 * m)]
    bounds = [(None, None)] * k + [(0, None)] * (2 * m)
    equations = np.c_[A, np.eye(m), -np.eye(m)]
    return linprog(cost, A_eq=equations, b_eq=y, bounds=bounds, method="highs").fun


def gaussian_problem(seed, m=60, k=7):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, k))
    y = A @ rng.standard_normal(k) + rng.laplace(size=m)
    y[: m // 12] += 100 * rng.standard_normal(m // 12)
    return A, y


def assert_certified(A, y, result, rtol=1e-10):
    """Assert that theta proves that no other x is better."""
    size = np.abs(y).sum()
    assert np.abs(result.dual).max() <= 1 + 1e-9
    np.testing.assert_allclose(A.T @ result.dual, 0, atol=1e-9 * np.abs(A).sum())
    residual = y - A @ result.x
    far = np.abs(residual) > 1e-8 * np.abs(y).max()
    np.testing.assert_array_equal(result.dual[far], np.sign(residual[far]))
    np.testing.assert_allclose(result.dual @ y, np.abs(residual).sum(), rtol=rtol, atol=rtol * size)


@st.composite
def weighted_values(draw):
    n = draw(st.integers(1, 40))
    value = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6))
    values = draw(st.lists(value, min_size=n, max_size=n))
    weights = draw(st.lists(st.integers(1, 5).map(float), min_size=n, max_size=n))
    return np.array(values), np.array(weights)


@given(weighted_values())
@settings(deadline=None, max_examples=200)
def test_weighted_median_is_the_smallest_value_that_reaches_half_the_weight(case):
    values, weights = case
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    expected = values[order][np.searchsorted(cumulative, weights.sum() / 2)]
    permuted = values.copy(), weights.copy()
    assert weighted_median(*permuted, values.size) == expected
    # Both arrays were permuted together.
    assert sorted(zip(*permuted, strict=True)) == sorted(zip(values, weights, strict=True))


def test_weighted_quantile_stops_at_an_infinite_weight_and_ignores_the_tail():
    values = np.array([4.0, 1.0, 2.0, 3.0, -9.0])
    weights = np.array([1.0, 1.0, np.inf, 1.0, 50.0])
    assert weighted_quantile(values, weights, 4, 100.0) == 2.0
    assert values[4] == -9.0


def test_weighted_quantile_returns_the_largest_value_if_the_target_is_out_of_reach():
    assert weighted_quantile(np.array([3.0, 1.0, 2.0]), np.ones(3), 3, 10.0) == 3.0


@pytest.mark.parametrize("name", ["generic0", "generic1", "ties2"])
def test_golden_fits(name):
    with np.load(GOLDEN, allow_pickle=False) as data:
        A, y, objective = (data[f"{name}/{part}"] for part in ("A", "y", "obj"))
        expected = data[f"{name}/x"] if f"{name}/x" in data.files else None
    result = lad_regression(A, y)
    np.testing.assert_allclose(result.fun, objective, rtol=1e-9)
    if expected is not None:
        np.testing.assert_allclose(result.x, expected, atol=1e-7)
    assert_certified(A, y, result)


def test_golden_names_are_complete():
    with np.load(GOLDEN, allow_pickle=False) as data:
        assert {key.split("/")[0] for key in data.files} == {"generic0", "generic1", "ties2"}


@pytest.mark.parametrize("seed", range(5))
def test_objective_equals_that_of_highs(seed):
    A, y = gaussian_problem(seed)
    result = lad_regression(A, y)
    np.testing.assert_allclose(result.fun, highs_objective(A, y), rtol=1e-10)
    assert_certified(A, y, result)
    assert np.count_nonzero(np.abs(y - A @ result.x) < 1e-10) >= A.shape[1]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["integers", "binary", "rounded", "zeros"]))
@settings(deadline=None, max_examples=60)
def test_ties_are_solved_exactly(seed, kind):
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(1, 30)), int(rng.integers(1, 10))
    if kind == "integers":
        A, y = rng.integers(-2, 3, (m, k)), rng.integers(-3, 4, m)
    elif kind == "binary":
        A, y = rng.integers(0, 2, (m, k)), rng.integers(0, 2, m)
    elif kind == "rounded":
        A, y = rng.standard_normal((m, k)).round(1), rng.standard_normal(m).round(1)
    else:
        A, y = rng.standard_normal((m, k)), np.where(rng.random(m) < 0.7, 0, rng.random(m))
    A, y = A.astype(float), y.astype(float)
    result = lad_regression(A, y)
    np.testing.assert_allclose(result.fun, highs_objective(A, y), rtol=1e-9, atol=1e-9)
    assert_certified(A, y, result)


def test_regression_equivariance():
    A, y = gaussian_problem(0)
    shift = np.arange(A.shape[1], dtype=float)
    x = lad_regression(A, y).x
    np.testing.assert_allclose(lad_regression(A, y + A @ shift).x, x + shift, atol=1e-9)
    np.testing.assert_allclose(lad_regression(A, -3 * y).x, -3 * x, atol=1e-9)
    scale = 10.0 ** np.arange(-3, 4)
    np.testing.assert_allclose(lad_regression(A * scale, y).x * scale, x, atol=1e-9)


def test_a_gross_error_that_grows_does_not_move_the_fit():
    A, y = gaussian_problem(1)
    x = lad_regression(A, y).x
    residual = y - A @ x
    moved = y + 1e6 * np.where(np.abs(residual) > 1e-6, np.sign(residual), 0)
    np.testing.assert_allclose(lad_regression(A, moved).x, x, atol=1e-8)


def test_integer_sample_weights_repeat_rows():
    A, y = gaussian_problem(2)
    counts = np.random.default_rng(0).integers(0, 4, y.size)
    weighted = lad_regression(A, y, sample_weight=counts)
    repeated = lad_regression(np.repeat(A, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.fun, repeated.fun, rtol=1e-12)
    np.testing.assert_allclose(weighted.x, repeated.x, atol=1e-9)


def test_path_is_optimal_after_each_column():
    A, y = gaussian_problem(3)
    path = LADPath(y, A.shape[1])
    for k in range(1, A.shape[1] + 1):
        assert path.append(A[:, k - 1])
        np.testing.assert_allclose(path.objective, highs_objective(A[:, :k], y), rtol=1e-10)
        np.testing.assert_allclose(path.residual, y - A[:, :k] @ path.coef, atol=1e-10)
        assert np.count_nonzero(path.residual == 0) >= k
        np.testing.assert_allclose(path.dual @ y, path.objective, rtol=1e-10)
    assert path.n_columns == A.shape[1]
    with pytest.raises(ValueError, match="max_columns=7"):
        path.append(A[:, 0])


def test_path_refuses_dependent_columns_and_stays_as_it_was():
    A, y = gaussian_problem(4, m=4, k=4)
    path = LADPath(y, 6)
    assert path.append(A[:, 0])
    assert path.append(A[:, 1])
    before = path.coef
    assert not path.append(A[:, 0] - 2 * A[:, 1])
    assert not path.append(np.zeros(4))
    np.testing.assert_array_equal(path.coef, before)
    assert path.append(A[:, 2])
    assert path.append(A[:, 3])
    assert not path.append(np.ones(4))  # there are as many columns as rows
    np.testing.assert_allclose(path.objective, 0, atol=1e-12)


def test_highs_takes_over_when_the_basis_breaks_down(monkeypatch):
    A, y = gaussian_problem(5)
    expected = lad_regression(A, y)
    monkeypatch.setattr(
        _lad_regression, "optimise_vertex", lambda *_: (_lad_regression.BREAKDOWN, 0)
    )
    result = lad_regression(A, y)
    np.testing.assert_allclose(result.fun, expected.fun, rtol=1e-9)
    np.testing.assert_allclose(result.x, expected.x, atol=1e-7)


@pytest.mark.parametrize(
    ("A", "y", "weight", "message"),
    [
        (np.ones((3, 2)), np.ones(4), None, r"y must have shape \(3,\)"),
        (np.ones(3), np.ones(3), None, "A must have 2 dimension"),
        (np.ones((3, 2)) * 1j, np.ones(3), None, "A must be real"),
        (np.ones((3, 2)), np.array([1, np.nan, 0]), None, "y must be finite"),
        (np.ones((3, 2)), np.ones(3), -np.ones(3), "sample_weight must be 3 numbers >= 0"),
        (np.ones((3, 2)), np.ones(3), np.ones(2), "sample_weight must be 3 numbers >= 0"),
    ],
)
def test_wrong_input_is_named(A, y, weight, message):
    with pytest.raises(ValueError, match=message):
        lad_regression(A, y, sample_weight=weight)
