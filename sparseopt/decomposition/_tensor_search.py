"""One search for the leading rank-one part of a tensor: starts, ways uphill, and the best end."""

import functools
import math
import warnings
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch

from sparseopt._core import run_parallel
from sparseopt.decomposition._tensor_solvers import (
    LARGEST_UNFOLDING,
    langevin_start,
    leading_matrix_direction,
    partial_trace_start,
    power_iteration,
    random_points,
    smoothed_start,
    tolerance_of,
    unfolding_size,
    unfolding_start,
)

ENOUGH_AGREEMENT = 0.9  # of the averages of two halves of the chains
TEMPERATURE_POINTS = 32


class Settings(NamedTuple):
    """How to search: parameters of the estimator."""

    solver: str
    average: str
    n_chains: int
    max_iter: int
    burn_in: int
    temperature: str | float
    kappa: float
    step_size: float
    refine: bool
    n_init: int
    tol: float
    n_jobs: int | None


def find_rank_one(tensor, settings, seed, scale=1.0, callback=None, warn=True):
    """Return the leading rank-one part of a tensor, and how it was found.

    Parameters
    ----------
    tensor : SymmetricTensor
        The tensor.
    settings : Settings
        How to search.
    seed : numpy.random.SeedSequence
        Of all random numbers.
    scale : float
        Standard deviation of the noise, the unit of a given temperature.
    callback : callable, optional
        For ``langevin_average``.
    warn : bool, default=True
        Whether to warn of averages or ascents that did not converge.

    Returns
    -------
    Bunch
        ``theta`` (d,), ``value``, ``run`` of the chains or None, ``nit``, and ``ends``, a dict of
        ``(theta, f)`` by the names of the starts.

    Raises
    ------
    ValueError
        If values of f are not finite.
    """
    starts, runs = _starts(tensor, settings, seed, scale, callback)
    xp, names = tensor.xp, [name for name, rows in starts.items() for _ in range(rows.shape[0])]
    theta, nit, change = xp.concat(list(starts.values())), 0, None
    if settings.refine and tensor.order == 2 and names[0] != "eigenvector":
        theta, names = leading_matrix_direction(tensor)[None, :], ["eigenvector"]
    elif settings.refine and tensor.order > 2:
        ascent = power_iteration(tensor, theta, tol=settings.tol)
        theta, nit, change = ascent.x, ascent.nit, ascent.change
    value = tensor.value(theta)
    if not bool(xp.all(xp.isfinite(value))):
        raise ValueError("Y gives values that are not finite: check it for NaN, or rescale it.")
    if tensor.order % 2:
        theta = xp.where((value < 0)[:, None], -theta, theta)
        value = xp.abs(value)
    best = int(xp.argmax(xp.abs(value) if tensor.order == 2 else value))
    run = _best_run(runs, names, value)
    if warn:
        used = run if names[best] == "langevin" else None
        _warn(tensor, settings, used, change, best)
    ends: dict = {}
    for row, name in enumerate(names):
        if name not in ends or float(value[row]) > ends[name][1]:
            ends[name] = (theta[row, :], float(value[row]))
    nit += 0 if run is None else run.nit
    return Bunch(theta=theta[best, :], value=value[best], run=run, nit=nit, ends=ends)


def _starts(tensor, settings, seed, scale, callback):
    """Return points to go uphill from, by solver, and the runs of chains."""
    solver, starts, runs = settings.solver, {}, []
    if solver == "auto" and tensor.order == 2:
        return {"eigenvector": leading_matrix_direction(tensor)[None, :]}, runs
    chosen, *seeds = seed.spawn(1 + settings.n_init)
    rng = np.random.default_rng(chosen)
    unfolds = tensor.can_unfold and unfolding_size(tensor) <= LARGEST_UNFOLDING
    if solver == "partial_trace" or (solver == "auto" and tensor.has_partial_trace()):
        starts["partial_trace"] = partial_trace_start(tensor)[None, :]
    if solver == "unfolding" or (solver == "auto" and unfolds):
        starts["unfolding"] = unfolding_start(tensor)[None, :]
    if solver == "power":
        starts["power"] = random_points(tensor, settings.n_chains, rng)
    if solver == "smoothed":
        first = random_points(tensor, settings.n_init, rng)
        starts["smoothed"] = smoothed_start(tensor, first, rng)
    if solver in ("auto", "langevin"):
        runs = _run_chains(tensor, settings, seeds, scale, callback)
        starts["langevin"] = tensor.xp.stack([run.x for run in runs])
    return starts, runs


def _run_chains(tensor, settings, seeds, scale, callback):
    automatic = settings.temperature == "auto"
    run = functools.partial(
        langevin_start,
        tensor,
        average=settings.average,
        eps=("auto", settings.kappa) if automatic else settings.temperature / scale,
        callback=callback,
        n_chains=settings.n_chains,
        max_iter=settings.max_iter,
        burn_in=settings.burn_in,
        step_size=settings.step_size,
    )
    generators = [np.random.default_rng(seed) for seed in seeds]
    # A callback belongs to this process.
    n_jobs = settings.n_jobs if callback is None else None
    runs = run_parallel(_call_with_seed, [(run, rng) for rng in generators], n_jobs=n_jobs)
    for done, seed in zip(runs, seeds, strict=True):
        done.temperature = done.eps * scale
        done.kappa = settings.kappa * 0.5**done.n_eps_halvings
        if not automatic:
            done.kappa = measure_kappa(tensor, done.eps, np.random.default_rng(seed))
    return runs


def _best_run(runs, names, value):
    if not runs:
        return None
    rows = [row for row, name in enumerate(names) if name == "langevin"]
    if len(rows) < len(runs):  # all replaced by an eigenvector
        return runs[0]
    values = [float(value[row]) for row in rows]
    return runs[int(np.argmax(values))]


def _warn(tensor, settings, run, change, best):
    """Warn if the result is not what more iterations would give."""
    if run is not None and run.agreement < ENOUGH_AGREEMENT and tensor.order > 2:
        warnings.warn(
            f"The averages of two halves of the chains agree to {run.agreement:.3f} only "
            f"(below {ENOUGH_AGREEMENT}): increase max_iter or n_chains.",
            ConvergenceWarning,
            stacklevel=6,
        )
    if change is not None and float(change[best]) > max(settings.tol, tolerance_of(tensor)):
        warnings.warn(
            f"Power iteration did not converge: its last step was {float(change[best]):.3g} "
            f"long (tolerance {settings.tol:.3g}). Increase tol if this suffices; a small gap is "
            "common where there is no signal.",
            ConvergenceWarning,
            stacklevel=6,
        )


def measure_kappa(tensor, eps, rng):
    """Return the pull of the drift beside that of the noise at an inverse temperature."""
    theta, xp = random_points(tensor, TEMPERATURE_POINTS, rng), tensor.xp
    gradient = tensor.gradient(theta)
    drift = gradient - theta * xp.vecdot(theta, gradient, axis=-1)[:, None]
    rms = math.sqrt(float(xp.mean(xp.vecdot(drift, drift, axis=-1))))
    return 2 * eps * rms / (tensor.n_features - 1)


def _call_with_seed(run, rng):
    return run(random_state=rng)
