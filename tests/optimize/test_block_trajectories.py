"""Block coordinate descent against reference trajectories and optima."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_badly_scaled_classification
from sparseopt.optimize import (
    L1,
    ElasticNet,
    LogisticLoss,
    MultinomialLoss,
    SquaredLoss,
    block_coordinate_descent,
)
from sparseopt.optimize._block_coordinate_descent import pose
from sparseopt.optimize._block_descent import BlockDescent
from sparseopt.optimize._block_rules import VariableBlocks
from sparseopt.optimize._block_updates import UPDATES

DATA = Path(__file__).parents[1] / "data" / "bcd"
LOSSES = {"A": SquaredLoss(), "B": LogisticLoss(), "C": MultinomialLoss()}
SELECTIONS = {
    "GS": "gs", "GSD": "gsd", "GSL": "gsl", "GSQ": "gsq", "Cyclic": "cyclic", "GSqNN": "gsd",
}  # fmt: skip
UPDATE_NAMES = {
    "Lb": "gradient", "Hb": "matrix", "LS": "newton",
    "PG": "prox-gradient", "PN": "prox-newton", "TMP": "tmp",
}  # fmt: skip
NONNEGATIVE_LAM, NONNEGATIVE_MINIMUM = 12833.205644853131, 185842.7119066425
LASSO_LAM, LASSO_MINIMUM = 17110.940859804174, 170436.55272529204
RIDGE_MINIMUM = 0.21902687778414373


def load(name):
    with np.load(DATA / name, allow_pickle=False) as archive:
        return dict(archive)


GOLDEN = load("trajectories.npz")
ARRAYS = load("data_ABC.npz")
CASES = sorted(name.removesuffix("_blocks") for name in GOLDEN if name.endswith("_blocks"))


def data_of(case):
    letter = case[0]
    y = ARRAYS["C_labels"] if letter == "C" else ARRAYS[f"{letter}_y"]
    return ARRAYS[f"{letter}_X"], y, LOSSES[letter]


def parse(case):
    _, where, selection, update = case.split("_")
    partition, size = re.fullmatch(r"([a-z]+)(\d+)", where).groups()
    partition = "variable" if partition == "vb" else partition
    return partition, int(size), selection, UPDATE_NAMES[update]


def run(case):
    X, y, loss = data_of(case)
    partition, size, selection, update = parse(case)
    if partition == "variable" and selection == "GSL":
        return run_with_row_sums(X, y, loss, size, update)
    penalty = None
    if case.startswith("Ann"):
        penalty = L1(NONNEGATIVE_LAM / len(y), positive=True)
    result = block_coordinate_descent(
        X, y, penalty, loss=loss, block_size=size, partition=partition,
        selection=SELECTIONS[selection], update=update, max_iter=40, tol=0,
    )  # fmt: skip
    return len(y) * result.history["objective"], result.history["blocks"], result.x


def run_with_row_sums(X, y, loss, size, update):
    """The diagonal rule with another diagonal bound: the row sums of the global one."""
    problem = pose(X, y, loss, None, None)
    bound = problem.block(np.arange(problem.n_variables)).hessian_bound()
    problem.lipschitz = np.abs(bound).sum(axis=1)
    move = UPDATES[update]
    state = BlockDescent(problem, VariableBlocks(problem, "gsd", size, move, None), move, 1, 0.0)
    objectives = [problem.objective] + [state.step().objective for _ in range(40)]
    return len(y) * np.array(objectives), state.blocks, problem.x


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("case", CASES)
def test_trajectory(case):
    objectives, blocks, x = run(case)
    expected = GOLDEN[f"{case}_f"]
    _, size, selection, update = parse(case)
    if selection == "Cyclic":
        np.testing.assert_allclose(objectives, expected, rtol=1e-8)
    np.testing.assert_allclose(objectives[:11], expected[:11], rtol=1e-7)
    # Two-metric projection has arrived after five steps with blocks of ten.
    compared = 5 if update == "tmp" and size == 10 else 10
    np.testing.assert_array_equal(blocks[:compared], GOLDEN[f"{case}_blocks"][:compared])
    if update == "tmp":
        assert objectives[-1] == pytest.approx(NONNEGATIVE_MINIMUM, rel=1e-9)
        np.testing.assert_array_equal(x != 0, GOLDEN["Ann_xstar"] != 0)
    loose = case.startswith("C") and update in ("matrix", "newton")
    np.testing.assert_allclose(objectives[-1], expected[-1], rtol=1e-2 if loose else 1e-3)


@pytest.mark.parametrize("update", ["prox-newton", "tmp"])
@pytest.mark.parametrize("selection", ["gs", "gsd", "gsq"])
@pytest.mark.parametrize("which", ["Ann", "Alasso"])
def test_penalised_optima_and_supports(which, selection, update):
    X, y, _ = data_of("A")
    lam, minimum = (
        (NONNEGATIVE_LAM, NONNEGATIVE_MINIMUM) if which == "Ann" else (LASSO_LAM, LASSO_MINIMUM)
    )
    penalty = L1(lam / len(y), positive=which == "Ann")
    result = block_coordinate_descent(
        X, y, penalty, selection=selection, update=update, block_size=10, tol=1e-12, max_iter=500
    )
    expected = GOLDEN[f"{which}_xstar"]
    assert result.success
    assert len(y) * result.fun == pytest.approx(minimum, rel=1e-10)
    np.testing.assert_allclose(result.x, expected, rtol=1e-6)
    np.testing.assert_array_equal(result.active_set, np.flatnonzero(expected))
    # Blocks of ten hold the supports of seven: from identification it is Newton's method.
    gaps = len(y) * result.history["objective"] / minimum - 1
    finish = result.active_set_iteration + 10
    assert np.min(gaps[: finish + 1]) <= 1e-10
    assert np.all(np.diff(result.history["objective"]) <= 1e-10 * minimum)


@pytest.mark.parametrize("selection", ["gs", "gsd", "gsq"])
def test_ridge_optimum(selection):
    X, y, loss = data_of("B")
    penalty = ElasticNet(1 / len(y), l1_ratio=0.0)
    result = block_coordinate_descent(
        X, y, penalty, loss=loss, selection=selection, block_size=50, tol=1e-13
    )
    assert len(y) * result.fun == pytest.approx(RIDGE_MINIMUM, rel=1e-10)
    np.testing.assert_allclose(result.x, GOLDEN["Bl2_xstar"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("selection", ["gs", "gsd", "gsq"])
def test_best_block_of_a_quadratic_model(selection):
    H, g = GOLDEN["brute_H"], GOLDEN["brute_g"]
    factor = np.linalg.cholesky(H).T
    target = -np.linalg.solve(factor.T, g)
    # The gradient of 1/2 ||sqrt(n) factor x - sqrt(n) target||^2 / n at zero is g.
    problem = pose(np.sqrt(12) * factor, np.sqrt(12) * target, SquaredLoss(), None, None)
    np.testing.assert_allclose(problem.gradient, g, rtol=1e-10)
    block = VariableBlocks(problem, selection, 4, None, None).select()
    np.testing.assert_array_equal(block.indices, np.sort(GOLDEN[f"brute_{selection.upper()}"]))


def test_too_few_steps_warn():
    X, y, _ = data_of("A")
    with pytest.warns(ConvergenceWarning, match="distance from stationarity.*Increase max_iter"):
        block_coordinate_descent(X, y, L1(10.0), max_iter=3)


@pytest.fixture(scope="module")
def published_logistic_data():
    """Data set B of the paper."""
    return make_badly_scaled_classification(random_state=1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("partition", "selection", "curve"),
    [
        # Objective after 50, 100, 200 and 500 steps with blocks of five, by the reference
        # implementation. Its curves are those of the paper's figures, which have no gsq
        # grown greedily; those of fixed blocks are up to a tenth below.
        ("variable", "gs", (250, 110, 27, 0.82)),
        ("variable", "gsd", (110, 28, 2.5, 2.1e-3)),
        ("variable", "gsq-iht", (100, 23, 1.7, 8.8e-4)),
        ("variable", "gsq", (83, 15, 0.72, 9.3e-5)),
        ("sort", "gsl", (320, 150, 37, 1.1)),
    ],
)
def test_published_curves(published_logistic_data, partition, selection, curve):
    X, y = published_logistic_data
    result = block_coordinate_descent(
        X, y, loss=LogisticLoss(), block_size=5, partition=partition, selection=selection,
        update="newton", max_iter=500, tol=0,
    )  # fmt: skip
    found = 1000 * result.history["objective"][[50, 100, 200, 500]]
    assert [float(f"{value:.2g}") for value in found] == pytest.approx(curve)
