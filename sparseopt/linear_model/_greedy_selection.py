r"""Which coordinate moves next: the largest exact gain, found without computing all of them.

The gain of a column outside the support never decreases with its correlation
``u_j = |a_j^H r| / ||a_j||``, so bounds on ``u_j`` bound the gain. For dense real dictionaries
the columns are rounded once to 8 bits; the correlations of the rounded columns cost an eighth
of the memory traffic and differ from the true ones by at most

    ||r|| (e_j + (m + 4) 2^-24 (1 + e_j)),      e_j = ||a_j / ||a_j|| - rounded_j||,

the two terms being the rounding of the column (Cauchy-Schwarz) and of a single-precision sum.
Only the few columns whose upper bound reaches the best exact gain are then correlated in double
precision: the selected index is the one that a full exact search would select.
"""

from typing import NamedTuple

import numpy as np

from sparseopt.linear_model._greedy_options import RELATIVE_RESOLUTION
from sparseopt.linear_model._kernels import cpu as kernels

RULES = {
    ("omp", "l0"): kernels.OMP,
    ("omp", "l1"): kernels.OMP,
    ("lasso", "l0"): kernels.LASSO_L0,
    ("lasso", "l1"): kernels.LASSO_L1,
    ("sqrt_lasso", "l0"): kernels.SQRT_LASSO_L0,
    ("sqrt_lasso", "l1"): kernels.SQRT_LASSO_L1,
}

# Encoding costs about as much as two exact passes: it must be worth it.
ENCODE_ENTRIES = 100_000
ENCODE_AFTER_PASSES = 2
# Share of the columns that may need exact correlations before the codes are given up.
USEFUL_SHARE = 0.25


class Choice(NamedTuple):
    """The best move outside the support, and the best one inside; index -1 means none."""

    gain: float
    outside_index: int
    inside_gain: float
    inside_index: int


class Selector:
    """Exact selection for the losses of the 2-norm.

    Parameters
    ----------
    rule : int
        Code of the gain.
    lam : float
        Strength of the penalty.
    weights : ndarray of shape (N,)
        Penalty weights of the coefficients of unit-norm columns.
    norms : ndarray of shape (N,)
        Norms of the columns, 0 for those that must not be selected.
    """

    def __init__(self, rule, lam, weights, norms):
        self.rule, self.lam, self.weights, self.norms = rule, lam, weights, norms

    def choose(self, fits):
        """Return one :class:`Choice` for each fit."""
        entering = self._entering(fits)
        choices = []
        for fit, (gain, index) in zip(fits, entering, strict=True):
            inside = kernels.best_in_support(
                self.rule,
                np.array(fit.support, dtype=np.int64),
                len(fit.support),
                fit.coef,
                self.norms,
                fit.residual_norm,
                self._strength(fit),
                self.weights,
            )
            choices.append(Choice(gain, index, *inside))
        return choices

    def _strength(self, fit):
        """Return lam; OMP has none, but a smallest correlation.

        Below it are rounding noise and the columns that depend on the support.
        """
        if self.rule != kernels.OMP:
            return self.lam
        return max(RELATIVE_RESOLUTION * fit.initial_norm, kernels.PIVOT * fit.residual_norm)

    def _selectable(self, fit):
        mask = self.norms > 0
        mask[fit.support] = False
        return mask

    def _from_correlations(self, fit, correlations):
        return kernels.best_entering(
            self.rule,
            correlations,
            fit.residual_norm,
            self._strength(fit),
            self.weights,
            self._selectable(fit),
        )


class SparseSelector(Selector):
    """Selection from a sparse design, whose exact correlations are cheap."""

    def __init__(self, design, *args):
        super().__init__(*args)
        self._design = design
        self._inverse_norms = np.zeros_like(self.norms)
        np.divide(1.0, self.norms, out=self._inverse_norms, where=self.norms > 0)

    def _entering(self, fits):
        return [
            self._from_correlations(
                fit, np.abs(self._design.correlate(fit.residual)) * self._inverse_norms
            )
            for fit in fits
        ]


