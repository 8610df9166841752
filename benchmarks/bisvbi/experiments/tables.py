"""Runs of all methods on all scenes, kept in a file as they end, and their table."""

import json

import numpy as np

from benchmarks.bisvbi.methods import METHODS, errors
from benchmarks.clock import timed
from sparseopt.datasets import make_isac_scene

RATIOS = (5.0, 10.0, 15.0, 20.0)
FIRST_SCENE = 1000
FAILURE = 0.05  # of the channel: the fit ended in a wrong optimum


def measure(names, ratios, n_scenes, path=None):
    """Return a record for each method, ratio and scene, those in the file at ``path`` included."""
    records = []
    if path is not None and path.exists():
        records = [json.loads(line) for line in path.read_text().splitlines()]
    done = {(r["method"], r["snr"], r["scene"]) for r in records}
    for number in range(FIRST_SCENE, FIRST_SCENE + n_scenes):
        for snr in ratios:
            scene = make_isac_scene(snr=snr, random_state=number)
            for name in names:
                if (name, snr, number) in done:
                    continue
                seconds, estimate = timed(lambda m=METHODS[name], s=scene: m(s))
                record = {"method": name, "snr": snr, "scene": number, "seconds": seconds}
                records.append(record | errors(scene, estimate))
                if path is not None:
                    with path.open("a") as file:
                        file.write(json.dumps(records[-1]) + "\n")
    wanted = range(FIRST_SCENE, FIRST_SCENE + n_scenes)
    return [r for r in records if r["scene"] in wanted]


def table(records, names, ratios):
    """Yield the lines of the table."""
    yield (
        f"{'dB':>3} {'method':<20}{'n':>4}{'NMSE':>10}{'mean':>10}{'> .05':>6}{'SER':>9}"
        f"{'mean':>9}{'metres':>8}{'missed':>8}{'seconds':>9}"
    )
    for snr in ratios:
        for name in names:
            rows = [r for r in records if (r["method"], r["snr"]) == (name, snr)]
            if not rows:
                continue
            column = {key: np.array([r[key] for r in rows]) for key in rows[0] if key != "method"}
            line = f"{snr:>3.0f} {name:<20}{len(rows):>4}"
            line += f"{np.median(column['nmse']):>10.2e}{np.mean(column['nmse']):>10.2e}"
            line += f"{np.sum(column['nmse'] > FAILURE):>6}"
            line += f"{np.median(column['ser']):>9.4f}{np.mean(column['ser']):>9.4f}"
            line += f"{np.median(column['distance']):>8.2f}{np.mean(column['missed']):>8.2f}"
            yield line + f"{np.mean(column['seconds']):>9.1f}"
