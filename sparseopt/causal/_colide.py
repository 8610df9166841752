"""The estimator of CoLiDE: data in, path of problems, cut to a DAG, polish, model out."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _get_feature_names

from sparseopt._core import FitReporter, check_at_least_one, fitting
from sparseopt.causal._colide_adam import solve_adam
from sparseopt.causal._colide_prox import solve_prox
from sparseopt.causal._graphs import order_edges, threshold_to_dag
from sparseopt.causal._knowledge import EdgeKnowledge
from sparseopt.causal._linear_sem import LinearSEMMixin, Moments, residual_variances
from sparseopt.causal._order_search import check_covariance, regress_on_parents, search_order
from sparseopt.causal._path import DEFAULT_MU, DEFAULT_S, as_floats, check_path
from sparseopt.causal._problem import CoLiDEProblem
from sparseopt.causal._starts import Start, starting_points

EFFORT = {  # solver: (warm_iter, max_iter, tol)
    "adam": (20_000, 70_000, 1e-6),
    "prox": (500, 5_000, 1e-2),
}


class CoLiDE(CallbackSupportMixin, LinearSEMMixin, BaseEstimator):
    r"""Linear DAG and noise levels, learnt jointly from observations.

    Looks for the linear structural equation model :math:`x_j = \sum_i w_{ij} x_i + z_j` by
    minimising, along a path of decreasing :math:`\mu`,

    .. math::

        \mu \Big[ \tfrac12 \sum_j \Big( \frac{q_j(W)}{\sigma_j} + \sigma_j \Big)
        + \alpha \|W\|_1 \Big] + d \log s - \log\det(s I - W \circ W)

    over the weights :math:`W` and the noise's standard deviations :math:`\sigma`, where
    :math:`q_j` is the residual variance of variable :math:`j`. The last terms vanish exactly for
    acyclic graphs. The result is cut to a DAG, and can be polished by a search over orders.

    ``adjacency_[i, j]`` is the effect of variable i on variable j.

    Parameters
    ----------
    variance : {"equal", "non_equal"}, default="equal"
        Whether all noise terms share one variance (CoLiDE-EV) or each has its own (CoLiDE-NV).
    alpha : float, default=0.05
        Penalty strength :math:`\alpha \ge 0`, in the units of ``X`` or, if it is rescaled, of
        its smallest standard deviation.
    threshold : float, default=0.3
        Weights of this absolute value or less are deleted; then, as long as there is a cycle,
        the weakest of the others.
    solver : {"prox", "adam"}, default="prox"
        "adam" is the published algorithm, whose iterates are reproduced to rounding. "prox" is a
        proximal trust-region method, which ends at a certified stationary point of the same
        problem, several times sooner; on the published simulations its graphs are no worse.
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
        few samples or some columns determine others.
    rescale : {"min_std"}, optional
        Divide all of ``X`` by its smallest standard deviation of a column first. The fit is then
        the same in all units. (Columns are never scaled one by one: see
        :class:`StandardizedDataWarning`.)
    forbidden_edges : list of pairs or array-like of shape (n_features, n_features), optional
        Pairs (cause, effect), by names or indices, that are not in the graph; or a matrix of
        0 and 1, row = cause. The rows and columns of a DataFrame are matched to those of ``X``
        by name. (For two features only a boolean matrix is taken for one.)
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
        that the extended Bayesian information criterion chooses (each edge costs
        :math:`\tfrac12 \log n + \log d`). The weights are least-squares weights then, and
        no threshold is applied to them.
    refit : {"ols"}, optional
        Compute the weights of the edges by least squares, without the penalty's bias.
    warm_start : bool, default=False
        Whether to start from the last fit; only the last stage is run then.
    random_state : int, RandomState instance or None, default=None
        Seed of the bootstrapped starts.

    Attributes
    ----------
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
        From ``fit``, before any work, for invalid parameters or data, constant columns,
        unknown variables, and prior knowledge that contradicts itself.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the last stage stops short of ``tol``.
    StandardizedDataWarning
        If all columns have the same standard deviation.

    See Also
    --------
    CoLiDECV : Strength chosen by cross-validation.
    SortRegress : The baseline to beat.
    edge_stability : How often edges are found in bootstrapped data.

    Notes
    -----
    With equal noise variances the graph can be learnt from observations. With unequal ones
    and Gaussian noise only its Markov equivalence class can; compare graphs by
    :func:`shd_cpdag` then. All of it supposes that there are no hidden common causes.

    Fits to data that agree but for rounding errors, such as repeated rows and integer weights,
    agree to the tolerance only, by "adam" to about its step size (and on hard problems not even
    to that: rounding can decide between minima). This is more than scikit-learn's check of
    sample weights allows for.

    References
    ----------
    Saboksayr, Mateos, Tepper (2024). CoLiDE: Concomitant linear DAG estimation. ICLR.

    Chen, Drton, Wang (2019). On causal discovery with an equal variance assumption.
    Biometrika 106, 973-980.

    Examples
    --------
    >>> from sparseopt.causal import CoLiDE, shd
    >>> from sparseopt.datasets import make_linear_sem
    >>> data = make_linear_sem(n_features=8, n_samples=500, random_state=1)
    >>> model = CoLiDE().fit(data.X)
    >>> shd(data.adjacency, model.adjacency_)
    0
    """

    _parameter_constraints: dict = {
        "variance": [StrOptions({"equal", "non_equal"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "threshold": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"adam", "prox"})],
        "mu": ["array-like"],
        "s": ["array-like"],
        "warm_iter": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "betas": ["array-like"],
        "check_every": [Interval(Integral, 1, None, closed="left")],
        "free_diagonal": ["boolean"],
        "scale_floor": [Interval(Real, 0, 1, closed="left")],
        "rescale": [StrOptions({"min_std"}), None],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "selection": [StrOptions({"objective", "bic"})],
        "refine": [StrOptions({"order"}), None],
        "refit": [StrOptions({"ols"}), None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    _quiet = False  # set on the fits of many data sets, whose warnings are counted instead

    def __init__(
        self,
        variance="equal",
        *,
        alpha=0.05,
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
        warm_start=False,
        random_state=None,
    ):
        self.variance = variance
        self.alpha = alpha
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
        self.warm_start = warm_start
        self.random_state = random_state

    @fitting
    def fit(self, X, y=None, sample_weight=None):
        """Learn the graph from samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; they are centred, not scaled, and never changed.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples; integer weights equal repeated rows. ``refine``,
            ``selection="bic"`` and bootstrapped starts take their sum for the number of samples.

        Returns
        -------
        self : CoLiDE
            The fitted estimator.
        """
        X, sample_weight = self._validate_samples(X, sample_weight)
        moments = Moments.of(X, sample_weight)
        return self._learn(moments, X, sample_weight)

    @fitting
    def fit_from_covariance(self, covariance, n_samples, feature_names=None):
        """Learn the graph from a covariance matrix.

        Parameters
        ----------
        covariance : array-like of shape (n_features, n_features)
            Covariance of the variables, with divisor ``n_samples``.
        n_samples : int
            Number of samples that it was computed from; ``refine``, ``selection="bic"`` and
            bootstrapped starts use it.
        feature_names : list of str, optional
            Names of the variables; by default those of the columns of a DataFrame.

        Returns
        -------
        self : CoLiDE
            The fitted estimator; ``mean_`` is zero.
        """
        if feature_names is None:
            feature_names = _get_feature_names(covariance)
        covariance = check_covariance(covariance, "covariance")
        d = len(covariance)
        if d < 2:
            raise ValueError(f"covariance must be of 2 variables or more, got {d}.")
        self.n_features_in_ = d
        vars(self).pop("feature_names_in_", None)
        if feature_names is not None:
            names = np.asarray(feature_names, dtype=object)
            if names.shape != (d,) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"feature_names must be {d} strings, got {feature_names!r}.")
            if len(set(names)) < d:
                raise ValueError(f"feature_names must differ, got {feature_names!r}.")
            self.feature_names_in_ = names
        n_samples = check_at_least_one(n_samples, "n_samples")
        return self._learn(Moments(np.zeros(d), covariance, n_samples), covariance)

    def _learn(self, moments, X, sample_weight=None):
        names = getattr(self, "feature_names_in_", None)
        moments.check(names)
        mu, s, betas = self._check_sequences()
        knowledge = EdgeKnowledge(
            self.n_features_in_,
            names,
            forbidden=self.forbidden_edges,
            required=self.required_edges,
            tiers=self.tiers,
        )
        if not self._quiet:
            moments.warn_if_standardised(stacklevel=4)
        scales = np.sqrt(np.diagonal(moments.covariance))
        unit = scales.min() if self.rescale == "min_std" else 1.0
        problem = CoLiDEProblem(
            moments.covariance / unit**2,
            self.variance == "equal",
            self.alpha,
            allowed=knowledge.allowed,
            required=knowledge.required,
            scale_floor=self.scale_floor,
        )
        result = self._best_of_starts(problem, mu, s, betas, moments, knowledge, (X, sample_weight))
        self._store_run(problem, result, mu[-1], unit, X.dtype)
        dag = threshold_to_dag(result.x, self.threshold, required=knowledge.required)
        self._set_polished_model(dag, moments, knowledge, X.dtype)
        return self

    def _check_sequences(self):
        """Return the path and Adam's decay rates as tuples of floats."""
        mu, s = check_path(self.mu, self.s)
        betas = as_floats(self.betas, "betas")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from [0, 1), got {self.betas!r}.")
        return mu, s, betas

    def _starts(self, problem, mu, s, moments, knowledge):
        """Return what to start from, and the number of starts."""
        if self.warm_start and hasattr(self, "weights_raw_"):
            previous = np.asarray(self.weights_raw_, dtype=np.float64)
            if previous.shape != problem.C.shape:
                raise ValueError(
                    f"warm_start=True: the last fit had {len(previous)} features, X has "
                    f"{problem.order}."
                )
            return [Start(np.where(knowledge.allowed, previous, 0.0), mu[-1:], s[-1:])], 1
        starts = starting_points(
            problem,
            self.n_init,
            mu=mu,
            s=s,
            required=knowledge.required,
            n_samples=moments.n_samples,
            random_state=self.random_state,
            order_first=self.solver == "prox"
            and problem.equal_variance
            and moments.n_samples > 2 * problem.order,  # else least squares runs wild
        )
        return starts, self.n_init

    def _best_of_starts(self, problem, mu, s, betas, moments, knowledge, data):
        """Return the result of the best start."""
        starts, n_starts = self._starts(problem, mu, s, moments, knowledge)
        best, best_value = None, np.inf
        X, sample_weight = data
        with FitReporter(self, X, None, sample_weight=sample_weight, n_tasks=n_starts) as reporter:
            for number, start in enumerate(starts):
                with reporter.task(f"start {number}") as callback:
                    result = self._solve(problem, start, betas, callback)
                value = result.fun
                if self.selection == "bic":
                    value = self._information_criterion(result.x, moments, knowledge)
                if best is None or value < best_value:
                    best, best_value = result, value
        return best

    def _solve(self, problem, start, betas, callback):
        defaults = EFFORT[self.solver]
        warm_iter, max_iter, tol = (
            default if given is None else given
            for given, default in zip((self.warm_iter, self.max_iter, self.tol), defaults)
        )
        effort = {"warm_iter": warm_iter, "max_iter": max_iter, "tol": tol, "callback": callback}
        effort["warn"] = not self._quiet
        path = {"mu": start.mu, "s": start.s}
        if self.solver == "prox":
            return solve_prox(problem, start.W, **path, **effort)
        diagonal = np.eye(problem.order, dtype=bool)
        if self.free_diagonal:
            problem.allowed[diagonal] = True
        try:
            return solve_adam(
                problem,
                start.W,
                learning_rate=self.learning_rate,
                betas=betas,
                check_every=self.check_every,
                **path,
                **effort,
            )
        finally:
            problem.allowed[diagonal] = False

    def _information_criterion(self, W, moments, knowledge):
        """Return the BIC of the graph that W is cut to, up to constants."""
        dag = threshold_to_dag(W, self.threshold, required=knowledge.required)
        edges = (dag != 0) | knowledge.required
        C = moments.covariance
        variances = residual_variances(C, regress_on_parents(C, edges.T))
        if self.variance == "equal":
            variances = np.full_like(variances, variances.mean())
        n_samples = moments.n_samples
        tiny = np.finfo(float).tiny
        deviance = n_samples * np.sum(np.log(np.maximum(variances, tiny)))
        return deviance + np.log(n_samples) * np.count_nonzero(edges)

    def _store_run(self, problem, result, mu, unit, dtype):
        point = problem.point(result.x, result.s)
        self.weights_raw_ = result.x.astype(dtype)
        self.noise_scale_ = (result.scales * unit).astype(dtype)
        self.objective_ = float(result.fun)
        self.h_ = float(result.h)
        self.kkt_ = problem.kkt_residual(point, mu, result.s)
        self.converged_ = bool(result.success)
        self.n_iter_ = int(result.nit)
        self.n_iter_per_stage_ = result.nit_per_stage
        self.n_retries_ = int(result.n_retries)
        self.history_ = result.history

    def _set_polished_model(self, dag, moments, knowledge, dtype):
        """Store the DAG, polished as asked for."""
        C = moments.covariance
        edges = (dag != 0) | knowledge.required
        variances = self.noise_scale_.astype(np.float64) ** 2
        if self.refine == "order":
            found = search_order(
                C,
                max(round(moments.n_samples), 2),
                order_edges(edges),
                equal_variance=self.variance == "equal",
                penalty=0.5 * np.log(max(moments.n_samples, 2)) + np.log(len(C)),
                forbidden=~knowledge.allowed,
                required=knowledge.required,
                warn=not self._quiet,
            )
            dag, variances = found.adjacency, found.noise_variances
        elif self.refit == "ols":
            dag = regress_on_parents(C, edges.T)
            variances = residual_variances(C, dag)
            if self.variance == "equal":
                variances = np.full_like(variances, variances.mean())
        self._one_variance = self.variance == "equal"
        self._set_model(dag, moments.mean, variances, dtype=dtype)
