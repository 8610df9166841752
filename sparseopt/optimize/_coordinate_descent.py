r"""Working-set coordinate descent for penalised least squares, and the public function.

Problem, in the coordinates of the centred and weighted design (see ``_design``):

    minimise  1/2 ||y - X x||^2 + sum_j ( l1_j |x_j| + ridge_j/2 |x_j|^2 ),

X (n_samples, n_features) real or complex. The dual value of any nu is

    D(nu) = Re<nu, y> - 1/2 ||nu||^2
            - sum_{ridge_j > 0} (|X_j^H nu| - l1_j)_+^2 / (2 ridge_j),

for |X_j^H nu| <= l1_j wherever ridge_j = 0; the best nu found so far gives the duality
gap, which is the stopping rule, and the gap-safe sphere test [1], which discards
features for good. Outer iterations choose a working set by distance to the dual
constraints, as in Celer [2], and solve the problem on it (see ``_working_set``).

[1] Ndiaye, Fercoq, Gramfort, Salmon (2017). Gap Safe Screening Rules for Sparsity
    Enforcing Penalties. JMLR 18(128).
[2] Massias, Gramfort, Salmon (2018). Celer: a Fast Solver for the Lasso with Dual
    Extrapolation. ICML.
"""

import math

import numpy as np

from sparseopt._core import (
    Progress,
    check_at_least_one,
    check_nonnegative,
    check_regression_data,
    iterate,
    short_products,
)
from sparseopt.optimize._design import make_design
from sparseopt.optimize._gram_cache import GramCache
from sparseopt.optimize._losses import (
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    PoissonLoss,
    SquaredLoss,
)
from sparseopt.optimize._penalties import NONNEGATIVE_ELASTIC_NET, ElasticNet
from sparseopt.optimize._projections import orthonormal_basis, polar_part
from sparseopt.optimize._working_set import WorkingSetProblem, norm_squared, penalty_value

METHOD = "Coordinate descent"
CONTINUATION_START = 200  # times the strength: where a cold start begins to hurt
LARGEST_CONTINUATION = 1e8  # times the strength: where it is as good as zero
CONTINUATION_RATIO = 0.3
CONTINUATION_GAP = 1e-2  # relative to the objective of the stage
CONTINUATION_STEPS = 10
SMALLEST_REMAINDER = 1e-3  # of a residual, from which a dual point is made
INNER_FRACTION = 0.5  # of the current gap, the accuracy asked of a working-set solve


