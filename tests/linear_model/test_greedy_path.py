"""Greedy paths: golden orders, optimality of the fits, invariances, recovery, stopping."""

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import orthogonal_mp

from sparseopt.linear_model import _greedy_selection as selection
from sparseopt.linear_model import greedy_delta, weighted_omp_path
from sparseopt.linear_model._kernels import cpu as kernels

DATA = Path(__file__).parents[1] / "data" / "greedy"
GOLDEN = np.load(DATA / "omp_paths.npz")
NAMES = sorted(name.removesuffix("/order") for name in GOLDEN.files if name.endswith("/order"))
LOSSES = {"lasso": "lasso", "srlasso": "sqrt_lasso", "ladlasso": "lad_lasso"}
SQUARES = [
    ("omp", "l1", 0.0),
    ("lasso", "l1", 0.3),
    ("lasso", "l0", 0.05),
    ("sqrt_lasso", "l1", 0.15),
    ("sqrt_lasso", "l0", 0.05),
]
KINDS = [*SQUARES, ("lad_lasso", "l1", 1.5), ("lad_lasso", "l0", 0.2)]


def golden_instance(name):
    case, kind, lam = name.split("/")
    A, y, weights = (GOLDEN[f"{case}/{part}"] for part in ("A", "y", "w"))
    options = {"loss": "omp", "lam": 0.0, "weights": weights if kind == "womp" else None}
    if not kind.endswith("omp"):
        loss, penalty = kind.rsplit("_", 1)
        options = {"loss": LOSSES[loss], "penalty": penalty, "weights": weights}
        options["lam"] = float(lam.removeprefix("lam"))
    return A, y, {**options, "n_nonzero_coefs": 24}


def sparse_problem(seed, m=60, n=80, s=6, noise=0.02, *, unit=True, complex_data=False):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n))
    if complex_data:
        A = A + 1j * rng.standard_normal((m, n))
    A = A / np.linalg.norm(A, axis=0) if unit else A * rng.uniform(0.1, 10, n)
    x = np.zeros(n, A.dtype)
    x[rng.choice(n, s, replace=False)] = rng.choice([-1, 1], s) * rng.uniform(1, 3, s)
    e = rng.standard_normal(m)
    return A, A @ x + noise * e / np.linalg.norm(e), x


def options_of(kind):
    return dict(zip(("loss", "penalty", "lam"), kind, strict=True))


def assert_same_path(found, expected, atol=1e-9):
    np.testing.assert_array_equal(found.order, expected.order)
    assert found.stop_reason == expected.stop_reason
    np.testing.assert_allclose(np.asarray(found.x), np.asarray(expected.x), atol=atol)
    np.testing.assert_allclose(found.intercept, expected.intercept, atol=atol)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    A, y, options = golden_instance(name)
    path = weighted_omp_path(A, y, **options)
    np.testing.assert_array_equal(path.order, GOLDEN[f"{name}/order"])
    np.testing.assert_allclose(path.x, GOLDEN[f"{name}/coef"], atol=1e-8)
    np.testing.assert_allclose(path.deltas, GOLDEN[f"{name}/selected_delta"], rtol=1e-6)
    stop = str(GOLDEN[f"{name}/stop"])
    if stop == "max_iter":
        assert path.stop_reason == "n_nonzero_coefs"
    else:
        assert path.stop_reason in ("no_decrease", "in_support")


@pytest.mark.parametrize("name", [name for name in NAMES if "ladlasso" not in name])
def test_golden_array_api_strict(name):
    A, y, options = golden_instance(name)
    path = weighted_omp_path(array_api_strict.asarray(A), array_api_strict.asarray(y), **options)
    assert isinstance(path.x, type(array_api_strict.asarray(0.0)))
    np.testing.assert_array_equal(path.order, GOLDEN[f"{name}/order"])
    np.testing.assert_allclose(np.asarray(path.x), GOLDEN[f"{name}/coef"], atol=1e-8)
    np.testing.assert_allclose(path.deltas, GOLDEN[f"{name}/selected_delta"], rtol=1e-6)


@pytest.mark.parametrize("kind", ["lasso_l1", "srlasso_l1", "lasso_l0"])
def test_golden_polynomial(kind):
    data = np.load(DATA / "polynomial.npz")
    index_set, samples = data["index_set"], data["samples"]
    degree = index_set.max()
    values = np.sqrt(2) * np.cos(np.arange(degree + 1) * np.arccos(samples)[:, :, None])
    values[:, :, 0] = 1
    A = np.prod([values[:, k, index_set[:, k]] for k in range(samples.shape[1])], axis=0) / np.sqrt(
        len(samples)
    )
    loss, penalty = kind.rsplit("_", 1)
    path = weighted_omp_path(
        A, data["b"], loss=LOSSES[loss], penalty=penalty, lam=float(data[f"{kind}/lam"]),
        weights=data["intrinsic_weights"], n_nonzero_coefs=len(data[f"{kind}/order"]),
    )  # fmt: skip
    np.testing.assert_array_equal(path.order, data[f"{kind}/order"])
    np.testing.assert_allclose(path.x, data[f"{kind}/coef"], atol=1e-7)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] != "lad_lasso"])
