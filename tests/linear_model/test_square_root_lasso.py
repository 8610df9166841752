"""SquareRootLasso: certified optima, limits, invariances and the noise-blind strength."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sparseopt.linear_model import (
    InterpolationWarning,
    SquareRootLasso,
    SquareRootLassoCV,
    square_root_lasso,
    square_root_lasso_path,
)
from sparseopt.linear_model._square_root_lasso import universal_strength
from sparseopt.optimize import L1, coordinate_descent

GOLDEN = Path(__file__).parents[1] / "data" / "greedy" / "convex.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as data:
        return dict(data)


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(return_X_y=True)


def gaussian(m, n, s, noise, seed):
    """Unit columns, ``s`` standard normal coefficients, relative noise norm ``noise``."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n))
    A /= np.linalg.norm(A, axis=0)
    x = np.zeros(n)
    x[rng.choice(n, s, replace=False)] = rng.standard_normal(s)
    e = rng.standard_normal(m)
    return A, A @ x + noise * e / np.linalg.norm(e), x


def objective(A, y, x, lam, w):
    finite = np.isfinite(w)
    assert not np.any(x[~finite])
    return np.linalg.norm(y - A @ x) + lam * np.sum(w[finite] * np.abs(x[finite]))


def independent_gap(A, y, x, lam, w, theta=None, positive=False):
    """Primal minus dual value at the best multiple of ``theta`` (default: the residual)."""
    theta = y - A @ x if theta is None else theta
    free = (w > 0) & np.isfinite(w)
    correlations = A.conj().T @ theta
    slope = np.real(correlations) if positive else np.abs(correlations)
    scale = max(np.linalg.norm(theta), np.max(slope[free] / (lam * w[free])))
    rounding = 1e-9 * np.linalg.norm(A) * np.linalg.norm(theta)
    assert np.all((np.real(correlations) if positive else np.abs(correlations))[w == 0] <= rounding)
    if not np.linalg.norm(theta):
        return objective(A, y, x, lam, w)
    return objective(A, y, x, lam, w) - np.real(np.vdot(theta, y)) / scale


def assert_kkt(A, y, x, lam, w, atol):
    r = y - A @ x
    c = A.conj().T @ r / np.linalg.norm(r)
    on = x != 0
    np.testing.assert_allclose(c[on], lam * w[on] * x[on] / np.abs(x[on]), atol=atol)
    off = ~on & np.isfinite(w)
    assert np.all(np.abs(c[off]) <= lam * w[off] + atol)


# --- the solver against reference data and optimality conditions ---------------------


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("fraction", [0.7, 0.4, 0.3])
def test_golden(golden, kind, fraction):
    A, y, w = (golden[f"{kind}/{name}"] for name in "Ayw")
    lam = fraction * golden[f"{kind}/srlasso/lam_max"]
    result = square_root_lasso(A, y, lam / math.sqrt(len(y)), weights=w, tol=1e-12)
    reference = golden[f"{kind}/srlasso/{fraction}/obj"]
    np.testing.assert_allclose(result.fun * math.sqrt(len(y)), reference, rtol=1e-8)
    np.testing.assert_allclose(result.x, golden[f"{kind}/srlasso/{fraction}/coef"], atol=1e-5)
    np.testing.assert_allclose(objective(A, y, result.x, lam, w), reference, rtol=1e-8)
    assert_kkt(A, y, result.x, lam, w, atol=1e-6)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_gap_is_that_of_an_independent_computation(golden, kind):
    A, y, w = (golden[f"{kind}/{name}"] for name in "Ayw")
    lam = 0.35 * golden[f"{kind}/srlasso/lam_max"]
    scale = math.sqrt(len(y))
    for tol in (1e-2, 1e-5, 1e-11):
        result = square_root_lasso(A, y, lam / scale, weights=w, tol=tol)
        assert result.success
        gap = independent_gap(A, y, result.x, lam, w, theta=result.dual)
        # The stored dual point is feasible as it stands ...
        assert np.linalg.norm(result.dual) <= 1 + 1e-12
        assert np.all(np.abs(A.conj().T @ result.dual) <= lam * w * (1 + 1e-12))
        # ... and its gap is the certificate.
        rounding = 1e-14 * np.linalg.norm(y)
        np.testing.assert_allclose(result.dual_gap * scale, gap, rtol=1e-6, atol=rounding)
        assert result.certificate <= tol
        np.testing.assert_allclose(
            result.dual_gap * scale, result.certificate * np.linalg.norm(y), rtol=1e-12
        )


