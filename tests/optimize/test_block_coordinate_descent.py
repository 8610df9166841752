"""Block coordinate descent: descent, optimality, limits, invariances, bad input."""

import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LogisticRegression

from sparseopt.optimize import (
    L1,
    Box,
    ElasticNet,
    GraphQuadratic,
    GroupL2,
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    NonNegative,
    PoissonLoss,
    SquaredLoss,
    block_coordinate_descent,
)
from sparseopt.optimize._block_coordinate_descent import pose
from sparseopt.optimize._block_updates import UPDATES

LOSSES = {
    "squared": SquaredLoss(),
    "logistic": LogisticLoss(),
    "multinomial": MultinomialLoss(),
    "huber": HuberLoss(),
}
VARIABLE = ("gs", "gsd", "gsq", "gsq-iht", "random", "lipschitz")
FIXED = ("cyclic", "permutation", "random", "lipschitz", "gs", "gsl", "gsd", "gsq")
SMOOTH = ("gradient", "matrix", "newton", "backtracking")
PENALISED = ("prox-gradient", "prox-newton", "tmp", "backtracking")


def make_data(name, n_samples=60, n_features=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * rng.uniform(0.5, 3, n_features)
    z = 2 * X[:, 0] - X[:, 1] + X[:, 2] + rng.standard_normal(n_samples)
    y = {
        "squared": z,
        "huber": z + 20 * (rng.random(n_samples) < 0.1),
        "logistic": np.where(z + 3 * rng.standard_normal(n_samples) > 0, 1.0, -1.0),
        "multinomial": np.digitize(z + 3 * rng.standard_normal(n_samples), [-2, 2]),
    }[name]
    return X, y


COMBINATIONS = [("variable", selection) for selection in VARIABLE]
COMBINATIONS += itertools.product(("order", "sort", "avg"), FIXED)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("partition", "selection"), COMBINATIONS)
def test_no_combination_ever_ascends(name, partition, selection):
    X, y = make_data(name)
    tried = 0
    for update, smooth in [(u, True) for u in SMOOTH] + [(u, False) for u in PENALISED]:
        if selection == "gsq-iht" and not smooth:
            continue
        penalties = (None, ElasticNet(0.1, 0.0)) if smooth else (L1(0.1), ElasticNet(0.1, 0.7))
        for penalty in (*penalties, *(() if smooth else (NonNegative(0.05),))):
            result = block_coordinate_descent(
                X, y, penalty, loss=LOSSES[name], block_size=7, partition=partition,
                selection=selection, update=update, max_iter=25, tol=0, random_state=0,
            )  # fmt: skip
            objective = result.history["objective"]
            assert np.all(np.diff(objective) <= 1e-12 * np.abs(objective[:-1]))
            assert objective[-1] < objective[0]
            assert result.fun == pytest.approx(objective[-1], rel=1e-12)
            tried += 1
    assert tried >= 6


