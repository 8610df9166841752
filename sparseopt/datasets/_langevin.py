r"""One direction hidden in a noisy tensor, or behind an unknown function of one projection.

The models on which Langevin averaging, and what competes with it, are compared:

    Y = snr theta^{(x)k} + Z,          Y, Z (d, ..., d),
    y = link(X theta) + noise,         X (n, d), y (n,).

S. Wei, A. Damian & J. D. Lee, "Improved high-dimensional estimation with Langevin dynamics and
stochastic weight averaging", ICLR 2026, arXiv 2603.06028.
"""

import functools
import math
from numbers import Integral, Real

import numpy as np
from scipy.linalg import toeplitz
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sparseopt._core._hermite import hermite
from sparseopt.datasets._causal import _generator

_SIZE = [Interval(Integral, 1, None, closed="left")]
_NONNEGATIVE = [Interval(Real, 0, None, closed="left")]
_RANDOM_STATE = ["random_state", np.random.Generator]


def _of_double(function, u):
    return function(2 * u)


# Nothing here is a lambda, which could not be pickled.
_LINKS = {
    "cosine": functools.partial(_of_double, np.cos),
    "identity": np.positive,
    "relu": functools.partial(np.maximum, 0),
    "sign": np.sign,
    "softplus": functools.partial(np.logaddexp, 0),
    "square": np.square,
    "tanh": functools.partial(_of_double, np.tanh),
}


@validate_params(
    {
        "n_features": _SIZE,
        "order": [Interval(Integral, 2, None, closed="left")],
        "snr": [*_NONNEGATIVE, None],
        "n_terms": [*_SIZE, None],
        "random_state": _RANDOM_STATE,
    },
    prefer_skip_nested_validation=True,
)
def make_spiked_tensor(n_features=50, *, order=3, snr=None, n_terms=None, random_state=None):
    r"""Generate a symmetric noise tensor with one direction planted in it.

    :math:`Y = \lambda\, \theta^{\otimes k} + Z` with a uniform unit vector :math:`\theta` and
    independent standard normal entries of Z, averaged over all permutations of its axes: the
    problem of tensor PCA [1]_. Under noise alone :math:`\langle Y, \theta^{\otimes k} \rangle`
    has variance one for every unit vector.

    Parameters
    ----------
    n_features : int, default=50
        Number d of entries of the direction, and along each axis of the tensor.
    order : int, default=3
        Number k of axes, at least 2. The tensor has :math:`d^k` entries.
    snr : float, default=None
        Weight :math:`\lambda` of the planted direction, in units of the standard deviation of
        the noise. It is :math:`\sqrt n` for the mean of n tensors with a direction of weight one,
        if the noise of the mean is the unit. None takes :math:`d^{k/4}`, the order at which
        methods of polynomial time begin to find the direction; without it, use 0.
    n_terms : int, default=None
        If given, the tensor is not formed, but a sum of powers of vectors,
        :math:`\sum_i w_i x_i^{\otimes k}`: the planted one, and ``n_terms`` standard normal
        vectors with independent normal weights. These are noise whose entries with different
        indices have the variance that they have in Z. It takes memory for ``n_terms * d``
        numbers however high the order is.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    problem : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries:

        tensor : ndarray of shape (d, ..., d)
            The symmetric tensor; only without ``n_terms``.
        factors : ndarray of shape (n_terms + 1, d)
            The vectors :math:`x_i`, the planted one last; only with ``n_terms``.
        weights : ndarray of shape (n_terms + 1,)
            Their weights; only with ``n_terms``.
        direction : ndarray of shape (d,)
            The planted unit vector. If the order is even, its sign cannot be told from Y.
        snr : float
            Its weight.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_single_index : A direction behind a function, which is such a tensor in disguise.

    Notes
    -----
    A sum of powers is not all like Z. Entries with repeated indices vary more, by the law of
    :math:`x_i`, so that traces of the tensor hold more noise, and what is computed from traces is
    worse: with order 3, :math:`\langle Y, \theta^{\otimes 3} \rangle` has variance 2.5 under
    noise, of which 1.5 belong to a linear function of :math:`\theta`. What climbs from random
    points climbs that first, and needs a larger ``snr`` than with Z.

    References
    ----------
    .. [1] E. Richard, A. Montanari (2014). A statistical model for tensor PCA. NeurIPS 27.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_spiked_tensor
    >>> problem = make_spiked_tensor(30, order=3, snr=50.0, random_state=0)
    >>> problem.tensor.shape, bool(np.allclose(problem.tensor, problem.tensor.transpose(2, 0, 1)))
    ((30, 30, 30), True)
    >>> theta = problem.direction
    >>> bool(abs(np.einsum("ijk,i,j,k", problem.tensor, theta, theta, theta) - 50) < 3)
    True

    The same planted in a tensor that nobody has to store:

    >>> problem = make_spiked_tensor(300, order=4, snr=90.0, n_terms=2000, random_state=0)
    >>> problem.factors.shape
    (2001, 300)
    """
    rng = _generator(random_state)
    snr = float(n_features ** (order / 4) if snr is None else snr)
    direction = _draw_direction(n_features, rng)
    if n_terms is not None:
        factors = np.empty((n_terms + 1, n_features))
        rng.standard_normal(out=factors[:-1])
        factors[-1] = direction
        weights = rng.standard_normal(n_terms + 1) / math.sqrt(n_terms * math.factorial(order))
        weights[-1] = snr
        return Bunch(factors=factors, weights=weights, direction=direction, snr=snr)
    spike = np.full((), snr)
    for _ in range(order):
        spike = np.multiply.outer(spike, direction)
    tensor = _symmetrised(spike + rng.standard_normal(spike.shape))
    return Bunch(tensor=tensor, direction=direction, snr=snr)


