r"""Loss-based OMP of many targets at once, as array expressions only.

The same algorithm as in ``_greedy``, written against the array-API namespace of the input: it
runs on the device that holds the arrays. All targets that are still active have made the same
number of steps k, so their fits are stacked: with T active targets the state is

    r (T, m)    Q (T, k, m) orthonormal rows    R (T, k, k)    image = Q r_0 (T, k)

and a step costs one matrix product ``r conj(A)`` of 2 T m N flops plus 12 T m k.
"""

import numpy as np
from scipy.optimize import OptimizeResult

from sparseopt._core import Status, check_nonnegative, check_penalty_weights, to_numpy
from sparseopt.linear_model._greedy_delta import (
    NEGLIGIBLE_COLUMN,
    column_norms,
    penalty_scale,
    quadratic_delta,
)
from sparseopt.linear_model._greedy_options import (
    MESSAGES,
    RELATIVE_RESOLUTION,
    SMALLEST_OMP_WEIGHT,
    check_count,
    check_lam,
    noise_blind_lam,
    support_limit,
)
from sparseopt.linear_model._kernels.cpu import PIVOT, TIE


def batched_path(
    xp,
    A,
    y,
    *,
    loss,
    penalty,
    lam,
    weights,
    n_nonzero_coefs,
    tol,
    max_iter,
    normalize,
    fit_intercept,
    sample_weight,
):
    """Compute the paths of :func:`weighted_omp_path` where the arrays live.

    Parameters are those of :func:`weighted_omp_path`, with arrays of the namespace ``xp``.

    Returns
    -------
    result : OptimizeResult
        As :func:`weighted_omp_path` returns it; ``x``, ``coefs`` (dense), ``intercept`` and
        ``intercepts`` are arrays of ``xp``, the rest is in host memory. There is no history.
    """
    A, y = _checked(xp, A, y)
    limit = support_limit(n_nonzero_coefs, tol, loss, A.shape[1])
    tol = None if tol is None else check_nonnegative(tol, "tol")
    lam = check_lam(lam, loss, penalty)
    weights = check_penalty_weights(weights, A.shape[1], X=A)
    targets = y if y.ndim == 2 else y[:, None]
    batch = _Batch(xp, A, targets, sample_weight, int(bool(fit_intercept)))
    batch.set_rule(loss, penalty, lam, weights, normalize)
    at_limit = "n_nonzero_coefs"
    if limit is None or limit > batch.rank_limit:
        limit, at_limit = batch.rank_limit, "rank_deficient"
    max_iter = limit if max_iter is None else check_count(max_iter, "max_iter")
    batch.stop_where(lambda squared: tol is not None and squared <= tol, "tol")
    for _ in range(min(max_iter, limit)):
        if not batch.active:
            break
        batch.step()
        batch.stop_where(lambda squared: tol is not None and squared <= tol, "tol")
    batch.stop_where(lambda squared: True, at_limit if limit <= max_iter else "max_iter")
    paths = [batch.result(target, tol) for target in range(batch.n_targets)]
    if y.ndim == 1:
        return paths[0]
    return OptimizeResult(
        x=xp.stack([path.x for path in paths], axis=1),
        intercept=xp.stack([path.intercept for path in paths]),
        paths=paths,
        fun=sum(path.fun for path in paths),
        nit=max(path.nit for path in paths),
        success=all(path.success for path in paths),
        status=max(path.status for path in paths),
        message=" ".join(path.message for path in paths),
    )


