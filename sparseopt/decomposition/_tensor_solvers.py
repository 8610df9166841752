r"""Where the leading rank-one part of a symmetric tensor may be, and the way to it from near by.

Every start is a function of a :class:`SymmetricTensor` that returns unit vectors;
:func:`power_iteration` goes uphill from them on
:math:`f(\theta) = \langle S, \theta^{\otimes k} \rangle` on the sphere.

Langevin averaging: S. Wei, A. Damian & J. D. Lee, ICLR 2026, arXiv 2603.06028. Partial traces:
S. B. Hopkins, T. Schramm, J. Shi & D. Steurer, STOC 2016. Unfolding: A. Montanari & E. Richard,
NeurIPS 2014. The smoothed landscape: A. Damian, E. Nichani, R. Ge & J. D. Lee, NeurIPS 2023.
Shifted power iteration: T. G. Kolda & J. R. Mayo, SIAM J. Matrix Anal. Appl. 32 (2011).
"""

import array_api_compat
import numpy as np
from scipy.optimize import OptimizeResult
from scipy.sparse.linalg import LinearOperator, eigsh

from sparseopt._core import array_namespace, is_numpy, to_numpy
from sparseopt.decomposition._symmetric_tensor import mean_drift
from sparseopt.optimize import langevin_average

LARGEST_DIRECT = 600  # rows of a matrix whose eigenvectors are all computed
LARGEST_UNFOLDING = 4000  # rows of an unfolded tensor that a search for good starts may take on
SMOOTHING_STEPS = 60
SMOOTHING_POINTS = 64
SMOOTHING_RADIUS = 3.0
MOST_STEPS = 2000  # of power iteration
ENOUGH_STEPS = 200  # after which only the highest row is waited for


def random_points(tensor, n_points, rng):
    """Return uniform points of the sphere, (n_points, d), in the library of the tensor."""
    points = rng.standard_normal((n_points, tensor.n_features))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return as_points(points, tensor)


def as_points(host, tensor):
    """Return a NumPy array in the library, on the device and in the dtype of a tensor."""
    return as_like(host, tensor.like)


def as_like(host, like):
    """Return a NumPy array in the library, on the device and in the dtype of another array."""
    xp = array_namespace(like)
    return xp.asarray(host, dtype=like.dtype, device=array_api_compat.device(like))


def normalised(vector):
    """Return a vector of unit length, and the first unit vector for zero."""
    xp = array_namespace(vector)
    double = xp.astype(vector, xp.float64, copy=False)
    size = xp.max(xp.abs(double))
    if not float(size) > 0:
        unit = xp.zeros_like(vector)
        unit[0] = 1
        return unit
    double = double / size  # whose square neither overflows nor vanishes
    return xp.astype(double / xp.linalg.vector_norm(double), vector.dtype, copy=False)


def partial_trace_start(tensor):
    """Return the direction of the partial trace: one pass over the data, no randomness."""
    average = mean_drift(tensor)
    return normalised(average) if average.ndim == 1 else leading_eigenvector(average)


def leading_eigenvector(matrix):
    """Return the eigenvector of the largest eigenvalue of a symmetric matrix."""
    xp = array_namespace(matrix)
    if is_numpy(xp) and matrix.shape[0] > LARGEST_DIRECT:
        return _lanczos(matrix, matrix.shape[0], matrix.dtype, "LA")
    return xp.linalg.eigh(matrix)[1][:, -1]


def _lanczos(operator, size, dtype, which):
    start = np.random.default_rng(0).standard_normal(size).astype(dtype)
    vector = eigsh(operator, k=1, which=which, v0=start, maxiter=100 * size)[1][:, 0]
    return vector.astype(dtype, copy=False)


def unfolding_start(tensor):
    """Return the direction that the most balanced unfolding of the tensor shows.

    Its leading left singular vector is itself a tensor, of half the order, which is unfolded in
    its turn until it is a vector. A search of the eigenvectors of a matrix with d^(k // 2) rows.
    """
    return normalised(_unfold(tensor.entries(), tensor.n_features, "LA"))


