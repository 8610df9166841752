"""The chains of spherical Langevin dynamics: steps, noise, sums, automatic temperature.

See :mod:`sparseopt.optimize._langevin` for the equation. Shapes: R chains of d features are
one array (R, d), in the library, on the device and in the dtype that the user chose; sums are
float64.
"""

import math
from typing import NamedTuple

import array_api_compat
import numpy as np

from sparseopt._core import Progress, array_namespace

TEMPERATURE_POINTS = 32  # uniform points that measure the drift, for the automatic temperature
BLOCK = 16  # iterations between two looks at the averages, and of noise drawn at once
# A step of the drift is at most this long, beside the length 1 of theta, which it is added to
# before both are normalised. Useful temperatures reach 1.5 where chains climb towards a strong
# signal, and 6 at single points where data have heavy tails: those must not cool all chains.
LARGEST_PULL = 10.0
MOST_HALVINGS = 30  # of the inverse temperature, before a run gives up
ENOUGH_AGREEMENT = 0.9  # of the averages of two halves of the chains


class Noise:
    """Standard normal numbers: each chain has a stream of its own, whatever runs beside it.

    On a GPU they come from the device's generator, one for all chains.
    """

    def __init__(self, seeds, n_features, like):
        self.xp, self.like = array_namespace(like), like
        self.seeds, self.n_features = seeds, n_features
        self.restart()

    def restart(self):
        """Go back to the first numbers."""
        self.block, self.position = None, 0
        if array_api_compat.is_cupy_namespace(self.xp):
            import cupy  # here only: it is optional

            seed = int(self.seeds[0].generate_state(1, np.uint64)[0])
            self.generators = [cupy.random.default_rng(seed)]
        else:
            self.generators = [np.random.Generator(np.random.SFC64(seed)) for seed in self.seeds]

    def draw(self):
        """Return the next numbers, one row a chain."""
        if self.block is None or self.position == BLOCK:
            self.block, self.position = self._draw_block(), 0
        self.position += 1
        return self.block[:, self.position - 1, :]

    def _draw_block(self):
        shape = (len(self.seeds), BLOCK, self.n_features)
        if array_api_compat.is_cupy_namespace(self.xp):
            return self.generators[0].standard_normal(shape, dtype=self.like.dtype)
        # Single precision is drawn as such: it takes half the time.
        single = self.like.dtype == self.xp.float32
        drawn = np.empty(shape, dtype=np.float32 if single else np.float64)
        for chain, generator in enumerate(self.generators):
            generator.standard_normal(out=drawn[chain], dtype=drawn.dtype)
        return move_like(drawn, self.like)


class Moments:
    """Sums of theta, the drift and their products over some chains and iterations, in float64."""

    def __init__(self, n_features, second_moment, like):
        xp = array_namespace(like)
        self.xp, self.count = xp, 0
        options = {"dtype": xp.float64, "device": array_api_compat.device(like)}
        self.theta = xp.zeros(n_features, **options)
        self.drift = xp.zeros(n_features, **options)
        self.theta_theta = self.theta_drift = None
        if second_moment:
            self.theta_theta = xp.zeros((n_features, n_features), **options)
            self.theta_drift = xp.zeros((n_features, n_features), **options)

    def add(self, theta, drift):
        """Add the rows of ``theta`` and ``drift``."""
        xp, double = self.xp, self.xp.float64
        self.theta = self.theta + xp.sum(theta, axis=0, dtype=double)
        self.drift = self.drift + xp.sum(drift, axis=0, dtype=double)
        self.count += theta.shape[0]
        if self.theta_theta is not None:
            transposed = xp.matrix_transpose(theta)
            self.theta_theta = self.theta_theta + xp.astype(transposed @ theta, double)
            self.theta_drift = self.theta_drift + xp.astype(transposed @ drift, double)

    def means(self):
        """Return the averages by the names that they have in the result."""
        means = {"x": self.theta / self.count, "drift_mean": self.drift / self.count}
        means |= {"second_moment": None, "drift_second": None}
        if self.theta_theta is not None:
            cross = self.theta_drift / self.count
            means["second_moment"] = self.theta_theta / self.count
            means["drift_second"] = cross + self.xp.matrix_transpose(cross)
        return means


class Settings(NamedTuple):
    """How chains run."""

    n_features: int
    n_chains: int
    dt: float
    burn_in: int
    max_iter: int
    second_moment: bool
    block: int  # iterations of one step of the driver


