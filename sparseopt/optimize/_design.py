r"""The design matrix that least-squares solvers work on, centred and weighted.

With an intercept and sample weights ``s``, minimising over the intercept turns
``sum_i s_i (y_i - x_i' b - b_0)^2`` into ``||y~ - X~ b||^2`` with

    X~ = diag(sqrt(s)) (X - 1 mean'),   mean = X's / sum(s).

Dense matrices are centred explicitly. A sparse matrix must stay sparse, so there
``X~ = A - q l'`` is kept as its sparse part ``A = diag(sqrt(s)) X``, the unit vector
``q ~ sqrt(s)`` and the loadings ``l = A'q``. Shapes: ``X`` (n_samples, n_features).
"""

import numpy as np
from scipy import sparse

from sparseopt.optimize._kernels import cpu


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
    """
    kind = SparseDesign if sparse.issparse(X) else DenseDesign
    return kind(X, sample_weight, fit_intercept)


class _Design:
    """What dense and sparse designs share: the treatment of rows and of the target."""

    def __init__(self, X, sample_weight, fit_intercept):
        self.shape = X.shape
        self.dtype = X.dtype
        self.fit_intercept = fit_intercept
        real = np.empty(0, X.dtype).real.dtype
        if sample_weight is None:
            self.row_scale = None
            self.total_weight = float(X.shape[0])
        else:
            self.row_scale = np.sqrt(sample_weight).astype(real)
            self.total_weight = float(np.sum(sample_weight))
        self.mean = self._column_means(X, sample_weight).astype(X.dtype)

    def _column_means(self, X, sample_weight):
        if not self.fit_intercept:
            return np.zeros(X.shape[1])
        if sample_weight is None:
            return np.asarray(X.mean(axis=0, dtype=np.promote_types(X.dtype, np.float64))).ravel()
        return np.asarray(X.T @ sample_weight).ravel() / self.total_weight

    def _without_roundoff(self, squares):
        """Zero the squared norms that centring a constant column leaves behind."""
        removed = np.abs(self.mean) ** 2 * self.total_weight
        noise = 10 * np.finfo(squares.dtype).eps * (removed + np.maximum(squares, 0))
        if isinstance(self, DenseDesign):  # explicit centring leaves the square of that
            noise *= 10 * np.finfo(squares.dtype).eps
        return np.where(squares > noise, squares, 0).astype(squares.dtype)

    def transform_target(self, y):
        """Return the centred and weighted copy of ``y`` (n_samples,), and its mean."""
        mean = 0.0
        if self.fit_intercept:
            weights = None if self.row_scale is None else self.row_scale**2
            mean = np.average(y, weights=weights)
        centred = y - y.dtype.type(mean)
        if self.row_scale is not None:
            centred *= self.row_scale
        return centred, mean

    def predict(self, coef):
        """Return ``X~ x`` from the non-zero coefficients alone."""
        support = np.flatnonzero(coef)
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
            X = np.multiply(X, self.row_scale[:, None], order="F")
        self.matrix = np.asfortranarray(X)
        squares = np.einsum("ij,ij->j", self.matrix.conj(), self.matrix).real
        self.column_norms_squared = self._without_roundoff(squares)

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
    smallest_working_set = 1200
    working_set_growth = 3

    def __init__(self, X, sample_weight, fit_intercept):
        super().__init__(X, sample_weight, fit_intercept)
        matrix = sparse.csc_array(X, copy=self.row_scale is not None)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        if self.row_scale is not None:
            matrix.data *= self.row_scale[matrix.indices]
        self.matrix = matrix
        rows = self.row_scale if self.row_scale is not None else np.ones(self.shape[0], self.dtype)
        self.direction = (rows / np.linalg.norm(rows)).astype(self.dtype)
        self.loadings = np.zeros(self.shape[1], self.dtype)
        if fit_intercept:
            self.loadings = matrix.T @ self.direction
        squares = sparse.csc_array(
            (np.abs(matrix.data) ** 2, matrix.indices, matrix.indptr), shape=matrix.shape
        )
        self.column_norms_squared = self._without_roundoff(
            np.asarray(squares.sum(axis=0)).ravel() - np.abs(self.loadings) ** 2
        )

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
        along = self.loadings[columns] @ values
        return self.matrix[:, columns] @ values - self.direction * along

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
