r"""Exact gains of one-coordinate moves: the selection rule of loss-based greedy pursuit.

H. Mohammad-Taheri and S. Brugiapaglia, "The greedy side of the LASSO: new algorithms for
weighted sparse recovery via loss function-based orthogonal matching pursuit", 2023.

For ``G(x) = F(y - A x) + lam R(x)`` the gain of coordinate j is

    Delta_j = G(x) - min_t G(x + t e_j),      t real or complex,

where F is the squared 2-norm (lasso), the 2-norm (sqrt_lasso) or the 1-norm (lad_lasso)
and R is ``sum_{x_j != 0} w_j^2`` (l0) or ``sum_j w_j |x_j|`` (l1). Shapes: ``A`` (m, N),
``y`` (m,), ``x`` and ``w`` (N,).

Every formula below is free of cancellation between large terms: a difference such as
``||r|| - sqrt(||r||^2 - u^2)`` would leave rounding noise that selects meaningless atoms.
In normalised coordinates (``rho_j = ||a_j||``, ``c = A^H r``) the quantities are

    u = |c| / rho,   X = rho |x|,   Z = |rho x + c / rho|,   R = ||r||,   d^2 = R^2 - u^2.
"""

import numpy as np

from sparseopt._core import array_namespace, check_nonnegative, kernels_for, to_numpy
from sparseopt._core._validation import check_penalty_weights

LOSSES = ("lasso", "sqrt_lasso", "lad_lasso")
PENALTIES = ("l0", "l1")

# A column this much shorter than the longest one is never selected.
NEGLIGIBLE_COLUMN = float(np.finfo(np.float64).eps)


def greedy_delta(A, y, coef, *, loss="lasso", penalty="l1", lam, weights=None):
    """Compute how far each single coefficient could lower the penalised loss.

    Parameters
    ----------
    A : array of shape (n_samples, n_features)
        Dictionary, real or complex, with columns of any norm. NumPy, CuPy or any other
        array-API library; the result lives in the same one.
    y : array of shape (n_samples,)
        Data.
    coef : array of shape (n_features,)
        Current coefficients; they need not be a fit.
    loss : {"lasso", "sqrt_lasso", "lad_lasso"}, default="lasso"
        ``||y - Ax||_2^2``, ``||y - Ax||_2`` or ``||y - Ax||_1``.
    penalty : {"l0", "l1"}, default="l1"
        ``sum of w_j^2 over x_j != 0`` or ``sum of w_j |x_j|``.
    lam : float
        Strength of the penalty, >= 0.
    weights : array-like of shape (n_features,) or callable, default=None
        Penalty weights >= 0; ``inf`` forbids entering the support. None means ones.

    Returns
    -------
    delta : array of shape (n_features,)
        ``G(coef) - min_t G(coef + t e_j) >= 0``, real.

    Raises
    ------
    ValueError
        For shapes that do not match, unknown names, invalid ``lam`` or ``weights``, and
        for ``loss="lad_lasso"`` with complex data (no closed form).

    References
    ----------
    H. Mohammad-Taheri and S. Brugiapaglia (2023). The greedy side of the LASSO.
    arXiv:2303.00844.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.linear_model import greedy_delta
    >>> A = np.eye(3)
    >>> y = np.array([3.0, 1.0, 0.1])
    >>> greedy_delta(A, y, np.zeros(3), loss="lasso", penalty="l1", lam=1.0)
    array([6.25, 0.25, 0.  ])
    """
    xp, A, y, coef = _check_arrays(A, y, coef)
    check_loss(loss, LOSSES)
    check_penalty(penalty)
    lam = check_nonnegative(lam, "lam")
    weights = check_penalty_weights(weights, A.shape[1], X=A)
    if loss == "lad_lasso":
        return _lad_delta(xp, A, y, coef, penalty, lam, weights)
    residual = y - A @ coef
    norms = column_norms(xp, A)
    correlations = xp.conj(A.T) @ residual if _is_complex(xp, A) else A.T @ residual
    residual_norm = xp.sqrt(xp.sum(xp.abs(residual) ** 2))
    device_weights = xp.asarray(weights.astype(to_numpy(norms[:1]).dtype), device=_device(norms))
    usable = norms > NEGLIGIBLE_COLUMN * xp.max(norms)
    safe = xp.where(usable, norms, xp.ones_like(norms))
    gains = quadratic_delta(
        xp,
        loss,
        penalty,
        lam,
        correlations / safe,
        coef * safe,
        residual_norm,
        penalty_scale(xp, loss, penalty, device_weights, safe),
    )
    return xp.where(usable, gains, _own_penalty(xp, penalty, lam, device_weights, coef))


