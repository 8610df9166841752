r"""Sparse Bayesian learning: maximise the evidence over the variances of weights and noise.

The model and nll are those of :mod:`._posterior`: X (n, p), Y (n, L), g (p,), s2. One stage of the
updates in :mod:`._update_rules` prunes features for good; a last stage of
:mod:`._fast_marginal_likelihood` reconsiders all of them. It is the only stage of ``rule="fast"``.
"""

import inspect
import warnings

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import (
    Status,
    check_at_least_one,
    check_nonnegative,
    check_regression_data,
    iterate,
    short_products,
)
from sparseopt._core._iteration import HISTORY_FIELDS
from sparseopt.sparse_bayes._posterior import (
    dense_posterior,
    posterior_covariance,
)
from sparseopt.sparse_bayes._problem import SMALLEST_NOISE, Problem
from sparseopt.sparse_bayes._stages import NOTHING, FastState, NoiseVariance, RuleState
from sparseopt.sparse_bayes._update_rules import UPDATES, noise_share

RULES = (*UPDATES, "fast")
SMALLEST_ENTRY = 1e-140
MOST_ROWS = 1e12  # differences of nll are lost in rounding errors of n log s2 beyond
SMALLEST_START, LARGEST_START = 1e-10, 1e30  # of the power of Y
COARSE = 0.3  # change of the variances at which a rule leaves the rest to the fast rule