@pytest.mark.parametrize("fraction", [0.5, 0.3, 0.2, 0.16])
def test_low_noise_designs_reach_a_tiny_gap(fraction):
    A, y, _ = gaussian(90, 600, 6, 0.02, seed=3)
    w = np.ones(600)
    lam = fraction * np.max(np.abs(A.T @ y)) / np.linalg.norm(y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterpolationWarning)
        result = square_root_lasso(A, y, lam / math.sqrt(90), tol=1e-9)
    assert result.success
    gap = independent_gap(A, y, result.x, lam, w, theta=result.dual)
    assert gap <= 1e-9 * np.linalg.norm(y)


def test_solution_is_the_lasso_at_alpha_sigma(diabetes):
    X, y = diabetes
    result = square_root_lasso(X, y, 0.005, fit_intercept=True, tol=1e-13)
    lasso = coordinate_descent(X, y, L1(0.005 * result.sigma), fit_intercept=True, tol=1e-14)
    np.testing.assert_allclose(result.x, lasso.x, rtol=1e-6)
    np.testing.assert_allclose(result.intercept, lasso.intercept)
    residual = y - X @ result.x - result.intercept
    np.testing.assert_allclose(result.sigma, np.sqrt(np.mean(residual**2)), rtol=1e-12)
    assert math.isclose(result.fun, result.sigma + 0.005 * np.abs(result.x).sum(), rel_tol=1e-12)


def test_zero_from_alpha_max_on(diabetes):
    X, y = diabetes
    path = square_root_lasso_path(X, y, n_alphas=3, fit_intercept=True)
    largest = path.alphas[0]
    centred = y - y.mean()
    lam_max = np.max(np.abs((X - X.mean(0)).T @ centred)) / np.linalg.norm(centred)
    np.testing.assert_allclose(largest, lam_max / math.sqrt(len(y)), rtol=1e-12)
    for factor in (1.0001, 10, 1e6):
        result = square_root_lasso(X, y, factor * largest, fit_intercept=True)
        assert not result.x.any()
        assert math.isclose(result.sigma, y.std(), rel_tol=1e-12)
    assert square_root_lasso(X, y, 0.999 * largest, fit_intercept=True, tol=1e-10).x.any()


