"""Print errors on radio scenes, by signal-to-noise ratio and method.

python -m benchmarks.bisvbi.experiments [--n-scenes 20] [--only "full method"] [--save file]

Scenes 1000, 1001, ... have played no part in any choice of the method's settings. All of it takes
more than an hour, most of which is the full inverse's.
"""

import argparse
from pathlib import Path

from benchmarks.bisvbi.experiments import tables
from benchmarks.bisvbi.methods import METHODS


def main():
    """Measure what is not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-scenes", type=int, default=20, help="scenes at each ratio")
    parser.add_argument("--ratios", type=float, nargs="+", default=tables.RATIOS, help="dB")
    parser.add_argument("--only", nargs="+", choices=METHODS, help="some methods")
    parser.add_argument("--save", type=Path, help="file of results, which is added to")
    options = parser.parse_args()
    names = options.only or list(METHODS)
    records = tables.measure(names, options.ratios, options.n_scenes, options.save)
    for line in tables.table(records, names, options.ratios):
        print(line)


if __name__ == "__main__":
    main()
