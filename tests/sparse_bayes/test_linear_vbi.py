"""The updates of the linear model: a textbook version, reference data, bounds and limits."""

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import digamma, expit, gammaln, logit

from sparseopt._core import to_numpy
from sparseopt.sparse_bayes import (
    GridMRFSupport,
    IndependentSupport,
    JointSupport,
    MarkovChainSupport,
)
from sparseopt.sparse_bayes._posterior import dense_posterior
from sparseopt.sparse_bayes._problem import Problem
from sparseopt.sparse_bayes._update_rules import update_em
from sparseopt.sparse_bayes._variational import _state
from sparseopt.sparse_bayes._variational._coefficients import (
    choose_active,
    update_coefficients,
)
from sparseopt.sparse_bayes._variational._design import LinearDesign
from sparseopt.sparse_bayes._variational._linear_state import LinearState, Race
from sparseopt.sparse_bayes._variational._precisions import GammaPrior
from sparseopt.sparse_bayes._variational._starts import (
    expected_power,
    matched_start,
    shrinking_start,
    sparse_bayes_start,
)
from sparseopt.sparse_bayes._variational._state import Settings, Start, VariationalState

REFERENCE = Path(__file__).parents[1] / "data" / "sparse_bayes" / "vbi_linear.npz"
PRIOR = GammaPrior(1.0, 1.0, 1.0, 1e-5)
EXACT = 300  # steps of conjugate gradients that solve these problems
KINDS = pytest.mark.parametrize("is_complex", [False, True])


