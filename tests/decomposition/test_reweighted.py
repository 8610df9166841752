"""Concave penalties of singular values by reweighting."""

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import OptimizeResult, approx_fprime, minimize

from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._noise import default_mu
from sparseopt.decomposition._principal_pursuit import principal_component_pursuit
from sparseopt.decomposition._reweighted import (
    SingularValueWeights,
    reweighted_pursuit,
    surrogate_value,
    surrogate_weights,
)
from sparseopt.decomposition._stable_pursuit import stable_principal_pursuit


def make_data(n, rank, share, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
    errors = (rng.random((n, n)) < share) * rng.uniform(-9, 9, (n, n))
    return low + errors + noise * rng.standard_normal((n, n)), low


def relative(A, B):
    return np.linalg.norm(A - B) / np.linalg.norm(B)


def exact(D, lam, **options):
    def solve(shrink, start):
        own = {} if shrink is None else {"tol_gap": np.inf, "shrink": shrink}
        return principal_component_pursuit(D, lam, start=start, max_iter=5000, **own, **options)

    return solve


def stable(D, lam, mu, **options):
    def solve(shrink, start):
        return stable_principal_pursuit(D, lam, mu, start=start, shrink=shrink, **options)

    return solve


def test_weighted_shrinkage_is_the_proximal_map():
    rng = np.random.default_rng(0)
    W = 2 * rng.standard_normal((4, 3))
    weights = SingularValueWeights([0.2, 0.7, 1.0])
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    X = (U * weights(s, 0.8)) @ Vt

    def objective(x):
        s = np.linalg.svd(x.reshape(4, 3), compute_uv=False)
        return 0.8 * weights.penalty(s) + 0.5 * np.sum((x - W.ravel()) ** 2)

    for start in (W.ravel(), X.ravel(), rng.standard_normal(12)):
        assert objective(X.ravel()) <= minimize(objective, start, method="Powell").fun + 1e-6


def test_weights_beyond_those_given_are_the_last_one():
    weights = SingularValueWeights([0.0, 0.5, 1.0])
    s = np.array([4.0, 3.0, 2.0, 1.5, 0.5])
    assert_allclose(weights(s, 1.0), [4.0, 2.5, 1.0, 0.5, 0.0])
    assert_allclose(weights(s[:1], 1.0), [4.0])
    assert_allclose(weights.penalty(s), 0.5 * 3 + 2 + 1.5 + 0.5)
    assert weights.penalty(s[:0]) == 0
    assert weights.smallest == 0.5
    single = weights(s.astype(np.float32), 1.0)
    assert single.dtype == np.float32
    strict = weights(array_api_strict.asarray(s), 1.0)
    assert_allclose(np.asarray(strict), weights(s, 1.0))


@pytest.mark.parametrize("weights", [[1.0, 0.5], [-1.0, 1.0], [], [np.nan], [[1.0]]])
def test_weights_must_not_fall(weights):
    with pytest.raises(ValueError, match="weights"):
        SingularValueWeights(weights)


@pytest.mark.parametrize("surrogate", ["log", "gamma"])
def test_weights_are_the_slopes_of_the_surrogate(surrogate):
    s = np.array([5.0, 2.0, 0.3])
    slopes = approx_fprime(s, lambda s: surrogate_value(s, 0.7, surrogate), 1e-7)
    weights = surrogate_weights(s, 0.7, surrogate).weights
    assert_allclose(weights[:3], slopes, rtol=1e-5)
    assert weights[3] == 1
    assert_allclose(surrogate_value(s, 1e9, surrogate), s.sum(), rtol=1e-6)


@pytest.mark.parametrize("surrogate", ["log", "gamma"])
def test_recovers_what_the_nuclear_norm_does_not(surrogate):
    D, low = make_data(50, 9, 0.1)
    convex = exact(D, 50**-0.5)(None, None)
    better = reweighted_pursuit(exact(D, 50**-0.5), surrogate=surrogate)
    assert relative(convex.low_rank, low) > 1e-2
    assert relative(better.low_rank, low) < 1e-5
    assert better.x.rank == 9
    assert 1 <= better.passes <= 3
    assert np.isnan(better.dual_gap)


def test_noise_is_removed_with_less_bias():
    D, low = make_data(80, 4, 0.05, noise=0.1)
    solve = stable(D, 80**-0.5, default_mu(0.1, D.shape))
    convex, better = solve(None, None), reweighted_pursuit(solve)
    assert relative(better.low_rank, low) < 0.8 * relative(convex.low_rank, low)
    assert better.success


def test_objective_falls_from_pass_to_pass():
    D, _ = make_data(60, 3, 0.1, noise=0.2)
    result = reweighted_pursuit(stable(D, 60**-0.5, 2.0, tol=1e-9), passes=5, scale=8.0)
    objectives = np.array(result.surrogate_objective)
    assert result.passes >= 3
    assert len(objectives) == result.passes + 1
    assert np.all(np.diff(objectives) < 0)
    residual = D - result.low_rank - result.sparse
    loss = np.sum(np.abs(result.sparse)) / 60**0.5 + np.sum(residual**2) / 4
    assert_allclose(surrogate_value(result.x.s, 8.0) + loss, objectives[-1])


def test_end_of_the_passes_is_stationary():
    D, _ = make_data(40, 2, 0.05, noise=0.2)
    lam, mu, scale = 40**-0.5, 1.5, 10.0
    result = reweighted_pursuit(stable(D, lam, mu, tol=1e-11), passes=60, scale=scale)
    U, s, Vt = result.x
    Y = np.clip(D - result.low_rank, -lam * mu, lam * mu) / mu
    assert_allclose(U.T @ Y @ Vt.T, np.diag(1 / (1 + s / scale)), atol=1e-5)
    beyond = Y - U @ (U.T @ Y) - (Y - U @ (U.T @ Y)) @ Vt.T @ Vt
    assert np.linalg.norm(beyond, 2) <= 1 + 1e-6


def test_a_huge_scale_keeps_the_convex_solution():
    D, _ = make_data(40, 2, 0.05, noise=0.2)
    solve = stable(D, 40**-0.5, 1.5, tol=1e-9)
    result = reweighted_pursuit(solve, scale=1e9)
    assert relative(result.low_rank, solve(None, None).low_rank) < 1e-4


def test_worse_passes_are_thrown_away():
    def result(s, residual, fun):
        s = np.array(s)
        factor = np.eye(3)[:, : len(s)]
        low = LowRankMatrix(factor, s, factor.T)
        return OptimizeResult(x=low, residual=residual, fun=fun, loss=fun - s.sum())

    convex = result([3.0, 1.0], 1e-8, 5.0)
    for bad in (result([3.0, 1.0], 1e-8, 9.0), result([3.0], 1e-3, 3.5)):
        kept = reweighted_pursuit(lambda shrink, start, bad=bad: bad if start else convex)
        assert kept is convex
        assert kept.passes == 0
        assert kept.weights is None
    good = result([3.0], 1e-8, 3.5)
    kept = reweighted_pursuit(lambda shrink, start: good if start else convex, passes=1)
    assert kept is good
    assert kept.passes == 1
    assert_allclose(kept.weights, [1 / 11, 1 / (1 + 1 / 0.3), 1])


def test_zero_data():
    result = reweighted_pursuit(exact(np.zeros((6, 5)), 0.4))
    assert result.passes == 0
    assert not np.any(result.low_rank)


@pytest.mark.parametrize(
    "options", [{"passes": 0}, {"surrogate": "scad"}, {"scale": 0.0}, {"scale": -1.0}]
)
def test_bad_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        reweighted_pursuit(exact(np.ones((3, 3)), 1.0), **options)
