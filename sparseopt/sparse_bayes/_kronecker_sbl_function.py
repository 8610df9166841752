r"""Sparse Bayesian learning with a Kronecker-structured dictionary and support.

Y. He & G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery with
application to IRS-MIMO channel estimation", IEEE Transactions on Signal Processing (2024),
https://arxiv.org/abs/2307.14719. Over the variances g_d >= 0 (n_d,) of each factor and the noise
variance s2, expectation maximisation decreases

    nll = log det S + tr(Y^H S^-1 Y) / L,   S = s2 I + A diag(g_1 ⊗ ... ⊗ g_I) A^H,
    A = A_1 ⊗ ... ⊗ A_I,

for factors A_d (m_d, n_d) and L measurement vectors Y. Neither A nor S is ever formed.
"""

import math
import warnings

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import (
    Progress,
    Status,
    array_namespace,
    check_at_least_one,
    check_nonnegative,
    iterate,
    short_products,
    to_numpy,
)
from sparseopt._core._iteration import HISTORY_FIELDS
from sparseopt.sparse_bayes._kronecker_dictionary import squared_magnitude
from sparseopt.sparse_bayes._kronecker_problem import (
    check_couplings,
    check_measurements,
    per_factor,
)
from sparseopt.sparse_bayes._kronecker_scaling import check_representable, scale_problem
from sparseopt.sparse_bayes._kronecker_state import (
    Hyperparameters,
    KroneckerEstimate,
    KroneckerState,
    NoiseRule,
    expand,
    stationarity,
)
from sparseopt.sparse_bayes._kronecker_steps import (
    alternate_once,
    alternate_to_tolerance,
    like,
    minimise_over_factors,
    normalise,
    raise_floor,
    relative_change,
    split_by_svd,
)
from sparseopt.sparse_bayes._squarem import Squarem

M_STEPS = ("am", "ksbl", "svd", "classic")
PRUNE_SHARES = {"am": 1e-2, "ksbl": 1e-2, "svd": 1e-3, "classic": 1e-3}
ROUNDING = 1e-10
COUPLED_TOL, COUPLED_SWEEPS = 1e-4, 9  # as published; more sweeps do not pay
SVD_TRIALS = 3  # before "am" takes over
SVD_ITERATIONS = 50  # the same: "am" is accelerated
LARGEST_DICTIONARY = 2**28
LARGEST_LOGARITHM = 80.0  # of an extrapolated variance, for data of unit size


