"""The tables of the reference run beside our own; each function yields the lines of one."""

import numpy as np

from benchmarks.clock import timed
from benchmarks.langevin import rivals
from benchmarks.langevin.problems import (
    chain_overlaps,
    found,
    model_problem,
    overlap,
    run_chains,
    tensor_problem,
)
from sparseopt.datasets import make_single_index
from sparseopt.decomposition import TensorPCA
from sparseopt.linear_model import SingleIndexRegressor

# k, d, n, steps, eta; recorded: overlap of the average, of M's leading eigenvector, of the last.
STOCHASTIC = [
    (3, 100, 100_000, 10_000_000, 0.1, 0.995, None, 0.07),
    (3, 100, 100_000, 10_000_000, 0.3, 0.997, None, 0.10),
    (3, 100, 100_000, 10_000_000, 1.0, 0.997, None, 0.11),
    (3, 100, 100_000, 10_000_000, 0.01, 0.738, None, 0.00),
    (4, 50, 25_000, 30_000_000, 0.03, 0.28, 0.997, 0.21),
    (4, 50, 25_000, 30_000_000, 0.1, 0.30, 0.996, 0.15),
    (5, 30, 270_000, 20_000_000, 0.3, 0.995, None, 0.24),
]
# d, snr, kappa, steps; recorded: average, drift, partial trace, last, power, drift + power.
TENSORS = [
    (100, 45, 0.1, 100, 0.193, 0.567, 0.553, 0.108, 0.991, 0.991),
    (100, 32, 0.1, 100, 0.169, 0.415, 0.405, 0.108, 0.98, 0.981),
    (100, 32, 0.5, 100, 0.789, 0.876, 0.405, 0.36, 0.98, 0.981),
    (100, 32, 1.0, 100, 0.970, 0.977, 0.405, 0.70, 0.98, 0.981),
    (100, 22, 0.5, 100, 0.286, 0.377, 0.264, 0.12, 0.364, 0.957),
    (100, 22, 1.0, 100, 0.834, 0.889, 0.264, 0.51, 0.364, 0.957),
    (50, 14, 1.0, 313, 0.936, 0.940, 0.403, 0.66, 0.638, 0.953),
    (50, 8, 1.0, 313, 0.30, 0.31, 0.24, 0.18, 0.34, 0.31),
]
# d, k, n; recorded successes of 5 from: random, partial trace, average, drift, slices.
MODELS = [
    (100, 3, 1000, 2, 3, 5, 5, 5),
    (100, 3, 2000, 1, 4, 5, 5, "-"),
    (100, 3, 4000, 5, 5, 5, 5, 5),
    (200, 3, 4000, 3, 5, 5, 5, "-"),
    (50, 4, 2500, 2, 3, 5, 5, 5),
    (50, 4, 5000, 3, 5, 5, 5, "-"),
]
SUCCESS = 0.9  # overlap


def stochastic(quick, figures):
    """Averaged stochastic gradient steps, one sample each: overlaps, recorded and own."""
    yield (
        f"{'k':>2}{'d':>5}{'n':>8}{'steps':>10}{'eta':>6}"
        f"{'average':>16}{'second moment':>18}{'last':>14}{'seconds':>9}"
    )
    for k, d, n, steps, eta, *known in STOCHASTIC:
        data = make_single_index(n, d, degree=k, noise=0.0, random_state=0)
        steps //= 10 if quick else 1
        rivals.averaged_sgd(data, k, eta=eta, n_steps=100, seed=0)  # compiles
        seconds, result = timed(
            lambda data=data, k=k, eta=eta, steps=steps: rivals.averaged_sgd(
                data, k, eta=eta, n_steps=steps, seed=0
            )
        )
        own = [overlap(result.x, data.direction), None]
        own.append(float(np.mean(overlap(result.last, data.direction))))
        if k % 2 == 0:
            leading = np.linalg.eigh(result.second_moment)[1][:, -1]
            own[1] = overlap(leading, data.direction)
        cells = [f"{_cell(a)} ({_cell(b)})" for a, b in zip(own, known)]
        yield (
            f"{k:>2}{d:>5}{n:>8}{steps:>10}{eta:>6}"
            f"{cells[0]:>16}{cells[1]:>18}{cells[2]:>14}{seconds:>9.1f}"
        )


def _cell(value):
    return "-" if value is None else f"{value:.3f}"


def tensors(quick, figures):
    """Tensors, k = 3: mean overlaps and standard errors, in brackets recorded ones.

    The recorded power iteration has one random start; ours is the best of 64.
    """
    names = ["average", "drift", "partial trace", "last (rms)", "power", "drift + power"]
    yield f"{'d':>4}{'snr':>5}{'kappa':>6}" + "".join(f"{name:>23}" for name in names)
    n_seeds = 3 if quick else 10
    for d, snr, kappa, steps, *known in TENSORS:
        runs = [_tensor_run(d, snr, kappa, steps, seed) for seed in range(n_seeds)]
        means = np.mean(runs, axis=0)
        errors = np.std(runs, axis=0, ddof=1) / np.sqrt(n_seeds)
        cells = [f"{m:.3f} ± {e:.3f} ({k:.3f})" for m, e, k in zip(means, errors, known)]
        yield f"{d:>4}{snr:>5}{kappa:>6}" + "".join(f"{cell:>23}" for cell in cells)


def _tensor_run(d, snr, kappa, steps, seed):
    problem = tensor_problem(3, d, snr, seed)
    direction, tensor = problem.data.direction, problem.data.tensor
    chains = chain_overlaps(problem, kappa, seed, max_iter=steps)
    options = {"max_iter": steps, "kappa": kappa, "random_state": seed}

    def reached(solver, refine):
        model = TensorPCA(solver=solver, refine=refine, **options).fit(tensor)
        return overlap(model.components_[0], direction)

    others = [reached("partial_trace", False), reached("power", True), reached("langevin", True)]
    return [chains["avg"], chains["drift"], others[0], chains["last_rms"], *others[1:]]


def models(quick, figures):
    """Models after refinement: runs of 5 with overlap > 0.9 by start, in brackets recorded ones."""
    names = ["random", "partial trace", "average", "drift", "SIR / SAVE", '"auto"']
    yield f"{'d':>4}{'k':>3}{'n':>6}" + "".join(f"{name:>15}" for name in names)
    for d, k, n, *known in MODELS:
        runs = [_model_run(d, k, n, seed) for seed in range(2 if quick else 5)]
        counts = np.sum(np.array(runs) > SUCCESS, axis=0)
        cells = [f"{count} ({value})" for count, value in zip(counts, [*known, "-"])]
        yield f"{d:>4}{k:>3}{n:>6}" + "".join(f"{cell:>15}" for cell in cells)


def _model_run(d, k, n, seed):
    problem = model_problem(k, d, n, 0.5 if k == 3 else 0.3, seed)
    data = problem.data
    averages = found(run_chains(problem, 0.5, seed, n_chains=20), k)
    starts = [rivals.random_direction(d, seed), None, averages["avg"], averages["drift"]]
    overlaps = [
        None if start is None else overlap(rivals.refined(data, start), data.direction)
        for start in starts
    ]
    options = {"random_state": seed, "information_exponent": k}
    trace = SingleIndexRegressor(solver="partial_trace", **options).fit(data.X, data.y)
    overlaps[1] = overlap(trace.coef_, data.direction)
    for solver in ("sir" if k == 3 else "save", "auto"):
        model = SingleIndexRegressor(solver=solver, random_state=seed).fit(data.X, data.y)
        overlaps.append(overlap(model.coef_, data.direction))
    return overlaps
