r"""Directions in which the parameters of a dictionary move.

The gradient of F by a parameter is 2 Re <G, dPhi>, summed over what one of its rows moves, plus the
prior's. The Gauss-Newton matrix leaves out second derivatives of the dictionary: with a_kn = J_kn
mu_k, the derivatives of the image h_kn,

    H = 2 half kappa Re sum_n { sum_kj R_n[k, j] a_kn^H a_jn + sum_k R_n[k, k] sum_c Var_kc J^H J }
        + prior precision.

Of it only diagonal blocks are used: one for each column, p x p, and one for all parameters of
groups and shared ones together.
"""

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import conjugate, real_part
from sparseopt.sparse_bayes._variational._local_fit import mix, variance_weights
from sparseopt.sparse_bayes._variational._parametric import NonFiniteDictionaryError

SMALLEST_CURVATURE = 1e-10  # of a block, of unit diagonal
PROBE_CHANGE = 1e-4  # of the columns, relative, where derivatives along a direction are differences
PROBES = 3


class PriorTerms:
    """Independent normal priors of some parameters, flat ones of the others."""

    def __init__(self, prior):
        self._terms = {}
        for name, (mean, std) in prior.items():
            mean = np.asarray(mean, dtype=float)
            precision = 1 / np.broadcast_to(np.asarray(std, dtype=float), mean.shape) ** 2
            self._terms[name] = mean, precision

    def log_density(self, params):
        """Return the log density of parameters, but for a constant."""
        return -0.5 * sum(
            float(np.sum(precision * (params[name] - mean) ** 2))
            for name, (mean, precision) in self._terms.items()
        )

    def gradient(self, name, value):
        """Return its derivative by a parameter."""
        if name not in self._terms:
            return np.zeros(np.shape(value))
        mean, precision = self._terms[name]
        return -precision * (value - mean)

    def precision(self, name, value):
        """Return minus its second derivatives."""
        return self._terms[name][1] if name in self._terms else np.zeros(np.shape(value))


def parameter_gradient(parametric, params, columns, G, jac, terms):
    """Return the derivative of F by each parameter, zero in rows of columns that do not move."""
    if jac is None:
        likelihood = parametric.vjp(params, G, columns)
    else:
        likelihood = {
            name: contract(parametric, name, params[name], columns, G, jac[name]) for name in jac
        }
    out = {}
    for name, kind in parametric.kinds.items():
        total = likelihood[name] + terms.gradient(name, params[name])
        if kind == "column":
            moving = columns[parametric.rows(name, columns)]
            total, whole = np.zeros(total.shape), total
            total[moving] = whole[moving]
        out[name] = total
    return out


def contract(parametric, name, value, columns, G, jacobian):
    """Return 2 Re <G, dPhi> for each row and entry of a parameter."""
    xp = array_namespace(G)
    product = real_part(conjugate(G)[..., None] * jacobian)
    kind = parametric.kinds[name]
    axes = {"column": (0, 1, 2), "group": (1, 2, 3), "shared": (0, 1, 2, 3)}[kind]
    sums = 2 * to_numpy(xp.sum(product, axis=axes)).astype(float)
    if kind != "column":
        return sums.reshape(value.shape)
    out = np.zeros((len(value), parametric.width(name)))
    rows = parametric.rows(name, columns)
    out[columns[rows]] = sums[rows]
    return out.reshape(value.shape)


def gauss_newton_direction(parametric, here, columns, moments, gradient, jac, terms, trust):
    """Return the direction by the inverses of the diagonal blocks, within the trust radii."""
    local = [name for name, kind in parametric.kinds.items() if kind == "column"]
    global_ = [name for name, kind in parametric.kinds.items() if kind != "column"]
    direction = {}
    if local:
        direction |= _column_direction(
            parametric, local, here.params, columns, moments, gradient, jac, terms
        )
        for name in local:
            direction[name] = shorten_rows(direction[name], trust.get(name))
    if global_:
        steps = _global_direction(parametric, global_, here.params, moments, gradient, jac, terms)
        ratio = max(excess(steps[n], parametric.kinds[n], trust.get(n)) for n in global_)
        direction |= {name: step / ratio for name, step in steps.items()}
    return direction