class _Iteration:
    """One EM iteration, the guards around it, and its acceleration."""

    def __init__(self, options, noise_rule, n_factors):
        self.options, self.noise_rule = options, noise_rule
        self.squarem = Squarem() if options["acceleration"] == "squarem" else None
        self.m_step = options["m_step"]
        if self.m_step == "svd" and n_factors == 1:
            self.m_step = "am"  # both are the same
        self.svd_trials = SVD_TRIALS
        self.safe = None  # (hyperparameters, nll) to fall back on if an extrapolation fails
        self.svd_start = None  # (moments, hyperparameters, nll) before an SVD step

    def __call__(self, state):
        """Advance by one iteration, or by two if a rejected one has to be repeated."""
        posterior, n_iterations = self._expect(state)
        before = state.full_variances()
        if state.iteration >= self.options["burn_in"]:
            posterior = self._prune(state, posterior)
        if state.emptied is not None:
            return Progress(self._nll(state, posterior), math.inf, stalled=True)
        start = state.parameters
        moments = state.moments(posterior)
        noise, state.floored = self.noise_rule.update(state, posterior)
        image = Hyperparameters(self._maximise(state, moments), noise)
        if self.m_step == "svd" and self.options["svd_fallback"]:
            self.svd_start = moments, image.noise, start, posterior.nll
        state.parameters = image
        certificate = relative_change(state.full_variances(), before)
        if self.squarem is not None and self.m_step != "svd":
            self._extrapolate(state, start, image, posterior.nll)
        state.iteration += n_iterations
        if self.svd_start is not None and state.iteration >= SVD_ITERATIONS:
            self.m_step, self.svd_start = "am", None
        elif self.svd_start is not None and certificate <= self.options["tol"]:
            # A fixed point of "svd" is no stationary point of the evidence: "am" leads there.
            self.m_step, self.svd_start = "am", None
            progress = self(state)
            return progress._replace(iterations=progress.iterations + n_iterations)
        return Progress(self._nll(state, posterior), certificate, iterations=n_iterations)

    def _prune(self, state, posterior):
        """Prune, only where the evidence is known, and return the posterior of what remains."""
        options = self.options
        pruned = state.prune(
            options["prune_tol"], options["prune_floor"], options["prune_guard"], posterior.nll
        )
        if not pruned:
            return posterior
        if self.squarem is not None:
            self.squarem.restart()
        return state.expect()

    def _expect(self, state):
        """E-step; a failed extrapolation or SVD step is undone, and costs an iteration."""
        posterior = state.expect()
        if self.safe is not None:
            (fallback, bound), self.safe = self.safe, None
            if not posterior.nll <= bound + ROUNDING * abs(bound):
                self.squarem.reject()
                state.parameters = fallback
                return state.expect(), 2
            self.squarem.accept()
        if self.svd_start is not None:
            (moments, noise, start, bound), self.svd_start = self.svd_start, None
            if not posterior.nll <= bound + ROUNDING * abs(bound):
                values = alternate_once(moments, state.variances(start))
                values = raise_floor(normalise(values), moments)
                state.parameters = Hyperparameters(values, noise)
                self.svd_trials -= 1
                if self.svd_trials == 0:
                    self.m_step = "am"
                return state.expect(), 2
        return posterior, 1

    def _maximise(self, state, moments):
        options = self.options
        values = state.parameters.values
        if state.couplings is not None:
            return alternate_to_tolerance(
                moments,
                values,
                couplings=state.couplings,
                heuristic=options["coupling_step"] == "nnls",
                tol=max(options["inner_tol"], COUPLED_TOL),
                max_sweeps=min(options["inner_max_iter"], COUPLED_SWEEPS),
            )
        if self.m_step == "svd":
            return split_by_svd(moments)
        if self.m_step == "ksbl" or len(values) == 1:
            return raise_floor(normalise(alternate_once(moments, values)), moments)
        inner = {"tol": options["inner_tol"]}
        if options["inner_solver"] == "sweep":
            return alternate_to_tolerance(
                moments, values, max_sweeps=options["inner_max_iter"], **inner
            )
        return minimise_over_factors(moments, values, max_iter=options["inner_max_iter"], **inner)

    def _extrapolate(self, state, start, image, nll):
        point = self.squarem.push(_logarithms(start), _logarithms(image))
        if point is None:
            return
        ends = np.cumsum([len(value) for value in image.values])
        *logs, noise = np.split(point, ends)
        scale = sum(float(log.max()) for log in logs)
        if max(scale, float(noise[0])) > LARGEST_LOGARITHM:
            self.squarem.reject()
            return
        values = [np.exp(np.clip(log - log.max(), -200, 0)) for log in logs]
        values[-1] *= math.exp(scale)
        values = raise_floor(normalise(values, state.structure), state.Y)
        noise = math.exp(float(noise[0])) if self.noise_rule.floor is not None else image.noise
        noise = max(noise, self.noise_rule.floor or 0.0)
        self.safe = image, nll
        state.parameters = Hyperparameters(values, noise)

    def _nll(self, state, posterior):
        return posterior.nll + 2 * state.n_rows * state.scales.log_target


def _logarithms(parameters):
    tiny = np.finfo(float).tiny
    values = [np.log(np.maximum(value, tiny)) for value in parameters.values]
    return np.concatenate([*values, [math.log(parameters.noise)]])