class PenalizedLeastSquares:
    """State of the solver for one target; reused along a path of penalties.

    Parameters
    ----------
    design : DenseDesign or SparseDesign
        The centred, weighted design.
    target : ndarray of shape (n_samples,)
        The centred, weighted target.
    gram : GramCache, optional
        Shared by all targets of one design.

    Attributes
    ----------
    x : ndarray of shape (n_features,)
        Coefficients.
    residual : ndarray of shape (n_samples,)
        ``y - X x``.
    dual : ndarray of shape (n_samples,)
        The best dual point since the penalty was set.
    primal, gap : float
        Objective, and its distance to the best dual value.
    """

    def __init__(self, design, target, gram=None):
        self.design = design
        self.target = target
        self.gram = GramCache(design) if gram is None else gram
        self.target_norm_squared = norm_squared(target)
        self.norms = np.sqrt(design.column_norms_squared)
        self.x = np.zeros(design.shape[1], design.dtype)
        self.residual = target.copy()
        self.correlations = design.correlate(self.residual)
        self._stale = np.zeros(design.shape[1], dtype=bool)  # correlations to refresh
        self.gap_target = 0.0  # no working set is solved much more accurately than this

    def set_start(self, x):
        """Start from the coefficients ``x``."""
        self.x = np.array(x, dtype=self.design.dtype)
        self.residual = self.target - self.design.predict(self.x)
        self.correlations = self.design.correlate(self.residual)
        self._stale[:] = False

    def set_penalty(self, code, table):
        """Pose the problem with a new penalty; the coefficients stay as a warm start.

        Parameters
        ----------
        code : int
            Kernel code of the penalty.
        table : ndarray of shape (2, n_features)
            l1 and ridge weights, in the scale of ``1/2 ||y - X x||^2``.

        Returns
        -------
        Progress
            Objective and gap of the starting point.
        """
        self.code, self.table = code, table
        excluded = np.isinf(table[0]) | (self.norms == 0)
        forbidden = excluded & (self.x != 0)
        if code == NONNEGATIVE_ELASTIC_NET:
            forbidden |= self.x < 0
        if forbidden.any():
            self.set_start(np.where(forbidden, 0, self.x))
        stale = np.flatnonzero(self._stale)
        self.design.correlate_columns(self.residual, stale, self.correlations)
        self._stale[:] = False
        self.candidates = np.flatnonzero(~excluded)
        self.unpenalized, self.dual_table = self._without_negligible_penalties(~excluded)
        self._unpenalized_basis = None
        self._steps_without_progress = 0
        self.dual_value = -math.inf
        return self._certify()

    def _without_negligible_penalties(self, usable):
        """Return the unpenalised features, and the table as dual points see it.

        An l1 weight below the rounding error of a correlation bounds nothing: scaling a
        dual point until it meets such a bound would destroy it. Those features count as
        unpenalised, unless there are too many to project out.
        """
        l1, ridge = self.table
        usable = usable & (ridge == 0)
        noise = 4 * np.finfo(l1.dtype).eps * self.norms * math.sqrt(self.target_norm_squared)
        negligible = usable & (l1 <= noise)
        if np.count_nonzero(negligible) > self.residual.size // 2:
            negligible = usable & (l1 == 0)
        table = np.array([np.where(negligible, 0, l1), ridge])
        return np.flatnonzero(negligible), table

    def alpha_max(self, penalty):
        """Return the smallest strength of ``penalty`` for which the solution is zero.

        "Zero" leaves unpenalised coefficients free. The strength of ``penalty`` itself
        does not matter; the coefficients are reset.
        """
        self.set_start(np.zeros_like(self.x))
        self.set_penalty(penalty.kernel_code, penalty.kernel_table(self.x.size, self.norms.dtype))
        point, _ = self.dual_point(self.residual, self._correlate_candidates)
        return penalty.alpha_max(-self.design.correlate(point) / self.design.total_weight)

    def step(self):
        """Solve a working-set problem, then certify the result."""
        before = (self.primal, self.gap)
        working_set = self._choose_working_set()
        inner_gap = INNER_FRACTION * max(self.gap, self.gap_target)
        self.x[working_set] = WorkingSetProblem(self, working_set).solve(inner_gap)
        self.residual = self.target - self.design.predict(self.x)
        self.design.correlate_columns(self.residual, self.candidates, self.correlations)
        progress = self._certify()
        return progress._replace(stalled=self._has_stalled(*before))

    def dual_point(self, residual, correlate):
        """Turn ``residual`` into a point that no unpenalised column correlates with.

        Returns the point and its correlations with the columns that ``correlate``
        stands for.
        """
        if self.unpenalized.size == 0:
            return residual, correlate(residual)
        point = self._uncorrelated_part(residual)
        # Of a small remainder, rounding has a share: its direction correlates with those
        # columns, and scaled up it would promise a dual value that does not exist.
        if norm_squared(point) < SMALLEST_REMAINDER**2 * norm_squared(residual):
            point = np.zeros_like(point)
        return point, correlate(point)

    def slope(self, correlations):
        """Return what the l1 weights bound: |X_j^H nu|, or X_j^T nu under positivity."""
        if self.code == NONNEGATIVE_ELASTIC_NET:
            return correlations
        return np.abs(correlations)

    def scaled_dual(self, point, slope, table):
        """Return the best scale of a dual point within the constraints, and its value."""
        l1, ridge = table
        hard = (ridge == 0) & (l1 > 0) & (slope > 0)
        largest = np.min(l1[hard] / slope[hard], initial=math.inf)
        energy = norm_squared(point)
        along_target = float(np.real(np.vdot(point, self.target)))
        soft = ridge > 0
        if soft.any():
            scale = min(1.0, largest)
            excess = np.maximum(scale * slope[soft] - l1[soft], 0)
            conjugate = 0.5 * float(np.sum(excess**2 / ridge[soft]))
        else:
            best = along_target / energy if energy > 0 else 0.0
            scale = min(max(best, 0.0), largest)
            conjugate = 0.0
        return scale, scale * along_target - 0.5 * scale**2 * energy - conjugate

    def _certify(self):
        self.primal = 0.5 * norm_squared(self.residual) + penalty_value(self.table, self.x)
        correlations = self.correlations
        point, correlations = self.dual_point(self.residual, self._correlate_candidates)
        slope = self.slope(correlations)
        scale, value = self.scaled_dual(point, slope, self.dual_table[:, self._at_candidates])
        self._scaled_slope = scale * slope
        if not value <= self.dual_value:  # a NaN must reach the guard of the iteration
            self.dual_value = value
            self.dual = scale * point
            self._dual_slope = self._scaled_slope
        self.gap = max(self.primal - self.dual_value, 0.0)
        self._screen()
        return Progress(self.primal, self.gap)

    def _correlate_candidates(self, point):
        if point is self.residual:
            return self.correlations[self._at_candidates]
        out = np.empty_like(self.correlations)
        self.design.correlate_columns(point, self.candidates, out)
        return out[self._at_candidates]

    @property
    def _at_candidates(self):
        """Index of the candidates; a slice, which does not copy, while all are there."""
        return slice(None) if self.candidates.size == self.x.size else self.candidates

    def _uncorrelated_part(self, residual):
        """Return the part of ``residual`` that unpenalised columns leave."""
        columns = self.design.columns(self.unpenalized) / self.norms[self.unpenalized]
        if self.code == NONNEGATIVE_ELASTIC_NET:
            return polar_part(columns, residual)
        if self._unpenalized_basis is None:
            self._unpenalized_basis = orthonormal_basis(columns)
        basis = self._unpenalized_basis
        return residual - basis @ (basis.conj().T @ residual)

    def _screen(self):
        """Discard features that the gap-safe sphere test proves to be zero."""
        candidates, at = self.candidates, self._at_candidates
        reach = self._dual_slope + self.norms[at] * math.sqrt(2 * self.gap)
        keep = (reach >= self.table[0, at]) | (self.x[at] != 0)
        if np.count_nonzero(keep) < 0.9 * candidates.size:
            self.candidates = candidates[keep]
            self._dual_slope = self._dual_slope[keep]
            self._scaled_slope = self._scaled_slope[keep]
            self._stale[candidates[~keep]] = True

    def _choose_working_set(self):
        candidates, at = self.candidates, self._at_candidates
        priority = (self.table[0, at] - self._scaled_slope) / self.norms[at]
        kept = (self.x[at] != 0) | (self.dual_table[0, at] == 0)
        priority[kept] = -math.inf
        size = max(
            self.design.smallest_working_set,
            self.design.working_set_growth * np.count_nonzero(kept),
        )
        if size >= candidates.size:
            return candidates
        return np.sort(candidates[np.argpartition(priority, size)[:size]])

    def _has_stalled(self, primal_before, gap_before):
        rounding = 10 * np.finfo(self.norms.dtype).eps * abs(primal_before)
        moved = self.primal < primal_before - rounding or self.gap < 0.999 * gap_before
        self._steps_without_progress = 0 if moved else self._steps_without_progress + 1
        return self._steps_without_progress >= 3


