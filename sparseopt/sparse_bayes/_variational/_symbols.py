r"""q(d): the symbols of a bilinear model, some known (pilots), the others normal or discrete.

With the images H_n = [Phi[k, n] <x_k>] (M, K), their second moments A_n = H_n^H H_n + spread_n
(K, K) and z = H_n^H y[n, l] (K,), the exponent of q(d[:, n, l]) is -kappa (d^H A_n d - 2 Re d^H z),
halved for real data, plus the prior's:

    normal N(0, 1):  covariance C = (I + kappa A_n)^-1, mean kappa C z
    constellation:   one group after the other, given the means of the rest

Known symbols enter as fixed values.
"""

from typing import Any, NamedTuple

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import conjugate

DECODING_SWEEPS = 50


class SymbolPosterior(NamedTuple):
    """Means and covariances of the symbols.

    ``mean`` (K, N, L); ``covariance`` (N, K, K), summed over snapshots, with entry [j, k] of d_j
    and conj(d_k); ``proba`` (K, N, L, n_values) or None; ``bound``: E log p(d) plus the entropy.
    """

    mean: np.ndarray
    covariance: np.ndarray
    proba: np.ndarray | None
    bound: float


def initial_symbols(pilots, known):
    """Return what the prior N(0, 1) says of the symbols that are not known."""
    mean = np.where(known, pilots, 0)
    unknown = (~known).sum(axis=2)  # (K, N)
    covariance = np.zeros((known.shape[1], len(known), len(known)), dtype=mean.dtype)
    index = np.arange(len(known))
    covariance[:, index, index] = unknown.T
    return SymbolPosterior(mean, covariance, None, 0.0)


def gaussian_symbols(products, scores, precision, pilots, known, half):
    """Update normal symbols.

    Parameters
    ----------
    products : ndarray of shape (N, K, K)
        Second moments A_n of the images.
    scores : ndarray of shape (N, K, L)
        Their products z with the observations.
    precision : float
        Precision of the noise.
    pilots, known : ndarrays of shape (K, N, L)
        Known symbols, and where they are.
    half : float
        1 for complex data, 1/2 for real data.
    """
    mean = np.where(known, pilots, 0).astype(scores.dtype)
    covariance = np.zeros(products.shape, dtype=scores.dtype)
    bound = 0.0
    patterns, which = np.unique(known.reshape(len(known), -1).T, axis=0, return_inverse=True)
    which = which.reshape(known.shape[1:])
    for number, pattern in enumerate(patterns):
        free, given = np.flatnonzero(~pattern), np.flatnonzero(pattern)
        if len(free) == 0:
            continue
        for block in np.flatnonzero((which == number).any(axis=1)):
            snapshots = np.flatnonzero(which[block] == number)
            inner = np.eye(len(free)) + precision * products[block][np.ix_(free, free)]
            z = scores[block][np.ix_(free, snapshots)]
            z = (
                z
                - products[block][np.ix_(free, given)]
                @ mean[np.ix_(given, [block], snapshots)][:, 0]
            )
            spread = np.linalg.inv(inner)
            values = precision * spread @ z
            mean[np.ix_(free, [block], snapshots)] = values[:, None]
            covariance[block][np.ix_(free, free)] += len(snapshots) * spread
            log_determinant = -np.linalg.slogdet(inner)[1]
            surprise = len(free) - np.trace(spread).real + log_determinant
            bound += half * (len(snapshots) * surprise - float(np.sum(np.abs(values) ** 2)))
    return SymbolPosterior(mean, covariance, None, bound)


def discrete_symbols(products, scores, precision, pilots, known, half, values, mean):
    """Update symbols that take finitely many values, group by group.

    Parameters
    ----------
    products, scores, precision, pilots, known, half
        As for :func:`gaussian_symbols`.
    values : ndarray of shape (n_values,)
        The values, equally probable.
    mean : ndarray of shape (K, N, L)
        Means to start from.
    """
    K = len(known)
    mean = np.where(known, pilots, mean).astype(scores.dtype)
    proba = np.zeros((*known.shape, len(values)))
    covariance = np.zeros(products.shape, dtype=scores.dtype)
    bound = 0.0
    powers = np.abs(values) ** 2
    for k in range(K):
        others = np.einsum("nj,jnl->nl", products[:, k], mean)
        own = products[:, k, k].real[:, None]
        linear = scores[:, k] - (others - own * mean[k])
        logits = 2 * (linear[..., None] * values.conj()).real - own[..., None] * powers
        logits *= half * precision
        logits -= logits.max(axis=2, keepdims=True)
        weights = np.exp(logits)
        weights /= weights.sum(axis=2, keepdims=True)
        free = ~known[k]
        mean[k][free] = (weights @ values)[free]
        variance = np.where(free, weights @ powers - np.abs(weights @ values) ** 2, 0)
        covariance[:, k, k] = np.maximum(variance, 0).sum(axis=1)
        proba[k] = weights
        chosen = weights[free]
        bound -= float(np.sum(chosen * np.log(np.maximum(chosen, 1e-300))))
        bound -= free.sum() * np.log(len(values))
    proba[known] = np.abs(pilots[known][:, None] - values) <= 1e-9 * np.abs(values).max()
    return SymbolPosterior(mean, covariance, proba, bound)


class Decoder(NamedTuple):
    """What estimates the symbols of new observations.

    ``images`` (N, K, M) of unit symbols, their second ``moments`` (N, K, K), ``precision`` of the
    noise, ``constellation``, or None for normal symbols, and ``half``, 1 for complex data.
    """

    images: Any
    moments: np.ndarray
    precision: float
    constellation: np.ndarray | None
    half: float

    def decode(self, Y):
        """Return the means (K, N, L) of the symbols of observations (N, L, M)."""
        scores = image_scores(self.images, Y)
        known = np.zeros((scores.shape[1], scores.shape[0], scores.shape[2]), bool)
        zeros = np.zeros(known.shape)
        arguments = (self.moments, scores, self.precision, zeros, known, self.half)
        symbols = gaussian_symbols(*arguments)
        if self.constellation is not None:
            for _ in range(DECODING_SWEEPS):
                before = symbols.mean
                symbols = discrete_symbols(*arguments, self.constellation, before)
                if np.allclose(symbols.mean, before, rtol=0, atol=1e-10):
                    break
        return symbols.mean.astype(scores.dtype, copy=False)


def image_scores(images, Y):
    """Return the products (N, K, L) of images (N, K, M) and observations (N, L, M), on the host."""
    xp = array_namespace(Y)
    return to_numpy(xp.matmul(conjugate(images), xp.permute_dims(Y, (0, 2, 1))))
