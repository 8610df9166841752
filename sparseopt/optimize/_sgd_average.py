r"""Averages of stochastic gradient iterates on the sphere, for single-index models.

S. Wei, A. Damian & J. D. Lee, "Improved high-dimensional estimation with Langevin dynamics and
stochastic weight averaging", ICLR 2026, arXiv 2603.06028. Samples :math:`x_i` (d,) with labels
:math:`a_i = T(y_i)`, and their correlation with a normalised Hermite polynomial,
:math:`f(\theta) = \frac1n \sum_i a_i h_k(\theta \cdot x_i)`. A step draws i at random, and with
:math:`u = \theta \cdot x_i`

.. math::

    \theta \leftarrow \frac{\theta + \eta g}{\|\theta + \eta g\|}, \qquad
    g = a_i h_k'(u) (x_i - u \theta) .

The noise of the samples takes the place of that of Langevin dynamics: near the equator this is
:mod:`sparseopt.optimize._langevin` with :math:`dt = \eta^2 s^2` and
:math:`\varepsilon = 1 / (\eta s^2)`, where :math:`s^2 = E[a^2 h_k'(u)^2]`.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import (
    Progress,
    Status,
    array_namespace,
    check_at_least_one,
    check_nonnegative,
    is_numpy,
    iterate,
    run_parallel,
    spawn_seeds,
)
from sparseopt._core._hermite import check_degree
from sparseopt.optimize._kernels.sphere import average_steps, slope_table
from sparseopt.optimize._langevin_chains import (
    ENOUGH_AGREEMENT,
    check_points,
    cosine,
    leading_direction,
)

LOOKS = 20  # at the averages, in a run


def sgd_average(
    X,
    a,
    degree,
    *,
    eta,
    n_steps,
    n_chains=1,
    second_moment=False,
    theta0=None,
    random_state=None,
    n_jobs=None,
    callback=None,
    warn=True,
):
    r"""Average stochastic gradient steps on the unit sphere, one sample each.

    They climb the correlation :math:`\frac1n \sum_i a_i h_k(\theta \cdot x_i)` of labels with a
    Hermite polynomial of a projection, in which a single-index model
    :math:`y = \sigma(\theta_* \cdot x) + \text{noise}` hides its direction. With large steps no
    iterate keeps what it learnt, but their average does.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Samples, centred and with unit covariance; float32 is kept.
    a : array-like of shape (n_samples,)
        Labels, or a transform of them. Clip outliers beforehand: a single sample moves
        :math:`\theta` in proportion.
    degree : int
        Degree k >= 1 of the Hermite polynomial.
    eta : float
        Step :math:`\eta > 0`. The accuracy hardly depends on it within 0.1 to 1 for labels of unit
        variance; small steps forget slowly.
    n_steps : int
        Number of steps of each chain, O(n_features) each.
    n_chains : int, default=1
        Number of independent chains.
    second_moment : bool, default=False
        Whether to average :math:`\theta \theta^\top` too, at each (n_features / 2)-th step. Needed
        for even degrees, for which the average of :math:`\theta` tends to 0.
    theta0 : array-like of shape (n_features,) or (n_chains, n_features), optional
        First iterates, normalised by the function. They are uniform by default.
    random_state : None, int, RandomState or Generator
        Seeds a generator for each chain.
    n_jobs : int, optional
        Number of threads for the chains; the results do not depend on it.
    callback : callable, optional
        Called twenty times in a run as SciPy's optimizers do: ``callback(x)`` with the average so
        far, or ``callback(intermediate_result=...)``. Raising ``StopIteration`` ends the run.
    warn : bool, default=True
        Whether to emit a ``ConvergenceWarning``.

    Returns
    -------
    result : OptimizeResult
        ``x`` (n_features,), the average of :math:`\theta` over chains and steps, not normalised;
        ``second_moment`` (n_features, n_features) that of :math:`\theta \theta^\top`, or None;
        ``last`` (n_chains, n_features); ``agreement``, a dict with the :math:`|\cos|` between
        the averages of two halves of the chains (of the time, for one chain), where the leading
        eigenvector stands for a matrix; ``nit``, ``success`` (whether an agreement reached 0.9),
        ``status``, ``message``; ``history``, a dict of 1-D arrays: ``iteration``, ``time``,
        ``average_norm``, ``agreement`` (of ``x``).

    Raises
    ------
    TypeError
        If ``X`` is not a NumPy array or something that converts to one.
    ValueError
        For complex or non-finite data, ``degree < 1``, ``eta <= 0``, and an even degree without
        ``second_moment``.
    FloatingPointError
        If the steps overflow.

    Warns
    -----
    ConvergenceWarning
        If no agreement reached 0.9: more steps are needed. Agreement is no evidence of a signal.

    See Also
    --------
    langevin_average : The same averages from whole gradients and drawn noise.

    References
    ----------
    S. Wei, A. Damian & J. D. Lee, "Improved high-dimensional estimation with Langevin dynamics and
    stochastic weight averaging", ICLR 2026, arXiv 2603.06028.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import sgd_average
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((20_000, 30))
    >>> u = X[:, 0]
    >>> y = (u**3 - 3 * u) / np.sqrt(6)
    >>> result = sgd_average(X, y, 3, eta=0.3, n_steps=300_000, random_state=0)
    >>> direction = result.x / np.linalg.norm(result.x)
    >>> bool(direction[0] > 0.9), bool(abs(result.last[0, 0]) < 0.9)
    (True, True)
    """
    data = _check_data(X, a, degree, eta, second_moment)
    n_steps = check_at_least_one(n_steps, "n_steps")
    chains = _start_chains(data, check_at_least_one(n_chains, "n_chains"), theta0, random_state)
    state = _Run(data, chains, n_steps, n_jobs)
    run = iterate(
        _Run.advance,
        state,
        max_iter=n_steps,
        tol=-1.0,  # all steps count: an average has no tolerance of its own
        method="sgd_average",
        callback=callback,
        descends=True,
        warn=False,
    )
    return _collect(state, run, warn)


class _Data(NamedTuple):
    """The problem: samples (n, d), their squared lengths, labels (n,), polynomial and step."""

    X: np.ndarray
    squares: np.ndarray
    a: np.ndarray
    table: np.ndarray
    eta: float
    every: int  # steps from one sum of products to the next, or 0


class _Chain(NamedTuple):
    """Where a chain is, and the state of its generator."""

    theta: np.ndarray
    generator: np.uint64


class _Half:
    """Sums over half of the chains, or over half of the time of one."""

    def __init__(self, n_features, products):
        self.theta, self.n_iterates, self.n_products = np.zeros(n_features), 0, 0
        self.products = np.zeros((n_features, n_features)) if products else None

    def __add__(self, other):
        total = _Half(len(self.theta), self.products is not None)
        total.theta = self.theta + other.theta
        total.n_iterates = self.n_iterates + other.n_iterates
        total.n_products = self.n_products + other.n_products
        if self.products is not None:
            total.products = self.products + other.products
        return total

    def means(self):
        """Return the averages, by the names that they have in the result."""
        means = {"x": self.theta / self.n_iterates, "second_moment": None}
        if self.products is not None:
            lower = self.products / self.n_products
            means["second_moment"] = lower + np.tril(lower, -1).T
        return means


class _Run:
    """The state of the driver: chains, and the sums over two halves of them."""

    def __init__(self, data, chains, n_steps, n_jobs):
        self.data, self.chains, self.n_steps, self.n_jobs = data, chains, n_steps, n_jobs
        self.halves = [_Half(data.X.shape[1], data.every > 0) for _ in range(2)]
        self.step, self.x = 0, chains[0].theta

    def advance(self):
        """Run all chains up to the next look at the averages."""
        look = self.step * LOOKS // self.n_steps + 1
        last = max(self.step + 1, -(-look * self.n_steps // LOOKS))
        runs = run_parallel(
            _run_chain,
            [(self.data, chain, self.step, last) for chain in self.chains],
            n_jobs=self.n_jobs,
            prefer="threads",
        )
        self.chains = [chain for chain, _ in runs]
        late = 2 * self.step >= self.n_steps
        for index, (_, piece) in enumerate(runs):
            second = late if len(runs) == 1 else index >= len(runs) // 2
            self.halves[int(second)] += piece
        n_new, self.step = last - self.step, last
        total = self.halves[0] + self.halves[1]
        if not np.all(np.isfinite(total.theta)):
            raise FloatingPointError(
                f"sgd_average met values that are not finite, within {last} steps with eta="
                f"{self.data.eta:.3g}. Decrease eta, or rescale X or a."
            )
        self.x = total.means()["x"]
        agreement = self.agreement()["x"]
        certificate = math.inf if math.isnan(agreement) else 1 - agreement
        return Progress(float(np.linalg.norm(self.x)), certificate, iterations=n_new)

    def agreement(self, *, products=False):
        """Return how well the averages of the halves agree; NaN if there is only one yet."""
        names = ("x", "second_moment") if products and self.data.every else ("x",)
        if min(half.n_iterates for half in self.halves) == 0:
            return dict.fromkeys(names, math.nan)
        agreement = {"x": cosine(*(half.theta for half in self.halves))}
        if len(names) == 2:
            known = min(half.n_products for half in self.halves) > 0
            agreement["second_moment"] = math.nan if not known else cosine(
                *(leading_direction(half.means()["second_moment"]) for half in self.halves)
            )  # fmt: skip
        return agreement


def _run_chain(data, chain, first, last):
    """Run the steps from ``first`` to ``last``; return the chain after them, and its sums."""
    piece = _Half(data.X.shape[1], data.every > 0)
    products = piece.products if data.every else np.empty((0, 0))
    theta = chain.theta.copy()  # what another process gets cannot be written to
    generator, piece.n_products = average_steps(
        data.X, data.squares, data.a, data.table, data.eta, first, last, chain.generator,
        theta, piece.theta, products, data.every,
    )  # fmt: skip
    piece.n_iterates = last - first
    return _Chain(theta, np.uint64(generator)), piece


def _start_chains(data, n_chains, theta0, random_state):
    """Return the chains at their first iterates."""
    n_features = data.X.shape[1]
    seeds = spawn_seeds(random_state, n_chains)
    if theta0 is None:
        start = np.stack([np.random.default_rng(s).standard_normal(n_features) for s in seeds])
    else:
        start = check_points(theta0, n_chains, n_features)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    return [
        _Chain(theta, seed.generate_state(1, np.uint64)[0])
        for theta, seed in zip(start.astype(data.X.dtype), seeds, strict=True)
    ]


def _check_data(X, a, degree, eta, second_moment):
    """Return the problem, or say what is wrong with it."""
    if not is_numpy(array_namespace(X, a)):
        raise TypeError("sgd_average needs NumPy arrays; langevin_average takes those of others.")
    if hasattr(X, "tocsr"):
        raise TypeError("X must be dense, got a sparse container; use X.toarray().")
    X, a = np.asarray(X), np.asarray(a)
    for name, array in (("X", X), ("a", a)):
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    if X.ndim != 2 or X.shape[0] < 1 or X.shape[1] < 2:
        raise ValueError(
            f"X must be a matrix with at least one row and two columns, got shape {X.shape}."
        )
    if a.shape != X.shape[:1]:
        raise ValueError(f"a must have shape ({X.shape[0]},), one entry a row of X, got {a.shape}.")
    if not (np.all(np.isfinite(X)) and np.all(np.isfinite(a))):
        raise ValueError("X and a must be finite, got NaN or infinite entries.")
    degree = check_degree(degree, least=1)
    if degree % 2 == 0 and not second_moment:
        raise ValueError(
            f"For an even degree, here {degree}, the average of theta tends to 0 by symmetry: pass "
            "second_moment=True, and take the leading eigenvector."
        )
    eta = check_nonnegative(eta, "eta")
    if eta == 0:
        raise ValueError("eta must be > 0, got 0.")
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    X = np.ascontiguousarray(X, dtype=dtype)
    return _Data(
        X=X,
        squares=np.einsum("ij,ij->i", X, X, dtype=np.float64),
        a=np.ascontiguousarray(a, dtype=np.float64),
        table=slope_table(degree),
        eta=eta,
        every=max(1, X.shape[1] // 2) if second_moment else 0,
    )


def _collect(state, run, warn):
    """Return the result of a run, and warn if its halves disagree."""
    means = (state.halves[0] + state.halves[1]).means()
    agreement = state.agreement(products=True)
    known = [value for value in agreement.values() if not math.isnan(value)]
    best = max(known, default=math.nan)
    success = best >= ENOUGH_AGREEMENT
    stopped = run.status == Status.STOPPED_BY_CALLBACK
    history = run.history
    counted = 1 - history.pop("certificate")
    history["agreement"] = np.where(np.isinf(counted), np.nan, counted)
    history["average_norm"] = history.pop("objective")
    reached = f"two halves of the chains agree to |cos| = {best:.3f} at best, after {run.nit} steps"
    message = f"sgd_average averaged enough: {reached}."
    if stopped:
        message = f"sgd_average was stopped by its callback: {reached}."
    elif not success:
        message = f"sgd_average needs more steps: {reached}. Increase n_steps or n_chains."
        if warn:
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
    status = Status.CONVERGED if success else Status.ITERATION_LIMIT
    return OptimizeResult(
        **means,
        last=np.stack([chain.theta for chain in state.chains]),
        agreement=agreement,
        nit=run.nit,
        success=success,
        status=run.status if stopped else status,
        message=message,
        history=history,
    )
