"""The strength of the square-root LASSO by cross-validation over its path."""

import math

from sparseopt._core import check_penalty_weights
from sparseopt.linear_model._cv import PathCV
from sparseopt.linear_model._square_root_lasso import (
    SquareRootLasso,
    double_design,
    square_root_lasso_path,
)
from sparseopt.linear_model._square_root_solver import SquareRootProblem


class SquareRootLassoCV(PathCV, SquareRootLasso):
    r"""Square-root LASSO with the strength chosen by cross-validation.

    ``SquareRootLasso(alpha="auto")`` needs no cross-validation for sparse signals in
    noise of equal variance; this estimator is for data that are not like that.

    Parameters
    ----------
    alphas : int or array-like of shape (n_alphas,), default=100
        Grid of strengths, or the length of a geometric grid that starts at the smallest
        strength with a zero solution.
    eps : float, default=1e-3
        Smallest over largest strength of the automatic grid.
    weights : array-like of shape (n_features,) or callable, optional
        Penalty weights, as in :class:`SquareRootLasso`.
    sigma_min : float, default=0.0
        Smallest noise level, as in :class:`SquareRootLasso`.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    cv : int, cross-validation generator or iterable, default=None
        Splitting; None means 5 folds.
    selection_rule : {"min", "1se"}, default="min"
        Take the strength with the smallest mean error, or the largest strength whose
        mean error is within one standard error of it.
    n_jobs : int, optional
        Number of folds computed at once.
    max_iter : int, default=100
        Largest number of noise levels tried for each strength.
    tol : float, default=1e-6
        Largest duality gap, relative to the objective of the best constant model.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    alphas_ : ndarray of shape (n_alphas,)
        The grid, in decreasing order.
    mse_path_ : ndarray of shape (n_alphas, n_folds)
        Mean squared error on the left-out folds, averaged over targets.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the fit on all data with ``alpha_``.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
    sigma_ : float or ndarray of shape (n_targets,)
        Root mean square of the residuals of the final fit.
    weights_ : ndarray of shape (n_features,)
        The penalty weights.
    dual_gap_ : float or ndarray of shape (n_targets,)
        Certificate of the final fit.
    n_iter_ : int
        Number of steps of the final fit.
    history_ : dict or list of dict
        As in :class:`SquareRootLasso`.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    See Also
    --------
    SquareRootLasso : For a given strength, or the automatic one.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparseopt.linear_model import SquareRootLassoCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SquareRootLassoCV(alphas=20, cv=3).fit(X, y)
    >>> model.mse_path_.shape
    (20, 3)
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in SquareRootLasso._parameter_constraints.items()
            if name not in ("alpha", "warm_start")
        },
        **PathCV._parameter_constraints,
    }

    def __init__(
        self,
        *,
        alphas=100,
        eps=1e-3,
        weights=None,
        sigma_min=0.0,
        fit_intercept=True,
        positive=False,
        cv=None,
        selection_rule="min",
        n_jobs=None,
        max_iter=100,
        tol=1e-6,
    ):
        self.alphas = alphas
        self.eps = eps
        self.weights = weights
        self.sigma_min = sigma_min
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.cv = cv
        self.selection_rule = selection_rule
        self.n_jobs = n_jobs
        self.max_iter = max_iter
        self.tol = tol

    def _path(self, X, y, sample_weight, alphas):
        return square_root_lasso_path(
            X,
            y,
            alphas=alphas,
            weights=check_penalty_weights(self.weights, X.shape[1], X=X),
            sigma_min=self.sigma_min,
            positive=self.positive,
            fit_intercept=self.fit_intercept,
            sample_weight=sample_weight,
            max_iter=self.max_iter,
            tol=self.tol,
        )

    def _alpha_max(self, X, y, sample_weight):
        weights = check_penalty_weights(self.weights, X.shape[1], X=X)
        design = double_design(X, sample_weight, self.fit_intercept)
        target, _ = design.transform_target(y.astype(design.dtype))
        problem = SquareRootProblem(design, target, weights, positive=self.positive)
        return problem.lam_max() / math.sqrt(design.total_weight)

    def _final_estimator(self, alpha):
        return SquareRootLasso(
            alpha,
            weights=self.weights,
            sigma_min=self.sigma_min,
            fit_intercept=self.fit_intercept,
            positive=self.positive,
            max_iter=self.max_iter,
            tol=self.tol,
        )
