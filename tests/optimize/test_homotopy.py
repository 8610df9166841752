"""The exact LASSO path: optimal at every kink and between them, down to basis pursuit."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import lars_path

from sparseopt.optimize._design import make_design
from sparseopt.optimize._homotopy import lasso_pieces


def problem(m=20, n=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n)), rng.standard_normal(m)


def pieces_from_the_top(design, target, weights, *, positive=False):
    x = np.zeros(design.shape[1])
    return list(lasso_pieces(design, target, weights, positive=positive, mu=0.0, x=x))


def assert_optimal(A, y, x, mu, w, positive):
    c = A.T @ (y - A @ x)
    atol = 1e-9 * np.linalg.norm(y)
    on = np.abs(x) > 1e-12
    np.testing.assert_allclose(c[on], mu * w[on] * np.sign(x[on]), atol=atol)
    off = ~on & np.isfinite(w)
    assert np.all((c if positive else np.abs(c))[off] <= mu * w[off] + atol)
    assert not x[np.isinf(w)].any()
    assert not positive or np.all(x >= -1e-12)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("container", [np.asfortranarray, sparse.csc_array])
def test_every_piece_is_optimal(positive, container):
    A, y = problem()
    A[np.abs(A) < 0.5] = 0
    w = np.random.default_rng(1).uniform(0.5, 2, 50)
    w[[3, 8]] = 0
    w[11] = np.inf
    design = make_design(container(A), fit_intercept=True)
    target, _ = design.transform_target(y)
    A = A - A.mean(axis=0)
    # Positivity of the unpenalised coefficients is not the path's business.
    if positive:
        w[[3, 8]] = 1
    pieces = pieces_from_the_top(design, target, w, positive=positive)
    assert len(pieces) > 10
    start = 2 * pieces[0].end
    for piece in pieces:
        for mu in (start, 0.5 * (start + piece.end), piece.end):
            assert_optimal(A, target, piece.coefficients(mu, 50), mu, w, positive)
            residual = target - A @ piece.coefficients(mu, 50)
            np.testing.assert_allclose(piece.across + mu * piece.along, residual, atol=1e-10)
        assert abs(piece.across @ piece.along) < 1e-10
        start = piece.end
    assert pieces[-1].end < 1e-10


def test_path_equals_lars():
    A, y = problem(m=40, n=15)
    design = make_design(np.asfortranarray(A))
    pieces = pieces_from_the_top(design, y, np.ones(15))
    alphas, _, coefs = lars_path(A, y, method="lasso")
    kinks = np.array([piece.end for piece in pieces])
    np.testing.assert_allclose(kinks, 40 * alphas, atol=1e-9)
    np.testing.assert_allclose(pieces[-1].coefficients(0.0, 15), coefs[:, -1], atol=1e-9)


def test_path_starts_where_it_is_told():
    A, y = problem()
    w = np.ones(50)
    design = make_design(np.asfortranarray(A))
    whole = pieces_from_the_top(design, y, w)
    middle = whole[len(whole) // 2]
    mu = 1.01 * middle.end
    started = lasso_pieces(design, y, w, positive=False, mu=mu, x=middle.coefficients(mu, 50))
    rest = list(started)
    assert len(rest) == len(whole) - len(whole) // 2
    np.testing.assert_allclose(rest[0].end, middle.end)
    np.testing.assert_allclose(rest[-1].coefficients(0, 50), whole[-1].coefficients(0, 50))


def test_a_start_that_is_no_solution_is_replaced_by_the_top():
    A, y = problem()
    design = make_design(np.asfortranarray(A))
    wrong = np.random.default_rng(0).standard_normal(50)
    pieces = list(lasso_pieces(design, y, np.ones(50), positive=False, mu=0.5, x=wrong))
    whole = pieces_from_the_top(design, y, np.ones(50))
    np.testing.assert_allclose([p.end for p in pieces], [p.end for p in whole])


def test_dependent_columns_end_the_path_early_or_optimally():
    A, y = problem(m=20, n=12)
    A = np.hstack([A, A[:, :6], -A[:, 6:]])
    design = make_design(np.asfortranarray(A))
    pieces = pieces_from_the_top(design, y, np.ones(24))
    assert pieces
    for piece in pieces:
        assert np.all(np.isfinite(piece.fit))
        assert_optimal(A, y, piece.coefficients(piece.end, 24), piece.end, np.ones(24), False)
