"""Smooth losses, as means over samples."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

SQUARED = 0


@dataclass(frozen=True)
class SquaredLoss:
    r"""Half the mean squared error.

    .. math:: \frac{1}{2 \sum_i s_i} \sum_i s_i |y_i - z_i|^2

    with predictions :math:`z` and sample weights :math:`s`.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import SquaredLoss
    >>> SquaredLoss().value(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    1.0
    """

    kernel_code: ClassVar[int] = SQUARED
    operations: ClassVar[frozenset] = frozenset(
        {"value", "gradient", "hessian_diagonal", "lipschitz"}
    )

    def value(self, y, predictions, sample_weight=None):
        """Return the loss of ``predictions`` (n_samples,)."""
        return 0.5 * float(np.average(np.abs(y - predictions) ** 2, weights=sample_weight))

    def gradient(self, y, predictions, sample_weight=None):
        """Return the gradient with respect to ``predictions``."""
        return (predictions - y) * _sample_shares(y, sample_weight)

    def hessian_diagonal(self, y, predictions, sample_weight=None):
        """Return the diagonal of the Hessian with respect to ``predictions``."""
        return _sample_shares(y, sample_weight)

    def lipschitz(self, column_norms_squared, total_weight):
        """Return the coordinate-wise Lipschitz constants of the gradient in ``x``."""
        return column_norms_squared / total_weight


def _sample_shares(y, sample_weight):
    if sample_weight is None:
        return np.full(y.shape[0], 1 / y.shape[0])
    return sample_weight / np.sum(sample_weight)
