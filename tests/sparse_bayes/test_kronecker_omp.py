import functools

import array_api_strict
import numpy as np
import pytest
from sklearn.linear_model import OrthogonalMatchingPursuit

from sparseopt.sparse_bayes._kronecker_dictionary import KroneckerDictionary
from sparseopt.sparse_bayes._kronecker_omp import KroneckerOMP
from sparseopt.sparse_bayes._kronecker_omp_function import kronecker_omp


def make_problem(*, complex_valued=False, n_targets=None, noise=0.0):
    rng = np.random.default_rng(0)

    def draw(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if complex_valued else real

    factors = [draw(24, 12), draw(20, 9), draw(26, 14)]
    targets = () if n_targets is None else (n_targets,)
    x = np.zeros((12, 9, 14, *targets), dtype=complex if complex_valued else float)
    x[np.ix_([1, 7], [3, 4], [0, 13])] = draw(2, 2, 2, *targets)
    y = KroneckerDictionary(factors).apply(x)
    return factors, y + noise * draw(*y.shape), x


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("n_targets", [None, 3])
def test_recovers_coefficients_without_noise(complex_valued, n_targets):
    factors, y, x = make_problem(complex_valued=complex_valued, n_targets=n_targets)
    model = KroneckerOMP(tol=1e-16).fit(factors, y)
    np.testing.assert_allclose(model.coef_, x, atol=1e-10)
    assert model.residual_norm_ <= 1e-16
    assert [int(s.sum()) for s in model.supports_] == [2, 2, 2]


def test_coefficients_are_least_squares_on_the_support():
    factors, y, _ = make_problem(complex_valued=True, n_targets=2, noise=0.3)
    model = KroneckerOMP(n_nonzero_coefs=(3, 2, 4)).fit(factors, y)
    assert [int(s.sum()) for s in model.supports_] == [3, 2, 4]
    chosen = [A[:, s] for A, s in zip(factors, model.supports_, strict=True)]
    dense = functools.reduce(np.kron, chosen)
    expected = np.linalg.lstsq(dense, y.reshape(-1, 2), rcond=None)[0]
    actual = model.coef_[np.ix_(*model.supports_)].reshape(-1, 2)
    np.testing.assert_allclose(actual, expected, atol=1e-10)
    residual = np.linalg.norm(y - model.predict(factors)) ** 2
    assert model.residual_norm_ == pytest.approx(residual)
    assert np.all(np.diff(model.history_["objective"]) <= 1e-9)


def test_one_factor_is_orthogonal_matching_pursuit():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 30))
    X /= np.linalg.norm(X, axis=0)
    y = X[:, [2, 8, 20]] @ [3.0, -2.0, 1.0] + 0.01 * rng.standard_normal(20)
    for k in (1, 3, 6):
        expected = OrthogonalMatchingPursuit(n_nonzero_coefs=k, fit_intercept=False).fit(X, y)
        np.testing.assert_allclose(KroneckerOMP(k).fit(X, y).coef_, expected.coef_, atol=1e-10)
    default = OrthogonalMatchingPursuit(fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(KroneckerOMP().fit(X, y).coef_, default.coef_, atol=1e-10)


def test_column_scales_do_not_matter():
    factors, y, x = make_problem()
    scales = np.logspace(-3, 3, 12)
    model = KroneckerOMP(2).fit([factors[0] * scales, *factors[1:]], y)
    np.testing.assert_allclose(model.coef_ * scales[:, None, None], x, atol=1e-9)
    tiny = KroneckerOMP(2).fit(factors, 1e-150 * y)
    np.testing.assert_allclose(tiny.coef_ * 1e150, x, atol=1e-9)


def test_dependent_and_zero_columns_are_left_out():
    factors, y, _ = make_problem(noise=0.1)
    doubled = np.hstack([factors[1][:, :2], 2 * factors[1][:, :2], np.zeros((20, 1))])
    model = KroneckerOMP(tol=0.0).fit([factors[0], doubled, factors[2]], y)
    assert int(model.supports_[1].sum()) == 2
    assert not model.supports_[1][4]
    assert np.all(np.isfinite(model.coef_))


def test_zero_data():
    factors, y, _ = make_problem()
    model = KroneckerOMP().fit(factors, 0 * y)
    assert not model.coef_.any()
    assert model.n_iter_ == 0


@pytest.mark.parametrize("complex_valued", [False, True])
def test_array_api(complex_valued):
    factors, y, _ = make_problem(complex_valued=complex_valued, n_targets=2, noise=0.2)
    expected = kronecker_omp(factors, y, n_nonzero_coefs=3)
    strict = [array_api_strict.asarray(A) for A in factors]
    result = kronecker_omp(strict, array_api_strict.asarray(y), n_nonzero_coefs=3)
    np.testing.assert_allclose(np.asarray(result.coef), expected.coef, atol=1e-10)
    for actual, support in zip(result.supports, expected.supports, strict=True):
        assert np.array_equal(np.asarray(actual), support)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_nonzero_coefs": (2, 2)}, r"one a factor \(3\), got 2"),
        ({"n_nonzero_coefs": 13}, "between 1 and"),
        ({"n_nonzero_coefs": 0}, "n_nonzero_coefs"),
        ({"tol": -1.0}, "tol"),
    ],
)
def test_bad_parameters(parameters, message):
    factors, y, _ = make_problem()
    with pytest.raises(ValueError, match=message):
        KroneckerOMP(**parameters).fit(factors, y)


def test_fractions_of_columns_are_refused():
    factors, y, _ = make_problem()
    with pytest.raises(TypeError, match="n_nonzero_coefs must be an integer"):
        KroneckerOMP(n_nonzero_coefs=(1.5, 2, 2)).fit(factors, y)


def test_bad_data():
    factors, y, _ = make_problem()
    with pytest.raises(ValueError, match=r"12480 = 24 \* 20 \* 26"):
        KroneckerOMP().fit(factors, y[:5])
    with pytest.raises(ValueError, match="at least one matrix"):
        KroneckerOMP().fit([], y)
