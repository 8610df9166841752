r"""Steps of parameters along which the coefficients follow.

Parameters and coefficients explain the same residual, and in turns they creep: two lines close to
each other, or gains of sensors, take hundreds of iterations. With all moving columns at once, the
quadratic model of -F / half in steps of parameters and of coefficients mu (K, C) is

    dtheta^T A dtheta + 2 Re dmu^H B dtheta + dmu^H W dmu - linear terms,
    A = kappa Re sum_n a_n^H R_n a_n + (covariance and prior)
    B = kappa sum_n Phi_n^H R_n a_n
    W = kappa sum_n Phi_n^H R_n Phi_n + diag(rho)

with a = J mu, the derivatives of the images, and precisions rho (K, C) of the coefficients. Its
minimum over dmu has A - Re B^H W^-1 B in place of A (variable projection: G. Golub & V. Pereyra,
Inverse Problems 19, R1-R26, 2003). Where coefficients are best for the parameters, their
derivatives do not enter the gradient. With P parameters a step costs O(K N M P (C + P)).
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import conjugate, real_part
from sparseopt.sparse_bayes._variational._local_fit import mix, variance_weights
from sparseopt.sparse_bayes._variational._step_direction import excess, shorten_rows, solve_blocks

MOST_PARAMETERS = 600  # of a dense matrix of curvatures


def n_parameters(parametric, params, columns):
    """Return how many parameters a step of some columns moves."""
    return sum(
        len(parametric.rows(name, columns)) * parametric.width(name)
        if kind == "column"
        else np.size(params[name])
        for name, kind in parametric.kinds.items()
    )


def best_mean(values, moments):
    """Return the coefficients (K, C) that are best for columns, and the factor of W."""
    xp = array_namespace(values)
    K, C = moments.mean.shape
    factor = cho_factor(_coefficient_matrix(values, moments), lower=True, check_finite=False)
    target = xp.reshape(moments.target, (K, -1, 1))
    b = moments.precision * to_numpy(xp.matmul(_adjoint(values), target)).reshape(K * C)
    mean = cho_solve(factor, b, check_finite=False).reshape(K, C)
    return xp.asarray(mean, dtype=moments.mean.dtype, device=moments.mean.device), factor


def _adjoint(values):
    """Return the conjugate transposes (K, C, N M) of the columns of each group."""
    xp = array_namespace(values)
    K, C = values.shape[0], values.shape[3]
    return xp.permute_dims(xp.reshape(conjugate(values), (K, -1, C)), (0, 2, 1))


def _coefficient_matrix(values, moments):
    xp = array_namespace(values)
    K, C = moments.mean.shape
    adjoint = _adjoint(values)
    matrix = np.empty((K, C, K, C), dtype=to_numpy(values[:0, ...]).dtype)
    for j in range(K):
        powers = xp.permute_dims(moments.symbols[:, :, j], (1, 0))[:, :, None, None]
        weighted = xp.reshape(powers * values[j, ...][None, ...], (K, -1, C))
        matrix[:, :, j, :] = to_numpy(xp.matmul(adjoint, weighted))
    matrix = moments.precision * matrix.reshape(K * C, K * C)
    matrix[np.diag_indices(K * C)] += np.ravel(moments.rho)
    return matrix


def joint_direction(parametric, here, columns, gradient, jac, terms, trust):
    """Return the direction of all parameters, within the trust radii.

    ``here`` has ``params``, ``values`` (K, N, M, C), ``moments`` with the best mean for them, and
    the ``factor`` of W.
    """
    moments, params = here.moments, here.params
    xp = array_namespace(here.values)
    images, places = _images(parametric, params, columns, moments, jac)
    K, N, M, P = images.shape
    mixed = mix(moments.symbols, images)
    one, other = (xp.reshape(part, (K * N * M, P)) for part in (images, mixed))
    curvature = to_numpy(real_part(xp.matmul(conjugate(one).T, other))).astype(float)
    curvature += _covariance_curvature(parametric, columns, moments, jac, places, P)
    crossed = to_numpy(xp.matmul(_adjoint(here.values), xp.reshape(mixed, (K, N * M, P))))
    crossed = moments.precision * crossed.reshape(-1, P)
    followed = crossed.conj().T @ cho_solve(here.factor, crossed, check_finite=False)
    curvature = 2 * moments.half * (moments.precision * curvature - followed.real)
    slopes = np.zeros(P)
    for name, (rows, where) in places.items():
        width = parametric.width(name)
        slopes[where] = gradient[name].reshape(-1, width)[rows].ravel()
        precision = terms.precision(name, params[name]).reshape(-1, width)[rows].ravel()
        curvature[where, where] += precision
    steps = solve_blocks(curvature[None], slopes[None])[0]
    direction = {}
    for name, (rows, where) in places.items():
        whole = np.zeros((params[name].size // parametric.width(name), parametric.width(name)))
        whole[rows] = steps[where].reshape(len(rows), parametric.width(name))
        direction[name] = whole.reshape(params[name].shape)
    return _within(parametric, direction, gradient, trust)


def _within(parametric, direction, gradient, trust):
    """Shorten rows of columns alone if this still goes uphill, or else all together."""
    ratios = {n: excess(d, parametric.kinds[n], trust.get(n)) for n, d in direction.items()}
    common = max([1.0, *(r for n, r in ratios.items() if parametric.kinds[n] != "column")])
    out = {
        name: shorten_rows(step, trust.get(name))
        if parametric.kinds[name] == "column"
        else step / common
        for name, step in direction.items()
    }
    if sum(float(np.sum(gradient[name] * step)) for name, step in out.items()) > 0:
        return out
    return {name: step / max(ratios.values()) for name, step in direction.items()}


def _images(parametric, params, columns, moments, jac):
    """Return the derivatives of the images by all parameters that move, (K, N, M, P).

    The second result says, for each parameter, which rows move, and where they are among P.
    """
    K = moments.mean.shape[0]
    parts, places, start = [], {}, 0
    for name, kind in parametric.kinds.items():
        xp = array_namespace(jac[name])
        width = parametric.width(name)
        part = jac[name] * moments.mean[:, None, None, :, None]
        if kind == "column":
            chosen = parametric.rows(name, columns)
            part = xp.take(part, xp.asarray(chosen, device=part.device), axis=3)
            rows = columns[chosen]
        elif kind == "group":
            own = xp.eye(K, dtype=real_part(part).dtype, device=part.device)
            part = xp.sum(part, axis=3)[:, :, :, None, :] * own[:, None, None, :, None]
            rows = np.arange(K)
        else:
            part, rows = xp.sum(part, axis=3), np.arange(1)
        part = xp.reshape(part, (*part.shape[:3], -1))
        parts.append(part)
        places[name] = rows, np.arange(start, start + len(rows) * width)
        start += len(rows) * width
    return xp.concat(parts, axis=3), places


def _covariance_curvature(parametric, columns, moments, jac, places, n_places):
    """Return what variances add to A / kappa, within columns, and within groups and shared ones."""
    out = np.zeros((n_places, n_places))
    weights = variance_weights(moments)[:, :, None, :, None]
    local = [name for name, kind in parametric.kinds.items() if kind == "column"]
    rest = [name for name, kind in parametric.kinds.items() if kind != "column"]
    for names, keep in ((local, 3), (rest, 0)):
        if not names:
            continue
        xp = array_namespace(jac[names[0]])
        joined = xp.concat([jac[name] for name in names], axis=4)
        axes = (keep, 4, *(axis for axis in range(4) if axis != keep))
        size, width = joined.shape[keep], joined.shape[4]
        one, other = (
            xp.reshape(xp.permute_dims(part, axes), (size, width, -1))
            for part in (joined, weights * joined)
        )
        blocks = xp.matmul(conjugate(one), xp.permute_dims(other, (0, 2, 1)))
        blocks = to_numpy(real_part(blocks))
        for item in range(size):
            indices, inside = _block_places(parametric, columns, names, places, item, keep == 3)
            np.add.at(out, np.ix_(indices, indices), blocks[item][np.ix_(inside, inside)])
    return out


def _block_places(parametric, columns, names, places, item, is_column):
    """Return where the parameters of a column, or a group, are among all, and in its block."""
    indices, inside, start = [], [], 0
    for name in names:
        width = parametric.width(name)
        rows, where = places[name]
        if is_column:
            found = np.flatnonzero(rows == columns[item])
        else:
            found = np.array([item if parametric.kinds[name] == "group" else 0])
        if len(found):
            indices.append(where.reshape(-1, width)[found[0]])
            inside.append(np.arange(start, start + width))
        start += width
    if not indices:
        return np.zeros(0, int), np.zeros(0, int)
    return np.concatenate(indices), np.concatenate(inside)
