r"""Robust PCA of known rank from a few rows and columns (IRCUR).

Find L (m, n) of rank r and a sparse S with D = L + S by looking at some c r log m rows I and
c r log n columns J of D only. With the outliers beyond zeta removed there,

    C = (D - S)[:, J],    R = (D - S)[I, :],    U = H_r(C[I, :]) = P diag(s) Q',

    L = C U^+ R = A B,    A = C Q diag(1/s) (m, r),    B = P'R (r, n),

and zeta falls by the factor gamma. A row of C, or column of R, that is an outlier almost
everywhere is fitted to the factors by least absolute deviations instead. An iteration costs
O((m + n) r^2 log(m + n)), and needs the entries of D that it samples: D may be a memory map much
larger than the memory. Drawing new rows and columns every time ("R") measures the fit on
entries that it has not seen.

References: H. Cai, K. Hamm, L. Huang, J. Li & T. Wang, "Rapid robust principal component
analysis: CUR accelerated inexact low rank estimation", IEEE Signal Processing Letters 28, 2021.
"""

import math

import numpy as np
from scipy import sparse as scipy_sparse

from sparseopt._core import (
    Progress,
    array_namespace,
    check_at_least_one,
    check_nonnegative,
    is_numpy,
    iterate,
    short_products,
    spawn_seeds,
)
from sparseopt.decomposition._kernels import known_rank as passes
from sparseopt.decomposition._known_rank import (
    ADVICE,
    DENSE_SHARE,
    LARGEST_RATIO,
    NOISE_THRESHOLD,
    NORMAL_MAD,
    check_init_cap,
    check_range,
    check_rank,
    check_rate,
    check_unmasked,
    give_parts,
    outliers,
    prepare,
    safe_unit,
    too_many_outliers,
    warn_of,
)
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._robust_projection import robust_projection
from sparseopt.decomposition._singular_values import leading_svd

METHOD = "IRCUR"
LOST_SHARE = 0.25  # of inliers, up to which a row or column counts as not fitted
NOISE_ALLOWANCE = 1.5  # residuals of a fit from few rows and columns exceed the noise


def ircur(
    D,
    rank,
    *,
    oversampling=4.0,
    resample=True,
    init_cap=4.0,
    gamma=0.7,
    noise_std=0.0,
    dense=True,
    tol=1e-7,
    max_iter=100,
    random_state=None,
    callback=None,
    warn=True,
):
    r"""Split a matrix into a part of known rank and a sparse part, from some rows and columns.

    Parameters
    ----------
    D : array-like of shape (m, n)
        Real matrix, for example a ``numpy.memmap``; float32 is kept. It is not written to, and
        only the sampled rows and columns are read, converted and validated.
    rank : int
        Rank of the low-rank part, 1 <= rank <= min(m, n).
    oversampling : float, default=4.0
        c: up to ``c * rank * log(m)`` rows and ``c * rank * log(n)`` columns are drawn with
        replacement, and used once each.
    resample : bool, default=True
        Whether each iteration draws anew (IRCUR-R), or the first draw stays (IRCUR-F).
    init_cap : float or None, default=4.0
        The first threshold in standard deviations that the median absolute entry of the
        sample shows. None: the largest entry.
    gamma : float, default=0.7
        Rate at which the thresholds fall, in (0, 1).
    noise_std : float, default=0.0
        Standard deviation of dense noise. Thresholds stay above three of them.
    dense : bool, default=True
        Whether to compute ``low_rank`` and ``sparse``, which reads all of ``D``.
    tol : float, default=1e-7
        The run ends when the sampled rows and columns of ``D - L - S`` together have norms of
        at most ``tol`` times those of ``D``; with noise, 1.5 times what its level explains are
        allowed besides. At least 20 times the machine epsilon is used. With ``init_cap``, the
        norms of ``D`` count as no more than 100 times what they are by the median absolute
        entry: one huge error does not end the run.
    max_iter : int, default=100
        Largest number of iterations.
    random_state : None, int, RandomState or Generator
        Draws the rows and columns.
    callback : callable, optional
        Called after each iteration as ``callback(x)`` or
        ``callback(intermediate_result=...)``; raising ``StopIteration`` ends the run.
    warn : bool, default=True
        Whether to warn of a result that is not what was asked for.

    Returns
    -------
    result : OptimizeResult
        ``x`` (the low-rank part as a :class:`LowRankMatrix`), ``low_rank`` and ``sparse`` of
        shape (m, n), or None unless ``dense``, ``fun`` and ``certificate`` (norm of the sampled
        rows and columns of ``D - L - S``, and relative to ``D``), ``threshold`` (beyond which
        entries of ``D - L`` are in the sparse part), ``nit``, ``success``, ``status``,
        ``message`` and ``history``.

    Raises
    ------
    TypeError
        For matrices that are sparse, not real, or not NumPy's.
    ValueError
        For a rank above min(m, n), or sampled entries that are not finite.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` was not reached, or it was and the decomposition is doubtful.

    References
    ----------
    H. Cai, K. Hamm, L. Huang, J. Li & T. Wang, "Rapid robust principal component analysis: CUR
    accelerated inexact low rank estimation", IEEE Signal Processing Letters 28, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._ircur import ircur
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((600, 2)) @ rng.standard_normal((2, 500))
    >>> errors = 9 * (rng.random((600, 500)) < 0.1)
    >>> result = ircur(low_rank + errors, 2, random_state=0)
    >>> result.success, bool(np.allclose(result.low_rank, low_rank, atol=1e-4))
    (True, True)
    """
    D = _check_readable(D)
    rank = check_rank(rank, D.shape)
    gamma = check_rate(gamma, "gamma")
    max_iter = check_at_least_one(max_iter, "max_iter")
    if check_nonnegative(oversampling, "oversampling") < 1:
        raise ValueError(f"oversampling must be at least 1, got {oversampling!r}.")
    generator = np.random.default_rng(spawn_seeds(random_state, 1)[0])
    sampler = _Sampler(D, rank, oversampling, resample, generator)
    state = _State(sampler, rank, gamma, check_init_cap(init_cap), noise_std)
    with short_products(state.columns.size):
        result = iterate(
            _step,
            state,
            initial=state.observe(),
            max_iter=max_iter,
            tol=max(check_nonnegative(tol, "tol"), 20 * float(np.finfo(state.dtype).eps)),
            method=METHOD,
            callback=callback,
            certificate_name="relative residual of the sample",
            advice=ADVICE,
            descends=True,
            warn=False,
        )
    return _conclude(result, state, D, dense, warn)


