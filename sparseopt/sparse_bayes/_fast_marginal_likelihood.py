r"""Fast marginal likelihood maximisation: exact coordinate descent over the prior variances.

M. E. Tipping & A. C. Faul, "Fast marginal likelihood maximisation for sparse Bayesian models",
AISTATS 2003, for several targets and complex data. In the notation of :mod:`._posterior`: as a
function of one precision a = 1 / g_j, nll is a constant minus

    l(a) = log a - log(a + s) + q^2 / (a + s),
    s = x_j^H C_j^-1 x_j,    q^2 = ||x_j^H C_j^-1 Y||^2 / L,

where C_j is the covariance of the data without feature j. It is largest at a = s^2 / (q^2 - s), or
at infinity if q^2 <= s. Each step takes the feature with the largest gain. The model starts empty,
or from given variances, which makes this the last stage of the other rules. Between sweeps of such
steps, a Newton step of all active variances (ours) spares the tail that correlated features cause.
"""

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from sparseopt.sparse_bayes._kernels import fast as kernels
from sparseopt.sparse_bayes._posterior import (
    cholesky,
    inverse_triangle,
    log_determinant,
    squared_norms,
)

WHOLE_GRAM = 512  # features up to which all rows of the Gram matrix are computed at once
SMALLEST_TOL = 1e-12
LONGEST_STEP = 2.0  # of the logarithm of a variance
HALVINGS = 4
REFRESH = 50  # rank-one updates between two factorisations, which undo their drift


def joint_derivatives(sigma, mean, g):
    """Return gradient and Hessian of nll in the logarithms of the active variances.

    With Z = X^H S^-1 X and q = X^H S^-1 Y, the gradient in g is z_jj - |q_j|^2 / L and the Hessian
    2 Re(conj(q_i) Z_ij q_j) / L - |Z_ij|^2; the posterior holds both, scaled by the roots of g.
    """
    L, roots = mean.shape[1], np.sqrt(g)
    shares = np.eye(len(g)) - sigma / np.outer(roots, roots)
    weights = mean / roots[:, None]
    slopes = np.diag(shares).real - squared_norms(weights, 1) / L
    curvature = 2 * (shares * (weights.conj() @ weights.T)).real / L - np.abs(shares) ** 2
    curvature[np.diag_indices_from(curvature)] += slopes
    return slopes, curvature


def descent_direction(curvature, slopes):
    """Return a Newton direction, with curvature added until the matrix is positive definite."""
    added = 0.0
    while True:
        matrix = curvature.copy()
        matrix[np.diag_indices_from(matrix)] += added
        try:
            return -cho_solve((cholesky(matrix), True), slopes)
        except np.linalg.LinAlgError:
            added = max(4 * added, 1e-3)


