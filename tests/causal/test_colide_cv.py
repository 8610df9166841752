"""Strengths of CoLiDE: the path of independent fits, and the choice by held-out likelihood."""

import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy.stats import multivariate_normal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, LeaveOneGroupOut

from sparseopt.causal import CoLiDE, CoLiDECV, StandardizedDataWarning, colide_path, is_acyclic
from sparseopt.datasets import make_linear_sem


@pytest.fixture(scope="module")
def data():
    return make_linear_sem(
        n_samples=200,
        n_features=8,
        edges_per_node=1,
        weight_range=(0.4, 1.0),
        variance="non_equal",
        random_state=3,
    )


@pytest.fixture(scope="module")
def fitted(data):
    return CoLiDECV("non_equal", alphas=8, eps=1e-3, cv=4, threshold=0.0).fit(data.X)


# ---------------------------------------------------------------- the path


def test_path_consists_of_the_single_fits(data):
    path = colide_path(data.X, [0.05, 0.5, 0.1], variance="non_equal", threshold=0.2)
    np.testing.assert_array_equal(path.alphas, [0.5, 0.1, 0.05])
    for k, alpha in enumerate(path.alphas):
        model = CoLiDE("non_equal", solver="prox", alpha=alpha, threshold=0.2).fit(data.X)
        np.testing.assert_array_equal(path.adjacencies[k], model.adjacency_)
        np.testing.assert_array_equal(path.weights_raw[k], model.weights_raw_)
        np.testing.assert_array_equal(path.noise_variances[k], model.noise_variances_)
        assert path.n_edges[k] == len(model.edges_)
        assert path.kkts[k] == model.kkt_
        assert path.n_iters[k] == model.n_iter_
    assert path.success


@pytest.mark.parametrize("variance", ["equal", "non_equal"])
@pytest.mark.parametrize("rescale", [None, "min_std"])
def test_default_grid_begins_where_edges_appear(data, variance, rescale):
    X = 10.0 * data.X
    path = colide_path(X, n_alphas=5, eps=0.5, variance=variance, threshold=0.0, rescale=rescale)
    np.testing.assert_allclose(path.alphas, path.alphas[0] * np.geomspace(1, 0.5, 5))
    assert path.n_edges[0] == 0
    assert not np.any(path.weights_raw[0])
    assert path.n_edges[-1] > 0
    just_below = colide_path(
        X, [0.95 * path.alphas[0]], variance=variance, threshold=0.0, rescale=rescale
    )
    assert np.any(just_below.weights_raw)


def test_default_grid_ends_at_the_strength_of_chance(data):
    path = colide_path(data.X, n_alphas=2)
    chance = data.X.std(axis=0).min() / np.sqrt(len(data.X))
    np.testing.assert_allclose(path.alphas[-1], chance, rtol=0.02)
    unrelated = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 5) * [1, 2]
    path = colide_path(unrelated, n_alphas=3)
    np.testing.assert_array_equal(path.n_edges, 0)
    np.testing.assert_allclose(path.alphas * np.sqrt(20), np.geomspace(1, 0.1, 3), rtol=0.02)


def test_forbidden_edges_lower_the_top_of_the_grid(data):
    free = colide_path(data.X, n_alphas=1, threshold=0.0)
    C = np.cov(data.X.T, ddof=0)
    strongest = np.argmax(np.abs(C - np.diag(np.diagonal(C))))
    pair = divmod(int(strongest), 8)
    path = colide_path(
        data.X, n_alphas=2, eps=0.9, threshold=0.0, forbidden_edges=[pair, pair[::-1]]
    )
    assert path.alphas[0] < free.alphas[0]
    assert path.n_edges[0] == 0
    assert path.n_edges[1] > 0


def test_path_with_weights_equals_repeated_rows(data):
    weights = np.random.default_rng(0).integers(0, 3, len(data.X))
    weighted = colide_path(data.X, [0.1, 0.05], sample_weight=weights)
    repeated = colide_path(np.repeat(data.X, weights, axis=0), [0.1, 0.05])
    np.testing.assert_allclose(weighted.weights_raw, repeated.weights_raw, atol=1e-6)


def test_path_takes_names_and_keeps_single_precision(data):
    frame = pd.DataFrame(data.X.astype(np.float32), columns=list("abcdefgh"))
    path = colide_path(frame, [0.1], forbidden_edges=[("a", "b")])
    assert path.adjacencies.dtype == np.float32
    assert path.weights_raw[0, 0, 1] == 0


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_path_does_not_depend_on_the_workers(data, backend):
    serial = colide_path(data.X, n_alphas=4, eps=0.01)
    with parallel_config(backend):
        parallel = colide_path(data.X, n_alphas=4, eps=0.01, n_jobs=2)
    np.testing.assert_array_equal(parallel.weights_raw, serial.weights_raw)


