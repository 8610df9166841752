"""The search for a single-index model: starts, each refined, compared on held-out samples."""

from typing import Any, NamedTuple

import numpy as np

from sparseopt._core import run_parallel
from sparseopt.linear_model import _single_index_starts as starts
from sparseopt.linear_model._single_index_links import fit_link
from sparseopt.linear_model._single_index_refinement import PolynomialFit, refine_direction
from sparseopt.linear_model._single_index_rows import Rows, split_rows

SEARCH_STEPS = 10  # of the refinement of a candidate
FEWEST_SAMPLES = 20  # for which directions are searched
SAMPLES_PER_FEATURE = 2
SAMPLES_PER_DEGREE = 10
SIGNIFICANCE = 4.0  # standard errors of a Hermite coefficient that counts


class Problem(NamedTuple):
    """Standardised rows in the order of their target."""

    rows: Rows
    y: np.ndarray
    repeats: np.ndarray | None  # None if samples have weights of their own


class Settings(NamedTuple):
    """What the search is told."""

    names: tuple[str, ...]
    link: Any
    degree: int
    label_transform: Any
    chain_options: dict
    refine: bool
    validation_fraction: float


class Candidate(NamedTuple):
    """A direction, the R2 of its model on held-out samples, and the start that led to it."""

    name: str
    theta: np.ndarray
    score: float


def candidate_names(solver, exponent, n_samples, n_features):
    """Return the names of the starts to try, the simplest first."""
    if n_features == 1:
        return ("ols",)
    degrees = range(1, starts.LARGEST_DEGREE + 1) if exponent == "auto" else (exponent,)
    if solver == "auto":
        if is_small(n_samples, n_features):
            return ("ols",)
        if exponent == "auto":
            return ("ols", "phd", "sir", "save", "langevin_3", "langevin_4")
        closed_form = {1: "ols", 2: "phd"}.get(exponent, f"partial_trace_{exponent}")
        chains = (f"langevin_{exponent}",) if exponent > 2 else ()
        return (closed_form, "sir", "save", *chains)
    if solver in ("sir", "save"):
        return (solver,)
    return tuple(f"{solver}_{degree}" for degree in degrees)


def is_small(n_samples, n_features):
    """Tell whether the samples are too few to look for more than a linear trend."""
    return n_samples < max(FEWEST_SAMPLES, SAMPLES_PER_FEATURE * n_features)


def usable_degree(degree, n_samples, u):
    """Return the degree of the polynomial that the samples can determine."""
    n_unique = len(np.unique(np.round(u, 12)))
    return max(1, min(degree, n_unique - 1, n_samples // SAMPLES_PER_DEGREE))


def search(problem, settings, seed, *, n_jobs=None, report=None):
    """Return one :class:`Candidate` a start.

    Parameters
    ----------
    problem : Problem
        The samples.
    settings : Settings
        The starts, and how to judge them.
    seed : SeedSequence
        Of everything random.
    n_jobs : int, optional
        Number of starts computed at once.
    report : callable, optional
        ``report(number, name)`` gives a context manager in which a start is computed.
    """
    train, validation = split_rows(len(problem.y), settings.validation_fraction)
    if len(validation) == 0:
        validation = train
    tasks = [
        (problem, settings, name, seed, train, validation, None if report is None else report(i))
        for i, name in enumerate(settings.names)
    ]
    return run_parallel(_evaluate, tasks, n_jobs=n_jobs)


def _evaluate(problem, settings, name, seed, train, validation, report):
    """Return the candidate ``name``: its start, refined, and its score."""
    if report is None:
        return _evaluate_start(problem, settings, name, seed, train, validation)
    with report:
        return _evaluate_start(problem, settings, name, seed, train, validation)


def _evaluate_start(problem, settings, name, seed, train, validation):
    part = _subset(problem, train)
    theta = orient(part, start_direction(part, settings, name, seed))
    z = part.rows.index(theta)
    degree = usable_degree(settings.degree, len(part.y), z)
    link = fit_link(settings.link, z, part.y, part.rows.weight, part.repeats, degree)
    held = _subset(problem, validation)
    prediction = np.asarray(link.predict(held.rows.index(theta)[:, None])).ravel()
    return Candidate(name, theta, r2(held.y, prediction, held.rows.weight))


def start_direction(problem, settings, name, seed):
    """Return the direction that a start leads to, the best one if it offers several."""
    weight = problem.rows.weight
    labels = starts.transform_labels(problem.y, weight, settings.label_transform)
    directions = _directions(name, problem, labels, settings.chain_options, seed)
    finished = [_finish(problem, theta, settings) for theta in directions]
    return min(finished, key=lambda result: result[1])[0]


def _finish(problem, theta, settings):
    """Return ``(theta, loss)``, after some steps of refinement if they are wanted."""
    rows, y = problem.rows, problem.y
    degree = usable_degree(settings.degree, len(y), rows.index(theta))
    if not settings.refine:
        return theta, PolynomialFit(rows.index(theta), y, rows.weight, degree).loss
    result = refine_direction(rows, y, theta, degree=degree, max_iter=SEARCH_STEPS, warn=False)
    return result.x, result.fun


def _subset(problem, chosen):
    repeats = None if problem.repeats is None else problem.repeats[chosen]
    return Problem(problem.rows.take(chosen), problem.y[chosen], repeats)


def _directions(name, part, labels, chain_options, seed):
    """Return the directions (R, d) of a start; where it finds none, an arbitrary one."""
    rows = part.rows
    method, _, degree = name.rpartition("_")
    if name == "ols":
        found = starts.least_squares(rows, labels)
    elif name == "phd":
        found = starts.partial_trace_directions(rows, labels, 2)
    elif name == "sir":
        found = starts.sliced_inverse_regression(rows, labels)
    elif name == "save":
        found = starts.sliced_average_variance(rows, labels)
    elif method == "partial_trace":
        found = starts.partial_trace_directions(rows, labels, int(degree))
    else:
        # One seed a degree: a start does not depend on those tried beside it.
        own = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, int(degree)))
        run = starts.langevin_directions if method == "langevin" else starts.sgd_directions
        found = run(rows, labels, int(degree), chain_options, own)
    lengths = np.linalg.norm(found, axis=1)
    found[~(lengths > 0)] = 1.0
    return found / np.linalg.norm(found, axis=1)[:, None]


