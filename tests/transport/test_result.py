"""Results of transport: what they report, their products, gradients, bounds and copies."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import (
    OTResult,
    sinkhorn,
    sinkhorn_newton_sparse,
    sinkhorn_unbalanced,
)
from sparseopt.transport import _result as module

FIELDS = {
    "f", "g", "x", "value", "value_linear", "value_entropy", "kl", "marginal_error", "n_iter",
    "n_sweeps", "n_newton", "n_cg", "converged", "message", "reg", "history", "a", "b", "fun",
    "nit", "success", "status", "certificate",
}  # fmt: skip


def random_problem(n=12, m=15, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, 2)), rng.standard_normal((m, 2)) + 0.5
    return rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m)), X, Y


def test_documented_attributes():
    a, b, X, Y = random_problem()
    result = sinkhorn(2 * a, 2 * b, X=X, Y=Y, reg=0.05)
    assert set(result) == FIELDS
    for name in FIELDS - {"fun", "nit", "success", "status", "certificate", "x"}:
        assert name in OTResult.__doc__
    np.testing.assert_array_equal(result.x, np.concatenate([result.f, result.g]))
    assert result.fun == result.value
    assert result.nit == result.n_iter == result.n_sweeps + result.n_newton
    assert result.certificate == sum(result.marginal_error)
    assert result.status == 0
    assert result.converged is result.success is True
    assert "converged" in result.message
    np.testing.assert_array_equal(result.a, 2 * a)
    assert result.reg == 0.05


@pytest.mark.parametrize("mass", [1.0, 4.0])
def test_values_by_their_definitions(mass):
    a, b, X, Y = random_problem()
    a, b, C = mass * a, mass * b, cdist(X, Y, "sqeuclidean")
    result = sinkhorn(a, b, C, reg=0.2, tol=1e-12)
    P = result.plan()
    kl = np.sum(P * np.log(P / np.outer(a, b)))
    np.testing.assert_allclose(result.kl, kl)
    np.testing.assert_allclose(result.value_linear, np.sum(P * C))
    np.testing.assert_allclose(result.value, np.sum(P * C) + 0.2 * kl)
    np.testing.assert_allclose(result.value_entropy, np.sum(P * C) + 0.2 * np.sum(P * np.log(P)))
    np.testing.assert_allclose(a @ result.f, b @ result.g, rtol=1e-12)
    # No plan with these marginals is better.
    rng = np.random.default_rng(0)
    for _ in range(5):
        D = rng.standard_normal(P.shape)
        D -= D.mean(1, keepdims=True)
        D -= D.mean(0)
        Q = P + 0.1 * P.min() * D / np.abs(D).max()
        other = np.sum(Q * C) + 0.2 * np.sum(Q * np.log(Q / np.outer(a, b)))
        assert other >= result.value - 1e-10


def test_history():
    C = np.random.default_rng(0).random((60, 50))
    result = sinkhorn_newton_sparse(C=C, reg=1e-3, store_history=True)
    history = result.history
    names = {
        "iteration", "time", "objective", "certificate", "reg", "n_sweeps", "n_newton", "n_kept",
    }  # fmt: skip
    assert set(history) == names
    assert len({column.shape for column in history.values()}) == 1
    for name in ("iteration", "time", "n_sweeps", "n_newton"):
        assert (np.diff(history[name]) >= 0).all()
    assert (np.diff(history["reg"]) <= 0).all()
    assert history["reg"][-1] == result.reg
    assert history["n_newton"][-1] == result.n_newton
    assert (history["n_kept"][history["n_newton"] == 0] == 0).all()
    last = history["reg"] == result.reg
    assert (np.diff(history["objective"][last]) >= -1e-12).all()  # every step climbs
    assert history["certificate"][-1] <= 1e-8 < history["certificate"][last][0]
    assert history["certificate"][-1] == pytest.approx(result.certificate, rel=1e-3)


def test_every_sweep_is_stored_on_request():
    C = np.random.default_rng(0).random((20, 20))
    for solver in ("sinkhorn", "sinkhorn_log"):
        result = sinkhorn(C=C, reg=0.05, solver=solver, store_history=True)
        sweeps = result.history["n_sweeps"]
        np.testing.assert_array_equal(sweeps, np.arange(1, result.n_sweeps + 1))
        objective = result.history["objective"]
        assert (np.diff(objective) >= -1e-12 * np.abs(objective[1:])).all()


@pytest.mark.parametrize("solver", ["auto", "sns", "sinkhorn", "sinkhorn_log"])
def test_a_callback_ends_the_run_without_a_warning(solver):
    C = np.random.default_rng(0).random((40, 40))
    seen = []

    def stop(g):
        seen.append(g)
        if len(seen) == 2:
            raise StopIteration

    result = sinkhorn(C=C, reg=1e-3, solver=solver, callback=stop, tol=1e-12)
    assert len(seen) == 2
    assert seen[0].shape == (40,)
    assert not result.converged
    assert "stopped by its callback" in result.message
    assert f"{result.certificate:.3g}" in result.message
    P = result.plan()
    np.testing.assert_allclose(
        result.certificate, np.abs(P.sum(1) - 1 / 40).sum() + np.abs(P.sum(0) - 1 / 40).sum()
    )


def test_the_message_tells_the_error_of_what_is_returned():
    # The run ends at a larger regularisation, where the error was another.
    C = np.random.default_rng(0).random((50, 50))
    with pytest.warns(ConvergenceWarning) as caught:
        result = sinkhorn(C=C, reg=1e-4, max_iter=8)
    assert result.history["reg"][-1] > result.reg
    assert f"marginal error {result.certificate:.3g} (tolerance 1e-08)" in str(caught[0].message)
    assert str(caught[0].message) == result.message
    assert "Increase max_iter, reg or tol" in result.message
    assert caught[0].filename == __file__


@pytest.mark.parametrize("solver", ["auto", "sns", "sinkhorn"])
def test_a_start_at_the_solution_ends_at_once(solver):
    a, b, X, Y = random_problem(40, 50)
    options = {"X": X, "Y": Y, "reg": 0.01, "solver": solver}
    result = sinkhorn(a, b, **options, max_iter=20000, tol=1e-10)
    again = sinkhorn(a, b, **options, init=(result.f, result.g))
    assert again.n_iter <= 2
    np.testing.assert_allclose(again.f, result.f, atol=1e-7)
    # Only g matters, and neither the gauge.
    other = sinkhorn(a, b, **options, init=(np.zeros(40), result.g + 3.0))
    assert other.n_iter <= 2
    np.testing.assert_allclose(other.f, result.f, atol=1e-7)


def test_a_start_from_a_larger_regularisation_saves_steps():
    C = np.random.default_rng(0).random((100, 100))
    rough = sinkhorn_newton_sparse(C=C, reg=2e-3)
    cold = sinkhorn_newton_sparse(C=C, reg=1e-3)
    warm = sinkhorn_newton_sparse(C=C, reg=1e-3, init=(rough.f, rough.g), warm_start_sweeps=2)
    assert warm.n_iter < cold.n_iter
    np.testing.assert_allclose(warm.value, cold.value, rtol=1e-9)


def test_plans_in_blocks(monkeypatch):
    a, b, X, Y = random_problem(40, 30)
    result = sinkhorn(a, b, X=X, Y=Y, reg=0.05)
    rng = np.random.default_rng(1)
    V, W = rng.standard_normal((30, 2)), rng.standard_normal((40, 2))

    def products():
        return [
            result.apply(V), result.apply(W, axis=0), result.apply(V[:, 0]),
            result.barycentric_map(), result.barycentric_map(V[:, 0]), result.grad_X(),
            result.grad_Y(), np.array(result.gap()), result.rounded_plan(),
            result.plan(sparse=True).toarray(), result.plan(),
        ]  # fmt: skip

    whole = products()
    for entries in (1, 70, 30 * 7):
        monkeypatch.setattr(module, "BLOCK_ENTRIES", entries)
        for one, other in zip(products(), whole, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)
    P = result.plan()
    np.testing.assert_allclose(whole[2], P @ V[:, 0])
    np.testing.assert_allclose(whole[4], P @ V[:, 0] / P.sum(1))


def test_products_refuse_what_does_not_fit():
    a, b, X, Y = random_problem()
    result = sinkhorn(a, b, cdist(X, Y), reg=0.1)
    with pytest.raises(ValueError, match=r"15 rows for axis=1.*\(12, 15\).*\(12,\)"):
        result.apply(np.ones(12))
    with pytest.raises(ValueError, match="axis must be 0 or 1"):
        result.apply(np.ones(15), axis=2)
    with pytest.raises(ValueError, match="V must have 15 rows"):
        result.barycentric_map(np.ones(12))
    with pytest.raises(ValueError, match="V must be real"):
        result.apply(np.ones(15) * 1j)
    for method in ("grad_X", "grad_Y", "barycentric_map"):
        with pytest.raises(ValueError, match=f"{method} needs points"):
            getattr(result, method)()
    points = sinkhorn(a, b, X=X, Y=Y, metric="chebyshev", reg=0.1)
    with pytest.raises(ValueError, match="got 'chebyshev'"):
        points.grad_X()


def test_the_gap_bounds_the_distance_to_the_exact_cost():
    rng = np.random.default_rng(0)
    C = rng.random((20, 20))
    exact = C[linear_sum_assignment(C)].mean()
    for reg in (0.5, 0.02, 1e-3):
        for max_iter in (1, 20, 1000):  # also far from the solution
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                result = sinkhorn(C=C, reg=reg, max_iter=max_iter)
            upper = np.sum(result.rounded_plan() * C)
            assert -1e-14 <= upper - exact <= result.gap() + 1e-14


def test_single_precision_results():
    a, b, X, Y = (array.astype(np.float32) for array in random_problem())
    result = sinkhorn(a / a.sum(), b / b.sum(), X=X, Y=Y, reg=0.1)
    double = sinkhorn(a / a.sum(), b / b.sum(), X=X, Y=Y, reg=0.1, dtype=np.float64)
    arrays = [
        result.f, result.g, result.x, result.plan(), result.plan(sparse=True), result.grad_X(),
        result.grad_Y(), result.grad_a(), result.grad_b(), result.apply(np.ones(15)),
        result.barycentric_map(), result.rounded_plan(),
    ]  # fmt: skip
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    # Everything is computed in double precision.
    assert result.certificate == double.certificate <= 1e-8
    assert result.value == double.value
    np.testing.assert_array_equal(result.f, double.f.astype(np.float32))
    np.testing.assert_array_equal(result.plan(), double.plan().astype(np.float32))


@pytest.mark.parametrize("metric", ["sqeuclidean", "chebyshev", None])
def test_copies(metric):
    a, b, X, Y = random_problem()
    data = {"C": cdist(X, Y)} if metric is None else {"X": X, "Y": Y, "metric": metric}
    result = sinkhorn(a, b, reg=0.1, **data)
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert isinstance(again, OTResult)
        assert set(again) == FIELDS
        np.testing.assert_allclose(again.plan(), result.plan(), rtol=1e-12)
        np.testing.assert_array_equal(again.grad_a(), result.grad_a())
        np.testing.assert_allclose(again.gap(), result.gap(), rtol=1e-9)
        assert repr(again) == repr(result)
    if metric == "sqeuclidean":  # costs of points are computed again
        assert len(pickle.dumps(result)) < 8000


def test_sparse_plans():
    C = np.random.default_rng(0).random((30, 30))
    result = sinkhorn(C=C, reg=1e-3)
    kept = result.plan(sparse=True, threshold=1e-6)
    assert isinstance(kept, sparse.csr_array)
    assert kept.shape == (30, 30)
    assert kept.data.min() > 1e-6
    assert kept.nnz < 150
    assert result.plan(sparse=True, threshold=1.0).nnz == 0


def test_gradients_with_masses_of_any_total():
    a, b, X, Y = random_problem(7, 8)
    a, b, h = 3 * a, 3 * b, 1e-5
    rng = np.random.default_rng(2)

    def value(a=a, b=b, X=X, C=None):
        data = {"X": X, "Y": Y} if C is None else {"C": C}
        return sinkhorn(a, b, reg=0.3, tol=1e-12, **data).value

    result = sinkhorn(a, b, X=X, Y=Y, reg=0.3, tol=1e-12)
    for name, gradient, base in (
        ("a", result.grad_a(), a), ("b", result.grad_b(), b), ("X", result.grad_X(), X),
        ("C", result.grad_C(), cdist(X, Y, "sqeuclidean")),
    ):  # fmt: skip
        D = rng.standard_normal(base.shape)
        if name in "ab":
            D = base * D
            D -= base * (D.sum() / base.sum())
        slope = (value(**{name: base + h * D}) - value(**{name: base - h * D})) / (2 * h)
        np.testing.assert_allclose(np.sum(gradient * D), slope, rtol=1e-5, err_msg=name)


def test_gradients_at_bins_without_mass():
    # The derivative of the value as mass arrives there, up to the constant, is the potential.
    a, b, X, Y = random_problem(7, 8)
    a[2] = 0
    a /= a.sum()
    result = sinkhorn(a, b, X=X, Y=Y, reg=0.3, tol=1e-12)
    D = -a.copy()
    D[2] = 1.0
    h = 1e-6
    one = sinkhorn(a + h * D, b, X=X, Y=Y, reg=0.3, tol=1e-12).value
    two = sinkhorn(a + 2 * h * D, b, X=X, Y=Y, reg=0.3, tol=1e-12).value
    slope = (4 * one - two - 3 * result.value) / (2 * h)
    np.testing.assert_allclose(result.grad_a() @ D, slope, rtol=1e-4)


def derivative_by_differences(solve, C, D, h=1e-5):
    return (solve(C + h * D).plan() - solve(C - h * D).plan()) / (2 * h)


@pytest.mark.parametrize("reg", [1.0, 0.1, 0.01])
def test_derivative_of_the_plan(reg):
    a, b, X, Y = random_problem()
    a[3], b[5] = 0, 0
    a, b, C = 2 * a / a.sum(), 2 * b / b.sum(), cdist(X, Y)

    def solve(C):
        return sinkhorn(a, b, C, reg=reg, tol=1e-12)

    rng = np.random.default_rng(0)
    D, W = rng.standard_normal(C.shape), rng.standard_normal(C.shape)
    result = solve(C)
    derivative = result.plan_derivative(D)
    expected = derivative_by_differences(solve, C, D, h=1e-4 * reg)
    np.testing.assert_allclose(derivative, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    # Marginals stay; the plan is the gradient of a concave function of the costs.
    np.testing.assert_allclose(derivative.sum(0), 0, atol=1e-9)
    np.testing.assert_allclose(derivative.sum(1), 0, atol=1e-9)
    np.testing.assert_allclose(np.sum(W * derivative), np.sum(D * result.plan_derivative(W)))
    assert np.sum(D * derivative) < 0
    # Costs that only shift the potentials move nothing.
    shift = rng.standard_normal((12, 1)) + rng.standard_normal(15)
    np.testing.assert_allclose(result.plan_derivative(shift), 0, atol=1e-9)


def test_derivative_of_a_plan_with_forbidden_pairs():
    rng = np.random.default_rng(0)
    C, D = rng.random((8, 8)), rng.standard_normal((8, 8))
    C[0, 1:5] = C[4:, 7] = np.inf

    def solve(C):
        return sinkhorn(C=C, reg=0.05, tol=1e-12)

    result = solve(C)
    expected = derivative_by_differences(solve, C, D)
    np.testing.assert_allclose(result.plan_derivative(D), expected, rtol=1e-4, atol=1e-7)
    D[np.isinf(C)] = np.nan
    np.testing.assert_allclose(result.plan_derivative(D), expected, rtol=1e-4, atol=1e-7)


def test_derivative_of_a_sharp_plan():
    # Weights of the system span hundreds of magnitudes.
    C = np.random.default_rng(0).random((60, 60))
    D = np.random.default_rng(1).standard_normal((60, 60))
    result = sinkhorn(C=C, reg=1e-3, tol=1e-13)

    def solve(C):
        return sinkhorn(C=C, reg=1e-3, tol=1e-13, init=(result.f, result.g))

    expected = derivative_by_differences(solve, C, D, h=1e-7)
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(result.plan_derivative(D), expected, atol=atol)


@pytest.mark.parametrize("reg_m", [0.5, (np.inf, 0.3)])
def test_derivative_of_an_unbalanced_plan(reg_m):
    a, b, X, Y = random_problem()
    C, D = cdist(X, Y), np.random.default_rng(0).standard_normal((12, 15))

    def solve(C):
        return sinkhorn_unbalanced(a, b, C, reg=0.1, reg_m=reg_m, tol=1e-12)

    expected = derivative_by_differences(solve, C, D)
    atol = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(solve(C).plan_derivative(D), expected, rtol=1e-5, atol=atol)


def test_derivative_of_the_plan_refuses_what_does_not_fit():
    result = sinkhorn(C=np.eye(3), reg=0.1)
    with pytest.raises(ValueError, match=r"shape of the plan, \(3, 3\), got \(3,\)"):
        result.plan_derivative(np.ones(3))
    with pytest.raises(ValueError, match="direction must be finite"):
        result.plan_derivative(np.full((3, 3), np.nan))
