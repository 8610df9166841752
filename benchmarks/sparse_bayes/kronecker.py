"""The rows on Kronecker-structured dictionaries: a million coefficients, and the dense form.

The dense form is the same EM algorithm with the dictionary written out: its E-step factorises the
covariance of the measurements, and its M-step is that of the method, on the same tensor.

    python -m benchmarks.sparse_bayes.kronecker svd

prints the seconds an iteration and the megabytes that a process of its own takes at full size.
"""

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from functools import partial, reduce
from pathlib import Path

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from benchmarks.clock import timed
from sparseopt.datasets import make_kronecker_sparse
from sparseopt.sparse_bayes import KroneckerSBL

ITERATIONS = 12
# Every iteration on all the columns, none of it undone: what one costs at worst.
PLAIN = {"acceleration": None, "burn_in": 10**6, "svd_fallback": False, "tol": 0.0}
DENSE_ITERATIONS, SWEEP_TOL = 4, 1e-12
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def million(m_step):
    """Return seconds an iteration on two cores with 100 columns and 60 rows a factor."""
    found = _in_a_process(m_step)
    other = _in_a_process(m_step, "complex")
    remark = f"{found['megabytes']:.0f} MB; complex {other['seconds']:.3f} s, "
    return found["seconds"], remark + f"{other['megabytes']:.0f} MB"


def million_memory(m_step):
    """Return the largest memory of a process that does so, libraries and data included."""
    found = _in_a_process(m_step)
    return found["megabytes"], f"{found['before']:.0f} MB before the fit"


def _in_a_process(*arguments, cores=2):
    command = [sys.executable, "-m", "benchmarks.sparse_bayes.kronecker", *arguments]
    environment = os.environ | dict.fromkeys(THREADS, str(cores))
    done = subprocess.run(command, capture_output=True, check=True, env=environment, text=True)
    return json.loads(done.stdout)


def measure(m_step, kind="real"):
    """Return what the fit at full size takes of this process: seconds an iteration, megabytes."""
    problem = make_kronecker_sparse(
        (100,) * 3, (60,) * 3, n_nonzero=5, complex_data=kind == "complex", random_state=0
    )
    model = KroneckerSBL(
        m_step, noise_variance=problem.noise_variance, max_iter=ITERATIONS, **PLAIN
    )
    before = _peak()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = [factor[:6, :8] for factor in problem.factors]
        model.fit(small, problem.y[: 6**3])  # imports what is imported late
        start = time.perf_counter()
        model.fit(problem.factors, problem.y)
        seconds = time.perf_counter() - start
    return {"seconds": seconds / model.n_iter_, "megabytes": _peak(), "before": before}


def _peak():
    """Return the largest resident memory so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux the other count starts with the parent process's
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def against_dense(m_step, rows=(8, 12, 15)):
    """Return how many times faster an iteration is than one of the dense form."""
    problem = make_kronecker_sparse((15,) * 3, rows, random_state=0)
    own = KroneckerSBL(
        m_step,
        noise_variance=problem.noise_variance,
        initial_variance=1.0,
        prune_tol=0.0,
        inner_solver="sweep",
        inner_tol=SWEEP_TOL,
        inner_max_iter=10_000,
        max_iter=DENSE_ITERATIONS,
        **PLAIN,
    )
    own_seconds, _ = timed(lambda: own.fit(problem.factors, problem.y), repeats=5)
    dense_seconds, coef = timed(partial(_dense, problem, M_STEPS[m_step]))
    error = np.linalg.norm(coef - own.coef_) / np.linalg.norm(coef)
    if not error <= 1e-8:
        raise RuntimeError(f"the dense form ends {error:.1e} from {own!r}")
    ratio = dense_seconds / own_seconds
    own_each, dense_each = (1e3 * t / DENSE_ITERATIONS for t in (own_seconds, dense_seconds))
    return ratio, f"{own_each:.1f} / {dense_each:.0f} ms an iteration, {error:.0e} apart"


def _dense(problem, maximise):
    """Return the coefficients after the iterations, by way of the dictionary."""
    dictionary = reduce(np.kron, problem.factors)
    variances = [np.ones(factor.shape[1]) for factor in problem.factors]
    shape = problem.coef.shape
    for _ in range(DENSE_ITERATIONS):
        mean, variance = _dense_posterior(dictionary, problem, reduce(np.kron, variances))
        variances = maximise((variance + mean**2).reshape(shape), variances)
    mean, _ = _dense_posterior(dictionary, problem, reduce(np.kron, variances))
    return mean.reshape(shape)


def _dense_posterior(dictionary, problem, variances):
    """Return mean and variance of the coefficients."""
    scaled = dictionary * np.sqrt(variances)
    covariance = scaled @ scaled.T  # a symmetric product, at half the cost
    covariance.flat[:: len(covariance) + 1] += problem.noise_variance
    factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    whiten = partial(solve_triangular, factor, lower=True, check_finite=False)
    whitened = whiten(dictionary)
    mean = variances * (whiten(problem.y) @ whitened)
    return mean, variances - variances**2 * np.einsum("ij,ij->j", whitened, whitened)


def _by_alternating(moments, variances):
    """Return the variances that alternating sweeps lead to."""
    first, second, third = variances
    before = None
    while before is None or np.linalg.norm(_outer(first, second, third) - before) > (
        SWEEP_TOL * np.linalg.norm(before)
    ):
        before = _outer(first, second, third)
        first = moments @ (1 / third) @ (1 / second) / (len(second) * len(third))
        second = (1 / first) @ (moments @ (1 / third)) / (len(first) * len(third))
        weights = np.outer(1 / first, 1 / second).ravel()
        third = weights @ moments.reshape(-1, len(third)) / (len(first) * len(second))
    return first, second, third


def _by_svd(moments, _):
    """Return singular vectors of the unfoldings."""
    variances = []
    for n in moments.shape[:-1]:
        left, values, right = np.linalg.svd(moments.reshape(n, -1), full_matrices=False)
        variances.append(np.abs(left[:, 0]))
        moments = np.abs(values[0] * right[0])
    return [*variances, moments]


def _outer(first, second, third):
    return first[:, None, None] * second[:, None] * third


M_STEPS = {"am": _by_alternating, "svd": _by_svd}

if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
