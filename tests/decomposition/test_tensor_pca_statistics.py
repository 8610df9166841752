"""Tensor PCA against recorded overlaps, and how often it sees a signal in noise."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_spiked_tensor
from sparseopt.decomposition import TensorPCA
from sparseopt.decomposition._symmetric_tensor import DenseTensor
from sparseopt.decomposition._tensor_detection import GROUND_STATE, detection_threshold
from sparseopt.decomposition._tensor_solvers import leading_eigenvector
from sparseopt.optimize import langevin_average

DATA = Path(__file__).parents[1] / "data" / "langevin"
CASES = json.loads((DATA / "statistics.json").read_text())["tensor"]
ROUNDED = 6e-5  # the record has four digits


def name_of(case):
    return "k{k}-d{d}-snr{lam}-kappa{kappa}".format(**case)


def column(case, name):
    return np.array(case["per_seed"])[:, case["cols"].index(name)]


def spiked(case, seed):
    return make_spiked_tensor(case["d"], order=case["k"], snr=case["lam"], random_state=seed)


def overlap(model, direction):
    return abs(float(model.components_[0] @ direction))


@pytest.fixture(autouse=True)
def let_chains_disagree():
    """Few chains in much noise may: what they find is judged here all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_recorded_functions_of_the_data(case):
    traces, refined = column(case, "ptrace"), column(case, "drift_then_power")
    for seed, trace_overlap, refined_overlap in zip(case["seeds"], traces, refined, strict=True):
        problem = spiked(case, seed)
        trace = DenseTensor(problem.tensor).partial_trace()
        if trace.ndim == 2:  # the record took the eigenvalue of largest modulus
            values, vectors = np.linalg.eigh(trace)
            trace = vectors[:, np.argmax(np.abs(values))]
        found = abs(trace @ problem.direction) / np.linalg.norm(trace)
        assert_allclose(found, trace_overlap, atol=ROUNDED)
        for solver in ("auto", "langevin"):
            model = TensorPCA(solver=solver, kappa=case["kappa"], random_state=seed)
            assert_allclose(
                overlap(model.fit(problem.tensor), problem.direction), refined_overlap, atol=ROUNDED
            )
            assert model.detected_[0]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_averages_are_as_good_as_recorded(case):
    found: dict = {"avg": [], "drift": []}
    for seed in range(20):
        problem = spiked(case, seed)
        tensor, even = DenseTensor(problem.tensor), case["k"] % 2 == 0
        run = langevin_average(
            tensor.gradient,
            tensor.n_features,
            eps=("auto", case["kappa"]),
            second_moment=even,
            random_state=seed,
        )
        means = (run.second_moment, run.drift_second) if even else (run.x, run.drift_mean)
        for name, mean in zip(found, means, strict=True):
            direction = leading_eigenvector(mean) if even else mean / np.linalg.norm(mean)
            found[name].append(abs(direction @ problem.direction))
    for name, overlaps in found.items():
        recorded = column(case, name)
        slack = 3 * np.std(recorded, ddof=1) / np.sqrt(len(recorded))
        assert np.mean(overlaps) >= np.mean(recorded) - slack


def test_one_default_passes_every_case():
    for case in CASES:
        found = [
            overlap(TensorPCA(random_state=0).fit(problem.tensor), problem.direction)
            for problem in (spiked(case, seed) for seed in case["seeds"])
        ]
        assert np.mean(found) >= np.mean(column(case, "drift_then_power")) - ROUNDED


def test_the_drift_average_needs_a_tenth_of_the_gradients():
    case = {"d": 100, "k": 3, "lam": 45}
    options = {"solver": "langevin", "refine": False, "kappa": 0.1}
    drift, iterate = [], []
    for seed in range(3):
        problem = spiked(case, seed)
        short = TensorPCA(max_iter=60, random_state=seed, **options).fit(problem.tensor)
        drift.append(overlap(short, problem.direction))
        long = TensorPCA(max_iter=600, average="iterate", random_state=seed, **options)
        iterate.append(overlap(long.fit(problem.tensor), problem.direction))
    assert np.mean(drift) > np.mean(iterate)


# -- detection -------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "d"), [(2, 20), (3, 6), (3, 30), (4, 15), (5, 8), (6, 6)])
@pytest.mark.parametrize("noise_scale", ["mad", 2.0])
def test_noise_is_hardly_ever_a_signal(k, d, noise_scale):
    seeds = range(40)
    detected = [
        TensorPCA(noise_scale=noise_scale, random_state=seed)
        .fit(2 * make_spiked_tensor(d, order=k, snr=0.0, random_state=seed).tensor)
        .detected_[0]
        for seed in seeds
    ]
    assert np.mean(detected) <= 0.05


@pytest.mark.parametrize(("k", "d"), [(3, 50), (4, 25), (5, 12)])
def test_a_signal_in_reach_is_detected(k, d):
    snr = 1.3 * GROUND_STATE[k] * np.sqrt(d)
    for seed in range(10):
        problem = make_spiked_tensor(d, order=k, snr=snr, random_state=seed)
        model = TensorPCA(random_state=seed).fit(problem.tensor)
        assert model.detected_[0]
        assert overlap(model, problem.direction) > 0.8


def test_thresholds():
    assert_allclose(detection_threshold(3, 10**6, estimated=True), 1.05 * 1.657, rtol=1e-4)
    for order in range(2, 7):
        thresholds = [detection_threshold(order, d, estimated=True) for d in (2, 5, 20, 100)]
        assert thresholds == sorted(thresholds, reverse=True)
        assert detection_threshold(order, 5, estimated=False) < thresholds[1]
