"""Planted directions: the reference data, the laws of noise and features, links."""

import itertools
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from sparseopt.datasets import make_single_index, make_spiked_tensor

STATISTICS = json.loads(
    (Path(__file__).parents[1] / "data" / "langevin" / "statistics.json").read_text()
)


def _overlaps(case, direction_of):
    """Return the overlaps with the truth that were recorded for partial traces, and our own."""
    recorded = np.array(case["per_seed"])[:, case["cols"].index("ptrace")]
    own = []
    for seed in case["seeds"]:
        problem, estimate = direction_of(case, seed)
        own.append(abs(problem.direction @ estimate) / np.linalg.norm(estimate))
    return recorded, own


def _tensor_trace(case, seed):
    options = {"order": case["k"], "snr": case["lam"], "random_state": seed}
    problem = make_spiked_tensor(case["d"], **options)
    trace = np.einsum("ii...->...", problem.tensor)
    if case["k"] == 3:
        return problem, trace
    trace -= np.trace(trace) / case["d"] * np.eye(case["d"])
    # The reference takes the eigenvalue of the largest modulus, which need not be the planted one.
    values, vectors = np.linalg.eigh(trace)
    return problem, vectors[:, np.argmax(np.abs(values))]


def _model_trace(case, seed):
    """Return the mean drift of h_k over the sphere; see the guide to Langevin averaging."""
    options = {"degree": case["k"], "noise": case["noise"], "random_state": seed}
    problem = make_single_index(case["n"], case["d"], **options)
    X, y, d = problem.X, problem.y, case["d"]
    norms = np.sum(X**2, axis=1)
    if case["k"] == 3:
        return problem, X.T @ (y * (norms / (d + 2) - 1))
    # (1 / r) E[h_4'(r t) t (1 - t^2)] with E[t^2] = 1 / d, E[t^4] = 3 / (d (d + 2)), E[t^6] = ...
    second, fourth = 1 / d, 3 / (d * (d + 2))
    sixth = fourth * 5 / (d + 4)
    weights = y * (norms * (fourth - sixth) - 3 * (second - fourth))
    return problem, _leading(
        (X.T * weights) @ X - np.mean(weights * norms) * len(X) / d * np.eye(d)
    )


def _leading(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors[:, np.argmax(values)]


@pytest.mark.parametrize("case", STATISTICS["tensor"], ids=lambda c: f"k{c['k']}-d{c['d']}")
def test_reference_tensors(case):
    recorded, own = _overlaps(case, _tensor_trace)
    np.testing.assert_allclose(own, recorded, atol=6e-5)  # four digits are recorded


@pytest.mark.parametrize("case", STATISTICS["sim"], ids=lambda c: f"k{c['k']}-n{c['n']}")
def test_reference_models(case):
    recorded, own = _overlaps(case, _model_trace)
    np.testing.assert_allclose(own, recorded, atol=6e-5)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_tensors_are_symmetric_means(order):
    problem = make_spiked_tensor(4, order=order, snr=3.0, random_state=7)
    rng = np.random.default_rng(7)
    theta = rng.standard_normal(4)
    theta /= np.linalg.norm(theta)
    spike = np.full((), 3.0)
    for _ in range(order):
        spike = np.multiply.outer(spike, theta)
    raw = spike + rng.standard_normal((4,) * order)
    permutations = list(itertools.permutations(range(order)))
    expected = sum(raw.transpose(p) for p in permutations) / len(permutations)
    np.testing.assert_allclose(problem.tensor, expected, atol=1e-14)
    np.testing.assert_array_equal(problem.direction, theta)


def _value(problem, theta, order):
    if "tensor" not in problem:
        return problem.weights @ (problem.factors @ theta) ** order
    value = problem.tensor
    for _ in range(order):
        value = value @ theta
    return value


@pytest.mark.parametrize(("n_terms", "variance"), [(None, 1.0), (60, 15 / 6)])
def test_noise_has_the_stated_variance(n_terms, variance):
    theta = np.full(6, 6**-0.5)
    options = {"order": 3, "snr": 0.0, "n_terms": n_terms}
    values = [
        _value(make_spiked_tensor(6, **options, random_state=seed), theta, 3)
        for seed in range(1500)
    ]
    assert np.var(values) == pytest.approx(variance, rel=0.2)


def test_a_sum_of_powers_is_like_the_tensor_off_its_traces():
    problem = make_spiked_tensor(25, order=3, snr=0.0, n_terms=4000, random_state=0)
    full = np.einsum("n,ni,nj,nk->ijk", problem.weights, *[problem.factors] * 3, optimize=True)
    i, j, k = np.array(list(itertools.combinations(range(25), 3))).T
    assert np.var(full[i, j, k]) == pytest.approx(1 / math.factorial(3), rel=0.1)
    assert make_spiked_tensor(10, order=4).snr == pytest.approx(10.0)
    planted = make_spiked_tensor(25, order=3, snr=70.0, n_terms=4000, random_state=0)
    np.testing.assert_array_equal(planted.factors[-1], planted.direction)
    assert planted.weights[-1] == planted.snr == 70.0
    np.testing.assert_array_equal(planted.factors[:-1], problem.factors[:-1])


@pytest.mark.parametrize("degree", range(1, 7))
def test_hermite_links_are_orthonormal(degree):
    link = make_single_index(5, 2, degree=degree).link
    nodes, weights = hermegauss(20)
    weights = weights / weights.sum()
    for other in range(1, 7):
        expected = float(other == degree)
        product = link(nodes) * make_single_index(5, 2, degree=other).link(nodes)
        assert weights @ product == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("link", "exponent"),
    [
        *[(name, 1) for name in ("identity", "relu", "sign", "softplus", "tanh")],
        *[(name, 2) for name in ("square", "cosine")],
    ],
)
def test_information_exponents_of_links(link, exponent):
    problem = make_single_index(100_000, 2, link=link, noise=0.0, random_state=0)
    moments = [problem.index, (problem.index**2 - 1) / np.sqrt(2)]
    found = [abs(np.mean(problem.y * h)) > 0.1 for h in moments]
    assert found.index(True) + 1 == exponent


