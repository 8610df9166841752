r"""GoDec: alternating projections onto matrices of given rank and given cardinality.

    minimise  ||D - L - S||_F^2   over rank L <= r and card S <= k,

for D (m, n) and dense noise in D - L - S, or with the penalty 2 tau ||S||_1 in place of the
bound k ("semi-soft"). Each step minimises over L, then over S,

    L  <-  H_r(D - S),    S  <-  the k largest of D - L,  or soft_tau(D - L),

so that the objective does not grow. Instead of a decomposition of W = D - S, bilateral
projections take the range of W'(W V), started with the last right factor V:

    Q = orth(W' W V),    L = W Q Q'.

From L = 0, large errors lead to a poor stationary point. Therefore S first takes only what
exceeds a threshold that falls by a factor of 0.7 a step, as in AccAltProj; until it is below
the k-th largest residual, the objective may grow.

Unobserved entries of D - S are those of L. The k-th largest residual is sought among
those that are nearly as large as the last one.

References: T. Zhou & D. Tao, "GoDec: randomized low-rank & sparse matrix decomposition in
noisy case", ICML 2011.
"""

import math
import numbers

import numpy as np

from sparseopt._core import (
    Progress,
    check_at_least_one,
    check_nonnegative,
    is_numpy,
    iterate,
    short_products,
    spawn_seeds,
)
from sparseopt.decomposition._kernels import known_rank as passes
from sparseopt.decomposition._known_rank import (
    check_rank,
    effective_tolerance,
    give_parts,
    outliers,
    prepare,
    with_cap,
)
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._singular_values import leading_svd, orthonormal_factor

METHOD = "GoDec"
ADVICE = "Increase max_iter, or tol if this accuracy suffices."
THRESHOLD_DECAY = 0.7
SEARCHED = 0.8  # share of the last threshold from which the next one is sought


def godec(
    D,
    rank,
    *,
    card=None,
    tau=None,
    observed=None,
    init_cap=4.0,
    approximation="exact",
    n_power=0,
    tol=1e-7,
    max_iter=500,
    random_state=None,
    callback=None,
    warn=True,
):
    r"""Split a matrix into parts of known rank and known cardinality, and dense noise.

    Parameters
    ----------
    D : array-like of shape (m, n)
        Real matrix; float32 is kept. It is not written to.
    rank : int
        Rank of the low-rank part, 1 <= rank <= min(m, n).
    card : int or float, optional
        Number of non-zero entries of the sparse part; a float below 1 is their share of the
        observed entries. Exactly one of ``card`` and ``tau`` must be given.
    tau : float, optional
        Threshold > 0 by which residuals are shrunk to the sparse part instead: "semi-soft".
    observed : bool array of shape (m, n), optional
        Which entries of ``D`` count; the others may be NaN.
    init_cap : float or None, default=4.0
        The start deletes entries beyond so many standard deviations, as the median
        absolute entry shows them, and only residuals beyond a threshold, which falls from
        iteration to iteration, enter the sparse part. None: the published method.
    approximation : {"exact", "power"}, default="exact"
        Whether the low-rank part is a truncated singular value decomposition, or a
        bilateral projection, which costs 6 m n r flops.
    n_power : int, default=0
        Further rounds of the bilateral projection; each is nearer to the decomposition.
    tol : float, default=1e-7
        The run ends when :math:`\|D - L - S\|_F`, or the last change of L, is at most ``tol``
        times :math:`\|D\|_F`. At least 20 times the machine epsilon is used. With ``init_cap``,
        :math:`\|D\|_F` counts as no more than 100 times what it is by the median absolute
        entry: one huge error does not end the run.
    max_iter : int, default=500
        Largest number of iterations.
    random_state : None, int, RandomState or Generator
        First block of the projections, or start vector of the decompositions.
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
        ``nit``, ``success``, ``status``, ``message`` and ``history``. The sparse part is zero
        where nothing was observed.

    Raises
    ------
    TypeError
        For matrices that are sparse, not real, or not NumPy's.
    ValueError
        For a rank above min(m, n), neither or both of ``card`` and ``tau``, entries that are
        neither finite nor declared missing, or rows or columns without an observed entry.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` was not reached, or it was and the decomposition is doubtful.

    References
    ----------
    T. Zhou & D. Tao, "GoDec: randomized low-rank & sparse matrix decomposition in noisy
    case", ICML 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._godec import godec
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 50))
    >>> errors = np.zeros(3000)
    >>> errors[:300] = 9
    >>> result = godec(low_rank + rng.permutation(errors).reshape(60, 50), 2, card=300)
    >>> bool(np.allclose(result.low_rank, low_rank, atol=1e-4))
    True
    """
    data = prepare(D, observed)
    if not is_numpy(data.xp):
        raise TypeError(f"godec computes with NumPy arrays, got one of {data.xp.__name__}.")
    rank = check_rank(rank, data.values.shape)
    if approximation not in ("exact", "power"):
        raise ValueError(f"approximation must be 'exact' or 'power', got {approximation!r}.")
    if check_nonnegative(n_power, "n_power") != int(n_power):
        raise ValueError(f"n_power must be an integer, got {n_power!r}.")
    max_iter = check_at_least_one(max_iter, "max_iter")
    select = _selection(data, card, tau)
    data, cap = with_cap(data, init_cap)
    generator = np.random.default_rng(spawn_seeds(random_state, 1)[0])
    approximate = (
        _Exact(generator) if approximation == "exact" else _Bilateral(generator, int(n_power))
    )
    with short_products(data.values.size):
        state = _State(data, rank, select, approximate, cap)
        result = iterate(
            _step,
            state,
            max_iter=max_iter,
            tol=effective_tolerance(tol, data),
            method=METHOD,
            callback=callback,
            certificate_name="relative residual or change",
            advice=ADVICE,
            descends=True,
            warn=False,
        )
        dense = state.low.to_dense()
    sparse = select.sparse_part(data, dense)
    return give_parts(data, result, state.low, dense, sparse, warn)


