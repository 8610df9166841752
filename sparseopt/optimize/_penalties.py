"""Penalties: what solvers may ask of them, and the form of the separable ones in kernels."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from sparseopt._core import check_nonnegative, check_penalty_weights

# The codes of sparseopt.optimize._kernels.penalties; repeated here so that building a
# penalty does not import Numba. A test holds the two together.
ELASTIC_NET = 0
NONNEGATIVE_ELASTIC_NET = 1
BOX = 2


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
        if not isinstance(self.positive, (bool, np.bool_)):
            raise TypeError(f"positive must be a bool, got {self.positive!r}.")
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
        # In double precision, since a weight alone may leave the range of float32.
        weights = check_penalty_weights(self.weights, n_features)
        table = np.zeros((2, n_features), dtype=dtype)
        finite = np.isfinite(weights)
        table[0, finite] = self.alpha * self.l1_ratio * weights[finite]
        table[1, finite] = self.alpha * (1 - self.l1_ratio) * weights[finite]
        table[0, ~finite] = np.inf
        return table

    def value(self, x):
        """Return the penalty of ``x``; inf outside the constraints."""
        x = self._checked(x)
        l1, ridge = self.kernel_table(x.size)
        if self.positive and np.any(x < 0):
            return np.inf
        support = x != 0
        modulus = np.abs(x[support])
        return float(l1[support] @ modulus + 0.5 * ridge[support] @ modulus**2)

    def prox(self, x, step):
        r"""Return :math:`\arg\min_z \|z - x\|^2/2 + \mathrm{step}\cdot\mathrm{penalty}(z)`."""
        x, step = self._checked(x), check_nonnegative(step, "step")
        l1, ridge = self.kernel_table(x.size)
        modulus = np.maximum(x, 0) if self.positive else np.abs(x)
        excluded = np.isinf(l1)  # also by a step of zero
        threshold = np.where(excluded, np.inf, step * np.where(excluded, 0, l1))
        shrunk = np.maximum(modulus - threshold, 0) / (1 + step * ridge)
        phase = np.divide(
            x, modulus, out=np.zeros(x.shape, np.result_type(x, float)), where=modulus > 0
        )
        return phase * shrunk

    def subdifferential_distance(self, x, gradient):
        """Return per coordinate the distance of ``-gradient`` to the subdifferential at ``x``.

        It is infinite where ``x`` violates a constraint.
        """
        x, gradient = self._checked(x), self._checked(gradient, "gradient")
        _check_same_shape(x, gradient)
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
        vanishes; they do not count. It is infinite for a ridge penalty (``l1_ratio=0``),
        unless the gradient is zero.
        """
        gradient = -self._checked(gradient_at_zero, "gradient_at_zero")
        slope = np.maximum(gradient, 0) if self.positive else np.abs(gradient)
        weights = check_penalty_weights(self.weights, slope.size)
        counted = (weights > 0) & np.isfinite(weights) & (slope != 0)
        if not counted.any():
            return 0.0
        with np.errstate(divide="ignore", over="ignore"):  # infinity is the right limit
            return float(np.max(slope[counted] / weights[counted] / self.l1_ratio))

    def _checked(self, x, name="x"):
        x = _vector(x, name)
        if self.positive and np.iscomplexobj(x):
            raise ValueError("positive=True needs real data, got complex values.")
        return x


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


@dataclass(frozen=True, eq=False)
class NonNegative(ElasticNet):
    r"""Non-negative coefficients, with a linear cost if one is asked for.

    .. math:: \alpha \sum_j w_j x_j \quad \text{if all } x_j \ge 0, \text{ and } \infty
        \text{ otherwise}

    Parameters
    ----------
    alpha : float, default=0.0
        Strength of the linear part, >= 0; 0 leaves the constraint alone.
    weights : array-like of shape (n_features,), optional
        Penalty weights :math:`w_j \ge 0`; ``inf`` excludes a feature. Ones by default.

    Examples
    --------
    >>> from sparseopt.optimize import NonNegative
    >>> NonNegative().prox([3.0, -0.5], step=1.0)
    array([3., 0.])
    """

    alpha: float = 0.0
    l1_ratio: float = field(default=1.0, init=False)
    positive: bool = field(default=True, init=False)


