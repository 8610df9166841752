import array_api_strict
import numpy as np
import pytest

from sparseopt.sparse_bayes._variational import _dictionary_step
from sparseopt.sparse_bayes._variational._dictionary_step import LocalMoments, refine_parameters
from sparseopt.sparse_bayes._variational._local_fit import local_fit
from sparseopt.sparse_bayes._variational._parametric import ParametricDictionary
from sparseopt.sparse_bayes._variational._step_direction import PriorTerms

CHOSEN = np.array([4, 1, 2])
K, N, M, Q = 2, 3, 6, 5  # as in conftest.py


@pytest.fixture
def make(examples):
    """Return a function that draws a problem: dictionary, parameters, moments and prior."""

    def draw(is_complex, seed):
        rng = np.random.default_rng(seed)
        waves = examples.Waves(is_complex)
        params = waves.draw(rng)
        parametric = ParametricDictionary(waves, params, (N, M))
        moments = examples.draw_moments(rng, (K, N, M), len(CHOSEN), is_complex)
        moments = moments._replace(rho=rng.uniform(0.1, 10, (K, len(CHOSEN))))
        prior = {"waves": (params["waves"] + 0.1, 0.3), "gains": (np.ones(M), 0.3)}
        return parametric, params, moments, prior

    return draw


def objective(parametric, params, moments, mean, prior):
    values = parametric.values(params, CHOSEN).columns(np.arange(len(CHOSEN)))
    residual = local_fit(values, moments._replace(mean=mean)).residual
    penalty = np.sum(moments.rho * np.abs(mean) ** 2)
    likelihood = -moments.half * (moments.precision * residual + penalty)
    return likelihood + PriorTerms(prior).log_density(params)


