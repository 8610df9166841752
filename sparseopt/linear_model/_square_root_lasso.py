r"""Square-root LASSO: sparse regression whose penalty does not depend on the noise level.

    minimise  sqrt( sum_i s_i (y_i - x_i' b - b_0)^2 / sum_i s_i ) + alpha sum_j w_j |b_j|,

X (n_samples, n_features), penalty weights w (n_features,), sample weights s (n_samples,)
[1]. With S = sum_i s_i, the paper's ||r||_2 + lam sum_j w_j |b_j| has lam = sqrt(S) alpha.
``_square_root_solver`` does the work.

[1] Belloni, Chernozhukov, Wang (2011). Square-root lasso: pivotal recovery of sparse
    signals via conic programming. Biometrika 98(4).
"""

import math
import warnings
from numbers import Integral, Real

import numpy as np
from scipy import stats
from scipy.optimize import OptimizeResult
from sklearn.utils._param_validation import Interval, StrOptions

from sparseopt._core import (
    check_nonnegative,
    check_penalty_weights,
    check_regression_data,
    fitting,
)
from sparseopt.linear_model._base import SparseLinearRegressor
from sparseopt.linear_model._cv import alpha_grid, check_alphas
from sparseopt.linear_model._square_root_solver import (
    InterpolationWarning,
    SquareRootProblem,
    interpolation_note,
    solve_square_root,
)
from sparseopt.optimize._design import make_design
from sparseopt.optimize._gram_cache import GramCache

MARGIN = 1.1  # of the universal level over the largest correlation with pure noise ...
ERROR_RATE = 0.05  # ... which it exceeds with this probability at most


def square_root_lasso(
    X,
    y,
    alpha="auto",
    *,
    weights=None,
    sigma_min=0.0,
    positive=False,
    fit_intercept=False,
    sample_weight=None,
    coef_init=None,
    max_iter=100,
    tol=1e-6,
    callback=None,
):
    r"""Solve the weighted square-root LASSO to a certified duality gap.

    .. math::

        \min_{b, b_0} \Big(\frac{1}{\sum_i s_i} \sum_i s_i |y_i - x_i^T b - b_0|^2\Big)^{1/2}
        + \alpha \sum_j w_j |b_j|

    Parameters
    ----------
    X : {ndarray, sparse matrix or array} of shape (n_samples, n_features)
        Design; real or complex. The computation is in double precision, the result in
        the precision of the data.
    y : ndarray of shape (n_samples,)
        Target; real or complex.
    alpha : float or "auto", default="auto"
        Penalty strength, > 0; see :class:`SquareRootLasso` for the automatic one.
    weights : array-like of shape (n_features,), optional
        Penalty weights >= 0; 0 never penalises a feature, ``inf`` excludes it.
    sigma_min : float, default=0.0
        Smallest noise level, in the units of the target; > 0 smooths the loss below it.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    fit_intercept : bool, default=False
        Whether to fit an unpenalised intercept.
    sample_weight : array-like of shape (n_samples,), optional
        Row weights.
    coef_init : array-like of shape (n_features,), optional
        Warm start.
    max_iter : int, default=100
        Largest number of noise levels tried. A few suffice.
    tol : float, default=1e-6
        Largest duality gap, relative to the objective of the best constant model.
    callback : callable, optional
        Called after each step as SciPy's optimizers do; ``StopIteration`` ends the run
        with the best iterate.

    Returns
    -------
    result : OptimizeResult
        ``x`` (coefficients), ``intercept``, ``sigma`` (root mean square of the
        residuals), ``alpha`` and ``weights`` (those in force), ``fun`` (the objective
        above), ``dual_gap`` (in the units of ``fun``), ``certificate`` (relative to the
        constant model), ``dual`` (the dual point, shape (n_samples,), in the centred and
        weighted coordinates), ``interpolates`` (whether ``x`` reproduces the target),
        ``nit``, ``success``, ``status``, ``message``, ``history``.

    Raises
    ------
    ValueError
        For shapes that do not fit, or arguments out of range.

    Warns
    -----
    InterpolationWarning
        If the penalty is so weak that the optimal residual is zero. The result is
        optimal all the same: it is the basis pursuit solution.
    sklearn.exceptions.ConvergenceWarning
        If the gap does not reach ``tol``.

    See Also
    --------
    SquareRootLasso : The estimator.

    References
    ----------
    Belloni, Chernozhukov, Wang (2011). Square-root lasso: pivotal recovery of sparse
    signals via conic programming. Biometrika 98(4).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.linear_model import square_root_lasso
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    >>> result = square_root_lasso(X, [2.0, 0.1, 1.9, 2.2], alpha=0.3)
    >>> result.x.round(3)
    array([ 1.986, -0.019])
    """
    X, y, sample_weight = check_regression_data(X, y, sample_weight)
    weights = check_penalty_weights(weights, X.shape[1])
    _check_arguments(alpha, sigma_min, tol, max_iter)
    design = double_design(X, sample_weight, fit_intercept)
    target, target_mean = design.transform_target(y.astype(design.dtype))
    alpha, weights = _resolve(alpha, weights, design)
    problem = SquareRootProblem(design, target, weights, positive=positive)
    if coef_init is not None:
        if np.shape(coef_init) != (X.shape[1],) or not np.all(np.isfinite(coef_init)):
            raise ValueError(
                f"coef_init must be finite, of shape ({X.shape[1]},), got {coef_init!r}."
            )
        problem.set_start(coef_init)
    result = solve_square_root(
        problem, alpha, sigma_min=sigma_min, max_iter=max_iter, tol=tol, callback=callback
    )
    _warn_of_interpolation(result, alpha)
    result.intercept = design.intercept(result.x, target_mean)
    result.x = result.x.astype(X.dtype, copy=False)
    result.alpha, result.weights = alpha, weights
    return result


