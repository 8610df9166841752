"""Exact l1 regression (least absolute deviations) by a vertex-following simplex.

P. Bloomfield and W. L. Steiger, "Least absolute deviations curve-fitting", SIAM Journal on
Scientific and Statistical Computing 1 (1980) 290-301.

    minimise  ||y - A x||_1        A (m, k), y (m,), x (k,); real

    dual:     maximise <theta, y>  subject to  A^T theta = 0,  |theta_i| <= 1

A solution of full-rank data interpolates k rows. The method walks from vertex to vertex along
edges on which all but one of the interpolated rows stay interpolated, each time to the lowest
point of the edge, a weighted median.

Incremental use: a fit that grows by one column at a time keeps its vertex, so that each new
column costs a few pivots only::

    path = LADPath(y, max_columns=30)
    for column in columns:            # arrays of shape (m,)
        if not path.append(column):   # it depends on the columns before: nothing was changed
            break
        path.coef, path.residual, path.objective, path.dual
"""

import numpy as np
from scipy.optimize import OptimizeResult, linprog

from sparseopt._core import Status
from sparseopt.linear_model._kernels.lad import (
    BREAKDOWN,
    OPTIMAL,
    PIVOT_LIMIT,
    STALLED,
    Vertex,
    append_column,
    pivot_to_optimum,
    refactorise,
    solve_dual,
)

# Slopes above this are followed; multipliers may exceed their bound by as much.
SLOPE_TOLERANCE = 1e-11


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
    stall_limit = 10 + int(vertex.size[0])
    original = vertex.target.copy()
    random = np.random.default_rng(0)
    total = 0
    for attempt in range(4):
        status, pivots = pivot_to_optimum(
            vertex, n_columns, max_pivots - total, SLOPE_TOLERANCE, stall_limit
        )
        total += pivots
        if attempt % 2 == 0:  # the data are the original ones
            if status != STALLED:
                break
            _untie(vertex, random)
            stall_limit = max(1000, 10 * stall_limit)
        else:
            vertex.target[:] = original
            if status == BREAKDOWN or not refactorise(vertex):
                status = BREAKDOWN
                break
    vertex.target[:] = original
    return status, total


def _untie(vertex, random):
    """Move residuals and active coefficients away from zero, keeping the vertex."""
    amount = 1e-10 * max(np.abs(vertex.target).max(), 1e-300)
    active = vertex.active[: vertex.size[0]]
    sizes = np.abs(vertex.columns[active]).max(axis=1)
    step = vertex.column_sign[active] * random.uniform(0.5, 1.0, active.size) * amount / sizes
    vertex.coef[active] += step
    shift = vertex.row_sign * random.uniform(0.5, 1.0, vertex.target.size) * amount
    vertex.residual[:] += shift
    vertex.target[:] += shift + step @ vertex.columns[active]


class LADPath:
    """l1 regression on a growing set of columns.

    Parameters
    ----------
    y : array-like of shape (m,)
        Target, real and finite.
    max_columns : int
        Largest number of columns that will be appended.
    sample_weight : array-like of shape (m,), optional
        Non-negative weights of the absolute residuals.

    Attributes
    ----------
    n_columns : int
        Number of columns k in the fit.
    coef : ndarray of shape (k,)
        The solution x.
    residual : ndarray of shape (m,)
        y - A x, without the weights; the rows that the solution interpolates hold exact zeros.
    dual : ndarray of shape (m,)
        Certificate theta of the row-weighted problem.
    objective : float
        The (weighted) sum of absolute residuals.
    n_pivots : int
        Simplex pivots so far.
    """

    def __init__(self, y, max_columns, *, sample_weight=None):
        y = np.asarray(y, dtype=np.float64)
        self._y = y
        self._row_scale = None
        if sample_weight is not None:
            self._row_scale = np.asarray(sample_weight, dtype=np.float64)
            y = y * self._row_scale
        self._vertex = make_vertex(y, max_columns, max_columns)
        self._exact = True  # False once a linear-programming solver had to step in
        self.n_columns = 0
        self.n_pivots = 0

    @property
    def coef(self):
        return self._vertex.coef[: self.n_columns].copy()

    @property
    def residual(self):
        if self._row_scale is None:
            return self._vertex.residual.copy()
        positive = self._row_scale > 0
        residual = self._y.copy()
        residual[positive] = self._vertex.residual[positive] / self._row_scale[positive]
        return residual

    @property
    def dual(self):
        return self._vertex.dual.copy()

    @property
    def objective(self):
        return float(np.abs(self._vertex.residual).sum())

    def append(self, column):
        """Add a column and make the fit optimal.

        Parameters
        ----------
        column : ndarray of shape (m,)
            The new column, real and finite.

        Returns
        -------
        accepted : bool
            False if the column depends on those present (or there are m already): the fit is
            left as it was.
        """
        vertex, j = self._vertex, self.n_columns
        if j >= vertex.columns.shape[0]:
            raise ValueError(f"max_columns is {j}: no further column can be appended.")
        vertex.columns[j] = column if self._row_scale is None else column * self._row_scale
        if int(vertex.size[0]) >= vertex.rows.shape[0] or not append_column(vertex, j):
            return False
        self.n_columns = j + 1
        status, pivots = optimise_vertex(vertex, j + 1, 100 * (vertex.target.size + j + 1))
        self.n_pivots += pivots
        solve_dual(vertex)
        return True
