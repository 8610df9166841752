"""Columns of the global bound on a problem's Hessian, kept for the greedy rules."""

import numpy as np

from sparseopt.optimize._kernels import blocks as kernels

LARGEST_CACHE = 2**24  # numbers, 128 MiB


class BoundColumns:
    """Columns of the bound that have been asked for.

    Greedy rules choose the same variables again and again. A column costs as much as a
    gradient, for a sparse design as much as the rows that it meets; once it is here, a
    product with it costs two flops an entry.

    Parameters
    ----------
    problem : BlockProblem
        The problem.
    """

    def __init__(self, problem):
        self.problem = problem
        self._slots = np.full(problem.n_variables, -1)
        self._rows: np.ndarray | None = None
        self._used = 0
        self._capacity = min(LARGEST_CACHE // problem.n_variables, problem.n_variables)
        self._curvatures = np.full(problem.n_variables, np.nan)  # NaN is never the largest
        self._curvatures[problem.usable] = problem.lipschitz[problem.usable]

    def hold(self, indices):
        """Return whether the columns of all ``indices`` are here."""
        return bool(np.all(self._slots[indices] >= 0))

    def rows(self, indices):
        """Return the columns ``indices`` as rows, or None if there is no room for them."""
        missing = indices[self._slots[indices] < 0]
        if not self._add(missing):
            return None
        return self._rows[self._slots[indices]]

    def _add(self, missing):
        if self._used + missing.size > self._capacity:
            return False
        if self._rows is None:  # the system provides the memory as it is written to
            self._rows = np.empty((self._capacity, self.problem.n_variables))
        for index in missing:
            self.problem.write_bound_column(index, self._rows[self._used])
            self._slots[index] = self._used
            self._used += 1
        return True

    def grow(self, gradient, size):
        """Return a block of ``size`` variables, grown one by one; see gsq of ``_block_rules``.

        None if there is no room, or if the bound of the block is singular.
        """
        if not self._add(np.empty(0, dtype=np.intp)):
            return None
        chosen, factor = np.empty(size, dtype=np.intp), np.empty((size, size))
        count, curvatures, corrected = 0, self._curvatures.copy(), np.empty_like(gradient)
        while True:
            count = kernels.grow_block(
                gradient, curvatures, self._rows, self._slots, chosen, count, factor, corrected
            )
            if count == size:
                return np.sort(chosen)
            if count < 0 or not self._add(chosen[count - 1 : count]):
                return None
