"""Tensor PCA: solvers, kinds of tensors, invariances, and wrong input."""

import math
import pickle
import warnings
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import ortho_group
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import get_tags

from sparseopt.datasets import make_spiked_tensor
from sparseopt.decomposition import FactoredTensor, TensorOperator, TensorPCA
from sparseopt.decomposition._symmetric_tensor import DenseTensor, mean_drift, symmetrise
from sparseopt.decomposition._tensor_solvers import (
    langevin_start,
    partial_trace_start,
    power_iteration,
    unfolding_start,
)

SOLVERS = ["auto", "langevin", "partial_trace", "unfolding", "power", "smoothed"]
SPIKES = {2: (30, 12.0), 3: (30, 14.0), 4: (20, 11.0), 5: (12, 12.0), 6: (8, 12.0)}


def power_of(theta, k):
    power = theta
    for _ in range(k - 1):
        power = np.multiply.outer(power, theta)
    return power


def spiked(k, seed=0):
    d, snr = SPIKES[k]
    return make_spiked_tensor(d, order=k, snr=snr, random_state=seed)


def overlap(model, direction, component=0):
    return abs(float(np.asarray(model.components_)[component] @ direction))


def unit_vector(d, seed=0):
    theta = np.random.default_rng(seed).standard_normal(d)
    return theta / np.linalg.norm(theta)


def coordinates_of(Y):
    nonzero = np.nonzero(Y)
    return SimpleNamespace(coords=np.stack(nonzero), data=Y[nonzero], shape=Y.shape)


# -- solvers ---------------------------------------------------------------------------


