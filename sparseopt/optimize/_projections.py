"""What columns without a penalty leave of a residual: the dual points of least squares."""

import math

import numpy as np
from scipy import linalg, optimize

from sparseopt.optimize._kernels.cpu import dense_epochs
from sparseopt.optimize._penalties import NONNEGATIVE_ELASTIC_NET
from sparseopt.optimize._working_set import norm_squared

POLAR_EPOCHS = 1000
POLAR_SLACK = 1e-11  # correlation with a unit column, relative to the norm of the part


def polar_part(columns, residual):
    """Return the part of ``residual`` that nonnegative combinations of ``columns`` leave.

    It is the projection on the vectors that no column correlates with positively, or zero
    if that cannot be found. The columns have norm 1.

    SciPy's NNLS goes astray where correlations are rounding errors, as they are at the
    solution: epochs of coordinate descent verify and mend what it finds.
    """
    columns = np.asfortranarray(columns, dtype=np.float64)
    size = float(np.max(np.abs(residual))) or 1.0  # the tolerance of NNLS has units
    point = residual.astype(np.float64) / size
    try:
        share, _ = optimize.nnls(columns, point)
    except RuntimeError:  # too many iterations
        share = np.zeros(columns.shape[1])
    better = point - columns @ share
    if norm_squared(better) < norm_squared(point):
        point = better
    else:
        share = np.zeros_like(share)
    dense_epochs(
        columns, np.ones(share.size), NONNEGATIVE_ELASTIC_NET, np.zeros((2, share.size)), share,
        point, POLAR_EPOCHS, False, np.finfo(float).eps,
    )  # fmt: skip
    if np.max(columns.T @ point) > POLAR_SLACK * math.sqrt(norm_squared(point)):
        point = np.zeros_like(point)
    return (size * point).astype(residual.dtype)


def orthonormal_basis(columns):
    """Return an orthonormal basis of the span of ``columns``."""
    basis, triangle, _ = linalg.qr(columns, mode="economic", pivoting=True)
    pivots = np.abs(np.diagonal(triangle))
    rank = np.count_nonzero(pivots > 1e2 * np.finfo(pivots.dtype).eps * pivots[:1].max(initial=0))
    return basis[:, :rank]
