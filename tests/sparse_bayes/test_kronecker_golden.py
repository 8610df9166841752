"""Estimates of the published code of Kronecker-structured sparse Bayesian learning."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt.sparse_bayes import KroneckerDictionary, KroneckerSBL
from sparseopt.sparse_bayes._kronecker_posterior import kronecker_posterior

DATA = Path(__file__).parents[1] / "data" / "sparse_bayes"

GOLDEN = [
    ("am", "am", 1e-6),
    ("svd", "svd", 1e-6),
    ("ksbl", "ksbl", 1e-4),
    ("classic", "csbl", 1e-4),
    ("am", "am_un", 1e-6),
    ("svd", "svd_un", 1e-6),
    ("classic", "csbl_un", 1e-4),
]


@pytest.mark.parametrize(("m_step", "key", "rtol"), GOLDEN)
@pytest.mark.parametrize("name", ["kron_real", "kron_complex"])
def test_golden(name, m_step, key, rtol):
    data = np.load(DATA / f"{name}.npz", allow_pickle=False)
    noise = "learn" if key.endswith("_un") else float(data["noise_var"])
    model = KroneckerSBL.published(m_step, noise_variance=noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 150 iterations do not always do
        model.fit([data["A1"], data["A2"], data["A3"]], data["y"])
    expected = data[f"x_{key}"]
    assert np.linalg.norm(model.coef_.ravel() - expected) <= rtol * np.linalg.norm(expected)
    if key.endswith("_un"):
        assert model.noise_variance_ == pytest.approx(float(data[f"s2_{key}"]), rel=1e-6)
    if f"cost_{key}" in data:
        assert model.n_iter_ == int(data[f"niter_{key}"])
        np.testing.assert_allclose(model.history_["objective"], data[f"cost_{key}"], rtol=2e-5)
        if m_step == "svd":
            np.testing.assert_allclose(model.history_["objective"], data[f"cost_{key}"], rtol=1e-8)


@pytest.mark.parametrize(
    ("m_step", "settings"),
    [
        ("am", {"prune_tol": (1e-2, 1e-1, 1e-3), "inner_tol": 1e-4}),
        ("svd", {"prune_tol": 0.0, "prune_floor": (1e-4, 1e-4, 0.0)}),
        ("classic", {"prune_tol": 1e-4}),
    ],
)
def test_golden_channel(m_step, settings):
    data = np.load(DATA / "irs_small.npz", allow_pickle=False)
    factors = [data["A1"], data["A2"], data["A3"]]
    model = KroneckerSBL.published(m_step, noise_variance=float(data["noise_var"]), **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(factors, data["y"])
    A_irs = data["A_irs"]
    differences = (A_irs[:, :1] * A_irs.conj())[:, : data["A1"].shape[1]]
    response = [data["W"].T @ differences, data["A_ms"].conj(), data["A3"]]
    channels = KroneckerDictionary(response).apply(model.coef_)
    channels = channels.reshape(len(channels), -1).T
    expected = data[f"Hvec_{m_step.replace('classic', 'csbl')}"]
    assert np.linalg.norm(channels - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("coupling_step", ["nnls", "mm"])
def test_published_start_of_coupled_factors(coupling_step):
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((4, 6)), rng.standard_normal((5, 7))]
    y = rng.standard_normal((4, 5))
    model = KroneckerSBL.published(
        pattern_coupling=(0.5, None),
        coupling_step=coupling_step,
        noise_variance=np.float64(0.3),
        max_iter=1,
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(factors, y)
    # Each variance has its own share and half of that of every neighbour.
    start = [np.array([1.5, 2, 2, 2, 2, 1.5]), np.ones(7)]
    expected = kronecker_posterior(factors, y, start, 0.3).nll
    np.testing.assert_allclose(model.history_["objective"], [expected], rtol=1e-12)
