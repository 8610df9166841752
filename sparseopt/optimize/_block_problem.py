r"""A smooth loss of linear predictions plus a separable penalty, seen by blocks.

Problem, with design ``A`` (n_samples, n_features), real, and sample weights s:

    minimise  F(x) = f(x) + sum_i ( l1_i |x_i| + ridge_i/2 x_i^2 )   [x >= 0],
    f(x) = sum_i s_i loss(y_i, (A x)_i) / sum_i s_i.

The predictions ``z = A x`` are kept up to date. With c the largest second derivative of
the loss and A_b the columns of block b, the Hessian block is bounded by

    H_b = c A_b' diag(s / sum s) A_b,

and for k classes, x (n_features, k) flattened with index ``feature * k + class``, by

    H_b = 1/2 (1[c = c'] - 1/k') a_f' diag(s / sum s) a_f',
    k' = min(k, number of classes in b + 1).

The ridge term counts as part of the smooth function: it adds to every diagonal.

A Poisson loss has no such c. The mean curvature at the best constant model stands in for it as
a scale of scores, and what relies on the bound is not available (``is_bounded``).

With ``fit_intercept``, ``z = A x + b`` and f is the minimum over b, one intercept a class,
which is not penalised. Then ``f`` still has the gradient ``A' (slopes)``, and the bounds hold
with columns from which their means, weighted by s, are subtracted.

Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
JMLR 23(131).
"""

import functools
import math

import numpy as np
from scipy import sparse
from scipy.special import softmax

from sparseopt.optimize._block_columns import BoundColumns
from sparseopt.optimize._block_model import Block, euclidean_norm
from sparseopt.optimize._design import make_design
from sparseopt.optimize._kernels import blocks as kernels
from sparseopt.optimize._losses import HuberLoss, MultinomialLoss, PoissonLoss
from sparseopt.optimize._penalties import NONNEGATIVE_ELASTIC_NET, ElasticNet
from sparseopt.optimize._working_set import penalty_value

LEAST_CURVATURE = 1e-3  # share of the bound
INTERCEPT_ROUNDS = 20


