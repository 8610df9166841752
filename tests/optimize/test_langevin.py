"""langevin_average against golden steps, closed forms, stationary laws and its own promises."""

import itertools
import json
import math
import warnings
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core._hermite import hermite, hermite_basis, hermite_derivative
from sparseopt.optimize import langevin_average
from sparseopt.optimize._langevin import leading_direction, project_step, project_tangent

DATA = Path(__file__).parents[1] / "data" / "langevin"
TENSORS = np.load(DATA / "tensor_kernels.npz", allow_pickle=False)
STATISTICS = json.loads((DATA / "statistics.json").read_text(encoding="utf-8"))
MODELS = np.load(DATA / "sim_kernels.npz", allow_pickle=False)


def symmetrise(Y):
    orders = list(itertools.permutations(range(Y.ndim)))
    return sum(Y.transpose(order) for order in orders) / len(orders)


def tensor_gradient(S):
    """The gradient of <S, theta^k> for a symmetric S, one contraction after another."""

    def gradient(theta):
        value = np.broadcast_to(S, (theta.shape[0], *S.shape))
        for _ in range(S.ndim - 1):
            value = np.einsum("r...i,ri->r...", value, theta)
        return S.ndim * value

    return gradient


def fast_gradient(S):
    """The same for k = 3, as one product of matrices."""
    d = S.shape[0]
    flat = S.reshape(d, d * d)
    return lambda theta: 3 * np.matmul((theta @ flat).reshape(-1, d, d), theta[:, :, None])[:, :, 0]


def overlap(direction, planted):
    return abs(direction @ planted) / np.linalg.norm(direction)


def spiked(d, signal, seed):
    rng = np.random.default_rng(seed)
    planted = rng.standard_normal(d)
    planted /= np.linalg.norm(planted)
    noise = rng.standard_normal((d, d, d))
    spike = signal * np.einsum("i,j,k->ijk", planted, planted, planted)
    return symmetrise(spike + noise), planted


def zero(theta):
    return 0 * theta


# One step, and the polynomials


