r"""Iterations of Kronecker-structured sparse Bayesian learning, their guards and acceleration.

An iteration is an E-step and an M-step of expectation maximisation over the variances of each
factor and of the noise. Extrapolations and steps by singular vectors that raise nll are undone.
Expectation maximisation changes a variance g by about g^2 where g is small: it seems to converge
there, wherever the minimum is. Where it does, the variances that should grow take steps

    g <- g sqrt(explained / determined),

of the majorisation by which D. Wipf & S. Nagarajan, "A new view of automatic relevance
determination", NIPS 2007, decrease nll: they grow at the same rate however small they are.
"""

import math

import numpy as np

from sparseopt._core import Progress
from sparseopt.sparse_bayes._kronecker_state import Hyperparameters, balance
from sparseopt.sparse_bayes._kronecker_steps import (
    alternate_once,
    alternate_to_tolerance,
    minimise_over_factors,
    normalise,
    raise_floor,
    relative_change,
    split_by_svd,
)
from sparseopt.sparse_bayes._squarem import Squarem

ROUNDING = 1e-10
COUPLED_TOL, COUPLED_SWEEPS = 1e-4, 9  # as published; more sweeps do not pay
SVD_TRIALS = 3  # before "am" takes over
SVD_ITERATIONS = 50  # the same: "am" is accelerated
LARGEST_LOGARITHM = 80.0  # of an extrapolated variance, for data of unit size
GROWTH = 0.1  # relative, of variances that expectation maximisation leaves behind
LEAP = 0.1
PLAIN_GROWTH = 4.0  # the same where the published iterations run as they are


