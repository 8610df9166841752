"""The estimator of sparse linear models with a structured support, by variational Bayes."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sparseopt._core import FitReporter, fitting
from sparseopt.sparse_bayes._regressor_base import BayesianRegressor
from sparseopt.sparse_bayes._variational._coefficients import COVARIANCES
from sparseopt.sparse_bayes._variational._subspace_vbi_function import N_STARTS, subspace_vbi

ACTIVE = 0.5


class SubspaceVBIRegressor(BayesianRegressor):
    r"""Linear regression with a sparse support of any prior, by variational Bayes.

    Each weight is active or not, as a prior of the support says: independently of the others, in
    runs along the features, in clusters of a grid, or where other targets have active weights.
    The posterior of weights, support and noise is approximated by a product; that of the weights
    is normal, with a full covariance only among the few that are probably active. ``X`` and ``y``
    may be complex.

    Parameters
    ----------
    support_prior : support prior, default=None
        Which weights are active: :class:`IndependentSupport` by default. The targets are its
        groups, so that :class:`JointSupport` lets them share a support.
    covariance : {"subspace", "diag", "full"}, default="subspace"
        Which posterior covariances of weights are kept: among those that are probably active, none
        or all. "full" inverts a matrix of the size of all weights.
    a : float, default=1.0
        Shape of the prior of the precision (inverse variance) of an active weight.
    b : float or "auto", default="auto"
        Its rate, in units of squared weights. "auto" is ``a`` times the power of an active weight
        if ``y`` were free of noise. It goes with the scales of ``y`` and of each feature, which do
        not matter then.
    a0 : float, default=1.0
        Shape of the prior of the precision of a weight that is not active.
    b0 : float or "auto", default="auto"
        Its rate; "auto" is 1e-5 times ``b``. Weights below that power are not told from zero:
        with more features than samples, and signals of 50 dB, they look like noise.
    noise_variance : float, default=None
        Variance of the noise (of :math:`|\cdot|^2` for complex data); learnt by default.
    n_inner : int, default=10
        Largest number of steps of conjugate gradients for the mean in each iteration. Each
        iteration goes on where the last one ended.
    n_init : int, default=3
        Number of starts, at most 3: features that sparse Bayesian learning selects, small weights,
        and a matched filter. After 30 iterations the one with the highest bound goes on. The first
        start factorises a matrix of the size of the samples, or of the features, 15 times.
    max_active : int, default=1000
        Largest number of weights whose covariances are kept by "subspace".
    collapse : bool, default=False
        Whether the precisions are integrated out of the odds of being active: a tighter bound,
        which is more easily trapped.
    fit_intercept : bool, default=True
        Whether to fit an intercept, by centring.
    max_iter : int, default=300
        Largest number of iterations.
    tol : float, default=1e-5
        The fit ends once ``certificate_`` is at most this.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Posterior mean of the weights.
    intercept_ : scalar or ndarray of shape (n_targets,)
        Intercept.
    coef_variance_ : ndarray of the shape of ``coef_``
        Posterior variances of the weights; 0 for features that are constant (or zero, without an
        intercept).
    support_proba_ : ndarray of the shape of ``coef_``
        Probabilities of being active.
    support_ : ndarray of bool, of the shape of ``coef_``
        Where these exceed one half.
    sigma_ : ndarray of shape (n_support, n_support) or list of those
        Posterior covariance of the weights in the support, for each target.
    common_support_proba_ : ndarray of shape (n_features,) or None
        Probabilities that a feature is active for any target, if the prior of the support has
        such.
    support_prior_ : support prior
        The prior with the parameters that were learnt.
    noise_variance_ : float
        Variance of the noise.
    elbo_ : ndarray of shape (n_iter_,)
        Lower bound of the log density of the targets after each iteration, the highest of all
        starts. It never falls for exact priors of the support (all but the grid) as long as no
        weight leaves the subspace.
    certificate_ : float
        The largest of ``residuals_``, which vanish at a fixed point.
    residuals_ : dict of str to float
        By how much the last iteration failed the equations of a fixed point: "equation", the
        relative residual of the linear equation of ``coef_``; "mean", the relative change of
        ``coef_``; "variance" and "noise", the largest change of the logarithm of a variance of
        weights and of the noise; "probability", the largest change of ``support_proba_``. Empty
        if the targets are constant.
    converged_ : bool
        Whether the tolerance was met.
    n_iter_ : int
        Number of iterations.
    history_ : dict of ndarray
        ``iteration``, ``time`` (seconds), ``objective`` (minus the bound), ``certificate`` (while
        starts compete, the largest of theirs).
    X_offset_ : ndarray of shape (n_features,)
        What was subtracted from the features.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features, if ``X`` has them.

    Raises
    ------
    ValueError
        For non-finite data, parameters out of range, a prior of the support with probabilities
        outside (0, 1) or for other shapes.

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not met.

    See Also
    --------
    SparseBayesRegressor : Maximises the evidence over prior variances instead.
    BilinearSubspaceVBI : Unknown factors of the targets, and unknown parameters of the features.

    Notes
    -----
    ``support_proba_`` is not calibrated at low signal-to-noise ratios: a product of posteriors is
    too sure of itself, and says 0 or 1 where the true probability is 0.1 or 0.9.

    A complex dtype without imaginary parts is real data, whose noise is real.

    Integer sample weights equal repeated rows. Everything is computed in double precision; results
    have the precision of the data.

    References
    ----------
    A. Liu et al., "Subspace constrained variational Bayesian inference for structured compressive
    sensing with a dynamic grid", arXiv 2407.16947 (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import MarkovChainSupport, SubspaceVBIRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((40, 100))
    >>> coef = np.zeros(100)
    >>> coef[30:36] = [2.0, -1.0, 1.5, 0.8, -2.0, 1.0]
    >>> y = X @ coef + 0.3 * rng.standard_normal(40)
    >>> model = SubspaceVBIRegressor(MarkovChainSupport()).fit(X, y)
    >>> np.flatnonzero(model.support_)
    array([30, 31, 32, 33, 34, 35])
    >>> prediction, std = model.predict(X[:2], return_std=True)
    >>> std.shape, bool(model.certificate_ <= 1e-5)
    ((2,), True)
    """

    _parameter_constraints: dict = {
        "support_prior": [HasMethods(["check", "extrinsic_log_odds", "m_step"]), None],
        "covariance": [StrOptions(set(COVARIANCES))],
        "a": [Interval(Real, 0, None, closed="neither")],
        "b": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "a0": [Interval(Real, 0, None, closed="neither")],
        "b0": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "noise_variance": [Interval(Real, 0, None, closed="neither"), None],
        "n_inner": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, N_STARTS, closed="both")],
        "max_active": [Interval(Integral, 0, None, closed="left")],
        "collapse": ["boolean"],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        support_prior=None,
        *,
        covariance="subspace",
        a=1.0,
        b="auto",
        a0=1.0,
        b0="auto",
        noise_variance=None,
        n_inner=10,
        n_init=3,
        max_active=1000,
        collapse=False,
        fit_intercept=True,
        max_iter=300,
        tol=1e-5,
    ):
        self.support_prior = support_prior
        self.covariance = covariance
        self.a = a
        self.b = b
        self.a0 = a0
        self.b0 = b0
        self.noise_variance = noise_variance
        self.n_inner = n_inner
        self.n_init = n_init
        self.max_active = max_active
        self.collapse = collapse
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

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
        self : SubspaceVBIRegressor
            The fitted estimator.
        """
        X, y, sample_weight = self._validate_data(X, y, sample_weight)
        attributes = self._attributes(X, y, sample_weight)
        with FitReporter(
            self, X, y, sample_weight=sample_weight, max_iter=self.max_iter
        ) as reporter:
            with reporter.task("Subspace VBI", attributes) as callback:
                result = subspace_vbi(
                    X,
                    y,
                    support=self.support_prior,
                    covariance=self.covariance,
                    shape=self.a,
                    rate=self.b,
                    shape_off=self.a0,
                    rate_off=self.b0,
                    noise_variance=self.noise_variance,
                    n_inner=self.n_inner,
                    n_init=self.n_init,
                    max_active=self.max_active,
                    collapse=self.collapse,
                    sample_weight=sample_weight,
                    fit_intercept=self.fit_intercept,
                    tol=self.tol,
                    max_iter=self.max_iter,
                    callback=callback,
                )
            self._store(result, X.dtype)
        return self

    def _attributes(self, X, target, sample_weight):
        """Return what gives the fitted attributes for coefficients during the fit."""
        whole = super()._attributes(X, target, sample_weight)
        return lambda x: whole(x if target.ndim == 2 else x[:, 0])

    def _store(self, result, dtype):
        real = np.zeros(0, dtype).real.dtype
        single = result.x.ndim == 1
        self.coef_ = np.ascontiguousarray(result.x.T).astype(dtype, copy=False)
        self.intercept_ = np.asarray(result.intercept, dtype)[()]
        self.support_proba_ = result.proba.reshape(self.coef_.shape).astype(real)
        self.coef_variance_ = result.variance.reshape(self.coef_.shape).astype(real)
        self.support_ = self.support_proba_ > ACTIVE
        self.common_support_proba_ = result.support.common_proba(result.evidence)
        self.support_prior_ = result.support
        self._blocks = result.blocks
        sigma = [
            _covariance_of(np.flatnonzero(support), variance, features, block).astype(dtype)
            for support, variance, (features, block) in zip(
                np.atleast_2d(self.support_), result.variance, result.blocks, strict=True
            )
        ]
        self.sigma_ = sigma[0] if single else sigma
        self.noise_variance_ = float(result.noise_variance)
        self.elbo_ = -result.history["objective"]
        self.certificate_ = float(result.certificate)
        self.residuals_ = result.residuals
        self.converged_ = bool(result.success)
        self.n_iter_ = int(result.nit)
        self.history_ = result.history
        self.X_offset_ = result.X_offset.astype(dtype, copy=False)

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
            does not count the uncertainty of the noise variance and of the intercept.
        """
        check_is_fitted(self)
        X = self._validate_X(X, reset=False)
        prediction = X @ self.coef_.T + self.intercept_
        if not return_std:
            return prediction
        rows = X - self.X_offset_
        squares = np.abs(rows) ** 2
        columns = []
        for variance, (features, block) in zip(
            np.atleast_2d(self.coef_variance_), self._blocks, strict=True
        ):
            rest = variance.copy()
            rest[features] = 0
            shared = rows[:, features]
            doubt = np.sum((shared @ block) * shared.conj(), axis=1).real
            columns.append(np.sqrt(squares @ rest + np.maximum(doubt, 0) + self.noise_variance_))
        std = np.stack(columns, axis=-1).astype(prediction.real.dtype, copy=False)
        return prediction, std.reshape(prediction.shape)


def _covariance_of(chosen, variance, features, block):
    """Return the covariance of some weights, of which ``features`` have that of ``block``."""
    covariance = np.diag(variance[chosen]).astype(block.dtype)
    _, mine, shared = np.intersect1d(chosen, features, return_indices=True)
    covariance[np.ix_(mine, mine)] = block[np.ix_(shared, shared)]
    return covariance
