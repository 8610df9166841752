"""What the linear estimators share: validation of data, prediction, fitted shapes."""

import functools

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sparseopt._core import FitReporter


class SparseLinearRegressor(CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of the linear regressors: ``predict``, tags and the handling of targets.

    Subclasses implement ``fit``; they call :meth:`_validate_fit_data` first and
    :meth:`_fit_targets` for the rest.
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
        return X, targets, sample_weight

    def _fit_targets(self, data, solve, *, max_iter=None, intercept=None):
        """Solve for each target and store what all linear estimators store.

        Parameters
        ----------
        data : tuple
            ``(X, targets, sample_weight)`` from :meth:`_validate_fit_data`.
        solve : callable
            ``solve(target, start, callback) -> OptimizeResult`` with ``x``,
            ``intercept``, ``dual_gap``, ``nit`` and ``history``; ``start`` is the
            earlier coefficient vector under ``warm_start``, else None.
        max_iter : int, optional
            Largest number of iterations of one solve, for progress bars.
        intercept : callable, optional
            ``intercept(target, coef)`` lets callbacks evaluate a single-target model
            during the fit.

        Returns
        -------
        results : list of OptimizeResult
            One a target.
        """
        X, targets, sample_weight = data
        starts = self._warm_starts(len(targets), X.shape[1])
        y = targets[0] if self._single_target else targets.T
        results = []
        with FitReporter(
            self, X, y, sample_weight=sample_weight, n_tasks=len(targets), max_iter=max_iter
        ) as reporter:
            for number, (target, start) in enumerate(zip(targets, starts, strict=True)):
                attributes = None
                if intercept is not None and self._single_target:
                    attributes = functools.partial(_linear_attributes, intercept, target)
                with reporter.task(f"target {number}", attributes) as callback:
                    results.append(solve(target, start, callback))
            self._store(results, X.dtype)
        return results

    def _store(self, results, dtype):
        self.coef_ = self._per_target([result.x.astype(dtype, copy=False) for result in results])
        self.intercept_ = self._per_target([result.intercept for result in results])
        self.dual_gap_ = self._per_target([result.dual_gap for result in results])
        self.n_iter_ = max(result.nit for result in results)
        self.history_ = self._per_target([result.history for result in results])

    def _per_target(self, values):
        """Return the single target's value, or all values, as an array if they are numbers."""
        if self._single_target:
            return values[0]
        return values if isinstance(values[0], dict) else np.array(values)

    def _warm_starts(self, n_targets, n_features):
        if getattr(self, "warm_start", False) and hasattr(self, "coef_"):
            coef = np.atleast_2d(self.coef_)
            if coef.shape == (n_targets, n_features):
                return coef
        return [None] * n_targets

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


def _linear_attributes(intercept, target, coef):
    return {"coef_": coef, "intercept_": intercept(target, coef)}
