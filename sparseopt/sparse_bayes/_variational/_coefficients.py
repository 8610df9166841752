r"""q(x): the normal posterior of the coefficients, with a covariance that few columns share.

With W = kappa <F^H F> + diag(rho) and b = kappa <F^H y>, the best normal q(x) of any covariance
family has mean W^-1 b. Its covariance is

    "full":      W^-1, which costs (K Q)^3;
    "diag":      1 / W_qq (mean field);
    "subspace":  (W_SS)^-1 for the columns S that are probably active, and 1 / W_qq elsewhere.

A. Liu et al., arXiv 2407.16947, keep the mean cheap in the same way: an exact step in the
subspace, then some gradient steps. Here the latter are conjugate gradients, preconditioned by the
covariance. Each step lowers the distance to the best mean, and the next iteration goes on from
there, so that few suffice.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import conjugate, pick, place, real_part

COVARIANCES = ("subspace", "diag", "full")
SOLVED = 1e-12  # relative residual at which the mean is exact
ROUNDING = 100 * np.finfo(float).eps


class CoefficientPosterior(NamedTuple):
    """The normal posterior of all coefficients.

    ``mean`` (K, Q) on the device; on the host ``variance`` (K, Q), the flat indices ``active`` of
    the columns that share a covariance, that ``block``, and log det of the whole covariance.
    """

    mean: Any
    variance: np.ndarray
    active: np.ndarray
    block: np.ndarray
    log_determinant: float


def choose_active(proba, covariance, largest):
    """Return the flat indices of the columns whose covariance is kept.

    Parameters
    ----------
    proba : ndarray of shape (K, Q)
        Probabilities of being active.
    covariance : {"subspace", "diag", "full"}
        Family of covariances.
    largest : int
        Largest number of columns of "subspace".
    """
    if covariance == "full":
        return np.arange(proba.size)
    if covariance == "diag":
        return np.zeros(0, dtype=int)
    active = np.flatnonzero(proba.ravel() > 0.5)
    if len(active) > largest:
        order = np.argsort(-proba.ravel()[active], kind="stable")
        active = np.sort(active[order[:largest]])
    return active


def update_coefficients(design, precision, rho, active, mean, n_inner):
    """Return the posterior of the coefficients.

    Parameters
    ----------
    design : LinearDesign or BilinearDesign
        Data.
    precision : float
        Expected precision kappa of the noise.
    rho : ndarray of shape (K, Q)
        Expected precisions of the coefficients.
    active : ndarray of int
        Flat indices S.
    mean : array of shape (K, Q)
        Mean to start from.
    n_inner : int
        Largest number of steps of conjugate gradients.
    """
    total = precision * design.diagonal + rho
    variance = 1.0 / total
    log_determinant = -float(np.log(total).sum())
    dtype = np.zeros(0, dtype=complex if design.half == 1.0 else float).dtype
    block = np.zeros((0, 0), dtype)
    if len(active):
        information = precision * design.gram_block(active)
        information[np.diag_indices(len(active))] += rho.flat[active]
        groups = active // design.shape[1] if design.is_decoupled else np.zeros_like(active)
        block, log_information = _invert_groups(information, groups, float(rho.flat[active].min()))
        variance.flat[active] = np.diagonal(block).real
        log_determinant += float(np.log(total.flat[active]).sum()) - log_information
    mean = _solve(design, precision, rho, active, block, 1.0 / total, mean, n_inner)
    return CoefficientPosterior(mean, variance, active, block, log_determinant)


def _invert_groups(information, groups, least):
    """Return the inverse and log det of a matrix that is zero between groups, which are sorted."""
    inverse, total = np.zeros_like(information), 0.0
    edges = [0, *(np.flatnonzero(np.diff(groups)) + 1), len(groups)]
    for low, high in itertools.pairwise(edges):
        part = slice(low, high)
        inverse[part, part], log_determinant = _invert(information[part, part], least)
        total += log_determinant
    return inverse, total


def _invert(information, least):
    """Return the inverse and log det of a matrix with no eigenvalue below ``least``.

    Where columns depend on each other and the noise is small, rounding errors hide the eigenvalues
    that only the prior makes positive. They are taken as no smaller than what can be told from
    zero, lest they amplify those errors.
    """
    try:
        factor = cho_factor(information, lower=True)
    except LinAlgError:
        values, vectors = eigh(information)
        values = np.maximum(values, max(least, ROUNDING * values[-1]))
        return (vectors / values) @ vectors.conj().T, float(np.log(values).sum())
    inverse = cho_solve(factor, np.eye(len(information), dtype=information.dtype))
    return inverse, 2 * float(np.log(np.diagonal(factor[0]).real).sum())


def _solve(design, precision, rho, active, block, inverse_diagonal, mean, n_inner):
    """Return a better solution of W mean = b."""
    xp = array_namespace(mean)
    real = real_part(mean).dtype
    rho = xp.asarray(rho, dtype=real, device=mean.device)
    inverse_diagonal = xp.asarray(inverse_diagonal, dtype=real, device=mean.device)
    block = xp.asarray(block, dtype=mean.dtype, device=mean.device)
    right = precision * design.correlation

    def apply(v):
        return precision * design.apply_gram(v) + rho * v

    def precondition(v):
        out = inverse_diagonal * v
        return place(xp.matmul(block, pick(active, v)), active, out) if len(active) else out

    residual = right - apply(mean)
    if len(active):
        correction = xp.matmul(block, pick(active, residual))
        correction = place(correction, active, xp.zeros_like(mean))
        mean = mean + correction
        residual = residual - apply(correction)
    return _conjugate_gradients(apply, precondition, mean, residual, right, n_inner)


def _inner(a, b):
    xp = array_namespace(a)
    return float(xp.sum(real_part(conjugate(a) * b)))


def _conjugate_gradients(apply, precondition, solution, residual, right, n_inner):
    enough = SOLVED**2 * _inner(right, right)
    direction, before = None, 1.0
    for _ in range(n_inner):
        if _inner(residual, residual) <= enough:
            break
        scaled = precondition(residual)
        now = _inner(residual, scaled)
        if not now > 0:  # nothing is left but rounding errors
            break
        direction = scaled if direction is None else scaled + (now / before) * direction
        image = apply(direction)
        bend = _inner(direction, image)
        if not bend > 0:
            break
        length = now / bend
        solution = solution + length * direction
        residual = residual - length * image
        before = now
    return solution


def coefficient_entropy(posterior, half):
    """Return the entropy of q(x), less a constant that the prior of x cancels."""
    return half * (posterior.variance.size + posterior.log_determinant)


def squared_moments(posterior):
    """Return ``<|x|^2>`` (K, Q) on the host."""
    return np.abs(to_numpy(posterior.mean)) ** 2 + posterior.variance
