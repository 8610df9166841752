r"""Weighted LASSO and elastic net.

    minimise  1/(2 sum_i s_i) sum_i s_i |y_i - x_i' b - b_0|^2
              + alpha sum_j w_j ( rho |b_j| + (1 - rho)/2 |b_j|^2 ),

X (n_samples, n_features), penalty weights w (n_features,), sample weights s
(n_samples,), rho = ``l1_ratio``. The work is done by
:func:`sparseopt.optimize.coordinate_descent` or, with ``solver="bcd"``, by
:func:`sparseopt.optimize.block_coordinate_descent`.
"""

from numbers import Integral, Real

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.utils._param_validation import Interval, StrOptions

from sparseopt._core import (
    check_at_least_one,
    check_nonnegative,
    check_penalty_weights,
    check_regression_data,
    fitting,
)
from sparseopt.linear_model._base import SparseLinearRegressor
from sparseopt.linear_model._cv import PathCV, alpha_grid, check_alphas
from sparseopt.optimize._block_problem import BlockProblem
from sparseopt.optimize._block_working_sets import solve_squares
from sparseopt.optimize._coordinate_descent import PenalizedLeastSquares, solve_penalized
from sparseopt.optimize._design import make_design
from sparseopt.optimize._gram_cache import GramCache
from sparseopt.optimize._losses import SquaredLoss
from sparseopt.optimize._penalties import ElasticNet


def weighted_lasso_path(
    X,
    y,
    *,
    alphas=None,
    n_alphas=100,
    eps=1e-3,
    weights=None,
    l1_ratio=1.0,
    positive=False,
    fit_intercept=False,
    sample_weight=None,
    max_iter=1000,
    tol=1e-6,
):
    r"""Compute the weighted LASSO or elastic net for a decreasing grid of strengths.

    Each solution starts from the one before, and all share the Gram matrix entries of
    the features that were ever active.

    Parameters
    ----------
    X : {ndarray, sparse matrix or array} of shape (n_samples, n_features)
        Design; float32, float64 or complex.
    y : ndarray of shape (n_samples,)
        Target; real or complex.
    alphas : array-like of shape (n_alphas,), optional
        Strengths, each > 0, sorted here in decreasing order. By default a geometric grid
        from the smallest strength with a zero solution down to ``eps`` times that.
    n_alphas : int, default=100
        Length of the default grid.
    eps : float, default=1e-3
        Smallest over largest strength of the default grid.
    weights : array-like of shape (n_features,), optional
        Penalty weights >= 0; 0 never penalises a feature, ``inf`` excludes it.
    l1_ratio : float, default=1.0
        Share of the l1 part of the penalty, between 0 (exclusive on the default grid)
        and 1.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    fit_intercept : bool, default=False
        Whether to fit an unpenalised intercept.
    sample_weight : array-like of shape (n_samples,), optional
        Row weights.
    max_iter : int, default=1000
        Largest number of working sets for each strength.
    tol : float, default=1e-6
        Largest duality gap, relative to the objective of the best constant model.

    Returns
    -------
    path : OptimizeResult
        ``alphas`` (n_alphas,), ``coefs`` (n_features, n_alphas), ``intercepts``
        (n_alphas,), ``dual_gaps`` (n_alphas,) in the units of the objective, ``n_iters``
        (n_alphas,), ``success`` (whether every gap met the tolerance).

    Raises
    ------
    ValueError
        For shapes that do not fit, or strengths and weights that are negative or NaN.

    See Also
    --------
    WeightedLasso : The estimator.
    sklearn.linear_model.lasso_path : Unweighted, real data.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.linear_model import weighted_lasso_path
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> path = weighted_lasso_path(X, X @ [1.0, 0.5], alphas=[0.4, 0.1])
    >>> path.coefs.round(2)
    array([[0.6, 0.9],
           [0.1, 0.4]])
    """
    check_nonnegative(tol, "tol")
    check_at_least_one(max_iter, "max_iter")
    X, y, sample_weight = check_regression_data(X, y, sample_weight)
    weights = check_penalty_weights(weights, X.shape[1], dtype=y.real.dtype)
    design = make_design(X, sample_weight=sample_weight, fit_intercept=fit_intercept)
    target, target_mean = design.transform_target(y)
    problem = PenalizedLeastSquares(design, target)
    unit = ElasticNet(1.0, l1_ratio, weights, positive)
    if alphas is None:
        alphas = alpha_grid(_largest_alpha(problem, unit), eps, n_alphas)
    else:
        alphas = check_alphas(alphas)
    results = [
        solve_penalized(
            problem, ElasticNet(alpha, l1_ratio, weights, positive), max_iter=max_iter, tol=tol
        )
        for alpha in alphas
    ]
    return OptimizeResult(
        alphas=alphas,
        coefs=np.array([result.x for result in results], dtype=y.dtype).T,
        intercepts=np.array([design.intercept(result.x, target_mean) for result in results]),
        dual_gaps=np.array([result.dual_gap for result in results]),
        n_iters=np.array([result.nit for result in results]),
        success=all(result.success for result in results),
    )


