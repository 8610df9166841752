"""Overrelaxed sweeps: against NumPy in every representation, their factor, what "auto" does."""

import json
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import sinkhorn
from sparseopt.transport._kernels import overrelaxed as kernels
from sparseopt.transport._kernels.overrelaxed import BLOCK, SHORT_BLOCK
from sparseopt.transport._overrelaxed import (
    OverrelaxedEntries,
    OverrelaxedScaling,
    OverrelaxedStream,
)
from sparseopt.transport._problem import Cost
from sparseopt.transport._semidual import SemiDual
from sparseopt.transport._truncated import TruncatedDual

DATA = Path(__file__).parents[1] / "data" / "ot"
ALL = ["auto", "sns", "sinkhorn", "sinkhorn_log"]


@njit
def powers(ratios, omega):
    result = np.empty_like(ratios)
    for k in range(ratios.size):
        result[k] = kernels.relaxed_power(ratios[k], omega)
    return result


def small_problem(n=21, m=26, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, 2)), rng.standard_normal((m, 2))
    return rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m)), X, Y


def clouds(n):
    rng = np.random.default_rng(0)
    C = cdist(rng.standard_normal((n, 2)), rng.uniform(-1, 1, (n, 2)), "sqeuclidean")
    return C / C.max()


def reference(C, a, b, eps, y, omegas):
    """Return x and y after relaxed sweeps, in logarithms."""

    def exact(cost, potential, mass):
        exponents = (potential - cost) / eps
        top = exponents.max(1)
        return eps * (np.log(mass) - top - np.log(np.exp(exponents - top[:, None]).sum(1)))

    x = exact(C, y, a)
    for omega, length in omegas:
        for sweep in range(length):
            y = y + omega * (exact(C.T, x, b) - y)
            factor = 1.0 if sweep == length - 1 else omega
            x = x + factor * (exact(C, y, a) - x)
    return x, y


def test_powers_near_one_and_far_from_it():
    near = 1 + np.linspace(-0.05, 0.05, 1001)
    far = np.geomspace(1e-200, 1e200, 1001)
    for omega in (1.0, 1.3, 1.9):
        np.testing.assert_allclose(powers(near, omega), near**omega, rtol=1e-7)
        with np.errstate(over="ignore"):
            expected = far**omega
        seen = expected < 1e300
        np.testing.assert_allclose(powers(far, omega)[seen], expected[seen], rtol=1e-12)
        assert powers(np.ones(1), omega)[0] == 1.0
        assert np.isnan(powers(np.array([np.nan]), omega)).all()


@pytest.mark.parametrize("rate", [0.3, 0.9, 0.99])
def test_the_factor_is_the_best_for_the_rate_of_plain_sweeps(rate):
    state = np.array([1.0, np.inf, 0.0, 0.0])
    kernels.adapt(state, 1.0, SHORT_BLOCK)
    assert state[0] == 1.0
    kernels.adapt(state, rate**SHORT_BLOCK, SHORT_BLOCK)
    best = 2 / (1 + np.sqrt(1 - rate))
    np.testing.assert_allclose(state[0], best)
    # A smaller factor has the larger root of (r + w - 1)^2 = rate r w^2 as its rate.
    w = 1 + 0.5 * (best - 1)
    slow = max(np.roots([1.0, 2 * (w - 1) - rate * w**2, (w - 1) ** 2]))
    state[:] = w, 1.0, 0.5, 3
    kernels.adapt(state, slow**BLOCK, BLOCK)
    np.testing.assert_allclose(state[0], best)
    state[:] = best, 1.0, 0.5, 3
    kernels.adapt(state, (best - 1) ** BLOCK, BLOCK)
    np.testing.assert_allclose(state[0], 1 + 0.97 * (best - 1))
    state[:] = best, 1.0, 0.5, 3
    kernels.adapt(state, 1.5, BLOCK)
    np.testing.assert_allclose(state, [1.0, 1.5, 1.5 ** (1 / BLOCK), 4])
    state[:] = best, 1.0, rate, 3
    kernels.adapt(state, 0.1, BLOCK - 1)  # not a whole block: it only tells the error
    np.testing.assert_array_equal(state, [best, 0.1, rate, 3])