@pytest.mark.parametrize("k", list(SPIKES))
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_finds_a_strong_spike(k, solver):
    problem = spiked(k)
    model = TensorPCA(solver=solver, random_state=0).fit(problem.tensor)
    theta, value = model.components_[0], model.singular_values_[0]
    assert overlap(model, problem.direction) > 0.9
    assert_allclose(np.linalg.norm(theta), 1, rtol=1e-14)
    assert_allclose(value, np.sum(problem.tensor * power_of(theta, k)), rtol=1e-12)
    assert value >= np.sum(problem.tensor * power_of(problem.direction, k))  # it is a maximum
    assert_allclose(model.snr_, value / (model.noise_scale_ * math.sqrt(len(theta))))
    assert model.detected_.tolist() == [True]
    assert (model.order_, model.n_features_in_) == (k, len(theta))


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_the_result_is_a_critical_point(k):
    problem = spiked(k)
    model = TensorPCA(random_state=0).fit(problem.tensor)
    pull = DenseTensor(problem.tensor).contract(model.components_)
    assert_allclose(pull, model.singular_values_[:, None] * model.components_, atol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_matrix_is_an_eigenproblem(solver, sign):
    rng = np.random.default_rng(0)
    S = rng.standard_normal((12, 12))
    S = (S + S.T) / 2 + sign * 9 * np.multiply.outer(*[unit_vector(12)] * 2)
    values, vectors = np.linalg.eigh(S)
    model = TensorPCA(3, solver=solver, random_state=0).fit(S)
    order = np.argsort(-np.abs(values))[:3]
    assert_allclose(model.singular_values_, values[order], rtol=1e-8)
    overlaps = np.abs(np.sum(model.components_ * vectors[:, order].T, axis=1))
    assert_allclose(overlaps, 1, atol=1e-8)


def test_a_large_matrix_needs_no_dense_eigenproblem():
    d = 700
    theta = unit_vector(d)
    model = TensorPCA(random_state=0).fit(FactoredTensor(theta[None], [3.0], order=2))
    assert_allclose(overlap(model, theta), 1, atol=1e-10)
    assert_allclose(model.singular_values_, [3.0], rtol=1e-10)


@pytest.mark.parametrize("k", [3, 4, 5, 6])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_noise_free_power_is_recovered_exactly(k, solver):
    theta = unit_vector(7)
    model = TensorPCA(solver=solver, random_state=0).fit(5 * power_of(theta, k))
    assert_allclose(overlap(model, theta), 1, atol=1e-10)
    assert_allclose(model.singular_values_, [5.0], rtol=1e-10)
    assert_allclose(model.inverse_transform(), 5 * power_of(theta, k), atol=1e-9)


def test_partial_trace_is_the_infinite_temperature_of_the_drift_average():
    Y = np.random.default_rng(0).standard_normal((20,) * 3)
    for tensor in (
        DenseTensor(Y),
        DenseTensor(np.random.default_rng(0).standard_normal((12,) * 4)),
    ):
        run = langevin_start(
            tensor,
            average="drift",
            eps=("auto", 0.05),
            random_state=0,
            callback=None,
            n_chains=64,
            max_iter=200,
            burn_in=20,
        )
        assert abs(run.x @ partial_trace_start(tensor)) > 0.95
        exact = mean_drift(tensor)
        mean = run.average if exact.ndim == 1 else run.second_moment
        assert np.sum(mean * exact) > 0.9 * np.linalg.norm(mean) * np.linalg.norm(exact)


def test_unfolding_against_singular_vectors():
    rng = np.random.default_rng(0)
    third = DenseTensor(rng.standard_normal((6,) * 3))
    left = np.linalg.svd(third.entries().reshape(6, 36))[0][:, 0]
    assert_allclose(abs(unfolding_start(third) @ left), 1, rtol=1e-10)
    fourth = DenseTensor(rng.standard_normal((5,) * 4))
    leading = np.linalg.eigh(fourth.entries().reshape(25, 25))[1][:, -1].reshape(5, 5)
    left = np.linalg.svd(leading)[0][:, 0]
    assert_allclose(abs(unfolding_start(fourth) @ left), 1, rtol=1e-10)


def test_unfolding_of_a_large_tensor_is_the_same(monkeypatch):
    tensors = [DenseTensor(spiked(k).tensor) for k in (3, 4, 5)]
    direct = [unfolding_start(tensor) for tensor in tensors]
    monkeypatch.setattr("sparseopt.decomposition._tensor_solvers.LARGEST_DIRECT", 10)
    for tensor, expected in zip(tensors, direct, strict=True):
        assert_allclose(abs(unfolding_start(tensor) @ expected), 1, rtol=1e-8)


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_power_iteration_never_goes_down(k):
    tensor = DenseTensor(np.random.default_rng(k).standard_normal((6,) * k))
    start = np.random.default_rng(1).standard_normal((20, 6))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    ascent = power_iteration(tensor, start, tol=1e-10)
    assert np.all(np.diff(ascent.history, axis=0) >= -1e-13 * np.abs(ascent.history[-1]))
    assert np.any(ascent.history[-1] > ascent.history[0] + 0.5)
    assert_allclose(tensor.value(ascent.x), ascent.fun, rtol=1e-12)


def test_refinement_raises_the_value():
    problem = spiked(3)
    for solver in SOLVERS[1:]:
        raw = TensorPCA(solver=solver, refine=False, random_state=0).fit(problem.tensor)
        refined = TensorPCA(solver=solver, random_state=0).fit(problem.tensor)
        assert refined.singular_values_[0] > raw.singular_values_[0] > 0


def test_auto_is_at_least_as_good_as_its_candidates():
    problem = make_spiked_tensor(40, order=3, snr=10.0, random_state=3)
    model = TensorPCA(random_state=0).fit(problem.tensor)
    assert set(model.candidates_[0]) == {"partial_trace", "unfolding", "langevin"}
    for theta, value in model.candidates_[0].values():
        assert model.singular_values_[0] >= value
        assert_allclose(value, np.sum(problem.tensor * power_of(theta, 3)), rtol=1e-12)


# -- chains ----------------------------------------------------------------------------


@pytest.mark.parametrize("average", ["drift", "iterate"])
@pytest.mark.parametrize("k", [3, 4])
def test_averages_belong_to_the_parity_of_the_order(k, average):
    problem = spiked(k)
    model = TensorPCA(solver="langevin", average=average, refine=False, random_state=0)
    model.fit(problem.tensor)
    d, theta = len(problem.direction), model.components_[0]
    if k % 2:
        assert model.second_moment_ is None
        assert model.average_.shape == (1, d)
        expected = model.average_[0] / np.linalg.norm(model.average_[0])
    else:
        assert model.average_ is None
        assert model.second_moment_.shape == (1, d, d)
        expected = np.linalg.eigh(model.second_moment_[0])[1][:, -1]
    assert_allclose(abs(theta @ expected), 1, rtol=1e-12)
    assert 0.9 < model.agreement_[0] <= 1 + 1e-12


@pytest.mark.parametrize("scale", [2.0**-30, 4.0])
def test_the_scale_of_the_tensor_does_not_matter(scale):
    problem, options = spiked(3), {"solver": "langevin", "refine": False, "random_state": 0}
    one = TensorPCA(**options).fit(problem.tensor)
    other = TensorPCA(**options).fit(scale * problem.tensor)
    assert_array_equal(one.components_, other.components_)
    assert_array_equal(one.temperature_, other.temperature_)
    assert_array_equal(one.snr_, other.snr_)
    assert_allclose(other.singular_values_, scale * one.singular_values_, rtol=1e-15)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("scale", "dtype"), [(1e200, float), (1e-200, float), (1e30, np.float32), (1e-30, np.float32)]
)
def test_very_large_and_very_small_entries(solver, scale, dtype):
    for k in (2, 3, 4):
        problem, options = spiked(k), {"solver": solver, "random_state": 0}
        expected = TensorPCA(**options).fit(problem.tensor.astype(dtype))
        model = TensorPCA(**options).fit((scale * problem.tensor).astype(dtype))
        assert_allclose(abs(np.sum(model.components_ * expected.components_)), 1, rtol=1e-4)
        assert_allclose(model.snr_, expected.snr_, rtol=1e-4)
        assert_allclose(model.singular_values_ / scale, expected.singular_values_, rtol=1e-4)


