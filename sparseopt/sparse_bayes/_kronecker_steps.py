r"""M-steps of Kronecker-structured sparse Bayesian learning: new variances of each factor.

Y. He & G. Joseph, IEEE Transactions on Signal Processing (2024), arXiv 2307.14719. Given the
second moments Lambda (n_1, ..., n_I) of the coefficients, they minimise, or approximate, over
g_d > 0 (n_d,), with N = prod n_d,

    F(g_1, ..., g_I) = sum_d (N / n_d) sum_i log g_d[i] + sum Lambda / (g_1 ⊗ ... ⊗ g_I),

which is convex in the logarithms of g_d. Only N numbers are ever stored. Lambda lives where the
data do; the factors' variances are short, and live on the host in double precision.
"""

import numpy as np
from scipy.optimize import nnls

from sparseopt._core import array_namespace, to_numpy

MAJORISATION_STEPS = 10
HEURISTIC_FLOOR = 1e-5  # of the largest variance


def contract(tensor, vectors):
    """Sum ``tensor`` over the axes that have a vector, with its entries as weights.

    Parameters
    ----------
    tensor : array of shape (n_1, ..., n_I)
        Real, from any array library.
    vectors : sequence of ndarray of shape (n_d,) or None
        None keeps the axis.

    Returns
    -------
    ndarray
        On the host, in double precision; one pass over ``tensor`` that dominates.
    """
    xp = array_namespace(tensor)
    kept = list(tensor.shape)
    for axis in reversed(range(len(vectors))):
        if vectors[axis] is None:
            continue
        weights = like(vectors[axis], tensor)
        before, after = int(np.prod(kept[:axis])), int(np.prod(kept[axis + 1 :]))
        if after == 1:
            tensor = xp.matmul(xp.reshape(tensor, (before, kept[axis])), weights)
        else:
            tensor = xp.matmul(weights, xp.reshape(tensor, (before, kept[axis], after)))
        del kept[axis]
    return to_numpy(xp.reshape(tensor, tuple(kept))).astype(np.float64)


def like(vector, tensor, *, real=False):
    """Return a host vector as an array of the library, dtype and device of ``tensor``.

    ``real`` asks for the real dtype that belongs to a complex one.
    """
    xp = array_namespace(tensor)
    dtype = xp.abs(tensor[:1, ...]).dtype if real else tensor.dtype
    return xp.astype(xp.asarray(vector, device=tensor.device), dtype, copy=False)


def _limits(tensor):
    return array_namespace(tensor).finfo(tensor.dtype)


def normalise(values, couplings=None):
    """Give all factors but the last unit norm, and the last the scale of the product.

    ``values`` are variances, or what ``couplings`` turns into variances.
    """
    scale, normalised = 1.0, []
    variances = couple(values, couplings)
    for value, variance in zip(values[:-1], variances[:-1], strict=True):
        norm = np.linalg.norm(variance)
        scale *= norm
        normalised.append(value / norm)
    return [*normalised, values[-1] * scale]


def couple(values, couplings):
    """Return the variances ``C_d v_d``, or the values themselves where there is no coupling."""
    if couplings is None:
        return list(values)
    return [
        value if coupling is None else coupling @ value
        for value, coupling in zip(values, couplings, strict=True)
    ]


def raise_floor(values, moments):
    """Replace values so small that products of inverses would overflow the dtype of ``moments``."""
    # Inverses of all factors take the square root of the range, and leave the rest to moments.
    share = float(_limits(moments).smallest_normal) ** (0.5 / len(values))
    return [np.maximum(value, share * value.max()) for value in values]


