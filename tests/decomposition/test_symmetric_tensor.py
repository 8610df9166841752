"""Symmetric tensors: reference data, and all kinds against a sum over all entries."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sparseopt.decomposition import FactoredTensor, TensorOperator
from sparseopt.decomposition._implicit_tensor import CoordinateTensor
from sparseopt.decomposition._symmetric_tensor import (
    DeflatedTensor,
    DenseTensor,
    mean_drift,
    n_orders,
    sorted_tuples,
    symmetrise,
)
from sparseopt.decomposition._tensor_input import from_coordinates

DATA = Path(__file__).parents[1] / "data" / "langevin"


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA / "tensor_kernels.npz") as stored:
        return dict(stored)


def mean_of_orders(Y):
    axes = itertools.permutations(range(Y.ndim))
    return sum(np.transpose(Y, order) for order in axes) / math.factorial(Y.ndim)


def contract_all(S, theta):
    """Return S(theta, ..., theta, .) for each row, mode by mode."""
    rows = []
    for point in theta:
        rest = S
        while rest.ndim > 1:
            rest = point @ rest.reshape(len(point), -1)
            rest = rest.reshape((len(point),) * (round(math.log(rest.size, len(point))) or 1))
        rows.append(rest)
    return np.array(rows)


def trace_all(S):
    while S.ndim > 2:
        S = np.trace(S)
    return S


def make_points(n_points, d, seed=0):
    theta = np.random.default_rng(seed).standard_normal((n_points, d))
    return theta / np.linalg.norm(theta, axis=1, keepdims=True)


def make_coordinates(k, d, nnz, seed=0):
    rng = np.random.default_rng(seed)
    coordinates, values = rng.integers(0, d, (nnz, k)), rng.standard_normal(nnz)
    dense = np.zeros((d,) * k)
    np.add.at(dense, tuple(coordinates.T), values)
    return coordinates, values, dense


# -- reference data --------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 4])
def test_reference_kernels(golden, k):
    tensor, theta = DenseTensor(golden[f"k{k}_raw"]), golden[f"k{k}_theta"]
    assert_allclose(symmetrise(golden[f"k{k}_raw"]), golden[f"k{k}_sym"], rtol=0, atol=1e-12)
    assert_allclose(tensor.value(theta), golden[f"k{k}_f"], rtol=1e-12, atol=1e-12)
    gradient = tensor.gradient(theta)
    assert_allclose(gradient, golden[f"k{k}_grad"], rtol=1e-12, atol=1e-12)
    tangent = gradient - theta * np.sum(theta * gradient, axis=1, keepdims=True)
    assert_allclose(tangent, golden[f"k{k}_tangent"], rtol=1e-12, atol=1e-12)


def test_reference_partial_traces_and_mean_drifts(golden):
    third, fourth = DenseTensor(golden["k3_raw"]), DenseTensor(golden["k4_raw"])
    assert_allclose(third.partial_trace(), golden["k3_ptrace"], rtol=1e-12, atol=1e-12)
    assert_allclose(fourth.partial_trace(), golden["k4_ptrace"], rtol=1e-12, atol=1e-12)
    assert_allclose(mean_drift(third), golden["k3_mean_drift"], rtol=1e-12, atol=1e-12)
    assert_allclose(mean_drift(fourth), golden["k4_mean_sym"], rtol=1e-12, atol=1e-12)


# -- dense tensors ---------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_dense_tensors_of_all_orders(k, d):
    Y = np.random.default_rng(k).standard_normal((d,) * k)
    tensor, theta, S = DenseTensor(Y), make_points(5, d), mean_of_orders(Y)
    assert_allclose(tensor.entries(), S, atol=1e-14)
    if d > 1:
        assert_allclose(tensor.contract(theta), contract_all(S, theta), atol=1e-13)
    assert_allclose(tensor.partial_trace(), trace_all(S), atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
def test_gradient_against_central_differences(k):
    tensor, theta = DenseTensor(np.random.default_rng(0).standard_normal((4,) * k)), np.eye(4) + 0.3
    step, numerical = 1e-5, np.empty((4, 4))
    for j, unit in enumerate(np.eye(4)):
        forward, backward = tensor.value(theta + step * unit), tensor.value(theta - step * unit)
        numerical[:, j] = (forward - backward) / (2 * step)
    assert_allclose(tensor.gradient(theta), numerical, rtol=1e-6, atol=1e-6)


def test_a_dense_tensor_is_packed():
    tensor = DenseTensor(np.zeros((12,) * 4))
    assert tensor._packed.size == math.comb(14, 3) * 12  # beside 12**4


def test_points_in_many_chunks(monkeypatch):
    Y, theta = np.random.default_rng(0).standard_normal((7, 7, 7)), make_points(6, 7)
    whole = DenseTensor(Y).contract(theta)
    monkeypatch.setattr("sparseopt.decomposition._symmetric_tensor.CHUNK", 30)
    assert_allclose(DenseTensor(Y).contract(theta), whole, atol=1e-14)


def test_sorted_tuples():
    rows, counts = sorted_tuples(4, 3)
    expected = list(itertools.combinations_with_replacement(range(4), 3))
    assert_array_equal(rows, expected)
    assert_array_equal(counts, [len(set(itertools.permutations(row))) for row in expected])
    assert_array_equal(n_orders(rows), counts)


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_mean_drift_against_points_of_the_sphere(k):
    d = 5
    tensor = DenseTensor(np.random.default_rng(k).standard_normal((d,) * k))
    theta = make_points(400_000, d, seed=1)
    gradient = tensor.gradient(theta)
    drift = gradient - theta * np.sum(theta * gradient, axis=1, keepdims=True)
    cross = theta.T @ drift / len(theta)
    measured = drift.mean(axis=0) if k % 2 else cross + cross.T
    exact = mean_drift(tensor)
    assert np.linalg.norm(measured - exact) < 0.05 * np.linalg.norm(exact)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("k", "d"), [(2, 120), (3, 40), (4, 20), (5, 12), (6, 9)])
def test_noise_scale_of_raw_and_of_symmetric_noise(k, d, symmetric):
    Y = 3.0 * np.random.default_rng(0).standard_normal((d,) * k)
    tensor = DenseTensor(symmetrise(Y) if symmetric else Y)
    n_entries = math.comb(d + k - 1, k)
    assert abs(tensor.noise_scale() / 3 - 1) < 4 * 1.17 / math.sqrt(n_entries)


# -- tensors that are not formed -------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(k=st.integers(2, 6), d=st.integers(1, 5), nnz=st.integers(0, 30), seed=st.integers(0, 99))
def test_coordinates_equal_the_dense_tensor(k, d, nnz, seed):
    coordinates, values, Y = make_coordinates(k, d, nnz, seed)
    tensor, dense = CoordinateTensor(coordinates, values, d), DenseTensor(Y)
    theta = make_points(3, d, seed)
    assert_allclose(tensor.contract(theta), dense.contract(theta), atol=1e-12)
    assert_allclose(tensor.partial_trace(), dense.partial_trace(), atol=1e-12)


def test_all_copies_of_a_symmetric_entry_are_one():
    coordinates = np.array(list(itertools.permutations((4, 1, 2))))
    tensor = CoordinateTensor(coordinates, np.ones(6), 5)
    assert_array_equal(tensor.coordinates, [[1, 2, 4]])
    assert_array_equal(tensor.values, [6.0])


def test_coordinates_beyond_the_range_of_flat_indices():
    top = 10**5 - 1  # top**6 does not fit into 64 bits
    coordinates = np.array([[top] * 6, [0] * 6, [top] * 6])
    tensor = CoordinateTensor(coordinates, np.array([1.0, 5.0, 2.0]), top + 1)
    theta = np.zeros((1, top + 1))
    theta[0, top] = 2.0
    assert tensor.value(theta)[0] == 3 * 2.0**6


def test_containers_of_coordinates():
    coordinates, values, Y = make_coordinates(3, 4, 20)
    theta = make_points(2, 4)
    containers = [SimpleNamespace(coords=coordinates.T, data=values, shape=Y.shape)]
    if hasattr(sparse.coo_array(np.eye(2)), "coords"):
        containers.append(sparse.coo_array((values, tuple(coordinates.T)), shape=Y.shape))
    for container in containers:
        found = from_coordinates(container).contract(theta)
        assert_allclose(found, DenseTensor(Y).contract(theta), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(k=st.integers(2, 6), d=st.integers(1, 5), n=st.integers(1, 8), seed=st.integers(0, 99))
def test_factors_equal_the_dense_tensor(k, d, n, seed):
    rng = np.random.default_rng(seed)
    X, weights, theta = rng.standard_normal((n, d)), rng.standard_normal(n), make_points(3, d)
    factored = FactoredTensor(X, weights, order=k)
    dense = DenseTensor(factored.entries())
    lists = FactoredTensor(sparse.csr_array(X), list(weights), order=k)
    for tensor in (factored, lists):
        assert_allclose(tensor.contract(theta), dense.contract(theta), rtol=1e-10, atol=1e-10)
        assert_allclose(
            tensor.partial_trace(), dense.partial_trace(), rtol=1e-10, atol=1e-10 * 10**k
        )
        assert_allclose(tensor.entries(), dense.entries(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_partial_trace_of_an_operator(k):
    dense = DenseTensor(np.random.default_rng(0).standard_normal((5,) * k))
    operator = TensorOperator(dense.gradient, 5, k)
    assert_allclose(operator.partial_trace(), dense.partial_trace(), atol=1e-12)
    assert_allclose(operator.value(make_points(3, 5)), dense.value(make_points(3, 5)), atol=1e-12)


def test_a_deflated_tensor_is_the_difference():
    rng = np.random.default_rng(0)
    Y, theta = symmetrise(rng.standard_normal((4,) * 4)), make_points(2, 4)
    found = FactoredTensor(theta, [2.0, -1.0], order=4)
    deflated, dense = DeflatedTensor(DenseTensor(Y), found), DenseTensor(Y - found.entries())
    assert_allclose(deflated.contract(theta), dense.contract(theta), atol=1e-13)
    assert_allclose(deflated.partial_trace(), dense.partial_trace(), atol=1e-13)
    assert_allclose(deflated.entries(), dense.entries(), atol=1e-13)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_array_api_tensors(k):
    rng, theta = np.random.default_rng(0), make_points(3, 4)
    Y, X, weights = rng.standard_normal((4,) * k), rng.standard_normal((6, 4)), np.arange(6.0)
    strict = array_api_strict.asarray
    pairs = [
        (DenseTensor(Y), DenseTensor(strict(Y))),
        (FactoredTensor(X, weights, k), FactoredTensor(strict(X), strict(weights), k)),
    ]
    for here, there in pairs:
        found = there.contract(strict(theta)), there.partial_trace(), mean_drift(there)
        expected = here.contract(theta), here.partial_trace(), mean_drift(here)
        for one, other in zip(found, expected, strict=True):
            assert type(one) is type(strict(Y))
            assert_allclose(np.asarray(one), other, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_single_precision_stays(k):
    rng = np.random.default_rng(0)
    coordinates, values, Y = make_coordinates(k, 4, 20)
    theta = make_points(3, 4).astype(np.float32)
    X = rng.standard_normal((5, 4)).astype(np.float32)
    for tensor in (
        DenseTensor(Y.astype(np.float32)),
        CoordinateTensor(coordinates, values.astype(np.float32), 4),
        FactoredTensor(X, rng.standard_normal(5), order=k),
        FactoredTensor(sparse.csr_array(X), order=k),
    ):
        assert tensor.contract(theta).dtype == tensor.partial_trace().dtype == np.float32
    assert_allclose(
        CoordinateTensor(coordinates, values.astype(np.float32), 4).contract(theta),
        DenseTensor(Y).contract(theta.astype(float)),
        rtol=1e-4,
        atol=1e-5,
    )


# -- wrong input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": np.ones(3)}, ValueError, "X must be a non-empty matrix"),
        ({"X": np.ones((0, 3))}, ValueError, "X must be a non-empty matrix"),
        ({"X": np.full((2, 3), np.nan)}, ValueError, "X must be finite"),
        ({"X": np.ones((2, 3)) * 1j}, ValueError, "X must be real"),
        ({"X": np.ones((2, 3)), "weights": [1.0]}, ValueError, "weights must have shape"),
        ({"X": np.ones((2, 3)), "weights": [1.0, np.inf]}, ValueError, "weights must be finite"),
        ({"X": np.ones((2, 3)), "order": 1}, ValueError, "order, the number of modes"),
        ({"X": np.ones((2, 3)), "order": 7}, ValueError, "order, the number of modes"),
        ({"X": np.ones((2, 3)), "order": 2.5}, TypeError, "order must be an integer"),
    ],
)
def test_wrong_factors(arguments, error, message):
    with pytest.raises(error, match=message):
        FactoredTensor(**arguments)


def test_wrong_operators():
    with pytest.raises(TypeError, match="gradient must be callable"):
        TensorOperator(np.eye(3), 3, 2)
    with pytest.raises(ValueError, match="n_features must be at least 1"):
        TensorOperator(abs, 0, 2)
    with pytest.raises(ValueError, match="in the shape of its points"):
        TensorOperator(lambda theta: theta[:, :1], 3, 2).contract(np.ones((2, 3)))
    with pytest.raises(ValueError, match="computed up to order 4"):
        TensorOperator(abs, 3, 5).partial_trace()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coords": np.array([[0, 1], [0, 3]])}, "Y.coords must be from 0 to 2"),
        ({"coords": np.array([[0, 1], [0, -1]])}, "Y.coords must be from 0 to 2"),
        ({"coords": np.array([[0, 1]])}, "Y.coords must hold 2 arrays"),
        ({"data": np.array([1.0, np.nan])}, "Y must be finite"),
        ({"data": np.array([1.0, 1j])}, "Y must be real"),
    ],
)
def test_wrong_coordinates(changes, message):
    container = {"coords": np.array([[0, 1], [0, 1]]), "data": np.ones(2), "shape": (3, 3)}
    with pytest.raises(ValueError, match=message):
        from_coordinates(SimpleNamespace(**(container | changes)))
