"""Other ways to a planted direction: peers' packages, textbook methods, chains one by one."""

import importlib
import math

import numpy as np

from benchmarks.langevin.problems import overlap
from sparseopt.linear_model._single_index_refinement import refine_direction
from sparseopt.linear_model._single_index_rows import Rows
from sparseopt.optimize import sgd_average


def tensorly_power(tensor):
    """Return tensorly's rank-one factor by power iteration from ten random points."""
    decomposition = importlib.import_module("tensorly.decomposition")
    np.random.seed(0)  # it draws its starts there
    _, factors = decomposition.symmetric_parafac_power_iteration(
        tensor, 1, n_repeat=10, n_iteration=30
    )
    return np.asarray(factors)[:, 0]


def tensorly_parafac(tensor):
    """Return tensorly's rank-one factor by alternating least squares from the unfolding."""
    decomposition = importlib.import_module("tensorly.decomposition")
    _, factors = decomposition.parafac(tensor, 1, init="svd", random_state=0)
    return factors[0][:, 0]


def statsmodels_sir(X, y):
    """Return the direction of statsmodels' sliced inverse regression."""
    dimred = importlib.import_module("statsmodels.regression.dimred")
    return np.asarray(dimred.SIR(y, X).fit(slice_n=max(20, len(y) // 10)).params)[:, 0]


def chains_one_by_one(tensor, eps, n_chains, max_iter, seed):
    """Return the mean drift of chains that run one after the other, vector by vector."""
    d = tensor.shape[0]
    flat, dt = tensor.reshape(d * d, d), 1 / (d - 1)
    rng = np.random.default_rng(seed)
    total = np.zeros(d)
    for _ in range(n_chains):
        theta = rng.standard_normal(d)
        theta /= np.linalg.norm(theta)
        for _ in range(max_iter):
            drift = 3 * (flat @ theta).reshape(d, d) @ theta
            drift -= theta * (theta @ drift)
            total += drift
            noise = rng.standard_normal(d)
            noise -= theta * (theta @ noise)
            theta = theta + eps * dt * drift + math.sqrt(dt) * noise
            theta /= np.linalg.norm(theta)
    return total / (n_chains * max_iter)


def online_sgd(data, degree, *, eta, seed, n_chains=8):
    """Return the mean overlap of the last of n steps of stochastic gradients, n the samples."""
    n_steps = len(data.y)
    result = averaged_sgd(data, degree, eta=eta, n_steps=n_steps, seed=seed, n_chains=n_chains)
    return float(np.mean(overlap(result.last, data.direction)))


def online_tensors(direction, degree, n_steps, *, eta, seed, n_chains=8):
    """Return the mean overlap of last iterates of steps with a new noisy tensor each.

    The gradient of the form of theta*^k + Z at theta is k (theta . theta*)^(k - 1) theta* and
    independent normal noise, of variance k along each tangent: no tensor need be drawn.
    """
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((n_chains, len(direction)))
    theta /= np.linalg.norm(theta, axis=1, keepdims=True)
    for _ in range(n_steps):
        gradient = degree * (theta @ direction)[:, None] ** (degree - 1) * direction
        gradient += math.sqrt(degree) * rng.standard_normal(theta.shape)
        gradient -= theta * np.sum(theta * gradient, axis=1, keepdims=True)
        theta = theta + eta * gradient
        theta /= np.linalg.norm(theta, axis=1, keepdims=True)
    return float(np.mean(overlap(theta, direction)))


def averaged_sgd(data, degree, *, eta, n_steps, seed, n_chains=1):
    """Return the result of averaging steps with samples drawn again and again."""
    return sgd_average(
        data.X,
        data.y,
        degree,
        eta=eta,
        n_steps=n_steps,
        n_chains=n_chains,
        second_moment=degree % 2 == 0,
        random_state=seed,
        warn=False,
    )


def refined(data, start, degree=6):
    """Return a direction after joint least squares over it and a polynomial link."""
    rows = Rows(data.X, np.ones(len(data.y)))
    return refine_direction(rows, data.y, start, degree=degree, warn=False).x


def random_direction(n_features, seed):
    """Return a uniform direction."""
    direction = np.random.default_rng(seed).standard_normal(n_features)
    return direction / np.linalg.norm(direction)