def kronecker_sbl(
    factors,
    Y,
    *,
    m_step="svd",
    pattern_coupling=None,
    coupling_step="mm",
    noise_variance="learn",
    noise_floor="auto",
    initial_variance="auto",
    prune_tol="auto",
    prune_floor=0.0,
    prune_guard=0.01,
    burn_in=10,
    acceleration="squarem",
    svd_fallback=True,
    inner_solver="newton",
    inner_tol=1e-6,
    inner_max_iter=50,
    max_iter=1000,
    tol=1e-4,
    callback=None,
    warn=True,
):
    r"""Estimate Kronecker-structured sparse coefficients by type-II maximum likelihood.

    The function of arrays that :class:`KroneckerSBL` calls, whose documentation explains the
    arguments. The arrays may be of any library that follows the array API.

    Returns
    -------
    result : OptimizeResult
        ``x`` (a :class:`KroneckerEstimate`), ``coef`` (n_1, ..., n_I[, L]), ``variance`` of the
        posterior (n_1, ..., n_I), ``gammas``, ``supports``, ``noise_variance``, ``fun`` (nll),
        ``certificate`` (largest relative slope of nll), ``change`` (what ``tol`` bounds), ``nit``,
        ``success``, ``status``, ``message``, ``history``.
    """
    factors, Y = check_measurements(factors, Y)
    shape = tuple(factor.shape[1] for factor in factors)
    n_factors = 1 if m_step == "classic" else len(factors)
    options = _check_options(
        n_factors,
        m_step=m_step,
        tol=check_nonnegative(tol, "tol"),
        coupling_step=coupling_step,
        prune_tol=PRUNE_SHARES.get(m_step) if prune_tol == "auto" else prune_tol,
        prune_floor=prune_floor,
        prune_guard=prune_guard,
        burn_in=burn_in,
        acceleration=acceleration,
        svd_fallback=svd_fallback,
        inner_solver=inner_solver,
        inner_tol=check_nonnegative(inner_tol, "inner_tol"),
        inner_max_iter=check_at_least_one(inner_max_iter, "inner_max_iter"),
    )
    couplings = check_couplings(pattern_coupling, shape)
    if couplings is not None and m_step != "am":
        raise ValueError(f"pattern_coupling needs m_step='am', got {m_step!r}.")
    # The published settings start from one number for all columns, and compare variances of
    # coefficients in the data's units. Coupling relates such variances as well.
    coupled = [C is not None for C in couplings or [None] * len(factors)]
    in_data_units = initial_variance != "auto"
    unit_columns = [not (in_data_units or entry) for entry in coupled]
    factors, Y, scales = scale_problem(factors, Y, unit_columns)
    if m_step == "classic":
        factors, Y = _unstructured(factors, Y)
        scales = scales.merged()
    noise, noise_rule = _initial_noise(factors, Y, noise_variance, noise_floor, scales)
    variance = _initial_variance(factors, Y, initial_variance, scales)
    heuristic = coupling_step == "nnls" and couplings is not None
    state = KroneckerState(
        factors,
        Y,
        couplings,
        heuristic,
        _initial_hyperparameters(factors, couplings, heuristic, variance, noise),
        scales,
    )
    columns = [_nonzero_columns(factor) for factor in factors]
    if variance == 0 or not all(mask.any() for mask in columns):
        return _nothing(state, shape, noise_rule)
    state.drop(columns)
    with short_products(math.prod(shape)):
        state.expect()
        result = iterate(
            _Iteration(options, noise_rule, len(factors)),
            state,
            max_iter=check_at_least_one(max_iter, "max_iter"),
            tol=options["tol"],
            method="Kronecker sparse Bayesian learning",
            callback=callback,
            certificate_name="relative change of the variances",
            descends=True,
            warn=False,
        )
    return _finish(state, result, shape, tol, warn)


def _check_options(n_factors, **options):
    accepted = {
        "m_step": M_STEPS,
        "coupling_step": ("mm", "nnls"),
        "acceleration": ("squarem", None),
        "inner_solver": ("newton", "sweep"),
    }
    for name, values in accepted.items():
        if options[name] not in values:
            raise ValueError(f"{name} must be one of {values}, got {options[name]!r}.")
    for name in ("prune_tol", "prune_floor"):
        options[name] = per_factor(options[name], n_factors, name)
    if options["prune_guard"] is not None:
        options["prune_guard"] = check_nonnegative(options["prune_guard"], "prune_guard")
    options["burn_in"] = check_nonnegative(options["burn_in"], "burn_in")
    return options


