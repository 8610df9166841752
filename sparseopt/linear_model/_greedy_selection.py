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

from sparseopt.linear_model._kernels import cpu as kernels

# A gain counts if it exceeds rounding: residuals are trusted down to this share of the data.
RELATIVE_RESOLUTION = 1e-12

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
    index: int
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
        """Return lam; OMP has none, but a smallest correlation that is not rounding noise."""
        return RELATIVE_RESOLUTION * fit.initial_norm if self.rule == kernels.OMP else self.lam

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


class DenseSelector(Selector):
    """Selection from a dense matrix stored by columns; from 8-bit codes if it is real."""

    def __init__(self, matrix, *args):
        super().__init__(*args)
        self._matrix = matrix
        self._passes = 0
        self._codes = None
        self._may_encode = not np.iscomplexobj(matrix) and matrix.size >= ENCODE_ENTRIES
        self._n_certified = self._n_exact = 0

    def _entering(self, fits):
        # A complex target makes its dictionary complex, so one flag decides for all fits.
        if self._may_encode and self._passes >= ENCODE_AFTER_PASSES:
            return self._entering_certified(fits)
        self._passes += len(fits)
        correlations = np.empty(self.norms.size)
        found = []
        for fit in fits:
            kernels.correlate(self._matrix, self.norms, fit.residual, correlations)
            found.append(self._from_correlations(fit, correlations))
        return found

    def _entering_certified(self, fits):
        if self._codes is None:
            self._encode()
        directions = np.array(
            [fit.residual / (fit.residual_norm or 1.0) for fit in fits], dtype=np.float32
        )
        approximate = np.empty((len(fits), self.norms.size), np.float32)
        kernels.correlate_codes(self._codes, self._scale, directions, approximate)
        found = []
        for fit, row in zip(fits, approximate, strict=True):
            gain, index, n_exact = kernels.best_entering_certified(
                self.rule,
                row,
                self._error,
                self._matrix,
                self.norms,
                fit.residual,
                fit.residual_norm,
                self._strength(fit),
                self.weights,
                self._selectable(fit),
                self._upper,
            )
            self._n_certified += 1
            self._n_exact += n_exact
            found.append((gain, index))
        if self._n_exact > USEFUL_SHARE * self.norms.size * max(self._n_certified, 4):
            self._may_encode, self._codes = False, None  # the codes are too coarse for this A
        return found

    def _encode(self):
        m, N = self._matrix.shape
        self._codes = np.empty((N, m), np.int8)
        self._scale = np.empty(N, np.float32)
        error = np.empty(N)
        kernels.encode_columns(self._matrix, self.norms, self._codes, self._scale, error)
        summation = (m + 4) * 2.0**-24
        self._error = 1.001 * (error + summation * (1 + error))
        self._upper = np.empty(N)


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

    def _choose(self, fit):
        coef = np.zeros(self.norms.size)
        coef[fit.support] = fit.coef * self.norms[fit.support]
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
        inside = np.zeros_like(gains)
        inside[fit.support] = gains[fit.support]
        gains[fit.support] = 0
        return Choice(*_largest(gains), *_largest(inside))


def _largest(gains):
    """Return the largest gain and the smallest index that attains it up to rounding."""
    best = gains.max(initial=0.0)
    if not best > 0:
        return 0.0, -1
    index = int(np.argmax(gains >= best * (1 - kernels.TIE)))
    return float(gains[index]), index
