"""LADLasso, its path and its cross-validation."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import mean_absolute_error

from sparseopt._core import Status
from sparseopt.linear_model import LADLasso, LADLassoCV, _lad_simplex, lad_lasso_path
from sparseopt.linear_model._lad_interior import InteriorPoint, guess_basis
from sparseopt.linear_model._lad_lasso import solve_lad_lasso
from sparseopt.linear_model._lad_simplex import PenalizedLAD

GOLDEN = Path(__file__).parents[1] / "data" / "greedy" / "convex.npz"


def corrupted_problem(seed=0, m=60, n=90):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, n)) * rng.uniform(0.3, 3, n)
    y = X[:, :4] @ [3.0, -2.0, 1.0, 4.0] + 0.1 * rng.standard_normal(m) + 5
    y[: m // 10] += 50 * rng.standard_normal(m // 10)
    return X, y


def solve(X, y, lam, *, tol=1e-10, **options):
    options.setdefault("weights", np.ones(X.shape[1]))
    problem = PenalizedLAD(X, y, **options)
    return solve_lad_lasso(problem, lam / problem.total_weight, max_iter=10_000, tol=tol)


def objective(X, y, b, intercept, alpha, weights=1.0, sample_weight=None):
    """Return the estimator's objective; a weight of inf costs nothing at zero."""
    penalty = np.where(b == 0, 0, np.where(np.isfinite(weights), weights, 0) * np.abs(b)).sum()
    return np.average(np.abs(y - X @ b - intercept), weights=sample_weight) + alpha * penalty


def highs_objective(X, y, penalty, *, rows=None, positive=False, intercept=False):
    """Return the minimum over all columns of finite penalty by linear programming."""
    kept = np.isfinite(penalty)
    A, cost = X[:, kept], penalty[kept]
    negative = np.full(A.shape[1], 0.0 if positive else np.inf)
    if intercept:
        A, cost = np.column_stack([A, np.ones(y.size)]), np.append(cost, 0)
        negative = np.append(negative, np.inf)
    scale = np.ones(y.size) if rows is None else rows
    A, y, m = scale[:, None] * A, scale * y, y.size
    upper = np.concatenate([np.full(A.shape[1], np.inf), negative, np.full(2 * m, np.inf)])
    return linprog(
        np.concatenate([cost, cost, np.ones(2 * m)]),
        A_eq=np.hstack([A, -A, np.eye(m), -np.eye(m)]),
        b_eq=y,
        bounds=np.column_stack([np.zeros(upper.size), upper]),
        method="highs",
    ).fun


def assert_kkt(X, y, result, lam, weights, rows=1.0, tol=1e-8):
    """Assert the optimality conditions with the dual point of the result."""
    theta, b = result.dual, result.x
    assert np.abs(theta).max() <= 1 + tol
    residual = y - X @ b - result.intercept
    far = np.abs(residual * rows) > 1e-8 * np.abs(y).max()
    np.testing.assert_allclose(theta[far], np.sign(residual[far]), atol=tol)
    finite = np.isfinite(weights)
    slope = X[:, finite].T @ (rows * theta)
    bound = lam * weights[finite]
    assert np.all(np.abs(slope) <= bound + tol * np.abs(X).sum())
    active = b[finite] != 0
    np.testing.assert_allclose(
        slope[active], bound[active] * np.sign(b[finite][active]), atol=tol * np.abs(X).sum()
    )
    assert np.all(b[~finite] == 0)