def test_path_reports_unfinished_fits_once(data):
    with pytest.warns(ConvergenceWarning, match="2 of the 2 fits") as record:
        path = colide_path(data.X, [0.05, 0.02], warm_iter=1, max_iter=1)
    assert len(record) == 1
    assert not path.success
    np.testing.assert_array_equal(path.converged, False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alphas": []}, ValueError, "alphas must be a non-empty"),
        ({"alphas": [-1.0]}, ValueError, "alphas must be finite and >= 0"),
        ({"n_alphas": 0}, ValueError, "n_alphas"),
        ({"n_alphas": 2.5}, TypeError, "n_alphas must be an integer"),
        ({"eps": 1.0}, ValueError, "eps must be between 0 and 1"),
        ({"solver": "newton"}, ValueError, "solver"),
        ({"threshold": -1}, ValueError, "threshold"),
        ({"alpha": 0.1}, TypeError, "alpha"),
        ({"warm_start": True}, TypeError, "warm_start"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"forbidden_edges": [(0, 9)]}, ValueError, "unknown variable 9"),
        ({"mu": (1.0, 2.0)}, ValueError, "mu must be decreasing"),
        ({"sample_weight": [1.0]}, ValueError, "sample_weight"),
    ],
)
def test_path_names_bad_arguments(data, arguments, error, message):
    with pytest.raises(error, match=message):
        colide_path(data.X, **arguments)


