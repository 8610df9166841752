r"""The data of a transport problem: costs that may never be stored, masses, and checks.

    minimise  <P, C> + eps KL(P | a b')  over P >= 0 (n, m) with P 1 = a, P' 1 = b.

A cost is a matrix C (n, m) or two point clouds X (n, d), Y (m, d) whose distances the kernels
compute where they need them, in memory O(n + m).
"""

import functools
import itertools
import math
import numbers

import numpy as np
from joblib import Parallel, delayed
from scipy import sparse
from scipy.sparse.csgraph import maximum_flow
from scipy.spatial.distance import cdist

from sparseopt.transport._kernels import cpu as kernels

METRICS = {
    "sqeuclidean": kernels.SQEUCLIDEAN,
    "euclidean": kernels.EUCLIDEAN,
    "cityblock": kernels.CITYBLOCK,
}
LARGEST_STORED = 4_000_000  # entries up to which the costs of point clouds are stored
ROW_BLOCKS = 8  # of a large pass; fixed, so that results do not depend on n_jobs
MASS_TOLERANCE = 1e-6
LARGEST_TOTAL = 1e100  # of the masses, and one over the smallest: products stay finite
LARGEST_EXPONENT = 1e15  # of costs over reg: there, rounding errors are as large as the masses


class Cost:
    """The cost matrix, stored or computed row by row from point clouds.

    Parameters
    ----------
    matrix : ndarray of shape (n, m), optional
        Stored costs; computed from the points where they are needed if absent.
    X, Y : ndarray of shape (n, d) and (m, d), optional
        Points, if the costs come from any.
    metric : str, default="sqeuclidean"
        What scipy's ``cdist`` accepts; a key of ``METRICS`` if there is no matrix.
    """

    def __init__(self, matrix=None, X=None, Y=None, metric="sqeuclidean"):
        self.matrix, self.X, self.Y, self.metric = matrix, X, Y, metric

    @property
    def stored(self):
        """Whether the costs are a matrix in memory."""
        return self.matrix is not None

    @property
    def shape(self):
        """Number of rows and columns."""
        return self.matrix.shape if self.stored else (self.X.shape[0], self.Y.shape[0])

    @functools.cached_property
    def arguments(self):
        """What the kernels receive: ``(matrix, X, Yt, code)``."""
        nothing = np.empty((0, 0))
        if self.stored:
            return _writable(self.matrix), nothing, nothing, kernels.DENSE
        Yt = np.ascontiguousarray(self.Y.T)
        return nothing, _writable(self.X), _writable(Yt), METRICS[self.metric]

    @functools.cached_property
    def _described(self):
        n, m = self.shape
        smallest, sums, counts = (np.empty(n) for _ in range(3))
        nearest, largest = np.empty(m), np.empty(m)
        kernels.cost_statistics(self.arguments, smallest, sums, counts, nearest, largest)
        mean = sums.sum() / max(counts.sum(), 1.0)
        finite = counts.sum() == n * m
        return smallest.min(), largest.max(), mean, finite, nearest

    @property
    def statistics(self):
        """Smallest, largest and mean finite cost."""
        return self._described[:3]

    @property
    def all_finite(self):
        """Whether no cost is infinite."""
        return self._described[3]

    @property
    def first_potential(self):
        """What is smallest in each column once each row's smallest cost is subtracted, (m,)."""
        return self._described[4]

    def centred(self):
        """Return the cost without what all its entries share, and that constant.

        Zero unless it is the larger part of every entry; then the subtraction is exact.
        """
        smallest, largest, _ = self.statistics
        if self.X is not None or not largest - smallest < abs(smallest) < math.inf:
            return self, 0.0
        return Cost(self.matrix - smallest), float(smallest)

    def median(self):
        """Return the median finite cost; of every k-th row only if there are many."""
        n, m = self.shape
        step = max(1, n * m // LARGEST_STORED)
        costs = self.restrict(np.arange(0, n, step), slice(None)).dense()
        return float(np.median(costs[np.isfinite(costs)]))

    def restrict(self, rows, columns):
        """Return the cost of some rows and columns."""
        matrix, X, Y = self.matrix, self.X, self.Y
        if self.stored:
            matrix = np.ascontiguousarray(matrix[rows][:, columns])
        if X is not None:
            X, Y = X[rows], Y[columns]
        return Cost(matrix, X, Y, self.metric)

    def transpose(self):
        """Return the cost with sources and targets exchanged."""
        matrix = np.ascontiguousarray(self.matrix.T) if self.stored else None
        return Cost(matrix, self.Y, self.X, self.metric)

    def dense(self):
        """Return the cost matrix."""
        return self.matrix if self.stored else cdist(self.X, self.Y, self.metric)

    def __getstate__(self):
        state = {name: getattr(self, name) for name in ("matrix", "X", "Y", "metric")}
        if self.X is not None and self.metric in METRICS:
            state["matrix"] = None  # computed again where needed
        return state


def _writable(array):
    """Return ``array`` itself or a copy: Numba compiles again for read-only ones."""
    array = np.ascontiguousarray(array)
    return array if array.flags.writeable else array.copy()


def for_row_blocks(function, shape, n_jobs=None):
    """Return ``[function(start, stop) for blocks of rows]``, in threads if that pays."""
    n, m = shape
    if n * m <= LARGEST_STORED:
        return [function(0, n)]
    edges = np.linspace(0, n, ROW_BLOCKS + 1).astype(int)
    return Parallel(n_jobs=n_jobs, prefer="threads", require="sharedmem")(
        delayed(function)(start, stop) for start, stop in itertools.pairwise(edges)
    )


def check_cost(C, X, Y, metric):
    """Return the :class:`Cost` that the arguments of a public function describe."""
    if C is not None:
        if X is not None or Y is not None:
            raise ValueError("Give either the cost matrix C or the points X and Y, not both.")
        if sparse.issparse(C):
            raise TypeError(
                "C must be a dense array: a missing entry of a sparse one could mean a cost "
                "of zero or of infinity. Use numpy.inf for forbidden pairs."
            )
        cost = Cost(np.ascontiguousarray(_as_matrix(C, "C", finite=False)))
        if not np.min(cost.statistics[0]) > -np.inf:
            raise ValueError("C must be finite, got NaN or -inf entries.")
        return cost
    if X is None:
        raise ValueError("Give the cost matrix C, or the points X and Y.")
    X = _as_matrix(X, "X")
    Y = X if Y is None else _as_matrix(Y, "Y")
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X and Y must have the same number of features, got shapes {X.shape} and {Y.shape}."
        )
    if not isinstance(metric, str) or metric not in METRICS:
        try:
            distances = cdist(X, Y, metric)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"metric must be one of {sorted(METRICS)}, or what "
                f"scipy.spatial.distance.cdist accepts, got {metric!r}."
            ) from error
        return Cost(
            _as_matrix(distances, f"the matrix of distances by metric={metric!r}"), X, Y, metric
        )
    stored = X.shape[0] * Y.shape[0] <= LARGEST_STORED
    return Cost(cdist(X, Y, metric) if stored else None, X, Y, metric)


