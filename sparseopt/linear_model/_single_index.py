"""Regression on a single index: an unknown function of one unknown linear combination."""

import functools
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sparseopt._core import fitting, spawn_seeds
from sparseopt.linear_model import _single_index_search as searching
from sparseopt.linear_model._single_index_links import Link, fit_link
from sparseopt.linear_model._single_index_refinement import refine_direction
from sparseopt.linear_model._single_index_reporter import SearchReporter
from sparseopt.linear_model._single_index_rows import merge_samples, standardize

SMALLEST, LARGEST = 1e-150, 1e150  # of what the largest entry of data may be


class SingleIndexRegressor(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    RegressorMixin,
    BaseEstimator,
):
    r"""Regression on one linear combination of the features, by an unknown function of it.

    The model is :math:`y = \sigma(x^T w) + \text{noise}` with an unknown direction :math:`w`
    and an unknown link :math:`\sigma`. Where :math:`\sigma` is not monotone, gradient descent
    from a random start does not find :math:`w`. Several starts are tried instead: least squares,
    principal Hessian directions, sliced inverse regression, sliced average variance estimation
    and the averages of Langevin dynamics on the sphere. Each is refined by Gauss-Newton steps
    with a polynomial link, and the one whose model predicts held-out samples best is refined on
    all samples.

    Parameters
    ----------
    link : {"hermite", "spline", "isotonic", "knn"} or regressor, default="hermite"
        How the function of one variable is fitted: a polynomial of degree ``degree``, continued
        by its tangents; a cubic spline whose penalty is cross-validated; the best function that
        does not decrease; a mean over nearest neighbours; or any scikit-learn regressor, which
        sees one standardised feature. The direction is always refined with the polynomial.
    degree : int, default=6
        Degree of the polynomial. Fewer than ten samples a degree lower it.
    information_exponent : "auto" or int, default="auto"
        The degree k of the Hermite polynomial with which partial traces and chains correlate
        the labels. ``"auto"`` tries 3 and 4 beside the starts for 1 and 2, and 1 to 4 for a
        ``solver`` that has no others.
    label_transform : {"identity", "rank"} or callable, default="identity"
        What is done to the targets, as ``label_transform(y)``, before starts correlate with
        them. ``"rank"`` takes normal scores, for targets with heavy tails. Refinement and link
        always see the targets as they are.
    solver : {"auto", "langevin", "sgd", "partial_trace", "sir", "save"}, default="auto"
        Which starts to try. ``"langevin"``: averages of Langevin dynamics; ``"sgd"``: averages
        of stochastic gradient descent without added noise; ``"partial_trace"``: their limit at
        infinite temperature, in closed form; ``"sir"`` and ``"save"``: slices of the target.
    average : {"drift", "iterate"}, default="drift"
        What Langevin dynamics averages: the drift along the path, which has less noise, or the
        path itself. For even exponents, the products of second order.
    kappa : float, default=0.5
        Pull of the drift beside that of the noise. Small values stay near the equator and need
        longer averages, values above 2 trap the chains.
    n_chains : int, default=20
        Number of chains.
    max_iter : int, default=100
        Number of steps of a chain.
    burn_in : int, default=20
        Number of steps that are not averaged; fewer than ``max_iter``.
    refine : bool, default=True
        Whether to refine directions by Gauss-Newton steps.
    whiten : bool, default=True
        Whether to whiten the features, which the starts suppose isotropic. With fewer than
        five samples a feature, the covariance is that of Ledoit and Wolf. Otherwise features are
        centred and divided by one common number. Needs dense ``X``.
    validation_fraction : float, default=0.2
        Share of the distinct samples on which starts are compared: every fifth, in the order
        of the target.
    n_permutations : int, default=0
        Number of permutations of the target for ``p_value_``. Each repeats the whole search.
    random_state : int, RandomState, Generator or None, default=None
        Seed of chains and permutations.
    n_jobs : int, optional
        Number of starts, and of permutations, computed at once.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        The direction, of unit length in the features as given. Index and target do not
        correlate negatively; if not at all, the largest entry is positive.
    link_ : object
        The fitted function: ``link_.predict(u)`` for indices ``u = transform(X)``.
    information_exponent_ : int
        The exponent given, or the smallest degree whose Hermite coefficient, on the standardised
        index, is more than four standard errors away from zero.
    start_ : str
        The start that won, such as ``"sir"`` or ``"langevin_3"``.
    candidate_scores_ : dict of str to float
        Coefficient of determination on the held-out samples, for each start. Of the samples
        of training, if they are too few to hold any out.
    loss_ : float
        Mean squared error of the samples of training.
    p_value_ : float or None
        Share of permutations whose best score on held-out samples reaches that of the data,
        both counted with the data; None without permutations.
    n_iter_ : int
        Number of steps of the final refinement, at least 1.
    history_ : dict of str to ndarray
        Iteration, time, objective and certificate (the Newton decrement, relative to the loss)
        of the final refinement; empty without one.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    Raises
    ------
    TypeError
        If ``X`` is sparse and ``whiten`` is set, or ``solver`` is ``"sgd"``.
    ValueError
        For ``burn_in >= max_iter``, an exponent above ``degree``, a ``label_transform`` that does
        not return one finite number a target, sample weights that ``link`` cannot take, and data
        of which the largest entry is above 1e150 or below 1e-150 in modulus.

    See Also
    --------
    sparseopt.optimize.langevin_average : The dynamics.
    sklearn.cross_decomposition.PLSRegression : Linear combinations with a linear link.

    Notes
    -----
    With fewer than 20 distinct samples or two a feature, the start is least squares and is not
    refined. Equal samples are merged at first: integer weights equal repeated rows exactly, and
    neither changes which samples are held out. A step of the refinement costs
    ``n_samples * n_features ** 2`` operations.

    If no entry of ``candidate_scores_`` is positive, no start led to a model that predicts held-out
    samples better than their mean does: trust the final one only if other data confirm it.

    On data with little noise, sliced inverse regression for odd links and sliced average variance
    estimation for even ones are the best starts: they use the target in other ways than linearly.

    References
    ----------
    .. [1] S. Wei, A. Damian & J. D. Lee, "Improved high-dimensional estimation with Langevin
           dynamics and stochastic weight averaging", ICLR 2026, arXiv 2603.06028.
    .. [2] K.-C. Li, "Sliced inverse regression for dimension reduction", Journal of the American
           Statistical Association 86 (1991).
    .. [3] R. D. Cook & S. Weisberg, discussion of [2].
    .. [4] K.-C. Li, "On principal Hessian directions for data visualization and dimension
           reduction", Journal of the American Statistical Association 87 (1992).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.linear_model import SingleIndexRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((600, 10))
    >>> coef = np.full(10, 10**-0.5)
    >>> y = np.cos(2 * X @ coef) + 0.1 * rng.standard_normal(600)
    >>> model = SingleIndexRegressor(random_state=0).fit(X, y)
    >>> bool(abs(model.coef_ @ coef) > 0.99)
    True
    >>> model.information_exponent_
    2
    >>> model.transform(X).shape
    (600, 1)
    """

    _parameter_constraints: dict = {
        "link": [
            StrOptions({"hermite", "spline", "isotonic", "knn"}),
            HasMethods(["fit", "predict"]),
        ],
        "degree": [Interval(Integral, 1, None, closed="left")],
        "information_exponent": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "label_transform": [StrOptions({"identity", "rank"}), callable],
        "solver": [StrOptions({"auto", "langevin", "sgd", "partial_trace", "sir", "save"})],
        "average": [StrOptions({"drift", "iterate"})],
        "kappa": [Interval(Real, 0, None, closed="neither")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "refine": ["boolean"],
        "whiten": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_permutations": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state", np.random.Generator],
        "n_jobs": [Integral, None],
    }
    _n_features_out = 1

    def __init__(
        self,
        *,
        link="hermite",
        degree=6,
        information_exponent="auto",
        label_transform="identity",
        solver="auto",
        average="drift",
        kappa=0.5,
        n_chains=20,
        max_iter=100,
        burn_in=20,
        refine=True,
        whiten=True,
        validation_fraction=0.2,
        n_permutations=0,
        random_state=None,
        n_jobs=None,
    ):
        self.link = link
        self.degree = degree
        self.information_exponent = information_exponent
        self.label_transform = label_transform
        self.solver = solver
        self.average = average
        self.kappa = kappa
        self.n_chains = n_chains
        self.max_iter = max_iter
        self.burn_in = burn_in
        self.refine = refine
        self.whiten = whiten
        self.validation_fraction = validation_fraction
        self.n_permutations = n_permutations
        self.random_state = random_state
        self.n_jobs = n_jobs

    @fitting
    def fit(self, X, y, sample_weight=None):
        """Find the direction and fit the link.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data; sparse with ``whiten=False`` only.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative row weights.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._check_arguments(X)
        X, y, sample_weight = self._validate_fit_data(X, y, sample_weight)
        samples = merge_samples(X.astype(np.float64, copy=False), y, sample_weight)
        rows, whitening = standardize(samples.X, samples.weight, whiten=self.whiten)
        repeats = samples.repeats if sample_weight is None else None
        problem = searching.Problem(rows, samples.y, repeats)
        settings = self._settings(*rows.shape)
        search_seed, permutation_seed = spawn_seeds(self.random_state, 2)

        with SearchReporter(
            self, X, y, sample_weight=sample_weight, names=settings.names
        ) as reporter:
            candidates = searching.search(
                problem, settings, search_seed, n_jobs=self.n_jobs, report=reporter.start
            )
            best = max(candidates, key=lambda candidate: candidate.score)
            self.candidate_scores_ = {found.name: found.score for found in candidates}
            self.start_ = best.name
            attributes = functools.partial(self._attributes, problem, whitening, settings, X.dtype)
            theta = self._final_direction(
                problem, settings, best, search_seed, reporter, attributes
            )
            for name, value in attributes(theta).items():
                setattr(self, name, value)
        self.p_value_ = None
        if self.n_permutations:
            self.p_value_ = searching.permutation_p_value(
                problem, settings, best.score, self.n_permutations, permutation_seed, self.n_jobs
            )
        return self

    def _check_arguments(self, X):
        if self.burn_in >= self.max_iter:
            raise ValueError(
                f"burn_in must be less than max_iter, got burn_in={self.burn_in} and "
                f"max_iter={self.max_iter}."
            )
        exponent = self.information_exponent
        if exponent != "auto" and exponent > self.degree:
            raise ValueError(
                "degree must be at least information_exponent, for the link to have such a part: "
                f"got degree={self.degree} and information_exponent={exponent}."
            )
        if sparse.issparse(X):
            if self.whiten:
                raise TypeError(
                    "whiten=True needs dense data, but X is sparse: a whitened sparse matrix "
                    "would be dense. Use whiten=False if the features are about isotropic, or "
                    "X.toarray()."
                )
            if self.solver == "sgd":
                raise TypeError("solver='sgd' needs dense data, but X is sparse. Use X.toarray().")

    def _validate_fit_data(self, X, y, sample_weight):
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            accept_large_sparse=True,
            y_numeric=True,
            ensure_min_samples=2,
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        y = np.asarray(y, dtype=np.float64)
        _check_range(X.data if sparse.issparse(X) else X, "X")
        _check_range(y, "y")
        return X, y, sample_weight

    def _settings(self, n_samples, n_features):
        return searching.Settings(
            names=searching.candidate_names(
                self.solver, self.information_exponent, n_samples, n_features
            ),
            link=self.link,
            degree=self.degree,
            label_transform=self.label_transform,
            chain_options={
                "average": self.average,
                "eps": ("auto", self.kappa),
                "n_chains": self.n_chains,
                "max_iter": self.max_iter,
                "burn_in": self.burn_in,
                "warn": self.solver == "langevin" and self.information_exponent != "auto",
            },
            refine=self.refine and not searching.is_small(n_samples, n_features),
            validation_fraction=self.validation_fraction,
        )

    def _final_direction(self, problem, settings, best, seed, reporter, attributes):
        """Return the direction for all samples, and store how it was found."""
        if not settings.refine:
            theta = searching.start_direction(problem, settings, best.name, seed)
            self.n_iter_, self.history_ = 1, {}
            with reporter.refinement(attributes) as callback:
                pass
            return theta
        with reporter.refinement(attributes) as callback:
            degree = searching.usable_degree(
                settings.degree, len(problem.y), problem.rows.index(best.theta)
            )
            result = refine_direction(
                problem.rows, problem.y, best.theta, degree=degree, callback=callback
            )
        self.n_iter_, self.history_ = max(1, result.nit), result.history
        return result.x

    def _attributes(self, problem, whitening, settings, dtype, theta):
        """Return the fitted attributes that belong to a direction of the standardised rows."""
        theta = searching.orient(problem, theta)
        rows, y = problem.rows, problem.y
        z = rows.index(theta)
        degree = searching.usable_degree(settings.degree, len(y), z)
        regressor = fit_link(settings.link, z, y, rows.weight, problem.repeats, degree)
        coef, centre, scale = whitening.to_features(theta)
        residual = y - np.asarray(regressor.predict(z[:, None])).ravel()
        exponent = self.information_exponent
        if exponent == "auto":
            exponent = searching.estimated_exponent(
                problem, theta, settings.label_transform, degree
            )
        return {
            "coef_": coef.astype(dtype),
            "link_": Link(regressor, centre, scale),
            "loss_": float(rows.weight @ residual**2),
            "information_exponent_": exponent,
        }

    def transform(self, X):
        """Return the index of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        index : ndarray of shape (n_samples, 1)
            ``X @ coef_``.
        """
        check_is_fitted(self)
        X = validate_data(
            self, X, accept_sparse=("csr", "csc"), dtype=[np.float64, np.float32], reset=False
        )
        return (X @ self.coef_.astype(X.dtype, copy=False))[:, None]

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            The link at the index.
        """
        index = self.transform(X)
        return self.link_.predict(index).astype(index.dtype, copy=False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.whiten and self.solver != "sgd"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _check_range(values, name):
    """Raise if squares of the entries would overflow, or all of them vanish."""
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest and not SMALLEST <= largest <= LARGEST:
        raise ValueError(
            f"The largest entry of {name} must be between {SMALLEST:g} and {LARGEST:g} in modulus, "
            f"for squares to be in range, got {largest:g}: rescale {name}."
        )
