r"""LAD-LASSO: least absolute deviations with a weighted l1 penalty, solved exactly.

    minimise  1/(sum_i s_i) sum_i s_i |y_i - x_i' b - b_0|  +  alpha sum_j w_j |b_j|

X (n_samples, n_features) real, penalty weights w (n_features,), sample weights s (n_samples,).
H. Wang, G. Li and G. Jiang, "Robust regression shrinkage and consistent variable selection
through the LAD-Lasso", Journal of Business & Economic Statistics 25 (2007) 347-355. The simplex
that solves it is in ``_lad_simplex``; its strength is ``lam = alpha sum_i s_i``.
"""

import warnings
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval

from sparseopt._core import check_penalty_weights, fitting, iterate
from sparseopt._core._validation import check_regression_data
from sparseopt.linear_model._base import SparseLinearRegressor
from sparseopt.linear_model._cv import alpha_grid, check_alphas
from sparseopt.linear_model._lad_simplex import PenalizedLAD


def solve_lad_lasso(problem, alpha, *, max_iter, tol, callback=None, warn=True):
    """Run the simplex on a posed problem, from the vertex where it stands.

    Parameters
    ----------
    problem : PenalizedLAD
        The data; its vertex warm-starts a later call with another strength.
    alpha : float
        Strength, in the units of the mean loss.
    max_iter : int
        Largest number of steps, each of a few pivots.
    tol : float
        Largest duality gap, relative to the objective of the best constant model.
    callback : callable, optional
        As SciPy's optimizers call it, with the coefficients (an intercept comes last).
    warn : bool, default=True
        Whether to emit a ``ConvergenceWarning``.

    Returns
    -------
    result : OptimizeResult
        ``x`` (n_features,), ``intercept``, ``fun``, ``dual_gap`` (in the units of ``fun``),
        ``certificate`` (the relative gap), ``dual`` (n_samples,), ``nit``, ``success``,
        ``status``, ``message``, ``history``.
    """
    weight = problem.total_weight
    unit = problem.constant_objective or 1.0

    def relative(progress):
        return progress._replace(
            objective=progress.objective / weight, certificate=progress.certificate / unit
        )

    problem.set_penalty(alpha * weight)
    result = iterate(
        lambda state: relative(state.step()),
        problem,
        max_iter=max_iter,
        tol=tol,
        callback=callback,
        method="The LAD-LASSO simplex",
        certificate_name="relative duality gap",
        warn=warn,
    )
    n_features = problem.n_features
    result.intercept = result.x[n_features] if problem.fit_intercept else 0.0
    result.x = result.x[:n_features]
    result.dual_gap = result.certificate * unit / weight
    result.dual = problem.dual
    return result