def _check_readable(D):
    if scipy_sparse.issparse(D):
        raise TypeError("D must be a dense array, got a SciPy sparse container: pass D.toarray().")
    check_unmasked(D, "D")
    xp = array_namespace(D)
    if not is_numpy(xp):
        raise TypeError(f"ircur computes with NumPy arrays, got one of {xp.__name__}.")
    D = np.asarray(D)  # a view of a memory map: nothing is read
    if D.ndim != 2 or 0 in D.shape:
        raise ValueError(f"D must be a non-empty matrix, got shape {D.shape}.")
    if D.dtype.kind not in "biuf":
        raise TypeError(f"D must hold real numbers, got dtype {D.dtype}.")
    return D


class _Sampler:
    """Reads rows and columns of D, in a floating dtype."""

    def __init__(self, D, rank, oversampling, resample, generator):
        self.shape, self.resample = D.shape, resample
        self.dtype = np.dtype(np.float32 if D.dtype in (np.float16, np.float32) else np.float64)
        self._D, self._generator = D, generator
        self._counts = [math.ceil(oversampling * rank * math.log(k)) for k in D.shape]
        self._rank = rank

    def draw(self):
        """Return indices of rows and of columns, and these rows and columns."""
        at_rows, at_columns = (self._indices(k, c) for k, c in zip(self.shape, self._counts))
        rows = np.ascontiguousarray(self._D[at_rows], dtype=self.dtype)
        columns = np.ascontiguousarray(self._D[:, at_columns], dtype=self.dtype)
        if not (np.all(np.isfinite(rows)) and np.all(np.isfinite(columns))):
            raise ValueError(
                "D must be finite, got NaN or infinite entries; ircur knows no missing entries."
            )
        return at_rows, at_columns, rows, columns

    def _indices(self, k, count):
        if count >= k:
            return np.arange(k)
        drawn = np.unique(self._generator.integers(k, size=count))
        if drawn.size < self._rank:
            drawn = np.sort(self._generator.choice(k, size=self._rank, replace=False))
        return drawn


