"""The generators keep what their docstrings promise."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from sparseopt import datasets
from sparseopt.datasets import (
    make_badly_scaled_classification,
    make_badly_scaled_multiclass,
    make_badly_scaled_regression,
    make_correlated_regression,
    make_infrared_targets,
    make_irs_mimo_channel,
    make_isac_scene,
    make_iso_exponential,
    make_kronecker_sparse,
    make_lattice_labels,
    make_linear_sem,
    make_low_rank_plus_sparse,
    make_moving_objects,
    make_single_index,
    make_sparse_recovery,
    make_spiked_tensor,
    make_text_like_regression,
    make_two_moons_graph,
)
from sparseopt.optimize import GraphQuadratic

DATA = Path(__file__).parents[1] / "data" / "bcd"
SMALL = {
    make_badly_scaled_classification: {"n_samples": 30, "n_features": 40},
    make_badly_scaled_multiclass: {"n_samples": 30, "n_features": 40, "n_classes": 5},
    make_badly_scaled_regression: {"n_samples": 30, "n_features": 40},
    make_correlated_regression: {"n_samples": 30, "n_features": 40, "n_nonzero": 5},
    make_iso_exponential: {"n_samples": 30, "n_features": 4},
    make_sparse_recovery: {"n_samples": 30, "n_features": 40, "n_nonzero": 5},
    make_text_like_regression: {"n_samples": 30, "n_features": 400, "n_nonzero": 5},
    make_lattice_labels: {"n_rows": 5, "n_columns": 4, "n_labelled": 3},
    make_two_moons_graph: {"n_samples": 30, "n_labelled": 6},
    make_linear_sem: {"n_samples": 30, "n_features": 8},
    make_low_rank_plus_sparse: {"n_samples": 30, "n_features": 20, "rank": 2},
    make_infrared_targets: {"n_images": 2, "shape": (32, 24)},
    make_moving_objects: {"n_frames": 5},
    make_kronecker_sparse: {"input_shape": (5, 4), "output_shape": (4, 3), "n_nonzero": 2},
    make_irs_mimo_channel: {"n_receive": 4, "n_transmit": 3, "n_elements": 16, "n_grid": 6},
    make_isac_scene: {"n_users": 2, "n_subcarriers": 3, "n_symbols": 4, "array_shape": (3, 2)},
    make_spiked_tensor: {"n_features": 6},
    make_single_index: {"n_samples": 30, "n_features": 6},
}
GRAPHS = [make_lattice_labels, make_two_moons_graph]
BADLY_SCALED = [
    make_badly_scaled_regression,
    make_badly_scaled_classification,
    make_badly_scaled_multiclass,
]
GENERATORS = [getattr(datasets, name) for name in datasets.__all__ if name.startswith("make_")]
LINEAR = [make_correlated_regression, make_sparse_recovery, make_text_like_regression]


BAD_OPTIONS = {"noise": -1.0, "noise_std": -1.0, "snr": np.nan}
BAD_OPTIONS |= dict.fromkeys(["flip", "density", "weight"], -1.0)


def _parts(drawn):
    """Return the arrays that a generator drew, those of a list, tuple or dict one by one."""
    for part in drawn.values() if isinstance(drawn, dict) else drawn:
        if isinstance(part, list | tuple | dict):
            yield from part.values() if isinstance(part, dict) else part
        elif not callable(part):
            yield part


def _dense(X):
    return X.toarray() if sparse.issparse(X) else X


@pytest.mark.parametrize("make", GENERATORS)
def test_reproducible_from_the_seed(make):
    drawn = [make(**SMALL[make], random_state=seed) for seed in (0, 0, 1)]
    first, again, other = (list(_parts(x)) for x in drawn)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(_dense(a), _dense(b))
    assert not np.array_equal(first[1], other[1], equal_nan=True)


@pytest.mark.parametrize("make", GENERATORS)
def test_options_are_keywords_and_ranges_are_checked(make):
    names = list(inspect.signature(make).parameters.values())
    positional = [p.name for p in names if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    sizes = [name for name in positional if name.startswith("n_") or name.endswith("_shape")]
    assert positional == sizes == list(SMALL[make])[: len(sizes)]
    with pytest.raises(ValueError, match=sizes[0]):
        make(**{sizes[0]: 0})
    options = {p.name for p in names} & BAD_OPTIONS.keys()
    assert options
    for option in options:
        with pytest.raises(ValueError, match=option):
            make(**SMALL[make], **{option: BAD_OPTIONS[option]})


@pytest.mark.parametrize("make", LINEAR)
def test_coefficients_are_optional_and_sparse(make):
    X, y, coef = make(**SMALL[make], noise=0.0, coef=True, random_state=3)
    plain_X, plain_y = make(**SMALL[make], noise=0.0, random_state=3)
    np.testing.assert_array_equal(_dense(X), _dense(plain_X))
    np.testing.assert_array_equal(y, plain_y)
    assert np.count_nonzero(coef) == 5
    np.testing.assert_allclose(X @ coef, y, atol=1e-13)


@pytest.mark.parametrize("make", LINEAR)
def test_more_nonzeros_than_features(make):
    with pytest.raises(ValueError, match="n_nonzero must be at most"):
        make(10, 12, n_nonzero=13)


@pytest.mark.parametrize("complex_data", [False, True])
def test_sparse_recovery_protocol(complex_data):
    X, y, coef = make_sparse_recovery(
        60,
        90,
        n_nonzero=7,
        n_targets=3,
        noise=0.02,
        complex_data=complex_data,
        coef=True,
        random_state=0,
    )
    assert X.shape == (60, 90)
    assert X.flags.f_contiguous
    assert y.shape == (60, 3)
    assert np.iscomplexobj(y) == np.iscomplexobj(coef) == complex_data
    np.testing.assert_allclose(np.linalg.norm(X, axis=0), 1.0)
    np.testing.assert_allclose(np.linalg.norm(y - X @ coef, axis=0), 0.02)
    np.testing.assert_array_equal(np.count_nonzero(coef, axis=0), 7)
    assert len({tuple(np.flatnonzero(column)) for column in coef.T}) == 3


def test_corruption_hits_the_share_of_rows():
    X, y, coef = make_sparse_recovery(
        200, 50, noise=0.0, corruption=0.1, corruption_scale=100.0, coef=True, random_state=1
    )
    errors = y - X @ coef
    hit = np.abs(errors) > 1e-9
    assert np.count_nonzero(hit) == 20
    assert 50 < np.sqrt(np.mean(errors[hit] ** 2)) < 200


@pytest.mark.parametrize("distribution", ["uniform", "arcsine"])
def test_iso_exponential(distribution):
    X, y = make_iso_exponential(4000, 3, distribution=distribution, random_state=0)
    np.testing.assert_allclose(y, np.exp(-X.sum(axis=1) / 6))
    assert np.abs(X).max() <= 1
    # Second moments of the two distributions.
    expected = 1 / 3 if distribution == "uniform" else 1 / 2
    np.testing.assert_allclose((X**2).mean(axis=0), expected, atol=0.03)
    noisy_X, noisy = make_iso_exponential(
        4000, 3, distribution=distribution, noise=0.1, random_state=0
    )
    np.testing.assert_array_equal(noisy_X, X)
    assert np.sqrt(np.mean((noisy - y) ** 2)) == pytest.approx(0.1)


def test_iso_exponential_corruption():
    X, y = make_iso_exponential(100, 3, corruption=0.25, random_state=0)
    assert np.count_nonzero(np.abs(y - np.exp(-X.sum(axis=1) / 6)) > 1e-9) == 25


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.8])
def test_correlated_features(correlation):
    X, y, coef = make_correlated_regression(
        20_000, 4, n_nonzero=2, correlation=correlation, noise=0.3, coef=True, random_state=0
    )
    distance = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    covariance = X.T @ X / len(X)
    np.testing.assert_allclose(covariance, float(correlation) ** distance, atol=0.04)
    assert X.flags.f_contiguous
    signal = X @ coef
    assert np.linalg.norm(y - signal) == pytest.approx(0.3 * np.linalg.norm(signal))


def test_text_like_design():
    X, _, coef = make_text_like_regression(
        300, 2000, n_words=40, n_nonzero=30, coef=True, random_state=0
    )
    assert isinstance(X, sparse.csc_array)
    assert X.has_canonical_format
    assert X.indices.dtype == np.int32
    assert (X.data > 0).all()
    assert X.nnz <= 300 * 40
    np.testing.assert_allclose((X * X).sum(axis=1), 1.0)
    document_frequency = np.sort(np.diff(X.indptr))[::-1]
    assert document_frequency[0] > 20 * np.median(document_frequency)  # few frequent words
    assert (np.diff(X.indptr)[coef != 0] > 0).all()


def test_published_size_of_the_text_like_design():
    X, _ = make_text_like_regression(random_state=0)
    assert X.shape == (5000, 50_000)
    assert X.nnz == pytest.approx(302_000, rel=0.03)


@pytest.mark.parametrize(("case", "make", "seed"), list(zip("ABC", BADLY_SCALED, (11, 12, 13))))
def test_badly_scaled_data_are_the_golden_ones(case, make, seed):
    golden = np.load(DATA / "data_ABC.npz")
    options = {"n_classes": 5} if case == "C" else {}
    X, y = make(*golden[f"{case}_X"].shape, **options, random_state=seed)
    assert isinstance(X, sparse.csc_array)
    np.testing.assert_array_equal(X.toarray(), golden[f"{case}_X"])
    expected = golden["C_labels" if case == "C" else f"{case}_y"]
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_badly_scaled_models():
    X, y, coef = make_badly_scaled_regression(
        2000, 300, density=0.25, nonzero=0.3, noise=0.5, coef=True, random_state=0
    )
    assert X.nnz == pytest.approx(0.25 * 2000 * 300, rel=0.02)
    assert np.count_nonzero(coef) == pytest.approx(0.3 * 300, rel=0.2)
    assert np.std(y - X @ coef) == pytest.approx(0.5, rel=0.05)
    scale = np.sqrt((X * X).sum(axis=0))
    assert scale.max() > 100 * scale.min()
    X, y, coef = make_badly_scaled_classification(
        2000, 300, density=0.5, flip=0.2, coef=True, random_state=0
    )
    assert np.mean(y != np.sign(X @ coef)) == pytest.approx(0.2, abs=0.03)
    X, y, coef = make_badly_scaled_multiclass(
        200, 30, n_classes=4, noise=0.0, coef=True, random_state=0
    )
    np.testing.assert_array_equal(y, np.argmax(X @ coef, axis=1))


def test_published_graphs():
    # The minimum on D is the constant of the authors' program, the one on E is the
    # reference implementation's with this seed.
    graph, values = make_lattice_labels(random_state=1)
    assert _minimum(graph, values) == pytest.approx(-1045999575.2270696, rel=1e-14)
    graph, y, X, truth = make_two_moons_graph(random_state=1)
    assert _minimum(graph, np.where(y == -1, np.nan, y)) == pytest.approx(-716.9827, abs=5e-5)
    assert np.count_nonzero(y != -1) == 100
    np.testing.assert_array_equal(y[y != -1], truth[y != -1])
    distance = np.hypot(*(X[truth == 1]).T), np.hypot(*(X[truth == 2] - [1, 0.5]).T)
    assert np.sqrt(np.mean((np.r_[distance] - 1) ** 2)) == pytest.approx(0.2, abs=0.02)


def _minimum(graph, values):
    problem = GraphQuadratic.from_labels(graph, values)
    return -0.5 * problem.b @ spsolve(problem.A.tocsc(), problem.b)


def test_golden_graphs():
    golden = np.load(DATA / "graphs.npz")
    lattice, values = make_lattice_labels(12, 9, n_labelled=4, random_state=17)
    np.testing.assert_array_equal(np.nan_to_num(values), golden["D_y"])
    moons, y, X, truth = make_two_moons_graph(220, n_labelled=11, random_state=18)
    np.testing.assert_array_equal(X, golden["E_points"])
    np.testing.assert_array_equal(truth, golden["E_true"])
    np.testing.assert_array_equal(np.where(y == -1, 0, y), golden["E_y"])
    for case, graph, weight in (("D", lattice, 1e5), ("E", moons, 1.0)):
        i, j = sparse.triu(graph).tocsr().nonzero()
        order = np.lexsort((golden[f"{case}_W_j"], golden[f"{case}_W_i"]))
        np.testing.assert_array_equal(i, golden[f"{case}_W_i"][order])
        np.testing.assert_array_equal(j, golden[f"{case}_W_j"][order])
        assert np.all(graph.data == weight)
        assert (graph != graph.T).nnz == 0


@pytest.mark.parametrize("make", GRAPHS)
def test_graphs_refuse_more_labels_than_nodes(make):
    with pytest.raises(ValueError, match="n_labelled must be at most"):
        make(**{**SMALL[make], "n_labelled": 31})
    with pytest.raises(ValueError, match="n_neighbors"):
        make_two_moons_graph(5, n_labelled=1)
