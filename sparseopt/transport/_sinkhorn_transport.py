r"""A transformer that moves samples onto a target sample by entropic optimal transport.

References: Courty, Flamary, Tuia, Rakotomamonjy (2017), Optimal transport for domain
adaptation, IEEE TPAMI 39(9), for the barycentric map; Pooladian, Niles-Weed (2021), Entropic
estimation of optimal transport maps, for new samples:

    T(x) = sum_j w_j(x) Y_j,  w_j(x) proportional to b_j exp((g_j - c(x, Y_j)) / reg).

At the training samples, where the rows of the plan are exact, this is the barycentric map.
"""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    validate_data,
)

from sparseopt._core import FitReporter, fitting
from sparseopt.transport._arguments import refuse_device_arrays
from sparseopt.transport._divergence import sinkhorn_divergence
from sparseopt.transport._problem import check_cost, check_reg
from sparseopt.transport._semidual import SemiDual
from sparseopt.transport._sinkhorn import SOLVERS, sinkhorn

BLOCK_ENTRIES = 2**20
SCORE_REG = 0.05  # of the largest cost between targets
FLOATS = [np.float64, np.float32]


class SinkhornTransport(
    CallbackSupportMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    r"""Move samples onto a target sample by entropic optimal transport.

    ``fit`` finds the entropic plan between source and target; ``transform`` maps a sample to
    the mean of the targets that the plan sends it to. Without a target, the source is
    transported to itself, which smooths it.

    Parameters
    ----------
    reg : float, default=0.05
        Strength of the regularisation, > 0, in units of ``reg_scale``.
    metric : str or callable, default="sqeuclidean"
        Cost between samples, as in :func:`sinkhorn`.
    reg_scale : {"max", "mean", "median"} or None, default="max"
        Statistic of the costs that ``reg`` is multiplied by. Only samples with positive
        weight count; "mean" and "median" count each of them once.
    solver : {"auto", "sns", "sinkhorn", "sinkhorn_log"}, default="auto"
        Solver of :func:`sinkhorn`.
    tol : float, default=1e-9
        Largest marginal error of the plan.
    max_iter : int, default=1000
        Largest number of sweeps and Newton steps together.
    out_of_sample : {"entropic", "nearest"}, default="entropic"
        How samples are mapped: by the entropic map, or moved as the nearest training
        sample is, which keeps details that the entropic map smooths out.
    X_target : array-like of shape (n_targets, n_features), optional
        Target samples, for use in pipelines and searches; those given to ``fit`` take
        precedence.
    copy : bool, default=True
        Whether ``X_source_`` and ``X_target_`` are copies, rather than the given arrays.
    n_jobs : int, optional
        Threads for passes over more than four million pairs. Results do not depend on it.

    Attributes
    ----------
    f_ : ndarray of shape (n_samples,)
        Potential of the source, in the units of the cost.
    g_ : ndarray of shape (n_targets,)
        Potential of the target.
    coupling_ : ndarray of shape (n_samples, n_targets)
        The plan; computed at each access.
    value_ : float
        Entropic transport cost, the ``value`` of :class:`OTResult`.
    cost_scale_ : float
        The statistic that multiplied ``reg``; 1 without ``reg_scale``, or where all costs
        vanish.
    n_iter_ : int
        Number of sweeps and Newton steps.
    converged_ : bool
        Whether the marginal error reached ``tol``.
    X_source_ : ndarray of shape (n_samples, n_features)
        Training samples.
    X_target_ : ndarray of shape (n_targets, n_features)
        Target samples.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    Raises
    ------
    ValueError
        From ``fit``, for invalid parameters, weights or data.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the marginal error does not reach ``tol``.

    See Also
    --------
    sinkhorn : The solver.
    OTKernel : A kernel between histograms.

    Notes
    -----
    ``fit`` routes the metadata ``X_target``, ``sample_weight`` and ``target_weight``; see
    ``set_fit_request``.

    References
    ----------
    Courty, Flamary, Tuia, Rakotomamonjy (2017). Optimal transport for domain adaptation. IEEE
    TPAMI 39(9).

    Pooladian, Niles-Weed (2021). Entropic estimation of optimal transport maps.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.transport import SinkhornTransport
    >>> X = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    >>> model = SinkhornTransport(reg=0.001, X_target=X + [10.0, 0.0]).fit(X)
    >>> model.transform(X).round(2)
    array([[10.,  0.],
           [11.,  1.],
           [12.,  0.]])
    """

    _parameter_constraints: dict = {
        "reg": [Interval(Real, 0, None, closed="neither")],
        "metric": [str, callable],
        "reg_scale": [StrOptions({"max", "mean", "median"}), None],
        "solver": [StrOptions(set(SOLVERS))],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "out_of_sample": [StrOptions({"entropic", "nearest"})],
        "X_target": ["array-like", None],
        "copy": ["boolean"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        reg=0.05,
        *,
        metric="sqeuclidean",
        reg_scale="max",
        solver="auto",
        tol=1e-9,
        max_iter=1000,
        out_of_sample="entropic",
        X_target=None,
        copy=True,
        n_jobs=None,
    ):
        self.reg = reg
        self.metric = metric
        self.reg_scale = reg_scale
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.out_of_sample = out_of_sample
        self.X_target = X_target
        self.copy = copy
        self.n_jobs = n_jobs

    @fitting
    def fit(self, X, y=None, *, X_target=None, sample_weight=None, target_weight=None):
        """Find the plan between the samples and the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Source samples.
        y : object, default=None
            Ignored.
        X_target : array-like of shape (n_targets, n_features), optional
            Target samples; by default those of the constructor, else ``X`` itself.
        sample_weight : array-like of shape (n_samples,), optional
            Masses of the source samples, >= 0; they are divided by their sum.
        target_weight : array-like of shape (n_targets,), optional
            Masses of the target samples.

        Returns
        -------
        self : SinkhornTransport
            The fitted transformer.
        """
        target = self.X_target if X_target is None else X_target
        refuse_device_arrays(
            X=X, X_target=target, sample_weight=sample_weight, target_weight=target_weight
        )
        X = validate_data(self, X, dtype=FLOATS, copy=self.copy)
        a = _normalized(sample_weight, X, "sample_weight")
        if target is None:
            target, b = X, a if target_weight is None else None
        else:
            target, b = self._check_target(target), None
        if b is None:
            b = _normalized(target_weight, target, "target_weight")
        present = check_cost(None, X[a > 0], target[b > 0], self.metric)
        self.cost_scale_ = self._scale(present)
        with (
            FitReporter(self, X, y, sample_weight=sample_weight, max_iter=self.max_iter) as report,
            report.task("fit") as callback,
        ):
            self._result = sinkhorn(
                a,
                b,
                X=X,
                Y=target,
                metric=self.metric,
                reg=self.reg * self.cost_scale_,
                solver=self.solver,
                tol=self.tol,
                max_iter=self.max_iter,
                callback=callback,
                n_jobs=self.n_jobs,
                dtype=X.dtype,
            )
            f, g = self._result._potentials
            if target is X and b is a:
                # Between groups of samples that are far apart, f - g is left to rounding errors.
                f = g = (f + g) / 2
            self._potentials = f, g
            self.f_, self.g_ = (potential.astype(X.dtype) for potential in (f, g))
            self.value_ = self._result.value
            self.n_iter_ = self._result.n_iter
            self.converged_ = self._result.converged
            self.X_source_, self.X_target_ = X, target
        return self

    @property
    def coupling_(self):
        """The plan, as an array of shape (n_samples, n_targets)."""
        check_is_fitted(self)
        return self._result.plan()

    def transform(self, X):
        """Map samples of the source domain to the target domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        images : ndarray of shape (n_samples, n_features)
            Where they are sent; float32 if ``X`` is, float64 otherwise.
        """
        check_is_fitted(self)
        refuse_device_arrays(X=X)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        result = self._result
        source, target = (self.X_source_, result.a), (self.X_target_, result.b)
        return self._map(X, source, target, self._potentials[1])

    def inverse_transform(self, X):
        """Map samples of the target domain to the source domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples of the target domain.

        Returns
        -------
        images : ndarray of shape (n_samples, n_features)
            Where the plan sends them if its direction is reversed.
        """
        check_is_fitted(self)
        refuse_device_arrays(X=X)
        X = check_array(X, dtype=FLOATS, input_name="X")
        self._check_n_target_features(X, "X")
        result = self._result
        source, target = (self.X_source_, result.a), (self.X_target_, result.b)
        return self._map(X, target, source, self._potentials[0])

    def score(self, X, y=None):
        """Return minus the Sinkhorn divergence between the images of samples and the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples of the source domain.
        y : object, default=None
            Ignored.

        Returns
        -------
        score : float
            At most zero; the higher the better. The divergence has a regularisation of its
            own, 0.05 of the largest cost between targets, so that scores with different
            ``reg`` can be compared.
        """
        images = self.transform(X)
        weighted = self._result.b > 0
        scale = check_cost(None, self.X_target_[weighted], None, self.metric).statistics[1]
        return -sinkhorn_divergence(
            images,
            self.X_target_,
            b=self._result.b,
            metric=self.metric,
            reg=SCORE_REG * (scale if scale > 0 else 1.0),
            n_jobs=self.n_jobs,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _scale(self, cost):
        if self.reg_scale is None or not cost.statistics[1] > 0:
            return 1.0
        return check_reg(1.0, self.reg_scale, cost)

    def _check_target(self, target):
        target = check_array(target, dtype=FLOATS, copy=self.copy, input_name="X_target")
        self._check_n_target_features(target, "X_target")
        return target

    def _check_n_target_features(self, X, name):
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"{name} has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )

    def _map(self, X, near, far, potential):
        if self.out_of_sample == "entropic":
            return self._entropic_map(X, far, potential).astype(X.dtype, copy=False)
        anchors = near[0][near[1] > 0]
        images = np.empty(X.shape)
        for block in _blocks(len(X), len(anchors)):
            distance = check_cost(None, X[block], anchors, self.metric).dense()
            nearest = np.argmin(distance, axis=1)
            self._check_reached(np.take_along_axis(distance, nearest[:, None], axis=1))
            used, place = np.unique(nearest, return_inverse=True)
            moves = self._entropic_map(anchors[used], far, potential) - anchors[used]
            images[block] = X[block] + moves[place]
        return images.astype(X.dtype, copy=False)

    def _check_reached(self, values):
        """Raise ValueError unless there is a finite number for each sample."""
        if not np.isfinite(values).all():
            raise ValueError(
                f"X has samples so far away that costs by metric={self.metric!r} overflow."
            )

    def _entropic_map(self, X, far, potential):
        points, mass = far
        present = mass > 0
        points, mass, eps = points[present], mass[present], self._result.reg
        y = potential[present] + eps * np.log(mass)
        images = np.empty(X.shape)
        for block in _blocks(len(X), len(points)):
            cost = check_cost(None, X[block], points, self.metric)
            weights = np.empty(cost.shape)
            dual = SemiDual(cost, np.ones(cost.shape[0]), mass, eps)
            self._check_reached(dual.evaluate(y, weights).x)
            images[block] = weights @ points
        return images


def _normalized(weight, X, name):
    """Return masses with sum one."""
    if weight is None:
        return np.full(len(X), 1 / len(X))
    try:
        weight = _check_sample_weight(weight, X, dtype=np.float64, ensure_non_negative=True)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    largest = weight.max()
    if not largest > 0:
        raise ValueError(f"{name} must have a positive sum, got only zeros.")
    weight = weight / largest  # sums of huge weights overflow
    return weight / weight.sum()


def _blocks(n, m):
    """Yield slices of n rows that have few entries with m columns."""
    step = max(1, BLOCK_ENTRIES // m)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
