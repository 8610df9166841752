"""The entries of a plan that matter: which they are, what the others add up to, equal results."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sparseopt.transport import _problem as problem
from sparseopt.transport import _steps as steps
from sparseopt.transport import _truncated as truncated
from sparseopt.transport import sinkhorn
from sparseopt.transport._problem import Cost
from sparseopt.transport._semidual import SemiDual
from sparseopt.transport._truncated import TooManyEntriesError, TruncatedDual, exponent_cut

METRICS = ["sqeuclidean", "euclidean", "cityblock"]


def problems(metric=None, n=60, m=70, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    if metric is None:
        C = rng.random((n, m))
        return a, b, C, Cost(C)
    X, Y = rng.standard_normal((n, 2)), rng.standard_normal((m, 2)) + 0.5
    return a, b, cdist(X, Y, metric), Cost(X=X, Y=Y, metric=metric)


def plan_with_exact_rows(C, y, eps, a):
    exponents = (y - C) / eps
    P = np.exp(exponents - exponents.max(1, keepdims=True))
    return P * (a / P.sum(1))[:, None]


def as_matrix(dual, values):
    matrix = np.zeros(dual.shape)
    for i in range(dual.shape[0]):
        part = slice(dual.indptr[i], dual.indptr[i + 1])
        matrix[i, dual.indices[part]] = values[part]
    return matrix


@pytest.mark.parametrize("stored_entries", [None, 100])
@pytest.mark.parametrize("metric", [None, *METRICS])
def test_kept_entries(metric, stored_entries, monkeypatch):
    if stored_entries is not None:  # in blocks of rows, by threads
        monkeypatch.setattr(problem, "LARGEST_STORED", stored_entries)
        monkeypatch.setattr(truncated, "LARGEST_STORED", stored_entries)
    a, b, C, cost = problems(metric)
    eps, tol = 0.01, 1e-6
    y = 0.2 * np.random.default_rng(1).standard_normal(70)
    dual = TruncatedDual(cost, a, b, eps, y, tol, n_jobs=2)
    exponents = (y - C) / eps
    depth = exponents.max(1, keepdims=True) - exponents
    expected = depth <= exponent_cut(70, tol)
    assert 0.02 < expected.mean() < 0.9
    kept = as_matrix(dual, np.ones(dual.indices.size)) > 0
    np.testing.assert_array_equal(kept, expected)
    for i in range(60):
        assert (np.diff(dual.indices[dual.indptr[i] : dual.indptr[i + 1]]) > 0).all()
    point = dual.evaluate(y)
    P = plan_with_exact_rows(C, y, eps, a)
    np.testing.assert_allclose(as_matrix(dual, dual.values), np.where(kept, P, 0), rtol=1e-9)
    assert P[~kept].sum() <= dual.dropped(point.x, y) <= 0.01 * tol
    larger = dual.select(1e-4)
    assert larger[2].size == np.sum(P >= 1e-4)
    assert (larger[2] >= 1e-4).all()


def test_expected_entries():
    a, b, _, cost = problems(n=300, m=200)
    y, eps, tol = np.zeros(200), 2e-3, 1e-6
    expected = truncated.expected_entries(cost, y, eps, tol)
    actual = TruncatedDual(cost, a, b, eps, y, tol).indices.size
    assert abs(expected / actual - 1) < 0.2


def test_the_bound_of_what_is_dropped():
    a, b, C, cost = problems()
    eps = 0.01
    rng = np.random.default_rng(2)
    y0 = 0.1 * rng.standard_normal(70)
    dual = TruncatedDual(cost, a, b, eps, y0, 1e-6)
    dropped = as_matrix(dual, np.ones(dual.indices.size)) == 0
    for size in (0.0, 0.01, 0.03, 0.1):
        x = SemiDual(cost, a, b, eps).evaluate(y0).x + size * rng.standard_normal(60)
        y = y0 + size * rng.standard_normal(70)
        mass = np.exp((x[:, None] + y - C) / eps)[dropped].sum()
        assert mass <= dual.dropped(x, y) * (1 + 1e-9)
    # Opposite constants cancel.
    np.testing.assert_allclose(dual.dropped(x + 0.5, y - 0.5), dual.dropped(x, y))


@pytest.mark.parametrize("size", [0.0, 1e-3, 0.05, 1.0, 100.0])
def test_values_and_errors_at_potentials_that_moved(size):
    a, b, _, cost = problems()
    eps, tol = 0.01, 1e-8
    rng = np.random.default_rng(3)
    y = 0.1 * rng.standard_normal(70)
    dual = TruncatedDual(cost, a, b, eps, y, tol)
    moved = y + size * rng.standard_normal(70)
    got, exact = dual.evaluate(moved), SemiDual(cost, a, b, eps).evaluate(moved)
    assert (dual.n_chosen > 1) == (size >= 1)
    slack = dual.dropped(got.x, moved)
    assert slack <= 0.1 * tol + 1e-3 * exact.error
    assert exact.error <= got.error <= exact.error + 4 * slack
    assert -1e-12 <= got.objective - exact.objective <= dual.doubt(got) + 1e-12
    assert np.abs(got.column_sums - exact.column_sums).sum() <= 2 * slack + 1e-14


def test_columns_without_entries_are_balanced_by_all():
    a, b, _, cost = problems()
    eps = 0.01
    y = np.zeros(70)
    y[:5] = -3.0  # far too low
    dual = TruncatedDual(cost, a, b, eps, y, 1e-6)
    point = dual.evaluate(y)
    assert (point.column_sums[:5] == 0).all()
    full = SemiDual(cost, a, b, eps)
    expected = full.balance_columns(full.evaluate(y))
    np.testing.assert_allclose(dual.balance_columns(point), expected, atol=1e-9)


@pytest.mark.parametrize("reg", [0.03, 3e-3, 1e-4])
@pytest.mark.parametrize("solver", ["auto", "sns"])
def test_results_on_the_kept_entries_are_those_on_all(solver, reg, monkeypatch):
    a, b, C, _ = problems()
    results = []
    for share in (-1.0, 1.0):
        monkeypatch.setattr(steps, "FEW_ENTRIES", share)
        results.append(sinkhorn(a, b, C, reg=reg, solver=solver, tol=1e-11))
    dense, kept = results
    assert dense.converged
    assert kept.converged
    assert kept.certificate <= 1e-11
    np.testing.assert_allclose(kept.f, dense.f, atol=1e-7)
    np.testing.assert_allclose(kept.value, dense.value, rtol=1e-12)
    np.testing.assert_allclose(kept.plan(), dense.plan(), atol=1e-11)


def test_entries_are_chosen_where_they_are_few(monkeypatch):
    chosen = []

    class Recorded(TruncatedDual):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            chosen.append(self)

    monkeypatch.setattr(steps, "TruncatedDual", Recorded)
    C = np.random.default_rng(0).random((300, 300))
    sharp = sinkhorn(C=C, reg=1e-3)
    assert len(chosen) == 1
    assert chosen[0].indices.size <= 0.08 * C.size
    assert sharp.converged
    chosen.clear()
    sinkhorn(C=C, reg=0.02)
    assert not chosen


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reg", [0.02, 1e-3])
def test_newton_steps_for_points_whose_costs_are_not_stored(metric, reg, monkeypatch):
    a, b, _, cost = problems(metric)
    options = {"X": cost.X, "Y": cost.Y, "metric": metric, "reg": reg, "tol": 1e-10}
    stored = sinkhorn(a, b, **options, solver="sns")
    for module in (problem, truncated):
        monkeypatch.setattr(module, "LARGEST_STORED", 100)
    for solver in ("auto", "sns"):
        result = sinkhorn(a, b, solver=solver, n_jobs=2, **options)
        assert not result._cost.stored
        assert result.converged
        if solver == "sns":
            assert result.n_newton > 0
        np.testing.assert_allclose(result.f, stored.f, atol=1e-7)
        np.testing.assert_allclose(result.value, stored.value, rtol=1e-10)
        np.testing.assert_allclose(result.plan(), stored.plan(), atol=1e-9)


@pytest.mark.parametrize("solver", ["auto", "sns"])
def test_sweeps_where_the_entries_do_not_fit_into_memory(solver, monkeypatch):
    a, b, _, cost = problems("sqeuclidean")
    for module in (problem, truncated):
        monkeypatch.setattr(module, "LARGEST_STORED", 100)
    monkeypatch.setattr(truncated, "FEWEST_KEPT", 50)
    monkeypatch.setattr(truncated, "KEPT_A_BIN", 0)
    result = sinkhorn(a, b, X=cost.X, Y=cost.Y, reg=0.02, solver=solver, max_iter=5000)
    assert result.converged
    assert result.n_newton == 0
    with pytest.raises(TooManyEntriesError):
        TruncatedDual(cost, a, b, 0.02, np.zeros(70), 1e-8)


def test_entries_that_become_too_many_on_the_way(monkeypatch):
    a, b, _, cost = problems("sqeuclidean")
    for module in (problem, truncated):
        monkeypatch.setattr(module, "LARGEST_STORED", 100)
    original, choices = TruncatedDual._choose, []

    def choose(self, y):
        choices.append(self)
        if len(choices) == 3:
            raise TooManyEntriesError
        original(self, y)

    monkeypatch.setattr(TruncatedDual, "_choose", choose)
    result = sinkhorn(a, b, X=cost.X, Y=cost.Y, reg=1e-3, solver="sns")
    assert len(choices) >= 3
    assert result.converged
