"""IRCUR: recovery from few rows and columns, what it reads, verdicts."""

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sparseopt.decomposition._ircur import ircur


def make_problem(shape=(400, 350), rank=3, share=0.1, largest=None, seed=0):
    """Return D, L and S with errors of the size of L, or up to ``largest``."""
    rng = np.random.default_rng(seed)
    m, n = shape
    L = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    largest = np.mean(np.abs(L)) if largest is None else largest
    S = np.where(rng.random(shape) < share, rng.uniform(-largest, largest, shape), 0)
    return L + S, L, S


def relative_error(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)


@pytest.mark.parametrize("resample", [True, False])
@pytest.mark.parametrize("largest", [None, 1.0, 500.0])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_recovers(resample, largest, share):
    D, L, S = make_problem((600, 500), 5, share, largest)
    result = ircur(D, 5, resample=resample, random_state=0)
    assert result.success
    assert relative_error(result.low_rank, L) < 1e-4
    assert relative_error(result.sparse, S) < 1e-4
    assert_allclose(result.x.to_dense(), result.low_rank)
    assert np.all((result.sparse == 0) | (np.abs(result.sparse) > result.threshold))


@pytest.mark.parametrize("seed", range(6))
def test_mends_rows_that_it_had_wrong(seed):
    # Errors of one sign, and so few columns that some row has too many errors there.
    rng = np.random.default_rng(0)
    L = rng.standard_normal((600, 2)) @ rng.standard_normal((2, 500))
    D = L + 9 * (rng.random(L.shape) < 0.1)
    result = ircur(D, 2, random_state=seed)
    assert np.max(np.abs(result.low_rank - L)) < 1e-3


class _Counted(np.ndarray):
    """Counts the entries that are read by indexing."""

    n_read = 0

    def __getitem__(self, index):
        found = np.asarray(self).__getitem__(index)
        _Counted.n_read += found.size
        return found


def test_reads_only_rows_and_columns(tmp_path, monkeypatch):
    D, L, _ = make_problem((900, 800), 2)
    path = tmp_path / "matrix.npy"
    np.save(path, D)
    mapped = np.load(path, mmap_mode="r")
    monkeypatch.setattr("sparseopt.decomposition._ircur._check_readable", lambda D: D)
    _Counted.n_read = 0
    result = ircur(mapped.view(_Counted), 2, dense=False, resample=False, random_state=0)
    rows, columns = 4 * 2 * np.log(900), 4 * 2 * np.log(800)
    assert 0 < _Counted.n_read <= (rows + 1) * 800 + (columns + 1) * 900
    assert result.low_rank is None
    assert result.sparse is None
    assert relative_error(result.x.to_dense(), L) < 1e-4


@pytest.mark.parametrize("resample", [False, True])
def test_each_iteration_draws_anew_if_asked(resample, monkeypatch):
    D, *_ = make_problem()
    monkeypatch.setattr("sparseopt.decomposition._ircur._check_readable", lambda D: D)
    _Counted.n_read = 0
    result = ircur(D.view(_Counted), 3, dense=False, resample=resample, random_state=0)
    once = 4 * 3 * (np.log(400) * 350 + np.log(350) * 400)
    draws = 1 + result.nit if resample else 1
    assert 0.85 * draws * once < _Counted.n_read < 1.02 * draws * once


def test_memory_map_is_not_copied(tmp_path):
    D, L, _ = make_problem()
    path = tmp_path / "matrix.npy"
    np.save(path, D.astype(np.float32))
    result = ircur(np.load(path, mmap_mode="r"), 3, dense=False, random_state=0)
    assert result.x.U.dtype == np.float32
    assert relative_error(result.x.to_dense(), L) < 1e-4


