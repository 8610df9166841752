"""Where a variational fit stands, and its updates in turn: x, rho, s, kappa."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from sparseopt._core import Progress, array_namespace
from sparseopt.sparse_bayes._variational._arrays import squared_sum
from sparseopt.sparse_bayes._variational._coefficients import (
    choose_active,
    coefficient_entropy,
    squared_moments,
    update_coefficients,
)
from sparseopt.sparse_bayes._variational._precisions import (
    GammaPrior,
    NoisePosterior,
    collapsed_evidence,
    collapsed_mean,
    factorised_precisions,
)

WHITE = 10.0  # initial noise precision, over one that explains the data by noise alone
FIRST_ITERATIONS = 4  # before changes of the mean say something


class Settings(NamedTuple):
    """What the updates of a linear model need to know.

    ``prior``: a GammaPrior; ``covariance``, ``n_inner`` and ``max_active`` as for
    :func:`update_coefficients` and :func:`choose_active`; ``collapse``: whether the precisions are
    integrated out; ``noise_shape``, ``noise_rate``: the prior of the noise's precision;
    ``noise_variance``: if known.
    """

    prior: GammaPrior
    covariance: str = "subspace"
    n_inner: int = 10
    max_active: int = 1000
    collapse: bool = False
    noise_shape: float = 1e-6
    noise_rate: float = 1e-6
    noise_variance: float | None = None


class Estimate(NamedTuple):
    """Coefficients of one iteration, which nobody changes."""

    array: Any

    def copy(self):
        """Return the estimate itself."""
        return self


class Start(NamedTuple):
    """Precisions ``rho`` and probabilities ``proba`` (K, Q) to start from."""

    rho: np.ndarray
    proba: np.ndarray


class VariationalState:
    """A fit, changed in place by :meth:`step`.

    Parameters
    ----------
    design : LinearDesign or BilinearDesign
        Data.
    support : support prior
        Prior of the support.
    settings : Settings
        What does not change.
    start : Start
        Where to start.
    """

    def __init__(self, design, support, settings, start):
        self.design, self.support, self.settings = design, support, settings
        self.rho, self.proba = start.rho, start.proba
        T = design.n_observations
        self._known_precision = (
            None if settings.noise_variance is None else 1 / settings.noise_variance
        )
        self.noise = NoisePosterior(WHITE * T, max(design.energy, 1e-300), self._known_precision)
        xp = array_namespace(design.correlation)
        self.mean: Any = xp.zeros_like(design.correlation)
        self.iteration = 0
        self.change = np.inf

    @property
    def x(self):
        """The iterate, for :func:`sparseopt._core.iterate`."""
        return Estimate(self.mean)

    def step(self, _=None):
        """Update everything once."""
        self.iteration += 1
        before = self.mean
        self.update_coefficients()
        self.update_support()
        self.update_noise()
        self.update_rest()
        size = squared_sum(self.mean) ** 0.5
        self.change = squared_sum(self.mean - before) ** 0.5 / size if size > 0 else 0.0
        return Progress(-self.elbo(), self.certificate())

    def certificate(self):
        """Return the relative change of the mean, once it means something."""
        return self.change if self.iteration > FIRST_ITERATIONS else np.inf

    def update_coefficients(self):
        """Update q(x)."""
        settings = self.settings
        active = choose_active(self.proba, settings.covariance, settings.max_active)
        self.posterior = update_coefficients(
            self.design, self.noise.mean, self.rho, active, self.mean, settings.n_inner
        )
        self.mean = self.posterior.mean
        self.design.take(self.posterior)

    def update_support(self):
        """Update q(rho) and q(s), and then the prior of s."""
        prior, half = self.settings.prior, self.design.half
        squares = squared_moments(self.posterior)
        if self.settings.collapse:
            evidence, bound = collapsed_evidence(prior, squares, half)
        else:
            rho = factorised_precisions(prior, self.proba, squares, half)
            evidence, bound, self.rho = rho.evidence, rho.bound, rho.mean
        self.evidence = evidence
        self.proba = expit(evidence + self.support.extrinsic_log_odds(evidence))
        if self.settings.collapse:
            self.rho = collapsed_mean(prior, self.proba, squares, half)
        self.coefficient_bound = (
            bound + self.support.log_partition(evidence) + coefficient_entropy(self.posterior, half)
        )
        self.support = self.support.m_step(evidence)

    def update_noise(self):
        """Update q(kappa)."""
        half, settings = self.design.half, self.settings
        self.residual = self.design.expected_residual()
        shape = settings.noise_shape + half * self.design.n_observations
        rate = settings.noise_rate + half * self.residual
        self.noise = NoisePosterior(shape, rate, self._known_precision)

    def update_rest(self):
        """Update what only other models have."""

    def elbo(self):
        """Return the evidence lower bound."""
        half, T = self.design.half, self.design.n_observations
        likelihood = half * (T * (self.noise.log_mean - np.log(np.pi / half)))
        likelihood -= half * self.noise.mean * self.residual
        noise = self.noise.entropy_gain(self.settings.noise_shape, self.settings.noise_rate)
        return float(likelihood + noise + self.coefficient_bound)
