"""Accelerated alternating projections: published runs, recovery, scales, masks, verdicts."""

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sparseopt.decomposition import _alternating_projections as module
from sparseopt.decomposition._alternating_projections import (
    accelerated_alternating_projections as decompose,
)
from sparseopt.decomposition._factor_state import FactorState
from sparseopt.decomposition._known_rank import (
    doubts,
    effective_tolerance,
    prepare,
    residual_products,
    typical_cap,
)
from sparseopt.decomposition._low_rank import LowRankMatrix

DATA = Path(__file__).parents[1] / "data" / "decomposition"
LAWS = ("one", "large", "mean")


def make_problem(shape=(120, 100), rank=3, share=0.1, law="mean", seed=0):
    """Return D, L and S: errors of 1 on a small L, of up to 500, or of the size of L."""
    rng = np.random.default_rng(seed)
    m, n = shape
    L = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    S = np.zeros(m * n)
    support = rng.permutation(m * n)[: round(share * m * n)]
    if law == "one":
        L /= np.sqrt(m * n)
        S[support] = rng.choice([-1.0, 1.0], size=len(support))
    else:
        largest = 500.0 if law == "large" else np.mean(np.abs(L))
        S[support] = rng.uniform(-largest, largest, size=len(support))
    S = S.reshape(m, n)
    return L + S, L, S


def relative_error(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)


def low_of(D, rank):
    U, s, Vt = np.linalg.svd(D)
    return LowRankMatrix(U[:, :rank], s[:rank], Vt[:rank])


@pytest.fixture(scope="module")
def golden():
    return np.load(DATA / "accaltproj_trace.npz")


def test_follows_the_published_run(golden):
    result = decompose(golden["D"], int(golden["rank"]), init_cap=None, tol=1e-9)
    trace = golden["trace_err_zeta"]
    assert result.nit == len(trace)
    assert_allclose(result.history["certificate"][1:], trace[:, 1], rtol=1e-6)
    assert_allclose(result.history["threshold"][1:], trace[:, 2], rtol=1e-6)
    assert relative_error(result.low_rank, golden["L"]) < 1e-8
    assert relative_error(result.sparse, golden["S"]) < 1e-8


def test_follows_the_published_run_with_its_trimming(golden, monkeypatch):
    # The published code multiplies long rows by the square of what makes them short enough.
    def published(lengths, longest):
        return np.where(lengths > longest, longest**2 / lengths, 1.0)

    monkeypatch.setattr(module, "_shortening", published)
    options = {"incoherence": tuple(golden["trim_mu"]), "gamma": 0.65, "max_iter": 200}
    result = decompose(golden["D"], int(golden["rank"]), init_cap=None, tol=1e-9, **options)
    trace = golden["trace_trim"]
    assert result.nit == len(trace)
    assert_allclose(result.history["certificate"][1:], trace[:, 1], rtol=1e-6)
    assert_allclose(result.history["threshold"][1:], trace[:, 2], rtol=1e-6)
    assert relative_error(result.low_rank, golden["L_trim"]) < 1e-8


def test_trimmed_rows_are_as_long_as_allowed():
    rng = np.random.default_rng(1)
    factor = np.linalg.qr(rng.standard_normal((50, 3)) * np.linspace(0.1, 3, 50)[:, None])[0]
    shortened = module._with_short_rows(factor, 1.5)
    lengths, before = np.linalg.norm(shortened, axis=1), np.linalg.norm(factor, axis=1)
    longest = np.sqrt(1.5 * 3 / 50)
    assert np.any(before > longest)
    assert_allclose(lengths, np.minimum(before, longest), rtol=1e-12)


def test_trimming_keeps_the_solution():
    D, L, _ = make_problem()
    assert relative_error(decompose(D, 3, incoherence=5.0).low_rank, L) < 1e-5


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rank", [5, 25])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_recovers_published_laws(law, rank, share):
    D, L, S = make_problem((500, 500), rank, share, law)
    result = decompose(D, rank)
    assert relative_error(result.low_rank, L) < 1e-4
    assert np.mean((result.sparse != 0) != (S != 0)) < 1e-3
    assert result.success
    assert result.certificate <= 1e-7


