"""The noise variance chosen by cross-validation: losses, choice, weights, routing."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.estimator_checks import parametrize_with_checks as sklearn_checks

from sparseopt.sparse_bayes import SparseBayesRegressor, SparseBayesRegressorCV, sparse_bayes
from sparseopt.sparse_bayes._sparse_bayes_regressor_cv import negative_log_density
from sparseopt.testing import (
    expected_failed_checks,
    parametrize_with_checks,
    parametrize_with_complex_checks,
)

# The default rule is checked with all other estimators.
VARIANTS = [SparseBayesRegressorCV("fast", noise_variances=[1.0, 0.1], cv=3, polish=False)]


@sklearn_checks(VARIANTS, expected_failed_checks=expected_failed_checks)
def test_scikit_learn_check(estimator, check):
    assert check(estimator) is None


@parametrize_with_checks(VARIANTS)
def test_library_check(estimator, check):
    assert check(type(estimator).__name__, estimator) is None


@parametrize_with_complex_checks(VARIANTS)
def test_complex_check(estimator, check):
    assert check(type(estimator).__name__, estimator) is None


def made(n=60, p=100, L=None, *, is_complex=False, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    errors = rng.standard_normal((n, L or 1))
    if is_complex:
        X = X + 1j * rng.standard_normal((n, p))
        errors = (errors + 1j * rng.standard_normal(errors.shape)) / np.sqrt(2)
    coef = np.zeros((p, L or 1))
    coef[[1, 7]] = rng.standard_normal((2, L or 1)) + 3
    Y = X @ coef + 5 + noise * errors
    return X, Y if L else Y[:, 0]


def error(model, X, coef):
    return np.sum((model.coef_ - coef) ** 2) / np.sum(coef**2)


@pytest.mark.parametrize("polish", [False, True])
def test_losses_are_those_of_fits_without_the_fold(polish):
    X, y = made()
    grid = [1.0, 0.25, 0.06]
    model = SparseBayesRegressorCV(noise_variances=grid, cv=KFold(3), polish=polish).fit(X, y)
    losses = np.empty((3, 3))
    for f, (train, test) in enumerate(KFold(3).split(X)):
        for k, noise in enumerate(grid):
            single = SparseBayesRegressor(noise_variance=noise, polish=polish)
            mean, std = single.fit(X[train], y[train]).predict(X[test], return_std=True)
            losses[k, f] = -norm.logpdf(y[test], mean, std).mean()
    # With polish, fits go on from the one before and may end in another local optimum.
    alike = slice(0, 1) if polish else slice(None)
    assert_allclose(model.loss_path_[alike], losses[alike], rtol=1e-10)
    assert model.noise_variance_ == grid[int(np.argmin(model.loss_path_.mean(axis=1)))]


def test_the_final_fit_is_that_with_the_noise_given():
    X, y = made()
    model = SparseBayesRegressorCV(noise_variances=6).fit(X, y)
    single = SparseBayesRegressor(noise_variance=model.noise_variance_).fit(X, y)
    assert_allclose(model.coef_, single.coef_)
    assert_allclose(model.gamma_, single.gamma_)
    assert model.certificate_ == single.certificate_
    for got, value in zip(
        model.predict(X, return_std=True), single.predict(X, return_std=True), strict=True
    ):
        assert_allclose(got, value)
    assert_allclose(model.noise_variances_[[0, -1]], [y.var(), 1e-3 * y.var()])
    assert np.all(np.diff(model.noise_variances_) < 0)


def test_density_of_complex_targets():
    X, Y = made(40, 10, L=2, is_complex=True)
    result = sparse_bayes(X[:30], Y[:30], noise_variance=0.3, fit_intercept=True)
    X, Y = X[30:], Y[30:]
    rows = (X - result.X_offset)[:, result.support]
    mean = X @ result.x + result.intercept
    total = 0.0
    for i in range(10):
        variance = 0.3 + (rows[i] @ result.covariance @ rows[i].conj()).real
        for target in range(2):  # real and imaginary parts have half of the variance each
            for part in (np.real, np.imag):
                deviation = part(Y[i, target] - mean[i, target])
                total += norm.logpdf(deviation, scale=np.sqrt(variance / 2))
    assert_allclose(negative_log_density(result, X, Y), -total / 20)


def test_more_accurate_than_learnt_noise_with_more_features_than_samples():
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(4):
        X, coef = rng.standard_normal((100, 250)), np.zeros(250)
        coef[rng.choice(250, 6, replace=False)] = 2 * rng.standard_normal(6)
        noise = np.var(X @ coef) / 10**1.5
        y = X @ coef + np.sqrt(noise) * rng.standard_normal(100)
        known = SparseBayesRegressor(noise_variance=noise).fit(X, y)
        chosen = SparseBayesRegressorCV().fit(X, y)
        ratios.append(error(chosen, X, coef) / error(known, X, coef))
        assert 0.4 < chosen.noise_variance_ / noise < 8
    assert np.median(ratios) < 1.3


def test_larger_noise_within_a_standard_error():
    X, y = made(seed=1)
    least = SparseBayesRegressorCV().fit(X, y)
    sparse = SparseBayesRegressorCV(selection_rule="1se").fit(X, y)
    losses = least.loss_path_
    best = np.argmin(losses.mean(axis=1))
    bound = losses[best].mean() + losses[best].std(ddof=1) / np.sqrt(5)
    within = least.noise_variances_[losses.mean(axis=1) <= bound]
    assert least.noise_variance_ == least.noise_variances_[best]
    assert sparse.noise_variance_ == within.max() > least.noise_variance_
    assert sparse.support_.sum() <= least.support_.sum()


def test_weights_are_repeated_rows():
    X, y = made(40, 12)
    weight = np.arange(40) % 3
    rows = np.repeat(np.arange(40), weight)
    groups = np.arange(40) % 4
    folds = [(np.flatnonzero(groups != g), np.flatnonzero(groups == g)) for g in range(4)]
    repeated = [
        (np.flatnonzero(groups[rows] != g), np.flatnonzero(groups[rows] == g)) for g in range(4)
    ]
    weighted = SparseBayesRegressorCV(noise_variances=5, cv=folds).fit(X, y, sample_weight=weight)
    copied = SparseBayesRegressorCV(noise_variances=5, cv=repeated).fit(X[rows], y[rows])
    assert_allclose(weighted.loss_path_, copied.loss_path_, rtol=1e-6)
    assert_allclose(weighted.coef_, copied.coef_, rtol=1e-5, atol=1e-8)


def test_folds_in_parallel_give_the_same():
    X, y = made(L=2)
    one = SparseBayesRegressorCV(noise_variances=4).fit(X, y)
    two = SparseBayesRegressorCV(noise_variances=4, n_jobs=2).fit(X, y)
    assert np.array_equal(one.loss_path_, two.loss_path_)
    assert np.array_equal(one.coef_, two.coef_)


def test_groups_are_routed_to_the_splitter():
    X, y = made()
    groups = np.arange(60) // 10
    with config_context(enable_metadata_routing=True):
        splitter = GroupKFold(3).set_split_request(groups=True)
        routed = SparseBayesRegressorCV(noise_variances=4, cv=splitter).fit(X, y, groups=groups)
    folds = list(GroupKFold(3).split(X, y, groups))
    given = SparseBayesRegressorCV(noise_variances=4, cv=folds).fit(X, y)
    assert_allclose(routed.loss_path_, given.loss_path_)


def test_constant_targets():
    X, _ = made(20, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        model = SparseBayesRegressorCV().fit(X, np.full(20, 3.0))
    assert not model.coef_.any()
    assert_allclose(model.predict(X), 3.0)


def test_the_smallest_noise_of_the_sequence_is_no_answer():
    X, y = made(60, 10, noise=1e-3)
    with pytest.warns(UserWarning, match="Lower eps"):
        SparseBayesRegressorCV().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SparseBayesRegressorCV(eps=1e-9, noise_variances=20).fit(X, y)
    assert 1e-7 < model.noise_variance_ < 1e-5


def test_fits_of_folds_that_do_not_converge_are_counted_once():
    X, y = made()
    with pytest.warns(ConvergenceWarning) as caught:
        SparseBayesRegressorCV(noise_variances=3, cv=2, max_iter=1).fit(X, y)
    messages = [str(warning.message) for warning in caught]
    assert sum("fits that were compared did not meet" in message for message in messages) == 1


def test_without_intercept_the_sequence_starts_at_the_mean_square():
    X, y = made()
    y = y + 1e6
    model = SparseBayesRegressorCV(noise_variances=3, fit_intercept=False).fit(X, y)
    assert_allclose(model.noise_variances_[0], np.mean(y**2))
    shifted = SparseBayesRegressorCV(noise_variances=3).fit(X, y)
    assert_allclose(shifted.noise_variances_[0], y.var())


@pytest.mark.parametrize(
    "grid",
    [
        [],
        [[1.0]],
        np.ones((1, 1)),
        [[1.0], [1.0, 2.0]],
        [0.0, 1.0],
        [np.nan],
        [-1.0],
        [1j],
        ["low"],
        0,
    ],
)
def test_bad_noise_variances_are_refused(grid):
    X, y = made()
    with pytest.raises(ValueError, match="noise_variances"):
        SparseBayesRegressorCV(noise_variances=grid).fit(X, y)


@pytest.mark.parametrize(("part", "cv"), [("left-out part of fold 0", 3), ("training part", 2)])
def test_folds_without_weight_are_refused(part, cv):
    X, y = made()
    weight = np.arange(60) >= 20 if cv == 3 else np.arange(60) < 20
    with pytest.raises(ValueError, match=f"zero for the whole {part}"):
        SparseBayesRegressorCV(cv=cv).fit(X, y, sample_weight=weight)


def test_no_published_settings():
    assert not hasattr(SparseBayesRegressorCV(), "published")
