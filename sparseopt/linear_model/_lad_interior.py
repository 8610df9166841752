r"""A few interior-point iterations that tell a simplex where to start.

    maximise <theta, y>  subject to  |theta_i| <= 1,  |A_j' theta| <= penalty_j,  F' theta = 0,

the dual of  minimise ||y - A x - F z||_1 + sum_j penalty_j |x_j|; A (m, n), F (m, f), y (m,).
S. Portnoy and R. Koenker, "The Gaussian hare and the Laplacian tortoise", Statistical Science 12
(1997) 279-300, with the steps of S. Mehrotra, SIAM Journal on Optimization 2 (1992) 575-601.

theta = 0 is strictly feasible and all iterates stay so. With slacks s of the four groups of
inequalities and multipliers z (residuals of either sign, coefficients of either sign) a Newton
step solves ``H dtheta = rhs``, H = diag(z1/s1 + z2/s2) + A diag(z3/s3 + z4/s4) A': m^2 n flops of
BLAS, ten times or so, where a simplex that starts from zero makes thousands of pivots.
"""

import numpy as np
from scipy import linalg

MAX_ITER = 40
RELATIVE_GAP = 1e-4
STEP_SHARE = 0.995  # of the way to the boundary


class InteriorPoint:
    """State of the iteration.

    Parameters
    ----------
    A : ndarray of shape (m, n)
        Penalised columns.
    F : ndarray of shape (m, f)
        Unpenalised columns, linearly independent.
    y : ndarray of shape (m,)
        Target, not zero.
    penalty : ndarray of shape (n,)
        Positive penalties of |x_j|.

    Attributes
    ----------
    theta : ndarray of shape (m,)
        Dual point, strictly feasible.
    kept : ndarray
        Indices of the columns of A that are still considered: columns whose bound is far from
        tight are dropped, since the simplex that follows looks at all columns again.
    z : list of four ndarrays
        Multipliers: r = z[0] - z[1] and x[kept] = z[2] - z[3], at the solution.
    """

    def __init__(self, A, F, y, penalty):
        self.A, self.F, self.y, self.penalty = np.asfortranarray(A), F, y, penalty
        self.kept = np.arange(A.shape[1])
        self.theta = np.zeros(y.size)
        self.free = np.zeros(F.shape[1])
        level = 0.5 * np.abs(y).mean()
        above = np.maximum(y, 0) + level
        coefs = np.full(A.shape[1], level / penalty.mean())
        self.z = [above, above - y, coefs, coefs.copy()]

    def run(self):
        """Iterate until the relative gap is small; return whether it became so."""
        for iteration in range(MAX_ITER):
            correlations = self.A.T @ self.theta
            slacks = self._slacks(self.theta, correlations)
            gap = sum(z @ s for z, s in zip(self.z, slacks, strict=True))
            if not np.isfinite(gap):
                return False
            if gap <= RELATIVE_GAP * (self.theta @ self.y + gap):
                return True
            self._step(slacks, gap)
            if iteration % 3 == 0 and iteration > 0:
                self._drop_columns()
        return False

    def _slacks(self, theta, correlations):
        p = self.penalty
        return [1 - theta, 1 + theta, p - correlations, p + correlations]

    def _step(self, slacks, gap):
        """Predict with a pure Newton step, then centre and correct."""
        z = self.z
        ratios = [multiplier / slack for multiplier, slack in zip(z, slacks, strict=True)]
        half = np.multiply(self.A, np.sqrt(ratios[2] + ratios[3]), order="F")
        H = linalg.blas.dsyrk(1.0, half, lower=True)  # the upper triangle is not read
        H[np.diag_indices_from(H)] += ratios[0] + ratios[1]
        factor = linalg.cho_factor(H, lower=True, overwrite_a=True, check_finite=False)
        affine = self._direction(factor, slacks, ratios, [0.0] * 4)
        dual_step, step = self._lengths(slacks, *affine)
        left = sum(
            (m + step * dm) @ (s + dual_step * ds)
            for m, dm, s, ds in zip(z, affine[0], slacks, affine[1], strict=True)
        )
        centre = (left / gap) ** 3 * gap / sum(m.size for m in z)
        products = [centre - dm * ds for dm, ds in zip(affine[0], affine[1], strict=True)]
        moves = self._direction(factor, slacks, ratios, products)
        dual_step, step = (STEP_SHARE * length for length in self._lengths(slacks, *moves))
        self.theta = self.theta - dual_step * moves[1][0]
        self.free = self.free + step * moves[2]
        self.z = [m + step * dm for m, dm in zip(z, moves[0], strict=True)]

    def _direction(self, factor, slacks, ratios, products):
        """Return the changes of z, of the slacks and of the free coefficients.

        They bring every product z s to its value in ``products``, to first order.
        """
        z, A, F = self.z, self.A, self.F
        fixed = [product / s - m for product, s, m in zip(products, slacks, z, strict=True)]
        residual = self.y - (z[0] - z[1]) - A @ (z[2] - z[3]) - F @ self.free
        rhs = residual - (fixed[0] - fixed[1]) - A @ (fixed[2] - fixed[3])
        change = linalg.cho_solve(factor, rhs, check_finite=False)
        free = np.zeros(F.shape[1])
        if free.size:
            solved = linalg.cho_solve(factor, F, check_finite=False)
            free = linalg.solve(F.T @ solved, F.T @ change)
            change = change - solved @ free
        image = A.T @ change
        slack_changes = [-change, change, -image, image]
        changes = [f - r * ds for f, r, ds in zip(fixed, ratios, slack_changes, strict=True)]
        return changes, slack_changes, free

    def _lengths(self, slacks, changes, slack_changes, _):
        """Return the longest steps, at most 1, that keep slacks and multipliers positive."""

        def longest(values, moves):
            return 1 / max(1.0, *(np.max(-dv / v, initial=0.0) for v, dv in zip(values, moves)))

        return longest(slacks, slack_changes), longest(self.z, changes)

    def _drop_columns(self):
        share = np.abs(self.A.T @ self.theta) / self.penalty
        coefs = np.abs(self.z[2] - self.z[3])
        kept = (share > 0.5) | (coefs > 1e-2 * coefs.max(initial=0.0))
        if kept.sum() > 0.9 * kept.size:
            return
        self.kept, self.penalty = self.kept[kept], self.penalty[kept]
        self.A = np.asfortranarray(self.A[:, kept])
        self.z[2], self.z[3] = self.z[2][kept], self.z[3][kept]


def guess_basis(A, F, y, penalty):
    """Guess which coefficients differ from zero, and which rows are interpolated.

    Parameters
    ----------
    A, F, y, penalty
        As in :class:`InteriorPoint`.

    Returns
    -------
    guess : tuple of (columns, signs, rows) or None
        Columns of A with the signs of their coefficients, and with the f unpenalised columns as
        many rows in all; None if the iteration broke down.
    """
    point = InteriorPoint(A, F, y, penalty)
    with np.errstate(all="ignore"):
        try:
            if not point.run():
                return None
        except (linalg.LinAlgError, ValueError):
            return None
    coefs = point.z[2] - point.z[3]
    sizes, room = np.abs(coefs), 1 - np.abs(point.theta)
    n_coefs = np.count_nonzero(sizes > 1e-3 * sizes.max(initial=0.0)) + F.shape[1]
    size = min(n_coefs, np.count_nonzero(room > 1e-2))
    if size <= F.shape[1]:
        return None
    chosen = np.argsort(-sizes, kind="stable")[: size - F.shape[1]]
    rows = np.argsort(-room, kind="stable")[:size]
    return point.kept[chosen], np.where(coefs[chosen] < 0, -1.0, 1.0), rows
