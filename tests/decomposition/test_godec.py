"""GoDec: the published run, exact cardinality, monotony, ties, masks, verdicts."""

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from sparseopt.decomposition._godec import _distance, _selection, godec
from sparseopt.decomposition._known_rank import prepare
from sparseopt.decomposition._singular_values import leading_svd

DATA = Path(__file__).parents[1] / "data" / "decomposition"


def make_problem(shape=(120, 100), rank=3, share=0.1, largest=None, noise=0.0, seed=0):
    """Return D, L and S with errors of the size of L, or up to ``largest``."""
    rng = np.random.default_rng(seed)
    m, n = shape
    L = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    largest = np.mean(np.abs(L)) if largest is None else largest
    S = np.zeros(m * n)
    support = rng.permutation(m * n)[: round(share * m * n)]
    S[support] = rng.uniform(-largest, largest, len(support))
    S = S.reshape(shape)
    return L + S + noise * rng.standard_normal(shape), L, S


def relative_error(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)


def test_follows_the_published_run():
    golden = np.load(DATA / "godec.npz")
    options = {"card": int(golden["card"]), "init_cap": None, "tol": 0, "warn": False}
    result = godec(golden["D"], int(golden["rank"]), max_iter=60, **options)
    errors = result.history["objective"] / np.linalg.norm(golden["D"])
    assert len(errors) > 40  # then L no longer changes
    assert_allclose(errors, golden["err_trace"][: len(errors)], rtol=1e-8)
    assert np.all(np.diff(errors) <= 1e-15)
    assert relative_error(result.low_rank, golden["L"]) < 1e-8
    assert relative_error(result.sparse, golden["S"]) < 1e-8


@pytest.mark.parametrize("approximation", ["exact", "power"])
@pytest.mark.parametrize("largest", [None, 1.0, 500.0])
@pytest.mark.parametrize("card", [0.2, 0.24])
def test_recovers(approximation, largest, card):
    D, L, _ = make_problem((300, 280), 5, 0.2, largest)
    result = godec(D, 5, card=card, approximation=approximation)
    assert result.success
    assert relative_error(result.low_rank, L) < 1e-4


def test_published_start_fails_where_the_cap_does_not():
    D, L, _ = make_problem((300, 280), 5, 0.2, 500.0)
    published = godec(D, 5, card=0.2, init_cap=None, max_iter=100, warn=False)
    assert relative_error(published.low_rank, L) > 0.1


@pytest.mark.parametrize("options", [{"card": 700}, {"tau": 0.5}])
@pytest.mark.parametrize("approximation", ["exact", "power"])
def test_parts_and_objective_are_what_they_are_said_to_be(options, approximation):
    D, *_ = make_problem(noise=0.05)
    result = godec(D, 3, approximation=approximation, n_power=1, **options)
    assert result.success
    assert_allclose(result.fun, np.linalg.norm(D - result.low_rank - result.sparse))
    assert_allclose(result.x.to_dense(), result.low_rank)
    residual = D - result.low_rank
    if "card" in options:
        assert np.count_nonzero(result.sparse) == 700
        kept = result.sparse != 0
        assert_allclose(result.sparse[kept], residual[kept])
        assert np.min(np.abs(residual[kept])) >= np.max(np.abs(residual[~kept]))
    else:
        expected = np.sign(residual) * np.maximum(np.abs(residual) - 0.5, 0)
        assert_allclose(result.sparse, expected, atol=1e-12)


@pytest.mark.parametrize("options", [{"card": 700}, {"tau": 0.5}])
def test_solution_is_stationary(options):
    D, *_ = make_problem(noise=0.05)
    result = godec(D, 3, tol=1e-10, max_iter=2000, **options)
    low = leading_svd(D - result.sparse, 3)
    assert relative_error(low.to_dense(), result.low_rank) < 1e-7


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{"card": 0.1}, {"tau": 0.3}])
def test_objective_never_grows(options, seed):
    D, *_ = make_problem((40, 30), 4, 0.2, 3.0, noise=0.3, seed=seed)
    errors = godec(D, 3, init_cap=None, warn=False, **options).history["objective"]
    assert len(errors) > 5
    if "card" in options:  # with tau, it is the objective with the penalty that does not
        assert np.all(np.diff(errors) <= 1e-12)
    else:
        assert errors[-1] < errors[0]


