r"""The residual of stable principal component pursuit brought to a given norm.

    min  ||L||_* + sum l_ij |S_ij|    subject to  ||P(D - L - S)||_F <= radius

has the solutions of the problem penalised by ||P(D - L - S)||_F^2 / (2 mu) for one mu, with
dual

    max_Y  <D, Y> - radius ||Y||_F    s. t.  ||Y||_2 <= 1,  |Y_ij| <= l_ij.

With the optimal Y(mu), the norm of the residual is mu ||Y(mu)||_F. It grows with mu, but
||Y(mu)||_F falls: the optimal value, as a function of the radius, is convex with the slope
-||Y||_F. So mu * radius / norm lies between mu and the solution, and repeating this step
would do; a secant of the logarithms between such bounds gets there sooner. Any L gives a
feasible pair, with the soft threshold at which the residual has the radius, and thus a gap.
"""

import math

from sparseopt._core import Progress
from sparseopt.decomposition._huber_descent import fill, relative_gap

BURST = 50  # steps at most between two looks at the gap
BEYOND = 1e30  # a threshold that no residual exceeds: data are kept in a safe scale
FIRST_ACCURACY = 1e-3  # of the penalised problems; the gap found tells the next one


def typical_mu(problem, radius):
    """Return the mu that suits noise whose norm is the radius."""
    return math.sqrt(2 * max(problem.shape) / problem.n_observed) * radius


class RadiusSearch:
    """The penalised descent, for a sequence of mu that brings its residual to the radius."""

    def __init__(self, descent, radius, max_iter):
        self.descent, self.problem, self.radius = descent, descent.problem, radius
        self.tol, self.max_iter = descent.tol, max_iter
        self.accuracy = max(FIRST_ACCURACY, self.tol / 2)
        self.clear_bounds()
        descent.begin(typical_mu(self.problem, radius), gradually=descent.low.rank == 0)

    def clear_bounds(self):
        """Forget what was learnt at another accuracy."""
        self.lowest, self.highest, self.last = 0.0, math.inf, None

    @property
    def x(self):
        """L, in terms of the matrix given."""
        return self.descent.x

    def initial(self):
        """Return the progress of L = S = 0 if that is feasible, else None."""
        if self.problem.norm > self.radius:
            return None
        self.descent.move_to(self.problem.first())
        self.threshold, self.excess = math.inf, 1.0
        return Progress(0.0, 0.0)

    def __call__(self, state):
        """Descend for the present mu, look at the gap, and choose the next mu."""
        descent = self.descent
        before, gap = descent.nit, math.inf
        limit = min(descent.nit + BURST, self.max_iter)
        while descent.nit < limit and gap > self.accuracy:
            _, gap = descent.advance()
        objective, certificate, norm = self.judge()
        if certificate > self.tol and gap <= self.accuracy:
            self._choose(norm, certificate)
        unit = self.problem.unit
        return Progress(objective * unit, certificate, iterations=descent.nit - before)

    def judge(self):
        """Return the objective and the relative gap of L, and the norm of its residual."""
        problem, descent = self.problem, self.descent
        clipped = problem.xp.empty_like(problem.D)
        _, product, energy = problem.passes.clip_residual(
            problem.D, descent.L, problem.limits, descent.mu, clipped
        )
        norm = math.sqrt(energy)
        self.threshold, penalty = self._feasible_threshold()
        objective = descent.penalty + penalty
        value = (
            max(product - self.radius * norm, 0.0) / descent.mu
        )  # of the dual, but for the scale
        wanted = objective * (1 - self.tol / 2)
        self.excess = descent.dual_excess(clipped, max(value / wanted, 1.0) if wanted > 0 else 1.0)
        bound = value / self.excess
        return objective, relative_gap(objective, bound), norm

    def _feasible_threshold(self):
        """Return t with ||clip(D - L, -t l, t l)||_F = radius, and the penalty of S then.

        The squared norm is a concave, piecewise linear function of t^2, so that Newton's
        steps come from below after the first one, and end.
        """
        problem, goal, t = self.problem, self.radius**2, BEYOND
        while True:
            energy, slope, penalty = problem.passes.clipped_energy(
                problem.D, self.descent.L, problem.limits, t
            )
            if t == BEYOND:
                if slope == 0 and energy <= goal * (1 + 64 * problem.eps):
                    return math.inf, 0.0  # S = 0 is feasible
                t = self.descent.mu
                continue
            if abs(energy - goal) <= 4 * problem.eps * goal:
                return t, penalty
            squared = t**2 + (goal - energy) * 2 * t / slope if slope > 0 else -1.0
            following = math.sqrt(squared) if squared > 0 else t / 2
            if abs(following - t) <= problem.eps * t:
                return t, penalty
            t = following

    def _choose(self, norm, certificate):
        """Go on with a mu whose residual should have the radius."""
        mu, ratio = self.descent.mu, self.radius / norm if norm > 0 else 2.0
        target = mu * ratio
        if ratio > 1:
            self.lowest = max(self.lowest, min(target, self.highest))
        else:
            self.highest = min(self.highest, max(target, self.lowest))
        point = (math.log(mu), math.log(norm) if norm > 0 else -math.inf)
        if self.last is not None and point[0] != self.last[0] and norm > 0:
            slope = (point[1] - self.last[1]) / (point[0] - self.last[0])
            if slope > 0:
                target = mu * math.exp(min(max(math.log(ratio) / min(slope, 1.0), -3), 3))
        self.last = point if norm > 0 else None
        if not self.lowest <= target <= self.highest:
            target = self.highest if target > self.highest else self.lowest
        accuracy = max(self.tol / 4, min(self.accuracy, certificate / 10))
        if accuracy < self.accuracy / 3:
            self.accuracy = accuracy
            self.clear_bounds()
        self.descent.begin(target)

    def conclude(self, result):
        """Fill in the arrays of a result."""
        problem, descent = self.problem, self.descent
        if result.nit > 0 and result.x is not descent.x:  # the best iterate was not the last
            descent.move_to(problem.first(result))
            self.judge()
        xp, D, L, limits = problem.xp, problem.D, descent.L, problem.limits
        clipped = xp.empty_like(D)
        problem.passes.clip_residual(D, L, limits, descent.mu, clipped)
        result.dual = problem.dense(clipped / (descent.mu * self.excess))
        if self.threshold < math.inf:
            _, _, energy = problem.passes.clip_residual(D, L, limits, self.threshold, clipped)
        else:
            clipped = xp.where(limits > 0, D - L, xp.zeros_like(D))
            energy = float(xp.sum(clipped * clipped, dtype=xp.float64))
        fill(result, problem, L, clipped)
        result.mu = descent.mu * problem.unit if result.nit > 0 else math.inf
        result.residual_norm = math.sqrt(energy) * problem.unit
        result.dual_gap = result.certificate
        return result
