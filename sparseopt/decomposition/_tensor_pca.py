"""The estimator of tensor PCA: rank-one parts of a noisy symmetric tensor, and whether they are."""

import functools
import math
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sparseopt._core import FitReporter, fitting, run_parallel, spawn_seeds
from sparseopt.decomposition._implicit_tensor import FactoredTensor
from sparseopt.decomposition._symmetric_tensor import DeflatedTensor
from sparseopt.decomposition._tensor_detection import detection_threshold, signal_to_noise
from sparseopt.decomposition._tensor_input import check_tensor
from sparseopt.decomposition._tensor_solvers import (
    LARGEST_UNFOLDING,
    langevin_start,
    leading_matrix_direction,
    partial_trace_start,
    power_iteration,
    random_points,
    smoothed_start,
    tolerance_of,
    unfolding_size,
    unfolding_start,
)

ENOUGH_AGREEMENT = 0.9  # of the averages of two halves of the chains
TEMPERATURE_POINTS = 32


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
    tol : float, default=1e-10
        Power iteration ends when a step is at most this long.
    random_state : int, RandomState instance, Generator or None, default=None
        Draws the chains and random starts.
    n_jobs : int or None, default=None
        Number of runs of ``n_init`` at once. The result does not depend on it.

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
        Whether ``snr_`` exceeds the threshold. False where the noise is unknown.
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

    The threshold of ``detected_`` is for independent normal noise. It says nothing for noise that
    sits in few entries, or in the factors of a sum.

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
        seeds = spawn_seeds(self.random_state, self.n_components)
        scale = tensor.noise_scale() if self.noise_scale == "mad" else float(self.noise_scale)
        found, rest = [], tensor
        with FitReporter(self, Y, y, n_tasks=self.n_components, max_iter=self.max_iter) as reporter:
            for number, seed in enumerate(seeds):
                with reporter.task(f"component {number}") as callback:
                    found.append(self._find(rest, seed, scale, callback))
                if number + 1 < self.n_components:
                    rest = DeflatedTensor(tensor, _sum_of_powers(found, tensor))
        self._store(found, tensor, scale)
        return self

    def _check_arguments(self, tensor):
        if self.n_components > tensor.n_features:
            raise ValueError(
                f"n_components must be at most the length of the modes, {tensor.n_features}, got "
                f"{self.n_components}."
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

    def _find(self, tensor, seed, scale, callback):
        """Return the leading rank-one part, and how it was found."""
        starts, runs = self._starts(tensor, seed, scale, callback)
        names, xp = list(starts), tensor.xp
        theta, nit, change = xp.concat(list(starts.values())), 0, None
        if tensor.order == 2 and (self.refine or self.solver == "auto"):
            theta, names = leading_matrix_direction(tensor)[None, :], ["eigenvector"]
        elif self.refine:
            ascent = power_iteration(tensor, theta, tol=self.tol)
            theta, nit, change = ascent.x, ascent.nit, ascent.change
        value = tensor.value(theta)
        if tensor.order % 2:
            theta = xp.where((value < 0)[:, None], -theta, theta)
            value = xp.abs(value)
        names = [name for name in names for _ in range(theta.shape[0] // len(names))]
        best = int(xp.argmax(xp.abs(value) if tensor.order == 2 else value))
        run = self._best_run(runs, names, value)
        self._warn(tensor, run if names[best] == "langevin" else None, change, best)
        ends: dict = {}
        for row, name in enumerate(names):
            if name not in ends or float(value[row]) > ends[name][1]:
                ends[name] = (theta[row, :], float(value[row]))
        nit += 0 if run is None else run.nit
        return Bunch(theta=theta[best, :], value=value[best], run=run, nit=nit, ends=ends)

    def _starts(self, tensor, seed, scale, callback):
        """Return points to go uphill from, by solver, and the runs of chains."""
        solver, starts, runs = self.solver, {}, []
        if solver == "auto" and tensor.order == 2:
            return {"eigenvector": partial_trace_start(tensor)[None, :]}, runs
        chosen, *seeds = seed.spawn(1 + self.n_init)
        rng = np.random.default_rng(chosen)
        unfolds = tensor.can_unfold and unfolding_size(tensor) <= LARGEST_UNFOLDING
        if solver == "partial_trace" or (solver == "auto" and tensor.has_partial_trace()):
            starts["partial_trace"] = partial_trace_start(tensor)[None, :]
        if solver == "unfolding" or (solver == "auto" and unfolds):
            starts["unfolding"] = unfolding_start(tensor)[None, :]
        if solver == "power":
            starts["power"] = random_points(tensor, self.n_chains, rng)
        if solver == "smoothed":
            first = random_points(tensor, self.n_init, rng)
            starts["smoothed"] = smoothed_start(tensor, first, rng)
        if solver in ("auto", "langevin"):
            runs = self._run_chains(tensor, seeds, scale, callback)
            starts["langevin"] = tensor.xp.stack([run.x for run in runs])
        return starts, runs

    def _run_chains(self, tensor, seeds, scale, callback):
        noise = scale if math.isfinite(scale) and scale > 0 else 1.0
        automatic = self.temperature == "auto"
        run = functools.partial(
            langevin_start,
            tensor,
            average=self.average,
            eps=("auto", self.kappa) if automatic else self.temperature / noise,
            callback=callback,
            n_chains=self.n_chains,
            max_iter=self.max_iter,
            burn_in=self.burn_in,
            step_size=self.step_size,
        )
        generators = [np.random.default_rng(seed) for seed in seeds]
        # A callback belongs to this process.
        n_jobs = self.n_jobs if callback is None else None
        runs = run_parallel(_call_with_seed, [(run, rng) for rng in generators], n_jobs=n_jobs)
        for done, seed in zip(runs, seeds, strict=True):
            done.temperature = done.eps * noise
            done.kappa = self.kappa * 0.5**done.n_eps_halvings
            if not automatic:
                done.kappa = measure_kappa(tensor, done.eps, np.random.default_rng(seed))
        return runs

    def _best_run(self, runs, names, value):
        if not runs:
            return None
        rows = [row for row, name in enumerate(names) if name == "langevin"]
        if len(rows) < len(runs):  # all replaced by an eigenvector
            return runs[0]
        values = [float(value[row]) for row in rows]
        return runs[int(np.argmax(values))]

    def _warn(self, tensor, run, change, best):
        """Warn if the result is not what more iterations would give."""
        if run is not None and run.agreement < ENOUGH_AGREEMENT and tensor.order > 2:
            warnings.warn(
                f"The averages of two halves of the chains agree to {run.agreement:.3f} only "
                f"(below {ENOUGH_AGREEMENT}): increase max_iter or n_chains.",
                ConvergenceWarning,
                stacklevel=5,
            )
        if change is not None and float(change[best]) > max(self.tol, tolerance_of(tensor)):
            warnings.warn(
                f"Power iteration did not converge: its last step was {float(change[best]):.3g} "
                f"long (tolerance {self.tol:.3g}). Increase tol if this suffices; a small gap is "
                "common where there is no signal.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _store(self, found, tensor, scale):
        xp = tensor.xp
        runs = [part.run for part in found]
        self.components_ = xp.stack([part.theta for part in found])
        self.singular_values_ = xp.stack([part.value for part in found])
        self.order_, self.n_features_in_ = tensor.order, tensor.n_features
        self.noise_scale_ = scale
        self.snr_ = np.array([signal_to_noise(p.value, scale, tensor.n_features) for p in found])
        self.threshold_ = detection_threshold(
            tensor.order, tensor.n_features, estimated=self.noise_scale == "mad"
        )
        self.detected_ = self.snr_ > self.threshold_  # False for NaN
        self.agreement_ = _numbers(runs, "agreement")
        self.temperature_ = _numbers(runs, "temperature")
        self.kappa_ = _numbers(runs, "kappa")
        self.average_ = _stack(runs, "average", xp)
        self.second_moment_ = _stack(runs, "second_moment", xp)
        self.candidates_ = [part.ends for part in found]
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


def measure_kappa(tensor, eps, rng):
    """Return the pull of the drift beside that of the noise at an inverse temperature."""
    theta, xp = random_points(tensor, TEMPERATURE_POINTS, rng), tensor.xp
    gradient = tensor.gradient(theta)
    drift = gradient - theta * xp.vecdot(theta, gradient, axis=-1)[:, None]
    rms = math.sqrt(float(xp.mean(xp.vecdot(drift, drift, axis=-1))))
    return 2 * eps * rms / (tensor.n_features - 1)


def _call_with_seed(run, rng):
    return run(random_state=rng)


def _numbers(runs, name):
    return np.array([math.nan if run is None else run[name] for run in runs], dtype=float)


def _stack(runs, name, xp):
    arrays = [None if run is None else run[name] for run in runs]
    return None if any(array is None for array in arrays) else xp.stack(arrays)


def _sum_of_powers(found, tensor):
    xp = tensor.xp
    return FactoredTensor(
        xp.stack([part.theta for part in found]),
        xp.stack([part.value for part in found]),
        tensor.order,
    )
