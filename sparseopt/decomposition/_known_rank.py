r"""What the solvers for a known rank share: data, thresholds, passes over tiles, the verdict.

They fit :math:`D = L + S` with rank L = r by looking at

    E = D - L without its outliers (or clipped),   E V,   U' E,

and at nothing else that is as large as D: L is generated tile by tile, turned into E while
it is in the cache, and multiplied. That is 6 m n r flops and one reading of D.
"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse as scipy_sparse
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import (
    Status,
    array_namespace,
    check_at_least_one,
    check_nonnegative,
    is_numpy,
)
from sparseopt.decomposition._kernels import passes_for
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._singular_values import spectral_norm

TILE = 131_072  # entries: L's tile and its products stay in a megabyte of cache
NORMAL_MAD = 1.4826  # standard deviation of a normal law over its median absolute deviation
NOISE_THRESHOLD = 3.0  # deviations of dense noise up to which an entry is no outlier
SAFE_EXPONENT = {4: 20, 8: 200}  # of 2, by itemsize: squares of such entries sum up safely
LARGEST_EXPONENT = {4: 120, 8: 1000}
LARGEST_RATIO = 100  # of the norm of the data to that of typical entries, for tolerances
ADVICE = (
    "Increase max_iter, or tol if this accuracy suffices; give noise_std if the data hold dense "
    "noise; or the rank is too low, or the corruption beyond what this method can undo."
)
DENSE_SHARE = 0.8  # share of outliers from which S is not sparse by any standard
OWN_DIRECTION = 0.5  # leverage of a row that the low-rank part fits nearly by itself,
LEVERAGE_RATIO = 10  # if so many times the mean leverage


class Data(NamedTuple):
    """A matrix in C order, of moderate scale, with NaN where it was not observed.

    The matrix given is ``unit`` times ``values``, or times its transpose.
    """

    values: Any  # (m, n)
    norm: float  # of the observed entries of ``values``
    reference: float  # what residuals are relative to: ``norm``, unless few entries make it up
    n_observed: int
    unit: float
    transposed: bool
    xp: Any

    @property
    def share(self):
        """Observed share of the entries."""
        return self.n_observed / math.prod(self.values.shape)

    def relative(self, norm):
        """Return ``norm`` relative to that of the data; zero data count as having norm 1."""
        return norm / self.reference if self.reference > 0 else norm

    def restore(self, factors):
        """Return factors of ``values`` as those of the matrix given."""
        restored = LowRankMatrix(factors.U, factors.s * self.unit, factors.Vt)
        return restored.T if self.transposed else restored


def check_rank(rank, shape, name="rank"):
    """Return ``rank`` as an int between 1 and min(m, n)."""
    rank = check_at_least_one(rank, name)
    if rank > min(shape):
        raise ValueError(
            f"{name} must be at most min(m, n) = {min(shape)} for a matrix of shape "
            f"{tuple(shape)}, got {rank}."
        )
    return rank


def check_unmasked(D, name):
    """Raise if ``D`` is a masked array of NumPy: its mask would be lost."""
    if np.ma.is_masked(D):
        raise TypeError(
            f"{name} must be an array without a mask of its own, got a masked array: pass "
            f"{name}.data, and the entries that are observed, ~{name}.mask, as a mask."
        )


def check_matrix(D, name="D"):
    """Return ``D`` as a real floating matrix, not copied if it is one, and its namespace."""
    check_unmasked(D, name)
    if scipy_sparse.issparse(D):
        raise TypeError(
            f"{name} must be a dense array, got a SciPy sparse container, whose zeros may be "
            f"observed or missing: pass {name}.toarray(), with a mask if they are missing."
        )
    xp = array_namespace(D)
    D = np.asarray(D) if is_numpy(xp) else D
    if D.ndim != 2 or 0 in D.shape:
        raise ValueError(f"{name} must be a non-empty matrix, got shape {tuple(D.shape)}.")
    if is_numpy(xp):
        if D.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got dtype {D.dtype}.")
        if D.dtype not in (np.float32, np.float64):
            D = D.astype(np.float32 if D.dtype == np.float16 else np.float64)
        return D, xp
    if xp.isdtype(D.dtype, ("bool", "integral")):
        return xp.astype(D, xp.float64), xp
    if not xp.isdtype(D.dtype, "real floating"):
        raise TypeError(f"{name} must hold real numbers, got dtype {D.dtype}.")
    return D, xp


def prepare(D, observed=None):
    """Validate a matrix and its mask, and return them as :class:`Data`."""
    D, xp = check_matrix(D)
    mask = None if observed is None else _check_mask(observed, D, xp)
    seen = xp.isfinite(D)
    if mask is not None:
        seen = seen | ~mask
    if not bool(xp.all(seen)):
        raise ValueError(
            "D must be finite where it is observed, got NaN or infinite entries. Mark missing "
            "entries by observed=, for example observed=numpy.isfinite(D)."
        )
    transposed = is_numpy(xp) and D.flags.f_contiguous and not D.flags.c_contiguous
    if transposed:
        D, mask = D.T, None if mask is None else mask.T
    filled = D if mask is None else xp.where(mask, D, xp.zeros_like(D))
    values, unit = _to_safe_scale(filled, xp)
    norm = math.sqrt(_sum_of_squares(values, xp))
    if mask is not None:
        values = xp.where(mask, values, xp.full_like(values, math.nan))
    if is_numpy(xp):
        values = np.ascontiguousarray(values)
    n_observed = math.prod(D.shape) if mask is None else int(xp.count_nonzero(mask))
    return Data(values, norm, norm, n_observed, unit, transposed, xp)


def _check_mask(observed, D, xp):
    mask = np.asarray(observed) if is_numpy(xp) else observed
    if tuple(mask.shape) != tuple(D.shape):
        raise ValueError(
            f"observed must have the shape {tuple(D.shape)} of D, got {tuple(mask.shape)}."
        )
    if mask.dtype != xp.bool:
        raise TypeError(f"observed must be an array of booleans, got dtype {mask.dtype}.")
    for axis, name in ((1, "row"), (0, "column")):
        if not bool(xp.all(xp.any(mask, axis=axis))):
            raise ValueError(
                f"D has a {name} without any observed entry: nothing determines its low-rank "
                f"part. Remove such a {name}."
            )
    return mask


def _to_safe_scale(values, xp):
    """Return ``values / unit`` and a power of two ``unit``, 1 unless squares could overflow."""
    size = 4 if float(xp.finfo(values.dtype).eps) > 1e-10 else 8
    unit = safe_unit(float(xp.max(xp.abs(values))), size)
    return (values, unit) if unit == 1 else (values * (1 / unit), unit)


def safe_unit(largest, itemsize):
    """Return the power of two by which numbers up to ``largest`` are divided, 1 if they are safe.

    Large ones remain as large as is safe: others may be smaller by far.
    """
    exponent, safe = math.frexp(largest)[1], SAFE_EXPONENT[itemsize]
    if largest == 0 or abs(exponent) <= safe:
        return 1.0
    return 2.0 ** (exponent - safe if exponent > 0 else max(-LARGEST_EXPONENT[itemsize], exponent))


def _sum_of_squares(values, xp):
    if not is_numpy(xp):
        return float(xp.sum(values * values, dtype=xp.float64))
    step = max(1, TILE // values.shape[1])
    tiles = (values[i : i + step].ravel() for i in range(0, values.shape[0], step))
    return float(sum(float(tile @ tile) for tile in tiles))


def typical_cap(data, multiple):
    """Return ``multiple`` deviations of the data, by their median absolute value.

    Half of the entries being outliers does not move it beyond the largest inlier. If more
    than half of the entries are zero, only the others count.
    """
    if multiple is None:
        return math.inf
    xp = data.xp
    sizes = xp.abs(xp.reshape(data.values, (-1,)))
    sizes = sizes[sizes >= 0] if data.share < 1 else sizes
    middle = _median(sizes, xp)
    if middle == 0:
        sizes = sizes[sizes > 0]
        middle = _median(sizes, xp) if sizes.shape[0] else 0.0
    return multiple * NORMAL_MAD * middle


def with_cap(data, init_cap):
    """Return the data and the cap on the first threshold; residuals are judged by typical entries.

    A single error may exceed everything else so much that any residual is small beside it.
    """
    cap = typical_cap(data, check_init_cap(init_cap))
    if math.isinf(cap):
        return data, cap
    typical = cap / init_cap
    check_range(typical, data.norm, float(data.xp.finfo(data.values.dtype).smallest_normal))
    typical *= math.sqrt(data.n_observed)
    return data._replace(reference=min(data.norm, LARGEST_RATIO * typical)), cap


def check_range(typical, norm, smallest):
    """Raise if squares of a part in 100 000 of typical entries are less than ``smallest``."""
    if norm > 0 and (1e-5 * typical) ** 2 < smallest:
        raise ValueError(
            "D has an entry that exceeds typical ones by too many orders of magnitude for its "
            "dtype: correct it, or mark it as missing."
        )


def check_rate(value, name):
    """Return ``value`` if it is a number between 0 and 1, neither of them."""
    if not 0 < check_nonnegative(value, name) < 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")
    return value


def _median(values, xp):
    if is_numpy(xp):
        return float(np.median(values))
    ordered, n = xp.sort(values), values.shape[0]
    return 0.5 * (float(ordered[(n - 1) // 2]) + float(ordered[n // 2]))


def check_init_cap(init_cap):
    """Return ``init_cap`` if it is None or a positive number."""
    if init_cap is not None and check_nonnegative(init_cap, "init_cap") == 0:
        raise ValueError("init_cap must be positive or None, got 0.")
    return init_cap


def effective_tolerance(tol, data):
    """Return ``tol``, or the least relative residual that the dtype can show."""
    return max(check_nonnegative(tol, "tol"), 20 * float(data.xp.finfo(data.values.dtype).eps))


def zero_filled(data, threshold=math.inf):
    """Return the data as a new matrix, 0 where unobserved or beyond ``threshold``."""
    passes = passes_for(data.xp, "known_rank")
    zeros = data.xp.zeros_like(data.values)
    return passes.small_residual(data.values, zeros, _scalar(data, threshold))[0]


def _scalar(data, value):
    return data.values.dtype.type(value) if is_numpy(data.xp) else value


class Products(NamedTuple):
    """What a pass finds of the residual E of the inliers, for orthonormal U and V."""

    right: Any  # E V (m, r)
    left: Any  # U' E (r, n)
    core: Any  # U' E V (r, r)
    norm: float  # of E
    n_outliers: int

    def tangent_norm(self):
        """Return the norm of E's part along changes of the factors."""
        xp = array_namespace(self.right)
        right, left, core = (_sum_of_squares(part, xp) for part in self[:3])
        return math.sqrt(max(right + left - core, 0.0))