@pytest.mark.parametrize(("partition", "selection"), COMBINATIONS)
def test_every_rule_arrives(partition, selection):
    X, y = make_data("logistic")
    for penalty in (L1(0.1), ElasticNet(0.1, 0.0)):
        if selection == "gsq-iht" and penalty.l1_ratio:
            continue
        options = {"loss": LogisticLoss(), "tol": 1e-9, "random_state": 0}
        result = block_coordinate_descent(
            X, y, penalty, block_size=6, partition=partition, selection=selection, **options
        )
        reference = block_coordinate_descent(X, y, penalty, block_size=20, **options)
        np.testing.assert_allclose(result.x, reference.x, atol=1e-7)
        assert result.certificate <= 1e-9


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("update", PENALISED)
def test_optimality_conditions(name, positive, update):
    X, y = make_data(name)
    alpha = 0.05
    result = block_coordinate_descent(
        X, y, ElasticNet(alpha, 0.8, positive=positive), loss=LOSSES[name], update=update,
        tol=1e-9, max_iter=20_000,
    )  # fmt: skip
    assert result.success
    problem = pose(X, y, LOSSES[name], None, None)
    problem.move_to(result.x)
    gradient = problem.gradient + 0.2 * alpha * result.x
    lam, on = 0.8 * alpha, result.x != 0
    slack = 1e-8 * problem.gradient_scale
    np.testing.assert_allclose(gradient[on], -lam * np.sign(result.x[on]), atol=slack)
    at_zero = -gradient[~on] if positive else np.abs(gradient[~on])
    assert np.all(at_zero <= lam + slack)
    assert np.all(result.x >= 0) or not positive
    assert 0 < on.sum() < on.size
    assert result.active_set.tolist() == np.flatnonzero(on).tolist()
    assert result.kkt <= 1e-9 * problem.gradient_scale


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("update", ["gradient", "matrix"])
def test_progress_is_at_least_what_the_bound_promises(name, update):
    X, y = make_data(name)
    problem = pose(X, y, LOSSES[name], ElasticNet(0.01, 0.0), None)
    rng = np.random.default_rng(0)
    for _ in range(20):
        block = problem.block(np.sort(rng.choice(problem.n_variables, 5, replace=False)))
        g, bound = block.gradient, block.hessian_bound()
        promised = {
            "gradient": g @ g / np.linalg.eigvalsh(bound)[-1],
            "matrix": g @ np.linalg.solve(bound, g),
        }[update] / 2
        before = problem.objective
        problem.apply(UPDATES[update](block))
        progress = before - problem.objective
        assert progress >= promised * (1 - 1e-10) - 1e-14 * abs(before)
        if name == "squared" and update == "matrix":
            assert progress == pytest.approx(promised, rel=1e-8, abs=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_backtracking_promises_what_its_estimates_say(name):
    X, y = make_data(name)
    problem = pose(X, y, LOSSES[name], ElasticNet(0.01, 0.0), None)
    rng = np.random.default_rng(0)
    for _ in range(20):
        block = problem.block(np.sort(rng.choice(problem.n_variables, 5, replace=False)))
        before = problem.objective
        problem.apply(UPDATES["backtracking"](block))
        estimate = np.max(problem.curvature_estimates[block.indices])
        promised = block.gradient @ block.gradient / (2 * estimate)
        assert before - problem.objective >= promised * (1 - 1e-10) - 1e-14 * before
        # No eigenvalue exceeds the sum of five constants, and doubling stops at twice that.
        assert np.max(block.lipschitz) <= estimate <= 10 * np.max(problem.lipschitz)


def test_one_block_of_all_variables_solves_least_squares_with_the_least_norm():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((10, 25)), rng.standard_normal(10)
    result = block_coordinate_descent(X, y, block_size=25, update="matrix", tol=1e-10)
    assert result.nit == 1
    np.testing.assert_allclose(result.x, np.linalg.pinv(X) @ y, atol=1e-10)


def test_single_cyclic_coordinates_are_scikit_learns_lasso_iterates():
    X, y = make_data("squared")
    for n_epochs in (1, 2, 5):
        with pytest.warns(ConvergenceWarning):
            reference = Lasso(alpha=0.1, fit_intercept=False, max_iter=n_epochs, tol=0).fit(X, y)
        with pytest.warns(ConvergenceWarning):
            result = block_coordinate_descent(
                X, y, L1(0.1), block_size=1, partition="order", selection="cyclic",
                update="prox-gradient", max_iter=20 * n_epochs, tol=0,
            )  # fmt: skip
        np.testing.assert_allclose(result.x, reference.coef_, atol=1e-12)


@pytest.mark.parametrize("name", ["logistic", "multinomial"])
def test_ridge_limit_is_scikit_learns_logistic_regression(name):
    X, y = make_data(name)
    reference = LogisticRegression(C=1 / 60, fit_intercept=False, tol=1e-10, max_iter=10_000)
    coef = reference.fit(X, y).coef_
    result = block_coordinate_descent(
        X, y, ElasticNet(1.0, 0.0), loss=LOSSES[name], tol=1e-10, selection="gsq"
    )
    found = result.x.reshape(20, -1).T
    np.testing.assert_allclose(found, coef, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_integer_sample_weights_repeat_rows_and_sparse_equals_dense(name):
    X, y = make_data(name)
    X[np.abs(X) < 1] = 0
    weights = np.random.default_rng(1).integers(0, 4, 60)
    rows = np.repeat(np.arange(60), weights)
    options = {"penalty": L1(0.05), "loss": LOSSES[name], "tol": 1e-11, "max_iter": 20_000}
    repeated = block_coordinate_descent(X[rows], y[rows], **options)
    for design in (X, sparse.csc_array(X), sparse.csr_matrix(X)):
        weighted = block_coordinate_descent(design, y, sample_weight=weights, **options)
        np.testing.assert_allclose(weighted.x, repeated.x, atol=1e-8)
        assert weighted.fun == pytest.approx(repeated.fun, rel=1e-12)


def test_weak_lasso_is_finished_soon_after_its_support_is_found():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((80, 200))
    y = X[:, :8] @ rng.uniform(1, 3, 8) + 0.1 * rng.standard_normal(80)
    supports = [tuple(np.zeros(200, dtype=bool))]
    result = block_coordinate_descent(
        X, y, L1(0.1), block_size=20, tol=1e-12, callback=lambda x: supports.append(tuple(x != 0))
    )
    assert result.success
    assert result.active_set.size <= 20
    assert result.nit <= result.active_set_iteration + 10
    settled = result.active_set_iteration
    assert supports[settled] != supports[settled - 1]
    assert len(set(supports[settled:])) == 1
    assert result.active_set.tolist() == np.flatnonzero(supports[-1]).tolist()


@pytest.mark.parametrize("selection", ["gs", "gsd", "gsq"])
@pytest.mark.parametrize("update", ["prox-newton", "tmp"])
def test_blocks_grow_with_the_support_by_default(selection, update):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((150, 400))
    y = np.where(X[:, :40] @ rng.uniform(-2, 2, 40) + rng.standard_normal(150) > 0, 1.0, -1.0)
    result = block_coordinate_descent(
        X, y, L1(0.01), loss=LogisticLoss(), selection=selection, update=update, tol=1e-13
    )
    sizes = [block.size for block in result.history["blocks"]]
    assert sizes[0] == 10
    assert sizes[-1] == 2 * result.active_set.size > 50
    assert result.nit <= 60


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("update", ["prox-newton", "tmp"])
def test_weak_penalties_with_more_variables_than_rows(name, update):
    """Hessian blocks are singular there, and those of far Huber residuals vanish."""
    for seed, positive in itertools.product(range(3), (False, True)):
        X, y = make_data(name, 12, 70, seed)
        y = 10 * y if name == "huber" else y
        scale = pose(X, y, LOSSES[name], None, None).gradient_scale
        result = block_coordinate_descent(
            X, y, L1(0.03 * scale, positive=positive), loss=LOSSES[name], update=update, tol=1e-8
        )
        assert result.success
        assert result.active_set.size > 0


def test_nonquadratic_finish_is_superlinear():
    X, y = make_data("logistic", 200, 50)
    result = block_coordinate_descent(X, y, L1(0.08), loss=LogisticLoss(), block_size=20, tol=1e-14)
    assert result.active_set.size <= 20
    assert result.nit <= result.active_set_iteration + 10


def test_warm_start_at_the_solution_takes_no_step():
    X, y = make_data("squared")
    first = block_coordinate_descent(X, y, L1(0.1), tol=1e-8)
    again = block_coordinate_descent(X, y, L1(0.1), tol=1e-7, coef_init=first.x)
    assert again.nit == 0
    np.testing.assert_array_equal(again.x, first.x)


def test_callback_history_and_reproducibility():
    X, y = make_data("squared")

    def stop(x):
        seen.append(x)
        if len(seen) == 3:
            raise StopIteration

    seen = []
    result = block_coordinate_descent(X, y, block_size=3, callback=stop)
    assert result.nit == 3
    np.testing.assert_array_equal(result.x, seen[-1])
    assert len(result.history["blocks"]) == 3
    assert result.history["objective"].shape == (4,)
    options = {"selection": "random", "max_iter": 400, "block_size": 6, "random_state": 7}
    blocks = [block_coordinate_descent(X, y, **options).history["blocks"] for _ in range(2)]
    assert all(np.array_equal(*pair) for pair in zip(*blocks, strict=True))


def test_duplicate_columns_and_float32():
    X, y = make_data("logistic")
    X = np.hstack([X, X, np.zeros((60, 1))])
    for selection in ("gs", "gsd", "gsq"):
        result = block_coordinate_descent(
            X.astype(np.float32), y, loss=LogisticLoss(), selection=selection, tol=1e-6
        )
        assert result.success
        assert result.x[-1] == 0


def test_zero_penalty_weights_leave_an_intercept_free():
    X, y = make_data("squared")
    X, y = np.hstack([X, np.ones((60, 1))]), y + 50
    weights = np.append(np.ones(20), 0)
    for update in PENALISED:
        result = block_coordinate_descent(
            X, y, L1(0.1, weights=weights), update=update, tol=1e-9, max_iter=50_000
        )
        reference = Lasso(alpha=0.1, tol=1e-12).fit(X[:, :-1], y)
        np.testing.assert_allclose(result.x[:-1], reference.coef_, atol=1e-6)
        assert result.x[-1] == pytest.approx(reference.intercept_, abs=1e-6)


@pytest.mark.parametrize("name", ["logistic", "multinomial"])
def test_separable_classes_without_penalty_warn(name):
    X = np.array([[1.0, 0.2], [2.0, -0.1], [-1.0, 0.3], [-2.0, 0.1]])
    y = np.array([1, 1, -1, -1]) if name == "logistic" else np.array([1, 1, 0, 0])
    with pytest.warns(ConvergenceWarning, match="perfectly separable"):
        block_coordinate_descent(X, y, loss=LOSSES[name], tol=1e-3)


def test_zero_target_needs_no_step():
    assert block_coordinate_descent(np.eye(3), np.zeros(3)).nit == 0
    assert block_coordinate_descent(np.zeros((3, 2)), np.ones(3)).nit == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 0}, "block_size must be at least 1"),
        ({"block_size": -3}, "block_size must be at least 1"),
        ({"max_iter": 0}, "max_iter must be at least 1"),
        ({"tol": -1.0}, "tol must be finite and >= 0"),
        ({"selection": "best"}, "selection must be one of.*'best'"),
        ({"update": "magic"}, "update must be 'auto' or one of.*'magic'"),
        ({"partition": "half"}, "partition must be one of.*'half'"),
        ({"partition": np.zeros(3)}, r"partition must have shape \(20,\)"),
        ({"partition": np.full(20, np.nan)}, "partition must hold numbers or strings, and no NaN"),
        ({"partition": np.full(20, 1j)}, "partition must hold numbers or strings"),
        (
            {"partition": np.arange(20) // 4, "block_size": 5},
            "block_size=5 cannot be combined with labels",
        ),
        ({"selection": "gsl"}, "selection='gsl' cannot be combined with variable blocks"),
        ({"selection": "cyclic"}, "selection='cyclic' cannot be combined with variable"),
        (
            {"selection": "gsq-iht", "partition": "order"},
            "selection='gsq-iht' cannot be combined with fixed",
        ),
        ({"selection": "gsq-iht", "penalty": L1(0.1)}, "'gsq-iht' cannot be combined with an l1"),
        ({"update": "newton", "penalty": L1(0.1)}, "update='newton' cannot be combined"),
        ({"update": "matrix", "penalty": NonNegative()}, "update='matrix' cannot be combined"),
        ({"update": "tmp"}, "update='tmp' cannot be combined with a smooth objective"),
        ({"selection": "mi"}, "selection='mi' enumerates.*184756 blocks"),
        ({"loss": PoissonLoss()}, "y must be >= 0 for PoissonLoss"),
        ({"loss": "squared"}, "cannot minimise 'squared': loss must be"),
        ({"loss": GraphQuadratic(np.eye(2), np.ones(2))}, "cannot minimise .*GraphQuadratic"),
        ({"penalty": Box(0.0, 1.0), "update": "newton"}, "update='newton' cannot be combined"),
        ({"penalty": Box(0.0, 1.0), "update": "tmp"}, "'tmp' cannot be combined with bounds"),
        ({"penalty": Box(0.0, [1.0, 2.0])}, r"upper must be a number or have shape \(20,\)"),
        ({"coef_init": np.zeros(3)}, r"coef_init must have shape \(20,\)"),
        ({"coef_init": np.full(20, np.nan)}, "coef_init must be finite"),
        ({"loss": LogisticLoss()}, "labels -1 and \\+1"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, message):
    X, y = make_data("squared")
    with pytest.raises(ValueError, match=message):
        block_coordinate_descent(X, y, **options)


def test_bad_data_is_refused():
    X, y = make_data("squared")
    with pytest.raises(ValueError, match="X must be finite"):
        block_coordinate_descent(np.where(X > 2, np.nan, X), y)
    with pytest.raises(TypeError, match="block_size must be an integer, got 'half'"):
        block_coordinate_descent(X, y, block_size="half")
    with pytest.raises(ValueError, match="real data"):
        block_coordinate_descent(X + 1j, y)
    with pytest.raises(ValueError, match="X must be finite"):
        block_coordinate_descent(sparse.csr_array(np.where(X > 2, np.inf, X)), y)
    with pytest.raises(ValueError, match="y must be finite"):
        block_coordinate_descent(X, np.where(y > 1, np.nan, y))
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="alpha must be finite and >= 0"):
            block_coordinate_descent(X, y, L1(bad))
    with pytest.raises(ValueError, match="GroupL2 penalty or None, got str"):
        block_coordinate_descent(X, y, "l1")
    pairs = GroupL2(np.arange(20) // 2, 0.1)
    for options in ({"partition": "order"}, {"block_size": 5}, {"update": "tmp"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))}=.* cannot be combined with"):
            block_coordinate_descent(X, y, pairs, **options)
    with pytest.raises(ValueError, match="'gsq-iht' cannot be combined with fixed blocks"):
        block_coordinate_descent(X, y, pairs, selection="gsq-iht")
    with pytest.raises(ValueError, match=r"groups must have shape \(20,\)"):
        block_coordinate_descent(X, y, GroupL2([0, 0, 1], 0.1))
    with pytest.raises(ValueError, match="at least two classes"):
        block_coordinate_descent(X, np.zeros(60), loss=MultinomialLoss())
    with pytest.raises(ValueError, match="sample_weight must be finite and >= 0"):
        block_coordinate_descent(X, y, sample_weight=-np.ones(60))


