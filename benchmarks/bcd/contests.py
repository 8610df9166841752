"""The rows of the speed table of the smooth losses, greedy blocks and label propagation."""

from benchmarks.bcd.measurements import advantage_of_growing, million_nodes, steps_to_finish
from benchmarks.contest import Contest, Measurement

KKT = 1e-8
LASSO = "../linear_model/lasso"


def _lasso(problem, **options):
    return Contest(
        problem,
        folder=LASSO,
        dataset="badly scaled",
        objective={"fraction": 0.1, "measure": "kkt"},
        peers=("skglm", "celer"),
        aim=1.0,
        accuracy=KKT,
        **options,
    )


def _logistic(problem, dataset, fraction, others=("liblinear",), **options):
    return Contest(
        problem,
        folder="logistic",
        dataset=dataset,
        objective={"fraction": fraction},
        peers=("skglm", "celer"),
        others=others,
        aim=1.0,
        accuracy=KKT,
        **options,
    )


CONTESTS = [
    _lasso("A: L1 least squares 1000 x 10000, 0.1 of the largest alpha"),
    _lasso("the same by greedy blocks", ours="sparseopt-bcd"),
    _logistic("B: L1 logistic 1000 x 10000, 0.1 of the largest alpha", "badly scaled", 0.1),
    _logistic(
        "the same by greedy blocks",
        "badly scaled",
        0.1,
        others=(),
        ours="sparseopt-bcd",
    ),
    _logistic("B at 0.01 of the largest alpha", "badly scaled", 0.01),
    _logistic("L1 logistic, dense 500 x 5000, 0.02 of the largest alpha", "correlated", 0.02),
    Contest(
        "C: L1 multinomial 1000 x 1000, 50 classes, 0.1 of the largest",
        folder="multinomial",
        dataset="badly scaled",
        objective={"fraction": 0.1},
        peers=("saga",),
        aim=20.0,
        accuracy=KKT,
    ),
    Contest(
        "E: label propagation on two moons, 2000 nodes",
        folder="label_propagation",
        dataset="two moons",
        peers=("scikit-learn",),
        others=("scipy-spsolve",),
        aim=1.0,
        accuracy=KKT,
    ),
    Contest(
        "the same by greedy trees",
        folder="label_propagation",
        dataset="two moons",
        peers=("scikit-learn",),
        accuracy=KKT,
        ours="sparseopt-trees",
    ),
    Contest(
        "label propagation, 100000 nodes, 10 neighbours, 10 classes",
        folder="label_propagation",
        dataset="blobs",
        peers=("scipy-cg",),
        aim=1.0,
        accuracy=1e-6,
    ),
    Measurement(
        "label propagation, 10^6 nodes, 0.1 % labelled, two threads",
        folder="million",
        measure=million_nodes,
        aim=15,
        unit="seconds",
        at_most=True,
    ),
    Measurement(
        "B, blocks of 5, 500 steps: gap of gsq by thresholding / grown",
        folder="gsq",
        measure=advantage_of_growing,
        aim=5,
        unit="ratio of gaps",
    ),
    Measurement(
        "A with L1: steps from the final support to a gap of 1e-12",
        folder="finish",
        measure=steps_to_finish,
        aim=10,
        unit="steps",
        at_most=True,
    ),
]
