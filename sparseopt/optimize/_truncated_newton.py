r"""Newton steps by conjugate gradients, for penalised losses of one or more outputs.

System for a step d of some coefficients and a step e of the intercepts:

    (X' W X + ridge) d + X' W 1 e = -gradient,      1' W X d + 1' W 1 e = -totals,

W the Hessian of the weighted loss in the predictions (n_samples, or n_samples and
n_classes), X the columns of the coefficients. It is solved with the columns centred,
only as exactly as the distance to the solution asks [1]; a product costs one of X and one
of X'. The preconditioner is the diagonal, or, once that has taken long enough, the matrix
in which every sample has the mean Hessian M (n_classes, n_classes):

    S x M + ridge,    S = X' diag(s) X of the centred columns,

which the eigenvectors of S and M diagonalise.

[1] Dembo, Eisenstat, Steihaug (1982). Inexact Newton Methods. SIAM J. Numer. Anal. 19(2).
"""

import numpy as np
from scipy import linalg, sparse

from sparseopt.optimize._restricted_loss import RestrictedLoss

MAX_PRODUCTS = 500
LARGEST_SPECTRUM = 2000  # features
LARGEST_FRACTION = 0.3  # of the residual, that a direction leaves
LARGEST_GROWTH = 1e8  # of the squared residual; more is rounding in a singular matrix
LEAST_RIDGE = 1e-8  # of the diagonal of S, in its eigenvalue problem


def newton_direction(
    parent, columns, ridge, gradient, totals, violation, *, spectrum=None, max_products=MAX_PRODUCTS
):
    """Return the steps of the coefficients and the intercepts, and the products needed.

    Parameters
    ----------
    parent : PenalizedLoss
        The state, at which the loss has been differentiated.
    columns : AllColumns or Pairs
        The columns of the coefficients.
    ridge, gradient : ndarray of shape (n_coefficients,)
        Ridge weights, and the gradient with that of the penalty.
    totals : ndarray of shape (n_outputs,)
        The gradient in the intercepts.
    violation : float
        The largest of these gradients; sets the accuracy.
    spectrum : Spectrum, optional
        Preconditioner in place of the diagonal.
    max_products : int
        Where to stop short.
    """
    n = gradient.size
    free = parent.fit_intercept
    if spectrum is None:
        means, precondition = _jacobi(parent, columns, ridge)
    else:
        means, precondition = spectrum.means, spectrum.preconditioner(parent)

    def multiply(vector):
        shift = vector[n:] - columns.sum_outputs(means * vector[:n]) if free else vector[n:]
        image = parent.hessian_product(columns.predict(vector[:n], shift))
        product = columns.correlate(image) + ridge * vector[:n]
        sums = np.zeros_like(totals)
        if free:
            sums = np.atleast_1d(image.sum(axis=0))
            product -= means * columns.spread(sums)
        return np.concatenate([product, sums])

    rhs = -np.concatenate([gradient - means * columns.spread(totals), totals])
    fraction = min(LARGEST_FRACTION, np.sqrt(violation / parent.unit))
    solution, n_products = conjugate_gradients(multiply, rhs, precondition, fraction, max_products)
    step, shift = solution[:n], solution[n:]
    return step, shift - columns.sum_outputs(means * step), n_products


@np.errstate(over="ignore", invalid="ignore")
def conjugate_gradients(multiply, rhs, precondition, fraction, max_products):
    """Solve until the residual is ``fraction`` of the right-hand side, preconditioned.

    Returns the solution and the number of products. Without a penalty the matrix may be
    singular; directions without curvature end the run, and so does a residual that explodes.
    """
    x, residual = np.zeros_like(rhs), rhs.copy()
    scaled = precondition(residual)
    direction = scaled.copy()
    start = energy = size = float(residual @ scaled)  # size: of the direction, in that metric
    least = np.finfo(rhs.dtype).eps
    for count in range(max_products):
        if not fraction**2 * start < energy <= LARGEST_GROWTH * start:
            return x, count
        image = multiply(direction)
        curvature = float(direction @ image)
        if not curvature > 0:
            return (x if count else direction), count + 1
        length = energy / max(curvature, least * size)
        x += length * direction
        residual -= length * image
        scaled = precondition(residual)
        before, energy = energy, float(residual @ scaled)
        size = energy + (energy / before) ** 2 * size
        direction *= energy / before
        direction += scaled
    return x, max_products


def _jacobi(parent, columns, ridge):
    """Return the means at which columns and intercepts decouple, and the preconditioner."""
    curvature = parent.hessian_diagonal()
    diagonal = columns.weighted_squares(curvature)
    totals = np.atleast_1d(curvature.sum(axis=0))
    means = np.zeros_like(diagonal)
    if parent.fit_intercept:
        weights = columns.spread(totals)
        means = _divide(columns.correlate(curvature), weights)
        floor = 1e2 * np.finfo(diagonal.dtype).eps * diagonal
        diagonal = np.maximum(diagonal - means**2 * weights, floor)
    else:
        totals = np.zeros_like(totals)
    inverse = _invert(np.concatenate([diagonal + ridge, totals]))
    return means, lambda vector: inverse * vector


