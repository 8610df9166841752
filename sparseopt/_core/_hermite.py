r"""Normalised Hermite polynomials, which are orthonormal under the standard normal distribution.

With the probabilists' :math:`\mathrm{He}_k`, :math:`h_k = \mathrm{He}_k / \sqrt{k!}`, so that
:math:`E[h_j(u) h_k(u)] = 1\{j = k\}` for normal u. They follow from the recurrence

.. math::

    \sqrt{k + 1}\, h_{k+1}(u) = u h_k(u) - \sqrt{k}\, h_{k-1}(u), \qquad h_0 = 1,

and :math:`h_k' = \sqrt{k}\, h_{k-1}`. Everything here takes arrays of any library and shape.
"""

import math
import numbers

from sparseopt._core._arrays import array_namespace


def check_degree(degree, name="degree", *, least=0):
    """Return ``degree`` as an int if it is an integer >= ``least``."""
    if not isinstance(degree, numbers.Integral) or isinstance(degree, bool):
        raise TypeError(f"{name} must be an integer, got {degree!r}.")
    if degree < least:
        raise ValueError(f"{name} must be at least {least}, got {degree!r}.")
    return int(degree)


def hermite(u, degree):
    """Return h_k(u) for k = ``degree``, in the shape of ``u``."""
    below, value = u * 0 + 1, u
    if degree == 0:
        return below
    for k in range(1, degree):
        below, value = value, (u * value - math.sqrt(k) * below) * (1 / math.sqrt(k + 1))
    return value


def hermite_derivative(u, degree):
    """Return the derivative h_k'(u) for k = ``degree``, in the shape of ``u``."""
    if degree == 0:
        return u * 0
    return math.sqrt(degree) * hermite(u, degree - 1)


def hermite_basis(u, degree):
    """Return h_0(u), ..., h_k(u) for k = ``degree``, along a new last axis."""
    xp = array_namespace(u)
    values = [u * 0 + 1, u]
    for k in range(1, degree):
        values.append((u * values[k] - math.sqrt(k) * values[k - 1]) * (1 / math.sqrt(k + 1)))
    return xp.stack(values[: degree + 1], axis=-1)
