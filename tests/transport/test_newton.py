"""Sinkhorn-Newton-Sparse: derivatives, published counts, preconditioning, equal variants."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sparseopt.transport import sinkhorn, sinkhorn_newton_sparse
from sparseopt.transport._kernels import sparse as system
from sparseopt.transport._newton import NewtonSteps
from sparseopt.transport._problem import Cost
from sparseopt.transport._semidual import SemiDual

DATA = Path(__file__).parents[1] / "data" / "ot"
COUNTS = json.loads((DATA / "lap_counts.json").read_text())
HEADLINE = json.loads((DATA / "lap_headline.json").read_text())
DIGITS = json.loads((DATA / "digits28.json").read_text())
RULES = {
    "threshold_nu_0.01": "auto",
    "topk_rho_4_over_n": 4 / 500,
    "topk_rho_8_over_n": 8 / 500,
    "exact_hessian": None,
}


def assignment(seed, n=500):
    return np.random.default_rng(seed).random((n, n))


def small_dual(eps=0.3, seed=0):
    rng = np.random.default_rng(seed)
    C = rng.random((6, 5))
    a, b = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5))
    return SemiDual(Cost(C), a, b, eps), eps * rng.standard_normal(5)


def dense_hessian(dual, y):
    """Return minus eps times the Hessian of the semi-dual."""
    plan = np.empty(dual.shape)
    point = dual.evaluate(y, plan)
    return np.diag(point.column_sums) - plan.T @ (plan / dual.a[:, None])


def test_derivatives_of_the_dual():
    dual, y = small_dual()
    h = 1e-5 * np.eye(5)
    point = dual.evaluate(y)
    slopes = [(dual.evaluate(y + e).objective - dual.evaluate(y - e).objective) / 2e-5 for e in h]
    np.testing.assert_allclose(dual.gradient(point), slopes, rtol=1e-6)
    curvatures = [
        (dual.gradient(dual.evaluate(y + e)) - dual.gradient(dual.evaluate(y - e))) / 2e-5
        for e in h
    ]
    H = dense_hessian(dual, y)
    np.testing.assert_allclose(curvatures, -H / dual.eps, rtol=1e-6)
    np.testing.assert_allclose(H @ np.ones(5), 0, atol=1e-12)
    assert np.linalg.eigvalsh(H)[0] > -1e-14
    # The objective is that of the full dual, whose rows are exact.
    P = np.exp((point.x[:, None] + y - dual.cost.matrix) / dual.eps)
    np.testing.assert_allclose(P.sum(1), dual.a)
    np.testing.assert_allclose(
        point.objective, dual.a @ point.x + dual.b @ y - dual.eps * (P.sum() - 1)
    )


def test_a_step_of_all_entries_is_newton_s():
    dual, y = small_dual()
    steps = NewtonSteps(dual, y, np.empty(dual.shape), sparsity=None)
    gradient, norm = dual.gradient(steps.point), 1e-30  # no shift, full accuracy
    direction = steps._direction(gradient, norm)
    expected = dual.eps * np.linalg.pinv(dense_hessian(dual, y)) @ gradient
    np.testing.assert_allclose(direction - direction.mean(), expected - expected.mean(), rtol=1e-6)


@pytest.mark.parametrize("sparsity", ["auto", 0.3, None])
def test_steps_climb_the_dual(sparsity):
    rng = np.random.default_rng(0)
    n, m, eps = 40, 30, 1e-3
    dual = SemiDual(
        Cost(rng.random((n, m))), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m)), eps
    )
    steps = NewtonSteps(dual, eps * np.log(dual.b), np.empty((n, m)), sparsity=sparsity)
    first = before = steps.progress()
    for _ in range(40):
        after = steps.step()
        assert after.objective >= before.objective - 1e-12 * abs(before.objective)
        before = after
    assert after.certificate < 0.1 * first.certificate


@pytest.mark.parametrize("case", COUNTS, ids=lambda case: f"{case['seed']}-{case['eta']:g}")
def test_newton_steps_as_published(case):
    C = assignment(case["seed"])
    for rule, sparsity in RULES.items():
        if rule == "exact_hessian" and case["seed"] > 0:
            continue  # half a second each
        result = sinkhorn_newton_sparse(
            C=C, reg=1 / case["eta"], tol=1e-10, eps_scaling=False, sparsity=sparsity
        )
        assert result.n_sweeps == 20
        assert abs(result.n_newton - case[rule]["newton"]) <= 3
        assert result.certificate <= 1e-10
        if sparsity == "auto":
            assert result.n_newton <= 12
    scaled = sinkhorn_newton_sparse(C=C, reg=1 / case["eta"], tol=1e-10)
    assert scaled.n_newton <= case["eps_scaling"]["newton"] + 3
    assert scaled.n_sweeps <= case["eps_scaling"]["sweeps"] + 3


@pytest.mark.parametrize("case", COUNTS[-1:] + COUNTS[4:5], ids=lambda case: f"{case['eta']:g}")
def test_sinkhorn_sweeps_as_published(case):
    history = sinkhorn(
        C=assignment(case["seed"]), reg=1 / case["eta"], tol=1e-8, solver="sinkhorn",
        max_iter=20000, store_history=True,
    ).history  # fmt: skip
    for error, sweeps in case["sinkhorn_sweeps"].items():
        if float(error) < 1e-8:
            continue
        reached = np.argmax(history["certificate"] <= float(error))
        assert abs(history["n_sweeps"][reached] - sweeps) <= max(1, 0.01 * sweeps)


@pytest.mark.parametrize("case", HEADLINE, ids=lambda case: f"{case['seed']}-{case['eta']:g}")
def test_random_assignment(case):
    result = sinkhorn(C=assignment(case["seed"]), reg=1 / case["eta"], tol=1e-10)
    np.testing.assert_allclose(result.value_linear, case["linear"], rtol=1e-8)
    np.testing.assert_allclose(result.value_entropy, case["value_lyapunov"], rtol=1e-9)
    assert result.value_linear >= case["assignment_cost_over_n"]


@pytest.mark.parametrize("case", DIGITS, ids=lambda case: "{i}{j}-{cost}-{eta:g}".format(**case))
def test_digits(case):
    histograms = np.load(DATA / "digits28_hist.npz")
    a, b = (histograms[f"img{case[k]}"] for k in "ij")
    grid = np.indices((28, 28)).reshape(2, -1).T.astype(float)
    C = cdist(grid, grid, case["cost"])
    result = sinkhorn(a, b, C / C.max(), reg=1 / case["eta"], tol=1e-10)
    np.testing.assert_allclose(result.value_linear, case["linear"], rtol=1e-8)
    np.testing.assert_allclose(result.value, case["value"], rtol=1e-8)
    entropy = min(-mass @ np.log(mass) for mass in (a, b))
    for value in (result.value, result.value_linear):
        assert -1e-9 <= value - case["emd"] <= result.reg * entropy


def test_smallest_regularisation_gives_the_assignment():
    C = assignment(0)
    i, j = linear_sum_assignment(C)
    exact = C[i, j].mean()
    result = sinkhorn(C=C, reg=1e-6)
    assert result.converged
    np.testing.assert_allclose(result.value_linear, exact, rtol=1e-6)
    assert 0 <= result.gap() <= 1e-6 * np.log(500)


def preconditioned_problems():
    rng = np.random.default_rng(0)
    n = 200
    X, Y = rng.standard_normal((n, 2)), rng.uniform(-1, 1, (n, 2))
    grid = np.indices((14, 14)).reshape(2, -1).T.astype(float)
    repeated = X.copy(), Y.copy()
    repeated[0][::3], repeated[1][1::2] = X[0], X[0]
    W1, W2 = cdist(X, Y), cdist(X, Y, "sqeuclidean")
    L1, again = cdist(grid, grid, "cityblock"), cdist(*repeated, "sqeuclidean")
    masses = {"a": rng.dirichlet(np.ones(196)), "b": rng.dirichlet(np.ones(196))}
    return {
        "assignment": {"C": rng.random((n, n))},
        "W1": {"C": W1 / W1.max()},
        "W2": {"C": W2 / W2.max()},
        "city-block grid": {"C": L1 / L1.max(), **masses},
        "duplicated points": {"C": again / again.max()},
    }


@pytest.mark.parametrize(("name", "problem"), preconditioned_problems().items())
def test_few_conjugate_gradient_iterations(name, problem, monkeypatch):
    solve, calls = system.solve_schur, []

    def recorded(*arguments):
        iterations, solved = solve(*arguments)
        calls.append((arguments[5][0].size > 0, iterations, solved))
        return iterations, solved

    monkeypatch.setattr(system, "solve_schur", recorded)
    for eta in (1e2, 1e3, 1e4, 1e5, 1e6):
        result = sinkhorn_newton_sparse(**problem, reg=1 / eta)
        assert result.converged
        assert result.n_cg <= 40 * result.n_newton
        assert result.n_cg == sum(iterations for _, iterations, _ in calls)
        by_forest = [(iterations, solved) for forest, iterations, solved in calls if forest]
        assert all(iterations <= 40 and solved for iterations, solved in by_forest)
        calls.clear()


def test_variants_agree():
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((40, 2)), rng.standard_normal((50, 2)) + 0.5
    a, b = rng.dirichlet(np.ones(40)), rng.dirichlet(np.ones(50))
    reg = 0.02
    base = sinkhorn(a, b, X=X, Y=Y, reg=reg, tol=1e-11, sparsity=None, solver="sns")
    variants = [
        {"solver": solver, "sparsity": sparsity, "eps_scaling": scaling}
        for solver in ("auto", "sns")
        for sparsity in ("auto", 0.2)
        for scaling in (True, False)
    ]
    variants += [
        {"solver": "sinkhorn_log", "eps_scaling": True},
        {"solver": "sns", "warm_start_sweeps": 1, "eps_scaling": False},
        {"solver": "sns", "warm_start_sweeps": 200, "eps_scaling": False},
        {"solver": "auto", "init": (base.f + 0.1, base.g - 0.3)},
        {"solver": "sns", "store_history": True},
    ]
    for options in variants:
        result = sinkhorn(a, b, X=X, Y=Y, reg=reg, tol=1e-11, max_iter=20000, **options)
        np.testing.assert_allclose(result.f, base.f, atol=1e-7, err_msg=str(options))
        np.testing.assert_allclose(result.g, base.g, atol=1e-7, err_msg=str(options))
        np.testing.assert_allclose(result.value, base.value, rtol=1e-9)


@pytest.mark.parametrize("solver", ["auto", "sns"])
def test_parts_that_are_far_apart(solver):
    # Costs on a grid tie: parts of the plan have to move as one, far, until they touch others.
    histograms = np.load(DATA / "digits28_hist.npz")
    grid = np.indices((28, 28)).reshape(2, -1).T.astype(float)
    C = cdist(grid, grid, "cityblock")
    case = next(case for case in DIGITS if case["cost"] == "cityblock" and case["i"] == 0)
    result = sinkhorn(histograms["img0"], histograms["img1"], C / C.max(), reg=1e-5, solver=solver)
    assert result.converged
    entropy = -histograms["img0"] @ np.log(histograms["img0"])
    assert -1e-8 <= result.value - case["emd"] <= 1e-5 * entropy
