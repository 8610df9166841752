"""A block of the variables of a problem at its current point: slopes, curvature, steps.

With a free intercept, the function of the block is the minimum over the intercept. Its
curvature is a Schur complement: for bounds, which hold with equal weights for all
predictions, the columns merely lose their means; the Hessian block H with its coupling C to
the intercepts and their own Hessian h becomes ``H - C h^+ C'``, and a change d of the block
takes the intercepts along by ``-h^+ C' d``.
"""

import functools
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from sparseopt.optimize._kernels import blocks as kernels


@dataclass(frozen=True)
class Step:
    """A proposed change ``x_b + d`` of one block, and what it leads to."""

    block: "Block"
    change: np.ndarray
    predictions: np.ndarray
    intercept: float | np.ndarray
    objective: float


class Block:
    """Some variables of a problem at its current point.

    Attributes
    ----------
    indices : ndarray of int
        The variables, in increasing order.
    """

    def __init__(self, problem, indices):
        self.problem, self.indices = problem, indices
        self.features, self.classes = np.divmod(indices, problem.n_classes)
        self.x = problem.x[indices]
        self.l1, self.ridge = problem.l1[indices], problem.ridge[indices]
        self.lipschitz = problem.lipschitz[indices]

    @functools.cached_property
    def raw_columns(self):
        """The column of the design that belongs to each variable, (n_samples, n)."""
        matrix, features = self.problem.matrix, self.features
        if not sparse.issparse(matrix):
            return matrix[:, features]
        columns = np.zeros((self.problem.n_samples, features.size), order="F")
        kernels.gather_columns(matrix.data, matrix.indices, matrix.indptr, features, columns)
        return columns

    @functools.cached_property
    def columns(self):
        """The same without their means if the intercept is free."""
        if not self.problem.fit_intercept:
            return self.raw_columns
        return self.raw_columns - self.problem.means[self.features]

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
        return self.problem.block_table(self.indices)

    def hessian_bound(self):
        """Return H_b, which bounds the Hessian block everywhere."""
        problem = self.problem
        gram = self.columns.T @ (problem.shares[:, None] * self.columns)
        if problem.multinomial:
            count = min(problem.n_classes, np.unique(self.classes).size + 1)
            gram *= 0.5 * ((self.classes[:, None] == self.classes) - 1.0 / count)
        else:
            gram *= problem.curvature
        gram[np.diag_indices_from(gram)] += self.ridge
        return gram

    def model_hessian(self):
        """Return the Hessian block with the curvatures that Newton's model takes."""
        return self._hessian(self.problem.model_curvatures, self._response)

    def hessian(self):
        """Return the Hessian block of the smooth part at the current point."""
        curvatures = self.problem.curvatures
        response = self._respond(curvatures) if self.problem.fit_intercept else None
        return self._hessian(curvatures, response)

    def _hessian(self, curvatures, response):
        problem = self.problem
        if problem.multinomial:
            mass = problem.probabilities[:, self.classes] * self.columns
            scaled = mass * problem.shares[:, None]
            same = self.classes[:, None] == self.classes
            hessian = same * (scaled.T @ self.columns) - scaled.T @ mass
        else:
            hessian = self.columns.T @ (curvatures[:, None] * self.columns)
        if response is not None:
            hessian -= self._coupling(curvatures) @ response
        hessian[np.diag_indices_from(hessian)] += self.ridge
        return hessian

    def _coupling(self, curvatures):
        """Return the mixed second derivatives by the block and the intercepts, (n, k)."""
        problem = self.problem
        if not problem.multinomial:
            return (curvatures @ self.columns)[:, None]
        shares, probabilities = problem.shares[:, None], problem.probabilities
        scaled = shares * probabilities[:, self.classes] * self.columns
        own = self.classes[:, None] == np.arange(problem.n_classes)
        return own * scaled.sum(axis=0)[:, None] - scaled.T @ probabilities

    def _respond(self, curvatures):
        coupling = self._coupling(curvatures)
        return (
            np.linalg.pinv(self.problem.intercept_hessian(curvatures), hermitian=True) @ coupling.T
        )

    @functools.cached_property
    def _response(self):
        """By how much the intercepts fall in Newton's model as the variables grow, (k, n)."""
        if not self.problem.fit_intercept:
            return None
        return self._respond(self.problem.model_curvatures)

    def predict(self, d):
        """Return the change of the predictions that the change ``d`` of the block brings."""
        return self._combine(self.columns, d)

    def raw_predict(self, d):
        """Return the same at a fixed intercept."""
        return self._combine(self.raw_columns, d)

    def _combine(self, columns, d):
        problem = self.problem
        if not problem.multinomial:
            return columns @ d
        change = np.zeros_like(problem.predictions)
        for label in np.unique(self.classes):
            of_class = self.classes == label
            change[:, label] = columns[:, of_class] @ d[of_class]
        return change

    def shift(self, d):
        """Return the change of the intercept that :meth:`predict` includes."""
        problem = self.problem
        if not problem.fit_intercept:
            return 0.0
        moved = -problem.means[self.features] * d
        if problem.multinomial:
            return np.bincount(self.classes, moved, problem.n_classes)
        return float(np.sum(moved))

    def model_image(self, d):
        """Return the changes of predictions and intercept by ``d`` in Newton's model."""
        image, shift = self.predict(d), self.shift(d)
        if self._response is None:
            return image, shift
        more = -(self._response @ d)
        more = more if self.problem.multinomial else float(more[0])
        return image + more, shift + more

    def penalty(self, x):
        """Return the penalty of the block at ``x``, ridge included."""
        return self.problem._penalty(self.indices, x)

    def cost_change(self, new):
        """Return by how much the l1 part grows from the current point to ``new``."""
        return self.problem.cost_change(self, new)

    def step(self, d, image=None, shift=None):
        """Return the :class:`Step` that changes the block by ``d``.

        ``image`` and ``shift`` are the changes of the predictions and of the intercept, by
        default those that the bounds suppose.
        """
        problem = self.problem
        if image is None:
            image, shift = self.predict(d), self.shift(d)
        predictions = problem.predictions + image
        x = problem.x.copy()
        x[self.indices] += d
        objective = problem._objective(predictions, problem._penalty(slice(None), x))
        return Step(self, d, predictions, problem.intercept + shift, objective)


def euclidean_norm(vector):
    """Return the 2-norm of a vector; no square overflows or vanishes."""
    return float(linalg.norm(vector, check_finite=False))


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
