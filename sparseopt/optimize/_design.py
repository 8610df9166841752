r"""The design matrix that least-squares solvers work on, centred and weighted.

With an intercept and sample weights ``s``, minimising over the intercept turns
``sum_i s_i (y_i - x_i' b - b_0)^2`` into ``||y~ - X~ b||^2`` with

    X~ = diag(sqrt(s)) (X - 1 mean'),   mean = X's / sum(s).

Dense matrices are centred explicitly. A sparse matrix must stay sparse, so there
``X~ = A - q l'`` is kept as its sparse part ``A = diag(sqrt(s)) X``, the unit vector
``q ~ sqrt(s)`` and the loadings ``l = A'q``. Shapes: ``X`` (n_samples, n_features).
"""

import math

import numpy as np
from scipy import sparse

from sparseopt.optimize._kernels import cpu

LARGEST_MEAN = 1e5  # in standard deviations; half of the digits are then lost


def make_design(X, *, sample_weight=None, fit_intercept=False):
    """Return the :class:`DenseDesign` or :class:`SparseDesign` of ``X``.

    Parameters
    ----------
    X : ndarray or sparse matrix/array of shape (n_samples, n_features)
        Floating or complex; never modified, and not copied unless it must be.
    sample_weight : ndarray of shape (n_samples,), optional
        Non-negative row weights.
    fit_intercept : bool, default=False
        Whether to centre the columns.

    Raises
    ------
    ValueError
        If the squared column norms overflow or underflow, or if the mean of a sparse
        column that has to be centred dwarfs its deviations.
    """
    if not sparse.issparse(X):
        return DenseDesign(X, sample_weight, fit_intercept)
    if fit_intercept:  # implicit centring cancels digits that single precision lacks
        X = X.astype(np.promote_types(X.dtype, np.float64), copy=False)
    return SparseDesign(X, sample_weight, fit_intercept)


class _Design:
    """What dense and sparse designs share: the treatment of rows and of the target."""

    def __init__(self, X, sample_weight, fit_intercept):
        self.shape = X.shape
        self.dtype = X.dtype
        self.fit_intercept = fit_intercept
        if sample_weight is None:
            self.row_scale = None
            self.total_weight = float(X.shape[0])
        else:
            weights = sample_weight.astype(np.float64)
            self.row_scale = np.sqrt(weights)
            self.total_weight = float(np.sum(weights))
        self.mean = self._column_means(X, sample_weight).astype(X.dtype)

    def _column_means(self, X, sample_weight):
        if not self.fit_intercept:
            return np.zeros(X.shape[1])
        wide = np.promote_types(X.dtype, np.float64)
        if sample_weight is None:
            return np.asarray(X.mean(axis=0, dtype=wide)).ravel()
        weights = sample_weight.astype(np.float64)
        if sparse.issparse(X):
            return np.asarray(X.T @ weights).ravel() / self.total_weight
        sums = np.einsum("ij,i->j", X, weights, dtype=wide, casting="same_kind")
        return sums / self.total_weight

    def _set_column_norms(self, squares, largest_entry):
        """Store squared column norms; zero for columns that are constant up to rounding.

        ``largest_entry(columns)`` returns the largest modulus in each of some columns.
        """
        if not np.all(np.isfinite(squares)):
            raise ValueError("The squared column norms of X overflow: rescale X.")
        constant_norm = self._constant_norm(self.mean, squares.dtype)
        limits = np.finfo(squares.dtype)
        tiny = np.flatnonzero(squares < limits.tiny / limits.eps)
        entry = largest_entry(tiny)
        if np.any((entry > 0) & (entry * math.sqrt(self.shape[0]) > constant_norm[tiny])):
            raise ValueError("The squared column norms of X underflow: rescale X.")
        is_constant = np.sqrt(squares) <= constant_norm
        self.column_norms_squared = np.where(is_constant, 0, squares).astype(squares.dtype)

    def _constant_norm(self, mean, dtype):
        """Return the largest norm that rounding leaves of a centred constant vector."""
        relative = self.shape[0] * np.finfo(np.float64).eps + 2 * np.finfo(dtype).eps
        return math.sqrt(self.total_weight) * relative * np.abs(mean)

    def transform_target(self, y):
        """Return the centred and weighted copy of ``y`` (n_samples,), and its mean."""
        mean = 0.0
        if self.fit_intercept:
            weights = None if self.row_scale is None else self.row_scale**2
            mean = np.average(y.astype(np.promote_types(y.dtype, np.float64)), weights=weights)
        centred = (y - mean).astype(self.dtype)
        if self.row_scale is not None:
            centred *= self.row_scale
        peak, limits = float(np.max(np.abs(centred))), np.finfo(centred.real.dtype)
        n_samples = self.shape[0]
        if peak * math.sqrt(n_samples) <= self._constant_norm(mean, y.dtype):
            return np.zeros_like(centred), mean
        if peak > 0 and not limits.tiny <= peak * peak <= limits.max / n_samples:
            raise ValueError("The squared norm of y overflows or underflows: rescale y.")
        return centred, mean

    def predict(self, coef):
        """Return ``X~ x`` from the non-zero coefficients alone."""
        support = coef.nonzero()[0]
        return self.predict_columns(support, coef[support])

    def intercept(self, coef, target_mean):
        """Return the intercept that belongs to ``coef`` in the original coordinates."""
        return target_mean - self.mean @ coef if self.fit_intercept else target_mean


