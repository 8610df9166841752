"""The rows of the table of Langevin averaging.

Every function returns the number that has an aim, and a remark. Times are processor times on one
thread.
"""

import functools
import tracemalloc
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from benchmarks.clock import timed
from benchmarks.langevin import rivals
from benchmarks.langevin.problems import (
    OWN_SEEDS,
    chain_overlaps,
    found,
    model_problem,
    overlap,
    recorded,
    recorded_cases,
    run_chains,
    tensor_problem,
)
from sparseopt.datasets import make_single_index, make_spiked_tensor
from sparseopt.decomposition import FactoredTensor, TensorPCA
from sparseopt.linear_model import SingleIndexRegressor

GROUND_STATE = {3: 1.657, 4: 1.794}  # of a form of pure noise over sqrt(d), for large d
ENOUGH = 0.5  # overlap
SINGLE = {  # the candidates of SingleIndexRegressor, one by one
    "OLS": {"solver": "partial_trace", "information_exponent": 1},
    "PHD": {"solver": "partial_trace", "information_exponent": 2},
    "SIR": {"solver": "sir"},
    "SAVE": {"solver": "save"},
    "Langevin 3": {"solver": "langevin", "information_exponent": 3},
    "Langevin 4": {"solver": "langevin", "information_exponent": 4},
}


def fitted(model, *data):
    """Return a fitted model; whether its chains were long enough is not asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data)


def gradients_needed(n_features=100, snr=45.0, kappa=0.1, n_seeds=3, max_iter=5000):
    """Return how many times fewer gradients the drift average takes to the mean overlap 0.5."""
    n_chains, paths = 16, []
    for seed in range(n_seeds):
        problem = tensor_problem(3, n_features, snr, seed)
        watch = Watch(problem.data.direction)
        options = {"burn_in": 0, "max_iter": max_iter, "n_chains": n_chains}
        run_chains(problem, kappa, seed, callback=watch, **options)
        paths.append(watch.overlaps)
    iterate, drift = np.mean(paths, axis=0).T
    needed = [n_chains * (1 + np.argmax(mean >= ENOUGH)) for mean in (iterate, drift)]
    at_least = ""
    if iterate[-1] < ENOUGH:
        at_least, needed[0] = "more than ", n_chains * max_iter
    return needed[0] / needed[1], f"{needed[1]} gradients instead of {at_least}{needed[0]}"


class Watch:
    """A callback that records the overlaps of both averages, an iteration a row."""

    def __init__(self, direction):
        self.direction, self.overlaps = direction, []

    def __call__(self, intermediate_result):
        averages = found(intermediate_result, 3).values()
        self.overlaps.append([overlap(average, self.direction) for average in averages])


def recorded_averages():
    """Return how many recorded overlaps both averages reach, in percent."""
    tensors, models = recorded_cases()
    misses, count = [], 0
    for case in [*tensors, *models]:
        runs = []
        for seed in OWN_SEEDS:
            data_seed = case["seeds"][seed % len(case["seeds"])]
            if "lam" in case:
                problem = tensor_problem(case["k"], case["d"], case["lam"], data_seed)
                options = {}
            else:
                problem = model_problem(case["k"], case["d"], case["n"], case["noise"], data_seed)
                options = {"n_chains": 20}
            runs.append(chain_overlaps(problem, case["kappa"], seed, **options))
        for name in ("avg", "drift"):
            own, least = np.mean([run[name] for run in runs]), recorded(case, name)[1]
            count += 1
            if own < least:
                misses.append(f"{describe(case)}: {name} {own:.3f} < {least:.3f}")
    return 100 * (1 - len(misses) / count), "; ".join(misses) or f"{count} means of 20 runs"


def describe(case):
    """Return the name of a recorded case."""
    size = f"snr {case['lam']}" if "lam" in case else f"n {case['n']}"
    return f"k {case['k']}, d {case['d']}, {size}"


def recorded_tensors():
    """Return on how many recorded tensors the default of TensorPCA is as good as recorded."""
    cases = recorded_cases()[0]
    misses, overlaps = [], []
    for case in cases:
        runs = []
        for seed in OWN_SEEDS:
            data_seed = case["seeds"][seed % len(case["seeds"])]
            options = {"order": case["k"], "snr": case["lam"], "random_state": data_seed}
            data = make_spiked_tensor(case["d"], **options)
            model = fitted(TensorPCA(random_state=seed), data.tensor)
            runs.append(overlap(model.components_[0], data.direction))
        overlaps.append(np.mean(runs))
        least = recorded(case, "drift_then_power")[1]
        if overlaps[-1] < least:
            misses.append(f"{describe(case)}: {overlaps[-1]:.4f} < {least:.4f}")
    remark = "; ".join(misses) or " ".join(f"{value:.4f}" for value in overlaps)
    return 100 * (1 - len(misses) / len(cases)), remark


def recorded_models(n_seeds=20):
    """Return on how many recorded models SingleIndexRegressor's default is as good as recorded."""
    cases = recorded_cases()[1]
    misses, overlaps = [], []
    for case in cases:
        runs = []
        for seed in range(n_seeds):
            data_seed = case["seeds"][seed % len(case["seeds"])]
            options = {"degree": case["k"], "noise": case["noise"], "random_state": data_seed}
            data = make_single_index(case["n"], case["d"], **options)
            model = fitted(SingleIndexRegressor(random_state=seed), data.X, data.y)
            runs.append(overlap(model.coef_, data.direction))
        overlaps.append(np.mean(runs))
        least = recorded(case, "refine_from_drift")[1]
        if overlaps[-1] < least:
            misses.append(f"{describe(case)}: {overlaps[-1]:.4f} < {least:.4f}")
    remark = "; ".join(misses) or " ".join(f"{value:.4f}" for value in overlaps)
    return 100 * (1 - len(misses) / len(cases)), remark


