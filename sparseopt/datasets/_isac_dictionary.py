r"""Signals that single reflections send to an antenna array, as functions of the geometry.

A base station with a planar array at b hears user k at :math:`u_k` by way of a scatterer at p, on
subcarrier n with frequency :math:`f_n`, as

    Phi[k, n, :, q] = a(p) exp(-j 2 pi f_n (|p - b| + |p - u_k| + o_k) / c) / sqrt(N)

where a is the array's response to a direction and :math:`o_k` an offset of the user's clock. All
derivatives are those of phases, and follow from three vectors: the unit vectors from the base
station and from the user to the scatterer, and the derivative of the direction.
"""

import math

import array_api_compat
import numpy as np

from sparseopt._core import array_namespace

SPEED_OF_LIGHT = 299_792_458.0


class IsacDictionary:
    r"""Dictionary of the echoes of scatterers and of lines of sight, with derivatives.

    Column q is what a scatterer at ``positions[q]`` makes of the signal of each user; the last
    column is the line of sight, which has no position of its own. With a the response of the
    array, of unit norm, b the place of the base station and c the speed of light,

    .. math:: \Phi_{kn, :, q} = \tfrac{1}{\sqrt N} a(p_q) \exp\Big(-\mathrm{j} 2 \pi
        \frac{f_n}{c} \big(|p_q - b| + |p_q - u_k| + o_k\big)\Big).

    The parameters are a dict with the entries

    - ``"positions"``, shape (Q', 3): the scatterers, in metres; of a column each;
    - ``"users"``, shape (K, 3): the users, in metres; of a group each;
    - ``"offsets"``, shape (K,): the errors of the users' clocks times the speed of light, in metres
      like all the rest, so that one scale fits all parameters.

    Arrays that are not NumPy's give results of their own kind.

    Parameters
    ----------
    array_shape : tuple of 2 int, default=(8, 6)
        Numbers of antennas along x and along z, half a wavelength apart; M is their product.
    n_subcarriers : int, default=16
        Number of blocks N.
    bandwidth : float, default=100e6
        Bandwidth in hertz; the frequencies are centred at 0, ``bandwidth / n_subcarriers`` apart.
    base_station : sequence of 3 float, default=(0.0, 0.0, 20.0)
        Centre of the antenna array.
    separate_sight : bool, default=False
        Whether each user's line of sight is a column of its own, zero for the others, rather than
        all of them one column. Then the dictionary factors; see :meth:`factors`.

    Attributes
    ----------
    kinds : dict of str
        What each parameter moves: ``"column"`` or ``"group"``.

    See Also
    --------
    make_isac_scene : Draws scenes with such a dictionary.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import IsacDictionary
    >>> dictionary = IsacDictionary(array_shape=(3, 2), n_subcarriers=4)
    >>> params = {
    ...     "positions": np.array([[2.0, 40.0, 3.0], [-5.0, 60.0, 8.0]]),
    ...     "users": np.array([[1.0, 25.0, 1.5]]),
    ...     "offsets": np.zeros(1),
    ... }
    >>> dictionary(params).shape
    (1, 4, 6, 3)
    >>> dictionary(params, np.array([1])).shape
    (1, 4, 6, 1)
    >>> {name: value.shape for name, value in dictionary.jac(params).items()}
    {'positions': (1, 4, 6, 3, 3), 'users': (1, 4, 6, 3, 3), 'offsets': (1, 4, 6, 3)}
    """

    def __init__(
        self,
        array_shape=(8, 6),
        n_subcarriers=16,
        *,
        bandwidth=100e6,
        base_station=(0.0, 0.0, 20.0),
        separate_sight=False,
    ):
        self.array_shape = tuple(array_shape)
        self.n_subcarriers = n_subcarriers
        self.bandwidth = bandwidth
        self.base_station = tuple(base_station)
        self.separate_sight = separate_sight
        self.kinds = {"positions": "column", "users": "group", "offsets": "group"}

    def __call__(self, params, columns=None):
        """Evaluate the dictionary, or some of its columns.

        Parameters
        ----------
        params : dict of arrays
            Values of ``"positions"``, ``"users"`` and ``"offsets"``.
        columns : ndarray of int of shape (C,), default=None
            Columns wanted, in this order; all by default.

        Returns
        -------
        values : array of shape (K, N, M, C)
            The columns.
        """
        scene = _Geometry(self, params, columns)
        return scene.arrange(scene.echoes(), scene.sights())

    def factors(self, params, columns=None):
        """Return the two factors of the dictionary, whose product is never formed.

        Every column is one response of the array times a phase for each user and subcarrier:
        ``values[k, n, :, q] == atoms[:, q] * phases[k, n, q]``. The lines of sight have this form
        only with ``separate_sight=True``. :class:`~sparseopt.sparse_bayes.FactoredDictionary`
        computes with such factors.

        Parameters
        ----------
        params : dict of arrays
            Values of ``"positions"``, ``"users"`` and ``"offsets"``.
        columns : ndarray of int of shape (C,), default=None
            Columns wanted, in this order; all by default.

        Returns
        -------
        atoms : array of shape (M, C)
            Responses of the array.
        phases : array of shape (K, N, C)
            What the way to each user does on each subcarrier.

        Raises
        ------
        ValueError
            If the users' lines of sight are one column.
        """
        scene = _Geometry(self, params, columns)
        if not self.separate_sight and scene.sight.size:
            raise ValueError(
                "the shared column of the lines of sight does not factor; use "
                "IsacDictionary(separate_sight=True), or leave the last column out."
            )
        atoms, phases = scene.factors()
        if not scene.sight.size:
            return scene.arrange(atoms, None), scene.arrange(phases, None)
        steering, turns = scene.sight_factors()
        steering = scene.pick(steering, scene.sight, axis=1)
        own = turns[:, :, None] * scene.share[:, None, :]
        return scene.arrange(atoms, steering), scene.arrange(phases, own)

    def jac(self, params, columns=None):
        """Return the derivative of each column by the parameters that move it.

        Parameters
        ----------
        params : dict of arrays
            Values of ``"positions"``, ``"users"`` and ``"offsets"``.
        columns : ndarray of int of shape (C,), default=None
            Columns wanted, in this order; all by default.

        Returns
        -------
        derivatives : dict of arrays
            ``"positions"`` and ``"users"`` of shape (K, N, M, C, 3), ``"offsets"`` of shape
            (K, N, M, C): entry [k, n, m, q] of the dictionary by row q of the positions, and by
            row k of the others.
        """
        return _jacobian(_Geometry(self, params, columns))

    def vjp(self, params, G):
        """Return the gradient of 2 Re <G, Phi(params)>, without the derivatives of single entries.

        Parameters
        ----------
        params : dict of arrays
            Values of ``"positions"``, ``"users"`` and ``"offsets"``.
        G : array of shape (K, N, M, Q)
            Weights of the dictionary's entries.

        Returns
        -------
        gradient : dict of arrays
            One array of the shape of each parameter.
        """
        return _gradient(_Geometry(self, params, None), G)