@pytest.mark.parametrize("fraction", ["0.7", "0.4", "0.2"])
def test_golden_solutions(fraction):
    with np.load(GOLDEN, allow_pickle=False) as data:
        A, w, y = data["real/A"], data["real/w"], data["real/ladlasso/y"]
        lam_max = float(data["real/ladlasso/lam_max"])
        expected = data[f"real/ladlasso/{fraction}/coef"]
        value = float(data[f"real/ladlasso/{fraction}/obj"])
    lam = float(fraction) * lam_max
    result = solve(A, y, lam, weights=w)
    np.testing.assert_allclose(result.fun * y.size, value, rtol=1e-8)
    np.testing.assert_allclose(result.x, expected, atol=1e-5)
    assert result.certificate <= 1e-10
    assert_kkt(A, y, result, lam, w)
    problem = PenalizedLAD(A, y, weights=w)
    np.testing.assert_allclose(problem.largest_strength(), lam_max, rtol=1e-12)


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, n = int(rng.integers(1, 30)), int(rng.integers(1, 30))
    kind = draw(st.sampled_from(["generic", "integers", "binary", "rounded"]))
    if kind == "generic":
        X, y = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-2, 3, n), rng.standard_normal(m)
    elif kind == "integers":
        X, y = rng.integers(-2, 3, (m, n)), rng.integers(-3, 4, m)
    elif kind == "binary":
        X, y = rng.integers(0, 2, (m, n)), rng.integers(0, 2, m)
    else:
        X, y = rng.standard_normal((m, n)).round(1), rng.standard_normal(m).round(1)
    weights = rng.uniform(0.2, 2, n)
    if draw(st.booleans()):
        weights[rng.random(n) < 0.2] = 0
        weights[rng.random(n) < 0.2] = np.inf
    rows = rng.integers(0, 3, m).astype(float) if draw(st.booleans()) else None
    if rows is not None and not rows.any():
        rows[0] = 1
    options = {"sample_weight": rows, "positive": draw(st.booleans())}
    options["fit_intercept"] = draw(st.booleans())
    return X.astype(float), y.astype(float), weights, options, draw(st.floats(0.01, 0.95))


def check_against_highs(case):
    X, y, weights, options, fraction = case
    largest = PenalizedLAD(X, y, weights=weights, **options).largest_strength()
    lam = fraction * largest if largest > 0 else 1.0
    result = solve(X, y, lam, weights=weights, **options)
    rows = options["sample_weight"]
    total = y.size if rows is None else rows.sum()
    penalty = np.where(
        np.isfinite(weights), lam * np.where(np.isfinite(weights), weights, 0), np.inf
    )
    expected = highs_objective(
        X,
        y,
        penalty,
        rows=rows,
        positive=options["positive"],
        intercept=options["fit_intercept"],
    )
    np.testing.assert_allclose(result.fun * total, expected, rtol=1e-8, atol=1e-9)
    assert result.certificate <= 1e-9
    assert np.all(result.x >= 0) or not options["positive"]


@given(problems())
@settings(deadline=None, max_examples=80)
def test_any_problem_is_solved_exactly(case):
    check_against_highs(case)


@given(problems())
@settings(deadline=None, max_examples=40)
def test_any_problem_is_solved_exactly_from_an_interior_guess(case):
    patience = _lad_simplex.PIVOTS_BEFORE_JUMP
    _lad_simplex.PIVOTS_BEFORE_JUMP = -1000  # jump at the first step
    try:
        check_against_highs(case)
    finally:
        _lad_simplex.PIVOTS_BEFORE_JUMP = patience


