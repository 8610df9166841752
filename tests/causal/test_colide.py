"""CoLiDE as an estimator: published results, prior knowledge, polish, the model's methods."""

import pickle
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sparseopt.causal import CoLiDE, StandardizedDataWarning, is_acyclic, shd, shd_cpdag
from sparseopt.causal._colide_prox import solve_prox
from sparseopt.causal._problem import CoLiDEProblem
from sparseopt.causal._starts import _bootstrap_covariance
from sparseopt.datasets import make_linear_sem

DATA = Path(__file__).parents[1] / "data" / "causal"


@pytest.fixture(scope="module")
def small():
    return make_linear_sem(n_samples=1000, n_features=8, random_state=1)


def prox(**parameters):
    return CoLiDE(solver="prox", **parameters)


@pytest.mark.parametrize(("variance", "model"), [("equal", "ev"), ("non_equal", "nv")])
def test_published_graph_of_the_proteins(variance, model):
    sachs = np.load(DATA / "sachs_obs853.npz", allow_pickle=False)
    fitted = CoLiDE(variance, solver="adam", scale_floor=0.0).fit(sachs["X"])
    distance = shd(sachs["G_consensus"], fitted.adjacency_)
    assert abs(distance - {"ev": 13, "nv": 12}[model]) <= 1
    assert fitted.n_retries_ > 0
    np.testing.assert_allclose(fitted.weights_raw_, sachs[f"{model}_W_final"], rtol=0, atol=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_many_samples_give_the_true_model(seed):
    data = make_linear_sem(n_samples=100_000, n_features=10, edges_per_node=1, random_state=seed)
    shrunk = prox(tol=1e-3).fit(data.X)
    assert shd(data.adjacency, shrunk.adjacency_) == 0
    assert np.abs(shrunk.adjacency_ - data.adjacency).max() < 0.5
    np.testing.assert_allclose(shrunk.noise_scale_, 1, rtol=0.01)
    refit = prox(tol=1e-3, refit="ols").fit(data.X)
    assert np.abs(refit.adjacency_ - data.adjacency).max() < 0.02
    np.testing.assert_allclose(refit.noise_variances_, 1, rtol=0.02)


def test_moments_are_all_that_counts(small):
    model = prox().fit(small.X)
    kept = small.X.copy()
    for X in (small.X + 100.0, np.repeat(small.X, 2, axis=0)):
        other = prox().fit(X)
        np.testing.assert_allclose(other.weights_raw_, model.weights_raw_, atol=1e-8)
    centred = small.X - small.X.mean(axis=0)
    from_moments = prox().fit_from_covariance(centred.T @ centred / len(centred), len(centred))
    np.testing.assert_allclose(from_moments.weights_raw_, model.weights_raw_, atol=1e-10)
    np.testing.assert_array_equal(from_moments.mean_, 0)
    weights = np.random.default_rng(0).integers(0, 3, len(small.X))
    weighted = prox().fit(small.X, sample_weight=weights)
    repeated = prox().fit(np.repeat(small.X, weights, axis=0))
    np.testing.assert_allclose(weighted.weights_raw_, repeated.weights_raw_, atol=1e-8)
    np.testing.assert_array_equal(small.X, kept)


def test_rescaling_makes_the_fit_independent_of_units(small):
    model = prox(rescale="min_std").fit(small.X)
    for factor in (1e-3, 1e3):
        scaled = prox(rescale="min_std").fit(factor * small.X)
        np.testing.assert_array_equal(scaled.adjacency_ != 0, model.adjacency_ != 0)
        np.testing.assert_allclose(scaled.noise_scale_ / factor, model.noise_scale_, rtol=1e-7)


@pytest.mark.parametrize("solver", ["adam", "prox"])
def test_result_is_a_dag_in_causal_order(solver, small):
    model = CoLiDE("non_equal", solver=solver).fit(small.X)
    assert is_acyclic(model.adjacency_)
    position = np.argsort(model.causal_order_)
    for cause, effect in np.argwhere(model.adjacency_):
        assert position[cause] < position[effect]
        assert cause in model.parents_[effect]
    kept = model.adjacency_ != 0
    np.testing.assert_array_equal(model.adjacency_[kept], model.weights_raw_[kept])
    assert np.all(np.abs(model.adjacency_[kept]) > 0.3)
    assert model.converged_
    assert model.n_iter_ == model.n_iter_per_stage_.sum()


def test_certificate_is_that_of_the_stored_weights(small):
    model = prox(tol=1e-4).fit(small.X)
    assert model.kkt_ <= 1e-4
    np.testing.assert_allclose(model.kkt_, model.history_["certificate"][-1])
    assert prox(tol=0.5, warm_iter=2).fit(small.X).kkt_ > 1e-4


def test_repeats_bit_by_bit_and_survives_copies(small):
    model = prox(n_init=3, random_state=0).fit(small.X)
    for other in (clone(model).fit(small.X), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.weights_raw_, model.weights_raw_)


def test_equal_variances_start_from_an_order_and_end_lower(small):
    model = prox(tol=1e-4).fit(small.X)
    assert len(model.n_iter_per_stage_) == 1
    from_zero = solve_prox(CoLiDEProblem(np.cov(small.X.T, bias=True), True, 0.05), tol=1e-4)
    assert len(from_zero.nit_per_stage) == 4
    assert model.objective_ <= from_zero.fun + 1e-6 * abs(from_zero.fun)


def test_more_starts_never_end_higher():
    for seed in range(3):
        data = make_linear_sem(n_features=20, edges_per_node=4, random_state=seed)
        one, more = (prox(n_init=n, random_state=0).fit(data.X) for n in (1, 3))
        assert more.objective_ <= one.objective_
        assert shd(data.adjacency, more.adjacency_) <= shd(data.adjacency, one.adjacency_)


@pytest.mark.parametrize("n_samples", [499, 501])
def test_bootstrapped_covariances_have_the_law_of_wishart(n_samples):
    C = np.diag([1.0, 2.0, 3.0, 4.0, 5.0]) + 0.5
    rng = np.random.default_rng(0)
    draws = np.array([_bootstrap_covariance(C, n_samples, rng) for _ in range(4000)])
    variances = (C**2 + np.outer(np.diagonal(C), np.diagonal(C))) / n_samples
    np.testing.assert_allclose(draws.mean(axis=0), C, atol=4 * np.sqrt(variances.max() / 4000))
    np.testing.assert_allclose(draws.var(axis=0) / variances, 1, atol=0.1)


def test_many_samples_take_no_room(small):
    C = np.cov(small.X.T, bias=True)
    tracemalloc.start()
    prox(n_init=4, random_state=0).fit_from_covariance(C, 10**12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**7


def test_selection_by_bic_prefers_the_better_graph():
    data = make_linear_sem(n_features=20, edges_per_node=4, random_state=2)
    one = prox(refit="ols").fit(data.X)
    best = prox(n_init=3, selection="bic", refit="ols", random_state=0).fit(data.X)
    assert best.bic(data.X) <= one.bic(data.X)


def test_order_search_polishes_unequal_variances():
    distances = []
    for seed in range(2):
        data = make_linear_sem(
            n_features=20,
            edges_per_node=3,
            weight_range=(0.25, 1.0),
            variance="non_equal",
            random_state=seed,
        )
        plain = prox(variance="non_equal").fit(data.X)
        refined = prox(variance="non_equal", refine="order").fit(data.X)
        assert refined.bic(data.X) < prox(variance="non_equal", refit="ols").fit(data.X).bic(data.X)
        distances.append([shd_cpdag(data.adjacency, m.adjacency_) for m in (plain, refined)])
    plain, refined = np.sum(distances, axis=0)
    assert refined < 0.5 * plain


def test_warm_start_runs_the_last_stage_only(small):
    model = prox(variance="non_equal", warm_start=True).fit(small.X)
    first = model.weights_raw_.copy()
    assert len(model.n_iter_per_stage_) == 4
    model.fit(small.X)
    assert len(model.n_iter_per_stage_) == 1
    np.testing.assert_allclose(model.weights_raw_, first, atol=1e-6)
    with pytest.raises(ValueError, match="the last fit had 8 features"):
        model.fit(small.X[:, :5])


class Watcher:
    def __init__(self):
        self.names = []

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.names.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize("warm_start", [False, True])
def test_callbacks_see_each_start(small, warm_start):
    watcher = Watcher()
    prox(n_init=3, warm_start=warm_start, random_state=0).set_callbacks(watcher).fit(small.X)
    starts = [name for name in watcher.names if name.startswith("start")]
    assert starts == ["start 0", "start 1", "start 2"]


def test_grid_search_over_the_strength(small):
    search = GridSearchCV(prox(refit="ols"), {"alpha": [0.02, 0.05, 5.0]}, cv=3).fit(small.X)
    assert search.best_params_["alpha"] < 5
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))


