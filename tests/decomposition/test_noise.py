"""The level of dense noise below sparse errors."""

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sparseopt.decomposition._noise import estimate_noise, noise_level


def make_data(shape=(100, 80), rank=3, share=0.05, noise=0.1, seed=1):
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    errors = (rng.random(shape) < share) * rng.uniform(-10, 10, shape)
    return low + errors + noise * rng.standard_normal(shape)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_gross_errors_do_not_move_the_deviation_of_residuals(share):
    rng = np.random.default_rng(0)
    residual = 0.3 * rng.standard_normal((200, 300))
    residual[rng.random(residual.shape) < share] = 1e3
    assert_allclose(estimate_noise(residual), 0.3, rtol=0.02)
    twin = estimate_noise(array_api_strict.asarray(residual))
    assert_allclose(twin, estimate_noise(residual), rtol=1e-12)


def test_only_observed_residuals_count():
    rng = np.random.default_rng(0)
    residual = 0.3 * rng.standard_normal((200, 300))
    observed = rng.random(residual.shape) < 0.3
    residual[~observed] = np.nan
    assert_allclose(estimate_noise(residual, observed), 0.3, rtol=0.03)


@pytest.mark.parametrize("residual", [np.zeros(9), np.r_[np.zeros(6), np.ones(3)]])
def test_residuals_without_noise(residual):
    assert estimate_noise(residual) == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"noise": 1e-4},
        {"rank": 0, "noise": 0.3},
        {"rank": 10, "share": 0.1, "noise": 0.3},
        {"shape": (200, 50), "share": 0.15, "noise": 0.5, "rank": 5},
        {"shape": (30, 26), "rank": 2},
    ],
)
def test_level_of_the_noise_is_found(options):
    found = noise_level(make_data(**options))
    assert found.success
    assert_allclose(found.noise_std, options.get("noise", 0.1), rtol=0.2)


def test_level_is_found_from_some_of_the_entries():
    D = make_data()
    observed = np.random.default_rng(2).random(D.shape) < 0.7
    found = noise_level(np.where(observed, D, np.nan), observed=observed)
    assert_allclose(found.noise_std, 0.1, rtol=0.2)


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1e100])
def test_level_has_the_units_of_the_data(scale):
    D = make_data()
    assert_allclose(noise_level(scale * D).noise_std, scale * noise_level(D).noise_std, rtol=1e-6)


def test_float32():
    D = make_data()
    single = noise_level(D.astype(np.float32))
    assert single.x.U.dtype == np.float32
    assert_allclose(single.noise_std, noise_level(D).noise_std, rtol=1e-3)


@pytest.mark.parametrize("D", [make_data(noise=0.0), np.zeros((8, 9)), np.ones((8, 9)), np.eye(8)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_data_without_noise(D, dtype):
    found = noise_level(D.astype(dtype))
    assert found.success
    assert found.noise_std == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_few_numbers_are_as_good_as_noise(shape):
    assert 0 < noise_level(np.ones(shape)).noise_std < 2


def test_low_rank_part_is_a_start():
    D = make_data()
    found = noise_level(D)
    assert found.x.shape == D.shape
    assert 3 <= found.x.rank < 40
