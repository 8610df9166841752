"""SingleIndexRegressor: what it recovers, invariances, links, weights and bad input."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import special_ortho_group
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from sparseopt._core._hermite import hermite
from sparseopt.linear_model import SingleIndexRegressor
from sparseopt.testing import check_sparseopt_estimator

LINKS = ["hermite", "spline", "isotonic", "knn", DecisionTreeRegressor(max_depth=4, random_state=0)]
CHEAP = {"n_chains": 6, "max_iter": 40, "burn_in": 10, "random_state": 0}


def make(link, n_samples=400, n_features=6, noise=0.2, seed=0):
    """Return X, y and the direction."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(n_features)
    theta /= np.linalg.norm(theta)
    X = rng.standard_normal((n_samples, n_features))
    return X, link(X @ theta) + noise * rng.standard_normal(n_samples), theta


def h(degree):
    return lambda u: hermite(u, degree)


FUNCTIONS = {
    "linear": lambda u: u,
    "tanh": lambda u: np.tanh(2 * u),
    "square": lambda u: -(u**2),
    "absolute": np.abs,
    "sine": lambda u: np.sin(2 * u),
    "h3": h(3),
    "minus h4": lambda u: -hermite(u, 4),
}


# -- recovery --------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_one_default_finds_every_link(name):
    X, y, theta = make(FUNCTIONS[name], n_samples=1000, n_features=10)
    model = SingleIndexRegressor(random_state=0).fit(X, y)
    assert abs(model.coef_ @ theta) > 0.98
    assert np.linalg.norm(model.coef_) == pytest.approx(1)
    assert np.corrcoef(X @ model.coef_, y)[0, 1] >= 0
    assert model.loss_ < 1.6 * 0.2**2 + 0.02


@pytest.mark.parametrize("seed", [0, 5])
def test_a_cubic_link_in_many_dimensions(seed):
    X, y, theta = make(h(3), n_samples=2000, n_features=100, noise=0.5, seed=seed)
    model = SingleIndexRegressor(random_state=seed).fit(X, y)
    new = np.random.default_rng(seed + 1).standard_normal((20_000, 100))
    truth = hermite(new @ theta, 3)
    explained = 1 - np.mean((model.predict(new) - truth) ** 2) / truth.var()
    signal = truth.var() / (truth.var() + 0.25)
    total = 1 - (np.mean((model.predict(new) - truth) ** 2) + 0.25) / (truth.var() + 0.25)
    assert explained > 0.9
    assert total > 0.95 * signal


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("degree", "n_features", "n_samples"), [(3, 50, 5000), (4, 50, 2500)])
def test_auto_is_the_best_of_its_starts(degree, n_features, n_samples):
    X, y, _ = make(h(degree), n_samples, n_features, 0.3, seed=1000)
    auto = SingleIndexRegressor(random_state=0).fit(X, y)
    assert set(auto.candidate_scores_) == {"ols", "phd", "sir", "save", "langevin_3", "langevin_4"}
    best = max(auto.candidate_scores_.values())
    assert auto.candidate_scores_[auto.start_] == best
    singles = {
        "sir": {"solver": "sir"},
        "save": {"solver": "save"},
        "langevin_3": {"solver": "langevin", "information_exponent": 3},
        "langevin_4": {"solver": "langevin", "information_exponent": 4},
        "partial_trace_1": {"solver": "partial_trace", "information_exponent": 1},
    }
    for name, parameters in singles.items():
        single = SingleIndexRegressor(random_state=0, **parameters).fit(X, y)
        assert list(single.candidate_scores_) == [name]
        score = single.candidate_scores_[name]
        assert best >= score - 1e-12
        if name in auto.candidate_scores_:
            assert score == auto.candidate_scores_[name]


@pytest.mark.parametrize(
    ("name", "exponent"), [("tanh", 1), ("square", 2), ("h3", 3), ("minus h4", 4)]
)
def test_the_exponent_is_estimated(name, exponent):
    X, y, _ = make(FUNCTIONS[name], n_samples=3000, n_features=10, noise=0.1)
    assert (
        SingleIndexRegressor(solver="save", random_state=0).fit(X, y).information_exponent_
        == exponent
    )


