"""Compare sparseopt with its peers in one process, at equal accuracy, in a few minutes.

    python -m benchmarks.quick --family linear_model [--only lasso] [--seconds 10]

See :mod:`benchmarks.contest` for the rules. Everything runs on one thread, if its row does not
say otherwise.
"""

import argparse
import importlib
from pathlib import Path

import numba

from benchmarks.contest import HEADER, Measurement, hold, report


def main():
    """Hold the contests of a family and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="linear_model", help="folder under benchmarks/")
    parser.add_argument("--only", default="", help="hold the contests of this name")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each contest")
    options = parser.parse_args()
    contests = importlib.import_module(f"benchmarks.{options.family}.contests").CONTESTS
    folder = Path(__file__).parent / options.family
    numba.set_num_threads(1)
    print("Ratios of times, peer / sparseopt, at the accuracy shown; one thread.")
    print(HEADER)
    for contest in contests:
        if options.only not in ("", contest.folder):
            continue
        try:
            if isinstance(contest, Measurement):
                lines = [contest.line()]
            else:
                lines = report(contest, hold(contest, folder, options.seconds))
        except Exception as error:  # the other rows are still of interest
            lines = [f"{contest.problem:<60} FAILED: {error!r}"]
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
