"""Masks from maps of objects: thresholds and the removal of specks."""

import numpy as np
from scipy import ndimage

from sparseopt.decomposition._segmentation_metrics import (
    EIGHT_NEIGHBOURS,
    intersection_over_union,
)


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
