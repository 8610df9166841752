r"""EM-Turbo-BiSVBI: sparse recovery through an unknown dictionary, of unknown symbols.

A. Liu, W. Xu, W. Xu & G. Caire, "Bilinear subspace variational Bayesian inference for joint
scattering environment sensing and data recovery in ISAC systems", arXiv 2502.00811. The model is

    y[n, l] = sum_k d[k, n, l] Phi[k, n](theta) x[k] + noise

for Y (N, L, M), Phi (K, N, M, Q), sparse x (K, Q), symbols d (K, N, L) of which some are known, and
parameters theta of the dictionary. One iteration updates, in turn, q(x), q(rho), q(s), q(kappa),
q(d), each to its best value given the others, and takes a step in theta (generalised EM). What
leads past poor optima is ours: normal symbols before discrete ones, a cap on the noise's precision
at first, and several starts.
"""

import math

import numpy as np

from sparseopt._core import Progress, Status, array_namespace, iterate, short_products
from sparseopt.sparse_bayes._variational._bilinear_state import BilinearModel, BilinearState
from sparseopt.sparse_bayes._variational._design import BilinearDesign
from sparseopt.sparse_bayes._variational._linear_state import Race
from sparseopt.sparse_bayes._variational._parametric import NonFiniteDictionaryError
from sparseopt.sparse_bayes._variational._screening import screen_columns
from sparseopt.sparse_bayes._variational._starts import (
    expected_power,
    matched_start,
    scaled_prior,
    shrinking_start,
)
from sparseopt.sparse_bayes._variational._state import (
    Estimate,
    Settings,
    Start,
    VariationalState,
)
from sparseopt.sparse_bayes._variational._support_priors import IndependentSupport
from sparseopt.sparse_bayes._variational._symbols import Decoder, initial_symbols

TRIAL_ITERATIONS = 30
JITTER = 0.4  # of the standard deviations of parameters, for other starts
SMALLEST_NOISE = 1e-20  # of the mean square of the observations
SMALLEST_UNIT = 1e-152  # of the observations, whose squares must not vanish
VAGUE = 1e-6  # shape of the noise's prior, and its rate over the power of the data


def bilinear_subspace_vbi(
    parametric,
    params,
    observations,
    *,
    support,
    shape=1.0,
    rate="auto",
    shape_off=1.0,
    rate_off="auto",
    covariance="subspace",
    n_inner=10,
    max_active=1000,
    collapse=False,
    noise_variance=None,
    refinement,
    schedule,
    screening=None,
    n_init=1,
    rng=None,
    max_iter=100,
    tol=1e-5,
    callback=None,
    warn=True,
):
    """Fit a bilinear model.

    Parameters
    ----------
    parametric : ParametricDictionary
        The dictionary as a function of its parameters.
    params : dict of str to ndarray
        Parameters to start from.
    observations : Observations
        Data.
    support : support prior
        Prior of the support.
    shape, rate, shape_off, rate_off : float, or "auto" for rates
        Gamma priors of the precisions of active coefficients and of the others; rates are in units
        of squared coefficients.
    covariance, n_inner, max_active
        As for :func:`update_coefficients`.
    collapse : bool
        Whether the precisions are integrated out.
    noise_variance : float or None
        If it is known.
    refinement : Refinement
        How parameters change.
    schedule : Schedule
        When what is done.
    screening : float or None
        Share of the columns that a coarse fit of the pilots may use, which the whole fit starts
        from.
    n_init : int
        Number of starts.
    rng : RandomState
        Random numbers, for other starts than the first.
    max_iter, tol, callback, warn
        As for :func:`sparseopt._core.iterate`.

    Returns
    -------
    result : OptimizeResult
        ``x`` (K, Q), ``variance``, ``proba``, ``evidence``, ``support``, ``params``, ``symbols``
        (a SymbolPosterior), ``noise_variance``, ``response`` (K, N, M), ``elbo``, and ``decoder``,
        which takes observations divided by ``unit``; ``fun`` is minus the last bound.

    Raises
    ------
    ValueError
        If the observations or the variance of the noise are out of range.
    FloatingPointError
        If anything overflows on the way.
    """
    observations, unit = _scaled(observations)
    dictionary = parametric.values(params)
    design = _first_design(dictionary, observations)
    probability = support.prior_probability(*design.shape)
    power = expected_power(design, probability)
    settings = Settings(
        scaled_prior(power, shape, _in_units(rate, unit), shape_off, _in_units(rate_off, unit)),
        covariance,
        n_inner,
        max_active,
        collapse,
        noise_shape=VAGUE,
        noise_rate=VAGUE * (design.energy / design.n_observations or 1.0),
        noise_variance=_check_noise(noise_variance, unit, design),
    )
    model = BilinearModel(parametric, observations, settings, refinement, schedule)
    states = []
    movable = {} if refinement.method is None else refinement.prior
    for start_params, make_start in draw_starts(params, movable, n_init, rng):
        try:
            design = _first_design(parametric.values(start_params), observations)
        except NonFiniteDictionaryError:
            if not states:  # the parameters that were given
                raise
            continue
        start = make_start(design, probability, power)
        if screening is not None:
            start = _coarse_start(design, observations, settings, start, screening)
        states.append(BilinearState(design, model, start_params, support, start))
    race = _ScaledRace(states, TRIAL_ITERATIONS, tol, unit)
    with short_products(math.prod(dictionary.shape[2:])):
        result = iterate(
            race.step,
            race,
            max_iter=max_iter,
            tol=tol,
            method="Bilinear variational Bayes",
            certificate_name="relative change of the response",
            callback=callback,
            descends=True,
            warn=warn,
        )
    if result.status == Status.NON_FINITE:
        raise FloatingPointError(f"{result.message} The state at that iterate is of no use.")
    return _finish(result, race.leader, unit)


