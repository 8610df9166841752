r"""LAD-LASSO by a working-set simplex, and its exact solution path.

    minimise  sum_i s_i |y_i - x_i' b - b_0|  +  lam sum_j w_j |b_j|

X (n_samples, n_features) real, dense or stored by columns; sample weights s (n_samples,), penalty
weights w (n_features,). Every point theta with ``|theta_i| <= 1`` and ``|X_j' (s theta)| <= lam
w_j`` (and ``s' theta = 0`` for the intercept) bounds the minimum from below by ``<theta, s y>``;
the best bound so far gives the duality gap.

As a linear programme this is l1 regression on the rows (X, y) and (lam diag(w), 0), begun at b = 0
where all penalty rows are interpolated [1]. Only data rows and nonzero coefficients enter the
k x k basis. A vertex has a dual point theta; one product X' (s theta) finds the columns that
violate their bound, the worst of them join the working set, and a few pivots follow. The solution
is a piecewise constant function of lam: between two break points theta is affine in lam, which
says where the next one is and which edge of the polytope leads to the next solution [2].

[1] Bloomfield, Steiger (1980). Least absolute deviations curve-fitting. SIAM J. Sci. Stat.
    Comput. 1, 290-301.
[2] Wang, Gordon, Zhu (2006). Regularized least absolute deviations regression and an efficient
    algorithm for parameter tuning. ICDM.
"""

import contextlib
import math

import numpy as np
from scipy import sparse

from sparseopt._core import Progress, short_products
from sparseopt.linear_model._kernels.lad import (
    BREAKDOWN,
    OPTIMAL,
    REFACTOR_EVERY,
    STALLED,
    pivot,
    pivot_to_optimum,
)
from sparseopt.linear_model._kernels.lad_basis import refactorise, solve_dual
from sparseopt.linear_model._lad_interior import guess_basis
from sparseopt.linear_model._lad_regression import (
    SLOPE_TOLERANCE,
    make_vertex,
    optimise_vertex,
    solve_linear_program,
    stall_limit,
    untie,
)

# Few columns and pivots at a time: each look at all columns costs less than the pivots that a
# badly chosen working set leads to.
COLUMNS_PER_STEP = 10
PIVOTS_PER_STEP = 20
LONGEST_TIE = 20  # pivots without a change of the solution on the path, for each sample
PIVOTS_BEFORE_JUMP = 2  # for each sample
LARGEST_JUMP = 50_000_000  # entries of a matrix that may be copied for it
MAX_TIES = 5  # times that degenerate data are moved for one penalty
VIOLATION = 10 * SLOPE_TOLERANCE  # of a dual bound, for a column of norm 1


class PathBreakdown(ArithmeticError):
    """The exact path cannot be followed further in this precision."""

    def __init__(self, strength):
        super().__init__(
            f"the exact LAD-LASSO path broke down at lam = {strength:.6g}: its basis is singular "
            "to working precision. Use a grid of alphas, or remove columns that nearly depend on "
            "others."
        )


