"""The rows of the table of robust PCA."""

from functools import partial

from benchmarks.contest import Measurement
from benchmarks.robust_pca import measurements


def _row(problem, name, measure, aim, unit, *, at_most=False):
    return Measurement(problem, name, measure, aim, unit, at_most=at_most)


CONTESTS = [
    _row("errors ±1, n = 1000, rank 50: against pyrpca", "pyrpca",
         partial(measurements.against_pyrpca, 1000), 4.0, "ratio"),
    _row("errors ±500", "pyrpca",
         partial(measurements.against_pyrpca, 1000, "uniform"), 4.0, "ratio"),
    _row("errors ±1, by AccAltProj, rank known", "pyrpca",
         partial(measurements.against_pyrpca, 1000, solver="accaltproj", n_components=50),
         4.0, "ratio"),
    _row("errors ±1, n = 500, rank 25: against tensorly, tuned", "tensorly",
         partial(measurements.against_tensorly, 500), 15.0, "ratio"),
    _row("with its own penalties", "tensorly",
         partial(measurements.against_tensorly, 500, tuned=False), 15.0, "ratio"),
    _row("errors ±500: against tensorly, tuned", "tensorly",
         partial(measurements.against_tensorly, 500, "uniform"), 15.0, "ratio"),
    _row("noisy 24 x 18: iterations to a certified gap of 1e-4", "gap",
         measurements.certified_gap, 250, "iterations", at_most=True),
    _row("n = 500: iterations, certified over not certified", "gap",
         measurements.certificate_cost, 2.0, "ratio", at_most=True),
    _row("AccAltProj: three laws, 5 to 30 %, ranks 5 and 25", "projections",
         measurements.projections, 100.0, "% recovered"),
    _row("n = 5000, rank 50, float32, all cores", "large",
         measurements.large, 90.0, "seconds", at_most=True),
    _row("IRCUR, n = 10^4, rank 5, 30 %", "ircur",
         measurements.columns_and_rows, 10.0, "seconds", at_most=True),
    _row("moving objects, one pass over 100 frames", "stream",
         measurements.stream, 0.65, "IoU"),
]  # fmt: skip
