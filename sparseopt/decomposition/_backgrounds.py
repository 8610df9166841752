r"""Backgrounds of images, and the objects that stand out from them.

Images D (n_images, height, width) are split into a background B and sparse objects O,

    min_{B, O}  R(B) + lam sum_i w_i |O_i|   subject to   D ~ B + O,

one proximal step on B and one on O in turn: an unrolled iteration with few stages, whose
classical maps stand where the networks of

F. Wu, Y. Dai, T. Zhang, Y. Ding, J. Yang, M.-M. Cheng, Z. Peng (2025). RPCANet++: Deep
Interpretable Robust PCA for Sparse Object Segmentation. arXiv:2508.04190

have trained ones. For a single image R is a morphological opening, or the nuclear norm of the
matrix of its patches (rows are patches here, columns in the paper):

C. Gao, D. Meng, Y. Yang, Y. Wang, X. Zhou, A. G. Hauptmann (2013). Infrared Patch-Image Model
for Small Target Detection in a Single Image. IEEE Transactions on Image Processing 22(12).

For the frames of a still camera, B lies in the span of a few images, and the exact solution of
the problem in (B, O) takes the place of the iteration.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from sparseopt.decomposition._online_robust_pca import OnlineRobustPCA
from sparseopt.decomposition._robust_pca_function import robust_pca
from sparseopt.decomposition._robust_projection import robust_projection
from sparseopt.decomposition._shrinkage import effective_rank, soft_threshold

FLATTEST_WEIGHT = 0.2  # W = 0.2 / (contrast + 0.1): from 2 without contrast down to 0.18
CONTRAST_OFFSET = 0.1
# All but one of the cells round a cell of 3 x 3 pixels.
NEIGHBOUR_CELLS = np.zeros((1, 7, 7), dtype=bool)
NEIGHBOUR_CELLS[:, ::3, ::3] = True
NEIGHBOUR_CELLS[:, 3, 3] = False
# The nuclear norm leaves small directions that one sees only beside the mean image, which has
# almost all of the energy.
BACKGROUND_ENERGY = 0.9999
# Backgrounds are needed to the accuracy of the noise only, so that no certificate is waited for,
# but where it costs nothing: an unfinished pursuit of few rows can be far from its end.
PURSUIT_TOL = 1e-5
FEW_ROWS = 10


def opening_background(images, size):
    """Return the images without their bright details smaller than ``size`` pixels.

    A mean over 3 x 3 pixels, a grey opening with a square, and a mean over 5 x 5 pixels.
    """
    smooth = ndimage.uniform_filter(images, (0, 3, 3), mode="nearest")
    square = (min(size, 2 * side) for side in images.shape[1:])  # a larger one does the same
    opened = ndimage.grey_opening(smooth, (1, *square), mode="nearest")
    return ndimage.uniform_filter(opened, (0, 5, 5), mode="nearest")


def contrast_weights(objects):
    """Return penalty weights that are small where a cell is brighter than all cells round it.

    Parameters
    ----------
    objects : ndarray of shape (n_images, height, width)
        Residuals in which objects are bright.

    Returns
    -------
    weights : ndarray of shape (n_images, height, width)
        Relative to the largest contrast of each image.
    """
    means = ndimage.uniform_filter(objects, (0, 3, 3), mode="nearest")
    around = ndimage.maximum_filter(means, footprint=NEIGHBOUR_CELLS, mode="nearest")
    contrast = np.maximum(means - around, 0)
    largest = contrast.max(axis=(1, 2), keepdims=True)
    contrast /= np.where(largest > 0, largest, 1)
    return FLATTEST_WEIGHT / (contrast + CONTRAST_OFFSET)


def shrink_objects(residual, threshold, *, prior, nonnegative):
    """Return the objects in a residual: soft thresholding, with weights where wanted."""
    if prior == "contrast":
        threshold = threshold * contrast_weights(residual if nonnegative else np.abs(residual))
    if nonnegative:
        return np.maximum(residual - threshold, 0)
    return soft_threshold(residual, threshold)


def unrolled_opening(images, threshold, *, size, n_stages, prior, nonnegative):
    """Return background and objects after ``n_stages`` stages.

    What the objects do not explain is added to them again at each stage, so that they grow
    over the pixels that stand out persistently, and become brighter than they are.
    """
    objects = np.zeros_like(images)
    for _ in range(n_stages):
        background = opening_background(images - objects, size)
        objects = shrink_objects(
            objects + images - background, threshold, prior=prior, nonnegative=nonnegative
        )
    return background, objects


def patch_pursuit(image, lam, *, patch_size, step, merge, nonnegative):
    r"""Return background and objects of one image by principal component pursuit of its patches.

    Parameters
    ----------
    image : ndarray of shape (height, width)
        The image.
    lam : float
        Multiple of :math:`1 / \sqrt{\max(m, n)}`, for m patches of n pixels.
    patch_size, step : int
        Side of the patches, and the distance of neighbours; the last ones end at the border.
    merge : {"mean", "median"}
        How a pixel's values in overlapping patches are put together.
    nonnegative : bool
        Whether objects are bright.
    """
    height, width = (min(patch_size, side) for side in image.shape)
    starts = _patch_starts(image.shape[0], height, step), _patch_starts(image.shape[1], width, step)
    windows = sliding_window_view(image, (height, width))
    patches = windows[np.ix_(*starts)].reshape(-1, height * width)
    result = _pursue(patches, lam / np.sqrt(max(patches.shape)))
    sparse = result.sparse.reshape(len(starts[0]), len(starts[1]), height, width)
    objects = _merge_patches(sparse, starts, image.shape, merge)
    background = image - objects
    return background, np.maximum(objects, 0) if nonnegative else objects


def _pursue(X, lam, *, random_state=None):
    """Return the result of principal component pursuit as accurate as backgrounds need it."""
    solver = "ialm" if min(X.shape) > FEW_ROWS else "auto"
    return robust_pca(
        X, lam=lam, solver=solver, tol=PURSUIT_TOL, random_state=random_state, warn=False
    )


def _patch_starts(length, patch_length, step):
    starts = list(range(0, length - patch_length + 1, step))
    if starts[-1] != length - patch_length:
        starts.append(length - patch_length)
    return np.array(starts)


def _merge_patches(patches, starts, shape, merge):
    """Return the image (height, width) of patches (rows, columns, patch height, patch width)."""
    height, width = patches.shape[2:]
    if merge == "mean":
        total, count = np.zeros(shape, patches.dtype), np.zeros(shape, patches.dtype)
        for i, top in enumerate(starts[0]):
            for j, left in enumerate(starts[1]):
                total[top : top + height, left : left + width] += patches[i, j]
                count[top : top + height, left : left + width] += 1
        return total / count
    # Slot k holds, at each pixel, the k-th of the patches over it.
    covering = [_cover_counts(s, length, n) for s, length, n in zip(starts, (height, width), shape)]
    slots = np.full((covering[0].max() * covering[1].max(), *shape), np.nan, patches.dtype)
    used = np.zeros(shape, dtype=int)
    for i, top in enumerate(starts[0]):
        for j, left in enumerate(starts[1]):
            here = slice(top, top + height), slice(left, left + width)
            rows, columns = np.mgrid[here]
            slots[used[here], rows, columns] = patches[i, j]
            used[here] += 1
    return np.nanmedian(slots, axis=0)


def _cover_counts(starts, patch_length, length):
    """Return how many intervals from ``starts`` cover each of the ``length`` places."""
    places = np.arange(length)
    return np.sum((starts[:, None] <= places) & (places < starts[:, None] + patch_length), axis=0)


def frame_components(frames, *, n_components, random_state):
    """Return images that span the background of all frames, by principal component pursuit.

    Parameters
    ----------
    frames : ndarray of shape (n_frames, n_pixels)
        Flattened frames.
    n_components : int or "auto"
        Number of images; "auto" takes as many as hold 0.9999 of the energy of the low-rank
        part.
    random_state : int, RandomState instance or None
        For the singular value decompositions.

    Returns
    -------
    components : ndarray of shape (n_components, n_pixels)
        Orthonormal rows.
    """
    low_rank = _pursue(frames, "auto", random_state=random_state).x
    if n_components == "auto":
        n_components = effective_rank(low_rank.s, BACKGROUND_ENERGY)
    return np.ascontiguousarray(low_rank.Vt[:n_components])


def online_components(frames, *, n_components, random_state):
    """Return images that span the background, as ``frame_components``, from one pass.

    Fewer than ``n_components`` suffice where those of the online decomposition shrink to zero.
    If all do, the frames are too few for one pass, and the components are those of
    ``frame_components``.
    """
    most = None if n_components == "auto" else n_components
    components = OnlineRobustPCA(most, random_state=random_state).fit(frames).components_
    _, s, Vt = np.linalg.svd(components, full_matrices=False)
    # Scores and components share the singular values of the low-rank part equally.
    needed = np.count_nonzero(s > s[0] * max(components.shape) * np.finfo(s.dtype).eps)
    if not needed:  # too few frames for one pass
        return frame_components(frames, n_components=n_components, random_state=random_state)
    if n_components == "auto":
        needed = effective_rank((s / s[0]) ** 2, BACKGROUND_ENERGY)
    return np.ascontiguousarray(Vt[:needed])


def informative_residuals(residuals):
    """Return which residuals of the median of frames, of the shape of images, are not 0 by law.

    The median of an odd number of values is one of them.
    """
    informative = np.ones(residuals.shape, dtype=bool)
    if len(residuals) % 2:
        nearest = np.argmin(np.abs(residuals), axis=0)[None]
        np.put_along_axis(informative, nearest, False, axis=0)
    return informative


def subtract_projection(frames, components, threshold):
    """Return the background of frames (n_frames, n_pixels) in the span of ``components``.

    It solves min_{x, o} (1/2) ||frame - components' x - o||^2 + threshold ||o||_1 for each frame.
    """
    scores, _ = robust_projection(frames, components, threshold)
    return scores @ components