def test_a_given_exponent_chooses_the_starts():
    X, y, _ = make(h(3), 1500, 8)
    model = SingleIndexRegressor(information_exponent=3, random_state=0).fit(X, y)
    assert set(model.candidate_scores_) == {"partial_trace_3", "sir", "save", "langevin_3"}
    assert model.information_exponent_ == 3
    model.set_params(information_exponent=1).fit(X, y)
    assert set(model.candidate_scores_) == {"ols", "sir", "save"}
    model.set_params(information_exponent=2).fit(X, y)
    assert set(model.candidate_scores_) == {"phd", "sir", "save"}
    model.set_params(information_exponent="auto", solver="partial_trace").fit(X, y)
    assert set(model.candidate_scores_) == {f"partial_trace_{k}" for k in (1, 2, 3, 4)}


@pytest.mark.parametrize("solver", ["langevin", "sgd", "partial_trace", "sir"])
def test_solvers_without_refinement(solver):
    X, y, theta = make(h(3), 4000, 10, 0.1)
    model = SingleIndexRegressor(
        solver=solver, information_exponent=3, refine=False, random_state=0
    ).fit(X, y)
    assert abs(model.coef_ @ theta) > 0.7
    assert model.n_iter_ == 1
    refined = model.set_params(refine=True).fit(X, y)
    assert abs(refined.coef_ @ theta) > 0.999
    assert np.all(np.diff(refined.history_["objective"]) <= 0)


def test_features_that_are_not_isotropic():
    X, y, _ = make(h(3), 2000, 8)
    mixing = np.diag(np.arange(1.0, 9)) + 0.5
    Z = X @ mixing + 10
    rng = np.random.default_rng(3)
    coef = rng.standard_normal(8)
    coef /= np.linalg.norm(coef)
    u = (Z - Z.mean(axis=0)) @ coef
    y = hermite(u / u.std(), 3) + 0.1 * rng.standard_normal(2000)
    model = SingleIndexRegressor(random_state=0).fit(Z, y)
    assert abs(model.coef_ @ coef) > 0.99
    assert model.score(Z, y) > 0.95


def test_heavy_tails_of_the_target_need_ranks():
    X, y, theta = make(lambda u: 2 * u, 2000, 20, 0.2)
    y = np.sinh(3 * y)
    starts = {
        transform: SingleIndexRegressor(
            solver="partial_trace",
            information_exponent=1,
            label_transform=transform,
            refine=False,
        )
        .fit(X, y)
        .coef_
        for transform in ("identity", "rank")
    }
    assert abs(starts["rank"] @ theta) > 0.98 > abs(starts["identity"] @ theta)
    logarithm = SingleIndexRegressor(
        solver="partial_trace", information_exponent=1, label_transform=np.arcsinh, refine=False
    ).fit(X, y)
    assert abs(logarithm.coef_ @ theta) > 0.98


# -- invariances -----------------------------------------------------------------------


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("solver", ["sir", "save", "partial_trace"])
def test_rotated_features_rotate_the_direction(solver, whiten):
    X, y, _ = make(FUNCTIONS["sine"], 600, 5)
    X = X * [1, 2, 1, 1, 3] if whiten else X
    rotation = special_ortho_group.rvs(5, random_state=0)
    model = SingleIndexRegressor(solver=solver, whiten=whiten, random_state=0)
    coef = model.fit(X, y).coef_
    assert_allclose(model.fit(X @ rotation, y).coef_, coef @ rotation, atol=1e-8)
    unrefined = model.set_params(refine=False).fit(X, y).coef_
    assert_allclose(model.fit(X @ rotation, y).coef_, unrefined @ rotation, atol=1e-8)


def test_units_do_not_matter():
    X, y, _ = make(h(3), 300, 6)
    model = SingleIndexRegressor(**CHEAP).fit(X, y)
    scaled = SingleIndexRegressor(**CHEAP).fit(4 * X, 1024 * y)
    assert_allclose(scaled.coef_, model.coef_, rtol=1e-9)
    assert_allclose(scaled.predict(4 * X), 1024 * model.predict(X), rtol=1e-9)
    assert scaled.start_ == model.start_
    shifted = SingleIndexRegressor(**CHEAP).fit(X + 100, y + 1e5)
    assert_allclose(shifted.predict(X + 100), model.predict(X) + 1e5, rtol=1e-9)


