"""What tensor PCA accepts as a tensor, and the checks of it."""

import array_api_compat
import numpy as np
from scipy import sparse

from sparseopt._core import array_namespace, is_numpy
from sparseopt.decomposition._implicit_tensor import CoordinateTensor, check_real
from sparseopt.decomposition._symmetric_tensor import DenseTensor, ProjectedTensor, SymmetricTensor


def check_tensor(Y, *, project_only=False):
    """Return a checked tensor of any kind.

    Parameters
    ----------
    Y : array, sparse tensor or SymmetricTensor
        What the user gave.
    project_only : bool, default=False
        Whether only values of f are wanted.

    Raises
    ------
    ValueError
        For shapes, dtypes and entries that cannot be used.
    """
    if isinstance(Y, SymmetricTensor):
        check_shape((Y.n_features,) * Y.order)
        return Y
    if sparse.issparse(Y) and not is_coordinate_tensor(Y):
        Y = sparse.coo_array(Y)
    if is_coordinate_tensor(Y) and not array_api_compat.is_array_api_obj(Y):
        check_shape(tuple(Y.shape))
        return from_coordinates(Y)
    Y = Y if array_api_compat.is_array_api_obj(Y) else np.asarray(Y)
    xp = array_namespace(Y)
    if is_numpy(xp) and Y.dtype.kind not in "biufc":
        raise ValueError(f"Y must hold real numbers, got dtype {Y.dtype}.")
    check_shape(Y.shape)
    check_real(Y, "Y", xp)
    if Y.dtype != xp.float32:
        Y = xp.astype(Y, xp.float64, copy=False)
    return ProjectedTensor(Y) if project_only else DenseTensor(Y)


def check_shape(shape):
    """Raise unless a tensor has from 2 to 6 modes of one length."""
    if not 2 <= len(shape) <= 6:
        raise ValueError(f"Y must have from 2 to 6 modes, got shape {shape}.")
    if len(set(shape)) > 1:
        raise ValueError(f"Y must have modes of equal length, got shape {shape}.")
    if shape[0] < 2:
        raise ValueError(f"Y must have modes of length 2 or more, got shape {shape}.")


def is_coordinate_tensor(Y):
    """Tell whether an object holds a sparse tensor: ``coords``, ``data`` and ``shape``."""
    return all(hasattr(Y, name) for name in ("coords", "data", "shape"))


def from_coordinates(Y):
    """Return a sparse tensor of SciPy, or of a package with the same attributes.

    Parameters
    ----------
    Y : object
        ``coords`` are k arrays of indices, ``data`` the entries, ``shape`` the shape.
    """
    shape = tuple(Y.shape)
    values = np.asarray(Y.data)
    check_real(values, "Y", np)
    values = values if values.dtype == np.float32 else values.astype(np.float64)
    coordinates = np.asarray(Y.coords).T
    if coordinates.shape != (len(values), len(shape)):
        raise ValueError(
            f"Y.coords must hold {len(shape)} arrays of {len(values)} indices, one a mode, got "
            f"shape {np.shape(Y.coords)}."
        )
    if len(values) and not (coordinates.min() >= 0 and coordinates.max() < max(shape)):
        raise ValueError(f"Y.coords must be from 0 to {max(shape) - 1}, got others.")
    return CoordinateTensor(coordinates, values, shape[0])
