"""What regressors of real and complex targets share: validation, iterates, the score."""

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    validate_data,
)

from sparseopt._core import ComplexSupportMixin


class BayesianRegressor(
    ComplexSupportMixin, CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator
):
    """Linear regression of real or complex targets, one or several."""

    def _validate_data(self, X, y, sample_weight):
        """Return X and y in one dtype, validated by scikit-learn if they are real, and weights."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X = self._validate_X(X, reset=True)
        if _is_complex(y):
            y = np.asarray(y)
            if y.ndim not in (1, 2) or 0 in y.shape:
                raise ValueError(f"y must be a vector or a matrix, got shape {y.shape}.")
            _check_finite(y, "y")
        else:
            y = _check_y(y, multi_output=True, y_numeric=True, estimator=self)
            y = y.astype(X.real.dtype, copy=False)
        check_consistent_length(X, y)
        dtype = np.result_type(X, y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X.real, dtype=np.float64, ensure_non_negative=True
            )
        return X.astype(dtype, copy=False), y.astype(dtype, copy=False), sample_weight

    def _validate_X(self, X, *, reset):
        if issparse(X) or not _is_complex(X):
            kinds = [np.float64, np.float32]
            least = 2 if reset else 1
            return validate_data(self, X, dtype=kinds, reset=reset, ensure_min_samples=least)
        _check_feature_names(self, X, reset=reset)
        X = np.asarray(X)
        if X.ndim != 2 or 0 in X.shape or (reset and len(X) < 2):
            raise ValueError(
                "Expected 2D array: X must be a matrix with two rows or more to fit, got shape "
                f"{X.shape}."
            )
        _check_n_features(self, X, reset=reset)
        _check_finite(X, "X")
        return X

    def _attributes(self, X, target, sample_weight):
        """Return what gives the fitted attributes for coefficients during the fit."""

        def attributes(x):
            intercept = np.zeros(target.shape[1:], X.dtype)
            if self.fit_intercept:
                rows = np.average(target, axis=0, weights=sample_weight)
                intercept = rows - np.average(X, axis=0, weights=sample_weight) @ x
            return {"coef_": x.T, "intercept_": intercept}

        return attributes

    def score(self, X, y, sample_weight=None):
        """Return the coefficient of determination, for complex data too.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            True targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples.

        Returns
        -------
        score : float
            1 minus the squared error over the squared distance from the mean; averaged over
            targets.
        """
        if not (_is_complex(y) or _is_complex(X) or np.iscomplexobj(getattr(self, "coef_", 0))):
            return super().score(X, y, sample_weight=sample_weight)
        y, prediction = np.asarray(y), self.predict(X)
        if y.shape != prediction.shape:
            raise ValueError(f"y must have shape {prediction.shape}, got {y.shape}.")
        y, prediction = (a[:, None] if a.ndim == 1 else a for a in (y, prediction))
        weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        errors = weights @ (np.abs(y - prediction) ** 2)
        spreads = weights @ np.abs(y - np.average(y, axis=0, weights=weights)) ** 2
        scores = 1 - np.divide(errors, spreads, out=(errors > 0) * 1.0, where=spreads > 0)
        return float(scores.mean())


def _is_complex(array):
    return not issparse(array) and np.asarray(array).dtype.kind == "c"


def _check_finite(array, name):
    if not np.all(np.isfinite(array)):
        raise ValueError(f"Input {name} contains NaN or infinity.")
