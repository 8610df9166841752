r"""The published algorithm of CoLiDE, written down in NumPy as it is stated.

S. S. Saboksayr, G. Mateos, M. Tepper (2024). CoLiDE: Concomitant Linear DAG Estimation. ICLR.

Along mu = 1, 0.1, 0.01, 0.001 and s = 1, 0.9, 0.8, 0.7 it minimises, by Adam,

    mu (score + alpha |W|_1) + d log s - log det(s I - W∘W),

where the score is d sigma or, for unequal variances, the sum of the sigma_j, all of them
standard deviations of the residuals. A step costs one inverse and three products: one for the
gradient, two for the residual variances.
"""

import numpy as np


class LeftDomain(Exception):
    """A stage has to start again, with a larger s."""


def learn_dag(
    X,
    variance="equal",
    *,
    alpha=0.05,
    mu=(1.0, 0.1, 0.01, 0.001),
    s=(1.0, 0.9, 0.8, 0.7),
    warm_iter=20_000,
    max_iter=70_000,
    tol=1e-6,
):
    """Return the weights before the cut to a DAG, and the number of steps of each stage."""
    centred = X - X.mean(axis=0)
    C = centred.T @ centred / len(X)
    W = np.zeros_like(C)
    sigma = np.sqrt(np.diagonal(C))
    if variance == "equal":
        sigma = sigma.min()
    steps = []
    for stage, (stage_mu, stage_s) in enumerate(zip(mu, s, strict=True)):
        n_steps = max_iter if stage == len(mu) - 1 else warm_iter
        rate = 3e-4
        while True:
            try:
                end = _minimise(C, W, sigma, variance, alpha, stage_mu, stage_s, rate, n_steps, tol)
                break
            except LeftDomain:
                rate /= 2
                stage_s += 0.1
        W, sigma, taken = end
        steps.append(taken)
    return W, steps


def _minimise(C, W, sigma, variance, alpha, mu, s, rate, n_steps, tol):
    """Run Adam at one point of the path."""
    identity = np.eye(len(C))
    m, v, g = 0.0, 0.0, 0.0
    previous = 1e16
    for t in range(1, n_steps + 1):
        M = np.linalg.inv(s * identity - W * W) + 1e-16
        while np.any(M < -1e-6):
            if t == 1 or s <= 0.9:
                raise LeftDomain
            W = W + rate * g
            rate /= 2
            if rate <= 1e-16:
                return W, sigma, t
            W = W - rate * g
            sigma = _noise_scale(C, W, identity, variance)
            M = np.linalg.inv(s * identity - W * W) + 1e-16
        gradient = -mu * (C @ (identity - W)) / sigma + mu * alpha * np.sign(W) + 2 * W * M.T
        m = 0.99 * m + 0.01 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        g = (m / (1 - 0.99**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        W = W - rate * g
        sigma = _noise_scale(C, W, identity, variance)
        if t % 1000 == 0 or t == n_steps:
            score = len(C) * sigma if variance == "equal" else sigma.sum()
            h = len(C) * np.log(s) - np.linalg.slogdet(s * identity - W * W)[1]
            objective = mu * (score + alpha * np.abs(W).sum()) + h
            if abs((previous - objective) / previous) <= tol:
                break
            previous = objective
    return W, sigma, t


def _noise_scale(C, W, identity, variance):
    residual = identity - W
    if variance == "equal":
        return np.sqrt(np.trace(residual.T @ C @ residual) / len(C))
    return np.sqrt(np.diagonal(residual.T @ C @ residual))
