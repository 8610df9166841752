"""Each option of CoLiDE has its effect, and a fit leaves nothing behind in the next one."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sparseopt.causal import CoLiDE, threshold_to_dag
from sparseopt.causal._knowledge import EdgeKnowledge
from sparseopt.causal._order_search import search_order
from sparseopt.causal._problem import CoLiDEProblem
from sparseopt.causal._starts import starting_points
from sparseopt.datasets import make_linear_sem

PATH = {"mu": (1.0, 0.1), "s": (1.0, 0.9)}


@pytest.fixture(scope="module")
def small():
    return make_linear_sem(n_samples=1000, n_features=8, random_state=1)


def prox(**parameters):
    return CoLiDE(solver="prox", **parameters)


def covariance(data):
    return np.cov(data.X.T, bias=True)


# ---------------------------------------------------------------- starts


def test_starts_are_zero_the_order_and_bootstrapped_orders(small):
    problem = CoLiDEProblem(covariance(small), True, 0.05)
    options = {"required": None, "n_samples": 20, "random_state": 0, **PATH}
    zero, order, *others = starting_points(problem, 5, **options)
    assert zero == (None, PATH["mu"], PATH["s"])
    for start in (order, *others):
        assert (start.mu, start.s) == ((0.1,), (0.9,))
    assert len({(start.W != 0).tobytes() for start in (order, *others)}) > 1
    first, second, *_ = starting_points(problem, 5, order_first=True, **options)
    np.testing.assert_array_equal(first.W, order.W)
    assert second.W is None


def test_starts_hold_required_edges_and_no_excluded_ones(small):
    C = covariance(small)
    last, *_, first = np.argsort(np.diagonal(C))[::-1]
    required = np.zeros((8, 8), dtype=bool)
    required[last, first] = True
    allowed = np.ones((8, 8), dtype=bool)
    allowed[:, 3] = False
    problem = CoLiDEProblem(C, True, 0.05, allowed=allowed, required=required)
    starts = starting_points(problem, 4, required=required, n_samples=1000, random_state=0, **PATH)
    for start in list(starts)[1:]:
        assert start.W[last, first] != 0
        assert np.all(start.W[:, 3] == 0)


@pytest.mark.parametrize(("n_samples", "n_stages"), [(16, 4), (17, 1)])
def test_few_samples_start_from_zero(n_samples, n_stages, small):
    model = prox().fit(small.X[:n_samples])
    assert len(model.n_iter_per_stage_) == n_stages


def test_selection_by_bic_compares_refitted_graphs(small):
    for variance in ("equal", "non_equal"):
        model = prox(variance=variance, refit="ols", alpha=0.5).fit(small.X)
        knowledge = EdgeKnowledge(8)
        C = covariance(small)
        bic = [
            model._information_criterion(W, _Moments(C), knowledge)
            for W in (model.weights_raw_, np.zeros((8, 8)))
        ]
        empty = prox(variance=variance, refit="ols", alpha=1e3).fit(small.X)
        assert not np.any(empty.adjacency_)
        expected = model.bic(small.X) - empty.bic(small.X)
        np.testing.assert_allclose(bic[0] - bic[1], expected, rtol=1e-9)


class _Moments:
    n_samples = 1000

    def __init__(self, C):
        self.covariance = C


# ---------------------------------------------------------------- solvers' options


def test_the_certificate_leaves_the_diagonal_out(small):
    model = CoLiDE(solver="adam", warm_iter=2000, max_iter=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = model.fit(small.X).weights_raw_
        problem = CoLiDEProblem(covariance(small), True, 0.05, scale_floor=1e-2)
        assert np.any(np.diagonal(free))
        expected = problem.kkt_residual(problem.point(free, 0.7), 1e-3, 0.7)
        np.testing.assert_allclose(model.kkt_, expected, rtol=1e-8)
        bound = model.set_params(free_diagonal=False).fit(small.X).weights_raw_
    assert not np.any(np.diagonal(bound))


def test_a_diagonal_is_no_violation(small):
    problem = CoLiDEProblem(covariance(small), True, 1e3)  # no other entry violates anything
    point = problem.point(0.1 * np.eye(8), 1.0)
    assert problem.kkt_residual(point, 1.0, 1.0) == 0


def test_the_floor_of_equal_variances_is_that_of_the_smallest_column():
    problem = CoLiDEProblem(np.diag([1.0, 4.0, 9.0]), True, 0.1, scale_floor=0.01)
    np.testing.assert_allclose(problem.floors, 0.01)


def test_warm_start_forgets_edges_that_became_excluded(small):
    model = prox(warm_start=True).fit(small.X)
    cause, effect, _ = model.edges_[0]
    model.set_params(forbidden_edges=[(cause, effect)]).fit(small.X)
    assert model.weights_raw_[cause, effect] == 0


def test_early_stages_stop_early(small):
    model = prox(variance="non_equal", tol=1e-6).fit(small.X)
    stage, certificate = model.history_["stage"], model.history_["certificate"]
    np.testing.assert_array_equal(np.unique(stage), range(4))
    ends = np.array([certificate[stage == number][-1] for number in range(4)])
    assert np.all(ends[:-1] <= 0.1)
    assert np.any(ends[:-1] > 1e-6)
    assert ends[-1] <= 1e-6


# ---------------------------------------------------------------- knowledge, polish, refit


def test_edges_within_a_tier_are_free(small):
    order = make_linear_sem(n_samples=1000, n_features=8, random_state=1).causal_order
    early, late = order[:4], order[4:]
    knowledge = EdgeKnowledge(8, tiers=[early, late])
    for group in (early, late):
        assert np.all(knowledge.allowed[np.ix_(group, group)] | np.eye(4, dtype=bool))
    assert knowledge.allowed[np.ix_(early, late)].all()
    assert not knowledge.allowed[np.ix_(late, early)].any()


def test_integers_of_two_variables_are_pairs():
    pairs = EdgeKnowledge(2, forbidden=np.array([[0, 0], [0, 1]]))
    assert not pairs.allowed[0, 1]
    assert pairs.allowed[1, 0]


def test_required_edges_without_weight_are_kept_in_order():
    C = np.diag([1.0, 2.0, 3.0])
    for refine in (None, "order"):
        model = prox(required_edges=[(2, 0)], refine=refine).fit_from_covariance(C, 100)
        assert not np.any(model.adjacency_)


@pytest.mark.parametrize("variance", ["equal", "non_equal"])
def test_polish_keeps_knowledge(variance, small):
    cause, effect = (int(k) for k in np.argwhere(small.adjacency)[0])
    absent = (small.adjacency == 0) & (small.adjacency.T == 0) & ~np.eye(8, dtype=bool)
    required = tuple(int(k) for k in np.argwhere(absent)[0])
    model = prox(
        variance=variance,
        forbidden_edges=[(cause, effect)],
        required_edges=[required],
        refine="order",
    ).fit(small.X)
    assert model.adjacency_[cause, effect] == 0
    assert model.adjacency_[required] != 0


@pytest.mark.parametrize("variance", ["equal", "non_equal"])
def test_polish_is_the_search_by_the_extended_criterion(variance, small):
    C = covariance(small)
    plain = prox(variance=variance).fit(small.X)
    polished = prox(variance=variance, refine="order").fit(small.X)
    found = search_order(
        C,
        1000,
        plain.causal_order_,
        equal_variance=variance == "equal",
        penalty=0.5 * np.log(1000) + np.log(8),
    )
    np.testing.assert_allclose(polished.adjacency_, found.adjacency, atol=1e-9)
    np.testing.assert_allclose(polished.noise_variances_, found.noise_variances)
    assert polished.adjacency_.any()


def test_polish_adds_no_edges_to_noise_where_plain_bic_does():
    X = np.random.default_rng(0).standard_normal((200, 30)) * np.linspace(1, 2, 30)
    C = np.cov(X.T, bias=True)
    by_bic = search_order(C, 200, np.arange(30), equal_variance=False)
    assert np.count_nonzero(by_bic.adjacency) > 3
    polished = prox(variance="non_equal", refine="order").fit(X)
    assert np.count_nonzero(polished.adjacency_) <= 1


def test_equal_variances_stay_equal_and_count_once(small):
    for polish in ({"refit": "ols"}, {"refine": "order"}, {}):
        model = prox(**polish).fit(small.X)
        assert np.ptp(model.noise_variances_) == 0
        n_parameters = np.count_nonzero(model.adjacency_) + 8 + 1
        expected = -2 * 1000 * model.score(small.X) + np.log(1000) * n_parameters
        np.testing.assert_allclose(model.bic(small.X), expected)


def test_refitted_weights_are_the_regressions(small):
    model = prox(refit="ols").fit(small.X)
    raw = threshold_to_dag(model.weights_raw_)
    np.testing.assert_array_equal(model.adjacency_ != 0, raw != 0)
    centred = small.X - small.X.mean(axis=0)
    for j in range(8):
        parents = model.parents_[j]
        expected = np.linalg.lstsq(centred[:, parents], centred[:, j], rcond=None)[0]
        np.testing.assert_allclose(model.adjacency_[parents, j], expected, atol=1e-9)


# ---------------------------------------------------------------- one fit after another


def test_a_fit_forgets_interventions_and_names(small):
    frame = pd.DataFrame(small.X, columns=list("abcdefgh"))
    model = prox(refit="ols").fit(frame)
    score = model.score(frame)
    changed = model.intervene({"a": 5.0})
    assert changed.score(frame) != score
    assert changed.fit(frame).score(frame) == score
    np.testing.assert_array_equal(changed.mean_, model.mean_)
    changed.fit_from_covariance(covariance(small), 1000)
    assert not hasattr(changed, "feature_names_in_")
    assert all(isinstance(cause, int) for cause, *_ in changed.edges_)


def test_intervened_variables_have_no_noise_and_no_part_in_the_likelihood(small):
    model = prox(refit="ols", variance="non_equal").fit(small.X)
    changed = model.intervene({2: 1.0}).intervene({5: -1.0})
    np.testing.assert_array_equal(np.flatnonzero(changed.noise_variances_ == 0), [2, 5])
    free = np.setdiff1d(np.arange(8), [2, 5])
    squares = np.mean(changed.transform(small.X)[:, free] ** 2, axis=0)
    variances = changed.noise_variances_[free]
    expected = -0.5 * np.sum(np.log(2 * np.pi * variances) + squares / variances)
    np.testing.assert_allclose(changed.score(small.X), expected)
    X = changed.sample(3, random_state=0)
    np.testing.assert_array_equal(X[:, [2, 5]], np.tile([1.0, -1.0], (3, 1)))


def test_a_failed_fit_changes_nothing(small):
    model = prox(warm_start=True).fit(small.X)
    before = dict(vars(model))
    spoilt = small.X.copy()
    spoilt[0, 0] = np.nan
    for X in (spoilt, small.X[:, :5], np.ones((5, 8))):
        with pytest.raises(ValueError, match=r"NaN|features|constant"):
            model.fit(X)
        assert vars(model) == before
    with pytest.raises(ValueError, match="feature_names"):
        model.fit_from_covariance(covariance(small), 1000, feature_names=["a"])
    assert vars(model) == before
