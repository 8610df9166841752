r"""Regressions along a causal order by the adaptive lasso.

In the order given, node j with the nodes P before it:

    b_j = argmin ||X_j - X_P b||^2,
    w_j = |b_j| * v_j,   v_j = argmin ||X_j - (X_P |b_j|) v||^2 / (2n) + lambda_j ||v||_1,

lambda_j chosen by BIC on the path, with the noise variance of the first regression. Everything
is computed from the correlations of X, so that no scale of any column matters.

A. G. Reisach, C. Seiler, S. Weichwald (2021). Beware of the Simulated DAG! Causal Discovery
Benchmarks May Be Easy to Game. NeurIPS 34. H. Zou (2006). The Adaptive Lasso and Its Oracle
Properties. JASA 101.
"""

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.linear_model import lars_path_gram

from sparseopt.causal._sortability import factor_correlations


def regress_along_order(C, n_samples, order):
    """Return the weights of the regressions of each node on those before it.

    Parameters
    ----------
    C : ndarray of shape (d, d)
        Covariance of the samples, divided by their number.
    n_samples : float
        Number of samples, more than d.
    order : ndarray of shape (d,)
        Permutation of the nodes.

    Returns
    -------
    adjacency : ndarray of shape (d, d)
        Weights; ``adjacency[i, j]`` belongs to node i in the regression of node j.

    Raises
    ------
    ValueError
        If there are too few samples, or if a column is constant or depends on others.
    """
    scales = factor_correlations(C, n_samples)[0][order]  # names dependent columns by their index
    R = C[np.ix_(order, order)] / np.outer(scales, scales)
    factor = np.linalg.cholesky(R)
    forward = np.zeros_like(R)
    for j in range(1, len(R)):
        b = solve_triangular(factor[:j, :j], factor[j, :j], trans="T", lower=True)
        unexplained = factor[j, j] ** 2 * n_samples / (n_samples - j - 1)
        forward[:j, j] = _adaptive_lasso(R[:j, :j], R[:j, j], b, unexplained, n_samples)
    adjacency = np.zeros_like(R)
    adjacency[np.ix_(order, order)] = forward * scales / scales[:, None]
    return adjacency


def _adaptive_lasso(G, c, b, noise_variance, n_samples):
    """Return the coefficients of least BIC on the path of the lasso on rescaled predictors.

    ``G`` (k, k) holds the predictors' correlations, ``c`` (k,) those with the target, and ``b``
    (k,) the coefficients of least squares. scikit-learn's path ends at an absolute strength of
    1e-7: it is computed in units of the noise, in which this is negligible.
    """
    size = np.abs(b)
    gram = G * np.outer(size, size) / noise_variance
    cross = c * size / noise_variance
    _, _, path = lars_path_gram(
        n_samples * cross,
        n_samples * gram,
        n_samples=n_samples,
        method="lasso",
        alpha_min=0.0,
        max_iter=max(500, 4 * len(b)),
    )
    residual = 1.0 / noise_variance - 2.0 * cross @ path + np.sum(path * (gram @ path), axis=0)
    n_used = np.count_nonzero(np.abs(path) > np.finfo(float).eps, axis=0)
    bic = n_samples * residual + np.log(n_samples) * n_used
    return path[:, np.argmin(bic)] * size