@pytest.mark.parametrize("is_complex", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_steps_gain_what_they_say(make, is_complex, seed):
    parametric, params, moments, prior = make(is_complex, seed)
    trust = {"waves": 0.2, "shifts": 0.1, "gains": 0.3}
    refined = refine_parameters(parametric, params, CHOSEN, moments, prior=prior, trust=trust)
    assert refined.accepted
    assert refined.gain > 0
    before = objective(parametric, params, moments, moments.mean, prior)
    after = objective(parametric, refined.params, moments, refined.mean, prior)
    np.testing.assert_allclose(after - before, refined.gain, rtol=1e-8)
    step = {name: refined.params[name] - params[name] for name in params}
    assert np.linalg.norm(step["waves"], axis=1).max() <= 0.2 * (1 + 1e-12)
    assert np.abs(step["shifts"]).max() <= 0.1 * (1 + 1e-12)
    assert np.abs(step["gains"]).max() <= 0.3 * (1 + 1e-12)
    assert np.all(step["waves"][[0, 3]] == 0)
    rng = np.random.default_rng(seed)
    for _ in range(5):  # the mean is the best one for the new parameters
        change = 1e-3 * rng.standard_normal(refined.mean.shape)
        worse = objective(parametric, refined.params, moments, refined.mean + change, prior)
        assert worse < after


def lines(n_entries, frequencies):
    """Return a dictionary of waves, and moments of data that hold them without noise."""
    times = np.arange(n_entries) - (n_entries - 1) / 2

    class Lines:
        kinds = {"frequency": "column"}

        def __call__(self, params, columns=None):
            chosen = slice(None) if columns is None else columns
            waves = np.exp(1j * np.outer(times, params["frequency"][chosen]))
            return waves[None, None]

        def jac(self, params, columns=None):
            return {"frequency": 1j * times[:, None] * self(params, columns)}

    C = len(frequencies)
    values = Lines()({"frequency": np.asarray(frequencies)})
    target = np.einsum("knmc,c->knm", values, np.exp(1j * np.arange(C)))
    moments = LocalMoments(
        target=target,
        symbols=np.ones((1, 1, 1), complex),
        mean=np.ones((1, C), complex),
        covariance=np.zeros((1, C, 1, C), complex),
        precision=1e4,
        half=1.0,
        rho=np.full((1, C), 1e-6),
    )
    return Lines(), moments


def test_close_lines_are_found_fast():
    """Without noise the steps are Newton's; in turns with the coefficients they creep."""
    truth = np.array([0.3, 0.3 + 2 * np.pi * 0.7 / 32])
    dictionary, moments = lines(32, truth)
    start = {"frequency": truth + [-0.02, 0.03]}
    parametric = ParametricDictionary(dictionary, start, (1, 32))
    arguments = {"prior": {}, "trust": {}, "n_steps": 8}
    columns = np.array([0, 1])
    found = refine_parameters(parametric, start, columns, moments, **arguments)
    assert np.abs(found.params["frequency"] - truth).max() <= 1e-7
    params, alone = start, moments._replace(rho=None)
    for _ in range(8):  # one step, then the best coefficients
        params = refine_parameters(parametric, params, columns, alone, prior={}, trust={}).params
        values = parametric.values(params).values[0, 0]
        mean = np.linalg.lstsq(values, moments.target[0, 0], rcond=None)[0]
        alone = alone._replace(mean=mean[None])
    assert np.abs(params["frequency"] - truth).max() >= 1e-4


def test_map_estimate_with_unknown_amplitude():
    rng = np.random.default_rng(1)
    dictionary, moments = lines(12, [0.31])
    noise = rng.standard_normal((12, 2)) @ [1, 1j]
    moments = moments._replace(
        target=moments.target + 0.3 * noise, precision=2.0, rho=np.full((1, 1), 3.0)
    )
    start = {"frequency": np.array([0.2])}
    prior = {"frequency": (np.array([0.2]), 0.03)}
    parametric = ParametricDictionary(dictionary, start, (1, 12))
    found = refine_parameters(
        parametric, start, np.array([0]), moments, prior=prior, trust={}, n_steps=20
    )
    grid = np.linspace(0.1, 0.4, 30001)
    waves = dictionary({"frequency": grid})[0, 0]
    correlation = np.abs(waves.conj().T @ moments.target[0, 0]) ** 2
    density = 2.0**2 * correlation / (2.0 * 12 + 3.0) - 0.5 * ((grid - 0.2) / 0.03) ** 2
    assert abs(found.params["frequency"][0] - grid[np.argmax(density)]) <= 2e-5


def test_joint_steps_in_any_array_library(make, examples):
    parametric, params, moments, prior = make(True, 8)
    strict = array_api_strict.asarray
    like = strict(np.zeros(1))
    other = ParametricDictionary(examples.Waves(True), params, (N, M), like=like)
    arguments = {"prior": prior, "trust": {"waves": 0.1}, "n_steps": 2}
    expected = refine_parameters(parametric, params, CHOSEN, moments, **arguments)
    moved = moments._replace(
        **{name: strict(getattr(moments, name)) for name in ("target", "symbols", "mean")},
        covariance=strict(moments.covariance),
    )
    found = refine_parameters(other, params, CHOSEN, moved, **arguments)
    assert type(found.mean) is type(like)
    np.testing.assert_allclose(np.asarray(found.mean), expected.mean, rtol=1e-9)
    for name in params:
        np.testing.assert_allclose(found.params[name], expected.params[name], rtol=1e-9)


def test_too_many_parameters_move_by_blocks(make, monkeypatch):
    parametric, params, moments, prior = make(True, 3)
    monkeypatch.setattr(_dictionary_step, "MOST_PARAMETERS", 14)  # there are 4 + 2 + 4 + 6 + 1
    refined = refine_parameters(parametric, params, CHOSEN, moments, prior=prior, trust={})
    assert refined.gain > 0
    assert refined.mean is moments.mean


def test_columns_without_parameters(make):
    """The last column has no waves of its own; all else moves."""
    parametric, params, moments, prior = make(True, 4)
    moments = moments._replace(
        mean=moments.mean[:, :1],
        covariance=moments.covariance[:, :1, :, :1],
        rho=moments.rho[:, :1],
    )
    refined = refine_parameters(parametric, params, np.array([4]), moments, prior=prior, trust={})
    assert refined.gain > 0
    np.testing.assert_array_equal(refined.params["waves"], params["waves"])


def test_nothing_gained_nothing_changed():
    dictionary, moments = lines(16, [0.3])
    start = {"frequency": np.array([0.3])}
    moments = moments._replace(target=np.zeros_like(moments.target))
    parametric = ParametricDictionary(dictionary, start, (1, 16))
    refined = refine_parameters(parametric, start, np.array([0]), moments, prior={}, trust={})
    assert not refined.accepted
    assert refined.gain == 0
    assert refined.mean is moments.mean