def test_halved_temperatures_are_reported():
    options = {"solver": "langevin", "refine": False, "random_state": 0}
    model = TensorPCA(kappa=1e4, **options).fit(spiked(3).tensor)
    assert model.n_eps_halvings_ > 0
    assert model.kappa_ == [1e4 / 2**model.n_eps_halvings_]
    given = TensorPCA(temperature=float(model.temperature_[0]), **options).fit(spiked(3).tensor)
    assert given.n_eps_halvings_ == 0
    assert_allclose(given.kappa_, model.kappa_, rtol=0.3)  # measured at 32 random points


def test_a_temperature_is_one_for_unit_noise():
    problem, options = spiked(3), {"solver": "langevin", "refine": False, "random_state": 0}
    chosen = TensorPCA(**options).fit(problem.tensor)
    assert_allclose(chosen.kappa_, [1.0])
    given = TensorPCA(temperature=float(chosen.temperature_[0]), **options).fit(problem.tensor)
    assert_allclose(given.components_, chosen.components_, atol=1e-6)
    assert_allclose(given.kappa_, [1.0], rtol=0.2)
    scaled = TensorPCA(temperature=float(chosen.temperature_[0]), **options)
    assert_allclose(scaled.fit(8 * problem.tensor).components_, given.components_, atol=1e-12)


@pytest.mark.parametrize("k", [3, 5])
def test_the_sign_of_an_odd_tensor_is_that_of_the_direction(k):
    problem = spiked(k)
    model = TensorPCA(random_state=0).fit(problem.tensor)
    flipped = TensorPCA(random_state=0).fit(-problem.tensor)
    assert_allclose(flipped.components_, -model.components_, atol=1e-7)
    assert_allclose(flipped.singular_values_, model.singular_values_, rtol=1e-10)
    assert float(model.components_[0] @ problem.direction) > 0


