"""LAD-LASSO with the strength chosen by cross-validation of the mean absolute error."""

from sklearn.metrics import mean_absolute_error

from sparseopt._core import check_penalty_weights
from sparseopt.linear_model._cv import PathCV
from sparseopt.linear_model._lad_lasso import LADLasso, as_columns, lad_lasso_path
from sparseopt.linear_model._lad_simplex import PenalizedLAD


class LADLassoCV(PathCV, LADLasso):
    r"""LAD-LASSO with the strength chosen by cross-validation.

    The errors are mean absolute errors, so that gross errors in left-out targets do not
    decide.

    Parameters
    ----------
    alphas : int or array-like of shape (n_alphas,), default=100
        Grid of strengths, or the length of a geometric grid that starts at the smallest
        strength with a zero solution.
    eps : float, default=1e-3
        Smallest over largest strength of the automatic grid.
    weights : array-like of shape (n_features,) or callable, optional
        Penalty weights, as in :class:`LADLasso`.
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
    max_iter : int, default=10000
        Largest number of steps for each strength.
    tol : float, default=1e-9
        Largest duality gap, relative to the objective of the best constant model.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    alphas_ : ndarray of shape (n_alphas,)
        The grid, in decreasing order.
    mae_path_ : ndarray of shape (n_alphas, n_folds)
        Mean absolute error on the left-out folds, averaged over targets.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the fit on all data with ``alpha_``.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
    dual_gap_ : float or ndarray of shape (n_targets,)
        Certificate of the final fit.
    n_iter_ : int
        Number of steps of the final fit.
    history_ : dict or list of dict
        As in :class:`LADLasso`.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    See Also
    --------
    LADLasso : For a given strength.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparseopt.linear_model import LADLassoCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LADLassoCV(alphas=10, cv=3).fit(X, y)
    >>> model.mae_path_.shape
    (10, 3)
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in LADLasso._parameter_constraints.items()
            if name not in ("alpha", "warm_start")
        },
        **PathCV._parameter_constraints,
    }
    _score_name = "mae_path_"
    _error = staticmethod(mean_absolute_error)

    def __init__(
        self,
        *,
        alphas=100,
        eps=1e-3,
        weights=None,
        fit_intercept=True,
        positive=False,
        cv=None,
        selection_rule="min",
        n_jobs=None,
        max_iter=10_000,
        tol=1e-9,
    ):
        self.alphas = alphas
        self.eps = eps
        self.weights = weights
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.cv = cv
        self.selection_rule = selection_rule
        self.n_jobs = n_jobs
        self.max_iter = max_iter
        self.tol = tol

    def _path(self, X, y, sample_weight, alphas):
        return lad_lasso_path(
            X,
            y,
            alphas=alphas,
            weights=check_penalty_weights(self.weights, X.shape[1], X=X),
            positive=self.positive,
            fit_intercept=self.fit_intercept,
            sample_weight=sample_weight,
            max_iter=self.max_iter,
            tol=self.tol,
        )

    def _alpha_max(self, X, y, sample_weight):
        problem = PenalizedLAD(
            as_columns(X),
            y,
            weights=check_penalty_weights(self.weights, X.shape[1], X=X),
            positive=self.positive,
            sample_weight=sample_weight,
            fit_intercept=self.fit_intercept,
        )
        return problem.largest_strength() / problem.total_weight

    def _final_estimator(self, alpha):
        return LADLasso(
            alpha,
            weights=self.weights,
            fit_intercept=self.fit_intercept,
            positive=self.positive,
            max_iter=self.max_iter,
            tol=self.tol,
        )