def residual_products(data, low, U, Vt, threshold, *, clip=False):
    """Return the :class:`Products` of ``data - low``; 6 m n r flops.

    Parameters
    ----------
    data : Data
        The matrix.
    low : LowRankMatrix
        What is subtracted.
    U, Vt : array of shape (m, r) and (r, n)
        What the residual is multiplied by, from the two sides.
    threshold : float
        Residuals beyond it are outliers: deleted, or clipped if ``clip``.
    """
    xp = data.xp
    passes = passes_for(xp, "known_rank")
    inliers = passes.clipped_residual if clip else passes.small_residual
    scaled, V, threshold = low.U * low.s, xp.matrix_transpose(Vt), _scalar(data, threshold)
    if not is_numpy(xp):
        E, energy, n_outliers = inliers(data.values, xp.matmul(scaled, low.Vt), threshold)
        right, left = xp.matmul(E, V), xp.matmul(xp.matrix_transpose(U), E)
        return Products(right, left, xp.matmul(left, V), math.sqrt(energy), n_outliers)
    right, left = np.empty_like(U), np.zeros_like(Vt)
    energy, n_outliers = 0.0, 0
    for rows, buffer in _tiles(data.values):
        np.matmul(scaled[rows], low.Vt, out=buffer)
        E, tile_energy, tile_outliers = inliers(data.values[rows], buffer, threshold)
        np.matmul(E, V, out=right[rows])
        left += U[rows].T @ E
        energy += tile_energy
        n_outliers += tile_outliers
    return Products(right, left, left @ V, math.sqrt(energy), n_outliers)


