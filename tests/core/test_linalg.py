"""Factorisation helpers against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, sparse

from sparseopt._core._linalg import (
    cholesky_append,
    cholesky_delete,
    solve_lower,
    solve_lower_adjoint,
    truncated_svd,
)


def random_gram(size, dtype, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((size + 5, size))
    if np.issubdtype(dtype, np.complexfloating):
        A = A + 1j * rng.standard_normal(A.shape)
    A = A.astype(dtype)
    return A.conj().T @ A


def grow(gram):
    """Build the factor row by row."""
    size = len(gram)
    factor = np.zeros_like(gram)
    for k in range(size):
        cross = gram[k, :].copy()
        assert cholesky_append(factor, k, cross, gram[k, k].real, 1e-12)
    return factor


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_appended_rows_give_the_cholesky_factor(dtype):
    gram = random_gram(7, dtype)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(grow(gram), linalg.cholesky(gram, lower=True), rtol=tolerance)


def test_dependent_column_is_refused_and_leaves_the_factor():
    gram = random_gram(4, np.float64)
    gram[3], gram[:, 3] = gram[0], gram[:, 0]
    gram[3, 3] = gram[0, 0]
    factor = np.zeros_like(gram)
    for k in range(3):
        assert cholesky_append(factor, k, gram[k].copy(), gram[k, k], 1e-12)
    before = factor.copy()
    assert not cholesky_append(factor, 3, gram[3].copy(), gram[3, 3], 1e-12)
    np.testing.assert_array_equal(factor, before)


@settings(max_examples=20, deadline=None)
@given(size=st.integers(2, 8), index=st.integers(0, 7), is_complex=st.booleans())
def test_deletion_equals_the_factor_of_the_smaller_matrix(size, index, is_complex):
    index %= size
    gram = random_gram(size, np.complex128 if is_complex else np.float64, seed=size)
    factor = grow(gram)
    cholesky_delete(factor, size, index)
    kept = np.delete(np.arange(size), index)
    leading = np.tril(factor[: size - 1, : size - 1])
    np.testing.assert_allclose(
        leading @ leading.conj().T, gram[np.ix_(kept, kept)], atol=1e-10 * np.abs(gram).max()
    )


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_triangular_solves(dtype):
    factor = grow(random_gram(6, dtype))
    rhs = np.arange(1.0, 7.0).astype(dtype)
    forward, backward = rhs.copy(), rhs.copy()
    solve_lower(factor, 6, forward)
    solve_lower_adjoint(factor, 6, backward)
    np.testing.assert_allclose(factor @ forward, rhs, rtol=1e-10)
    np.testing.assert_allclose(factor.conj().T @ backward, rhs, rtol=1e-10)


@pytest.mark.parametrize("rank", [2, 30, 50])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_truncated_svd_equals_the_full_one(rank, make):
    A = np.random.default_rng(0).standard_normal((80, 50))
    U, s, Vh = truncated_svd(make(A), rank, random_state=0)
    expected = linalg.svdvals(A)[:rank]
    np.testing.assert_allclose(s, expected, rtol=1e-8)
    np.testing.assert_allclose(U.T @ A @ Vh.T, np.diag(expected), atol=1e-7)


def test_truncated_svd_refuses_a_rank_out_of_range():
    with pytest.raises(ValueError, match="rank must be between 1 and 3"):
        truncated_svd(np.ones((5, 3)), 4)
