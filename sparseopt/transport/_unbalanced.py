r"""Unbalanced entropic transport: marginals that are penalised rather than prescribed.

    minimise  <P, C> + eps KL(P | a b') + rho_a KL(P 1 | a) + rho_b KL(P' 1 | b)  over P >= 0,

for masses a (n,), b (m,) of any sums, KL(p | q) = sum p log(p / q) - p + q. With
P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps) the dual is

    maximise  rho_a a'(1 - exp(-f / rho_a)) + rho_b b'(1 - exp(-g / rho_b)) - eps (sum P - |a| |b|).

An infinite rho prescribes the marginal; its term is a'f. Maximised over f it leaves a function
of g whose Newton system is that of balanced transport with larger diagonals,

    rows: r (1 + eps / rho_a),  r = P 1,   columns: P' 1 + (eps / rho_b) b exp(-g / rho_b),

and positive definite: there is no constant to shift between the potentials.

References: Chizat, Peyré, Schmitzer, Vialard (2018), Scaling algorithms for unbalanced optimal
transport problems, Math. Comp. 87; Séjourné, Vialard, Peyré (2022), Faster unbalanced optimal
transport: translation invariant Sinkhorn and 1-D Frank-Wolfe, AISTATS; Tang,
Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying (2024), Accelerating Sinkhorn algorithm
with sparse Newton iterations, ICLR.
"""

import math
import numbers

import numpy as np
from scipy.special import xlog1py

from sparseopt._core import Status, iterate
from sparseopt.transport._arguments import check_total, refuse_device_arrays
from sparseopt.transport._assembly import (
    all_potentials,
    bins_with_mass,
    conclude,
    make_result,
    plan_sums,
    relative_entropy,
)
from sparseopt.transport._problem import (
    MASS_TOLERANCE,
    check_cost,
    check_exponents,
    check_histogram,
    check_reg,
)
from sparseopt.transport._result import OTResult
from sparseopt.transport._sinkhorn import check_init, check_options, result_dtype
from sparseopt.transport._steps import TransportSteps
from sparseopt.transport._unbalanced_dual import RelaxedSemiDual, conjugate, wanted_share

METHOD = "Unbalanced Sinkhorn"
SWEEPS_BEFORE_NEWTON = 10
LARGEST_TRANSLATIONS = 60


class UnbalancedOTResult(OTResult):
    """Solution of an unbalanced entropic transport problem.

    Has the attributes and methods of :class:`OTResult`, with these differences.

    Parameters
    ----------
    cost, potentials, **fields
        As :class:`OTResult` has them.

    Attributes
    ----------
    value : float
        The objective at the plan, with all four terms.
    kl : float
        ``KL(P | a b')`` with the difference of the sums.
    mass : float
        Sum of the plan.
    marginal_error : tuple of float
        ``|P 1 - a exp(-f / reg_m)|_1`` and ``|P' 1 - b exp(-g / reg_m)|_1``: the gradient of
        the dual.
    reg_m : tuple of float
        Strengths of the two penalties.

    See Also
    --------
    sinkhorn_unbalanced : Where results come from.
    """

    def gap(self):
        """Return the duality gap.

        Returns
        -------
        gap : float
            ``value`` exceeds the minimum by at most this.
        """
        f, g = self._potentials
        dual = (
            conjugate(f, self.a, self.reg_m[0])
            + conjugate(g, self.b, self.reg_m[1])
            - self.reg * (self.mass - self.a.sum() * self.b.sum())
        )
        return max(self.value - float(dual), 0.0)

    def rounded_plan(self):
        """Raise: an unbalanced plan has no marginals that it should be rounded to."""
        raise ValueError("An unbalanced plan has no prescribed marginals to be rounded to.")

    def grad_a(self):
        """Return the derivative of ``value`` in ``a``, whose entries may change freely."""
        return self._grad_mass(self._potentials[0], self.reg_m[0], self.b.sum())

    def grad_b(self):
        """Return the derivative of ``value`` in ``b``, whose entries may change freely."""
        return self._grad_mass(self._potentials[1], self.reg_m[1], self.a.sum())

    def _grad_mass(self, potential, rho, other_mass):
        ratio = wanted_share(potential, rho)
        linear = potential if math.isinf(rho) else -rho * np.expm1(-potential / rho)
        return (linear + self.reg * (other_mass - ratio)).astype(self.f.dtype)


