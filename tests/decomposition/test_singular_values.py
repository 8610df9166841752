"""The engine finds every singular triplet above a threshold, whichever way it takes."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._singular_values import (
    ThresholdedSVD,
    leading_svd,
    orthonormal_factor,
    spectral_norm,
    spectral_norm_bound,
)

SHAPES = [(120, 90), (90, 120), (70, 70), (30, 8), (1, 5), (5, 1)]


def with_values(shape, values, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    U, _ = np.linalg.qr(rng.standard_normal((shape[0], len(values))))
    V, _ = np.linalg.qr(rng.standard_normal((shape[1], len(values))))
    return ((U * values) @ V.T).astype(dtype)


def assert_triplets(found, W, threshold, atol=1e-10):
    s = np.linalg.svd(W, compute_uv=False)
    expected = s[s > threshold]
    np.testing.assert_allclose(found.s, expected, atol=atol * s[0])
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(found.rank), atol=1e-3 * atol**0.5)
    np.testing.assert_allclose(found.Vt @ found.Vt.T, np.eye(found.rank), atol=1e-3 * atol**0.5)
    np.testing.assert_allclose(W @ found.Vt.T, found.U * found.s, atol=10 * atol * s[0])


@pytest.mark.parametrize("solver", ["auto", "full", "gram"])
@pytest.mark.parametrize("shape", SHAPES)
def test_direct_ways_are_exact(solver, shape):
    W = np.random.default_rng(1).standard_normal(shape)
    threshold = 0.5 * np.linalg.norm(W, 2)
    assert_triplets(ThresholdedSVD(shape, W.dtype, solver=solver)(W, threshold), W, threshold)


def test_subspace_is_exact_on_a_repeated_matrix():
    W = with_values((200, 150), [9.0, 8.0, 5.0, 3.0, *np.linspace(0.9, 0.1, 40)])
    engine = ThresholdedSVD(W.shape, W.dtype, solver="subspace", random_state=0)
    for _ in range(12):
        found = engine(W, 1.0)
    assert_triplets(found, W, 1.0)


def test_subspace_widens_until_it_holds_all():
    values = np.linspace(20, 2, 60)
    W = with_values((300, 250), values)
    engine = ThresholdedSVD(W.shape, W.dtype, solver="subspace", random_state=0)
    assert engine(W, 1.0).rank == 60


def test_auto_leaves_the_subspace_if_the_rank_is_high():
    W = np.random.default_rng(0).standard_normal((100, 100))
    engine = ThresholdedSVD(W.shape, W.dtype, random_state=0)
    found = engine(W, 1.0)
    assert engine.last_solver == "gram"
    assert_triplets(found, W, 1.0)


def test_gram_hands_over_where_it_is_inaccurate():
    W = with_values((80, 60), [1.0, 1e-4, 1e-9])
    engine = ThresholdedSVD(W.shape, W.dtype, solver="gram")
    found = engine(W, 1e-10)
    assert engine.last_solver == "full"
    np.testing.assert_allclose(found.s, [1.0, 1e-4, 1e-9], rtol=1e-6)


def test_gram_resolves_small_values():
    W = with_values((80, 60), [1.0, 1e-3, 2e-6])
    found = ThresholdedSVD(W.shape, W.dtype, solver="gram")(W, 1.5e-6)
    np.testing.assert_allclose(found.s, [1.0, 1e-3, 2e-6], rtol=1e-9)


@pytest.mark.parametrize("solver", ["full", "gram", "subspace"])
def test_nothing_above_the_threshold(solver):
    W = np.ones((60, 50))
    found = ThresholdedSVD(W.shape, W.dtype, solver=solver, random_state=0)(W, 1e4)
    assert found.rank == 0
    np.testing.assert_array_equal(found.to_dense(), np.zeros((60, 50)))


@pytest.mark.parametrize("solver", ["full", "gram", "subspace"])
def test_float32_is_kept(solver):
    W = with_values((100, 80), [5.0, 3.0, 0.5], dtype=np.float32)
    found = ThresholdedSVD(W.shape, W.dtype, solver=solver, random_state=0)(W, 1.0)
    assert {part.dtype for part in found} == {np.dtype(np.float32)}
    np.testing.assert_allclose(found.s, [5, 3], rtol=1e-5)


def test_unknown_solver():
    with pytest.raises(ValueError, match="svd_solver must be one of"):
        ThresholdedSVD((3, 3), np.float64, solver="lanczos")


@pytest.mark.parametrize("solver", ["full", "gram", "subspace"])
def test_array_api(solver):
    W = with_values((90, 70), [5.0, 3.0, 2.0, 0.5])
    strict = array_api_strict.asarray(W)
    engine = ThresholdedSVD(W.shape, strict.dtype, xp=array_api_strict, solver=solver)
    for _ in range(3):
        found = engine(strict, 1.0)
    np.testing.assert_allclose(np.asarray(found.s), [5, 3, 2], rtol=1e-10)
    np.testing.assert_allclose(
        np.asarray(found.to_dense()), with_values((90, 70), [5.0, 3.0, 2.0, 0.0]), atol=1e-9
    )


@pytest.mark.parametrize("dependent", [False, True])
def test_orthonormal_factor(dependent):
    P = np.random.default_rng(0).standard_normal((50, 6)) * 10.0 ** np.arange(-3, 3)
    if dependent:
        P[:, 3] = P[:, 2]
        P[:, 4] = 0
    Q, R = orthonormal_factor(P)
    np.testing.assert_allclose(Q.T @ Q, np.eye(6), atol=1e-13)
    np.testing.assert_allclose(Q @ R, P, atol=1e-13 * np.linalg.norm(P))


@given(
    m=st.integers(1, 60), n=st.integers(1, 60), seed=st.integers(0, 99), power=st.integers(-9, 9)
)
@settings(max_examples=40, deadline=None)
def test_the_bound_of_the_norm_holds_and_is_tight(m, n, seed, power):
    W = np.random.default_rng(seed).standard_normal((m, n)) * 10.0**power
    norm, bound = np.linalg.norm(W, 2), spectral_norm_bound(W)
    assert norm <= bound <= norm * (1 + 2e-8)
    assert spectral_norm(W) == pytest.approx(norm, rel=1e-9)


def test_the_bound_from_a_guess_that_is_too_low():
    W = with_values((50, 40), [1.01, 1.0, 0.3])
    assert 1.01 <= spectral_norm_bound(W, guess=1.0) <= 1.0205
    assert spectral_norm_bound(W, guess=2.0) == pytest.approx(2.0)


def test_the_bound_with_many_equal_values():
    W = with_values((300, 300), np.ones(120))
    assert 1 <= spectral_norm_bound(W) <= 1 + 1e-8
    assert spectral_norm_bound(np.zeros((4, 3))) == 0


@pytest.mark.parametrize("rank", [1, 3, 60])
def test_leading_svd(rank):
    W = np.random.default_rng(0).standard_normal((200, 180))
    found = leading_svd(W, rank, random_state=0)
    assert isinstance(found, LowRankMatrix)
    np.testing.assert_allclose(found.s, np.linalg.svd(W, compute_uv=False)[:rank], rtol=1e-9)


@pytest.mark.parametrize("rank", [0, 4])
def test_leading_svd_refuses_the_rank(rank):
    with pytest.raises(ValueError, match="between 1 and"):
        leading_svd(np.ones((3, 5)), rank)


def test_low_rank_matrix():
    W = with_values((6, 4), [3.0, 1.0])
    found = leading_svd(W, 2)
    assert (found.rank, found.shape, found.T.shape) == (2, (6, 4), (4, 6))
    assert found.nuclear_norm == pytest.approx(4)
    assert found.copy() is found
    out = np.empty((6, 4))
    assert found.to_dense(out=out) is out
    np.testing.assert_allclose(out, W, atol=1e-12)
    np.testing.assert_allclose(found.T.to_dense(), W.T, atol=1e-12)


@pytest.mark.parametrize("shape", [(150, 60), (60, 150)])
@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-13), (np.float32, 2e-6)])
def test_gram_matrix_alone_is_accurate_above_high_thresholds(shape, dtype, atol):
    values = np.r_[np.geomspace(1, 0.02, 20), np.full(10, 0.1), np.geomspace(0.01, 1e-9, 20)]
    W = with_values(shape, values, dtype=dtype)
    for threshold in (0.3, 0.08, 0.015):
        U, s, Vt = ThresholdedSVD(shape, dtype, solver="gram")(W, threshold)
        assert s.dtype == dtype
        np.testing.assert_allclose(s, np.sort(values[values > threshold])[::-1], atol=atol)
        np.testing.assert_allclose((U * s) @ Vt, (W @ Vt.T) @ Vt, atol=10 * atol)
        np.testing.assert_allclose(U.T @ U, np.eye(len(s)), atol=2000 * atol)
