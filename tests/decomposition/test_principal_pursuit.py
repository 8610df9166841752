"""Principal component pursuit: optima, certificates, the published iteration, invariances."""

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt.decomposition import _augmented_lagrangian
from sparseopt.decomposition._augmented_lagrangian import Pursuit
from sparseopt.decomposition._huber_descent import Problem
from sparseopt.decomposition._kernels import pursuit, pursuit_arrays
from sparseopt.decomposition._principal_pursuit import principal_component_pursuit as pcp

DATA = Path(__file__).parents[1] / "data" / "decomposition"
TIGHT = {"tol": 1e-10, "tol_gap": 1e-9}


def golden(name):
    return dict(np.load(DATA / f"{name}.npz"))


def relative(A, B):
    return np.linalg.norm(A - B) / np.linalg.norm(B)


def corrupted(m=60, n=45, rank=3, share=0.08, size=6.0, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    S = np.where(rng.random((m, n)) < share, rng.uniform(-size, size, (m, n)), 0)
    return L + S + noise * rng.standard_normal((m, n)), L, S


def nuclear(A):
    return np.linalg.norm(A, "nuc")


@pytest.mark.parametrize("solver", ["auto", "admm"])
@pytest.mark.parametrize("name", ["pcp_recover", "pcp_hard"])
def test_golden_optimum(name, solver):
    g = golden(name)
    result = pcp(g["D"], float(g["lam"]), solver=solver, **TIGHT)
    assert result.success
    assert result.fun == pytest.approx(float(g["objective"]), rel=1e-8)
    assert relative(result.low_rank, g["L"]) < 1e-6
    assert relative(result.sparse, g["S"]) < 1e-6


def test_default_certifies_hard_data_in_few_iterations():
    g = golden("pcp_hard")
    result = pcp(g["D"], float(g["lam"]))
    assert result.success
    assert result.dual_gap <= 1e-4
    assert result.nit <= 250
    assert relative(result.low_rank, g["L"]) < 1e-5


def test_inexact_alm_is_not_optimal_and_says_so():
    g = golden("pcp_hard")
    result = pcp(g["D"], float(g["lam"]), solver="ialm")
    assert result.fun == pytest.approx(100.70945, rel=1e-6)
    assert result.dual_gap > 0.1
    assert "duality gap 0.15" in result.message


def test_published_iteration():
    g = golden("ialm_trace")
    result = pcp(g["D"], float(g["lam"]), solver="ialm", svd_solver="full")
    _, mu, rank, nonzeros, residual = g["trace"].T
    np.testing.assert_allclose(result.history["mu"], mu, rtol=1e-12)
    np.testing.assert_array_equal(result.history["rank"], rank)
    assert np.abs(result.history["n_nonzero"] - nonzeros).max() <= 2
    np.testing.assert_allclose(result.history["certificate"] * 1e-7, residual, rtol=1e-6)
    assert relative(result.low_rank, g["A"]) < 1e-7
    assert relative(result.sparse, g["E"]) < 1e-7


def test_missing_entries():
    g = golden("rmc")
    observed = ~np.isnan(g["D"])
    result = pcp(g["D"], float(g["lam"]), observed=observed, **TIGHT)
    assert relative(result.low_rank, g["L"]) < 1e-6
    assert relative(result.sparse, g["S"]) < 1e-6
    assert not result.sparse[~observed].any()
    assert not result.dual[~observed].any()


def test_outlying_rows():
    g = golden("outlier_pursuit")  # samples in columns
    result = pcp(g["D"].T, float(g["lam"]), by_rows=True, **TIGHT)
    assert result.fun == pytest.approx(float(g["objective"]), rel=1e-8)
    assert relative(result.low_rank.T, g["L"]) < 1e-6
    assert set(g["outlier_columns"]) <= set(np.flatnonzero(result.sparse.any(axis=1)))
    U_true = np.linalg.svd(g["L_true"])[0][:, :2]
    space = result.x.Vt[:2].T
    np.testing.assert_allclose(space @ (space.T @ U_true), U_true, atol=1e-6)


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_certificate_is_a_proof(by_rows, masked, weighted):
    D, _, _ = corrupted(40, 30, 2, noise=0.1, seed=3)
    rng = np.random.default_rng(0)
    observed = rng.random(D.shape) < 0.8 if masked else None
    weights = rng.uniform(0.5, 2, 40) if weighted else None
    lam = 0.3 if by_rows else 0.2
    result = pcp(D, lam, by_rows=by_rows, observed=observed, row_weights=weights, **TIGHT)
    seen = np.ones(D.shape, bool) if observed is None else observed
    limits = lam * (np.ones(40) if weights is None else weights)[:, None]
    Y = result.dual
    assert np.linalg.norm(Y, 2) <= 1 + 1e-12
    rest = np.where(seen, D - result.low_rank, 0)
    if by_rows:
        assert np.all(np.linalg.norm(Y, axis=1) <= limits[:, 0] * (1 + 1e-12))
        penalty = np.sum(limits[:, 0] * np.linalg.norm(rest, axis=1))
        sparse = np.sum(limits[:, 0] * np.linalg.norm(result.sparse, axis=1))
    else:
        assert np.all(np.abs(Y) <= limits * (1 + 1e-12))
        penalty, sparse = np.sum(limits * np.abs(rest)), np.sum(limits * np.abs(result.sparse))
    assert not Y[~seen].any()
    primal, dual = nuclear(result.low_rank) + penalty, np.sum(np.where(seen, D, 0) * Y)
    assert (primal - dual) / primal == pytest.approx(result.dual_gap, abs=1e-11)
    assert -1e-12 <= result.dual_gap <= 1e-9
    # Complementarity, the rest of the optimality conditions.
    assert np.sum(Y * result.low_rank) == pytest.approx(nuclear(result.low_rank), rel=1e-7)
    assert np.sum(Y * result.sparse) == pytest.approx(sparse, rel=1e-7)


@pytest.mark.parametrize("law", ["signs", "large"])
def test_exact_recovery(law):
    rng = np.random.default_rng(0)
    n, rank = 200, 10
    L = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n)) / n
    S = np.zeros(n * n)
    support = rng.permutation(n * n)[: n * n // 20]
    S[support] = rng.choice([-1, 1], support.size)
    if law == "large":
        L *= n
        S[support] = rng.uniform(-500, 500, support.size)
    S = S.reshape(n, n)
    published = pcp(L + S, n**-0.5, solver="ialm")
    result = pcp(L + S, n**-0.5)
    assert result.success
    assert result.nit <= 2 * published.nit
    assert result.x.rank == rank
    assert relative(result.low_rank, L) < 1e-5
    assert np.mean((result.sparse != 0) != (S != 0)) <= 1e-4


def test_ends_of_lam():
    D, _, _ = corrupted()
    U, _, Vt = np.linalg.svd(D, full_matrices=False)
    result = pcp(D, 1.01 * np.abs(U @ Vt).max())
    assert not result.sparse.any()
    assert relative(result.low_rank, D) < 1e-6
    result = pcp(D, 0.99 / np.linalg.norm(np.sign(D), 2))
    assert result.x.rank == 0
    assert relative(result.sparse, D) < 1e-6


def test_scale_of_the_data_does_not_matter():
    D, _, _ = corrupted(noise=0.1)
    reference = pcp(D, 0.15)
    for scale in (1e-100, 3.7, 1e100):
        result = pcp(scale * D, 0.15)
        assert result.nit == reference.nit
        assert relative(result.low_rank / scale, reference.low_rank) < 1e-8


def test_symmetries():
    D, _, _ = corrupted(noise=0.1)
    reference = pcp(D, 0.15, **TIGHT)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(60), rng.permutation(45)
    signs = rng.choice([-1.0, 1.0], 60)[:, None]
    permuted = pcp((signs * D)[rows][:, columns], 0.15, **TIGHT)
    expected = (signs * reference.low_rank)[rows][:, columns]
    assert relative(permuted.low_rank, expected) < 1e-7
    assert relative(pcp(D.T, 0.15, **TIGHT).low_rank.T, reference.low_rank) < 1e-7


def test_mask_that_hides_nothing():
    D, _, _ = corrupted(noise=0.1)
    plain = pcp(D, 0.15)
    masked = pcp(D, 0.15, observed=np.ones(D.shape, bool))
    assert relative(masked.low_rank, plain.low_rank) < 1e-12


def test_float32():
    D, L, _ = corrupted(120, 100, 3)
    result = pcp(D.astype(np.float32), 0.1, tol=3e-6)
    assert {result.low_rank.dtype, result.sparse.dtype} == {np.dtype(np.float32)}
    assert result.dual_gap <= 1e-4
    assert np.abs(result.low_rank - L).max() < 5e-5 * np.abs(D).max()


@pytest.mark.parametrize("svd_solver", ["full", "gram", "subspace"])
def test_svd_solvers_agree(svd_solver):
    D, _, _ = corrupted(120, 100, 3, noise=0.05)
    reference = pcp(D, 0.1, svd_solver="full", **TIGHT)
    result = pcp(D, 0.1, svd_solver=svd_solver, random_state=0, **TIGHT)
    assert result.success
    assert relative(result.low_rank, reference.low_rank) < 1e-6


def test_warm_start_saves_iterations():
    D, _, _ = corrupted(noise=0.1)
    near, cold = pcp(D, 0.15), pcp(D, 0.16, **TIGHT)
    warm = pcp(D, 0.16, start=near, **TIGHT)
    assert warm.nit < cold.nit
    assert relative(warm.low_rank, cold.low_rank) < 1e-6


def test_cut_off_run_warns_and_keeps_the_better_point():
    g = golden("pcp_hard")
    with pytest.warns(ConvergenceWarning, match="duality gap"):
        result = pcp(g["D"], float(g["lam"]), max_iter=36)
    published = pcp(g["D"], float(g["lam"]), solver="ialm")
    assert not result.success
    assert result.dual_gap <= published.dual_gap * (1 + 1e-9)


def test_callback_stops_the_run():
    D, _, _ = corrupted(noise=0.1)
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result.nit)
        if len(seen) == 5:
            raise StopIteration

    result = pcp(D, 0.15, callback=callback)
    assert seen == [1, 2, 3, 4, 5]
    assert result.nit == 5
    assert "stopped by its callback" in result.message


