"""The exact gains against golden data, brute force and their limits."""

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from sparseopt.linear_model import greedy_delta

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "greedy" / "delta_formulas.npz")
LOSSES = {"lasso": "lasso", "srlasso": "sqrt_lasso", "ladlasso": "lad_lasso"}
NAMES = sorted({name.rsplit("/", 1)[0] for name in GOLDEN.files if name.endswith("/delta")})
KINDS = [(loss, penalty) for loss in LOSSES.values() for penalty in ("l0", "l1")]


def objective(A, y, x, loss, penalty, lam, weights):
    residual = y - A @ x
    data = {
        "lasso": lambda: np.linalg.norm(residual) ** 2,
        "sqrt_lasso": lambda: np.linalg.norm(residual),
        "lad_lasso": lambda: np.abs(residual).sum(),
    }[loss]()
    if penalty == "l0":
        return data + lam * np.sum(weights[x != 0] ** 2)
    return data + lam * np.sum(weights * np.abs(x))


def golden_instance(name):
    case, kind = name.split("/")
    loss, penalty = kind.rsplit("_", 1)
    arrays = [GOLDEN[f"{case}/A"], GOLDEN[f"{case}/y"], GOLDEN[f"{name}/x"]]
    options = {"loss": LOSSES[loss], "penalty": penalty, "weights": GOLDEN[f"{case}/w"]}
    return arrays, options, zip(GOLDEN[f"{case}/lam"], GOLDEN[f"{name}/delta"], strict=True)


def random_instance(seed, m=12, n=9, complex_data=False):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n)) * rng.uniform(0.3, 3, n)
    y = rng.standard_normal(m)
    x = np.where(rng.random(n) < 0.5, rng.standard_normal(n), 0)
    if complex_data:
        A = A + 1j * rng.standard_normal((m, n))
        y = y + 1j * rng.standard_normal(m)
        x = x * np.exp(2j * np.pi * rng.random(n))
    return A, y, x, rng.uniform(0.3, 2, n)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    arrays, options, expected = golden_instance(name)
    for lam, delta in expected:
        found = greedy_delta(*arrays, lam=float(lam), **options)
        np.testing.assert_allclose(found, delta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_golden_array_api_strict(name):
    arrays, options, expected = golden_instance(name)
    arrays = [array_api_strict.asarray(a) for a in arrays]
    for lam, delta in expected:
        found = greedy_delta(*arrays, lam=float(lam), **options)
        assert type(found) is type(arrays[0])
        np.testing.assert_allclose(np.asarray(found), delta, rtol=1e-9, atol=1e-12)


def brute_force_gain(A, y, x, j, *options):
    """Largest decrease along coordinate j; each objective is convex in t apart from t = 0."""

    def moved(t):
        trial = x.copy()
        trial[j] = t
        return objective(A, y, trial, *options)

    best = min(minimize_scalar(moved, bracket=(-1.0, 1.1), tol=1e-12).fun, moved(0.0))
    return max(objective(A, y, x, *options) - best, 0.0)


@pytest.mark.parametrize(("loss", "penalty"), KINDS)
def test_brute_force(loss, penalty):
    for seed in range(5):
        A, y, x, weights = random_instance(seed)
        delta = greedy_delta(A, y, x, loss=loss, penalty=penalty, lam=0.4, weights=weights)
        expected = [brute_force_gain(A, y, x, j, loss, penalty, 0.4, weights) for j in range(9)]
        np.testing.assert_allclose(delta, expected, atol=1e-6)


def test_complex_moves():
    rng = np.random.default_rng(0)
    for loss, penalty in KINDS[:4]:
        A, y, x, weights = random_instance(3, complex_data=True)
        options = (loss, penalty, 0.4, weights)
        delta = greedy_delta(A, y, x, loss=loss, penalty=penalty, lam=0.4, weights=weights)
        start = objective(A, y, x, *options)
        for j in range(A.shape[1]):
            optimum = x[j] + A[:, j].conj() @ (y - A @ x) / np.linalg.norm(A[:, j]) ** 2
            trials = optimum * np.linspace(0, 1.2, 2001)
            gains = []
            for t in [*trials, *(optimum + 0.3 * rng.standard_normal((50, 2)) @ [1, 1j])]:
                moved = x.copy()
                moved[j] = t
                gains.append(start - objective(A, y, moved, *options))
            assert max(gains) <= delta[j] + 1e-12
            assert max(gains) == pytest.approx(delta[j], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "penalty", "complex_data"),
    [(*kind, False) for kind in KINDS] + [(*kind, True) for kind in KINDS[:4]],
)
def test_unpenalised_gain_is_the_fit_of_one_coordinate(loss, penalty, complex_data):
    A, y, x, _ = random_instance(1, complex_data=complex_data)
    delta = greedy_delta(A, y, x, loss=loss, penalty=penalty, lam=0.0)
    residual = y - A @ x
    norm = np.linalg.norm(residual)
    u = np.abs(A.conj().T @ residual) / np.linalg.norm(A, axis=0)
    if loss == "lasso":
        np.testing.assert_allclose(delta, u**2, rtol=1e-12)
    elif loss == "sqrt_lasso":
        np.testing.assert_allclose(delta, norm - np.sqrt(norm**2 - u**2), rtol=1e-10)
    else:
        steps = [residual / a for a in A.T]
        best = [
            min(np.abs(residual - t * a).sum() for t in ts)
            for a, ts in zip(A.T, steps, strict=True)
        ]
        np.testing.assert_allclose(delta, np.abs(residual).sum() - best, atol=1e-12)