@pytest.mark.parametrize("free", [True, False])
def test_no_interior_guess_is_made_without_a_penalty(monkeypatch, free):
    monkeypatch.setattr(_lad_simplex, "PIVOTS_BEFORE_JUMP", -1000)
    X, y = corrupted_problem(n=6)
    lam, weights = (1.0, np.zeros(6)) if free else (0.0, np.ones(6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = solve(X, y, lam, weights=weights)
    expected = highs_objective(X, y, np.zeros(6))
    np.testing.assert_allclose(result.fun * y.size, expected, rtol=1e-10)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_kkt_with_all_kinds_of_weights(fit_intercept):
    X, y = corrupted_problem()
    weights = np.random.default_rng(0).uniform(0.5, 2, X.shape[1])
    weights[[3, 20]], weights[[5, 30]] = 0, np.inf
    rows = np.random.default_rng(1).uniform(0, 2, y.size)
    result = solve(X, y, 8.0, weights=weights, sample_weight=rows, fit_intercept=fit_intercept)
    assert_kkt(X, y, result, 8.0, weights, rows)
    assert np.count_nonzero(result.x) > 3
    if fit_intercept:
        np.testing.assert_allclose(rows @ result.dual, 0, atol=1e-9 * rows.sum())


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("positive", [False, True])
def test_coefficients_vanish_from_the_largest_strength_on(fit_intercept, positive):
    X, y = corrupted_problem()
    options = {"fit_intercept": fit_intercept, "positive": positive}
    problem = PenalizedLAD(X, y, weights=np.ones(X.shape[1]), **options)
    largest = problem.largest_strength()
    assert not solve(X, y, 1.0001 * largest, **options).x.any()
    assert solve(X, y, 0.999 * largest, **options).x.any()


def test_largest_strength_of_targets_with_zeros_is_that_of_an_optimal_dual_point():
    # theta_3 is free in [-1, 1]: the best choice halves what sign(y) = 0 would give.
    X = np.array([[1.0], [1.0], [-2.0]])
    y = np.array([1.0, 2.0, 0.0])
    problem = PenalizedLAD(X, y, weights=np.ones(1))
    np.testing.assert_allclose(problem.largest_strength(), 0.0, atol=1e-12)
    X[2] = -1.0
    problem = PenalizedLAD(X, y, weights=np.ones(1))
    np.testing.assert_allclose(problem.largest_strength(), 1.0)
    assert not solve(X, y, 1.0001).x.any()
    assert solve(X, y, 0.999).x.any()


def test_unpenalised_target_with_many_ties_is_handled():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (120, 80)).astype(float)
    y = (rng.random(120) < 0.3).astype(float)
    problem = PenalizedLAD(X, y, weights=np.ones(80), fit_intercept=True)
    largest = problem.largest_strength()
    assert not solve(X, y, 1.0001 * largest, fit_intercept=True).x.any()
    for fraction in (0.5, 0.1):
        result = solve(X, y, fraction * largest, fit_intercept=True)
        expected = highs_objective(X, y, np.full(80, fraction * largest), intercept=True)
        np.testing.assert_allclose(result.fun * 120, expected, rtol=1e-9)
        assert result.certificate <= 1e-10


def test_large_problem_jumps_and_agrees_with_the_plain_simplex(monkeypatch):
    X, y = corrupted_problem(m=120, n=400)
    lam = 0.05 * PenalizedLAD(X, y, weights=np.ones(400)).largest_strength()
    calls = []

    def guess(*arguments):
        calls.append(guess_basis(*arguments))
        return calls[-1]

    monkeypatch.setattr(_lad_simplex, "guess_basis", guess)
    jumped = solve(X, y, lam, fit_intercept=True)
    assert len(calls) == 1
    assert calls[0] is not None
    monkeypatch.setattr(_lad_simplex, "PIVOTS_BEFORE_JUMP", 10**6)
    plain = solve(X, y, lam, fit_intercept=True)
    assert len(calls) == 1
    assert jumped.nit < plain.nit
    np.testing.assert_allclose(jumped.fun, plain.fun, rtol=1e-11)
    np.testing.assert_allclose(jumped.x, plain.x, atol=1e-9)


def test_interior_point_stays_strictly_feasible_and_bounds_the_minimum():
    X, y = corrupted_problem()
    F, penalty = np.ones((y.size, 1)), np.full(X.shape[1], 5.0)
    point = InteriorPoint(X, F, y, penalty)
    assert point.run()
    assert np.abs(point.theta).max() < 1
    kept = X[:, point.kept]
    assert np.abs(kept.T @ point.theta).max() < 5
    np.testing.assert_allclose(F.T @ point.theta, 0, atol=1e-8)
    minimum = highs_objective(kept, y, np.full(kept.shape[1], 5.0), intercept=True)
    assert minimum * (1 - 2e-4) <= point.theta @ y <= minimum * (1 + 1e-12)


def test_highs_takes_over_when_the_basis_breaks_down(monkeypatch):
    X, y = corrupted_problem()
    weights = np.ones(X.shape[1])
    weights[3], weights[7] = 0, np.inf
    expected = solve(X, y, 10.0, weights=weights, fit_intercept=True)
    monkeypatch.setattr(_lad_simplex, "pivot_to_optimum", lambda *_: (_lad_simplex.BREAKDOWN, 0))
    result = solve(X, y, 10.0, weights=weights, fit_intercept=True, tol=1e-8)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.fun, expected.fun, rtol=1e-9)
    np.testing.assert_allclose(result.x, expected.x, atol=1e-6)


