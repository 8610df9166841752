"""Online robust PCA: the published update, its fixed points, and what samples kept put right."""

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import linalg
from sklearn.base import clone

from sparseopt.decomposition import robust_pca
from sparseopt.decomposition._kernels.online import sweep_components
from sparseopt.decomposition._online_robust_pca import OnlineRobustPCA
from sparseopt.decomposition._online_stream import StreamOptions, learn_rows, revise

DATA = Path(__file__).parents[1] / "data" / "decomposition"
STATISTICS = ("components_", "A_", "B_")


def make_stream(n=300, p=40, r=2, share=0.05, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    low_rank = rng.standard_normal((n, r)) @ rng.standard_normal((r, p))
    X = low_rank + noise * rng.standard_normal((n, p))
    X += 10 * rng.standard_normal((n, p)) * (rng.random((n, p)) < share)
    return X, low_rank


def angle(components, low_rank):
    """Return the sine of the largest angle between the span of components and the true one."""
    r = np.linalg.matrix_rank(low_rank)
    truth = np.linalg.svd(low_rank)[2][:r]
    basis = np.linalg.svd(components, full_matrices=False)[2]
    return np.linalg.norm(truth - truth @ basis.T @ basis, 2)


def best_iou(sparse, masks):
    found = [np.abs(sparse) > threshold for threshold in np.arange(0.01, 0.3, 0.01)]
    return max(np.sum(mask & masks) / np.sum(mask | masks) for mask in found)


def parked_object():
    """Return frames (60, 100) where an object hides features 10..19 in frames 3..16."""
    rng = np.random.default_rng(0)
    background = rng.uniform(0.2, 0.8, 100)
    X = np.outer(rng.uniform(0.9, 1.1, 60), background) + 0.002 * rng.standard_normal((60, 100))
    X[3:17, 10:20] += 0.3
    return X, background


# -- the algorithm as published -----------------------------------------------------------------


def test_one_pass_reproduces_the_published_algorithm():
    golden = np.load(DATA / "orpca.npz")
    X, lam1, lam2 = golden["Z"].T, float(golden["lam1"]), float(golden["lam2"])
    model = OnlineRobustPCA(3, lam1=lam1, lam2=lam2, init=golden["L_init"].T, memory_size=0)
    model.fit(X)
    assert_allclose(model.components_, golden["L"].T, rtol=1e-8, atol=1e-8)
    assert_allclose(model.A_, golden["A"], rtol=1e-8)
    assert_allclose(model.B_, golden["B"].T, rtol=1e-8, atol=1e-8)
    scores, errors = [], []
    model = clone(model)
    for row, x, e in zip(X, golden["R"].T, golden["E"].T):
        if hasattr(model, "components_"):
            scores.append(model.transform(row[None])[0] - x)
            errors.append(model.decompose(row[None])[1][0] - e)
        model.partial_fit(row[None])
    assert_allclose(scores, 0, atol=1e-8)
    assert_allclose(errors, 0, atol=1e-8)


def test_sweep_is_a_triangular_solve():
    rng = np.random.default_rng(0)
    C, B = rng.standard_normal((2, 4, 1300))
    M = rng.standard_normal((4, 6))
    A = M @ M.T
    ridged = A + 0.3 * np.eye(4)
    expected = linalg.solve_triangular(np.tril(ridged), B - np.triu(ridged, 1) @ C, lower=True)
    sweep_components(C, A, B, 0.3)
    assert_allclose(C, expected, rtol=1e-10, atol=1e-10)


def test_forgetting_weighs_samples_down():
    X, _ = make_stream(n=25)
    init = np.random.default_rng(1).standard_normal((2, 40))
    options = {"lam1": 0.2, "lam2": 0.2, "init": init, "memory_size": 0, "batch_size": 25}
    full = OnlineRobustPCA(2, **options).fit(X)
    scores = OnlineRobustPCA(2, **options, forgetting=1e-300).partial_fit(X[:1])
    assert_allclose(full.n_samples_seen_, 25)
    one = OnlineRobustPCA(2, **options).partial_fit(X[:1])
    assert_allclose(scores.A_, one.A_)
    both = OnlineRobustPCA(2, **options, forgetting=0.5).partial_fit(X[:1])
    x = both.transform(X[1:2])
    both.partial_fit(X[1:2])
    assert_allclose(both.A_, 0.5 * one.A_ + x.T @ x, rtol=1e-12)


def test_batches_share_their_components():
    X, _ = make_stream(n=12)
    init = np.random.default_rng(1).standard_normal((2, 40))
    options = {"lam1": 0.2, "lam2": 0.3, "init": init, "memory_size": 0}
    model = OnlineRobustPCA(2, **options, batch_size=12).fit(X[:1]).partial_fit(X[1:])
    start = OnlineRobustPCA(2, **options).fit(X[:1])
    scores = start.transform(X[1:])
    assert_allclose(model.A_, start.A_ + scores.T @ scores, rtol=1e-12)
    clean = X[1:] - start.decompose(X[1:])[1]
    assert_allclose(model.B_, start.B_ + scores.T @ clean, rtol=1e-10, atol=1e-12)


# -- what it converges to -----------------------------------------------------------------------


def test_joint_learning_ends_at_stable_principal_pursuit():
    X, _ = make_stream(n=20, p=30, share=0.1, noise=0.05)
    lam1, lam2 = 1.5, 0.25
    options = StreamOptions(5, lam1, lam2, "pcp", 20, 1, 1.0, np.random.RandomState(0))
    state = learn_rows(None, X, options)
    for _ in range(300):
        state = revise(state)
    model = OnlineRobustPCA(5, lam1=lam1, lam2=lam2).fit(X)
    model._set_state(state)
    exact = robust_pca(X, method="stable", lam=lam2 / lam1, mu=lam1, tol_gap=1e-10)
    low_rank, sparse = model.decompose(X)
    assert_allclose(low_rank, exact.low_rank, atol=1e-4)
    assert_allclose(sparse, exact.sparse, atol=1e-4)


@pytest.mark.parametrize("init", ["pcp", "svd", "random"])
def test_samples_kept_make_any_start_good(init):
    X, low_rank = make_stream(n=600, p=60, r=3, share=0.1)
    model = OnlineRobustPCA(3, init=init, random_state=0).fit(X)
    published = OnlineRobustPCA(3, init=init, memory_size=0, random_state=0).fit(X)
    assert angle(model.components_, low_rank) < 0.02
    assert angle(model.components_, low_rank) < angle(published.components_, low_rank) / 5
    assert_allclose(model.decompose(X)[0], low_rank, atol=0.3)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_accuracy_grows_with_the_stream(batch_size):
    X, low_rank = make_stream(n=10_000, p=20, r=3, noise=0.05)
    angles = []
    model = OnlineRobustPCA(3, batch_size=batch_size)
    for start, stop in pairwise([0, 100, 1000, 10_000]):
        model.partial_fit(X[start:stop])
        angles.append(angle(model.components_, low_rank[:50]))
    assert angles[1] < angles[0] / 2
    assert angles[2] < min(angles[1] / 2, 2e-3)


def test_background_behind_a_parked_object_is_found():
    X, background = parked_object()
    model = OnlineRobustPCA(1).fit(X)
    published = OnlineRobustPCA(1, memory_size=0).fit(X)

    def deviation(fitted):
        c = fitted.components_[0]
        return np.abs(c / np.median(c) - background / np.median(background)).max()

    assert deviation(model) < 0.02
    assert deviation(published) > 0.3


def test_one_pass_finds_the_objects_of_a_clip():
    clip = np.load(DATA / "video_semi_half.npz")
    X = clip["frames"].reshape(100, -1) / 255
    masks = np.unpackbits(clip["masks"], axis=-1)[..., :48].reshape(100, -1).astype(bool)
    scores = {}
    for size in (0, 20):
        model = OnlineRobustPCA(2, memory_size=size).partial_fit(X[:20])
        found = [model.decompose(X[:20])[1]]
        for frame in X[20:]:
            found.append(model.partial_fit(frame[None]).decompose(frame[None])[1])
        scores[size] = best_iou(np.vstack(found), masks)
    assert scores[20] >= 0.68
    assert scores[0] < 0.6
    assert best_iou(model.decompose(X)[1], masks) >= 0.82


def test_superfluous_components_vanish():
    X, low_rank = make_stream(n=200, r=2, noise=0.02)
    model = OnlineRobustPCA(6).fit(X)
    lengths = np.sort(np.linalg.norm(model.components_, axis=1))[::-1]
    assert lengths[2] < 0.1 * lengths[1]
    assert_allclose(model.decompose(X)[0], low_rank, atol=0.5)


def test_new_directions_are_learnt():
    rng = np.random.default_rng(0)
    V = rng.standard_normal((2, 40))
    scores = rng.standard_normal((400, 2)) * [3, 2]
    scores[:100, 1] = 0
    X = scores @ V + 0.02 * rng.standard_normal((400, 40))
    model = OnlineRobustPCA(2).fit(X[:100])
    assert angle(model.components_, V) > 0.3
    assert angle(model.partial_fit(X[100:]).components_, V) < 0.05


def test_forgetting_follows_a_drift():
    rng = np.random.default_rng(0)
    start, end = rng.standard_normal((2, 1, 50))
    share = np.linspace(0, 1, 600)[:, None]
    X = rng.standard_normal((600, 1)) * ((1 - share) * start + share * end)
    X += 0.01 * rng.standard_normal(X.shape)
    X[rng.random(X.shape) < 0.05] += 5
    slow = OnlineRobustPCA(1).fit(X)
    fast = OnlineRobustPCA(1, forgetting=0.95).fit(X)
    assert angle(fast.components_, end) < 0.1
    assert angle(slow.components_, end) > 0.3


# -- missing entries ----------------------------------------------------------------------------


def test_missing_entries_are_filled_in():
    X, low_rank = make_stream(n=400, share=0.05)
    holes = np.random.default_rng(1).random(X.shape) < 0.25
    X[holes] = np.nan
    model = OnlineRobustPCA(2).fit(X)
    filled, sparse = model.decompose(X)
    assert angle(model.components_, low_rank) < 0.02
    assert not sparse[holes].any()
    assert np.median(np.abs(filled - low_rank)[holes]) < 0.02


def test_imputed_rows_are_complete():
    X = make_stream(n=60)[0]
    model = OnlineRobustPCA(2).fit(X)
    holes = X.copy()
    holes[::5, ::7] = np.nan
    filled, missing = model.impute(holes), np.isnan(holes)
    np.testing.assert_array_equal(filled[~missing], X[~missing])
    np.testing.assert_allclose(filled[missing], model.decompose(holes)[0][missing])


def test_missing_entries_count_as_what_the_fit_says():
    X, _ = make_stream(n=2, share=0)
    init = np.random.default_rng(1).standard_normal((2, 40))
    model = OnlineRobustPCA(2, lam1=0.2, lam2=0.3, init=init, memory_size=0).fit(X[:1])
    row = X[1:].copy()
    row[0, :15] = np.nan
    filled, sparse = model.decompose(row)
    x, before = model.transform(row), model.B_
    model.partial_fit(row)
    clean = np.where(np.isnan(row), filled, row - sparse)
    assert_allclose(model.B_, before + x.T @ clean, rtol=1e-10, atol=1e-12)


def test_empty_samples_and_features_change_nothing():
    X, _ = make_stream(n=60)
    empty = np.full((1, 40), np.nan)
    model = OnlineRobustPCA(2).fit(X)
    components = model.components_
    model.partial_fit(np.vstack([empty, empty]))
    assert_allclose(model.A_, OnlineRobustPCA(2).fit(X).A_)
    assert model.n_samples_seen_ == 62
    assert angle(model.components_, components) < 1e-3
    assert not model.transform(empty).any()
    assert_allclose(model.score_samples(empty), 0)
    hidden = X.copy()
    hidden[:, 7] = np.nan
    model = OnlineRobustPCA(2).fit(hidden)
    assert not model.components_[:, 7].any()
    first = OnlineRobustPCA(2).partial_fit(empty)
    assert np.all(np.isfinite(first.components_))
    assert np.all(np.isfinite(first.partial_fit(X).components_))
    model.partial_fit(make_stream(n=500)[0])  # the feature that was hidden comes into sight
    assert np.linalg.norm(model.components_[:, 7]) > 0.1


# -- streams ------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(20, 119), max_size=6), st.sampled_from([1.0, 0.9]))
def test_splitting_a_stream_changes_nothing(cuts, forgetting):
    X, _ = make_stream(n=120, p=15)
    options = {"n_components": 2, "forgetting": forgetting}
    expected = OnlineRobustPCA(**options).fit(X)
    model = OnlineRobustPCA(**options)
    edges = [0, *sorted(set(cuts)), 120]
    for start, stop in pairwise(edges):
        model.partial_fit(X[start:stop])
    for name in STATISTICS:
        assert_allclose(getattr(model, name), getattr(expected, name), rtol=1e-12, atol=1e-14)


def test_one_sample_at_a_time():
    X, low_rank = make_stream(n=200)
    model = OnlineRobustPCA(2)
    for row in X:
        model.partial_fit(row[None])
        assert np.all(np.isfinite(model.components_))
    assert model.n_samples_seen_ == 200
    assert angle(model.components_, low_rank) < 0.03
    expected = OnlineRobustPCA(2).fit(X)
    assert_allclose(model.components_, expected.components_, rtol=1e-10)


def test_memory_stays_constant():
    X, _ = make_stream(n=1500, p=12)
    sizes = []
    model = OnlineRobustPCA(2)
    for start in range(0, 1500, 100):
        sizes.append(len(pickle.dumps(model.partial_fit(X[start : start + 100]))))
        assert model._state.memory.positions.size <= 20
    assert max(sizes) <= max(sizes[:3])
    kept = model._state.memory.positions
    assert_allclose(np.diff(kept), kept[1] - kept[0])  # spread evenly, over all of the stream
    assert kept[0] == 0
    assert kept[-1] >= 1500 - 2 * kept[1]


def test_a_pickled_model_goes_on():
    X, _ = make_stream(n=120)
    model = OnlineRobustPCA(2).partial_fit(X[:70])
    restored = pickle.loads(pickle.dumps(model))
    model.partial_fit(X[70:])
    restored.partial_fit(X[70:])
    for name in STATISTICS:
        assert_allclose(getattr(restored, name), getattr(model, name), rtol=0, atol=0)


def test_a_failed_call_changes_nothing(monkeypatch):
    X, _ = make_stream(n=120)
    model = OnlineRobustPCA(2).partial_fit(X[:70])
    before = vars(model).copy()
    bad = X[70:].copy()
    bad[30, 3] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        model.partial_fit(bad)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[70:, :5])

    def interrupted(state, options):
        state.components[:] = 7  # a correction may spoil its own arrays, not earlier ones
        raise KeyboardInterrupt

    components = model.components_.copy()
    with monkeypatch.context() as patch:
        patch.setattr("sparseopt.decomposition._online_stream.repair", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X[70:])
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[key] is before[key] for key in before)
    assert_allclose(model.components_, components, rtol=0, atol=0)
    model.partial_fit(X[70:])
    expected = OnlineRobustPCA(2).fit(X)
    assert_allclose(model.components_, expected.components_, rtol=1e-12)


