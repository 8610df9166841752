r"""Langevin dynamics on the sphere, and what its averages over time have found.

S. Wei, A. Damian & J. D. Lee, "Improved high-dimensional estimation with Langevin dynamics and
stochastic weight averaging", ICLR 2026, arXiv 2603.06028. With points :math:`\theta` (d,) on the
unit sphere, :math:`P_\theta = I - \theta \theta^\top`, the drift
:math:`b(\theta) = P_\theta \nabla f(\theta)` of what is to be maximised, and an inverse
temperature :math:`\varepsilon`,

.. math::

    d\theta = \Big( -\frac{d - 1}{2} \theta + \varepsilon\, b(\theta) \Big) dt + P_\theta\, dW .

Its law tends to :math:`\exp(2 \varepsilon f)`. R chains (R, d) run as one batch, by projected Euler
steps of length :math:`dt = s / (d - 1)`: the normalisation makes the term
:math:`-(d - 1) \theta / 2`.

Two averages over chains and time estimate a planted direction while no iterate has found it: that
of :math:`\theta` itself, and that of the drift :math:`b(\theta)` at the same points, in which no
Brownian noise is left. For functions that do not change with the sign of :math:`\theta`, both
vanish, and the leading eigenvectors of the averages of :math:`\theta \theta^\top` and
:math:`\theta b^\top + b \theta^\top` take their place. In the stationary law of the equation,

.. math::

    \frac{d - 1}{2} E[\theta] = \varepsilon E[b], \qquad
    d\, E[\theta \theta^\top] = I + \varepsilon E[\theta b^\top + b \theta^\top] .
"""

import inspect
import math
import numbers
import warnings

import array_api_compat
import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import (
    Status,
    array_namespace,
    check_at_least_one,
    check_nonnegative,
    iterate,
    spawn_seeds,
    to_numpy,
)
from sparseopt.optimize._langevin_chains import (
    BLOCK,
    ENOUGH_AGREEMENT,
    Chains,
    Noise,
    Settings,
    check_points,
    choose_inverse_temperature,
    leading_direction,
    move_like,
    project_step,
    project_tangent,
    run_block,
)

__all__ = ["langevin_average", "leading_direction", "project_step"]


