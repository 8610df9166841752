r"""The best common shift of the coefficients that a feature has in all classes.

A shift t of all of them changes no probability; its best size minimises the penalty

    sum_c  l1 |x_c - t| + ridge/2 (x_c - t)^2,

whose minimiser is the median of the n_classes coefficients and of the n_classes + 1 points
mean(x) + (l1 / ridge) (n_classes - 2 i) / n_classes, and for ridge = 0 that of the
coefficients alone. Along this direction the loss has no curvature but every coefficient
alone has much: coordinate descent crawls, and a Newton step is unbounded.
"""

import numpy as np


def best_shifts(coef, l1, ridge, *, nonnegative=False):
    """Return the shift of each feature that minimises its penalty.

    Of equally good ones it is that nearest to zero that leaves a zero, or without a penalty
    the mean.

    Parameters
    ----------
    coef : ndarray of shape (n_features, n_classes)
        Coefficients.
    l1, ridge : ndarray of shape (n_features,)
        Strengths of the two parts of the penalty.
    nonnegative : bool, default=False
        Whether the shifted coefficients have to be nonnegative.
    """
    if nonnegative:
        return coef.min(axis=1)
    shifts = coef.mean(axis=1)  # also where only a ridge acts
    plain, mixed = (l1 > 0) & (ridge == 0), (l1 > 0) & (ridge > 0)
    if plain.any():
        shifts[plain] = _medians_near_zero(coef[plain])
    if mixed.any():
        k = coef.shape[1]
        steps = np.arange(k, -k - 1, -2).astype(coef.dtype) / k
        points = shifts[mixed, None] + (l1[mixed] / ridge[mixed])[:, None] * steps
        shifts[mixed] = np.median(np.hstack([coef[mixed], points]), axis=1)
    return shifts


def _medians_near_zero(coef):
    """Return the medians; of an interval around zero, its nearer end."""
    n_classes = coef.shape[1]
    ordered = np.sort(coef, axis=1)
    low, high = ordered[:, (n_classes - 1) // 2], ordered[:, n_classes // 2]
    nearer = np.where(-low <= high, low, high)
    return np.where(low >= 0, low, np.where(high <= 0, high, nearer))
