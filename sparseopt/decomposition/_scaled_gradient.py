r"""Scaled gradient descent on the factors of a matrix of known rank, with soft thresholds.

Find L = A B' (m, n) of rank r and a sparse S with D = L + S. With the residual clipped at
the threshold zeta, C = D - L - S for S = soft(D - L, zeta), both factors step at once:

    A  <-  A + eta C B (B'B)^-1,    B  <-  B + eta C'A (A'A)^-1.

The start is the rank-r approximation of D without the entries beyond the first threshold, or,
with a given schedule, of D clipped there, as published. zeta falls whenever the factors have
nearly settled at the minimum of the Huber loss that it stands for, which needs no knowledge of
how many entries are corrupted.

The steps do not depend on which factors are chosen for L. We take A = U s^1/2, B = V s^1/2
from orthonormal U and V, where the inverses are those of the singular values s,

    L  <-  (U + eta C V / s) diag(s) (V + eta C'U / s)',

and decompose this anew. Values below the residual's size in their direction would make the
step of a superfluous direction explode; they are replaced by it.

References: T. Tong, C. Ma & Y. Chi, "Accelerating ill-conditioned low-rank matrix estimation
via scaled gradient descent", JMLR 22(150), 2021; H. Cai, J. Liu & W. Yin, "Learned robust
PCA: a scalable deep unfolding approach for high-dimensional outlier detection", NeurIPS 2021,
which learns the thresholds and steps that ``schedule`` takes.
"""

import numpy as np

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
from sparseopt.decomposition._shrinkage import soft_threshold
from sparseopt.decomposition._singular_values import leading_svd, orthonormal_factor

METHOD = "ScaledGD"
LARGEST_STEP = 2.0
SETTLED = 0.05  # share of the residual that a change of the factors could remove


def scaled_gradient_descent(
    D,
    rank,
    *,
    observed=None,
    init_cap=4.0,
    decay=0.5,
    schedule=None,
    noise_std=0.0,
    tol=1e-7,
    max_iter=200,
    random_state=None,
    callback=None,
    warn=True,
):
    r"""Split a matrix into a part of known rank and a sparse part (ScaledGD).

    Parameters
    ----------
    D : array of shape (m, n)
        Real matrix, from any array library; float32 is kept. It is not written to.
    rank : int
        Rank of the low-rank part, 1 <= rank <= min(m, n).
    observed : bool array of shape (m, n), optional
        Which entries of ``D`` count; the others may be NaN.
    init_cap : float or None, default=4.0
        The first threshold in standard deviations that the median absolute entry shows,
        if smaller than that of AccAltProj. None: that of AccAltProj.
    decay : float, default=0.5
        What the threshold is multiplied by each time that the factors have settled at it,
        in (0, 1).
    schedule : pair of array-like of shape (n_layers,), optional
        Thresholds, in the units of ``D``, and step sizes, such as a trained network has
        them, instead of ``init_cap`` and ``decay``. The first threshold is for the start;
        iterations beyond the last let the threshold fall at the last ratio and keep the step.
    noise_std : float, default=0.0
        Standard deviation of dense noise. Thresholds stay above three of them, and the
        run ends when the factors no longer change.
    tol : float, default=1e-7
        The run ends when :math:`\|D - L - S\|_F \le tol \|D\|_F`; with noise, when this
        holds for the part of the residual that a change of the factors could remove.
        At least 20 times the machine epsilon is used. With ``init_cap``,
        :math:`\|D\|_F` counts as no more than 100 times what it is by the median absolute
        entry: one huge error does not end the run.
    max_iter : int, default=200
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
        As :func:`accelerated_alternating_projections` returns it. The sparse part is soft
        thresholded: its entries are too small by the last threshold.

    Raises
    ------
    TypeError
        For matrices that are sparse or not real.
    ValueError
        For a rank above min(m, n), entries that are neither finite nor declared missing,
        rows or columns without any observed entry, or a schedule that is not one.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` was not reached, or it was and the decomposition is doubtful: almost
        every entry is an outlier, or a row has a direction for itself.

    References
    ----------
    T. Tong, C. Ma & Y. Chi, "Accelerating ill-conditioned low-rank matrix estimation via
    scaled gradient descent", Journal of Machine Learning Research 22(150), 2021.

    H. Cai, J. Liu & W. Yin, "Learned robust PCA: a scalable deep unfolding approach for
    high-dimensional outlier detection", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._scaled_gradient import scaled_gradient_descent
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 50))
    >>> errors = 9 * (rng.random((60, 50)) < 0.1)
    >>> result = scaled_gradient_descent(low_rank + errors, 2)
    >>> result.success, bool(np.allclose(result.low_rank, low_rank, atol=1e-4))
    (True, True)
    """
    data = prepare(D, observed)
    rank = check_rank(rank, data.values.shape)
    max_iter = check_at_least_one(max_iter, "max_iter")
    decay = check_rate(decay, "decay")
    floor = NOISE_THRESHOLD * check_nonnegative(noise_std, "noise_std") / data.unit
    tol = effective_tolerance(tol, data)
    with short_products(data.values.shape[0] * data.values.shape[1]):
        if schedule is None:
            data, cap = with_cap(data, init_cap)
            plan = _Continuation(_start_threshold(data, cap), decay)
        else:
            plan = _Schedule(schedule, data.unit)
        low = _initial(data, rank, max(plan.first, floor), schedule is not None, random_state)
        state = _State(data, low, floor, plan)
        return run(
            _step,
            state,
            state.observe(plan.second),
            method=METHOD,
            max_iter=max_iter,
            tol=tol,
            callback=callback,
            warn=warn,
        )


