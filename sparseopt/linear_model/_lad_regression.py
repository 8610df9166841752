"""Exact l1 regression (least absolute deviations) by a vertex-following simplex.

P. Bloomfield and W. L. Steiger, "Least absolute deviations curve-fitting", SIAM Journal on
Scientific and Statistical Computing 1 (1980) 290-301.

    minimise  ||y - A x||_1        A (m, k), y (m,), x (k,); real

    dual:     maximise <theta, y>  subject to  A^T theta = 0,  |theta_i| <= 1

A solution of full-rank data interpolates k rows. The method walks from vertex to vertex along
edges on which all but one of the interpolated rows stay interpolated, each time to the lowest
point of the edge, a weighted median. Row weights s are row scalings: of A and y by s.

Incremental use: a fit that grows by one column at a time keeps its vertex, so that each new
column costs a few pivots only::

    path = LADPath(y, max_columns=30)
    for column in columns:            # arrays of shape (m,)
        if not path.append(column):   # it depends on the columns before: nothing was changed
            break
        path.coef, path.residual, path.objective, path.dual
"""

import numpy as np
from scipy import sparse
from scipy.optimize import OptimizeResult, linprog

from sparseopt._core import Status
from sparseopt.linear_model._kernels.lad import (
    BREAKDOWN,
    OPTIMAL,
    STALLED,
    append_column,
    pivot_to_optimum,
)
from sparseopt.linear_model._kernels.lad_basis import Vertex, refactorise, solve_dual

# Slopes above this are followed; multipliers may exceed their bound by as much.
SLOPE_TOLERANCE = 1e-11

# A vertex is accepted as the solution if its relative duality gap is below this.
GAP_TOLERANCE = 1e-9


def make_vertex(target, capacity, n_columns):
    """Return the vertex x = 0, r = y of a problem whose columns are still to be written.

    Parameters
    ----------
    target : ndarray of shape (m,)
        Right-hand side y; copied.
    capacity : int
        Largest number of active columns.
    n_columns : int
        Number of columns to make room for.

    Returns
    -------
    vertex : Vertex
        Columns are zero, without penalty or sign constraint, and none is active.
    """
    m = target.shape[0]
    capacity = max(1, min(m, capacity))
    target = np.array(target, dtype=np.float64)
    return Vertex(
        columns=np.zeros((n_columns, m)),
        target=target,
        penalty=np.zeros(n_columns),
        nonnegative=np.zeros(n_columns, dtype=bool),
        scale=np.ones(n_columns),
        coef=np.zeros(n_columns),
        column_sign=np.zeros(n_columns),
        residual=target.copy(),
        row_sign=np.where(target < 0, -1.0, 1.0),
        dual=np.where(target < 0, -1.0, 1.0),
        size=np.zeros(1, dtype=np.int64),
        since=np.zeros(2, dtype=np.int64),
        rows=np.zeros(capacity, dtype=np.int64),
        active=np.zeros(capacity, dtype=np.int64),
        inverse=np.zeros((capacity, capacity)),
        direction=np.zeros(capacity),
        image=np.zeros(m),
        solved=np.zeros(capacity),
        order=np.zeros(capacity, dtype=np.int64),
        ratios=np.zeros(m + capacity),
        values=np.zeros(m + capacity),
        weights=np.zeros(m + capacity),
        jumps=np.zeros(m + capacity),
    )


def column_scale(columns):
    """Return powers of two that bring the largest entry of each column into [1/2, 1).

    Dividing by them is exact, so that ties in the data stay ties.
    """
    _, exponents = np.frexp(np.abs(columns).max(axis=-1, initial=0.0))
    return np.ldexp(1.0, exponents)


def optimise_vertex(vertex, n_columns, max_pivots):
    """Pivot to the optimum over the first ``n_columns`` columns, past any degeneracy.

    When pivots make no progress, all residuals and active coefficients are moved away from zero
    by a relative 1e-10 at random, which unties them; after the solution, the data are restored
    and the vertex is made optimal for them.

    Returns
    -------
    status : int
        OPTIMAL, PIVOT_LIMIT, STALLED or BREAKDOWN of the kernels.
    pivots : int
        Number of pivots made.
    """
    original = vertex.target.copy()
    random = np.random.default_rng(0)
    total = 0
    for _ in range(3):
        status, pivots = pivot_to_optimum(
            vertex, n_columns, max_pivots - total, SLOPE_TOLERANCE, stall_limit(vertex)
        )
        total += pivots
        if status != STALLED:
            return status, total
        untie(vertex, random)
        status, pivots = pivot_to_optimum(
            vertex, n_columns, max_pivots - total, SLOPE_TOLERANCE, max_pivots
        )
        total += pivots
        vertex.target[:] = original
        if status == BREAKDOWN or not refactorise(vertex):
            return BREAKDOWN, total
        solve_dual(vertex)
    return status, total