class _State:
    """Factors A B of L, the sample, and the threshold; in units of ``unit``."""

    def __init__(self, sampler, rank, gamma, init_cap, noise_std):
        self.sampler, self.rank, self.gamma, self.dtype = sampler, rank, gamma, sampler.dtype
        self.at_rows, self.at_columns, self.rows, self.columns = sampler.draw()
        sizes = np.abs(np.concatenate([self.rows.ravel(), self.columns.ravel()]))
        self.unit = safe_unit(float(sizes.max()), self.dtype.itemsize)
        self.rows, self.columns = self.rows / self.unit, self.columns / self.unit
        self.floor = NOISE_THRESHOLD * check_nonnegative(noise_std, "noise_std") / self.unit
        first = _first_threshold(sizes / self.unit, init_cap)
        self.thresholds = [max(self.floor, first)]
        self.largest = math.inf
        if init_cap is not None:
            self.largest = LARGEST_RATIO * first / init_cap
            check_range(first / init_cap, first, float(np.finfo(self.dtype).smallest_normal))
        self.nit = 0
        self.A = np.zeros((sampler.shape[0], rank), dtype=self.dtype)
        self.B = np.zeros((rank, sampler.shape[1]), dtype=self.dtype)

    @property
    def low(self):
        """The low-rank part as a :class:`LowRankMatrix`."""
        Q1, R1 = np.linalg.qr(self.A)
        Q2, R2 = np.linalg.qr(self.B.T)
        a, s, bt = np.linalg.svd(R1 @ R2.T)
        return LowRankMatrix(Q1 @ a, s * self.dtype.type(self.unit), bt @ Q2.T)

    x = low

    def observe(self):
        """Remove the outliers of the sample, and report what the inliers' residuals are."""
        threshold = self.dtype.type(self.thresholds[-1])
        A, B = self.A[self.at_rows], np.ascontiguousarray(self.B[:, self.at_columns])
        # Lines that the factors do not fit are fitted to the crossing lines of the other side.
        sides = (self.rows, A @ self.B, A.T, 0), (self.columns, self.A @ B, B, 1)
        norm, size, noise, n_outliers, n_entries = 0.0, 0.0, 0.0, 0, 0
        for data, fit, crossing, axis in sides:
            energy, outliers_here = passes.fill_inliers(data, fit, threshold)
            if outliers_here and self.nit > 0:
                energy += _refit_lost_lines(data, fit, crossing, axis, threshold)
            norm += math.sqrt(energy)
            with np.errstate(over="ignore"):  # by an error that the first sample lacked
                norm_of_data = float(np.linalg.norm(data))
            size += min(norm_of_data, self.largest * math.sqrt(data.size))
            noise += self.floor / NOISE_THRESHOLD * math.sqrt(data.size)
            n_outliers += outliers_here
            n_entries += data.size
        self.clean_rows, self.clean_columns = sides[0][1], sides[1][1]
        self.outlier_share = n_outliers / n_entries
        excess = norm
        if threshold == self.dtype.type(self.floor):
            excess = max(0.0, norm - NOISE_ALLOWANCE * noise)
        return Progress(norm * self.unit, excess / size if size > 0 else excess)

    def doubt(self):
        """Return why the factors need not be right, as far as the sample shows it, or None."""
        if self.outlier_share <= DENSE_SHARE:
            return None
        residual = np.abs(self.columns - self.A @ self.B[:, self.at_columns])
        noise = NORMAL_MAD * self.unit * float(np.median(residual))
        return too_many_outliers(self.outlier_share, noise)


def _refit_lost_lines(data, clean, crossing, axis, threshold):
    """Fit lines anew that are outliers almost everywhere, in the least sum of deviations.

    Once the factors have a line wrong, all of it seems an outlier, and nothing would mend it.
    Returns the sum of squares of the inliers' residuals in these lines.
    """
    lines, filled = (data, clean) if axis == 1 else (data.T, clean.T)
    n_inliers = np.count_nonzero(lines == filled, axis=1)
    lost = np.flatnonzero(n_inliers <= LOST_SHARE * lines.shape[1])
    if lost.size == 0:
        return 0.0
    scores, _ = robust_projection(lines[lost], crossing, 0.0)
    fit = scores @ crossing
    residual = lines[lost] - fit
    inlying = np.abs(residual) <= threshold
    filled[lost] = np.where(inlying, lines[lost], fit)
    return float(np.sum(residual[inlying].astype(np.float64) ** 2))


def _step(state):
    state.nit += 1
    found = leading_svd(state.clean_columns[state.at_rows], state.rank, random_state=0)
    smallest = found.s[0] * np.finfo(state.dtype).eps * max(state.rows.shape)
    real = found.s > smallest
    inverse = np.where(real, 1 / np.where(real, found.s, 1), 0)
    state.A = state.clean_columns @ (found.Vt.T * inverse)
    state.B = found.U.T @ state.clean_rows
    if state.sampler.resample:
        state.at_rows, state.at_columns, rows, columns = state.sampler.draw()
        state.rows, state.columns = rows / state.unit, columns / state.unit
    state.thresholds.append(max(state.floor, state.gamma * state.thresholds[-1]))
    return state.observe()


def _first_threshold(sizes, init_cap):
    largest = float(sizes.max())
    if init_cap is None or largest == 0:
        return largest
    middle = float(np.median(sizes)) or float(np.median(sizes[sizes > 0]))
    return min(largest, init_cap * NORMAL_MAD * middle)


def _conclude(result, state, D, dense, warn):
    low = state.low
    result.threshold = state.thresholds[-1] * state.unit
    result.history["threshold"] = np.array(state.thresholds) * state.unit
    if not dense:
        result.low_rank = result.sparse = None
        return warn_of(result, state.doubt(), warn)
    data = prepare(D)
    low = LowRankMatrix(low.U, low.s / low.s.dtype.type(data.unit), low.Vt)
    low = low.T if data.transposed else low
    low_rank = low.to_dense()
    sparse = outliers(data, low_rank, result.threshold / data.unit)
    return give_parts(data, result, low, low_rank, sparse, warn, stacklevel=5)