# ---------------------------------------------------------------- prior knowledge


@pytest.mark.parametrize("solver", ["adam", "prox"])
def test_forbidden_and_required_edges_hold(solver, small):
    causes, effects = np.nonzero(small.adjacency)
    names = [f"x{j}" for j in range(8)]
    frame = pd.DataFrame(small.X, columns=names)
    absent = np.argwhere((small.adjacency == 0) & (small.adjacency.T == 0) & ~np.eye(8, dtype=bool))
    required = tuple(int(k) for k in absent[0])
    forbidden = (names[causes[0]], names[effects[0]])
    model = CoLiDE(solver=solver, forbidden_edges=[forbidden], required_edges=[required])
    model.fit(frame)
    assert model.weights_raw_[causes[0], effects[0]] == 0
    assert model.adjacency_[required] != 0
    assert is_acyclic(model.adjacency_)


def test_matrices_and_pairs_say_the_same(small):
    pairs = [(0, 1), (3, 2)]
    matrix = np.zeros((8, 8), dtype=int)
    matrix[0, 1] = matrix[3, 2] = 1
    by_pairs = prox(forbidden_edges=pairs).fit(small.X)
    forms = (
        matrix,
        matrix.astype(bool),
        matrix.tolist(),
        pd.DataFrame(matrix),
        sparse.csr_array(matrix),
        set(pairs),
        iter(pairs),
        pd.DataFrame(pairs, columns=["cause", "effect"]),
    )
    for form in forms:
        by_matrix = prox(forbidden_edges=form).fit(small.X)
        np.testing.assert_array_equal(by_matrix.weights_raw_, by_pairs.weights_raw_)
    names = list("abcdefgh")
    frame = pd.DataFrame(small.X, columns=names)
    labelled = pd.DataFrame(matrix, index=names, columns=names)
    for form in (
        labelled,
        labelled.loc[names[::-1], np.roll(names, 3)],
        labelled.loc[["a", "d"], ["c", "b"]],
        pd.DataFrame([("a", "b"), ("d", "c")]),
    ):
        by_matrix = prox(forbidden_edges=form).fit(frame)
        np.testing.assert_allclose(by_matrix.weights_raw_, by_pairs.weights_raw_, atol=1e-8)
    with pytest.raises(ValueError, match="unknown variable 'z'"):
        prox(forbidden_edges=labelled.rename(columns={"a": "z"})).fit(frame)


