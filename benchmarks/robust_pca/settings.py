"""The simulations of the published tables, and how far a decomposition is from the truth."""

import numpy as np

from sparseopt.datasets import make_low_rank_plus_sparse

LAWS = {"signs": "±1", "uniform": "±500"}  # Candès et al. 2011, Lin et al. 2010


def published(n, errors="signs", corrupted=0.05, *, seed=0, **options):
    """Return X, L and S of the recovery table: n x n, rank 0.05 n."""
    options = {"rank": round(0.05 * n), "errors": errors, "corrupted": corrupted} | options
    return make_low_rank_plus_sparse(n, n, **options, random_state=seed)


def hard(seed=0, shape=(24, 18)):
    """Return noisy data whose decomposition is not the truth, and the weight of the errors."""
    X, _, _ = make_low_rank_plus_sparse(
        *shape, rank=3, errors="uniform", corrupted=0.15, magnitude=6, noise=0.05, random_state=seed
    )
    return X, 1.2 / np.sqrt(max(shape))


def weight(X):
    """Return the universal weight of the errors, 1 / sqrt(max(m, n))."""
    return 1 / np.sqrt(max(X.shape))


def distance(found, truth):
    """Return the relative distance in the Frobenius norm."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def share_found(sparse, masks, thresholds=None):
    """Return the largest intersection over union of masks and |S| > t, and its t."""
    if thresholds is None:
        thresholds = np.linspace(0.02, 0.2, 19)
    size = np.abs(sparse).reshape(masks.shape)
    overlaps = [
        np.count_nonzero((size > t) & masks) / np.count_nonzero((size > t) | masks)
        for t in thresholds
    ]
    best = int(np.argmax(overlaps))
    return overlaps[best], thresholds[best]