def square_root_lasso_path(
    X,
    y,
    *,
    alphas=None,
    n_alphas=100,
    eps=1e-3,
    weights=None,
    sigma_min=0.0,
    positive=False,
    fit_intercept=False,
    sample_weight=None,
    max_iter=100,
    tol=1e-6,
):
    r"""Compute the square-root LASSO for a decreasing grid of strengths.

    Each solution starts from the one before. Strengths too weak for a positive noise
    level all have the same, interpolating solution; their ``sigmas`` are 0.

    Parameters
    ----------
    X : {ndarray, sparse matrix or array} of shape (n_samples, n_features)
        Design; real or complex. The computation is in double precision, the result in
        the precision of the data.
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
    sigma_min : float, default=0.0
        Smallest noise level, in the units of the target; > 0 smooths the loss below it.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    fit_intercept : bool, default=False
        Whether to fit an unpenalised intercept.
    sample_weight : array-like of shape (n_samples,), optional
        Row weights.
    max_iter : int, default=100
        Largest number of noise levels tried for each strength.
    tol : float, default=1e-6
        Largest duality gap, relative to the objective of the best constant model.

    Returns
    -------
    path : OptimizeResult
        ``alphas`` (n_alphas,), ``coefs`` (n_features, n_alphas), ``intercepts``
        (n_alphas,), ``sigmas`` (n_alphas,), ``dual_gaps`` (n_alphas,) in the units of
        the objective, ``n_iters`` (n_alphas,), ``success`` (whether every gap met the
        tolerance).

    Raises
    ------
    ValueError
        For shapes that do not fit, or arguments out of range.

    See Also
    --------
    SquareRootLasso : The estimator.
    weighted_lasso_path : The same solutions, at other strengths.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.linear_model import square_root_lasso_path
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    >>> path = square_root_lasso_path(X, [2.0, 0.1, 1.9, 2.2], alphas=[0.8, 0.3])
    >>> path.coefs.round(3)
    array([[ 1.702,  1.986],
           [ 0.   , -0.019]])
    """
    X, y, sample_weight = check_regression_data(X, y, sample_weight)
    weights = check_penalty_weights(weights, X.shape[1])
    _check_arguments("auto", sigma_min, tol, max_iter)
    design = double_design(X, sample_weight, fit_intercept)
    target, target_mean = design.transform_target(y.astype(design.dtype))
    problem = SquareRootProblem(design, target, weights, positive=positive)
    if alphas is None:
        largest = problem.lam_max() / math.sqrt(design.total_weight)
        alphas = alpha_grid(largest, eps, n_alphas)
    else:
        alphas = check_alphas(alphas)
        _check_arguments(float(alphas[-1]), sigma_min, tol, max_iter)
    results = [
        solve_square_root(problem, alpha, sigma_min=sigma_min, max_iter=max_iter, tol=tol)
        for alpha in alphas
    ]
    return OptimizeResult(
        alphas=alphas,
        coefs=np.array([result.x for result in results], dtype=X.dtype).T,
        intercepts=np.array([design.intercept(result.x, target_mean) for result in results]),
        sigmas=np.array([result.sigma for result in results]),
        dual_gaps=np.array([result.dual_gap for result in results]),
        n_iters=np.array([result.nit for result in results]),
        success=all(result.success for result in results),
    )


