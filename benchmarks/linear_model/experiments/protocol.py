"""What the experiments share: a row of the table, the path's errors, polynomial problems."""

import argparse
import time
from dataclasses import dataclass

import numpy as np
from scipy.stats import gmean

from sparseopt.datasets import make_iso_exponential
from sparseopt.linear_model import weighted_omp_path
from sparseopt.preprocessing import OrthogonalPolynomialFeatures

QUICK_TRIALS = 5
N_TEST_POINTS = 2000


@dataclass(frozen=True)
class Row:
    """One published number and ours.

    Attributes
    ----------
    setting : str
        What was run.
    published, ours : float
        Relative errors.
    factor : float, optional
        Largest accepted ratio of ours to the published one.
    at_least : float, optional
        Smallest accepted value of ours, where a method is meant to fail.
    """

    setting: str
    published: float | None
    ours: float
    factor: float | None = None
    at_least: float | None = None

    def __str__(self):
        published = "-" if self.published is None else f"{self.published:.2e}"
        ratio = "" if self.published is None else f"{self.ours / self.published:.2f}"
        return f"{self.setting:<66} {published:>9} {self.ours:>9.2e} {ratio:>6}  {self._verdict()}"

    def _verdict(self):
        if self.factor is not None:
            return "ok" if self.ours <= self.factor * self.published else "MISS"
        if self.at_least is not None:
            return "ok" if self.ours >= self.at_least else "MISS"
        return ""


def recovery_error(coef, truth):
    """Relative error of one coefficient vector (n_features,) or of the rows of a matrix."""
    return np.linalg.norm(coef - truth, axis=-1) / np.linalg.norm(truth)


def greedy_path(X, y, **options):
    """Return the coefficients after each step, a dense array (n_steps + 1, n_features)."""
    return weighted_omp_path(X, y, **options).coefs.toarray()


def after(steps, path_errors):
    """Errors after the given numbers of steps; a path that has stopped keeps its last one."""
    return path_errors[np.minimum(steps, len(path_errors) - 1)]


class PolynomialProblem:
    """Approximation of the isotropic exponential function by sparse polynomials.

    The least-squares system is ``Psi / sqrt(m)`` and ``f / sqrt(m)`` plus noise of norm
    ``noise``; errors are relative L2 errors on fresh points of the same distribution.
    """

    def __init__(self, kind, n_features, *, n_samples, noise, rng):
        distribution = {"legendre": "uniform", "chebyshev": "arcsine"}[kind]
        samples, y = make_iso_exponential(
            n_samples, n_features, distribution=distribution, noise=noise, random_state=rng
        )
        points, self.truth = make_iso_exponential(
            N_TEST_POINTS, n_features, distribution=distribution, random_state=rng
        )
        features = OrthogonalPolynomialFeatures(kind, max_terms=500, domain=(-1, 1))
        self.X = features.fit_transform(samples) / np.sqrt(n_samples)
        self.y = y / np.sqrt(n_samples)
        self.weights = features.weights_
        self._test_features = features.transform(points)

    def error(self, coef):
        """Relative L2 error of one coefficient vector, or of each row of a matrix."""
        differences = self._test_features @ np.transpose(coef) - self.truth.reshape(
            (-1,) + (1,) * (np.ndim(coef) - 1)
        )
        return np.linalg.norm(differences, axis=0) / np.linalg.norm(self.truth)


def trials(experiment, n_trials):
    """Yield one independent random state a trial."""
    for seed in np.random.SeedSequence(experiment).generate_state(n_trials):
        yield np.random.RandomState(seed)


def median(errors):
    """Medians over trials (the first axis)."""
    return np.median(np.array(errors), axis=0)


def geometric_mean(errors):
    """Geometric means over trials (the first axis)."""
    return gmean(np.array(errors), axis=0)


def main(experiments):
    """Run the experiments that the command line asks for, and print their rows.

    Parameters
    ----------
    experiments : dict
        Functions of the number of trials that return rows, by the experiment's name.
    """
    parser = argparse.ArgumentParser(description="Published experiments, rerun.")
    parser.add_argument("--only", choices=list(experiments), help="run a single experiment")
    parser.add_argument("--n-trials", type=int, default=30, help="random trials (published: 30)")
    parser.add_argument("--quick", action="store_true", help=f"run {QUICK_TRIALS} trials")
    options = parser.parse_args()
    n_trials = QUICK_TRIALS if options.quick else options.n_trials
    print(f"Relative errors, {n_trials} trials.")
    print(f"{'setting':<66} {'published':>9} {'ours':>9} {'ratio':>6}")
    for name, run in experiments.items():
        if options.only in (None, name):
            start = time.perf_counter()
            rows = run(n_trials)
            print(f"\nExperiment {name} ({time.perf_counter() - start:.0f} s)")
            print("\n".join(map(str, rows)), flush=True)