@pytest.mark.parametrize("D", [np.zeros((5, 4)), np.full((5, 4), 3.0), np.ones((1, 1))])
def test_trivial_data(D):
    result = pcp(D, 0.3)
    assert result.success
    np.testing.assert_allclose(result.low_rank + result.sparse, D, atol=1e-6)
    assert result.x.rank <= 1


def test_input_is_not_written_to():
    D, _, _ = corrupted()
    D.flags.writeable = False
    before = D.copy()
    pcp(D, 0.15)
    pcp(np.asfortranarray(D), 0.15)
    np.testing.assert_array_equal(D, before)


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_array_api(by_rows, masked):
    D, _, _ = corrupted(50, 42, 2, noise=0.1)
    observed = np.random.default_rng(0).random(D.shape) < 0.9 if masked else None
    lam = 0.4 if by_rows else 0.2
    reference = pcp(D, lam, by_rows=by_rows, observed=observed, svd_solver="full")
    strict = array_api_strict.asarray
    result = pcp(
        strict(D),
        lam,
        by_rows=by_rows,
        observed=None if observed is None else strict(observed),
        svd_solver="full",
    )
    assert result.success
    assert abs(result.nit - reference.nit) <= 10
    assert relative(np.asarray(result.low_rank), reference.low_rank) < 1e-4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("entrywise", [False, True])
