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

Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
JMLR 23(131).
"""

import functools
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.special import softmax

from sparseopt.optimize._design import make_design
from sparseopt.optimize._kernels import blocks as kernels
from sparseopt.optimize._losses import HuberLoss, MultinomialLoss
from sparseopt.optimize._penalties import NONNEGATIVE_ELASTIC_NET, ElasticNet

LARGEST_CACHE = 2**24  # numbers, 128 MiB
LEAST_CURVATURE = 1e-3  # share of the bound


@dataclass(frozen=True)
class Step:
    """A proposed change ``x_b + d`` of one block, and what it leads to."""

    block: "Block"
    change: np.ndarray
    predictions: np.ndarray
    objective: float


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

    Attributes
    ----------
    x : ndarray of shape (n_variables,)
        Current point, ``n_variables = n_features * n_classes``.
    objective : float
        F(x).
    lipschitz : ndarray of shape (n_variables,)
        Lipschitz constants of the smooth part along each coordinate.
    usable : ndarray of int
        The variables that may move.
    gradient_is_exact : bool
        Whether the gradient is free of the rounding errors of earlier steps.
    """

    def __init__(self, X, y, loss, penalty=None, sample_weight=None, n_classes=None):
        design = make_design(X.astype(np.float64, copy=False))
        self.matrix, self._transposed = design.matrix, design.matrix.T
        self.y, self.loss, self.sample_weight = y, loss, sample_weight
        self.multinomial = isinstance(loss, MultinomialLoss)
        self.n_classes = n_classes if self.multinomial else 1
        self.n_samples, self.n_features = X.shape
        self.n_variables = self.n_features * self.n_classes
        weights = np.ones(self.n_samples) if sample_weight is None else sample_weight
        self.shares = weights / np.sum(weights)
        self.total_weight = float(np.sum(weights))
        self._set_penalty(penalty)
        norms = np.repeat(_weighted_squares(self.matrix, self.shares), self.n_classes)
        self.lipschitz = loss.lipschitz(norms, 1.0) + self.ridge
        self.usable = np.flatnonzero((self.lipschitz > 0) & np.isfinite(self.l1))
        self._bound_columns = BoundColumns(self)
        self.move_to(np.zeros(self.n_variables))
        self.gradient_scale = float(np.max(np.abs(self.gradient[self.usable]), initial=0)) or 1.0

    def _set_penalty(self, penalty):
        penalty = ElasticNet(0.0) if penalty is None else penalty
        table = np.repeat(penalty.kernel_table(self.n_features), self.n_classes, axis=1)
        self.code = penalty.kernel_code
        self.l1, self.ridge = table
        self.positive = self.code == NONNEGATIVE_ELASTIC_NET
        self.is_smooth = not self.positive and not np.any(self.l1[np.isfinite(self.l1)])

    @property
    def is_quadratic(self):
        """Whether the bound on the Hessian is the Hessian."""
        return self.loss.kernel_code == 0

    def move_to(self, x):
        """Take ``x`` as the current point; unusable and forbidden values become zero."""
        usable = np.zeros(self.n_variables, dtype=bool)
        usable[self.usable] = True
        if self.positive:
            usable &= x > 0
        self.x = np.where(usable, x, 0.0)
        self._set_predictions(self.predict(self.x))
        self.objective = self._objective(self.predictions, self._penalty(slice(None), self.x))

    def refresh(self):
        """Recompute the predictions, which collect rounding errors."""
        self.move_to(self.x)

    def predict(self, x):
        """Return ``A x``, of shape (n_samples,) or (n_samples, n_classes)."""
        return self.matrix @ (x.reshape(self.n_features, -1) if self.multinomial else x)

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
        self.x[indices] += step.change
        if self.positive:  # rounding must not leave the constraint
            self.x[indices] = np.maximum(self.x[indices], 0.0)
        self._set_predictions(step.predictions)
        self.objective = step.objective
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

    def _multiply_bound(self, indices, d):
        image = self._bound_times(self.block(indices).predict(d))
        if self._rows is None:
            product = self.correlate(image)
        else:
            product = np.zeros((self.n_features, self.n_classes))
            matrix, residual = self._rows, image.reshape(self.n_samples, -1)
            kernels.correlate_rows(matrix.data, matrix.indices, matrix.indptr, residual, product)
            product = product.ravel()
        product[indices] += self.ridge[indices] * d
        return product

    @functools.cached_property
    def _rows(self):
        """A sparse design by rows: few of them meet a block."""
        return self.matrix.tocsr() if sparse.issparse(self.matrix) else None

    def bound_times(self, d):
        """Return the global bound on the Hessian times the full vector ``d``."""
        return self.correlate(self._bound_times(self.predict(d))) + self.ridge * d

    def _bound_times(self, z):
        if self.multinomial:
            return 0.5 * self.shares[:, None] * (z - z.mean(axis=1, keepdims=True))
        return self.loss.curvature * self.shares * z

    @functools.cached_property
    def largest_curvature(self):
        """The largest eigenvalue of the global bound on the Hessian, by power iteration."""
        vector = np.random.default_rng(0).standard_normal(self.n_variables)
        value = 0.0
        for _ in range(1000):
            vector /= np.linalg.norm(vector)
            image = self.bound_times(vector)
            before, value = value, float(np.linalg.norm(image))
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
        moved = np.flatnonzero(values)
        values = values[moved]
        return float(self.l1[at][moved] @ np.abs(values) + 0.5 * self.ridge[at][moved] @ values**2)

    def _objective(self, predictions, penalty):
        return self.loss.value(self.y, predictions, self.sample_weight) + penalty


