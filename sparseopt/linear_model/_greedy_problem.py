"""The data of a greedy pursuit: centred and weighted columns, their norms, their fits.

With sample weights ``s``, integer weights being repeated rows, the losses are
``sum_i s_i |r_i|^2`` and ``sum_i s_i |r_i|``. An intercept is projected out of least squares
by centring; under the 1-norm it is an unpenalised column that is always in the fit, and only
the dictionary is centred, which changes its meaning by nothing but the value of the intercept.
"""

import numpy as np
from scipy import sparse

from sparseopt.linear_model._greedy_delta import NEGLIGIBLE_COLUMN
from sparseopt.linear_model._greedy_fits import LADFit, LeastSquaresFit
from sparseopt.linear_model._greedy_selection import (
    RULES,
    DenseSelector,
    LADSelector,
    SparseSelector,
)
from sparseopt.linear_model._kernels import cpu as kernels
from sparseopt.optimize._design import make_design

# Columns of a sparse matrix that are made dense at a time.
BLOCK = 256


class LeastSquaresProblem:
    """Data of the losses of the 2-norm.

    Attributes
    ----------
    shape : tuple
        (n_samples, n_features).
    norms : ndarray of shape (n_features,)
        2-norms of the columns of the problem; 0 for those without any information, which are
        never selected.
    total_weight : float
        Number of samples, or the sum of their weights, less 1 for the intercept.
    rank_limit : int
        Largest size of a support with independent columns.
    """

    def __init__(self, A, sample_weight, fit_intercept):
        self._design = design = make_design(
            A, sample_weight=sample_weight, fit_intercept=fit_intercept
        )
        self.shape = A.shape
        self.total_weight = design.total_weight - fit_intercept
        if sparse.issparse(A):
            squares = np.asarray(design.column_norms_squared, dtype=np.float64)
            raw = squares + np.abs(design.loadings) ** 2
            # Here the centring subtracts squares, which keeps half of the digits only.
            resolution = np.sqrt(np.finfo(A.dtype).eps)
            norms = np.sqrt(squares)
        else:
            norms = np.empty(A.shape[1])
            kernels.column_norms(design.matrix, norms)
            raw = norms**2 + design.total_weight * np.abs(design.mean) ** 2
            resolution = np.finfo(A.dtype).eps
        self.norms = without_negligible(norms, np.sqrt(raw), resolution, fit_intercept)
        self.rank_limit = _rank_limit(self.norms, A.shape[0], sample_weight, fit_intercept)

    def fit(self, target):
        """Return the empty fit of a target (n_samples,), and the mean taken out of it."""
        dtype = np.complex128 if np.iscomplexobj(target) else np.float64
        centred, mean = self._design.transform_target(target.astype(dtype))
        return LeastSquaresFit(centred.astype(dtype, copy=False)), mean

    def selector(self, loss, penalty, lam, weights):
        """Return what selects for ``loss`` and ``penalty``."""
        rule = RULES[loss, penalty]
        if sparse.issparse(self._design.matrix):
            return SparseSelector(self._design, rule, lam, weights, self.norms)
        return DenseSelector(self._design.matrix, rule, lam, weights, self.norms)

    def column(self, index):
        """Return one column of the problem, dense."""
        return self._design.columns([index])[:, 0]

    def intercept(self, fit, mean):
        """Return the intercept of a fit whose target had ``mean`` taken out."""
        return mean - self._design.mean[fit.support] @ fit.coef


class LADProblem:
    """Data of the loss of the 1-norm; attributes as in :class:`LeastSquaresProblem`."""

    def __init__(self, A, sample_weight, fit_intercept):
        m, N = self.shape = A.shape
        self._matrix = sparse.csc_array(A) if sparse.issparse(A) else A
        self._row_scale = np.ones(m) if sample_weight is None else np.float64(sample_weight)
        self._base = self._row_scale if fit_intercept else None
        total = self._row_scale.sum()
        self.total_weight = total - fit_intercept
        self._mean = self._row_scale @ self._matrix / total if fit_intercept else np.zeros(N)
        squares = np.empty(N)
        for here, block in self._centred_blocks():
            squares[here] = self._row_scale @ block**2
        norms = np.sqrt(squares)
        raw = np.sqrt(squares + total * self._mean**2)
        resolution = np.finfo(A.dtype).eps
        self.norms = without_negligible(norms, raw, resolution, fit_intercept)
        self.rank_limit = _rank_limit(self.norms, m, sample_weight, fit_intercept)
        if not sparse.issparse(A):
            _, block = next(self._centred_blocks())
            self._dense = np.asfortranarray(block * self._row_scale[:, None])

    def fit(self, target):
        """Return the empty fit of a target (n_samples,), and 0: nothing is taken out of it."""
        return LADFit(np.float64(target), self.rank_limit, self._base, self._row_scale), 0.0

    def selector(self, loss, penalty, lam, weights):
        """Return what selects for ``loss`` and ``penalty``."""
        return LADSelector(self._blocks, penalty == "l0", lam, weights, self.norms)

    def column(self, index):
        """Return one column of the problem, dense."""
        if not sparse.issparse(self._matrix):
            return self._dense[:, index]
        return (self._matrix[:, [index]].toarray()[:, 0] - self._mean[index]) * self._row_scale

    def intercept(self, fit, mean):
        """Return the intercept of a fit."""
        return fit.base_coef - self._mean[fit.support] @ fit.coef

    def _blocks(self):
        """Yield (slice, dense block of columns): all of a dense matrix, parts of a sparse one."""
        if not sparse.issparse(self._matrix):
            yield slice(0, self.shape[1]), self._dense
            return
        for here, block in self._centred_blocks():
            yield here, np.asfortranarray(block * self._row_scale[:, None])

    def _centred_blocks(self):
        if not sparse.issparse(self._matrix):
            yield slice(0, self.shape[1]), self._matrix - self._mean
            return
        for first in range(0, self.shape[1], BLOCK):
            here = slice(first, min(first + BLOCK, self.shape[1]))
            yield here, self._matrix[:, here].toarray(order="F") - self._mean[here]


def without_negligible(norms, raw_norms, resolution, centred):
    """Set to 0 the norms of columns that are zero, or constant and centred, up to rounding."""
    rounding = 16 * resolution * raw_norms if centred else 0.0
    longest = norms.max(initial=0.0)
    return np.where(norms > np.maximum(NEGLIGIBLE_COLUMN * longest, rounding), norms, 0.0)


def _rank_limit(norms, n_samples, sample_weight, fit_intercept):
    rows = n_samples if sample_weight is None else np.count_nonzero(sample_weight)
    return int(max(0, min(rows - fit_intercept, np.count_nonzero(norms))))
