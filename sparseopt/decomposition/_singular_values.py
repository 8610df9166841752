r"""Singular values above a threshold, found from those of the last matrix.

A proximal method for the nuclear norm asks again and again for the singular triplets
above a threshold, of matrices that change less and less. Block subspace iteration from
the last right singular vectors (N. Halko, P.-G. Martinsson & J. A. Tropp, "Finding
structure with randomness", SIAM Review 53, 2011) then takes one or two rounds of

    Q = orth(W V),   V = orth(W' Q),   4 m n b flops

with b columns, some more than there are triplets to be found, where a full decomposition
takes about 4 m n min(m, n) flops in slower routines. If b is not small beside min(m, n),
an eigendecomposition of the Gram matrix is faster.
"""

import contextlib
import math

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackNoConvergence, svds

from sparseopt._core import array_namespace, is_numpy
from sparseopt.decomposition._low_rank import LowRankMatrix

OVERSAMPLING = 30  # columns beyond the triplets wanted; they make these converge
FIRST_WIDTH = 40
NORM_WIDTH = 10  # columns of the block that finds the largest value only
SUBSPACE_SHARE = 0.2  # largest share of min(m, n) for which subspace iteration is tried
GRAM_ACCURACY = 1e-6  # thresholds below this part of the largest value need more than W'W
GRAM_ALONE = 4e-3  # thresholds above this part: left vectors are orthogonal to 1e-11 anyway
SMALL = 40  # min(m, n) up to which nothing beats LAPACK's full decomposition
MODERATE = 200  # min(m, n) up to which the norm is taken from a full decomposition
NORM_ROUNDS = 100  # of subspace iteration at most, for the norm of larger matrices
SOLVERS = ("auto", "full", "gram", "subspace")


class ThresholdedSVD:
    """Finds the singular triplets above a threshold, of one matrix after the other.

    Parameters
    ----------
    shape : tuple of two ints
        Shape (m, n) of the matrices.
    dtype : dtype
        Their real floating dtype.
    xp : module, default=numpy
        Their array namespace.
    solver : {"auto", "full", "gram", "subspace"}, default="auto"
        "full" is LAPACK's decomposition, "gram" the eigendecomposition of the smaller Gram
        matrix, followed by a Rayleigh-Ritz step that restores the accuracy of small
        values, and "subspace" block iteration. "auto" takes what is fastest.
    random_state : None, int, RandomState or Generator
        Draws the first block, and new columns.
    rounds : int, default=1
        Subspace iterations of a call. One more is run whenever the block has grown.
    """

    def __init__(
        self, shape, dtype, *, xp=np, solver="auto", random_state=None, device=None, rounds=1
    ):
        if solver not in SOLVERS:
            raise ValueError(f"svd_solver must be one of {SOLVERS}, got {solver!r}.")
        self._shape, self._dtype, self._xp, self._device = shape, dtype, xp, device
        self._solver, self._rounds = solver, rounds
        self._random = _generator(random_state)
        self._width = min(FIRST_WIDTH, min(shape))
        self._basis = None
        self.last_solver = None

    def __call__(self, W, threshold):
        """Return the triplets of ``W`` whose singular value is above ``threshold``."""
        self.last_solver = self._choose()
        if self.last_solver == "subspace":
            found = self._by_subspace(W, threshold)
        elif self.last_solver == "gram":
            found = self._by_gram(W, threshold)
        else:
            found = _full_svd(W)
        kept = _count_above(found.s, threshold)
        self._width = min(self._next_width(kept), min(self._shape))
        return _leading(found, kept)

    def _choose(self):
        if self._solver != "auto":
            return self._solver
        smaller = min(self._shape)
        if smaller <= SMALL:
            return "full"
        return "subspace" if self._width <= SUBSPACE_SHARE * smaller else "gram"

    def _next_width(self, kept):
        # A rank that has grown is likely to grow further.
        grown = kept > self._width - OVERSAMPLING
        return kept + OVERSAMPLING + (math.ceil(0.05 * min(self._shape)) if grown else 0)

    def _by_subspace(self, W, threshold):
        xp, smaller = self._xp, min(self._shape)
        while True:
            grown = self._basis is None or self._basis.shape[1] < self._width
            found = _subspace_iteration(W, self._start(), self._rounds + grown)
            self._basis = xp.matrix_transpose(found.Vt)
            width = found.rank
            if width == smaller or float(found.s[-1]) <= threshold:
                return found
            if self._solver == "auto" and 2 * width > SUBSPACE_SHARE * smaller:
                self.last_solver = "gram"
                return self._by_gram(W, threshold)
            self._width = min(2 * width, smaller)

    def _start(self):
        """Return the last right singular vectors, filled up by random columns."""
        xp, n = self._xp, self._shape[1]
        known = 0 if self._basis is None else min(self._basis.shape[1], self._width)
        if known == self._width:
            return self._basis[:, :known]
        draw = self._random.standard_normal((n, self._width - known)) / math.sqrt(n)
        new = xp.asarray(draw, dtype=self._dtype, device=self._device)
        return new if known == 0 else xp.concat([self._basis[:, :known], new], axis=1)

    def _by_gram(self, W, threshold):
        found = _gram_svd(W, threshold, self._xp)
        if found is None:
            self.last_solver = "full"
            found = _full_svd(W)
        self._basis = self._xp.matrix_transpose(found.Vt)
        return found


