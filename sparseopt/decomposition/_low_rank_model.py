"""What fitted low-rank models do with rows: split, transform, complete and judge them."""

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted


class LowRankModelMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Methods of a model with ``components_``, ``n_components_`` and perhaps ``mean_``.

    A class that uses it has ``_validate(X, reset=False)``, which returns rows as floats with NaN
    where values are missing, and ``_decompose(X)``, which returns coefficients of the components
    and the sparse part of such rows.
    """

    mean_: Any = 0.0

    def transform(self, X):
        """Return the coefficients of the components, robustly estimated.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing values where there were some in training or not.

        Returns
        -------
        ndarray of shape (n_samples, n_components_)
            Coefficients c of each row, of which ``c @ components_`` is the low-rank part.
        """
        check_is_fitted(self)
        return self._decompose(self._validate(X, reset=False))[0]

    def inverse_transform(self, X):
        """Return the low-rank rows that belong to coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components_)
            Coefficients, as :meth:`transform` returns them.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            ``X @ components_ + mean_``.
        """
        check_is_fitted(self)
        X = check_array(X, dtype=[np.float64, np.float32], ensure_min_features=0)
        if X.shape[1] != self.n_components_:
            raise ValueError(
                f"X must have one column for each of the {self.n_components_} components, got "
                f"{X.shape[1]}."
            )
        return X @ self.components_ + self.mean_

    def decompose(self, X):
        """Split rows into their low-rank and their sparse part.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, new ones or those of training.

        Returns
        -------
        low_rank : ndarray of shape (n_samples, n_features)
            Complete where values are missing.
        sparse : ndarray of shape (n_samples, n_features)
            Zero where values are missing.
        """
        check_is_fitted(self)
        scores, sparse = self._decompose(self._validate(X, reset=False))
        return scores @ self.components_ + self.mean_, sparse

    def impute(self, X):
        """Fill in missing values from the low-rank part; all others stay as they are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with missing values.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows without missing values.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        scores, _ = self._decompose(X)
        low_rank = scores @ self.components_ + self.mean_
        return np.where(np.isnan(X), low_rank.astype(X.dtype), X)

    def score_samples(self, X):
        r"""Return how well rows fit the low-rank model; the larger, the better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            :math:`-\|x - l\|^2` over the observed values of a row x with low-rank part l.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        scores, _ = self._decompose(X)
        rest = np.nan_to_num(X - self.mean_ - scores @ self.components_)
        return -np.einsum("ij,ij->i", rest, rest)

    def score(self, X, y=None):
        """Return minus the median absolute deviation of the data from their low-rank part.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        float
            A measure that gross errors in less than half of the entries hardly move.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        scores, _ = self._decompose(X)
        return -float(np.nanmedian(np.abs(X - self.mean_ - scores @ self.components_)))


def column_medians(X, weights=None):
    """Return the medians of the columns of ``X`` over the values that are not NaN.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    weights : ndarray of shape (n_samples,), optional
        Numbers of equal rows for which each row stands.

    Returns
    -------
    ndarray of shape (n_features,)
        In the dtype of ``X``.
    """
    if weights is None:
        return np.nanmedian(X, axis=0).astype(X.dtype)
    return np.array([_weighted_median(column, weights) for column in X.T], dtype=X.dtype)


def _weighted_median(values, weights):
    """Return the middle value, or the mean of the two between which the middle lies."""
    order = np.argsort(values)
    order = order[~np.isnan(values[order]) & (weights[order] > 0)]
    if order.size == 0:
        raise ValueError("X has a column without any observed entry in rows of positive weight.")
    cumulated = np.cumsum(weights[order], dtype=float)
    middle, slack = 0.5 * cumulated[-1], 1e-12 * cumulated[-1]
    low = np.searchsorted(cumulated, middle - slack)
    high = np.searchsorted(cumulated, middle + slack)
    return 0.5 * (values[order[low]] + values[order[min(high, order.size - 1)]])
