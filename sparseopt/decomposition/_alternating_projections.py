r"""Accelerated alternating projections onto matrices of known rank and sparse matrices.

Find L (m, n) of rank r and a sparse S with D = L + S. A step projects D - S onto the
tangent space T of the matrices of rank r at L and then onto rank r, and thresholds D - L:

    L  <-  H_r(P_T (D - S)),    zeta  <-  beta (sigma_{r+1} + gamma^t sigma_1),
    S  <-  D - L where |D - L| > zeta, else 0.

Since D - S = L + E with the residual E of the inliers, everything comes from E V and U'E,
and the rank-r projection from a matrix of order 2 r. Only observed entries enter E; it is
then divided by their share, which makes it an unbiased estimate of the full one.

References: H. Cai, J.-F. Cai & K. Wei, "Accelerated alternating projections for robust
principal component analysis", JMLR 20(20), 2019. The cap on the first threshold is ours:
the published one exceeds the outliers where these are much larger than L.
"""

import math
import numbers

import array_api_compat

from sparseopt._core import (
    array_namespace,
    check_at_least_one,
    check_nonnegative,
    short_products,
)
from sparseopt.decomposition._factor_state import FactorState, run
from sparseopt.decomposition._known_rank import (
    NOISE_THRESHOLD,
    check_rank,
    check_rate,
    effective_tolerance,
    first_threshold,
    prepare,
    with_cap,
    zero_filled,
)
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._singular_values import leading_svd, orthonormal_factor

METHOD = "AccAltProj"


