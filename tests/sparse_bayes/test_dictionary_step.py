from pathlib import Path

import array_api_strict
import numpy as np
import pytest

from sparseopt.sparse_bayes._variational._dictionary_step import LocalMoments, refine_parameters
from sparseopt.sparse_bayes._variational._local_fit import dictionary_gradient, local_fit
from sparseopt.sparse_bayes._variational._parametric import (
    NonFiniteDictionaryError,
    ParametricDictionary,
)
from sparseopt.sparse_bayes._variational._step_direction import (
    PriorTerms,
    gauss_newton_direction,
    parameter_gradient,
)

GOLDEN = Path(__file__).parents[1] / "data" / "sparse_bayes" / "bilinear.npz"
CHOSEN = np.array([4, 1, 2])
K, N, M, Q = 2, 3, 6, 5  # as in conftest.py


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN, allow_pickle=False)


def golden_moments(golden, name):
    """Return the moments after iteration 2 of the reference run."""
    mean, variance, d = (golden[f"{name}_2_{what}"] for what in ("mean", "var", "dmean"))
    kappa = float(golden[f"{name}_2_kappa"])
    phi, pilot = golden["Phi"], golden["pilot"]
    images = np.einsum("knmq,kq->nmk", phi, mean)
    products = images.conj().swapaxes(1, 2) @ images
    spread = np.einsum("knmq,kq->nk", np.abs(phi) ** 2, variance)
    products = products + spread[:, :, None] * np.eye(2)
    unknown = (~pilot).sum(axis=1)[:, None, None]
    if name == "gauss":
        doubt = unknown * np.linalg.inv(np.eye(2) + kappa * products)
    else:
        doubt = np.einsum("knl,nl->nk", 1 - np.abs(d) ** 2, ~pilot)[:, :, None] * np.eye(2)
    symbols = np.einsum("knl,jnl->nkj", d.conj(), d) + doubt.swapaxes(1, 2)
    covariance = np.diag(variance.ravel()).reshape(*variance.shape, *variance.shape)
    target = np.einsum("knl,nlm->knm", d.conj(), golden["y"])
    return LocalMoments(target, symbols, mean, covariance, kappa, 1.0)


@pytest.mark.parametrize("name", ["gauss", "disc"])
def test_reference_residual_and_gradient(golden, name):
    moments = golden_moments(golden, name)
    fit = local_fit(golden["Phi"], moments)
    energy = np.sum(np.abs(golden["y"]) ** 2)
    np.testing.assert_allclose(fit.residual + energy, golden[f"{name}_2_resid"], rtol=1e-6)
    expected = golden[f"{name}_2_grad"]
    error = np.abs(dictionary_gradient(fit, moments) - expected).max()
    assert error <= 1e-6 * np.abs(expected).max()


def test_residual_is_that_of_draws(examples):
    """E plus the energy is the mean residual over draws of symbols and coefficients."""
    rng = np.random.default_rng(0)
    phi = rng.standard_normal((K, N, M, Q)) + 1j * rng.standard_normal((K, N, M, Q))
    moments = examples.draw_moments(rng, (K, N, M), Q, True)
    n = 200_000
    root = np.linalg.cholesky(moments.covariance.reshape(K * Q, K * Q))
    x = rng.standard_normal((n, K * Q, 2)) @ [1, 1j] / 2**0.5 @ root.T
    x = x.reshape(n, K, Q) + moments.mean
    images = np.einsum("knmq,skq->snkm", phi, x, optimize=True)
    quadratic = np.einsum("nkj,snkm,snjm->s", moments.symbols, images.conj(), images, optimize=True)
    linear = np.einsum("snkm,knm->s", images.conj(), moments.target)
    draws = quadratic.real - 2 * linear.real
    assert abs(draws.mean() - local_fit(phi, moments).residual) < 4 * draws.std() / n**0.5


@pytest.fixture
def make(examples):
    """Return a function that draws a problem: dictionary, parameters, moments and prior."""

    def draw(is_complex, seed, only_vjp=False):
        rng = np.random.default_rng(seed)
        waves = examples.Waves(is_complex)
        params = waves.draw(rng)
        dictionary = examples.VjpOnly(waves) if only_vjp else waves
        parametric = ParametricDictionary(dictionary, params, (N, M))
        moments = examples.draw_moments(rng, (K, N, M), len(CHOSEN), is_complex)
        prior = {
            "waves": (params["waves"] + 0.1, 0.3),
            "gains": (np.ones(M), np.linspace(0.2, 0.4, M)),
            "shifts": (params["shifts"] - 0.1, np.inf),
        }
        return parametric, params, moments, prior

    return draw


