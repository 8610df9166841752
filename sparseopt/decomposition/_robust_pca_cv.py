"""Robust PCA with the weight of its sparse part chosen by predicting entries held out."""

import math
import warnings
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from sparseopt._core import fitting, run_parallel, spawn_seeds
from sparseopt._core._cross_validation import select_strength
from sparseopt.decomposition._robust_pca import RobustPCA
from sparseopt.decomposition._robust_pca_function import check_observations, robust_pca
from sparseopt.decomposition._robust_pca_path import (
    check_convex,
    check_lams,
    lam_grid,
    settle_mu,
)

FOLD_TOL = 1e-4  # at least, of the solutions that are only compared
FOLD_TOL_GAP = 1e-2
OWN = ("lams", "n_masks", "held_out", "selection_rule", "n_jobs")
NOT_SHARED = ("lam", "reweighting", "solver_options", "warm_start")


class RobustPCACV(RobustPCA):
    r"""Robust PCA with the weight of the sparse part chosen by cross-validation.

    Some observed entries are hidden, and the low-rank part that the others determine predicts
    them. The median absolute error of these predictions is not moved by the hidden entries that
    are gross errors. The weight with the least error, on average over several masks, is then used
    for all observed entries.

    Parameters
    ----------
    method : {"pcp", "stable", "outlier"}, default="pcp"
        The convex problem, as in :class:`RobustPCA`.
    lams : int or array-like of shape (n_lams,), default=10
        Weights :math:`\lambda > 0`, or the length of a geometric sequence between the weight at
        which the low-rank part is zero and that at which the sparse part is.
    n_masks : int, default=5
        How often entries are hidden.
    held_out : float, default=0.1
        Share of the observed entries that are hidden each time, at random, in (0, 1). One
        entry of each row and column is never hidden.
    selection_rule : {"min", "1se"}, default="min"
        Take the weight with the least mean error, or the smallest one whose mean error is within
        one standard error of it: its low-rank part tends to have fewer components.
    solver : {"auto", "ialm", "admm", "fista"}, default="auto"
        Solver of the convex problem, as in :class:`RobustPCA`.
    n_components : int, optional
        The number of components that are kept at most.
    noise_std : float, optional
        Standard deviation of the dense noise for "stable"; estimated once by default.
    mu : float or "auto", default="auto"
        Weight of the residual in the stable problem, in the units of ``X``, for all fits. "auto"
        is :math:`\sqrt{2 \max(n_{samples}, n_{features})}` times ``noise_std``.
    contamination : float or "auto", default="auto"
        Share of outlying samples, in (0, 0.5], for ``method="outlier"``.
    center : {"median"}, optional
        Subtract the median of each column first; in the fits that are compared, the median of
        the entries that are not hidden.
    tol : float, default=1e-7
        Largest :math:`\|X - L - S\|_F / \|X\|_F`; at least 1e-4 while weights are compared.
    tol_gap : float, optional
        Largest duality gap over the objective; 1e-4 by default, and 1e-6 for
        ``method="stable"``; at least 1e-2 while weights are compared.
    max_iter : int, default=1000
        Largest number of iterations of each fit.
    svd_solver : {"auto", "full", "gram", "subspace"}, default="auto"
        How singular values are found. "auto" takes the fastest.
    missing_values : int, float or np.nan, default=np.nan
        What marks missing entries.
    energy : float, default=0.999
        Share of the sum of squared singular values that ``effective_rank_`` is to hold.
    random_state : int, RandomState instance or None, default=None
        Draws the masks, and the first block of iterations that need one.
    n_jobs : int, optional
        Number of masks that are worked on at once. The result does not depend on it.

    Attributes
    ----------
    lam_ : float
        The chosen weight.
    lams_ : ndarray of shape (n_lams,)
        The weights that were compared, in increasing order.
    error_path_ : ndarray of shape (n_lams, n_masks)
        Median absolute errors of the hidden entries.
    low_rank_ : ndarray of shape (n_samples, n_features)
        The low-rank part of the training data, complete where these had missing values.
    sparse_ : ndarray of shape (n_samples, n_features)
        The sparse part, zero where a value was missing.
    components_ : ndarray of shape (n_components_, n_features)
        Right singular vectors of the low-rank part.
    singular_values_ : ndarray of shape (n_components_,)
        Its singular values, the largest first.
    n_components_ : int
        Its rank.
    effective_rank_ : int
        Number of singular values that hold the share ``energy`` of their sum of squares.
    mean_ : ndarray of shape (n_features,)
        What was subtracted: zeros, or the medians.
    mu_ : float
        Weight of the residual; 0 but for ``method="stable"``.
    noise_std_ : float or None
        Standard deviation of the noise, if it was given or estimated.
    dual_ : ndarray of shape (n_samples, n_features)
        Feasible dual variable, the proof of ``dual_gap_``.
    dual_gap_ : float
        Relative duality gap of the final fit.
    objective_ : float
        Its objective.
    converged_ : bool
        Whether it met the tolerances.
    n_iter_ : int
        Number of its iterations.
    history_ : dict
        Arrays ``iteration``, ``time`` (seconds), ``objective``, ``certificate`` and others.
    outlier_scores_ : ndarray of shape (n_samples,)
        Lengths of the rows of ``sparse_``. Only for ``method="outlier"``.
    outlier_mask_ : ndarray of bool of shape (n_samples,)
        Which training samples are outliers. Only for ``method="outlier"``.
    offset_ : float
        Threshold of :meth:`score_samples` below which a sample is an outlier. Only for
        ``method="outlier"``.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features, if ``X`` has them.

    Raises
    ------
    TypeError
        For sparse containers.
    ValueError
        For infinite entries, rows or columns without observed entries, ``lams`` that are not
        positive, solvers for a given rank, and data too small to hide anything.

    Warns
    -----
    ConvergenceWarning
        Once, with the number of fits whose tolerances were not met while weights were compared;
        and if those of the final one were not.

    See Also
    --------
    RobustPCA : For a given weight.
    robust_pca_path : The solutions for all weights.

    Notes
    -----
    With a share q of the entries hidden, :math:`\lambda / \sqrt{1 - q}` takes the place of
    :math:`\lambda`, as the theory of missing entries has it (but not for ``method="outlier"``).
    Each mask takes one run through all weights, and each fit starts from the one before.

    Errors below the tolerance, times the root mean square of the data, count as equal. Without
    noise, a whole range of weights has such errors: the one in the middle is taken ("1se": the
    smallest).

    References
    ----------
    E. J. Candès, X. Li, Y. Ma & J. Wright, "Robust principal component analysis?", Journal of
    the ACM 58 (2011).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.decomposition import RobustPCACV
    >>> rng = np.random.default_rng(0)
    >>> low_rank = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 40))
    >>> X = low_rank + 9.0 * (rng.random((60, 40)) < 0.05)
    >>> model = RobustPCACV(lams=5, n_masks=2, random_state=0).fit(X)
    >>> model.error_path_.shape, model.n_components_
    ((5, 2), 2)
    >>> bool(np.allclose(model.low_rank_, low_rank, atol=1e-4))
    True
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in RobustPCA._parameter_constraints.items()
            if name not in NOT_SHARED
        },
        "solver": [StrOptions({"auto", "ialm", "admm", "fista"})],
        "lams": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_masks": [Interval(Integral, 1, None, closed="left")],
        "held_out": [Interval(Real, 0, 1, closed="neither")],
        "selection_rule": [StrOptions({"min", "1se"})],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        method="pcp",
        *,
        lams=10,
        n_masks=5,
        held_out=0.1,
        selection_rule="min",
        solver="auto",
        n_components=None,
        noise_std=None,
        mu="auto",
        contamination="auto",
        center=None,
        tol=1e-7,
        tol_gap=None,
        max_iter=1000,
        svd_solver="auto",
        missing_values=np.nan,
        energy=0.999,
        random_state=None,
        n_jobs=None,
    ):
        self.method = method
        self.lams = lams
        self.n_masks = n_masks
        self.held_out = held_out
        self.selection_rule = selection_rule
        self.solver = solver
        self.n_components = n_components
        self.noise_std = noise_std
        self.mu = mu
        self.contamination = contamination
        self.center = center
        self.tol = tol
        self.tol_gap = tol_gap
        self.max_iter = max_iter
        self.svd_solver = svd_solver
        self.missing_values = missing_values
        self.energy = energy
        self.random_state = random_state
        self.n_jobs = n_jobs

    @fitting
    def fit(self, X, y=None, *, mask=None):
        """Choose the weight by cross-validation, and split the training data with it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data; float32 is kept.
        y : None
            Ignored.
        mask : array-like of bool of shape (n_samples, n_features), optional
            True where ``X`` is observed, beside ``missing_values``.

        Returns
        -------
        self : RobustPCACV
            The fitted estimator.
        """
        X = self._validate(X, reset=True)
        if min(X.shape) < 2:
            raise ValueError(
                "Entries are predicted from others of their row and column: X must have 2 rows "
                f"and 2 columns at least, got n_samples={X.shape[0]} and n_features={X.shape[1]}."
            )
        observed = check_observations(X, mask)[1]
        if observed is not None:
            X = np.where(observed, X, np.asarray(np.nan, X.dtype))
        problem, noise_std = self._problem(X, observed)
        centred = X - self._center_of(X) if self.center else X
        self.lams_ = self._grid(centred, observed, problem)
        root = self._init_callback_context(max_subtasks=self.n_masks + 1, sequential_subtasks=False)
        root.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self.error_path_ = self._errors(X, problem, root)
        accuracy = problem["tol"] * float(np.sqrt(np.nanmean((X / _largest(X)) ** 2))) * _largest(X)
        best = choose_weight(self.error_path_, self.selection_rule, accuracy)
        model = self._final_estimator(float(self.lams_[best]), noise_std)
        refit = root.subcontext(task_name="refit", task_id=self.n_masks)
        refit.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with refit.propagate_callback_context(model):
            model.fit(X)
        refit.call_on_fit_task_end(estimator=self, X=X, y=y)
        self._adopt(model)
        root.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return self

    def _problem(self, X, observed):
        """Return what all fits that are compared have in common, and the noise."""
        check_convex(self.method, {"solver": self.solver})
        options = {
            "method": self.method,
            "solver": self.solver,
            "max_iter": self.max_iter,
            "svd_solver": self.svd_solver,
            "tol": max(self.tol, FOLD_TOL),
            "tol_gap": max(self.tol_gap or 0.0, FOLD_TOL_GAP),
            "warn": False,
        }
        if self.method != "stable":
            if self.noise_std is not None or self.mu != "auto":
                raise ValueError(
                    f"noise_std and mu are not used by method={self.method!r}: leave them out."
                )
            return options, None
        seed = _as_int(spawn_seeds(self.random_state, 1)[0])
        own = {"svd_solver": self.svd_solver, "random_state": seed}
        mu, noise_std = settle_mu(X, observed, self.mu, self.noise_std, own)
        if mu > 0:
            options["mu"] = mu
        else:  # no noise
            options |= {"method": "pcp", "solver": "auto"}
        return options, noise_std

    def _grid(self, X, observed, problem):
        if isinstance(self.lams, Integral):
            return lam_grid(
                X, self.lams, method=problem["method"], mask=observed, mu=problem.get("mu")
            )
        return check_lams(self.lams)

    def _errors(self, X, problem, root):
        """Return the errors (n_lams, n_masks) of hidden entries."""
        watched = self if getattr(self, "_skl_callbacks", []) else None
        seeds = spawn_seeds(self.random_state, self.n_masks)
        contexts = [
            root.subcontext(task_name=f"mask {number}", task_id=number)
            for number in range(self.n_masks)
        ]
        tasks = [
            (_Fold(X, self.held_out, seed, self.center is not None), self.lams_, problem)
            + (watched, context)
            for seed, context in zip(seeds, contexts, strict=True)
        ]
        found = run_parallel(_errors_of_fold, tasks, n_jobs=self.n_jobs)
        errors, unfinished = zip(*found, strict=True)
        if sum(unfinished):
            n_fits = len(self.lams_) * self.n_masks
            warnings.warn(
                f"{sum(unfinished)} of the {n_fits} fits that were compared stopped "
                "short of their tolerance. Increase max_iter.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return np.array(errors).T

    def _final_estimator(self, lam, noise_std):
        """Return the estimator of the final fit."""
        own = self.get_params(deep=False)
        shared = {name: value for name, value in own.items() if name not in OWN}
        model = RobustPCA(**shared).set_params(lam=lam, missing_values=np.nan)
        if self.method == "stable" and self.mu == "auto":
            model.set_params(noise_std=noise_std)
        return model

    def _adopt(self, model):
        """Take over what the final model has learnt."""
        parameters = model.get_params(deep=False)
        for name, value in vars(model).items():
            if name not in parameters and not name.startswith(("_skl", "_callback", "_parent")):
                if name not in ("n_features_in_", "feature_names_in_"):
                    setattr(self, name, value)


def choose_weight(errors, rule, accuracy):
    """Return the index of the weight that ``rule`` takes.

    Parameters
    ----------
    errors : ndarray of shape (n_lams, n_masks)
        Errors for increasing weights.
    rule : {"min", "1se"}
        Least mean error, or the first that is within a standard error of it.
    accuracy : float
        Errors up to here are the same.
    """
    errors = np.maximum(errors, accuracy)
    if rule == "1se":
        return select_strength(errors, rule)
    mean = errors.mean(axis=1)
    ties = np.flatnonzero(mean == mean.min())
    return int(ties[len(ties) // 2])


def _largest(X):
    largest = float(np.nanmax(np.abs(X)))
    return largest if largest > 0 else 1.0


class _Fold(NamedTuple):
    """Data of which some entries are hidden."""

    X: Any  # NaN where nothing was observed
    share: float
    seed: Any
    center: bool

    def split(self):
        """Return the training data, what is hidden (values and places), and the scale of lam."""
        observed = ~np.isnan(self.X)
        held = hold_out(observed, self.share, np.random.default_rng(self.seed))
        train = np.where(held, np.asarray(np.nan, self.X.dtype), self.X)
        shift = np.nanmedian(train, axis=0).astype(train.dtype) if self.center else 0
        scale = 1 / math.sqrt(1 - np.count_nonzero(held) / np.count_nonzero(observed))
        return train - shift, (self.X - shift)[held], held, scale


def hold_out(observed, share, random):
    """Return a mask of observed entries to hide, but none that is the last of a row or column.

    Parameters
    ----------
    observed : ndarray of bool of shape (m, n)
        Which entries there are.
    share : float
        Share of them to hide, in (0, 1).
    random : numpy.random.Generator
        Draws them.
    """
    keys = np.where(observed, random.random(observed.shape), 2.0)
    free = observed.copy()
    free[np.arange(len(keys)), keys.argmin(axis=1)] = False
    free[keys.argmin(axis=0), np.arange(keys.shape[1])] = False
    candidates = np.flatnonzero(free)
    count = min(max(round(share * np.count_nonzero(observed)), 1), len(candidates))
    if count == 0:
        raise ValueError(
            "There are too few observed entries to hold out any: each row and column has to keep "
            "one."
        )
    held = np.zeros(observed.size, dtype=bool)
    held[random.permutation(candidates)[:count]] = True
    return held.reshape(observed.shape)


def _errors_of_fold(fold, lams, problem, watched, context):
    """Return the errors for all weights, and how many fits did not converge."""
    if watched is not None:
        context.call_on_fit_task_begin(estimator=watched)
    train, hidden, held, scale = fold.split()
    scale = 1.0 if problem["method"] == "outlier" else scale
    seed = _as_int(fold.seed)
    errors, unfinished, result = [], 0, None
    for lam in lams:
        result = robust_pca(train, lam=scale * lam, start=result, random_state=seed, **problem)
        errors.append(float(np.median(np.abs(hidden - result.low_rank[held]))))
        unfinished += not result.success
    if watched is not None:
        context.call_on_fit_task_end(estimator=watched)
    return errors, unfinished


def _as_int(seed):
    return int(seed.generate_state(1)[0])
