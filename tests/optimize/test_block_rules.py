"""Selection rules and partitions: brute force, invariances, coverage."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from sparseopt.optimize import L1, ElasticNet, LogisticLoss, MultinomialLoss, SquaredLoss
from sparseopt.optimize._block_coordinate_descent import pose
from sparseopt.optimize._block_rules import (
    FixedBlocks,
    VariableBlocks,
    _largest_positions,
    make_partition,
)
from sparseopt.optimize._block_updates import matrix_update, prox_newton_update


def make_problem(seed, n=12, penalty=None, loss=None, scales=None):
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((20, n)) + 0.7) * rng.uniform(0.3, 3, n)
    y = X @ rng.standard_normal(n) + rng.standard_normal(20)
    if isinstance(loss, LogisticLoss):
        y = np.sign(y)
    if scales is not None:
        X = X * scales
    return pose(X, y, loss or SquaredLoss(), penalty, None)


def choose(problem, rule, size=4):
    return VariableBlocks(problem, rule, size, matrix_update, None).select().indices


def model_score(problem, indices):
    block = problem.block(np.array(indices))
    return block.gradient @ np.linalg.solve(block.hessian_bound(), block.gradient)


@pytest.mark.parametrize("seed", range(5))
def test_largest_blocks_of_separable_scores(seed):
    problem = make_problem(seed, loss=LogisticLoss())
    subsets = [list(s) for s in itertools.combinations(range(12), 4)]
    g, lipschitz = problem.gradient, problem.lipschitz
    best = max(subsets, key=lambda s: np.sum(g[s] ** 2))
    assert choose(problem, "gs").tolist() == best
    best = max(subsets, key=lambda s: np.sum(g[s] ** 2 / lipschitz[s]))
    assert choose(problem, "gsd").tolist() == best


def test_greedy_growth_comes_close_to_the_best_model_block():
    ratios = []
    for seed in range(40):
        problem = make_problem(seed)
        best = max(model_score(problem, s) for s in itertools.combinations(range(12), 4))
        grown = choose(problem, "gsq")
        ratios.append(model_score(problem, grown) / best)
        diagonal = choose(problem, "gsd")
        promised = np.sum(problem.gradient[diagonal] ** 2 / (4 * problem.lipschitz[diagonal]))
        assert model_score(problem, grown) >= promised
    assert min(ratios) >= 0.8
    assert np.median(ratios) >= 0.99


def test_maximum_improvement_is_the_best_model_block_of_a_quadratic():
    problem = make_problem(3)
    best = max(itertools.combinations(range(12), 3), key=lambda s: model_score(problem, s))
    assert tuple(choose(problem, "mi", 3)) == best


@pytest.mark.parametrize("rule", ["gsd", "gsq"])
def test_scaling_columns_does_not_change_the_block(rule):
    scales = 10.0 ** np.random.default_rng(5).uniform(-3, 3, 12)
    for seed in range(10):
        plain, scaled = make_problem(seed), make_problem(seed, scales=scales)
        np.testing.assert_array_equal(choose(plain, rule), choose(scaled, rule))
    assert choose(plain, "gs").tolist() != choose(scaled, "gs").tolist()


@pytest.mark.parametrize("positive", [False, True])
def test_penalised_growth_decreases_the_model_more_than_the_diagonal_rule(positive):
    decreases = []
    for seed in range(20):
        problem = make_problem(seed, penalty=L1(0.5, positive=positive))
        steps = {
            rule: prox_newton_update(problem.block(choose(problem, rule)))
            for rule in ("gsd", "gsq")
        }
        decreases.append([problem.objective - steps[rule].objective for rule in steps])
    diagonal, grown = np.array(decreases).T
    assert np.all(grown[diagonal > 0] > 0)
    assert np.mean(grown) > np.mean(diagonal)
    assert np.mean(grown >= diagonal - 1e-12) >= 0.8


@pytest.mark.parametrize("rule", ["gsl", "gsd", "gsq", "gs", "mi"])
@pytest.mark.parametrize("penalty", [None, L1(0.3), L1(0.3, positive=True)])
def test_fixed_rules_take_the_block_of_largest_score(rule, penalty):
    for seed in range(6):
        problem = make_problem(seed, penalty=penalty)
        update = matrix_update if penalty is None else prox_newton_update
        blocks = make_partition(problem, "avg", 5)
        chosen = FixedBlocks(problem, rule, blocks, update, None).select().indices
        distance, scores = problem.subdifferential_distance(), []
        for indices in blocks:
            block = problem.block(indices)
            largest = np.linalg.eigvalsh(block.hessian_bound())[-1]
            scores.append(
                {
                    "gs": np.sum(distance[indices] ** 2),
                    "gsl": np.sum(distance[indices] ** 2) / largest,
                    "gsd": np.sum(problem.prox_scores()[indices]),
                    # the loss is quadratic: the model's decrease is the objective's
                    "gsq": problem.objective - update(block).objective,
                    "mi": problem.objective - update(block).objective,
                }[rule]
            )
        np.testing.assert_array_equal(chosen, blocks[int(np.argmax(scores))])


@pytest.mark.parametrize("partition", ["order", "sort", "avg"])
def test_partitions_hold_each_variable_once(partition):
    problem = make_problem(0, n=13)
    blocks = make_partition(problem, partition, 4)
    assert [len(block) for block in blocks] == [4, 4, 4, 1]
    assert sorted(np.concatenate(blocks)) == list(range(13))
    constants = problem.lipschitz
    if partition == "order":
        assert blocks[1].tolist() == [4, 5, 6, 7]
    if partition == "sort":
        edges = [(constants[b].min(), constants[b].max()) for b in blocks]
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(edges))
    if partition == "avg":
        ranks = np.argsort(np.argsort(constants))
        assert sorted(ranks[blocks[0]]) == [0, 1, 11, 12]


def test_labels_make_a_partition():
    problem = make_problem(0, n=5)
    blocks = make_partition(problem, np.array([1, 0, 1, 2, 0]), 3)
    assert [block.tolist() for block in blocks] == [[1, 4], [0, 2], [3]]


@pytest.mark.parametrize("rule", ["cyclic", "permutation"])
def test_passes_visit_each_block_once(rule):
    problem = make_problem(0)
    blocks = make_partition(problem, "order", 5)
    fixed = FixedBlocks(problem, rule, blocks, None, np.random.default_rng(0))
    passes = [sorted(fixed.select().indices.tolist() for _ in blocks) for _ in range(4)]
    assert all(visited == [block.tolist() for block in blocks] for visited in passes)


def test_sampling_follows_the_lipschitz_constants():
    problem = make_problem(0)
    blocks = make_partition(problem, "sort", 4)
    fixed = FixedBlocks(problem, "lipschitz", blocks, None, np.random.default_rng(0))
    firsts = [fixed.select().indices[0] for _ in range(2000)]
    constants = [np.linalg.eigvalsh(problem.block(block).hessian_bound())[-1] for block in blocks]
    shares = np.array([np.mean(np.array(firsts) == block[0]) for block in blocks])
    np.testing.assert_allclose(shares, constants / np.sum(constants), atol=0.03)
    variable = VariableBlocks(problem, "lipschitz", 1, None, np.random.default_rng(0))
    drawn = np.bincount([variable.select().indices[0] for _ in range(4000)], minlength=12)
    np.testing.assert_allclose(drawn / 4000, problem.lipschitz / problem.lipschitz.sum(), atol=0.03)


def test_hard_thresholding_returns_a_block_of_the_given_size():
    problem = make_problem(0)
    for size in (1, 4, 12, 20):
        indices = choose(problem, "gsq-iht", size)
        assert len(np.unique(indices)) == min(size, 12)


def test_classes_of_one_feature_are_separate_variables():
    rng = np.random.default_rng(0)
    problem = pose(rng.standard_normal((30, 4)), np.arange(30) % 3, MultinomialLoss(), None, None)
    assert choose(problem, "gsq", 5).size == 5
    assert problem.n_variables == 12


def test_ties_go_to_the_last_positions():
    scores = np.array([1.0, 3.0, 1.0, 1.0, 0.0])
    assert sorted(_largest_positions(scores, 2)) == [1, 3]
    assert _largest_positions(scores[2:], 1).tolist() == [1]
    assert sorted(_largest_positions(scores, 3)) == [1, 2, 3]


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csc_array])
@pytest.mark.parametrize("loss", [SquaredLoss(), LogisticLoss()])
def test_kept_columns_grow_the_same_blocks(loss, kind, fit_intercept, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 80)) * (rng.random((40, 80)) < 0.5) * rng.uniform(0.5, 2, 80)
    X[:, 11] = 0
    y = np.sign(rng.standard_normal(40))
    problem = pose(kind(X), y, loss, ElasticNet(0.01, 0.0), rng.uniform(0, 2, 40), fit_intercept)
    for size in (1, 2, 7, 15):
        problem.move_to(rng.standard_normal(80))
        quick = VariableBlocks(problem, "gsq", size, None, None).select().indices
        again = VariableBlocks(problem, "gsq", size, None, None).select().indices
        with monkeypatch.context() as patch:
            patch.setattr(type(problem), "grow_block", lambda self, size: None)
            slow = VariableBlocks(problem, "gsq", size, None, None).select().indices
        np.testing.assert_array_equal(quick, slow)
        np.testing.assert_array_equal(again, slow)
        assert problem.grow_block(size).tolist() == slow.tolist()


def test_singular_bounds_and_full_stores_leave_the_growth_to_the_other_way():
    X = np.random.default_rng(0).standard_normal((4, 30))
    problem = pose(X, np.ones(4), SquaredLoss(), None, None)
    assert problem.grow_block(4).size == 4
    assert problem.grow_block(8) is None  # more columns than rows
    assert VariableBlocks(problem, "gsq", 8, None, None).select().indices.size == 8
    problem._bound_columns._capacity = 0
    assert problem.grow_block(6) is None
    penalised = pose(X, np.ones(4), SquaredLoss(), L1(0.1), None)
    assert penalised.grow_block(4) is None


def test_growth_chooses_no_variable_twice():
    X = np.eye(12)
    y = np.zeros(12)
    y[-1] = 10.0
    problem = pose(X, y, SquaredLoss(), L1(0.3), None)
    assert np.flatnonzero(problem.prox_scores()).tolist() == [11]  # then all scores are zero
    chosen = choose(problem, "gsq", 4)
    assert len(np.unique(chosen)) == 4
    assert 11 in chosen


def test_fixed_gsl_divides_by_the_largest_eigenvalue():
    X = np.column_stack([10 * np.eye(6)[:, :2], np.eye(6)[:, 2:4]])
    y = np.array([1.0, 1.0, 8.0, 8.0, 0.0, 0.0])  # slopes of 10 and 8
    problem = pose(X, y, SquaredLoss(), None, None)
    blocks = make_partition(problem, "order", 2)
    chosen = {
        rule: FixedBlocks(problem, rule, blocks, None, None).select().indices.tolist()
        for rule in ("gs", "gsl")
    }
    assert chosen == {"gs": [0, 1], "gsl": [2, 3]}
