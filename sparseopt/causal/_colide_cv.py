"""CoLiDE with its strength chosen by the likelihood of data that were left out."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import _raise_for_params

from sparseopt._core import fitting, run_parallel
from sparseopt._core._cross_validation import (
    check_alphas,
    route_to_splitter,
    select_strength,
    split_folds,
)
from sparseopt.causal._colide import CoLiDE
from sparseopt.causal._colide_path import (
    FIXED,
    as_seed,
    default_grid,
    fit_moments,
    quiet_copy,
    warn_of_unfinished,
)
from sparseopt.causal._linear_sem import Moments, residual_variances
from sparseopt.causal._path import DEFAULT_MU, DEFAULT_S


class CoLiDECV(CoLiDE):
    r"""CoLiDE with the strength of the penalty chosen by cross-validation.

    For each strength and fold, the graph is learnt from the training part, its weights and
    noise variances are estimated again by least squares, and the Gaussian log-likelihood of
    the left-out part is computed. The likelihood cannot tell graphs of one Markov equivalence
    class apart: it judges how many edges the data support rather than their directions.

    Parameters
    ----------
    variance : {"equal", "non_equal"}, default="equal"
        Whether all noise terms share one variance (CoLiDE-EV) or each has its own (CoLiDE-NV).
    alphas : int or array-like of shape (n_alphas,), default=10
        Grid of strengths, in the units of ``X`` (divided as ``rescale`` says), or the length of
        a geometric grid that starts at the smallest strength whose solution has no edges, but
        for required ones.
    eps : float, optional
        Smallest over largest strength of the automatic grid, as in :func:`colide_path`.
    threshold : float, default=0.3
        Weights of this absolute value or less are deleted; then, as long as there is a cycle,
        the weakest of the others.
    solver : {"prox", "adam"}, default="prox"
        As in :class:`CoLiDE`. With "adam", a grid times the folds takes minutes from some 50
        variables on.
    mu : sequence of float, default=(1.0, 0.1, 0.01, 0.001)
        The path, decreasing and > 0.
    s : sequence of float, default=(1.0, 0.9, 0.8, 0.7)
        The domain of the log-determinant, one value > 0 for each of ``mu``.
    warm_iter : int, optional
        Largest number of iterations of each stage but the last; by default 20000 steps of
        Adam, or 500 proximal iterations.
    max_iter : int, optional
        The same of the last stage; by default 70000 or 5000.
    tol : float, optional
        A stage of Adam ends when the objective changes by at most this, relatively, over
        ``check_every`` steps; 1e-6 by default. The proximal method ends when no condition of
        stationarity is violated by more than this part of the penalty's slope; 1e-2 by default.
    learning_rate : float, default=3e-4
        Step size of Adam.
    betas : tuple of two floats, default=(0.99, 0.999)
        Decay rates of Adam's moments.
    check_every : int, default=1000
        Steps of Adam between two tests of convergence.
    free_diagonal : bool, default=True
        Whether Adam leaves the diagonal of W free on its way, as the published code does.
    scale_floor : float, default=1e-2
        Smallest :math:`\sigma_j`, relative to the standard deviation of the column; for equal
        variances, to the smallest one. It keeps residuals from collapsing if there are
        few samples.
    rescale : {"min_std"}, optional
        Divide all of ``X`` by its smallest standard deviation of a column first. The fit is then
        the same in all units. (Columns are never scaled one by one: see
        :class:`StandardizedDataWarning`.)
    forbidden_edges : list of pairs or array-like of shape (n_features, n_features), optional
        Pairs (cause, effect), by names or indices, that are not in the graph; or a matrix of
        0 and 1.
    required_edges : list of pairs or array-like of shape (n_features, n_features), optional
        Pairs that are in the graph: they are not penalised and never deleted.
    tiers : list of lists, optional
        Groups of variables; no edge leads to a variable of an earlier group. Variables that
        are in no group are not restricted, and may lie on paths to an earlier group.
    n_init : int, default=1
        Number of starts, of which the best result is kept: zero; the order that takes next
        the variable of least conditional variance; then that order in bootstrapped data.
        "prox" with equal variances begins with the second, which is consistent then and a
        DAG already, so that only the last stage of the path is run from it.
    selection : {"objective", "bic"}, default="objective"
        What the best start is judged by: the objective, or the Bayesian information criterion
        of the DAG.
    refine : {"order"}, optional
        Polish the graph by moving variables to better places in its order, with the parents
        that the Bayesian information criterion chooses. The weights are least-squares weights
        then.
    refit : {"ols"}, optional
        Compute the weights of the final model by least squares, without the penalty's bias. The
        models that are compared always have least-squares weights.
    random_state : int, RandomState instance or None, default=None
        Seed of the bootstrapped starts, the same for all fits.
    cv : int, cross-validation generator or iterable, default=None
        Splitting; None means 5 folds.
    selection_rule : {"min", "1se"}, default="min"
        Take the strength with the smallest mean loss, or the largest strength whose mean
        loss is within one standard error of it.
    n_jobs : int, optional
        Number of fits computed at once.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    alphas_ : ndarray of shape (n_alphas,)
        The grid, in decreasing order.
    loss_path_ : ndarray of shape (n_alphas, n_folds)
        Mean negative log-likelihood of the left-out folds; infinite where a fold has no
        residuals.
    adjacency_ : ndarray of shape (n_features, n_features)
        Weights of the DAG; row = cause, column = effect.
    weights_raw_ : ndarray of shape (n_features, n_features)
        Weights before the cut.
    noise_variances_ : ndarray of shape (n_features,)
        Variances of the noise; all the same one for equal variances. Residual variances
        of the DAG after ``refine`` or ``refit``. Always float64.
    noise_scale_ : ndarray of shape (n_features,)
        The standard deviations :math:`\sigma` that were estimated along with the weights.
    mean_ : ndarray of shape (n_features,)
        Means of the columns.
    causal_order_ : ndarray of shape (n_features,)
        Indices of the variables, causes before effects.
    parents_ : list of ndarray
        Indices of the causes of each variable.
    total_effects_ : ndarray of shape (n_features, n_features)
        Sums over all directed paths, :math:`(I - W)^{-1} - I`.
    edges_ : list of tuples
        (cause, effect, weight), by names if ``X`` had names, the strongest first.
    objective_ : float
        Objective of the last stage, in the rescaled units if there are any.
    h_ : float
        Acyclicity of ``weights_raw_``, 0 for a DAG.
    kkt_ : float
        Largest violation of stationarity of ``weights_raw_``, relative to the penalty's slope.
        This is the certificate of "prox"; Adam keeps moving by about its step size.
    converged_ : bool
        Whether the last stage met ``tol``.
    n_iter_ : int
        Number of iterations of the kept run.
    n_iter_per_stage_ : ndarray of int
        The same of each stage.
    n_retries_ : int
        How often a stage left the domain and was started again.
    history_ : dict
        Arrays ``iteration``, ``time`` (seconds), ``objective``, ``certificate`` and ``stage``.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    Raises
    ------
    ValueError
        From ``fit``, before any work, as :class:`CoLiDE` raises it, and for folds whose
        training part has constant columns or whose parts have no weight.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Once, with the number of fits in the folds that stop short of ``tol``; and if the
        final one does.
    StandardizedDataWarning
        If all columns have the same standard deviation.

    See Also
    --------
    CoLiDE : For a given strength.
    colide_path : The fits for all strengths.
    edge_stability : How often edges are found in bootstrapped data.

    Notes
    -----
    Weights up to ``threshold`` are cut in every fit. With the default, the choice is of the
    strength that finds the strong edges best; a lower threshold leaves more to the likelihood.
    Prediction is not recovery: where the graph cannot be identified, as with Gaussian noise of
    unequal variances, the strength that predicts best may keep many more false edges than a
    larger one, and ``selection_rule="1se"`` is a remedy only where folds differ much.

    References
    ----------
    Saboksayr, Mateos, Tepper (2024). CoLiDE: Concomitant linear DAG estimation. ICLR.

    Examples
    --------
    >>> from sparseopt.causal import CoLiDECV, shd
    >>> from sparseopt.datasets import make_linear_sem
    >>> data = make_linear_sem(n_features=8, n_samples=500, random_state=1)
    >>> model = CoLiDECV(alphas=5, cv=3).fit(data.X)
    >>> model.loss_path_.shape
    (5, 3)
    >>> shd(data.adjacency, model.adjacency_)
    0
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in CoLiDE._parameter_constraints.items()
            if name not in FIXED
        },
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "eps": [Interval(Real, 0, 1, closed="neither"), None],
        "cv": ["cv_object"],
        "selection_rule": [StrOptions({"min", "1se"})],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        variance="equal",
        *,
        alphas=10,
        eps=None,
        threshold=0.3,
        solver="prox",
        mu=DEFAULT_MU,
        s=DEFAULT_S,
        warm_iter=None,
        max_iter=None,
        tol=None,
        learning_rate=3e-4,
        betas=(0.99, 0.999),
        check_every=1000,
        free_diagonal=True,
        scale_floor=1e-2,
        rescale=None,
        forbidden_edges=None,
        required_edges=None,
        tiers=None,
        n_init=1,
        selection="objective",
        refine=None,
        refit=None,
        random_state=None,
        cv=None,
        selection_rule="min",
        n_jobs=None,
    ):
        self.variance = variance
        self.alphas = alphas
        self.eps = eps
        self.threshold = threshold
        self.solver = solver
        self.mu = mu
        self.s = s
        self.warm_iter = warm_iter
        self.max_iter = max_iter
        self.tol = tol
        self.learning_rate = learning_rate
        self.betas = betas
        self.check_every = check_every
        self.free_diagonal = free_diagonal
        self.scale_floor = scale_floor
        self.rescale = rescale
        self.forbidden_edges = forbidden_edges
        self.required_edges = required_edges
        self.tiers = tiers
        self.n_init = n_init
        self.selection = selection
        self.refine = refine
        self.refit = refit
        self.random_state = random_state
        self.cv = cv
        self.selection_rule = selection_rule
        self.n_jobs = n_jobs

    @fitting
    def fit(self, X, y=None, sample_weight=None, **params):
        """Choose the strength by cross-validation, and learn the graph with it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, in fits and likelihoods; integer weights equal repeated
            rows.
        **params : dict
            Passed to the splitter, if metadata routing is enabled.

        Returns
        -------
        self : CoLiDECV
            The fitted estimator.
        """
        _raise_for_params(params, self, "fit")
        X, sample_weight = self._validate_samples(X, sample_weight)
        folds = [
            _Fold.of(X, sample_weight, train, test, number, self._names())
            for number, (train, test) in enumerate(split_folds(self, X, y, sample_weight, params))
        ]
        moments = Moments.of(X, sample_weight)
        moments.check(self._names())
        model = self._final_estimator()
        self.alphas_ = self._grid(model, moments)
        n_fits = len(self.alphas_) * len(folds)
        root = self._init_callback_context(max_subtasks=n_fits + 1, sequential_subtasks=False)
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self.loss_path_ = self._losses(model, folds, root)
        self.alpha_ = float(self.alphas_[select_strength(self.loss_path_, self.selection_rule)])
        refit = root.subcontext(task_name="refit", task_id=n_fits)
        refit.call_on_fit_task_begin(estimator=self, X=X, y=y)
        model = model.set_params(alpha=self.alpha_)
        model._quiet = self._quiet
        with refit.propagate_callback_context(model):
            model._learn(moments, X, sample_weight)
        refit.call_on_fit_task_end(estimator=self, X=X, y=y)
        self._adopt(model)
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return self

    @property
    def fit_from_covariance(self):
        """Not there: cross-validation needs the samples."""
        raise AttributeError("CoLiDECV has no fit_from_covariance: it needs the samples.")

    def _names(self):
        return getattr(self, "feature_names_in_", None)

    def _final_estimator(self):
        """Return the estimator of one fit, with everything but the strength."""
        own = self.get_params(deep=False)
        shared = {name: own[name] for name in CoLiDE().get_params() if name not in FIXED}
        model = CoLiDE(**shared)
        model.random_state = as_seed(self.random_state)
        model.n_features_in_ = self.n_features_in_
        if self._names() is not None:
            model.feature_names_in_ = self.feature_names_in_
        return model

    def _grid(self, model, moments):
        if isinstance(self.alphas, Integral):
            return default_grid(model, moments, self.alphas, self.eps)
        return check_alphas(self.alphas)

    def _losses(self, model, folds, root):
        """Return the losses (n_alphas, n_folds) on the left-out folds."""
        watched = self if getattr(self, "_skl_callbacks", []) else None
        tasks = [
            (
                quiet_copy(model, alpha, refit="ols"),
                fold,
                watched,
                root.subcontext(
                    task_name=f"alpha {k}, fold {number}", task_id=k * len(folds) + number
                ),
            )
            for k, alpha in enumerate(self.alphas_)
            for number, fold in enumerate(folds)
        ]
        losses, converged = zip(
            *run_parallel(_loss_on_fold, tasks, n_jobs=self.n_jobs), strict=True
        )
        if not self._quiet:
            warn_of_unfinished(converged.count(False), len(tasks), "in the folds")
        return np.reshape(losses, (len(self.alphas_), len(folds)))

    def _adopt(self, model):
        """Take over the fitted attributes of the final model."""
        vars(self).pop("_intervened", None)
        for name, value in vars(model).items():
            if name.endswith("_") or name == "_one_variance":
                setattr(self, name, value)

    def get_metadata_routing(self):
        """Return the metadata routing of this estimator.

        Returns
        -------
        routing : MetadataRouter
            Routes ``sample_weight`` to ``fit`` and splitter parameters to ``cv``.
        """
        return route_to_splitter(self)


