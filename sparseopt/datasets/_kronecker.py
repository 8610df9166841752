r"""Sparse tensors behind a Kronecker-structured dictionary, and a radio channel that is one.

    y = (A_1 ⊗ ... ⊗ A_I) x + noise,    A_d (m_d, n_d),    x (n_1, ..., n_I) in C order,

with x zero off a grid, the product of one support for each factor. The simulations of

Y. He, G. Joseph (2024). Bayesian algorithms for Kronecker-structured sparse vector recovery with
application to IRS-MIMO channel estimation. IEEE Transactions on Signal Processing.
"""

import functools
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from sparseopt.datasets._causal import _generator
from sparseopt.datasets._sparse_recovery import _complex_normal, _real_normal

_SIZE = [Interval(Integral, 1, None, closed="left")]
_SNR = [Interval(Real, None, None, closed="neither"), None]
_RANDOM_STATE = ["random_state", np.random.Generator]
VANISHING = 1e-8  # sums of a few signs cancel exactly or not at all


@validate_params(
    {
        "input_shape": ["array-like"],
        "output_shape": ["array-like"],
        "n_nonzero": [*_SIZE, "array-like"],
        "separable": ["boolean"],
        "n_targets": [*_SIZE, None],
        "snr": _SNR,
        "complex_data": ["boolean"],
        "random_state": _RANDOM_STATE,
    },
    prefer_skip_nested_validation=True,
)
def make_kronecker_sparse(
    input_shape=(15, 15, 15),
    output_shape=(8, 12, 15),
    *,
    n_nonzero=3,
    separable=True,
    n_targets=None,
    snr=25.0,
    complex_data=False,
    random_state=None,
):
    r"""Generate measurements of a sparse tensor through one random matrix an axis.

    :math:`y = (A_1 \otimes \dots \otimes A_I)\, x + \text{noise}` with standard normal factors
    :math:`A_d` of shapes :math:`m_d \times n_d`. Each axis of the tensor x has a random support
    of its own, and x is non-zero where all its indices are in theirs. The defaults are the
    synthetic problem of [1]_.

    Parameters
    ----------
    input_shape : sequence of int, default=(15, 15, 15)
        Shape :math:`(n_1, \dots, n_I)` of the tensor, with any number of axes.
    output_shape : sequence of int, default=(8, 12, 15)
        Numbers of measurements :math:`(m_1, \dots, m_I)` along the axes.
    n_nonzero : int or sequence of int, default=3
        Size of the support on each axis.
    separable : bool, default=True
        Whether the values are the outer product of one vector an axis, with standard normal
        entries on the support. Otherwise they are independent, which the published methods do not
        mind: they assume a structured support, not structured values.
    n_targets : int, default=None
        Number of tensors that share the supports, with values and noise of their own. By default
        there is one, and no axis for it.
    snr : float, default=25.0
        Signal-to-noise ratio in decibels; None for no noise.
    complex_data : bool, default=False
        Whether factors, values and noise are circularly symmetric complex normal.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    problem : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries:

        factors : list of ndarray of shape (m_d, n_d)
            The dictionary is their Kronecker product.
        y : ndarray of shape (M,) or (M, n_targets)
            Measurements, M being the product of ``output_shape``; in C order.
        coef : ndarray of shape (n_1, ..., n_I) or (n_1, ..., n_I, n_targets)
            The sparse tensor.
        supports : list of ndarray of bool of shape (n_d,)
            Where the tensor is non-zero along each axis.
        noise_variance : float
            Variance of the noise: the mean of :math:`|y|^2` without noise, divided by
            :math:`10^{\mathrm{snr}/10}`.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the shapes have different lengths.

    See Also
    --------
    make_irs_mimo_channel : A structured instance, with correlated columns.
    sparseopt.sparse_bayes.nmse : Error of an estimate.
    sparseopt.sparse_bayes.support_recovery_rate : How much of the support an estimate has.

    References
    ----------
    .. [1] Y. He, G. Joseph (2024). Bayesian algorithms for Kronecker-structured sparse vector
       recovery with application to IRS-MIMO channel estimation. IEEE Transactions on Signal
       Processing.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_kronecker_sparse
    >>> problem = make_kronecker_sparse((8, 9), (5, 6), n_nonzero=(2, 3), snr=None, random_state=0)
    >>> problem.y.shape, problem.coef.shape, int(np.count_nonzero(problem.coef))
    ((30,), (8, 9), 6)
    >>> first, second = problem.factors
    >>> bool(np.allclose(problem.y, (first @ problem.coef @ second.T).ravel()))
    True
    """
    n = _check_shape(input_shape, "input_shape")
    m = _check_shape(output_shape, "output_shape")
    if len(n) != len(m):
        raise ValueError(
            "input_shape and output_shape must have the same length, one entry a factor, got "
            f"{len(n)} and {len(m)} entries."
        )
    sizes = (n_nonzero,) * len(n) if isinstance(n_nonzero, Integral) else n_nonzero
    sizes = _check_shape(sizes, "n_nonzero")
    if len(sizes) != len(n) or any(size > length for size, length in zip(sizes, n)):
        raise ValueError(
            f"n_nonzero must have one entry a factor, at most input_shape={n}, got {n_nonzero}."
        )
    rng = _generator(random_state)
    normal = _complex_normal if complex_data else _real_normal
    factors = [normal(rng, shape) for shape in zip(m, n)]
    supports, coef = _draw_coefficients(n, sizes, separable, n_targets or 1, normal, rng)
    clean = _mode_products(factors, coef).reshape(-1, n_targets or 1)
    y, noise_variance = _add_noise(clean, snr, normal, rng)
    if n_targets is None:
        y, coef = y[:, 0], coef[..., 0]
    return Bunch(factors=factors, y=y, coef=coef, supports=supports, noise_variance=noise_variance)