class _State(FactorState):
    """Low-rank factors, their clipped residual, and the plan of thresholds and steps."""

    def __init__(self, data, low, floor, plan):
        super().__init__(data, low, floor, clip=True)
        self.plan = plan


class _Continuation:
    """Lowers the threshold when the factors have settled, with steps for the inliers' share.

    A step that moves both factors moves L twice within their spans, and once outside:
    of the steps that fit a share of the entries, two thirds of its inverse are best for both.
    """

    def __init__(self, start, decay):
        self.first = self.second = start
        self._decay = decay

    def threshold(self, state, before):
        removable = before.tangent_norm() / before.norm if before.norm > 0 else 0.0
        unsettled = min(1.0, max(0.0, removable / SETTLED - 1))
        return state.thresholds[-1] * (self._decay + (1 - self._decay) * unsettled)

    def step_size(self, state):
        inliers = 1 - state.products.n_outliers / state.data.n_observed
        return min(LARGEST_STEP, 2 / (3 * inliers)) if inliers > 0 else LARGEST_STEP


class _Schedule:
    """Thresholds and steps that the user gives, continued at their last rate."""

    def __init__(self, schedule, unit):
        try:
            thresholds, steps = (np.asarray(part, dtype=float) for part in schedule)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"schedule must be a pair of sequences of numbers, got {schedule!r}."
            ) from error
        if thresholds.ndim != 1 or thresholds.shape != steps.shape or len(steps) < 2:
            raise ValueError(
                "schedule must hold as many thresholds as step sizes, two at least, got shapes "
                f"{thresholds.shape} and {steps.shape}."
            )
        values = np.concatenate([thresholds, steps])
        if not np.all(np.isfinite(values) & (values > 0)):
            raise ValueError("schedule must hold finite positive thresholds and step sizes.")
        self._thresholds, self._steps = thresholds / unit, steps
        self.first, self.second = map(float, self._thresholds[:2])

    def threshold(self, state, before):
        t, last = state.nit + 1, len(self._thresholds) - 1
        ratio = min(1.0, self._thresholds[last] / self._thresholds[last - 1])
        return float(self._thresholds[min(t, last)] * ratio ** max(0, t - last))

    def step_size(self, state):
        return float(self._steps[min(state.nit, len(self._steps) - 1)])


def _start_threshold(data, cap):
    m, n = data.values.shape
    return first_threshold(data, 2 / (m * n) ** 0.25, cap)


def _initial(data, rank, threshold, clip, random_state):
    if clip:
        filled = zero_filled(data)
        filled = filled - soft_threshold(filled, threshold)
    else:
        filled = zero_filled(data, threshold)
    return leading_svd(filled / data.share, rank, random_state=random_state)


def _step(state):
    low, products = state.low, state.products
    xp = array_namespace(low.s)
    transpose = xp.matrix_transpose
    state.nit += 1
    eta = state.plan.step_size(state) / state.data.share
    inverse = eta / _with_floor(low.s, products, state.data.share)
    Q1, R1 = orthonormal_factor(low.U + products.right * inverse)
    Q2, R2 = orthonormal_factor(transpose(low.Vt) + transpose(products.left) * inverse)
    a, s, bt = xp.linalg.svd(xp.matmul(R1 * low.s, transpose(R2)), full_matrices=False)
    state.low = LowRankMatrix(xp.matmul(Q1, a), s, xp.matmul(bt, transpose(Q2)))
    return state.observe(state.plan.threshold(state, products))


def _with_floor(s, products, share):
    """Return singular values no smaller than the residual in their directions."""
    xp = array_namespace(s)
    right = xp.sqrt(xp.sum(products.right * products.right, axis=0))
    left = xp.sqrt(xp.sum(products.left * products.left, axis=1))
    lengths = xp.where(right > left, right, left) / share
    values = xp.where(s > lengths, s, lengths)
    return xp.where(values > 0, values, xp.ones_like(values))
