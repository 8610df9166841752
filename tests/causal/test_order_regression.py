"""Regressions along an order: scikit-learn's on the data, recorded figures, scales."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LassoLarsIC, LinearRegression, lars_path

from sparseopt.causal._graphs import threshold_to_dag
from sparseopt.causal._metrics import dag_metrics
from sparseopt.causal._order_regression import regress_along_order
from sparseopt.causal._sortability import explained_shares, factor_correlations
from sparseopt.datasets import make_linear_sem

DATA = Path(__file__).parents[1] / "data" / "causal"
ROWS = json.loads((DATA / "sort_regress.json").read_text())
SETTINGS = {
    "A": {"n_features": 50, "edges_per_node": 4},
    "B": {
        "n_features": 50,
        "edges_per_node": 4,
        "variance": "non_equal",
        "weight_range": (0.25, 1.0),
    },
    "C": {"n_features": 100, "edges_per_node": 2},
    "E": {"n_features": 50, "edges_per_node": 4, "graph": "sf"},
}
MODEL = make_linear_sem(300, 8, random_state=0)
C = np.cov(MODEL.X.T, bias=True)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['cf']}-{row['seed']}-{row['m']}")
def test_recorded_baselines(row):
    model = make_linear_sem(1000, **SETTINGS[row["cf"][0]], random_state=1000 + row["seed"])
    C = (np.corrcoef if row["std"] else np.cov)(model.X.T)
    scores = np.diagonal(C)
    if row["m"] == "r2sort":
        scores = explained_shares(factor_correlations(C, 1000)[1])
    estimate = threshold_to_dag(regress_along_order(C, 1000, np.argsort(scores)))
    metrics = dag_metrics(model.adjacency, estimate)
    assert (metrics.shd, metrics.shd_cpdag) == (row["shd"], row["shdc"])
    assert (metrics.sid, metrics.nnz, metrics.nnz_true) == (row["sid"], row["nnz"], row["true"])
    assert (round(metrics.fdr, 4), round(metrics.tpr, 4)) == (row["fdr"], row["tpr"])


def test_regressions_are_scikit_learns():
    X = MODEL.X
    order = np.random.default_rng(0).permutation(8)
    expected = np.zeros((8, 8))
    for place in range(1, 8):
        before, node = order[:place], order[place]
        weights = np.abs(LinearRegression().fit(X[:, before], X[:, node]).coef_)
        lasso = LassoLarsIC("bic").fit(X[:, before] * weights, X[:, node])
        expected[before, node] = lasso.coef_ * weights
    actual = regress_along_order(C, 300, order)
    assert_allclose(actual, expected, atol=1e-9)
    assert_array_equal(actual != 0, expected != 0)


def test_scales_of_columns_do_not_matter():
    scale = np.logspace(-6, 6, 8)
    plain = regress_along_order(C, 300, np.arange(8))
    scaled = regress_along_order(C * np.outer(scale, scale), 300, np.arange(8))
    assert_allclose(scaled * scale[:, None] / scale, plain, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n_samples", [5, 12])
def test_few_samples_give_paths_weighted_by_correlations(n_samples):
    X = MODEL.X[: 3 * n_samples : 3] if n_samples == 5 else np.tile(MODEL.X[:5], (3, 1))[:12]
    rank = np.linalg.matrix_rank(np.corrcoef(X.T), hermitian=True)
    assert rank == 4
    expected_warning = pytest.warns(UserWarning, match="Column 4 of X is a linear combination")
    with contextlib.nullcontext() if n_samples == 5 else expected_warning:
        actual = regress_along_order(np.cov(X.T, bias=True), n_samples, np.arange(8))
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    for j in range(4, 8):
        weights = np.abs(Z[:, :j].T @ Z[:, j]) / len(Z)
        _, _, path = lars_path(Z[:, :j] * weights, Z[:, j], method="lasso", max_iter=rank // 2)
        rss = np.sum((Z[:, [j]] - (Z[:, :j] * weights) @ path) ** 2, axis=0) / len(Z)
        bic = n_samples * np.log(rss) + np.log(n_samples) * np.count_nonzero(path, axis=0)
        expected = path[:, np.argmin(bic)] * weights * X.std(axis=0)[j] / X.std(axis=0)[:j]
        assert_allclose(actual[:j, j], expected, atol=1e-9)
