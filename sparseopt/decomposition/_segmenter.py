"""The estimator that finds sparse objects in pictures and video; see ``_backgrounds``."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from sparseopt._core import fitting
from sparseopt.decomposition._backgrounds import (
    PURSUIT_TOL,
    frame_components,
    informative_residuals,
    online_components,
    opening_background,
    patch_pursuit,
    shrink_objects,
    subtract_projection,
    unrolled_opening,
)
from sparseopt.decomposition._image_input import (
    FLOATS,
    check_image_stack,
    check_size_of_values,
    masks_like,
    rounding_noise,
    shape_of_rows,
)
from sparseopt.decomposition._noise import estimate_noise
from sparseopt.decomposition._object_masks import (
    best_threshold,
    candidate_thresholds,
    threshold_maps,
)
from sparseopt.decomposition._segmentation_metrics import intersection_over_union

VIDEO = ("nuclear", "median", "online")
# What "auto" means without masks, and the values that are tried with them.
DEFAULT_SIZE = 11
SIZES = (7, 11, 15)
DEFAULT_VIDEO_LAM = 4.0
DEFAULT_LAMS = {"opening": 5.0, "patch_nuclear": 2.0}
LAMS = {"opening": (2.0, 3.0, 4.0, 5.0, 6.0, 8.0), "patch_nuclear": (1.0, 1.5, 2.0, 3.0)}
DEFAULT_THRESHOLDS = {"opening": 0.0, "patch_nuclear": 2.0}


class SparseObjectSegmenter(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Find small or moving objects in pictures and video, as what the background leaves over.

    Images D are split into a background B, which a simple model explains, and objects O, which
    cover few pixels [1]_:

    .. math:: \min_{B, O} R(B) + \lambda \sum_i w_i |O_i| \quad\text{with } D \approx B + O .

    A mask is where O exceeds a threshold. Backgrounds of single images ("opening",
    "patch_nuclear") are found anew in each image, and show small targets; those of video
    ("nuclear", "median", "online") are learnt in ``fit`` from frames of a still camera, and show
    whatever was not there most of the time.

    Parameters
    ----------
    background : {"opening", "patch_nuclear", "nuclear", "median", "online"}, default="opening"
        The model R.

        - "opening": the image without bright details smaller than ``size`` pixels, by a
          morphological opening; ``n_stages`` steps on B and on O in turn. Dark objects are
          found in the negative of an image.
        - "patch_nuclear": the overlapping patches of an image form a matrix of low rank [2]_;
          principal component pursuit on each image.
        - "nuclear": the frames lie near a few images, found by principal component pursuit
          of all frames in ``fit``; new frames are projected on their span robustly, that is
          exactly to the minimum over B and O.
        - "median": the median of all frames in ``fit``, which light must not change.
        - "online": as "nuclear", by one pass of :class:`OnlineRobustPCA` over the frames.
    image_shape : pair of int, default=None
        Height and width, if rows of X are flattened images, as in a pipeline; one of them may
        be -1 and follows from the length of the rows. None: X is a stack of images, or a
        single one.
    prior : {"auto", "contrast"} or None, default="auto"
        "contrast": the weights fall from 2 to 0.18 with the contrast, which is how far the mean
        of 3 x 3 pixels is above the means of all eight cells round them, as in small targets.
        None: all weights are 1. "auto" is "contrast" with "opening" and None otherwise;
        "patch_nuclear" has no other choice.
    nonnegative : bool or "auto", default="auto"
        Whether objects are brighter than the background. "auto": in single images, not in video.
    lam : float or "auto", default="auto"
        :math:`\lambda`, in units of ``noise_std_``, or with "patch_nuclear" in units of
        :math:`1 / \sqrt{\max(m, n)}` for m patches of n pixels. "auto" means the best of a
        few values if ``fit`` has masks; without masks 5 with "opening", 2 with
        "patch_nuclear", and 4 in video.
    threshold : float or "auto", default="auto"
        Pixels belong to an object where \|O\| is above it, in units of ``noise_std_``. "auto"
        means the best one if ``fit`` has masks; without masks 0, since what is not zero in O
        has passed :math:`\lambda` already, or 2 with "patch_nuclear".
    size : int or "auto", default="auto"
        Side of the square of the opening, longer than targets are; "auto" means the best of 7,
        11 and 15 if ``fit`` has masks, and 11 without.
    n_stages : int, default=6
        Number of stages with "opening".
    n_components : int or "auto", default="auto"
        Number of images that span the background with "nuclear" and "online"; "auto" means as
        many as hold 0.9999 of the energy of the low-rank part.
    patch_size : int, default=30
        Side of the patches of "patch_nuclear"; the whole side of smaller images.
    step : int, default=10
        Distance of neighbouring patches.
    merge : {"mean", "median"}, default="mean"
        How the values of a pixel in overlapping patches are put together.
    min_area : int, default=1
        Smaller 8-connected regions are removed from the masks.
    random_state : int, RandomState instance or None, default=None
        For the singular value decompositions of "nuclear", and for "online".

    Attributes
    ----------
    noise_std_ : float
        Standard deviation of what the background leaves over in the images of ``fit``, by its
        median absolute deviation, in the units of the images. With "patch_nuclear" the opening
        stands for the background. It is at least that of rounding: :math:`1 / \sqrt{12}` of the
        step between the levels of images that hold 16 levels or more, evenly spaced, such as
        integers; and a hundred-thousandth of the largest value where the background is found
        by iteration.
    lam_ : float
        The used ``lam``.
    threshold_ : float
        The used ``threshold``.
    size_ : int
        The used ``size``.
    calibration_ : dict of ndarray or None
        What was tried on the masks: "size", "lam", the best "threshold" for these, and its
        "iou"; None without masks.
    components_ : ndarray of shape (n_components, height * width)
        Images that span the background; only with "nuclear" and
        "online".
    median_ : ndarray of shape (height, width)
        Median of the frames; only with "median".
    image_shape_ : tuple of int
        Height and width in ``fit``.
    n_features_in_ : int
        Number of pixels of an image in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the pixels, if the data had any; only with ``image_shape``.

    See Also
    --------
    segmentation_metrics : Judges masks by pixels and by targets.
    RobustPCA : The low-rank plus sparse model of a matrix.

    Notes
    -----
    With masks in ``fit``, what is "auto" among ``size``, ``lam`` and ``threshold`` is chosen by
    the intersection over union on these images.

    In "opening", what the objects do not explain is added to them again at each stage, as in
    [1]_. They grow over pixels that stand out persistently and become brighter than they are,
    so that O is a score there rather than a part of the image. In the other models B + O is
    the image up to noise, and up to dark objects where these are not wanted.

    Results do not depend on the scale of the images. All images share
    ``noise_std_``, so fit to images that are as noisy as those to come. Single-image models
    accept other sizes of images than in ``fit``.

    With ``image_shape=None`` a matrix is one image, so its rows are no samples and
    scikit-learn's checks do not apply; they hold with ``image_shape``, save that :meth:`score`
    needs masks, not labels.

    References
    ----------
    .. [1] F. Wu, Y. Dai, T. Zhang, Y. Ding, J. Yang, M.-M. Cheng, Z. Peng (2025). RPCANet++:
       Deep Interpretable Robust PCA for Sparse Object Segmentation. arXiv:2508.04190.
    .. [2] C. Gao, D. Meng, Y. Yang, Y. Wang, X. Zhou, A. G. Hauptmann (2013). Infrared
       Patch-Image Model for Small Target Detection in a Single Image. IEEE Transactions on
       Image Processing 22(12).

    Examples
    --------
    >>> from sparseopt.datasets import make_infrared_targets
    >>> from sparseopt.decomposition import SparseObjectSegmenter
    >>> images, masks = make_infrared_targets(12, random_state=0)
    >>> segmenter = SparseObjectSegmenter().fit(images[:6], masks[:6])
    >>> found = segmenter.predict(images[6:])
    >>> found.shape, round(segmenter.score(images[6:], masks[6:]), 2)
    ((6, 128, 128), 0.7)
    """

    _parameter_constraints: dict = {
        "background": [StrOptions({"opening", "patch_nuclear", "nuclear", "median", "online"})],
        "image_shape": [tuple, list, None],
        "prior": [StrOptions({"auto", "contrast"}), None],
        "nonnegative": [StrOptions({"auto"}), "boolean"],
        "lam": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "threshold": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_stages": [Interval(Integral, 1, None, closed="left")],
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "patch_size": [Interval(Integral, 2, None, closed="left")],
        "step": [Interval(Integral, 1, None, closed="left")],
        "merge": [StrOptions({"mean", "median"})],
        "min_area": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        background="opening",
        *,
        image_shape=None,
        prior="auto",
        nonnegative="auto",
        lam="auto",
        threshold="auto",
        size="auto",
        n_stages=6,
        n_components="auto",
        patch_size=30,
        step=10,
        merge="mean",
        min_area=1,
        random_state=None,
    ):
        self.background = background
        self.image_shape = image_shape
        self.prior = prior
        self.nonnegative = nonnegative
        self.lam = lam
        self.threshold = threshold
        self.size = size
        self.n_stages = n_stages
        self.n_components = n_components
        self.patch_size = patch_size
        self.step = step
        self.merge = merge
        self.min_area = min_area
        self.random_state = random_state

    @fitting
    def fit(self, X, y=None):
        """Learn the background, the noise and, from masks, the parameters that are "auto".

        Parameters
        ----------
        X : array-like of shape (n_images, height, width) or (height, width)
            Images; with ``image_shape`` of shape (n_images, height * width).
        y : array-like of bool in the shape of X, default=None
            Masks of the objects, for calibration; with ``image_shape`` their shape may be
            (n_images, height, width) too. Labels of whole images, of shape (n_images,), are
            ignored: they tell nothing about pixels.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X is not finite, not of the right shape or so large that squares overflow, if
            parameters exclude each other, if the masks do not fit the images or mark no
            pixel, and if the background of a video is to be learnt from a single frame.
        """
        images, _ = self._check_images(X, reset=True)
        masks = masks_like(y, images.shape, flat=self.image_shape is not None)
        if masks is not None and not masks.any():
            raise ValueError("y must mark at least one pixel, to calibrate with.")
        self._check_options(images)
        self.image_shape_ = images.shape[1:]
        self._learn_background(images)
        exact = 100 * np.finfo(images.dtype).eps
        accuracy = exact if self.background in ("opening", "median") else PURSUIT_TOL
        # Rounding is noise too: without it a constant image would be full of objects.
        rounding = rounding_noise(images, accuracy)
        if masks is None:
            self._set_defaults(images, rounding)
        else:
            self._calibrate(images, masks, rounding)
        return self

    def predict(self, X):
        """Return the masks of the objects.

        Parameters
        ----------
        X : array-like of shape (n_images, height, width) or (height, width)
            Images; with ``image_shape`` of shape (n_images, height * width).

        Returns
        -------
        masks : ndarray of bool in the shape of X
            True where an object is.
        """
        check_is_fitted(self)
        images, shape = self._check_images(X, reset=False)
        _, objects = self._split(images, self.lam_, self.size_, self.noise_std_)
        threshold = self.threshold_ * self.noise_std_
        return threshold_maps(np.abs(objects), threshold, self.min_area).reshape(shape)

    def decision_function(self, X):
        """Return how much of each pixel belongs to an object.

        Parameters
        ----------
        X : array-like of shape (n_images, height, width) or (height, width)
            Images; with ``image_shape`` of shape (n_images, height * width).

        Returns
        -------
        scores : ndarray in the shape of X
            Absolute values of the objects; :meth:`predict` compares them with
            ``threshold_ * noise_std_``.
        """
        check_is_fitted(self)
        images, shape = self._check_images(X, reset=False)
        return np.abs(self._split(images, self.lam_, self.size_, self.noise_std_)[1]).reshape(shape)

    def transform(self, X):
        """Split images into background and objects.

        Parameters
        ----------
        X : array-like of shape (n_images, height, width) or (height, width)
            Images; with ``image_shape`` of shape (n_images, height * width).

        Returns
        -------
        parts : ndarray of shape (n_images, 2, height, width) or (2, height, width)
            Background and objects; with ``image_shape`` of shape
            (n_images, 2 * height * width), the background first.
        """
        check_is_fitted(self)
        images, shape = self._check_images(X, reset=False)
        parts = np.stack(self._split(images, self.lam_, self.size_, self.noise_std_), axis=1)
        if self.image_shape is not None:
            return parts.reshape(len(parts), -1)
        return parts if len(shape) == 3 else parts[0]

    def score(self, X, y):
        """Return the intersection over union of the predicted and the true masks.

        Parameters
        ----------
        X : array-like of shape (n_images, height, width) or (height, width)
            Images; with ``image_shape`` of shape (n_images, height * width).
        y : array-like of bool in the shape of X
            True masks.

        Returns
        -------
        iou : float
            Pooled over the pixels of all images; 1 if all masks are empty.
        """
        predicted = self.predict(X)
        if self.image_shape is None:
            predicted = predicted.reshape(-1, *predicted.shape[-2:])
        else:
            predicted = predicted.reshape(-1, *self.image_shape_)
        masks = masks_like(y, predicted.shape, flat=self.image_shape is not None)
        if masks is None:
            raise ValueError(f"y must hold masks in the shape of X, got shape {np.shape(y)}.")
        return float(intersection_over_union(masks, predicted))

    # -- validation ------------------------------------------------------------------

    def _check_images(self, X, *, reset):
        """Return images (n, height, width), and the shape in which results are due."""
        if self.image_shape is not None:
            X = validate_data(self, X, dtype=FLOATS, reset=reset)
            check_size_of_values(X)
            return X.reshape(len(X), *shape_of_rows(self.image_shape, X.shape[1])), X.shape
        X = check_image_stack(X)
        images = X if X.ndim == 3 else X[None]
        check_size_of_values(images)
        if reset:
            self.n_features_in_ = images[0].size
            vars(self).pop("feature_names_in_", None)  # of an earlier fit to rows
        elif self.background in VIDEO and images.shape[1:] != self.image_shape_:
            raise ValueError(
                f"X must have frames of {self.image_shape_} pixels, as in fit, got {X.shape}."
            )
        return images, X.shape

    def _check_options(self, images):
        n_images = len(images)
        if self.background in VIDEO and n_images < 2:
            raise ValueError(
                f"background={self.background!r} is learnt from several frames, got 1 sample; "
                "background='opening' works on single images."
            )
        if self.background == "patch_nuclear" and self.prior == "contrast":
            raise ValueError("prior='contrast' cannot be had with background='patch_nuclear'.")
        if self.background in ("nuclear", "online") and self.n_components != "auto":
            largest = min(n_images, images[0].size)
            if self.n_components > largest:
                raise ValueError(
                    f"n_components must be at most {largest}, the smaller of the numbers of frames "
                    f"and of pixels, got {self.n_components!r}."
                )

    # -- the model -------------------------------------------------------------------

    def _learn_background(self, images):
        for of_an_earlier_fit in ("components_", "median_"):
            vars(self).pop(of_an_earlier_fit, None)
        frames = images.reshape(len(images), -1)
        if self.background == "median":
            self.median_ = np.median(images, axis=0).astype(images.dtype, copy=False)
        elif self.background in VIDEO:
            learn = online_components if self.background == "online" else frame_components
            self.components_ = learn(
                frames, n_components=self.n_components, random_state=self.random_state
            )

    def _video_background(self, images, threshold):
        if self.background == "median":
            return np.broadcast_to(self.median_, images.shape)
        frames = images.reshape(len(images), -1)
        return subtract_projection(frames, self.components_, threshold).reshape(images.shape)

    def _noise(self, images, size, rounding):
        """Return the standard deviation of what is neither background nor object."""
        if self.background not in VIDEO:
            residuals = images - opening_background(images, size)
            return max(estimate_noise(residuals - np.median(residuals)), rounding)
        noise_std = np.inf
        for _ in range(3):  # Objects pull at the first projection, which is not robust yet.
            residuals = images - self._video_background(images, DEFAULT_VIDEO_LAM * noise_std)
            informative = informative_residuals(residuals) if self.background == "median" else None
            noise_std = max(estimate_noise(residuals, informative), rounding)
        return noise_std

    def _split(self, images, lam, size, noise_std):
        """Return background and objects, both (n_images, height, width)."""
        video = self.background in VIDEO
        nonnegative = not video if self.nonnegative == "auto" else self.nonnegative
        if self.background == "patch_nuclear":
            options = {"patch_size": self.patch_size, "step": self.step, "merge": self.merge}
            options["nonnegative"] = nonnegative
            parts = [patch_pursuit(image, lam, **options) for image in images]
            return tuple(np.stack(part) for part in zip(*parts, strict=True))
        threshold = lam * noise_std
        prior = (None if video else "contrast") if self.prior == "auto" else self.prior
        shrinkage = {"prior": prior, "nonnegative": nonnegative}
        if video:
            background = self._video_background(images, threshold)
            return background, shrink_objects(images - background, threshold, **shrinkage)
        return unrolled_opening(images, threshold, size=size, n_stages=self.n_stages, **shrinkage)

    # -- parameters that are "auto" --------------------------------------------------

    def _set_defaults(self, images, rounding):
        self.size_ = DEFAULT_SIZE if self.size == "auto" else self.size
        default = DEFAULT_LAMS.get(self.background, DEFAULT_VIDEO_LAM)
        self.lam_ = default if self.lam == "auto" else float(self.lam)
        default = DEFAULT_THRESHOLDS.get(self.background, 0.0)
        self.threshold_ = default if self.threshold == "auto" else float(self.threshold)
        self.noise_std_ = self._noise(images, self.size_, rounding)
        self.calibration_ = None

    def _calibrate(self, images, masks, rounding):
        """Take the size, lam and threshold with the best IoU."""
        sizes = SIZES if self.background == "opening" else (DEFAULT_SIZE,)
        sizes = sizes if self.size == "auto" else (self.size,)
        lams = LAMS.get(self.background, LAMS["opening"])
        lams = lams if self.lam == "auto" else (float(self.lam),)
        tried = []
        for size in sizes:
            noise_std = self._noise(images, size, rounding)
            for lam in lams:
                scores = np.abs(self._split(images, lam, size, noise_std)[1])
                threshold, iou = self._best_threshold(scores, masks, noise_std)
                tried.append((size, lam, threshold, iou))
        columns = [np.array(column) for column in zip(*tried, strict=True)]
        names = ("size", "lam", "threshold", "iou")
        self.calibration_ = dict(zip(names, columns, strict=True))
        best = int(np.argmax(self.calibration_["iou"]))
        self.size_, self.lam_, self.threshold_ = tried[best][:3]
        self.noise_std_ = self._noise(images, self.size_, rounding)

    def _best_threshold(self, scores, masks, noise_std):
        """Return the threshold, in units of the noise, with the best IoU, and this IoU."""
        if self.threshold == "auto":
            candidates = candidate_thresholds(scores, np.count_nonzero(masks)) / noise_std
        else:
            candidates = np.array([float(self.threshold)])
        return best_threshold(scores, masks, candidates, noise_std, self.min_area)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = self.image_shape is None
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return 2 * self.n_features_in_