def _as_matrix(values, name, *, finite=True):
    if np.iscomplexobj(values):
        raise ValueError(f"{name} must be real, got complex values.")
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a matrix of numbers.") from error
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} must be a non-empty matrix, got shape {matrix.shape}.")
    if finite and not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
    return matrix


def check_masses(a, b, shape, *, normalize=False):
    """Return two histograms as float64 arrays with the same total."""
    a = check_histogram(a, shape[0], "a", "rows", shape)
    b = check_histogram(b, shape[1], "b", "columns", shape)
    with np.errstate(over="ignore"):
        total_a, total_b = a.sum(), b.sum()
    for name, total in (("a", total_a), ("b", total_b)):
        if not (1 / LARGEST_TOTAL <= total <= LARGEST_TOTAL):
            raise ValueError(
                f"{name} must have a sum between {1 / LARGEST_TOTAL:g} and {LARGEST_TOTAL:g}, "
                f"got {total:.8g}. Divide the masses by their sum."
            )
    if normalize:
        return a / total_a, b / total_b
    if abs(total_a - total_b) > MASS_TOLERANCE * max(total_a, total_b):
        raise ValueError(
            f"a and b must have equal sums, got {total_a:.8g} and {total_b:.8g}. Pass "
            "normalize=True to divide each by its sum, or use unbalanced transport."
        )
    return a, b * (total_a / total_b)


