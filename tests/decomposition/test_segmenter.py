"""SparseObjectSegmenter: reference scenes, video with known masks, invariances, arguments."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks as sklearn_checks

from sparseopt.datasets import make_infrared_targets, make_moving_objects
from sparseopt.decomposition import SparseObjectSegmenter, segmentation_metrics
from sparseopt.decomposition._backgrounds import (
    contrast_weights,
    opening_background,
    patch_pursuit,
    subtract_projection,
    unrolled_opening,
)
from sparseopt.decomposition._object_masks import best_threshold, candidate_thresholds
from sparseopt.testing import expected_failed_checks, parametrize_with_checks

DATA = Path(__file__).parents[1] / "data" / "decomposition"
BACKGROUNDS = ["opening", "patch_nuclear", "nuclear", "median", "online"]
VIDEO = ["nuclear", "median", "online"]


@pytest.fixture(scope="module")
def scenes():
    stored = np.load(DATA / "ir_targets.npz")
    masks = np.unpackbits(stored["masks"], axis=-1).astype(bool)
    return stored["images"], masks


@pytest.fixture(scope="module")
def video():
    return make_moving_objects(60, random_state=0)


@pytest.fixture(scope="module")
def small_video():
    still = np.random.default_rng(0).uniform(0.3, 0.6, (36, 40))
    return make_moving_objects(12, background=still, n_objects=3, random_state=0)


def _iou_relative_to_maximum(maps, masks, share):
    found = maps > share * maps.max(axis=(1, 2), keepdims=True)
    return segmentation_metrics(masks, found).iou


# -- reference scenes ------------------------------------------------------------------


def test_reference_number_of_the_unrolled_opening(scenes):
    images, masks = scenes
    _, objects = unrolled_opening(
        images / 255, 0.02, size=11, n_stages=6, prior="contrast", nonnegative=True
    )
    found = objects > 0.3 * objects.max(axis=(1, 2), keepdims=True)
    metrics = segmentation_metrics(masks, found)
    assert_allclose(metrics.iou, 0.55992, atol=5e-4)
    assert metrics.pd == 1.0
    assert_allclose(metrics.fa, 0.00056, atol=1e-5)


def test_reference_number_of_the_infrared_patch_image_model(scenes):
    images, masks = scenes
    segmenter = SparseObjectSegmenter("patch_nuclear", lam=2.0).fit(images[:2])
    maps = segmenter.decision_function(images)
    assert_allclose(_iou_relative_to_maximum(maps, masks, 0.2), 0.471, atol=0.03)


@pytest.mark.parametrize("train", [slice(0, 6), slice(0, 12, 2)])
def test_calibrated_on_half_of_the_scenes_and_tested_on_all(scenes, train):
    images, masks = scenes
    others = np.ones(12, dtype=bool)
    others[train] = False
    segmenter = SparseObjectSegmenter().fit(images[train], masks[train])
    top_hat = images - np.array([ndimage.grey_opening(image, (9, 9)) for image in images])
    assert_allclose(_iou_relative_to_maximum(top_hat, masks, 0.5), 0.295, atol=0.02)
    levels = np.arange(10, 70)
    ious = [segmentation_metrics(masks[train], top_hat[train] > level).iou for level in levels]
    level = levels[np.argmax(ious)]
    for part in (others, slice(None)):
        metrics = segmentation_metrics(masks[part], segmenter.predict(images[part]))
        assert metrics.iou >= 0.65
        assert metrics.iou > segmentation_metrics(masks[part], top_hat[part] > level).iou + 0.1
        assert metrics.pd == 1.0
        assert metrics.fa < 5e-4
    assert segmenter.score(images, masks) == metrics.iou


def test_without_masks_the_scenes_give_their_noise(scenes):
    images, masks = scenes
    segmenter = SparseObjectSegmenter().fit(images)
    metrics = segmentation_metrics(masks, segmenter.predict(images))
    assert metrics.iou >= 0.7
    assert metrics.pd == 1.0
    assert (segmenter.lam_, segmenter.threshold_, segmenter.size_) == (5.0, 0.0, 11)
    assert segmenter.calibration_ is None


def test_other_sizes_of_images_than_in_fit(scenes):
    images, masks = scenes
    segmenter = SparseObjectSegmenter().fit(images[:6, :96, :80], masks[:6, :96, :80])
    assert segmenter.score(images[6:], masks[6:]) >= 0.58


def test_generated_scenes_are_segmented_too():
    images, masks = make_infrared_targets(16, random_state=7)
    segmenter = SparseObjectSegmenter().fit(images[:6], masks[:6])
    assert segmenter.score(images[6:], masks[6:]) >= 0.58


# -- video -----------------------------------------------------------------------------


def test_video_backgrounds_find_moving_objects(video):
    images, masks = video
    ious = {}
    for background in VIDEO:
        segmenter = SparseObjectSegmenter(background, random_state=0).fit(images)
        metrics = segmentation_metrics(masks, segmenter.predict(images))
        ious[background] = metrics.iou
        assert metrics.pd >= 0.98
    assert ious["nuclear"] >= 0.85
    assert ious["online"] >= 0.85
    # Light drifts, which a single image cannot follow.
    assert ious["nuclear"] > ious["median"] + 0.05


def test_new_frames_have_the_background_of_the_old_ones(video):
    images, masks = video
    segmenter = SparseObjectSegmenter("nuclear", random_state=0).fit(images[::2])
    assert segmenter.score(images[1::2], masks[1::2]) >= 0.8
    components = segmenter.components_
    assert len(components) <= 3
    assert_allclose(components @ components.T, np.eye(len(components)), atol=1e-10)
    assert 0.005 < segmenter.noise_std_ < 0.02


def test_frames_are_split_to_the_minimum(video):
    images, _ = video
    segmenter = SparseObjectSegmenter("nuclear", random_state=0).fit(images)
    background, objects = np.moveaxis(segmenter.transform(images[:5]), 1, 0)
    limit = segmenter.lam_ * segmenter.noise_std_
    gradient = np.clip(images[:5] - background, -limit, limit).reshape(5, -1)
    assert_allclose(gradient @ segmenter.components_.T, 0, atol=1e-6)
    assert_allclose(gradient.reshape(objects.shape), images[:5] - background - objects, atol=1e-12)


def test_few_components_are_taken_if_asked(video):
    images, _ = video
    for background in ("nuclear", "online"):
        segmenter = SparseObjectSegmenter(background, n_components=1, random_state=0)
        assert segmenter.fit(images).components_.shape == (1, images[0].size)


def test_dark_objects_need_both_signs(video):
    images, masks = video
    dark = masks & (images < np.median(images, axis=0) - 0.1)
    both = SparseObjectSegmenter("median").fit(images).predict(images)
    bright = SparseObjectSegmenter("median", nonnegative=True).fit(images).predict(images)
    assert both[dark].mean() > 0.9
    assert not bright[dark].any()


def test_the_median_is_the_median(video):
    images, _ = video
    segmenter = SparseObjectSegmenter("median").fit(images)
    assert_array_equal(segmenter.median_, np.median(images, axis=0))
    parts = segmenter.transform(images[3])
    assert_array_equal(parts[0], segmenter.median_)
    assert_allclose(np.abs(parts[1]).max(), np.abs(segmenter.decision_function(images[3])).max())


# -- the maps --------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(arrays(np.float64, (1, 9, 12), elements=st.floats(-1, 1)))
def test_contrast_weights_by_hand(objects):
    padded = np.pad(objects[0], 4, mode="edge")
    means = np.empty((9 + 6, 12 + 6))
    for i in range(means.shape[0]):
        for j in range(means.shape[1]):
            means[i, j] = padded[i : i + 3, j : j + 3].mean()
    # Cells beyond the border repeat those on it.
    means = np.pad(means[3:-3, 3:-3], 3, mode="edge")
    contrast = np.zeros((9, 12))
    for i in range(9):
        for j in range(12):
            around = [means[i + 3 + a, j + 3 + b] for a in (-3, 0, 3) for b in (-3, 0, 3) if a or b]
            contrast[i, j] = max(means[i + 3, j + 3] - max(around), 0)
    if contrast.max() > 1e-12:
        expected = 0.2 / (contrast / contrast.max() + 0.1)
        assert_allclose(contrast_weights(objects)[0], expected, rtol=1e-6)


def test_weights_without_contrast_are_flat():
    assert_array_equal(contrast_weights(np.ones((2, 8, 8))), 2.0)


def test_opening_removes_small_bright_things_and_keeps_large_ones():
    images = np.zeros((2, 40, 40))
    images[0, 10:14, 10:14] = 1.0
    images[1, 8:32, 8:32] = 1.0
    opened = opening_background(images, 11)
    assert_array_equal(opened[0], 0)
    assert_allclose(opened[1, 14:26, 14:26], 1, rtol=1e-12)


@pytest.mark.parametrize("merge", ["mean", "median"])
@pytest.mark.parametrize("shape", [(33, 41), (12, 50)])
def test_patches_are_put_together_again(merge, shape, monkeypatch):
    from sparseopt.decomposition import _backgrounds

    rng = np.random.default_rng(0)
    image = rng.standard_normal(shape)
    seen = {}

    class Result:
        pass

    def keep_all(patches, **options):
        seen.update(options, shape=patches.shape)
        result = Result()
        result.sparse = patches + noise[: patches.shape[0], : patches.shape[1]]
        return result

    noise = np.zeros((400, 400))
    monkeypatch.setattr(_backgrounds, "robust_pca", keep_all)
    options = {"patch_size": 15, "step": 7, "merge": merge, "nonnegative": False}
    background, objects = patch_pursuit(image, 2.0, **options)
    assert_allclose(objects, image, atol=1e-12)
    assert_allclose(background, 0, atol=1e-12)
    assert_allclose(seen["lam"], 2 / np.sqrt(max(seen["shape"])))
    # Where patches disagree, the mean or the median of those over a pixel is taken.
    noise = rng.standard_normal((400, 400))
    _, objects = patch_pursuit(image, 2.0, **options)
    height = min(15, shape[0])
    tops = [*range(0, shape[0] - height + 1, 7)]
    tops += [] if tops[-1] == shape[0] - height else [shape[0] - height]
    lefts = [*range(0, shape[1] - 14, 7)]
    lefts += [] if lefts[-1] == shape[1] - 15 else [shape[1] - 15]
    assert seen["shape"] == (len(tops) * len(lefts), height * 15)
    for i, j in ((0, 0), (shape[0] // 2, 20), (shape[0] - 1, shape[1] - 1)):
        values = [
            noise[k, (i - top) * 15 + j - left]
            for k, (top, left) in enumerate((top, left) for top in tops for left in lefts)
            if 0 <= i - top < height and 0 <= j - left < 15
        ]
        centre = np.mean(values) if merge == "mean" else np.median(values)
        assert_allclose(objects[i, j], image[i, j] + centre, atol=1e-12)


def test_candidates_hold_the_best_threshold():
    rng = np.random.default_rng(0)
    masks = rng.random((2, 20, 20)) < 0.1
    scores = np.maximum(masks + 0.5 * rng.standard_normal(masks.shape), 0)
    candidates = candidate_thresholds(scores, masks.sum())
    assert candidates[0] == 0
    assert np.all(np.diff(candidates) > 0)
    _, iou = best_threshold(scores, masks, candidates, 1.0, 1)
    every = np.unique(scores)
    _, largest = best_threshold(scores, masks, every, 1.0, 1)
    assert largest - 0.02 <= iou <= largest


# -- invariances -----------------------------------------------------------------------


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_scale_and_type_of_images_do_not_matter(background, small_video):
    images, _ = small_video
    segmenter = SparseObjectSegmenter(background, patch_size=20, random_state=0)
    expected = clone(segmenter).fit(images).predict(images)
    assert expected.dtype == bool
    assert expected.any()
    for scale in (1e-6, 1e6):
        found = clone(segmenter).fit(scale * images).predict(scale * images)
        assert np.mean(found != expected) <= 2e-4
    single = images.astype(np.float32)
    fitted = clone(segmenter).fit(single)
    assert np.mean(fitted.predict(single) != expected) < 2e-3
    assert fitted.transform(single).dtype == np.float32
    assert fitted.decision_function(single).dtype == np.float32


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_images_are_independent_once_the_background_is_known(background, small_video):
    images, _ = small_video
    segmenter = SparseObjectSegmenter(background, patch_size=20, random_state=0).fit(images)
    together = segmenter.decision_function(images)
    assert_allclose(segmenter.decision_function(images[4]), together[4], atol=1e-7)
    assert_array_equal(segmenter.predict(images[4]), segmenter.predict(images)[4])
    assert segmenter.transform(images[4]).shape == (2, 36, 40)
    assert segmenter.transform(images).shape == (12, 2, 36, 40)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_flattened_images_give_the_same(background, small_video):
    images, masks = small_video
    options = {"lam": 3.0, "patch_size": 20, "random_state": 0}
    stacked = SparseObjectSegmenter(background, **options).fit(images, masks)
    rows = images.reshape(12, -1)
    for shape in ((36, 40), (36, -1), [-1, 40]):
        flat = SparseObjectSegmenter(background, image_shape=shape, **options).fit(rows, masks)
        assert flat.image_shape_ == (36, 40)
        assert_array_equal(flat.predict(rows), stacked.predict(images).reshape(12, -1))
        parts = stacked.transform(images)
        assert_allclose(flat.transform(rows), parts.reshape(12, -1), atol=1e-12)
        assert flat.score(rows, masks) == stacked.score(images, masks)
        assert flat.score(rows, masks.reshape(12, -1)) == stacked.score(images, masks)
        assert len(flat.get_feature_names_out()) == 2 * 36 * 40


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
def test_constant_images_have_no_objects(background, value):
    images = np.full((5, 24, 30), value)
    segmenter = SparseObjectSegmenter(background, patch_size=12, step=6, random_state=0)
    assert not segmenter.fit(images).predict(images).any()


# -- arguments -------------------------------------------------------------------------


def test_calibration_keeps_what_is_given(scenes):
    images, masks = scenes
    free = SparseObjectSegmenter().fit(images[:4], masks[:4])
    tried = free.calibration_
    best = int(np.argmax(tried["iou"]))
    chosen = (free.size_, free.lam_, free.threshold_)
    assert chosen == tuple(tried[key][best] for key in ("size", "lam", "threshold"))
    assert_allclose(free.score(images[:4], masks[:4]), tried["iou"][best])
    assert set(tried["size"]) == {7, 11, 15}
    others = make_infrared_targets(3, shape=(48, 48), n_targets=1, random_state=0)
    segmenter = SparseObjectSegmenter().fit(*others)
    best = int(np.argmax(segmenter.calibration_["iou"]))
    assert best > 0
    assert segmenter.lam_ == segmenter.calibration_["lam"][best]
    assert segmenter.score(*others) == segmenter.calibration_["iou"].max()
    fixed = SparseObjectSegmenter(size=9, lam=3.3, threshold=1.5).fit(images[:4], masks[:4])
    assert (fixed.size_, fixed.lam_, fixed.threshold_) == (9, 3.3, 1.5)
    assert tried["iou"][best] >= fixed.calibration_["iou"][0]
    partly = SparseObjectSegmenter(lam=3.3).fit(images[:4], masks[:4])
    assert set(partly.calibration_["lam"]) == {3.3}


def test_regions_below_the_smallest_area_go():
    rng = np.random.default_rng(0)
    images = 0.01 * rng.standard_normal((2, 40, 40))
    images[0, 10:13, 10:13] += 1
    images[1, 20, 20] += 3
    kept = SparseObjectSegmenter(min_area=4, prior=None, n_stages=1).fit(images)
    everything = SparseObjectSegmenter(prior=None, n_stages=1).fit(images)
    assert everything.predict(images)[1, 20, 20]
    labels, n_regions = ndimage.label(kept.predict(images), np.ones((3, 3, 3)))
    assert n_regions >= 1
    assert np.bincount(labels.ravel())[1:].min() >= 4
    assert kept.predict(images)[0, 11, 11]
    assert not kept.predict(images)[1].any()


def test_labels_of_whole_images_calibrate_nothing():
    images, _ = make_infrared_targets(6, shape=(48, 48), random_state=0)
    labels = np.arange(6) % 2
    assert SparseObjectSegmenter().fit(images, labels).calibration_ is None
    with pytest.raises(ValueError, match="y must hold masks"):
        SparseObjectSegmenter().fit(images).score(images, labels)


def test_works_in_searches_and_pipelines():
    images, masks = make_infrared_targets(9, shape=(48, 48), n_targets=1, random_state=0)
    search = GridSearchCV(SparseObjectSegmenter(), {"n_stages": [1, 6]}, cv=3).fit(images, masks)
    assert search.best_params_ == {"n_stages": 6}
    empty, _ = make_infrared_targets(9, shape=(48, 48), n_targets=0, random_state=1)
    rows = np.concatenate([images, empty]).reshape(18, -1)
    labels = np.repeat([1, 0], 9)
    pipeline = make_pipeline(SparseObjectSegmenter(image_shape=(48, 48)), LogisticRegression(C=100))
    assert pipeline.fit(rows, labels).predict(rows).shape == (18,)


IMAGES = np.random.default_rng(0).random((4, 20, 24))
MASKS = IMAGES > 0.9


@pytest.mark.parametrize(
    ("options", "X", "y", "message"),
    [
        ({}, IMAGES, MASKS[:, :10], "y must be masks"),
        ({}, IMAGES, MASKS[:3], "y must be masks"),
        ({}, IMAGES, IMAGES, "y must be boolean"),
        ({}, IMAGES, np.zeros_like(MASKS), "mark at least one pixel"),
        ({}, IMAGES[None], None, "X must have shape"),
        ({}, IMAGES[:, :0], None, "X must have shape"),
        ({}, np.where(MASKS, np.nan, IMAGES), None, "NaN"),
        ({}, np.where(MASKS, np.inf, IMAGES), None, "infinity"),
        ({"background": "median"}, IMAGES[0], None, "several frames"),
        ({"background": "nuclear"}, IMAGES[:1], None, "several frames"),
        ({"background": "nuclear", "n_components": 5}, IMAGES, None, "at most 4"),
        ({"background": "patch_nuclear", "prior": "contrast"}, IMAGES, None, "prior"),
        ({"image_shape": (20, 24)}, IMAGES, None, "dim 3"),
        ({"image_shape": (20, 25)}, IMAGES.reshape(4, -1), None, "does not fit rows of 480"),
        ({"image_shape": (-1, 7)}, IMAGES.reshape(4, -1), None, "does not fit rows of 480"),
        ({"image_shape": (-1, -1)}, IMAGES.reshape(4, -1), None, "image_shape must be"),
        ({"image_shape": (20, 24, 1)}, IMAGES.reshape(4, -1), None, "image_shape must be"),
        ({"image_shape": (20.0, 24)}, IMAGES.reshape(4, -1), None, "image_shape must be"),
        ({"lam": 0.0}, IMAGES, None, "'lam'"),
        ({"threshold": -1.0}, IMAGES, None, "'threshold'"),
        ({"background": "rank"}, IMAGES, None, "'background'"),
    ],
)
def test_bad_input_is_refused(options, X, y, message):
    segmenter = SparseObjectSegmenter(**options)
    with pytest.raises(ValueError, match=message):
        segmenter.fit(X, y)
    assert not hasattr(segmenter, "lam_")


def test_another_fit_forgets_the_first():
    segmenter = SparseObjectSegmenter("median").fit(IMAGES)
    segmenter.set_params(background="opening").fit(IMAGES[:, :10], MASKS[:, :10])
    assert not hasattr(segmenter, "median_")
    assert segmenter.image_shape_ == (10, 24)


def test_frames_of_another_size_are_refused():
    segmenter = SparseObjectSegmenter("median").fit(IMAGES)
    with pytest.raises(ValueError, match="as in fit"):
        segmenter.predict(IMAGES[:, :10])


def test_projection_leaves_the_frames_alone():
    frames = IMAGES.reshape(4, -1)
    frames.setflags(write=False)
    components = np.linalg.qr(frames.T)[0].T[:1].copy()
    background = subtract_projection(frames, components, np.inf)
    assert_allclose(background, frames @ components.T @ components, atol=1e-10)


# -- estimator checks of the other backgrounds -----------------------------------------

OTHERS = [SparseObjectSegmenter(name, image_shape=(1, -1)) for name in BACKGROUNDS[1:]]


@sklearn_checks(OTHERS, expected_failed_checks=expected_failed_checks)
def test_scikit_learn_check(estimator, check):
    assert check(estimator) is None


@parametrize_with_checks(OTHERS)
def test_library_check(estimator, check):
    assert check(type(estimator).__name__, estimator) is None
