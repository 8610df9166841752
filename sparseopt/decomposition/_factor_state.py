"""The run of a solver that follows low-rank factors, and its repair of lines that went wrong.

When a threshold falls too soon, some row or column of the low-rank part may be wrong, all of
it then counts as outliers, and nothing mends it. But the other side's factor is right:
least absolute deviations from it give such a line anew, and the run goes on.
"""

import math

import numpy as np

from sparseopt._core import Progress, Status, describe_end, is_numpy, iterate
from sparseopt.decomposition._known_rank import (
    ADVICE,
    give_parts,
    lost_lines,
    outliers,
    residual_products,
)
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._robust_projection import robust_projection
from sparseopt.decomposition._singular_values import orthonormal_factor

REPAIRS = 3
REPAIRABLE_SHARE = 0.1  # of the lines; if more are wrong, so are the factors


class FactorState:
    """Low-rank factors, their residual at a threshold, and the thresholds so far.

    ``floor`` is the least threshold: what dense noise of the given level does not exceed.
    """

    def __init__(self, data, low, floor, *, clip=False):
        self.data, self.low, self.floor, self.clip = data, low, floor, clip
        self.thresholds: list[float] = []
        self.nit = 0

    @property
    def x(self):
        """The low-rank part of the matrix given."""
        return self.data.restore(self.low)

    def observe(self, threshold, U=None, Vt=None):
        """Look at the residual beyond a threshold, and report it."""
        U, Vt = (self.low.U, self.low.Vt) if U is None else (U, Vt)
        threshold = max(threshold, self.floor)
        products = residual_products(self.data, self.low, U, Vt, threshold, clip=self.clip)
        self.products = products
        certificate = self.data.relative(products.norm)
        if threshold == self.floor:
            certificate = min(certificate, self.data.relative(products.tangent_norm()))
        if math.isfinite(products.norm):
            self.thresholds.append(threshold)
            self._finite = self.low
        return Progress(products.norm * self.data.unit, certificate)

    def parts(self):
        """Return the dense low-rank part and the sparse part, in the scale of the data."""
        threshold = self.thresholds[-1]
        shrinkage = threshold if self.clip else 0.0
        dense = self._finite.to_dense()
        return dense, outliers(self.data, dense, threshold, shrinkage=shrinkage)

    def repair(self, sparse):
        """Fit lost rows and columns anew; return whether there were any."""
        repaired = False
        for axis in (1, 0):
            lost = np.flatnonzero(lost_lines(self.data, sparse, self.low.rank, axis)[0])
            if 0 < lost.size <= REPAIRABLE_SHARE * self.data.values.shape[1 - axis]:
                if axis == 1:
                    self.low = _with_new_rows(self.low, self.data.values, lost)
                else:
                    self.low = _with_new_rows(self.low.T, self.data.values.T, lost).T
                repaired = True
        return repaired


def _with_new_rows(low, values, lost):
    """Return the factors with rows of least absolute deviations from the right factor."""
    scores, _ = robust_projection(values[lost], low.Vt, 0.0)
    left = low.U * low.s
    left[lost] = scores
    Q, R = orthonormal_factor(left)
    a, s, bt = np.linalg.svd(R)
    return LowRankMatrix(Q @ a, s, bt @ low.Vt)


def run(step, state, initial, *, method, max_iter, tol, callback, warn):
    """Iterate, repair lost lines, and return the finished result.

    The one who called the solver is two frames up.
    """
    options = {
        "tol": tol,
        "method": method,
        "callback": callback,
        "certificate_name": "relative residual",
        "advice": ADVICE,
        "descends": True,
        "warn": False,
    }
    result = iterate(step, state, initial=initial, max_iter=max_iter, **options)
    dense, sparse = state.parts()
    for _ in range(REPAIRS):
        ended = result.status not in (Status.CONVERGED, Status.ITERATION_LIMIT)
        if ended or not is_numpy(state.data.xp) or not state.repair(sparse):
            break
        again = state.observe(state.thresholds[-1])
        more = iterate(step, state, initial=again, max_iter=max_iter - result.nit, **options)
        result = _joined(result, more, method, tol)
        dense, sparse = state.parts()
    result.history["threshold"] = np.array(state.thresholds) * state.data.unit
    return give_parts(state.data, result, state._finite, dense, sparse, warn, stacklevel=5)


def _joined(first, more, method, tol):
    """Return the second of two runs as the end of both."""
    more.history["iteration"] += first.nit
    more.history["time"] += first.history["time"][-1]
    for name, column in first.history.items():
        more.history[name] = np.concatenate([column, more.history[name]])
    more.nit += first.nit
    more.message = describe_end(
        more.status, method, "relative residual", more.certificate, tol, more.nit, ADVICE
    )
    return more