@dataclass(frozen=True, eq=False)
class Box:
    r"""Bounds on the coefficients: zero if :math:`l_j \le x_j \le u_j` for all j, else infinite.

    Parameters
    ----------
    lower : float or array-like of shape (n_features,), default=0.0
        Lower bounds; ``-inf`` for none.
    upper : float or array-like of shape (n_features,), default=inf
        Upper bounds, at least ``lower``; ``inf`` for none.

    Examples
    --------
    >>> from sparseopt.optimize import Box
    >>> Box(-1.0, 1.0).prox([3.0, -0.5], step=1.0)
    array([ 1. , -0.5])
    """

    lower: float | np.ndarray = 0.0
    upper: float | np.ndarray = np.inf

    kernel_code: ClassVar[int] = BOX
    operations: ClassVar[frozenset] = frozenset(
        {"value", "prox", "subdifferential_distance", "kernel_table"}
    )

    def __post_init__(self):
        for name, forbidden in (("lower", np.inf), ("upper", -np.inf)):
            object.__setattr__(self, name, _check_bounds(getattr(self, name), name, forbidden))
        try:
            crossed = np.any(self.lower > self.upper)
        except ValueError as error:
            raise ValueError(
                f"lower and upper must have the same shape, got {np.shape(self.lower)} and "
                f"{np.shape(self.upper)}."
            ) from error
        if crossed:
            raise ValueError(
                f"lower must not exceed upper, got lower={self.lower!r} and upper={self.upper!r}."
            )

    def kernel_table(self, n_features, dtype=np.float64):
        """Return the array (2, n_features) of lower and upper bounds."""
        table = np.empty((2, n_features), dtype=dtype)
        for row, name in enumerate(("lower", "upper")):
            bounds = getattr(self, name)
            if np.ndim(bounds) and np.shape(bounds) != (n_features,):
                raise ValueError(
                    f"{name} must be a number or have shape ({n_features},), one entry a "
                    f"feature, got shape {np.shape(bounds)}."
                )
            table[row] = bounds
        return table

    def value(self, x):
        """Return 0 within the bounds, inf outside."""
        x = _real(x)
        lower, upper = self.kernel_table(x.size)
        return 0.0 if np.all((lower <= x) & (x <= upper)) else np.inf

    def prox(self, x, step):
        """Return the projection of ``x`` onto the bounds, whatever the ``step`` >= 0."""
        x = _real(x)
        check_nonnegative(step, "step")
        return np.clip(x, *self.kernel_table(x.size))

    def subdifferential_distance(self, x, gradient):
        """Return per coordinate the distance of ``-gradient`` to the subdifferential at ``x``.

        It is infinite where ``x`` violates a bound.
        """
        x, gradient = _real(x), _real(gradient, "gradient")
        _check_same_shape(x, gradient)
        lower, upper = self.kernel_table(x.size)
        up, down = np.maximum(-gradient, 0), np.maximum(gradient, 0)  # where it would move
        distance = np.where(x < upper, up, 0) + np.where(x > lower, down, 0)
        return np.where((x >= lower) & (x <= upper), distance, np.inf)  # NaN is not inside