@validate_params(
    {
        "n_receive": _SIZE,
        "n_transmit": _SIZE,
        "n_elements": _SIZE,
        "n_grid": _SIZE,
        "n_pilots": _SIZE,
        "n_patterns": _SIZE,
        "angle_spread": _SIZE,
        "snr": _SNR,
        "random_state": _RANDOM_STATE,
    },
    prefer_skip_nested_validation=True,
)
def make_irs_mimo_channel(
    n_receive=16,
    n_transmit=6,
    n_elements=256,
    *,
    n_grid=18,
    n_pilots=3,
    n_patterns=6,
    angle_spread=3,
    snr=20.0,
    random_state=None,
):
    r"""Generate pilot signals that reach a base station by way of a reflecting surface.

    A mobile station sends ``n_pilots`` known vectors, the columns of a matrix P, while the
    elements of the surface take each of ``n_patterns`` configurations w. The base station sees

    .. math:: Y = H_2\, \operatorname{diag}(w)\, H_1 P + \text{noise}.

    Each antenna array has the steering vectors of a uniform line,
    :math:`a_i[k] = \exp(\mathrm{j} \pi k (2i / R - 1)) / \sqrt{\text{length}}` for a grid of
    R angles. :math:`H_1` leaves the mobile station under one angle and arrives at the surface
    under ``angle_spread`` adjacent ones, and :math:`H_2` leaves the surface under one angle and
    arrives at the base station under ``angle_spread`` adjacent ones, all with complex normal
    gains. Since only the difference of the two angles at the surface matters, all measurements
    together are a Kronecker product of three known matrices times a sparse tensor [1]_, which is
    not zero in blocks.

    Parameters
    ----------
    n_receive : int, default=16
        Number of antennas at the base station.
    n_transmit : int, default=6
        Number of antennas at the mobile station.
    n_elements : int, default=256
        Number of elements of the surface.
    n_grid : int, default=18
        Number of angles R in each grid, which has no other angles between.
    n_pilots : int, default=3
        Number of vectors sent under each configuration; their entries are random QPSK symbols
        divided by the square root of ``n_transmit``. They are drawn again if none of them has a
        part that leaves under the channel's angle.
    n_patterns : int, default=6
        Number of configurations of the surface; random signs divided by the square root of
        ``n_elements``. One that reflects nothing is drawn again.
    angle_spread : int, default=3
        Number of adjacent angles of arrival, at most ``n_grid``; the grid is a circle.
    snr : float, default=20.0
        Signal-to-noise ratio in decibels; None for no noise.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    scene : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries:

        factors : list of 3 ndarray
            Shapes (n_patterns, n_grid), (n_pilots, n_grid) and (n_receive, n_grid): the matrices
            of the differences of angles at the surface, of the angles at the mobile station and
            of those at the base station.
        y : ndarray of shape (n_patterns * n_pilots * n_receive,)
            Measurements, the last axis fastest.
        coef : ndarray of shape (n_grid, n_grid, n_grid)
            The true tensor.
        supports : list of 3 ndarray of bool of shape (n_grid,)
            Where it is non-zero along each axis.
        noise_variance : float
            Variance of the noise: the mean of :math:`|y|^2` without noise, divided by
            :math:`10^{\mathrm{snr}/10}`.
        channels : ndarray of shape (n_patterns, n_transmit, n_receive)
            The transposed matrices :math:`H_2 \operatorname{diag}(w) H_1`.
        channel_factors : list of 3 ndarray
            Their Kronecker product turns ``coef`` into ``channels``.
        channel_nmse : callable
            ``channel_nmse(coef)`` is the error of the channels that belong to an estimate of
            ``coef``: the squared norm of the difference over that of the truth, for each
            configuration, averaged.
        pilots : ndarray of shape (n_transmit, n_pilots)
            The matrix P.
        patterns : ndarray of shape (n_elements, n_patterns)
            The configurations.
        incoming, outgoing : ndarray of shapes (n_elements, n_transmit), (n_receive, n_elements)
            :math:`H_1` and :math:`H_2`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_kronecker_sparse : Random factors.
    sparseopt.sparse_bayes.KroneckerSBL : Estimates the tensor.

    References
    ----------
    .. [1] Y. He, G. Joseph (2024). Bayesian algorithms for Kronecker-structured sparse vector
       recovery with application to IRS-MIMO channel estimation. IEEE Transactions on Signal
       Processing.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_irs_mimo_channel
    >>> scene = make_irs_mimo_channel(8, 4, 64, n_grid=10, snr=None, random_state=0)
    >>> [factor.shape for factor in scene.factors], scene.y.shape
    ([(6, 10), (3, 10), (8, 10)], (144,))
    >>> tensor = np.einsum("ai,bj,ck,ijk", *scene.factors, scene.coef)
    >>> bool(np.allclose(tensor.ravel(), scene.y))
    True
    >>> bool(scene.channel_nmse(scene.coef) < 1e-20), scene.channel_nmse(0 * scene.coef)
    (True, 1.0)
    """
    if angle_spread > n_grid:
        raise ValueError(f"angle_spread must be at most n_grid={n_grid}, got {angle_spread}.")
    rng = _generator(random_state)
    receive, transmit, surface = (
        _steering_vectors(length, n_grid) for length in (n_receive, n_transmit, n_elements)
    )
    pilots = _draw_pilots((n_transmit, n_pilots), rng)
    patterns = _random_signs((n_elements, n_patterns), rng) / np.sqrt(n_elements)
    departure = rng.integers(n_grid)
    arrivals, arrival_gains = _draw_paths(n_grid, angle_spread, rng)
    reflection = rng.integers(n_grid)
    receptions, reception_gains = _draw_paths(n_grid, angle_spread, rng)
    arrival_gains *= np.sqrt(n_transmit * n_elements / angle_spread)
    reception_gains *= np.sqrt(n_receive * n_elements / angle_spread)
    incoming = np.outer(surface[:, arrivals] @ arrival_gains, transmit[:, departure].conj())
    outgoing = np.outer(receive[:, receptions] @ reception_gains, surface[:, reflection].conj())
    # conj(a_i) a_j depends on j - i alone, and i - j modulo R counts the grid of differences.
    differences = (reflection - arrivals) % n_grid
    coef = np.zeros((n_grid,) * 3, dtype=complex)
    coef[differences[:, None], departure, receptions] = np.outer(arrival_gains, reception_gains)
    while np.max(np.abs(pilots.T @ transmit[:, departure].conj())) < VANISHING:
        pilots = _draw_pilots(pilots.shape, rng)
    reflections = surface[:, :1] * surface.conj()
    response = reflections[:, differences] @ arrival_gains
    while np.any(lost := np.abs(response @ patterns) < VANISHING * np.linalg.norm(response)):
        signs = _random_signs((n_elements, np.count_nonzero(lost)), rng)
        patterns[:, lost] = signs / np.sqrt(n_elements)
    cascade = patterns.T @ reflections
    clean = [outgoing @ (column[:, None] * incoming) for column in patterns.T]
    channels = np.stack([matrix.T for matrix in clean])
    received = np.stack([pilots.T @ channel for channel in channels])
    y, noise_variance = _add_noise(received.ravel(), snr, _complex_normal, rng)
    channel_factors = [cascade, transmit.conj(), receive]
    return Bunch(
        factors=[cascade, pilots.T @ transmit.conj(), receive],
        y=y,
        coef=coef,
        supports=[np.any(coef != 0, axis=axes) for axes in ((1, 2), (0, 2), (0, 1))],
        noise_variance=noise_variance,
        channels=channels,
        channel_factors=channel_factors,
        channel_nmse=functools.partial(_channel_nmse, channels, channel_factors),
        pilots=pilots,
        patterns=patterns,
        incoming=incoming,
        outgoing=outgoing,
    )