class _State:
    """Factors of L, and ``W = D - S`` in the only matrix that is as large as D."""

    def __init__(self, data, rank, select, approximate, cap):
        self.data, self.rank, self.select, self.approximate = data, rank, select, approximate
        self.W = np.zeros_like(data.values)
        passes.fill_inliers(data.values, self.W, data.values.dtype.type(cap))
        self.low = None
        m, n = data.values.shape
        self.multiple = 0.0 if math.isinf(cap) else 0.5 / (m * n) ** 0.25

    @property
    def x(self):
        """The low-rank part of the matrix given."""
        return self.data.restore(self.low)


def _step(state):
    before = state.low
    state.low = state.approximate(state.W, state.rank, before)
    state.low.to_dense(out=state.W)
    least = state.data.values.dtype.type(state.multiple * float(state.low.s[0]))
    state.multiple *= THRESHOLD_DECAY
    energy = state.select(state.data.values, state.W, least)
    norm = math.sqrt(energy)
    unsettled = before is None or state.select.raised
    change = math.inf if unsettled else _distance(state.low, before)
    return Progress(norm * state.data.unit, state.data.relative(min(norm, change)))


def _distance(low, other):
    """Return the Frobenius norm of a difference of factored matrices."""
    left = np.linalg.qr(np.hstack([low.U * low.s, -other.U * other.s]), mode="r")
    right = np.linalg.qr(np.hstack([low.Vt.T, other.Vt.T]), mode="r")
    return float(np.linalg.norm(left @ right.T))


class _Exact:
    """Truncated singular value decompositions."""

    def __init__(self, generator):
        self._generator = generator

    def __call__(self, W, rank, before):
        return leading_svd(W, rank, random_state=self._generator)


class _Bilateral:
    """Projections on the range of products with ``W' W``."""

    def __init__(self, generator, n_power):
        self._generator, self._n_power = generator, n_power

    def __call__(self, W, rank, before):
        rounds = self._n_power + 1
        if before is None:
            V = self._generator.standard_normal((W.shape[1], rank)).astype(W.dtype)
            rounds += 2
        else:
            V = before.Vt.T
        for _ in range(rounds):
            V = orthonormal_factor(W.T @ orthonormal_factor(W @ V)[0])[0]
        U, R = orthonormal_factor(W @ V)
        a, s, bt = np.linalg.svd(R)
        return LowRankMatrix(U @ a, s, bt @ V.T)


def _selection(data, card, tau):
    if (card is None) == (tau is None):
        raise ValueError(f"give exactly one of card and tau, got card={card!r}, tau={tau!r}.")
    if tau is not None:
        if check_nonnegative(tau, "tau") == 0:
            raise ValueError("tau must be positive, got 0.")
        return _Shrinkage(data.values.dtype.type(tau / data.unit))
    given = check_nonnegative(card, "card")
    if not isinstance(card, numbers.Integral):
        if given >= 1:
            raise ValueError(f"card must be an integer, or a share below 1, got {card!r}.")
        given = round(given * data.n_observed)
    if given > data.n_observed:
        raise ValueError(
            f"card must be at most the number {data.n_observed} of observed entries, got {card}."
        )
    return _Largest(data, int(given))


class _Shrinkage:
    """Adds clipped residuals to L: the soft-thresholded rest is S."""

    def __init__(self, tau):
        self._tau = tau

    def __call__(self, values, W, least):
        self.raised = least > self._tau
        self._used = max(self._tau, least)
        return passes.add_clipped(values, W, self._used)

    def sparse_part(self, data, dense):
        """Return S for the last L, as it was."""
        return outliers(data, dense, self._used, shrinkage=self._used)


class _Largest:
    """Replaces L by D except at the ``card`` largest residuals, which are S."""

    def __init__(self, data, card):
        self._card, self._last = card, 0.0
        room = min(data.values.size, 3 * card + 1000)
        self._room = np.empty(room, dtype=data.values.dtype)

    def __call__(self, values, W, least):
        threshold, n_ties, n_equal = self._threshold(values, W)
        self.raised = threshold < least
        if self.raised:
            threshold, n_ties = least, 0
        elif n_ties == n_equal:  # all of them: no need to count them on the way
            threshold, n_ties = np.nextafter(threshold, values.dtype.type(0)), 0
        self._used = threshold, n_ties
        if n_ties == 0:
            return passes.fill_inliers(values, W, threshold)[0]
        return passes.fill_with_ties(values, W, threshold, n_ties, np.empty(W.shape, np.bool_))

    def sparse_part(self, data, dense):
        """Return S for the last L, as it was."""
        outlying = np.empty(dense.shape, dtype=np.bool_)
        passes.fill_with_ties(data.values, dense.copy(), *self._used, outlying)
        return np.where(outlying, data.values - dense, dense.dtype.type(0))

    def _threshold(self, values, W):
        """Return the ``card``-th largest size, how many of that size belong, and how many are."""
        if self._card == 0:
            return values.dtype.type(math.inf), 0, 0
        bound = values.dtype.type(SEARCHED * self._last)
        count = passes.gather_large(values, W, bound, self._room)
        if self._card <= count <= self._room.size:
            sizes = self._room[:count]
        else:
            sizes = np.abs(values - W).ravel()
            sizes = sizes[sizes >= 0]  # not those unobserved
        place = sizes.size - self._card
        sizes.partition(place)
        self._last = sizes[place]
        largest = sizes[place:] == self._last
        return self._last, int(largest.sum()), int(np.count_nonzero(sizes == self._last))