def test_without_penalty_it_is_scikit_learns_omp(kind):
    A, y, _ = sparse_problem(0, noise=0.3)
    path = weighted_omp_path(A, y, loss=kind[0], penalty=kind[1], lam=0.0, n_nonzero_coefs=15)
    expected = orthogonal_mp(A, y, n_nonzero_coefs=15, return_path=True)
    np.testing.assert_allclose(path.coefs.toarray()[1:].T, expected, atol=1e-9)
    expected = orthogonal_mp(A, y, tol=0.05)
    path = weighted_omp_path(A, y, loss=kind[0], penalty=kind[1], lam=0.0, tol=0.05)
    np.testing.assert_allclose(path.x, expected, atol=1e-9)
    assert path.stop_reason == "tol"


@pytest.mark.parametrize("complex_data", [False, True])
@pytest.mark.parametrize("kind", SQUARES)
def test_every_point_of_the_path_is_a_least_squares_fit(kind, complex_data):
    A, y, _ = sparse_problem(1, m=30, noise=0.5, unit=False, complex_data=complex_data)
    options = {**options_of(kind), "lam": 0.0, "n_nonzero_coefs": 30}
    path = weighted_omp_path(A, y, **options)
    coefs = path.coefs.toarray()
    bound = 1e-10 * np.linalg.norm(A) * np.linalg.norm(y)
    norms = []
    for k, coef in enumerate(coefs):
        residual = y - A @ coef
        assert np.count_nonzero(coef) == k
        assert np.all(np.abs(A[:, path.order[:k]].conj().T @ residual) <= bound)
        norms.append(np.linalg.norm(residual))
    assert np.all(np.diff(norms) < 0)
    assert norms[-1] < 1e-9 * norms[0]  # as many columns as rows interpolate
    losses = np.array(norms) if kind[0] == "sqrt_lasso" else np.square(norms)
    np.testing.assert_allclose(path.losses, losses, rtol=1e-9, atol=1e-12 * losses[0])


@pytest.mark.parametrize("penalty", ["l0", "l1"])
def test_every_point_of_a_lad_path_is_optimal(penalty):
    A, y, _ = sparse_problem(2, m=25, n=40, noise=1.0)
    path = weighted_omp_path(A, y, loss="lad_lasso", penalty=penalty, lam=0.01, n_nonzero_coefs=8)
    assert path.nit == 8
    for k in range(1, 9):
        B = A[:, path.order[:k]]
        system = np.hstack([B, np.eye(25), -np.eye(25)])
        cost = np.r_[np.zeros(k), np.ones(50)]
        bounds = [(None, None)] * k + [(0, None)] * 50
        expected = linprog(cost, A_eq=system, b_eq=y, bounds=bounds).fun
        assert path.losses[k] == pytest.approx(expected, rel=1e-9)
        assert np.abs(y - A @ path.coefs[[k]].toarray()[0]).sum() == pytest.approx(expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[1] == "l0" and kind[0] != "omp"])
@pytest.mark.parametrize("allow_removal", [False, True])
def test_l0_objective_falls_by_at_least_delta(kind, allow_removal):
    for seed in range(5):
        A, y, _ = sparse_problem(seed, m=40, s=12, noise=0.2)
        weights = np.random.default_rng(seed).uniform(0.5, 2, 80)
        path = weighted_omp_path(
            A, y, **options_of(kind), weights=weights, allow_removal=allow_removal
        )
        penalties = [kind[2] * np.sum(weights[row != 0] ** 2) for row in path.coefs.toarray()]
        objective = path.losses + penalties
        assert path.nit > 2
        assert np.all(-np.diff(objective) >= path.deltas * (1 - 1e-9) - 1e-12)
        assert np.all(path.deltas > 0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] != "omp"])
def test_selected_gain_is_the_largest_exact_one(kind):
    A, y, _ = sparse_problem(3, unit=False, noise=0.3)
    weights = np.random.default_rng(3).uniform(0.5, 2, 80)
    lam = kind[2]
    path = weighted_omp_path(
        A, y, **options_of(kind), weights=weights, normalize=False, n_nonzero_coefs=25
    )
    assert path.nit > 0
    for k in range(path.nit + 1):
        gains = greedy_delta(
            A, y, path.coefs[[k]].toarray()[0], loss=kind[0], penalty=kind[1], lam=lam,
            weights=weights,
        )  # fmt: skip
        if k < path.nit:
            assert np.argmax(gains) == path.order[k]
            assert gains.max() == pytest.approx(path.deltas[k], rel=1e-6)
        elif path.stop_reason == "in_support":
            assert np.argmax(gains) in path.support
        elif path.stop_reason == "no_decrease":
            assert gains.max() <= 1e-12 * max(path.losses[0], 1)
        else:
            assert path.nit == 25


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    penalty=st.sampled_from(["l0", "l1"]),
    lam=st.sampled_from([0.0, 0.1, 1.0]),
    integers=st.booleans(),
    n_steps=st.integers(0, 4),
)
def test_lad_selection_skips_no_winner(seed, penalty, lam, integers, n_steps):
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(2, 30)), int(rng.integers(2, 50))
    A, y = rng.standard_normal((m, n)), rng.standard_normal(m)
    if integers:  # many ties, zero entries and zero residuals
        A, y = rng.integers(-2, 3, (m, n)).astype(float), rng.integers(-3, 4, m).astype(float)
    options = {"loss": "lad_lasso", "penalty": penalty, "lam": lam}
    options["weights"] = rng.uniform(0.5, 2, n)
    path = weighted_omp_path(A, y, **options, normalize=False, max_iter=n_steps + 1)
    for k in range(path.nit):
        gains = greedy_delta(A, y, path.coefs[[k]].toarray()[0], **options)
        assert path.deltas[k] == pytest.approx(gains.max(), rel=1e-9)
        assert path.order[k] == np.argmax(gains >= gains.max() * (1 - 1e-11))
    if path.stop_reason == "no_decrease":
        gains = greedy_delta(A, y, path.x, **options)
        assert gains.max() <= 1e-11 * np.abs(y).sum()