def sparse_bayes(
    X,
    Y,
    *,
    rule="convex",
    noise_variance=None,
    noise_floor=1e-3,
    noise_delay=5,
    init=None,
    prune_tol=1e-3,
    polish=True,
    sample_weight=None,
    fit_intercept=False,
    tol=1e-4,
    max_iter=300,
    callback=None,
    warn=True,
):
    r"""Fit a linear model whose weights have prior variances that maximise the evidence.

    Minimises, over :math:`g \ge 0` and :math:`s`, with :math:`S = s I + X \operatorname{diag}(g)
    X^H`,

    .. math::

        \log\det S + \tfrac1L \operatorname{tr}(Y^H S^{-1} Y).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Design, real or complex.
    Y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets, real or complex. All targets share the variances, and so the support.
    rule : {"convex", "em", "mackay", "fast"}, default="convex"
        How the variances are updated: by a bound of the evidence, by expectation maximisation, by
        MacKay's fixed point, or one at a time.
    noise_variance : float, optional
        Variance of the noise; learnt by default.
    noise_floor : float, default=1e-3
        Least noise variance that is learnt, relative to the variance of ``Y``, if there are at
        least as many features as samples: the evidence can then grow without bound as the noise
        vanishes.
    noise_delay : int, default=5
        Number of iterations of a rule before it learns the noise.
    init : float or array-like of shape (n_features,), optional
        Prior variances to start from, the largest between 1e-10 and 1e30 in the units of the data.
        By default each feature starts with an equal share of the power of ``Y``, and
        ``rule="fast"`` with none.
    prune_tol : float, default=1e-3
        A feature is removed as soon as its share :math:`g_j \|x_j\|^2` is at most this part of
        the largest one; less than 1. Not used by ``rule="fast"``.
    polish : bool, default=True
        Whether "convex", "em" and "mackay" are followed by the fast rule, which reconsiders what
        was removed. If there are more samples than features, that stage learns the noise too, and
        the rule before it stops early.
    sample_weight : array-like of shape (n_samples,), optional
        Numbers of equal rows for which each row stands; their sum, the number of samples, is more
        than 1 and at most 1e12.
    fit_intercept : bool, default=False
        Whether to centre ``X`` and ``Y``.
    tol : float, default=1e-4
        Relative change of the variances at which a rule ends, and largest derivative of the
        objective (by the logarithm of a variance) at which the fast rule does.
    max_iter : int, default=300
        Largest number of iterations of each stage. One of the fast rule is up to 50 changes.
    callback : callable, optional
        Called after each iteration as SciPy's optimizers do, with coefficients as ``x``. Raising
        ``StopIteration`` ends the run.
    warn : bool, default=True
        Whether to warn if the tolerance was not met, or the noise is at its floor.

    Returns
    -------
    result : OptimizeResult
        ``x`` of shape (n_features, n_targets), the posterior mean, or (n_features,) if ``Y`` has
        one dimension; ``intercept``; ``gamma``, the prior variances; ``noise_variance``;
        ``covariance`` of the weights of ``support`` (indices); ``fun``; ``certificate``, the
        largest derivative of the objective by the logarithm of a positive variance, or by a zero
        variance where that would lower the objective, relative to its positive part;
        ``noise_certificate``, the same of the noise relative to its positive part; ``nit``,
        ``success``, ``status``, ``message``, ``at_floor``, ``history`` and ``scores``, the
        logarithm of the evidence at each point of the history.

    Raises
    ------
    TypeError
        For sparse containers and masked arrays.
    ValueError
        For shapes that do not fit, non-finite data, values out of range, weights that do not count
        rows, a noise variance below 1e-10 times the power of ``Y``, and data or variances whose
        squares or values leave the floating point range.

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not met. Where features are nearly dependent and ``noise_variance`` is
        small, rounding errors may hide more of the derivative than ``tol``: ``certificate``
        includes an estimate of what they hide, and the message says so. The best point that was
        reached is returned.
    UserWarning
        If the noise variance was kept at its floor.

    See Also
    --------
    SparseBayesRegressor : The estimator.

    References
    ----------
    M. E. Tipping, "Sparse Bayesian learning and the relevance vector machine", Journal of Machine
    Learning Research 1 (2001).
    D. P. Wipf & S. Nagarajan, "A unified Bayesian framework for MEG/EEG source imaging",
    NeuroImage 44 (2009).
    M. E. Tipping & A. C. Faul, "Fast marginal likelihood maximisation for sparse Bayesian
    models", AISTATS 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import sparse_bayes
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 100)) + 1j * rng.standard_normal((60, 100))
    >>> y = X[:, 3] - 2j * X[:, 70] + 0.1 * rng.standard_normal(60)
    >>> result = sparse_bayes(X, y, noise_variance=0.01)
    >>> np.flatnonzero(np.abs(result.x) > 0.1)
    array([ 3, 70])
    >>> bool(result.certificate < 1e-4)
    True
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {RULES}, got {rule!r}.")
    X, Y, sample_weight, single = check_data(X, Y, sample_weight)
    if noise_variance is not None and check_nonnegative(noise_variance, "noise_variance") == 0:
        raise ValueError("noise_variance must be positive, got 0.")
    tol = check_nonnegative(tol, "tol")
    prune_tol = check_nonnegative(prune_tol, "prune_tol")
    if prune_tol >= 1:
        raise ValueError(f"prune_tol must be less than 1, got {prune_tol!r}.")
    floor = check_nonnegative(noise_floor, "noise_floor")
    delay = int(check_nonnegative(noise_delay, "noise_delay"))
    max_iter = check_at_least_one(max_iter, "max_iter")
    start = None if init is None else _check_init(init, X.shape[1])
    if sample_weight is not None:
        _check_rows(sample_weight, fit_intercept)
    problem = Problem(X, Y, sample_weight, fit_intercept)
    if problem.is_zero:
        return _zero_result(problem, noise_variance, single)
    noise = NoiseVariance(problem, noise_variance, floor, delay)
    if noise.value < SMALLEST_NOISE:
        raise ValueError(
            f"noise_variance={noise_variance:.3g} is too small for the precision of the data: it "
            f"must be at least {SMALLEST_NOISE:g} times their power, {problem.unit**2:.3g}."
        )
    start = None if start is None else _start_in_units(start, problem)
    with short_products(problem.X.size):
        callback = None if callback is None else StageCallback(callback)
        run = {"max_iter": max_iter, "tol": tol, "callback": callback}
        stages = _run_stages(problem, noise, rule, start, prune_tol, polish, run)
        return _finish(problem, noise, stages, single, warn)


class StageCallback:
    """A callback that remembers that it asked to stop, also at a stage's last iteration."""

    def __init__(self, callback):
        self._callback = callback
        self._by_name = list(inspect.signature(callback).parameters) == ["intermediate_result"]
        self.asked_to_stop = False

    def __call__(self, intermediate_result):
        """Pass an iterate on."""
        try:
            if self._by_name:
                self._callback(intermediate_result=intermediate_result)
            else:
                self._callback(intermediate_result.x)
        except StopIteration:
            self.asked_to_stop = True
            raise


