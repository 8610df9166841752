"""Errors of any size are errors, and large data are not."""

import array_api_strict
import numpy as np
import pytest

from sparseopt.decomposition import RobustPCA, robust_pca
from sparseopt.decomposition._gross_errors import bring_near


def low_rank(m=60, n=45, rank=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))


def relative(A, B):
    return np.linalg.norm(A - B) / np.linalg.norm(B)


@pytest.mark.parametrize("size", [1e4, 1e12, 1e100])
@pytest.mark.parametrize("options", [{}, {"method": "stable", "noise_std": 0.01}])
def test_one_huge_error_hides_nothing(size, options):
    L = low_rank()
    X = L.copy()
    X[3, 4], X[20, 7] = size, -size
    X[::9, ::11] += 5.0
    result = robust_pca(X, **options)
    assert result.success
    assert relative(result.low_rank, L) < (0.1 if options else 1e-5)
    np.testing.assert_allclose(
        [result.sparse[3, 4], result.sparse[20, 7]], [size, -size], rtol=1e-3
    )
    assert result.dual_gap <= 1e-4


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gap_counts_what_was_given_back(weighted, masked):
    rng = np.random.default_rng(1)
    X = low_rank() + 0.1 * rng.standard_normal((60, 45))
    X[3, 4], X[20, 7] = 1e5, -4e4
    observed = rng.random(X.shape) < 0.9 if masked else np.ones(X.shape, bool)
    observed[3, 4] = True
    weights = rng.uniform(0.5, 3, 60) if weighted else np.ones(60)
    result = robust_pca(X, mask=observed, sample_weight=weights)
    roots = np.sqrt(weights)[:, None]
    limits = result.lam * roots
    Y = result.dual
    assert np.linalg.norm(Y, 2) <= 1 + 1e-12
    assert np.all(np.abs(Y) <= limits * (1 + 1e-12))
    rest = np.where(observed, X - result.low_rank, 0)
    primal = np.linalg.norm(roots * result.low_rank, "nuc") + np.sum(limits * np.abs(roots * rest))
    dual = np.sum(np.where(observed, roots * X, 0) * Y)
    assert (primal - dual) / primal == pytest.approx(result.dual_gap, abs=1e-9)
    assert result.fun == pytest.approx(primal, rel=1e-6)
    assert result.history["objective"][-1] == pytest.approx(result.fun, rel=1e-6)


def test_rows_of_zero_weight_have_no_say():
    X = low_rank()
    X[3, 4] = 1e9
    weights = np.r_[np.ones(3), 0, np.ones(56)]
    result = robust_pca(X, sample_weight=weights)
    assert relative(result.low_rank[weights > 0], low_rank()[weights > 0]) < 1e-5


def test_large_data_of_low_rank_are_no_errors():
    # A feature of another unit, which the low-rank part explains.
    L = low_rank(200, 150)
    L[:, 0] *= 1e5
    near, excess = bring_near(L, None)
    assert excess is not None
    assert np.abs(near).max() < np.abs(L).max()
    result = robust_pca(L, lam=1.0)
    assert relative(result.low_rank, L) < 1e-6
    assert not result.sparse.any()


def test_many_large_entries_are_left_alone():
    L = low_rank()
    L[:, :5] *= 1e6
    assert bring_near(L, None)[1] is None
    assert bring_near(low_rank(), None)[1] is None
    assert bring_near(np.zeros((3, 3)), None)[1] is None


def test_estimator_and_other_arrays():
    X = low_rank()
    X[3, 4] = 1e12
    model = RobustPCA().fit(X)
    np.testing.assert_allclose(model.low_rank_, low_rank(), atol=1e-4)
    np.testing.assert_allclose(model.decompose(X)[0], model.low_rank_, atol=1e-4)
    strict = robust_pca(array_api_strict.asarray(X))
    np.testing.assert_allclose(np.asarray(strict.low_rank), low_rank(), atol=1e-4)


def test_a_mask_of_its_own_is_not_lost():
    masked = np.ma.masked_greater(low_rank(), 3.0)
    for fit in (robust_pca, RobustPCA().fit):
        with pytest.raises(TypeError, match="masked array"):
            fit(masked)