def test_the_last_block_is_as_long_as_it_has_to_be():
    state = np.array([1.5, np.inf, 0.0, 0.0])
    assert kernels.next_block(state, 1e-8, 100) == SHORT_BLOCK
    assert kernels.next_block(state, 1e-8, 3) == 3
    state[:] = 1.5, 1e-7, 0.5, 3
    assert kernels.next_block(state, 1e-8, 100) == 4  # 0.5**4 < 0.1 < 0.5**3
    assert kernels.next_block(state, 0.9e-7, 100) == 2
    assert kernels.next_block(state, 1e-12, 100) == BLOCK
    assert kernels.next_block(state, 1e-6, 100) == BLOCK


@pytest.mark.parametrize("kind", ["single", "double", "entries", "stream"])
def test_sweeps_against_numpy(kind):
    a, b, X, Y = small_problem()
    C, eps = cdist(X, Y, "sqeuclidean"), 0.3
    y = eps * np.log(b)
    cost = Cost(X=X, Y=Y, metric="sqeuclidean") if kind == "stream" else Cost(C)
    if kind == "entries":
        sweeper = OverrelaxedEntries(TruncatedDual(cost, a, b, eps, y, 1e-12), y)
    elif kind == "stream":
        sweeper = OverrelaxedStream(SemiDual(cost, a, b, eps), y, 1e-14)
    else:
        sweeper = OverrelaxedScaling(SemiDual(cost, a, b, eps), y, np.empty(C.shape), 1e-14)
        if kind == "double":
            sweeper.single = False
            sweeper._rebuild(y)
    omegas = []
    for length in (SHORT_BLOCK, SHORT_BLOCK, SHORT_BLOCK, BLOCK, 3):
        omegas.append((sweeper.state[0], length))
        sweeper.step(sweeps=length)
    assert omegas[2][0] > 1.0
    x, y = reference(C, a, b, eps, y, omegas)
    tolerance = 1e-5 if kind == "single" else 1e-9
    np.testing.assert_allclose(sweeper.point.x, x, atol=tolerance * eps)
    np.testing.assert_allclose(sweeper.point.y, y, atol=tolerance * eps)
    P = np.exp((x[:, None] + y - C) / eps)
    np.testing.assert_allclose(sweeper.point.column_sums, P.sum(0), rtol=10 * tolerance)
    np.testing.assert_allclose(sweeper.point.error, np.abs(P.sum(0) - b).sum(), atol=1e-6)
    assert sweeper.n_sweeps == 3 * SHORT_BLOCK + BLOCK + 3


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8])
def test_any_number_of_rows(n):
    a, b, X, Y = small_problem(n, 6)
    C = cdist(X, Y, "sqeuclidean")
    relaxed = sinkhorn(a, b, C, reg=0.5, tol=1e-12)
    plain = sinkhorn(a, b, C, reg=0.5, tol=1e-12, solver="sinkhorn_log", max_iter=10_000)
    np.testing.assert_allclose(relaxed.plan(), plain.plan(), atol=1e-12)


@pytest.mark.parametrize("tol", [1e-4, 1e-8, 1e-13])
def test_results_are_in_double_precision(tol):
    C = clouds(60)
    result = sinkhorn(C=C, reg=5e-3, tol=tol)
    assert result.n_newton == 0
    assert result.certificate <= tol
    exact = sinkhorn(C=C, reg=5e-3, tol=1e-13, solver="sns", sparsity=None)
    np.testing.assert_allclose(result.value, exact.value, rtol=max(tol, 1e-12))


def test_few_sweeps_where_plain_ones_are_many():
    C = clouds(200)
    plain = sinkhorn(C=C, reg=1e-3, solver="sinkhorn", max_iter=5000)
    relaxed = sinkhorn(C=C, reg=1e-3)
    assert plain.converged
    assert relaxed.converged
    assert relaxed.n_newton == 0
    assert relaxed.n_sweeps <= plain.n_sweeps / 5


