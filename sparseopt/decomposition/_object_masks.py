"""Images from rows, and masks from maps of objects: thresholds and the removal of specks."""

from numbers import Integral

import numpy as np
from scipy import ndimage

from sparseopt.decomposition._segmentation_metrics import (
    EIGHT_NEIGHBOURS,
    intersection_over_union,
)


def shape_of_rows(image_shape, n_pixels):
    """Return height and width of images in rows of ``n_pixels``; one side may be given as -1."""
    sides = tuple(image_shape)
    known = [side for side in sides if isinstance(side, Integral) and side > 0]
    if len(sides) != 2 or len(known) + sides.count(-1) != 2 or not known:
        raise ValueError(
            "image_shape must be a pair of positive integers, of which one may be -1, got "
            f"{image_shape!r}."
        )
    if n_pixels % np.prod(known) or (len(known) == 2 and n_pixels != np.prod(known)):
        raise ValueError(f"image_shape={image_shape!r} does not fit rows of {n_pixels} pixels.")
    return tuple(n_pixels // known[0] if side == -1 else int(side) for side in sides)


def threshold_maps(scores, threshold, min_area):
    """Return where scores (n_images, height, width) exceed a threshold, in large regions."""
    masks = scores > threshold
    if min_area == 1:
        return masks
    labels, _ = ndimage.label(masks, EIGHT_NEIGHBOURS)
    large = np.bincount(labels.ravel()) >= min_area
    large[0] = False
    return large[labels]


def best_threshold(scores, masks, candidates, unit, min_area):
    """Return the first of the candidates, in units, with the largest IoU, and this IoU."""
    ious = [
        intersection_over_union(masks, threshold_maps(scores, candidate * unit, min_area))
        for candidate in candidates
    ]
    best = int(np.argmax(ious))
    return float(candidates[best]), float(ious[best])


def candidate_thresholds(scores, n_true):
    """Return 0, and thresholds that leave from a quarter of to four times ``n_true`` pixels."""
    positive = np.sort(scores[scores > 0])[::-1].astype(np.float64)
    counts = np.unique(np.round(n_true * np.geomspace(0.25, 4, 33)).astype(int))
    counts = counts[(counts > 0) & (counts < len(positive))]
    between = (positive[counts - 1] + positive[counts]) / 2
    return np.concatenate([[0.0], between[::-1]])
