r"""The Gaussian posterior of a Kronecker-structured linear model, without its dictionary.

Y. He & G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery with
application to IRS-MIMO channel estimation", IEEE Transactions on Signal Processing (2024),
https://arxiv.org/abs/2307.14719. The model is

    Y = A X + N,   A = A_1 ⊗ ... ⊗ A_I,   g = g_1 ⊗ ... ⊗ g_I,
    entry j of a column of X ~ N(0, g_j),   N ~ N(0, s2 I),

for factors A_d (m_d, n_d), variances g_d (n_d,), tensors Y (m_1, ..., m_I[, L]) and
X (n_1, ..., n_I[, L]), real or complex. The covariance S = s2 I + A diag(g) A^H has Kronecker
eigenvectors, so that eigendecompositions of size m_d give everything ("m" form); those of
diag(g_d)^1/2 A_d^H A_d diag(g_d)^1/2, of size n_d, give it without cancellation ("n" form).
"""

import math
from typing import Any, NamedTuple

from sparseopt._core import array_namespace
from sparseopt.sparse_bayes._kronecker_dictionary import (
    adjoint,
    mode_products,
    outer_product,
    squared_magnitude,
)


class KroneckerPosterior(NamedTuple):
    """What the M-steps need.

    ``mean`` (n_1, ..., n_I[, L]); ``variance`` (n_1, ..., n_I), the diagonal of the covariance
    that all targets share; ``nll``: log det S + tr(Y^H S^-1 Y) / L; ``residual``: squared norm
    of Y - A mean, over L; ``well_determined``: the sum of 1 - variance / g; ``determined``
    (n_1, ..., n_I): its terms, without cancellation, if the "m" form is asked for them.
    """

    mean: Any
    variance: Any
    nll: float
    residual: float
    well_determined: float
    determined: Any = None


def kronecker_posterior(factors, Y, g, s2, *, form=None, determined=False):
    """Return the posterior for the prior variances ``g`` and the noise variance ``s2``.

    Parameters
    ----------
    factors : sequence of arrays of shape (m_d, n_d)
        Real or complex, of any array library and one dtype.
    Y : array of shape (m_1, ..., m_I) or (m_1, ..., m_I, L)
        Measurements, in the dtype of the factors.
    g : sequence of arrays of shape (n_d,)
        Prior variances of the factors, >= 0, in the real dtype.
    s2 : float
        Noise variance, > 0.
    form : {"m", "n"}, optional
        Whose eigendecompositions to use; by default those of the smaller tensors, and "n" when
        in doubt.
    determined : bool, default=False
        Whether to return the tensor of that name, for one more product. That needs the "m" form:
        eigenvectors of size n_d are not accurate where variances are tiny.

    Returns
    -------
    posterior : KroneckerPosterior
    """
    if determined:
        form = "m"
    if form is None:
        rows = math.prod(factor.shape[0] for factor in factors)
        columns = math.prod(factor.shape[1] for factor in factors)
        form = "n" if columns <= 2 * rows else "m"
    n_targets = 1 if Y.ndim == len(factors) else Y.shape[-1]
    expand = (
        (lambda tensor: tensor) if Y.ndim == len(factors) else (lambda tensor: tensor[..., None])
    )
    if form == "m":
        return _by_rows(factors, Y, g, float(s2), n_targets, expand, determined)
    return _by_columns(factors, Y, g, float(s2), n_targets, expand)


def _by_rows(factors, Y, g, s2, n_targets, expand, determined):
    xp = array_namespace(Y)
    vectors, values = [], []
    for factor, variances in zip(factors, g, strict=True):
        covariance = xp.matmul(factor * variances[None, :], adjoint(factor))
        eigenvalues, eigenvectors = _eigh(covariance)
        values.append(eigenvalues)
        vectors.append(eigenvectors)
    signal = outer_product(values)
    total = signal + s2
    rotated = mode_products([adjoint(vector) for vector in vectors], Y)
    whitened = rotated / expand(total)
    forward = [
        xp.matmul(adjoint(factor), vector) for factor, vector in zip(factors, vectors, strict=True)
    ]
    back = [variances[:, None] * matrix for variances, matrix in zip(g, forward, strict=True)]
    reduction = mode_products([squared_magnitude(matrix) for matrix in back], 1.0 / total)
    variance = outer_product(g) - reduction
    terms = None
    if determined:
        squares = [
            variances[:, None] * squared_magnitude(matrix)
            for variances, matrix in zip(g, forward, strict=True)
        ]
        terms = mode_products(squares, 1.0 / total)
    energy = squared_magnitude(rotated) / expand(total)
    return KroneckerPosterior(
        mean=mode_products(back, whitened),
        variance=xp.where(variance > 0, variance, xp.zeros_like(variance)),
        nll=float(xp.sum(xp.log(total))) + float(xp.sum(energy)) / n_targets,
        residual=s2 * s2 * float(xp.sum(squared_magnitude(whitened))) / n_targets,
        well_determined=float(xp.sum(signal / total)),
        determined=terms,
    )


def _by_columns(factors, Y, g, s2, n_targets, expand):
    xp = array_namespace(Y)
    vectors, values, forward = [], [], []
    for factor, variances in zip(factors, g, strict=True):
        root = xp.sqrt(variances)
        scaled = factor * root[None, :]
        eigenvalues, eigenvectors = _eigh(xp.matmul(adjoint(scaled), scaled))
        values.append(eigenvalues)
        vectors.append(eigenvectors)
        forward.append(xp.matmul(scaled, eigenvectors))
    ratio = outer_product(values) / s2
    shrinkage = 1.0 / (1.0 + ratio)
    correlations = mode_products([adjoint(matrix) for matrix in forward], Y)
    scores = expand(shrinkage) * correlations / s2
    back = [
        xp.sqrt(variances)[:, None] * vector for variances, vector in zip(g, vectors, strict=True)
    ]
    relative = mode_products([squared_magnitude(vector) for vector in vectors], shrinkage)
    residual = float(xp.sum(squared_magnitude(Y - mode_products(forward, scores)))) / n_targets
    n_rows = math.prod(factor.shape[0] for factor in factors)
    # y^H S^-1 y as a sum of squares: the residual's and the prior's.
    energy = residual / s2 + float(xp.sum(squared_magnitude(scores))) / n_targets
    return KroneckerPosterior(
        mean=mode_products(back, scores),
        variance=outer_product(g) * relative,
        nll=n_rows * math.log(s2) + float(xp.sum(xp.log1p(ratio))) + energy,
        residual=residual,
        well_determined=float(xp.sum(ratio * shrinkage)),
    )


def _eigh(matrix):
    """Return eigenvalues, not below zero, and eigenvectors of a positive semidefinite matrix."""
    xp = array_namespace(matrix)
    # Products round unsymmetrically, and repeated eigenvalues then lose orthogonal vectors.
    eigenvalues, eigenvectors = xp.linalg.eigh((matrix + adjoint(matrix)) / 2)
    return xp.where(eigenvalues > 0, eigenvalues, xp.zeros_like(eigenvalues)), eigenvectors
