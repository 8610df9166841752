r"""Conjugate gradients on the Laplacian of a graph, for many right-hand sides at once.

    minimise  sum_c  1/2 x_c' A x_c - b_c' x_c,   x and b (n, n_columns),

A = diag(degree) - W a symmetric positive definite M-matrix, with a modified incomplete
factorization as preconditioner in the form of

S. C. Eisenstat (1981). Efficient Implementation of a Class of Preconditioned Conjugate
Gradient Methods. SIAM J. Sci. Stat. Comput. 2(1).

Moving memory is what costs time. The vectors are therefore in single precision; the solution
is not: every ``CHECK_EVERY`` iterations the steps since the last time are added to it in
double precision, and the residual is computed from it afresh (after G. Sleijpen, H. van der
Vorst (1996). Reliable updated residuals in hybrid Bi-CG methods. Computing 56). The search
direction is kept, and the number of iterations is that of double precision.
"""

import math

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from sparseopt._core import Progress, iterate
from sparseopt.semi_supervised._kernels import cpu as kernels

CHECK_EVERY = 20  # iterations between two residuals
COLUMNS = 5  # largest number solved together: few enough for their rows to stay in the cache
ROW_SUMS = 0.99  # how much the preconditioner preserves row sums rather than the diagonal
PATIENCE = 5  # checks without progress before rounding errors are blamed
RESOLUTION = 1e-12  # smallest relative decrease of the objective that is progress
CAUTION = 0.8  # of the residual is what the tolerance is met with before it is computed
DRIFT = 1.5  # largest growth of r'r on computing it afresh with which directions are kept
SPREAD = 1e12  # largest ratio of weights in single precision


def solve_laplacian(system, tol, max_iter, n_jobs=None, callback=None):
    """Solve the system of free nodes for all classes.

    Parameters
    ----------
    system : FreeNodes
        A and b, padded.
    tol : float
        Relative residual of each column at which it is solved.
    max_iter : int
        Largest number of iterations.
    n_jobs : int, optional
        Groups of columns that advance at once, in threads.
    callback : callable, optional
        Called every ``CHECK_EVERY`` iterations as ``callback(intermediate_result=...)``.

    Returns
    -------
    result : OptimizeResult
        ``x``, ``fun``, ``nit``, ``success``, ``message``, ``history``, and
        ``relative_residual``, the largest over the columns.
    """
    state = _State(system, tol, max_iter, n_jobs)
    result = iterate(
        lambda state: state.step(),
        state,
        max_iter=max_iter,
        tol=tol,
        method="Label propagation",
        initial=state.progress(),
        callback=callback,
        certificate_name="relative residual",
        descends=True,
        warn=False,
    )
    result.relative_residual = result.certificate
    return result


class _State:
    """The iterates of all columns, which advance in groups."""

    def __init__(self, system, tol, max_iter, n_jobs):
        self.x = np.zeros_like(system.b)
        self._iterations = 0
        self._parallel = Parallel(n_jobs=n_jobs, prefer="threads")
        n_columns = self.x.shape[1]
        shared = _Preconditioned(system)
        parts = np.array_split(np.arange(n_columns), math.ceil(n_columns / COLUMNS))
        self._groups = [_Group(shared, self.x, part, tol, max_iter) for part in parts]

    def step(self):
        active = [group for group in self._groups if not group.solved]
        self._parallel(delayed(group.step)() for group in active)
        return self.progress()

    def progress(self):
        groups, before = self._groups, self._iterations
        self._iterations = max(group.iterations for group in groups)
        return Progress(
            sum(group.objective for group in groups),
            max(group.residual for group in groups),
            stalled=all(group.solved or group.stalled for group in groups),
            iterations=self._iterations - before,
        )


