"""Experiment I: the best strength against the noise level, and gross corruption.

150 measurements of 10-sparse vectors of length 300, 30 steps. The LASSO's best strength
follows the noise; that of the square-root LASSO does not, and can be known beforehand
(``lam="auto"``). The LAD-LASSO ignores gross errors that ruin the others.
"""

import numpy as np

from benchmarks.linear_model.experiments.protocol import (
    Row,
    greedy_path,
    main,
    median,
    recovery_error,
    trials,
)
from sparseopt.datasets import make_sparse_recovery

NOISE_LEVELS = (1e-3, 1e-2, 1e-1)
CORRUPTIONS = (0.0, 0.05, 0.1, 0.2)
# Best strengths and errors at the three noise levels.
PUBLISHED = {
    ("lasso", "l1"): ((3.162e-4, 3.162e-3, 3.162e-2), (8.895e-5, 8.102e-4, 9.738e-3)),
    ("sqrt_lasso", "l1"): ((0.1778, 0.1778, 0.1778), (8.399e-5, 9.008e-4, 8.725e-3)),
    ("lasso", "l0"): ((1e-7, 1e-5, 1e-3), (8.548e-5, 7.785e-4, 9.052e-3)),
    ("sqrt_lasso", "l0"): ((5.623e-5, 5.623e-4, 5.623e-3), (8.369e-5, 8.585e-4, 8.194e-3)),
}
PUBLISHED_PLAIN = (3.570e-4, 3.296e-3, 3.357e-2)  # lam = 0
PUBLISHED_LAD = (9.259e-5, 1.134e-4, 1.094e-4, 1.538e-4)  # l1, lam = 1.778
SQRT_GRID = 10.0 ** np.arange(-1.5, 0.01, 0.25)  # contains 0.178


def run(n_trials):
    """Return the rows of the experiment."""
    rows = []
    for level, noise in enumerate(NOISE_LEVELS):
        problems = [_problem(rng, noise=noise) for rng in trials([1, level], n_trials)]
        for (loss, penalty), (lams, errors) in PUBLISHED.items():
            ours = _median_error(problems, loss=loss, penalty=penalty, lam=lams[level])
            setting = f"{loss}, {penalty}, noise {noise:g}, lam {lams[level]:g}"
            rows.append(Row(setting, errors[level], ours, factor=1.3))
        ours = _median_error(problems, loss="omp")
        rows.append(Row(f"plain OMP, noise {noise:g}", PUBLISHED_PLAIN[level], ours, factor=1.3))
        best_published = PUBLISHED["sqrt_lasso", "l1"][1][level]
        ours = _median_error(problems, loss="sqrt_lasso", lam="auto")
        setting = f"sqrt_lasso, l1, noise {noise:g}, lam auto"
        rows.append(Row(setting, best_published, ours, factor=1.3))
        on_grid = [_median_error(problems, loss="sqrt_lasso", lam=lam) for lam in SQRT_GRID]
        best = SQRT_GRID[np.argmin(on_grid)]
        setting = f"sqrt_lasso, l1, noise {noise:g}, best of the grid: lam {best:.3g}"
        rows.append(Row(setting, best_published, min(on_grid), factor=1.3))
    for level, corruption in enumerate(CORRUPTIONS):
        problems = [
            _problem(rng, noise=1e-3, corruption=corruption)
            for rng in trials([1, 10 + level], n_trials)
        ]
        share = f"{corruption:.0%} corrupted"
        ours = _median_error(problems, loss="lad_lasso", lam=1.778)
        rows.append(
            Row(f"lad_lasso, l1, lam 1.78, {share}", PUBLISHED_LAD[level], ours, factor=1.3)
        )
        if corruption > 0:
            ours = _median_error(problems, loss="omp")
            rows.append(Row(f"plain OMP, {share} (meant to fail)", None, ours, at_least=1.0))
    return rows


def _problem(rng, **errors):
    return make_sparse_recovery(150, 300, n_nonzero=10, coef=True, random_state=rng, **errors)


def _median_error(problems, **options):
    return median(
        [
            recovery_error(greedy_path(X, y, n_nonzero_coefs=30, **options)[-1], coef)
            for X, y, coef in problems
        ]
    )


if __name__ == "__main__":
    main({"I": run})