class _Geometry:
    """Distances and directions of the chosen columns.

    ``echo`` and ``sight`` are the host indices of the positions and the lines of sight wanted;
    C' is the number of the former, C'' that of the latter, and ``share`` (K, C'') tells which user
    has which line of sight. ``wave`` (N,) are the wave numbers 2 pi f / c, and ``ix``, ``iz`` (M,)
    the antennas' places in units of half a wavelength.
    """

    def __init__(self, dictionary, params, columns):
        self.xp = xp = array_namespace(*(params[name] for name in dictionary.kinds))
        positions, users, offsets = (_floating(xp, params[name]) for name in dictionary.kinds)
        self.device = array_api_compat.device(users)
        self.complex_type = xp.result_type(users.dtype, xp.complex64)
        self.n_positions, n_users = positions.shape[0], users.shape[0]
        separate = dictionary.separate_sight
        self.echo, self.sight, self.order = _split(
            columns, self.n_positions, n_users if separate else 1
        )
        share = np.eye(n_users) if separate else np.ones((n_users, 1))
        self.share = xp.asarray(share[:, self.sight], dtype=self.complex_type, device=self.device)
        if columns is not None:
            positions = self.pick(positions, self.echo, axis=0)
        count = dictionary.n_subcarriers
        tones = (np.arange(count) - (count - 1) / 2) * dictionary.bandwidth / count
        places = np.indices(dictionary.array_shape).reshape(2, -1)
        places = places - (np.array(dictionary.array_shape)[:, None] - 1) / 2
        self.ix, self.iz = (self._constant(row, users) for row in places)
        self.wave = self._constant(2 * np.pi * tones / SPEED_OF_LIGHT, users)
        base = self._constant(dictionary.base_station, users)
        self.reach, self.direction = _polar(xp, positions - base)  # (C',), (C', 3)
        ways = positions[None, :, :] - users[:, None, :]
        self.leg, self.toward = _polar(xp, ways)  # (K, C'), (K, C', 3)
        self.user_reach, self.user_direction = _polar(xp, users - base)  # (K,), (K, 3)
        self.path = self.reach + self.leg + offsets[:, None]
        self.user_path = self.user_reach + offsets

    def _constant(self, values, like):
        return self.xp.asarray(np.asarray(values), dtype=like.dtype, device=self.device)

    def pick(self, array, indices, axis):
        """Take entries whose indices are on the host."""
        return self.xp.take(array, self.xp.asarray(indices, device=self.device), axis=axis)

    def turn(self, angle, length):
        """Return exp(j angle) / sqrt(length)."""
        turned = self.xp.exp(1j * self.xp.astype(angle, self.complex_type))
        return turned / math.sqrt(length)

    def steer(self, direction):
        """Return the responses (M, C) of the array to unit vectors (C, 3)."""
        angle = self.ix[:, None] * direction[:, 0] + self.iz[:, None] * direction[:, 2]
        return self.turn(math.pi * angle, self.ix.shape[0])

    def factors(self):
        """Return the atoms (M, C') and the phases (K, N, C') of the echoes."""
        angle = -self.wave[:, None] * self.path[:, None, :]
        return self.steer(self.direction), self.turn(angle, self.wave.shape[0])

    def sight_factors(self):
        """Return the responses (M, K) and the phases (K, N) of the lines of sight."""
        angle = -self.wave * self.user_path[:, None]
        return self.steer(self.user_direction), self.turn(angle, self.wave.shape[0])

    def echoes(self):
        """Return the columns (K, N, M, C') of the positions."""
        atoms, phases = self.factors()
        return atoms * phases[:, :, None, :]

    def sights(self):
        """Return the columns of the lines of sight that are wanted, or None."""
        if not self.sight.size:
            return None
        steering, turns = self.sight_factors()
        return self.spread(_outer(self.xp, steering, turns))

    def spread(self, own):
        """Return each user's own (K, N, M, ...) in the columns (K, N, M, C'', ...) it shares."""
        trailing = (1,) * (own.ndim - 3)
        share = self.xp.reshape(self.share, (self.share.shape[0], 1, 1, -1, *trailing))
        return self.xp.expand_dims(own, axis=3) * share

    def arrange(self, echoes, sights, axis=-1):
        """Return echoes and lines of sight in the order in which columns are wanted."""
        joined = echoes if sights is None else self.xp.concat((echoes, sights), axis=axis)
        return joined if self.order is None else self.pick(joined, self.order, axis)

    def bend(self, reach, direction):
        """Return the derivatives (C, 3) of the x and z entries of unit vectors by their ends."""
        rows = []
        for entry in (0, 2):
            unit = np.zeros(3)
            unit[entry] = 1.0
            straight = self._constant(unit, direction)
            along = direction[:, entry][:, None] * direction
            rows.append((straight - along) / reach[:, None])
        return rows

    def slope(self, reach, direction):
        """Return the derivatives (M, C, 3) of the phases of the array's responses."""
        x, z = self.bend(reach, direction)
        return math.pi * (
            self.ix[:, None, None] * x[None, :, :] + self.iz[:, None, None] * z[None, :, :]
        )


