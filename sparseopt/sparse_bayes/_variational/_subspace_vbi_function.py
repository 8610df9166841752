r"""Subspace-constrained variational Bayes of a sparse linear model.

A. Liu et al., "Subspace constrained variational Bayesian inference for structured compressive
sensing with a dynamic grid", arXiv 2407.16947. The model is, for X (n, Q) and y (n, K),

    y = X x + N(0, 1 / kappa),  x ~ N(0, 1 / rho),  rho ~ Gamma(a, b) if s = 1, else Gamma(a0, b0),

with any prior of the support s (K, Q), of which the targets are the groups. One iteration updates
q(x), q(rho), q(s), q(kappa) in turn, each to its best value given the others. What is best in the
end depends on the start, and so several starts compete (ours).
"""

import warnings

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import Status, check_nonnegative, iterate, short_products
from sparseopt._core._iteration import HISTORY_FIELDS
from sparseopt.sparse_bayes._problem import SMALLEST_NOISE, Problem
from sparseopt.sparse_bayes._sparse_bayes_function import check_data
from sparseopt.sparse_bayes._variational._design import LinearDesign
from sparseopt.sparse_bayes._variational._linear_state import LinearState, Race
from sparseopt.sparse_bayes._variational._precisions import GammaPrior
from sparseopt.sparse_bayes._variational._starts import (
    expected_power,
    matched_start,
    shrinking_start,
    sparse_bayes_start,
)
from sparseopt.sparse_bayes._variational._state import Settings
from sparseopt.sparse_bayes._variational._support_priors import IndependentSupport

TRIAL_ITERATIONS = 30
N_STARTS = 3
OFF = 1e-5  # rate of coefficients that are not active, over that of active ones


def subspace_vbi(
    X,
    Y,
    *,
    support=None,
    covariance="subspace",
    shape=1.0,
    rate="auto",
    shape_off=1.0,
    rate_off="auto",
    noise_variance=None,
    n_inner=10,
    n_init=N_STARTS,
    max_active=1000,
    collapse=False,
    sample_weight=None,
    fit_intercept=False,
    tol=1e-5,
    max_iter=300,
    callback=None,
    warn=True,
):
    """Fit a linear model by variational Bayes.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Design, real or complex.
    Y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets, real or complex.
    support : support prior, optional
        Prior of the support; independent by default.
    covariance, n_inner, max_active
        As for :func:`update_coefficients` and :func:`choose_active`.
    shape, rate, shape_off, rate_off : float, or "auto" for rates
        Gamma priors of the precisions of active coefficients and of the others, in the units of
        the data.
    noise_variance : float, optional
        If it is known.
    n_init : int
        Number of starts, up to 3: sparse Bayesian learning, small coefficients, matched filter.
    collapse : bool
        Whether the precisions are integrated out.
    sample_weight : array-like of shape (n_samples,), optional
        Numbers of equal rows for which each row stands.
    fit_intercept : bool
        Whether to centre the data.
    tol, max_iter, callback, warn
        As for :func:`sparseopt._core.iterate`.

    Returns
    -------
    result : OptimizeResult
        ``x`` (n_features, n_targets), the posterior mean, or (n_features,) if ``Y`` has one
        dimension; ``intercept``; with one row a target ``variance``, ``proba``, ``evidence``;
        ``blocks``, for each target the features that share a covariance, and that covariance;
        ``support``, the prior that was learnt; ``noise_variance``; ``fun``, minus the bound;
        ``certificate`` and ``residuals``, whose largest it is; ``nit``, ``success``, ``status``,
        ``message``, ``history``, ``X_offset``.
    """
    X, Y, sample_weight, single = check_data(X, Y, sample_weight)
    if np.iscomplexobj(X) and not (X.imag.any() or Y.imag.any()):
        X, Y = X.real, Y.real  # circular noise would be a wrong model
    support = IndependentSupport() if support is None else support
    support.check(Y.shape[1], X.shape[1])
    problem = Problem(X, Y, sample_weight, fit_intercept)
    if problem.is_zero:
        return _zero_result(problem, support, noise_variance, single)
    if noise_variance is not None:
        noise_variance = _check_noise(problem, noise_variance)
    design = _design(problem)
    probability = support.prior_probability(*design.shape)
    power = expected_power(design, probability)
    settings = Settings(
        _gamma_prior(problem, power, shape, rate, shape_off, rate_off),
        covariance,
        n_inner,
        max_active,
        collapse,
        noise_variance=noise_variance,
    )
    with short_products(design.X.size):
        starts = _starts(problem, design, settings, probability, power)[:n_init]
        race = Race(
            [LinearState(problem, _design(problem), support, settings, start) for start in starts],
            TRIAL_ITERATIONS,
            tol,
        )
        result = iterate(
            race.step,
            race,
            max_iter=max_iter,
            tol=tol,
            method="Subspace variational Bayes",
            certificate_name="largest residual of the fixed point",
            callback=callback,
            descends=True,
            warn=False,
        )
    _finish(result, problem, race, single)
    if warn and not result.success and result.status != Status.STOPPED_BY_CALLBACK:
        warnings.warn(result.message, ConvergenceWarning, stacklevel=3)
    return result