class DenseDesign(_Design):
    """A dense design, stored by columns."""

    # An epoch over 100 columns costs as much as the rest of an outer iteration ...
    smallest_working_set = 100
    working_set_growth = 2

    def __init__(self, X, sample_weight, fit_intercept):
        super().__init__(X, sample_weight, fit_intercept)
        if fit_intercept:
            X = np.subtract(X, self.mean, order="F")
            if self.row_scale is not None:
                X *= self.row_scale[:, None]
        elif self.row_scale is not None:
            scale = self.row_scale[:, None]
            X = np.multiply(X, scale, order="F", dtype=X.dtype, casting="same_kind")
        self.matrix = np.asfortranarray(X)
        with np.errstate(over="ignore"):
            squares = np.einsum("ij,ij->j", self.matrix.conj(), self.matrix).real
        self._set_column_norms(squares, lambda j: np.abs(self.matrix[:, j]).max(axis=0))

    def correlate(self, residual):
        """Return ``X~^H r``; 2 n_samples n_features flops, memory bound."""
        if np.iscomplexobj(self.matrix):
            return (residual.conj() @ self.matrix).conj()
        return residual @ self.matrix

    def correlate_columns(self, residual, columns, out):
        """Write the correlations of some columns to their places in ``out``."""
        cpu.dense_correlations(self.matrix, columns, residual, out)

    def predict_columns(self, columns, values):
        """Return ``X~[:, columns] @ values``."""
        return self.matrix[:, columns] @ values

    def gram(self, left, right):
        """Return ``X~[:, left]^H X~[:, right]``; 2 m |left| |right| flops."""
        return self.matrix[:, left].conj().T @ self.matrix[:, right]

    def columns(self, indices):
        """Return the columns ``indices`` as a dense matrix stored by columns."""
        return self.matrix[:, indices]


