r"""Refinement of a direction: least squares over the link and the direction together.

For standardised rows :math:`z_i` (d,) with weights :math:`w_i` that sum to one, the problem is

.. math::

    \min_{|\theta| = 1} L(\theta), \qquad
    L(\theta) = \min_{\sigma \in P_m} \sum_i w_i (y_i - \sigma(z_i^T \theta))^2

over polynomials :math:`\sigma` of degree m: the link is profiled out. A Gauss-Newton step on the
sphere linearises the residuals in the direction, with
:math:`J = \mathrm{diag}(\sigma'(u)) (Z - u \theta^T)`. The columns of J are projected onto the
complement of the space of links, since the link answers to every change of the direction
(L. Kaufman, "A variable projection method for solving separable nonlinear least squares
problems", BIT 15, 1975). Near a minimum the step is that of Newton, with the Hessian of
:math:`L` on the sphere. Steps are halved until :math:`L` decreases, so that it never increases.

The certificate is the squared Newton decrement :math:`g^T A^{-1} g / L`: the share of the loss
that the next step would remove if the model were exact.
"""

import numpy as np
from scipy import linalg
from scipy.special import poch

from sparseopt._core import Progress, iterate
from sparseopt._core._hermite import hermite_basis

RIDGE = 1e-10  # on the link's coefficients, whose basis functions are scaled to mean square one
DAMPING = 1e-3  # on the direction, relative to the mean eigenvalue
NEAR = 1e-2  # decrement below which Newton steps are tried
RESOLUTION = 1e-16  # of the loss, relative to the variance of the targets
CONSTANT = 1e-14  # standard deviation of targets without any, relative to the largest
MOST_HALVINGS = 30


class PolynomialFit:
    """The best polynomial of ``u``, in Hermite polynomials of the standardised ``u``.

    Attributes
    ----------
    coefficients : ndarray of shape (degree + 1,)
        Of the normalised Hermite polynomials.
    centre, scale : float
        Mean and standard deviation of ``u``.
    basis : ndarray of shape (n, degree + 1)
        The polynomials' values.
    residual : ndarray of shape (n,)
        Targets minus the values of the polynomial.
    loss : float
        Weighted mean square of the residuals.
    variance : float
        Of the targets.
    """

    def __init__(self, u, y, weight, degree):
        self.centre = float(weight @ u)
        spread = np.sqrt(weight @ (u - self.centre) ** 2)
        self.scale = float(spread) if spread > 1e-12 * np.max(np.abs(u), initial=1.0) else 1.0
        self.basis = hermite_basis((u - self.centre) / self.scale, degree)
        weighted = weight[:, None] * self.basis
        gram = self.basis.T @ weighted
        sizes = np.sqrt(np.diag(gram))
        sizes[sizes == 0] = 1.0
        gram /= np.outer(sizes, sizes)
        gram[np.diag_indices(degree + 1)] += RIDGE
        self._factor = linalg.cho_factor(gram)
        self._sizes = sizes
        mean = weight @ y  # the ridge must not pull at a mean that is large
        centred = y - mean
        self.coefficients = self.solve(weighted.T @ centred)
        self.residual = centred - self.basis @ self.coefficients
        self.coefficients[0] += mean
        self.loss = float(weight @ self.residual**2)
        self.variance = float(weight @ centred**2)

    def solve(self, products):
        """Return the coefficients that belong to products with the basis (degree + 1, ...)."""
        sizes = self._sizes.reshape(-1, *[1] * (products.ndim - 1))
        return linalg.cho_solve(self._factor, products / sizes) / sizes

    def derivative(self, order):
        """Return a derivative of the polynomial with respect to ``u``, at ``u``."""
        degree = len(self.coefficients) - 1
        if order > degree:
            return np.zeros(len(self.basis))
        powers = np.arange(order, degree + 1)
        factors = self.coefficients[order:] * np.sqrt(poch(powers - order + 1, order))
        return self.basis[:, : degree + 1 - order] @ factors / self.scale**order

    def basis_slopes(self):
        """Return the derivatives of the polynomials with respect to ``u`` (n, degree + 1)."""
        slopes = np.zeros_like(self.basis)
        degree = len(self.coefficients) - 1
        slopes[:, 1:] = self.basis[:, :-1] * (np.sqrt(np.arange(1, degree + 1)) / self.scale)
        return slopes


