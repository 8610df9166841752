"""Where a run of Kronecker-structured sparse Bayesian learning stands: model, pruning, moments."""

import math
from typing import Any, NamedTuple

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._kronecker_dictionary import squared_magnitude
from sparseopt.sparse_bayes._kronecker_posterior import kronecker_posterior
from sparseopt.sparse_bayes._kronecker_steps import contract, couple, like, normalise

REFUSAL = 10  # iterations before dropping a column is tried again
RESOLUTION = 2.0  # power of the precision, below which the noise over the signal is too small
LEAST_RESOLUTION = 1e-15  # the same at most: noise at its floor is no reason to stop


class Hyperparameters(NamedTuple):
    """``values``: one array a factor, its variances or what its coupling turns into them."""

    values: list
    noise: float


class KroneckerEstimate:
    """Coefficients of one iteration; an immutable iterate for callbacks.

    Attributes
    ----------
    mean : array of shape (k_1, ..., k_I[, L])
        Posterior mean of the coefficients that are not pruned, of scaled data.
    kept : list of ndarray of int
        Indices of the columns of each factor that are not pruned.
    """

    def __init__(self, mean, kept, shape, scales):
        self.mean = mean
        self.kept, self._shape, self._scales = kept, shape, scales

    def copy(self):
        """Return the estimate itself."""
        return self

    def coefficients(self):
        """Return the posterior mean of all coefficients, zero where they are pruned."""
        return self._scales.coefficients(expand(self.mean, self.kept, self._shape))


def expand(tensor, kept, shape):
    """Put zeros where indices of the first axes were pruned."""
    xp = array_namespace(tensor)
    for axis, (indices, n) in enumerate(zip(kept, shape, strict=True)):
        if len(indices) == n:
            continue
        zeros_shape = (*tensor.shape[:axis], 1, *tensor.shape[axis + 1 :])
        zeros = xp.zeros(zeros_shape, dtype=tensor.dtype, device=tensor.device)
        padded = xp.concat([tensor, zeros], axis=axis)
        sources = np.full(n, len(indices))
        sources[indices] = np.arange(len(indices))
        sources = xp.asarray(sources, device=tensor.device)
        tensor = xp.take(padded, sources, axis=axis)
    return tensor