SCALES = [(1e-100, 1e-50), (1e-100, 1e40), (1e12, 1e140), (1e130, 1e-130), (1e140, 1e140)]


@pytest.mark.parametrize("name", ["squared", "huber"])
@pytest.mark.parametrize("kind", [None, L1, NonNegative, Box])
@pytest.mark.parametrize(("design", "target"), SCALES)
def test_units_change_nothing_but_the_units(design, target, kind, name):
    X, y = make_data(name)
    losses = {"squared": [SquaredLoss()] * 2, "huber": [HuberLoss(), HuberLoss(1.35 * target)]}
    arguments = {
        None: lambda x, f: None,
        L1: lambda x, f: L1(0.1 * f),
        NonNegative: lambda x, f: NonNegative(0.01 * f),
        Box: lambda x, f: Box(-0.1 * x, 0.1 * x),
    }[kind]
    smooth = kind is None
    rules = [("variable", "gsd", "auto"), ("variable", "gs", "backtracking")]
    rules += [("variable", "gsq", "newton" if smooth else "prox-newton"), ("sort", "gs", "auto")]
    rules += [("sort", "gsl", "gradient" if smooth else "prox-gradient")]
    rules += [("variable", "gsd", "tmp")] * (kind in (L1, NonNegative))
    for partition, selection, update in rules:
        plain, scaled = (
            block_coordinate_descent(
                a * X, b * y, arguments(b / a, a * b), loss=loss, partition=partition,
                selection=selection, update=update, tol=1e-8,
            )
            for a, b, loss in zip((1.0, design), (1.0, target), losses[name], strict=True)
        )  # fmt: skip
        assert plain.success
        assert scaled.success
        assert scaled.nit <= 2 * plain.nit + 10
        size = np.max(np.abs(plain.x))
        np.testing.assert_allclose(scaled.x * (design / target), plain.x, atol=1e-4 * size)


