"""WeightedLasso, its path and its cross-validation: what the estimator layer adds."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import optimize, sparse
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_diabetes, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LassoCV, lasso_path
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks as sklearn_checks

from sparseopt.linear_model import WeightedLasso, WeightedLassoCV, weighted_lasso_path
from sparseopt.optimize import L1, coordinate_descent
from sparseopt.testing import parametrize_with_checks


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(return_X_y=True)


SOLVERS = ("cd", "bcd")
BLOCKWISE = [WeightedLasso(solver="bcd")]  # the default solver is checked with all estimators


@sklearn_checks(BLOCKWISE)
def test_scikit_learn_check(estimator, check):
    assert check(estimator) is None


@parametrize_with_checks(BLOCKWISE)
def test_library_check(estimator, check):
    assert check("WeightedLasso", estimator) is None


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.6])
def test_solvers_find_the_same_certified_model(l1_ratio, positive, fit_intercept):
    X, y = make_regression(60, 150, n_informative=10, noise=1.0, random_state=0)
    X, y = np.where(np.abs(X) < 0.3, 0, X + 1), y / 50 + 10
    sample_weight = np.random.default_rng(0).uniform(0, 2, 60)
    weights = np.linspace(0.5, 2, 150)
    weights[[3, 7]] = 0, np.inf
    for alpha, design in itertools.product((0.5, 0.02, 1e-4), (X, sparse.csr_array(X))):
        cd, bcd = (
            WeightedLasso(
                alpha, weights=weights, l1_ratio=l1_ratio, positive=positive, solver=solver,
                fit_intercept=fit_intercept, tol=1e-12, max_iter=100,
            ).fit(design, y, sample_weight)
            for solver in SOLVERS
        )  # fmt: skip
        scale = np.max(np.abs(cd.coef_))
        np.testing.assert_allclose(bcd.coef_, cd.coef_, atol=1e-4 * scale)
        assert bcd.intercept_ == pytest.approx(cd.intercept_, rel=1e-5, abs=1e-12)
        gaps = [model.history_["objective"][-1] for model in (cd, bcd)]
        assert gaps[1] <= gaps[0] + cd.dual_gap_ + 1e-12
        assert gaps[0] <= gaps[1] + bcd.dual_gap_ + 1e-12


def test_estimator_stores_what_the_solver_returns(diabetes):
    X, y = diabetes
    weights = np.linspace(0.5, 2, X.shape[1])
    model = WeightedLasso(0.3, weights=weights, tol=1e-9).fit(X, y)
    result = coordinate_descent(X, y, L1(0.3, weights=weights), fit_intercept=True, tol=1e-9)
    np.testing.assert_array_equal(model.coef_, result.x)
    assert model.intercept_ == result.intercept
    assert model.dual_gap_ == result.dual_gap
    assert model.n_iter_ == result.nit
    assert isinstance(model.n_iter_, int)
    assert model.history_["certificate"][-1] <= 1e-9
    np.testing.assert_allclose(model.predict(X), X @ result.x + result.intercept)


@pytest.mark.parametrize("solver", SOLVERS)
def test_targets_are_fitted_independently(diabetes, solver):
    X, y = diabetes
    Y = np.column_stack([y, -2 * y, y**1.5])
    joint = WeightedLasso(0.3, tol=1e-10, solver=solver).fit(X, Y)
    assert joint.coef_.shape == (3, X.shape[1])
    assert joint.intercept_.shape == joint.dual_gap_.shape == (3,)
    assert len(joint.history_) == 3
    for number, target in enumerate(Y.T):
        single = WeightedLasso(0.3, tol=1e-10, solver=solver).fit(X, target)
        np.testing.assert_allclose(joint.coef_[number], single.coef_)
        np.testing.assert_allclose(joint.predict(X)[:, number], single.predict(X))


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_may_be_a_function_of_the_data(diabetes, solver):
    X, y = diabetes

    def spread(X):
        return np.std(X, axis=0) * 20

    from_function = WeightedLasso(0.3, weights=spread, solver=solver).fit(X, y)
    from_array = WeightedLasso(0.3, weights=spread(X), solver=solver).fit(X, y)
    np.testing.assert_array_equal(from_function.coef_, from_array.coef_)


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_reuses_the_coefficients_and_does_not_change_them(diabetes, solver):
    X, y = diabetes
    model = WeightedLasso(0.3, tol=1e-8, warm_start=True, solver=solver).fit(X, y)
    first = model.coef_
    kept = first.copy()
    assert model.n_iter_ > 0
    assert model.fit(X, y).n_iter_ == 0
    model.set_params(alpha=0.1).fit(X, y)
    np.testing.assert_array_equal(first, kept)
    cold = WeightedLasso(0.1, tol=1e-8, solver=solver).fit(X, y)
    np.testing.assert_allclose(model.coef_, cold.coef_, atol=1e-2)
    narrower = model.fit(X[:, :4], y)  # another shape starts cold
    assert narrower.coef_.shape == (4,)


@pytest.mark.parametrize("solver", SOLVERS)
def test_unreached_tolerance_warns_and_reports_the_gap(solver):
    X, y = make_regression(100, 500, n_informative=50, noise=1.0, random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model = WeightedLasso(0.01, max_iter=1, tol=1e-12, solver=solver).fit(X, y)
    assert model.dual_gap_ > 0


@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": -1},
        {"l1_ratio": 2},
        {"tol": -1},
        {"max_iter": 0},
        {"weights": [1.0, -1.0] + 8 * [1.0]},
        {"weights": [1.0]},
        {"weights": 10 * [np.nan]},
        {"weights": "heavy"},
        {"fit_intercept": "yes"},
        {"solver": "newton"},
    ],
)
def test_bad_parameters_raise_from_fit_and_leave_it_unfitted(diabetes, parameters):
    model = WeightedLasso(**parameters)
    with pytest.raises(ValueError, match=next(iter(parameters))):
        model.fit(*diabetes)
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("sample_weight", [[1.0], -np.ones(442), np.zeros(442), 442 * [np.nan]])
def test_bad_sample_weights_are_refused(diabetes, sample_weight):
    with pytest.raises(ValueError, match=r"(?i)sample.?weight|NaN"):
        WeightedLasso().fit(*diabetes, sample_weight=sample_weight)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_interrupted_fit_leaves_the_earlier_one(diabetes, solver):
    X, y = diabetes

    class Interrupt:
        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            raise KeyboardInterrupt

        def teardown(self, estimator, context):
            pass

    model = WeightedLasso(0.3, solver=solver).fit(X, y)
    model.set_callbacks(Interrupt())
    before = dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:, :5], y)
    assert vars(model) == before
    assert model.predict(X).shape == y.shape


@pytest.mark.parametrize("solver", SOLVERS)
def test_callbacks_see_a_usable_model_at_each_iteration(diabetes, solver):
    X, y = diabetes
    monitor = ScoringMonitor(scoring="r2")
    model = WeightedLasso(0.01, tol=1e-12, solver=solver).set_callbacks(monitor).fit(X, y)
    scores = monitor.get_logs().data_as_pandas["r2"].dropna()
    assert len(scores) >= model.n_iter_
    assert scores.iloc[-1] == pytest.approx(model.score(X, y))


def test_pipeline_grid_search_and_feature_selection(diabetes):
    X, y = diabetes
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    pipeline = make_pipeline(StandardScaler(), WeightedLasso())
    search = GridSearchCV(pipeline, {"weightedlasso__alpha": [0.1, 1.0, 10.0]}, n_jobs=2)
    search.fit(frame, y)
    assert search.best_score_ > 0.4
    selector = SelectFromModel(WeightedLasso(2.0)).set_output(transform="pandas")
    selected = selector.fit_transform(frame, y)
    assert 0 < selected.shape[1] < X.shape[1]


def test_path_equals_scikit_learn(diabetes):
    X, y = diabetes
    alphas, coefs, _ = lasso_path(X, y, eps=1e-2, alphas=20, tol=1e-10)
    path = weighted_lasso_path(X, y, eps=1e-2, n_alphas=20, tol=1e-10)
    np.testing.assert_allclose(path.alphas, alphas)
    np.testing.assert_allclose(path.coefs, coefs, atol=1e-3)
    assert path.success
    assert np.all(path.dual_gaps <= 1e-10 * (y @ y) / (2 * len(y)))
    assert np.all(np.diff(path.alphas) < 0)


def test_path_of_complex_data_with_intercept():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 60)) + 1j * rng.standard_normal((40, 60))
    y = X[:, 0] * (1 + 2j) + 3j + 0.1 * rng.standard_normal(40)
    path = weighted_lasso_path(X, y, n_alphas=10, eps=0.05, fit_intercept=True, tol=1e-9)
    assert path.coefs.dtype == np.complex128
    assert abs(path.coefs[0, -1] - (1 + 2j)) < 0.3
    assert abs(path.intercepts[-1] - 3j) < 0.5
    alone = coordinate_descent(X, y, L1(path.alphas[-1]), fit_intercept=True, tol=1e-9)
    np.testing.assert_allclose(path.coefs[:, -1], alone.x, atol=1e-5)


def test_path_sorts_given_strengths_and_refuses_bad_ones(diabetes):
    X, y = diabetes
    path = weighted_lasso_path(X, y, alphas=[0.1, 1.0, 0.5])
    np.testing.assert_array_equal(path.alphas, [1.0, 0.5, 0.1])
    for bad in ([], [-1.0], [np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="alphas"):
            weighted_lasso_path(X, y, alphas=bad)


def test_cross_validation_equals_scikit_learn(diabetes):
    X, y = diabetes
    cv = KFold(4, shuffle=True, random_state=0)
    ours = WeightedLassoCV(alphas=15, eps=1e-2, cv=cv, tol=1e-9).fit(X, y)
    theirs = LassoCV(alphas=15, eps=1e-2, cv=cv, tol=1e-9).fit(X, y)
    np.testing.assert_allclose(ours.alphas_, theirs.alphas_)
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-5)
    assert ours.alpha_ == theirs.alpha_
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-3)


def test_cross_validation_on_sparse_data_with_sample_weights(diabetes):
    X, y = diabetes
    X = np.where(np.abs(X) > 0.03, X, 0)
    sample_weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    dense = WeightedLassoCV(alphas=8, tol=1e-10).fit(X, y, sample_weight)
    from_sparse = WeightedLassoCV(alphas=8, tol=1e-10).fit(sparse.csr_array(X), y, sample_weight)
    np.testing.assert_allclose(from_sparse.mse_path_, dense.mse_path_, rtol=1e-6)
    np.testing.assert_allclose(from_sparse.coef_, dense.coef_, rtol=1e-4, atol=1e-4)


def test_one_standard_error_rule_takes_the_largest_strength_within_it(diabetes):
    X, y = diabetes
    least = WeightedLassoCV(alphas=30).fit(X, y)
    sparser = clone(least).set_params(selection_rule="1se").fit(X, y)
    mean = least.mse_path_.mean(axis=1)
    best = np.argmin(mean)
    bound = mean[best] + least.mse_path_[best].std(ddof=1) / np.sqrt(5)
    assert sparser.alpha_ == least.alphas_[mean <= bound].max()
    assert sparser.alpha_ > least.alpha_


def test_targets_share_one_strength(diabetes):
    X, y = diabetes
    Y = np.column_stack([y, y[::-1]])
    model = WeightedLassoCV(alphas=5).fit(X, Y)
    singles = [WeightedLassoCV(alphas=model.alphas_).fit(X, target).mse_path_ for target in Y.T]
    np.testing.assert_allclose(model.mse_path_, np.mean(singles, axis=0), rtol=1e-4)
    assert model.coef_.shape == (2, X.shape[1])


def test_groups_reach_the_splitter_by_metadata_routing(diabetes):
    X, y = diabetes
    groups = np.arange(len(y)) % 3
    with sklearn.config_context(enable_metadata_routing=True):
        model = WeightedLassoCV(alphas=5, cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert model.mse_path_.shape == (5, 3)
    with pytest.raises(ValueError, match="groups"):
        WeightedLassoCV(alphas=5, cv=GroupKFold(3)).fit(X, y, groups=groups)


def test_automatic_grid_needs_an_l1_part(diabetes):
    with pytest.raises(ValueError, match="l1_ratio > 0"):
        WeightedLassoCV(l1_ratio=0).fit(*diabetes)
    with pytest.raises(ValueError, match="l1_ratio > 0"):
        weighted_lasso_path(*diabetes, l1_ratio=0)


@pytest.mark.parametrize("options", [{"eps": 2.0}, {"n_alphas": 0}, {"tol": -1.0}, {"max_iter": 0}])
def test_path_refuses_bad_options(diabetes, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        weighted_lasso_path(*diabetes, **options)


def test_left_out_errors_are_weighted(diabetes):
    X, y = diabetes
    fold = (np.arange(300), np.arange(300, 442))
    sample_weight = np.random.default_rng(0).uniform(0, 2, 442)
    model = WeightedLassoCV(alphas=[0.5], cv=[fold], tol=1e-10).fit(X, y, sample_weight)
    fitted = WeightedLasso(0.5, tol=1e-10).fit(X[:300], y[:300], sample_weight[:300])
    squared = (y[300:] - fitted.predict(X[300:])) ** 2
    assert model.mse_path_[0, 0] == pytest.approx(np.average(squared, weights=sample_weight[300:]))


def test_small_targets_get_a_grid_of_their_own(diabetes):
    X, y = diabetes
    usual = WeightedLassoCV(alphas=5, cv=3).fit(X, y)
    small = WeightedLassoCV(alphas=5, cv=3).fit(X, 1e-17 * y)
    np.testing.assert_allclose(small.alphas_, 1e-17 * usual.alphas_)
    np.testing.assert_allclose(small.coef_, 1e-17 * usual.coef_, rtol=1e-3)


def test_cross_validation_refits_from_scratch(diabetes):
    X, y = diabetes
    model = WeightedLassoCV(alphas=5).fit(X, y)
    again = model.fit(X[:, :6], y)
    assert again.coef_.shape == (6,)
    assert again.n_features_in_ == 6


def test_constant_target_in_cross_validation(diabetes):
    X, _ = diabetes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = WeightedLassoCV(alphas=3).fit(X, np.full(len(X), 2.0))
    assert not model.coef_.any()
    assert model.intercept_ == pytest.approx(2.0)


@pytest.mark.parametrize("solver", ["cd", "bcd"])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("case", ["wide", "tall", "badly scaled"])
def test_gap_without_a_penalty_is_not_made_of_rounding(case, positive, solver):
    """Unpenalised columns leave a remainder of the target that may be all rounding."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        n_samples, n_features = (29, 30) if case == "wide" else (40, 12)
        X = rng.standard_normal((n_samples, n_features)) * 10 ** rng.uniform(-1, 1, n_features)
        if case == "badly scaled":
            X[:, 3] *= 1e-17
        y = rng.standard_normal(n_samples) + 10
        model = WeightedLasso(alpha=0, positive=positive, solver=solver, tol=1e-8).fit(X, y)
        units = np.linalg.norm(X, axis=0)
        design = np.column_stack([X / units, np.ones(n_samples)])
        lower = np.append(np.full(n_features, 0.0 if positive else -np.inf), -np.inf)
        best = optimize.lsq_linear(design, y, (lower, np.inf), tol=1e-13).cost / n_samples
        excess = 0.5 * np.mean((y - model.predict(X)) ** 2) - best
        assert excess <= 1e-8 * np.var(y)
        assert model.dual_gap_ >= excess - 1e-12 * np.var(y)
