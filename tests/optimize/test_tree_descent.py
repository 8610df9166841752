"""Tree block descent: golden curves, the published lattice, exact steps, bad input."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_lattice_labels, make_two_moons_graph
from sparseopt.optimize import GraphQuadratic, tree_block_descent
from sparseopt.optimize._tree_descent import REFRESH

DATA = Path(__file__).parents[1] / "data" / "bcd"
GOLDEN = np.load(DATA / "graphs.npz")
MINIMUM = {"D": -46672161.06479742, "E": -103.37242962951865}
RULES = ["greedy-tree", "random-tree", "tree-partition", "coloring", "general"]


def labelled_graph(case):
    """Return the golden graph and its values, by the generator that it was made with."""
    if case == "D":
        return make_lattice_labels(12, 9, n_labelled=4, random_state=17)
    graph, y, _, _ = make_two_moons_graph(220, n_labelled=11, random_state=18)
    return graph, np.where(y == -1, np.nan, y)


def golden_problem(case):
    graph, values = labelled_graph(case)
    problem = GraphQuadratic.from_labels(graph, values)
    np.testing.assert_allclose(problem.b, GOLDEN[f"{case}_b"], rtol=1e-12)
    return problem, np.flatnonzero(np.isnan(values))


def red_black(node, n_rows):
    return (node % n_rows + node // n_rows) % 2


def combs(node, n_rows):
    row, column = node % n_rows, node // n_rows
    return np.where((row == 0) | ((column % 2 == 0) & (row != n_rows - 1)), 0, 1)


def lattice_of_the_paper():
    """Return data set D of the paper and its minimum."""
    graph, values = make_lattice_labels(random_state=1)
    free = np.flatnonzero(np.isnan(values))
    return GraphQuadratic.from_labels(graph, values), free, -1045999575.2270696


def gaps(problem, rule, minimum, max_iter):
    with pytest.warns(ConvergenceWarning):
        result = tree_block_descent(problem, rule=rule, max_iter=max_iter, tol=0, random_state=0)
    return result.history["objective"] - minimum


@pytest.mark.parametrize(
    ("case", "name", "rule"),
    [
        ("D", "RBlat", red_black),
        ("D", "TPlat", combs),
        ("E", "RB", "coloring"),
        ("E", "TP", "tree-partition"),
        ("E", "General", "general"),
        ("E", "Greedy", "greedy-tree"),
    ],
)
def test_golden_curves(case, name, rule):
    problem, free = golden_problem(case)
    if callable(rule):
        rule = rule(free, 12)
    actual = gaps(problem, rule, MINIMUM[case], 60)
    expected = GOLDEN[f"{case}_{name}_gap"]
    assert np.all(expected > 1e-6 * abs(MINIMUM[case]))
    np.testing.assert_allclose(actual, expected, rtol=0.01)


@pytest.mark.parametrize(("name", "rule", "n"), [("General", "general", 10), ("Greedy", None, 2)])
def test_golden_curves_with_ties(name, rule, n):
    # Many scores on the lattice tie in exact arithmetic, so that rounding decides: curves
    # agree until then, and must not be worse afterwards.
    problem, _ = golden_problem("D")
    actual = gaps(problem, rule or "greedy-tree", MINIMUM["D"], 60)
    np.testing.assert_allclose(actual[:n], GOLDEN[f"D_{name}_gap"][:n], rtol=1e-9)
    assert np.all(actual < 1.05 * GOLDEN[f"D_{name}_gap"])


def test_the_lattice_of_the_paper():
    problem, free, minimum = lattice_of_the_paper()
    x = spsolve(problem.A.tocsc(), problem.b)
    assert problem.value(x) == pytest.approx(minimum, rel=1e-14)
    # f - f* after 500 steps, read off the paper's figure: within a factor of two.
    published = {"random-tree": 0.11, "general": 5.7e7}
    for rule, gap in published.items():
        assert gap / 2 < gaps(problem, rule, minimum, 500)[-1] < 2 * gap
    assert 17 / 2 < gaps(problem, red_black(free, 50), minimum, 500)[-1] < 2 * 17
    assert 2e-5 / 2 < gaps(problem, combs(free, 50), minimum, 500)[-1] < 2 * 2e-5
    assert gaps(problem, "greedy-tree", minimum, 500)[-1] < 9.8e-6


@pytest.mark.parametrize("case", ["D", "E"])
def test_golden_solutions(case):
    problem, _ = golden_problem(case)
    result = tree_block_descent(problem, tol=1e-11)
    np.testing.assert_allclose(result.x, GOLDEN[f"{case}_xstar"], rtol=1e-8)
    assert result.fun == pytest.approx(MINIMUM[case], rel=1e-12)


def shifted_problem(n_columns=None):
    """Return a well conditioned problem, since small blocks need many steps otherwise."""
    problem, _ = golden_problem("E")
    A = problem.A + sparse.eye_array(problem.b.size)
    if n_columns is None:
        return GraphQuadratic(A, problem.b)
    return GraphQuadratic(A, np.random.default_rng(0).standard_normal((len(problem.b), n_columns)))


@pytest.mark.parametrize("selection", ["gs", "gsd"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_descends_to_the_solution(rule, selection):
    problem = shifted_problem()
    result = tree_block_descent(problem, rule=rule, selection=selection, tol=1e-11, random_state=0)
    np.testing.assert_allclose(result.x, spsolve(problem.A.tocsc(), problem.b), rtol=1e-8)
    objective = result.history["objective"]
    assert np.all(np.diff(objective) <= 1e-10 * abs(objective[-1]))
    residual = np.linalg.norm(problem.gradient(result.x)) / np.linalg.norm(problem.b)
    assert residual == pytest.approx(result.relative_residual)
    assert result.relative_residual <= 1e-11


def test_a_step_makes_the_promised_progress():
    problem, _ = golden_problem("D")
    nodes = GOLDEN["D_forest"].astype(int)
    g = problem.gradient(np.zeros(problem.b.size))[nodes]
    promised = 0.5 * g @ np.linalg.solve(problem.A[nodes][:, nodes].toarray(), g)
    with pytest.warns(ConvergenceWarning):
        result = tree_block_descent(problem, max_iter=1)
    assert -result.fun == pytest.approx(promised, rel=1e-10)
    np.testing.assert_allclose(result.x[nodes], GOLDEN["D_forest_step"], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_columns_share_blocks(rule):
    problem = shifted_problem(n_columns=3)
    result = tree_block_descent(problem, rule=rule, tol=1e-11, random_state=0)
    expected = spsolve(problem.A.tocsc(), problem.b)
    np.testing.assert_allclose(result.x, expected, rtol=1e-7, atol=1e-9)
    assert result.fun == pytest.approx(problem.value(result.x), rel=1e-9)


def test_columns_do_not_change_each_other_on_fixed_blocks():
    problem, _ = golden_problem("E")
    b = np.c_[problem.b, -3 * problem.b]
    kwargs = {"rule": "tree-partition", "max_iter": 30, "tol": 0}
    with pytest.warns(ConvergenceWarning):
        alone = tree_block_descent(problem, **kwargs).x
    with pytest.warns(ConvergenceWarning):
        together = tree_block_descent(GraphQuadratic(problem.A, b), **kwargs).x
    np.testing.assert_allclose(together, np.c_[alone, -3 * alone], rtol=1e-12)


def test_a_tree_takes_one_step_and_an_optimal_start_none():
    A = sparse.csr_array(3 * np.eye(9) - np.eye(9, k=1) - np.eye(9, k=-1))
    problem = GraphQuadratic(A, np.arange(9.0))
    result = tree_block_descent(problem, tol=1e-12)
    assert (result.nit, result.success) == (1, True)
    again = tree_block_descent(problem, x0=result.x, tol=1e-12)
    assert again.nit == 0
    np.testing.assert_array_equal(again.x, result.x)


def test_a_vanishing_column_and_an_empty_problem():
    problem, _ = golden_problem("E")
    b = np.c_[problem.b, 0 * problem.b]
    result = tree_block_descent(GraphQuadratic(problem.A, b), tol=1e-9)
    assert not result.x[:, 1].any()
    empty = tree_block_descent(GraphQuadratic(np.zeros((0, 0)), np.zeros(0)))
    assert (empty.nit, empty.x.shape) == (0, (0,))


def test_the_reported_residual_does_not_drift():
    problem, _, _ = lattice_of_the_paper()
    with pytest.warns(ConvergenceWarning):
        result = tree_block_descent(problem, rule="coloring", tol=1e-14, max_iter=3000)
    residual = np.linalg.norm(problem.gradient(result.x)) / np.linalg.norm(problem.b)
    assert residual == pytest.approx(result.relative_residual, rel=1e-4)


def test_float32_stays():
    problem, _ = golden_problem("E")
    single = GraphQuadratic(problem.A.astype(np.float32), problem.b.astype(np.float32))
    result = tree_block_descent(single, tol=1e-5, rule="tree-partition")
    assert result.x.dtype == np.float32
    np.testing.assert_allclose(result.x, GOLDEN["E_xstar"], rtol=1e-3)


@pytest.mark.parametrize("rule", ["greedy-tree", "random-tree", "tree-partition"])
def test_the_residual_of_an_unfinished_run_is_true(rule):
    # Updates alone would report 1e-12 here, since their rounding errors stay unseen.
    problem, _ = golden_problem("D")
    problem = GraphQuadratic(problem.A.astype(np.float32), problem.b)
    start = np.full(problem.b.shape, 1e4)
    with pytest.warns(ConvergenceWarning):
        result = tree_block_descent(
            problem, rule=rule, x0=start, max_iter=REFRESH - 1, tol=1e-14, random_state=0
        )
    residual = problem.A.astype(float) @ result.x - problem.b
    actual = np.linalg.norm(residual) / np.linalg.norm(problem.b)
    assert actual / 2 < result.relative_residual < 2 * actual  # itself rounded at this level


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rule", RULES)
def test_squares_may_leave_the_floating_range(dtype, rule):
    problem = shifted_problem(n_columns=2)
    scales = (1e-200, 1.0, 1e200) if dtype == np.float64 else (1e-25, 1.0, 1e25)
    results = []
    for scale in scales:
        scaled = GraphQuadratic(
            (scale * problem.A).astype(dtype),
            np.stack([scale * problem.b[:, 0], 0 * problem.b[:, 1]], 1),
        )
        results.append(tree_block_descent(scaled, rule=rule, tol=1e-4, random_state=0))
    assert all(result.success for result in results)
    expected = spsolve(problem.A.tocsc(), problem.b[:, 0])
    for result in results:
        np.testing.assert_allclose(result.x[:, 0], expected, atol=1e-3)
        assert not result.x[:, 1].any()


@pytest.mark.parametrize(("rule", "n_chosen"), [("general", 3), ("greedy-tree", 2)])
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_scores_of_the_selections(rule, n_chosen, power):
    # All nodes are neighbours: a forest holds two of them.
    rng = np.random.default_rng(0)
    diagonal, b = 10 ** rng.uniform(0, 4, 27), rng.standard_normal((27, 2))
    A = np.diag(diagonal) + 1e-3 * (1 - np.eye(27))
    selection = "gsd" if power else "gs"
    with pytest.warns(ConvergenceWarning):
        result = tree_block_descent(
            GraphQuadratic(A, b), rule=rule, selection=selection, max_iter=1
        )
    scores = np.linalg.norm(b, axis=1) / diagonal**power
    expected = np.sort(np.argsort(-scores)[:n_chosen])
    np.testing.assert_array_equal(np.flatnonzero(result.x.any(axis=1)), expected)


@pytest.mark.parametrize("rule", RULES)
def test_arguments_stay_as_they_were(rule):
    A, b, x0 = 3 * np.eye(5) - np.eye(5, k=1) - np.eye(5, k=-1), np.arange(5.0), np.ones(5)
    problem = GraphQuadratic(A, b)
    tree_block_descent(problem, rule=rule, x0=x0)
    np.testing.assert_array_equal(x0, 1)
    b[:] = 9
    np.testing.assert_array_equal(problem.b, np.arange(5.0))


def test_the_gradient_is_refreshed_now_and_then(monkeypatch):
    monkeypatch.setattr("sparseopt.optimize._tree_descent.REFRESH", 4)
    problem = shifted_problem()
    gradient, calls = problem.gradient, []
    problem.gradient = lambda x: calls.append(1) or gradient(x)
    with pytest.warns(ConvergenceWarning):
        tree_block_descent(problem, rule="general", max_iter=12, tol=1e-14)
    assert len(calls) == 1 + 3


def test_random_trees_follow_the_seed():
    problem, _ = golden_problem("E")
    runs = [
        tree_block_descent(problem, rule="random-tree", random_state=seed) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0].x, runs[1].x)
    assert np.any(runs[0].x != runs[2].x)


def test_callback_stops():
    problem, _ = golden_problem("E")

    def stop(intermediate_result):
        if intermediate_result.nit == 3:
            raise StopIteration

    assert tree_block_descent(problem, callback=stop).nit == 3


@pytest.mark.parametrize(
    ("A", "b", "message"),
    [
        (np.ones((2, 3)), np.ones(2), "square"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), np.ones(2), "symmetric"),
        (np.diag([1.0, 0.0]), np.ones(2), "positive definite"),
        (np.eye(2), np.ones(3), "rows"),
        (np.eye(2), np.array([1.0, np.nan]), "finite"),
        (np.eye(2), 1j * np.ones(2), "real"),
    ],
)
def test_bad_quadratics_are_refused(A, b, message):
    with pytest.raises(ValueError, match=message):
        GraphQuadratic(A, b)


def test_quadratic_of_a_labelled_graph():
    W = np.array([[5.0, 1, 0, 2], [1, 0, 3, 0], [0, 3, 0, 1], [2, 0, 1, 0]])
    values = np.array([1.0, np.nan, np.nan, -2.0])
    problem = GraphQuadratic.from_labels(W, values)
    np.testing.assert_array_equal(problem.A.toarray(), [[4, -3], [-3, 4]])
    np.testing.assert_array_equal(problem.b, [1, -2])

    def energy(x):
        full = np.r_[1.0, x, -2.0]
        return np.sum(W * (full[:, None] - full) ** 2) / 4

    x = np.random.default_rng(0).standard_normal((5, 2))
    difference = [energy(row) - problem.value(row) for row in x]
    np.testing.assert_allclose(difference, energy([0.0, 0.0]))


@pytest.mark.parametrize(
    ("graph", "values", "message"),
    [
        (np.ones((3, 2)), [0, 1, np.nan], "square"),
        (-np.ones((3, 3)), [0, 1, np.nan], ">= 0"),
        (np.ones((3, 3)), [0, np.nan], "values"),
        (np.ones((3, 3)), [0, np.inf, np.nan], "finite"),
        (np.ones((3, 3)), [0, 1j, np.nan], "real"),
        (np.diag([1.0, 1.0, 1.0]), [0, 1, np.nan], "label, but none .* such as node 2"),
        (np.ones((3, 3)), [np.nan] * 3, "label, but none reaches 3 .* node 0"),
        (
            np.kron(np.eye(2), [[0, 0.3, 0], [0.3, 0, 0.1], [0, 0.1, 0]]),
            [0.0, *[np.nan] * 5],
            "label, but none reaches 3 .* node 3",
        ),
    ],
)
def test_bad_labelled_graphs_are_refused(graph, values, message):
    with pytest.raises(ValueError, match=message):
        GraphQuadratic.from_labels(graph, values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "trees"}, "rule"),
        ({"rule": [0, 1]}, "rule"),
        ({"rule": [0.5, 1.0, 2.0]}, "rule"),
        ({"rule": [0, 0, 0]}, "forest"),
        ({"selection": "gsl"}, "selection"),
        ({"max_iter": 0}, "max_iter"),
        ({"tol": -1}, "tol"),
        ({"x0": [1.0]}, "x0"),
        ({"x0": [1.0, np.inf, 0.0]}, "x0"),
        ({"x0": [1.0, 1j, 0.0]}, "x0 must be real"),
        ({"selection": np.ones(3)}, "selection must be"),
    ],
)
def test_bad_options_are_refused(options, message):
    problem = GraphQuadratic(np.ones((3, 3)) + 2 * np.eye(3), np.ones(3))
    with pytest.raises(ValueError, match=message):
        tree_block_descent(problem, **options)


@pytest.mark.parametrize("rule", ["greedy-tree", "general"])
def test_indefinite_matrices_are_refused(rule):
    A = np.eye(8) + 2 * (np.eye(8, k=1) + np.eye(8, k=-1))
    with pytest.raises(ValueError, match="positive definite"):
        tree_block_descent(GraphQuadratic(A, np.ones(8)), rule=rule)


def test_loops_have_no_effect_however_large():
    path = np.eye(4, k=1) + np.eye(4, k=-1)
    values = [0.0, np.nan, np.nan, 3.0]
    plain = GraphQuadratic.from_labels(path, values)
    for loops in (0.1, 1e20):
        looped = sparse.csr_array(path + loops * np.eye(4))
        problem = GraphQuadratic.from_labels(looped, values)
        np.testing.assert_array_equal(problem.A.toarray(), plain.A.toarray())
        np.testing.assert_array_equal(problem.b, plain.b)
        np.testing.assert_array_equal(looped.diagonal(), loops)  # the argument stays


def test_a_graph_with_all_nodes_labelled_leaves_nothing_to_do():
    problem = GraphQuadratic.from_labels(np.ones((2, 2)), [1.0, 2.0])
    assert tree_block_descent(problem).x.shape == (0,)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (2,), ()])
def test_points_of_another_shape_are_refused(shape):
    problem = GraphQuadratic(np.eye(3), np.ones(3))
    for operation in (problem.value, problem.gradient):
        with pytest.raises(ValueError, match=r"x must have the shape \(3,\) of b"):
            operation(np.ones(shape))


def test_as_many_blocks_as_variables():
    # Grouping has to be linear: going through all variables for each block takes minutes.
    n = 100_000
    problem = GraphQuadratic(2 * sparse.eye_array(n), np.ones(n))
    numbers = np.random.default_rng(0).permutation(n)
    seen = []
    with pytest.warns(ConvergenceWarning):
        tree_block_descent(problem, rule=numbers, max_iter=2, callback=lambda x: seen.append(x))
    assert np.flatnonzero(seen[0]).tolist() == np.flatnonzero(numbers == 0).tolist()
    assert set(np.flatnonzero(seen[1])) == set(np.flatnonzero(numbers < 2))


def test_other_problems_are_refused():
    with pytest.raises(TypeError, match="GraphQuadratic"):
        tree_block_descent(np.eye(2))
