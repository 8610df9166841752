r"""A radio scene: a base station hears users by reflections at a few unknown scatterers.

    y[n, l] = sum_k d[k, n, l] Phi_{kn}(p, u, o) x_k + noise

with x_k sparse over a grid of places, and with symbols d of which the pilots alone are known. The
setting is that of

A. Liu, W. Xu, W. Xu, G. Caire (2025). Bilinear subspace variational Bayesian inference for joint
scattering environment sensing and data recovery in ISAC systems. arXiv:2502.00811.

Its own simulation parameters are not all published; those here are ours.
"""

import functools
from numbers import Integral, Real

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from sparseopt.datasets._causal import _generator
from sparseopt.datasets._isac_dictionary import SPEED_OF_LIGHT, IsacDictionary
from sparseopt.datasets._kronecker import _add_noise
from sparseopt.datasets._sparse_recovery import _complex_normal

_SIZE = [Interval(Integral, 1, None, closed="left")]
_POSITIVE = [Interval(Real, 0, None, closed="neither")]
_NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]

# Metres, except for the clocks.
SCATTERERS = ((-18.0, 18.0), (32.0, 68.0), (1.0, 9.0))
CELLS = ((-20.0, 20.0), (30.0, 70.0), (0.0, 10.0))  # tiled by the grid
USERS = ((-18.0, 18.0), (20.0, 30.0))
USER_HEIGHT = 1.5
USER_STD = (0.5, 0.5, 0.01)  # the height is known
OFFSET = 5e-9  # seconds
SIGHT_AMPLITUDE = 1.5
AMPLITUDES = (0.6, 1.4)
QPSK = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)
MAX_DRAWS = 20_000


