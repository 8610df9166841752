r"""Entropic transport between many histograms with common bins.

    min <P, C> + reg KL(P | a b')  over P >= 0 (n, m) with P 1 = a, P' 1 = b,

for each row a of H1 (n_1, n) and each row b of H2 (n_2, m). With P_ij = a_i b_j K_ij
exp(phi_i + psi_j) and K = exp(-C / reg), a sweep is phi = -log(K (b exp psi)),
psi = -log(K' (a exp phi)): for many pairs at once, two products of matrices.

Sweeps are overrelaxed, phi <- (1 - w) phi + w (sweep), by a factor w for each pair that follows
its observed rate as in successive overrelaxation. Pairs leave the batch once they have converged;
those that take too long, and all where reg is so small that K vanishes, are left to
:func:`sparseopt.transport.sinkhorn`.

References: Thibault, Chizat, Dossal, Papadakis (2021), Overrelaxed Sinkhorn-Knopp algorithm for
regularized optimal transport, Algorithms 14(5); Lehmann, von Renesse, Sambale, Uschmajew (2022), A
note on overrelaxation in the Sinkhorn algorithm, Optim. Lett. 16.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import check_at_least_one, run_parallel, short_products
from sparseopt.transport._arguments import check_tol, check_total, refuse_device_arrays
from sparseopt.transport._problem import MASS_TOLERANCE, check_cost, check_reg
from sparseopt.transport._sinkhorn import sinkhorn

KINDS = ("value", "linear", "divergence")
LARGEST_EXPONENT = 500.0  # range of the costs over reg for which K and the factors are finite
CHUNK_ENTRIES = 2**16  # of the factors of one batch; fixed, so that n_jobs does not matter
BLOCK = 10  # sweeps between two checks
SLOWEST = 0.999  # assumed rate of sweeps at most
BATCH_SWEEPS = 400


def pairwise_sinkhorn(
    H1,
    H2=None,
    C=None,
    *,
    reg=0.05,
    kind="value",
    reg_scale=None,
    tol=1e-8,
    max_iter=1000,
    normalize=False,
    n_jobs=None,
):
    """Compute entropic transport costs or divergences between all pairs of histograms.

    Parameters
    ----------
    H1 : array-like of shape (n_1, n)
        Histograms, one a row: masses >= 0, with the same sum in all rows.
    H2 : array-like of shape (n_2, m), optional
        Histograms to compare with; ``H1`` by default, where a symmetric ``C`` halves the
        work.
    C : array-like of shape (n, m)
        Finite costs between the bins of ``H1`` and those of ``H2``.
    reg : float, default=0.05
        Strength of the regularisation, > 0, in the units of the cost.
    kind : {"value", "linear", "divergence"}, default="value"
        What to compute of each pair: ``value`` or ``value_linear`` of :func:`sinkhorn`, or
        the Sinkhorn divergence, for which ``C`` has to be symmetric.
    reg_scale : {None, "max", "mean", "median"}, default=None
        Statistic of the costs that ``reg`` is multiplied by.
    tol : float, default=1e-8
        Largest marginal error of each pair, relative to the total mass. The error of the
        values is of second order in it.
    max_iter : int, default=1000
        Largest number of sweeps or Newton steps for a pair.
    normalize : bool, default=False
        Whether to divide each row by its sum first.
    n_jobs : int, optional
        Number of parallel jobs; results do not depend on it.

    Returns
    -------
    distances : ndarray of shape (n_1, n_2)
        One entry a pair; float32 if all input is, float64 otherwise.

    Raises
    ------
    ValueError
        For negative or non-finite masses or costs, sums that differ, shapes that do not
        fit, ``reg`` not positive, or a divergence with ``C`` not symmetric.

    Warns
    -----
    ConvergenceWarning
        If some pairs did not reach the tolerance; the message tells how many.

    See Also
    --------
    OTKernel : A kernel matrix from these divergences.
    sinkhorn : One pair, with plan and potentials.

    Notes
    -----
    For ``KNeighborsClassifier(metric="precomputed")`` and alike pass the matrix itself.

    References
    ----------
    Thibault, Chizat, Dossal, Papadakis (2021). Overrelaxed Sinkhorn-Knopp algorithm for
    regularized optimal transport. Algorithms 14(5).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.transport import pairwise_sinkhorn
    >>> H = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    >>> C = np.abs(np.subtract.outer(range(3), range(3)))
    >>> pairwise_sinkhorn(H, C=C, reg=0.1, kind="divergence").round(3)
    array([[0.   , 1.   , 1.465],
           [1.   , 0.   , 0.465],
           [1.465, 0.465, 0.   ]])
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
    check_at_least_one(max_iter, "max_iter")
    tol = check_tol(tol)
    refuse_device_arrays(H1=H1, H2=H2, C=C)
    if C is None:
        raise ValueError("Give the matrix C of the costs between the bins.")
    given = [np.asarray(array).dtype for array in (H1, H2, C) if array is not None]
    dtype = np.float32 if all(d == np.float32 for d in given) else np.float64
    cost = check_cost(C, None, None, None)
    C = cost.matrix
    if not np.isfinite(C).all():
        raise ValueError("C must be finite, got infinite costs.")
    same = H2 is None
    symmetric = C.shape[0] == C.shape[1] and np.array_equal(C, C.T)
    if kind == "divergence" and not symmetric:
        raise ValueError(f"A divergence needs a symmetric C, got one of shape {C.shape}.")
    H1 = _check_histograms(H1, C.shape, 0, "H1", normalize)
    H2 = _check_histograms(H1 if same else H2, C.shape, 1, "H2", normalize)
    mass = float(np.sum(H1[0]))
    _check_sums(H1, mass, "H1")
    _check_sums(H2, mass, "H2")
    problem = _Problem(C, check_reg(reg, reg_scale, cost), tol, max_iter, kind == "linear")

    half = same and symmetric
    if half:
        i, j = np.triu_indices(len(H1), 1 if kind == "divergence" else 0)
    else:
        i, j = (index.ravel() for index in np.indices((len(H1), len(H2))))
    A, B = H1 / mass, H2 / mass
    distances = np.zeros((len(H1), len(H2)))
    results = _run(problem, A, B, i, j, n_jobs)
    distances[i, j] = results
    if half:
        distances[j, i] = results
    if kind == "divergence":
        own = _run(problem, A, A, np.arange(len(A)), None, n_jobs)
        other = own if same else _run(problem, B, B, np.arange(len(B)), None, n_jobs)
        distances -= (own[:, None] + other) / 2
        if same:
            np.fill_diagonal(distances, 0.0)
    elif kind == "value":
        distances -= problem.eps * np.log(mass)  # of KL(P | a b') with masses of that sum
    problem.warn_once()
    return (distances * mass).astype(dtype)


