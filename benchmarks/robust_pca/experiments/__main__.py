"""Print the published tables of robust PCA beside our own figures.

python -m benchmarks.robust_pca.experiments [--only recovery] [--quick]
"""

import argparse

from benchmarks.robust_pca.experiments import pictures, tables

SECTIONS = {
    "recovery": tables.recovery,
    "phase": tables.phase,
    "certificate": tables.certificate,
    "projections": tables.projections,
    "known rank": tables.known_rank,
    "large": tables.large,
    "video": pictures.video,
    "targets": pictures.targets,
}


def main():
    """Print one table a section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", choices=["", *SECTIONS], help="one section")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer trials")
    options = parser.parse_args()
    for name, section in SECTIONS.items():
        if options.only in ("", name):
            print(f"\n{section.__doc__.splitlines()[0]}")
            for line in section(options.quick):
                print(line, flush=True)


if __name__ == "__main__":
    main()
