"""Sparse Bayesian regression with the noise variance chosen by predicting samples left out."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import _raise_for_params

from sparseopt._core import fitting, run_parallel
from sparseopt._core._cross_validation import (
    alpha_grid,
    route_to_splitter,
    select_strength,
    split_folds,
)
from sparseopt.sparse_bayes._sparse_bayes_function import check_not_masked, sparse_bayes
from sparseopt.sparse_bayes._sparse_bayes_regressor import SparseBayesRegressor

NOT_SHARED = ("noise_variance", "noise_floor", "noise_delay", "joint", "init", "warm_start")


class SparseBayesRegressorCV(SparseBayesRegressor):
    r"""Sparse Bayesian regression with the noise variance chosen by cross-validation.

    With as many features as samples or more, the evidence can grow without bound as the noise
    vanishes, and does not tell its variance. Samples left out do: the variance is chosen for which
    their predictive density, given the others, is largest. Then the weights are fitted to all
    samples. ``X`` and ``y`` may be complex; several targets share variances and noise.

    Parameters
    ----------
    rule : {"convex", "em", "mackay", "fast"}, default="convex"
        How the variances of the weights are updated, as in :class:`SparseBayesRegressor`.
    noise_variances : int or array-like of shape (n_variances,), default=10
        Noise variances > 0 to choose from, or the length of a geometric sequence down from the
        variance of ``y``, or from its mean square if there is no intercept.
    eps : float, default=1e-3
        Smallest over largest noise variance of the automatic sequence.
    polish : bool, default=True
        Whether the fast rule follows on the others, to reconsider features that they removed.
    prune_tol : float, default=1e-3
        "convex", "em" and "mackay" remove a feature whose variance, times its squared norm, is at
        most this part of the largest.
    fit_intercept : bool, default=True
        Whether to fit an intercept, by centring.
    tol : float, default=1e-4
        Relative change of the variances at which a rule ends, and largest ``certificate_`` at
        which the fast rule does.
    max_iter : int, default=300
        Largest number of iterations of a rule, and of the fast rule that follows.
    cv : int, cross-validation generator or iterable, default=None
        Splitting; None means 5 folds.
    selection_rule : {"min", "1se"}, default="min"
        Take the noise variance with the smallest mean loss, or the largest whose mean loss is
        within one standard error of it, for fewer features.
    n_jobs : int, optional
        Number of folds computed at once.

    Attributes
    ----------
    noise_variance_ : float
        The chosen noise variance.
    noise_variances_ : ndarray of shape (n_variances,)
        Those to choose from, in decreasing order.
    loss_path_ : ndarray of shape (n_variances, n_folds)
        Mean negative logarithm of the predictive density of samples left out, for one target.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Posterior mean of the weights, of the fit to all samples.
    intercept_ : scalar or ndarray of shape (n_targets,)
        Intercept.
    gamma_ : ndarray of shape (n_features,)
        Prior variances. Always float64.
    support_ : ndarray of bool of shape (n_features,)
        Which features have a positive variance.
    sigma_ : ndarray of shape (n_support, n_support)
        Posterior covariance of the weights in the support.
    certificate_ : float
        Largest violation of stationarity of the final fit.
    noise_certificate_ : float
        0: the evidence is not asked about the noise.
    nll_ : float
        Objective of the final fit.
    scores_ : ndarray of shape (n_scores,)
        Logarithm of its evidence at the start and after each iteration.
    converged_ : bool
        Whether it met the tolerance.
    n_iter_ : int
        Number of its iterations.
    history_ : dict
        Arrays ``iteration``, ``time`` (seconds), ``objective``, ``certificate`` and
        ``noise_variance``.
    X_offset_ : ndarray of shape (n_features,)
        What was subtracted from the features.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features, if ``X`` has them.

    Raises
    ------
    ValueError
        As :class:`SparseBayesRegressor` raises it, for noise variances that are not positive, and
        for folds without weight.

    Warns
    -----
    ConvergenceWarning
        Once, with the number of fits in the folds that did not meet the tolerance; and if the
        final one does not.
    UserWarning
        If the smallest value of the automatic sequence was chosen.

    See Also
    --------
    SparseBayesRegressor : With the noise given, or learnt.

    Notes
    -----
    Each fold goes through the noise variances from the largest down. With ``polish=True`` or
    ``rule="fast"``, only the first fit starts anew: the fast rule goes on from the variances of the
    weights before. The density is that of a new observation, noise and uncertainty of the weights
    included. It wants a somewhat larger noise variance than the true one, since a larger one leaves
    out features that explain noise: it is a parameter of the fit rather than an estimate.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import SparseBayesRegressorCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 100))
    >>> y = 3 * X[:, 5] - 2 * X[:, 30] + 0.5 * rng.standard_normal(60)
    >>> model = SparseBayesRegressorCV(noise_variances=8).fit(X, y)
    >>> model.loss_path_.shape
    (8, 5)
    >>> bool(0.1 < model.noise_variance_ < 1)
    True
    >>> np.flatnonzero(np.abs(model.coef_) > 0.5)
    array([ 5, 30])
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in SparseBayesRegressor._parameter_constraints.items()
            if name not in NOT_SHARED
        },
        "noise_variances": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "eps": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "selection_rule": [StrOptions({"min", "1se"})],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        rule="convex",
        *,
        noise_variances=10,
        eps=1e-3,
        polish=True,
        prune_tol=1e-3,
        fit_intercept=True,
        tol=1e-4,
        max_iter=300,
        cv=None,
        selection_rule="min",
        n_jobs=None,
    ):
        self.rule = rule
        self.noise_variances = noise_variances
        self.eps = eps
        self.polish = polish
        self.prune_tol = prune_tol
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.cv = cv
        self.selection_rule = selection_rule
        self.n_jobs = n_jobs

    @property
    def published(self):
        """Not there: the published settings learn the noise."""
        raise AttributeError("SparseBayesRegressorCV has no published settings.")

    @fitting
    def fit(self, X, y, sample_weight=None, **params):
        """Choose the noise variance by cross-validation, and fit with it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, real or complex.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets, real or complex.
        sample_weight : array-like of shape (n_samples,), optional
            Numbers of equal rows for which each row stands, in fits and in losses.
        **params : dict
            Passed to the splitter, if metadata routing is enabled.

        Returns
        -------
        self : SparseBayesRegressorCV
            The fitted estimator.
        """
        _raise_for_params(params, self, "fit")
        check_not_masked(X=X, y=y, sample_weight=sample_weight)
        X, y, sample_weight = self._validate_data(X, y, sample_weight)
        folds = split_folds(self, X, y, sample_weight, params)
        _check_folds(folds, sample_weight)
        self.noise_variances_ = self._grid(y, sample_weight)
        root = self._init_callback_context(max_subtasks=len(folds) + 1, sequential_subtasks=False)
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self.loss_path_ = self._losses(X, y, sample_weight, folds, root)
        best = select_strength(self.loss_path_, self.selection_rule)
        self._warn_of_end(best)
        model = SparseBayesRegressor(
            noise_variance=float(self.noise_variances_[best]), **self._shared()
        )
        refit = root.subcontext(task_name="refit", task_id=len(folds))
        with refit.propagate_callback_context(model):
            refit.call_on_fit_task_begin(estimator=self, X=X, y=y)
            model.fit(X, y, sample_weight=sample_weight)
            refit.call_on_fit_task_end(estimator=self, X=X, y=y)
        for name, value in vars(model).items():
            if name.endswith("_") and name not in ("n_features_in_", "feature_names_in_"):
                setattr(self, name, value)
        self.noise_variance_ = float(self.noise_variances_[best])  # without rounding
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return self

    def _shared(self):
        own = self.get_params(deep=False)
        names = SparseBayesRegressor().get_params(deep=False)
        return {name: own[name] for name in names if name not in NOT_SHARED}

    def _grid(self, y, sample_weight):
        if isinstance(self.noise_variances, Integral):
            weights = np.ones(len(y)) if sample_weight is None else sample_weight
            centre = np.average(y, axis=0, weights=weights) if self.fit_intercept else np.zeros(1)
            spread = np.abs(y - centre) ** 2
            variance = float(np.mean(np.average(spread, axis=0, weights=weights), dtype=float))
            return alpha_grid(variance, self.eps, self.noise_variances)
        try:
            grid = np.asarray(self.noise_variances)
        except ValueError:  # lists of different lengths
            grid = np.zeros(0)
        is_sequence = grid.ndim == 1 and grid.size > 0 and grid.dtype.kind in "iuf"
        if not (is_sequence and np.all(np.isfinite(grid)) and np.all(grid > 0)):
            raise ValueError(
                "noise_variances must be an integer, or a sequence of finite numbers > 0, got "
                f"{self.noise_variances!r}."
            )
        return np.sort(grid.astype(float))[::-1]

    def _losses(self, X, y, sample_weight, folds, root):
        """Return the losses (n_variances, n_folds) of samples left out."""
        tasks = [
            (self, X, y, sample_weight, fold)
            + (root.subcontext(task_name=f"fold {number}", task_id=number),)
            for number, fold in enumerate(folds)
        ]
        found = run_parallel(_losses_of_fold, tasks, n_jobs=self.n_jobs)
        losses, unfinished = zip(*found, strict=True)
        if sum(unfinished):
            n_fits = len(self.noise_variances_) * len(folds)
            warnings.warn(
                f"{sum(unfinished)} of the {n_fits} fits that were compared did not meet the "
                "tolerance. Increase max_iter, or leave out noise variances that are very small.",
                ConvergenceWarning,
                stacklevel=5,
            )
        return np.array(losses).T

    def _warn_of_end(self, best):
        n_variances = len(self.noise_variances_)
        if isinstance(self.noise_variances, Integral) and 1 < n_variances == best + 1:
            warnings.warn(
                f"The smallest noise variance of the sequence, {self.noise_variances_[best]:.3g}, "
                "predicted best: a smaller one may do so still better. Lower eps, or give "
                "noise_variances.",
                UserWarning,
                stacklevel=5,
            )

    def _path(self, X, y, sample_weight):
        """Yield the fit for each noise variance, each from the one before where that helps."""
        options = self._shared() | {"sample_weight": sample_weight, "warn": False}
        start = None
        for noise_variance in self.noise_variances_:
            if start is not None:
                options["rule"] = "fast"
            result = sparse_bayes(X, y, noise_variance=noise_variance, init=start, **options)
            yield result
            if (self.polish or self.rule == "fast") and result.gamma.any():
                start = result.gamma

    def get_metadata_routing(self):
        """Return the metadata routing of this estimator.

        Returns
        -------
        routing : MetadataRouter
            Routes ``sample_weight`` to ``fit`` and splitter parameters to ``cv``.
        """
        return route_to_splitter(self)


