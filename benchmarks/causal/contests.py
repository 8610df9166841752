"""The rows of the table of causal graphs."""

from functools import partial

from benchmarks.causal import measurements
from benchmarks.contest import Measurement


def _row(problem, name, measure, aim, unit, *, at_most=False):
    return Measurement(problem, name, measure, aim, unit, at_most=at_most)


CONTESTS = [
    _row("A: published steps of Adam, d = 50", "adam",
         partial(measurements.adam, 50), 2.0, "ratio"),
    _row("the same, d = 100", "adam", partial(measurements.adam, 100), 1.5, "ratio"),
    _row("A: whole fits by Adam, d = 50", "adam",
         partial(measurements.whole_fits, 50), 2.0, "ratio"),
    _row("B: prox against published Adam, NV, 5 seeds", "prox",
         measurements.proximal, 20.0, "ratio"),
    _row("A: prox, n_init=2, 5 seeds", "starts",
         measurements.several_starts, 12.0, "mean SHD", at_most=True),
    _row('B: prox, refine="order", 5 seeds', "refine",
         measurements.refined_unequal, 40.0, "SHD-C", at_most=True),
    _row('A: adam, refine="order" less plain, 5 seeds', "refine",
         measurements.refined_equal, 0.0, "mean SHD", at_most=True),
    *(_row(f"dagma against adam, d = {d}, equal variances", "dagma",
           partial(measurements.against_dagma, d), 1.0, "ratio") for d in (20, 50, 100)),
    _row("B with d = 200, prox", "large",
         partial(measurements.large, 200), 20.0, "seconds", at_most=True),
    _row("B with d = 500, prox", "large",
         partial(measurements.large, 500), 300.0, "seconds", at_most=True),
    _row("B: 100 bootstrap fits, prox, two cores", "bootstrap",
         measurements.bootstraps, 20.0, "seconds", at_most=True),
]  # fmt: skip