def test_zero_and_constant_targets():
    X = np.random.default_rng(0).standard_normal((10, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = square_root_lasso(X, np.zeros(10), 0.1)
        model = SquareRootLasso().fit(X, np.full(10, 3.0))
    assert result.success
    assert not result.x.any()
    assert result.sigma == 0
    assert model.intercept_ == 3.0
    assert model.sigma_ == 0
    assert not model.coef_.any()


# --- weights --------------------------------------------------------------------------


def test_zero_weight_equals_projecting_the_column_out():
    A, y, _ = gaussian(40, 80, 5, 0.3, seed=1)
    free = [3, 17]
    w = np.ones(80)
    w[free] = 0
    result = square_root_lasso(A, y, 0.05, weights=w, tol=1e-12)
    basis, _ = np.linalg.qr(A[:, free])
    rest = np.setdiff1d(np.arange(80), free)
    project = np.eye(40) - basis @ basis.T
    reduced = square_root_lasso(project @ A[:, rest], project @ y, 0.05, tol=1e-12)
    np.testing.assert_allclose(result.x[rest], reduced.x, atol=1e-8)
    least_squares = np.linalg.lstsq(A[:, free], y - A[:, rest] @ reduced.x, rcond=None)[0]
    np.testing.assert_allclose(result.x[free], least_squares, atol=1e-8)
    # alpha_max leaves the unpenalised columns alone.
    largest = square_root_lasso_path(A, y, weights=w, n_alphas=2).alphas[0]
    at_top = square_root_lasso(A, y, 1.001 * largest, weights=w)
    np.testing.assert_array_equal(np.flatnonzero(at_top.x), free)


def test_zero_weights_under_positivity():
    A, y, _ = gaussian(40, 80, 5, 0.3, seed=1)
    w = np.ones(80)
    w[::9] = 0
    for lam in (0.8, 0.3, 0.02):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InterpolationWarning)
            result = square_root_lasso(
                A, y, lam / math.sqrt(40), weights=w, positive=True, tol=1e-9
            )
        assert np.all(result.x >= 0)
        gap = independent_gap(A, y, result.x, lam, w, theta=result.dual, positive=True)
        assert -1e-12 < gap <= 1e-9 * np.linalg.norm(y)


@pytest.mark.parametrize("sigma_min", [0.0, 0.1])
def test_unpenalised_columns_that_span_everything(sigma_min):
    A, y, _ = gaussian(4, 30, 5, 0.3, seed=1)
    w = np.r_[np.zeros(6), np.ones(24)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterpolationWarning)
        result = square_root_lasso(A, y, 0.1, weights=w, sigma_min=sigma_min)
    assert result.success
    np.testing.assert_allclose(A @ result.x, y, atol=1e-12)
    assert not result.x[6:].any()
    assert np.linalg.norm(A[:, :6].T @ result.dual) < 1e-9


def test_infinite_weight_equals_dropping_the_column():
    A, y, _ = gaussian(40, 80, 5, 0.3, seed=2)
    top = int(np.argmax(np.abs(A.T @ y)))
    w = np.ones(80)
    w[top] = np.inf
    kept = np.delete(np.arange(80), top)
    for alpha in (0.05, "auto"):
        result = square_root_lasso(A, y, alpha, weights=w, tol=1e-12)
        dropped = square_root_lasso(A[:, kept], y, alpha, tol=1e-12)
        assert result.x[top] == 0
        np.testing.assert_allclose(result.x[kept], dropped.x, atol=1e-9)


def test_rescaled_columns_equal_weights():
    A, y, _ = gaussian(40, 80, 5, 0.3, seed=3)
    w = np.random.default_rng(0).uniform(0.3, 3, 80)
    weighted = square_root_lasso(A, y, 0.04, weights=w, tol=1e-13)
    rescaled = square_root_lasso(A / w, y, 0.04, tol=1e-13)
    np.testing.assert_allclose(weighted.x, rescaled.x / w, atol=1e-9)
    # The automatic strength does not depend on the scale of the columns.
    automatic = square_root_lasso(A, y, tol=1e-13)
    np.testing.assert_allclose(automatic.x, square_root_lasso(A / w, y, tol=1e-13).x / w, atol=1e-9)


# --- invariances ----------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-8, -3.0, 1e8])
def test_scale_equivariance(factor):
    A, y, _ = gaussian(40, 80, 5, 0.3, seed=4)
    one = square_root_lasso(A, y, 0.05, tol=1e-12)
    scaled = square_root_lasso(A, factor * y, 0.05, tol=1e-12)
    np.testing.assert_allclose(scaled.x, factor * one.x, atol=1e-9 * abs(factor))
    assert math.isclose(scaled.sigma, abs(factor) * one.sigma, rel_tol=1e-8)


def test_phase_equivariance(golden):
    A, y = golden["complex/A"], golden["complex/y"]
    one = square_root_lasso(A, y, 0.05, tol=1e-12)
    turned = square_root_lasso(A, np.exp(0.7j) * y, 0.05, tol=1e-12)
    np.testing.assert_allclose(turned.x, np.exp(0.7j) * one.x, atol=1e-7)
    real = square_root_lasso(A.real, y.real, 0.05, tol=1e-12)
    embedded = square_root_lasso(A.real.astype(complex), y.real, 0.05, tol=1e-12)
    np.testing.assert_allclose(embedded.x, real.x, atol=1e-7)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_sample_weights_are_repetitions(diabetes, fit_intercept):
    X, y = diabetes[0][:60], diabetes[1][:60]
    repeats = np.random.default_rng(0).integers(0, 4, 60)
    for alpha in (0.01, "auto"):
        keywords = {"alpha": alpha, "fit_intercept": fit_intercept, "tol": 1e-12}
        weighted = SquareRootLasso(**keywords).fit(X, y, sample_weight=repeats)
        repeated = SquareRootLasso(**keywords).fit(np.repeat(X, repeats, 0), np.repeat(y, repeats))
        np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6)
        np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-9)
        np.testing.assert_allclose(weighted.sigma_, repeated.sigma_, rtol=1e-9)
        np.testing.assert_allclose(weighted.alpha_, repeated.alpha_)