def _check_shape(shape, name):
    """Return ``shape`` as a non-empty tuple of positive integers."""
    entries = tuple(shape)
    valid = all(isinstance(entry, Integral) and entry >= 1 for entry in entries)
    if not entries or not valid:
        raise ValueError(f"{name} must hold one integer >= 1 for each factor, got {shape!r}.")
    return tuple(int(entry) for entry in entries)


def _mode_products(matrices, tensor):
    """Multiply each of the first axes of ``tensor`` by its matrix."""
    for axis, matrix in enumerate(matrices):
        tensor = np.moveaxis(np.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)
    return tensor


def _draw_coefficients(shape, sizes, separable, n_targets, normal, rng):
    """Return the supports, as masks, and the tensor with a last axis for targets."""
    supports = [np.zeros(length, dtype=bool) for length in shape]
    values = np.ones((1,) * len(shape) + (n_targets,))
    for axis, (support, size) in enumerate(zip(supports, sizes)):
        places = rng.choice(len(support), size, replace=False)
        support[places] = True
        if separable:
            drawn = normal(rng, (size, n_targets))[np.argsort(places)]
            values = values * drawn.reshape(*_ones_but(axis, size, len(shape)), n_targets)
    if not separable:
        values = normal(rng, (*sizes, n_targets))
    coef = np.zeros((*shape, n_targets), dtype=values.dtype)
    coef[np.ix_(*supports)] = values
    return supports, coef