class _Batch:
    """The stacked fits of the active targets, and the records of all."""

    def __init__(self, xp, A, y, sample_weight, fit_intercept):
        self.xp = xp
        (m, N), self.n_targets = A.shape, y.shape[1]
        rows = xp.ones_like(xp.abs(y[:, 0]))
        if sample_weight is not None:
            rows = rows * xp.asarray(sample_weight, dtype=rows.dtype)
            valid = rows.shape == (m,) and bool(xp.all(xp.isfinite(rows) & (rows >= 0)))
            if not valid or not bool(xp.any(rows > 0)):
                raise ValueError(
                    f"sample_weight must have shape ({m},), finite entries, none of them "
                    "negative, and a positive one."
                )
        self.total = float(xp.sum(rows))
        column = xp.astype(rows, A.dtype)[:, None]
        self.A_mean = xp.sum(A * column, axis=0) / self.total * fit_intercept
        self.y_mean = xp.sum(y * column, axis=0) / self.total * fit_intercept
        scale = xp.astype(xp.sqrt(rows), A.dtype)[:, None]
        raw_norms = _checked_norms(xp, A * scale, "A")
        _checked_norms(xp, y * scale, "y")
        A = (A - self.A_mean) * scale
        self.norms = column_norms(xp, A)
        eps = float(xp.finfo(A.dtype).eps)
        rounding = 16 * eps * raw_norms if fit_intercept else 0.0 * raw_norms
        smallest = xp.maximum(rounding, NEGLIGIBLE_COLUMN * xp.max(self.norms))
        self.usable = self.norms > smallest
        self.norms = xp.where(self.usable, self.norms, xp.ones_like(self.norms))
        self.A = A / xp.astype(self.norms, A.dtype)
        self.total -= fit_intercept
        independent = int(xp.sum(xp.astype(rows > 0, xp.int64))) - fit_intercept
        self.rank_limit = max(0, min(independent, int(xp.sum(xp.astype(self.usable, xp.int64)))))
        self.resolution = max(RELATIVE_RESOLUTION, 10 * eps)

        self.active = list(range(self.n_targets))
        self.target = ((y - self.y_mean) * scale).T
        T = self.n_targets
        self.residual = self.target
        self.Q = xp.zeros((T, 0, m), dtype=A.dtype)
        self.columns = self.Q
        self.R = xp.zeros((T, 0, 0), dtype=A.dtype)
        self.image = xp.zeros((T, 0), dtype=A.dtype)
        self.support = xp.zeros((T, 0), dtype=xp.int64)
        self.inside = xp.zeros((T, N), dtype=xp.bool)
        self.coef = self.image
        self.norm = self._row_norms(self.residual)
        self.initial_norm = self.norm

    def set_rule(self, loss, penalty, lam, weights, normalize):
        """Fix the selection rule, and record the starting point."""
        xp = self.xp
        if lam == "auto":
            is_complex = xp.isdtype(self.A.dtype, "complex floating")
            lam = noise_blind_lam(self.total, self.A.shape[1], complex_data=is_complex)
        self.loss, self.penalty, self.lam = loss, penalty, lam
        self.scored = loss == "omp" and (not normalize or bool(np.any(weights != 1)))
        if loss == "omp":
            weights = np.maximum(weights, SMALLEST_OMP_WEIGHT)
        weights = xp.asarray(weights.tolist(), dtype=self.norms.dtype, device=self.norms.device)
        self.weights = (
            weights if normalize else penalty_scale(xp, loss, penalty, weights, self.norms)
        )
        self.records = [
            {"coefs": [], "losses": [], "deltas": [], "order": [], "stop": None}
            for _ in range(self.n_targets)
        ]
        self._record(self.active)

    def step(self):
        """Select for every active target; stop those that gain nothing, extend the others."""
        xp = self.xp
        gain, index, inside_gain, inside_index = self._choose()
        smallest = self._smallest_gain()
        stays = []
        for position, target in enumerate(self.active):
            record = self.records[target]
            best_inside = inside_gain[position] > gain[position] * (1 + TIE) or (
                inside_gain[position] >= gain[position] * (1 - TIE)
                and inside_index[position] < index[position]
            )
            if max(gain[position], inside_gain[position]) <= smallest[position]:
                record["stop"] = "no_decrease"
            elif best_inside:
                record["stop"] = "in_support"
            else:
                record["deltas"].append(float(gain[position]))
                record["order"].append(int(index[position]))
                stays.append(position)
        self._keep(stays)
        if not self.active:
            return
        index = xp.asarray([int(index[p]) for p in stays], dtype=xp.int64)
        independent = to_numpy(self._append(index))
        for position, target in enumerate(self.active):
            if not independent[position]:
                record = self.records[target]
                record["stop"] = "rank_deficient"
                record["deltas"].pop()
                record["order"].pop()
        self._keep([p for p in range(len(self.active)) if independent[p]])
        self._record(self.active)

    def stop_where(self, condition, reason):
        """Stop the active targets whose squared residual norm satisfies ``condition``."""
        squared = to_numpy(self.norm) ** 2
        for position, target in enumerate(self.active):
            if condition(squared[position]):
                self.records[target]["stop"] = reason
        self._keep([p for p, t in enumerate(self.active) if self.records[t]["stop"] is None])

    def _choose(self):
        """Return on the host (gain, index) outside the support and inside, one a target."""
        xp = self.xp
        correlations = (
            self.residual @ xp.conj(self.A) if self._complex() else self.residual @ self.A
        )
        norm = self.norm[:, None]
        nothing = xp.zeros_like(xp.abs(correlations))
        if self.loss == "omp":
            u = xp.abs(correlations)
            smallest = xp.maximum(self.resolution * self.initial_norm[:, None], PIVOT * norm)
            counts = u > smallest
            gains = xp.where(counts, u / self.weights, nothing)
        else:
            rule = (xp, self.loss, self.penalty, self.lam)
            gains = quadratic_delta(
                *rule, correlations, xp.zeros_like(correlations), norm, self.weights
            )
        gains = xp.where(self.usable & ~self.inside, gains, nothing)
        gain, index = self._largest(gains)
        T, k = self.support.shape
        if k == 0 or self.loss == "omp":
            return gain, index, np.zeros(T), np.full(T, -1)
        weights = xp.reshape(xp.take(self.weights, xp.reshape(self.support, (-1,))), (T, k))
        fitted = xp.zeros_like(self.coef)
        inside = quadratic_delta(*rule, fitted, self.coef, norm, weights)
        inside_gain, position = self._largest(inside)
        return gain, index, inside_gain, to_numpy(self.support)[np.arange(T), position]

    def _largest(self, gains):
        xp = self.xp
        best = xp.max(gains, axis=1, keepdims=True)
        index = xp.argmax(xp.astype(gains >= best * (1 - TIE), xp.int8), axis=1)
        return to_numpy(best[:, 0]), to_numpy(index)

    def _smallest_gain(self):
        norms = to_numpy(self.initial_norm)
        if self.loss == "omp":
            return np.zeros_like(norms)
        return (self.resolution * norms) ** 2 if self.loss == "lasso" else self.resolution * norms

    def _append(self, index):
        """Add a column to every active fit; return which of them were independent."""
        xp = self.xp
        column = xp.take(self.A, index, axis=1).T
        rest, projection = column, self.image * 0
        for _ in range(2):
            again = self._project(rest)
            rest = rest - self._combine(again, self.Q)
            projection = projection + again
        norm = self._row_norms(rest)
        independent = norm > PIVOT
        norm = xp.astype(xp.where(independent, norm, xp.ones_like(norm)), rest.dtype)[:, None]
        self.Q = xp.concat([self.Q, (rest / norm)[:, None, :]], axis=1)
        self.columns = xp.concat([self.columns, column[:, None, :]], axis=1)
        upper = xp.concat([self.R, projection[:, :, None]], axis=2)
        lower = xp.concat([xp.zeros_like(projection), norm], axis=1)[:, None, :]
        self.R = xp.concat([upper, lower], axis=1)
        self.support = xp.concat([self.support, index[:, None]], axis=1)
        self.inside = self.inside | (xp.arange(self.A.shape[1])[None, :] == index[:, None])
        self.image = self._project(self.target)
        self._solve()
        correction = self._project(self.residual)  # what rounding left inside the span
        self.image = self.image + correction
        self._solve()
        return independent

    def _solve(self):
        """Set coefficients and residual from ``R coef = image``."""
        xp = self.xp
        self.coef = xp.linalg.solve(self.R, self.image[:, :, None])[:, :, 0]
        self.residual = self.target - self._combine(self.coef, self.columns)
        self.norm = self._row_norms(self.residual)

    def _project(self, rows):
        """Return Q r, (T, k), for the rows r of an array (T, m)."""
        basis = self.xp.conj(self.Q) if self._complex() else self.Q
        return (basis @ rows[:, :, None])[:, :, 0]

    def _combine(self, factors, vectors):
        """Return sum_p factors_tp vectors_tp, (T, m)."""
        return (factors[:, None, :] @ vectors)[:, 0, :]

    def _row_norms(self, rows):
        return self.xp.sqrt(self.xp.sum(self.xp.abs(rows) ** 2, axis=1))

    def _complex(self):
        return self.xp.isdtype(self.A.dtype, "complex floating")

    def _keep(self, positions):
        """Drop the targets that have stopped from the stacks."""
        if len(positions) == len(self.active):
            return
        self.active = [self.active[p] for p in positions]
        index = self.xp.asarray(positions, dtype=self.xp.int64)
        for name in (
            "target", "residual", "Q", "columns", "R", "image", "support", "inside", "coef",
            "norm", "initial_norm",
        ):  # fmt: skip
            setattr(self, name, self.xp.take(getattr(self, name), index, axis=0))

    def _record(self, targets):
        norms = to_numpy(self.norm)
        for position, target in enumerate(targets):
            norm = float(norms[position])
            self.records[target]["coefs"].append(self.coef[position, :])
            loss = norm if self.loss == "sqrt_lasso" else norm**2
            self.records[target]["losses"].append(loss)
            self.records[target]["squared"] = norm**2

    def result(self, target, tol):
        """Return the record of one target as an OptimizeResult."""
        xp, record = self.xp, self.records[target]
        k, N = len(record["order"]), self.A.shape[1]
        order = xp.asarray(record["order"], dtype=xp.int64)
        scatter = xp.astype(order[:, None] == xp.arange(N)[None, :], self.A.dtype)
        scatter = scatter / xp.astype(self.norms, self.A.dtype)
        coefs = xp.stack(
            [xp.concat([c, xp.zeros(k - c.shape[0], dtype=c.dtype)]) for c in record["coefs"]]
        )
        coefs = coefs @ scatter if k else xp.zeros((1, N), dtype=self.A.dtype)
        intercepts = self.y_mean[target] - coefs @ self.A_mean
        reason = record["stop"]
        deltas = np.array(record["deltas"])
        return OptimizeResult(
            x=coefs[-1, :],
            intercept=intercepts[-1],
            support=np.array(record["order"], dtype=np.intp),
            order=np.array(record["order"], dtype=np.intp),
            removed=np.zeros(k, dtype=bool),
            coefs=coefs,
            intercepts=intercepts,
            losses=np.array(record["losses"]),
            deltas=deltas**2 if self.loss == "omp" and not self.scored else deltas,
            stop_reason=reason,
            lam=self.lam,
            fun=record["losses"][-1],
            certificate=record["squared"],
            nit=k,
            success=reason == "tol" if tol is not None else reason != "max_iter",
            status=Status.ITERATION_LIMIT if reason == "max_iter" else Status.CONVERGED,
            message=f"The path ended after {k} steps: {MESSAGES[reason]}.",
        )