def test_highs_takes_over_when_not_even_the_free_columns_can_be_fitted(monkeypatch):
    X, y = corrupted_problem()
    expected = solve(X, y, 10.0, fit_intercept=True)
    monkeypatch.setattr(_lad_simplex, "optimise_vertex", lambda *_: (_lad_simplex.BREAKDOWN, 0))
    result = solve(X, y, 10.0, fit_intercept=True, tol=1e-8)
    np.testing.assert_allclose(result.x, expected.x, atol=1e-6)
    problem = PenalizedLAD(X, y, weights=np.ones(X.shape[1]), fit_intercept=True)
    assert not solve(X, y, 1.001 * problem.largest_strength(), fit_intercept=True).x.any()
    with pytest.raises(ArithmeticError, match="path broke down"):
        lad_lasso_path(X, y, exact=True, fit_intercept=True)


def test_exact_path_never_ends_early_in_silence(monkeypatch):
    X, y = corrupted_problem()
    monkeypatch.setattr(_lad_simplex, "refactorise", lambda _: False)
    with pytest.raises(ArithmeticError, match="path broke down"):
        lad_lasso_path(X, y, exact=True, eps=1e-4)


def test_equals_quantile_regressor_at_half_its_strength():
    X, y = corrupted_problem()
    model = LADLasso(alpha=0.2).fit(X, y)
    reference = QuantileRegressor(quantile=0.5, alpha=0.1, solver="highs").fit(X, y)
    ours = objective(X, y, model.coef_, model.intercept_, 0.2)
    theirs = objective(X, y, reference.coef_, reference.intercept_, 0.2)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    assert ours <= theirs * (1 + 1e-12)
    assert model.dual_gap_ <= 1e-9 * theirs


def test_zero_weight_never_penalises_and_infinite_weight_excludes():
    X, y = corrupted_problem()
    weights = np.ones(X.shape[1])
    weights[[0, 10]] = np.inf
    weights[1] = 0
    model = LADLasso(0.3, weights=weights).fit(X, y)
    assert not model.coef_[[0, 10]].any()
    kept = np.isfinite(weights)
    reduced = LADLasso(0.3, weights=weights[kept]).fit(X[:, kept], y)
    np.testing.assert_allclose(model.coef_[kept], reduced.coef_, atol=1e-10)
    # At an enormous strength only the free column remains.
    alone = LADLasso(1e6, weights=weights).fit(X, y)
    assert np.flatnonzero(alone.coef_).tolist() == [1]
    without = LADLasso(0.0).fit(X[:, [1]], y)
    np.testing.assert_allclose(alone.coef_[[1]], without.coef_, atol=1e-10)


def test_rescaled_columns_equal_weights():
    X, y = corrupted_problem()
    weights = np.random.default_rng(0).uniform(0.3, 3, X.shape[1])
    model = LADLasso(0.2, weights=weights).fit(X, y)
    scaled = LADLasso(0.2).fit(X / weights, y)
    np.testing.assert_allclose(model.coef_, scaled.coef_ / weights, atol=1e-9)


@pytest.mark.parametrize("factor", [-4.0, 1e-6, 1e7])
def test_scale_equivariance(factor):
    X, y = corrupted_problem()
    model, scaled = LADLasso(0.2).fit(X, y), LADLasso(0.2).fit(X, factor * y)
    np.testing.assert_allclose(scaled.coef_, factor * model.coef_, atol=1e-9 * abs(factor))
    np.testing.assert_allclose(scaled.intercept_, factor * model.intercept_, rtol=1e-8)


@pytest.mark.parametrize("factor", [1e-250, 1e-100, 1e100, 1e250])
@pytest.mark.parametrize("container", [np.asarray, sparse.csc_array])
def test_extreme_sizes_of_columns_and_rows(factor, container):
    X, y = corrupted_problem()
    model = LADLasso(0.2).fit(X, y)
    scaled = LADLasso(0.2 * factor).fit(container(factor * X), y)
    np.testing.assert_allclose(factor * scaled.coef_, model.coef_, atol=1e-9)
    weighted = LADLasso(0.2).fit(container(X), y, sample_weight=np.full(y.size, factor))
    np.testing.assert_allclose(weighted.coef_, model.coef_, atol=1e-9)


