r"""Orthogonal matching pursuit with a Kronecker-structured dictionary and support.

C. F. Caiafa & A. Cichocki, "Computing sparse representations of multidimensional signals using
Kronecker bases", Neural Computation 25 (2013). The support is S_1 × ... × S_I; each iteration adds
the indices of the column of A_1 ⊗ ... ⊗ A_I that correlates most with the residual of

    min || Y - (A_1[:, S_1] ⊗ ... ⊗ A_I[:, S_I]) X ||,

for factors A_d (m_d, n_d) and measurements Y (m_1, ..., m_I[, L]). The projection is that of each
axis on the span of its columns, so that QR factorisations of the factors solve it.
"""

import numpy as np

from sparseopt._core import (
    Progress,
    array_namespace,
    check_at_least_one,
    check_nonnegative,
    iterate,
    to_numpy,
)
from sparseopt.sparse_bayes._kronecker_dictionary import (
    adjoint,
    mode_products,
    outer_product,
    squared_magnitude,
)
from sparseopt.sparse_bayes._kronecker_problem import check_measurements
from sparseopt.sparse_bayes._kronecker_scaling import check_representable, scale_problem
from sparseopt.sparse_bayes._kronecker_state import KroneckerEstimate, expand
from sparseopt.sparse_bayes._kronecker_steps import like


class _Pursuit:
    """Supports, the orthonormal bases of their columns, and the residual."""

    def __init__(self, factors, Y, limits, tol, scales):
        xp = array_namespace(Y)
        self.factors, self.Y, self.limits, self.tol, self.scales = factors, Y, limits, tol, scales
        self.shape = tuple(factor.shape[1] for factor in factors)
        self.supports: list[list[int]] = [[] for _ in factors]
        norms = [to_numpy(xp.sqrt(xp.sum(squared_magnitude(A), axis=0))) for A in factors]
        self.weights = [np.divide(1.0, n, out=np.zeros_like(n), where=n > 0) for n in norms]
        self.residual = Y
        every = [np.arange(n) for n in self.shape]
        self.x = KroneckerEstimate(self._zeros(), every, self.shape, scales)

    def _zeros(self):
        xp = array_namespace(self.Y)
        targets = self.Y.shape[len(self.factors) :]
        return xp.zeros((*self.shape, *targets), dtype=self.Y.dtype, device=self.Y.device)

    def progress(self):
        """Return the squared norm of the residual, and 0 as its certificate once done."""
        xp = array_namespace(self.Y)
        norm = float(xp.sum(squared_magnitude(self.residual))) * self.scales.noise
        full = all(
            len(support) >= limit for support, limit in zip(self.supports, self.limits, strict=True)
        )
        return Progress(norm, 0.0 if norm <= self.tol or full else norm)

    def step(self, state):
        """Add the best column, and solve on the new support."""
        xp = array_namespace(self.Y)
        correlations = mode_products([adjoint(factor) for factor in self.factors], self.residual)
        strength = squared_magnitude(correlations)
        if strength.ndim > len(self.factors):
            strength = xp.sum(strength, axis=-1)
        allowed = [like(weight**2, strength) for weight in self._allowed()]
        strength = strength * outer_product(allowed)
        best = int(xp.argmax(xp.reshape(strength, (-1,))))
        column = np.unravel_index(best, self.shape)
        added = False
        for d, index in enumerate(map(int, column)):
            if index not in self.supports[d]:
                added |= self._add(d, index)
        if not added:
            # What is left of the residual is rounding, or depends on what was chosen.
            self.limits = [len(support) for support in self.supports]
            return self.progress()
        self._solve()
        return self.progress()

    def _allowed(self):
        """Return the weights of columns, zero for new ones where a factor's support is full."""
        allowed = []
        for weights, support, limit in zip(self.weights, self.supports, self.limits, strict=True):
            if len(support) >= limit:
                mask = np.zeros_like(weights)
                mask[support] = 1.0
                weights = weights * mask
            allowed.append(weights)
        return allowed

    def _add(self, d, index):
        """Add a column unless it depends on those that the factor has."""
        candidate = [*self.supports[d], index]
        if self.weights[d][index] == 0:
            return False
        _, R = self._qr(d, candidate)
        xp = array_namespace(R)
        last = float(xp.abs(R[-1, -1])) * self.weights[d][index]
        if last <= 100 * float(xp.finfo(R.dtype).eps) * self.factors[d].shape[0]:
            self.weights[d][index] = 0.0
            return False
        self.supports[d] = candidate
        return True

    def _qr(self, d, support):
        factor = self.factors[d]
        xp = array_namespace(factor)
        where = xp.asarray(np.array(support), device=factor.device)
        return xp.linalg.qr(xp.take(factor, where, axis=1))

    def _solve(self):
        xp = array_namespace(self.Y)
        pairs = [self._qr(d, support) for d, support in enumerate(self.supports)]
        scores = mode_products([adjoint(Q) for Q, _ in pairs], self.Y)
        self.residual = self.Y - mode_products([Q for Q, _ in pairs], scores)
        mean = scores
        for axis, (_, R) in enumerate(pairs):
            rows = xp.reshape(xp.moveaxis(mean, axis, 0), (R.shape[0], -1))
            moved = [mean.shape[axis], *mean.shape[:axis], *mean.shape[axis + 1 :]]
            mean = xp.moveaxis(xp.reshape(xp.linalg.solve(R, rows), tuple(moved)), 0, axis)
        # Estimates take increasing indices.
        orders = [np.argsort(support) for support in self.supports]
        for axis, order in enumerate(orders):
            mean = xp.take(mean, xp.asarray(order, device=mean.device), axis=axis)
        kept = [np.sort(np.array(support)) for support in self.supports]
        self.x = KroneckerEstimate(mean, kept, self.shape, self.scales)