@pytest.mark.parametrize("container", [sparse.csc_array, sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("alpha", ["auto", 0.05, 0.002])
def test_sparse_equals_dense(container, alpha):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((50, 120)) < 0.2, rng.standard_normal((50, 120)) + 1, 0)
    y = X[:, :3].sum(axis=1) + 0.1 * rng.standard_normal(50) + 5
    weights = rng.uniform(0.5, 2, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterpolationWarning)
        dense = SquareRootLasso(alpha, tol=1e-11).fit(X, y, sample_weight=weights)
        implicit = SquareRootLasso(alpha, tol=1e-11).fit(container(X), y, sample_weight=weights)
    assert dense.dual_gap_ <= 1e-11 * np.linalg.norm(y)
    np.testing.assert_allclose(implicit.coef_, dense.coef_, atol=1e-8)
    np.testing.assert_allclose(implicit.intercept_, dense.intercept_)


def test_positive_solution_is_optimal():
    A, y, _ = gaussian(60, 150, 8, 0.1, seed=6)
    w = np.random.default_rng(1).uniform(0.5, 2, 150)
    for lam in (0.5, 0.2, 0.05):
        result = square_root_lasso(A, y, lam / math.sqrt(60), weights=w, positive=True, tol=1e-10)
        assert np.all(result.x >= 0)
        assert result.x.any()
        gap = independent_gap(A, y, result.x, lam, w, theta=result.dual, positive=True)
        assert gap <= 1e-10 * np.linalg.norm(y)


def test_float32_stays_float32():
    A, y, _ = gaussian(60, 150, 8, 0.3, seed=7)
    single = SquareRootLasso().fit(A.astype(np.float32), y.astype(np.float32))
    double = SquareRootLasso().fit(A, y)
    assert single.coef_.dtype == np.float32
    np.testing.assert_allclose(single.coef_, double.coef_, atol=1e-4)


# --- vanishing noise ------------------------------------------------------------------


def basis_pursuit(A, y, w, positive=False):
    """Solve ``min sum w|x|`` subject to ``A x = y`` with HiGHS."""
    n = A.shape[1]
    sides = [A] if positive else [A, -A]
    solved = optimize.linprog(np.tile(w, len(sides)), A_eq=np.hstack(sides), b_eq=y, method="highs")
    x = solved.x[:n] if positive else solved.x[:n] - solved.x[n:]
    return x, solved.fun, solved.eqlin.marginals


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.99, 0.6, 0.01])
def test_interpolating_solution_is_basis_pursuit(weighted, share):
    A, y, _ = gaussian(30, 100, 5, 0.2, seed=8)
    w = np.random.default_rng(3).uniform(0.5, 2, 100) if weighted else np.ones(100)
    x, value, theta = basis_pursuit(A, y, w)
    threshold = 1 / np.linalg.norm(theta)  # the interpolation point, in the scale of lam
    with pytest.warns(InterpolationWarning, match="reproduces the target exactly"):
        result = square_root_lasso(A, y, share * threshold / math.sqrt(30), weights=w, tol=1e-10)
    assert result.success
    assert result.interpolates
    assert result.sigma == 0
    assert "basis pursuit" in result.message
    np.testing.assert_allclose(A @ result.x, y, atol=1e-11)
    np.testing.assert_allclose(np.sum(w * np.abs(result.x)), value, rtol=1e-9)
    np.testing.assert_allclose(result.x, x, atol=1e-7)


def test_an_uncertified_interpolating_start_is_not_called_optimal():
    A, y, _ = gaussian(30, 100, 5, 0.2, seed=8)
    start = np.linalg.lstsq(A, y, rcond=None)[0]  # not the smallest l1 norm

    def stop(intermediate_result):
        raise StopIteration

    with warnings.catch_warnings():
        warnings.simplefilter("error", InterpolationWarning)
        result = square_root_lasso(A, y, 1e-3, coef_init=start, callback=stop)
    assert result.interpolates
    assert not result.success
    assert "reproduces" not in result.message


def test_interpolation_warning_says_what_to_do():
    A, y, _ = gaussian(20, 60, 4, 0.2, seed=14)
    with pytest.warns(InterpolationWarning) as caught:
        square_root_lasso(A, y, 1e-3)
    (message,) = [str(w.message) for w in caught]
    assert message.startswith("At alpha=0.001 the optimal model reproduces the target exactly")
    for advice in ("Increase alpha", "set sigma_min", "silenced"):
        assert advice in message


