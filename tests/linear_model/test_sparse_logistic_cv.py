"""SparseLogisticRegressionCV: the grid, the errors recomputed, class and sample weights."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold

from sparseopt.linear_model import SparseLogisticRegression, SparseLogisticRegressionCV


def make_problem(n_samples=120, n_features=30, *, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    z = X[:, :4] @ [1.5, -1.0, 1.0, -0.8] - 0.7
    y = np.array(["no", "yes"])[(z + rng.logistic(size=n_samples) > 0).astype(int)]
    return X, y, rng.uniform(0.5, 2, n_samples)


@pytest.mark.parametrize("class_weight", [None, {"no": 1.0, "yes": 3.0}])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_errors_are_those_of_separate_fits(class_weight, l1_ratio):
    X, y, weights = make_problem()
    folds = StratifiedKFold(3)
    options = {"l1_ratio": l1_ratio, "tol": 1e-9}
    model = SparseLogisticRegressionCV(
        alphas=[0.1, 0.03, 0.01], cv=folds, class_weight=class_weight, **options
    ).fit(X, y, sample_weight=weights)
    factors = class_weight or {"no": 1.0, "yes": 1.0}
    total = weights * np.array([factors[label] for label in y])
    for number, (train, test) in enumerate(folds.split(X, y)):
        for row, alpha in enumerate(model.alphas_):
            single = SparseLogisticRegression(alpha, **options)
            single.fit(X[train], y[train], sample_weight=total[train])
            expected = log_loss(y[test], single.predict_proba(X[test]), sample_weight=total[test])
            assert model.loss_path_[row, number] == pytest.approx(expected, rel=1e-6)
    final = SparseLogisticRegression(model.alpha_, class_weight=class_weight, **options)
    final.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(model.coef_, final.coef_, atol=1e-7)
    np.testing.assert_array_equal(model.predict(X), final.predict(X))
    assert list(model.classes_) == ["no", "yes"]
    assert model.alpha_ == model.alphas_[np.argmin(model.loss_path_.mean(axis=1))]


@pytest.mark.parametrize("weights", [None, np.r_[0.0, np.full(29, 2.0)]])
def test_automatic_grid_starts_at_the_smallest_strength_with_a_zero_solution(weights):
    X, y, sample_weight = make_problem()
    model = SparseLogisticRegressionCV(alphas=5, eps=0.1, cv=3, weights=weights)
    model.fit(X, y, sample_weight=sample_weight)
    np.testing.assert_allclose(model.alphas_[0] / model.alphas_[-1], 10)
    free = 0 if weights is None else 1
    for factor, more in ((1 + 1e-6, False), (0.99, True)):
        at = SparseLogisticRegression(factor * model.alphas_[0], weights=weights, tol=1e-9)
        at.fit(X, y, sample_weight=sample_weight)
        assert (np.count_nonzero(at.coef_) > free) == more


def test_one_standard_error_rule_takes_a_stronger_penalty():
    X, y, _ = make_problem()
    least = SparseLogisticRegressionCV(alphas=20, cv=5).fit(X, y)
    sparser = SparseLogisticRegressionCV(alphas=20, cv=5, selection_rule="1se").fit(X, y)
    assert sparser.alpha_ > least.alpha_
    assert np.count_nonzero(sparser.coef_) < np.count_nonzero(least.coef_)


def test_folds_are_stratified():
    X, y, _ = make_problem()
    order = np.argsort(y)  # without stratification, the first fold would lack a class
    model = SparseLogisticRegressionCV(alphas=[0.1], cv=5).fit(X[order], y[order])
    assert np.all(np.isfinite(model.loss_path_))
    with pytest.raises(ValueError, match="got 1 class"):
        SparseLogisticRegressionCV(alphas=[0.1], cv=KFold(2)).fit(
            np.r_[X[y == "no"][:20], X[y == "yes"][:20]], np.repeat(["no", "yes"], 20)
        )


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_integer_sample_weights_equal_repeated_rows(class_weight):
    X, y, _ = make_problem()
    repeats = np.random.default_rng(1).integers(1, 4, len(y))
    rows = np.repeat(np.arange(len(y)), repeats)
    half = np.arange(len(y)) < 60
    folds = [(np.flatnonzero(half), np.flatnonzero(~half))]
    long_folds = [(np.flatnonzero(half[rows]), np.flatnonzero(~half[rows]))]
    options = {"alphas": [0.1, 0.01], "class_weight": class_weight, "tol": 1e-9}
    short = SparseLogisticRegressionCV(cv=folds, **options).fit(X, y, sample_weight=repeats)
    long = SparseLogisticRegressionCV(cv=long_folds, **options).fit(X[rows], y[rows])
    np.testing.assert_allclose(short.loss_path_, long.loss_path_, rtol=1e-6)
    np.testing.assert_allclose(short.coef_, long.coef_, atol=1e-7)


def test_sparse_data_give_the_same_choice():
    X, y, weights = make_problem()
    X[np.abs(X) < 0.5] = 0
    dense = SparseLogisticRegressionCV(alphas=10, cv=3, tol=1e-9).fit(X, y, sample_weight=weights)
    model = SparseLogisticRegressionCV(alphas=10, cv=3, tol=1e-9)
    model.fit(sparse.csr_array(X), y, sample_weight=weights)
    np.testing.assert_allclose(model.loss_path_, dense.loss_path_, rtol=1e-6)
    assert model.alpha_ == pytest.approx(dense.alpha_)


def test_bad_arguments_are_refused():
    X, y, _ = make_problem()
    with pytest.raises(ValueError, match="l1_ratio > 0"):
        SparseLogisticRegressionCV(l1_ratio=0.0).fit(X, y)
    with pytest.raises(ValueError, match="alphas must be finite"):
        SparseLogisticRegressionCV(alphas=[-1.0]).fit(X, y)
    weights = (np.arange(len(y)) < 60).astype(float)
    folds = [(np.arange(60), np.arange(60, 120))]
    with pytest.raises(ValueError, match="left-out fold"):
        SparseLogisticRegressionCV(alphas=[0.1], cv=folds).fit(X, y, sample_weight=weights)
