"""Unbalanced transport: reference, optimality, gradients, limits, bad input."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp, rel_entr
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import sinkhorn, sinkhorn_unbalanced
from sparseopt.transport._problem import Cost
from sparseopt.transport._unbalanced_dual import RelaxedSemiDual

DATA = Path(__file__).parents[1] / "data" / "ot"


def _problem(n=20, m=15, *, seed=0):
    rng = np.random.default_rng(seed)
    C = np.sum((rng.random((n, 1, 2)) - rng.random((m, 2))) ** 2, axis=2)
    return rng.dirichlet(np.ones(n)), 1.4 * rng.dirichlet(np.ones(m)), C


def _kl(p, q):
    return np.sum(rel_entr(p, q) - p + q)


def _objective(P, a, b, C, reg, rho):
    value = np.sum(P * C) + reg * _kl(P, np.outer(a, b))
    return value + rho[0] * _kl(P.sum(axis=1), a) + rho[1] * _kl(P.sum(axis=0), b)


@pytest.mark.parametrize("solver", ["auto", "sns", "sinkhorn"])
def test_reference_plan(solver):
    data = np.load(DATA / "unbalanced_30x40.npz")
    result = sinkhorn_unbalanced(
        data["a"], data["b"], data["C"], reg=0.1, reg_m=1.0, solver=solver, tol=1e-11
    )
    np.testing.assert_allclose(result.plan(), data["P"], atol=1e-9)
    np.testing.assert_allclose(result.f, data["f"], atol=1e-9)
    np.testing.assert_allclose(result.g, data["g"], atol=1e-9)
    np.testing.assert_allclose(result.mass, data["P"].sum(), rtol=1e-9)


@pytest.mark.parametrize("reg_m", [0.01, 1.0, 50.0, (0.1, 5.0)])
@pytest.mark.parametrize("reg", [1e-3, 0.05, 10.0])
def test_optimality_and_certificate(reg, reg_m):
    a, b, C = _problem()
    result = sinkhorn_unbalanced(a, b, C, reg=reg, reg_m=reg_m, tol=1e-10)
    rho = np.broadcast_to(reg_m, 2)
    f, g, P = result.f, result.g, result.plan()
    expected = a[:, None] * b * np.exp((f[:, None] + g - C) / reg)
    np.testing.assert_allclose(P, expected, rtol=1e-7, atol=1e-15)
    np.testing.assert_allclose(P.sum(axis=1), a * np.exp(-f / rho[0]), rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(P.sum(axis=0), b * np.exp(-g / rho[1]), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(result.value, _objective(P, a, b, C, reg, rho), rtol=1e-9)
    np.testing.assert_allclose(result.value_linear, np.sum(P * C), rtol=1e-9)
    entropy = np.sum(P * np.log(np.where(P > 0, P, 1)))
    np.testing.assert_allclose(
        result.value_entropy, result.value_linear + reg * entropy, rtol=1e-7, atol=1e-12
    )
    np.testing.assert_allclose(result.kl, _kl(P, np.outer(a, b)), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(result.history["objective"][-1], result.value, rtol=1e-6)
    assert sum(result.marginal_error) <= 2e-10
    assert result.gap() <= 1e-9 * max(1, abs(result.value))


def test_no_plan_is_better():
    a, b, C = _problem(4, 3)
    result = sinkhorn_unbalanced(a, b, C, reg=0.2, reg_m=0.7, tol=1e-12)

    def objective(log_plan):
        return _objective(np.exp(log_plan).reshape(4, 3), a, b, C, 0.2, (0.7, 0.7))

    best = minimize(objective, np.log(np.outer(a, b).ravel()), tol=1e-12)
    np.testing.assert_allclose(result.value, best.fun, rtol=1e-7)


def test_gap_bounds_the_error_of_an_unfinished_run():
    a, b, C = _problem()
    optimum = sinkhorn_unbalanced(a, b, C, reg=0.01, tol=1e-12).value
    for max_iter in (2, 5, 8):
        with pytest.warns(ConvergenceWarning, match="dual gradient"):
            result = sinkhorn_unbalanced(a, b, C, reg=0.01, solver="sinkhorn", max_iter=max_iter)
        assert not result.converged
        assert 0 < result.value - optimum <= result.gap() * (1 + 1e-9)


def test_newton_needs_few_steps_where_sweeps_need_many():
    a, b, C = _problem(40, 30)
    options = {"reg": 0.01, "reg_m": 10.0, "tol": 1e-10, "max_iter": 50000}
    newton = sinkhorn_unbalanced(a, b, C, solver="sns", **options)
    sweeps = sinkhorn_unbalanced(a, b, C, solver="sinkhorn", **options)
    np.testing.assert_allclose(newton.plan(), sweeps.plan(), atol=1e-8)
    assert newton.n_newton <= 40
    assert newton.n_iter < 0.1 * sweeps.n_iter


def test_gradient_and_hessian_equal_differences():
    a, b, C = _problem(6, 5)
    dual = RelaxedSemiDual(Cost(C), a, b, 0.3, (0.7, 2.0))
    y = np.random.default_rng(1).standard_normal(5) / 3
    plan = np.empty(C.shape)
    point = dual.evaluate(y, plan)
    np.testing.assert_allclose(plan.sum(axis=0), point.column_sums)
    h = 1e-5
    steps = h * np.eye(5)
    points = [(dual.evaluate(y + step), dual.evaluate(y - step)) for step in steps]
    slopes = [(up.objective - down.objective) / (2 * h) for up, down in points]
    np.testing.assert_allclose(dual.gradient(point), slopes, rtol=1e-6)
    hessian = [(dual.gradient(up) - dual.gradient(down)) / (2 * h) for up, down in points]
    rows, columns = dual.diagonals(point)
    system = np.diag(columns) - plan.T @ (plan / rows[:, None])
    np.testing.assert_allclose(-system / dual.eps, hessian, rtol=1e-6, atol=1e-8)
    assert np.linalg.eigvalsh(system).min() > 1e-3  # no null space


def test_gradients_in_masses_cost_and_points_equal_differences():
    rng = np.random.default_rng(0)
    X, Y = rng.random((6, 2)), rng.random((5, 2))
    a, b, _ = _problem(6, 5)
    base = {"a": a, "b": b, "X": X, "Y": Y}
    options = {"reg": 0.2, "reg_m": (0.7, 3.0), "tol": 1e-13}
    result = sinkhorn_unbalanced(**base, **options)
    for name in base:
        direction = rng.standard_normal(base[name].shape) * 0.01
        up, down = (
            sinkhorn_unbalanced(**(base | {name: base[name] + sign * 1e-3 * direction}), **options)
            for sign in (1, -1)
        )
        slope = (up.value - down.value) / 2e-3
        gradient = getattr(result, f"grad_{name}")()
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-5)


def test_large_penalties_give_balanced_transport():
    a, b, C = _problem()
    b = b / b.sum()
    balanced = sinkhorn(a, b, C, reg=0.05, tol=1e-11)
    errors = []
    for reg_m in (1e2, 1e4, 1e6):
        result = sinkhorn_unbalanced(a, b, C, reg=0.05, reg_m=reg_m, tol=1e-11)
        errors.append(np.abs(result.plan() - balanced.plan()).max())
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    for reg_m in (np.inf, (np.inf, np.inf)):
        result = sinkhorn_unbalanced(a, b, C, reg=0.05, reg_m=reg_m, tol=1e-11)
        np.testing.assert_allclose(result.plan(), balanced.plan(), atol=1e-10)
        np.testing.assert_allclose(result.value, balanced.value, rtol=1e-9)


@pytest.mark.parametrize("solver", ["auto", "sns", "sinkhorn"])
def test_prescribed_marginals_may_differ_by_rounding(solver):
    a, b, C = _problem()
    b = b / b.sum()
    expected = sinkhorn(a, b, C, reg=0.05, tol=1e-11).plan()
    for near in (b.astype("f"), b * (1 + 5e-7)):
        result = sinkhorn_unbalanced(a, near, C, reg=0.05, reg_m=np.inf, tol=1e-10, solver=solver)
        assert result.converged
        np.testing.assert_allclose(result.plan(), expected, atol=1e-8)


@pytest.mark.parametrize("side", [0, 1])
def test_one_marginal_may_be_prescribed(side):
    a, b, C = _problem()
    reg_m = (np.inf, 0.5) if side == 0 else (0.5, np.inf)
    result = sinkhorn_unbalanced(a, b, C, reg=0.05, reg_m=reg_m, tol=1e-11)
    np.testing.assert_allclose(result.plan().sum(axis=1 - side), (a, b)[side], atol=1e-10)
    free = (result.f, result.g)[1 - side]
    expected = (b, a)[side] * np.exp(-free / 0.5)
    np.testing.assert_allclose(result.plan().sum(axis=side), expected, atol=1e-10)


def test_small_penalties_move_nothing_far():
    a, b, C = _problem()
    result = sinkhorn_unbalanced(a, b, C + 5, reg=0.01, reg_m=0.1)
    assert result.mass < 1e-8
    assert np.isfinite(result.value)


def test_scales_and_transposition():
    a, b, C = _problem()
    result = sinkhorn_unbalanced(a, b, C, reg=0.05, reg_m=(0.3, 2.0), tol=1e-12)
    scaled = sinkhorn_unbalanced(a, b, 1e3 * C, reg=50, reg_m=(300, 2000), tol=1e-12)
    np.testing.assert_allclose(scaled.value, 1e3 * result.value, rtol=1e-10)
    flipped = sinkhorn_unbalanced(b, a, C.T, reg=0.05, reg_m=(2.0, 0.3), tol=1e-12)
    np.testing.assert_allclose(flipped.plan().T, result.plan(), atol=1e-11)
    by_scale = sinkhorn_unbalanced(
        a, b, C, reg=0.05 / C.max(), reg_m=(0.3 / C.max(), 2 / C.max()), reg_scale="max", tol=1e-12
    )
    np.testing.assert_allclose(by_scale.value, result.value, rtol=1e-12)


def test_bins_without_mass_and_forbidden_pairs():
    a, b, C = _problem()
    a[3] = b[0] = 0
    C[5, 2:9] = np.inf
    result = sinkhorn_unbalanced(a, b, C, reg=0.1, tol=1e-12)
    plan = result.plan()
    assert not plan[3].any()
    assert not plan[:, 0].any()
    assert not plan[5, 2:9].any()
    with np.errstate(divide="ignore"):
        balanced_row = -0.1 * logsumexp((result.g - C[3]) / 0.1 + np.log(b))
        balanced_column = -0.1 * logsumexp((result.f - C[:, 0]) / 0.1 + np.log(a))
    np.testing.assert_allclose(result.f[3], balanced_row / 1.1, rtol=1e-9)
    np.testing.assert_allclose(result.g[0], balanced_column / 1.1, rtol=1e-9)
    part = sinkhorn_unbalanced(a[a > 0], b[b > 0], C[a > 0][:, b > 0], reg=0.1, tol=1e-12)
    np.testing.assert_allclose(plan[a > 0][:, b > 0], part.plan(), atol=1e-12)


def test_start_dtype_and_pickle():
    a, b, C = _problem()
    result = sinkhorn_unbalanced(a, b, C, reg=0.01)
    again = sinkhorn_unbalanced(a, b, C, reg=0.01, init=(result.f, result.g))
    assert again.n_iter <= 2
    single = sinkhorn_unbalanced(*(array.astype(np.float32) for array in (a, b, C)), reg=0.01)
    assert single.f.dtype == single.plan().dtype == np.float32
    assert repr(result).startswith("<UnbalancedOTResult 20 x 15: value ")
    restored = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(restored.plan(), result.plan())
    assert restored.gap() == result.gap()
    with pytest.raises(ValueError, match="no prescribed marginals"):
        result.rounded_plan()


def test_callback_stops():
    a, b, C = _problem()

    def stop(x):
        raise StopIteration

    result = sinkhorn_unbalanced(a, b, C, reg=0.01, callback=stop)
    assert not result.converged
    assert "callback" in result.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reg": 0.0}, "reg must be positive"),
        ({"reg_m": 0.0}, "reg_m must be"),
        ({"reg_m": -1.0}, "reg_m must be"),
        ({"reg_m": np.nan}, "reg_m must be"),
        ({"reg_m": (1.0, 2.0, 3.0)}, "reg_m must be"),
        ({"reg_m": "1"}, "reg_m must be"),
        ({"reg_m": np.inf}, "equal sums"),
        ({"solver": "sinkhorn_log"}, "solver must be"),
        ({"a": -np.ones(20)}, "a must be >= 0"),
        ({"b": np.full(15, np.nan)}, "b must be finite"),
        ({"a": np.ones(3)}, r"\(20,\).*\(20, 15\).*\(3,\)"),
        ({"b": np.zeros(15)}, "positive sum"),
        ({"C": np.full((20, 15), np.inf)}, "finite cost in every row"),
        ({"C": np.full((20, 15), np.nan)}, "C must be finite"),
        ({"init": (np.zeros(3), np.zeros(15))}, "init must hold"),
    ],
)
def test_bad_input_is_refused(change, message):
    a, b, C = _problem()
    with pytest.raises(ValueError, match=message):
        sinkhorn_unbalanced(**({"a": a, "b": b, "C": C} | change))


@pytest.mark.parametrize("reg", [1e-6, 1e-3, 1.0, 1e2])
@pytest.mark.parametrize("reg_m", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("shift", [0.0, 10.0, 1e3])
def test_robustness_sweep(reg, reg_m, shift):
    a, b, C = _problem()
    a[:4] = 1e-12
    C[:, 3] = C[:, 4]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = sinkhorn_unbalanced(a, b, C + shift, reg=reg, reg_m=reg_m)
    assert np.isfinite([result.value, result.mass, result.gap(), *result.marginal_error]).all()
    assert np.isfinite(result.f).all()
    assert np.isfinite(result.g).all()
    assert result.converged == (not caught)
    assert result.converged or reg == 1e-6


def test_single_bins():
    result = sinkhorn_unbalanced([0.2], [3.0], [[1.0]], reg=0.1, reg_m=20.0)
    assert result.converged
    assert result.gap() < 1e-6


@pytest.mark.parametrize("scales", [(1e20, 1.0), (1.0, 1e-20), (1e90, 1e90), (1e-90, 1.0)])
def test_masses_of_any_size(scales):
    a, b, C = _problem()
    a, b = scales[0] * a, scales[1] * b
    result = sinkhorn_unbalanced(a, b, C, reg=0.1)
    assert result.converged
    P = result.plan()
    # Optimality relative to the plan, in logarithms: the marginals are a exp(-f / reg_m).
    np.testing.assert_allclose(np.log(P.sum(axis=1)), np.log(a) - result.f, atol=1e-6)
    np.testing.assert_allclose(np.log(P.sum(axis=0)), np.log(b) - result.g, atol=1e-6)
    np.testing.assert_allclose(result.mass, P.sum())


@pytest.mark.parametrize("scale", [1e-310, 1e-110, 1e110, 1e300, 1.7e308])
@pytest.mark.parametrize("name", ["a", "b"])
def test_masses_whose_products_overflow_are_refused(name, scale):
    a, b, C = _problem()
    data = {"a": a, "b": b}
    data[name] = np.full_like(data[name], scale)
    with pytest.raises(ValueError, match=f"{name} must have a sum between 1e-100 and 1e.100"):
        sinkhorn_unbalanced(**data, C=C, reg=0.1)


def test_a_plan_with_little_mass_is_as_accurate_as_any_other():
    a, b, C = _problem()
    result = sinkhorn_unbalanced(a, b, C + 20, reg=0.1, tol=1e-9)
    assert result.mass < 1e-3
    f, g, damping = np.zeros(20), np.zeros(15), 1 / 1.1
    for _ in range(500):
        f = -0.1 * damping * logsumexp((g - C - 20) / 0.1, axis=1, b=b)
        g = -0.1 * damping * logsumexp((f[:, None] - C - 20) / 0.1, axis=0, b=a[:, None])
    expected = np.outer(a, b) * np.exp((f[:, None] + g - C - 20) / 0.1)
    np.testing.assert_allclose(result.plan(), expected, rtol=1e-6)


@pytest.mark.parametrize("reg_m", [1e6, 1e9, 1e12])
def test_strong_penalties_do_not_magnify_rounding_errors(reg_m):
    a, b, C = _problem()
    b = b / b.sum()
    balanced = sinkhorn(a, b, C, reg=0.05, tol=1e-11)
    result = sinkhorn_unbalanced(a, b, C, reg=0.05, reg_m=reg_m, tol=1e-13, solver="sns")
    np.testing.assert_allclose(result.value, balanced.value, rtol=1e-6)
    assert result.gap() <= 1e-6 * balanced.value


@pytest.mark.parametrize("start", [1e3, -1e3, 1e10, -1e10])
def test_any_start_leads_to_the_solution(start):
    a, b, C = _problem()
    expected = sinkhorn_unbalanced(a, b, C, reg=0.05, tol=1e-10)
    init = np.full(20, 7.0), np.full(15, start)
    result = sinkhorn_unbalanced(a, b, C, reg=0.05, tol=1e-10, init=init)
    np.testing.assert_allclose(result.value, expected.value, rtol=1e-9)


def test_mass_that_overflows_is_refused():
    a, b, C = _problem()
    with pytest.raises(FloatingPointError, match="overflow"):
        sinkhorn_unbalanced(a, b, C - 1e4, reg=1e-3, reg_m=1e-3)
