r"""The rows of a single-index problem: merged, sorted, centred and whitened.

A single-index model sees the data :math:`X` (n, d) only through :math:`z_i^T \theta` with
:math:`|\theta| = 1`, where the rows :math:`z_i` have mean zero and, after whitening, the identity
as covariance. Everything that the solvers do with them are three products: ``index`` (n, ),
``cross`` (d, ) and ``gram`` (d, d). Sparse rows are centred in these products, never in memory.

Equal samples are merged and their weights added, and samples are sorted by their target, before
anything else happens. Integer weights thereby equal repeated rows to the last bit, whatever
the order of the rows; slices of equal target are contiguous; and a split that takes every fifth
row is stratified by target, and never has a sample on both sides.
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse

# Below this many samples a feature, the sample covariance is shrunk.
SHRINK_BELOW = 5
MOST_UNEQUAL = 1e3  # ratio of standard deviations that whitening takes on
CONSTANT = 1e-12  # standard deviation of a feature without any, relative to its largest entry


class MergedSamples(NamedTuple):
    """Distinct samples in the order of their target.

    ``X`` (n, d), ``y`` (n,), ``weight`` (n,), and ``repeats`` (n,), how many rows of the data
    each stands for.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray
    repeats: np.ndarray


def merge_samples(X, y, sample_weight):
    """Return the distinct samples with positive weight, sorted by target."""
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    if np.any(weight == 0):
        kept = np.flatnonzero(weight)
        X, y, weight = X[kept], y[kept], weight[kept]
    if sparse.issparse(X):
        X = X.copy()
        X.sum_duplicates()  # sorts, too: equal rows are now stored alike
        X.eliminate_zeros()
    order = _equal_rows_together(X, y)
    X, y, weight = X[order], y[order], weight[order]
    is_first = np.ones(len(y), dtype=bool)
    is_first[1:] = (y[1:] != y[:-1]) | _differs_from_previous(X)
    starts = np.flatnonzero(is_first)
    if len(starts) < len(y):
        X, y = X[starts], y[starts]
    repeats = np.diff(starts, append=len(weight))
    return MergedSamples(X, y, np.add.reduceat(weight, starts), repeats)