@pytest.mark.parametrize("name", ["h3", "square", "tanh"])
def test_the_negative_target_has_the_negative_model(name):
    X, y, _ = make(FUNCTIONS[name], 600, 5)
    model = SingleIndexRegressor(solver="save", random_state=0)
    prediction, coef = model.fit(X, y).predict(X), model.coef_
    assert_allclose(model.fit(X, -y).predict(X), -prediction, atol=1e-6)
    assert_allclose(model.coef_, -coef, atol=1e-6)


def test_workers_and_order_of_rows_do_not_matter():
    X, y, _ = make(h(3), 300, 6)
    model = SingleIndexRegressor(**CHEAP).fit(X, y)
    order = np.random.default_rng(0).permutation(300)
    for other in (
        SingleIndexRegressor(**CHEAP, n_jobs=2).fit(X, y),
        SingleIndexRegressor(**CHEAP).fit(X[order], y[order]),
    ):
        assert_array_equal(other.coef_, model.coef_)
        assert_array_equal(other.predict(X), model.predict(X))
        assert other.candidate_scores_ == model.candidate_scores_


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize("transform", ["identity", "rank"])
def test_integer_weights_are_repeated_rows(link, transform):
    X, y, _ = make(FUNCTIONS["sine"], 120, 4)
    y = np.round(y, 1)
    counts = np.random.default_rng(1).integers(0, 4, 120)
    model = SingleIndexRegressor(link=link, label_transform=transform, **CHEAP)
    weighted = model.fit(X, y, sample_weight=counts).predict(X)
    scores, coef = model.candidate_scores_, model.coef_
    order = np.random.default_rng(2).permutation(counts.sum())
    model.fit(np.repeat(X, counts, axis=0)[order], np.repeat(y, counts)[order])
    assert_array_equal(model.coef_, coef)
    assert_allclose(model.predict(X), weighted, rtol=1e-12, atol=1e-12)
    assert scores == pytest.approx(model.candidate_scores_, rel=1e-12)
    plain = model.fit(X, y).predict(X)
    assert not np.allclose(plain, weighted, atol=1e-3)


def test_the_unit_of_weights_does_not_matter():
    X, y, _ = make(h(3), 200, 5)
    weight = np.random.default_rng(0).random(200)
    model = SingleIndexRegressor(**CHEAP)
    coef = model.fit(X, y, sample_weight=weight).coef_
    assert_allclose(model.fit(X, y, sample_weight=weight / 64).coef_, coef, rtol=1e-12)


# -- links -----------------------------------------------------------------------------


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_links_fit_a_monotone_function(link):
    X, y, theta = make(FUNCTIONS["tanh"], 800, 5, noise=0.1)
    model = SingleIndexRegressor(link=link, random_state=0).fit(X, y)
    new = np.random.default_rng(1).standard_normal((500, 5))
    truth = np.tanh(2 * new @ theta)
    assert 1 - np.mean((model.predict(new) - truth) ** 2) / truth.var() > 0.9
    assert_array_equal(model.link_.predict(model.transform(new)), model.predict(new))
    assert model.loss_ == pytest.approx(np.mean((y - model.predict(X)) ** 2), rel=1e-9)


def test_isotonic_links_do_not_decrease():
    X, y, _ = make(FUNCTIONS["tanh"], 300, 4)
    model = SingleIndexRegressor(link="isotonic", random_state=0).fit(X, -y)
    assert np.all(np.diff(model.link_.predict(np.linspace(-5, 5, 50))) >= 0)


def test_polynomials_continue_as_straight_lines():
    X, y, _ = make(h(3), 400, 4)
    model = SingleIndexRegressor(random_state=0).fit(X, y)
    beyond = model.link_.predict(np.array([10.0, 11.0, 12.0]))
    assert beyond[2] - beyond[1] == pytest.approx(beyond[1] - beyond[0])
    edge = np.max(model.transform(X))
    below, at = model.link_.predict(np.array([edge - 1e-6, edge]))
    assert beyond[1] - beyond[0] == pytest.approx((at - below) / 1e-6, rel=1e-3)
    assert abs(beyond[1] - beyond[0]) > 1


def test_a_link_without_weights():
    X, y, _ = make(FUNCTIONS["tanh"], 200, 4)
    model = SingleIndexRegressor(link=KNeighborsRegressor(10), random_state=0)
    assert model.fit(X, y).score(X, y) > 0.8
    with pytest.raises(ValueError, match="does not take sample_weight"):
        model.fit(X, y, sample_weight=np.ones(200))


# -- p-values --------------------------------------------------------------------------


