"""How well masks of objects agree with true ones: by pixels, and by whole targets.

Pixels are pooled over all images. Targets are the 8-connected regions of the true masks;
their rates of detection and of false alarms are those of the literature on small infrared
targets, with regions told apart by their labels and never by their areas.
"""

from numbers import Real

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Bunch

# Pixels touch their eight neighbours in the same image, and none of another image.
EIGHT_NEIGHBOURS = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


def segmentation_metrics(y_true, y_pred, *, match="overlap", max_distance=3.0):
    r"""Compare masks of objects with the true masks.

    Parameters
    ----------
    y_true, y_pred : array-like of bool of shape (n_images, height, width) or (height, width)
        True and predicted masks; numbers that are all 0 or 1 will do.
    match : {"overlap", "centroid"}, default="overlap"
        What detects a target, which is an 8-connected region of a true mask. "overlap": a
        predicted pixel in it. "centroid": a predicted region whose centroid is nearer than
        ``max_distance`` to the target's, where no region detects two targets; as many targets
        as possible are matched, with the smallest sum of distances.
    max_distance : float, default=3.0
        In pixels; only with ``match="centroid"``.

    Returns
    -------
    metrics : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries:

        iou : float
            Intersection over union of the pixels of all images together; 1 if all masks
            are empty.
        f1 : float
            :math:`2 |P \cap T| / (|P| + |T|)`, pooled likewise; 1 if all masks are empty.
        pd : float
            Probability of detection, the share of the targets that are detected; 1 if there
            are none.
        fa : float
            False alarms. With ``match="overlap"`` the share of the pixels off the targets
            that are predicted, 0 if there are none; with ``match="centroid"`` the share of all
            pixels that lie in predicted regions without a target.
        n_targets, n_detected : int
            Number of targets, and of those detected.

    Raises
    ------
    ValueError
        If shapes differ, if there are no pixels or if a mask has other values than 0 and 1.

    See Also
    --------
    SparseObjectSegmenter : Predicts such masks.

    Notes
    -----
    A widely used implementation of the rule of centroids removes the matched regions from the
    list of their areas by value, so that regions with the area of a matched one raise no alarm;
    here a region is matched by its label.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import segmentation_metrics
    >>> truth = np.zeros((8, 8), dtype=bool)
    >>> truth[1:3, 1:3] = truth[5:7, 5:7] = True
    >>> found = np.zeros((8, 8), dtype=bool)
    >>> found[1:3, 1:4] = True
    >>> metrics = segmentation_metrics(truth, found)
    >>> metrics.iou, metrics.pd, metrics.fa
    (0.4, 0.5, 0.03571428571428571)
    """
    true, predicted = check_masks(y_true, "y_true"), check_masks(y_pred, "y_pred")
    if true.shape != predicted.shape:
        raise ValueError(
            f"y_true and y_pred must have the same shape, got {np.shape(y_true)} and "
            f"{np.shape(y_pred)}."
        )
    if match not in ("overlap", "centroid"):
        raise ValueError(f"match must be 'overlap' or 'centroid', got {match!r}.")
    if not isinstance(max_distance, Real):
        raise TypeError(f"max_distance must be a real number, got {max_distance!r}.")
    if not max_distance > 0:
        raise ValueError(f"max_distance must be > 0, got {max_distance!r}.")
    hit = int(np.count_nonzero(true & predicted))
    n_true, n_predicted = int(np.count_nonzero(true)), int(np.count_nonzero(predicted))
    union = n_true + n_predicted - hit
    labels, n_targets = ndimage.label(true, EIGHT_NEIGHBOURS)
    if match == "overlap":
        n_detected = np.count_nonzero(np.bincount(labels[predicted])[1:])
        fa = (n_predicted - hit) / max(true.size - n_true, 1)
    else:
        n_detected, alarm_area = _match_centroids(labels, n_targets, predicted, max_distance)
        fa = alarm_area / true.size
    return Bunch(
        iou=hit / union if union else 1.0,
        f1=2 * hit / (n_true + n_predicted) if union else 1.0,
        pd=int(n_detected) / n_targets if n_targets else 1.0,
        fa=fa,
        n_targets=int(n_targets),
        n_detected=int(n_detected),
    )


def intersection_over_union(true, predicted):
    """Return the pooled IoU of two boolean arrays; 1 if both are empty."""
    union = np.count_nonzero(true | predicted)
    return np.count_nonzero(true & predicted) / union if union else 1.0


def check_masks(masks, name):
    """Return masks as a boolean array of shape (n_images, height, width)."""
    array = np.asarray(masks)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(
            f"{name} must have shape (n_images, height, width) or (height, width), got "
            f"{array.shape}."
        )
    if array.dtype.kind not in "biuf" or not np.all((array == 0) | (array == 1)):
        raise ValueError(f"{name} must be boolean, or hold only 0 and 1: threshold scores first.")
    return array.astype(bool, copy=False).reshape((-1, *array.shape[-2:]))


def _match_centroids(labels, n_targets, predicted, max_distance):
    """Return the number of matched targets, and the area of the predictions without one."""
    regions, n_regions = ndimage.label(predicted, EIGHT_NEIGHBOURS)
    centres, _ = _centres_and_areas(labels, n_targets)
    found, found_areas = _centres_and_areas(regions, n_regions)
    n_detected, alarm_area = 0, int(found_areas.sum())
    for image in np.intersect1d(centres[:, 0], found[:, 0]):
        here, there = centres[:, 0] == image, found[:, 0] == image
        difference = centres[here, None, 1:] - found[None, there, 1:]
        distance = np.hypot(difference[..., 0], difference[..., 1])
        near = distance < max_distance
        # A pair out of reach costs more than any set of pairs within reach.
        cost = np.where(near, distance, max_distance * (min(near.shape) + 1))
        rows, columns = linear_sum_assignment(cost)
        matched = near[rows, columns]
        n_detected += np.count_nonzero(matched)
        alarm_area -= int(found_areas[there][columns[matched]].sum())
    return n_detected, alarm_area


def _centres_and_areas(labels, n_regions):
    """Return (image, row, column) of the centres of regions 1 ... n_regions, and their areas."""
    places = np.nonzero(labels)
    region = labels[places] - 1
    areas = np.bincount(region, minlength=n_regions)
    sums = [np.bincount(region, weights=axis, minlength=n_regions) for axis in places]
    return np.stack(sums, axis=1) / np.maximum(areas, 1)[:, None], areas