@pytest.mark.parametrize("k", [2, 3, 4])
def test_one_step_matches_golden_data(k):
    theta, noise, eps, dt = (TENSORS[f"k{k}_{name}"] for name in ("theta", "xi", "eps", "dt"))
    tangent = project_tangent(theta, tensor_gradient(TENSORS[f"k{k}_sym"])(theta))
    np.testing.assert_allclose(tangent, TENSORS[f"k{k}_tangent"], rtol=1e-12, atol=1e-14)
    moved = project_step(theta, tangent, noise, float(eps), float(dt))
    np.testing.assert_allclose(moved, TENSORS[f"k{k}_next"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_tangent_drift_is_orthogonal_to_theta_and_a_derivative(k):
    S, theta = TENSORS[f"k{k}_sym"], TENSORS[f"k{k}_theta"]
    gradient = tensor_gradient(S)
    tangent = project_tangent(theta, gradient(theta))
    assert np.max(np.abs(np.sum(theta * tangent, axis=1))) < 1e-12
    step, along = 1e-5, tangent / np.linalg.norm(tangent, axis=1, keepdims=True)

    def value(points):
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
        return np.sum(points * gradient(points), axis=1) / k

    slope = (value(theta + step * along) - value(theta - step * along)) / (2 * step)
    np.testing.assert_allclose(slope, np.linalg.norm(tangent, axis=1), rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_hermite_polynomials_match_golden_data(k):
    u = MODELS[f"h{k}_X"] @ MODELS[f"h{k}_theta"].T
    np.testing.assert_allclose(hermite(u, k), MODELS[f"h{k}_h"], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(hermite_derivative(u, k), MODELS[f"h{k}_dh"], rtol=1e-10, atol=1e-10)
    loss = -np.mean(MODELS[f"h{k}_y"][:, None] * hermite(u, k), axis=0)
    np.testing.assert_allclose(loss, MODELS[f"h{k}_loss"], rtol=1e-10)
    slopes = MODELS[f"h{k}_y"][:, None] * hermite_derivative(u, k)
    theta = MODELS[f"h{k}_theta"]
    tangent = project_tangent(theta, slopes.T @ MODELS[f"h{k}_X"] / len(u))
    np.testing.assert_allclose(tangent, MODELS[f"h{k}_drift"], rtol=1e-10, atol=1e-10)


def test_hermite_polynomials_are_orthonormal():
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    basis = hermite_basis(nodes, 9)
    gram = basis.T @ (weights[:, None] * basis) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(gram, np.eye(10), atol=1e-10)
    np.testing.assert_array_equal(hermite_basis(nodes, 0), np.ones((30, 1)))
    np.testing.assert_array_equal(hermite_derivative(nodes, 0), np.zeros(30))
    assert hermite_basis(nodes.reshape(5, 6), 2).shape == (5, 6, 3)


def test_hermite_polynomials_of_any_array_library():
    u = np.linspace(-2, 2, 7)
    strict = array_api_strict.asarray(u)
    np.testing.assert_allclose(np.asarray(hermite(strict, 5)), hermite(u, 5), rtol=1e-15)
    np.testing.assert_allclose(np.asarray(hermite_basis(strict, 3)), hermite_basis(u, 3))


# What the averages converge to


def test_heavy_tails_do_not_cool_the_chains():
    reference = STATISTICS["sim"][3]
    assert (reference["k"], reference["d"], reference["n"]) == (4, 50, 2500)
    found = []
    for seed in reference["seeds"]:
        rng = np.random.default_rng(seed)
        planted = rng.standard_normal(50)
        planted /= np.linalg.norm(planted)
        X = rng.standard_normal((2500, 50))
        y = hermite(X @ planted, 4) + reference["noise"] * rng.standard_normal(2500)

        def drift(theta, X=X, y=y):
            return (y[:, None] * hermite_derivative(X @ theta.T, 4)).T @ X / 2500

        result = langevin_average(
            drift, 50, eps=("auto", reference["kappa"]), n_chains=20, second_moment=True,
            random_state=0, warn=False,
        )  # fmt: skip
        assert result.n_eps_halvings == 0
        averages = [leading_direction(result[n]) for n in ("second_moment", "drift_second")]
        last = math.sqrt(np.mean((result.last @ planted) ** 2))
        found.append([overlap(direction, planted) for direction in averages] + [last])
    columns = [reference["cols"].index(name) for name in ("avg", "drift", "last_rms")]
    per_seed = np.array(reference["per_seed"])[:, columns]
    error = np.std(per_seed, axis=0, ddof=1) / math.sqrt(5)
    assert np.all(np.mean(found, axis=0) > np.mean(per_seed, axis=0) - 3 * error)


@pytest.mark.parametrize("k", [3, 4])
def test_the_drift_average_tends_to_its_closed_form_as_it_gets_hot(k):
    S = TENSORS[f"k{k}_sym"]
    d = S.shape[0]
    result = langevin_average(
        tensor_gradient(S), d, eps=("auto", 0.01), n_chains=256, max_iter=600, burn_in=10,
        second_moment=k == 4, random_state=0,
    )  # fmt: skip
    expected = TENSORS["k3_mean_drift"] if k == 3 else TENSORS["k4_mean_sym"]
    given = result.drift_mean if k == 3 else result.drift_second
    assert np.linalg.norm(given - expected) < 0.05 * np.linalg.norm(expected)


def test_the_hot_drift_average_points_where_the_partial_trace_does():
    S, _ = spiked(50, 14.0, seed=3)
    trace = np.einsum("iij->j", S)
    result = langevin_average(
        fast_gradient(S), 50, eps=("auto", 0.05), max_iter=60, burn_in=10, random_state=0
    )
    assert overlap(result.drift_mean, trace / np.linalg.norm(trace)) > 0.95


def test_without_drift_the_average_is_that_of_brownian_motion():
    result = langevin_average(
        zero, 40, eps=0.0, n_chains=50, max_iter=2000, burn_in=0, second_moment=True,
        random_state=0, warn=False,
    )  # fmt: skip
    assert np.linalg.norm(result.x) < 0.02  # sqrt(5.83 / 1e5) = 0.0076
    eigenvalues = 40 * np.linalg.eigvalsh(result.second_moment)
    assert np.all(np.abs(eigenvalues - 1) < 0.1)
    assert not np.any(result.drift_mean)
    assert math.isclose(np.trace(result.second_moment), 1.0, rel_tol=1e-12)


def test_the_averages_satisfy_stationarity():
    S = symmetrise(np.random.default_rng(0).standard_normal((6, 6, 6)))
    eps, d = 0.8, 6
    result = langevin_average(
        tensor_gradient(S), d, eps=eps, step_size=0.05, n_chains=400, max_iter=4000, burn_in=200,
        second_moment=True, random_state=0,
    )  # fmt: skip
    np.testing.assert_allclose((d - 1) / 2 * result.x, eps * result.drift_mean, atol=0.03)
    expected = np.eye(d) + eps * result.drift_second
    np.testing.assert_allclose(d * result.second_moment, expected, atol=0.03)


def test_the_law_of_the_iterates_is_exp_two_eps_f():
    S, eps = np.diag([1.0, 0.0, -0.5]), 1.5
    result = langevin_average(
        lambda theta: 2 * theta @ S, 3, eps=eps, step_size=0.02, n_chains=3000, max_iter=600,
        burn_in=599, random_state=0, warn=False,
    )  # fmt: skip

    def density(u):  # of theta_1 = u: the integral over the circle is a Bessel function
        rest = 1 - u * u
        return math.exp(2 * eps * u * u - 0.5 * eps * rest) * np.i0(0.5 * eps * rest)

    grid = np.linspace(-1, 1, 2001)
    mass = integrate.cumulative_simpson([density(u) for u in grid], x=grid, initial=0.0)
    law = stats.kstest(result.last[:, 0], lambda u: np.interp(u, grid, mass / mass[-1]))
    assert law.pvalue > 1e-3


def test_an_average_finds_what_no_iterate_has():
    S, planted = spiked(50, 30.0, seed=1)
    result = langevin_average(fast_gradient(S), 50, eps=("auto", 0.1), random_state=0)
    assert overlap(result.drift_mean, planted) > 0.6
    assert overlap(result.drift_mean, planted) > overlap(result.x, planted)
    assert math.sqrt(np.mean((result.last @ planted) ** 2)) < 2 / math.sqrt(50)
    assert result.success
    assert result.agreement["drift_mean"] > result.agreement["x"]


def planted_tensor(k, d, signal, seed):
    """The draw order of the reference data."""
    rng = np.random.default_rng(seed)
    planted = rng.standard_normal(d)
    planted /= np.linalg.norm(planted)
    noise, spike = rng.standard_normal((d,) * k), planted
    for _ in range(k - 1):
        spike = np.multiply.outer(spike, planted)
    return symmetrise(signal * spike + noise), planted


def pair_gradient(S):
    """The gradient for k = 4: pairs of coordinates, times a matrix of pairs."""
    d = S.shape[0]
    flat = S.reshape(d * d, d * d)

    def gradient(theta):
        pairs = (theta[:, :, None] * theta[:, None, :]).reshape(-1, d * d)
        return 4 * np.matmul((pairs @ flat).reshape(-1, d, d), theta[:, :, None])[:, :, 0]

    return gradient


@pytest.mark.parametrize("case", [0, 1, 2, 4])
def test_overlaps_are_those_of_the_reference(case):
    reference = STATISTICS["tensor"][case]
    k, columns = reference["k"], reference["cols"]
    overlaps, inverse_temperatures = [], []
    for seed in reference["seeds"]:
        S, planted = planted_tensor(k, reference["d"], reference["lam"], seed)
        for chain_seed in range(4):
            result = langevin_average(
                (fast_gradient if k == 3 else pair_gradient)(S), reference["d"],
                eps=("auto", reference["kappa"]), second_moment=k == 4, random_state=chain_seed,
                warn=False,
            )  # fmt: skip
            found = (result.x, result.drift_mean)
            if k == 4:
                found = [leading_direction(result[n]) for n in ("second_moment", "drift_second")]
            overlaps.append([overlap(direction, planted) for direction in found])
            inverse_temperatures.append(result.eps)
            assert result.n_eps_halvings == 0
    expected = np.mean(reference["per_seed"], axis=0)
    error = np.std(reference["per_seed"], axis=0, ddof=1) / math.sqrt(5)
    assert np.all(np.mean(overlaps, axis=0) > expected[:2] - 3 * error[:2])
    # The temperature comes from 32 random points, by which it varies by a few percent.
    assert math.isclose(np.mean(inverse_temperatures), expected[columns.index("eps")], rel_tol=0.05)


# Invariances


def test_flipping_an_odd_function_flips_its_average():
    S, _ = spiked(40, 25.0, seed=1)
    plus, minus = (
        langevin_average(fast_gradient(sign * S), 40, eps=("auto", 1.0), random_state=sign + 1)
        for sign in (1, -1)
    )
    assert plus.x @ minus.x < -0.95 * np.linalg.norm(plus.x) * np.linalg.norm(minus.x)


def test_rotating_the_tensor_rotates_the_average():
    S, _ = spiked(30, 25.0, seed=1)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((30, 30)))[0]
    turned = np.einsum("ijk,ai,bj,ck->abc", S, rotation, rotation, rotation, optimize=True)
    runs = [
        langevin_average(fast_gradient(T), 30, eps=("auto", 1.0), max_iter=300, random_state=i)
        for i, T in enumerate((S, turned))
    ]
    expected = rotation @ runs[0].x
    assert overlap(runs[1].x, expected / np.linalg.norm(expected)) > 0.98


def test_first_moments_of_an_even_function_vanish_and_second_ones_do_not():
    S, planted = planted_tensor(4, 20, 15.0, seed=4000)
    result = langevin_average(
        pair_gradient(S), 20, eps=("auto", 0.5), n_chains=256, max_iter=200, second_moment=True,
        random_state=0,
    )  # fmt: skip
    assert np.linalg.norm(result.x) < 0.15
    assert overlap(leading_direction(result.drift_second), planted) > 0.8


def test_scaling_by_a_power_of_two_changes_nothing_at_an_automatic_temperature():
    S, _ = spiked(20, 10.0, seed=2)
    runs = [
        langevin_average(fast_gradient(c * S), 20, eps=("auto", 1.0), random_state=0, warn=False)
        for c in (1.0, 2.0**40, 2.0**-40, 2.0**-600, 2.0**600)
    ]
    for c, run in zip((2.0**40, 2.0**-40, 2.0**-600, 2.0**600), runs[1:], strict=True):
        assert run.agreement == pytest.approx(runs[0].agreement, rel=1e-12)
        assert run.history["drift_norm"][-1] == c * runs[0].history["drift_norm"][-1]
        assert run.eps == runs[0].eps / c
        np.testing.assert_array_equal(run.x, runs[0].x)
        np.testing.assert_array_equal(run.drift_mean, c * runs[0].drift_mean)


def test_the_automatic_temperature_is_kappa_over_the_drift():
    S, _ = spiked(40, 0.0, seed=5)
    result = langevin_average(fast_gradient(S), 40, eps=("auto", 0.7), random_state=0, warn=False)
    # Under noise E |b|^2 = k (d - 1).
    assert math.isclose(result.eps, 0.7 * 39 / (2 * math.sqrt(3 * 39)), rel_tol=0.1)
    assert isinstance(result.eps, float)


def test_chains_do_not_depend_on_what_runs_beside_them():
    S, _ = spiked(15, 5.0, seed=2)
    few, many = (
        langevin_average(
            tensor_gradient(S), 15, eps=0.3, n_chains=n, max_iter=50, random_state=7, warn=False
        )
        for n in (3, 11)
    )
    np.testing.assert_allclose(few.last, many.last[:3], rtol=1e-9, atol=1e-12)


def test_results_do_not_depend_on_how_the_drift_is_cut():
    S, _ = spiked(15, 5.0, seed=2)
    gradient = tensor_gradient(S)

    def one_by_one(theta):
        return np.concatenate([gradient(row[None]) for row in theta])

    whole, cut = (
        langevin_average(drift, 15, eps=("auto", 0.5), random_state=3, warn=False)
        for drift in (gradient, one_by_one)
    )
    np.testing.assert_allclose(whole.x, cut.x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(whole.drift_mean, cut.drift_mean, rtol=1e-9, atol=1e-12)


def test_a_seed_gives_the_same_chains_and_another_seed_others():
    S, _ = spiked(15, 5.0, seed=2)
    first, again, other = (
        langevin_average(tensor_gradient(S), 15, eps=0.3, random_state=seed, warn=False)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.last, again.last)
    assert np.max(np.abs(first.last - other.last)) > 0.1
    generator = np.random.default_rng(0)
    langevin_average(tensor_gradient(S), 15, eps=0.3, random_state=generator, warn=False)


def test_a_callback_sees_the_run_and_does_not_change_it():
    S, _ = spiked(15, 5.0, seed=2)
    seen = []

    def watch(intermediate_result):
        seen.append(intermediate_result)

    arguments = {"eps": 0.3, "max_iter": 40, "burn_in": 10, "random_state": 0, "warn": False}
    watched = langevin_average(tensor_gradient(S), 15, callback=watch, **arguments)
    alone = langevin_average(tensor_gradient(S), 15, **arguments)
    np.testing.assert_array_equal(watched.x, alone.x)
    assert [entry.nit for entry in seen] == list(range(1, 41))
    np.testing.assert_array_equal(seen[-1].theta, watched.last)
    np.testing.assert_array_equal(seen[-1].x, watched.x)
    assert np.all(np.isnan(watched.history["agreement"][:10]))
    reported = watched.history["agreement"][-1]
    assert math.isclose(reported, watched.agreement["drift_mean"], rel_tol=1e-12)
    assert alone.history["iteration"].tolist() == [16, 32, 40]


@pytest.mark.parametrize("stop", [5, 30])
def test_a_callback_can_stop_the_run(stop):
    calls = []

    def limit(x):
        calls.append(x)
        if len(calls) == stop:
            raise StopIteration

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = langevin_average(lambda theta: theta @ np.eye(4), 4, eps=1.0, callback=limit)
    assert result.nit == stop
    assert "callback" in result.message
    assert np.all(np.isfinite(result.x))


def test_theta0_starts_every_chain():
    start = np.arange(1.0, 6.0)
    first = []

    def drift(theta):
        first.append(theta)
        return 0 * theta

    langevin_average(drift, 5, eps=1.0, n_chains=3, theta0=start, random_state=0, warn=False)
    np.testing.assert_allclose(first[0], np.tile(start / np.linalg.norm(start), (3, 1)))
    starts = np.random.default_rng(0).standard_normal((3, 5))
    for scale in (1.0, 1e-200, 1e200):
        first.clear()
        given = scale * starts
        langevin_average(drift, 5, eps=1.0, n_chains=3, theta0=given, random_state=0, warn=False)
        np.testing.assert_allclose(first[0], starts / np.linalg.norm(starts, axis=1, keepdims=True))


def test_the_burn_in_is_left_out_and_no_more():
    start = np.eye(3)[:1]
    result = langevin_average(
        zero, 3, eps=0.0, n_chains=1, max_iter=2, burn_in=1, theta0=start, random_state=0,
        warn=False,
    )  # fmt: skip
    whole = langevin_average(
        zero, 3, eps=0.0, n_chains=1, max_iter=2, burn_in=0, theta0=start, random_state=0,
        warn=False,
    )  # fmt: skip
    np.testing.assert_allclose(2 * whole.x - result.x, start[0], rtol=1e-15, atol=1e-15)


def test_one_chain_compares_two_halves_of_its_time():
    S, planted = spiked(20, 40.0, seed=0)
    result = langevin_average(
        fast_gradient(S), 20, eps=("auto", 1.0), n_chains=1, max_iter=3000, random_state=0
    )
    assert 0.9 < result.agreement["drift_mean"] <= 1
    assert overlap(result.drift_mean, planted) > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_agreement_of_one_chain_is_that_of_early_and_late_iterates(seed):
    points = []
    result = langevin_average(
        zero, 3, eps=0.0, n_chains=1, max_iter=4, burn_in=2, random_state=seed, warn=False,
        callback=lambda intermediate_result: points.append(intermediate_result.theta[0]),
    )  # fmt: skip
    third, fourth = points[1:3]  # the iterates after two and three steps
    np.testing.assert_allclose(result.x, (third + fourth) / 2, rtol=1e-14)
    assert math.isclose(result.agreement["x"], abs(third @ fourth), rel_tol=1e-12)


# Array libraries and precision


@pytest.mark.parametrize("second_moment", [False, True])
def test_arrays_of_another_library_stay_there(second_moment):
    xp = array_api_strict
    S = symmetrise(np.random.default_rng(0).standard_normal((8, 8, 8)))
    flat = xp.asarray(S.reshape(8, 64))

    def drift(theta):
        products = xp.reshape(theta @ flat, (theta.shape[0], 8, 8))
        return 3.0 * (products @ theta[:, :, None])[:, :, 0]

    arguments = {"eps": ("auto", 0.5), "second_moment": second_moment, "random_state": 0}
    strict = langevin_average(drift, 8, like=flat, **arguments)
    plain = langevin_average(fast_gradient(S), 8, **arguments)
    for name in ("x", "drift_mean", "last") + ("second_moment", "drift_second") * second_moment:
        assert type(strict[name]) is type(flat)
        np.testing.assert_allclose(np.asarray(strict[name]), plain[name], rtol=1e-8, atol=1e-10)
    assert math.isclose(strict.eps, plain.eps, rel_tol=1e-12)
    assert strict.agreement.keys() == plain.agreement.keys()


def test_theta0_chooses_the_library_and_a_callback_sees_it():
    xp, seen = array_api_strict, []
    start = xp.ones(4, dtype=xp.float32)
    result = langevin_average(
        lambda theta: 0.0 * theta, 4, eps=1.0, theta0=start, callback=seen.append, warn=False
    )
    assert result.last.dtype == xp.float32
    assert type(seen[0]) is type(start)


def test_single_precision_stays_and_sums_are_double():
    S, planted = spiked(40, 30.0, seed=1)
    single = fast_gradient(S.astype(np.float32))
    like = np.empty(0, dtype=np.float32)
    result = langevin_average(
        single, 40, eps=("auto", 0.5), second_moment=True, random_state=0, like=like
    )
    assert result.last.dtype == np.float32
    assert {result[name].dtype for name in ("x", "drift_mean", "second_moment")} == {
        np.dtype(np.float64)
    }
    np.testing.assert_allclose(np.linalg.norm(result.last.astype(float), axis=1), 1, atol=3e-7)
    assert overlap(result.drift_mean, planted) > 0.6


# Safeguards


def test_steps_that_are_too_long_halve_eps():
    result = langevin_average(
        lambda theta: 1e3 * theta @ np.diag([1.0, 0.5, 0.0]), 3, eps=10.0, random_state=0,
        warn=False,
    )  # fmt: skip
    assert result.n_eps_halvings > 5
    assert result.eps == 10.0 / 2**result.n_eps_halvings
    assert result.nit == 100
    assert np.all(np.isfinite(result.x))


def test_a_run_that_was_halved_is_the_run_at_the_lower_eps():
    def drift(theta):
        return 1e3 * theta @ np.diag([1.0, 0.5, 0.0])

    arguments = {"second_moment": True, "random_state": 0, "warn": False}
    halved = langevin_average(drift, 3, eps=10.0, **arguments)
    direct = langevin_average(drift, 3, eps=halved.eps, **arguments)
    assert direct.n_eps_halvings == 0
    for name in ("x", "drift_mean", "second_moment", "drift_second", "last"):
        np.testing.assert_array_equal(halved[name], direct[name])


def test_a_drift_that_is_nan_now_and_then_is_halved_away():
    bad = []

    def drift(theta):
        if len(bad) < 2 and np.max(theta[:, 0]) > 0.5:
            bad.append(1)
            return theta * np.nan
        return theta @ np.diag([1.0, 0.0, 0.0])

    result = langevin_average(drift, 3, eps=1.0, random_state=0, warn=False)
    assert result.n_eps_halvings == 2
    assert np.all(np.isfinite(result.x))


@pytest.mark.parametrize("eps", [1.0, 0.0, ("auto", 1.0)])
def test_a_drift_that_is_always_nan_is_an_error(eps):
    with pytest.raises(FloatingPointError, match="drift returned values that are not finite"):
        langevin_average(lambda theta: theta * np.nan, 5, eps=eps)


def test_a_drift_that_is_always_huge_is_an_error():
    with pytest.raises(FloatingPointError, match="in one step"):
        langevin_average(lambda theta: np.roll(theta, 1, axis=1) * 1e30, 5, eps=1.0)


def test_no_drift_gives_a_zero_inverse_temperature_and_a_warning():
    with pytest.warns(ConvergenceWarning, match="needs more iterates"):
        result = langevin_average(zero, 30, eps=("auto", 1.0), random_state=0)
    assert result.eps == 0.0
    assert not result.success
    assert math.isnan(result.agreement["drift_mean"])


def test_agreement_is_no_evidence_of_a_signal():
    S, _ = spiked(50, 0.0, seed=1)
    result = langevin_average(fast_gradient(S), 50, eps=("auto", 1.0), max_iter=400, random_state=0)
    assert result.agreement["drift_mean"] > 0.9


BAD = {
    "kappa": (ValueError, {"eps": ("auto", 0.0)}),
    "kappa must": (ValueError, {"eps": ("auto", -1.0)}),
    "eps must be a number": (ValueError, {"eps": ("cold", 1.0)}),
    "eps must be finite": (ValueError, {"eps": math.nan}),
    "eps must be a real": (TypeError, {"eps": "auto"}),
    "step_size must be in": (ValueError, {"step_size": 2.1}),
    "step_size": (ValueError, {"step_size": 0.0}),
    "burn_in must be in": (ValueError, {"burn_in": 100}),
    "burn_in": (ValueError, {"burn_in": -1}),
    "burn_in must be an integer": (TypeError, {"burn_in": 1.5}),
    "max_iter": (ValueError, {"max_iter": 0}),
    "n_chains": (ValueError, {"n_chains": 0}),
    "n_features must be at least 2": (ValueError, {"n_features": 1}),
    "drift must be callable": (TypeError, {"drift": np.eye(4)}),
    "in the shape of theta": (ValueError, {"drift": lambda theta: theta[:, :2]}),
    "real floating numbers": (TypeError, {"drift": lambda theta: theta + 1j}),
    "of the library of theta": (TypeError, {"drift": lambda theta: theta.tolist()}),
    "theta0 must have shape": (ValueError, {"theta0": np.ones(3)}),
    "theta0 must be finite": (ValueError, {"theta0": np.full(4, np.nan)}),
    "at the origin": (ValueError, {"theta0": np.zeros(4)}),
    "are real": (ValueError, {"theta0": np.ones(4, dtype=complex)}),
    "theta0 must be real": (ValueError, {"theta0": ["a", "b", "c", "d"]}),
    "random_state": (TypeError, {"random_state": "seed"}),
}


@pytest.mark.parametrize("match", BAD)
def test_bad_input_is_refused_by_name(match):
    kind, changed = BAD[match]
    arguments = {"drift": zero, "n_features": 4, "eps": 1.0} | changed
    with pytest.raises(kind, match=match):
        langevin_average(**arguments)


def test_leading_direction_is_that_of_the_largest_eigenvalue():
    vector = leading_direction(np.diag([-5.0, 2.0, 1.0]))
    np.testing.assert_allclose(np.abs(vector), [0.0, 1.0, 0.0], atol=1e-14)
