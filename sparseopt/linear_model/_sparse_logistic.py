r"""Sparse logistic regression for two or more classes.

    minimise  1/(sum_i s_i) sum_i s_i f(y_i, B x_i + b_0)
              + alpha sum_cj w_j ( rho |B_cj| + (1 - rho)/2 |B_cj|^2 ),

X (n_samples, n_features), penalty weights w (n_features,), sample weights s (n_samples,),
rho = ``l1_ratio``. With two classes, B is one row and f(y, z) = log(1 + exp(-y z)) for
labels y = -1 and +1; with more, B (n_classes, n_features) and f(y, z) = log sum_c exp(z_c)
- z_y. The work is done by the prox-Newton solvers behind
:func:`sparseopt.optimize.coordinate_descent`, or by
:func:`sparseopt.optimize.block_coordinate_descent`.
"""

import warnings
from numbers import Integral, Real

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sparseopt._core import (
    FitReporter,
    Status,
    check_penalty_weights,
    describe_end,
    fitting,
)
from sparseopt.optimize._block_coordinate_descent import block_coordinate_descent, pose
from sparseopt.optimize._losses import LogisticLoss, MultinomialLoss
from sparseopt.optimize._multinomial import PenalizedMultinomial
from sparseopt.optimize._penalties import ElasticNet
from sparseopt.optimize._prox_newton import PenalizedLoss, solve_smooth


