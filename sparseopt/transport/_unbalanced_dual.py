r"""The dual of unbalanced entropic transport, as a function of one potential.

See :mod:`sparseopt.transport._unbalanced` for the problem. With f maximised out, what is left is

    maximise  rho_b b'(1 - exp(-g / rho_b)) + [rho_a a'(1 - exp(-f / rho_a)) - eps sum P](f(g)),

in the variable y = g + eps log b of shape (m,), where f (n,) is a damped Sinkhorn update of g
(Chizat, Peyré, Schmitzer, Vialard 2018).
"""

import math

import numpy as np
from scipy.special import logsumexp

from sparseopt.transport._kernels.relaxed import balance_relaxed_rows
from sparseopt.transport._problem import for_row_blocks
from sparseopt.transport._semidual import NOTHING, Point, SemiDual

SMALLEST_SUM = 1e-290
SMALLEST_SHARE = 1e-100  # of the mass of b: a plan with less counts as that much
ROUNDING = 1e-14  # relative difference of two sums that may be rounding error


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
        self.least_mass = SMALLEST_SHARE * b.sum()

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
            conjugate(f, self.a, self.penalties[0])
            + conjugate(g, self.b, self.penalties[1])
            - self.eps * (mass - self.a.sum() * self.b.sum())
        )
        with np.errstate(invalid="ignore"):  # both may overflow at a trial step
            error = np.sum(np.abs(self._wanted(y) - column_sums)) / max(mass, self.least_mass)
        return Point(x, y, column_sums, float(objective), float(error))

    def gradient(self, point):
        """Return the derivative of the objective in y."""
        return self._wanted(point.y) - point.column_sums

    def diagonals(self, point):
        """Return the diagonals of Newton's system for x and y."""
        rho_a, rho_b = self.penalties
        row_sums = self.a * wanted_share(point.x - self.log_a, rho_a)
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
        # In logarithms: far from the solution the masses themselves overflow.
        excess = self._log_mass(x, self.log_a, 0) - self._log_mass(y, self.log_b, 1)
        return y - excess / rates if ROUNDING < abs(excess) < math.inf else y

    def _log_mass(self, potential, log_masses, side):
        """Return the logarithm of the mass that a potential wants."""
        eps, rho = self.eps, self.penalties[side]
        return logsumexp(log_masses / eps - (potential - log_masses) / rho)

    def _wanted(self, y):
        return self.b * wanted_share(y - self.log_b, self.penalties[1])


def wanted_share(potential, rho):
    """Return what the marginal should be of the mass, exp(-potential / rho)."""
    with np.errstate(over="ignore"):  # at a trial step that is far too long
        return np.exp(-potential / rho)


def conjugate(potential, mass, rho):
    """Return ``rho mass'(1 - exp(-potential / rho))``, or its limit for rho = inf."""
    if math.isinf(rho):
        return mass @ potential
    with np.errstate(over="ignore"):
        return -rho * (mass @ np.expm1(-potential / rho))
