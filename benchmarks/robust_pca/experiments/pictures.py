"""Tables on video and pictures; each function yields the lines of one."""

import numpy as np

from benchmarks.clock import timed
from benchmarks.robust_pca.settings import share_found
from sparseopt.datasets import (
    load_pedestrian_frames,
    make_infrared_targets,
    make_moving_objects,
)
from sparseopt.decomposition import (
    OnlineRobustPCA,
    SparseObjectSegmenter,
    effective_rank,
    robust_pca,
    segmentation_metrics,
)


def video(quick):
    """Video, a frame a row: rank, effective rank; overlap of known masks and sparse part."""
    frames = load_pedestrian_frames(return_X=True)[: 20 if quick else None] / 255
    result = robust_pca(frames, warn=False)
    s = result.x.s
    yield (
        f"pedestrians {frames.shape}: {result.nit} steps, gap {result.dual_gap:.0e}, "
        f"rank {len(s)}, effective rank {effective_rank(s)}, "
        f"{100 * np.mean(np.abs(result.sparse) > 0.1):.1f} % "
        f"of |S| > 0.1, singular values {np.array2string(s[:5], precision=2)}"
    )
    images, masks = make_moving_objects(30 if quick else 100, random_state=0)
    X = images.reshape(len(images), -1)
    yield f"moving objects {X.shape}: {'method':<34}{'IoU':>6}{'threshold':>11}{'ms a frame':>12}"
    for name, decompose in _decompositions().items():
        decompose(X[:25])  # compiles
        seconds, sparse = timed(lambda decompose=decompose: decompose(X))
        overlap, threshold = share_found(sparse, masks)
        yield f"{'':28}{name:<34}{overlap:>6.3f}{threshold:>11.2f}{1e3 * seconds / len(X):>12.1f}"


def _decompositions():
    def batch(**options):
        return lambda X: robust_pca(X, **options, warn=False).sparse

    def residual(X):
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
        return X - (U[:, :3] * s[:3]) @ Vt[:3]

    return {
        "median of the frames": lambda X: X - np.median(X, axis=0),
        "PCA, 3 components": residual,
        "pcp": batch(),
        "pcp, ialm": batch(solver="ialm"),
        "stable, noise 0.01": batch(method="stable", noise_std=0.01),
        "accaltproj, rank 3": batch(solver="accaltproj", n_components=3),
        "scaledgd, rank 3": batch(solver="scaledgd", n_components=3),
        "OnlineRobustPCA, one pass": lambda X: (
            OnlineRobustPCA(n_components=3, random_state=0).fit(X).decompose(X)[1]
        ),
    }


def targets(quick):
    """Small targets before clouds: pooled metrics on scenes that were not calibrated on."""
    images, masks = make_infrared_targets(6 if quick else 24, random_state=0)
    half = len(images) // 2
    header = "".join(f"{name:>9}" for name in ("IoU", "F1", "Pd", "Fa"))
    yield f"{'background':<18}{header}{'s a scene':>11}"
    for background in ("opening", "patch_nuclear"):
        model = SparseObjectSegmenter(background)
        model.fit(images[:half], masks[:half])
        seconds, found = timed(lambda model=model: model.predict(images[half:]))
        scores = segmentation_metrics(masks[half:], found)
        cells = "".join(f"{scores[name]:>9.3g}" for name in ("iou", "f1", "pd", "fa"))
        yield f"{background:<18}{cells}{seconds / (len(images) - half):>11.3f}"