def test_penalised_objective_never_grows():
    D, *_ = make_problem((40, 30), 4, 0.2, 3.0, noise=0.3)
    objectives = []
    for max_iter in range(1, 12):
        result = godec(D, 3, tau=0.3, init_cap=None, max_iter=max_iter, warn=False)
        objectives.append(result.fun**2 / 2 + 0.3 * np.abs(result.sparse).sum())
    assert np.all(np.diff(objectives) <= 1e-10)


@given(
    levels=st.integers(1, 5),
    card=st.integers(0, 60),
    seed=st.integers(0, 99),
    missing=st.booleans(),
)
def test_cardinality_is_exact_among_ties(levels, card, seed, missing):
    rng = np.random.default_rng(seed)
    D = rng.integers(-levels, levels + 1, (8, 9)).astype(float)
    observed = rng.random(D.shape) < 0.9
    observed[0], observed[:, 0] = True, True
    data = prepare(D, observed if missing else None)
    card = min(card, data.n_observed)
    select = _selection(data, card, None)
    for low in (np.zeros_like(D), np.ones_like(D), 0.5 * np.ones_like(D)):
        W = low.copy()
        energy = select(data.values, W, 0.0)
        S = select.sparse_part(data, low)
        residual = np.where(observed | (not missing), D - low, 0)
        kept = np.sort(np.abs(residual[observed | (not missing)]))[: data.n_observed - card]
        assert_allclose(energy, np.sum(kept**2), atol=1e-12)
        assert np.count_nonzero(S) <= card
        assert_allclose(np.sum((residual - S) ** 2), energy, atol=1e-12)
        assert_allclose(W, np.where(observed | (not missing), D - S, low))


def test_cardinality_is_counted_among_observed_entries():
    D, *_ = make_problem((60, 50), 2, 0.2, noise=0.1)
    observed = np.random.default_rng(5).random(D.shape) < 0.5
    observed[0], observed[:, 0] = True, True
    result = godec(D, 2, card=0.1, observed=observed, warn=False)
    assert np.count_nonzero(result.sparse) == round(0.1 * observed.sum())
    with pytest.raises(ValueError, match=f"at most the number {observed.sum()} of observed"):
        godec(D, 2, card=int(observed.sum()) + 1, observed=observed)


def test_shrinkage_takes_what_exceeds_the_falling_threshold():
    D = np.array([[4.0, -3.0, 0.5]])
    data = prepare(D)
    select = _selection(data, None, 1.0)
    for least, used in ((2.0, 2.0), (0.3, 1.0)):
        W = np.zeros_like(D)
        energy = select(data.values, W, least)
        expected = np.sign(D) * np.maximum(np.abs(D) - used, 0)
        assert_allclose(select.sparse_part(data, np.zeros_like(D)), expected)
        assert_allclose(W, D - expected)
        assert_allclose(energy, np.sum((D - expected) ** 2))
        assert select.raised == (least > 1)


def test_distance_of_factored_matrices():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 20, 15))
    low, other = leading_svd(A, 3), leading_svd(B, 2)
    expected = np.linalg.norm(low.to_dense() - other.to_dense())
    assert_allclose(_distance(low, other), expected)
    assert _distance(low, low) < 1e-13


def test_without_errors_it_is_the_truncated_decomposition():
    _, L, _ = make_problem()
    for approximation in ("exact", "power"):
        result = godec(L, 3, card=0, approximation=approximation)
        assert relative_error(result.low_rank, L) < 1e-8
        assert not result.sparse.any()


def test_each_round_of_the_power_scheme_is_nearer_to_the_decomposition():
    D = np.random.default_rng(0).standard_normal((60, 50))
    best = np.linalg.norm(np.linalg.svd(D)[1][4:])
    options = {"card": 0, "approximation": "power", "max_iter": 1, "warn": False}
    excess = [godec(D, 4, n_power=n, random_state=0, **options).fun - best for n in (0, 2, 8, 64)]
    assert np.all(np.diff(excess) < 0)
    assert excess[0] < 0.1 * best
    assert excess[-1] < 1e-3 * best


