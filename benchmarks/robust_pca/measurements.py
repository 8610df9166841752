"""The rows of the table of robust PCA: processor times on one thread, errors and certificates.

Every function returns the number that has an aim, and a remark.
"""

import time
from itertools import product

import numpy as np

from benchmarks.clock import timed
from benchmarks.robust_pca import rivals
from benchmarks.robust_pca.certificates import objective, relative_gap
from benchmarks.robust_pca.settings import distance, hard, published, share_found, weight
from sparseopt.datasets import make_moving_objects
from sparseopt.decomposition import OnlineRobustPCA, robust_pca

HARD_SEEDS = range(5)
# Errors of ±1, up to ±500 and of the size of L; shares; ranks: what AccAltProj must recover.
PROJECTION_GRID = list(product(("signs", "uniform", "relative"), (0.05, 0.1, 0.2, 0.3), (5, 25)))


def against_pyrpca(n, errors="signs", **options):
    """Return how many times faster the default, or another solver, is than pyrpca."""
    return _race(n, errors, rivals.by_pyrpca, options)


def against_tensorly(n, errors="signs", *, tuned=True):
    """Return how many times faster the default is than tensorly, tuned or not."""
    return _race(n, errors, lambda X, lam: rivals.by_tensorly(X, lam, tuned=tuned), {})


def _race(n, errors, peer, options):
    X, low_rank, _ = published(n, errors)
    lam = weight(X)
    if "n_components" in options:
        options = options | {"n_components": round(0.05 * n)}
    robust_pca(published(60, errors)[0], **options | {"warn": False})  # compiles
    peer_seconds, (found, _) = timed(lambda: peer(X, lam))
    own_seconds, result = timed(lambda: robust_pca(X, **options), repeats=3)
    remark = f"errors {distance(found, low_rank):.1e} / {distance(result.low_rank, low_rank):.1e}"
    if result.get("dual_gap") is not None:
        remark += f", gap {result.dual_gap:.0e}, {result.nit} iterations"
    return peer_seconds / own_seconds, remark


def certified_gap():
    """Return the most iterations that the default takes to a certified gap on hard data."""
    rows = []
    for seed in HARD_SEEDS:
        X, lam = hard(seed)
        result = robust_pca(X, lam=lam)
        low_rank, dual = rivals.dual_of_pyrpca(X, lam)
        gaps = [relative_gap(X, result.low_rank, result.dual, lam)]
        gaps += [relative_gap(X, low_rank, dual, lam)]
        gaps += [relative_gap(X, *rivals.dual_of_tensorly(X, lam), lam)]
        rows.append([result.nit, *gaps, objective(X, low_rank, lam) / result.fun - 1])
    steps, own, pyrpca, tensorly, above = np.max(rows, axis=0)
    remark = (
        f"gap <= {own:.0e}; pyrpca's <= {pyrpca:.2f}, tensorly's <= {tensorly:.2f}, "
        f"and pyrpca's objective up to {100 * above:.2f} % above"
    )
    return steps, remark


def certificate_cost():
    """Return the largest ratio of iterations, default over IALM, on the recovery table."""
    ratios = []
    for errors, corrupted in product(("signs", "uniform"), (0.05, 0.1)):
        X, _, _ = published(500, errors, corrupted)
        plain = robust_pca(X, solver="ialm", warn=False)
        certified = robust_pca(X)
        ratios.append(certified.nit / plain.nit)
    return max(ratios), " ".join(f"{ratio:.1f}" for ratio in ratios)


def projections():
    """Return the percentage of the grid on which AccAltProj recovers L."""
    errors = [projection_error(*setting) for setting in PROJECTION_GRID]
    found = [error <= 1e-4 for error in errors]
    return 100 * np.mean(found), f"{len(found)} problems, largest error {max(errors):.0e}"


def projection_error(errors, corrupted, rank, *, n=500, **options):
    """Return the relative error of AccAltProj on one problem of the grid."""
    X, low_rank, _ = published(n, errors, corrupted, rank=rank)
    options = {"solver": "accaltproj", "n_components": rank, "warn": False} | options
    return distance(robust_pca(X, **options).low_rank, low_rank)


def large(n=5000, rank=50):
    """Return the seconds of a float32 decomposition on all cores, by the clock."""
    X, low_rank, _ = published(n, rank=rank, dtype=np.float32)
    robust_pca(X[:60, :60], warn=False)  # compiles
    start, processor = time.perf_counter(), time.process_time()
    result = robust_pca(X, warn=False)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    error = distance(result.low_rank, low_rank)
    remark = f"{processor:.0f} s of processor time, error {error:.0e}, gap {result.dual_gap:.0e}"
    return seconds, f"{remark}, {result.nit} iterations"


def columns_and_rows(n=10_000, rank=5):
    """Return the processor seconds of IRCUR with 30 % of the entries corrupted."""
    X, low_rank, _ = published(n, "relative", 0.3, rank=rank)
    options = {"solver": "ircur", "n_components": rank, "random_state": 0, "warn": False}
    robust_pca(X[:200, :200], **options)  # compiles
    # The factors are all that is computed: both parts as full matrices take longer than they.
    seconds, result = timed(lambda: robust_pca(X, **options, dense=False))
    rows = np.random.default_rng(0).choice(n, 200, replace=False)
    error = distance((result.x.U[rows] * result.x.s) @ result.x.Vt, low_rank[rows])
    return seconds, f"error {error:.0e} on 200 rows, {result.nit} iterations"


def stream():
    """Return the overlap of mask and sparse part after one pass over a video."""
    images, masks = make_moving_objects(random_state=0)
    X = images.reshape(len(images), -1)
    _one_pass(X[:25])  # compiles
    seconds, sparse = timed(lambda: _one_pass(X))
    overlap, threshold = share_found(sparse, masks)
    return overlap, f"{1e3 * seconds / len(X):.1f} ms a frame, threshold {threshold:.2f}"


def _one_pass(X):
    model = OnlineRobustPCA(n_components=3, random_state=0)
    return model.fit(X).decompose(X)[1]
