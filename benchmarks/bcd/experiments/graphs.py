"""Data sets D and E: forests as blocks, and forests as preconditioners."""

from dataclasses import replace
from functools import partial

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.sparse.linalg import LinearOperator, cg, spsolve

from benchmarks.bcd.experiments.protocol import Curve, descend
from benchmarks.bcd.label_propagation.datasets.blobs import Dataset as Blobs
from sparseopt.datasets import make_lattice_labels, make_two_moons_graph
from sparseopt.optimize import (
    GraphQuadratic,
    color_graph,
    forest_solve,
    tree_block_descent,
    tree_partition,
)
from sparseopt.semi_supervised import GraphLabelPropagation

N_DRAWS = 11
LARGEST_COUNT = 10_000


def _curve(problem, minimum, method, rule, published):
    solve = partial(tree_block_descent, problem, rule=rule, max_iter=500, tol=0, random_state=0)
    return Curve(method, *descend(solve, minimum), {500: published})


def lattice():
    """Return the curves of data set D, which are comparable exactly."""
    graph, values = make_lattice_labels(random_state=1)
    node = np.flatnonzero(np.isnan(values))
    row, column = node % 50, node // 50
    combs = np.where((row == 0) | ((column % 2 == 0) & (row != 49)), 0, 1)
    run = partial(_curve, *_with_minimum(GraphQuadratic.from_labels(graph, values)))
    return [
        run("greedy tree", "greedy-tree", 9.8e-6),
        run("tree partition (two combs)", combs, 2e-5),
        run("random tree", "random-tree", 0.11),
        run("red-black", (row + column) % 2, 17),
        run("general, as much work as a tree", "general", 5.7e7),
    ]


def two_moons():
    """Return the curves of data set E, medians over random draws.

    After 500 steps of the greedy tree the gaps of two draws differ by up to four orders of
    magnitude, so that the paper's single one says little.
    """
    draws = [_two_moons_once(seed) for seed in range(N_DRAWS)]
    medians = []
    for curves in zip(*draws, strict=True):
        gaps = np.median([curve.gaps for curve in curves], axis=0)
        times = np.median([curve.times for curve in curves], axis=0)
        low, high = np.quantile([curve.gaps[-1] for curve in curves], [0.25, 0.75])
        remark = f"quartiles {low:.1e}, {high:.1e}"
        medians.append(replace(curves[0], gaps=gaps, times=times, remark=remark))
    return medians


def _two_moons_once(seed):
    graph, y, _, _ = make_two_moons_graph(random_state=seed)
    problem = GraphQuadratic.from_labels(graph, np.where(y == -1, np.nan, y))
    run = partial(_curve, *_with_minimum(problem))
    return [
        run("greedy tree", "greedy-tree", 7.9e-5),
        run("tree partition, stiff nodes first", "tree-partition", 1.8e-3),
        run("tree partition, in order", tree_partition(problem.A, order="natural"), 0.022),
        run("random tree", "random-tree", 0.05),
        run("colours, stiff nodes first", "coloring", 2.0),
        run("colours, in order", color_graph(problem.A, order="natural"), 4.7),
        run("general, as much work as a tree", "general", 160),
    ]


def _with_minimum(problem):
    return problem, problem.value(spsolve(problem.A.tocsc(), problem.b))


def preconditioners():
    """Print the iterations of conjugate gradients to a residual of 1e-6, by preconditioner."""
    print(f"{'graph':<44} {'none':>8} {'Jacobi':>8} {'forest':>8} {'ours':>8}")
    lattice, values = make_lattice_labels(200, 200, n_labelled=40, weight=1.0, random_state=0)
    moons, given, _, _ = make_two_moons_graph(random_state=1)
    blobs = Blobs.get_instance(n_samples=100_000, labelled=0.001).get_data()
    signs = np.where(np.isnan(values), -1, values > 0).astype(int)
    for name, graph, y in (
        ("E, 2000 nodes", moons, given),
        ("lattice, 40000 nodes", lattice, signs),
        ("the same, log-normal weights, deviation 2", _spread(lattice, 2.0), signs),
        ("the same, deviation 4", _spread(lattice, 4.0), signs),
        ("blobs, 100000 nodes, 0.1 % labelled", blobs["graph"], blobs["y"]),
    ):
        values = np.where(y < 0, np.nan, y == y.max())
        problem = GraphQuadratic.from_labels(graph, values)
        jacobi = sparse.diags_array(1 / problem.A.diagonal())
        counts = [_iterations(problem, M) for M in (None, jacobi, _heaviest_forest(problem.A))]
        model = GraphLabelPropagation("precomputed", solver="cg").fit(graph, y)
        print(f"{name:<44}" + "".join(f" {count:>8}" for count in [*counts, model.n_iter_]))


def _spread(graph, deviation):
    """Return the graph with symmetric log-normal weights."""
    upper = sparse.triu(graph).tocoo()
    weights = np.exp(deviation * np.random.default_rng(0).standard_normal(upper.nnz))
    half = sparse.coo_array((weights, (upper.row, upper.col)), shape=graph.shape).tocsr()
    return half + half.T


def _heaviest_forest(A):
    """Return the solver of diag(A) minus the heaviest spanning forest's weights."""
    off_diagonal = sparse.csr_array(A - sparse.diags_array(A.diagonal()))
    tree = minimum_spanning_tree(off_diagonal)
    matrix = sparse.csr_array(sparse.diags_array(A.diagonal()) + tree + tree.T)
    return LinearOperator(A.shape, matvec=lambda r: forest_solve(matrix, r), dtype=float)


def _iterations(problem, M):
    count = 0

    def callback(x):
        nonlocal count
        count += 1

    cg(problem.A, problem.b, rtol=1e-6, maxiter=LARGEST_COUNT, M=M, callback=callback)
    return count if count < LARGEST_COUNT else f">{LARGEST_COUNT}"