def test_path_refuses_bad_data(data):
    X = data.X.copy()
    X[:, 2] = 1.0
    with pytest.raises(ValueError, match=r"\[2\] of X are constant"):
        colide_path(X)
    X[0, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        colide_path(X)


# ---------------------------------------------------------------- the choice


def test_chosen_strength_beats_the_ends_of_the_grid(fitted, data):
    assert fitted.loss_path_.shape == (8, 4)
    means = fitted.loss_path_.mean(axis=1)
    chosen = np.flatnonzero(fitted.alphas_ == fitted.alpha_).item()
    assert chosen == np.argmin(means)
    assert 0 < chosen < 7
    fresh = make_linear_sem(
        n_samples=5000,
        n_features=8,
        edges_per_node=1,
        weight_range=(0.4, 1.0),
        variance="non_equal",
        random_state=3,
    ).X
    scores = [
        CoLiDE("non_equal", solver="prox", threshold=0.0, refit="ols", alpha=alpha)
        .fit(data.X)
        .score(fresh)
        for alpha in fitted.alphas_[[0, chosen, -1]]
    ]
    assert scores[1] > scores[0]
    assert scores[1] >= scores[2]


def test_losses_are_held_out_likelihoods_of_the_refitted_graphs(fitted, data):
    for number, (train, test) in enumerate(KFold(4).split(data.X)):
        for k in (0, 3, 7):
            model = CoLiDE(
                "non_equal", solver="prox", threshold=0.0, refit="ols", alpha=fitted.alphas_[k]
            ).fit(data.X[train])
            mixing = np.linalg.inv(np.eye(8) - model.adjacency_)
            covariance = mixing.T @ np.diag(model.noise_variances_) @ mixing
            expected = -multivariate_normal(model.mean_, covariance).logpdf(data.X[test]).mean()
            np.testing.assert_allclose(fitted.loss_path_[k, number], expected, rtol=1e-9)


def test_groups_reach_the_splitter(data):
    groups = np.arange(len(data.X)) // 7 % 2
    with config_context(enable_metadata_routing=True):
        model = CoLiDECV(alphas=[0.1], cv=LeaveOneGroupOut())
        model.fit(data.X, groups=groups)
    folds = [(np.flatnonzero(groups != k), np.flatnonzero(groups == k)) for k in range(2)]
    by_hand = CoLiDECV(alphas=[0.1], cv=folds).fit(data.X)
    np.testing.assert_array_equal(model.loss_path_, by_hand.loss_path_)


def test_final_model_is_the_fit_to_all_data(fitted, data):
    model = CoLiDE("non_equal", solver="prox", threshold=0.0, alpha=fitted.alpha_).fit(data.X)
    np.testing.assert_array_equal(fitted.adjacency_, model.adjacency_)
    np.testing.assert_array_equal(fitted.noise_variances_, model.noise_variances_)
    assert fitted.edges_ == model.edges_
    assert fitted.score(data.X) == model.score(data.X)
    assert fitted.bic(data.X) == model.bic(data.X)
    assert is_acyclic(fitted.adjacency_)


def test_one_standard_error_gives_no_smaller_strength(fitted, data):
    sparser = clone(fitted).set_params(selection_rule="1se").fit(data.X)
    np.testing.assert_array_equal(sparser.loss_path_, fitted.loss_path_)
    assert sparser.alpha_ >= fitted.alpha_
    means = fitted.loss_path_.mean(axis=1)
    best = np.argmin(means)
    limit = means[best] + fitted.loss_path_[best].std(ddof=1) / 2.0
    chosen = np.flatnonzero(fitted.alphas_ == sparser.alpha_).item()
    assert means[chosen] <= limit
    assert np.all(means[:chosen] > limit)


def test_equal_variances_share_one_in_the_likelihood(data):
    model = CoLiDECV("equal", alphas=[0.1], cv=2).fit(data.X)
    train, test = next(KFold(2).split(data.X))
    single = CoLiDE(solver="prox", alpha=0.1, refit="ols").fit(data.X[train])
    np.testing.assert_allclose(model.loss_path_[0, 0], -single.score(data.X[test]), rtol=1e-9)


def test_weights_equal_repeated_rows(data):
    weights = np.random.default_rng(1).integers(1, 3, len(data.X))
    halves = np.arange(len(data.X)) % 2
    folds = [(np.flatnonzero(halves == k), np.flatnonzero(halves != k)) for k in range(2)]
    repeated_halves = np.repeat(halves, weights)
    repeated_folds = [
        (np.flatnonzero(repeated_halves == k), np.flatnonzero(repeated_halves != k))
        for k in range(2)
    ]
    alphas = [0.2, 0.1]
    weighted = CoLiDECV(alphas=alphas, cv=folds).fit(data.X, sample_weight=weights)
    repeated = CoLiDECV(alphas=alphas, cv=repeated_folds)
    repeated.fit(np.repeat(data.X, weights, axis=0))
    np.testing.assert_allclose(weighted.loss_path_, repeated.loss_path_, rtol=1e-6)


def test_prior_knowledge_by_names_holds_in_every_fold(data):
    frame = pd.DataFrame(data.X, columns=list("abcdefgh"))
    model = CoLiDECV(alphas=3, cv=2, required_edges=[("h", "a")], tiers=[["h"], ["a"]])
    model.fit(frame)
    assert model.adjacency_[7, 0] != 0
    assert ("h", "a") in {edge[:2] for edge in model.edges_}


def test_folds_without_degrees_of_freedom_do_not_win():
    data = make_linear_sem(n_samples=12, n_features=8, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = CoLiDECV("non_equal", alphas=[5.0, 1e-4], cv=3, threshold=0.0, refine="order")
        model.fit(data.X)
    assert not np.any(np.isnan(model.loss_path_))
    assert np.all(np.isfinite(model.adjacency_))


def test_unfinished_fits_are_reported_once(data):
    with pytest.warns(ConvergenceWarning) as record:
        CoLiDECV(alphas=[0.05, 0.02], cv=2, warm_iter=1, max_iter=1).fit(data.X)
    messages = [str(warning.message) for warning in record]
    assert sum("of the 4 fits" in message for message in messages) == 1
    assert len(messages) == 2  # the other is that of the final fit


def test_standardised_data_draw_one_warning(data):
    X = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
    for fit in (
        lambda: CoLiDECV(alphas=[0.1, 0.05], cv=2).fit(X),
        lambda: colide_path(X, [0.1, 0.05]),
    ):
        with pytest.warns(StandardizedDataWarning) as record:
            fit()
        assert [w.category for w in record].count(StandardizedDataWarning) == 1


def test_cross_validation_needs_samples():
    assert not hasattr(CoLiDECV(), "fit_from_covariance")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alphas": 0}, "alphas"),
        ({"alphas": [np.nan]}, "alphas must be finite"),
        ({"eps": 2.0}, "eps"),
        ({"selection_rule": "best"}, "selection_rule"),
        ({"solver": "unknown"}, "solver"),
        ({"tiers": [[0], [0]]}, "twice"),
    ],
)
def test_bad_parameters_are_named(data, parameters, message):
    with pytest.raises(ValueError, match=message):
        CoLiDECV(**parameters).fit(data.X)


def test_bad_folds_are_named(data):
    X = data.X.copy()
    X[:, 1] = 0.0
    X[:40, 1] = data.X[:40, 1]
    with pytest.raises(ValueError, match=r"fold 0.*\[1\] of X are constant"):
        CoLiDECV(alphas=2, cv=5).fit(X)
    weights = np.ones(200)
    weights[:100] = 0.0
    with pytest.raises(ValueError, match=r"fold 0.*sample_weight"):
        CoLiDECV(alphas=2, cv=2).fit(data.X, sample_weight=weights)
