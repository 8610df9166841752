"""Hamming distances of other packages' graphs on the same data, seeds 0, 1, 2, ...

Recorded once: the authors' code of CoLiDE (SAMiatto/colide, commit f369759), dagma 1.1.1 with
the settings of CoLiDE, the official NOTEARS (lambda 0.1) and the sorting baselines of CausalDisco
0.2.4, all cut to a DAG at 0.3.
"""

RECORDED = {
    "A": {
        "CoLiDE-EV, authors": [3, 25, 27, 13, 6],
        "CoLiDE-NV, authors": [7, 13, 39, 53, 27],
        "DAGMA": [3, 25, 31, 48, 6],
        "NOTEARS": [16],
        "sorted by variance": [97, 45, 141, 63, 161],
        "sorted by R2": [231, 150, 299, 247, 247],
    },
    "B": {
        "CoLiDE-EV, authors": [95, 113, 125, 103, 130],
        "CoLiDE-NV, authors": [88, 103, 148, 90, 134],
        "DAGMA": [96, 127, 135, 101, 135],
        "sorted by variance": [111, 103, 150, 124, 123],
        "sorted by R2": [199, 178, 249, 238, 169],
    },
    "C": {
        "CoLiDE-EV, authors": [2, 5, 6],
        "CoLiDE-NV, authors": [34, 11, 4],
        "DAGMA": [3, 5, 6],
        "sorted by variance": [108, 53, 82],
        "sorted by R2": [443, 329, 316],
    },
    "E": {
        "CoLiDE-EV, authors": [2, 0, 5],
        "CoLiDE-NV, authors": [29, 12, 3],
        "DAGMA": [2, 7, 3],
        "sorted by variance": [137, 73, 112],
        "sorted by R2": [193, 99, 183],
    },
}