def _own_penalty(xp, penalty, lam, weights, coef):
    """Return the penalty of each coefficient: all that a column of zeros can gain."""
    finite = xp.isfinite(weights)
    weights = xp.where(finite, weights, xp.zeros_like(weights))
    price = lam * (weights**2 if penalty == "l0" else weights * xp.abs(coef))
    price = xp.where(finite, price, xp.full_like(price, xp.inf))
    return xp.where(coef != 0, price, xp.zeros_like(price))


def quadratic_delta(xp, loss, penalty, lam, correlations, coef, residual_norm, weights):
    """Gains of the two losses of the 2-norm, in coordinates of unit-norm columns.

    Array expressions only; the arrays broadcast, so that a batch of targets is one call.

    Parameters
    ----------
    xp : module
        Array namespace.
    loss : {"lasso", "sqrt_lasso"}
        Data term.
    penalty : {"l0", "l1"}
        Penalty.
    lam : float
        Strength.
    correlations, coef : arrays of shape (..., n_features)
        ``a_j^H r`` and ``x_j`` for the columns scaled to unit norm.
    residual_norm : array of shape (..., 1) or ()
        ``||r||``.
    weights : array of shape (n_features,)
        Weights of the scaled coefficients, see :func:`penalty_scale`.
    """
    u = xp.minimum(xp.abs(correlations), residual_norm + xp.zeros_like(xp.abs(correlations)))
    inside = coef != 0
    X = xp.abs(coef)
    Z = xp.abs(coef + correlations)
    # Z^2 = X^2 + cross + u^2, so that differences of squares need no subtraction.
    cross = 2 * _real_product(xp, coef, correlations)
    finite = xp.isfinite(weights)
    weights = xp.where(finite, weights, xp.zeros_like(weights))
    threshold = lam * (weights**2 if penalty == "l0" else weights) + xp.zeros_like(u)
    rule = {
        ("lasso", "l0"): _lasso_l0,
        ("lasso", "l1"): _lasso_l1,
        ("sqrt_lasso", "l0"): _sqrt_lasso_l0,
        ("sqrt_lasso", "l1"): _sqrt_lasso_l1,
    }[loss, penalty]
    gains = rule(xp, u, X, Z, cross, inside, residual_norm + xp.zeros_like(u), threshold)
    positive = xp.where(gains > 0, gains, xp.zeros_like(gains))
    # An infinite weight makes the penalty infinite inside the support: leaving is all.
    excluded = xp.where(inside, xp.full_like(u, xp.inf), xp.zeros_like(u))
    return xp.where(finite, positive, excluded)


def _lasso_l0(xp, u, X, Z, cross, inside, R, th):
    keep = xp.where(inside, u**2, u**2 - th)
    drop = xp.where(inside, th - X**2 - cross, xp.zeros_like(u))
    return xp.maximum(keep, drop)


def _lasso_l1(xp, u, X, Z, cross, inside, R, th):
    to_zero = th * X - X**2 - cross
    moduli = _modulus_difference(xp, u, X, Z, cross)
    moved = xp.where(inside, u**2 + th**2 / 4 + th * moduli, (u - th / 2) ** 2)
    return xp.where(2 * Z <= th, to_zero, moved)


def _sqrt_lasso_l0(xp, u, X, Z, cross, inside, R, th):
    d = xp.sqrt((R - u) * (R + u))
    gain_of_fit = _divide(xp, u**2, R + d)
    keep = xp.where(inside, gain_of_fit, gain_of_fit - th)
    at_zero = xp.sqrt(d**2 + Z**2)
    drop = xp.where(inside, th - _divide(xp, X**2 + cross, R + at_zero), xp.zeros_like(u))
    return xp.maximum(keep, drop)


