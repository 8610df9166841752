r"""How far rounding errors may move the violations of stationarity.

In the notation of :mod:`._square_roots`, backward errors are some multiple of the precision times
the columns of A. The root of the inflation v of other weights tells how far these turn the space of
[A; I], and with it r(x_j), whose length is that of x_j / s over the root of its own inflation. That
bounds the errors of the derivatives of nll. Where features depend on each other nearly, the bound
is much too large, and is replaced by what a perturbation of X of that size does.
"""

import numpy as np

from sparseopt.sparse_bayes._posterior import evidence_terms

EPSILON = float(np.finfo(float).eps)
NEGLIGIBLE = 1e-6  # a bound below is taken as it is
SAMPLED = 5.0  # errors, over what two perturbations did


def violations(g, sensitivity, power):
    """Return the violation of stationarity of each variance.

    It is the derivative of nll by the logarithm, and for a variance near zero, where that is small
    anyway, the derivative itself relative to its positive part.
    """
    slopes = sensitivity - power
    wanting = -slopes / np.maximum(sensitivity, 1e-300)
    return np.maximum(np.abs(g * slopes), wanting)


def largest_inflation(norms, g, s2, shares, active, sensitivity):
    """Return by what factor other features inflate the variance of a weight, at most.

    Parameters
    ----------
    norms, sensitivity : ndarray of shape (p,)
        ``||x_j||^2`` and ``x_j^H S^-1 x_j``.
    g, shares, active : ndarray of shape (k,)
        Variances, ratios of posterior variances to them, and indices of the active features.
    s2 : float
        Noise variance.
    """
    inflation = np.ones(len(norms))
    np.divide(norms, sensitivity * s2, out=inflation, where=sensitivity * s2 > 0)
    inflation[active] = (1 + g * norms[active] / s2) * shares
    return max(float(inflation.max(initial=1.0)), 1.0)


def rounding_of(X, Y, g, s2, *, norms, terms, shares, length):
    """Return what rounding errors may hide of the largest violation of stationarity.

    Parameters
    ----------
    X, Y, g, s2
        The model, with all features.
    norms : ndarray of shape (p,)
        ``||x_j||^2``.
    terms : tuple of two ndarrays of shape (p,)
        Sensitivity and power.
    shares : ndarray of shape (k,)
        Ratios of posterior variances to prior variances, of the active features.
    length : float
        Length of r(Y), for one target.
    """
    active = np.flatnonzero(g)
    inflation = largest_inflation(norms, g[active], s2, shares, active, terms[0])
    longest = float(np.sqrt((g * norms).max(initial=0.0) / s2))
    bound = EPSILON * (longest + inflation * (1 + length))
    if bound <= NEGLIGIBLE:
        return bound
    before, moved = violations(g, *terms), 0.0
    random = np.random.default_rng(0)
    for _ in range(2):
        noise = random.standard_normal(X.shape)
        other = X + EPSILON * np.sqrt(norms / len(X)) * noise
        after = violations(g, *evidence_terms(other, Y, g, s2))
        moved = max(moved, float(np.abs(after - before).max()))
    return min(bound, SAMPLED * moved)
