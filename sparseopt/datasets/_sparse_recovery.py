r"""Recovery of a sparse vector from random measurements.

    y = A x + noise * e / ||e|| + gross errors,

A (n_samples, n_features) Gaussian with columns of unit norm, x with ``n_nonzero`` standard
normal entries at random places, e Gaussian. The first, third and fourth experiment of

H. Mohammad-Taheri, S. Brugiapaglia (2023). The greedy side of the LASSO. arXiv:2303.00844.
"""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from sparseopt.datasets._errors import corrupt_rows, normalized


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_nonzero": [Interval(Integral, 0, None, closed="left")],
        "n_targets": [Interval(Integral, 1, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "corruption": [Interval(Real, 0, 1, closed="both")],
        "corruption_scale": [Interval(Real, 0, None, closed="left")],
        "complex_data": ["boolean"],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_sparse_recovery(
    n_samples=150,
    n_features=300,
    *,
    n_nonzero=10,
    n_targets=1,
    noise=1e-3,
    corruption=0.0,
    corruption_scale=100.0,
    complex_data=False,
    coef=False,
    random_state=None,
):
    r"""Generate noisy random measurements of a sparse vector.

    The design has independent Gaussian entries and columns of unit norm, the coefficients
    are standard normal on a random support, and the target is
    :math:`y = A x + \eta\, e / \|e\|_2`, with gross errors in some rows [1]_.

    Parameters
    ----------
    n_samples : int, default=150
        Number of measurements.
    n_features : int, default=300
        Length of the sparse vector.
    n_nonzero : int, default=10
        Number of its non-zero entries, at most ``n_features``.
    n_targets : int, default=1
        Number of sparse vectors, each with a support of its own.
    noise : float, default=1e-3
        Euclidean norm :math:`\eta` of the noise in each target.
    corruption : float, default=0.0
        Share of the rows that receive a gross error, between 0 and 1.
    corruption_scale : float, default=100.0
        Standard deviation of the gross errors.
    complex_data : bool, default=False
        Whether design, coefficients and noise are circularly symmetric complex normal.
        Gross errors are real.
    coef : bool, default=False
        Whether to return the coefficients too.
    random_state : int, RandomState instance or None, default=None
        Seed or generator; an int makes the result reproducible.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), dtype float64 or complex128
        Design, in Fortran order, which solvers that go through columns prefer.
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Target.
    coef : ndarray of shape (n_features,) or (n_features, n_targets)
        Coefficients; only if ``coef=True``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    .. [1] H. Mohammad-Taheri, S. Brugiapaglia (2023). The greedy side of the LASSO.
       arXiv:2303.00844.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.datasets import make_sparse_recovery
    >>> X, y, coef = make_sparse_recovery(50, 80, n_nonzero=4, coef=True, random_state=0)
    >>> X.shape, y.shape, int((coef != 0).sum())
    ((50, 80), (50,), 4)
    >>> round(float(np.linalg.norm(y - X @ coef)), 6)
    0.001
    """
    if n_nonzero > n_features:
        raise ValueError(f"n_nonzero must be at most n_features={n_features}, got {n_nonzero}.")
    rng = check_random_state(random_state)
    normal = _complex_normal if complex_data else _real_normal
    X = np.asfortranarray(normalized(normal(rng, (n_samples, n_features))))
    x = np.zeros((n_features, n_targets), dtype=X.dtype)
    for target in range(n_targets):
        support = rng.choice(n_features, n_nonzero, replace=False)
        x[support, target] = normal(rng, n_nonzero)
    y = X @ x + noise * normalized(normal(rng, (n_samples, n_targets)))
    y = corrupt_rows(y, corruption, corruption_scale, rng)
    if n_targets == 1:
        x, y = x[:, 0], y[:, 0]
    return (X, y, x) if coef else (X, y)


def _real_normal(rng, size):
    return rng.standard_normal(size)


def _complex_normal(rng, size):
    return (rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2.0)