class KroneckerState:
    """Factors and hyperparameters that remain, and what the current E-step found.

    Parameters
    ----------
    factors : list of arrays of shape (m_d, n_d)
        Scaled.
    Y : array of shape (m_1, ..., m_I[, L])
        Scaled.
    couplings : list of ndarray or None, or None
        Coupling matrices of the factors.
    heuristic : bool
        Whether the hyperparameters are the variances themselves, coupled or not.
    parameters : Hyperparameters
        Where to start.
    scales : Scales
        What the data were divided by.
    """

    def __init__(self, factors, Y, couplings, heuristic, parameters, scales):
        self.all_factors, self.Y, self.all_couplings = factors, Y, couplings
        self.heuristic, self.scales = heuristic, scales
        self.shape = tuple(factor.shape[1] for factor in factors)
        self.kept = [np.arange(n) for n in self.shape]
        self.factors, self.couplings = list(factors), couplings
        self.columns = [
            None if couplings is None or C is None else np.arange(C.shape[1])
            for C in (couplings or [None] * len(factors))
        ]
        self._squares = [_squared_norms(factor) for factor in factors]
        self.parameters = parameters
        self.iteration = 0
        self.unresolved = False
        self.emptied: int | None = None
        self._refused: dict = {}  # (factor, column): when dropping it cost too much
        self.floored = False
        self.x: Any = None

    @property
    def structure(self):
        """What turns hyperparameters into variances."""
        return None if self.heuristic else self.couplings

    @property
    def n_rows(self):
        """Number of rows of the dictionary."""
        return math.prod(factor.shape[0] for factor in self.factors)

    @property
    def n_targets(self):
        """Number of measurement vectors."""
        return 1 if self.Y.ndim == len(self.factors) else self.Y.shape[-1]

    def variances(self, parameters=None):
        """Return the prior variances of the factors' columns that remain, on the host."""
        parameters = self.parameters if parameters is None else parameters
        return couple(parameters.values, self.structure)

    def full_variances(self, parameters=None):
        """Return the prior variances of all columns, zero where they are pruned."""
        full = []
        for kept, n, variance in zip(self.kept, self.shape, self.variances(parameters)):
            vector = np.zeros(n)
            vector[kept] = variance
            full.append(vector)
        return full

    def posterior(self, **options):
        """Return the posterior for the current hyperparameters."""
        return self._posterior(self.factors, self.variances(), **options)

    def expect(self):
        """Return the posterior for the current hyperparameters; stores the estimate in ``x``."""
        posterior = self.posterior()
        self.x = KroneckerEstimate(posterior.mean, list(self.kept), self.shape, self.scales)
        return posterior

    def _posterior(self, factors, variances, **options):
        g = [like(variance, self.all_factors[0], real=True) for variance in variances]
        return kronecker_posterior(factors, self.Y, g, self.parameters.noise, **options)

    def moments(self, posterior):
        """Return the second moments of the coefficients, averaged over targets."""
        return posterior.variance + _mean_squares(posterior, len(self.factors))

    def set_values(self, values):
        """Replace what the variances follow from."""
        values = normalise(values, self.structure)
        self.parameters = self.parameters._replace(values=values)

    def resolves(self, parameters):
        """Tell whether the noise is within reach of the precision, given the size of the signal.

        Where it is not, variances run away: residuals are rounding errors, and grow with them.
        """
        ratio, tiny = -math.log(parameters.noise), np.finfo(float).tiny
        parts = zip(self.variances(parameters), self._squares, self.kept, strict=True)
        for values, squares, kept in parts:
            ratio += math.log(max(float(np.max(values * squares[kept])), tiny))
        precision = float(array_namespace(self.Y).finfo(self.Y.dtype).eps)
        return ratio <= -math.log(min(precision**RESOLUTION, LEAST_RESOLUTION))

    def drop(self, keep):
        """Keep, for each factor, the columns where ``keep`` is True."""
        self._install(*self._reduced(keep))

    def prune(self, shares, floors, guard, nll):
        """Drop columns of small variance, unless that empties a factor or costs evidence.

        Where dropping all of them costs too much, it is tried for one factor at a time, then for
        half of its columns, and so on: what costs little goes, whatever the others do.

        Parameters
        ----------
        shares : list of float
            For each factor, the least variance to keep, over the factor's largest one.
        floors : list of float
            The same, over the Euclidean norm of the factor's variances.
        guard : float or None
            Largest rise of nll to accept, over its magnitude or the number of measurements,
            whichever is larger.
        nll : float
            Its value before.

        Returns
        -------
        bool
            Whether columns were dropped. ``emptied`` is set if a factor would have lost all.
        """
        keep = self._large(shares, floors)
        if self.emptied is not None or all(mask.all() for mask in keep):
            return False
        if guard is not None:
            keep = self._affordable(keep, nll + guard * max(abs(nll), self.n_rows))
        if all(mask.all() for mask in keep):
            return False
        self.drop(keep)
        return True

    def _large(self, shares, floors):
        """Return which columns are large, or were refused lately; ``emptied`` is set if none is."""
        keep = []
        for number, variance in enumerate(self.variances()):
            bound = max(shares[number] * variance.max(), floors[number] * np.linalg.norm(variance))
            keep.append(variance >= bound)
            if not keep[-1].any():
                self.emptied = number
            for position, column in enumerate(self.kept[number]):
                refused = self._refused.get((number, int(column)), -math.inf)
                keep[-1][position] |= self.iteration < refused + REFUSAL
        return keep

    def _affordable(self, keep, limit):
        """Return ``keep``, or what of it can be dropped before nll exceeds ``limit``."""
        if self._nll_without(keep) <= limit:
            return keep
        allowed = [np.ones_like(mask) for mask in keep]
        for number, variance in enumerate(self.variances()):
            columns = np.flatnonzero(~keep[number])
            if len(columns) > 0:
                columns = columns[np.argsort(variance[columns])]
                allowed = self._drop_affordable(allowed, number, columns, limit)
        return allowed

    def _drop_affordable(self, keep, number, columns, limit):
        """Drop columns of a factor from ``keep`` by halves, the small ones first, down to one."""
        trial = list(keep)
        trial[number] = keep[number].copy()
        trial[number][columns] = False
        if self._nll_without(trial) <= limit:
            return trial
        if len(columns) == 1:
            self._refused[number, int(self.kept[number][columns[0]])] = self.iteration
            return keep
        for half in np.array_split(columns, 2):
            keep = self._drop_affordable(keep, number, half, limit)
        return keep

    def _nll_without(self, keep):
        _, factors, couplings, _, values = self._reduced(keep)
        structure = None if self.heuristic else couplings
        return self._posterior(factors, couple(values, structure)).nll

    def _reduced(self, keep):
        kept = [indices[mask] for indices, mask in zip(self.kept, keep, strict=True)]
        factors, couplings, columns, values = [], [], [], []
        for number, indices in enumerate(kept):
            factor = self.all_factors[number]
            xp = array_namespace(factor)
            where = xp.asarray(indices, device=factor.device)
            factors.append(xp.take(factor, where, axis=1))
            value = self.parameters.values[number]
            if self.columns[number] is None:
                columns.append(None)
                couplings.append(None)
                values.append(value[keep[number]])
            else:
                rows = self.all_couplings[number][indices]
                chosen = self.columns[number][rows[:, self.columns[number]].any(axis=0)]
                columns.append(chosen)
                couplings.append(rows[:, chosen])
                remaining = np.isin(self.columns[number], chosen)
                values.append(value[keep[number] if self.heuristic else remaining])
        return kept, factors, couplings if self.couplings else None, columns, values

    def _install(self, kept, factors, couplings, columns, values):
        self.kept, self.factors, self.couplings, self.columns = kept, factors, couplings, columns
        self.set_values(values)