class Iteration:
    """One EM iteration, the guards around it, and its acceleration."""

    def __init__(self, options, noise_rule, n_factors):
        self.options, self.noise_rule = options, noise_rule
        self.squarem = Squarem() if options["acceleration"] == "squarem" else None
        self.m_step = options["m_step"]
        if self.m_step == "svd" and n_factors == 1:
            self.m_step = "am"  # both are the same
        unguarded = self.m_step == "svd" and not options["svd_fallback"]
        plain = unguarded or self.squarem is None or options["coupling_step"] == "nnls"
        self.least_growth = PLAIN_GROWTH if plain else GROWTH
        self.svd_trials = SVD_TRIALS
        self.burn_in = options["burn_in"]
        self.growing = False
        self.safe = None  # (hyperparameters, nll) to fall back on if an extrapolation fails
        self.svd_start = None  # (moments, hyperparameters, nll) before an SVD step

    def __call__(self, state):
        """Advance by one iteration, or by two if a rejected one has to be repeated."""
        if self.growing:
            parts = balance(state)
            if parts.largest_growth() > self.least_growth:
                return self._grow(state, parts)
            self.growing = False
        posterior, n_undone = self.settle(state)
        if n_undone and state.iteration + 2 > self.options["max_iter"]:
            return self._advance(state, posterior, 1, math.inf)
        return self._iterate(state, posterior, 1 + n_undone)

    def _iterate(self, state, posterior, n_iterations):
        """Prune, maximise and extrapolate from the point of ``posterior``."""
        before = state.full_variances()
        if state.iteration >= self.burn_in:
            posterior = self._prune(state, posterior)
        if state.emptied is not None:
            return Progress(self._nll(state, posterior), math.inf, stalled=True)
        start = state.parameters
        moments = state.moments(posterior)
        noise, state.floored = self.noise_rule.update(state, posterior)
        image = Hyperparameters(self._maximise(state, moments), noise)
        if not state.resolves(image):
            state.unresolved = True
            return self._advance(state, posterior, n_iterations, math.inf, stalled=True)
        by_svd = self.m_step == "svd" and self.options["svd_fallback"]
        if by_svd:
            self.svd_start = moments, image.noise, start, posterior.nll
        state.parameters = image
        change = relative_change(state.full_variances(), before)
        finished = change <= self.options["tol"]
        if by_svd and (finished or state.iteration + n_iterations >= SVD_ITERATIONS):
            # A fixed point of "svd" is no stationary point of the evidence: "am" leads there.
            self.m_step = "am"
            change = math.inf if finished else change
        elif finished:
            change = self._check_growth(state, change)
        elif self.squarem is not None and self.m_step != "svd":
            self._extrapolate(state, start, image, posterior.nll)
        return self._advance(state, posterior, n_iterations, change)

    def _advance(self, state, posterior, n_iterations, change, **options):
        state.iteration += n_iterations
        return Progress(self._nll(state, posterior), change, iterations=n_iterations, **options)

    def _check_growth(self, state, change):
        """Return the change, or the growth that is still missing; then growing is next."""
        growth = balance(state).largest_growth()
        self.growing = growth > self.least_growth
        return growth if self.growing else change

    def _grow(self, state, parts):
        """Increase the scale of all variances, or else those of each factor that are too small."""
        if self.squarem is not None:
            self.squarem.restart()
        posterior = state.expect()
        change, growth = parts.largest_growth(), parts.total_growth()
        if growth > self.least_growth:
            share = parts.determined[-1].mean()
            self._multiply(state, posterior.nll, -1, growth, share)
            self.burn_in = state.iteration + 1 + self.options["burn_in"]
            return self._advance(state, posterior, 1, change)
        nll = posterior.nll
        for d in range(len(state.parameters.values)):
            parts = balance(state) if d > 0 else parts
            nll = self._multiply(state, nll, d, parts.growth()[d], parts.determined[d])
        return self._advance(state, posterior, 1, change)

    def _multiply(self, state, nll, d, growth, share):
        """Increase values of factor d, by leaps if nll allows that; return what it is then."""
        least = np.sqrt(1.0 + growth)
        # Where all else stays, tiny variances would have to grow by growth / share.
        leaps = LEAP * growth / np.maximum(share, np.finfo(float).tiny)
        leaps = np.where(growth > self.least_growth, np.maximum(leaps, least), least)
        start = list(state.parameters.values)
        for factors in (leaps, least):
            values = list(start)
            values[d] = values[d] * factors
            state.set_values(values)
            if not state.resolves(state.parameters):
                state.set_values(start)
                reached = nll
                continue
            reached = state.posterior().nll
            if reached <= nll:
                break
        return reached

    def _prune(self, state, posterior):
        """Prune, only where the evidence is known, and return the posterior of what remains."""
        options = self.options
        pruned = state.prune(
            options["prune_tol"], options["prune_floor"], options["prune_guard"], posterior.nll
        )
        if not pruned:
            return posterior
        if self.squarem is not None:
            self.squarem.restart()
        return state.expect()

    def settle(self, state):
        """Return the posterior, and 1 if a step had raised nll and was undone, or else 0."""
        posterior = state.expect()
        if self.safe is not None:
            (fallback, bound), self.safe = self.safe, None
            if not posterior.nll <= bound + ROUNDING * abs(bound):
                self.squarem.reject()
                state.parameters = fallback
                return state.expect(), 1
            self.squarem.accept()
        if self.svd_start is not None:
            (moments, noise, start, bound), self.svd_start = self.svd_start, None
            if not posterior.nll <= bound + ROUNDING * abs(bound):
                values = alternate_once(moments, state.variances(start))
                values = raise_floor(normalise(values), moments)
                state.parameters = Hyperparameters(values, noise)
                self.svd_trials -= 1
                if self.svd_trials == 0:
                    self.m_step = "am"
                return state.expect(), 1
        return posterior, 0

    def _maximise(self, state, moments):
        options = self.options
        values = state.parameters.values
        if state.couplings is not None:
            return alternate_to_tolerance(
                moments,
                values,
                couplings=state.couplings,
                heuristic=options["coupling_step"] == "nnls",
                tol=max(options["inner_tol"], COUPLED_TOL),
                max_sweeps=min(options["inner_max_iter"], COUPLED_SWEEPS),
            )
        if self.m_step == "svd":
            return split_by_svd(moments)
        if self.m_step == "ksbl" or len(values) == 1:
            return raise_floor(normalise(alternate_once(moments, values)), moments)
        inner = {"tol": options["inner_tol"]}
        if options["inner_solver"] == "sweep":
            return alternate_to_tolerance(
                moments, values, max_sweeps=options["inner_max_iter"], **inner
            )
        return minimise_over_factors(moments, values, max_iter=options["inner_max_iter"], **inner)

    def _extrapolate(self, state, start, image, nll):
        point = self.squarem.push(_logarithms(start), _logarithms(image))
        if point is None:
            return
        ends = np.cumsum([len(value) for value in image.values])
        *logs, noise = np.split(point, ends)
        scale = sum(float(log.max()) for log in logs)
        if max(scale, float(noise[0])) > LARGEST_LOGARITHM:
            self.squarem.reject()
            return
        values = [np.exp(np.clip(log - log.max(), -200, 0)) for log in logs]
        values[-1] *= math.exp(scale)
        values = raise_floor(normalise(values, state.structure), state.Y)
        noise = math.exp(float(noise[0])) if self.noise_rule.floor is not None else image.noise
        noise = max(noise, self.noise_rule.floor or 0.0)
        point = Hyperparameters(values, noise)
        if not state.resolves(point):
            self.squarem.reject()
            return
        self.safe = image, nll
        state.parameters = point

    def _nll(self, state, posterior):
        return posterior.nll + 2 * state.n_rows * state.scales.log_target


def _logarithms(parameters):
    tiny = np.finfo(float).tiny
    values = [np.log(np.maximum(value, tiny)) for value in parameters.values]
    return np.concatenate([*values, [math.log(parameters.noise)]])
