r"""Symmetric tensors, seen only by what they do to points of the sphere.

A tensor Y with k modes of length d enters tensor PCA by the form
:math:`f(\theta) = \langle Y, \theta^{\otimes k} \rangle = \langle S, \theta^{\otimes k} \rangle`,
where S is the mean of Y over the k! orders of its modes. Each class here says for many points
``theta`` (R, d) at once

* ``contract(theta)``, (R, d): :math:`S(\theta, \ldots, \theta, \cdot)`, the gradient of f over k;
* ``partial_trace()``: S summed over pairs of equal indices until one index is left, (d,), for an
  odd k, or two, (d, d), for an even one.

Dense tensors are kept packed: one row for each non-decreasing (k - 1)-tuple of indices, with its
multiplicity, so that a contraction is a matrix product with the monomials of the points. It
takes 2 R d^k / (k - 1)! flops, and the tensor as much less memory.
"""

import math

import array_api_compat
import numpy as np

from sparseopt._core import array_namespace, is_numpy, to_numpy
from sparseopt.decomposition._kernels.tensor import monomials

CHUNK = 1 << 18  # monomials formed at once: they stay in the cache until they are multiplied
MOST_SAMPLED = 4_000_000  # entries of which the median is taken
NORMAL_QUARTILE = 0.6744897501960817


class SymmetricTensor:
    """What all kinds of tensors share: the form, its gradient, and its mean drift.

    Parameters
    ----------
    order : int
        Number k of modes.
    n_features : int
        Length d of each mode.
    like : array
        Stands for the library, device and dtype of points.
    """

    can_unfold = False

    def __init__(self, order, n_features, like):
        self.order, self.n_features, self.like = order, n_features, like

    @property
    def xp(self):
        """The array namespace of points."""
        return array_namespace(self.like)

    def contract(self, theta):
        """Return S(theta, ..., theta, .) for every row of ``theta``."""
        raise NotImplementedError

    def partial_trace(self):
        """Return the vector or matrix that is left when pairs of modes are summed over."""
        raise NotImplementedError

    def gradient(self, theta):
        """Return the gradient of f at every row of ``theta``.

        Parameters
        ----------
        theta : array of shape (n_points, n_features)
            Points.

        Returns
        -------
        array of shape (n_points, n_features)
            Gradients, one a row.
        """
        return self.order * self.contract(theta)

    def value(self, theta):
        """Return f at every row of ``theta``.

        Parameters
        ----------
        theta : array of shape (n_points, n_features)
            Points.

        Returns
        -------
        array of shape (n_points,)
            Values.
        """
        return self.xp.vecdot(self.contract(theta), theta, axis=-1)

    def has_partial_trace(self):
        """Tell whether the partial trace can be computed.

        Returns
        -------
        bool
            Whether it can.
        """
        return True

    def noise_scale(self):
        """Return the standard deviation of the noise, or NaN if entries are out of reach.

        Returns
        -------
        float
            The standard deviation.
        """
        return math.nan


