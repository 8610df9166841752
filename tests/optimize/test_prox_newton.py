"""Prox-Newton for smooth losses: optimality recomputed here, limits, peers, invariances."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import HuberRegressor, LogisticRegression, PoissonRegressor

from sparseopt.optimize import (
    L1,
    ElasticNet,
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    NonNegative,
    PoissonLoss,
    coordinate_descent,
)
from sparseopt.optimize._prox_newton import PenalizedLoss

LOSSES = [LogisticLoss(), HuberLoss(0.8), PoissonLoss()]
NAMES = [type(loss).__name__ for loss in LOSSES]


def make_target(loss, z, rng):
    if isinstance(loss, LogisticLoss):
        return np.where(z + rng.logistic(size=z.size) > 0, 1.0, -1.0)
    if isinstance(loss, PoissonLoss):
        return rng.poisson(np.exp(np.clip(z / 2, -4, 4))).astype(float)
    return z + rng.standard_t(1.5, z.size)


def make_problem(loss, n_samples=80, n_features=120, *, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    z = X[:, :5] @ [1.5, -1, 1, -0.8, 1] + 0.5
    return X, make_target(loss, z, rng)


def strength(loss, X, y, fraction, *, sample_weight=None, fit_intercept=True):
    """Return the fraction of the smallest alpha of the l1 norm with a zero solution."""
    constant = loss.best_constant(y, sample_weight) if fit_intercept else 0.0
    derivatives = loss.gradient(y, np.full(len(y), constant), sample_weight)
    return fraction * np.max(np.abs(X.T @ derivatives))


def violation(X, y, loss, penalty, result, *, sample_weight=None, fit_intercept=True):
    """Return the distance to the optimality conditions from the formulas alone."""
    z = X @ result.x + result.intercept
    derivatives = loss.gradient(y, z, sample_weight)
    distance = np.max(penalty.subdifferential_distance(result.x, X.T @ derivatives))
    return max(distance, abs(derivatives.sum()) if fit_intercept else abs(result.intercept))


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
@pytest.mark.parametrize("fraction", [0.7, 0.2, 0.05])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_optimality_recomputed_from_scratch(loss, fraction, fit_intercept, as_sparse):
    X, y = make_problem(loss)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y))
    alpha = strength(loss, X, y, fraction, sample_weight=weights, fit_intercept=fit_intercept)
    penalty = ElasticNet(alpha, l1_ratio=0.9)
    result = coordinate_descent(
        sparse.csr_array(X) if as_sparse else X, y, penalty, loss=loss, sample_weight=weights,
        fit_intercept=fit_intercept, tol=1e-9,
    )  # fmt: skip
    assert result.success
    unit = strength(loss, X, y, 1.0, sample_weight=weights, fit_intercept=fit_intercept)
    found = violation(
        X, y, loss, penalty, result, sample_weight=weights, fit_intercept=fit_intercept
    )
    assert found <= 1.01e-9 * unit
    assert result.kkt == pytest.approx(result.certificate * unit)
    value = loss.value(y, X @ result.x + result.intercept, weights) + penalty.value(result.x)
    assert result.fun == pytest.approx(value, rel=1e-12)
    assert np.all(np.diff(result.history["objective"]) <= 1e-12 * abs(value))


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(
    "kind", [{"l1_ratio": 1.0}, {"l1_ratio": 0.5}, {"l1_ratio": 0.0}, {"positive": True}]
)
def test_duality_gap_bounds_the_error_of_the_objective(loss, fit_intercept, kind):
    X, y = make_problem(loss)
    weights = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    penalty = ElasticNet(strength(loss, X, y, 0.1, sample_weight=weights), **kind)
    options = {"loss": loss, "sample_weight": weights, "fit_intercept": fit_intercept}
    best = coordinate_descent(X, y, penalty, tol=1e-11, **options)
    assert 0 <= best.dual_gap <= 1e-10 * (1 + abs(best.fun))
    for tol in (0.5, 0.1, 1e-3):
        rough = coordinate_descent(X, y, penalty, tol=tol, **options)
        assert rough.fun - best.fun <= rough.dual_gap + 1e-12 * (1 + abs(best.fun))
        assert rough.dual_gap < np.inf


def test_duality_gap_is_infinite_with_unpenalised_features():
    X, y = make_problem(LogisticLoss())
    weights = np.r_[0.0, np.ones(X.shape[1] - 1)]
    penalty = L1(strength(LogisticLoss(), X, y, 0.3), weights=weights)
    assert coordinate_descent(X, y, penalty, loss=LogisticLoss()).dual_gap == np.inf


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_the_smallest_strength_with_a_zero_solution(loss):
    X, y = make_problem(loss)
    at = coordinate_descent(
        X, y, L1(strength(loss, X, y, 1 + 1e-12)), loss=loss, fit_intercept=True
    )
    assert not at.x.any()
    assert at.intercept == pytest.approx(loss.best_constant(y))
    below = coordinate_descent(X, y, L1(strength(loss, X, y, 0.99)), loss=loss, fit_intercept=True)
    assert below.x.any()


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_largest_strength_with_unpenalised_features(loss):
    X, y = make_problem(loss)
    weights = np.r_[0.0, 0.0, np.linspace(0.5, 2, X.shape[1] - 2)]
    problem = PenalizedLoss(X, y, loss, fit_intercept=True)
    largest = problem.alpha_max(ElasticNet(1.0, 0.5, weights))
    options = {"loss": loss, "fit_intercept": True, "tol": 1e-9}
    at = coordinate_descent(X, y, ElasticNet(largest * (1 + 1e-6), 0.5, weights), **options)
    assert list(np.flatnonzero(at.x)) == [0, 1]
    below = coordinate_descent(X, y, ElasticNet(0.999 * largest, 0.5, weights), **options)
    assert np.count_nonzero(below.x) > 2


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_l1_logistic_regression_agrees_with_liblinear_or_saga(fit_intercept, weighted):
    loss = LogisticLoss()
    X, y = make_problem(loss, 100, 30)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else np.ones(len(y))
    alpha = strength(loss, X, y, 0.1, sample_weight=weights, fit_intercept=fit_intercept)
    result = coordinate_descent(
        X, y, L1(alpha), loss=loss, sample_weight=weights, fit_intercept=fit_intercept, tol=1e-10
    )
    peer = LogisticRegression(
        l1_ratio=1.0, C=1 / (alpha * weights.sum()), solver="saga", tol=1e-12, max_iter=100_000,
        fit_intercept=fit_intercept,
    ).fit(X, y, sample_weight=weights)  # fmt: skip
    np.testing.assert_allclose(result.x, peer.coef_[0], atol=1e-6)
    np.testing.assert_allclose(result.intercept, peer.intercept_, atol=1e-6)


def test_ridge_poisson_regression_agrees_with_scikit_learn():
    X, y = make_problem(PoissonLoss(), 100, 10)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y))
    result = coordinate_descent(
        X, y, ElasticNet(0.3, l1_ratio=0.0), loss=PoissonLoss(), sample_weight=weights,
        fit_intercept=True, tol=1e-11,
    )  # fmt: skip
    peer = PoissonRegressor(alpha=0.3, solver="newton-cholesky", tol=1e-10)
    peer.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(result.x, peer.coef_, atol=1e-7)
    assert result.intercept == pytest.approx(peer.intercept_, abs=1e-7)


def test_huber_regression_agrees_with_scikit_learn():
    # HuberRegressor fits a scale too; at its optimum the coefficients solve our problem.
    X, y = make_problem(HuberLoss(), 100, 10)
    peer = HuberRegressor(epsilon=1.5, alpha=0.0, max_iter=10_000, tol=1e-10).fit(X, y)
    loss = HuberLoss(1.5 * peer.scale_)
    result = coordinate_descent(X, y, L1(0.0), loss=loss, fit_intercept=True, tol=1e-10)
    np.testing.assert_allclose(result.x, peer.coef_, atol=1e-4)


def test_wide_huber_loss_is_least_squares():
    X, y = make_problem(HuberLoss())
    squares = coordinate_descent(X, y, L1(0.2), fit_intercept=True, tol=1e-12)
    huber = coordinate_descent(X, y, L1(0.2), loss=HuberLoss(1e6), fit_intercept=True, tol=1e-10)
    np.testing.assert_allclose(huber.x, squares.x, atol=1e-7)
    assert huber.fun == pytest.approx(squares.fun, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_integer_sample_weights_equal_repeated_rows(loss):
    X, y = make_problem(loss)
    repeats = np.random.default_rng(1).integers(0, 4, len(y))
    penalty = L1(strength(loss, X, y, 0.1))
    options = {"loss": loss, "fit_intercept": True, "tol": 1e-10}
    weighted = coordinate_descent(X, y, penalty, sample_weight=repeats, **options)
    repeated = coordinate_descent(
        np.repeat(X, repeats, axis=0), np.repeat(y, repeats), penalty, **options
    )
    np.testing.assert_allclose(weighted.x, repeated.x, atol=1e-8)
    assert weighted.intercept == pytest.approx(repeated.intercept, abs=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_penalty_weights_exclude_and_free_features(loss):
    X, y = make_problem(loss)
    weights = np.ones(X.shape[1])
    weights[:2], weights[2:4] = 0.0, np.inf
    penalty = L1(strength(loss, X, y, 0.3), weights=weights)
    result = coordinate_descent(X, y, penalty, loss=loss, fit_intercept=True, tol=1e-9)
    assert not result.x[2:4].any()
    assert np.all(result.x[:2] != 0)
    assert violation(X, y, loss, penalty, result) <= 1.01e-9 * strength(loss, X, y, 1.0)


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_nonnegative_coefficients(loss):
    X, y = make_problem(loss)
    penalty = NonNegative(strength(loss, X, y, 0.1))
    result = coordinate_descent(X, y, penalty, loss=loss, fit_intercept=True, tol=1e-9)
    assert np.all(result.x >= 0)
    assert result.x.any()
    assert violation(X, y, loss, penalty, result) <= 1.01e-9 * strength(loss, X, y, 1.0)


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_warm_start_at_the_solution_takes_no_step(loss):
    X, y = make_problem(loss)
    options = {"penalty": L1(strength(loss, X, y, 0.1)), "loss": loss, "tol": 1e-8}
    result = coordinate_descent(X, y, **options)
    again = coordinate_descent(X, y, coef_init=result.x, **options)
    assert again.nit == 0
    np.testing.assert_array_equal(again.x, result.x)


def test_warm_start_that_violates_the_constraints_is_repaired():
    X, y = make_problem(LogisticLoss())
    penalty = NonNegative(strength(LogisticLoss(), X, y, 0.1))
    cold = coordinate_descent(X, y, penalty, loss=LogisticLoss(), tol=1e-10)
    warm = coordinate_descent(
        X, y, penalty, loss=LogisticLoss(), tol=1e-10, coef_init=np.full(X.shape[1], -1.0)
    )
    np.testing.assert_allclose(warm.x, cold.x, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_single_precision(loss):
    X, y = make_problem(loss)
    penalty = L1(strength(loss, X, y, 0.2))
    options = {"loss": loss, "fit_intercept": True}
    double = coordinate_descent(X, y, penalty, tol=1e-10, **options)
    for X32 in (X.astype(np.float32), sparse.csc_array(X.astype(np.float32))):
        single = coordinate_descent(X32, y.astype(np.float32), penalty, tol=1e-4, **options)
        assert single.success
        assert single.x.dtype == np.float32
        assert single.dual_gap <= 1e-3 * (1 + abs(double.fun))
        np.testing.assert_allclose(single.x, double.x, atol=1e-3)


def test_finish_is_quadratic():
    # Once the signs have settled, the violation falls from 1e-3 to rounding in few steps.
    X, y = make_problem(LogisticLoss(), 200, 60)
    penalty = L1(strength(LogisticLoss(), X, y, 0.05))
    result = coordinate_descent(X, y, penalty, loss=LogisticLoss(), tol=1e-13)
    certificates = result.history["certificate"]
    assert np.count_nonzero(certificates < 1e-3) <= 4


def test_callback_sees_the_iterates_and_stops():
    X, y = make_problem(LogisticLoss())
    seen = []

    def stop_after_two(intermediate_result):
        seen.append(intermediate_result)
        if len(seen) == 2:
            raise StopIteration

    penalty = L1(strength(LogisticLoss(), X, y, 0.02))
    result = coordinate_descent(
        X, y, penalty, loss=LogisticLoss(), tol=1e-14, fit_intercept=True, callback=stop_after_two
    )
    assert [part.nit for part in seen] == [1, 2]
    assert not result.success
    # The intercept belongs to the coefficients that are returned.
    assert violation(X, y, LogisticLoss(), penalty, result) == pytest.approx(result.kkt, rel=1e-6)


def test_unreached_tolerance_warns():
    X, y = make_problem(LogisticLoss())
    penalty = L1(strength(LogisticLoss(), X, y, 0.02))
    with pytest.warns(ConvergenceWarning, match="violation of the optimality conditions"):
        coordinate_descent(X, y, penalty, loss=LogisticLoss(), max_iter=1, tol=1e-12)


def test_separable_data_without_a_penalty_warns():
    X = np.array([[1.0], [2.0], [-1.0], [-3.0]])
    y = np.array([1.0, 1.0, -1.0, -1.0])
    for fit_intercept in (False, True):
        with pytest.warns(ConvergenceWarning, match="perfectly separable"):
            coordinate_descent(X, y, L1(0.0), loss=LogisticLoss(), fit_intercept=fit_intercept)
    result = coordinate_descent(X, y, L1(1e-3), loss=LogisticLoss())
    assert result.success


def test_counts_far_from_the_start_converge():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 5))
    y = rng.poisson(np.exp(8 + X @ [1.0, -1.0, 0.5, 0.0, 0.0])).astype(float)
    padded = np.column_stack([X, np.ones(50)])
    result = coordinate_descent(padded, y, L1(1e-6), loss=PoissonLoss(), tol=1e-9)
    assert result.success
    np.testing.assert_allclose(result.x, [1, -1, 0.5, 0, 0, 8], atol=0.05)


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e12])
def test_scaling_the_design_scales_the_coefficients(scale):
    X, y = make_problem(LogisticLoss())
    alpha = strength(LogisticLoss(), X, y, 0.1)
    options = {"loss": LogisticLoss(), "tol": 1e-10, "fit_intercept": True}
    base = coordinate_descent(X, y, L1(alpha), **options)
    scaled = coordinate_descent(scale * X, y, L1(scale * alpha), **options)
    assert scaled.success
    assert scaled.intercept == pytest.approx(base.intercept, abs=1e-7)
    np.testing.assert_allclose(scale * scaled.x, base.x, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("penalty", [L1(0.0), ElasticNet(0.1, 0.0)])
def test_constant_features_beside_an_intercept_have_no_effect(penalty, dtype):
    y = np.where(np.arange(51) % 3 == 0, 1.0, -1.0).astype(dtype)
    X = np.full((51, 2), 1.1, dtype)
    result = coordinate_descent(X, y, penalty, loss=LogisticLoss(), fit_intercept=True, tol=1e-4)
    assert result.success
    np.testing.assert_allclose(X @ result.x + result.intercept, np.log(17 / 34), rtol=1e-4)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (LogisticLoss(), [0.0, 1.0, 1.0], "labels -1 and \\+1"),
        (LogisticLoss(), [1.0, 1.0, 1.0], "both labels"),
        (PoissonLoss(), [-1.0, 1.0, 1.0], "y must be >= 0"),
        (PoissonLoss(), [0.0, 0.0, 0.0], "count above 0"),
        (HuberLoss(), [1j, 1.0, 1.0], "real data"),
        (MultinomialLoss, [0, 1, 2], "loss must be one of SquaredLoss, .*, got <class"),
    ],
)
def test_bad_targets_are_refused(loss, y, message):
    with pytest.raises(ValueError, match=message):
        coordinate_descent(np.eye(3), np.array(y), L1(0.1), loss=loss, fit_intercept=True)


def test_one_label_is_fine_without_an_intercept():
    result = coordinate_descent(np.eye(3), np.ones(3), L1(0.05), loss=LogisticLoss(), tol=1e-10)
    assert np.all(result.x > 0)


@settings(max_examples=40, deadline=None)
@given(
    loss=st.sampled_from(LOSSES),
    n_samples=st.integers(2, 30),
    n_features=st.integers(1, 40),
    fraction=st.floats(0.02, 1.1),
    l1_ratio=st.sampled_from([0.3, 1.0]),
    positive=st.booleans(),
    fit_intercept=st.booleans(),
    as_sparse=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_optimality_holds_for_any_shape(
    loss, n_samples, n_features, fraction, l1_ratio, positive, fit_intercept, as_sparse, seed
):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * (rng.random((n_samples, n_features)) < 0.6)
    X[:, rng.random(n_features) < 0.1] = 0
    X[:, -1] = X[:, 0]
    y = make_target(loss, rng.standard_normal(n_samples), rng)
    y[0], y[1] = (1, -1) if isinstance(loss, LogisticLoss) else (1, 3)
    weights = rng.uniform(0.3, 2, n_features)
    weights[rng.random(n_features) < 0.1] = np.inf
    alpha = strength(loss, X, y, fraction, fit_intercept=fit_intercept) + 1e-3
    penalty = ElasticNet(alpha, l1_ratio, weights, positive)
    data = sparse.csr_array(X) if as_sparse else X
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = coordinate_descent(
            data, y, penalty, loss=loss, fit_intercept=fit_intercept, tol=1e-7
        )
    found = violation(X, y, loss, penalty, result, fit_intercept=fit_intercept)
    unit = strength(loss, X, y, 1.0, fit_intercept=fit_intercept) or 1.0
    assert found <= 1.01e-7 * unit + 1e-14