def made(n=40, Q=100, active=5, *, K=1, snr=20, is_complex=True, seed=0):
    """Return features with norms near 1, targets and coefficients (K, Q)."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        values = rng.standard_normal(shape)
        return (values + 1j * rng.standard_normal(shape)) / 2**0.5 if is_complex else values

    X = normal(n, Q) / np.sqrt(n)
    x = np.zeros((K, Q), dtype=X.dtype)
    chosen = rng.choice(Q, active, replace=False)
    signs = normal(K, active)
    x[:, chosen] = signs / np.abs(signs) * rng.uniform(0.6, 1.4, (K, active))
    Y = X @ x.T
    noise = normal(*Y.shape) * np.sqrt(np.mean(np.abs(Y) ** 2) / 10 ** (snr / 10))
    return X, Y + noise, x


def flat_start(shape, proba=0.05):
    return Start(np.ones(shape), np.full(shape, proba))


def state_of(X, Y, support=None, start=None, **settings):
    design = LinearDesign(X, Y)
    support = IndependentSupport(0.05, learn=False) if support is None else support
    start = flat_start(design.shape) if start is None else start
    return VariationalState(
        design, support, Settings(PRIOR, **{"n_inner": EXACT} | settings), start
    )


def bounds(state, n):
    out = []
    for _ in range(n):
        state.step()
        out.append(state.elbo())
    return np.array(out)


class Textbook:
    """The updates for one target with dense matrices, and the bound as a sum of expectations."""

    def __init__(self, X, y, proba, covariance):
        self.X, self.y, self.pi, self.covariance = X, y, proba, covariance
        self.half = 1.0 if np.iscomplexobj(X) else 0.5
        self.rho, self.proba = np.ones(X.shape[1]), np.full(X.shape[1], proba)
        self.kappa = 10 * len(y) / np.sum(np.abs(y) ** 2)

    def step(self):
        X, half, (a, b, a0, b0) = self.X, self.half, PRIOR
        W = self.kappa * X.conj().T @ X + np.diag(self.rho)
        self.mean = np.linalg.inv(W) @ (self.kappa * X.conj().T @ self.y)
        full = self.covariance == "full"
        self.Sigma = np.linalg.inv(W) if full else np.diag(1 / np.diag(W).real)
        self.e = np.abs(self.mean) ** 2 + np.diag(self.Sigma).real
        self.a = self.proba * a + (1 - self.proba) * a0 + half
        self.b = self.proba * b + (1 - self.proba) * b0 + half * self.e
        self.rho, self.log_rho = self.a / self.b, digamma(self.a) - np.log(self.b)
        self.on, self.off = self.density(a, b), self.density(a0, b0)
        self.proba = expit(self.on - self.off + logit(self.pi))
        fit = np.sum(np.abs(self.y - X @ self.mean) ** 2)
        self.error = fit + np.trace(X.conj().T @ X @ self.Sigma).real
        self.c, self.d = 1e-6 + half * len(self.y), 1e-6 + half * self.error
        self.kappa = self.c / self.d

    def density(self, a, b):
        return a * np.log(b) - gammaln(a) + (a - 1) * self.log_rho - b * self.rho

    def elbo(self):
        half, constant = self.half, np.log(np.pi / self.half)
        log_kappa = digamma(self.c) - np.log(self.d)
        data = half * len(self.y) * (log_kappa - constant) - half * self.kappa * self.error
        coefficients = half * np.sum(self.log_rho - constant - self.rho * self.e)
        precisions = np.sum(self.proba * self.on + (1 - self.proba) * self.off)
        noise = 1e-6 * np.log(1e-6) - gammaln(1e-6) + (1e-6 - 1) * log_kappa - 1e-6 * self.kappa
        prior, s = stats.bernoulli(self.pi), self.proba
        support = np.sum(s * prior.logpmf(1) + (1 - s) * prior.logpmf(0))
        entropy = half * (np.linalg.slogdet(self.Sigma)[1] + len(s) * (1 + constant))
        entropy += stats.gamma(self.a, scale=1 / self.b).entropy().sum()
        entropy += stats.bernoulli(s).entropy().sum()
        entropy += stats.gamma(self.c, scale=1 / self.d).entropy()
        return data + coefficients + precisions + noise + support + entropy


@KINDS
@pytest.mark.parametrize("covariance", ["diag", "full", "everything active"])
def test_textbook(covariance, is_complex, monkeypatch):
    X, Y, _ = made(30, 20, is_complex=is_complex)
    if covariance == "everything active":
        monkeypatch.setattr(_state, "choose_active", lambda proba, *_: np.arange(proba.size))
    state = state_of(X, Y, covariance=covariance.replace("everything active", "subspace"))
    textbook = Textbook(X, Y[:, 0], 0.05, "diag" if covariance == "diag" else "full")
    for _ in range(5):
        state.step()
        textbook.step()
        assert_allclose(state.mean[0], textbook.mean, rtol=1e-9, atol=1e-12)
        assert_allclose(state.posterior.variance[0], np.diag(textbook.Sigma).real, rtol=1e-9)
        assert_allclose(state.rho[0], textbook.rho, rtol=1e-9)
        assert_allclose(state.proba[0], textbook.proba, rtol=1e-9, atol=1e-15)
        assert_allclose(state.noise.mean, textbook.kappa, rtol=1e-9)
        assert_allclose(state.elbo(), textbook.elbo(), rtol=1e-9)
        if covariance != "diag":
            assert_allclose(state.posterior.block, textbook.Sigma, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("covariance", ["diag", "subspace"])
def test_reference_data(covariance):
    data = np.load(REFERENCE)
    state = state_of(
        data["A"],
        data["y"][:, None],
        IndependentSupport(0.03, learn=False),
        flat_start((1, 100), 0.03),
        covariance=covariance,
    )
    elbo = []
    for iteration in range(1, 61):
        state.step()
        elbo.append(state.elbo())
        if iteration not in (1, 3, 60):
            continue
        tolerance = 1e-6 if iteration < 60 else 1e-4
        found = {
            "mean": state.mean[0],
            "var": state.posterior.variance[0],
            "rho": state.rho[0],
            "support": state.proba[0],
            "kappa": state.noise.mean,
        }
        for name, value in found.items():
            expected = data[f"{covariance}_{iteration}_{name}"]
            distance = np.max(np.abs(value - expected)) / np.max(np.abs(expected))
            assert distance <= tolerance, (iteration, name)
    assert_allclose(elbo, data[f"{covariance}_elbo"], rtol=1e-6)
    assert np.diff(elbo).min() >= -1e-9


def information_matrix(design, precision, rho):
    K = design.shape[0]
    gram = design.X.conj().T @ design.X
    return np.kron(np.eye(K), precision * gram) + np.diag(rho.ravel())


@KINDS
def test_mean_descends_to_the_solution(is_complex):
    X, Y, _ = made(is_complex=is_complex)
    design, active = LinearDesign(X, Y), np.array([3, 50, 70])
    rho = np.random.default_rng(1).uniform(0.5, 50, (1, 100))
    W = information_matrix(design, 80.0, rho)
    right = 80.0 * design.correlation.ravel()
    start = np.zeros((1, 100), X.dtype)
    values = []
    for n_inner in range(61):
        mean = update_coefficients(design, 80.0, rho, active, start, n_inner).mean.ravel()
        values.append((mean.conj() @ W @ mean - 2 * mean.conj() @ right).real)
    residual = np.linalg.norm(W @ mean - right) / np.linalg.norm(right)
    assert residual <= 1e-8
    assert np.all(np.diff(values) <= 1e-12 * abs(values[-1]))
    assert np.all(np.diff(values[:15]) < 0)


@KINDS
def test_fixed_precisions_give_ridge_regression(is_complex):
    X, Y, _ = made(30, 20, K=3, is_complex=is_complex)
    rho = np.full((3, 20), 0.7)
    zero = np.zeros((3, 20), X.dtype)
    mean = update_coefficients(LinearDesign(X, Y), 4.0, rho, np.arange(5), zero, EXACT).mean
    ridge = np.linalg.solve(X.conj().T @ X + 0.7 / 4 * np.eye(20), X.conj().T @ Y)
    assert_allclose(mean, ridge.T, rtol=1e-9)


def test_posterior_of_the_subspace():
    X, Y, _ = made(30, 20, K=2)
    rho, active = np.linspace(1, 4, 40).reshape(2, 20), np.array([1, 7, 25, 39])
    design = LinearDesign(X, Y)
    posterior = update_coefficients(design, 3.0, rho, active, np.zeros((2, 20), complex), EXACT)
    W = information_matrix(design, 3.0, rho)
    Sigma = np.diag(1 / np.diag(W))
    Sigma[np.ix_(active, active)] = np.linalg.inv(W[np.ix_(active, active)])
    assert_allclose(posterior.block, Sigma[np.ix_(active, active)], atol=1e-14)
    assert_allclose(posterior.variance.ravel(), np.diag(Sigma).real)
    assert_allclose(posterior.log_determinant, np.linalg.slogdet(Sigma)[1])
    design.take(posterior)
    whole = np.kron(np.eye(2), X.conj().T @ X)
    expected = np.sum(np.abs(Y - X @ posterior.mean.T) ** 2) + np.trace(whole @ Sigma).real
    assert_allclose(design.expected_residual(), expected)


def test_expected_residual_is_the_mean_over_draws():
    X, Y, _ = made(12, 6, active=2)
    design = LinearDesign(X, Y)
    rho = np.ones((1, 6))
    posterior = update_coefficients(design, 5.0, rho, np.array([0, 2]), np.zeros((1, 6)) * 1j, 50)
    design.take(posterior)
    Sigma = np.diag(posterior.variance[0]).astype(complex)
    Sigma[np.ix_([0, 2], [0, 2])] = posterior.block
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((2, 20000, 6))
    root = np.linalg.cholesky(Sigma)
    x = posterior.mean[0] + (draws[0] + 1j * draws[1]) / 2**0.5 @ root.T
    errors = np.sum(np.abs(Y[:, 0] - x @ X.T) ** 2, axis=1)
    deviation = abs(design.expected_residual() - errors.mean())
    assert deviation < 4 * errors.std() / np.sqrt(len(errors))


@pytest.mark.parametrize("kappa", [1e3, 1e6, 1e9, 1e12])
def test_dependent_columns_with_little_noise(kappa):
    """Rounding errors hide eigenvalues of the information, which the prior keeps positive."""
    X = np.tile(np.random.default_rng(0).standard_normal((50, 1)), 3) * [1, 1, 2]
    design, rho = LinearDesign(X, X[:, :1]), np.full((1, 3), 1e-3)
    posterior = update_coefficients(design, kappa, rho, np.arange(3), np.zeros((1, 3)), 20)
    assert np.all(posterior.variance > 0)
    assert np.all(posterior.variance <= 1.0001e3)
    assert np.linalg.eigvalsh(posterior.block).min() > 0
    assert_allclose(X @ posterior.mean[0], X[:, 0], rtol=1.01e-3 / kappa + 1e-9)
    if kappa < 1e9:  # else their shares are beyond double precision
        assert_allclose(posterior.mean[0], np.array([1, 1, 2]) / 6, rtol=1e-3)
    design.take(posterior)
    assert 0 < design.expected_residual() <= 4 / kappa


def test_active_columns():
    proba = np.array([[0.9, 0.1, 0.6], [0.7, 0.5, 0.8]])
    assert choose_active(proba, "subspace", 10).tolist() == [0, 2, 3, 5]
    assert choose_active(proba, "subspace", 2).tolist() == [0, 5]
    assert choose_active(proba, "diag", 10).tolist() == []
    assert choose_active(proba, "full", 2).tolist() == list(range(6))


SUPPORTS = {
    "independent": IndependentSupport(0.1),
    "joint": JointSupport(0.1, 0.7),
    "chains": MarkovChainSupport(),
    "common chain": MarkovChainSupport(visibility=0.7),
    "fixed": JointSupport(0.1, 0.7, learn=False),
}


@KINDS
@pytest.mark.parametrize("name", SUPPORTS)
@pytest.mark.parametrize("covariance", ["diag", "full", "fixed subspace"])
@pytest.mark.parametrize("n_inner", [0, 1, 10])
def test_bound_never_falls(name, covariance, n_inner, is_complex, monkeypatch):
    X, Y, x = made(K=3, snr=10, is_complex=is_complex)
    if covariance == "fixed subspace":
        chosen = np.flatnonzero(x.ravel())
        monkeypatch.setattr(_state, "choose_active", lambda *_: chosen)
        covariance = "subspace"
    for collapse in (False, True):
        state = state_of(
            X, Y, SUPPORTS[name], covariance=covariance, n_inner=n_inner, collapse=collapse
        )
        elbo = bounds(state, 30)
        assert np.diff(elbo).min() >= -1e-9 * abs(elbo[-1])
        assert elbo[-1] > elbo[0]


@KINDS
def test_collapsed_bound_is_tighter(is_complex):
    X, Y, _ = made(is_complex=is_complex)
    state = state_of(X, Y)
    factorised = bounds(state, 40)[-1]
    state.settings = state.settings._replace(collapse=True)
    state.update_support()
    assert state.elbo() > factorised + 1e-6


@KINDS
def test_equal_priors_make_the_support_irrelevant(is_complex):
    X, Y, _ = made(is_complex=is_complex)
    found = []
    for proba in (0.01, 0.6):
        support = IndependentSupport(proba, learn=False)
        state = state_of(X, Y, support, flat_start((1, 100), proba), covariance="diag")
        state.settings = state.settings._replace(prior=GammaPrior(1.0, 0.3, 1.0, 0.3))
        elbo = bounds(state, 10)
        assert_allclose(state.proba, proba)
        found.append((state.mean, elbo))
    assert_allclose(found[0][0], found[1][0], rtol=1e-9)
    assert_allclose(found[0][1], found[1][1])


@KINDS
def test_vague_precisions_of_active_columns_are_sparse_bayesian_learning(is_complex):
    X, Y, _ = made(30, 50, is_complex=is_complex)
    nothing = GammaPrior(1e-9, 1e-11, 1.0, 1e-5)
    support = IndependentSupport(1 - 1e-16, learn=False)
    start = flat_start((1, 50), 1 - 1e-16)
    state = state_of(X, Y, support, start, covariance="full", noise_variance=0.01)
    state.settings = state.settings._replace(prior=nothing)
    g = np.ones(50)
    for _ in range(6):
        state.step()
        g = update_em(dense_posterior(X, Y, g, 0.01), g)
        assert_allclose(1 / state.rho[0], g, rtol=1e-7)


def test_array_api():
    X, Y, _ = made(K=2)
    strict = [array_api_strict.asarray(array) for array in (X, Y)]
    rho, active = np.linspace(0.5, 9, 200).reshape(2, 100), np.array([4, 9, 150])
    posteriors = []
    for arrays in ((X, Y), strict):
        design = LinearDesign(*arrays)
        zero = 0 * design.correlation
        posteriors.append(update_coefficients(design, 20.0, rho, active, zero, 10))
        design.take(posteriors[-1])
    assert type(posteriors[1].mean) is type(strict[0])
    assert_allclose(to_numpy(posteriors[1].mean), posteriors[0].mean, rtol=1e-10, atol=1e-12)
    assert_allclose(posteriors[1].block, posteriors[0].block, rtol=1e-10)
    whole, other = state_of(X, Y), state_of(*strict)
    assert_allclose(bounds(other, 3), bounds(whole, 3))


def linear_states(X, Y, **settings):
    problem = Problem(X, Y, None, False)
    design = LinearDesign(problem.X, problem.Y)
    probability = np.full(design.shape, 0.05)
    power = expected_power(design, probability)
    settings = Settings(GammaPrior(1.0, power, 1.0, 1e-5 * power), **settings)
    starts = [
        sparse_bayes_start(problem, design, settings),
        shrinking_start(design, probability, power),
        matched_start(design, probability, power),
    ]
    support = IndependentSupport()
    return [
        LinearState(problem, LinearDesign(problem.X, problem.Y), support, settings, start)
        for start in starts
    ]


@KINDS
def test_residuals_are_those_of_the_fixed_point(is_complex):
    """At a fixed point every factor is best given the others, by the dense formulas."""
    X, Y, _ = made(snr=10, is_complex=is_complex)
    state = linear_states(X, Y)[0]
    for _ in range(200):
        state.step()
    assert 0 <= state.certificate() < 1e-8
    design, half, (a, b, a0, b0) = state.design, state.design.half, state.settings.prior
    W = information_matrix(design, state.noise.mean, state.rho)
    mean = np.linalg.solve(W, state.noise.mean * design.correlation[0])
    assert_allclose(state.mean[0], mean, atol=1e-7 * np.abs(mean).max())
    e = np.abs(mean) ** 2 + state.posterior.variance[0]
    s = state.proba[0]
    shape, rate = s * a + (1 - s) * a0 + half, s * b + (1 - s) * b0 + half * e
    assert_allclose(state.rho[0], shape / rate, rtol=1e-6)
    state.certificate()
    before = {name: getattr(state, name) for name in ("mean", "proba", "rho")}
    kappa, largest = state.noise.mean, state.certificate()
    state.step()
    assert np.linalg.norm(state.mean - before["mean"]) <= 2 * largest * np.linalg.norm(mean)
    assert np.max(np.abs(state.proba - before["proba"])) <= 2 * largest + 1e-15
    assert abs(np.log(state.noise.mean / kappa)) <= 2 * largest + 1e-15


def test_residuals_say_what_is_not_solved():
    X, Y, _ = made()
    state = linear_states(X, Y, n_inner=0)[0]
    for _ in range(100):
        state.step()
    assert state.certificate() == state.residuals["equation"] > 1e-3
    W = information_matrix(state.design, state.noise.mean, state.rho)
    right = state.noise.mean * state.design.correlation[0]
    residual = np.linalg.norm(right - W @ state.mean[0]) / np.linalg.norm(right)
    assert_allclose(state.residuals["equation"], residual)


@pytest.mark.parametrize("seed", range(3))
def test_race_keeps_the_fit_with_the_highest_bound(seed):
    X, Y, _ = made(snr=5, seed=seed)
    alone = [bounds(state, 8)[-1] for state in linear_states(X, Y)]
    race = Race(linear_states(X, Y), 8, 0.0)
    for count in range(1, 10):
        progress = race.step()
        assert len(race.states) == (3 if count < 8 else 1)
        if count == 8:
            assert_allclose(-progress.objective, max(alone))
    assert -progress.objective >= max(alone)


def test_race_waits_for_all_fits():
    X, Y, _ = made()
    race = Race(linear_states(X, Y), 1000, 1e-5)
    while race.step().certificate > 1e-5:
        assert race.count < 100
    assert all(state.certificate() <= 1e-5 for state in race.states)
    assert len({state.iteration for state in race.states}) > 1  # none goes on after that


def test_grid_of_supports_raises_the_bound():
    """Belief propagation on a grid is approximate, and so is the bound: it only has to end up."""
    X, Y, _ = made(K=2)
    state = state_of(X, Y, GridMRFSupport((10, 10)))
    elbo = bounds(state, 40)
    assert elbo[-1] > elbo[0]
    assert abs(elbo[-1] - elbo[-2]) < 1e-3
