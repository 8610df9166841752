"""Separable penalties: what solvers may ask of them, and their form inside kernels."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from sparseopt._core import check_nonnegative, check_penalty_weights

# The codes of sparseopt.optimize._kernels.penalties; repeated here so that building a
# penalty does not import Numba. A test holds the two together.
ELASTIC_NET = 0
NONNEGATIVE_ELASTIC_NET = 1


@dataclass(frozen=True, eq=False)
class ElasticNet:
    r"""Weighted elastic net.

    .. math:: \alpha \sum_j w_j \left(\rho |x_j| + \tfrac{1 - \rho}{2} |x_j|^2\right)

    Parameters
    ----------
    alpha : float
        Penalty strength, >= 0.
    l1_ratio : float, default=1.0
        The share :math:`\rho` of the l1 part, between 0 and 1.
    weights : array-like of shape (n_features,), optional
        Penalty weights :math:`w_j \ge 0`; 0 never penalises a feature, ``inf`` excludes
        it. Ones by default.
    positive : bool, default=False
        Whether the coefficients must be non-negative.

    Examples
    --------
    >>> from sparseopt.optimize import ElasticNet
    >>> ElasticNet(alpha=0.5).value([1.0, -2.0])
    1.5
    """

    alpha: float
    l1_ratio: float = 1.0
    weights: np.ndarray | None = None
    positive: bool = False

    operations: ClassVar[frozenset] = frozenset(
        {"value", "prox", "subdifferential_distance", "alpha_max", "kernel_table"}
    )

    def __post_init__(self):
        check_nonnegative(self.alpha, "alpha")
        if not check_nonnegative(self.l1_ratio, "l1_ratio") <= 1:
            raise ValueError(f"l1_ratio must be between 0 and 1, got {self.l1_ratio!r}.")
        if self.weights is not None:
            weights = check_penalty_weights(self.weights, np.size(self.weights))
            weights.setflags(write=False)
            object.__setattr__(self, "weights", weights)

    @property
    def kernel_code(self):
        """The integer by which kernels know this penalty."""
        return NONNEGATIVE_ELASTIC_NET if self.positive else ELASTIC_NET

    def kernel_table(self, n_features, dtype=np.float64):
        """Return the array (2, n_features) of l1 and ridge weights."""
        weights = check_penalty_weights(self.weights, n_features, dtype=dtype)
        table = np.zeros((2, n_features), dtype=dtype)
        finite = np.isfinite(weights)
        table[0, finite] = self.alpha * self.l1_ratio * weights[finite]
        table[1, finite] = self.alpha * (1 - self.l1_ratio) * weights[finite]
        table[0, ~finite] = np.inf
        return table

    def value(self, x):
        """Return the penalty of ``x``; inf outside the constraints."""
        x = np.asarray(x)
        l1, ridge = self.kernel_table(x.size)
        if self.positive and np.any(x < 0):
            return np.inf
        support = x != 0
        modulus = np.abs(x[support])
        return float(l1[support] @ modulus + 0.5 * ridge[support] @ modulus**2)

    def prox(self, x, step):
        r"""Return :math:`\arg\min_z \|z - x\|^2/2 + \mathrm{step}\cdot\mathrm{penalty}(z)`."""
        x = np.asarray(x)
        if self.positive and np.iscomplexobj(x):
            raise ValueError("positive=True needs real data, got complex values.")
        l1, ridge = self.kernel_table(x.size)
        modulus = np.maximum(x, 0) if self.positive else np.abs(x)
        shrunk = np.maximum(modulus - step * l1, 0) / (1 + step * ridge)
        phase = np.divide(
            x, modulus, out=np.zeros(x.shape, np.result_type(x, float)), where=modulus > 0
        )
        return phase * shrunk

    def subdifferential_distance(self, x, gradient):
        """Return per coordinate the distance of ``-gradient`` to the subdifferential at ``x``.

        It is infinite where ``x`` violates a constraint.
        """
        x, gradient = np.asarray(x), np.asarray(gradient)
        l1, ridge = self.kernel_table(x.size)
        smooth = gradient + ridge * x
        outside = -smooth if self.positive else np.abs(smooth)
        at_zero = np.where(np.isinf(l1), 0.0, np.maximum(outside - l1, 0))
        finite_l1 = np.where(np.isinf(l1), 0.0, l1)
        distance = np.where(x != 0, np.abs(smooth + finite_l1 * np.sign(x)), at_zero)
        forbidden = (x != 0) & np.isinf(l1)
        if self.positive:
            forbidden |= x < 0
        return np.where(forbidden, np.inf, distance)

    def alpha_max(self, gradient_at_zero):
        """Return the smallest alpha for which ``x = 0`` is optimal.

        Unpenalised features must already have been fitted, so that their gradient
        vanishes; they do not count.
        """
        gradient = -np.asarray(gradient_at_zero)
        slope = np.maximum(gradient, 0) if self.positive else np.abs(gradient)
        weights = check_penalty_weights(self.weights, slope.size) * self.l1_ratio
        counted = (weights > 0) & np.isfinite(weights)
        if not counted.any():
            return 0.0
        return float(np.max(slope[counted] / weights[counted]))


@dataclass(frozen=True, eq=False)
class L1(ElasticNet):
    r"""Weighted l1 norm, :math:`\alpha \sum_j w_j |x_j|`.

    Parameters
    ----------
    alpha : float
        Penalty strength, >= 0.
    weights : array-like of shape (n_features,), optional
        Penalty weights; 0 never penalises a feature, ``inf`` excludes it.
    positive : bool, default=False
        Whether the coefficients must be non-negative.

    Examples
    --------
    >>> from sparseopt.optimize import L1
    >>> L1(alpha=1.0).prox([3.0, -0.5], step=1.0)
    array([ 2., -0.])
    """

    l1_ratio: float = field(default=1.0, init=False)
