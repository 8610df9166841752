"""The fitted linear structural equation model, and what can be asked of it.

    x_j = mean_j + sum_i w_ij (x_i - mean_i) + z_j,    z_j independent with variance v_j

A DAG has det(I - W) = 1, so that the likelihood of the model is that of its noise.
"""

import copy
import importlib
import numbers
import warnings

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sparseopt._core import check_at_least_one
from sparseopt.causal._graphs import order_edges
from sparseopt.causal._order_search import regress_on_parents

NOISE = {
    "gaussian": lambda random, size: random.standard_normal(size),
    "exponential": lambda random, size: random.exponential(1.0, size) - 1.0,
    "laplace": lambda random, size: random.laplace(0.0, np.sqrt(0.5), size),
}
STANDARDISED = 1e-3  # relative spread of the standard deviations below which data look z-scored


class StandardizedDataWarning(UserWarning):
    """All columns have the same standard deviation, as after z-scoring.

    Equal noise variances show in the scales of the variables: standardising deletes what the
    method goes by, and the graph that it finds is then hardly better than an empty one.

    Examples
    --------
    >>> import warnings
    >>> from sparseopt.causal import SortRegress, StandardizedDataWarning
    >>> from sparseopt.datasets import make_linear_sem
    >>> X = make_linear_sem(random_state=0).X
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", StandardizedDataWarning)  # refuse such data
    ...     SortRegress().fit(X / X.std(axis=0))
    Traceback (most recent call last):
        ...
    sparseopt.causal._linear_sem.StandardizedDataWarning: All columns of X have the same ...
    """


class Moments:
    """Mean and covariance of a sample, and its size.

    Integer sample weights count as repeated rows.
    """

    def __init__(self, mean, covariance, n_samples):
        self.mean, self.covariance, self.n_samples = mean, covariance, n_samples

    @classmethod
    def of(cls, X, sample_weight=None):
        """Compute them, in float64."""
        X = np.asarray(X, dtype=np.float64)
        weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
        n_samples = weights.sum()
        mean = weights @ X / n_samples
        centred = (X - mean) * np.sqrt(weights / n_samples)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # `check` refuses the result
            return cls(mean, centred.T @ centred, n_samples)

    def check(self, names=None):
        """Refuse columns without variance, by name, and covariances beyond double precision."""
        if not np.all(np.isfinite(self.covariance)):
            raise ValueError("The covariances of X overflow: divide X by a number first.")
        variances = np.diagonal(self.covariance)
        rounding = 10 * np.finfo(float).eps * np.abs(self.mean)
        constant = np.flatnonzero(~(np.sqrt(variances) > rounding))
        if constant.size:
            given = constant.tolist() if names is None else [str(names[j]) for j in constant]
            raise ValueError(
                f"The columns {given} of X are constant (or differ by rounding errors only): they "
                "cannot have a place in a causal graph. Remove them."
            )

    def look_standardised(self):
        """Tell whether all standard deviations are equal, as after z-scoring."""
        scales = np.sqrt(np.diagonal(self.covariance))
        return bool(np.ptp(scales) <= STANDARDISED * scales.max())

    def warn_if_standardised(self, stacklevel):
        """Warn that a method that goes by scales can learn nothing, if it looks so."""
        if self.look_standardised():
            warnings.warn(
                "All columns of X have the same standard deviation, as after standardising. "
                "The method goes by differences of scale: fit it to data in their own units.",
                StandardizedDataWarning,
                stacklevel=stacklevel + 1,
            )