def _column_direction(parametric, names, params, columns, moments, gradient, jac, terms):
    """Solve the blocks of single columns, with all of their parameters."""
    blocks = _column_blocks([jac[name] for name in names], moments)  # (C, P, P)
    C, P = blocks.shape[:2]
    slopes, where, start = np.zeros((C, P)), {}, 0
    for name in names:
        width = parametric.width(name)
        rows = parametric.rows(name, columns)
        part = slice(start, start + width)
        precision = terms.precision(name, params[name]).reshape(len(params[name]), -1)
        slopes[rows, part] = gradient[name].reshape(len(params[name]), -1)[columns[rows]]
        diagonal = np.arange(start, start + width)
        blocks[rows[:, None], diagonal, diagonal] += precision[columns[rows]]
        where[name], start = (rows, part), start + width
    steps = solve_blocks(blocks, slopes)
    out = {}
    for name, (rows, part) in where.items():
        whole = np.zeros((len(params[name]), parametric.width(name)))
        whole[columns[rows]] = steps[rows, part]
        out[name] = whole.reshape(params[name].shape)
    return out


def _column_blocks(jacobians, moments):
    xp = array_namespace(jacobians[0])
    jacobian = xp.concat(jacobians, axis=4)  # (K, N, M, C, P)
    K, N, M, C, P = jacobian.shape
    mean = moments.mean[:, None, None, :, None]
    weights = variance_weights(moments)[:, :, None, :, None]  # (K, N, 1, C, 1)
    weighted = conjugate(mean) * mix(moments.symbols, jacobian * mean) + weights * jacobian
    rows, columns = (
        xp.reshape(xp.permute_dims(part, (3, 4, 0, 1, 2)), (C, P, K * N * M))
        for part in (jacobian, weighted)
    )
    product = xp.matmul(conjugate(rows), xp.permute_dims(columns, (0, 2, 1)))
    total = to_numpy(real_part(product))
    return 2 * moments.half * moments.precision * total.astype(float)


def _global_direction(parametric, names, params, moments, gradient, jac, terms):
    """Solve the block of all parameters that move whole groups."""
    K = moments.mean.shape[0]
    places, sizes = _places(parametric, names, params, K)
    total = sum(sizes)
    matrix = np.zeros((total, total))
    blocks = _group_blocks([jac[name] for name in names], moments)  # (K, P, K, P)
    for k in range(K):
        for j in range(K):
            np.add.at(matrix, np.ix_(places[k], places[j]), blocks[k, :, j, :])
    slopes = np.concatenate([np.ravel(gradient[name]) for name in names])
    precision = [np.ravel(terms.precision(name, params[name])) for name in names]
    matrix[np.diag_indices(total)] += np.concatenate(precision)
    steps = solve_blocks(matrix[None], slopes[None])[0]
    parts = np.split(steps, np.cumsum(sizes)[:-1])
    return {name: part.reshape(params[name].shape) for name, part in zip(names, parts, strict=True)}


def _places(parametric, names, params, n_groups):
    """Return where in the vector of all parameters those of each group are, (K, P); and sizes."""
    places, sizes, start = [], [], 0
    for name in names:
        size, width = np.size(params[name]), parametric.width(name)
        step = width if parametric.kinds[name] == "group" else 0
        places.append(start + step * np.arange(n_groups)[:, None] + np.arange(width))
        sizes.append(size)
        start += size
    return np.concatenate(places, axis=1), sizes


def _group_blocks(jacobians, moments):
    """Return the curvature (K, P, K, P) by parameters of groups, as if each were a group's own."""
    xp = array_namespace(jacobians[0])
    jacobian = xp.concat(jacobians, axis=4)
    K, N, M, C, P = jacobian.shape
    mean = moments.mean[:, None, None, :, None]
    images = xp.permute_dims(xp.sum(jacobian * mean, axis=3), (1, 0, 3, 2))  # (N, K, P, M)
    total = np.zeros((K, P, K, P))
    for n in range(N):
        flat = xp.reshape(images[n, ...], (K * P, M))
        gram = xp.reshape(xp.matmul(conjugate(flat), flat.T), (K, P, K, P))
        total += to_numpy(real_part(moments.symbols[n, :, None, :, None] * gram))
    weights = variance_weights(moments)[:, :, None, :, None]
    for k in range(K):
        own, scaled = (
            xp.reshape(xp.permute_dims(part, (3, 0, 1, 2)), (P, N * M * C))
            for part in (jacobian[k, ...], (weights[k, ...] * jacobian[k, ...]))
        )
        total[k, :, k, :] += to_numpy(real_part(xp.matmul(conjugate(own), scaled.T)))
    return 2 * moments.half * moments.precision * total