def mean_drift(tensor):
    r"""Return the mean over the sphere of what Langevin dynamics averages.

    With the drift :math:`b = P_\theta \nabla f` and :math:`k = 2 m` or :math:`2 m + 1`, this is
    :math:`E[b] = k\,(k - 2)!!\,(d - 1) / (d (d + 2) \cdots (d + 2 m))\, v` for an odd k and
    :math:`E[\theta b^\top + b \theta^\top] = 2 k\,(k - 1)!! / (d \cdots (d + 2 m))\,
    (d M - \operatorname{tr}(M) I)` for an even one.

    Parameters
    ----------
    tensor : SymmetricTensor
        Its ``partial_trace`` is v or M.

    Returns
    -------
    array of shape (n_features,) or (n_features, n_features)
    """
    k, d, xp = tensor.order, tensor.n_features, tensor.xp
    trace = tensor.partial_trace()
    pairings = math.prod(range(k - 2 if k % 2 else k - 1, 0, -2))
    scale = k * pairings / math.prod(d + 2 * i for i in range(k // 2 + 1))
    if k % 2:
        return (scale * (d - 1)) * trace
    unit = xp.eye(d, dtype=trace.dtype, device=array_api_compat.device(trace))
    return (2 * scale) * (d * trace - xp.linalg.trace(trace) * unit)


class DenseTensor(SymmetricTensor):
    """A tensor given by all its entries.

    Parameters
    ----------
    Y : array of shape (d,) * k
        Real floating entries, of any library; need not be symmetric.
    """

    can_unfold = True

    def __init__(self, Y):
        xp = array_namespace(Y)
        super().__init__(Y.ndim, Y.shape[0], Y)
        self.given = Y
        symmetric = symmetrise(Y)
        self._trace = _trace_pairs(symmetric)
        device = array_api_compat.device(Y)
        rows, counts = sorted_tuples(self.n_features, self.order - 1)
        position = rows @ (self.n_features ** np.arange(self.order - 1)[::-1])
        matrix = xp.reshape(symmetric, (-1, self.n_features))
        packed = xp.take(matrix, xp.asarray(position, device=device), axis=0)
        self._rows = rows if is_numpy(xp) else xp.asarray(rows, device=device)
        self._last, self._tail, self._counts = rows[:, -1], _tail_lengths(rows), counts
        self._packed = packed * xp.asarray(counts, dtype=Y.dtype, device=device)[:, None]

    def contract(self, theta):
        xp, n_rows = self.xp, self._packed.shape[0]
        size = max(1, CHUNK // theta.shape[0])
        total = None
        for start in range(0, n_rows, size):
            stop = min(start + size, n_rows)
            part = self._monomials(theta, start, stop) @ self._packed[start:stop, :]
            total = part if total is None else total + part
        return xp.astype(total, theta.dtype, copy=False)

    def _monomials(self, theta, start, stop):
        """Return the products of coordinates that belong to some rows, (R, stop - start)."""
        rows = self._rows[start:stop, :]
        if is_numpy(self.xp):
            products = np.empty((stop - start, theta.shape[0]), dtype=theta.dtype)
            monomials(np.ascontiguousarray(theta.T), rows, products)
            return products.T
        product = self.xp.take(theta, rows[:, 0], axis=1)
        for m in range(1, self.order - 1):
            product = product * self.xp.take(theta, rows[:, m], axis=1)
        return product

    def partial_trace(self):
        return self._trace

    def entries(self):
        """Return the symmetric tensor, of shape (d,) * k."""
        return symmetrise(self.given)

    def with_random_signs(self, rng):
        """Return the symmetric tensor with a random sign for each of its different entries."""
        shape = self.given.shape
        index = np.sort(np.indices(shape).reshape(self.order, -1), axis=0)
        drawn = rng.choice(np.array([-1.0, 1.0]), size=math.prod(shape))
        signs = np.reshape(drawn[np.ravel_multi_index(index, shape)], shape)
        xp, device = self.xp, array_api_compat.device(self.given)
        return DenseTensor(self.entries() * xp.asarray(signs, dtype=self.like.dtype, device=device))

    def noise_scale(self):
        """Return the standard deviation of the noise from the median absolute entry.

        The entry of S at indices that can be ordered in m ways has the standard deviation of the
        noise over sqrt(m), also if the tensor was symmetrised before: entries are scaled so that
        all have the same one.
        """
        step = max(1, math.ceil(self._packed.shape[0] * self.n_features / MOST_SAMPLED))
        packed = to_numpy(self._packed[::step, :]).astype(np.float64, copy=False)
        last, tail, counts = (a[::step, None] for a in (self._last, self._tail, self._counts))
        column = np.arange(self.n_features)
        orders = self.order * counts / np.where(column == last, tail + 1, 1)
        scaled = packed / counts * np.sqrt(orders)
        return float(np.median(np.abs(scaled[column >= last]))) / NORMAL_QUARTILE


class ProjectedTensor(SymmetricTensor):
    """A dense tensor of which only values are wanted: it is neither symmetrised nor packed.

    Parameters
    ----------
    Y : array of shape (d,) * k
        Real floating entries.
    """

    def __init__(self, Y):
        super().__init__(Y.ndim, Y.shape[0], Y)
        self.given = Y

    def value(self, theta):
        xp, d = self.xp, self.n_features
        rest = xp.reshape(self.given, (-1, d)) @ theta.T  # one column a point
        for _ in range(self.order - 1):
            rest = xp.sum(xp.reshape(rest, (-1, d, theta.shape[0])) * theta.T[None, :, :], axis=1)
        return rest[0, :]


class ScaledTensor(SymmetricTensor):
    """A tensor times a number, which keeps squares of gradients from over- and underflow.

    Parameters
    ----------
    tensor : SymmetricTensor
        The tensor.
    scale : float
        The number.
    """

    def __init__(self, tensor, scale):
        super().__init__(tensor.order, tensor.n_features, tensor.like)
        self.tensor, self.scale = tensor, scale
        self.can_unfold = tensor.can_unfold

    def contract(self, theta):
        return self.scale * self.tensor.contract(theta)

    def has_partial_trace(self):
        return self.tensor.has_partial_trace()

    def partial_trace(self):
        return self.scale * self.tensor.partial_trace()

    def entries(self):
        """Return the symmetric tensor, of shape (d,) * k."""
        return self.scale * self.tensor.entries()

    def with_random_signs(self, rng):
        """Return the tensor with random signs."""
        return ScaledTensor(self.tensor.with_random_signs(rng), self.scale)


class DeflatedTensor(SymmetricTensor):
    """A tensor without some rank-one tensors that were found in it.

    Parameters
    ----------
    tensor : SymmetricTensor
        The tensor.
    found : SymmetricTensor
        The sum of what was found.
    """

    def __init__(self, tensor, found):
        super().__init__(tensor.order, tensor.n_features, tensor.like)
        self.tensor, self.found = tensor, found
        self.can_unfold = tensor.can_unfold

    def contract(self, theta):
        return self.tensor.contract(theta) - self.found.contract(theta)

    def has_partial_trace(self):
        return self.tensor.has_partial_trace()

    def partial_trace(self):
        return self.tensor.partial_trace() - self.found.partial_trace()

    def entries(self):
        """Return the symmetric tensor, of shape (d,) * k."""
        return self.tensor.entries() - self.found.entries()


def power_of_two_near(tensor, theta):
    """Return a power of two near the largest entry of the contractions with some points.

    Raises ValueError if that is not finite.
    """
    largest = float(tensor.xp.max(tensor.xp.abs(tensor.contract(theta))))
    if not math.isfinite(largest):
        raise ValueError(
            "Y has contractions that are not finite: check it for NaN and overflow, or rescale it."
        )
    limit = 120 if tensor.like.dtype == tensor.xp.float32 else 1000  # its inverse is in range too
    return 2.0 ** min(max(math.frexp(largest)[1], -limit), limit)


def symmetrise(Y):
    """Return the mean of a tensor over all orders of its modes, by k (k - 1) / 2 additions.

    The mean over the orders of the first m modes is that over m - 1 modes, averaged over the
    exchanges of mode m with each of those before it.
    """
    xp = array_namespace(Y)
    total = Y
    for m in range(1, Y.ndim):
        exchanged = total
        for j in range(m):
            axes = list(range(Y.ndim))
            axes[j], axes[m] = m, j
            exchanged = exchanged + xp.permute_dims(total, tuple(axes))
        total = exchanged / (m + 1)
    return total


def sorted_tuples(n_features, length):
    """Return the non-decreasing tuples of indices, in order, and in how many orders each occurs.

    Parameters
    ----------
    n_features : int
        Indices are below this.
    length : int
        Length of the tuples.

    Returns
    -------
    rows : ndarray of int of shape (n_tuples, length)
    counts : ndarray of shape (n_tuples,)
    """
    rows = np.arange(n_features, dtype=np.intp)[:, None]
    for _ in range(length - 1):
        repeats = n_features - rows[:, -1]
        ends = np.cumsum(repeats)
        offset = np.arange(ends[-1]) - np.repeat(ends - repeats, repeats)
        last = np.repeat(rows[:, -1], repeats) + offset
        rows = np.column_stack([np.repeat(rows, repeats, axis=0), last])
    return np.ascontiguousarray(rows), n_orders(rows)


def n_orders(rows):
    """Return in how many different orders the entries of each sorted row can be written."""
    count = np.ones(len(rows))
    run = np.ones(len(rows))
    for m in range(1, rows.shape[1]):
        run = np.where(rows[:, m] == rows[:, m - 1], run + 1, 1)
        count *= (m + 1) / run
    return np.round(count)


def _tail_lengths(rows):
    """Return how often the last entry of each sorted row occurs in it."""
    return np.sum(rows == rows[:, -1:], axis=1)


def _trace_pairs(tensor):
    """Sum over pairs of equal indices until one or two modes are left."""
    xp = array_namespace(tensor)
    while tensor.ndim > 2:
        tensor = xp.linalg.trace(tensor)
    return tensor
