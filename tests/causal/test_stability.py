"""Bootstrapped graphs: what is counted, what is put together, and that workers do not matter."""

import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from sparseopt.causal import (
    CoLiDE,
    CoLiDECV,
    SortRegress,
    StandardizedDataWarning,
    edge_stability,
    is_acyclic,
)
from sparseopt.datasets import make_linear_sem


class Script(BaseEstimator):
    """Returns the graph that belongs to the number which all samples have in common."""

    GRAPHS = (
        {(0, 1): 1.0, (1, 2): 2.0},
        {(0, 1): 3.0, (1, 2): 4.0},
        {(1, 2): 6.0, (2, 0): -1.0},
        {(0, 1): 5.0, (2, 0): -3.0},
    )

    def fit(self, X, y=None):
        self.adjacency_ = np.zeros((3, 3))
        for pair, weight in self.GRAPHS[int(X[0, 0]) % 4].items():
            self.adjacency_[pair] = weight
        return self


class Counter(BaseEstimator):
    """Keeps what it is fitted to as an edge's weight."""

    def __init__(self, quantity="rows"):
        self.quantity = quantity

    def fit(self, X, y=None, sample_weight=None):
        rows = X if sample_weight is None else np.repeat(X, np.asarray(sample_weight, int), axis=0)
        value = {"rows": len(rows), "sum": rows[:, 0].sum(), "distinct": len(np.unique(rows[:, 0]))}
        self.adjacency_ = np.array([[0.0, value[self.quantity]], [0.0, 0.0]])
        return self


class RowCounter(Counter):
    def fit(self, X, y=None):
        return super().fit(X)


class NoGraph(BaseEstimator):
    def fit(self, X, y=None):
        return self


class Cycle(BaseEstimator):
    def fit(self, X, y=None):
        self.adjacency_ = np.array([[0.0, 1.0], [1.0, 0.0]])
        return self


@pytest.fixture(scope="module")
def strong():
    return make_linear_sem(n_samples=1000, n_features=6, edges_per_node=1, random_state=2)


def scripted_replicates(monkeypatch):
    """Make replicate k consist of row k % 4 only."""
    from sparseopt.causal import _stability

    numbers = iter(range(1000))
    monkeypatch.setattr(
        _stability, "_draw_rows", lambda random, n, size: np.full(size, next(numbers) % 4)
    )


def test_counts_by_hand(monkeypatch):
    scripted_replicates(monkeypatch)
    X = np.arange(12.0).reshape(4, 3) // 3
    result = edge_stability(Script(), X, n_bootstrap=4, quantiles=(0.0, 0.25, 0.5, 1.0))
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 2] = 0.75
    expected[2, 0] = 0.5
    np.testing.assert_array_equal(result.frequencies, expected)
    nan = np.nan
    np.testing.assert_allclose(result.weight_quantiles[:, 0, 1], [1.0, 2.0, 3.0, 5.0])
    np.testing.assert_allclose(result.weight_quantiles[:, 1, 2], [2.0, 3.0, 4.0, 6.0])
    np.testing.assert_allclose(result.weight_quantiles[:, 2, 0], [-3.0, -2.5, -2.0, -1.0])
    np.testing.assert_array_equal(result.weight_quantiles[:, 0, 2], [nan] * 4)
    # 0 -> 2 by way of 1 twice, 1 -> 0 and 2 -> 1 by way of the others once each
    np.testing.assert_array_equal(
        result.ancestor_frequencies, [[0.0, 0.75, 0.5], [0.25, 0.0, 0.75], [0.5, 0.25, 0.0]]
    )
    np.testing.assert_array_equal(result.adjacency, [[0, 3.0, 0], [0, 0, 4.0], [0, 0, 0]])
    assert result.edges == [(0, 1, 0.75, 3.0), (1, 2, 0.75, 4.0)]


