r"""Sparse logistic regression for two classes.

    minimise  1/(sum_i s_i) sum_i s_i log(1 + exp(-y_i (x_i' b + b_0)))
              + alpha sum_j w_j ( rho |b_j| + (1 - rho)/2 |b_j|^2 ),

X (n_samples, n_features), labels y = -1 and +1, penalty weights w (n_features,), sample
weights s (n_samples,), rho = ``l1_ratio``. The work is done by the prox-Newton solver
behind :func:`sparseopt.optimize.coordinate_descent`.
"""

from numbers import Integral, Real

import numpy as np
from scipy.special import expit, log_expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sparseopt._core import FitReporter, check_penalty_weights, fitting
from sparseopt.optimize._losses import LogisticLoss
from sparseopt.optimize._penalties import ElasticNet
from sparseopt.optimize._prox_newton import PenalizedLoss, solve_smooth


class SparseLogisticRegression(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    r"""Logistic regression of two classes with an l1 or elastic-net penalty.

    .. math::

        \min_{b, b_0} \frac{1}{\sum_i s_i} \sum_i s_i \log(1 + e^{-y_i (x_i^T b + b_0)})
        + \alpha \sum_j w_j \left(\rho |b_j| + \tfrac{1 - \rho}{2} |b_j|^2\right)

    with labels :math:`y_i = \pm 1` and sample weights :math:`s_i`. The strength
    ``alpha`` belongs to the mean loss; scikit-learn's ``C`` belongs to the sum:
    ``C = 1 / (alpha * sample_weight.sum())``, with ``n_samples`` for the sum if there are
    no sample weights.

    Parameters
    ----------
    alpha : float, default=0.01
        Penalty strength, >= 0.
    weights : array-like of shape (n_features,) or callable, optional
        Penalty weights :math:`w_j \ge 0`, ones by default. 0 never penalises a feature,
        ``inf`` excludes it. A callable is called as ``weights(X)``.
    l1_ratio : float, default=1.0
        Share :math:`\rho` of the l1 part of the penalty, between 0 (ridge) and 1 (l1).
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    class_weight : dict or "balanced", optional
        Factors of the sample weights, one a class; "balanced" gives the classes the same
        total weight. Without it, every class has factor one.
    max_iter : int, default=1000
        Largest number of iterations, each of one working set. A few suffice.
    tol : float, default=1e-6
        The fit ends once the distance of the gradient to the optimality conditions is at
        most ``tol`` times the largest entry of the gradient at the best constant model.
    warm_start : bool, default=False
        Whether to start from the coefficients of the previous fit.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The two labels in sorted order; the decision function is positive for the second.
    coef_ : ndarray of shape (1, n_features)
        Coefficients, in the dtype of ``X``.
    intercept_ : ndarray of shape (1,)
        Intercept.
    dual_gap_ : float
        Certificate: the objective exceeds its minimum by at most this. Infinite if a
        penalty weight is zero.
    kkt_ : float
        Certificate: largest distance of the gradient to the optimality conditions.
    n_iter_ : int
        Number of iterations.
    history_ : dict
        Arrays ``iteration``, ``time`` (seconds), ``objective`` and ``certificate``
        (relative distance to the optimality conditions), one entry an iteration and one
        for the start.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    Raises
    ------
    ValueError
        From ``fit``, before any work, for invalid parameters, weights or data, and unless
        there are two classes.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the tolerance is not reached; the message says what was. Separable classes
        without a penalty have no solution and end so.

    See Also
    --------
    SparseLogisticRegressionCV : Strength chosen by cross-validation.
    WeightedLasso : The same penalties for regression.

    References
    ----------
    Massias, Vaiter, Gramfort, Salmon (2020). Dual Extrapolation for Sparse Generalized
    Linear Models. JMLR 21(234).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sparseopt.linear_model import SparseLogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SparseLogisticRegression(alpha=0.02).fit(scale(X), y)
    >>> int((model.coef_ != 0).sum())
    7
    >>> round(model.score(scale(X), y), 2)
    0.97
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "weights": ["array-like", callable, None],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        alpha=0.01,
        *,
        weights=None,
        l1_ratio=1.0,
        fit_intercept=True,
        class_weight=None,
        max_iter=1000,
        tol=1e-6,
        warm_start=False,
    ):
        self.alpha = alpha
        self.weights = weights
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    @fitting
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; stored by columns (Fortran order, CSC) it is not copied.
        y : array-like of shape (n_samples,)
            Labels of two classes.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative row weights; integers act as repeated rows.

        Returns
        -------
        self : SparseLogisticRegression
            The fitted estimator.
        """
        X, y = validate_data(
            self, X, y, accept_sparse=("csc", "csr"), dtype=[np.float64, np.float32]
        )
        classes, signs, sample_weight = self._encode(X, y, sample_weight)
        weights = check_penalty_weights(self.weights, X.shape[1], X=X, dtype=X.dtype)
        penalty = ElasticNet(self.alpha, self.l1_ratio, weights)
        problem = PenalizedLoss(
            X, signs, LogisticLoss(), sample_weight=sample_weight, fit_intercept=self.fit_intercept
        )
        if self.warm_start and np.shape(getattr(self, "coef_", None)) == (1, X.shape[1]):
            intercept = float(self.intercept_[0]) if self.fit_intercept else 0.0
            problem.set_start(self.coef_[0], intercept)

        def attributes(coef):
            intercept = np.array([problem.intercept])
            return {"classes_": classes, "coef_": coef[None], "intercept_": intercept}

        reporter = FitReporter(self, X, y, sample_weight=sample_weight, max_iter=self.max_iter)
        with reporter, reporter.task("fit", attributes) as callback:
            result = solve_smooth(
                problem, penalty, max_iter=self.max_iter, tol=self.tol, callback=callback
            )
            self.classes_ = classes
            self.coef_ = result.x.astype(X.dtype, copy=False)[None]
            self.intercept_ = np.array([result.intercept], dtype=X.dtype)
            self.dual_gap_, self.kkt_ = result.dual_gap, result.kkt
            self.n_iter_, self.history_ = result.nit, result.history
        return self

    def _encode(self, X, y, sample_weight):
        """Return the two classes, the labels as -1 and +1, and the final row weights."""
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"Unknown label type: {kind}. y must hold the labels of two classes.")
        classes, codes = np.unique(y, return_inverse=True)
        if classes.size > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is "
                f"{kind}, with {classes.size} classes."
            )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
        check_two_classes(y, sample_weight)
        if self.class_weight is not None:
            factors = compute_class_weight(
                self.class_weight, classes=classes, y=y, sample_weight=sample_weight
            )
            if not (np.all(np.isfinite(factors)) and np.all(factors >= 0)):
                raise ValueError(
                    f"class_weight must be finite and >= 0, got {self.class_weight!r}."
                )
            given = 1 if sample_weight is None else sample_weight
            sample_weight = (factors[codes] * given).astype(X.dtype)
            check_two_classes(y, sample_weight)
        return classes, np.where(codes == 1, 1, -1).astype(X.dtype), sample_weight

    def decision_function(self, X):
        """Return the log odds of the second class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_odds : ndarray of shape (n_samples,)
            Positive where the second class is predicted.
        """
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            accept_sparse=("csr", "csc", "coo"),
            dtype=[np.float64, np.float32],
            reset=False,
        )
        return safe_sparse_dot(X, self.coef_[0], dense_output=True) + self.intercept_[0]

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            The class with the larger probability.
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(np.intp)]

    def predict_proba(self, X):
        """Return the probabilities of the two classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, 2)
            In the order of ``classes_``.
        """
        scores = self.decision_function(X)
        return np.column_stack([expit(-scores), expit(scores)])

    def predict_log_proba(self, X):
        """Return the logarithms of the probabilities of the two classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, 2)
            In the order of ``classes_``; finite where a probability rounds to zero.
        """
        scores = self.decision_function(X)
        return np.column_stack([log_expit(-scores), log_expit(scores)])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags


def check_two_classes(y, sample_weight):
    """Raise unless two classes have positive weight."""
    present = np.unique(y if sample_weight is None else y[sample_weight > 0])
    if present.size < 2:
        raise ValueError(
            f"y must hold two classes with positive weight, got {present.size} class: {present}."
        )