def test_pairs_and_matrices_of_two_variables(small):
    X = small.X[:, [0, 1]]
    pairs = prox(forbidden_edges=np.array([[0, 1], [0, 1]])).fit(X).weights_raw_
    assert pairs[0, 1] == 0
    assert pairs[1, 0] != 0
    matrix = np.array([[False, True], [False, False]])
    np.testing.assert_array_equal(prox(forbidden_edges=matrix).fit(X).weights_raw_, pairs)


def test_no_cause_is_of_a_later_tier(small):
    tiers = [[7, 6], [0], [1, 2]]
    model = prox(tiers=tiers).fit(small.X)
    for early, late in ((0, 1), (0, 2), (1, 2)):
        assert np.all(model.weights_raw_[np.ix_(tiers[late], tiers[early])] == 0)
    assert np.any(model.adjacency_[:, [3, 4, 5]])


def test_true_forbidden_edges_improve_the_graph():
    rng = np.random.default_rng(0)
    without, informed = 0, 0
    for seed in range(3):
        data = make_linear_sem(
            n_features=30,
            edges_per_node=4,
            weight_range=(0.25, 1.0),
            variance="non_equal",
            random_state=seed,
        )
        known = (data.adjacency == 0) & (rng.random((30, 30)) < 0.5)
        model = prox(variance="non_equal")
        without += shd(data.adjacency, model.fit(data.X).adjacency_)
        model.set_params(forbidden_edges=known)
        informed += shd(data.adjacency, model.fit(data.X).adjacency_)
    assert informed < 0.7 * without


