"""Entropic transport: reference solutions, optimality, invariances, limits, bad input."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import OTResult, sinkhorn, sinkhorn_newton_sparse

DATA = Path(__file__).parents[1] / "data" / "ot"
SOLVERS = ["auto", "sns", "sinkhorn", "sinkhorn_log"]
# Where Sinkhorn's method alone needs tens of thousands of sweeps, only Newton steps are run.
GOLDEN = [
    ("lap_n60", "0.1", SOLVERS),
    ("lap_n60", "0.01", SOLVERS),
    ("rect_40x70", "1", SOLVERS),
    ("rect_40x70", "0.1", SOLVERS),
    ("rect_40x70", "0.02", ["auto", "sns"]),
    ("hist1d_100x80", "0.1", SOLVERS),
    ("hist1d_100x80", "0.01", ["auto", "sns"]),
]


def random_problem(n=30, m=40, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, 2)), rng.standard_normal((m, 2)) + 0.5
    return rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m)), X, Y


def load(name):
    return np.load(DATA / f"{name}.npz", allow_pickle=False)


@pytest.mark.parametrize(
    ("name", "eps", "solver"),
    [(name, eps, solver) for name, eps, solvers in GOLDEN for solver in solvers],
)
def test_reference_solutions(name, eps, solver):
    data = load(name)
    C, key = data["C"], f"eps{eps}_"
    result = sinkhorn(
        data["a"], data["b"], C, reg=float(eps), solver=solver, tol=1e-10, max_iter=20000
    )
    rtol = 1e-8 if name.startswith("hist") else 1e-9
    atol = 1e-7 * max(1, np.ptp(C))
    assert result.converged
    np.testing.assert_allclose(result.value, data[key + "value"], rtol=rtol)
    np.testing.assert_allclose(result.value_linear, data[key + "linear"], rtol=rtol)
    np.testing.assert_allclose(result.value_entropy, data[key + "value_lyapunov"], rtol=rtol)
    np.testing.assert_allclose(result.kl, data[key + "kl"], rtol=1e-7)
    np.testing.assert_allclose(result.f, data[key + "f"], atol=atol)
    np.testing.assert_allclose(result.g, data[key + "g"], atol=atol)
    np.testing.assert_allclose(result.plan(), data[key + "P"], atol=1e-9)


def test_reference_solution_with_nearly_separate_parts():
    data = load("lap_n60")
    result = sinkhorn(C=data["C"], reg=0.002, solver="sns", tol=3e-14)
    assert sum(result.marginal_error) < 1e-13
    np.testing.assert_allclose(result.f, data["eps0.002_f"], atol=1e-7)
    np.testing.assert_allclose(result.g, data["eps0.002_g"], atol=1e-7)
    np.testing.assert_allclose(result.plan(), data["eps0.002_P"], atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_optimality_conditions(solver):
    a, b, X, Y = random_problem()
    reg = 0.1
    result = sinkhorn(a, b, X=X, Y=Y, reg=reg, solver=solver, tol=1e-11, max_iter=20000)
    C = ((X[:, None] - Y) ** 2).sum(2)
    P, f, g = result.plan(), result.f, result.g
    assert (P >= 0).all()
    assert np.abs(P.sum(1) - a).sum() + np.abs(P.sum(0) - b).sum() <= 1e-10
    np.testing.assert_allclose(
        P, a[:, None] * b * np.exp((f[:, None] + g - C) / reg), rtol=1e-9, atol=1e-300
    )
    np.testing.assert_allclose(f, -reg * logsumexp((g - C) / reg + np.log(b), axis=1), atol=1e-8)
    np.testing.assert_allclose(a @ f, b @ g)
    np.testing.assert_allclose(result.value, a @ f + b @ g)
    np.testing.assert_allclose(result.value_linear, np.sum(P * C))
    kl = np.sum(P * np.log(P / np.outer(a, b)))
    np.testing.assert_allclose(result.kl, kl)
    np.testing.assert_allclose(result.value, result.value_linear + reg * kl)
    np.testing.assert_allclose(
        result.value_entropy, result.value_linear + reg * np.sum(P * np.log(P))
    )


def test_bins_without_mass():
    a, b, X, Y = random_problem()
    a[[0, 7]], b[[3, 39]] = 0, 0
    a, b = a / a.sum(), b / b.sum()
    result = sinkhorn(a, b, X=X, Y=Y, reg=0.2, tol=1e-11)
    inner = sinkhorn(a[a > 0], b[b > 0], X=X[a > 0], Y=Y[b > 0], reg=0.2, tol=1e-11)
    P = result.plan()
    assert (P[a == 0] == 0).all()
    assert (P[:, b == 0] == 0).all()
    np.testing.assert_allclose(P[np.ix_(a > 0, b > 0)], inner.plan(), atol=1e-12)
    C = ((X[:, None] - Y) ** 2).sum(2)
    with np.errstate(divide="ignore"):
        f = -0.2 * logsumexp((result.g - C) / 0.2 + np.log(b), axis=1)
        g = -0.2 * logsumexp((result.f[:, None] - C) / 0.2 + np.log(a)[:, None], axis=0)
    np.testing.assert_allclose(result.f, f, atol=1e-9)
    np.testing.assert_allclose(result.g, g, atol=1e-9)
    assert np.isfinite(result.barycentric_map()).all()


@pytest.mark.parametrize("solver", ["auto", "sns"])
def test_invariances(solver):
    a, b, X, Y = random_problem(20, 25)
    C = ((X[:, None] - Y) ** 2).sum(2)
    rng = np.random.default_rng(1)

    def solve(a, b, C, reg=0.05):
        return sinkhorn(a, b, C, reg=reg, solver=solver, tol=1e-11)

    base = solve(a, b, C)
    u, v = rng.standard_normal(20), rng.standard_normal(25)
    shifted = solve(a, b, C + u[:, None] + v)
    np.testing.assert_allclose(shifted.plan(), base.plan(), atol=1e-9)
    potentials = base.f[:, None] + base.g + u[:, None] + v
    np.testing.assert_allclose(shifted.f[:, None] + shifted.g, potentials, atol=1e-7)
    rows, columns = rng.permutation(20), rng.permutation(25)
    permuted = solve(a[rows], b[columns], C[np.ix_(rows, columns)])
    np.testing.assert_allclose(permuted.plan(), base.plan()[np.ix_(rows, columns)], atol=1e-9)
    for scale in (1e-6, 1e6):
        scaled = solve(a, b, scale * C, reg=0.05 * scale)
        np.testing.assert_allclose(scaled.value, scale * base.value, rtol=1e-9)
        np.testing.assert_allclose(scaled.f, scale * base.f, atol=1e-7 * scale)
    flipped = solve(b, a, C.T)
    np.testing.assert_allclose(flipped.f, base.g, atol=1e-7)
    np.testing.assert_allclose(flipped.plan(), base.plan().T, atol=1e-9)
    heavier = solve(7 * a, 7 * b, C)
    np.testing.assert_allclose(heavier.plan(), 7 * base.plan(), atol=1e-8)
    np.testing.assert_allclose(heavier.value, heavier.a @ heavier.f + heavier.b @ heavier.g)
    np.testing.assert_allclose(
        heavier.plan(),
        np.outer(heavier.a, heavier.b) * np.exp((heavier.f[:, None] + heavier.g - C) / heavier.reg),
    )


def test_large_regularisation_gives_the_independent_plan():
    a, b, X, Y = random_problem()
    C = ((X[:, None] - Y) ** 2).sum(2)
    P = sinkhorn(a, b, C, reg=1e3 * np.ptp(C)).plan()
    assert np.abs(P - np.outer(a, b)).sum() <= 1e-3


@pytest.mark.parametrize("case", json.loads((DATA / "lap_small_eps.json").read_text()))
def test_small_regularisation_gives_the_assignment(case):
    C = np.random.default_rng(case["seed"]).random((200, 200))
    result = sinkhorn(C=C, reg=1 / case["eta"])
    exact = case["assignment_cost_over_n"]
    np.testing.assert_allclose(result.value_linear, case["linear"], rtol=1e-6)
    entropy = np.log(200)
    slack = 1e-8
    assert -slack <= result.value_linear - exact <= result.reg * entropy + slack
    assert -slack <= result.value - exact <= result.reg * entropy + slack


def test_single_source_or_target():
    b = np.array([0.2, 0.3, 0.5])
    C = np.array([[1.0, 5.0, -2.0]])
    np.testing.assert_allclose(sinkhorn([1.0], b, C, reg=1e-3).plan(), b[None, :])
    np.testing.assert_allclose(sinkhorn(b, [1.0], C.T, reg=1e-3).plan(), b[:, None])


def test_equal_histograms_stay_in_place():
    x = np.linspace(0, 1, 20)[:, None]
    a = np.random.default_rng(0).dirichlet(np.ones(20))
    P = sinkhorn(a, a, X=x, reg=1e-5).plan()
    np.testing.assert_allclose(P, np.diag(a), atol=1e-6)


def test_result_products_and_pickle():
    a, b, X, Y = random_problem()
    result = sinkhorn(a, b, X=X, Y=Y, reg=0.1)
    P, rng = result.plan(), np.random.default_rng(2)
    V, W = rng.standard_normal((40, 3)), rng.standard_normal(30)
    np.testing.assert_allclose(result.apply(V), P @ V)
    np.testing.assert_allclose(result.apply(W, axis=0), P.T @ W)
    np.testing.assert_allclose(result.barycentric_map(), P @ Y / P.sum(1)[:, None])
    kept = result.plan(sparse=True, threshold=1e-6)
    assert sparse.issparse(kept)
    np.testing.assert_allclose(kept.toarray(), np.where(P > 1e-6, P, 0))
    np.testing.assert_array_equal(result.plan(threshold=1e-6), kept.toarray())
    again = pickle.loads(pickle.dumps(result))
    assert isinstance(again, OTResult)
    np.testing.assert_allclose(again.plan(), P)
    assert len(repr(result)) < 150


def test_rounded_plan_and_gap():
    a, b, X, Y = random_problem()
    C = ((X[:, None] - Y) ** 2).sum(2)
    with pytest.warns(ConvergenceWarning, match="marginal error"):
        result = sinkhorn(a, b, C, reg=0.01, solver="sinkhorn", max_iter=5)
    P = result.rounded_plan()
    assert (P >= 0).all()
    np.testing.assert_allclose(P.sum(1), a, atol=1e-15)
    np.testing.assert_allclose(P.sum(0), b, atol=1e-15)
    assert np.abs(P - result.plan()).sum() <= 2 * sum(result.marginal_error) + 1e-14
    data = load("rect_40x70")
    gaps = []
    for reg in (0.5, 0.05, 0.005):
        result = sinkhorn(data["a"], data["b"], data["C"], reg=reg)
        upper = np.sum(result.rounded_plan() * data["C"])
        gaps.append(result.gap())
        assert 0 <= upper - data["emd"] <= gaps[-1]
    assert gaps[2] < gaps[1] < gaps[0]


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock"])
def test_envelope_gradients(metric):
    a, b, X, Y = random_problem(8, 9)
    rng = np.random.default_rng(5)

    def value(a=a, X=X, Y=Y, reg=0.3):
        return sinkhorn(a, b, X=X, Y=Y, metric=metric, reg=reg, tol=1e-12).value

    result = sinkhorn(a, b, X=X, Y=Y, metric=metric, reg=0.3, tol=1e-12)
    h = 1e-5
    for name, gradient in (("X", result.grad_X()), ("Y", result.grad_Y())):
        base = {"X": X, "Y": Y}[name]
        D = rng.standard_normal(base.shape)
        slope = (value(**{name: base + h * D}) - value(**{name: base - h * D})) / (2 * h)
        np.testing.assert_allclose(np.sum(gradient * D), slope, rtol=1e-5)
    D = a * rng.standard_normal(8)
    D -= D.sum() * a
    slope = (value(a=a + h * D) - value(a=a - h * D)) / (2 * h)
    np.testing.assert_allclose(result.grad_a() @ D, slope, rtol=1e-5)
    np.testing.assert_allclose(a @ result.grad_a(), 0, atol=1e-14)
    slope = (value(reg=0.3 + h) - value(reg=0.3 - h)) / (2 * h)
    np.testing.assert_allclose(result.kl, slope, rtol=1e-5)


def test_gradient_in_the_cost():
    a, b, X, Y = random_problem(6, 5)
    C = ((X[:, None] - Y) ** 2).sum(2)
    D = np.random.default_rng(5).standard_normal(C.shape)
    plus, minus = (sinkhorn(a, b, C + h * D, reg=0.3, tol=1e-12).value for h in (1e-5, -1e-5))
    gradient = sinkhorn(a, b, C, reg=0.3, tol=1e-12).grad_C()
    np.testing.assert_allclose(np.sum(gradient * D), (plus - minus) / 2e-5, rtol=1e-5)


def test_warm_start():
    a, b, X, Y = random_problem()
    result = sinkhorn(a, b, X=X, Y=Y, reg=0.02)
    again = sinkhorn(a, b, X=X, Y=Y, reg=0.02, init=(result.f, result.g))
    assert again.n_iter <= 2
    np.testing.assert_allclose(again.value, result.value, rtol=1e-10)


def test_forbidden_pairs():
    C = np.where(np.eye(4, dtype=bool) | np.eye(4, k=1, dtype=bool), 1.0, np.inf)
    C[3, 0] = 2.0
    result = sinkhorn(C=C, reg=0.1)
    P = result.plan()
    assert (P[np.isinf(C)] == 0).all()
    assert np.isfinite(result.value_linear)
    np.testing.assert_allclose(P.sum(0), 0.25, atol=1e-8)
    with pytest.raises(ValueError, match="no feasible plan"):
        sinkhorn([0.7, 0.3], [0.5, 0.5], [[1.0, np.inf], [np.inf, 1.0]])


def test_history_callback_and_published_variant():
    C = np.random.default_rng(0).random((100, 100))
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result.certificate)
        if len(seen) == 3:
            raise StopIteration

    sinkhorn(C=C, reg=1e-3, callback=callback)
    assert len(seen) == 3
    result = sinkhorn_newton_sparse(
        C=C, reg=1 / 500, eps_scaling=False, sparsity=8 / 100, store_history=True
    )
    history = result.history
    assert len({len(column) for column in history.values()}) == 1
    assert history["n_sweeps"][-1] == result.n_sweeps == 20
    assert history["n_newton"][-1] == result.n_newton
    assert history["n_kept"][-1] == 8 * 100
    objective = history["objective"]
    assert (np.diff(objective) >= -1e-12).all()
    assert history["certificate"][-1] <= 1e-8


def test_dtype_of_the_result():
    a, b, X, Y = random_problem()
    single = sinkhorn(*(array.astype(np.float32) for array in (a, b)), C=None, X=X, Y=Y)
    assert single.f.dtype == np.float64
    C = ((X[:, None] - Y) ** 2).sum(2).astype(np.float32)
    single = sinkhorn(C=C)
    assert single.f.dtype == single.plan().dtype == np.float32
    assert sinkhorn(C=C, dtype=np.float64).f.dtype == np.float64


BAD = [
    ({"a": [0.5, np.nan]}, "a must be finite"),
    ({"a": [1.5, -0.5]}, "a must be >= 0"),
    ({"a": [0.0, 0.0]}, "positive sum"),
    ({"a": [1.0, 1.0]}, "equal sums.*unbalanced"),
    ({"a": [0.2, 0.3, 0.5]}, r"\(2,\).*\(2, 2\).*\(3,\)"),
    ({"C": [[0.0, np.nan], [1.0, 0.0]]}, "C must be finite"),
    ({"C": [0.0, 1.0]}, r"non-empty matrix, got shape \(2,\)"),
    ({"C": None}, "Give the cost matrix C, or the points"),
    ({"C": None, "X": np.ones((2, 3)), "Y": np.ones((2, 2))}, r"\(2, 3\) and \(2, 2\)"),
    ({"C": None, "X": np.ones((2, 3)), "metric": "nonsense"}, "metric must be"),
    ({"X": np.ones((2, 3))}, "not both"),
    ({"reg": 0.0}, "wasserstein_distance"),
    ({"reg": np.nan}, "reg must be positive"),
    ({"reg_scale": "min"}, "reg_scale"),
    ({"solver": "newton"}, "solver must be one of"),
    ({"tol": 0.0}, "tol must be"),
    ({"max_iter": 0}, "max_iter"),
    ({"sparsity": 2.0}, "sparsity"),
    ({"eps_scaling": "no"}, "eps_scaling"),
    ({"init": ([0.0], [0.0, 0.0])}, "init must hold"),
    ({"init": ([0.0, np.inf], [0.0, 0.0])}, "init must be finite"),
    ({"dtype": np.int64}, "dtype"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input(change, message):
    arguments = {"a": [0.5, 0.5], "b": [0.5, 0.5], "C": [[0.0, 1.0], [1.0, 0.0]]} | change
    with pytest.raises(ValueError, match=message):
        sinkhorn(**arguments)


def test_bad_types():
    C = np.eye(2)
    with pytest.raises(TypeError, match="reg must be a real number"):
        sinkhorn(C=C, reg="strong")
    with pytest.raises(TypeError, match="dense"):
        sinkhorn(C=sparse.csr_array(C))


def test_reg_scale_and_normalize():
    a, b, X, Y = random_problem()
    C = ((X[:, None] - Y) ** 2).sum(2)
    for name, scale in (("max", C.max()), ("mean", C.mean()), ("median", np.median(C))):
        assert np.isclose(sinkhorn(a, b, C, reg=0.1, reg_scale=name).reg, 0.1 * scale)
    result = sinkhorn(3 * a, b, C, normalize=True)
    np.testing.assert_allclose(result.plan().sum(), 1)


def test_a_run_that_ends_during_scaling_is_finite():
    a, b, X, Y = random_problem(60, 50)
    with pytest.warns(ConvergenceWarning, match="marginal error"):
        result = sinkhorn(a, b, X=X, Y=Y, reg=1e-3, max_iter=2)
    assert result.marginal_error[0] < 1e-10
    assert np.isfinite([result.value, result.value_linear, result.certificate]).all()
    assert not result.converged
