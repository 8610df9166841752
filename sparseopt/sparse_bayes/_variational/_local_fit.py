r"""How well some columns of a dictionary fit, given moments of coefficients and symbols.

Of C columns, with all others frozen,

    E = sum_n sum_k { -2 Re h_kn^H t_kn
                      + sum_j R_n[k, j] (h_kn^H h_jn + tr(Phi_kn^H Phi_jn Cov_jk)) }

is what they contribute to the expectation of ||y - F x||^2, with h_kn = Phi_kn mu_k; t (K, N, M) is
what they should explain, R (N, K, K) the moments <conj(d_k) d_j> of the symbols, mu (K, C) and Cov
(K, C, K, C) those of the coefficients. Its derivative is half kappa dE = -2 Re <G, dPhi>, half = 1
for complex data and 1/2 for real, with

    G_kn = half kappa (e_kn mu_k^H - sum_j R_n[k, j] Phi_jn Cov_jk)
    e_kn = t_kn - sum_j R_n[k, j] h_jn

and G (K, N, M, C). Cost O(K N M C^2), or K times that with covariances across groups.
"""

from typing import Any, NamedTuple

from sparseopt._core import array_namespace
from sparseopt.sparse_bayes._variational._arrays import conjugate, real_part


class LocalMoments(NamedTuple):
    """What a step needs to know of coefficients and symbols.

    ``target`` (K, N, M): sum_l <conj(d_kl)> y_l, less what the other columns explain of it, that
    is sum_j R_n[k, j] Phi_jn mu_j over those; ``symbols`` R (N, K, K): <conj(d_k) d_j>; ``mean``
    (K, C) and ``covariance`` (K, C, K, C), of x_kc and conj(x_jc'), of the coefficients;
    ``precision`` kappa of the noise; ``half``: 1 for complex data, 1/2 for real; ``rho`` (K, C),
    on the host: prior precisions of the coefficients, with which their means can follow.
    """

    target: Any
    symbols: Any
    mean: Any
    covariance: Any
    precision: float
    half: float
    rho: Any = None


class LocalFit(NamedTuple):
    """How well columns fit.

    ``residual`` E; ``error`` e (K, N, M); ``spread`` (K, N, M, C): sum_j R_n[k, j] Phi_jn Cov_jk.
    """

    residual: float
    error: Any
    spread: Any


def mix(symbols, array):
    """Return sum_j R_n[k, j] array[j, n] for an array (K, N, ...)."""
    xp = array_namespace(array)
    K, N = array.shape[:2]
    swap = (1, 0, *range(2, array.ndim))
    swapped = xp.reshape(xp.permute_dims(array, swap), (N, K, -1))
    mixed = xp.reshape(xp.matmul(symbols, swapped), (N, K, *array.shape[2:]))
    return xp.permute_dims(mixed, swap)


def local_fit(values, moments):
    """Evaluate E for columns (K, N, M, C)."""
    xp = array_namespace(values)
    images = xp.matmul(values, moments.mean[:, None, :, None])[..., 0]
    mixed = mix(moments.symbols, images)
    spread = _spread(values, moments)
    residual = xp.sum(real_part(conjugate(images) * (mixed - 2 * moments.target)))
    residual = residual + xp.sum(real_part(conjugate(values) * spread))
    return LocalFit(float(residual), moments.target - mixed, spread)


def _spread(values, moments):
    xp = array_namespace(values)
    K = values.shape[0]
    out = []
    for k in range(K):
        total = xp.zeros_like(values[0, ...])
        for j in range(K):
            block = moments.covariance[j, :, k, :]
            if bool(xp.any(block != 0)):
                weights = moments.symbols[:, k, j][:, None, None]
                total = total + weights * xp.matmul(values[j, ...], block)
        out.append(total)
    return xp.stack(out)


def dictionary_gradient(fit, moments):
    """Return G (K, N, M, C), for which dF = 2 Re <G, dPhi>."""
    explained = fit.error[..., None] * conjugate(moments.mean)[:, None, None, :]
    return moments.half * moments.precision * (explained - fit.spread)


def variance_weights(moments):
    """Return R_n[k, k] times the variances of the coefficients, an array (K, N, C)."""
    xp = array_namespace(moments.mean)
    K, C = moments.mean.shape
    square = xp.reshape(moments.covariance, (K * C, K * C))
    variance = xp.reshape(xp.linalg.diagonal(square), (K, 1, C))
    powers = xp.permute_dims(xp.linalg.diagonal(moments.symbols), (1, 0))[:, :, None]
    return real_part(powers) * real_part(variance)
