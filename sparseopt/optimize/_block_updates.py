r"""What one step of block coordinate descent does with its block.

Each rule takes a :class:`~sparseopt.optimize._block_model.Block`, the variables b at the
current point x, and returns a step ``x_b + d``. With g_b the block of the gradient, H_b the
bound on the Hessian block, L_b its largest eigenvalue and h the l1 part or the constraint:

    gradient        d = -g_b / L_b
    matrix          d = -H_b^+ g_b
    newton          d = -a (Hessian block)^+ g_b, a by a polynomial line search
    prox-gradient   x_b + d = prox_{h / L_b}(x_b - g_b / L_b)
    backtracking    the same, or gradient, with an estimate of L_b: the largest of those kept
                    for the variables, at first their own constants, and doubled until
                    F(x_+) <= f(x) + g_b'd + L_b/2 ||d||^2 + h(x_b + d)
    prox-newton     x_b + d = argmin of the quadratic model with the Hessian block, plus h,
                    then a line search
    tmp             two-metric projection: Newton's step on the variables that are free,
                    a gradient step on those held at zero, the sum projected back onto
                    the orthant

A rule whose line search finds no decrease falls back on the (prox-)gradient step, which
has one by construction (on backtracking, where no bound exists). Where Newton's system has
no solution, newton falls back on matrix and tmp on prox-newton.

Nutini, Laradji, Schmidt (2022), JMLR 23(131); Bertsekas (1982), Projected Newton methods for
optimization problems with simple constraints, SIAM J. Control Optim. 20(2).
"""

import math

import numpy as np
from scipy import linalg

from sparseopt.optimize._block_bounds import solve_within_bounds
from sparseopt.optimize._block_groups import GroupedProblem
from sparseopt.optimize._block_model import euclidean_norm, factorize, solve_semidefinite
from sparseopt.optimize._kernels import blocks as kernels
from sparseopt.optimize._penalties import BOX

SUFFICIENT_NEWTON = 1e-10  # shares of the predicted decrease that a line search asks for
SUFFICIENT = 1e-4
SMALLEST_STEP = 1e-12
ACTIVE = 1e-4  # share of the largest variable up to which two-metric projection holds one at zero
SOLVED = 1e-6  # relative residual up to which Newton's system counts as solved
MODEL_EPOCHS = 100
MODEL_ROUNDS = 20


def gradient_update(block):
    """Step along the negative gradient, as far as the bound allows."""
    return block.step(-block.gradient / _largest_eigenvalue(block.hessian_bound()))


def matrix_update(block):
    """Minimise the upper bound; the loss itself if it is quadratic."""
    return block.step(-solve_semidefinite(block.hessian_bound(), block.gradient))


def newton_update(block):
    """Step along Newton's direction, shortened by polynomial interpolation if need be."""
    direction = _newton_direction(block.model_hessian(), block.gradient)
    if direction is None:
        return matrix_update(block) if block.problem.is_bounded else backtracking_update(block)
    slope = float(block.gradient @ direction)
    if not slope < 0:
        return _safe_update(block)
    image, shift = block.model_image(direction)
    start = block.problem.objective
    trials: list[tuple[float, float]] = []
    length = 1.0
    while length > SMALLEST_STEP:
        step = block.step(length * direction, length * image, length * shift)
        if step.objective <= start + SUFFICIENT_NEWTON * length * slope + _rounding(start):
            return step
        trials.append((length, step.objective - start))
        length = _interpolate(trials, slope)
    return _safe_update(block)


def prox_gradient_update(block):
    """Minimise the isotropic upper bound plus the penalty."""
    return block.step(_prox_change(block, _largest_eigenvalue(block.hessian_bound())))


def backtracking_update(block):
    """Take the (prox-)gradient step of an estimated curvature."""
    problem = block.problem
    estimates = problem.curvature_estimates
    curvature = float(np.max(estimates[block.indices]))
    while True:
        change = _prox_change(block, curvature)
        step = block.step(change)
        slope = float(block.gradient @ change) + block.cost_change(block.x + change)
        model = problem.objective + slope + 0.5 * float((curvature * change) @ change)
        if step.objective <= model + _rounding(problem.objective):
            estimates[block.indices] = curvature
            return step
        curvature *= 2


def _prox_change(block, curvature):
    """Return the change of the block that a (prox-)gradient step makes."""
    moved = block.x - block.gradient / curvature
    return block.problem.prox(moved, curvature, block.indices) - block.x


def prox_newton_update(block):
    """Minimise the quadratic model plus the penalty, then search along the line."""
    hessian = block.model_hessian()
    direction = minimize_model(block, hessian, block.gradient, block.x) - block.x
    slope = float(block.gradient @ direction) + block.cost_change(block.x + direction)
    if not slope < 0:
        return _safe_update(block)
    image, shift = block.model_image(direction)
    start = block.problem.objective
    length = 1.0
    while length > SMALLEST_STEP:
        step = block.step(length * direction, length * image, length * shift)
        if step.objective <= start + SUFFICIENT * length * slope + _rounding(start):
            return step
        length *= 0.5
    return _safe_update(block)