class Chains:
    """The state of a run: where the chains are, and the sums over two halves of them."""

    def __init__(self, drift, eps, start, noise, settings):
        self.drift_of, self.eps, self.start = drift, eps, start
        self.noise, self.settings = noise, settings
        self.x = np.empty(0)  # the driver copies it; averages are taken when they are wanted
        self.n_halvings = 0
        self.restart()

    def restart(self):
        """Go back to the first iterate, with nothing summed."""
        xp, settings = array_namespace(self.noise.like), self.settings
        self.noise.restart()
        drawn = self.noise.draw()
        self.theta = drawn if self.start is None else self.start
        self.theta = normalise(self.theta)
        self.nit, self.drift = 0, None
        self.largest_pull = xp.asarray(0.0, dtype=self.theta.dtype)
        self.halves = [
            Moments(settings.n_features, settings.second_moment, self.theta) for _ in range(2)
        ]

    def advance(self):
        """Take one step of all chains."""
        xp, settings = array_namespace(self.theta), self.settings
        self.drift = self.drift_of(self.theta)
        # Scaled before it is squared: the drift has the units of the data.
        pull = xp.linalg.vector_norm((self.eps * settings.dt) * self.drift, axis=-1)
        # A maximum keeps NaN, so that the device is asked once for a block of iterations.
        self.largest_pull = xp.maximum(self.largest_pull, xp.max(pull))
        if self.nit >= settings.burn_in:
            self.count_iterate()
        self.theta = project_step(self.theta, self.drift, self.noise.draw(), self.eps, settings.dt)
        self.nit += 1

    def count_iterate(self):
        """Add the iterate to the sums of two halves: of the chains, or of the time of one."""
        n_chains, settings = self.theta.shape[0], self.settings
        if n_chains == 1:
            late = 2 * self.nit >= settings.burn_in + settings.max_iter
            self.halves[int(late)].add(self.theta, self.drift)
            return
        middle = n_chains // 2
        self.halves[0].add(self.theta[:middle, :], self.drift[:middle, :])
        self.halves[1].add(self.theta[middle:, :], self.drift[middle:, :])

    def means(self):
        """Return the averages over all chains, or over their present places during burn-in."""
        first, second = self.halves
        total = Moments(self.settings.n_features, self.settings.second_moment, self.theta)
        if first.count + second.count == 0:
            drift = self.drift_of(self.theta) if self.drift is None else self.drift
            total.add(self.theta, drift)
            return total.means()
        total.count = first.count + second.count
        total.theta, total.drift = first.theta + second.theta, first.drift + second.drift
        if self.settings.second_moment:
            total.theta_theta = first.theta_theta + second.theta_theta
            total.theta_drift = first.theta_drift + second.theta_drift
        return total.means()

    def agreement(self):
        """Return how well two halves of the chains agree, for each average; NaN if unknown."""
        first, second = self.halves
        names = ("x", "drift_mean")
        names += ("second_moment", "drift_second") if self.settings.second_moment else ()
        if min(first.count, second.count) == 0:
            return dict.fromkeys(names, math.nan)
        means = [half.means() for half in self.halves]
        return {name: cosine(*(direction_of(mean[name]) for mean in means)) for name in names}

    def quick_agreement(self):
        """Return the agreement of the drift averages without eigenvectors; -inf if unknown."""
        first, second = self.halves
        if min(first.count, second.count) == 0:
            return -math.inf
        name = "drift_second" if self.settings.second_moment else "drift_mean"
        agreement = cosine(first.means()[name], second.means()[name])
        return -math.inf if math.isnan(agreement) else agreement


def run_block(chains):
    """Run the next iterations; from the start again, with eps halved, if steps are too long."""
    settings = chains.settings
    target = min(chains.nit + settings.block, settings.max_iter)
    n_new = target - chains.nit
    while chains.nit < target:
        for _ in range(min(settings.block, target - chains.nit)):
            chains.advance()
        pull = float(chains.largest_pull)
        if not pull <= LARGEST_PULL:  # holds for NaN
            _halve(chains, pull)
    rms = root_mean_square(chains.drift)
    return Progress(rms, 1 - chains.quick_agreement(), iterations=n_new)


def _halve(chains, pull):
    """Restart at half the inverse temperature, or give up."""
    if chains.n_halvings == MOST_HALVINGS:
        what = (
            f"moved the chains by {pull:.3g} in one step"
            if math.isfinite(pull)
            else "returned values that are not finite"
        )
        raise FloatingPointError(
            f"drift {what}, also after eps was halved {MOST_HALVINGS} times, to "
            f"{chains.eps:.3g}. Check it for NaN and overflow, or rescale the data."
        )
    chains.n_halvings += 1
    chains.eps /= 2
    chains.restart()