def stall_limit(vertex):
    """Return how many pivots in a row may leave the objective as it is."""
    return 10 + int(vertex.size[0])


def untie(vertex, random):
    """Move residuals and active coefficients away from zero, keeping the vertex.

    Changes the target, by a relative 1e-10 at random.
    """
    amount = 1e-10 * max(np.abs(vertex.target).max(), np.finfo(float).tiny)
    active = vertex.active[: vertex.size[0]]
    step = vertex.column_sign[active] * random.uniform(0.5, 1.0, active.size) * amount
    vertex.coef[active] += step
    shift = vertex.row_sign * random.uniform(0.5, 1.0, vertex.target.size) * amount
    vertex.residual[:] += shift
    vertex.target[:] += shift + step @ vertex.columns[active]


def solve_linear_program(A, y, penalty, nonnegative):
    """Solve the penalised l1 problem with SciPy's HiGHS: slow, but sure on any data.

    Parameters
    ----------
    A : ndarray or sparse array of shape (m, k)
    y : ndarray of shape (m,)
    penalty : ndarray of shape (k,)
        Finite, >= 0.
    nonnegative : ndarray of shape (k,)
        Booleans: x_j >= 0 is required.

    Returns
    -------
    x : ndarray of shape (k,)
    theta : ndarray of shape (m,)
        The dual solution.
    """
    m, k = A.shape
    identity = sparse.eye_array(m, format="csc")
    columns = sparse.csc_array(A)
    upper = np.where(nonnegative, 0.0, np.inf)  # of the negative parts
    result = linprog(
        np.concatenate([penalty, penalty, np.ones(2 * m)]),
        A_eq=sparse.hstack([columns, -columns, identity, -identity], format="csc"),
        b_eq=y,
        bounds=np.column_stack(
            [
                np.zeros(2 * k + 2 * m),
                np.concatenate([np.full(k, np.inf), upper, np.full(2 * m, np.inf)]),
            ]
        ),
        method="highs",
    )
    if result.x is None:
        raise ArithmeticError(
            f"neither the simplex nor HiGHS solved the l1 problem ({result.message}): check the "
            "data for columns of very different sizes."
        )
    return result.x[:k] - result.x[k : 2 * k], result.eqlin.marginals


