"""Greedy sparse regression: the estimator around :func:`weighted_omp_path`."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot

from sparseopt._core import FitReporter, fitting
from sparseopt.linear_model._base import SparseLinearRegressor
from sparseopt.linear_model._greedy import weighted_omp_path
from sparseopt.linear_model._greedy_delta import PENALTIES
from sparseopt.linear_model._greedy_options import LOSSES
from sparseopt.linear_model._kernels.lad import weighted_median


class WeightedOMP(SparseLinearRegressor):
    r"""Weighted, loss-based orthogonal matching pursuit.

    Columns enter the support one after another, each time the one whose coefficient alone can
    lower

    .. math:: G(b) = F(y - X b - b_0) + \lambda R(b)

    most, followed by an unpenalised fit on the support. The path stops by itself when no
    further column pays for its penalty. ``F`` is :math:`\|r\|_2` (square-root LASSO),
    :math:`\|r\|_2^2` (LASSO) or :math:`\|r\|_1` (LAD-LASSO), and ``R`` is
    :math:`\sum_j w_j |b_j|` or :math:`\sum_{b_j \ne 0} w_j^2`.

    Parameters
    ----------
    loss : {"sqrt_lasso", "lasso", "lad_lasso", "omp"}, default="sqrt_lasso"
        "sqrt_lasso" needs no knowledge of the noise level, "lad_lasso" resists gross errors in
        ``y``; "omp" is plain orthogonal matching pursuit, or, with ``weights``, the
        scaling-based weighted one.
    penalty : {"l1", "l0"}, default="l1"
        Penalty on the coefficients. Ignored by ``loss="omp"``.
    lam : float or "auto", default="auto"
        Strength in the scaling of ``G`` above: no factor 1/2 or 1/n_samples, columns of unit
        norm. "auto" is the noise-blind level of ``loss="sqrt_lasso", penalty="l1"`` (and 0
        for ``loss="omp"``); other combinations need a number. scikit-learn's
        ``Lasso(alpha)`` has ``lam = 2 * n_samples * alpha``.
    weights : array-like of shape (n_features,) or callable, default=None
        Penalty weights :math:`w_j \ge 0`, ones by default; small for features that are
        believed to matter. 0 never penalises a feature, ``inf`` excludes it. A callable is
        called as ``weights(X)``.
    n_nonzero_coefs : int, default=None
        Largest number of nonzero coefficients. None means no limit, except for
        ``loss="omp"`` without ``tol``, where it means 10 % of the features.
    tol : float, default=None
        Stop once the squared norm of the residual is at most ``tol``, as in scikit-learn's
        ``OrthogonalMatchingPursuit``.
    max_iter : int, default=None
        Largest number of steps; None means as many as there can be.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    normalize : bool, default=True
        Whether the penalty acts on the coefficients of the (centred) columns scaled to unit
        norm. ``loss="omp"`` with False selects by the correlations of the columns as they are,
        as scikit-learn does. ``coef_`` is in the original units either way.
    precompute : bool or "auto", default="auto"
        Whether to replace the data by the triangular factor of a QR decomposition, which has
        ``n_features`` rows; "auto" does so where it is faster. Sparse data and
        ``loss="lad_lasso"`` never do.
    allow_removal : bool, default=False
        Whether the path goes on at its natural end, where it may also remove features if that
        lowers ``G`` most; needs ``penalty="l0"``.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, in the dtype of ``X``.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
    support_ : ndarray of int or list of ndarray
        Indices of the nonzero coefficients in the order of selection; one array a target.
    path_coefs_ : csr_array of shape (n_steps + 1, n_features) or list of csr_array
        Coefficients after each step, from zero to ``coef_``.
    path_intercepts_ : ndarray of shape (n_steps + 1,) or list of ndarray
        Intercepts after each step.
    losses_ : ndarray of shape (n_steps + 1,) or list of ndarray
        Data term after each step.
    deltas_ : ndarray of shape (n_steps,) or list of ndarray
        Gain for which each column was selected.
    stop_reason_ : str or list of str
        "no_decrease", "in_support" (the path has come to its natural end),
        "n_nonzero_coefs", "tol", "rank_deficient", "max_iter" or "callback".
    lam_ : float
        The strength that was used.
    n_iter_ : int
        Number of steps, at least 1; the largest over targets.
    history_ : dict
        Arrays ``iteration``, ``time`` (seconds), ``objective`` (sum over targets) and
        ``certificate`` (largest squared residual norm), one entry a step.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if ``X`` has string names.

    Raises
    ------
    ValueError
        From ``fit``, before any work, for invalid parameters, weights or data.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If ``tol`` was given and is not reached.

    See Also
    --------
    WeightedOMPCV : Strength and number of steps chosen by cross-validation.
    SquareRootLasso : The convex counterpart of the default loss.
    weighted_omp_path : The same on plain arrays, real or complex.

    References
    ----------
    H. Mohammad-Taheri and S. Brugiapaglia (2023). The greedy side of the LASSO: new algorithms
    for weighted sparse recovery via loss function-based orthogonal matching pursuit.
    arXiv:2303.00844.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparseopt.linear_model import WeightedOMP
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = WeightedOMP().fit(X, y)
    >>> model.support_
    array([2, 8, 3])
    >>> model.stop_reason_
    'in_support'
    """

    _parameter_constraints: dict = {
        "loss": [StrOptions(set(LOSSES))],
        "penalty": [StrOptions(set(PENALTIES))],
        "lam": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "weights": ["array-like", callable, None],
        "n_nonzero_coefs": [Interval(Integral, 0, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "fit_intercept": ["boolean"],
        "normalize": ["boolean"],
        "precompute": ["boolean", StrOptions({"auto"})],
        "allow_removal": ["boolean"],
    }

    def __init__(
        self,
        loss="sqrt_lasso",
        *,
        penalty="l1",
        lam="auto",
        weights=None,
        n_nonzero_coefs=None,
        tol=None,
        max_iter=None,
        fit_intercept=True,
        normalize=True,
        precompute="auto",
        allow_removal=False,
    ):
        self.loss = loss
        self.penalty = penalty
        self.lam = lam
        self.weights = weights
        self.n_nonzero_coefs = n_nonzero_coefs
        self.tol = tol
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.normalize = normalize
        self.precompute = precompute
        self.allow_removal = allow_removal

    @fitting
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, best stored by columns (Fortran order, CSC).
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; several are pursued independently, in lock-step.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the squared (lad_lasso: absolute) residuals; integers act
            as repeated rows.

        Returns
        -------
        self : WeightedOMP
            The fitted estimator.
        """
        X, targets, sample_weight = self._validate_fit_data(X, y, sample_weight)
        limits = [n for n in (self.n_nonzero_coefs, self.max_iter) if n is not None]
        reporter = FitReporter(
            self, X, y, sample_weight=sample_weight, max_iter=min(limits, default=None)
        )

        def attributes(x):
            return self._attributes_at(X, targets, sample_weight, x)

        with reporter, reporter.task("path", attributes) as callback:
            result = weighted_omp_path(
                X,
                targets.T,
                sample_weight=sample_weight,
                callback=callback,
                **self._path_parameters(),
                lam=self.lam,
                n_nonzero_coefs=self.n_nonzero_coefs,
                allow_removal=self.allow_removal,
                precompute=self.precompute,
            )
        self._store(result)
        return self

    def _path_parameters(self):
        """Return the parameters that the path function shares with its estimators."""
        return {
            "loss": self.loss,
            "penalty": self.penalty,
            "weights": self.weights,
            "tol": self.tol,
            "max_iter": self.max_iter,
            "normalize": self.normalize,
            "fit_intercept": self.fit_intercept,
        }

    def _store(self, result):
        paths = result.paths
        self.coef_ = self._per_target([path.x for path in paths])
        self.intercept_ = self._per_target([self.coef_.dtype.type(p.intercept) for p in paths])
        self.n_iter_ = max(result.nit, 1)
        self.lam_ = paths[0].lam
        self.history_ = result.history
        for attribute, name in (
            ("support_", "support"),
            ("path_coefs_", "coefs"),
            ("path_intercepts_", "intercepts"),
            ("losses_", "losses"),
            ("deltas_", "deltas"),
            ("stop_reason_", "stop_reason"),
        ):
            values = [path[name] for path in paths]
            setattr(self, attribute, values[0] if self._single_target else values)

    def _attributes_at(self, X, targets, sample_weight, x):
        """Return the fitted attributes of an iterate, for callbacks during the fit."""
        coef = np.atleast_2d(x.T)
        intercept = np.zeros(len(targets), X.dtype)
        if self.fit_intercept:
            residuals = targets.T - safe_sparse_dot(X, coef.T, dense_output=True)
            if self.loss == "lad_lasso":
                rows = np.ones(X.shape[0]) if sample_weight is None else sample_weight
                medians = [weighted_median(r.copy(), rows.copy(), len(r)) for r in residuals.T]
                intercept = np.array(medians, X.dtype)
            else:
                intercept = np.average(residuals, axis=0, weights=sample_weight)
        return {"coef_": self._per_target(coef), "intercept_": self._per_target(intercept)}