def _check_noise(problem, noise_variance):
    """Return the noise variance in the units of the problem."""
    scaled = check_nonnegative(noise_variance, "noise_variance") / problem.unit**2
    if scaled < SMALLEST_NOISE:
        raise ValueError(
            f"noise_variance={noise_variance:.3g} is too small for the precision of the data: it "
            f"must be at least {SMALLEST_NOISE:g} times their power, {problem.unit**2:.3g}."
        )
    return scaled


def _design(problem):
    """Return the scaled data, with zeros for features that are zero."""
    X = problem.X
    if len(problem.features) < problem.n_features:
        X = np.zeros((len(X), problem.n_features), X.dtype)
        X[:, problem.features] = problem.X
    return LinearDesign(X, problem.Y, n_rows=problem.n)


def _gamma_prior(problem, power, shape, rate, shape_off, rate_off):
    """Return the prior of the precisions in the units of the problem."""
    scale = np.ones(problem.n_features)
    scale[problem.features] = (problem.norms[problem.features] / problem.unit) ** 2
    rate = shape * power if isinstance(rate, str) else rate * scale
    rate_off = OFF * rate if isinstance(rate_off, str) else rate_off * scale
    return GammaPrior(shape, rate, shape_off, rate_off)


def _starts(problem, design, settings, probability, power):
    """Return where to start, the safest start first."""
    return [
        sparse_bayes_start(problem, design, settings),
        shrinking_start(design, probability, power),
        matched_start(design, probability, power),
    ]


def _finish(result, problem, race, single):
    """Complete the result, in the units of the data."""
    state = race.leader
    scale = np.zeros(problem.n_features)
    scale[problem.features] = problem.unit / problem.norms[problem.features]
    result.update(
        x=state.x[:, 0] if single else state.x,
        certificate=race.progress.certificate,
        variance=state.posterior.variance * scale**2,
        proba=state.proba,
        evidence=state.evidence,
        blocks=_blocks(state.posterior, scale),
        support=state.support,
        noise_variance=problem.unit**2 / state.noise.mean,
        residuals=state.residuals,
    )
    _set_intercept(result, problem, state.x, single)


def _blocks(posterior, scale):
    """Return the features of each target that share a covariance, and that covariance."""
    targets, features = np.divmod(posterior.active, len(scale))
    blocks = []
    for target in range(len(posterior.variance)):
        mine = np.flatnonzero(targets == target)
        factors = scale[features[mine]]
        block = posterior.block[np.ix_(mine, mine)] * np.outer(factors, factors)
        blocks.append((features[mine], block))
    return blocks


def _set_intercept(result, problem, coefficients, single):
    intercept = problem.y_offset - problem.X_offset @ coefficients
    result.update(intercept=intercept[0] if single else intercept, X_offset=problem.X_offset)


def _zero_result(problem, support, noise_variance, single):
    """Return the model of targets that are zero (or constant, with an intercept)."""
    K, Q, dtype = problem.Y.shape[1], problem.n_features, problem.X.dtype
    nothing = np.zeros((Q, K), dtype)
    result = OptimizeResult(
        x=nothing[:, 0] if single else nothing,
        fun=np.nan,
        variance=np.zeros((K, Q)),
        proba=np.zeros((K, Q)),
        evidence=np.zeros((K, Q)),
        blocks=[(np.zeros(0, dtype=int), np.zeros((0, 0), dtype))] * K,
        support=support,
        noise_variance=0.0 if noise_variance is None else noise_variance,
        certificate=0.0,
        residuals={},
        nit=0,
        success=True,
        status=Status.CONVERGED,
        message="The targets are zero (or constant), and so is the model.",
        history={name: np.zeros(0) for name in HISTORY_FIELDS},
    )
    _set_intercept(result, problem, nothing, single)
    return result
