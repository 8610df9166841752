"""Errors and supports of sparse estimates."""

from pathlib import Path

import array_api_strict
import numpy as np
import pytest

from sparseopt.datasets import make_kronecker_sparse
from sparseopt.sparse_bayes import nmse, support_recovery_rate

DATA = Path(__file__).parents[1] / "data" / "sparse_bayes"


@pytest.mark.parametrize("name", ["kron_real", "kron_complex"])
@pytest.mark.parametrize("method", ["am", "svd", "ksbl", "csbl", "am_un", "svd_un"])
def test_published_values(name, method):
    reference = np.load(DATA / f"{name}.npz")
    true, predicted = reference["x_true"], reference[f"x_{method}"]
    assert nmse(true, predicted) == pytest.approx(float(reference[f"nmse_{method}"]), rel=1e-10)
    rate = support_recovery_rate(true, predicted)
    assert rate == pytest.approx(float(reference[f"srr_{method}"]), rel=1e-12)


@pytest.mark.parametrize("complex_data", [False, True])
def test_values_that_are_known(complex_data):
    coef = make_kronecker_sparse(
        (5, 6, 7), (2, 2, 2), complex_data=complex_data, random_state=0
    ).coef
    assert nmse(coef, coef) == 0
    assert nmse(coef, 0 * coef) == 1
    assert nmse(coef, 3 * coef) == pytest.approx(4)
    for scale in (1e-250, 1e250):
        assert nmse(scale * coef, 1.1 * scale * coef) == pytest.approx(0.01)
    assert support_recovery_rate(coef, -7 * coef, threshold=0) == 1
    assert support_recovery_rate(coef, 0 * coef) == 0
    assert support_recovery_rate(coef, np.ones(coef.shape)) == pytest.approx(27 / 210)
    assert support_recovery_rate(coef, np.where(coef == 0, 1, 0)) == 0


def test_axes_are_those_of_one_signal():
    rng = np.random.default_rng(0)
    true, predicted = rng.standard_normal((2, 4, 3, 5))
    signals = [nmse(a, b) for a, b in zip(true, predicted)]
    assert nmse(true, predicted, axis=(1, 2)) == pytest.approx(np.mean(signals))
    columns = [nmse(true[..., k], predicted[..., k]) for k in range(5)]
    assert nmse(true, predicted, axis=(0, 1)) == pytest.approx(np.mean(columns))
    assert nmse(true, predicted, axis=(0, 1, 2)) == pytest.approx(nmse(true, predicted))


def test_threshold_is_relative_to_the_estimate():
    true = np.array([1.0, 0.0, 0.0, 0.0])
    predicted = np.array([1e6, 1.1e3, 9e2, 0.0])
    assert support_recovery_rate(true, predicted) == 1 / 2
    assert support_recovery_rate(true, predicted, threshold=1e-2) == 1
    assert support_recovery_rate(true, predicted, threshold=0) == 1 / 3


def test_masks_and_empty_supports():
    there = np.array([True, False, True, False])
    assert support_recovery_rate(there, np.array([True, True, True, False])) == 2 / 3
    assert support_recovery_rate(np.zeros(3), np.zeros(3)) == 1
    assert support_recovery_rate(np.zeros(0), np.zeros(0)) == 1


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_other_array_libraries(dtype):
    rng = np.random.default_rng(1)
    true = np.where(rng.random((6, 5)) < 0.4, rng.standard_normal((6, 5)), 0).astype(dtype)
    predicted = (true + 0.1 * rng.standard_normal((6, 5))).astype(dtype)
    strict = [array_api_strict.asarray(array) for array in (true, predicted)]
    assert nmse(*strict) == pytest.approx(nmse(true, predicted), rel=1e-6)
    expected = support_recovery_rate(true, predicted, threshold=0.1)
    assert 0 < expected < 1
    assert support_recovery_rate(*strict, threshold=0.1) == expected


@pytest.mark.parametrize("metric", [nmse, support_recovery_rate])
@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (np.ones(3), np.ones((3, 1)), r"same shape, got \(3,\) and \(3, 1\)"),
        (np.ones(2), [1.0, np.nan], "coef_pred must be finite"),
        ([1.0, np.inf * 1j], np.ones(2), "coef_true must be finite"),
        (["a"], [1.0], "coef_true must hold numbers"),
    ],
)
def test_bad_input(metric, true, predicted, message):
    with pytest.raises(ValueError, match=message):
        metric(true, predicted)


def test_bad_options():
    with pytest.raises(ValueError, match="coef_true must not be zero"):
        nmse(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="coef_true must not be zero"):
        nmse([[1.0], [0.0]], [[1.0], [1.0]], axis=1)
    with pytest.raises(ValueError, match="coef_true must not be zero"):
        nmse([], [])
    for threshold in (-0.1, 1.0, np.nan, "small"):
        with pytest.raises(ValueError, match="threshold must be a number in"):
            support_recovery_rate(np.ones(2), np.ones(2), threshold=threshold)


def test_errors_too_large_for_a_number_are_infinite_without_a_warning():
    assert nmse([1e-200, 1.0], [1e200, 1.0]) == np.inf
    assert nmse([1e308, 1e300], [-1e308, 1e300]) == pytest.approx(4.0)
    assert nmse([1e-310, 0.0], [0.0, 0.0]) == pytest.approx(1.0)
