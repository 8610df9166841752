"""Low-rank matrices with sparse errors, noise, missing entries and outlying samples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sparseopt.datasets import make_low_rank_plus_sparse


@pytest.mark.parametrize("errors", ["signs", "uniform", "relative"])
@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (50, 50)])
def test_parts(errors, shape):
    X, L, S = make_low_rank_plus_sparse(
        *shape, rank=4, errors=errors, corrupted=0.1, random_state=0
    )
    assert X.shape == L.shape == S.shape == shape
    assert np.linalg.matrix_rank(L) == 4
    assert np.count_nonzero(S) == int(0.1 * X.size)
    assert_array_equal(X, L + S)


def test_laws():
    size = {"n_samples": 400, "n_features": 300, "rank": 12, "corrupted": 0.2, "random_state": 1}
    _, L, S = make_low_rank_plus_sparse(**size)
    assert L.std() == pytest.approx(np.sqrt(12 / (400 * 300)), rel=0.05)
    assert_array_equal(np.unique(S), [-1, 0, 1])
    assert abs(S.sum()) < 4 * np.sqrt(np.count_nonzero(S))
    _, L, S = make_low_rank_plus_sparse(**size, errors="uniform")
    assert L.std() == pytest.approx(np.sqrt(12), rel=0.05)
    assert 495 < np.abs(S).max() <= 500
    assert S[S != 0].std() == pytest.approx(500 / np.sqrt(3), rel=0.02)
    _, L, S = make_low_rank_plus_sparse(**size, errors="relative")
    mean = np.abs(L).mean()
    assert L.std() == pytest.approx(np.sqrt(12 / (400 * 300)), rel=0.05)
    assert 0.99 * mean < np.abs(S).max() <= mean


def test_published_draws():
    # The protocol of the trained schedules (LRPCA): n = 400, r = 5, a tenth corrupted.
    n, r = 400, 5
    rng = np.random.default_rng(121)
    U, V = (rng.standard_normal((n, r)) / np.sqrt(n) for _ in range(2))
    L, S = U @ V.T, np.zeros(n * n)
    places = rng.permutation(n * n)[: n * n // 10]
    S[places] = np.abs(L).mean() * (2 * rng.random(len(places)) - 1)
    X, low_rank, sparse = make_low_rank_plus_sparse(
        n, n, rank=r, errors="relative", corrupted=0.1, random_state=121
    )
    assert_array_equal(sparse, S.reshape(n, n))
    assert_allclose(low_rank, L, rtol=0, atol=1e-15)
    assert_allclose(X, low_rank + sparse, rtol=0, atol=1e-15)


def test_magnitude():
    size = {"n_samples": 60, "n_features": 50, "rank": 2, "random_state": 2}
    _, _, S = make_low_rank_plus_sparse(**size, magnitude=7.0)
    assert_array_equal(np.unique(S), [-7, 0, 7])
    for errors in ("uniform", "relative"):
        small, large = (
            make_low_rank_plus_sparse(**size, errors=errors, magnitude=value) for value in (2, 10)
        )
        assert_array_equal(small[1], large[1])
        assert_allclose(5 * small[2], large[2])
    _, _, S = make_low_rank_plus_sparse(**size, magnitude=0)
    assert not S.any()


def test_noise():
    X, L, S = make_low_rank_plus_sparse(300, 200, rank=3, noise=0.01, random_state=0)
    noise = X - L - S
    assert noise.std() == pytest.approx(0.01, rel=0.02)
    assert abs(noise.mean()) < 1e-4
    _, clean, errors = make_low_rank_plus_sparse(300, 200, rank=3, random_state=0)
    assert_array_equal(L, clean)
    assert_array_equal(S, errors)


def test_missing_entries():
    X, L, S = make_low_rank_plus_sparse(100, 80, rank=3, missing=0.3, random_state=0)
    gone = np.isnan(X)
    assert gone.sum() == int(0.3 * X.size)
    assert not S[gone].any()
    assert np.isfinite(L).all()
    assert_array_equal(X[~gone], (L + S)[~gone])
    assert 0.03 < np.mean(S[~gone] != 0) < 0.07


def test_outlying_samples():
    X, L, S = make_low_rank_plus_sparse(
        200, 150, rank=5, errors="uniform", corrupted=0.0, outlying=0.1, random_state=0
    )
    rows = np.flatnonzero(S.any(axis=1))
    assert len(rows) == 20
    assert not L[rows].any()
    assert np.linalg.matrix_rank(S) == 20
    others = np.delete(L, rows, axis=0)
    assert S[rows].std() == pytest.approx(others.std(), rel=0.1)
    assert_array_equal(X[rows], S[rows])


def test_random_states_and_dtypes():
    size = {"n_samples": 20, "n_features": 15, "rank": 2, "noise": 0.1, "missing": 0.1}
    first = make_low_rank_plus_sparse(**size, random_state=0)
    again = make_low_rank_plus_sparse(**size, random_state=np.random.default_rng(0))
    single = make_low_rank_plus_sparse(**size, random_state=0, dtype=np.float32)
    for a, b, c in zip(first, again, single):
        assert_array_equal(a, b)
        assert c.dtype == np.float32
        assert_array_equal(a.astype(np.float32), c)
    other = make_low_rank_plus_sparse(**size, random_state=1)
    assert not np.array_equal(first[1], other[1])


def test_extreme_parameters():
    X, L, S = make_low_rank_plus_sparse(6, 4, rank=0, corrupted=1.0, random_state=0)
    assert not L.any()
    assert np.all(np.abs(S) == 1)
    X, L, S = make_low_rank_plus_sparse(6, 4, rank=4, corrupted=0.0, outlying=1.0, random_state=0)
    assert not L.any()
    assert_array_equal(X, S)
    X, _, _ = make_low_rank_plus_sparse(1, 1, rank=1, missing=1.0, random_state=0)
    assert np.isnan(X).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 6}, "rank must be at most 5"),
        ({"rank": -1}, "rank"),
        ({"n_samples": 0}, "n_samples"),
        ({"n_features": 2.5}, "n_features"),
        ({"errors": "laplace"}, "errors"),
        ({"corrupted": 1.5}, "corrupted"),
        ({"corrupted": np.nan}, "corrupted"),
        ({"magnitude": -1.0}, "magnitude"),
        ({"magnitude": np.inf}, "magnitude"),
        ({"noise": -0.1}, "noise"),
        ({"missing": -0.1}, "missing"),
        ({"outlying": 2}, "outlying"),
        ({"dtype": int}, "dtype"),
        ({"random_state": "seed"}, "random_state"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        make_low_rank_plus_sparse(**{"n_samples": 5, "n_features": 8, "rank": 2} | options)
