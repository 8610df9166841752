"""The run of a block coordinate descent: select, move, measure, stop."""

import numpy as np

from sparseopt._core import Progress, Status, iterate, short_products
from sparseopt.optimize._separability import warn_if_separable

METHOD = "Block coordinate descent"
REFRESH_EVERY = 1000  # steps after which the predictions are computed anew
PATIENCE = 50  # passes without any progress that count as a stall


class BlockDescent:
    """State of a run.

    Parameters
    ----------
    problem : BlockProblem
        The problem, at the starting point.
    rule : VariableBlocks or FixedBlocks
        Selects the blocks.
    update : callable
        Proposes a step for a block.
    check_every : int
        Steps between two computations of the certificate.
    tol : float
        Where the run ends; the certificate is computed from scratch there.
    measure : callable, optional
        Returns the certificate at the current point; the distance from stationarity,
        relative to the largest slope at the start of all, by default.

    Attributes
    ----------
    blocks : list of ndarray
        The block of each step.
    frozen_at : int
        The last step that changed the set of nonzero variables, or of those strictly
        between bounds.
    """

    def __init__(self, problem, rule, update, check_every, tol, measure=None):
        self.problem, self.rule, self.update = problem, rule, update
        self.check_every, self.tol, self.measure = check_every, tol, measure
        self.blocks: list[np.ndarray] = []
        self.frozen_at = 0
        self.certificate = self._best_certificate = self.certify()
        self._idle_steps = 0

    @property
    def x(self):
        """The current point."""
        return self.problem.x

    def certify(self):
        """Return the optimality measure at the current point."""
        if self.measure is not None:
            return self.measure()
        problem = self.problem
        residual = float(np.max(problem.subdifferential_distance(), initial=0.0))
        return max(residual, problem.intercept_slope) / problem.gradient_scale

    def step(self):
        """Select a block, move it, and report."""
        problem = self.problem
        before = problem.objective
        step = self.update(self.rule.select())
        indices = step.block.indices
        problem.apply(step)
        self.blocks.append(indices)
        count = len(self.blocks)
        was_free = problem.is_free(step.block.x, indices)
        if np.any(was_free != problem.is_free(problem.x[indices], indices)):
            self.frozen_at = count
        if count % REFRESH_EVERY == 0:
            problem.refresh()
        if count % self.check_every == 0:
            self.certificate = self.certify()
            if self.certificate <= self.tol and not problem.gradient_is_exact:
                problem.refresh()
                self.certificate = self.certify()
        return Progress(problem.objective, self.certificate, self._has_stalled(before))

    def _has_stalled(self, before):
        rounding = 10 * np.finfo(float).eps * abs(before)
        improved = self.certificate < 0.999 * self._best_certificate
        self._best_certificate = min(self._best_certificate, self.certificate)
        moved = improved or self.problem.objective < before - rounding
        self._idle_steps = 0 if moved else self._idle_steps + 1
        return self._idle_steps >= PATIENCE * self.check_every


def run(state, max_iter, tol, callback, certificate_name="relative distance from stationarity"):
    """Take steps until the certificate of ``state`` is at most ``tol``.

    The result has ``intercept``, ``active_set``, ``active_set_iteration`` and the blocks in
    its history, beside what :func:`iterate` returns.
    """
    problem = state.problem
    with short_products(problem.n_samples * problem.n_features):
        result = _iterate(state, max_iter, tol, callback, certificate_name)
    result.active_set = np.flatnonzero(problem.is_free(result.x))
    result.active_set_iteration = state.frozen_at
    result.history["blocks"] = state.blocks
    if problem.is_smooth:
        penalty = problem._penalty(slice(None), problem.x)
        warn_if_separable(problem.loss, problem.y, problem.predictions, problem.shares, penalty)
    return result


def _iterate(state, max_iter, tol, callback, certificate_name):
    problem = state.problem
    result = iterate(
        BlockDescent.step,
        state,
        initial=Progress(problem.objective, state.certificate),
        max_iter=max_iter,
        tol=tol,
        callback=callback,
        method=METHOD,
        certificate_name=certificate_name,
    )
    if result.status == Status.NON_FINITE:
        problem.move_to(result.x)
    elif not problem.gradient_is_exact:  # the last point has the smallest objective
        problem.refresh()
    result.x, result.fun, result.intercept = problem.x.copy(), problem.objective, problem.intercept
    if problem.multinomial:  # the loss ignores a constant that all classes share
        result.intercept = result.intercept - np.mean(result.intercept)
    result.certificate = state.certify()
    return result
