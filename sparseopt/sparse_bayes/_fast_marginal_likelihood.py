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
    add_to_diagonal,
    log_determinant,
    root_of_inverse,
    squared_norms,
    try_cholesky,
)
from sparseopt.sparse_bayes._rounding import rounding_of
from sparseopt.sparse_bayes._square_roots import LOST, OrthogonalFactors, has_lost_digits

DOUBTFUL = 1e-6  # shares of a feature that others leave, below which they are computed with care
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
    add_to_diagonal(curvature, slopes)
    return slopes, curvature


def descent_direction(curvature, slopes):
    """Return a Newton direction, with curvature added until the matrix is positive definite."""
    added = 0.0
    while True:
        matrix = curvature.copy()
        add_to_diagonal(matrix, added)
        factor = try_cholesky(matrix)
        if factor is not None:
            return -cho_solve((factor, True), slopes)
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
        self.power = float(squared_norms(Y, None)) / Y.shape[1]
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
        self.n_updates, self.limit = 0, REFRESH
        self.slope = self.distance = np.inf
        self.rounding = 0.0
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
        half, determinant, factors = self._solve_active()
        k, s2, L = self.size, self.s2, self.Y.shape[1]
        active = self.active[:k]
        g = self.g[active]
        self.where[:] = -1
        self.where[active] = np.arange(k)
        if factors is None:
            white = half @ self.rows[self.row_of[active]].conj()
            self.S = self.norms / s2 - squared_norms(white, 0) / s2**2
            self.residual = self.Y - self.X[:, active] @ self.mean[:k]
            if k and np.any((self.S * s2 < LOST * self.norms) & (self.where < 0)):
                factors = OrthogonalFactors(self.X[:, active], g, s2)
        if factors is not None:
            self._survey_carefully(factors)
        self.Q = self.adjoint @ self.residual / s2
        if factors is not None:
            self.Q[self.doubtful] = self.rest
        shares = np.diagonal(self.sigma)[:k].real / g
        strong = shares < 0.5
        self.S[active[strong]] = (1 - shares[strong]) / g[strong]
        self.Q[active] = self.mean[:k] / g[:, None]
        quadratic = float(squared_norms(self.residual, None)) / s2
        quadratic = (quadratic + float((squared_norms(self.mean[:k], 1) / g).sum())) / L
        self.nll = len(self.X) * float(np.log(s2)) + determinant + quadratic
        self.length = quadratic**0.5

    def _survey_carefully(self, factors):
        """Compute S, the residual, and Q of features that nearly depend on the active ones."""
        found = factors.top.conj().T @ self.X
        self.S = (self.norms - squared_norms(found, 0)) / self.s2
        self.doubtful = np.flatnonzero(self.S * self.s2 < DOUBTFUL * self.norms)
        rest_X, rest_Y = factors.remainder(self.X[:, self.doubtful]), factors.remainder(self.Y)
        self.S[self.doubtful] = squared_norms(rest_X, 0)
        self.rest = rest_X.conj().T @ rest_Y
        self.residual = factors.s * rest_Y[: len(self.Y)]

    def _solve_active(self):
        """Compute covariance and mean of the active weights.

        Returns the root of the former, the log determinant of their precision, and orthogonal
        factors if these were needed.
        """
        k, s2 = self.size, self.s2
        if k == 0:
            return np.zeros((0, 0), self.X.dtype), 0.0, None
        active = self.active[:k]
        g = self.g[active]
        factor, inverse = root_of_inverse(self._precision(active, np.sqrt(g)))
        if factor is None:
            factors = OrthogonalFactors(self.X[:, active], g, s2)
            half, determinant = factors.half(), factors.log_determinant
            self.mean[:k] = factors.mean(self.Y)
        else:
            factors, determinant = None, log_determinant(factor)
            half = inverse * np.sqrt(g)
            self.mean[:k] = half.conj().T @ (half @ self.products[active]) / s2
        self.sigma[:k, :k] = half.conj().T @ half
        return half, determinant, factors

    def _precision(self, active, roots):
        gram = self.rows[np.ix_(self.row_of[active], active)].T
        precision = gram * (roots / self.s2)
        precision *= roots[:, None]
        add_to_diagonal(precision, 1)
        return precision

    def update(self, tols, limit=REFRESH, *, jointly=False, learn_noise=None):
        """Change up to ``limit`` variances, then the noise, and compute all afresh.

        Where that raised nll, since rank-one updates had lost too many digits, everything is as it
        was, and from then on they are fewer between two factorisations.

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
        limit, before = min(limit, self.limit), self._snapshot()
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
        if self.moved and self._is_worse_than(before, learn_noise is not None):
            self._restore(before)
            self.moved, self.limit = limit > 1, max(1, limit // 8)
            return gains[:0]
        return gains[:done]

    def _snapshot(self):
        return self.active[: self.size].copy(), self.g.copy(), self.s2, self.nll

    def _is_worse_than(self, before, other_noise):
        if not np.isfinite(self.nll):
            return True
        return not other_noise and self.nll > before[3] + 1e-9 * abs(before[3])

    def _restore(self, before):
        active, self.g[:], self.s2, _ = before
        self.size = len(active)
        self.active[: self.size] = active
        self.refresh()

    def _step_jointly(self):
        """Take a Newton step in the logarithms of the active variances, if nll falls.

        One at a time, variances of correlated features take long to settle.
        """
        k = self.size
        active = self.active[:k]
        g = self.g[active]
        slopes, curvature = joint_derivatives(self.sigma[:k, :k], self.mean[:k], g)
        if not np.abs(slopes).max() > self.rounding:
            return False
        step = descent_direction(curvature, slopes)
        step *= min(1.0, LONGEST_STEP / np.abs(step).max())
        before, promise = self._nll_of(g), -float(slopes @ step)
        rounding = 1e-10 * (abs(before) + self.power / self.s2)
        for _ in range(HALVINGS):
            after = self._nll_of(g * np.exp(step))
            if after <= before - 1e-4 * promise or promise < rounding:
                self.g[active] = g * np.exp(step)
                return True
            step, promise = step / 2, promise / 2
        return False

    def _nll_of(self, g):
        """Return nll, up to a constant, for other active variances."""
        L, s2, roots = self.Y.shape[1], self.s2, np.sqrt(g)
        active = self.active[: self.size]
        precision = self._precision(active, roots)
        diagonal = np.diagonal(precision).real.copy()
        factor = try_cholesky(precision)
        if factor is None or has_lost_digits(diagonal, np.diagonal(factor).real ** 2):
            factors = OrthogonalFactors(self.X[:, active], g, s2)
            quadratic = float(squared_norms(factors.remainder(self.Y), None))
            return factors.log_determinant + quadratic / L
        seen = roots[:, None] * self.products[active]
        white = solve_triangular(factor, seen, lower=True, check_finite=False)
        explained = float(squared_norms(white, None)) / (L * s2**2)
        return log_determinant(factor) + self.power / s2 - explained

    def stationarity(self):
        """Return the largest derivative of nll and distance, as :func:`survey` measures them.

        What rounding errors may hide is added to the derivative.
        """
        slope, distance = kernels.survey(
            *(self.S, self.Q, self.g, self.sigma, self.mean, self.active, self.size, self.where),
            (1.0, 1.0),
        )[3:]
        k, L = self.size, self.Y.shape[1]
        shares = np.diagonal(self.sigma)[:k].real / self.g[self.active[:k]]
        parts = {
            "norms": self.norms,
            "terms": (self.S, squared_norms(self.Q, 1) / L),
            "shares": shares[np.argsort(self.active[:k])],
            "length": self.length,
        }
        self.rounding = rounding_of(self.X, self.Y, self.g, self.s2, **parts)
        return slope + self.rounding, distance

    def _noise_share(self):
        k = self.size
        active = self.active[:k]
        residual = self.Y - self.X[:, active] @ self.mean[:k]
        shares = self.sigma[np.arange(k), np.arange(k)].real / self.g[active]
        squares = float(squared_norms(residual, None)) / self.Y.shape[1]
        return squares, len(self.X) - k + float(shares.sum())
