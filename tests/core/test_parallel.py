"""Parallel runs: results do not depend on the number of workers or the backend."""

import time

import joblib
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster
from threadpoolctl import threadpool_info, threadpool_limits

from sparseopt._core import run_parallel, spawn_seeds


def draw(seed, scale):
    return scale * np.random.default_rng(seed).standard_normal(3)


def tasks():
    return [(seed, scale) for scale, seed in enumerate(spawn_seeds(7, 4))]


def test_results_do_not_depend_on_n_jobs():
    serial = run_parallel(draw, tasks(), n_jobs=1)
    with joblib.parallel_config("threading"):
        threaded = run_parallel(draw, tasks(), n_jobs=2)
    np.testing.assert_array_equal(serial, run_parallel(draw, tasks(), n_jobs=2))
    np.testing.assert_array_equal(serial, threaded)
    assert len(np.unique(np.round(serial[1:], 12))) == 9


def blas_threads():
    time.sleep(0.02)  # so that tasks overlap
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(pool["num_threads"] for pool in pools)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_threads_are_limited_inside_the_tasks_and_restored_after(backend):
    with threadpool_limits(limits=2), joblib.parallel_config(backend):
        before = blas_threads()
        inside = run_parallel(blas_threads, 5 * [()], n_jobs=2)
        after = blas_threads()
    assert inside == 5 * [1]
    assert after == before


@pytest.mark.filterwarnings("ignore")
def test_results_are_the_same_on_a_dask_cluster():
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        distributed = run_parallel(draw, tasks(), n_jobs=2)
    np.testing.assert_array_equal(run_parallel(draw, tasks()), distributed)


def test_seeds_follow_the_random_state():
    def first_words(random_state):
        return [int(seed.generate_state(1)[0]) for seed in spawn_seeds(random_state, 3)]

    assert first_words(3) == first_words(3)
    assert first_words(3) != first_words(4)
    assert first_words(np.random.default_rng(3)) == first_words(np.random.default_rng(3))
    assert first_words(np.random.RandomState(3)) == first_words(np.random.RandomState(3))
    assert first_words(None) != first_words(None)
    with pytest.raises(TypeError, match="random_state"):
        spawn_seeds("seed", 3)
