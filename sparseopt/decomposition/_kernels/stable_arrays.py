"""The passes of :mod:`stable` as array expressions, for every array library."""

from sparseopt._core import array_namespace


def extrapolate(D, L, before, limits, mu, momentum, H, W):
    """Set ``H = L + momentum (L - before)`` and ``W = H + c(D - H)``; W may be ``before``."""
    xp = array_namespace(D)
    H[...] = L + momentum * (L - before)
    c = _clip(D - H, limits, mu, xp)
    W[...] = H + c
    return _sum(D * c, xp), _sum(c * c, xp)


def compare(D, L, before, H, limits, mu):
    """Return mu times the loss of L, ``||H - L||^2`` and ``<H - L, L - before>``."""
    xp = array_namespace(D)
    residual, step = D - L, H - L
    c = _clip(residual, limits, mu, xp)
    loss = _sum(c * (residual - c / 2), xp)
    return loss, _sum(step * step, xp), _sum(step * (L - before), xp)


def clip_residual(D, L, limits, mu, clipped):
    """Write c(D - L) to ``clipped``; return mu times the loss, ``<D, c>`` and ``||c||^2``."""
    xp = array_namespace(D)
    residual = D - L
    c = _clip(residual, limits, mu, xp)
    clipped[...] = c
    return _sum(c * (residual - c / 2), xp), _sum(D * c, xp), _sum(c * c, xp)


def clipped_energy(D, L, limits, mu):
    """Return ``||c||^2``, its derivative in mu, and the penalty of S = D - L - c."""
    xp = array_namespace(D)
    sizes = xp.abs(D - L)
    bounds = xp.broadcast_to(mu * limits, D.shape)
    beyond = sizes > bounds
    c = xp.where(beyond, bounds, sizes)
    outside = _sum(xp.where(beyond, bounds * bounds, xp.zeros_like(c)), xp)
    return _sum(c * c, xp), 2 * outside / mu, _sum(bounds * (sizes - c), xp) / mu


def _clip(residual, limits, mu, xp):
    bounds = xp.broadcast_to(mu * limits, residual.shape)
    return xp.where(residual > bounds, bounds, xp.where(residual < -bounds, -bounds, residual))


def _sum(values, xp):
    return float(xp.sum(values, dtype=xp.float64))
