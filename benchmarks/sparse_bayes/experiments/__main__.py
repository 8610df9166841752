"""Print the published experiments on Kronecker-structured sparse Bayesian learning.

python -m benchmarks.sparse_bayes.experiments [--only synthetic] [--n-trials 20]
"""

import argparse

from benchmarks.sparse_bayes.experiments import tables

SECTIONS = {
    "synthetic": tables.synthetic,
    "small channel": tables.small_channel,
    "channel": tables.channel,
}


def main():
    """Print one table a section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", choices=["", *SECTIONS], help="one section")
    parser.add_argument("--n-trials", type=int, default=20, help="trials of each case")
    options = parser.parse_args()
    for name, section in SECTIONS.items():
        if options.only in ("", name):
            print(f"\n{section.__doc__.splitlines()[0]}")
            for line in section(options.n_trials):
                print(line, flush=True)


if __name__ == "__main__":
    main()
