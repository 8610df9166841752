"""Overlap with the planted direction over the number of samples, method by method."""

import math
import warnings

import numpy as np

from benchmarks.langevin import rivals
from benchmarks.langevin.experiments.hermite import hermite_tensor
from benchmarks.langevin.problems import Planted, found, overlap, run_chains
from sparseopt.datasets import make_single_index, make_spiked_tensor
from sparseopt.decomposition import TensorPCA
from sparseopt.decomposition._symmetric_tensor import DenseTensor

# Degree: features, and numbers of samples in units of d^(k / 2).
SIZES = {
    "models": {
        3: (50, (0.5, 1, 2, 4, 8, 16, 32)),
        4: (24, (0.5, 1, 2, 4, 8, 16, 32)),
        5: (16, (0.5, 1, 2, 4, 8, 16, 32)),
    },
    "tensors": {
        3: (50, (0.125, 0.25, 0.5, 1, 2, 4, 8)),
        4: (24, (0.031, 0.062, 0.125, 0.25, 0.5, 1, 2)),
        5: (16, (0.016, 0.031, 0.062, 0.125, 0.25, 0.5, 1)),
    },
}
TITLES = {"models": "single-index models", "tensors": "means of n tensors"}
NOISE = 0.3
KAPPAS = (0.5, 0.1)
ONLINE_STEPS = (0.003, 0.01, 0.03, 0.1)  # of which the best is shown
CHAINS = ("drift average", "iterate average", "last iterate")
COMPARED = {
    "partial trace": "partial_trace",
    "unfolding": "unfolding",
    "power, 64 starts": "power",
    "smoothed": "smoothed",
}
METHODS = [
    *[f"{name}, kappa {kappa}" for kappa in KAPPAS for name in CHAINS],
    *COMPARED,
    "online SGD",
    "TensorPCA()",
]
STYLES = {
    "drift average, kappa 0.5": ("C0", "-", "o"),
    "drift average, kappa 0.1": ("C0", ":", "o"),
    "last iterate, kappa 0.5": ("C3", "-", "x"),
    "last iterate, kappa 0.1": ("C3", ":", "x"),
    "online SGD": ("C1", "-", "^"),
    "smoothed": ("C4", "--", "v"),
    "partial trace": ("C2", "--", "d"),
    "unfolding": ("C5", "--", "+"),
    "power, 64 starts": ("0.6", "--", "."),
}


def overlaps(quick, figures):
    """Overlap over n, y = h_k(theta x) + 0.3 noise or n tensors theta^k + Z; standard errors."""
    n_seeds, curves = 3 if quick else 6, {}
    for kind, settings in SIZES.items():
        for degree, (d, factors) in settings.items():
            sizes = [round(factor * d ** (degree / 2)) for factor in factors[:: 2 if quick else 1]]
            table = {n: [trial(kind, degree, d, n, seed) for seed in range(n_seeds)] for n in sizes}
            curves[kind, degree] = d, table
            title = f"{TITLES[kind]}, k = {degree}, d = {d}"
            yield f"{title:<38}" + "".join(f"{n:>14}" for n in sizes)
            for name in METHODS:
                cells = [summary([run[name] for run in table[n]]) for n in sizes]
                yield f"  {name:<36}" + "".join(f"{m:>7.3f} ±{error:.3f}" for m, error in cells)
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        draw(curves, figures / "langevin_overlaps.png")


def summary(values):
    """Return a mean and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def trial(kind, degree, d, n, seed):
    """Return the overlap that each method reaches on one draw."""
    if kind == "models":
        data = make_single_index(n, d, degree=degree, noise=NOISE, random_state=seed)
        tensor = hermite_tensor(data.X, data.y, degree)
        online = [rivals.online_sgd(data, degree, eta=eta, seed=seed) for eta in ONLINE_STEPS]
    else:
        data = make_spiked_tensor(d, order=degree, snr=math.sqrt(n), random_state=seed)
        tensor = data.tensor
        online = [
            rivals.online_tensors(data.direction, degree, n, eta=eta, seed=seed)
            for eta in ONLINE_STEPS
        ]
    problem = Planted(DenseTensor(tensor).gradient, d, degree, data)
    reached = {"online SGD": max(online)}
    for kappa in KAPPAS:
        result = run_chains(problem, kappa, seed)
        estimates = found(result, degree)
        estimates = estimates["drift"], estimates["avg"], result.last
        for name, estimate in zip(CHAINS, estimates):
            mean = float(np.mean(overlap(estimate, data.direction)))
            reached[f"{name}, kappa {kappa}"] = mean
    for name, solver in COMPARED.items():
        reached[name] = _by_tensor_pca(data, tensor, seed, solver=solver, refine=solver == "power")
    reached["TensorPCA()"] = _by_tensor_pca(data, tensor, seed)
    return reached


def _by_tensor_pca(data, tensor, seed, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TensorPCA(**options, random_state=seed).fit(tensor)
    return float(overlap(model.components_[0], data.direction))


def draw(curves, path):
    """Write the figure: one panel a degree."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 8), sharey=True, layout="constrained")
    for axis, ((kind, degree), (d, table)) in zip(axes.ravel(), curves.items()):
        _draw_panel(axis, degree, d, table)
        axis.set_title(f"{TITLES[kind]}, k = {degree}, d = {d}", loc="left", fontsize="medium")
    for axis in axes[:, 0]:
        axis.set_ylabel("overlap with the planted direction")
    legend = axes[0, 0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=5, fontsize="small", frameon=False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _draw_panel(axis, degree, d, table):
    """Draw overlaps over n, the chance level, and the two rates where they are in range."""
    sizes = np.array(list(table))
    shifts = np.linspace(0.97, 1.03, len(STYLES))
    for (name, (colour, line, marker)), shift in zip(STYLES.items(), shifts):
        means, errors = np.transpose([summary([run[name] for run in table[n]]) for n in sizes])
        style = {"color": colour, "linestyle": line, "marker": marker, "capsize": 2}
        axis.errorbar(shift * sizes, means, errors, label=name, markersize=4, **style)
    axis.axhline(0.8 / math.sqrt(d), color="0.7", linewidth=0.8)
    rates = {"$d^{k/2}$": degree / 2}
    if degree % 2:
        rates[r"$d^{\lceil k/2 \rceil}$"] = math.ceil(degree / 2)
    for label, rate in rates.items():
        if sizes[0] <= d**rate <= sizes[-1]:
            axis.axvline(d**rate, color="0.85", linewidth=0.8, zorder=0)
            axis.text(d**rate, 1.01, label, ha="center", fontsize="small")
    axis.set(xscale="log", xlabel="n", ylim=(0, 1.08))
