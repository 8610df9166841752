"""The solver: optima, invariances, noise, bad input."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ARDRegression, Ridge

from sparseopt.sparse_bayes import sparse_bayes
from sparseopt.sparse_bayes._posterior import dense_posterior, evidence_terms

GOLDEN = np.load(
    Path(__file__).parents[1] / "data" / "sparse_bayes" / "sbl_base.npz", allow_pickle=False
)
RULES = ["convex", "em", "mackay", "fast"]
KINDS = [f"{field}_{targets}" for field in ("real", "complex") for targets in ("smv", "mmv")]


def reference(kind):
    field, targets = kind.split("_")
    Y = GOLDEN[f"{field}_Y"]
    return (
        GOLDEN[f"{field}_X"],
        Y if targets == "mmv" else Y[:, 0],
        float(GOLDEN[f"{field}_noise_var"]),
    )


def made(n, p, *, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    y = 3 * X[:, 1] - 2 * X[:, p // 2] + noise * rng.standard_normal(n)
    return X, y


def quiet(X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sparse_bayes(X, y, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_em_follows_the_reference(kind):
    X, Y, s2 = reference(kind)
    for count in (1, 10, 100):
        options = {"init": np.ones(80), "prune_tol": 0, "polish": False, "tol": 0}
        with pytest.warns(ConvergenceWarning, match="max_iter"):
            result = sparse_bayes(X, Y, rule="em", noise_variance=s2, max_iter=count, **options)
        tolerance = 1e-6 if count == 100 else 1e-8
        assert_allclose(result.gamma, GOLDEN[f"{kind}_em_gamma_{count}"], rtol=tolerance)
        assert result.nit == count
    nll = GOLDEN[f"{kind}_em_nll"]
    assert_allclose(result.history["objective"][[0, 1, 10, 100]], nll, rtol=1e-8)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_ends_in_a_stationary_point_no_worse_than_the_reference(kind, rule):
    X, Y, s2 = reference(kind)
    result = sparse_bayes(X, Y, rule=rule, noise_variance=s2)
    assert result.success
    expected = float(GOLDEN[f"{kind}_fmlm_nll"])
    assert result.fun <= expected + 1e-3 * abs(expected)
    Y = Y.reshape(40, -1)
    sensitivity, power = evidence_terms(X, Y, result.gamma, s2)
    active = result.gamma > 0
    slopes = result.gamma * (sensitivity - power)
    assert np.abs(slopes[active]).max() <= 1e-4
    assert np.all(power[~active] <= (1 + 1e-4) * sensitivity[~active])
    assert result.certificate <= 1e-4
    assert_allclose(result.fun, dense_posterior(X, Y, result.gamma, s2).nll, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_fast_exit_conditions(kind):
    X, Y, s2 = reference(kind)
    result = sparse_bayes(X, Y, rule="fast", noise_variance=s2, tol=1e-6)
    g, Y = result.gamma, Y.reshape(40, -1)
    for j in range(80):  # each variance is the best one, by the covariance without its feature
        rest = np.where(np.arange(80) == j, 0, g)
        sensitivity, power = evidence_terms(X, Y, rest, s2)
        s, q2 = sensitivity[j], power[j]
        if g[j] > 0:
            assert abs(1 / g[j] - s**2 / (q2 - s)) * g[j] < 1e-4
        else:
            assert q2 <= s * (1 + 1e-6)


@pytest.mark.parametrize("rule", ["convex", "em"])
@pytest.mark.parametrize("shape", [(60, 20), (30, 50)])
def test_the_objective_never_grows_while_the_noise_is_learnt(rule, shape):
    X, y = made(*shape)
    result = quiet(X, y, rule=rule, prune_tol=0, polish=False, noise_delay=0, max_iter=100)
    objective = result.history["objective"]
    assert len(objective) > 5
    assert np.all(np.diff(objective) <= 1e-9 * np.abs(objective[1:]))


def test_orthonormal_features_have_a_closed_form():
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((30, 12)) + 1j * rng.standard_normal((30, 12)))[0]
    y = X @ (3 * rng.standard_normal(12)) + 0.5 * rng.standard_normal(30)
    expected = np.maximum(np.abs(X.conj().T @ y) ** 2 - 0.3, 0)
    for rule in ("fast", "mackay", "convex"):
        result = sparse_bayes(X, y, rule=rule, noise_variance=0.3, tol=1e-6)
        assert_allclose(result.gamma, expected, rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_minimum_of_small_problems_is_that_on_a_grid(rule, p):
    X, y = made(12, 4, noise=1.0)
    X = X[:, 1 : 1 + p]
    result = sparse_bayes(X, y, rule=rule, noise_variance=1.0, tol=1e-6, max_iter=5000)
    axis = np.concatenate([[0], np.geomspace(1e-3, 1e2, 30)])
    grid = np.stack(np.meshgrid(*[axis] * p), -1).reshape(-1, p)
    values = [dense_posterior(X, y[:, None], g, 1.0, form="n").nll for g in grid]
    assert result.fun <= min(values) + 1e-8


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(3, 20),
    p=st.integers(1, 25),
    L=st.integers(1, 3),
    is_complex=st.booleans(),
    rule=st.sampled_from(RULES),
    power=st.integers(-60, 60),
)
def test_any_data_give_a_consistent_result(seed, n, p, L, is_complex, rule, power):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, p)), rng.standard_normal((n, L))
    if is_complex:
        X, Y = X + 1j * rng.standard_normal((n, p)), Y * 1j
    X[:, 0] = X[:, -1]  # equal features, and one that is zero
    X[:, p // 2] = 0
    result = quiet(X, Y, rule=rule)
    assert np.isfinite(result.fun)
    assert np.all(result.gamma >= 0)
    assert result.noise_variance > 0
    assert np.all(np.isfinite(result.x))
    assert result.gamma[p // 2] == 0
    if result.success:
        assert result.certificate <= 1e-4
    scaled = quiet(X, 10.0**power * Y, rule=rule)
    fitted = 10.0**power * (X @ result.x)  # of equal features, either may have the weight
    assert_allclose(X @ scaled.x, fitted, rtol=1e-2, atol=1e-2 * 10.0**power)


@pytest.mark.parametrize("rule", RULES)
def test_invariances(rule):
    X, Y, s2 = reference("complex_mmv")
    options = {"rule": rule, "noise_variance": s2, "tol": 1e-6, "max_iter": 5000}
    base = sparse_bayes(X, Y, **options)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)) + 0.5j)[0]
    rotated = sparse_bayes(X, Y @ Q, **options)
    assert_allclose(rotated.gamma, base.gamma, rtol=1e-4, atol=1e-6)
    assert_allclose(rotated.x, base.x @ Q, rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(1).permutation(80)
    permuted = sparse_bayes(X[:, order], Y, **options)
    assert_allclose(permuted.gamma, base.gamma[order], rtol=1e-4, atol=1e-6)
    factors = np.geomspace(1e-3, 1e3, 80)
    scaled = sparse_bayes(X / factors, Y, **options)
    assert_allclose(scaled.gamma, base.gamma * factors**2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_repeated_targets_and_complex_casts_change_nothing(rule):
    X, y, s2 = reference("real_smv")
    base = sparse_bayes(X, y, rule=rule, noise_variance=s2)
    repeated = sparse_bayes(X, np.stack([y, y, y], 1), rule=rule, noise_variance=s2)
    cast = sparse_bayes(X.astype(complex), y.astype(complex), rule=rule, noise_variance=s2)
    for other in (repeated, cast):
        assert_allclose(other.gamma, base.gamma, rtol=1e-6, atol=1e-10)
        assert_allclose(other.fun, base.fun, rtol=1e-8)
    assert_allclose(repeated.scores[-1], 3 * base.scores[-1], rtol=1e-8)
    assert np.iscomplexobj(cast.x)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(40, 12), (20, 30)])
def test_weights_are_repeated_rows(rule, shape):
    X, y = made(*shape)
    weight = np.arange(len(y)) % 4
    options = {"rule": rule, "fit_intercept": True}
    weighted = quiet(X, y, sample_weight=weight, **options)
    rows = np.repeat(np.arange(len(y)), weight)
    repeated = quiet(X[rows], y[rows], **options)
    assert_allclose(weighted.x, repeated.x, rtol=1e-6, atol=1e-8)
    assert_allclose(weighted.noise_variance, repeated.noise_variance, rtol=1e-6)
    assert_allclose(weighted.fun, repeated.fun, rtol=1e-8)
    assert_allclose(weighted.scores[-1], repeated.scores[-1], rtol=1e-8)
    assert_allclose(weighted.intercept, repeated.intercept, rtol=1e-6)


def test_equal_variances_are_ridge_regression():
    X, y = made(30, 50)
    posterior = dense_posterior(X, y[:, None], np.full(50, 0.7), 0.2)
    ridge = Ridge(alpha=0.2 / 0.7, fit_intercept=False).fit(X, y)
    assert_allclose(posterior.mean[:, 0], ridge.coef_, rtol=1e-8)


def test_mackay_agrees_with_scikit_learn():
    X, y = made(200, 10, noise=1.0)
    result = sparse_bayes(X, y, rule="mackay", fit_intercept=True)
    peer = ARDRegression(tol=1e-8, max_iter=2000).fit(X, y)
    strong = np.abs(peer.coef_) > 0.5
    assert strong.sum() == 2
    assert_allclose(result.x[strong], peer.coef_[strong], rtol=1e-2)
    g = np.where(peer.lambda_ < peer.threshold_lambda, 1 / peer.lambda_, 0)
    Xc, yc = X - X.mean(0), (y - y.mean())[:, None]
    assert result.fun <= dense_posterior(Xc, yc, g, 1 / peer.alpha_).nll + 0.1
    assert_allclose(result.noise_variance, 1 / peer.alpha_, rtol=2e-2)


@pytest.mark.parametrize("rule", RULES)
def test_noise_is_learnt_with_more_samples_than_features(rule):
    X, y = made(300, 20, noise=0.5)
    result = sparse_bayes(X, y, rule=rule)
    assert result.success
    assert_allclose(result.noise_variance, 0.25, rtol=0.2)
    assert result.noise_certificate <= 1e-4
    assert not result.at_floor


def test_noise_that_would_collapse_is_kept_at_its_floor():
    X, y = made(50, 120)
    with pytest.warns(UserWarning, match="kept at its floor"):
        result = sparse_bayes(X, y, rule="fast")
    assert result.at_floor
    assert_allclose(result.noise_variance, 1e-3 * y.var(ddof=1), rtol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = sparse_bayes(X, y, rule="fast", noise_variance=0.09)
    assert given.noise_variance == pytest.approx(0.09)
    assert len(given.support) < len(result.support)


@pytest.mark.parametrize("copies", ["weights", "rows"])
def test_copies_of_samples_do_not_let_the_noise_collapse(copies):
    # Twenty samples of fifty features can be interpolated, however often each is counted.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 50))
    y = 2 * X[:, 0] + 0.5 * rng.standard_normal(20)
    if copies == "weights":
        result = sparse_bayes(X, y, sample_weight=np.full(20, 3.0))
    else:
        result = sparse_bayes(np.repeat(X, 3, axis=0), np.repeat(y, 3))
    assert result.noise_variance > 1e-3 * y.var()


def test_noise_waits_for_the_delay():
    X, y = made(50, 20)
    result = sparse_bayes(X, y, noise_delay=4, polish=False)
    noise = result.history["noise_variance"]
    assert_allclose(noise[:5], 0.1 * y.var(ddof=1))
    assert np.all(np.diff(noise[4:8]) != 0)


def test_exact_data_are_fitted_exactly():
    X, y = made(50, 20, noise=0.0)
    result = quiet(X, y)
    expected = np.zeros(20)
    expected[[1, 10]] = 3, -2
    assert_allclose(result.x, expected, atol=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_targets_without_content(rule):
    X, _ = made(20, 5)
    for y, intercept in ((np.zeros(20), False), (np.full(20, 0.1), True)):
        result = sparse_bayes(X, y, rule=rule, fit_intercept=intercept)
        assert not result.x.any()
        assert result.noise_variance == 0
        assert_allclose(result.intercept, y[0], rtol=1e-12)
    constant = quiet(X, np.full(20, 0.1), rule=rule)  # no intercept: not without content
    assert np.isfinite(constant.fun)
    empty = quiet(np.zeros((20, 5)), np.arange(20.0), rule=rule, fit_intercept=True)
    assert not empty.x.any()
    assert empty.noise_variance > 0


@pytest.mark.parametrize("last", range(1, 7))  # the end of a stage among them
def test_callback_sees_coefficients_and_stops(last):
    X, y = made(40, 10)
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result.x)
        if len(seen) == last:
            raise StopIteration

    result = sparse_bayes(X, y, callback=callback)
    assert result.nit == last
    assert seen[0].shape == (10, 1)
    assert_allclose(seen[-1][:, 0], result.x)


def test_history_joins_the_stages():
    X, y = made(40, 10)
    result = sparse_bayes(X, y)
    history = result.history
    assert history["iteration"][-1] == result.nit
    assert np.all(np.diff(history["time"]) >= 0)
    assert len({len(column) for column in history.values()}) == 1
    assert_allclose(history["objective"][-1], result.fun, rtol=1e-9)
    assert_allclose(history["noise_variance"][-1], result.noise_variance)
    constant = 40 * np.log(2 * np.pi)
    assert_allclose(result.scores[-1], -0.5 * (result.fun + constant), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "newton"}, "rule must be one of"),
        ({"noise_variance": 0}, "noise_variance must be positive"),
        ({"noise_variance": -1.0}, "noise_variance must be finite and >= 0"),
        ({"noise_variance": np.nan}, "noise_variance"),
        ({"noise_variance": 1e-300}, "too small for the precision"),
        ({"noise_floor": -1}, "noise_floor"),
        ({"prune_tol": np.inf}, "prune_tol"),
        ({"prune_tol": 1.0}, "prune_tol must be less than 1"),
        ({"init": 1e300}, "init is out of range"),
        ({"init": 1e-300, "rule": "fast"}, "init is out of range"),
        ({"init": np.ones(3)}, "init must have shape"),
        ({"init": np.zeros(5)}, "init must be finite"),
        ({"init": -np.ones(5)}, "init must be finite"),
        ({"max_iter": 0}, "max_iter"),
        ({"sample_weight": -np.ones(10)}, "sample_weight"),
        ({"sample_weight": np.ones(9)}, "sample_weight"),
        ({"sample_weight": np.full(10, 1e100)}, "at most 1e[+]12, got 1e[+]101"),
        ({"sample_weight": np.full(10, 1e20)}, "at most 1e[+]12"),
        ({"sample_weight": np.full(10, 0.1)}, "Multiply the weights by 10 to keep"),
        ({"sample_weight": np.full(10, 1e-200)}, "must be more than 1"),
        ({"sample_weight": 1e100 * (np.arange(10) == 3)}, "at most 1e[+]12"),
        ({"sample_weight": np.arange(10) == 3, "fit_intercept": True}, "for two rows at least"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    X, y = made(10, 5)
    with pytest.raises(ValueError, match=message):
        sparse_bayes(X, y, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, y[:-1]), "y must have shape"),
        (lambda X, y: (X[0], y), "X must be a non-empty matrix"),
        (lambda X, y: (X, y[:0]), "Y must be a vector or a matrix"),
        (lambda X, y: (np.where(X > 1, np.nan, X), y), "X must be finite"),
        (lambda X, y: (X, np.where(y > 1, np.inf, y)), "y must be finite"),
        (lambda X, y: (X * 1e200, y), "rescale X"),
        (lambda X, y: (X, y * 1e-200), "rescale Y"),
        (lambda X, y: (X * np.r_[1e-170, 1, 1, 1, 1], y), "one of its columns"),
        (lambda X, y: (X * 1e-100, y * 1e100), "variances of the coefficients"),
        (lambda X, y: (X * 1e100, y * 1e-100), "variances of the coefficients"),
    ],
)
def test_bad_data_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sparse_bayes(*change(*made(10, 5)))


def test_the_intercept_counts_where_noise_would_collapse():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((13, 12))
    y = X @ np.ones(12) + 0.01 * rng.standard_normal(13)
    with pytest.warns(UserWarning, match="kept at its floor"):
        result = sparse_bayes(X, y, rule="fast", fit_intercept=True)
    assert_allclose(result.noise_variance, 1e-3 * y.var(ddof=1))


def test_single_precision_is_taken_without_complaint():
    X, y = made(40, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        single = sparse_bayes(X.astype(np.float32), y.astype(np.float32))
    assert_allclose(single.x, sparse_bayes(X, y).x, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-130, 1e130])
def test_one_column_in_other_units(factor):
    X, y = made(40, 5)
    base = sparse_bayes(X, y)
    X[:, 1] *= factor
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        scaled = sparse_bayes(X, y)
    assert_allclose(scaled.x[1] * factor, base.x[1])
    position = np.searchsorted(base.support, 1)
    variance = scaled.covariance[position, position]
    assert_allclose(variance * factor * factor, base.covariance[position, position])


@pytest.mark.parametrize("name", ["X", "Y", "sample_weight"])
def test_masked_arrays_are_refused(name):
    X, y = made(10, 5)
    arguments = {"X": X, "Y": y, "sample_weight": np.ones(10)}
    arguments[name] = np.ma.masked_array(arguments[name])
    with pytest.raises(TypeError, match=f"{name} is a masked array"):
        sparse_bayes(**arguments)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("init", [1e25, 1e-8])
def test_far_starts_are_taken_without_complaint(rule, init):
    X, y = made(40, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        result = sparse_bayes(X, y, rule=rule, init=init)
    assert result.success
    assert_allclose(result.x[[1, 5]], [3, -2], atol=0.3)


@pytest.mark.parametrize("rule", RULES)
def test_large_weights_only_sharpen_the_posterior(rule):
    X, y = made(40, 10)
    weighted = sparse_bayes(X, y, rule=rule, sample_weight=np.full(40, 1e9), fit_intercept=True)
    Xc, yc = X - X.mean(0), y - y.mean()
    expected, squares = np.linalg.lstsq(Xc, yc)[:2]
    assert_allclose(weighted.x, expected, rtol=1e-5, atol=1e-6)
    assert_allclose(weighted.noise_variance, squares[0] / 40, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_rows_of_negligible_weight_do_not_let_the_noise_collapse(rule):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 50))
    y = 2 * X[:, 0] + 0.5 * rng.standard_normal(60)
    weight = np.where(np.arange(60) < 20, 1.0, 1e-9)
    light = quiet(X, y, rule=rule, sample_weight=weight)
    assert light.noise_variance >= 0.9e-3 * y[:20].var()
