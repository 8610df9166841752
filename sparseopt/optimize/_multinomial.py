r"""Working-set prox-Newton for the multinomial loss.

Problem, with coefficients x (n_features, n_classes) and intercepts b (n_classes,):

    minimise  F(x, b) = sum_i s_i (log sum_c exp z_ic - z_{i y_i}) / sum_i s_i
                        + sum_jc penalty_j(x_jc),          z = X x + 1 b',

the state and the stopping rule as in ``_prox_newton``, the coefficients flattened with
index ``feature * n_classes + class``. A working set holds pairs of a feature and a class.
On it, coordinate descent minimises the exact second-order model (see
``_kernels.multinomial``: a visit costs as little as for two classes). The Newton steps on
the support, and those of a smooth penalty, solve

    H d = -gradient,   H = X' diag(s) (diag(p) - p p') X + ridge   (in the pairs, and b)

by conjugate gradients, only as exactly as the distance to the solution asks [1]: H meets a
vector at the cost of its predictions and of their gradient. The dual point is that of the
class probabilities, moved between classes until each has the share of its samples, as an
intercept asks.

A shift of all classes by the same amount changes no probability. Of solutions that differ
by that alone, the one reported has intercepts and unpenalised coefficients of mean zero,
and a zero coefficient wherever the l1 norm lets signs balance.

[1] Dembo, Eisenstat, Steihaug (1982). Inexact Newton Methods. SIAM J. Numer. Anal. 19(2).
"""

import numpy as np
from scipy import sparse

from sparseopt.optimize._class_shifts import best_shifts
from sparseopt.optimize._kernels import multinomial as kernels
from sparseopt.optimize._pairs import Pairs, solve_directly
from sparseopt.optimize._penalties import NONNEGATIVE_ELASTIC_NET
from sparseopt.optimize._prox_newton import PenalizedLoss, WorkingSet, compact
from sparseopt.optimize._truncated_newton import MAX_PRODUCTS, AllColumns, newton_direction

MODEL_EPOCHS = 200
MODEL_FRACTION = 0.1  # of the violation, the accuracy asked of a second-order model
LEAST_PROBABILITY = 1e-3  # of the label, in models
MAX_SUPPORT_STEPS = 20
SUPPORT_FRACTION = 1e-8  # of the accuracy asked of a working set, that asked of its support
SETTLED = 0.02  # of the support, may change in a model before Newton steps on it
LARGEST_MEAN = 0.1  # of the root mean square of a column, that needs no centring


