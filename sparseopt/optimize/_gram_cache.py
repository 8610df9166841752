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
        """Solve ``(Gram + diag(ridge)) d = rhs``; slightly damped if that is singular.

        Returns None if no damping helps. ``features`` may not exceed ``max_features``.
        """
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

    def solve_with_phases(self, features, ridge, stiffness, phases, rhs):
        """Solve ``(Gram + diag(ridge) + S) d = rhs`` for complex ``d``; damped if singular.

        S is the curvature of the modulus: it holds ``d_j`` with ``stiffness_j`` across the
        direction ``phases_j``, and not along it, ``S d = stiffness * phases * 1j *
        Im(conj(phases) d)``. That is real-linear, a real system of twice the size.
        """
        gram = self.submatrix(features)
        matrix = np.block([[gram.real, -gram.imag], [gram.imag, gram.real]])
        size = features.size
        real, imaginary = np.arange(size), np.arange(size, 2 * size)
        matrix[real, real] += ridge + stiffness * phases.imag**2
        matrix[imaginary, imaginary] += ridge + stiffness * phases.real**2
        matrix[real, imaginary] -= stiffness * phases.real * phases.imag
        matrix[imaginary, real] -= stiffness * phases.real * phases.imag
        scale = np.max(self.design.column_norms_squared[features] + ridge)
        epsilon = np.finfo(scale.dtype).eps
        sides = np.concatenate([rhs.real, rhs.imag])
        for damping in (0.0, 1e2 * epsilon * size, np.sqrt(epsilon)):
            damped = matrix.copy()
            damped[np.diag_indices_from(damped)] += damping * scale
            try:
                factor = linalg.cho_factor(damped, lower=True, check_finite=False)
            except linalg.LinAlgError:
                continue
            if np.min(np.diagonal(factor[0])) ** 2 > 10 * epsilon * scale:
                solution = linalg.cho_solve(factor, sides, check_finite=False)
                return (solution[:size] + 1j * solution[size:]).astype(gram.dtype)
        return None
