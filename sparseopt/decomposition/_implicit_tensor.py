"""Symmetric tensors that are never formed: of few entries, of many factors, or of unknown kind."""

import numpy as np
from scipy import sparse

from sparseopt._core import array_namespace, check_at_least_one
from sparseopt.decomposition._kernels.tensor import coordinate_gradient
from sparseopt.decomposition._symmetric_tensor import SymmetricTensor

CHUNK = 1 << 20  # numbers of a block of the products of factors and points


class CoordinateTensor(SymmetricTensor):
    """A tensor of few entries, as coordinates and values.

    Entries that differ by the order of their indices are one: a symmetric tensor with all its
    copies costs no more than its sorted entries.

    Parameters
    ----------
    coordinates : ndarray of int of shape (nnz, k)
        Indices.
    values : ndarray of shape (nnz,)
        Entries, float32 or float64; equal indices are summed.
    n_features : int
        Length of each mode.
    """

    def __init__(self, coordinates, values, n_features):
        super().__init__(coordinates.shape[1], n_features, np.zeros(0, dtype=values.dtype))
        self.coordinates, self.values = merge_entries(coordinates, values)

    def contract(self, theta):
        points = np.ascontiguousarray(theta.T, dtype=self.values.dtype)
        gradient = np.zeros_like(points)
        tails = np.empty((self.order + 1, points.shape[1]), dtype=points.dtype)
        coordinate_gradient(points, self.coordinates, self.values, tails, gradient)
        return gradient.T / self.order

    def partial_trace(self):
        # The sum over a pair of indices is the Laplacian of the form, over k (k - 1).
        coordinates, values = self.coordinates, self.values
        while coordinates.shape[1] > 2:
            coordinates, values = _laplacian(coordinates, values)
        d = self.n_features
        if coordinates.shape[1] == 1:
            return np.bincount(coordinates[:, 0], values, d).astype(self.values.dtype)
        trace = np.zeros((d, d), dtype=self.values.dtype)
        np.add.at(trace, (coordinates[:, 0], coordinates[:, 1]), values / 2)
        return trace + trace.T

    def with_random_signs(self, rng):
        """Return the tensor with a random sign for each entry, as symmetric noise may have it."""
        flipped = self.values * rng.choice(np.array([-1, 1], self.values.dtype), len(self.values))
        return CoordinateTensor(self.coordinates, flipped, self.n_features)


def merge_entries(coordinates, values):
    """Return entries with sorted indices, each occurring once."""
    coordinates = np.sort(coordinates, axis=1).astype(np.intp, copy=False)
    if len(values) == 0:
        return coordinates, values
    order = np.lexsort(coordinates.T[::-1])
    coordinates, values = coordinates[order], values[order]
    is_first = np.any(coordinates[1:] != coordinates[:-1], axis=1)
    first = np.concatenate([[0], 1 + np.flatnonzero(is_first)])
    return np.ascontiguousarray(coordinates[first]), np.add.reduceat(values, first)


def _laplacian(coordinates, values):
    """Return the entries of the trace over two modes."""
    order = coordinates.shape[1]
    kept, sums = [np.empty((0, order - 2), np.intp)], [np.empty(0, values.dtype)]
    for m in range(order - 1):
        pairs = np.flatnonzero(coordinates[:, m] == coordinates[:, m + 1])
        rows = coordinates[pairs]
        # An index that occurs a times has a - 1 adjacent pairs, and a (a - 1) in all.
        occurs = np.sum(rows == rows[:, m : m + 1], axis=1)
        kept.append(np.delete(rows, (m, m + 1), axis=1))
        sums.append((values[pairs] * occurs / (order * (order - 1))).astype(values.dtype))
    return merge_entries(np.concatenate(kept), np.concatenate(sums))


