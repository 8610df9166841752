"""The passes over transport plans against NumPy, and the preconditioner against dense algebra."""

import numpy as np
import pytest
from numba import njit
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from sparseopt.transport._kernels import cpu as kernels
from sparseopt.transport._kernels import sparse as system
from sparseopt.transport._kernels.exponential import exponential
from sparseopt.transport._kernels.forest import factorize, heaviest_forest, substitute

METRICS = {
    "sqeuclidean": kernels.SQEUCLIDEAN,
    "euclidean": kernels.EUCLIDEAN,
    "cityblock": kernels.CITYBLOCK,
}
NOTHING = np.empty((0, 0))
NO_FACTORS = (
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0), np.empty(0),
)  # fmt: skip


@njit
def exponentials(t):
    result = np.empty_like(t)
    for k in range(t.size):
        result[k] = exponential(t[k])
    return result


def dense_cost(C):
    return np.ascontiguousarray(C), NOTHING, NOTHING, kernels.DENSE


def point_cost(metric, n=6, m=11, n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, n_features)), rng.standard_normal((m, n_features))
    return cdist(X, Y, metric), (NOTHING, X, np.ascontiguousarray(Y.T), METRICS[metric])


def test_the_exponential_over_its_full_range():
    rng = np.random.default_rng(0)
    for t in (np.linspace(-650, 709, 400_001), rng.uniform(-1, 1, 100_000)):
        exact = np.exp(t.astype(np.longdouble))
        assert np.max(np.abs(exponentials(t) / exact - 1)) < 2.3e-16
    multiples = np.log(2) * (np.arange(-930, 1020) + 0.5)  # where the reduction rounds either way
    exact = np.exp(multiples.astype(np.longdouble))
    assert np.max(np.abs(exponentials(multiples) / exact - 1)) < 2.3e-16
    assert (exponentials(np.array([0.0, -0.0, 5e-324])) == 1).all()


def test_the_exponential_beyond_its_range():
    low, high = exponentials(np.array([-650.0, 709.0]))
    assert (exponentials(np.array([-651.0, -1e300, -np.inf])) == low).all()
    assert (exponentials(np.array([709.5, 1e300, np.inf])) == high).all()
    assert 0 < low < 1e-280
    assert np.isfinite(high)
    assert np.isnan(exponentials(np.array([np.nan]))).all()


@pytest.mark.parametrize("m", [*range(1, 20), 64, 129])
def test_selected_entries(m):
    rng = np.random.default_rng(m)
    plan = rng.random((5, m))
    plan[2] = 0.0
    expected = sparse.csr_array(np.where(plan >= 0.7, plan, 0))
    counts = np.empty(5, np.int64)
    indices, values = np.empty(5 * m, np.int32), np.empty(5 * m)
    number = kernels.select_entries(plan, 0.7, counts, indices, values)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    kept = sparse.csr_array((values[:number], indices[:number], indptr), shape=plan.shape)
    np.testing.assert_array_equal(kept.toarray(), expected.toarray())
    # With too little room it still counts, and writes no further.
    few = np.full(4, -1, np.int32)
    assert kernels.select_entries(plan, 0.7, counts, few[:2], np.empty(2)) == number
    assert (few[2:] == -1).all()
    assert kernels.select_entries(plan, 0.0, counts, indices, values) == 5 * m


@pytest.mark.parametrize("metric", [None, *METRICS])
@pytest.mark.parametrize("eps", [1.0, 1e-3])
def test_balanced_rows(metric, eps):
    rng = np.random.default_rng(1)
    if metric is None:
        C = rng.standard_normal((6, 11))
        cost = dense_cost(C)
    else:
        C, cost = point_cost(metric)
    y, a = rng.standard_normal(11), rng.dirichlet(np.ones(6))
    exponents = (y - C) / eps
    x = eps * (np.log(a) - logsumexp(exponents, axis=1))
    P = np.exp(exponents + x[:, None] / eps)
    got, sums, plan = np.empty(6), np.zeros(11), np.empty((6, 11))
    counts = np.empty(6, np.int64)
    indices, values = np.empty(66, np.int32), np.empty(66)
    number = 0
    for start, stop in ((0, 2), (2, 6)):  # passes over blocks of rows add up
        number = kernels.balance_rows(
            cost, y, eps, a, start, stop, got, sums, plan, 1e-3, counts, indices, values
        )
    np.testing.assert_allclose(got, x, rtol=1e-12)
    np.testing.assert_allclose(plan, P, rtol=1e-9, atol=1e-270)
    np.testing.assert_allclose(sums, P.sum(0), rtol=1e-9, atol=1e-270)
    assert counts[2:].sum() == number == np.sum(P[2:] >= 1e-3)
    np.testing.assert_array_equal(values[:number], plan[2:][plan[2:] >= 1e-3])


