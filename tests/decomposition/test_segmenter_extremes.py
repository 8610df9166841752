"""SparseObjectSegmenter on little data, on integers, at the ends of its parameters and scales."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from sparseopt.datasets import make_infrared_targets, make_moving_objects
from sparseopt.decomposition import SparseObjectSegmenter
from sparseopt.decomposition._backgrounds import (
    informative_residuals,
    opening_background,
    shrink_objects,
)
from sparseopt.decomposition._noise import estimate_noise
from sparseopt.decomposition._object_masks import threshold_maps

DATA = Path(__file__).parents[1] / "data" / "decomposition"
BACKGROUNDS = ["opening", "patch_nuclear", "nuclear", "median", "online"]
VIDEO = ["nuclear", "median", "online"]


def still_video(n_frames, *, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    still = rng.uniform(0.3, 0.6, (36, 40))
    return still + noise * rng.standard_normal((n_frames, 36, 40))


@pytest.fixture(scope="module")
def small_video():
    still = np.random.default_rng(0).uniform(0.3, 0.6, (36, 40))
    return make_moving_objects(12, background=still, n_objects=3, random_state=0)[0]


# -- noise -----------------------------------------------------------------------------


@pytest.mark.parametrize("n_frames", [3, 4, 5, 7])
@pytest.mark.parametrize("background", VIDEO)
def test_few_frames_show_their_noise(background, n_frames):
    images = still_video(n_frames)
    segmenter = SparseObjectSegmenter(background, random_state=0).fit(images)
    assert 0.006 < segmenter.noise_std_ < 0.013
    assert segmenter.predict(images).mean() < 0.01


@pytest.mark.parametrize("n_frames", [3, 5, 7])
def test_the_noise_of_the_median_leaves_out_what_is_zero_by_law(n_frames):
    segmenter = SparseObjectSegmenter("median").fit(still_video(n_frames))
    assert_allclose(segmenter.noise_std_, 0.01, rtol=0.05)


@pytest.mark.parametrize("unit", [np.uint8(1), 1 / 255, np.float32(1 / 255), 1e-9, 1e6])
@pytest.mark.parametrize("background", VIDEO)
def test_rounding_is_noise(background, unit):
    images = np.round(255 * still_video(20, noise=0.0006)).astype(np.uint8)
    images[4, 5:8, 6:9] += 20
    images = images * unit
    segmenter = SparseObjectSegmenter(background, random_state=0).fit(images)
    assert_allclose(segmenter.noise_std_, unit * np.sqrt(1 / 12), rtol=1e-5)
    found = segmenter.predict(images)
    assert found[4, 5:8, 6:9].all()
    assert found.sum() < 20


@pytest.mark.parametrize("n_levels", [2, 3])
def test_few_levels_are_exact(n_levels):
    images = np.zeros((9, 12, 12), dtype=np.uint8)
    for i, image in enumerate(images):
        image[4:6, i : i + 2] = 1
        image[8:10, i : i + 2] = n_levels - 1
    assert_array_equal(SparseObjectSegmenter("median").fit(images).predict(images), images > 0)


def test_levels_that_are_not_even_are_no_rounding():
    images = np.tile(np.exp(np.linspace(0, 1, 40)), (3, 30, 1))
    assert SparseObjectSegmenter("median").fit(images).noise_std_ < 1e-10


@pytest.mark.parametrize("size", [5, 15])
def test_noise_is_what_the_opening_of_the_used_size_leaves(size):
    images, masks = make_infrared_targets(3, shape=(48, 48), random_state=0)
    residuals = images - opening_background(images, size)
    expected = estimate_noise(residuals - np.median(residuals))
    for y in (None, masks):
        assert SparseObjectSegmenter(size=size).fit(images, y).noise_std_ == expected


def test_noise_belongs_to_the_robust_background():
    images, _ = make_moving_objects(30, n_objects=12, random_state=0)
    segmenter = SparseObjectSegmenter("nuclear", random_state=0).fit(images)
    residuals = images - segmenter.transform(images)[:, 0]
    assert_allclose(estimate_noise(residuals), segmenter.noise_std_, rtol=0.01)


@pytest.mark.parametrize("n_frames", [4, 5])
def test_one_residual_of_an_odd_number_tells_nothing(n_frames):
    images = still_video(n_frames)
    informative = informative_residuals(images - np.median(images, axis=0))
    kept = images[informative]
    assert len(kept) == (4 if n_frames == 5 else n_frames) * 36 * 40
    assert not np.isin(np.median(images, axis=0), kept).any()


# -- backgrounds -----------------------------------------------------------------------


@pytest.mark.parametrize(("light", "n_components"), [(0.02, 2), (0.002, 1)])
@pytest.mark.parametrize("background", ["nuclear", "online"])
def test_components_hold_what_light_has_of_the_energy(background, light, n_components):
    # The energy is some (light / 0.8) ** 2; what is above 0.0001 counts.
    rng = np.random.default_rng(0)
    still, lamp = rng.uniform(0.3, 0.6, (36, 40)), np.linspace(-1, 1, 40)
    images = still + light * rng.standard_normal((40, 1, 1)) * lamp
    images += light / 20 * rng.standard_normal(images.shape)
    segmenter = SparseObjectSegmenter(background, random_state=0).fit(images)
    assert len(segmenter.components_) == n_components


def test_bright_patches_and_dark_ones():
    rng = np.random.default_rng(0)
    images = 0.5 + 0.01 * rng.standard_normal((2, 40, 40))
    images[0, 10:12, 10:12] += 0.5
    images[0, 30:32, 30:32] -= 0.5
    options = {"background": "patch_nuclear", "patch_size": 15, "step": 5}
    bright = SparseObjectSegmenter(**options).fit(images).transform(images)[:, 1]
    both = SparseObjectSegmenter(nonnegative=False, **options).fit(images).transform(images)[:, 1]
    assert bright.min() == 0
    assert both[0, 30:32, 30:32].max() < -0.2
    assert_array_equal(bright, np.maximum(both, 0))


def test_patches_have_weights_of_their_own():
    images, masks = make_infrared_targets(2, shape=(40, 40), n_targets=1, random_state=0)
    segmenter = SparseObjectSegmenter("patch_nuclear", patch_size=20).fit(images, masks)
    assert set(segmenter.calibration_["lam"]) == {1.0, 1.5, 2.0, 3.0}


@pytest.mark.parametrize("background", VIDEO)
def test_frames_that_are_the_same_have_no_objects(background, small_video):
    images = np.repeat(small_video[:1], 20, axis=0)
    segmenter = SparseObjectSegmenter(background, random_state=0).fit(images)
    assert not segmenter.predict(images).any()


@pytest.mark.parametrize("value", [0.3, 7.0])
@pytest.mark.parametrize("shape", [(20, 20), (1, 1), (31, 20)])
def test_constant_images_of_few_patches_have_no_objects(shape, value):
    images = np.full((3, *shape), value)
    assert not SparseObjectSegmenter("patch_nuclear").fit(images).predict(images).any()


def test_dark_objects_have_the_contrast_of_bright_ones():
    residual = np.random.default_rng(0).standard_normal((2, 20, 20))
    options = {"prior": "contrast", "nonnegative": False}
    objects = shrink_objects(residual, 1.0, **options)
    assert_allclose(shrink_objects(-residual, 1.0, **options), -objects)
    assert np.any(objects < 0)


def test_regions_of_the_smallest_area_stay():
    scores = np.zeros((2, 9, 9))
    scores[0, 2:4, 2:4] = scores[0, 6, 5:8] = scores[1, 2:5, 4] = 1.0
    masks = threshold_maps(scores, 0.5, 4)
    assert masks[0, 2:4, 2:4].all()
    assert masks.sum() == 4
    assert threshold_maps(scores, 0.5, 3).sum() == 10


def test_openings_larger_than_the_image():
    images = np.random.default_rng(0).random((2, 7, 10))
    for size in (13, 14, 15, 19, 20, 21, 35):
        smooth = ndimage.uniform_filter(images, (0, 3, 3), mode="nearest")
        opened = ndimage.grey_opening(smooth, (1, size, size), mode="nearest")
        expected = ndimage.uniform_filter(opened, (0, 5, 5), mode="nearest")
        assert_allclose(opening_background(images, size), expected)
    assert_allclose(opening_background(images, 10**9), opening_background(images, 35))


def test_reference_video_at_half_its_size():
    clip = np.load(DATA / "video_semi_half.npz")
    masks = np.unpackbits(clip["masks"], axis=-1).astype(bool)[..., :48]
    segmenter = SparseObjectSegmenter("nuclear", random_state=0).fit(clip["frames"])
    assert segmenter.score(clip["frames"], masks) >= 0.84
    assert len(segmenter.components_) == 2  # still light, and its drift


# -- scales ----------------------------------------------------------------------------


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_extreme_scales(background, small_video):
    segmenter = SparseObjectSegmenter(background, patch_size=20, random_state=0)
    expected = segmenter.fit(small_video).predict(small_video)
    for scale in (2.0**-400, 2.0**480):
        found = segmenter.fit(scale * small_video).predict(scale * small_video)
        assert np.mean(found != expected) < 1e-3
    for values in (1e200 * small_video, (1e20 * small_video).astype(np.float32)):
        with pytest.raises(ValueError, match="divide the images by a constant"):
            segmenter.fit(values)
        with pytest.raises(ValueError, match="divide the images by a constant"):
            segmenter.predict(values)
    rows = SparseObjectSegmenter(background, image_shape=(36, 40))
    with pytest.raises(ValueError, match="divide the images by a constant"):
        rows.fit(1e200 * small_video.reshape(12, -1))


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_images_of_nothing_calibrate_to_finite_values(background):
    masks = np.zeros((3, 20, 20), dtype=bool)
    masks[:, 3:5, 3:5] = True
    segmenter = SparseObjectSegmenter(background).fit(np.zeros((3, 20, 20)), masks)
    assert segmenter.threshold_ == 0
    assert segmenter.noise_std_ > 0
    assert not segmenter.predict(np.zeros((3, 20, 20))).any()


# -- names -----------------------------------------------------------------------------


def test_names_of_pixels_do_not_outlive_their_fit():
    pandas = pytest.importorskip("pandas")
    images, _ = make_infrared_targets(3, shape=(20, 24), n_targets=1, random_state=0)
    rows = pandas.DataFrame(images.reshape(3, -1)).add_prefix("pixel")
    segmenter = SparseObjectSegmenter(image_shape=(20, 24)).set_output(transform="pandas")
    parts = segmenter.fit(rows).transform(rows)
    assert segmenter.feature_names_in_[5] == "pixel5"
    assert list(parts.columns) == list(segmenter.get_feature_names_out())
    assert_allclose(parts.to_numpy()[:, :480] + 0, segmenter.transform(rows).to_numpy()[:, :480])
    segmenter.set_params(image_shape=None).fit(images)
    assert not hasattr(segmenter, "feature_names_in_")
