r"""Nonconvex penalties of singular values, by reweighting a convex pursuit a few times.

A concave, increasing penalty phi charges large singular values less than the nuclear norm
does, and thus shrinks them less:

    log:    phi(s) = e log(1 + s / e),      phi'(s) = 1 / (1 + s / e)
    gamma:  phi(s) = e s / (e + s),         phi'(s) = 1 / (1 + s / e)^2

(Z. Kang, C. Peng & Q. Cheng, "Robust PCA via nonconvex rank approximation", ICDM 2015: theirs
is the second one, times (1 + e) / e). Both have the slope 1 at zero, where the nuclear norm has
it. Each pass minimises the tangent of phi at the singular values before, which is the nuclear
norm with weights v_i = phi'(s_i): the larger s_i, the smaller v_i, so that the proximal map

    U max(S - t diag(v), 0) V'   for the argument U S V'

keeps its closed form (K. Chen, H. Dong & K.-S. Chan, "Reduced rank regression via adaptive
nuclear norm penalization", Biometrika 100, 2013). A tangent lies above phi, so that the
objective with phi falls from pass to pass where the passes are solved; a pass that raises it,
or that satisfies the constraints worse, is thrown away.
"""

import math

import numpy as np

from sparseopt._core import array_namespace, check_at_least_one, check_nonnegative, to_numpy
from sparseopt.decomposition._low_rank import LowRankMatrix

SCALE = 0.1  # default e over the largest singular value of the convex solution
SLACK = 1e-9  # relative, for rounding, in the comparison of objectives
SURROGATES = ("log", "gamma")


class SingularValueWeights:
    """Shrinkage of singular values, the largest first, by weights that do not fall.

    Parameters
    ----------
    weights : array-like of shape (k,)
        Nondecreasing weights >= 0, k >= 1; the last one counts for all values from the k-th.
    """

    def __init__(self, weights):
        self.weights = np.array(weights, dtype=float)
        if self.weights.ndim != 1 or self.weights.size == 0:
            raise ValueError(f"weights must be a 1-D sequence, got shape {self.weights.shape}.")
        if not (np.all(np.diff(self.weights) >= 0) and 0 <= self.weights[0] < math.inf):
            raise ValueError(f"weights must be >= 0 and nondecreasing, got {weights!r}.")

    @property
    def smallest(self):
        """Factor of the level above which singular values are asked for.

        Values below it would mostly be shrunk to zero: it is the weight of the last one that
        is treated by itself.
        """
        return float(self.weights[max(len(self.weights) - 2, 0)])

    def __call__(self, s, level):
        """Return ``s``, the largest first, shrunk by ``level`` times the weights."""
        xp = array_namespace(s)
        shrunk = s - level * self._like(s)
        return xp.where(shrunk > 0, shrunk, xp.zeros_like(shrunk))

    def penalty(self, s):
        """Return the weighted sum of the singular values ``s``, the largest first."""
        xp = array_namespace(s)
        return float(xp.sum(self._like(s) * s)) if s.shape[0] else 0.0

    def _like(self, s):
        count = s.shape[0]
        own = self.weights[:count]
        filled = np.concatenate([own, np.full(count - len(own), self.weights[-1])])
        xp = array_namespace(s)
        return xp.asarray(filled, dtype=s.dtype, device=getattr(s, "device", None))


def surrogate_value(s, scale, surrogate="log"):
    """Return the sum of phi over the singular values ``s``."""
    s = np.asarray(to_numpy(s), dtype=float)
    if surrogate == "log":
        return float(scale * np.sum(np.log1p(s / scale)))
    return float(np.sum(scale * s / (scale + s)))


def surrogate_weights(s, scale, surrogate="log"):
    """Return the slopes of phi at ``s``, the largest first, and at zero."""
    s = np.append(np.asarray(to_numpy(s), dtype=float), 0.0)
    return SingularValueWeights((1 + s / scale) ** (-1 if surrogate == "log" else -2))


def reweighted_pursuit(solve, *, passes=3, surrogate="log", scale=None, tol=1e-7):
    r"""Improve on a convex low-rank plus sparse decomposition by a concave penalty.

    Parameters
    ----------
    solve : callable
        ``solve(shrink, start) -> OptimizeResult``: a pursuit with the shrinkage ``shrink``
        (None: of the nuclear norm) of singular values, from the result ``start`` (or None).
    passes : int, default=3
        Largest number of passes after the convex one; 2 to 5 are usual.
    surrogate : {"log", "gamma"}, default="log"
        The penalty: :math:`\varepsilon \log(1 + \sigma / \varepsilon)`, or
        :math:`\varepsilon \sigma / (\varepsilon + \sigma)`, which flattens sooner.
    scale : float, optional
        :math:`\varepsilon > 0`, in the units of singular values: those far above it are
        hardly shrunk. By default the tenth part of the largest one of the convex solution.
        Much less makes errors and noise look like components.
    tol : float, default=1e-7
        A pass is thrown away if its relative residual exceeds both this and that of the
        pass before.

    Returns
    -------
    result : OptimizeResult
        What the last good pass returned, with ``passes`` (their number, 0 for the convex
        solution), ``weights`` (of the singular values, None for the convex solution) and
        ``surrogate_objective``, a list of the objectives with the concave penalty after the
        convex pass and each good one. A stationary point of a nonconvex problem has no
        duality gap: it is NaN if ``passes`` is not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._principal_pursuit import principal_component_pursuit
    >>> from sparseopt.decomposition._reweighted import reweighted_pursuit
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((50, 9)) @ rng.standard_normal((9, 50))
    >>> D = low_rank + 9 * rng.standard_normal((50, 50)) * (rng.random((50, 50)) < 0.1)
    >>> def solve(shrink, start):
    ...     options = {} if shrink is None else {"tol_gap": np.inf, "shrink": shrink}
    ...     return principal_component_pursuit(
    ...         D, 50**-0.5, start=start, tol=1e-6, max_iter=3000, **options
    ...     )
    >>> convex, better = solve(None, None), reweighted_pursuit(solve)
    >>> bool(np.linalg.norm(convex.low_rank - low_rank) > 1e-2 * np.linalg.norm(low_rank))
    True
    >>> bool(np.linalg.norm(better.low_rank - low_rank) < 1e-4 * np.linalg.norm(low_rank))
    True
    """
    passes = check_at_least_one(passes, "passes")
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate must be one of {SURROGATES}, got {surrogate!r}.")
    if scale is not None and check_nonnegative(scale, "scale") == 0:
        raise ValueError("scale must be > 0, got 0.")
    best = solve(None, None)
    best.passes, best.weights = 0, None
    largest = float(best.x.s[0]) if best.x.rank else 0.0
    scale = SCALE * largest if scale is None else scale
    objectives = [_objective(best, scale, surrogate)] if largest > 0 else []
    while largest > 0 and best.passes < passes:
        shrink = surrogate_weights(best.x.s, scale, surrogate)
        result = solve(shrink, best)
        result.x = _without_zeros(result.x)
        objective = _objective(result, scale, surrogate)
        worse = objective > objectives[-1] + SLACK * abs(objectives[-1])
        if worse or result.get("residual", 0.0) > max(tol, best.get("residual", 0.0)):
            break
        result.passes, result.weights = best.passes + 1, shrink.weights
        result.dual_gap = math.nan
        objectives.append(objective)
        best = result
        largest = float(best.x.s[0]) if best.x.rank else 0.0
    best.surrogate_objective = objectives
    return best


def _objective(result, scale, surrogate):
    """Return the objective with phi in place of the penalty that was minimised."""
    loss = result.get("loss", result.fun - result.x.nuclear_norm)
    return surrogate_value(result.x.s, scale, surrogate) + loss


def _without_zeros(low):
    kept = int(np.count_nonzero(to_numpy(low.s)))
    return LowRankMatrix(low.U[:, :kept], low.s[:kept], low.Vt[:kept, :])
