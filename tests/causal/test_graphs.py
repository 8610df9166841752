"""Orders, cycles and the cut to an acyclic graph: oracles, brute force, properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sparseopt.causal._graphs import descendants, is_acyclic, threshold_to_dag, topological_order


def random_weights(d, density, seed):
    """Return weights with ties, a nonzero diagonal and, mostly, cycles."""
    rng = np.random.default_rng(seed)
    W = rng.integers(-9, 10, (d, d)) / 8.0
    return np.where(rng.random((d, d)) < density, W, 0.0)


def reachable(graph):
    """Return the pairs that a path of at least one edge joins."""
    paths = step = (graph != 0).astype(int)
    for _ in range(len(graph)):
        paths = ((paths + paths @ step) > 0).astype(int)
    return paths > 0


def delete_one_by_one(W, threshold, required):
    """Cut to an acyclic graph as the published program does, one edge at a time.

    What contradicts the required edges is deleted first.
    """
    W = np.where((np.abs(W) > threshold) | required, W, 0.0)
    np.fill_diagonal(W, 0.0)
    W[reachable(required).T] = 0.0
    i, j = np.nonzero((W != 0) & ~required)
    edges = sorted(zip(np.abs(W[i, j]), i, j, strict=True))
    for _, row, column in edges:
        if not reachable((W != 0) | required).diagonal().any():
            break
        W[row, column] = 0.0
    return W


weights = st.builds(random_weights, st.integers(1, 8), st.floats(0.0, 1.0), st.integers(0, 10_000))


@given(weights)
@settings(deadline=None, max_examples=60)
def test_order_and_cycles_agree_with_reachability(W):
    acyclic = not reachable(W).diagonal().any()
    assert is_acyclic(W) == acyclic
    if acyclic:
        order = topological_order(W)
        assert sorted(order) == list(range(len(W)))
        place = np.argsort(order)
        rows, columns = np.nonzero(W)
        assert np.all(place[rows] < place[columns])
        np.testing.assert_array_equal(descendants(W != 0), reachable(W))
    else:
        with pytest.raises(ValueError, match="cycle") as error:
            topological_order(W)
        named = str(error.value).split("cycle ")[1].rstrip(".").split(" -> ")
        cycle = [int(node) for node in named]
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(W[i, j] != 0 for i, j in itertools.pairwise(cycle))


def test_order_prefers_small_indices():
    W = np.zeros((4, 4))
    W[3, 0] = 1.0
    np.testing.assert_array_equal(topological_order(W), [1, 2, 3, 0])
    np.testing.assert_array_equal(topological_order(np.zeros((3, 3))), [0, 1, 2])


@given(weights, st.sampled_from([0.0, 0.125, 0.3]), st.integers(0, 10_000))
@settings(deadline=None, max_examples=80)
def test_cut_equals_deletion_one_by_one(W, threshold, seed):
    d = len(W)
    rng = np.random.default_rng(seed)
    order = rng.permutation(d)
    required = np.triu(rng.random((d, d)) < 0.3, 1)[np.ix_(order, order)]
    before = W.copy()
    for mask in (None, required):
        cut = threshold_to_dag(W, threshold, required=mask)
        expected = delete_one_by_one(W, threshold, np.zeros((d, d), bool) if mask is None else mask)
        np.testing.assert_array_equal(cut, expected)
        assert is_acyclic(cut)
    np.testing.assert_array_equal(W, before)


def test_cut_of_the_published_rule():
    W = np.array([[0.9, 0.5, 0.3], [0.4, 0.0, 0.6], [0.7, 0.0, 0.0]])
    # 0.3 goes by the threshold; 0.4, 0.5 break the cycles 0 -> 1 -> 0 and 0 -> 1 -> 2 -> 0.
    np.testing.assert_array_equal(threshold_to_dag(W), [[0, 0, 0], [0, 0, 0.6], [0.7, 0, 0]])
    # The required edge stays although it is the smallest; 2 -> 0 contradicts it. Then 0.4 goes.
    kept = threshold_to_dag(W, required=[(0, 2)])
    np.testing.assert_array_equal(kept, [[0, 0.5, 0.3], [0, 0, 0.6], [0, 0, 0]])
    assert threshold_to_dag(W.astype(np.float32)).dtype == np.float32
    assert threshold_to_dag((W > 0).astype(int), 0.5).dtype == np.float64


def test_ties_are_broken_by_row_and_column():
    W = np.ones((3, 3))
    # Deleted: (0,1), (0,2), (1,0); what is left of (1,2), (2,0), (2,1) still has 1 -> 2 -> 1.
    np.testing.assert_array_equal(threshold_to_dag(W), [[0, 0, 0], [0, 0, 0], [1, 1, 0]])


def test_large_graphs_are_cut():
    W = np.random.default_rng(0).standard_normal((300, 300))
    cut = threshold_to_dag(W, 0.0)
    assert is_acyclic(cut)
    smallest = np.min(np.abs(cut[cut != 0]))
    deleted = (cut == 0) & ~np.eye(300, dtype=bool)
    largest = np.argmax(np.where(deleted, np.abs(W), 0.0))
    assert abs(W.flat[largest]) < smallest
    cut.flat[largest] = W.flat[largest]
    assert not is_acyclic(cut)


@pytest.mark.parametrize(
    "required", [[(0, 1), (1, 2), (2, 0)], [(1, 1)], np.ones((3, 3), dtype=bool)]
)
def test_required_edges_that_form_a_cycle(required):
    with pytest.raises(ValueError, match="required edges form the cycle"):
        threshold_to_dag(np.zeros((3, 3)), required=required)


def test_required_pairs_out_of_range():
    for required in ([(0, 3)], [(-1, 0)], [(0, 1, 2)], np.ones((2, 2), dtype=bool)):
        with pytest.raises(ValueError, match="required"):
            threshold_to_dag(np.zeros((3, 3)), required=required)


@pytest.mark.parametrize("function", [topological_order, is_acyclic, threshold_to_dag])
def test_adjacency_is_checked(function):
    with pytest.raises(ValueError, match="adjacency must be a square matrix"):
        function(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="adjacency must be finite"):
        function(np.array([[0.0, np.nan], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="adjacency must be a square matrix"):
        function(np.zeros((0, 0)))
    with pytest.raises(ValueError, match="real"):
        function(np.zeros((2, 2)) * 1j)
    with pytest.raises(ValueError, match="real"):
        function([["a", "b"], ["c", "d"]])


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.coo_matrix, np.ndarray.tolist])
def test_adjacency_may_be_any_matrix(make):
    W = np.array([[0.0, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(topological_order(make(W)), [0, 1])
    np.testing.assert_array_equal(threshold_to_dag(make(W)), W)


@pytest.mark.parametrize("threshold", [-0.1, np.nan, np.inf])
def test_threshold_is_checked(threshold):
    with pytest.raises(ValueError, match="threshold must be finite and >= 0"):
        threshold_to_dag(np.eye(2), threshold)