class PenalizedLAD:
    """State of the solver for one target; keeps its vertex along a path of penalties.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Real design; not copied, unless sparse and not stored by columns.
    y : ndarray of shape (n_samples,)
        Real target.
    weights : ndarray of shape (n_features,)
        Penalty weights, >= 0; ``inf`` excludes a column.
    positive : bool, default=False
        Whether coefficients must be non-negative.
    sample_weight : ndarray of shape (n_samples,), optional
        Non-negative row weights.
    fit_intercept : bool, default=False
        Whether there is an unpenalised column of ones.

    Attributes
    ----------
    x : ndarray of shape (n_features + fit_intercept,)
        Coefficients; the intercept comes last.
    dual : ndarray of shape (n_samples,)
        The best dual point for the present penalty.
    primal, gap : float
        Objective, and its distance to the best dual value.
    constant_objective : float
        Sum of absolute residuals of the best constant (or zero) model.
    """

    def __init__(self, X, y, *, weights, positive=False, sample_weight=None, fit_intercept=False):
        self._sparse = sparse.issparse(X)
        X = sparse.csc_array(X) if self._sparse else X
        self.X = X.astype(np.float64, copy=False)
        self.n_samples, self.n_features = X.shape
        self.fit_intercept = fit_intercept
        rows = np.ones(self.n_samples) if sample_weight is None else sample_weight
        self.row_scale = np.asarray(rows, dtype=np.float64)
        self.total_weight = float(self.row_scale.sum())
        self.target = self.row_scale * np.asarray(y, dtype=np.float64)
        self.norms = self._column_norms()
        self._scale = np.ldexp(1.0, np.frexp(self.norms)[1])  # exact divisors
        n_columns = self.norms.size
        self.weights = np.zeros(n_columns)
        self.weights[: self.n_features] = weights
        self._nonnegative = np.full(n_columns, positive)
        self._nonnegative[self.n_features :] = False
        self._usable = np.isfinite(self.weights) & (self.norms > 0)
        self._unpenalised = self._usable & (self.weights == 0)
        self._begin()
        self.constant_objective = self._constant_objective(np.asarray(y, dtype=np.float64))

    def set_penalty(self, strength):
        """Pose the problem with ``lam = strength``; the vertex stays as a warm start."""
        if self._lost_vertex or (self._is_untied() and not self._restore_target()):
            self._begin()
        self._pose(strength)
        self._dual_value = -math.inf
        self._n_ties = 0
        self._n_pivots = 0
        self._certify()

    def suggest(self, columns):
        """Put ``columns`` into the working set, where a good solution is expected."""
        chosen = np.zeros(self.norms.size, dtype=bool)
        chosen[columns] = True
        self._load(np.flatnonzero(chosen & self._usable & (self._position < 0)))

    def step(self):
        """Enlarge the working set by the worst columns, and make some pivots."""
        if self._lost_vertex:
            return self._solve_without_vertex()
        if self._n_pivots > PIVOTS_BEFORE_JUMP * self.n_samples + 100:
            self._jump()
        self._load(self._most_violated())
        vertex = self._vertex
        status, pivots = pivot_to_optimum(
            vertex, self._n_members, PIVOTS_PER_STEP, SLOPE_TOLERANCE, stall_limit(vertex)
        )
        self._n_pivots += pivots
        if status == BREAKDOWN:
            return self._solve_without_vertex()
        if status == STALLED:
            untie(vertex, self._random)
            self._n_ties += 1
        progress = self._certify()
        at_optimum = status == OPTIMAL and self._most_violated().size == 0
        if at_optimum and self._is_untied() and self._n_ties < MAX_TIES:
            if not self._restore_target():
                return self._solve_without_vertex()
            return self._certify()
        return progress._replace(stalled=at_optimum)

    def _jump(self):
        """Go to the vertex that an interior point suggests, if it is better than this one.

        Tried once for a penalty, when the simplex has made many pivots: every k x k basis is a
        vertex, so that any guess will do.
        """
        self._n_pivots = -np.iinfo(int).max
        penalised = np.flatnonzero(self._usable & (self.weights > 0))
        free = np.flatnonzero(self._unpenalised)
        too_large = self._sparse or penalised.size * self.n_samples > LARGEST_JUMP
        # Without a strength, the bounds of the dual are equations, and it has no interior.
        no_interior = self._strength == 0 or penalised.size == 0
        if too_large or no_interior or self._nonnegative.any() or 2 * free.size > self.n_samples:
            return
        A, F = self._scaled(penalised).T, self._scaled(free).T
        penalty = self._penalty(penalised) / self._scale[penalised]
        with self._blas_threads():
            guess = guess_basis(A, F, self.target, penalty)
        if guess is None:
            return
        chosen, signs, rows = guess
        before = (self.primal, self._vertex, self._members, self._position)
        self._new_vertex(np.concatenate([free, penalised[chosen]]))
        vertex, k = self._vertex, rows.size
        vertex.size[0] = k
        vertex.rows[:k], vertex.active[:k] = rows, np.arange(k)
        vertex.row_sign[rows] = 0.0
        vertex.column_sign[:k] = np.concatenate([np.ones(free.size), signs])
        if refactorise(vertex):
            self._certify()
        if not self.primal < before[0]:
            _, self._vertex, self._members, self._position = before
            self._certify()

    def _is_untied(self):
        """Tell whether the vertex solves slightly moved data, to pass a degenerate corner."""
        return not np.array_equal(self._vertex.target, self.target)

    def _restore_target(self):
        """Go back to the given data, at the same basis; return False if that fails."""
        self._vertex.target[:] = self.target
        return refactorise(self._vertex)

    def largest_strength(self):
        """Return the smallest ``lam`` for which all penalised coefficients are zero.

        Starts from the dual point of the fit of the unpenalised columns, which is optimal for
        all large ``lam``, and follows the path down to its first change. For targets with very
        many ties, where the path has long degenerate stretches, this is an upper bound.
        """
        self._begin()
        penalised = self._usable & ~self._unpenalised
        slope = np.where(self._nonnegative, self._correlations, np.abs(self._correlations))
        largest = max(np.max(slope[penalised] / self.weights[penalised], initial=0.0), 0.0)
        if self._lost_vertex:
            return float(largest)
        with contextlib.suppress(PathBreakdown):  # what was reached is an upper bound
            for unchanged, (strength, changed) in enumerate(self._follow_path()):
                largest = strength
                if changed or unchanged > self.n_samples:
                    break
            else:
                largest = 0.0
        self._begin()  # at the largest strength itself, zero is the solution to start from
        return float(largest)

    def break_points(self, smallest=0.0):
        """Follow the solution path down to ``lam = smallest``.

        Yields
        ------
        strength : float
            A value of ``lam`` at which the solution changes; the first is the largest one.
        x : ndarray of shape (n_features + fit_intercept,)
            The solution from there down to the next break point.

        Raises
        ------
        PathBreakdown
            If the basis became singular to working precision.
        """
        self._begin()
        if self._lost_vertex:
            raise PathBreakdown(math.inf)
        for strength, changed in self._follow_path():
            if strength <= smallest:
                return
            if changed:
                self._dual_value = -math.inf
                self._certify()
                yield strength, self.x.copy()

    def _follow_path(self):
        """Pivot from break point to break point; yield each, and whether the solution moved."""
        strength = math.inf
        unchanged = 0
        while True:
            strength, row, column, sign = self._next_break_point(strength)
            if strength <= 0:
                return
            self._pose(strength)
            if column >= 0:
                self._load(np.array([column])[self._position[[column]] < 0])
                column = self._position[column]
            vertex = self._vertex
            step = pivot(vertex, row, column, sign, np.finfo(float).tiny)
            changed = step > 1e-13 * np.abs(self.target).max()
            unchanged = 0 if changed else unchanged + 1
            if step < 0 or unchanged > LONGEST_TIE * self.n_samples:
                # Degenerate data could make it cycle: step over the tie.
                strength *= 1 - 1e-9
                before, unchanged = self.x, 0
                if not self._reoptimise(strength):
                    raise PathBreakdown(strength)
                changed = not np.array_equal(self.x, before)
            elif vertex.since[1] >= REFACTOR_EVERY and not refactorise(vertex):
                raise PathBreakdown(strength)
            yield strength, changed

    def _begin(self):
        """Go to the optimal vertex of the unpenalised columns alone."""
        self._lost_vertex = False
        self._strength = math.inf
        self._dual_value = -math.inf
        self._random = np.random.default_rng(0)
        self._new_vertex(np.flatnonzero(self._unpenalised))
        status, _ = optimise_vertex(
            self._vertex, self._n_members, 100 * (self.n_samples + self._n_members)
        )
        if status == BREAKDOWN:
            self._solve_without_vertex()
        self._read_vertex()

    def _new_vertex(self, columns):
        """Go to the vertex b = 0, with ``columns`` as the working set."""
        capacity = min(self.n_samples, self.norms.size)
        self._vertex = make_vertex(self.target, capacity, 2 * COLUMNS_PER_STEP)
        self._members = np.empty(0, dtype=np.intp)
        self._position = np.full(self.norms.size, -1)
        self._load(columns)

    @property
    def _n_members(self):
        return self._members.size

    def _pose(self, strength):
        self._strength = strength
        members = self._members
        self._vertex.penalty[: members.size] = self._penalty(members) / self._scale[members]

    def _penalty(self, columns=slice(None)):
        """Return lam w_j, where infinity times zero is zero."""
        weights = self.weights[columns]
        costly = (weights > 0) & (self._strength > 0)
        return np.where(costly, self._strength, 0.0) * np.where(costly, weights, 1.0)

    def _load(self, columns):
        """Append columns of the design, scaled, to the working set."""
        if columns.size == 0:
            return
        start, stop = self._n_members, self._n_members + columns.size
        self._reserve(stop)
        vertex = self._vertex
        vertex.columns[start:stop] = self._scaled(columns)
        vertex.nonnegative[start:stop] = self._nonnegative[columns]
        vertex.scale[start:stop] = self.norms[columns] / self._scale[columns]
        self._position[columns] = np.arange(start, stop)
        self._members = np.concatenate([self._members, columns])
        vertex.penalty[start:stop] = self._penalty(columns) / self._scale[columns]

    def _scaled(self, columns):
        """Return columns of the weighted and scaled design, one in each row."""
        is_feature = columns < self.n_features
        block = self.X[:, columns[is_feature]]
        scaled = np.ones((columns.size, self.n_samples))  # the intercept remains
        scaled[is_feature] = (block.toarray() if self._sparse else block).T
        scaled *= self.row_scale
        scaled /= self._scale[columns, None]
        return scaled

    def _reserve(self, n_columns):
        """Make room for columns in the arrays of the vertex."""
        present = self._vertex.columns.shape[0]
        if n_columns <= present:
            return
        more = max(n_columns, 2 * present) - present
        grown = {
            name: np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
            for name, array in self._vertex._asdict().items()
            if name in ("columns", "penalty", "nonnegative", "scale", "coef", "column_sign")
        }
        self._vertex = self._vertex._replace(**grown)

    def _most_violated(self):
        """Return up to COLUMNS_PER_STEP columns outside the working set, the worst first."""
        slope = np.where(self._nonnegative, self._correlations, np.abs(self._correlations))
        outside = self._usable & (self._position < 0)
        excess = np.full(slope.size, -np.inf)
        excess[outside] = (slope - self._penalty())[outside] / self.norms[outside]
        candidates = np.flatnonzero(excess > VIOLATION)
        if candidates.size > COLUMNS_PER_STEP:
            best = np.argpartition(-excess[candidates], COLUMNS_PER_STEP)[:COLUMNS_PER_STEP]
            candidates = candidates[best]
        return np.sort(candidates)

    def _certify(self):
        """Read the vertex, and bound the minimum by its dual point, scaled to be feasible."""
        self._read_vertex()
        penalty = self._penalty()
        used = self._usable
        cost = penalty[used] @ np.abs(self.x[used]) if np.isfinite(self._strength) else 0.0
        self.primal = float(np.abs(self._residual).sum() + cost)
        slope = np.where(self._nonnegative, self._correlations, np.abs(self._correlations))
        slope, bound = slope[used], penalty[used]
        excess = max(1.0, np.abs(self._theta).max())
        costly = bound > 0
        excess = max(excess, np.max(slope[costly] / bound[costly], initial=0.0))
        feasible = np.all(slope[~costly] <= 1e3 * VIOLATION * self.norms[used][~costly])
        value = float(self._theta @ self.target) / excess if feasible else 0.0
        if max(value, 0.0) > self._dual_value:
            self._dual_value = max(value, 0.0)
            self.dual = self._theta / excess if value > 0 else np.zeros_like(self._theta)
        self.gap = max(self.primal - self._dual_value, 0.0)
        return Progress(self.primal, self.gap)

    def _read_vertex(self):
        """Copy the solution, the residual and the dual point of the vertex."""
        if not self._lost_vertex:
            vertex = self._vertex
            solve_dual(vertex)
            self._theta = vertex.dual.copy()
            self._residual = vertex.residual + (self.target - vertex.target)
            active = vertex.active[: vertex.size[0]]
            columns = self._members[active]
            self.x = np.zeros(self.norms.size)
            rounding = 1e-14 * np.abs(self.target).max()
            values = np.where(np.abs(vertex.coef[active]) > rounding, vertex.coef[active], 0.0)
            self.x[columns] = values / self._scale[columns]
        self._correlations = self._correlate(self._theta)

    def _correlate(self, theta):
        """Return X' (s theta), and s' theta for the intercept; 2 n_samples n_features flops."""
        weighted = self.row_scale * theta
        correlations = np.empty(self.norms.size)
        with self._blas_threads():
            correlations[: self.n_features] = self.X.T @ weighted
        correlations[self.n_features :] = weighted.sum()
        return correlations

    def _blas_threads(self):
        return contextlib.nullcontext() if self._sparse else short_products(self.X.size)

    def _column_norms(self):
        X, rows = self.X, self.row_scale
        with np.errstate(over="ignore", invalid="ignore"):
            if self._sparse:
                entries = (X.data * rows[X.indices]) ** 2
                squares = sparse.csc_array((entries, X.indices, X.indptr), shape=X.shape)
                squares = np.asarray(squares.sum(axis=0)).ravel()
            else:
                squares = np.einsum("ij,ij,i->j", X, X, rows**2)
        norms = np.sqrt(squares)
        for j in np.flatnonzero(~((squares > 1e-280) & (squares < np.inf))):
            if self._sparse:
                stored = slice(X.indptr[j], X.indptr[j + 1])
                norms[j] = _scaled_norm(X.data[stored] * rows[X.indices[stored]])
            else:
                norms[j] = _scaled_norm(X[:, j] * rows)
        return np.append(norms, [_scaled_norm(rows)] if self.fit_intercept else [])

    def _constant_objective(self, y):
        centre = 0.0
        if self.fit_intercept:
            order = np.argsort(y)
            cumulative = np.cumsum(self.row_scale[order])
            centre = y[order][np.searchsorted(cumulative, 0.5 * cumulative[-1])]
        return float(self.row_scale @ np.abs(y - centre))

    def _next_break_point(self, strength):
        """Return (strength, position of a row or -1, column or -1, sign) of the next change."""
        vertex = self._vertex
        k = vertex.size[0]
        rows, active = vertex.rows[:k], vertex.active[:k]
        inverse = vertex.inverse[:k, :k]
        columns = self._members[active]
        # theta = fixed + strength * moving
        fixed, moving = vertex.row_sign.copy(), np.zeros(self.n_samples)
        fixed[rows] = -(vertex.columns[active] @ vertex.row_sign) @ inverse
        unit = self.weights[columns] / self._scale[columns]
        moving[rows] = (unit * vertex.column_sign[active]) @ inverse
        # Every bound reads offset + strength * rate <= 0, and may break where rate < 0.
        inactive = self._usable.copy()
        inactive[columns] = False
        inactive = np.flatnonzero(inactive)
        offsets, rates = self._correlate(fixed)[inactive], self._correlate(moving)[inactive]
        w, below = self.weights[inactive], ~self._nonnegative[inactive]
        offset = np.concatenate([fixed[rows] - 1, -fixed[rows] - 1, offsets, -offsets[below]])
        rate = np.concatenate([moving[rows], -moving[rows], rates - w, -rates[below] - w[below]])
        size = np.concatenate([np.ones(2 * k), self.norms[inactive], self.norms[inactive][below]])
        breaking = (rate < 0) & (offset > VIOLATION * size)
        if not breaking.any():
            return 0.0, -1, -1, 0.0
        at = np.full(offset.size, -np.inf)
        at[breaking] = -offset[breaking] / rate[breaking]
        best = int(np.argmax(at))
        strength = min(strength, float(at[best]))
        if best < 2 * k:
            return strength, best % k, -1, 1.0 if best < k else -1.0
        best -= 2 * k
        if best < inactive.size:
            return strength, -1, inactive[best], 1.0
        return strength, -1, inactive[below][best - inactive.size], -1.0

    def _reoptimise(self, strength):
        """Solve for ``strength`` from the present vertex; return whether a vertex was found."""
        self.set_penalty(strength)
        for _ in range(100 + self.n_samples + self.norms.size):
            if self.step().stalled:
                return not self._lost_vertex and self._restore_target()
        return False

    def _solve_without_vertex(self):
        """Let HiGHS solve the whole problem; the next penalty starts from a new vertex."""
        used = np.flatnonzero(self._usable & np.isfinite(self._penalty()))
        scale = self._scale[used]
        A = self._scaled(used).T
        solution, self._theta = solve_linear_program(
            A, self.target, self._penalty(used) / scale, self._nonnegative[used]
        )
        self.x = np.zeros(self.norms.size)
        self.x[used] = solution / scale
        self._residual = self.target - A @ solution
        self._lost_vertex = True
        return self._certify()._replace(stalled=True)


def _scaled_norm(vector):
    """Return the Euclidean norm of a vector whose squares may overflow or vanish."""
    largest = np.abs(vector).max(initial=0.0)
    return largest * np.linalg.norm(vector / largest) if largest > 0 else 0.0