def test_strength_zero_with_excluded_columns_and_many_pivots_is_silent():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 2, (300, 100)).astype(float), rng.integers(0, 2, 300).astype(float)
    weights = np.ones(100)
    weights[7] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LADLasso(0.0, weights=weights).fit(X, y)
    penalty = np.where(np.isfinite(weights), 0.0, np.inf)
    expected = highs_objective(X, y, penalty, intercept=True)
    np.testing.assert_allclose(np.abs(y - model.predict(X)).sum(), expected, rtol=1e-9)
    assert model.coef_[7] == 0


def test_gross_errors_that_grow_do_not_move_the_fit():
    X, y = corrupted_problem()
    model = LADLasso(0.2).fit(X, y)
    residual = y - model.predict(X)
    moved = y + 1e5 * np.where(np.abs(residual) > 10, np.sign(residual), 0)
    assert np.count_nonzero(moved != y) >= 4
    np.testing.assert_allclose(LADLasso(0.2).fit(X, moved).coef_, model.coef_, atol=1e-7)


def test_the_intercept_is_not_a_centring_by_the_mean():
    X, y = corrupted_problem()
    y[0] += 1e6  # moves the mean of y, not the fit
    model, shifted = LADLasso(0.2).fit(X, y), LADLasso(0.2).fit(X, y + 100)
    np.testing.assert_allclose(shifted.coef_, model.coef_, atol=1e-6)
    np.testing.assert_allclose(shifted.intercept_, model.intercept_ + 100, rtol=1e-9)
    centre = LADLasso(1e9).fit(X, y)
    assert not centre.coef_.any()
    below, above = np.sort(y)[[29, 30]]
    assert below <= centre.intercept_ <= above


def test_integer_sample_weights_repeat_rows():
    X, y = corrupted_problem()
    counts = np.random.default_rng(3).integers(0, 4, y.size)
    weighted = LADLasso(0.2).fit(X, y, sample_weight=counts)
    repeated = LADLasso(0.2).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(
        objective(X, y, weighted.coef_, weighted.intercept_, 0.2, sample_weight=counts),
        objective(X, y, repeated.coef_, repeated.intercept_, 0.2, sample_weight=counts),
        rtol=1e-12,
    )
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-9)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix, sparse.csr_matrix])
def test_sparse_design_equals_dense(container):
    X, y = corrupted_problem()
    X[np.random.default_rng(0).random(X.shape) < 0.6] = 0
    rows = np.random.default_rng(1).uniform(0, 2, y.size)
    dense = LADLasso(0.1).fit(X, y, rows)
    model = LADLasso(0.1).fit(container(X), y, rows)
    np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-10)
    np.testing.assert_allclose(model.predict(container(X)), dense.predict(X), atol=1e-9)


def test_strength_zero_is_l1_regression():
    X, y = corrupted_problem(n=6)
    model = LADLasso(0.0).fit(X, y)
    A = np.column_stack([X, np.ones(y.size)])
    expected = highs_objective(A, y, np.zeros(7))
    np.testing.assert_allclose(np.abs(y - model.predict(X)).sum(), expected, rtol=1e-10)


def test_constant_columns_and_targets():
    X, y = corrupted_problem()
    X[:, 2] = 0
    X[:, 3] = 1
    model = LADLasso(0.2).fit(X, y)
    assert model.coef_[2] == model.coef_[3] == 0
    flat = LADLasso(0.2).fit(X, np.full(y.size, 3.0))
    assert not flat.coef_.any()
    assert flat.intercept_ == 3
    assert flat.dual_gap_ == 0


def test_targets_are_fitted_independently():
    X, y = corrupted_problem()
    Y = np.column_stack([y, -2 * y, y**2])
    joint = LADLasso(0.2).fit(X, Y)
    assert joint.coef_.shape == (3, X.shape[1])
    assert joint.intercept_.shape == joint.dual_gap_.shape == (3,)
    for number, target in enumerate(Y.T):
        single = LADLasso(0.2).fit(X, target)
        np.testing.assert_array_equal(joint.coef_[number], single.coef_)


