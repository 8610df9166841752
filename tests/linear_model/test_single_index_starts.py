"""The parts of single-index regression: correlations, starts, rows and refinement."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.covariance import ledoit_wolf

from sparseopt._core._hermite import hermite
from sparseopt.linear_model import _single_index_search as searching
from sparseopt.linear_model import _single_index_starts as starts
from sparseopt.linear_model._single_index_refinement import (
    PolynomialFit,
    RefinementState,
    refine_direction,
)
from sparseopt.linear_model._single_index_rows import (
    Rows,
    effective_size,
    merge_samples,
    split_rows,
    standardize,
)

GOLDEN = Path(__file__).parents[1] / "data" / "langevin"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "sim_kernels.npz", allow_pickle=False) as data:
        return dict(data)


@pytest.fixture(scope="module")
def statistics():
    return json.loads((GOLDEN / "statistics.json").read_text(encoding="utf-8"))["sim"]


def model(degree, n_features, n_samples, noise, seed):
    """Return X, y = h(X theta) + noise, and theta, drawn as for the golden data."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(n_features)
    theta /= np.linalg.norm(theta)
    X = rng.standard_normal((n_samples, n_features))
    y = hermite(X @ theta, degree) + noise * rng.standard_normal(n_samples)
    return X, y, theta


def unit(vector):
    return vector / np.linalg.norm(vector)


def plain_rows(X):
    return Rows(X, np.ones(len(X)))


def uniform_points(rng, n_points, n_features):
    points = rng.standard_normal((n_points, n_features))
    return points / np.linalg.norm(points, axis=1)[:, None]


