"""What balanced and unbalanced solvers do before and after their steps.

Bins without mass take no part in a solution. They are left out before it, and their potentials
follow afterwards from the condition that holds on the others.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import Status, describe_end
from sparseopt.transport._kernels import cpu as kernels
from sparseopt.transport._problem import for_row_blocks


def bins_with_mass(cost, a, b):
    """Return the rows and the columns with mass, and the cost between these."""
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    full = rows.size == a.size and columns.size == b.size
    return rows, columns, cost if full else cost.restrict(rows, columns)


def all_potentials(cost, a, b, eps, point, update):
    """Return f and g on all bins, from a point on those with mass.

    Parameters
    ----------
    cost : Cost of shape (n, m)
        The costs.
    a, b : ndarray of shape (n,) and (m,)
        Masses, some of them zero.
    eps : float
        Regularisation.
    point : Point
        Potentials x = f + eps log a, y = g + eps log b of the bins with mass.
    update : callable
        ``update(side, cost, log_masses)`` returns the potentials of rows of a cost that answer
        to those of its columns; ``side`` is 0 for f and 1 for g.

    Returns
    -------
    f, g : ndarray of shape (n,) and (m,)
        Zero where all costs are infinite, which leaves the condition void.
    """
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    f, g = np.empty(a.size), np.empty(b.size)
    f[rows] = point.x - eps * np.log(a[rows])
    g[columns] = point.y - eps * np.log(b[columns])
    empty_rows, empty_columns = np.flatnonzero(a == 0), np.flatnonzero(b == 0)
    if empty_rows.size:
        part = cost.restrict(empty_rows, columns)
        f[empty_rows] = np.nan_to_num(update(0, part, point.y), nan=0.0)
    if empty_columns.size:
        part = cost.restrict(rows, empty_columns).transpose()
        g[empty_columns] = np.nan_to_num(update(1, part, point.x), nan=0.0)
    return f, g


def plan_sums(cost, a, b, f, g, eps, n_jobs):
    """Return row sums, column sums and cost of the plan."""
    with np.errstate(divide="ignore"):
        x, y = f + eps * np.log(a), g + eps * np.log(b)
    row_sums, row_costs = np.empty(a.size), np.empty(a.size)

    def rows(start, stop):
        sums = np.zeros(b.size)
        kernels.transport_cost(cost.arguments, x, y, eps, start, stop, row_sums, sums, row_costs)
        return sums

    column_sums = sum(for_row_blocks(rows, cost.shape, n_jobs))
    return row_sums, column_sums, float(row_costs.sum())


def relative_entropy(row_sums, column_sums, linear, f, g, eps):
    """Return ``sum P log(P / (a b'))`` from the form of the plan."""
    return float((row_sums @ f + column_sums @ g - linear) / eps)


def make_result(kind, cost, potentials, sums, state, run, **fields):
    """Return an OTResult or a subclass of it.

    Parameters
    ----------
    kind : type
        Class of the result.
    cost : Cost of shape (n, m)
        The costs.
    potentials : tuple of (ndarray of shape (n,), ndarray of shape (m,))
        On all bins.
    sums : tuple of (ndarray of shape (n,), ndarray of shape (m,), float)
        What ``plan_sums`` returns.
    state : TransportSteps
        What ran.
    run : OptimizeResult
        What ``iterate`` returned.
    **fields
        ``a``, ``b``, ``reg``, ``value``, ``marginal_error``, ``dtype``, ``offset`` where the
        cost lacks a constant, and what ``kind`` adds.
    """
    row_sums, column_sums, linear = sums
    reg = fields["reg"]
    log_a, log_b = (np.log(np.where(mass > 0, mass, 1.0)) for mass in (fields["a"], fields["b"]))
    entropy = relative_entropy(row_sums, column_sums, linear, *potentials, reg)
    value_linear = float(linear + fields.get("offset", 0.0) * row_sums.sum())
    defaults = {"kl": entropy}
    return kind(
        cost,
        potentials,
        **(defaults | fields),
        value_linear=value_linear,
        value_entropy=float(
            value_linear + reg * (entropy + row_sums @ log_a + column_sums @ log_b)
        ),
        certificate=sum(fields["marginal_error"]),
        status=run.status,
        fun=fields["value"],
        n_iter=state.n_iter,
        nit=state.n_iter,
        n_sweeps=state.n_sweeps,
        n_newton=state.n_newton,
        n_cg=state.n_cg,
        history=run.history | state.trace_columns(len(run.history["time"])),
    )


def conclude(result, status, method, certificate_name, error, tol):
    """Write how the run ended to the result, and warn if it did not converge."""
    result.status = status
    result.converged = result.success = status == Status.CONVERGED
    result.message = describe_end(
        status, method, certificate_name, error, tol, result.n_iter,
        "Increase max_iter, reg or tol.",
    )  # fmt: skip
    if status not in (Status.CONVERGED, Status.STOPPED_BY_CALLBACK):
        warnings.warn(result.message, ConvergenceWarning, stacklevel=4)