def _ones_but(axis, size, length):
    return tuple(size if other == axis else 1 for other in range(length))


def _add_noise(clean, snr, normal, rng):
    """Return noisy measurements and the variance of their noise."""
    if snr is None:
        return clean, 0.0
    variance = float(np.mean(np.abs(clean) ** 2) / 10 ** (snr / 10))
    return clean + np.sqrt(variance) * normal(rng, clean.shape), variance


def _steering_vectors(length, n_grid):
    """Return the responses (length, n_grid) of a uniform line of antennas."""
    sines = 2 * np.arange(n_grid) / n_grid - 1
    return np.exp(1j * np.pi * np.arange(length)[:, None] * sines) / np.sqrt(length)


def _draw_pilots(shape, rng):
    """Return random QPSK symbols of unit power a column."""
    real, imaginary = (_random_signs(shape, rng) for _ in range(2))
    return (real + 1j * imaginary) / np.sqrt(2 * shape[0])


def _random_signs(shape, rng):
    return 2.0 * rng.integers(0, 2, shape) - 1.0


def _draw_paths(n_grid, angle_spread, rng):
    """Return adjacent angles on the circle, and complex normal gains."""
    angles = (rng.integers(n_grid) + np.arange(angle_spread)) % n_grid
    return angles, _complex_normal(rng, angle_spread)


def _channel_nmse(channels, factors, coef):
    """Return the mean over configurations of the channels' relative squared errors."""
    shape = tuple(factor.shape[1] for factor in factors)
    error = _mode_products(factors, np.reshape(coef, shape)) - channels
    size = np.sum(np.abs(channels) ** 2, axis=(1, 2))
    return float(np.mean(np.sum(np.abs(error) ** 2, axis=(1, 2)) / size))
