"""Pairs of a feature and a class: the coefficients that a multinomial working set holds.

Products with their columns, epochs of coordinate descent over them, and their Newton system,
formed and factorised where that costs less than conjugate gradients.
"""

import numpy as np
from scipy import linalg, sparse

from sparseopt.optimize._kernels import multinomial as kernels
from sparseopt.optimize._truncated_newton import MAX_PRODUCTS, AllColumns

FACTOR_SPEED = 5  # flops of matrix products in the time of one elsewhere
LARGEST_FACTOR = 4096
LARGEST_BLOCK = 50_000_000  # entries
DENSE_PAIRS = 0.25  # share of all pairs from which products with matrices are faster


class Pairs:
    """Pairs of a feature and a class, sorted by class."""

    def __init__(self, matrix, features, classes, n_classes):
        self.matrix, self.features, self.classes = matrix, features, classes
        self.n_classes = n_classes
        if sparse.issparse(matrix):
            self._arrays = (matrix.data, matrix.indices, matrix.indptr)
            self._kind = "sparse"
        else:
            self._arrays = (matrix,)
            self._kind = "dense"
        # A product of matrices that does needless work still saves time then.
        self._is_dense = features.size >= DENSE_PAIRS * n_classes * matrix.shape[1]

    def take(self, positions):
        """Return some of the pairs."""
        return Pairs(self.matrix, self.features[positions], self.classes[positions], self.n_classes)

    def predict(self, step, shift):
        """Return ``X step + shift``, stored by classes."""
        if self._is_dense:
            coef = np.zeros((self.matrix.shape[1], self.n_classes), step.dtype)
            coef[self.features, self.classes] = step
            return AllColumns(self.matrix, self.n_classes).predict(coef.ravel(), shift)
        change = np.empty((self.matrix.shape[0], self.n_classes), step.dtype, order="F")
        change[...] = shift
        self._kernel("predict", self.features, self.classes, step, change)
        return change

    def correlate(self, derivatives):
        """Return ``X' derivatives`` of each pair."""
        if self._is_dense:
            product = AllColumns(self.matrix, self.n_classes).correlate(derivatives)
            return product.reshape(-1, self.n_classes)[self.features, self.classes]
        out = np.empty(self.features.size, derivatives.dtype)
        self._kernel("correlate", self.features, self.classes, derivatives, out)
        return out

    def weighted_squares(self, curvature):
        """Return ``sum_i X_ij^2 curvature_i`` of each pair."""
        out = np.empty(self.features.size, curvature.dtype)
        self._kernel("weighted_squares", self.features, self.classes, curvature, out)
        return out

    def epoch(self, *arguments):
        """Run an epoch of coordinate descent on the model; see the kernels."""
        return self._kernel("epoch", self.features, self.classes, *arguments)

    def sum_outputs(self, values):
        """Sum over the pairs of each class."""
        return np.bincount(self.classes, values, self.n_classes).astype(values.dtype, copy=False)

    def spread(self, outputs):
        """Return for each pair the value of its class."""
        return outputs[self.classes]

    def products_a_factor(self):
        """Return how many products of the Hessian cost as much as its factorisation.

        Forming and factorising it takes m s^2 + s^3/3 flops for m samples and s pairs, at
        the speed of matrix products. Where it does not fit into memory, they are many.
        """
        m, s = self.matrix.shape[0], self.features.size
        stored, formed = m * s, m * s**2
        if sparse.issparse(self.matrix):
            stored = int(np.diff(self.matrix.indptr)[self.features].sum())
            formed = FACTOR_SPEED * stored * (1 + stored // m)  # of sparse matrices
        if s > LARGEST_FACTOR or stored > LARGEST_BLOCK:
            return MAX_PRODUCTS
        product = 4 * stored + 8 * m * self.n_classes
        return min(MAX_PRODUCTS, 5 + int((formed + s**3 / 3) / (FACTOR_SPEED * product)))

    def hessian(self, parent):
        """Return the Hessian of the loss, bordered by the intercepts of all classes but one.

        The same shift of all intercepts changes nothing; the last one is kept.
        """
        roots = np.sqrt(parent.shares)[:, None] * parent.probabilities
        columns = self.matrix[:, self.features]
        if sparse.issparse(columns):
            owners = np.repeat(self.classes, np.diff(columns.indptr))
            spread = sparse.csc_array(
                (columns.data * roots[columns.indices, owners], columns.indices, columns.indptr),
                columns.shape,
            )
            product = (spread.T @ spread).toarray()
        else:
            spread = columns * roots[:, self.classes]
            product = spread.T @ spread
        size, n_free = self.features.size, (self.n_classes - 1) * parent.fit_intercept
        hessian = np.empty((size + n_free, size + n_free), self.matrix.dtype, order="F")
        hessian[:size, :size] = -product
        hessian[size:, :size] = -(spread.T @ roots[:, :n_free]).T
        hessian[size:, size:] = -roots[:, :n_free].T @ roots[:, :n_free]
        for c in range(self.n_classes):
            first, last = np.searchsorted(self.classes, [c, c + 1])
            own, weighted = columns[:, first:last], parent.weighted[:, c]
            if sparse.issparse(own):
                block = (own.T @ (sparse.diags_array(weighted) @ own)).toarray()
            else:
                block = own.T @ (weighted[:, None] * own)
            hessian[first:last, first:last] += block
            if c < n_free:
                hessian[size + c, first:last] += own.T @ weighted
                hessian[size + c, size + c] += weighted.sum()
        hessian[:size, size:] = hessian[size:, :size].T
        return hessian

    def _kernel(self, name, *arguments):
        return getattr(kernels, f"{self._kind}_{name}")(*self._arrays, *arguments)


def solve_directly(parent, pairs, ridge, gradient, totals):
    """Return the Newton steps of coefficients and intercepts; None if no damping helps."""
    hessian, size = pairs.hessian(parent), gradient.size
    diagonal = np.diagonal(hessian).copy()
    diagonal[:size] += ridge
    sides = -np.concatenate([gradient, totals[: len(hessian) - size]])
    epsilon = np.finfo(hessian.dtype).eps
    for damping in (1e2 * epsilon * len(hessian), np.sqrt(epsilon)):
        hessian[np.diag_indices_from(hessian)] = (1 + damping) * diagonal
        try:
            factor = linalg.cho_factor(hessian, lower=True, check_finite=False)
        except linalg.LinAlgError:
            continue
        solution = linalg.cho_solve(factor, sides, check_finite=False)
        shift = np.zeros_like(totals)
        shift[: len(hessian) - size] = solution[size:]
        return solution[:size], shift
    return None
