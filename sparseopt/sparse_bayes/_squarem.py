"""SQUAREM: squared extrapolation of a fixed-point iteration.

R. Varadhan & C. Roland, "Simple and globally convergent methods for accelerating the convergence
of any EM algorithm", Scandinavian Journal of Statistics 35 (2008), scheme S3.
"""

import numpy as np


class Squarem:
    """Extrapolates every two steps of a fixed-point map.

    The caller pushes each image of the map. After two steps from one point,
    :meth:`push` returns a point further along; the caller evaluates it, and calls
    :meth:`accept` or :meth:`reject`.

    Parameters
    ----------
    largest_step : float, default=4.0
        Limit of the first step; it grows fourfold each time that it is reached, and shrinks
        when a point is rejected.
    """

    def __init__(self, largest_step=4.0):
        self._points: list[np.ndarray] = []
        self._largest = largest_step
        self._at_limit = False

    def restart(self, point=None):
        """Forget all points but ``point``."""
        self._points = [] if point is None else [point]

    def push(self, before, after):
        """Take one step of the map; return an extrapolated point, or None if it is too early."""
        if not self._points:
            self._points = [before]
        self._points.append(after)
        if len(self._points) < 3:
            return None
        start, middle, end = self._points
        first, second = middle - start, (end - middle) - (middle - start)
        bend = np.linalg.norm(second)
        length = np.linalg.norm(first) / bend if bend > 0 else self._largest
        self._at_limit = length >= self._largest
        length = min(max(length, 1.0), self._largest)
        self.restart()
        if length == 1.0:
            return None
        return start + 2 * length * first + length**2 * second

    def accept(self):
        """Lengthen the steps if the accepted one was as long as allowed."""
        if self._at_limit:
            self._largest *= 4.0

    def reject(self):
        """Shorten the steps."""
        self._largest = max(self._largest / 4.0, 2.0)
