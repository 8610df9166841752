r"""Working-set prox-Newton for penalised smooth losses.

Problem:

    minimise  F(x, b) = sum_i s_i f(y_i, z_i) / sum_i s_i + sum_j penalty_j(x_j),
    z = X x + b 1,

f convex and twice differentiable but for kinks of its derivative, the intercept b
optional and free of penalty, X (n_samples, n_features) real. Outer iterations choose a
working set by distance to the optimality conditions, as in [1]. On it, each Newton step
replaces the loss by its second-order model, a least-squares problem with row weights,
which the engine of ``_working_set`` solves with the penalty; a line search follows.
Coefficients whose sign has settled then move by Newton steps of the loss itself. Where
the penalty is smooth, truncated Newton steps of the whole problem take the place of
working sets (``_truncated_newton``). The multinomial loss has working sets of its own
(``_multinomial``).

The stopping rule is the largest distance of the gradient to the subdifferential, relative
to the largest entry of the gradient at the best constant model. The derivative in the
intercept counts relative to the sum of the moduli of the samples' derivatives there, so
that the rule does not depend on the unit of X. A duality gap certifies
the result: with the weighted slopes u_i = s_i f'(z_i) / sum_i s_i, shrunk until they sum to
zero (with an intercept) and X'u meets the bounds of the penalty, the dual value is

    D(u) = -sum_i s_i f*(u_i sum s / s_i) / sum_i s_i - penalty*(-X'u).

[1] Massias, Vaiter, Gramfort, Salmon (2020). Dual Extrapolation for Sparse Generalized
    Linear Models. JMLR 21(234).
[2] Lee, Sun, Saunders (2014). Proximal Newton-Type Methods for Minimizing Composite
    Functions. SIAM J. Optim. 24(3).
"""

import dataclasses
import math

import numpy as np
from scipy import sparse

from sparseopt._core import Progress, check_penalty_weights, iterate, short_products
from sparseopt.optimize._coordinate_descent import PenalizedLeastSquares
from sparseopt.optimize._design import make_design
from sparseopt.optimize._gram_cache import GramCache
from sparseopt.optimize._kernels import losses as kernels
from sparseopt.optimize._losses import LogisticLoss, MultinomialLoss
from sparseopt.optimize._penalties import NONNEGATIVE_ELASTIC_NET, ElasticNet
from sparseopt.optimize._restricted_loss import RestrictedLoss
from sparseopt.optimize._separability import warn_if_separable
from sparseopt.optimize._truncated_newton import SmoothRestriction
from sparseopt.optimize._working_set import WorkingSetProblem, penalty_value

METHOD = "Prox-Newton coordinate descent"
MODEL_FRACTION = 0.1  # of its gap, the accuracy asked of a second-order model
MAX_NEWTON_STEPS = 30
SMALLEST_WORKING_SET = 50
WORKING_SET_GROWTH = 2
SMALL_BLOCK = 10_000  # entries
# Losses with enough curvature everywhere for plain Newton steps.
TWICE_DIFFERENTIABLE = (LogisticLoss, MultinomialLoss)


