"""Where variational fits start: the bound has many local maxima, and the start decides."""

import numpy as np

from sparseopt._core import to_numpy
from sparseopt.sparse_bayes._stages import NoiseVariance, RuleState
from sparseopt.sparse_bayes._variational._precisions import GammaPrior
from sparseopt.sparse_bayes._variational._state import Start

STRONG = 10.0  # precision of a start that shrinks all coefficients, in units of active ones
EM_ITERATIONS = 15  # of sparse Bayesian learning
LARGE = 0.05  # share of the largest prior variance that is active after them
SURE = 0.99
NOISE_FLOOR, NOISE_DELAY = 1e-3, 5  # of that learning, as in sparse_bayes


def expected_power(design, probability):
    """Return the power of an active coefficient if the noise were none.

    Where fewer than one coefficient of a group is expected to be active, one is: otherwise few
    columns would make active coefficients so large that those of the data look inactive.

    Parameters
    ----------
    design : LinearDesign or BilinearDesign
        Data.
    probability : ndarray of shape (K, Q)
        Prior probabilities of being active.
    """
    expected = np.sum(probability, axis=1, keepdims=True)  # number of active ones of each group
    explained = float(np.sum(probability / np.minimum(expected, 1.0) * design.diagonal))
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


def sparse_bayes_start(problem, design, settings):
    """Start from features that sparse Bayesian learning finds, and their prior variances.

    Targets share them. An iteration factorises a matrix of the size of the samples, or features.
    """
    prior = settings.prior
    off = np.broadcast_to(prior.shape_off / prior.rate_off, design.shape)
    if len(problem.features) == 0:
        return Start(off, np.full(design.shape, 1 - SURE))
    known = settings.noise_variance
    known = None if known is None else known * problem.unit**2
    noise = NoiseVariance(problem, known, NOISE_FLOOR, NOISE_DELAY)
    equal = np.full(len(problem.features), problem.n / len(problem.features))
    learning = RuleState(problem, noise, "em", equal, 0.0, last=True)
    for _ in range(EM_ITERATIONS):
        learning.step(learning)
    variances = np.zeros(problem.n_features)
    variances[problem.features] = learning.variances()
    active = variances > LARGE * variances.max()
    rho = np.where(active, 1 / np.where(active, variances, 1.0), off)
    proba = np.where(active, SURE, 1 - SURE)
    return Start(rho, np.broadcast_to(proba, design.shape))