class PenalizedMultinomial(PenalizedLoss):
    """State of the solver; reused along a path of penalties.

    Parameters
    ----------
    X : ndarray or sparse container of shape (n_samples, n_features)
        Real design.
    y : ndarray of shape (n_samples,)
        Labels 0, ..., n_classes - 1.
    loss : MultinomialLoss
        The loss.
    n_classes : int
        Number of classes.
    sample_weight : ndarray of shape (n_samples,), optional
        Row weights.
    fit_intercept : bool, default=False
        Whether the intercepts are free. They are reported with mean zero.

    Attributes
    ----------
    x : ndarray of shape (n_features * n_classes,)
        Coefficients.
    intercept : ndarray of shape (n_classes,)
        Intercepts.
    predictions, probabilities : ndarray of shape (n_samples, n_classes)
        ``X x + intercept``, and their softmax; stored by class.
    """

    inner_fraction = 0.3  # rougher working sets save nothing here

    def __init__(self, X, y, loss, n_classes, *, sample_weight=None, fit_intercept=False):
        self.n_classes = self.n_outputs = n_classes
        self.prefers_factors = False
        self.rows = np.arange(len(y))
        self._last = None, None
        self.smallest_working_set = 10 * n_classes
        super().__init__(X, y, loss, sample_weight=sample_weight, fit_intercept=fit_intercept)

    def predict(self, x, intercept):
        """Return ``X x + intercept``, stored by classes."""
        coef = x.reshape(-1, self.n_classes)
        used = np.flatnonzero(coef.any(axis=1))
        columns = AllColumns(self.design.matrix[:, used], self.n_classes)
        return columns.predict(coef[used].ravel(), np.asarray(intercept, self.design.dtype))

    def correlate(self, derivatives):
        """Return ``X' derivatives``, flattened."""
        return AllColumns(self.design.matrix, self.n_classes).correlate(derivatives)

    def loss_value(self, predictions):
        """Return the loss of ``predictions``."""
        losses, _, _ = self._softmax(predictions)
        counted = self.shares > 0
        return float(self.shares[counted] @ losses[counted])

    def differentiate(self):
        """Compute the class probabilities and the derivatives at the predictions."""
        _, self.probabilities, others = self._softmax(self.predictions)
        self.weighted = self.shares[:, None] * self.probabilities
        self.derivatives = self.weighted.copy(order="F")
        self.derivatives[self.rows, self.y] = -self.shares * others  # no cancellation

    def hessian_diagonal(self):
        """Return the diagonal of the Hessian of the loss in the predictions."""
        return self.weighted * (1 - self.probabilities)

    def hessian_product(self, change):
        """Return the Hessian of the loss in the predictions, times a change of them."""
        change = change - np.einsum("ij,ij->i", self.probabilities, change)[:, None]
        change *= self.weighted
        return change

    def mean_hessian(self):
        """Return the mean Hessian of a sample, (n_outputs, n_outputs)."""
        return np.diag(self.weighted.sum(axis=0)) - self.weighted.T @ self.probabilities

    def _softmax(self, predictions):
        """Return losses, probabilities, and the probability of all classes but the label.

        Those of the last predictions are kept: the value and the derivatives use the same.
        """
        if predictions is not self._last[0]:
            self._last = predictions, _softmax(predictions, self.rows, self.y)
        return self._last[1]

    def _spread(self, values):
        return np.repeat(values, self.n_classes)

    def _best_constant(self, sample_weight):
        if not self.fit_intercept:
            return np.zeros(self.n_classes)
        constant = self.loss.best_constant(self.y, sample_weight)
        return constant - constant.mean()

    def _working_set(self, columns):
        return PairWorkingSet(self, columns)

    def normalise(self):
        """Shift the intercepts and the coefficients of each feature by what is best."""
        self.intercept = self.intercept - np.mean(self.intercept)
        coef = self.x.reshape(-1, self.n_classes)  # a view
        used = np.flatnonzero(coef.any(axis=1))
        coef[used] -= self.best_shifts(coef[used], self.table[:, :: self.n_classes][:, used])

    def best_shifts(self, coef, table):
        """Return shifts of the rows of ``coef`` that decrease the penalty, as a column."""
        nonnegative = self.code == NONNEGATIVE_ELASTIC_NET
        return best_shifts(coef, *table, nonnegative=nonnegative)[:, None]

    def _choose_working_set(self):
        """Complete the features that have most classes: they may shift together."""
        chosen = super()._choose_working_set()
        coef = self.x.reshape(-1, self.n_classes)
        most = np.maximum(np.sum(coef > 0, axis=1), np.sum(coef < 0, axis=1))
        features = np.flatnonzero(2 * most > self.n_classes)
        pairs = features[:, None] * self.n_classes + np.arange(self.n_classes)
        return np.union1d(chosen, pairs)

    def _dual_slopes(self):
        shares = self.shares.astype(float)
        slopes = self.loss._derivatives(self.y, self.predictions.astype(float))
        slopes[shares == 0] = 0
        if not self.fit_intercept:
            return slopes, self.gradient
        slopes = _balanced(slopes, self.y, shares)
        return slopes, self.correlate((shares[:, None] * slopes).astype(self.design.dtype))


