"""The estimator: attributes, uncertainties, targets together and apart, starts."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks as sklearn_checks

from sparseopt.sparse_bayes import SparseBayesRegressor, sparse_bayes
from sparseopt.testing import (
    expected_failed_checks,
    parametrize_with_checks,
    parametrize_with_complex_checks,
)

# The default rule is checked with all other estimators.
VARIANTS = [
    SparseBayesRegressor("fast"),
    SparseBayesRegressor("convex", polish=False, noise_variance=1.0, joint=False),
]


@sklearn_checks(VARIANTS, expected_failed_checks=expected_failed_checks)
def test_scikit_learn_check(estimator, check):
    assert check(estimator) is None


@parametrize_with_checks(VARIANTS)
def test_library_check(estimator, check):
    assert check(type(estimator).__name__, estimator) is None


@parametrize_with_complex_checks(VARIANTS)
def test_complex_check(estimator, check):
    assert check(type(estimator).__name__, estimator) is None


def made(n=60, p=20, L=None, *, is_complex=False, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    if is_complex:
        X = X + 1j * rng.standard_normal((n, p))
    coef = np.zeros((p, L or 1))
    coef[[1, 7]] = rng.standard_normal((2, L or 1)) + 3
    Y = X @ coef + 5 + 0.3 * rng.standard_normal((n, L or 1))
    return X, Y if L else Y[:, 0]


def test_attributes_are_those_of_the_solver():
    X, y = made()
    model = SparseBayesRegressor().fit(X, y)
    result = sparse_bayes(X, y, fit_intercept=True)
    assert_allclose(model.coef_, result.x)
    assert_allclose(model.gamma_, result.gamma)
    assert_allclose(model.intercept_, result.intercept)
    assert model.noise_variance_ == result.noise_variance
    assert np.array_equal(np.flatnonzero(model.support_), result.support)
    assert model.nll_ == result.fun
    assert model.certificate_ == result.certificate
    assert model.n_iter_ == result.nit
    assert model.converged_
    assert_allclose(model.scores_, result.scores)
    assert model.sigma_.shape == (len(result.support),) * 2


@pytest.mark.parametrize("is_complex", [False, True])
def test_standard_deviation_of_predictions(is_complex):
    X, y = made(is_complex=is_complex)
    model = SparseBayesRegressor().fit(X, y)
    prediction, std = model.predict(X[:5], return_std=True)
    assert_allclose(prediction, X[:5] @ model.coef_ + model.intercept_)
    centred = X - X.mean(0)
    precision = np.diag(1 / model.gamma_[model.support_]) + (
        centred[:, model.support_].conj().T @ centred[:, model.support_] / model.noise_variance_
    )
    rows = centred[:5, model.support_]
    quadratic = np.sum(rows * np.linalg.solve(precision, rows.conj().T).T, axis=1)
    assert_allclose(std**2, model.noise_variance_ + quadratic.real, rtol=1e-8)
    assert np.isrealobj(std)


def test_intervals_cover_as_often_as_they_say():
    X, y = made(200, 30)
    model = SparseBayesRegressor().fit(X[:100], y[:100])
    prediction, std = model.predict(X[100:], return_std=True)
    covered = np.mean(np.abs(y[100:] - prediction) < 1.96 * std)
    assert 0.88 <= covered <= 1


def test_targets_together_and_apart():
    X, Y = made(L=3)
    together = SparseBayesRegressor().fit(X, Y)
    assert together.coef_.shape == (3, 20)
    assert together.gamma_.shape == (20,)
    apart = SparseBayesRegressor(joint=False).fit(X, Y)
    assert apart.gamma_.shape == (3, 20)
    assert apart.noise_variance_.shape == (3,)
    for k in range(3):
        single = SparseBayesRegressor().fit(X, Y[:, k])
        assert_allclose(apart.coef_[k], single.coef_)
        assert_allclose(apart.intercept_[k], single.intercept_)
        assert_allclose(apart.certificate_[k], single.certificate_)
        expected = single.predict(X, return_std=True)
        for got, value in zip(apart.predict(X, return_std=True), expected, strict=True):
            assert_allclose(got[:, k], value)
    prediction, std = together.predict(X, return_std=True)
    assert prediction.shape == std.shape == Y.shape


def test_common_support_is_found_where_single_targets_fail():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((20, 60))
    coef = np.zeros((60, 12))
    rows = rng.choice(60, 6, replace=False)
    coef[rows] = rng.standard_normal((6, 12))
    Y = X @ coef + 0.1 * rng.standard_normal((20, 12))
    model = SparseBayesRegressor(noise_variance=0.01, fit_intercept=False)
    errors = {}
    for joint in (True, False):
        fitted = model.set_params(joint=joint).fit(X, Y)
        errors[joint] = np.linalg.norm(fitted.coef_.T - coef) / np.linalg.norm(coef)
    assert errors[True] < 0.1
    assert errors[False] > 3 * errors[True]


def test_warm_start_goes_on_from_the_last_fit():
    X, y = made()
    model = SparseBayesRegressor(warm_start=True).fit(X, y)
    first = model.coef_.copy(), model.n_iter_
    model.fit(X, y)
    assert_allclose(model.coef_, first[0], atol=1e-4)
    assert model.n_iter_ <= first[1]


def test_published_settings():
    X, y = made(40, 80, is_complex=True)
    model = SparseBayesRegressor.published(max_iter=20)
    assert model.get_params()["rule"] == "em"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    assert model.n_iter_ <= 20
    assert_allclose(model.history_["noise_variance"][0], 0.1 * np.var(y, ddof=1))
    assert model.history_["noise_variance"][1] != model.history_["noise_variance"][0]


def test_a_start_that_is_given_is_used():
    X, y = made()
    with pytest.warns(ConvergenceWarning):
        model = SparseBayesRegressor("em", init=2.0, max_iter=1, polish=False, prune_tol=0.0).fit(
            X, y
        )
    centred = X - X.mean(0)
    S = 0.1 * np.var(y, ddof=1) * np.eye(60) + 2 * centred @ centred.T
    z = np.linalg.solve(S, centred)
    expected = 4 * (z.T @ (y - y.mean())) ** 2 + 2 - 4 * np.sum(centred * z, axis=0)
    assert_allclose(model.gamma_, expected, rtol=1e-8)


def test_score_of_complex_predictions():
    X, Y = made(L=2, is_complex=True)
    model = SparseBayesRegressor().fit(X, Y)
    error = np.sum(np.abs(Y - model.predict(X)) ** 2, axis=0)
    spread = np.sum(np.abs(Y - Y.mean(0)) ** 2, axis=0)
    assert_allclose(model.score(X, Y), np.mean(1 - error / spread))
    with pytest.raises(ValueError, match="y must have shape"):
        model.score(X, Y[:, 0])


def test_pickle_keeps_everything():
    X, y = made(is_complex=True)
    model = SparseBayesRegressor().fit(X, y)
    restored = pickle.loads(pickle.dumps(model))
    for got, value in zip(
        restored.predict(X, return_std=True), model.predict(X, return_std=True), strict=True
    ):
        assert np.array_equal(got, value)


def test_single_precision_is_kept():
    X, y = made()
    model = SparseBayesRegressor().fit(X.astype(np.float32), y.astype(np.float32))
    prediction, std = model.predict(X.astype(np.float32), return_std=True)
    assert {a.dtype for a in (model.coef_, prediction, std)} == {np.dtype(np.float32)}
    assert model.gamma_.dtype == model.sigma_.dtype == np.float64
    assert_allclose(model.coef_, SparseBayesRegressor().fit(X, y).coef_, atol=1e-4)


@pytest.mark.parametrize("power", [-25, 0, 25])
@pytest.mark.parametrize("kind", [np.float32, np.complex64])
def test_uncertainties_in_single_precision(power, kind):
    X, y = made(is_complex=kind is np.complex64)  # variances leave the range of single precision
    X, y = X.astype(kind), (10.0**power * y).astype(kind)
    model = SparseBayesRegressor().fit(X, y)
    wide = np.result_type(kind, np.float64)
    expected = SparseBayesRegressor().fit(X.astype(wide), y.astype(wide))
    prediction, std = model.predict(X, return_std=True)
    assert prediction.dtype == kind
    assert std.dtype == np.float32
    for got, value in zip(
        (prediction, std), expected.predict(X.astype(wide), return_std=True), strict=True
    ):
        assert_allclose(got, value, rtol=1e-4, atol=1e-4 * 10.0**power)
    assert_allclose(model.gamma_, expected.gamma_, rtol=1e-6)


def test_coefficients_beyond_single_precision_are_kept():
    X, y = made()
    X, y = (1e-25 * X).astype(np.float32), (1e25 * y).astype(np.float32)
    model = SparseBayesRegressor().fit(X, y)
    prediction = model.predict(X)
    assert np.all(np.isfinite(model.coef_))
    assert prediction.dtype == np.float32
    assert np.corrcoef(prediction * 1e-25, y * 1e-25)[0, 1] > 0.99


def test_masked_arrays_are_refused():
    X, y = made()
    with pytest.raises(TypeError, match="X is a masked array"):
        SparseBayesRegressor().fit(np.ma.masked_greater(X, 2), y)


@pytest.mark.parametrize(
    "parameters",
    [{"rule": "x"}, {"noise_variance": 0.0}, {"prune_tol": 1.0}, {"max_iter": 0}, {"init": 0.0}],
)
def test_bad_parameters_are_refused(parameters):
    X, y = made()
    model = SparseBayesRegressor(**parameters)
    with pytest.raises(ValueError, match=next(iter(parameters))):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_warning_of_the_floor_names_what_to_do():
    X, y = made(30, 60)
    with pytest.warns(UserWarning, match="Give noise_variance"):
        SparseBayesRegressor("fast").fit(X, y)
