"""Linear algebra that several families need and SciPy does not say.

The Numba helpers work on the leading part of preallocated arrays, so that a solver can
grow and shrink a factorisation without allocation.
"""

import numpy as np
from numba import njit
from scipy import linalg
from scipy.sparse import issparse
from scipy.sparse.linalg import svds

from sparseopt._core._arrays import array_namespace, to_numpy


@njit(cache=True, nogil=True)
def solve_lower(factor, size, rhs):
    """Overwrite ``rhs[:size]`` by ``L^{-1} rhs``; size^2 flops."""
    for i in range(size):
        value = rhs[i]
        for j in range(i):
            value -= factor[i, j] * rhs[j]
        rhs[i] = value / factor[i, i]


@njit(cache=True, nogil=True)
def solve_lower_adjoint(factor, size, rhs):
    """Overwrite ``rhs[:size]`` by ``L^{-H} rhs``; size^2 flops."""
    for i in range(size - 1, -1, -1):
        value = rhs[i]
        for j in range(i + 1, size):
            value -= np.conj(factor[j, i]) * rhs[j]
        rhs[i] = value / np.conj(factor[i, i])


@njit(cache=True, nogil=True)
def cholesky_append(factor, size, cross, diagonal, relative_pivot):
    """Extend ``L`` of the leading Gram block by one row; size^2 flops.

    ``cross[:size]`` holds the new row of the Gram matrix (overwritten), ``diagonal``
    its diagonal entry. Returns False, leaving ``L`` as it was, if the new pivot is at
    most ``relative_pivot * diagonal``: the new column depends on those present.
    """
    remainder = diagonal
    for i in range(size):
        value = cross[i]
        for j in range(i):
            value -= np.conj(factor[i, j]) * cross[j]
        cross[i] = value / np.conj(factor[i, i])
        remainder -= np.abs(cross[i]) ** 2
    if not remainder > relative_pivot * diagonal:
        return False
    for i in range(size):
        factor[size, i] = cross[i]
    factor[size, size] = np.sqrt(remainder)
    return True


@njit(cache=True, nogil=True)
def cholesky_delete(factor, size, index):
    """Remove row and column ``index`` of the Gram matrix from ``L``; ~3 size^2 flops.

    The rows below move up by one, and Givens rotations restore the triangle. After the
    call the leading ``size - 1`` rows and columns hold the new factor.
    """
    for i in range(index, size - 1):
        for j in range(i + 2):
            factor[i, j] = factor[i + 1, j]
    for k in range(index, size - 1):
        a = factor[k, k]
        b = factor[k, k + 1]
        radius = np.sqrt(np.abs(a) ** 2 + np.abs(b) ** 2)
        c = a / radius
        s = b / radius
        for i in range(k, size - 1):
            left = factor[i, k]
            right = factor[i, k + 1]
            factor[i, k] = np.conj(c) * left + np.conj(s) * right
            factor[i, k + 1] = c * right - s * left


def anderson_extrapolation(iterates):
    """Return the affine combination of iterates whose combined step is smallest.

    Parameters
    ----------
    iterates : ndarray of shape (n_iterates, n)
        Successive iterates of a fixed-point map, real or complex.

    Returns
    -------
    extrapolated : ndarray of shape (n,) or None
        None if the steps determine no combination.
    """
    steps = np.diff(iterates, axis=0)
    products = steps.conj() @ steps.T
    scale = np.trace(products).real
    if not scale > 0:
        return None
    products[np.diag_indices_from(products)] += 1e-12 * scale
    try:
        mixture = np.linalg.solve(products, np.ones(len(steps)))
    except np.linalg.LinAlgError:
        return None
    total = mixture.sum()
    if not np.isfinite(total) or total == 0:
        return None
    return ((mixture / total) @ iterates[1:]).astype(iterates.dtype)