def _check_folds(folds, sample_weight):
    if sample_weight is None:
        return
    for number, (train, test) in enumerate(folds):
        for part, rows in (("training", train), ("left-out", test)):
            if not sample_weight[rows].any():
                raise ValueError(
                    f"sample_weight is zero for the whole {part} part of fold {number}."
                )


def _losses_of_fold(estimator, X, y, sample_weight, fold, context):
    """Return the losses for all noise variances, and how many fits did not converge."""
    context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
    train, test = fold
    train_weight = test_weight = None
    if sample_weight is not None:
        train_weight, test_weight = sample_weight[train], sample_weight[test]
    losses, unfinished = [], 0
    for result in estimator._path(X[train], y[train], train_weight):
        losses.append(negative_log_density(result, X[test], y[test], test_weight))
        unfinished += not result.success
    context.call_on_fit_task_end(estimator=estimator, X=X, y=y)
    return losses, unfinished


def negative_log_density(result, X, y, sample_weight=None):
    """Return minus the mean logarithm of the predictive density of one target.

    Parameters
    ----------
    result : OptimizeResult
        What :func:`sparse_bayes` returns.
    X : ndarray of shape (n, p)
        Samples.
    y : ndarray of shape (n,) or (n, L)
        Their targets.
    sample_weight : ndarray of shape (n,), optional
        Weights of the samples.
    """
    rows = (X - result.X_offset)[:, result.support]
    variance = np.sum((rows @ result.covariance) * rows.conj(), axis=1).real
    variance = np.maximum(variance, 0) + result.noise_variance
    squares = np.abs(y - X @ result.x - result.intercept) ** 2
    if squares.ndim == 2:
        squares = squares.mean(axis=1)
    half = 1.0 if np.iscomplexobj(result.x) else 0.5
    losses = half * (np.log(np.pi / half * variance) + squares / variance)
    return float(np.average(losses, weights=sample_weight))