def two_metric_update(block):
    """Step by Newton on free variables and by the gradient on held ones, and project.

    Without the constraint ``x >= 0`` the orthant is that of x, and for variables at zero
    that into which the objective decreases; those without such an orthant stay.
    """
    sign, kinked = _orthant(block)
    slope = block.gradient + block.l1 * sign
    distance = sign * block.x
    outward = sign * slope
    prox_step = np.where(kinked, np.maximum(distance - outward / block.lipschitz, 0), 0) - distance
    largest = float(np.max(np.abs(block.problem.x)))
    threshold = min(ACTIVE * largest, euclidean_norm(prox_step[kinked]))
    held = kinked & (distance <= threshold) & (outward > 0)
    free = ~held & ((sign != 0) | ~kinked)
    direction = np.where(held, -slope / block.lipschitz, 0.0)
    if free.any():
        newton = _newton_direction(block.model_hessian()[np.ix_(free, free)], slope[free])
        if newton is None:
            return prox_newton_update(block)
        direction[free] = newton
    start = block.problem.objective
    newton_slope = float(slope[free] @ direction[free])
    length = 1.0
    while newton_slope <= 0 and length > SMALLEST_STEP:
        new = block.x + length * direction
        new[kinked & (sign * new <= 0)] = 0.0
        change = new - block.x
        decrease = length * newton_slope + float(slope[held] @ change[held])
        step = block.step(change, *block.model_image(change))
        if step.objective <= start + SUFFICIENT * decrease + _rounding(start):
            return step
        length *= 0.5
    return _safe_update(block)


def _safe_update(block):
    """Take the (prox-)gradient step, which decreases the objective in any case."""
    return prox_gradient_update(block) if block.problem.is_bounded else backtracking_update(block)


UPDATES = {
    "gradient": gradient_update,
    "matrix": matrix_update,
    "newton": newton_update,
    "backtracking": backtracking_update,
    "prox-gradient": prox_gradient_update,
    "prox-newton": prox_newton_update,
    "tmp": two_metric_update,
}


def minimize_model(block, hessian, gradient, start, rounds=MODEL_ROUNDS):
    """Return the minimiser of the block's quadratic model plus its penalty.

    The model is ``gradient'd + d'Hd/2`` around ``block.x``. Coordinate descent finds the
    support and the signs; the linear system on them then gives the exact minimiser,
    which is accepted once it satisfies the optimality conditions. ``rounds`` bounds the
    effort.
    """
    linear = hessian @ block.x - gradient
    if isinstance(block.problem, GroupedProblem):
        return block.problem.minimize_model(block, hessian, linear)
    scale = float(np.max(np.diagonal(hessian), initial=0.0))
    new = start.copy()
    tolerance = 1e-15 * float(np.max(np.abs(linear), initial=0.0)) / math.sqrt(scale or 1.0)
    for _ in range(rounds):
        done = kernels.minimize_block_model(
            hessian, linear, block.problem.code, block.table, new, MODEL_EPOCHS, tolerance
        )
        if block.problem.code == BOX:
            exact = solve_within_bounds(hessian, linear, block.table, new)
        else:
            exact = _solve_on_support(block, hessian, linear, new)
        if exact is not None:
            return exact
        if done:
            break
    return new


def _solve_on_support(block, hessian, linear, new):
    """Return the minimiser on the support and signs of ``new`` if it is one overall."""
    free = block.l1 == 0 if not block.problem.positive else np.zeros(new.size, dtype=bool)
    support = (new != 0) | (free & (np.diagonal(hessian) > 0))
    if not support.any():
        return None
    sign = np.sign(new)
    exact = np.zeros_like(new)
    rhs = linear[support] - block.l1[support] * sign[support]
    factor = factorize(hessian[np.ix_(support, support)])
    if factor is None:
        return None
    exact[support] = linalg.cho_solve(factor, rhs, check_finite=False)
    if np.any((exact * sign <= 0)[support & ~free]):
        return None
    slope = linear - hessian @ exact
    excess = slope if block.problem.positive else np.abs(slope)
    allowed = block.l1 + 1e-12 * np.max(np.abs(linear))
    if np.any((excess > allowed)[~support]):
        return None
    residual = np.abs(slope - block.l1 * sign)[support]
    return exact if np.all(residual <= 1e-9 * np.max(np.abs(linear))) else None


def _newton_direction(hessian, slope):
    """Return Newton's direction, or None if there is no curvature along a part of the slope."""
    direction = -solve_semidefinite(hessian, slope)
    residual = euclidean_norm(hessian @ direction + slope)
    return direction if residual <= SOLVED * euclidean_norm(slope) else None


def _orthant(block):
    """Return the sign of each variable's orthant, and whether zero is special to it."""
    if block.problem.positive:
        return np.ones_like(block.x), np.ones(block.x.size, dtype=bool)
    entering = np.where(np.abs(block.gradient) > block.l1, -np.sign(block.gradient), 0.0)
    return np.where(block.x != 0, np.sign(block.x), entering), block.l1 > 0


def _largest_eigenvalue(H):
    return float(np.linalg.eigvalsh(H)[-1])


def _rounding(objective):
    """Return the differences of objectives that mean nothing."""
    return 10 * np.finfo(float).eps * abs(objective)


def _interpolate(trials, slope):
    """Return the next step length from the last two trials ``(length, increase)``."""
    last, increase = trials[-1]
    if not math.isfinite(increase):
        return 0.1 * last
    excess = increase / -slope + last  # in units of the slope: no square overflows
    length = last**2 / (2 * excess)
    if len(trials) > 1 and math.isfinite(trials[-2][1]):
        before, old = trials[-2]
        old_excess = old / -slope + before
        cubic = (excess / last**2 - old_excess / before**2) / (last - before)
        square = (old_excess * last / before**2 - excess * before / last**2) / (last - before)
        discriminant = square**2 + 3 * cubic
        if cubic != 0 and discriminant >= 0:
            length = (-square + math.sqrt(discriminant)) / (3 * cubic)
    return min(max(length, 0.1 * last), 0.5 * last)
