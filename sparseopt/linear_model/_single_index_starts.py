r"""Directions from which the fit of a single-index model starts.

S. Wei, A. Damian & J. D. Lee, "Improved high-dimensional estimation with Langevin dynamics and
stochastic weight averaging", ICLR 2026, arXiv 2603.06028, and the classical starts beside it:
least squares, principal Hessian directions (K.-C. Li, 1992), sliced inverse regression (Li, 1991)
and sliced average variance estimation (R. D. Cook & S. Weisberg, 1991).

Rows :math:`z_i` (d,) with weights :math:`w_i` and labels :math:`a_i = T(y_i)` give the
correlation with a Hermite polynomial, to be maximised over the sphere, and its drift,

.. math::

    f(\theta) = \sum_i w_i a_i h_k(z_i^T \theta), \qquad
    b(\theta) = P_\theta \sum_i w_i a_i h_k'(z_i^T \theta) z_i .

Langevin averages of b, or of :math:`\theta b^T + b \theta^T` for even k, point to the planted
direction. At infinite temperature they are known in closed form: the partial trace.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, roots_gegenbauer

from sparseopt._core._hermite import hermite, hermite_derivative
from sparseopt.linear_model._single_index_rows import Rows
from sparseopt.optimize import langevin_average, sgd_average

QUADRATURE_NODES = 40
SLICES = 10
ROWS_PER_FEATURE = 2  # in a slice whose covariance is wanted
WINSORISED = 0.999  # quantile of the labels, for single-sample gradients
LARGEST_DEGREE = 4  # of the correlations tried when the exponent is unknown


def correlation_loss(theta, rows, labels, degree):
    """Return ``-f`` at each row of ``theta`` (R, d)."""
    return -(rows.weight * labels) @ hermite(rows.index(theta.T), degree)


def correlation_gradient(theta, rows, labels, degree):
    """Return the Euclidean gradient of ``f`` at each row of ``theta`` (R, d).

    Cost: 4 n d R flops, in two matrix products.
    """
    slopes = hermite_derivative(rows.index(theta.T), degree)
    return rows.cross((rows.weight * labels)[:, None] * slopes).T


def partial_trace(rows, labels, degree):
    """Return the mean drift over the sphere: the limit of infinite temperature.

    For odd ``degree`` it is ``E[b]`` (d,), for even ``degree`` ``E[theta b' + b theta']``
    (d, d). Degree 1 gives ``X'y``, up to a factor, degree 2 the principal Hessian matrix.
    """
    n_features = rows.shape[1]
    squares = rows.squared_norms()
    factors = _sphere_means(np.sqrt(np.maximum(squares, 0)), n_features, degree)
    values = rows.weight * labels * factors
    if degree % 2:
        return rows.cross(values)
    if n_features == 1:
        return np.zeros((1, 1))  # on a sphere of two points there is no tangent
    matrix = rows.gram(values)
    matrix[np.diag_indices(n_features)] -= values @ squares / n_features
    return matrix * (n_features / (n_features - 1))


def _sphere_means(radii, n_features, degree):
    """Return c(r): E[h'(r t) (1 - t^2)], or 2 E[h'(r t) t (1 - t^2)] / r for even degrees."""
    if n_features == 1:  # t is 1 or -1
        return np.zeros(len(radii)) if degree % 2 == 0 else hermite_derivative(radii, degree)
    if n_features == 2:  # the density of t is that of a cosine
        nodes = np.cos((np.arange(QUADRATURE_NODES) + 0.5) * np.pi / QUADRATURE_NODES)
        mass = np.full(QUADRATURE_NODES, 1 / QUADRATURE_NODES)
    else:
        nodes, mass = roots_gegenbauer(QUADRATURE_NODES, (n_features - 2) / 2)
        mass = mass / mass.sum()
    mass = mass * (1 - nodes**2)
    if degree % 2:
        return sum(m * hermite_derivative(radii * t, degree) for t, m in zip(nodes, mass))
    total = sum(m * t * hermite_derivative(radii * t, degree) for t, m in zip(nodes, mass))
    return 2 * np.divide(total, radii, out=np.zeros_like(radii), where=radii > 0)


def least_squares(rows, labels):
    """Return the direction of ordinary least squares, for whitened rows ``Z'y``."""
    return rows.cross(rows.weight * labels)[None]


def sliced_inverse_regression(rows, target):
    """Return the leading direction of the means of slices of equal target.

    Blind to functions that are even.
    """
    between = np.zeros((rows.shape[1], rows.shape[1]))
    for part in _slices(rows, target, SLICES):
        mean = part.rows.cross(part.rows.weight)
        between += part.proportion * np.outer(mean, mean)
    return _leading(between)