def test_aggregate_takes_frequent_edges_first_and_closes_no_cycle(monkeypatch):
    scripted_replicates(monkeypatch)
    X = np.arange(12.0).reshape(4, 3) // 3
    result = edge_stability(Script(), X, n_bootstrap=4, min_frequency=0.1)
    np.testing.assert_array_equal(result.adjacency != 0, [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    result = edge_stability(Script(), X, n_bootstrap=4, min_frequency=0.75)
    assert not np.any(result.adjacency)
    assert result.edges == []


def test_edges_of_a_strong_model_are_always_found(strong):
    result = edge_stability(CoLiDE(solver="prox"), strong.X, n_bootstrap=20, random_state=0)
    edges = strong.adjacency != 0
    np.testing.assert_array_equal(result.frequencies[edges], 1.0)
    np.testing.assert_array_equal(result.adjacency != 0, edges)
    low, median, high = result.weight_quantiles
    assert np.all(low[edges] <= median[edges])
    assert np.all(median[edges] < high[edges])
    np.testing.assert_array_equal(result.adjacency[edges], median[edges])
    np.testing.assert_allclose(median[edges], strong.adjacency[edges], atol=0.3)
    assert result.n_unfinished == 0


def test_aggregate_of_weak_graphs_is_acyclic():
    data = make_linear_sem(
        n_samples=60,
        n_features=10,
        edges_per_node=2,
        weight_range=(0.25, 1.0),
        variance="non_equal",
        random_state=0,
    )
    model = SortRegress("random", threshold=0.0)
    result = edge_stability(model, data.X, n_bootstrap=30, min_frequency=0.0, random_state=0)
    seen = result.frequencies > 0
    assert not is_acyclic(seen)
    assert is_acyclic(result.adjacency)
    left_out = seen & (result.adjacency == 0)
    for cause, effect in np.argwhere(left_out):  # each of them would close a cycle
        with_edge = result.adjacency.copy()
        with_edge[cause, effect] = 1.0
        assert not is_acyclic(with_edge)
    assert np.all(result.ancestor_frequencies >= result.frequencies)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_do_not_matter(strong, backend):
    model = CoLiDE("non_equal", solver="prox", n_init=2)
    serial = edge_stability(model, strong.X, n_bootstrap=5, random_state=3)
    with parallel_config(backend):
        parallel = edge_stability(model, strong.X, n_bootstrap=5, random_state=3, n_jobs=2)
    for name in ("frequencies", "weight_quantiles", "ancestor_frequencies", "adjacency"):
        np.testing.assert_array_equal(parallel[name], serial[name])
    other = edge_stability(model, strong.X, n_bootstrap=5, random_state=4)
    assert np.any(other.weight_quantiles[0] != serial.weight_quantiles[0])


@pytest.mark.parametrize("estimator", [Counter, RowCounter])
def test_replicates_are_drawn_with_replacement(estimator):
    X = np.column_stack([np.arange(200.0), np.ones(200)])
    for fraction, size in ((1.0, 200), (0.5, 100), (1e-9, 2)):
        result = edge_stability(
            estimator("rows"), X, n_bootstrap=3, sample_fraction=fraction, random_state=0
        )
        np.testing.assert_array_equal(result.weight_quantiles[:, 0, 1], size)
    distinct = edge_stability(estimator("distinct"), X, n_bootstrap=50, random_state=0)
    assert abs(distinct.adjacency[0, 1] / 200 - (1 - np.exp(-1))) < 0.03
    sums = edge_stability(estimator("sum"), X, n_bootstrap=200, random_state=0)
    low, median, high = sums.weight_quantiles[:, 0, 1]
    spread = np.arange(200.0).std() * np.sqrt(200)  # of a bootstrapped sum
    assert abs(median - np.arange(200.0).sum()) < 0.3 * spread
    np.testing.assert_allclose((high - low) / spread, 2 * 1.645, rtol=0.25)


def test_weights_and_repeated_rows_give_the_same_draws():
    X = np.column_stack([np.arange(30.0), np.ones(30)])
    by_weights, by_rows = (
        edge_stability(estimator("sum"), X, n_bootstrap=4, random_state=1)
        for estimator in (Counter, RowCounter)
    )
    np.testing.assert_allclose(by_weights.weight_quantiles, by_rows.weight_quantiles)


def test_unseeded_estimators_repeat_with_the_seed(strong):
    model = SortRegress("random")
    first, second = (
        edge_stability(model, strong.X, n_bootstrap=8, random_state=0) for _ in range(2)
    )
    np.testing.assert_array_equal(first.frequencies, second.frequencies)
    assert np.any((first.frequencies > 0) & (first.frequencies < 1))
    assert model.random_state is None
    assert not hasattr(model, "adjacency_")


@pytest.mark.parametrize(
    "estimator",
    [CoLiDE(solver="prox"), CoLiDECV(alphas=[0.1, 0.05], cv=2), SortRegress()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_names_are_kept(estimator, strong):
    frame = pd.DataFrame(strong.X, columns=list("abcdef"))
    result = edge_stability(estimator, frame, n_bootstrap=3, random_state=0)
    plain = edge_stability(estimator, strong.X, n_bootstrap=3, random_state=0)
    np.testing.assert_array_equal(result.frequencies, plain.frequencies)
    assert result.feature_names == list("abcdef")
    assert plain.feature_names is None
    assert len(plain.edges) > 3
    for named, (cause, effect, frequency, median) in zip(result.edges, plain.edges, strict=True):
        assert named[:3] == ("abcdef"[cause], "abcdef"[effect], frequency)
        np.testing.assert_allclose(named[3], median, rtol=1e-6)


def test_prior_knowledge_by_names(strong):
    frame = pd.DataFrame(strong.X, columns=list("abcdef"))
    cause, effect = np.argwhere(strong.adjacency)[0]
    pair = ("abcdef"[cause], "abcdef"[effect])
    model = CoLiDE(solver="prox", forbidden_edges=[pair])
    result = edge_stability(model, frame, n_bootstrap=3, random_state=0)
    assert result.frequencies[cause, effect] == 0


def test_unfinished_replicates_are_counted_in_one_warning(strong):
    model = CoLiDE("non_equal", solver="prox", warm_iter=1, max_iter=1)
    with pytest.warns(ConvergenceWarning, match="3 of the 3 fits") as record:
        result = edge_stability(model, strong.X, n_bootstrap=3, random_state=0)
    assert len(record) == 1
    assert result.n_unfinished == 3


def test_standardised_data_draw_one_warning(strong):
    X = (strong.X - strong.X.mean(axis=0)) / strong.X.std(axis=0)
    for model in (CoLiDE(solver="prox"), SortRegress()):
        with pytest.warns(StandardizedDataWarning) as record:
            edge_stability(model, X, n_bootstrap=2, random_state=0)
        assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edge_stability(SortRegress("r2"), X, n_bootstrap=2, random_state=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_bootstrap": 0}, ValueError, "n_bootstrap must be at least 1"),
        ({"n_bootstrap": 2.0}, TypeError, "n_bootstrap must be an integer"),
        ({"sample_fraction": 0.0}, ValueError, "sample_fraction must be in"),
        ({"sample_fraction": 1.5}, ValueError, "sample_fraction must be in"),
        ({"sample_fraction": np.nan}, ValueError, "sample_fraction must be in"),
        ({"sample_fraction": "all"}, TypeError, "sample_fraction"),
        ({"quantiles": (0.5, 1.1)}, ValueError, "quantiles must be"),
        ({"quantiles": ()}, ValueError, "quantiles must be"),
        ({"min_frequency": 1.0}, ValueError, "min_frequency must be in"),
        ({"min_frequency": -0.1}, ValueError, "min_frequency must be in"),
        ({"random_state": "seed"}, TypeError, "random_state"),
    ],
)
def test_bad_arguments_are_named(strong, arguments, error, message):
    with pytest.raises(error, match=message):
        edge_stability(SortRegress(), strong.X, **arguments)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (NoGraph(), TypeError, "NoGraph has no adjacency_ after fit"),
        (object(), TypeError, "estimator must have a method fit"),
        (Script(), ValueError, r"adjacency_ of Script.*shape \(3, 3\)"),
        (Cycle(), ValueError, "replicate 0.*cycle 0 -> 1 -> 0"),
        (CoLiDE(alpha=-1.0), ValueError, "alpha"),
    ],
)
def test_bad_estimators_are_named(estimator, error, message):
    X = np.zeros((5, 2))
    X[:, 1] = range(5)
    with pytest.raises(error, match=message):
        edge_stability(estimator, X + X[:, ::-1] ** 2, n_bootstrap=1)


def test_bad_data_are_named(strong):
    X = strong.X.copy()
    X[:, 4] = 1.0
    with pytest.raises(ValueError, match=r"^The columns \[4\] of X are constant"):
        edge_stability(SortRegress(), X)
    X[:, 4] = 0.0
    X[0, 4] = 1.0  # constant in more than a third of the replicates
    with pytest.raises(ValueError, match=r"replicate \d+.*\[4\] of X are constant"):
        edge_stability(SortRegress(), X, n_bootstrap=30, random_state=0)
    X[0, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        edge_stability(SortRegress(), X)
    with pytest.raises(ValueError, match="2 is required"):
        edge_stability(SortRegress(), strong.X[:, :1])
