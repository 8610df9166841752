"""What the estimators with Kronecker-structured dictionaries share: data, prediction, score."""

import math

import array_api_compat
import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import (
    _check_y,
    _num_features,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from sparseopt._core import ComplexSupportMixin, array_namespace, is_numpy
from sparseopt.sparse_bayes._kronecker_dictionary import (
    KroneckerDictionary,
    check_factors,
    dense_numbers,
    mode_products,
    squared_magnitude,
)
from sparseopt.sparse_bayes._kronecker_problem import check_measurements


class KroneckerRegressor(
    ComplexSupportMixin, CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator
):
    """Base of the regressors whose ``X`` is a dictionary, given by its factors or as a matrix.

    Subclasses implement ``fit``; they call :meth:`_validate_fit_data` first, and set ``coef_``.
    """

    def _validate_fit_data(self, X, y):
        """Return the factors, and y as a tensor; remember in which layout y came."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X = _as_dictionary(X)
        if _is_dictionary(X):
            factors, Y = check_measurements(X, y)
            self.n_features_in_ = math.prod(factor.shape[1] for factor in factors)
            vars(self).pop("feature_names_in_", None)
        else:
            matrix = self._validate_matrix(X, reset=True)
            y = _validate_target(y, matrix, self)
            factors, Y = check_measurements([matrix], y)
        n_targets = tuple(Y.shape[len(factors) :])
        flat = (math.prod(Y.shape[: len(factors)]), *n_targets)
        self._predicts_tensors = tuple(np.shape(y)) != flat
        return factors, Y

    def _output_shape(self, X):
        factors = check_factors(X)[0] if _is_dictionary(X) else [np.asarray(X)]
        return tuple(factor.shape[0] for factor in factors)

    def _validate_matrix(self, X, *, reset):
        _refuse_mask(X, "X")
        if not _is_complex(X):
            return validate_data(
                self, X, dtype=[np.float64, np.float32], reset=reset, ensure_min_samples=1 + reset
            )
        X = np.asarray(X)
        if X.ndim != 2 or 0 in X.shape or X.dtype.char not in "FD":
            raise ValueError(
                "Expected 2D array of numbers: X must be a non-empty complex matrix, got shape "
                f"{X.shape} and dtype {X.dtype}."
            )
        if not np.all(np.isfinite(X)):
            raise ValueError("Input X contains NaN or infinity.")
        if reset:
            self.n_features_in_ = _num_features(X)
            vars(self).pop("feature_names_in_", None)
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return X

    def predict(self, X):
        """Predict measurements.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), KroneckerDictionary or sequence of arrays
            A matrix, or the factors of a dictionary with the numbers of columns seen in ``fit``.
            Their numbers of rows may differ.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_targets)
            The dictionary times ``coef_``; a tensor of shape (m_1, ..., m_I) or
            (m_1, ..., m_I, n_targets) if ``fit`` was given one.
        """
        check_is_fitted(self)
        X = _as_dictionary(X)
        if _is_dictionary(X):
            factors, _ = check_factors(X)
        else:
            factors = [self._validate_matrix(X, reset=False)]
        sizes = tuple(factor.shape[1] for factor in factors)
        if sizes != tuple(self.coef_.shape[: len(sizes)]) or math.prod(sizes) != (
            self.n_features_in_
        ):
            raise ValueError(
                f"the factors have {sizes} columns, but coef_ has shape {self.coef_.shape}."
            )
        prediction = mode_products(factors, self.coef_)
        if self._predicts_tensors:
            return prediction
        xp = array_namespace(prediction)
        rows = math.prod(factor.shape[0] for factor in factors)
        return xp.reshape(prediction, (rows, *prediction.shape[len(factors) :]))

    def score(self, X, y, sample_weight=None):
        """Return the coefficient of determination of the prediction, for complex data too.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), KroneckerDictionary or sequence of arrays
            As for :meth:`predict`.
        y : array of shape (n_samples,), (n_samples, n_targets) or of that of tensors
            Measurements, in any layout that ``fit`` takes.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of real measurements of a matrix ``X``.

        Returns
        -------
        float
            1 minus the squared error over the squared distance from the mean.
        """
        X = _as_dictionary(X)
        if not _is_dictionary(X) and not _is_complex(X) and not _is_complex(y):
            return super().score(X, y, sample_weight=sample_weight)
        if sample_weight is not None:
            raise ValueError("sample_weight needs a matrix X and real data, got others.")
        prediction = self.predict(X)
        xp = array_namespace(prediction)
        y = dense_numbers(y, "y") if is_numpy(xp) else y
        rows = self._output_shape(X)
        targets = tuple(self.coef_.shape[len(rows) :])
        layouts = [(math.prod(rows), *targets), (*rows, *targets)]
        if tuple(y.shape) not in layouts:
            raise ValueError(
                f"y must have the shape {layouts[0]} or {layouts[1]}, got {tuple(y.shape)}."
            )
        y = xp.reshape(y, prediction.shape)
        error = float(xp.sum(squared_magnitude(y - prediction)))
        spread = float(xp.sum(squared_magnitude(y - xp.mean(y))))
        return 1.0 - error / spread if spread > 0 else float(error == 0)


def _is_dictionary(X):
    """Tell whether X consists of factors rather than being a matrix for scikit-learn."""
    if isinstance(X, (list, tuple)):
        # Rows of a matrix have one axis; one factor among the entries makes them all factors.
        return not X or any(_n_axes(entry) >= 2 for entry in X)
    return isinstance(X, KroneckerDictionary)


def _n_axes(entry):
    """Return the number of axes of an array, or the depth of nested lists."""
    if isinstance(entry, (list, tuple)):
        return 1 + max(map(_n_axes, entry), default=0)
    return getattr(entry, "ndim", 0)


def _refuse_mask(array, name):
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must have no mask: missing entries are not supported.")


def _is_complex(array):
    return np.asarray(array).dtype.kind == "c"


def _as_dictionary(X):
    """Return a matrix of another array library than NumPy as the only factor of a dictionary."""
    if array_api_compat.is_array_api_obj(X) and not is_numpy(array_namespace(X)):
        return [X]
    return X


def _validate_target(y, X, estimator):
    """Return y, which may be complex, with one row a row of X."""
    _refuse_mask(y, "y")
    if _is_complex(y):
        y = np.asarray(y)
    else:
        y = _check_y(y, multi_output=True, y_numeric=True, estimator=estimator)
        y = y.astype(np.abs(X[:1]).dtype, copy=False)
    check_consistent_length(X, y)
    return y