def test_warm_start_reaches_the_same_solution():
    X, y = corrupted_problem()
    cold = LADLasso(0.1).fit(X, y)
    warm = LADLasso(0.15, warm_start=True).fit(X, y)
    warm.set_params(alpha=0.1).fit(X, y)
    assert warm.n_iter_ < cold.n_iter_
    np.testing.assert_allclose(warm.coef_, cold.coef_, atol=1e-9)


def test_float32_is_kept_and_solved_in_double():
    X, y = corrupted_problem()
    model = LADLasso(0.2).fit(X.astype(np.float32), y.astype(np.float32))
    assert model.coef_.dtype == np.float32
    np.testing.assert_allclose(model.coef_, LADLasso(0.2).fit(X, y).coef_, atol=1e-4)


def test_complex_data_are_refused():
    X, y = corrupted_problem()
    with pytest.raises(ValueError, match="Complex data not supported"):
        LADLasso().fit(X * (1 + 1j), y)
    with pytest.raises(ValueError, match="must be real"):
        lad_lasso_path(X * 1j, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1.0}, "'alpha' parameter"),
        ({"weights": [1.0]}, "weights must have shape"),
        ({"weights": -np.ones(90)}, "weights must be >= 0"),
        ({"weights": np.full(90, np.nan)}, "weights must be >= 0"),
        ({"tol": -1e-3}, "'tol' parameter"),
        ({"max_iter": 0}, "'max_iter' parameter"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        LADLasso(**parameters).fit(*corrupted_problem())


def test_stopping_early_warns_with_the_gap():
    X, y = corrupted_problem()
    with pytest.warns(ConvergenceWarning, match=r"relative duality gap .* Increase max_iter"):
        model = LADLasso(0.02, max_iter=1).fit(X, y)
    best = LADLasso(0.02).fit(X, y)
    excess = objective(X, y, model.coef_, model.intercept_, 0.02) - objective(
        X, y, best.coef_, best.intercept_, 0.02
    )
    assert 0 < excess <= model.dual_gap_


@pytest.mark.parametrize("max_iter", [1, 2, 100])
def test_certificate_is_the_gap_to_a_feasible_dual_point(max_iter):
    X, y = corrupted_problem()
    rows = np.random.default_rng(0).integers(0, 4, y.size).astype(float)
    problem = PenalizedLAD(X, y, weights=np.ones(90), sample_weight=rows, fit_intercept=True)
    result = solve_lad_lasso(problem, 0.02, max_iter=max_iter, tol=1e-10, warn=False)
    theta = result.dual
    assert np.abs(theta).max() <= 1 + 1e-12
    assert np.abs(X.T @ (rows * theta)).max() <= 0.02 * rows.sum() * (1 + 1e-9)
    np.testing.assert_allclose(rows @ theta, 0, atol=1e-9 * rows.sum())
    primal = objective(X, y, result.x, result.intercept, 0.02, sample_weight=rows)
    np.testing.assert_allclose(result.fun, primal, rtol=1e-10)
    gap = primal - (rows * theta) @ y / rows.sum()
    np.testing.assert_allclose(result.dual_gap, gap, rtol=1e-8, atol=1e-12)


def test_history_and_callback():
    X, y = corrupted_problem()
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result.fun)
        if len(seen) == 2:
            raise StopIteration

    problem = PenalizedLAD(X, y, weights=np.ones(X.shape[1]), fit_intercept=True)
    result = solve_lad_lasso(problem, 0.02, max_iter=100, tol=1e-10, callback=callback)
    assert result.status == Status.STOPPED_BY_CALLBACK
    assert result.nit == 2
    assert np.all(np.diff(result.history["objective"]) <= 1e-12)