def test_p_values_tell_signal_from_noise():
    X, y, _ = make(FUNCTIONS["absolute"], 200, 4)
    options = {"solver": "save", "n_permutations": 19, "degree": 3}
    assert SingleIndexRegressor(**options, random_state=0).fit(X, y).p_value_ == 1 / 20
    assert SingleIndexRegressor(solver="save").fit(X, y).p_value_ is None
    noise = np.random.default_rng(1)
    p_values = [
        SingleIndexRegressor(**options, refine=False, random_state=seed)
        .fit(noise.standard_normal((80, 3)), noise.standard_normal(80))
        .p_value_
        for seed in range(20)
    ]
    assert np.mean(np.array(p_values) <= 0.1) <= 0.3
    assert np.mean(p_values) > 0.3


def test_p_values_do_not_depend_on_workers():
    X, y, _ = make(FUNCTIONS["linear"], 60, 3, noise=5.0)
    values = [
        SingleIndexRegressor(**CHEAP, n_permutations=4, n_jobs=n_jobs).fit(X, y).p_value_
        for n_jobs in (1, 2)
    ]
    assert values[0] == values[1]


# -- data of all kinds -----------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        SingleIndexRegressor(whiten=False, **CHEAP),
        SingleIndexRegressor(solver="sir", link="spline", random_state=0),
    ],
    ids=["without whitening", "sir and spline"],
)
def test_estimator_checks_of_other_settings(estimator):
    check_sparseopt_estimator(estimator)


def test_sparse_features_equal_dense_ones():
    X, y, _ = make(h(3), 300, 6)
    X[np.abs(X) < 0.3] = 0
    dense = SingleIndexRegressor(whiten=False, **CHEAP).fit(X, y)
    scarce = SingleIndexRegressor(whiten=False, **CHEAP).fit(sparse.csc_array(X), y)
    assert_allclose(scarce.coef_, dense.coef_, atol=1e-8)
    assert_allclose(scarce.predict(sparse.csr_array(X)), dense.predict(X), atol=1e-7)


@pytest.mark.parametrize("spread", [0, 2, 5, 8])
def test_units_of_features_may_differ_by_many_orders(spread):
    X, y, theta = make(h(3), 400, 6)
    units = np.logspace(-spread, spread, 6)
    constant = np.full((400, 1), 1e10 / 3)
    model = SingleIndexRegressor(**CHEAP).fit(np.hstack([X * units, constant]), y)
    assert model.score(np.hstack([X * units, constant]), y) > 0.9
    coef = model.coef_[:6] * units
    assert abs(coef @ theta) > 0.99 * np.linalg.norm(coef)


@pytest.mark.parametrize("scale", [1e-149, 1e149])
def test_data_of_extreme_scale(scale):
    X, y, theta = make(h(3), 300, 5)
    for factors in ((scale, 1.0), (1.0, scale)):
        model = SingleIndexRegressor(**CHEAP).fit(factors[0] * X, factors[1] * y)
        assert abs(model.coef_ @ theta) > 0.99
    for factors, name in (((scale**2, 1.0), "X"), ((1.0, scale**2), "y")):
        with pytest.raises(ValueError, match=f"The largest entry of {name} must be between"):
            SingleIndexRegressor(**CHEAP).fit(factors[0] * X, factors[1] * y)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("y", [np.full(50, 3.5), np.zeros(50), np.full(50, 0.1), np.full(49, -1e8)])
def test_a_constant_target(y):
    X = np.random.default_rng(0).standard_normal((len(y), 4))
    model = SingleIndexRegressor(random_state=0).fit(X, y)
    assert_allclose(model.predict(X), y, rtol=1e-12, atol=1e-12)
    assert np.linalg.norm(model.coef_) == pytest.approx(1)


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize(("n_samples", "n_features"), [(2, 1), (3, 5), (12, 1), (40, 30)])
def test_few_samples_fall_back_to_least_squares(link, n_samples, n_features):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features))
    y = X @ np.arange(1, n_features + 1)
    model = SingleIndexRegressor(link=link, random_state=0).fit(X, y)
    assert list(model.candidate_scores_) == ["ols"]
    assert np.all(np.isfinite(model.predict(X)))
    assert np.corrcoef(X @ model.coef_, y)[0, 1] > 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@settings(max_examples=25, deadline=None)