class FactoredTensor(SymmetricTensor):
    r"""A symmetric tensor given as a weighted sum of powers of vectors.

    It stands for :math:`\sum_i w_i x_i^{\otimes k}`, such as an empirical moment of data, and is
    never formed: a contraction with R points costs 4 R n d flops.

    Parameters
    ----------
    X : array or SciPy sparse array of shape (n_factors, n_features)
        The vectors, one a row. Dense ones may be of any array library.
    weights : array-like of shape (n_factors,), optional
        The weights; :math:`1 / n` each by default.
    order : int, default=3
        The number k of modes, from 2 to 6.

    See Also
    --------
    TensorPCA : Finds the leading rank-one part.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import FactoredTensor, TensorPCA
    >>> tensor = FactoredTensor(np.array([[3.0, 0.0, 4.0]]), weights=[2.0], order=4)
    >>> model = TensorPCA(solver="power", random_state=0).fit(tensor)
    >>> print(model.components_.round(3), model.singular_values_.round(3))
    [[0.6 0.  0.8]] [1250.]
    """

    def __init__(self, X, weights=None, order=3):
        order = check_order(order)
        X, weights = _check_factors(X, weights)
        like = X[:0, :] if not sparse.issparse(X) else np.zeros(0, X.dtype)
        super().__init__(order, X.shape[1], like)
        self.X, self.weights = X, weights

    def contract(self, theta):
        """Return S(theta, ..., theta, .) for every row of ``theta``.

        Parameters
        ----------
        theta : array of shape (n_points, n_features)
            Points.

        Returns
        -------
        array of shape (n_points, n_features)
            Contractions, one a row.
        """
        size = max(1, CHUNK // theta.shape[0])
        total = self.xp.zeros_like(theta)
        for start in range(0, self.X.shape[0], size):
            stop = min(start + size, self.X.shape[0])
            X, weights = self.X[start:stop, :], self.weights[start:stop]
            products = X @ theta.T
            total = total + (X.T @ (weights[:, None] * products ** (self.order - 1))).T
        return total

    def partial_trace(self):
        """Return the vector or matrix that is left when pairs of modes are summed over.

        Returns
        -------
        array of shape (n_features,) or (n_features, n_features)
            A vector for an odd order, a matrix for an even one.
        """
        squares = _row_squares(self.X, self.xp)
        weights = self.weights * squares ** ((self.order - 1) // 2)
        if self.order % 2:
            return self.X.T @ weights
        if sparse.issparse(self.X):
            return (self.X.T @ (sparse.diags_array(weights) @ self.X)).toarray()
        return self.X.T @ (weights[:, None] * self.X)

    def entries(self):
        """Return the tensor as an array.

        Returns
        -------
        array of shape (n_features,) * order
            All entries.
        """
        xp = self.xp
        X = xp.asarray(self.X.toarray()) if sparse.issparse(self.X) else self.X
        letters = (X.shape[1],)
        rows = self.weights[:, None] * X
        for _ in range(self.order - 2):
            rows = xp.reshape(rows[:, :, None] * X[:, None, :], (X.shape[0], -1))
        return xp.reshape(rows.T @ X, letters * self.order)

    def with_random_signs(self, rng):
        """Return the tensor with a random sign for each weight.

        Parameters
        ----------
        rng : numpy.random.Generator
            Draws the signs.

        Returns
        -------
        FactoredTensor
            Of the same vectors.
        """
        signs = self.xp.asarray(rng.choice([-1.0, 1.0], self.X.shape[0]), dtype=self.weights.dtype)
        return FactoredTensor(self.X, self.weights * signs, self.order)


def _row_squares(X, xp):
    return np.asarray(X.multiply(X).sum(axis=1)).ravel() if sparse.issparse(X) else xp.vecdot(X, X)


def _check_factors(X, weights):
    """Return factors and weights in one floating dtype."""
    xp = np if sparse.issparse(X) else array_namespace(X)
    if sparse.issparse(X):
        X = sparse.csr_array(X)
        values = X.data
    else:
        X = values = xp.asarray(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X must be a non-empty matrix, one vector a row, got shape {X.shape}.")
    check_real(values, "X", xp)
    if values.dtype != xp.float32:
        X = X.astype(np.float64) if sparse.issparse(X) else xp.astype(X, xp.float64, copy=False)
    dtype = X.dtype
    weights = xp.full(X.shape[0], 1 / X.shape[0]) if weights is None else xp.asarray(weights)
    if weights.shape != (X.shape[0],):
        raise ValueError(
            f"weights must have shape ({X.shape[0]},), one entry a row of X, got {weights.shape}."
        )
    check_real(weights, "weights", xp)
    return X, xp.astype(weights, dtype, copy=False)


def check_real(values, name, xp):
    """Raise unless ``values`` are real and finite numbers."""
    if xp.isdtype(values.dtype, "complex floating"):
        raise ValueError(f"{name} must be real. Complex data not supported: {values.dtype}.")
    if not xp.isdtype(values.dtype, ("real floating", "integral", "bool")):
        raise ValueError(f"{name} must hold real numbers, got dtype {values.dtype}.")
    if xp.isdtype(values.dtype, "real floating") and not bool(xp.all(xp.isfinite(values))):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries.")


def check_order(order):
    """Return the number of modes as an int from 2 to 6."""
    order = check_at_least_one(order, "order")
    if not 2 <= order <= 6:
        raise ValueError(f"order, the number of modes, must be from 2 to 6, got {order}.")
    return order


class TensorOperator(SymmetricTensor):
    r"""A symmetric tensor known by the gradient of its form only.

    Parameters
    ----------
    gradient : callable
        ``gradient(theta)`` returns for points ``theta`` (n_points, n_features) the gradients
        :math:`k\, S(\theta, \ldots, \theta, \cdot)` of
        :math:`f(\theta) = \langle S, \theta^{\otimes k} \rangle`, in the same shape and library.
    n_features : int
        Length d of each mode.
    order : int
        The number k of modes, from 2 to 6.
    like : array, optional
        An array whose library, device and dtype points shall have; NumPy, float64 by default.

    See Also
    --------
    TensorPCA : Finds the leading rank-one part.

    Notes
    -----
    Partial traces take d evaluations for orders 2 and 3, and d (d - 1) for order 4.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import TensorOperator, TensorPCA
    >>> matrix = np.diag([1.0, -3.0, 2.0])
    >>> tensor = TensorOperator(lambda theta: 2 * theta @ matrix, n_features=3, order=2)
    >>> TensorPCA(random_state=0).fit(tensor).singular_values_
    array([-3.])
    """

    def __init__(self, gradient, n_features, order, like=None):
        if not callable(gradient):
            raise TypeError(f"gradient must be callable, got {gradient!r}.")
        n_features = check_at_least_one(n_features, "n_features")
        super().__init__(check_order(order), n_features, np.zeros(0) if like is None else like)
        self._gradient = gradient

    def contract(self, theta):
        """Return S(theta, ..., theta, .) for every row of ``theta``.

        Parameters
        ----------
        theta : array of shape (n_points, n_features)
            Points.

        Returns
        -------
        array of shape (n_points, n_features)
            Contractions, one a row.
        """
        gradient = self._gradient(theta)
        if getattr(gradient, "shape", None) != theta.shape:
            raise ValueError(
                f"gradient must return an array in the shape of its points, {theta.shape}, got "
                f"{getattr(gradient, 'shape', type(gradient))}."
            )
        return gradient / self.order

    def has_partial_trace(self):
        """Tell whether the partial trace can be computed: up to order 4.

        Returns
        -------
        bool
            Whether it can.
        """
        return self.order <= 4

    def partial_trace(self):
        """Return the vector or matrix that is left when pairs of modes are summed over.

        Returns
        -------
        array of shape (n_features,) or (n_features, n_features)
            A vector for an odd order, a matrix for an even one.
        """
        if not self.has_partial_trace():
            raise ValueError(
                f"The partial trace of a TensorOperator of order {self.order} is out of reach: "
                "it is computed up to order 4."
            )
        xp, d = self.xp, self.n_features
        unit = xp.astype(xp.eye(d), self.like.dtype, copy=False)
        single = self.contract(unit)  # S(e_i, ..., e_i, .)
        if self.order == 2:
            return (single + single.T) / 2
        if self.order == 3:
            return xp.sum(single, axis=0)
        # S(a+b, a+b, a+b, .) - S(a-b, ...) = 2 S(b, b, b, .) + 6 S(a, a, b, .)
        rows = []
        for j in range(d):
            other = xp.concat([unit[:j, :], unit[j + 1 :, :]])
            moved = self.contract(other + unit[j, :]) - self.contract(other - unit[j, :])
            rows.append(xp.sum(moved, axis=0) / 6 - ((d - 1) / 3 - 1) * single[j, :])
        trace = xp.stack(rows)
        return (trace + trace.T) / 2