@pytest.mark.parametrize("solver", ["partial_trace", "unfolding"])
@pytest.mark.parametrize("k", [3, 4])
def test_a_rotation_rotates_the_answer(k, solver):
    problem = spiked(k)
    Q = ortho_group.rvs(len(problem.direction), random_state=0)
    rotated = problem.tensor
    for _ in range(k):  # each turn applies Q to one mode and moves it to the end
        rotated = np.tensordot(rotated, Q.T, axes=(0, 0))
    for refine in (False, True):
        options = {"solver": solver, "refine": refine, "random_state": 0}
        here = TensorPCA(**options).fit(problem.tensor).components_[0]
        there = TensorPCA(**options).fit(rotated).components_[0]
        assert_allclose(abs(there @ (Q @ here)), 1, atol=1e-8)


def test_the_number_of_jobs_does_not_matter():
    problem = spiked(3)
    options = {"solver": "langevin", "n_init": 3, "refine": False, "random_state": 0}
    serial = TensorPCA(n_jobs=1, **options).fit(problem.tensor)
    with parallel_config("threading"):
        parallel = TensorPCA(n_jobs=2, **options).fit(problem.tensor)
    assert_array_equal(serial.components_, parallel.components_)
    assert_array_equal(serial.agreement_, parallel.agreement_)
    single = TensorPCA(solver="langevin", refine=False, random_state=0).fit(problem.tensor)
    assert serial.singular_values_[0] >= single.singular_values_[0]


def test_every_start_is_followed():
    problem = spiked(3)
    one = TensorPCA(random_state=0).fit(problem.tensor)
    more = TensorPCA(n_init=3, random_state=0).fit(problem.tensor)
    assert more.candidates_[0].keys() == one.candidates_[0].keys()
    assert more.candidates_[0]["langevin"][1] >= one.candidates_[0]["langevin"][1] - 1e-9
    assert more.average_.shape == one.average_.shape


def test_disagreeing_chains_are_reported():
    Y = np.random.default_rng(0).standard_normal((30,) * 3)
    model = TensorPCA(solver="langevin", n_chains=2, max_iter=4, burn_in=0, random_state=0)
    with pytest.warns(ConvergenceWarning, match="two halves of the chains agree to"):
        model.fit(Y)
    assert model.agreement_[0] < 0.9


# -- kinds of tensors ------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["auto", "langevin", "partial_trace", "power", "smoothed"])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_all_kinds_of_tensors_give_the_same(k, solver):
    problem = spiked(k)
    d, dense = len(problem.direction), DenseTensor(problem.tensor)
    kinds = [coordinates_of(problem.tensor), TensorOperator(dense.gradient, d, k)]
    model = TensorPCA(solver=solver, random_state=0).fit(problem.tensor)
    for Y in kinds:
        other = clone(model).fit(Y)
        assert_allclose(abs(np.sum(other.components_ * model.components_)), 1, rtol=1e-9)
        assert_allclose(other.singular_values_, model.singular_values_, rtol=1e-9)
        assert_allclose(other.transform(Y), model.transform(problem.tensor), rtol=1e-9)
        assert np.isnan(other.noise_scale_)
        assert np.isnan(other.snr_[0])
        assert not other.detected_[0]
        known = clone(model).set_params(noise_scale=1.0).fit(Y)
        assert known.detected_[0]