def alternate_once(moments, variances, update=None):
    """Minimise F over each factor in turn: ``g_d = mean(Lambda / prod_{e != d} g_e)``.

    Parameters
    ----------
    moments : array of shape (n_1, ..., n_I)
        Second moments.
    variances : list of ndarray of shape (n_d,)
        Where to start.
    update : callable, optional
        ``update(d, target)`` returns the variances to take instead of the minimiser.

    Returns
    -------
    list of ndarray
        Two passes over ``moments``.
    """
    inverses = [1.0 / variance for variance in variances]
    n_factors, size = len(variances), np.prod([len(variance) for variance in variances])
    # Sums over the axes behind d use the old variances: they are shared by the factors before.
    behind = [moments]
    for d in reversed(range(1, n_factors)):
        behind.append(contract(behind[-1], [None] * d + [inverses[d]]))
    new = []
    for d in range(n_factors):
        target = contract(behind[n_factors - 1 - d], [*inverses[:d], None])
        target = target * (len(target) / size)
        target = target if update is None else update(d, target)
        new.append(target)
        inverses[d] = 1.0 / np.maximum(target, np.finfo(float).tiny)
    return new


def alternate_to_tolerance(moments, values, *, couplings=None, heuristic=False, tol, max_sweeps):
    """Alternate until the product of the variances changes by at most ``tol``, relatively.

    Coupled factors ``g_d = C_d v_d`` take majorisation-minimisation steps on v_d, which decrease F.
    If ``heuristic``, ``values`` are the variances themselves and take the authors' step,
    C_d times the nonnegative least-squares fit of the uncoupled minimiser, and a floor.
    """
    structure = None if heuristic else couplings
    current = list(values)

    def update(d, target):
        if couplings is None or couplings[d] is None:
            current[d] = target
            return target
        if heuristic:
            fitted = couplings[d] @ nnls(couplings[d], target)[0]
            current[d] = fitted + HEURISTIC_FLOOR * target.max()
            return current[d]
        current[d] = minimise_coupled(couplings[d], current[d], target)
        return couplings[d] @ current[d]

    for _ in range(max_sweeps):
        before = couple(current, structure)
        alternate_once(moments, before, update)
        current = raise_floor(normalise(current, structure), moments)
        if relative_change(couple(current, structure), before) <= tol:
            break
    return current


def minimise_coupled(C, v, target):
    r"""Decrease :math:`\sum_i \log (C v)_i + t_i / (C v)_i` over v >= 0.

    Itakura-Saito factorisation with C fixed, by multiplicative majorisation-minimisation: no
    step increases the sum, whatever the scale of the data.
    """
    for _ in range(MAJORISATION_STEPS):
        fitted = C @ v
        v = v * np.sqrt((C.T @ (target / fitted**2)) / (C.T @ (1.0 / fitted)))
    return v


def relative_change(new, old):
    """Return ``||g - h|| / ||h||`` for the products g and h of two lists of vectors.

    The difference telescopes into one term a factor, so that nothing of size N is formed and
    small changes keep their digits.
    """
    steps = [a - b for a, b in zip(new, old, strict=True)]
    terms = [[*old[:d], step, *new[d + 1 :]] for d, step in enumerate(steps)]
    total = sum(_inner(first, second) for first in terms for second in terms)
    return float(np.sqrt(max(total, 0.0) / _inner(old, old)))


def _inner(first, second):
    return float(np.prod([a @ b for a, b in zip(first, second, strict=True)]))


