"""The rows on speed: next to the full inverse, and at full size.

    python -m benchmarks.bisvbi.scale

prints the seconds an iteration and the megabytes that a process of its own takes at full size.
"""

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.bisvbi.methods import full, model
from benchmarks.clock import timed
from sparseopt.datasets import IsacDictionary, make_isac_scene, make_sparse_recovery
from sparseopt.sparse_bayes import (
    FactoredDictionary,
    JointSupport,
    SubspaceVBIRegressor,
    nmse,
)

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SIZE = {"n_users": 4, "n_subcarriers": 64, "array_shape": (8, 8), "grid_shape": (50, 50, 4)}
WARM_UP, TIMED = 14, 3  # iterations; parameters move from the 13th on


class FactoredScene:
    """The dictionary of a scene as two factors, with a column for each user's line of sight."""

    def __init__(self, dictionary):
        self.whole = IsacDictionary(
            dictionary.array_shape,
            dictionary.n_subcarriers,
            bandwidth=dictionary.bandwidth,
            base_station=dictionary.base_station,
            separate_sight=True,
        )
        self.kinds, self.jac = self.whole.kinds, self.whole.jac

    def __call__(self, params, columns=None):
        """Return the dictionary, or some columns."""
        return FactoredDictionary(*self.whole.factors(params, columns))


def linear(n_columns, n_rows=None):
    """Return how many times faster the subspace form of the linear model is than the inverse."""
    n_rows = n_rows or n_columns // 2
    X, y, coef = make_sparse_recovery(
        n_rows, n_columns, n_nonzero=n_columns // 30, noise=0.1, coef=True, random_state=0
    )
    seconds, found = {}, {}
    for covariance in ("subspace", "full"):
        estimator = SubspaceVBIRegressor(covariance=covariance)
        seconds[covariance], fitted = timed(lambda e=estimator: e.fit(X, y), repeats=3)
        found[covariance] = nmse(coef, fitted.coef_), fitted.n_iter_
    return _ratio(seconds, found)


def bilinear(grid_shape=(16, 16, 2)):
    """Return the same of the bilinear model, for one user and one start."""
    scene = make_isac_scene(n_users=1, n_pilots=2, grid_shape=grid_shape, random_state=0)
    seconds, found = {}, {}
    for covariance in ("subspace", "full"):
        seconds[covariance], estimate = timed(
            lambda c=covariance: full(scene, covariance=c, n_init=1)
        )
        found[covariance] = scene.channel_nmse(estimate.channel), estimate.n_iter
    return _ratio(seconds, found)


def _ratio(seconds, found):
    ratio = seconds["full"] / seconds["subspace"]
    (own, own_steps), (other, other_steps) = found["subspace"], found["full"]
    remark = f"{seconds['subspace']:.2f} / {seconds['full']:.1f} s, "
    remark += f"{own_steps} / {other_steps} iterations, errors {own:.1e} / {other:.1e}"
    return ratio, remark


def iteration():
    """Return processor seconds an iteration of one start at full size.

    On two idle cores it takes no longer by the clock, which other work would stretch.
    """
    found = _in_a_process()
    remark = f"{found['seconds']:.2f} s by the clock; "
    remark += f"{found['active']} of {found['columns']} columns active"
    return found["processor"], remark


def memory():
    """Return the largest memory of a process that does so, libraries and data included."""
    found = _in_a_process()
    return found["megabytes"], f"{found['before']:.0f} MB before the fit"


@cache
def _in_a_process(cores=2):
    command = [sys.executable, "-m", "benchmarks.bisvbi.scale"]
    environment = os.environ | dict.fromkeys(THREADS, str(cores))
    done = subprocess.run(command, capture_output=True, check=True, env=environment, text=True)
    return json.loads(done.stdout)


def measure():
    """Return what an iteration at full size takes of this process: seconds, megabytes."""
    scene = make_isac_scene(**SIZE, random_state=0)
    users = SIZE["n_users"]
    probability, visibility = (
        np.append(prior[:-1], np.full(users, prior[-1]))
        for prior in (scene.probability, scene.visibility)
    )
    # A finer grid does not make for more scatterers.
    probability[:-users] *= 129 / len(probability)
    scene.dictionary = FactoredScene(scene.dictionary)
    before = _peak()
    estimator = model(
        scene,
        support_prior=JointSupport(probability, visibility),
        n_init=1,  # what is timed is an iteration of one fit; starts compete for the first 30
        max_iter=WARM_UP + TIMED,
        tol=0.0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        estimator.fit(scene.y, pilots=scene.pilots, pilot_mask=scene.pilot_mask)
        processor = time.process_time() - start
    times = np.diff(estimator.history_["time"])
    return {
        "seconds": float(np.max(times[-TIMED:])),
        "processor": processor / estimator.n_iter_,
        "megabytes": _peak(),
        "before": before,
        "active": int(np.sum(np.any(estimator.support_proba_ > 0.5, axis=0))),
        "columns": len(probability),
    }


def _peak():
    """Return the largest resident memory so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux the other count starts with the parent process's
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    print(json.dumps(measure()))
