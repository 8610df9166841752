r"""The data of a linear or bilinear model, as what the updates of the coefficients need of them.

    bilinear:  y[n, l] = sum_k d[k, n, l] Phi[k, n] x[k] + noise,
    linear:    y[k] = X x[k] + noise, one group k a target,

for y (N, L, M) or (M, K), Phi (K, N, M, Q) or X (M, Q), symbols d (K, N, L), coefficients x (K, Q).
Either is y = F x + noise, where F depends on the symbols. Only expectations of F^H F and F^H y over
the symbols matter to x. F^H F, of size K Q, is never formed, but for blocks of few columns.
"""

import math

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import conjugate, squared_sum
from sparseopt.sparse_bayes._variational._symbols import image_scores


class LinearDesign:
    """Targets that are linear in coefficients of their own.

    Parameters
    ----------
    X : array of shape (M, Q)
        Features.
    Y : array of shape (M, K)
        Targets.
    n_rows : float, optional
        Number of rows that these stand for, if rows are weighted.
    """

    is_decoupled = True  # F^H F is zero between groups

    def __init__(self, X, Y, n_rows=None):
        xp = array_namespace(X, Y)
        self.X, self.Y = X, Y
        self.shape = (Y.shape[1], X.shape[1])
        self.half = 1.0 if xp.isdtype(X.dtype, "complex floating") else 0.5
        self.n_observations = (X.shape[0] if n_rows is None else n_rows) * Y.shape[1]
        self.energy = squared_sum(Y)
        self._adjoint = conjugate(X).T
        self.correlation = xp.matmul(self._adjoint, Y).T
        norms = to_numpy(xp.sum(xp.abs(X) ** 2, axis=0))
        self.diagonal = self.known_diagonal = np.broadcast_to(norms, self.shape)
        self._block = (np.zeros(0, dtype=int), np.zeros((0, 0)))

    def apply_gram(self, v):
        """Return ``F^H F v``."""
        xp = array_namespace(v)
        return xp.matmul(self._adjoint, xp.matmul(self.X, v.T)).T

    def gram_block(self, active):
        """Return the rows and columns ``active`` (flat) of ``F^H F``, on the host."""
        if not np.array_equal(active, self._block[0]):
            groups, columns = np.divmod(active, self.shape[1])
            xp = array_namespace(self.X)
            chosen = xp.take(self.X, xp.asarray(columns, device=self.X.device), axis=1)
            gram = to_numpy(xp.matmul(conjugate(chosen).T, chosen))
            self._block = active, gram * (groups[:, None] == groups)
        return self._block[1]  # most iterations ask for the same again

    def take(self, posterior):
        """Take a posterior of the coefficients, for :meth:`expected_residual`."""
        xp = array_namespace(posterior.mean)
        self._residual = squared_sum(self.Y - xp.matmul(self.X, posterior.mean.T))
        rest = posterior.variance.copy()
        rest.flat[posterior.active] = 0
        self._residual += float(np.sum(self.diagonal * rest))
        if len(posterior.active):
            products = self.gram_block(posterior.active) * posterior.block.T
            self._residual += float(np.sum(products).real)

    def expected_residual(self):
        """Return the expectation of ``||y - F x||^2``."""
        return self._residual