def project_step(theta, drift, noise, eps, dt):
    """Take one projected Euler step.

    Parameters
    ----------
    theta : array of shape (n_chains, n_features)
        Points on the unit sphere.
    drift : array of shape (n_chains, n_features)
        Drift at these points, tangent to the sphere.
    noise : array of shape (n_chains, n_features)
        Standard normal numbers.
    eps : float
        Inverse temperature.
    dt : float
        Length of the step in time.

    Returns
    -------
    theta : array of shape (n_chains, n_features)
        The next points.
    """
    xp = array_namespace(theta)
    root = math.sqrt(dt)
    radial = xp.vecdot(theta, noise, axis=-1)[:, None]
    return normalise(theta * (1 - root * radial) + (eps * dt) * drift + root * noise)


def normalise(theta):
    """Return rows of unit length; the length is computed in double precision."""
    xp = array_namespace(theta)
    double = xp.astype(theta, xp.float64, copy=False)
    length = xp.sqrt(xp.vecdot(double, double, axis=-1))[:, None]
    return xp.astype(double / length, theta.dtype, copy=False)


def project_tangent(theta, gradient):
    """Return the part of ``gradient`` that is tangent to the sphere at the rows of ``theta``."""
    xp = array_namespace(theta)
    return gradient - theta * xp.vecdot(theta, gradient, axis=-1)[:, None]


def leading_direction(matrix):
    """Return the eigenvector of the largest eigenvalue of a symmetric matrix."""
    return array_namespace(matrix).linalg.eigh(matrix)[1][:, -1]


def choose_inverse_temperature(tangent, n_features, kappa, seed, like):
    """Return eps = kappa (d - 1) / (2 rms), with the rms of the drift at uniform points.

    ``kappa`` is the pull of the drift over one relaxation time beside that of the noise. A
    drift that is zero everywhere gives 0, which leaves Brownian motion.
    """
    normals = np.random.default_rng(seed).standard_normal((TEMPERATURE_POINTS, n_features))
    drift = tangent(normalise(move_like(normals, like)))
    rms = root_mean_square(drift)
    if not math.isfinite(rms):
        raise FloatingPointError(
            "drift returned values that are not finite at uniform points of the sphere, so that "
            "no temperature can be chosen. Check the data for NaN and overflow, or rescale it."
        )
    return kappa * (n_features - 1) / (2 * rms) if rms > 0 else 0.0


def root_mean_square(drift):
    """Return the root mean square length of the rows, whatever their scale; NaN or inf are kept."""
    xp = array_namespace(drift)
    double = xp.astype(drift, xp.float64, copy=False)
    largest = float(xp.max(xp.abs(double)))
    if not math.isfinite(largest) or largest == 0.0:
        return largest
    # A power of two as scale keeps squares within range, and the result free of rounding.
    scale = 2.0 ** (math.frexp(largest)[1] - 1)
    return scale * math.sqrt(float(xp.mean(xp.sum((double / scale) ** 2, axis=-1))))


def direction_of(mean):
    return leading_direction(mean) if mean.ndim == 2 else mean


def cosine(first, second):
    """Return the |cos| between two arrays as vectors, whatever their scale; NaN if one is zero."""
    xp = array_namespace(first)
    sizes = [float(xp.max(xp.abs(array))) for array in (first, second)]
    if not all(0 < size < math.inf for size in sizes):
        return math.nan
    first, second = first / sizes[0], second / sizes[1]  # squares neither overflow nor vanish
    norms = float(xp.linalg.vector_norm(first) * xp.linalg.vector_norm(second))
    return abs(float(xp.sum(first * second))) / norms


def move_like(host, like):
    """Return a NumPy array in the library, on the device and in the dtype of ``like``."""
    xp = array_namespace(like)
    if like.dtype == xp.float32:
        host = host.astype(np.float32, copy=False)
    return xp.asarray(host, device=array_api_compat.device(like))


def check_points(theta0, n_chains, n_features):
    """Return first iterates (n_chains, n_features), a new NumPy array, of lengths from 1 on."""
    host = np.asarray(theta0)
    shape = (n_chains, n_features)
    if host.shape not in (shape, shape[1:]):
        raise ValueError(f"theta0 must have shape {shape} or {shape[1:]}, got {host.shape}.")
    if host.dtype.kind not in "fiu":
        raise ValueError(f"theta0 must be real, got dtype {host.dtype}.")
    if not (np.all(np.isfinite(host)) and np.all(np.any(host != 0, axis=-1))):
        raise ValueError("theta0 must be finite, and without points at the origin.")
    points = np.array(np.broadcast_to(host, shape), dtype=np.float64)
    return points / np.max(np.abs(points), axis=-1, keepdims=True)  # squares stay within range
