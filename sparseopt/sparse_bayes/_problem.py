"""Data of a sparse Bayesian model in units of their own, and back.

Features get norm 1 and targets power 1, so that thresholds and starting values mean the same for
all data. With d_j the norm of feature j and c the root of the power of Y, the variances in these
units are g_j d_j^2 / c^2 and s2 / c^2, and nll is smaller by n log c^2.
"""

import numpy as np

from sparseopt.sparse_bayes._posterior import squared_norms

SMALLEST_NOISE = 1e-10  # of the power of Y, below which a factorisation may fail


class Problem:
    """Centred, weighted and scaled data.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Real or complex, in double precision.
    Y : ndarray of shape (n, L)
        In the dtype of ``X``.
    sample_weight : ndarray of shape (n,) or None
        Numbers of equal rows for which each row stands.
    fit_intercept : bool
        Whether to subtract means.
    """

    def __init__(self, X, Y, sample_weight, fit_intercept):
        weights = np.ones(len(X)) if sample_weight is None else sample_weight
        kept = weights > 0
        if not kept.all():
            X, Y, weights = X[kept], Y[kept], weights[kept]
        self.n = float(weights.sum())
        # What features have to explain: copies do not count, and the intercept takes one.
        self.n_distinct = _count_distinct(X, Y, weights) - bool(fit_intercept)
        self.X_offset = np.zeros(X.shape[1], X.dtype)
        self.y_offset = np.zeros(Y.shape[1], Y.dtype)
        means = weights @ Y / self.n
        sizes = np.sqrt(weights @ X.real**2 + (weights @ X.imag**2 if np.iscomplexobj(X) else 0))
        largest = np.abs(Y).max()
        spread = weights @ squared_norms(Y - means, 1) / Y.shape[1]
        if fit_intercept:
            self.X_offset, self.y_offset = weights @ X / self.n, means
            X, Y = X - self.X_offset, Y - self.y_offset
        if sample_weight is not None:
            roots = np.sqrt(weights)[:, None]
            X, Y = X * roots, Y * roots
        rounding = 10 * np.finfo(float).eps
        self.norms = np.sqrt(squared_norms(X, 0))
        self.norms[self.norms <= rounding * sizes] = 0
        power = float(squared_norms(Y, None)) / (self.n * Y.shape[1])
        self.is_zero = np.sqrt(power) <= rounding * largest
        if self.is_zero:
            power = 1.0
        self.unit = np.sqrt(power)
        self.variance = float(spread) / max(self.n - 1, 1) / power
        if not self.variance > rounding**2:  # a constant target without an intercept
            self.variance = 1.0
        self.features = np.flatnonzero(self.norms)
        if len(self.features) < X.shape[1]:
            X = X[:, self.features]
        self.X = np.empty(X.shape, X.dtype, order="F")
        np.divide(X, self.norms[self.features], out=self.X)
        self.Y = Y / self.unit
        self.n_features = len(self.norms)

    def to_units(self, g):
        """Return prior variances in the units of the problem, for its features."""
        return g[self.features] * self.norms[self.features] ** 2 / self.unit**2

    def prior_variances(self, g, features=None):
        """Return prior variances (p,) in the units of the data."""
        features = self.features if features is None else self.features[features]
        out = np.zeros(self.n_features)
        roots = self.unit / self.norms[features]
        with np.errstate(over="ignore", under="ignore"):  # whoever needs them looks
            out[features] = g * roots * roots
        return out

    def coefficients(self, mean, features=None):
        """Return coefficients (p, L) in the units of the data."""
        features = self.features if features is None else self.features[features]
        out = np.zeros((self.n_features, mean.shape[1]), mean.dtype)
        out[features] = mean * (self.unit / self.norms[features])[:, None]
        return out

    def objective(self, nll, s2):
        """Return nll for all the rows that these stand for, in the units of the data."""
        spare = (self.n - len(self.X)) * float(np.log(s2))
        return nll + spare + 2 * self.n * float(np.log(self.unit))

    def log_evidence(self, objective):
        """Return the logarithm of the probability density of all targets."""
        density = self.n * np.log((1 if np.iscomplexobj(self.Y) else 2) * np.pi)
        return -(1.0 if np.iscomplexobj(self.Y) else 0.5) * self.Y.shape[1] * (objective + density)


def _count_distinct(X, Y, weights):
    """Return the number of different rows, which is what features have to explain.

    One that stands for less than a row counts as that part.
    """
    if len(np.unique(Y[:, 0])) == len(Y):  # no need to look at the rest
        return float(np.minimum(weights, 1.0).sum())
    rows = np.ascontiguousarray(np.column_stack([X, Y]))
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
    places = np.unique(keys.ravel(), return_inverse=True)[1]
    return float(np.minimum(np.bincount(places, weights=weights), 1.0).sum())
