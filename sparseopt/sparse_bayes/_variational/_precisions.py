r"""q(rho), q(s) and q(kappa): precisions of coefficients, their support, precision of the noise.

The prior has three layers (A. Liu et al., arXiv 2407.16947): x ~ N(0, 1 / rho), rho ~ Gamma(a, b)
if s = 1 and Gamma(a_0, b_0), of a large mean, if s = 0; s has the prior of a support plug-in.
``half`` is 1 for complex data and 1/2 for real data, and e = <|x|^2>.

    factorised   q(rho) q(s):  rho's shape is a' = <a> + half and its rate b' = <b> + half e, where
                 <.> averages over s; the evidence of s is f(a, b) - f(a_0, b_0) with
                 f(a, b) = a log b - log Gamma(a) + (a - 1) <log rho> - b <rho>
    collapsed    q(rho, s):  rho is integrated out of the evidence; a tighter bound (ours)
"""

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, gammaln


class GammaPrior(NamedTuple):
    """Shapes and rates of the precisions: of active coefficients, and of the others."""

    shape: float
    rate: float
    shape_off: float
    rate_off: float


class Precisions(NamedTuple):
    """The factorised posterior of the precisions.

    ``mean`` of rho (K, Q), the log-odds ``evidence`` (K, Q) that the coefficients are active as
    far as the data say, and ``bound``: E log p(rho | s) p(x | rho) + entropy of rho, less what the
    evidence says of s, and constants that cancel; ``shape`` and ``rate`` of rho.
    """

    mean: np.ndarray
    evidence: np.ndarray
    bound: float
    shape: np.ndarray
    rate: np.ndarray


def factorised_precisions(prior, proba, squares, half):
    """Update q(rho), given probabilities of being active, and what follows for q(s)."""
    off = 1 - proba
    shape = proba * prior.shape + off * prior.shape_off + half
    rate = proba * prior.rate + off * prior.rate_off + half * squares
    mean = shape / rate
    log_mean = digamma(shape) - np.log(rate)

    def expected_log_density(a, b):
        return a * np.log(b) - gammaln(a) + (a - 1) * log_mean - b * mean

    base = expected_log_density(prior.shape_off, prior.rate_off)
    evidence = expected_log_density(prior.shape, prior.rate) - base
    entropy = shape - np.log(rate) + gammaln(shape) + (1 - shape) * digamma(shape)
    likelihood = half * (log_mean - mean * squares)
    bound = float(np.sum(base + entropy + likelihood))
    return Precisions(mean, evidence, bound, shape, rate)


def collapsed_evidence(prior, squares, half):
    """Return the evidence of s with rho integrated out, and the log of its base."""

    def log_marginal(a, b):
        return (
            gammaln(a + half) - gammaln(a) + a * np.log(b) - (a + half) * np.log(b + half * squares)
        )

    base = log_marginal(prior.shape_off, prior.rate_off)
    return log_marginal(prior.shape, prior.rate) - base, float(np.sum(base))


def collapsed_mean(prior, proba, squares, half):
    """Return the mean of rho, for probabilities of being active."""
    on = (prior.shape + half) / (prior.rate + half * squares)
    off = (prior.shape_off + half) / (prior.rate_off + half * squares)
    return proba * on + (1 - proba) * off


class NoisePosterior(NamedTuple):
    """Gamma(shape, rate) of the noise's precision; ``fixed`` is its value if it is known."""

    shape: float
    rate: float
    fixed: float | None = None

    @property
    def mean(self):
        """Expected precision."""
        return float(self.shape / self.rate if self.fixed is None else self.fixed)

    @property
    def log_mean(self):
        """Expected logarithm of the precision."""
        if self.fixed is not None:
            return float(np.log(self.fixed))
        return float(digamma(self.shape) - np.log(self.rate))

    def entropy_gain(self, shape, rate):
        """Return E log p(kappa) + entropy, for a prior Gamma(shape, rate)."""
        if self.fixed is not None:
            return 0.0
        density = shape * np.log(rate) - gammaln(shape) + (shape - 1) * self.log_mean
        entropy = self.shape - np.log(self.rate) + gammaln(self.shape)
        entropy += (1 - self.shape) * digamma(self.shape)
        return float(density - rate * self.mean + entropy)