def leading_svd(W, rank, *, random_state=None):
    """Return the ``rank`` leading singular triplets of ``W`` as a :class:`LowRankMatrix`.

    Parameters
    ----------
    W : array of shape (m, n)
        Real matrix, from any array library.
    rank : int
        1 <= rank <= min(m, n).
    random_state : None, int, RandomState or Generator
        Start vector of a Lanczos run.
    """
    smaller = min(W.shape)
    if not 1 <= rank <= smaller:
        raise ValueError(f"rank must be between 1 and min(m, n) = {smaller}, got {rank}.")
    xp = array_namespace(W)
    if is_numpy(xp) and 5 * rank < smaller and smaller > 4 * SMALL and np.any(W):
        start = _generator(random_state).standard_normal(smaller)
        with contextlib.suppress(ArpackNoConvergence):  # as it happens with repeated values
            U, s, Vt = svds(W, k=rank, v0=start.astype(W.dtype), tol=0)
            return LowRankMatrix(U[:, ::-1], s[::-1], Vt[::-1])
    return _leading(_full_svd(W), rank)


def spectral_norm(W, *, rtol=None):
    """Return the largest singular value of ``W``.

    Parameters
    ----------
    W : array of shape (m, n)
        Real matrix, from any array library.
    rtol : float, optional
        Block subspace iteration, which approaches it from below, ends when a round changes it
        by less than this part; by default by its rounding. Small matrices are decomposed.
    """
    xp = array_namespace(W)
    if min(W.shape) <= MODERATE:
        return float(xp.max(xp.linalg.svdvals(W)))
    start = np.random.default_rng(0).standard_normal((W.shape[1], NORM_WIDTH))
    V = xp.asarray(start, dtype=W.dtype, device=getattr(W, "device", None))
    rtol = 4 * float(xp.finfo(W.dtype).eps) if rtol is None else rtol
    last = 0.0
    for _ in range(NORM_ROUNDS):
        found = _subspace_iteration(W, V, 1)
        norm, V = float(found.s[0]), xp.matrix_transpose(found.Vt)
        if norm <= last * (1 + rtol):
            break
        last = norm
    return max(norm, last)


def spectral_norm_bound(W, *, guess=None):
    r"""Return an upper bound of the largest singular value of ``W``.

    An iteration only finds lower bounds. This one is proved: :math:`\|W\|_2 < c` if
    :math:`c^2 I - W^\top W` has a Cholesky factor; the bound includes the rounding of
    both. Everything is computed in double precision, in about :math:`k^2 (\max(m, n) + k / 3)`
    flops for :math:`k = \min(m, n)`.

    Parameters
    ----------
    W : array of shape (m, n)
        Real matrix, from any array library.
    guess : float, optional
        What is tried first, by default the result of :func:`spectral_norm`. The bound is at
        least that; its relative excess over the norm is at most twice what the guess lacks,
        or of the order of the rounding.
    """
    xp = array_namespace(W)
    precision = float(xp.finfo(W.dtype).eps)
    W = xp.astype(W, xp.float64)
    guess = spectral_norm(W) if guess is None else guess
    if guess == 0:
        return 0.0
    gram = _small_gram(W, xp)
    k = gram.shape[0]
    rounding = 4 * max(W.shape) * float(np.finfo(np.float64).eps)
    eye = xp.eye(k, dtype=xp.float64, device=getattr(W, "device", None))
    excess = max(2 * rounding, 8 * precision)  # less is not to be expected of the data

    def proves(excess):
        return _is_positive_definite(guess**2 * (1 + excess) * eye - gram, xp)

    if not proves(excess):
        excess *= 16
        while not proves(excess):
            excess *= 16
        for factor in (4, 2):  # now within 16 of the least, then 4, then 2
            excess = excess / factor if proves(excess / factor) else excess
    return guess * math.sqrt((1 + excess) * (1 + rounding))


def _is_positive_definite(A, xp):
    try:
        factor = linalg.cholesky(A, lower=True) if is_numpy(xp) else xp.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return False
    return bool(xp.all(xp.isfinite(factor)))


def _subspace_iteration(W, V, rounds):
    """Return Ritz triplets of ``W`` from the right block ``V``."""
    xp = array_namespace(W)
    Wt = xp.matrix_transpose(W)
    for _ in range(rounds):
        Q = orthonormal_factor(xp.matmul(W, V))[0]
        V, R = orthonormal_factor(xp.matmul(Wt, Q))
    # W ~ Q R' V', and only R is decomposed.
    left, s, right = xp.linalg.svd(xp.matrix_transpose(R), full_matrices=False)
    return LowRankMatrix(xp.matmul(Q, left), s, xp.matmul(right, xp.matrix_transpose(V)))


