"""The estimator of robust PCA: a fitted low-rank model that splits new rows too."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._mask import _get_mask
from sklearn.utils._param_validation import Interval, MissingValues, StrOptions
from sklearn.utils.extmath import svd_flip
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from sparseopt._core import FitReporter, fitting
from sparseopt.decomposition._known_rank import check_unmasked
from sparseopt.decomposition._low_rank_model import LowRankModelMixin, column_medians
from sparseopt.decomposition._robust_pca_arguments import check_observations, check_weights
from sparseopt.decomposition._robust_pca_function import (
    KNOWN_RANK_SOLVERS,
    METHOD_SOLVERS,
    robust_pca,
)
from sparseopt.decomposition._row_decomposition import decompose_rows, largest_entries, row_lengths
from sparseopt.decomposition._shrinkage import effective_rank
from sparseopt.decomposition._singular_values import SOLVERS as SVD_SOLVERS

OUTLYING_SHARE = 0.5  # of a row's length, from which "auto" counts it as an outlier


def _finds_outliers(estimator):
    if estimator.method != "outlier":
        raise AttributeError("Only RobustPCA(method='outlier') labels samples.")
    return True


def _costs(result, n_components):
    """Return the weights of the singular values in the problem that was solved."""
    weights = result.get("weights")
    if weights is None:
        return np.ones(n_components)
    filled = np.concatenate([weights, np.full(n_components, weights[-1])])
    return filled[:n_components]


class RobustPCA(CallbackSupportMixin, LowRankModelMixin, OutlierMixin, BaseEstimator):
    r"""Principal components of data with gross errors, missing values or outlying samples.

    Splits the data into a low-rank and a sparse part by a convex problem,

    .. math::

        \min \|L\|_* + \lambda \|S\|_1 \quad \text{subject to } L + S = X,

    to a proved duality gap, or one of its relatives: see ``method``, and ``solver`` for methods
    that know the rank. Unlike PCA it needs no centring: an arbitrary mean adds one to the
    rank.

    Parameters
    ----------
    method : {"pcp", "stable", "outlier"}, default="pcp"
        "pcp" is for gross errors in some entries, "stable" adds
        :math:`\tfrac{1}{2 \mu} \|X - L - S\|_F^2` for dense noise beside them, and "outlier"
        replaces the norm of S by :math:`\sum_i \|S_{i \cdot}\|_2`, for samples that are wrong as a
        whole.
    lam : float or "auto", default="auto"
        Weight :math:`\lambda > 0` of the sparse part. "auto" is
        :math:`1 / \sqrt{p \max(n_{samples}, n_{features})}` for an observed share p, and
        :math:`3 / (7 \sqrt{0.01 n_{samples}})` for outlying samples.
    solver : {"auto", "ialm", "admm", "fista", "accaltproj", "scaledgd", "godec", "ircur"}
        "ialm" ends where L + S = X, which may be a point that is not optimal; "admm" goes on
        until the duality gap is small; "auto", the default, starts with the former and goes on
        to the latter if there is need. "fista" is the solver of the stable problem. The others need
        ``n_components``, and prove nothing.
    n_components : int, optional
        Rank of L, for the solvers that need it. Convex problems find it by themselves; of their
        components the leading ``n_components`` are kept at most.
    noise_std : float, optional
        Standard deviation of the dense noise; estimated by default.
    mu : float or "auto", default="auto"
        Weight of the residual in the stable problem, in the units of ``X``. "auto" is
        :math:`\sqrt{2 \max(n_{samples}, n_{features})}` times ``noise_std``.
    reweighting : int, default=0
        Number of further passes of a convex solver, with weights
        :math:`1 / (1 + \sigma_k / \varepsilon)` of the singular values for an
        :math:`\varepsilon` of a tenth of the largest: a concave penalty of the rank, which
        recovers more. There is no duality gap then.
    contamination : float or "auto", default="auto"
        Share of the training samples, in (0, 0.5], that ``method="outlier"`` labels as outliers.
        "auto" labels those that are outlying by more than half of their length.
    center : {"median"}, optional
        Subtract the (weighted) median of each column first.
    tol : float, default=1e-7
        Largest :math:`\|X - L - S\|_F / \|X\|_F`. At least 20 times the machine epsilon.
    tol_gap : float, optional
        Largest duality gap over the objective; 1e-4 by default, and 1e-6 for
        ``method="stable"``; ten times that for float32.
    max_iter : int, default=1000
        Largest number of iterations.
    svd_solver : {"auto", "full", "gram", "subspace"}, default="auto"
        How the convex solvers find singular values. "auto" takes the fastest.
    missing_values : int, float or np.nan, default=np.nan
        What marks missing entries.
    energy : float, default=0.999
        Share of the sum of squared singular values that ``effective_rank_`` is to hold.
    solver_options : dict, optional
        Further options of the solvers for a given rank: see :func:`robust_pca`.
    warm_start : bool, default=False
        Whether a convex solver goes on from the last fit, if ``X`` has the same shape.
    random_state : int, RandomState instance or None, default=None
        Draws the first block of iterations that need one.

    Attributes
    ----------
    low_rank_ : ndarray of shape (n_samples, n_features)
        The low-rank part of the training data, complete where these had missing values.
    sparse_ : ndarray of shape (n_samples, n_features)
        The sparse part, zero where a value was missing.
    components_ : ndarray of shape (n_components_, n_features)
        Right singular vectors of the low-rank part.
    singular_values_ : ndarray of shape (n_components_,)
        Its singular values, the largest first.
    n_components_ : int
        Its rank. Convex problems end with small values that hardly matter: see
        ``effective_rank_``.
    effective_rank_ : int
        Number of singular values that hold the share ``energy`` of their sum of squares.
    mean_ : ndarray of shape (n_features,)
        What was subtracted: zeros, or the medians.
    lam_ : float or None
        Weight of the sparse part; None for a given rank.
    mu_ : float or None
        Weight of the residual, 0 unless ``method="stable"``; None for a given rank.
    noise_std_ : float or None
        The standard deviation that ``mu_`` was chosen for; None where no noise was assumed.
    dual_ : ndarray of shape (n_samples, n_features) or None
        Feasible dual variable, the proof of ``dual_gap_``.
    dual_gap_ : float
        Relative duality gap: the objective is at most by this share above the optimum. NaN
        for a given rank and after reweighting.
    objective_ : float
        Objective of the problem; for a given rank, the norm of the residual.
    converged_ : bool
        Whether the tolerances were met.
    n_iter_ : int
        Number of iterations.
    history_ : dict
        Arrays ``iteration``, ``time`` (seconds), ``objective``, ``certificate`` and others.
    outlier_scores_ : ndarray of shape (n_samples,)
        Lengths of the rows of ``sparse_``. Only for ``method="outlier"``.
    outlier_mask_ : ndarray of bool of shape (n_samples,)
        Which training samples are outliers. Only for ``method="outlier"``.
    offset_ : float
        Threshold of :meth:`score_samples` below which a sample is an outlier. Only for
        ``method="outlier"``.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features, if ``X`` has them.

    Raises
    ------
    TypeError
        For sparse containers.
    ValueError
        For infinite entries, rows or columns without observed entries, ``lam <= 0``, and
        arguments that do not go together.

    Warns
    -----
    ConvergenceWarning
        If the tolerances were not met; it tells the gap that was.

    See Also
    --------
    robust_pca : The function, for arrays of any library.
    OnlineRobustPCA : For streams.

    Notes
    -----
    New rows are split by the convex problem at its margin, where a coefficient c of the component
    with singular value s costs :math:`c^2 / (2 s)`, times its weight. The training rows solve just
    that problem: ``low_rank_`` is ``inverse_transform(transform(X))`` up to the tolerance.

    References
    ----------
    E. J. Candès, X. Li, Y. Ma & J. Wright, "Robust principal component analysis?", Journal of
    the ACM 58 (2011).
    Z. Zhou et al., "Stable principal component pursuit", ISIT 2010.
    H. Xu, C. Caramanis & S. Sanghavi, "Robust PCA via outlier pursuit", IEEE Transactions on
    Information Theory 58 (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import RobustPCA
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 40))
    >>> X = low_rank + 9.0 * (rng.random((60, 40)) < 0.05)
    >>> X[0, 0] = np.nan
    >>> model = RobustPCA().fit(X)
    >>> model.n_components_, bool(model.dual_gap_ < 1e-4)
    (2, True)
    >>> bool(np.allclose(model.low_rank_, low_rank, atol=1e-4))
    True
    >>> model.transform(X[:3]).shape
    (3, 2)
    """

    _parameter_constraints: dict = {
        "method": [StrOptions(set(METHOD_SOLVERS))],
        "lam": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "solver": [StrOptions({"auto", "ialm", "admm", "fista", *KNOWN_RANK_SOLVERS})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "noise_std": [Interval(Real, 0, None, closed="left"), None],
        "mu": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "reweighting": [Interval(Integral, 0, None, closed="left")],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "center": [StrOptions({"median"}), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "tol_gap": [Interval(Real, 0, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "svd_solver": [StrOptions(set(SVD_SOLVERS))],
        "missing_values": [MissingValues(numeric_only=True)],
        "energy": [Interval(Real, 0, 1, closed="right")],
        "solver_options": [dict, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        method="pcp",
        *,
        lam="auto",
        solver="auto",
        n_components=None,
        noise_std=None,
        mu="auto",
        reweighting=0,
        contamination="auto",
        center=None,
        tol=1e-7,
        tol_gap=None,
        max_iter=1000,
        svd_solver="auto",
        missing_values=np.nan,
        energy=0.999,
        solver_options=None,
        warm_start=False,
        random_state=None,
    ):
        self.method = method
        self.lam = lam
        self.solver = solver
        self.n_components = n_components
        self.noise_std = noise_std
        self.mu = mu
        self.reweighting = reweighting
        self.contamination = contamination
        self.center = center
        self.tol = tol
        self.tol_gap = tol_gap
        self.max_iter = max_iter
        self.svd_solver = svd_solver
        self.missing_values = missing_values
        self.energy = energy
        self.solver_options = solver_options
        self.warm_start = warm_start
        self.random_state = random_state

    @fitting
    def fit(self, X, y=None, *, mask=None, sample_weight=None):
        """Split the training data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data; float32 is kept.
        y : None
            Ignored.
        mask : array-like of bool of shape (n_samples, n_features), optional
            True where ``X`` is observed, beside ``missing_values``.
        sample_weight : array-like of shape (n_samples,), optional
            Numbers of equal rows for which each row stands; convex problems only.

        Returns
        -------
        self : RobustPCA
            The fitted estimator.
        """
        X = self._validate(X, reset=True)
        if mask is not None:
            mask = np.asarray(mask)
            if mask.dtype != bool or mask.shape != X.shape:
                raise ValueError(
                    f"mask must be an array of booleans of shape {X.shape}, True where X is "
                    f"observed, got dtype {mask.dtype} and shape {mask.shape}."
                )
            X = np.where(mask, X, np.asarray(np.nan, X.dtype))
        self.mean_ = self._center_of(X, sample_weight)
        centred = X - self.mean_ if self.center else X
        start = self._result if self.warm_start and hasattr(self, "_result") else None
        if start is not None and start.dual.shape != X.shape:
            start = None
        with FitReporter(
            self, X, y, sample_weight=sample_weight, max_iter=self.max_iter
        ) as reporter:
            with reporter.task("robust PCA") as callback:
                result = self._solve(centred, sample_weight, start, callback)
        self._store(result)
        self._decompose_weightless(X)
        if self.method == "outlier":
            self._label(X)
        return self

    def _validate(self, X, *, reset):
        """Return X as floats with NaN where values are missing."""
        check_unmasked(X, "X")
        nan_marks = isinstance(self.missing_values, Real) and np.isnan(self.missing_values)
        X = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse=False,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan" if nan_marks else True,
            ensure_min_samples=1,
        )
        if not nan_marks:
            X = np.where(_get_mask(X, self.missing_values), np.asarray(np.nan, X.dtype), X)
        return X

    def _center_of(self, X, sample_weight=None):
        if self.center is None:
            return np.zeros(X.shape[1], dtype=X.dtype)
        check_observations(X)
        return column_medians(X, check_weights(sample_weight, X, np))

    def _solve(self, X, sample_weight, start, callback):
        known_rank = self.solver in KNOWN_RANK_SOLVERS
        return robust_pca(
            X,
            method=self.method,
            solver=self.solver,
            lam=self.lam,
            n_components=self.n_components,
            noise_std=self.noise_std,
            mu=self.mu,
            reweighting=self.reweighting,
            sample_weight=sample_weight,
            tol=self.tol,
            tol_gap=self.tol_gap,
            max_iter=self.max_iter,
            svd_solver=self.svd_solver,
            start=None if known_rank else start,
            random_state=self.random_state,
            callback=callback,
            **(self.solver_options or {}),
        )

    def _store(self, result):
        for name in ("outlier_scores_", "outlier_mask_", "offset_"):
            vars(self).pop(name, None)  # of an earlier fit
        self._loss = self.method if result.get("mu") != 0 or self.method == "outlier" else "pcp"
        self.low_rank_ = result.low_rank + self.mean_ if self.center else result.low_rank
        self.sparse_ = result.sparse
        components = np.array(result.x.Vt[: self.n_components], order="C")  # to be written to
        self.components_ = svd_flip(None, components, u_based_decision=False)[1]
        self.singular_values_ = result.x.s[: self.n_components]
        self.n_components_ = len(self.components_)
        self._n_features_out = self.n_components_
        self.effective_rank_ = effective_rank(result.x.s, self.energy)
        self.lam_, self.mu_ = result.get("lam"), result.get("mu")
        self.noise_std_ = result.get("noise_std")
        self._costs = _costs(result, self.n_components_)
        self.dual_, self.dual_gap_ = result.get("dual"), float(result.get("dual_gap", np.nan))
        self.objective_ = float(result.fun)
        self.converged_ = bool(result.success)
        self.n_iter_ = int(result.nit)
        self.history_ = result.history
        self._result = result if self.warm_start and self.dual_ is not None else None

    def _decompose_weightless(self, X):
        """Treat rows that had no weight in the fit as new ones."""
        rows = np.isnan(self.sparse_[:, 0])
        if rows.any():
            scores, self.sparse_[rows] = self._decompose(X[rows])
            self.low_rank_[rows] = scores @ self.components_ + self.mean_

    def _label(self, X):
        self.outlier_scores_ = row_lengths(self.sparse_)
        scores = self.score_samples(X)
        if self.contamination == "auto":
            self.offset_ = -OUTLYING_SHARE
        else:
            self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        self.outlier_mask_ = scores < self.offset_

    def _decompose(self, X):
        return decompose_rows(
            X - self.mean_,
            self.singular_values_ / self._costs,
            self.components_,
            method=self._loss,
            lam=self.lam_,
            mu=self.mu_,
        )

    def score_samples(self, X):
        r"""Return how well rows fit the low-rank model; the larger, the better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            :math:`-\|x - l\|^2` over the observed values of a row x with low-rank part l. For
            ``method="outlier"`` it is :math:`-\|x - l\| / \|x\|`, from -1 to 0.
        """
        check_is_fitted(self)
        if self._loss != "outlier":
            return super().score_samples(X)
        centred = self._validate(X, reset=False) - self.mean_
        rest = np.nan_to_num(centred - self.transform(X) @ self.components_)
        centred = np.nan_to_num(centred)
        size = largest_entries(centred)
        length = np.linalg.norm(centred / size, axis=1)
        return -np.linalg.norm(rest / size, axis=1) / np.where(length > 0, length, 1)

    @available_if(_finds_outliers)
    def decision_function(self, X):
        """Return ``score_samples(X) - offset_``, negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Negative for outliers.
        """
        check_is_fitted(self, "offset_")
        return self.score_samples(X) - self.offset_

    @available_if(_finds_outliers)
    def predict(self, X):
        """Return -1 for outlying rows and 1 for the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Labels.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @available_if(_finds_outliers)
    def fit_predict(self, X, y=None, **fit_params):
        """Fit, and return -1 for outlying training rows and 1 for the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : None
            Ignored.
        **fit_params : dict
            Parameters of :meth:`fit`.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Labels.
        """
        return np.where(self.fit(X, y, **fit_params).outlier_mask_, -1, 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.method != "outlier":
            tags.estimator_type = None
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