@pytest.mark.parametrize(
    ("knowledge", "message"),
    [
        ({"required_edges": [(0, 1), (1, 2), (2, 0)]}, "form the cycle"),
        ({"required_edges": [(0, 1)], "forbidden_edges": [(0, 1)]}, "0 -> 1.*also excluded"),
        ({"required_edges": [(1, 0)], "tiers": [[0], [1]]}, "1 -> 0.*also excluded"),
        ({"required_edges": [(2, 2)]}, "from a variable to itself"),
        ({"forbidden_edges": [("a", "nobody")]}, "unknown variable 'a'"),
        ({"forbidden_edges": [(0, 8)]}, "unknown variable 8"),
        ({"forbidden_edges": [(0, 1, 2)]}, r"pairs \(cause, effect\)"),
        ({"forbidden_edges": np.full((8, 8), 0.5)}, "0 and 1 only"),
        ({"forbidden_edges": 3}, r"pairs \(cause, effect\).*got 3"),
        ({"required_edges": [(0, 1), 2]}, "got the entry 2"),
        ({"tiers": 3}, "tiers must be a list of groups"),
        ({"tiers": {0: 1}}, "tiers must be a list of groups"),
        ({"tiers": [[0, 1], [1]]}, "variable 1 twice"),
        ({"mu": (1.0, 1.0), "s": (1.0, 1.0)}, "mu must be decreasing"),
        ({"mu": (1.0, -1.0), "s": (1.0, 1.0)}, "mu must be decreasing"),
        ({"mu": (1.0, 0.1)}, "s must hold 2 numbers"),
        ({"mu": (1.0, "a"), "s": (1.0, 1.0)}, "mu must be a sequence of numbers"),
        ({"mu": (1.0,), "s": (0.0,)}, "s must hold 1 numbers"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers"),
        ({"alpha": -1.0}, "alpha"),
        ({"threshold": -1.0}, "threshold"),
        ({"variance": "unknown"}, "variance"),
        ({"solver": "unknown"}, "solver"),
    ],
)
def test_contradictions_are_named_before_any_work(knowledge, message, small):
    with pytest.raises(ValueError, match=message):
        prox().set_params(**knowledge).fit(small.X)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X: X[:, :1], "minimum of 2 is required"),
        (lambda X: np.where(np.arange(8) == 3, 5.0, X), r"\[3\] of X are constant"),
        (lambda X: np.where(np.arange(8) == 3, 1e9 + 1e-9 * X, X), r"\[3\] of X are constant"),
        (lambda X: np.where(X > 2, np.nan, X), "NaN"),
        (lambda X: 1e160 * X, "covariances of X overflow"),
    ],
)
def test_bad_data_are_refused(spoil, message, small):
    with pytest.raises(ValueError, match=message):
        prox().fit(spoil(small.X))


def test_constant_columns_are_named(small):
    frame = pd.DataFrame(small.X, columns=list("abcdefgh")).assign(c=1.0)
    with pytest.raises(ValueError, match=r"\['c'\] of X are constant"):
        prox().fit(frame)


def test_standardised_data_draw_a_warning(small):
    scaled = (small.X - small.X.mean(axis=0)) / small.X.std(axis=0)
    with pytest.warns(StandardizedDataWarning, match="same standard deviation"):
        prox().fit(scaled)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prox().fit(small.X)


@pytest.mark.parametrize("variance", ["equal", "non_equal"])
def test_fewer_samples_than_variables(variance):
    data = make_linear_sem(n_samples=15, n_features=20, random_state=0)
    model = prox(variance=variance, refine="order").fit(data.X)
    assert np.all(np.isfinite(model.weights_raw_))
    assert np.all(model.noise_scale_ > 0)
    assert is_acyclic(model.adjacency_)