def test_passes_go_on_where_the_last_one_ended():
    X, _ = make_stream(n=60)
    twice = OnlineRobustPCA(2, n_passes=2).fit(X)
    assert twice.n_samples_seen_ == 120
    expected = OnlineRobustPCA(2).fit(X).partial_fit(X)
    assert_allclose(twice.components_, expected.components_, rtol=1e-12)


# -- data of any kind ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1e3, 1e100])
@pytest.mark.parametrize("size", [0, 20])
def test_units_do_not_matter(scale, size):
    X, _ = make_stream(n=100, noise=0.05)
    model = OnlineRobustPCA(2, memory_size=size).fit(X)
    scaled = OnlineRobustPCA(2, memory_size=size).fit(scale * X)
    for one, other in zip(scaled.decompose(scale * X), model.decompose(X)):
        assert_allclose(one / scale, other, rtol=1e-5, atol=1e-6)
    assert_allclose(scaled.lam2_ / scale, model.lam2_, rtol=1e-6)


def test_float32_stays():
    X, _ = make_stream(n=200, noise=0.02)
    model = OnlineRobustPCA(2).fit(X.astype(np.float32))
    scores = model.transform(X.astype(np.float32))
    parts = model.decompose(X.astype(np.float32))
    for array in (model.components_, scores, *parts, model.inverse_transform(scores)):
        assert array.dtype == np.float32
    assert model.score_samples(X.astype(np.float32)).dtype == np.float32
    assert model.A_.dtype == model.B_.dtype == np.float64
    expected = OnlineRobustPCA(2).fit(X)
    assert_allclose(parts[0], expected.decompose(X)[0], atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("size", [0, "auto"])
@pytest.mark.parametrize("init", ["pcp", "svd", "random"])
def test_constant_data(value, size, init):
    X = np.full((30, 6), value)
    model = OnlineRobustPCA(2, memory_size=size, init=init, random_state=0).fit(X)
    low_rank, sparse = model.decompose(X)
    assert np.all(np.isfinite(model.components_))
    assert_allclose(low_rank + sparse, X, atol=0.1)


def test_zeros_first_then_data():
    X, low_rank = make_stream(n=200)
    model = OnlineRobustPCA(2).partial_fit(np.zeros((30, 40)))
    model.partial_fit(X)
    assert np.all(np.isfinite(model.components_))
    assert angle(model.components_, low_rank) < 0.2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1), (3, 4), (25, 2)])
