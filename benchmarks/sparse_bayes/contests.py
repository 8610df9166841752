"""The rows of the table of sparse Bayesian learning."""

from functools import partial

from benchmarks.contest import Measurement
from benchmarks.sparse_bayes import kronecker, relevance

SIZES = ((500, 200), (200, 500), (300, 1000))


def _against_scikit_learn():
    for learns, noise in ((False, "given"), (True, "learnt")):
        for n, p in SIZES:
            name = f"n = {n}, p = {p}, noise {noise}"
            speed = partial(relevance.speed, n, p, learns=learns)
            evidence = partial(relevance.evidence, n, p, learns=learns)
            yield Measurement(f"{name}: time, ARDRegression / ours", "ard", speed, 5.0, "ratio")
            yield Measurement(
                "    -2 log evidence, ours minus ARDRegression's",
                "ard",
                evidence,
                0.0,
                "nats",
                at_most=True,
            )


def _kronecker():
    for m_step in ("svd", "am"):
        yield Measurement(
            f'KroneckerSBL("{m_step}"), n = 100^3, m = 60^3: an iteration',
            "kronecker",
            partial(kronecker.million, m_step),
            0.6,
            "seconds",
            at_most=True,
        )
        yield Measurement(
            "    its largest memory",
            "kronecker",
            partial(kronecker.million_memory, m_step),
            1000.0,
            "MB",
            at_most=True,
        )
        yield Measurement(
            "    n = 15^3, m = 8 x 12 x 15: time, dense form / ours",
            "kronecker",
            partial(kronecker.against_dense, m_step),
            30.0,
            "ratio",
        )


CONTESTS = [
    *_against_scikit_learn(),
    Measurement(
        'rule "fast", n = 500, p = 20000', "fast", relevance.large, 30.0, "seconds", at_most=True
    ),
    *_kronecker(),
]