def objective(parametric, params, moments, prior):
    values = parametric.values(params, CHOSEN).columns(np.arange(len(CHOSEN)))
    fit = local_fit(values, moments)
    density = PriorTerms(prior).log_density(params)
    return -moments.half * moments.precision * fit.residual + density


@pytest.mark.parametrize("only_vjp", [False, True])
@pytest.mark.parametrize("is_complex", [True, False])
def test_gradients_agree_with_differences(is_complex, only_vjp, make):
    parametric, params, moments, prior = make(is_complex, 1, only_vjp)
    values = parametric.values(params, CHOSEN).columns(np.arange(3))
    G = dictionary_gradient(local_fit(values, moments), moments)
    jac = parametric.jac(params, CHOSEN) if parametric.has_jac else None
    gradient = parameter_gradient(parametric, params, CHOSEN, G, jac, PriorTerms(prior))
    assert gradient.keys() == params.keys()
    h = 1e-6
    for name, value in params.items():
        found = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            if parametric.kinds[name] == "column" and index[0] not in CHOSEN:
                continue
            step = np.zeros(value.shape)
            step[index] = h
            up = objective(parametric, params | {name: value + step}, moments, prior)
            down = objective(parametric, params | {name: value - step}, moments, prior)
            found[index] = (up - down) / (2 * h)
        np.testing.assert_allclose(
            gradient[name], found, rtol=1e-6, atol=1e-6 * np.abs(found).max()
        )


@pytest.mark.parametrize("is_complex", [True, False])
def test_gauss_newton_steps_solve_the_linearised_problem(is_complex, examples):
    """Where the dictionary is linear in one parameter of one column, one step is exact."""
    rng = np.random.default_rng(2)
    normal = rng.standard_normal((K, N, M, 1, 2))
    if is_complex:
        normal = normal + 1j * rng.standard_normal(normal.shape)

    class Linear:
        kinds = {"theta": "column"}

        def __call__(self, params):
            return (normal @ params["theta"][0])[..., :1] + 0.5

        def jac(self, params):
            return {"theta": normal}

    params = {"theta": np.zeros((1, 2))}
    parametric = ParametricDictionary(Linear(), params, (N, M))
    moments = examples.draw_moments(rng, (K, N, M), 1, is_complex)
    # coefficients of different groups independent, as the blocks take them to be
    diagonal = np.einsum("kckc->kc", moments.covariance)
    moments = moments._replace(covariance=np.diag(diagonal.ravel()).reshape(K, 1, K, 1))
    prior = {"theta": (np.array([[0.3, -0.2]]), 0.5)}
    refined = refine_parameters(parametric, params, np.array([0]), moments, prior=prior, trust={})
    again = refine_parameters(
        parametric, refined.params, np.array([0]), moments, prior=prior, trust={}
    )
    assert refined.accepted
    assert refined.gain > 0
    np.testing.assert_allclose(again.params["theta"], refined.params["theta"], atol=1e-9)


def test_shared_block_holds_all_couplings(examples):
    """Linear parameters of groups and shared ones, together: one step is exact, too."""
    rng = np.random.default_rng(3)
    by_group = rng.standard_normal((K, N, M, Q, 2)) + 1j * rng.standard_normal((K, N, M, Q, 2))
    by_all = rng.standard_normal((K, N, M, Q, 3))

    class Linear:
        kinds = {"own": "group", "all": "shared"}

        def __call__(self, params, columns=None):
            own = np.einsum("knmqp,kp->knmq", by_group, params["own"])
            values = own + by_all @ params["all"] + 0.5
            return values if columns is None else values[..., columns]

        def jac(self, params, columns=None):
            chosen = slice(None) if columns is None else columns
            return {"own": by_group[..., chosen, :], "all": by_all[..., chosen, :]}

    params = {"own": np.zeros((K, 2)), "all": np.zeros(3)}
    parametric = ParametricDictionary(Linear(), params, (N, M))
    moments = examples.draw_moments(rng, (K, N, M), 3, True)
    variances = np.einsum("kckc->kc", moments.covariance)
    moments = moments._replace(covariance=np.diag(variances.ravel()).reshape(K, 3, K, 3))
    first = refine_parameters(parametric, params, CHOSEN, moments, prior={}, trust={})
    second = refine_parameters(parametric, first.params, CHOSEN, moments, prior={}, trust={})
    assert first.gain > 0
    for name in params:
        np.testing.assert_allclose(second.params[name], first.params[name], atol=1e-9)


