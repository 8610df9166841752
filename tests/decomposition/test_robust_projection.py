"""Huber and least-absolute-deviations fits of rows, against their optimality conditions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import linprog, minimize

from sparseopt.decomposition._robust_projection import robust_projection


def make_rows(rng, n=20, p=60, r=4, share=0.2, noise=0.1):
    V = rng.standard_normal((r, p))
    X = rng.standard_normal((n, r))
    Z = X @ V + noise * rng.standard_normal((n, p))
    errors = rng.random((n, p)) < share
    Z[errors] += 10 * rng.standard_normal(errors.sum())
    return Z, V, X


def huber_gradient(Z, V, scores, threshold, ridge=0.0):
    residual = np.nan_to_num(Z - scores @ V)
    return ridge * scores - np.clip(residual, -threshold, threshold) @ V.T


def soft(u, threshold):
    return np.sign(u) * np.maximum(np.abs(u) - threshold, 0)


def linear_program(z, V):
    """Return the smallest sum of absolute residuals, by HiGHS."""
    r, p = V.shape
    found = linprog(
        np.r_[np.zeros(r), np.ones(2 * p)],
        A_eq=np.hstack([V.T, np.eye(p), -np.eye(p)]),
        b_eq=z,
        bounds=[(None, None)] * r + [(0, None)] * (2 * p),
    )
    return found.x[:r], found.fun


@pytest.mark.parametrize("threshold", [1e-6, 0.01, 0.3, 5.0, 1e6])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_huber_fits_are_stationary(threshold, ridge):
    Z, V, _ = make_rows(np.random.default_rng(0))
    scores, sparse = robust_projection(Z, V, threshold, ridge=ridge)
    assert_allclose(huber_gradient(Z, V, scores, threshold, ridge), 0, atol=2e-12)
    assert_allclose(sparse, soft(Z - scores @ V, threshold), atol=1e-12)


def test_huber_loss_is_the_smallest():
    Z, V, _ = make_rows(np.random.default_rng(1), n=3)
    scores, _ = robust_projection(Z, V, 0.3)

    def loss(x, z):
        size = np.abs(z - x @ V)
        return np.sum(np.where(size <= 0.3, size**2 / 2, 0.3 * size - 0.045))

    for z, x in zip(Z, scores):
        assert loss(x, z) <= minimize(loss, x + 0.1, args=(z,), method="Powell").fun + 1e-12


def test_infinite_threshold_is_least_squares():
    Z, V, _ = make_rows(np.random.default_rng(2))
    scores, sparse = robust_projection(Z, V, np.inf)
    assert_allclose(scores, np.linalg.lstsq(V.T, Z.T)[0].T, rtol=1e-10, atol=1e-12)
    assert not sparse.any()
    ridge_scores, _ = robust_projection(Z, V, np.inf, ridge=3.0)
    expected = np.linalg.solve(V @ V.T + 3 * np.eye(4), V @ Z.T).T
    assert_allclose(ridge_scores, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_zero_threshold_equals_a_linear_program(share):
    Z, V, _ = make_rows(np.random.default_rng(3), n=12, share=share)
    scores, sparse = robust_projection(Z, V, 0.0)
    for z, x in zip(Z, scores):
        expected, fun = linear_program(z, V)
        assert_allclose(np.abs(z - x @ V).sum(), fun, rtol=1e-13)
        assert_allclose(x, expected, atol=1e-10)
    # A vertex interpolates r entries of each row.
    assert np.all(np.count_nonzero(sparse == 0, axis=1) == 4)
    assert_allclose(sparse, Z - scores @ V, atol=1e-12)


def test_zero_threshold_has_a_subgradient():
    Z, V, _ = make_rows(np.random.default_rng(4), n=30, p=200, r=6)
    scores, sparse = robust_projection(Z, V, 0.0)
    for x, s in zip(scores, sparse):
        fitted = s == 0
        y = np.sign(s)
        y[fitted] = np.linalg.solve(V[:, fitted], -V @ y)
        assert np.all(np.abs(y) <= 1 + 1e-9)
        assert np.all(np.isfinite(x))


def test_zero_threshold_takes_integer_data_with_ties():
    rng = np.random.default_rng(5)
    V = rng.integers(-1, 2, (3, 40)).astype(float)
    for z in rng.integers(-2, 3, (10, 40)).astype(float):
        x = robust_projection(z[None], V, 0.0)[0][0]
        assert_allclose(np.abs(z - x @ V).sum(), linear_program(z, V)[1], rtol=1e-12)


def test_zero_threshold_is_exact_below_gross_errors():
    Z, V, X = make_rows(np.random.default_rng(6), p=200, share=0.3, noise=0.0)
    scores, _ = robust_projection(Z, V, 0.0)
    assert_allclose(scores, X, atol=1e-12)


def test_zero_threshold_with_ridge_has_the_right_optimality_condition():
    Z, V, _ = make_rows(np.random.default_rng(7), n=5)
    scores, _ = robust_projection(Z, V, 0.0, ridge=4.0)

    def objective(x, z):
        return np.abs(z - x @ V).sum() + 2.0 * x @ x

    for z, x in zip(Z, scores):
        fun = objective(x, z)
        for step in np.random.default_rng(8).standard_normal((200, 4)):
            assert objective(x + 1e-3 * step, z) >= fun - 1e-12
            assert objective(x + 1e-6 * step, z) >= fun - 1e-12


@pytest.mark.parametrize("threshold", [0.0, 0.2, np.inf])
def test_unobserved_entries_say_nothing(threshold):
    rng = np.random.default_rng(9)
    Z, V, _ = make_rows(rng)
    observed = rng.random(Z.shape) < 0.6
    marked = np.where(observed, Z, np.nan)
    scores, sparse = robust_projection(marked, V, threshold)
    assert not sparse[~observed].any()
    for z, seen, x in zip(Z, observed, scores):
        alone = robust_projection(z[None, seen], V[:, seen], threshold)[0][0]
        assert_allclose(x, alone, rtol=1e-8, atol=1e-10)
    masked = robust_projection(Z, V, threshold, observed=observed)
    assert_allclose(masked[0], scores, rtol=0, atol=0)
    assert_allclose(masked[1], sparse, rtol=0, atol=0)


@pytest.mark.parametrize("threshold", [0.0, 0.2, np.inf])
def test_too_few_entries_give_the_smallest_fit(threshold):
    V = np.linalg.qr(np.random.default_rng(10).standard_normal((30, 4)))[0].T
    Z = np.full((4, 30), np.nan)
    Z[0, :2] = 1.0, 2.0
    Z[1, 5] = 3.0
    Z[2, [3, 7, 8]] = -1.0, 0.5, 1e-3
    scores, sparse = robust_projection(Z, V, threshold)
    for z, x in zip(Z[:3], scores):
        seen = ~np.isnan(z)
        assert_allclose(x, np.linalg.pinv(V[:, seen].T) @ z[seen], rtol=1e-6)
    assert not scores[3].any()
    assert_allclose(sparse, 0, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.2, np.inf])
def test_dependent_components_give_the_same_fit(threshold):
    Z, V, _ = make_rows(np.random.default_rng(11), n=6)
    more = np.vstack([V, V[0] + V[1], np.zeros(60), V[2]])
    scores, _ = robust_projection(Z, V, threshold)
    other, _ = robust_projection(Z, more, threshold)
    assert_allclose(other @ more, scores @ V, atol=1e-11)
    assert_allclose(other, other @ more @ np.linalg.pinv(more), atol=1e-11)  # of minimum norm
    nothing, sparse = robust_projection(Z, np.zeros((2, 60)), threshold)
    assert not nothing.any()
    assert_allclose(sparse, soft(Z, threshold) if threshold < np.inf else 0 * Z, atol=1e-15)


@pytest.mark.parametrize("threshold", [0.0, 0.2])
@pytest.mark.parametrize("scale", [1e-300, 1e-100, 1e100])
def test_scales_of_rows_and_components_do_not_matter(threshold, scale):
    Z, V, _ = make_rows(np.random.default_rng(12), n=5)
    scores, sparse = robust_projection(Z, V, threshold)
    scaled = robust_projection(Z * scale, V, threshold * scale)
    assert_allclose(scaled[0] / scale, scores, rtol=1e-10)
    assert_allclose(scaled[1] / scale, sparse, rtol=1e-10, atol=1e-12)
    assert_allclose(robust_projection(Z, V * scale, threshold)[0] * scale, scores, rtol=1e-10)


def test_one_component_of_ones_gives_medians():
    Z = np.array([[1.0, 2.0, 100.0], [np.nan, 4.0, 4.0], [0.0, 0.0, 0.0], [-5.0, 1.0, 1.5]])
    scores, _ = robust_projection(Z, np.ones((1, 3)), 0.0)
    assert_allclose(scores[:, 0], [2, 4, 0, 1], atol=1e-13)


def test_float32_layouts_and_read_only_rows():
    Z, V, _ = make_rows(np.random.default_rng(13))
    expected, excess = robust_projection(Z, V, 0.2)
    single = robust_projection(Z.astype(np.float32), V.astype(np.float32), 0.2)
    assert single[0].dtype == single[1].dtype == np.float32
    assert_allclose(single[0], expected, atol=1e-5)
    frozen = np.asfortranarray(Z)
    frozen.setflags(write=False)
    other = robust_projection(frozen, np.asfortranarray(V), 0.2)
    assert_allclose(other[0], expected, rtol=1e-12)
    assert_allclose(other[1], excess, rtol=1e-12, atol=1e-14)
    assert_allclose(robust_projection(np.round(Z).astype(int), V, 0.2)[0], expected, atol=1)


def test_blocks_of_rows_change_nothing(monkeypatch):
    Z, V, _ = make_rows(np.random.default_rng(14))
    expected = robust_projection(Z, V, 0.2)
    monkeypatch.setattr("sparseopt.decomposition._robust_projection.BLOCK_ENTRIES", 130)
    for one, other in zip(robust_projection(Z, V, 0.2), expected):
        assert_allclose(one, other, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.integers(1, 12),
    st.sampled_from([0.0, 1e-3, 0.5, np.inf]),
    st.sampled_from([0.0, 0.3]),
    st.floats(0, 0.9),
)
def test_optimal_for_any_shape(seed, r, p, threshold, ridge, missing):
    rng = np.random.default_rng(seed)
    V = rng.integers(-2, 3, (r, p)) * rng.choice([1.0, 0.3])
    Z = rng.standard_cauchy((3, p))
    Z[rng.random(Z.shape) < missing] = np.nan
    scores, sparse = robust_projection(Z, V, threshold, ridge=ridge)
    assert np.all(np.isfinite(scores))
    assert np.all(np.isfinite(sparse))
    scale = np.nanmax(np.abs(Z), initial=1.0)
    if threshold > 0:
        gradient = huber_gradient(Z, V, scores, threshold, ridge)
        assert_allclose(gradient, 0, atol=1e-7 * scale)
    else:
        for z, x in zip(Z, scores):
            seen = ~np.isnan(z)
            if ridge == 0 and seen.any():
                fun = np.abs(z[seen] - x @ V[:, seen]).sum()
                assert fun <= linear_program(z[seen], V[:, seen])[1] * (1 + 1e-7) + 1e-7 * scale


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"Z": np.ones(3)}, "Z must be a real matrix"),
        ({"Z": np.ones((2, 4))}, "equally many columns"),
        ({"Z": np.ones((2, 3)) * 1j}, "Z must be a real matrix"),
        ({"Z": np.array([[1.0, np.inf, 0.0]])}, "Z must not hold infinite"),
        ({"components": np.array([[1.0, np.nan, 0.0]])}, "components must be finite"),
        ({"components": np.ones(3)}, "components must be a real matrix"),
        ({"threshold": -1.0}, "threshold must be finite and >= 0"),
        ({"threshold": np.nan}, "threshold must be finite and >= 0"),
        ({"ridge": -1.0}, "ridge must be finite and >= 0"),
        ({"ridge": np.inf}, "ridge must be finite and >= 0"),
        ({"observed": np.ones((2, 2), dtype=bool)}, "observed must be a boolean array"),
        ({"observed": np.ones((2, 3))}, "observed must be a boolean array"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    given = {"Z": np.ones((2, 3)), "components": np.ones((1, 3)), "threshold": 0.1} | arguments
    with pytest.raises(ValueError, match=message):
        robust_projection(**given)


def test_no_rows_and_no_components():
    scores, sparse = robust_projection(np.ones((0, 3)), np.ones((2, 3)), 0.1)
    assert scores.shape == (0, 2)
    assert sparse.shape == (0, 3)
    scores, sparse = robust_projection(np.ones((2, 3)), np.ones((0, 3)), 0.25)
    assert scores.shape == (2, 0)
    assert_allclose(sparse, 0.75)