def lad_lasso_path(
    X,
    y,
    *,
    alphas=None,
    n_alphas=100,
    eps=1e-3,
    exact=False,
    weights=None,
    positive=False,
    fit_intercept=False,
    sample_weight=None,
    max_iter=10_000,
    tol=1e-9,
):
    r"""Compute the LAD-LASSO for a decreasing grid of strengths, or its exact path.

    .. math::

        \min_{b, b_0} \frac{1}{\sum_i s_i} \sum_i s_i |y_i - x_i^T b - b_0|
        + \alpha \sum_j w_j |b_j|

    The solution is a piecewise constant function of :math:`\alpha`; each solution of a grid
    starts from the vertex of the one before.

    Parameters
    ----------
    X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
        Real design.
    y : array-like of shape (n_samples,)
        Real target.
    alphas : array-like of shape (n_alphas,), optional
        Strengths >= 0, sorted here in decreasing order. By default a geometric grid from
        the smallest strength with a zero solution down to ``eps`` times that.
    n_alphas : int, default=100
        Length of the default grid.
    eps : float, default=1e-3
        Smallest over largest strength of the default grid, and of the exact path.
    exact : bool, default=False
        If True, ``alphas`` must be None, and the path is computed at all the strengths at
        which the solution changes, down to ``eps`` times the largest: the solution at
        ``alphas[k]`` holds down to ``alphas[k + 1]``, and above ``alphas[0]`` the
        penalised coefficients are zero.
    weights : array-like of shape (n_features,), optional
        Penalty weights >= 0; 0 never penalises a feature, ``inf`` excludes it.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    fit_intercept : bool, default=False
        Whether to fit an unpenalised intercept.
    sample_weight : array-like of shape (n_samples,), optional
        Row weights :math:`s_i \ge 0`.
    max_iter : int, default=10000
        Largest number of steps for each strength of a grid; a step is at most 20 pivots.
    tol : float, default=1e-9
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
        For complex data, shapes that do not fit, negative strengths or weights, ``eps``
        outside of (0, 1), or ``exact=True`` together with ``alphas``.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If a gap does not reach ``tol``.

    See Also
    --------
    LADLasso : The estimator.
    sklearn.linear_model.QuantileRegressor : Other quantiles, no weights.

    References
    ----------
    Wang, Gordon, Zhu (2006). Regularized least absolute deviations regression and an
    efficient algorithm for parameter tuning. ICDM.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.linear_model import lad_lasso_path
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    >>> path = lad_lasso_path(X, np.array([2.0, 0.0, 2.0, 5.0, 50.0]), exact=True)
    >>> path.alphas
    array([1. , 0.2])
    >>> path.coefs
    array([[2., 2.],
           [0., 1.]])
    """
    if exact and alphas is not None:
        raise ValueError(
            f"exact=True finds the strengths itself: alphas must be None, not {alphas!r}."
        )
    if not (0 <= eps < 1 and (exact or eps > 0)) or n_alphas < 1 or max_iter < 1:
        raise ValueError(
            "eps must be between 0 and 1, n_alphas and max_iter at least 1, got "
            f"eps={eps!r}, n_alphas={n_alphas!r}, max_iter={max_iter!r}."
        )
    X, y, sample_weight = check_regression_data(X, y, sample_weight)
    if np.iscomplexobj(X):
        raise ValueError("X and y must be real: the LAD-LASSO of complex data is not supported.")
    problem = PenalizedLAD(
        X,
        y,
        weights=check_penalty_weights(weights, X.shape[1]),
        positive=positive,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
    )
    if exact:
        return _exact_path(problem, eps, tol)
    if alphas is None:
        alphas = alpha_grid(problem.largest_strength() / problem.total_weight, eps, n_alphas)
    else:
        alphas = check_alphas(alphas)
    results = [solve_lad_lasso(problem, alpha, max_iter=max_iter, tol=tol) for alpha in alphas]
    return OptimizeResult(
        alphas=alphas,
        coefs=np.array([result.x for result in results]).T,
        intercepts=np.array([result.intercept for result in results]),
        dual_gaps=np.array([result.dual_gap for result in results]),
        n_iters=np.array([result.nit for result in results]),
        success=all(result.success for result in results),
    )


def _exact_path(problem, eps, tol):
    """Return the path at the strengths where the solution changes."""
    strengths, points, gaps = [], [], []
    smallest = 0.0
    for strength, x in problem.break_points():
        smallest = smallest or eps * strength
        if strength < smallest:
            break
        if strengths and strength > (1 - 1e-12) * strengths[-1]:  # two changes at once
            del strengths[-1], points[-1], gaps[-1]
        strengths.append(strength)
        points.append(x)
        gaps.append(problem.gap)
    relative_gap = max(gaps, default=0.0) / (problem.constant_objective or 1.0)
    if relative_gap > tol:
        warnings.warn(
            f"The exact LAD-LASSO path has the relative duality gap {relative_gap:.3g} (tolerance "
            f"{tol:.3g}) at its least accurate break point. Rescale columns of very different "
            "sizes, or increase tol if this accuracy suffices.",
            ConvergenceWarning,
            stacklevel=3,
        )
    n_features = problem.n_features
    coefs = np.array(points).reshape(len(points), problem.norms.size)
    return OptimizeResult(
        alphas=np.array(strengths) / problem.total_weight,
        coefs=coefs[:, :n_features].T,
        intercepts=coefs[:, n_features:].sum(axis=1),
        dual_gaps=np.array(gaps) / problem.total_weight,
        n_iters=np.ones(len(points), dtype=int),
        success=relative_gap <= tol,
    )