class PenalizedLoss:
    """State of the solver; reused along a path of penalties.

    Parameters
    ----------
    X : ndarray or sparse container of shape (n_samples, n_features)
        Real design, as :func:`check_regression_data` returns it.
    y : ndarray of shape (n_samples,)
        Target that the loss accepts.
    loss : LogisticLoss, HuberLoss or PoissonLoss
        The loss.
    sample_weight : ndarray of shape (n_samples,), optional
        Row weights.
    fit_intercept : bool, default=False
        Whether the intercept is free.

    Attributes
    ----------
    x : ndarray of shape (n_features,)
        Coefficients.
    intercept : float
        Intercept.
    predictions : ndarray of shape (n_samples,)
        ``X x + intercept``.
    objective, violation : float
        F, and the largest distance to the optimality conditions.
    best_intercept : float
        Intercept of the iterate with the smallest violation since the penalty was set.
    unit, intercept_scale : float
        Largest entry of the gradient at the best constant model; its ratio to the sum of the
        moduli of the samples' derivatives there.
    """

    n_outputs = 1  # coefficients of a feature
    smallest_working_set = SMALLEST_WORKING_SET
    inner_fraction = 0.5  # of the violation, the accuracy asked of a working set

    def __init__(self, X, y, loss, *, sample_weight=None, fit_intercept=False):
        self.design = make_design(X)
        self.norms = self._spread(np.sqrt(self.design.column_norms_squared))
        self.y, self.loss, self.fit_intercept = y, loss, fit_intercept
        self.sample_weight = sample_weight
        weights = np.ones(len(y)) if sample_weight is None else sample_weight.astype(float)
        self.shares = (weights / weights.sum()).astype(X.dtype)
        self.constant = self._best_constant(sample_weight)
        self.derivatives, self.curvatures = np.empty((2, len(y)), X.dtype)
        self.set_start(np.zeros(self.norms.size))
        self.differentiate()
        self.gradient = self.correlate(self.derivatives)
        self.unit, self.intercept_scale = self._units()
        self._gradient_is_current = True
        self.accuracy = 0.0  # no working set is solved much more accurately than this

    def set_start(self, x, intercept=None):
        """Start from the coefficients ``x``, and the best constant model's intercept."""
        self.x = np.array(x, dtype=self.design.dtype)
        self.intercept = self.constant if intercept is None else intercept
        self.predictions = self.predict(self.x, self.intercept)
        self._gradient_is_current = False

    def set_penalty(self, penalty):
        """Pose the problem with a new penalty; the coefficients stay as a warm start."""
        if penalty.weights is not None:
            penalty = dataclasses.replace(penalty, weights=self._spread(penalty.weights))
        self.penalty = penalty
        self.code = penalty.kernel_code
        self.table = penalty.kernel_table(self.x.size, self.design.dtype)
        excluded = np.isinf(self.table[0]) | (self.norms == 0)
        forbidden = excluded & (self.x != 0)
        if self.code == NONNEGATIVE_ELASTIC_NET:
            forbidden |= self.x < 0
        if forbidden.any():
            self.set_start(np.where(forbidden, 0, self.x), self.intercept)
        self.candidates = np.flatnonzero(~excluded)
        self._steps_without_progress = 0
        self._best_violation = math.inf
        self._smooth = None
        is_smooth = (
            self.code != NONNEGATIVE_ELASTIC_NET and not self.table[0, self.candidates].any()
        )
        if is_smooth and isinstance(self.loss, TWICE_DIFFERENTIABLE):
            self._smooth = SmoothRestriction(self, self.candidates)
        return self._certify()

    def alpha_max(self, penalty):
        """Return the smallest strength of ``penalty`` for which the solution is zero.

        "Zero" leaves unpenalised coefficients free. The strength of ``penalty`` itself
        does not matter; the coefficients are reset.
        """
        self.set_start(np.zeros_like(self.x))
        weights = check_penalty_weights(penalty.weights, self.design.shape[1], dtype=self.x.dtype)
        free = np.where(weights == 0, 0, np.inf)
        solve_smooth(
            self, ElasticNet(0.0, weights=free), max_iter=100, tol=1e-8, warn=False, gap=False
        )
        penalty = dataclasses.replace(penalty, weights=self._spread(weights))
        largest = penalty.alpha_max(self.gradient)
        self.set_start(np.zeros_like(self.x))
        return largest

    def step(self):
        """Solve the problem on a working set, then certify the result."""
        before = (self.objective, self.violation)
        working_set = self._smooth
        if working_set is None:
            working_set = self._working_set(self._choose_working_set())
        working_set.solve(self.inner_fraction * max(self.violation, self.accuracy))
        self.normalise()
        self.predictions = self.predict(self.x, self.intercept)
        self._gradient_is_current = False
        progress = self._certify()
        return progress._replace(stalled=self._has_stalled(*before))

    def dual_gap(self):
        """Return a bound on how far F is from its minimum at the current coefficients.

        It is infinite if unpenalised features leave no dual point.
        """
        if not self._gradient_is_current:
            self._certify()
        slopes, gradient = self._dual_slopes()
        candidates = self.candidates
        slope = -gradient if self.code == NONNEGATIVE_ELASTIC_NET else np.abs(gradient)
        slope = slope[candidates].astype(float)
        l1, ridge = self.table[:, candidates].astype(float)
        hard = (ridge == 0) & (slope > 0)
        scale = min(1.0, float(np.min(l1[hard] / slope[hard], initial=1.0)))
        if scale == 0:
            return math.inf
        soft = ridge > 0
        excess = np.maximum(scale * slope[soft] - l1[soft], 0)
        dual = -self.loss.conjugate(self.y, scale * slopes, self.shares.astype(float))
        dual -= 0.5 * float(np.sum(excess**2 / ridge[soft]))
        return max(float(self.objective) - dual, 0.0)

    def loss_value(self, predictions):
        """Return the loss of ``predictions``."""
        return kernels.weighted_loss(
            self.loss.kernel_code, self.loss.kernel_parameter, self.y, predictions, self.shares
        )

    def predict(self, x, intercept):
        """Return ``X x + intercept``."""
        return self.design.predict(x) + self.design.dtype.type(intercept)

    def correlate(self, derivatives):
        """Return ``X' derivatives``."""
        return self.design.correlate(derivatives)

    def differentiate(self):
        """Compute the derivatives and curvatures of the loss at the predictions."""
        kernels.weighted_derivatives(
            self.loss.kernel_code, self.loss.kernel_parameter, self.y, self.predictions,
            self.shares, self.derivatives, self.curvatures,
        )  # fmt: skip

    def hessian_diagonal(self):
        """Return the diagonal of the Hessian of the loss in the predictions."""
        return self.curvatures

    def hessian_product(self, change):
        """Return the Hessian of the loss in the predictions, times a change of them."""
        return self.curvatures * change

    def mean_hessian(self):
        """Return the mean Hessian of a sample, (n_outputs, n_outputs)."""
        return np.array([[float(np.sum(self.curvatures))]])

    def intercept_violation(self):
        """Return the largest derivative in an intercept, in the units of the gradient."""
        if not self.fit_intercept:
            return 0.0
        return self.intercept_scale * float(np.max(np.abs(self.derivatives.sum(axis=0))))

    def _units(self):
        """Return the largest entry of the gradient, and what one slope of a sample is worth.

        A gradient that only rounding errors separate from zero, as constant features and an
        intercept have it, gives no unit; the largest that it could have been does.
        """
        largest = float(np.max(np.abs(self.gradient), initial=0.0))
        possible = float(np.linalg.norm(self.derivatives)) * float(np.max(self.norms, initial=0.0))
        if largest <= 10 * np.finfo(self.x.dtype).eps * possible:
            largest = possible
        total = float(np.sum(np.abs(self.derivatives)))
        return largest or 1.0, (largest / total or 1.0) if total > 0 else 1.0

    def _spread(self, values):
        """Return what holds for features as an array over coefficients."""
        return values

    def _best_constant(self, sample_weight):
        return self.loss.best_constant(self.y, sample_weight) if self.fit_intercept else 0.0

    def normalise(self):
        """Choose among points of equal predictions and objective."""

    def _working_set(self, columns):
        return WorkingSet(self, columns)

    def _dual_slopes(self):
        """Return slopes that suit the free intercept, and the gradient that they give."""
        shares = self.shares.astype(float)
        slopes = self.loss._derivatives(self.y.astype(float), self.predictions.astype(float))
        slopes = np.where(shares > 0, slopes, 0)
        if not self.fit_intercept:
            return slopes, self.gradient
        slopes = _balanced(slopes, shares)
        return slopes, self.correlate((shares * slopes).astype(self.design.dtype))

    def _certify(self):
        if not self._gradient_is_current:
            self.differentiate()
            self.gradient = self.correlate(self.derivatives)
            self._gradient_is_current = True
        self.objective = self.loss_value(self.predictions) + penalty_value(self.table, self.x)
        distance = self.penalty.subdifferential_distance(self.x, self.gradient)
        self.violation = float(np.max(distance[self.candidates], initial=0.0))
        self.violation = max(self.violation, self.intercept_violation())
        if not self.violation > self._best_violation:
            self._best_violation, self.best_intercept = self.violation, self.intercept
        return Progress(float(self.objective), self.violation)

    def _choose_working_set(self):
        candidates = self.candidates
        gradient = self.gradient[candidates]
        slope = -gradient if self.code == NONNEGATIVE_ELASTIC_NET else np.abs(gradient)
        priority = (self.table[0, candidates] - slope) / self.norms[candidates]
        kept = (self.x[candidates] != 0) | (self.table[0, candidates] == 0)
        priority[kept] = -math.inf
        size = max(self.smallest_working_set, WORKING_SET_GROWTH * np.count_nonzero(kept))
        if size >= candidates.size:
            return candidates
        return np.sort(candidates[np.argpartition(priority, size)[:size]])

    def _has_stalled(self, objective_before, violation_before):
        rounding = 10 * np.finfo(self.x.dtype).eps * abs(objective_before)
        moved = self.objective < objective_before - rounding
        moved |= self.violation < 0.9 * violation_before
        self._steps_without_progress = 0 if moved else self._steps_without_progress + 1
        return self._steps_without_progress >= 3