class WeightedLasso(SparseLinearRegressor):
    r"""Linear regression with a weighted l1 or elastic-net penalty.

    Minimises

    .. math::

        \frac{1}{2 \sum_i s_i} \sum_i s_i (y_i - x_i^T b - b_0)^2
        + \alpha \sum_j w_j \left(\rho |b_j| + \tfrac{1 - \rho}{2} b_j^2\right)

    to a certified duality gap. With unit weights this is scikit-learn's ``Lasso``
    (:math:`\rho = 1`) and ``ElasticNet``, with the same meaning of ``alpha``; the
    strength :math:`\lambda` of :math:`\|r\|_2^2 + \lambda \|b\|_{1,w}` is
    :math:`\lambda = 2 \alpha \sum_i s_i`.

    Parameters
    ----------
    alpha : float, default=1.0
        Penalty strength, >= 0. With 0 the fit is ordinary least squares.
    weights : array-like of shape (n_features,) or callable, optional
        Penalty weights :math:`w_j \ge 0`, ones by default. 0 never penalises a feature,
        ``inf`` excludes it. A callable is called as ``weights(X)``.
    l1_ratio : float, default=1.0
        Share :math:`\rho` of the l1 part of the penalty, between 0 and 1.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    solver : {"cd", "bcd"}, default="cd"
        Working-set coordinate descent with gap-safe screening, or block coordinate
        descent: greedy blocks that hold the support (see
        :ref:`block_coordinate_descent`). Both find the same model to the same gap.
    max_iter : int, default=1000
        Largest number of iterations. A few suffice.
    tol : float, default=1e-6
        The fit ends once the duality gap is at most ``tol`` times the objective of the
        best constant model.
    warm_start : bool, default=False
        Whether to start from the coefficients of the previous fit.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, in the dtype of ``X``.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
    dual_gap_ : float or ndarray of shape (n_targets,)
        Certificate: the objective exceeds its minimum by at most this.
    n_iter_ : int
        Number of iterations, each of one working set, one block, or one stage of the way
        to a weak penalty; the largest over targets.
    history_ : dict or list of dict
        Arrays ``iteration``, ``time`` (seconds), ``objective`` and ``certificate``
        (relative gap), one entry an iteration and one for the start; one dict a target.
        With ``solver="bcd"`` also ``blocks``, the list of the blocks moved.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    Raises
    ------
    ValueError
        From ``fit``, before any work, for invalid parameters, weights or data.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the gap does not reach ``tol``; the message gives the gap that was reached.

    See Also
    --------
    WeightedLassoCV : Strength chosen by cross-validation.
    SquareRootLasso : Strength that does not depend on the noise level.
    LADLasso : Robust to gross errors in the target.

    References
    ----------
    Massias, Gramfort, Salmon (2018). Celer: a Fast Solver for the Lasso with Dual
    Extrapolation. ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparseopt.linear_model import WeightedLasso
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = WeightedLasso(alpha=1.0, weights=[0.0] + 9 * [1.0]).fit(X, y)
    >>> int((model.coef_ != 0).sum())
    3
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "weights": ["array-like", callable, None],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "positive": ["boolean"],
        "solver": [StrOptions({"cd", "bcd"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        weights=None,
        l1_ratio=1.0,
        fit_intercept=True,
        positive=False,
        solver="cd",
        max_iter=1000,
        tol=1e-6,
        warm_start=False,
    ):
        self.alpha = alpha
        self.weights = weights
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    @fitting
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; stored by columns (Fortran order, CSC) it is not copied when
            there is neither an intercept nor sample weights.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; several targets are fitted independently.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative row weights; integers act as repeated rows.

        Returns
        -------
        self : WeightedLasso
            The fitted estimator.
        """
        data = X, _, sample_weight = self._validate_fit_data(X, y, sample_weight)
        weights = check_penalty_weights(self.weights, X.shape[1], X=X, dtype=X.dtype)
        penalty = ElasticNet(self.alpha, self.l1_ratio, weights, self.positive)
        design = make_design(X, sample_weight=sample_weight, fit_intercept=self.fit_intercept)
        gram = GramCache(design)

        def solve_by_blocks(target, start, callback):
            problem = BlockProblem(
                X, target, SquaredLoss(), penalty, sample_weight, fit_intercept=self.fit_intercept
            )
            if start is not None:
                problem.move_to(start)
            return solve_squares(problem, max_iter=self.max_iter, tol=self.tol, callback=callback)

        def solve(target, start, callback):
            target, mean = design.transform_target(target)
            problem = PenalizedLeastSquares(design, target, gram)
            if start is not None:
                problem.set_start(start)
            result = solve_penalized(
                problem, penalty, max_iter=self.max_iter, tol=self.tol, callback=callback
            )
            result.intercept = design.intercept(result.x, mean)
            return result

        def intercept(target, coef):
            return design.intercept(coef, design.transform_target(target)[1])

        solver = solve_by_blocks if self.solver == "bcd" else solve
        self._fit_targets(data, solver, max_iter=self.max_iter, intercept=intercept)
        return self


