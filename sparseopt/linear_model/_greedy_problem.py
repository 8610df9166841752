"""The data of a greedy pursuit: centred and weighted columns, their norms, their fits.

With sample weights ``s``, integer weights being repeated rows, the losses are
``sum_i s_i |r_i|^2`` and ``sum_i s_i |r_i|``. An intercept is projected out of least squares
by centring; under the 1-norm it is an unpenalised column that is always in the fit, and only
the dictionary is centred, which changes its meaning by nothing but the value of the intercept.
"""

import numpy as np
from scipy import linalg, sparse

from sparseopt.linear_model._greedy_delta import NEGLIGIBLE_COLUMN, penalty_scale
from sparseopt.linear_model._greedy_fits import LADFit, LeastSquaresFit
from sparseopt.linear_model._greedy_selection import (
    RULES,
    DenseSelector,
    Dictionary,
    LADSelector,
    SparseSelector,
)
from sparseopt.linear_model._kernels import cpu as kernels
from sparseopt.optimize._design import make_design

# Columns of a sparse matrix that are made dense at a time.
BLOCK = 256


class _Problem:
    """What both problems share."""

    def scaled_weights(self, weights, loss, penalty, normalize):
        """Return the penalty weights on the coefficients of the columns of unit norm."""
        if normalize:
            return weights
        norms = np.where(self.norms > 0, self.norms, 1.0)
        return penalty_scale(np, loss, penalty, weights, norms)


class LeastSquaresProblem(_Problem):
    """Data of the losses of the 2-norm.

    Parameters
    ----------
    A : ndarray or sparse container of shape (n_samples, n_features)
        Dictionary.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the squared residuals.
    fit_intercept : bool
        Whether there is an intercept.
    compress : bool, default=False
        Whether to work with the triangular factor of the dictionary, if that has fewer rows.

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

    def __init__(self, A, sample_weight, fit_intercept, *, compress=False):
        if sparse.issparse(A):
            A = A.astype(np.promote_types(A.dtype, np.float64), copy=False)
        self._design = design = make_design(
            A, sample_weight=sample_weight, fit_intercept=fit_intercept
        )
        self.shape = A.shape
        self.total_weight = design.total_weight - fit_intercept
        self._basis = None
        norms = np.sqrt(design.column_norms_squared)
        matrix = design.matrix
        if norms.dtype != np.float64:  # selection is exact: norms in double precision too
            accurate = np.empty(A.shape[1])
            kernels.column_norms(matrix, accurate)
            norms = np.where(norms > 0, accurate, 0)
        self.norms = _without_negligible(norms)
        self.rank_limit = _rank_limit(self.norms, A.shape[0], sample_weight, fit_intercept)
        if not sparse.issparse(A):
            if compress and A.shape[0] > A.shape[1] + 1:
                matrix = self._compress(matrix)
            self._dictionary = Dictionary(matrix, self.norms)

    def _compress(self, matrix):
        """Return R of A = QR with a row of zeros, which holds what no column can fit.

        ``||y - A x||^2 = ||Q^H y - R x||^2 + ||y - Q Q^H y||^2``: the problem is the same.
        """
        dtype = np.result_type(matrix.dtype, np.float64)
        self._basis, factor = linalg.qr(matrix.astype(dtype), mode="economic", overwrite_a=True)
        return np.asfortranarray(np.vstack([factor, np.zeros_like(factor[:1])]))

    def fit(self, target):
        """Return the empty fit of a target (n_samples,), and the mean taken out of it."""
        dtype = np.complex128 if np.iscomplexobj(target) else np.float64
        centred, mean = self._design.transform_target(target.astype(dtype))
        centred = centred.astype(dtype, copy=False)
        if self._basis is not None:
            image = self._basis.conj().T @ centred
            rest = np.linalg.norm(centred - self._basis @ image)
            centred = np.append(image, rest)
        return LeastSquaresFit(centred), mean

    def selector(self, loss, penalty, lam, weights):
        """Return what selects for ``loss`` and ``penalty``."""
        rule = RULES[loss, penalty]
        if sparse.issparse(self._design.matrix):
            return SparseSelector(self._design, rule, lam, weights, self.norms)
        return DenseSelector(self._dictionary, rule, lam, weights, self.norms)

    def column(self, index):
        """Return one column of the problem, dense."""
        if sparse.issparse(self._design.matrix):
            return self._design.columns([index])[:, 0]
        return self._dictionary.matrix[:, index]

    def intercept(self, fit, mean):
        """Return the intercept of a fit whose target had ``mean`` taken out."""
        return mean - self._design.mean[fit.support] @ fit.coef

    def largest_lam(self, fit, loss, penalty, weights):
        """Return a strength at which the empty fit selects no column of positive weight."""
        weights = np.where(weights > 0, weights, np.inf)
        score = self.selector("omp", penalty, 0.0, weights).choose([fit])[0].gain
        if penalty == "l0":
            score = score**2
        elif loss == "lasso":
            score = 2 * score
        return score / fit.residual_norm if loss == "sqrt_lasso" and score > 0 else score


class LADProblem(_Problem):
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
        self._check_range(raw)
        rounding = 16 * np.finfo(A.dtype).eps * raw if fit_intercept else 0.0
        self.norms = _without_negligible(norms, rounding)
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

    def largest_lam(self, fit, loss, penalty, weights):
        """Return a strength at which the empty fit selects no column of positive weight."""
        weights = np.where(weights > 0, weights, np.inf)
        if penalty == "l0":
            gains = self.selector(loss, penalty, 0.0, np.ones_like(weights)).gains(fit)
            return np.max(gains / weights**2)
        slopes = np.zeros_like(self.norms)
        for here, block in self._blocks():
            slopes[here] = np.abs(np.sign(fit.residual) @ block)
        prices = weights * np.where(self.norms > 0, self.norms, np.inf)
        return np.max(slopes / prices)

    def _check_range(self, norms):
        largest = norms.max()
        tiny = largest < 1e-150 and abs(self._matrix[self._row_scale > 0]).max() > 1e-300
        if tiny or not np.isfinite(largest):
            raise ValueError(
                "A must have entries whose squares are representable, got a norm of "
                f"{largest:.3g}: rescale A."
            )

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


def _without_negligible(norms, rounding=0.0):
    """Set to 0 the norms of columns that are zero up to rounding."""
    longest = norms.max(initial=0.0)
    return np.where(norms > np.maximum(NEGLIGIBLE_COLUMN * longest, rounding), norms, 0.0)


def _rank_limit(norms, n_samples, sample_weight, fit_intercept):
    rows = n_samples if sample_weight is None else np.count_nonzero(sample_weight)
    return int(max(0, min(rows - fit_intercept, np.count_nonzero(norms))))
