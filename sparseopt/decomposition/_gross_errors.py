r"""Errors so large that nothing else of the data would be seen beside them.

Tolerances are relative to the data. One error of 1e12 makes the rest of them vanish from norms
and objectives, and a solver stops before it has looked at them. But if S is not zero at an entry
of the solution, then this entry of the data may be moved away from zero, and S with it: the dual
variable proves that solution too. So entries beyond a multiple of the typical ones are brought
near for the solver, and S is moved back afterwards, if it was not zero there indeed.
"""

import math
from typing import Any, NamedTuple

from sparseopt._core import array_namespace
from sparseopt.decomposition._known_rank import prepare, typical_cap

FARTHEST = 1000.0  # deviations of typical entries
RARE = 0.02  # largest share of entries that are brought near


class Excess(NamedTuple):
    """What was taken away from the data: ``values``, zero but where ``moved``."""

    values: Any
    moved: Any

    def belongs_to(self, sparse):
        """Tell whether S is not zero, and has the sign of the excess, wherever it moved.

        Rows without weight, where S is NaN, have no say.
        """
        xp = array_namespace(sparse)
        against = sparse * xp.sign(self.values) <= 0
        return not bool(xp.any(against & self.moved))


def bring_near(X, observed):
    """Return X without what exceeds ``FARTHEST`` typical deviations, and that :class:`Excess`.

    The latter is None if no entry does, or too many do to be called errors.
    """
    xp = array_namespace(X)
    data = prepare(X, observed)
    bound = typical_cap(data, FARTHEST) * data.unit
    if not 0 < bound < math.inf:
        return X, None
    sizes = xp.abs(X) if observed is None else xp.where(observed, xp.abs(X), xp.zeros_like(X))
    moved = sizes > bound
    count = int(xp.count_nonzero(moved))
    if not 0 < count <= RARE * data.n_observed:
        return X, None
    near = xp.where(moved, xp.sign(X) * bound, X)
    return near, Excess(xp.where(moved, X - near, xp.zeros_like(X)), moved)


def give_back(result, excess, lam, weights):
    """Add the excess to the sparse part of a result, and to its objective and gap."""
    xp = array_namespace(excess.values)
    far = excess.values
    rows = xp.ones_like(far[:, :1]) if weights is None else weights[:, None]
    price = lam * float(xp.sum(rows * xp.abs(far), dtype=xp.float64))
    worth = float(xp.sum(xp.sqrt(rows) * far * result.dual, dtype=xp.float64))
    total = result.fun + price
    result.dual_gap = (result.dual_gap * result.fun + max(price - worth, 0.0)) / total
    result.fun = total
    result.history["objective"] = result.history["objective"] + price
    result.sparse = result.sparse + far
