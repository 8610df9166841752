r"""The standard deviation of dense noise below sparse errors, and what follows from it.

The deviation is a fixed point: that of the residual D - L of stable principal component
pursuit with the mu that belongs to it. Started from above, at the spread of the data, the
iteration falls by a constant factor each time, and what it needs of L is rough and near the L
before, so that a few steps each do. It goes on to zero if there is no noise.
"""

import math

import numpy as np

from sparseopt._core import (
    Progress,
    array_namespace,
    check_at_least_one,
    check_nonnegative,
    is_numpy,
    iterate,
    short_products,
)
from sparseopt.decomposition._huber_descent import HuberDescent, Problem
from sparseopt.decomposition._known_rank import NORMAL_MAD
from sparseopt.decomposition._singular_values import ThresholdedSVD

CUT = 3.0  # deviations, beyond which a residual is an error and no noise
ACCURACY = 1e-3  # relative gap of the pursuits on the way
STEPS = 200  # of one of them, at most
CHANGE = 1e-2  # relative, of the deviation, at which it has settled
NO_NOISE = 1e-6  # part of the spread of the data, below which noise counts as none


def estimate_noise(residual, observed=None):
    """Estimate the standard deviation of noise from residuals that hold gross errors too.

    It is 1.4826 times the median absolute value of those residuals that are no errors: at
    most three deviations.

    Parameters
    ----------
    residual : array
        Data minus a fit, from any array library.
    observed : bool array in the shape of ``residual``, optional
        Which entries count.

    Returns
    -------
    float
        0 if half of the residuals are zero.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._noise import estimate_noise
    >>> residual = 0.1 * np.random.default_rng(0).standard_normal(10000)
    >>> residual[:2000] = 50.0
    >>> round(estimate_noise(residual), 2)
    0.1
    """
    xp = array_namespace(residual)
    sizes = xp.abs(residual[observed] if observed is not None else xp.reshape(residual, (-1,)))
    sizes = xp.sort(sizes)
    kept, count = 0, sizes.shape[0]
    while count not in (kept, 0):  # the sizes kept become fewer each time
        kept = count
        deviation = NORMAL_MAD * _middle(sizes, kept)
        count = int(xp.count_nonzero(sizes[:kept] <= CUT * deviation))
    return deviation if kept else 0.0


def _middle(sizes, count):
    """Return the median of the first ``count`` of sorted values."""
    return (float(sizes[(count - 1) // 2]) + float(sizes[count // 2])) / 2


def default_mu(noise_std, shape):
    r"""Return the mu that suits noise of a standard deviation: :math:`\sqrt{2 \max(m, n)}` of it.

    Parameters
    ----------
    noise_std : float
        Standard deviation of the noise.
    shape : tuple of two ints
        Shape (m, n) of the data.

    Examples
    --------
    >>> from sparseopt.decomposition._noise import default_mu
    >>> default_mu(0.1, (50, 40))
    1.0
    """
    return math.sqrt(2 * max(shape)) * check_nonnegative(noise_std, "noise_std")


def default_radius(noise_std, n_observed):
    r"""Return the norm that noise hardly exceeds: :math:`\sigma \sqrt{N + \sqrt{8 N}}`.

    That is two standard deviations above the mean of the squared norm of N entries.

    Parameters
    ----------
    noise_std : float
        Standard deviation of the noise.
    n_observed : int
        Number of observed entries.

    Examples
    --------
    >>> from sparseopt.decomposition._noise import default_radius
    >>> round(default_radius(0.1, 2000), 2)
    4.61
    """
    n_observed = check_at_least_one(n_observed, "n_observed")
    energy = n_observed + math.sqrt(8 * n_observed)
    return math.sqrt(energy) * check_nonnegative(noise_std, "noise_std")


def noise_level(
    D, lam=None, *, observed=None, weights=None, svd_solver="auto", max_iter=100, random_state=None
):
    r"""Estimate the standard deviation of dense noise in a low-rank plus sparse matrix.

    Parameters
    ----------
    D : array of shape (m, n)
        Real matrix, from any array library.
    lam : float, optional
        Price of the sparse part, > 0; :math:`1 / \sqrt{p \max(m, n)}` by default, for the
        observed share p of the entries.
    observed : bool array of shape (m, n), optional
        Which entries of ``D`` count; the others may be NaN.
    weights : array of shape (m,) or (m, n), optional
        Weights of the price, as in :func:`stable_principal_pursuit`.
    svd_solver : {"auto", "full", "gram", "subspace"}, default="auto"
        How singular values are found.
    max_iter : int, default=100
        Largest number of refinements.
    random_state : None, int, RandomState or Generator
        Draws the first block of the subspace iteration.

    Returns
    -------
    result : OptimizeResult
        ``noise_std`` (0.0 if it is below a millionth of the spread of the data, or below 100
        times the machine epsilon of it), and with
        it ``x`` (the low-rank part, a start for a pursuit), ``history`` with the estimates as
        ``objective``, and what every solver returns.

    Notes
    -----
    The rank must be some five times smaller than min(m, n): otherwise the low-rank part is as
    good as noise, and the result of the order of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition._noise import noise_level
    >>> rng = np.random.default_rng(0)
    >>> D = rng.standard_normal((80, 2)) @ rng.standard_normal((2, 60))
    >>> D += 9 * (rng.random(D.shape) < 0.05) + 0.1 * rng.standard_normal(D.shape)
    >>> round(noise_level(D).noise_std, 2)
    0.1
    """
    xp = array_namespace(D)
    shape = np.shape(D) if is_numpy(xp) else tuple(D.shape)
    share = 1.0 if observed is None else max(float(xp.mean(xp.astype(observed, xp.float64))), 1e-9)
    lam = 1 / math.sqrt(share * max(shape)) if lam is None else check_nonnegative(lam, "lam")
    problem = Problem.of(D, lam, observed, weights)
    engine = ThresholdedSVD(
        problem.shape, problem.dtype, xp=problem.xp, solver=svd_solver, random_state=random_state
    )
    with short_products(math.prod(shape)):
        descent = HuberDescent(problem, engine, problem.first(), tol=ACCURACY)
        state = _Refinement(descent)
        result = iterate(
            state,
            state,
            initial=Progress(0.0, 0.0) if state.deviation == 0 else None,
            max_iter=max_iter,
            tol=CHANGE,
            method="The estimate of the noise level",
            certificate_name="relative change",
            descends=True,
        )
    result.noise_std = state.deviation * problem.unit
    return result


class _Refinement:
    """The deviation of the residual, from which the next mu follows."""

    def __init__(self, descent):
        self.descent, self.problem = descent, descent.problem
        self.spread = self.deviation = self._deviation()

    @property
    def x(self):
        """L, in terms of the matrix given."""
        return self.descent.x

    def _deviation(self):
        return estimate_noise(self.problem.D - self.descent.L, self.problem.seen)

    def __call__(self, state):
        """Find the residual at the present deviation, and its deviation."""
        descent, before = self.descent, self.deviation
        descent.begin(default_mu(before, self.problem.shape))
        accuracy = max(ACCURACY, 4 * self.problem.accuracy(descent.mu))
        first, gap = descent.nit, math.inf
        while gap > accuracy and descent.nit < first + STEPS:
            _, gap = descent.advance()
        self.deviation = self._deviation()
        if self.deviation <= max(NO_NOISE, 100 * self.problem.eps) * self.spread:
            self.deviation = 0.0
        change = abs(self.deviation / before - 1) if self.deviation > 0 else 0.0
        return Progress(self.deviation * self.problem.unit, change)
