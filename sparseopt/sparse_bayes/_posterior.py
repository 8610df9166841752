r"""The Gaussian posterior of a linear model whose weights have variances of their own.

M. E. Tipping, "Sparse Bayesian learning and the relevance vector machine", Journal of Machine
Learning Research 1 (2001); several targets: D. P. Wipf & B. D. Rao, IEEE Transactions on Signal
Processing 55 (2007). The model is

    Y = X W + N,   row j of W ~ N(0, g_j I),   N ~ N(0, s2 I),

for X (n, k), Y (n, L), g (k,), real or complex (circular). With S = s2 I + X diag(g) X^H

    nll = log det S + tr(Y^H S^-1 Y) / L,

which is twice the negative log evidence per target for real data, and once that for complex data,
up to a constant. Neither S nor the posterior covariance is ever inverted. Where a Cholesky
factorisation fails or loses too many digits, :mod:`._square_roots` takes its place.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import get_blas_funcs, get_lapack_funcs, solve_triangular

from sparseopt.sparse_bayes._square_roots import (
    LOST,
    OrthogonalFactors,
    has_lost_digits,
    triangle_of_samples,
)


class DensePosterior(NamedTuple):
    """What the update rules need.

    ``mean`` (k, L); ``variance`` (k,), the diagonal of the covariance that all targets share;
    ``well_determinedness`` (k,): 1 - variance / g, in [0, 1]; ``nll``; ``residual`` (n, L): Y - X
    mean.
    """

    mean: np.ndarray
    variance: np.ndarray
    well_determinedness: np.ndarray
    nll: float
    residual: np.ndarray


def squared_norms(A, axis):
    """Return the sums of ``|A|^2`` along an axis."""
    if np.iscomplexobj(A):
        return squared_norms(A.real, axis) + squared_norms(A.imag, axis)
    if axis is None:
        return np.vdot(A, A)
    return np.einsum("ij,ij->j" if axis == 0 else "ij,ij->i", A, A)


def add_to_diagonal(matrix, value):
    """Add to the diagonal of a square matrix in place."""
    matrix.flat[:: len(matrix) + 1] += value


def dense_posterior(X, Y, g, s2, *, form=None, gram=None):
    """Return the posterior for the prior variances ``g`` and the noise variance ``s2``.

    Parameters
    ----------
    X : ndarray of shape (n, k)
        Real or complex.
    Y : ndarray of shape (n, L)
        Targets, in the dtype of ``X``.
    g : ndarray of shape (k,)
        Prior variances, >= 0.
    s2 : float
        Noise variance, > 0.
    form : {"n", "k"}, optional
        Factorise an n x n matrix, O(n^2 k), or a k x k one, O(n k^2), or O(k^3) if ``gram`` is
        given. The cheaper one by default.
    gram : ndarray of shape (k, k), optional
        ``X^H X``, used by the k-form.

    Returns
    -------
    posterior : DensePosterior
    """
    if form is None:
        form = "k" if X.shape[1] < X.shape[0] else "n"
    if X.shape[1] == 0:
        return _empty_posterior(X, Y, s2)
    if form == "n":
        return _factorise_samples(X * np.sqrt(g), Y, g, s2)
    return _factorise_features(X, Y, g, s2, gram)


def _empty_posterior(X, Y, s2):
    nothing = np.zeros(0, dtype=Y.real.dtype)
    quadratic = float(squared_norms(Y, None)) / (Y.shape[1] * s2)
    nll = len(Y) * float(np.log(s2)) + quadratic
    return DensePosterior(np.zeros((0, Y.shape[1]), Y.dtype), nothing, nothing, nll, Y)


def _sample_factor(scaled, s2):
    """Return the lower Cholesky factor of ``s2 I + scaled scaled^H``."""
    evidence = _lower_products(scaled)
    add_to_diagonal(evidence, s2)
    diagonal = np.diagonal(evidence).real.copy()
    factor = try_cholesky(evidence)
    if factor is None or has_lost_digits(diagonal, np.diagonal(factor).real ** 2):
        return triangle_of_samples(scaled, s2)
    return factor


def _lower_products(A):
    """Return A A^H, of which complex data give only the lower triangle, in half the time."""
    if not np.iscomplexobj(A):
        return A @ A.T
    (herk,) = get_blas_funcs(("herk",), (A,))
    return herk(1.0, A, lower=True)


def root_of_inverse(matrix):
    """Return factor and root of the inverse of a matrix >= I, which is overwritten.

    L L^H is the matrix and H^H H its inverse, both lower triangular; None for both if they lack
    digits.
    """
    diagonal = np.diagonal(matrix).real.copy()
    factor = try_cholesky(matrix)
    if factor is not None:
        inverse = inverse_triangle(factor)
        if not has_lost_digits(diagonal, 1 / squared_norms(inverse, 0)):
            return factor, inverse
    return None, None


def _feature_factor(information):
    """Return what :func:`root_of_inverse` does of I + information."""
    precision = information.copy()
    add_to_diagonal(precision, 1)
    return root_of_inverse(precision)


def _factorise_samples(scaled, Y, g, s2):
    factor = _sample_factor(scaled, s2)
    white_X = solve_triangular(factor, scaled, lower=True, check_finite=False)
    white_Y = solve_triangular(factor, Y, lower=True, check_finite=False)
    determined = np.minimum(squared_norms(white_X, 0), 1)
    mean = np.sqrt(g)[:, None] * (white_X.conj().T @ white_Y)
    residual = s2 * solve_triangular(factor, white_Y, lower=True, trans="C", check_finite=False)
    nll = log_determinant(factor) + float(squared_norms(white_Y, None)) / Y.shape[1]
    return DensePosterior(mean, g * (1 - determined), determined, nll, residual)


def _factorise_features(X, Y, g, s2, gram):
    roots = np.sqrt(g)
    if gram is None:
        gram = X.conj().T @ X
    information = gram * (roots / s2)
    information *= roots[:, None]
    factor, inverse = _feature_factor(information)
    if factor is None:
        return _orthogonal_posterior(X, Y, g, s2)
    shares = np.minimum(squared_norms(inverse, 0), 1)
    determined = 1 - shares
    weak = np.flatnonzero(shares > 0.99)  # the difference has lost digits
    if len(weak):
        solved = inverse.conj().T @ inverse[:, weak]
        products = np.einsum("ij,ij->j", information[:, weak].conj(), solved).real
        determined[weak] = np.clip(products, 0, 1)
    mean = inverse.conj().T @ (inverse @ (roots[:, None] * (X.conj().T @ Y))) / s2
    quadratic = float(squared_norms(mean, None))
    mean = roots[:, None] * mean
    residual = Y - X @ mean
    quadratic = (quadratic + float(squared_norms(residual, None)) / s2) / Y.shape[1]
    nll = len(Y) * float(np.log(s2)) + log_determinant(factor) + quadratic
    return DensePosterior(mean, g * shares, determined, nll, residual)


def _orthogonal_posterior(X, Y, g, s2):
    factors = OrthogonalFactors(X, g, s2)
    shares = np.minimum(squared_norms(factors.inverse, 1), 1)
    determined = 1 - shares
    weak = np.flatnonzero(shares > 0.99)
    if len(weak):
        determined[weak] = np.minimum(g[weak] * squared_norms(factors.remainder(X[:, weak]), 0), 1)
    rest = factors.remainder(Y)
    quadratic = float(squared_norms(rest, None)) / Y.shape[1]
    nll = len(Y) * float(np.log(s2)) + factors.log_determinant + quadratic
    residual = factors.s * rest[: len(Y)]
    return DensePosterior(factors.mean(Y), g * shares, determined, nll, residual)


@cache
def _lapack(name, dtype):
    """Look a function up once: for small matrices that takes longer than they do."""
    return get_lapack_funcs((name,), dtype=dtype)[0]


def try_cholesky(A):
    """Return the lower Cholesky factor of A, which is overwritten, or None if there is none.

    LAPACK is called directly: for the small matrices of a pruned model, checks would take longer
    than the factorisation.
    """
    factor, info = _lapack("potrf", A.dtype.char)(A, lower=True, clean=True, overwrite_a=True)
    return factor if info == 0 else None


def inverse_triangle(factor):
    """Return the inverse of a lower triangular matrix."""
    inverse, _ = _lapack("trtri", factor.dtype.char)(factor, lower=True)
    return inverse


def log_determinant(factor):
    """Return the logarithm of the determinant of a matrix from its Cholesky factor."""
    return 2 * float(np.log(np.diag(factor).real).sum())


def posterior_covariance(X, g, s2):
    """Return the covariance (k, k) that the weights of each target have."""
    roots = np.sqrt(g)
    scaled = X * roots
    if X.shape[1] < X.shape[0]:
        _, inverse = _feature_factor(scaled.conj().T @ scaled / s2)
        half = OrthogonalFactors(X, g, s2).half() if inverse is None else inverse * roots
        return half.conj().T @ half
    factor = _sample_factor(scaled, s2)
    half = solve_triangular(factor, scaled, lower=True, check_finite=False) * roots
    return np.diag(g) - half.conj().T @ half


def evidence_terms(X, Y, g, s2):
    """Return what the derivative of nll is made of, for features of zero variance too.

    Parameters
    ----------
    X, Y, g, s2
        As for :func:`dense_posterior`.

    Returns
    -------
    sensitivity : ndarray of shape (k,)
        ``x_j^H S^-1 x_j``.
    power : ndarray of shape (k,)
        ``||x_j^H S^-1 Y||^2 / L``. The derivative with respect to ``g_j`` is ``sensitivity -
        power``.
    """
    active = np.flatnonzero(g)
    kept = g[active]
    posterior = dense_posterior(X[:, active], Y, kept, s2)
    if len(active) < len(X):
        sensitivity, power = _terms_by_features(X, Y, g, s2, active, posterior.residual)
    else:
        factor = _sample_factor(X[:, active] * np.sqrt(kept), s2)
        white_X = solve_triangular(factor, X, lower=True, check_finite=False)
        white_Y = solve_triangular(factor, Y, lower=True, check_finite=False)
        sensitivity = squared_norms(white_X, 0)
        power = squared_norms(white_X.conj().T @ white_Y, 1) / Y.shape[1]
    # More accurate where the difference above cancels.
    sensitivity[active] = posterior.well_determinedness / kept
    power[active] = squared_norms(posterior.mean, 1) / (Y.shape[1] * kept**2)
    return sensitivity, power


def _terms_by_features(X, Y, g, s2, active, residual):
    """Return sensitivity and power by matrices of the active features."""
    norms = squared_norms(X, 0)
    sensitivity, power = norms / s2, squared_norms(X.conj().T @ residual, 1) / s2**2
    if len(active) == 0:
        return sensitivity, power / Y.shape[1]
    scaled = X[:, active] * np.sqrt(g[active])
    _, inverse = _feature_factor(scaled.conj().T @ scaled / s2)
    doubtful = slice(None)
    if inverse is not None:
        white = inverse @ (scaled.conj().T @ X / s2)
        sensitivity -= squared_norms(white, 0)
        doubtful = np.flatnonzero(sensitivity * s2 < LOST * norms)
    if inverse is None or len(doubtful):
        factors = OrthogonalFactors(X[:, active], g[active], s2)
        rest = factors.remainder(X[:, doubtful])
        sensitivity[doubtful] = squared_norms(rest, 0)
        power[doubtful] = squared_norms(rest.conj().T @ factors.remainder(Y), 1)
    return sensitivity, power / Y.shape[1]