def test_noise_level_is_positive_just_above_the_interpolation_point():
    A, y, _ = gaussian(30, 100, 5, 0.2, seed=8)
    threshold = 1 / np.linalg.norm(basis_pursuit(A, y, np.ones(100))[2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = square_root_lasso(A, y, 1.01 * threshold / math.sqrt(30), tol=1e-10)
    assert not result.interpolates
    assert 0 < result.sigma * math.sqrt(30) < 0.01 * np.linalg.norm(y)


def test_positive_interpolation():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((15, 60))
    y = A @ np.abs(rng.standard_normal(60))
    x, value, _ = basis_pursuit(A, y, np.ones(60), positive=True)
    with pytest.warns(InterpolationWarning):
        result = square_root_lasso(A, y, 1e-3, positive=True, tol=1e-10)
    np.testing.assert_allclose(result.x.sum(), value, rtol=1e-8)
    np.testing.assert_allclose(result.x, x, atol=1e-6)


def test_noiseless_sparse_vector_is_recovered_exactly():
    A, y, x = gaussian(100, 200, 8, 0.0, seed=9)
    with pytest.warns(InterpolationWarning):
        result = square_root_lasso(A, y, 0.02, tol=1e-10)
    np.testing.assert_allclose(result.x, x, atol=1e-10)


def test_complex_interpolation(golden):
    A, y, w = (golden[f"complex/{name}"] for name in "Ayw")
    lam = 0.05 * golden["complex/srlasso/lam_max"]
    with pytest.warns(InterpolationWarning):
        result = square_root_lasso(A, y, lam / math.sqrt(50), weights=w, tol=1e-7)
    np.testing.assert_allclose(A @ result.x, y, atol=1e-10)
    gap = independent_gap(A, y, result.x, lam, w, theta=result.dual)
    assert gap <= 1.01e-7 * np.linalg.norm(y)


@pytest.mark.parametrize("share", [1e-3, 1e-4])
@pytest.mark.parametrize(("m", "n"), [(3, 30), (40, 100)])
def test_complex_interpolation_at_negligible_strengths(m, n, share):
    rng = np.random.default_rng(1)
    A = rng.standard_normal((m, n)) + 1j * rng.standard_normal((m, n))
    y = A[:, :3].sum(axis=1) + 0.1 * rng.standard_normal(m)
    lam = share * np.max(np.abs(A.conj().T @ y)) / np.linalg.norm(y)
    with pytest.warns(InterpolationWarning):
        result = square_root_lasso(A, y, lam / math.sqrt(m))
    assert result.nit <= 20
    assert result.interpolates
    gap = independent_gap(A, y, result.x, lam, np.ones(n), theta=result.dual)
    assert gap <= 1.01e-6 * np.linalg.norm(y)


def test_complex_noise_level_that_is_small_but_positive():
    rng = np.random.default_rng(2)
    A = rng.standard_normal((10, 9)) + 1j * rng.standard_normal((10, 9))
    noise = rng.standard_normal(10) + 1j * rng.standard_normal(10)
    y = A @ rng.standard_normal(9) + 1e-3 * noise
    lam = 1e-4 * np.max(np.abs(A.conj().T @ y)) / np.linalg.norm(y)
    result = square_root_lasso(A, y, lam / math.sqrt(10))
    assert result.success
    assert not result.interpolates


@pytest.mark.parametrize("duplicated", ["columns", "rows"])
def test_dependent_columns_and_rows_still_get_a_certificate(duplicated):
    A, y, _ = gaussian(24, 60, 4, 0.2, seed=10)
    if duplicated == "columns":
        A = np.hstack([A, A, -A])
    else:
        A, y = np.vstack([A, A]), np.concatenate([y, y])
    w = np.ones(A.shape[1])
    for lam in (0.5, 0.2, 0.02):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InterpolationWarning)
            result = square_root_lasso(A, y, lam / math.sqrt(len(y)), tol=1e-8)
        gap = independent_gap(A, y, result.x, lam, w, theta=result.dual)
        assert gap <= 1e-8 * np.linalg.norm(y)


def test_target_in_the_span_of_unpenalised_columns():
    A, _, _ = gaussian(30, 20, 5, 0.0, seed=11)
    w = np.r_[np.zeros(2), np.ones(18)]
    with pytest.warns(InterpolationWarning):
        result = square_root_lasso(A, A[:, :2] @ [1.0, -2.0], 0.1, weights=w)
    np.testing.assert_allclose(result.x, np.r_[1, -2, np.zeros(18)], atol=1e-12)


# --- the smoothed loss ----------------------------------------------------------------


def test_sigma_min_below_the_noise_changes_nothing():
    A, y, _ = gaussian(60, 150, 5, 0.3, seed=12)
    plain = square_root_lasso(A, y, 0.04, tol=1e-12)
    floored = square_root_lasso(A, y, 0.04, sigma_min=0.9 * plain.sigma, tol=1e-12)
    np.testing.assert_allclose(floored.x, plain.x, atol=1e-9)
    assert math.isclose(floored.fun, plain.fun, rel_tol=1e-12)


@pytest.mark.parametrize("alpha", [0.04, 0.002])
def test_sigma_min_above_the_noise_gives_the_lasso(alpha):
    A, y, _ = gaussian(60, 150, 5, 0.3, seed=12)
    floor = 0.2
    result = square_root_lasso(A, y, alpha, sigma_min=floor, tol=1e-12)
    lasso = coordinate_descent(A, y, L1(alpha * floor), tol=1e-14)
    assert 0 < result.sigma < floor
    np.testing.assert_allclose(result.x, lasso.x, atol=1e-8)
    huber = result.sigma**2 / (2 * floor) + floor / 2
    assert math.isclose(result.fun, huber + alpha * np.abs(result.x).sum(), rel_tol=1e-12)
    # The dual value of the smoothed problem certifies it.
    s, theta = floor * math.sqrt(60), result.dual
    dual = theta @ y + s / 2 * (1 - theta @ theta)
    assert np.all(np.abs(A.T @ theta) <= alpha * math.sqrt(60) * (1 + 1e-12))
    assert abs(result.fun * math.sqrt(60) - dual) <= 1e-11 * np.linalg.norm(y)


def test_sigma_min_to_zero_tends_to_basis_pursuit():
    A, y, _ = gaussian(30, 100, 5, 0.2, seed=8)
    x, _, _ = basis_pursuit(A, y, np.ones(100))
    errors = []
    for floor in (1e-1, 1e-3, 1e-5):
        result = square_root_lasso(A, y, 0.005, sigma_min=floor, tol=1e-10)
        assert not result.interpolates
        errors.append(np.abs(result.x - x).max())
    assert errors[2] < 0.05 * errors[1]
    assert errors[1] < 0.05 * errors[0]


# --- the automatic strength -----------------------------------------------------------


def test_universal_strength_by_formula():
    # 1.1 * 3.5 standard deviations, roughly: the quantile at 1 - 0.05/600.
    np.testing.assert_allclose(universal_strength(150, 300) * math.sqrt(150), 1.1 * 3.76480, 1e-5)
    complex_level = universal_strength(100, 250, is_complex=True)
    np.testing.assert_allclose(complex_level, 1.1 * math.sqrt(math.log(5000) / 100), rtol=1e-12)


def test_automatic_strength_acts_on_centred_unit_columns(diabetes):
    X, y = diabetes
    X = 3 * X + 7
    model = SquareRootLasso(tol=1e-12).fit(X, y)
    level = universal_strength(len(y) - 1, X.shape[1])
    np.testing.assert_allclose(model.alpha_, level / math.sqrt(len(y)))
    np.testing.assert_allclose(model.weights_, np.linalg.norm(X - X.mean(0), axis=0))
    same = SquareRootLasso(model.alpha_, weights=model.weights_, tol=1e-12).fit(X, y)
    np.testing.assert_array_equal(same.coef_, model.coef_)
    weighted = SquareRootLasso(weights=np.arange(10)).fit(X, y)
    np.testing.assert_allclose(weighted.weights_, np.arange(10) * model.weights_)
    level = universal_strength(len(y) - 2, X.shape[1] - 1)  # the first is not penalised
    np.testing.assert_allclose(weighted.alpha_, level / math.sqrt(len(y)))


@pytest.mark.parametrize("is_complex", [False, True])
def test_automatic_strength_bounds_pure_noise(is_complex):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((60, 200)) + (1j * rng.standard_normal((60, 200)) if is_complex else 0)
    false_alarms = 0
    for _ in range(40):
        y = rng.standard_normal(60) + (1j * rng.standard_normal(60) if is_complex else 0)
        false_alarms += bool(square_root_lasso(A, y).x.any())
    assert false_alarms <= 4


@pytest.mark.parametrize(("m", "s"), [(75, 3), (150, 5)])
def test_automatic_strength_is_near_the_best_at_every_noise_level(m, s):
    """Median error after a refit on the support, over trials, against a grid of strengths."""
    grid = np.geomspace(0.15, 0.8, 8)
    for noise in (1e-3, 1e-2, 1e-1):
        automatic, on_grid = [], []
        for trial in range(30):
            A, y, x = gaussian(m, 300, s, noise, seed=[m, trial])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InterpolationWarning)
                result = square_root_lasso(A, y)
                path = square_root_lasso_path(A, y, alphas=grid / math.sqrt(m))
            automatic.append(_refitted_error(A, y, result.x, x))
            on_grid.append([_refitted_error(A, y, coef, x) for coef in path.coefs.T])
        assert np.median(automatic) <= 1.2 * np.min(np.median(on_grid, axis=0))


