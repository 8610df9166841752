"""Sparse linear models with the designs on which solvers are compared."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from sparseopt.datasets._errors import normalized


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_nonzero": [Interval(Integral, 0, None, closed="left")],
        "correlation": [Interval(Real, -1, 1, closed="neither")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_correlated_regression(
    n_samples=500,
    n_features=5000,
    *,
    n_nonzero=50,
    correlation=0.5,
    noise=0.1,
    coef=False,
    random_state=None,
):
    r"""Generate a sparse linear model whose neighbouring features are correlated.

    Rows are independent stationary first-order autoregressive Gaussian sequences:
    features i and j have correlation ``correlation`` :math:`^{|i - j|}` and unit variance.
    Coefficients are standard normal on a random support.

    Parameters
    ----------
    n_samples : int, default=500
        Number of samples.
    n_features : int, default=5000
        Number of features.
    n_nonzero : int, default=50
        Number of features with a non-zero coefficient, at most ``n_features``.
    correlation : float, default=0.5
        Correlation of neighbouring features, between -1 and 1 (exclusive).
    noise : float, default=0.1
        Norm of the noise relative to that of the noise-free target.
    coef : bool, default=False
        Whether to return the coefficients too.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Design, in Fortran order, which solvers that go through columns prefer.
    y : ndarray of shape (n_samples,)
        Target.
    coef : ndarray of shape (n_features,)
        Coefficients; only if ``coef=True``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_text_like_regression : The same with a large sparse design.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_correlated_regression
    >>> X, y = make_correlated_regression(2000, 3, n_nonzero=1, random_state=0)
    >>> np.corrcoef(X.T)[0].round(1)
    array([1. , 0.5, 0.2])
    """
    rng = check_random_state(random_state)
    X = np.asfortranarray(rng.standard_normal((n_samples, n_features)))
    innovation = np.sqrt(1.0 - correlation**2)
    for j in range(1, n_features):
        X[:, j] *= innovation
        X[:, j] += correlation * X[:, j - 1]
    return _with_sparse_target(X, n_nonzero, noise, coef, rng)


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_words": [Interval(Integral, 1, None, closed="left")],
        "n_nonzero": [Interval(Integral, 0, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_text_like_regression(
    n_samples=5000,
    n_features=50_000,
    *,
    n_words=75,
    n_nonzero=100,
    noise=0.1,
    coef=False,
    random_state=None,
):
    r"""Generate a sparse linear model on tf-idf-like features.

    Rows are documents of ``n_words`` words, drawn from a vocabulary of ``n_features`` words
    by Zipf's law. Entries are counts times inverse document frequency
    :math:`1 + \log((1 + n) / (1 + \mathrm{df}))`, and rows are scaled to unit norm, as
    scikit-learn's ``TfidfVectorizer`` does. Coefficients are standard normal on a random
    support among the words that occur.

    Parameters
    ----------
    n_samples : int, default=5000
        Number of documents.
    n_features : int, default=50000
        Size of the vocabulary. Rare words may occur in no document at all.
    n_words : int, default=75
        Number of words of a document.
    n_nonzero : int, default=100
        Number of words with a non-zero coefficient.
    noise : float, default=0.1
        Norm of the noise relative to that of the noise-free target.
    coef : bool, default=False
        Whether to return the coefficients too.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    X : csc_array of shape (n_samples, n_features)
        Sparse design; by columns, which solvers that go through columns prefer.
    y : ndarray of shape (n_samples,)
        Target.
    coef : ndarray of shape (n_features,)
        Coefficients; only if ``coef=True``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_correlated_regression : The same with a dense, correlated design.

    Examples
    --------
    >>> from sparseopt.datasets import make_text_like_regression
    >>> X, y = make_text_like_regression(20, 500, n_words=10, n_nonzero=5, random_state=0)
    >>> X.shape, bool(X.nnz <= 200)
    ((20, 500), True)
    """
    rng = check_random_state(random_state)
    frequencies = np.cumsum(1.0 / np.arange(1, n_features + 1))
    draws = rng.uniform(0.0, frequencies[-1], n_samples * n_words)
    words = np.minimum(np.searchsorted(frequencies, draws), n_features - 1)
    # The vocabulary is in random order: frequent words are not the first columns.
    words = rng.permutation(n_features).astype(np.int32)[words]
    documents = np.repeat(np.arange(n_samples, dtype=np.int32), n_words)
    counts = sparse.coo_array(
        (np.ones(len(words)), (documents, words)), shape=(n_samples, n_features)
    ).tocsc()
    document_frequency = np.diff(counts.indptr)
    idf = 1.0 + np.log((1.0 + n_samples) / (1.0 + document_frequency))
    X = counts * idf
    norms = np.sqrt((X * X).sum(axis=1))
    X = sparse.csc_array(sparse.diags_array(1.0 / norms) @ X)
    return _with_sparse_target(X, n_nonzero, noise, coef, rng, among=document_frequency > 0)


def _with_sparse_target(X, n_nonzero, noise, coef, rng, among=None):
    """Draw coefficients on a support within ``among`` and the target ``X x + noise``."""
    candidates = np.arange(X.shape[1]) if among is None else np.flatnonzero(among)
    if n_nonzero > len(candidates):
        raise ValueError(
            f"n_nonzero must be at most {len(candidates)}, the number of features that can "
            f"have a coefficient, got {n_nonzero}."
        )
    x = np.zeros(X.shape[1])
    x[rng.choice(candidates, n_nonzero, replace=False)] = rng.standard_normal(n_nonzero)
    y = X @ x
    y += noise * np.linalg.norm(y) * normalized(rng.standard_normal(len(y)))
    return (X, y, x) if coef else (X, y)
