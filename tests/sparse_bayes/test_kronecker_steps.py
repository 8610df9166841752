from pathlib import Path

import array_api_strict
import numpy as np
import pytest

from sparseopt.sparse_bayes._kronecker_dictionary import outer_product
from sparseopt.sparse_bayes._kronecker_steps import (
    alternate_once,
    alternate_to_tolerance,
    contract,
    couple,
    minimise_coupled,
    minimise_over_factors,
    neighbour_coupling,
    normalise,
    relative_change,
    split_by_svd,
)

DATA = Path(__file__).parents[1] / "data" / "sparse_bayes"
STRICT = pytest.mark.parametrize("asarray", [np.asarray, array_api_strict.asarray])


def load(name):
    data = np.load(DATA / f"{name}.npz", allow_pickle=False)
    numbers = range(1, int(data["n_factors"]) + 1)
    g = [data[f"gamma{i}"] for i in numbers]
    moments = data["lam"].reshape([len(v) for v in g])
    return moments, g, lambda kind: [data[f"{kind}_{i}"] for i in numbers]


def make_moments(shape, *, spread=4.0, seed=0):
    rng = np.random.default_rng(seed)
    g = [10.0 ** rng.uniform(-spread, 0, n) for n in shape]
    return outer_product(g) * rng.chisquare(1, shape)


def objective(moments, g):
    product = outer_product(g)
    return float(np.sum(np.log(product) + moments / product))


def assert_factors_close(actual, expected, rtol):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol)


@STRICT
@pytest.mark.parametrize("name", ["posterior_2", "posterior_3"])
def test_golden(name, asarray):
    moments, g, expected = load(name)
    moments = asarray(moments)
    assert_factors_close(normalise(alternate_once(moments, g)), expected("am1"), 1e-10)
    fixed = minimise_over_factors(moments, g, tol=1e-10, max_iter=50)
    assert_factors_close(fixed, expected("amfix"), 1e-7)
    swept = alternate_to_tolerance(moments, g, tol=1e-13, max_sweeps=2000)
    assert_factors_close(swept, expected("amfix"), 1e-7)
    assert_factors_close(split_by_svd(moments), expected("svd"), 1e-9)


@STRICT
@pytest.mark.parametrize("axes", [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]])
def test_contract(axes, asarray):
    rng = np.random.default_rng(0)
    tensor = rng.random((3, 4, 5))
    weights = [rng.random(n) if d in axes else None for d, n in enumerate(tensor.shape)]
    full = [np.ones(n) if w is None else w for w, n in zip(weights, tensor.shape, strict=True)]
    expected = np.einsum("ijk,i,j,k->ijk", tensor, *full).sum(axis=tuple(axes))
    np.testing.assert_allclose(contract(asarray(tensor), weights), expected)


@pytest.mark.parametrize("shape", [(6,), (5, 7), (7, 5, 6), (3, 4, 2, 5)])
def test_newton_finds_the_fixed_point_of_alternation(shape):
    moments = make_moments(shape)
    start = [np.ones(n) for n in shape]
    g = minimise_over_factors(moments, start, tol=1e-9, max_iter=50)
    for d in range(len(shape)):
        others = [None if e == d else 1.0 / v for e, v in enumerate(g)]
        mean = contract(moments, others) * shape[d] / moments.size
        np.testing.assert_allclose(g[d], mean, rtol=1e-8)
    assert all(np.isclose(np.linalg.norm(v), 1) for v in g[:-1])
    swept = alternate_to_tolerance(moments, start, tol=1e-12, max_sweeps=2000)
    assert_factors_close(g, swept, 1e-7)


