"""Points to start CoLiDE from: its problem is not convex, and cheap starts find better minima.

One start is zero, followed along the whole path. Another is least squares along the order that
takes next the variable of least conditional variance [1], which is consistent for equal variances;
it is a DAG already, so that the last stage of the path is enough. Further starts take that order
from bootstrapped covariances.

[1] Chen, Drton, Wang (2019). On causal discovery with an equal variance assumption.
Biometrika 106, 973-980.
"""

from typing import NamedTuple

import numpy as np

from sparseopt._core import spawn_seeds
from sparseopt.causal._order_search import conditional_variance_order, regress_on_parents

DRAWN = 100  # samples a variable; of more, the covariance is drawn without them


class Start(NamedTuple):
    """A start and the part of the path that is followed from it."""

    W: np.ndarray | None
    mu: tuple
    s: tuple


def starting_points(
    problem, n_init, *, mu, s, required, n_samples, random_state=None, order_first=False
):
    """Yield ``n_init`` starts: zero and the order, in the order asked for, then others."""
    random = [np.random.default_rng(seed) for seed in spawn_seeds(random_state, n_init)]
    for number in range(n_init):
        if number == (1 if order_first else 0):
            yield Start(None, tuple(mu), tuple(s))
            continue
        C = problem.C if number < 2 else _bootstrap_covariance(problem.C, n_samples, random[number])
        order = conditional_variance_order(C, required)
        position = np.argsort(order)
        earlier = (position[:, None] < position[None, :]) & problem.allowed
        yield Start(regress_on_parents(problem.C, earlier.T), tuple(mu[-1:]), tuple(s[-1:]))


def _bootstrap_covariance(C, n_samples, random):
    """Return the covariance of a Gaussian sample of the same size.

    That of many samples is drawn by its factor (Bartlett's decomposition of the Wishart law).
    """
    d, n_samples = len(C), max(int(n_samples), 2)
    values, vectors = np.linalg.eigh(C)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    if n_samples <= DRAWN * d:
        draws = random.standard_normal((n_samples, d)) @ root.T
    else:
        draws = np.triu(random.standard_normal((d, d)), 1)
        draws[np.diag_indices(d)] = np.sqrt(random.chisquare(n_samples - np.arange(d)))
        draws = draws @ root.T
    return draws.T @ draws / n_samples
