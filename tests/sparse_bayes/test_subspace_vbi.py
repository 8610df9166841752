"""SubspaceVBIRegressor: supports, uncertainties, invariances, starts, input that it refuses."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks as sklearn_checks

from sparseopt.sparse_bayes import (
    GridMRFSupport,
    IndependentSupport,
    JointSupport,
    MarkovChainSupport,
    SubspaceVBIRegressor,
)
from sparseopt.sparse_bayes._variational._subspace_vbi_function import subspace_vbi
from sparseopt.testing import (
    expected_failed_checks,
    parametrize_with_checks,
    parametrize_with_complex_checks,
)

KINDS = pytest.mark.parametrize("is_complex", [False, True])
COVARIANCES = pytest.mark.parametrize("covariance", ["subspace", "diag", "full"])
# The defaults are checked with all other estimators.
VARIANTS = [
    SubspaceVBIRegressor(covariance="full", collapse=True),
    SubspaceVBIRegressor(MarkovChainSupport(), covariance="diag", noise_variance=1.0, n_init=1),
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


def normal(rng, *shape, is_complex=True):
    values = rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape)) / 2**0.5 if is_complex else values


def made(n=40, Q=100, active=6, *, K=None, snr=20, is_complex=True, seed=0, chosen=None):
    """Return features, targets, coefficients of the shape of ``coef_``, the noise's variance."""
    rng = np.random.default_rng(seed)
    X = normal(rng, n, Q, is_complex=is_complex)
    chosen = rng.choice(Q, active, replace=False) if chosen is None else chosen
    signs = normal(rng, K or 1, len(chosen), is_complex=is_complex)
    coef = np.zeros((K or 1, Q), X.dtype)
    coef[:, chosen] = signs / np.abs(signs) * rng.uniform(0.6, 1.4, signs.shape)
    Y = X @ coef.T
    noise_variance = np.mean(np.abs(Y) ** 2) / 10 ** (snr / 10)
    Y = Y + normal(rng, *Y.shape, is_complex=is_complex) * noise_variance**0.5
    return (X, Y, coef, noise_variance) if K else (X, Y[:, 0], coef[0], noise_variance)


def error(estimate, truth):
    return np.sum(np.abs(estimate - truth) ** 2) / np.sum(np.abs(truth) ** 2)


@KINDS
@COVARIANCES
@pytest.mark.parametrize("collapse", [False, True])
def test_support_is_recovered(covariance, collapse, is_complex):
    errors = []
    for seed in range(10):
        X, y, coef, noise_variance = made(is_complex=is_complex, seed=seed)
        model = SubspaceVBIRegressor(covariance=covariance, collapse=collapse, fit_intercept=False)
        model.fit(X, y)
        assert np.array_equal(model.support_, coef != 0)
        assert model.converged_
        assert model.certificate_ <= 1e-5
        assert 0.4 < model.noise_variance_ / noise_variance < 1.6
        errors.append(error(model.coef_, coef))
    assert np.median(errors) < 3e-3


@pytest.mark.parametrize("n_init", [1, 2, 3])
def test_sparse_bayesian_start_recovers_the_support(n_init):
    for seed in range(5):
        X, y, coef, _ = made(seed=seed)
        model = SubspaceVBIRegressor(n_init=n_init).fit(X, y)
        assert np.array_equal(model.support_, coef != 0)