def _squared_norms(factor):
    xp = array_namespace(factor)
    return to_numpy(xp.sum(squared_magnitude(factor), axis=0)).astype(np.float64)


class NoiseRule(NamedTuple):
    """How the noise variance changes: not at all if ``floor`` is None."""

    floor: float | None

    def update(self, state, posterior):
        """Return the noise variance after an EM step, and whether the floor held it up."""
        if self.floor is None:
            return state.parameters.noise, False
        noise = state.parameters.noise
        noise = (posterior.residual + noise * posterior.well_determined) / state.n_rows
        return max(noise, self.floor), noise < self.floor


class Balance(NamedTuple):
    """The two parts of the slope of nll in each variance, or in what coupling turns into it.

    With z = A_j^H S^-1 A_j and q = A_j^H S^-1 Y for column j of the dictionary, the derivative of
    nll in ``g_d[i]`` is the sum, over the columns j of index i, of ``(z_j - |q_j|^2 / L)`` times
    the variances of the other factors. ``determined`` and ``explained`` are the two parts, times
    ``g_d[i]`` and divided by the number of these columns.
    """

    determined: list
    explained: list

    def growth(self):
        """Return what explained exceeds determined by, relatively; however small the variance."""
        tiny = np.finfo(float).tiny
        pairs = zip(self.explained, self.determined, strict=True)
        return [np.maximum(p / np.maximum(w, tiny) - 1.0, 0.0) for p, w in pairs]

    def total_growth(self):
        """Return the same for the scale of all variances."""
        return max(float(self.explained[-1].sum() / self.determined[-1].sum()) - 1.0, 0.0)

    def largest_growth(self):
        """Return the largest growth of any of them, or of all together."""
        return max(self.total_growth(), *(float(values.max()) for values in self.growth()))


def balance(state):
    """Return the parts of the slopes of nll, accurate where variances are tiny."""
    variances = state.variances()
    posterior = state.posterior(determined=True)
    squares = _mean_squares(posterior, len(variances))
    determined, explained = [], []
    for d, variance in enumerate(variances):
        others = [None if e == d else np.ones(len(v)) for e, v in enumerate(variances)]
        inverses = [None if e == d else 1.0 / v for e, v in enumerate(variances)]
        means = contract(posterior.determined, others), contract(squares, inverses) / variance
        for target, part in zip((determined, explained), means, strict=True):
            share = part / math.prod(len(v) for v in others if v is not None)
            target.append(_by_coupling(state, d, share, variance))
    return Balance(determined, explained)


def stationarity(state, posterior):
    """Return the largest relative slope of nll in the variances: 0 at a stationary point.

    For factor d and column i the slope is the mean, over the columns of the other factors, of
    1 - Lambda / g: n_d / N times the derivative of nll in ``log g_d[i]``. For a coupled factor
    ``g_d = C_d v_d`` the derivatives are those in ``log v_d[j]``. They vanish with the variances,
    so that what these should grow by counts as well.
    """
    variances = state.variances()
    moments = state.moments(posterior)
    size = math.prod(len(variance) for variance in variances)
    worst = balance(state).largest_growth()
    for d, variance in enumerate(variances):
        inverses = [None if e == d else 1.0 / v for e, v in enumerate(variances)]
        slopes = 1.0 - contract(moments, inverses) / variance * len(variance) / size
        worst = max(worst, float(np.abs(_by_coupling(state, d, slopes, variance)).max()))
    return worst


def _by_coupling(state, d, slopes, variance):
    """Turn slopes in the logarithms of a factor's variances into those of its values."""
    if state.structure is None or state.structure[d] is None:
        return slopes
    return (state.structure[d] * state.parameters.values[d] / variance[:, None]).T @ slopes


def _mean_squares(posterior, n_factors):
    """Return ``|mean|^2``, averaged over targets."""
    xp = array_namespace(posterior.mean)
    squares = squared_magnitude(posterior.mean)
    return xp.mean(squares, axis=-1) if squares.ndim > n_factors else squares
