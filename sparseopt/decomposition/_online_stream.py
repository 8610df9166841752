r"""Online robust PCA: what a stream of rows leaves behind, and how it is learnt.

J. Feng, H. Xu & S. Yan, "Online robust PCA via stochastic optimization", NIPS 2013. With rows
:math:`z_i` (p,) as samples (columns in the paper) and components :math:`C` (r, p),

.. math::

    \min_{C, x, e} \sum_{i=1}^n \Big( \tfrac12 \|z_i - C^\top x_i - e_i\|^2
    + \tfrac{\lambda_1}{2} \|x_i\|^2 + \lambda_2 \|e_i\|_1 \Big) + \tfrac{\lambda_1}{2} \|C\|_F^2 .

At its minimum in :math:`C` and :math:`x`, this is stable principal component pursuit, with
:math:`\lambda_1` times the nuclear norm of the low-rank part. Rows are seen once: they leave
:math:`A = \sum x_i x_i^\top` (r, r) and :math:`B = \sum x_i (z_i - e_i)^\top` (r, p), from which
the components follow.

Three things are added, which need a few rows kept, spread evenly over the stream.

- Old rows count in A and B as they were understood when they came. If an object hid a part of the
  background in most of the first rows, then they say for ever that it belongs to the background.
  So the loadings of a feature are replaced where a robust regression of the rows kept on their
  scores fits clearly more of them.
- Components and scores are kept balanced, A = C C', which makes the sum of the two penalties the
  nuclear norm at all times. One sweep a row would take long to get there.
- Components that the penalty has deleted come back when the clipped residuals of the rows kept,
  the gradient of the objective, have a singular value above :math:`\lambda_1`.
"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import short_products
from sparseopt.decomposition._kernels import online
from sparseopt.decomposition._noise import default_mu, noise_level
from sparseopt.decomposition._robust_projection import robust_projection

EPS = 1e-12  # the same, relative to the largest
DEAD = 0.1  # singular value, relative to lam1, that counts as zero
LEAST_NOISE = 0.01  # of the median size of an entry
CORRECTIONS = 20  # by which a whole memory has been replaced, at most
START_ROUNDS = 5  # of revision, after a start that errors have bent


class StreamOptions(NamedTuple):
    """How to learn."""

    n_components: int
    lam1: Any  # float or "auto"
    lam2: Any
    init: Any  # "pcp", "svd", "random" or an array (r, p)
    memory_size: int
    batch_size: int
    forgetting: float
    random_state: Any  # a RandomState


class Memory(NamedTuple):
    """Rows kept from the stream; ``stride`` is the number of rows that each stands for."""

    rows: np.ndarray  # (m, p)
    positions: np.ndarray  # (m,)
    stride: int

    def add(self, row, position, size, horizon):
        """Return a memory with one row more, of at most ``size`` rows."""
        rows, positions = np.vstack([self.rows, row]), np.append(self.positions, position)
        stride = self.stride
        if positions.size > size:
            if stride * size < horizon:
                stride *= 2
                kept = positions % stride == 0
            else:
                kept = np.arange(positions.size) > 0
            rows, positions = rows[kept], positions[kept]
        return Memory(rows, positions, stride)


class StreamState(NamedTuple):
    """What is known after ``n_seen`` rows. Never changed; learning returns another one."""

    components: np.ndarray  # (r, p)
    A: np.ndarray  # (r, r)
    B: np.ndarray  # (r, p)
    lam1: float
    lam2: float
    n_seen: int
    memory: Memory


def learn_rows(state, Z, options):
    """Return the state after the rows ``Z``; ``state`` is None before the first ones.

    Parameters
    ----------
    state : StreamState or None
        It is not changed.
    Z : ndarray of shape (n_rows, n_features)
        Finite entries, or NaN where not observed.
    options : StreamOptions
        How to learn.
    """
    with short_products(max(options.memory_size, options.n_components) * Z.shape[1]):
        return _learn(state, Z, options)


def _learn(state, Z, options):
    size = options.memory_size
    if state is None:
        state = StreamState(None, None, None, math.nan, math.nan, 0, _no_memory(Z))
        if size == 0:
            state = _plain_start(state, Z, options)
    first = max(0, min(size - state.n_seen, Z.shape[0]))
    if first > 0:
        state = _learn_first(state, Z[:first], options)
    position = first
    while position < Z.shape[0]:
        stride, before = state.memory.stride, state.n_seen
        wait = max(-before % stride + 1, options.batch_size) if size else Z.shape[0]
        rows = Z[position : position + wait]
        state = _stream(state, rows, options)
        position += rows.shape[0]
        chosen = (state.n_seen - 1) // stride * stride  # of the rows, by its place in the stream
        if size and chosen >= before and not np.all(np.isnan(rows[chosen - before])):
            horizon = 1 / (1 - options.forgetting) if options.forgetting < 1 else math.inf
            memory = state.memory.add(rows[chosen - before], chosen, size, horizon)
            state = state._replace(memory=memory)
            due = chosen // stride % max(1, size // CORRECTIONS) == 0
            if due and memory.positions.size:
                state = repair(state, options)
    return state


def _no_memory(Z):
    return Memory(Z[:0].copy(), np.empty(0, dtype=np.int64), 1)


def _stream(state, rows, options):
    C, A, B = (np.array(part, order="C") for part in state[:3])
    rows = np.array(rows, dtype=np.float64, order="C")
    online.stream_rows(
        rows, C, A, B, state.lam1, state.lam2, options.forgetting, options.batch_size
    )
    return state._replace(components=C, A=A, B=B, n_seen=state.n_seen + rows.shape[0])


def _plain_start(state, Z, options):
    """Return initial components, and no statistics, as published."""
    rows = Z[:20].astype(np.float64)
    C, lam1, lam2 = _start(rows, options)
    if not isinstance(options.init, np.ndarray):
        C = _fill_dead(C, options.random_state)
    A, B = np.zeros((C.shape[0], C.shape[0])), np.zeros(C.shape)
    return state._replace(components=C, A=A, B=B, lam1=lam1, lam2=lam2)


def _learn_first(state, rows, options):
    """Keep the first rows; learn from them jointly once there are 1, 2, 4, ... or all of them."""
    before, now = state.n_seen, state.n_seen + rows.shape[0]
    memory = state.memory
    seen = ~np.all(np.isnan(rows), axis=1)
    memory = memory._replace(
        rows=np.vstack([memory.rows, rows[seen]]),
        positions=np.append(memory.positions, np.arange(before, now)[seen]),
    )
    doubled = before == 0 or int(math.log2(now)) > int(math.log2(before))
    if not (doubled or now == options.memory_size):
        return _stream(state, rows, options)._replace(memory=memory)
    kept = memory.rows.astype(np.float64)
    C, lam1, lam2 = _start(kept, options)
    rounds = 1 if isinstance(options.init, str) and options.init == "pcp" else START_ROUNDS
    A, B = np.zeros((C.shape[0], C.shape[0])), np.zeros(C.shape)
    state = StreamState(C, A, B, lam1, lam2, now, memory)
    for _ in range(rounds if kept.shape[0] else 0):
        state = revise(state)
    return state


# -- starting -------------------------------------------------------------------------------


def _start(rows, options):
    """Return components and both strengths from the first rows."""
    r, p = options.n_components, rows.shape[1]
    seen = ~np.isnan(rows)
    used = rows[np.any(seen, axis=1)][:, np.any(seen, axis=0)]
    unit = _typical_size(used)
    low_rank = None
    lam1, lam2 = options.lam1, options.lam2
    if isinstance(lam1, str) or isinstance(lam2, str):
        noise_std, low_rank = LEAST_NOISE * unit, None
        if min(used.shape) > 1 and np.any(used[~np.isnan(used)]):
            found = _pursue(used)
            noise_std, low_rank = max(noise_std, found.noise_std), found.x
        mu = default_mu(noise_std, rows.shape)
        lam1 = mu if isinstance(lam1, str) else lam1
        lam2 = mu / math.sqrt(max(rows.shape)) if isinstance(lam2, str) else lam2
    C = np.zeros((r, p))
    if isinstance(options.init, np.ndarray):
        C[:] = options.init
    elif options.init == "random":
        C[:] = options.random_state.standard_normal((r, p)) * math.sqrt(unit / p)
    elif used.size:
        if options.init == "svd":
            low_rank = _svd(np.where(np.isnan(used), 0, used))
        elif low_rank is None:
            low_rank = _pursue(used).x if min(used.shape) > 1 else _svd(np.nan_to_num(used))
        rank = min(r, low_rank.s.size)
        columns = np.flatnonzero(np.any(seen, axis=0))
        C[:rank, columns] = np.sqrt(low_rank.s[:rank, None]) * low_rank.Vt[:rank]
    return C, float(lam1), float(lam2)


class _Triplets(NamedTuple):
    s: np.ndarray
    Vt: np.ndarray


def _svd(rows):
    _, s, Vt = np.linalg.svd(rows, full_matrices=False)
    return _Triplets(s, Vt)


def _pursue(rows):
    """Return the noise level of the rows and the low-rank part that belongs to it."""
    missing = np.isnan(rows)
    with warnings.catch_warnings():  # a rough start is enough
        warnings.simplefilter("ignore", ConvergenceWarning)
        observed = ~missing if missing.any() else None
        return noise_level(np.where(missing, 0, rows), observed=observed, random_state=0)


def _typical_size(rows):
    """Return the median size of the entries that are not zero, or 1."""
    sizes = np.abs(rows[~np.isnan(rows)])
    sizes = sizes[sizes > 0]
    return float(np.median(sizes)) if sizes.size else 1.0


def _fill_dead(C, random_state):
    """Return components where those that are zero are small random ones, which can grow."""
    norms = np.sum(C * C, axis=1)
    dead = norms <= EPS * norms.max()
    size = math.sqrt(norms.max()) if norms.max() > 0 else 1.0
    draw = random_state.standard_normal(C.shape) * (1e-3 * size / math.sqrt(C.shape[1]))
    return np.where(dead[:, None], draw, C)


# -- learning from the rows kept --------------------------------------------------------------


def revise(state):
    """Return the state with components, A and B fitted anew to the rows kept."""
    rows = state.memory.rows.astype(np.float64)
    lam1, lam2, C = state.lam1, state.lam2, state.components
    X, _ = robust_projection(rows, C, lam2, ridge=lam1)
    fitted, _ = robust_projection(rows.T, X.T, lam2, ridge=lam1)
    C = np.where(np.all(np.isnan(rows), axis=0), C, fitted.T)
    C, A, B = _balance(C, X.T @ X, X.T @ _clean(rows, X @ C, lam2), DEAD * lam1)
    X, _ = robust_projection(rows, C, lam2, ridge=lam1)
    return _revive(state._replace(components=C, A=A, B=B), rows, X, 1.0)


def repair(state, options):
    """Return the state without the errors of features that the rows kept reveal.

    A feature's loadings are replaced where a robust regression of the rows kept fits more of
    them: more than loadings can interpolate in any case. The feature's part of B then says
    the same, as if all rows had.
    """
    rows = state.memory.rows.astype(np.float64)
    weight = _mass(state.n_seen, options.forgetting) / rows.shape[0]
    lam1 = state.lam1
    C, A, B = _balance(*state[:3], DEAD * lam1)
    X, _ = robust_projection(rows, C, state.lam2, ridge=lam1)
    fits, misfits = online.count_fits(rows, X @ C, 2 * state.lam2)
    doubtful = np.flatnonzero(misfits > 1)
    if doubtful.size:
        seen = np.ascontiguousarray(rows[:, doubtful])
        fitted, _ = robust_projection(seen.T, X.T, state.lam2, ridge=lam1 / weight)
        gain = online.count_fits(seen, X @ fitted.T, 2 * state.lam2)[0] - fits[doubtful]
        energy = np.linalg.svd(X, compute_uv=False) ** 2
        energy = energy[energy > 0]
        wrong = gain > np.sum(energy / (energy + lam1 / weight))  # the degrees of freedom
        columns = doubtful[wrong]
        C[:, columns] = fitted[wrong].T
        B[:, columns] = (A + lam1 * np.eye(A.shape[0])) @ C[:, columns]
    return _revive(state._replace(components=C, A=A, B=B), rows, X, weight)


def _clean(rows, low_rank, lam2):
    """Return rows without their errors; what is missing counts as what the fit says."""
    return low_rank + _clipped(rows - low_rank, lam2)


def _clipped(residual, threshold):
    np.clip(residual, -threshold, threshold, out=residual)
    residual[np.isnan(residual)] = 0
    return residual


def _mass(n_seen, forgetting):
    """Return the sum of the weights of all rows seen."""
    if forgetting == 1:
        return float(n_seen)
    return (1 - forgetting**n_seen) / (1 - forgetting)


def _balance(C, A, B, negligible):
    """Return components and statistics of the same low-rank part with ``C C' = A`` diagonal.

    With C' = Q R and A = F' F, the singular values s of F R' are those of the low-rank part, and
    the factors sqrt(s) of both sides are the ones of the least norm. Directions with ``negligible``
    singular values are deleted.
    """
    values, vectors = np.linalg.eigh(A)
    F = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    Q, R = np.linalg.qr(C.T)
    _, s, Vt = np.linalg.svd(F @ R.T)
    roots = np.sqrt(np.where(s > max(negligible, EPS * s[0]), s, 0))
    inverse = np.divide(1, roots, out=np.zeros_like(roots), where=roots > 0)
    balanced = roots[:, None] * (Vt @ Q.T)
    return balanced, np.diag(roots**2), (inverse[:, None] * (Vt @ R)) @ B


def _revive(state, rows, X, weight):
    """Give components that are zero the directions in which the objective falls.

    The clipped residuals are its gradient by the low-rank part: a singular value of theirs that
    exceeds lam1 tells that the rank should grow.
    """
    lam1, lam2 = state.lam1, state.lam2
    dead = np.flatnonzero(~np.any(state.components, axis=1))
    if dead.size == 0:
        return state
    C, A, B, X = (part.copy() for part in (*state[:3], X))
    slopes = math.sqrt(weight) * _clipped(rows - X @ C, lam2)
    values, U = np.linalg.eigh(slopes @ slopes.T)
    for a, value, u in zip(dead, values[::-1], U.T[::-1]):
        excess = math.sqrt(max(value, 0.0)) - lam1
        if excess > 0:
            C[a] = math.sqrt(excess / value) * (u @ slopes)
            X[:, a] = math.sqrt(excess / weight) * u
    cross = weight * X[:, dead].T @ X
    A[dead], A[:, dead] = cross, cross.T
    B[dead] = weight * X[:, dead].T @ _clean(rows, X @ C, lam2)
    return state._replace(components=C, A=A, B=B)
