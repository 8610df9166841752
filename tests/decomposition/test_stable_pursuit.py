"""Stable principal component pursuit: optimality, limits and invariances."""

import math
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from sparseopt.decomposition._kernels import stable, stable_arrays
from sparseopt.decomposition._noise import default_mu, default_radius
from sparseopt.decomposition._principal_pursuit import principal_component_pursuit
from sparseopt.decomposition._stable_pursuit import stable_principal_pursuit
from sparseopt.decomposition._stable_radius import RadiusSearch

DATA = Path(__file__).parents[1] / "data" / "decomposition"


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA / "spcp.npz") as stored:
        return dict(stored)


def make_data(shape=(40, 30), rank=2, share=0.05, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    errors = (rng.random(shape) < share) * rng.uniform(-9, 9, shape)
    return low + errors + noise * rng.standard_normal(shape)


def relative(A, B):
    return np.linalg.norm(A - B) / np.linalg.norm(B)


def objective(D, L, S, lam, mu, mask=None, weights=1.0):
    residual = D - L - S if mask is None else np.where(mask, D - L - S, 0)
    fit = np.sum(residual**2) / (2 * mu)
    return np.linalg.norm(L, "nuc") + lam * np.sum(weights * np.abs(S)) + fit


def assert_optimal(D, result, lam, mu, *, mask=None, weights=1.0, tol=1e-6):
    """Check the conditions of optimality from the returned arrays alone."""
    L, S, Y = result.low_rank, result.sparse, result.dual
    limits = np.broadcast_to(lam * np.asarray(weights), D.shape)
    seen = np.ones(D.shape, bool) if mask is None else mask
    D = np.where(seen, D, 0)
    assert np.all(S[~seen] == 0)
    assert np.all(Y[~seen] == 0)
    assert np.linalg.norm(Y, 2) <= 1 + 1e-12
    assert np.all(np.abs(Y) <= limits * (1 + 1e-12))
    primal = objective(D, L, S, lam, mu, mask, weights)
    dual = np.sum(D * Y) - mu / 2 * np.sum(Y**2)
    assert_allclose(result.fun, primal, rtol=1e-9)
    assert -1e-12 * primal <= primal - dual <= tol * primal
    assert_allclose(result.dual_gap, (primal - dual) / primal, atol=1e-9)
    assert np.linalg.matrix_rank(L) == result.x.rank


@pytest.mark.parametrize("masked", [False, True])
def test_golden_optimum(golden, masked):
    lam, mu = float(golden["lam"]), float(golden["mu"])
    mask, suffix = (golden["mask"], "_masked") if masked else (None, "")
    result = stable_principal_pursuit(golden["D"], lam, mu, observed=mask, tol=1e-11)
    assert result.success
    assert relative(result.low_rank, golden["L" + suffix]) < 1e-6
    assert relative(result.sparse, golden["S" + suffix]) < 1e-6
    if not masked:
        assert_allclose(result.fun, float(golden["objective"]), rtol=1e-10)
    assert_optimal(golden["D"], result, lam, mu, mask=mask, tol=1e-11)


def test_default_tolerance_is_met_by_the_arrays_returned(golden):
    lam, mu = float(golden["lam"]), float(golden["mu"])
    result = stable_principal_pursuit(golden["D"], lam, mu)
    assert result.success
    assert_optimal(golden["D"], result, lam, mu, tol=1e-6)
    assert relative(result.low_rank, golden["L"]) < 1e-5


@pytest.mark.parametrize("svd_solver", ["full", "gram", "subspace"])
def test_every_decomposition_gives_the_same_optimum(svd_solver):
    D = make_data((90, 70))
    lam, mu = 90**-0.5, default_mu(0.1, D.shape)
    result = stable_principal_pursuit(D, lam, mu, svd_solver=svd_solver, random_state=0)
    assert_optimal(D, result, lam, mu)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["rows", "entries"])
def test_weights_are_of_the_sparse_penalty(order, kind):
    D = make_data()
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 2, 40 if kind == "rows" else D.shape)
    mask = rng.random(D.shape) < 0.9
    lam, mu = 0.15, 0.5
    given = np.array(np.where(mask, D, np.nan), order=order)
    result = stable_principal_pursuit(given, lam, mu, observed=mask, weights=weights, tol=1e-9)
    full = weights[:, None] if kind == "rows" else weights
    assert_optimal(D, result, lam, mu, mask=mask, weights=full, tol=1e-9)