class PairWorkingSet(WorkingSet):
    """The problem restricted to some pairs of a feature and a class."""

    def _gather(self):
        k, matrix = self.parent.n_classes, self.parent.design.matrix
        features, classes = np.divmod(self.columns, k)
        order = np.lexsort((features, classes))
        self.columns, features, classes = self.columns[order], features[order], classes[order]
        used, positions = np.unique(features, return_inverse=True)
        if used.size < matrix.shape[1]:
            matrix, features = matrix[:, used], positions
        matrix = self._centre(compact(matrix), used)
        self.pairs = Pairs(matrix, features, classes, k)
        self.means = self.column_means[features]
        by_feature, counts = np.argsort(features, kind="stable"), np.bincount(features)
        self._rows = by_feature[np.repeat(counts == k, counts)].reshape(-1, k)
        self._settled = False

    def _centre(self, matrix, used):
        """Return the columns in whose coordinates those with a large mean leave intercepts be."""
        parent = self.parent
        self.column_means = np.zeros(matrix.shape[1], matrix.dtype)
        if not parent.fit_intercept or sparse.issparse(matrix):
            return matrix  # the mean of a sparse column is far below its root mean square
        means = parent.shares @ matrix
        squares = parent.design.column_norms_squared[used] / len(parent.y)
        if np.all(means**2 <= LARGEST_MEAN**2 * squares):
            return matrix
        self.column_means = means
        matrix = np.asfortranarray(matrix - means)
        rounding = 10 * np.finfo(matrix.dtype).eps * np.abs(means)
        matrix[:, np.max(np.abs(matrix), axis=0) <= rounding] = 0  # constant: of no effect
        return matrix

    def solve(self, accuracy):
        """Take Newton steps until the violation is at most ``accuracy``."""
        self.accuracy = accuracy
        super().solve(accuracy)

    def _predict(self, step, shift):
        return self.pairs.predict(step, shift)

    def _correlate(self, derivatives):
        return self.pairs.correlate(derivatives)

    def _gradient(self):
        totals = self.parent.derivatives.sum(axis=0)
        return self._correlate(self.parent.derivatives) + self.means * self.pairs.spread(totals)

    def _intercept_step(self, step, shift):
        return shift - self.pairs.sum_outputs(self.means * step)

    def _move(self, step, shift, *options):
        """Search along the step, then shift what all classes of a feature have in common."""
        moved = super()._move(step, shift, *options)
        at = self.columns[self._rows]
        coef = self.parent.x[at]
        if moved and coef.any():
            self.parent.x[at] = coef - self.parent.best_shifts(
                coef, self.table[:, self._rows[:, 0]]
            )
        return moved

    def _model_step(self):
        """Minimise the second-order model and the penalty, then search along the line."""
        parent, pairs, x = self.parent, self.pairs, self.x
        probabilities, weighted = self._model_probabilities()
        gradient, totals = self._correlate(parent.derivatives), parent.derivatives.sum(axis=0)
        curvature = pairs.weighted_squares(weighted * (1 - probabilities))
        new, shift = x.copy(), np.zeros_like(totals)
        change, mean = np.zeros_like(weighted), np.zeros_like(parent.shares)
        target = MODEL_FRACTION * self._violation()
        skip_zeros = False
        for _ in range(MODEL_EPOCHS):
            moved = pairs.epoch(
                gradient, curvature, parent.code, self.table, new,
                probabilities, weighted, change, mean, skip_zeros,
            )  # fmt: skip
            if parent.fit_intercept:
                slope = kernels.intercept_epoch(
                    totals, shift, probabilities, weighted, change, mean
                )
                moved = max(moved, parent.intercept_scale * slope)
            if moved <= target and not skip_zeros:
                break
            skip_zeros = moved > target
        changed = np.count_nonzero(np.sign(new) != np.sign(x))
        self._settled = changed <= SETTLED * np.count_nonzero(new)
        return self._move(new - x, shift)

    def _model_probabilities(self):
        """Return probabilities, also weighted, for a model in which no label is all but impossible.

        The curvature vanishes with the probability of the label while the slope does not:
        a floor limits the Newton step of a sample.
        """
        parent = self.parent
        label = parent.probabilities[parent.rows, parent.y]
        low = np.flatnonzero(label < LEAST_PROBABILITY)
        if low.size == 0:
            return parent.probabilities, parent.weighted
        probabilities = parent.probabilities.copy(order="F")
        probabilities[low] *= ((1 - LEAST_PROBABILITY) / (1 - label[low]))[:, None]
        probabilities[low, parent.y[low]] = LEAST_PROBABILITY
        return probabilities, parent.shares[:, None] * probabilities

    def _support_step_pays(self, replaced_epochs):
        """Tell whether the support has settled; a product costs no more than an epoch."""
        return self._settled

    def _support_step(self):
        """Take Newton steps on the support, with the signs as they are, while they last."""
        parent = self.parent
        rounding = 10 * np.finfo(parent.x.dtype).eps * parent.unit
        for _ in range(MAX_SUPPORT_STEPS):
            x = self.x
            at = np.flatnonzero(x)
            support, (l1, ridge) = self.pairs.take(at), self.table[:, at]
            gradient = support.correlate(parent.derivatives) + l1 * np.sign(x[at]) + ridge * x[at]
            totals = parent.derivatives.sum(axis=0) * parent.fit_intercept
            violation = max(np.max(np.abs(gradient), initial=0), parent.intercept_violation())
            if violation <= max(SUPPORT_FRACTION * self.accuracy, rounding):
                break
            direction, shift = self._newton_direction(support, ridge, gradient, totals, violation)
            if not self._move_in_orthant(at, direction, shift):
                break
            parent.differentiate()

    def _move_in_orthant(self, at, direction, shift):
        """Follow the direction, coefficients that reach zero staying there.

        Features that replace each other give directions without curvature, along which a
        Newton step is far too long. The lengths tried let all coefficients that would change
        sign reach zero, then half as many and so on, down to the first alone.
        """
        x = self.x
        ends = np.full_like(direction, np.inf)  # lengths at which a coefficient is zero
        opposed = (direction * x[at] < 0) & (np.abs(direction) >= np.abs(x[at]))
        ends[opposed] = -x[at][opposed] / direction[opposed]
        crossed = np.sort(ends[ends <= 1])
        length, n_zeros = 1.0, crossed.size
        while True:
            step = np.zeros_like(x)
            step[at] = np.where(ends <= length, -x[at], length * direction)
            options = (0,) if n_zeros > 1 else ()
            if self._move(step, length * shift, *options):
                return True
            n_zeros //= 2
            if n_zeros == 0:
                return False
            length = crossed[n_zeros - 1]

    def _newton_direction(self, support, ridge, gradient, totals, violation):
        """Solve Newton's system by conjugate gradients, or directly once that costs less."""
        parent, limit = self.parent, support.products_a_factor()
        step = None
        if not parent.prefers_factors or limit >= MAX_PRODUCTS:
            step, shift, n_products = newton_direction(
                parent, support, ridge, gradient, totals, violation, max_products=limit
            )
            if n_products < limit or limit >= MAX_PRODUCTS:
                return step, shift
            parent.prefers_factors = True
        direct = solve_directly(parent, support, ridge, gradient, totals)
        if direct is None:
            return newton_direction(parent, support, ridge, gradient, totals, violation)[:2]
        return direct


