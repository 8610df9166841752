r"""The derivative of a transport plan in the costs, by the implicit function theorem.

Along a direction D of the costs, the potentials of the plan P (n, m) move by the solution of
Newton's system at the optimum,

    [diag(r + d), P; P', diag(c + e)] (df, dg) = ((P * D) 1, (P * D)' 1),

r, c the marginals of P, and d = reg r / rho, e = reg c / rho' where the marginals are penalised
by rho and rho' (Tang et al. 2024 has the system, for d = e = 0). The plan moves by
P * (df 1' + 1 dg' - D) / reg.
"""

import math
import warnings

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport._kernels import sparse as system
from sparseopt.transport._kernels.forest import factorize

TOLERANCE = 1e-12  # of conjugate gradients
ITERATIONS = 2000


def plan_derivative(P, D, reg, penalties):
    """Return the derivative of the plan along ``D``.

    Parameters
    ----------
    P : ndarray of shape (n, m)
        The optimal plan.
    D : ndarray of shape (n, m)
        Direction in which the costs move.
    reg : float
        Regularisation.
    penalties : tuple of float
        Those of the marginals; infinite where these are prescribed.

    Returns
    -------
    derivative : ndarray of shape (n, m)
        In the units of mass over cost.
    """
    rows, columns = np.flatnonzero(P.any(axis=1)), np.flatnonzero(P.any(axis=0))
    S = P[np.ix_(rows, columns)]
    weighted = S * D[np.ix_(rows, columns)]
    sums, excess = [], []
    for axis, rho in ((1, penalties[0]), (0, penalties[1])):
        sums.append(S.sum(axis=axis))
        excess.append(np.zeros_like(sums[-1]) if math.isinf(rho) else reg / rho * sums[-1])
    row_diagonal, column_diagonal = sums[0] + excess[0], sums[1] + excess[1]
    kept = sparse.csr_array(S)
    entries = kept.indptr.astype(np.int64), kept.indices.astype(np.int32), kept.data
    right = weighted.sum(axis=0) - S.T @ (weighted.sum(axis=1) / row_diagonal)
    dg = np.empty_like(right)
    _, solved = system.solve_schur(
        *entries, row_diagonal, column_diagonal, factorize(*entries, *excess), right, TOLERANCE,
        ITERATIONS, dg,
    )  # fmt: skip
    if not solved:
        warnings.warn(
            f"The derivative of the plan did not converge in {ITERATIONS} iterations of "
            "conjugate gradients. Increase reg.",
            ConvergenceWarning,
            stacklevel=3,
        )
    df = (weighted.sum(axis=1) - S @ dg) / row_diagonal
    derivative = np.zeros_like(P)
    derivative[np.ix_(rows, columns)] = (S * (df[:, None] + dg) - weighted) / reg
    return derivative