def check_histogram(mass, size, name, side, shape):
    if mass is None:
        return np.full(size, 1.0 / size)
    if np.iscomplexobj(mass):
        raise ValueError(f"{name} must be real, got complex masses.")
    try:
        mass = np.array(mass, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold real numbers.") from error
    if mass.shape != (size,):
        raise ValueError(
            f"{name} must have shape ({size},), one mass for each of the {side} of the cost "
            f"of shape {shape}, got shape {mass.shape}."
        )
    if not np.all(np.isfinite(mass)):
        raise ValueError(f"{name} must be finite, got NaN or infinite masses.")
    if mass.min() < 0:
        raise ValueError(f"{name} must be >= 0, got {mass.min()!r} at {int(mass.argmin())}.")
    if not mass.max() > 0:
        raise ValueError(f"{name} must have a positive sum, got only zeros.")
    return mass


def check_reg(reg, reg_scale, cost):
    """Return the regularisation in the units of the cost."""
    if not isinstance(reg, numbers.Real) or isinstance(reg, bool):
        raise TypeError(f"reg must be a real number, got {reg!r}.")
    if not (reg > 0 and math.isfinite(reg)):
        raise ValueError(
            f"reg must be positive and finite, got {reg!r}. For exact optimal transport use "
            "wasserstein_distance(..., reg=None)."
        )
    if reg_scale is None:
        return float(reg)
    if reg_scale not in ("max", "mean", "median"):
        raise ValueError(f'reg_scale must be None, "max", "mean" or "median", got {reg_scale!r}.')
    _, largest, mean = cost.statistics
    scale = {"max": largest, "mean": mean}.get(reg_scale)
    scale = cost.median() if scale is None else scale
    if not scale > 0:
        raise ValueError(f"reg_scale={reg_scale!r} needs a positive cost, got {float(scale)!r}.")
    scaled = float(reg) * float(scale)
    if not (scaled > 0 and math.isfinite(scaled)):
        raise ValueError(
            f"reg times reg_scale={reg_scale!r} must be positive and finite, got {reg!r} times "
            f"{float(scale)!r}."
        )
    return scaled


def check_exponents(cost, eps):
    """Raise ValueError if no digit of the finite costs over eps has a meaning."""
    largest = max(abs(value) for value in cost.statistics[:2])
    if largest > LARGEST_EXPONENT * eps:
        raise ValueError(
            f"reg must be at least {1 / LARGEST_EXPONENT:g} times the largest cost, got {eps!r} "
            f"and {float(largest)!r}: rounding errors would exceed the masses. Use numpy.inf for "
            "forbidden pairs, and wasserstein_distance(..., reg=None) for exact optimal transport."
        )


def check_feasible(cost, a, b):
    """Raise ValueError if infinite costs leave no plan with finite cost."""
    allowed = np.isfinite(cost.matrix)
    units = 2**30
    n, m = cost.shape
    supply, demand = (np.ceil(mass / mass.sum() * units).astype(np.int32) for mass in (a, b))
    i, j = np.nonzero(allowed)
    source, sink = n + m, n + m + 1
    heads = np.concatenate([np.full(n, source), i, n + np.arange(m)])
    tails = np.concatenate([np.arange(n), n + j, np.full(m, sink)])
    capacity = np.concatenate([supply, np.full(i.size, units, np.int32), demand])
    graph = sparse.csr_array((capacity.astype(np.int32), (heads, tails)), shape=(sink + 1,) * 2)
    flow = maximum_flow(graph, source, sink).flow_value
    if flow < units * (1 - MASS_TOLERANCE):
        raise ValueError(
            "C has infinite costs that leave no feasible plan: at most "
            f"{flow / units:.6g} of the mass can be moved at finite cost."
        )