@pytest.mark.parametrize("init", ["pcp", "svd", "random"])
def test_tiny_data(shape, init):
    X = np.random.default_rng(0).standard_normal(shape)
    model = OnlineRobustPCA(init=init, random_state=0).fit(X)
    assert model.components_.shape == (min(5, shape[1]), shape[1])
    assert np.all(np.isfinite(model.transform(X)))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_stream_leaves_finite_numbers(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    n, p = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 20))
    X = rng.standard_normal((n, 2)) @ rng.standard_normal((2, p))
    spoil = data.draw(st.sampled_from(["round", "zeros", "rows", "columns", "entries", "outliers"]))
    if spoil == "round":
        X = np.round(X)
    elif spoil == "zeros":
        X[:, rng.random(p) < 0.5] = 0
    elif spoil == "rows":
        X[rng.random(n) < 0.5] = np.nan
    elif spoil == "columns":
        X[:, rng.random(p) < 0.5] = np.nan
    elif spoil == "entries":
        X[rng.random(X.shape) < 0.6] = np.nan
    else:
        X[rng.random(X.shape) < 0.1] *= 1e6
    model = OnlineRobustPCA(
        data.draw(st.integers(1, p)),
        init=data.draw(st.sampled_from(["pcp", "svd", "random"])),
        memory_size=data.draw(st.sampled_from([0, 1, 2, 5, "auto"])),
        batch_size=data.draw(st.integers(1, 8)),
        forgetting=data.draw(st.sampled_from([1.0, 0.9, 0.01])),
        lam1=data.draw(st.sampled_from([0.0, 1e-3, 0.1, "auto"])),
        lam2=data.draw(st.sampled_from([1e-6, 0.1, 100.0, "auto"])),
        random_state=0,
    )
    start = 0
    while start < n:
        stop = start + data.draw(st.integers(1, 30))
        model.partial_fit(X[start:stop])
        start = stop
    outcomes = (model.transform(X), *model.decompose(X), model.score_samples(X))
    for array in (model.components_, model.A_, model.B_, *outcomes):
        assert np.all(np.isfinite(array))