def _run_stages(problem, noise, rule, start, prune_tol, polish, run):
    """Return the last state and the results of the stages."""
    state, results = None, []
    if rule != "fast":
        if start is None:
            g = np.full(problem.X.shape[1], problem.n / max(problem.X.shape[1], 1))
        else:
            g = start
        settles = polish and not noise.guarded  # the last stage does, the noise included
        state = RuleState(problem, noise, rule, g, prune_tol, last=not settles)
        results.append(
            iterate(
                state.step,
                state,
                method=f"The {rule} rule",
                initial=state.progress(np.inf),
                certificate_name="relative change of the variances",
                descends=True,
                warn=False,
                **run | {"tol": max(run["tol"], COARSE) if settles else run["tol"]},
            )
        )
        results[0].history["noise_variance"] = np.array(state.noise_variances)
        if not polish or (run["callback"] is not None and run["callback"].asked_to_stop):
            return state, results
    if state is None:
        g = np.zeros(problem.X.shape[1]) if start is None else start
        learn, gram = noise.learns, None
    else:
        g, learn = state.variances(), noise.learns and not noise.guarded
        gram = state.whole_gram
    state = FastState(problem, noise, g, run["tol"], learn, gram)
    results.append(
        iterate(
            state.step,
            state,
            method="Fast marginal likelihood maximisation",
            initial=state.progress(np.inf),
            certificate_name="largest derivative of the evidence",
            descends=True,
            warn=False,
            **run,
        )
    )
    results[-1].history["noise_variance"] = np.array(state.noise_variances)
    _explain_rounding(results[-1], state.rounding, run["tol"], noise.value * problem.unit**2)
    return state, results


def _explain_rounding(result, rounding, tol, noise_variance):
    if not result.success and rounding > tol / 2:
        result.message += (
            f" With a noise variance of {noise_variance:.3g}, rounding errors may hide "
            f"{rounding:.2g} of the derivative, since features are nearly dependent: raise "
            "noise_variance, or leave such features out."
        )


def _finish(problem, noise, stages, single, warn):
    """Return the result of the last state, and warn of what a user should know."""
    state, results = stages
    result = results[-1]
    g, s2 = state.variances(), noise.value
    active = np.flatnonzero(g)
    posterior = dense_posterior(problem.X[:, active], problem.Y, g[active], s2)
    squares, free = noise_share(posterior, len(problem.X))
    result.update(
        x=_shaped(problem.coefficients(posterior.mean, active), single),
        fun=problem.objective(posterior.nll, s2),
        certificate=state.certificate(),
        noise_certificate=noise.slope(squares, free + problem.n - len(problem.X)),
        gamma=problem.prior_variances(g),
        noise_variance=s2 * problem.unit**2,
        support=problem.features[active],
        covariance=_covariance(problem, active, g, s2),
        at_floor=bool(noise.guarded and noise.is_floored),
        nit=sum(part.nit for part in results),
        history=_joined([part.history for part in results]),
    )
    _check_range(result.gamma[result.support], g[active])
    result.scores = problem.log_evidence(result.history["objective"])
    _set_intercept(result, problem, single)
    if warn:
        _warn(result)
    return result


def _covariance(problem, active, g, s2):
    scale = problem.unit / problem.norms[problem.features[active]]
    if len(active) == 0:
        return np.zeros((0, 0), problem.X.dtype)
    covariance = posterior_covariance(problem.X[:, active], g[active], s2)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # see _check_range
        scaled = covariance * scale * scale[:, None]
    _check_range(np.diagonal(scaled), np.diagonal(covariance))
    return scaled


def _check_range(variances, scaled):
    """Refuse variances of coefficients, which are squares, that are no numbers."""
    if not np.all(np.isfinite(variances)) or np.any((variances == 0) & (scaled != 0)):
        raise ValueError(
            "variances of the coefficients leave the floating point range: rescale X or Y, so that "
            "squares of coefficients are normal numbers."
        )


def _warn(result):
    if result.at_floor:
        warnings.warn(
            f"The noise variance was kept at its floor, {result.noise_variance:.3g}: with at least "
            "as many features as samples the evidence can grow without bound as the noise "
            "vanishes. Give noise_variance, or raise noise_floor (a share of the variance of y).",
            UserWarning,
            stacklevel=4,
        )
    if not result.success and result.status != Status.STOPPED_BY_CALLBACK:
        warnings.warn(result.message, ConvergenceWarning, stacklevel=4)


def _joined(histories):
    """Return one history of stages that follow each other."""
    joined = {}
    for name in (*HISTORY_FIELDS, "noise_variance"):
        parts, last = [], 0
        for history in histories:
            offset = last if name in ("iteration", "time") else 0
            parts.append(history[name] + offset)
            last = parts[-1][-1]
        joined[name] = np.concatenate(parts)
    return joined


def _shaped(coefficients, single):
    return coefficients[:, 0] if single else coefficients


def _set_intercept(result, problem, single):
    coefficients = result.x[:, None] if single else result.x
    intercept = problem.y_offset - problem.X_offset @ coefficients
    result.update(intercept=intercept[0] if single else intercept, X_offset=problem.X_offset)