class WeightedLassoCV(PathCV, WeightedLasso):
    r"""Weighted LASSO or elastic net with the strength chosen by cross-validation.

    Parameters
    ----------
    alphas : int or array-like of shape (n_alphas,), default=100
        Grid of strengths, or the length of a geometric grid that starts at the smallest
        strength with a zero solution.
    eps : float, default=1e-3
        Smallest over largest strength of the automatic grid.
    weights : array-like of shape (n_features,) or callable, optional
        Penalty weights, as in :class:`WeightedLasso`.
    l1_ratio : float, default=1.0
        Share of the l1 part of the penalty; > 0 for an automatic grid.
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
    max_iter : int, default=1000
        Largest number of working sets for each strength.
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
    dual_gap_ : float or ndarray of shape (n_targets,)
        Certificate of the final fit.
    n_iter_ : int
        Number of working sets of the final fit.
    history_ : dict or list of dict
        As in :class:`WeightedLasso`.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    See Also
    --------
    WeightedLasso : For a given strength.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparseopt.linear_model import WeightedLassoCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = WeightedLassoCV(alphas=20, cv=3).fit(X, y)
    >>> model.mse_path_.shape
    (20, 3)
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in WeightedLasso._parameter_constraints.items()
            if name not in ("alpha", "solver", "warm_start")
        },
        **PathCV._parameter_constraints,
    }

    def __init__(
        self,
        *,
        alphas=100,
        eps=1e-3,
        weights=None,
        l1_ratio=1.0,
        fit_intercept=True,
        positive=False,
        cv=None,
        selection_rule="min",
        n_jobs=None,
        max_iter=1000,
        tol=1e-6,
    ):
        self.alphas = alphas
        self.eps = eps
        self.weights = weights
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.cv = cv
        self.selection_rule = selection_rule
        self.n_jobs = n_jobs
        self.max_iter = max_iter
        self.tol = tol

    def _path(self, X, y, sample_weight, alphas):
        return weighted_lasso_path(
            X,
            y,
            alphas=alphas,
            weights=check_penalty_weights(self.weights, X.shape[1], X=X),
            l1_ratio=self.l1_ratio,
            positive=self.positive,
            fit_intercept=self.fit_intercept,
            sample_weight=sample_weight,
            max_iter=self.max_iter,
            tol=self.tol,
        )

    def _alpha_max(self, X, y, sample_weight):
        weights = check_penalty_weights(self.weights, X.shape[1], X=X, dtype=X.dtype)
        design = make_design(X, sample_weight=sample_weight, fit_intercept=self.fit_intercept)
        problem = PenalizedLeastSquares(design, design.transform_target(y)[0])
        return _largest_alpha(problem, ElasticNet(1.0, self.l1_ratio, weights, self.positive))

    def _final_estimator(self, alpha):
        return WeightedLasso(
            alpha,
            weights=self.weights,
            l1_ratio=self.l1_ratio,
            fit_intercept=self.fit_intercept,
            positive=self.positive,
            max_iter=self.max_iter,
            tol=self.tol,
        )


def _largest_alpha(problem, penalty):
    if penalty.l1_ratio == 0:
        raise ValueError(
            "An automatic grid needs l1_ratio > 0: a ridge penalty has no largest "
            "strength. Give alphas explicitly."
        )
    return problem.alpha_max(penalty)
