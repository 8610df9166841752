r"""Square-root LASSO by Newton's method on the noise level, over the LASSO engine.

Problem [1], in the coordinates of the centred and weighted design (see
``sparseopt.optimize._design``) and in the paper's scaling,

    minimise  h(y - X x) + lam sum_j w_j |x_j|,    h(r) = ||r||_2,

X (n_samples, n_features) real or complex, y (n_samples,), w (n_features,). With a floor
s > 0 of the noise level it is the smoothed concomitant LASSO [2]: h(r) = ||r||^2/(2 s) + s/2
where ||r|| < s. In both cases h(r) = min over sigma >= s of ||r||^2/(2 sigma) + sigma/2, so

    x(lam) = x_LASSO(mu = lam sigma)   with   sigma = max(||r(mu)||, s).

As long as the support E and the signs u of the LASSO solution stay, its squared residual
is R^2 + kappa (mu'^2 - mu^2), where kappa = (w u)' (X_E' X_E)^-1 (w u); hence Newton's
step sigma'^2 = (R^2 - kappa mu^2) / (1 - lam^2 kappa), exact once E is right, kept in a
bracket. The dual value of theta, with ||theta|| <= 1 and |X_j^H theta| <= lam w_j, is
Re<theta, y> + s/2 (1 - ||theta||^2); it certifies every iterate.

When lam is so small that the optimal residual vanishes, the solution is the basis pursuit
solution, min sum w|x| subject to y = X x: sigma runs to zero along the LASSO path, the
end of the path has a zero residual, and the same gap certifies it. Real data are taken there along
the exact path (``sparseopt.optimize._homotopy``). The path of complex data is curved;
there Bregman iterations [3] at a small constant mu, which add the residual back to the
target, avoid the ill-conditioned limit mu -> 0.

[1] Belloni, Chernozhukov, Wang (2011). Square-root lasso: pivotal recovery of sparse
    signals via conic programming. Biometrika 98(4).
[2] Ndiaye, Fercoq, Gramfort, Leclere, Salmon (2017). Efficient smoothed concomitant lasso
    estimation for high dimensional regression. J. Phys.: Conf. Ser. 904.
[3] Yin, Osher, Goldfarb, Darbon (2008). Bregman iterative algorithms for l1-minimization
    with applications to compressed sensing. SIAM J. Imaging Sciences 1(1).
"""

import itertools
import math

import numpy as np
from scipy import linalg

from sparseopt._core import Progress, iterate, short_products
from sparseopt.optimize._coordinate_descent import PenalizedLeastSquares, solve_penalized
from sparseopt.optimize._homotopy import lasso_pieces
from sparseopt.optimize._penalties import L1

METHOD = "Square-root LASSO"
MAX_WORKING_SETS = 100  # of one LASSO solve
INNER_FRACTION = 0.1  # of the accuracy that a step aims at, asked of its LASSO
MAX_STEPS_WITHOUT_PROGRESS = 8
SMALLEST_PROJECTION = 1e-8
SMALLEST_TOLERANCE = 100  # units of machine epsilon; rounding forbids less
# Coordinate descent suffers where the support approaches the number of rows. Beyond this
# share of it the exact path is followed, so many kinks a step; the smaller share holds
# where the noise level has far to fall, by more than the factor.
EXACT_PATH_SHARE, EXACT_PATH_SHARE_IF_FAR, FAR = 0.5, 0.2, 0.5
KINKS_PER_STEP = 100
# Where there is no exact path (complex data) and the noise level falls by more than the
# factor, from where the LASSO has less than this share of its largest strength, basis
# pursuit is tried for so many steps. Their LASSOs have at least that strength.
SMALL, COLLAPSE, BREGMAN_STEPS, BREGMAN_PATIENCE = 1e-3, 0.1, 20, 3


class InterpolationWarning(UserWarning):
    """The optimal model reproduces the target exactly: its noise level is zero.

    The penalty is too weak for noisy data, or the data are free of noise.

    The coefficients are optimal all the same; they are those of basis pursuit. Where that
    is intended, silence the warning.

    Examples
    --------
    >>> import warnings
    >>> from sparseopt.linear_model import InterpolationWarning, square_root_lasso
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", InterpolationWarning)
    ...     result = square_root_lasso([[1.0, 2.0]], [2.0], alpha=0.1)
    >>> result.interpolates
    True
    """


