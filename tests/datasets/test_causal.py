"""Simulated linear structural equation models, and the protein measurements."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sparseopt.datasets import load_sachs, make_linear_sem

DATA = Path(__file__).parents[1] / "data" / "causal"
CASES = {
    "er2_d10_ev_gauss": {"n_features": 10, "random_state": 11},
    "er2_d10_nv_gauss": {"n_features": 10, "variance": "non_equal", "random_state": 12},
    "er2_d20_nv_laplace": {
        "n_features": 20,
        "variance": "non_equal",
        "noise": "laplace",
        "weight_range": (0.25, 1.0),
        "random_state": 13,
    },
    "sf2_d20_ev_exp": {
        "n_features": 20,
        "graph": "sf",
        "noise": "exponential",
        "random_state": 14,
    },
}


@pytest.mark.parametrize("case", CASES)
def test_golden_data(case):
    golden = np.load(DATA / f"{case}.npz")
    model = make_linear_sem(**CASES[case])
    assert_array_equal(model.adjacency, golden["W_true"])
    assert_array_equal(model.noise_variances, golden["var_true"])
    assert_allclose(model.X, golden["X"], rtol=0, atol=5.0001e-6)


@pytest.mark.parametrize("graph", ["er", "sf"])
def test_causal_order_goes_forward(graph):
    for seed in range(5):
        model = make_linear_sem(5, 12, graph=graph, random_state=seed)
        place = np.argsort(model.causal_order)
        rows, columns = np.nonzero(model.adjacency)
        assert np.all(place[rows] < place[columns])
        assert sorted(model.causal_order) == list(range(12))


@pytest.mark.parametrize("noise", ["gaussian", "exponential", "laplace"])
def test_noise_is_what_the_model_leaves(noise):
    model = make_linear_sem(
        200_000, 6, noise=noise, variance="non_equal", noise_variance=(2.0, 5.0), random_state=0
    )
    Z = model.X - model.X @ model.adjacency
    assert np.all((model.noise_variances >= 2) & (model.noise_variances <= 5))
    assert_allclose(Z.var(axis=0), model.noise_variances, rtol=0.03)
    assert_allclose(np.corrcoef(Z.T), np.eye(6), atol=0.01)
    scaled = (Z - Z.mean(axis=0)) / np.sqrt(model.noise_variances)
    skewness, kurtosis = np.mean(scaled**3), np.mean(scaled**4)
    expected = {"gaussian": (0, 3), "exponential": (2, 9), "laplace": (0, 6)}[noise]
    assert_allclose((skewness, kurtosis), expected, rtol=0.05, atol=0.05)
    mean = np.sqrt(model.noise_variances) if noise == "exponential" else np.zeros(6)
    assert_allclose(Z.mean(axis=0), mean, atol=0.03)


def test_number_of_edges():
    er = [
        np.count_nonzero(make_linear_sem(1, 40, edges_per_node=4, random_state=seed).adjacency)
        for seed in range(40)
    ]
    assert np.mean(er) == pytest.approx(160, rel=0.03)
    sf = make_linear_sem(1, 40, graph="sf", edges_per_node=4, random_state=0).adjacency
    assert np.count_nonzero(sf) == 4 * 40 - 4 * 5 // 2
    assert (sf != 0).sum(axis=1).max() == 4
    assert (sf != 0).sum(axis=0).max() > 8  # hubs are effects
    assert np.count_nonzero(make_linear_sem(1, 5, edges_per_node=2).adjacency) == 10
    assert not make_linear_sem(1, 5, edges_per_node=0).adjacency.any()
    assert np.count_nonzero(make_linear_sem(1, 40, edges_per_node=0.5, random_state=0).adjacency)


def test_weights_and_variances():
    model = make_linear_sem(
        1, 30, edges_per_node=5, weight_range=(0.1, 0.4), noise_variance=3.0, random_state=0
    )
    weights = model.adjacency[model.adjacency != 0]
    assert np.all((np.abs(weights) >= 0.1) & (np.abs(weights) <= 0.4))
    assert 0.3 < np.mean(weights > 0) < 0.7
    assert_array_equal(model.noise_variances, np.full(30, 3.0))


def test_random_states():
    first = make_linear_sem(4, 6, random_state=0).X
    assert_array_equal(make_linear_sem(4, 6, random_state=np.random.default_rng(0)).X, first)
    rng = np.random.default_rng(0)
    make_linear_sem(4, 6, random_state=rng)
    assert not np.array_equal(make_linear_sem(4, 6, random_state=rng).X, first)
    old = [make_linear_sem(4, 6, random_state=np.random.RandomState(5)).X for _ in range(2)]
    assert_array_equal(*old)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": "ba"}, "graph"),
        ({"variance": "unequal"}, "variance"),
        ({"n_features": 1}, "n_features"),
        ({"edges_per_node": -1}, "edges_per_node"),
        ({"edges_per_node": 2.1, "n_features": 5}, "edges_per_node must be at most 2.0"),
        ({"edges_per_node": 1.5, "graph": "sf"}, "edges_per_node must be an integer"),
        ({"weight_range": (2.0, 0.5)}, "weight_range"),
        ({"weight_range": (0.0, 0.5)}, "weight_range"),
        ({"weight_range": 0.5}, "weight_range"),
        ({"weight_range": (0.5, np.nan)}, "weight_range"),
        ({"noise_variance": (1.0, 2.0)}, "noise_variance"),
        ({"noise_variance": 0.0}, "noise_variance"),
        ({"variance": "non_equal", "noise_variance": 1.0}, "noise_variance"),
        ({"variance": "non_equal", "noise_variance": (0.0, 1.0)}, "noise_variance"),
        ({"random_state": "seed"}, "random_state"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        make_linear_sem(**options)


def test_sachs():
    sachs = load_sachs()
    assert sachs.data.shape == (853, 11)
    assert sachs.data.dtype == np.float64
    assert sachs.frame is None
    assert sachs.feature_names == "Raf Mek Plcg PIP2 PIP3 Erk Akt PKA PKC P38 Jnk".split()
    assert_array_equal(sachs.data[0, [0, 7, 10]], [26.4, 414.0, 40.0])
    golden = np.load(DATA / "sachs_obs853.npz")
    assert_array_equal(sachs.data, golden["X"])
    assert_array_equal(sachs.adjacency, golden["G_consensus"])
    assert np.count_nonzero(sachs.adjacency) == 17
    place = {name: index for index, name in enumerate(sachs.feature_names)}
    for edge in ("PKC Raf", "Raf Mek", "Mek Erk", "Erk Akt", "Plcg PIP2", "PIP3 PIP2"):
        cause, effect = edge.split()
        assert sachs.adjacency[place[cause], place[effect]] == 1
    order = [place[name] for name in "PKC PKA P38 Jnk Raf Mek Erk Akt Plcg PIP3 PIP2".split()]
    assert not np.tril(sachs.adjacency[np.ix_(order, order)]).any()
    assert "Science" in sachs.DESCR


def test_sachs_is_read_anew():
    first = load_sachs()
    first.data[:] = first.adjacency[:] = 0
    assert load_sachs().data.min() == 1.0
    assert load_sachs().adjacency.sum() == 17


def test_sachs_as_frame_and_as_pair():
    pd = pytest.importorskip("pandas")
    sachs = load_sachs(as_frame=True)
    assert isinstance(sachs.data, pd.DataFrame)
    assert list(sachs.data.columns) == sachs.feature_names
    assert sachs.frame is sachs.data
    assert sachs.adjacency.loc["PKC", "Raf"] == 1
    assert sachs.adjacency.loc["Raf", "PKC"] == 0
    X, adjacency = load_sachs(return_X_y=True)
    assert_array_equal(X, sachs.data.to_numpy())
    assert_array_equal(adjacency, sachs.adjacency.to_numpy())
    frame, graph = load_sachs(return_X_y=True, as_frame=True)
    pd.testing.assert_frame_equal(frame, sachs.data)
    pd.testing.assert_frame_equal(graph, sachs.adjacency)
    with pytest.raises(ValueError, match="as_frame"):
        load_sachs(as_frame="yes")