class WorkingSet(RestrictedLoss):
    """The problem of a loss of one output restricted to some columns."""

    def solve(self, accuracy):
        """Take Newton steps until the violation is at most ``accuracy``."""
        parent = self.parent
        for _ in range(MAX_NEWTON_STEPS):
            if not self._model_step():
                break
            parent.differentiate()
            suffices = self._violation() <= accuracy
            # Where a Newton step costs no more than the epochs just run, its accuracy is free.
            if not self._support_step_pays(5 if suffices else 100):
                if suffices:
                    break
                continue
            self._support_step()
            parent.differentiate()
            if suffices or self._violation() <= accuracy:
                break

    def _gather(self):
        """Copy the columns, which are visited many times."""
        self.block = compact(self.parent.design.matrix[:, self.columns])

    def _predict(self, step, shift):
        """Return the change of the predictions by a step of x and a shift of the intercept."""
        return self.block @ step + self.parent.predictions.dtype.type(shift)

    def _correlate(self, derivatives):
        return self.block.T @ derivatives

    def _model_step(self):
        """Minimise the second-order model and the penalty, then search along the line."""
        parent = self.parent
        kernels.weighted_model(
            parent.loss.kernel_code, parent.loss.kernel_parameter, parent.y, parent.predictions,
            parent.shares, parent.curvatures,
        )  # fmt: skip
        x = self.x
        if not parent.curvatures.any():
            return False
        design, scale = self._weighted_design(self.block)
        response = parent.predictions - _divide(parent.derivatives, parent.curvatures)
        target, mean = design.transform_target(response)
        model = PenalizedLeastSquares(design, target)
        model.set_start(x)
        model.set_penalty(parent.code, self.table / scale)
        positions = model.candidates
        new = model.x.copy()
        if positions.size:
            new[positions] = WorkingSetProblem(model, positions).solve(MODEL_FRACTION * model.gap)
        shift = float(design.intercept(new, mean)) - parent.intercept if parent.fit_intercept else 0
        return self._move(new - x, shift)

    def _support_step(self):
        """Take a Newton step of the loss on the support, with the signs as they are."""
        parent = self.parent
        x = self.x
        support = np.flatnonzero(x)
        l1, ridge = self.table[:, support]
        block = self.block[:, support]
        if not parent.curvatures.any():
            return
        design, scale = self._weighted_design(block)
        slope, total = float(np.sum(parent.derivatives)), float(np.sum(parent.curvatures))
        gradient = block.T @ parent.derivatives + l1 * np.sign(x[support]) + ridge * x[support]
        if parent.fit_intercept:
            gradient = gradient - design.mean * slope
        usable = np.flatnonzero(design.column_norms_squared > 0)
        if usable.size == 0:
            return
        direction = np.zeros_like(gradient)
        solution = GramCache(design).solve(usable, ridge[usable] / scale, -gradient[usable] / scale)
        if solution is None:
            return
        direction[usable] = solution
        step = np.zeros_like(x)
        moved = x[support] + direction
        step[support] = np.where(moved * x[support] > 0, direction, -x[support])
        shift = 0.0
        if parent.fit_intercept:
            shift = -slope / total - float(design.mean @ step[support])
        self._move(step, shift)

    def _support_step_pays(self, replaced_epochs):
        """Tell whether a Newton step on the support costs less than so many epochs.

        An epoch costs two flops for each stored entry of the working set, the Gram matrix
        of s of its columns about s / 2 epochs of these columns, and its factor s^3/3.
        """
        size = np.count_nonzero(self.x)
        epoch = 2 * (self.block.nnz if sparse.issparse(self.block) else self.block.size)
        cost = size**2 / (2 * self.columns.size) * epoch + size**3 / 3
        return 0 < size <= min(len(self.parent.y), 4096) and cost <= replaced_epochs * epoch

    def _weighted_design(self, block):
        """Return the design that the curvatures weigh, in units that do not underflow."""
        parent = self.parent
        scale = float(np.max(parent.curvatures))
        weights = parent.curvatures / scale
        return make_design(block, sample_weight=weights, fit_intercept=parent.fit_intercept), scale