def test_column_in_the_support_competes():
    # After two columns, an outside column still gains, but less than shrinking a coefficient
    # that is in the support would: the path must stop.
    A = np.eye(4)
    y = np.array([3.0, 2.0, 0.8, 0.0])
    path = weighted_omp_path(A, y, loss="lasso", lam=1.0)
    gains = greedy_delta(A, y, path.x, loss="lasso", lam=1.0)
    assert path.support.tolist() == [0, 1]
    assert gains[2] > 0.05
    assert gains[0] > gains[2]
    assert path.stop_reason == "in_support"


def test_effective_threshold_of_the_lasso_is_lam():
    # not lam / 2, which is where a single column starts to gain
    A, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))
    for value, enters in ((1.01, True), (0.99, False)):
        y = A[:, :2] @ [5.0, value]
        path = weighted_omp_path(A, y, loss="lasso", lam=1.0)
        assert (path.nit == 2) == enters


def test_effective_threshold_of_the_square_root_loss_does_not_see_the_noise_level():
    lam = 0.2
    tau = 2 * lam * np.sqrt(1 - lam**2)
    for level in (1e-3, 1.0, 1e3):
        for factor, enters in ((1.01, True), (0.99, False)):
            c = tau * factor
            rest = np.sqrt(1 - c**2)
            y = np.array([1e5, c * level, rest * level, 0.0])
            path = weighted_omp_path(np.eye(4)[:, :2], y, loss="sqrt_lasso", lam=lam)
            assert (path.nit == 2) == enters


def test_large_lam_stops_after_the_first_column():
    A, y, _ = sparse_problem(0)
    assert weighted_omp_path(A, y, loss="sqrt_lasso", lam=0.71).nit <= 1


def test_nothing_gains_nothing_enters():
    A, y, _ = sparse_problem(0)
    for kind in KINDS[1:]:
        path = weighted_omp_path(A, y, loss=kind[0], penalty=kind[1], lam=1e6)
        assert path.nit == 0
        assert path.stop_reason == "no_decrease"
        assert not path.x.any()
    for kind in KINDS:
        path = weighted_omp_path(A, 0 * y, **options_of(kind))
        assert path.nit == 0
        assert path.stop_reason == "no_decrease"


@pytest.mark.parametrize("kind", KINDS)
def test_no_junk_after_exact_recovery(kind):
    A, y, x = sparse_problem(4, noise=0.0)
    options = {**options_of(kind), "lam": 1e-6 if kind[0] != "omp" else 0.0}
    path = weighted_omp_path(A, y, **options, n_nonzero_coefs=40)
    np.testing.assert_allclose(path.x, x, atol=1e-10)
    if kind[0] != "omp":
        assert set(path.support) == set(np.flatnonzero(x))


@pytest.mark.parametrize("factor", [1e-6, 1e5])
@pytest.mark.parametrize("kind", KINDS)
def test_scale_equivariance(kind, factor):
    A, y, _ = sparse_problem(5, noise=0.3)
    loss, penalty, lam = kind
    power = {
        ("lasso", "l0"): 2, ("lasso", "l1"): 1, ("sqrt_lasso", "l0"): 1, ("lad_lasso", "l0"): 1,
    }.get((loss, penalty), 0)  # fmt: skip
    path = weighted_omp_path(A, y, **options_of(kind))
    scaled = weighted_omp_path(A, factor * y, loss=loss, penalty=penalty, lam=lam * factor**power)
    np.testing.assert_array_equal(path.order, scaled.order)
    np.testing.assert_allclose(scaled.x, factor * path.x, rtol=1e-8, atol=1e-12 * factor)


@pytest.mark.parametrize("kind", KINDS)
def test_permutation_and_column_scaling(kind):
    A, y, _ = sparse_problem(6, noise=0.3)
    rng = np.random.default_rng(0)
    weights, order, scale = rng.uniform(0.5, 2, 80), rng.permutation(80), rng.uniform(0.1, 9, 80)
    path = weighted_omp_path(A, y, **options_of(kind), weights=weights)
    moved = weighted_omp_path(A[:, order], y, **options_of(kind), weights=weights[order])
    np.testing.assert_array_equal(order[moved.order], path.order)
    np.testing.assert_allclose(moved.x, path.x[order], atol=1e-10)
    scaled = weighted_omp_path(A * scale, y, **options_of(kind), weights=weights)
    np.testing.assert_array_equal(scaled.order, path.order)
    np.testing.assert_allclose(scaled.x * scale, path.x, atol=1e-10)


@pytest.mark.parametrize("kind", SQUARES)
def test_complex_generalises_real(kind):
    A, y, _ = sparse_problem(7, noise=0.3)
    path = weighted_omp_path(A, y, **options_of(kind))
    assert_same_path(weighted_omp_path(A + 0j, y, **options_of(kind)), path)
    A, y, _ = sparse_problem(7, noise=0.3, complex_data=True)
    path = weighted_omp_path(A, y, **options_of(kind))
    phase = np.exp(0.7j)
    turned = weighted_omp_path(A, phase * y, **options_of(kind))
    np.testing.assert_array_equal(turned.order, path.order)
    np.testing.assert_allclose(turned.x, phase * path.x, atol=1e-10)


