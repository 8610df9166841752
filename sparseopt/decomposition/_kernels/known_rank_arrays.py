"""The passes of ``known_rank`` as array expressions, for any library of the array standard.

They return new arrays where the Numba loops write in place.
"""

from sparseopt._core import array_namespace


def small_residual(data, low, threshold):
    """Return ``data - low`` without its outliers, its sum of squares, the number of outliers."""
    xp = array_namespace(data)
    residual = data - low
    size = xp.abs(residual)
    kept = xp.where(size <= threshold, residual, xp.zeros_like(residual))
    return kept, _energy(kept, xp), int(xp.count_nonzero(size > threshold))


def clipped_residual(data, low, threshold):
    """Return clipped ``data - low``, its sum of squares and the number of outliers."""
    xp = array_namespace(data)
    residual = data - low
    residual = xp.where(xp.isnan(residual), xp.zeros_like(residual), residual)
    outliers = int(xp.count_nonzero(xp.abs(residual) > threshold))
    kept = xp.clip(residual, -threshold, threshold)
    return kept, _energy(kept, xp), outliers


def outliers_beyond(data, low, threshold, shrinkage, sparse):
    """Return ``data - low``, ``shrinkage`` nearer to 0, where beyond ``threshold``, else 0."""
    xp = array_namespace(data)
    residual = data - low
    outlying = xp.abs(residual) > threshold
    shrunk = residual - shrinkage * xp.sign(residual)
    return xp.where(outlying, shrunk, xp.zeros_like(residual))


def _energy(values, xp):
    return float(xp.sum(values * values, dtype=xp.float64))