class BoundColumns:
    """Columns of the global bound on a problem's Hessian, kept for later use.

    Greedy rules choose the same variables again and again. A column costs as much as a
    gradient; once it is here, a product with it costs two flops an entry.
    """

    def __init__(self, problem):
        self.problem = problem
        self._slots = np.full(problem.n_variables, -1)
        self._rows: np.ndarray | None = None
        self._used = 0
        self._capacity = min(LARGEST_CACHE // problem.n_variables, problem.n_variables)

    def hold(self, indices):
        """Return whether the columns of all ``indices`` are here."""
        return bool(np.all(self._slots[indices] >= 0))

    def rows(self, indices):
        """Return the columns ``indices`` as rows, or None if there is no room for them."""
        missing = indices[self._slots[indices] < 0]
        if self._used + missing.size > self._capacity:
            return None
        if self._rows is None:  # the system provides the memory as it is written to
            self._rows = np.empty((self._capacity, self.problem.n_variables))
        for index in missing:
            self._rows[self._used] = self.problem._multiply_bound(np.array([index]), np.ones(1))
            self._slots[index] = self._used
            self._used += 1
        return self._rows[self._slots[indices]]


class Block:
    """Some variables of a problem at its current point.

    Attributes
    ----------
    indices : ndarray of int
        The variables, in increasing order.
    """

    def __init__(self, problem, indices):
        self.problem, self.indices = problem, indices
        self.classes = indices % problem.n_classes
        self.x = problem.x[indices]
        self.l1, self.ridge = problem.l1[indices], problem.ridge[indices]
        self.lipschitz = problem.lipschitz[indices]

    @functools.cached_property
    def columns(self):
        """The column of the design that belongs to each variable, (n_samples, n)."""
        matrix, features = self.problem.matrix, self.indices // self.problem.n_classes
        if not sparse.issparse(matrix):
            return matrix[:, features]
        columns = np.zeros((self.problem.n_samples, features.size), order="F")
        kernels.gather_columns(matrix.data, matrix.indices, matrix.indptr, features, columns)
        return columns

    @functools.cached_property
    def gradient(self):
        """The gradient of the smooth part with respect to the block."""
        problem = self.problem
        if problem._gradient is not None:
            return problem._gradient[self.indices]
        if problem.multinomial:
            slopes = problem.slopes[:, self.classes]
            return np.einsum("ij,ij->j", self.columns, slopes) + self.ridge * self.x
        return problem.slopes @ self.columns + self.ridge * self.x

    @property
    def table(self):
        """The penalty as block models see it: the ridge is part of their Hessian."""
        return np.array([self.l1, np.zeros_like(self.l1)])

    def hessian_bound(self):
        """Return H_b, which bounds the Hessian block everywhere."""
        problem = self.problem
        gram = self.columns.T @ (problem.shares[:, None] * self.columns)
        if problem.multinomial:
            count = min(problem.n_classes, np.unique(self.classes).size + 1)
            gram *= 0.5 * ((self.classes[:, None] == self.classes) - 1.0 / count)
        else:
            gram *= problem.loss.curvature
        gram[np.diag_indices_from(gram)] += self.ridge
        return gram

    def model_hessian(self):
        """Return the Hessian block, with the curvature of a Huber loss kept from vanishing.

        Samples on its linear parts have none: Newton's system would be singular.
        """
        if not isinstance(self.problem.loss, HuberLoss):
            return self.hessian()
        return (1 - LEAST_CURVATURE) * self.hessian() + LEAST_CURVATURE * self.hessian_bound()

    def hessian(self):
        """Return the Hessian block of the smooth part at the current point."""
        problem = self.problem
        if problem.multinomial:
            mass = problem.probabilities[:, self.classes] * self.columns
            scaled = mass * problem.shares[:, None]
            same = self.classes[:, None] == self.classes
            hessian = same * (scaled.T @ self.columns) - scaled.T @ mass
        else:
            hessian = self.columns.T @ (problem.curvatures[:, None] * self.columns)
        hessian[np.diag_indices_from(hessian)] += self.ridge
        return hessian

    def predict(self, d):
        """Return the change of the predictions that the change ``d`` of the block brings."""
        problem = self.problem
        if not problem.multinomial:
            return self.columns @ d
        change = np.zeros_like(problem.predictions)
        for label in np.unique(self.classes):
            of_class = self.classes == label
            change[:, label] = self.columns[:, of_class] @ d[of_class]
        return change

    def penalty(self, x):
        """Return the penalty of the block at ``x``, ridge included."""
        return self.problem._penalty(self.indices, x)

    def l1_change(self, new):
        """Return by how much the l1 part grows from the current point to ``new``."""
        sign = np.where(self.x != 0, np.sign(self.x), np.sign(new))
        crossing = sign * new < 0
        return float(
            self.l1 @ np.where(crossing, np.abs(new) - np.abs(self.x), sign * (new - self.x))
        )

    def step(self, d, prediction_change=None):
        """Return the :class:`Step` that changes the block by ``d``."""
        problem = self.problem
        if prediction_change is None:
            prediction_change = self.predict(d)
        predictions = problem.predictions + prediction_change
        x = problem.x.copy()
        x[self.indices] += d
        objective = problem._objective(predictions, problem._penalty(slice(None), x))
        return Step(self, d, predictions, objective)


def factorize(H):
    """Return the Cholesky factor of H for ``cho_solve``, or None if H is singular."""
    try:
        factor = linalg.cho_factor(H, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    smallest = 10 * len(H) * np.finfo(float).eps * np.max(np.diagonal(H))
    return factor if np.min(np.diagonal(factor[0])) ** 2 > smallest else None


def solve_semidefinite(H, rhs):
    """Solve ``H d = rhs`` by Cholesky, or with the pseudo-inverse if H is singular."""
    factor = factorize(H)
    if factor is not None:
        return linalg.cho_solve(factor, rhs, check_finite=False)
    values, vectors = spectrum(H)
    return vectors @ ((vectors.T @ rhs) / values)


def spectrum(H):
    """Return the eigenvalues of H above rounding, in increasing order, and their vectors."""
    values, vectors = np.linalg.eigh(H)
    kept = values > max(len(H), 10) * np.finfo(float).eps * max(values[-1], 0.0)
    return values[kept], vectors[:, kept]


def _weighted_squares(matrix, shares):
    if sparse.issparse(matrix):
        return np.asarray(matrix.power(2).T @ shares).ravel()
    return np.einsum("ij,ij,i->j", matrix, matrix, shares)
