"""The estimator of online robust PCA."""

from numbers import Integral, Real

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from sparseopt._core import FitReporter, fitting
from sparseopt.decomposition._low_rank_model import LowRankModelMixin
from sparseopt.decomposition._online_stream import StreamOptions, learn_rows
from sparseopt.decomposition._robust_projection import robust_projection

DEFAULT_COMPONENTS = 5
BLOCK_ENTRIES = 2**20  # of the rows between two reports to the callbacks
LEAST_BLOCKS = 4


class OnlineRobustPCA(CallbackSupportMixin, LowRankModelMixin, BaseEstimator):
    r"""Low-rank plus sparse decomposition of a stream of samples, in constant memory.

    Fits

    .. math::

        \min_{C, x, e} \sum_i \Big( \tfrac12 \|z_i - C^\top x_i - e_i\|^2
        + \tfrac{\lambda_1}{2} \|x_i\|^2 + \lambda_2 \|e_i\|_1 \Big)
        + \tfrac{\lambda_1}{2} \|C\|_F^2

    to samples :math:`z_i` that are seen one after the other: their scores :math:`x_i` and gross
    errors :math:`e_i` are found exactly, the components :math:`C` (in rows) follow after each
    sample or batch. At its minimum, this is stable principal component pursuit with
    :math:`\lambda_1` times the nuclear norm; superfluous components shrink to zero.

    A few samples are kept, so that what earlier ones were mistaken for can be put right.

    Parameters
    ----------
    n_components : int, optional
        Largest number of components; by default 5, or ``n_features`` if that is smaller.
    lam1 : float or "auto", default="auto"
        Weight :math:`\lambda_1 \ge 0` of scores and components, in the units of ``X``.
        "auto" is :math:`\sigma \sqrt{2 \max(n, n_{features})}` for the n first samples, with the
        level :math:`\sigma` of their noise, or a hundredth of the median size of their entries
        if that is more.
    lam2 : float or "auto", default="auto"
        Weight :math:`\lambda_2 > 0` of the errors, the size from which a residual counts as an
        error. "auto" is :math:`\sqrt 2 \sigma`. The paper takes
        :math:`\lambda_1 = \lambda_2 = 1 / \sqrt{\max(n, n_{features})}` for both.
    init : {"pcp", "svd", "random"} or array-like of shape (n_components, n_features), default="pcp"
        Components to start from: those of a robust PCA of the first samples, of their singular
        value decomposition, random ones, or given ones.
    memory_size : int or "auto", default="auto"
        Number of samples kept. The first ones are learnt jointly; then they are spread evenly
        over the stream (over its last ``1 / (1 - forgetting)`` samples). As they change, loadings
        of a feature are corrected that fit too few of them. "auto" is 20, or 5 ``n_components``
        if that is more; data with many missing entries need more. 0 is the algorithm as
        published, where the first 20 samples of the first call provide the start.
    batch_size : int, default=1
        Number of samples between two updates of the components.
    n_passes : int, default=1
        How often ``fit`` goes through the data.
    forgetting : float, default=1.0
        Factor in (0, 1] by which the weight of past samples falls with each new one.
    random_state : int, RandomState instance or None, default=None
        Draws random components.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Components. They are not orthonormal: their lengths measure their importance.
    A_ : ndarray of shape (n_components, n_components)
        Weighted sum of :math:`x_i x_i^\top`, in double precision as ``B_``.
    B_ : ndarray of shape (n_components, n_features)
        Weighted sum of :math:`x_i (z_i - e_i)^\top`.
    lam1_ : float
        Weight :math:`\lambda_1`.
    lam2_ : float
        Weight :math:`\lambda_2`.
    n_components_ : int
        Number of components.
    n_samples_seen_ : int
        Number of samples learnt from, counted in each pass.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if ``X`` has string names.

    Raises
    ------
    ValueError
        For infinite entries, more components than features, and an ``init`` of another shape.

    See Also
    --------
    RobustPCA : All samples at once, with a certificate.

    Notes
    -----
    NaN entries are missing; the features where a sample is missing learn nothing from it. After
    the first ``memory_size`` samples and for ``batch_size=1``, it does not matter how samples
    were split into calls of ``partial_fit``.

    With r components and p features, a sample costs about :math:`p (3 r^2 + 30 r)` operations. A
    correction costs somewhat more than learning ``memory_size`` samples; about ten are due
    each time that the length of the stream doubles, or one each
    ``1 / (20 (1 - forgetting))`` samples.

    References
    ----------
    J. Feng, H. Xu & S. Yan, "Online robust PCA via stochastic optimization", NIPS 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import OnlineRobustPCA
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((300, 2)) @ rng.standard_normal((2, 40))
    >>> errors = 9.0 * (rng.random(X.shape) < 0.05)
    >>> model = OnlineRobustPCA(n_components=2)
    >>> for start in range(0, 300, 50):
    ...     model = model.partial_fit((X + errors)[start : start + 50])
    >>> low_rank, sparse = model.decompose(X + errors)
    >>> bool(np.abs(low_rank - X).max() < 0.1)
    True
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "lam1": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "lam2": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "init": [StrOptions({"pcp", "svd", "random"}), "array-like"],
        "memory_size": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_passes": [Interval(Integral, 1, None, closed="left")],
        "forgetting": [Interval(Real, 0, 1, closed="right")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        lam1="auto",
        lam2="auto",
        init="pcp",
        memory_size="auto",
        batch_size=1,
        n_passes=1,
        forgetting=1.0,
        random_state=None,
    ):
        self.n_components = n_components
        self.lam1 = lam1
        self.lam2 = lam2
        self.init = init
        self.memory_size = memory_size
        self.batch_size = batch_size
        self.n_passes = n_passes
        self.forgetting = forgetting
        self.random_state = random_state

    @fitting
    def fit(self, X, y=None):
        """Forget what was learnt, and learn from samples in their order.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; NaN entries are missing.
        y : None
            Ignored.

        Returns
        -------
        self : OnlineRobustPCA
            The fitted estimator.
        """
        X = self._validate(X, reset=True)
        self._dtype = X.dtype
        options = self._options(X)
        length = min(BLOCK_ENTRIES // X.shape[1], -(-X.shape[0] // LEAST_BLOCKS))
        length = max(1, length, options.memory_size)  # the first samples are learnt jointly
        starts = range(0, X.shape[0], length)
        state, count = None, 0
        with (
            FitReporter(self, X, y, max_iter=self.n_passes * len(starts)) as reporter,
            reporter.task("fit", self._attributes) as callback,
        ):
            for start in list(starts) * self.n_passes:
                state = learn_rows(state, X[start : start + length], options)
                count += 1
                if callback is not None and _stops(callback, state, count):
                    break
        self._set_state(state)
        return self

    @fitting
    def partial_fit(self, X, y=None):
        """Learn from further samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, one or more; NaN entries are missing. The first call fixes the number of
            features, and the dtype of what other methods return.
        y : None
            Ignored.

        Returns
        -------
        self : OnlineRobustPCA
            The estimator.
        """
        first = not hasattr(self, "components_")
        X = self._validate(X, reset=first)
        if first:
            self._dtype = X.dtype
        options = self._options(X)
        state = None if first else self._state
        self._set_state(learn_rows(state, X.astype(self._dtype, copy=False), options))
        return self

    def score_samples(self, X):
        r"""Tell how well samples fit: minus their mean robust loss.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; NaN entries are missing.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Minus :math:`\tfrac12 \|z - C^\top x - e\|^2 + \lambda_2 \|e\|_1`, over the
            number of observed entries; 0 for a sample without any.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        scores, _ = self._decompose(X)
        size = np.abs(X - scores @ self.components_)
        clipped = np.minimum(size, size.dtype.type(self.lam2_))
        observed = np.maximum(np.count_nonzero(~np.isnan(X), axis=1), 1)
        return -np.nansum(clipped * (size - clipped / 2), axis=1) / observed.astype(size.dtype)

    def score(self, X, y=None):
        """Return the mean of :meth:`score_samples`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; NaN entries are missing.
        y : None
            Ignored.

        Returns
        -------
        score : float
            The larger the better, at most 0.
        """
        return float(np.mean(self.score_samples(X)))

    def _decompose(self, X):
        return robust_projection(X, self._state.components, self.lam2_, ridge=self.lam1_)

    def _validate(self, X, *, reset):
        return validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan"
        )

    def _options(self, X):
        r, p = self.n_components, X.shape[1]
        if r is None:
            r = min(DEFAULT_COMPONENTS, p) if isinstance(self.init, str) else len(self.init)
        if r > p:
            raise ValueError(f"n_components must be at most n_features={p}, got {r}.")
        init = self.init
        if not isinstance(init, str):
            init = check_array(init, dtype=np.float64, input_name="init", copy=True)
            if init.shape != (r, p):
                raise ValueError(
                    f"init must have shape (n_components, n_features) = {(r, p)}, got {init.shape}."
                )
        return StreamOptions(
            r,
            self.lam1,
            self.lam2,
            init,
            max(20, 5 * r) if self.memory_size == "auto" else self.memory_size,
            self.batch_size,
            self.forgetting,
            check_random_state(self.random_state),
        )

    def _attributes(self, state):
        components = state.components.astype(self._dtype)
        return {
            "components_": components,
            "A_": state.A,
            "B_": state.B,
            "lam1_": state.lam1,
            "lam2_": state.lam2,
            "n_components_": components.shape[0],
            "n_samples_seen_": state.n_seen,
            "_state": state,
        }

    def _set_state(self, state):
        vars(self).update(self._attributes(state))

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _stops(callback, state, count):
    """Report the state, and return whether the callback wants the fit to end."""
    try:
        callback(intermediate_result=OptimizeResult(x=state, nit=count))
    except StopIteration:
        return True
    return False
