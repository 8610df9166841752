"""The CuPy twins of the passes over plans, against Numba.

Without a device the array expressions run under NumPy and array_api_strict, and the CUDA source
is compiled for the host, where each thread runs after the other: they do not wait for each other.
"""

import ast
import ctypes
import ctypes.util
import importlib.util
import inspect
import re
import shutil
import subprocess
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sparseopt._core import array_namespace, kernels_for
from sparseopt.transport._kernels import cpu, gpu, relaxed

METRICS = {
    "dense": cpu.DENSE,
    "sqeuclidean": cpu.SQEUCLIDEAN,
    "euclidean": cpu.EUCLIDEAN,
    "cityblock": cpu.CITYBLOCK,
}
N, M, FEATURES = 9, 70, 3
HOST = """
#include <cmath>
#define __global__
#define __device__
#define __forceinline__ inline
struct Index { unsigned x; };
static Index blockIdx, blockDim, threadIdx;
extern "C" void become(unsigned block, unsigned size, unsigned thread)
{ blockIdx.x = block; blockDim.x = size; threadIdx.x = thread; }
"""


# -- every function has a twin -----------------------------------------------------------


def _functions(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_pass_has_a_twin_with_the_same_arguments():
    # Names with an underscore are inner loops of the others, which array expressions and CUDA
    # threads replace as a whole.
    public = {
        name: getattr(module, name).py_func
        for module in (cpu, relaxed)
        for name in _functions(module)
        if not name.startswith("_")
    }
    assert set(public) == {name for name in _functions(gpu) if not name.startswith("_")}
    for name, function in public.items():
        assert inspect.signature(getattr(gpu, name)) == inspect.signature(function), name


def test_namespaces_choose_their_kernels():
    assert kernels_for(array_namespace(np.empty(1)), "sparseopt.transport") is cpu
    pytest.importorskip("cupy", reason="CuPy is not installed")
    namespace = importlib.import_module("array_api_compat.cupy")
    assert kernels_for(namespace, "sparseopt.transport") is gpu


# -- the CUDA source ---------------------------------------------------------------------


def _signatures():
    """Return the types of the parameters of each CUDA kernel."""
    found = re.findall(r'extern "C" __global__ void (\w+)\((.*?)\)', gpu.SOURCE, re.DOTALL)
    return {
        name: [
            " ".join(parameter.replace("const", "").replace("*", " * ").split()[:-1])
            for parameter in parameters.split(",")
        ]
        for name, parameters in found
    }


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: the CUDA source cannot run on the host")
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "source.cpp").write_text(HOST + gpu.SOURCE)
    command = [compiler, "-O1", "-shared", "-fPIC", "source.cpp", "-o", "source.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "source.so"))


def _host_launch(library):
    """Return a stand-in for ``gpu._launch`` that runs the threads one after the other."""
    signatures = _signatures()

    def as_argument(value, kind):
        if kind == "double *":
            assert isinstance(value, np.ndarray)
            assert value.dtype == np.float64
            assert value.flags.c_contiguous
            return ctypes.c_void_p(value.ctypes.data)
        types = {
            "long long": (np.int64, ctypes.c_longlong),
            "int": (np.int32, ctypes.c_int),
            "double": (np.float64, ctypes.c_double),
        }
        expected, argument = types[kind]
        assert type(value) is expected, (kind, type(value))
        return argument(value)

    def launch(name, n_threads, *arguments):
        passed = [as_argument(*pair) for pair in zip(arguments, signatures[name], strict=True)]
        for block in range(-(-n_threads // gpu.THREADS)):
            for thread in range(gpu.THREADS):
                library.become(block, gpu.THREADS, thread)
                getattr(library, name)(*passed)

    return launch


def _find_nvrtc():
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*")):
            return str(path)
    return ctypes.util.find_library("nvrtc")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_cuda_source_compiles(architecture):
    path = _find_nvrtc()
    if path is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
    nvrtc = ctypes.CDLL(path)
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    source = gpu.SOURCE.encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"ot.cu", 0, None, None) == 0
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture={architecture}".encode())
    outcome = nvrtc.nvrtcCompileProgram(program, 1, options)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert outcome == 0, log.value.decode()
    assert nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
    binary = ctypes.create_string_buffer(size.value)
    assert nvrtc.nvrtcGetCUBIN(program, binary) == 0
    for name in _signatures():
        assert name.encode() in binary.raw
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


# -- parity ------------------------------------------------------------------------------


class Backend:
    """How arrays come to a library and back."""

    def __init__(self, to, back):
        self.to, self.back = to, back

    def run(self, name, *arguments):
        """Call the twin; return its result, and the arguments as NumPy arrays afterwards."""
        given = [self._there(argument) for argument in arguments]
        result = getattr(gpu, name)(*given)
        return result, [self._here(argument) for argument in given]

    def _there(self, value):
        if isinstance(value, tuple):
            return tuple(self._there(part) for part in value)
        return self.to(value) if isinstance(value, np.ndarray) else value

    def _here(self, value):
        return value if isinstance(value, (tuple, int, float)) else self.back(value)


@pytest.fixture(params=["numpy", "strict", "cuda on the host", "cupy"])
def backend(request, monkeypatch):
    # Few rows at a time: passes over blocks have to add up.
    monkeypatch.setattr(gpu, "BLOCK_ENTRIES", 4 * M)
    if request.param == "strict":
        return Backend(lambda array: array_api_strict.asarray(array.copy()), np.from_dlpack)
    if request.param == "cupy":
        cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
        if not cupy.is_available():
            pytest.skip("no CUDA device")
        return Backend(cupy.asarray, cupy.asnumpy)
    if request.param == "cuda on the host":
        library = request.getfixturevalue("library")
        monkeypatch.setattr(gpu, "_on_device", lambda xp: True)
        monkeypatch.setattr(gpu, "_launch", _host_launch(library))
        monkeypatch.setattr(gpu, "LANES", 4)  # fewer than rows and columns
    return Backend(np.copy, np.asarray)


def _cost(metric, *, seed=0, forbidden=False):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((N, FEATURES)), rng.standard_normal((M, FEATURES))
    nothing = np.empty((0, 0))
    if metric != "dense":
        return nothing, X, np.ascontiguousarray(Y.T), METRICS[metric]
    C = cdist(X, Y)
    if forbidden:
        C[rng.random(C.shape) < 0.3] = np.inf
    return C, nothing, nothing, cpu.DENSE


def _assert_equal_effects(backend, name, arguments, *, rtol=1e-12, atol=0.0):
    result, got = backend.run(name, *arguments)
    module = relaxed if hasattr(relaxed, name) and not hasattr(cpu, name) else cpu
    expected = getattr(module, name)(*arguments)
    assert result == expected
    for ours, theirs in zip(got, arguments, strict=True):
        if isinstance(theirs, np.ndarray):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_of_costs_and_exponents(backend, metric):
    y = np.random.default_rng(1).standard_normal(M)
    for i in (0, N - 1):
        _assert_equal_effects(backend, "cost_row", [_cost(metric), i, np.empty(M)])
        arguments = [_cost(metric), i, y, 7.0, np.empty(M)]
        _assert_equal_effects(backend, "exponent_row", arguments, atol=1e-12)


@pytest.mark.parametrize("metric", [*METRICS, "forbidden"])
@pytest.mark.parametrize("eps", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("stores", [False, np.float64, np.float32])
@pytest.mark.parametrize("selects", [False, True])
def test_balanced_rows(backend, metric, eps, stores, selects):
    rng = np.random.default_rng(2)
    cost = _cost("dense", forbidden=True) if metric == "forbidden" else _cost(metric)
    y, a = rng.standard_normal(M), rng.dirichlet(np.ones(N))
    plan = np.zeros((N, M), stores) if stores else np.empty((0, 0))
    # The selection by Numba writes a row's length beyond the rows that are kept.
    capacity = 2 * N * M if selects else 0
    counts, indices = np.zeros(N if selects else 0, np.int64), np.zeros(capacity, np.int32)
    start, stop = 2, N - 1
    arguments = [
        cost, y, eps, a, start, stop, np.zeros(N), rng.random(M), plan, 1e-3, counts, indices,
        np.zeros(capacity),
    ]  # fmt: skip
    number, got = backend.run("balance_rows", *arguments)
    assert cpu.balance_rows(*arguments) == number
    x, sums, plan, counts, indices, values = (arguments[k] for k in (6, 7, 8, 10, 11, 12))
    np.testing.assert_allclose(got[6], x, rtol=1e-12)
    np.testing.assert_allclose(got[7], sums, rtol=1e-10)
    assert got[8].dtype == plan.dtype
    np.testing.assert_allclose(got[8], plan, rtol=1e-5 if stores == np.float32 else 1e-10)
    if selects:
        assert number > 0
        np.testing.assert_array_equal(got[10][start:stop], counts[start:stop])
        np.testing.assert_array_equal(got[11][:number], indices[:number])
        np.testing.assert_allclose(got[12][:number], values[:number], rtol=1e-5)


@pytest.mark.parametrize("metric", [*METRICS, "forbidden"])
@pytest.mark.parametrize("damping", [1.0, 0.9, 0.01])
@pytest.mark.parametrize("stores", [False, True])
def test_relaxed_rows(backend, metric, damping, stores):
    rng = np.random.default_rng(9)
    cost = _cost("dense", forbidden=True) if metric == "forbidden" else _cost(metric)
    plan = np.zeros((N, M)) if stores else np.empty((0, 0))
    y, a, eps = rng.standard_normal(M), rng.random(N), 0.05
    arguments = [cost, y, eps, a, damping, 2, N - 1, np.zeros(N), rng.random(M), plan]
    _assert_equal_effects(backend, "balance_relaxed_rows", arguments, rtol=1e-10)
    assert arguments[7][2:-1].all()
    assert not stores or arguments[9][2:-1].any()


def test_columns_without_mass_keep_a_trace_of_it(backend):
    y = np.concatenate([np.zeros(M - 1), [-1e6]])
    cost = np.zeros((N, M)), np.empty((0, 0)), np.empty((0, 0)), cpu.DENSE
    arguments = [
        cost, y, 1e-3, np.full(N, 1 / N), 0, N, np.zeros(N), np.zeros(M), np.empty((0, 0)),
        np.inf, np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0),
    ]  # fmt: skip
    _assert_equal_effects(backend, "balance_rows", arguments, rtol=1e-10)
    assert 0 < arguments[7][-1] < 1e-270


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_selected_entries(backend, dtype):
    plan = np.random.default_rng(3).random((N, M)).astype(dtype)
    plan[4] = 0
    for threshold in (0.9, 0.0, 2.0):
        expected = plan >= threshold
        total = int(expected.sum())
        for capacity in (2 * N * M, total, total // 2, 0):
            arguments = [
                plan, threshold, np.zeros(N, np.int64), np.full(capacity, -1, np.int32),
                np.full(capacity, -1.0),
            ]  # fmt: skip
            number, (_, _, counts, indices, values) = backend.run("select_entries", *arguments)
            assert number == total
            np.testing.assert_array_equal(counts, expected.sum(axis=1))
            ends = np.cumsum(counts)
            written = ends[ends <= capacity].max(initial=0)
            i, j = np.nonzero(expected)
            np.testing.assert_array_equal(indices[:written], j[:written])
            np.testing.assert_array_equal(values[:written], plan[i, j][:written])
            assert (indices[written:] == -1).all()
            assert (values[written:] == -1).all()


@pytest.mark.parametrize("place", [0, 5])
@pytest.mark.parametrize("capacity", [2 * M, 6])
def test_entries_of_one_row(backend, place, capacity):
    row = np.random.default_rng(4).random(M)
    arguments = [row, 0.8, -row, np.zeros(capacity, np.int32), np.zeros(capacity), place]
    number, got = backend.run("append_from", *arguments)
    assert number == cpu.append_from(*arguments) == np.sum(row >= 0.8)
    end = place + number
    if end <= capacity:
        np.testing.assert_array_equal(got[3][place:end], arguments[3][place:end])
        np.testing.assert_array_equal(got[4][place:end], arguments[4][place:end])
    else:
        assert not got[3].any()


@pytest.mark.parametrize(
    ("tol", "bound", "size"),
    [(1e-300, 1e300, 1), (1e-3, 1e300, 1), (1e-300, 1.5, 1), (1e-300, 50, 1e4), (1e-300, 50, 1)],
)
def test_scaled_plan(backend, tol, bound, size):
    rng = np.random.default_rng(5)
    plan = size * (rng.random((N, M)) + 0.1)
    a, b = rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(M))
    arguments = [
        plan, a, b, np.ones(N), np.zeros(M), plan.sum(axis=0), tol, bound, np.zeros(15)
    ]  # fmt: skip
    sweeps, got = backend.run("scale_plan", *arguments)
    assert sweeps == cpu.scale_plan(*arguments)
    for ours, theirs in zip(got[3:6], arguments[3:6], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    np.testing.assert_allclose(got[8], arguments[8], rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("metric", [*METRICS, "forbidden"])
@pytest.mark.parametrize("eps", [1.0, 0.01])
def test_plans_and_their_costs(backend, metric, eps):
    rng = np.random.default_rng(6)
    cost = _cost("dense", forbidden=True) if metric == "forbidden" else _cost(metric)
    x, y = rng.random(N) * eps, rng.random(M) * eps
    x[3] = y[5] = -np.inf  # bins without mass
    start, stop = 1, N - 2
    for dtype in (np.float64, np.float32):
        plan = np.ones((stop - start, M), dtype)
        _assert_equal_effects(
            backend, "plan_rows", [cost, x, y, eps, start, stop, plan],
            rtol=1e-10 if dtype == np.float64 else 1e-5,
        )  # fmt: skip
        assert not plan[3 - start].any()
        assert not plan[:, 5].any()
    arguments = [cost, x, y, eps, start, stop, np.zeros(N), rng.random(M), np.zeros(N)]
    _assert_equal_effects(backend, "transport_cost", arguments, rtol=1e-10)
    assert arguments[8][start] > 0


def test_plans_in_any_order(backend):
    rng = np.random.default_rng(8)
    x, y = rng.random(N), rng.random(M)
    plan = np.asfortranarray(np.zeros((N, M)))
    _assert_equal_effects(backend, "plan_rows", [_cost("dense"), x, y, 1.0, 0, N, plan])
    assert plan.all()


@pytest.mark.parametrize("metric", [*METRICS, "forbidden", "row without costs"])
def test_cost_statistics(backend, metric):
    cost = _cost(metric if metric in METRICS else "dense", forbidden=metric == "forbidden")
    if metric == "row without costs":
        cost[0][3] = np.inf
        cost[0][4, 7] = np.inf
    arguments = [cost, *(np.empty(N) for _ in range(3)), np.empty(M), np.empty(M)]
    with np.errstate(invalid="ignore"):
        _assert_equal_effects(backend, "cost_statistics", arguments, atol=1e-12)


def test_not_a_number_is_told(backend):
    cost = _cost("dense")
    cost[0][2, 3] = np.nan
    arguments = [cost, *(np.empty(N) for _ in range(3)), np.empty(M), np.empty(M)]
    _, got = backend.run("cost_statistics", *arguments)
    np.testing.assert_array_equal(np.isnan(got[1]), np.arange(N) == 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scaled_entries(backend, dtype):
    rng = np.random.default_rng(7)
    plan = rng.random((N, M)).astype(dtype)
    rtol = 1e-14 if dtype == np.float64 else 1e-6
    _assert_equal_effects(backend, "scale_entries", [plan, rng.random(N), rng.random(M)], rtol=rtol)