def sinkhorn_unbalanced(
    a=None,
    b=None,
    C=None,
    *,
    X=None,
    Y=None,
    metric="sqeuclidean",
    reg=0.05,
    reg_m=1.0,
    solver="auto",
    tol=1e-8,
    max_iter=1000,
    init=None,
    reg_scale=None,
    store_history=False,
    callback=None,
    n_jobs=None,
    dtype=None,
):
    r"""Solve an unbalanced entropic optimal transport problem.

    Finds the plan ``P >= 0`` that minimises ``<P, C> + reg KL(P | a b')
    + reg_m KL(P 1 | a) + reg_m KL(P' 1 | b)``: mass may be created and destroyed, at a price.

    Parameters
    ----------
    a : array-like of shape (n,), optional
        Masses of the sources, >= 0; uniform with sum 1 by default.
    b : array-like of shape (m,), optional
        Masses of the targets, >= 0. The sums of ``a`` and ``b`` may differ.
    C : array-like of shape (n, m), optional
        Costs; ``numpy.inf`` forbids a pair.
    X : array-like of shape (n, n_features), optional
        Source points, instead of ``C``.
    Y : array-like of shape (m, n_features), optional
        Target points; ``X`` by default.
    metric : str or callable, default="sqeuclidean"
        Cost between points, as in :func:`sinkhorn`.
    reg : float, default=0.05
        Strength of the regularisation, > 0, in the units of the cost.
    reg_m : float or pair of floats, default=1.0
        Strength of the penalties on the marginals, > 0, in the units of the cost; a pair gives
        each side its own. ``numpy.inf`` prescribes a marginal; for both sides, that is
        balanced transport.
    solver : {"auto", "sns", "sinkhorn"}, default="auto"
        "sns" takes sparse Newton steps after a few sweeps, "sinkhorn" only damped sweeps in
        the log domain; "auto" takes Newton steps where these will end sooner.
    tol : float, default=1e-8
        Largest 1-norm of the gradient of the dual, relative to the mass of the plan.
    max_iter : int, default=1000
        Largest number of sweeps and Newton steps together.
    init : tuple of (array-like of shape (n,), array-like of shape (m,)), optional
        Potentials ``(f, g)`` to start from.
    reg_scale : {None, "max", "mean", "median"}, default=None
        Statistic of the costs that ``reg`` and ``reg_m`` are multiplied by.
    store_history : bool, default=False
        Whether the history has an entry for every sweep, rather than for every few.
    callback : callable, optional
        Called as ``callback(g)`` or ``callback(intermediate_result=...)`` after each
        report; raising ``StopIteration`` ends the run.
    n_jobs : int, optional
        Threads for passes over more than four million entries.
    dtype : dtype, optional
        Of the result; float32 if all input is float32 and float64 otherwise.

    Returns
    -------
    result : UnbalancedOTResult
        An :class:`OTResult` whose ``value`` includes the penalties, whose ``gap()`` is the
        duality gap, and which has the ``mass`` of the plan.

    Raises
    ------
    ValueError
        For negative or non-finite masses, shapes that do not fit, ``reg`` or ``reg_m`` not
        positive, or masses of different sums where both marginals are prescribed.

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not reached.

    See Also
    --------
    sinkhorn : Prescribed marginals.

    Notes
    -----
    At the optimum ``P 1 = a exp(-f / reg_m)``. POT's ``ot.solve(..., reg_type="KL",
    unbalanced=reg_m)`` has the same plan. OTT's unbalanced plan is another one: its entropy is
    not relative to ``a b'``.

    References
    ----------
    Chizat, Peyré, Schmitzer, Vialard (2018). Scaling algorithms for unbalanced optimal
    transport problems. Math. Comp. 87.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.transport import sinkhorn_unbalanced
    >>> X, Y = np.array([[0.0], [1.0]]), np.array([[0.0], [10.0]])
    >>> result = sinkhorn_unbalanced(X=X, Y=Y, reg=0.1)
    >>> round(result.mass, 3)  # the target at 10 is too far away
    0.578
    """
    if solver == "sinkhorn_log":
        raise ValueError('solver must be "auto", "sns" or "sinkhorn", got "sinkhorn_log".')
    options = check_options(solver, tol, max_iter, SWEEPS_BEFORE_NEWTON, "auto", "auto")
    refuse_device_arrays(a=a, b=b, C=C, X=X, Y=Y)
    dtype = result_dtype(dtype, a, b, C, X, Y)
    cost = check_cost(C, X, Y, metric)
    a = check_histogram(a, cost.shape[0], "a", "rows", cost.shape)
    b = check_histogram(b, cost.shape[1], "b", "columns", cost.shape)
    eps = check_reg(reg, reg_scale, cost)
    rho = _check_penalties(reg_m, eps / reg, a, b)
    if all(map(math.isinf, rho)):
        b *= a.sum() / b.sum()  # no plan has marginals whose sums differ by a rounding error
    rows, columns, inner = bins_with_mass(cost, a, b)
    if inner.stored and not _every_row_is_finite(inner):
        raise ValueError("C must have a finite cost in every row and column with mass.")
    check_exponents(inner, eps)
    y = eps * np.log(b[columns])
    if init is not None:
        y += check_init(init, cost.shape)[1][columns]
        options["eps_scaling"] = False
        y = _translated(RelaxedSemiDual(inner, a[rows], b[columns], eps, rho, n_jobs), y)
    state = RelaxedSteps(
        inner, a[rows], b[columns], eps, y, every_sweep=bool(store_history), n_jobs=n_jobs,
        penalties=rho, **options,
    )  # fmt: skip
    run = iterate(
        RelaxedSteps.step,
        state,
        max_iter=max_iter,
        tol=tol,
        method=METHOD,
        initial=state.progress(),
        callback=callback,
        warn=False,
    )
    with np.errstate(over="ignore", invalid="ignore"):
        result = _finish(cost, a, b, eps, rho, state, run, dtype)
    if not math.isfinite(result.value):
        raise FloatingPointError(
            "The mass of the plan overflows: negative costs create mass for less than the "
            f"penalty reg_m={reg_m!r} takes. Shift the costs, or increase reg_m."
        )
    _judge(result, state.result_point().error, tol)
    return result


