"""The updates that a bilinear model adds: symbols, parameters of the dictionary, merged columns."""

from typing import Any, NamedTuple

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import squared_sum
from sparseopt.sparse_bayes._variational._dictionary_step import LocalMoments, refine_parameters
from sparseopt.sparse_bayes._variational._merging import merge_columns
from sparseopt.sparse_bayes._variational._precisions import NoisePosterior
from sparseopt.sparse_bayes._variational._state import VariationalState
from sparseopt.sparse_bayes._variational._symbols import (
    discrete_symbols,
    gaussian_symbols,
)

SETTLED = 1e-3  # change of the response at which the symbols may become discrete
TEMPERED_SNR = 10**0.5


class Schedule(NamedTuple):
    """After which iteration what is done.

    ``refine``: steps of the parameters; ``discrete``: discrete symbols at the latest, or None for
    never; ``cold``: the noise's own precision.
    """

    refine: int
    discrete: int | None
    cold: int


class Refinement(NamedTuple):
    """How parameters change.

    ``method``; ``prior``: means and standard deviations; ``trust`` radii; ``n_steps`` in an
    iteration; ``merge_coherence`` at which columns become one.
    """

    method: str | None
    prior: dict
    trust: dict
    n_steps: int = 1
    merge_coherence: float | None = None


class Observations(NamedTuple):
    """``Y`` (N, L, M), ``pilots`` and where they are ``known`` (K, N, L), the ``constellation``."""

    Y: Any
    pilots: np.ndarray
    known: np.ndarray
    constellation: np.ndarray | None


class BilinearModel(NamedTuple):
    """What does not change.

    The ``parametric`` dictionary, ``observations``, ``settings``, how parameters change
    (``refinement``) and when (``schedule``).
    """

    parametric: Any
    observations: Observations
    settings: Any
    refinement: Refinement
    schedule: Schedule