def test_power_scheme_on_noise_nears_the_decomposition():
    D = np.random.default_rng(0).standard_normal((60, 50))
    best = np.linalg.svd(D)[1][4:]
    result = godec(D, 4, card=0, approximation="power", n_power=3, tol=1e-9, max_iter=3000)
    assert_allclose(result.fun, np.linalg.norm(best), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
@pytest.mark.parametrize("soft", [False, True])
def test_scale_changes_nothing_else(scale, soft):
    D, *_ = make_problem((60, 50), 2, noise=0.01)
    first, second = ({"tau": 0.1}, {"tau": 0.1 * scale}) if soft else ({"card": 300},) * 2
    result, scaled = godec(D, 2, **first), godec(scale * D, 2, **second)
    assert scaled.nit == result.nit
    assert_allclose(scaled.fun, scale * result.fun, rtol=1e-8)
    assert relative_error(scaled.low_rank / scale, result.low_rank) < 1e-8
    assert relative_error(scaled.sparse / scale, result.sparse) < 1e-8


def test_transposes_and_leaves_its_input_alone():
    D, *_ = make_problem((60, 50), 2)
    D.flags.writeable = False
    given = D.copy()
    result = godec(D, 2, card=300)
    assert np.array_equal(D, given)
    assert_allclose(godec(D.T, 2, card=300).low_rank, result.low_rank.T, atol=1e-8)
    assert_allclose(godec(D.T.copy(), 2, card=300).low_rank, result.low_rank.T, atol=1e-6)


@pytest.mark.parametrize("options", [{"card": 1200}, {"tau": 0.01}])
def test_single_precision(options):
    D, L, _ = make_problem()
    result = godec(D.astype(np.float32), 3, approximation="power", **options)
    assert {result.low_rank.dtype, result.sparse.dtype, result.x.U.dtype} == {np.dtype("f4")}
    if "card" in options:
        assert np.max(np.abs(result.low_rank - L)) < 5e-5 * np.max(np.abs(D))


def test_missing_entries():
    D, L, _ = make_problem((200, 180), 3, 0.1, 500.0)
    observed = np.random.default_rng(5).random(D.shape) < 0.7
    result = godec(np.where(observed, D, np.nan), 3, card=0.11, observed=observed)
    assert relative_error(result.low_rank, L) < 1e-4
    assert np.all(result.sparse[~observed] == 0)


def test_same_seed_same_result():
    D, *_ = make_problem((60, 50), 2, noise=0.1)
    runs = [godec(D, 2, card=300, approximation="power", random_state=3) for _ in range(2)]
    assert np.array_equal(runs[0].low_rank, runs[1].low_rank)


@pytest.mark.parametrize("approximation", ["exact", "power"])
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_matrices(approximation, value):
    D = np.full((30, 20), value)
    result = godec(D, 3, card=10, approximation=approximation)
    assert result.success
    assert_allclose(result.low_rank + result.sparse, D, atol=1e-10)


def test_corruption_beyond_breakdown_is_said():
    D, *_ = make_problem((150, 150), 5, 0.9)
    with pytest.warns(ConvergenceWarning, match="% of the observed entries") as seen:
        result = godec(D, 5, card=0.9, max_iter=50)
    assert seen[0].filename == __file__
    assert not result.success


def test_stops_when_told():
    D, *_ = make_problem((60, 50), 2)

    def stop(x):
        raise StopIteration

    assert godec(D, 2, card=300, callback=stop).nit == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rank": 31}, ValueError, r"rank must be at most min\(m, n\) = 30"),
        ({"card": None}, ValueError, "exactly one of card and tau"),
        ({"tau": 1.0}, ValueError, "exactly one of card and tau"),
        ({"card": None, "tau": 0.0}, ValueError, "tau must be positive"),
        ({"card": -1}, ValueError, "card must be finite and >= 0"),
        ({"card": 1.5}, ValueError, "card must be an integer, or a share below 1"),
        ({"card": 1201}, ValueError, "card must be at most the number 1200"),
        ({"approximation": "fast"}, ValueError, "approximation must be 'exact' or 'power'"),
        ({"n_power": -1}, ValueError, "n_power must be finite and >= 0"),
        ({"D": np.full((40, 30), np.nan)}, ValueError, "D must be finite"),
        ({"D": array_api_strict.ones((40, 30))}, TypeError, "NumPy arrays"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"D": np.ones((40, 30)), "rank": 2, "card": 5} | change
    with pytest.raises(error, match=message):
        godec(**arguments)
