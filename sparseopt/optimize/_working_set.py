r"""The least-squares problem restricted to a working set, solved on its own columns.

Cyclic epochs settle which coefficients are zero. While signs (for complex data: phases,
to first order) stay, the objective is a quadratic in the support, which Newton steps
minimise with cached Gram entries; where those do not pay, Anderson extrapolation of the
last epochs [1] takes their place.

[1] Bertrand, Massias (2021). Anderson acceleration of coordinate descent. AISTATS.
"""

import math

import numpy as np

from sparseopt._core._linalg import anderson_extrapolation
from sparseopt.optimize._penalties import NONNEGATIVE_ELASTIC_NET
from sparseopt.optimize._working_blocks import working_block

EPOCHS_PER_ROUND = 5
MAX_ROUNDS = 40
MAX_NEWTON_STEPS = 10
CHEAP_NEWTON = 20  # epochs that cost no less than the Newton step


class WorkingSetProblem:
    """The problem restricted to a working set, on a gathered block of columns."""

    def __init__(self, parent, working_set):
        self.parent = parent
        self.working_set = working_set
        self.block = working_block(parent.design, working_set)
        self.table = np.ascontiguousarray(parent.table[:, working_set])
        self.dual_table = parent.dual_table[:, working_set]
        self.x = parent.x[working_set]
        self.residual = parent.residual.copy()
        # A coefficient that moves by less than this in the norm of the predictions rests.
        self.rest = 1e-2 * np.finfo(self.x.real.dtype).eps * math.sqrt(parent.target_norm_squared)

    def solve(self, target_gap):
        """Return coefficients whose duality gap is at most ``target_gap``, if reachable."""
        objective = self._objective(self.x, self.residual)
        for round_number in range(MAX_ROUNDS):
            if self._newton_pays():
                rests = self._epochs(1) or self._epochs(EPOCHS_PER_ROUND - 1, skip_zeros=True)
                # The first epochs may do, but accuracy that costs little is worth having.
                if round_number > 0 or self._newton_pays(replaced_epochs=CHEAP_NEWTON):
                    self._newton_steps()
            else:
                rests = self._anderson_round()
            if rests or self._gap() <= target_gap:
                break
            before, objective = objective, self._objective(self.x, self.residual)
            if before - objective <= np.finfo(self.x.dtype).eps * objective:
                break  # rounding forbids more, as between columns that nearly coincide
        return self.x

    def _objective(self, x, residual):
        return 0.5 * norm_squared(residual) + penalty_value(self.table, x)

    def _gap(self):
        point, correlations = self.parent.dual_point(self.residual, self.block.correlate)
        slope = self.parent.slope(correlations)
        _, value = self.parent.scaled_dual(point, slope, self.dual_table)
        return self._objective(self.x, self.residual) - value

    def _epochs(self, n_epochs, *, skip_zeros=False):
        """Run epochs; True if all coefficients came to rest.

        Skipping those at zero saves most of the work, and cannot tell the latter.
        """
        rests = self.block.epochs(
            self.parent.code, self.table, self.x, self.residual, n_epochs,
            skip_zeros=skip_zeros, tolerance=self.rest,
        )  # fmt: skip
        return rests and not skip_zeros

    def _newton_pays(self, replaced_epochs=200):
        """Tell whether a Newton step on the support costs less than so many epochs.

        A Cholesky factorisation of s columns costs s^3/3 flops, an epoch about two for
        each stored entry of the working set. In complex data both an unknown and a row
        count twice.
        """
        support = np.count_nonzero(self.x)
        epoch, size = 2 * self.block.n_stored, support
        if np.iscomplexobj(self.x):
            epoch, size = 4 * epoch, 2 * support
        return support <= self.parent.gram.max_features and size**3 / 3 <= replaced_epochs * epoch

    def _newton_steps(self):
        """Take Newton steps on the support, several where it is too large to be final."""
        for _ in range(MAX_NEWTON_STEPS):
            overfull = np.count_nonzero(self.x) > self.residual.size
            if not (self._newton_pays() and self._newton_step() and overfull):
                break

    def _newton_step(self):
        """Move towards the minimiser over the current support and signs.

        Coefficients whose sign would change are set to zero. Returns whether that
        happened.
        """
        support = self.x.nonzero()[0]
        if support.size == 0:
            return False
        x, signs = self.x[support], np.sign(self.x[support])
        l1, ridge = self.table[:, support]
        gradient = self.block.correlate_positions(self.residual, support) - l1 * signs - ridge * x
        features, is_complex = self.working_set[support], np.iscomplexobj(x)
        if is_complex:
            direction = self.parent.gram.solve_with_phases(
                features, ridge, l1 / np.abs(x), signs, gradient
            )
        else:
            direction = self.parent.gram.solve(features, ridge, gradient)
        if direction is None:
            return False
        before = self._objective(self.x, self.residual)
        shortest = 0.1 if is_complex else _first_sign_change(x, direction)
        for length in (1.0, 0.5, shortest):
            moved = x + length * direction
            outward = np.real(np.conj(signs) * moved)
            crossed = outward <= 4 * np.finfo(x.dtype).eps * np.abs(x)
            trial = self.x.copy()
            trial[support] = np.where(crossed, 0, moved)
            residual = self.residual - self.block.predict(support, trial[support] - x)
            if self._objective(trial, residual) < before:
                self.x, self.residual = trial, residual
                return bool(crossed.any())
        return False

    def _anderson_round(self):
        """Run epochs one by one, then try their Anderson extrapolation."""
        iterates = [self.x.copy()]
        for epoch in range(EPOCHS_PER_ROUND):
            if self._epochs(1, skip_zeros=epoch > 0):
                return True
            iterates.append(self.x.copy())
        extrapolated = anderson_extrapolation(np.array(iterates))
        if extrapolated is None:
            return False
        if self.parent.code == NONNEGATIVE_ELASTIC_NET:
            extrapolated = np.maximum(extrapolated, 0)
        change = np.flatnonzero(extrapolated != self.x)
        residual = self.residual - self.block.predict(change, (extrapolated - self.x)[change])
        if self._objective(extrapolated, residual) < self._objective(self.x, self.residual):
            self.x, self.residual = extrapolated, residual
        return False


def _first_sign_change(x, direction):
    """Return the largest step length, at most 1, that changes no sign."""
    against = x * direction < 0
    return np.min(-x[against] / direction[against], initial=1.0)


def penalty_value(table, x):
    """Return the penalty of ``x`` by its kernel table."""
    support = x.nonzero()[0]
    modulus = np.abs(x[support])
    l1, ridge = table[:, support]
    return float(l1 @ modulus + 0.5 * ((ridge * modulus) @ modulus))  # squares could overflow


def norm_squared(vector):
    """Return the squared 2-norm as a float."""
    return float(np.vdot(vector, vector).real)
