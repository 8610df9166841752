"""The rows on errors: the full method on a few scenes, and without some of its parts."""

import numpy as np

from benchmarks.bisvbi.experiments.tables import FAILURE, FIRST_SCENE, measure

SCENES, SNR = 5, 15.0
_RECORDS: list[dict] = []


def _column(name, key):
    """Return one kind of error for each scene, computed once a process."""
    rows = [record for record in _RECORDS if record["method"] == name]
    if not rows:
        rows = measure([name], [SNR], SCENES)
        _RECORDS.extend(rows)
    return np.array([row[key] for row in rows])


def error(name):
    """Return the median of the channels' errors in decibels, and what else is of interest."""
    values, rates = _column(name, "nmse"), _column(name, "ser")
    remark = f"failures {np.sum(values > FAILURE)}/{len(values)}; wrong symbols "
    remark += f"{np.median(rates):.4f} (mean {np.mean(rates):.4f}); places "
    remark += f"{np.median(_column(name, 'distance')):.2f} m off; "
    remark += f"{np.mean(_column(name, 'seconds')):.1f} s a scene"
    return 10 * np.log10(np.median(values)), remark


def failures(name):
    """Return how many scenes ended in a wrong optimum."""
    values = _column(name, "nmse")
    return float(np.sum(values > FAILURE)), f"of {len(values)}, scenes {FIRST_SCENE} and on"


def wrong_symbols(name):
    """Return the mean share of wrong symbols in percent."""
    values = 100 * _column(name, "ser")
    return np.mean(values), f"none in {np.sum(values == 0)} of {len(values)} scenes"


def gain(name, key="nmse"):
    """Return the median error of a method over that of the full one."""
    other, own = (np.median(_column(method, key)) for method in (name, "full method"))
    remark = f"{other:.1e} / {own:.1e}; wrong symbols {np.median(_column(name, 'ser')):.4f}"
    return other / own, remark
