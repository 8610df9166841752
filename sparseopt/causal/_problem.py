r"""The problem that CoLiDE solves at one point of its path.

    mu [ sum_j (q_j / sigma_j + sigma_j) / 2 + sum_ij p_ij |w_ij| ] + h_s(W),
    q_j = ((I - W)' C (I - W))_jj,   h_s(W) = d log s - log det(s I - W∘W)

W (d, d) holds the effect of i on j in row i, column j; C (d, d) is the covariance; sigma (d,)
are the noise's standard deviations, all the same one for equal variances; p (d, d) is alpha,
and 0 where an edge is required. h is finite where the spectral radius of W∘W is below s, and
0 exactly where W is acyclic.

S. S. Saboksayr, G. Mateos and M. Tepper, "CoLiDE: Concomitant Linear DAG Estimation", ICLR
2024. K. Bello, B. Aragam and P. Ravikumar, "DAGMA: Learning DAGs via M-matrices and a
Log-Determinant Acyclicity Characterization", NeurIPS 2022.
"""

from dataclasses import dataclass

import numpy as np

from sparseopt.causal._kernels.colide import noise_scales, set_domain_matrix, set_residual
from sparseopt.causal._kernels.m_matrix import invert_m_matrix, workspace_size

ROUNDING_FLOOR = 1.5e-8  # noise scales below it, relative to the column's, are rounding errors


@dataclass
class Point:
    """A matrix W with what the score, the acyclicity and their gradients need of it."""

    W: np.ndarray
    residual: np.ndarray  # C (I - W)
    scales: np.ndarray  # standard deviations of the noise that suit W best
    inverse: np.ndarray  # of I - W∘W / s
    acyclicity: float  # h, inf outside of the domain


@dataclass
class CoLiDEProblem:
    """Covariance, noise model, penalty and prior knowledge.

    Parameters
    ----------
    C : ndarray of shape (d, d)
        Covariance, divided by the number of samples.
    equal_variance : bool
        Whether all noise terms share one variance.
    alpha : float
        Penalty strength.
    allowed : ndarray of shape (d, d) of bool, optional
        Entries of W that may differ from zero; by default all but the diagonal.
    required : ndarray of shape (d, d) of bool, optional
        Entries that are not penalised.
    scale_floor : float
        Smallest noise scale, relative to the standard deviation of the column; for equal
        variances, to the smallest one. (Relative to the mean power of all columns, as in the
        paper, it would exceed the noise where effects accumulate.) A column that others
        determine has no noise; its scale is held at the size of rounding errors then.
    """

    C: np.ndarray
    equal_variance: bool
    alpha: float
    allowed: np.ndarray | None = None
    required: np.ndarray | None = None
    scale_floor: float = 0.0

    def __post_init__(self):
        d = self.order = self.C.shape[0]
        self.C = np.ascontiguousarray(self.C, dtype=np.float64)
        if self.allowed is None:
            self.allowed = ~np.eye(d, dtype=bool)
        self.penalty = np.full((d, d), float(self.alpha))
        if self.required is not None:
            self.penalty[self.required] = 0.0
        variances = np.diagonal(self.C)
        if self.equal_variance:
            variances = np.full(d, np.min(variances))
        self.floors = max(self.scale_floor, ROUNDING_FLOOR) * np.sqrt(variances)
        top = largest_alpha(self.C, self.equal_variance) or 1.0
        self._unit = min(self.alpha or top, top)
        self.workspace = np.empty(workspace_size(d))

    def residual(self, W, out=None):
        """Return C (I - W)."""
        out = np.empty_like(self.C) if out is None else out
        set_residual(self.C, W, np.empty_like(self.C), out)
        return out

    def noise_scales(self, W, residual):
        """Return the standard deviations that minimise the score at W."""
        scales = np.empty(self.order)
        noise_scales(W, residual, self.equal_variance, self.floors, scales)
        return scales

    def acyclicity(self, W, s):
        """Return h_s(W) and the inverse of I - W∘W / s; h is inf outside of the domain."""
        inverse = np.empty_like(self.C)
        set_domain_matrix(W, s, inverse)
        return -invert_m_matrix(inverse, self.workspace), inverse

    def point(self, W, s):
        """Return everything that is computed from one W."""
        acyclicity, inverse = self.acyclicity(W, s)
        residual = self.residual(W)
        return Point(W, residual, self.noise_scales(W, residual), inverse, acyclicity)

    def score(self, point):
        """Return the score without penalty: d sigma, or sum_j sigma_j, where no floor binds."""
        variances = np.maximum(
            np.diagonal(point.residual) - np.sum(point.W * point.residual, axis=0), 0.0
        )
        return 0.5 * float(np.sum(variances / point.scales + point.scales))

    def penalised_score(self, point):
        """Return the objective without acyclicity, at mu = 1."""
        return self.score(point) + float(np.sum(self.penalty * np.abs(point.W)))

    def objective(self, point, mu):
        """Return the objective."""
        return mu * self.penalised_score(point) + point.acyclicity

    def gradient(self, point, mu, s):
        """Return the gradient of the part without penalty, noise scales at their optimum."""
        return (
            -mu * point.residual / point.scales + (2.0 / s) * point.W * point.inverse.T
        ) * self.allowed

    def kkt_residual(self, point, mu, s):
        """Return the largest violation of stationarity, relative to the penalty's slope.

        The slope is that of ``alpha``, or of the smallest alpha with a zero solution if
        ``alpha`` is 0 or beyond that.
        """
        W, slope = point.W, mu * self.penalty
        gradient = self.gradient(point, mu, s)
        violation = np.where(
            W != 0.0, np.abs(gradient + slope * np.sign(W)), np.abs(gradient) - slope
        )
        return float(np.max(violation, where=self.allowed, initial=0.0)) / (mu * self._unit)


def largest_alpha(C, equal_variance):
    """Return the smallest alpha for which W = 0 is stationary, whatever mu."""
    variances = np.diagonal(C)
    scales = np.sqrt(np.mean(variances)) if equal_variance else np.sqrt(variances)
    correlations = np.abs(C) / scales
    np.fill_diagonal(correlations, 0.0)
    return float(np.max(correlations))