def _refitted_error(A, y, coef, x):
    support = np.flatnonzero(coef)
    refitted = np.zeros_like(x)
    refitted[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return np.linalg.norm(refitted - x) / np.linalg.norm(x)


# --- path, estimator, cross-validation ------------------------------------------------


def test_path_equals_single_solves():
    A, y, _ = gaussian(40, 120, 5, 0.1, seed=13)
    path = square_root_lasso_path(A, y, n_alphas=12, eps=1e-2, fit_intercept=True, tol=1e-11)
    assert path.success
    assert path.coefs.shape == (120, 12)
    assert np.all(np.diff(path.alphas) < 0)
    assert np.all(np.diff(path.sigmas) <= 1e-12)
    assert path.sigmas[-1] == 0
    for number, alpha in enumerate(path.alphas):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InterpolationWarning)
            single = square_root_lasso(A, y, alpha, fit_intercept=True, tol=1e-11)
        np.testing.assert_allclose(path.coefs[:, number], single.x, atol=1e-6)
        np.testing.assert_allclose(path.intercepts[number], single.intercept, atol=1e-7)
        np.testing.assert_allclose(path.sigmas[number], single.sigma, atol=1e-8)


def test_warm_start_helps_and_agrees():
    A, y, _ = gaussian(60, 200, 6, 0.1, seed=15)
    cold = square_root_lasso(A, y, 0.04, fit_intercept=True, tol=1e-11)
    warm = square_root_lasso(A, y, 0.04, fit_intercept=True, coef_init=cold.x, tol=1e-11)
    assert warm.nit < cold.nit
    np.testing.assert_allclose(warm.x, cold.x, atol=1e-9)
    model = SquareRootLasso(0.04, warm_start=True, tol=1e-11).fit(A, y)
    assert model.n_iter_ == cold.nit
    assert model.fit(A, y).n_iter_ == warm.nit


