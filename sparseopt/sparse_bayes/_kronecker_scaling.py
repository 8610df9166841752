"""Units in which problems with Kronecker-structured dictionaries are solved, and the way back.

Measurements are divided by a power of two, and the columns of each factor either by their norms or
by one power of two. Then no square overflows or vanishes, whatever the units of the data.
"""

import math
from typing import NamedTuple

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._kronecker_dictionary import outer_product, squared_magnitude
from sparseopt.sparse_bayes._kronecker_steps import like

LARGEST_TARGET = 500  # exponent of two: variances, which are squares, must be numbers too


class Scales(NamedTuple):
    """What the data were divided by.

    ``target`` is the binary exponent for the measurements. Column i of factor d was divided by
    ``columns[d][i] * 2**exponents[d]``.
    """

    target: int
    columns: list
    exponents: list

    @property
    def exponent(self):
        """Binary exponent of one unit of the scaled coefficients, but for ``columns``."""
        return self.target - sum(self.exponents)

    @property
    def noise(self):
        """What one unit of a scaled variance of measurements is in the data's units."""
        return 4.0**self.target

    @property
    def log_target(self):
        """Logarithm of one unit of the scaled measurements in the data's units."""
        return self.target * math.log(2)

    def merged(self):
        """Return the scales of the dictionary as the only factor."""
        return Scales(self.target, [outer_product(self.columns).ravel()], [sum(self.exponents)])

    def coefficients(self, tensor):
        """Return scaled coefficients in the data's units."""
        with np.errstate(over="ignore"):  # see check_representable
            return _shift(self._divide(tensor), self.exponent)

    def variances(self, tensor):
        """Return scaled variances of coefficients in the data's units, in double precision."""
        xp = array_namespace(tensor)
        tensor = xp.astype(tensor, xp.float64, copy=False)
        with np.errstate(over="ignore"):
            return _shift(self._divide(self._divide(tensor)), 2 * self.exponent)

    def _divide(self, tensor):
        xp = array_namespace(tensor)
        for axis, column in enumerate(self.columns):
            if np.all(column == 1):
                continue
            inverse = like(1.0 / column, tensor, real=True)
            tensor = tensor * xp.reshape(inverse, (-1,) + (1,) * (tensor.ndim - axis - 1))
        return tensor

    def factor_variances(self, variances):
        """Return the factors' scaled variances in the data's units.

        All but the last have unit norm, and the last has the scale of the product.
        """
        result, exponent = [], 2 * self.exponent
        mantissa = 1.0
        for variance, column in zip(variances, self.columns, strict=True):
            with np.errstate(over="ignore", invalid="ignore"):
                variance = variance / column / column
            largest = variance.max()
            if largest == 0:
                return [np.zeros_like(value) for value in variances]
            relative = variance / largest
            norm = np.linalg.norm(relative)
            result.append(relative / norm)
            mantissa, shift = math.frexp(mantissa * norm)
            exponent += shift
            mantissa, shift = math.frexp(mantissa * largest)
            exponent += shift
        with np.errstate(over="ignore"):
            result[-1] = _shift(result[-1] * mantissa, exponent)
        return result


def scale_problem(factors, Y, unit_columns=None):
    """Divide factors and measurements by what makes their entries about one.

    Parameters
    ----------
    factors : list of arrays of shape (m_d, n_d)
        Factors.
    Y : array of shape (m_1, ..., m_I[, L])
        Measurements.
    unit_columns : list of bool, optional
        For each factor, whether each of its columns gets unit norm. The others, by default all,
        are divided by a power of two, after which columns have norms of about one.

    Returns
    -------
    factors, Y : arrays
        Scaled.
    scales : Scales
        What they were divided by.

    Raises
    ------
    ValueError
        If variances of measurements of this size are no normal numbers.
    """
    target = _exponent(Y, 1)
    if abs(target) > LARGEST_TARGET:
        raise ValueError(
            f"y must have entries of a size between {2.0**-LARGEST_TARGET:.0e} and "
            f"{2.0**LARGEST_TARGET:.0e}, so that squares of them are numbers, got "
            f"{math.ldexp(1.0, min(target, 1023)):.0e}. Divide y by its standard deviation."
        )
    scaled, columns, exponents = [], [], []
    for d, factor in enumerate(factors):
        split = _unit_columns if unit_columns is not None and unit_columns[d] else _whole
        for values, value in zip((scaled, columns, exponents), split(factor), strict=True):
            values.append(value)
    return scaled, _shift(Y, -target), Scales(target, columns, exponents)


def _whole(factor):
    exponent = _exponent(factor, factor.shape[0])
    return _shift(factor, -exponent), np.ones(factor.shape[1]), exponent


def _unit_columns(factor):
    """Return the factor with columns of unit norm, and the norms in two parts."""
    xp = array_namespace(factor)
    largest = to_numpy(xp.max(xp.abs(factor), axis=0)).astype(np.float64)
    exponents = np.maximum(np.frexp(largest)[1], _least_exponent(factor))
    factor = factor * like(np.ldexp(1.0, -exponents), factor, real=True)[None, :]
    norms = to_numpy(xp.sqrt(xp.sum(squared_magnitude(factor), axis=0))).astype(np.float64)
    there = norms > 0
    if not there.any():
        return factor, np.ones(len(norms)), 0
    norms[~there] = 1.0
    centre = (int(exponents[there].min()) + int(exponents[there].max())) // 2
    columns = np.where(there, np.ldexp(norms, exponents - centre), 1.0)
    return factor * like(1.0 / norms, factor, real=True)[None, :], columns, centre


def _least_exponent(array):
    # Subnormal numbers have no reciprocal.
    xp = array_namespace(array)
    return math.frexp(float(xp.finfo(array.dtype).smallest_normal))[1] + 2


def _exponent(array, n_summands):
    """Return the exponent of two nearest the root of ``n_summands`` times the mean square."""
    xp = array_namespace(array)
    largest = float(xp.max(xp.abs(array)))
    if largest == 0:
        return 0
    exponent = math.frexp(largest)[1]
    mean = float(xp.mean(squared_magnitude(_shift(array, -exponent))))
    return exponent + round(0.5 * math.log2(max(mean * n_summands, 1e-30)))


def _shift(array, exponent):
    """Multiply by ``2**exponent``, which may be no number of the array's precision itself."""
    xp = array_namespace(array)
    limit = math.frexp(float(xp.finfo(array.dtype).max))[1] - 2
    while exponent:
        part = max(min(exponent, limit), -limit)
        array, exponent = array * 2.0**part, exponent - part
    return array


def check_representable(name, array, there=None):
    """Raise if results overflowed, or vanished where they are ``there``."""
    xp = array_namespace(array)
    vanished = there is not None and bool(xp.any(there & (array == 0)))
    if vanished or not bool(xp.all(xp.isfinite(array))):
        raise ValueError(
            f"{name} cannot be represented in {array.dtype}: rescale y and the columns of the "
            "factors, so that coefficients and their squares are normal numbers."
        )