def tangent_drift(theta, rows, labels, degree):
    gradient = starts.correlation_gradient(theta, rows, labels, degree)
    return gradient - theta * np.sum(gradient * theta, axis=1)[:, None]


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_golden_correlations(golden, degree):
    X, y, theta = (golden[f"h{degree}_{name}"] for name in ("X", "y", "theta"))
    rows = plain_rows(X)
    loss = starts.correlation_loss(theta, rows, y, degree)
    assert_allclose(loss, golden[f"h{degree}_loss"], rtol=0, atol=1e-10)
    drift = tangent_drift(theta, rows, y, degree)
    assert_allclose(drift, golden[f"h{degree}_drift"], rtol=0, atol=1e-10)
    mean = starts.partial_trace(rows, y, degree)
    assert_allclose(mean, golden[f"h{degree}_mean"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_gradient_against_differences(degree):
    X, y, _ = model(3, 7, 30, 0.5, 0)
    rows, h = plain_rows(X), 1e-5
    theta = uniform_points(np.random.default_rng(1), 4, 7)
    gradient = starts.correlation_gradient(theta, rows, y, degree)
    for j in range(7):
        step = h * np.eye(7)[j]
        upper = starts.correlation_loss(theta + step, rows, y, degree)
        lower = starts.correlation_loss(theta - step, rows, y, degree)
        assert_allclose(-(upper - lower) / (2 * h), gradient[:, j], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("n_features", [2, 3, 6])
@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_partial_trace_is_the_mean_over_the_sphere(degree, n_features):
    X, y, _ = model(degree, n_features, 30, 0.1, 2)
    rows = plain_rows(X)
    points = uniform_points(np.random.default_rng(3), 200_000, n_features)
    drift = tangent_drift(points, rows, y, degree)
    mean = drift.mean(axis=0)
    if degree % 2 == 0:
        mean = (points.T @ drift + drift.T @ points) / len(points)
    expected = starts.partial_trace(rows, y, degree)
    assert np.linalg.norm(mean - expected) < 0.05 * np.linalg.norm(expected)


def test_low_degrees_are_least_squares_and_hessian_directions():
    X, y, _ = model(2, 5, 60, 0.3, 4)
    rows = plain_rows(X)
    first = starts.partial_trace(rows, y, 1)
    assert_allclose(unit(first), unit(X.T @ y), rtol=1e-12)
    matrix = starts.partial_trace(rows, y, 2)
    hessian = (X.T * y) @ X / len(y)
    off_diagonal = ~np.eye(5, dtype=bool)
    ratio = matrix[off_diagonal] / hessian[off_diagonal]
    assert_allclose(ratio, ratio[0], rtol=1e-10)
    assert abs(np.trace(matrix)) < 1e-12


@pytest.mark.parametrize("degree", [3, 4])
def test_hot_chains_average_to_the_partial_trace(degree):
    X, y, _ = model(degree, 20, 2000, 0.3, 5)
    rows = plain_rows(X)
    options = {
        "average": "drift",
        "eps": ("auto", 0.05),
        "n_chains": 20,
        "max_iter": 120,
        "burn_in": 20,
        "warn": False,
    }
    found = starts.langevin_directions(rows, y, degree, options, np.random.SeedSequence(0))[0]
    trace = starts.partial_trace(rows, y, degree)
    expected = trace if degree % 2 else np.linalg.eigh(trace)[1][:, -1]
    assert abs(unit(found) @ unit(expected)) > 0.95


@pytest.mark.parametrize("case", [0, 3])
def test_published_overlaps_of_partial_trace_and_refinement(statistics, case):
    case = statistics[case]
    trace_column = case["cols"].index("ptrace")
    refined_column = case["cols"].index("refine_from_drift")
    for seed, expected in zip(case["seeds"], case["per_seed"], strict=True):
        X, y, theta = model(case["k"], case["d"], case["n"], case["noise"], seed)
        rows = plain_rows(X)
        start = starts.partial_trace_directions(rows, y, case["k"])[0]
        assert abs(unit(start) @ theta) == pytest.approx(expected[trace_column], abs=5.1e-5)
        refined = refine_direction(rows, y, start, degree=6)
        assert abs(refined.x @ theta) == pytest.approx(expected[refined_column], abs=5.1e-5)


@pytest.mark.parametrize(("case", "average"), [(1, "drift"), (1, "iterate"), (3, "drift")])
def test_published_overlaps_of_chains(statistics, case, average):
    case = statistics[case]
    column = case["cols"].index("drift" if average == "drift" else "avg")
    expected = np.array(case["per_seed"])[:, column]
    options = {"eps": ("auto", case["kappa"]), "n_chains": 20, "max_iter": 100, "burn_in": 20}
    options |= {"average": average, "warn": False}
    overlaps = []
    for seed in case["seeds"]:
        X, y, theta = model(case["k"], case["d"], case["n"], case["noise"], seed)
        for number in range(4):
            own = np.random.SeedSequence(number)
            found = starts.langevin_directions(plain_rows(X), y, case["k"], options, own)[0]
            overlaps.append(abs(unit(found) @ theta))
    error = expected.std(ddof=1) / np.sqrt(5)
    assert np.mean(overlaps) > expected.mean() - 3 * error


def test_sliced_starts_find_what_they_can_see():
    X, y, theta = model(3, 20, 2000, 0.1, 6)
    assert abs(starts.sliced_inverse_regression(plain_rows(X), y)[0] @ theta) > 0.95
    X, y, theta = model(4, 20, 2000, 0.1, 7)
    assert abs(starts.sliced_average_variance(plain_rows(X), y)[0] @ theta) > 0.95
    assert abs(starts.sliced_inverse_regression(plain_rows(X), y)[0] @ theta) < 0.8


@pytest.mark.parametrize(
    "start", [starts.sliced_inverse_regression, starts.sliced_average_variance]
)
def test_slices_do_not_depend_on_how_rows_are_counted_or_ordered(start):
    rng = np.random.default_rng(8)
    X = rng.standard_normal((60, 3))
    y = np.round(X[:, 0] ** 2 + X[:, 1], 0)  # many ties, which lie across the cuts
    counts = rng.integers(1, 4, 60)
    weighted = start(Rows(X, counts.astype(float)), y)[0]
    order = rng.permutation(counts.sum())
    X_long, y_long = np.repeat(X, counts, axis=0)[order], np.repeat(y, counts)[order]
    repeated = start(plain_rows(X_long), y_long)[0]
    if start is starts.sliced_average_variance:  # the number of slices goes with the rows
        assert len(X) // 6 >= starts.SLICES
    assert abs(weighted @ repeated) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize(("degree", "sign"), [(3, -1), (4, -1), (4, 1)])
def test_flipped_labels(degree, sign):
    """The mean drift is linear in the labels, and both signs of an even link are found."""
    X, y, theta = model(degree, 20, 4000, 0.1, 9)
    rows = plain_rows(X)
    assert_array_equal(
        starts.partial_trace(rows, -y, degree), -starts.partial_trace(rows, y, degree)
    )
    options = {
        "average": "drift",
        "eps": ("auto", 0.5),
        "n_chains": 10,
        "max_iter": 100,
        "burn_in": 20,
        "warn": False,
    }
    found = starts.langevin_directions(rows, sign * y, degree, options, np.random.SeedSequence(0))
    cosines = [unit(direction) @ theta for direction in found]
    assert np.max(np.abs(cosines)) > 0.8
    if degree % 2:
        assert cosines[0] < 0


def test_sgd_averages_point_to_the_planted_direction():
    options = {"n_chains": 4, "max_iter": 60, "warn": False}
    for degree in (3, 4):
        X, y, theta = model(degree, 20, 4000, 0.1, 10)
        found = starts.sgd_directions(plain_rows(X), y, degree, options, np.random.SeedSequence(1))
        assert max(abs(unit(direction) @ theta) for direction in found) > 0.8


# -- labels ----------------------------------------------------------------------------


def test_sgd_averages_respect_weights():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 5))
    y = np.where(np.arange(4000) < 1000, X[:, 0], X[:, 1])  # three quarters follow the second
    weight = np.where(np.arange(4000) < 1000, 10.0, 0.1)
    options = {"n_chains": 2, "max_iter": 5, "warn": False}
    seed = np.random.SeedSequence(0)
    rows = Rows(X, weight)
    (found,) = starts.sgd_directions(rows, y / np.sqrt(rows.weight @ y**2), 1, options, seed)
    assert found[0] > 0.95 * np.linalg.norm(found)


def test_rank_transform_sees_only_the_order():
    rng = np.random.default_rng(0)
    y, weight = np.sort(rng.standard_normal(50)), np.full(50, 0.02)
    ranks = starts.transform_labels(y, weight, "rank")
    assert_array_equal(ranks, starts.transform_labels(np.exp(5 * y), weight, "rank"))
    assert weight @ ranks == pytest.approx(0, abs=1e-14)
    assert weight @ ranks**2 == pytest.approx(1)


def test_labels_are_free_of_units_and_constants_vanish():
    rng = np.random.default_rng(1)
    y, weight = rng.standard_normal(50), np.full(50, 0.02)
    labels = starts.transform_labels(y, weight, "identity")
    assert_allclose(starts.transform_labels(3 + 1e200 * y, weight, "identity"), labels, rtol=1e-9)
    assert_array_equal(starts.transform_labels(np.full(50, 0.1), weight, "identity"), 0)
    squares = starts.transform_labels(y, weight, np.square)
    assert np.corrcoef(squares, y**2)[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("transform", [lambda y: y[:3], lambda y: y * np.nan])
def test_label_transforms_that_cannot_be_used(transform):
    with pytest.raises(ValueError, match="label_transform"):
        starts.transform_labels(np.arange(5.0), np.full(5, 0.2), transform)


# -- rows ------------------------------------------------------------------------------


def test_merging_adds_weights_and_forgets_order():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 3))
    y = rng.integers(0, 3, 20).astype(float)
    counts = rng.integers(0, 4, 20)
    weighted = merge_samples(X, y, counts)
    order = rng.permutation(counts.sum())
    repeated = merge_samples(np.repeat(X, counts, axis=0)[order], np.repeat(y, counts)[order], None)
    for left, right in zip(weighted[:3], repeated[:3], strict=True):
        assert_array_equal(left, right)
    assert_array_equal(repeated.repeats, repeated.weight)
    assert np.all(np.diff(weighted.y) >= 0)
    assert len(weighted.y) == np.sum(counts > 0)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_equal_rows_of_indicators_are_merged_wherever_they_stand(container):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (300, 5)).astype(float)
    y = X.sum(axis=1)
    X[X == 0] = rng.choice([0.0, -0.0], np.sum(X == 0))
    merged = merge_samples(container(X), y, None)
    rows = merged.X.toarray() if sparse.issparse(merged.X) else merged.X
    distinct, counts = np.unique(X, axis=0, return_counts=True)
    assert len(rows) == len(distinct)
    order = np.lexsort(rows.T[::-1])
    assert_array_equal(rows[order], distinct)
    assert_array_equal(merged.repeats[order], counts)
    again = merge_samples(container(X[::-1]), y[::-1], None)
    assert_array_equal(again.X.toarray() if sparse.issparse(again.X) else again.X, rows)