def orient(problem, theta):
    """Return theta or -theta, whichever correlates positively with the target."""
    weight = problem.rows.weight
    u = problem.rows.index(theta)
    centred = problem.y - weight @ problem.y
    covariance = weight @ (u * centred)
    size = np.sqrt((weight @ u**2) * (weight @ centred**2))
    if abs(covariance) <= 1e-12 * size:
        covariance = theta[np.argmax(np.abs(theta))]
    return theta if covariance >= 0 else -theta


def r2(y, prediction, weight):
    """Return the weighted coefficient of determination."""
    error = weight @ (y - prediction) ** 2
    spread = weight @ (y - weight @ y / weight.sum()) ** 2
    rounding = (1e-14 * np.max(np.abs(y))) ** 2 * weight.sum()
    if spread > rounding:
        return float(1 - error / spread)
    return float(error <= rounding)


def estimated_exponent(problem, theta, label_transform, degree):
    """Return the smallest degree whose Hermite coefficient is clearly not zero.

    If none is, the one that is most standard errors away from zero.
    """
    rows, weight = problem.rows, problem.rows.weight
    labels = starts.transform_labels(problem.y, weight, label_transform)
    fit = PolynomialFit(rows.index(theta), labels, weight, degree)
    terms = labels[:, None] * fit.basis[:, 1:]
    means = weight @ terms
    errors = np.sqrt(weight**2 @ (terms - means) ** 2)
    ratios = np.divide(np.abs(means), errors, out=np.zeros_like(means), where=errors > 0)
    clear = np.flatnonzero(ratios > SIGNIFICANCE)
    return int(clear[0] if len(clear) else np.argmax(ratios)) + 1


def permutation_p_value(problem, settings, score, n_permutations, seed, n_jobs):
    """Return the p-value of ``score`` under permutations of the target.

    The whole search is repeated on each permutation, so that its freedom of choice is paid for.
    """
    tasks = [(problem, settings, own) for own in seed.spawn(n_permutations)]
    scores = np.array(run_parallel(_permuted_score, tasks, n_jobs=n_jobs))
    return float((1 + np.sum(scores >= score)) / (1 + n_permutations))


def _permuted_score(problem, settings, seed):
    shuffled = np.random.default_rng(seed).permutation(problem.y)
    order = np.argsort(shuffled, kind="stable")
    repeats = None if problem.repeats is None else problem.repeats[order]
    permuted = Problem(problem.rows.take(order), shuffled[order], repeats)
    return max(candidate.score for candidate in search(permuted, settings, seed))
