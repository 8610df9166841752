"""Warn of separable classes: without a penalty, the loss then has no minimiser."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt.optimize._losses import LogisticLoss, MultinomialLoss


def warn_if_separable(loss, y, predictions, shares, penalty, *, stacklevel=3):
    """Warn if a point proves that the objective has no minimiser.

    Parameters
    ----------
    loss : object
        The loss; only those of classes lack a minimiser in this way.
    y : ndarray of shape (n_samples,)
        Target.
    predictions : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Predictions of the point.
    shares : ndarray of shape (n_samples,)
        Sample weights; zero where a sample does not count.
    penalty : float
        Value of the penalty at the point. Where it is zero, it stays so however far the
        coefficients grow.
    stacklevel : int, default=3
        Of the warning.
    """
    if penalty > 0:
        return
    counted = shares > 0
    y, z = y[counted], predictions[counted]
    if isinstance(loss, LogisticLoss):
        separates = np.all(y * z > 0)
    elif isinstance(loss, MultinomialLoss):
        own = np.take_along_axis(z, y[:, None], axis=1)
        separates = np.all(np.sum(z >= own, axis=1) == 1)
    else:
        return
    if separates:
        warnings.warn(
            "The classes are perfectly separable and nothing is penalised: the loss has no "
            "minimiser, and the coefficients grow for as long as the run goes on. Add a "
            "penalty.",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )
