"""Entropic transport on hard and on bad data: finite always, and honest about its error."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import sinkhorn, sinkhorn_unbalanced

SOLVERS = ["auto", "sns", "sinkhorn", "sinkhorn_log"]


def squared_distances(X, Y):
    return ((X[:, None] - Y) ** 2).sum(2)


def hard_problems():
    rng = np.random.default_rng(0)
    n = 60
    X, Y = rng.standard_normal((n, 2)), rng.standard_normal((n, 2)) + 0.5
    W2 = squared_distances(X, Y)
    grid = np.stack(np.meshgrid(range(8), range(8)), -1).reshape(-1, 2)
    t = np.linspace(0, 1, 80)
    one, other = np.exp(-5 * t), np.exp(-((t - 0.6) ** 2) / 0.01) + 1e-3
    Z, V = X.copy(), Y.copy()
    Z[::3], V[1::2] = X[0], X[0]
    tiny, zero = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
    tiny[:20], zero[:20] = 1e-12, 0
    tiny, zero = tiny / tiny.sum(), zero / zero.sum()
    return {
        "assignment": {"C": rng.random((n, n))},
        "squared distances": {"C": W2 / W2.max()},
        "city-block grid": {
            "a": rng.dirichlet(np.ones(64)), "b": rng.dirichlet(np.ones(64)),
            "C": np.abs(grid[:, None] - grid).sum(2) / 14,
        },
        "line": {
            "a": one / one.sum(), "b": other / other.sum(), "C": (t[:, None] - t) ** 2,
        },
        "duplicated points": {"C": squared_distances(Z, V) / squared_distances(Z, V).max()},
        "masses of 1e-12": {"a": tiny, "C": rng.random((n, n))},
        "masses of zero": {"a": zero, "b": zero[::-1].copy(), "C": rng.random((n, n))},
        "5 to 500": {"C": rng.random((5, 500))},
        "500 to 5": {"C": rng.random((500, 5))},
    }  # fmt: skip


PROBLEMS = hard_problems()


def solve(*arguments, **options):
    """Return the result, having checked all that holds of any result."""
    tol = options.get("tol", 1e-8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = sinkhorn(*arguments, **options)
    P = result.plan()
    assert np.isfinite(result.x).all()
    assert np.isfinite(P).all()
    assert (P >= 0).all()
    values = [result.value, result.value_linear, result.value_entropy, result.kl]
    assert np.isfinite(values).all()
    error = np.abs(P.sum(1) - result.a).sum(), np.abs(P.sum(0) - result.b).sum()
    mass = result.a.sum()
    np.testing.assert_allclose(result.marginal_error, error, rtol=1e-3, atol=1e-14 * mass)
    assert result.certificate == sum(result.marginal_error)
    assert result.converged == result.success == (result.certificate <= tol * mass)
    assert [w.category for w in caught] == [ConvergenceWarning] * (not result.converged)
    if caught:
        assert f"{result.certificate / mass:.3g}" in str(caught[0].message)
    return result


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_regularisation_gives_a_finite_and_honest_result(name, solver):
    for eta in 10.0 ** np.arange(7):
        result = solve(**PROBLEMS[name], reg=1 / eta, solver=solver, max_iter=300)
        assert result.converged or solver.startswith("sinkhorn") or eta > 1e2


@pytest.mark.parametrize("solver", ["auto", "sns"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_newton_steps_converge_at_every_regularisation(name, solver):
    for eta in 10.0 ** np.arange(7):
        assert solve(**PROBLEMS[name], reg=1 / eta, solver=solver).converged


@pytest.mark.parametrize("name", PROBLEMS)
def test_tolerances_below_the_rounding_error_are_warned_of(name):
    for eta in (1e4, 1e6):
        result = solve(**PROBLEMS[name], reg=1 / eta, tol=1e-15)
        assert not result.converged
        assert result.certificate < 1e-9


@pytest.mark.parametrize("solver", SOLVERS)
def test_costs_of_any_scale(solver):
    C = PROBLEMS["squared distances"]["C"]
    base = solve(C=C, reg=0.02, solver=solver)
    for scale in (1e-200, 1e-12, 1e12, 1e200):
        result = solve(C=scale * C, reg=0.02 * scale, solver=solver)
        np.testing.assert_allclose(result.value, scale * base.value, rtol=1e-7)
        np.testing.assert_allclose(result.plan(), base.plan(), atol=1e-7)
    assert solve(C=1e-12 * C, solver=solver).converged
    solve(C=1e12 * C, solver=solver, max_iter=100)


@pytest.mark.parametrize("solver", SOLVERS)
def test_extreme_regularisation(solver):
    C = PROBLEMS["assignment"]["C"]
    result = solve(C=C, reg=1e300, solver=solver)
    np.testing.assert_allclose(result.plan(), 1 / 3600, rtol=1e-12)
    solve(C=C, reg=1e-12, solver=solver, max_iter=100)
    with pytest.raises(ValueError, match=r"reg must be at least 1e-15 times the largest cost"):
        sinkhorn(C=C, reg=1e-300, solver=solver)


@pytest.mark.parametrize("solver", SOLVERS)
def test_totals_of_any_size(solver):
    C = PROBLEMS["line"]["C"]
    a, b = PROBLEMS["line"]["a"], PROBLEMS["line"]["b"]
    base = solve(a, b, C, reg=0.01, solver=solver)
    for mass in (1e-90, 1e-12, 1e12, 1e90):
        result = solve(mass * a, mass * b, C, reg=0.01, solver=solver)
        np.testing.assert_allclose(result.plan() / mass, base.plan(), atol=1e-9)
        np.testing.assert_allclose(result.value_linear / mass, base.value_linear, rtol=1e-8)


def test_nearly_equal_sums_are_made_equal():
    C, a, b = (PROBLEMS["line"][name] for name in "Cab")
    result = solve(a, b * (1 + 5e-7), C, reg=0.01, tol=1e-11)
    np.testing.assert_allclose(result.a, a)
    np.testing.assert_allclose(result.b.sum(), result.a.sum(), rtol=1e-14)
    np.testing.assert_allclose(result.value, solve(a, b, C, reg=0.01, tol=1e-11).value)
    with pytest.raises(ValueError, match=r"equal sums, got 1 and 1.00001\. Pass normalize=True"):
        sinkhorn(a, b * (1 + 1e-5), C)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
def test_a_single_bin(shape, solver):
    rng = np.random.default_rng(0)
    a, b = rng.dirichlet(np.ones(shape[0])), rng.dirichlet(np.ones(shape[1]))
    for reg in (1e-4, 1.0, 1e4):
        result = solve(3 * a, 3 * b, rng.standard_normal(shape), reg=reg, solver=solver)
        np.testing.assert_allclose(result.plan(), 3 * np.outer(a, b), rtol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_bins_without_mass_and_without_finite_costs(solver):
    rng = np.random.default_rng(0)
    a, b, C = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(7)), rng.random((6, 7))
    a[2], b[3] = 0, 0
    a, b = a / a.sum(), b / b.sum()
    inner = solve(a[a > 0], b[b > 0], C[a > 0][:, b > 0], reg=0.05, solver=solver)
    C[2], C[:, 3] = np.inf, np.inf
    result = solve(a, b, C, reg=0.05, solver=solver)
    assert result.converged
    np.testing.assert_allclose(result.plan()[np.ix_(a > 0, b > 0)], inner.plan())
    np.testing.assert_allclose(result.value, inner.value)
    np.testing.assert_allclose(result.gap(), inner.gap(), rtol=1e-6)
    np.testing.assert_allclose(result.rounded_plan().sum(0), b, atol=1e-15)
    images = result.barycentric_map(np.arange(7.0))
    assert np.isnan(images[2])  # it goes nowhere
    np.testing.assert_allclose(np.delete(images, 2), inner.barycentric_map(np.flatnonzero(b)))


@pytest.mark.parametrize("solver", ["auto", "sns"])
def test_a_pair_that_no_plan_uses(solver):
    # Only the diagonal is feasible: the potentials of the optimum are infinite.
    result = solve(C=[[1.0, np.inf], [1.0, 1.0]], reg=0.1, solver=solver)
    np.testing.assert_allclose(result.plan(), np.eye(2) / 2, atol=1e-8)


def test_large_costs_in_place_of_infinite_ones():
    rng = np.random.default_rng(0)
    C, forbidden = rng.random((30, 40)), rng.random((30, 40)) < 0.4
    exact = solve(C=np.where(forbidden, np.inf, C), reg=0.01)
    for large in (1e3, 1e6):
        result = solve(C=np.where(forbidden, large, C), reg=0.01)
        assert result.converged
        np.testing.assert_allclose(result.plan(), exact.plan(), atol=1e-7)
    with pytest.raises(ValueError, match=r"numpy\.inf for forbidden pairs"):
        sinkhorn(C=np.where(forbidden, 1e300, C), reg=0.01)


def test_arrays_in_any_layout():
    rng = np.random.default_rng(0)
    a, b, C = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(9)), rng.random((8, 9))
    base = solve(a, b, C)
    locked = C.copy()
    for array in (a, b, locked):
        array.flags.writeable = False
    layouts = [np.asfortranarray(C), locked, np.repeat(C, 2, axis=1)[:, ::2], C.tolist()]
    for layout in [*layouts, C.astype(object), C[::-1].copy()[::-1]]:
        np.testing.assert_array_equal(solve(a, b, layout).f, base.f)
    np.testing.assert_array_equal(solve(list(a), b[::-1].copy()[::-1], C).f, base.f)
    integers = rng.integers(0, 9, (8, 9))
    np.testing.assert_array_equal(
        solve(a, b, integers, reg=1).f, solve(a, b, integers.astype(float), reg=1).f
    )
    X, Y = rng.standard_normal((8, 3)), rng.standard_normal((9, 3))
    frozen = X.copy()
    frozen.flags.writeable = False
    points = solve(a, b, X=frozen, Y=np.asfortranarray(Y))
    np.testing.assert_array_equal(points.grad_X(), solve(a, b, X=X, Y=Y).grad_X())


def test_input_is_left_alone():
    rng = np.random.default_rng(0)
    given = [3 * rng.dirichlet(np.ones(8)), 3 * rng.dirichlet(np.ones(9)), rng.random((8, 9))]
    before = [array.copy() for array in given]
    result = sinkhorn(*given, normalize=True, reg=1e-3)
    result.rounded_plan(), result.gap(), result.plan(threshold=0.1)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_reg_scale_takes_finite_costs_only():
    C = np.random.default_rng(0).random((6, 7))
    C[0, 0] = C[3, 4] = C[5, 1] = np.inf
    finite = C[np.isfinite(C)]
    for name, scale in (("max", np.max), ("mean", np.mean), ("median", np.median)):
        result = sinkhorn(C=C, reg=0.1, reg_scale=name)
        assert result.reg == pytest.approx(0.1 * scale(finite))


POINTS = np.random.default_rng(0).standard_normal((4, 2))
BAD = [
    ({"a": [0.5, 0.5 + 1j]}, "a must be real, got complex"),
    ({"a": ["much", "little"]}, "a must hold real numbers"),
    ({"b": [0.5, np.inf]}, "b must be finite"),
    ({"b": [1.5, -0.5]}, r"b must be >= 0, got .*-0\.5.* at 1"),
    ({"b": [[0.5, 0.5]]}, r"\(2,\).*\(2, 2\).*\(1, 2\)"),
    ({"a": [1e-300, 1e-300], "b": [1e-300, 1e-300]}, "a must have a sum between"),
    ({"a": [1e308, 1e308], "b": [1e308, 1e308], "normalize": True}, "a must have a sum between"),
    ({"C": [[0.0, 1j], [1.0, 0.0]]}, "C must be real"),
    ({"C": [[0.0, -np.inf], [1.0, 0.0]]}, "C must be finite, got NaN or -inf"),
    ({"C": np.zeros((0, 3))}, r"\(0, 3\)"),
    ({"C": np.zeros((2, 2, 2))}, r"\(2, 2, 2\)"),
    ({"C": "costs"}, "C must be a matrix of numbers"),
    ({"C": [[np.inf, 1.0], [np.inf, 1.0]]}, "no feasible plan: at most 0.5"),
    ({"C": np.full((2, 2), np.inf)}, "no plan is feasible"),
    ({"X": POINTS[:, 0]}, r"X must be a non-empty matrix, got shape \(4,\)"),
    ({"X": np.where(POINTS > 1, np.nan, POINTS) * np.nan}, "X must be finite"),
    ({"X": POINTS, "Y": np.full((3, 2), np.inf)}, "Y must be finite"),
    ({"Y": POINTS}, "or the points X and Y"),
    ({"X": POINTS, "metric": "nonsense"}, "metric must be one of.*cdist accepts, got 'nonsense'"),
    ({"X": POINTS, "metric": None}, "metric must be one of"),
    ({"X": POINTS, "metric": ["euclidean"]}, "metric must be one of"),
    ({"X": POINTS, "metric": lambda x, y: np.nan}, "matrix of distances by metric=.*finite"),
    ({"X": np.zeros((3, 2)), "metric": "cosine"}, "matrix of distances by metric='cosine'"),
    ({"reg": -1.0}, "reg must be positive"),
    ({"reg": np.inf}, "reg must be positive and finite"),
    ({"reg": 1e-300, "C": 1e-100 * np.eye(2), "reg_scale": "max"}, "reg times reg_scale='max'"),
    ({"C": -np.eye(2), "reg_scale": "max"}, r"needs a positive cost, got -?0\.0"),
    ({"tol": True}, "tol must be a positive number"),
    ({"tol": np.inf}, "tol must be a positive number"),
    ({"tol": "small"}, "tol must be a positive number"),
    ({"sparsity": True}, "sparsity must be"),
    ({"sparsity": "some"}, "sparsity must be"),
    ({"warm_start_sweeps": 0}, "warm_start_sweeps must be at least 1"),
    ({"init": 1.0}, "init must be a pair"),
    ({"init": ([0.0, 0.0], None)}, "init must hold potentials"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input(change, message):
    arguments = {} if {"X", "Y"} & set(change) else {"C": [[0.0, 1.0], [1.0, 0.0]]}
    with pytest.raises(ValueError, match=message):
        sinkhorn(**(arguments | change))


@pytest.mark.parametrize("name", ["max_iter", "warm_start_sweeps"])
def test_counts_must_be_integers(name):
    for value in (2.5, True, "many"):
        with pytest.raises(TypeError, match=f"{name} must be an integer"):
            sinkhorn(C=np.eye(2), **{name: value})


def test_unbalanced_results_tell_the_error_at_the_regularisation_asked_for():
    rng = np.random.default_rng(0)
    C, a, b = rng.random((30, 40)), rng.dirichlet(np.ones(30)), 1.5 * rng.dirichlet(np.ones(40))
    with pytest.warns(ConvergenceWarning) as caught:
        result = sinkhorn_unbalanced(a, b, C, reg=1e-4, reg_m=1.0, max_iter=8)
    assert result.history["reg"][-1] > result.reg
    error = float(str(caught[0].message).split("gradient ")[1].split()[0])
    assert error == pytest.approx(result.certificate / result.mass, rel=0.1)
    assert not result.converged
    assert sinkhorn_unbalanced(a, b, C, reg=1e-4, reg_m=1.0).converged


def test_unbalanced_bins_without_mass_and_without_finite_costs():
    rng = np.random.default_rng(0)
    a, b, C = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(7)), rng.random((6, 7))
    a[2], b[3] = 0, 0
    inner = sinkhorn_unbalanced(a[a > 0], b[b > 0], C[a > 0][:, b > 0], reg=0.05, reg_m=1.0)
    C[2], C[:, 3] = np.inf, np.inf
    result = sinkhorn_unbalanced(a, b, C, reg=0.05, reg_m=1.0)
    assert np.isfinite(result.x).all()
    np.testing.assert_allclose(result.value, inner.value)
    with pytest.raises(ValueError, match="reg must be at least 1e-15 times"):
        sinkhorn_unbalanced(a, b, C, reg=1e-300, reg_m=1.0)
