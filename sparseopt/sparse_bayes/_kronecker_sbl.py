"""Sparse Bayesian learning with a Kronecker-structured dictionary, as an estimator."""

from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions

from sparseopt._core import FitReporter, fitting
from sparseopt.sparse_bayes._kronecker_base import KroneckerRegressor
from sparseopt.sparse_bayes._kronecker_sbl_function import M_STEPS, kronecker_sbl

PUBLISHED_SHARES = {
    # (known noise, learnt noise)
    "am": (1e-2, 5e-3),
    "ksbl": (1e-2, 5e-3),
    "svd": (1e-3, 5e-4),
    "classic": (1e-3, 1e-3),
}


class KroneckerSBL(KroneckerRegressor):
    r"""Sparse Bayesian learning of coefficients with a Kronecker-structured support.

    Measurements are :math:`y = (A_1 \otimes \dots \otimes A_I) x + n`, and the support of x is a
    product of supports, one a factor. The coefficients, a tensor in C order, have the prior
    variances :math:`g_1[i_1] \cdots g_I[i_I]`. These are found by maximising the evidence; most go
    to zero. Everything is done with the factors: neither the dictionary nor a covariance is formed.

    Parameters
    ----------
    m_step : {"svd", "am", "ksbl", "classic"}, default="svd"
        How the variances of the factors follow from the second moments of the coefficients.
        "am" finds the best ones, by alternating minimisation or Newton's method, and increases
        the evidence in each iteration that removes no column. "svd" takes the factors of a
        rank-one approximation: it is faster, and more often right, but not monotone. An iteration
        that decreases the evidence is undone; "am" finishes after three of these, after 50
        iterations, or once "svd"
        has converged. "ksbl" alternates once an
        iteration. "classic" has one variance a coefficient, no structure, and forms the
        dictionary: it is for comparisons.
    pattern_coupling : float or sequence, default=None
        For block-sparse supports with ``m_step="am"``: variances :math:`g_d = C_d v_d`, where
        the matrix :math:`C_d` adds this share of each neighbour. A sequence has an entry a factor:
        a share, a nonnegative matrix with a row for each column of the factor, or None.
    coupling_step : {"mm", "nnls"}, default="mm"
        "mm" decreases the exact objective by majorisation-minimisation; "nnls" is the
        published heuristic, a nonnegative least-squares fit.
    noise_variance : float or "learn", default="learn"
        Noise variance, if it is known.
    noise_floor : float or "auto", default="auto"
        Least noise variance to learn, over the variance of ``y``. "auto" is 1e-3 if there are as
        many variances as measurements, which can then be explained without noise, and otherwise
        1e-10, or 1e-6 in single precision.
    initial_variance : float or "auto", default="auto"
        First prior variance of all coefficients. "auto" makes the data as large as they are, for
        factors whose columns have unit norm: then columns are compared by what they contribute, and
        their units change nothing. Columns of coupled factors keep their norms, since coupling
        relates variances of coefficients, and so do all columns if this is a number. With
        ``pattern_coupling`` it is the variance before neighbours add their shares.
    prune_tol : float, sequence of float or "auto", default="auto"
        Variances of a factor below this share of its largest are set to zero, for good; those of
        columns of unit norm are compared, see ``initial_variance``. "auto" is 1e-2
        for "am" and "ksbl", 1e-3 for "svd" and "classic". A sequence has an entry a factor.
    prune_floor : float or sequence of float, default=0.0
        The same for the share of the Euclidean norm of the factor's variances.
    prune_guard : float, default=0.01
        In one iteration, pruning must not raise the negative log evidence by more than this share
        of its size or of the number of observations, whichever is larger. Where all small columns
        would, those go that cost less in all. None switches the guard off.
    burn_in : int, default=10
        Number of iterations before the first pruning; a run that converges earlier prunes nothing.
    acceleration : {"squarem"}, default="squarem"
        Squared extrapolation of the iterations, which is undone where it decreases the
        evidence; None switches it off. It waits until "svd" is done.
    svd_fallback : bool, default=True
        Whether to undo iterations of "svd" that decrease the evidence.
    inner_solver : {"newton", "sweep"}, default="newton"
        How "am" minimises: by Newton's method in the logarithms, or by alternating.
    inner_tol : float, default=1e-6
        Relative accuracy of that minimisation: of its equations for "newton", of the change of the
        variances for "sweep". With coupled factors, 1e-4 is enough.
    inner_max_iter : int, default=50
        Largest number of its steps; with coupled factors at most 9.
    max_iter : int, default=1000
        Largest number of iterations.
    tol : float, default=1e-4
        The run has converged once an iteration changes the variances by no more than this,
        relatively, unless some are only small and should grow: then they do.
    n_init : int, default=1
        Number of runs: the first from equal variances, others from random ones. The one with the
        most evidence is kept. Where measurements are few, it is often better than the first.
    random_state : int, RandomState instance or None, default=None
        Where the further runs start.

    Attributes
    ----------
    coef_ : array of shape (n_1, ..., n_I) or (n_1, ..., n_I, n_targets)
        Posterior mean of the coefficients. For a matrix ``X`` it is (n_features,) or
        (n_features, n_targets).
    variance_ : array of shape (n_1, ..., n_I)
        Posterior variances of the coefficients, the same for all targets, in double precision.
    gammas_ : list of arrays of shape (n_d,)
        Prior variances of the factors, in double precision; all but the last have unit norm. For
        "classic", one array of shape (n_1, ..., n_I).
    supports_ : list of arrays of bool of shape (n_d,)
        The columns that were not pruned: where ``gammas_`` are not zero.
    noise_variance_ : float
        Noise variance, learnt or given.
    nll_ : float
        :math:`\log \det S + \mathrm{tr}(Y^H S^{-1} Y) / L` for L targets and the covariance
        S of the measurements: up to a constant, minus twice the log evidence of a target for
        real data, minus the log evidence for complex data.
    certificate_ : float
        Largest relative slope of ``nll_`` in the remaining variances, 0 at a stationary point: how
        far ``gammas_`` are from the mean, over the other factors, of second moments over variances,
        or, since that vanishes with the variances, how much the data that a variance explains
        exceed, relatively, what they determine of its coefficients.
    converged_ : bool
        Whether ``tol`` was reached, and no variance should grow by much.
    n_iter_ : int
        Number of iterations, those that were undone included; never more than ``max_iter``.
    history_ : dict
        Arrays ``iteration``, ``time`` (seconds), ``objective`` (``nll_`` before the iteration),
        ``certificate`` (relative change of the variances, or the growth that is missing; infinite
        where "am" takes over, and for a last iteration that only undoes one).
    n_features_in_ : int
        Number of columns of the dictionary.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features, if ``X`` is a data frame.

    Raises
    ------
    ValueError
        If the factors' numbers of rows do not multiply to that of ``y``, for values that are not
        finite or whose squares are no numbers, for a sequence without factors, and arguments that
        do not go together.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` was not reached, or the run stopped before pruning a whole factor, or where
        rounding errors were larger than the noise.
    UserWarning
        If the noise variance fell to its floor.

    See Also
    --------
    KroneckerDictionary : The dictionary as a linear operator.
    KroneckerOMP : Greedy pursuit with the same structure.

    Notes
    -----
    ``X`` is the dictionary: a sequence of factors, a :class:`KroneckerDictionary`, or, for one
    factor, a matrix whose rows are samples, as elsewhere in scikit-learn; that is sparse Bayesian
    regression without intercept. Only a matrix can be split into folds: rows of a Kronecker product
    are no samples of their own, and weights of rows would break the product. Real, complex and
    non-NumPy arrays are accepted, float32 is kept except for variances, and the fitted arrays are
    of the library of ``X``.

    References
    ----------
    Y. He & G. Joseph, "Bayesian algorithms for Kronecker-structured sparse vector recovery with
    application to IRS-MIMO channel estimation", IEEE Transactions on Signal Processing (2024),
    https://arxiv.org/abs/2307.14719.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import KroneckerSBL
    >>> rng = np.random.default_rng(0)
    >>> A, B, C = (rng.standard_normal((m, 15)) for m in (8, 10, 12))
    >>> x = np.zeros((15, 15, 15))
    >>> x[np.ix_([2, 7], [1, 4], [3, 11])] = rng.standard_normal((2, 2, 2))
    >>> y = np.einsum("ai,bj,ck,ijk->abc", A, B, C, x).ravel()
    >>> y += 0.05 * rng.standard_normal(y.size)
    >>> model = KroneckerSBL().fit([A, B, C], y)
    >>> [np.flatnonzero(support).tolist() for support in model.supports_]
    [[2, 7], [1, 4], [3, 11]]
    >>> bool(np.abs(model.coef_ - x).max() < 0.01)
    True
    """

    _parameter_constraints: dict = {
        "m_step": [StrOptions(set(M_STEPS))],
        "pattern_coupling": [None, Interval(Real, 0, None, closed="left"), "array-like"],
        "coupling_step": [StrOptions({"mm", "nnls"})],
        "noise_variance": [StrOptions({"learn"}), Interval(Real, 0, None, closed="neither")],
        "noise_floor": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "initial_variance": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "prune_tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left"), "array-like"],
        "prune_floor": [Interval(Real, 0, None, closed="left"), "array-like"],
        "prune_guard": [None, Interval(Real, 0, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "acceleration": [None, StrOptions({"squarem"})],
        "svd_fallback": ["boolean"],
        "inner_solver": [StrOptions({"newton", "sweep"})],
        "inner_tol": [Interval(Real, 0, None, closed="left")],
        "inner_max_iter": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        m_step="svd",
        *,
        pattern_coupling=None,
        coupling_step="mm",
        noise_variance="learn",
        noise_floor="auto",
        initial_variance="auto",
        prune_tol="auto",
        prune_floor=0.0,
        prune_guard=0.01,
        burn_in=10,
        acceleration="squarem",
        svd_fallback=True,
        inner_solver="newton",
        inner_tol=1e-6,
        inner_max_iter=50,
        max_iter=1000,
        tol=1e-4,
        n_init=1,
        random_state=None,
    ):
        self.m_step = m_step
        self.pattern_coupling = pattern_coupling
        self.coupling_step = coupling_step
        self.noise_variance = noise_variance
        self.noise_floor = noise_floor
        self.initial_variance = initial_variance
        self.prune_tol = prune_tol
        self.prune_floor = prune_floor
        self.prune_guard = prune_guard
        self.burn_in = burn_in
        self.acceleration = acceleration
        self.svd_fallback = svd_fallback
        self.inner_solver = inner_solver
        self.inner_tol = inner_tol
        self.inner_max_iter = inner_max_iter
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state

    @classmethod
    def published(cls, m_step="am", *, noise_variance="learn", **parameters):
        """Return an estimator with the settings of the paper's synthetic experiments.

        Parameters
        ----------
        m_step : {"am", "svd", "ksbl", "classic"}, default="am"
            The method.
        noise_variance : float or "learn", default="learn"
            Noise variance; the thresholds for pruning depend on whether it is known.
        **parameters : dict
            Other parameters, or other values of these. With ``pattern_coupling``, the paper
            prunes by thresholds of its own.

        Returns
        -------
        KroneckerSBL
            Without acceleration or guards: variances start at one, are pruned from the
            first iteration on, and 150 iterations are the limit.

        Examples
        --------
        >>> from sparseopt.sparse_bayes import KroneckerSBL
        >>> KroneckerSBL.published("svd", noise_variance=0.1).prune_tol
        0.001
        """
        settings = {
            "initial_variance": 1.0,
            "burn_in": 0,
            "acceleration": None,
            "prune_guard": None,
            "svd_fallback": False,
            "inner_solver": "sweep",
            "inner_tol": 1e-5,
            "inner_max_iter": 10_000,
            "max_iter": 150,
        }
        if m_step in PUBLISHED_SHARES:
            settings["prune_tol"] = PUBLISHED_SHARES[m_step][isinstance(noise_variance, str)]
        if parameters.get("pattern_coupling") is not None:
            settings |= {"coupling_step": "nnls", "inner_tol": 1e-4}
        return cls(m_step, noise_variance=noise_variance, **{**settings, **parameters})

    @fitting
    def fit(self, X, y):
        """Estimate coefficients and variances.

        Parameters
        ----------
        X : sequence of arrays, KroneckerDictionary or array-like of shape (n_samples, n_features)
            Factors of shapes (m_d, n_d), or one matrix; real or complex.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Measurements, whose number is the product of all m_d, or a tensor of shape
            (m_1, ..., m_I) or (m_1, ..., m_I, n_targets). Targets share the support.

        Returns
        -------
        self : KroneckerSBL
            The fitted estimator.
        """
        factors, Y = self._validate_fit_data(X, y)
        with FitReporter(self, X, y, max_iter=self.max_iter) as reporter:
            with reporter.task("Kronecker SBL", _attributes) as callback:
                result = kronecker_sbl(factors, Y, **self.get_params(deep=False), callback=callback)
            self._store(result)
        return self

    def _store(self, result):
        self.coef_, self.variance_ = result.coef, result.variance
        self.gammas_, self.supports_ = result.gammas, result.supports
        self.noise_variance_ = float(result.noise_variance)
        self.nll_ = float(result.fun)
        self.certificate_ = float(result.certificate)
        self.converged_ = bool(result.success)
        self.n_iter_ = int(result.nit)
        self.history_ = result.history


def _attributes(estimate):
    return {"coef_": estimate.coefficients()}
