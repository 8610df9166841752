r"""Which columns lie near the space of the signals: the first part of a coarse estimate.

Whatever the symbols, observations without noise lie in the span of the active columns. The
covariance of observations over blocks and snapshots has as many large eigenvalues as that has
dimensions; with E the eigenvectors of all others (the noise subspace), columns are ranked by

    spectrum[q] = sum_kn ||Phi[k, n, :, q]||^2 / sum_kn ||E^H Phi[k, n, :, q]||^2,

which is that of MUSIC (R. O. Schmidt, IEEE Trans. Antennas Propag. 34, 276-280, 1986) if columns
are the same in all blocks. The dimension is the one of shortest description (M. Wax & T. Kailath,
IEEE Trans. Acoust. Speech Signal Process. 33, 387-392, 1985). Columns that differ in what they do
to blocks only are not told apart; never keep less than half of them.
"""

import math
from typing import NamedTuple

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import conjugate


class Screening(NamedTuple):
    """``columns``: those kept, in ascending order; ``spectrum`` (Q,); ``rank`` of the signals."""

    columns: np.ndarray
    spectrum: np.ndarray
    rank: int


def screen_columns(Y, dictionary, *, share=0.5, rank=None):
    """Keep the columns with the largest spectrum.

    Parameters
    ----------
    Y : array of shape (N, L, M)
        Observations.
    dictionary : DenseDictionary or FactoredDictionary
        Of shape (K, N, M, Q).
    share : float, default=0.5
        Share of the columns that are kept, at least one; all are if there is no noise subspace.
    rank : int, default=None
        Dimension of the space of the signals, from the data by default.

    Returns
    -------
    screening : Screening
        Columns, spectrum and rank.
    """
    xp = array_namespace(Y)
    M, Q = dictionary.shape[2:]
    flat = xp.reshape(Y, (-1, M))
    covariance = to_numpy(xp.matmul(flat.T, conjugate(flat))) / flat.shape[0]
    eigenvalues, vectors = np.linalg.eigh(covariance)
    if rank is None:
        half = 1.0 if np.iscomplexobj(covariance) else 0.5
        rank = signal_rank(eigenvalues, flat.shape[0], half)
    if not 0 < rank < M:
        return Screening(np.arange(Q), np.ones(Q), rank)
    signals = xp.asarray(vectors[:, M - rank :].copy(), dtype=Y.dtype, device=Y.device)
    inside = np.sum(to_numpy(dictionary.projected_norms(signals)), axis=(0, 1))
    total = np.sum(to_numpy(dictionary.squared_norms()), axis=(0, 1))
    covered = np.divide(inside, total, out=np.zeros(Q), where=total > 0)
    spectrum = 1 / np.maximum(1 - covered, np.finfo(total.dtype).eps)
    n_kept = max(1, math.ceil(share * Q))
    kept = np.argsort(-spectrum, kind="stable")[:n_kept]
    return Screening(np.sort(kept), spectrum, rank)


def signal_rank(eigenvalues, n_samples, half=1.0):
    """Return the number of signals with the shortest description.

    Parameters
    ----------
    eigenvalues : ndarray of shape (M,)
        Eigenvalues of the covariance of the samples.
    n_samples : int
        Number of samples.
    half : float, default=1.0
        1 for complex data, 1/2 for real data.

    Returns
    -------
    rank : int
        Between 0 and min(M, n_samples) - 1.
    """
    M = len(eigenvalues)
    eigenvalues = np.sort(eigenvalues)[::-1][: min(M, n_samples)]
    if not eigenvalues[0] > 0:
        return 0
    floor = M * np.finfo(eigenvalues.dtype).eps * eigenvalues[0]
    eigenvalues = np.maximum(eigenvalues, floor).astype(float)
    lengths = []
    for rank in range(len(eigenvalues)):
        rest = eigenvalues[rank:]
        flatness = np.mean(np.log(rest)) - np.log(np.mean(rest))  # at most 0
        free = rank * (2 * M - rank) if half == 1 else rank * (2 * M - rank + 1) / 2
        lengths.append(-half * n_samples * len(rest) * flatness + 0.5 * free * np.log(n_samples))
    return int(np.argmin(lengths))