class AndersonMixing:
    """Accelerate a fixed-point iteration ``x = F(x)`` by its last steps.

    Anderson's type II method (H. F. Walker & P. Ni, SIAM J. Numer. Anal. 49, 2011): the next
    point is the affine combination of the last values of ``F`` whose combined step is
    smallest. Unlike :func:`anderson_extrapolation` it is applied at every step. It holds
    ``2 memory + 2`` arrays like ``x`` and takes some ``6 memory`` flops an entry.

    Parameters
    ----------
    memory : int
        Number of differences of successive points that are combined.
    """

    def __init__(self, memory):
        self._memory = memory
        self.clear()

    def clear(self):
        """Forget all steps: the map has changed."""
        self._last = None
        self._count = 0

    def __call__(self, x, fx):
        """Return the next point, given ``fx = F(x)``; arrays of any shape."""
        xp = array_namespace(x)
        value = xp.reshape(fx, (-1,))
        step = value - xp.reshape(x, (-1,))
        if self._last is None:
            self._allocate(step, xp)
        else:
            self._store(step - self._last[0], value - self._last[1], xp)
        self._last = step, xp.asarray(value, copy=True)
        mixture = self._mixture(step, xp)
        if mixture is None:
            return fx
        return xp.reshape(value - xp.matmul(mixture, self._values[: mixture.shape[0], :]), x.shape)

    def _allocate(self, step, xp):
        device = getattr(step, "device", None)
        shape = (self._memory, step.shape[0])
        self._steps = xp.empty(shape, dtype=step.dtype, device=device)
        self._values = xp.empty(shape, dtype=step.dtype, device=device)
        self._products = np.zeros((self._memory, self._memory))

    def _store(self, step, value, xp):
        place = self._count % self._memory
        self._steps[place, :] = step
        self._values[place, :] = value
        self._count += 1
        filled = min(self._count, self._memory)
        row = to_numpy(xp.matmul(self._steps[:filled, :], step))
        self._products[place, :filled] = row
        self._products[:filled, place] = row

    def _mixture(self, step, xp):
        filled = min(self._count, self._memory)
        if filled < 2:
            return None
        products = self._products[:filled, :filled].copy()
        products[np.diag_indices(filled)] *= 1 + float(xp.finfo(step.dtype).eps) ** 0.64  # 1e-10
        target = to_numpy(xp.matmul(self._steps[:filled, :], step)).astype(float)
        try:
            mixture = np.linalg.solve(products, target)
        except np.linalg.LinAlgError:
            return None
        if not np.all(np.isfinite(mixture)):
            return None
        return xp.asarray(mixture, dtype=step.dtype, device=getattr(step, "device", None))


def truncated_svd(A, rank, *, random_state=None):
    """Return the ``rank`` leading singular triplets of ``A``.

    LAPACK's full decomposition costs about ``4 m n min(m, n)`` flops, a Lanczos run
    about ``4 m n`` for each of some ``2 rank + 20`` products: the cheaper one is run.

    Parameters
    ----------
    A : ndarray or sparse array of shape (m, n)
        Real or complex matrix.
    rank : int
        Number of triplets, 1 <= rank <= min(m, n).
    random_state : None, int or Generator
        Start vector of the Lanczos run.

    Returns
    -------
    U : ndarray of shape (m, rank)
    s : ndarray of shape (rank,)
        Singular values, largest first.
    Vh : ndarray of shape (rank, n)
    """
    smaller = min(A.shape)
    if not 1 <= rank <= smaller:
        raise ValueError(f"rank must be between 1 and {smaller}, got {rank}.")
    if rank < smaller and (issparse(A) or 2 * rank + 20 < smaller):
        start = np.random.default_rng(random_state).standard_normal(smaller)
        U, s, Vh = svds(A, k=rank, v0=start.astype(np.promote_types(A.dtype, np.float32)))
        return U[:, ::-1], s[::-1], Vh[::-1]
    dense = A.toarray() if issparse(A) else A
    U, s, Vh = linalg.svd(dense, full_matrices=False)
    return U[:, :rank], s[:rank], Vh[:rank]