def coordinate_descent(
    X,
    y,
    penalty,
    *,
    loss=None,
    sample_weight=None,
    fit_intercept=False,
    coef_init=None,
    max_iter=100,
    tol=1e-6,
    callback=None,
):
    r"""Minimise a penalised loss by working-set coordinate descent.

    .. math::

        \min_{b, b_0} \frac{1}{\sum_i s_i} \sum_i s_i f(y_i, x_i^T b + b_0)
        + \alpha \sum_j w_j \left(\rho |b_j| + \tfrac{1 - \rho}{2} |b_j|^2\right)

    For the squared loss, :math:`f = |y_i - z_i|^2 / 2`. For other losses, prox-Newton steps
    solve a sequence of such problems with row weights.

    Parameters
    ----------
    X : ndarray or sparse matrix/array of shape (n_samples, n_features)
        Design, float32, float64 or, for the squared loss, complex. Stored by columns
        (Fortran order, CSC) it is not copied.
    y : ndarray of shape (n_samples,)
        Target, as the loss accepts it.
    penalty : L1, ElasticNet or NonNegative
        Penalty with its strength and weights.
    loss : SquaredLoss, LogisticLoss, MultinomialLoss, HuberLoss or PoissonLoss, optional
        The loss; half the mean squared error by default.
    sample_weight : ndarray of shape (n_samples,), optional
        Row weights :math:`s_i \ge 0`.
    fit_intercept : bool, default=False
        Whether :math:`b_0` is free, and unpenalised; otherwise it is zero.
    coef_init : ndarray of shape (n_features,) or (n_features * n_classes,), optional
        Warm start.
    max_iter : int, default=100
        Largest number of working sets, or of Newton steps where the objective is smooth.
    tol : float, default=1e-6
        The run ends once its certificate is at most ``tol``. For the squared loss that is
        the duality gap, relative to the objective of the best constant model (zero
        without an intercept). For other losses it is the largest distance of the gradient
        to the subdifferential of the penalty, relative to the largest entry of the
        gradient at the best constant model.
    callback : callable, optional
        Called after each working set as SciPy's optimizers do; ``StopIteration`` ends
        the run with the best iterate.

    Returns
    -------
    result : OptimizeResult
        ``x`` (coefficients; for a multinomial loss ``x.reshape(n_features, n_classes)`` holds
        them), ``intercept`` (for a multinomial loss of shape (n_classes,) and with mean zero),
        ``fun`` (the objective above),
        ``certificate`` (as ``tol`` has it), ``dual_gap`` (``fun`` exceeds its minimum by
        at most this), ``nit``, ``success``, ``status``, ``message``, ``history``. For the
        squared loss also ``dual`` (the dual point, shape (n_samples,), in the centred and
        weighted coordinates); for other losses ``kkt`` (the certificate in the units of
        the gradient), and features that are not penalised leave ``dual_gap`` infinite.

    Raises
    ------
    ValueError
        For a loss or penalty that this solver cannot combine, or bad arguments.

    References
    ----------
    Massias, Gramfort, Salmon (2018). Celer: a Fast Solver for the Lasso with Dual
    Extrapolation. ICML.

    Massias, Vaiter, Gramfort, Salmon (2020). Dual Extrapolation for Sparse Generalized
    Linear Models. JMLR 21(234).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import L1, LogisticLoss, coordinate_descent
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> result = coordinate_descent(X, X @ [2.0, 0.0], L1(alpha=0.1))
    >>> result.x.round(3)
    array([1.85, 0.  ])
    >>> result = coordinate_descent(X, [1, -1, 1], L1(alpha=0.1), loss=LogisticLoss())
    >>> result.x.round(3)
    array([ 1.817, -0.16 ])
    """
    loss = SquaredLoss() if loss is None else loss
    _check_combination(loss, penalty)
    check_nonnegative(tol, "tol")
    check_at_least_one(max_iter, "max_iter")
    X, y, sample_weight = check_regression_data(X, y, sample_weight)
    limits = {"max_iter": max_iter, "tol": tol, "callback": callback}
    if not isinstance(loss, SquaredLoss):
        return _prox_newton(X, y, penalty, loss, sample_weight, fit_intercept, coef_init, limits)
    design = make_design(X, sample_weight=sample_weight, fit_intercept=fit_intercept)
    target, target_mean = design.transform_target(y)
    problem = PenalizedLeastSquares(design, target)
    if coef_init is not None:
        problem.set_start(_check_start(coef_init, problem.x))
    result = solve_penalized(problem, penalty, **limits)
    result.intercept = design.intercept(result.x, target_mean)
    result.x = result.x.astype(X.dtype, copy=False)
    return result


