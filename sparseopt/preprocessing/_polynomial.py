r"""Tensor-product orthogonal polynomials as features.

    phi_nu(x) = prod_k p_{nu_k}(t_k),    t_k = (2 x_k - l_k - u_k) / (u_k - l_k) in [-1, 1],

with ``p_n = sqrt(2n + 1) P_n`` (Legendre, orthonormal for the uniform distribution) or
``p_n = sqrt(2) T_n`` and ``p_0 = 1`` (Chebyshev, orthonormal for the arcsine distribution).
X (n_samples, n_features), index set (n_terms, n_features), result (n_samples, n_terms).

B. Adcock, S. Brugiapaglia, C. G. Webster (2022). Sparse Polynomial Approximation of
High-Dimensional Functions. SIAM.
"""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from sparseopt._core import fitting
from sparseopt.preprocessing._index_sets import (
    RULES,
    check_index_set,
    enumerate_terms,
    largest_order,
)
from sparseopt.preprocessing._kernels.cpu import tensor_products

SYMBOLS = {"legendre": "P", "chebyshev": "T"}

# Rescaling to the domain rounds: an input this many ulps outside of it is at its border.
ROUNDING_ULPS = 16


@validate_params(
    {"kind": [StrOptions(set(SYMBOLS))], "index_set": ["array-like"]},
    prefer_skip_nested_validation=True,
)
def intrinsic_weights(kind, index_set):
    r"""Largest absolute values of orthonormal polynomials on their domain.

    They are the penalty weights of weighted sparse polynomial approximation [1]_: a
    polynomial that takes large values needs many samples, and pays a high penalty.

    Parameters
    ----------
    kind : {"legendre", "chebyshev"}
        Family of polynomials.
    index_set : array-like of shape (n_terms, n_features)
        Multi-indices: the degree of each term in each variable.

    Returns
    -------
    weights : ndarray of shape (n_terms,)
        :math:`\prod_k \sqrt{2 \nu_k + 1}` for Legendre, :math:`\sqrt{2}` to the number of
        non-zero :math:`\nu_k` for Chebyshev. All are >= 1.

    Raises
    ------
    ValueError
        If ``kind`` is unknown, or ``index_set`` is not a matrix of integers >= 0.

    See Also
    --------
    OrthogonalPolynomialFeatures : Stores them as ``weights_``.

    References
    ----------
    .. [1] B. Adcock, S. Brugiapaglia, C. G. Webster (2022). Sparse Polynomial
       Approximation of High-Dimensional Functions. SIAM.

    Examples
    --------
    >>> from sparseopt.preprocessing import intrinsic_weights
    >>> intrinsic_weights("legendre", [[0, 0], [4, 0], [1, 1]])
    array([1., 3., 3.])
    """
    index_set = check_index_set(index_set)
    if kind == "legendre":
        return np.sqrt(2.0 * index_set + 1.0).prod(axis=1)
    return np.sqrt(2.0) ** np.count_nonzero(index_set, axis=1)