def test_first_draw_stays_or_does_not():
    D, *_ = make_problem()
    first, second = (ircur(D, 3, random_state=seed, warn=False) for seed in (0, 1))
    again = ircur(D, 3, random_state=0)
    assert np.array_equal(first.low_rank, again.low_rank)
    assert not np.array_equal(first.low_rank, second.low_rank)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_scale_changes_nothing_else(scale):
    D, *_ = make_problem()
    result, scaled = ircur(D, 3, random_state=0), ircur(scale * D, 3, random_state=0)
    assert scaled.nit == result.nit
    assert_allclose(scaled.threshold, scale * result.threshold)
    assert_allclose(scaled.fun, scale * result.fun, rtol=1e-5)
    assert relative_error(scaled.low_rank / scale, result.low_rank) < 1e-8
    assert relative_error(scaled.sparse / scale, result.sparse) < 1e-8


def test_layout_of_the_input_and_leaves_it_alone():
    D, *_ = make_problem()
    D.flags.writeable = False
    given = D.copy()
    result = ircur(D, 3, random_state=0)
    assert np.array_equal(D, given)
    other = ircur(np.asfortranarray(D), 3, random_state=0)
    assert_allclose(other.low_rank, result.low_rank, atol=1e-8)
    assert_allclose(other.sparse, result.sparse, atol=1e-8)


def test_integers_are_numbers():
    D = np.outer(np.arange(1, 201), np.ones(150, dtype=int))
    D[3, 4] += 900
    result = ircur(D, 1, random_state=0)
    assert_allclose(result.sparse[3, 4], 900, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 7.0])
@pytest.mark.parametrize("rank", [1, 4])
def test_constant_matrices(value, rank):
    result = ircur(np.full((60, 50), value), rank, random_state=0)
    assert result.success
    assert_allclose(result.low_rank, value, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 2)])
def test_smallest_matrices(shape):
    D = np.random.default_rng(0).standard_normal(shape)
    result = ircur(D, min(shape), init_cap=None, random_state=0, warn=False)
    assert_allclose(result.low_rank + result.sparse, D, atol=1e-6)


def test_dense_noise_of_known_level():
    D, L, _ = make_problem((600, 500), 3, 0.1, 500.0)
    noisy = D + 0.05 * np.random.default_rng(0).standard_normal(D.shape)
    result = ircur(noisy, 3, noise_std=0.05, random_state=0)
    assert result.success
    assert np.sqrt(np.mean((result.low_rank - L) ** 2)) < 0.05


def test_corruption_beyond_breakdown_is_said():
    D, L, _ = make_problem((300, 300), 5, 0.8)
    with pytest.warns(ConvergenceWarning, match="% of the observed entries|too few to determine"):
        result = ircur(D, 5, random_state=0)
    assert not result.success
    assert relative_error(result.low_rank, L) > 0.01
    with pytest.warns(ConvergenceWarning, match="% of the observed entries") as seen:
        ircur(D, 5, random_state=0, dense=False)
    assert seen[0].filename == __file__


def test_too_few_iterations_are_said():
    D, *_ = make_problem()
    with pytest.warns(ConvergenceWarning, match=r"IRCUR did not converge.*max_iter") as seen:
        result = ircur(D, 3, max_iter=2, random_state=0)
    assert seen[0].filename == __file__
    assert result.nit == 2


def test_stops_when_told():
    D, *_ = make_problem()

    def stop(x):
        raise StopIteration

    assert ircur(D, 3, callback=stop, random_state=0).nit == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rank": 31}, ValueError, r"rank must be at most min\(m, n\) = 30"),
        ({"oversampling": 0.5}, ValueError, "oversampling must be at least 1"),
        ({"gamma": 0.0}, ValueError, "gamma must be between 0 and 1"),
        ({"init_cap": 0.0}, ValueError, "init_cap must be positive or None"),
        ({"tol": -1.0}, ValueError, "tol must be finite and >= 0"),
        ({"D": np.full((40, 30), np.nan)}, ValueError, "D must be finite"),
        ({"D": np.ones(30)}, ValueError, "non-empty matrix"),
        ({"D": 1j * np.ones((40, 30))}, TypeError, "real numbers"),
        ({"D": sparse.eye_array(40, 30)}, TypeError, "toarray"),
        ({"D": array_api_strict.ones((40, 30))}, TypeError, "NumPy arrays"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        ircur(**({"D": np.ones((40, 30)), "rank": 2} | change))
