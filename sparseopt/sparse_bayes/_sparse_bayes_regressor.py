"""The estimator of sparse Bayesian learning, for real and complex data."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sparseopt._core import FitReporter, fitting
from sparseopt.sparse_bayes._regressor_base import BayesianRegressor
from sparseopt.sparse_bayes._sparse_bayes_function import RULES, check_not_masked, sparse_bayes


class SparseBayesRegressor(BayesianRegressor):
    r"""Linear regression that prunes features by maximising the evidence, with uncertainties.

    Each weight has a normal prior with a variance of its own. The variances, and that of the
    noise, maximise the probability of the data; most of them become zero (automatic relevance
    determination). There is no penalty to choose. ``X`` and ``y`` may be complex.

    Parameters
    ----------
    rule : {"convex", "em", "mackay", "fast"}, default="convex"
        How the variances are updated. "convex" minimises a bound, and the evidence never falls,
        but by a little where features are removed;
        "em" does so by expectation maximisation, slowly; "mackay" is a fixed point that may
        oscillate; "fast" changes one variance at a time, each to its best value.
    noise_variance : float, optional
        Variance of the noise (of :math:`|\cdot|^2` for complex data); learnt by default.
    noise_floor : float, default=1e-3
        Least noise variance that is learnt, relative to the variance of ``y``, if there are at
        least as many features as samples. A warning tells if it was needed.
    noise_delay : int, default=5
        Number of iterations of a rule before it learns the noise.
    joint : bool, default=True
        Whether several targets share the variances, and so the features. Else each is fitted by
        itself.
    polish : bool, default=True
        Whether the fast rule follows on the others, to reconsider features that they removed:
        that makes ``certificate_`` small. Without it models have fewer features and a lower
        evidence.
    prune_tol : float, default=1e-3
        "convex", "em" and "mackay" remove a feature whose variance, times its squared norm, is at
        most this part of the largest.
    init : float or array-like of shape (n_features,), optional
        Prior variances to start from. By default each feature gets an equal share of the power
        of ``y``, and the fast rule starts with none.
    fit_intercept : bool, default=True
        Whether to fit an intercept, by centring.
    tol : float, default=1e-4
        Relative change of the variances at which a rule ends, and largest ``certificate_`` at
        which the fast rule does.
    max_iter : int, default=300
        Largest number of iterations of a rule, and of the fast rule that follows. One iteration
        of the latter is up to 50 changes.
    warm_start : bool, default=False
        Whether to start from the variances of the last fit, if it had as many features.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Posterior mean of the weights, in the precision of the data (or in double precision, if
        they leave its range).
    intercept_ : scalar or ndarray of shape (n_targets,)
        Intercept.
    gamma_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Prior variances; one row a target if targets were fitted apart. Always float64.
    noise_variance_ : float or ndarray of shape (n_targets,)
        Variance of the noise.
    support_ : ndarray of bool, of the shape of ``gamma_``
        Which features have a positive variance.
    sigma_ : ndarray of shape (n_support, n_support) or list of those
        Posterior covariance of the weights in the support, always in double precision.
    certificate_ : float or ndarray of shape (n_targets,)
        Largest violation of stationarity: of ``nll_`` by the logarithm of a positive
        variance, and by a zero variance where that would lower it, relative to the positive part
        of the derivative.
    noise_certificate_ : float or ndarray of shape (n_targets,)
        The same for the noise variance. It is not small if the noise was learnt by a rule, and the
        features were reconsidered later: with no more samples than features the noise stays
        where it was, since the evidence could grow without bound.
    nll_ : float or ndarray of shape (n_targets,)
        :math:`\log\det S + \operatorname{tr}(Y^H S^{-1} Y) / L`, the objective, at the end.
    scores_ : ndarray of shape (n_scores,) or list of those
        Logarithm of the evidence at the start and after each iteration.
    converged_ : bool
        Whether the tolerance was met.
    n_iter_ : int
        Number of iterations.
    history_ : dict or list of dicts
        Arrays ``iteration``, ``time`` (seconds), ``objective``, ``certificate`` and
        ``noise_variance``.
    X_offset_ : ndarray of shape (n_features,)
        What was subtracted from the features, in double precision.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features, if ``X`` has them.

    Raises
    ------
    ValueError
        For non-finite data, a noise variance that is not positive or below 1e-10 times the power of
        ``y``, shapes that do not fit, weights that do not count rows.

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not met, or rounding errors may hide more than that; see
        :func:`sparse_bayes`.
    UserWarning
        If the noise variance was kept at its floor.

    See Also
    --------
    sparse_bayes : The function.
    sklearn.linear_model.ARDRegression : MacKay's rule for one real target.

    Notes
    -----
    Integer sample weights equal repeated rows, and the sum of the weights is the number of samples.
    Everything is computed in double precision; coefficients and predictions have the precision of
    the data. With as many features as samples or more, a learnt noise
    variance is a guess: give it if you know it.

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
    >>> from sparseopt.sparse_bayes import SparseBayesRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((80, 40))
    >>> y = 3 * X[:, 5] - 2 * X[:, 30] + 0.3 * rng.standard_normal(80)
    >>> model = SparseBayesRegressor().fit(X, y)
    >>> np.flatnonzero(np.abs(model.coef_) > 0.2)
    array([ 5, 30])
    >>> prediction, std = model.predict(X[:2], return_std=True)
    >>> std.shape, bool(model.certificate_ < 1e-4)
    ((2,), True)
    """

    _parameter_constraints: dict = {
        "rule": [StrOptions(set(RULES))],
        "noise_variance": [Interval(Real, 0, None, closed="neither"), None],
        "noise_floor": [Interval(Real, 0, None, closed="left")],
        "noise_delay": [Interval(Integral, 0, None, closed="left")],
        "joint": ["boolean"],
        "polish": ["boolean"],
        "prune_tol": [Interval(Real, 0, 1, closed="left")],
        "init": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "fit_intercept": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        rule="convex",
        *,
        noise_variance=None,
        noise_floor=1e-3,
        noise_delay=5,
        joint=True,
        polish=True,
        prune_tol=1e-3,
        init=None,
        fit_intercept=True,
        tol=1e-4,
        max_iter=300,
        warm_start=False,
    ):
        self.rule = rule
        self.noise_variance = noise_variance
        self.noise_floor = noise_floor
        self.noise_delay = noise_delay
        self.joint = joint
        self.polish = polish
        self.prune_tol = prune_tol
        self.init = init
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start

    @classmethod
    def published(cls, rule="em", **parameters):
        """Return an estimator with the settings of the published experiments.

        These start from variances of one, learn the noise from the first iteration without a
        floor, and remove features for good (Y. He & G. Joseph, "Bayesian algorithms for
        Kronecker-structured sparse vector recovery", IEEE Transactions on Signal Processing, 2024,
        for the unstructured baseline). Their threshold is on variances, this one on variances
        times squared norms: it is the same for features of equal norm.

        Parameters
        ----------
        rule : {"em", "convex", "mackay", "fast"}, default="em"
            Update of the variances.
        **parameters
            Parameters to change.

        Returns
        -------
        estimator : SparseBayesRegressor
            Not fitted.
        """
        settings = {
            "noise_floor": 0.0,
            "noise_delay": 0,
            "polish": False,
            "prune_tol": 1e-3,
            "init": 1.0,
            "fit_intercept": False,
            "tol": 1e-4,
            "max_iter": 150,
        }
        return cls(rule, **settings | parameters)

    @fitting
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, real or complex.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets, real or complex.
        sample_weight : array-like of shape (n_samples,), optional
            Numbers of equal rows for which each row stands.

        Returns
        -------
        self : SparseBayesRegressor
            The fitted estimator.
        """
        check_not_masked(X=X, y=y, sample_weight=sample_weight)
        X, y, sample_weight = self._validate_data(X, y, sample_weight)
        tasks = [y] if self.joint or y.ndim == 1 else list(y.T)
        starts = self._starts(len(tasks), X.shape[1])
        with FitReporter(self, X, y, sample_weight=sample_weight, n_tasks=len(tasks)) as reporter:
            results = []
            for number, (target, start) in enumerate(zip(tasks, starts, strict=True)):
                attributes = self._attributes(X, target, sample_weight)
                with reporter.task(f"target {number}", attributes) as callback:
                    results.append(self._solve(X, target, sample_weight, start, callback))
            apart = not self.joint and y.ndim == 2
            self._store(results, apart, X.dtype)
        return self

    def _starts(self, n_tasks, n_features):
        starts = [self.init] * n_tasks
        if self.warm_start and hasattr(self, "gamma_"):
            last = np.atleast_2d(self.gamma_)
            if last.shape == (n_tasks, n_features):
                starts = [row if row.any() else self.init for row in last]
        return starts

    def _solve(self, X, target, sample_weight, start, callback):
        return sparse_bayes(
            X,
            target,
            rule=self.rule,
            noise_variance=self.noise_variance,
            noise_floor=self.noise_floor,
            noise_delay=self.noise_delay,
            init=start,
            prune_tol=self.prune_tol,
            polish=self.polish,
            sample_weight=sample_weight,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            callback=callback,
        )

    def _store(self, results, apart, dtype):
        def collect(name):
            values = [result[name] for result in results]
            return values if apart else values[0]

        coef = np.ascontiguousarray(np.array(collect("x")) if apart else results[0].x.T)
        self.coef_ = _in_precision(coef, dtype)
        self.intercept_ = np.asarray(collect("intercept"), dtype)[()]
        self.gamma_ = np.array(collect("gamma"))
        self.support_ = np.zeros(self.gamma_.shape, bool)
        for row, result in zip(np.atleast_2d(self.support_), results, strict=True):
            row[result.support] = True
        covariances = [result.covariance for result in results]
        self.sigma_ = covariances if apart else covariances[0]
        for name in ("noise_variance", "certificate", "noise_certificate"):
            values = np.array(collect(name))
            setattr(self, f"{name}_", values if apart else float(values))
        self.nll_ = np.array(collect("fun")) if apart else float(results[0].fun)
        scores = [result.scores for result in results]
        self.scores_ = scores if apart else scores[0]
        self.history_ = collect("history")
        self.converged_ = all(result.success for result in results)
        self.n_iter_ = max(result.nit for result in results)
        self.X_offset_ = results[0].X_offset

    def predict(self, X, return_std=False):
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, real or complex.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predicted values.
        y_std : ndarray of the shape of ``y_pred``
            Standard deviation of a new observation, noise included. Only with ``return_std``. It
            does not count the uncertainty of the variances and of the intercept.
        """
        check_is_fitted(self)
        X = self._validate_X(X, reset=False)
        prediction = X @ self.coef_.T + self.intercept_
        prediction = prediction.astype(np.result_type(X, self.intercept_), copy=False)
        if not return_std:
            return prediction
        covariances = self.sigma_ if isinstance(self.sigma_, list) else [self.sigma_]
        columns = []
        for covariance, support, noise in zip(
            covariances,
            np.atleast_2d(self.support_),
            np.atleast_1d(self.noise_variance_),
            strict=True,
        ):
            rows = (X - self.X_offset_)[:, support]
            variance = np.sum((rows @ covariance) * rows.conj(), axis=1).real
            columns.append(np.sqrt(np.maximum(variance, 0) + noise))
        std = np.stack(columns, axis=-1).astype(prediction.real.dtype, copy=False)
        if prediction.ndim == 1:
            return prediction, std[:, 0]
        return prediction, np.array(np.broadcast_to(std, prediction.shape))


def _in_precision(coef, dtype):
    """Return coefficients in the precision of the data, unless these leave its range."""
    single = np.finfo(dtype)
    sizes = np.abs(coef[coef != 0])
    fits = np.all(sizes < single.max) and sizes.max(initial=1.0) > single.tiny
    return coef.astype(dtype, copy=False) if fits else coef