def test_unit_weights_change_nothing_and_zero_weights_hide_entries():
    D = make_data()
    plain = stable_principal_pursuit(D, 0.15, 0.5, tol=1e-9)
    ones = stable_principal_pursuit(D, 0.15, 0.5, weights=np.ones(D.shape), tol=1e-9)
    assert_allclose(ones.low_rank, plain.low_rank, atol=1e-12)
    mask = np.random.default_rng(1).random(D.shape) < 0.9
    hidden = stable_principal_pursuit(D, 0.15, 0.5, observed=mask, tol=1e-10)
    free = stable_principal_pursuit(D, 0.15, 0.5, weights=mask.astype(float), tol=1e-10)
    assert relative(free.low_rank, hidden.low_rank) < 1e-7
    assert_allclose(free.sparse[~mask], (D - free.low_rank)[~mask], atol=1e-12)


def test_full_mask_equals_none():
    D = make_data()
    plain = stable_principal_pursuit(D, 0.15, 0.5)
    masked = stable_principal_pursuit(D, 0.15, 0.5, observed=np.ones(D.shape, bool))
    assert_allclose(masked.low_rank, plain.low_rank, atol=1e-12)
    assert masked.nit == plain.nit


def test_small_mu_gives_principal_component_pursuit():
    D = make_data(noise=0.0)
    lam = 40**-0.5
    exact = principal_component_pursuit(D, lam, tol_gap=1e-9, tol=1e-9)
    errors = []
    for mu in (1e-1, 1e-3, 1e-5):
        near = stable_principal_pursuit(D, lam, mu, tol=1e-8)
        errors.append(relative(near.low_rank, exact.low_rank))
        assert near.fun <= exact.fun * (1 + 1e-8)
    assert errors[2] < 1e-6
    assert errors[2] < errors[1] / 30 < errors[0] / 900


def test_large_mu_gives_zero():
    D = make_data()
    lam = 0.2
    mu = 1.01 * max(np.linalg.norm(D, 2), np.max(np.abs(D)) / lam)
    result = stable_principal_pursuit(D, lam, mu)
    assert result.x.rank == 0
    assert not np.any(result.sparse)
    assert_allclose(result.fun, np.sum(D**2) / (2 * mu))


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_scale_of_the_data_does_not_matter(scale):
    D = make_data()
    plain = stable_principal_pursuit(D, 0.15, 0.5)
    scaled = stable_principal_pursuit(D * scale, 0.15, 0.5 * scale)
    assert scaled.nit == plain.nit
    assert_allclose(scaled.low_rank / scale, plain.low_rank, atol=1e-8)
    assert_allclose(scaled.sparse / scale, plain.sparse, atol=1e-8)
    assert_allclose(scaled.fun / scale, plain.fun)
    assert_allclose([scaled.mu / scale, scaled.residual_norm / scale], [0.5, plain.residual_norm])


@pytest.mark.parametrize("options", [{"mu": 0.5}, {"radius": 2.0}])
def test_transposed_data_have_the_transposed_solution(options):
    D = make_data()
    plain = stable_principal_pursuit(D, 0.15, tol=1e-9, **options)
    turned = stable_principal_pursuit(D.T, 0.15, tol=1e-9, **options)
    assert turned.low_rank.shape == turned.sparse.shape == turned.dual.shape == (30, 40)
    assert relative(turned.low_rank.T, plain.low_rank) < 1e-5
    assert_allclose(turned.x.to_dense(), turned.low_rank, atol=1e-12)


@pytest.mark.parametrize("options", [{"mu": 0.5}, {"radius": 2.0}])
@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_constant_data(options, constant):
    D = np.full((12, 8), constant)
    result = stable_principal_pursuit(D, 0.3, **options)
    assert result.success
    assert result.x.rank == (constant > 0)
    assert not np.any(result.sparse)
    assert np.all(np.isfinite(result.low_rank))


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1)])
def test_thin_data(shape):
    D = np.arange(1.0, 1 + math.prod(shape)).reshape(shape)
    result = stable_principal_pursuit(D, 0.9, 0.5, tol=1e-9)
    assert_optimal(D, result, 0.9, 0.5, tol=1e-9)


