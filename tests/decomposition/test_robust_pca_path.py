"""Robust PCA for a sequence of weights, and the weights at which a part vanishes."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.linalg import hadamard

from sparseopt.decomposition import robust_pca, robust_pca_path
from sparseopt.decomposition._robust_pca_path import lam_grid, lam_range

METHODS = [("pcp", None), ("outlier", None), ("stable", 1.0), ("stable", 20.0)]


def make_data(shape=(40, 30), seed=0):
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((shape[0], 3)) @ rng.standard_normal((3, shape[1]))
    errors = (rng.random(shape) < 0.1) * rng.uniform(-9, 9, shape)
    return low + errors + 0.1 * rng.standard_normal(shape)


def relative(A, B):
    return np.linalg.norm(A - B) / max(np.linalg.norm(B), 1e-300)


def objective_without(part, X, method, lam, mu, seen):
    """Return an upper bound of the best objective among those without one of the parts."""
    options = {} if mu is None else {"mu": mu}
    if part == "sparse":  # no price of the sparse part is worth paying above 1
        found = robust_pca(X, method=method, lam=5.0, mask=seen, tol_gap=1e-9, **options)
        assert not np.any(np.abs(found.sparse) > 1e-6)
        return found.fun
    X = np.where(seen, X, 0)
    if method == "outlier":
        return lam * np.sum(np.linalg.norm(X, axis=1))
    if mu is None:
        return lam * np.sum(np.abs(X))
    S = np.sign(X) * np.maximum(np.abs(X) - lam * mu, 0)
    return lam * np.sum(np.abs(S)) + np.sum((X - S) ** 2) / (2 * mu)


@pytest.mark.filterwarnings("ignore:Outlier pursuit explains every sample:UserWarning")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("method", "mu"), METHODS)
def test_parts_vanish_at_the_ends(method, mu, masked):
    X = make_data()
    seen = np.random.default_rng(1).random(X.shape) < (0.8 if masked else 2)
    smallest, largest = lam_range(X, method=method, mask=seen, mu=mu)
    options = {"method": method, "mask": seen, "tol_gap": 1e-8, "max_iter": 20000}
    options |= {} if mu is None else {"mu": mu}
    for part, lam in (("low_rank", 0.999 * smallest), ("sparse", 1.001 * largest)):
        result = robust_pca(X, lam=lam, **options)
        bound = objective_without(part, X, method, lam, mu, seen)
        assert_allclose(result.fun, bound, rtol=1e-6)  # so that having no such part is optimal
        assert np.max(np.abs(result[part])) < 1e-4 * np.max(np.abs(X))


@pytest.mark.parametrize(("method", "mu"), METHODS[:3])
def test_ends_are_not_further_than_need_be(method, mu):
    X = make_data()
    smallest, largest = lam_range(X, method=method, mu=mu)
    options = {"method": method, "tol_gap": 1e-8, "max_iter": 20000}
    options |= {} if mu is None else {"mu": mu}
    assert robust_pca(X, lam=1.1 * smallest, **options).x.rank > 0
    assert np.any(np.abs(robust_pca(X, lam=0.9 * largest, **options).sparse) > 1e-3)


@pytest.mark.parametrize("method", ["pcp", "stable"])
def test_path_equals_cold_solutions(method):
    X = make_data()
    options = {"method": method, "tol": 1e-9, "tol_gap": 1e-9, "max_iter": 50000}
    options |= {"mu": 1.0} if method == "stable" else {}
    lams = [0.08, 0.15, 0.2, 0.4]
    path = robust_pca_path(X, lams=lams[::-1], **options)
    assert path.success
    assert_allclose(path.lams, lams)
    for lam, warm in zip(lams, path.results, strict=True):
        cold = robust_pca(X, lam=lam, **options)
        assert relative(warm.low_rank, cold.low_rank) < 1e-6
        assert relative(warm.sparse, cold.sparse) < 1e-6
        assert_allclose(warm.fun, cold.fun, rtol=1e-8)


@pytest.mark.parametrize("method", ["pcp", "stable"])
def test_each_problem_starts_from_the_one_before(method):
    X = make_data()
    options = {"method": method, "max_iter": 20000} | ({"mu": 1.0} if method == "stable" else {})
    path = robust_pca_path(X, lams=[0.2, 0.2 * (1 + 1e-9)], **options)
    assert path.n_iters[1] < 0.3 * path.n_iters[0]


def test_path_by_default_leads_from_end_to_end():
    X = make_data()
    path = robust_pca_path(X, n_lams=5, tol=1e-5, max_iter=5000)
    assert_allclose(path.lams, np.geomspace(*lam_range(X), 5))
    assert_allclose(path.results[0].fun, path.lams[0] * np.sum(np.abs(X)), rtol=1e-4)
    assert_allclose(path.results[-1].fun, np.linalg.norm(X, "nuc"), rtol=1e-4)
    objectives = np.array([result.fun for result in path.results])
    assert np.all(np.diff(objectives) > -1e-4 * objectives[1:])  # concave and increasing in lam
    for name in ("ranks", "n_nonzero", "dual_gaps", "n_iters", "converged"):
        assert path[name].shape == (5,)
    assert np.all(path.dual_gaps <= 1e-4)


def test_noise_is_estimated_once():
    path = robust_pca_path(make_data(), n_lams=4, method="stable")
    assert len({result.mu for result in path.results}) == 1
    assert_allclose([result.noise_std for result in path.results], 0.1, rtol=0.3)
    clean = robust_pca_path(np.outer(np.arange(1.0, 9), np.ones(7)), lams=[0.3], method="stable")
    assert clean.results[0].mu == 0
    assert clean.ranks[0] == 1


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_ends_do_not_depend_on_the_scale(scale):
    X = make_data()
    assert_allclose(lam_range(scale * X), lam_range(X))
    expected = lam_range(X, method="stable", mu=2.0)
    assert_allclose(lam_range(scale * X, method="stable", mu=2.0 * scale), expected)


def test_ends_of_other_array_libraries():
    X = make_data()
    strict = array_api_strict.asarray(X)
    for method, mu in METHODS:
        expected = lam_range(X, method=method, mu=mu)
        assert_allclose(lam_range(strict, method=method, mu=mu), expected, rtol=1e-9)


@settings(deadline=None, max_examples=20)
@given(m=st.integers(1, 9), n=st.integers(1, 9), seed=st.integers(0, 50))
def test_ends_of_any_data(m, n, seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (m, n)).astype(float)
    X[0, 0] = 1
    smallest, largest = lam_range(X)
    assert 0 < smallest <= largest <= 1 + 1e-12
    # The dual variables that prove the ends are feasible and tight.
    assert np.linalg.norm(smallest * np.sign(X), 2) <= 1 + 1e-9
    low = robust_pca(X, lam=largest * (1 + 1e-9), tol_gap=1e-6, max_iter=20000, warn=False)
    assert low.fun >= np.linalg.norm(X, "nuc") * (1 - 1e-5)


def test_null_space_does_not_count():
    X = np.outer(np.arange(1.0, 9), np.linspace(-1, 2, 7))
    assert_allclose(lam_range(X)[1], np.max(np.abs(X)) / np.linalg.norm(X))


def test_cut_of_signs_that_cancel():
    # Without half of its entries, a Hadamard matrix has a larger norm.
    X = hadamard(16) * np.where(np.tri(16) > 0, 1, 1e-3)
    smallest, _ = lam_range(X, method="stable", mu=4.0)
    assert 0.15 < smallest < 0.25
    ranks = [robust_pca(X, method="stable", mu=4.0, lam=lam).x.rank for lam in (smallest, 0.25)]
    assert ranks[0] == 0 < ranks[1]


def test_zero_data_have_one_weight():
    assert_allclose(lam_grid(np.zeros((9, 4)), 3), 1 / 3)
    assert robust_pca_path(np.zeros((9, 4)), n_lams=2).success
    with pytest.raises(ValueError, match="zero"):
        lam_range(np.zeros((9, 4)))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"lams": [0.1, 0.0]}, ValueError, "lams"),
        ({"lams": [np.nan]}, ValueError, "lams"),
        ({"lams": []}, ValueError, "lams"),
        ({"lams": [[0.1]]}, ValueError, "lams"),
        ({"n_lams": 0}, ValueError, "n_lams"),
        ({"method": "ridge"}, ValueError, "method"),
        ({"solver": "godec", "n_components": 2}, ValueError, "solver"),
        ({"lam": 0.1}, TypeError, "lam"),
        ({"start": None}, TypeError, "start"),
        ({"mu": 1.0}, ValueError, "mu"),
        ({"noise_std": 1.0}, ValueError, "noise_std"),
    ],
)
def test_bad_arguments(options, error, match):
    with pytest.raises(error, match=match):
        robust_pca_path(make_data(), **options)