def _translated(dual, y):
    """Return y minus a constant with which no mass overflows: that of a start may be any."""
    for _ in range(LARGEST_TRANSLATIONS):
        point = dual.evaluate(y)
        if math.isfinite(point.objective):
            break
        y = dual.translate(point.x, y)
    return y


def _judge(result, error, tol):
    """Say how near the solution is, even if the run ended at a larger regularisation."""
    status = result.status
    if status != Status.STOPPED_BY_CALLBACK and error <= tol:
        status = Status.CONVERGED
    conclude(result, status, METHOD, "relative dual gradient", error, tol)


class RelaxedSteps(TransportSteps):
    """Sweeps and Newton steps on the unbalanced dual."""

    may_scale = False  # damped sweeps need more than factors of the plan
    dual = None

    def __init__(self, *arguments, penalties, **options):
        self.penalties = penalties
        super().__init__(*arguments, **options)

    def result_point(self):
        """Return the best point at the regularisation that was asked for."""
        if self.best is None:  # the run ended at a larger one
            self.stage = len(self.regs) - 1
            self._begin_stage(self.point.y)
            self.best = self.point
        return self.best

    def _begin_stage(self, y):
        # g carries over, not y = g + eps log b: the penalty exp(-g / rho) grows quickly.
        before = self.regs[-1] if self.dual is None else self.dual.eps
        super()._begin_stage(y + (self.regs[self.stage] - before) * np.log(self.b))

    def _dual_function(self, eps):
        return RelaxedSemiDual(self.cost, self.a, self.b, eps, self.penalties, self.n_jobs)


def _divergence(p, q):
    """Return KL(p | q) with the difference of the sums.

    Its terms are of second order in p / q - 1, and so are their rounding errors, which a strong
    penalty multiplies.
    """
    present = q > 0
    p, q = p[present], q[present]
    excess = (p - q) / q
    return float(np.sum(q * (xlog1py(1 + excess, excess) - excess)))


def _check_penalties(reg_m, scale, a, b):
    pair = reg_m if np.ndim(reg_m) == 1 and len(reg_m) == 2 else (reg_m, reg_m)
    for rho in pair:
        if not isinstance(rho, numbers.Real) or isinstance(rho, bool) or not rho > 0:
            raise ValueError(f"reg_m must be a positive number or a pair of them, got {reg_m!r}.")
    penalties = tuple(float(rho) * scale for rho in pair)
    with np.errstate(over="ignore"):
        total_a, total_b = a.sum(), b.sum()
    for name, total in (("a", total_a), ("b", total_b)):
        check_total(total, name)
    if all(map(math.isinf, penalties)) and abs(total_a - total_b) > MASS_TOLERANCE * max(
        total_a, total_b
    ):
        raise ValueError(
            "With reg_m=inf on both sides a and b must have equal sums, got "
            f"{total_a:.8g} and {total_b:.8g}."
        )
    return penalties


def _every_row_is_finite(cost):
    finite = np.isfinite(cost.matrix)
    return finite.any(axis=1).all() and finite.any(axis=0).all()


def _finish(cost, a, b, eps, rho, state, run, dtype):
    """Return the result: potentials on all bins, and the values."""

    def update(side, part, y):
        ones = np.ones(part.shape[0])
        dual = RelaxedSemiDual(part, ones, np.ones(y.size), eps, (rho[side], 1.0))
        return dual.evaluate(y).x

    f, g = all_potentials(cost, a, b, eps, state.result_point(), update)
    sums = plan_sums(cost, a, b, f, g, eps, state.n_jobs)
    row_sums, column_sums, linear = sums
    mass = float(row_sums.sum())
    kl = relative_entropy(*sums, f, g, eps) - mass + float(a.sum() * b.sum())
    sides = ((row_sums, a, f, rho[0]), (column_sums, b, g, rho[1]))
    penalty = sum(
        strength * _divergence(marginal, q)
        for marginal, q, _, strength in sides
        if not math.isinf(strength)
    )
    error = tuple(
        float(np.sum(np.abs(marginal - q * wanted_share(potential, strength))))
        for marginal, q, potential, strength in sides
    )
    return make_result(
        UnbalancedOTResult,
        cost,
        (f, g),
        sums,
        state,
        run,
        dtype=dtype,
        a=a,
        b=b,
        reg=eps,
        reg_m=rho,
        mass=mass,
        value=float(linear + eps * kl + penalty),
        kl=kl,
        marginal_error=error,
    )