class OrthogonalPolynomialFeatures(TransformerMixin, BaseEstimator):
    r"""Products of orthonormal polynomials in the features.

    Where :class:`~sklearn.preprocessing.PolynomialFeatures` gives monomials, which are
    nearly collinear, this transformer gives Legendre or Chebyshev polynomials, which are
    orthonormal for the uniform or the arcsine distribution on the domain. They suit sparse
    regression: with ``weights_`` as penalty weights it is *weighted sparse polynomial
    approximation*.

    Parameters
    ----------
    kind : {"legendre", "chebyshev"}, default="legendre"
        Family of polynomials. ``"chebyshev"`` suits samples that are denser near the
        borders of the domain.
    index_set : str or array-like of shape (n_terms, n_features), default="hyperbolic_cross"
        Which products to form. With :math:`\nu_k` the degree in feature k, and n the
        ``degree``: :math:`\prod_k (\nu_k + 1) \le n + 1` for ``"hyperbolic_cross"``,
        :math:`\sum_k \nu_k \le n` for ``"total_degree"`` and :math:`\max_k \nu_k \le n` for
        ``"tensor"``. An array gives the degrees of each term itself; ``degree`` and
        ``max_terms`` are then ignored.
    degree : int, default=3
        Largest degree in a single feature.
    max_terms : int, optional
        If given, it replaces ``degree`` by the largest one with at most that many output
        features.
    include_bias : bool, default=True
        Whether to keep the constant term if the index set has one. Drop it before a model
        with an intercept.
    domain : "fit", pair of floats or array-like of shape (n_features, 2), default="fit"
        Lower and upper end of each feature's interval, on which the polynomials are
        orthonormal. ``"fit"`` takes the smallest and largest training values (for a
        constant feature, an interval around the constant). Give the domain, for example
        ``(-1, 1)``, when the distribution of the samples is known.
    out_of_domain : {"auto", "error", "clip", "extrapolate"}, default="auto"
        What happens to values outside the domain: raise, move them to its border, or
        evaluate the polynomials there, which grow quickly. ``"auto"`` raises if the domain
        was given and clips if it was learnt, where new samples may well exceed it.

    Attributes
    ----------
    index_set_ : ndarray of shape (n_output_features_, n_features_in_), dtype int64
        Degree of each output feature in each input feature.
    weights_ : ndarray of shape (n_output_features_,)
        Intrinsic weights, see :func:`intrinsic_weights`; pass them as ``weights`` to the
        estimators of :mod:`sparseopt.linear_model`.
    degree_ : int
        Largest degree in a single feature.
    domain_ : ndarray of shape (n_features_in_, 2)
        Lower and upper end of each feature's interval.
    n_output_features_ : int
        Number of terms.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during ``fit``, if all were strings.

    See Also
    --------
    hyperbolic_cross : The default index set.
    sklearn.preprocessing.PolynomialFeatures : Monomials.

    Notes
    -----
    float32 input gives float32 features, computed in double precision. The cost is a few
    multiplications an output entry.

    References
    ----------
    B. Adcock, S. Brugiapaglia, C. G. Webster (2022). Sparse Polynomial Approximation of
    High-Dimensional Functions. SIAM.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.preprocessing import OrthogonalPolynomialFeatures
    >>> features = OrthogonalPolynomialFeatures(degree=1, domain=(0, 2))
    >>> features.fit_transform(np.array([[0.0, 1.0], [2.0, 2.0]])).round(2)
    array([[ 1.  , -1.73,  0.  ],
           [ 1.  ,  1.73,  1.73]])
    >>> features.get_feature_names_out()
    array(['1', 'P1(x0)', 'P1(x1)'], dtype=object)
    """

    _parameter_constraints = {
        "kind": [StrOptions(set(SYMBOLS))],
        "index_set": [StrOptions(set(RULES)), "array-like"],
        "degree": [Interval(Integral, 0, None, closed="left")],
        "max_terms": [Interval(Integral, 1, None, closed="left"), None],
        "include_bias": ["boolean"],
        "domain": [StrOptions({"fit"}), "array-like"],
        "out_of_domain": [StrOptions({"auto", "error", "clip", "extrapolate"})],
    }

    def __init__(
        self,
        kind="legendre",
        *,
        index_set="hyperbolic_cross",
        degree=3,
        max_terms=None,
        include_bias=True,
        domain="fit",
        out_of_domain="auto",
    ):
        self.kind = kind
        self.index_set = index_set
        self.degree = degree
        self.max_terms = max_terms
        self.include_bias = include_bias
        self.domain = domain
        self.out_of_domain = out_of_domain

    @fitting
    def fit(self, X, y=None):
        """Choose the terms and, with ``domain="fit"``, learn the domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : OrthogonalPolynomialFeatures
            The fitted transformer.
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        self.domain_ = _learn_domain(X) if self._learns_domain() else self._check_domain()
        self._to_standard_domain(X)  # raises now rather than in transform
        self.index_set_ = self._choose_terms()
        self.weights_ = intrinsic_weights(self.kind, self.index_set_)
        self.degree_ = int(self.index_set_.max())
        self.n_output_features_ = len(self.index_set_)
        return self

    def transform(self, X):
        """Evaluate the polynomials.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        features : ndarray of shape (n_samples, n_output_features_)
            Values of the polynomials; float32 if X is, float64 otherwise. A data frame
            after ``set_output(transform="pandas")`` or ``"polars"``.

        Raises
        ------
        ValueError
            If a value lies outside the domain and ``out_of_domain`` says so, or so far
            outside that the polynomials overflow.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        T = self._to_standard_domain(X)
        features = evaluate_polynomials(self.kind, self.index_set_, T, dtype=X.dtype)
        if np.abs(T).max() > 1.0 and not np.isfinite(features).all():
            raise ValueError(
                f"The polynomials overflow {X.dtype} so far outside the domain. Set out_of_domain "
                "to 'clip', widen domain or lower degree."
            )
        return features

    def get_feature_names_out(self, input_features=None):
        """Name the output features: ``"P2(age) P1(bmi)"`` is a product of two polynomials.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features,), default=None
            Names of the input features; by default those seen in ``fit``, or ``x0``,
            ``x1``, ...

        Returns
        -------
        feature_names_out : ndarray of str of shape (n_output_features_,)
            One name a term: P for Legendre and T for Chebyshev polynomials.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        symbol = SYMBOLS[self.kind]
        terms = [
            " ".join(f"{symbol}{nu[k]}({names[k]})" for k in np.flatnonzero(nu)) or "1"
            for nu in self.index_set_
        ]
        return np.array(terms, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _learns_domain(self):
        return isinstance(self.domain, str)

    def _check_domain(self):
        domain = np.asarray(self.domain, dtype=np.float64)
        shape = (self.n_features_in_, 2)
        if domain.shape not in ((2,), shape):
            raise ValueError(
                f"domain must be 'fit', a pair (lower, upper) or an array of shape {shape}, "
                f"got {self.domain!r}."
            )
        domain = np.array(np.broadcast_to(domain, shape))
        if not (np.isfinite(domain).all() and (domain[:, 0] < domain[:, 1]).all()):
            raise ValueError(f"domain must be finite with lower < upper, got {self.domain!r}.")
        return domain

    def _choose_terms(self):
        if isinstance(self.index_set, str):
            order, n_dropped = self.degree, int(not self.include_bias)
            if self.max_terms is not None:
                order = largest_order(
                    self.index_set, self.n_features_in_, self.max_terms + n_dropped
                )
            terms = enumerate_terms(self.index_set, self.n_features_in_, order)
        else:
            terms = check_index_set(self.index_set, self.n_features_in_)
        if not self.include_bias:
            terms = terms[terms.any(axis=1)]
            if len(terms) == 0:
                raise ValueError(
                    "include_bias=False leaves no term: the index set holds only the "
                    "constant. Raise degree or max_terms."
                )
        return terms

    def _to_standard_domain(self, X):
        """Return X in the coordinates where the domain is [-1, 1], as float64."""
        lower, upper = self.domain_.T
        centre, half_width = 0.5 * lower + 0.5 * upper, 0.5 * upper - 0.5 * lower
        T = (X - centre) / half_width
        policy = self.out_of_domain
        if policy == "auto":
            policy = "clip" if self._learns_domain() else "error"
        if policy == "error":
            # The border itself is known only up to the precision of X.
            size = np.maximum(np.abs(lower), np.abs(upper)) / half_width
            slack = ROUNDING_ULPS * np.finfo(X.dtype).eps * size
            self._refuse_outside(X, np.abs(T) > 1.0 + slack)
        return T if policy == "extrapolate" else np.clip(T, -1.0, 1.0)

    def _refuse_outside(self, X, outside):
        if outside.any():
            row, column = np.argwhere(outside)[0]
            lower, upper = self.domain_[column]
            raise ValueError(
                f"X has {np.count_nonzero(outside)} values outside the domain, the first is "
                f"{X[row, column]} in row {row}, feature {column}, where the domain is "
                f"[{lower}, {upper}]. Rescale X, widen domain, use domain='fit', or set "
                "out_of_domain to 'clip' or 'extrapolate'."
            )


def evaluate_polynomials(kind, index_set, T, *, dtype):
    """Evaluate the terms of ``index_set`` (n_terms, d) at the rows of ``T`` (n, d), float64."""
    degrees = index_set.max(axis=0)
    starts = np.concatenate([[0], np.cumsum(degrees + 1)])
    terms, variables = np.nonzero(index_set)
    first_factor = np.searchsorted(terms, np.arange(len(index_set) + 1))
    factors = starts[variables] + index_set[terms, variables]
    out = np.empty((len(T), len(index_set)), dtype=dtype)
    tensor_products(T, kind == "chebyshev", starts, first_factor, factors, out)
    return out


def _learn_domain(X):
    lower, upper = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    constant = 0.5 * upper - 0.5 * lower < np.finfo(np.float64).tiny
    margin = np.where(constant, np.maximum(1.0, np.abs(lower)), 0.0)
    with np.errstate(over="ignore"):  # a constant near the largest number is a border then
        domain = np.column_stack([lower - margin, upper + margin])
    return np.clip(domain, np.finfo(np.float64).min, np.finfo(np.float64).max)
