"""CuPy arrays are refused by name, with what to do instead."""

import sys
import types

import numpy as np
import pytest

from sparseopt.transport import (
    OTKernel,
    SinkhornTransport,
    pairwise_sinkhorn,
    sinkhorn,
    sinkhorn_divergence,
    sinkhorn_unbalanced,
    wasserstein_distance,
)

POINTS = np.random.default_rng(0).random((5, 2))
COSTS = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
MASSES = np.full(5, 0.2)


@pytest.fixture
def on_device(monkeypatch):
    """Return what wraps an array as CuPy does: NumPy may not convert it."""

    class ndarray:
        def __init__(self, array):
            self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

        def __len__(self):
            return self.shape[0]

        def __array__(self, *arguments, **options):
            raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    module = types.ModuleType("cupy")
    module.ndarray = ndarray
    monkeypatch.setitem(sys.modules, "cupy", module)
    return ndarray


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (wasserstein_distance, {"X": POINTS, "Y": POINTS, "a": MASSES, "b": MASSES}),
        (sinkhorn_divergence, {"X": POINTS, "Y": POINTS, "a": MASSES, "b": MASSES}),
        (sinkhorn, {"C": COSTS, "a": MASSES, "b": MASSES}),
        (sinkhorn_unbalanced, {"C": COSTS, "a": MASSES, "b": MASSES}),
        (sinkhorn_unbalanced, {"X": POINTS, "Y": POINTS}),
        (pairwise_sinkhorn, {"H1": COSTS + 1, "H2": COSTS + 1, "C": COSTS}),
        (
            SinkhornTransport().fit,
            {"X": POINTS, "X_target": POINTS, "sample_weight": MASSES, "target_weight": MASSES},
        ),
        (SinkhornTransport().fit(POINTS).transform, {"X": POINTS}),
        (SinkhornTransport().fit(POINTS).inverse_transform, {"X": POINTS}),
        (SinkhornTransport().fit(POINTS).score, {"X": POINTS}),
        (OTKernel().fit, {"X": COSTS}),
        (OTKernel().fit(COSTS).transform, {"X": COSTS}),
        (OTKernel(), {"X": COSTS, "Y": COSTS}),
    ],
)
def test_cupy_arrays_are_refused_by_name(on_device, function, arguments):
    for name, array in arguments.items():
        with pytest.raises(TypeError, match=rf"{name} is a CuPy array.*cupy.asnumpy\({name}\)"):
            function(**(arguments | {name: on_device(array)}))


def test_parameters_of_estimators_count_too(on_device):
    with pytest.raises(TypeError, match="X_target is a CuPy array"):
        SinkhornTransport(X_target=on_device(POINTS)).fit(POINTS)
    with pytest.raises(TypeError, match="C is a CuPy array"):
        OTKernel(on_device(COSTS)).fit(COSTS)
