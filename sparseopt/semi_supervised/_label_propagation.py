"""Label propagation on a graph, solved as one linear system for all classes.

The problem and its solvers are in ``_harmonic``; here are the graph, the labels and the
predictions for new samples.
"""

import numbers
import warnings
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sparseopt._core import FitReporter, Status, fitting
from sparseopt.optimize._graphs import check_symmetric
from sparseopt.semi_supervised._harmonic import propagate_labels, reach

UNLABELLED = -1
UNFINISHED = (Status.ITERATION_LIMIT, Status.STALLED, Status.NON_FINITE)


class GraphLabelPropagation(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    r"""Label propagation on a nearest-neighbour or given graph, to a certified accuracy.

    Labelled samples keep their labels; every other sample receives the weighted mean of
    its neighbours' class distributions,

    .. math::

        \min_F \tfrac14 \sum_{ij} W_{ij} \|F_i - F_j\|^2
        \quad \text{with } F_l = Y_l \text{ on labelled samples,}

    which is a sparse linear system with one right-hand side a class. Samples in a component
    of the graph without any label receive the class frequencies among the labelled samples,
    with a warning.

    Parameters
    ----------
    graph : {"knn", "precomputed"}, default="knn"
        ``"knn"`` joins two samples with weight one if either is among the nearest
        neighbours of the other. With ``"precomputed"``, ``X`` is the weight matrix: square,
        symmetric, non-negative, dense or sparse.
    n_neighbors : int, default=5
        Number of neighbours of the graph, and of predictions for new samples.
    solver : {"auto", "cg", "direct", "tree-bcd"}, default="auto"
        ``"cg"`` is preconditioned conjugate gradients, ``"direct"`` a sparse factorization,
        ``"tree-bcd"`` descent on greedy forests
        (:func:`~sparseopt.optimize.tree_block_descent`). ``"auto"`` factorizes for up to
        5000 unlabelled samples and iterates beyond.
    tol : float, default=1e-6
        Relative residual at which the iterative solvers end.
    max_iter : int, default=10000
        Largest number of iterations.
    n_jobs : int, optional
        Number of threads for the neighbours, and for groups of five classes under
        ``solver="cg"``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, without the mark of unlabelled samples.
    label_distributions_ : ndarray of shape (n_samples, n_classes)
        Class distribution of each training sample, in the dtype of ``X``.
    transduction_ : ndarray of shape (n_samples,)
        Most likely class of each training sample.
    relative_residual_ : float
        Certificate: largest relative residual of the linear systems, before the values are
        clipped to the range of the labels and scaled to sum one.
    n_iter_ : int
        Number of iterations; 1 for a factorization, or if there was nothing to solve.
    history_ : dict
        Arrays ``iteration``, ``time``, ``objective`` (that of the quadratic problem, but for a
        constant, with the largest weight scaled by a power of two to between 1/2 and 1) and
        ``certificate`` (the relative residual), one entry a check of the residual.
    graph_ : csr_array of shape (n_samples, n_samples)
        The weights.
    class_prior_ : ndarray of shape (n_classes,)
        Class frequencies among the labelled samples.
    n_features_in_ : int
        Number of features seen during fit; of samples for a precomputed graph.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    Raises
    ------
    ValueError
        From ``fit``, for fewer than two classes, too many neighbours, or a graph that is not
        square, symmetric and non-negative, or whose weights differ so much that double
        precision cannot resolve them. From predictions, for negative weights, and for weights
        whose sum overflows.

    Warns
    -----
    UserWarning
        If a component of the graph holds no label.
    sklearn.exceptions.ConvergenceWarning
        If the residual does not reach ``tol``.

    See Also
    --------
    sklearn.semi_supervised.LabelPropagation : Dense or nearest-neighbour kernel, by fixed-point
        iteration.

    Notes
    -----
    A target of -1 marks an unlabelled sample, as in :mod:`sklearn.semi_supervised`. One of
    scikit-learn's estimator checks, ``check_classifiers_classes``, uses the classes -1 and 1
    and cannot pass; scikit-learn exempts its own estimators from it by name.

    References
    ----------
    Zhu, Ghahramani, Lafferty (2003). Semi-supervised Learning Using Gaussian Fields and
    Harmonic Functions. ICML.

    Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
    JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.semi_supervised import GraphLabelPropagation
    >>> X = np.r_[np.arange(5.0), np.arange(10.0, 15.0)][:, None]
    >>> y = [0, -1, -1, -1, -1, -1, -1, -1, -1, 1]
    >>> GraphLabelPropagation(n_neighbors=2).fit(X, y).transduction_
    array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """

    _parameter_constraints: dict = {
        "graph": [StrOptions({"knn", "precomputed"})],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions({"auto", "cg", "direct", "tree-bcd"})],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        graph="knn",
        *,
        n_neighbors=5,
        solver="auto",
        tol=1e-6,
        max_iter=10_000,
        n_jobs=None,
    ):
        self.graph = graph
        self.n_neighbors = n_neighbors
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs

    @fitting
    def fit(self, X, y):
        """Spread the labels over all samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or \
                (n_samples, n_samples)
            Samples, or the weights of a precomputed graph.
        y : array-like of shape (n_samples,)
            Classes; -1 marks unlabelled samples.

        Returns
        -------
        self : GraphLabelPropagation
            The fitted estimator.
        """
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32])
        classes, labelled, codes = _encode_labels(y)
        Y = np.eye(classes.size)[codes]
        prior = Y.mean(axis=0)
        graph = self._make_graph(X)
        reached = reach(graph, labelled)

        def attributes(F):
            distributions = _normalize(F, reached, prior)
            return {
                "classes_": classes,
                "class_prior_": prior,
                "graph_": graph,
                "label_distributions_": distributions.astype(X.dtype, copy=False),
                "transduction_": classes[np.argmax(distributions, axis=1)],
            }

        with FitReporter(self, X, y) as reporter, reporter.task("fit", attributes) as callback:
            result = propagate_labels(
                graph,
                labelled,
                Y,
                reached,
                solver=self.solver,
                tol=self.tol,
                max_iter=self.max_iter,
                n_jobs=self.n_jobs,
                callback=callback,
            )
            if result.status in UNFINISHED and self.solver != "tree-bcd":  # which warns by itself
                warnings.warn(result.message, ConvergenceWarning, stacklevel=2)
            if not reached.all():
                warnings.warn(
                    f"{np.count_nonzero(~reached)} samples lie in components of the graph "
                    "without any label: they receive the class frequencies among the labelled "
                    "samples. Label one sample of each component, or raise n_neighbors.",
                    UserWarning,
                    stacklevel=2,
                )
            vars(self).update(attributes(result.x))
            self.relative_residual_ = result.relative_residual
            self.n_iter_, self.history_ = max(1, result.nit), result.history
        return self

    def _make_graph(self, X):
        if self.graph == "precomputed":
            return check_symmetric(X, "The precomputed graph X", nonnegative=True)
        if self.n_neighbors >= X.shape[0]:
            raise ValueError(
                f"n_neighbors must be smaller than the number of samples, got n_neighbors="
                f"{self.n_neighbors} with n_samples={X.shape[0]}."
            )
        self._neighbors = NearestNeighbors(n_neighbors=self.n_neighbors, n_jobs=self.n_jobs)
        graph = sparse.csr_array(self._neighbors.fit(X).kneighbors_graph(mode="connectivity"))
        graph = graph.maximum(graph.T).tocsr()
        graph.sort_indices()
        return graph

    def predict_proba(self, X):
        """Return class distributions of new samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or \
                (n_samples, n_training_samples)
            Samples, whose nearest training samples' distributions are averaged; or for a
            precomputed graph their weights to the training samples, >= 0. A sample without
            any weight receives the class frequencies among the labelled samples.

        Returns
        -------
        distributions : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        known = self.label_distributions_
        if self.graph == "knn":
            nearest = self._neighbors.kneighbors(X, return_distance=False)
            return known[nearest].mean(axis=1)
        if (X.data if sparse.issparse(X) else X).min(initial=0.0) < 0:
            raise ValueError("X must hold weights >= 0 for a precomputed graph.")
        with np.errstate(over="ignore"):
            total = np.asarray(X.sum(axis=1)).ravel()
        if not np.all(np.isfinite(total)):
            raise ValueError("X must hold weights whose sums are finite, got an overflow.")
        connected = total > 0
        return _normalize(np.asarray(X @ known), connected, self.class_prior_).astype(known.dtype)

    def predict(self, X):
        """Return the most likely class of new samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or \
                (n_samples, n_training_samples)
            As for ``predict_proba``.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Classes.
        """
        distributions = self.predict_proba(X)
        return self.classes_[np.argmax(distributions, axis=1)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self.graph == "precomputed"
        return tags


def _normalize(values, usable, fill):
    """Scale the usable rows to sum one; fill the others, and those that are zero."""
    usable = usable & (values.sum(axis=1) > 0)  # a run stopped early leaves zeros
    values = np.where(usable[:, None], values, fill)
    return values / values.sum(axis=1, keepdims=True)


def _encode_labels(y):
    """Return the classes, the labelled samples, and their classes' numbers."""
    if y.dtype.kind == "O":
        unlabelled = np.array([isinstance(v, numbers.Number) and v == UNLABELLED for v in y])
    elif y.dtype.kind in "iuf":
        unlabelled = y == UNLABELLED
    else:
        unlabelled = np.zeros(y.shape, dtype=bool)
    labelled = np.flatnonzero(~unlabelled)
    if labelled.size:
        check_classification_targets(y[labelled])
    classes, codes = np.unique(y[labelled], return_inverse=True)
    if classes.size < 2:
        raise ValueError(
            f"y must hold labels of at least 2 classes, got {classes.size} class "
            f"({UNLABELLED} marks unlabelled samples)."
        )
    return classes, labelled, codes
