"""Tables on simulated matrices; each function yields the lines of one."""

from itertools import product

import numpy as np

from benchmarks.clock import timed
from benchmarks.robust_pca import measurements, rivals
from benchmarks.robust_pca.certificates import objective, relative_gap
from benchmarks.robust_pca.settings import LAWS, distance, hard, published
from sparseopt.datasets import make_low_rank_plus_sparse
from sparseopt.decomposition import robust_pca

# Relative error of L, decompositions: Candès et al., table 1, random signs.
PUBLISHED = {
    (500, 0.05): "1.1e-06, 16",
    (1000, 0.05): "1.2e-06, 16",
    (500, 0.1): "1.2e-06, 17",
    (1000, 0.1): "2.4e-06, 16",
}


def recovery(quick):
    """Recovery of n x n matrices of rank 0.05 n (Candès et al. 2011, Lin et al. 2010)."""
    yield (
        f"{'errors':<7}{'n':>5}{'share':>6}{'rank':>6}{'nonzeros':>9} of {'':<9}{'error L':>9}"
        f"{'error S':>9}{'gap':>8}{'steps':>6}{'IALM':>6}{'seconds':>9}  paper (error L, SVDs)"
    )
    sizes = (200, 500) if quick else (500, 1000)
    for errors, n, share in product(LAWS, sizes, (0.05, 0.1)):
        X, low_rank, sparse = published(n, errors, share)
        plain = robust_pca(X, solver="ialm", warn=False)
        seconds, result = timed(lambda X=X: robust_pca(X))
        rank = int(np.linalg.matrix_rank(result.low_rank))
        threshold = 1e-3 if errors == "signs" else 1e-2
        nonzero = np.count_nonzero(np.abs(result.sparse) > threshold)
        known = PUBLISHED.get((n, share), "") if errors == "signs" else ""
        yield (
            f"{LAWS[errors]:<7}{n:>5}{share:>6}{rank:>6}{nonzero:>9} of"
            f"{np.count_nonzero(sparse):>9} {distance(result.low_rank, low_rank):>9.1e}"
            f"{distance(result.sparse, sparse):>9.1e}{result.dual_gap:>8.0e}{result.nit:>6}"
            f"{plain.nit:>6}{seconds:>9.2f}  {known}"
        )


def phase(quick):
    """Share of trials with error of L below 1e-3, by rank / n and share of errors; (by IALM)."""
    n, n_trials = (40, 3) if quick else (80, 5)
    shares = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
    yield f"{n} x {n}, {n_trials} trials" + "".join(f"{share:>12}" for share in shares)
    for ratio in (0.05, 0.1, 0.15, 0.2):
        cells = []
        for share in shares:
            tried = [_recovered(n, ratio, share, seed) for seed in range(n_trials)]
            exact, plain = np.mean(tried, axis=0)
            cells.append(f"{exact:.1f} ({plain:.1f})")
        yield f"{ratio:>17}" + "".join(f"{cell:>12}" for cell in cells)


def _recovered(n, ratio, share, seed):
    """Tell whether the optimum, and the end of IALM, are the truth."""
    X, low_rank, _ = published(n, "signs", share, rank=round(ratio * n), seed=seed)
    results = [robust_pca(X, solver=solver, warn=False) for solver in ("auto", "ialm")]
    return [distance(result.low_rank, low_rank) <= 1e-3 for result in results]


def certificate(quick):
    """Noisy 24 x 18 data: duality gap, and distance to the optimum, relative."""
    yield f"{'seed':<6}{'solver':<22}{'objective':>11}{'gap':>9}{'error L':>9}{'steps':>7}"
    for seed in range(2 if quick else 5):
        X, lam = hard(seed)
        exact = robust_pca(X, lam=lam, tol_gap=1e-8, tol=1e-9, max_iter=10_000)
        rows = [("optimum", exact.low_rank, exact.dual, exact.nit)]
        for solver in ("auto", "ialm"):
            result = robust_pca(X, lam=lam, solver=solver, warn=False)
            rows.append((f"sparseopt, {solver}", result.low_rank, result.dual, result.nit))
        rows.append(("pyrpca", *rivals.dual_of_pyrpca(X, lam), ""))
        rows.append(("tensorly, tuned", *rivals.dual_of_tensorly(X, lam), ""))
        rows.append(("tensorly", *rivals.dual_of_tensorly(X, lam, tuned=False), ""))
        for name, low_rank, dual, steps in rows:
            yield (
                f"{seed:<6}{name:<22}{objective(X, low_rank, lam):>11.4f}"
                f"{relative_gap(X, low_rank, dual, lam):>9.1e}"
                f"{distance(low_rank, exact.low_rank):>9.1e}{steps:>7}"
            )


def projections(quick):
    """AccAltProj, n = 500: relative error of L; in brackets without the cap on thresholds."""
    shares = (0.05, 0.1, 0.2, 0.3)
    yield f"{'errors':<10}{'rank':>5}" + "".join(f"{share:>20}" for share in shares)
    for errors, rank in product(("signs", "uniform", "relative"), (5, 25)):
        cells = []
        for share in shares:
            capped = measurements.projection_error(errors, share, rank)
            free = measurements.projection_error(errors, share, rank, init_cap=None)
            cells.append(f"{capped:.0e} ({free:.0e})")
        yield f"{errors:<10}{rank:>5}" + "".join(f"{cell:>20}" for cell in cells)


def known_rank(quick):
    """Rank 5 given, errors as large as L: relative error of L, steps, seconds a solver."""
    n = 300 if quick else 1000
    shares = (0.1, 0.3, 0.4)
    yield f"{f'n = {n}':<14}" + "".join(f"{share:>24}" for share in shares)
    data = [published(n, "relative", share, rank=5) for share in shares]
    solvers = {
        "pcp": {},
        "accaltproj": {},
        "scaledgd": {},
        "godec": {},
        "ircur": {"random_state": 0},
    }
    for solver, options in solvers.items():
        cells = []
        for share, (X, low_rank, _) in zip(shares, data):
            if solver != "pcp":
                options = options | {"solver": solver, "n_components": 5}
            if solver == "godec":
                options = options | {"card": share}
            seconds, result = timed(
                lambda X=X, options=options: robust_pca(X, **options, warn=False), repeats=2
            )
            error = distance(result.low_rank, low_rank)
            cells.append(f"{error:.0e} {result.nit:>4} {seconds:6.2f}")
        yield f"{solver:<14}" + "".join(f"{cell:>24}" for cell in cells)


def large(quick):
    """Large matrices: seconds."""
    n = 1000 if quick else 5000
    seconds, remark = measurements.large(n, n // 100)
    yield f"n = {n}, rank {n // 100}, float32, default: {seconds:.1f} by the clock, {remark}"
    n = 2000 if quick else 10_000
    seconds, remark = measurements.columns_and_rows(n)
    yield f"n = {n}, rank 5, 30 %, IRCUR: {seconds:.1f} on one thread, {remark}"
    X, low_rank, _ = make_low_rank_plus_sparse(
        1000, 1000, rank=5, errors="relative", corrupted=0.3, random_state=0
    )
    for solver in ("ircur", "accaltproj"):
        options = {"solver": solver, "n_components": 5, "random_state": 0, "warn": False}
        seconds, result = timed(lambda options=options: robust_pca(X, **options), repeats=3)
        error = distance(result.low_rank, low_rank)
        yield f"n = 1000: {solver} {seconds:.3f}, error {error:.0e}"