class _ScaledRace(Race):
    """A race whose iterates and bounds are those of the data in their own units."""

    def __init__(self, states, n_iterations, tol, unit):
        super().__init__(states, n_iterations, tol)
        design = states[0].design
        self._unit = unit
        self._offset = 2 * design.half * design.n_observations * math.log(unit)

    @property
    def x(self):
        """Coefficients of the leader."""
        return Estimate(self.leader.mean * self._unit)

    def step(self, _=None):
        """Do one iteration of each."""
        objective, certificate = super().step()[:2]
        return Progress(objective + self._offset, certificate)


def _in_units(rate, unit):
    return rate if rate == "auto" else rate / unit**2


def _check_noise(noise_variance, unit, design):
    """Return the variance of the noise in the units of scaled data, or None."""
    if noise_variance is None:
        return None
    scaled = noise_variance / unit**2
    least = SMALLEST_NOISE * design.energy / design.n_observations
    if scaled < least:
        raise ValueError(
            f"noise_variance={noise_variance:.3g} is too small for the precision of the data: it "
            f"must be at least {SMALLEST_NOISE:g} times their power, {least * unit**2:.3g}."
        )
    return scaled


def _first_design(dictionary, observations):
    symbols = initial_symbols(observations.pilots, observations.known)
    return BilinearDesign(dictionary, observations.Y, symbols)


def _coarse_start(design, observations, settings, start, share):
    """Return the start that the known symbols give, of the columns near the signals' space.

    The other columns keep their start, so that the whole fit can still find them.
    """
    kept = screen_columns(observations.Y, design.dictionary, share=share).columns
    seen = observations.known.all(axis=0)
    if not seen.any():
        raise ValueError("screening needs snapshots in which the symbols of all groups are known.")
    xp = array_namespace(observations.Y)
    mask = xp.asarray(seen[:, :, None], device=observations.Y.device)
    Y = xp.where(mask, observations.Y, xp.zeros_like(observations.Y))
    symbols = initial_symbols(
        np.where(seen, observations.pilots, 0), np.ones_like(observations.known)
    )
    coarse = BilinearDesign(design.dictionary.take(kept), Y, symbols)
    coarse.n_observations = int(seen.sum()) * Y.shape[2]
    support = IndependentSupport(start.proba[:, kept], learn=False)
    state = VariationalState(
        coarse, support, settings, Start(start.rho[:, kept], start.proba[:, kept])
    )
    for _ in range(TRIAL_ITERATIONS):
        state.step()
    rho, proba = start.rho.copy(), np.array(start.proba)
    rho[:, kept], proba[:, kept] = state.rho, state.proba
    return Start(rho, proba)


def draw_starts(params, prior, n_init, rng):
    """Yield parameters to start from, and what makes starts of the rest.

    The first parameters are those given; the others are near, since a regular grid is a poor
    start. Where no parameter has a prior, the coefficients start otherwise.

    Parameters
    ----------
    params : dict of str to ndarray
        Parameters.
    prior : dict of str to tuple of (mean, std)
        Their normal priors.
    n_init : int
        Number of starts; at most 2 without priors.
    rng : RandomState
        Random numbers.
    """
    yield params, shrinking_start
    if not any(np.any(np.isfinite(std)) for _, std in prior.values()):
        if n_init > 1:
            yield params, matched_start
        return
    for _ in range(n_init - 1):
        drawn = dict(params)
        for name, (mean, std) in prior.items():
            spread = np.where(np.isfinite(std), JITTER * std, 0)
            drawn[name] = params[name] + spread * rng.standard_normal(np.shape(mean))
        yield drawn, shrinking_start


def _scaled(observations):
    """Divide the observations by a power of two near their root mean square; return it, too."""
    xp = array_namespace(observations.Y)
    largest = float(xp.max(xp.abs(observations.Y)))
    unit = 2.0 ** math.frexp(largest)[1] if largest > 0 else 1.0
    if not SMALLEST_UNIT < unit < 1 / SMALLEST_UNIT:
        raise ValueError(
            f"the largest entry of X, {largest:.3g}, is out of range: its square must neither "
            "overflow nor vanish. Rescale X."
        )
    return observations._replace(Y=observations.Y / unit), unit


def _finish(result, state, unit):
    """Return the result in the units of the data."""
    xp = array_namespace(state.mean)
    result.update(
        x=state.mean * unit,
        variance=state.posterior.variance * unit**2,
        proba=state.proba,
        evidence=state.evidence,
        support=state.support,
        params=state.params,
        symbols=state.symbols,
        noise_variance=unit**2 / state.noise.mean,
        response=xp.permute_dims(state.design.images, (1, 0, 2)) * unit,
        decoder=_decoder(state),
        unit=unit,
        elbo=-result.history["objective"],
    )
    return result


def _decoder(state):
    design = state.design
    return Decoder(
        design.images,
        design.products + design.spread,
        state.noise.mean,
        state.observations.constellation if state.is_discrete else None,
        design.half,
    )