@pytest.mark.parametrize("variance", ["equal", "non_equal"])
def test_no_floor_and_no_noise(variance, small):
    for X in (np.column_stack([small.X, small.X[:, 0]]), small.X[:5]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the score is hardly differentiable there
            model = prox(variance=variance, scale_floor=0.0).fit(X)
        assert np.all(np.isfinite(model.weights_raw_))
        assert np.all(model.noise_scale_ > 0)


def test_names_come_from_the_covariance_or_from_the_caller(small):
    names = list("abcdefgh")
    covariance = pd.DataFrame(small.X, columns=names).cov()
    by_default = prox().fit_from_covariance(covariance, 1000)
    given = prox().fit_from_covariance(covariance.to_numpy(), 1000, feature_names=names)
    assert by_default.edges_ == given.edges_
    assert {cause for cause, *_ in given.edges_} <= set(names)
    other = prox().fit_from_covariance(covariance, 1000, feature_names=names[::-1])
    assert list(other.feature_names_in_) == names[::-1]


def test_duplicate_columns():
    data = make_linear_sem(n_samples=300, n_features=6, random_state=0)
    X = np.column_stack([data.X, data.X[:, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one explains the other: not every seed converges
        model = prox(variance="non_equal").fit(X)
    assert np.all(np.isfinite(model.weights_raw_))
    assert np.all(model.noise_scale_ > 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(3), 0), "n_samples"),
        ((np.ones((2, 3)), 10), "covariance must be a square matrix"),
        (([["a", 1.0], [1.0, 2.0]], 10), "covariance must be a matrix of numbers"),
        ((np.array([[1.0, 2.0], [2.0, 1.0]]), 10), "positive semi-definite"),
        ((np.eye(3) + [[0, 1, 0], [0, 0, 0], [0, 0, 0]], 10), "symmetric"),
        ((np.array([[1.0]]), 10), "2 variables or more"),
        ((np.diag([1.0, 2.0]), 10, ["a"]), "feature_names must be 2 strings"),
        ((np.diag([1.0, 2.0]), 10, ["a", "a"]), "feature_names must differ"),
    ],
)
def test_bad_covariances_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        prox().fit_from_covariance(*arguments)


# ---------------------------------------------------------------- the fitted model


@pytest.fixture(scope="module")
def fitted(small):
    return prox(refit="ols", variance="non_equal").fit(
        pd.DataFrame(small.X + 3.0, columns=list("abcdefgh"))
    )


def test_score_is_the_gaussian_likelihood(fitted, small):
    from scipy.stats import multivariate_normal

    identity = np.eye(8)
    mixing = np.linalg.inv(identity - fitted.adjacency_)
    covariance = mixing.T @ np.diag(fitted.noise_variances_) @ mixing
    X = pd.DataFrame(small.X + 3.0, columns=list("abcdefgh"))
    expected = multivariate_normal(fitted.mean_, covariance).logpdf(X).mean()
    np.testing.assert_allclose(fitted.score(X), expected, rtol=1e-10)
    n_parameters = np.count_nonzero(fitted.adjacency_) + 16
    np.testing.assert_allclose(
        fitted.bic(X), -2 * len(X) * expected + np.log(len(X)) * n_parameters
    )
    n_edges = np.count_nonzero(fitted.adjacency_)
    np.testing.assert_allclose(
        fitted.bic(X, gamma=0.5) - fitted.bic(X), n_edges * np.log(8), rtol=1e-9
    )


def test_noise_and_samples_belong_together(fitted, small):
    X = pd.DataFrame(small.X + 3.0, columns=list("abcdefgh"))
    noise = fitted.transform(X)
    np.testing.assert_allclose(fitted.inverse_transform(noise), X, atol=1e-10)
    np.testing.assert_allclose(noise.var(axis=0), fitted.noise_variances_, rtol=1e-10)


@pytest.mark.parametrize("noise", ["gaussian", "exponential", "laplace"])
def test_samples_have_the_covariance_of_the_model(fitted, noise):
    X = fitted.sample(200_000, noise=noise, random_state=0)
    mixing = np.linalg.inv(np.eye(8) - fitted.adjacency_)
    covariance = mixing.T @ np.diag(fitted.noise_variances_) @ mixing
    scale = np.sqrt(np.outer(np.diagonal(covariance), np.diagonal(covariance)))
    assert np.abs((np.cov(X.T) - covariance) / scale).max() < 0.02
    np.testing.assert_allclose(X.mean(axis=0), fitted.mean_, atol=0.02 * np.sqrt(scale.max()))


def test_output_in_frames_leaves_the_likelihood_alone(small):
    model = prox(refit="ols").fit(small.X)
    score, bic = model.score(small.X), model.bic(small.X)
    model.set_output(transform="pandas")
    assert isinstance(model.transform(small.X), pd.DataFrame)
    assert (model.score(small.X), model.bic(small.X)) == (score, bic)


def test_weights_of_the_score_count_rows(fitted, small):
    X = pd.DataFrame(small.X + 3.0, columns=list("abcdefgh"))
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    repeated = X.loc[np.repeat(X.index, weights)]
    np.testing.assert_allclose(fitted.score(X, sample_weight=weights), fitted.score(repeated))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        fitted.score(X, sample_weight=-np.ones(len(X)))


def test_noise_may_be_given_as_integers(fitted):
    noise = np.arange(16).reshape(2, 8)
    expected = fitted.inverse_transform(noise.astype(float))
    np.testing.assert_array_equal(fitted.inverse_transform(noise), expected)
    np.testing.assert_allclose(
        expected - fitted.mean_, noise @ np.linalg.inv(np.eye(8) - fitted.adjacency_)
    )
    with pytest.raises(ValueError, match="X must have 8 columns"):
        fitted.inverse_transform(noise[:, :5])


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_variances_may_leave_single_precision(factor, small):
    X = (factor * small.X).astype(np.float32)
    model = prox(rescale="min_std").fit(X)
    assert model.adjacency_.dtype == model.transform(X).dtype == np.float32
    np.testing.assert_allclose(model.noise_variances_ / factor**2, 1, rtol=0.02)
    shift = 8 * np.log(factor)
    reference = prox(rescale="min_std").fit(small.X).score(small.X)
    np.testing.assert_allclose(model.score(X) + shift, reference, rtol=1e-4)


def test_total_effects_sum_over_paths(fitted):
    power, total = fitted.adjacency_, np.zeros((8, 8))
    while np.any(power):
        total += power
        power = power @ fitted.adjacency_
    np.testing.assert_allclose(fitted.total_effects_, total, atol=1e-12)


def test_interventions_cut_the_causes_and_move_the_effects(fitted, small):
    cause, effect, _ = fitted.edges_[0]
    j = "abcdefgh".index(effect)
    model = fitted.intervene({effect: 10.0})
    assert np.all(model.adjacency_[:, j] == 0)
    assert np.any(fitted.adjacency_[:, j] != 0)
    shift = 10.0 - fitted.mean_[j]
    expected = fitted.mean_ + shift * (fitted.total_effects_[j] + np.eye(8)[j])
    np.testing.assert_allclose(model.mean_, expected, atol=1e-10)
    X = model.sample(5, random_state=0)
    np.testing.assert_array_equal(X[:, j], 10.0)
    same = fitted.sample(5, interventions={effect: 10.0}, random_state=0)
    np.testing.assert_allclose(X, same, atol=1e-10)
    observed = fitted.sample(5, random_state=0)
    i = "abcdefgh".index(cause)
    np.testing.assert_array_equal(observed[:, i], same[:, i])  # a cause does not notice
    assert np.isfinite(model.score(pd.DataFrame(X, columns=list("abcdefgh"))))


def test_interventions_may_depend_on_what_came_before(fitted):
    cause, effect, _ = fitted.edges_[0]
    i, j = "abcdefgh".index(cause), "abcdefgh".index(effect)
    X = fitted.sample(50, interventions={effect: lambda X: -X[:, i]}, random_state=1)
    np.testing.assert_array_equal(X[:, j], -X[:, i])


def test_edges_carry_names_and_weights(fitted):
    frame = fitted.to_dataframe()
    graph = pytest.importorskip("networkx").is_directed_acyclic_graph(fitted.to_networkx())
    assert graph
    assert len(fitted.edges_) == np.count_nonzero(fitted.adjacency_)
    sizes = [abs(weight) for *_, weight in fitted.edges_]
    assert sizes == sorted(sizes, reverse=True)
    for cause, effect, weight in fitted.edges_:
        assert frame.loc[cause, effect] == weight
        assert fitted.to_networkx()[cause][effect]["weight"] == weight


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.sample(0), "n_samples"),
        (lambda m: m.sample(3, noise="uniform"), "noise must be one of"),
        (lambda m: m.sample(3, interventions={"z": 1.0}), "no variable 'z'"),
        (lambda m: m.sample(3, interventions={"a": 1.0, 0: 2.0}), "name the variable 'a' twice"),
        (lambda m: m.sample(3, interventions={"a": np.nan}), "finite values for variable 'a'"),
        (lambda m: m.sample(3, interventions={"a": [1.0, 2.0]}), r"array of shape \(3,\)"),
        (lambda m: m.sample(3, interventions={"a": lambda X: X[:, 0]}), "sees NaN"),
        (lambda m: m.sample(3, noise=lambda rng, size: np.ones((3, 1))), r"shape \(3, 8\)"),
        (lambda m: m.intervene({"a": 1.0, 0: 2.0}), "name the variable 'a' twice"),
        (lambda m: m.intervene({"a": np.nan}), "finite number"),
        (lambda m: m.intervene({9: 1.0}), "no variable 9"),
    ],
)
def test_questions_that_make_no_sense(fitted, call, message):
    with pytest.raises(ValueError, match=message):
        call(fitted)
