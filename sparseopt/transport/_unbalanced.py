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
import warnings

import numpy as np
from scipy.special import xlogy
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import Status, describe_end, iterate
from sparseopt.transport._kernels.relaxed import balance_relaxed_rows
from sparseopt.transport._problem import (
    MASS_TOLERANCE,
    check_cost,
    check_exponents,
    check_histogram,
    check_reg,
    for_row_blocks,
)
from sparseopt.transport._result import OTResult
from sparseopt.transport._semidual import NOTHING, Point, SemiDual
from sparseopt.transport._sinkhorn import check_init, check_options, plan_sums, result_dtype
from sparseopt.transport._steps import TransportSteps

METHOD = "Unbalanced Sinkhorn"
SWEEPS_BEFORE_NEWTON = 10
SMALLEST_SUM = 1e-290
SMALL_TRANSLATION = 0.1  # change of the mass, relative to the error, that is not worth a pass


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
            _conjugate(f, self.a, self.reg_m[0])
            + _conjugate(g, self.b, self.reg_m[1])
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
        ratio = _ratio(potential, rho)
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
        Largest 1-norm of the gradient of the dual, relative to the mass of ``b``.
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
    dtype = result_dtype(dtype, a, b, C, X, Y)
    cost = check_cost(C, X, Y, metric)
    a = check_histogram(a, cost.shape[0], "a", "rows", cost.shape)
    b = check_histogram(b, cost.shape[1], "b", "columns", cost.shape)
    eps = check_reg(reg, reg_scale, cost)
    rho = _check_penalties(reg_m, eps / reg, a, b)
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    full = rows.size == a.size and columns.size == b.size
    inner = cost if full else cost.restrict(rows, columns)
    if inner.stored and not _every_row_is_finite(inner):
        raise ValueError("C must have a finite cost in every row and column with mass.")
    check_exponents(inner, eps)
    y = eps * np.log(b[columns])
    if init is not None:
        y += check_init(init, cost.shape)[1][columns]
        options["eps_scaling"] = False
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


def _judge(result, error, tol):
    """Say how near the solution is, even if the run ended at a larger regularisation, and warn."""
    if result.status != Status.STOPPED_BY_CALLBACK and error <= tol:
        result.status = Status.CONVERGED
    result.converged = result.success = result.status == Status.CONVERGED
    result.message = describe_end(
        result.status, METHOD, "relative dual gradient", error, tol, result.n_iter,
        "Increase max_iter, reg or tol.",
    )  # fmt: skip
    if result.status not in (Status.CONVERGED, Status.STOPPED_BY_CALLBACK):
        warnings.warn(result.message, ConvergenceWarning, stacklevel=3)


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

    def _newton_step(self):
        super()._newton_step()
        if self.newton is None or self.point.error <= self._stage_tol():
            return
        y = self.dual.translate(self.point.x, self.point.y)
        share = abs(y[0] - self.point.y[0]) * sum(1 / rho for rho in self.penalties)
        if share <= SMALL_TRANSLATION * self.point.error:
            return
        moved = self.dual.evaluate(y, self.plan)
        if moved.objective > self.point.objective:
            self.newton.point = self.point = moved
        else:
            self.newton.point = self.dual.evaluate(self.point.y, self.plan)

    def _dual_function(self, eps):
        return RelaxedSemiDual(self.cost, self.a, self.b, eps, self.penalties, self.n_jobs)


class RelaxedSemiDual(SemiDual):
    """The unbalanced dual as a function of y = g + eps log b, maximised over x.

    Parameters
    ----------
    cost, a, b, eps, n_jobs
        As :class:`SemiDual` has them; the masses may have any sums.
    penalties : tuple of float
        rho_a and rho_b.
    """

    def __init__(self, cost, a, b, eps, penalties, n_jobs=None):
        super().__init__(cost, a, b, eps, n_jobs)
        self.penalties = penalties
        self.log_a, self.log_b = eps * np.log(a), eps * np.log(b)
        self.damping = tuple(1 / (1 + eps / rho) for rho in penalties)

    def evaluate(self, y, plan=NOTHING):
        """Return the point at ``y``, and write the plan unless it is empty."""
        x = np.empty(self.a.size)

        def rows(start, stop):
            sums = np.zeros(self.b.size)
            balance_relaxed_rows(
                self.cost.arguments, y, self.eps, self.a, self.damping[0], start, stop, x, sums,
                plan,
            )  # fmt: skip
            return sums

        column_sums = sum(for_row_blocks(rows, self.shape, self.n_jobs))
        f, g = x - self.log_a, y - self.log_b
        mass = column_sums.sum()
        objective = (
            _conjugate(f, self.a, self.penalties[0])
            + _conjugate(g, self.b, self.penalties[1])
            - self.eps * (mass - self.a.sum() * self.b.sum())
        )
        error = np.sum(np.abs(self._wanted(y) - column_sums)) / self.b.sum()
        return Point(x, y, column_sums, float(objective), float(error))

    def gradient(self, point):
        """Return the derivative of the objective in y."""
        return self._wanted(point.y) - point.column_sums

    def diagonals(self, point):
        """Return the diagonals of Newton's system for x and y."""
        rho_a, rho_b = self.penalties
        row_sums = self.a * _ratio(point.x - self.log_a, rho_a)
        return (
            row_sums * (1 + self.eps / rho_a),
            point.column_sums + self.eps / rho_b * self._wanted(point.y),
        )

    def balance_columns(self, point):
        """Return y after the damped column update."""
        # Where a column sum vanishes, the potential rises until none of the mass is wanted.
        sums = np.maximum(point.column_sums, SMALLEST_SUM)
        g = point.y - self.log_b + self.eps * np.log(self.b / sums)
        return self.translate(point.x, self.damping[1] * g + self.log_b)

    def translate(self, x, y):
        """Return the best y - constant while x + constant keeps the plan as it is.

        Without it, strong penalties would leave the constant to thousands of small steps.
        """
        rates = sum(1 / rho for rho in self.penalties)
        if rates == 0:
            return y
        ratio = np.sum(self.a * _ratio(x - self.log_a, self.penalties[0])) / np.sum(self._wanted(y))
        return y - math.log(ratio) / rates if 0 < ratio < math.inf else y

    def _wanted(self, y):
        return self.b * _ratio(y - self.log_b, self.penalties[1])


