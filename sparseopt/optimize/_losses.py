"""Smooth losses, as means over samples: what solvers may ask of them.

Each loss is ``sum_i s_i f(y_i, z_i) / sum_i s_i`` with predictions z and sample weights
s. Derivatives are with respect to the predictions. ``check_target`` says which targets
a loss accepts; the other methods check shapes and weights, and rely on a target that
passed it. The same functions stand, by code and parameter, in
``sparseopt.optimize._kernels.losses``.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import optimize
from scipy.special import expit, log_softmax, softmax, xlog1py, xlogy

from sparseopt._core import check_nonnegative

# The codes of sparseopt.optimize._kernels.losses; repeated here so that building a loss
# does not import Numba. A test holds the two together.
SQUARED = 0
LOGISTIC = 1
MULTINOMIAL = 2
HUBER = 3
POISSON = 4


class _Loss:
    """What all losses share."""

    kernel_code: ClassVar[int]
    curvature: ClassVar[float]  # supremum of the second derivative, inf if unbounded
    _ndim: ClassVar[int] = 1  # of the predictions
    operations: ClassVar[frozenset] = frozenset(
        {
            "value",
            "gradient",
            "hessian_diagonal",
            "conjugate",
            "lipschitz",
            "check_target",
            "best_constant",
        }
    )

    @property
    def kernel_parameter(self):
        """The number that kernels receive beside the code."""
        return 0.0

    def value(self, y, predictions, sample_weight=None):
        """Return the loss of ``predictions`` (n_samples,)."""
        y, predictions, sample_weight = self._checked(y, predictions, sample_weight)
        return _weighted_mean(self._losses(y, predictions), sample_weight)

    def gradient(self, y, predictions, sample_weight=None):
        """Return the gradient with respect to ``predictions``."""
        y, predictions, sample_weight = self._checked(y, predictions, sample_weight)
        return _weigh(self._derivatives(y, predictions), sample_weight)

    def hessian_diagonal(self, y, predictions, sample_weight=None):
        """Return the diagonal of the Hessian with respect to ``predictions``."""
        y, predictions, sample_weight = self._checked(y, predictions, sample_weight)
        return _weigh(self._curvatures(y, predictions), sample_weight)

    def conjugate(self, y, slopes, sample_weight=None):
        r"""Return the mean of the convex conjugates, :math:`\max_z (v z - f(y, z))`.

        ``slopes`` :math:`v` (n_samples,) are derivatives of single samples, without the
        share of the sample; the value is infinite where no prediction has that slope.
        """
        y, slopes, sample_weight = self._checked(y, slopes, sample_weight, "slopes")
        return _weighted_mean(self._conjugates(y, slopes), sample_weight)

    def lipschitz(self, column_norms_squared, total_weight):
        """Return the coordinate-wise Lipschitz constants of the gradient in ``x``.

        ``column_norms_squared`` are those of the weighted rows, ``sum_i s_i X_ij^2``.
        """
        norms = np.asarray(column_norms_squared)
        # The constant of an empty column is 0, also where the curvature is infinite.
        bounds = np.zeros(norms.shape, np.result_type(norms, np.float32))
        np.multiply(self.curvature, norms, out=bounds, where=norms > 0)
        return bounds / total_weight

    def check_target(self, y):
        """Return ``y`` as an array of shape (n_samples,) if this loss accepts it.

        Raises
        ------
        ValueError
            If it does not.
        """
        return self._real_target(y)

    def _checked(self, y, predictions, sample_weight, name="predictions"):
        """Return arrays whose shapes fit, so that nothing is broadcast."""
        y, predictions = np.asarray(y), np.asarray(predictions)
        if y.ndim != 1 or predictions.ndim != self._ndim or len(predictions) != len(y):
            accepted = "(n_samples,)" if self._ndim == 1 else "(n_samples, n_classes)"
            raise ValueError(
                f"y must have shape (n_samples,) and {name} {accepted} for "
                f"{type(self).__name__}, got {y.shape} and {predictions.shape}."
            )
        if sample_weight is None:
            return y, predictions, None
        sample_weight = np.asarray(sample_weight)
        if sample_weight.shape != y.shape:
            raise ValueError(
                f"sample_weight must have shape {y.shape}, one entry a sample, got "
                f"{sample_weight.shape}."
            )
        if not (np.all(sample_weight >= 0) and np.any(sample_weight > 0)):
            raise ValueError("sample_weight must be >= 0 with a positive sum.")
        return y, predictions, sample_weight

    def _real_target(self, y):
        y = np.asarray(y)
        name = type(self).__name__
        if y.ndim != 1 or y.size == 0:
            raise ValueError(
                f"y must be a non-empty one-dimensional array for {name}, got shape {y.shape}."
            )
        if y.dtype.kind not in "biuf":
            raise ValueError(f"y must hold real numbers for {name}, got dtype {y.dtype}.")
        if y.dtype.kind in "biu":
            y = y.astype(np.float64)
        if not np.all(np.isfinite(y)):
            raise ValueError("y must be finite, got NaN or infinite entries.")
        return y


@dataclass(frozen=True)
class SquaredLoss(_Loss):
    r"""Half the mean squared error.

    .. math:: \frac{1}{2 \sum_i s_i} \sum_i s_i |y_i - z_i|^2

    with predictions :math:`z` and sample weights :math:`s`. Data may be complex.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import SquaredLoss
    >>> SquaredLoss().value(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    1.0
    """

    kernel_code: ClassVar[int] = SQUARED
    curvature: ClassVar[float] = 1.0

    def check_target(self, y):
        """Return ``y`` as an array of shape (n_samples,) if it holds finite numbers.

        Raises
        ------
        ValueError
            If it does not.
        """
        y = np.asarray(y)
        if y.dtype.kind != "c":
            return self._real_target(y)
        self._real_target(y.real)
        self._real_target(y.imag)
        return y

    def best_constant(self, y, sample_weight=None):
        """Return the constant prediction with the smallest loss: the mean."""
        return np.average(y, weights=sample_weight)[()]

    def _losses(self, y, z):
        return 0.5 * np.abs(y - z) ** 2

    def _conjugates(self, y, v):
        return 0.5 * np.abs(v) ** 2 + np.real(np.conj(v) * y)

    def _derivatives(self, y, z):
        return z - y

    def _curvatures(self, y, z):
        return np.ones_like(y - z, dtype=np.result_type(y, z).type(0).real.dtype)


@dataclass(frozen=True)
class LogisticLoss(_Loss):
    r"""Mean logistic loss of labels -1 and +1.

    .. math:: \frac{1}{\sum_i s_i} \sum_i s_i \log(1 + e^{-y_i z_i})

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import LogisticLoss
    >>> LogisticLoss().value(np.array([1.0, -1.0]), np.array([1000.0, 0.0])).__round__(4)
    0.3466
    """

    kernel_code: ClassVar[int] = LOGISTIC
    curvature: ClassVar[float] = 0.25

    def check_target(self, y):
        """Return ``y`` as a floating array of shape (n_samples,) if it holds -1 and +1.

        Raises
        ------
        ValueError
            If it does not.
        """
        y = self._real_target(y)
        wrong = np.abs(y) != 1
        if wrong.any():
            raise ValueError(
                f"y must hold the labels -1 and +1 for LogisticLoss, got {y[wrong][0]!r}."
            )
        return y

    def best_constant(self, y, sample_weight=None):
        """Return the constant prediction with the smallest loss: the log odds.

        Raises
        ------
        ValueError
            If only one label has weight, and the loss decreases forever.
        """
        # Totals of each label keep the digits that their mean would lose if one is rare.
        weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        positive, negative = float(np.sum(weights[y > 0])), float(np.sum(weights[y < 0]))
        if not (positive > 0 and negative > 0):
            label = 1 if positive > 0 else -1
            raise ValueError(f"y must hold both labels, -1 and +1, got only {label}.")
        return math.log(positive) - math.log(negative)

    def _losses(self, y, z):
        return np.logaddexp(0, -y * z)

    def _conjugates(self, y, v):
        probability = -y * v  # of the other label
        inside = np.clip(probability, 0, 1)
        entropy = xlogy(inside, inside) + xlog1py(1 - inside, -inside)
        return np.where(inside == probability, entropy, np.inf)

    def _derivatives(self, y, z):
        return -y * expit(-y * z)

    def _curvatures(self, y, z):
        return expit(z) * expit(-z)


@dataclass(frozen=True)
class MultinomialLoss(_Loss):
    r"""Mean multinomial logistic loss (cross entropy of the softmax).

    .. math:: \frac{1}{\sum_i s_i} \sum_i s_i
        \left( \log \sum_c e^{z_{ic}} - z_{i y_i} \right)

    The target holds integer labels 0, 1, ..., and the predictions have shape
    (n_samples, n_classes), as have the derivatives. A label below the largest may be absent
    where solvers fit no intercept; with one, the loss would have no minimiser.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import MultinomialLoss
    >>> MultinomialLoss().value(np.array([0, 2]), np.zeros((2, 3))).__round__(4)
    1.0986
    """

    kernel_code: ClassVar[int] = MULTINOMIAL
    curvature: ClassVar[float] = 0.5  # of a row's Hessian diag(p) - p p'
    _ndim: ClassVar[int] = 2

    def check_target(self, y, n_classes=None):
        """Return ``y`` as an integer array of shape (n_samples,) if it holds labels.

        With ``n_classes``, labels must lie below it.

        Raises
        ------
        ValueError
            If ``y`` holds anything else.
        """
        y = self._real_target(y)
        limit = np.iinfo(np.intp).max if n_classes is None else n_classes
        wrong = (y != np.floor(y)) | (y < 0) | (y >= limit)
        if wrong.any():
            accepted = "0, 1, ..." if n_classes is None else f"0, ..., {n_classes - 1}"
            raise ValueError(
                f"y must hold integer labels {accepted} for MultinomialLoss, got {y[wrong][0]!r}."
            )
        return y.astype(np.intp)

    def count_classes(self, y):
        """Return the number of classes, one more than the largest label; at least two."""
        if y.max() < 1:
            raise ValueError("y must hold at least two classes for MultinomialLoss, got one.")
        return int(y.max()) + 1

    def best_constant(self, y, sample_weight=None):
        """Return the constant predictions, one a class, with the smallest loss.

        Raises
        ------
        ValueError
            If a label between 0 and the largest has no weight: its constant falls forever.
        """
        totals = np.bincount(y, weights=sample_weight)
        if not np.all(totals > 0):
            missing = int(np.flatnonzero(totals <= 0)[0])
            raise ValueError(
                f"y must hold every label up to the largest, got no {missing}, whose intercept "
                "would be -inf."
            )
        return np.log(totals / totals.sum())

    def lipschitz(self, column_norms_squared, total_weight):
        """Return the Lipschitz constants along a coordinate, the same for each class.

        Along one class the second derivative is p (1 - p), at most 1/4.
        """
        return 0.25 * column_norms_squared / total_weight

    def _losses(self, y, z):
        return -np.take_along_axis(log_softmax(z, axis=1), y[:, None], axis=1)[:, 0]

    def _conjugates(self, y, v):
        probabilities = np.array(v)
        probabilities[np.arange(len(y)), y] += 1
        rounding = 1e2 * np.finfo(probabilities.dtype).eps
        inside = np.all(probabilities >= -rounding, axis=1)
        inside &= np.abs(probabilities.sum(axis=1) - 1) <= rounding
        probabilities = np.maximum(probabilities, 0)
        entropy = xlogy(probabilities, probabilities).sum(axis=1)
        return np.where(inside, entropy, np.inf)

    def _derivatives(self, y, z):
        derivatives = softmax(z, axis=1)
        derivatives[np.arange(len(y)), y] -= 1
        return derivatives

    def _curvatures(self, y, z):
        probabilities = softmax(z, axis=1)
        return probabilities * (1 - probabilities)


@dataclass(frozen=True)
class HuberLoss(_Loss):
    r"""Mean Huber loss: quadratic up to ``delta``, linear beyond.

    .. math:: \frac{1}{\sum_i s_i} \sum_i s_i h(y_i - z_i), \qquad
        h(r) = \begin{cases} r^2 / 2 & |r| \le \delta \\
        \delta |r| - \delta^2 / 2 & |r| > \delta \end{cases}

    Parameters
    ----------
    delta : float, default=1.35
        Residual at which the loss turns linear, > 0, in the units of the target.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import HuberLoss
    >>> HuberLoss(delta=1.0).value(np.array([0.5, 10.0]), np.zeros(2))
    4.8125
    """

    delta: float = 1.35

    kernel_code: ClassVar[int] = HUBER
    curvature: ClassVar[float] = 1.0

    def __post_init__(self):
        if not check_nonnegative(self.delta, "delta") > 0:
            raise ValueError(f"delta must be > 0, got {self.delta!r}.")
        # A NumPy float64 would turn single precision into double.
        object.__setattr__(self, "delta", float(self.delta))

    @property
    def kernel_parameter(self):
        """The number that kernels receive beside the code: ``delta``."""
        return float(self.delta)

    def best_constant(self, y, sample_weight=None):
        """Return the constant prediction with the smallest loss."""
        y = np.asarray(y, dtype=float)
        lowest, width = float(np.min(y)), float(np.ptp(y))
        if width == 0:
            return lowest
        # In units of the range, products of slopes neither overflow nor vanish.
        y, delta = (y - lowest) / width, self.delta / width

        def slope(constant):
            derivatives = np.clip(constant - y, -delta, delta) / min(delta, 1)
            return float(np.sum(_weigh(derivatives, sample_weight)))

        return lowest + width * float(optimize.brentq(slope, 0, 1, xtol=1e-15))

    def _losses(self, y, z):
        modulus = np.abs(y - z)
        inside = np.minimum(modulus, self.delta)
        return inside * (modulus - 0.5 * inside)

    def _conjugates(self, y, v):
        return np.where(np.abs(v) <= self.delta, 0.5 * v**2 + y * v, np.inf)

    def _derivatives(self, y, z):
        return np.clip(z - y, -self.delta, self.delta)

    def _curvatures(self, y, z):
        residual = y - z
        return (np.abs(residual) <= self.delta).astype(residual.dtype)


@dataclass(frozen=True)
class PoissonLoss(_Loss):
    r"""Mean Poisson loss with the log link, up to a constant that depends on the target.

    .. math:: \frac{1}{\sum_i s_i} \sum_i s_i \left( e^{z_i} - y_i z_i \right)

    The expected count is :math:`e^{z_i}`. The second derivative has no bound.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import PoissonLoss
    >>> PoissonLoss().value(np.array([0.0, 2.0]), np.zeros(2))
    1.0
    """

    kernel_code: ClassVar[int] = POISSON
    curvature: ClassVar[float] = math.inf

    def check_target(self, y):
        """Return ``y`` as a floating array of shape (n_samples,) if it is >= 0.

        Raises
        ------
        ValueError
            If it is not.
        """
        y = self._real_target(y)
        if np.any(y < 0):
            raise ValueError(f"y must be >= 0 for PoissonLoss, got {y[y < 0][0]!r}.")
        return y

    def best_constant(self, y, sample_weight=None):
        """Return the constant prediction with the smallest loss: the log of the mean.

        Raises
        ------
        ValueError
            If all counts with weight are zero, and the loss decreases forever.
        """
        mean = float(np.average(y, weights=sample_weight))
        if mean == 0:
            raise ValueError("y must hold a count above 0 for PoissonLoss, got only zeros.")
        return math.log(mean)

    def _losses(self, y, z):
        return _exp(z) - y * z

    def _conjugates(self, y, v):
        count = v + y
        inside = np.maximum(count, 0)
        return np.where(count >= 0, xlogy(inside, inside) - inside, np.inf)

    def _derivatives(self, y, z):
        return _exp(z) - y

    def _curvatures(self, y, z):
        return _exp(z)


def _exp(z):
    with np.errstate(over="ignore"):  # infinity is the right limit
        return np.exp(z)


def _weighted_mean(values, sample_weight):
    if sample_weight is None:
        return float(np.mean(values))
    counted = sample_weight > 0  # a row of weight zero does not count, not even if infinite
    weights = sample_weight[counted]
    return float(weights @ values[counted] / np.sum(weights))


def _weigh(derivatives, sample_weight):
    """Multiply the rows by the share of each sample."""
    if sample_weight is None:
        return derivatives / derivatives.shape[0]
    shares = sample_weight / np.sum(sample_weight)
    if derivatives.ndim == 2:
        shares = shares[:, None]
    # 0 * inf would be NaN; a row of weight zero does not count.
    return np.where(shares > 0, derivatives, 0) * shares
