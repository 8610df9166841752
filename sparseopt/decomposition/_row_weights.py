"""Robust PCA of rows that stand for several equal ones, or for none."""

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._robust_pca_arguments import SPARELESS


def solve_weighted(solve, X, lam, weights, observed, start):
    """Solve the problem in which each row stands for as many equal ones as its weight says.

    If the rows of L and S are repeated w times, the nuclear norm is that of L with rows times
    the root of w, and the penalty of S counts w times. So rows are scaled by that root, and
    lam too. Rows that stand for none take no part; what belongs to them is NaN, and 0 in ``x``
    and ``dual``.

    Parameters
    ----------
    solve : callable
        ``solve(X, lam, row_weights, observed, start) -> OptimizeResult``.
    X, lam, weights, observed, start
        The problem; ``lam`` is bounded before it is used, since large ones overflow. Weights are
        in the dtype of X, or None.
    """
    if weights is None:
        return solve(X, min(lam, SPARELESS), None, observed, start)
    xp = array_namespace(X)
    present = to_numpy(weights) > 0
    rows = _Rows(present, X)
    roots = rows.take(xp.sqrt(weights))
    lam = min(lam, SPARELESS / float(xp.min(roots)))
    result = solve(
        rows.take(X) * roots[:, None],
        lam,
        roots,
        rows.take(observed),
        _rows_of_result(start, rows.take),
    )
    for name in ("low_rank", "sparse"):
        result[name] = rows.put(result[name] / roots[:, None], xp.nan)
    result.update(_rows_of_result(result, lambda part: rows.put(part, 0.0)))
    return result


class _Rows:
    """The rows of a matrix that take part."""

    def __init__(self, present, X):
        xp = array_namespace(X)
        device = getattr(X, "device", None)
        self.everyone = bool(present.all())
        self.kept = xp.asarray(np.flatnonzero(present), device=device)
        self.places = xp.asarray(np.maximum(np.cumsum(present) - 1, 0), device=device)
        self.present = xp.asarray(present[:, None], device=device)

    def take(self, part):
        """Return the rows of ``part`` that take part."""
        if part is None or self.everyone:
            return part
        return array_namespace(part).take(part, self.kept, axis=0)

    def put(self, part, other):
        """Return ``part`` with the rows that take none, filled with ``other``."""
        if part is None or self.everyone:
            return part
        xp = array_namespace(part)
        whole = xp.take(part, self.places, axis=0)
        return xp.where(self.present, whole, xp.full_like(whole, other))


def _rows_of_result(result, change):
    """Return ``x`` and ``dual`` of a result with their rows changed, and what a start needs."""
    if result is None:
        return None
    U, s, Vt = result.x
    changed = {"x": LowRankMatrix(change(U), s, Vt)}
    if result.get("dual") is not None:
        changed["dual"] = change(result.dual)
    return type(result)(changed, admm_mu=result.get("admm_mu"))