def _unstructured(factors, Y):
    """Return the dictionary itself, as the only factor, and measurements in one axis."""
    dictionary = factors[0]
    xp = array_namespace(dictionary)
    rows = math.prod(factor.shape[0] for factor in factors)
    columns = math.prod(factor.shape[1] for factor in factors)
    if rows * columns > LARGEST_DICTIONARY:
        raise ValueError(
            f"m_step='classic' forms the dictionary, {rows} x {columns}, which is more than "
            f"{LARGEST_DICTIONARY} entries. Use another m_step."
        )
    for factor in factors[1:]:
        product = dictionary[:, None, :, None] * factor[None, :, None, :]
        shape = dictionary.shape[0] * factor.shape[0], dictionary.shape[1] * factor.shape[1]
        dictionary = xp.reshape(product, shape)
    return [dictionary], xp.reshape(Y, (rows, *Y.shape[len(factors) :]))


def _nonzero_columns(factor):
    xp = array_namespace(factor)
    return to_numpy(xp.any(factor != 0, axis=0))


def _initial_noise(factors, Y, noise_variance, noise_floor, scales):
    """Return the first noise variance, scaled, and the rule that changes it."""
    if not isinstance(noise_variance, str):
        noise = check_nonnegative(noise_variance, "noise_variance")
        if noise == 0:
            raise ValueError("noise_variance must be > 0, got 0.")
        xp = array_namespace(Y)
        # Squares of its inverse must not overflow.
        least = float(xp.finfo(Y.dtype).smallest_normal) ** 0.25
        if noise < least * scales.noise:
            raise ValueError(
                f"noise_variance must be at least {least:.2g} times the mean square of y in this "
                f"precision, got {noise!r}."
            )
        return noise / scales.noise, NoiseRule(None)
    if noise_variance != "learn":
        raise ValueError(f"noise_variance must be a number or 'learn', got {noise_variance!r}.")
    xp = array_namespace(Y)
    power = float(xp.mean(squared_magnitude(Y)))
    size = math.prod(Y.shape)
    spread = float(xp.mean(squared_magnitude(Y - xp.mean(Y)))) * size / max(size - 1, 1)
    spread = spread if spread > ROUNDING * power else power
    if noise_floor == "auto":
        rows = math.prod(factor.shape[0] for factor in factors)
        # With as many variances as measurements, any data can be explained without noise.
        overfits = sum(factor.shape[1] for factor in factors) >= rows
        noise_floor = 1e-3 if overfits else ROUNDING
    floor = check_nonnegative(noise_floor, "noise_floor") * spread
    return 0.1 * spread, NoiseRule(floor if floor > 0 else np.finfo(float).tiny)


def _initial_variance(factors, Y, initial_variance, scales):
    """Return the first prior variance of all coefficients, scaled; 0 if the data are zero."""
    xp = array_namespace(Y)
    power = float(xp.sum(squared_magnitude(Y))) / (Y.shape[-1] if Y.ndim > len(factors) else 1)
    if isinstance(initial_variance, str):
        if initial_variance != "auto":
            raise ValueError(
                f"initial_variance must be a number or 'auto', got {initial_variance!r}."
            )
        gain = math.prod(float(xp.sum(squared_magnitude(factor))) for factor in factors)
        return power / gain if gain > 0 else 0.0
    given = check_nonnegative(initial_variance, "initial_variance")
    if given == 0:
        raise ValueError("initial_variance must be > 0, got 0.")
    if power == 0:
        return 0.0
    largest = float(xp.finfo(Y.dtype).smallest_normal) ** -0.25
    exponent = math.log2(given) - 2 * scales.exponent
    if abs(exponent) > math.log2(largest):
        raise ValueError(
            f"initial_variance must be within a factor of {largest:.1g} of the mean square of y "
            f"over that of the factors' columns in this precision, got {given!r}."
        )
    return math.ldexp(given, -2 * scales.exponent)


