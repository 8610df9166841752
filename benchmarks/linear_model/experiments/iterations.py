"""Experiment IV: errors against the number of steps, and the convex counterparts.

100 measurements of 15-sparse vectors of length 200, noise 1e-3 (5 % gross corruption for the
LAD loss). Plain OMP fits noise after 15 steps; the penalised pursuits stop by themselves.
"""

import numpy as np

from benchmarks.linear_model.experiments.protocol import (
    Row,
    after,
    geometric_mean,
    greedy_path,
    main,
    recovery_error,
    trials,
)
from sparseopt.datasets import make_sparse_recovery
from sparseopt.linear_model import lad_lasso_path, square_root_lasso_path, weighted_lasso_path

STEPS = np.array([5, 10, 15, 20, 30])
# Options of the pursuit, and published errors after those steps.
GREEDY = [
    ({"loss": "lasso", "lam": 0.0}, (0.4491, 0.1468, 1.038e-4, 2.103e-4, 3.112e-4)),
    ({"loss": "lasso", "lam": 1e-3}, (0.4491, 0.1468, 1.038e-4, 1.038e-4, 1.038e-4)),
    ({"loss": "sqrt_lasso", "lam": 0.158}, (0.5051, 0.1958, 1.142e-4, 1.194e-4, 1.194e-4)),
    ({"loss": "lad_lasso", "lam": 1.0}, (0.4879, 0.1604, 2.676e-4, 2.471e-4, 2.508e-4)),
]
# Strength and published error of the convex problems.
CONVEX = {
    "lasso": (1.78e-4, 2.726e-4),
    "sqrt_lasso": (0.126, 2.952e-4),
    "lad_lasso": (1.0, 4.078e-4),
}


def run(n_trials):
    """Return the rows of the experiment."""
    greedy, convex = [], []
    for rng in trials(4, n_trials):
        clean = _problem(rng)
        corrupted = _problem(rng, corruption=0.05)
        problems = {"lasso": clean, "sqrt_lasso": clean, "lad_lasso": corrupted}
        errors = []
        for options, _ in GREEDY:
            X, y, coef = problems[options["loss"]]
            path = greedy_path(X, y, max_iter=STEPS[-1], **options)
            errors.append(after(STEPS, recovery_error(path, coef)))
        greedy.append(errors)
        convex.append([_convex_error(loss, *problems[loss]) for loss in CONVEX])
    rows = []
    for (options, published), ours in zip(GREEDY, geometric_mean(greedy)):
        for step, theirs, error in zip(STEPS, published, ours):
            setting = f"{options['loss']}, l1, lam {options['lam']:g}, after {step} steps"
            rows.append(Row(setting, theirs, error, factor=1.5))
    for (loss, (lam, published)), error in zip(CONVEX.items(), geometric_mean(convex)):
        rows.append(Row(f"convex {loss}, lam {lam:g}", published, error, factor=1.5))
    return rows


def _problem(rng, **errors):
    return make_sparse_recovery(
        100, 200, n_nonzero=15, noise=1e-3, coef=True, random_state=rng, **errors
    )


def _convex_error(loss, X, y, coef):
    lam, n_samples = CONVEX[loss][0], len(y)
    if loss == "lasso":
        path = weighted_lasso_path(X, y, alphas=[lam / (2 * n_samples)], tol=1e-8)
    elif loss == "sqrt_lasso":
        path = square_root_lasso_path(X, y, alphas=[lam / np.sqrt(n_samples)], tol=1e-8)
    else:
        path = lad_lasso_path(X, y, alphas=[lam / n_samples])
    return recovery_error(path.coefs[:, 0], coef)


if __name__ == "__main__":
    main({"IV": run})