@pytest.mark.parametrize(
    ("options", "error"),
    # The gap is quadratic in the error of mu, and thus of L, where the radius is given.
    [({"mu": 0.7}, 5e-5), ({"radius": 3.0}, 1e-3)],
)
def test_float32_is_kept_and_its_result_is_close(options, error):
    D = make_data()
    exact = stable_principal_pursuit(D, 0.15, **options)
    single = stable_principal_pursuit(D.astype(np.float32), 0.15, **options)
    assert single.success
    for array in (single.low_rank, single.sparse, single.dual):
        assert array.dtype == np.float32
    assert np.max(np.abs(single.low_rank - exact.low_rank)) < error * np.max(np.abs(D))


def test_input_is_not_written_to():
    D = make_data()
    D.setflags(write=False)
    before = D.copy()
    stable_principal_pursuit(D, 0.15, 0.5, weights=np.ones(40), observed=np.ones(D.shape, bool))
    assert np.array_equal(D, before)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("share", [0.1, 1.0, 5.0])
def test_radius_is_met_with_a_certificate(golden, masked, share):
    D, lam = golden["D"], float(golden["lam"])
    mask = golden["mask"] if masked else None
    seen = np.ones(D.shape, bool) if mask is None else mask
    radius = share * 0.1 * math.sqrt(D.size)
    result = stable_principal_pursuit(D, lam, radius=radius, observed=mask, tol=1e-7)
    L, S, Y = result.low_rank, result.sparse, result.dual
    norm = np.linalg.norm((D - L - S)[seen])
    assert_allclose([norm, result.residual_norm], radius, rtol=1e-9)
    primal = np.linalg.norm(L, "nuc") + lam * np.sum(np.abs(S))
    assert_allclose(result.fun, primal, rtol=1e-9)
    assert np.linalg.norm(Y, 2) <= 1 + 1e-12
    assert np.max(np.abs(Y)) <= lam * (1 + 1e-12)
    assert not np.any(Y[~seen])
    assert primal - (np.sum(D[seen] * Y[seen]) - radius * np.linalg.norm(Y)) <= 1e-7 * primal


def test_radius_and_mu_are_two_names_of_one_problem(golden):
    D, lam, mu = golden["D"], float(golden["lam"]), float(golden["mu"])
    penalised = stable_principal_pursuit(D, lam, mu, tol=1e-11)
    found = stable_principal_pursuit(D, lam, radius=penalised.residual_norm, tol=1e-10)
    assert_allclose(found.mu, mu, rtol=1e-3)
    assert relative(found.low_rank, penalised.low_rank) < 1e-5


def test_radius_beyond_the_data_gives_zero(golden):
    D = golden["D"]
    result = stable_principal_pursuit(D, 0.2, radius=np.linalg.norm(D) * 1.001)
    assert result.nit == 0
    assert not np.any(result.low_rank)
    assert not np.any(result.sparse)
    assert result.fun == result.dual_gap == 0


def test_loss_has_the_gradient_that_the_steps_use():
    rng = np.random.default_rng(0)
    D, L = rng.standard_normal((2, 6, 5))
    limits, mu, clipped = rng.uniform(0.2, 1, (6, 5)), 0.7, np.empty((6, 5))
    stable.clip_residual(D, L, limits, mu, clipped)
    bounds = mu * limits

    def loss(L):
        S = np.sign(D - L) * np.maximum(np.abs(D - L) - bounds, 0)
        return np.sum(limits * np.abs(S)) + np.sum((D - L - S) ** 2) / (2 * mu)

    assert_allclose(stable.clip_residual(D, L, limits, mu, clipped)[0] / mu, loss(L), rtol=1e-12)
    for index in np.ndindex(6, 5):
        step = np.zeros((6, 5))
        step[index] = 1e-6
        slope = (loss(L + step) - loss(L - step)) / 2e-6
        assert_allclose(slope, -clipped[index] / mu, atol=1e-6)
    energy, slope, penalty = stable.clipped_energy(D, L, limits, mu)
    ahead = stable.clipped_energy(D, L, limits, mu * (1 + 1e-7))[0]
    assert_allclose(energy, np.sum(clipped**2))
    assert_allclose(penalty, np.sum(limits * np.maximum(np.abs(D - L) - bounds, 0)))
    assert_allclose((ahead - energy) / (1e-7 * mu), slope, rtol=1e-5)


def test_objective_falls_where_momentum_was_dropped():
    D = make_data((50, 40), share=0.1)
    history = stable_principal_pursuit(D, 50**-0.5, 0.3, tol=1e-12).history
    dropped = np.flatnonzero(history["restart"][:-1])
    assert len(dropped) >= 3
    slack = 1e-13 * history["objective"][0]
    assert np.all(history["objective"][dropped + 1] <= history["objective"][dropped] + slack)


