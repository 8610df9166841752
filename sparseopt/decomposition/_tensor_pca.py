"""The estimator of tensor PCA: rank-one parts of a noisy symmetric tensor, and whether they are."""

import math
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sparseopt._core import FitReporter, fitting, run_parallel, spawn_seeds
from sparseopt.decomposition._implicit_tensor import FactoredTensor
from sparseopt.decomposition._symmetric_tensor import (
    DeflatedTensor,
    ScaledTensor,
    power_of_two_near,
)
from sparseopt.decomposition._tensor_detection import detection_threshold, signal_to_noise
from sparseopt.decomposition._tensor_input import check_tensor
from sparseopt.decomposition._tensor_search import Settings, find_rank_one
from sparseopt.decomposition._tensor_solvers import random_points

LARGEST_PVALUE = 0.05  # of a detection by random signs


class TensorPCA(CallbackSupportMixin, BaseEstimator):
    r"""Leading rank-one parts of a noisy symmetric tensor.

    For a tensor :math:`Y = \lambda\, \theta_*^{\otimes k} + Z` with k modes of length d, it looks
    for the unit vector that maximises
    :math:`f(\theta) = \langle Y, \theta^{\otimes k} \rangle`, which is
    :math:`\theta_*` up to a small error once the spike is strong enough. Uphill steps alone get
    stuck near where they start; the solvers differ in where they start from. Only the symmetric
    part of Y matters.

    Parameters
    ----------
    n_components : int, default=1
        Number of rank-one parts, found one after the other: each is subtracted before the next.
    solver : {"auto", "langevin", "partial_trace", "unfolding", "power", "smoothed"}, default="auto"
        Where the start comes from. "langevin" averages the drift of hot Langevin dynamics on the
        sphere over time, "partial_trace" is its limit at infinite temperature in closed form,
        "unfolding" takes a singular vector of the tensor as a matrix, "power" starts from
        random points, "smoothed" follows the maximum of the smoothed form. "auto" takes the best
        of "langevin", "partial_trace" and, where it is affordable, "unfolding".
    average : {"drift", "iterate"}, default="drift"
        What "langevin" averages: the drift, or the points themselves, as published. The drift is
        free of the noise that the dynamics adds. For an even order, products are averaged.
    n_chains : int, default=64
        Number of chains, and of random starts of "power".
    max_iter : int, default=100
        Number of steps of each chain.
    burn_in : int, default=20
        Number of first steps that the averages leave out; below ``max_iter``.
    temperature : "auto" or float, default="auto"
        *Inverse* temperature, for a tensor whose noise has standard deviation one; "auto"
        chooses it by ``kappa``.
    kappa : float, default=1.0
        Pull of the drift beside that of the noise, for ``temperature="auto"``. Up to 0.1 no
        chain ever finds the direction, and long averages do; 1 needs the fewest steps; from 2
        on, chains are trapped.
    step_size : float, default=1.0
        Dimensionless length of a step, in (0, 2].
    refine : bool, default=True
        Whether to go uphill from the starts, by power iteration. For matrices, the eigenvector
        is computed.
    n_init : int, default=1
        Number of independent runs of "langevin" or "smoothed", of which the best counts.
    noise_scale : "mad" or float, default="mad"
        Standard deviation of the entries of Z, for ``snr_``. "mad" estimates it from the median
        absolute entry; this needs a dense tensor.
    n_sign_flips : int, default=0
        Number of searches in the same tensor with random signs of its entries, or of the weights
        of its factors; 19 or more, which then decide ``detected_``. They take as long as so many
        fits, and assume no more of the noise than that each of these is as often positive as
        negative. A signal that sits in a single factor is not seen in this way.
    tol : float, default=1e-10
        Power iteration ends when a step is at most this long.
    random_state : int, RandomState instance, Generator or None, default=None
        Draws the chains and random starts.
    n_jobs : int or None, default=None
        Number of runs of ``n_init`` or ``n_sign_flips`` at once. The result does not depend on it.

    Attributes
    ----------
    components_ : array of shape (n_components, n_features)
        Unit vectors.
    singular_values_ : array of shape (n_components,)
        Values of f there, the estimates of :math:`\lambda`. Negative only for matrices.
    order_ : int
        Number k of modes.
    n_features_in_ : int
        Their length d.
    noise_scale_ : float
        Standard deviation of the noise; NaN if unknown.
    snr_ : ndarray of shape (n_components,)
        Values of f over ``noise_scale_`` times :math:`\sqrt{d}`; NaN if the noise is unknown.
    threshold_ : float
        What pure noise exceeds in at most 5 % of tensors.
    detected_ : ndarray of bool of shape (n_components,)
        Whether ``snr_`` exceeds the threshold, or, with ``n_sign_flips``, ``pvalue_`` is at most
        0.05. False where nothing is known of the noise.
    pvalue_ : ndarray of shape (n_components,) or None
        Share of the tensors with random signs, itself included, whose value is as large.
    agreement_ : ndarray of shape (n_components,)
        Absolute cosine of the averages of two halves of the chains, NaN without chains. It tells
        whether the average has converged, and nothing about a signal.
    temperature_ : ndarray of shape (n_components,)
        Inverse temperatures of the chains, NaN without chains.
    kappa_ : ndarray of shape (n_components,)
        The same as pull of the drift beside that of the noise.
    average_ : array of shape (n_components, n_features) or None
        Averages of the chains for an odd order, not normalised.
    second_moment_ : array of shape (n_components, n_features, n_features) or None
        Averages of products for an even order.
    candidates_ : list of dict
        For each component, the end of the way from each start: name to ``(theta, f)``.
    n_iter_ : int
        Steps of the chains and of power iteration, over all components.
    n_eps_halvings_ : int
        How often a step of the chains was too long, so that the temperature was doubled.

    Raises
    ------
    ValueError
        For tensors of order 1 or above 6, modes of different length, complex or non-finite
        entries, ``burn_in >= max_iter``, and solvers that need entries which Y does not give.

    Warns
    -----
    ConvergenceWarning
        If power iteration did not converge, or the averages of two halves of the chains that the
        result comes from do not agree.

    See Also
    --------
    FactoredTensor : A tensor as a sum of powers, never formed.
    TensorOperator : A tensor known by the gradient of f.
    sparseopt.optimize.langevin_average : The dynamics.

    Notes
    -----
    A spike can be found in polynomial time from about :math:`\lambda = d^{k/4}` on, and exists in
    the data, at a much higher cost, from about :math:`\sqrt{d}` on. Plain averages need
    :math:`\lambda^2` of order :math:`d^{\lceil k/2 \rceil}`; the steps uphill from the
    average reach :math:`d^{k/2}`. For k = 3, averages alone gain nothing over stochastic
    gradient descent.

    For an even order from 4 on, spikes are taken to be positive: fit ``-Y`` for the others.

    The threshold of ``detected_`` is for independent normal noise. For noise that sits in few
    entries, or in the factors of a sum, use ``n_sign_flips``.

    This is no estimator of samples and features: scikit-learn's checks and pipelines, which are
    for tables, do not apply. For a matrix, k = 2, it is an eigenvector.

    References
    ----------
    S. Wei, A. Damian & J. D. Lee, "Improved high-dimensional estimation with Langevin dynamics and
    stochastic weight averaging", ICLR 2026, arXiv 2603.06028.
    E. Richard & A. Montanari, "A statistical model for tensor PCA", NeurIPS 2014.

    Examples
    --------
    >>> from sparseopt.datasets import make_spiked_tensor
    >>> from sparseopt.decomposition import TensorPCA
    >>> problem = make_spiked_tensor(40, order=3, snr=20.0, random_state=0)
    >>> model = TensorPCA(random_state=0).fit(problem.tensor)
    >>> bool(abs(model.components_[0] @ problem.direction) > 0.95)
    True
    >>> model.detected_
    array([ True])
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "solver": [
            StrOptions({"auto", "langevin", "partial_trace", "unfolding", "power", "smoothed"})
        ],
        "average": [StrOptions({"drift", "iterate"})],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "kappa": [Interval(Real, 0, None, closed="neither")],
        "step_size": [Interval(Real, 0, 2, closed="right")],
        "refine": ["boolean"],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "noise_scale": [StrOptions({"mad"}), Interval(Real, 0, None, closed="neither")],
        "n_sign_flips": [Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state", np.random.Generator],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        n_components=1,
        *,
        solver="auto",
        average="drift",
        n_chains=64,
        max_iter=100,
        burn_in=20,
        temperature="auto",
        kappa=1.0,
        step_size=1.0,
        refine=True,
        n_init=1,
        noise_scale="mad",
        n_sign_flips=0,
        tol=1e-10,
        random_state=None,
        n_jobs=None,
    ):
        self.n_components = n_components
        self.solver = solver
        self.average = average
        self.n_chains = n_chains
        self.max_iter = max_iter
        self.burn_in = burn_in
        self.temperature = temperature
        self.kappa = kappa
        self.step_size = step_size
        self.refine = refine
        self.n_init = n_init
        self.noise_scale = noise_scale
        self.n_sign_flips = n_sign_flips
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    @fitting
    def fit(self, Y, y=None):
        """Find the rank-one parts of a tensor.

        Parameters
        ----------
        Y : array of shape (d,) * k, sparse tensor, FactoredTensor or TensorOperator
            The tensor, with k from 2 to 6. Arrays may be of any library of the array-API
            standard; float32 stays. Sparse tensors are SciPy's, or have the attributes ``coords``,
            ``data`` and ``shape``; they are never made dense.
        y : None
            Ignored.

        Returns
        -------
        self : TensorPCA
            Fitted.
        """
        if self.burn_in >= self.max_iter:
            raise ValueError(
                f"burn_in must be below max_iter={self.max_iter}, got burn_in={self.burn_in}."
            )
        tensor = check_tensor(Y)
        self._check_arguments(tensor)
        settings = Settings(**{name: getattr(self, name) for name in Settings._fields})
        seeds = spawn_seeds(self.random_state, self.n_components + self.n_sign_flips)
        seeds, null_seeds = seeds[: self.n_components], seeds[self.n_components :]
        scale = tensor.noise_scale() if self.noise_scale == "mad" else float(self.noise_scale)
        # Computed in units near the size of Y, whose powers are exact.
        points = random_points(tensor, 4, np.random.default_rng(0))
        unit = power_of_two_near(tensor, points)
        tensor = rest = ScaledTensor(tensor, 1 / unit)
        noise = (scale if scale > 0 else 1.0) / unit  # NaN is unknown
        found = []
        with FitReporter(self, Y, y, n_tasks=self.n_components, max_iter=self.max_iter) as reporter:
            for number, seed in enumerate(seeds):
                with reporter.task(f"component {number}") as callback:
                    found.append(find_rank_one(rest, settings, seed, noise, callback))
                if number + 1 < self.n_components:
                    rest = DeflatedTensor(tensor, _sum_of_powers(found, tensor))
        alone = settings._replace(n_jobs=None)
        tasks = [(tensor, alone, null_seed, noise) for null_seed in null_seeds]
        null = np.array(run_parallel(_largest_by_chance, tasks, n_jobs=self.n_jobs))
        self._store(found, tensor, scale, unit, null)
        return self

    def _check_arguments(self, tensor):
        if self.n_components > tensor.n_features:
            raise ValueError(
                f"n_components must be at most the length of the modes, {tensor.n_features}, got "
                f"{self.n_components}."
            )
        if 0 < self.n_sign_flips < round(1 / LARGEST_PVALUE) - 1:
            raise ValueError(
                "n_sign_flips must be 0, or 19 or more for p-values of 0.05, got "
                f"{self.n_sign_flips}."
            )
        if self.n_sign_flips and not hasattr(tensor, "with_random_signs"):
            raise ValueError(
                "n_sign_flips must be 0 for a TensorOperator, whose entries are out of reach, got "
                f"{self.n_sign_flips}."
            )
        if self.solver == "partial_trace" and not tensor.has_partial_trace():
            raise ValueError(
                'solver="partial_trace" needs the partial trace, which a TensorOperator has up to '
                f'order 4 only, got order {tensor.order}: use "langevin".'
            )
        if self.solver == "unfolding" and not tensor.can_unfold:
            raise ValueError(
                'solver="unfolding" needs a dense array Y: use "partial_trace" or "langevin".'
            )

    def _store(self, found, tensor, scale, unit, null):
        xp = tensor.xp
        runs = [part.run for part in found]
        self.components_ = xp.stack([part.theta for part in found])
        self.singular_values_ = unit * xp.stack([part.value for part in found])
        self.order_, self.n_features_in_ = tensor.order, tensor.n_features
        self.noise_scale_ = scale
        values = np.array([float(part.value) for part in found])
        self.snr_ = signal_to_noise(values, scale / unit, tensor.n_features)
        self.threshold_ = detection_threshold(
            tensor.order, tensor.n_features, estimated=self.noise_scale == "mad"
        )
        self.detected_ = self.snr_ > self.threshold_  # False for NaN
        self.pvalue_ = None
        if self.n_sign_flips:
            exceeding = np.sum(null >= np.abs(values)[:, None], axis=1)
            self.pvalue_ = (1 + exceeding) / (1 + self.n_sign_flips)
            self.detected_ = self.pvalue_ <= LARGEST_PVALUE
        self.agreement_ = _numbers(runs, "agreement")
        self.temperature_ = _numbers(runs, "temperature")
        self.kappa_ = _numbers(runs, "kappa")
        scale_of_average = unit if self.average == "drift" else 1.0
        self.average_ = _stack(runs, "average", scale_of_average, xp)
        self.second_moment_ = _stack(runs, "second_moment", scale_of_average, xp)
        self.candidates_ = [
            {name: (theta, unit * value) for name, (theta, value) in part.ends.items()}
            for part in found
        ]
        self.n_iter_ = sum(part.nit for part in found)
        self.n_eps_halvings_ = sum(run.n_eps_halvings for run in runs if run is not None)

    def transform(self, Y):
        r"""Return the projections of a tensor on the powers of the components.

        Parameters
        ----------
        Y : array of shape (d,) * k, sparse tensor, FactoredTensor or TensorOperator
            A tensor of the shape of that in :meth:`fit`.

        Returns
        -------
        array of shape (n_components,)
            :math:`\langle Y, \theta^{\otimes k} \rangle` for each component.
        """
        check_is_fitted(self)
        tensor = check_tensor(Y, project_only=True)
        if (tensor.order, tensor.n_features) != (self.order_, self.n_features_in_):
            raise ValueError(
                f"Y must have {self.order_} modes of length {self.n_features_in_}, as in fit, got "
                f"{tensor.order} of length {tensor.n_features}."
            )
        return tensor.value(self.components_)

    def inverse_transform(self, weights=None):
        r"""Return a weighted sum of the powers of the components, as a dense tensor.

        Parameters
        ----------
        weights : array-like of shape (n_components,), optional
            The weights; ``singular_values_`` by default.

        Returns
        -------
        array of shape (d,) * k
            :math:`\sum_j w_j \theta_j^{\otimes k}`.
        """
        check_is_fitted(self)
        given = self.singular_values_ if weights is None else weights
        if np.shape(given) != self.singular_values_.shape:
            raise ValueError(
                f"weights must have shape {self.singular_values_.shape}, one entry a component, "
                f"got {np.shape(given)}."
            )
        return FactoredTensor(self.components_, given, self.order_).entries()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # A tensor, not a table of samples: tests for tables do not apply.
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


def _largest_by_chance(tensor, settings, seed, scale):
    """Return the largest value of f that a search finds after random changes of signs."""
    signs, search = seed.spawn(2)
    flipped = tensor.with_random_signs(np.random.default_rng(signs))
    return abs(float(find_rank_one(flipped, settings, search, scale, warn=False).value))


def _numbers(runs, name):
    return np.array([math.nan if run is None else run[name] for run in runs], dtype=float)


def _stack(runs, name, scale, xp):
    arrays = [None if run is None else run[name] for run in runs]
    return None if any(array is None for array in arrays) else scale * xp.stack(arrays)


def _sum_of_powers(found, tensor):
    xp = tensor.xp
    return FactoredTensor(
        xp.stack([part.theta for part in found]),
        xp.stack([part.value for part in found]),
        tensor.order,
    )