def test_sparse_rows_stored_in_any_way_are_merged():
    # A row in order, one out of order, one with a stored zero, one with an entry in two parts.
    values = np.array([0.25, 0.5, 0.5, 0.25, 0.0, 0.25, 0.5, 0.25, 0.25, 0.25])
    X = sparse.csr_array((values, [0, 2, 2, 0, 1, 0, 2, 2, 0, 2], [0, 2, 4, 7, 10]))
    merged = merge_samples(X, np.zeros(4), None)
    assert_array_equal(merged.X.toarray(), [[0.25, 0.0, 0.5]])
    assert_array_equal(merged.repeats, [4])
    assert X.nnz == 10  # the caller's matrix is as it was


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_effective_size_does_not_depend_on_the_unit(scale):
    assert_allclose(effective_size(scale * np.array([1.0, 1.0, 2.0])), 16 / 6)


def test_sparse_rows_are_centred_implicitly():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((30, 5)) * (rng.random((30, 5)) < 0.4) + 0.0
    weight, values = rng.random(30), rng.standard_normal(30)
    theta = rng.standard_normal((5, 2))
    dense, dense_map = standardize(X, weight, whiten=False)
    scarce, sparse_map = standardize(sparse.csr_array(X), weight, whiten=False)
    assert_allclose(scarce.index(theta), dense.index(theta), atol=1e-12)
    assert_allclose(scarce.index(theta[:, 0]), dense.index(theta[:, 0]), atol=1e-12)
    assert_allclose(scarce.cross(values), dense.cross(values), atol=1e-12)
    assert_allclose(scarce.cross(np.outer(values, [1, 2])), dense.cross(np.outer(values, [1, 2])))
    assert_allclose(scarce.gram(values), dense.gram(values), atol=1e-12)
    assert_allclose(scarce.squared_norms(), dense.squared_norms(), atol=1e-12)
    assert_allclose(sparse_map.root, dense_map.root)
    part = scarce.take(np.array([3, 4, 9]))
    assert_allclose(part.index(theta), dense.take(np.array([3, 4, 9])).index(theta), atol=1e-12)