@pytest.mark.parametrize("method", ["gauss_newton", "gradient"])
@pytest.mark.parametrize("is_complex", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_steps_gain_what_they_say(is_complex, method, seed, make):
    parametric, params, moments, prior = make(is_complex, seed)
    before = {name: value.copy() for name, value in params.items()}
    total, start = 0.0, objective(parametric, params, moments, prior)
    trust = {"waves": 0.2, "shifts": 0.2, "gains": 0.5}
    for _ in range(4):
        old = params
        refined = refine_parameters(
            parametric, old, CHOSEN, moments, prior=prior, trust=trust, method=method
        )
        params = refined.params
        assert refined.gain >= 0
        assert refined.accepted == (refined.gain > 0)
        total += refined.gain
        np.testing.assert_allclose(
            refined.values, parametric.values(params).columns(CHOSEN), rtol=1e-12
        )
        moved = params["waves"] - old["waves"]
        assert np.linalg.norm(moved, axis=1).max() <= 0.2 * (1 + 1e-12)
        assert np.abs(params["shifts"] - old["shifts"]).max() <= 0.2 * (1 + 1e-12)
        assert np.abs(params["gains"] - old["gains"]).max() <= 0.5 * (1 + 1e-12)
    assert total > 0
    np.testing.assert_allclose(
        objective(parametric, params, moments, prior) - start, total, rtol=1e-8
    )
    untouched = np.setdiff1d(np.arange(Q - 1), CHOSEN)
    assert np.all(params["waves"][untouched] == before["waves"][untouched])


def test_vjp_alone_is_enough_for_gradient_steps(make, examples):
    parametric, params, moments, prior = make(True, 7)
    alone = ParametricDictionary(examples.VjpOnly(examples.Waves(True)), params, (N, M))
    arguments = {"prior": prior, "trust": {"waves": 0.2}, "method": "gradient"}
    expected = refine_parameters(parametric, params, CHOSEN, moments, **arguments)
    found = refine_parameters(alone, params, CHOSEN, moments, **arguments)
    assert found.gain > 0
    for name in params:  # directional derivatives are differences
        np.testing.assert_allclose(found.params[name], expected.params[name], atol=1e-3)
    with pytest.raises(ValueError, match=r"m_step='gauss_newton' needs dictionary\.jac.*only vjp"):
        refine_parameters(alone, params, CHOSEN, moments, prior={}, trust={})


class OneWave:
    """A single wave: theta (1,) is its frequency."""

    kinds = {"theta": "column"}

    def __init__(self, n_entries, limit=np.inf):
        self.entries, self.limit = np.arange(n_entries), limit

    def __call__(self, params, columns=None):
        values = np.exp(1j * self.entries * params["theta"])[None, None, :, None]
        return values if abs(params["theta"][0]) <= self.limit else np.nan * values

    def jac(self, params, columns=None):
        return {"theta": 1j * self.entries[:, None] * self(params)}


@pytest.mark.parametrize("method", ["gauss_newton", "gradient"])
def test_map_estimate_of_one_column(method):
    """Repeated steps end in the best point of a grid, with a prior that matters."""
    rng = np.random.default_rng(4)
    n_entries, truth = 12, 0.31
    wave = OneWave(n_entries)
    noise = rng.standard_normal((2, n_entries))
    y = np.exp(1j * truth * np.arange(n_entries)) + 0.2 * (noise[0] + 1j * noise[1])
    moments = LocalMoments(
        target=y[None, None],
        symbols=np.ones((1, 1, 1), complex),
        mean=np.ones((1, 1), complex),
        covariance=np.full((1, 1, 1, 1), 0.01 + 0j),
        precision=2.0,
        half=1.0,
    )
    params = {"theta": np.array([0.2])}
    prior = {"theta": (np.array([0.2]), 0.03)}
    parametric = ParametricDictionary(wave, params, (1, n_entries))
    refined = refine_parameters(
        parametric, params, np.array([0]), moments, prior=prior, trust={}, method=method, n_steps=30
    )
    grid = np.linspace(0.1, 0.4, 30001)
    waves = np.exp(1j * np.outer(grid, np.arange(n_entries)))
    density = 2 * 2.0 * np.real(waves.conj() @ y) - 0.5 * ((grid - 0.2) / 0.03) ** 2
    best = grid[np.argmax(density)]
    assert abs(best - 0.2) > 0.01  # the data pull
    assert abs(best - truth) > 0.01  # and so does the prior
    assert abs(refined.params["theta"][0] - best) <= 2e-5


def line_search_problem(limit):
    wave = OneWave(12, limit)
    params = {"theta": np.array([0.2])}
    parametric = ParametricDictionary(wave, params, (1, 12))
    moments = LocalMoments(
        target=np.exp(0.32j * np.arange(12))[None, None],
        symbols=np.ones((1, 1, 1), complex),
        mean=np.ones((1, 1), complex),
        covariance=np.zeros((1, 1, 1, 1), complex),
        precision=2.0,
        half=1.0,
    )
    return parametric, params, moments


def test_trials_that_are_not_finite_are_rejected():
    parametric, params, moments = line_search_problem(limit=0.25)
    free, _, _ = line_search_problem(limit=np.inf)
    arguments = (params, np.array([0]), moments)
    whole = refine_parameters(free, *arguments, prior={}, trust={})
    assert whole.params["theta"][0] > 0.25
    refined = refine_parameters(parametric, *arguments, prior={}, trust={})
    assert refined.accepted
    assert 0.2 < refined.params["theta"][0] <= 0.25


@pytest.mark.parametrize("method", ["gauss_newton", "gradient"])
def test_no_finite_trial_is_an_error(method):
    parametric, params, moments = line_search_problem(limit=0.2)
    with pytest.raises(
        NonFiniteDictionaryError, match=r"not finite at any of 10 steps of .'theta'"
    ):
        refine_parameters(
            parametric, params, np.array([0]), moments, prior={}, trust={}, method=method
        )


def test_parameters_that_do_not_matter_stay():
    """A coefficient of zero says nothing of its column, and no step is taken."""
    parametric, params, moments = line_search_problem(limit=np.inf)
    nothing = moments._replace(mean=np.zeros((1, 1), complex))
    refined = refine_parameters(parametric, params, np.array([0]), nothing, prior={}, trust={})
    assert not refined.accepted
    assert refined.gain == 0
    assert refined.params["theta"] == params["theta"]


@pytest.mark.parametrize("method", ["gauss_newton", "gradient"])
def test_steps_in_any_array_library(method, make, examples):
    parametric, params, moments, prior = make(True, 8)
    strict = array_api_strict.asarray
    like = strict(np.zeros(1))
    other = ParametricDictionary(examples.Waves(True), params, (N, M), like=like)
    arguments = {"prior": prior, "trust": {"waves": 0.1}, "method": method, "n_steps": 2}
    expected = refine_parameters(parametric, params, CHOSEN, moments, **arguments)
    moved = LocalMoments(*(strict(part) for part in moments[:4]), *moments[4:])
    found = refine_parameters(other, params, CHOSEN, moved, **arguments)
    assert type(found.values) is type(like)
    for name in params:
        assert isinstance(found.params[name], np.ndarray)
        np.testing.assert_allclose(found.params[name], expected.params[name], rtol=1e-9)


def test_gauss_newton_needs_fewer_steps(make):
    parametric, params, moments, prior = make(True, 9)
    gains = {
        method: refine_parameters(
            parametric, params, CHOSEN, moments, prior=prior, trust={}, method=method, n_steps=5
        ).gain
        for method in ("gauss_newton", "gradient")
    }
    assert gains["gauss_newton"] > gains["gradient"] > 0


def test_directions_go_uphill(make):
    for seed in range(10):
        parametric, params, moments, prior = make(seed % 2 == 0, seed)
        values = parametric.values(params, CHOSEN).columns(np.arange(3))
        G = dictionary_gradient(local_fit(values, moments), moments)
        jac, terms = parametric.jac(params, CHOSEN), PriorTerms(prior)
        gradient = parameter_gradient(parametric, params, CHOSEN, G, jac, terms)
        trust = {"waves": 1e-3, "gains": 1e-3}
        here = type("Here", (), {"params": params, "values": values})
        steps = gauss_newton_direction(
            parametric, here, CHOSEN, moments, gradient, jac, terms, trust
        )
        assert sum(np.sum(gradient[name] * step) for name, step in steps.items()) > 0
