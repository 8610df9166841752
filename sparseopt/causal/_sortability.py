r"""How far the order of marginal statistics gives the causal order away.

A. G. Reisach, C. Seiler, S. Weichwald (2021). Beware of the Simulated DAG! Causal Discovery
Benchmarks May Be Easy to Game. NeurIPS 34.
A. G. Reisach, M. Tami, C. Seiler, A. Chambaz, S. Weichwald (2023). A Scale-Invariant Sorting
Criterion to Find a Causal Order in Additive Noise Models. NeurIPS 36.
"""

import numpy as np
from scipy import linalg
from sklearn.utils import check_array

from sparseopt.causal._graphs import check_adjacency

TIE = 1e-9  # relative difference below which two scores are equal but for rounding
DEPENDENT = 1e-12  # share of a column's variance that the others leave unexplained


def varsortability(X, adjacency):
    """Return the share of directed paths along which the variance rises.

    Simulated data often have it near one: noise adds up from causes to effects. Sorting the
    variables by their variances then finds the causal order, and any method that looks at
    scales has an easy life. Near one half the scales tell nothing; they never do once each
    column has been standardised [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Samples.
    adjacency : array-like of shape (n_features, n_features)
        ``adjacency[i, j]`` is nonzero if there is an edge from i to j; no cycles.

    Returns
    -------
    varsortability : float
        Between 0 and 1; NaN if there are no edges.

    Raises
    ------
    ValueError
        If the data are not finite, if the matrix is not square, real and finite, if the graph
        has a cycle, or if the sizes do not fit.

    See Also
    --------
    r2_sortability : A measure that does not depend on scales.

    Notes
    -----
    For each number of edges, each pair (i, j) that a path of this many edges joins counts
    once, and counts one half if the variances are equal, up to a relative difference of
    ``1e-9``.

    References
    ----------
    .. [1] A. G. Reisach, C. Seiler, S. Weichwald (2021). Beware of the Simulated DAG! Causal
       Discovery Benchmarks May Be Easy to Game. NeurIPS 34.

    Examples
    --------
    >>> from sparseopt.causal import varsortability
    >>> from sparseopt.datasets import make_linear_sem
    >>> model = make_linear_sem(random_state=0)
    >>> round(varsortability(model.X, model.adjacency), 2)
    0.97
    >>> scaled = model.X / model.X.std(axis=0)
    >>> varsortability(scaled, model.adjacency)
    0.5
    """
    X, edges = _check_data(X, adjacency)
    return _sorted_share(np.var(X, axis=0), edges)


def r2_sortability(X, adjacency):
    """Return the share of directed paths along which the explained variance rises.

    The score of a variable is the share of its variance that a linear regression on all the
    others explains. It does not depend on scales, so that standardising does not hide an
    order that it gives away [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Samples, more than features.
    adjacency : array-like of shape (n_features, n_features)
        ``adjacency[i, j]`` is nonzero if there is an edge from i to j; no cycles.

    Returns
    -------
    r2_sortability : float
        Between 0 and 1; NaN if there are no edges.

    Raises
    ------
    ValueError
        As :func:`varsortability`, and if a column is constant or a linear combination of
        others.

    See Also
    --------
    varsortability : The same with variances, and how paths are counted.

    References
    ----------
    .. [1] A. G. Reisach, M. Tami, C. Seiler, A. Chambaz, S. Weichwald (2023). A
       Scale-Invariant Sorting Criterion to Find a Causal Order in Additive Noise Models.
       NeurIPS 36.

    Examples
    --------
    >>> from sparseopt.causal import r2_sortability
    >>> from sparseopt.datasets import make_linear_sem
    >>> model = make_linear_sem(random_state=0)
    >>> round(r2_sortability(model.X, model.adjacency), 2)
    0.85
    """
    X, edges = _check_data(X, adjacency)
    centred = np.where(np.ptp(X, axis=0) > 0, X - X.mean(axis=0), 0.0)  # exactly 0 if constant
    _, factor = factor_correlations(centred.T @ centred / len(X), len(X))
    return _sorted_share(explained_shares(factor), edges)


def factor_correlations(C, n_samples):
    """Return standard deviations, and the Cholesky factor of the correlation matrix.

    Parameters
    ----------
    C : ndarray of shape (d, d)
        Covariance of the samples.
    n_samples : float
        Number of samples.

    Returns
    -------
    scales : ndarray of shape (d,)
        Standard deviations.
    factor : ndarray of shape (d, d)
        Lower triangular; each row has norm one.

    Raises
    ------
    ValueError
        If there are too few samples, or if a column is constant or depends on those before it.
    """
    if n_samples <= len(C):
        raise ValueError(
            f"X must have more samples than features for regressions on all others, got "
            f"n_samples={n_samples:g} and n_features={len(C)}."
        )
    variances = np.diagonal(C)
    if not np.all(variances > 0):
        raise ValueError(f"X must vary, but column {int(np.argmin(variances))} is constant.")
    scales = np.sqrt(variances)
    factor, pivots = cholesky_pivots(C / np.outer(scales, scales))
    if pivots.min() <= DEPENDENT:
        raise ValueError(
            f"X must have linearly independent columns, but column {int(np.argmin(pivots))} is a "
            "linear combination of those before it."
        )
    return scales, factor


def cholesky_pivots(R):
    """Return the Cholesky factor of a correlation matrix as far as it goes, and its pivots.

    A pivot is the share of a variance that the columns before leave unexplained; from the first
    one that is not positive on, they are zero.
    """
    factor, failed = linalg.lapack.dpotrf(R, lower=True, clean=True)
    pivots = np.diagonal(factor) ** 2
    if failed:
        pivots[failed - 1 :] = 0.0
    return factor, pivots


def explained_shares(factor):
    """Return R² of each column's regression on all others, given its correlations' factor."""
    inverse, _ = linalg.lapack.dtrtri(factor, lower=True)
    return 1.0 - 1.0 / np.sum(inverse**2, axis=0)


def _check_data(X, adjacency):
    X = check_array(X, dtype=np.float64, ensure_min_samples=2)
    adjacency = check_adjacency(adjacency, acyclic=True)
    shape = (X.shape[1], X.shape[1])
    if adjacency.shape != shape:
        raise ValueError(
            f"adjacency must have shape {shape}, one row and column for each column of X, got "
            f"{adjacency.shape}."
        )
    return X, adjacency != 0


def _sorted_share(scores, edges):
    """Return the share of paths whose ends have rising scores."""
    size = np.abs(scores)
    rise = np.subtract.outer(scores, scores).T  # [i, j] is the score of j less that of i
    level = np.abs(rise) <= TIE * np.maximum.outer(size, size)
    credit = np.where(level, 0.5, rise > 0)
    joined = steps = edges.astype(np.float32)  # whose products BLAS computes, unlike Booleans'
    n_paths = n_sorted = 0.0
    while joined.any():
        n_paths += np.count_nonzero(joined)
        n_sorted += credit[joined > 0].sum()
        joined = (joined @ steps > 0).astype(np.float32)
    return float(n_sorted / n_paths) if n_paths else float("nan")
