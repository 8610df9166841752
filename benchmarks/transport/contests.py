"""The rows of the speed table of entropic optimal transport."""

import time
import tracemalloc
import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from benchmarks.contest import Contest, Measurement
from sparseopt.transport import pairwise_sinkhorn, sinkhorn, sinkhorn_newton_sparse

PEERS = ("POT", "ott-jax", "regot")
SIZES = (500, 1000, 2000)


def _sinkhorn(problem, dataset, n, sharpness, *, aim, peers=PEERS, tol=1e-8):
    return Contest(
        f"{problem}, n = {n}, range / reg = {sharpness:.0f}, error {tol:.0e}",
        folder="sinkhorn",
        dataset=dataset,
        data={"n": n},
        objective={"sharpness": float(sharpness), "tol": tol},
        peers=peers,
        aim=aim,
        accuracy=3 * tol,
    )


def _assignment(n, seed):
    return np.random.default_rng(seed).random((n, n))


def _newton_steps():
    steps = [
        sinkhorn_newton_sparse(
            C=_assignment(500, seed), reg=1 / 1200, tol=1e-10, eps_scaling=False
        ).n_newton
        for seed in range(5)
    ]
    return max(steps), f"seeds 0 to 4: {steps}"


def _exact_assignment():
    C = _assignment(500, 0)
    exact = C[linear_sum_assignment(C)].mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rounding errors end the run at 1e-10 or so
        result = sinkhorn(C=C, reg=1e-6)
    error = abs(result.value_linear / exact - 1)
    return error / 1e-6, f"relative error {error:.0e}, marginal error {result.certificate:.0e}"


def _iterations():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((500, 2)), rng.uniform(-1, 1, (500, 2))
    grid = np.stack(np.divmod(np.arange(400), 20), axis=1).astype(float)
    costs = {
        "assignment": _assignment(500, 0),
        "W1": cdist(X, Y),
        "W2": cdist(X, Y, "sqeuclidean"),
        "L1 grid": cdist(grid, grid, "cityblock"),
    }
    worst, where = 0.0, ""
    for name, C in costs.items():
        a, b = (rng.dirichlet(np.ones(size)) for size in C.shape)
        for eta in (1e2, 1e3, 1e4, 1e5, 1e6):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = sinkhorn_newton_sparse(a, b, C / C.max(), reg=1 / eta)
            mean = result.n_cg / max(result.n_newton, 1)
            if mean > worst:
                worst, where = mean, f"most: {name}, eta = {eta:.0e}"
    return worst, where


def _streaming():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((10_000, 2)), rng.uniform(-1, 1, (10_000, 2))
    reg = 1e-3 * float(np.max(np.sum(np.maximum(np.abs(X - 1), np.abs(X + 1)) ** 2, axis=1)))
    sinkhorn(X=X[:50], Y=Y[:50], reg=reg)  # compiles
    tracemalloc.start()
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = sinkhorn(X=X, Y=Y, reg=reg, tol=1e-6, n_jobs=2)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    remark = f"{peak:.0f} MB, marginal error {result.certificate:.0e}"
    return seconds, remark + (" (not reached)" if caught else "")


def _pairwise():
    import ot  # without POT the table says so in this row

    digits = load_digits().data[:40] + 1e-3
    H = digits / digits.sum(axis=1, keepdims=True)
    places = np.stack(np.divmod(np.arange(64), 8), axis=1)
    C = cdist(places, places, "sqeuclidean") / 98
    pairwise_sinkhorn(H[:3], C=C, reg=0.02)
    own = _seconds(lambda: pairwise_sinkhorn(H, C=C, reg=0.02))
    # POT takes many second histograms at once: a sixth of the time of a loop over pairs.
    options = {"stopThr": 1e-8 / 8, "numItermax": 20_000}
    peer = _seconds(
        lambda: [ot.sinkhorn(H[i], H[i:].T.copy(), C, 0.02, **options) for i in range(40)]
    )
    return peer / own, "at a marginal error of 1e-8"


def _seconds(function, repeats=3):
    """Return the smallest of a few times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


CONTESTS = [
    _sinkhorn("assignment", "assignment", 500, 1200, aim=50.0, peers=("own sweeps",), tol=1e-10),
    *(_sinkhorn("assignment", "assignment", n, 1000, aim=10.0) for n in SIZES),
    *(_sinkhorn("W2", "clouds", n, 1000, aim=10.0) for n in SIZES),
    *(_sinkhorn("line", "line", n, 1000, aim=4.0) for n in SIZES),
    _sinkhorn("assignment", "assignment", 500, 200, aim=1 / 1.5, peers=("POT",)),
    _sinkhorn("W2", "clouds", 500, 200, aim=1 / 1.5, peers=("POT",)),
    _sinkhorn("line", "line", 500, 200, aim=1 / 1.5, peers=("POT",)),
    _sinkhorn("W2", "clouds", 500, 20, aim=1 / 1.5, peers=("POT",)),
    Measurement(
        "Newton steps after 20 sweeps, assignment, n = 500, eta = 1200",
        "newton", _newton_steps, 12, "steps", at_most=True,
    ),
    Measurement(
        "assignment, n = 500, eta = 1e6, against the exact cost",
        "exact", _exact_assignment, 1, "1e-6", at_most=True,
    ),
    Measurement(
        "conjugate gradients a Newton step, eta from 1e2 to 1e6",
        "preconditioner", _iterations, 40, "iterations", at_most=True,
    ),
    Measurement(
        "820 pairs of 8 x 8 digits, reg = 0.02, against POT a row a call",
        "pairwise", _pairwise, 5, "ratio",
    ),
    Measurement(
        "10^4 x 10^4 points, reg = range / 1000, error 1e-6, two cores",
        "streaming", _streaming, 30, "seconds", at_most=True,
    ),
]  # fmt: skip