def unfolding_size(tensor):
    """Return the number of rows of the matrix that :func:`unfolding_start` looks at."""
    return tensor.n_features ** (tensor.order // 2)


def _unfold(entries, d, which):
    order = entries.ndim
    if order == 1:
        return entries
    xp = array_namespace(entries)
    rows = d ** (order // 2)
    matrix = xp.reshape(entries, (rows, -1))
    if rows <= LARGEST_DIRECT:
        # The square roots of the eigenvalues are not wanted, so the Gram matrix will do. Even
        # orders have a symmetric matrix, whose positive eigenvalues are those of positive spikes.
        gram = matrix if order % 2 == 0 else matrix @ matrix.T
        values, vectors = xp.linalg.eigh((gram + gram.T) / 2)
        first = which == "LM" and float(-values[0]) > float(values[-1])
        vector = vectors[:, 0] if first else vectors[:, -1]
    else:
        host = to_numpy(matrix)
        dtype = host.dtype
        operator = host
        if order % 2:
            operator = LinearOperator(
                (rows, rows), matvec=lambda u: host @ (host.T @ u), dtype=dtype
            )
        vector = as_like(_lanczos(operator, rows, dtype, which), entries)
    # The sign of a singular vector is arbitrary, so that the next matrix has either.
    return _unfold(xp.reshape(vector, (d,) * (order // 2)), d, "LM")


def leading_matrix_direction(tensor):
    """Return the eigenvector of the eigenvalue of largest modulus of a tensor of order 2."""
    d, like = tensor.n_features, tensor.like
    if is_numpy(tensor.xp) and d > LARGEST_DIRECT:

        def product(vector):
            return tensor.contract(np.asarray(vector, dtype=like.dtype).reshape(1, -1))[0]

        return _lanczos(
            LinearOperator((d, d), matvec=product, dtype=like.dtype), d, like.dtype, "LM"
        )
    values, vectors = tensor.xp.linalg.eigh(tensor.partial_trace())
    return vectors[:, 0] if float(-values[0]) > float(values[-1]) else vectors[:, -1]


def smoothed_start(tensor, start, rng):
    """Follow maxima of the smoothed form from ``start``, (R, d), as the smoothing is taken back.

    The gradient is averaged over points at a distance from theta that goes from 3 to 0.
    """
    xp, theta = tensor.xp, start
    n_points, d = theta.shape
    for radius in np.linspace(SMOOTHING_RADIUS, 0, SMOOTHING_STEPS).tolist():
        normals = rng.standard_normal((SMOOTHING_POINTS // 2, 1, d))
        around = as_points(np.concatenate([normals, -normals]), tensor)  # odd terms cancel
        here = theta[None, :, :]
        around = around - here * xp.sum(around * here, axis=-1)[:, :, None]
        around = around / xp.linalg.vector_norm(around, axis=-1)[:, :, None]
        points = xp.reshape((here + radius * around) / (1 + radius**2) ** 0.5, (-1, d))
        gradient = xp.reshape(tensor.contract(points), (SMOOTHING_POINTS, n_points, d))
        theta = _normalised_rows(xp.mean(gradient, axis=0), theta)
    return theta


def langevin_start(tensor, *, average, eps, random_state, callback, **options):
    """Return the direction that the average of Langevin dynamics shows.

    Parameters
    ----------
    tensor : SymmetricTensor
        For an even order, averages of products are taken, for an odd one of vectors.
    average : {"drift", "iterate"}
        Which average gives the direction.
    eps : float or ("auto", kappa)
        Inverse temperature.
    random_state : int, RandomState or Generator
        Seed of the chains.
    callback : callable, optional
        For ``langevin_average``.
    **options : dict
        Further arguments of ``langevin_average``.

    Returns
    -------
    OptimizeResult
        ``x`` (d,), ``average``, ``second_moment``, ``agreement``, ``eps``, ``n_eps_halvings``,
        ``nit`` and ``history``.
    """
    even = tensor.order % 2 == 0
    run = langevin_average(
        tensor.gradient,
        tensor.n_features,
        eps=eps,
        second_moment=even,
        random_state=random_state,
        like=tensor.like,
        callback=callback,
        warn=False,
        **options,
    )
    names = {
        (False, "drift"): "drift_mean",
        (False, "iterate"): "x",
        (True, "drift"): "drift_second",
        (True, "iterate"): "second_moment",
    }
    name = names[even, average]
    mean = run[name]
    direction = leading_eigenvector(mean) if even else normalised(mean)
    return OptimizeResult(
        x=as_points(to_numpy(direction), tensor) if is_numpy(tensor.xp) else direction,
        average=None if even else mean,
        second_moment=mean if even else None,
        agreement=run.agreement[name],
        eps=run.eps,
        n_eps_halvings=run.n_eps_halvings,
        nit=run.nit,
        history=run.history,
    )


def power_iteration(tensor, start, *, tol, max_iter=MOST_STEPS):
    r"""Go uphill on f from every row of ``start`` by shifted power iteration.

    :math:`\theta \leftarrow S(\theta, \ldots, \theta, \cdot) + \alpha \theta`, normalised, with
    the shift :math:`\alpha = 0` unless f would decrease: it is raised until f does not, which a
    shift of (k - 1) times the largest \|f\| ensures. So f never decreases.

    Parameters
    ----------
    tensor : SymmetricTensor
        Of order 3 or more.
    start : array of shape (n_points, n_features)
        Unit vectors.
    tol : float
        A row has converged when a step moves it by at most this. After 200 steps, only the row
        with the largest f counts.
    max_iter : int
        Largest number of steps.

    Returns
    -------
    OptimizeResult
        ``x`` (n_points, n_features), ``fun`` (n_points,), ``nit``, ``change`` (n_points,) and
        ``history``, the values of f at each step.
    """
    xp, theta = tensor.xp, start
    rounding = float(xp.finfo(theta.dtype).eps)
    tol = max(tol, tolerance_of(tensor))
    pull = tensor.contract(theta)
    value = xp.vecdot(pull, theta, axis=-1)
    if tensor.order % 2:
        sign = xp.where(value < 0, -xp.ones_like(value), xp.ones_like(value))
        theta, value = theta * sign[:, None], value * sign
    shift, change = xp.zeros_like(value), xp.full_like(value, 2.0)
    nit, history = 0, [to_numpy(value)]
    while nit < max_iter and bool(xp.any(change > tol)):
        if nit >= ENOUGH_STEPS and float(change[int(xp.argmax(value))]) <= tol:
            break
        moved = _normalised_rows(pull + shift[:, None] * theta, theta)
        new_pull = tensor.contract(moved)
        new_value = xp.vecdot(new_pull, moved, axis=-1)
        size = xp.linalg.vector_norm(pull, axis=-1)
        ascends = (new_value >= value - 16 * rounding * size) & (change > tol)
        length = xp.linalg.vector_norm(moved - theta, axis=-1)
        shift = xp.where(ascends | (change <= tol), shift, 2 * shift + size)
        theta = xp.where(ascends[:, None], moved, theta)
        pull = xp.where(ascends[:, None], new_pull, pull)
        value = xp.where(ascends, new_value, value)
        change = xp.where(ascends, length, change)
        nit += 1
        history.append(to_numpy(value))
    return OptimizeResult(x=theta, fun=value, nit=nit, change=change, history=np.array(history))


def tolerance_of(tensor):
    """Return the smallest tolerance that rounding lets a power iteration reach."""
    return 16 * float(tensor.xp.finfo(tensor.like.dtype).eps)


def _normalised_rows(rows, otherwise):
    """Return rows of unit length, and those of ``otherwise`` for zero rows."""
    xp = array_namespace(rows)
    length = xp.linalg.vector_norm(rows, axis=-1)[:, None]
    positive = length > 0
    return xp.where(positive, rows / xp.where(positive, length, xp.ones_like(length)), otherwise)