def _zero_result(problem, noise_variance, single):
    """Return the model of targets that are zero (or constant, with an intercept)."""
    empty = np.zeros((problem.n_features, problem.Y.shape[1]), problem.X.dtype)
    known = noise_variance is not None
    result = OptimizeResult(
        x=_shaped(empty, single),
        gamma=np.zeros(problem.n_features),
        noise_variance=noise_variance if known else 0.0,
        fun=problem.n * float(np.log(noise_variance)) if known else -np.inf,
        certificate=0.0,
        noise_certificate=0.0,
        support=np.zeros(0, dtype=int),
        covariance=np.zeros((0, 0), problem.X.dtype),
        at_floor=False,
        nit=0,
        success=True,
        status=Status.CONVERGED,
        message="The targets are zero (or constant), and so is the model.",
        scores=np.zeros(0),
        history={name: np.zeros(0) for name in (*HISTORY_FIELDS, "noise_variance")},
    )
    _set_intercept(result, problem, single)
    return result


def check_not_masked(**arrays):
    """Refuse masked arrays, whose masks would be ignored."""
    for name, array in arrays.items():
        if np.ma.isMaskedArray(array):
            raise TypeError(
                f"{name} is a masked array: masks are not supported. Leave out masked rows, or "
                "fill them in and pass a plain array."
            )


def check_data(X, Y, sample_weight=None):
    """Return X and Y (n, L) in double precision, the weights, and whether Y has one dimension."""
    check_not_masked(X=X, Y=Y, sample_weight=sample_weight)
    Y = np.asarray(Y)
    single = Y.ndim == 1
    if Y.ndim not in (1, 2) or 0 in Y.shape:
        raise ValueError(f"Y must be a vector or a matrix that is not empty, got shape {Y.shape}.")
    columns = Y[:, None] if single else Y
    checked = [check_regression_data(X, column, sample_weight) for column in columns.T]
    X, sample_weight = checked[0][0], checked[0][2]
    if not isinstance(X, np.ndarray):
        raise TypeError("sparse containers are not supported: pass X.toarray().")
    dtype = np.result_type(np.float64, X.dtype, *(column.dtype for _, column, _ in checked))
    Y = np.column_stack([column for _, column, _ in checked]).astype(dtype, copy=False)
    if sample_weight is not None:
        sample_weight = sample_weight.astype(np.float64)
    X = X.astype(dtype, copy=False)
    for name, sizes in (("X", np.abs(X).max(axis=0)), ("Y", np.abs(Y).max(keepdims=True))):
        # Squares of a column of tiny entries would vanish, and with them its weight.
        if np.any(sizes > 1 / SMALLEST_ENTRY) or np.any((sizes > 0) & (sizes < SMALLEST_ENTRY)):
            part = "the entries of one of its columns" if name == "X" else "its entries"
            raise ValueError(f"rescale {name}: squares of {part} leave the floating point range.")
    return X, Y, sample_weight, single


def _check_init(init, n_features):
    init = np.asarray(init, dtype=float)
    if init.ndim == 0:
        init = np.full(n_features, float(init))
    if init.shape != (n_features,):
        raise ValueError(
            f"init must have shape ({n_features},), one variance a feature, got {init.shape}."
        )
    if not (np.all(np.isfinite(init)) and np.all(init >= 0) and init.any()):
        raise ValueError("init must be finite and >= 0, and not all zero.")
    return init


def _start_in_units(init, problem):
    """Return the variances to start from in the units of the problem."""
    with np.errstate(over="ignore", under="ignore"):
        start = problem.to_units(init)
    largest = float(start.max(initial=0.0)) / problem.n
    if len(start) and not SMALLEST_START <= largest <= LARGEST_START:
        raise ValueError(
            f"init is out of range: its largest variance, times the mean square of its feature, is "
            f"{largest:.3g} times the mean square of Y, and has to be between {SMALLEST_START:g} "
            f"and {LARGEST_START:g}."
        )
    start[start <= NOTHING * problem.n] = 0
    return start


def _check_rows(sample_weight, fit_intercept):
    """Refuse weights that do not count rows."""
    total, kept = float(sample_weight.sum()), int(np.count_nonzero(sample_weight))
    if fit_intercept and kept < 2:
        raise ValueError(
            "sample_weight must be positive for two rows at least: with an intercept, one row "
            "leaves nothing to explain."
        )
    least = 1 + 1e-9 if kept > 1 else 1
    if not least <= total <= MOST_ROWS:
        raise ValueError(
            "sample_weight holds numbers of equal rows, so that its sum is the number of samples: "
            f"it must be more than 1 and at most {MOST_ROWS:g}, got {total:.3g}. Multiply the "
            f"weights by {len(sample_weight) / total:.3g} to keep the number of samples."
        )