def compact(block):
    """Return a sparse block as a dense one where its overhead exceeds what it saves."""
    entries = block.shape[0] * block.shape[1]
    if sparse.issparse(block) and entries <= max(SMALL_BLOCK, 3 * block.nnz):
        return block.toarray(order="F")
    return block


def _balanced(slopes, shares):
    """Shrink the positive or the negative slopes so that their weighted sum is zero."""
    above, below = slopes > 0, slopes < 0
    up, down = float(shares[above] @ slopes[above]), -float(shares[below] @ slopes[below])
    if up > down:
        return np.where(above, slopes * (down / up), slopes)
    return np.where(below, slopes * (up / down), slopes) if down > 0 else slopes


def _divide(derivatives, curvatures):
    """Return the quotient; rows without curvature have no weight."""
    return np.divide(derivatives, curvatures, out=np.zeros_like(derivatives), where=curvatures > 0)


def solve_smooth(problem, penalty, *, max_iter, tol, callback=None, warn=True, gap=True):
    """Run the solver on a posed problem.

    ``problem`` keeps its coefficients, which warm-start a later call with another
    penalty. The result has ``intercept``, ``dual_gap`` if asked for with ``gap``, and
    ``kkt``, the violation in the units of the gradient, beside what :func:`iterate` returns.
    """
    problem.accuracy = tol * problem.unit
    start = problem.set_penalty(penalty)

    def relative(progress):
        return progress._replace(certificate=progress.certificate / problem.unit)

    with short_products(problem.design.shape[0] * problem.design.shape[1]):
        result = iterate(
            lambda state: relative(state.step()),
            problem,
            initial=relative(start),
            max_iter=max_iter,
            tol=tol,
            callback=callback,
            method=METHOD,
            certificate_name="relative violation of the optimality conditions",
            warn=warn,
        )
    result.intercept = problem.best_intercept
    result.kkt = result.certificate * problem.unit
    if problem.violation > problem._best_violation:
        problem.set_start(result.x, result.intercept)
    if gap:
        result.dual_gap = problem.dual_gap()
    if warn:
        penalty_there = penalty_value(problem.table, problem.x)
        warn_if_separable(
            problem.loss, problem.y, problem.predictions, problem.shares, penalty_there
        )
    return result
