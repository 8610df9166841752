"""CoLiDE along a grid of strengths: independent fits.

A fit does not start from that of the strength before: the first stage of the path would leave it
at once, and the last stage alone would keep the graph. Fits need the moments of the data only, so
that these are all that is sent to workers.
"""

import warnings
from numbers import Integral

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sparseopt._core import check_at_least_one, run_parallel
from sparseopt._core._cross_validation import alpha_grid, check_alphas
from sparseopt.causal._colide import EFFORT, CoLiDE
from sparseopt.causal._knowledge import EdgeKnowledge
from sparseopt.causal._linear_sem import Moments
from sparseopt.causal._problem import largest_alpha

FIXED = ("alpha", "warm_start")  # parameters of CoLiDE that make no sense along a grid
LARGEST_EPS = 0.1
ROUNDING = 1 + 1e-12  # keeps entries of the size of rounding errors out at the grid's top


def colide_path(
    X,
    alphas=None,
    *,
    n_alphas=10,
    eps=None,
    variance="equal",
    solver="prox",
    sample_weight=None,
    n_jobs=None,
    **parameters,
):
    r"""Fit CoLiDE for a decreasing grid of strengths.

    The fits are independent of each other, and can run in parallel.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Samples; they are centred, and never changed.
    alphas : array-like of shape (n_alphas,), optional
        Strengths >= 0, sorted here in decreasing order. By default a geometric grid from the
        smallest strength whose solution has no edges, but for required ones.
    n_alphas : int, default=10
        Length of the default grid.
    eps : float, optional
        Smallest over largest strength of the default grid. By default the smallest strength
        is that of chance: the smallest standard deviation of a column over the square root of
        the number of samples, but a tenth of the largest at most.
    variance : {"equal", "non_equal"}, default="equal"
        Whether all noise terms share one variance or each has its own.
    solver : {"adam", "prox"}, default="prox"
        As in :class:`CoLiDE`. Adam does not end at exact zeros, and takes much longer.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the samples; integer weights equal repeated rows.
    n_jobs : int, optional
        Number of strengths computed at once.
    **parameters
        Other parameters of :class:`CoLiDE`, except for ``alpha`` and ``warm_start``.

    Returns
    -------
    path : OptimizeResult
        ``alphas`` (n_alphas,), ``adjacencies`` and ``weights_raw`` (n_alphas, n_features,
        n_features), after and before the cut to a DAG, ``noise_variances`` (n_alphas,
        n_features), ``n_edges`` (n_alphas,), ``kkts`` (n_alphas,), the violations of
        stationarity, ``n_iters`` (n_alphas,), ``converged`` (n_alphas,), and ``success``,
        whether all fits converged.

    Raises
    ------
    TypeError
        For parameters that :class:`CoLiDE` does not have.
    ValueError
        For invalid parameters or data, as :meth:`CoLiDE.fit` raises it.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Once, with the number of fits that stop short of their tolerance.
    StandardizedDataWarning
        If all columns have the same standard deviation.

    See Also
    --------
    CoLiDECV : Chooses one of the strengths.

    Examples
    --------
    >>> from sparseopt.causal import colide_path
    >>> from sparseopt.datasets import make_linear_sem
    >>> data = make_linear_sem(n_features=8, n_samples=500, random_state=1)
    >>> path = colide_path(data.X, [0.05, 1.0, 1000.0])
    >>> path.n_edges
    array([ 0,  8, 19])
    """
    for name in FIXED:
        if name in parameters:
            raise TypeError(f"colide_path does not take the parameter {name!r} of CoLiDE.")
    model = CoLiDE(variance, solver=solver, **parameters)
    model._validate_params()
    model.random_state = as_seed(model.random_state)
    X, sample_weight = model._validate_samples(X, sample_weight)
    moments = Moments.of(X, sample_weight)
    moments.check(getattr(model, "feature_names_in_", None))
    moments.warn_if_standardised(stacklevel=2)
    if alphas is None:
        alphas = default_grid(model, moments, check_at_least_one(n_alphas, "n_alphas"), eps)
    else:
        alphas = check_alphas(alphas)
    models = run_parallel(
        fit_moments,
        [(quiet_copy(model, alpha), moments, X.dtype) for alpha in alphas],
        n_jobs=n_jobs,
    )
    converged = np.array([model.converged_ for model in models])
    warn_of_unfinished(np.count_nonzero(~converged), len(models), "of the path")
    return OptimizeResult(
        alphas=alphas,
        adjacencies=np.array([model.adjacency_ for model in models]),
        weights_raw=np.array([model.weights_raw_ for model in models]),
        noise_variances=np.array([model.noise_variances_ for model in models]),
        n_edges=np.array([np.count_nonzero(model.adjacency_) for model in models]),
        kkts=np.array([model.kkt_ for model in models]),
        n_iters=np.array([model.n_iter_ for model in models]),
        converged=converged,
        success=bool(converged.all()),
    )


def fit_moments(model, moments, dtype):
    """Fit a model to moments as if it were to data of type ``dtype``."""
    return model._learn(moments, np.empty((0, len(moments.mean)), dtype))


def quiet_copy(model, alpha, **parameters):
    """Return a copy that tells of nothing but by its attributes."""
    copy = CoLiDE(**{**model.get_params(deep=False), "alpha": alpha, **parameters})
    copy.n_features_in_ = model.n_features_in_
    if hasattr(model, "feature_names_in_"):
        copy.feature_names_in_ = model.feature_names_in_
    copy._quiet = True
    return copy


def default_grid(model, moments, n_alphas, eps=None):
    """Return strengths from where "prox" is sure to find no edges but required ones.

    That is larger by the tolerance than the smallest strength whose exact solution is zero:
    where <grad f(W), W> >= <grad f(0), W>, a nonzero W violates stationarity by more. Where
    all correlations are below 1 / sqrt(n), by chance or exactly 0, that value takes their place:
    parts of the data have larger ones, and no fit needs a smaller strength.
    """
    knowledge = EdgeKnowledge(
        len(moments.mean),
        getattr(model, "feature_names_in_", None),
        forbidden=model.forbidden_edges,
        required=model.required_edges,
        tiers=model.tiers,
    )
    model._check_sequences()
    C = moments.covariance
    chosen = (knowledge.allowed & ~knowledge.required) | np.eye(len(C), dtype=bool)
    C = np.where(chosen, C, 0.0)
    if model.rescale == "min_std":
        C /= np.diagonal(C).min()
    scales = np.sqrt(np.diagonal(C) / moments.n_samples)  # of slopes that chance gives an edge
    top = max(largest_alpha(C, model.variance == "equal"), scales.max())
    if eps is None:
        eps = min(scales.min() / top, LARGEST_EPS)
    tol = EFFORT["prox"][-1] if model.tol is None else model.tol
    return alpha_grid(top * (ROUNDING + (tol if model.solver == "prox" else 0.0)), eps, n_alphas)


def as_seed(random_state):
    """Return a seed that can be used again for every fit."""
    if isinstance(random_state, Integral):
        return random_state
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def warn_of_unfinished(n_unfinished, n_fits, which):
    """Warn once of fits that stopped early."""
    if n_unfinished:
        warnings.warn(
            f"{n_unfinished} of the {n_fits} fits {which} stopped short of their tolerance. Raise "
            "max_iter and warm_iter, or tol, or leave out small strengths.",
            ConvergenceWarning,
            stacklevel=3,
        )
