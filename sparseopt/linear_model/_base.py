"""What the linear estimators share: validation of data, prediction, fitted shapes."""

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data


class SparseLinearRegressor(CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of the linear regressors: ``predict``, tags and the handling of targets.

    Subclasses implement ``fit``; they call :meth:`_validate_fit_data` first and
    :meth:`_store_coefficients` last.
    """

    def _validate_fit_data(self, X, y, sample_weight=None, *, accept_sparse=("csc", "csr")):
        """Validate training data.

        Returns
        -------
        X : ndarray or sparse container of shape (n_samples, n_features)
            float64, or float32 if given so.
        targets : ndarray of shape (n_targets, n_samples)
            One contiguous row a target, in the dtype of ``X``.
        sample_weight : ndarray of shape (n_samples,) or None
            Checked to be non-negative with a positive sum.
        """
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=accept_sparse,
            dtype=[np.float64, np.float32],
            accept_large_sparse=True,
            multi_output=True,
            y_numeric=True,
        )
        self._single_target = y.ndim == 1
        targets = np.ascontiguousarray(np.atleast_2d(y.T), dtype=X.dtype)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
            if not np.sum(sample_weight) > 0:
                raise ValueError("sample_weight must have a positive sum, got only zeros.")
        return X, targets, sample_weight

    def _shape_coefficients(self, coefs, intercepts):
        """Return (coef_, intercept_) in scikit-learn's shapes for the targets seen."""
        if self._single_target:
            return coefs[0], intercepts[0]
        return coefs, intercepts

    def _store_coefficients(self, coefs, intercepts):
        """Set ``coef_`` and ``intercept_`` from one row (entry) a target."""
        self.coef_, self.intercept_ = self._shape_coefficients(
            np.asarray(coefs), np.asarray(intercepts)
        )

    def predict(self, X):
        """Predict targets with the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predicted values.
        """
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            accept_sparse=("csr", "csc", "coo"),
            dtype=[np.float64, np.float32],
            reset=False,
        )
        return safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
