"""Which array library computes: the one that the input came from.

A user moves to the GPU by passing CuPy arrays; nothing else selects a device. Array
expressions are written against the namespace of their input, and the loops that they
cannot say live in a family's ``_kernels`` folder, once for each device.
"""

import importlib

import array_api_compat
import numpy as np


def array_namespace(*arrays):
    """Return the array-API namespace shared by ``arrays``.

    Python scalars, sequences, ``None`` and SciPy sparse containers count as NumPy.

    Raises
    ------
    TypeError
        If the arrays come from more than one array library.
    """
    found = [a for a in arrays if array_api_compat.is_array_api_obj(a)]
    if not found:
        return array_api_compat.array_namespace(np.empty(0))
    return array_api_compat.array_namespace(*found)


def is_numpy(xp):
    """Tell whether the namespace ``xp`` computes with NumPy arrays."""
    return array_api_compat.is_numpy_namespace(xp)


def to_numpy(array):
    """Copy ``array`` to host memory if it lives elsewhere."""
    if array_api_compat.is_cupy_array(array):
        return array.get()
    return np.asarray(array)


def kernels_for(xp, package):
    """Return the kernel module of ``package`` that fits the namespace ``xp``.

    Parameters
    ----------
    xp : module
        An array namespace, as :func:`array_namespace` returns it.
    package : str
        Import path of a family, for example ``"sparseopt.linear_model"``.

    Returns
    -------
    module
        ``<package>._kernels.gpu`` for CuPy, ``<package>._kernels.cpu`` for NumPy.

    Raises
    ------
    TypeError
        If there is no kernel for that array library.
    """
    if array_api_compat.is_numpy_namespace(xp):
        device = "cpu"
    elif array_api_compat.is_cupy_namespace(xp):
        device = "gpu"
    else:
        raise TypeError(
            f"{package} has kernels for NumPy and CuPy arrays, not for {xp.__name__}. "
            "Convert the input with numpy.asarray."
        )
    return importlib.import_module(f"{package}._kernels.{device}")
