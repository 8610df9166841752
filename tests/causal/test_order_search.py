"""Order search against brute force, least squares in NumPy and what is known of the population."""

import itertools

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import Status
from sparseopt.causal import _order_search
from sparseopt.causal._kernels import order_search as kernels
from sparseopt.causal._order_search import OrderState, conditional_variance_order, search_order

N_SAMPLES = 300


def random_model(d, seed, *, density=0.5, equal_variance=False):
    """Return the adjacency, an order of it and the noise variances of a random linear model."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(d)
    edges = np.triu(rng.random((d, d)) < density, 1)
    weights = edges * rng.uniform(0.5, 1.5, (d, d)) * rng.choice([-1, 1], (d, d))
    adjacency = np.zeros((d, d))
    adjacency[np.ix_(order, order)] = weights
    variances = np.ones(d) if equal_variance else rng.uniform(0.5, 3, d)
    return adjacency, order, variances


def random_samples(d, seed, *, n=N_SAMPLES, **options):
    """Return centred samples of a random linear model, and their covariance matrix."""
    adjacency, _, variances = random_model(d, seed, **options)
    noise = np.random.default_rng([seed, 1]).standard_normal((n, d)) * np.sqrt(variances)
    X = noise @ np.linalg.inv(np.eye(d) - adjacency)
    X -= X.mean(axis=0)
    return X, X.T @ X / n


def population_covariance(adjacency, variances):
    mixing = np.linalg.inv(np.eye(len(variances)) - adjacency)
    return mixing.T @ np.diag(variances) @ mixing


def residual_variance(C, node, parents):
    parents = list(parents)
    weights = np.linalg.lstsq(C[np.ix_(parents, parents)], C[parents, node], rcond=None)[0]
    return C[node, node] - C[node, parents] @ weights


def grow_shrink(C, n, node, candidates, penalty, common_variance, required=()):
    """Choose parents one regression at a time: the reference for the kernels."""

    def cost(parents):
        v = residual_variance(C, node, parents)
        fit = n * v / (2 * common_variance) if common_variance else n / 2 * np.log(v)
        return fit + penalty * len(parents)

    parents = [c for c in candidates if c in required]
    while outside := [c for c in candidates if c not in parents]:
        best = min(outside, key=lambda c: cost([*parents, c]))
        if not cost([*parents, best]) < cost(parents):
            break
        parents.append(best)
    while inside := [p for p in parents if p not in required]:
        least = min(inside, key=lambda p: cost([q for q in parents if q != p]))
        without = [q for q in parents if q != least]
        if not cost(without) <= cost(parents):
            break
        parents = without
    return parents


def reference_score(C, n, order, *, common_variance=0.0, penalty=None, forbidden=None, req=None):
    """Score an order by regressions of its nodes on the parents that they choose."""
    d = len(C)
    penalty = np.log(n) / 2 if penalty is None else penalty
    variances, edges = np.empty(d), 0
    for k, node in enumerate(order):
        candidates = [c for c in order[:k] if forbidden is None or not forbidden[c, node]]
        required = () if req is None else np.flatnonzero(req[:, node])
        parents = grow_shrink(C, n, node, candidates, penalty, common_variance, required)
        variances[node] = residual_variance(C, node, parents)
        edges += len(parents)
    fit = d * np.log(variances.mean()) if common_variance else np.log(variances).sum()
    return n / 2 * fit + penalty * edges


def insertions(order):
    for position, target in itertools.product(range(len(order)), repeat=2):
        others = np.delete(order, position)
        yield np.insert(others, target, order[position])


def start_state(C, n, order, *, equal_variance=False):
    """Return the state of a search, which knows the common variance."""
    d = len(C)
    allowed, required = np.ones((d, d), bool), np.zeros((d, d), bool)
    model = kernels.Model(C, n / 2, np.log(n) / 2, 0.0, allowed, required)
    return OrderState(model, np.array(order), 1e-6, equal_variance=equal_variance)


def skeleton_and_colliders(adjacency):
    """Return what graphs of one Markov equivalence class have in common, and only they."""
    edges = adjacency != 0
    skeleton = edges | edges.T
    colliders = {
        (i, j, k)
        for i, j, k in itertools.permutations(range(len(edges)), 3)
        if edges[i, j] and edges[k, j] and not skeleton[i, k]
    }
    return skeleton.tolist(), colliders


@pytest.mark.parametrize("equal_variance", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_result_is_what_least_squares_on_the_samples_says(seed, equal_variance):
    X, C = random_samples(12, seed)
    result = search_order(C, N_SAMPLES, np.arange(12), equal_variance=equal_variance)
    residuals = np.empty_like(X)
    weights = np.zeros((12, 12))
    for j in range(12):
        parents = np.flatnonzero(result.adjacency[:, j])
        weights[parents, j] = np.linalg.lstsq(X[:, parents], X[:, j], rcond=None)[0]
        residuals[:, j] = X[:, j] - X @ weights[:, j]
    variances = (residuals**2).mean(axis=0)
    if equal_variance:
        variances[:] = variances.mean()
    n_edges = np.count_nonzero(weights)
    score = N_SAMPLES / 2 * np.log(variances).sum() + np.log(N_SAMPLES) / 2 * n_edges
    np.testing.assert_allclose(result.adjacency, weights, atol=1e-10)
    np.testing.assert_allclose(result.noise_variances, variances, rtol=1e-10)
    np.testing.assert_array_equal(result.edges, weights != 0)
    assert result.fun == pytest.approx(score, rel=1e-11)
    place = np.argsort(result.order)
    causes, effects = np.nonzero(result.adjacency)
    assert (place[causes] < place[effects]).all()


@pytest.mark.parametrize("seed", range(4))
def test_search_finds_the_best_of_all_orders(seed):
    _, C = random_samples(5, seed)
    best = min(reference_score(C, N_SAMPLES, order) for order in itertools.permutations(range(5)))
    rng = np.random.default_rng(seed)
    starts = [rng.permutation(5) for _ in range(6)]
    found = [search_order(C, N_SAMPLES, start).fun for start in starts]
    assert min(found) == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize("equal_variance", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_no_insertion_improves_the_result(seed, equal_variance):
    _, C = random_samples(7, seed, density=0.7)
    state = start_state(C, N_SAMPLES, np.arange(7), equal_variance=equal_variance)
    while state.step().certificate > state.tol:
        pass
    s = state.model.common_variance
    own = reference_score(C, N_SAMPLES, state.x, common_variance=s)
    assert state.score == pytest.approx(own, abs=1e-8)
    others = [reference_score(C, N_SAMPLES, x, common_variance=s) for x in insertions(state.x)]
    assert min(others) > own - 2e-6
    assert len(set(np.round(others, 6))) > 5  # the insertions do differ


@pytest.mark.parametrize("equal_variance", [False, True])
def test_kept_scores_are_those_of_a_fresh_choice(equal_variance):
    _, C = random_samples(30, 0, density=0.2)
    state = start_state(C, N_SAMPLES, np.arange(30), equal_variance=equal_variance)
    first = state.score
    state.sweep()
    state.sweep(wander=True)
    assert state.score < first - 10
    kept = state.paths.variance[:30].copy(), state.paths.parents[:30].copy()
    score = kernels.choose_all(state.model, state.paths, state.x, state.work)
    np.testing.assert_allclose(kept[0], state.paths.variance[:30], rtol=1e-12)
    np.testing.assert_array_equal(kept[1], state.paths.parents[:30])
    assert state.score == pytest.approx(score, rel=1e-13)


@pytest.mark.parametrize("equal_variance", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_remembered_scores_change_nothing(seed, equal_variance):
    _, C = random_samples(30, seed, density=0.2)
    start = np.random.default_rng([seed, 2]).permutation(30)
    remembering = start_state(C, N_SAMPLES, start, equal_variance=equal_variance)
    forgetful = start_state(C, N_SAMPLES, start, equal_variance=equal_variance)
    for wander in (False, False, True, False, True, True):
        forgetful.forget()
        improvements = remembering.sweep(wander=wander), forgetful.sweep(wander=wander)
        np.testing.assert_array_equal(remembering.x, forgetful.x)
        assert remembering.score == pytest.approx(forgetful.score, rel=1e-13)
        assert improvements[0] == pytest.approx(improvements[1], abs=1e-8)


def test_paths_beyond_capacity_change_nothing(monkeypatch):
    _, C = random_samples(25, 3, density=0.4)
    expected = search_order(C, N_SAMPLES, np.arange(25))
    monkeypatch.setattr(_order_search, "PATH_CAPACITY", 3)
    result = search_order(C, N_SAMPLES, np.arange(25))
    assert np.count_nonzero(result.adjacency, axis=0).max() > 3
    np.testing.assert_array_equal(result.order, expected.order)
    np.testing.assert_allclose(result.adjacency, expected.adjacency, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_population_gives_the_equivalence_class(seed):
    adjacency, _, variances = random_model(7, seed, density=0.4)
    C = population_covariance(adjacency, variances)
    result = search_order(C, 10**6, np.random.default_rng([seed, 2]).permutation(7))
    assert skeleton_and_colliders(result.adjacency) == skeleton_and_colliders(adjacency)


@pytest.mark.parametrize("seed", range(5))
def test_population_of_equal_variances_gives_the_graph(seed):
    adjacency, _, variances = random_model(7, seed, density=0.4, equal_variance=True)
    C = population_covariance(adjacency, variances)
    start = np.random.default_rng([seed, 2]).permutation(7)
    result = search_order(C, 10**6, start, equal_variance=True)
    np.testing.assert_allclose(result.adjacency, adjacency, atol=1e-8)
    np.testing.assert_allclose(result.noise_variances, variances, rtol=1e-8)


@pytest.mark.parametrize("equal_variance", [False, True])
def test_names_of_the_nodes_do_not_matter(equal_variance):
    _, C = random_samples(20, 5, density=0.3)
    start = np.random.default_rng(0).permutation(20)
    p = np.random.default_rng(1).permutation(20)  # new node i is old node p[i]
    result = search_order(C, N_SAMPLES, start, equal_variance=equal_variance)
    permuted = search_order(
        C[np.ix_(p, p)], N_SAMPLES, np.argsort(p)[start], equal_variance=equal_variance
    )
    np.testing.assert_array_equal(p[permuted.order], result.order)
    np.testing.assert_allclose(permuted.adjacency, result.adjacency[np.ix_(p, p)], atol=1e-12)
    assert permuted.fun == pytest.approx(result.fun, rel=1e-13)


def test_units_do_not_matter_without_equal_variances():
    _, C = random_samples(15, 2, density=0.3)
    units = 10.0 ** np.random.default_rng(0).integers(-6, 7, 15)
    result = search_order(C, N_SAMPLES, np.arange(15))
    scaled = search_order(C * np.outer(units, units), N_SAMPLES, np.arange(15))
    np.testing.assert_array_equal(scaled.order, result.order)
    np.testing.assert_allclose(
        scaled.adjacency, result.adjacency / units[:, None] * units, rtol=1e-9
    )
    np.testing.assert_allclose(scaled.noise_variances, result.noise_variances * units**2, rtol=1e-9)


@pytest.mark.parametrize("equal_variance", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_score_falls_from_sweep_to_sweep(seed, equal_variance):
    _, C = random_samples(30, seed, density=0.3)
    start = np.random.default_rng([seed, 2]).permutation(30)
    result = search_order(C, N_SAMPLES, start, equal_variance=equal_variance)
    objective = result.history["objective"]
    assert result.success
    assert result.certificate <= 1e-6
    assert len(objective) > 2
    assert result.history["iteration"][-1] == result.nit
    assert (np.diff(objective) <= 0).all()
    assert objective[-1] < objective[0] - 1
    assert objective[-1] == result.fun


@pytest.mark.parametrize("seed", range(3))
def test_prior_knowledge_is_hard(seed):
    _, C = random_samples(6, seed, density=0.6)
    rng = np.random.default_rng(seed)
    required, forbidden = np.zeros((2, 6, 6), bool)
    start = rng.permutation(6)
    required[start[0], start[4]] = required[start[0], start[3]] = required[start[1], start[2]] = (
        True
    )
    forbidden |= (rng.random((6, 6)) < 0.3) & ~required
    feasible = [
        order
        for order in itertools.permutations(range(6))
        if all(order.index(i) < order.index(j) for i, j in np.argwhere(required))
    ]
    visited = []
    result = search_order(
        C, N_SAMPLES, start, forbidden=forbidden, required=required, callback=visited.append
    )
    assert all(tuple(order) in feasible for order in visited)
    assert (result.adjacency[required] != 0).all()
    assert (result.adjacency[forbidden] == 0).all()
    own = reference_score(C, N_SAMPLES, result.order, forbidden=forbidden, req=required)
    assert result.fun == pytest.approx(own, abs=1e-8)
    near = [tuple(order) for order in insertions(result.order) if tuple(order) in feasible]
    scores = [reference_score(C, N_SAMPLES, x, forbidden=forbidden, req=required) for x in near]
    assert min(scores) > own - 2e-6


def test_forbidding_all_against_the_true_order_leaves_the_true_graph():
    adjacency, order, variances = random_model(8, 1, density=0.5)
    place = np.argsort(order)
    forbidden = place[:, None] > place
    C = population_covariance(adjacency, variances)
    result = search_order(C, 10**6, order, forbidden=forbidden)
    np.testing.assert_allclose(result.adjacency, adjacency, atol=1e-8)


def test_a_required_edge_without_support_stays():
    C = np.eye(4)
    required = np.zeros((4, 4), bool)
    required[3, 0] = True
    for weight in (1e-4, 0.0):
        C[3, 0] = C[0, 3] = weight
        result = search_order(C, 100, [3, 0, 1, 2], required=required)
        np.testing.assert_array_equal(result.edges, required)
        np.testing.assert_allclose(result.adjacency, weight * required, rtol=1e-12)


def test_scales_that_differ_by_many_orders_of_magnitude():
    X, _ = random_samples(10, 4, density=0.4)
    X *= 10.0 ** np.random.default_rng(0).integers(-5, 6, 10)
    X[:, 0] = 1e4 * X[:, 9]  # a variance that vanishes once its twin comes before it
    for seed in range(10):
        result = search_order(
            X.T @ X / N_SAMPLES,
            N_SAMPLES,
            np.random.default_rng(seed).permutation(10),
            equal_variance=True,
        )
        objective, certificate = (result.history[key] for key in ("objective", "certificate"))
        assert result.success
        np.testing.assert_allclose(-np.diff(objective)[-1], certificate[-1], atol=1e-6)
        assert (np.diff(objective)[certificate[1:] > 1e-6] < 0).all()


@pytest.mark.parametrize("equal_variance", [False, True])
def test_a_duplicated_column(equal_variance):
    X, _ = random_samples(8, 0)
    X = np.column_stack([X, X[:, 3], -2 * X[:, 5]])
    C = X.T @ X / N_SAMPLES
    result = search_order(C, N_SAMPLES, np.arange(10), equal_variance=equal_variance)
    assert result.success
    assert np.isfinite(result.fun)
    assert np.isfinite(result.adjacency).all()
    assert (result.noise_variances > 0).all()
    # A twin explains its node, as far as variance is counted, and nothing is added to it.
    if not equal_variance:
        twins = sorted([(3, 8), (5, 9)])
        for i, j in twins:
            later = j if list(result.order).index(i) < list(result.order).index(j) else i
            assert result.noise_variances[later] == pytest.approx(1e-10 * C[later, later])
            assert np.count_nonzero(result.adjacency[:, later]) == 1


def test_required_parents_that_depend_on_each_other():
    X, _ = random_samples(5, 0)
    X = np.column_stack([X, X[:, 1]])
    required = np.zeros((6, 6), bool)
    required[1, 2] = required[5, 2] = True
    result = search_order(X.T @ X / N_SAMPLES, N_SAMPLES, [1, 5, 0, 2, 3, 4], required=required)
    assert (result.adjacency[required] != 0).all()
    np.testing.assert_array_equal(result.edges, result.adjacency != 0)


@pytest.mark.parametrize("equal_variance", [False, True])
def test_fewer_samples_than_nodes(equal_variance):
    _, C = random_samples(30, 0, n=12, density=0.2)
    result = search_order(C, 12, np.arange(30), equal_variance=equal_variance)
    assert result.success
    assert np.isfinite(result.fun)
    assert np.isfinite(result.adjacency).all()
    assert (result.noise_variances > 0).all()
    assert np.count_nonzero(result.adjacency, axis=0).max() <= 11  # the rank
    sparser = search_order(C, 12, np.arange(30), equal_variance=equal_variance, penalty=1e6)
    assert not sparser.edges.any()


def test_small_and_free_problems():
    one = search_order([[2.0]], 10, [0])
    assert one.success
    assert one.adjacency.tolist() == [[0.0]]
    assert one.noise_variances == [2.0]
    _, C = random_samples(6, 0)
    free = search_order(C, N_SAMPLES, np.arange(6), penalty=0)  # all predecessors are parents
    assert free.edges.sum() == 15
    assert free.fun == pytest.approx(N_SAMPLES / 2 * np.linalg.slogdet(C)[1], rel=1e-10)


def test_arguments_are_left_alone_and_runs_repeat():
    _, C = random_samples(15, 1)
    start = np.arange(15)[::-1].copy()
    before = C.copy(), start.copy()
    first, second = search_order(C, N_SAMPLES, start), search_order(C, N_SAMPLES, start)
    np.testing.assert_array_equal(C, before[0])
    np.testing.assert_array_equal(start, before[1])
    np.testing.assert_array_equal(first.adjacency, second.adjacency)
    assert first.fun == second.fun


def test_running_out_of_sweeps_warns_and_a_callback_stops():
    _, C = random_samples(30, 0, density=0.3)
    start = np.arange(30)
    with pytest.warns(ConvergenceWarning, match="Increase max_sweeps"):
        short = search_order(C, N_SAMPLES, start, max_sweeps=1)
    assert not short.success
    assert short.status == Status.ITERATION_LIMIT
    assert short.nit == 1
    state_score = reference_score(C, N_SAMPLES, short.order)
    assert short.fun == pytest.approx(state_score, abs=1e-7)

    def stop(intermediate_result):
        assert intermediate_result.x.shape == (30,)
        raise StopIteration

    stopped = search_order(C, N_SAMPLES, start, callback=stop)
    assert stopped.status == Status.STOPPED_BY_CALLBACK
    assert stopped.fun == short.fun


@pytest.mark.parametrize("seed", range(3))
def test_conditional_variance_order_against_regressions(seed):
    _, C = random_samples(8, seed)
    required = np.zeros((8, 8), bool)
    required[7, 0] = required[0, 3] = True
    for constraint in (None, required):
        chosen = []
        while len(chosen) < 8:
            eligible = [
                j
                for j in range(8)
                if j not in chosen
                and (constraint is None or set(np.flatnonzero(required[:, j])) <= set(chosen))
            ]
            chosen.append(min(eligible, key=lambda j: residual_variance(C, j, chosen)))
        np.testing.assert_array_equal(conditional_variance_order(C, constraint), chosen)


@pytest.mark.parametrize("seed", range(3))
def test_conditional_variance_order_is_causal_in_the_population(seed):
    adjacency, _, variances = random_model(30, seed, density=0.2, equal_variance=True)
    order = conditional_variance_order(population_covariance(adjacency, variances))
    place = np.argsort(order)
    causes, effects = np.nonzero(adjacency)
    assert causes.size > 50
    assert (place[causes] < place[effects]).all()


def test_conditional_variance_order_of_a_singular_matrix():
    X, _ = random_samples(20, 0, n=7)
    X[:, 4] = X[:, 2]
    order = conditional_variance_order(X.T @ X / 7)
    np.testing.assert_array_equal(np.sort(order), np.arange(20))


EDGE = np.zeros((3, 3), bool)
EDGE[2, 0] = True
CYCLE = EDGE | EDGE.T


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"C": np.ones((2, 3))}, ValueError, "square"),
        ({"C": np.zeros((0, 0))}, ValueError, "square"),
        ({"C": np.diag([1.0, np.nan, 1.0])}, ValueError, "finite"),
        ({"C": np.diag([1.0, 0.0, 1.0])}, ValueError, "column 1"),
        ({"C": np.eye(3) + EDGE}, ValueError, "symmetric"),
        ({"C": np.eye(3) + 2 * CYCLE}, ValueError, "semi-definite"),
        ({"C": np.eye(3) * 1j}, ValueError, "real"),
        ({"n_samples": 0}, ValueError, "n_samples"),
        ({"n_samples": 10.0}, TypeError, "n_samples"),
        ({"order": [0, 1]}, ValueError, "permutation"),
        ({"order": [0, 1, 1]}, ValueError, "permutation"),
        ({"order": [1, 2, 3]}, ValueError, "permutation"),
        ({"order": [[0, 1, 2]]}, ValueError, "permutation"),
        ({"order": ["a", "b", "c"]}, ValueError, "permutation"),
        ({"penalty": -1.0}, ValueError, "penalty"),
        ({"penalty": np.nan}, ValueError, "penalty"),
        ({"tol": -1.0}, ValueError, "tol"),
        ({"max_sweeps": 0}, ValueError, "max_sweeps"),
        ({"equal_variance": "yes"}, TypeError, "equal_variance"),
        ({"forbidden": EDGE.astype(int)}, TypeError, "forbidden"),
        ({"forbidden": EDGE[:2]}, ValueError, "forbidden"),
        ({"required": EDGE[:, :2]}, ValueError, "required"),
        ({"required": np.eye(3, dtype=bool)}, ValueError, "itself, got one at 0"),
        ({"required": EDGE, "forbidden": EDGE}, ValueError, "from 2 to 0"),
        ({"required": EDGE}, ValueError, "2 before 0"),
        ({"required": CYCLE}, ValueError, "before"),
    ],
)
def test_bad_arguments_are_named(changes, error, message):
    arguments = {"C": np.eye(3), "n_samples": 10, "order": [0, 1, 2]} | changes
    C, n_samples, order = (arguments.pop(name) for name in ("C", "n_samples", "order"))
    with pytest.raises(error, match=message):
        search_order(C, n_samples, order, **arguments)


def test_required_cycles_are_named_by_the_start():
    with pytest.raises(ValueError, match=r"cycle among the nodes \[0, 2\]"):
        conditional_variance_order(np.eye(3), CYCLE)


def test_a_required_edge_counts_even_if_it_explains_nothing():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(100)
    C = np.cov(np.column_stack([a, a, a + rng.standard_normal(100)]).T, bias=True)
    required = np.zeros((3, 3), dtype=bool)
    required[:2, 2] = True
    result = search_order(C, 100, [0, 1, 2], required=required, forbidden=~required)
    variance = C[2, 2] - C[0, 2] ** 2 / C[0, 0]
    expected = 50 * np.log([C[0, 0], C[1, 1], variance]).sum() + 2 * np.log(100) / 2
    np.testing.assert_allclose(result.fun, expected)