class BlockProblem:
    """The problem at its current point ``x``.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n_samples, n_features)
        Real design.
    y : ndarray of shape (n_samples,)
        Target that the loss accepts.
    loss : object
        A smooth loss of finite curvature.
    penalty : ElasticNet, optional
        L1 or elastic net, possibly with ``positive``; none by default.
    sample_weight : ndarray of shape (n_samples,), optional
        Row weights.
    n_classes : int, optional
        Number of classes of a multinomial loss.
    fit_intercept : bool, default=False
        Whether the intercept is free.

    Attributes
    ----------
    x : ndarray of shape (n_variables,)
        Current point, ``n_variables = n_features * n_classes``.
    intercept : float or ndarray of shape (n_classes,)
        The intercept, which minimises the objective at ``x`` if it is free.
    objective : float
        F(x).
    lipschitz : ndarray of shape (n_variables,)
        Lipschitz constants of the smooth part along each coordinate.
    curvature_estimates : ndarray of shape (n_variables,)
        What the backtracking update keeps about the blocks of each variable.
    usable : ndarray of int
        The variables that may move.
    gradient_is_exact : bool
        Whether the gradient is free of the rounding errors of earlier steps.
    """

    has_engine = True  # the coordinate descent engine solves the same problem

    def __init__(
        self, X, y, loss, penalty=None, sample_weight=None, n_classes=None, fit_intercept=False
    ):
        X = X.astype(np.float64, copy=False)
        self.X, self.design = X, make_design(X)
        self.matrix, self._transposed = self.design.matrix, self.design.matrix.T
        self.y, self.loss, self.sample_weight = y, loss, sample_weight
        self.multinomial = isinstance(loss, MultinomialLoss)
        self.n_classes = n_classes if self.multinomial else 1
        self.n_samples, self.n_features = X.shape
        self.n_variables = self.n_features * self.n_classes
        weights = np.ones(self.n_samples) if sample_weight is None else sample_weight
        self.shares = weights / np.sum(weights)
        self.total_weight = float(np.sum(weights))
        self._set_penalty(penalty)
        self.fit_intercept = fit_intercept
        self.intercept = np.zeros(self.n_classes) if self.multinomial else 0.0
        if fit_intercept:
            self.intercept = loss.best_constant(y, sample_weight)
            centred = make_design(X, sample_weight=sample_weight, fit_intercept=True)
            self.means, squares = centred.mean, centred.column_norms_squared / self.total_weight
        else:
            squares = _weighted_squares(self.matrix, self.shares)
        norms = np.repeat(squares, self.n_classes)
        self.is_bounded = math.isfinite(loss.curvature)
        self.curvature = loss.curvature if self.is_bounded else self._typical_curvature()
        smooth = loss.lipschitz(norms, 1.0) if self.is_bounded else self.curvature * norms
        self.lipschitz = smooth + self.ridge
        self.curvature_estimates = self.lipschitz.copy()
        self.usable = np.flatnonzero((self.lipschitz > 0) & np.isfinite(self.l1))
        self._bound_columns = BoundColumns(self)
        self.move_to(np.zeros(self.n_variables))
        self.gradient_scale, self._intercept_unit = self._units(norms)

    def _set_penalty(self, penalty):
        penalty = ElasticNet(0.0) if penalty is None else penalty
        self.table = np.repeat(penalty.kernel_table(self.n_features), self.n_classes, axis=1)
        self.code = penalty.kernel_code
        self.l1, self.ridge = self.table
        self.positive = self.code == NONNEGATIVE_ELASTIC_NET
        self.is_smooth = not self.positive and not np.any(self.l1[np.isfinite(self.l1)])

    def _typical_curvature(self):
        """Return the mean second derivative at the best constant model."""
        constant = np.full(self.n_samples, self.intercept)
        return float(np.sum(self.loss.hessian_diagonal(self.y, constant, self.sample_weight)))

    @property
    def is_quadratic(self):
        """Whether the bound on the Hessian is the Hessian."""
        return self.loss.kernel_code == 0

    def move_to(self, x):
        """Take ``x`` as the current point; unusable and forbidden values become zero."""
        usable = np.zeros(self.n_variables, dtype=bool)
        usable[self.usable] = True
        self.x = self.project(np.where(usable, x, 0.0))
        self._set_predictions(self.predict(self.x))
        self.objective = self._objective(self.predictions, self._penalty(slice(None), self.x))
        self._minimize_over_intercept()

    def project(self, x, at=slice(None)):
        """Return the point that the constraints allow closest to ``x``, the variables ``at``."""
        return np.maximum(x, 0.0) if self.positive else x

    def is_free(self, x, at=slice(None)):
        """Return which of the variables ``at`` are off the kink or bounds of the penalty."""
        return x != 0

    def prox(self, point, curvature, at):
        """Return ``argmin_z curvature/2 ||z - point||^2`` plus the l1 part or constraint."""
        if self.positive:
            return np.maximum(point - self.l1[at] / curvature, 0.0)
        return np.sign(point) * np.maximum(np.abs(point) - self.l1[at] / curvature, 0.0)

    def block_table(self, at):
        """Return the kernel table of the block models: their Hessian has the ridge."""
        return np.array([self.l1[at], np.zeros_like(self.l1[at])])

    def cost_change(self, block, new):
        """Return by how much the l1 part of a block grows from the current point to ``new``."""
        sign = np.where(block.x != 0, np.sign(block.x), np.sign(new))
        grown = np.where(sign * new < 0, np.abs(new) - np.abs(block.x), sign * (new - block.x))
        return float(block.l1 @ grown)

    def refresh(self):
        """Recompute the predictions, which collect rounding errors."""
        self.move_to(self.x)

    def predict(self, x, intercept=None):
        """Return ``A x + b``, of shape (n_samples,) or (n_samples, n_classes)."""
        return self._image(x) + (self.intercept if intercept is None else intercept)

    def _image(self, x):
        if self.multinomial:
            return self.matrix @ x.reshape(self.n_features, -1)
        return self.design.predict(x)

    def correlate(self, residual):
        """Return ``A' r`` as a flat array; 2 nnz flops a class."""
        return np.ravel(self._transposed @ residual)

    @property
    def gradient(self):
        """The gradient of the smooth part, computed once a point."""
        if self._gradient is None:
            self._gradient = self.correlate(self.slopes) + self.ridge * self.x
        return self._gradient

    @property
    def slopes(self):
        """The gradient with respect to the predictions, computed once a point."""
        if self._slopes is None:
            self._slopes = self.loss.gradient(self.y, self.predictions, self.sample_weight)
        return self._slopes

    @property
    def curvatures(self):
        """The second derivatives with respect to the predictions, once a point."""
        if self._curvatures is None:
            arguments = (self.y, self.predictions, self.sample_weight)
            self._curvatures = self.loss.hessian_diagonal(*arguments)
        return self._curvatures

    @property
    def model_curvatures(self):
        """The curvatures of Newton's model, those of a Huber loss kept from vanishing.

        Samples on its linear parts have none: Newton's system would be singular.
        """
        if not isinstance(self.loss, HuberLoss):
            return self.curvatures
        return (1 - LEAST_CURVATURE) * self.curvatures + LEAST_CURVATURE * self.shares

    def intercept_hessian(self, curvatures):
        """Return the second derivatives by the intercepts, (n_classes, n_classes)."""
        if not self.multinomial:
            return np.array([[float(np.sum(curvatures))]])
        mass = self.shares[:, None] * self.probabilities
        return np.diag(mass.sum(axis=0)) - mass.T @ self.probabilities

    @property
    def intercept_slope(self):
        """The largest derivative by a free intercept, in the units of the gradient."""
        if not self.fit_intercept:
            return 0.0
        return self._intercept_unit * float(np.max(np.abs(np.sum(self.slopes, axis=0))))

    def _units(self, norms):
        """Return the largest entry of the gradient, and what a unit of a sample's slope is worth.

        A gradient that rounding alone keeps from zero gives no unit; the largest that it
        could have been does. The predictions are no more accurate than their rounding
        either, which is all that is left of the slopes if a constant fits the target.
        """
        counted = self.shares > 0
        slopes = np.abs(self.slopes[counted])
        possible = slopes + self.curvatures[counted] * np.abs(self.predictions[counted])
        # Cauchy's inequality, with the roots of the shares on both sides.
        shared = possible.T / np.sqrt(self.shares[counted])
        longest = math.sqrt(np.max(norms[self.usable], initial=0.0))
        bound = euclidean_norm(np.ravel(shared)) * longest
        rounding = 10 * np.finfo(float).eps
        largest = float(np.max(np.abs(self.gradient[self.usable]), initial=0.0))
        largest = largest if largest > rounding * bound else bound
        total, most = float(np.sum(slopes)), float(np.sum(possible))
        total = total if total > rounding * most else most
        return largest or 1.0, (largest / total or 1.0) if total > 0 else 1.0

    def _minimize_over_intercept(self):
        """Take Newton steps in the intercept, or those of the bound where Newton's ascend."""
        for _ in range(INTERCEPT_ROUNDS if self.fit_intercept else 0):
            slopes = np.atleast_1d(np.sum(self.slopes, axis=0))
            if np.all(np.abs(slopes) <= 10 * np.finfo(float).eps * np.sum(np.abs(self.slopes))):
                return
            hessian = self.intercept_hessian(self.model_curvatures)
            newton = -np.linalg.pinv(hessian, hermitian=True) @ slopes
            if isinstance(self.loss, PoissonLoss):  # exactly, where Newton may go too far
                newton = -np.log1p(slopes / (self.shares @ self.y))
            if not self._shift_intercept(newton, slopes):
                if not self._shift_intercept(-slopes / self.curvature, slopes):
                    return  # rounding forbids more

    def _shift_intercept(self, change, slopes):
        """Change the intercept if that lowers the loss, or the slope where it is level."""
        change = change if self.multinomial else float(change[0])
        before = self.loss.value(self.y, self.predictions, self.sample_weight)
        predictions = self.predictions + change
        gain = before - self.loss.value(self.y, predictions, self.sample_weight)
        rounding = 10 * np.finfo(float).eps * abs(before)
        if abs(gain) <= rounding:
            new = np.sum(self.loss.gradient(self.y, predictions, self.sample_weight), axis=0)
            if not np.max(np.abs(new)) < 0.5 * np.max(np.abs(slopes)):
                return False
        elif not gain > 0:
            return False
        exact = self.gradient_is_exact
        self._set_predictions(predictions)
        self.gradient_is_exact = exact
        self.intercept = self.intercept + change
        self.objective -= gain
        return True

    @property
    def probabilities(self):
        """The class probabilities of a multinomial loss, once a point."""
        if self._probabilities is None:
            self._probabilities = softmax(self.predictions, axis=1)
        return self._probabilities

    def block(self, indices):
        """Return the :class:`Block` of the variables ``indices`` at the current point."""
        return Block(self, indices)

    def apply(self, step):
        """Move to where ``step`` leads.

        The gradient of a quadratic moves along, if the columns of its Hessian are at hand.
        """
        indices, gradient = step.block.indices, self._gradient
        # Rounding must not leave the constraint.
        self.x[indices] = self.project(self.x[indices] + step.change, indices)
        self._set_predictions(step.predictions)
        self.intercept, self.objective = step.intercept, step.objective
        self._minimize_over_intercept()
        if gradient is not None and self.is_quadratic and self._bound_columns.hold(indices):
            self._gradient = gradient + self.bound_product(indices, step.change)
            self.gradient_is_exact = False

    def subdifferential_distance(self):
        """Return for each variable how far the objective is from stationary there."""
        x, gradient, l1 = self.x, self.gradient, self.l1
        distance = np.zeros(self.n_variables)
        at = self.usable
        x, gradient, l1 = x[at], gradient[at], l1[at]
        outside = -gradient if self.positive else np.abs(gradient)
        at_zero = np.maximum(outside - l1, 0.0)
        distance[at] = np.where(x == 0, at_zero, np.abs(gradient + l1 * np.sign(x)))
        return distance

    def prox_scores(self, gradient=None):
        """Return for each variable twice the guaranteed progress of its prox step.

        ``gradient`` replaces the gradient at the current point. The score is
        ``max_d -2 (g_i d + L_i/2 d^2 + l1_i |x_i + d| - l1_i |x_i|)``, which is
        ``g_i^2 / L_i`` without an l1 part or constraint.
        """
        gradient = self.gradient if gradient is None else gradient
        scores = np.zeros(self.n_variables)
        kernels.prox_progress(
            self.x, gradient, self.lipschitz, self.l1, self.positive, self.usable, scores
        )
        return scores

    def bound_product(self, indices, d):
        """Return the columns ``indices`` of the global bound on the Hessian, times d."""
        rows = self._bound_columns.rows(indices)
        if rows is not None:
            return d @ rows
        return self._multiply_bound(indices, d)

    def grow_block(self, size):
        """Return ``size`` variables for gsq, found with kept columns of the bound, or None.

        The columns serve if the objective is smooth and they are the bound of each block
        too, which they are not for several classes.
        """
        if not self.is_smooth or self.multinomial:
            return None
        return self._bound_columns.grow(self.gradient, size)

    def _multiply_bound(self, indices, d):
        image = self._bound_times(self.block(indices).raw_predict(d))
        if self._rows is None:
            product = self.correlate(image)
        else:
            product = np.zeros((self.n_features, self.n_classes))
            matrix, residual = self._rows, image.reshape(self.n_samples, -1)
            kernels.correlate_rows(matrix.data, matrix.indices, matrix.indptr, residual, product)
            product = product.ravel()
        self._centre(product, image)
        product[indices] += self.ridge[indices] * d
        return product

    def write_bound_column(self, index, out):
        """Write one column of the global bound on the Hessian to ``out``."""
        if self._rows is None or self.multinomial:
            out[:] = self._multiply_bound(np.array([index]), np.ones(1))
            return
        column, rows = self.matrix, self._rows
        out[:] = 0.0
        total = kernels.bound_column(
            column.data, column.indices, column.indptr, rows.data, rows.indices, rows.indptr,
            self.curvature * self.shares, index, out,
        )  # fmt: skip
        if self.fit_intercept:
            out -= total * self.means
        out[index] += self.ridge[index]

    def _centre(self, product, image):
        """Subtract from ``A' image`` what the means of the columns contribute."""
        if self.fit_intercept:
            product -= np.ravel(np.multiply.outer(self.means, np.sum(image, axis=0)))

    @functools.cached_property
    def _rows(self):
        """A sparse design by rows: few of them meet a block."""
        return self.matrix.tocsr() if sparse.issparse(self.matrix) else None

    def bound_times(self, d):
        """Return the global bound on the Hessian times the full vector ``d``."""
        image = self._bound_times(self._image(d))
        product = self.correlate(image)
        self._centre(product, image)
        return product + self.ridge * d

    def _bound_times(self, z):
        if self.multinomial:
            return 0.5 * self.shares[:, None] * (z - z.mean(axis=1, keepdims=True))
        return self.curvature * self.shares * z

    @functools.cached_property
    def largest_curvature(self):
        """The largest eigenvalue of the global bound on the Hessian, by power iteration."""
        vector = np.random.default_rng(0).standard_normal(self.n_variables)
        value = 0.0
        for _ in range(1000):
            vector /= euclidean_norm(vector)
            image = self.bound_times(vector)
            before, value = value, euclidean_norm(image)
            if value == 0 or abs(value - before) <= 1e-10 * value:
                break
            vector = image
        return value

    def _set_predictions(self, predictions):
        self.predictions = predictions
        self.gradient_is_exact = True
        self._gradient = self._slopes = self._curvatures = self._probabilities = None

    def _penalty(self, at, values):
        """Return the penalty of ``values`` at the variables ``at``, ridge included."""
        return penalty_value(self.table[:, at], values)

    def _objective(self, predictions, penalty):
        return self.loss.value(self.y, predictions, self.sample_weight) + penalty


def _weighted_squares(matrix, shares):
    if sparse.issparse(matrix):
        return np.asarray(matrix.power(2).T @ shares).ravel()
    return np.einsum("ij,ij,i->j", matrix, matrix, shares)