def test_no_column_of_a_balanced_plan_vanishes():
    y = np.array([0.0, 0.0, -1e6])
    x, sums = np.empty(2), np.zeros(3)
    kernels.balance_rows(
        dense_cost(np.zeros((2, 3))), y, 1e-3, np.array([0.5, 0.5]), 0, 2, x, sums, NOTHING,
        np.inf, np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0),
    )  # fmt: skip
    assert 0 < sums[2] < 1e-270


@pytest.mark.parametrize("m", [1, 2, 7, 8, 9, 15, 16, 17, 33, 100])
def test_cost_statistics(m):
    C = np.random.default_rng(m).standard_normal((40, m))
    C[3, m // 2] = C[5, m - 1] = np.inf
    smallest, sums, counts = (np.empty(40) for _ in range(3))
    nearest, largest = np.empty(m), np.empty(m)
    kernels.cost_statistics(dense_cost(C), smallest, sums, counts, nearest, largest)
    finite = np.isfinite(C)
    np.testing.assert_array_equal(smallest, C.min(1))
    np.testing.assert_array_equal(largest, np.where(finite, C, -np.inf).max(0))
    np.testing.assert_array_equal(counts, finite.sum(1))
    np.testing.assert_allclose(sums, np.where(finite, C, 0).sum(1), atol=1e-12)
    expected = C - np.where(np.isinf(C.min(1)), 0, C.min(1))[:, None]
    np.testing.assert_array_equal(nearest, expected.min(0))
    C[7, m // 2] = np.nan
    kernels.cost_statistics(dense_cost(C), smallest, sums, counts, nearest, largest)
    np.testing.assert_array_equal(np.isnan(smallest), np.arange(40) == 7)


@pytest.mark.parametrize("metric", METRICS)
def test_the_cost_of_a_plan(metric):
    rng = np.random.default_rng(1)
    C, cost = point_cost(metric)
    x, y, eps = rng.standard_normal(6), rng.standard_normal(11), 0.5
    x[2], y[4] = -np.inf, -np.inf  # no mass
    with np.errstate(invalid="ignore"):
        P = np.exp((x[:, None] + y - C) / eps)
    plan, row_sums, column_sums, costs = (
        np.empty((6, 11)), np.empty(6), np.zeros(11), np.empty(6),
    )  # fmt: skip
    kernels.plan_rows(cost, x, y, eps, 0, 6, plan)
    np.testing.assert_allclose(plan, P, rtol=1e-12)
    assert (plan[2] == 0).all()
    assert (plan[:, 4] == 0).all()
    kernels.transport_cost(cost, x, y, eps, 0, 6, row_sums, column_sums, costs)
    np.testing.assert_allclose(row_sums, P.sum(1), rtol=1e-12)
    np.testing.assert_allclose(column_sums, P.sum(0), rtol=1e-12)
    np.testing.assert_allclose(costs, (P * C).sum(1), rtol=1e-12)


def test_infinite_costs_of_a_plan_count_nothing():
    C = np.array([[1.0, np.inf], [np.inf, 2.0]])
    sums = np.empty(2), np.zeros(2), np.empty(2)
    kernels.transport_cost(dense_cost(C), np.zeros(2), np.zeros(2), 1.0, 0, 2, *sums)
    np.testing.assert_allclose(sums[2], [np.exp(-1), 2 * np.exp(-2)])


def test_sweeps_by_scaling():
    rng = np.random.default_rng(0)
    P, a, b = rng.random((5, 8)), rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(8))
    u, v, column_sums, errors = np.ones(5), np.ones(8), P.sum(0), np.empty(7)
    done = kernels.scale_plan(P, a, b, u, v, column_sums, 0.0, 1e10, errors)
    assert done == (7, False)
    v_now, u_now = None, np.ones(5)
    for error in errors:
        v_now = b / (P.T @ u_now)
        u_now = a / (P @ v_now)
        np.testing.assert_allclose(error, np.abs(v_now * (P.T @ u_now) - b).sum(), atol=1e-15)
    np.testing.assert_allclose(u, u_now)
    np.testing.assert_allclose(v, v_now)
    np.testing.assert_allclose(column_sums, P.T @ u)
    # It ends at the tolerance, and before the factors lose accuracy.
    sweeps, extreme = kernels.scale_plan(P, a, b, u, v, column_sums, 1.0, 1e10, errors)
    assert (sweeps, extreme) == (1, False)
    assert kernels.scale_plan(1e12 * P, a, b, u, v, column_sums, 0.0, 1e10, errors) == (1, True)


def sparse_plan(n=12, m=15, density=0.3, seed=0, magnitudes=6):
    """Return a plan with entries of many magnitudes, its CSR arrays, and its row-sum slack."""
    rng = np.random.default_rng(seed)
    S = np.where(rng.random((n, m)) < density, 10.0 ** rng.uniform(-magnitudes, 0, (n, m)), 0)
    kept = sparse.csr_array(S)
    rows, columns = S.sum(1), S.sum(0)
    excess = rng.random(n) * 1e-3, rng.random(m) * 1e-3
    return S, (kept.indptr.astype(np.int64), kept.indices, kept.data), rows, columns, excess


def newton_matrix(S, rows, columns):
    return np.block([[np.diag(rows), S], [S.T, np.diag(columns)]])


def test_the_system_of_a_sparsified_plan():
    rng = np.random.default_rng(0)
    P = rng.random((6, 5)) ** 4
    rows, columns = P.sum(1), P.sum(0)
    exact = newton_matrix(P, rows, columns)
    null = np.concatenate([np.ones(6), -np.ones(5)])
    np.testing.assert_allclose(exact @ null, 0, atol=1e-12)
    S = np.where(P >= 0.2, P, 0)
    M = newton_matrix(S, rows, columns)  # the diagonals are those of all of P
    assert np.linalg.eigvalsh(M)[0] >= -1e-14
    kept = sparse.csr_array(S)
    arrays = kept.indptr.astype(np.int64), kept.indices, kept.data
    schur = np.empty((5, 5))
    for j in range(5):
        system.schur_product(*arrays, rows, columns, np.eye(5)[j], schur[j])
    expected = np.diag(columns) - S.T @ np.diag(1 / rows) @ S
    np.testing.assert_allclose(schur, expected, atol=1e-14)
    assert np.linalg.eigvalsh(schur)[0] >= -1e-14
    sums = np.zeros(5)
    np.testing.assert_allclose(system.sum_entries(*arrays, sums), S.sum(1))
    np.testing.assert_allclose(sums, S.sum(0))


@pytest.mark.parametrize("seed", range(5))
def test_the_heaviest_forest(seed):
    S, arrays, *_ = sparse_plan(density=0.4, seed=seed)
    n, m = S.shape
    rows, columns, weights = heaviest_forest(*arrays, m)
    np.testing.assert_array_equal(S[rows, columns - n], weights)
    graph = sparse.coo_array((weights, (rows, columns)), shape=(n + m, n + m))
    bipartite = sparse.block_array([[None, sparse.csr_array(S)], [sparse.csr_array(S.T), None]])
    parts = sparse.csgraph.connected_components
    assert parts(graph, directed=False)[0] == n + m - weights.size  # no cycle
    assert parts(bipartite, directed=False)[0] == n + m - weights.size  # spans every component
    # Maximal weight by the logarithm; weights within 7 percent count as equal.
    logs = bipartite.tocsr()
    logs.data = -np.log(logs.data) - 100
    best = -minimum_spanning_tree(logs).sum() - 100 * weights.size
    assert best - 0.07 * weights.size <= np.log(weights).sum() <= best + 1e-9


def preconditioned(factors, r):
    work = np.empty_like(r)
    work[factors[0]] = r
    substitute(factors, work)
    return work[factors[0]]


def test_the_preconditioner_of_a_forest_is_exact():
    # A path of rows and columns, a star, and bins without any edge.
    S = np.zeros((7, 8))
    for i in range(4):
        S[i, i], S[i, i + 1] = 10.0**-i, 10.0 ** (i - 5)
    S[5, 5:7] = 1e-9, 2.0
    kept = sparse.csr_array(S)
    arrays = kept.indptr.astype(np.int64), kept.indices, kept.data
    rng = np.random.default_rng(0)
    excess = rng.random(7) * 1e-3, rng.random(8) * 1e-3
    M = newton_matrix(S, S.sum(1) + excess[0], S.sum(0) + excess[1])
    factors = factorize(*arrays, *excess)
    r = rng.standard_normal(15)
    np.testing.assert_allclose(preconditioned(factors, r), np.linalg.solve(M, r), rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_preconditioner_of_any_graph(seed):
    S, arrays, rows, columns, excess = sparse_plan(density=0.5, seed=seed)
    n, m = S.shape
    M = newton_matrix(S, rows + excess[0], columns + excess[1])
    factors = factorize(*arrays, *excess)
    inverse = np.column_stack([preconditioned(factors, e) for e in np.eye(n + m)])
    np.testing.assert_allclose(inverse, inverse.T, rtol=1e-8, atol=1e-8 * np.abs(inverse).max())
    assert np.linalg.eigvalsh((inverse + inverse.T) / 2)[0] > 0
    # It keeps the sums of the signed matrix, whose near null vector is (1, -1).
    signs = np.concatenate([np.ones(n), -np.ones(m)])
    np.testing.assert_allclose(inverse @ (M @ signs), signs, rtol=1e-8)


def test_the_preconditioner_keeps_tiny_excesses():
    # Where the excess is far below rounding errors of the weights, as at convergence.
    S, arrays, *_ = sparse_plan(density=0.0)
    S = np.eye(12, 15) + np.eye(12, 15, k=1)
    kept = sparse.csr_array(S)
    arrays = kept.indptr.astype(np.int64), kept.indices, kept.data
    excess = np.full(12, 1e-20), np.full(15, 1e-20)
    factors = factorize(*arrays, *excess)
    v = np.concatenate([np.ones(12), -np.ones(15)])
    excesses = np.concatenate(excess) * v  # M v, without cancellation
    np.testing.assert_allclose(preconditioned(factors, excesses), v, rtol=1e-10)


@pytest.mark.parametrize("preconditioner", ["diagonal", "forest"])
def test_conjugate_gradients_solve_the_system(preconditioner):
    S, arrays, rows, columns, excess = sparse_plan(30, 40, magnitudes=3)
    rows, columns = rows + excess[0], columns + excess[1]
    factors = factorize(*arrays, *excess) if preconditioner == "forest" else NO_FACTORS
    h, v = np.random.default_rng(0).standard_normal(40), np.empty(40)
    iterations, solved = system.solve_schur(*arrays, rows, columns, factors, h, 1e-11, 500, v)
    expected = np.linalg.solve(np.diag(columns) - S.T @ np.diag(1 / rows) @ S, h)
    assert solved
    np.testing.assert_allclose(v, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())
    few, solved = system.solve_schur(*arrays, rows, columns, factors, h, 1e-11, 2, v)
    assert (few, solved) == (2, False)
    assert iterations > 2


def test_the_forest_saves_iterations_where_weights_span_many_magnitudes():
    _, arrays, rows, columns, _ = sparse_plan(200, 200, density=0.03, magnitudes=12)
    rows, columns = rows + 1e-9, columns + 1e-9
    factors = factorize(*arrays, np.full(200, 1e-9), np.full(200, 1e-9))
    h, v = np.random.default_rng(0).standard_normal(200), np.empty(200)
    counts = [
        system.solve_schur(*arrays, rows, columns, given, h, 1e-2, 2000, v)[0]
        for given in (factors, NO_FACTORS)
    ]
    assert counts[0] <= 40 < counts[1]
