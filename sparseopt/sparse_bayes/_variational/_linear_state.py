"""A variational fit of a linear model, how far it is from a fixed point, and fits that compete."""

import numpy as np

from sparseopt._core import Progress, array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import squared_sum
from sparseopt.sparse_bayes._variational._state import FIRST_ITERATIONS, VariationalState


class LinearState(VariationalState):
    """A fit of a linear model, changed in place by :meth:`step`.

    Parameters
    ----------
    problem : Problem
        The data, centred and scaled; iterates and bounds are in the units of the user.
    design, support, settings, start
        As for :class:`VariationalState`.
    """

    def __init__(self, problem, design, support, settings, start):
        super().__init__(design, support, settings, start)
        self._problem = problem
        self._offset = 2 * design.half * design.n_observations * float(np.log(problem.unit))
        self.residuals: dict[str, float] = {}

    @property
    def x(self):
        """Coefficients (n_features, n_targets) in the units of the data."""
        mean = to_numpy(self.mean).T
        return self._problem.coefficients(mean[self._problem.features])

    def elbo(self):
        """Return the evidence lower bound of the data in their own units."""
        return super().elbo() - self._offset

    def step(self, _=None):
        """Update everything once, and measure how far from a fixed point that was."""
        proba, precision, rho = self.proba, self.noise.mean, self.rho
        progress = super().step()
        before = precision * self.design.diagonal + rho
        after = self.noise.mean * self.design.diagonal + self.rho
        self.residuals = {
            "equation": self._equation_residual(),
            "mean": self.change,
            "variance": float(np.max(np.abs(np.log(after / before)))),
            "probability": float(np.max(np.abs(self.proba - proba))),
            "noise": abs(float(np.log(self.noise.mean / precision))),
        }
        return Progress(progress.objective, self.certificate())

    def certificate(self):
        """Return the largest residual of the fixed point, once they mean something."""
        if self.iteration <= FIRST_ITERATIONS or not self.residuals:
            return np.inf
        return max(self.residuals.values())

    def _equation_residual(self):
        """Return ``||b - W mean|| / ||b||`` with the precisions of this iteration."""
        xp = array_namespace(self.mean)
        right = self.noise.mean * self.design.correlation
        rho = xp.asarray(self.rho, dtype=self.mean.dtype, device=self.mean.device)
        left = self.noise.mean * self.design.apply_gram(self.mean) + rho * self.mean
        size = squared_sum(right) ** 0.5
        return squared_sum(right - left) ** 0.5 / size if size > 0 else 0.0


class Race:
    """Fits of one model that compete: after some iterations only the best one goes on.

    Parameters
    ----------
    states : list of LinearState
        Fits from different starts.
    n_iterations : int
        Number of iterations after which all but one are given up.
    tol : float
        Certificate at which a fit is left as it is.
    """

    def __init__(self, states, n_iterations, tol):
        self.states, self._n_iterations, self._tol = states, n_iterations, tol
        self.count = 0
        self._progress = [Progress(np.inf, np.inf)] * len(states)

    @property
    def leader(self):
        """The fit with the highest bound."""
        return self.states[self._first()]

    @property
    def x(self):
        """Coefficients of the leader."""
        return self.leader.x

    @property
    def progress(self):
        """Progress of the leader."""
        return self._progress[self._first()]

    def _first(self):
        return min(range(len(self.states)), key=lambda i: self._progress[i].objective)

    def step(self, _=None):
        """Do one iteration of each; the race is not over before all fits have converged."""
        self.count += 1
        for number, state in enumerate(self.states):
            if self._progress[number].certificate > self._tol:
                self._progress[number] = state.step()
        if self.count == self._n_iterations:
            self.states, self._progress = [self.leader], [self.progress]
        slowest = max(progress.certificate for progress in self._progress)
        return Progress(self.progress.objective, slowest)
