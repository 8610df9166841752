"""Experiment V: weighted approximation by Legendre polynomials, against the number of steps.

The isotropic exponential function of 10 variables from 200 samples, 471 polynomials, intrinsic
weights, noise 1e-3. Weighted pursuits get past the plateau where plain OMP stays.
"""

import numpy as np

from benchmarks.linear_model.experiments.protocol import (
    PolynomialProblem,
    Row,
    after,
    geometric_mean,
    greedy_path,
    main,
    trials,
)
from sparseopt.linear_model import square_root_lasso_path, weighted_lasso_path

STEPS = np.array([15, 100])
# Options of the pursuit, and published errors after those steps.
GREEDY = [
    ({"loss": "lasso", "lam": 0.0}, (6.100e-3, 5.871e-3)),
    ({"loss": "lasso", "lam": 3.16e-5}, (6.095e-3, 3.741e-3)),
    ({"loss": "sqrt_lasso", "lam": 0.0178}, (6.089e-3, 2.243e-3)),
    ({"loss": "sqrt_lasso", "lam": 0.0563}, (1.986e-2, 8.479e-3)),
]
# Strength and published error of the convex problems.
CONVEX = {"lasso": (3.16e-5, 1.812e-3), "sqrt_lasso": (0.0178, 1.766e-3)}


def run(n_trials):
    """Return the rows of the experiment."""
    greedy, convex = [], []
    for rng in trials(5, n_trials):
        problem = PolynomialProblem("legendre", 10, n_samples=200, noise=1e-3, rng=rng)
        errors = []
        for options, _ in GREEDY:
            path = greedy_path(
                problem.X, problem.y, weights=problem.weights, max_iter=STEPS[-1], **options
            )
            errors.append(after(STEPS, problem.error(path)))
        greedy.append(errors)
        convex.append([_convex_error(problem, loss) for loss in CONVEX])
    rows = []
    for (options, published), ours in zip(GREEDY, geometric_mean(greedy)):
        for step, theirs, error in zip(STEPS, published, ours):
            setting = f"{options['loss']}, l1, lam {options['lam']:g}, after {step} steps"
            rows.append(Row(setting, theirs, error, factor=1.5))
    for (loss, (lam, published)), error in zip(CONVEX.items(), geometric_mean(convex)):
        rows.append(Row(f"convex {loss}, lam {lam:g}", published, error, factor=1.5))
    return rows


def _convex_error(problem, loss):
    lam, n_samples = CONVEX[loss][0], len(problem.y)
    norms = np.linalg.norm(problem.X, axis=0)
    # The published penalty acts on the coefficients of columns of unit norm.
    weights = problem.weights * norms
    if loss == "lasso":
        path = weighted_lasso_path(
            problem.X, problem.y, alphas=[lam / (2 * n_samples)], weights=weights, tol=1e-8
        )
    else:
        path = square_root_lasso_path(
            problem.X, problem.y, alphas=[lam / np.sqrt(n_samples)], weights=weights, tol=1e-8
        )
    return problem.error(path.coefs[:, 0])


if __name__ == "__main__":
    main({"V": run})
