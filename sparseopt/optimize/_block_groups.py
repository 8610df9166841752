r"""Block coordinate descent with the group LASSO penalty; its groups are the blocks.

    minimise  f(x) + sum_g strength_g ||x_g||_2,

f as in ``_block_problem``. With the eigenvalues v and eigenvectors V of a block's Hessian and
``c = V' linear``, the minimiser of ``x'Hx/2 - linear'x + s ||x||`` is zero if ``||linear|| <= s``,
and ``V (t c / (t v + s))`` otherwise, where its norm t solves ``|| c / (t v + s) || = 1`` [1].

[1] Qin, Scheinberg, Goldfarb (2013). Efficient block-coordinate descent algorithms for the
    Group Lasso. Mathematical Programming Computation 5(2).
"""

import functools
import math

import numpy as np
from scipy import optimize

from sparseopt.optimize._block_model import euclidean_norm, solve_semidefinite, spectrum
from sparseopt.optimize._block_problem import BlockProblem
from sparseopt.optimize._penalties import GroupL2


class GroupedProblem(BlockProblem):
    """The problem with a :class:`~sparseopt.optimize.GroupL2`; see :class:`BlockProblem`.

    A group holds the variables of all classes of its features.

    Attributes
    ----------
    groups : ndarray of shape (n_variables,)
        The group of each variable.
    strengths : ndarray of shape (n_groups,)
        What the norm of each group is multiplied by.
    """

    has_engine = False

    def _set_penalty(self, penalty):
        if penalty.groups.size != self.n_features:
            raise ValueError(
                f"groups must have shape ({self.n_features},), one label a feature, got "
                f"{penalty.groups.shape}."
            )
        self.groups = np.repeat(penalty.groups, self.n_classes)
        self._group_penalty = GroupL2(self.groups, penalty.alpha, penalty.weights)
        self.strengths = self._group_penalty.strengths
        excluded = np.isinf(self.strengths)[self.groups]
        self.l1 = np.where(excluded, np.inf, 0.0)
        self.ridge = np.zeros(self.n_variables)
        self.code, self.positive, self.is_smooth = None, False, False

    def strength(self, at):
        """Return the strength of the group that the variables ``at`` belong to."""
        return float(self.strengths[self.groups[at[0]]])

    def prox(self, point, curvature, at):
        """Return ``argmin_z curvature/2 ||z - point||^2 + strength ||z||`` for a group."""
        limit, norm = self.strength(at) / curvature, euclidean_norm(point)
        return point * (1 - limit / norm) if norm > limit else np.zeros_like(point)

    def cost_change(self, block, new):
        """Return by how much the penalty of a group grows from the current point to ``new``."""
        norms = euclidean_norm(block.x) + euclidean_norm(new)
        if norms == 0:
            return 0.0
        # The difference of the norms, without the cancellation.
        gap = float((new - block.x) @ ((new + block.x) / norms))
        return self.strength(block.indices) * gap

    def minimize_model(self, block, hessian, linear):
        """Return the minimiser of ``x'Hx/2 - linear'x`` plus the penalty of a group."""
        strength = self.strength(block.indices)
        if euclidean_norm(linear) <= strength:
            return np.zeros_like(linear)
        if strength == 0:
            return solve_semidefinite(hessian, linear)
        values, vectors = spectrum(hessian)
        c = vectors.T @ linear
        if euclidean_norm(c) <= strength:
            return np.zeros_like(linear)
        # In units without a scale: curvatures up to 1, and a penalty of strength 1.
        largest = values[-1]
        values, c = values / largest, c / strength

        def excess(norm):
            return euclidean_norm(c / (values * norm + 1)) - 1

        limits = np.finfo(float)
        low = max(euclidean_norm(c) - 1, 0.0)
        high = 2 * math.sqrt(c.size) * float(np.max(np.abs(c / values)))
        norm = low
        if excess(low) > 0:
            norm = optimize.brentq(excess, low, high, xtol=limits.tiny, rtol=4 * limits.eps)
        return vectors @ (norm * c / (values * norm + 1)) * (strength / largest)

    def subdifferential_distance(self):
        """Return for each variable how far the objective is from stationary there."""
        distance = np.zeros(self.n_variables)
        everywhere = self._group_penalty.subdifferential_distance(self.x, self.gradient)
        distance[self.usable] = everywhere[self.usable]
        return distance

    def prox_scores(self, gradient=None):
        """Return twice the guaranteed progress of each group's prox step, at its first variable.

        The curvature of a group is bounded by its size times the largest one in it.
        """
        gradient = self.gradient if gradient is None else gradient
        scores = np.zeros(self.n_variables)
        if self.usable.size == 0:
            return scores
        order, starts, sizes = self._members
        x, slope = self.x[order], gradient[order]
        curvature = sizes * np.maximum.reduceat(self.lipschitz[order], starts)
        strength = self.strengths[self.groups[order[starts]]]

        def norms(values):
            largest = np.maximum.reduceat(np.abs(values), starts)
            unit = np.where(largest > 0, largest, 1.0)
            squares = (values / np.repeat(unit, sizes)) ** 2
            return largest * np.sqrt(np.add.reduceat(squares, starts))

        moved = x - slope / np.repeat(curvature, sizes)
        length, limit = norms(moved), strength / curvature
        kept = length > limit
        shrinkage = np.where(kept, 1 - limit / np.where(kept, length, 1.0), 0.0)
        new = np.repeat(shrinkage, sizes) * moved
        change, total = new - x, norms(x) + norms(new)
        pull = np.repeat(strength / np.where(total > 0, total, 1.0), sizes)
        model = change * (slope + 0.5 * np.repeat(curvature, sizes) * change + pull * (new + x))
        scores[order[starts]] = np.maximum(-2.0 * np.add.reduceat(model, starts), 0.0)
        return scores

    @functools.cached_property
    def _members(self):
        """The usable variables by group, where each group starts, and its size."""
        labels = self.groups[self.usable]
        order = np.argsort(labels, kind="stable")
        starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
        sizes = np.diff(starts, append=order.size)
        return self.usable[order], starts, sizes

    def _penalty(self, at, values):
        """Return the penalty of the whole point ``values``."""
        return self._group_penalty.value(values)