def test_gap_bounds_the_error_of_the_objective_at_each_step(golden):
    lam, mu = float(golden["lam"]), float(golden["mu"])
    history = stable_principal_pursuit(golden["D"], lam, mu, tol=1e-12).history
    final = history["certificate"] < 1  # before, mu was another one
    error = 1 - float(golden["objective"]) / history["objective"][final]
    assert final.sum() > 50
    assert np.all(error <= history["certificate"][final] + 1e-14)


def test_start_saves_steps_and_the_solution_stays():
    D = make_data()
    cold = stable_principal_pursuit(D, 0.16, 0.5, tol=1e-9)
    near = stable_principal_pursuit(D, 0.155, 0.5)
    warm = stable_principal_pursuit(D, 0.16, 0.5, tol=1e-9, start=near)
    assert warm.nit < cold.nit
    assert relative(warm.low_rank, cold.low_rank) < 1e-6
    with pytest.raises(ValueError, match="start"):
        stable_principal_pursuit(D[:-1], 0.16, 0.5, start=near)


@pytest.mark.parametrize("scale", [1.0, 1e100])
@pytest.mark.parametrize("order", ["C", "F"])
def test_start_at_the_solution_ends_soon(order, scale):
    D = np.array(make_data() * scale, order=order)
    solution = stable_principal_pursuit(D, 0.15, 0.5 * scale)
    again = stable_principal_pursuit(D, 0.15, 0.5 * scale, start=solution)
    assert again.nit <= 0.3 * solution.nit


