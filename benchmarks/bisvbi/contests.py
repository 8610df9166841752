"""The rows of the table of bilinear subspace variational Bayes."""

from functools import partial

from benchmarks.bisvbi import scale, scenes
from benchmarks.contest import Measurement


def _errors():
    yield Measurement(
        "full method, 15 dB: median error of the channel",
        "scenes",
        partial(scenes.error, "full method"),
        -23.0,
        "dB",
        at_most=True,
    )
    yield Measurement(
        "    scenes with an error above 0.05",
        "scenes",
        partial(scenes.failures, "full method"),
        0.25 * scenes.SCENES,
        "scenes",
        at_most=True,
    )
    yield Measurement(
        "    share of wrong symbols, in the mean",
        "scenes",
        partial(scenes.wrong_symbols, "full method"),
        2.0,
        "percent",
        at_most=True,
    )
    for name, aim in (("no refinement", 20.0), ("pilots only", 2.0), ("matching pursuit", 20.0)):
        yield Measurement(
            f"    median error, {name} over full method",
            "scenes",
            partial(scenes.gain, name),
            aim,
            "ratio",
        )


def _speed():
    for n_columns in (512, 1024):
        yield Measurement(
            f"linear, Q = {n_columns}, M = Q / 2: time, full inverse over subspace",
            "inverse",
            partial(scale.linear, n_columns),
            5.0,
            "ratio",
        )
    yield Measurement(
        "bilinear, Q = 513, one user, one start: the same",
        "inverse",
        scale.bilinear,
        5.0,
        "ratio",
    )
    yield Measurement(
        "K = 4, N = 64, M = 64, Q = 10^4: an iteration",
        "scale",
        scale.iteration,
        5.0,
        "seconds",
        at_most=True,
    )
    yield Measurement("    its largest memory", "scale", scale.memory, 2000.0, "MB", at_most=True)


CONTESTS = [*_errors(), *_speed()]
