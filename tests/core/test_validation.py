"""Argument checks: what is refused, and that the message names the argument."""

import numpy as np
import pytest
from scipy import sparse

from sparseopt._core import check_nonnegative, check_penalty_weights, check_regression_data

X = np.arange(6.0).reshape(3, 2)
y = np.arange(3.0)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_check_nonnegative_refuses_values(value):
    with pytest.raises(ValueError, match="lam must be finite and >= 0"):
        check_nonnegative(value, "lam")


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1.0]])
def test_check_nonnegative_refuses_types(value):
    with pytest.raises(TypeError, match="lam must be a real number"):
        check_nonnegative(value, "lam")


def test_penalty_weights_defaults_and_callables():
    np.testing.assert_array_equal(check_penalty_weights(None, 2), [1, 1])
    np.testing.assert_array_equal(check_penalty_weights([0, np.inf], 2), [0, np.inf])
    from_data = check_penalty_weights(lambda X: X.max(axis=0), 2, X=X)
    np.testing.assert_array_equal(from_data, [4, 5])


def test_penalty_weights_are_a_copy():
    given = np.ones(2)
    assert check_penalty_weights(given, 2) is not given


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "shape"),
        ([1.0, 2.0, 3.0], "shape"),
        ([[1.0, 2.0]], "shape"),
        ([1.0, -2.0], "feature 1"),
        ([np.nan, 1.0], "feature 0"),
        (["a", "b"], "numbers"),
        ([1j, 1.0], "real"),
    ],
)
def test_penalty_weights_refuse(weights, message):
    with pytest.raises(ValueError, match=message):
        check_penalty_weights(weights, 2)


def test_regression_data_dtypes():
    for dtype, expected in [
        (np.int32, np.float64),
        (np.float32, np.float32),
        (np.complex64, np.complex64),
    ]:
        checked_X, checked_y, _ = check_regression_data(X.astype(dtype), y.astype(dtype))
        assert checked_X.dtype == checked_y.dtype == expected
    checked_X, checked_y, weight = check_regression_data(X, y * 1j, sample_weight=[1, 2, 3])
    assert checked_X.dtype == checked_y.dtype == np.complex128
    assert weight.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("integers", [np.int64, np.uint8, bool])
def test_integer_targets_leave_the_dtype_of_the_design(dtype, integers):
    design = np.asfortranarray(X, dtype=dtype)
    checked_X, checked_y, _ = check_regression_data(design, y.astype(integers))
    assert checked_X is design or np.shares_memory(checked_X, design)
    assert checked_y.dtype == dtype
    np.testing.assert_array_equal(checked_y, y.astype(integers))


def test_regression_data_keeps_sparse_input_sparse():
    checked, _, _ = check_regression_data(sparse.coo_array(X), y)
    assert sparse.issparse(checked)
    assert checked.format == "csc"


@pytest.mark.parametrize(
    ("bad_X", "bad_y", "sample_weight", "message"),
    [
        (X[:, 0], y, None, "matrix"),
        (X[:0], y[:0], None, "non-empty"),
        (X, y[:2], None, "y must have shape"),
        (X, y[:, None], None, "y must have shape"),
        (X + np.nan, y, None, "X must be finite"),
        (sparse.csr_array(X + np.inf), y, None, "X must be finite"),
        (X, y + np.inf, None, "y must be finite"),
        (X.astype(str), y, None, "dtype"),
        (X, y, [1, 2], "sample_weight must have shape"),
        (X, y, [1, -2, 3], "sample_weight must be finite"),
        (X, y, [0, 0, 0], "positive sum"),
    ],
)
def test_regression_data_refuses(bad_X, bad_y, sample_weight, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check_regression_data(bad_X, bad_y, sample_weight)
