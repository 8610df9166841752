r"""Posteriors from orthogonal factors, for features that are nearly dependent at little noise.

With a_j the columns of A = X diag(g)^(1/2) / s, s2 = s^2, the matrix that
:mod:`._posterior` factorises is P = I + A^H A. Its Cholesky factorisation loses digits as
P_jj (P^-1)_jj grows, the factor by which other columns inflate the variance of a weight. The
factorisation

    [A; I] = Q R,   R^H R = P,

finds the same R without the squares, and so loses the square root of that only. It costs some four
times as much. For any x in C^n, with r(x) = (I - Q Q^H) [x / s; 0],

    x^H S^-1 y = r(x)^H r(y).
"""

import numpy as np
from scipy.linalg import get_lapack_funcs, qr

LOST = 1e-9  # quotients below have lost too many digits


class OrthogonalFactors:
    """Q, R and the inverse of R of a model.

    Parameters
    ----------
    X : ndarray of shape (n, k)
        Features.
    g : ndarray of shape (k,)
        Prior variances.
    s2 : float
        Noise variance.
    """

    def __init__(self, X, g, s2):
        n, k = X.shape
        self.s, self.roots = np.sqrt(s2), np.sqrt(g)
        stacked = np.zeros((n + k, k), X.dtype, order="F")
        np.multiply(X, self.roots / self.s, out=stacked[:n])
        stacked[n + np.arange(k), np.arange(k)] = 1
        Q, R = qr(stacked, mode="economic", overwrite_a=True, check_finite=False)
        self.top, self.bottom = Q[:n], Q[n:]
        (trtri,) = get_lapack_funcs(("trtri",), (R,))
        self.inverse, _ = trtri(R)
        self.log_determinant = 2 * float(np.log(np.abs(np.diag(R))).sum())

    def half(self):
        """Return H (k, k) such that H^H H is the covariance of the weights."""
        return self.inverse.conj().T * self.roots

    def mean(self, Y):
        """Return the posterior mean (k, L)."""
        return self.roots[:, None] * (self.inverse @ (self.top.conj().T @ (Y / self.s)))

    def remainder(self, A):
        """Return r(a) of each column of A, of shape (n + k, n_columns)."""
        scaled = A / self.s
        found = self.top.conj().T @ scaled
        upper, lower = scaled - self.top @ found, -self.bottom @ found
        again = self.top.conj().T @ upper + self.bottom.conj().T @ lower
        return np.concatenate([upper - self.top @ again, lower - self.bottom @ again])


def has_lost_digits(diagonal, squares):
    """Return whether a Cholesky factorisation of P has lost too many digits.

    Parameters
    ----------
    diagonal : ndarray of shape (k,)
        Diagonal of P.
    squares : ndarray of shape (k,)
        Squares of the pivots, or reciprocals of the diagonal of the inverse of P: what of a
        column of A the ones before leave, or all others.
    """
    return bool(np.any(squares < LOST * diagonal))


def triangle_of_samples(scaled, s2):
    """Return the lower Cholesky factor of ``s2 I + scaled scaled^H``, without squares."""
    n, k = scaled.shape
    stacked = np.zeros((k + n, n), scaled.dtype, order="F")
    stacked[:k] = scaled.conj().T
    stacked[k + np.arange(n), np.arange(n)] = np.sqrt(s2)
    (R,) = qr(stacked, mode="r", overwrite_a=True, check_finite=False)
    R = R[:n]
    phases = np.diagonal(R) / np.abs(np.diagonal(R))
    return (phases.conj()[:, None] * R).conj().T
