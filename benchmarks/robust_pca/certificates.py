r"""What a decomposition is worth: its objective, and a bound below by the dual problem.

Principal component pursuit minimises |L|_* + lam |X - L|_1; its dual maximises <X, Y> where the
spectral norm of Y is at most 1 and its entries at most lam.
"""

import numpy as np


def objective(X, low_rank, lam):
    """Return the objective at (L, X - L), which is feasible whatever a solver calls S."""
    return float(np.linalg.norm(low_rank, "nuc") + lam * np.abs(X - low_rank).sum())


def lower_bound(X, dual, lam):
    """Return <X, Y> for ``dual`` scaled to be feasible."""
    scale = max(1.0, np.linalg.norm(dual, 2), np.abs(dual).max() / lam)
    return float(np.sum(X * dual) / scale)


def relative_gap(X, low_rank, dual, lam):
    """Return the duality gap relative to the objective."""
    value = objective(X, low_rank, lam)
    return (value - lower_bound(X, dual, lam)) / value