def test_passes_agree_between_devices(dtype, by_rows, entrywise):
    rng = np.random.default_rng(0)
    D, L, V = (rng.standard_normal((13, 7)).astype(dtype) for _ in range(3))
    limits = np.full((13, 7) if entrywise else (13, 1), 0.4, dtype=dtype)
    limits[2] = 0
    if entrywise:
        limits[:, 3] = 0
        limits[5, 5] = 0 if by_rows else 0.9
    ratio, mu = dtype(0.7), dtype(1.3)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    strict = [array_api_strict.asarray(a.copy()) for a in (D, L, V, limits)]
    S, V_new = np.empty_like(D), V.copy()
    S_strict = array_api_strict.empty_like(strict[0])
    ours = pursuit.separate(D, L, V_new, limits, ratio, mu, by_rows, S)
    theirs = pursuit_arrays.separate(*strict, float(ratio), float(mu), by_rows, S_strict)
    assert ours[0] == theirs[0]
    assert ours[1] == pytest.approx(theirs[1], rel=tolerance)
    np.testing.assert_allclose(S, np.asarray(S_strict), atol=tolerance)
    np.testing.assert_allclose(V_new, np.asarray(strict[2]), atol=tolerance)
    strict_V = array_api_strict.asarray(V)
    ours = pursuit.duality(D, L, V, limits, mu, by_rows)
    theirs = pursuit_arrays.duality(*strict[:2], strict_V, strict[3], float(mu), by_rows)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance)
    ours = pursuit.squared_residual(D, L, V), pursuit.squared_distance(D, L)
    theirs = (
        pursuit_arrays.squared_residual(*strict[:2], strict_V),
        pursuit_arrays.squared_distance(*strict[:2]),
    )
    np.testing.assert_allclose(ours, theirs, rtol=tolerance)