class LADPath:
    """l1 regression on a growing set of columns.

    Parameters
    ----------
    y : array-like of shape (m,)
        Target, real and finite.
    max_columns : int
        Largest number of columns that will be appended.

    Attributes
    ----------
    n_columns : int
        Number of columns k in the fit.
    coef : ndarray of shape (k,)
        The solution x, in the order in which the columns came.
    residual : ndarray of shape (m,)
        y - A x; exact zeros in the rows that the solution interpolates.
    dual : ndarray of shape (m,)
        Certificate theta: |theta_i| <= 1, A^T theta = 0, and <theta, y> is the objective.
    objective : float
        The sum of absolute residuals.
    n_pivots : int
        Simplex pivots so far.
    """

    def __init__(self, y, max_columns):
        self._vertex = make_vertex(np.asarray(y, dtype=np.float64), max_columns, max_columns)
        self._scale = np.ones(max_columns)
        self._has_vertex = True  # until HiGHS has to step in, which returns none
        self.n_columns = 0
        self.n_pivots = 0

    @property
    def coef(self):
        """The solution."""
        return self._vertex.coef[: self.n_columns] / self._scale[: self.n_columns]

    @property
    def residual(self):
        """The residual."""
        return self._vertex.residual.copy()

    @property
    def dual(self):
        """The certificate of optimality."""
        return self._vertex.dual.copy()

    @property
    def objective(self):
        """The sum of absolute residuals."""
        return float(np.abs(self._vertex.residual).sum())

    def append(self, column):
        """Add a column and make the fit optimal.

        Parameters
        ----------
        column : array-like of shape (m,)
            The new column, real and finite.

        Returns
        -------
        accepted : bool
            False if the column depends on those present, or there are m already: the fit is
            left as it was.

        Raises
        ------
        ValueError
            If there are ``max_columns`` columns already.
        """
        vertex, k = self._vertex, self.n_columns
        if k >= vertex.columns.shape[0]:
            raise ValueError(f"max_columns={k} columns are in the fit: no further one fits in.")
        column = np.asarray(column, dtype=np.float64)
        scale = float(column_scale(column))
        vertex.columns[k] = column / scale
        if self._has_vertex:
            if k >= vertex.rows.shape[0] or not append_column(vertex, k):
                return False
            status, pivots = optimise_vertex(vertex, k + 1, 100 * (vertex.target.size + k + 1))
            self.n_pivots += pivots + 1
            self._has_vertex = status == OPTIMAL and self._gap() <= GAP_TOLERANCE
        elif np.linalg.matrix_rank(vertex.columns[: k + 1]) <= k:
            return False
        self._scale[k] = scale
        self.n_columns = k + 1
        if not self._has_vertex:
            self._solve_without_vertex()
        return True

    def _gap(self):
        """Return the duality gap, relative to the size of the target."""
        vertex = self._vertex
        size = np.abs(vertex.target).sum()
        return (self.objective - vertex.dual @ vertex.target) / max(size, np.finfo(float).tiny)

    def _solve_without_vertex(self):
        vertex, k = self._vertex, self.n_columns
        A = vertex.columns[:k].T
        vertex.coef[:k], vertex.dual[:] = solve_linear_program(
            A, vertex.target, np.zeros(k), np.zeros(k, dtype=bool)
        )
        vertex.residual[:] = vertex.target - A @ vertex.coef[:k]


def lad_regression(A, y, *, sample_weight=None):
    """Fit ``A x`` to ``y`` in the l1 norm, exactly.

    Parameters
    ----------
    A : array-like of shape (m, k)
        Real matrix. Columns that depend on earlier ones get the coefficient 0.
    y : array-like of shape (m,)
        Real target.
    sample_weight : array-like of shape (m,), optional
        Non-negative weights of the absolute residuals.

    Returns
    -------
    result : OptimizeResult
        ``x`` (k,), ``fun`` (the weighted sum of absolute residuals), ``dual`` (m,) (theta with
        ``|theta_i| <= sample_weight_i`` and ``A^T theta = 0``), ``dual_gap``, ``nit`` (simplex
        pivots), ``success``, ``status``, ``message``.

    Raises
    ------
    ValueError
        If the shapes do not match, or values are complex or not finite.
    """
    A, y = _check_real(A, "A", 2), _check_real(y, "y", 1)
    m, k = A.shape
    if y.shape != (m,):
        raise ValueError(f"y must have shape ({m},), one entry a row of A, got shape {y.shape}.")
    scale = np.ones(m)
    if sample_weight is not None:
        scale = _check_real(sample_weight, "sample_weight", 1)
        if scale.shape != (m,) or (scale < 0).any():
            raise ValueError(
                f"sample_weight must be {m} numbers >= 0, got shape {scale.shape} with minimum "
                f"{scale.min(initial=0.0)!r}."
            )
    path = LADPath(scale * y, min(m, k))
    x = np.zeros(k)
    accepted = [j for j in range(k) if path.n_columns < min(m, k) and path.append(scale * A[:, j])]
    x[accepted] = path.coef
    fun = float(scale @ np.abs(y - A @ x))
    gap = fun - float(path.dual @ (scale * y))
    return OptimizeResult(
        x=x,
        fun=fun,
        dual=scale * path.dual,
        dual_gap=gap,
        nit=path.n_pivots,
        success=True,
        status=Status.CONVERGED,
        message=f"l1 regression converged: duality gap {gap:.3g} after {path.n_pivots} pivots.",
    )


def _check_real(array, name, ndim):
    """Return a finite real float64 array with ``ndim`` dimensions."""
    array = np.asarray(array)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), got shape {array.shape}.")
    if np.iscomplexobj(array):
        raise ValueError(f"{name} must be real: l1 regression of complex data is not supported.")
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity.")
    return array