class _Preconditioned:
    """The matrix, its preconditioner, and the entries of S W S in the precisions in use."""

    def __init__(self, system):
        self.system = system
        self.rows = system.start, system.middle, system.indices
        pivots = kernels.modified_pivots(*self.rows, system.weights, system.degree, ROW_SUMS)
        self.unit = np.max(system.weights, initial=0.0) or 1.0
        self.root = np.sqrt(self.unit / pivots)
        self._shift = system.degree / pivots - 2
        self._entries = {}
        smallest = np.min(system.weights, where=system.weights > 0, initial=np.inf)
        self.first_dtype = np.float32 if self.unit <= SPREAD * smallest else np.float64
        self.entries(self.first_dtype)

    def entries(self, dtype):
        """Return the entries of S W S, and the diagonal of S A S - 2 I."""
        if dtype not in self._entries:
            start, _, indices = self.rows
            scaled = np.empty(indices.size, dtype)
            kernels.scale_weights(start, indices, self.system.weights, self.root, self.unit, scaled)
            self._entries[dtype] = scaled, self._shift.astype(dtype)
        return self._entries[dtype]


class _Group:
    """Conjugate gradients for a few columns of x and b, in Eisenstat's coordinates."""

    def __init__(self, shared, x, part, tol, max_iter):
        self._shared, self._x, self._tol, self._max_iter = shared, x, tol, max_iter
        self._first, self._columns = int(part[0]), (0,) * part.size
        self._scale = np.sum(shared.system.b[:, part] ** 2, axis=0)
        self._energy, self._p_dot_q = np.zeros(part.size), np.zeros(part.size)
        self.iterations = 0
        self._begin(shared.first_dtype)

    def _begin(self, dtype):
        """Start from the present iterate, with vectors of this precision."""
        shape = self._x.shape[0], len(self._columns)
        self._y, self._r, self._p, self._t, self._s = (np.zeros(shape, dtype) for _ in range(5))
        self._previous = np.zeros(shape[1])  # r'r before the last iteration
        self._best, self._lowest, self._waited = math.inf, math.inf, 0
        self._check()

    @property
    def solved(self):
        return self.residual <= self._tol

    @property
    def stalled(self):
        return self._waited >= PATIENCE

    def step(self):
        """Take ``CHECK_EVERY`` iterations, or fewer if that is enough."""
        for _ in range(min(CHECK_EVERY, self._max_iter - self.iterations)):
            self._iterate()
            if np.all(self._energy <= self._goal):
                self._check()
                if self.solved:
                    return
        self._check()
        if self.stalled and self._r.dtype == np.float32:
            self._begin(np.float64)

    def _iterate(self):
        rows, columns, dtype = self._shared.rows, self._columns, self._r.dtype.type
        scaled, shift = self._shared.entries(dtype)
        ratio = _ratio(self._energy, self._previous).astype(dtype)
        kernels.substitute_backward(*rows, scaled, ratio, self._r, self._p, self._t, columns)
        kernels.substitute_forward(
            *rows, scaled, shift, self._p, self._t, self._s, self._p_dot_q, columns
        )
        step = _ratio(self._energy, self._p_dot_q).astype(dtype)
        self._previous[:] = self._energy
        kernels.advance(step, self._t, self._s, self._y, self._r, self._energy, columns)
        self.iterations += 1

    def _check(self):
        """Bring x up to date and compute the residual from it."""
        shared, system, sums = self._shared, self._shared.system, np.zeros((3, self._scale.size))
        scaled, _ = shared.entries(self._r.dtype.type)
        kernels.refresh_residual(
            *shared.rows, system.weights, scaled, system.degree, shared.root, shared.unit,
            system.b, self._first, self._x, self._y, self._r, sums, self._columns,
        )  # fmt: skip
        # Where rounding errors have taken over, the direction is worth nothing: begin anew.
        self._previous[sums[1] > DRIFT * self._energy] = 0
        self._energy[:] = sums[1]
        self.objective = -0.5 * float(np.sum(sums[2]))
        squares = _ratio(sums[0], self._scale)
        self.residual = math.sqrt(np.max(squares, initial=0.0))
        # Where r'r has to be for the residual to meet the tolerance, if they fall alike.
        self._goal = sums[1] * _ratio((CAUTION * self._tol) ** 2, squares)
        # The residual may grow for long in conjugate gradients; the objective may not.
        better = self.residual < self._best or self.objective < self._lowest
        self._waited = 0 if better else self._waited + 1
        self._best = min(self._best, self.residual)
        self._lowest = min(self._lowest, self.objective - RESOLUTION * abs(self.objective))


def _ratio(numerator, denominator):
    """Return a quotient that is zero for columns that are solved already."""
    safe = denominator > 0
    return np.where(safe, numerator / np.where(safe, denominator, 1), 0.0)
