r"""Approximation of a smooth function of many variables from random samples.

    f(x) = exp( - sum_k x_k / (2 d) ),   x in [-1, 1]^d,

the second and fifth experiment of

H. Mohammad-Taheri, S. Brugiapaglia (2023). The greedy side of the LASSO. arXiv:2303.00844.
"""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sparseopt.datasets._errors import corrupt_rows, normalized


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "distribution": [StrOptions({"uniform", "arcsine"})],
        "noise": [Interval(Real, 0, None, closed="left")],
        "corruption": [Interval(Real, 0, 1, closed="both")],
        "corruption_scale": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_iso_exponential(
    n_samples=200,
    n_features=5,
    *,
    distribution="uniform",
    noise=0.0,
    corruption=0.0,
    corruption_scale=10.0,
    random_state=None,
):
    r"""Generate noisy samples of the isotropic exponential function.

    :math:`f(x) = \exp(-\frac{1}{2d} \sum_k x_k)` on :math:`[-1, 1]^d`, a standard test of
    sparse polynomial approximation [1]_ [2]_: it is smooth, and no variable matters more
    than another.

    Parameters
    ----------
    n_samples : int, default=200
        Number of samples.
    n_features : int, default=5
        Number of variables d.
    distribution : {"uniform", "arcsine"}, default="uniform"
        Distribution of the samples. Legendre polynomials are orthogonal for the uniform
        one, Chebyshev polynomials for the arcsine one, which is denser at the borders.
    noise : float, default=0.0
        Root mean square of the noise.
    corruption : float, default=0.0
        Share of the rows that receive a gross error, between 0 and 1.
    corruption_scale : float, default=10.0
        Standard deviation of the gross errors.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Samples in [-1, 1].
    y : ndarray of shape (n_samples,)
        Values of the function, with errors.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    .. [1] B. Adcock, S. Brugiapaglia, C. G. Webster (2022). Sparse Polynomial
       Approximation of High-Dimensional Functions. SIAM.
    .. [2] H. Mohammad-Taheri, S. Brugiapaglia (2023). The greedy side of the LASSO.
       arXiv:2303.00844.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_iso_exponential
    >>> X, y = make_iso_exponential(100, 4, random_state=0)
    >>> bool(np.allclose(np.log(y), -X.mean(axis=1) / 2))
    True
    """
    rng = check_random_state(random_state)
    X = rng.uniform(-1.0, 1.0, (n_samples, n_features))
    if distribution == "arcsine":
        X = np.sin(0.5 * np.pi * X)
    y = np.exp(-0.5 * X.mean(axis=1))
    y += noise * np.sqrt(n_samples) * normalized(rng.standard_normal(n_samples))
    return X, corrupt_rows(y, corruption, corruption_scale, rng)