def test_whitened_rows_are_isotropic_and_map_back():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4)) + 3
    weight = rng.integers(1, 3, 200).astype(float)
    rows, whitening = standardize(X, weight, whiten=True)
    assert_allclose(rows.gram(rows.weight), np.eye(4), atol=1e-10)
    assert_allclose(rows.cross(rows.weight), 0, atol=1e-10)
    theta = unit(rng.standard_normal(4))
    coef, centre, scale = whitening.to_features(theta)
    assert np.linalg.norm(coef) == pytest.approx(1)
    assert_allclose((X @ coef - centre) / scale, rows.index(theta), atol=1e-10)


def test_few_samples_are_whitened_with_the_covariance_of_ledoit_and_wolf():
    X = np.random.default_rng(3).standard_normal((30, 10)) * np.arange(1, 11)
    covariance, _ = ledoit_wolf(X)
    _, whitening = standardize(X, np.ones(30), whiten=True)
    root = whitening.root
    assert_allclose(root @ covariance @ root, np.eye(10), atol=1e-8)


def test_features_without_variance_get_no_weight():
    X = np.random.default_rng(4).standard_normal((50, 3))
    X[:, 1] = 7.0
    rows, whitening = standardize(X, np.ones(50), whiten=True)
    assert_allclose(rows.X[:, 1], 0, atol=1e-7)
    assert whitening.to_features(unit(np.array([1.0, 0, 1])))[0][1] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("n_rows", "fraction"), [(100, 0.2), (37, 0.3), (5, 0.5), (1000, 0.01)])
def test_split_holds_out_the_fraction(n_rows, fraction):
    train, validation = split_rows(n_rows, fraction)
    assert_array_equal(np.sort(np.append(train, validation)), np.arange(n_rows))
    assert abs(len(validation) - fraction * n_rows) <= 1
    assert len(split_rows(3, 0.2)[1]) == 0


# -- refinement ------------------------------------------------------------------------


def test_split_is_stratified_by_the_order_of_the_rows():
    for n_rows, fraction, every in ((100, 0.2, 5), (40, 0.5, 2)):
        validation = split_rows(n_rows, fraction)[1]
        assert_array_equal(np.diff(validation), every)