@pytest.mark.parametrize(
    "link", ["cosine", "hermite", "identity", "relu", "sign", "softplus", "square", "tanh"]
)
def test_problems_can_be_pickled_and_share_no_memory(link):
    problem = make_single_index(20, 2, link=link, degree=1, random_state=0)
    again = pickle.loads(pickle.dumps(problem))
    np.testing.assert_array_equal(again.link(problem.index), problem.mean)
    assert not np.shares_memory(problem.mean, problem.index)


def test_links_of_any_degree():
    problem = make_single_index(100, 2, degree=400, random_state=0)
    assert np.all(np.isfinite(problem.y))
    at_zero = math.sqrt(math.comb(400, 200) / 2**400)  # known in closed form
    assert math.isclose(problem.link(np.zeros(1))[0], at_zero, rel_tol=1e-10)


def test_target_is_mean_plus_noise():
    problem = make_single_index(20_000, 8, link=np.exp, noise=0.5, random_state=1)
    np.testing.assert_allclose(problem.index, problem.X @ problem.direction, atol=1e-13)
    np.testing.assert_array_equal(problem.mean, np.exp(problem.index))
    assert np.std(problem.y - problem.mean) == pytest.approx(0.5, rel=0.03)
    assert problem.link is np.exp


def test_correlated_features():
    problem = make_single_index(40_000, 4, correlation=0.6, noise=0.0, random_state=1)
    distance = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    np.testing.assert_allclose(np.cov(problem.X.T), 0.6**distance, atol=0.03)
    assert np.linalg.norm(problem.direction) == pytest.approx(1.0)
    assert np.std(problem.index) == pytest.approx(1.0, abs=0.02)
    assert abs(np.corrcoef(problem.index, problem.X @ problem.direction)[0, 1] - 1) < 1e-12


@pytest.mark.parametrize("order", [1, 2.5, "3"])
def test_bad_orders(order):
    with pytest.raises(ValueError, match="order"):
        make_spiked_tensor(5, order=order)


def test_bad_models():
    with pytest.raises(ValueError, match="link must return an array of shape"):
        make_single_index(5, 2, link=lambda u: u[:-1])
    with pytest.raises(ValueError, match="The 'link' parameter"):
        make_single_index(5, 2, link="logit")
    for name, value in (("degree", 0), ("correlation", 1.0), ("n_features", 0)):
        with pytest.raises(ValueError, match=name):
            make_single_index(**{name: value})
    with pytest.raises(ValueError, match="n_terms"):
        make_spiked_tensor(5, n_terms=0)
