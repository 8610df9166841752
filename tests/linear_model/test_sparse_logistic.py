"""SparseLogisticRegression: optimality, scikit-learn's limits, weights, labels, callbacks."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from sparseopt.linear_model import SparseLogisticRegression
from sparseopt.optimize import ElasticNet, LogisticLoss


def make_problem(n_samples=120, n_features=40, *, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    z = X[:, :4] @ [1.5, -1.0, 1.0, -0.8] - 0.7
    return X, (z + rng.logistic(size=n_samples) > 0).astype(int)


def violation(model, X, y, sample_weight=None, weights=None):
    """Return the distance to the optimality conditions from the formulas alone."""
    signs = np.where(y == model.classes_[1], 1.0, -1.0)
    z = X @ model.coef_[0] + model.intercept_[0]
    derivatives = LogisticLoss().gradient(signs, z, sample_weight)
    penalty = ElasticNet(model.alpha, model.l1_ratio, weights)
    distance = penalty.subdifferential_distance(model.coef_[0], X.T @ derivatives)
    return max(np.max(distance), abs(derivatives.sum()) if model.fit_intercept else 0)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("as_sparse", [True, False])
def test_optimality_and_certificates(l1_ratio, fit_intercept, as_sparse):
    X, y = make_problem()
    data = sparse.csr_array(X) if as_sparse else X
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y))
    model = SparseLogisticRegression(0.03, l1_ratio=l1_ratio, fit_intercept=fit_intercept, tol=1e-9)
    model.fit(data, y, sample_weight=weights)
    assert violation(model, X, y, weights) == pytest.approx(model.kkt_, abs=1e-14)
    assert model.kkt_ <= 1e-9
    assert model.dual_gap_ <= 1e-8
    assert isinstance(model.n_iter_, int)
    assert len(model.history_["objective"]) == model.n_iter_ + 1


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0}])
def test_documented_conversion_to_scikit_learn(l1_ratio, class_weight):
    X, y = make_problem(n_features=10)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y))
    model = SparseLogisticRegression(
        0.05, l1_ratio=l1_ratio, class_weight=class_weight, tol=1e-10
    ).fit(X, y, sample_weight=weights)
    factors = np.array([1.0, 3.0]) if isinstance(class_weight, dict) else np.ones(2)
    total = np.sum(weights * factors[y])  # balancing leaves it as it is
    peer = LogisticRegression(
        C=1 / (0.05 * total), l1_ratio=l1_ratio, class_weight=class_weight, solver="saga",
        tol=1e-12, max_iter=100_000,
    ).fit(X, y, sample_weight=weights)  # fmt: skip
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(model.predict(X), peer.predict(X))


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_integer_sample_weights_equal_repeated_rows(class_weight):
    X, y = make_problem()
    repeats = np.random.default_rng(1).integers(0, 4, len(y))
    model = SparseLogisticRegression(0.03, class_weight=class_weight, tol=1e-10)
    model.fit(X, y, sample_weight=repeats)
    weighted = model.coef_.copy()
    model.fit(np.repeat(X, repeats, axis=0), np.repeat(y, repeats))
    np.testing.assert_allclose(weighted, model.coef_, atol=1e-8)


def test_penalty_weights():
    X, y = make_problem()
    weights = np.ones(X.shape[1])
    weights[0], weights[1] = 0, np.inf
    model = SparseLogisticRegression(0.05, weights=weights, tol=1e-9).fit(X, y)
    assert model.coef_[0, 1] == 0
    assert model.coef_[0, 0] != 0
    assert violation(model, X, y, weights=weights) <= 1e-9
    assert model.dual_gap_ == np.inf
    called = SparseLogisticRegression(0.05, weights=lambda X: weights, tol=1e-9).fit(X, y)
    np.testing.assert_array_equal(called.coef_, model.coef_)


def test_probabilities_of_extreme_scores():
    X, y = make_problem()
    model = SparseLogisticRegression().fit(X, y)
    far = 1e4 * X
    probabilities, logarithms = model.predict_proba(far), model.predict_log_proba(far)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert np.all(np.isfinite(logarithms))
    assert logarithms.min() < -1e3
    scores = model.decision_function(X)
    np.testing.assert_allclose(np.diff(model.predict_log_proba(X), axis=1)[:, 0], scores)


def test_labels_may_be_strings_and_their_order_decides_the_sign():
    X, y = make_problem()
    numbers = SparseLogisticRegression().fit(X, y)
    names = SparseLogisticRegression().fit(X, np.array(["no", "yes"])[y])
    swapped = SparseLogisticRegression().fit(X, np.array(["b", "a"])[y])
    np.testing.assert_array_equal(names.coef_, numbers.coef_)
    assert list(names.classes_) == ["no", "yes"]
    np.testing.assert_array_equal(names.predict(X) == "yes", numbers.predict(X) == 1)
    np.testing.assert_allclose(swapped.coef_, -numbers.coef_, atol=1e-6)


def test_warm_start_continues():
    X, y = make_problem()
    model = SparseLogisticRegression(0.02, warm_start=True, tol=1e-8).fit(X, y)
    first = model.coef_.copy()
    assert model.n_iter_ > 0
    model.fit(X, y)
    assert model.n_iter_ == 0
    np.testing.assert_array_equal(model.coef_, first)
    model.fit(X[:, :7], y)  # another number of features: a cold start
    assert model.coef_.shape == (1, 7)


def test_strong_penalty_leaves_the_share_of_the_classes():
    X, y = make_problem()
    model = SparseLogisticRegression(10.0).fit(X, y)
    assert not model.coef_.any()
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], y.mean())


@pytest.mark.parametrize(
    ("y", "sample_weight", "message"),
    [
        (np.zeros(6), None, "two classes with positive weight, got 1 class"),
        (np.array([0, 1, 2, 0, 1, 2]), [1, 1, 0, 1, 1, 0], r"positive weight, got none for \[2\]"),
        (np.array([0, 1, 0, 0, 0, 0]), [1, 0, 1, 1, 1, 1], "got 1 class"),
        (np.array([0, 1] * 3), [1, -1, 1, 1, 1, 1], "Negative values"),
        (np.linspace(0, 1, 6), None, "Unknown label type"),
    ],
)
def test_bad_targets_are_refused(y, sample_weight, message):
    X = np.random.default_rng(0).standard_normal((6, 2))
    with pytest.raises(ValueError, match=message):
        SparseLogisticRegression().fit(X, y, sample_weight=sample_weight)


def test_bad_class_weights_are_refused():
    X, y = make_problem()
    with pytest.raises(ValueError, match="class_weight must be finite"):
        SparseLogisticRegression(class_weight={0: -1.0, 1: 1.0}).fit(X, y)
    with pytest.raises(ValueError, match="got 1 class"):
        SparseLogisticRegression(class_weight={0: 0.0, 1: 1.0}).fit(X, y)


def test_separable_classes_without_a_penalty_warn():
    X = np.array([[1.0], [2.0], [-1.0], [-3.0]])
    with pytest.warns(ConvergenceWarning):
        SparseLogisticRegression(0.0, max_iter=3, tol=1e-14).fit(X, [1, 1, 0, 0])
