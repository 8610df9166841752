"""Array namespaces: inferred from the input, without importing what is not there."""

import sys
import types

import array_api_strict
import numpy as np
import pytest
from scipy import sparse

from sparseopt._core import array_namespace, is_numpy, kernels_for, to_numpy


def test_namespace_follows_the_input():
    assert is_numpy(array_namespace(np.ones(2)))
    assert is_numpy(array_namespace([1.0], None, sparse.eye_array(2)))
    assert array_namespace(array_api_strict.ones(2)).__name__ == "array_api_strict"


def test_mixed_libraries_are_refused():
    with pytest.raises(TypeError, match="namespace"):
        array_namespace(np.ones(2), array_api_strict.ones(2))


def test_kernels_fit_the_namespace(monkeypatch):
    cpu = types.ModuleType("family._kernels.cpu")
    monkeypatch.setitem(sys.modules, "family._kernels.cpu", cpu)
    assert kernels_for(array_namespace(np.ones(1)), "family") is cpu
    with pytest.raises(TypeError, match="array_api_strict"):
        kernels_for(array_api_strict, "family")


def test_to_numpy_keeps_numpy_arrays():
    x = np.ones(2)
    assert to_numpy(x) is x