def against_candidates(n_seeds=3):
    """Return the smallest lead in test R2 over the best single candidate, over recorded models."""
    leads, remarks = [], []
    for case in recorded_cases()[1]:
        scores = {name: [] for name in ("auto", *SINGLE)}
        for seed in range(n_seeds):
            data = make_single_index(
                case["n"] + 5000,
                case["d"],
                degree=case["k"],
                noise=case["noise"],
                random_state=seed,
            )
            train, test = slice(case["n"]), slice(case["n"], None)
            for name, options in {"auto": {}, **SINGLE}.items():
                model = SingleIndexRegressor(**options, random_state=seed)
                fitted(model, data.X[train], data.y[train])
                scores[name].append(model.score(data.X[test], data.y[test]))
        means = {name: float(np.mean(values)) for name, values in scores.items()}
        best = max(SINGLE, key=means.get)
        leads.append(means["auto"] - means[best])
        remarks.append(f"{means['auto']:.3f} / {best} {means[best]:.3f}")
    return min(leads), "; ".join(remarks)


def ceiling(n_seeds=5):
    """Return the mean test R2 over that of the true function, d = 100, n = 2000, k = 3."""
    ratios = []
    for seed in range(n_seeds):
        data = make_single_index(12_000, 100, degree=3, noise=0.5, random_state=seed)
        model = fitted(SingleIndexRegressor(random_state=seed), data.X[:2000], data.y[:2000])
        y, truth = data.y[2000:], data.mean[2000:]
        best = 1 - np.mean((y - truth) ** 2) / np.var(y)
        ratios.append(model.score(data.X[2000:], y) / best)
    return float(np.mean(ratios)), "test R2 over the noise ceiling " + _listed(ratios)


def false_alarms(order, n_features, n_seeds=40):
    """Return the percentage of pure noise tensors in which a signal is detected."""
    ratios, alarms = [], 0
    for seed in range(n_seeds):
        options = {"order": order, "snr": 0.0, "random_state": seed}
        tensor = make_spiked_tensor(n_features, **options).tensor
        model = fitted(TensorPCA(random_state=seed), tensor)
        alarms += bool(model.detected_)
        ratios.append(model.snr_)
    return 100 * alarms / n_seeds, f"largest snr_ {np.max(ratios):.2f}, mean {np.mean(ratios):.2f}"


def detections(order, n_features, n_seeds=20):
    """Return the percentage of tensors with a weak but sufficient signal that are detected."""
    snr = 1.3 * GROUND_STATE[order] * np.sqrt(n_features)
    alarms, overlaps = 0, []
    for seed in range(n_seeds):
        data = make_spiked_tensor(n_features, order=order, snr=snr, random_state=seed)
        model = fitted(TensorPCA(random_state=seed), data.tensor)
        alarms += bool(model.detected_)
        overlaps.append(overlap(model.components_[0], data.direction))
    return 100 * alarms / n_seeds, f"snr {snr:.1f}, mean overlap {np.mean(overlaps):.2f}"


