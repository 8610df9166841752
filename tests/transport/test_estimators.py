"""SinkhornTransport and OTKernel beyond what every estimator is tested for."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sparseopt.transport import (
    OTKernel,
    SinkhornTransport,
    pairwise_sinkhorn,
    sinkhorn_divergence,
    wasserstein_distance,
)

DATA = Path(__file__).parents[1] / "data" / "ot"


@pytest.fixture(scope="module")
def adaptation():
    return np.load(DATA / "da_50x60.npz")


def _domains(n=40, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.standard_normal((n, 2)) * 0.3 + 2 * y[:, None]
    return X, y, X[rng.permutation(n)] @ [[0.9, 0.4], [-0.4, 0.9]] + 5


# -- SinkhornTransport -------------------------------------------------------------------


def test_reference_of_domain_adaptation(adaptation):
    model = SinkhornTransport(reg=float(adaptation["reg_e"]), X_target=adaptation["Xt"], tol=1e-12)
    model.fit(adaptation["Xs"])
    np.testing.assert_allclose(model.coupling_, adaptation["coupling"], atol=1e-9)
    np.testing.assert_allclose(model.cost_scale_, adaptation["cost_max"])
    moved, new = model.transform(adaptation["Xs"]), model.transform(adaptation["Xnew"])
    np.testing.assert_allclose(moved, adaptation["Xs_transformed"], atol=1e-7)
    np.testing.assert_allclose(new, adaptation["Xnew_transformed"], atol=1e-7)
    back = model.inverse_transform(adaptation["Xt"])
    np.testing.assert_allclose(back, adaptation["Xt_inverse"], atol=1e-7)
    model.set_params(out_of_sample="nearest")
    nearest = model.transform(adaptation["Xnew"])
    np.testing.assert_allclose(nearest, adaptation["Xnew_transformed_nearest"], atol=1e-7)


def test_training_samples_go_to_their_barycentres():
    X, _, Z = _domains()
    a, b = (np.random.default_rng(seed).dirichlet(np.ones(40)) for seed in (0, 1))
    a[:3] = 0
    model = SinkhornTransport().fit(X, X_target=Z, sample_weight=a, target_weight=b)
    plan = model.coupling_
    np.testing.assert_allclose(plan.sum(axis=1), a / a.sum(), atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-9)
    means = plan[3:] @ Z / plan[3:].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.transform(X)[3:], means, rtol=1e-6)
    for out_of_sample in ("entropic", "nearest"):
        model.set_params(out_of_sample=out_of_sample)
        assert np.isfinite(model.transform(X + 1)).all()


def test_weights_equal_repetitions_with_a_target():
    X, _, Z = _domains()
    weights = np.arange(40) % 3
    weighted = SinkhornTransport(X_target=Z).fit(X, sample_weight=weights)
    repeated = SinkhornTransport(X_target=Z).fit(X.repeat(weights, axis=0))
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), rtol=1e-7)


def test_without_target_the_samples_are_smoothed():
    X, _, _ = _domains()
    sharp = SinkhornTransport(reg=1e-5).fit(X)
    np.testing.assert_allclose(sharp.transform(X), X, atol=1e-3)
    blunt = SinkhornTransport(reg=100.0).fit(X)
    np.testing.assert_allclose(blunt.transform(X), np.tile(X.mean(axis=0), (40, 1)), atol=0.05)
    np.testing.assert_array_equal(sharp.f_, sharp.g_)


def test_score_prefers_the_sharper_plan_and_is_comparable():
    X, _, Z = _domains()
    scores = [SinkhornTransport(reg, X_target=Z).fit(X).score(X) for reg in (1.0, 0.1, 0.01)]
    assert scores[0] < scores[1] < scores[2] <= 0
    # With little regularisation samples move as in the exact plan.
    images = SinkhornTransport(1e-6, X_target=Z).fit_transform(X)
    moved = np.mean(np.sum((images - X) ** 2, axis=1))
    np.testing.assert_allclose(moved, wasserstein_distance(X, Z) ** 2, rtol=1e-4)


def test_pipeline_and_search_over_reg():
    X, y, Z = _domains()
    pipeline = make_pipeline(StandardScaler(), SinkhornTransport(X_target=Z), SVC())
    search = GridSearchCV(pipeline, {"sinkhorntransport__reg": [0.01, 0.1]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.9
    by_score = GridSearchCV(SinkhornTransport(X_target=Z), {"reg": [0.01, 1.0]}, cv=3).fit(X)
    assert by_score.best_params_ == {"reg": 0.01}


def test_metadata_routing():
    X, y, Z = _domains()
    weights = np.random.default_rng(0).random(40)
    with sklearn.config_context(enable_metadata_routing=True):
        request = {"X_target": True, "sample_weight": True, "target_weight": True}
        model = SinkhornTransport().set_fit_request(**request)
        pipeline = make_pipeline(model, SVC().set_fit_request(sample_weight=False))
        pipeline.fit(X, y, X_target=Z, sample_weight=weights, target_weight=weights)
    np.testing.assert_array_equal(pipeline[0].X_target_, Z)
    alone = SinkhornTransport().fit(X, X_target=Z, sample_weight=weights, target_weight=weights)
    np.testing.assert_allclose(pipeline[0].f_, alone.f_)


def test_clone_pickle_copy_and_solvers():
    X, _, Z = _domains()
    model = clone(SinkhornTransport(X_target=Z, metric="cityblock")).fit(X)
    images = model.transform(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), images)
    for solver in ("sns", "sinkhorn", "sinkhorn_log"):
        other = clone(model).set_params(solver=solver).fit(X)
        np.testing.assert_allclose(other.transform(X), images, rtol=1e-6)
    target = Z.copy()
    copied = SinkhornTransport(X_target=target).fit(X)
    before = copied.transform(X)
    target[:] = 0
    np.testing.assert_array_equal(copied.transform(X), before)
    assert SinkhornTransport(X_target=Z, copy=False).fit(X).X_target_ is Z


@pytest.mark.parametrize("reg_scale", [None, "max", "mean", "median"])
def test_scale_of_reg(reg_scale):
    X, _, Z = _domains()
    C = np.sum((X[:, None] - Z) ** 2, axis=2)
    model = SinkhornTransport(0.1, reg_scale=reg_scale, X_target=Z).fit(X)
    scale = 1.0 if reg_scale is None else getattr(np, reg_scale)(C)
    np.testing.assert_allclose(model.cost_scale_, scale)


@pytest.mark.parametrize(
    ("parameters", "arguments", "message"),
    [
        ({"reg": 0.0}, {}, "reg"),
        ({"metric": "nonsense"}, {}, "metric must be"),
        ({"out_of_sample": "linear"}, {}, "out_of_sample"),
        ({"X_target": np.ones((4, 3))}, {}, "X_target has 3 features.*expecting 2"),
        ({}, {"X_target": np.full((4, 2), np.nan)}, "X_target contains NaN"),
        ({}, {"sample_weight": -np.ones(40)}, "sample_weight"),
        ({}, {"sample_weight": np.zeros(40)}, "sample_weight"),
        ({}, {"sample_weight": np.ones(3)}, "sample_weight"),
        ({}, {"X_target": np.ones((4, 2)), "target_weight": np.ones(3)}, "target_weight"),
    ],
)
def test_bad_input_of_transport_is_refused(parameters, arguments, message):
    X, _, _ = _domains()
    with pytest.raises(ValueError, match=message):
        SinkhornTransport(**parameters).fit(X, **arguments)


def test_weights_of_the_target_count_without_a_target():
    X, _, _ = _domains()
    b = np.random.default_rng(0).dirichlet(np.ones(40))
    plan = SinkhornTransport().fit(X, target_weight=b).coupling_
    np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 40, atol=1e-9)
    plan = SinkhornTransport().fit(X, sample_weight=b).coupling_
    np.testing.assert_allclose([plan.sum(axis=0), plan.sum(axis=1)], [b, b], atol=1e-9)


def test_samples_without_weight_move_no_others_and_weights_enter_the_score():
    X, _, Z = _domains()
    a, b = np.ones(40), np.ones(40)
    a[:10] = b[:15] = 0
    Z[:15] *= 100
    model = SinkhornTransport(out_of_sample="nearest").fit(
        X, X_target=Z, sample_weight=a, target_weight=b
    )
    expected = SinkhornTransport(out_of_sample="nearest").fit(X[10:], X_target=Z[15:])
    np.testing.assert_allclose(model.transform(X), expected.transform(X), rtol=1e-6)
    np.testing.assert_allclose(model.score(X), expected.score(X), rtol=1e-6)
    b[15:] = np.arange(25)
    model.fit(X, X_target=Z, sample_weight=a, target_weight=b)
    reg = 0.05 * np.max(np.sum((Z[16:, None] - Z[16:]) ** 2, axis=2))
    divergence = sinkhorn_divergence(model.transform(X), Z, b=b / b.sum(), reg=reg)
    np.testing.assert_allclose(model.score(X), -divergence, rtol=1e-9)


def test_weights_of_any_size():
    X, _, Z = _domains()
    weights = np.random.default_rng(0).random(40)
    expected = SinkhornTransport().fit(X, X_target=Z, sample_weight=weights, target_weight=weights)
    for scale in (1e-300, 1e308):
        model = SinkhornTransport().fit(
            X, X_target=Z, sample_weight=scale * weights, target_weight=scale * weights
        )
        np.testing.assert_allclose(model.coupling_, expected.coupling_, atol=1e-9)


@pytest.mark.parametrize("out_of_sample", ["entropic", "nearest"])
@pytest.mark.parametrize("method", ["transform", "inverse_transform"])
def test_samples_whose_costs_overflow_are_refused(method, out_of_sample):
    X, _, Z = _domains()
    model = SinkhornTransport(X_target=Z, out_of_sample=out_of_sample).fit(X)
    assert np.isfinite(getattr(model, method)([[1e100, 0.0]])).all()
    with pytest.raises(ValueError, match="costs by metric='sqeuclidean' overflow"):
        getattr(model, method)([[0.0, 0.0], [1e160, 0.0]])


def test_read_only_memory_maps_and_single_precision(tmp_path):
    X, _, Z = _domains()
    images = SinkhornTransport(X_target=Z).fit(X).transform(X)
    for name, array in (("X", X), ("Z", Z)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped, target = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "XZ")
    for copy in (True, False):
        model = SinkhornTransport(X_target=target, copy=copy).fit(mapped)
        np.testing.assert_array_equal(model.transform(mapped), images)
    single = SinkhornTransport(X_target=Z).fit(X.astype("f"))
    assert single.f_.dtype == single.coupling_.dtype == np.float32
    assert single.transform(X.astype("f")).dtype == np.float32
    np.testing.assert_allclose(single.transform(X.astype("f")), images, rtol=1e-5)


def test_inverse_refuses_another_number_of_features():
    X, _, Z = _domains()
    with pytest.raises(ValueError, match="3 features"):
        SinkhornTransport(X_target=Z).fit(X).inverse_transform(np.ones((4, 3)))


# -- OTKernel ----------------------------------------------------------------------------


def _digits(k=60):
    X, y = load_digits(n_class=4, return_X_y=True)
    places = np.stack(np.divmod(np.arange(64), 8), axis=1)
    C = np.sum((places[:, None] - places) ** 2, axis=2) / 98
    return X[:k], y[:k], C


@pytest.mark.parametrize("kind", ["divergence", "value", "linear"])
def test_kernel_is_the_exponential_of_the_distances(kind):
    X, _, C = _digits(12)
    kernel = OTKernel(C, 0.02, kind=kind, gamma=3.0, tol=1e-9).fit(X[:7])
    H = X / X.sum(axis=1, keepdims=True)
    distances = pairwise_sinkhorn(H, H[:7], C, reg=0.02, kind=kind)
    np.testing.assert_allclose(kernel.transform(X), np.exp(-3 * distances), rtol=1e-6)
    np.testing.assert_allclose(kernel(X, X[:7]), kernel.transform(X), rtol=1e-9)
    np.testing.assert_allclose(kernel.fit_transform(X), kernel(X), rtol=1e-9)
    np.testing.assert_allclose(kernel(100 * X), kernel(X), rtol=1e-9)


def test_clipping_makes_the_training_matrix_positive_semidefinite():
    X, _, C = _digits(40)
    sharp = {"C": C, "reg": 0.01, "kind": "linear", "gamma": 10.0}
    raw = OTKernel(**sharp).fit_transform(X)
    values, vectors = np.linalg.eigh(raw)
    assert values.min() < -2e-3
    clipped = OTKernel(**sharp, psd="clip").fit(X)
    expected = (vectors * np.maximum(values, 0)) @ vectors.T
    np.testing.assert_allclose(clipped.transform(X), expected, atol=1e-4)
    np.testing.assert_allclose(clipped.fit_transform(X), expected, atol=1e-8)


def test_empty_histograms_are_infinitely_far_away():
    kernel = OTKernel(reg=0.1).fit([[1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(
        kernel.transform([[0, 0, 0], [1, 0, 1]]).round(9), [[0, 1], [1, 0]]
    )


def test_support_vector_machine_by_matrix_and_by_function():
    X, y, C = _digits()
    by_matrix = make_pipeline(OTKernel(C, gamma=100.0), SVC(kernel="precomputed"))
    by_function = SVC(kernel=OTKernel(C, gamma=100.0))
    train = np.arange(60) % 2 == 0
    predictions = [model.fit(X[train], y[train]).predict(X) for model in (by_matrix, by_function)]
    np.testing.assert_array_equal(*predictions)
    assert np.mean(predictions[0][~train] == y[~train]) > 0.9
    search = GridSearchCV(by_function, {"kernel__reg": [0.02, 0.1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize("scale", [1e-310, 1e308])
def test_histograms_of_any_size(scale):
    H = np.random.default_rng(0).random((4, 5))
    expected = OTKernel()(H)
    np.testing.assert_allclose(OTKernel()(scale * H), expected, rtol=1e-9)
    np.testing.assert_allclose(OTKernel().fit_transform(scale * H), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({}, np.ones((2, 4)) * 1j, "must be real"),
        ({"C": np.zeros((4, 4)) * 1j}, np.ones((2, 4)), "must be real"),
        ({"C": np.full((4, 4), np.nan)}, np.ones((2, 4)), "C must be finite"),
        ({}, np.full((2, 4), np.inf), "must be finite"),
        ({}, np.full((2, 4), np.nan), "must be finite"),
        ({}, np.ones(4), "rows of a matrix"),
        ({"gamma": -1.0}, np.ones((2, 4)), "gamma"),
    ],
)
def test_bad_input_of_the_kernel_as_a_function_is_refused(parameters, X, message):
    with pytest.raises(ValueError, match=message):
        OTKernel(**parameters)(X)


def test_transport_costs_are_of_negative_type_on_a_line_only():
    H = np.random.default_rng(0).dirichlet(np.full(16, 0.1), 24)
    smallest = []
    for places in (np.arange(16.0)[:, None], np.stack(np.divmod(np.arange(16.0), 4), axis=1)):
        C = np.sum((places[:, None] - places) ** 2, axis=2)
        distances = -np.log(OTKernel(C / C.max(), 1e-3, kind="linear").fit_transform(H))
        centre = np.eye(len(H)) - 1 / len(H)
        smallest.append(np.linalg.eigvalsh(-centre @ distances @ centre).min())
    assert smallest[0] > -1e-4  # what the regularisation adds
    assert smallest[1] < -1e-3


def test_output_names_and_default_costs():
    X = np.random.default_rng(0).random((5, 4))
    kernel = OTKernel().set_output(transform="pandas")
    assert list(kernel.fit_transform(X).columns) == [f"otkernel{i}" for i in range(5)]
    places = np.linspace(0, 1, 4)
    explicit = OTKernel(np.subtract.outer(places, places) ** 2)
    np.testing.assert_array_equal(explicit.fit_transform(X), OTKernel().fit_transform(X))


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({"C": np.zeros((3, 3))}, np.ones((2, 4)), r"C must have shape \(4, 4\).*\(3, 3\)"),
        ({"C": np.triu(np.ones((4, 4)))}, np.ones((2, 4)), "C must be symmetric"),
        ({"gamma": 0.0}, np.ones((2, 4)), "gamma"),
        ({"psd": "flip"}, np.ones((2, 4)), "psd"),
        ({}, -np.ones((2, 4)), "Negative values"),
        ({}, np.ones((2, 1)), "minimum of 2"),
    ],
)
def test_bad_input_of_the_kernel_is_refused(parameters, X, message):
    with pytest.raises(ValueError, match=message):
        OTKernel(**parameters).fit(X)