def test_warm_start_outside_the_constraints_is_repaired():
    A, y, _ = gaussian(60, 200, 6, 0.1, seed=15)
    w = np.ones(200)
    w[:5] = np.inf
    keywords = {"weights": w, "positive": True, "tol": 1e-10}
    cold = square_root_lasso(A, y, 0.04, **keywords)
    warm = square_root_lasso(A, y, 0.04, coef_init=-np.ones(200), **keywords)
    np.testing.assert_allclose(warm.x, cold.x, atol=1e-8)


def test_targets_are_fitted_independently(diabetes):
    X, y = diabetes
    Y = np.column_stack([y, -5 * y, np.sqrt(y)])
    joint = SquareRootLasso(tol=1e-12).fit(X, Y)
    assert joint.coef_.shape == (3, 10)
    assert joint.sigma_.shape == joint.dual_gap_.shape == joint.intercept_.shape == (3,)
    for number, target in enumerate(Y.T):
        single = SquareRootLasso(tol=1e-12).fit(X, target)
        np.testing.assert_allclose(joint.coef_[number], single.coef_, rtol=1e-7)
        np.testing.assert_allclose(joint.sigma_[number], single.sigma_)
        np.testing.assert_allclose(joint.predict(X)[:, number], single.predict(X))


def test_estimator_stores_what_the_solver_returns(diabetes):
    X, y = diabetes
    model = SquareRootLasso(0.003).fit(X, y)
    result = square_root_lasso(X, y, 0.003, fit_intercept=True)
    np.testing.assert_array_equal(model.coef_, result.x)
    assert model.intercept_ == result.intercept
    assert model.sigma_ == result.sigma
    assert model.dual_gap_ == result.dual_gap
    assert model.n_iter_ == result.nit
    assert model.alpha_ == 0.003
    np.testing.assert_array_equal(model.weights_, np.ones(10))
    assert set(model.history_) == {"iteration", "time", "objective", "certificate"}
    assert np.all(np.diff(model.history_["certificate"]) <= 0)


def test_cross_validation_agrees_with_a_grid_search(diabetes):
    X, y = diabetes
    alphas = np.geomspace(1e-4, 2e-2, 8)
    model = SquareRootLassoCV(alphas=alphas, cv=4).fit(X, y)
    search = GridSearchCV(
        SquareRootLasso(), {"alpha": alphas}, scoring="neg_mean_squared_error", cv=4
    ).fit(X, y)
    assert model.alpha_ == search.best_params_["alpha"]
    errors = -search.cv_results_["mean_test_score"][::-1]
    np.testing.assert_allclose(model.mse_path_.mean(axis=1), errors, rtol=1e-5)
    np.testing.assert_allclose(model.coef_, search.best_estimator_.coef_, rtol=1e-4)
    assert model.sigma_ > 0
    largest = SquareRootLassoCV(alphas=5).fit(X, y).alphas_[0]
    assert not SquareRootLasso(1.0001 * largest).fit(X, y).coef_.any()