def _prox_newton(X, y, penalty, loss, sample_weight, fit_intercept, coef_init, limits):
    # Imported here because it builds on this module.
    from sparseopt.optimize._multinomial import PenalizedMultinomial
    from sparseopt.optimize._prox_newton import PenalizedLoss, solve_smooth

    if np.iscomplexobj(X):
        raise ValueError(f"{type(loss).__name__} needs real data, got complex values.")
    y = loss.check_target(y)
    options = {"sample_weight": sample_weight, "fit_intercept": fit_intercept}
    if isinstance(loss, MultinomialLoss):
        n_classes = loss.count_classes(y)
        problem = PenalizedMultinomial(X, y, loss, n_classes, **options)
    else:
        problem = PenalizedLoss(X, y, loss, **options)
    if coef_init is not None:
        problem.set_start(_check_start(coef_init, problem.x))
    return solve_smooth(problem, penalty, **limits)


def solve_penalized(problem, penalty, *, max_iter, tol, callback=None, warn=True):
    """Run the solver on a posed problem; the loop behind :func:`coordinate_descent`.

    ``problem`` keeps its coefficients, which warm-start a later call with another
    penalty. Returns the same result, without ``intercept``.
    """
    if penalty.positive and np.iscomplexobj(problem.x):
        raise ValueError("positive=True needs real data, got complex values.")
    code, weight = penalty.kernel_code, problem.design.total_weight
    table = weight * penalty.kernel_table(problem.x.size, problem.norms.dtype)
    unit = 0.5 * problem.target_norm_squared or 1.0
    problem.gap_target = 2 * tol * unit
    start = problem.set_penalty(code, table)
    stages = iter(continuation(problem))

    def step(state):
        for factor in stages:
            solve_roughly(state, factor * table)
            return _relative(state.set_penalty(code, table), unit)
        return _relative(state.step(), unit)

    with short_products(problem.design.shape[0] * problem.design.shape[1]):
        result = iterate(
            step,
            problem,
            initial=_relative(start, unit),
            max_iter=max_iter,
            tol=tol,
            callback=callback,
            method=METHOD,
            certificate_name="relative duality gap",
            warn=warn,
        )
    result.fun *= unit / weight
    result.history["objective"] *= unit / weight
    result.dual_gap = result.certificate * unit / weight
    result.dual = problem.dual
    return result