class SquareRootProblem:
    """State of the solver for one target; reused along a path of strengths.

    Parameters
    ----------
    design : DenseDesign or SparseDesign
        The centred, weighted design.
    target : ndarray of shape (n_samples,)
        The centred, weighted target.
    weights : ndarray of shape (n_features,)
        Penalty weights.
    positive : bool, default=False
        Whether the coefficients must be non-negative.
    gram : GramCache, optional
        Shared by all targets of one design.

    Attributes
    ----------
    x : ndarray of shape (n_features,)
        The best coefficients found.
    residual_norm : float
        ``||y - X x||``, exactly 0 where the residual is rounding noise.
    dual : ndarray of shape (n_samples,)
        The best dual point found.
    primal, gap : float
        Objective of ``x``, and its distance to the value of ``dual``.
    """

    def __init__(self, design, target, weights, *, positive=False, gram=None):
        self.design = design
        self.target = target
        self.weights = weights
        self.positive = positive
        self.lasso = PenalizedLeastSquares(design, target, gram)
        self.target_norm = math.sqrt(self.lasso.target_norm_squared)
        usable = np.isfinite(weights) & (self.lasso.norms > 0)
        self._penalized = np.flatnonzero(usable & (weights > 0))
        self._unpenalized = np.flatnonzero(usable & (weights == 0))
        eps = np.finfo(weights.dtype).eps
        self._vanishing = math.sqrt(eps) * self.target_norm
        self._rounding = 100 * eps * self.target_norm
        self._keep_primal(self.lasso.x, self.target_norm)
        self.dual = np.zeros_like(target)
        self._dual_slope = 0.0  # max_j |X_j^H dual| / w_j

    @property
    def interpolates(self):
        """Whether the best coefficients reproduce a non-zero target exactly."""
        return self.residual_norm == 0 and self.target_norm > 0

    def set_start(self, x):
        """Start from the coefficients ``x``, as far as they are allowed."""
        x = np.where(np.isfinite(self.weights), x, 0)
        self.lasso.set_start(np.maximum(x, 0) if self.positive else x)
        self._keep_primal(self.lasso.x, _norm(self.lasso.residual))

    def lam_max(self):
        """Return the smallest strength for which only unpenalised coefficients remain."""
        unit = L1(1.0, weights=self.weights, positive=self.positive)
        largest = self.lasso.alpha_max(unit) * self.design.total_weight
        norm = _norm(self.lasso.dual_point(self.target, self.design.correlate)[0])
        return largest / norm if norm > self._rounding else 0.0

    def pose(self, lam, sigma_min, tol):
        """Pose the problem for a strength; what is known from another one warm-starts it.

        Returns the progress of the starting point. ``tol`` is relative to ``||y||``.
        """
        self.lam, self.sigma_min = lam, sigma_min
        self.tolerance = tol * self.target_norm
        self._low, self._high = sigma_min, max(self.target_norm, sigma_min)
        start = _norm(self.lasso.residual)
        self.sigma = max(start if start > self._vanishing else self.target_norm, sigma_min)
        self._inner_fraction = INNER_FRACTION
        self._steps_without_progress = 0
        self._pieces = None
        self._may_follow_path = not np.iscomplexobj(self.target)
        self._bregman = None
        self._bregman_steps_left = BREGMAN_STEPS
        self.primal = self._objective(self.x, self.residual_norm)
        self.dual_value = -math.inf
        self._offer_dual(self.dual, self._dual_slope)
        return self._progress()

    def step(self):
        """Solve the LASSO at the current noise level, then move along its path."""
        gap_before = self.gap
        with short_products(math.prod(self.design.shape)):
            if self._pieces is not None:
                self._follow_pieces()
            elif self._bregman is not None:
                self._bregman_step()
            else:
                self._solve_lasso(self.lasso, self.sigma)
                self._offer_engine(self.design.correlate)
                if self.gap > self.tolerance:
                    self._move_along_path()
        if self.gap > 0.9 * gap_before:
            self._inner_fraction *= 0.1
            self._steps_without_progress += 1
        else:
            self._steps_without_progress = 0
        if self._bregman is not None and self._steps_without_progress >= BREGMAN_PATIENCE:
            # The noise level is small, not zero: go on with the LASSO.
            self._bregman, self._bregman_steps_left = None, 0
            self._inner_fraction, self._steps_without_progress = INNER_FRACTION, 0
        return self._progress()

    def _progress(self):
        stalled = (
            self._steps_without_progress >= MAX_STEPS_WITHOUT_PROGRESS
            or self.sigma < self._vanishing
        )
        return Progress(self.primal, self.gap / (self.target_norm or 1.0), stalled)

    def _solve_lasso(self, problem, sigma):
        aim = self._inner_fraction * max(self.tolerance, INNER_FRACTION * self.gap) * sigma
        floor = np.finfo(self.weights.dtype).eps
        strength = self.lam * sigma / self.design.total_weight
        solve_penalized(
            problem,
            L1(strength, weights=self.weights, positive=self.positive),
            max_iter=MAX_WORKING_SETS,
            tol=max(aim / (0.5 * problem.target_norm_squared), floor),
            warn=False,
        )

    def _objective(self, x, residual_norm):
        support = np.flatnonzero(x)
        penalty = self.lam * float(self.weights[support] @ np.abs(x[support]))
        if residual_norm < self.sigma_min:
            return 0.5 * (residual_norm**2 / self.sigma_min + self.sigma_min) + penalty
        return residual_norm + penalty

    def _keep_primal(self, x, residual_norm):
        self.x = x.copy()
        self.residual_norm = residual_norm if residual_norm > self._rounding else 0.0

    def _offer_engine(self, correlate):
        """Let the engine's coefficients and residual replace the best, if better."""
        residual_norm = _norm(self.lasso.residual)
        primal = self._objective(self.lasso.x, residual_norm)
        if primal < self.primal:
            self.primal = primal
            self._keep_primal(self.lasso.x, residual_norm)
        self._offer_direction(self.lasso.residual, correlate)

    def _offer_direction(self, residual, correlate):
        """Let the best multiple of a residual replace the dual point, if better."""
        point, correlations = self.lasso.dual_point(residual, correlate)
        if _norm(point) <= SMALLEST_PROJECTION * _norm(residual):
            # Rounding noise, which is not orthogonal to the unpenalised columns.
            point, correlations = 0 * point, 0 * correlations
        ratios = self.lasso.slope(correlations[self._penalized]) / self.weights[self._penalized]
        self._offer_dual(point, float(np.max(ratios, initial=0.0)))

    def _offer_dual(self, point, slope):
        """Keep the best feasible multiple of ``point``; ``slope`` is max |X_j^H point| / w_j."""
        norm, along = _norm(point), float(np.real(np.vdot(point, self.target)))
        scale = 0.0
        if along > 0:
            scale = min(1 / norm, self.lam / slope if slope > 0 else math.inf)
            if self.sigma_min > 0:
                scale = min(scale, along / (self.sigma_min * norm**2))
        value = scale * along + 0.5 * self.sigma_min * (1 - (scale * norm) ** 2)
        if value > self.dual_value:
            self.dual_value = value
            self.dual = scale * point
            self._dual_slope = scale * slope
        self.gap = max(self.primal - self.dual_value, 0.0)

    def _move_along_path(self):
        """Choose the next noise level, and predict the LASSO solution there."""
        sigma, mu = self.sigma, self.lam * self.sigma
        residual_norm = _norm(self.lasso.residual)
        self._tighten_bracket(sigma, residual_norm, math.sqrt(2 * self.lasso.gap))
        support = self._support(self.lasso.x)
        direction, kappa = self._path_direction(support, mu)
        excess = residual_norm**2 - kappa * mu**2
        share = 1 - kappa * self.lam**2
        following = math.sqrt(max(excess, 0.0) / share) if share > 0 else math.inf
        if self._path_is_better(support.size, following, residual_norm):
            self._may_follow_path = False
            self._pieces = lasso_pieces(
                self.design, self.target, self.weights,
                positive=self.positive, mu=mu, x=self.lasso.x,
            )  # fmt: skip
            return
        if following < COLLAPSE * sigma and self._low == self.sigma_min == 0:
            if following <= self._vanishing:
                start = self.lasso.x
                self._offer_interpolation(start, support)
                self.lasso.set_start(start)
            if self._begins_bregman():
                return
            following = max(following, COLLAPSE * sigma)
        self.sigma = self._safeguard(following, sigma, residual_norm)
        self._predict(support, direction, self.lam * self.sigma - mu)

    def _support(self, x):
        if self.positive:
            return np.flatnonzero(x)
        return np.union1d(np.flatnonzero(x), self._unpenalized)

    def _path_is_better(self, support_size, following, residual_norm):
        if not self._may_follow_path or residual_norm >= self.sigma:
            return False
        far = following < FAR * self.sigma
        share = EXACT_PATH_SHARE_IF_FAR if far else EXACT_PATH_SHARE
        return support_size > share * self.design.shape[0]

    def _begins_bregman(self):
        """Prepare Bregman iterations, if they are better; True if so."""
        if self._bregman_steps_left == 0 or self._may_follow_path:
            return False
        _, correlations = self.lasso.dual_point(self.target, self.design.correlate)
        slope = self.lasso.slope(correlations[self._penalized])
        largest = float(np.max(slope / self.weights[self._penalized], initial=0.0))
        smallest_sigma = SMALL * largest / self.lam
        if self.sigma >= smallest_sigma:
            return False
        # The multiple of the residual that is the dual point at the larger strength.
        self._bregman_shift = smallest_sigma / self.sigma * self.lasso.residual
        self._bregman_sigma, self._bregman = smallest_sigma, self.lasso
        return True

    def _bregman_step(self):
        """Add the residual back to the target, and solve the LASSO again."""
        start = self._bregman.x
        shifted = self.target + self._bregman_shift
        self._bregman = PenalizedLeastSquares(self.design, shifted, self.lasso.gram)
        self._bregman.set_start(start)
        self._solve_lasso(self._bregman, self._bregman_sigma)
        self._bregman_shift = self._bregman.residual
        self._offer_direction(self._bregman.residual, self.design.correlate)
        self._offer_interpolation(self._bregman.x, self._support(self._bregman.x))
        self._bregman_steps_left -= 1
        if self._bregman_steps_left == 0:
            self._bregman = None

    def _tighten_bracket(self, sigma, residual_norm, error):
        """Use the sign of ``||r(lam sigma)|| - sigma``, if ``error`` leaves it certain."""
        if residual_norm - error > sigma:
            self._low = max(self._low, sigma)
        elif residual_norm + error < sigma:
            self._high = min(self._high, sigma)

    def _safeguard(self, following, sigma, residual_norm):
        """Return ``following`` if it lies in the bracket, else a bisection."""
        if following <= self.sigma_min:
            following = self.sigma_min
        if self._low <= following <= self._high and following > 0:
            return following
        if residual_norm > sigma:
            return math.sqrt(sigma * self._high)
        return math.sqrt(sigma * self._low) if self._low > 0 else 0.1 * sigma

    def _path_direction(self, support, mu):
        """Return ``d = -dx_E/dmu`` along the LASSO path, and ``kappa = (w u)^H d``."""
        x = self.lasso.x[support]
        modulus = np.abs(x)
        active = modulus > 0
        weights = self.weights[support]
        phases = np.divide(x, modulus, out=np.zeros_like(x), where=active)
        force = weights * phases
        direction = None
        if support.size == 0:
            return force, 0.0
        if self._fits_gram(support) and np.iscomplexobj(x):
            stiffness = mu * np.divide(weights, modulus, out=np.zeros_like(modulus), where=active)
            direction = self.lasso.gram.solve_with_phases(support, 0.0, stiffness, phases, force)
        elif self._fits_gram(support):
            direction = self.lasso.gram.solve(support, 0.0, force)
        if direction is None:
            # Dependent columns: what the residual has in their span plays the same role.
            columns = self.design.columns(support)
            direction = linalg.lstsq(columns, self.lasso.residual)[0] / mu
            return direction, _norm(columns @ direction) ** 2
        return direction, float(np.real(np.vdot(force, direction)))

    def _fits_gram(self, support):
        # Rows, counted as real equations for the unknowns of a complex path.
        rows = self.design.shape[0] * (2 if np.iscomplexobj(self.target) else 1)
        return support.size <= min(rows, self.lasso.gram.max_features)

    def _predict(self, support, direction, change):
        """Move the engine to where the path leads for a change of its strength.

        Unless that is a worse start: dependent columns leave the direction to rounding.
        """
        start, mu = self.lasso.x, self.lam * self.sigma
        before = start[support]
        after = before - change * direction
        signed = (self.weights[support] > 0) | self.positive
        crossed = (np.real(np.conj(before) * after) <= 0) & signed
        x = start.copy()
        x[support] = np.where(crossed, 0, after)
        stays = self._lasso_objective(start, self.lasso.residual, mu)
        self._offer_coefficients(x)
        if not self._lasso_objective(x, self.lasso.residual, mu) <= stays:
            self.lasso.set_start(start)

    def _lasso_objective(self, x, residual, mu):
        support = np.flatnonzero(x)
        return 0.5 * _norm(residual) ** 2 + mu * (self.weights[support] @ np.abs(x[support]))

    def _offer_coefficients(self, x):
        self.lasso.set_start(x)
        self._offer_engine(self._fresh_correlations)

    def _fresh_correlations(self, point):
        """Correlate, or recall what ``set_start`` has just computed for the residual."""
        is_residual = point is self.lasso.residual
        return self.lasso.correlations if is_residual else self.design.correlate(point)

    def _offer_interpolation(self, x, support):
        """Offer the coefficients nearest to ``x`` on ``support`` that fit the target exactly."""
        for solve in (self._gram_least_squares, self._gram_least_squares, _least_squares):
            residual = self.target - self.design.predict(x)
            if _norm(residual) <= 0.01 * self._rounding:
                break
            columns = self.design.columns(support)
            x = x.copy()
            x[support] += solve(support, columns, residual)
        if self.positive:
            x = np.maximum(x, 0)
        self._offer_coefficients(x)

    def _gram_least_squares(self, support, columns, residual):
        if support.size > self.design.shape[0] or not self._fits_gram(support):
            return 0.0
        solution = self.lasso.gram.solve(support, 0.0, columns.conj().T @ residual)
        return 0.0 if solution is None else solution

    def _follow_pieces(self):
        """Follow the exact path a stretch of the way to ``||r(mu)|| = mu / lam``."""
        negligible = self.lam * self._vanishing
        mu = None
        for piece in itertools.islice(self._pieces, KINKS_PER_STEP):
            share = 1 - (self.lam * _norm(piece.along)) ** 2
            sigma = _norm(piece.across) / math.sqrt(share) if share > 0 else math.inf
            mu = self.lam * max(sigma, self.sigma_min)
            vanishes = max(mu, piece.end) <= negligible
            if vanishes or mu >= piece.end:
                mu = 0.0 if vanishes else mu
                self._pieces = None
                break
            mu = piece.end
        if mu is None:  # the path breaks off before its end
            self._pieces = None
            return
        # The path knows the residual to full relative accuracy, y - X x only that of y.
        residual = piece.along if mu == 0 else piece.across + mu * piece.along
        self._offer_direction(residual, self.design.correlate)
        x = piece.coefficients(mu, self.design.shape[1])
        if mu == 0:
            self._offer_interpolation(x, piece.support)
        else:
            self._offer_coefficients(x)
            self.sigma = min(mu / self.lam, self._high)