@validate_params(
    {
        "n_samples": _SIZE,
        "n_features": _SIZE,
        "link": [StrOptions({"hermite", *_LINKS}), callable],
        "degree": _SIZE,
        "noise": _NONNEGATIVE,
        "correlation": [Interval(Real, -1, 1, closed="neither")],
        "random_state": _RANDOM_STATE,
    },
    prefer_skip_nested_validation=True,
)
def make_single_index(
    n_samples=2000,
    n_features=50,
    *,
    link="hermite",
    degree=3,
    noise=0.3,
    correlation=0.0,
    random_state=None,
):
    r"""Generate samples whose target is a function of one projection of normal features.

    :math:`y = \sigma(\theta^\top x) + \text{noise}` with a uniform unit vector :math:`\theta`.
    How many samples it takes to find :math:`\theta` depends on the smallest degree at which
    :math:`\sigma` has a part along a Hermite polynomial, its information exponent [1]_.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of samples.
    n_features : int, default=50
        Number of features.
    link : str or callable, default="hermite"
        The function :math:`\sigma`, of an array of shape (n_samples,) if it is a callable. By name:

        - "hermite": the normalised Hermite polynomial of ``degree``, which is its information
          exponent too;
        - "identity", "relu", "sign", "softplus" and "tanh" (of :math:`2 u`), with the information
          exponent 1;
        - "square" and "cosine" (of :math:`2 u`), with 2.
    degree : int, default=3
        Degree of the Hermite polynomial; other links do not use it.
    noise : float, default=0.3
        Standard deviation of Gaussian noise in the target.
    correlation : float, default=0.0
        Correlation of neighbouring features, between -1 and 1 (exclusive): features i and j have
        correlation ``correlation`` :math:`^{|i - j|}` and unit variance. The link gets the
        projection divided by its standard deviation.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    problem : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries:

        X : ndarray of shape (n_samples, n_features)
            Standard normal features.
        y : ndarray of shape (n_samples,)
            Target.
        mean : ndarray of shape (n_samples,)
            Target without noise; its :math:`R^2` is the most that any regressor can hope for.
        direction : ndarray of shape (n_features,)
            The unit vector. If the link is even, its sign cannot be told from the data.
        index : ndarray of shape (n_samples,)
            What the link is applied to.
        link : callable
            The link.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the link returns an array of another shape.

    See Also
    --------
    make_spiked_tensor : A direction in a tensor.

    References
    ----------
    .. [1] G. Ben Arous, R. Gheissari, A. Jagannath (2021). Online stochastic gradient descent on
       non-convex losses from high-dimensional inference. JMLR 22(106).

    Examples
    --------
    No feature alone, and no linear combination of them, tells anything of the target:

    >>> import numpy as np
    >>> from sparseopt.datasets import make_single_index
    >>> problem = make_single_index(20_000, 10, link="hermite", degree=3, random_state=0)
    >>> bool(np.abs(problem.X.T @ problem.y / len(problem.y)).max() < 0.03)
    True
    >>> index = problem.X @ problem.direction
    >>> round(float(np.mean(problem.y * (index**3 - 3 * index)) / np.sqrt(6)), 1)
    1.0
    """
    rng = _generator(random_state)
    direction = _draw_direction(n_features, rng)
    X = rng.standard_normal((n_samples, n_features))
    _correlate(X, correlation)
    covariance = toeplitz(float(correlation) ** np.arange(n_features))
    index = X @ direction / math.sqrt(direction @ covariance @ direction)
    function = _named_link(link, degree)
    mean = np.array(function(index), dtype=float)
    if mean.shape != index.shape:
        raise ValueError(
            f"link must return an array of shape {index.shape}, that of its input, "
            f"got {mean.shape}."
        )
    y = mean + noise * rng.standard_normal(n_samples)
    return Bunch(X=X, y=y, mean=mean, direction=direction, index=index, link=function)


def _draw_direction(n_features, rng):
    direction = rng.standard_normal(n_features)
    return direction / np.linalg.norm(direction)


def _symmetrised(tensor):
    """Return the mean over all permutations of the axes.

    Once it is symmetric in the first m axes, the mean over exchanges of axis m with each of
    them and itself makes it symmetric in m + 1: a sum of m + 1 tensors, not (m + 1)! ones.
    """
    for m in range(1, tensor.ndim):
        tensor = sum(np.swapaxes(tensor, j, m) for j in range(m + 1)) / (m + 1)
    return np.ascontiguousarray(tensor)


def _correlate(X, correlation):
    """Turn independent columns into a stationary autoregressive sequence, in place."""
    if correlation == 0:
        return
    innovation = math.sqrt(1 - correlation**2)
    for j in range(1, X.shape[1]):
        X[:, j] = innovation * X[:, j] + correlation * X[:, j - 1]


def _named_link(link, degree):
    if link == "hermite":
        return functools.partial(hermite, degree=degree)
    return _LINKS[link] if isinstance(link, str) else link