def test_more_starts_do_not_lower_the_bound():
    gains = []
    for seed in range(6):
        X, y, _, _ = made(snr=5, seed=seed)
        one, three = (SubspaceVBIRegressor(n_init=n, max_iter=30, tol=0) for n in (1, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            gains.append(three.fit(X, y).elbo_[-1] - one.fit(X, y).elbo_[-1])
        assert np.all(np.diff(three.elbo_) > -1e-9 * np.abs(three.elbo_[-1]))
    assert min(gains) >= 0
    assert max(gains) > 0


def exact_posterior(X, y, noise_variance, proba, rate_off):
    """Return probabilities and mean by enumeration of supports and draws of the precisions."""
    rng, (n, Q), n_draws = np.random.default_rng(0), X.shape, 2000
    on = 1 / rng.gamma(1.0, 1.0, (n_draws, Q))
    off = rate_off / rng.gamma(1.0, 1.0, (n_draws, Q))
    supports = np.array(list(itertools.product((0, 1), repeat=Q)))
    evidence, means = [], []
    for s in supports:
        g = np.where(s, on, off)
        S = (X * g[:, None, :]) @ X.conj().T + noise_variance * np.eye(n)
        solved = np.linalg.solve(S, np.broadcast_to(y[:, None], (n_draws, n, 1)))[..., 0]
        logs = -np.linalg.slogdet(S)[1] - (solved @ y.conj()).real
        weights = np.exp(logs - logs.max())
        evidence.append(np.log(weights.mean()) + logs.max())
        means.append(weights @ (g * (solved @ X.conj())) / weights.sum())
    size = supports.sum(axis=1)
    evidence = np.array(evidence) + size * np.log(proba) + (Q - size) * np.log(1 - proba)
    posterior = np.exp(evidence - evidence.max())
    posterior /= posterior.sum()
    return posterior @ supports, posterior @ np.array(means)


def test_exact_posterior_of_tiny_problems():
    errors, doubts = [], []
    for seed in range(6):
        X, y, _, noise_variance = made(6, 7, 2, snr=25, seed=seed)
        X, y, noise_variance = X / 6**0.5, y / 6**0.5, noise_variance / 6
        support = IndependentSupport(0.1, learn=False)
        model = SubspaceVBIRegressor(
            support, b=1.0, b0=1e-5, noise_variance=noise_variance, fit_intercept=False
        ).fit(X, y)
        proba, mean = exact_posterior(X, y, noise_variance, 0.1, 1e-5)
        errors.append(np.linalg.norm(model.coef_ - mean) / np.linalg.norm(mean))
        doubts.append(np.max(np.abs(model.support_proba_ - proba)))
    assert np.mean(errors) <= 2e-3
    assert np.max(errors) <= 5e-3
    assert np.max(doubts) <= 3e-3


@KINDS
@COVARIANCES
def test_std_of_new_observations(covariance, is_complex):
    X, y, coef, noise_variance = made(60, 20, 8, snr=3, is_complex=is_complex)
    model = SubspaceVBIRegressor(covariance=covariance, noise_variance=noise_variance)
    prediction, std = model.fit(X, y).predict(X, return_std=True)
    assert np.array_equal(prediction, model.predict(X))
    rows = X - X.mean(axis=0)
    Sigma = np.diag(model.coef_variance_).astype(X.dtype)
    chosen = np.flatnonzero(model.support_)
    Sigma[np.ix_(chosen, chosen)] = model.sigma_
    variance = np.sum((rows @ Sigma) * rows.conj(), axis=1).real + noise_variance
    assert_allclose(std, variance**0.5, rtol=1e-12 if covariance != "full" else 1e-3)
    assert_allclose(np.diag(model.sigma_), model.coef_variance_[chosen])
    fresh = normal(np.random.default_rng(1), 4000, 20, is_complex=is_complex)
    prediction, std = model.predict(fresh, return_std=True)
    miss = np.abs(prediction - model.intercept_ - fresh @ coef) ** 2 + noise_variance
    assert 0.7 < np.mean(miss) / np.mean(std**2) < 1.3


def test_subspace_covariance_is_between_the_others():
    X, y, _, noise_variance = made(40, 30, 5)
    models = {
        name: SubspaceVBIRegressor(covariance=name, noise_variance=noise_variance).fit(X, y)
        for name in ("diag", "subspace", "full")
    }
    bounds = [models[name].elbo_[-1] for name in ("diag", "subspace", "full")]
    assert bounds[0] < bounds[1] < bounds[2]
    without = SubspaceVBIRegressor(max_active=0, noise_variance=noise_variance).fit(X, y)
    assert_allclose(without.coef_, models["diag"].coef_)
    assert_allclose(without.elbo_, models["diag"].elbo_)


def test_joint_support_borrows_from_other_targets():
    own, joint = 0, 0
    for seed in range(4):
        X, Y, coef, _ = made(30, 80, 6, K=5, snr=6, seed=seed)
        own += error(SubspaceVBIRegressor().fit(X, Y).coef_, coef)
        model = SubspaceVBIRegressor(JointSupport(0.05, 0.9)).fit(X, Y)
        joint += error(model.coef_, coef)
        assert model.common_support_proba_.shape == (80,)
        assert model.support_.shape == (5, 80)
        assert [len(sigma) for sigma in model.sigma_] == model.support_.sum(axis=1).tolist()
    assert joint < 0.7 * own


@pytest.mark.parametrize(
    ("prior", "n", "snr", "chosen"),
    [
        (MarkovChainSupport(), 24, 10, np.arange(30, 38)),
        (GridMRFSupport((10, 10)), 48, 6, np.add.outer([30, 40, 50], np.arange(4)).ravel()),
    ],
    ids=["runs", "clusters"],
)
def test_structured_priors_find_what_is_next_to_each_other(prior, n, snr, chosen):
    own, structured, gains = 0, 0, []
    for seed in range(6):
        X, y, coef, _ = made(n, snr=snr, seed=seed, chosen=chosen)
        independent = SubspaceVBIRegressor().fit(X, y)
        model = SubspaceVBIRegressor(prior).fit(X, y)
        own += error(independent.coef_, coef)
        structured += error(model.coef_, coef)
        gains.append(model.elbo_[-1] - independent.elbo_[-1])
    assert structured < 0.7 * own
    assert np.mean(gains) > 3


def test_learnt_prior():
    X, y, coef, _ = made()
    prior = IndependentSupport(0.3)
    model = SubspaceVBIRegressor(prior).fit(X, y)
    assert prior.probability == 0.3
    assert_allclose(model.support_prior_.probability, np.mean(coef != 0), rtol=1e-3)
    fixed = SubspaceVBIRegressor(IndependentSupport(0.3, learn=False)).fit(X, y)
    assert fixed.support_prior_.probability == 0.3
    assert model.elbo_[-1] > fixed.elbo_[-1]


@KINDS
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 10**6), fit_intercept=st.booleans())
def test_scales_do_not_matter(is_complex, seed, fit_intercept):
    X, y, _, noise_variance = made(30, 40, 3, is_complex=is_complex, seed=seed % 7)
    rng = np.random.default_rng(seed)
    features, target = 10 ** rng.uniform(-6, 6, 40), 10 ** rng.uniform(-6, 6)
    model = SubspaceVBIRegressor(fit_intercept=fit_intercept).fit(X, y)
    other = clone(model).fit(X * features, y * target)
    size = np.abs(model.coef_).max()
    assert_allclose(other.coef_ * features / target, model.coef_, atol=1e-9 * size)
    assert_allclose(other.noise_variance_ / target**2, model.noise_variance_, rtol=1e-8)
    assert_allclose(other.support_proba_, model.support_proba_, atol=1e-8)
    log_scale = (2 if is_complex else 1) * 30 * np.log(target)
    assert_allclose(other.elbo_[-1] + log_scale, model.elbo_[-1], rtol=1e-7)
    known = SubspaceVBIRegressor(
        noise_variance=noise_variance, b=2.0, b0=1e-4, fit_intercept=fit_intercept
    ).fit(X, y)
    other = clone(known).set_params(
        noise_variance=noise_variance * target**2, b=2.0 * target**2, b0=1e-4 * target**2
    )
    assert_allclose(other.fit(X, y * target).coef_ / target, known.coef_, atol=1e-9 * size)


