"""The one Python-level loop: counting, timing, history, callbacks, stopping, warning.

An algorithm supplies a mutable ``state`` with an attribute ``x`` and a function
``step(state)`` that improves it and returns a :class:`Progress`. Everything that is
not the algorithm happens in :func:`iterate`, so that a solver's file holds the paper's
lines and nothing else.
"""

import enum
import inspect
import math
import time
import warnings
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

HISTORY_FIELDS = ("iteration", "time", "objective", "certificate")


class Status(enum.IntEnum):
    """Why an iteration ended; the values of ``OptimizeResult.status``."""

    CONVERGED = 0
    ITERATION_LIMIT = 1
    STOPPED_BY_CALLBACK = 2
    STALLED = 3
    NON_FINITE = 4


class Progress(NamedTuple):
    """What one step reports.

    ``certificate`` is the optimality measure that is compared with ``tol``;
    ``stalled`` says that no further step can improve the state in this precision, and
    ``iterations`` how many iterations of the algorithm the step ran.
    """

    objective: float
    certificate: float
    stalled: bool = False
    iterations: int = 1


def iterate(
    step,
    state,
    *,
    max_iter,
    tol,
    method,
    initial=None,
    callback=None,
    certificate_name="duality gap",
    advice="Increase max_iter, or tol if this accuracy suffices.",
    descends=False,
    warn=True,
):
    """Run ``step`` until its certificate is at most ``tol``.

    Parameters
    ----------
    step : callable
        ``step(state) -> Progress``; changes ``state`` in place.
    state : object
        Any object whose attribute ``x`` is the current iterate.
    max_iter : int
        Largest number of iterations; a step may run several.
    tol : float
        The run has converged once ``certificate <= tol``.
    method : str
        Name of the algorithm, for messages.
    initial : Progress, optional
        Progress of the initial state; a state that is already optimal takes no step.
    callback : callable, optional
        Called after each step as SciPy's optimizers do: ``callback(x)``, or
        ``callback(intermediate_result=...)`` if its parameter has that name, with an
        ``OptimizeResult`` holding ``x``, ``fun``, ``nit`` and ``certificate``. Raising
        ``StopIteration`` ends the run with the best iterate.
    certificate_name : str, default="duality gap"
        How messages call the certificate.
    advice : str
        What a user can change when the tolerance is not reached.
    descends : bool, default=False
        Whether the objective never grows: then the last iterate is the best one, whatever
        its certificate.
    warn : bool, default=True
        Whether to emit the ``ConvergenceWarning``; the message is returned anyway.

    Returns
    -------
    result : OptimizeResult
        ``x`` (the iterate with the smallest certificate, or the last one), ``fun``,
        ``certificate``, ``nit``, ``success``, ``status`` (a :class:`Status`), ``message``,
        ``history`` (a dict of 1-D arrays, one entry a step, and one for ``initial`` if given).

    Raises
    ------
    FloatingPointError
        If the objective is not finite before any finite iterate was seen.
    """
    notify = scipy_callback(callback)
    history: list[tuple] = []
    start = time.perf_counter()
    best_x, best = None, Progress(math.inf, math.inf)
    status, nit = Status.ITERATION_LIMIT, 0
    progress = initial
    while True:
        if progress is not None:
            if not _is_finite(progress):
                status = Status.NON_FINITE
                break
            history.append((nit, time.perf_counter() - start, *progress[:2]))
            if best_x is None or descends or progress.certificate <= best.certificate:
                best_x, best = state.x.copy(), progress
            stop = nit > 0 and notify is not None and notify(state.x, progress, nit)
            if progress.certificate <= tol:
                status = Status.CONVERGED
                break
            if stop:
                status = Status.STOPPED_BY_CALLBACK
                break
            if progress.stalled:
                status = Status.STALLED
                break
        if nit >= max_iter:
            break
        progress = step(state)
        nit += progress.iterations

    if best_x is None:
        if status == Status.NON_FINITE:
            raise FloatingPointError(
                f"{method} met a non-finite objective at the first iterate: check the "
                "data for overflow, or rescale it."
            )
        best_x = state.x.copy()
    message = describe_end(status, method, certificate_name, best.certificate, tol, nit, advice)
    if warn and status not in (Status.CONVERGED, Status.STOPPED_BY_CALLBACK):
        warnings.warn(message, ConvergenceWarning, stacklevel=3)
    return OptimizeResult(
        x=best_x,
        fun=best.objective,
        certificate=best.certificate,
        nit=nit,
        success=status == Status.CONVERGED,
        status=status,
        message=message,
        history=_as_columns(history),
    )


def _is_finite(progress):
    return math.isfinite(progress.objective) and not math.isnan(progress.certificate)


def _as_columns(rows):
    columns = np.array(rows, dtype=float).reshape(len(rows), len(HISTORY_FIELDS)).T
    history = dict(zip(HISTORY_FIELDS, columns, strict=True))
    history["iteration"] = history["iteration"].astype(int)
    return history


def scipy_callback(callback):
    """Adapt a SciPy-style callback to ``notify(x, progress, nit) -> stop``."""
    if callback is None:
        return None
    by_name = list(inspect.signature(callback).parameters) == ["intermediate_result"]

    def notify(x, progress, nit):
        try:
            if by_name:
                callback(
                    intermediate_result=OptimizeResult(
                        x=x.copy(),
                        fun=progress.objective,
                        certificate=progress.certificate,
                        nit=nit,
                    )
                )
            else:
                callback(x.copy())
        except StopIteration:
            return True
        return False

    return notify


def describe_end(status, method, certificate_name, certificate, tol, nit, advice):
    """Return the message that tells why a run ended, and how near the solution it is."""
    reached = f"{certificate_name} {certificate:.3g} (tolerance {tol:.3g}) after {nit} iterations"
    if status == Status.CONVERGED:
        return f"{method} converged: {reached}."
    if status == Status.STOPPED_BY_CALLBACK:
        return f"{method} was stopped by its callback: {reached}."
    if status == Status.STALLED:
        return (
            f"{method} did not converge: it reached {reached}, and no step improves on "
            f"that in this floating-point precision. {advice}"
        )
    if status == Status.NON_FINITE:
        return (
            f"{method} did not converge: a non-finite value appeared; the best finite "
            f"iterate is returned, with {reached}. Rescale the data."
        )
    return f"{method} did not converge: {reached}. {advice}"