@pytest.mark.parametrize("k", [3, 4])
def test_factors(k):
    d, snr = (60, 60.0) if k == 3 else (30, 60.0)
    problem = make_spiked_tensor(d, order=k, snr=snr, n_terms=1500, random_state=0)
    tensor = FactoredTensor(problem.factors, problem.weights, order=k)
    model = TensorPCA(random_state=0).fit(tensor)
    assert overlap(model, problem.direction) > 0.9
    assert set(model.candidates_[0]) == {"partial_trace", "langevin"}
    expected = problem.weights @ (problem.factors @ model.components_[0]) ** k
    assert_allclose(model.transform(tensor), [expected], rtol=1e-10)


def test_sparse_matrices():
    S = sparse.random_array((30, 30), density=0.2, rng=0)
    for container in (sparse.csr_array(S), sparse.csc_matrix(S), sparse.coo_array(S)):
        model = TensorPCA().fit(container)
        values = np.linalg.eigvalsh((S + S.T).toarray() / 2)
        assert_allclose(abs(model.singular_values_[0]), np.abs(values).max(), rtol=1e-10)


def test_a_sparse_tensor_too_large_to_be_dense():
    d, rng = 2000, np.random.default_rng(0)
    planted = np.sort(rng.choice(d, 12, replace=False))
    spike = np.stack([axis.ravel() for axis in np.meshgrid(planted, planted, planted)])
    coords = np.concatenate([spike, rng.integers(0, d, (3, 4000))], axis=1)
    data = np.concatenate([np.ones(spike.shape[1]), rng.standard_normal(4000)])
    Y = SimpleNamespace(coords=coords, data=data, shape=(d,) * 3)
    model = TensorPCA(n_chains=16, max_iter=50, random_state=0).fit(Y)
    theta = np.zeros(d)
    theta[planted] = 12**-0.5
    assert overlap(model, theta) > 0.999


@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("solver", SOLVERS)
def test_array_api_input(k, solver):
    problem = spiked(k)
    strict = array_api_strict.asarray(problem.tensor)
    model = TensorPCA(solver=solver, random_state=0).fit(strict)
    for array in (model.components_, model.singular_values_, model.transform(strict)):
        assert type(array) is type(strict)
    expected = TensorPCA(solver=solver, random_state=0).fit(problem.tensor)
    found, components = np.asarray(model.components_), expected.components_
    assert_allclose(abs(np.sum(found * components)), 1, atol=1e-8)
    assert_allclose(np.asarray(model.singular_values_), expected.singular_values_, rtol=1e-8)
    assert_allclose(np.asarray(model.inverse_transform()), expected.inverse_transform(), atol=1e-5)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("solver", SOLVERS)
def test_single_precision(k, solver):
    problem = spiked(k)
    single = TensorPCA(solver=solver, random_state=0).fit(problem.tensor.astype(np.float32))
    double = TensorPCA(solver=solver, random_state=0).fit(problem.tensor)
    for array in (single.components_, single.singular_values_, single.inverse_transform()):
        assert array.dtype == np.float32
    assert_allclose(abs(np.sum(single.components_ * double.components_)), 1, atol=1e-5)
    assert_allclose(single.singular_values_, double.singular_values_, rtol=1e-5)


def test_integers_and_lists():
    Y = np.arange(27).reshape(3, 3, 3)
    expected = TensorPCA(random_state=0).fit(Y.astype(float))
    for other in (Y, Y.tolist()):
        model = TensorPCA(random_state=0).fit(other)
        assert_array_equal(model.components_, expected.components_)


# -- random signs ----------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 4])
def test_random_signs_keep_sizes_and_symmetry(k):
    rng, S = (
        np.random.default_rng(0),
        symmetrise(np.random.default_rng(1).standard_normal((5,) * k)),
    )
    flipped = DenseTensor(S).with_random_signs(rng).entries()
    assert_allclose(np.abs(flipped), np.abs(S), atol=1e-14)
    assert_allclose(symmetrise(flipped), flipped, atol=1e-14)
    assert 0.1 < np.mean(flipped * S > 0) < 0.9