def test_rates_are_in_units_of_squared_weights():
    """A prior of large or small weights moves them, whatever the features' norms."""
    X, y, coef, _ = made(30, 10, 2, snr=0)
    sizes = []
    for rate in (1e-6, 1.0):
        options = {"a": 50.0, "b": 50 * rate, "a0": 50.0, "b0": 50 * rate}
        sizes.append(np.linalg.norm(SubspaceVBIRegressor(**options).fit(X, y).coef_))
    assert sizes[0] < 0.01 * np.linalg.norm(coef) < 0.5 * sizes[1]


@KINDS
def test_order_and_rotations_do_not_matter(is_complex):
    X, Y, _, _ = made(30, 40, 4, K=3, is_complex=is_complex)
    rng = np.random.default_rng(1)
    model = SubspaceVBIRegressor(JointSupport(), fit_intercept=False).fit(X, Y)
    columns, targets = rng.permutation(40), rng.permutation(3)
    other = clone(model).fit(X[:, columns], Y[:, targets])
    tight = {"atol": 1e-9}
    assert_allclose(other.coef_, model.coef_[np.ix_(targets, columns)], **tight)
    assert_allclose(other.support_proba_, model.support_proba_[np.ix_(targets, columns)], **tight)
    U = np.linalg.qr(normal(rng, 30, 30, is_complex=is_complex))[0]
    rotated = clone(model).fit(U @ X, U @ Y)
    assert_allclose(rotated.coef_, model.coef_, **tight)
    assert_allclose(rotated.elbo_[-1], model.elbo_[-1])
    phases = np.exp(1j * rng.uniform(0, 6, 40)) if is_complex else rng.choice([-1, 1], 40)
    turned = clone(model).fit(X * phases, Y)
    assert_allclose(turned.coef_ * phases, model.coef_, **tight)