@validate_params(
    {
        "n_users": _SIZE,
        "n_subcarriers": _SIZE,
        "n_symbols": _SIZE,
        "n_pilots": [Interval(Integral, 0, None, closed="left")],
        "n_scatterers": _SIZE,
        "array_shape": ["array-like"],
        "grid_shape": ["array-like"],
        "bandwidth": _POSITIVE,
        "separation": _NOT_NEGATIVE,
        "visibility": [Interval(Real, 0, 1, closed="both")],
        "snr": [Interval(Real, None, None, closed="neither"), None],
        "random_state": ["random_state", np.random.Generator],
    },
    prefer_skip_nested_validation=True,
)
def make_isac_scene(
    n_users=3,
    n_subcarriers=16,
    n_symbols=8,
    *,
    n_pilots=1,
    n_scatterers=5,
    array_shape=(8, 6),
    grid_shape=(8, 8, 2),
    bandwidth=100e6,
    separation=10.0,
    visibility=0.7,
    snr=15.0,
    random_state=None,
):
    r"""Generate what a base station hears of users among a few scatterers.

    On subcarrier n and at symbol time l the antennas receive

    .. math:: y_{nl} = \sum_k d_{knl}\, \Phi_{kn}(\theta)\, x_k + \text{noise}

    from the users' QPSK symbols d, of which the first ``n_pilots`` are known. The columns of
    :math:`\Phi` belong to places of scatterers, see
    :class:`~sparseopt.datasets.IsacDictionary`, and the last to the users' lines of sight.
    Scatterers are between the grid's points; what is known of users is their place to half a
    metre, and their clocks are off. A cell of the default grid is 5 m wide, more than the 3 m that
    the bandwidth resolves: the grid as it stands explains no signal well. The setting follows
    [1]_, but the numbers are ours, since not all of theirs are published.

    Parameters
    ----------
    n_users : int, default=3
        Number of users K.
    n_subcarriers : int, default=16
        Number of subcarriers N.
    n_symbols : int, default=8
        Number of symbols L that each user sends on each subcarrier, pilots included.
    n_pilots : int, default=1
        Number of them that are known, at the same times for all users.
    n_scatterers : int, default=5
        Number of scatterers.
    array_shape : tuple of 2 int, default=(8, 6)
        Antennas along x and z; their product is M.
    grid_shape : tuple of 3 int, default=(8, 8, 2)
        Number of grid points along x, y and z, in the middle of cells that tile 40 x 40 x 10 m.
    bandwidth : float, default=100e6
        Bandwidth in hertz.
    separation : float, default=10.0
        Smallest distance between two scatterers in metres.
    visibility : float, default=0.7
        Probability that a user's signal reaches a scatterer.
    snr : float, default=15.0
        Signal-to-noise ratio in decibels; None for no noise.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    scene : :class:`~sklearn.utils.Bunch`
        Dictionary-like object. What a receiver has:

        y : ndarray of shape (N, L, M)
            Received signals.
        pilots : ndarray of shape (K, N, L)
            The known symbols; zero where they are not.
        pilot_mask : ndarray of bool of shape (N, L)
            Where they are.
        dictionary : :class:`IsacDictionary`
            Callback ``dictionary(params, columns=None)`` with ``jac`` and ``vjp``; Q columns, one a
            grid point and one for the lines of sight.
        params : dict of ndarray
            Parameters to start from: the grid as ``"positions"`` (Q - 1, 3), rough places of the
            ``"users"`` (K, 3), and zeros as their ``"offsets"`` (K,).
        param_std : dict of ndarray
            Standard deviations of the true parameters about these.
        pitch : ndarray of shape (3,)
            Size of a grid cell.
        probability, visibility : ndarray of shape (Q,)
            Suggested prior probabilities that there is a scatterer in a cell, and that a user's
            signal reaches it.
        constellation : ndarray of shape (4,)
            All symbols there are.

        The truth:

        symbols : ndarray of shape (K, N, L)
            All symbols.
        channel : ndarray of shape (K, N, M)
            The users' channels :math:`\Phi_{kn} x_k`.
        true_params : dict of ndarray
            ``"positions"`` (n_scatterers, 3), ``"users"`` and ``"offsets"``.
        coef : ndarray of shape (K, n_scatterers + 1)
            Coefficients x of the dictionary at these parameters.
        positions : ndarray of shape (n_scatterers', 3)
            The scatterers that a user's signal reaches; nobody can find the others.
        noise_variance : float
            The mean of :math:`|y|^2` without noise, divided by :math:`10^{\mathrm{snr}/10}`.

        Errors of estimates:

        channel_nmse : callable
            ``channel_nmse(channel)``: squared norm of the error relative to that of the truth.
        symbol_error_rate : callable
            ``symbol_error_rate(symbols)``: share of the unknown symbols that are not the
            constellation's nearest to the estimate; NaN if all are pilots.
        localisation_error : callable
            ``localisation_error(positions, cutoff=10.0)``: distances in metres of the scatterers
            from places (n, 3) assigned to them, no place to two of them, so that the sum is
            smallest. No distance counts for more than ``cutoff``, and one that gets no place
            counts as that. Places left over cost nothing.

    Raises
    ------
    ValueError
        If a parameter is out of range, there are more pilots than symbols, or there is no room
        for as many scatterers so far from each other.

    See Also
    --------
    IsacDictionary : The dictionary.
    make_irs_mimo_channel : A channel on the grid, with known symbols.

    References
    ----------
    .. [1] A. Liu, W. Xu, W. Xu, G. Caire (2025). Bilinear subspace variational Bayesian inference
       for joint scattering environment sensing and data recovery in ISAC systems.
       arXiv:2502.00811.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_isac_scene
    >>> scene = make_isac_scene(snr=10, random_state=0)
    >>> scene.y.shape, scene.dictionary(scene.params).shape
    ((16, 8, 48), (3, 16, 48, 129))
    >>> truth = scene.dictionary(scene.true_params) @ scene.coef[:, None, :, None]
    >>> bool(np.allclose(truth[..., 0], scene.channel))
    True
    >>> scene.symbol_error_rate(scene.symbols), scene.channel_nmse(0 * scene.channel)
    (0.0, 1.0)
    >>> scene.localisation_error(scene.params["positions"]).round(1)
    array([2.3, 1.8, 2.2, 1.4, 3. ])
    """
    if n_pilots > n_symbols:
        raise ValueError(f"n_pilots must be at most n_symbols={n_symbols}, got {n_pilots}.")
    antennas = _check_sizes(array_shape, "array_shape", 2)
    cells = _check_sizes(grid_shape, "grid_shape", 3)
    rng = _generator(random_state)
    dictionary = IsacDictionary(antennas, n_subcarriers, bandwidth=bandwidth)
    scatterers = _draw_scatterers(n_scatterers, separation, rng)
    true_params = _draw_users(n_users, rng)
    true_params = {"positions": scatterers, **true_params}
    coef = _draw_coefficients((n_users, n_scatterers), visibility, rng)
    channel = (dictionary(true_params) @ coef[:, None, :, None])[..., 0]
    symbols = QPSK[rng.integers(0, len(QPSK), (n_users, n_subcarriers, n_symbols))]
    clean = np.moveaxis(symbols, 0, -1) @ np.swapaxes(channel, 0, 1)  # (N, L, K) @ (N, K, M)
    y, noise_variance = _add_noise(clean, snr, _complex_normal, rng)
    rough = true_params["users"] + _user_errors(n_users, rng)
    grid, pitch = _grid(cells)
    mask = np.zeros((n_subcarriers, n_symbols), dtype=bool)
    mask[:, :n_pilots] = True
    seen = scatterers[np.any(coef[:, :-1] != 0, axis=0)]
    return Bunch(
        y=y,
        symbols=symbols,
        pilots=np.where(mask, symbols, 0),
        pilot_mask=mask,
        dictionary=dictionary,
        params={"positions": grid, "users": rough, "offsets": np.zeros(n_users)},
        param_std={
            "positions": pitch / 2,
            "users": np.array(USER_STD),
            "offsets": np.array(OFFSET * SPEED_OF_LIGHT),
        },
        pitch=pitch,
        probability=_with_sight(len(grid), 0.05),
        visibility=_with_sight(len(grid), 0.7),
        constellation=QPSK.copy(),
        channel=channel,
        true_params=true_params,
        coef=coef,
        positions=seen,
        noise_variance=noise_variance,
        channel_nmse=functools.partial(_channel_nmse, channel),
        symbol_error_rate=functools.partial(_symbol_error_rate, symbols, mask),
        localisation_error=functools.partial(_localisation_error, seen),
    )


