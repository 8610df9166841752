"""Distances between graphs: golden pairs, brute force, and cases known by hand."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseopt.causal._graphs import descendants, is_acyclic
from sparseopt.causal._metrics import dag_metrics, dag_to_cpdag, shd, shd_cpdag, sid

DATA = Path(__file__).parents[1] / "data" / "causal"
GOLDEN = np.load(DATA / "metrics.npz")
PAIRS = json.loads((DATA / "metrics.json").read_text())
METRICS = [shd, shd_cpdag, sid, dag_metrics]


def random_dag(d, density, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(d)
    return np.triu(rng.random((d, d)) < density, 1)[np.ix_(order, order)].astype(int)


dags = st.builds(random_dag, st.just(5), st.floats(0.0, 1.0), st.integers(0, 10_000))


def colliders(graph):
    """Return the triples i -> k <- j, i < j, whose ends are not adjacent."""
    d = len(graph)
    return {
        (i, k, j)
        for k in range(d)
        for i, j in itertools.combinations(np.flatnonzero(graph[:, k]).tolist(), 2)
        if not (graph[i, j] or graph[j, i])
    }


def cpdag_by_enumeration(graph):
    """Return the union of all acyclic orientations with the same skeleton and colliders."""
    edges = np.argwhere(graph)
    union = np.zeros_like(graph)
    for flips in itertools.product([False, True], repeat=len(edges)):
        other = np.zeros_like(graph)
        for (i, j), flip in zip(edges, flips):
            other[(j, i) if flip else (i, j)] = 1
        if is_acyclic(other) and colliders(other) == colliders(graph):
            union |= other
    return union


def simple_paths(graph, path, end):
    """Yield the paths without repeated nodes from the last node of ``path`` to ``end``."""
    if path[-1] == end:
        yield path
        return
    for node in np.flatnonzero(graph[path[-1]]).tolist():
        if node not in path:
            yield from simple_paths(graph, [*path, node], end)


def sid_by_paths(true, estimate):
    """Count the pairs by the definition of Peters and Bühlmann, one path at a time."""
    below = descendants(true != 0)
    wrong = 0
    for i, j in itertools.permutations(range(len(true)), 2):
        adjustment = estimate[:, i] != 0
        if adjustment[j]:
            wrong += bool(below[i, j])
            continue
        directed = list(simple_paths(true, [i], j))
        mediators = sorted({node for path in directed for node in path[1:]})
        valid = not (adjustment & below[mediators].any(axis=0)).any()
        valid &= not adjustment[mediators].any()
        valid &= all(
            path in directed or is_blocked(true, below, path, adjustment)
            for path in simple_paths(true + true.T, [i], j)
        )
        wrong += not valid
    return wrong


def is_blocked(graph, below, path, given):
    for a, b, c in zip(path, path[1:], path[2:]):
        if graph[a, b] and graph[c, b]:  # a collider
            if not (given[b] or (given & below[b]).any()):
                return True
        elif given[b]:
            return True
    return False


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['i']}-{pair['kind']}")
def test_golden_pairs(pair):
    true, estimate = (GOLDEN[f"{name}_{pair['i']}"] for name in ("true", "est"))
    for name, graph in (("true", true), ("est", estimate)):
        cpdag = dag_to_cpdag(graph)
        np.testing.assert_array_equal(cpdag, GOLDEN[f"{name}_cpdag_{pair['i']}"])
    metrics = dag_metrics(true, estimate)
    assert shd(true, estimate) == metrics.shd == pair["shd"]
    assert shd_cpdag(true, estimate) == metrics.shd_cpdag == pair["shdc"]
    assert sid(true, estimate) == metrics.sid == pair["sid"]
    assert metrics.nnz == pair["nnz"]
    assert metrics.nnz_true == pair["true"]
    assert round(metrics.fdr, 4) == pair["fdr"]
    assert round(metrics.tpr, 4) == pair["tpr"]


@given(dags)
@settings(deadline=None, max_examples=40)
def test_cpdag_is_the_union_of_the_equivalent_graphs(graph):
    np.testing.assert_array_equal(dag_to_cpdag(graph), cpdag_by_enumeration(graph))


@given(dags, dags)
@settings(deadline=None, max_examples=80)
def test_sid_counts_the_invalid_adjustments(true, estimate):
    assert sid(true, estimate) == sid_by_paths(true, estimate)


@given(dags, dags, st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_properties(true, estimate, seed):
    metrics = dag_metrics(true, estimate)
    assert metrics.shd == metrics.extra + metrics.missing + metrics.reversed
    assert metrics.nnz == metrics.nnz_true + metrics.extra - metrics.missing
    assert shd(estimate, true) == metrics.shd
    assert shd_cpdag(estimate, true) == metrics.shd_cpdag
    assert sid(true, true) == shd(true, true) == shd_cpdag(true, true) == 0
    assert 0 <= metrics.sid <= 20
    # Names of nodes, weights and dtypes do not matter.
    order = np.random.default_rng(seed).permutation(5)
    permuted = np.ix_(order, order)
    weighted = (-0.3 * estimate[permuted]).astype(np.float32)
    assert dag_metrics(true[permuted] * 2.5, weighted) == metrics


def test_graphs_known_by_hand():
    chain = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    collider = np.array([[0, 1, 0], [0, 0, 0], [0, 1, 0]])
    empty = np.zeros((3, 3))
    np.testing.assert_array_equal(dag_to_cpdag([[0, 1], [0, 0]]), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(dag_to_cpdag(chain), chain + chain.T)
    np.testing.assert_array_equal(dag_to_cpdag(collider), collider)
    assert shd(chain, chain.T) == 2
    assert shd_cpdag(chain, chain.T) == 0
    assert shd(chain, empty) == shd_cpdag(chain, empty) == 2
    # The empty graph adjusts for nothing: wrong for (1, 0), (2, 1) and (2, 0).
    assert sid(chain, empty) == 3
    assert sid(empty, chain) == 0
    assert sid(chain, chain.T) == 6


def test_rates():
    true = np.array([[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    estimate = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]])
    metrics = dag_metrics(true, estimate)
    assert (metrics.extra, metrics.missing, metrics.reversed) == (1, 1, 1)
    assert (metrics.nnz, metrics.nnz_true) == (3, 3)
    assert metrics.fdr == pytest.approx(2 / 3)
    assert metrics.tpr == pytest.approx(1 / 3)
    assert metrics.fpr == pytest.approx(2 / 3)  # over the 3 pairs that are not adjacent
    assert metrics.f1 == pytest.approx(1 / 3)
    nothing = dag_metrics(np.zeros((2, 2)), np.zeros((2, 2)))
    assert (nothing.fdr, nothing.tpr, nothing.fpr, nothing.f1) == (0.0, 1.0, 0.0, 1.0)
    full = np.triu(np.ones((3, 3)), 1)
    assert dag_metrics(full, full.T).fpr == 3.0  # over one, since every pair is adjacent
    assert dag_metrics(full, full).fpr == 0.0


def test_large_graphs():
    true, estimate = random_dag(200, 0.04, 0), random_dag(200, 0.04, 1)
    differ = true != estimate
    assert shd(true, estimate) == np.count_nonzero(np.triu(differ | differ.T))
    assert sid(true, true) == 0
    assert sid(true, np.zeros_like(true)) == pairs_with_a_common_cause(true)


def pairs_with_a_common_cause(graph):
    """Count the (i, j) that a path joins which goes up from i and, perhaps, down again."""
    count = 0
    for i in range(len(graph)):
        without = graph != 0
        without[i] = False  # no path may begin downwards, or come back
        below = descendants(without) | np.eye(len(graph), dtype=bool)
        count += np.count_nonzero(below[below[:, i]].any(axis=0)) - 1
    return count


@pytest.mark.parametrize("metric", METRICS)
def test_inputs_are_checked(metric):
    dag, cycle = np.array([[0, 1], [0, 0]]), np.array([[0, 1], [1, 0]])
    bad = np.array([[0, np.nan], [0, 0]])
    for position, name in enumerate(("true", "estimate")):
        for matrix, message in (
            (np.zeros((2, 3)), f"{name} must be a square matrix"),
            (bad, f"{name} must be finite"),
            (cycle, f"{name} must be acyclic, got the cycle 0 -> 1 -> 0"),
            (np.eye(2), f"{name} must be acyclic, got the cycle 0 -> 0"),
        ):
            pair = [dag, dag]
            pair[position] = matrix
            with pytest.raises(ValueError, match=message):
                metric(*pair)
    with pytest.raises(ValueError, match="same shape"):
        metric(np.zeros((2, 2)), np.zeros((3, 3)))


def test_cpdag_input_is_checked():
    with pytest.raises(ValueError, match="adjacency must be acyclic"):
        dag_to_cpdag([[0, 1], [1, 0]])