def false_models(n_seeds=40, n_permutations=19):
    """Return the percentage of models without signal whose p-value is at most 0.05."""
    p_values = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((200, 5)), rng.standard_normal(200)
        options = {"n_permutations": n_permutations, "n_chains": 4, "max_iter": 40}
        p_values.append(fitted(SingleIndexRegressor(**options, random_state=seed), X, y).p_value_)
    share = 100 * np.mean(np.array(p_values) <= 0.05)
    return share, f"{n_permutations} permutations, mean p {np.mean(p_values):.2f}"


def batched_chains(n_features, kappa=0.5):
    """Return the time of chains one by one over that of a batch, per gradient."""
    problem = tensor_problem(3, n_features, 32.0, 0)
    eps = run_chains(problem, kappa, 0, max_iter=2, burn_in=0).eps
    run_chains(problem, kappa, 0, max_iter=2, burn_in=0)
    batch, _ = timed(lambda: run_chains(problem, kappa, 0), repeats=3)
    options = {"n_chains": 4, "max_iter": 100, "seed": 0}
    loop, _ = timed(
        lambda: rivals.chains_one_by_one(problem.data.tensor, eps, **options), repeats=3
    )
    batch, loop = batch / 6400, loop / 400
    return loop / batch, f"{1e6 * batch:.0f} and {1e6 * loop:.0f} us a gradient"


def implicit():
    """Return the processor seconds of a fit to a sum of powers."""
    seconds, _, reached = _implicit()
    return seconds, f"overlap {reached:.3f}, 320 gradients, float32"


def implicit_memory():
    """Return the largest memory of the fit beyond the data, in MB."""
    _, megabytes, _ = _implicit()
    return megabytes, "beside 800 MB of data; the tensor would take 32 GB"


@functools.cache
def _implicit(n_features=2000, n_terms=100_000):
    """Return seconds, megabytes and overlap. Seconds are taken with allocations traced."""
    data = make_spiked_tensor(n_features, order=3, snr=6000.0, n_terms=n_terms, random_state=0)
    X, weights = data.factors.astype(np.float32), data.weights.astype(np.float32)
    data.factors = None
    model = TensorPCA(solver="langevin", n_chains=8, max_iter=40, burn_in=10, random_state=0)
    tracemalloc.start()
    seconds, _ = timed(lambda: model.fit(FactoredTensor(X, weights, order=3)))
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return seconds, megabytes, overlap(model.components_[0].astype(float), data.direction)


def against_tensorly(peer, snr, n_features=50, n_seeds=10):
    """Return the mean overlap minus that of tensorly, and both times."""
    function = {"power": rivals.tensorly_power, "parafac": rivals.tensorly_parafac}[peer]
    overlaps, seconds = [], []
    for seed in range(n_seeds):
        data = make_spiked_tensor(n_features, order=3, snr=snr, random_state=seed)
        own_seconds, model = timed(
            lambda data=data, seed=seed: TensorPCA(random_state=seed).fit(data.tensor)
        )
        peer_seconds, theirs = timed(lambda data=data: function(data.tensor))
        pair = model.components_[0], theirs
        overlaps.append([overlap(x, data.direction) for x in pair])
        seconds.append([own_seconds, peer_seconds])
    own, theirs = np.mean(overlaps, axis=0)
    times = np.median(seconds, axis=0)
    remark = f"{own:.3f} / {theirs:.3f}; {times[0]:.2f} / {times[1]:.2f} s"
    return own - theirs, remark


def against_statsmodels(n_seeds=10):
    """Return the mean overlap minus that of statsmodels' SIR, d = 100, n = 1000, k = 3."""
    overlaps, seconds = [], []
    for seed in range(n_seeds):
        data = make_single_index(1000, 100, degree=3, noise=0.5, random_state=seed)
        own_seconds, model = timed(
            lambda data=data, seed=seed: SingleIndexRegressor(random_state=seed).fit(data.X, data.y)
        )
        peer_seconds, theirs = timed(lambda data=data: rivals.statsmodels_sir(data.X, data.y))
        overlaps.append([overlap(x, data.direction) for x in (model.coef_, theirs)])
        seconds.append([own_seconds, peer_seconds])
    own, theirs = np.mean(overlaps, axis=0)
    times = np.median(seconds, axis=0)
    return own - theirs, f"{own:.3f} / {theirs:.3f}; {times[0]:.2f} / {times[1]:.2f} s"


def _listed(values):
    return " ".join(f"{value:.3f}" for value in values)
