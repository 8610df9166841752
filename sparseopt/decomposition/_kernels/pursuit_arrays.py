"""The passes of :mod:`pursuit` as array expressions, for every array library."""

from sparseopt._core import array_namespace


def separate(D, L, V, limits, ratio, mu, by_rows, S):
    """Shrink S given L, and make V the argument of the next singular value shrinkage."""
    xp = array_namespace(D)
    T = D - L + ratio * (V - L)
    seen = xp.broadcast_to(limits > 0, D.shape)
    zero = xp.zeros_like(T)
    if by_rows:
        lengths = _lengths(T, seen, xp)
        radii = xp.max(limits, axis=1, keepdims=True) / mu
        safe = xp.where(lengths > 0, lengths, xp.ones_like(lengths))
        scale = xp.where(lengths > radii, radii / safe, xp.ones_like(safe))
        projected = xp.where(seen, T * scale, zero)
    else:
        bounds = xp.broadcast_to(limits / mu, D.shape)
        projected = xp.where(T > bounds, bounds, xp.where(T < -bounds, -bounds, T))
    S[...] = T - projected
    V[...] = L + projected
    nonzeros = int(xp.count_nonzero((S != 0) & seen))
    return nonzeros, _penalty(S, limits, seen, by_rows, xp)


def squared_residual(D, L, S):
    """Return ``||D - L - S||_F^2``."""
    return squared_distance(D - L, S)


def squared_distance(A, B):
    """Return ``||A - B||_F^2``."""
    xp = array_namespace(A)
    return float(xp.sum((A - B) ** 2, dtype=xp.float64))


def duality(D, L, V, limits, mu, by_rows):
    """Return ``<D, Y>``, the largest ``|Y| / limit``, and the penalty of D - L."""
    xp = array_namespace(D)
    seen = xp.broadcast_to(limits > 0, D.shape)
    Y = xp.where(seen, mu * (V - L), xp.zeros_like(V))
    product = float(xp.sum(Y * D, dtype=xp.float64))
    if by_rows:
        sizes, bounds = _lengths(Y, seen, xp), xp.max(limits, axis=1, keepdims=True)
    else:
        sizes, bounds = xp.abs(Y), xp.broadcast_to(limits, D.shape)
    safe = xp.where(bounds > 0, bounds, xp.ones_like(bounds))
    return product, float(xp.max(sizes / safe)), _penalty(D - L, limits, seen, by_rows, xp)


def _lengths(T, seen, xp):
    T = xp.where(seen, T, xp.zeros_like(T))
    return xp.sqrt(xp.sum(T * T, axis=1, keepdims=True))


def _penalty(S, limits, seen, by_rows, xp):
    if by_rows:
        lengths = _lengths(S, seen, xp)
        return float(xp.sum(xp.max(limits, axis=1, keepdims=True) * lengths, dtype=xp.float64))
    return float(xp.sum(limits * xp.abs(S), dtype=xp.float64))
