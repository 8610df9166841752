"""The rows of the table of causal graphs: processor times on one thread, and graphs.

Every function returns the number that has an aim, and a remark.
"""

import importlib
import time

import numpy as np

from benchmarks.causal.published import learn_dag
from benchmarks.causal.rivals import has_dagma, learn_by_dagma
from benchmarks.causal.settings import simulate
from benchmarks.clock import timed
from sparseopt.causal import CoLiDE, shd, shd_cpdag, threshold_to_dag

SEEDS = range(5)
SCHEDULE = {50: 8000, 100: 4000}  # steps a stage of an equal race, by the number of nodes


def _compile(X, **options):
    timed(lambda: CoLiDE(**options, warm_iter=2, max_iter=2).fit(X))


def _fit(data, **options):
    """Return seconds and model of a warm fit."""
    return timed(lambda: CoLiDE(**options).fit(data.X))


def adam(n_features):
    """Return how many times faster "adam" takes the published steps, as many of them."""
    X = simulate("A", 0, n_features=n_features).X
    first = {"mu": (1.0,), "s": (1.0,), "max_iter": 500, "tol": 0.0}
    own, peer = timed(lambda: CoLiDE(solver="adam", **first).fit(X))[1], learn_dag(X, **first)[0]
    apart = np.abs(own.weights_raw_ - peer).max()
    steps = SCHEDULE[n_features]
    effort = {"warm_iter": steps, "max_iter": steps, "tol": 0.0}
    own_seconds, peer_seconds = [], []
    for _ in range(2):
        seconds, (weights, _) = timed(lambda: learn_dag(X, **effort))
        peer_seconds.append(seconds)
        seconds, model = timed(lambda: CoLiDE(solver="adam", **effort).fit(X))
        own_seconds.append(seconds)
    step = min(own_seconds) / model.n_iter_
    edges = shd(threshold_to_dag(weights), model.adjacency_)
    remark = (
        f"after 500 steps {apart:.0e} apart, at the end {edges} edges; "
        f"{_floor(n_features) / step:.2f} of the speed of one product and LAPACK's inverse"
    )
    return min(peer_seconds) / min(own_seconds), remark


def _floor(order, repeats=2000):
    """Return the seconds of a product and of LAPACK's inverse."""
    matrix = np.eye(order) - np.random.default_rng(0).random((order, order)) / order**2
    out = np.empty_like(matrix)

    def work():
        for _ in range(repeats):
            np.linalg.inv(matrix)
            np.matmul(matrix, matrix, out=out)

    return timed(work, 3)[0] / repeats


def whole_fits(n_features):
    """Return the ratio of the times of whole fits, each with its own number of steps."""
    data = simulate("A", 0, n_features=n_features)
    _compile(data.X, solver="adam")
    peer, (weights, steps) = timed(lambda: learn_dag(data.X))
    own, model = _fit(data, solver="adam")
    found = shd(data.adjacency, threshold_to_dag(weights)), shd(data.adjacency, model.adjacency_)
    return peer / own, f"{sum(steps)} / {model.n_iter_} steps, SHD {found[0]} / {found[1]}"


def proximal():
    """Return how many times faster "prox" is than the published NV algorithm on setting B."""
    options = {"variance": "non_equal", "solver": "prox"}
    _compile(simulate("B", 0).X, **options)
    seconds, found = np.zeros(2), []
    for seed in SEEDS:
        data = simulate("B", seed)
        peer, (weights, _) = timed(lambda X=data.X: learn_dag(X, "non_equal"))
        own, model = timed(lambda X=data.X: CoLiDE(**options).fit(X), 3)
        seconds += peer, own
        graphs = threshold_to_dag(weights), model.adjacency_
        found.append([shd(data.adjacency, graph) for graph in graphs])
    peer, own = np.mean(found, axis=0)
    verdict = "no worse" if own <= peer else "WORSE"
    return seconds[0] / seconds[1], f"mean SHD {peer:.1f} / {own:.1f}: {verdict}"


