"""Images and video with sparse objects: the real clip, and what the generators promise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from sparseopt.datasets import load_pedestrian_frames, make_infrared_targets, make_moving_objects

EIGHT = np.ones((3, 3))


def test_pedestrian_frames_are_of_a_still_camera():
    clip = load_pedestrian_frames()
    assert clip.images.shape == (80, 72, 96)
    assert clip.images.dtype == np.uint8
    assert_array_equal(clip.frame_index, np.arange(0, 400, 5))
    # The camera stands still: most pixels stay near their median, and a few leave it by far.
    moved = np.abs(clip.images - np.median(clip.images, axis=0))
    assert np.median(moved) <= 2
    assert 0.005 < np.mean(moved > 30) < 0.05
    assert "Apache" in clip.DESCR
    assert_array_equal(load_pedestrian_frames(return_X=True), clip.images.reshape(80, 6912))


def test_infrared_scenes_have_the_promised_targets():
    images, masks = make_infrared_targets(6, n_targets=(2, 4), noise_std=0.0, random_state=3)
    assert images.shape == masks.shape == (6, 128, 128)
    assert images.min() >= 0
    assert images.max() <= 1
    for image, mask in zip(images, masks, strict=True):
        labels, n_targets = ndimage.label(mask, EIGHT)
        assert 2 <= n_targets <= 4
        areas = np.bincount(labels.ravel())[1:]
        assert areas.min() >= 6
        assert areas.max() <= 40
        ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
        assert image[mask].mean() > image[ring].mean() + 0.04


def test_clouds_have_the_promised_spectrum():
    images, _ = make_infrared_targets(20, n_targets=0, noise_std=0.0, random_state=0)
    detrended = images - images.mean(axis=2, keepdims=True)
    power = np.mean(np.abs(np.fft.fft2(detrended)) ** 2, axis=0)
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    # Frequencies across the rows are free of the gradient and of the subtracted means.
    band = (frequency > 0.05) & (frequency < 0.4) & (np.abs(np.fft.fftfreq(128)) > 0)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert_allclose(slope, -3.2, atol=0.1)


def test_targets_have_the_given_peak_and_masks_its_fifth():
    options = {"noise_std": 0.0, "random_state": 0}
    weak, masks = make_infrared_targets(6, contrast=(0.1, 0.1), **options)
    strong, same = make_infrared_targets(6, contrast=(0.2, 0.2), **options)
    assert strong.max() < 1
    assert_array_equal(masks, same)
    spots = (strong - weak) / 0.1
    assert_array_equal(spots > 0.2, masks)
    peaks = ndimage.maximum(spots, *ndimage.label(masks)[:1], np.arange(1, 7))
    assert np.min(peaks) > 0.7  # the centre is at most half a pixel off, along each axis
    assert np.max(peaks) <= 1 + 1e-12


def test_scenes_brighten_from_top_to_bottom():
    images, _ = make_infrared_targets(60, n_targets=0, noise_std=0.0, random_state=0)
    rise = images[:, -1].mean(axis=1) - images[:, 0].mean(axis=1)  # clouds are periodic
    assert_allclose(rise.mean(), 0.1, atol=0.02)
    assert_allclose([rise.min(), rise.max()], [0, 0.2], atol=0.04)


def test_infrared_noise_and_shape():
    quiet, masks = make_infrared_targets(
        2, shape=(64, 96), n_targets=0, noise_std=0.0, random_state=1
    )
    assert quiet.shape == (2, 64, 96)
    assert not masks.any()
    noisy, _ = make_infrared_targets(1, shape=(64, 96), n_targets=0, noise_std=0.05, random_state=1)
    assert_allclose(np.std(noisy[0] - quiet[0]), 0.05, rtol=0.05)


def test_moving_objects_are_where_the_masks_say():
    images, masks = make_moving_objects(30, drift=0.0, noise_std=0.0, random_state=0)
    still = np.median(load_pedestrian_frames().images, axis=0) / 255
    assert images.shape == masks.shape == (30, 72, 96)
    assert_allclose(images[~masks], np.broadcast_to(still, images.shape)[~masks])
    changed = np.abs(images - still)[masks] > 0.02
    assert changed.mean() > 0.9
    # Objects move: no pixel is covered all the time, and neighbouring frames overlap.
    assert not masks.all(axis=0).any()
    assert np.all((masks[1:] & masks[:-1]).sum(axis=(1, 2)) > 0)


def test_objects_move_at_the_given_speed_to_both_sides():
    speeds = []
    for seed in range(12):
        _, masks = make_moving_objects(8, n_objects=1, random_state=seed)
        columns = np.array([np.nonzero(mask)[1].mean() for mask in masks])
        if np.all(masks[:, :, [0, -1]] == 0):  # not round the border
            speeds.append((columns[-1] - columns[0]) / 7 / 96)
    assert len(speeds) > 6
    assert min(speeds) < 0 < max(speeds)
    assert np.all((np.abs(speeds) > 0.0025) & (np.abs(speeds) < 0.0095))


def test_light_drifts_by_the_given_share():
    background = np.full((32, 32), 0.5)
    images, masks = make_moving_objects(
        50, background=background, n_objects=0, drift=0.1, noise_std=0.0, random_state=0
    )
    assert not masks.any()
    light = images.mean(axis=(1, 2)) / 0.5
    assert_allclose([light.min(), light.max()], [0.9, 1.1], atol=2e-3)
    assert_allclose(images, light[:, None, None] * background)


@pytest.mark.parametrize("make", [make_infrared_targets, make_moving_objects])
def test_random_state_decides(make):
    first, second, other = (make(3, random_state=seed) for seed in (0, 0, 1))
    for one, same, different in zip(first, second, other, strict=True):
        assert_array_equal(one, same)
        assert not np.array_equal(one, different)
    from_generator = make(3, random_state=np.random.default_rng(0))
    assert_array_equal(from_generator[0], first[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 128)}, "shape"),
        ({"shape": (64.0, 64)}, "shape"),
        ({"n_targets": (3, 1)}, "n_targets"),
        ({"n_targets": 200}, "do not fit"),
        ({"n_targets": 10**9}, "do not fit"),
        ({"contrast": (0.3, 0.1)}, "contrast"),
        ({"noise_std": -1.0}, "noise_std"),
        ({"n_images": 0}, "n_images"),
    ],
)
def test_infrared_generator_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        make_infrared_targets(**{"random_state": 0, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": np.zeros(20)}, "background"),
        ({"background": np.full((20, 20), 2.0)}, "background"),
        ({"background": np.full((20, 20), np.nan)}, "background"),
        ({"drift": 1.5}, "drift"),
        ({"n_objects": -1}, "n_objects"),
    ],
)
def test_video_generator_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        make_moving_objects(3, **options)
