"""Print distances to the true graph of own and of other methods, with the time of own fits.

python -m benchmarks.causal.experiments [--only A] [--n-seeds 5]

Means are over all seeds and, in brackets, over those of the recorded figures.
"""

import argparse

import numpy as np

from benchmarks.causal.experiments.recorded import RECORDED
from benchmarks.causal.settings import SETTINGS, simulate
from benchmarks.clock import timed
from sparseopt.causal import CoLiDE, SortRegress, shd, shd_cpdag

METHODS = {
    "CoLiDE-EV, adam": CoLiDE(solver="adam"),
    "CoLiDE-NV, adam": CoLiDE("non_equal", solver="adam"),
    "CoLiDE-EV, prox": CoLiDE(),
    "CoLiDE-EV, prox, n_init=2": CoLiDE(n_init=2),
    "CoLiDE-NV, prox": CoLiDE("non_equal"),
    'CoLiDE-EV, adam, refine="order"': CoLiDE(solver="adam", refine="order"),
    'CoLiDE-EV, prox, refine="order"': CoLiDE(refine="order"),
    'CoLiDE-NV, prox, refine="order"': CoLiDE("non_equal", refine="order"),
    "SortRegress": SortRegress(),
    'SortRegress("r2")': SortRegress("r2"),
}


def main():
    """Print one table a setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", choices=["", *SETTINGS], help="one setting")
    parser.add_argument("--n-seeds", type=int, default=5)
    options = parser.parse_args()
    for setting in SETTINGS:
        if options.only in ("", setting):
            _report(setting, options.n_seeds)


def _report(setting, n_seeds):
    samples = [simulate(setting, seed) for seed in range(n_seeds)]
    recorded = RECORDED[setting]
    n_recorded = len(recorded["CoLiDE-EV, authors"])
    print(f"\n{setting}: {SETTINGS[setting]}")
    print(f"{'method':<34} {'SHD':>7} {'s.e.':>6} {'':>8} {'SHD-C':>7} {'seconds':>8}  SHD by seed")
    _line("empty graph", [np.count_nonzero(data.adjacency) for data in samples], n_recorded)
    for name, distances in recorded.items():
        _line(name, distances, n_recorded)
    for name, model in METHODS.items():
        distances, classes, seconds = [], [], []
        for data in samples:
            elapsed, _ = timed(lambda X=data.X, model=model: model.fit(X))
            seconds.append(elapsed)
            distances.append(shd(data.adjacency, model.adjacency_))
            classes.append(shd_cpdag(data.adjacency, model.adjacency_))
        _line(name, distances, n_recorded, f"{np.mean(classes):7.1f} {np.median(seconds):8.3f}")


def _line(name, distances, n_recorded, rest=f"{'':16}"):
    mean, first = np.mean(distances), np.mean(distances[:n_recorded])
    error = np.std(distances, ddof=1) / len(distances) ** 0.5 if len(distances) > 1 else np.nan
    values = [int(value) for value in distances]
    print(f"{name:<34} {mean:7.1f} {error:6.1f} ({first:6.1f}) {rest}  {values}", flush=True)


if __name__ == "__main__":
    main()