@pytest.mark.parametrize("k", [2, 3, 4])
def test_random_signs_tell_signals_of_all_kinds(k):
    problem = spiked(k)
    options = {"solver": "partial_trace", "n_sign_flips": 19, "tol": 1e-6, "random_state": 0}
    X = np.random.default_rng(0).standard_normal((1000, 8))
    labels = np.tanh(X[:, 0]) if k % 2 else np.abs(X[:, 0])
    data = FactoredTensor(X, labels - labels.mean(), order=k)
    for Y in (problem.tensor, coordinates_of(problem.tensor), data):
        model = TensorPCA(**options).fit(Y)
        assert model.pvalue_.tolist() == [0.05]
        assert model.detected_.tolist() == [True]
    parallel = TensorPCA(n_jobs=2, **options)
    with parallel_config("threading"):
        assert parallel.fit(Y).pvalue_.tolist() == [0.05]


def test_random_signs_of_noise():
    detected, pvalues = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        # Heavy tails in few entries: no threshold for normal noise would do.
        coords, data = rng.integers(0, 12, (3, 60)), rng.standard_t(2, 60)
        Y = SimpleNamespace(coords=coords, data=data, shape=(12,) * 3)
        model = TensorPCA(solver="partial_trace", n_sign_flips=19, tol=1e-4, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(Y)
        detected.append(model.detected_[0])
        pvalues.append(model.pvalue_[0])
    # The level is exact: 3 of 60 are expected, and pvalues uniform on 0.05, 0.1, ..., 1.
    assert np.mean(detected) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)
    assert abs(np.mean(pvalues) - 0.525) < 3 * 0.29 / np.sqrt(60)


# -- components, output ----------------------------------------------------------------


@pytest.mark.parametrize("k", [3, 4])
def test_deflation_finds_one_after_the_other(k):
    Q, weights = (
        np.linalg.qr(np.random.default_rng(0).standard_normal((9, 3)))[0].T,
        [7.0, 4.0, 2.0],
    )
    Y = FactoredTensor(Q, weights, order=k)
    for data in (Y, Y.entries(), coordinates_of(Y.entries())):
        model = TensorPCA(3, random_state=0).fit(data)
        assert_allclose(model.singular_values_, weights, rtol=1e-9)
        assert_allclose(np.abs(np.sum(model.components_ * Q, axis=1)), 1, atol=1e-9)
        assert_allclose(model.inverse_transform(), Y.entries(), atol=1e-7)
        assert_allclose(model.transform(data), weights, rtol=1e-9)
    assert_allclose(
        model.inverse_transform([1.0, 0.0, 0.0]), power_of(model.components_[0], k), atol=1e-12
    )


def test_more_components_do_not_change_the_first():
    problem = spiked(3)
    one = TensorPCA(1, random_state=0).fit(problem.tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        two = TensorPCA(2, random_state=0).fit(problem.tensor)
    assert_array_equal(two.components_[0], one.components_[0])
    assert two.detected_.tolist() == [True, False]  # what is left is noise


def test_a_zero_tensor_has_nothing():
    for k in (2, 3, 4):
        model = TensorPCA(random_state=0).fit(np.zeros((5,) * k))
        assert model.singular_values_.tolist() == [0.0]
        assert model.snr_.tolist() == [0.0]
        assert not model.detected_[0]
        assert_allclose(np.linalg.norm(model.components_), 1)


def test_nothing_is_changed_or_kept():
    problem = spiked(3)
    before = problem.tensor.copy()
    model = TensorPCA(random_state=0).fit(problem.tensor)
    assert_array_equal(problem.tensor, before)
    assert len(pickle.dumps(model)) < 20_000  # beside 216 kB of the tensor
    with pytest.raises(NotFittedError):
        TensorPCA().transform(before)


def test_it_says_that_it_is_not_for_tables():
    tags = get_tags(TensorPCA()).input_tags
    assert not tags.two_d_array
    assert tags.three_d_array
