"""What a solver of entropic transport returns: potentials, values, and the plan on demand."""

import numpy as np
from scipy import sparse as sp
from scipy.optimize import OptimizeResult

from sparseopt.transport._implicit import plan_derivative
from sparseopt.transport._kernels import cpu as kernels

BLOCK_ENTRIES = 2**20  # entries of the plan in memory at once where it is not asked for


class OTResult(OptimizeResult):
    """Solution of an entropic transport problem.

    Potentials are in the units of the cost and give the plan
    ``P[i, j] = a[i] b[j] exp((f[i] + g[j] - C[i, j]) / reg)``. Only their sum is determined;
    they are shifted so that ``a @ f == b @ g``. On bins without mass they are extended by
    the condition that holds on the others (any number where all their costs are infinite),
    and the plan is zero.

    Parameters
    ----------
    cost : Cost
        The costs; solvers make results, users need not.
    potentials : tuple of (ndarray of shape (n,), ndarray of shape (m,))
        In float64.
    **fields
        The other attributes, and ``dtype``, that of ``f`` and ``g``, and ``offset``, a constant
        that ``cost`` lacks, half of which each potential lacks.

    Attributes
    ----------
    f, g : ndarray of shape (n,) and (m,)
        Potentials.
    value : float
        ``a @ f + b @ g``, the optimal ``<P, C> + reg KL(P | a b')``.
    value_linear : float
        Transport cost ``<P, C>`` of the plan.
    value_entropy : float
        ``<P, C> + reg sum P log P``.
    kl : float
        ``KL(P | a b') = sum P log(P / (a b'))``, the derivative of ``value`` in ``reg``.
    marginal_error : tuple of float
        ``|P 1 - a|_1`` and ``|P' 1 - b|_1``.
    n_iter, n_sweeps, n_newton, n_cg : int
        Sweeps and Newton steps together; Sinkhorn sweeps; Newton steps; conjugate gradient
        iterations.
    converged : bool
        Whether the marginal error reached the tolerance.
    message : str
        Why the run ended.
    reg : float
        Regularisation, in the units of the cost.
    history : dict of ndarray
        One entry a report of the solver: ``iteration``, ``time``, ``objective``,
        ``certificate`` (the marginal error), ``reg``, ``n_sweeps``, ``n_newton`` and
        ``n_kept``, the entries of the plan in the last Newton system.
    a, b : ndarray of shape (n,) and (m,)
        The masses.
    x, fun, nit, success, status, certificate
        What every solver of the package reports: both potentials one after the other,
        ``value``, ``n_iter``, ``converged``, a number that tells why the run ended (0:
        converged), and the marginal error.

    See Also
    --------
    sinkhorn : Where results come from.

    Examples
    --------
    >>> from sparseopt.transport import sinkhorn
    >>> result = sinkhorn(X=[[0.0], [1.0]], Y=[[0.0], [1.0], [2.0]], reg=0.1)
    >>> result.apply([1.0, 1.0, 1.0]).round(6)
    array([0.5, 0.5])
    >>> result.barycentric_map().round(3)
    array([[0.333],
           [1.667]])
    """

    def __init__(self, cost, potentials, **fields):
        dtype = fields.pop("dtype", np.float64)
        offset = fields.pop("offset", 0.0)
        f, g = (potential + offset / 2 for potential in potentials)
        super().__init__(
            f=f.astype(dtype), g=g.astype(dtype), x=np.concatenate([f, g]).astype(dtype), **fields
        )
        object.__setattr__(self, "_offset", offset)
        object.__setattr__(self, "_cost", cost)
        object.__setattr__(self, "_potentials", potentials)

    def __repr__(self):
        n, m = self.f.size, self.g.size
        return (
            f"<{type(self).__name__} {n} x {m}: value {self.value:.6g}, reg {self.reg:.3g}, "
            f"{self.n_sweeps} sweeps, {self.n_newton} Newton steps, "
            f"marginal error {self.certificate:.2g}>"
        )

    __str__ = __repr__

    def plan(self, sparse=False, threshold=0.0):
        """Compute the transport plan.

        Parameters
        ----------
        sparse : bool, default=False
            Whether to return a CSR array, in memory proportional to its entries.
        threshold : float, default=0.0
            Entries up to it become zero.

        Returns
        -------
        plan : ndarray or csr_array of shape (n, m)
            Computed at each call.
        """
        n, m = self.f.size, self.g.size
        if not sparse:
            plan = self._rows(0, n)
            if threshold > 0:
                plan[plan <= threshold] = 0.0
            return plan.astype(self.f.dtype, copy=False)
        blocks = []
        for _, rows in self._blocks():
            rows[rows <= threshold] = 0.0
            blocks.append(sp.csr_array(rows.astype(self.f.dtype, copy=False)))
        return sp.vstack(blocks, format="csr") if blocks else sp.csr_array((n, m))

    def apply(self, V, axis=1):
        """Multiply by the plan without storing it.

        Parameters
        ----------
        V : array-like of shape (m,), (m, k) or, for ``axis=0``, (n,), (n, k)
            What to multiply.
        axis : {0, 1}, default=1
            The axis of the plan that is summed over: 1 gives ``P @ V``, 0 gives ``P.T @ V``.

        Returns
        -------
        product : ndarray of shape (n,), (n, k) or, for ``axis=0``, (m,), (m, k)
            The product.
        """
        if axis not in (0, 1):
            raise ValueError(f"axis must be 0 or 1, got {axis!r}.")
        V = self._factor(V, axis)
        product = np.zeros(((self.g.size, self.f.size)[axis], *V.shape[1:]))
        for block, rows in self._blocks():
            if axis == 1:
                product[block] = rows @ V
            else:
                product += rows.T @ V[block]
        return product.astype(self.f.dtype, copy=False)

    def barycentric_map(self, V=None):
        """Average the targets that each source is sent to.

        Parameters
        ----------
        V : array-like of shape (m,) or (m, k), optional
            What to average; the target points by default, if the cost came from points.

        Returns
        -------
        images : ndarray of shape (n,) or (n, k)
            ``sum_j P_ij V_j / sum_j P_ij``; sources without mass are sent as the
            potentials say, those without finite costs nowhere (NaN).
        """
        if V is None:
            V = self._points("barycentric_map")[1]
        V = self._factor(V, 1)
        images = np.empty((self.f.size, *V.shape[1:]))
        for block, rows in self._blocks(np.zeros(self.f.size)):
            sums = np.sum(rows, axis=1)
            sums[sums == 0] = np.nan
            images[block] = (rows @ V) / sums.reshape((-1,) + (1,) * (V.ndim - 1))
        return images.astype(self.f.dtype, copy=False)

    def grad_C(self):
        """Return the derivative of ``value`` in the cost matrix: the plan."""
        return self.plan()

    def grad_a(self):
        """Return the derivative of ``value`` in ``a``, up to a constant: ``f``, centred.

        Masses must keep their sum, so that only differences between its entries matter;
        ``a @ grad_a() == 0``.
        """
        f = self._potentials[0]
        return (f - self.a @ f / self.a.sum()).astype(self.f.dtype)

    def grad_b(self):
        """Return the derivative of ``value`` in ``b``, up to a constant: ``g``, centred."""
        g = self._potentials[1]
        return (g - self.b @ g / self.b.sum()).astype(self.f.dtype)

    def grad_X(self):
        """Return the derivative of ``value`` in the source points, with masses held.

        Returns
        -------
        gradient : ndarray of shape (n, n_features)
            ``sum_j P_ij d c(X_i, Y_j) / d X_i``. Where a distance has a kink (at coinciding
            points, or coordinates for "cityblock") its term is zero.

        Raises
        ------
        ValueError
            If the cost was given as a matrix, or for another metric than "sqeuclidean",
            "euclidean" and "cityblock".
        """
        X, Y = self._points("grad_X")
        gradient = np.empty(X.shape)
        for block, rows in self._blocks():
            gradient[block] = _slopes(X[block], Y, rows, self._cost.metric)
        return gradient.astype(self.f.dtype, copy=False)

    def grad_Y(self):
        """Return the derivative of ``value`` in the target points, as :meth:`grad_X` does."""
        X, Y = self._points("grad_Y")
        gradient = np.zeros(Y.shape)
        for block, rows in self._blocks():
            gradient += _slopes(Y, X[block], rows.T, self._cost.metric)
        return gradient.astype(self.f.dtype, copy=False)

    def plan_derivative(self, direction):
        """Compute how the plan changes as the costs do.

        Parameters
        ----------
        direction : array-like of shape (n, m)
            What is added to the costs, times an infinitesimal number. Entries where the cost
            is infinite do not matter.

        Returns
        -------
        derivative : ndarray of shape (n, m)
            Directional derivative of :meth:`plan`, by the implicit function theorem: one linear
            system with Newton's matrix. That of a loss ``<W, P>`` in the costs is
            ``plan_derivative(W)``, since the second derivative of ``value`` is symmetric.

        Warns
        -----
        ConvergenceWarning
            If the system was not solved to full accuracy.
        """
        shape = (self.f.size, self.g.size)
        if np.iscomplexobj(direction):
            raise ValueError("direction must be real, got complex values.")
        direction = np.asarray(direction, dtype=np.float64)
        if direction.shape != shape:
            raise ValueError(
                f"direction must have the shape of the plan, {shape}, got {direction.shape}."
            )
        plan = self._rows(0, shape[0])
        direction = np.where(plan > 0, direction, 0.0)
        if not np.isfinite(direction).all():
            raise ValueError("direction must be finite, got NaN or infinite entries.")
        penalties = self.get("reg_m", (np.inf, np.inf))
        derivative = plan_derivative(plan, direction, self.reg, penalties)
        return derivative.astype(self.f.dtype, copy=False)

    def rounded_plan(self):
        """Return a plan near this one whose marginals are exact.

        Returns
        -------
        plan : ndarray of shape (n, m)
            At most twice the marginal error away, in the sum of absolute differences.

        References
        ----------
        Altschuler, Weed, Rigollet (2017). Near-linear time approximation algorithms for
        optimal transport via Sinkhorn iteration. NeurIPS 30.
        """
        plan = self._rows(0, self.f.size)
        row_factor, column_factor, lacking_a, lacking_b = self._rounding()
        plan *= row_factor[:, None]
        plan *= column_factor
        missing = lacking_a.sum()
        if missing > 0:
            plan += np.outer(lacking_a, lacking_b / missing)
        return plan.astype(self.f.dtype, copy=False)

    def gap(self):
        """Return how far the rounded plan is from an optimal plan without regularisation.

        Returns
        -------
        gap : float
            The cost of :meth:`rounded_plan` minus a lower bound on the cost of every plan,
            the dual value of potentials made feasible by ``g_j = min_i C_ij - f_i``. It
            includes what the regularisation costs, at most ``reg`` times the entropy of
            ``a`` or ``b``, and never underestimates the distance.
        """
        upper, lower = self._shifted_bounds()
        return upper - lower

    def _bounds(self):
        """Return the cost of the rounded plan, and a bound on every plan's cost."""
        constant = self._offset * self.a.sum()
        upper, lower = self._shifted_bounds()
        return upper + constant, lower + constant

    def _shifted_bounds(self):
        row_factor, column_factor, lacking_a, lacking_b = self._rounding()
        missing = lacking_a.sum()
        share = lacking_b / missing if missing > 0 else lacking_b
        f = self._potentials[0]
        upper = 0.0
        g = np.full(self.g.size, np.inf)
        for block, rows in self._blocks():
            C = self._cost.restrict(block, slice(None)).dense()
            rows *= row_factor[block, None]
            rows *= column_factor
            rows += np.outer(lacking_a[block], share)
            upper += float(np.sum(np.multiply(rows, C, where=rows > 0, out=np.zeros_like(C))))
            np.minimum(g, np.min(C - f[block, None], axis=0), out=g)
        g[np.isinf(g)] = 0.0  # bins without mass, all of whose costs are infinite
        f_best = np.full(f.size, np.inf)
        n_rows = max(1, BLOCK_ENTRIES // g.size)
        for start in range(0, f.size, n_rows):
            block = slice(start, start + n_rows)
            C = self._cost.restrict(block, slice(None)).dense()
            f_best[block] = np.min(C - g, axis=1)
        f_best[np.isinf(f_best)] = 0.0
        return upper, float(self.a @ f_best + self.b @ g)

    def _rounding(self):
        """Return row and column factors, and the masses that then lack."""
        n, m = self.f.size, self.g.size
        rows = np.concatenate([np.sum(block, axis=1) for _, block in self._blocks()])
        row_factor = np.minimum(1.0, np.divide(self.a, rows, out=np.ones(n), where=rows > 0))
        columns = np.zeros(m)
        for block, plan in self._blocks():
            columns += row_factor[block] @ plan
        column_factor = np.minimum(
            1.0, np.divide(self.b, columns, out=np.ones(m), where=columns > 0)
        )
        lacking_b = np.maximum(self.b - column_factor * columns, 0.0)
        sums = np.empty(n)
        for block, plan in self._blocks():
            sums[block] = row_factor[block] * (plan @ column_factor)
        lacking_a = np.maximum(self.a - sums, 0.0)
        return row_factor, column_factor, lacking_a, lacking_b

    def _factor(self, V, axis):
        """Return what the plan is multiplied by, checked."""
        shape = (self.f.size, self.g.size)
        if np.iscomplexobj(V):
            raise ValueError("V must be real, got complex values.")
        V = np.asarray(V, dtype=np.float64)
        if V.ndim not in (1, 2) or V.shape[0] != shape[axis]:
            raise ValueError(
                f"V must have {shape[axis]} rows for axis={axis} of a plan of shape {shape}, "
                f"got shape {V.shape}."
            )
        return V

    def _points(self, method):
        if self._cost.X is None:
            raise ValueError(f"{method} needs points: call sinkhorn with X and Y instead of C.")
        return self._cost.X, self._cost.Y

    def _rows(self, start, stop, log_a=None):
        """Return rows of the plan, or of the plan with other logarithms of the masses."""
        f, g = self._potentials
        plan = np.empty((stop - start, g.size))
        with np.errstate(divide="ignore"):
            x = f + self.reg * (np.log(self.a) if log_a is None else log_a)
            y = g + self.reg * np.log(self.b)
        kernels.plan_rows(self._cost.arguments, x, y, self.reg, start, stop, plan)
        return plan

    def _blocks(self, log_a=None):
        n_rows = max(1, BLOCK_ENTRIES // self.g.size)
        for start in range(0, self.f.size, n_rows):
            stop = min(start + n_rows, self.f.size)
            yield slice(start, stop), self._rows(start, stop, log_a)


def _slopes(X, Y, weights, metric):
    """Return ``sum_j weights_ij d c(X_i, Y_j) / d X_i``."""
    if metric == "sqeuclidean":
        return 2 * (np.sum(weights, axis=1)[:, None] * X - weights @ Y)
    if metric == "euclidean":
        distance = np.sqrt(np.sum((X[:, None, :] - Y[None, :, :]) ** 2, axis=2))
        weights = np.divide(weights, distance, out=np.zeros_like(distance), where=distance > 0)
        return np.sum(weights, axis=1)[:, None] * X - weights @ Y
    if metric == "cityblock":
        slopes = [
            np.sum(weights * np.sign(X[:, k, None] - Y[None, :, k]), axis=1)
            for k in range(X.shape[1])
        ]
        return np.stack(slopes, axis=1)
    raise ValueError(
        'Gradients in the points need the metric "sqeuclidean", "euclidean" or "cityblock", '
        f"got {metric!r}."
    )