def solve_square_root(problem, alpha, *, sigma_min, max_iter, tol, callback=None, warn=True):
    """Run the solver for one strength; the loop behind :func:`square_root_lasso`.

    ``alpha`` and ``sigma_min`` are in the units of the estimators, those of the root mean
    square of the residuals. ``problem`` keeps what it knows, which warm-starts a later
    call with another strength. Returns an OptimizeResult without ``intercept``.
    """
    scale = math.sqrt(problem.design.total_weight)
    tol = max(tol, SMALLEST_TOLERANCE * float(np.finfo(problem.weights.dtype).eps))
    start = problem.pose(alpha * scale, sigma_min * scale, tol)
    result = iterate(
        lambda state: state.step(),
        problem,
        initial=start,
        max_iter=max_iter,
        tol=tol,
        callback=callback,
        method=METHOD,
        certificate_name="relative duality gap",
        warn=warn,
    )
    result.fun /= scale
    result.history["objective"] /= scale
    result.dual_gap = result.certificate * problem.target_norm / scale
    result.dual = problem.dual
    result.sigma = problem.residual_norm / scale
    result.interpolates = problem.interpolates
    if result.interpolates and result.success:
        result.message += " " + interpolation_note(alpha)
    return result


def interpolation_note(alpha):
    """Say what a certified fit with a zero residual is, and what to do about it."""
    return (
        f"At alpha={alpha:.3g} the optimal model reproduces the target exactly, with the "
        "smallest weighted l1 norm (basis pursuit), and its noise level is 0. Increase "
        "alpha, or set sigma_min, if the target is noisy; if not, this is the solution, "
        "and InterpolationWarning may be silenced."
    )


def _least_squares(support, columns, residual):
    """Return the smallest correction; exact for dependent columns too, and slower."""
    return linalg.lstsq(columns, residual)[0]


def _norm(vector):
    return float(np.linalg.norm(vector))