class SparseLogisticRegression(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    r"""Logistic regression with an l1, elastic-net or ridge penalty.

    With two classes, labels :math:`y_i = \pm 1` and sample weights :math:`s_i`,

    .. math::

        \min_{b, b_0} \frac{1}{\sum_i s_i} \sum_i s_i \log(1 + e^{-y_i (x_i^T b + b_0)})
        + \alpha \sum_j w_j \left(\rho |b_j| + \tfrac{1 - \rho}{2} |b_j|^2\right).

    With more classes, the multinomial model with scores :math:`z_{ic} = x_i^T b_c + b_{0c}`,

    .. math::

        \min_{b, b_0} \frac{1}{\sum_i s_i} \sum_i s_i
        \Bigl(\log \sum_c e^{z_{ic}} - z_{i y_i}\Bigr)
        + \alpha \sum_{cj} w_j \left(\rho |b_{cj}| + \tfrac{1 - \rho}{2} |b_{cj}|^2\right).

    The strength
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
    solver : {"cd", "bcd"}, default="cd"
        Prox-Newton on working sets, or greedy block coordinate descent with blocks that
        grow with the support (see :ref:`block_coordinate_descent`). Both reach the same
        optimum, "cd" in less time.
    max_iter : int, default=1000
        Largest number of iterations: working sets, of which a few suffice; Newton steps if
        the penalty is a ridge; or blocks.
    tol : float, default=1e-6
        The fit ends once the distance of the gradient to the optimality conditions is at
        most ``tol`` times the largest entry of the gradient at the best constant model, and
        the derivative in each intercept at most ``tol`` times the sum of the moduli of the
        derivatives of the samples' losses there.
    warm_start : bool, default=False
        Whether to start from the coefficients of the previous fit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels in sorted order; of two, the decision function is positive for the second.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients, in the dtype of ``X``; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; with more than two classes, their mean is zero.
    dual_gap_ : float
        Certificate: the objective exceeds its minimum by at most this. Infinite if a
        penalty weight is zero.
    kkt_ : float
        Certificate: largest distance of the gradient to the optimality conditions, the
        derivatives in the intercepts converted by the ratio of the two units of ``tol``.
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
        there are two classes or more, each of positive weight.

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

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SparseLogisticRegression(alpha=0.02).fit(X, y)
    >>> model.coef_.shape
    (3, 4)
    >>> round(model.score(X, y), 2)
    0.97
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "weights": ["array-like", callable, None],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "solver": [StrOptions({"cd", "bcd"})],
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
        solver="cd",
        max_iter=1000,
        tol=1e-6,
        warm_start=False,
    ):
        self.alpha = alpha
        self.weights = weights
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
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
            Labels of two classes or more.
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
        classes, target, sample_weight = self._encode(X, y, sample_weight)
        weights = check_penalty_weights(self.weights, X.shape[1], X=X, dtype=X.dtype)
        penalty = ElasticNet(self.alpha, self.l1_ratio, weights)
        problem = self._pose(X, target, sample_weight, classes.size)
        shape = problem.n_outputs, X.shape[1]
        if self.warm_start and np.shape(getattr(self, "coef_", None)) == shape:
            intercept = np.reshape(self.intercept_, np.shape(problem.intercept))
            problem.set_start(self.coef_.T.ravel(), intercept if self.fit_intercept else None)

        by_blocks = self.solver == "bcd"

        def attributes(x):
            intercept = _best_intercept(problem, penalty, x) if by_blocks else problem.intercept
            coef, intercept = _by_class(x, intercept, X.dtype)
            return {"classes_": classes, "coef_": coef, "intercept_": intercept}

        solve = _solve_by_blocks if by_blocks else solve_smooth
        reporter = FitReporter(self, X, y, sample_weight=sample_weight, max_iter=self.max_iter)
        with reporter, reporter.task("fit", attributes) as callback:
            result = solve(
                problem, penalty, max_iter=self.max_iter, tol=self.tol, callback=callback
            )
            self.classes_ = classes
            self.coef_, self.intercept_ = _by_class(result.x, result.intercept, X.dtype)
            self.dual_gap_, self.kkt_ = result.dual_gap, result.kkt
            self.n_iter_, self.history_ = result.nit, result.history
        return self

    def _pose(self, X, target, sample_weight, n_classes):
        """Return the problem, at zero, for labels as ``_encode`` returns them."""
        options = {"sample_weight": sample_weight, "fit_intercept": self.fit_intercept}
        if n_classes == 2:
            return PenalizedLoss(X, target, LogisticLoss(), **options)
        return PenalizedMultinomial(X, target, MultinomialLoss(), n_classes, **options)

    def _encode(self, X, y, sample_weight):
        """Return the classes, the labels as the loss wants them, and the final row weights.

        Two classes become -1 and +1, more of them 0, 1, ...
        """
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"Unknown label type: {kind}. y must hold the labels of classes.")
        classes, codes = np.unique(y, return_inverse=True)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
        check_every_class(y, sample_weight, classes)
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
            check_every_class(y, sample_weight, classes)
        if classes.size == 2:
            codes = np.where(codes == 1, 1, -1).astype(X.dtype)
        return classes, codes, sample_weight

    def decision_function(self, X):
        """Return the log odds of the second class, or the scores of all if there are more.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of two classes, positive where the second is predicted; of more, largest for the
            class that is predicted.
        """
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            accept_sparse=("csr", "csc", "coo"),
            dtype=[np.float64, np.float32],
            reset=False,
        )
        scores = safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            The class with the largest probability.
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return self.classes_[(scores > 0).astype(np.intp)]
        return self.classes_[np.argmax(scores, axis=1)]

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        scores = self.decision_function(X)
        if scores.ndim == 2:
            return softmax(scores, axis=1)
        return np.column_stack([expit(-scores), expit(scores)])

    def predict_log_proba(self, X):
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; finite where a probability rounds to zero.
        """
        scores = self.decision_function(X)
        if scores.ndim == 2:
            return log_softmax(scores, axis=1)
        return np.column_stack([log_expit(-scores), log_expit(scores)])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def check_every_class(y, sample_weight, classes, where="y"):
    """Raise unless there are two classes, and each of ``classes`` has positive weight."""
    present = np.unique(y if sample_weight is None else y[sample_weight > 0])
    if present.size < 2:
        raise ValueError(
            f"{where} must hold two classes with positive weight, got {present.size} class: "
            f"{present}."
        )
    if present.size < len(classes):
        missing = np.setdiff1d(classes, present)
        raise ValueError(
            f"{where} must hold every class with positive weight, got none for {missing}."
        )


def _by_class(x, intercept, dtype):
    """Return the coefficients (n_outputs, n_features) and the intercepts (n_outputs,)."""
    intercept = np.atleast_1d(intercept).astype(dtype)
    coef = np.reshape(x, (-1, intercept.size)).T
    return np.ascontiguousarray(coef, dtype=dtype), intercept


def _solve_by_blocks(problem, penalty, *, max_iter, tol, callback):
    """Solve by greedy blocks; the result has what :func:`solve_smooth` returns."""
    result = block_coordinate_descent(
        problem.design.matrix, problem.y, penalty, loss=problem.loss,
        sample_weight=problem.sample_weight, fit_intercept=problem.fit_intercept,
        coef_init=problem.x, max_iter=max_iter, tol=tol, callback=callback,
    )  # fmt: skip
    problem.set_start(result.x, result.intercept)
    problem.set_penalty(penalty)
    problem.normalise()
    problem.set_start(problem.x, problem.intercept)
    result.x, result.intercept = problem.x, problem.intercept
    result.dual_gap = problem.dual_gap()
    result.kkt = problem.violation
    reached = problem.violation / problem.unit
    if result.success and reached > tol:  # rounding: the blocks see another residual
        message = describe_end(
            Status.STALLED, "Block coordinate descent", "relative violation of the optimality "
            "conditions", reached, tol, result.nit, "Centre and scale the columns of X.",
        )  # fmt: skip
        warnings.warn(message, ConvergenceWarning, stacklevel=4)
    return result


def _best_intercept(problem, penalty, x):
    """Return the intercept that block coordinate descent keeps at ``x``."""
    blocks = pose(
        problem.design.matrix, problem.y, problem.loss, penalty, problem.sample_weight,
        problem.fit_intercept,
    )  # fmt: skip
    blocks.move_to(x)
    return blocks.intercept
