"""The posterior, its derivative, the update rules: both forms, real and complex."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sparseopt.sparse_bayes._fast_marginal_likelihood import FastModel, joint_derivatives
from sparseopt.sparse_bayes._posterior import (
    dense_posterior,
    evidence_terms,
    posterior_covariance,
    squared_norms,
)
from sparseopt.sparse_bayes._update_rules import UPDATES, mean_power, noise_share

GOLDEN = Path(__file__).parents[1] / "data" / "sparse_bayes" / "sbl_base.npz"
KINDS = [f"{field}_{targets}" for field in ("real", "complex") for targets in ("smv", "mmv")]


def problem(kind):
    """Return X, Y (n, L) and the noise variance of the reference data."""
    golden = np.load(GOLDEN, allow_pickle=False)
    field, targets = kind.split("_")
    Y = golden[f"{field}_Y"][:, : 3 if targets == "mmv" else 1]
    return golden[f"{field}_X"], Y, float(golden[f"{field}_noise_var"]), golden


def random_problem(rng, n, p, L, dtype):
    def draw(*shape):
        values = rng.standard_normal(shape)
        if np.dtype(dtype).kind == "c":
            values = values + 1j * rng.standard_normal(shape)
        return values.astype(dtype)

    return draw(n, p), draw(n, L), rng.uniform(0.01, 3, p), float(rng.uniform(0.1, 2))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    dtype=st.sampled_from([np.float64, np.complex128]),
)
def test_both_forms_agree_with_the_textbook(seed, shape, dtype):
    X, Y, g, s2 = random_problem(np.random.default_rng(seed), *shape, dtype)
    S = s2 * np.eye(len(X)) + (X * g) @ X.conj().T
    covariance = np.diag(g) - (g[:, None] * X.conj().T) @ np.linalg.solve(S, X * g)
    mean = (g[:, None] * X.conj().T) @ np.linalg.solve(S, Y)
    nll = np.linalg.slogdet(S)[1] + np.vdot(Y, np.linalg.solve(S, Y)).real / Y.shape[1]
    for form in ("n", "k"):
        posterior = dense_posterior(X, Y, g, s2, form=form)
        assert_allclose(posterior.mean, mean, rtol=1e-9, atol=1e-12)
        assert_allclose(posterior.variance, np.diag(covariance).real, rtol=1e-9, atol=1e-12)
        assert_allclose(posterior.nll, nll, rtol=1e-9, atol=1e-12)
        assert_allclose(posterior.residual, Y - X @ mean, rtol=1e-9, atol=1e-12)
        assert_allclose(posterior.variance, g * (1 - posterior.well_determinedness), atol=1e-12)
    assert_allclose(posterior_covariance(X, g, s2), covariance, rtol=1e-9, atol=1e-12)


def test_forms_agree_where_little_is_determined():
    rng = np.random.default_rng(0)
    X, Y, g, s2 = random_problem(rng, 12, 8, 2, np.complex128)
    g[:4] *= 1e-13
    by_samples = dense_posterior(X, Y, g, s2, form="n")
    by_features = dense_posterior(X, Y, g, s2, form="k")
    assert_allclose(
        by_features.well_determinedness, by_samples.well_determinedness, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_single_precision_is_kept(dtype):
    X, Y, g, s2 = random_problem(np.random.default_rng(0), 6, 4, 2, dtype)
    for form in ("n", "k"):
        posterior = dense_posterior(X, Y, g.astype(np.float32), s2, form=form)
        assert posterior.mean.dtype == dtype
        assert posterior.variance.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_active", [20, 60])
def test_derivative_of_the_evidence(kind, n_active):
    X, Y, s2, _ = problem(kind)
    g = np.zeros(80)
    g[:n_active] = np.random.default_rng(1).uniform(0.1, 1, n_active)
    sensitivity, power = evidence_terms(X, Y, g, s2)
    for j in (0, 7, n_active, 79):
        change = 1e-4 * np.eye(80)[j]
        if g[j] > 0:
            ends = [dense_posterior(X, Y, g + t * change, s2).nll for t in (-1, 1)]
            slope = (ends[1] - ends[0]) / 2e-4
        else:  # no variance is negative
            at = [dense_posterior(X, Y, g + t * 0.01 * change, s2).nll for t in (0, 1, 2)]
            slope = (-3 * at[0] + 4 * at[1] - at[2]) / 2e-6
        assert_allclose(sensitivity[j] - power[j], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_derivative_by_the_noise(kind):
    X, Y, s2, _ = problem(kind)
    g = np.random.default_rng(2).uniform(0.1, 1, 80)
    squares, free = noise_share(dense_posterior(X, Y, g, s2), 40)
    ends = [dense_posterior(X, Y, g, s2 * np.exp(t)).nll for t in (-1e-5, 1e-5)]
    assert_allclose(free - squares / s2, (ends[1] - ends[0]) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("rule", ["em", "convex"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_never_grows(kind, rule, learns):
    X, Y, s2, _ = problem(kind)
    update, update_noise = UPDATES[rule]
    g, last = np.ones(80), np.inf
    for _ in range(200):
        posterior = dense_posterior(X, Y, g, s2)
        assert posterior.nll <= last + 1e-9 * abs(posterior.nll)
        last = posterior.nll
        if learns:
            s2 = max(update_noise(posterior, s2, 40), 1e-6)
        g = update(posterior, g)


@pytest.mark.parametrize("kind", KINDS)
def test_em_follows_the_reference(kind):
    X, Y, s2, golden = problem(kind)
    g, nll = np.ones(80), []
    for count in range(101):
        posterior = dense_posterior(X, Y, g, s2)
        if count in (0, 1, 10, 100):
            nll.append(posterior.nll)
        if count in (1, 10, 100):
            tolerance = 1e-6 if count == 100 else 1e-8
            assert_allclose(g, golden[f"{kind}_em_gamma_{count}"], rtol=tolerance)
        if count == 99:
            coef = golden[f"{kind}_em_coef_100"].reshape(posterior.mean.shape)
            assert_allclose(posterior.mean, coef, rtol=1e-6, atol=1e-12)
        g = UPDATES["em"][0](posterior, g)
    assert_allclose(nll, golden[f"{kind}_em_nll"], rtol=1e-9)


@pytest.mark.parametrize("rule", ["em", "mackay", "convex"])
def test_fixed_points_are_stationary(rule):
    X, Y, s2, _ = problem("complex_mmv")
    X = X[:, :6]
    g = np.ones(6)
    for _ in range(3000):
        posterior = dense_posterior(X, Y, g, s2)
        g = UPDATES[rule][0](posterior, g)
    kept = g > 1e-2 * g.max()
    assert kept.any()
    assert_allclose(
        mean_power(posterior)[kept], (posterior.well_determinedness * g)[kept], rtol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_fast_step_lowers_the_objective_by_its_gain(kind):
    X, Y, s2, golden = problem(kind)
    model = FastModel(X, Y, np.zeros(80), s2)
    last, steps = model.nll, 0
    while steps < 1000 and len(gains := model.update((1e-8, 1e-6), limit=1)):
        assert_allclose(last - model.nll, gains[0], rtol=1e-8, atol=1e-11)
        last, steps = model.nll, steps + 1
    assert model.settled
    assert steps > 20
    expected = float(golden[f"{kind}_fmlm_nll"])
    assert model.nll <= expected + 1e-3 * abs(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_fast_model_is_exact_after_rank_one_updates(kind):
    X, Y, s2, _ = problem(kind)
    model = FastModel(X, Y, np.zeros(80), s2)
    refresh, model.refresh = model.refresh, lambda: None
    model.update((1e-3, 1e-1), limit=40)  # adds, changes and removes
    k = model.size
    updated = [model.S.copy(), model.Q.copy(), model.mean[:k].copy(), model.sigma[:k, :k].copy()]
    refresh()
    for got, expected in zip(
        updated, [model.S, model.Q, model.mean[:k], model.sigma[:k, :k]], strict=True
    ):
        assert_allclose(got, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())
    sensitivity, power = evidence_terms(X, Y, model.g, s2)
    assert_allclose(model.S, sensitivity, rtol=1e-9)
    assert_allclose(squared_norms(model.Q, 1) / Y.shape[1], power, rtol=1e-8, atol=1e-10)


def test_fast_model_asks_for_rows_of_the_gram_matrix():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((80, 700))
    Y = X[:, :40] @ rng.standard_normal((40, 1)) + 0.1 * rng.standard_normal((80, 1))
    model = FastModel(X, Y, np.zeros(700), 0.01)
    for _ in range(4):
        model.update((1e-4, 1e-2))
    assert model.n_rows < 700
    assert model.size > 32  # more than room was made for
    assert_allclose(model.nll, dense_posterior(X, Y, model.g, 0.01).nll, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_joint_derivatives(kind):
    X, Y, s2, _ = problem(kind)
    X, g = X[:, :6], np.random.default_rng(4).uniform(0.05, 2, 6)

    def nll(logarithms):
        return dense_posterior(X, Y, np.exp(logarithms), s2, form="n").nll

    mean = dense_posterior(X, Y, g, s2).mean
    slopes, curvature = joint_derivatives(posterior_covariance(X, g, s2), mean, g)
    at, steps = np.log(g), 1e-3 * np.eye(6)
    first = [(nll(at + d) - nll(at - d)) / 2e-3 for d in steps]
    second = [
        [
            (nll(at + d + e) - nll(at + d - e) - nll(at - d + e) + nll(at - d - e)) / 4e-6
            for e in steps
        ]
        for d in steps
    ]
    assert_allclose(slopes, first, rtol=1e-4, atol=1e-5)
    assert_allclose(curvature, second, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_joint_steps_lower_the_objective_and_settle_sooner(kind):
    X, Y, s2, _ = problem(kind)
    sweeps = {}
    for jointly in (False, True):
        model = FastModel(X, Y, np.zeros(80), s2)
        last, count = model.nll, 0
        while count < 500:
            model.update((1e-9, 1e-7), limit=10, jointly=jointly)
            count += 1
            assert model.nll <= last + 1e-9 * abs(last)
            last = model.nll
            if model.stationarity()[0] <= 1e-9:
                break
        sweeps[jointly] = count
    assert sweeps[True] < sweeps[False]
