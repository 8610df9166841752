"""Other packages' robust PCA, with the dual variables that they compute and do not return."""

import importlib

import numpy as np

# The first penalty and its growth that reach the end soonest, over both laws of errors and n = 200
# and 500: from 0.1 / |X|_2 to 4 / |X|_2, and from 1.1, tensorly's default, to 1.5.
TENSORLY_PENALTY, TENSORLY_GROWTH = 1.25, 1.35


def by_pyrpca(X, lam, *, tol=1e-7):
    """Return L and S of pyrpca's inexact augmented Lagrangian method."""
    pyrpca = importlib.import_module("pyrpca")  # without it, only its own rows are missing
    return pyrpca.rpca_pcp_ialm(X, lam, tol=tol, verbose=False)


def by_tensorly(X, lam, *, tol=1e-7, tuned=True):
    """Return L and S of tensorly's.

    It penalises both unfoldings, which for a matrix are the same, so that the weight of the
    errors is 2 lam; its tolerances are absolute. Its defaults start from a penalty that knows
    nothing of the scale of X.
    """
    options = {"reg_E": 2 * lam, "tol": tol * np.linalg.norm(X), "n_iter_max": 1000, "verbose": 0}
    if tuned:
        penalty = TENSORLY_PENALTY / np.linalg.norm(X, 2)
        options |= {"mu_init": penalty, "learning_rate": TENSORLY_GROWTH, "mu_max": 1e7 * penalty}
    return _tensorly().robust_pca(X, **options)


def dual_of_pyrpca(X, lam, *, tol=1e-7, growth=1.5):
    """Return L and Y of pyrpca's iteration."""
    mu = 1.25 / np.linalg.norm(X, 2)
    largest = 1e7 * mu
    Y = X / max(np.linalg.norm(X, 2), np.linalg.norm(X, np.inf) / lam)
    S = np.zeros_like(X)
    for _ in range(1000):
        U, s, Vt = np.linalg.svd(X - S + Y / mu, full_matrices=False)
        L = (U * np.maximum(s - 1 / mu, 0)) @ Vt
        T = X - L + Y / mu
        S = np.sign(T) * np.maximum(np.abs(T) - lam / mu, 0)
        Y = Y + mu * (X - L - S)
        if np.linalg.norm(X - L - S) < tol * np.linalg.norm(X):
            break
        mu = min(growth * mu, largest)
    return L, Y


def dual_of_tensorly(X, lam, *, tol=1e-7, tuned=True):
    """Return L and Y of tensorly's last step.

    The last argument of its soft threshold, T = X - L + Y / mu, gives Y = mu (T - S).
    """
    module, last = _tensorly(), []
    original = module.soft_thresholding

    def recording(values, threshold):
        last[:] = values, threshold
        return original(values, threshold)

    module.soft_thresholding = recording
    try:
        L, S = by_tensorly(X, lam, tol=tol, tuned=tuned)
    finally:
        module.soft_thresholding = original
    values, threshold = last
    mu = 2 * lam / threshold
    # Both unfoldings carry half of the dual variable of the sum |L|_* + |L|_*.
    return L, mu * (values - S) / 2


def _tensorly():
    return importlib.import_module("tensorly.decomposition.robust_decomposition")
