r"""Regressions along a causal order by the adaptive lasso.

In the order given, node j with the nodes P before it:

    b_j = argmin ||X_j - X_P b||^2,
    w_j = |b_j| * v_j,   v_j = argmin ||X_j - (X_P |b_j|) v||^2 / (2n) + lambda_j ||v||_1,

lambda_j chosen by BIC on the path, with the noise variance of the first regression. Where X_P
does not determine that one, b_j holds the coefficients of the regressions on one predictor each,
BIC takes the logarithm of the residual sum of squares, and the path ends at half the rank of X.
Everything is computed from the correlations of X, so that no scale of any column matters.

A. G. Reisach, C. Seiler, S. Weichwald (2021). Beware of the Simulated DAG! Causal Discovery
Benchmarks May Be Easy to Game. NeurIPS 34. H. Zou (2006). The Adaptive Lasso and Its Oracle
Properties. JASA 101. J. Huang, S. Ma, C.-H. Zhang (2008). Adaptive Lasso for Sparse
High-Dimensional Regression Models. Statistica Sinica 18.
"""

import warnings

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.linear_model import lars_path_gram

from sparseopt.causal._sortability import DEPENDENT, cholesky_pivots


def regress_along_order(C, n_samples, order):
    """Return the weights of the regressions of each node on those before it.

    Parameters
    ----------
    C : ndarray of shape (d, d)
        Covariance of the samples, divided by their number; no column is constant.
    n_samples : float
        Number of samples.
    order : ndarray of shape (d,)
        Permutation of the nodes.

    Returns
    -------
    adjacency : ndarray of shape (d, d)
        Weights; ``adjacency[i, j]`` belongs to node i in the regression of node j.

    Warns
    -----
    UserWarning
        If a column depends on others although there are more samples than columns.
    """
    scales = np.sqrt(np.diagonal(C))[order]
    R = C[np.ix_(order, order)] / np.outer(scales, scales)
    factor, pivots = cholesky_pivots(R)
    n_independent = int(np.argmin(np.append(pivots > DEPENDENT, False)))
    if n_independent < len(C) < n_samples:
        warnings.warn(
            f"Column {order[n_independent]} of X is a linear combination of others. It and the "
            f"{len(C) - 1 - n_independent} columns after it in the order are regressed as if there "
            "were too few samples for least squares; better remove it.",
            stacklevel=2,
        )
    n_determined = min(n_independent, int(np.ceil(n_samples)) - 1)
    forward = np.zeros_like(R)
    for j in range(1, n_determined):
        b = solve_triangular(factor[:j, :j], factor[j, :j], trans="T", lower=True)
        noise_variance = pivots[j] * n_samples / (n_samples - j - 1)
        forward[:j, j] = _lasso_of_least_bic(R[:j, :j], R[:j, j], b, n_samples, noise_variance)
    if n_determined < len(R):
        longest = max(1, int(np.linalg.matrix_rank(R, hermitian=True)) // 2)
    for j in range(max(1, n_determined), len(R)):
        c = R[:j, j]
        forward[:j, j] = _lasso_of_least_bic(R[:j, :j], c, c, n_samples, None, longest)
    adjacency = np.zeros_like(R)
    adjacency[np.ix_(order, order)] = forward * scales / scales[:, None]
    return adjacency


def _lasso_of_least_bic(G, c, b, n_samples, noise_variance, longest=None):
    """Return the coefficients of least BIC on the path of the lasso on predictors times |b|.

    ``G`` (k, k) holds the predictors' correlations and ``c`` (k,) those with the target. The
    path has ``longest`` steps at most. scikit-learn's ends at a strength of 1e-7: it is
    computed in units of the noise, where its variance is known, in which this is negligible.
    """
    unit = 1.0 if noise_variance is None else noise_variance
    size = np.abs(b)
    gram, cross = G * np.outer(size, size) / unit, c * size / unit
    _, _, path = lars_path_gram(
        n_samples * cross,
        n_samples * gram,
        n_samples=n_samples,
        method="lasso",
        alpha_min=0.0,
        max_iter=max(500, 4 * len(b)) if longest is None else longest,
    )
    residual = 1.0 / unit - 2.0 * cross @ path + np.sum(path * (gram @ path), axis=0)
    lack_of_fit = (
        residual if noise_variance is not None else np.log(np.maximum(residual, DEPENDENT))
    )
    n_used = np.count_nonzero(np.abs(path) > np.finfo(float).eps, axis=0)
    bic = n_samples * lack_of_fit + np.log(n_samples) * n_used
    return path[:, np.argmin(bic)] * size
