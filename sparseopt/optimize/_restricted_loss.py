"""A penalised smooth loss restricted to some columns: what the solvers on them share.

The state, ``parent``, belongs to ``_prox_newton``: it keeps the coefficients of all
columns, the intercept, the predictions and the derivatives of the loss there. A solver
on a working set proposes steps of its coefficients and of the intercept; a line search
takes as much of each as decreases the objective.
"""

import dataclasses

import numpy as np

from sparseopt.optimize._working_set import penalty_value

MAX_HALVINGS = 30
SUFFICIENT_DECREASE = 1e-4


class RestrictedLoss:
    """The problem restricted to ``columns``, which hold the support.

    A subclass gathers the columns (``_gather``), multiplies by them (``_predict`` and
    ``_correlate``) and solves (``solve``).
    """

    def __init__(self, parent, columns):
        self.parent = parent
        self.columns = columns
        self._gather()
        self.table = np.ascontiguousarray(parent.table[:, self.columns])
        self.penalty = parent.penalty
        if self.penalty.weights is not None:
            weights = self.penalty.weights[self.columns]
            self.penalty = dataclasses.replace(self.penalty, weights=weights)

    @property
    def x(self):
        """The coefficients of the columns, a copy."""
        return self.parent.x[self.columns]

    def _violation(self):
        """Return the largest distance to the optimality conditions."""
        distance = self.penalty.subdifferential_distance(self.x, self._gradient())
        return max(float(np.max(distance, initial=0.0)), self.parent.intercept_violation())

    def _gradient(self):
        """Return the gradient of the loss in the coefficients."""
        return self._correlate(self.parent.derivatives)

    def _intercept_step(self, step, shift):
        """Return the step of the intercept that goes with ``_predict(step, shift)``."""
        return shift

    def _move(self, step, shift, max_halvings=MAX_HALVINGS):
        """Search along the step for a sufficient decrease; tell whether there was one."""
        parent, x = self.parent, self.x
        change = self._predict(step, shift)
        slope = float(np.sum(parent.derivatives * change)) + _penalty_change(self.table, x, step)
        objective = parent.loss_value(parent.predictions) + penalty_value(self.table, x)
        rounding = 10 * np.finfo(x.dtype).eps * abs(objective)
        if not slope < rounding:
            return False
        length = 1.0
        for _ in range(1 + max_halvings):
            predictions = parent.predictions + length * change
            trial = x + length * step
            value = parent.loss_value(predictions) + penalty_value(self.table, trial)
            if value <= objective + SUFFICIENT_DECREASE * length * slope + rounding:
                parent.x[self.columns] = trial
                parent.intercept = parent.intercept + length * self._intercept_step(step, shift)
                parent.predictions = predictions
                return True
            length /= 2
        return False


def _penalty_change(table, x, step):
    """Return the change of the penalty from ``x`` to ``x + step``, without cancellation."""
    new = x + step
    l1 = np.where(x * new > 0, np.sign(x) * step, np.abs(new) - np.abs(x))
    return float(table[0] @ l1 + table[1] @ (step * (x + 0.5 * step)))
