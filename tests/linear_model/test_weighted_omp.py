"""The greedy estimators: attributes, limits, targets, cross-validation, progress, errors."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.callback import ProgressBar
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import OrthogonalMatchingPursuit
from sklearn.metrics import mean_absolute_error, mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sparseopt.linear_model import WeightedOMP, WeightedOMPCV, weighted_omp_path

KINDS = [
    {"loss": "omp"},
    {"loss": "lasso", "lam": 2.0},
    {"loss": "lasso", "penalty": "l0", "lam": 2.0},
    {"loss": "sqrt_lasso"},
    {"loss": "sqrt_lasso", "penalty": "l0", "lam": 0.1},
    {"loss": "lad_lasso", "lam": 2.0},
    {"loss": "lad_lasso", "penalty": "l0", "lam": 1.0},
]


def data(seed=0, m=80, n=60, noise=0.3, n_targets=None):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, n)) * rng.uniform(0.2, 5, n) + rng.standard_normal(n)
    coef = np.zeros((n_targets or 1, n))
    for row in coef:
        row[rng.choice(n, 4, replace=False)] = rng.choice([-1, 1], 4) * rng.uniform(1, 2, 4)
    Y = X @ coef.T + 5 + noise * rng.standard_normal((m, n_targets or 1))
    return X, Y if n_targets else Y[:, 0], coef if n_targets else coef[0]


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_attributes_are_those_of_the_path(kind):
    X, y, _ = data()
    model = WeightedOMP(**kind).fit(X, y)
    path = weighted_omp_path(X, y, **kind, fit_intercept=True)
    np.testing.assert_array_equal(model.coef_, path.x)
    np.testing.assert_array_equal(model.path_coefs_.toarray(), path.coefs.toarray())
    np.testing.assert_array_equal(model.path_coefs_.toarray()[-1], model.coef_)
    np.testing.assert_array_equal(model.support_, path.support)
    np.testing.assert_array_equal(model.losses_, path.losses)
    np.testing.assert_array_equal(model.deltas_, path.deltas)
    assert model.stop_reason_ == path.stop_reason
    assert model.lam_ == path.lam
    assert model.intercept_ == path.intercept
    assert type(model.n_iter_) is int
    assert model.n_iter_ == path.nit == len(model.support_) > 0
    assert len(model.history_["objective"]) >= model.n_iter_
    np.testing.assert_allclose(model.predict(X), X @ model.coef_ + model.intercept_)


def test_default_finds_the_support():
    for seed in range(5):
        X, y, coef = data(seed)
        model = WeightedOMP().fit(X, y)
        assert set(model.support_) == set(np.flatnonzero(coef))
        assert model.intercept_ == pytest.approx(5, abs=1)


def test_plain_omp_is_scikit_learns():
    X, y, _ = data()
    for limit in ({"n_nonzero_coefs": 7}, {}, {"tol": 30.0}):
        model = WeightedOMP(loss="omp", **limit).fit(X, y)
        # scikit-learn does not scale the columns: give it unit ones
        norms = np.linalg.norm(X - X.mean(axis=0), axis=0)
        expected = OrthogonalMatchingPursuit(**limit).fit(X / norms, y)
        np.testing.assert_allclose(model.coef_ * norms, expected.coef_, atol=1e-8)
        np.testing.assert_allclose(model.intercept_, expected.intercept_, atol=1e-8)
        for penalty in ("l0", "l1"):
            model = WeightedOMP(loss="omp", penalty=penalty, normalize=False, **limit).fit(X, y)
            expected = OrthogonalMatchingPursuit(**limit).fit(X, y)
            np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_independent(kind):
    X, Y, _ = data(1, n_targets=3)
    model = WeightedOMP(**kind).fit(X, Y)
    assert model.coef_.shape == (3, 60)
    assert model.intercept_.shape == (3,)
    assert model.predict(X).shape == Y.shape
    for t in range(3):
        single = WeightedOMP(**kind).fit(X, Y[:, t])
        np.testing.assert_allclose(model.coef_[t], single.coef_, atol=1e-12)
        np.testing.assert_array_equal(model.support_[t], single.support_)
        assert model.stop_reason_[t] == single.stop_reason_
    column = WeightedOMP(**kind).fit(X, Y[:, :1])
    assert column.coef_.shape == (1, 60)
    assert column.predict(X).shape == (80, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_integer_sample_weights_are_repetitions(kind):
    X, y, _ = data(2)
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = WeightedOMP(**kind).fit(X, y, sample_weight=counts)
    repeated = WeightedOMP(**kind).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_array_equal(weighted.support_, repeated.support_)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-8)
    assert weighted.intercept_ == pytest.approx(repeated.intercept_, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_and_single_precision(kind):
    X, y, _ = data(3)
    X[np.abs(X) < 1] = 0
    dense = WeightedOMP(**kind).fit(X, y)
    for container in (sparse.csr_array, sparse.csc_matrix):
        model = WeightedOMP(**kind).fit(container(X), y)
        np.testing.assert_array_equal(model.support_, dense.support_)
        np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-8)
        np.testing.assert_allclose(model.predict(container(X)), dense.predict(X), atol=1e-7)
    single = WeightedOMP(**kind).fit(X.astype(np.float32), y.astype(np.float32))
    assert single.coef_.dtype == single.predict(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(single.coef_, dense.coef_, atol=1e-3)


def test_weights_steer_the_selection():
    X, y, coef = data(4)
    hidden = np.flatnonzero(coef)[0]
    weights = np.ones(60)
    weights[hidden] = np.inf
    assert hidden not in WeightedOMP(weights=weights).fit(X, y).support_
    by_function = WeightedOMP(weights=lambda X: np.linspace(0.5, 2, X.shape[1])).fit(X, y)
    by_array = WeightedOMP(weights=np.linspace(0.5, 2, 60)).fit(X, y)
    np.testing.assert_array_equal(by_function.coef_, by_array.coef_)


def test_path_prefixes_are_shorter_fits():
    X, y, _ = data(5)
    model = WeightedOMP("lasso", lam=0.0, n_nonzero_coefs=6).fit(X, y)
    for k in range(1, 7):
        shorter = WeightedOMP("lasso", lam=0.0, n_nonzero_coefs=k).fit(X, y)
        np.testing.assert_allclose(model.path_coefs_.toarray()[k], shorter.coef_, atol=1e-12)
        assert model.path_intercepts_[k] == pytest.approx(shorter.intercept_)


def test_unreached_tolerance_warns():
    X, y, _ = data()
    with pytest.warns(ConvergenceWarning, match="squared residual norm"):
        WeightedOMP("lasso", lam=0.0, tol=1e-8, max_iter=2).fit(X, y)


def test_grid_search_in_a_pipeline():
    X, y, coef = data(6)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), WeightedOMP(penalty="l0", lam=0.0)),
        {"weightedomp__n_nonzero_coefs": [1, 4, 10]},
        cv=3,
    ).fit(X, y)
    assert search.best_params_ == {"weightedomp__n_nonzero_coefs": 4}
    selected = SelectFromModel(WeightedOMP()).fit(X, y).get_support()
    np.testing.assert_array_equal(np.flatnonzero(selected), np.flatnonzero(coef))


@pytest.mark.parametrize("estimator", [WeightedOMP(), WeightedOMPCV(lams=[0.1], cv=2)])
def test_pickle(estimator):
    X, y, _ = data()
    model = estimator.fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


class StopAfter:
    """A callback of scikit-learn that counts steps and stops the fit."""

    def __init__(self, n_steps):
        self.n_steps, self.n_seen, self.supports, self.intercepts = n_steps, 0, [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        if context.parent is None:
            return False
        self.supports.append(np.count_nonzero(fitted_estimator.coef_))
        self.intercepts.append(fitted_estimator.intercept_)
        assert fitted_estimator.predict(X).shape == (80,)
        self.n_seen += 1
        return self.n_seen >= self.n_steps


def test_a_callback_sees_each_step_and_may_stop():
    X, y, _ = data()
    callback = StopAfter(3)
    model = WeightedOMP("lasso", lam=0.0).set_callbacks(callback).fit(X, y)
    assert callback.supports == [1, 2, 3]
    assert model.stop_reason_ == "callback"
    assert len(model.support_) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_sees_the_intercept_of_the_weighted_fit(kind):
    X, y, _ = data()
    y[:40] += 100
    sample_weight = np.random.default_rng(0).uniform(0.1, 3, 80) * np.repeat([0.1, 1], 40)
    callback = StopAfter(3)
    model = WeightedOMP(**kind).set_callbacks(callback).fit(X, y, sample_weight=sample_weight)
    expected = model.path_intercepts_[1:4]
    np.testing.assert_allclose(callback.intercepts[: len(expected)], expected, rtol=1e-9)


def test_progress_bar_runs(capsys):
    X, y, _ = data()
    for model in (WeightedOMP(n_nonzero_coefs=3), WeightedOMPCV(lams=[0.1], cv=2)):
        model.set_callbacks(ProgressBar()).fit(X, y)
        assert "WeightedOMP" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "huber"}, "'loss' parameter"),
        ({"penalty": "l2"}, "'penalty' parameter"),
        ({"lam": -1}, "'lam' parameter"),
        ({"n_nonzero_coefs": -1}, "'n_nonzero_coefs' parameter"),
        ({"weights": -np.ones(60)}, "weights must be >= 0"),
        ({"weights": np.ones(3)}, "weights must have shape"),
        ({"loss": "lasso"}, "lam='auto' is the noise-blind level"),
        ({"allow_removal": True}, "allow_removal=True needs penalty='l0'"),
    ],
)
def test_wrong_parameters_leave_the_estimator_as_it_was(parameters, message):
    X, y, _ = data()
    model = WeightedOMP().fit(X, y)
    before = model.coef_
    with pytest.raises(ValueError, match=message):
        model.set_params(**parameters).fit(X, y)
    assert model.coef_ is before


def test_complex_data_are_rejected():
    X, y, _ = data()
    with pytest.raises(ValueError, match="Complex data not supported"):
        WeightedOMP().fit(X + 1j, y)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "omp"},
        {"loss": "lasso", "lams": [0.0, 5.0, 50.0], "n_nonzero_coefs": 7},
        {"loss": "sqrt_lasso", "lams": [0.1, 0.3], "weights": np.linspace(0.5, 2, 60)},
        {"loss": "lad_lasso", "lams": [2.0, 8.0], "n_nonzero_coefs": 6},
    ],
)
def test_cv_scores_every_prefix_of_every_path(options):
    X, y, _ = data(7)
    folds = KFold(3)
    model = WeightedOMPCV(cv=folds, **options).fit(X, y)
    robust = options["loss"] == "lad_lasso"
    errors = model.mae_path_ if robust else model.mse_path_
    error = mean_absolute_error if robust else mean_squared_error
    assert np.all(np.diff(model.lams_) < 0) or len(model.lams_) == 1
    assert errors.shape[0] == len(model.lams_)
    assert errors.shape[2] == 3
    parameters = {key: value for key, value in options.items() if key != "lams"}
    for number, (train, test) in enumerate(folds.split(X)):
        for row, lam in zip(errors[:, :, number], model.lams_, strict=True):
            longest = 6 if lam == 0 else None  # a tenth of the features
            single = WeightedOMP(**{"n_nonzero_coefs": longest, **parameters}, lam=lam)
            single.fit(X[train], y[train])
            for k, found in enumerate(row):
                last = min(k, single.path_coefs_.shape[0] - 1)
                coef = single.path_coefs_.toarray()[last]
                expected = error(y[test], X[test] @ coef + single.path_intercepts_[last])
                assert found == pytest.approx(expected, rel=1e-9)
    mean = errors.mean(axis=2)
    row, steps = np.unravel_index(np.argmin(mean), mean.shape)
    assert (model.lam_, model.n_nonzero_coefs_) == (model.lams_[row], steps)
    refit = WeightedOMP(**{**parameters, "n_nonzero_coefs": int(steps)}, lam=model.lam_).fit(X, y)
    np.testing.assert_array_equal(model.coef_, refit.coef_)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind["loss"] != "omp"])
def test_cv_automatic_grid_starts_where_nothing_enters(kind):
    X, y, coef = data(8)
    options = {name: value for name, value in kind.items() if name != "lam"}
    model = WeightedOMPCV(**options, lams=4, cv=3).fit(X, y)
    assert model.lams_.shape == (4,)
    assert model.lams_[-1] == pytest.approx(1e-3 * model.lams_[0])
    assert WeightedOMP(**options, lam=1.0001 * model.lams_[0]).fit(X, y).support_.size == 0
    assert WeightedOMP(**options, lam=0.4 * model.lams_[0]).fit(X, y).support_.size > 0
    assert set(np.flatnonzero(coef)) <= set(model.support_)


def test_cv_one_standard_error_takes_a_shorter_path():
    n_shorter = 0
    for seed in range(6):
        X, y, _ = data(seed, noise=8.0)
        model = WeightedOMPCV("omp", n_nonzero_coefs=20, selection_rule="1se").fit(X, y)
        mean = model.mse_path_[0].mean(axis=1)
        best = int(np.argmin(mean))
        margin = model.mse_path_[0, best].std(ddof=1) / np.sqrt(5)
        assert model.n_nonzero_coefs_ == np.flatnonzero(mean <= mean[best] + margin)[0]
        n_shorter += model.n_nonzero_coefs_ < best
    assert n_shorter > 0


def test_cv_does_not_depend_on_n_jobs_and_takes_several_targets():
    X, Y, _ = data(10, n_targets=2)
    counts = np.random.default_rng(0).uniform(0.5, 2, len(Y))
    one, two = (
        WeightedOMPCV("sqrt_lasso", lams=3, cv=3, n_jobs=n).fit(X, Y, sample_weight=counts)
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one.mse_path_, two.mse_path_)
    np.testing.assert_array_equal(one.coef_, two.coef_)
    assert one.coef_.shape == (2, 60)


def test_cv_weights_the_left_out_errors_and_calls_weights_on_each_fold():
    X, y, _ = data(3, noise=3.0)
    sample_weight = np.random.default_rng(0).uniform(0.1, 3, 80)
    train, test = np.arange(50), np.arange(50, 80)

    def weights(X):
        return np.random.default_rng(len(X)).uniform(0.1, 10, 60)

    parameters = {"weights": weights, "n_nonzero_coefs": 5}
    model = WeightedOMPCV("lasso", lams=[10.0], cv=[(train, test)], **parameters)
    model.fit(X, y, sample_weight=sample_weight)
    single = WeightedOMP("lasso", lam=10.0, **parameters)
    single.fit(X[train], y[train], sample_weight=sample_weight[train])
    error = mean_squared_error(y[test], single.predict(X[test]), sample_weight=sample_weight[test])
    assert model.mse_path_[0, -1, 0] == pytest.approx(error, rel=1e-9)


def test_cv_warns_of_an_unreached_tolerance_at_the_end_only():
    X, y, _ = data()
    with pytest.warns(ConvergenceWarning, match="squared residual norm") as caught:
        WeightedOMPCV(lams=4, cv=3, tol=1e-6).fit(X, y)
    assert len(caught) == 1


def test_cv_constant_target_gives_the_constant_model():
    X, _, _ = data()
    model = WeightedOMPCV(cv=3).fit(X, np.full(80, 3.0))
    np.testing.assert_allclose(model.predict(X), 3.0)
    assert model.support_.size == 0


@pytest.mark.parametrize("lams", [[-1.0], [np.nan], [], [[1.0]]])
def test_cv_wrong_grid(lams):
    X, y, _ = data()
    with pytest.raises(ValueError, match="lams must be"):
        WeightedOMPCV(lams=lams).fit(X, y)
