"""Checks of arguments that several functions of transport share."""

import math
import numbers

import array_api_compat

from sparseopt.transport._problem import LARGEST_TOTAL, _as_matrix


def refuse_device_arrays(**arrays):
    """Raise TypeError if an array lives on a GPU: NumPy would not convert it."""
    for name, array in arrays.items():
        if array_api_compat.is_cupy_array(array):
            raise TypeError(
                f"{name} is a CuPy array, which no function of sparseopt.transport takes yet. Pass "
                f"cupy.asnumpy({name})."
            )


def check_points(X, Y):
    """Return two point clouds as float64 matrices with the same number of columns."""
    for name, points in (("X", X), ("Y", Y)):
        if points is None:
            raise ValueError(f"{name} must be a matrix of points, got None.")
    X, Y = _as_matrix(X, "X"), _as_matrix(Y, "Y")
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X and Y must have the same number of features, got shapes {X.shape} and {Y.shape}."
        )
    return X, Y


def check_tol(tol):
    """Return the tolerance as a float."""
    if isinstance(tol, bool) or not (isinstance(tol, numbers.Real) and 0 < tol < math.inf):
        raise ValueError(f"tol must be a positive number, got {tol!r}.")
    return float(tol)


def check_total(total, name):
    """Raise ValueError if the sum of masses is so large or small that products are not finite."""
    if not 1 / LARGEST_TOTAL <= total <= LARGEST_TOTAL:
        raise ValueError(
            f"{name} must have a sum between {1 / LARGEST_TOTAL:g} and {LARGEST_TOTAL:g}, got "
            f"{total:.8g}. Divide the masses by their sum."
        )