def accelerated_alternating_projections(
    D,
    rank,
    *,
    observed=None,
    init_cap=4.0,
    beta=None,
    beta_init=None,
    gamma=0.7,
    incoherence=None,
    noise_std=0.0,
    tol=1e-7,
    max_iter=100,
    random_state=None,
    callback=None,
    warn=True,
):
    r"""Split a matrix into a part of known rank and a sparse part (AccAltProj).

    Parameters
    ----------
    D : array of shape (m, n)
        Real matrix, from any array library; float32 is kept. It is not written to.
    rank : int
        Rank of the low-rank part, 1 <= rank <= min(m, n).
    observed : bool array of shape (m, n), optional
        Which entries of ``D`` count; the others may be NaN.
    init_cap : float or None, default=4.0
        Largest first threshold, in standard deviations that the median absolute entry
        shows. None: the published rule alone, ``beta_init`` times the spectral norm.
    beta : float, optional
        Thresholds relative to singular values; :math:`1 / (2 (m n)^{1/4})` by default.
    beta_init : float, optional
        The same for the first threshold; ``4 * beta`` by default.
    gamma : float, default=0.7
        Rate at which the thresholds fall, in (0, 1). Larger is slower and withstands more
        corruption.
    incoherence : float or pair of floats, optional
        :math:`\mu \ge 1`: rows of the left factor of length above
        :math:`\sqrt{\mu r / m}` are shortened to that, and likewise on the right.
    noise_std : float, default=0.0
        Standard deviation of dense noise. Residuals of up to three of them stay out of the
        sparse part, and the run ends when the factors no longer change.
    tol : float, default=1e-7
        The run ends when :math:`\|D - L - S\|_F \le tol \|D\|_F`; with noise, when this
        holds for the part of the residual that a change of the factors could remove.
        At least 20 times the machine epsilon is used. With ``init_cap``,
        :math:`\|D\|_F` counts as no more than 100 times what it is by the median absolute
        entry: one huge error does not end the run.
    max_iter : int, default=100
        Largest number of iterations.
    random_state : None, int, RandomState or Generator
        Start vector of the first decomposition.
    callback : callable, optional
        Called after each iteration as ``callback(x)`` or
        ``callback(intermediate_result=...)``; raising ``StopIteration`` ends the run.
    warn : bool, default=True
        Whether to warn of a result that is not what was asked for.

    Returns
    -------
    result : OptimizeResult
        ``x`` (the low-rank part as a :class:`LowRankMatrix`), ``low_rank`` and ``sparse`` of
        shape (m, n), ``fun`` (:math:`\|D - L - S\|_F`), ``certificate`` (what ``tol`` bounds),
        ``nit``, ``success``, ``status``, ``message`` and ``history``, which has a
        ``threshold`` too. The sparse part is zero where nothing was observed.

    Raises
    ------
    TypeError
        For matrices that are sparse or not real.
    ValueError
        For a rank above min(m, n), entries that are neither finite nor declared missing, or
        rows or columns without any observed entry.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` was not reached, or it was and the decomposition is doubtful: almost
        every entry is an outlier, or a row has a direction for itself.

    References
    ----------
    H. Cai, J.-F. Cai & K. Wei, "Accelerated alternating projections for robust principal
    component analysis", Journal of Machine Learning Research 20(20), 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._alternating_projections import (
    ...     accelerated_alternating_projections,
    ... )
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 50))
    >>> errors = 9 * (rng.random((60, 50)) < 0.1)
    >>> result = accelerated_alternating_projections(low_rank + errors, 2)
    >>> result.success, bool(np.allclose(result.low_rank, low_rank, atol=1e-4))
    (True, True)
    """
    data = prepare(D, observed)
    rank = check_rank(rank, data.values.shape)
    max_iter = check_at_least_one(max_iter, "max_iter")
    gamma = check_rate(gamma, "gamma")
    floor = NOISE_THRESHOLD * check_nonnegative(noise_std, "noise_std") / data.unit
    m, n = data.values.shape
    beta = 0.5 / (m * n) ** 0.25 if beta is None else check_nonnegative(beta, "beta")
    beta_init = 4 * beta if beta_init is None else check_nonnegative(beta_init, "beta_init")
    data, cap = with_cap(data, init_cap)
    tol = effective_tolerance(tol, data)
    with short_products(m * n):
        first = max(first_threshold(data, beta_init, cap), floor)
        low = leading_svd(zero_filled(data, first) / data.share, rank, random_state=random_state)
        state = _State(data, low, beta, gamma, floor, _check_incoherence(incoherence))
        return run(
            _step,
            state,
            state.observe(beta * float(low.s[0])),
            method=METHOD,
            max_iter=max_iter,
            tol=tol,
            callback=callback,
            warn=warn,
        )


class _State(FactorState):
    """Low-rank factors, and the residual products at the last threshold."""

    def __init__(self, data, low, beta, gamma, floor, incoherence):
        super().__init__(data, low, floor)
        self.beta, self.gamma, self.incoherence = beta, gamma, incoherence
        self.factors = low  # of the tangent space: those of L unless rows are shortened

    def observe(self, threshold):
        """Look at the residual of the present factors beyond a threshold."""
        self.factors = self.low
        if self.incoherence is not None:
            self.factors = _shorten_rows(self.low, *self.incoherence)
        return super().observe(threshold, self.factors.U, self.factors.Vt)


def _step(state):
    low, q = state.low, 1 / state.data.share
    U, Vt, products = state.factors.U, state.factors.Vt, state.products
    right, left, core = (q * part for part in products[:3])
    if state.factors is low:
        middle = core + _diagonal(low.s)
    else:  # L is not in the span of the shortened factors
        xp = state.data.xp
        across_left = xp.matmul(xp.matrix_transpose(U), low.U) * low.s
        across_right = xp.matmul(low.Vt, xp.matrix_transpose(Vt))
        right = right + xp.matmul(low.U * low.s, across_right)
        left = left + xp.matmul(across_left, low.Vt)
        core = middle = core + xp.matmul(across_left, across_right)
    state.low, following = _project(U, Vt, right, left, core, middle)
    state.nit += 1
    largest = float(state.low.s[0])
    return state.observe(state.beta * (following + state.gamma**state.nit * largest))


