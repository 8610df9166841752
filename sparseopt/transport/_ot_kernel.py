r"""A kernel between histograms from their transport distances.

    k(a, b) = exp(-gamma d(a, b)),  d the Sinkhorn divergence or an entropic transport cost.

Such kernels need not be positive semidefinite. Chen, Garcia, Gupta, Rahimi, Cazzanti (2009),
Similarity-based classification, JMLR 10, project the training matrix K = V diag(l) V' to
V diag(max(l, 0)) V' = K P with P = V diag(l > 0) V', and treat new rows alike, k P.
"""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from sparseopt._core import fitting
from sparseopt.transport._arguments import refuse_device_arrays
from sparseopt.transport._pairwise import KINDS, pairwise_sinkhorn

FLOATS = [np.float64, np.float32]


class OTKernel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Kernel matrix of histograms from their Sinkhorn divergences.

    :math:`k(a, b) = \exp(-\gamma\, d(a, b))`. As a transformer it turns histograms into their
    kernel matrix with the training histograms, for an estimator with
    ``kernel="precomputed"``; called as a function it is a kernel itself, as in
    ``SVC(kernel=OTKernel(C))``, with parameters that a grid search sees as ``kernel__reg``.

    Parameters
    ----------
    C : array-like of shape (n_features, n_features), optional
        Symmetric costs between the bins. By default the bins are equally spaced on a line
        of length one, and costs are squared distances.
    reg : float, default=0.05
        Strength of the regularisation, > 0, in the units of the cost.
    kind : {"divergence", "value", "linear"}, default="divergence"
        The distance, as in :func:`pairwise_sinkhorn`.
    gamma : float, default=1.0
        Factor of the distance, > 0.
    psd : {None, "clip"}, default=None
        "clip" projects the training matrix to the nearest positive semidefinite one and
        treats other rows accordingly. Not used where the kernel is called as a function.
    tol : float, default=1e-6
        Largest marginal error of each transport problem.
    n_jobs : int, optional
        Number of parallel jobs; results do not depend on it.

    Attributes
    ----------
    histograms_ : ndarray of shape (n_samples, n_features_in_)
        Training histograms, with sum one, or zero if they are empty.
    n_features_in_ : int
        Number of bins.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the bins, if ``X`` has string names.

    Raises
    ------
    ValueError
        For invalid parameters, negative masses, or ``C`` of another shape or not symmetric.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If some transport problems did not reach the tolerance.

    See Also
    --------
    pairwise_sinkhorn : The distances.

    Notes
    -----
    The kernel is not positive semidefinite in general. Exact transport costs for distances or
    squared distances are of negative type, which would make it so, between bins on a line, but
    not between bins in the plane. Support vector machines mostly work nevertheless; methods
    that factorize the matrix need ``psd="clip"``.

    Rows are divided by their sums. No plan takes an empty histogram, a row of zeros, to another
    one: its distance is infinite and the kernel zero, except between two empty ones, where it
    is one.

    References
    ----------
    Chen, Garcia, Gupta, Rahimi, Cazzanti (2009). Similarity-based classification: concepts and
    algorithms. JMLR 10.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.transport import OTKernel
    >>> H = np.array([[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 2, 2]])
    >>> OTKernel(gamma=2.0, reg=0.01).fit_transform(H).round(2)
    array([[1.  , 0.8 , 0.24],
           [0.8 , 1.  , 0.58],
           [0.24, 0.58, 1.  ]])
    """

    _parameter_constraints: dict = {
        "C": ["array-like", None],
        "reg": [Interval(Real, 0, None, closed="neither")],
        "kind": [StrOptions(set(KINDS))],
        "gamma": [Interval(Real, 0, None, closed="neither")],
        "psd": [StrOptions({"clip"}), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        C=None,
        reg=0.05,
        *,
        kind="divergence",
        gamma=1.0,
        psd=None,
        tol=1e-6,
        n_jobs=None,
    ):
        self.C = C
        self.reg = reg
        self.kind = kind
        self.gamma = gamma
        self.psd = psd
        self.tol = tol
        self.n_jobs = n_jobs

    def fit(self, X, y=None):
        """Keep the training histograms, and find the projection with ``psd="clip"``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Histograms, one a row, with masses >= 0 that are divided by their sum.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : OTKernel
            The fitted transformer.
        """
        self._fit(X, with_kernel=self.psd is not None)
        return self

    def fit_transform(self, X, y=None):
        """Fit, and return the kernel matrix of the training histograms.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Histograms.
        y : object, default=None
            Ignored.

        Returns
        -------
        kernel : ndarray of shape (n_samples, n_samples)
            Computed once, with half the work of ``fit`` and ``transform``.
        """
        return self._fit(X, with_kernel=True)

    @fitting
    def _fit(self, X, with_kernel):
        refuse_device_arrays(X=X, C=self.C)
        H = validate_data(self, X, dtype=FLOATS, ensure_min_features=2)
        self.histograms_ = _normalized(H)
        self._check_costs(H.shape[1])
        self._projection = None
        if not with_kernel:
            return None
        kernel = self._kernel(self.histograms_)
        if self.psd == "clip":
            values, vectors = np.linalg.eigh(kernel)
            vectors = vectors[:, values > 0]
            self._projection = vectors @ vectors.T
            kernel = (vectors * values[values > 0]) @ vectors.T
        return kernel.astype(H.dtype, copy=False)

    def transform(self, X):
        """Return the kernel matrix between histograms and the training histograms.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Histograms.

        Returns
        -------
        kernel : ndarray of shape (n_samples, n_training_samples)
            float32 if ``X`` is, float64 otherwise.
        """
        check_is_fitted(self)
        refuse_device_arrays(X=X)
        H = validate_data(self, X, dtype=FLOATS, reset=False)
        kernel = self._kernel(_normalized(H), self.histograms_)
        if self._projection is not None:
            kernel = kernel @ self._projection
        return kernel.astype(H.dtype, copy=False)

    def __call__(self, X, Y=None):
        """Return the kernel matrix between two sets of histograms, without fitting.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features)
            Histograms.
        Y : array-like of shape (n_samples_Y, n_features), optional
            Histograms; ``X`` by default.

        Returns
        -------
        kernel : ndarray of shape (n_samples_X, n_samples_Y)
            The kernel matrix.
        """
        self._validate_params()
        refuse_device_arrays(X=X, Y=Y, C=self.C)
        same = Y is None or Y is X
        X = _normalized(_as_float(X))
        return self._kernel(X, None if same else _normalized(_as_float(Y)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return len(self.histograms_)

    def _kernel(self, H1, H2=None):
        full_1 = H1.any(axis=1)
        full_2 = full_1 if H2 is None else H2.any(axis=1)
        # Between unequal masses the distance is infinite, between empty ones it is zero.
        kernel = np.equal.outer(full_1, full_2).astype(np.float64)
        if full_1.any() and full_2.any():
            distances = pairwise_sinkhorn(
                H1[full_1].astype(np.float64),
                None if H2 is None else H2[full_2].astype(np.float64),
                self._check_costs(H1.shape[1]),
                reg=self.reg,
                kind=self.kind,
                tol=self.tol,
                normalize=True,  # rows in float32 have not exactly sum one
                n_jobs=self.n_jobs,
            )
            kernel[np.ix_(full_1, full_2)] = np.exp(-self.gamma * distances)
        return kernel

    def _check_costs(self, n_bins):
        if self.C is None:
            places = np.linspace(0.0, 1.0, n_bins)
            return np.subtract.outer(places, places) ** 2
        C = _as_float(self.C)
        if C.shape != (n_bins, n_bins):
            raise ValueError(
                f"C must have shape ({n_bins}, {n_bins}) for histograms of {n_bins} bins, got "
                f"shape {C.shape}."
            )
        if not np.isfinite(C).all():
            raise ValueError("C must be finite, got NaN or infinite costs.")
        if not np.array_equal(C, C.T):
            raise ValueError("C must be symmetric.")
        return C


def _as_float(array):
    if np.iscomplexobj(array):
        raise ValueError("Histograms and costs must be real, got complex values.")
    return np.asarray(array, dtype=np.float64)


def _normalized(H):
    if H.ndim != 2:
        raise ValueError(f"Histograms must be the rows of a matrix, got shape {H.shape}.")
    if np.min(H, initial=0.0) < 0:
        raise ValueError(f"Negative values in data passed to OTKernel: {H.min()}.")
    if not np.isfinite(H).all():
        raise ValueError("Histograms must be finite, got NaN or infinite masses.")
    H, dtype = H.astype(np.float64), H.dtype
    largest = H.max(axis=1, initial=0.0, keepdims=True)
    H /= np.where(largest > 0, largest, 1.0)  # sums of huge masses overflow
    sums = H.sum(axis=1, keepdims=True)
    return (H / np.where(sums > 0, sums, 1.0)).astype(dtype, copy=False)