def _checked(xp, A, y):
    """Return the dictionary and the data in one floating dtype."""
    if A.ndim != 2 or 0 in A.shape:
        raise ValueError(f"A must be a non-empty matrix, got shape {A.shape}.")
    if y.ndim not in (1, 2) or y.shape[0] != A.shape[0] or 0 in y.shape:
        raise ValueError(
            f"y must have shape ({A.shape[0]},) or ({A.shape[0]}, n_targets), got {y.shape}."
        )
    kinds = ("real floating", "complex floating")
    A, y = (a if xp.isdtype(a.dtype, kinds) else xp.astype(a, xp.float64) for a in (A, y))
    for name, array in (("A", A), ("y", y)):
        if not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{name} must be finite, got NaN or infinity.")
    dtype = xp.result_type(A, y)
    return xp.astype(A, dtype, copy=False), xp.astype(y, dtype, copy=False)


def _checked_norms(xp, values, name):
    """Return the norms of the columns; raise ``ValueError`` if their squares leave the range."""
    norms, limits = column_norms(xp, values), xp.finfo(values.dtype)
    vanishing = norms**2 < float(limits.smallest_normal) / float(limits.eps)
    nonzero = xp.any(values != 0, axis=0)
    if not bool(xp.all(xp.isfinite(norms))) or bool(xp.any(vanishing & nonzero)):
        raise ValueError(
            f"The squared column norms of {name} overflow or underflow: rescale {name}."
        )
    return norms
