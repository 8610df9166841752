"""Exact and entropic Wasserstein distances, and their certificates."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import _distance, _exact, _problem, wasserstein_distance
from sparseopt.transport._exact import exact_bounds
from sparseopt.transport._problem import Cost

DATA = Path(__file__).parents[1] / "data" / "ot"


@pytest.fixture(scope="module")
def reference():
    return np.load(DATA / "wasserstein_150x200.npz")


def _clouds(n, m, *, seed=0, d=2, weighted=False):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, d)), rng.uniform(-1, 2, (m, d))
    if not weighted:
        return X, Y, None, None
    return X, Y, rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


def _transport_program(C, a, b):
    """Return the optimal cost from the full linear program."""
    n, m = C.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    solution = linprog(C.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    return solution.fun


# -- the line ---------------------------------------------------------------------------


def test_one_dimension_meets_the_reference(reference):
    x, y = reference["u"], reference["v"]
    W1 = wasserstein_distance(x, y, p=1)
    np.testing.assert_allclose(W1, reference["W1_1d"], rtol=1e-10)
    np.testing.assert_allclose(W1, stats.wasserstein_distance(x, y), rtol=1e-10)
    W2, gap = wasserstein_distance(x[:, None], y[:, None], return_gap=True)
    np.testing.assert_allclose(W2**2, reference["W2sq_1d"], rtol=1e-10)
    assert gap == 0


@pytest.mark.parametrize("p", [1, 1.5, 2, 4])
def test_weighted_points_on_the_line(p):
    x, y, a, b = _clouds(12, 17, d=1, weighted=True)
    C = np.abs(x - y.T) ** p
    expected = _transport_program(C, a, b) ** (1 / p)
    np.testing.assert_allclose(wasserstein_distance(x, y, a, b, p=p), expected, rtol=1e-9)


def test_points_with_ties_and_without_mass():
    x, a = [0.0, 0.0, 1.0, 9.0], [0.25, 0.25, 0.5, 0.0]
    y, b = [0.0, 1.0, 1.0], [0.5, 0.2, 0.3]
    assert wasserstein_distance(x, y, a, b) == 0
    assert wasserstein_distance([1.0], [1.0, 1.0]) == 0


@pytest.mark.parametrize("p", [1, 2, 50])
def test_huge_and_tiny_points_neither_overflow_nor_vanish(p):
    for size in (1e-200, 1.0, 1e200):
        distance = wasserstein_distance(np.array([0.0, size]), np.array([size, 2 * size]), p=p)
        np.testing.assert_allclose(distance, size, rtol=1e-12)


def test_differences_of_huge_points_do_not_overflow():
    largest = np.finfo(float).max
    np.testing.assert_allclose(
        wasserstein_distance([-0.4 * largest], [0.4 * largest]), 0.8 * largest
    )
    with pytest.raises(ValueError, match="distances between X and Y must be finite"):
        wasserstein_distance([[-largest, 0.0]], [[largest, 0.0]])
    assert wasserstein_distance([[0.0, 0.0]], [[0.0, 0.0]], return_gap=True) == (0.0, 0.0)


def test_no_costs_are_computed_on_the_line(monkeypatch):
    for module in (_distance, _problem):
        monkeypatch.setattr(module, "cdist", None)  # sorting needs none
    rng = np.random.default_rng(0)
    x, y = rng.random(1000), rng.random(900) + 1
    np.testing.assert_allclose(
        wasserstein_distance(x, y, p=1), stats.wasserstein_distance(x, y), rtol=1e-12
    )


def test_rounded_masses_on_the_line():
    x, y = np.arange(4.0), np.arange(4.0) + 1
    a, b = np.full(4, 0.25), np.array([0.25, 0.25, 0.5, 1e-18])
    exact = _distance._quantile_cost(x, y, a, b, 1)
    for factor in (1 - 1e-12, 1 + 1e-12):  # cumulative sums that end apart
        np.testing.assert_allclose(
            _distance._quantile_cost(x, y, a, b * factor, 1), exact, rtol=1e-10
        )


# -- more dimensions ---------------------------------------------------------------------


def test_two_dimensions_meet_the_reference(reference):
    for p, name in ((1, "W1_2d"), (2, "W2sq_2d")):
        distance, gap = wasserstein_distance(reference["X"], reference["Y"], p=p, return_gap=True)
        np.testing.assert_allclose(distance**p, reference[name], rtol=1e-9)
        assert 0 <= gap <= 1e-9 * distance


def test_assignment_equals_the_linear_program():
    X, Y, _, _ = _clouds(30, 30)
    uniform = np.full(30, 1 / 30)
    C = Cost(cdist(X, Y, "sqeuclidean"))
    upper, lower = exact_bounds(C, uniform, uniform, tol=1e-9)
    distance = wasserstein_distance(X, Y)
    np.testing.assert_allclose([upper, lower], distance**2, rtol=1e-9)


def test_assignment_of_another_mass():
    X, Y, _, _ = _clouds(12, 12)
    mass = np.full(12, 0.25)
    np.testing.assert_allclose(
        wasserstein_distance(X, Y, mass, mass), 3**0.5 * wasserstein_distance(X, Y), rtol=1e-12
    )


def test_bounds_of_a_program_that_double_precision_cannot_solve():
    # Half of the mass is far away, where it need not move: costs differ by 16 digits.
    X, Y, a, b = _clouds(8, 6, weighted=True)
    far = np.array([[1e8, 0.0]])
    masses = np.append(a / 2, 0.5), np.append(b / 2, 0.5)
    with pytest.warns(ConvergenceWarning, match="the cost lies between"):
        distance, gap = wasserstein_distance(
            np.vstack([X, far]), np.vstack([Y, far]), *masses, return_gap=True
        )
    truth = wasserstein_distance(X, Y, a, b) * 0.5**0.5
    assert 1e-3 < gap
    assert distance - gap <= truth <= distance


def test_dual_value_is_that_of_feasible_potentials():
    X, Y, a, b = _clouds(12, 9, weighted=True)
    C = cdist(X, Y)
    optimum = _transport_program(C, a, b)
    rng = np.random.default_rng(0)
    for cost in (Cost(C), Cost(None, X, Y, "euclidean")):
        f, g = rng.standard_normal(12), rng.standard_normal(9)
        value, violating = _exact._check_potentials(cost, a, b, f, g)
        assert value <= optimum
        np.testing.assert_allclose(value, a @ (C - g).min(axis=1) + b @ g)
        rows, columns = np.divmod(violating, 9)
        np.testing.assert_array_equal(columns[:12], (C - g).argmin(axis=1))
        np.testing.assert_array_equal(rows[12:], (C - f[:, None]).argmin(axis=0))


@pytest.mark.parametrize("factor", [0.5, 0.999, 1.0, 1.5])
def test_plan_of_the_program_is_made_feasible(monkeypatch, factor):
    X, Y, a, b = _clouds(12, 9, weighted=True)
    C = cdist(X, Y)
    solve = _exact.linprog

    def inexact(*arguments, **options):
        solution = solve(*arguments, **options)
        solution.x = solution.x * factor
        return solution

    monkeypatch.setattr(_exact, "linprog", inexact)
    upper, _, _ = _exact._restricted_program(Cost(C), a, b, np.arange(C.size))
    optimum = _transport_program(C, a, b)
    if factor >= 1:  # too much is cut off, too little is moved at the largest cost
        np.testing.assert_allclose(upper, optimum, rtol=1e-9)
    else:
        np.testing.assert_allclose(upper, factor * optimum + (1 - factor) * C.max(), rtol=1e-9)


def test_first_candidates_allow_a_plan():
    for seed in range(20):
        _, _, a, b = _clouds(13, 7, seed=seed, weighted=True)
        a[seed % 13] = 1e-17
        a /= a.sum()
        pairs = _exact._northwest_corner(a, b)
        assert np.unique(pairs).size <= 19
        solution = _exact._restricted_program(Cost(np.ones((13, 7))), a, b, pairs)
        np.testing.assert_allclose(solution[0], a.sum(), rtol=1e-9)


@pytest.mark.parametrize(("n", "m"), [(1, 7), (7, 1), (2, 3), (23, 17)])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_weighted_clouds_equal_the_full_linear_program(n, m, p):
    X, Y, a, b = _clouds(n, m, weighted=True)
    distance, gap = wasserstein_distance(X, Y, a, b, p=p, return_gap=True)
    expected = _transport_program(cdist(X, Y) ** p, a, b) ** (1 / p)
    np.testing.assert_allclose(distance, expected, rtol=1e-9)
    assert 0 <= gap <= 1e-9 * distance


def test_duplicated_points_and_tiny_masses():
    X, Y, a, b = _clouds(40, 30, weighted=True)
    X[:20] = X[20:]
    a[:5] = 1e-12
    a /= a.sum()
    distance, gap = wasserstein_distance(X, Y, a, b, return_gap=True)
    expected = _transport_program(cdist(X, Y, "sqeuclidean"), a, b) ** 0.5
    np.testing.assert_allclose(distance, expected, rtol=1e-8)
    assert gap <= 1e-9 * distance


def test_stored_and_streamed_costs_agree():
    X, Y, a, b = _clouds(60, 50, weighted=True)
    stored = exact_bounds(Cost(cdist(X, Y), X, Y, "euclidean"), a, b, tol=1e-9)
    streamed = exact_bounds(Cost(None, X, Y, "euclidean"), a, b, tol=1e-9)
    np.testing.assert_allclose(streamed, stored, rtol=1e-9)


def test_metric_properties():
    X, Y, a, b = _clouds(15, 20, weighted=True)
    Z = _clouds(10, 1)[0] + 3
    there, back = wasserstein_distance(X, Y, a, b), wasserstein_distance(Y, X, b, a)
    np.testing.assert_allclose(there, back, rtol=1e-9)
    detour = wasserstein_distance(X, Z, a) + wasserstein_distance(Z, Y, None, b)
    assert there <= detour
    assert wasserstein_distance(X, X, a, a) <= 1e-7
    moved = wasserstein_distance(X, X + [3.0, 4.0], a, a)
    np.testing.assert_allclose(moved, 5, rtol=1e-9)


def test_masses_of_another_sum_scale_the_cost():
    X, Y, a, b = _clouds(15, 20, weighted=True)
    once = wasserstein_distance(X, Y, a, b)
    np.testing.assert_allclose(wasserstein_distance(X, Y, 3 * a, 3 * b), 3**0.5 * once, rtol=1e-9)
    normalized = wasserstein_distance(X, Y, 3 * a, 5 * b, normalize=True)
    np.testing.assert_allclose(normalized, once, rtol=1e-9)


# -- regularised --------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3])
def test_entropic_distance_is_an_upper_bound_with_a_true_gap(p):
    X, Y, a, b = _clouds(40, 30, weighted=True)
    exact = wasserstein_distance(X, Y, a, b, p=p)
    previous = np.inf
    for reg in (1.0, 0.1, 0.01):
        distance, gap = wasserstein_distance(X, Y, a, b, p=p, reg=reg, return_gap=True)
        assert distance - gap - 1e-12 <= exact <= distance + 1e-12
        assert distance < previous
        previous = distance
    assert distance < 1.05 * exact


@pytest.mark.parametrize("size", [1e-200, 1e-160, 1e-3, 1e5, 1e150])
def test_entropic_distance_has_the_unit_of_the_points(size):
    X, Y, a, b = _clouds(20, 15, weighted=True)
    expected = wasserstein_distance(X, Y, a, b, p=1.5, reg=0.05)
    reg = 0.05 * size**1.5
    distance = wasserstein_distance(size * X, size * Y, a, b, p=1.5, reg=reg)
    np.testing.assert_allclose(distance / size, expected, rtol=1e-9)


# -- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 0.5}, "p must be"),
        ({"p": np.inf}, "p must be"),
        ({"p": "2"}, "p must be"),
        ({"tol": 0}, "tol must be"),
        ({"reg": 0.0}, "wasserstein_distance"),
        ({"reg": -1.0}, "reg must be positive"),
        ({"a": [0.5, -0.1, 0.6]}, "a must be >= 0"),
        ({"a": [0.5, np.nan, 0.6]}, "a must be finite"),
        ({"a": [0.5, 0.5]}, r"shape \(3,\).*\(3, 4\).*\(2,\)"),
        ({"a": [1.0, 1.0, 1.0]}, "equal sums"),
        ({"b": [0.0, 0.0, 0.0, 0.0]}, "positive sum"),
        ({"X": np.full((3, 2), np.nan)}, "X must be finite"),
        ({"Y": np.zeros((4, 3))}, r"\(3, 2\) and \(4, 3\)"),
        ({"Y": np.zeros((0, 2))}, "non-empty"),
        ({"Y": None}, "Y must be a matrix of points, got None"),
        ({"tol": np.inf}, "tol must be"),
        ({"X": np.eye(3, 2) * 1e10, "p": 100, "reg": 1.0}, r"reg must be comparable.*e\+10\*\*100"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"X": np.zeros((3, 2)), "Y": np.ones((4, 2))}
    with pytest.raises(ValueError, match=message):
        wasserstein_distance(**(good | change))