def near_the_limit_of_recovery():
    rng = np.random.default_rng(0)
    L = rng.standard_normal((50, 9)) @ rng.standard_normal((9, 50))
    return L + 9 * rng.standard_normal((50, 50)) * (rng.random((50, 50)) < 0.1)


@pytest.mark.parametrize("haste", [None, 300.0])
def test_settling_meets_both_tolerances(monkeypatch, haste):
    # ADMM alone needs some ten thousand iterations here. If it is left in haste, it is taken up
    # again, as often as there is need.
    if haste is not None:
        monkeypatch.setattr(_augmented_lagrangian, "SETTLE_GAP", haste)
        monkeypatch.setattr(_augmented_lagrangian, "SETTLE_AFTER", 10)
    D = near_the_limit_of_recovery()
    result = pcp(D, 50**-0.5)
    assert result.success
    assert result.residual <= 1e-7
    assert np.linalg.norm(D - result.low_rank - result.sparse) <= 1.01e-7 * np.linalg.norm(D)
    Y = result.dual
    assert np.linalg.norm(Y, 2) <= 1 + 1e-12
    assert np.abs(Y).max() <= 50**-0.5 * (1 + 1e-12)
    primal = nuclear(result.low_rank) + 50**-0.5 * np.abs(D - result.low_rank).sum()
    assert (primal - np.sum(D * Y)) / primal == pytest.approx(result.dual_gap, abs=1e-10)
    assert result.dual_gap <= 1e-4


@pytest.mark.parametrize("max_iter", [3, 36, 60, 130, 180, 300])
def test_certificate_of_a_run_cut_off_is_a_proof(max_iter):
    # In each phase, and also where the subspace iteration has missed some values.
    D, lam = near_the_limit_of_recovery(), 50**-0.5
    result = pcp(D, lam, max_iter=max_iter, svd_solver="subspace", random_state=0, warn=False)
    assert not result.success
    Y = result.dual
    assert np.linalg.norm(Y, 2) <= 1 + 1e-12
    assert np.abs(Y).max() <= lam * (1 + 1e-12)
    primal = nuclear(result.low_rank) + lam * np.abs(D - result.low_rank).sum()
    assert (primal - np.sum(D * Y)) / primal == pytest.approx(result.dual_gap, abs=1e-10)
    assert relative(result.low_rank + result.sparse, D) == pytest.approx(result.residual, rel=1e-6)


