"""What the experiments share: a curve, its line in the table, and the figures."""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

STEPS = (50, 100, 200, 500)
FACTOR = 2.0  # accepted ratio of the last gaps, ours to the published one
CLOSE = 1e-8  # the gap at which the paper's runs end


@dataclass
class Curve:
    """The gaps of one method after each step, and what was published.

    Attributes
    ----------
    method : str
        Rule, partition, block size and update.
    gaps, times : ndarray of shape (n_steps + 1,)
        Objective minus minimum, both of the sum over samples, and seconds since the start.
    published : dict or int, optional
        Gaps after some numbers of steps, or the number of steps to a gap of 1e-8.
    remark : str
        How the published setting differs from ours, if it does.
    """

    method: str
    gaps: np.ndarray
    times: np.ndarray
    published: dict | int | None = None
    remark: str = ""

    def line(self):
        """Return the line of the table."""
        if isinstance(self.published, int):
            steps = steps_to(self.gaps, CLOSE)
            published, ours = f"{self.published} steps", f"{steps} steps"
            met = steps <= FACTOR * self.published
        else:
            values = [f"{self.gaps[min(k, self.gaps.size - 1)]:.1e}" for k in STEPS]
            published, ours, met = "-", " / ".join(values), True
            if self.published is not None:
                published = " / ".join(f"{gap:.1e}" for gap in self.published.values())
                last = max(self.published)
                ours = " / ".join(v for v, k in zip(values, STEPS) if k in self.published)
                met = self.gaps[min(last, self.gaps.size - 1)] <= FACTOR * self.published[last]
        verdict = "" if self.published is None else ("ok" if met else "MISS")
        return f"{self.method:<42} {published:>38} {ours:>38}  {verdict:<4} {self.remark}"


def steps_to(gaps, level):
    """Return the first step whose gap is at most ``level``; the last step if none is."""
    reached = np.flatnonzero(gaps <= level)
    return int(reached[0]) if reached.size else gaps.size - 1


def descend(solve, minimum, n_samples=1):
    """Run a solver of a mean loss and return its gaps in the paper's units, and its times."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        history = solve().history
    return n_samples * history["objective"] - minimum, history["time"]


def main(experiments):
    """Run the experiments that the command line asks for, print and draw their curves.

    Parameters
    ----------
    experiments : dict
        By name, a title and a function that returns curves, or prints by itself.
    """
    parser = argparse.ArgumentParser(description="Published curves, rerun.")
    parser.add_argument("--only", choices=list(experiments), help="run a single experiment")
    parser.add_argument("--figures", type=Path, help="folder to which figures are written")
    options = parser.parse_args()
    for name, (title, run) in experiments.items():
        if options.only not in (None, name):
            continue
        print(f"\n{name}: {title}", flush=True)
        curves = run()
        if curves is None:
            continue
        print(f"{'gap after 50 / 100 / 200 / 500 steps':<42} {'published':>38} {'ours':>38}")
        print("\n".join(curve.line() for curve in curves), flush=True)
        if options.figures is not None:
            options.figures.mkdir(parents=True, exist_ok=True)
            draw(title, curves, options.figures / f"{name}.png")


def draw(title, curves, path):
    """Write a figure with the gaps against steps and against time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    for curve in curves:
        end = steps_to(curve.gaps, CLOSE) + 1
        gaps = np.maximum(curve.gaps[:end], CLOSE / 10)
        axes[0].semilogy(gaps, label=curve.method)
        axes[1].semilogy(curve.times[:end], gaps)
    axes[0].set(xlabel="steps", ylabel="objective minus minimum")
    axes[1].set(xlabel="seconds")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=80)
    plt.close(figure)