@pytest.mark.parametrize(
    "container", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.csc_matrix]
)
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_equals_dense(kind, container):
    A, y, _ = sparse_problem(8, noise=0.3, unit=False)
    A[np.abs(A) < np.quantile(np.abs(A), 0.7)] = 0
    sample_weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    for options in ({}, {"fit_intercept": True, "sample_weight": sample_weight}):
        expected = weighted_omp_path(A, y + 3, **options_of(kind), **options)
        found = weighted_omp_path(container(A), y + 3, **options_of(kind), **options)
        assert expected.nit > 0
        assert_same_path(found, expected)
    wide = container(A)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert_same_path(
        weighted_omp_path(wide, y, **options_of(kind)),
        weighted_omp_path(A, y, **options_of(kind)),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_sample_weights_are_repetitions(kind):
    A, y, _ = sparse_problem(9, noise=0.5, unit=False)
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    options = {**options_of(kind), "fit_intercept": True}
    weighted = weighted_omp_path(A, y + 1, sample_weight=counts, **options)
    repeated = weighted_omp_path(np.repeat(A, counts, axis=0), np.repeat(y + 1, counts), **options)
    assert weighted.nit > 0
    assert_same_path(weighted, repeated)
    np.testing.assert_allclose(weighted.losses, repeated.losses, rtol=1e-9, atol=1e-12)
    assert weighted.certificate == pytest.approx(repeated.certificate, rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_intercept_does_not_see_shifts(kind):
    A, y, _ = sparse_problem(10, noise=0.5)
    options = {**options_of(kind), "fit_intercept": True}
    path = weighted_omp_path(A, y, **options)
    moved = weighted_omp_path(A + 7, y - 40, **options)
    np.testing.assert_array_equal(moved.order, path.order)
    np.testing.assert_allclose(moved.x, path.x, atol=1e-8)
    residual = y - 40 - (A + 7) @ moved.x - moved.intercept
    centre = np.median(residual) if kind[0] == "lad_lasso" else residual.mean()
    assert centre == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_independent(kind):
    A, y, _ = sparse_problem(11, noise=0.5)
    Y = np.column_stack([y, A[:, 3], np.zeros_like(y), y[::-1]])
    together = weighted_omp_path(A, Y, **options_of(kind))
    assert together.x.shape == (80, 4)
    assert weighted_omp_path(A, Y[:, :1], **options_of(kind)).x.shape == (80, 1)
    for target, path in zip(Y.T, together.paths, strict=True):
        assert_same_path(path, weighted_omp_path(A, target, **options_of(kind)), atol=1e-12)


@pytest.mark.parametrize("complex_data", [False, True])
@pytest.mark.parametrize("kind", SQUARES)
def test_array_api_equals_numpy(kind, complex_data):
    A, y, _ = sparse_problem(12, noise=0.5, unit=False, complex_data=complex_data)
    rng = np.random.default_rng(0)
    Y = np.column_stack([y, A[:, 3] + 0.1 * rng.standard_normal(60), 0 * y, y[::-1]])
    strict = [array_api_strict.asarray(a) for a in (A, Y)]
    for options in (
        {},
        {"fit_intercept": True, "sample_weight": rng.integers(0, 3, 60).astype(float)},
        {"normalize": False, "weights": rng.uniform(0.5, 2, 80)},
        {"n_nonzero_coefs": 3},
        {"max_iter": 2},
        {"weights": np.r_[np.inf, 0.0, np.ones(78)]},
    ):
        options = {"n_nonzero_coefs": 12, **options_of(kind), **options}
        expected = weighted_omp_path(A, Y, **options)
        found = weighted_omp_path(*strict, **options)
        assert (found.success, found.status) == (expected.success, expected.status)
        for one, other in zip(found.paths, expected.paths, strict=True):
            assert_same_path(one, other)
            np.testing.assert_allclose(np.asarray(one.coefs), other.coefs.toarray(), atol=1e-9)
            np.testing.assert_allclose(one.deltas, other.deltas, rtol=1e-8)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    rule=st.sampled_from(SQUARES),
    single=st.booleans(),
    heavy=st.booleans(),
    duplicates=st.booleans(),
)
def test_selection_from_codes_is_exact(seed, rule, single, heavy, duplicates):
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 60)), int(rng.integers(1, 90))
    A = rng.standard_cauchy((m, n)) if heavy else rng.standard_normal((m, n))
    A[:, rng.random(n) < 0.1] = 0
    if duplicates:
        A[:, n // 2 :] = A[:, : n - n // 2]
    A = np.asfortranarray(A, dtype=np.float32 if single else np.float64)
    Y = rng.standard_normal((m, 2))
    weights = rng.uniform(0.5, 2, n)
    kwargs = {**options_of(rule), "weights": weights, "n_nonzero_coefs": 10 if n > 9 else n}
    with pytest.MonkeyPatch.context() as patch:
        expected = weighted_omp_path(A, Y, **kwargs)
        patch.setattr(selection, "ENCODE_ENTRIES", 0)
        patch.setattr(selection, "ENCODE_AFTER_PASSES", 0)
        found = weighted_omp_path(A, Y, **kwargs)
    for one, other in zip(found.paths, expected.paths, strict=True):
        np.testing.assert_array_equal(one.order, other.order)
        np.testing.assert_array_equal(one.x, other.x)
        assert one.stop_reason == other.stop_reason
        if duplicates and n % 2 == 0:  # of equal columns the first is taken
            first = weights[: n // 2] <= weights[n // 2 :]
            assert not any(j >= n // 2 and first[j - n // 2] for j in one.order)


@pytest.mark.parametrize("kind", ["gaussian", "heavy", "exact"])
def test_error_bound_of_the_codes_holds_where_it_is_attained(kind):
    rng = np.random.default_rng(0)
    A = rng.standard_cauchy((300, 40)) if kind == "heavy" else rng.standard_normal((300, 40))
    if kind == "exact":  # nothing is lost to 8 bits: only single precision is left
        A = rng.integers(-126, 127, (300, 40)).astype(float)
        A[0] = 127
    A = np.asfortranarray(A)
    norms = np.linalg.norm(A, axis=0)
    dictionary = selection.Dictionary(A, norms)
    dictionary._encode()
    steps = np.abs(A).max(axis=0) / 127
    lost = (A - dictionary.codes.T * steps) / norms
    for residual in [*rng.standard_normal((20, 300)), *(A / norms).T, *lost.T]:
        if not residual.any():
            continue
        direction = residual / np.linalg.norm(residual)
        found = dictionary.correlate_codes(np.float32(direction)[None])[0]
        assert np.all(np.abs(found - direction @ A / norms) <= dictionary.error)
    # and is hardly larger than what the 8 bits lose
    assert np.all(dictionary.error <= 1.01 * np.linalg.norm(lost, axis=0) + 1e-4)


@pytest.mark.parametrize("from_codes", [False, True])
def test_gains_that_differ_by_rounding_tie_with_the_largest_only(from_codes, monkeypatch):
    monkeypatch.setattr(selection, "ENCODE_ENTRIES", 0 if from_codes else np.inf)
    monkeypatch.setattr(selection, "ENCODE_AFTER_PASSES", 0)
    rng = np.random.default_rng(0)
    column = rng.standard_normal(30)
    A = np.asfortranarray(np.repeat(column[:, None], 90, axis=1))
    for _ in range(20):
        rank = rng.permutation(90)
        weights = 1 + 0.7e-12 * rank  # chains of ties, of which two hold the largest
        path = weighted_omp_path(A, column, loss="omp", weights=weights, n_nonzero_coefs=1)
        assert path.order == np.flatnonzero(rank <= 1)[0]


def test_many_nearly_parallel_columns_are_told_apart(monkeypatch):
    monkeypatch.setattr(selection, "ENCODE_ENTRIES", 0)
    monkeypatch.setattr(selection, "ENCODE_AFTER_PASSES", 0)
    rng = np.random.default_rng(0)
    for _ in range(5):  # far below the resolution of the codes
        A = rng.standard_normal((50, 1)) + 1e-5 * rng.standard_normal((50, 400))
        y = rng.standard_normal(50)
        path = weighted_omp_path(A, y, loss="omp", n_nonzero_coefs=1)
        assert path.order == np.argmax(np.abs(y @ A) / np.linalg.norm(A, axis=0))


@pytest.mark.parametrize("rule", SQUARES[1:])
@pytest.mark.parametrize("lam", [0.05, 0.7, 3.0])
def test_gains_in_the_support_are_exact(rule, lam):
    loss, penalty, _ = rule
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((30, 21)))
    A, residual = Q[:, :20], 1.7 * Q[:, 20]  # orthogonal to A, as after a fit
    x = rng.standard_normal(20) * np.geomspace(0.01, 10, 20)
    weights = rng.uniform(0.5, 2, 20)
    expected = greedy_delta(
        A, A @ x + residual, x, loss=loss, penalty=penalty, lam=lam, weights=weights
    )
    code = selection.RULES[loss, penalty]
    found = [
        kernels.support_gain(code, abs(value), 1.7, lam, weight)
        for value, weight in zip(x, weights, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-40, 1.0, 1e40])
def test_unnormalised_omp_at_any_scale(scale):
    A, y, _ = sparse_problem(21, unit=False)
    path = weighted_omp_path(scale * A, y, loss="omp", normalize=False, n_nonzero_coefs=8)
    expected = orthogonal_mp(A, y, n_nonzero_coefs=8)
    np.testing.assert_allclose(scale * path.x, expected, atol=1e-9)


@pytest.mark.parametrize("mean", [1e2, 5e4])
def test_sparse_columns_far_from_zero_gain_what_dense_ones_do(mean):
    rng = np.random.default_rng(0)
    A = mean + rng.standard_normal((200, 30))
    y = A[:, 3] - A[:, 7] + rng.standard_normal(200)
    options = {"loss": "lasso", "lam": 1.0, "fit_intercept": True}
    expected = weighted_omp_path(A, y, **options)
    found = weighted_omp_path(sparse.csc_array(A), y, **options)
    assert expected.nit > 1
    np.testing.assert_array_equal(found.order, expected.order)
    np.testing.assert_allclose(found.deltas, expected.deltas, rtol=1e-9)


def test_coarse_codes_are_given_up():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((200, 600))
    A[rng.integers(0, 200, 600), np.arange(600)] = 1e4  # one entry takes all the resolution
    y = rng.standard_normal(200)
    path = weighted_omp_path(np.asfortranarray(A), y, loss="omp", n_nonzero_coefs=40)
    expected = orthogonal_mp(A / np.linalg.norm(A, axis=0), y, n_nonzero_coefs=40)
    np.testing.assert_allclose(path.x * np.linalg.norm(A, axis=0), expected, atol=1e-9)


def test_single_precision_is_exact_selection_on_the_same_data():
    A, y, _ = sparse_problem(13, noise=0.3)
    A, y = A.astype(np.float32), y.astype(np.float32)
    for kind in KINDS:
        path = weighted_omp_path(A, y, **options_of(kind))
        double = weighted_omp_path(np.float64(A), np.float64(y), **options_of(kind))
        assert path.x.dtype == np.float32
        np.testing.assert_array_equal(path.order, double.order)
        np.testing.assert_allclose(path.x, double.x, rtol=1e-6)


@pytest.mark.parametrize("kind", SQUARES)
def test_single_precision_array_api(kind):
    A, y, _ = sparse_problem(13, noise=0.3)
    A, y = A.astype(np.float32), y.astype(np.float32)
    weights = np.r_[0.0, np.ones(79)]
    path = weighted_omp_path(
        array_api_strict.asarray(A),
        array_api_strict.asarray(y),
        **options_of(kind),
        weights=weights,
    )
    expected = weighted_omp_path(A, y, **options_of(kind), weights=weights)
    assert path.x.dtype == array_api_strict.float32
    np.testing.assert_array_equal(path.order, expected.order)
    np.testing.assert_allclose(np.asarray(path.x), expected.x, atol=1e-5)


@pytest.mark.parametrize("kind", SQUARES)
def test_compression_changes_nothing(kind):
    A, y, _ = sparse_problem(14, m=300, n=40, noise=2.0, unit=False)
    Y = np.column_stack([y, y[::-1]])
    sample_weight = np.random.default_rng(0).integers(0, 3, 300)
    for options in ({}, {"fit_intercept": True, "sample_weight": sample_weight}):
        expected = weighted_omp_path(A, Y, **options_of(kind), **options, precompute=False)
        found = weighted_omp_path(A, Y, **options_of(kind), **options, precompute=True)
        for one, other in zip(found.paths, expected.paths, strict=True):
            assert_same_path(one, other)
            np.testing.assert_allclose(one.losses, other.losses, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_columns_are_never_selected(kind):
    A, y, _ = sparse_problem(15, noise=0.5)
    A[:, :3] = 0
    A[:, 3] = 1e-20
    A[:, 5] = A[:, 4]
    A[:, 6] = -2 * A[:, 4]
    options = {**options_of(kind), "lam": 0.0, "n_nonzero_coefs": 50}
    path = weighted_omp_path(A, y, **options)
    assert path.nit > (10 if kind[0] == "lad_lasso" else 30)
    assert not set(path.order) & {0, 1, 2, 3}
    assert len(set(path.order) & {4, 5, 6}) <= 1
    assert np.all(np.isfinite(path.x))
    constant = A.copy()
    constant[:, 7] = 1e8 + 0.1
    for matrix in (constant, sparse.csc_array(constant)):
        path = weighted_omp_path(
            matrix, y, **{**options, "n_nonzero_coefs": 40}, fit_intercept=True
        )
        assert path.nit > (10 if kind[0] == "lad_lasso" else 30)
        assert 7 not in path.order


@pytest.mark.parametrize("kind", KINDS)
def test_more_columns_than_rank(kind):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((20, 4)) @ rng.standard_normal((4, 50))
    y = rng.standard_normal(20)
    path = weighted_omp_path(A, y, **{**options_of(kind), "lam": 0.0}, n_nonzero_coefs=30)
    assert path.nit <= 4
    assert path.stop_reason in ("no_decrease", "rank_deficient")
    A = rng.standard_normal((5, 50))
    options = {**options_of(kind), "lam": 0.0, "n_nonzero_coefs": 30}
    path = weighted_omp_path(A, rng.standard_normal(5), **options)
    if kind[0] == "lad_lasso":  # a vertex may be optimal along each coordinate before
        assert path.nit <= 5
    else:
        assert path.nit == 5
        assert path.stop_reason == "rank_deficient"


@pytest.mark.parametrize("asarray", [np.asarray, array_api_strict.asarray])
def test_a_dependent_column_of_weight_zero_does_not_end_the_path(asarray):
    A = np.random.default_rng(0).standard_normal((60, 4))
    y = A.sum(axis=1)
    A[:, 1] = A[:, 0] + 3e-11 * A[:, 3]
    weights = [0.0, 0.0, 1.0, 1.0]
    path = weighted_omp_path(asarray(A), asarray(y), loss="omp", weights=weights, n_nonzero_coefs=3)
    assert path.order[0] in (0, 1)
    assert set(path.order[1:]) == {2, 3}


def test_zero_weights_come_first_and_infinite_ones_never():
    A, y, _ = sparse_problem(16, noise=0.5)
    best = int(np.argmax(np.abs(A.T @ y)))
    weights = np.full(80, 1e3)
    weights[best], weights[10] = np.inf, 0.0
    for kind in KINDS:
        path = weighted_omp_path(A, y, **options_of(kind), weights=weights, n_nonzero_coefs=20)
        assert path.order[0] == 10
        assert best not in path.order
        assert np.all(np.isfinite(path.deltas))
        assert np.all(np.isfinite(path.losses))


def test_stopping_rules():
    A, y, _ = sparse_problem(17, noise=0.5)
    options = {"loss": "lasso", "lam": 0.0}
    full = weighted_omp_path(A, y, **options)
    path = weighted_omp_path(A, y, **options, n_nonzero_coefs=4)
    assert (path.nit, path.stop_reason) == (4, "n_nonzero_coefs")
    path = weighted_omp_path(A, y, **options, max_iter=3)
    assert (path.nit, path.stop_reason, path.success) == (3, "max_iter", False)
    path = weighted_omp_path(A, y, **options, tol=full.losses[7] * 1.0001)
    assert (path.nit, path.stop_reason, path.success) == (7, "tol", True)
    assert weighted_omp_path(A, y, **options, tol=full.losses[7]).nit == 7
    path = weighted_omp_path(A, y, **options, tol=full.losses[0] * 1.0001)
    assert (path.nit, path.stop_reason) == (0, "tol")
    path = weighted_omp_path(A, y, **options, n_nonzero_coefs=0)
    assert (path.nit, path.stop_reason) == (0, "n_nonzero_coefs")
    for pair in ((A, y), (array_api_strict.asarray(A), array_api_strict.asarray(y))):
        with pytest.warns(
            ConvergenceWarning, match="residual norm .* n_nonzero_coefs columns"
        ) as w:
            weighted_omp_path(*pair, **options, tol=1e-9, n_nonzero_coefs=2)
        assert w[0].filename == __file__
    assert weighted_omp_path(A, y, loss="omp").nit == 8  # a tenth of the columns
    with pytest.warns(UserWarning, match="n_nonzero_coefs=100 is larger"):
        path = weighted_omp_path(A, y, **options, n_nonzero_coefs=100)
    assert path.nit == 60


def test_callback_ends_the_path():
    A, y, _ = sparse_problem(18, noise=0.5)
    seen = []

    def callback(intermediate_result):
        seen.append(np.count_nonzero(intermediate_result.x))
        if len(seen) == 3:
            raise StopIteration

    path = weighted_omp_path(A, y, loss="lasso", lam=0.0, callback=callback)
    assert seen == [1, 2, 3]
    assert (path.nit, path.stop_reason) == (3, "callback")
    assert np.count_nonzero(path.x) == 3


@pytest.mark.parametrize("loss", ["lasso", "sqrt_lasso", "lad_lasso"])
def test_removal_never_ends_higher(loss):
    lam = {"lasso": 0.003, "sqrt_lasso": 0.03, "lad_lasso": 0.15}[loss]
    lower = 0
    for seed in range(12):
        A, y, _ = sparse_problem(seed, m=60, n=200, s=15, noise=0.05)
        ends = []
        for allow_removal in (False, True):
            path = weighted_omp_path(
                A, y, loss=loss, penalty="l0", lam=lam, allow_removal=allow_removal
            )
            ends.append(path.fun + lam * np.count_nonzero(path.x))
        assert ends[1] <= ends[0] + 1e-12
        lower += ends[1] < ends[0] - 1e-9
    if loss == "lasso":
        assert lower >= 1


@pytest.mark.parametrize(("loss", "lam"), [("lasso", 0.003), ("sqrt_lasso", 0.03)])
def test_removed_columns_are_recorded(loss, lam):
    for seed in range(60):
        A, y, _ = sparse_problem(seed, m=60, n=200, s=15, noise=0.05)
        path = weighted_omp_path(A, y, loss=loss, penalty="l0", lam=lam, allow_removal=True)
        if path.removed.any():
            break
    assert path.removed.any()
    support = []
    for k, (index, removed) in enumerate(zip(path.order, path.removed, strict=True)):
        support.remove(index) if removed else support.append(index)
        assert set(path.coefs[[k + 1]].indices) == set(support)
        if removed:  # the gain includes the fit
            drop = path.losses[k] - path.losses[k + 1] + lam
            assert path.deltas[k] == pytest.approx(drop, rel=1e-9)
    assert path.support.tolist() == support
    expected = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    np.testing.assert_allclose(path.x[support], expected, atol=1e-10)


@pytest.mark.parametrize(
    "kind", [("omp", "l1", 0.0), ("lasso", "l1", 1e-8), ("sqrt_lasso", "l1", 0.1)]
)
def test_exact_recovery_without_noise(kind):
    rng = np.random.default_rng(0)
    recovered = 0
    for _ in range(100):
        A = rng.standard_normal((100, 200))
        A /= np.linalg.norm(A, axis=0)
        x = np.zeros(200)
        x[rng.choice(200, 8, replace=False)] = rng.standard_normal(8)
        path = weighted_omp_path(A, A @ x, **options_of(kind), n_nonzero_coefs=16)
        recovered += np.linalg.norm(path.x - x) < 1e-10 * np.linalg.norm(x)
    assert recovered >= 97


def test_lad_recovers_exactly_from_gross_errors():
    rng = np.random.default_rng(1)
    for _ in range(10):
        A = rng.standard_normal((150, 200))
        A /= np.linalg.norm(A, axis=0)
        x = np.zeros(200)
        x[rng.choice(200, 5, replace=False)] = rng.standard_normal(5)
        y = A @ x
        y[rng.choice(150, 15, replace=False)] += 100 * rng.standard_normal(15)
        path = weighted_omp_path(A, y, loss="lad_lasso", lam=1.0)
        assert np.linalg.norm(path.x - x) < 1e-8 * np.linalg.norm(x)


@pytest.mark.parametrize(("m", "n"), [(75, 300), (150, 300)])
@pytest.mark.parametrize("complex_data", [False, True])
def test_noise_blind_level_is_near_the_best_at_every_noise_level(m, n, complex_data):
    rng = np.random.default_rng(2)
    s = 5 if m == 75 else 10
    grid = np.geomspace(0.02, 0.65, 9)
    for noise in (1e-3, 1e-2, 1e-1):
        errors = []
        for _ in range(9):
            A, y, x = sparse_problem(
                int(rng.integers(2**31)), m=m, n=n, s=s, noise=noise, complex_data=complex_data
            )
            paths = [
                weighted_omp_path(A, y, lam=lam, n_nonzero_coefs=3 * s) for lam in ["auto", *grid]
            ]
            errors.append([np.linalg.norm(p.x - x) / np.linalg.norm(x) for p in paths])
        medians = np.median(errors, axis=0)
        assert medians[0] <= 1.2 * medians[1:].min()


def test_auto_level_of_the_published_setting():
    A, y, _ = sparse_problem(0, m=150, n=300)
    assert weighted_omp_path(A, y).lam == pytest.approx(0.172, abs=5e-4)
    assert weighted_omp_path(A, y, loss="omp").lam == 0
    assert weighted_omp_path(A, y, fit_intercept=True).lam > weighted_omp_path(A, y).lam


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loss": "huber"}, ValueError, "loss must be one of"),
        ({"penalty": "l2"}, ValueError, "penalty must be one of"),
        ({"lam": -1.0}, ValueError, "lam must be finite and >= 0"),
        ({"lam": "best"}, ValueError, "lam must be a number >= 0 or 'auto'"),
        ({"loss": "lasso"}, ValueError, "lam='auto' is the noise-blind level"),
        ({"penalty": "l0"}, ValueError, "lam='auto' is the noise-blind level"),
        ({"loss": "omp", "lam": 1.0}, ValueError, "loss='omp' has no penalty"),
        ({"weights": [-1.0, 1.0]}, ValueError, "weights must be >= 0"),
        ({"weights": [np.nan, 1.0]}, ValueError, "weights must be >= 0"),
        ({"weights": np.ones(3)}, ValueError, "weights must have shape"),
        ({"n_nonzero_coefs": -1}, ValueError, "n_nonzero_coefs must be >= 0"),
        ({"n_nonzero_coefs": 1.5}, TypeError, "n_nonzero_coefs must be an integer"),
        ({"max_iter": -1}, ValueError, "max_iter must be >= 0"),
        ({"max_iter": 2.0}, TypeError, "max_iter must be an integer"),
        ({"tol": -1.0}, ValueError, "tol must be finite"),
        ({"allow_removal": True}, ValueError, "allow_removal=True needs penalty='l0'"),
        ({"y": np.ones(4)}, ValueError, "y must have shape"),
        ({"y": np.ones((3, 1, 1))}, ValueError, "y must have shape"),
        ({"A": np.full((3, 2), np.nan)}, ValueError, "must be finite"),
        ({"y": np.full(3, np.inf)}, ValueError, "must be finite"),
        ({"loss": "lad_lasso", "lam": 1.0, "y": np.ones(3) * 1j}, ValueError, "real data only"),
        ({"sample_weight": [1.0, -1.0, 1.0]}, ValueError, "sample_weight"),
    ],
)
def test_wrong_input(change, error, message):
    arguments = {"A": np.ones((3, 2)), "y": np.ones(3), **change}
    A, y = arguments.pop("A"), arguments.pop("y")
    with pytest.raises(error, match=message):
        weighted_omp_path(A, y, **arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_entries_with_squares_out_of_range(kind):
    A, y, _ = sparse_problem(20)
    for scale in (1e-170, 1e170):
        for matrix in (A * scale, sparse.csc_array(A * scale)):
            with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"rescale [AX]"):
                weighted_omp_path(matrix, y, **options_of(kind))
        if kind[0] != "lad_lasso":
            with np.errstate(over="ignore"), pytest.raises(ValueError, match="rescale y"):
                weighted_omp_path(A, y * scale, **options_of(kind))
        if kind in SQUARES:
            for pair in ((A * scale, y), (A, y * scale)):
                with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"rescale [Ay]"):
                    weighted_omp_path(*map(array_api_strict.asarray, pair), **options_of(kind))
    sample_weight = np.r_[0.0, np.ones(59)]
    outside = np.zeros_like(A)
    outside[0] = 1  # only in a row of weight zero
    for matrix in (0 * A, outside, np.ones_like(A)):
        for container in (np.asarray, sparse.csc_array):
            path = weighted_omp_path(
                container(matrix),
                y,
                **options_of(kind),
                fit_intercept=True,
                sample_weight=sample_weight,
            )
            assert path.nit == 0


def test_nearly_constant_sparse_columns_of_single_precision_stay():
    rng = np.random.default_rng(0)
    X = (1 + 1e-3 * rng.standard_normal((300, 20))).astype(np.float32)
    y = X[:, 4].astype(np.float64)
    path = weighted_omp_path(sparse.csc_array(X), np.float32(y), fit_intercept=True)
    assert path.order.tolist()[:1] == [4]
    np.testing.assert_allclose(path.x[4], 1, rtol=1e-3)


def test_arrays_are_not_modified():
    A, y, _ = sparse_problem(19)
    for array in (np.asfortranarray(A), np.ascontiguousarray(A), A[::1]):
        array.setflags(write=False)
        y.setflags(write=False)
        before = array.copy()
        for kind in KINDS:
            weighted_omp_path(array, y, **options_of(kind), fit_intercept=True)
        np.testing.assert_array_equal(array, before)
