"""Label propagation: equality with a direct solve, maximum principle, graphs, bad input."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve
from sklearn.base import clone
from sklearn.datasets import load_digits, make_moons
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from sparseopt.datasets import make_two_moons_graph
from sparseopt.semi_supervised import GraphLabelPropagation
from sparseopt.semi_supervised._harmonic import FreeNodes
from sparseopt.semi_supervised._kernels import cpu as kernels
from sparseopt.testing import estimator_checks

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "bcd" / "graphs.npz")
SOLVERS = ["cg", "direct", "tree-bcd"]


def random_weights(n=60, density=0.1, seed=0):
    """Return a connected weighted graph with loops."""
    rng = np.random.default_rng(seed)
    W = sparse.random_array((n, n), density=density, rng=rng).toarray()
    W += np.diag(rng.uniform(0.1, 1, n - 1), 1) + np.diag(rng.uniform(0, 1, n))
    return W + W.T


def some_labels(n, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    y = np.full(n, -1)
    nodes = rng.choice(n, 3 * n_classes, replace=False)
    y[nodes] = np.repeat(np.arange(n_classes), 3)
    return y


def harmonic(W, y):
    """Return the distributions by the textbook formula."""
    W = np.array(W, dtype=float)
    free = y == -1
    Y = (y[~free, None] == np.unique(y[~free])).astype(float)
    L = np.diag(W.sum(axis=1)) - W
    F = np.zeros((len(y), Y.shape[1]))
    F[~free] = Y
    b = W[np.ix_(free, ~free)] @ Y
    F[free] = spsolve(sparse.csc_array(L[np.ix_(free, free)]), b)
    return F


@pytest.mark.parametrize("n_classes", [2, 3, 12])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_equals_a_direct_solve(solver, n_classes):
    W, y = random_weights(), some_labels(60, n_classes)
    model = GraphLabelPropagation("precomputed", solver=solver, tol=1e-11).fit(W, y)
    expected = harmonic(W, y)
    np.testing.assert_allclose(model.label_distributions_, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(model.transduction_, np.argmax(expected, axis=1))
    np.testing.assert_array_equal(model.transduction_[y >= 0], y[y >= 0])
    assert model.relative_residual_ <= 1e-11
    assert model.n_iter_ >= 1


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", ["D", "E"])
def test_golden_solutions(case, solver):
    i, j = GOLDEN[f"{case}_W_i"].astype(int), GOLDEN[f"{case}_W_j"].astype(int)
    values = GOLDEN[f"{case}_y"].astype(float)
    weight = 1e5 if case == "D" else 1.0
    W = sparse.coo_array((np.full(i.size, weight), (i, j)), shape=(values.size, values.size))
    W = (W + W.T).tocsr()
    # Every labelled value is a class of its own; x is linear in the values.
    labels = np.unique(values[values != 0])
    y = np.where(values != 0, np.searchsorted(labels, values), -1)
    model = GraphLabelPropagation("precomputed", solver=solver, tol=1e-12).fit(W, y)
    x = (model.label_distributions_ @ labels)[values == 0]
    np.testing.assert_allclose(x, GOLDEN[f"{case}_xstar"], rtol=1e-8)
    if case == "E":
        accuracy = np.mean(model.transduction_[values == 0] + 1 == GOLDEN["E_true"][values == 0])
        assert accuracy == pytest.approx(0.8947368421052632)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(SOLVERS), st.floats(0.01, 0.3))
def test_maximum_principle(seed, solver, density):
    # Each value is a mean of its neighbours', so no class grows beyond what is labelled.
    W, y = random_weights(30, density, seed), some_labels(30, 3, seed)
    model = GraphLabelPropagation("precomputed", solver=solver, tol=1e-10).fit(W, y)
    F = model.label_distributions_
    assert np.all((F >= 0) & (F <= 1))
    np.testing.assert_allclose(F.sum(axis=1), 1, rtol=1e-12)
    W = W - np.diag(np.diag(W))
    means = W @ F / W.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(F[y == -1], means[y == -1], atol=1e-7)
    values = np.array([-2.0, 1.0, 5.0])
    assert np.all((F @ values >= -2 - 1e-12) & (F @ values <= 5 + 1e-12))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_component_without_labels_is_warned_of_and_filled(solver):
    W = np.zeros((7, 7))
    W[[0, 1, 3, 4], [1, 2, 4, 5]] = 1  # 0-1-2, 3-4-5 and 6 alone
    W += W.T
    y = np.array([0, -1, 1, -1, -1, -1, -1])
    y_more = np.array([0, 0, 1, -1, -1, -1, -1])
    model = GraphLabelPropagation("precomputed", solver=solver)
    with pytest.warns(UserWarning, match="4 samples lie in components"):
        model.fit(W, y)
    np.testing.assert_allclose(model.label_distributions_[1], [0.5, 0.5])
    np.testing.assert_allclose(model.label_distributions_[3:], 0.5)
    with pytest.warns(UserWarning, match="class frequencies"):
        model.fit(W, y_more)
    np.testing.assert_allclose(model.label_distributions_[3:], [[2 / 3, 1 / 3]] * 4)
    np.testing.assert_allclose(model.class_prior_, [2 / 3, 1 / 3])


def test_sparse_and_dense_graphs_agree():
    W, y = random_weights(), some_labels(60, 3)
    expected = GraphLabelPropagation("precomputed").fit(W, y).label_distributions_
    for make in (sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.csr_matrix):
        given_graph = make(W)
        model = GraphLabelPropagation("precomputed").fit(given_graph, y)
        np.testing.assert_allclose(model.label_distributions_, expected, rtol=1e-12)
        assert (given_graph != make(W)).nnz == 0
    single = GraphLabelPropagation("precomputed").fit(W.astype(np.float32), y)
    assert single.label_distributions_.dtype == np.float32
    np.testing.assert_allclose(single.label_distributions_, expected, atol=1e-5)


def test_knn_graph_is_the_symmetrised_one():
    X, _ = make_moons(80, noise=0.1, random_state=0)
    model = GraphLabelPropagation(n_neighbors=4).fit(X, np.r_[0, np.full(78, -1), 1])
    distance = np.linalg.norm(X[:, None] - X, axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, :4]
    W = np.zeros((80, 80))
    np.put_along_axis(W, nearest, 1, axis=1)
    np.testing.assert_array_equal(model.graph_.toarray(), np.maximum(W, W.T))
    assert connected_components(model.graph_)[0] == 1


def test_new_samples_average_their_neighbours():
    X, truth = make_moons(200, noise=0.05, random_state=0)
    y = np.where(np.arange(200) % 10 == 0, truth, -1)
    model = GraphLabelPropagation(n_neighbors=6).fit(X, y)
    new, expected_class = make_moons(50, noise=0.05, random_state=1)
    nearest = np.argsort(np.linalg.norm(new[:, None] - X, axis=2), axis=1)[:, :6]
    expected = model.label_distributions_[nearest].mean(axis=1)
    np.testing.assert_allclose(model.predict_proba(new), expected, rtol=1e-12)
    assert model.score(new, expected_class) > 0.95


def test_new_samples_of_a_precomputed_graph():
    W, y = random_weights(), some_labels(60, 3)
    model = GraphLabelPropagation("precomputed").fit(W, y)
    new = np.zeros((3, 60))
    new[0, 7], new[1, [3, 8]] = 2.0, [1.0, 3.0]
    F = model.label_distributions_
    expected = [F[7], 0.25 * F[3] + 0.75 * F[8], model.class_prior_]
    np.testing.assert_allclose(model.predict_proba(new), expected)
    np.testing.assert_allclose(model.predict_proba(sparse.csr_array(new)), expected)
    with pytest.raises(ValueError, match=">= 0"):
        model.predict_proba(-new)


@pytest.mark.parametrize("dtype", [str, object, np.int8, float])
def test_labels_of_every_kind(dtype):
    X = np.r_[np.arange(10.0), np.arange(20.0, 30.0)][:, None]
    if dtype in (str, object):
        y = np.array(["a"] * 10 + ["b"] * 10, dtype=dtype)
        if dtype is object:
            y[[3, 13]] = -1
    else:
        y = np.array([3] * 10 + [7] * 10, dtype=dtype)
        y[[3, 13]] = -1
    model = GraphLabelPropagation(n_neighbors=3).fit(X, y)
    assert model.transduction_[3] == y[0]
    assert model.transduction_[13] == y[-1]
    assert model.predict([[25.0]])[0] == y[-1]
    np.testing.assert_array_equal(model.classes_, [y[0], y[-1]])


def test_permuted_samples_permute_the_result():
    W, y = random_weights(), some_labels(60, 3)
    order = np.random.default_rng(0).permutation(60)
    model = GraphLabelPropagation("precomputed", solver="cg", tol=1e-12)
    straight = clone(model).fit(W, y).label_distributions_
    permuted = clone(model).fit(W[np.ix_(order, order)], y[order]).label_distributions_
    np.testing.assert_allclose(permuted, straight[order], rtol=1e-8, atol=1e-10)


def test_threads_do_not_change_the_result():
    X, truth = load_digits(return_X_y=True)
    y = np.where(np.arange(len(truth)) % 20 == 0, truth, -1)
    fits = [
        GraphLabelPropagation(n_neighbors=10, solver="cg", n_jobs=n_jobs).fit(X, y)
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(fits[0].label_distributions_, fits[1].label_distributions_)
    assert np.mean(fits[0].transduction_ == truth) > 0.95


def lattice(n, spread=0.0, seed=0):
    """Return an n x n lattice with log-normal weights."""
    rng = np.random.default_rng(seed)
    path = sparse.diags_array(np.ones(n - 1), offsets=1, shape=(n, n))
    eye = sparse.eye_array(n)
    edges = (sparse.kron(path, eye) + sparse.kron(eye, path)).tocoo()
    weights = np.exp(spread * rng.standard_normal(edges.nnz))
    W = sparse.coo_array((weights, (edges.row, edges.col)), shape=edges.shape).tocsr()
    return (W + W.T).tocsr()


def few_labels(n):
    y = np.full(n, -1)
    y[[0, n // 3, n - 1]] = 0, 1, 2
    return y


def test_the_preconditioner_saves_iterations():
    # On a lattice, half of what Jacobi's would take: the kernels' pivots are at work.
    W, y = lattice(120), few_labels(120**2)
    model = GraphLabelPropagation("precomputed", solver="cg", tol=1e-8).fit(W, y)
    assert model.n_iter_ <= 160
    np.testing.assert_allclose(model.label_distributions_, harmonic_sparse(W, y), atol=1e-6)


def harmonic_sparse(W, y):
    free = y == -1
    A = (sparse.diags_array(W.sum(axis=1)) - W).tocsr()[free][:, free]
    F = np.zeros((y.size, 3))
    F[~free, y[~free]] = 1
    F[free] = spsolve(A.tocsc(), W[free] @ F)
    return F


@pytest.mark.parametrize(
    ("unit", "spread", "tol"), [(1e-60, 0.0, 1e-12), (1e60, 1.0, 1e-12), (1.0, 4.0, 1e-8)]
)
def test_conjugate_gradients_keep_double_precision(unit, spread, tol):
    # Their vectors are in single precision, but for weights that differ by many orders.
    W, y = lattice(30, spread), few_labels(900)
    model = GraphLabelPropagation("precomputed", solver="cg", tol=tol).fit(unit * W, y)
    exact = GraphLabelPropagation("precomputed", solver="direct").fit(W, y)
    difference = model.label_distributions_ - exact.label_distributions_
    assert np.abs(difference).max() <= 1e3 * tol
    assert model.relative_residual_ <= tol


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_of_thirty_orders_do_no_harm():
    W, y = lattice(30, spread=12.0), few_labels(900)
    F = GraphLabelPropagation("precomputed", solver="cg").fit(W, y).label_distributions_
    assert np.all((F >= 0) & (F <= 1))
    np.testing.assert_allclose(F.sum(axis=1), 1)


def test_a_residual_that_does_not_fall_for_long_is_no_stall():
    # With labels far apart it first spreads over the graph.
    W, y = lattice(200), few_labels(200**2)
    model = GraphLabelPropagation("precomputed", solver="cg", tol=1e-7).fit(W, y)
    history = model.history_
    assert np.all(np.diff(history["objective"]) <= 0)
    assert history["certificate"][2] > 0.01
    assert history["certificate"][-1] == model.relative_residual_ <= 1e-7


def test_uneven_weights_are_eliminated_along_the_heaviest_edges():
    # In the order of a band matrix it takes a thousand iterations, with Jacobi's 20000.
    W, y = lattice(100, spread=4.0), few_labels(100**2)
    model = GraphLabelPropagation("precomputed", solver="cg").fit(W, y)
    assert model.n_iter_ <= 150
    exact = GraphLabelPropagation("precomputed", solver="direct", tol=1e-9).fit(W, y)
    difference = model.label_distributions_ - exact.label_distributions_
    assert np.abs(difference).max() < 1e-3
    # A tree is eliminated exactly.
    path = sparse.diags_array(np.exp(np.linspace(0, 9, 49)), offsets=1, shape=(50, 50))
    model.fit(path + path.T, few_labels(50))
    assert model.n_iter_ <= 5


def rows_of(W):
    """Return a dense matrix in the layout of the kernels."""
    n = len(W)
    graph = sparse.csr_array(W)
    labelled = np.empty(0, np.int64)
    nodes = FreeNodes(graph, np.arange(n), labelled, np.empty((0, 2)), padded=True)
    return nodes, (nodes.start, nodes.middle, nodes.indices, nodes.weights)


def test_rows_are_padded_to_even_halves():
    W = random_weights(21, seed=5)
    np.fill_diagonal(W, 0)
    nodes, (start, middle, indices, weights) = rows_of(W)
    assert not np.any(start % 2)
    assert not np.any(middle % 2)
    for i in range(21):
        here = slice(start[i], start[i + 1])
        row = np.zeros(21)
        np.add.at(row, indices[here], weights[here])
        np.testing.assert_array_equal(row, W[i])
        stored = weights != 0
        assert np.all(indices[start[i] : middle[i]][stored[start[i] : middle[i]]] < i)
        assert np.all(indices[middle[i] : start[i + 1]][stored[middle[i] : start[i + 1]]] > i)
    np.testing.assert_allclose(nodes.degree, W.sum(axis=1))


def test_pivots_meet_the_diagonal_or_the_row_sums():
    W = random_weights(20, seed=3)
    np.fill_diagonal(W, 0)
    degree = W.sum(axis=1) + 0.1
    _, rows = rows_of(W)
    A = np.diag(degree) - W
    for omega, measure in ((0.0, np.diag), (1.0, lambda M: M.sum(axis=1))):
        d = kernels.modified_pivots(*rows, degree, omega)
        assert np.all(d > 0)
        lower = np.tril(A, -1) + np.diag(d)
        np.testing.assert_allclose(measure(lower @ np.diag(1 / d) @ lower.T), measure(A))


@pytest.mark.parametrize("solver", ["cg", "tree-bcd"])
def test_a_missed_tolerance_is_told(solver):
    W, y = random_weights(200, 0.01), some_labels(200, 3)
    with pytest.warns(ConvergenceWarning, match="relative residual"):
        model = GraphLabelPropagation("precomputed", solver=solver, max_iter=2).fit(W, y)
    assert model.relative_residual_ > 1e-6
    assert model.n_iter_ == 2
    with pytest.warns(ConvergenceWarning, match="relative residual"):
        GraphLabelPropagation("precomputed", solver="cg", tol=0.0).fit(W, y)


def test_few_steps_on_trees_are_better_than_none():
    # The residual grows at first, while the energy falls: the last iterate is the best.
    graph, y, _, truth = make_two_moons_graph(400, n_labelled=20, random_state=0)
    model = GraphLabelPropagation("precomputed", solver="tree-bcd", max_iter=2)
    with pytest.warns(ConvergenceWarning):
        model.fit(graph, y)
    free = y == -1
    assert np.any(model.label_distributions_[free] != model.class_prior_)
    assert np.mean(model.transduction_[free] == truth[free]) > 0.7
    assert np.all(np.diff(model.history_["objective"]) < 0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_history_and_callbacks(solver):
    W, y = lattice(20), few_labels(400)
    model = GraphLabelPropagation("precomputed", solver=solver, tol=1e-8)
    history = clone(model).fit(W, y).history_
    assert set(history) == {"iteration", "time", "objective", "certificate"}
    assert np.all(np.diff(history["objective"]) <= 1e-14)  # rounding errors
    assert history["certificate"][-1] <= 1e-8
    seen = []

    class Watcher:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **kwargs):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **kwargs):
            if fitted_estimator is not None:
                seen.append(fitted_estimator.label_distributions_)

    watched = clone(model).set_callbacks(Watcher()).fit(W, y)
    np.testing.assert_array_equal(watched.history_["objective"], history["objective"])
    distance = [np.linalg.norm(F - watched.label_distributions_) for F in seen]
    assert distance[-1] == 0
    assert all(F.shape == (400, 3) for F in seen)


def test_fully_labelled_samples_need_no_solve():
    X = np.arange(20.0)[:, None]
    model = GraphLabelPropagation().fit(X, np.arange(20) // 10)
    np.testing.assert_array_equal(model.transduction_, np.arange(20) // 10)
    assert model.relative_residual_ == 0


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.ones((3, 4)), "square"),
        (np.array([[0, 1.0, 0], [0, 0, 1.0], [0, 1.0, 0]]), "symmetric"),
        (-np.ones((3, 3)), ">= 0"),
        (sparse.csr_array(-np.ones((3, 3))), ">= 0"),
        (np.full((3, 3), np.nan), "NaN"),
    ],
)
def test_bad_graphs_are_refused(W, message):
    with pytest.raises(ValueError, match=message):
        GraphLabelPropagation("precomputed").fit(W, [0, 1, -1])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([-1] * 8, "2 classes"),
        ([0] * 4 + [-1] * 4, "2 classes"),
        ([0.5] * 4 + [1.5] * 4, "continuous"),
        ([0, 1], "inconsistent"),
    ],
)
def test_bad_labels_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        GraphLabelPropagation().fit(np.arange(8.0)[:, None], y)


@pytest.mark.parametrize(
    "options",
    [
        {"graph": "rbf"},
        {"solver": "lu"},
        {"n_neighbors": 0},
        {"n_neighbors": 8},
        {"tol": -1.0},
        {"max_iter": 0},
    ],
)
def test_bad_parameters_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GraphLabelPropagation(**options).fit(np.arange(8.0)[:, None], np.arange(8) % 2)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("unit", [1e-300, 1e-170, 1e160, 1e300])
def test_the_unit_of_the_weights_does_not_matter(solver, unit):
    W, y = random_weights(), some_labels(60, 3)
    model = GraphLabelPropagation("precomputed", solver=solver, tol=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaled = clone(model).fit(W * unit, y)
    expected = model.fit(W, y)
    np.testing.assert_allclose(
        scaled.label_distributions_, expected.label_distributions_, atol=1e-8
    )
    assert 0 < scaled.relative_residual_ <= 1e-10


def weakly_labelled_path(weight):
    """Return a path whose ends carry labels and hang on by edges of this weight."""
    W = np.diag([weight, 1.0, 1.0, weight], 1)
    return W + W.T, np.array([0, -1, -1, -1, 1])


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_beyond_the_range_of_squares_are_refused(solver):
    model = GraphLabelPropagation("precomputed", solver=solver)
    with pytest.raises(ValueError, match="differ too much"):
        model.fit(*weakly_labelled_path(1e-200))


def test_a_matrix_that_rounding_makes_singular_is_refused():
    model = GraphLabelPropagation("precomputed", solver="direct")
    with pytest.raises(ValueError, match="singular"):
        model.fit(*weakly_labelled_path(1e-20))


def test_an_inexact_factorization_is_reported(monkeypatch):
    class Inexact:
        def __init__(self, A, **options):
            self.shape = A.shape

        def solve(self, b):
            return np.full_like(b, 0.5)

    monkeypatch.setattr("sparseopt.semi_supervised._harmonic.splu", Inexact)
    model = GraphLabelPropagation("precomputed", solver="direct")
    with pytest.warns(ConvergenceWarning, match="Sparse factorization"):
        model.fit(random_weights(), some_labels(60, 3))
    assert model.relative_residual_ > 1e-3


@pytest.mark.parametrize("wrap", [np.asarray, sparse.csr_array])
def test_predictions_refuse_weights_whose_sum_overflows(wrap):
    model = GraphLabelPropagation("precomputed").fit(random_weights(), some_labels(60, 3))
    with pytest.raises(ValueError, match="overflow"):
        model.predict_proba(wrap(np.full((1, 60), 1e307)))


def test_predict_needs_a_fit():
    with pytest.raises(NotFittedError):
        GraphLabelPropagation().predict([[0.0]])


@pytest.mark.parametrize("solver", ["cg", "tree-bcd"])
def test_library_checks_hold_for_every_solver(solver):
    estimator = GraphLabelPropagation(solver=solver, n_neighbors=7)
    for check in estimator_checks(estimator):
        check("GraphLabelPropagation", estimator)  # each check asserts
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X, truth = make_moons(100, random_state=0)
        y = np.where(np.arange(100) % 5 == 0, truth, -1)
        assert np.all(clone(estimator).fit(X, y).transduction_ == truth)
