"""Steps of CoLiDE: the published Adam iteration, and the column problems of the proximal solver.

All matrices are (d, d), float64 and C-ordered. ``residual`` is C (I - W), kept up to date
because the scores, the noise scales and the gradients all come from it.
"""

import numpy as np
from numba import njit

from sparseopt._core._linalg import solve_lower, solve_lower_adjoint
from sparseopt.causal._kernels.m_matrix import invert_m_matrix

INSIDE, LEFT_DOMAIN, STEP_VANISHED = 0, 1, 2
SMALLEST_RATE = 1e-16
SETTLED = 0.3  # a last sweep that changes less than this of the first has converged


@njit(cache=True, nogil=True)
def residual_variances(W, residual, variances):
    """Store q_j = ((I - W)' C (I - W))_jj, not below 0; 2 d^2 flops."""
    d = W.shape[0]
    for j in range(d):
        variances[j] = residual[j, j]
    for i in range(d):
        for j in range(d):
            variances[j] -= W[i, j] * residual[i, j]
    for j in range(d):
        variances[j] = max(variances[j], 0.0)


@njit(cache=True, nogil=True)
def noise_scales(W, residual, equal_variance, floors, scales):
    """Store the standard deviations that minimise the score at ``W``."""
    residual_variances(W, residual, scales)
    if equal_variance:
        scales[:] = np.sqrt(np.mean(scales))
    else:
        scales[:] = np.sqrt(scales)
    np.maximum(scales, floors, scales)


@njit(cache=True, nogil=True)
def set_domain_matrix(W, s, out):
    """Store I - W∘W / s; its log-determinant is -h up to rounding of its own size."""
    d = W.shape[0]
    inverse_s = 1.0 / s
    for i in range(d):
        for j in range(d):
            out[i, j] = -W[i, j] * W[i, j] * inverse_s
        out[i, i] += 1.0


@njit(cache=True, nogil=True)
def set_residual(C, W, scratch, residual):
    """Store C (I - W); 2 d^3 flops."""
    d = W.shape[0]
    for i in range(d):
        for j in range(d):
            scratch[i, j] = -W[i, j]
        scratch[i, i] += 1.0
    np.dot(C, scratch, residual)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _move(W, residual, inverse, scales, moments, allowed, penalty, mu, s, betas, corrections, rate):
    """Update the moments of Adam and take its step, in one pass over the entries."""
    first, second, step = moments
    beta1, beta2 = betas
    correction1, correction2 = corrections
    pull = 2.0 / s
    d = W.shape[0]
    for i in range(d):
        for j in range(d):
            w = W[i, j]
            gradient = -mu * residual[i, j] / scales[j] + pull * w * inverse[j, i]
            gradient += mu * penalty[i, j] * np.sign(w)
            gradient *= allowed[i, j]
            first[i, j] = beta1 * first[i, j] + (1.0 - beta1) * gradient
            second[i, j] = beta2 * second[i, j] + (1.0 - beta2) * gradient * gradient
            root = np.sqrt(second[i, j] / correction2)
            step[i, j] = first[i, j] / correction1 / (root + 1e-8)
            W[i, j] = w - rate * step[i, j]


@njit(cache=True, nogil=True)
def adam_steps(
    C,
    W,
    residual,
    scales,
    moments,
    allowed,
    penalty,
    floors,
    equal_variance,
    mu,
    s,
    betas,
    rate,
    done,
    n_steps,
    scratch,
    workspace,
):
    """Take ``n_steps`` steps of Adam after the ``done`` first ones; ~4 d^3 flops a step.

    Returns the outcome, the number of steps taken in all and the step size: it is halved
    when a step left the domain, and that step is taken again.
    """
    beta1, beta2 = betas
    step = moments[2]
    for t in range(done + 1, done + n_steps + 1):
        set_domain_matrix(W, s, scratch)
        while invert_m_matrix(scratch, workspace) == -np.inf:
            if t == 1 or s <= 0.9:
                return LEFT_DOMAIN, t - 1, rate
            W += rate * step
            rate /= 2.0
            if rate <= SMALLEST_RATE:
                return STEP_VANISHED, t - 1, rate
            W -= rate * step
            set_residual(C, W, scratch, residual)
            noise_scales(W, residual, equal_variance, floors, scales)
            set_domain_matrix(W, s, scratch)
        corrections = (1.0 - beta1**t, 1.0 - beta2**t)
        _move(
            W, residual, scratch, scales, moments, allowed, penalty, mu, s, betas, corrections, rate
        )
        set_residual(C, W, scratch, residual)
        noise_scales(W, residual, equal_variance, floors, scales)
    return INSIDE, done + n_steps, rate


