r"""Sparse linear models whose features differ widely in scale.

The designs of data sets A, B and C of

J. Nutini, I. Laradji, M. Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
JMLR 23(131).

The entries are 1 + N(0, 1), times one factor 10 N(0, 1) a feature, and all but a random
share of them are zero. Random numbers are drawn as the authors' program draws them: the same
seed gives the same data.
"""

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

_SIZES = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "n_features": [Interval(Integral, 1, None, closed="left")],
    "density": [Interval(Real, 0, 1, closed="both"), None],
    "coef": ["boolean"],
    "random_state": ["random_state"],
}
_SHARE = [Interval(Real, 0, 1, closed="both")]
_NOISE = [Interval(Real, 0, None, closed="left")]


@validate_params(_SIZES | {"nonzero": _SHARE, "noise": _NOISE}, prefer_skip_nested_validation=True)
def make_badly_scaled_regression(
    n_samples=1000,
    n_features=10_000,
    *,
    density=None,
    nonzero=0.1,
    noise=1.0,
    coef=False,
    random_state=None,
):
    r"""Generate a sparse linear model whose features differ widely in scale.

    The design has entries :math:`10 s_j (1 + z_{ij})`, of which only a random share is kept,
    with z and s standard normal; the coefficients are standard normal with a given
    probability and else zero. By default it is data set A of [1]_.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples m.
    n_features : int, default=10000
        Number of features.
    density : float, default=None
        Probability of an entry to be kept, :math:`\min(1, 10 \log(m) / m)` by default.
    nonzero : float, default=0.1
        Probability of a coefficient to be nonzero.
    noise : float, default=1.0
        Standard deviation of the noise in the target.
    coef : bool, default=False
        Whether to return the coefficients too.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    X : csc_array of shape (n_samples, n_features)
        Sparse design.
    y : ndarray of shape (n_samples,)
        Target.
    coef : ndarray of shape (n_features,)
        Coefficients; only if ``coef=True``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_badly_scaled_classification : The same model with a binary target.

    References
    ----------
    .. [1] J. Nutini, I. Laradji, M. Schmidt (2022). Let's Make Block Coordinate Descent
       Converge Faster. JMLR 23(131).

    Examples
    --------
    >>> from sparseopt.datasets import make_badly_scaled_regression
    >>> X, y = make_badly_scaled_regression(100, 300, random_state=0)
    >>> X.shape, y.shape, round(X.nnz / 30_000, 1)
    ((100, 300), (100,), 0.5)
    """
    rng = check_random_state(random_state)
    X = _make_design(n_samples, n_features, density, rng)
    x = rng.standard_normal(n_features) * (rng.random_sample(n_features) < nonzero)
    y = X @ x + noise * rng.standard_normal(n_samples)
    return (X, y, x) if coef else (X, y)


@validate_params(_SIZES | {"nonzero": _SHARE, "flip": _SHARE}, prefer_skip_nested_validation=True)
def make_badly_scaled_classification(
    n_samples=1000,
    n_features=10_000,
    *,
    density=None,
    nonzero=0.1,
    flip=0.1,
    coef=False,
    random_state=None,
):
    r"""Generate two classes in the features of :func:`make_badly_scaled_regression`.

    The class is the sign of the linear model without noise, the other class with a given
    probability. By default, with ``random_state=1``, it is data set B of [1]_; a linear
    function separates its classes perfectly.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples m.
    n_features : int, default=10000
        Number of features.
    density : float, default=None
        Probability of an entry to be kept, :math:`\min(1, 10 \log(m) / m)` by default.
    nonzero : float, default=0.1
        Probability of a coefficient to be nonzero.
    flip : float, default=0.1
        Probability of a sample to be in the other class.
    coef : bool, default=False
        Whether to return the coefficients too.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    X : csc_array of shape (n_samples, n_features)
        Sparse design.
    y : ndarray of shape (n_samples,)
        Classes, -1.0 and 1.0.
    coef : ndarray of shape (n_features,)
        Coefficients; only if ``coef=True``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_badly_scaled_multiclass : More classes.

    References
    ----------
    .. [1] J. Nutini, I. Laradji, M. Schmidt (2022). Let's Make Block Coordinate Descent
       Converge Faster. JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_badly_scaled_classification
    >>> X, y = make_badly_scaled_classification(100, 300, random_state=0)
    >>> X.shape, np.unique(y)
    ((100, 300), array([-1.,  1.]))
    """
    rng = check_random_state(random_state)
    X = _make_design(n_samples, n_features, density, rng)
    x = rng.standard_normal(n_features) * (rng.random_sample(n_features) < nonzero)
    y = np.where(X @ x > 0, 1.0, -1.0)
    y[rng.random_sample(n_samples) < flip] *= -1
    return (X, y, x) if coef else (X, y)


@validate_params(
    _SIZES | {"n_classes": [Interval(Integral, 2, None, closed="left")], "noise": _NOISE},
    prefer_skip_nested_validation=True,
)
def make_badly_scaled_multiclass(
    n_samples=1000,
    n_features=1000,
    *,
    n_classes=50,
    density=None,
    noise=1.0,
    coef=False,
    random_state=None,
):
    r"""Generate many classes in features like :func:`make_badly_scaled_regression`'s.

    The class is the largest of ``n_classes`` linear functions plus noise, with standard
    normal coefficients. By default, with ``random_state=1``, it is data set C of [1]_.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples m.
    n_features : int, default=1000
        Number of features.
    n_classes : int, default=50
        Number of classes; in small samples some may not occur.
    density : float, default=None
        Probability of an entry to be kept, :math:`\min(1, 10 \log(m) / m)` by default.
    noise : float, default=1.0
        Standard deviation of the noise in each linear function.
    coef : bool, default=False
        Whether to return the coefficients too.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    X : csc_array of shape (n_samples, n_features)
        Sparse design.
    y : ndarray of shape (n_samples,)
        Classes, integers from 0 to ``n_classes - 1``.
    coef : ndarray of shape (n_features, n_classes)
        Coefficients; only if ``coef=True``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_badly_scaled_classification : Two classes, sparse coefficients.

    References
    ----------
    .. [1] J. Nutini, I. Laradji, M. Schmidt (2022). Let's Make Block Coordinate Descent
       Converge Faster. JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_badly_scaled_multiclass
    >>> X, y = make_badly_scaled_multiclass(100, 30, n_classes=3, random_state=0)
    >>> X.shape, np.unique(y)
    ((100, 30), array([0, 1, 2]))
    """
    rng = check_random_state(random_state)
    X = _make_design(n_samples, n_features, density, rng)
    x = rng.standard_normal((n_features, n_classes))
    y = np.argmax(X @ x + noise * rng.standard_normal((n_samples, n_classes)), axis=1)
    return (X, y, x) if coef else (X, y)


def _make_design(n_samples, n_features, density, rng):
    if density is None:
        density = min(1.0, 10 * np.log(n_samples) / n_samples)
    X = rng.standard_normal((n_samples, n_features)) + 1
    X *= 10 * rng.standard_normal(n_features)
    X *= rng.random_sample(X.shape) < density
    return sparse.csc_array(X)
