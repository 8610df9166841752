"""Proximal maps and ranks of low-rank plus sparse models, for any array library."""

import numpy as np

from sparseopt._core import array_namespace, check_nonnegative


def soft_threshold(x, threshold):
    r"""Shrink each entry towards zero: :math:`\operatorname{sign}(x) \max(|x| - t, 0)`.

    Parameters
    ----------
    x : array
        Real values, from any array library.
    threshold : float or array
        :math:`t \ge 0`, one value or one for each entry.

    Returns
    -------
    array
        The proximal map of :math:`t \|\cdot\|_1` at ``x``, in the shape of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import soft_threshold
    >>> soft_threshold(np.array([-3.0, 0.5, 2.0]), 1.0).tolist()
    [-2.0, 0.0, 1.0]
    """
    xp = array_namespace(x)
    magnitude = xp.abs(x) - threshold
    return xp.sign(x) * xp.where(magnitude > 0, magnitude, xp.zeros_like(magnitude))


def hard_threshold(x, threshold):
    """Keep the entries whose absolute value exceeds ``threshold``, and delete the others."""
    xp = array_namespace(x)
    return xp.where(xp.abs(x) > threshold, x, xp.zeros_like(x))


def singular_value_threshold(X, threshold):
    r"""Shrink the singular values: the proximal map of :math:`t \|\cdot\|_*`.

    Parameters
    ----------
    X : array of shape (m, n)
        Real matrix, from any array library.
    threshold : float
        :math:`t \ge 0`.

    Returns
    -------
    array of shape (m, n)
        :math:`U \max(\Sigma - t, 0) V^\top` for :math:`X = U \Sigma V^\top`.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import singular_value_threshold
    >>> singular_value_threshold(np.diag([3.0, 1.0]), 2.0).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    threshold = check_nonnegative(threshold, "threshold")
    xp = array_namespace(X)
    U, s, Vt = xp.linalg.svd(X, full_matrices=False)
    return xp.matmul(U * soft_threshold(s, threshold), Vt)


def effective_rank(singular_values, energy=0.999):
    """Return how many leading singular values hold the share ``energy`` of the sum of squares.

    Parameters
    ----------
    singular_values : array-like of shape (n,)
        Singular values in any order.
    energy : float, default=0.999
        Share of the energy, in (0, 1].

    Returns
    -------
    int
        0 if all singular values are zero.

    Examples
    --------
    >>> from sparseopt.decomposition import effective_rank
    >>> effective_rank([100.0, 10.0, 0.1, 0.1])
    2
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy must be in (0, 1], got {energy!r}.")
    s = np.sort(np.asarray(singular_values, dtype=float))[::-1]
    if s.size == 0 or s[0] == 0:
        return 0
    share = np.cumsum((s / s[0]) ** 2)
    return int(np.searchsorted(share, energy * share[-1] * (1 - 1e-15))) + 1
