"""The bound of bilinear models is the expectation that it claims to be, sampled term by term."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.stats import gamma

from sparseopt.sparse_bayes import IndependentSupport
from sparseopt.sparse_bayes._variational._bilinear_state import (
    BilinearModel,
    BilinearState,
    Observations,
    Refinement,
    Schedule,
)
from sparseopt.sparse_bayes._variational._design import BilinearDesign
from sparseopt.sparse_bayes._variational._dictionary import DenseDictionary
from sparseopt.sparse_bayes._variational._precisions import GammaPrior
from sparseopt.sparse_bayes._variational._state import Settings, Start
from sparseopt.sparse_bayes._variational._symbols import initial_symbols

PRIOR = GammaPrior(1.3, 1.1, 0.9, 0.02)
NOISE = (0.7, 0.4)
ACTIVE = 0.3
N_DRAWS = 30_000
VALUES = {True: np.array([1 + 1j, 1 - 1j, -1 + 1j, 0.3]), False: np.array([-1.0, 1.0, 0.5])}


class Fit(NamedTuple):
    """A state after some steps, its bound, the dictionary, and probabilities before the last."""

    state: Any
    bound: float
    dictionary: np.ndarray
    proba: np.ndarray


def fit(is_complex, discrete, covariance, collapse, noise_variance):
    rng = np.random.default_rng(5)
    K, N, L, M, Q = 2, 2, 3, 3, 3

    def draw(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if is_complex else real

    Phi, values = draw(K, N, M, Q), VALUES[is_complex]
    symbols = rng.choice(values, (K, N, L))
    known = np.zeros((K, N, L), bool)
    known[:, :, 0] = known[0, 0, 1] = True
    x = draw(K, Q) * (rng.random((K, Q)) < 0.6)
    Y = np.einsum("knl,knmq,kq->nlm", symbols, Phi, x) + 0.3 * draw(N, L, M)
    seen = Observations(Y, np.where(known, symbols, 0), known, values)
    settings = Settings(PRIOR, covariance, 50, 1000, collapse, *NOISE, noise_variance)
    design = BilinearDesign(DenseDictionary(Phi), Y, initial_symbols(seen.pilots, known))
    schedule = Schedule(0, 0 if discrete else None, 0)
    model = BilinearModel(None, seen, settings, Refinement(None, {}, {}), schedule)
    start = Start(np.ones((K, Q)), np.full((K, Q), 0.5))
    state = BilinearState(design, model, {}, IndependentSupport(ACTIVE, learn=False), start)
    for _ in range(5):
        before = state.proba
        progress = state.step()
    return Fit(state, -progress.objective, Phi, before)


def draw_normal(mean, covariance, half, rng):
    """Return draws, and their log density."""
    factor = np.linalg.cholesky(covariance)
    shape = (N_DRAWS, mean.size)
    white = rng.standard_normal(shape)
    if half == 1:
        white = (white + 1j * rng.standard_normal(shape)) / np.sqrt(2)
    size = -half * mean.size * np.log(np.pi / half) - half * np.linalg.slogdet(covariance)[1]
    return mean.ravel() + white @ factor.T, size - half * np.sum(np.abs(white) ** 2, axis=1)


def draw_coefficients(found, collapse, rng):
    """Return draws of x, and of log p(x, rho, s) - log q."""
    state = found.state
    half, posterior = state.design.half, state.posterior
    covariance = np.diag(posterior.variance.ravel()).astype(posterior.block.dtype)
    covariance[np.ix_(posterior.active, posterior.active)] = posterior.block
    x, log_q = draw_normal(posterior.mean, covariance, half, rng)
    x = x.reshape(N_DRAWS, *state.proba.shape)
    squares = np.abs(posterior.mean) ** 2 + posterior.variance
    s = rng.random(x.shape) < state.proba
    shape = np.where(s, PRIOR.shape, PRIOR.shape_off)
    rate = np.where(s, PRIOR.rate, PRIOR.rate_off)
    if collapse:
        mixed = shape, rate
    else:
        on, off = found.proba, 1 - found.proba
        mixed = on * PRIOR.shape + off * PRIOR.shape_off, on * PRIOR.rate + off * PRIOR.rate_off
    law = gamma(mixed[0] + half, scale=1 / (mixed[1] + half * squares))
    rho = law.rvs(x.shape, random_state=rng)
    terms = np.where(s, np.log(ACTIVE / state.proba), np.log((1 - ACTIVE) / (1 - state.proba)))
    terms += gamma.logpdf(rho, shape, scale=1 / rate) - law.logpdf(rho)
    terms += half * (np.log(rho * half / np.pi) - rho * np.abs(x) ** 2)
    return x, terms.sum(axis=(1, 2)) - log_q


def draw_symbols(state, rng):
    """Return draws of d, and of log p(d) - log q."""
    design, seen, half = state.design, state.observations, state.design.half
    symbols = design.symbols
    d = np.tile(symbols.mean, (N_DRAWS, 1, 1, 1))
    total = np.zeros(N_DRAWS)
    for n, snapshot in np.ndindex(seen.known.shape[1:]):
        free = np.flatnonzero(~seen.known[:, n, snapshot])
        if state.is_discrete:
            for k in free:
                proba = symbols.proba[k, n, snapshot]
                chosen = rng.choice(len(proba), N_DRAWS, p=proba)
                d[:, k, n, snapshot] = seen.constellation[chosen]
                total -= np.log(len(proba) * proba[chosen])
        elif len(free):
            moments = (design.products + design.spread)[n][np.ix_(free, free)]
            covariance = np.linalg.inv(np.eye(len(free)) + state.noise.mean * moments)
            drawn, log_q = draw_normal(symbols.mean[free, n, snapshot], covariance, half, rng)
            d[:, free, n, snapshot] = drawn
            total -= half * np.sum(np.abs(drawn) ** 2 + np.log(np.pi / half), axis=1) + log_q
    return d, total


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(
    ("discrete", "covariance", "collapse", "noise_variance"),
    [
        (False, "subspace", False, None),
        (True, "full", False, None),
        (True, "subspace", True, 0.2),
        (False, "diag", True, None),
    ],
)
def test_bound_is_what_draws_say(is_complex, discrete, covariance, collapse, noise_variance):
    found = fit(is_complex, discrete, covariance, collapse, noise_variance)
    state, rng = found.state, np.random.default_rng(0)
    Y, half = state.design.Y, state.design.half
    x, total = draw_coefficients(found, collapse, rng)
    d, terms = draw_symbols(state, rng)
    total += terms
    kappa = np.full(N_DRAWS, 1 / (noise_variance or 1))
    if noise_variance is None:
        law = gamma(state.noise.shape, scale=1 / state.noise.rate)
        kappa = law.rvs(N_DRAWS, random_state=rng)
        total += gamma.logpdf(kappa, NOISE[0], scale=1 / NOISE[1]) - law.logpdf(kappa)
    images = np.einsum("knmq,skq->sknm", found.dictionary, x)
    residual = np.sum(np.abs(Y - np.einsum("sknl,sknm->snlm", d, images)) ** 2, axis=(1, 2, 3))
    total += half * (Y.size * np.log(kappa * half / np.pi) - kappa * residual)
    error = total.std() / np.sqrt(N_DRAWS)
    assert error < 0.05
    assert abs(found.bound - total.mean()) < 4 * error