def test_single_precision_of_the_design_leaves_target_and_weights_alone():
    rng = np.random.default_rng(0)
    X, y = rng.integers(-3, 4, (40, 5)), 2**30 + rng.integers(0, 100, 40)
    weights = rng.uniform(0, 2, 40)
    options = {"sample_weight": weights, "fit_intercept": True, "tol": 1e-7}
    single, double = (
        block_coordinate_descent(X.astype(dtype), y, L1(0.1), **options) for dtype in ("f4", "f8")
    )
    np.testing.assert_array_equal(single.x, double.x)
    assert single.fun == double.fun


def test_labels_of_any_kind_make_the_same_blocks():
    X, y = make_data("squared")
    numbers = np.array([3, 0, 1, 2] * 5)
    names = np.array(["zeta", "alpha", "beta", "gamma"] * 5)
    runs = [
        block_coordinate_descent(X, y, L1(0.1), partition=labels, selection="gsq", tol=1e-8)
        for labels in (numbers, names, numbers / 7.0)
    ]
    assert {tuple(block) for block in runs[0].history["blocks"]} <= {
        tuple(range(start, 20, 4)) for start in range(4)
    }
    for other in runs[1:]:
        assert len(other.history["blocks"]) == runs[0].nit
        for first, second in zip(runs[0].history["blocks"], other.history["blocks"], strict=True):
            np.testing.assert_array_equal(first, second)
