"""The problems of the tables, their gradients, and what Langevin averages have found.

A direction estimate is judged by its overlap |cos| with the planted one; chance is about
0.8 / sqrt(d).
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparseopt.datasets import make_single_index, make_spiked_tensor
from sparseopt.decomposition._symmetric_tensor import DenseTensor
from sparseopt.optimize import langevin_average

STATISTICS = Path(__file__).parents[2] / "tests" / "data" / "langevin" / "statistics.json"
OWN_SEEDS = range(20)  # for comparisons with recorded means


def recorded_cases():
    """Return the cases of the reference data: tensors, and single-index models."""
    statistics = json.loads(STATISTICS.read_text())
    return statistics["tensor"], statistics["sim"]


def recorded(case, column):
    """Return the recorded mean of a column, and the least that agrees with it, to four digits."""
    values = np.array(case["per_seed"])[:, case["cols"].index(column)]
    mean = case["mean"][case["cols"].index(column)]
    return mean, mean - 3 * np.std(values, ddof=1) / math.sqrt(len(values)) - 5e-5


def overlap(estimate, direction):
    """Return |cos| of an estimate, or of each of its rows, with the planted direction."""
    return np.abs(estimate @ direction) / np.linalg.norm(estimate, axis=-1)


class Planted(NamedTuple):
    """A function on the sphere whose maximum was planted.

    ``gradient`` maps points (R, d) to gradients, ``degree`` is its parity, ``data`` the problem.
    """

    gradient: object
    n_features: int
    degree: int
    data: object


def tensor_problem(degree, n_features, snr, seed):
    """Return a spiked tensor as a :class:`Planted`."""
    data = make_spiked_tensor(n_features, order=degree, snr=snr, random_state=seed)
    return Planted(DenseTensor(data.tensor).gradient, n_features, degree, data)


def model_problem(degree, n_features, n_samples, noise, seed):
    """Return a single-index model whose link is a Hermite polynomial as a :class:`Planted`."""
    data = make_single_index(n_samples, n_features, degree=degree, noise=noise, random_state=seed)
    return Planted(correlation_gradient(data.X, data.y, degree), n_features, degree, data)


def correlation_gradient(X, y, degree):
    """Return the gradient of mean(y h_k(X theta)); h_k' = sqrt(k) h_{k-1}."""

    def gradient(theta):
        u = X @ theta.T
        below, slope = np.zeros_like(u), np.ones_like(u)
        for k in range(degree - 1):
            below, slope = slope, (u * slope - math.sqrt(k) * below) / math.sqrt(k + 1)
        slope *= y[:, None]
        return (math.sqrt(degree) / len(X)) * (slope.T @ X)

    return gradient


def run_chains(problem, kappa, seed, **options):
    """Return the result of Langevin averaging, with the settings of the reference data."""
    return langevin_average(
        problem.gradient,
        problem.n_features,
        eps=("auto", kappa),
        second_moment=problem.degree % 2 == 0,
        random_state=seed,
        warn=False,
        **options,
    )


def found(means, degree):
    """Return the directions that the averages of theta and of the drift point to."""
    if degree % 2:
        return {"avg": means["x"], "drift": means["drift_mean"]}
    return {
        "avg": np.linalg.eigh(means["second_moment"])[1][:, -1],
        "drift": np.linalg.eigh(means["drift_second"])[1][:, -1],
    }


def chain_overlaps(problem, kappa, seed, **options):
    """Return the overlaps of both averages, and the root mean square of those of last iterates."""
    result = run_chains(problem, kappa, seed, **options)
    direction = problem.data.direction
    overlaps = {
        name: float(overlap(x, direction)) for name, x in found(result, problem.degree).items()
    }
    last = overlap(result.last, direction)
    return overlaps | {"last": float(np.mean(last)), "last_rms": float(np.sqrt(np.mean(last**2)))}
