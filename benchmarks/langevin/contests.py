"""The rows of the table of Langevin averaging."""

from functools import partial

from benchmarks.contest import Measurement
from benchmarks.langevin import measurements


def _row(problem, name, measure, aim, unit, *, at_most=False):
    return Measurement(problem, name, measure, aim, unit, at_most=at_most)


CONTESTS = [
    _row("k = 3, d = 100, snr 45, kappa 0.1: gradients, iterate / drift", "drift",
         measurements.gradients_needed, 10.0, "ratio"),
    _row("recorded cases: both averages as good, kappa given", "recorded",
         measurements.recorded_averages, 100.0, "% of means"),
    _row("    TensorPCA's default", "recorded",
         measurements.recorded_tensors, 100.0, "% of cases"),
    _row("    SingleIndexRegressor's default", "recorded",
         measurements.recorded_models, 100.0, "% of cases"),
    _row('recorded models: test R2, "auto" minus best single start', "auto",
         measurements.against_candidates, -0.002, "R2"),
    _row("d = 100, n = 2000, k = 3: R2 over the noise ceiling", "auto",
         measurements.ceiling, 0.95, "ratio"),
    _row("pure noise, k = 3, d = 30: tensors with a detection", "noise",
         partial(measurements.false_alarms, 3, 30), 5.0, "%", at_most=True),
    _row("    k = 4, d = 20", "noise",
         partial(measurements.false_alarms, 4, 20), 5.0, "%", at_most=True),
    _row("    a signal 1.3 times as large, k = 3, d = 30: detections", "noise",
         partial(measurements.detections, 3, 30), 95.0, "%"),
    _row("    k = 4, d = 20", "noise",
         partial(measurements.detections, 4, 20), 95.0, "%"),
    _row("    models without signal: p-value <= 0.05", "noise",
         measurements.false_models, 5.0, "%", at_most=True),
    _row("a batch of 64 chains against one by one, k = 3, d = 100", "batch",
         partial(measurements.batched_chains, 100), 10.0, "ratio"),
    _row("    d = 200", "batch",
         partial(measurements.batched_chains, 200), 10.0, "ratio"),
    _row("sum of 1e5 cubes, d = 2000: a fit", "implicit",
         measurements.implicit, 120.0, "seconds", at_most=True),
    _row("    its largest memory", "implicit",
         measurements.implicit_memory, 1000.0, "MB", at_most=True),
    _row("k = 3, d = 50, snr 18.8: overlap minus tensorly's power", "tensorly",
         partial(measurements.against_tensorly, "power", 18.8), -0.002, "overlap"),
    _row("    minus tensorly's parafac", "tensorly",
         partial(measurements.against_tensorly, "parafac", 18.8), -0.002, "overlap"),
    _row("    snr 10: minus tensorly's power", "tensorly",
         partial(measurements.against_tensorly, "power", 10.0, n_seeds=20), -0.002, "overlap"),
    _row("    minus tensorly's parafac", "tensorly",
         partial(measurements.against_tensorly, "parafac", 10.0, n_seeds=20), -0.002, "overlap"),
    _row("d = 100, n = 1000, k = 3: overlap minus statsmodels' SIR", "statsmodels",
         measurements.against_statsmodels, 0.0, "overlap"),
]  # fmt: skip
