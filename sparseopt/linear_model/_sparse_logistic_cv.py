"""Sparse logistic regression with the strength chosen by cross-validation."""

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.metadata_routing import _routing_enabled, process_routing
from sklearn.utils.validation import validate_data

from sparseopt._core import check_penalty_weights
from sparseopt.linear_model._cv import PathCV
from sparseopt.linear_model._sparse_logistic import SparseLogisticRegression, check_every_class
from sparseopt.optimize._losses import LogisticLoss, MultinomialLoss
from sparseopt.optimize._penalties import ElasticNet
from sparseopt.optimize._prox_newton import solve_smooth


class SparseLogisticRegressionCV(PathCV, SparseLogisticRegression):
    r"""Sparse logistic regression with the strength chosen by cross-validation.

    The errors are mean logistic or multinomial losses on the left-out folds.
    ``class_weight`` counts in them as it does in the fits; "balanced" refers to the whole
    training data.

    Parameters
    ----------
    alphas : int or array-like of shape (n_alphas,), default=100
        Grid of strengths, or the length of a geometric grid that starts at the smallest
        strength with a zero solution.
    eps : float, default=1e-3
        Smallest over largest strength of the automatic grid.
    weights : array-like of shape (n_features,) or callable, optional
        Penalty weights, as in :class:`SparseLogisticRegression`.
    l1_ratio : float, default=1.0
        Share of the l1 part of the penalty; > 0 for an automatic grid.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    class_weight : dict or "balanced", optional
        Factors of the sample weights, one a class.
    cv : int, cross-validation generator or iterable, default=None
        Splitting; None means 5 stratified folds.
    selection_rule : {"min", "1se"}, default="min"
        Take the strength with the smallest mean error, or the largest strength whose
        mean error is within one standard error of it.
    n_jobs : int, optional
        Number of folds computed at once.
    max_iter : int, default=1000
        Largest number of working sets for each strength.
    tol : float, default=1e-6
        Largest distance of the gradient to the optimality conditions, relative to its
        largest entry at the best constant model.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    alphas_ : ndarray of shape (n_alphas,)
        The grid, in decreasing order.
    loss_path_ : ndarray of shape (n_alphas, n_folds)
        Mean logistic loss on the left-out folds.
    classes_ : ndarray of shape (n_classes,)
        The labels in sorted order.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients of the fit on all data with ``alpha_``.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.
    dual_gap_ : float
        Certificate of the final fit, as in :class:`SparseLogisticRegression`.
    kkt_ : float
        Certificate of the final fit.
    n_iter_ : int
        Number of iterations of the final fit.
    history_ : dict
        As in :class:`SparseLogisticRegression`.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    See Also
    --------
    SparseLogisticRegression : For a given strength.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sparseopt.linear_model import SparseLogisticRegressionCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SparseLogisticRegressionCV(alphas=20, cv=3).fit(scale(X), y)
    >>> model.loss_path_.shape
    (20, 3)
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in SparseLogisticRegression._parameter_constraints.items()
            if name not in ("alpha", "solver", "warm_start")
        },
        **PathCV._parameter_constraints,
    }
    _score_name = "loss_path_"

    def __init__(
        self,
        *,
        alphas=100,
        eps=1e-3,
        weights=None,
        l1_ratio=1.0,
        fit_intercept=True,
        class_weight=None,
        cv=None,
        selection_rule="min",
        n_jobs=None,
        max_iter=1000,
        tol=1e-6,
    ):
        self.alphas = alphas
        self.eps = eps
        self.weights = weights
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.cv = cv
        self.selection_rule = selection_rule
        self.n_jobs = n_jobs
        self.max_iter = max_iter
        self.tol = tol

    def _validate_fit_data(self, X, y, sample_weight=None):
        """Return X, the labels as the loss wants them, as one row, and the final row weights."""
        X, y = validate_data(
            self, X, y, accept_sparse=("csc", "csr"), dtype=[np.float64, np.float32]
        )
        self.classes_, target, sample_weight = self._encode(X, y, sample_weight)
        self._single_target = True
        return X, target[None], sample_weight

    def _split(self, X, targets, sample_weight, params):
        splitter = check_cv(self.cv, targets[0], classifier=True)
        if _routing_enabled():
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
        else:
            routed = Bunch(splitter=Bunch(split={}))
        return list(splitter.split(X, targets[0], **routed.splitter.split))

    def _path(self, X, y, sample_weight, alphas):
        labels = self.classes_[(y > 0).astype(int) if len(self.classes_) == 2 else y]
        check_every_class(labels, sample_weight, self.classes_, "The training part of each fold")
        weights = check_penalty_weights(self.weights, X.shape[1], X=X)
        problem = self._pose(X, y, sample_weight, len(self.classes_))
        results = [
            solve_smooth(
                problem,
                ElasticNet(alpha, self.l1_ratio, weights),
                max_iter=self.max_iter,
                tol=self.tol,
                gap=False,
            )
            for alpha in alphas
        ]
        return Bunch(
            coefs=[result.x.reshape(X.shape[1], -1) for result in results],
            intercepts=[result.intercept for result in results],
        )

    @staticmethod
    def _predictions(path, X):
        for coef, intercept in zip(path.coefs, path.intercepts, strict=True):
            scores = safe_sparse_dot(X, coef, dense_output=True) + intercept
            yield scores[:, 0] if coef.shape[1] == 1 else scores

    def _alpha_max(self, X, y, sample_weight):
        if self.l1_ratio == 0:
            raise ValueError(
                "An automatic grid needs l1_ratio > 0: a ridge penalty has no largest "
                "strength. Give alphas explicitly."
            )
        weights = check_penalty_weights(self.weights, X.shape[1], X=X, dtype=X.dtype)
        penalty = ElasticNet(1.0, self.l1_ratio, weights)
        return self._pose(X, y, sample_weight, len(self.classes_)).alpha_max(penalty)

    @staticmethod
    def _error(y_true, scores, sample_weight=None):
        if sample_weight is not None and not np.any(sample_weight > 0):
            raise ValueError("sample_weight must not be zero on all samples of a left-out fold.")
        loss = LogisticLoss() if scores.ndim == 1 else MultinomialLoss()
        return loss.value(y_true, scores, sample_weight)

    def _adopt(self, model, data, context):
        classes = self.classes_  # the model sees the labels as the loss wants them
        super()._adopt(model, data, context)
        self.classes_ = classes

    def _final_estimator(self, alpha):
        # The class weights are already in the sample weights.
        return SparseLogisticRegression(
            alpha,
            weights=self.weights,
            l1_ratio=self.l1_ratio,
            fit_intercept=self.fit_intercept,
            max_iter=self.max_iter,
            tol=self.tol,
        )
