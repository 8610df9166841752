"""Print the published figures and tables of Langevin averaging beside our own.

python -m benchmarks.langevin.experiments [--only overlaps] [--quick] [--figures docs/images]
"""

import argparse
import warnings
from pathlib import Path

from sklearn.exceptions import ConvergenceWarning

from benchmarks.langevin.experiments import curves, tables

SECTIONS = {
    "overlaps": curves.overlaps,
    "sgd": tables.stochastic,
    "tensors": tables.tensors,
    "models": tables.models,
}


def main():
    """Print one table a section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", choices=["", *SECTIONS], help="one section")
    parser.add_argument("--quick", action="store_true", help="fewer trials")
    parser.add_argument("--figures", type=Path, help="folder to which the figure is written")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # short runs are part of the tables
    for name, section in SECTIONS.items():
        if options.only in ("", name):
            print(f"\n{section.__doc__.splitlines()[0]}")
            for line in section(options.quick, options.figures):
                print(line, flush=True)


if __name__ == "__main__":
    main()
