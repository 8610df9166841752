"""Small operations on real or complex arrays of any library."""

import numpy as np

from sparseopt._core import array_namespace


def place(values, positions, whole):
    """Return ``whole`` with ``values`` at the flat ``positions``, without changing either."""
    xp = array_namespace(whole)
    if len(positions) == 0:
        return whole
    flat = xp.reshape(whole, (-1,))
    source = np.arange(len(positions), len(positions) + flat.shape[0])
    source[positions] = np.arange(len(positions))
    source = xp.asarray(source, device=whole.device)
    return xp.reshape(xp.take(xp.concat([values, flat]), source), whole.shape)


def pick(positions, whole):
    """Return the entries of ``whole`` at flat positions."""
    xp = array_namespace(whole)
    return xp.take(xp.reshape(whole, (-1,)), xp.asarray(positions, device=whole.device))


def real_part(array):
    """Return the real part of a real or complex array."""
    xp = array_namespace(array)
    return xp.real(array) if xp.isdtype(array.dtype, "complex floating") else array


def conjugate(array):
    """Return the complex conjugate of a real or complex array."""
    xp = array_namespace(array)
    return xp.conj(array) if xp.isdtype(array.dtype, "complex floating") else array


def squared_sum(array):
    """Return the sum of ``|array|^2`` as a float."""
    xp = array_namespace(array)
    return float(xp.sum(xp.abs(array) ** 2))