def _tiles(values):
    """Yield slices of rows, and a buffer for each, the same memory every time."""
    m, n = values.shape
    step = min(m, max(1, TILE // n))
    buffer = np.empty((step, n), dtype=values.dtype)
    for start in range(0, m, step):
        stop = min(start + step, m)
        yield slice(start, stop), buffer[: stop - start]


def first_threshold(data, multiple, cap):
    """Return the smaller of ``cap`` and ``multiple`` times the spectral norm of the data."""
    lower_bound = data.norm / (data.share * math.sqrt(min(data.values.shape)))
    if cap <= multiple * lower_bound:
        return cap
    return min(cap, multiple * spectral_norm(zero_filled(data) / data.share))


def restore_dense(data, values):
    """Return an array like ``data.values`` in the scale and orientation of the matrix given."""
    values = values if data.unit == 1 else values * data.unit
    return values.T if data.transposed else values


def outliers(data, dense, threshold, shrinkage=0.0):
    """Return the residuals beyond ``threshold``, ``shrinkage`` nearer to 0; 0 elsewhere."""
    beyond = passes_for(data.xp, "known_rank").outliers_beyond
    bounds = _scalar(data, threshold), _scalar(data, shrinkage)
    out = np.empty_like(dense) if is_numpy(data.xp) else None
    return beyond(data.values, dense, *bounds, out)


def give_parts(data, result, low, dense, sparse, warn, stacklevel=4):
    """Give a result its two parts, and warn of one that is not what was asked for.

    The one who called the solver is as many frames up as in :func:`warn_of`, and one.
    """
    doubt = doubts(data, low, dense, sparse)
    result.low_rank, result.sparse = restore_dense(data, dense), restore_dense(data, sparse)
    return warn_of(result, doubt, warn, stacklevel)


def warn_of(result, doubt, warn, stacklevel=4):
    """Add a doubt to a result, and warn if it is not what was asked for."""
    if doubt is not None:
        result.message += f" {'But' if result.success else 'And'} {doubt}"
        result.success = False
    if warn and not result.success and result.status != Status.STOPPED_BY_CALLBACK:
        warnings.warn(result.message, ConvergenceWarning, stacklevel=stacklevel)
    return result


def too_many_outliers(share, noise):
    """Return the doubt about a decomposition whose sparse part is not sparse.

    ``noise`` is the standard deviation of what L does not fit, if that is normal noise.
    """
    return (
        f"{100 * share:.0f}% of the observed entries are in the sparse part, too many to "
        "determine the low-rank part: the rank is too low, the corruption is beyond what this "
        f"method can undo, or there is dense noise (of a standard deviation of about {noise:.2g}; "
        "give noise_std if the method takes it)."
    )


def doubts(data, low, dense, sparse):
    """Return why a decomposition that fits the data need not be the right one, or None.

    With enough outliers, any low-rank matrix fits, and any row of it fits a row of data; and
    a direction too many is spent on a row or column whose outliers it explains.
    """
    xp, rank = data.xp, low.rank
    m, n = data.values.shape
    n_outliers = int(xp.count_nonzero(sparse))
    if n_outliers == 0:
        return None
    inliers = data.n_observed - n_outliers
    if n_outliers > DENSE_SHARE * data.n_observed or inliers <= rank * (m + n - rank):
        sizes = xp.reshape(xp.abs(data.values - dense), (-1,))
        noise = NORMAL_MAD * data.unit * _median(sizes[sizes >= 0], xp)
        return too_many_outliers(n_outliers / data.n_observed, noise)
    names = ("column", "row") if data.transposed else ("row", "column")
    sides = ((names[0], 1, low.U), (names[1], 0, xp.matrix_transpose(low.Vt)))
    for name, axis, factor in sides:
        lost, n_fitted = lost_lines(data, sparse, rank, axis)
        if bool(xp.any(lost)):
            index = int(xp.argmax(xp.astype(lost, xp.int64)))
            return (
                f"no more than {int(n_fitted[index])} entries of {name} {index} are outside the "
                f"sparse part, too few to determine a {name} of rank {rank}: the rank is too high, "
                "or the corruption is beyond what this method can undo there."
            )
        index, leverage = _largest_leverage(factor, low.s)
        if leverage > max(OWN_DIRECTION, LEVERAGE_RATIO * rank / factor.shape[0]):
            return (
                f"the low-rank part has a direction nearly for {name} {index} alone, so that "
                "little tells its errors from its low-rank part: the rank may be too high."
            )
    return None


def lost_lines(data, sparse, rank, axis):
    """Return which rows (``axis`` 1) or columns (0) have outliers, and too few inliers for a fit.

    Also the numbers of inliers. As many as the rank can be fitted whatever they are.
    """
    xp = data.xp
    n_outlying = xp.count_nonzero(sparse, axis=axis)
    n_fitted = xp.count_nonzero(xp.isfinite(data.values), axis=axis) - n_outlying
    return (n_outlying > 0) & (n_fitted <= rank), n_fitted


def _largest_leverage(factor, s):
    """Return which row lies most in the span of the columns that count, and its share."""
    xp = array_namespace(factor)
    real = xp.astype(s > 1e-6 * xp.max(s), s.dtype)
    leverages = xp.sum((factor * real) ** 2, axis=1)
    index = int(xp.argmax(leverages))
    return index, float(leverages[index])
