"""The rows of the speed table of the linear models."""

from benchmarks.contest import Contest

GAP = 1e-8

CONTESTS = [
    Contest(
        "Lasso 500 x 5000, 0.02 of the largest alpha",
        folder="lasso",
        dataset="correlated",
        objective={"fraction": 0.02},
        peers=("celer", "skglm"),
        aim=1.0,
        accuracy=GAP,
    ),
    Contest(
        "its path over 50 alphas",
        folder="lasso_path",
        dataset="correlated",
        peers=("celer",),
        aim=1.0,
        accuracy=1e-6,
    ),
    Contest(
        "Lasso on text-like 5000 x 50000, 0.01 of the largest alpha",
        folder="lasso",
        dataset="text-like",
        objective={"fraction": 0.01},
        peers=("celer", "skglm"),
        aim=1.0,
        accuracy=1e-6,
    ),
    Contest(
        "OMP 1000 x 8192, 100 atoms, 1 target",
        folder="omp",
        dataset="sparse recovery",
        data={"n_targets": 1},
        peers=("scikit-learn",),
        aim=1.2,
        accuracy=GAP,
    ),
    Contest(
        "the same, 16 targets",
        folder="omp",
        dataset="sparse recovery",
        data={"n_targets": 16},
        peers=("scikit-learn",),
        aim=3.0,
        accuracy=GAP,
    ),
    Contest(
        "LAD-LASSO 300 x 2000, 0.1 of the largest alpha, exact",
        folder="lad_lasso",
        dataset="corrupted",
        objective={"fraction": 0.1},
        peers=("scikit-learn",),
        aim=10.0,
        accuracy=GAP,
    ),
    Contest(
        "square-root LASSO 300 x 2000, 0.3 of the largest alpha",
        folder="sqrt_lasso",
        dataset="correlated",
        objective={"fraction": 0.3},
        peers=("skglm",),
        aim=0.5,
        accuracy=GAP,
    ),
    Contest(
        "the same at 0.2, where skglm stops short",
        folder="sqrt_lasso",
        dataset="correlated",
        objective={"fraction": 0.2},
        peers=("skglm",),
        accuracy=1e-6,
    ),
    Contest(
        "the same at 0.1: basis pursuit",
        folder="sqrt_lasso",
        dataset="correlated",
        objective={"fraction": 0.1},
        peers=("skglm",),
        accuracy=1e-6,
        message="interpolat",
    ),
]