def _split(columns, n_positions, n_sights):
    """Return the positions and the lines of sight among ``columns``, and how to interleave them."""
    if columns is None:
        return np.arange(n_positions), np.arange(n_sights), None
    columns = np.asarray(columns)
    is_sight = columns >= n_positions
    order = np.empty(columns.size, dtype=int)
    order[np.argsort(is_sight, kind="stable")] = np.arange(columns.size)
    if np.array_equal(order, np.arange(columns.size)):
        order = None
    return columns[~is_sight], columns[is_sight] - n_positions, order


def _polar(xp, vectors):
    """Return the lengths and the directions of vectors along the last axis."""
    length = xp.sqrt(xp.sum(vectors * vectors, axis=-1))
    return length, vectors / length[..., None]


def _floating(xp, values):
    values = xp.asarray(values)
    floating = xp.isdtype(values.dtype, "real floating")
    return values if floating else xp.astype(values, xp.float64)


def _outer(xp, steering, turns):
    """Return the lines of sight (K, N, M) from responses (M, K) and phases (K, N)."""
    return xp.permute_dims(steering, (1, 0))[:, None, :] * turns[:, :, None]


def _jacobian(scene):
    xp, kind = scene.xp, scene.complex_type
    turned = 1j * scene.echoes()
    wave = xp.reshape(scene.wave, (-1, 1, 1, 1))
    response = scene.slope(scene.reach, scene.direction)
    way = (scene.direction + scene.toward)[:, None, None, :, :]
    positions = turned[..., None] * xp.astype(response - wave * way, kind)
    users = turned[..., None] * xp.astype(wave * scene.toward[:, None, None, :, :], kind)
    offsets = turned * xp.astype(-scene.wave[:, None, None], kind)
    if not scene.sight.size:
        sights = user_sights = offset_sights = None
    else:
        own = 1j * _outer(xp, *scene.sight_factors())
        response = xp.permute_dims(scene.slope(scene.user_reach, scene.user_direction), (1, 0, 2))
        away = scene.wave[:, None, None] * scene.user_direction[:, None, None, :]
        slope = xp.astype(response[:, None, :, :] - away, kind)
        user_sights = scene.spread(own[..., None] * slope)
        offset_sights = scene.spread(own * xp.astype(-scene.wave[:, None], kind))
        sights = xp.zeros_like(user_sights)
    return {
        "positions": scene.arrange(positions, sights, axis=3),
        "users": scene.arrange(users, user_sights, axis=3),
        "offsets": scene.arrange(offsets, offset_sights, axis=3),
    }


