r"""Loss-based orthogonal matching pursuit: the path of supports and of refitted coefficients.

H. Mohammad-Taheri and S. Brugiapaglia, "The greedy side of the LASSO: new algorithms for
weighted sparse recovery via loss function-based orthogonal matching pursuit", 2023.

    G(x) = F(y - A x) + lam R(x),      A (m, N), y (m,), x (N,), weights w (N,)

    F: ||r||_2^2 (lasso), ||r||_2 (sqrt_lasso), ||r||_1 (lad_lasso)
    R: sum_{x_j != 0} w_j^2 (l0), sum_j w_j |x_j| (l1)

Each step moves to the support the index with the largest gain
``Delta_j = G(x) - min_t G(x + t e_j)`` over all j, those in the support included, and refits
without penalty: ``x_S = argmin F(y - A_S x_S)``. The penalty only decides which columns enter
and when to stop. Plain OMP selects by ``|a_j^H r| / ||a_j||``, weighted OMP by that over w_j.
"""

import math

import numpy as np
from scipy import sparse
from scipy.optimize import OptimizeResult

from sparseopt._core import (
    Progress,
    Status,
    array_namespace,
    check_nonnegative,
    check_penalty_weights,
    check_regression_data,
    is_numpy,
    iterate,
)
from sparseopt.linear_model._greedy_batch import batched_path
from sparseopt.linear_model._greedy_delta import check_loss, check_penalty
from sparseopt.linear_model._greedy_options import (
    COMPRESS_STEPS,
    LOSSES,
    MESSAGES,
    NATURAL_STOPS,
    RELATIVE_RESOLUTION,
    SMALLEST_OMP_WEIGHT,
    check_count,
    check_lam,
    noise_blind_lam,
    support_limit,
    warn_if_short,
)
from sparseopt.linear_model._greedy_problem import LADProblem, LeastSquaresProblem
from sparseopt.linear_model._kernels.cpu import TIE


