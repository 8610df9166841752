"""Metrics of masks: the reference numbers, cases done by hand, and invariances."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from sklearn.metrics import f1_score, jaccard_score

from sparseopt.decomposition import segmentation_metrics

DATA = Path(__file__).parents[1] / "data" / "decomposition"
MASK_PAIRS = arrays(bool, (2, 3, 9, 11), elements=st.booleans())


@pytest.mark.parametrize(("match", "suffix"), [("overlap", ""), ("centroid", "3")])
def test_reference_numbers(match, suffix):
    golden = np.load(DATA / "seg_metrics.npz")
    metrics = segmentation_metrics(golden["gt"], golden["pred"], match=match)
    assert_allclose(metrics.iou, golden["IoU"], rtol=0, atol=1e-12)
    assert_allclose(metrics.f1, golden["F1"], rtol=0, atol=1e-12)
    assert_allclose(metrics.pd, golden["Pd" + suffix], rtol=0, atol=1e-12)
    assert_allclose(metrics.fa, golden["Fa" + suffix], rtol=0, atol=1e-12)
    assert metrics.n_targets == metrics.n_detected == 9


def _squares(*corners, side=2, shape=(24, 24)):
    mask = np.zeros(shape, dtype=bool)
    for row, column in corners:
        mask[row : row + side, column : column + side] = True
    return mask


def test_regions_that_touch_at_a_corner_are_one_target():
    true = _squares((2, 2), (4, 4))
    metrics = segmentation_metrics(true, _squares((2, 2)))
    assert (metrics.n_targets, metrics.pd, metrics.iou) == (1, 1.0, 0.5)


def test_regions_of_neighbouring_images_are_different_targets():
    true = np.stack([_squares((2, 2)), _squares((2, 2)), _squares()])
    found = np.stack([_squares((2, 2)), _squares(), _squares((2, 2))])
    for match in ("overlap", "centroid"):
        metrics = segmentation_metrics(true, found, match=match)
        assert (metrics.n_targets, metrics.n_detected) == (2, 1)
    assert metrics.fa == 4 / true.size


def test_false_alarm_with_the_area_of_a_target_counts():
    true, found = _squares((2, 2)), _squares((2, 2), (12, 12))
    assert segmentation_metrics(true, found, match="centroid").fa == 4 / 576
    assert segmentation_metrics(true, found, match="overlap").fa == 4 / 572


def test_a_region_detects_one_target_by_its_centroid_and_many_by_overlap():
    true = _squares((4, 2), (4, 6))
    found = np.zeros_like(true)
    found[4:6, 2:8] = True
    by_centroid = segmentation_metrics(true, found, match="centroid")
    assert (by_centroid.n_detected, by_centroid.fa) == (1, 0.0)
    assert segmentation_metrics(true, found).pd == 1.0


def test_as_many_targets_as_possible_are_matched():
    # The prediction between both targets is the nearest to each, and serves the second, since
    # the first has another one within reach.
    true = _squares((4, 4), (4, 8), side=1)
    found = _squares((4, 6), (2, 3), side=1)
    metrics = segmentation_metrics(true, found, match="centroid")
    assert (metrics.n_detected, metrics.fa) == (2, 0.0)
    # Two pairs far apart are better than one that agrees.
    far = segmentation_metrics(
        _squares((10, 10), (12, 12), side=1), _squares((10, 10), (8, 8), side=1), match="centroid"
    )
    assert (far.n_detected, far.fa) == (2, 0.0)
    nearer = segmentation_metrics(true, found, match="centroid", max_distance=2.1)
    assert (nearer.n_detected, nearer.fa) == (1, 1 / 576)


def test_distance_of_the_limit_is_too_far():
    true, found = _squares((4, 4), side=1), _squares((4, 7), side=1)
    assert segmentation_metrics(true, found, match="centroid").pd == 0.0
    assert segmentation_metrics(true, found, match="centroid", max_distance=3.01).pd == 1.0


@pytest.mark.parametrize("match", ["overlap", "centroid"])
def test_empty_and_full_masks(match):
    empty, full, one = _squares(), np.ones((24, 24), bool), _squares((3, 3))
    nothing = segmentation_metrics(empty, empty, match=match)
    assert (nothing.iou, nothing.f1, nothing.pd, nothing.fa) == (1.0, 1.0, 1.0, 0.0)
    no_target = segmentation_metrics(empty, one, match=match)
    assert (no_target.iou, no_target.f1, no_target.pd, no_target.fa) == (0, 0, 1.0, 4 / 576)
    missed = segmentation_metrics(one, empty, match=match)
    assert (missed.iou, missed.pd, missed.fa, missed.n_targets) == (0, 0, 0, 1)
    everything = segmentation_metrics(full, full, match=match)
    assert (everything.iou, everything.pd, everything.fa) == (1.0, 1.0, 0.0)


@settings(deadline=None, max_examples=40)
@given(MASK_PAIRS)
def test_pixel_metrics_equal_scikit_learns(masks):
    true, found = masks
    metrics = segmentation_metrics(true, found)
    if (true | found).any():
        assert_allclose(metrics.iou, jaccard_score(true.ravel(), found.ravel()))
        assert_allclose(metrics.f1, f1_score(true.ravel(), found.ravel(), zero_division=0.0))


@settings(deadline=None, max_examples=40)
@given(MASK_PAIRS, st.sampled_from(["overlap", "centroid"]))
def test_orientation_order_and_type_do_not_matter(masks, match):
    true, found = masks
    expected = segmentation_metrics(true, found, match=match)
    for change in (
        lambda x: x[::-1],
        lambda x: x[:, ::-1],
        lambda x: np.swapaxes(x, 1, 2),
        lambda x: x.astype(np.float32),
        lambda x: x.astype(np.uint8).tolist(),
    ):
        actual = segmentation_metrics(change(true), change(found), match=match)
        assert_allclose(list(actual.values()), list(expected.values()), rtol=1e-12)
    assert 0 <= expected.n_detected <= expected.n_targets


def test_any_distance_may_do():
    true, found = _squares((2, 2), (9, 9)), _squares((20, 2), (20, 20), (2, 20))
    metrics = segmentation_metrics(true, found, match="centroid", max_distance=np.inf)
    assert (metrics.n_detected, metrics.fa) == (2, 4 / 576)
    with pytest.raises(TypeError, match="max_distance must be a real number"):
        segmentation_metrics(true, found, max_distance="near")


def test_one_image_needs_no_axis():
    true, found = _squares((2, 2), (9, 9)), _squares((3, 3))
    assert segmentation_metrics(true, found) == segmentation_metrics(true[None], found[None])


@pytest.mark.parametrize(
    ("true", "found", "options", "message"),
    [
        (np.zeros((3, 4)), np.zeros((4, 3)), {}, "same shape"),
        (np.zeros(4), np.zeros(4), {}, "y_true must have shape"),
        (np.zeros((0, 3, 3)), np.zeros((0, 3, 3)), {}, "y_true must have shape"),
        (np.zeros((3, 3)), np.full((3, 3), 0.5), {}, "y_pred must be boolean"),
        (np.full((3, 3), np.nan), np.zeros((3, 3)), {}, "y_true must be boolean"),
        (np.full((3, 3), "a"), np.zeros((3, 3)), {}, "y_true must be boolean"),
        (np.zeros((3, 3)), np.zeros((3, 3)), {"match": "area"}, "match"),
        (np.zeros((3, 3)), np.zeros((3, 3)), {"max_distance": 0.0}, "max_distance"),
        (np.zeros((3, 3)), np.zeros((3, 3)), {"max_distance": np.nan}, "max_distance"),
    ],
)
def test_bad_input_is_refused(true, found, options, message):
    with pytest.raises(ValueError, match=message):
        segmentation_metrics(true, found, **options)