class Dictionary:
    """A dense matrix stored by columns and, once worth it, its 8-bit codes.

    Shared by the selectors of all strengths and targets.

    Parameters
    ----------
    matrix : ndarray of shape (m, N)
        Stored by columns.
    norms : ndarray of shape (N,)
        Norms of the columns, 0 for those that must not be selected.
    """

    def __init__(self, matrix, norms):
        self.matrix, self.norms = matrix, norms
        self.codes = None
        self.error = None
        self._scale = None
        self._useful = not np.iscomplexobj(matrix) and matrix.size >= ENCODE_ENTRIES
        self._passes = self._n_exact = self._n_certified = 0

    def has_codes(self):
        """Tell whether to select from codes, computing them when the time has come."""
        if self._useful and self.codes is None and self._passes >= ENCODE_AFTER_PASSES:
            self._encode()
        return self._useful and self.codes is not None

    def correlate(self, residual):
        """Return the moduli of the exact correlations of unit-norm columns."""
        self._passes += 1
        correlations = np.empty(self.norms.size)
        kernels.correlate(self.matrix, self.norms, residual, correlations)
        return correlations

    def correlate_codes(self, directions):
        """Return correlations with unit vectors, each within ``error`` of the exact one."""
        approximate = np.empty((len(directions), self.norms.size), np.float32)
        kernels.correlate_codes(self.codes, self._scale, directions, approximate)
        return approximate

    def judge(self, n_exact):
        """Give up the codes if they are too coarse: too many correlations had to be exact."""
        self._n_certified += 1
        self._n_exact += n_exact
        self._useful = self._n_exact <= USEFUL_SHARE * self.norms.size * max(self._n_certified, 4)

    def _encode(self):
        m, N = self.matrix.shape
        self.codes = np.empty((N, m), np.int8)
        self._scale = np.empty(N, np.float32)
        error = np.empty(N)
        kernels.encode_columns(self.matrix, self.norms, self.codes, self._scale, error)
        summation = (m + 4) * 2.0**-24
        self.error = 1.001 * (error + summation * (1 + error))


class DenseSelector(Selector):
    """Selection from a dense dictionary, from its codes if it has them."""

    def __init__(self, dictionary, *args):
        super().__init__(*args)
        self._dictionary = dictionary
        self._upper = np.empty(self.norms.size)

    def _entering(self, fits):
        if self._dictionary.has_codes():
            return self._entering_certified(fits)
        return [
            self._from_correlations(fit, self._dictionary.correlate(fit.residual)) for fit in fits
        ]

    def _entering_certified(self, fits):
        directions = np.array(
            [fit.residual / (fit.residual_norm or 1.0) for fit in fits], dtype=np.float32
        )
        approximate = self._dictionary.correlate_codes(directions)
        found = []
        for fit, row in zip(fits, approximate, strict=True):
            gain, index, n_exact = kernels.best_entering_certified(
                self.rule,
                row,
                self._dictionary.error,
                self._dictionary.matrix,
                self.norms,
                fit.residual,
                fit.residual_norm,
                self._strength(fit),
                self.weights,
                self._selectable(fit),
                self._upper,
            )
            self._dictionary.judge(n_exact)
            found.append((gain, index))
        return found


class LADSelector(Selector):
    """Exact selection for the 1-norm; one weighted median a column.

    Parameters
    ----------
    blocks : callable
        ``blocks()`` yields (slice, dense block of these columns) over the dictionary.
    l0 : bool
        Whether the penalty counts coefficients.
    """

    def __init__(self, blocks, l0, lam, weights, norms):
        super().__init__(None, lam, weights, norms)
        self._blocks, self._l0 = blocks, l0

    def choose(self, fits):
        """Return one :class:`Choice` for each fit."""
        return [self._choose(fit) for fit in fits]

    def gains(self, fit):
        """Return the gains of all columns, those in the support included."""
        coef = self._scaled_coef(fit)
        gains = np.empty(self.norms.size)
        for here, block in self._blocks():
            kernels.lad_gains(
                block,
                fit.residual,
                coef[here],
                self.norms[here],
                self.lam,
                self.weights[here],
                self._l0,
                gains[here],
            )
        return gains

    def _choose(self, fit):
        coef = self._scaled_coef(fit)
        gains = np.empty(self.norms.size)
        best = scale = 0.0
        for here, block in self._blocks():
            best, scale = kernels.best_lad_gains(
                block,
                fit.residual,
                coef[here],
                self.norms[here],
                self.lam,
                self.weights[here],
                self._l0,
                best,
                scale,
                gains[here],
            )
        inside = np.zeros_like(gains)
        inside[fit.support] = gains[fit.support]
        gains[fit.support] = 0
        return Choice(*kernels.first_largest(gains), *kernels.first_largest(inside))

    def _scaled_coef(self, fit):
        coef = np.zeros(self.norms.size)
        coef[fit.support] = fit.coef * self.norms[fit.support]
        return coef