def continuation(problem):
    """Return the factors, in decreasing order, by which to strengthen a weak penalty.

    Close to interpolation a cold start lets in far more features than the solution
    has; rough solutions for stronger penalties keep the support near its final size.
    There is nothing to return if only few features would enter, or for a warm start.
    """
    l1 = problem.table[0].astype(float)
    slope = problem.slope(problem.correlations).astype(float)
    entering = (l1 > 0) & np.isfinite(l1) & (slope > 0)
    many = max(1, problem.residual.size // 10)
    if problem.x.any() or np.count_nonzero(entering) < many:
        return []
    with np.errstate(over="ignore"):
        factors = slope[entering] / l1[entering]
    strongest = min(np.partition(factors, -many)[-many], LARGEST_CONTINUATION)
    if strongest < CONTINUATION_START:
        return []
    n_stages = int(math.log(strongest) / -math.log(CONTINUATION_RATIO))
    return strongest * CONTINUATION_RATIO ** np.arange(1, n_stages + 1)


def solve_roughly(problem, table):
    """Solve for another table, as accurately as a stage of the continuation needs."""
    problem.set_penalty(problem.code, table)
    for _ in range(CONTINUATION_STEPS):
        if problem.gap <= CONTINUATION_GAP * problem.primal:
            break
        problem.step()


def _relative(progress, unit):
    return Progress(progress.objective / unit, progress.certificate / unit, progress.stalled)


def _check_start(coef_init, x):
    coef_init = np.asarray(coef_init)
    if coef_init.shape != x.shape:
        raise ValueError(f"coef_init must have shape {x.shape}, got {coef_init.shape}.")
    if not np.can_cast(coef_init.dtype, x.dtype, "same_kind"):
        raise ValueError(f"coef_init must fit the dtype {x.dtype}, got {coef_init.dtype}.")
    if not np.all(np.isfinite(coef_init)):
        raise ValueError("coef_init must be finite, got NaN or infinite entries.")
    return coef_init


def _check_combination(loss, penalty):
    accepted = (SquaredLoss, LogisticLoss, MultinomialLoss, HuberLoss, PoissonLoss)
    if not isinstance(loss, accepted):
        names = ", ".join(kind.__name__ for kind in accepted)
        raise ValueError(f"loss must be one of {names}, got {loss!r}.")
    if not isinstance(penalty, ElasticNet):
        raise ValueError(
            "coordinate_descent needs a penalty with a kernel form, L1, ElasticNet or "
            f"NonNegative, got {type(penalty).__name__}."
        )