def _ratio(potential, rho):
    """Return what the marginal is of the mass, exp(-potential / rho)."""
    with np.errstate(over="ignore"):  # at a trial step that is far too long
        return np.exp(-potential / rho)


def _conjugate(potential, mass, rho):
    """Return ``rho mass'(1 - exp(-potential / rho))``, or its limit for rho = inf."""
    if math.isinf(rho):
        return mass @ potential
    with np.errstate(over="ignore"):
        return -rho * (mass @ np.expm1(-potential / rho))


def _divergence(p, q):
    """Return KL(p | q) with the difference of the sums."""
    return float(np.sum(xlogy(p, p) - xlogy(p, np.where(q > 0, q, 1.0)) - p + q))


def _check_penalties(reg_m, scale, a, b):
    pair = reg_m if np.ndim(reg_m) == 1 and len(reg_m) == 2 else (reg_m, reg_m)
    for rho in pair:
        if not isinstance(rho, numbers.Real) or isinstance(rho, bool) or not rho > 0:
            raise ValueError(f"reg_m must be a positive number or a pair of them, got {reg_m!r}.")
    penalties = tuple(float(rho) * scale for rho in pair)
    total_a, total_b = a.sum(), b.sum()
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
    point = state.result_point()
    f, g = _potentials(cost, a, b, eps, rho, point)
    row_sums, column_sums, linear = plan_sums(cost, a, b, f, g, eps, state.n_jobs)
    mass = float(row_sums.sum())
    log_a, log_b = (np.log(np.where(q > 0, q, 1.0)) for q in (a, b))
    # sum P log(P / (a b')) from the form of the plan.
    entropy = float((row_sums @ f + column_sums @ g - linear) / eps)
    kl = entropy - mass + float(a.sum() * b.sum())
    penalty = sum(
        strength * _divergence(sums, q)
        for strength, sums, q in ((rho[0], row_sums, a), (rho[1], column_sums, b))
        if not math.isinf(strength)
    )
    value = float(linear + eps * kl + penalty)
    error = tuple(
        float(np.sum(np.abs(sums - q * _ratio(potential, strength))))
        for sums, q, potential, strength in (
            (row_sums, a, f, rho[0]), (column_sums, b, g, rho[1])
        )
    )  # fmt: skip
    return UnbalancedOTResult(
        cost,
        (f, g),
        dtype=dtype,
        a=a,
        b=b,
        reg=eps,
        reg_m=rho,
        mass=mass,
        value=value,
        value_linear=float(linear),
        value_entropy=float(linear + eps * (entropy + row_sums @ log_a + column_sums @ log_b)),
        kl=kl,
        marginal_error=error,
        certificate=sum(error),
        status=run.status,
        fun=value,
        n_iter=state.n_iter,
        nit=state.n_iter,
        n_sweeps=state.n_sweeps,
        n_newton=state.n_newton,
        n_cg=state.n_cg,
        history=run.history | state.trace_columns(len(run.history["time"])),
    )


def _potentials(cost, a, b, eps, rho, point):
    """Return f and g, on bins without mass by the others' condition; 0 where that is void."""
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    f, g = np.empty(a.size), np.empty(b.size)
    f[rows] = point.x - eps * np.log(a[rows])
    g[columns] = point.y - eps * np.log(b[columns])
    for potential, mass, part, y, strength in (
        (f, a, lambda empty: cost.restrict(empty, columns), point.y, rho[0]),
        (g, b, lambda empty: cost.restrict(rows, empty).transpose(), point.x, rho[1]),
    ):
        empty = np.flatnonzero(mass == 0)
        if empty.size:
            ones = np.ones(empty.size)
            dual = RelaxedSemiDual(part(empty), ones, np.ones(y.size), eps, (strength, 1.0))
            potential[empty] = np.nan_to_num(dual.evaluate(y).x, nan=0.0)
    return f, g