def test_newton_steps_where_even_relaxed_sweeps_are_many():
    C = np.random.default_rng(0).random((500, 500))
    result = sinkhorn(C=C, reg=1e-3)
    assert result.converged
    assert 0 < result.n_newton <= 5
    assert result.n_sweeps <= 200


@pytest.mark.parametrize("sharpness", [6e3, 1e6])
def test_auto_is_no_worse_than_newton_steps_alone(sharpness):
    histograms = np.load(DATA / "digits28_hist.npz")
    grid = np.indices((28, 28)).reshape(2, -1).T.astype(float)
    C = cdist(grid, grid, "cityblock")
    case = next(
        case
        for case in json.loads((DATA / "digits28.json").read_text())
        if case["cost"] == "cityblock" and case["i"] == 3
    )
    a, b = histograms["img3"], histograms["img7"]
    auto, sns = (
        sinkhorn(a, b, C / C.max(), reg=1 / sharpness, solver=solver) for solver in ("auto", "sns")
    )
    assert auto.converged
    assert auto.n_iter <= sns.n_iter
    np.testing.assert_allclose(auto.value, sns.value, rtol=1e-9)
    assert 0 <= auto.value - case["emd"] + 1e-8 <= 1e-8 - (a @ np.log(a)) / sharpness


def test_larger_regularisation_comes_first_where_sweeps_are_lost():
    t = np.linspace(0, 5, 300)
    a = np.exp(-t)
    b = np.exp(-(((t - 1) / 0.2) ** 2) / 2) + np.exp(-(((t - 4.5) / 0.1) ** 2) / 2) + 1e-12
    C = np.subtract.outer(t, t) ** 2
    result = sinkhorn(a, b, C / C.max(), reg=1 / 4900, normalize=True)
    assert result.converged
    scaled = np.unique(result.history["reg"]).size > 1
    direct = sinkhorn(a, b, C / C.max(), reg=1 / 4900, normalize=True, solver="sns")
    np.testing.assert_allclose(result.value, direct.value, rtol=1e-9)
    assert scaled


@pytest.mark.parametrize("solver", ALL)
def test_no_more_iterations_than_allowed(solver):
    C = np.random.default_rng(0).random((40, 50))
    for max_iter in (1, 2, 3, 7, 8, 9, 20, 50):
        with pytest.warns(ConvergenceWarning, match="marginal error"):
            result = sinkhorn(C=C, reg=1e-4, solver=solver, max_iter=max_iter, tol=1e-14)
        assert 0 < result.n_iter <= max_iter
        assert result.history["iteration"][-1] <= max_iter


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("offset", [1e9, -1e9])
def test_a_constant_in_the_costs_moves_values_only(solver, offset):
    a, b, _, _ = small_problem()
    # Multiples of 2**-20, so that adding the constant does not round them.
    C = np.random.default_rng(0).integers(0, 2**20, (21, 26)) / 2**20
    options = {"reg": 0.02, "solver": solver, "tol": 1e-10, "max_iter": 5000}
    base, shifted = sinkhorn(a, b, C, **options), sinkhorn(a, b, C + offset, **options)
    assert shifted.converged
    np.testing.assert_allclose(shifted.plan(), base.plan(), atol=1e-12)
    np.testing.assert_allclose(shifted.gap(), base.gap(), rtol=1e-9)
    np.testing.assert_allclose(shifted.value - offset, base.value, atol=1e-6)
    np.testing.assert_allclose(shifted.f - offset / 2, base.f, atol=1e-6)
    np.testing.assert_allclose(shifted.g - offset / 2, base.g, atol=1e-6)
    np.testing.assert_allclose(shifted.history["objective"] - offset, base.history["objective"],
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(shifted.grad_a(), base.grad_a(), atol=1e-9)