class BilinearState(VariationalState):
    """A fit of a bilinear model, changed in place by :meth:`step`.

    Parameters
    ----------
    design : BilinearDesign
        Data, at the first parameters, with what is known of the symbols.
    model : BilinearModel
        What does not change.
    params : dict of str to ndarray
        Parameters to start from.
    support, start
        As for :class:`VariationalState`.
    """

    def __init__(self, design, model, params, support, start):
        super().__init__(design, support, model.settings, start)
        self.parametric, self.observations = model.parametric, model.observations
        self.refinement, self.schedule = model.refinement, model.schedule
        self.params = self.first_params = params
        self.is_discrete = False
        self.response: Any = None

    @property
    def symbols(self):
        """Posterior of the symbols."""
        return self.design.symbols

    def step(self, _=None):
        """Update everything once."""
        before = self.response
        progress = super().step()
        self.response = self.design.images
        if before is not None:
            size = squared_sum(self.response) ** 0.5
            self.change = squared_sum(self.response - before) ** 0.5 / max(size, 1e-300)
        if self.change < SETTLED and self._is_past(self.schedule.cold):
            self._become_discrete()
        return progress._replace(certificate=self.certificate())

    def _is_past(self, iteration):
        return self.iteration > iteration

    def _become_discrete(self):
        if self.schedule.discrete is not None and not self.is_discrete:
            self.is_discrete = True
            self.change = np.inf

    def certificate(self):
        """Return the relative change of the response, once all stages of the schedule are over."""
        last = max(self.schedule.refine, self.schedule.cold)
        unfinished = self.schedule.discrete is not None and not self.is_discrete
        return np.inf if unfinished or not self._is_past(last) else super().certificate()

    def update_noise(self):
        """Update q(kappa), which may not grow too far at first.

        While columns are off their places, what they miss is more than the noise; a sharp
        likelihood would freeze a wrong support.
        """
        super().update_noise()
        if not self._is_past(self.schedule.cold) and self.settings.noise_variance is None:
            design = self.design
            largest = (1 + TEMPERED_SNR) * design.n_observations / max(design.energy, 1e-300)
            if self.noise.mean > largest:
                self.noise = NoisePosterior(self.noise.shape, self.noise.rate, largest)

    def update_rest(self):
        """Update q(d) and the parameters."""
        if self.schedule.discrete is not None and self._is_past(self.schedule.discrete):
            self.is_discrete = True
        self.update_symbols()
        if self.refinement.method is not None and self._is_past(self.schedule.refine):
            self.update_parameters()
        self.residual = self.design.expected_residual()

    def update_symbols(self):
        """Update q(d)."""
        design, seen = self.design, self.observations
        moments = design.products + design.spread
        arguments = (moments, design.scores(), self.noise.mean, seen.pilots, seen.known)
        if self.is_discrete:
            symbols = discrete_symbols(
                *arguments, design.half, seen.constellation, design.symbols.mean
            )
        else:
            symbols = gaussian_symbols(*arguments, design.half)
        design.observe(symbols)

    def update_parameters(self):
        """Move the parameters of the columns that are probably active."""
        columns = np.flatnonzero((self.proba > 0.5).any(axis=0))
        if len(columns) == 0:
            return
        refinement = self.refinement
        refined = refine_parameters(
            self.parametric,
            self.params,
            columns,
            self.local_moments(columns),
            prior=refinement.prior,
            trust=refinement.trust,
            method=refinement.method,
            n_steps=refinement.n_steps,
        )
        if refined.accepted:
            merged = self._merge(columns, refined)
            self.design.replace_dictionary(self.parametric.values(self.params))
            if merged:
                self.update_coefficients()
            else:
                self.design.take(self.posterior)

    def _merge(self, columns, refined):
        """Take refined parameters, of columns that have met only once; tell if any have."""
        self.params = refined.params
        self._follow(columns, refined.mean)
        if self.refinement.merge_coherence is None:
            return False
        prior = self.settings.prior
        merged = merge_columns(
            refined.values,
            columns,
            self.mean,
            self.rho,
            self.proba,
            self.params,
            self.first_params,
            self.parametric.kinds,
            coherence=self.refinement.merge_coherence,
            idle_precision=prior.shape_off / prior.rate_off,
        )
        self.mean, self.rho, self.proba = merged.mean, merged.rho, merged.proba
        self.params = merged.params
        return len(merged.pairs) > 0

    def local_moments(self, columns):
        """Return what the step of the parameters needs to know of some columns."""
        design = self.design
        xp = array_namespace(design.Y)
        values = design.dictionary.columns(columns)  # (K, N, M, C)
        where = xp.asarray(columns, device=design.Y.device)
        mean = xp.take(self.mean, where, axis=1)
        moving = xp.matmul(values, mean[:, None, :, None])[..., 0]  # (K, N, M)
        rest = design.images - xp.permute_dims(moving, (1, 0, 2))
        target = design.target - xp.matmul(design.mixing, rest)
        return LocalMoments(
            target=xp.permute_dims(target, (1, 0, 2)),
            symbols=design.mixing,
            mean=mean,
            covariance=self._covariance(columns),
            precision=self.noise.mean,
            half=design.half,
            rho=self.rho[:, columns],
        )

    def _follow(self, columns, mean):
        """Take the means of the coefficients of some columns."""
        xp = array_namespace(self.mean)
        before = to_numpy(self.mean)[:, columns]
        growth = np.abs(to_numpy(mean)) ** 2 - np.abs(before) ** 2
        self.coefficient_bound -= self.design.half * float(np.sum(self.rho[:, columns] * growth))
        source = np.arange(self.mean.shape[1]) + len(columns)
        source[columns] = np.arange(len(columns))
        both = xp.concat([mean, self.mean], axis=1)
        self.mean = xp.take(both, xp.asarray(source, device=both.device), axis=1)
        self.posterior = self.posterior._replace(mean=self.mean)

    def _covariance(self, columns):
        """Return the covariance (K, C, K, C) of the coefficients of some columns."""
        K, Q = self.design.shape
        C = len(columns)
        flat = (np.arange(K)[:, None] * Q + columns).ravel()
        posterior = self.posterior
        out = np.diag(posterior.variance.ravel()[flat]).astype(posterior.block.dtype)
        places = {int(index): place for place, index in enumerate(posterior.active)}
        shared = np.array([places.get(int(index), -1) for index in flat])
        both = np.flatnonzero(shared >= 0)
        out[np.ix_(both, both)] = posterior.block[np.ix_(shared[both], shared[both])]
        xp = array_namespace(self.design.Y)
        return xp.asarray(out.reshape(K, C, K, C), device=self.design.Y.device)

    def elbo(self):
        """Return the evidence lower bound, with the log prior of the parameters."""
        return super().elbo() + self.symbols.bound + self._parameter_density()

    def _parameter_density(self):
        total = 0.0
        for name, (mean, std) in self.refinement.prior.items():
            total -= 0.5 * float(np.sum(((self.params[name] - mean) / std) ** 2))
        return total