def _equal_rows_together(X, y):
    """Return the order of the rows by target, by length, and among ties by their entries.

    Many different rows of indicators or counts have the same length: without the last key, equal
    ones could lie apart.
    """
    norms = _squared_norms(X)
    order = np.lexsort((norms, y))
    ties = (np.diff(y[order]) == 0) & (np.diff(norms[order]) == 0)
    edges = np.flatnonzero(np.diff(ties, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2):
        tied = order[first : last + 1]
        keys = [_row_bytes(X, row) for row in tied]
        order[first : last + 1] = tied[sorted(range(len(keys)), key=keys.__getitem__)]
    return order


def _row_bytes(X, row):
    """Return a string that equal rows share."""
    if sparse.issparse(X):
        part = slice(X.indptr[row], X.indptr[row + 1])
        return X.indices[part].tobytes() + X.data[part].tobytes()
    return (X[row] + 0.0).tobytes()  # which makes -0 a 0


def _squared_norms(X):
    if sparse.issparse(X):
        return np.asarray(X.multiply(X).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", X, X)


def _differs_from_previous(X):
    if not sparse.issparse(X):
        return np.any(X[1:] != X[:-1], axis=1)
    difference = (X[1:] - X[:-1]).tocsr()
    difference.eliminate_zeros()
    return np.diff(difference.indptr) > 0


def effective_size(weight):
    """Return Kish's number of equally weighted rows."""
    weight = weight / weight.max()
    return weight.sum() ** 2 / np.sum(weight**2)


class Rows:
    """Centred and scaled rows with weights that sum to one.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_rows, n_features)
        Dense rows are used as they are, sparse ones as ``(X - mean) / scale``.
    weight : ndarray of shape (n_rows,)
        Non-negative weights; they are normalised.
    mean : ndarray of shape (n_features,), optional
        Of sparse rows.
    scale : float, default=1.0
        Of sparse rows.
    """

    def __init__(self, X, weight, *, mean=None, scale=1.0):
        self.X = X
        self.weight = weight / weight.sum()
        self._mean = mean
        self._scale = scale

    @property
    def shape(self):
        """Number of rows and of features."""
        return self.X.shape

    def take(self, chosen, weight=None):
        """Return some of the rows, with other weights if they are given."""
        weight = self.weight[chosen] if weight is None else weight
        return Rows(self.X[chosen], weight, mean=self._mean, scale=self._scale)

    def index(self, theta):
        """Return ``Z @ theta``; ``theta`` is a vector (d,) or a matrix (d, R)."""
        product = self.X @ theta
        return product if self._mean is None else (product - self._mean @ theta) / self._scale

    def cross(self, values):
        """Return ``Z.T @ values``; ``values`` is a vector (n,) or a matrix (n, R)."""
        product = self.X.T @ values
        if self._mean is None:
            return product
        return (product - np.multiply.outer(self._mean, values.sum(axis=0))) / self._scale

    def gram(self, values):
        """Return ``Z.T @ diag(values) @ Z`` (d, d). Cost: n d^2 flops."""
        if self._mean is None:
            return self.X.T @ (values[:, None] * self.X)
        product = (self.X.T @ (self.X.multiply(values[:, None])).tocsr()).toarray()
        shift = np.outer(self.X.T @ values, self._mean)
        product += values.sum() * np.outer(self._mean, self._mean) - shift - shift.T
        return product / self._scale**2

    def squared_norms(self):
        """Return ``|z_i|^2`` (n,)."""
        norms = _squared_norms(self.X)
        if self._mean is None:
            return norms
        return (norms - 2 * (self.X @ self._mean) + self._mean @ self._mean) / self._scale**2


class Whitening(NamedTuple):
    """The map from features to rows: ``z = root @ (x - mean)``; ``root`` may be a number."""

    mean: np.ndarray
    root: object

    def to_features(self, theta):
        """Return ``(coef, centre, scale)`` with ``z @ theta = (x @ coef - centre) / scale``."""
        direction = self.root @ theta if np.ndim(self.root) else self.root * theta
        scale = 1 / np.linalg.norm(direction)
        coef = direction * scale
        return coef, float(self.mean @ coef), float(scale)


def standardize(X, weight, *, whiten):
    """Return the :class:`Rows` of the data and their :class:`Whitening`.

    Without whitening the features are centred and divided by one number, so that the variances
    average to one.
    """
    proportion = weight / weight.sum()
    mean = X.T @ proportion
    if sparse.issparse(X):
        second = (X.multiply(X)).T @ proportion
        scale = _safe_scale(np.sqrt(np.mean(np.maximum(second - mean**2, 0))))
        return Rows(X, weight, mean=mean, scale=scale), Whitening(mean, 1 / scale)
    Z = X - mean
    if not whiten:
        scale = _safe_scale(np.sqrt(np.mean(proportion @ Z**2)))
        return Rows(Z / scale, weight), Whitening(mean, 1 / scale)
    units = _units(X, np.sqrt(proportion @ Z**2))
    Z /= units
    covariance = Z.T @ (proportion[:, None] * Z)
    size = effective_size(weight)
    if size < SHRINK_BELOW * X.shape[1]:
        covariance = _shrink(Z, proportion, covariance, size)
    root = _inverse_root(covariance)
    return Rows(Z @ root, weight), Whitening(mean, root / units[:, None])


def _units(X, deviations):
    """Return what to divide features by before they are whitened, where their units differ a lot.

    Then a feature in small units does not pass for one without variance. One that is constant
    up to the rounding of its mean is divided by infinity.
    """
    varies = deviations > CONSTANT * np.max(np.abs(X), axis=0)
    if not varies.any():
        return np.ones(len(deviations))
    present = deviations[varies]
    unequal = present.max() > MOST_UNEQUAL * present.min()
    return np.where(varies, deviations if unequal else 1.0, np.inf)


def _safe_scale(scale):
    return float(scale) if scale > 0 else 1.0


def _shrink(Z, proportion, covariance, size):
    """Return the estimate of Ledoit and Wolf (2004), with weights."""
    n_features = len(covariance)
    level = np.trace(covariance) / n_features
    distance = np.sum(covariance**2) - n_features * level**2
    spread = (proportion @ np.sum(Z**2, axis=1) ** 2 - np.sum(covariance**2)) / size
    if distance <= 0:
        return covariance
    shrinkage = min(max(spread, 0.0) / distance, 1.0)
    shrunk = (1 - shrinkage) * covariance
    shrunk[np.diag_indices(n_features)] += shrinkage * level
    return shrunk


def _inverse_root(covariance):
    """Return the symmetric inverse root; directions without variance are given none."""
    values, vectors = linalg.eigh(covariance)
    floor = max(values[-1], 0.0) * len(values) * np.finfo(float).eps * 10
    kept = values > floor
    if not kept.any():
        return np.eye(len(values))
    vectors = vectors[:, kept]
    return (vectors / np.sqrt(values[kept])) @ vectors.T


def split_rows(n_rows, fraction):
    """Return the numbers of the rows to train on, and of those to validate on.

    The rows are taken in their order at equal distances. Both parts have two rows at least,
    or the second is empty.
    """
    ranks = np.arange(n_rows)
    held = np.floor((ranks + 1) * fraction + 0.5) > np.floor(ranks * fraction + 0.5)
    validation = np.flatnonzero(held)
    if len(validation) < 2 or n_rows - len(validation) < 2:
        return ranks, validation[:0]
    return np.flatnonzero(~held), validation
