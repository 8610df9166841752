"""Errors in the data that the experiments share: bounded noise and gross corruption."""

import numpy as np


def corrupt_rows(y, fraction, scale, rng):
    """Add ``scale`` times a normal variate to a random ``fraction`` of the rows of ``y``."""
    n_corrupted = round(fraction * len(y))
    rows = rng.choice(len(y), n_corrupted, replace=False)
    y[rows] += scale * rng.standard_normal((n_corrupted, *y.shape[1:]))
    return y


def normalized(array):
    """Divide the columns by their Euclidean norms."""
    return array / np.linalg.norm(array, axis=0)
