"""The problem behind block coordinate descent: derivatives, bounds, scores."""

import numpy as np
import pytest
from scipy import sparse

from sparseopt.optimize import (
    L1,
    ElasticNet,
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    SquaredLoss,
)
from sparseopt.optimize._block_coordinate_descent import pose
from sparseopt.optimize._block_model import solve_semidefinite, spectrum

LOSSES = {
    "squared": SquaredLoss(),
    "logistic": LogisticLoss(),
    "multinomial": MultinomialLoss(),
    "huber": HuberLoss(0.7),
}
KINDS = {"dense": np.asarray, "csc": sparse.csc_array, "csr": sparse.csr_array}


def make_problem(name, *, penalty=None, kind="dense", weighted=True, at=0.5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30, 7)) * (rng.random((30, 7)) < 0.7)
    y = {
        "squared": rng.standard_normal(30),
        "huber": 3 * rng.standard_normal(30),
        "logistic": np.sign(rng.standard_normal(30)),
        "multinomial": np.arange(30) % 4,
    }[name]
    weights = rng.uniform(0, 2, 30) if weighted else None
    problem = pose(KINDS[kind](X), y, LOSSES[name], penalty, weights)
    problem.move_to(at * rng.standard_normal(problem.n_variables))
    return problem


def smooth_value(problem, x):
    problem.move_to(x)
    return problem.objective - problem.l1 @ np.abs(problem.x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_and_hessian_agree_with_finite_differences(name, kind):
    problem = make_problem(name, penalty=ElasticNet(0.3, 0.5), kind=kind)
    x, n, h = problem.x.copy(), problem.n_variables, 1e-6
    gradient = problem.gradient.copy()
    indices = np.arange(0, n, 2)
    hessian = problem.block(indices).hessian()
    differences, gradients = np.zeros(n), np.zeros((n, n))
    for i in range(n):
        shift = h * np.eye(n)[i]
        plus = smooth_value(problem, x + shift)
        gradient_plus = problem.gradient.copy()
        differences[i] = (plus - smooth_value(problem, x - shift)) / (2 * h)
        gradients[i] = (gradient_plus - problem.gradient) / (2 * h)
    np.testing.assert_allclose(differences, gradient, atol=1e-8)
    np.testing.assert_allclose(gradients[np.ix_(indices, indices)], hessian, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_bound_exceeds_the_hessian_everywhere(name):
    rng = np.random.default_rng(1)
    equal = True
    for seed in range(30):
        problem = make_problem(name, seed=seed, at=rng.choice([0, 0.3, 3]))
        size = rng.integers(1, 8)
        indices = np.sort(rng.choice(problem.n_variables, size, replace=False))
        block = problem.block(indices)
        bound, hessian = block.hessian_bound(), block.hessian()
        assert np.min(np.linalg.eigvalsh(bound - hessian)) >= -1e-10
        equal &= np.allclose(bound, hessian, atol=1e-12)
        for i in range(size):
            alone = problem.block(indices[i : i + 1]).hessian_bound()[0, 0]
            assert problem.lipschitz[indices[i]] == pytest.approx(alone, rel=1e-12)
    assert equal == (name == "squared")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_products_with_the_global_bound(name, kind, monkeypatch):
    problem = make_problem(name, penalty=ElasticNet(0.3, 0.5), kind=kind)
    everything = problem.block(np.arange(problem.n_variables))
    bound = everything.hessian_bound()
    if name == "multinomial":  # k' = k once all classes are in the block
        assert np.linalg.matrix_rank(bound - np.diag(problem.ridge)) == 7 * 3
    rng = np.random.default_rng(2)
    indices = np.array([1, 2, 5])
    d = rng.standard_normal(3)
    for columns in (indices, indices[1:], np.array([0, 2])):  # from scratch, kept, partly kept
        weights = d[: columns.size]
        product = problem.bound_product(columns, weights)
        np.testing.assert_allclose(product, bound[:, columns] @ weights, atol=1e-12)
    monkeypatch.setattr(problem._bound_columns, "_capacity", 2)  # no room for more
    everywhere = np.arange(problem.n_variables)
    d = rng.standard_normal(problem.n_variables)
    np.testing.assert_allclose(problem.bound_product(everywhere, d), bound @ d, atol=1e-12)
    full = rng.standard_normal(problem.n_variables)
    np.testing.assert_allclose(problem.bound_times(full), bound @ full, atol=1e-12)
    assert problem.largest_curvature == pytest.approx(np.linalg.eigvalsh(bound)[-1], rel=1e-6)


@pytest.mark.parametrize("kind", ["csc", "csr"])
@pytest.mark.parametrize("name", LOSSES)
def test_sparse_equals_dense(name, kind):
    dense, thin = make_problem(name), make_problem(name, kind=kind)
    indices = np.array([0, 3, 6])
    assert thin.objective == pytest.approx(dense.objective, rel=1e-12)
    np.testing.assert_allclose(thin.gradient, dense.gradient, atol=1e-13)
    np.testing.assert_allclose(thin.lipschitz, dense.lipschitz, rtol=1e-13)
    for method in ("hessian", "hessian_bound"):
        left, right = (getattr(problem.block(indices), method)() for problem in (thin, dense))
        np.testing.assert_allclose(left, right, atol=1e-13)


@pytest.mark.parametrize("name", LOSSES)
def test_steps_and_lazy_gradients_agree_with_a_fresh_computation(name):
    penalty = ElasticNet(0.2, 0.6)
    problem, fresh = make_problem(name, penalty=penalty), make_problem(name, penalty=penalty)
    rng = np.random.default_rng(3)
    for _ in range(5):
        indices = np.sort(rng.choice(problem.n_variables, 3, replace=False))
        d = rng.standard_normal(3)
        problem.apply(problem.block(indices).step(d))
        fresh.move_to(fresh.x + np.bincount(indices, d, fresh.n_variables))
        assert problem.objective == pytest.approx(fresh.objective, rel=1e-12)
        lazy = problem.block(indices).gradient  # computed from the block's columns
        np.testing.assert_allclose(lazy, fresh.gradient[indices], atol=1e-13)
        np.testing.assert_allclose(problem.gradient, fresh.gradient, atol=1e-13)


def test_gradient_of_a_quadratic_moves_along_with_kept_columns():
    problem = make_problem("squared", penalty=ElasticNet(0.2, 0.6))
    indices = np.array([1, 4])
    assert problem.gradient_is_exact
    problem.bound_product(indices, np.ones(2))
    assert problem.gradient.shape == (7,)
    problem.apply(problem.block(indices).step(np.array([0.3, -2.0])))
    moved = problem.gradient.copy()
    assert not problem.gradient_is_exact
    problem.refresh()
    assert problem.gradient_is_exact
    np.testing.assert_allclose(moved, problem.gradient, atol=1e-14)


@pytest.mark.parametrize("positive", [False, True])
def test_scores_are_the_progress_of_prox_steps(positive):
    penalty = L1(0.05, positive=positive)
    problem = make_problem("logistic", penalty=penalty)
    problem.move_to(np.where(np.arange(7) % 3 == 0, 0, problem.x))
    scores = problem.prox_scores()
    grid = np.linspace(-5, 5, 2_000_001)
    for i in range(7):
        x, g, curvature = problem.x[i], problem.gradient[i], problem.lipschitz[i]
        trial = grid[grid >= 0] if positive else grid
        d = trial - x
        model = g * d + curvature / 2 * d**2 + 0.05 * (np.abs(trial) - abs(x))
        assert scores[i] == pytest.approx(-2 * np.min(model), rel=1e-4, abs=1e-9)


def test_change_of_the_l1_part():
    problem = make_problem("squared", penalty=L1(0.3))
    problem.move_to(np.array([1.0, -2.0, 0.0, 0.0, 3.0, -1.0, 0.5]))
    block = problem.block(np.arange(7))
    new = np.array([2.0, 1.0, 0.0, -1.0, 0.0, -1.5, -0.5])
    expected = 0.3 * (np.abs(new).sum() - np.abs(problem.x).sum())
    assert block.cost_change(new) == pytest.approx(expected, rel=1e-12)


def test_empty_columns_and_excluded_features_never_move():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 5))
    X[:, 2] = 0
    penalty = L1(0.01, weights=np.array([1, np.inf, 1, 1, 1]))
    problem = pose(X, rng.standard_normal(20), SquaredLoss(), penalty, None)
    assert problem.usable.tolist() == [0, 3, 4]
    problem.move_to(np.ones(5))
    assert problem.x.tolist() == [1, 0, 0, 1, 1]


def test_singular_systems_get_the_least_norm_solution():
    rng = np.random.default_rng(0)
    B = rng.standard_normal((3, 6))
    H, rhs = B.T @ B, B.T @ rng.standard_normal(3)
    np.testing.assert_allclose(solve_semidefinite(H, rhs), np.linalg.pinv(H) @ rhs, atol=1e-10)
    values, vectors = spectrum(H)
    assert values.shape == (3,)
    np.testing.assert_allclose(vectors * values @ vectors.T, H, atol=1e-12)