@pytest.mark.parametrize("shape", [(1, 6), (6, 1)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_row_weights_of_thin_data(shape, order):
    D = np.array(np.arange(1.0, 7).reshape(shape), order=order)
    weights = np.linspace(0.5, 1.5, shape[0])
    result = stable_principal_pursuit(D, 0.4, 0.5, weights=weights, tol=1e-9)
    assert_optimal(D, result, 0.4, 0.5, weights=weights[:, None], tol=1e-9)


@pytest.mark.parametrize("power", [0.05, 0.4, 1.0])
@pytest.mark.parametrize("first", [1e-3, 1e3])
def test_search_for_the_radius(power, first):
    """The norm of the residual grows like a power of mu up to 1, with a kink."""

    class Descent:
        def begin(self, mu, gradually=False):
            self.mu = mu

    def norm(mu):
        return min(mu, 1.0) * max(mu, 1.0) ** power

    descent = Descent()
    descent.begin(first)
    search = RadiusSearch.__new__(RadiusSearch)
    search.descent, search.radius, search.tol, search.accuracy = descent, 1.7, 1e-9, 1e-9
    search.clear_bounds()
    solution = 1.7 ** (1 / power)
    for _ in range(15):
        search._choose(norm(descent.mu), 1.0)
        assert search.lowest <= solution * (1 + 1e-12)
        assert search.highest >= solution * (1 - 1e-12)
    assert_allclose(descent.mu, solution, rtol=1e-6)


def test_a_cut_run_warns_and_reports_the_gap_of_what_it_returns():
    D = make_data()
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        result = stable_principal_pursuit(D, 0.15, 0.05, max_iter=12)
    assert not result.success
    assert result.nit == 12
    assert 1e-6 < result.dual_gap < 1
    assert_optimal(D, result, 0.15, 0.05, tol=result.dual_gap * (1 + 1e-6))
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        result = stable_principal_pursuit(D, 0.15, radius=2.0, max_iter=7)
    assert result.nit == 7
    assert_allclose(np.linalg.norm(D - result.low_rank - result.sparse), 2.0)


@pytest.mark.parametrize("options", [{"mu": 0.5}, {"radius": 2.0}])
def test_callback_sees_the_low_rank_part_and_stops_the_run(options):
    seen = []

    def stop(intermediate_result):
        seen.append(intermediate_result.x)
        if len(seen) == 2:
            raise StopIteration

    result = stable_principal_pursuit(make_data(), 0.15, callback=stop, tol=1e-9, **options)
    assert len(seen) == 2
    assert seen[0].shape == (40, 30)
    assert not result.success


@settings(deadline=None, max_examples=15)
@given(
    m=st.integers(2, 14),
    n=st.integers(2, 14),
    seed=st.integers(0, 99),
    lam=st.floats(0.05, 2),
    mu=st.floats(0.01, 10),
    share=st.sampled_from([0.7, 1.0]),
)
def test_any_data(m, n, seed, lam, mu, share):
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((m, n)) * rng.choice([0, 1, 10], (m, n))
    D[:, -1] = D[:, 0]
    mask = rng.random((m, n)) < share
    mask[rng.integers(0, m, n), np.arange(n)] = True
    mask[np.arange(m), rng.integers(0, n, m)] = True
    result = stable_principal_pursuit(D, lam, mu, observed=mask, max_iter=20000)
    assert result.success
    if np.any(D[mask]):
        assert_optimal(D, result, lam, mu, mask=mask)


@pytest.mark.parametrize("wide", [True, False])
def test_array_expressions_equal_the_loops(wide):
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((5, 7, 6))
    limits = rng.uniform(0.1, 1, (7, 6 if wide else 1))
    if wide:
        limits[2:4] = 0
    D, L, before, H, W = arrays.copy()
    D2, L2, before2, H2, W2 = (array_api_strict.asarray(a) for a in arrays.copy())
    strict = array_api_strict.asarray(limits)
    pairs = [
        (stable.compare(D, L, before, H, limits, 0.8), stable_arrays.compare)
        + ((D2, L2, before2, H2, strict, 0.8),),
        (stable.clipped_energy(D, L, limits, 0.8), stable_arrays.clipped_energy)
        + ((D2, L2, strict, 0.8),),
        (stable.clip_residual(D, L, limits, 0.8, W), stable_arrays.clip_residual)
        + ((D2, L2, strict, 0.8, W2),),
    ]
    for found, twin, arguments in pairs:
        assert_allclose(twin(*arguments), found, rtol=1e-12)
    assert_allclose(np.asarray(W2), W, rtol=1e-12)
    found = stable.extrapolate(D, L, before, limits, 0.8, 0.4, H, before)
    twin = stable_arrays.extrapolate(D2, L2, before2, strict, 0.8, 0.4, H2, before2)
    assert_allclose(twin, found, rtol=1e-12)
    assert_allclose(np.asarray(H2), H, rtol=1e-12)
    assert_allclose(np.asarray(before2), before, rtol=1e-12)


@pytest.mark.parametrize("options", [{"mu": 0.5}, {"radius": 2.0}])
def test_any_array_library(options):
    D = make_data()
    mask = np.random.default_rng(1).random(D.shape) < 0.9
    plain = stable_principal_pursuit(D, 0.15, observed=mask, tol=1e-7, **options)
    strict = stable_principal_pursuit(
        array_api_strict.asarray(D),
        0.15,
        observed=array_api_strict.asarray(mask),
        tol=1e-7,
        **options,
    )
    assert isinstance(strict.low_rank, type(array_api_strict.asarray(D)))
    assert relative(np.asarray(strict.low_rank), plain.low_rank) < 1e-4


def test_published_choices_of_mu_and_radius():
    assert_allclose(default_mu(0.3, (20, 50)), 3.0)
    assert_allclose(default_radius(0.3, 200) ** 2, 0.09 * (200 + 40))
    noise = np.random.default_rng(0).standard_normal((400, 900))
    exceeded = np.linalg.norm(noise, axis=1) > default_radius(1.0, 900)
    assert 0.005 < exceeded.mean() < 0.05


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lam": 0.0}, "lam"),
        ({"lam": -1.0}, "lam"),
        ({"mu": 0.0}, "mu"),
        ({"mu": np.nan}, "mu"),
        ({"mu": None}, "mu and radius"),
        ({"radius": 1.0}, "mu and radius"),
        ({"mu": None, "radius": 0.0}, "radius"),
        ({"tol": -1.0}, "tol"),
        ({"max_iter": 0}, "max_iter"),
        ({"weights": np.ones(3)}, "weights"),
        ({"weights": -np.ones(40)}, "weights"),
        ({"weights": np.full((40, 30), np.inf)}, "weights"),
        ({"observed": np.ones((3, 3), bool)}, "observed"),
        ({"observed": np.zeros((40, 30), bool)}, "observed"),
        ({"svd_solver": "power"}, "svd_solver"),
        ({"D": np.full((40, 30), np.nan)}, "D"),
        ({"D": np.full((40, 30), np.inf)}, "D"),
        ({"D": np.ones(30)}, "D"),
    ],
)
def test_bad_arguments(options, match):
    arguments = {"D": make_data(), "lam": 0.15, "mu": 0.5} | options
    with pytest.raises(ValueError, match=match):
        stable_principal_pursuit(**arguments)
