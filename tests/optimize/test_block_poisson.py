"""Block coordinate descent for a loss whose curvature has no bound."""

import numpy as np
import pytest
from scipy import optimize, sparse
from sklearn.linear_model import PoissonRegressor

from sparseopt.optimize import (
    L1,
    Box,
    ElasticNet,
    GroupL2,
    PoissonLoss,
    block_coordinate_descent,
    coordinate_descent,
)


def make_data(seed=0, n_samples=100, n_features=15):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * rng.uniform(0.3, 1, n_features)
    return X, rng.poisson(np.exp(X[:, 0] - X[:, 1] + 0.5 * X[:, 2] + 1)).astype(float)


@pytest.mark.parametrize("update", ["newton", "backtracking"])
@pytest.mark.parametrize("selection", ["gs", "gsd", "random"])
def test_ridge_limit_is_scikit_learns(selection, update):
    X, y = make_data()
    reference = PoissonRegressor(alpha=0.1, solver="newton-cholesky", tol=1e-10).fit(X, y)
    result = block_coordinate_descent(
        X, y, ElasticNet(0.1, 0.0), loss=PoissonLoss(), fit_intercept=True, selection=selection,
        update=update, tol=1e-8, random_state=0,
    )  # fmt: skip
    np.testing.assert_allclose(result.x, reference.coef_, atol=1e-6)
    assert result.intercept == pytest.approx(reference.intercept_, abs=1e-6)
    assert np.all(np.diff(result.history["objective"]) <= 1e-12 * abs(result.fun))


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("update", ["auto", "prox-newton", "tmp", "backtracking"])
def test_same_minimum_as_coordinate_descent(update, positive, fit_intercept):
    X, y = make_data(n_features=60)
    options = {"loss": PoissonLoss(), "fit_intercept": fit_intercept, "tol": 1e-9}
    penalty = L1(0.1, positive=positive)
    reference = coordinate_descent(X, y, penalty, **options)
    for design in (X, sparse.csr_array(X)):
        result = block_coordinate_descent(design, y, penalty, update=update, **options)
        assert result.success
        assert result.fun == pytest.approx(reference.fun, rel=1e-10)
        np.testing.assert_array_equal(result.active_set, np.flatnonzero(reference.x))
        assert result.intercept == pytest.approx(reference.intercept, abs=1e-6)
        assert result.dual_gap <= 1e-6
        assert np.all(np.diff(result.history["objective"]) <= 1e-12 * abs(result.fun))


def test_bounds_and_groups():
    X, y = make_data()
    loss = PoissonLoss()

    def value(x):
        return loss.value(y, X @ x), X.T @ loss.gradient(y, X @ x)

    box = optimize.minimize(
        value, np.zeros(15), jac=True, method="L-BFGS-B", bounds=[(-0.3, 0.5)] * 15,
        options={"ftol": 1e-15, "gtol": 1e-10},
    )  # fmt: skip
    result = block_coordinate_descent(X, y, Box(-0.3, 0.5), loss=loss, tol=1e-8)
    assert result.fun == pytest.approx(box.fun, rel=1e-10)
    singles = block_coordinate_descent(X, y, GroupL2(np.arange(15), 0.1), loss=loss, tol=1e-9)
    lasso = block_coordinate_descent(X, y, L1(0.1), loss=loss, tol=1e-9)
    np.testing.assert_allclose(singles.x, lasso.x, atol=1e-6)


def test_far_starts_and_long_columns_arrive():
    X, y = make_data()
    for start in (np.full(15, 20.0), np.full(15, -20.0)):
        result = block_coordinate_descent(
            X, y, L1(0.1), loss=PoissonLoss(), fit_intercept=True, coef_init=start
        )
        assert result.success
    assert block_coordinate_descent(100 * X, y, L1(0.1), loss=PoissonLoss(), tol=1e-4).success


@pytest.mark.parametrize(
    "options",
    [
        {"update": "gradient"}, {"update": "matrix"}, {"update": "prox-gradient"},
        {"selection": "gsq"}, {"selection": "gsq-iht"}, {"selection": "gsl", "partition": "sort"},
    ],
)  # fmt: skip
def test_what_needs_a_bound_is_refused_by_name(options):
    X, y = make_data()
    with pytest.raises(ValueError, match="cannot be combined with PoissonLoss, whose curvature"):
        block_coordinate_descent(X, y, loss=PoissonLoss(), **options)
