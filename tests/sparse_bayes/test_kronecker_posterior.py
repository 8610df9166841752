import functools
from pathlib import Path

import array_api_strict
import numpy as np
import pytest

from sparseopt.sparse_bayes._kronecker_posterior import kronecker_posterior

DATA = Path(__file__).parents[1] / "data" / "sparse_bayes"
SIZES = [
    ((7,), (4,)),
    ((4,), (7,)),
    ((4, 3), (5, 6)),
    ((6, 5), (3, 4)),
    ((3, 4, 2), (5, 2, 4)),
    ((2, 3, 2, 3), (3, 2, 4, 3)),
]


def make_problem(rows, columns, *, complex_valued, n_targets=None, seed=0):
    rng = np.random.default_rng(seed)

    def draw(shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if complex_valued else real

    factors = [draw(shape) for shape in zip(rows, columns, strict=True)]
    Y = draw(rows if n_targets is None else (*rows, n_targets))
    g = [rng.uniform(0.1, 2.0, n) for n in columns]
    return factors, Y, g


def dense_posterior(factors, Y, g, s2):
    A, variances = functools.reduce(np.kron, factors), functools.reduce(np.kron, g)
    Y = Y.reshape(len(A), -1)
    S = s2 * np.eye(len(A)) + (A * variances) @ A.conj().T
    mean = variances[:, None] * (A.conj().T @ np.linalg.solve(S, Y))
    reduction = np.einsum("ij,ij->j", A.conj(), np.linalg.solve(S, A)).real
    quadratic = np.vdot(Y, np.linalg.solve(S, Y)).real / Y.shape[1]
    return {
        "mean": mean,
        "variance": variances - variances**2 * reduction,
        "nll": np.linalg.slogdet(S)[1] + quadratic,
        "residual": np.linalg.norm(Y - A @ mean) ** 2 / Y.shape[1],
        "well_determined": variances @ reduction,
    }


@pytest.mark.parametrize("form", ["m", "n"])
@pytest.mark.parametrize("n_targets", [None, 1, 3])
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_equals_the_dense_formula(rows, columns, complex_valued, n_targets, form):
    factors, Y, g = make_problem(rows, columns, complex_valued=complex_valued, n_targets=n_targets)
    expected = dense_posterior(factors, Y, g, 0.2)
    posterior = kronecker_posterior(factors, Y, g, 0.2, form=form)
    assert posterior.mean.shape == columns + Y.shape[len(rows) :]
    for name, value in expected.items():
        actual = np.reshape(getattr(posterior, name), np.shape(value))
        np.testing.assert_allclose(actual, value, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("form", ["m", "n"])
def test_array_api(complex_valued, form):
    factors, Y, g = make_problem((3, 4, 2), (4, 3, 2), complex_valued=complex_valued, n_targets=2)
    options = {"form": form, "determined": form == "m"}
    expected = kronecker_posterior(factors, Y, g, 0.3, **options)
    strict = array_api_strict.asarray
    posterior = kronecker_posterior(
        [strict(A) for A in factors], strict(Y), [strict(v) for v in g], 0.3, **options
    )
    for actual, value in zip(posterior, expected, strict=True):
        if value is not None:
            np.testing.assert_allclose(np.asarray(actual), value, rtol=1e-12)
    assert (posterior.determined is None) == (form == "n")


@pytest.mark.parametrize("complex_valued", [False, True])
def test_what_the_data_determine_of_tiny_variances(complex_valued):
    factors, Y, g = make_problem((3, 4), (4, 3), complex_valued=complex_valued)
    g[0][1] *= 1e-30
    A = np.kron(*factors)
    full = np.kron(*g)
    S = 0.3 * np.eye(12) + (A * full) @ A.conj().T
    expected = full * np.einsum("ij,ij->j", A.conj(), np.linalg.solve(S, A)).real
    posterior = kronecker_posterior(factors, Y, g, 0.3, determined=True)
    np.testing.assert_allclose(posterior.determined.ravel(), expected, rtol=1e-9)
    assert posterior.well_determined == pytest.approx(expected.sum())


@pytest.mark.parametrize("form", ["m", "n", None])
@pytest.mark.parametrize("name", ["posterior_2", "posterior_3"])
def test_golden(name, form):
    data = np.load(DATA / f"{name}.npz", allow_pickle=False)
    numbers = range(1, int(data["n_factors"]) + 1)
    factors, g = [data[f"A{i}"] for i in numbers], [data[f"gamma{i}"] for i in numbers]
    Y = data["y"].reshape([len(A) for A in factors])
    posterior = kronecker_posterior(factors, Y, g, float(data["noise_var"]), form=form)
    np.testing.assert_allclose(posterior.mean.ravel(), data["mean"], rtol=1e-9)
    np.testing.assert_allclose(posterior.variance.ravel(), data["diag_cov"], rtol=1e-9)
    np.testing.assert_allclose(posterior.nll, data["cost"], rtol=1e-9)


@pytest.mark.parametrize("form", ["m", "n"])
def test_little_noise_keeps_the_digits_of_the_mean(form):
    factors, _, g = make_problem((6, 5), (3, 4), complex_valued=True)
    x = np.random.default_rng(1).standard_normal((3, 4))
    Y = np.einsum("ai,bj,ij->ab", *factors, x)
    posterior = kronecker_posterior(factors, Y, g, 1e-12, form=form)
    np.testing.assert_allclose(posterior.mean, x, atol=1e-9)
    assert np.all(posterior.variance >= 0)
    assert posterior.residual < 1e-18


def test_zero_variances_give_zero_coefficients():
    factors, Y, g = make_problem((4, 3), (5, 6), complex_valued=False)
    g[0][2] = 0.0
    for form in ("m", "n"):
        posterior = kronecker_posterior(factors, Y, g, 0.1, form=form)
        assert not posterior.mean[2].any()
        assert not posterior.variance[2].any()
        assert np.isfinite(posterior.nll)


def test_unitary_rows_and_scale():
    factors, Y, g = make_problem((4, 3), (5, 6), complex_valued=True)
    expected = kronecker_posterior(factors, Y, g, 0.1)
    rng = np.random.default_rng(2)
    Q, _ = np.linalg.qr(rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)))
    turned = kronecker_posterior([Q @ factors[0], factors[1]], Q @ Y, g, 0.1)
    np.testing.assert_allclose(turned.mean, expected.mean)
    np.testing.assert_allclose(turned.nll, expected.nll)
    scaled = kronecker_posterior(factors, 3 * Y, [g[0], 9 * g[1]], 0.9)
    np.testing.assert_allclose(scaled.mean, 3 * expected.mean)
    swapped = kronecker_posterior(factors[::-1], Y.T, g[::-1], 0.1)
    np.testing.assert_allclose(swapped.mean, expected.mean.T)
