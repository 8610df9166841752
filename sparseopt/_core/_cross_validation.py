"""What every choice of a penalty strength by cross-validation shares: grid, folds, rule."""

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)


def alpha_grid(alpha_max, eps, n_alphas):
    """Return ``n_alphas`` geometrically spaced strengths from ``alpha_max`` down."""
    if not 0 < eps < 1:
        raise ValueError(f"eps must be between 0 and 1, got {eps!r}.")
    if n_alphas < 1:
        raise ValueError(f"n_alphas must be at least 1, got {n_alphas!r}.")
    if alpha_max == 0:  # a constant target: every strength gives the zero solution
        return np.full(n_alphas, np.finfo(float).resolution)
    return np.geomspace(alpha_max, alpha_max * eps, n_alphas)


def check_alphas(alphas):
    """Return a grid of strengths as a decreasing float array."""
    grid = np.array(alphas, dtype=float)
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError(f"alphas must be a non-empty 1-D sequence, got shape {grid.shape}.")
    if not (np.all(np.isfinite(grid)) and np.all(grid >= 0)):
        raise ValueError(f"alphas must be finite and >= 0, got {alphas!r}.")
    return np.sort(grid)[::-1]


def split_folds(estimator, X, y, sample_weight, params):
    """Return the folds of ``estimator.cv`` as pairs of index arrays."""
    if _routing_enabled():
        routed = process_routing(estimator, "fit", sample_weight=sample_weight, **params)
    else:
        routed = Bunch(splitter=Bunch(split={}))
    return list(check_cv(estimator.cv).split(X, y, **routed.splitter.split))


def route_to_splitter(estimator):
    """Return the routing of an estimator that hands metadata to the splitter ``cv``."""
    return (
        MetadataRouter(owner=estimator)
        .add_self_request(estimator)
        .add(
            splitter=check_cv(estimator.cv),
            method_mapping=MethodMapping().add(caller="fit", callee="split"),
        )
    )


def select_strength(errors, rule):
    """Return the index into the decreasing grid that ``rule``, "min" or "1se", picks.

    ``errors`` (n_alphas, n_folds) are those on the left-out folds.
    """
    mean = errors.mean(axis=1)
    best = int(np.argmin(mean))
    if rule == "min" or errors.shape[1] == 1:
        return best
    standard_error = errors[best].std(ddof=1) / np.sqrt(errors.shape[1])
    return int(np.argmax(mean <= mean[best] + standard_error))
