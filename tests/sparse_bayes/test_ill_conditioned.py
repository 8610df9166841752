"""Nearly dependent features at little noise, against certificates in 50 decimal digits."""

import warnings
from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from sparseopt.sparse_bayes import SparseBayesRegressor, sparse_bayes
from sparseopt.sparse_bayes._posterior import (
    dense_posterior,
    evidence_terms,
    posterior_covariance,
    squared_norms,
)
from sparseopt.sparse_bayes._square_roots import OrthogonalFactors

RULES = ["convex", "em", "mackay", "fast"]


def exact_terms(X, y, g, s2):
    """Return x_j^H S^-1 x_j and (x_j^H S^-1 y)^2 by elimination in 50 decimal digits."""
    decimals = np.vectorize(lambda value: Decimal(float(value)), otypes=[object])
    with localcontext() as context:
        context.prec = 50
        X, g, n = decimals(X), decimals(g), len(X)
        S = (X * g) @ X.T
        S[np.diag_indices(n)] += Decimal(float(s2))
        right = np.column_stack([X, decimals(y)])
        for i in range(n):
            for j in range(i + 1, n):
                factor = S[j, i] / S[i, i]
                S[j, i:] -= factor * S[i, i:]
                right[j] -= factor * right[i]
        solved = right / np.diag(S)[:, None]
        sensitivity = (right[:, :-1] * solved[:, :-1]).sum(axis=0)
        inner = right[:, :-1].T @ solved[:, -1]
        return sensitivity.astype(float), (inner * inner).astype(float)


def exact_certificate(X, y, g, s2):
    sensitivity, power = exact_terms(X, y, g, s2)
    slopes = sensitivity - power
    return max(np.abs(g * slopes).max(), (-slopes / sensitivity).max())


def nearly_equal(seed, scale, n=15, p=20):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 1)) + scale * rng.standard_normal((n, p))
    return X, rng.standard_normal(n)


def quiet(X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sparse_bayes(X, y, **options)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("noise", [1e-5, 1e-7, 1e-8, 1e-9])
@pytest.mark.parametrize("shape", [(15, 20), (15, 10)])
def test_success_is_certified_by_exact_arithmetic(rule, noise, shape):
    for scale in (1e-2, 1e-4):
        X, y = nearly_equal(0, scale, *shape)
        result = quiet(X, y, rule=rule, noise_variance=noise)
        assert np.all(np.isfinite(result.x))
        exact = exact_certificate(X, y, result.gamma, noise)
        assert result.certificate >= 0.5 * exact - 1e-5
        if result.success:
            assert exact <= 1.2e-4


@pytest.mark.parametrize("rule", RULES)
def test_polynomials_of_high_degree(rule):
    t = np.linspace(-1, 1, 28)
    X, y = np.vander(t, 29), np.sin(3 * t) + 0.01 * np.cos(40 * t)
    for noise in (1e-5, 1e-8):
        result = quiet(X, y, rule=rule, noise_variance=noise)
        exact = exact_certificate(X, y, result.gamma, noise)
        if result.success:
            assert exact <= 1.2e-4
        else:  # rounding decides how far it comes, but what it says of that must be true
            assert noise < 1e-7
            assert exact <= min(2 * result.certificate, 1e-2)


@pytest.mark.parametrize("rule", RULES)
def test_noise_below_the_rounding_errors_of_the_covariance(rule):
    X, y = nearly_equal(0, 1e-6, 40, 60)  # only differences of nearly equal features explain it
    result = quiet(X, y, rule=rule, noise_variance=3e-10)
    assert np.isfinite(result.fun)
    if not result.success:
        with pytest.warns(ConvergenceWarning, match="raise noise_variance"):
            sparse_bayes(X, y, rule=rule, noise_variance=3e-10)


def test_success_is_withheld_where_rounding_hides_the_derivative():
    t = np.linspace(-1, 1, 28)
    X, y = np.vander(t, 29), np.sin(3 * t) + 0.01 * np.cos(40 * t)
    with pytest.warns(ConvergenceWarning, match="rounding errors may hide .* raise noise_variance"):
        model = SparseBayesRegressor(noise_variance=1e-8, fit_intercept=False).fit(X, y)
    assert not model.converged_
    assert model.certificate_ > 1e-4


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", [(12, 7), (12, 20)])
def test_orthogonal_factors_give_the_same_posterior(is_complex, shape):
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape)
    if is_complex:
        X = X + 1j * rng.standard_normal(shape)
    Y = rng.standard_normal((12, 2)).astype(X.dtype)
    g = rng.random(shape[1]) + 0.1
    factors = OrthogonalFactors(X, g, 0.2)
    posterior = dense_posterior(X, Y, g, 0.2)
    assert_allclose(factors.mean(Y), posterior.mean, rtol=1e-10, atol=1e-12)
    half = factors.half()
    assert_allclose(half.conj().T @ half, posterior_covariance(X, g, 0.2), rtol=1e-9, atol=1e-12)
    rest = factors.remainder(Y)
    assert_allclose(0.2**0.5 * rest[:12], posterior.residual, rtol=1e-9, atol=1e-12)
    nll = 12 * np.log(0.2) + factors.log_determinant + squared_norms(rest, None) / 2
    assert_allclose(nll, posterior.nll, rtol=1e-12)


@pytest.mark.parametrize("shape", [(15, 9), (15, 15), (15, 30)])
def test_terms_of_the_derivative_with_few_digits_left(shape):
    X, y = nearly_equal(1, 1e-5, *shape)
    rng = np.random.default_rng(2)
    g = np.where(rng.random(shape[1]) < 0.6, 10.0 ** rng.uniform(-2, 6, shape[1]), 0.0)
    sensitivity, power = evidence_terms(X, y[:, None], g, 1e-4)
    exact = exact_terms(X, y, g, 1e-4)
    assert_allclose(sensitivity, exact[0], rtol=1e-4)
    scale = np.maximum(exact[0], exact[1])
    assert np.all(np.abs(power - exact[1]) <= 1e-3 * scale)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("decades", [3, 60])
def test_units_of_features_do_not_matter(rule, decades):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((40, 1)) + rng.standard_normal((40, 12))
    y = X[:, 2] - 2 * X[:, 8] + 0.3 * rng.standard_normal(40)
    units = 10.0 ** rng.uniform(-decades, decades, 12)
    options = {"rule": rule, "tol": 1e-8, "max_iter": 5000, "fit_intercept": True}
    base, scaled = quiet(X, y, **options), quiet(X / units, y, **options)
    assert_allclose(scaled.gamma / units**2, base.gamma, rtol=1e-5, atol=1e-8)
    assert_allclose(scaled.x / units, base.x, rtol=1e-6, atol=1e-8)
    assert_allclose(scaled.fun, base.fun, rtol=1e-10)
