"""The path that both solvers follow: mu decreases, each stage starts where the last ended.

As mu falls, the score weighs less against the acyclicity, and W is driven to a DAG. s shrinks
the domain of the log-determinant at the same time. A stage that finds itself outside of it
starts again with a larger s, as in the published code.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sparseopt._core import Progress, Status, scipy_callback

DEFAULT_MU = (1.0, 0.1, 0.01, 0.001)
DEFAULT_S = (1.0, 0.9, 0.8, 0.7)
WIDER = 0.1  # added to s when a stage leaves the domain


class LeftDomain(Exception):
    """A stage cannot go on inside the domain of its log-determinant."""


class Stage(NamedTuple):
    """One point of the path, and the effort that it deserves."""

    mu: float
    s: float
    max_iter: int
    attempts: int  # how often it has left the domain so far
    last: bool


def as_floats(values, name):
    """Return a sequence of numbers as a tuple."""
    try:
        return tuple(np.asarray(values, dtype=float).ravel().tolist())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a sequence of numbers, got {values!r}.") from error


def check_path(mu, s):
    """Return the path as two tuples of floats."""
    steps, domains = as_floats(mu, "mu"), as_floats(s, "s")
    falls = all(a > b for a, b in zip(steps, (*steps[1:], 0.0), strict=True))
    if not steps or not falls or not np.isfinite(steps[0]):
        raise ValueError(f"mu must be decreasing and > 0, got {mu!r}.")
    if len(domains) != len(steps) or not all(0 < value < np.inf for value in domains):
        raise ValueError(f"s must hold {len(steps)} numbers > 0, one for each of mu, got {s!r}.")
    return steps, domains


def follow_path(
    problem, W, run_stage, *, mu=DEFAULT_MU, s=DEFAULT_S, warm_iter, max_iter, callback=None
):
    """Run all stages, and describe the run as a whole.

    Parameters
    ----------
    problem : CoLiDEProblem
        What is solved.
    W : ndarray of shape (d, d)
        Start; not changed.
    run_stage : callable
        ``run_stage(W, stage, callback) -> OptimizeResult`` from
        :func:`sparseopt._core.iterate`; raises :class:`LeftDomain`.
    mu, s : sequence of float
        The path.
    warm_iter, max_iter : int
        Largest number of iterations of the early stages, and of the last.
    callback : callable, optional
        As SciPy's optimizers call it, with ``nit`` counted over all stages; ``StopIteration``
        ends the whole run.

    Returns
    -------
    result : OptimizeResult
        Of the last stage, with ``nit`` over all stages, ``nit_per_stage``, ``n_retries``,
        ``s`` (of the last stage), ``scales`` (d,), ``h``, ``score`` (penalised, at mu = 1),
        and a ``history`` of all stages with the array ``stage``, whose ``time`` includes
        attempts that left the domain. After an early stop ``fun`` is still that of the last mu.
    """
    histories: list[dict] = []
    iterations: list[int] = []
    n_retries = 0
    start = time.perf_counter()
    callback = None if callback is None else _CallbackOfStages(callback)
    for number, (stage_mu, stage_s) in enumerate(zip(mu, s, strict=True)):
        last = number == len(mu) - 1
        stage = Stage(stage_mu, stage_s, max_iter if last else warm_iter, 0, last)
        while True:
            seconds = time.perf_counter() - start
            try:
                result = run_stage(W, stage, callback)
                break
            except LeftDomain:
                n_retries += 1
                stage = stage._replace(s=stage.s + WIDER, attempts=stage.attempts + 1)
        W = result.x
        history = result.history
        history["time"] = history["time"] + seconds
        history["iteration"] = history["iteration"] + sum(iterations)
        history["stage"] = np.full(history["time"].size, number)
        histories.append(history)
        iterations.append(result.nit)
        if callback is not None:
            callback.before = sum(iterations)
            if callback.stopped:
                break
    point = problem.point(W, stage.s)
    if not last:
        result.update(
            fun=problem.objective(point, mu[-1]),
            success=False,
            status=Status.STOPPED_BY_CALLBACK,
            message=f"CoLiDE was stopped by its callback in stage {number + 1} of {len(mu)}.",
        )
    result.history = _join(histories)
    result.nit = sum(iterations)
    result.nit_per_stage = np.array(iterations)
    result.n_retries = n_retries
    result.s = stage.s
    result.scales = point.scales
    result.h = max(point.acyclicity, 0.0)
    result.score = problem.penalised_score(point)
    return result


class _CallbackOfStages:
    """A callback that counts iterations over all stages, and knows that it asked to stop.

    A stage that converges in the iteration that is stopped ends as converged.
    """

    def __init__(self, callback):
        self._notify = scipy_callback(callback)
        self.before, self.stopped = 0, False

    def __call__(self, intermediate_result):
        result = intermediate_result
        progress = Progress(result.fun, result.certificate)
        if self._notify(result.x, progress, self.before + result.nit):
            self.stopped = True
            raise StopIteration


def _join(histories: Sequence[dict]):
    return {name: np.concatenate([history[name] for history in histories]) for name in histories[0]}