def _project(U, Vt, right, left, core, middle):
    """Return the leading triplets of ``P_T Z``, and the singular value that follows them.

    ``right`` is Z V up to the span of U, ``left`` is U' Z up to that of V, ``core`` is what
    they hold there, and ``middle`` is U' Z V.
    """
    xp = array_namespace(U)
    rank, transpose = U.shape[1], xp.matrix_transpose
    Q2, R2 = _complement(U, right - xp.matmul(U, core))
    Q1, R1 = _complement(transpose(Vt), transpose(left - xp.matmul(core, Vt)))
    shape = (R2.shape[0], R1.shape[0])
    zeros = xp.zeros(shape, dtype=U.dtype, device=array_api_compat.device(U))
    upper = xp.concat([middle, transpose(R1)], axis=1)
    M = xp.concat([upper, xp.concat([R2, zeros], axis=1)], axis=0)
    a, s, bt = xp.linalg.svd(M, full_matrices=False)
    new_U = xp.matmul(xp.concat([U, Q2], axis=1), a[:, :rank])
    new_Vt = xp.matmul(bt[:rank, :], xp.concat([Vt, transpose(Q1)], axis=0))
    following = float(s[rank]) if s.shape[0] > rank else 0.0
    return LowRankMatrix(new_U, s[:rank], new_Vt), following


def _complement(U, B):
    """Return ``Q`` and ``R`` with ``B = Q R``, where Q is orthonormal and orthogonal to U.

    B is orthogonal to U but for rounding, which is all that some of its columns may hold:
    Householder reflections of both together keep these orthogonal too.
    """
    xp, rank = array_namespace(U), U.shape[1]
    if 2 * rank <= U.shape[0]:
        Q, R = orthonormal_factor(B)
        overlap = xp.max(xp.abs(xp.matmul(xp.matrix_transpose(U), Q)))
        if float(overlap) <= float(xp.finfo(U.dtype).eps) ** 0.6:
            return Q, R
    Q = xp.linalg.qr(xp.concat([U, B], axis=1))[0][:, rank:]
    return Q, xp.matmul(xp.matrix_transpose(Q), B)


def _diagonal(s):
    xp = array_namespace(s)
    eye = xp.eye(s.shape[0], dtype=s.dtype, device=array_api_compat.device(s))
    return eye * s


def _shorten_rows(low, left, right):
    """Return orthonormal factors of L with its long rows shortened, and re-decomposed."""
    xp = array_namespace(low.U)
    Q1, R1 = orthonormal_factor(_with_short_rows(low.U, left))
    Q2, R2 = orthonormal_factor(_with_short_rows(xp.matrix_transpose(low.Vt), right))
    a, s, bt = xp.linalg.svd(xp.matmul(R1 * low.s, xp.matrix_transpose(R2)))
    return LowRankMatrix(xp.matmul(Q1, a), s, xp.matmul(bt, xp.matrix_transpose(Q2)))


def _with_short_rows(factor, incoherence):
    xp = array_namespace(factor)
    lengths = xp.sqrt(xp.sum(factor * factor, axis=1))
    longest = math.sqrt(incoherence * factor.shape[1] / factor.shape[0])
    return factor * xp.reshape(_shortening(lengths, longest), (-1, 1))


def _shortening(lengths, longest):
    """Return what rows of given lengths are multiplied by, to be no longer than ``longest``."""
    xp = array_namespace(lengths)
    return xp.where(lengths > longest, longest / lengths, xp.ones_like(lengths))


def _check_incoherence(incoherence):
    if incoherence is None:
        return None
    pair = (incoherence, incoherence) if isinstance(incoherence, numbers.Real) else incoherence
    values = tuple(check_nonnegative(value, "incoherence") for value in pair)
    if len(values) != 2 or min(values) < 1:
        raise ValueError(f"incoherence must be one or two numbers >= 1, got {incoherence!r}.")
    return values
