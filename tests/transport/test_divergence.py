"""The Sinkhorn divergence: values, signs, gradients."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import _divergence, sinkhorn, sinkhorn_divergence

DATA = Path(__file__).parents[1] / "data" / "ot"
METRICS = ["sqeuclidean", "euclidean", "cityblock"]


@pytest.fixture(scope="module")
def reference():
    return np.load(DATA / "sinkdiv_30x40.npz")


def _clouds(n=12, m=9, *, seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, 2)), rng.standard_normal((m, 2)) + 0.5
    return X, Y, rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


def test_value_and_gradient_meet_the_reference(reference):
    # Its cost is half the squared distance.
    X, Y, a, b = (reference[name] for name in "XYab")
    S, gradient = sinkhorn_divergence(X, Y, a, b, reg=2 * reference["eps"], return_grad=True)
    np.testing.assert_allclose(S / 2, reference["S"], rtol=1e-9)
    np.testing.assert_allclose(gradient.X / 2, reference["grad_X_div"], atol=1e-7)
    np.testing.assert_allclose(gradient.a / 2, reference["grad_a_div_centred"], atol=1e-7)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reg", [1e-3, 0.1, 10.0])
def test_a_cloud_has_no_divergence_from_itself(metric, reg):
    X, _, a, _ = _clouds()
    S, gradient = sinkhorn_divergence(X, X, a, a, metric=metric, reg=reg, return_grad=True)
    assert 0 <= S <= 1e-10
    if reg == 10:  # with less, masses hardly move and potentials are not determined
        np.testing.assert_allclose(gradient.a, 0, atol=1e-6)
    if metric == "sqeuclidean":  # the others have a kink there
        np.testing.assert_allclose(gradient.X, 0, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_it_is_positive_and_symmetric(metric):
    for seed in range(5):
        X, Y, a, b = _clouds(seed=seed)
        S, gradient = sinkhorn_divergence(X, Y, a, b, metric=metric, reg=0.3, return_grad=True)
        back, other = sinkhorn_divergence(Y, X, b, a, metric=metric, reg=0.3, return_grad=True)
        assert S > 1e-3
        np.testing.assert_allclose(back, S, rtol=1e-10)
        np.testing.assert_allclose(other.X, gradient.Y, atol=1e-7)
        np.testing.assert_allclose(other.a, gradient.b, atol=1e-7)


def test_nearby_clouds_have_a_small_positive_divergence():
    X, _, a, _ = _clouds()
    near, far = (sinkhorn_divergence(X, X + [step, 0], a, a, reg=0.1) for step in (1e-3, 2e-3))
    np.testing.assert_allclose([near, far], [1e-6, 4e-6], rtol=1e-3)


def test_a_translation_costs_its_square():
    X, _, a, _ = _clouds()
    S = sinkhorn_divergence(X, X + [3.0, 4.0], a, a, reg=0.5)
    np.testing.assert_allclose(S, 25, rtol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_equal_differences(metric):
    X, Y, a, b = _clouds()
    options = {"metric": metric, "reg": 0.3, "tol": 1e-12}
    _, gradient = sinkhorn_divergence(X, Y, a, b, **options, return_grad=True)
    rng = np.random.default_rng(1)
    h = 1e-5
    for name in ("X", "Y", "a", "b"):
        base = {"X": X, "Y": Y, "a": a, "b": b}
        direction = rng.standard_normal(base[name].shape)
        if name in "ab":
            direction -= direction.mean()  # masses keep their sum
            direction *= 0.1 * base[name].min()
        values = [
            sinkhorn_divergence(**(base | {name: base[name] + sign * h * direction}), **options)
            for sign in (1, -1)
        ]
        slope = (values[0] - values[1]) / (2 * h)
        expected = np.sum(getattr(gradient, name) * direction)
        np.testing.assert_allclose(expected, slope, rtol=1e-5, atol=1e-8)
    assert abs(a @ gradient.a) < 1e-12
    assert abs(b @ gradient.b) < 1e-12


def test_gradient_descent_moves_a_cloud_onto_its_target():
    X, Y, _, _ = _clouds(10, 10)
    start = sinkhorn_divergence(X, Y, reg=0.1)
    for _ in range(30):
        X = X - 4 * sinkhorn_divergence(X, Y, reg=0.1, return_grad=True)[1].X
    assert sinkhorn_divergence(X, Y, reg=0.1) < 1e-3 * start


def test_bins_without_mass_do_not_matter():
    X, Y, a, b = _clouds()
    a[3] = b[0] = 0
    a, b = a / a.sum(), b / b.sum()
    S, gradient = sinkhorn_divergence(X, Y, a, b, reg=0.3, return_grad=True)
    expected = sinkhorn_divergence(X[a > 0], Y[b > 0], a[a > 0], b[b > 0], reg=0.3)
    np.testing.assert_allclose(S, expected, rtol=1e-10)
    np.testing.assert_array_equal(gradient.X[3], 0)
    assert np.isfinite(gradient.a).all()


def test_other_metrics_and_scales():
    X, Y, a, b = _clouds()
    S = sinkhorn_divergence(X, Y, a, b, reg=0.1, metric="chebyshev")
    by_hand = [
        sinkhorn(p, q, X=U, Y=V, metric="chebyshev", reg=0.1).value
        for p, q, U, V in ((a, b, X, Y), (a, a, X, X), (b, b, Y, Y))
    ]
    np.testing.assert_allclose(S, by_hand[0] - (by_hand[1] + by_hand[2]) / 2, rtol=1e-7)
    largest = np.max(np.sum((X[:, None] - Y) ** 2, axis=2))
    scaled = sinkhorn_divergence(X, Y, a, b, reg=0.1, reg_scale="max")
    np.testing.assert_allclose(scaled, sinkhorn_divergence(X, Y, a, b, reg=0.1 * largest))


@pytest.mark.parametrize("metric", METRICS)
def test_terms_of_a_cloud_with_itself_start_at_their_solution(metric, monkeypatch):
    X, Y, a, b = _clouds(60, 50)
    results = []

    def recording(*arguments, **options):
        results.append(sinkhorn(*arguments, **options))
        return results[-1]

    monkeypatch.setattr(_divergence, "sinkhorn", recording)
    sinkhorn_divergence(X, Y, a, b, metric=metric, reg=0.05)
    cross, *own = results
    assert len(own) == 2
    assert max(result.n_iter for result in own) <= 4 < cross.n_iter


def test_single_precision_in_single_precision_out():
    X, Y, a, b = _clouds()
    _, expected = sinkhorn_divergence(X, Y, reg=0.3, return_grad=True)
    _, gradient = sinkhorn_divergence(X.astype("f"), Y.astype("f"), reg=0.3, return_grad=True)
    for name in "XYab":
        assert getattr(gradient, name).dtype == np.float32
        np.testing.assert_allclose(getattr(gradient, name), getattr(expected, name), atol=1e-6)
    _, mixed = sinkhorn_divergence(X.astype("f"), Y, a, b, reg=0.3, return_grad=True)
    assert mixed.X.dtype == np.float64


def test_large_regularisation_leaves_the_energy_distance():
    # S tends to the difference of mean costs, half of an energy distance.
    X, Y, a, b = _clouds()
    C = [np.linalg.norm(U[:, None] - V, axis=2) for U, V in ((X, Y), (X, X), (Y, Y))]
    limit = a @ C[0] @ b - (a @ C[1] @ a + b @ C[2] @ b) / 2
    S = sinkhorn_divergence(X, Y, a, b, metric="euclidean", reg=1e4)
    np.testing.assert_allclose(S, limit, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reg": 0.0}, "reg must be positive"),
        ({"Y": None}, "Y must be a matrix of points, got None"),
        ({"reg": np.nan}, "reg must be positive"),
        ({"tol": -1.0}, "tol must be"),
        ({"metric": "nonsense"}, "metric must be"),
        ({"metric": "chebyshev", "return_grad": True}, "return_grad needs a metric"),
        ({"a": -np.ones(12) / 12}, "a must be >= 0"),
        ({"b": np.ones(9)}, "equal sums"),
        ({"b": np.ones(8) / 8}, "shape"),
        ({"Y": np.ones((9, 3))}, r"\(12, 2\) and \(9, 3\)"),
    ],
)
def test_bad_input_is_refused(change, message):
    X, Y, _, _ = _clouds()
    with pytest.raises(ValueError, match=message):
        sinkhorn_divergence(**({"X": X, "Y": Y} | change))


def test_too_few_iterations_warn():
    X, Y, a, b = _clouds(60, 50)
    with pytest.warns(ConvergenceWarning, match="marginal error"):
        sinkhorn_divergence(X, Y, a, b, reg=1e-3, max_iter=2)
