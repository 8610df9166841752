"""Forests, colourings and exact solves on graphs: golden data, brute force, properties."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sparseopt.optimize import color_graph, forest_solve, greedy_forest, tree_partition
from sparseopt.optimize._graphs import check_symmetric

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "bcd" / "graphs.npz")


def golden_system(case):
    """Return A over the unlabelled nodes, and b."""
    y = GOLDEN[f"{case}_y"]
    i, j = GOLDEN[f"{case}_W_i"].astype(int), GOLDEN[f"{case}_W_j"].astype(int)
    weight = 1e5 if case == "D" else 1.0
    W = sparse.coo_array((np.full(i.size, weight), (i, j)), shape=(y.size, y.size))
    W = (W + W.T).tocsr()
    L = (sparse.diags_array(W.sum(axis=1)) - W).tocsr()
    free = np.flatnonzero(y == 0)
    return L[free][:, free], GOLDEN[f"{case}_b"]


def random_graph(n, n_edges, seed, *, forest=False):
    """Return a symmetric 0/1 adjacency matrix; with ``forest`` no edge closes a cycle."""
    rng = np.random.default_rng(seed)
    W = np.zeros((n, n))
    for _ in range(n_edges if n > 1 else 0):
        i, j = rng.choice(n, 2, replace=False)
        if not (forest and connected_components(W)[1][i] == connected_components(W)[1][j]):
            W[i, j] = W[j, i] = 1
    return W


def is_forest(W):
    n_edges = np.count_nonzero(np.triu(W, 1))
    return n_edges == len(W) - connected_components(W)[0]


def positive_definite(W, seed):
    """Return a well conditioned matrix with the graph ``W``."""
    rng = np.random.default_rng(seed)
    S = np.triu(W * rng.standard_normal(W.shape), 1)
    S += S.T
    return S + np.diag(np.abs(S).sum(axis=1) + rng.uniform(0.5, 2, len(W)))


graphs = st.builds(
    random_graph, st.integers(0, 12), st.integers(0, 25), st.integers(0, 10_000)
)  # empty, single nodes, disconnected and dense ones alike


@pytest.mark.parametrize("case", ["D", "E"])
def test_golden_forest_and_step(case):
    A, b = golden_system(case)
    nodes = greedy_forest(np.abs(b), A)
    np.testing.assert_array_equal(nodes, GOLDEN[f"{case}_forest"])
    step = forest_solve(A, b, nodes)
    np.testing.assert_allclose(step, GOLDEN[f"{case}_forest_step"], rtol=1e-8, atol=1e-14)


def test_golden_partitions_are_as_small():
    A, _ = golden_system("E")
    order = np.argsort(A.diagonal(), kind="stable")[::-1]
    assert np.bincount(color_graph(A, order=order)).tolist() == [35, 34, 35, 36, 35, 34]
    assert np.bincount(tree_partition(A, order=order)).tolist() == [87, 91, 31]


@settings(deadline=None, max_examples=60)
@given(graphs, st.integers(0, 3))
def test_greedy_forest_is_the_greedy_choice(W, n_levels):
    rng = np.random.default_rng(len(W))
    scores = rng.integers(0, 10**n_levels, len(W))  # with ties
    nodes = greedy_forest(scores, sparse.csr_array(W))
    expected = []
    for node in sorted(range(len(W)), key=lambda i: (-scores[i], i)):
        trial = [*expected, node]
        if is_forest(W[np.ix_(trial, trial)]):
            expected = trial
    assert nodes.tolist() == sorted(expected)
    for left_out in set(range(len(W))) - set(nodes.tolist()):
        trial = [*nodes, left_out]
        assert not is_forest(W[np.ix_(trial, trial)])


@settings(deadline=None, max_examples=60)
@given(graphs, st.sampled_from(["degree", "natural"]))
def test_partitions_cover_and_are_valid(W, order):
    W = W + np.diag(np.arange(len(W)))  # a diagonal is no edge
    colors = color_graph(W, order=order)
    for i, j in np.argwhere(np.triu(W, 1)):
        assert colors[i] != colors[j]
    degrees = np.count_nonzero(W - np.diag(np.diag(W)), axis=1)
    assert np.max(colors, initial=-1) <= np.max(degrees, initial=0)
    forests = tree_partition(sparse.csc_array(W), order=order)
    assert colors.shape == forests.shape == (len(W),)
    for number in range(np.max(forests, initial=-1) + 1):
        inside = np.flatnonzero(forests == number)
        assert inside.size
        assert is_forest(W[np.ix_(inside, inside)])
    assert np.max(forests, initial=-1) <= np.max(degrees, initial=0) // 2


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 15), st.integers(0, 40), st.integers(0, 10_000), st.booleans())
def test_forest_solve_equals_a_dense_solve(n, n_edges, seed, several):
    rng = np.random.default_rng(seed)
    A = positive_definite(random_graph(n, n_edges, seed, forest=True), seed)
    b = rng.standard_normal((n, 3) if several else n)
    np.testing.assert_allclose(forest_solve(A, b), np.linalg.solve(A, b), rtol=1e-10, atol=1e-13)
    part = rng.permutation(n)[: rng.integers(1, n + 1)]
    expected = np.linalg.solve(A[np.ix_(part, part)], b[part])
    actual = forest_solve(sparse.csr_array(A), b, part)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-13)


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 12), st.integers(3, 30), st.integers(0, 10_000))
def test_forest_solve_refuses_every_cycle(n, n_edges, seed):
    W = random_graph(n, n_edges, seed)
    A = positive_definite(W, seed)
    if is_forest(W):
        np.testing.assert_allclose(A @ forest_solve(A, np.ones(n)), 1, rtol=1e-10)
    else:
        with pytest.raises(ValueError, match="forest"):
            forest_solve(A, np.ones(n))


def test_a_long_path_is_solved_in_linear_time_and_memory():
    n = 200_000
    A = sparse.diags_array(
        [np.full(n - 1, -1.0), np.full(n, 2.5), np.full(n - 1, -1.0)], offsets=[-1, 0, 1]
    )
    b = np.random.default_rng(0).standard_normal(n)
    np.testing.assert_allclose(A @ forest_solve(A, b), b, atol=1e-12)


def test_float32_stays_and_arguments_are_kept():
    A, b = golden_system("E")
    A = A.astype(np.float32)
    nodes = greedy_forest(np.abs(b), A)
    before = A.copy()
    x = forest_solve(A, b.astype(np.float32), nodes)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, GOLDEN["E_forest_step"], rtol=1e-4, atol=1e-5)
    assert (A != before).nnz == 0


@pytest.mark.parametrize(
    ("dtype", "accepted", "refused"), [(np.float64, 1e-12, 1e-8), (np.float32, 2e-6, 1e-4)]
)
def test_graphs_may_be_asymmetric_by_rounding_errors_only(dtype, accepted, refused):
    graph = np.array([[0.0, 3.0], [3.0, 0.0]])
    for make in (np.asarray, sparse.csr_array):
        graph[0, 1] = 3 * (1 + accepted)
        assert color_graph(make(graph.astype(dtype))).tolist() == [0, 1]
        graph[0, 1] = 3 * (1 + refused)
        with pytest.raises(ValueError, match="symmetric"):
            color_graph(make(graph.astype(dtype)))


def test_nodes_with_many_neighbours_come_first_and_loops_do_not_count():
    path = np.eye(4, k=1) + np.eye(4, k=-1)
    np.fill_diagonal(path, [1, 0, 0, 1])
    assert color_graph(path).tolist() == [1, 0, 1, 0]  # in the order 1, 2, 0, 3
    assert color_graph(path, order="natural").tolist() == [0, 1, 0, 1]


def test_stored_zeros_and_duplicates_are_no_edges():
    # Rows 0, 1, 2 in raw CSR form: the edges 0-1 and 1-2, and 0-2 with the values 1 and -1.
    values = np.array([1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
    columns = np.array([1, 2, 2, 0, 2, 1, 0, 0])
    path = sparse.csr_array((values, columns, [0, 3, 5, 8]), shape=(3, 3))
    assert greedy_forest(np.ones(3), path).tolist() == [0, 1, 2]
    assert path.nnz == 8  # the argument stays as it was


def test_empty_block():
    assert forest_solve(np.eye(3), np.ones(3), []).shape == (0,)
    assert forest_solve(np.eye(3), np.ones((3, 2)), []).shape == (0, 2)


@pytest.mark.parametrize("function", [color_graph, tree_partition])
@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (np.ones((2, 3)), "square"),
        (np.ones(3), "square"),
        (np.array([[0.0, 1.0], [0.0, 0.0]]), "symmetric"),
        (sparse.csr_array([[0.0, 1.0], [2.0, 0.0]]), "symmetric"),
        (np.roll(np.eye(3), 1, axis=1), "symmetric"),  # as many entries in rows as in columns
        (np.array([[0.0, np.nan], [np.nan, 0.0]]), "finite"),
        (np.eye(2) * 1j, "real"),
        (np.array([["a"]]), "real"),
    ],
)
def test_bad_graphs_are_refused(function, graph, message):
    with pytest.raises(ValueError, match=message):
        function(graph)
    with pytest.raises(ValueError, match=message):
        greedy_forest(np.ones(2), graph)
    with pytest.raises(ValueError, match=message):
        forest_solve(graph, np.ones(2))


@pytest.mark.parametrize("order", ["size", [0, 0, 1], [0, 1], [0, 1, 3]])
def test_bad_orders_are_refused(order):
    with pytest.raises(ValueError, match="order"):
        color_graph(np.eye(3), order=order)


@pytest.mark.parametrize(
    ("b", "indices", "message"),
    [
        (np.ones(2), None, "rows"),
        (np.ones((3, 1, 1)), None, "rows"),
        (np.array([1, np.inf, 1]), None, "finite"),
        (np.ones(3) * 1j, None, "real"),
        (np.ones(3), [0, 3], "between"),
        (np.ones(3), [-1], "between"),
        (np.ones(3), [1, 1], "repeat"),
        (np.ones(3), [0.5], "integers"),
    ],
)
def test_bad_right_hand_sides_and_indices_are_refused(b, indices, message):
    with pytest.raises(ValueError, match=message):
        forest_solve(np.eye(3), b, indices)


@pytest.mark.parametrize("scores", [[1.0, 2.0], [1.0, np.nan, 2.0], [[1.0, 2.0, 3.0]]])
def test_bad_scores_are_refused(scores):
    with pytest.raises(ValueError, match="scores"):
        greedy_forest(scores, np.eye(3))


def test_a_missing_diagonal_entry_is_zero(monkeypatch):
    # Whatever the uninitialised work space held before.
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, 7, dtype))
    with pytest.raises(ValueError, match="positive definite"):
        forest_solve(np.array([[0.0, 1.0], [1.0, 5.0]]), np.ones(2))


@pytest.mark.parametrize("diagonal", [[1.0, 1.0], [0.0, 5.0], [5.0, 0.0], [-1.0, -9.0]])
def test_indefinite_blocks_are_refused(diagonal):
    with pytest.raises(ValueError, match="positive definite"):
        forest_solve(np.diag(diagonal) + 2 * (1 - np.eye(2)), np.ones(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_symmetry_is_measured(dtype):
    rng = np.random.default_rng(0)
    W = sparse.random_array((50, 50), density=0.1, rng=rng).toarray()
    W = (W + W.T).astype(dtype)
    assert check_symmetric(W).dtype == dtype
    i, j = np.argwhere(W)[7]
    for change, message in ((0.01, "differ by 0.01"), (-W[i, j], "symmetric")):
        V = W.copy()
        V[i, j] += change
        with pytest.raises(ValueError, match=message):
            check_symmetric(V)
    V = W.copy()
    V[0, 1] = V[1, 0] = 0
    V[0, 1] = 1e-12  # an entry on one side only, within the tolerance
    rows = check_symmetric(V)
    assert (rows != rows.T).nnz == 0
    np.testing.assert_allclose(rows.toarray(), V, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_singular_trees_are_refused_whatever_their_rounding(dtype):
    # Laplacians of weighted trees: the last pivot is zero, but for rounding errors.
    rng = np.random.default_rng(0)
    for n in [*range(2, 60), 3000]:
        parent = rng.integers(np.maximum(np.arange(1, n) - 3, 0), np.arange(1, n))
        W = sparse.coo_array((rng.uniform(0.1, 2, n - 1), (np.arange(1, n), parent)), shape=(n, n))
        W = W + W.T
        laplacian = (sparse.diags_array(W.sum(axis=1)) - W).astype(dtype)
        with pytest.raises(ValueError, match="positive definite"):
            forest_solve(laplacian, rng.standard_normal(n))
        shift = 1e-8 if dtype == np.float64 else 1e-2
        shifted = laplacian + shift * sparse.eye_array(n, dtype=dtype)
        x = forest_solve(shifted, np.ones(n))
        np.testing.assert_allclose(x * shift, 1, rtol=2e-3)


def test_badly_scaled_trees_are_solved():
    # A chain whose links weaken by a factor of a thousand each, held at the strong end.
    weights = 1e-3 ** np.arange(8.0)
    A = (
        np.diag(weights + np.r_[weights[1:], 0])
        - np.diag(weights[1:], 1)
        - np.diag(weights[1:], -1)
    )
    np.testing.assert_allclose(forest_solve(A, np.r_[1.0, np.zeros(7)]), 1, rtol=1e-12)


def test_right_hand_sides_outside_the_block_are_not_looked_at():
    x = forest_solve(2 * np.eye(3), [1.0, np.nan, 3.0], [2, 0])
    np.testing.assert_array_equal(x, [1.5, 0.5])


def test_complex_scores_are_refused():
    with pytest.raises(ValueError, match="scores must be real"):
        greedy_forest(np.ones(2) * 1j, np.eye(2))


@pytest.mark.parametrize(
    "call",
    [
        lambda n: color_graph(sparse.eye_array(n), order=[0] * n),
        lambda n: forest_solve(sparse.eye_array(n), np.ones(n), [0] * n),
    ],
)
def test_messages_do_not_print_long_lists(call):
    with pytest.raises(ValueError, match=r"order|repeat") as caught:
        call(5000)
    assert len(str(caught.value)) < 200
