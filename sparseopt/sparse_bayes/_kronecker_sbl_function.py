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
from sklearn.utils import check_random_state

from sparseopt._core import (
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
from sparseopt.sparse_bayes._kronecker_iteration import ROUNDING, Iteration
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
    like,
    normalise,
)

M_STEPS = ("am", "ksbl", "svd", "classic")
PRUNE_SHARES = {"am": 1e-2, "ksbl": 1e-2, "svd": 1e-3, "classic": 1e-3}
LARGEST_DICTIONARY = 2**28
SMALLEST_NOISE = 1e-20  # of the mean square of y
START_SPREAD = 2.0  # of the logarithms of variances in further starts


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
    n_init=1,
    random_state=None,
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
        max_iter=check_at_least_one(max_iter, "max_iter"),
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
    start = _initial_hyperparameters(factors, couplings, heuristic, variance, noise)
    rng, lowest, best = check_random_state(random_state), math.inf, None
    columns = [_nonzero_columns(factor) for factor in factors]
    with short_products(math.prod(shape)):
        for trial in range(check_at_least_one(n_init, "n_init")):
            parameters = start if trial == 0 else _scatter(start, rng)
            state = KroneckerState(factors, Y, couplings, heuristic, parameters, scales)
            if variance == 0 or not all(mask.any() for mask in columns):
                return _nothing(state, shape, noise_rule)
            state.drop(columns)
            result, nll = _run(state, options, noise_rule, callback)
            if best is None or nll < lowest:
                lowest, best = nll, (state, result)
            if result.status == Status.STOPPED_BY_CALLBACK:
                break
        return _finish(*best, shape, tol, warn)


def _run(state, options, noise_rule, callback):
    """Iterate from one start; return how that ended, and nll there."""
    state.expect()
    step = Iteration(options, noise_rule, len(state.factors))
    result = iterate(
        step,
        state,
        max_iter=options["max_iter"],
        tol=options["tol"],
        method="Kronecker sparse Bayesian learning",
        callback=callback,
        certificate_name="relative change of the variances",
        descends=True,
        warn=False,
    )
    return result, step.settle(state)[0].nll


def _scatter(parameters, rng):
    """Return hyperparameters for another start, spread over orders of magnitude."""
    values = [v * np.exp(START_SPREAD * rng.standard_normal(len(v))) for v in parameters.values]
    return parameters._replace(values=values)


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
        # Squares of its inverse must not overflow, and rounding errors not hide it.
        least = max(float(xp.finfo(Y.dtype).smallest_normal) ** 0.25, SMALLEST_NOISE)
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
        # Below, single precision loses the noise beside the signal, and variances run away.
        noise_floor = 1e-3 if overfits else max(ROUNDING, 10 * float(xp.finfo(Y.dtype).eps))
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
    limits = xp.finfo(Y.dtype)
    # Squares must not vanish; the noise must not be rounding error of the covariance.
    least, largest = float(limits.smallest_normal) ** 0.25, float(limits.eps) ** (-2 / 3)
    exponent = math.log2(given) - 2 * scales.exponent
    if not math.log2(least) <= exponent <= math.log2(largest):
        raise ValueError(
            f"initial_variance must be between {least:.1g} and {largest:.1g} times the mean square "
            f"of y over that of the factors' columns in this precision, got {given!r}."
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
    if state.unresolved:
        result.message = (
            "Kronecker sparse Bayesian learning stopped where rounding errors of the signal are "
            f"larger than the noise variance, {state.parameters.noise * state.scales.noise:.3g}: "
            "columns of a factor are nearly dependent, or too few are left to explain y. Raise "
            "noise_variance, or leave columns out."
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
