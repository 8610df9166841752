"""Units of data and of columns: they change nothing, or the error says why they cannot be."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt.sparse_bayes import KroneckerDictionary, KroneckerOMP
from sparseopt.sparse_bayes._kronecker_sbl_function import kronecker_sbl

METHODS = [{"m_step": name} for name in ("am", "svd", "ksbl", "classic")]


def make_problem(*, complex_valued=False, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if complex_valued else real

    factors = [draw(6, 8), draw(7, 9), draw(8, 7)]
    x = np.zeros((8, 9, 7), dtype=complex if complex_valued else float)
    x[np.ix_([1, 5], [0, 4], [2, 6])] = draw(2, 2, 2)
    y = KroneckerDictionary(factors).apply(x)
    return factors, y + noise * np.std(y) * draw(*y.shape), x


def column_scales(size, *, seed=0):
    """Return powers of two from 1 / size to size for the columns of each factor."""
    rng = np.random.default_rng(seed)
    exponent = np.log2(size)
    return [2.0 ** np.round(rng.uniform(-exponent, exponent, n)) for n in (8, 9, 7)]


@pytest.mark.parametrize("size", [1e5, 1e30])
@pytest.mark.parametrize("noise_variance", [0.2, "learn"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("complex_valued", [False, True])
def test_scales_of_columns_do_not_matter(method, noise_variance, size, complex_valued):
    factors, y, _ = make_problem(complex_valued=complex_valued)
    limit = 8 if method["m_step"] == "classic" else 40
    settings = {**method, "noise_variance": noise_variance, "warn": False, "max_iter": limit}
    expected = kronecker_sbl(factors, y, **settings)
    scales = column_scales(size)
    scaled = [factor * scale for factor, scale in zip(factors, scales, strict=True)]
    result = kronecker_sbl(scaled, y, **settings)
    weights = KroneckerDictionary([np.diag(scale) for scale in scales])
    np.testing.assert_allclose(weights.apply(result.coef), expected.coef, rtol=1e-7, atol=1e-12)
    variance = weights.apply(weights.apply(result.variance))
    np.testing.assert_allclose(variance, expected.variance, rtol=1e-7)
    assert result.fun == pytest.approx(expected.fun, rel=1e-9)
    assert result.certificate == pytest.approx(expected.certificate, rel=1e-5, abs=1e-9)
    for support, other in zip(result.supports, expected.supports, strict=True):
        assert np.array_equal(support, other)


def test_columns_of_a_coupled_factor_keep_their_ratios():
    factors, y, _ = make_problem()
    settings = {"m_step": "am", "pattern_coupling": (0.5, None, None), "noise_variance": 0.2}
    scaled = [factors[0] * 2.0 ** np.arange(8), *factors[1:]]
    result = kronecker_sbl(scaled, y, burn_in=10**6, **settings)
    coupling = np.eye(8) + 0.5 * (np.eye(8, k=1) + np.eye(8, k=-1))
    v = np.linalg.solve(coupling, result.gammas[0])
    assert np.all(v >= -1e-9 * v.max())
    expected = kronecker_sbl(factors, y, **settings)
    rest = [factors[0], factors[1] * 2.0 ** np.arange(-4, 5), factors[2] * 2.0**90]
    result = kronecker_sbl(rest, y, **settings)
    np.testing.assert_allclose(
        result.coef * (2.0 ** np.arange(-4, 5))[:, None] * 2.0**90, expected.coef, atol=1e-9
    )


@pytest.mark.parametrize("factor", [1e-145, 1e-30, 1e30, 1e145])
@pytest.mark.parametrize("method", METHODS[:2])
def test_scale_of_measurements_does_not_matter(method, factor):
    factors, y, _ = make_problem()
    expected = kronecker_sbl(factors, y, **method)
    result = kronecker_sbl(factors, factor * y, **method)
    np.testing.assert_allclose(result.coef / factor, expected.coef, rtol=1e-6, atol=1e-12)
    gamma = result.gammas[-1] / factor / factor
    np.testing.assert_allclose(gamma, expected.gammas[-1], rtol=1e-6)
    assert result.noise_variance / factor / factor == pytest.approx(expected.noise_variance)
    omp = KroneckerOMP(2).fit(factors, factor * y)
    np.testing.assert_allclose(omp.coef_ / factor, KroneckerOMP(2).fit(factors, y).coef_)
    assert omp.residual_norm_ > 0


@pytest.mark.parametrize("factor", [1e-170, 1e-162, 1e160, 1e305])
def test_measurements_without_squares_are_refused(factor):
    factors, y, _ = make_problem()
    for run in (kronecker_sbl, KroneckerOMP(2).fit):
        with pytest.raises(ValueError, match="so that squares of them are numbers"):
            run(factors, factor * y)


@pytest.mark.parametrize("factor", [1e-140, 1e140])
def test_coefficients_without_squares_are_refused(factor):
    factors, y, _ = make_problem()
    scaled = [factors[0] * factor, factors[1] * factor, factors[2]]
    with pytest.raises(ValueError, match="cannot be represented in float64: rescale"):
        kronecker_sbl(scaled, y)
    with pytest.raises(ValueError, match="cannot be represented in float64: rescale"):
        KroneckerOMP(2).fit([A * factor for A in factors], y)


@pytest.mark.parametrize("factor", [1e-30, 1e25])
@pytest.mark.parametrize("method", METHODS[:2])
def test_squares_of_single_precision_need_double(method, factor):
    factors, y, _ = make_problem()
    single = [A.astype(np.float32) for A in factors]
    result = kronecker_sbl(single, (factor * y).astype(np.float32), **method)
    expected = kronecker_sbl(factors, y, **method)
    assert result.coef.dtype == np.float32
    np.testing.assert_allclose(result.coef / factor, expected.coef, atol=1e-3)
    for gamma in result.gammas:
        assert gamma.dtype == np.float64
        assert np.all(np.isfinite(gamma))
    assert np.all(np.isfinite(result.variance))
    for support, other in zip(result.supports, expected.supports, strict=True):
        assert np.array_equal(support, other)


def test_largest_and_smallest_numbers_of_a_precision():
    factors, y, _ = make_problem()
    expected = KroneckerOMP(2).fit(factors, y).coef_
    for factor, scale in ((1e-305, 1e-140), (1e305, 1e140)):
        model = KroneckerOMP(2).fit([factors[0] * factor, *factors[1:]], y * scale)
        np.testing.assert_allclose(model.coef_ * factor / scale, expected, atol=1e-9)
    single = [A.astype(np.float32) for A in (factors[0] * 5e37, factors[1] * 1e-37, factors[2])]
    model = KroneckerOMP(2).fit(single, y.astype(np.float32))
    np.testing.assert_allclose(model.coef_ * 5.0, expected, atol=1e-4)


@pytest.mark.parametrize("variance", [1e-300, 1e-100, 1e20, 1e300])
def test_initial_variances_out_of_range_are_refused(variance):
    factors, y, _ = make_problem()
    with pytest.raises(ValueError, match="initial_variance must be between"):
        kronecker_sbl(factors, y, initial_variance=variance)


@pytest.mark.parametrize("m_step", ["am", "svd", "ksbl"])
@pytest.mark.parametrize("seed", range(4))
def test_single_precision_without_noise(m_step, seed):
    factors, y, x = make_problem(seed=seed, noise=0.0)
    single = [A.astype(np.float32) for A in factors]
    result = kronecker_sbl(single, y.astype(np.float32), m_step=m_step, warn=False)
    assert result.success
    assert np.linalg.norm(result.coef - x) < 1e-5 * np.linalg.norm(x)


@pytest.mark.parametrize("m_step", ["am", "svd"])
@pytest.mark.parametrize("scale", [1e-5, 1e-9])
def test_noise_that_rounding_hides_ends_a_run(m_step, scale):
    factors, y, _ = make_problem()
    factors[0] = factors[0][:, :1] + scale * factors[0]
    noise = 1e-10 * np.mean(y**2)
    with pytest.warns(ConvergenceWarning, match="rounding errors of the signal are larger"):
        result = kronecker_sbl(factors, y, m_step=m_step, noise_variance=noise)
    assert not result.success
    assert np.all(np.isfinite(result.coef))
    assert np.isfinite(result.fun)


def test_noise_below_the_precision_is_refused():
    factors, y, _ = make_problem()
    with pytest.raises(ValueError, match="noise_variance must be at least 1e-20 times"):
        kronecker_sbl(factors, y, noise_variance=1e-21 * np.mean(y**2))