def weighted_omp_path(
    A,
    y,
    *,
    loss="sqrt_lasso",
    penalty="l1",
    lam="auto",
    weights=None,
    n_nonzero_coefs=None,
    tol=None,
    max_iter=None,
    allow_removal=False,
    normalize=True,
    fit_intercept=False,
    sample_weight=None,
    precompute="auto",
    callback=None,
):
    """Compute the path of loss-based orthogonal matching pursuit.

    Parameters
    ----------
    A : {array, sparse matrix} of shape (n_samples, n_features)
        Dictionary, real or complex; SciPy's CSR and CSC containers are never made dense.
        Arrays of another array-API library (CuPy) are computed there.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        Data; several targets are pursued in lock-step.
    loss : {"sqrt_lasso", "lasso", "lad_lasso", "omp"}, default="sqrt_lasso"
        ``||r||_2``, ``||r||_2^2``, ``||r||_1`` (real data), or selection by correlation.
    penalty : {"l1", "l0"}, default="l1"
        Ignored by ``loss="omp"``.
    lam : float or "auto", default="auto"
        Strength of the penalty in ``F(r) + lam R(x)``, without factors 1/2 or 1/n_samples.
        "auto" is the noise-blind level of ``loss="sqrt_lasso", penalty="l1"``;
        ``loss="omp"`` has no penalty and takes "auto" or 0.
    weights : array-like of shape (n_features,) or callable, default=None
        Penalty weights >= 0, or ``weights(A)``: 0 never penalises a column, ``inf`` excludes
        it. ``loss="omp"`` divides the correlations by them. None means ones.
    n_nonzero_coefs : int, default=None
        Largest size of the support. For ``loss="omp"`` without ``tol``, None means 10 % of
        the features, as in scikit-learn.
    tol : float, default=None
        Stop once the squared 2-norm of the residual is at most this.
    max_iter : int, default=None
        Largest number of steps. None means as many as the rank allows.
    allow_removal : bool, default=False
        Whether the path goes on at its natural end, where it may also remove columns if that
        lowers ``G`` most; needs ``penalty="l0"``.
    normalize : bool, default=True
        Whether the penalty acts on the coefficients of the columns scaled to unit norm (the
        published formulas) or on the coefficients themselves. ``loss="omp"`` selects by
        ``|a_j^H r| / ||a_j||`` or, as scikit-learn does, by ``|a_j^H r|``. Results are always
        in the units of ``A``.
    fit_intercept : bool, default=False
        Whether to add an unpenalised intercept.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the squared (lad_lasso: absolute) residuals.
    precompute : bool or "auto", default="auto"
        Whether to replace ``A`` by the triangular factor of its QR decomposition, which has
        n_features rows; "auto" does so where it is faster. Sparse data and
        ``loss="lad_lasso"`` never do.
    callback : callable, default=None
        Called after each step as SciPy's optimizers do; ``StopIteration`` ends the path.

    Returns
    -------
    result : OptimizeResult
        ``x`` (n_features,), ``intercept``, ``support`` (in the order of selection),
        ``order`` (k,) the index moved in each step, ``removed`` (k,) whether it left,
        ``coefs`` (k + 1, n_features) a CSR array of the coefficients along the path (a dense
        array for other libraries), ``intercepts`` (k + 1,), ``losses`` (k + 1,) the data
        term, ``deltas`` (k,) the gains, ``stop_reason`` ("no_decrease", "in_support",
        "n_nonzero_coefs", "tol", "rank_deficient", "max_iter" or "callback"), ``lam``,
        ``fun`` the data term at ``x``, ``certificate`` the squared residual norm, ``nit``,
        ``success``, ``status``, ``message`` and ``history``. With several targets ``x`` is
        (n_features, n_targets), ``intercept`` (n_targets,), and ``paths`` lists one such
        result a target.

    Raises
    ------
    ValueError, TypeError
        For invalid data or parameters.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` was given and is not reached.

    References
    ----------
    H. Mohammad-Taheri and S. Brugiapaglia (2023). The greedy side of the LASSO.
    arXiv:2303.00844.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.linear_model import weighted_omp_path
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((50, 100))
    >>> y = 3 * A[:, 7] - 2 * A[:, 42] + 0.1 * rng.standard_normal(50)
    >>> path = weighted_omp_path(A, y)
    >>> path.support
    array([ 7, 42])
    >>> path.stop_reason
    'in_support'
    """
    check_loss(loss, LOSSES)
    check_penalty(penalty)
    if allow_removal and (penalty != "l0" or loss == "omp"):
        raise ValueError(
            "allow_removal=True needs penalty='l0' and loss 'lasso', 'sqrt_lasso' or "
            f"'lad_lasso' (removals then lower the objective), got {penalty!r} and {loss!r}."
        )
    xp = array_namespace(A, y)
    if not is_numpy(xp):
        if loss == "lad_lasso" or allow_removal or callback is not None:
            raise ValueError(
                "loss='lad_lasso', allow_removal=True and callback need NumPy arrays, got "
                f"arrays of {xp.__name__}."
            )
        result = batched_path(
            xp, A, y, loss=loss, penalty=penalty, lam=lam, weights=weights,
            n_nonzero_coefs=n_nonzero_coefs, tol=tol, max_iter=max_iter, normalize=normalize,
            fit_intercept=fit_intercept, sample_weight=sample_weight,
        )  # fmt: skip
        warn_if_short(result.get("paths", [result]), tol)
        return result
    A, targets, sample_weight = _check_data(A, y, sample_weight, loss)
    weights = check_penalty_weights(weights, A.shape[1], X=A)
    limit = support_limit(n_nonzero_coefs, tol, loss, A.shape[1])
    tol = None if tol is None else check_nonnegative(tol, "tol")
    max_iter = None if max_iter is None else check_count(max_iter, "max_iter")
    check_lam(lam, loss, penalty)
    problem = make_problem(
        A, sample_weight, loss=loss, fit_intercept=fit_intercept,
        precompute=precompute, n_steps=len(targets) * (limit or max(A.shape[1] // 10, 1)),
    )  # fmt: skip
    pursuit = Pursuit(
        problem, targets, loss=loss, penalty=penalty, lam=lam, weights=weights,
        n_nonzero_coefs=limit, tol=tol, allow_removal=allow_removal, normalize=normalize,
    )  # fmt: skip
    result = pursuit.run(max_iter, callback)
    warn_if_short(result.paths, tol)
    return result.paths[0] if np.ndim(y) == 1 else result


def make_problem(A, sample_weight, *, loss, fit_intercept, precompute="auto", n_steps=0):
    """Return the data of a pursuit that will make about ``n_steps`` steps in all."""
    if loss == "lad_lasso":
        return LADProblem(A, sample_weight, bool(fit_intercept))
    if precompute == "auto":
        m, N = A.shape
        precompute = m > 2 * N and n_steps > COMPRESS_STEPS * N
    return LeastSquaresProblem(A, sample_weight, bool(fit_intercept), compress=bool(precompute))


class Pursuit:
    """Paths of several targets over one dictionary, one step of each at a time.

    It is the state of the iteration driver: ``x`` holds the current coefficients.
    """

    def __init__(
        self,
        problem,
        targets,
        *,
        loss,
        penalty,
        lam,
        weights,
        n_nonzero_coefs,
        tol,
        allow_removal=False,
        normalize,
    ):
        self.problem, self.loss = problem, loss
        self.lam = lam = check_lam(lam, loss, penalty)
        if lam == "auto":
            self.lam = lam = noise_blind_lam(
                problem.total_weight,
                problem.shape[1],
                complex_data=np.iscomplexobj(targets),
            )
        self.l0 = penalty == "l0"
        self.tol, self.allow_removal = tol, allow_removal
        self.limit = problem.rank_limit
        self.limit_reason = "rank_deficient"
        if n_nonzero_coefs is not None and n_nonzero_coefs <= self.limit:
            self.limit, self.limit_reason = n_nonzero_coefs, "n_nonzero_coefs"
        self.scored = loss == "omp" and (not normalize or bool(np.any(weights != 1)))
        if loss == "omp":
            weights = np.maximum(weights, SMALLEST_OMP_WEIGHT)
        self.weights = problem.scaled_weights(weights, loss, penalty, normalize)
        self.selector = problem.selector(loss, penalty, lam, self.weights)
        self.dtype = targets.dtype
        self.paths = [_Path(*problem.fit(target)) for target in targets]
        for path in self.paths:
            self._record(path)

    def run(self, max_iter=None, callback=None):
        """Step until every path has stopped; return the result of all of them."""
        if max_iter is None:
            max_iter = 10 * self.problem.rank_limit + 10
        driven = iterate(
            Pursuit.step,
            self,
            max_iter=max_iter,
            tol=-math.inf,
            method="weighted_omp_path",
            initial=self._progress(),
            callback=callback,
            certificate_name="squared residual norm",
            warn=False,
        )
        stopped = "callback" if driven.status == Status.STOPPED_BY_CALLBACK else "max_iter"
        for path in self.paths:
            path.stop_reason = path.stop_reason or stopped
        paths = [self._result(path, driven.history) for path in self.paths]
        return OptimizeResult(
            x=np.stack([path.x for path in paths], axis=1),
            intercept=np.array([path.intercept for path in paths]),
            paths=paths,
            fun=sum(path.fun for path in paths),
            nit=max(path.nit for path in paths),
            success=all(path.success for path in paths),
            status=max(path.status for path in paths),
            message=" ".join(path.message for path in paths),
            history=driven.history,
        )

    def step(self):
        """Move one index of every path that has not stopped."""
        active = [path for path in self.paths if path.stop_reason is None]
        choices = self.selector.choose([path.fit for path in active])
        for path, choice in zip(active, choices, strict=True):
            self._advance(path, choice)
        return self._progress()

    def _advance(self, path, choice):
        if not path.may_remove:
            reason = self._grow(path, choice)
            # Removals begin where the path without them ends, so that they only improve on it.
            path.may_remove = self.allow_removal and reason in ("no_decrease", "in_support")
        if path.may_remove:
            reason = self._grow_or_shrink(path, choice)
        path.stop_reason = path.stop_reason or reason

    def _grow(self, path, choice):
        """Add the selected column; return why it is not added, if so."""
        if not max(choice.gain, choice.inside_gain) > self._resolution(path):
            return "no_decrease"
        if _comes_first(choice.inside_gain, choice.inside_index, choice.gain, choice.outside_index):
            return "in_support"
        if not path.fit.add(choice.outside_index, self.problem.column(choice.outside_index)):
            return "rank_deficient"
        self._record(path, choice.outside_index, choice.gain)
        return None

    def _grow_or_shrink(self, path, choice):
        """Add or remove the column that lowers the objective most."""
        fit = path.fit
        if self.loss != "lad_lasso":
            choice = choice._replace(**self._best_removal(fit))
        if choice.inside_gain > choice.gain and choice.inside_gain > self._resolution(path):
            fit.remove(fit.support.index(choice.inside_index))
            self._record(path, choice.inside_index, choice.inside_gain, removed=True)
            return None
        return self._grow(path, choice._replace(inside_gain=0.0))

    def _record(self, path, index=None, gain=None, *, removed=False):
        """Store the present fit as the next point of the path, and see whether it ends there."""
        fit = path.fit
        if index is not None:
            path.order.append(index)
            path.removed.append(removed)
            path.deltas.append(gain if self.loss != "omp" or self.scored else gain**2)
        path.supports.append(list(fit.support))
        path.coefs.append(fit.coef)
        path.losses.append(self._data_term(fit))
        path.intercepts.append(self.problem.intercept(fit, path.mean))
        if self.tol is not None and fit.squared_residual <= self.tol:
            path.stop_reason = "tol"
        elif len(fit.support) >= self.limit:
            path.stop_reason = self.limit_reason

    def _best_removal(self, fit):
        """Exact gain, refit included, of removing one column from a least-squares fit."""
        if not fit.support:
            return {"inside_gain": 0.0, "inside_index": -1}
        rise = fit.removal_costs()
        if self.loss == "sqrt_lasso":
            norm = fit.residual_norm
            rise = rise / (norm + np.sqrt(norm**2 + rise))
        gains = self.lam * self.weights[fit.support] ** 2 - rise
        best = int(np.argmax(gains))
        return {"inside_gain": max(float(gains[best]), 0.0), "inside_index": fit.support[best]}

    def _data_term(self, fit):
        if self.loss == "lad_lasso":
            return fit.objective
        return fit.residual_norm if self.loss == "sqrt_lasso" else fit.squared_residual

    def _resolution(self, path):
        """Smallest gain that is more than rounding noise."""
        if self.loss == "omp":
            return 0.0  # the selector applies RELATIVE_RESOLUTION to the correlations
        power = 2 if self.loss == "lasso" else 1
        return RELATIVE_RESOLUTION**power * path.losses[0]

    def _penalty(self, fit):
        weights = self.weights[fit.support]
        if self.lam == 0 or self.loss == "omp":
            return 0.0
        if self.l0:
            return self.lam * np.sum(weights**2)
        return self.lam * np.sum(weights * self.problem.norms[fit.support] * np.abs(fit.coef))

    def _progress(self):
        objective = sum(path.losses[-1] + self._penalty(path.fit) for path in self.paths)
        largest = max(path.fit.squared_residual for path in self.paths)
        done = all(path.stop_reason is not None for path in self.paths)
        return Progress(float(objective), largest, stalled=done)

    @property
    def x(self):
        """Current coefficients, (n_features,) or (n_features, n_targets)."""
        x = np.zeros((self.problem.shape[1], len(self.paths)), self.dtype)
        for target, path in enumerate(self.paths):
            x[path.fit.support, target] = path.fit.coef
        return x[:, 0] if len(self.paths) == 1 else x

    def _result(self, path, history):
        reason = path.stop_reason
        n_features = self.problem.shape[1]
        coefs = path.to_csr(n_features, self.dtype)
        status = {"max_iter": Status.ITERATION_LIMIT, "callback": Status.STOPPED_BY_CALLBACK}
        k = len(path.order)
        return OptimizeResult(
            x=coefs[[-1]].toarray()[0],
            intercept=path.intercepts[-1],
            support=np.array(path.supports[-1], dtype=np.intp),
            order=np.array(path.order, dtype=np.intp),
            removed=np.array(path.removed, dtype=bool),
            coefs=coefs,
            intercepts=np.array(path.intercepts),
            losses=np.array(path.losses),
            deltas=np.array(path.deltas),
            stop_reason=reason,
            lam=self.lam,
            fun=path.losses[-1],
            certificate=path.fit.squared_residual,
            nit=k,
            success=(reason == "tol") if self.tol is not None else reason in NATURAL_STOPS,
            status=status.get(reason, Status.CONVERGED),
            message=f"The path ended after {k} steps: {MESSAGES[reason]}.",
            history={name: values[: k + 1] for name, values in history.items()},
        )


class _Path:
    """What is recorded of one target: entry i of each list belongs to the fit of step i."""

    def __init__(self, fit, mean):
        self.fit, self.mean = fit, mean
        self.order, self.removed, self.deltas = [], [], []
        self.supports, self.coefs, self.losses, self.intercepts = [], [], [], []
        self.stop_reason = None
        self.may_remove = False

    def to_csr(self, n_features, dtype):
        """Return the coefficients along the path, one row a fit."""
        lengths = [len(support) for support in self.supports]
        indices = np.concatenate(self.supports).astype(np.intp)
        path = sparse.csr_array(
            (np.concatenate(self.coefs).astype(dtype), indices, np.cumsum([0, *lengths])),
            shape=(len(lengths), n_features),
        )
        path.sort_indices()
        return path


def _comes_first(gain, index, other_gain, other_index):
    """Whether a move has the larger gain or, up to rounding, the same and a smaller index."""
    if gain > other_gain * (1 + TIE):
        return True
    return gain > 0 and gain >= other_gain * (1 - TIE) and index < other_index


def _check_data(A, y, sample_weight, loss):
    """Return the dictionary, the targets (n_targets, n_samples) and the sample weights."""
    y = np.asarray(y)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(
            f"y must have shape (n_samples,) or (n_samples, n_targets), got {y.shape}."
        )
    columns = y.T if y.ndim == 2 else y[None]
    A, first, sample_weight = check_regression_data(A, columns[0], sample_weight)
    targets = columns.astype(first.dtype)
    if not np.all(np.isfinite(targets)):
        raise ValueError("y must be finite, got NaN or infinite entries.")
    if loss == "lad_lasso" and np.iscomplexobj(targets):
        raise ValueError("loss='lad_lasso' accepts real data only, got complex values.")
    return A, targets, sample_weight
