"""Where variational fits start: the bound has many local maxima, and the start decides."""

import numpy as np

from sparseopt._core import to_numpy
from sparseopt.sparse_bayes._variational._precisions import GammaPrior
from sparseopt.sparse_bayes._variational._state import Start

STRONG = 10.0  # precision of a start that shrinks all coefficients, in units of active ones


def expected_power(design, probability):
    """Return the power of an active coefficient if the noise were none.

    Parameters
    ----------
    design : LinearDesign or BilinearDesign
        Data.
    probability : ndarray of shape (K, Q)
        Prior probabilities of being active.
    """
    explained = float(np.sum(probability * design.diagonal))
    return design.energy / explained if explained > 0 and design.energy > 0 else 1.0


def scaled_prior(power, shape, rate, shape_off, rate_off):
    """Return the prior of the precisions; rates that are "auto" follow the power."""
    rate = shape * power if rate == "auto" else rate
    rate_off = 1e-5 * rate if rate_off == "auto" else rate_off
    return GammaPrior(shape, rate, shape_off, rate_off)


def shrinking_start(design, probability, power):
    """Start from coefficients that are all small."""
    return Start(np.full(design.shape, STRONG / power), probability)


def matched_start(design, probability, power):
    """Start from coefficients as large as each column by itself makes them.

    The correlations hold known symbols only, and so do the norms that divide them.
    """
    correlation = np.abs(to_numpy(design.correlation)) ** 2
    norms = design.known_diagonal
    squares = np.divide(correlation, norms**2, out=np.zeros_like(correlation), where=norms > 0)
    return Start(1.0 / np.maximum(squares, 1e-6 * power), probability)


STARTS = {"shrinking": shrinking_start, "matched": matched_start}
