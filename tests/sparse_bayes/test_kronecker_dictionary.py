import functools

import array_api_strict
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, lsqr

from sparseopt.sparse_bayes._kronecker_dictionary import (
    KroneckerDictionary,
    mode_products,
    outer_product,
)

SIZES = [((4,), (6,)), ((4, 3), (2, 5)), ((3, 4, 2), (5, 2, 3)), ((2, 3, 2, 2), (3, 2, 4, 1))]


def make_factors(rows, columns, *, complex_valued=False, seed=0):
    rng = np.random.default_rng(seed)
    factors = [rng.standard_normal(shape) for shape in zip(rows, columns, strict=True)]
    if complex_valued:
        factors = [A + 1j * rng.standard_normal(A.shape) for A in factors]
    return factors


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("complex_valued", [False, True])
def test_operator_equals_the_kronecker_product(rows, columns, complex_valued):
    factors = make_factors(rows, columns, complex_valued=complex_valued)
    dictionary = KroneckerDictionary(factors)
    dense = functools.reduce(np.kron, factors)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(dense.shape[1]), rng.standard_normal(dense.shape[0])
    X, Y = rng.standard_normal((len(x), 3)), rng.standard_normal((len(y), 2))
    assert isinstance(dictionary, LinearOperator)
    assert dictionary.shape == dense.shape
    assert dictionary.dtype == dense.dtype
    np.testing.assert_allclose(dictionary @ x, dense @ x, atol=1e-12)
    np.testing.assert_allclose(dictionary @ X, dense @ X, atol=1e-12)
    np.testing.assert_allclose(dictionary.rmatvec(y), dense.conj().T @ y, atol=1e-12)
    np.testing.assert_allclose(dictionary.H @ Y, dense.conj().T @ Y, atol=1e-12)
    np.testing.assert_allclose(dictionary.T @ Y, dense.T @ Y, atol=1e-12)
    np.testing.assert_allclose(dictionary.column_norms().ravel(), np.linalg.norm(dense, axis=0))


def test_tensors_keep_their_axes():
    factors = make_factors((3, 4), (5, 2))
    dictionary = KroneckerDictionary(factors)
    X = np.random.default_rng(0).standard_normal((5, 2, 3))
    Y = dictionary.apply(X)
    np.testing.assert_allclose(Y, np.einsum("ai,bj,ijl->abl", *factors, X))
    np.testing.assert_allclose(
        dictionary.apply_adjoint(Y), np.einsum("ai,bj,abl->ijl", *factors, Y)
    )
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        dictionary.apply(X[:4])


def test_array_api():
    factors = make_factors((3, 4, 2), (5, 2, 3), complex_valued=True)
    strict = [array_api_strict.asarray(A) for A in factors]
    X = np.random.default_rng(0).standard_normal((5, 2, 3)) + 0j
    expected = KroneckerDictionary(factors).apply(X)
    dictionary = KroneckerDictionary(strict)
    tensor = dictionary.apply(array_api_strict.asarray(X))
    np.testing.assert_allclose(np.asarray(tensor), expected)
    assert dictionary.dtype == np.complex128
    assert dictionary.column_norms().dtype == array_api_strict.float64


def test_works_with_scipy_solvers():
    factors = make_factors((5, 6), (3, 4))
    dictionary = KroneckerDictionary(factors)
    x = np.arange(12.0)
    np.testing.assert_allclose(lsqr(dictionary, dictionary @ x, atol=1e-12)[0], x, atol=1e-6)


def test_factors_are_brought_to_one_dtype():
    dictionary = KroneckerDictionary([np.eye(2, dtype=np.float32), 1j * np.eye(3)])
    assert {A.dtype for A in dictionary.factors} == {np.dtype(np.complex128)}
    assert KroneckerDictionary([np.eye(2, dtype=int)]).dtype == np.float64
    assert KroneckerDictionary([np.eye(2, dtype=np.float32)]).dtype == np.float32


@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        ([], ValueError, "at least one"),
        (np.eye(3), TypeError, "list or tuple"),
        ([np.ones(3)], ValueError, r"factor 0 .*\(3,\)"),
        ([np.eye(2), np.ones((0, 3))], ValueError, "factor 1"),
        ([np.eye(2), np.full((2, 2), np.nan)], ValueError, "factor 1 must be finite"),
        ([np.full((2, 2), "a")], ValueError, "factor 0 must hold numbers"),
        ([np.eye(2), array_api_strict.eye(2)], TypeError, None),
    ],
)
def test_bad_factors(factors, error, message):
    with pytest.raises(error, match=message):
        KroneckerDictionary(factors)


def test_outer_and_mode_products_of_one_axis():
    v = np.arange(3.0)
    assert np.array_equal(outer_product([v]), v)
    assert np.array_equal(mode_products([2 * np.eye(3)], v), 2 * v)
