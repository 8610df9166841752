"""The estimator of bilinear models: sparse coefficients, unknown symbols, an unknown dictionary."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sparseopt._core import ComplexSupportMixin, FitReporter, array_namespace, fitting, to_numpy
from sparseopt.sparse_bayes._variational._bilinear_data import (
    FixedDictionary,
    as_modelled,
    as_parametric,
    check_array,
    check_constellation,
    check_symbols,
    make_observations,
    parameter_prior,
)
from sparseopt.sparse_bayes._variational._bilinear_function import bilinear_subspace_vbi
from sparseopt.sparse_bayes._variational._bilinear_state import Refinement, Schedule
from sparseopt.sparse_bayes._variational._support_priors import JointSupport

TEMPERED = 30  # iterations with a capped precision of the noise
PARAMETER_STEPS = 2  # in one iteration
PRIOR_METHODS = [
    "check",
    "extrinsic_log_odds",
    "log_partition",
    "prior_probability",
    "m_step",
    "common_proba",
]
UNSETTLED = 0.5  # share of the iterations after which symbols become discrete in any case


class BilinearSubspaceVBI(
    ComplexSupportMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    r"""Sparse coefficients behind unknown symbols and an uncertain dictionary (EM-Turbo-BiSVBI).

    Observations :math:`y_{nl}` of block n and snapshot l are

    .. math:: y_{nl} = \sum_k d_{knl}\, \Phi_{kn}(\theta)\, x_k + w_{nl},

    where the coefficients :math:`x_k` of each group are sparse, most symbols :math:`d_{knl}` are
    unknown, and the columns of the dictionary :math:`\Phi` depend on parameters :math:`\theta` that
    are not quite known. Variational Bayes estimates all of them, and the noise, with probabilities
    of which coefficients are active.

    Parameters
    ----------
    dictionary : callable, array, DenseDictionary or FactoredDictionary, default=None
        ``dictionary(params)``, or ``dictionary(params, columns)`` for some columns only, returns
        an array of shape (K, N, M, Q), or a :class:`FactoredDictionary`. Its attribute ``kinds``
        says, by parameter, whether rows of it belong to columns ("column"), to groups ("group") or
        whether it moves everything ("shared"); ``jac(params, columns)`` returns the derivatives,
        or ``vjp(params, G)`` the gradient of :math:`2 \mathrm{Re} \langle G, \Phi \rangle`: see
        :func:`check_dictionary_gradient`. An array is a dictionary without parameters, of shape
        (K, N, M, Q), or (M, Q) for one group and one block. By default, it is the identity.
    params : dict of str to array, default=None
        Parameters to start from.
    support_prior : support prior, default=None
        Which coefficients are active: :class:`JointSupport` by default.
    constellation : array-like of shape (n_values,), default=None
        Values that symbols take, all as probable. By default any are possible, with a normal prior
        of the power of the known ones.
    symbols : {"auto", "gaussian", "discrete"}, default="auto"
        How symbols are updated: as normal ones, as values of the constellation, or the former
        until the dictionary has settled, and then the latter. Discrete symbols from the start tend
        to fix wrong values.
    covariance : {"subspace", "diag", "full"}, default="subspace"
        Which posterior covariances of coefficients are kept: among those that are probably active,
        none or all. "full" inverts a matrix of size K Q, and starts worse.
    a : float, default=1.0
        Shape of the prior of the precisions of active coefficients.
    b : float or "auto", default="auto"
        Rate of it, in units of squared coefficients. "auto" is ``a`` times the power that active
        coefficients would have if there were no noise, and their prior number, but at least one in
        each group. If few columns are found where there should be many, or none, try less.
    a0 : float, default=1.0
        Shape of the prior of the precisions of the other coefficients.
    b0 : float or "auto", default="auto"
        Rate of it; "auto" is 1e-5 times ``b``.
    noise_variance : float, default=None
        Variance of the noise, learnt by default.
    m_step : {"gauss_newton", "gradient", None}, default="gauss_newton"
        How parameters of the dictionary change; None keeps them.
    m_step_start : int, default=12
        Number of iterations before they do.
    param_std : dict of str to float or array, default=None
        Standard deviations of the normal priors of the parameters around ``params``. Those that
        are not named have a flat prior.
    trust_radius : dict of str to float, default=None
        Longest step of each parameter, by default half its (largest) standard deviation; without
        that there is no limit. An iteration takes two steps.
    merge_coherence : float, default=0.98
        Active columns more alike than this become one; None lets them be.
    screening : float, default=None
        If given, a coarse fit precedes: of the known symbols only, with this share of the columns,
        those nearest to the space of the signals. Below one half, true columns get lost.
    temper : bool, default=True
        Whether the precision of the noise, if it is learnt, is capped in the first 30 iterations
        (or half of ``max_iter``), at one for a signal-to-noise ratio of 5 dB. While columns
        are off their places a sharper one would freeze a wrong support.
    collapse : bool, default=False
        Whether precisions are integrated out of the odds of being active: a tighter bound, which
        is more easily trapped.
    n_inner : int, default=10
        Steps of conjugate gradients for the mean in each iteration.
    n_init : int, default=5
        Number of starts: from ``params``, and from parameters drawn near them, by 0.4 standard
        deviations of their priors. That with the highest bound after 30 iterations goes on.
        Without such priors there are at most two, the second from larger coefficients.
    max_active : int, default=1000
        Largest number of coefficients whose covariances are kept.
    max_iter : int, default=150
        Largest number of iterations.
    tol : float, default=1e-4
        The fit ends once an iteration changes the response by no more than this, relatively.
    random_state : int, RandomState instance or None, default=None
        Draws the other starts; an int makes the result reproducible.

    Attributes
    ----------
    coef_ : array of shape (K, Q)
        Posterior mean of the coefficients.
    coef_variance_ : ndarray of shape (K, Q)
        Their posterior variances.
    support_proba_ : ndarray of shape (K, Q)
        Probabilities of being active. They are too sure of themselves at low signal-to-noise
        ratios.
    common_support_proba_ : ndarray of shape (Q,) or None
        Probabilities that a column is active in any group, if the prior of the support has such.
    params_ : dict of str to ndarray
        Parameters of the dictionary.
    symbols_ : ndarray of shape (K, N, L)
        Posterior means of the symbols; known ones as given.
    symbol_proba_ : ndarray of shape (K, N, L, n_values) or None
        Probabilities of the values of the constellation, if symbols are discrete in the end.
    response_ : array of shape (K, N, M)
        What a symbol 1 of each group gives: dictionary times coefficients.
    noise_variance_ : float
        Variance of the noise.
    support_prior_ : support prior
        The prior with the probabilities that were learnt.
    elbo_ : ndarray of shape (n_iter_,)
        Lower bound of the log evidence after each iteration, with the log prior density of the
        parameters, but for its constant. It may fall where the model changes: when symbols become
        discrete, when the cap of the noise ends, where columns leave the subspace or are merged.
    certificate_ : float
        Relative change of the response in the last iteration.
    converged_ : bool
        Whether it met ``tol``.
    n_iter_ : int
        Number of iterations.
    history_ : dict of ndarray
        ``iteration``, ``time`` (seconds), ``objective`` (minus the bound), ``certificate``.
    n_features_in_ : int
        Number M of entries of an observation.

    Raises
    ------
    ValueError
        If shapes do not fit, a group has no known symbol, or anything is not finite or so large or
        small that its square is not a number.
    FloatingPointError
        If anything overflows on the way.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` was not met.

    See Also
    --------
    SubspaceVBIRegressor : The linear model.
    check_dictionary_gradient : Checks the derivatives of a dictionary.

    Notes
    -----
    Without a dictionary, the rows of a matrix are multiples of one sparse vector. In general each
    group needs a known symbol, because :math:`x_k` and :math:`d_k` could exchange a factor.

    The bound has many local maxima. Compare ``elbo_[-1]`` of fits with different starts
    (``n_init``, ``params``).

    References
    ----------
    A. Liu, W. Xu, W. Xu & G. Caire, "Bilinear subspace variational Bayesian inference for joint
    scattering environment sensing and data recovery in ISAC systems", arXiv 2502.00811 (2025).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import BilinearSubspaceVBI, IndependentSupport
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((40, 60)) / np.sqrt(40)
    >>> x = np.zeros(60)
    >>> x[[7, 31]] = 2.0, -1.5
    >>> symbols = rng.choice([-1.0, 1.0], size=(1, 1, 12))
    >>> y = symbols[0, 0][:, None] * (X @ x) + 0.1 * rng.standard_normal((12, 40))
    >>> model = BilinearSubspaceVBI(X, constellation=[-1, 1], support_prior=IndependentSupport())
    >>> known = np.arange(12) < 2
    >>> model = model.fit(y, pilots=symbols, pilot_mask=known[None, None])
    >>> np.flatnonzero(model.support_proba_[0] > 0.5)
    array([ 7, 31])
    >>> bool(np.all(np.sign(model.symbols_) == symbols))
    True
    """

    _parameter_constraints: dict = {
        "dictionary": [callable, "array-like", HasMethods(["forward", "adjoint"]), None],
        "params": [dict, None],
        "support_prior": [HasMethods(PRIOR_METHODS), None],
        "constellation": ["array-like", None],
        "symbols": [StrOptions({"auto", "gaussian", "discrete"})],
        "covariance": [StrOptions({"subspace", "diag", "full"})],
        "a": [Interval(Real, 0, None, closed="neither")],
        "b": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "a0": [Interval(Real, 0, None, closed="neither")],
        "b0": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "noise_variance": [Interval(Real, 0, None, closed="neither"), None],
        "m_step": [StrOptions({"gauss_newton", "gradient"}), None],
        "m_step_start": [Interval(Integral, 0, None, closed="left")],
        "param_std": [dict, None],
        "trust_radius": [dict, None],
        "merge_coherence": [Interval(Real, 0, 1, closed="both"), None],
        "screening": [Interval(Real, 0, 1, closed="right"), None],
        "temper": ["boolean"],
        "collapse": ["boolean"],
        "n_inner": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_active": [Interval(Integral, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        dictionary=None,
        params=None,
        *,
        support_prior=None,
        constellation=None,
        symbols="auto",
        covariance="subspace",
        a=1.0,
        b="auto",
        a0=1.0,
        b0="auto",
        noise_variance=None,
        m_step="gauss_newton",
        m_step_start=12,
        param_std=None,
        trust_radius=None,
        merge_coherence=0.98,
        screening=None,
        temper=True,
        collapse=False,
        n_inner=10,
        n_init=5,
        max_active=1000,
        max_iter=150,
        tol=1e-4,
        random_state=None,
    ):
        self.dictionary = dictionary
        self.params = params
        self.support_prior = support_prior
        self.constellation = constellation
        self.symbols = symbols
        self.covariance = covariance
        self.a = a
        self.b = b
        self.a0 = a0
        self.b0 = b0
        self.noise_variance = noise_variance
        self.m_step = m_step
        self.m_step_start = m_step_start
        self.param_std = param_std
        self.trust_radius = trust_radius
        self.merge_coherence = merge_coherence
        self.screening = screening
        self.temper = temper
        self.collapse = collapse
        self.n_inner = n_inner
        self.n_init = n_init
        self.max_active = max_active
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    @property
    def _n_features_out(self):
        return len(self.coef_)

    @fitting
    def fit(self, X, y=None, *, pilots=None, pilot_mask=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_blocks, n_snapshots, n_entries) or (n_snapshots, n_entries)
            Observations y, N blocks of L snapshots with M entries, or one block; real or complex.
        y : None
            Ignored.
        pilots : array-like broadcastable to (n_groups, n_blocks, n_snapshots), default=None
            Symbols; those that are not known may be NaN. If None, and there is one group, that of
            the observation with the largest entry is 1.
        pilot_mask : array-like of bool broadcastable to that shape, default=None
            Which symbols are known; by default those that are not NaN.

        Returns
        -------
        self : BilinearSubspaceVBI
            The fitted estimator.
        """
        data = self._validate_data(X, pilots, pilot_mask)
        parametric, params, observations, root = data
        support = JointSupport() if self.support_prior is None else self.support_prior
        support.check(parametric.shape[0], parametric.shape[3])
        rates = (rate if rate == "auto" else rate * root**2 for rate in (self.b, self.b0))
        rate, rate_off = rates  # of coefficients that go with symbols of power 1
        prior, trust = parameter_prior(params, self.param_std, self.trust_radius)
        method = self.m_step if params else None
        with FitReporter(self, X, y, max_iter=self.max_iter) as reporter:
            with reporter.task("Bilinear VBI", lambda x: {"coef_": x.array / root}) as callback:
                result = bilinear_subspace_vbi(
                    parametric,
                    params,
                    observations,
                    support=support,
                    shape=self.a,
                    rate=rate,
                    shape_off=self.a0,
                    rate_off=rate_off,
                    covariance=self.covariance,
                    n_inner=self.n_inner,
                    max_active=self.max_active,
                    collapse=self.collapse,
                    noise_variance=self.noise_variance,
                    refinement=Refinement(
                        method, prior, trust, PARAMETER_STEPS, self.merge_coherence
                    ),
                    schedule=self._schedule(method),
                    screening=self.screening,
                    n_init=self.n_init,
                    rng=check_random_state(self.random_state),
                    max_iter=self.max_iter,
                    tol=self.tol,
                    callback=callback,
                )
            self._store(result, root)
        return self

    def _validate_data(self, X, pilots, pilot_mask):
        """Return the dictionary, its parameters, observations, and the root of symbols' power."""
        Y, self._is_matrix = check_array(self, X, reset=True)
        parametric, params = as_parametric(self.dictionary, self.params, Y)
        K, N = parametric.shape[:2]
        pilots, known = check_symbols(pilots, pilot_mask, (K, N, Y.shape[1]), Y)
        constellation = check_constellation(self.constellation)
        if constellation is None and self.symbols == "discrete":
            raise ValueError("symbols='discrete' needs a constellation.")
        self._dtype = Y.dtype
        first = parametric.values(params, np.arange(1)).columns(np.arange(1))
        Y = as_modelled(Y, first, pilots, constellation)
        if isinstance(parametric.callback, FixedDictionary):
            parametric.callback.cast(Y.dtype)
        return parametric, params, *make_observations(Y, pilots, known, constellation)

    def _schedule(self, method):
        discrete = None
        if self.constellation is not None and self.symbols != "gaussian":
            discrete = 0 if self.symbols == "discrete" else int(UNSETTLED * self.max_iter)
        cold = TEMPERED if self.temper and self.noise_variance is None else 0
        return Schedule(self.m_step_start if method else 0, discrete, min(cold, self.max_iter // 2))

    def _store(self, result, root):
        symbols = result.symbols
        self._decoder, self._unit, self._symbol_root = result.decoder, result.unit, root
        xp = array_namespace(result.x)
        kept = xp.result_type(result.x.dtype, self._dtype)  # complex, if the data came so
        self.coef_ = xp.astype(result.x / root, kept)
        self.coef_variance_ = result.variance / root**2
        self.support_proba_ = result.proba
        self.common_support_proba_ = result.support.common_proba(result.evidence)
        self.support_prior_ = result.support
        self.params_ = result.params
        self.symbols_ = symbols.mean * root
        self.symbol_proba_ = symbols.proba
        self.response_ = xp.astype(result.response / root, kept)
        self.noise_variance_ = float(result.noise_variance)
        self.elbo_ = result.elbo
        self.certificate_ = float(result.certificate)
        self.converged_ = bool(result.success)
        self.n_iter_ = int(result.nit)
        self.history_ = result.history

    def transform(self, X):
        """Estimate the symbols of observations, whatever is unknown about them.

        Parameters
        ----------
        X : array-like of shape (n_blocks, n_snapshots, n_entries) or (n_snapshots, n_entries)
            Observations of the blocks seen in ``fit``, with any number of snapshots.

        Returns
        -------
        symbols : ndarray of shape (n_groups, n_blocks, n_snapshots), or (n_snapshots, n_groups)
            Posterior means; of the second shape if ``fit`` was given a matrix.
        """
        check_is_fitted(self)
        Y, _ = check_array(self, X, reset=False)
        N = self.response_.shape[1]
        if Y.shape[0] != N:
            raise ValueError(f"X must have {N} blocks, as in fit, got {Y.shape[0]}.")
        symbols = self._decoder.decode(Y / self._unit) * self._symbol_root
        symbols = symbols.astype(np.result_type(symbols, to_numpy(self.coef_[:0, ...])), copy=False)
        return symbols[:, 0].T if self._is_matrix else symbols

    def inverse_transform(self, symbols):
        """Predict observations without noise.

        Parameters
        ----------
        symbols : array-like of shape (n_groups, n_blocks, n_snapshots), or (n_snapshots, n_groups)
            Symbols, in the layout of :meth:`transform`.

        Returns
        -------
        X : array of shape (n_blocks, n_snapshots, n_entries) or (n_snapshots, n_entries)
            Observations.
        """
        check_is_fitted(self)
        xp = array_namespace(self.response_)
        symbols = np.asarray(symbols)
        if symbols.dtype.kind == "c" and not xp.isdtype(self.response_.dtype, "complex floating"):
            if symbols.imag.any():
                raise ValueError("symbols must be real, as the model is, got complex ones.")
            symbols = symbols.real
        if self._is_matrix and symbols.ndim == 2:
            symbols = symbols.T[:, None, :]
        K, N, _ = self.response_.shape
        if symbols.ndim != 3 or symbols.shape[:2] != (K, N):
            raise ValueError(
                f"symbols must have shape ({K}, {N}, n_snapshots), got {symbols.shape}."
            )
        symbols = xp.asarray(
            np.moveaxis(symbols, 0, 2), dtype=self.response_.dtype, device=self.response_.device
        )
        X = xp.matmul(symbols, xp.permute_dims(self.response_, (1, 0, 2)))
        return X[0, ...] if self._is_matrix else X
