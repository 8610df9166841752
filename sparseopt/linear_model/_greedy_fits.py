r"""Unpenalised fits on a support that grows (and may shrink) by one column at a time.

    least squares:              x_S = argmin ||y - A_S x_S||_2     real or complex
    least absolute deviations:  x_S = argmin ||y - A_S x_S||_1     real

Both classes have the same attributes and methods, so that the pursuit does not know which of
them it grows. Shapes: ``y`` (m,), a column (m,), ``coef`` (k,) in the order of ``support``.
"""

import numpy as np

from sparseopt.linear_model._kernels import cpu as kernels
from sparseopt.linear_model._lad_regression import LADPath


class LeastSquaresFit:
    """Least squares through A_S = Q^T R, with ``Q`` and ``R`` grown in place.

    The residual is projected on one basis vector after another, which keeps it as accurate as a
    new solution would be.

    Parameters
    ----------
    target : ndarray of shape (m,)
        Data y, float64 or complex128.

    Attributes
    ----------
    support : list of int
        Indices of the columns in the fit, in the order in which they came.
    coef : ndarray of shape (k,)
        Solution.
    residual : ndarray of shape (m,)
        y - A_S x_S.
    residual_norm, initial_norm : float
        Its 2-norm, and that of y.
    """

    def __init__(self, target):
        self.target = target
        self.initial_norm = float(np.linalg.norm(target))
        self._restart()

    @property
    def squared_residual(self):
        return self.residual_norm**2

    def add(self, index, column):
        """Add a column; return False, changing nothing, if it depends on those present."""
        k = len(self.support)
        if k == self._R.shape[0]:
            self._reserve(2 * k)
        work = column.astype(self.target.dtype)
        if not kernels.orthogonalise(work, self._Q, self._R, k, kernels.PIVOT):
            return False
        self._image[k] = 0
        kernels.project_out(self.residual, self._Q, k, k + 1, self._image)
        self.support.append(index)
        self.coef = np.empty(k + 1, self.target.dtype)
        kernels.solve_upper(self._R, k + 1, self._image, self.coef)
        self.residual_norm = float(np.linalg.norm(self.residual))
        return True

    def remove(self, position):
        """Remove the column at ``position`` of the support and fit again."""
        k = len(self.support)
        columns = np.delete(self._R[:k, :k].T @ self._Q[:k], position, axis=0)
        indices = self.support[:position] + self.support[position + 1 :]
        self._restart()
        for index, column in zip(indices, columns, strict=True):
            self.add(index, column)

    def removal_costs(self):
        """Return by how much ||r||_2^2 would rise, for each column, if it were removed."""
        k = len(self.support)
        diagonal = np.empty(k)
        kernels.inverse_gram_diagonal(self._R, k, np.empty(k, self.coef.dtype), diagonal)
        return np.abs(self.coef) ** 2 / diagonal

    def _restart(self):
        self.support = []
        self.coef = np.zeros(0, self.target.dtype)
        self.residual, self.residual_norm = self.target.copy(), self.initial_norm
        self._reserve(min(16, self.target.size))

    def _reserve(self, capacity):
        """Make room for ``capacity`` columns."""
        m, dtype = self.target.size, self.target.dtype
        k = len(self.support)
        grown = [
            np.zeros(shape, dtype) for shape in ((capacity, m), (capacity, capacity), (capacity,))
        ]
        if k:
            grown[0][:k] = self._Q[:k]
            grown[1][:k, :k], grown[2][:k] = self._R[:k, :k], self._image[:k]
        self._Q, self._R, self._image = grown


class LADFit:
    """Least absolute deviations through the incremental simplex.

    Parameters
    ----------
    target : ndarray of shape (m,)
        Data y, real.
    capacity : int
        Largest number of columns.
    base : ndarray of shape (m,) or None
        A column that is always in the fit, the intercept.
    row_scale : ndarray of shape (m,)
        Weights of the absolute residuals. Columns, also ``base``, come multiplied by them.

    Attributes
    ----------
    support, coef
        As in :class:`LeastSquaresFit`.
    residual : ndarray of shape (m,)
        y - A_S x_S, multiplied by the weights.
    objective : float
        Its 1-norm.
    squared_residual : float
        Weighted sum of squares of y - A_S x_S.
    base_coef : float
        Coefficient of ``base``, 0 without it.
    """

    def __init__(self, target, capacity, base, row_scale):
        self._target = target * row_scale
        self._capacity, self._base = capacity, base
        self._inverse_scale = np.divide(
            1.0, row_scale, out=np.zeros_like(row_scale), where=row_scale > 0
        )
        self._columns = []
        self.support = []
        self._restart()

    def add(self, index, column):
        """Add a column; return False, changing nothing, if it depends on those present."""
        if len(self.support) == self._capacity or not self._path.append(column):
            return False
        self.support.append(index)
        self._columns.append(column)
        self._read()
        return True

    def remove(self, position):
        """Remove the column at ``position`` of the support and fit again."""
        indices, columns = self.support, self._columns
        del indices[position], columns[position]
        self.support, self._columns = [], []
        self._restart()
        for index, column in zip(indices, columns, strict=True):
            self.add(index, column)

    def _restart(self):
        self._path = LADPath(self._target, self._capacity + (self._base is not None))
        if self._base is not None:
            self._path.append(self._base)
        self._read()

    def _read(self):
        first = int(self._base is not None)
        coef = self._path.coef
        self.coef = coef[first:]
        self.base_coef = float(coef[0]) if first else 0.0
        self.residual = self._path.residual
        self.objective = self._path.objective
        self.squared_residual = float(self.residual**2 @ self._inverse_scale)
