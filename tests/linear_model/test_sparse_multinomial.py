"""Sparse logistic regression with more than two classes: both solvers, limits, cross-validation."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold

from sparseopt.linear_model import SparseLogisticRegression, SparseLogisticRegressionCV
from sparseopt.optimize import ElasticNet, MultinomialLoss

SOLVERS = ["cd", "bcd"]
NAMES = np.array(["ant", "bee", "cat"])


def make_problem(n_samples=120, n_features=20, *, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    X[np.abs(X) < 0.5] = 0
    coef = np.zeros((n_features, 3))
    coef[:4] = 1.5 * rng.standard_normal((4, 3))
    y = np.argmax(X @ coef + [0.5, 0, -0.5] + rng.gumbel(size=(n_samples, 3)), axis=1)
    return X, y, rng.uniform(0.5, 2, n_samples)


def violation(model, X, y, sample_weight=None):
    """Return the distance to the optimality conditions from the formulas alone."""
    z = X @ model.coef_.T + model.intercept_
    derivatives = MultinomialLoss().gradient(y, z, sample_weight)
    gradient = (X.T @ derivatives).T
    penalty = ElasticNet(model.alpha, model.l1_ratio, model.weights)
    distance = [
        penalty.subdifferential_distance(*pair)
        for pair in zip(model.coef_, gradient, strict=True)
    ]  # fmt: skip
    of_intercepts = np.abs(derivatives.sum(axis=0)) if model.fit_intercept else 0
    return max(np.max(distance), np.max(of_intercepts))


def objective(model, X, y, sample_weight=None):
    z = X @ model.coef_.T + model.intercept_
    penalty = ElasticNet(model.alpha, model.l1_ratio, model.weights)
    values = sum(penalty.value(row) for row in model.coef_)
    return MultinomialLoss().value(y, z, sample_weight) + values


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("as_sparse", [True, False])
def test_optimality_and_certificates(solver, l1_ratio, fit_intercept, as_sparse):
    X, y, weights = make_problem()
    data = sparse.csr_array(X) if as_sparse else X
    model = SparseLogisticRegression(
        0.02, l1_ratio=l1_ratio, fit_intercept=fit_intercept, solver=solver, tol=1e-9
    ).fit(data, y, sample_weight=weights)
    assert model.coef_.shape == (3, 20)
    assert model.intercept_.shape == (3,)
    assert violation(model, X, y, weights) == pytest.approx(model.kkt_, abs=1e-14)
    assert model.kkt_ <= 1e-9
    assert abs(model.intercept_.mean()) <= 1e-14
    assert 0 <= model.dual_gap_ <= 1e-8
    assert len(model.history_["objective"]) == model.n_iter_ + 1
    last = objective(model, X, y, weights)
    assert model.history_["objective"][-1] == pytest.approx(last, rel=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_gap_bounds_the_error_of_a_rough_fit(solver):
    X, y, _ = make_problem()
    exact = SparseLogisticRegression(0.02, tol=1e-12).fit(X, y)
    rough = SparseLogisticRegression(0.02, solver=solver, tol=0.1).fit(X, y)
    error = objective(rough, X, y) - objective(exact, X, y)
    assert 0 <= error <= rough.dual_gap_
    assert rough.dual_gap_ < 0.1 * rough.history_["objective"][0]


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("penalised", [True, False])
def test_the_solvers_agree(l1_ratio, penalised):
    X, y, weights = make_problem()
    penalty_weights = None if penalised else np.r_[0.0, np.inf, np.full(18, 2.0)]
    options = {"alpha": 0.03, "l1_ratio": l1_ratio, "weights": penalty_weights, "tol": 1e-10}
    models = [
        SparseLogisticRegression(solver=solver, **options).fit(X, y, sample_weight=weights)
        for solver in SOLVERS
    ]
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, atol=1e-7)
    np.testing.assert_allclose(models[0].intercept_, models[1].intercept_, atol=1e-7)
    np.testing.assert_array_equal(models[0].coef_ != 0, models[1].coef_ != 0)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0, 2: 0.5}])
@pytest.mark.parametrize(("l1_ratio", "peer_solver"), [(0.0, "lbfgs"), (1.0, "saga")])
def test_documented_conversion_to_scikit_learn(l1_ratio, peer_solver, class_weight):
    X, y, weights = make_problem(n_features=8)
    model = SparseLogisticRegression(
        0.05, l1_ratio=l1_ratio, class_weight=class_weight, tol=1e-11
    ).fit(X, y, sample_weight=weights)
    is_given = isinstance(class_weight, dict)
    factors = np.array([class_weight[c] for c in range(3)]) if is_given else np.ones(3)
    total = np.sum(weights * factors[y])  # balancing leaves it as it is
    peer = LogisticRegression(
        C=1 / (0.05 * total), l1_ratio=l1_ratio, class_weight=class_weight, solver=peer_solver,
        tol=1e-10, max_iter=50_000,
    ).fit(X, y, sample_weight=weights)  # fmt: skip
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)))
    np.testing.assert_array_equal(model.predict(X), peer.predict(X))
    shifted = peer.intercept_ - peer.intercept_.mean()
    np.testing.assert_allclose(model.intercept_, shifted, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_integer_sample_weights_equal_repeated_rows(solver, class_weight):
    X, y, _ = make_problem()
    repeats = np.random.default_rng(1).integers(0, 4, len(y))
    model = SparseLogisticRegression(0.03, class_weight=class_weight, solver=solver, tol=1e-10)
    weighted = model.fit(X, y, sample_weight=repeats).coef_
    model.fit(np.repeat(X, repeats, axis=0), np.repeat(y, repeats))
    np.testing.assert_allclose(weighted, model.coef_, atol=1e-8)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.0])
def test_the_order_of_the_classes_permutes_the_rows(l1_ratio):
    X, y, _ = make_problem()
    order = np.array([2, 0, 1])  # label c is called order[c]
    model = SparseLogisticRegression(0.03, l1_ratio=l1_ratio, tol=1e-10).fit(X, NAMES[y])
    assert list(model.classes_) == list(NAMES)
    other = SparseLogisticRegression(0.03, l1_ratio=l1_ratio, tol=1e-10).fit(X, NAMES[order[y]])
    np.testing.assert_allclose(other.coef_[order], model.coef_, atol=1e-8)
    np.testing.assert_array_equal(NAMES[order[np.searchsorted(NAMES, model.predict(X))]],
                                  other.predict(X))  # fmt: skip


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_continues(solver):
    X, y, _ = make_problem()
    model = SparseLogisticRegression(0.02, solver=solver, warm_start=True, tol=1e-8).fit(X, y)
    first = model.coef_.copy()
    assert model.n_iter_ > 0
    model.fit(X, y)
    assert model.n_iter_ == 0
    np.testing.assert_allclose(model.coef_, first, atol=1e-14)
    model.fit(X, y == 0)  # another number of classes: a cold start
    assert model.coef_.shape == (1, 20)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("as_sparse", [True, False])
def test_single_precision_is_kept(solver, as_sparse):
    X, y, _ = make_problem()
    data = X.astype(np.float32)
    data = sparse.csc_array(data) if as_sparse else data
    single = SparseLogisticRegression(0.02, solver=solver, tol=1e-5).fit(data, y)
    double = SparseLogisticRegression(0.02, tol=1e-9).fit(X, y)
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    np.testing.assert_allclose(single.coef_, double.coef_, atol=1e-3)


class Recorder:
    """Keeps the objective of the model at the end of each iteration."""

    def __init__(self, X, y):
        self.X, self.y, self.objectives = X, y, []

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name.startswith("iteration"):
            self.objectives.append(objective(fitted_estimator, self.X, self.y))

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize("solver", SOLVERS)
def test_callbacks_see_the_model_of_each_iteration(solver):
    X, y, _ = make_problem()
    recorder = Recorder(X, y)
    model = SparseLogisticRegression(0.02, solver=solver, tol=1e-9)
    model.set_callbacks(recorder).fit(X, y)
    assert len(recorder.objectives) == model.n_iter_ > 1
    np.testing.assert_allclose(recorder.objectives, model.history_["objective"][1:], rtol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_separable_classes_without_a_penalty_warn(solver, n_classes):
    X = np.repeat(np.eye(n_classes), 4, axis=0)
    y = np.repeat(np.arange(n_classes), 4)
    with pytest.warns(ConvergenceWarning, match="perfectly separable"):
        SparseLogisticRegression(0.0, solver=solver).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SparseLogisticRegression(1e-3, solver=solver).fit(X, y)


def test_unknown_solvers_are_refused():
    X, y, _ = make_problem()
    with pytest.raises(ValueError, match="'solver' parameter"):
        SparseLogisticRegression(solver="saga").fit(X, y)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_errors_of_cross_validation_are_those_of_separate_fits(l1_ratio):
    X, y, weights = make_problem()
    labels, folds = NAMES[y], StratifiedKFold(3)
    options = {"l1_ratio": l1_ratio, "class_weight": {"ant": 1, "bee": 2, "cat": 3}, "tol": 1e-9}
    model = SparseLogisticRegressionCV(alphas=[0.1, 0.03, 0.01], cv=folds, **options)
    model.fit(X, labels, sample_weight=weights)
    total = weights * np.array([1.0, 2.0, 3.0])[y]
    for number, (train, test) in enumerate(folds.split(X, y)):
        for row, alpha in enumerate(model.alphas_):
            single = SparseLogisticRegression(alpha, l1_ratio=l1_ratio, tol=1e-9)
            single.fit(X[train], labels[train], sample_weight=total[train])
            expected = log_loss(
                labels[test], single.predict_proba(X[test]), sample_weight=total[test]
            )
            assert model.loss_path_[row, number] == pytest.approx(expected, rel=1e-6)
    final = SparseLogisticRegression(model.alpha_, **options)
    final.fit(X, labels, sample_weight=weights)
    np.testing.assert_allclose(model.coef_, final.coef_, atol=1e-7)
    np.testing.assert_array_equal(model.predict(X), final.predict(X))
    assert list(model.classes_) == list(NAMES)


def test_automatic_grid_starts_at_the_smallest_strength_with_a_zero_solution():
    X, y, weights = make_problem()
    model = SparseLogisticRegressionCV(alphas=10, eps=0.1, cv=3)
    model.fit(sparse.csr_array(X), y, sample_weight=weights)
    dense = SparseLogisticRegressionCV(alphas=10, eps=0.1, cv=3).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(model.loss_path_, dense.loss_path_, rtol=1e-5)
    assert model.alpha_ == pytest.approx(dense.alpha_)
    for factor, is_zero in ((1 + 1e-6, True), (0.99, False)):
        at = SparseLogisticRegression(factor * model.alphas_[0], tol=1e-9)
        at.fit(X, y, sample_weight=weights)
        assert (not at.coef_.any()) == is_zero


def test_a_class_may_be_missing_from_a_test_fold_but_not_from_a_training_part():
    X, y, _ = make_problem()
    without = np.flatnonzero(y != 2)[:20]
    folds = [(np.setdiff1d(np.arange(len(y)), without), without)]
    model = SparseLogisticRegressionCV(alphas=[0.1, 0.03], cv=folds).fit(X, NAMES[y])
    assert model.coef_.shape == (3, 20)
    assert np.all(np.isfinite(model.loss_path_))
    order = np.argsort(y)
    with pytest.raises(ValueError, match=r"training part of each fold must .* none for \['cat'\]"):
        SparseLogisticRegressionCV(alphas=[0.1], cv=KFold(3)).fit(X[order], NAMES[np.sort(y)])


@pytest.mark.parametrize("classes", [2, 3])
def test_blocks_say_so_where_rounding_hides_their_violation(classes):
    X, y, _ = make_problem()
    y = np.minimum(y, classes - 1)
    with pytest.warns(ConvergenceWarning, match=r"no step improves on that.*Centre and scale"):
        model = SparseLogisticRegression(0.02, solver="bcd").fit(X + 1e6, y)
    assert model.kkt_ > SparseLogisticRegression(0.02, solver="bcd").fit(X, y).kkt_