def langevin_average(
    drift,
    n_features,
    *,
    eps,
    step_size=1.0,
    n_chains=64,
    max_iter=100,
    burn_in=20,
    second_moment=False,
    theta0=None,
    random_state=None,
    like=None,
    callback=None,
    warn=True,
):
    r"""Average Langevin dynamics on the unit sphere, and the drift along its path.

    At a high temperature no iterate comes near the direction in which a function
    :math:`f(\theta)` grows, but averages over many of them do. Chains run from uniform points, one
    batch; each step goes along the tangent gradient of f, adds noise and normalises.

    Parameters
    ----------
    drift : callable
        ``drift(theta)`` with ``theta`` of shape (n_points, n_features), rows of unit length,
        returns the gradients of f there in the same shape: Euclidean ones, or their tangent part,
        which is taken anyway. It is called with other numbers of points than ``n_chains`` too.
    n_features : int
        Dimension d of the space, at least 2.
    eps : float or tuple ("auto", kappa)
        Inverse temperature :math:`\varepsilon \ge 0`. ``("auto", kappa)`` takes
        :math:`\varepsilon = \kappa (d - 1) / (2 \rho)` from the root mean square
        :math:`\rho` of the drift at 32 uniform points, so that :math:`\kappa > 0` is the pull of
        the drift beside that of the noise, whatever the units of f. At 0.1 chains stay near the
        equator; 0.5 to 1 is fastest; from about 2 on they are trapped.
    step_size : float, default=1.0
        Dimensionless step :math:`s = (d - 1)\, dt` in (0, 2]. Chains forget in 2 / s steps.
    n_chains : int, default=64
        Number R of independent chains.
    max_iter : int, default=100
        Number of steps of each chain: there are ``n_chains * max_iter`` gradients.
    burn_in : int, default=20
        Number of first iterates left out of the averages, less than ``max_iter``.
    second_moment : bool, default=False
        Whether to average products too, for functions with :math:`f(-\theta) = f(\theta)`.
    theta0 : array-like of shape (n_features,) or (n_chains, n_features), optional
        First iterates, normalised by the function. They are uniform by default.
    random_state : None, int, RandomState or Generator
        Seeds one stream of noise a chain: adding chains leaves the first ones as they were (not
        on a GPU, which draws for all chains at once).
    like : array, optional
        The arrays that ``drift`` gets and returns are of its library and dtype (float32 or
        float64), and on its device. By default ``theta0`` if that is an array, or NumPy's float64.
    callback : callable, optional
        Called after each step: ``callback(x)`` with the average so far, or
        ``callback(intermediate_result=...)`` with ``theta``, the averages, ``nit`` and ``eps``.
        Before there are averages, they are those of the present iterates. Raising
        ``StopIteration`` ends the run.
    warn : bool, default=True
        Whether to emit a ``ConvergenceWarning``.

    Returns
    -------
    result : OptimizeResult
        Averages over chains and iterates after burn-in, in float64: ``x`` (n_features,) of
        :math:`\theta`, ``drift_mean`` (n_features,) of the tangent drift b, and with
        ``second_moment`` (None otherwise) ``second_moment`` of :math:`\theta \theta^\top` and
        ``drift_second`` of :math:`\theta b^\top + b \theta^\top`, both (n_features, n_features).
        Their lengths tell something, so they are not normalised.

        ``last`` (n_chains, n_features), the last iterates; ``agreement``, a dict with the
        :math:`|\cos|` between the averages of two halves of the chains (of the time, for one
        chain), where leading eigenvectors stand for matrices; ``eps`` used, and
        ``n_eps_halvings``; ``nit``; ``success``, whether an agreement reached 0.9; ``status``,
        ``message``; ``history``, a dict of 1-D arrays: ``iteration``, ``time``, ``drift_norm``
        (root mean square over chains), ``agreement`` (of the drift averages, in the Frobenius
        norm for matrices; NaN before there are two).

    Raises
    ------
    TypeError
        If ``drift`` is not callable or returns something else than a real floating array.
    ValueError
        For ``kappa <= 0``, a step outside (0, 2], ``burn_in >= max_iter``, complex or non-finite
        ``theta0``, and shapes that do not fit.
    FloatingPointError
        If the drift stays non-finite, or the steps too long, however small ``eps`` is.

    Warns
    -----
    ConvergenceWarning
        If no agreement reached 0.9: more iterates are needed.

    See Also
    --------
    sgd_average : The same averages from single samples, without noise.

    Notes
    -----
    If the drift is not finite, or would move a chain by more than 10 in one step, all chains start
    again with half the ``eps``.

    Agreement tells that there are enough iterates. It does not tell that there is a signal: two
    halves agree about a direction of pure noise as well.

    References
    ----------
    S. Wei, A. Damian & J. D. Lee, "Improved high-dimensional estimation with Langevin dynamics and
    stochastic weight averaging", ICLR 2026, arXiv 2603.06028.

    Examples
    --------
    A direction hidden in a tensor of order three, by a value that makes the last iterates no
    better than chance:

    >>> import numpy as np
    >>> from sparseopt.optimize import langevin_average
    >>> rng = np.random.default_rng(0)
    >>> hidden = np.eye(40)[0]
    >>> Y = rng.standard_normal((40, 40, 40))
    >>> Y[0, 0, 0] += 40.0
    >>> S = sum(Y.transpose(p) for p in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]) / 3
    >>> S = (S + S.transpose(1, 0, 2)) / 2
    >>> def drift(theta):
    ...     return 3 * np.einsum("ijk,ri,rj->rk", S, theta, theta, optimize=True)
    >>> result = langevin_average(drift, 40, eps=("auto", 0.1), random_state=0)
    >>> direction = result.drift_mean / np.linalg.norm(result.drift_mean)
    >>> bool(direction @ hidden > 0.75), bool(np.abs(result.last @ hidden).mean() < 0.2)
    (True, True)
    """
    settings = _check_settings(
        n_features, n_chains, step_size, burn_in, max_iter, second_moment, callback
    )
    if not callable(drift):
        raise TypeError(f"drift must be callable, got {drift!r}.")
    eps = _check_eps(eps)
    like = _check_like(like, theta0)
    start = _check_start(theta0, settings, like)
    seeds = spawn_seeds(random_state, 1 + settings.n_chains)
    tangent = _tangent_drift(drift, like)
    if isinstance(eps, tuple):
        eps = choose_inverse_temperature(tangent, settings.n_features, eps[1], seeds[0], like)
    noise = Noise(seeds[1:], settings.n_features, like)
    chains = Chains(tangent, eps, start, noise, settings)
    run = iterate(
        run_block,
        chains,
        max_iter=settings.max_iter,
        tol=-1.0,  # all iterations count: an average has no tolerance of its own
        method="langevin_average",
        callback=_observer(callback, chains),
        descends=True,
        warn=False,
    )
    return _collect(chains, run, warn)


def _observer(callback, chains):
    """Return a callback for the driver that shows averages and chains to that of the user."""
    if callback is None:
        return None
    by_name = list(inspect.signature(callback).parameters) == ["intermediate_result"]

    def observe(intermediate_result):
        means = chains.means()
        if not by_name:
            callback(means["x"])
            return
        callback(
            intermediate_result=OptimizeResult(
                theta=_copy(chains.theta), nit=chains.nit, eps=chains.eps, **means
            )
        )

    return observe