class _Fold(NamedTuple):
    """What a fold comes down to."""

    train: Moments
    test: np.ndarray  # second moments (d, d) of the left-out part, about the means of the other

    @classmethod
    def of(cls, X, sample_weight, train, test, number, names):
        parts = []
        for rows in (train, test):
            weights = None if sample_weight is None else sample_weight[rows]
            if len(X[rows]) == 0 or not (weights is None or weights.sum() > 0):
                raise ValueError(
                    f"Both parts of fold {number} need samples, with sample_weight > 0."
                )
            parts.append(Moments.of(X[rows], weights))
        seen, unseen = parts
        try:
            seen.check(names)
        except ValueError as error:
            raise ValueError(f"In the training part of fold {number}: {error}") from None
        shift = unseen.mean - seen.mean
        return cls(seen, unseen.covariance + np.outer(shift, shift))


def _loss_on_fold(model, fold, watched, context):
    """Return the negative log-likelihood of the left-out part, and whether the fit converged."""
    if watched is not None:
        context.call_on_fit_task_begin(estimator=watched)
    model = fit_moments(model, fold.train, np.float64)
    variances = model.noise_variances_
    loss = np.inf
    if np.all(variances > 0):
        squares = residual_variances(fold.test, model.adjacency_)
        loss = 0.5 * float(np.sum(np.log(2 * np.pi * variances) + squares / variances))
    if watched is not None:
        context.call_on_fit_task_end(estimator=watched)
    return loss, model.converged_