class SparseDesign(_Design):
    """A sparse design, stored by columns and centred implicitly."""

    # ... which is much more where columns are nearly empty.
    smallest_working_set = 400
    working_set_growth = 3

    def __init__(self, X, sample_weight, fit_intercept):
        super().__init__(X, sample_weight, fit_intercept)
        self.matrix = matrix = self._canonical(X)
        rows = np.ones(self.shape[0]) if self.row_scale is None else self.row_scale
        self.direction = (rows / np.linalg.norm(rows)).astype(self.dtype)
        self.loadings = np.zeros(self.shape[1], self.dtype)
        centred, unstored = matrix.data, np.zeros(self.shape[1])
        if fit_intercept:
            self.loadings = matrix.T @ self.direction
            # Deviations of the stored entries, then of the zeros: nothing cancels.
            scale = 1 if self.row_scale is None else self.row_scale[matrix.indices]
            centred = centred - scale * np.repeat(self.mean, np.diff(matrix.indptr))
            mass = np.broadcast_to(np.asarray(scale, dtype=float) ** 2, centred.shape)
            unstored = self.total_weight - self._sum_by_column(mass)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = self._sum_by_column(np.abs(centred) ** 2)
            squares = squares + np.maximum(unstored, 0) * np.abs(self.mean) ** 2
        squares = squares.astype(centred.real.dtype)

        def largest_entry(columns):
            deviations = sparse.csc_array((centred, matrix.indices, matrix.indptr), matrix.shape)
            stored = abs(deviations[:, columns]).max(axis=0).toarray().ravel()
            return np.maximum(stored, np.abs(self.mean[columns]) * (unstored[columns] > 0))

        self._set_column_norms(squares, largest_entry)
        self._refuse_large_means()

    def _refuse_large_means(self):
        """Refuse columns from which implicit centring would take all digits."""
        norms = np.sqrt(self.column_norms_squared)
        bad = np.abs(self.loadings) > LARGEST_MEAN * norms
        bad &= norms > 0
        if bad.any():
            raise ValueError(
                f"The mean of column {np.flatnonzero(bad)[0]} of the sparse X is more than "
                f"{LARGEST_MEAN:.0e} times its standard deviation, too much to centre without "
                "making it dense. Subtract a constant from the column, or pass a dense X."
            )

    def _canonical(self, X):
        """Return ``diag(row_scale) X`` in CSC with sorted, unique and short indices."""
        matrix = sparse.csc_array(X, copy=self.row_scale is not None)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        if matrix.indices.dtype != np.int32 and max(matrix.nnz, *matrix.shape) < 2**31:
            indices, indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
            matrix = sparse.csc_array((matrix.data, indices, indptr), shape=matrix.shape)
        if self.row_scale is not None:
            matrix.data *= self.row_scale[matrix.indices]
        return matrix

    def _sum_by_column(self, values):
        """Sum one value a stored entry over each column."""
        starts = self.matrix.indptr[:-1]
        sums = np.zeros(self.shape[1], np.promote_types(values.dtype, np.float64))
        filled = np.diff(self.matrix.indptr) > 0
        if values.size:
            sums[filled] = np.add.reduceat(values, starts[filled], dtype=sums.dtype)
        return sums

    def correlate(self, residual):
        """Return ``X~^H r``; 2 nnz flops."""
        return self.matrix.conj(copy=False).T @ residual - np.conj(self.loadings) * (
            self.direction @ residual
        )

    def correlate_columns(self, residual, columns, out):
        """Write the correlations of some columns to their places in ``out``."""
        cpu.sparse_correlations(
            self.matrix.data, self.matrix.indices, self.matrix.indptr, self.loadings,
            self.direction @ residual, columns, residual, out,
        )  # fmt: skip

    def predict_columns(self, columns, values):
        """Return ``X~[:, columns] @ values``."""
        out = -self.direction * (self.loadings[columns] @ values)
        matrix = self.matrix
        cpu.add_sparse_columns(matrix.data, matrix.indices, matrix.indptr, columns, values, out)
        return out

    def gram(self, left, right):
        """Return ``X~[:, left]^H X~[:, right]`` as a dense array."""
        out = np.outer(-np.conj(self.loadings[left]), self.loadings[right])
        rows = self.matrix[:, left].tocsr()
        cpu.add_sparse_gram(
            rows.data, rows.indices, rows.indptr,
            self.matrix.data, self.matrix.indices, self.matrix.indptr, right, out,
        )  # fmt: skip
        return out

    def columns(self, indices):
        """Return the centred columns ``indices`` as a dense matrix stored by columns."""
        block = self.matrix[:, indices].toarray(order="F")
        if self.fit_intercept:
            block -= np.outer(self.direction, self.loadings[indices])
        return block
