r"""Block coordinate descent within bounds, ``lower <= x <= upper``.

The same problem as in ``_block_problem``, with bounds in place of the l1 part and without
one. A variable is free strictly between its bounds; the free variables are what the support
is for an l1 penalty: found after finitely many steps, and minimised over by Newton's
method from then on.
"""

import numpy as np
from scipy import linalg

from sparseopt.optimize._block_model import factorize
from sparseopt.optimize._block_problem import BlockProblem


class BoundedProblem(BlockProblem):
    """The problem with a :class:`~sparseopt.optimize.Box`; see :class:`BlockProblem`.

    Attributes
    ----------
    lower, upper : ndarray of shape (n_variables,)
        The bounds.
    """

    has_engine = False

    def _set_penalty(self, penalty):
        table = np.repeat(penalty.kernel_table(self.n_features), self.n_classes, axis=1)
        self.code = penalty.kernel_code
        self.lower, self.upper = table
        self.table = self.l1, self.ridge = np.zeros((2, self.n_variables))
        self.positive = self.is_smooth = False

    def project(self, x, at=slice(None)):
        """Return the point within the bounds that is closest to ``x``."""
        return np.clip(x, self.lower[at], self.upper[at])

    def is_free(self, x, at=slice(None)):
        """Return which variables are strictly between their bounds."""
        return (self.lower[at] < x) & (x < self.upper[at])

    def prox(self, point, curvature, at):
        """Return the projection of ``point``, whatever the ``curvature``."""
        return self.project(point, at)

    def block_table(self, at):
        """Return the kernel table of the block models, (2, n)."""
        return np.array([self.lower[at], self.upper[at]])

    def subdifferential_distance(self):
        """Return for each variable the slope along which it may still move."""
        distance = np.zeros(self.n_variables)
        at = self.usable
        x, gradient = self.x[at], self.gradient[at]
        up, down = np.maximum(-gradient, 0), np.maximum(gradient, 0)
        distance[at] = up * (x < self.upper[at]) + down * (x > self.lower[at])
        return distance

    def prox_scores(self, gradient=None):
        """Return for each variable twice the guaranteed progress of its projected step."""
        at = self.usable
        gradient = (self.gradient if gradient is None else gradient)[at]
        scores = np.zeros(self.n_variables)
        curvature = self.lipschitz[at]
        change = self.project(self.x[at] - gradient / curvature, at) - self.x[at]
        scores[at] = np.maximum(-change * (2 * gradient + curvature * change), 0.0)
        return scores


def solve_within_bounds(hessian, linear, table, new):
    """Return the minimiser with the bound variables of ``new`` if it is one overall.

    The model is ``x'Hx/2 - linear'x`` between the rows of ``table``; None otherwise.
    """
    lower, upper = table
    free = (lower < new) & (new < upper) & (np.diagonal(hessian) > 0)
    exact, scale = new.copy(), np.max(np.abs(linear))
    if free.any():
        factor = factorize(hessian[np.ix_(free, free)])
        if factor is None:
            return None
        rhs = linear[free] - hessian[np.ix_(free, ~free)] @ new[~free]
        exact[free] = linalg.cho_solve(factor, rhs, check_finite=False)
    if np.any((exact <= lower)[free] | (exact >= upper)[free]):
        return None
    slope = linear - hessian @ exact
    allowed = np.where(free, 1e-9, 1e-12) * scale
    wrong = ((slope > allowed) & (exact < upper)) | ((slope < -allowed) & (exact > lower))
    return None if wrong.any() else exact