def kronecker_omp(factors, Y, *, n_nonzero_coefs=None, tol=None, callback=None):
    """Run orthogonal matching pursuit over a Kronecker-structured support.

    The function of arrays that :class:`KroneckerOMP` calls, whose documentation explains the
    arguments. The arrays may be of any library that follows the array API.

    Returns
    -------
    result : OptimizeResult
        ``coef`` (n_1, ..., n_I[, L]), ``supports``, ``fun`` (the squared norm of the residual),
        ``nit``, ``success``, ``status``, ``message``, ``history``.
    """
    factors, Y = check_measurements(factors, Y)
    limits = _check_limits(factors, n_nonzero_coefs, tol)
    tol = -1.0 if tol is None else check_nonnegative(tol, "tol")
    factors, Y, scales = scale_problem(factors, Y)
    xp = array_namespace(Y)
    state = _Pursuit(factors, Y, limits, tol, scales)
    initial = state.progress()
    if initial.objective == 0:
        initial = initial._replace(certificate=0.0)
    result = iterate(
        lambda pursuit: pursuit.step(pursuit),
        state,
        max_iter=sum(limits) + 1,
        tol=0.0,
        method="Kronecker orthogonal matching pursuit",
        initial=initial,
        callback=callback,
        certificate_name="squared norm of the residual",
        descends=True,
        warn=False,
    )
    if result.success:
        size = " x ".join(str(len(support)) for support in state.supports)
        result.message = (
            f"Kronecker orthogonal matching pursuit chose {size} columns; the squared norm of the "
            f"residual is {result.fun:.3g}."
        )
    result.coef = result.x.coefficients()
    there = expand(state.x.mean != 0, state.x.kept, state.shape)
    check_representable("coef", result.coef, there)
    result.supports = [
        xp.asarray(np.isin(np.arange(n), support), device=Y.device)
        for n, support in zip(state.shape, state.supports, strict=True)
    ]
    return result


def _check_limits(factors, n_nonzero_coefs, tol):
    """Return the largest number of columns of each factor."""
    largest = [min(int(n) for n in factor.shape) for factor in factors]
    if n_nonzero_coefs is None:
        if tol is not None:
            return largest
        tenths = [max(int(0.1 * factor.shape[1]), 1) for factor in factors]
        return [min(pair) for pair in zip(tenths, largest, strict=True)]
    limits = [n_nonzero_coefs] * len(factors) if np.ndim(n_nonzero_coefs) == 0 else n_nonzero_coefs
    limits = [check_at_least_one(limit, "n_nonzero_coefs") for limit in limits]
    if len(limits) != len(factors):
        raise ValueError(
            f"n_nonzero_coefs must be one number or one a factor ({len(factors)}), got "
            f"{len(limits)}."
        )
    for limit, factor in zip(limits, factors, strict=True):
        if not 1 <= limit <= factor.shape[1]:
            raise ValueError(
                "n_nonzero_coefs must be between 1 and the number of columns of the factor, "
                f"{factor.shape[1]}, got {limit}."
            )
    return [min(pair) for pair in zip(limits, largest, strict=True)]