def _softmax(predictions, rows, y):
    own = predictions[rows, y]
    powers = predictions - own[:, None]
    largest = powers.max(axis=1)
    powers -= largest[:, None]
    np.exp(powers, out=powers)
    powers[rows, y] = 0
    others = powers.sum(axis=1)
    label = np.exp(-largest)
    total = label + others
    losses = np.where(largest > 0, largest + np.log(total), np.log1p(others))
    powers[rows, y] = label
    powers /= total[:, None]
    return losses, powers, others / total


def _balanced(slopes, y, shares):
    """Move probability between classes until the weighted slopes of each sum to zero.

    Classes with too much give the same fraction of it in every sample; what they give
    goes to the others by what these lack.
    """
    probabilities = slopes.copy()
    rows = np.arange(len(y))
    probabilities[rows, y] += 1
    held = shares @ probabilities
    wanted = np.bincount(y, weights=shares, minlength=slopes.shape[1])
    excess = held - wanted
    lacking = np.maximum(-excess, 0)
    if not lacking.any():
        return slopes
    given = np.where(excess > 0, excess / np.where(excess > 0, held, 1), 0)
    moved = probabilities * given
    balanced = slopes - moved
    balanced += moved.sum(axis=1)[:, None] * (lacking / lacking.sum())
    balanced[shares == 0] = 0
    return balanced
