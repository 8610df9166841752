"""Updates of the prior variances and of the noise: EM, MacKay and the convex bound.

With the posterior at the present variances g (k,) and s2, p_j = ||mean_j||^2 / L, the well
determined share c_j = 1 - variance_j / g_j and the mean squared residual r = ||Y - X mean||^2 / L:

    em       g_j = p_j + variance_j,    s2 = (r + s2 sum(c)) / n    M. E. Tipping, JMLR 1, 2001
    mackay   g_j = p_j / c_j,           s2 = r / (n - sum(c))       D. J. C. MacKay, 1992
    convex   g_j = sqrt(p_j g_j / c_j), s2 = sqrt(r s2 / (n - sum(c)))
             D. P. Wipf & S. Nagarajan, NeuroImage 44, 2009

"em" and "convex" never raise nll, whether the noise is updated in the same step or not. The noise
is one variance component more, with the n unit vectors as its features: that gives the convex
rule's update of s2, the geometric mean of s2 and MacKay's.
"""

import numpy as np

from sparseopt.sparse_bayes._posterior import squared_norms


def mean_power(posterior):
    """Return ``||mean_j||^2 / L`` of each feature."""
    return squared_norms(posterior.mean, 1) / posterior.mean.shape[1]


def noise_share(posterior, n):
    """Return the mean squared residual, and how many of n rows no feature determines."""
    squares = float(squared_norms(posterior.residual, None)) / posterior.residual.shape[1]
    free = n - float(posterior.well_determinedness.sum())
    return squares, max(free, n * np.finfo(float).eps)


def _quotient(numerator, denominator):
    """Return the quotient, 0 where the denominator is: such a feature explains nothing."""
    out = np.zeros_like(numerator)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def update_em(posterior, g):
    """Take the expected power of the weights: safe and slow."""
    return mean_power(posterior) + posterior.variance


def update_mackay(posterior, g):
    """MacKay's fixed point: fast, and nll may grow."""
    return _quotient(mean_power(posterior), posterior.well_determinedness)


def update_convex(posterior, g):
    """Minimise a bound of log det S that is linear in g: fast, and nll never grows."""
    return np.sqrt(_quotient(mean_power(posterior) * g, posterior.well_determinedness))


def update_noise_em(posterior, s2, n):
    """Take the expected power of the noise, in the same step as :func:`update_em`."""
    squares, free = noise_share(posterior, n)
    return (squares + s2 * (n - free)) / n


def update_noise_mackay(posterior, s2, n):
    """MacKay's fixed point for the noise."""
    squares, free = noise_share(posterior, n)
    return squares / free


def update_noise_convex(posterior, s2, n):
    """Minimise the bound of :func:`update_convex` over the noise, in the same step."""
    squares, free = noise_share(posterior, n)
    return float(np.sqrt(squares * s2 / free))


UPDATES = {
    "em": (update_em, update_noise_em),
    "mackay": (update_mackay, update_noise_mackay),
    "convex": (update_convex, update_noise_convex),
}
