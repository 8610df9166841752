"""Gram matrix entries of the features that have been active, computed once each."""

import numpy as np
from scipy import linalg

from sparseopt.optimize._kernels import cpu


class GramCache:
    """Gram matrix of a growing set of columns of a design.

    Each pair of columns is multiplied at most once while both stay cached, so that a
    whole regularisation path costs the Gram matrix of its final support.

    Parameters
    ----------
    design : DenseDesign or SparseDesign
        The design whose columns are multiplied.
    max_features : int, default=4096
        Largest number of columns kept (128 MiB in float64).
    """

    def __init__(self, design, max_features=4096):
        self.design = design
        self.max_features = min(max_features, design.shape[1])
        self._forget()

    def _forget(self):
        self._slot = np.full(self.design.shape[1], -1)
        self._features = np.empty(0, dtype=np.intp)
        self._gram = np.empty((0, 0), dtype=self.design.dtype)

    def submatrix(self, features):
        """Return a new array ``X~[:, features]^H X~[:, features]``."""
        new = features[self._slot[features] < 0]
        if new.size:
            if self._features.size + new.size > self.max_features:
                self._forget()
                new = features
            self._extend(new)
        out = np.empty((features.size, features.size), dtype=self._gram.dtype, order="F")
        cpu.principal_submatrix(self._gram, self._slot[features], out)
        return out

    def _extend(self, new):
        old_size, size = self._features.size, self._features.size + new.size
        if size > self._gram.shape[0]:
            capacity = min(max(2 * self._gram.shape[0], size, 64), self.max_features)
            grown = np.empty((capacity, capacity), dtype=self.design.dtype)
            grown[:old_size, :old_size] = self._gram[:old_size, :old_size]
            self._gram = grown
        self._slot[new] = np.arange(old_size, size)
        self._features = np.concatenate([self._features, new])
        block = self.design.gram(self._features, new)
        self._gram[:size, old_size:size] = block
        self._gram[old_size:size, :old_size] = block[:old_size].conj().T

    def solve(self, features, ridge, rhs):
        """Solve ``(Gram + diag(ridge)) d = rhs``; slightly damped if that is singular."""
        diagonal = self.design.column_norms_squared[features] + ridge
        scale = np.max(diagonal)
        epsilon = np.finfo(scale.dtype).eps
        for damping in (0.0, 1e2 * epsilon * features.size, np.sqrt(epsilon)):
            matrix = self.submatrix(features)
            matrix[np.diag_indices_from(matrix)] = diagonal + damping * scale
            (potrf,) = linalg.lapack.get_lapack_funcs(("potrf",), (matrix,))
            factor, info = potrf(matrix, lower=True, overwrite_a=True, clean=False)
            if info == 0 and np.min(np.abs(np.diagonal(factor))) ** 2 > 10 * epsilon * scale:
                return linalg.cho_solve((factor, True), rhs, check_finite=False)
        return None
