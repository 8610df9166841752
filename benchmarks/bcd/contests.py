"""The rows of the speed table of the smooth losses."""

from benchmarks.contest import Contest

KKT = 1e-8

CONTESTS = [
    Contest(
        "L1 logistic, sparse 1000 x 10000, 0.1 of the largest alpha",
        folder="logistic",
        dataset="scaled columns",
        objective={"fraction": 0.1},
        peers=("skglm", "celer", "liblinear"),
        aim=1.0,
        accuracy=KKT,
    ),
    Contest(
        "the same at 0.01",
        folder="logistic",
        dataset="scaled columns",
        objective={"fraction": 0.01},
        peers=("skglm", "celer", "liblinear"),
        aim=1.0,
        accuracy=KKT,
    ),
    Contest(
        "L1 logistic, dense 500 x 5000, 0.02 of the largest alpha",
        folder="logistic",
        dataset="correlated",
        objective={"fraction": 0.02},
        peers=("skglm", "celer", "liblinear"),
        aim=1.0,
        accuracy=KKT,
    ),
]
