"""Experiment II: weighted approximation by Chebyshev polynomials.

The isotropic exponential function of 5 variables from 200 samples, 426 polynomials, 50 steps,
intrinsic weights, noise 1e-2. Penalising the wild polynomials halves the error.
"""

import numpy as np

from benchmarks.linear_model.experiments.protocol import (
    PolynomialProblem,
    Row,
    greedy_path,
    main,
    median,
    trials,
)

# Loss, penalty, strength, published error.
SETTINGS = [
    ("lasso", "l1", 1e-3, 5.579e-3),
    ("lasso", "l0", 1.778e-6, 5.494e-3),
    ("sqrt_lasso", "l0", 1e-4, 5.033e-3),
    ("sqrt_lasso", "l1", 5.623e-2, 7.855e-3),
]
PUBLISHED_PLAIN = 1.210e-2  # lam -> 0


def run(n_trials):
    """Return the rows of the experiment."""
    errors = []
    for rng in trials(2, n_trials):
        problem = PolynomialProblem("chebyshev", 5, n_samples=200, noise=1e-2, rng=rng)
        options = [
            {"loss": loss, "penalty": penalty, "lam": lam, "weights": problem.weights}
            for loss, penalty, lam, _ in SETTINGS
        ]
        paths = [
            greedy_path(problem.X, problem.y, n_nonzero_coefs=50, **option)
            for option in [*options, {"loss": "omp"}]
        ]
        errors.append(problem.error(np.array([path[-1] for path in paths])))
    ours = median(errors)
    rows = [
        Row(f"{loss}, {penalty}, lam {lam:g}", published, error, factor=1.5)
        for (loss, penalty, lam, published), error in zip(SETTINGS, ours)
    ]
    rows.append(Row("plain OMP", PUBLISHED_PLAIN, ours[-1], factor=1.5))
    return rows


if __name__ == "__main__":
    main({"II": run})