def _gradient(scene, G):
    xp, count = scene.xp, scene.n_positions
    atoms, phases = scene.factors()
    weights = xp.conj(G[..., :count])
    across = xp.imag(atoms * xp.sum(weights * phases[:, :, None, :], axis=(0, 1)))  # (M, Q')
    along = xp.imag(phases * xp.sum(weights * atoms, axis=2))
    along = xp.sum(scene.wave[:, None] * along, axis=1)  # (K, Q')
    positions = _tilt(scene, xp.permute_dims(across, (1, 0)), scene.reach, scene.direction)
    way = scene.direction + scene.toward
    positions = positions + xp.sum(along[..., None] * way, axis=0)
    users = -xp.sum(along[..., None] * scene.toward, axis=1)
    # Each line of sight moves with its user alone.
    sights = xp.sum(xp.conj(G[..., count:]) * scene.share[:, None, None, :], axis=-1)
    own = xp.imag(sights * _outer(xp, *scene.sight_factors()))  # (K, N, M)
    users = users + _tilt(scene, xp.sum(own, axis=1), scene.user_reach, scene.user_direction)
    straight = xp.sum(scene.wave * xp.sum(own, axis=2), axis=1)  # (K,)
    users = users + straight[:, None] * scene.user_direction
    offsets = xp.sum(along, axis=1) + straight
    return {"positions": 2 * positions, "users": 2 * users, "offsets": 2 * offsets}


def _tilt(scene, across, reach, direction):
    """Return what the responses of the array contribute to half a gradient (C, 3).

    ``across`` (C, M) are the imaginary parts of the products of weights and entries.
    """
    x, z = scene.bend(reach, direction)
    sums = (scene.xp.sum(across * place, axis=1)[:, None] for place in (scene.ix, scene.iz))
    return -math.pi * sum(total * bend for total, bend in zip(sums, (x, z)))