def _check_sizes(shape, name, length):
    """Return ``shape`` as a tuple of so many positive integers."""
    try:
        entries = tuple(shape)
    except TypeError:
        entries = ()
    if len(entries) != length or not all(isinstance(n, Integral) and n >= 1 for n in entries):
        raise ValueError(f"{name} must hold {length} integers >= 1, got {shape!r}.")
    return tuple(int(entry) for entry in entries)


def _draw_scatterers(count, separation, rng):
    """Draw places (count, 3) until no two of them are close."""
    for _ in range(MAX_DRAWS):
        places = np.stack([rng.uniform(*bounds, count) for bounds in SCATTERERS], axis=1)
        apart = np.linalg.norm(places[:, None] - places, axis=-1)
        if np.all(apart[np.triu_indices(count, 1)] >= separation):
            return places
    raise ValueError(
        f"n_scatterers={count} could not be placed at least separation={separation} m apart; "
        "lower one of them."
    )


def _draw_users(count, rng):
    """Draw places (count, 3) and clock errors (count,) in metres."""
    x, y = (rng.uniform(*bounds, count) for bounds in USERS)
    offsets = SPEED_OF_LIGHT * rng.uniform(-OFFSET, OFFSET, count)
    return {"users": np.stack([x, y, np.full(count, USER_HEIGHT)], axis=1), "offsets": offsets}


def _user_errors(count, rng):
    """Draw errors (count, 3) of the users' places; there is none in the height."""
    return rng.standard_normal((count, 3)) * np.array([*USER_STD[:2], 0.0])


def _draw_coefficients(shape, visibility, rng):
    """Draw coefficients of the scatterers, where they are seen, and of the lines of sight."""
    visible = rng.random(shape) < visibility
    echoes = visible * rng.uniform(*AMPLITUDES, shape) * _random_phases(shape, rng)
    sights = SIGHT_AMPLITUDE * _random_phases((shape[0], 1), rng)
    return np.concatenate([echoes, sights], axis=1)


def _random_phases(shape, rng):
    return np.exp(1j * rng.uniform(0, 2 * np.pi, shape))


def _grid(cells):
    """Return the middles (Q', 3) of the cells, x slowest, and their size (3,)."""
    low, high = np.array(CELLS).T
    pitch = (high - low) / cells
    return low + pitch * (np.indices(cells).reshape(3, -1).T + 0.5), pitch


def _with_sight(count, probability):
    return np.append(np.full(count, probability), 0.999)


def _channel_nmse(truth, channel):
    """Return the squared error of an estimate relative to the squared norm of the truth."""
    error = np.sum(np.abs(_same_shape(channel, truth, "channel") - truth) ** 2)
    return float(error / np.sum(np.abs(truth) ** 2))


def _symbol_error_rate(truth, mask, symbols):
    """Return the share of wrong decisions where ``mask`` is not set."""
    symbols = _same_shape(symbols, truth, "symbols")[:, ~mask]
    decided = QPSK[np.argmin(np.abs(symbols[..., None] - QPSK), axis=-1)]
    return float(np.mean(decided != truth[:, ~mask])) if symbols.size else float("nan")


def _localisation_error(truth, positions, cutoff=10.0):
    """Return the capped distances of true places from places assigned to them."""
    positions = np.asarray(positions, dtype=float)
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(f"positions must have shape (n, 3), got {positions.shape}.")
    distances = np.linalg.norm(truth[:, None] - positions, axis=-1).clip(max=cutoff)
    errors = np.full(len(truth), float(cutoff))
    found, assigned = linear_sum_assignment(distances)
    errors[found] = distances[found, assigned]
    return errors


def _same_shape(estimate, truth, name):
    estimate = np.asarray(estimate)
    if estimate.shape != truth.shape:
        raise ValueError(f"{name} must have shape {truth.shape}, got {estimate.shape}.")
    return estimate
