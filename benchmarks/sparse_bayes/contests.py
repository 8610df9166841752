"""The rows of the table of sparse Bayesian learning."""

from functools import partial

from benchmarks.contest import Measurement
from benchmarks.sparse_bayes import relevance

SIZES = ((500, 200), (200, 500), (300, 1000))


def _against_scikit_learn():
    for learns, noise in ((False, "given"), (True, "learnt")):
        for n, p in SIZES:
            name = f"n = {n}, p = {p}, noise {noise}"
            speed = partial(relevance.speed, n, p, learns=learns)
            evidence = partial(relevance.evidence, n, p, learns=learns)
            yield Measurement(
                f"{name}: time, ARDRegression's over ours", "ard", speed, 5.0, "ratio"
            )
            yield Measurement(
                "    -2 log evidence, ours minus ARDRegression's",
                "ard",
                evidence,
                0.0,
                "nats",
                at_most=True,
            )


CONTESTS = list(_against_scikit_learn())
