"""The baseline that a method for learning causal graphs has to beat."""

import warnings
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sparseopt._core import fitting
from sparseopt.causal._graphs import threshold_to_dag
from sparseopt.causal._linear_sem import (
    LinearSEMMixin,
    Moments,
    StandardizedDataWarning,
    residual_variances,
)
from sparseopt.causal._order_regression import regress_along_order
from sparseopt.causal._sortability import DEPENDENT, explained_shares, factor_correlations


class SortRegress(LinearSEMMixin, BaseEstimator):
    r"""Sort the variables by a marginal score, and regress each on those before it.

    A baseline without any idea of causality. Where the variances, or the shares of them that
    linear regressions explain, rise along the arrows, as they do in most simulations, it finds
    much of the graph [1]_, [2]_; what a method for learning causal graphs is worth shows in
    what it finds beyond that. See :func:`~sparseopt.causal.varsortability`.

    The regressions are adaptive lassos: least squares first, then the lasso on predictors
    multiplied by the absolute coefficients, at the strength of least BIC.

    Parameters
    ----------
    criterion : {"variance", "r2", "random"}, default="variance"
        Score by which the variables are sorted, smallest first: the variance, the share of the
        variance that a regression on all others explains, or a random rank. Columns with
        equal scores keep their order. Standardised columns have equal variances but for
        rounding: sorting by them warns of it.
    threshold : float, default=0.3
        Weights of this absolute value or less become zero.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the random ranks.

    Attributes
    ----------
    adjacency_ : ndarray of shape (n_features, n_features)
        Weights; ``adjacency_[i, j]`` is the effect of i on j.
    mean_ : ndarray of shape (n_features,)
        Means of the variables.
    noise_variances_ : ndarray of shape (n_features,)
        Variances that the weights leave unexplained, at least ``1e-12`` of the variables'.
    causal_order_ : ndarray of shape (n_features,)
        An order in which causes stand before effects.
    parents_ : list of ndarray
        Indices of each variable's causes.
    total_effects_ : ndarray of shape (n_features, n_features)
        Effects along all paths together, :math:`(I - W)^{-1} - I`.
    scores_ : ndarray of shape (n_features,)
        What the variables were sorted by.
    n_features_in_ : int
        Number of variables.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the variables, if the data had any.

    See Also
    --------
    varsortability : How well variances sort, given the true graph.
    r2_sortability : The same for explained shares.

    Notes
    -----
    The regressions do not depend on the units of the columns. Where those before a variable
    are too many for the samples, or linearly dependent, least squares has no answer: there the
    predictors are multiplied by their absolute correlations with the variable [3]_, BIC takes
    the logarithm of the residual sum of squares, and the path ends at half the rank of the
    data. With weights, BIC takes their sum for the number of samples.

    References
    ----------
    .. [1] A. G. Reisach, C. Seiler, S. Weichwald (2021). Beware of the Simulated DAG! Causal
       Discovery Benchmarks May Be Easy to Game. NeurIPS 34.
    .. [2] A. G. Reisach, M. Tami, C. Seiler, A. Chambaz, S. Weichwald (2023). A
       Scale-Invariant Sorting Criterion to Find a Causal Order in Additive Noise Models.
       NeurIPS 36.
    .. [3] J. Huang, S. Ma, C.-H. Zhang (2008). Adaptive Lasso for Sparse High-Dimensional
       Regression Models. Statistica Sinica 18.

    Examples
    --------
    >>> from sparseopt.causal import SortRegress, shd
    >>> from sparseopt.datasets import make_linear_sem
    >>> model = make_linear_sem(random_state=0)
    >>> shd(model.adjacency, SortRegress().fit(model.X).adjacency_)  # of 36 edges
    9
    >>> scaled = model.X / model.X.std(axis=0)
    >>> shd(model.adjacency, SortRegress("r2").fit(scaled).adjacency_)
    34
    """

    _parameter_constraints = {
        "criterion": [StrOptions({"variance", "r2", "random"})],
        "threshold": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, criterion="variance", *, threshold=0.3, random_state=None):
        self.criterion = criterion
        self.threshold = threshold
        self.random_state = random_state

    @fitting
    def fit(self, X, y=None, sample_weight=None):
        """Sort the variables and regress.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; more than features with ``criterion="r2"``.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; integers equal repetitions.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data are not finite or a column is constant. With ``criterion="r2"`` also if
            there are no more samples than features or a column is a linear combination of
            others.

        Warns
        -----
        UserWarning
            If a column is a linear combination of others although there are more samples than
            features.
        StandardizedDataWarning
            If all columns have the same standard deviation, with ``criterion="variance"``.
        """
        X, sample_weight = self._validate_samples(X, sample_weight)
        moments = Moments.of(X, sample_weight)
        moments.check(getattr(self, "feature_names_in_", None))
        C, n_samples = moments.covariance, moments.n_samples
        if self.criterion == "variance" and moments.look_standardised():
            warnings.warn(
                "All columns of X have the same standard deviation, as after standardising, so "
                "that their order by variances means nothing: fit to data in their own units, or "
                "sort by criterion='r2'.",
                StandardizedDataWarning,
                stacklevel=4,
            )
        self.scores_ = self._scores(C, n_samples)
        order = np.argsort(self.scores_, kind="stable")
        adjacency = threshold_to_dag(regress_along_order(C, n_samples, order), self.threshold)
        noise_variances = np.maximum(residual_variances(C, adjacency), DEPENDENT * np.diagonal(C))
        self._set_model(adjacency, moments.mean, noise_variances, dtype=X.dtype)
        return self

    def _scores(self, C, n_samples):
        if self.criterion == "variance":
            return np.diagonal(C).copy()
        if self.criterion == "r2":
            return explained_shares(factor_correlations(C, n_samples)[1])
        return check_random_state(self.random_state).permutation(len(C)).astype(np.float64)