class FastModel:
    """A model that :func:`run_updates` changes: its arrays, and what it keeps of the data.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Features.
    Y : ndarray of shape (n, L)
        Targets.
    g : ndarray of shape (p,)
        Prior variances to start from; changed in place.
    s2 : float
        Noise variance.
    gram : ndarray of shape (p, p), optional
        ``X^H X``.
    """

    def __init__(self, X, Y, g, s2, gram=None):
        p = X.shape[1]
        self.X, self.Y, self.g, self.s2 = X, Y, g, s2
        self.adjoint = np.ascontiguousarray(X.conj().T)
        self.norms = squared_norms(X, 0)
        self.products = self.adjoint @ Y
        self.row_of = np.full(p, -1)
        self.where = np.full(p, -1)
        self.n_rows, self.size = 0, int(np.count_nonzero(g))
        capacity = min(p, max(32, 2 * self.size))
        self._allocate(capacity)
        self.active[: self.size] = np.flatnonzero(g)
        if gram is not None or p <= WHOLE_GRAM:
            self.n_rows, self.row_of[:] = p, np.arange(p)
            gram = X.conj().T @ X if gram is None else gram
            self.rows = np.ascontiguousarray(gram.T)
        else:
            self.rows = np.empty((capacity, p), X.dtype)
            for j in self.active[: self.size]:
                self._add_row(j)
        self.n_updates = 0
        self.slope = self.distance = np.inf
        self.refresh()

    def _allocate(self, capacity):
        p, L, dtype = len(self.g), self.Y.shape[1], self.X.dtype
        self.active = np.full(capacity, -1)
        self.sigma = np.zeros((capacity, capacity), dtype)
        self.mean = np.zeros((capacity, L), dtype)
        self.work = np.empty(p, dtype), np.empty(capacity, dtype), np.empty(L, dtype)

    def _grow(self):
        kept, k = (self.active, self.sigma, self.mean), self.size
        self._allocate(min(2 * k, len(self.g)))
        self.active[:k], self.sigma[:k, :k], self.mean[:k] = kept

    def _add_row(self, j):
        if self.n_rows == len(self.rows):
            longer = np.empty((min(2 * self.n_rows, len(self.g)), len(self.g)), self.rows.dtype)
            longer[: self.n_rows] = self.rows
            self.rows = longer
        self.rows[self.n_rows] = self.adjoint @ self.X[:, j]
        self.row_of[j] = self.n_rows
        self.n_rows += 1

    def refresh(self):
        """Compute everything afresh from the variances and the noise, in O(k^3 + k^2 p)."""
        half, determinant = self._solve_active()
        k, s2, L = self.size, self.s2, self.Y.shape[1]
        active = self.active[:k]
        g = self.g[active]
        self.where[:] = -1
        self.where[active] = np.arange(k)
        white = half @ self.rows[self.row_of[active]].conj()
        self.S = self.norms / s2 - squared_norms(white, 0) / s2**2
        shares = np.diagonal(self.sigma)[:k].real / g
        strong = shares < 0.5
        self.S[active[strong]] = (1 - shares[strong]) / g[strong]
        self.residual = self.Y - self.X[:, active] @ self.mean[:k]
        self.Q = self.adjoint @ self.residual / s2
        self.Q[active] = self.mean[:k] / g[:, None]
        quadratic = float(squared_norms(self.residual, None)) / s2
        quadratic = (quadratic + float((squared_norms(self.mean[:k], 1) / g).sum())) / L
        self.nll = len(self.X) * float(np.log(s2)) + determinant + quadratic

    def _solve_active(self):
        """Compute covariance and mean of the active weights; return the former's root, too."""
        k, s2 = self.size, self.s2
        if k == 0:
            return np.zeros((0, 0), self.X.dtype), 0.0
        active = self.active[:k]
        roots = np.sqrt(self.g[active])
        factor = cholesky(self._precision(active, roots))
        half = inverse_triangle(factor) * roots
        self.sigma[:k, :k] = half.conj().T @ half
        self.mean[:k] = half.conj().T @ (half @ self.products[active]) / s2
        return half, log_determinant(factor)

    def _precision(self, active, roots):
        precision = self.rows[self.row_of[active]][:, active].T * np.outer(roots, roots) / self.s2
        precision[np.diag_indices(len(active))] += 1
        return precision

    def update(self, tols, limit=REFRESH, *, jointly=False, learn_noise=None):
        """Change up to ``limit`` variances, then the noise, and compute all afresh.

        Parameters
        ----------
        tols : tuple of two floats
            Positive limits for the derivatives of nll, and for the relative distance of a variance
            from its best value.
        limit : int
            Largest number of changes.
        jointly : bool
            Whether a Newton step of all active variances follows.
        learn_noise : callable, optional
            Called as ``learn_noise(squares, free)`` with the mean squared residual and the number
            of rows that no feature determines; returns the noise variance.

        Returns
        -------
        gains : ndarray of shape (n_changes,)
            By how much each change lowered nll.
        """
        tols = tuple(max(tol, SMALLEST_TOL) for tol in tols)
        gains = np.empty(limit)
        done = 0
        while True:
            status, self.size, count, wanted, self.slope, self.distance = kernels.run_updates(
                *(self.S, self.Q, self.g, self.sigma, self.mean, self.active, self.size),
                *(self.where, self.rows, self.row_of, self.s2, self.work, tols),
                *(limit - done, gains[done:]),
            )
            done += count
            if status != kernels.NEEDS_ROW:
                break
            if self.row_of[wanted] < 0:
                self._add_row(wanted)
            if self.size == len(self.active):
                self._grow()
        self.settled = status == kernels.SETTLED
        self.n_updates += done
        moved = jointly and self.size > 0 and self._step_jointly()
        if learn_noise is not None:
            if moved:
                self._solve_active()
            self.s2 = learn_noise(*self._noise_share())
        self.moved = moved or done > 0
        if learn_noise is not None or self.moved:
            self.refresh()
        return gains[:done]

    def _step_jointly(self):
        """Take a Newton step in the logarithms of the active variances, if nll falls.

        One at a time, variances of correlated features take long to settle.
        """
        k = self.size
        active = self.active[:k]
        g = self.g[active]
        slopes, curvature = joint_derivatives(self.sigma[:k, :k], self.mean[:k], g)
        if not slopes.any():
            return False
        step = descent_direction(curvature, slopes)
        step *= min(1.0, LONGEST_STEP / np.abs(step).max())
        before, promise = self._nll_of(g), -float(slopes @ step)
        for _ in range(HALVINGS):
            after = self._nll_of(g * np.exp(step))
            if after <= before - 1e-4 * promise or promise < 1e-10 * abs(before):
                self.g[active] = g * np.exp(step)
                return True
            step, promise = step / 2, promise / 2
        return False

    def _nll_of(self, g):
        """Return nll, up to rounding errors of its largest part, for other active variances."""
        k, roots = self.size, np.sqrt(g)
        active = self.active[:k]
        factor = cholesky(self._precision(active, roots))
        seen = roots[:, None] * self.products[active]
        white = solve_triangular(factor, seen, lower=True, check_finite=False)
        return log_determinant(factor) - float(squared_norms(white, None)) / (
            self.Y.shape[1] * self.s2**2
        )

    def stationarity(self):
        """Return the largest derivative of nll and distance, as :func:`survey` measures them."""
        return kernels.survey(
            *(self.S, self.Q, self.g, self.sigma, self.mean, self.active, self.size, self.where),
            (1.0, 1.0),
        )[3:]

    def _noise_share(self):
        k = self.size
        active = self.active[:k]
        residual = self.Y - self.X[:, active] @ self.mean[:k]
        shares = self.sigma[np.arange(k), np.arange(k)].real / self.g[active]
        squares = float(squared_norms(residual, None)) / self.Y.shape[1]
        return squares, len(self.X) - k + float(shares.sum())