def test_path_on_a_grid_equals_single_fits():
    X, y = corrupted_problem()
    path = lad_lasso_path(X, y, n_alphas=12, eps=0.05, fit_intercept=True)
    assert path.success
    assert path.coefs.shape == (90, 12)
    assert not path.coefs[:, 0].any()
    np.testing.assert_allclose(path.alphas[-1], 0.05 * path.alphas[0])
    for alpha, b, intercept in zip(path.alphas, path.coefs.T, path.intercepts, strict=True):
        model = LADLasso(alpha).fit(X, y)
        np.testing.assert_allclose(
            objective(X, y, b, intercept, alpha),
            objective(X, y, model.coef_, model.intercept_, alpha),
            rtol=1e-9,
        )


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("positive", [False, True])
def test_exact_path_is_piecewise_constant(fit_intercept, positive):
    X, y = corrupted_problem()
    options = {"fit_intercept": fit_intercept, "positive": positive}
    path = lad_lasso_path(X, y, exact=True, eps=0.05, **options)
    assert path.success
    assert np.all(np.diff(path.alphas) < 0)
    assert path.alphas[-1] >= 0.05 * path.alphas[0]
    assert np.all(np.any(np.diff(path.coefs, axis=1) != 0, axis=0))
    chosen = np.linspace(0, path.alphas.size - 2, 15).astype(int)
    for k in chosen:
        upper, lower = path.alphas[k], path.alphas[k + 1]
        for alpha in (0.99 * upper + 0.01 * lower, 0.01 * upper + 0.99 * lower):
            single = lad_lasso_path(X, y, alphas=[alpha], **options)
            np.testing.assert_allclose(path.coefs[:, k], single.coefs[:, 0], atol=1e-8)
            np.testing.assert_allclose(path.intercepts[k], single.intercepts[0], atol=1e-8)


def test_exact_path_of_a_constant_target_is_empty():
    X, _ = corrupted_problem()
    path = lad_lasso_path(X, np.full(60, 2.0), exact=True, fit_intercept=True)
    assert path.alphas.size == 0
    assert path.coefs.shape == (90, 0)


def test_exact_path_warns_where_its_certificate_is_poor():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 3))
    y = rng.standard_normal(12)
    with pytest.warns(ConvergenceWarning, match="exact LAD-LASSO path has the relative"):
        path = lad_lasso_path(X, y, exact=True, fit_intercept=True, tol=1e-30)
    assert not path.success
    assert path.dual_gaps.max() <= 1e-12


@pytest.mark.parametrize(
    "options",
    [{"eps": 0}, {"eps": -1, "exact": True}, {"eps": 2}, {"n_alphas": 0}, {"max_iter": 0}],
)
def test_wrong_path_options_are_refused(options):
    with pytest.raises(ValueError, match="eps must be between 0 and 1"):
        lad_lasso_path(*corrupted_problem(), **options)


def test_exact_path_takes_no_grid():
    with pytest.raises(ValueError, match="alphas must be None"):
        lad_lasso_path(*corrupted_problem(), exact=True, alphas=[1.0])


def test_cross_validation_scores_by_the_absolute_error():
    X, y = corrupted_problem()
    folds = [(np.arange(20, 60), np.arange(20)), (np.arange(40), np.arange(40, 60))]
    model = LADLassoCV(alphas=8, eps=0.02, cv=folds).fit(X, y)
    assert model.mae_path_.shape == (8, 2)
    assert model.alpha_ == model.alphas_[np.argmin(model.mae_path_.mean(axis=1))]
    for number, (train, test) in enumerate(folds):
        single = LADLasso(model.alphas_[3]).fit(X[train], y[train])
        np.testing.assert_allclose(
            model.mae_path_[3, number],
            mean_absolute_error(y[test], single.predict(X[test])),
            rtol=1e-7,
        )
    final = LADLasso(model.alpha_).fit(X, y)
    np.testing.assert_array_equal(model.coef_, final.coef_)
    np.testing.assert_allclose(
        LADLassoCV(alphas=8, eps=0.02, cv=folds, n_jobs=2).fit(X, y).mae_path_, model.mae_path_
    )


def test_exact_recovery_under_gross_errors():
    rng = np.random.default_rng(0)
    for _ in range(10):
        X = rng.standard_normal((150, 200))
        b = np.zeros(200)
        b[rng.choice(200, 5, replace=False)] = rng.standard_normal(5)
        y = X @ b
        y[rng.choice(150, 15, replace=False)] += 100 * rng.standard_normal(15)
        model = LADLasso(0.2, fit_intercept=False).fit(X, y)
        np.testing.assert_allclose(model.coef_, b, atol=1e-8)


def test_clone_and_silence():
    X, y = corrupted_problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = LADLasso(0.2).fit(X, y)
        np.testing.assert_array_equal(clone(first).fit(X, y).coef_, first.coef_)