def universal_strength(n_samples, n_features, *, is_complex=False):
    r"""Return the noise-blind level :math:`\tau` of ``||r||_2 + tau ||x||_1``, unit columns.

    With high probability it exceeds, by the factor ``MARGIN``, every correlation of a
    column with a unit vector of pure noise, whatever the noise level.
    """
    n_samples, n_features = max(n_samples, 1), max(n_features, 1)
    if is_complex:
        quantile = math.sqrt(math.log(n_features / ERROR_RATE))
    else:
        quantile = float(stats.norm.isf(ERROR_RATE / (2 * n_features)))
    return MARGIN * quantile / math.sqrt(n_samples)


def double_design(X, sample_weight, fit_intercept):
    """Return the design in double precision.

    Residuals may be far smaller than the target here; the certificate, which rests on
    their direction, would drown in the rounding of single precision.
    """
    X = X.astype(np.result_type(X.dtype, np.float64), copy=False)
    return make_design(X, sample_weight=sample_weight, fit_intercept=fit_intercept)


def _resolve(alpha, weights, design):
    """Return the strength and the penalty weights in force."""
    if not isinstance(alpha, str):
        return float(alpha), weights
    norms = np.sqrt(design.column_norms_squared)
    usable = np.isfinite(weights) & (norms > 0)
    penalized = np.count_nonzero(usable & (weights > 0))
    unpenalized = np.count_nonzero(usable) - penalized + design.fit_intercept
    level = universal_strength(
        design.total_weight - unpenalized, penalized, is_complex=design.dtype.kind == "c"
    )
    # A column without variation cannot enter anyway.
    scaled = np.multiply(weights, norms, out=np.full_like(weights, np.inf), where=usable)
    return level / math.sqrt(design.total_weight), scaled


def _check_arguments(alpha, sigma_min, tol, max_iter):
    if isinstance(alpha, str):
        if alpha != "auto":
            raise ValueError(f'alpha must be a number > 0 or "auto", got {alpha!r}.')
    elif not check_nonnegative(alpha, "alpha") > 0:
        raise ValueError(
            f"alpha must be > 0, got {alpha!r}: without a penalty, use least squares "
            "(sklearn.linear_model.LinearRegression)."
        )
    check_nonnegative(sigma_min, "sigma_min")
    check_nonnegative(tol, "tol")
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter!r}.")


def _warn_of_interpolation(result, alpha):
    # An uncertified fit with a zero residual may be far from the optimal one.
    if result.interpolates and result.success:
        warnings.warn(interpolation_note(alpha), InterpolationWarning, stacklevel=3)