def test_estimator_warns_of_interpolation():
    A, y, _ = gaussian(20, 60, 4, 0.2, seed=14)
    with pytest.warns(InterpolationWarning, match="Increase alpha"):
        model = SquareRootLasso(1e-3).fit(A, y)
    assert model.sigma_ == 0
    np.testing.assert_allclose(model.predict(A), y, atol=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SquareRootLasso(1e-3, sigma_min=0.05).fit(A, y)
    assert model.sigma_ > 0


def test_iteration_limit_warns_with_the_gap():
    A, y, _ = gaussian(60, 200, 6, 0.1, seed=15)
    with pytest.warns(ConvergenceWarning, match=r"relative duality gap .* after 1 iterations"):
        result = square_root_lasso(A, y, 0.04, tol=1e-9, max_iter=1)
    assert not result.success
    assert result.certificate > 1e-9
    # The certificate holds for what was reached.
    better = square_root_lasso(A, y, 0.04, tol=1e-9)
    assert result.fun - result.dual_gap <= better.fun <= result.fun + 1e-12


def test_callback_may_stop_the_run():
    A, y, _ = gaussian(60, 200, 6, 0.1, seed=15)
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result.certificate)
        if len(seen) == 2:
            raise StopIteration

    result = square_root_lasso(A, y, 0.03, tol=1e-13, callback=callback)
    assert result.nit == len(seen) == 2
    assert result.certificate == seen[-1]
    assert result.x.any()


BAD_ARGUMENTS = [
    ({"alpha": 0.0}, ValueError, "alpha must be > 0"),
    ({"alpha": -1.0}, ValueError, "alpha"),
    ({"alpha": np.nan}, ValueError, "alpha"),
    ({"alpha": "best"}, ValueError, '"auto"'),
    ({"alpha": None}, TypeError, "alpha"),
    ({"weights": [1.0, 2.0]}, ValueError, r"shape \(10,\)"),
    ({"weights": -np.ones(10)}, ValueError, "weights must be >= 0"),
    ({"weights": np.full(10, np.nan)}, ValueError, "weights"),
    ({"sigma_min": -1.0}, ValueError, "sigma_min"),
    ({"tol": -1e-3}, ValueError, "tol"),
    ({"max_iter": 0}, ValueError, "max_iter"),
    ({"coef_init": np.zeros(3)}, ValueError, "coef_init"),
    ({"coef_init": np.full(10, np.nan)}, ValueError, "coef_init"),
    ({"sample_weight": np.zeros(442)}, ValueError, "sample_weight"),
]


@pytest.mark.parametrize(("arguments", "error", "match"), BAD_ARGUMENTS)
def test_bad_arguments_are_named(diabetes, arguments, error, match):
    X, y = diabetes
    with pytest.raises(error, match=match):
        square_root_lasso(X, y, **arguments)


@pytest.mark.parametrize("alphas", [[], [0.1, 0.0], [-1.0], [[0.1]], [np.inf]])
def test_bad_grids_are_refused(diabetes, alphas):
    with pytest.raises(ValueError, match="alpha"):
        square_root_lasso_path(*diabetes, alphas=alphas)


@pytest.mark.parametrize("alpha", [0, -1, "scale", None])
def test_estimator_refuses_bad_alpha(diabetes, alpha):
    with pytest.raises(ValueError, match="alpha"):
        SquareRootLasso(alpha).fit(*diabetes)


@settings(deadline=None, max_examples=40)
@given(
    m=st.integers(1, 25),
    n=st.integers(1, 40),
    share=st.floats(0.01, 1.2),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    kind=st.sampled_from(["plain", "degenerate", "integer", "positive", "complex"]),
    order=st.sampled_from("CF"),
)
def test_every_problem_ends_with_a_certificate(m, n, share, seed, scale, kind, order):
    rng = np.random.default_rng(seed)
    A, y = rng.standard_normal((m, n)), rng.standard_normal(m)
    if kind == "integer":
        A, y = np.round(A), np.round(y)
    if kind == "complex":
        A, y = A + 1j * rng.standard_normal((m, n)), y + 1j * rng.standard_normal(m)
    if kind == "degenerate":
        A[:, rng.integers(0, n)] = 0
        A[:, rng.integers(0, n)] = A[:, rng.integers(0, n)]
        A[rng.integers(0, m)] = A[rng.integers(0, m)]
    A, y = np.asarray(scale * A, order=order), scale**2 * y
    w = rng.choice([0.5, 1.0, 2.0, np.inf], n)
    if kind != "complex" and n > 2:
        w[rng.integers(0, n)] = 0
    finite = np.isfinite(w) & (w > 0)
    correlation = np.abs(A.conj().T @ y)[finite] / w[finite]
    lam = share * np.max(correlation, initial=0.0) / (np.linalg.norm(y) or 1.0)
    if lam <= 1e-9 * np.linalg.norm(A):  # nothing but rounding
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterpolationWarning)
        result = square_root_lasso(
            A, y, lam / math.sqrt(m), weights=w, positive=kind == "positive", tol=1e-6
        )
    assert result.success
    gap = independent_gap(A, y, result.x, lam, w, result.dual, positive=kind == "positive")
    assert -1e-12 * np.linalg.norm(y) <= gap <= 1.01e-6 * np.linalg.norm(y)