def _sqrt_lasso_l1(xp, u, X, Z, cross, inside, R, s):
    d = xp.sqrt((R - u) * (R + u))
    at_zero = xp.sqrt(d**2 + Z**2)
    bounded = xp.where(s < 1, s, xp.ones_like(s))
    q = xp.sqrt((1 - bounded) * (1 + bounded))
    # From zero: R (1 - cos(a - b)) with sin a = u / R, sin b = s, and no angle computed.
    sine = _divide(xp, (u - bounded * R) * (u + bounded * R), R * (u * q + bounded * d))
    cosine = _divide(xp, d * q + u * bounded, R)
    entering = R * sine**2 / (1 + cosine)
    moduli = _modulus_difference(xp, u, X, Z, cross)
    staying = R * bounded**2 / (1 + q) + q * _divide(xp, u**2, R + d) + s * moduli
    moved = xp.where(inside, staying, entering)
    to_zero = s * X - _divide(xp, X**2 + cross, R + at_zero)
    return xp.where((s < 1) & (s * at_zero < Z), moved, to_zero)


def _modulus_difference(xp, u, X, Z, cross):
    """Return X - Z = (X^2 - Z^2) / (X + Z) without cancellation."""
    return -_divide(xp, cross + u**2, X + Z)


def _divide(xp, numerator, denominator):
    """Return 0 where the denominator is 0 (there the numerator is 0 as well)."""
    zero = denominator == 0
    safe = xp.where(zero, xp.ones_like(denominator), denominator)
    return xp.where(zero, xp.zeros_like(numerator), numerator / safe)


def _real_product(xp, a, b):
    """Return Re(conj(a) b) elementwise."""
    if _is_complex(xp, a) or _is_complex(xp, b):
        return xp.real(xp.conj(a) * b)
    return a * b


def penalty_scale(xp, loss, penalty, weights, norms):
    """Weights on the coefficients of unit-norm columns that select as ``weights`` do.

    The l1 penalty of ``x`` in ``rho x`` has weights ``w / rho``; l0 does not see scale. OMP then
    selects by ``|a_j^H r| / w_j``.
    """
    return weights if penalty == "l0" and loss != "omp" else weights / norms


def column_norms(xp, A):
    """Return the 2-norms of the columns of ``A``."""
    return xp.sqrt(xp.sum(xp.abs(A) ** 2, axis=0))


def check_loss(loss, accepted):
    """Raise ``ValueError`` unless ``loss`` is one of ``accepted``."""
    if loss not in accepted:
        raise ValueError(f"loss must be one of {list(accepted)}, got {loss!r}.")


def check_penalty(penalty):
    """Raise ``ValueError`` unless ``penalty`` is "l0" or "l1"."""
    if penalty not in PENALTIES:
        raise ValueError(f"penalty must be one of {list(PENALTIES)}, got {penalty!r}.")


def _lad_delta(xp, A, y, coef, penalty, lam, weights):
    if _is_complex(xp, A) or _is_complex(xp, y) or _is_complex(xp, coef):
        raise ValueError(
            "loss='lad_lasso' accepts real data only (each gain would be a weighted "
            "geometric median), got complex values."
        )
    A, y, coef = (np.asarray(to_numpy(a), dtype=np.float64) for a in (A, y, coef))
    norms = np.ones(A.shape[1])  # the columns are taken as they are
    gains = np.empty(A.shape[1])
    kernels = kernels_for(array_namespace(A), "sparseopt.linear_model")
    kernels.lad_gains(
        np.asfortranarray(A), y - A @ coef, coef, norms, lam, weights, penalty == "l0", gains
    )
    return xp.asarray(gains)


def _check_arrays(A, y, coef):
    """Return the namespace and the three arrays in one floating dtype."""
    xp = array_namespace(A, y, coef)
    A, y, coef = xp.asarray(A), xp.asarray(y), xp.asarray(coef)
    if A.ndim != 2 or 0 in A.shape:
        raise ValueError(f"A must be a non-empty matrix, got shape {A.shape}.")
    if y.shape != (A.shape[0],):
        raise ValueError(f"y must have shape ({A.shape[0]},), one entry a row of A, got {y.shape}.")
    if coef.shape != (A.shape[1],):
        raise ValueError(
            f"coef must have shape ({A.shape[1]},), one entry a column of A, got {coef.shape}."
        )
    arrays = []
    for name, array in (("A", A), ("y", y), ("coef", coef)):
        if not xp.isdtype(array.dtype, ("real floating", "complex floating")):
            array = xp.astype(array, xp.float64)
        if not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{name} must be finite, got NaN or infinity.")
        arrays.append(array)
    dtype = xp.result_type(*arrays)
    return xp, *(xp.astype(array, dtype, copy=False) for array in arrays)


def _is_complex(xp, array):
    return xp.isdtype(array.dtype, "complex floating")


def _device(array):
    return getattr(array, "device", None)