class Spectrum:
    """Eigenvectors of the centred, weighted Gram matrix of all columns.

    Parameters
    ----------
    parent : PenalizedLoss
        The state.
    matrix : ndarray of shape (n_samples, n_features)
        The columns.
    ridge : ndarray of shape (n_features,)
        Ridge weights.
    """

    def __init__(self, parent, matrix, ridge):
        shares = parent.shares
        gram = matrix.T @ (shares[:, None] * matrix)
        mean = matrix.T @ shares if parent.fit_intercept else np.zeros(len(gram), gram.dtype)
        gram -= np.outer(mean, mean)
        floor = LEAST_RIDGE * np.maximum(np.diagonal(gram), np.finfo(gram.dtype).tiny)
        self.ridge = np.maximum(ridge, floor)
        scale = 1 / np.sqrt(self.ridge)
        values, vectors = linalg.eigh(gram * scale * scale[:, None], check_finite=False)
        self.values = np.maximum(values, 0)
        self.vectors = scale[:, None] * vectors
        self.means = np.repeat(mean, parent.n_outputs)

    def preconditioner(self, parent):
        """Return the function that solves for the mean Hessian at the current point."""
        curvatures, rotation = linalg.eigh(parent.mean_hessian())
        curvatures = np.maximum(curvatures, 0).astype(self.values.dtype)
        rotation = rotation.astype(self.values.dtype)
        shape = self.values.size, curvatures.size
        inverse = 1 / (1 + np.outer(self.values, curvatures))
        kept = curvatures > 1e-10 * curvatures.max()
        free = np.where(kept, _invert(curvatures), 0) * parent.fit_intercept
        n = self.values.size * curvatures.size

        def precondition(vector):
            inner = self.vectors.T @ vector[:n].reshape(shape) @ rotation
            outer = self.vectors @ (inner * inverse) @ rotation.T
            intercepts = rotation @ (free * (rotation.T @ vector[n:]))
            return np.concatenate([outer.ravel(), intercepts])

        return precondition


class AllColumns:
    """All outputs of some features."""

    def __init__(self, matrix, n_outputs):
        self.matrix, self.n_outputs = matrix, n_outputs

    def predict(self, step, shift):
        """Return ``X step + shift``, stored by outputs."""
        if self.n_outputs == 1:
            return self.matrix @ step + shift
        step = step.reshape(-1, self.n_outputs)
        if sparse.issparse(self.matrix):
            return np.asfortranarray(self.matrix @ step + shift)
        change = (step.T @ self.matrix.T).T
        change += shift
        return change

    def correlate(self, derivatives):
        """Return ``X' derivatives``, flattened."""
        if sparse.issparse(self.matrix):
            derivatives = np.ascontiguousarray(derivatives)
        return np.ravel(self.matrix.T @ derivatives)

    def weighted_squares(self, curvature):
        """Return ``sum_i X_ij^2 curvature_i`` of each coefficient."""
        if sparse.issparse(self.matrix):
            return np.ravel(self.matrix.power(2).T @ np.ascontiguousarray(curvature))
        return np.ravel((self.matrix**2).T @ curvature)

    def sum_outputs(self, values):
        """Sum over the coefficients of each output."""
        return values.reshape(-1, self.n_outputs).sum(axis=0)

    def spread(self, outputs):
        """Return for each coefficient the value of its output."""
        return np.tile(outputs, self.matrix.shape[1])


class SmoothRestriction(RestrictedLoss):
    """The problem with a penalty that is smooth: nothing keeps a coefficient at zero."""

    def _gather(self):
        parent = self.parent
        features = self.columns[:: parent.n_outputs] // parent.n_outputs
        matrix = parent.design.matrix
        if features.size < matrix.shape[1]:
            matrix = matrix[:, features]
        self.all = AllColumns(matrix, parent.n_outputs)
        self.spectrum = None
        self._n_products = 0

    def _predict(self, step, shift):
        return self.all.predict(step, shift)

    def _correlate(self, derivatives):
        return self.all.correlate(derivatives)

    def solve(self, accuracy):
        """Take one Newton step, of the whole problem."""
        parent, ridge = self.parent, self.table[1]
        gradient = parent.gradient[self.columns] + ridge * self.x
        totals = np.zeros(parent.n_outputs, gradient.dtype)
        if parent.fit_intercept:
            totals += parent.derivatives.sum(axis=0)
        if self.spectrum is None and self._spectrum_pays():
            self.spectrum = Spectrum(parent, self.all.matrix, ridge[:: parent.n_outputs])
        step, shift, n_products = newton_direction(
            parent, self.all, ridge, gradient, totals, parent.violation, spectrum=self.spectrum
        )
        self._n_products += n_products
        self._move(step, shift.reshape(np.shape(parent.intercept)))

    def _spectrum_pays(self):
        """Tell whether the products so far have cost as much as the eigenvectors.

        With m samples, n features and k outputs, a product takes 4 m n k flops, S takes
        m n^2 and its eigenvectors about 10 n^3, in matrix products that run faster.
        """
        m, n = self.all.matrix.shape
        if n > LARGEST_SPECTRUM or sparse.issparse(self.all.matrix):
            return False
        product = 4 * m * n * self.parent.n_outputs
        return self._n_products * product >= (m * n**2 + 10 * n**3) / 5


def _invert(values):
    """Return the reciprocals; zero where there is none."""
    return _divide(np.ones_like(values), values)


def _divide(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
