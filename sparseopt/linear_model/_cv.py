"""Choosing the penalty strength by cross-validation over a path."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import mean_squared_error
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.metadata_routing import _raise_for_params

from sparseopt._core import fitting, run_parallel
from sparseopt._core._cross_validation import (
    alpha_grid,
    check_alphas,
    route_to_splitter,
    select_strength,
    split_folds,
)


class PathCV:
    """Mixin that turns a path function into a cross-validated estimator.

    A subclass derives from its estimator too and says how to compute a path
    (``_path(X, y, sample_weight, alphas)`` with ``coefs`` (n_features, n_alphas) and
    ``intercepts``), the start of the grid (``_alpha_max(X, y, sample_weight)``) and the
    final model (``_final_estimator(alpha)``). ``_score_name`` names the attribute that
    holds the errors, and ``_error(y_true, y_pred, sample_weight)`` computes them.
    """

    _parameter_constraints: dict = {
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "eps": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "selection_rule": [StrOptions({"min", "1se"})],
        "n_jobs": [Integral, None],
    }
    _score_name = "mse_path_"
    _error = staticmethod(mean_squared_error)

    @fitting
    def fit(self, X, y, sample_weight=None, **params):
        """Choose the strength by cross-validation, and fit with it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; all share one strength.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative row weights, used in fits and errors.
        **params : dict
            Passed to the splitter, if metadata routing is enabled.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        _raise_for_params(params, self, "fit")
        data = self._validate_fit_data(X, y, sample_weight)
        folds = self._split(*data, params)
        self.alphas_ = self._grid(*data)
        root = self._init_callback_context(max_subtasks=len(folds) + 1, sequential_subtasks=False)
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        errors = self._errors(data, folds, root)
        setattr(self, self._score_name, errors)
        self.alpha_ = float(self.alphas_[select_strength(errors, self.selection_rule)])
        refit = root.subcontext(task_name="refit", task_id=len(folds))
        self._adopt(self._final_estimator(self.alpha_), data, refit)
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return self

    def _split(self, X, targets, sample_weight, params):
        return split_folds(self, X, targets.T, sample_weight, params)

    def _grid(self, X, targets, sample_weight):
        if not isinstance(self.alphas, Integral):
            return check_alphas(self.alphas)
        largest = max(self._alpha_max(X, y, sample_weight) for y in targets)
        return alpha_grid(largest, self.eps, self.alphas)

    def _errors(self, data, folds, root):
        """Return the errors (n_alphas, n_folds) on the left-out folds."""
        tasks = [
            (self, *data, fold, root.subcontext(task_name=f"fold {number}", task_id=number))
            for number, fold in enumerate(folds)
        ]
        return np.column_stack(run_parallel(_fold_errors, tasks, n_jobs=self.n_jobs))

    @staticmethod
    def _predictions(path, X):
        """Return the predictions of each model of a path."""
        return (safe_sparse_dot(X, path.coefs, dense_output=True) + path.intercepts).T

    def _adopt(self, model, data, context):
        """Fit ``model`` on all data and take over its fitted attributes."""
        X, targets, sample_weight = data
        y = targets[0] if self._single_target else targets.T
        with context.propagate_callback_context(model):
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
            model.fit(X, y, sample_weight=sample_weight)
            context.call_on_fit_task_end(estimator=self, X=X, y=y)
        for name, value in vars(model).items():
            if name.endswith("_") and name not in ("n_features_in_", "feature_names_in_", "alpha_"):
                setattr(self, name, value)

    def get_metadata_routing(self):
        """Return the metadata routing of this estimator.

        Returns
        -------
        routing : MetadataRouter
            Routes ``sample_weight`` to ``fit`` and splitter parameters to ``cv``.
        """
        return route_to_splitter(self)


def _fold_errors(estimator, X, targets, sample_weight, fold, context):
    """Return the left-out error of each strength, averaged over targets."""
    context.call_on_fit_task_begin(estimator=estimator, X=X, y=targets.T)
    train, test = fold
    train_weight = test_weight = None
    if sample_weight is not None:
        train_weight, test_weight = sample_weight[train], sample_weight[test]
    errors = np.zeros(len(estimator.alphas_))
    for y in targets:
        path = estimator._path(X[train], y[train], train_weight, estimator.alphas_)
        errors += [
            estimator._error(y[test], predictions, sample_weight=test_weight)
            for predictions in estimator._predictions(path, X[test])
        ]
    context.call_on_fit_task_end(estimator=estimator, X=X, y=targets.T)
    return errors / len(targets)
