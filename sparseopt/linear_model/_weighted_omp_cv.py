"""Greedy sparse regression with strength and path length chosen by cross-validation."""

from numbers import Integral

import numpy as np
from sklearn.metrics import mean_absolute_error, mean_squared_error
from sklearn.utils._param_validation import Interval
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.metadata_routing import _raise_for_params

from sparseopt._core import check_penalty_weights, fitting, run_parallel
from sparseopt.linear_model._cv import PathCV, alpha_grid
from sparseopt.linear_model._greedy import Pursuit, make_problem
from sparseopt.linear_model._weighted_omp import WeightedOMP


class WeightedOMPCV(PathCV, WeightedOMP):
    r"""Weighted, loss-based OMP with strength and length of the path chosen by cross-validation.

    One path is computed for each fold and strength, and every prefix of it is scored. A path
    that has stopped counts with its last coefficients from there on.

    Parameters
    ----------
    loss : {"sqrt_lasso", "lasso", "lad_lasso", "omp"}, default="sqrt_lasso"
        As in :class:`WeightedOMP`.
    penalty : {"l1", "l0"}, default="l1"
        Penalty on the coefficients. Ignored by ``loss="omp"``.
    lams : int or array-like of shape (n_lams,), default=10
        Grid of strengths, or the length of a geometric grid that starts where the first step
        of the path is just not taken (within a factor 2). ``loss="omp"`` has the
        single strength 0. With unit weights a single small strength, such as ``[0.0]``, is
        enough for ``loss="lasso"`` and ``"sqrt_lasso"``: the strength then only decides where
        the path stops.
    eps : float, default=1e-3
        Smallest over largest strength of the automatic grid.
    weights : array-like of shape (n_features,) or callable, default=None
        Penalty weights, as in :class:`WeightedOMP`.
    n_nonzero_coefs : int, default=None
        Largest number of nonzero coefficients that is tried. None means 10 % of the features
        and at least 5 for strength 0, and as many as the path has otherwise.
    tol : float, default=None
        Stop paths once the squared norm of the residual is at most ``tol``.
    max_iter : int, default=None
        Largest number of steps of a path.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    normalize : bool, default=True
        Whether the penalty acts on the coefficients of unit-norm columns.
    cv : int, cross-validation generator or iterable, default=None
        Splitting; None means 5 folds.
    selection_rule : {"min", "1se"}, default="min"
        Take the pair with the smallest mean error, or the shortest path (and with it the
        largest strength) whose mean error is within one standard error of it.
    n_jobs : int, default=None
        Number of folds computed at once.

    Attributes
    ----------
    lam_ : float
        The chosen strength.
    n_nonzero_coefs_ : int
        The chosen number of steps.
    lams_ : ndarray of shape (n_lams,)
        The grid, in decreasing order.
    mse_path_ : ndarray of shape (n_lams, n_steps + 1, n_folds)
        Mean squared error on the left-out folds, averaged over targets, after 0, 1, ... steps.
        With ``loss="lad_lasso"``, ``mae_path_`` holds mean absolute errors instead.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the fit on all data.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
    support_ : ndarray of int or list of ndarray
        Indices of the nonzero coefficients in the order of selection; one array a target.
    path_coefs_ : csr_array of shape (n_steps + 1, n_features) or list of csr_array
        Coefficients after each step of the fit on all data.
    path_intercepts_ : ndarray of shape (n_steps + 1,) or list of ndarray
        Intercepts after each step.
    losses_ : ndarray of shape (n_steps + 1,) or list of ndarray
        Data term after each step.
    deltas_ : ndarray of shape (n_steps,) or list of ndarray
        Gain for which each column was selected.
    stop_reason_ : str or list of str
        Why the fit on all data ended, as in :class:`WeightedOMP`.
    n_iter_ : int
        Number of steps of the fit on all data.
    history_ : dict
        As in :class:`WeightedOMP`.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if ``X`` has string names.

    See Also
    --------
    WeightedOMP : For a given strength.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparseopt.linear_model import WeightedOMPCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = WeightedOMPCV(lams=[0.0], n_nonzero_coefs=8, cv=3).fit(X, y)
    >>> model.mse_path_.shape
    (1, 9, 3)
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in WeightedOMP._parameter_constraints.items()
            if name not in ("lam", "precompute", "allow_removal")
        },
        **{
            name: constraint
            for name, constraint in PathCV._parameter_constraints.items()
            if name != "alphas"
        },
        "lams": [Interval(Integral, 1, None, closed="left"), "array-like"],
    }

    def __init__(
        self,
        loss="sqrt_lasso",
        *,
        penalty="l1",
        lams=10,
        eps=1e-3,
        weights=None,
        n_nonzero_coefs=None,
        tol=None,
        max_iter=None,
        fit_intercept=True,
        normalize=True,
        cv=None,
        selection_rule="min",
        n_jobs=None,
    ):
        self.loss = loss
        self.penalty = penalty
        self.lams = lams
        self.eps = eps
        self.weights = weights
        self.n_nonzero_coefs = n_nonzero_coefs
        self.tol = tol
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.normalize = normalize
        self.cv = cv
        self.selection_rule = selection_rule
        self.n_jobs = n_jobs

    @fitting
    def fit(self, X, y, sample_weight=None, **params):
        """Choose strength and length by cross-validation, and fit with them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; all share one strength and one number of steps.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative row weights, used in fits and errors.
        **params : dict
            Passed to the splitter, if metadata routing is enabled.

        Returns
        -------
        self : WeightedOMPCV
            The fitted estimator.
        """
        _raise_for_params(params, self, "fit")
        data = self._validate_fit_data(X, y, sample_weight)
        folds = self._split(*data, params)
        self.lams_ = self._grid(*data)
        root = self._init_callback_context(max_subtasks=len(folds) + 1, sequential_subtasks=False)
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        errors = self._errors(data, folds, root)
        setattr(self, "mae_path_" if self.loss == "lad_lasso" else "mse_path_", errors)
        chosen, self.n_nonzero_coefs_ = _select(errors, self.selection_rule)
        refit = root.subcontext(task_name="refit", task_id=len(folds))
        model = WeightedOMP(
            **self._path_parameters(),
            lam=float(self.lams_[chosen]),
            n_nonzero_coefs=self.n_nonzero_coefs_,
        )
        self._adopt(model, data, refit)
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return self

    def _grid(self, X, targets, sample_weight):
        if self.loss == "omp":
            return np.zeros(1)
        if not isinstance(self.lams, Integral):
            return _check_lams(self.lams)
        problem = make_problem(X, sample_weight, loss=self.loss, fit_intercept=self.fit_intercept)
        weights = check_penalty_weights(self.weights, X.shape[1], X=X)
        scaled = problem.scaled_weights(weights, self.loss, self.penalty, self.normalize)
        largest = max(
            problem.largest_lam(problem.fit(y)[0], self.loss, self.penalty, scaled) for y in targets
        )
        return alpha_grid(largest, self.eps, self.lams)

    def _errors(self, data, folds, root):
        """Return the errors (n_lams, n_steps + 1, n_folds) on the left-out folds."""
        tasks = [
            (self, *data, fold, root.subcontext(task_name=f"fold {number}", task_id=number))
            for number, fold in enumerate(folds)
        ]
        by_fold = run_parallel(_fold_errors, tasks, n_jobs=self.n_jobs)
        length = max(len(errors) for fold in by_fold for errors in fold)
        return np.stack(
            [np.stack([_extended(errors, length) for errors in fold]) for fold in by_fold], axis=-1
        )

    def _expected_steps(self, lam, X):
        return self._longest(lam, X.shape[1]) or max(X.shape[1] // 10, 1)

    def _longest(self, lam, n_features):
        """Return the largest number of columns to try at a strength, or None."""
        if self.n_nonzero_coefs is not None:
            return min(self.n_nonzero_coefs, n_features)
        return min(max(n_features // 10, 5), n_features) if lam == 0 else None


def _check_lams(lams):
    """Return a grid of strengths as a decreasing array."""
    grid = np.array(lams, dtype=float)
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError(f"lams must be a non-empty 1-D sequence, got shape {grid.shape}.")
    if not (np.all(np.isfinite(grid)) and np.all(grid >= 0)):
        raise ValueError(f"lams must be finite and >= 0, got {lams!r}.")
    return np.sort(grid)[::-1]


def _fold_errors(estimator, X, targets, sample_weight, fold, context):
    """Return, for each strength, the left-out errors after 0, 1, ... steps."""
    context.call_on_fit_task_begin(estimator=estimator, X=X, y=targets.T)
    train, test = fold
    weights = check_penalty_weights(estimator.weights, X.shape[1], X=X[train])
    train_weight = test_weight = None
    if sample_weight is not None:
        train_weight, test_weight = sample_weight[train], sample_weight[test]
    problem = make_problem(
        X[train],
        train_weight,
        loss=estimator.loss,
        fit_intercept=estimator.fit_intercept,
        n_steps=len(targets) * sum(estimator._expected_steps(lam, X) for lam in estimator.lams_),
    )
    error = mean_absolute_error if estimator.loss == "lad_lasso" else mean_squared_error
    errors = []
    for lam in estimator.lams_:
        pursuit = Pursuit(
            problem,
            targets[:, train],
            loss=estimator.loss,
            penalty=estimator.penalty,
            lam=float(lam),
            weights=weights,
            n_nonzero_coefs=estimator._longest(lam, X.shape[1]),
            tol=estimator.tol,
            normalize=estimator.normalize,
        )
        paths = pursuit.run(estimator.max_iter).paths
        scores = [
            _prefix_errors(path, X[test], y, test_weight, error)
            for path, y in zip(paths, targets[:, test], strict=True)
        ]
        length = max(map(len, scores))
        errors.append(np.mean([_extended(score, length) for score in scores], axis=0))
    context.call_on_fit_task_end(estimator=estimator, X=X, y=targets.T)
    return errors


def _prefix_errors(path, X, y, sample_weight, error):
    """Return the error of every point of a path."""
    predictions = safe_sparse_dot(X[:, path.support], path.coefs[:, path.support].toarray().T)
    predictions = predictions + path.intercepts
    return np.array([error(y, column, sample_weight=sample_weight) for column in predictions.T])


def _extended(errors, length):
    """Continue the errors of a path that has stopped with the last one."""
    return np.append(errors, np.full(length - len(errors), errors[-1]))


def _select(errors, rule):
    """Return (index of the strength, number of steps) that ``rule`` picks."""
    mean = errors.mean(axis=2)
    best = np.unravel_index(np.argmin(mean), mean.shape)
    n_folds = errors.shape[2]
    if rule == "1se" and n_folds > 1:
        margin = errors[best].std(ddof=1) / np.sqrt(n_folds)
        n_steps, strengths = np.nonzero((mean <= mean[best] + margin).T)
        best = strengths[0], n_steps[0]
    return int(best[0]), int(best[1])
