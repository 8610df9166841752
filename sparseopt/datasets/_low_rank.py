r"""Low-rank matrices with gross sparse errors, noise, missing entries and outlying samples.

The simulations of

E. J. Candès, X. Li, Y. Ma, J. Wright (2011). Robust principal component analysis? JACM 58(3);
Z. Lin, M. Chen, Y. Ma (2010). The augmented Lagrange multiplier method for exact recovery of
corrupted low-rank matrices. arXiv 1009.5055;
H. Cai, J.-F. Cai, K. Wei (2019). Accelerated alternating projections for robust principal
component analysis. JMLR 20(20).

X = L + S + noise, all (n_samples, n_features), with L of the given rank and S zero but for a
share of its entries.
"""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sparseopt.datasets._causal import _generator

_SIZE = [Interval(Integral, 1, None, closed="left")]
_SHARE = [Interval(Real, 0, 1, closed="both")]
_NONNEGATIVE = [Interval(Real, 0, None, closed="left")]


@validate_params(
    {
        "n_samples": _SIZE,
        "n_features": _SIZE,
        "rank": [Interval(Integral, 0, None, closed="left")],
        "errors": [StrOptions({"signs", "uniform", "relative"})],
        "corrupted": _SHARE,
        "magnitude": [*_NONNEGATIVE, None],
        "noise": _NONNEGATIVE,
        "missing": _SHARE,
        "outlying": _SHARE,
        "dtype": "no_validation",
        "random_state": ["random_state", np.random.Generator],
    },
    prefer_skip_nested_validation=True,
)
def make_low_rank_plus_sparse(
    n_samples=500,
    n_features=500,
    *,
    rank=25,
    errors="signs",
    corrupted=0.05,
    magnitude=None,
    noise=0.0,
    missing=0.0,
    outlying=0.0,
    dtype=np.float64,
    random_state=None,
):
    r"""Generate a low-rank matrix plus sparse gross errors, the problem of robust PCA.

    :math:`X = L + S + \text{noise}` with :math:`L = U V^\top` for Gaussian factors of
    ``rank`` columns, and a matrix S of gross errors at uniformly random places. The defaults
    are a row of the recovery table of [1]_.

    Parameters
    ----------
    n_samples : int, default=500
        Number of samples, the rows of X.
    n_features : int, default=500
        Number of features.
    rank : int, default=25
        Rank of L, at most ``min(n_samples, n_features)``.
    errors : {"signs", "uniform", "relative"}, default="signs"
        Law of the factors and of the errors.

        - "signs": entries of U have variance 1 / n_samples, those of V 1 / n_features, and
          the errors are random signs, which dwarf the entries of L [1]_;
        - "uniform": the factors are standard normal, and the errors uniform between -500
          and 500 [2]_;
        - "relative": the factors are those of "signs", and the errors uniform between
          plus and minus the mean absolute entry of L, so that size does not tell them [3]_.
    corrupted : float, default=0.05
        Share of the entries with an error.
    magnitude : float, default=None
        Size of the errors instead of the law's: the absolute value with "signs", the largest
        one with "uniform", in units of the mean absolute entry of L with "relative".
    noise : float, default=0.0
        Standard deviation of Gaussian noise in all entries of X.
    missing : float, default=0.0
        Share of the entries of X that are NaN, at uniformly random places. S is zero there,
        since nothing is known of it; L is given everywhere.
    outlying : float, default=0.0
        Share of the samples that follow another law: their rows of L are zero, and those of S
        independent normal values as large as the entries of L.
    dtype : {numpy.float64, numpy.float32}, default=numpy.float64
        Type of the arrays. Random numbers are drawn in double precision.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Data; NaN where they are missing.
    low_rank : ndarray of shape (n_samples, n_features)
        The low-rank part L.
    sparse : ndarray of shape (n_samples, n_features)
        The errors S.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    .. [1] E. J. Candès, X. Li, Y. Ma, J. Wright (2011). Robust principal component analysis?
       Journal of the ACM 58(3).
    .. [2] Z. Lin, M. Chen, Y. Ma (2010). The augmented Lagrange multiplier method for exact
       recovery of corrupted low-rank matrices. arXiv 1009.5055.
    .. [3] H. Cai, J.-F. Cai, K. Wei (2019). Accelerated alternating projections for robust
       principal component analysis. JMLR 20(20).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_low_rank_plus_sparse
    >>> X, low_rank, sparse = make_low_rank_plus_sparse(60, 40, rank=3, random_state=0)
    >>> int(np.linalg.matrix_rank(low_rank)), int(np.count_nonzero(sparse))
    (3, 120)
    >>> np.array_equal(X, low_rank + sparse)
    True
    """
    if rank > min(n_samples, n_features):
        raise ValueError(
            f"rank must be at most {min(n_samples, n_features)}, the smaller side of the matrix, "
            f"got {rank}."
        )
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float64 or float32, got {dtype!r}.")
    rng = _generator(random_state)
    shape = (n_samples, n_features)
    low_rank, scale = _draw_low_rank(shape, rank, errors, rng)
    sparse = _draw_errors(low_rank, errors, corrupted, magnitude, rng)
    rows = rng.permutation(n_samples)[: int(outlying * n_samples)]
    low_rank[rows] = 0
    sparse[rows] = scale * rng.standard_normal((len(rows), n_features))
    X = low_rank + sparse
    if noise > 0:
        X += noise * rng.standard_normal(shape)
    if missing > 0:
        gone = _random_entries(X.size, missing, rng)
        X.flat[gone] = np.nan
        sparse.flat[gone] = 0
    return tuple(array.astype(dtype, copy=False) for array in (X, low_rank, sparse))


def _draw_low_rank(shape, rank, errors, rng):
    """Return L and the standard deviation of its entries."""
    sides = (1.0, 1.0) if errors == "uniform" else np.sqrt(shape)
    U, V = (rng.standard_normal((n, rank)) / side for n, side in zip(shape, sides))
    return U @ V.T, np.sqrt(rank) / (sides[0] * sides[1])


def _draw_errors(low_rank, errors, corrupted, magnitude, rng):
    sparse = np.zeros(low_rank.shape)
    where = _random_entries(sparse.size, corrupted, rng)
    if magnitude is None:
        magnitude = 500.0 if errors == "uniform" else 1.0
    if errors == "relative":
        magnitude *= np.mean(np.abs(low_rank))
    values = 2 * rng.random(len(where)) - 1
    sparse.flat[where] = magnitude * (np.sign(values) if errors == "signs" else values)
    return sparse


def _random_entries(size, share, rng):
    return rng.permutation(size)[: int(share * size)]
