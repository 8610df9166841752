"""Whether runs end where they say: certificates against dense formulas, and starts near zero."""

import functools

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_kronecker_sparse
from sparseopt.sparse_bayes import KroneckerDictionary, nmse
from sparseopt.sparse_bayes._kronecker_sbl_function import kronecker_sbl

PLAIN = {"acceleration": None, "burn_in": 10**6, "prune_guard": None, "warn": False}


def make_problem(rows=(4, 5), columns=(5, 6), *, complex_valued=False, n_targets=2, seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if complex_valued else real

    factors = [draw(m, n) for m, n in zip(rows, columns, strict=True)]
    x = np.zeros((*columns, n_targets), dtype=complex if complex_valued else float)
    x[np.ix_(*[[0, n - 1] for n in columns])] = draw(*(2,) * len(rows), n_targets)
    y = KroneckerDictionary(factors).apply(x)
    return factors, y + 0.05 * np.std(y) * draw(*y.shape)


def dense_derivatives(factors, y, gammas, noise):
    """Return, for each factor, nll's derivative by its variances and that of log det S alone."""
    A = functools.reduce(np.kron, factors)
    S = noise * np.eye(len(A)) + (A * functools.reduce(np.kron, gammas)) @ A.conj().T
    inverse = np.linalg.inv(S)
    Y = y.reshape(len(A), -1)
    data = inverse @ Y @ Y.conj().T @ inverse / Y.shape[1]
    derivatives, parts = [], []
    for d, gamma in enumerate(gammas):
        derivatives.append(np.zeros(len(gamma)))
        parts.append(np.zeros(len(gamma)))
        for i in range(len(gamma)):
            # d S / d g_d[i] as a matrix: no property of Kronecker products is used.
            direction = list(gammas)
            direction[d] = np.eye(len(gamma))[i]
            change = (A * functools.reduce(np.kron, direction)) @ A.conj().T
            parts[d][i] = np.trace(inverse @ change).real
            derivatives[d][i] = parts[d][i] - np.trace(data @ change).real
    return derivatives, parts


def dense_certificate(factors, y, gammas, noise, structure=None):
    """Return the largest slope in a logarithm, or growth; ``structure``: pairs (C_d, v_d)."""
    kept = [gamma > 0 for gamma in gammas]
    factors = [A[:, mask] for A, mask in zip(factors, kept, strict=True)]
    gammas = [gamma[mask] for gamma, mask in zip(gammas, kept, strict=True)]
    size = np.prod([len(gamma) for gamma in gammas])
    worst = 0.0
    for d, (slope, part) in enumerate(zip(*dense_derivatives(factors, y, gammas, noise))):
        value = gammas[d]
        if structure is not None and structure[d] is not None:
            C, value = structure[d]
            slope, part = C.T @ slope, C.T @ part
        worst = max(worst, np.max(np.abs(slope) * value) * len(gammas[d]) / size)
        worst = max(worst, np.max(-slope / part))
    return worst


@pytest.mark.parametrize("noise_variance", [0.5, "learn"])
@pytest.mark.parametrize("m_step", ["am", "svd", "ksbl"])
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("initial_variance", ["auto", 1e-9])
def test_certificate(m_step, noise_variance, complex_valued, initial_variance):
    factors, y = make_problem(complex_valued=complex_valued)
    settings = {**PLAIN, "noise_variance": noise_variance, "initial_variance": initial_variance}
    result = kronecker_sbl(factors, y, m_step=m_step, max_iter=4, **settings)
    expected = dense_certificate(factors, y, result.gammas, result.noise_variance)
    assert result.certificate == pytest.approx(expected, rel=1e-6)


def test_certificate_of_the_unstructured_method():
    factors, y = make_problem()
    result = kronecker_sbl(factors, y, m_step="classic", noise_variance=0.5, **PLAIN, max_iter=4)
    dictionary, gamma = np.kron(*factors), result.gammas[0].ravel()
    expected = dense_certificate([dictionary], y.reshape(20, 2), [gamma], 0.5)
    assert result.certificate == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("max_iter", [3, 300])
def test_certificate_of_coupled_factors(max_iter):
    factors, y = make_problem()
    coupling = np.random.default_rng(0).random((6, 5))
    settings = {**PLAIN, "noise_variance": 0.5, "pattern_coupling": [None, coupling]}
    result = kronecker_sbl(factors, y, m_step="am", max_iter=max_iter, tol=0.0, **settings)
    v = np.linalg.lstsq(coupling, result.gammas[1], rcond=None)[0]
    np.testing.assert_allclose(coupling @ v, result.gammas[1], rtol=1e-9)
    structure = [None, (coupling, v)]
    expected = dense_certificate(factors, y, result.gammas, 0.5, structure)
    assert result.certificate == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_dense_derivatives_are_right():
    factors, y = make_problem()
    gammas = [np.linspace(0.5, 1.5, 5), np.linspace(2.0, 1.0, 6)]
    A = np.kron(*factors)

    def nll(gammas):
        S = 0.3 * np.eye(20) + (A * np.kron(*gammas)) @ A.T
        Y = y.reshape(20, 2)
        return np.linalg.slogdet(S)[1] + np.sum(Y * np.linalg.solve(S, Y)) / 2

    slopes, _ = dense_derivatives(factors, y, gammas, 0.3)
    for d, i in ((0, 2), (1, 5)):
        moved = [[gamma.copy() for gamma in gammas] for _ in range(2)]
        moved[0][d][i] += 1e-5
        moved[1][d][i] -= 1e-5
        assert (nll(moved[0]) - nll(moved[1])) / 2e-5 == pytest.approx(slopes[d][i], rel=1e-6)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("m_step", ["am", "svd", "classic"])
def test_ill_conditioned_factors(m_step, complex_valued):
    rng = np.random.default_rng(3)
    nodes = np.linspace(-1, 1, 9)
    # Condition numbers of 1e4 and 1e8, and two columns that are nearly the same.
    factors = [np.vander(nodes, 7), np.vander(np.linspace(0, 1, 8), 6)]
    factors[1][:, 1] = factors[1][:, 0] + 1e-7 * rng.standard_normal(8)
    if complex_valued:
        factors = [A * np.exp(1j * rng.uniform(0, 6, len(A)))[:, None] for A in factors]
    y = factors[0][:, 2:3] * factors[1][:, 4] + 1e-3 * rng.standard_normal((9, 8))
    result = kronecker_sbl(factors, y, m_step=m_step, tol=1e-8, max_iter=3000, warn=False)
    gammas, dictionary, data = result.gammas, factors, y[..., None]
    if m_step == "classic":
        gammas, dictionary = [gammas[0].ravel()], [np.kron(*factors)]
        data = y.reshape(72, 1)
    expected = dense_certificate(dictionary, data, gammas, result.noise_variance)
    assert abs(result.certificate - expected) <= 1e-5 + 1e-3 * expected
    assert expected < 1e-2
    assert np.linalg.norm(KroneckerDictionary(factors).apply(result.coef) - y) <= 0.02


@pytest.mark.parametrize("noise_variance", [0.1, "learn"])
@pytest.mark.parametrize("m_step", ["am", "svd", "ksbl", "classic"])
@pytest.mark.parametrize("initial_variance", [1e-70, 1e-20])
def test_starts_near_zero_do_not_end_there(m_step, noise_variance, initial_variance):
    factors, y = make_problem((6, 7), (6, 8), n_targets=8)
    settings = {"m_step": m_step, "noise_variance": noise_variance}
    usual = kronecker_sbl(factors, y, **settings)
    result = kronecker_sbl(factors, y, initial_variance=initial_variance, **settings)
    assert result.success
    assert result.certificate < 0.1
    assert result.fun <= usual.fun + 0.05 * abs(usual.fun)
    assert np.linalg.norm(result.coef - usual.coef) <= 0.05 * np.linalg.norm(usual.coef)


@pytest.mark.parametrize("settings", [{}, {"acceleration": None}, {"pattern_coupling": 0.5}])
def test_growth_never_raises_the_objective(settings):
    factors, y = make_problem((6, 7), (6, 8))
    result = kronecker_sbl(
        factors, y, m_step="am", initial_variance=1e-12, burn_in=10**6, warn=False, **settings
    )
    objective = result.history["objective"]
    assert np.all(np.diff(objective) <= 1e-9 * np.abs(objective[:-1]))
    assert result.certificate < 0.2


def test_no_run_claims_to_have_converged_while_variances_should_grow():
    factors, y = make_problem()
    with pytest.warns(ConvergenceWarning):
        result = kronecker_sbl(
            factors, y, m_step="am", initial_variance=1e-70, max_iter=5, noise_variance=0.1
        )
    assert not result.success
    assert result.certificate > 1


@pytest.mark.parametrize("m_step", ["am", "svd", "ksbl"])
def test_the_limit_of_iterations_holds(m_step):
    for seed in range(4):
        factors, y = make_problem((6, 7), (8, 9), n_targets=1, seed=seed)
        previous = np.inf
        for limit in range(1, 45):
            result = kronecker_sbl(factors, y, m_step=m_step, max_iter=limit, warn=False)
            assert result.nit <= limit
            if m_step != "ksbl" and limit <= 10:
                # What a run returns is settled: an extrapolation that failed is undone.
                assert result.fun <= previous + 1e-9 * abs(previous)
            previous = result.fun


def test_further_starts_find_more_evidence():
    errors = []
    for seed in (0, 5, 12, 14, 18):
        # Few measurements of the first axis: the first run ends in a wrong minimum.
        problem = make_kronecker_sparse((15, 15, 15), (6, 12, 15), n_nonzero=3, random_state=seed)
        settings = {"noise_variance": problem.noise_variance, "random_state": 0, "warn": False}
        arguments = problem.factors, problem.y
        single = kronecker_sbl(*arguments, **settings)
        several = kronecker_sbl(*arguments, n_init=8, **settings)
        assert several.fun <= single.fun
        assert np.array_equal(kronecker_sbl(*arguments, n_init=8, **settings).coef, several.coef)
        errors.append([nmse(problem.coef, result.coef) > 0.1 for result in (single, several)])
    single, several = np.sum(errors, axis=0)
    assert several < single


def test_a_callback_stops_all_starts():
    factors, y = make_problem()
    calls = []

    def callback(intermediate_result):
        calls.append(intermediate_result.nit)
        raise StopIteration

    kronecker_sbl(factors, y, n_init=5, callback=callback)
    assert len(calls) == 1