def test_published_first_threshold_fails_where_the_cap_does_not():
    D, L, _ = make_problem((500, 500), 25, 0.1, "large")
    with pytest.warns(ConvergenceWarning):
        uncapped = decompose(D, 25, init_cap=None)
    assert relative_error(uncapped.low_rank, L) > 0.1
    assert relative_error(decompose(D, 25).low_rank, L) < 1e-4


def test_parts_and_certificate_are_what_they_are_said_to_be():
    D, *_ = make_problem()
    result = decompose(D, 3)
    assert_allclose(result.x.to_dense(), result.low_rank)
    residual = np.linalg.norm(D - result.low_rank - result.sparse)
    assert_allclose(result.fun, residual, rtol=1e-6)
    assert_allclose(result.certificate, residual / np.linalg.norm(D), rtol=1e-6)
    assert np.linalg.matrix_rank(result.low_rank) == 3
    entries = result.sparse[result.sparse != 0]
    assert np.min(np.abs(entries)) > result.history["threshold"][-1]


def test_without_errors_it_is_the_truncated_decomposition():
    _, L, _ = make_problem()
    result = decompose(L, 3)
    U, s, Vt = np.linalg.svd(L)
    assert relative_error(result.low_rank, (U[:, :3] * s[:3]) @ Vt[:3]) < 1e-8
    assert_allclose(result.x.s, s[:3], rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-100, 1e-5, 1e100])