def test_a_cut_off_while_settling_keeps_the_proof_of_before():
    D, phases = near_the_limit_of_recovery(), []
    whole = pcp(D, 50**-0.5, callback=lambda x: phases.append(x.rank))
    mu = whole.history["mu"]
    settling = np.flatnonzero(np.diff(mu[100:]) > 0)[-1] + 100
    cut = pcp(D, 50**-0.5, max_iter=int(settling), warn=False)
    assert not cut.success
    assert cut.dual_gap <= 1e-4


@pytest.mark.parametrize("tolerances", [{"tol": 4e-15}, {"tol": 1e-12, "tol_gap": 0.0}])
def test_tolerances_at_the_limit_of_rounding(tolerances):
    # The inexact ALM alone stays at a residual near 1e-12, and at a gap of 0.16.
    D, _, _ = corrupted(noise=0.1)
    result = pcp(D, 60**-0.5, **tolerances)
    assert result.success
    assert result.residual <= tolerances["tol"]
    assert result.dual_gap <= 1e-4


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_units_are_those_of_the_data(scale):
    D, _, _ = corrupted(noise=0.1)
    seen = []

    def callback(intermediate_result):
        seen.append((intermediate_result.x.nuclear_norm, intermediate_result.fun))

    result = pcp(scale * D, 0.15, callback=callback)
    assert result.history["objective"][-1] == pytest.approx(result.fun, rel=1e-6)
    assert seen[-1] == pytest.approx((result.x.nuclear_norm, result.fun), rel=1e-6)
    assert nuclear(result.low_rank / scale) == pytest.approx(seen[-1][0] / scale, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_start_from_data_of_another_scale(scale):
    D, _, _ = corrupted(noise=0.1)
    near, cold = pcp(D, 0.15), pcp(scale * D, 0.16)
    assert pcp(scale * D, 0.16, start=near).nit <= 2 * cold.nit
    assert relative(pcp(scale * D, 0.16, start=near).low_rank, cold.low_rank) < 1e-3


def test_start_without_a_dual_variable():
    D, _, _ = corrupted(noise=0.1)
    near = pcp(D, 0.15)
    del near["dual"]
    assert pcp(D, 0.16, start=near).success


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("max_iter", [5, 12, 33, 48, 70])
def test_the_bound_of_a_run_cut_off_holds_with_missing_entries(by_rows, max_iter):
    # Y is zero where nothing was observed, and its norm far above 1 before the end.
    D, _, _ = corrupted(noise=0.1)
    observed = np.random.default_rng(0).random(D.shape) < 0.4
    lam = 0.6 if by_rows else 0.2
    options = {"by_rows": by_rows, "observed": observed, "tol": 1e-9, "tol_gap": 1e-9}
    result = pcp(D, lam, max_iter=max_iter, warn=False, **options)
    assert not result.success
    assert np.linalg.norm(result.dual, 2) <= 1 + 1e-12
    optimum = pcp(D, lam, max_iter=5000, **options).fun
    assert np.sum(np.where(observed, D, 0) * result.dual) <= optimum * (1 + 1e-8)
    rest = np.where(observed, D - result.low_rank, 0)
    sizes = np.linalg.norm(rest, axis=1) if by_rows else np.abs(rest)
    primal = nuclear(result.low_rank) + lam * sizes.sum()
    assert (primal - np.sum(np.where(observed, D, 0) * result.dual)) / primal == pytest.approx(
        result.dual_gap, abs=1e-10
    )


@pytest.mark.parametrize("by_rows", [False, True])
def test_dual_variables_are_made_feasible(by_rows):
    D, _, _ = corrupted()
    lam = 0.5
    problem = Pursuit(Problem.of(D, lam), by_rows=by_rows)
    for Y in (5 * D, np.outer(np.full(60, 1 / 8), np.full(45, 3.9))):
        feasible = problem.feasible(Y)
        sizes = np.linalg.norm(feasible, axis=1) if by_rows else np.abs(feasible)
        assert np.linalg.norm(feasible, 2) <= 1 + 1e-12
        assert sizes.max() <= lam * (1 + 1e-12)
        binding = np.linalg.norm(feasible, 2), sizes.max() / lam
        assert max(binding) == pytest.approx(1)
