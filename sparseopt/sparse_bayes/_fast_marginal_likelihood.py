r"""Fast marginal likelihood maximisation: exact coordinate descent over the prior variances.

M. E. Tipping & A. C. Faul, "Fast marginal likelihood maximisation for sparse Bayesian models",
AISTATS 2003, for several targets and complex data. In the notation of :mod:`._posterior`: as a
function of one precision a = 1 / g_j, nll is a constant minus

    l(a) = log a - log(a + s) + q^2 / (a + s),
    s = x_j^H C_j^-1 x_j,    q^2 = ||x_j^H C_j^-1 Y||^2 / L,

where C_j is the covariance of the data without feature j. It is largest at a = s^2 / (q^2 - s), or
at infinity if q^2 <= s. Each step takes the feature with the largest gain. The model starts empty,
or from given variances, which makes this the last stage of the other rules.
"""

import numpy as np

from sparseopt.sparse_bayes._kernels import fast as kernels
from sparseopt.sparse_bayes._posterior import cholesky, inverse_triangle, squared_norms

WHOLE_GRAM = 512  # features up to which all rows of the Gram matrix are computed at once
SMALLEST_TOL = 1e-12
REFRESH = 50  # rank-one updates between two factorisations, which undo their drift


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
        k = self.size
        active = self.active[:k]
        self.where[:] = -1
        self.where[active] = np.arange(k)
        g, s2 = self.g[active], self.s2
        roots = np.sqrt(g)
        rows = self.rows[self.row_of[active]]
        information = rows[:, active].T * np.outer(roots, roots) / s2
        precision = information.copy()
        precision[np.diag_indices(k)] += 1
        factor = cholesky(precision) if k else precision
        half = inverse_triangle(factor) * roots if k else precision
        self.sigma[:k, :k] = half.conj().T @ half
        white = half @ rows.conj()
        self.S = self.norms / s2 - squared_norms(white, 0) / s2**2
        shares = self.sigma[np.arange(k), np.arange(k)].real / g
        strong = shares < 0.5
        self.S[active[strong]] = (1 - shares[strong]) / g[strong]
        X, L = self.X[:, active], self.Y.shape[1]
        self.mean[:k] = half.conj().T @ (half @ (X.conj().T @ self.Y)) / s2
        self.residual = self.Y - X @ self.mean[:k]
        self.Q = self.adjoint @ self.residual / s2
        self.Q[active] = self.mean[:k] / g[:, None]
        quadratic = float(squared_norms(self.residual, None)) / s2
        quadratic = (quadratic + float((squared_norms(self.mean[:k], 1) / g).sum())) / L
        determinant = 2 * float(np.log(np.diag(factor).real).sum()) if k else 0.0
        self.nll = len(X) * float(np.log(s2)) + determinant + quadratic

    def update(self, tols, limit=REFRESH, learn_noise=None):
        """Change up to ``limit`` variances, then the noise, and compute all afresh.

        Parameters
        ----------
        tols : tuple of two floats
            Positive limits for the derivatives of nll, and for the relative distance of a variance
            from its best value.
        limit : int
            Largest number of changes.
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
        if learn_noise is not None:
            self.s2 = learn_noise(*self._noise_share())
        if done or learn_noise is not None:
            self.refresh()
        return gains[:done]

    def stationarity(self):
        """Return the largest derivative of nll, as :func:`survey` measures it."""
        return kernels.survey(
            *(self.S, self.Q, self.g, self.sigma, self.mean, self.active, self.size, self.where),
            (1.0, 1.0),
        )[3]

    def _noise_share(self):
        k = self.size
        active = self.active[:k]
        residual = self.Y - self.X[:, active] @ self.mean[:k]
        shares = self.sigma[np.arange(k), np.arange(k)].real / self.g[active]
        squares = float(squared_norms(residual, None)) / self.Y.shape[1]
        return squares, len(self.X) - k + float(shares.sum())
