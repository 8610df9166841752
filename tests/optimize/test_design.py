"""Centred and weighted designs: dense and sparse agree, also where digits cancel."""

import numpy as np
import pytest
from scipy import sparse

from sparseopt.optimize import L1, coordinate_descent
from sparseopt.optimize._design import make_design


def make_columns(mean=0.0, n_samples=200, n_features=8, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features)) + mean
    X[:, 1] *= rng.random(n_samples) < 0.2
    return X.astype(dtype), rng.uniform(0, 2, n_samples).astype(dtype)


def centred(X, weights):
    X = X.astype(np.float64)
    mean = np.average(X, axis=0, weights=weights)
    return np.sqrt(weights)[:, None] * (X - mean)


@pytest.mark.parametrize("make", [np.asarray, sparse.csc_array, sparse.csr_array])
@pytest.mark.parametrize("mean", [0.0, 3.0, 3e4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_product_is_that_of_the_centred_matrix(make, mean, dtype):
    X, weights = make_columns(mean, dtype=dtype)
    expected = centred(X, weights)
    design = make_design(make(X), sample_weight=weights, fit_intercept=True)
    scale = np.abs(expected).max()
    tolerance = 1e-10 if dtype == np.float64 else 1e-5 + 1e-7 * mean
    residual = centred(X[:, [2]], weights)[:, 0] + np.sqrt(weights)
    residual -= np.sqrt(weights) * (np.sqrt(weights) @ residual) / weights.sum()
    residual = residual.astype(design.dtype)
    left, right = np.array([0, 1, 5]), np.array([1, 7])
    for actual, wanted in [
        (design.column_norms_squared, (expected**2).sum(axis=0)),
        (design.correlate(residual), expected.T @ residual),
        (design.gram(left, right), expected[:, left].T @ expected[:, right]),
        (design.columns(right), expected[:, right]),
        (design.predict(np.arange(8.0)), expected @ np.arange(8.0)),
    ]:
        np.testing.assert_allclose(actual, wanted, atol=tolerance * scale * len(X), rtol=1e-5)


@pytest.mark.parametrize("make", [np.asarray, np.asfortranarray, sparse.csc_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_constant_columns_have_norm_zero(make, weighted, dtype):
    X, weights = make_columns(n_samples=10_000, dtype=dtype)
    X[:, 2] = 0.1
    design = make_design(make(X), sample_weight=weights if weighted else None, fit_intercept=True)
    assert design.column_norms_squared[2] == 0
    assert np.all(np.delete(design.column_norms_squared, 2) > 0)


@pytest.mark.parametrize("make", [np.asarray, sparse.csc_array])
def test_unpenalised_constant_column_gets_no_coefficient(make):
    X, _ = make_columns(n_samples=5000)
    X[:, 2] = 0.1
    y = X[:, 0] + 0.3
    penalty = L1(0.01, weights=[1, 1, 0, 1, 1, 1, 1, 1])
    result = coordinate_descent(make(X), y, penalty, fit_intercept=True, tol=1e-10)
    assert result.x[2] == 0
    assert result.intercept == pytest.approx(0.3, abs=1e-2)


@pytest.mark.parametrize(("dtype", "mean"), [(np.float64, 3e4), (np.float32, 1e3)])
def test_sparse_columns_with_large_means_are_fitted(dtype, mean):
    rng = np.random.default_rng(1)
    X = (mean + rng.standard_normal((200, 8))).astype(dtype)
    y = ((X[:, 0] - mean) * 3 - 2 * (X[:, 3] - mean)).astype(dtype)
    dense = coordinate_descent(X, y, L1(0.1), fit_intercept=True, tol=1e-6)
    from_sparse = coordinate_descent(sparse.csc_array(X), y, L1(0.1), fit_intercept=True, tol=1e-6)
    assert from_sparse.x.dtype == dtype
    np.testing.assert_allclose(from_sparse.x, dense.x, atol=2e-3)
    assert from_sparse.x[0] > 2


def test_sparse_columns_that_centring_would_erase_are_refused():
    X = 3e7 + np.random.default_rng(1).standard_normal((200, 8))
    with pytest.raises(ValueError, match="Subtract a constant"):
        coordinate_descent(sparse.csc_array(X), X[:, 0], L1(0.1), fit_intercept=True)


@pytest.mark.parametrize("make", [np.asarray, sparse.csc_array])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_scales_whose_squares_leave_the_range_are_refused(make, fit_intercept):
    X, _ = make_columns()
    y = X[:, 0].copy()
    for scaled, message in ((X * 1e160, "overflow"), (X * 1e-170, "underflow")):
        with pytest.raises(ValueError, match=f"X {message}"):
            coordinate_descent(make(scaled), y, L1(0.1), fit_intercept=fit_intercept)
    for scale in (1e160, 1e-170):
        with pytest.raises(ValueError, match="rescale y"):
            coordinate_descent(make(X), y * scale, L1(0.1), fit_intercept=fit_intercept)


def test_empty_and_zero_columns_are_not_taken_for_underflow():
    X, _ = make_columns()
    X[:, 3] = 0
    for design in (X, sparse.csc_array(X)):
        for fit_intercept in (False, True):
            norms = make_design(design, fit_intercept=fit_intercept).column_norms_squared
            assert norms[3] == 0
    stored_zeros = sparse.csc_array((np.zeros(2), np.array([0, 1]), np.array([0, 2])), shape=(2, 1))
    assert make_design(stored_zeros).column_norms_squared[0] == 0


def test_long_indices_give_the_same_design():
    X, weights = make_columns()
    S = sparse.csc_array(X)
    S.indices, S.indptr = S.indices.astype(np.int64), S.indptr.astype(np.int64)
    design = make_design(S, sample_weight=weights, fit_intercept=True)
    assert design.matrix.indices.dtype == np.int32
    assert S.indices.dtype == np.int64
    np.testing.assert_allclose(
        design.column_norms_squared, (centred(X, weights) ** 2).sum(axis=0), rtol=1e-10
    )


def test_constant_target_is_centred_to_exact_zeros():
    X, weights = make_columns(n_samples=1000)
    target, mean = make_design(X, sample_weight=weights, fit_intercept=True).transform_target(
        np.full(1000, 0.1)
    )
    assert not target.any()
    assert mean == pytest.approx(0.1)
