"""A matrix kept as its singular triplets."""

from typing import Any, NamedTuple

from sparseopt._core import array_namespace


class LowRankMatrix(NamedTuple):
    """The matrix ``U diag(s) Vt``, from any array library.

    It is never changed after its creation, so that solvers can hand it around as their
    iterate without copying an array.
    """

    U: Any  # (m, r), orthonormal columns
    s: Any  # (r,), the largest first
    Vt: Any  # (r, n), orthonormal rows

    @property
    def rank(self):
        """Number of triplets."""
        return self.s.shape[0]

    @property
    def shape(self):
        """Shape (m, n) of the matrix."""
        return self.U.shape[0], self.Vt.shape[1]

    @property
    def T(self):
        """The transposed matrix."""
        return LowRankMatrix(self.Vt.T, self.s, self.U.T)

    @property
    def nuclear_norm(self):
        """Sum of the singular values."""
        xp = array_namespace(self.s)
        return float(xp.sum(self.s))

    def copy(self):
        """Return the matrix itself: nothing can change it."""
        return self

    def to_dense(self, out=None):
        """Return the matrix as an array of shape (m, n); 2 m n r flops.

        Parameters
        ----------
        out : ndarray of shape (m, n), optional
            NumPy array to write to.
        """
        xp = array_namespace(self.s)
        if out is None:
            return xp.matmul(self.U * self.s, self.Vt)
        return xp.matmul(self.U * self.s, self.Vt, out=out)