def test_scale_changes_nothing_else(scale):
    D, *_ = make_problem((60, 50), 2)
    result, scaled = decompose(D, 2), decompose(scale * D, 2)
    assert scaled.nit == result.nit
    assert_allclose(scaled.low_rank, scale * result.low_rank, rtol=1e-8, atol=1e-12 * scale)
    assert_allclose(scaled.sparse, scale * result.sparse, rtol=1e-8, atol=1e-12 * scale)
    assert_allclose(scaled.fun, scale * result.fun, rtol=1e-6)
    assert_allclose(scaled.history["threshold"], scale * result.history["threshold"], rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_of_single_precision(scale):
    D, *_ = make_problem((60, 50), 2)
    D = D.astype(np.float32)
    result, scaled = decompose(D, 2), decompose(np.float32(scale) * D, 2)
    assert scaled.low_rank.dtype == np.float32
    close = {"rtol": 1e-3, "atol": 1e-4 * scale}
    assert_allclose(scaled.low_rank, np.float32(scale) * result.low_rank, **close)


def test_invariances():
    rng = np.random.default_rng(3)
    D, *_ = make_problem((60, 50), 2)
    result = decompose(D, 2)
    rows, columns, signs = rng.permutation(60), rng.permutation(50), rng.choice([-1, 1], (60, 1))
    moved = decompose(signs * D[rows][:, columns], 2)
    assert_allclose(moved.low_rank, signs * result.low_rank[rows][:, columns], atol=1e-7)
    assert_allclose(decompose(D.T.copy(), 2).low_rank, result.low_rank.T, atol=1e-7)


def test_layout_of_the_input_and_leaves_it_alone():
    D, *_ = make_problem((60, 50), 2)
    result = decompose(D, 2)
    wide = np.zeros((120, 50))
    wide[::2] = D
    for other in (np.asfortranarray(D), wide[::2]):
        given = other.copy(order="K")
        other.flags.writeable = False
        found = decompose(other, 2)
        assert_allclose(found.low_rank, result.low_rank, atol=1e-8)
        assert_allclose(found.sparse, result.sparse, atol=1e-8)
        assert found.low_rank.shape == found.x.shape == D.shape
        assert np.array_equal(other, given)


def test_single_precision():
    D, L, _ = make_problem()
    result = decompose(D.astype(np.float32), 3)
    assert {result.low_rank.dtype, result.sparse.dtype, result.x.U.dtype} == {np.dtype("f4")}
    assert result.success
    assert np.max(np.abs(result.low_rank - L)) < 5e-5 * np.max(np.abs(D))


def test_integers_are_numbers():
    D = np.outer(np.arange(1, 41), np.ones(30, dtype=int))
    D[3, 4] += 900
    result = decompose(D, 1)
    assert_allclose(result.sparse[3, 4], 900, rtol=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("law", ["large", "mean"])
def test_missing_entries(share, law):
    D, L, S = make_problem((200, 180), 3, 0.1, law)
    observed = np.random.default_rng(5).random(D.shape) < share
    holes = np.where(observed, D, np.nan)
    result = decompose(holes, 3, observed=observed)
    assert result.success
    assert relative_error(result.low_rank, L) < 1e-4
    assert np.all(result.sparse[~observed] == 0)
    assert np.mean((result.sparse != 0)[observed] != (S != 0)[observed]) < 1e-3
    whatever = np.where(observed, D, 1e9)
    assert_allclose(decompose(whatever, 3, observed=observed).low_rank, result.low_rank)
    transposed = decompose(holes.T, 3, observed=observed.T)
    assert_allclose(transposed.low_rank, result.low_rank.T, atol=1e-8)


def test_observing_everything_is_no_mask():
    D, *_ = make_problem((60, 50), 2)
    full = decompose(D, 2, observed=np.ones(D.shape, dtype=bool))
    assert_allclose(full.low_rank, decompose(D, 2).low_rank, rtol=1e-12, atol=1e-12)


def test_dense_noise_of_known_level():
    D, L, S = make_problem((300, 250), 3, 0.1, "large")
    rng = np.random.default_rng(0)
    noisy = D + 0.05 * rng.standard_normal(D.shape)
    result = decompose(noisy, 3, noise_std=0.05, tol=1e-6)
    assert result.success
    # Least squares on the inliers would be off by sigma sqrt(r (m + n) / (m n)) an entry.
    assert np.sqrt(np.mean((result.low_rank - L) ** 2)) < 2 * 0.05 * np.sqrt(3 * 550 / 75000)
    assert np.mean((result.sparse != 0) != (S != 0)) < 0.01


def test_dense_noise_without_its_level_is_said():
    D, *_ = make_problem((300, 250), 3, 0.1, "large")
    noisy = D + 0.05 * np.random.default_rng(0).standard_normal(D.shape)
    with pytest.warns(ConvergenceWarning, match=r"standard deviation of about 0\.05\d;"):
        result = decompose(noisy, 3)
    assert not result.success
    assert "about 5.5e+118;" in decompose(1e120 * noisy, 3, warn=False).message


def test_corruption_beyond_breakdown_is_said():
    D, L, _ = make_problem((200, 200), 5, 0.7, "mean")
    with pytest.warns(ConvergenceWarning, match="% of the observed entries are in the sparse part"):
        result = decompose(D, 5)
    assert not result.success
    assert relative_error(result.low_rank, L) > 0.01


@pytest.mark.parametrize("rank", [4, 10])
def test_rank_too_high_is_said(rank):
    D, *_ = make_problem((300, 300), 3, 0.2, "large")
    with pytest.warns(ConvergenceWarning, match="rank may be too high|rank is too high"):
        result = decompose(D, rank)
    assert not result.success
    assert np.all(np.isfinite(result.low_rank))


def test_rank_too_low_is_said():
    D, *_ = make_problem((200, 200), 5, 0.1)
    with pytest.warns(ConvergenceWarning, match="rank is too low"):
        decompose(D, 4)


def test_too_few_iterations_are_said():
    D, *_ = make_problem()
    with pytest.warns(ConvergenceWarning, match=r"AccAltProj did not converge.*max_iter") as seen:
        result = decompose(D, 3, max_iter=3)
    assert seen[0].filename == __file__  # of who called the solver
    assert result.nit == 3
    assert not result.success
    assert decompose(D, 3, max_iter=3, warn=False).message == result.message


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_mends_rows_and_columns_that_it_had_wrong(seed, monkeypatch):
    D, L, _ = make_problem((500, 500), 25, 0.4, "mean", seed)
    result = decompose(D, 25)
    assert result.success
    assert relative_error(result.low_rank, L) < 1e-5
    assert len(result.history["time"]) == len(result.history["threshold"])
    assert np.all(np.diff(result.history["time"]) >= 0)
    assert result.history["iteration"][-1] == result.nit
    assert f"after {result.nit} iterations" in result.message
    limited = decompose(D, 25, max_iter=result.nit - 1, warn=False)
    assert limited.nit <= result.nit - 1
    monkeypatch.setattr(FactorState, "repair", lambda self, sparse: False)
    assert "too few to determine" in decompose(D, 25, warn=False).message


@pytest.mark.parametrize("axis", [0, 1])
def test_repair_fits_lines_to_the_factor_of_the_others(axis):
    _, L, _ = make_problem((60, 50), 2)
    rng = np.random.default_rng(0)
    D = np.where(rng.random(L.shape) < 0.1, 50.0, L)
    wrong, S = L.copy(), np.zeros_like(L)
    lines = (slice(None), [3, 8]) if axis == 0 else ([3, 8], slice(None))
    wrong[lines] = wrong[lines][::-1] if axis == 1 else wrong[lines][:, ::-1]
    S[lines] = 1.0
    state = FactorState(prepare(D), low_of(wrong, 2), 0.0)
    assert state.repair(S)
    assert_allclose(state.low.to_dense(), L, atol=1e-10)
    assert_allclose(state.low.U.T @ state.low.U, np.eye(2), atol=1e-12)
    assert not state.repair(np.zeros_like(L))
    S[:] = 1.0  # everything is lost: nothing to repair it from
    assert not state.repair(S)


def test_doubts():
    _, L, _ = make_problem((60, 50), 2)
    data, transposed = prepare(L), prepare(np.asfortranarray(L))
    low = decompose(L, 2).x
    S = np.zeros_like(L)
    assert doubts(data, low, L, S) is None
    S[7, :48] = 1.0
    assert "no more than 2 entries of row 7 are" in doubts(data, low, L, S)
    assert "no more than 2 entries of row 7 are" in doubts(transposed, low.T, L.T, S.T)
    S[7, 47] = 0.0
    assert doubts(data, low, L, S) is None
    # Rank 2 has 12 parameters here, and there are 12 inliers.
    small = np.random.default_rng(0).standard_normal((4, 4))
    S = np.diag([1.0, 1.0, 1.0, 1.0])
    assert "25% of the observed entries" in doubts(prepare(small), low_of(small, 2), small, S)
    assert doubts(prepare(small), low_of(small, 1), small, S) is None


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_matrices(rank, value):
    D = np.full((30, 20), value)
    result = decompose(D, rank)
    assert result.success
    assert_allclose(result.low_rank, D, atol=1e-10)
    assert_allclose(result.sparse, 0)


def test_smallest_matrices():
    assert_allclose(decompose(np.array([[3.0]]), 1).low_rank, [[3.0]])
    row = np.array([[1.0, 2.0, 3.0]])
    assert_allclose(decompose(row, 1).low_rank, row)
    D = np.random.default_rng(0).standard_normal((6, 4))
    result = decompose(D, 4, init_cap=None, beta=10.0)  # no threshold below the largest entry
    assert_allclose(result.low_rank, D, atol=1e-12)


@given(
    m=st.integers(1, 25),
    n=st.integers(1, 25),
    true_rank=st.integers(0, 5),
    more=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_rank_deficient_matrices(m, n, true_rank, more, seed):
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((m, true_rank)) @ rng.standard_normal((true_rank, n))
    rank = max(1, min(m, n, true_rank + more))
    result = decompose(L, rank, init_cap=None, beta=1.0, beta_init=4.0)
    assert_allclose(result.low_rank + result.sparse, L, atol=1e-6)
    assert_allclose(result.x.U.T @ result.x.U, np.eye(rank), atol=1e-7)
    assert_allclose(result.x.Vt @ result.x.Vt.T, np.eye(rank), atol=1e-7)


@pytest.mark.parametrize("shape", [(20, 4), (5, 4), (4, 4)])
@pytest.mark.parametrize("scale", [1.0, 1e-17, 0.0])
def test_complement_is_orthogonal_whatever_is_left(shape, scale):
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.standard_normal(shape))[0]
    B = scale * rng.standard_normal(shape)
    if scale == 1.0:
        B -= U @ (U.T @ B)
    Q, R = module._complement(U, B)
    assert Q.shape[1] == min(4, shape[0] - 4)
    assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-10)
    assert_allclose(U.T @ Q, 0, atol=1e-10)
    assert_allclose(Q @ R, B, atol=1e-12)


def test_projection_is_that_of_the_tangent_space():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((6, 5))
    for rank in (2, 5):
        low = low_of(rng.standard_normal((6, 5)), rank)
        left, right = low.U.T @ Z, Z @ low.Vt.T
        core = left @ low.Vt.T
        found, following = module._project(low.U, low.Vt, right, left, core, core)
        P, Q = low.U @ low.U.T, low.Vt.T @ low.Vt
        U, s, Vt = np.linalg.svd(P @ Z + Z @ Q - P @ Z @ Q)
        assert_allclose(found.to_dense(), (U[:, :rank] * s[:rank]) @ Vt[:rank], atol=1e-12)
        assert_allclose(following, s[rank] if rank < 5 else 0.0, atol=1e-12)


def test_cap_is_of_the_typical_entry():
    D = np.array([[1.0, -2.0, 3.0, 4.0, 500.0]])
    assert_allclose(typical_cap(prepare(D), 2.0), 2 * 1.4826 * 3)
    two = np.vstack([D, D])
    observed = np.array([[True, True, True, False, True], [False, False, False, True, False]])
    assert_allclose(
        typical_cap(prepare(np.where(observed, two, np.nan), observed), 1.0), 1.4826 * 3
    )
    zeros = np.zeros((3, 5))
    zeros[0] = D
    assert_allclose(typical_cap(prepare(zeros), 1.0), 1.4826 * 3)
    assert typical_cap(prepare(np.zeros((3, 5))), 1.0) == 0
    assert typical_cap(prepare(D), None) == np.inf


def test_tolerance_is_no_finer_than_the_numbers():
    D = np.ones((3, 2))
    assert effective_tolerance(0, prepare(D)) == 20 * np.finfo(float).eps
    assert effective_tolerance(1e-9, prepare(D.astype(np.float32))) == 20 * np.finfo("f4").eps
    assert effective_tolerance(1e-3, prepare(D)) == 1e-3


def test_callback_sees_the_low_rank_part_and_stops():
    D, *_ = make_problem((60, 50), 2)
    seen = []

    def stop(intermediate_result):
        seen.append(intermediate_result)
        if len(seen) == 4:
            raise StopIteration

    result = decompose(1e120 * D, 2, callback=stop)
    assert result.nit == 4
    assert isinstance(seen[0].x, LowRankMatrix)
    assert_allclose(seen[-1].x.to_dense(), result.low_rank)


@pytest.mark.parametrize("masked", [False, True])
def test_other_array_libraries(masked):
    D, *_ = make_problem((60, 50), 2)
    observed = np.random.default_rng(5).random(D.shape) < (0.8 if masked else 2)
    options = {"observed": observed} if masked else {}
    expected = decompose(np.where(observed, D, np.nan), 2, incoherence=9.0, **options)
    xp = array_api_strict
    options = {name: xp.asarray(value) for name, value in options.items()}
    result = decompose(xp.asarray(np.where(observed, D, np.nan)), 2, incoherence=9.0, **options)
    assert result.nit == expected.nit
    assert isinstance(result.low_rank, type(xp.asarray(D)))
    assert_allclose(np.asarray(result.low_rank), expected.low_rank, atol=1e-8)
    assert_allclose(np.asarray(result.sparse), expected.sparse, atol=1e-8)


@pytest.mark.parametrize("clip", [False, True])
def test_passes_over_tiles_are_the_dense_expressions(clip, monkeypatch):
    rng = np.random.default_rng(0)
    D = rng.standard_normal((37, 23))
    observed = rng.random(D.shape) < 0.8
    U, Vt = np.linalg.qr(rng.standard_normal((37, 4)))[0], rng.standard_normal((4, 23))
    low = LowRankMatrix(U, np.arange(4.0, 0, -1), np.linalg.qr(Vt.T)[0].T)
    residual = np.where(observed, D - low.to_dense(), 0)
    outlying = np.abs(residual) > 0.7
    kept = np.clip(residual, -0.7, 0.7) if clip else np.where(outlying, 0, residual)
    monkeypatch.setattr("sparseopt.decomposition._known_rank.TILE", 100)
    data = prepare(D, observed)
    found = residual_products(data, low, U, low.Vt, 0.7, clip=clip)
    assert_allclose(found.right, kept @ low.Vt.T, atol=1e-12)
    assert_allclose(found.left, U.T @ kept, atol=1e-12)
    assert_allclose(found.norm, np.linalg.norm(kept))
    assert found.n_outliers == np.count_nonzero(outlying)
    tangent = U @ U.T @ kept + (kept - U @ U.T @ kept) @ low.Vt.T @ low.Vt
    assert_allclose(found.tangent_norm(), np.linalg.norm(tangent))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank must be at least 1"),
        ({"rank": 31}, ValueError, r"rank must be at most min\(m, n\) = 30"),
        ({"rank": 2.0}, TypeError, "rank must be an integer"),
        ({"D": np.full((40, 30), np.nan)}, ValueError, "D must be finite where it is observed"),
        ({"D": np.full((40, 30), np.inf)}, ValueError, "D must be finite where it is observed"),
        ({"D": np.ones(30)}, ValueError, "non-empty matrix"),
        ({"D": np.ones((0, 3))}, ValueError, "non-empty matrix"),
        ({"D": 1j * np.ones((40, 30))}, TypeError, "real numbers"),
        ({"D": np.full((40, 30), "a")}, TypeError, "real numbers"),
        ({"D": sparse.eye_array(40, 30)}, TypeError, "toarray"),
        ({"observed": np.ones((30, 40), dtype=bool)}, ValueError, "observed must have the shape"),
        ({"observed": np.ones((40, 30))}, TypeError, "booleans"),
        ({"observed": np.arange(40)[:, None] + np.zeros(30) > 0}, ValueError, "row without any"),
        ({"observed": np.arange(30) + np.zeros((40, 1)) > 0}, ValueError, "column without any"),
        ({"gamma": 1.0}, ValueError, "gamma must be between 0 and 1"),
        ({"init_cap": 0.0}, ValueError, "init_cap must be positive or None"),
        ({"incoherence": 0.5}, ValueError, "incoherence must be one or two numbers >= 1"),
        ({"incoherence": (1, 2, 3)}, ValueError, "incoherence must be one or two numbers >= 1"),
        ({"noise_std": -1.0}, ValueError, "noise_std must be finite and >= 0"),
        ({"tol": -1.0}, ValueError, "tol must be finite and >= 0"),
        ({"beta": -1.0}, ValueError, "beta must be finite and >= 0"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"D": np.ones((40, 30)), "rank": 2} | change
    with pytest.raises(error, match=message):
        decompose(**arguments)
