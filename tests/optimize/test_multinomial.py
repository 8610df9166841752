"""The multinomial loss by coordinate descent: optimality, limits, invariances, peers."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from sparseopt.optimize import (
    L1,
    ElasticNet,
    LogisticLoss,
    MultinomialLoss,
    NonNegative,
    block_coordinate_descent,
    coordinate_descent,
)
from sparseopt.optimize._class_shifts import best_shifts
from sparseopt.optimize._kernels import multinomial as kernels
from sparseopt.optimize._multinomial import PenalizedMultinomial
from sparseopt.optimize._pairs import Pairs, solve_directly
from sparseopt.optimize._truncated_newton import AllColumns, Spectrum, newton_direction

LOSS = MultinomialLoss()
GOLDEN = Path(__file__).parents[1] / "data" / "bcd"


def make_problem(n_samples=90, n_features=30, n_classes=4, *, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) + 0.5
    X[np.abs(X) < 0.4] = 0
    coef = np.zeros((n_features, n_classes))
    coef[:6] = 1.5 * rng.standard_normal((6, n_classes))
    y = np.argmax(X @ coef + rng.gumbel(size=(n_samples, n_classes)), axis=1)
    return X, y, rng.uniform(0.5, 2, n_samples)


def strength(X, y, fraction, sample_weight=None, *, fit_intercept=True):
    """Return the fraction of the smallest alpha of the l1 norm with a zero solution."""
    n_classes = y.max() + 1
    constant = LOSS.best_constant(y, sample_weight) if fit_intercept else np.zeros(n_classes)
    derivatives = LOSS.gradient(y, np.tile(constant, (len(y), 1)), sample_weight)
    return fraction * np.max(np.abs(X.T @ derivatives))


def violation(X, y, penalty, result, sample_weight=None, *, fit_intercept=True):
    """Return the distance to the optimality conditions from the formulas alone."""
    coef = result.x.reshape(X.shape[1], -1)
    derivatives = LOSS.gradient(y, X @ coef + result.intercept, sample_weight)
    gradient = X.T @ derivatives
    distance = max(
        np.max(penalty.subdifferential_distance(coef[:, c], gradient[:, c]))
        for c in range(coef.shape[1])
    )
    if not fit_intercept:
        return distance
    constant = LOSS.best_constant(y, sample_weight)
    slopes = LOSS.gradient(y, np.tile(constant, (len(y), 1)), sample_weight)
    scale = np.max(np.abs(X.T @ slopes)) / np.sum(np.abs(slopes))
    return max(distance, scale * np.max(np.abs(derivatives.sum(axis=0))))


@pytest.mark.parametrize("fraction", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.6, 0.0])
def test_optimality_recomputed_from_scratch(fraction, fit_intercept, as_sparse, l1_ratio):
    X, y, weights = make_problem()
    penalty_weights = np.random.default_rng(1).uniform(0.5, 2, X.shape[1])
    penalty_weights[5] = np.inf
    alpha = strength(X, y, fraction, weights, fit_intercept=fit_intercept)
    penalty = ElasticNet(alpha, l1_ratio, penalty_weights)
    result = coordinate_descent(
        sparse.csr_array(X) if as_sparse else X, y, penalty, loss=LOSS, sample_weight=weights,
        fit_intercept=fit_intercept, tol=1e-9,
    )  # fmt: skip
    assert result.success
    assert not result.x.reshape(30, 4)[5].any()
    unit = strength(X, y, 1.0, weights, fit_intercept=fit_intercept)
    found = violation(X, y, penalty, result, weights, fit_intercept=fit_intercept)
    assert found <= 1.01e-9 * unit
    assert result.kkt == pytest.approx(found, abs=1e-14)
    coef = result.x.reshape(30, 4)
    value = LOSS.value(y, X @ coef + result.intercept, weights)
    value += sum(penalty.value(coef[:, c]) for c in range(4))
    assert result.fun == pytest.approx(value, rel=1e-12)
    assert np.all(np.diff(result.history["objective"]) <= 1e-12 * abs(value))
    assert result.intercept.shape == (4,)
    assert result.intercept.sum() == pytest.approx(0, abs=1e-12)
    assert fit_intercept or not result.intercept.any()


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
def test_duality_gap_bounds_the_error_of_the_objective(fit_intercept, l1_ratio):
    X, y, _ = make_problem()
    weights = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    penalty = ElasticNet(strength(X, y, 0.1, weights), l1_ratio)
    options = {"loss": LOSS, "sample_weight": weights, "fit_intercept": fit_intercept}
    best = coordinate_descent(X, y, penalty, tol=1e-11, **options)
    assert 0 <= best.dual_gap <= 1e-9 * best.fun
    for tol in (0.5, 0.1, 1e-3):
        rough = coordinate_descent(X, y, penalty, tol=tol, **options)
        assert rough.fun - best.fun <= rough.dual_gap + 1e-12
        assert rough.dual_gap < 2


def test_the_smallest_strength_with_a_zero_solution():
    X, y, weights = make_problem()
    options = {"loss": LOSS, "sample_weight": weights, "fit_intercept": True}
    at = coordinate_descent(X, y, L1(strength(X, y, 1 + 1e-12, weights)), **options)
    assert not at.x.any()
    shares = np.bincount(y, weights) / weights.sum()
    np.testing.assert_allclose(np.exp(at.intercept) / np.exp(at.intercept).sum(), shares)
    assert coordinate_descent(X, y, L1(strength(X, y, 0.99, weights)), **options).x.any()


@pytest.mark.parametrize("l1_ratio", [1.0, 0.0])
def test_two_classes_equal_the_logistic_loss(l1_ratio):
    # With scores of opposite sign, the l1 norm of both is that of their difference, and
    # half the squared norm is a quarter of that of the difference.
    X, y, weights = make_problem(n_classes=2)
    options = {"sample_weight": weights, "fit_intercept": True, "tol": 1e-10}
    alpha = 0.02
    two = coordinate_descent(X, y, ElasticNet(alpha, l1_ratio), loss=LOSS, **options)
    scale = 1.0 if l1_ratio == 1 else 0.5
    penalty = ElasticNet(scale * alpha, l1_ratio)
    one = coordinate_descent(X, 2 * y - 1, penalty, loss=LogisticLoss(), **options)
    difference = np.diff(two.x.reshape(-1, 2), axis=1)[:, 0]
    np.testing.assert_allclose(difference, one.x, atol=1e-7)
    assert np.diff(two.intercept)[0] == pytest.approx(one.intercept, abs=1e-7)
    assert two.fun == pytest.approx(one.fun, rel=1e-9)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
def test_limits_of_scikit_learn(l1_ratio):
    X, y, weights = make_problem(n_features=8)
    alpha = 0.03
    result = coordinate_descent(
        X, y, ElasticNet(alpha, l1_ratio), loss=LOSS, sample_weight=weights, fit_intercept=True,
        tol=1e-10,
    )  # fmt: skip
    peer = LogisticRegression(
        C=1 / (alpha * weights.sum()), l1_ratio=l1_ratio, solver="saga", tol=1e-12,
        max_iter=100_000,
    ).fit(X, y, sample_weight=weights)  # fmt: skip
    found, wanted = result.x.reshape(8, 4), peer.coef_.T
    if l1_ratio == 1:  # a shift of all classes may leave the l1 norm as it is
        assert np.abs(found).sum() == pytest.approx(np.abs(wanted).sum(), rel=1e-7)
        found = found - found.mean(axis=1, keepdims=True)
        wanted = wanted - wanted.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(
        result.intercept, peer.intercept_ - peer.intercept_.mean(), atol=1e-6
    )


@pytest.mark.parametrize("l1_ratio", [1.0, 0.0])
def test_block_coordinate_descent_reaches_the_same_point(l1_ratio):
    X, y, weights = make_problem()
    penalty = ElasticNet(strength(X, y, 0.1, weights), l1_ratio)
    options = {"loss": LOSS, "sample_weight": weights}
    greedy = block_coordinate_descent(X, y, penalty, tol=1e-9, **options)
    ours = coordinate_descent(X, y, penalty, tol=1e-10, **options)
    assert ours.fun == pytest.approx(greedy.fun, rel=1e-10)
    # A shift of all classes changes no probability, and sometimes not the l1 norm either.
    coefs = [result.x.reshape(30, 4) for result in (ours, greedy)]
    centred = [coef - coef.mean(axis=1, keepdims=True) for coef in coefs]
    np.testing.assert_allclose(*centred, atol=1e-6)


def test_golden_data_to_a_better_objective_than_any_trajectory():
    data = np.load(GOLDEN / "data_ABC.npz")
    X, y = data["C_X"], data["C_labels"].astype(int)
    with pytest.warns(ConvergenceWarning, match="perfectly separable"):
        result = coordinate_descent(X, y, L1(0.0), loss=LOSS, max_iter=20, tol=1e-5)
    trajectories = np.load(GOLDEN / "trajectories.npz")
    reached = [trajectories[name][-1] for name in trajectories if name.startswith("C_")
               and name.endswith("_f")]  # fmt: skip
    assert reached
    assert len(y) * result.fun < min(reached)


def test_integer_weights_equal_repeated_rows():
    X, y, _ = make_problem()
    repeats = np.random.default_rng(1).integers(0, 4, len(y))
    penalty = L1(strength(X, y, 0.1))
    options = {"loss": LOSS, "fit_intercept": True, "tol": 1e-11}
    short = coordinate_descent(X, y, penalty, sample_weight=repeats, **options)
    rows = np.repeat(np.arange(len(y)), repeats)
    long = coordinate_descent(X[rows], y[rows], penalty, **options)
    np.testing.assert_allclose(short.x, long.x, atol=1e-8)
    np.testing.assert_allclose(short.intercept, long.intercept, atol=1e-8)


def test_the_order_of_the_classes_does_not_matter():
    X, y, weights = make_problem()
    penalty = ElasticNet(strength(X, y, 0.05), 0.9)
    options = {"loss": LOSS, "sample_weight": weights, "fit_intercept": True, "tol": 1e-11}
    order = np.array([2, 0, 3, 1])
    result = coordinate_descent(X, y, penalty, **options)
    renamed = coordinate_descent(X, order[y], penalty, **options)
    np.testing.assert_allclose(
        renamed.x.reshape(30, 4)[:, order], result.x.reshape(30, 4), atol=1e-8
    )
    np.testing.assert_allclose(renamed.intercept[order], result.intercept, atol=1e-8)


@pytest.mark.parametrize("l1", [True, False])
def test_of_equal_solutions_a_unique_one_is_reported(l1):
    X, y, _ = make_problem()
    penalty = L1(
        strength(X, y, 0.01) if l1 else 0.0, weights=np.r_[np.ones(6), np.full(24, np.inf)]
    )
    result = coordinate_descent(X, y, penalty, loss=LOSS, fit_intercept=True, tol=1e-9)
    coef = result.x.reshape(30, 4)[:6]
    if l1:
        balanced = np.sum(coef > 0, axis=1) == np.sum(coef < 0, axis=1)
        assert balanced.any()
        assert np.all((coef[balanced] == 0).any(axis=1))
    else:
        np.testing.assert_allclose(coef.sum(axis=1), 0, atol=1e-12)


def test_nonnegative_coefficients():
    X, y, _ = make_problem()
    penalty = NonNegative(strength(X, y, 0.1))
    result = coordinate_descent(X, y, penalty, loss=LOSS, fit_intercept=True, tol=1e-9)
    assert result.success
    assert np.all(result.x >= 0)
    assert violation(X, y, penalty, result) <= 1e-9


def test_unpenalised_features_and_warm_start():
    X, y, _ = make_problem()
    penalty = L1(strength(X, y, 0.2), weights=np.r_[0.0, np.ones(29)])
    result = coordinate_descent(X, y, penalty, loss=LOSS, fit_intercept=True, tol=1e-9)
    assert violation(X, y, penalty, result) <= 1e-9
    assert result.dual_gap == np.inf
    again = coordinate_descent(
        X, y, penalty, loss=LOSS, fit_intercept=True, coef_init=result.x, tol=1e-6
    )
    assert again.nit < result.nit
    assert again.fun == pytest.approx(result.fun, rel=1e-9)
    with pytest.raises(ValueError, match=r"coef_init must have shape \(120,\)"):
        coordinate_descent(X, y, penalty, loss=LOSS, coef_init=np.zeros(30))


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.0])
def test_single_precision_is_kept(as_sparse, l1_ratio):
    X, y, weights = make_problem()
    penalty = ElasticNet(strength(X, y, 0.1), l1_ratio)
    options = {"loss": LOSS, "sample_weight": weights, "fit_intercept": True}
    double = coordinate_descent(X, y, penalty, tol=1e-9, **options)
    X = X.astype(np.float32)
    single = coordinate_descent(
        sparse.csc_array(X) if as_sparse else X, y.astype(np.float32), penalty, tol=1e-4, **options
    )
    assert single.x.dtype == np.float32
    np.testing.assert_allclose(single.x, double.x, atol=1e-2)


def test_degenerate_columns_and_labels():
    X, y, _ = make_problem()
    X = np.column_stack([X, np.zeros(90), np.ones(90), X[:, 0]])
    penalty = L1(strength(X, y, 0.05))
    result = coordinate_descent(X, y, penalty, loss=LOSS, fit_intercept=True, tol=1e-8)
    assert result.success
    assert not result.x.reshape(33, 4)[30].any()
    with pytest.raises(ValueError, match="at least two classes"):
        coordinate_descent(X, 0 * y, penalty, loss=LOSS)
    with pytest.raises(ValueError, match="every label up to the largest, got no 1"):
        coordinate_descent(X, 2 * (y > 1), penalty, loss=LOSS, fit_intercept=True)
    with pytest.raises(ValueError, match="integer labels"):
        coordinate_descent(X, y - 0.5, penalty, loss=LOSS)


@pytest.mark.parametrize("solve", [coordinate_descent, block_coordinate_descent])
@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.9])
def test_features_far_from_centred_are_solved_as_their_centred_copies(solve, as_sparse, l1_ratio):
    X, y, weights = make_problem(n_classes=3)
    shifted = X + 1e3
    penalty = ElasticNet(strength(X, y, 0.05, weights), l1_ratio)
    options = {"loss": LOSS, "sample_weight": weights, "fit_intercept": True}
    expected = coordinate_descent(X, y, penalty, tol=1e-9, **options)
    design = sparse.csc_array(shifted) if as_sparse else shifted
    result = solve(design, y, penalty, tol=1e-8, max_iter=100, **options)
    assert result.success
    np.testing.assert_allclose(result.x, expected.x, atol=1e-6)
    moved = expected.intercept - 1e3 * expected.x.reshape(-1, 3).sum(axis=0)
    np.testing.assert_allclose(result.intercept, moved - moved.mean(), atol=1e-3)


def test_constant_unpenalised_features_leave_the_solution_unchanged():
    X, y, _ = make_problem(n_classes=3)
    alpha = strength(X, y, 0.05)
    expected = coordinate_descent(X, y, L1(alpha), loss=LOSS, fit_intercept=True, tol=1e-9)
    wider = np.column_stack([np.full(len(y), 3.3), X])
    penalty = L1(alpha, weights=np.r_[0.0, np.ones(X.shape[1])])
    result = coordinate_descent(wider, y, penalty, loss=LOSS, fit_intercept=True, tol=1e-9)
    assert result.success
    np.testing.assert_allclose(result.x[3:], expected.x, atol=1e-7)


@pytest.mark.parametrize("solve", [coordinate_descent, block_coordinate_descent])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.9])
def test_features_of_unequal_scale_that_have_every_class(solve, l1_ratio):
    X, y, _ = make_problem(60, 30, 3, seed=3)
    y = np.random.default_rng(0).integers(0, 3, 60)
    X = X * np.logspace(-6, 6, 30)
    penalty = ElasticNet(0.01, l1_ratio)
    result = solve(X, y, penalty, loss=LOSS, fit_intercept=True, tol=1e-8, max_iter=60)
    assert result.success
    assert violation(X, y, penalty, result) <= 2e-8 * strength(X, y, 1.0)
    coef = result.x.reshape(30, 3)
    if l1_ratio == 1:  # one class of every feature is at zero: a shift would pay otherwise
        assert np.all(np.min(np.abs(coef), axis=1) == 0)


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("seed", [0, 4])
def test_features_that_replace_each_other_take_few_working_sets(as_sparse, seed):
    rng = np.random.default_rng(seed)
    rates = np.exp(rng.standard_normal(200)) * np.r_[np.full(20, 3.0), np.full(180, 0.1)]
    X = rng.poisson(rates, (100, 200)) * np.exp(2 * rng.standard_normal(200))
    X = np.hstack([X, X @ rng.integers(0, 2, (200, 40))])  # sums of the others
    y = rng.integers(0, 4, 100)
    penalty = L1(strength(X, y, 1e-3))
    design = sparse.csc_array(X) if as_sparse else X
    options = {"loss": LOSS, "fit_intercept": True, "tol": 1e-7, "max_iter": 60}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = coordinate_descent(design, y, penalty, **options)
    assert violation(X, y, penalty, result) <= 2e-7 * strength(X, y, 1.0)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_the_features_does_not_matter(scale):
    X, y, weights = make_problem(n_classes=3)
    alpha = strength(X, y, 0.05, weights)
    options = {"loss": LOSS, "sample_weight": weights, "fit_intercept": True, "tol": 1e-9}
    expected = coordinate_descent(X, y, L1(alpha), **options)
    result = coordinate_descent(scale * X, y, L1(scale * alpha), **options)
    assert result.success
    np.testing.assert_allclose(scale * result.x, expected.x, atol=1e-8)
    np.testing.assert_allclose(result.intercept, expected.intercept, atol=1e-8)
    assert result.kkt / scale <= 1e-9 * strength(X, y, 1.0, weights)


@pytest.mark.parametrize(("l1", "ridge"), [(1.0, 0.0), (1.0, 0.3), (0.2, 5.0), (0.0, 1.0)])
@pytest.mark.parametrize("n_classes", [3, 4])
def test_the_best_shift_of_all_classes(l1, ridge, n_classes):
    rng = np.random.default_rng(0)
    coef = rng.standard_normal((40, n_classes)) + rng.integers(-1, 2, (40, 1))
    coef[rng.random(coef.shape) < 0.2] = 0
    shifts = best_shifts(coef, np.full(40, l1), np.full(40, ridge))

    def cost(t):
        rest = coef - t[:, None]
        return np.sum(l1 * np.abs(rest) + ridge / 2 * rest**2, axis=1)

    for other in np.linspace(-4, 4, 401):
        assert np.all(cost(shifts) <= cost(np.full(40, other)) + 1e-12)


def test_a_label_without_samples_is_one_to_avoid_where_that_has_a_minimiser():
    X, y, _ = make_problem()
    y = 2 * (y > 1)
    penalty = ElasticNet(strength(X, y, 0.05, fit_intercept=False), 0.5)
    results = [
        solve(X, y, penalty, loss=LOSS, tol=1e-9)
        for solve in (coordinate_descent, block_coordinate_descent)
    ]
    assert violation(X, y, penalty, results[0], fit_intercept=False) <= 1e-9
    np.testing.assert_allclose(results[0].x, results[1].x, atol=1e-6)
    for solve in (coordinate_descent, block_coordinate_descent):
        with pytest.raises(ValueError, match="got no 1, whose intercept would be -inf"):
            solve(X, y, penalty, loss=LOSS, fit_intercept=True)


@pytest.mark.parametrize("solve", [coordinate_descent, block_coordinate_descent])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_separable_classes_without_a_penalty_warn(solve, fit_intercept):
    X = np.repeat(np.eye(3), 4, axis=0)
    y = np.repeat(np.arange(3), 4)
    options = {"loss": LOSS, "fit_intercept": fit_intercept}
    with pytest.warns(ConvergenceWarning, match="perfectly separable"):
        solve(X, y, L1(0.0), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(X, y, L1(1e-3), **options)


def test_samples_that_a_start_gets_very_wrong_do_not_stop_the_descent():
    X, y, _ = make_problem()
    penalty = L1(strength(X, y, 0.1))
    options = {"loss": LOSS, "fit_intercept": True, "tol": 1e-8}
    cold = coordinate_descent(X, y, penalty, **options)
    far = np.random.default_rng(0).normal(scale=30, size=120)
    warm = coordinate_descent(X, y, penalty, coef_init=far, **options)
    assert warm.fun == pytest.approx(cold.fun, rel=1e-8)


def _state(*, as_sparse=False, fit_intercept=True, seed=0):
    X, y, weights = make_problem(seed=seed)
    data = sparse.csc_array(X) if as_sparse else np.asfortranarray(X)
    state = PenalizedMultinomial(
        data, y, LOSS, 4, sample_weight=weights, fit_intercept=fit_intercept
    )
    rng = np.random.default_rng(seed)
    state.set_start(0.3 * rng.standard_normal(120), 0.1 * rng.standard_normal(4))
    state.set_penalty(ElasticNet(0.01, 0.5))
    return X, state


def _dense_hessian(X, state):
    """Return the Hessian in (feature, class) pairs and intercepts from its definition."""
    columns = np.column_stack([X, np.ones(len(X))])
    total = 0
    for row, p, share in zip(columns, state.probabilities, state.shares, strict=True):
        total = total + share * np.kron(np.outer(row, row), np.diag(p) - np.outer(p, p))
    return total


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("n_pairs", [20, 100])
def test_products_of_the_hessian(as_sparse, n_pairs):
    X, state = _state(as_sparse=as_sparse)
    rng = np.random.default_rng(1)
    chosen = rng.permutation(120)[:n_pairs]
    chosen = chosen[np.lexsort((chosen // 4, chosen % 4))]
    pairs = Pairs(state.design.matrix, chosen // 4, chosen % 4, 4)
    hessian = _dense_hessian(X, state)
    at = np.r_[chosen, np.arange(120, 124)]
    vector = rng.standard_normal(n_pairs + 4)
    image = state.hessian_product(pairs.predict(vector[:n_pairs], vector[n_pairs:]))
    product = np.r_[pairs.correlate(image), image.sum(axis=0)]
    np.testing.assert_allclose(product, hessian[np.ix_(at, at)] @ vector, atol=1e-12)
    np.testing.assert_allclose(
        pairs.weighted_squares(state.hessian_diagonal()), np.diagonal(hessian)[chosen], atol=1e-13
    )
    np.testing.assert_allclose(pairs.hessian(state), hessian[np.ix_(at, at)][:-1, :-1], atol=1e-13)


@pytest.mark.parametrize("as_sparse", [False, True])
def test_newton_directions_agree(as_sparse):
    _, state = _state(as_sparse=as_sparse)
    matrix = state.design.matrix
    every = np.arange(120)[np.lexsort((np.arange(120) // 4, np.arange(120) % 4))]
    rng = np.random.default_rng(2)
    ridge, gradient, totals = np.full(120, 0.05), rng.standard_normal(120), rng.standard_normal(4)
    totals -= totals.mean()
    exact = 1e-24  # so that the system is solved to rounding
    arguments = ridge, gradient, totals
    columns = AllColumns(matrix, 4)
    first = newton_direction(state, columns, *arguments, exact)[:2]
    pairs = Pairs(matrix, every // 4, every % 4, 4)
    second = solve_directly(state, pairs, ridge, gradient[every], totals)
    np.testing.assert_allclose(first[0][every], second[0], atol=1e-8)
    np.testing.assert_allclose(np.diff(first[1]), np.diff(second[1]), atol=1e-8)
    if not as_sparse:
        spectrum = Spectrum(state, matrix, ridge[::4])
        third = newton_direction(state, columns, *arguments, exact, spectrum=spectrum)[:2]
        np.testing.assert_allclose(first[0], third[0], atol=1e-8)
        np.testing.assert_allclose(np.diff(first[1]), np.diff(third[1]), atol=1e-8)


def test_an_epoch_decreases_the_model_and_the_kernels_agree():
    results = []
    for as_sparse in (False, True):
        X, state = _state(as_sparse=as_sparse)
        every = np.arange(120)[np.lexsort((np.arange(120) // 4, np.arange(120) % 4))]
        pairs = Pairs(state.design.matrix, every // 4, every % 4, 4)
        gradient, totals = pairs.correlate(state.derivatives), state.derivatives.sum(axis=0)
        hessian = _dense_hessian(X, state)
        table = np.ascontiguousarray(state.table[:, every])
        x = state.x[every]
        curvature = pairs.weighted_squares(state.hessian_diagonal())
        change, mean, shift = np.zeros_like(state.weighted), np.zeros(90), np.zeros(4)
        values = []
        for _ in range(5):
            step = np.zeros(124)
            step[every], step[120:] = x - state.x[every], shift
            slope = gradient @ (x - state.x[every]) + totals @ shift
            penalty = table[0] @ np.abs(x) + 0.5 * table[1] @ x**2
            values.append(slope + 0.5 * step @ hessian @ step + penalty)
            pairs.epoch(
                gradient, curvature, state.code, table, x, state.probabilities, state.weighted,
                change, mean, False,
            )  # fmt: skip
            kernels.intercept_epoch(
                totals, shift, state.probabilities, state.weighted, change, mean
            )
        assert np.all(np.diff(values) < 0)
        results.append(x)
    np.testing.assert_allclose(*results, atol=1e-12)


def test_no_warning_for_a_solution_within_the_tolerance():
    X, y, _ = make_problem(n_samples=40, n_features=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fraction in (0.3, 0.01, 1e-4):
            penalty = L1(strength(X, y, fraction))
            result = coordinate_descent(X, y, penalty, loss=LOSS, fit_intercept=True, tol=1e-6)
            assert result.success
            assert violation(X, y, penalty, result) <= 1.01e-6 * strength(X, y, 1.0)
            separates = np.argmax(X @ result.x.reshape(100, 4) + result.intercept, axis=1) == y
            assert separates.all() or fraction == 0.3
