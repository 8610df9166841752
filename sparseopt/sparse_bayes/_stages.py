"""The two kinds of iteration: all variances at once by a rule, or one at a time; and the noise."""

import numpy as np

from sparseopt._core import Progress
from sparseopt.sparse_bayes._fast_marginal_likelihood import FastModel
from sparseopt.sparse_bayes._posterior import dense_posterior, evidence_terms, squared_norms
from sparseopt.sparse_bayes._problem import SMALLEST_NOISE
from sparseopt.sparse_bayes._rounding import rounding_of, violations
from sparseopt.sparse_bayes._update_rules import UPDATES

START_NOISE = 0.1  # of the variance of Y
NOTHING = 1e-12  # of the power of Y: a variance below explains nothing
FAR = 100.0  # relative distances of variances from their best values, over tol


class NoiseVariance:
    """The noise variance: given, or learnt after some iterations and kept above a floor."""

    def __init__(self, problem, given, floor, delay):
        self.learns = given is None
        self.n, self.delay = problem.n, delay
        self.guarded = len(problem.features) >= problem.n_distinct  # no residual need be left
        floor = max(floor * problem.variance if self.guarded else 0.0, SMALLEST_NOISE)
        self.floor = floor
        if given is None:
            self.value = max(START_NOISE * problem.variance, floor)
        else:
            self.value = given / problem.unit**2

    def update(self, value):
        """Move to ``value``, but not below the floor."""
        self.value = max(float(value), self.floor)

    @property
    def is_floored(self):
        return self.learns and self.value <= self.floor

    def slope(self, squares, free):
        """Return the derivative of nll by log s2, relative to what balances it."""
        if not self.learns:
            return 0.0
        slope = (free - squares / self.value) / max(free, 1e-12)
        return max(0.0, -slope) if self.is_floored else abs(slope)


class RuleState:
    """Variances of the features that are left, updated all at once."""

    def __init__(self, problem, noise, rule, g, prune_tol, *, last):
        self._problem, self._noise, self._prune_tol = problem, noise, prune_tol
        self._last = last  # whether the noise has to be learnt here
        self._update, self._update_noise = UPDATES[rule]
        self.active = np.flatnonzero(g)
        self.g, self._X, self._gram = g[self.active], problem.X[:, self.active], None
        self.whole_gram = None  # of all features, which another stage may use
        self.count = 0
        self.noise_variances = []
        self._evaluate()

    @property
    def x(self):
        return self._problem.coefficients(self.posterior.mean, self.active)

    def progress(self, change):
        self.noise_variances.append(self._noise.value * self._problem.unit**2)
        nll = self._problem.objective(self.posterior.nll, self._noise.value)
        return Progress(nll, change if len(self.active) else 0.0)

    def step(self, state):
        new = self._update(self.posterior, self.g)
        noise, waits = self._noise, self._noise.learns and self.count < self._noise.delay
        if noise.learns and not waits:
            noise.update(self._update_noise(self.posterior, noise.value, noise.n))
        change = float(np.linalg.norm(new - self.g) / np.linalg.norm(self.g))
        self.count += 1
        self.g = new
        self._prune()
        self._evaluate()
        return self.progress(np.inf if waits and self._last else change)

    def _prune(self):
        # Where no feature explains anything, all variances fall to zero, and never get there.
        least = max(self._prune_tol * self.g.max(initial=0.0), NOTHING * self._noise.n)
        keep = self.g > (least if self._prune_tol > 0 else 0)
        if keep.all():
            return
        if not keep.any() and self._noise.learns:
            self._noise.update(
                float(squared_norms(self._problem.Y, None))
                / (self._problem.Y.shape[1] * self._noise.n)
            )
        self.active, self.g, self._X = self.active[keep], self.g[keep], self._X[:, keep]
        if self._gram is not None:
            self._gram = self._gram[np.ix_(keep, keep)]

    def _evaluate(self):
        if self._gram is None and len(self.active) < len(self._X):
            self._gram = self._X.conj().T @ self._X
            if len(self.active) == self._problem.X.shape[1]:
                self.whole_gram = self._gram
        self.posterior = dense_posterior(
            self._X, self._problem.Y, self.g, self._noise.value, gram=self._gram
        )

    def certificate(self):
        return stationarity(self._problem, self.variances(), self.posterior, self._noise.value)

    def variances(self):
        g = np.zeros(self._problem.X.shape[1])
        g[self.active] = self.g
        return g


class FastState:
    """Variances changed one at a time."""

    def __init__(self, problem, noise, g, tol, learn_noise, gram=None):
        self._problem, self._noise, self._tol = problem, noise, tol
        self.model = FastModel(problem.X, problem.Y, g, noise.value, gram)
        self._learn = self._update_noise if learn_noise else None
        self.noise_variances = []

    @property
    def x(self):
        active = self.model.active[: self.model.size]
        return self._problem.coefficients(self.model.mean[: self.model.size], active)

    def _update_noise(self, squares, free):
        free += self._noise.n - len(self._problem.X)
        self.noise_slope = self._noise.slope(squares, free)
        self._noise.update(squares / max(free, 1e-12))
        return self._noise.value

    def progress(self, certificate, stalled=False):
        self.noise_variances.append(self._noise.value * self._problem.unit**2)
        nll = self._problem.objective(self.model.nll, self._noise.value)
        return Progress(nll, certificate, stalled=stalled)

    def step(self, state):
        self.noise_slope = 0.0
        far = FAR * self._tol
        self.model.update((self._tol, far), jointly=True, learn_noise=self._learn)
        slope, distance = self.model.stationarity()
        certificate = max(slope, self.noise_slope)
        if distance > far:
            certificate = max(certificate, 2 * self._tol)
        stalled = not self.model.moved and self.noise_slope <= self._tol
        return self.progress(certificate, stalled)

    @property
    def rounding(self):
        return self.model.rounding

    def certificate(self):
        return self.model.stationarity()[0]

    def variances(self):
        return self.model.g


def stationarity(problem, g, posterior, s2):
    """Return the largest violation of stationarity in the variances of the weights.

    What rounding errors may hide is added.

    Parameters
    ----------
    problem : Problem
        The data.
    g : ndarray of shape (p,)
        Prior variances.
    posterior : DensePosterior
        That of the active features.
    s2 : float
        Noise variance.
    """
    X, Y = problem.X, problem.Y
    if X.shape[1] == 0:
        return 0.0
    terms = evidence_terms(X, Y, g, s2)
    shares = posterior.variance / g[g > 0]
    length = np.sqrt(float(squared_norms(posterior.residual, None)) / (Y.shape[1] * s2))
    largest = float(violations(g, *terms).max())
    parts = {"norms": squared_norms(X, 0), "terms": terms, "shares": shares, "length": length}
    return max(largest, 0.0) + rounding_of(X, Y, g, s2, **parts)