class LADLasso(SparseLinearRegressor):
    r"""Least absolute deviations with a weighted l1 penalty, solved exactly.

    Minimises

    .. math::

        \frac{1}{\sum_i s_i} \sum_i s_i |y_i - x_i^T b - b_0| + \alpha \sum_j w_j |b_j|

    by a simplex method to a certified duality gap at rounding level. Gross errors in some
    targets do not move the fit: a residual counts by its sign only.

    The strength :math:`\lambda` of :math:`\|r\|_1 + \lambda \|b\|_{1,w}` is
    :math:`\lambda = \alpha \sum_i s_i`; scikit-learn's ``QuantileRegressor(quantile=0.5)``
    solves the same problem with half of this ``alpha``.

    Parameters
    ----------
    alpha : float, default=1.0
        Penalty strength, >= 0. With 0 the fit is l1 regression.
    weights : array-like of shape (n_features,) or callable, optional
        Penalty weights :math:`w_j \ge 0`, ones by default. 0 never penalises a feature,
        ``inf`` excludes it. A callable is called as ``weights(X)``.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    max_iter : int, default=10000
        Largest number of steps; a step adds at most 10 features to the working set and
        makes at most 20 pivots.
    tol : float, default=1e-9
        The fit ends once the duality gap is at most ``tol`` times the objective of the
        best constant model.
    warm_start : bool, default=False
        Whether to start from the support of the previous fit.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, in the dtype of ``X``.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
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
    sklearn.exceptions.ConvergenceWarning
        If the gap does not reach ``tol``; the message gives the gap that was reached.

    See Also
    --------
    LADLassoCV : Strength chosen by cross-validation.
    lad_lasso_path : All solutions, also exactly.
    WeightedLasso : Squared loss, for targets without gross errors.

    References
    ----------
    Wang, Li, Jiang (2007). Robust regression shrinkage and consistent variable selection
    through the LAD-Lasso. Journal of Business & Economic Statistics 25, 347-355.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.linear_model import LADLasso
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 100))
    >>> y = 3 * X[:, 0] - 2 * X[:, 1]
    >>> y[:6] += 1000 * rng.standard_normal(6)
    >>> model = LADLasso(alpha=0.2, fit_intercept=False).fit(X, y)
    >>> model.coef_[:3].round(6)
    array([ 3., -2.,  0.])
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "weights": ["array-like", callable, None],
        "fit_intercept": ["boolean"],
        "positive": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        weights=None,
        fit_intercept=True,
        positive=False,
        max_iter=10_000,
        tol=1e-9,
        warm_start=False,
    ):
        self.alpha = alpha
        self.weights = weights
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
            Training data; float64 data are not copied, sparse data not if they are CSC.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; several targets are fitted independently.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative row weights; integers act as repeated rows.

        Returns
        -------
        self : LADLasso
            The fitted estimator.
        """
        data = X, _, sample_weight = self._validate_fit_data(X, y, sample_weight)
        weights = check_penalty_weights(self.weights, X.shape[1], X=X)
        design = as_columns(X)

        def solve(target, start, callback):
            problem = PenalizedLAD(
                design,
                target,
                weights=weights,
                positive=self.positive,
                sample_weight=sample_weight,
                fit_intercept=self.fit_intercept,
            )
            if start is not None:
                problem.suggest(np.flatnonzero(start))
            result = solve_lad_lasso(
                problem, self.alpha, max_iter=self.max_iter, tol=self.tol, callback=callback
            )
            result.x = result.x.astype(X.dtype)
            return result

        self._fit_targets(data, solve, max_iter=self.max_iter)
        return self


def as_columns(X):
    """Return the design in the form that the simplex reads, converted once for all targets."""
    X = sparse.csc_array(X) if sparse.issparse(X) else X
    return X.astype(np.float64, copy=False)