class SquareRootLasso(SparseLinearRegressor):
    r"""Linear regression with an l1 penalty whose strength does not depend on the noise.

    Minimises

    .. math::

        \Big(\frac{1}{\sum_i s_i} \sum_i s_i (y_i - x_i^T b - b_0)^2\Big)^{1/2}
        + \alpha \sum_j w_j |b_j|

    to a certified duality gap [1]_. The solution is that of the LASSO with strength
    :math:`\alpha \hat\sigma`, where :math:`\hat\sigma`, the root mean square of the
    residuals, is estimated at the same time; a good ``alpha`` is therefore known without
    knowing the noise, and ``alpha="auto"`` uses it. In the notation
    :math:`\|r\|_2 + \lambda \|b\|_{1,w}` of the literature,
    :math:`\lambda = \alpha (\sum_i s_i)^{1/2}`.

    Parameters
    ----------
    alpha : float or "auto", default="auto"
        Penalty strength, > 0. ``"auto"`` takes the universal level for columns of unit
        norm: with :math:`n = \sum_i s_i` (less one for the intercept and for each
        unpenalised feature) and ``p`` penalised features,
        :math:`\lambda = 1.1\, \Phi^{-1}(1 - 0.05 / 2p) / \sqrt{n}`, while the weights are
        multiplied by the norms of the columns (centred if there is an intercept). See
        ``alpha_`` and ``weights_``.
    weights : array-like of shape (n_features,) or callable, optional
        Penalty weights :math:`w_j \ge 0`, ones by default. 0 never penalises a feature,
        ``inf`` excludes it. A callable is called as ``weights(X)``.
    sigma_min : float, default=0.0
        Smallest noise level, in the units of the target. With a positive value the loss
        is quadratic below it (the smoothed concomitant LASSO [2]_), and the model never
        interpolates.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    max_iter : int, default=100
        Largest number of noise levels tried. A few suffice.
    tol : float, default=1e-6
        The fit ends once the duality gap is at most ``tol`` times the objective of the
        best constant model. Values below 2e-14, where rounding begins, mean 2e-14.
    warm_start : bool, default=False
        Whether to start from the coefficients of the previous fit.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, in the dtype of ``X``.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
    sigma_ : float or ndarray of shape (n_targets,)
        Root mean square of the residuals, the estimate of the noise level; 0 if the
        model interpolates.
    alpha_ : float
        The strength in force.
    weights_ : ndarray of shape (n_features,)
        The penalty weights in force: ``weights``, times the column norms if ``alpha``
        is ``"auto"``.
    dual_gap_ : float or ndarray of shape (n_targets,)
        Certificate: the objective exceeds its minimum by at most this.
    n_iter_ : int
        Number of steps; the largest over targets.
    history_ : dict or list of dict
        Arrays ``iteration``, ``time`` (seconds), ``objective`` and ``certificate``
        (relative gap), one entry a step; one dict a target.
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
    InterpolationWarning
        If the penalty is so weak that the optimal residual is zero; the coefficients are
        then those of basis pursuit, the smallest :math:`\sum_j w_j |b_j|` among the
        models that reproduce the target.
    sklearn.exceptions.ConvergenceWarning
        If the gap does not reach ``tol``; the message gives the gap that was reached.

    See Also
    --------
    SquareRootLassoCV : Strength chosen by cross-validation.
    WeightedLasso : Penalty in the scale of the noise.
    LADLasso : Robust to gross errors in the target.

    References
    ----------
    .. [1] Belloni, Chernozhukov, Wang (2011). Square-root lasso: pivotal recovery of
       sparse signals via conic programming. Biometrika 98(4).
    .. [2] Ndiaye, Fercoq, Gramfort, Leclere, Salmon (2017). Efficient smoothed
       concomitant lasso estimation for high dimensional regression. J. Phys.: Conf.
       Ser. 904.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparseopt.linear_model import SquareRootLasso
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SquareRootLasso().fit(X, y)
    >>> int((model.coef_ != 0).sum()), round(model.sigma_, 1)
    (4, 56.1)
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "weights": ["array-like", callable, None],
        "sigma_min": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "positive": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        alpha="auto",
        *,
        weights=None,
        sigma_min=0.0,
        fit_intercept=True,
        positive=False,
        max_iter=100,
        tol=1e-6,
        warm_start=False,
    ):
        self.alpha = alpha
        self.weights = weights
        self.sigma_min = sigma_min
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    @fitting
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; float64 stored by columns (Fortran order, CSC) is not copied
            when there is neither an intercept nor sample weights.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; several targets are fitted independently.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative row weights; integers act as repeated rows.

        Returns
        -------
        self : SquareRootLasso
            The fitted estimator.
        """
        data = X, _, sample_weight = self._validate_fit_data(X, y, sample_weight)
        weights = check_penalty_weights(self.weights, X.shape[1], X=X)
        design = double_design(X, sample_weight, self.fit_intercept)
        gram = GramCache(design)
        self.alpha_, self.weights_ = _resolve(self.alpha, weights, design)

        def solve(target, start, callback):
            target, mean = design.transform_target(target.astype(design.dtype))
            problem = SquareRootProblem(
                design, target, self.weights_, positive=self.positive, gram=gram
            )
            if start is not None:
                problem.set_start(start)
            result = solve_square_root(
                problem,
                self.alpha_,
                sigma_min=self.sigma_min,
                max_iter=self.max_iter,
                tol=self.tol,
                callback=callback,
            )
            _warn_of_interpolation(result, self.alpha_)
            result.intercept = X.dtype.type(design.intercept(result.x, mean))
            result.x = result.x.astype(X.dtype, copy=False)
            return result

        def intercept(target, coef):
            return design.intercept(coef, design.transform_target(target.astype(design.dtype))[1])

        results = self._fit_targets(data, solve, max_iter=self.max_iter, intercept=intercept)
        self.sigma_ = self._per_target([result.sigma for result in results])
        return self
