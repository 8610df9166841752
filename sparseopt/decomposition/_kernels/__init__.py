"""Passes over whole matrices: Numba loops, and array expressions for other devices."""

import importlib

from sparseopt._core import is_numpy


def passes_for(xp, name):
    """Return the module ``name`` of this package that computes with arrays of ``xp``.

    ``<name>`` holds Numba loops for NumPy arrays, ``<name>_arrays`` the same functions as
    array expressions, for CuPy and every other library of the array-API standard.
    """
    suffix = "" if is_numpy(xp) else "_arrays"
    return importlib.import_module(f"sparseopt.decomposition._kernels.{name}{suffix}")
