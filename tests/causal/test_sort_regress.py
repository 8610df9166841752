"""Sorting and regressing: the fitted model, scores, invariances, bad input."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import check_estimator

from sparseopt.causal import SortRegress, StandardizedDataWarning, dag_metrics, is_acyclic
from sparseopt.datasets import load_sachs, make_linear_sem
from sparseopt.testing import check_sparseopt_estimator, estimator_checks

CRITERIA = ["variance", "r2", "random"]
MODEL = make_linear_sem(300, 8, random_state=0)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_fitted_model(criterion):
    X = MODEL.X.copy()
    fitted = SortRegress(criterion, threshold=0.1, random_state=0).fit(X)
    assert_array_equal(X, MODEL.X)
    W = fitted.adjacency_
    assert is_acyclic(W)
    assert np.all(np.abs(W[W != 0]) > 0.1)
    causes, effects = np.nonzero(W)
    assert np.all(fitted.scores_[causes] < fitted.scores_[effects])
    place = np.argsort(fitted.causal_order_)
    assert np.all(place[causes] < place[effects])
    assert_allclose(fitted.mean_, X.mean(axis=0))
    assert_allclose(fitted.noise_variances_, (X - X @ W).var(axis=0))
    everything = SortRegress(criterion, threshold=0.0, random_state=0).fit(X).adjacency_
    assert_array_equal(W, np.where(np.abs(everything) > 0.1, everything, 0.0))


def test_a_new_fit_forgets_interventions():
    fitted = SortRegress().fit(MODEL.X)
    changed = fitted.intervene({0: 1.0})
    assert changed.score(MODEL.X) != fitted.score(MODEL.X)
    assert changed.fit(MODEL.X).score(MODEL.X) == fitted.score(MODEL.X)


def test_scores():
    X = MODEL.X
    assert_allclose(SortRegress().fit(X).scores_, X.var(axis=0))
    r2 = [
        LinearRegression().fit(Z, X[:, j]).score(Z, X[:, j])
        for j, Z in enumerate(np.delete(X, j, axis=1) for j in range(8))
    ]
    assert_allclose(SortRegress("r2").fit(X).scores_, r2)
    drawn = [SortRegress("random", random_state=seed).fit(X).scores_ for seed in (0, 0, 1)]
    assert_array_equal(drawn[0], drawn[1])
    assert sorted(drawn[0]) == list(range(8))
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("criterion", ["variance", "r2"])
def test_invariances(criterion):
    X = MODEL.X
    model = SortRegress(criterion)
    expected = model.fit(X).adjacency_
    order = np.random.default_rng(1).permutation(8)
    permuted = clone(model).fit(X[:, order]).adjacency_
    assert_allclose(permuted, expected[np.ix_(order, order)], atol=1e-9)
    assert_allclose(clone(model).fit(X + 1e3).adjacency_, expected, atol=1e-9)
    for factor in (1e-3, 1e3):
        assert_allclose(clone(model).fit(factor * X).adjacency_, expected, atol=1e-9)


def test_weights_are_repetitions():
    weights = np.random.default_rng(0).integers(0, 4, 300)
    repeated = SortRegress().fit(np.repeat(MODEL.X, weights, axis=0))
    weighted = SortRegress().fit(MODEL.X, sample_weight=weights)
    assert_allclose(weighted.adjacency_, repeated.adjacency_, atol=1e-9)
    assert_allclose(weighted.mean_, repeated.mean_)
    assert_allclose(weighted.noise_variances_, repeated.noise_variances_)


def test_frame_of_proteins():
    pytest.importorskip("pandas")
    sachs = load_sachs(as_frame=True)
    fitted = SortRegress().fit(sachs.data)
    assert list(fitted.feature_names_in_) == sachs.feature_names
    assert dag_metrics(sachs.adjacency, fitted.adjacency_).shd == 14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "mean"}, "criterion"),
        ({"threshold": -1.0}, "threshold"),
        ({"threshold": np.nan}, "threshold"),
        ({"random_state": "seed"}, "random_state"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        SortRegress(**options).fit(MODEL.X)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_data_are_checked(criterion):
    model = SortRegress(criterion)
    with pytest.raises(ValueError, match="constant"):
        model.fit(np.where(np.arange(8) == 3, 0.1, MODEL.X))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(MODEL.X > 3, np.nan, MODEL.X))
    with pytest.raises(ValueError, match="minimum of 2"):
        model.fit(MODEL.X[:, :1])


def test_dependent_columns():
    X = np.c_[MODEL.X[:, :7], MODEL.X[:, :3].sum(axis=1)]
    with pytest.raises(ValueError, match="column 7 is a linear combination"):
        SortRegress("r2").fit(X)
    with pytest.warns(UserWarning, match="is a linear combination of others"):
        fitted = SortRegress().fit(X)
    assert is_acyclic(fitted.adjacency_)
    assert np.isfinite(fitted.score(X))
    with pytest.warns(UserWarning, match="Column 7 of X is a linear combination"):
        twice = SortRegress().fit(np.c_[MODEL.X[:, :7], 2 * MODEL.X[:, 3]])
    assert twice.adjacency_[3, 7] == pytest.approx(2.0, rel=1e-6)


def test_standardised_columns():
    X = (MODEL.X - MODEL.X.mean(axis=0)) / MODEL.X.std(axis=0)
    with pytest.warns(StandardizedDataWarning, match="order by variances means nothing") as caught:
        SortRegress().fit(X)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for criterion in ("r2", "random"):
            SortRegress(criterion).fit(X)
        SortRegress().fit(MODEL.X)


def test_r2_needs_more_samples_than_features():
    with pytest.raises(ValueError, match="more samples than features"):
        SortRegress("r2").fit(MODEL.X[:8])


@pytest.mark.parametrize("n_samples", [60, 100, 101])
def test_few_samples(n_samples):
    model = make_linear_sem(n_samples, 100, edges_per_node=1, random_state=0)
    fitted = SortRegress().fit(model.X)
    assert is_acyclic(fitted.adjacency_)
    metrics = dag_metrics(model.adjacency, fitted.adjacency_)
    assert metrics.tpr > 0.8
    assert metrics.shd < metrics.nnz_true
    repeated = SortRegress().fit(np.repeat(model.X[:20], 3, axis=0))
    weighted = SortRegress().fit(model.X[:20], sample_weight=np.full(20, 3))
    assert_allclose(weighted.adjacency_, repeated.adjacency_, atol=1e-7)


@pytest.mark.parametrize("criterion", ["variance", "random"])
def test_estimator_checks(criterion):
    model = SortRegress(criterion, random_state=0)
    assert check_sparseopt_estimator(model) is None


def test_estimator_checks_of_r2():
    model = SortRegress("r2")
    refused = {
        "check_sample_weight_equivalence_on_dense_data": "has fewer samples than features",
        "check_array_api_input": "has linearly dependent columns",
    }
    assert check_estimator(model, expected_failed_checks=refused)
    for check in estimator_checks(model):
        assert check("SortRegress", model) is None
