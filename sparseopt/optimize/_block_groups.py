r"""Block coordinate descent with the group LASSO penalty; its groups are the blocks.

    minimise  f(x) + sum_g strength_g ||x_g||_2,

f as in ``_block_problem``. With the eigenvalues v and eigenvectors V of a block's Hessian and
``c = V' linear``, the minimiser of ``x'Hx/2 - linear'x + s ||x||`` is zero if ``||linear|| <= s``,
and ``V (t c / (t v + s))`` otherwise, where its norm t solves ``|| c / (t v + s) || = 1`` [1].

[1] Qin, Scheinberg, Goldfarb (2013). Efficient block-coordinate descent algorithms for the
    Group Lasso. Mathematical Programming Computation 5(2).
"""

import functools

import numpy as np
from scipy import optimize

from sparseopt.optimize._block_model import solve_semidefinite, spectrum
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
        limit, norm = self.strength(at) / curvature, np.linalg.norm(point)
        return point * (1 - limit / norm) if norm > limit else np.zeros_like(point)

    def cost_change(self, block, new):
        """Return by how much the penalty of a group grows from the current point to ``new``."""
        gap = np.linalg.norm(new) - np.linalg.norm(block.x)
        return self.strength(block.indices) * float(gap)

    def minimize_model(self, block, hessian, linear):
        """Return the minimiser of ``x'Hx/2 - linear'x`` plus the penalty of a group."""
        strength = self.strength(block.indices)
        if np.linalg.norm(linear) <= strength:
            return np.zeros_like(linear)
        if strength == 0:
            return solve_semidefinite(hessian, linear)
        values, vectors = spectrum(hessian)
        c = vectors.T @ linear
        if np.linalg.norm(c) <= strength:
            return np.zeros_like(linear)

        def excess(norm):
            return np.linalg.norm(c / (values * norm + strength)) - 1

        limits = np.finfo(float)
        norm = optimize.brentq(
            excess, 0.0, np.linalg.norm(c / values), xtol=limits.tiny, rtol=4 * limits.eps
        )
        return vectors @ (norm * c / (values * norm + strength))

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
        for indices in self._members:
            curvature = indices.size * float(np.max(self.lipschitz[indices]))
            x, slope = self.x[indices], gradient[indices]
            change = self.prox(x - slope / curvature, curvature, indices) - x
            model = slope @ change + 0.5 * curvature * (change @ change)
            gap = np.linalg.norm(x + change) - np.linalg.norm(x)
            scores[indices[0]] = max(-2.0 * (model + self.strength(indices) * gap), 0.0)
        return scores

    @functools.cached_property
    def _members(self):
        labels = self.groups[self.usable]
        order = np.argsort(labels, kind="stable")
        cuts = np.flatnonzero(np.diff(labels[order])) + 1
        return [part for part in np.split(self.usable[order], cuts) if part.size]

    def _penalty(self, at, values):
        """Return the penalty of the whole point ``values``."""
        return self._group_penalty.value(values)