def _check_histograms(H, shape, axis, name, normalize):
    if np.iscomplexobj(H):
        raise ValueError(f"{name} must be real, got complex values.")
    try:
        H = np.array(H, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a matrix of numbers.") from error
    if H.ndim != 2 or 0 in H.shape or H.shape[1] != shape[axis]:
        raise ValueError(
            f"{name} must have one histogram a row, with {shape[axis]} bins for costs of shape "
            f"{shape}, got shape {H.shape}."
        )
    if not np.isfinite(H).all():
        raise ValueError(f"{name} must be finite, got NaN or infinite masses.")
    if H.min() < 0:
        raise ValueError(f"{name} must be >= 0, got {H.min()}.")
    largest = H.max(axis=1, keepdims=True)
    if not largest.min() > 0:
        raise ValueError(f"{name} must have rows with a positive sum, got zeros in row "
                         f"{int(largest.argmin())}.")  # fmt: skip
    if normalize:
        H /= largest  # sums of huge masses overflow
        return H / H.sum(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        sums = H.sum(axis=1)
    for total in (sums.min(), sums.max()):
        check_total(total, f"Each row of {name}")
    return H


def _check_sums(H, mass, name):
    sums = H.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - mass)))
    if abs(sums[worst] - mass) > MASS_TOLERANCE * mass:
        raise ValueError(
            f"All histograms must have the same sum, got {mass:.8g} in row 0 of H1 and "
            f"{sums[worst]:.8g} in row {worst} of {name}. Pass normalize=True to divide each by "
            "its sum."
        )
    H *= (mass / sums)[:, None]