def _collect(chains, run, warn):
    """Return the result of a run, and warn if the two halves of the chains disagree."""
    agreement = chains.agreement()
    known = [value for value in agreement.values() if not math.isnan(value)]
    best = max(known, default=math.nan)
    success = best >= ENOUGH_AGREEMENT
    stopped = run.status == Status.STOPPED_BY_CALLBACK
    history = run.history
    counted = 1 - history.pop("certificate")
    history["agreement"] = np.where(np.isinf(counted), np.nan, counted)
    history["drift_norm"] = history.pop("objective")
    message = _describe(best, run.nit, chains, stopped, success)
    if warn and not success and not stopped:
        warnings.warn(message, ConvergenceWarning, stacklevel=3)
    status = Status.CONVERGED if success else Status.ITERATION_LIMIT
    return OptimizeResult(
        **chains.means(),
        last=chains.theta,
        agreement=agreement,
        eps=chains.eps,
        n_eps_halvings=chains.n_halvings,
        nit=run.nit,
        success=success,
        status=run.status if stopped else status,
        message=message,
        history=history,
    )


def _describe(best, nit, chains, stopped, success):
    reached = f"after {nit} iterations of {chains.settings.n_chains} chains"
    cosine = f"two halves of the chains agree to |cos| = {best:.3f} at best, {reached}"
    if math.isnan(best):
        cosine = f"two halves of the chains cannot be compared, {reached}"
    if stopped:
        return f"langevin_average was stopped by its callback: {cosine}."
    if success:
        return f"langevin_average averaged enough: {cosine}."
    return (
        f"langevin_average needs more iterates: {cosine}. Increase max_iter or n_chains, or eps if "
        "the drift is weak."
    )


def _copy(array):
    return array_namespace(array).asarray(array, copy=True)


def _tangent_drift(drift, like):
    """Return the user's drift, checked and made tangent."""
    xp = array_namespace(like)

    def tangent(theta):
        gradient = drift(theta)
        if not array_api_compat.is_array_api_obj(gradient):
            raise TypeError(
                f"drift must return an array of the library of theta, got {type(gradient)}."
            )
        if gradient.shape != theta.shape:
            raise ValueError(
                "drift must return an array in the shape of theta, which is (n_chains, "
                f"n_features) = {theta.shape}, got {gradient.shape}."
            )
        if not xp.isdtype(gradient.dtype, "real floating"):
            raise TypeError(f"drift must return real floating numbers, got {gradient.dtype}.")
        return project_tangent(theta, xp.astype(gradient, theta.dtype, copy=False))

    return tangent


def _check_settings(n_features, n_chains, step_size, burn_in, max_iter, second_moment, callback):
    n_features = check_at_least_one(n_features, "n_features")
    if n_features < 2:
        raise ValueError("n_features must be at least 2: there is no other way to move, got 1.")
    step_size = check_step_size(step_size)
    max_iter = check_at_least_one(max_iter, "max_iter")
    burn_in = check_burn_in(burn_in, max_iter)
    return Settings(
        n_features=n_features,
        n_chains=check_at_least_one(n_chains, "n_chains"),
        dt=step_size / (n_features - 1),
        burn_in=burn_in,
        max_iter=max_iter,
        second_moment=bool(second_moment),
        block=BLOCK if callback is None else 1,
    )


def check_step_size(step_size):
    """Return the dimensionless step as a float in (0, 2]."""
    step_size = check_nonnegative(step_size, "step_size")
    if not 0 < step_size <= 2:
        raise ValueError(f"step_size must be in (0, 2], got {step_size!r}.")
    return step_size


def check_burn_in(burn_in, max_iter):
    """Return ``burn_in`` as an int in [0, max_iter)."""
    if not isinstance(burn_in, numbers.Integral) or isinstance(burn_in, bool):
        raise TypeError(f"burn_in must be an integer, got {burn_in!r}.")
    if not 0 <= burn_in < max_iter:
        raise ValueError(f"burn_in must be in [0, max_iter) = [0, {max_iter}), got {burn_in!r}.")
    return int(burn_in)


def _check_eps(eps):
    """Return eps as a float, or ("auto", kappa)."""
    if not isinstance(eps, tuple):
        return check_nonnegative(eps, "eps")
    if len(eps) != 2 or eps[0] != "auto":
        raise ValueError(f'eps must be a number or ("auto", kappa), got {eps!r}.')
    kappa = check_nonnegative(eps[1], "kappa")
    if kappa == 0:
        raise ValueError("kappa must be > 0, got 0; eps=0.0 gives Brownian motion.")
    return "auto", kappa


def _check_like(like, theta0):
    """Return an array that stands for library, device and dtype."""
    given = like if like is not None else theta0
    if not array_api_compat.is_array_api_obj(given):
        return np.zeros(0)
    xp = array_namespace(given)
    if xp.isdtype(given.dtype, "complex floating"):
        raise ValueError(f"Points of the sphere are real, got an array of dtype {given.dtype}.")
    single = given.dtype == xp.float32
    dtype = xp.float32 if single else xp.float64
    return xp.zeros(0, dtype=dtype, device=array_api_compat.device(given))


def _check_start(theta0, settings, like):
    """Return the first iterate of every chain, or None."""
    if theta0 is None:
        return None
    return move_like(check_points(to_numpy(theta0), settings.n_chains, settings.n_features), like)
