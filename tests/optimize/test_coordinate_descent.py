"""The LASSO engine: certificates recomputed here, limits, invariances, golden data."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import Lasso as SklearnLasso

from sparseopt.optimize import (
    L1,
    ElasticNet,
    HuberLoss,
    LogisticLoss,
    PoissonLoss,
    SquaredLoss,
    coordinate_descent,
)
from sparseopt.optimize import _coordinate_descent as engine
from sparseopt.optimize import _working_set as working_set
from sparseopt.optimize._design import make_design

DATA = Path(__file__).parents[1] / "data" / "greedy"


def make_problem(n_samples=60, n_features=100, *, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    if np.issubdtype(dtype, np.complexfloating):
        X = X + 1j * rng.standard_normal(X.shape)
    coef = np.zeros(n_features, dtype=X.dtype)
    coef[:5] = [3, -2, 1.5, -1, 2]
    y = X @ coef + 0.3 * rng.standard_normal(n_samples) + 2.0
    return X.astype(dtype), y.astype(dtype)


def lasso_gap(X, y, coef, alpha, weights):
    """Return the mean-scale duality gap at ``coef`` from the scaled residual alone."""
    n = len(y)
    residual = y - X @ coef
    slope = np.abs(X.conj().T @ residual) / n
    used = np.isfinite(weights) & (weights > 0)
    scale = min(1.0, np.min(alpha * weights[used] / slope[used]))
    dual = (np.linalg.norm(y) ** 2 - np.linalg.norm(y - scale * residual) ** 2) / (2 * n)
    support = coef != 0
    primal = np.linalg.norm(residual) ** 2 / (2 * n)
    return primal + alpha * weights[support] @ np.abs(coef[support]) - dual


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("fraction", [0.5, 0.1, 0.01])
def test_gap_recomputed_from_scratch_is_what_is_reported(dtype, fraction):
    X, y = make_problem(dtype=dtype)
    weights = np.random.default_rng(1).uniform(0.5, 2, X.shape[1])
    alpha = fraction * np.max(np.abs(X.conj().T @ y) / weights) / len(y)
    result = coordinate_descent(X, y, L1(alpha, weights=weights), tol=1e-10)
    assert result.success
    unit = np.linalg.norm(y) ** 2 / (2 * len(y))
    assert result.certificate * unit == pytest.approx(result.dual_gap)
    assert lasso_gap(X, y, result.x, alpha, weights) <= 2e-10 * unit
    # The dual point is feasible, and its value proves the gap.
    assert np.all(np.abs(X.conj().T @ result.dual) <= len(y) * alpha * weights * (1 + 1e-9))
    primal = np.linalg.norm(y - X @ result.x) ** 2 / (2 * len(y)) + alpha * weights @ np.abs(
        result.x
    )
    assert result.fun == pytest.approx(primal, rel=1e-10)
    dual = (np.linalg.norm(y) ** 2 - np.linalg.norm(y - result.dual) ** 2) / (2 * len(y))
    assert primal - dual == pytest.approx(result.dual_gap, abs=1e-12 * unit)


@pytest.mark.parametrize("field", ["real", "complex"])
@pytest.mark.parametrize("fraction", ["0.5", "0.2", "0.05"])
def test_golden_solutions(field, fraction):
    with np.load(DATA / "convex.npz") as golden:
        A, y, w = (golden[f"{field}/{name}"] for name in "Ayw")
        lam = float(fraction) * golden[f"{field}/lasso/lam_max"]
        coef, objective = (golden[f"{field}/lasso/{fraction}/{name}"] for name in ("coef", "obj"))
    result = coordinate_descent(A, y, L1(lam / len(y), weights=w), tol=1e-12)
    assert result.fun * len(y) == pytest.approx(objective, rel=1e-8)
    np.testing.assert_allclose(result.x, coef, atol=1e-6)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.7, 0.0])
def test_unit_weights_equal_scikit_learn(positive, l1_ratio):
    X, y = make_problem(n_features=30)
    if l1_ratio > 0:
        reference = SklearnElasticNet(
            alpha=0.3, l1_ratio=l1_ratio, positive=positive, tol=1e-12, max_iter=100000
        )
        expected = reference.fit(X, y).coef_
    else:  # ridge: (non-negative) least squares with extra rows
        rows = np.vstack([X - X.mean(axis=0), np.sqrt(0.3 * len(y)) * np.eye(30)])
        target = np.concatenate([y - y.mean(), np.zeros(30)])
        expected = nnls(rows, target)[0] if positive else np.linalg.lstsq(rows, target)[0]
    result = coordinate_descent(
        X, y, ElasticNet(0.3, l1_ratio, None, positive), fit_intercept=True, tol=1e-13
    )
    np.testing.assert_allclose(result.x, expected, atol=1e-7)
    assert result.success


def test_intercept_and_sample_weights_equal_scikit_learn_dense_and_sparse():
    X, y = make_problem()
    X[np.abs(X) < 0.7] = 0
    weights = np.random.default_rng(2).uniform(0, 3, len(y))
    reference = SklearnLasso(alpha=0.1, tol=1e-12).fit(X, y, sample_weight=weights)
    for design in (X, np.asfortranarray(X), sparse.csc_array(X), sparse.csr_array(X)):
        result = coordinate_descent(
            design, y, L1(0.1), fit_intercept=True, sample_weight=weights, tol=1e-12
        )
        np.testing.assert_allclose(result.x, reference.coef_, atol=1e-6)
        assert result.intercept == pytest.approx(reference.intercept_, abs=1e-6)


def test_integer_sample_weights_repeat_rows():
    X, y = make_problem()
    repeats = np.arange(len(y)) % 3
    weighted = coordinate_descent(
        X, y, L1(0.1), fit_intercept=True, sample_weight=repeats.astype(float), tol=1e-12
    )
    repeated = coordinate_descent(
        np.repeat(X, repeats, axis=0), np.repeat(y, repeats), L1(0.1), fit_intercept=True, tol=1e-12
    )
    np.testing.assert_allclose(weighted.x, repeated.x, atol=1e-8)
    assert weighted.fun == pytest.approx(repeated.fun)
    assert weighted.intercept == pytest.approx(repeated.intercept)


@pytest.mark.parametrize("make", [np.asarray, sparse.csc_array])
def test_zero_weight_equals_projecting_the_columns_out(make):
    X, y = make_problem()
    free = [7, 8, 30]
    weights = np.ones(X.shape[1])
    weights[free] = 0
    result = coordinate_descent(make(X), y, L1(0.3, weights=weights), fit_intercept=True, tol=1e-12)
    basis = np.linalg.qr(np.column_stack([np.ones(len(y)), X[:, free]]))[0]
    rest = np.delete(np.arange(X.shape[1]), free)
    projected = X[:, rest] - basis @ (basis.T @ X[:, rest])
    expected = coordinate_descent(projected, y - basis @ (basis.T @ y), L1(0.3), tol=1e-12)
    np.testing.assert_allclose(result.x[rest], expected.x, atol=1e-7)
    residual = y - X @ result.x - result.intercept
    np.testing.assert_allclose(basis.T @ residual, 0, atol=1e-6)
    assert result.fun == pytest.approx(expected.fun, rel=1e-9)


def test_zero_weights_under_positivity_satisfy_the_kkt_conditions():
    X, y = make_problem()
    weights = np.ones(X.shape[1])
    weights[[0, 1, 40, 41]] = 0
    penalty = L1(0.3, weights=weights, positive=True)
    result = coordinate_descent(X, y, penalty, tol=1e-10)
    assert result.success
    assert np.all(result.x >= 0)
    gradient = -X.T @ (y - X @ result.x) / len(y)
    assert np.max(penalty.subdifferential_distance(result.x, gradient)) <= 1e-4


def test_infinite_weight_equals_dropping_the_column():
    X, y = make_problem()
    weights = np.ones(X.shape[1])
    weights[[0, 3]] = np.inf
    result = coordinate_descent(X, y, L1(0.2, weights=weights), tol=1e-12)
    expected = coordinate_descent(np.delete(X, [0, 3], axis=1), y, L1(0.2), tol=1e-12)
    assert not result.x[[0, 3]].any()
    np.testing.assert_allclose(np.delete(result.x, [0, 3]), expected.x, atol=1e-8)


def test_infinite_weight_overrides_a_warm_start():
    X, y = make_problem()
    weights = np.ones(X.shape[1])
    weights[0] = np.inf
    start = np.ones(X.shape[1])
    result = coordinate_descent(X, y, L1(0.2, weights=weights), coef_init=start, tol=1e-10)
    assert result.x[0] == 0
    assert result.success


def test_weights_are_a_rescaling_of_columns():
    X, y = make_problem()
    weights = np.random.default_rng(1).uniform(0.2, 3, X.shape[1])
    weighted = coordinate_descent(X, y, L1(0.1, weights=weights), tol=1e-13)
    rescaled = coordinate_descent(X / weights, y, L1(0.1), tol=1e-13)
    np.testing.assert_allclose(weighted.x, rescaled.x / weights, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "positive"), [(np.float64, False), (np.float64, True), (np.complex128, False)]
)
def test_alpha_max_separates_zero_from_non_zero(dtype, positive):
    X, y = make_problem(dtype=dtype)
    weights = np.random.default_rng(1).uniform(0.5, 2, X.shape[1])
    problem = engine.PenalizedLeastSquares(make_design(X), y)
    largest = problem.alpha_max(L1(1.0, weights=weights, positive=positive))
    for factor, is_zero in ((1.0001, True), (0.999, False)):
        penalty = L1(factor * largest, weights=weights, positive=positive)
        assert coordinate_descent(X, y, penalty, tol=1e-12).x.any() != is_zero


def test_unpenalised_problem_is_least_squares():
    X, y = make_problem(n_features=10)
    result = coordinate_descent(X, y, L1(0.0), tol=1e-12)
    np.testing.assert_allclose(result.x, np.linalg.lstsq(X, y)[0], atol=1e-6)
    assert result.success


def test_dependent_unpenalised_columns_reach_the_optimal_objective():
    X, y = make_problem(n_features=10)
    X = np.column_stack([X, X[:, 0]])
    weights = np.ones(11)
    weights[[0, 10]] = 0
    result = coordinate_descent(X, y, L1(0.1, weights=weights), tol=1e-10)
    single = coordinate_descent(X[:, :10], y, L1(0.1, weights=weights[:10]), tol=1e-10)
    assert result.success
    assert result.fun == pytest.approx(single.fun, rel=1e-8)


def test_duplicate_and_zero_columns():
    X, y = make_problem(n_features=20)
    X = np.column_stack([X, X, np.zeros(len(y)), np.full(len(y), 3.0)])
    result = coordinate_descent(X, y, L1(0.05), fit_intercept=True, tol=1e-10)
    single = coordinate_descent(X[:, :20], y, L1(0.05), fit_intercept=True, tol=1e-10)
    assert result.success
    assert result.fun == pytest.approx(single.fun, rel=1e-9)
    assert not result.x[-2:].any()  # a constant column is centred to zero


def test_constant_target_gives_zero():
    X, _ = make_problem()
    result = coordinate_descent(X, np.full(len(X), 3.0), L1(0.1), fit_intercept=True)
    assert not result.x.any()
    assert result.intercept == pytest.approx(3.0)
    assert result.success


def test_scale_equivariance_over_many_orders_of_magnitude():
    X, y = make_problem()
    base = coordinate_descent(X, y, L1(0.1), tol=1e-10)
    for scale in (1e-8, 1e8):
        scaled = coordinate_descent(X, scale * y, L1(0.1 * scale), tol=1e-10)
        np.testing.assert_allclose(scaled.x, scale * base.x, rtol=1e-6, atol=1e-8 * scale)


@pytest.mark.parametrize("fraction", [1e-2, 1e-4, 1e-6])
def test_weak_penalties_whose_support_is_as_large_as_it_can_be(fraction):
    X, y = make_problem(n_samples=30, n_features=300)
    alpha = fraction * np.max(np.abs(X.T @ y)) / len(y)
    result = coordinate_descent(X, y, L1(alpha), tol=1e-9)
    assert result.success
    assert lasso_gap(X, y, result.x, alpha, np.ones(300)) <= 1e-8 * (y @ y) / (2 * len(y))


def test_anderson_extrapolation_alone_converges(monkeypatch):
    X, y = make_problem()
    monkeypatch.setattr(
        working_set.WorkingSetProblem, "_newton_pays", lambda self, replaced_epochs=0: False
    )
    result = coordinate_descent(X, y, L1(0.01), tol=1e-9, max_iter=200)
    assert result.success
    assert lasso_gap(X, y, result.x, 0.01, np.ones(X.shape[1])) <= 2e-9 * (y @ y) / (2 * len(y))


def test_anderson_extrapolation_solves_a_linear_recursion():
    # Iterates of an affine map in two dimensions: three differences suffice.
    matrix, fixed = np.array([[0.9, 0.1], [0.0, 0.8]]), np.array([1.0, -2.0])
    iterates = [np.zeros(2)]
    for _ in range(3):
        iterates.append(fixed + matrix @ (iterates[-1] - fixed))
    extrapolated = working_set.anderson_extrapolation(np.array(iterates))
    np.testing.assert_allclose(extrapolated, fixed, atol=1e-4)


def test_screening_discards_only_zeros():
    X, y = make_problem(n_features=400)
    problem = engine.PenalizedLeastSquares(make_design(X), y)
    result = engine.solve_penalized(problem, L1(0.5), max_iter=100, tol=1e-8)
    discarded = np.setdiff1d(np.arange(400), problem.candidates)
    assert discarded.size > 300
    accurate = coordinate_descent(X, y, L1(0.5), tol=1e-14).x
    assert not accurate[discarded].any()
    np.testing.assert_allclose(result.x, accurate, atol=1e-5)


def test_correlations_are_right_after_screening_when_the_penalty_changes():
    X, y = make_problem(n_features=400)
    problem = engine.PenalizedLeastSquares(make_design(X), y)
    for alpha in (1.0, 0.5, 0.1, 0.02):
        result = engine.solve_penalized(problem, L1(alpha), max_iter=100, tol=1e-10)
        fresh = coordinate_descent(X, y, L1(alpha), tol=1e-10)
        np.testing.assert_allclose(result.x, fresh.x, atol=1e-6)
        assert result.success


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_single_precision_is_kept_and_converges(dtype):
    X, y = make_problem(dtype=dtype)
    result = coordinate_descent(X, y, L1(0.1), tol=1e-4)
    assert result.x.dtype == dtype
    assert result.success
    wide = np.complex128 if dtype == np.complex64 else np.float64
    accurate = coordinate_descent(X.astype(wide), y.astype(wide), L1(0.1), tol=1e-10)
    np.testing.assert_allclose(result.x, accurate.x, atol=2e-2)


def test_a_tolerance_below_precision_stalls_with_a_warning():
    X, y = make_problem(dtype=np.float32)
    with pytest.warns(ConvergenceWarning, match="precision"):
        result = coordinate_descent(X, y, L1(0.1), tol=1e-14)
    assert not result.success
    assert result.certificate < 1e-5


def test_complex_data_with_zero_imaginary_part_equals_real():
    X, y = make_problem()
    real = coordinate_descent(X, y, L1(0.1), tol=1e-12)
    as_complex = coordinate_descent(X.astype(complex), y.astype(complex), L1(0.1), tol=1e-12)
    np.testing.assert_allclose(as_complex.x, real.x, atol=1e-6)
    rotated = coordinate_descent(X.astype(complex), y * np.exp(0.7j), L1(0.1), tol=1e-12)
    np.testing.assert_allclose(rotated.x, np.exp(0.7j) * real.x, atol=1e-6)


def test_complex_sparse_with_intercept_equals_dense():
    X, y = make_problem(dtype=np.complex128)
    X[np.abs(X) < 1.0] = 0
    dense = coordinate_descent(X, y, L1(0.1), fit_intercept=True, tol=1e-11)
    from_sparse = coordinate_descent(sparse.csc_array(X), y, L1(0.1), fit_intercept=True, tol=1e-11)
    np.testing.assert_allclose(from_sparse.x, dense.x, atol=1e-6)


def test_warm_start_at_the_solution_takes_no_iteration():
    X, y = make_problem()
    first = coordinate_descent(X, y, L1(0.1), tol=1e-8)
    again = coordinate_descent(X, y, L1(0.1), tol=1e-8, coef_init=first.x)
    assert again.nit == 0
    np.testing.assert_array_equal(again.x, first.x)


def test_warm_start_that_violates_positivity_is_not_trusted():
    X, y = make_problem()
    free = coordinate_descent(X, y, L1(0.1), tol=1e-10)
    assert free.x.min() < 0
    warm = coordinate_descent(X, y, L1(0.1, positive=True), coef_init=free.x, tol=1e-10)
    cold = coordinate_descent(X, y, L1(0.1, positive=True), tol=1e-10)
    assert warm.x.min() >= 0
    np.testing.assert_allclose(warm.x, cold.x, atol=1e-6)


@pytest.mark.parametrize("alpha", [1e-310, 1e-100, 1e-20])
def test_vanishing_strengths_end_within_the_iteration_limit(alpha):
    X, y = make_problem(n_features=300)
    calls = []
    result = coordinate_descent(X, y, L1(alpha), max_iter=60, callback=calls.append)
    assert result.success
    assert len(calls) == result.nit
    np.testing.assert_allclose(X @ result.x, y, atol=1e-2)


def test_continuation_can_be_stopped_and_counts():
    X, y = make_problem(n_features=300)
    with pytest.warns(ConvergenceWarning, match="after 2 iterations"):
        result = coordinate_descent(X, y, L1(1e-6), max_iter=2, tol=1e-12)
    assert len(result.history["iteration"]) == 3


def test_coefficients_that_leave_the_support_are_exactly_zero():
    X = np.array([[0.34558419, 0.0, 0.33043708, -1.30315723, 0.34558419]])
    weights = [0.52787089, 0.98529208, 0.64587391, 0.74593268, 1.57561994]
    penalty = L1(0.05384657340153214, weights=weights)
    result = coordinate_descent(sparse.csr_array(X), np.array([0.59884621]), penalty, tol=1e-12)
    assert np.flatnonzero(result.x).tolist() == [3]


def test_one_tiny_weight_is_no_reason_for_continuation():
    X, y = make_problem()
    weights = np.ones(X.shape[1])
    weights[7] = 1e-300
    result = coordinate_descent(X, y, L1(0.3, weights=weights), tol=1e-8, max_iter=8)
    weights[7] = 0
    free = coordinate_descent(X, y, L1(0.3, weights=weights), tol=1e-10)
    np.testing.assert_allclose(result.x, free.x, atol=1e-4)


def test_supports_beyond_the_gram_cache(monkeypatch):
    # Ridge: every feature is active, many more than the cache may hold.
    X, y = make_problem(n_samples=30, n_features=300)
    monkeypatch.setattr(engine.GramCache.__init__, "__defaults__", (50,))
    result = coordinate_descent(X, y, ElasticNet(0.1, l1_ratio=0.0), tol=1e-8, max_iter=300)
    assert result.success
    expected = X.T @ np.linalg.solve(X @ X.T + 0.1 * 30 * np.eye(30), y)
    np.testing.assert_allclose(result.x, expected, atol=1e-3)


def test_complex_data_cannot_be_positive():
    X, y = make_problem(dtype=np.complex128)
    with pytest.raises(ValueError, match="real data"):
        coordinate_descent(X, y, L1(0.1, positive=True))
    with pytest.raises(ValueError, match="real data"):
        L1(0.1, positive=True).prox(y, 1.0)


def test_the_best_dual_value_never_falls():
    X, y = make_problem(n_features=400)
    problem = engine.PenalizedLeastSquares(make_design(X), y)
    problem.set_penalty(0, len(y) * L1(0.01).kernel_table(400))
    values = [problem.dual_value]
    for _ in range(8):
        problem.step()
        values.append(problem.dual_value)
    assert np.all(np.diff(values) >= 0)
    problem.set_start(np.zeros(400))  # a worse point does not replace the better one
    problem._certify()
    assert problem.dual_value == values[-1]


def test_screening_follows_the_gap_safe_sphere():
    X, y = make_problem(n_features=400)
    problem = engine.PenalizedLeastSquares(make_design(X), y)
    l1 = 0.8 * np.max(np.abs(X.T @ y))
    problem.set_penalty(0, l1 * L1(1.0).kernel_table(400))
    theta = y * min(1.0, l1 / np.max(np.abs(X.T @ y)))
    gap = (y @ y) / 2 - ((y @ y) - np.sum((y - theta) ** 2)) / 2
    assert problem.gap == pytest.approx(gap)
    reach = np.abs(X.T @ theta) + np.linalg.norm(X, axis=0) * np.sqrt(2 * gap)
    np.testing.assert_array_equal(problem.candidates, np.flatnonzero(reach >= l1))
    assert 0 < problem.candidates.size < 400


def test_callback_ends_the_run_with_the_best_iterate():
    X, y = make_problem(n_features=500)

    def stop(intermediate_result):
        raise StopIteration

    result = coordinate_descent(X, y, L1(0.001), tol=1e-12, callback=stop)
    assert result.nit == 1
    assert not result.success
    assert result.certificate < result.history["certificate"][0]


def test_data_are_not_modified():
    X, y = make_problem()
    X = np.asfortranarray(X)
    copies = X.copy(), y.copy()
    coordinate_descent(X, y, L1(0.1), fit_intercept=True, sample_weight=np.ones(len(y)))
    coordinate_descent(X, y, L1(0.1))
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(y, copies[1])


def test_sparse_data_with_duplicate_entries_are_summed_and_not_modified():
    rows, columns = [0, 1, 1, 2], [0, 1, 1, 0]
    X = sparse.csc_array((np.array([1.0, 2.0, 3.0, 4.0]), np.array(rows), np.array([0, 2, 4])))
    X = sparse.coo_array((np.array([1.0, 2.0, 3.0, 4.0]), (rows, columns)), shape=(3, 2)).tocsc()
    y = np.array([1.0, 2.0, 3.0])
    result = coordinate_descent(X, y, L1(0.01), tol=1e-12)
    dense = coordinate_descent(X.toarray(), y, L1(0.01), tol=1e-12)
    np.testing.assert_allclose(result.x, dense.x, atol=1e-10)


@pytest.mark.parametrize("loss", [SquaredLoss(), LogisticLoss(), HuberLoss(), PoissonLoss()])
def test_integer_targets_keep_single_precision(loss):
    X, y = make_problem(dtype=np.float32)
    y = (y > np.median(y)).astype(int)
    if isinstance(loss, LogisticLoss):
        y = 2 * y - 1
    result = coordinate_descent(X, y, L1(0.05), loss=loss, tol=1e-4)
    assert result.x.dtype == np.float32
    expected = coordinate_descent(X, y.astype(np.float32), L1(0.05), loss=loss, tol=1e-4)
    np.testing.assert_array_equal(result.x, expected.x)


def test_unknown_loss_and_penalty_are_refused_by_name():
    X, y = make_problem()

    class Huber:
        pass

    with pytest.raises(ValueError, match="Huber"):
        coordinate_descent(X, y, L1(0.1), loss=Huber())
    with pytest.raises(ValueError, match="Huber"):
        coordinate_descent(X, y, Huber(), loss=SquaredLoss())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tol": -1.0}, ValueError, "tol"),
        ({"tol": "small"}, TypeError, "tol"),
        ({"sample_weight": [1.0]}, ValueError, "sample_weight"),
        ({"coef_init": np.zeros(3)}, ValueError, "coef_init"),
        ({"coef_init": np.full(100, np.nan)}, ValueError, "coef_init"),
        ({"coef_init": np.full(100, 1j)}, ValueError, "coef_init must fit the dtype float64"),
        ({"coef_init": ["a"] * 100}, ValueError, "coef_init must fit the dtype float64"),
        ({"max_iter": 0}, ValueError, "max_iter"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    X, y = make_problem()
    with pytest.raises(error, match=message):
        coordinate_descent(X, y, L1(0.1), **options)


@settings(max_examples=40, deadline=None)
@given(
    n_samples=st.integers(1, 30),
    n_features=st.integers(1, 40),
    fraction=st.floats(1e-3, 1.1),
    l1_ratio=st.sampled_from([0.1, 0.5, 1.0]),
    positive=st.booleans(),
    fit_intercept=st.booleans(),
    as_sparse=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_kkt_conditions_hold_for_any_shape(
    n_samples, n_features, fraction, l1_ratio, positive, fit_intercept, as_sparse, seed
):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * (rng.random((n_samples, n_features)) < 0.6)
    X[:, rng.random(n_features) < 0.1] = 0
    X[:, -1] = X[:, 0]
    y = rng.standard_normal(n_samples)
    weights = rng.uniform(0.3, 2, n_features)
    weights[rng.random(n_features) < 0.1] = np.inf
    alpha = fraction * (np.max(np.abs(X.T @ y)) / n_samples + 1e-3)
    penalty = ElasticNet(alpha, l1_ratio, weights, positive)
    result = coordinate_descent(
        sparse.csr_array(X) if as_sparse else X, y, penalty, fit_intercept=fit_intercept, tol=1e-12
    )
    residual = y - X @ result.x - result.intercept
    distance = penalty.subdifferential_distance(result.x, -X.T @ residual / n_samples)
    assert np.max(distance) <= 1e-4 * (1 + alpha)
    assert result.fun == pytest.approx(
        residual @ residual / (2 * n_samples) + penalty.value(result.x), abs=1e-10
    )