@KINDS
def test_integer_weights_are_repeated_rows(is_complex):
    X, y, _, _ = made(40, 15, 3, is_complex=is_complex)
    weights = np.random.default_rng(0).integers(0, 4, 40)
    model = SubspaceVBIRegressor().fit(X, y, sample_weight=weights)
    repeated = SubspaceVBIRegressor().fit(X.repeat(weights, axis=0), y.repeat(weights))
    assert_allclose(model.coef_, repeated.coef_, atol=1e-9)
    assert_allclose(model.noise_variance_, repeated.noise_variance_)
    assert_allclose(model.intercept_, repeated.intercept_)
    assert_allclose(model.elbo_[-1], repeated.elbo_[-1])


def test_intercept_is_the_mean():
    X, y, _, _ = made(is_complex=False)
    model = SubspaceVBIRegressor().fit(X + 3, y + 7)
    assert_allclose(model.intercept_, np.mean(y + 7) - np.mean(X + 3, axis=0) @ model.coef_)
    assert_allclose(model.coef_, SubspaceVBIRegressor().fit(X, y).coef_, atol=1e-9)
    assert SubspaceVBIRegressor(fit_intercept=False).fit(X, y).intercept_ == 0


def test_real_data_in_a_complex_dtype_are_real():
    X, y, _, _ = made(is_complex=False)
    model = SubspaceVBIRegressor().fit(X, y)
    cast = SubspaceVBIRegressor().fit(X.astype(complex), y)
    assert cast.coef_.dtype == np.complex128
    assert_allclose(cast.coef_, model.coef_)
    assert_allclose(cast.elbo_, model.elbo_)


def test_features_that_are_zero_or_constant():
    X, y, coef, _ = made(is_complex=False)
    keep = np.ones(100, bool)
    keep[[0, 50]] = coef[[0, 50]] != 0
    assert keep.sum() == 98
    X[:, 0], X[:, 50] = 0, 4.0
    model = SubspaceVBIRegressor().fit(X, y)
    for values in (model.coef_, model.coef_variance_, model.support_proba_):
        assert_allclose(values[[0, 50]], 0, atol=1e-12)
    assert np.array_equal(model.support_, coef != 0)
    _, std = model.predict(X, return_std=True)
    assert np.all(np.isfinite(std))
    nothing = SubspaceVBIRegressor().fit(np.zeros((40, 3)), y)
    assert np.all(nothing.coef_ == 0)
    assert not nothing.support_.any()
    assert_allclose(nothing.noise_variance_, np.var(y), rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_targets(value):
    X, _, _, _ = made(is_complex=False)
    model = SubspaceVBIRegressor().fit(X, np.full(40, value))
    assert np.all(model.coef_ == 0)
    assert not model.support_.any()
    assert model.intercept_ == value
    assert model.converged_
    assert model.n_iter_ == len(model.elbo_) == 0
    prediction, std = model.predict(X[:2], return_std=True)
    assert_allclose(prediction, value)
    assert_allclose(std, 0)


def test_one_feature_and_two_samples():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 1))
    model = SubspaceVBIRegressor().fit(X, 2 * X[:, 0] + 0.1 * rng.standard_normal(50))
    assert model.support_.all()
    assert_allclose(model.coef_, 2, atol=0.1)
    noise = SubspaceVBIRegressor().fit(X, rng.standard_normal(50))
    assert not noise.support_.any()
    assert np.all(np.isfinite(SubspaceVBIRegressor().fit(X[:2], [1.0, 2.0]).coef_))