def sliced_average_variance(rows, target):
    """Return the leading direction in which covariances within slices differ from one.

    Blind to odd functions unless they change the spread.
    """
    n_rows, n_features = rows.shape
    n_slices = int(np.clip(n_rows // (ROWS_PER_FEATURE * n_features), 2, SLICES))
    differences = np.zeros((n_features, n_features))
    for part in _slices(rows, target, n_slices):
        mean = part.rows.cross(part.rows.weight)
        within = part.rows.gram(part.rows.weight) - np.outer(mean, mean)
        within[np.diag_indices(n_features)] -= 1
        differences += part.proportion * (within @ within)
    return _leading(differences)


class Slice(NamedTuple):
    """Rows whose targets are neighbours, and their share of the weight."""

    rows: Rows
    proportion: float


def _slices(rows, target, n_slices):
    """Cut the rows, sorted by target, into slices of equal weight.

    Rows of equal target that lie across a cut belong to both slices in the same proportion, so
    that nothing depends on their order.
    """
    order = np.argsort(target, kind="stable")
    _, starts = np.unique(target[order], return_index=True)
    ends = np.append(starts[1:], len(target))
    weight = rows.weight[order]
    levels = np.append(0.0, np.cumsum(np.add.reduceat(weight, starts)))
    levels *= n_slices / levels[-1]
    for number in range(n_slices):
        overlap = np.clip(levels[1:], number, number + 1) - np.clip(levels[:-1], number, number + 1)
        share = overlap / np.diff(levels)
        # Rounding of the sums must not put a group of rows into a neighbouring slice.
        inside = np.flatnonzero(share > 1e-9)
        chosen = slice(starts[inside[0]], ends[inside[-1]])
        sizes = (ends - starts)[inside[0] : inside[-1] + 1]
        part = weight[chosen] * np.repeat(share[inside[0] : inside[-1] + 1], sizes)
        yield Slice(rows.take(order[chosen], part), part.sum() / weight.sum())


def partial_trace_directions(rows, labels, degree):
    """Return the directions of the partial trace: one, or for even degrees two, of either sign."""
    trace = partial_trace(rows, labels, degree)
    return trace[None] if degree % 2 else extreme_directions(trace)


def langevin_directions(rows, labels, degree, options, seed):
    """Return the directions of averages of Langevin dynamics.

    An even correlation is positive or negative along the planted direction, and chains climb
    it only if they are given the right sign: both are run.

    Parameters
    ----------
    rows : Rows
        Standardised rows.
    labels : ndarray of shape (n_rows,)
        Transformed labels.
    degree : int
        Of the Hermite polynomial.
    options : dict
        ``average``, and what :func:`sparseopt.optimize.langevin_average` takes.
    seed : SeedSequence
        Of the chains.

    Returns
    -------
    directions : ndarray of shape (1 or 2, n_features)
        Not normalised.
    """
    options = dict(options)
    average = options.pop("average")

    def run(sign):
        result = langevin_average(
            lambda theta: sign * correlation_gradient(theta, rows, labels, degree),
            rows.shape[1],
            second_moment=degree % 2 == 0,
            random_state=np.random.default_rng(seed),
            **options,
        )
        return _averaged_direction(result, degree, average)

    return np.array([run(1.0)] if degree % 2 else [run(1.0), run(-1.0)])


def sgd_directions(rows, labels, degree, options, seed):
    """Return the directions of averages of stochastic gradient descent, as for Langevin dynamics.

    As many gradients of single samples are taken as the Langevin chains would take. The step is
    that at which the noise of the samples moves an iterate as far as theirs moves it: with
    labels of mean square one, ``E[(a h'(u))^2]`` is about ``degree``.
    """
    n_rows, n_features = rows.shape
    # A large label moves the iterate in proportion; products with h' have heavy tails.
    bound = np.quantile(np.abs(labels), WINSORISED)
    # Rows are drawn uniformly: their weights go into the labels.
    weighted = np.clip(labels, -bound, bound) * (rows.weight * n_rows)

    def run(sign):
        result = sgd_average(
            rows.X,
            sign * weighted,
            degree,
            eta=1 / np.sqrt(degree * max(n_features - 1, 1)),
            n_steps=options["max_iter"] * n_rows,
            n_chains=options["n_chains"],
            second_moment=degree % 2 == 0,
            random_state=np.random.default_rng(seed),
            warn=options["warn"],
        )
        return result.x if degree % 2 else np.linalg.eigh(result.second_moment)[1][:, -1]

    return np.array([run(1.0)] if degree % 2 else [run(1.0), run(-1.0)])


def _averaged_direction(result, degree, average):
    if degree % 2:
        return result.drift_mean if average == "drift" else result.x
    matrix = result.drift_second if average == "drift" else result.second_moment
    return np.linalg.eigh(matrix)[1][:, -1]


def extreme_directions(matrix):
    """Return the eigenvectors of the largest and the smallest eigenvalue, larger modulus first."""
    values, vectors = np.linalg.eigh(matrix)
    extremes = vectors[:, [0, -1]].T
    return extremes if abs(values[0]) > abs(values[-1]) else extremes[::-1]


def _leading(matrix):
    return np.linalg.eigh(matrix)[1][:, -1:].T


def transform_labels(y, weight, transform):
    """Return T(y), centred and scaled to mean square one; zeros if it is constant.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Targets.
    weight : ndarray of shape (n_rows,)
        Weights that sum to one.
    transform : {"identity", "rank"} or callable
        ``"rank"`` gives normal scores, so that heavy tails of the target do no harm.
    """
    if callable(transform):
        labels = np.asarray(transform(y.copy()), dtype=float)
        if labels.shape != y.shape or not np.all(np.isfinite(labels)):
            raise ValueError(
                "label_transform must return one finite number a target: shape "
                f"{y.shape}, got {labels.shape} or entries that are not finite."
            )
    elif transform == "rank":
        values, group = np.unique(y, return_inverse=True)
        mass = np.bincount(group, weights=weight, minlength=len(values))
        labels = ndtri((np.cumsum(mass) - mass / 2) / mass.sum())[group]
    else:
        labels = y
    labels = labels - weight @ labels
    largest = np.max(np.abs(labels))
    if largest <= 1e-14 * np.max(np.abs(y), initial=0.0):
        return np.zeros_like(labels)
    labels = labels / largest
    return labels / np.sqrt(weight @ labels**2)