class LinearSEMMixin(OneToOneFeatureMixin, TransformerMixin):
    """Methods of an estimator that learns a linear structural equation model.

    ``fit`` ends with :meth:`_set_model`.
    """

    def _validate_samples(self, X, sample_weight=None):
        """Validate training data; return X and the weights, or None."""
        X = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_min_samples=2,
            ensure_min_features=2,
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            if not sample_weight.sum() > 0:
                raise ValueError("sample_weight must have a positive sum, got only zeros.")
        return X, sample_weight

    def _set_model(self, adjacency, mean, noise_variances, *, dtype=np.float64):
        """Store the model, in the floating type of the data.

        Variances stay in float64: squares may leave the range of float32.
        """
        edges = adjacency != 0
        vars(self).pop("_intervened", None)  # of an earlier model
        self.adjacency_ = np.asarray(adjacency, dtype=dtype)
        self.mean_ = np.asarray(mean, dtype=dtype)
        self.noise_variances_ = np.asarray(noise_variances, dtype=np.float64)
        self.causal_order_ = order_edges(edges)
        self.parents_ = [np.flatnonzero(edges[:, j]) for j in range(len(edges))]
        self.total_effects_ = _total_effects(adjacency, self.causal_order_).astype(dtype)

    def _refit(self, adjacency, moments):
        """Return the least-squares weights of the edges, and the residual variances."""
        C = moments.covariance
        weights = regress_on_parents(C, (adjacency != 0).T)
        return weights, residual_variances(C, weights)

    @property
    def edges_(self):
        """Edges as tuples (cause, effect, weight), the strongest first.

        Causes and effects are names if the data had names, else indices.
        """
        check_is_fitted(self)
        labels = self._labels()
        causes, effects = np.nonzero(self.adjacency_)
        weights = self.adjacency_[causes, effects]
        return [
            (labels[causes[k]], labels[effects[k]], float(weights[k]))
            for k in np.argsort(-np.abs(weights), kind="stable")
        ]

    def _labels(self):
        names = getattr(self, "feature_names_in_", None)
        return list(range(len(self.adjacency_))) if names is None else [str(n) for n in names]

    def _index(self, variable):
        """Return the index of a variable that is given by name or index."""
        labels = self._labels()
        if isinstance(variable, numbers.Integral) and 0 <= variable < len(labels):
            return int(variable)
        if variable in labels:
            return labels.index(variable)
        raise ValueError(f"There is no variable {variable!r}; the variables are {labels}.")

    def transform(self, X):
        r"""Return the estimated noise of each sample: residuals given the parents.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        noise : ndarray of shape (n_samples, n_features)
            :math:`(X - \bar x)(I - W)`, in the floating type of ``X``.
        """
        return self._residuals(X)

    def _residuals(self, X):
        """Do the work of :meth:`transform`, whose output may be wrapped as a DataFrame."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        centred = X - self.mean_.astype(X.dtype)
        return centred - centred @ self.adjacency_.astype(X.dtype)

    def inverse_transform(self, X):
        """Return the samples that belong to given noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Noise, as :meth:`transform` returns it.

        Returns
        -------
        samples : ndarray of shape (n_samples, n_features)
            The samples, in the floating type of ``X``.
        """
        check_is_fitted(self)
        noise = check_array(X, dtype=[np.float64, np.float32])
        if noise.shape[1] != len(self.adjacency_):
            raise ValueError(
                f"X must have {len(self.adjacency_)} columns, one for each variable, got "
                f"{noise.shape[1]}."
            )
        samples = noise + noise @ self.total_effects_.astype(noise.dtype)
        return samples + self.mean_.astype(noise.dtype)

    def score(self, X, y=None, sample_weight=None):
        r"""Return the mean Gaussian log-likelihood of a sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the mean, >= 0.

        Returns
        -------
        score : float
            :math:`-\frac12 \sum_j (\log 2\pi v_j + r_j^2 / v_j)`, averaged over samples; of a
            model after :meth:`intervene`, over the variables that were left alone.
        """
        noise = self._residuals(X).astype(np.float64)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, noise, dtype=np.float64, ensure_non_negative=True
            )
        free = ~getattr(self, "_intervened", np.zeros(noise.shape[1], dtype=bool))
        variances = self.noise_variances_[free]
        if not np.all(variances > 0):
            raise ValueError("The likelihood is not defined: a noise variance of the model is 0.")
        squares = np.average(noise[:, free] ** 2, axis=0, weights=sample_weight)
        return float(-0.5 * np.sum(np.log(2 * np.pi * variances) + squares / variances))

    def bic(self, X, *, gamma=0.0):
        r"""Return the Bayesian information criterion of the model on a sample; less is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        gamma : float, default=0.0
            Weight of the extended criterion's term, :math:`2 \gamma \log d` an edge; it keeps
            out the false edges that become likely with many variables.

        Returns
        -------
        bic : float
            Minus twice the log-likelihood, plus :math:`\log n` for each edge, mean and noise
            variance, plus the extended term.
        """
        n_samples, d = len(X), len(self.adjacency_)
        n_edges = np.count_nonzero(self.adjacency_)
        n_variances = 1 if getattr(self, "_one_variance", False) else d
        parameters = n_edges + d + n_variances
        likelihood = n_samples * self.score(X)
        return -2 * likelihood + np.log(n_samples) * parameters + 2 * gamma * n_edges * np.log(d)

    def sample(self, n_samples=1, *, interventions=None, noise="gaussian", random_state=None):
        """Draw samples from the model, in causal order.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.
        interventions : dict, optional
            Variables (names or indices) with the values that are forced on them: a number, an
            array of shape (n_samples,), or a function of the matrix of samples drawn so far,
            in which the variables still to come are NaN.
        noise : {"gaussian", "exponential", "laplace"} or callable, default="gaussian"
            Law of the noise, scaled to the model's variances; the exponential law is centred.
            A callable ``noise(random_state, size)`` returns draws of mean 0 and variance 1.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            The samples, in float64.

        Raises
        ------
        ValueError
            For an unknown variable or law of the noise, a variable that is named twice, and
            values or draws that are not finite or not of the right shape.
        """
        check_is_fitted(self)
        n_samples = check_at_least_one(n_samples, "n_samples")
        if not callable(noise) and noise not in NOISE:
            raise ValueError(f"noise must be one of {sorted(NOISE)} or callable, got {noise!r}.")
        forced = self._by_index(interventions or {})
        draw = noise if callable(noise) else NOISE[noise]
        d = len(self.adjacency_)
        innovations = np.asarray(draw(check_random_state(random_state), (n_samples, d)))
        if innovations.shape != (n_samples, d):
            raise ValueError(
                f"noise must return draws of shape {(n_samples, d)}, got {innovations.shape}."
            )
        innovations = innovations * np.sqrt(self.noise_variances_)
        X = np.full((n_samples, d), np.nan)
        for j in self.causal_order_:
            if j in forced:
                value = forced[j](X.copy()) if callable(forced[j]) else forced[j]
                X[:, j] = self._check_forced(value, j, n_samples)
                continue
            parents = self.parents_[j]
            deviations = X[:, parents] - self.mean_[parents]
            X[:, j] = self.mean_[j] + deviations @ self.adjacency_[parents, j] + innovations[:, j]
        return X

    def _by_index(self, interventions):
        """Return interventions with indices for names; refuse two for one variable."""
        forced = {}
        for key, value in interventions.items():
            j = self._index(key)
            if j in forced:
                raise ValueError(f"interventions name the variable {self._labels()[j]!r} twice.")
            forced[j] = value
        return forced

    def _check_forced(self, value, j, n_samples):
        value = np.asarray(value, dtype=np.float64)
        if value.shape not in ((), (n_samples,)) or not np.all(np.isfinite(value)):
            raise ValueError(
                f"interventions must give finite values for variable {self._labels()[j]!r}, a "
                f"number or an array of shape {(n_samples,)}, got {value!r}. A function sees NaN "
                "in the variables that come later in the causal order."
            )
        return value

    def intervene(self, interventions):
        """Return the model in which variables are set to constants, whatever their causes.

        Parameters
        ----------
        interventions : dict
            Variables (names or indices) with the numbers that they are set to.

        Returns
        -------
        model : estimator
            A copy: the edges into these variables and their noise are gone, and ``mean_`` is
            the mean under the intervention.

        Raises
        ------
        ValueError
            For an unknown variable, one that is named twice, or a value that is no finite
            number.
        """
        check_is_fitted(self)
        forced = self._by_index(interventions)
        for j, value in forced.items():
            if not isinstance(value, numbers.Real) or not np.isfinite(value):
                raise ValueError(
                    f"A variable is set to a finite number, got {value!r} for variable "
                    f"{self._labels()[j]!r}; sample(interventions=...) takes functions."
                )
        shift = np.zeros(len(self.adjacency_))
        adjacency = self.adjacency_.copy()
        variances = self.noise_variances_.copy()
        intervened = getattr(self, "_intervened", np.zeros(len(adjacency), dtype=bool)).copy()
        for j in self.causal_order_:
            if j in forced:
                shift[j] = forced[j] - self.mean_[j]
                adjacency[:, j] = 0
                variances[j] = 0
                intervened[j] = True
            else:
                shift[j] = shift @ self.adjacency_[:, j]
        model = copy.copy(self)
        dtype = self.adjacency_.dtype
        model._set_model(adjacency, self.mean_ + shift, variances, dtype=dtype)
        model._intervened = intervened
        return model

    def to_dataframe(self):
        """Return the adjacency matrix as a pandas DataFrame; rows are causes.

        Returns
        -------
        frame : DataFrame of shape (n_features, n_features)
            Weights, with the variables' names in the index and the columns.
        """
        check_is_fitted(self)
        labels = self._labels()
        return import_optional("pandas").DataFrame(self.adjacency_, index=labels, columns=labels)

    def to_networkx(self):
        """Return the graph as a networkx DiGraph.

        Returns
        -------
        graph : DiGraph
            One node a variable; edges have the attribute ``weight``.
        """
        check_is_fitted(self)
        graph = import_optional("networkx").DiGraph()
        graph.add_nodes_from(self._labels())
        graph.add_weighted_edges_from(self.edges_)
        return graph


def residual_variances(C, adjacency):
    """Return the variances of x_j - sum_i w_ij x_i, not below 0."""
    D = np.eye(len(C)) - adjacency
    return np.maximum(np.sum(D * (C @ D), axis=0), 0.0)


def import_optional(name):
    """Import an optional package, or tell how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"This needs {name}, which is not installed: pip install sparseopt[plot]."
        ) from error


def _total_effects(adjacency, order):
    """Return (I - W)^-1 - I, one variable after another in causal order."""
    effects = np.zeros(adjacency.shape)
    for j in order:
        parents = np.flatnonzero(adjacency[:, j])
        effects[:, j] = effects[:, parents] @ adjacency[parents, j] + adjacency[:, j]
    return effects
