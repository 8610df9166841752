"""Choosing the penalty strength by cross-validation over a path."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)

from sparseopt._core import fitting, run_parallel


def alpha_grid(alpha_max, eps, n_alphas):
    """Return ``n_alphas`` geometrically spaced strengths from ``alpha_max`` down."""
    if not 0 < eps < 1:
        raise ValueError(f"eps must be between 0 and 1, got {eps!r}.")
    if n_alphas < 1:
        raise ValueError(f"n_alphas must be at least 1, got {n_alphas!r}.")
    if alpha_max == 0:  # a constant target: every strength gives the zero solution
        return np.full(n_alphas, np.finfo(float).resolution)
    return np.geomspace(alpha_max, alpha_max * eps, n_alphas)


def check_alphas(alphas):
    """Return a grid of strengths as a decreasing float array."""
    grid = np.array(alphas, dtype=float)
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError(f"alphas must be a non-empty 1-D sequence, got shape {grid.shape}.")
    if not (np.all(np.isfinite(grid)) and np.all(grid >= 0)):
        raise ValueError(f"alphas must be finite and >= 0, got {alphas!r}.")
    return np.sort(grid)[::-1]


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
        self.alpha_ = float(self.alphas_[_select(errors, self.selection_rule)])
        refit = root.subcontext(task_name="refit", task_id=len(folds))
        self._adopt(self._final_estimator(self.alpha_), data, refit)
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return self

    def _split(self, X, targets, sample_weight, params):
        splitter = check_cv(self.cv)
        if _routing_enabled():
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
        else:
            routed = Bunch(splitter=Bunch(split={}))
        return list(splitter.split(X, targets.T, **routed.splitter.split))

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
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                splitter=check_cv(self.cv),
                method_mapping=MethodMapping().add(caller="fit", callee="split"),
            )
        )


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


def _select(errors, rule):
    """Return the index into the decreasing grid that ``rule`` picks."""
    mean = errors.mean(axis=1)
    best = int(np.argmin(mean))
    if rule == "min" or errors.shape[1] == 1:
        return best
    standard_error = errors[best].std(ddof=1) / np.sqrt(errors.shape[1])
    return int(np.argmax(mean <= mean[best] + standard_error))