def solve_blocks(blocks, slopes):
    """Solve for steps along which blocks are curved; there is no step where they are flat."""
    scale = np.sqrt(np.einsum("cpp->cp", blocks))
    scale[~(scale > 0)] = np.inf
    values, vectors = np.linalg.eigh(blocks / scale[:, :, None] / scale[:, None, :])
    inverse = np.where(values > SMALLEST_CURVATURE, 1 / np.where(values > 0, values, 1), 0)
    turned = np.einsum("cpr,cp->cr", vectors, slopes / scale)
    return np.einsum("cpr,cr->cp", vectors, inverse * turned) / scale


def shorten_rows(step, radius):
    """Shorten rows of a step to a trust radius."""
    if radius is None:
        return step
    rows = step.reshape(len(step), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths / radius, 1)).reshape(step.shape)


def excess(step, kind, radius):
    """Return by what to divide a step so that it respects a trust radius, at least 1."""
    if radius is None or step.size == 0:
        return 1.0
    if kind == "shared":
        return max(1.0, float(np.max(np.abs(step))) / radius)
    lengths = np.linalg.norm(step.reshape(len(step), -1), axis=1)
    return max(1.0, float(np.max(lengths)) / radius)


def gradient_direction(parametric, here, columns, moments, gradient, jac, terms, trust):
    """Return the gradient by each parameter, to the minimum of the quadratic model along it.

    The model is that of Gauss and Newton; without ``jac`` the derivative of the dictionary along
    the gradient is a difference, so that vjp is enough.
    """
    direction = {}
    for name, slopes in gradient.items():
        size = float(np.sum(slopes**2))
        if size == 0:
            direction[name] = slopes
            continue
        unit = slopes / size**0.5
        if jac is None:
            change = _difference(parametric, here, columns, name, unit)
        else:
            change = along(parametric, columns, name, unit, jac[name])
        curvature = _curvature(change, moments)
        curvature += float(np.sum(terms.precision(name, here.params[name]) * unit**2))
        step = size**0.5 / max(curvature, SMALLEST_CURVATURE * size) * unit
        direction[name] = step / excess(step, parametric.kinds[name], trust.get(name))
    return direction


def along(parametric, columns, name, step, jacobian):
    """Return the derivative (K, N, M, C) of the columns along a step of one parameter."""
    xp = array_namespace(jacobian)
    K, C, P = jacobian.shape[0], jacobian.shape[3], jacobian.shape[4]
    if parametric.kinds[name] == "column":
        rows = parametric.rows(name, columns)
        weights = np.zeros((C, P))
        weights[rows] = step.reshape(len(step), P)[columns[rows]]
        weights = weights.reshape(1, 1, 1, C, P)
    else:
        weights = np.broadcast_to(step.reshape(-1, 1, 1, 1, P), (K, 1, 1, 1, P))
    weights = xp.asarray(weights, dtype=real_part(jacobian).dtype, device=jacobian.device)
    return xp.sum(jacobian * weights, axis=4)


def _difference(parametric, here, columns, name, unit):
    """Return the same by a difference, over a distance at which the columns change a little."""
    xp = array_namespace(here.values)
    norm = float(xp.linalg.vector_norm(here.values))
    value = here.params[name]
    length = PROBE_CHANGE * max(1.0, float(np.max(np.abs(value))))
    change = xp.zeros_like(here.values)
    for _ in range(PROBES):
        try:
            there = parametric.values(here.params | {name: value + length * unit}, columns)
        except NonFiniteDictionaryError:
            length *= PROBE_CHANGE
            continue
        change = there.columns(np.arange(len(columns))) - here.values
        ratio = float(xp.linalg.vector_norm(change)) / norm if norm > 0 else 0.0
        if ratio == 0 or PROBE_CHANGE / 10 <= ratio <= PROBE_CHANGE * 10:
            break
        length *= PROBE_CHANGE / ratio
    return change / length


def _curvature(change, moments):
    """Return the second derivative of half kappa E along a change of the columns."""
    xp = array_namespace(change)
    images = xp.matmul(change, moments.mean[:, None, :, None])[..., 0]
    total = xp.sum(real_part(conjugate(images) * mix(moments.symbols, images)))
    weights = variance_weights(moments)[:, :, None, :]
    total = total + xp.sum(weights * xp.abs(change) ** 2)
    return 2 * moments.half * moments.precision * float(total)