@given(
    n_samples=st.integers(2, 60),
    n_features=st.integers(1, 5),
    n_levels=st.integers(1, 4),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
    duplicate=st.booleans(),
    single=st.booleans(),
)
def test_discrete_and_degenerate_features(
    n_samples, n_features, n_levels, scale, duplicate, single
):
    rng = np.random.default_rng(n_samples * n_features)
    X = rng.integers(0, n_levels, (n_samples, n_features)) * scale
    if duplicate:
        X = np.hstack([X, X[:, :1]])
    X = X.astype(np.float32) if single else X
    y = rng.standard_normal(n_samples)
    model = SingleIndexRegressor(**CHEAP).fit(X, y)
    assert np.all(np.isfinite(model.predict(X)))
    assert model.coef_.dtype == X.dtype
    assert np.linalg.norm(model.coef_) == pytest.approx(1, rel=1e-5)
    # a polynomial of the training data is never worse than their mean
    assert model.loss_ <= y.var() * (1 + 1e-6)


def test_pipelines_searches_and_frames():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler(), SingleIndexRegressor(solver="sir"))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.4
    search = GridSearchCV(pipeline, {"singleindexregressor__degree": [1, 3]}, cv=2).fit(X, y)
    assert search.best_params_["singleindexregressor__degree"] in (1, 3)
    model = SingleIndexRegressor(solver="sir").set_output(transform="pandas").fit(X, y)
    frame = model.transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["singleindexregressor0"]
    assert_allclose(frame.to_numpy()[:, 0], X.to_numpy() @ model.coef_)
    stacked = make_pipeline(SingleIndexRegressor(solver="sir"), LinearRegression()).fit(X, y)
    assert stacked.score(X, y) > 0.4


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"kappa": 0}, "kappa"),
        ({"kappa": -1.0}, "kappa"),
        ({"burn_in": 100}, "burn_in must be less than max_iter"),
        ({"n_chains": 0}, "n_chains"),
        ({"degree": 0}, "degree"),
        ({"information_exponent": 0}, "information_exponent"),
        ({"information_exponent": 7}, "degree must be at least information_exponent"),
        ({"link": "cubic"}, "link"),
        ({"solver": "adam"}, "solver"),
        ({"average": "last"}, "average"),
        ({"label_transform": "log"}, "label_transform"),
        ({"label_transform": lambda y: y[:2]}, "label_transform"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"n_permutations": -1}, "n_permutations"),
    ],
)
def test_bad_parameters(parameters, complaint):
    X, y, _ = make(h(3), 40, 3)
    with pytest.raises(ValueError, match=complaint):
        SingleIndexRegressor(**parameters).fit(X, y)


def test_bad_data():
    X, y, _ = make(h(3), 40, 3)
    with pytest.raises(TypeError, match="whiten=True needs dense data"):
        SingleIndexRegressor().fit(sparse.csr_array(X), y)
    with pytest.raises(TypeError, match="solver='sgd' needs dense data"):
        SingleIndexRegressor(whiten=False, solver="sgd").fit(sparse.csr_array(X), y)
    with pytest.raises(ValueError, match="Complex"):
        SingleIndexRegressor().fit(X * 1j, y)
    with pytest.raises(ValueError, match="NaN"):
        SingleIndexRegressor().fit(np.where(X > 2, np.nan, X), np.where(y > 1, np.nan, y))
    with pytest.raises(ValueError, match="Negative"):
        SingleIndexRegressor().fit(X, y, sample_weight=np.append(-1.0, np.ones(39)))
    with pytest.raises(ValueError, match="1 sample"):
        SingleIndexRegressor().fit(X[:1], y[:1])


class Monitor:
    """A callback that evaluates the model while it is being fitted."""

    def __init__(self, X, y):
        self.X, self.y, self.names, self.scores = X, y, [], []

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.names.append(context.task_name)
        if fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(self.X, self.y))

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_callbacks_see_starts_and_the_refined_models(n_jobs):
    X, y, _ = make(h(3), 300, 6)
    monitor = Monitor(X, y)
    model = SingleIndexRegressor(**CHEAP, n_jobs=n_jobs).set_callbacks(monitor).fit(X, y)
    if n_jobs is None:  # other processes keep what they saw
        assert monitor.names[:2] == ["start ols", "start phd"]
    assert "refinement" in monitor.names
    assert len(monitor.scores) >= model.n_iter_
    assert monitor.scores[-1] == pytest.approx(model.score(X, y))
