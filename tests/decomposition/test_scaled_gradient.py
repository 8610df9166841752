"""Scaled gradient descent: the published trained schedule, recovery, verdicts."""

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime
from sklearn.exceptions import ConvergenceWarning

from sparseopt.decomposition._known_rank import prepare, residual_products
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._scaled_gradient import _with_floor
from sparseopt.decomposition._scaled_gradient import scaled_gradient_descent as decompose

DATA = Path(__file__).parents[1] / "data" / "decomposition"


def make_problem(shape=(120, 100), rank=3, share=0.1, largest=None, seed=0):
    """Return D, L and S with errors of the size of L, or up to ``largest``."""
    rng = np.random.default_rng(seed)
    m, n = shape
    L = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    largest = np.mean(np.abs(L)) if largest is None else largest
    S = np.where(rng.random(shape) < share, rng.uniform(-largest, largest, shape), 0)
    return L + S, L, S


def relative_error(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_follows_the_published_schedule(index):
    golden = np.load(DATA / "lrpca_schedule.npz")
    n, r = int(golden["n"]), int(golden["r"])
    rng = np.random.default_rng(golden["seeds"][index])
    U, V = (rng.standard_normal((n, r)) / np.sqrt(n) for _ in range(2))
    L = U @ V.T
    support = rng.permutation(n * n)[: int(golden["alphas"][index] * n * n)]
    S = np.zeros(n * n)
    S[support] = np.mean(np.abs(L)) * (2 * rng.random(len(support)) - 1)
    thresholds = golden["thresholds"][index] * (1000 / n) * (r / 5)
    errors = []

    def record(x):
        errors.append(relative_error(x.to_dense(), L))

    options = {"schedule": (thresholds, golden["steps"][index]), "max_iter": 16, "warn": False}
    result = decompose(L + S.reshape(n, n), r, callback=record, **options)
    assert_allclose(errors, golden["rel_err"][index], rtol=1e-4)
    assert_allclose(result.history["threshold"][:16], thresholds[1:])


def test_a_schedule_goes_on_at_its_last_rate():
    D, L, _ = make_problem()
    start = 4 * np.median(np.abs(D))
    schedule = start * 0.7 ** np.arange(5), np.full(5, 0.7)
    result = decompose(D, 3, schedule=schedule)
    assert result.success
    assert result.nit > 10
    assert_allclose(result.history["threshold"][1:] / result.history["threshold"][:-1], 0.7)
    assert relative_error(result.low_rank, L) < 1e-5


def test_a_schedule_that_rises_at_its_end_stays_there():
    D, *_ = make_problem()
    schedule = np.array([9.0, 1.0, 2.0]), np.full(3, 0.7)
    result = decompose(D, 3, schedule=schedule, max_iter=6, warn=False)
    assert_allclose(result.history["threshold"], [1, 2, 2, 2, 2, 2, 2])


def test_a_schedule_is_in_the_units_of_the_data():
    D, *_ = make_problem()
    thresholds = 4 * np.median(np.abs(D)) * 0.7 ** np.arange(5)
    result = decompose(D, 3, schedule=(thresholds, np.full(5, 0.7)))
    scaled = decompose(1e80 * D, 3, schedule=(1e80 * thresholds, np.full(5, 0.7)))
    assert scaled.nit == result.nit
    assert relative_error(scaled.low_rank / 1e80, result.low_rank) < 1e-8


@pytest.mark.parametrize("largest", [None, 500.0])
@pytest.mark.parametrize(("rank", "share"), [(5, 0.05), (5, 0.4), (25, 0.1)])
def test_recovers(largest, rank, share):
    D, L, S = make_problem((500, 500), rank, share, largest)
    result = decompose(D, rank)
    assert result.success
    assert relative_error(result.low_rank, L) < 1e-4
    assert relative_error(result.sparse, S) < 1e-5


def test_starts_without_the_outliers():
    # From the clipped data, which bear a trace of each error, it does not get there.
    for seed in (1, 3):
        D, L, _ = make_problem((300, 300), 15, 0.25, 500.0, seed)
        assert relative_error(decompose(D, 15, max_iter=400).low_rank, L) < 1e-4


def test_parts_and_certificate_are_what_they_are_said_to_be():
    D, *_ = make_problem()
    result = decompose(D, 3)
    threshold = result.history["threshold"][-1]
    residual = D - result.low_rank
    expected = np.sign(residual) * np.maximum(np.abs(residual) - threshold, 0)
    assert_allclose(result.sparse, expected, atol=1e-12)
    assert_allclose(result.fun, np.linalg.norm(residual - expected), rtol=1e-6)
    assert_allclose(result.certificate, result.fun / np.linalg.norm(D), rtol=1e-12)
    assert_allclose(result.x.to_dense(), result.low_rank)


def test_the_tangent_part_is_the_gradient_of_the_huber_loss():
    rng = np.random.default_rng(0)
    D, A, B = rng.standard_normal((8, 7)), rng.standard_normal((8, 2)), rng.standard_normal((7, 2))

    def loss(a):
        residual = np.abs(D - a.reshape(8, 2) @ B.T)
        return np.where(residual <= 0.5, residual**2 / 2, 0.5 * residual - 0.125).sum()

    U, s, Vt = np.linalg.svd(A @ B.T)
    low = LowRankMatrix(U[:, :2], s[:2], Vt[:2])
    products = residual_products(prepare(D), low, low.U, low.Vt, 0.5, clip=True)
    gradient = -products.right @ (low.Vt @ B)
    assert_allclose(approx_fprime(A.ravel(), loss, 1e-7), gradient.ravel(), atol=1e-5)


def test_without_errors_it_is_the_truncated_decomposition():
    _, L, _ = make_problem()
    assert relative_error(decompose(L, 3, tol=1e-10).low_rank, L) < 1e-8


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_scale_changes_nothing_else(scale):
    D, *_ = make_problem((60, 50), 2)
    result, scaled = decompose(D, 2), decompose(scale * D, 2)
    assert scaled.nit == result.nit
    assert relative_error(scaled.low_rank / scale, result.low_rank) < 1e-8
    assert relative_error(scaled.sparse / scale, result.sparse) < 1e-8


def test_transposes_and_leaves_its_input_alone():
    D, *_ = make_problem((60, 50), 2)
    D.flags.writeable = False
    given = D.copy()
    result = decompose(D, 2)
    assert np.array_equal(D, given)
    assert_allclose(decompose(D.T, 2).low_rank, result.low_rank.T, atol=1e-8)
    assert_allclose(decompose(D.T.copy(), 2).low_rank, result.low_rank.T, atol=1e-6)


def test_single_precision():
    D, L, _ = make_problem()
    result = decompose(D.astype(np.float32), 3)
    assert {result.low_rank.dtype, result.sparse.dtype, result.x.U.dtype} == {np.dtype("f4")}
    assert result.success
    assert np.max(np.abs(result.low_rank - L)) < 5e-5 * np.max(np.abs(D))


@pytest.mark.parametrize("largest", [None, 500.0])
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_missing_entries(largest, share):
    D, L, _ = make_problem((200, 180), 2, 0.1, largest)
    observed = np.random.default_rng(5).random(D.shape) < share
    result = decompose(np.where(observed, D, np.nan), 2, observed=observed)
    assert result.success
    assert relative_error(result.low_rank, L) < 1e-4
    assert np.all(result.sparse[~observed] == 0)


def test_dense_noise_of_known_level():
    D, L, _ = make_problem((300, 250), 3, 0.1, 500.0)
    noisy = D + 0.05 * np.random.default_rng(0).standard_normal(D.shape)
    result = decompose(noisy, 3, noise_std=0.05, tol=1e-6)
    assert result.success
    assert np.sqrt(np.mean((result.low_rank - L) ** 2)) < 2 * 0.05 * np.sqrt(3 * 550 / 75000)
    assert result.history["threshold"][-1] == pytest.approx(0.15)


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_matrices(rank, value):
    D = np.full((30, 20), value)
    result = decompose(D, rank)
    assert result.success
    assert_allclose(result.low_rank, D, atol=1e-5)
    assert_allclose(result.sparse, 0, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_superfluous_directions_do_not_explode(share):
    D, L, _ = make_problem((60, 50), 2, share, 20.0)
    result = decompose(D, 6, warn=False)
    assert np.linalg.norm(result.low_rank) < 2 * np.linalg.norm(D)
    if share == 0:
        assert relative_error(result.low_rank, L) < 1e-6


def test_directions_of_no_size_take_no_large_step():
    low = LowRankMatrix(np.eye(6, 2), np.array([3.0, 1e-12]), np.eye(2, 5))
    D = np.ones((6, 5))
    products = residual_products(prepare(D), low, low.U, low.Vt, 0.5, clip=True)
    values = _with_floor(low.s, products, 1.0)
    assert values[0] == 3.0
    assert_allclose(values[1], 0.5 * np.sqrt(6))  # C V is a column of halves
    assert_allclose(_with_floor(low.s, products, 0.25)[1], 2 * np.sqrt(6))  # a quarter observed


def test_steps_grow_with_the_share_of_outliers():
    D, L, _ = make_problem((300, 300), 5, 0.4)
    few, many = (decompose(X, 5).nit for X in (L, D))
    assert many < 90
    assert few < many


def test_rank_too_high_is_said():
    D, *_ = make_problem((300, 300), 3, 0.2, 500.0)
    with pytest.warns(ConvergenceWarning, match="rank"):
        result = decompose(D, 10)
    assert not result.success
    assert np.all(np.isfinite(result.low_rank))


def test_corruption_beyond_breakdown_is_said():
    D, L, _ = make_problem((200, 200), 5, 0.75)
    with pytest.warns(ConvergenceWarning):
        result = decompose(D, 5)
    assert not result.success
    assert relative_error(result.low_rank, L) > 0.01


def test_stops_when_told():
    D, *_ = make_problem((60, 50), 2)

    def stop(x):
        raise StopIteration

    assert decompose(D, 2, callback=stop).nit == 1


def test_other_array_libraries():
    D, *_ = make_problem((60, 50), 2)
    observed = np.random.default_rng(5).random(D.shape) < 0.8
    xp = array_api_strict
    for mask in (None, observed):
        expected = decompose(D, 2, observed=mask)
        given = None if mask is None else xp.asarray(mask)
        result = decompose(xp.asarray(D), 2, observed=given)
        assert abs(result.nit - expected.nit) <= 2
        assert_allclose(np.asarray(result.low_rank), expected.low_rank, atol=1e-5)
        assert_allclose(np.asarray(result.sparse), expected.sparse, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 31}, r"rank must be at most min\(m, n\) = 30"),
        ({"decay": 0.0}, "decay must be between 0 and 1"),
        ({"schedule": ([1.0, 0.5], [1.0])}, "as many thresholds as step sizes"),
        ({"schedule": ([1.0], [1.0])}, "two at least"),
        ({"schedule": ([1.0, 0.0], [1.0, 1.0])}, "finite positive"),
        ({"schedule": 3}, "pair of sequences"),
        ({"init_cap": -1.0}, "init_cap must be finite and >= 0"),
        ({"D": np.full((40, 30), np.nan)}, "D must be finite where it is observed"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        decompose(**({"D": np.ones((40, 30)), "rank": 2} | change))