@dataclass(frozen=True, eq=False)
class GroupL2:
    r"""Sum of the 2-norms of groups of coefficients (the penalty of the group LASSO).

    .. math:: \alpha \sum_g w_g \|x_g\|_2

    Parameters
    ----------
    groups : array-like of shape (n_features,)
        Label of the group that each feature belongs to, in any order. The groups are
        numbered by their sorted labels.
    alpha : float
        Penalty strength, >= 0.
    weights : array-like of shape (n_groups,), optional
        Penalty weights :math:`w_g \ge 0`; 0 never penalises a group, ``inf`` excludes it.
        By default the square roots of the group sizes.

    References
    ----------
    Yuan, Lin (2006). Model Selection and Estimation in Regression with Grouped
    Variables. JRSS B 68(1).

    Examples
    --------
    >>> from sparseopt.optimize import GroupL2
    >>> penalty = GroupL2([0, 0, 1], alpha=1.0, weights=[1.0, 1.0])
    >>> penalty.value([3.0, 4.0, -2.0])
    7.0
    >>> penalty.prox([3.0, 4.0, -0.5], step=1.0)
    array([ 2.4,  3.2, -0. ])
    """

    groups: np.ndarray
    alpha: float
    weights: np.ndarray | None = None

    operations: ClassVar[frozenset] = frozenset(
        {"value", "prox", "subdifferential_distance", "alpha_max"}
    )

    def __post_init__(self):
        check_nonnegative(self.alpha, "alpha")
        labels = np.asarray(self.groups)
        if labels.ndim != 1 or labels.size == 0:
            raise ValueError(
                f"groups must have shape (n_features,), one label a feature, got {labels.shape}."
            )
        if labels.dtype.kind == "f" and np.isnan(labels).any():
            raise ValueError("groups must not hold NaN.")
        try:
            _, members = np.unique(labels, return_inverse=True)
        except TypeError as error:
            raise TypeError("groups must hold labels of one kind, which can be sorted.") from error
        sizes = np.bincount(members)
        if self.weights is None:
            weights = np.sqrt(sizes)
        else:
            weights = _check_group_weights(self.weights, sizes.size)
        for name, array in (("groups", members), ("weights", weights)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def group_norms(self, x):
        """Return the 2-norm of each group of ``x``, shape (n_groups,)."""
        modulus = np.abs(self._checked(x))
        # Scaled by the largest entry of its group, no square overflows or vanishes.
        largest = np.zeros(self.weights.size)
        np.maximum.at(largest, self.groups, modulus)
        scale = np.where(largest > 0, largest, 1)
        squares = (modulus / scale[self.groups]) ** 2
        return largest * np.sqrt(np.bincount(self.groups, squares, self.weights.size))

    def value(self, x):
        """Return the penalty of ``x``; inf where an excluded group is not zero."""
        norms = self.group_norms(x)
        present = norms != 0
        return float(self.strengths[present] @ norms[present])

    def prox(self, x, step):
        r"""Return :math:`\arg\min_z \|z - x\|^2/2 + \mathrm{step}\cdot\mathrm{penalty}(z)`."""
        x, step = self._checked(x), check_nonnegative(step, "step")
        return self._shrinkage(self.group_norms(x), step)[self.groups] * x

    def subdifferential_distance(self, x, gradient):
        """Return per coordinate the distance of ``-gradient`` to the subdifferential at ``x``.

        The 2-norm over a group is the distance of that group. It is infinite where an
        excluded group is not zero.
        """
        x, gradient = self._checked(x), self._checked(gradient, "gradient")
        norms, strengths = self.group_norms(x), self.strengths
        present = norms != 0
        forbidden = present & np.isinf(strengths)
        direction = x / np.where(present, norms, 1)[self.groups]
        pull = np.where(present & ~forbidden, strengths, 0)[self.groups] * direction
        inside = np.abs(gradient + pull)
        outside = self._shrinkage(self.group_norms(gradient), 1.0)[self.groups] * np.abs(gradient)
        distance = np.where(present[self.groups], inside, outside)
        return np.where(forbidden[self.groups], np.inf, distance)

    def alpha_max(self, gradient_at_zero):
        """Return the smallest alpha for which ``x = 0`` is optimal.

        Unpenalised groups must already have been fitted, so that their gradient
        vanishes; they do not count.
        """
        norms = self.group_norms(self._checked(gradient_at_zero, "gradient_at_zero"))
        counted = (self.weights > 0) & np.isfinite(self.weights)
        if not counted.any():
            return 0.0
        return float(np.max(norms[counted] / self.weights[counted]))

    def _checked(self, x, name="x"):
        x = np.asarray(x)
        if x.shape != self.groups.shape:
            raise ValueError(f"{name} must have shape {self.groups.shape}, got {x.shape}.")
        return x

    @property
    def strengths(self):
        """What the norm of each group is multiplied by, shape (n_groups,)."""
        finite = np.isfinite(self.weights)
        return np.where(finite, self.alpha * np.where(finite, self.weights, 0), np.inf)

    def _shrinkage(self, norms, step):
        """Return by which factor the prox of each group shrinks a vector of that norm."""
        strengths = self.strengths
        excluded = np.isinf(strengths)  # also by a step of zero
        limit = np.where(excluded, np.inf, step * np.where(excluded, 0, strengths))
        kept = norms > limit
        return np.where(kept, 1 - np.where(kept, limit, 0) / np.where(norms > 0, norms, 1), 0)


def _check_bounds(bounds, name, forbidden):
    """Return bounds as a float or a read-only copy."""
    try:
        if np.iscomplexobj(bounds):
            raise TypeError("complex")
        checked = np.array(bounds, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number or an array, got {bounds!r}.") from error
    if checked.ndim > 1:
        raise ValueError(f"{name} must be a number or one-dimensional, got shape {checked.shape}.")
    if np.isnan(checked).any() or np.any(checked == forbidden):
        raise ValueError(f"{name} must not hold NaN or {forbidden}, got {bounds!r}.")
    if checked.ndim == 0:
        return float(checked)
    checked.setflags(write=False)
    return checked


def _check_group_weights(weights, n_groups):
    if np.shape(weights) != (n_groups,):
        raise ValueError(
            f"weights must have shape ({n_groups},), one entry a group, got {np.shape(weights)}."
        )
    return check_penalty_weights(weights, n_groups)


def _vector(x, name):
    x = np.asarray(x)
    if x.ndim != 1:
        raise ValueError(f"{name} must have shape (n_features,), got shape {x.shape}.")
    return x


def _real(x, name="x"):
    x = _vector(x, name)
    if np.iscomplexobj(x):
        raise ValueError("Box needs real data, got complex values.")
    return x


def _check_same_shape(x, gradient):
    if x.shape != gradient.shape:
        raise ValueError(f"gradient must have the shape {x.shape} of x, got {gradient.shape}.")