@COVARIANCES
def test_copies_of_features_without_noise(covariance):
    """Nothing but the prior tells copies apart, and their shares are whatever; the fit is exact."""
    X, y, _, _ = made(2000, 10, 2, snr=300, is_complex=False)
    model = SubspaceVBIRegressor(covariance=covariance).fit(np.hstack([X, X]), y)
    assert_allclose(model.predict(np.hstack([X, X])), y, atol=1e-4)
    assert np.all(model.coef_variance_ > 0)
    long = np.tile(np.random.default_rng(0).standard_normal((100000, 2)), 2)
    model = SubspaceVBIRegressor(covariance=covariance).fit(long, 3 * long[:, 0])
    assert_allclose(model.predict(long[:50]), 3 * long[:50, 0], atol=1e-3)


def test_certificate_is_the_largest_residual():
    X, y, _, _ = made(snr=10)
    model = SubspaceVBIRegressor(tol=1e-9).fit(X, y)
    assert set(model.residuals_) == {"equation", "mean", "variance", "probability", "noise"}
    assert model.certificate_ == max(model.residuals_.values()) <= 1e-9
    assert model.history_["certificate"][-1] <= 1e-9
    rough = SubspaceVBIRegressor(tol=1e-3).fit(X, y)
    assert rough.n_iter_ < model.n_iter_
    assert error(rough.coef_, model.coef_) < 1e-4
    assert_allclose(-model.history_["objective"], model.elbo_)


def test_warns_if_not_converged():
    X, y, _, _ = made()
    with pytest.warns(ConvergenceWarning, match="Increase max_iter"):
        model = SubspaceVBIRegressor(max_iter=3).fit(X, y)
    assert not model.converged_
    assert model.n_iter_ == len(model.elbo_) == 3


def test_callback_stops():
    X, y, _, _ = made()
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result)
        if intermediate_result.nit == 4:
            raise StopIteration

    result = subspace_vbi(X, y, callback=callback)
    assert [state.nit for state in seen] == [1, 2, 3, 4]
    assert result.nit == 4
    assert not result.success
    assert_allclose(seen[-1].x[:, 0], result.x)


def test_noise_below_rounding_errors_is_refused():
    X, y, _, _ = made()
    with pytest.raises(ValueError, match="too small for the precision"):
        SubspaceVBIRegressor(noise_variance=1e-14).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"support_prior": IndependentSupport(1.0)}, "probability must lie in"),
        ({"support_prior": IndependentSupport(0.0)}, "probability must lie in"),
        ({"support_prior": IndependentSupport(np.full(7, 0.1))}, "broadcasts to"),
        ({"support_prior": GridMRFSupport((20, 20))}, "at most as many cells"),
        ({"support_prior": 0.1}, "'support_prior' parameter"),
        ({"covariance": "dense"}, "'covariance' parameter"),
        ({"a": 0.0}, "'a' parameter"),
        ({"b": -1.0}, "'b' parameter"),
        ({"b": 0.0}, "'b' parameter"),
        ({"a0": -1.0}, "'a0' parameter"),
        ({"b0": "wide"}, "'b0' parameter"),
        ({"noise_variance": 0.0}, "'noise_variance' parameter"),
        ({"n_inner": 0}, "'n_inner' parameter"),
        ({"n_init": 4}, "'n_init' parameter"),
        ({"max_active": -1}, "'max_active' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"max_iter": 0}, "'max_iter' parameter"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    X, y, _, _ = made()
    model = SubspaceVBIRegressor(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_bad_data_are_refused():
    X, y, _, _ = made()
    model = SubspaceVBIRegressor()
    for place, value in itertools.product(("X", "y"), (np.nan, np.inf, 1j * np.nan)):
        bad = {"X": X.copy(), "y": y.copy()}
        bad[place].flat[3] = value
        with pytest.raises(ValueError, match=f"{place} contains NaN or infinity"):
            model.fit(**bad)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[1:])
    with pytest.raises(ValueError, match="two rows or more"):
        model.fit(X[:1], y[:1])
    with pytest.raises(ValueError, match="Negative values in data passed to"):
        model.fit(X, y, sample_weight=np.full(40, -1.0))
    model.fit(X, y)
    with pytest.raises(ValueError, match="expecting 100 features"):
        model.predict(X[:, :5])


def test_pickle_keeps_uncertainties():
    X, Y, _, _ = made(K=2)
    model = SubspaceVBIRegressor(MarkovChainSupport()).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    for got, expected in zip(
        again.predict(X, return_std=True), model.predict(X, return_std=True), strict=True
    ):
        assert np.array_equal(got, expected)
        assert got.shape == (40, 2)