@njit(cache=True, nogil=True)
def solve_columns(
    C, W, residual, inverse, scales, allowed, penalty, mu, s, radius, sweeps, workspace, trial
):
    """Improve each column of ``W`` on its own model within ``radius``; store in ``trial``.

    The model of column j linearises the acyclicity in W∘W and holds the noise scale:

        mu / (2 scale_j) (w' C w - 2 c_j' w) + mu sum_i penalty_ij |w_i|
        + sum_i inverse_ji w_i^2 / s,   |w - W_j| <= radius,

    where ``inverse`` is that of I - W∘W / s.

    Some sweeps of coordinate descent find the signs, one Newton step on the entries that
    they leave free makes up for the conditioning of C. About d^2 flops for each entry that
    changes, and k^3 / 3 for each column with k free entries.
    """
    d = C.shape[0]
    weights, gradient, old, strengths, curvatures, direction = (
        workspace[0],
        workspace[1],
        workspace[2],
        workspace[3],
        workspace[4],
        workspace[5],
    )
    factor = workspace[6:]
    free = np.empty(d, np.int64)
    for j in range(d):
        scale = mu / scales[j]
        for i in range(d):
            weights[i] = old[i] = W[i, j]
            gradient[i] = -residual[i, j]
            strengths[i] = mu * penalty[i, j] if allowed[i, j] else np.inf
            curvatures[i] = 2.0 / s * inverse[j, i]
        model = (scale, weights, gradient, old, strengths, curvatures, radius)
        first = change = _sweep(C, model)
        for _ in range(sweeps - 1):
            change = _sweep(C, model)
        if change > SETTLED * first:
            _newton_step(C, model, free, factor, direction)
        for i in range(d):
            trial[i, j] = weights[i]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _change(C, weights, gradient, i, value):
    """Set an entry, and keep the gradient C w - c_j up to date."""
    change = value - weights[i]
    weights[i] = value
    for k in range(weights.size):
        gradient[k] += change * C[i, k]


@njit(cache=True, nogil=True)
def _sweep(C, model):
    """Minimise the model in each entry in turn; return the largest change."""
    scale, weights, gradient, old, strengths, curvatures, radius = model
    largest = 0.0
    for i in range(weights.size):
        if strengths[i] == np.inf:
            continue
        pull = scale * (C[i, i] * weights[i] - gradient[i])
        shrunk = max(abs(pull) - strengths[i], 0.0)
        value = np.sign(pull) * shrunk / (scale * C[i, i] + curvatures[i])
        value = min(max(value, old[i] - radius), old[i] + radius)
        if value != weights[i]:
            largest = max(largest, abs(value - weights[i]))
            _change(C, weights, gradient, i, value)
    return largest


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _newton_step(C, model, free, factor, direction):
    """Minimise the model over the free entries, up to a change of sign or the radius.

    An entry is free if it is not zero (or not penalised) and not at the radius. Does
    nothing where the model is singular in double precision.
    """
    scale, weights, gradient, old, strengths, curvatures, radius = model
    size = 0
    for i in range(weights.size):
        if strengths[i] == np.inf or abs(weights[i] - old[i]) >= radius:
            continue
        if weights[i] == 0.0 and strengths[i] > 0.0:
            continue
        free[size] = i
        size += 1
    for row in range(size):
        i = free[row]
        slope = scale * gradient[i] + curvatures[i] * weights[i]
        direction[row] = -slope - strengths[i] * np.sign(weights[i])
        for column in range(row + 1):
            value = scale * C[i, free[column]]
            for k in range(column):
                value -= factor[row, k] * factor[column, k]
            if column < row:
                factor[row, column] = value / factor[column, column]
        value += curvatures[i]
        if not value > 1e-13 * (scale * C[i, i] + curvatures[i]):
            return
        factor[row, row] = np.sqrt(value)
    solve_lower(factor, size, direction)
    solve_lower_adjoint(factor, size, direction)
    fraction = 1.0
    for row in range(size):
        i = free[row]
        move = direction[row]
        room = radius - (weights[i] - old[i]) * np.sign(move)
        if move * weights[i] < 0.0 and strengths[i] > 0.0:
            room = min(room, abs(weights[i]))
        if fraction * abs(move) > room:
            fraction = room / abs(move)
    for row in range(size):
        i = free[row]
        value = weights[i] + fraction * direction[row]
        if abs(value) < 1e-15 and strengths[i] > 0.0:
            value = 0.0
        _change(C, weights, gradient, i, value)