def _initial_hyperparameters(factors, couplings, heuristic, variance, noise):
    values = []
    for factor, C in zip(factors, couplings or [None] * len(factors), strict=True):
        value = np.ones(factor.shape[1] if C is None else C.shape[1])
        # The published runs start at v_d = 1 as well: g_d = 1 can be too small to get going.
        values.append(C @ value if heuristic and C is not None else value)
    values[-1] = values[-1] * variance
    return Hyperparameters(normalise(values, None if heuristic else couplings), noise)


def _finish(state, result, shape, tol, warn):
    """Run the last E-step, and say how the run ended."""
    posterior = state.expect()
    result.x = state.x
    result.fun = posterior.nll + 2 * state.n_rows * state.scales.log_target
    result.change, result.certificate = result.certificate, stationarity(state, posterior)
    if state.emptied is not None:
        result.status, result.success = Status.STALLED, False
        result.message = (
            "Kronecker sparse Bayesian learning stopped before pruning every column of factor "
            f"{state.emptied}, with the relative change {result.change:.3g} (tolerance "
            f"{tol:.3g}). Lower prune_tol or prune_floor."
        )
    if warn and result.status not in (Status.CONVERGED, Status.STOPPED_BY_CALLBACK):
        warnings.warn(result.message, ConvergenceWarning, stacklevel=3)
    result.noise_floor_reached = state.floored
    if warn and state.floored:
        warnings.warn(
            "The learnt noise variance fell to its floor, "
            f"{state.parameters.noise * state.scales.noise:.3g}: the model can explain the "
            "data without noise. Set noise_variance, or lower noise_floor.",
            UserWarning,
            stacklevel=3,
        )
    _store(state, result, posterior.variance, shape)
    return result


def _store(state, result, variance, shape):
    """Put arrays of all coefficients, in the data's units, into the result."""
    xp = array_namespace(state.Y)
    targets = state.Y.shape[len(state.factors) :]
    result.coef = xp.reshape(state.x.coefficients(), (*shape, *targets))
    variance = state.scales.variances(expand(variance, state.kept, state.shape))
    result.variance = xp.reshape(variance, shape)
    scaled = state.full_variances()
    kind = [shape] if len(state.factors) == 1 else [(n,) for n in shape]
    result.gammas, result.supports = [], []
    for value, before, size in zip(state.scales.factor_variances(scaled), scaled, kind):
        # Variances are squares: in single precision they might be no numbers.
        gamma = xp.reshape(xp.asarray(value, device=state.Y.device), size)
        result.supports.append(xp.reshape(xp.asarray(before > 0, device=state.Y.device), size))
        check_representable("gammas", gamma, result.supports[-1])
        result.gammas.append(gamma)
    check_representable("coef", result.coef)
    check_representable("variance", result.variance)
    result.noise_variance = state.parameters.noise * state.scales.noise


def _nothing(state, shape, noise_rule):
    """Return the result for data that are all zero, or a dictionary that is."""
    xp = array_namespace(state.Y)
    targets = state.Y.shape[len(state.factors) :]
    size = math.prod(state.Y.shape)
    power = float(xp.sum(squared_magnitude(state.Y))) / size
    noise = state.parameters.noise if noise_rule.floor is None else power
    state.parameters = Hyperparameters([np.zeros(n) for n in state.shape], noise)
    state.couplings = None
    zeros = xp.zeros((*state.shape, *targets), dtype=state.Y.dtype, device=state.Y.device)
    state.x = KroneckerEstimate(zeros, state.kept, state.shape, state.scales)
    nll = -math.inf
    if noise > 0:
        nll = state.n_rows * (math.log(noise) + 2 * state.scales.log_target + power / noise)
    empty = {name: np.empty(0) for name in HISTORY_FIELDS}
    result = OptimizeResult(x=state.x, fun=nll, nit=0, success=True, history=empty)
    result.update(status=Status.CONVERGED, certificate=0.0, change=0.0, noise_floor_reached=False)
    result.message = "All coefficients are zero: the data or the dictionary are."
    dtype = like([0.0], state.Y, real=True).dtype
    variance = xp.zeros(state.shape, dtype=dtype, device=state.Y.device)
    _store(state, result, variance, shape)
    return result