class BilinearDesign:
    """Observations through a dictionary and symbols that are partly unknown.

    Parameters
    ----------
    dictionary : DenseDictionary or FactoredDictionary
        Of shape (K, N, M, Q).
    Y : array of shape (N, L, M)
        Observations.
    symbols : SymbolPosterior
        What is known of the symbols.
    """

    is_decoupled = False

    def __init__(self, dictionary, Y, symbols):
        xp = array_namespace(Y)
        self.Y = Y
        self.half = 1.0 if xp.isdtype(Y.dtype, "complex floating") else 0.5
        self.n_observations = math.prod(Y.shape)
        self.energy = squared_sum(Y)
        self._set_dictionary(dictionary)
        self.observe(symbols)

    def replace_dictionary(self, dictionary):
        """Use other columns, with the same symbols."""
        self._set_dictionary(dictionary)
        self._project()

    def _set_dictionary(self, dictionary):
        self.dictionary = dictionary
        self.shape = (dictionary.shape[0], dictionary.shape[3])
        self.squared_norms = to_numpy(dictionary.squared_norms())

    def observe(self, symbols):
        """Take other moments of the symbols."""
        xp = array_namespace(self.Y)
        self.symbols = symbols
        mean = np.moveaxis(symbols.mean, 1, 0)  # (N, K, L)
        self.moments = mean.conj() @ mean.swapaxes(1, 2) + symbols.covariance.swapaxes(1, 2)
        self.mixing = self._on_device(self.moments)
        self._mean = self._on_device(mean)
        # sum_l conj(d_kl) y_l
        self.target = xp.matmul(conjugate(self._mean), self.Y)  # (N, K, M)
        self._project()

    def _on_device(self, array):
        return array_namespace(self.Y).asarray(array, dtype=self.Y.dtype, device=self.Y.device)

    def _project(self):
        xp = array_namespace(self.Y)
        self.correlation = self.dictionary.adjoint(xp.permute_dims(self.target, (1, 0, 2)))
        weights = np.diagonal(self.moments, axis1=1, axis2=2).real  # (N, K)
        self.diagonal = np.einsum("nk,knq->kq", weights, self.squared_norms)

    @property
    def known_diagonal(self):
        """What the means of the symbols contribute to ``diagonal``."""
        weights = np.sum(np.abs(self.symbols.mean) ** 2, axis=2)  # (K, N)
        return np.einsum("kn,knq->kq", weights, self.squared_norms)

    def forward(self, v):
        """Return ``Phi[k, n] v[k]`` as an array (N, K, M)."""
        xp = array_namespace(v)
        return xp.permute_dims(self.dictionary.forward(v), (1, 0, 2))

    def apply_gram(self, v):
        """Return ``<F^H F> v``."""
        xp = array_namespace(v)
        mixed = xp.matmul(self.mixing, self.forward(v))
        return self.dictionary.adjoint(xp.permute_dims(mixed, (1, 0, 2)))

    def _active_columns(self, active):
        """Return the groups of flat indices, and their columns (N, M, n_active)."""
        groups, columns = np.divmod(active, self.shape[1])
        unique, where = np.unique(columns, return_inverse=True)
        chosen = self.dictionary.columns(unique)
        xp = array_namespace(chosen)
        K, N, M, C = chosen.shape
        flat = xp.reshape(xp.permute_dims(chosen, (1, 2, 0, 3)), (N, M, K * C))
        return groups, xp.take(flat, xp.asarray(groups * C + where, device=flat.device), axis=2)

    def _block_products(self, columns):
        """Yield the Gram matrix of the active columns in each block, on the host."""
        xp = array_namespace(columns)
        for block in range(columns.shape[0]):
            matrix = columns[block, ...]
            yield to_numpy(xp.matmul(conjugate(matrix).T, matrix))

    def gram_block(self, active):
        """Return the rows and columns ``active`` (flat) of ``<F^H F>``, on the host."""
        groups, columns = self._active_columns(active)
        total = 0.0
        for moments, products in zip(self.moments, self._block_products(columns), strict=True):
            total = total + moments[np.ix_(groups, groups)] * products
        return total

    def take(self, posterior):
        """Take a posterior of the coefficients, for what follows.

        This computes their images Phi[k, n] <x[k]>, and the second moments of Phi[k, n] x[k] that
        come from the covariance, tr(Phi[k, n]^H Phi[j, n] Sigma[j, k]), an array (N, K, K).
        """
        self.images = self.forward(posterior.mean)
        images = to_numpy(self.images)
        self.products = images.conj() @ images.swapaxes(1, 2)
        self.spread = self._spread(posterior)

    def _spread(self, posterior):
        K = self.shape[0]
        rest = posterior.variance.copy()
        rest.flat[posterior.active] = 0
        out = np.zeros((len(self.moments), K, K), dtype=posterior.block.dtype)
        out[:, np.arange(K), np.arange(K)] = np.einsum("knq,kq->nk", self.squared_norms, rest)
        if len(posterior.active):
            groups, columns = self._active_columns(posterior.active)
            member = (groups[:, None] == np.arange(K)).astype(float)
            for matrix, products in zip(out, self._block_products(columns), strict=True):
                matrix += member.T @ (products * posterior.block.T) @ member
        return out

    def scores(self):
        """Return the products (N, K, L) of images and observations, on the host."""
        return image_scores(self.images, self.Y)

    def expected_residual(self):
        """Return the expectation of ``||y - F x||^2``, without cancellation."""
        xp = array_namespace(self.Y)
        fitted = xp.matmul(xp.permute_dims(self._mean, (0, 2, 1)), self.images)
        doubt = self.symbols.covariance.swapaxes(1, 2) * self.products + self.moments * self.spread
        return squared_sum(self.Y - fitted) + float(np.sum(doubt).real)