def several_starts():
    """Return the mean SHD of ``solver="prox", n_init=2`` on setting A."""
    _compile(simulate("A", 0).X, solver="adam")
    _compile(simulate("A", 0).X, solver="prox", n_init=2)
    seconds, found = np.zeros(2), []
    for seed in SEEDS:
        data = simulate("A", seed)
        own, several = _fit(data, solver="prox", n_init=2)
        peer, single = _fit(data, solver="adam")
        seconds += peer, own
        found.append([shd(data.adjacency, model.adjacency_) for model in (single, several)])
    one, two = np.mean(found, axis=0)
    return two, f"one fit by adam: {one:.1f}, and {seconds[0] / seconds[1]:.1f} times the time"


def refined_unequal():
    """Return the mean SHD of equivalence classes of ``refine="order"`` on setting B."""
    seconds, found = zip(*(_refined("B", "non_equal", seed, shd_cpdag) for seed in SEEDS))
    return np.mean(found), f"{list(found)}, {np.mean(seconds):.2f} s a fit"


def refined_equal():
    """Return the mean SHD of ``refine="order"`` on setting A less that of a plain fit by adam."""
    plain = [
        shd(data.adjacency, _fit(data, solver="adam")[1].adjacency_)
        for data in (simulate("A", seed) for seed in SEEDS)
    ]
    found = {
        solver: [_refined("A", "equal", seed, shd, solver)[1] for seed in SEEDS]
        for solver in ("adam", "prox")
    }
    remark = f"plain {plain}, refined {found['adam']}, after prox {found['prox']}"
    return np.mean(found["adam"]) - np.mean(plain), remark


def _refined(setting, variance, seed, distance, solver="prox"):
    data = simulate(setting, seed)
    seconds, model = _fit(data, variance=variance, solver=solver, refine="order")
    return seconds, distance(data.adjacency, model.adjacency_)


def against_dagma(n_features):
    """Return how many times faster "adam" is than dagma at equal settings."""
    if not has_dagma():
        return float("nan"), "dagma is not installed and takes no part"
    data = simulate("A", 0, n_features=n_features, edges_per_node=4 if n_features == 50 else 2)
    _compile(data.X, solver="adam")
    _compile(data.X, solver="prox")
    peer, weights = timed(lambda: learn_by_dagma(data.X))
    own, model = _fit(data, solver="adam")
    fast, proximal_model = timed(lambda: CoLiDE(solver="prox").fit(data.X), 3)
    graphs = (threshold_to_dag(weights), model.adjacency_, proximal_model.adjacency_)
    found = " / ".join(str(shd(data.adjacency, graph)) for graph in graphs)
    return peer / own, f"prox: {peer / fast:.0f} times; SHD of dagma / adam / prox {found}"


def large(n_features):
    """Return the seconds of a proximal fit of many nodes, with unequal variances."""
    data = simulate("B", 0, n_features=n_features)
    options = {"variance": "non_equal", "solver": "prox"}
    _compile(data.X, **options)
    seconds, model = _fit(data, **options)
    edges = np.count_nonzero(data.adjacency)
    found = shd(data.adjacency, model.adjacency_)
    return seconds, f"{edges} edges, SHD {found}, violation of stationarity {model.kkt_:.0e}"


def bootstraps():
    """Return the seconds that 100 bootstrap fits take on two cores."""
    edge_stability = importlib.import_module("sparseopt.causal").edge_stability
    X = simulate("B", 0).X
    model = CoLiDE("non_equal", solver="prox")
    edge_stability(model, X, n_bootstrap=2, n_jobs=2)  # compiles, starts the workers
    start = time.perf_counter()
    edge_stability(model, X, n_bootstrap=100, n_jobs=2)
    return time.perf_counter() - start, "by the clock"