def minimise_over_factors(moments, variances, *, tol, max_iter):
    """Minimise F by Newton's method in log g, from one alternating sweep.

    Parameters
    ----------
    moments : array of shape (n_1, ..., n_I)
        Second moments.
    variances : list of ndarray of shape (n_d,)
        Where to start.
    tol : float
        Largest relative mismatch of ``g_d = mean(Lambda / prod_{e != d} g_e)``.
    max_iter : int
        Largest number of Newton steps.

    Returns
    -------
    list of ndarray
        Each step costs I(I-1)/2 passes over ``moments`` and a system of size sum n_d.
    """
    tol = max(tol, 100 * float(_limits(moments).eps))
    current = raise_floor(normalise(alternate_once(moments, variances)), moments)
    if len(current) == 1:
        return current
    value, gradient, hessian = _objective(moments, current)
    for _ in range(max_iter):
        if np.abs(gradient).max() <= tol:
            break
        step = np.split(
            np.linalg.solve(hessian, -gradient), np.cumsum([len(v) for v in current])[:-1]
        )
        step_size = 1.0
        while step_size > 1e-3:
            trial = [
                variance * np.exp(np.clip(step_size * change, -10, 10))
                for variance, change in zip(current, step, strict=True)
            ]
            trial = raise_floor(normalise(trial), moments)
            new_value, new_gradient, new_hessian = _objective(moments, trial)
            if new_value <= value + 1e-13 * (1 + abs(value)):
                break
            step_size /= 2
        else:
            break
        current, value, gradient, hessian = trial, new_value, new_gradient, new_hessian
    return current


def _objective(moments, variances):
    """Return F / N, its gradient and Hessian in log g, both scaled by the diagonal at a minimum.

    The Hessian is made positive definite along the scales that factors can exchange.
    """
    sizes = np.array([len(variance) for variance in variances])
    n_factors, size = len(sizes), int(np.prod(sizes))
    inverses = [1.0 / variance for variance in variances]
    ends = np.cumsum(sizes)
    blocks = [slice(end - n, end) for end, n in zip(ends, sizes, strict=True)]
    hessian = np.zeros((ends[-1], ends[-1]))
    shares: list = [None] * n_factors
    for d in range(n_factors):
        for e in range(d + 1, n_factors):
            vectors = list(inverses)
            vectors[d] = vectors[e] = None
            pairs = contract(moments, vectors) * inverses[d][:, None] * inverses[e]
            hessian[blocks[d], blocks[e]] = pairs
            shares[d], shares[e] = pairs.sum(axis=1), pairs.sum(axis=0)
    hessian += hessian.T
    for d in range(n_factors):
        hessian[blocks[d], blocks[d]] = np.diag(shares[d])
    hessian /= size
    for d in range(n_factors - 1):
        exchange = np.zeros(ends[-1])
        exchange[blocks[d]], exchange[blocks[d + 1]] = 1.0 / sizes[d], -1.0 / sizes[d + 1]
        hessian += np.outer(exchange, exchange)
    scale = np.concatenate([np.full(n, float(n)) for n in sizes])
    gradient = 1.0 - np.concatenate(shares) * scale / size
    logs = sum(np.log(variance).mean() for variance in variances)
    return logs + shares[0].sum() / size, gradient, hessian * scale[:, None]


def split_by_svd(moments):
    """Return the nonnegative factors of the best rank-one approximations of unfoldings.

    The singular vector of the first axis comes from the products of the rows of the unfolding,
    (n_1, n_1): the others of its singular vectors are not wanted.
    """
    xp = array_namespace(moments)
    factors, rest = [], moments
    for n in moments.shape[:-1]:
        matrix = xp.reshape(rest, (n, -1))
        if n <= matrix.shape[1]:
            gram = xp.matmul(matrix, xp.matrix_transpose(matrix))
            leading = xp.linalg.eigh(gram)[1][:, -1]
            rest = xp.abs(xp.matmul(leading, matrix))
        else:
            gram = xp.matmul(xp.matrix_transpose(matrix), matrix)
            leading = xp.linalg.eigh(gram)[1][:, -1]
            product = xp.matmul(matrix, leading)
            norm = xp.linalg.vector_norm(product)
            leading, rest = product / norm, xp.abs(leading) * norm
        factors.append(np.abs(to_numpy(leading).astype(np.float64)))
    factors.append(to_numpy(rest).astype(np.float64))
    return raise_floor(factors, moments)


def neighbour_coupling(n, strength):
    """Return the tridiagonal matrix that adds ``strength`` times each neighbour's value."""
    return np.eye(n) + strength * (np.eye(n, k=1) + np.eye(n, k=-1))