@pytest.mark.parametrize(("loss", "penalty"), KINDS[:4])
def test_noise_does_not_gain(loss, penalty):
    # fitted by least squares: correlations on the support are rounding noise
    A, y, _, weights = random_instance(7, m=40)
    x = np.linalg.lstsq(A, y, rcond=None)[0]
    delta = greedy_delta(A, y, x, loss=loss, penalty=penalty, lam=1e-9, weights=weights)
    assert delta.max() < 1e-8
    # without penalty the gain of noise is its square, far below what a difference would leave
    assert greedy_delta(A, y, x, loss=loss, penalty=penalty, lam=0.0).max() < 1e-25


def test_correlation_below_the_weight_gains_nothing():
    # The square-root l1 rule needs lam w_j < |c_j| / ||r||. Without the condition, a column that
    # is orthogonal to the data gets the score ||r|| (1 - sqrt(1 - lam^2 w^2)) > 0.
    A = np.eye(4)[:, :3]
    y = np.array([1.0, 0.0, 0.2, 0.5])
    weights = np.array([1.0, 3.0, 1.0])
    delta = greedy_delta(A, y, np.zeros(3), loss="sqrt_lasso", lam=0.3, weights=weights)
    assert delta[0] > 0
    assert delta[1] == delta[2] == 0


def test_square_root_gain_is_the_closed_form_of_two_angles():
    A, y, _, _ = random_instance(2)
    A /= np.linalg.norm(A, axis=0)
    norm, lam = np.linalg.norm(y), 0.2
    phi, psi = np.arccos(np.abs(A.T @ y) / norm), np.arccos(lam)
    expected = np.where(phi < psi, 2 * norm * np.sin((psi - phi) / 2) ** 2, 0)
    delta = greedy_delta(A, y, np.zeros(9), loss="sqrt_lasso", lam=lam)
    np.testing.assert_allclose(delta, expected, rtol=1e-10, atol=1e-14)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    lam=st.sampled_from([0.0, 1e-12, 0.1, 1.0, 1e6]),
    scale=st.sampled_from([1e-100, 1e-8, 1.0, 1e8]),
    degenerate=st.sampled_from(["none", "zero", "duplicate", "interpolated", "weights"]),
)
def test_finite_and_never_negative(seed, kind, lam, scale, degenerate):
    A, y, x, weights = random_instance(seed, m=5, n=4)
    if degenerate == "zero":
        A[:, 1] = 0
    elif degenerate == "duplicate":
        A[:, 1] = A[:, 0]
    elif degenerate == "interpolated":
        y = A @ x
    elif degenerate == "weights":
        weights[:2], x[:2] = (0.0, np.inf), 0.0
    y, x = y * scale, x * scale
    loss, penalty = kind
    delta = greedy_delta(A, y, x, loss=loss, penalty=penalty, lam=lam, weights=weights)
    assert np.all(np.isfinite(delta))
    assert np.all(delta >= 0)
    start = objective(A, y, x, loss, penalty, lam, np.where(np.isinf(weights), 0, weights))
    assert np.all(delta <= start * (1 + 1e-12))
    if degenerate == "duplicate" and x[0] == x[1] and weights[0] == weights[1]:
        assert delta[0] == delta[1]
    if degenerate == "weights":
        assert delta[1] == 0


def test_zero_column_gains_its_own_penalty():
    A = np.array([[1.0, 0.0], [0.0, 0.0]])
    for loss, penalty in KINDS:
        delta = greedy_delta(
            A, np.ones(2), np.array([0.0, 2.0]), loss=loss, penalty=penalty, lam=0.5,
            weights=[1.0, 3.0],
        )  # fmt: skip
        assert delta[1] == pytest.approx(4.5 if penalty == "l0" else 3.0)


def test_single_precision_stays():
    A, y, x, _ = random_instance(0)
    single = [np.float32(a) for a in (A, y, x)]
    delta = greedy_delta(*single, loss="sqrt_lasso", lam=0.1)
    assert delta.dtype == np.float32
    np.testing.assert_allclose(
        delta, greedy_delta(A, y, x, loss="sqrt_lasso", lam=0.1), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "huber"}, "loss must be one of"),
        ({"penalty": "l2"}, "penalty must be one of"),
        ({"lam": -1.0}, "lam must be finite and >= 0"),
        ({"lam": np.nan}, "lam must be finite"),
        ({"weights": [1.0, -1.0]}, "weights must be >= 0"),
        ({"weights": [1.0, np.nan]}, "weights must be >= 0"),
        ({"weights": [1.0]}, "weights must have shape"),
        ({"y": np.ones(4)}, "y must have shape"),
        ({"coef": np.ones(3)}, "coef must have shape"),
        ({"A": np.full((3, 2), np.inf)}, "A must be finite"),
        ({"A": np.ones((3, 2)) * 1j, "loss": "lad_lasso"}, "real data only"),
    ],
)
def test_wrong_input(change, message):
    arguments = {"A": np.ones((3, 2)), "y": np.ones(3), "coef": np.zeros(2), "lam": 1.0, **change}
    A, y, coef = (arguments.pop(name) for name in ("A", "y", "coef"))
    with pytest.raises(ValueError, match=message):
        greedy_delta(A, y, coef, **arguments)