def orthonormal_factor(P):
    """Return ``Q`` and ``R`` with ``P = Q R`` and ``Q`` orthonormal, by CholeskyQR2.

    Two Cholesky factorisations of Gram matrices (T. Fukaya et al., "CholeskyQR2", ScalA
    2014) run at the speed of matrix products. Columns are scaled first; should they be
    so dependent that the Gram matrix is not definite in this precision, Householder
    reflections take over.
    """
    xp = array_namespace(P)
    norms = xp.sqrt(xp.sum(P * P, axis=0))
    scale = xp.where(norms > 0, norms, xp.ones_like(norms))
    Q, R = P / scale, None
    for _ in range(2):
        step = _cholesky_qr(Q, xp)
        if step is None:
            return tuple(xp.linalg.qr(P))
        Q, factor = step
        R = factor if R is None else xp.matmul(factor, R)
    return Q, R * scale


def _cholesky_qr(P, xp):
    gram = xp.matmul(xp.matrix_transpose(P), P)
    eps = float(xp.finfo(P.dtype).eps)
    if is_numpy(xp):
        factor, info = linalg.lapack.get_lapack_funcs("potrf", (gram,))(gram, lower=False)
        if info != 0 or np.min(np.diagonal(factor)) < 100 * math.sqrt(eps):
            return None
        solve = linalg.blas.get_blas_funcs("trsm", (gram,))
        return np.ascontiguousarray(solve(1.0, factor, P.T, lower=0, trans_a=1).T), factor
    try:
        lower = xp.linalg.cholesky(gram)
    except Exception:  # each array library has an error of its own
        return None
    diagonal = xp.linalg.diagonal(lower)
    if not float(xp.min(diagonal)) >= 100 * math.sqrt(eps):
        return None
    inverse = xp.linalg.inv(lower)
    return xp.matmul(P, xp.matrix_transpose(inverse)), xp.matrix_transpose(lower)


def _small_gram(W, xp):
    Wt = xp.matrix_transpose(W)
    return xp.matmul(W, Wt) if W.shape[0] < W.shape[1] else xp.matmul(Wt, W)


def _gram_svd(W, threshold, xp):
    """Return the triplets above about ``threshold``, or None if this is too inaccurate."""
    wide = W.shape[0] < W.shape[1]
    tall = xp.matrix_transpose(W) if wide else W
    values, vectors = _eigh_above(_small_gram(W, xp), 0.5 * threshold**2, xp)
    if values.shape[0] == 0:
        return _leading(LowRankMatrix(W[:, :0], W[0, :0], W[:0, :]), 0)
    largest = math.sqrt(max(float(values[-1]), 0.0))
    double = xp.finfo(W.dtype).eps < 1e-10
    if threshold < largest * (GRAM_ACCURACY if double else math.sqrt(GRAM_ACCURACY)):
        return None
    if threshold > largest * (GRAM_ALONE if double else math.sqrt(GRAM_ALONE)):
        s, V = xp.sqrt(xp.flip(values)), xp.flip(vectors, axis=1)
        found = LowRankMatrix(xp.matmul(tall, V) / s, s, xp.matrix_transpose(V))
        return found.T if wide else found
    found = _subspace_step(tall, xp.flip(vectors, axis=1), xp)
    return found.T if wide else found


def _subspace_step(tall, V, xp):
    """Return the Rayleigh-Ritz triplets of a tall matrix on the orthonormal columns ``V``."""
    Q, R = orthonormal_factor(xp.matmul(tall, V))
    left, s, right = xp.linalg.svd(R, full_matrices=False)
    return LowRankMatrix(xp.matmul(Q, left), s, xp.matmul(right, xp.matrix_transpose(V)))


def _eigh_above(gram, bound, xp):
    """Return eigenvalues above ``bound``, ascending, and their vectors."""
    if is_numpy(xp):
        return linalg.eigh(
            gram,
            subset_by_value=(bound, np.inf),
            driver="evr",
            overwrite_a=True,
            check_finite=False,
        )
    values, vectors = xp.linalg.eigh(gram)
    first = values.shape[0] - int(xp.count_nonzero(values > bound))
    return values[first:], vectors[:, first:]


def _full_svd(W):
    xp = array_namespace(W)
    if not is_numpy(xp):
        return LowRankMatrix(*xp.linalg.svd(W, full_matrices=False))
    try:
        return LowRankMatrix(*linalg.svd(W, full_matrices=False, check_finite=False))
    except np.linalg.LinAlgError:  # divide and conquer can fail where QR iteration does not
        return LowRankMatrix(*linalg.svd(W, full_matrices=False, lapack_driver="gesvd"))


def _leading(found, count):
    return LowRankMatrix(found.U[:, :count], found.s[:count], found.Vt[:count, :])


def _count_above(s, threshold):
    xp = array_namespace(s)
    return int(xp.count_nonzero(s > threshold))


def _generator(random_state):
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31 - 1))
    return np.random.default_rng(random_state)