# -- methods ------------------------------------------------------------------------------------


def test_parts_scores_and_names_fit_together():
    X, _ = make_stream(n=100, noise=0.05)
    model = OnlineRobustPCA(2).fit(X)
    scores = model.transform(X)
    low_rank, sparse = model.decompose(X)
    assert_allclose(low_rank, model.inverse_transform(scores))
    rest = X - low_rank - sparse
    assert np.all(np.abs(rest) <= model.lam2_ * (1 + 1e-9))
    loss = (rest**2).sum(axis=1) / 2 + model.lam2_ * np.abs(sparse).sum(axis=1)
    assert_allclose(model.score_samples(X), -loss / 40, rtol=1e-10)
    assert_allclose(model.score(X), model.score_samples(X).mean())
    assert list(model.get_feature_names_out()) == ["onlinerobustpca0", "onlinerobustpca1"]
    # Scores are optimal: lam1 x is the clipped residual along the components.
    gradient = model.lam1_ * scores - np.clip(X - low_rank, -model.lam2_, model.lam2_) @ (
        model.components_.T
    )
    assert_allclose(gradient, 0, atol=1e-10)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 41}, "n_components must be at most n_features=40"),
        ({"n_components": 0}, "n_components"),
        ({"lam1": -1.0}, "lam1"),
        ({"lam2": 0.0}, "lam2"),
        ({"lam2": "large"}, "lam2"),
        ({"init": "pca"}, "init"),
        ({"init": np.ones((3, 40))}, "init must have shape"),
        ({"init": np.full((2, 40), np.nan)}, "init contains NaN"),
        ({"memory_size": -1}, "memory_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"n_passes": 0}, "n_passes"),
        ({"forgetting": 0.0}, "forgetting"),
        ({"forgetting": 1.5}, "forgetting"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    model = OnlineRobustPCA(**({"n_components": 2} | parameters))
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(make_stream(n=30)[0])
    assert not hasattr(model, "components_")


def test_scores_of_another_width_are_refused():
    model = OnlineRobustPCA(2).fit(make_stream(n=30)[0])
    with pytest.raises(ValueError, match="each of the 2 components, got"):
        model.inverse_transform(np.ones((3, 4)))