@pytest.mark.parametrize("name", ["ols", "phd", "sir", "save", "langevin_3", "partial_trace_4"])
def test_directions_do_not_see_the_targets_that_are_held_out(name):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((120, 4)), np.sort(rng.standard_normal(120))
    rows, _ = standardize(X, np.ones(120), whiten=True)
    chains = {"average": "drift", "eps": ("auto", 0.5), "n_chains": 4, "max_iter": 20}
    chains |= {"burn_in": 5, "warn": False}
    settings = searching.Settings((name,), "hermite", 6, "identity", chains, True, 0.2)
    changed = y.copy()
    changed[split_rows(120, 0.2)[1]] += 5.0
    seed = np.random.SeedSequence(0)
    found, other = (
        searching.search(searching.Problem(rows, target, None), settings, seed)[0]
        for target in (y, changed)
    )
    assert_array_equal(found.theta, other.theta)
    assert found.score > other.score


def test_polynomial_fit_is_least_squares():
    rng = np.random.default_rng(0)
    u, y, weight = 2 + 3 * rng.standard_normal(80), rng.standard_normal(80) + 1e6, rng.random(80)
    weight /= weight.sum()
    fit = PolynomialFit(u, y, weight, 4)
    powers = np.vander((u - 2) / 3, 5) * np.sqrt(weight)[:, None]
    expected = np.linalg.lstsq(powers, (y - 1e6) * np.sqrt(weight))[1][0]
    assert fit.loss == pytest.approx(expected, rel=1e-7)
    h = 1e-5
    slope = fit.derivative(1)
    wider = PolynomialFit(np.append(u, u + h), np.append(y, y), np.append(weight, 0 * weight), 4)
    values = wider.basis @ wider.coefficients
    assert_allclose((values[80:] - values[:80]) / h, slope, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_refinement_never_increases_the_loss_and_ends_where_its_gradient_vanishes(seed):
    X, y, _ = model(3, 10, 400, 0.3, seed)
    rows = plain_rows(X)
    theta = uniform_points(np.random.default_rng(seed), 1, 10)[0]
    result = refine_direction(rows, y, theta, degree=5, max_iter=300)
    assert np.all(np.diff(result.history["objective"]) <= 0)
    assert result.history["objective"][-1] == result.fun
    assert result.success

    def loss(point):
        return PolynomialFit(X @ unit(point), y, rows.weight, 5).loss

    h = 1e-5
    gradient = [(loss(result.x + h * e) - loss(result.x - h * e)) / (2 * h) for e in np.eye(10)]
    assert np.linalg.norm(gradient) < 1e-4 * y.var()


def test_newton_steps_use_the_hessian_of_the_profiled_loss():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5)) * [1, 2, 1, 0.5, 1] + 0.3
    theta, near = unit(rng.standard_normal((2, 5)) @ np.eye(5))
    y = np.sin(2 * X @ unit(theta)) + 0.3 * rng.standard_normal(200)
    point = unit(unit(theta) + 0.1 * near)
    state = RefinementState(plain_rows(X), y, point, 4)
    tangent = np.linalg.qr(np.column_stack([point, np.eye(5)[:, 1:]]))[0][:, 1:]

    def loss(move):
        return state.profile(unit(point + tangent @ move)).loss / 2

    h, unit_moves = 1e-4, np.eye(4) * 1e-4
    gradient = np.array([(loss(e) - loss(-e)) / (2 * h) for e in unit_moves])
    hessian = np.array(
        [
            [
                (loss(e + f) - loss(e - f) - loss(f - e) + loss(-e - f)) / (4 * h**2)
                for f in unit_moves
            ]
            for e in unit_moves
        ]
    )
    assert np.linalg.eigvalsh(hessian)[0] > 0
    weighted = state.rows.weight * state.fit.derivative(1)
    mixed = state.rows.cross(weighted[:, None] * state.fit.basis)
    step = state.newton_step(-tangent @ gradient, mixed)
    assert_allclose(tangent.T @ step, -np.linalg.solve(hessian, gradient), rtol=1e-4)


def test_refinement_is_exact_without_noise():
    X, _, theta = model(3, 10, 400, 0.0, 0)
    y = hermite(X @ theta, 3)
    rows = plain_rows(X)
    start = theta + 0.3 * uniform_points(np.random.default_rng(1), 1, 10)[0]
    result = refine_direction(rows, y, start, degree=6)
    assert result.success
    assert abs(result.x @ theta) == pytest.approx(1, abs=1e-10)