def test_newton_needs_fewer_passes_where_alternation_is_slow():
    # Second moments near a permutation couple the factors strongly.
    rng = np.random.default_rng(0)
    n = 12
    moments = 1e-4 * rng.random((n, n)) + np.eye(n) * 10.0 ** rng.uniform(-2, 0, n)
    g = minimise_over_factors(moments, [np.ones(n), np.ones(n)], tol=1e-9, max_iter=30)
    np.testing.assert_allclose(g[0], (moments / g[1]).mean(axis=1), rtol=1e-8)
    start = [np.ones(n), np.ones(n)]
    slow = alternate_to_tolerance(moments, start, tol=0.0, max_sweeps=30)
    assert objective(moments, g) < objective(moments, slow)


def test_one_sweep_never_increases_the_objective():
    moments = make_moments((5, 6, 7))
    g = [np.ones(n) for n in moments.shape]
    values = []
    for _ in range(20):
        values.append(objective(moments, g))
        g = normalise(alternate_once(moments, g))
    assert np.all(np.diff(values) <= 1e-10 * abs(values[0]))


def test_alternation_with_one_factor_is_expectation_maximisation():
    moments = make_moments((9,))
    np.testing.assert_array_equal(alternate_once(moments, [np.ones(9)])[0], moments)


@pytest.mark.parametrize("shape", [(5, 7), (12, 3), (4, 5, 6), (2, 3, 4, 3)])
def test_svd_returns_the_factors_of_a_product(shape):
    rng = np.random.default_rng(0)
    g = normalise([rng.random(n) + 0.01 for n in shape])
    assert_factors_close(split_by_svd(outer_product(g)), g, 1e-9)


def test_coupled_step_never_increases_its_objective():
    rng = np.random.default_rng(0)
    for coupling in (neighbour_coupling(12, 0.5), rng.random((12, 5))):
        target = 10.0 ** rng.uniform(-4, 0, 12)
        v = np.ones(coupling.shape[1])
        values = []
        for _ in range(5):
            fitted = coupling @ v
            values.append(np.sum(np.log(fitted) + target / fitted))
            v = minimise_coupled(coupling, v, target)
        assert np.all(np.diff(values) <= 1e-12)
        assert values[-1] < values[0]


def test_coupled_alternation_decreases_the_objective():
    moments = make_moments((8, 9), spread=2.0)
    couplings = [neighbour_coupling(8, 0.5), None]
    values = [np.ones(8), np.ones(9)]
    history = []
    for _ in range(10):
        history.append(objective(moments, couple(values, couplings)))
        values = alternate_to_tolerance(moments, values, couplings=couplings, tol=0.0, max_sweeps=1)
    assert np.all(np.diff(history) <= 1e-10)
    assert history[-1] < history[0]


def test_coupling_by_the_identity_changes_nothing():
    moments = make_moments((4, 5))
    start = [np.ones(4), np.ones(5)]
    free = alternate_to_tolerance(moments, start, tol=1e-12, max_sweeps=500)
    for heuristic, rtol in ((False, 1e-4), (True, 1e-2)):  # the heuristic has a floor
        coupled = alternate_to_tolerance(
            moments,
            start,
            couplings=[np.eye(4), None],
            heuristic=heuristic,
            tol=1e-12,
            max_sweeps=500,
        )
        assert relative_change(coupled, free) < rtol


def test_relative_change_keeps_digits():
    rng = np.random.default_rng(0)
    old = [rng.random(n) for n in (3, 4, 5)]
    new = [v * (1 + 0.1 * rng.random(len(v))) for v in old]
    expected = np.linalg.norm(outer_product(new) - outer_product(old))
    expected /= np.linalg.norm(outer_product(old))
    assert relative_change(new, old) == pytest.approx(expected, rel=1e-12)
    tiny = [v * (1 + 1e-13) for v in old]
    assert relative_change(tiny, old) == pytest.approx(3e-13, rel=0.01)
    assert relative_change(old, old) == 0.0


def test_float32_moments_do_not_overflow():
    moments = make_moments((6, 7, 5), spread=12.0).astype(np.float32)
    g = minimise_over_factors(moments, [np.ones(n) for n in moments.shape], tol=1e-6, max_iter=50)
    assert all(np.all(np.isfinite(v)) and np.all(v > 0) for v in g)