class RefinementState:
    """A direction ``x`` (d,), the link that belongs to it, and the next step."""

    def __init__(self, rows, y, theta, degree):
        self.rows, self.y, self.degree = rows, y, degree
        self.rounding = (CONSTANT * np.max(np.abs(y))) ** 2
        self.x = theta
        self.fit = self.profile(theta)
        self.step, self.decrement = self.propose()

    def profile(self, theta):
        return PolynomialFit(self.rows.index(theta), self.y, self.rows.weight, self.degree)

    def propose(self):
        """Return the next step (d,), tangent to the sphere, and its decrement.

        It is a Gauss-Newton step, or near the minimum, where those become slow if residuals are
        large, a Newton step.
        """
        fit, rows = self.fit, self.rows
        slopes = fit.derivative(1)
        weighted = rows.weight * slopes
        gradient = _tangent(self.x, rows.cross(weighted * fit.residual))
        scale = fit.loss + RESOLUTION * fit.variance
        if fit.variance <= self.rounding or not np.any(gradient):
            return np.zeros_like(self.x), 0.0
        mixed = rows.cross(weighted[:, None] * fit.basis)
        step = self.solve(weighted * slopes, mixed, 0.0, DAMPING, gradient)
        if step is None:  # a link without slope, up to rounding
            step = gradient / np.linalg.norm(gradient)
        if step @ gradient <= NEAR * scale:
            newton = self.newton_step(gradient, mixed)
            step = step if newton is None else newton
        return step, float(step @ gradient / scale)

    def newton_step(self, gradient, mixed):
        """Return the step by the Hessian of the profiled loss on the sphere, if that is positive.

        Beside the products of slopes stand the second derivatives of the link, the curvature of
        the sphere and, in the ``mixed`` derivatives, the slopes of the basis.
        """
        fit, rows = self.fit, self.rows
        slopes, bends = fit.derivative(1), fit.derivative(2)
        pulled = rows.weight * fit.residual
        mixed = mixed - rows.cross(pulled[:, None] * fit.basis_slopes())
        curvature = (pulled * slopes) @ rows.index(self.x)
        return self.solve(rows.weight * slopes**2 - pulled * bends, mixed, curvature, 0.0, gradient)

    def solve(self, values, mixed, curvature, damping, gradient):
        """Solve for a step; ``None`` if the matrix is not positive on the tangent space."""
        theta, n_features = self.x, len(self.x)
        matrix = self.rows.gram(values)
        matrix -= mixed @ self.fit.solve(mixed.T)
        matrix = _tangent(theta, _tangent(theta, matrix).T)
        level = max(np.trace(matrix), 0.0) / n_features
        matrix[np.diag_indices(n_features)] += damping * level + curvature
        matrix += level * np.outer(theta, theta)
        try:
            factor = linalg.cho_factor(matrix)
        except linalg.LinAlgError:
            return None
        step = _tangent(theta, linalg.cho_solve(factor, gradient))
        return step if np.all(np.isfinite(step)) and step @ gradient > 0 else None

    def advance(self):
        """Move along the step as far as the loss decreases."""
        length = 1.0
        for _ in range(MOST_HALVINGS):
            theta = self.x + length * self.step
            theta /= np.linalg.norm(theta)
            fit = self.profile(theta)
            if fit.loss < self.fit.loss:
                self.x, self.fit = theta, fit
                self.step, self.decrement = self.propose()
                return self.progress()
            length /= 2
        # No step improves: as far as this precision can tell, this is a minimum.
        return self.progress()._replace(stalled=True)

    def progress(self):
        return Progress(self.fit.loss, self.decrement)


def refine_direction(rows, y, theta, *, degree, max_iter=200, tol=1e-10, callback=None, warn=True):
    """Minimise the profiled loss over the sphere, from ``theta``.

    Parameters
    ----------
    rows : Rows
        Standardised rows, (n, d).
    y : ndarray of shape (n,)
        Targets.
    theta : ndarray of shape (d,)
        Start; it need not be normalised.
    degree : int
        Of the polynomial link, at least 1.
    max_iter : int, default=200
        Largest number of steps. Each costs ``n d^2`` flops.
    tol : float, default=1e-10
        Largest squared Newton decrement, relative to the loss.
    callback : callable, optional
        As SciPy's optimizers call it.
    warn : bool, default=True
        Whether to warn when ``tol`` is not reached.

    Returns
    -------
    result : OptimizeResult
        ``x`` (d,), ``fun``, ``certificate``, ``nit``, ``history`` and what else
        ``sparseopt._core.iterate`` returns.
    """
    state = RefinementState(rows, y, theta / np.linalg.norm(theta), degree)
    return iterate(
        RefinementState.advance,
        state,
        max_iter=max_iter,
        tol=tol,
        method="The refinement of the single-index direction",
        initial=state.progress(),
        callback=callback,
        certificate_name="Newton decrement",
        advice="Lower the degree of the link, or give more samples: the direction is hardly "
        "determined.",
        descends=True,
        warn=warn,
    )


def _tangent(theta, vectors):
    """Return vectors (d,), or the columns of a matrix, without their parts along ``theta``."""
    along = theta @ vectors
    return vectors - (np.outer(theta, along) if vectors.ndim == 2 else theta * along)