class _Problem:
    """What all pairs share, and the errors that were too large."""

    def __init__(self, C, eps, tol, max_iter, linear):
        self.C, self.eps, self.tol, self.max_iter, self.linear = C, eps, tol, max_iter, linear
        self.offset = C.min()
        self.large_errors = []
        self.n_pairs = 0

    def warn_once(self):
        if self.large_errors:
            warnings.warn(
                f"pairwise_sinkhorn did not converge for {len(self.large_errors)} of "
                f"{self.n_pairs} pairs: marginal errors up to {max(self.large_errors):.3g} "
                f"(tolerance {self.tol:.3g}). Increase max_iter, reg or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )


def _run(problem, A, B, i, j, n_jobs):
    """Return the results of the pairs (A[i], B[j]), or of A[i] with itself if j is None."""
    own = j is None
    size = max(8, CHUNK_ENTRIES // sum(problem.C.shape))
    tasks = []
    for start in range(0, i.size, size):
        rows = i[start : start + size]
        columns = None if own else j[start : start + size]
        tasks.append((problem, A, B, rows, columns))
    with short_products(1):  # as in workers: the number of BLAS threads may change results
        outcomes = run_parallel(_solve_chunk, tasks, n_jobs=n_jobs)
    problem.n_pairs += i.size
    for _, errors in outcomes:
        problem.large_errors.extend(errors[errors > problem.tol])
    return np.concatenate([np.empty(0), *(values for values, _ in outcomes)])


def _solve_chunk(problem, A, B, i, j):
    """Return values and marginal errors of the pairs (A[i], B[j]), or of A[i] with itself."""
    A, B = A[i], None if j is None else B[j]
    C, eps = problem.C, problem.eps
    values, errors = np.empty(len(A)), np.full(len(A), np.inf)
    max_iter = problem.max_iter
    if np.ptp(C) <= LARGEST_EXPONENT * eps:
        K = np.exp((problem.offset - C) / eps)
        sweeps = _SymmetricSweeps(problem, K, A) if B is None else _Sweeps(problem, K, A, B)
        max_iter = max(1, max_iter - sweeps.run(values, errors))
    if B is None:
        B = A
    for pair in np.flatnonzero(errors > problem.tol):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # counted, and told once
            result = sinkhorn(A[pair], B[pair], C, reg=eps, tol=problem.tol, max_iter=max_iter)
        values[pair] = result.value_linear if problem.linear else result.value
        errors[pair] = 0.0 if result.converged else result.certificate
    return values, errors


class _Sweeps:
    """Overrelaxed sweeps for the pairs of one chunk; columns of the arrays are pairs."""

    def __init__(self, problem, K, A, B):
        self.problem, self.K = problem, K
        self.A, self.B = np.ascontiguousarray(A.T), np.ascontiguousarray(B.T)
        self.pairs = np.arange(len(A))
        self.phi, self.psi = np.zeros(self.A.shape), np.zeros(self.B.shape)
        self.factor = np.ones(len(A))
        self.previous = np.full(len(A), np.inf)

    def run(self, values, errors):
        """Write the values and the errors of pairs that converge; return the number of sweeps."""
        tol, sweeps = self.problem.tol, 0
        while self.pairs.size and sweeps + BLOCK <= min(BATCH_SWEEPS, self.problem.max_iter):
            # Factors of tiny masses overflow; such pairs are left to the log domain.
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                error = self.block()
            sweeps += BLOCK
            done = error <= tol
            if done.any():
                values[self.pairs[done]] = self.results(done)
                errors[self.pairs[done]] = error[done]
            going_on = ~done & np.isfinite(error)
            self.adapt(np.where(going_on, error, 1.0))
            self.keep(going_on)
        return sweeps

    def block(self):
        """Run sweeps; the last one leaves exact rows, and tells the error of the columns."""
        for sweep in range(BLOCK):
            last = sweep == BLOCK - 1
            new = -np.log(self.K @ (self.B * np.exp(self.psi)))
            self.phi = new if last else self.phi + self.factor * (new - self.phi)
            sums = self.K.T @ (self.A * np.exp(self.phi))
            if last:
                error = np.sum(np.abs(self.B * (np.exp(self.psi) * sums - 1)), axis=0)
                return error  # psi belongs to it; the next block goes on from there
            self.psi += self.factor * (-np.log(sums) - self.psi)

    def results(self, which):
        """Return the values of the chosen pairs."""
        problem = self.problem
        phi, psi, A, B = (array[:, which] for array in (self.phi, self.psi, self.A, self.B))
        if problem.linear:
            moved = (self.K * problem.C) @ (B * np.exp(psi))
            return np.sum(A * np.exp(phi) * moved, axis=0)
        return problem.eps * (np.sum(A * phi, axis=0) + np.sum(B * psi, axis=0)) + problem.offset

    def adapt(self, error):
        """Choose the factor that is best for the rate of plain sweeps, as observed.

        With the factor w and the rate r of overrelaxed sweeps, that of plain ones is
        (r + w - 1)^2 / (r w^2), and the best factor 2 / (1 + sqrt(1 - it)).
        """
        w = self.factor
        rate = np.minimum(error / self.previous, 1.0) ** (1 / BLOCK)
        observed = np.isfinite(self.previous)
        rate = np.where(observed, np.maximum(rate, w - 1), 0.0)
        plain = np.divide((rate + w - 1) ** 2, rate * w**2, out=np.zeros_like(w), where=rate > 0)
        best = 2 / (1 + np.sqrt(1 - np.clip(plain, 0.0, SLOWEST)))
        worse = error >= self.previous
        self.factor = np.where(observed & ~worse, np.maximum(best, w), np.where(worse, 1.0, w))
        self.previous = error

    def keep(self, which):
        """Drop the other pairs."""
        if which.all():
            return
        for name in ("A", "B", "phi", "psi"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[:, which]))
        for name in ("pairs", "factor", "previous"):
            setattr(self, name, getattr(self, name)[which])


class _SymmetricSweeps(_Sweeps):
    """Averaged sweeps phi <- (phi + sweep) / 2 for histograms with themselves."""

    def __init__(self, problem, K, A):
        super().__init__(problem, K, A, A)

    def block(self):
        """Run sweeps; the last one leaves exact rows."""
        for sweep in range(BLOCK):
            new = -np.log(self.K @ (self.B * np.exp(self.psi)))
            if sweep == BLOCK - 1:
                self.phi = new
                sums = self.K.T @ (self.A * np.exp(new))
                return np.sum(np.abs(self.B * (np.exp(self.psi) * sums - 1)), axis=0)
            self.psi = (self.psi + new) / 2

    def adapt(self, error):
        """Leave the sweeps as they are."""
