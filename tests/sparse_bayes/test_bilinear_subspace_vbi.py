"""The estimator of bilinear models: recovery, equivariances, schedule, input that is wrong."""

import pickle
import warnings
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_isac_scene
from sparseopt.sparse_bayes import (
    BilinearSubspaceVBI,
    FactoredDictionary,
    IndependentSupport,
    JointSupport,
)

DATA = Path(__file__).parents[1] / "data" / "sparse_bayes"
QPSK = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)


class Tones:
    """Exponentials whose frequencies are parameters of columns, and gains those of groups."""

    def __init__(self, n_blocks=2, n_entries=24, n_groups=2):
        self.shape = (n_groups, n_blocks, n_entries)
        self.kinds = {"frequencies": "column"}

    def __call__(self, params, columns=None):
        frequencies = params["frequencies"]
        frequencies = frequencies if columns is None else frequencies[columns]
        K, N, M = self.shape
        times = np.arange(N * M).reshape(N, M)
        tones = np.exp(2j * np.pi * times[..., None] * frequencies) / np.sqrt(N * M)
        return np.broadcast_to(tones, (K, *tones.shape)).copy()

    def jac(self, params, columns=None):
        values = self(params, columns)
        N, M = self.shape[1:]
        times = np.arange(N * M).reshape(N, M)
        return {"frequencies": 2j * np.pi * times[..., None] * values}


def tone_problem(seed=0, noise=0.01, L=10):
    """Return a dictionary on a grid, observations of tones off it, symbols and which are known."""
    rng = np.random.default_rng(seed)
    dictionary = Tones()
    grid = np.arange(24) / 24
    true = grid[[4, 13]] + np.array([0.3, -0.25]) / 24
    x = np.exp(2j * np.pi * rng.random((2, 2))) * np.array([1.0, 1.4])
    symbols = rng.choice(QPSK, (2, 2, L))
    values = dictionary({"frequencies": true})
    response = np.einsum("knmq,kq->knm", values, x)
    shape = (2, L, 24)
    error = noise * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    Y = np.einsum("knl,knm->nlm", symbols, response) + error
    return dictionary, grid, Y, symbols, np.arange(L) < 3, response, true


def fit_tones(problem, **parameters):
    dictionary, grid, Y, symbols, known, _, _ = problem
    settings = {
        "param_std": {"frequencies": 0.3 / 24},
        "constellation": QPSK,
        "support_prior": JointSupport(0.1, visibility=0.9),
        "random_state": 0,
    }
    model = BilinearSubspaceVBI(dictionary, {"frequencies": grid}, **settings | parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(Y, pilots=symbols, pilot_mask=known)


def relative_error(found, true):
    return np.linalg.norm(found - true) ** 2 / np.linalg.norm(true) ** 2


def test_symbols_tones_and_response_are_recovered():
    problem = tone_problem()
    model = fit_tones(problem)
    _, grid, _, symbols, known, response, true = problem
    assert relative_error(model.response_, response) < 1e-3
    assert_allclose(model.symbols_, symbols, atol=1e-6)
    active = np.flatnonzero(model.common_support_proba_ > 0.5)
    assert_allclose(np.sort(model.params_["frequencies"][active]), true, atol=2e-4)
    assert np.array_equal(model.params_["frequencies"].shape, grid.shape)
    assert_allclose(model.symbols_[..., known], symbols[..., known])
    assert_allclose(model.symbol_proba_.sum(axis=-1), 1)
    assert 0.5 < model.noise_variance_ / (2 * 0.01**2) < 2
    assert len(model.elbo_) == model.n_iter_


def test_each_step_beyond_the_pilots_on_the_grid_helps():
    problem = tone_problem(noise=0.03)
    response = problem[5]
    errors = {
        name: relative_error(fit_tones(problem, **parameters).response_, response)
        for name, parameters in {
            "whole": {},
            "gaussian": {"symbols": "gaussian"},
            "gradient": {"m_step": "gradient"},
            "grid": {"m_step": None},
        }.items()
    }
    assert errors["whole"] <= 1.2 * errors["gaussian"]
    assert max(errors["whole"], errors["gaussian"]) < 0.1 * errors["grid"]
    assert errors["gradient"] < errors["grid"]


def test_scales_of_data_and_symbols_do_not_matter():
    problem = tone_problem()
    dictionary, grid, Y, symbols, known, response, true = problem
    model = fit_tones(problem)
    for scale in (1e-150, 3.0, 1e150):
        other = fit_tones((dictionary, grid, scale * Y, symbols, known, response, true))
        assert_allclose(other.coef_ / scale, model.coef_, rtol=1e-5, atol=1e-8)
        assert_allclose(other.symbols_, model.symbols_, atol=1e-8)
        shift = 2 * Y.size * np.log(scale)
        assert_allclose(other.elbo_[-1] + shift, model.elbo_[-1], rtol=1e-6)
    louder = fit_tones(
        (dictionary, grid, Y, 5 * symbols, known, response, true), constellation=5 * QPSK
    )
    assert_allclose(5 * louder.coef_, model.coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(louder.symbols_, 5 * model.symbols_, atol=1e-8)


def test_transform_decodes_new_snapshots():
    problem = tone_problem()
    model = fit_tones(problem)
    rng = np.random.default_rng(5)
    symbols = rng.choice(QPSK, (2, 2, 7))
    Y = np.einsum("knl,knm->nlm", symbols, problem[5])
    assert_allclose(model.transform(Y), symbols, atol=1e-6)
    assert relative_error(model.inverse_transform(symbols), Y) < 1e-3
    with pytest.raises(ValueError, match="2 blocks"):
        model.transform(Y[:1])
    with pytest.raises(ValueError, match="symbols must have shape"):
        model.inverse_transform(symbols[:1])


def test_real_data_with_a_matrix():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 50)) / np.sqrt(30)
    x = np.zeros(50)
    x[[3, 20, 41]] = 2.0, -1.5, 1.0
    symbols = rng.choice([-1.0, 1.0], 15)
    Y = np.outer(symbols, X @ x) + 0.02 * rng.standard_normal((15, 30))
    model = BilinearSubspaceVBI(X, constellation=[-1, 1], support_prior=IndependentSupport())
    model.fit(Y, pilots=symbols, pilot_mask=np.arange(15) == 4)
    assert np.isrealobj(model.coef_)
    assert_allclose(model.coef_[0], x, atol=0.05)
    assert_allclose(model.transform(Y)[:, 0], symbols, atol=1e-6)
    assert np.array_equal(np.flatnonzero(model.support_proba_[0] > 0.5), [3, 20, 41])


def test_without_a_dictionary_rows_are_multiples_of_a_sparse_vector():
    rng = np.random.default_rng(1)
    x = np.zeros(40)
    x[[5, 6, 30]] = 3.0, -2.0, 4.0
    scores = rng.standard_normal(60)
    X = np.outer(scores, x) + 0.1 * rng.standard_normal((60, 40))
    model = BilinearSubspaceVBI().fit(X)
    assert np.array_equal(np.flatnonzero(model.support_proba_[0] > 0.5), [5, 6, 30])
    found = model.transform(X)[:, 0]
    assert abs(np.corrcoef(found, scores)[0, 1]) > 0.999
    assert_allclose(model.symbols_[0, 0, np.argmax(np.abs(X).max(axis=1))], 1)


def test_a_factored_dictionary_is_its_dense_form():
    rng = np.random.default_rng(2)
    atoms = (rng.standard_normal((12, 30)) + 1j * rng.standard_normal((12, 30))) / np.sqrt(24)
    phases = np.exp(2j * np.pi * rng.random((2, 3, 30))) / np.sqrt(3)
    dense = atoms * phases[:, :, None, :]
    x = np.zeros((2, 30), complex)
    x[:, [4, 17]] = np.exp(2j * np.pi * rng.random((2, 2)))
    symbols = rng.choice(QPSK, (2, 3, 8))
    Y = np.einsum("knl,knmq,kq->nlm", symbols, dense, x)
    Y += 0.02 * rng.standard_normal(Y.shape)
    fits = [
        BilinearSubspaceVBI(dictionary, constellation=QPSK, random_state=0).fit(
            Y, pilots=symbols, pilot_mask=np.arange(8) < 2
        )
        for dictionary in (FactoredDictionary(atoms, phases), dense)
    ]
    assert_allclose(fits[0].coef_, fits[1].coef_, rtol=1e-7, atol=1e-9)
    assert_allclose(fits[0].elbo_, fits[1].elbo_, rtol=1e-9)


def test_strict_arrays_give_what_numpy_gives():
    xp = array_api_strict
    dictionary, _, Y, symbols, known, _, _ = tone_problem()
    values = dictionary({"frequencies": np.arange(24) / 24})
    fits = [
        BilinearSubspaceVBI(convert(values), constellation=QPSK, max_iter=40, tol=1e-2).fit(
            convert(Y), pilots=symbols, pilot_mask=known
        )
        for convert in (np.asarray, xp.asarray)
    ]
    assert_allclose(np.asarray(fits[1].coef_), fits[0].coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(fits[1].symbols_, fits[0].symbols_, atol=1e-8)
    assert hasattr(fits[1].response_, "__array_namespace__")
    assert_allclose(fits[1].transform(xp.asarray(Y)), fits[0].transform(Y), atol=1e-8)


def test_known_noise_is_kept_and_seeds_reproduce():
    problem = tone_problem()
    model = fit_tones(problem, noise_variance=0.5)
    assert model.noise_variance_ == pytest.approx(0.5)
    first, second = fit_tones(problem, random_state=3), fit_tones(problem, random_state=3)
    assert np.array_equal(first.coef_, second.coef_)
    loaded = pickle.loads(pickle.dumps(first))
    assert_allclose(loaded.transform(problem[2]), first.transform(problem[2]))


def test_the_noise_is_learnt_once_the_cap_ends():
    model = fit_tones(tone_problem(noise=1e-3), max_iter=60)
    assert model.noise_variance_ < 1e-4


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_screening_starts_from_the_pilots(share):
    problem = tone_problem()
    model = fit_tones(problem, screening=share)
    assert relative_error(model.response_, problem[5]) < 1e-2


@pytest.mark.parametrize("scene", "01")
def test_golden_scenes_are_solved(scene):
    golden = np.load(DATA / "isac_scene.npz")
    truth = {name: golden[f"{scene}_{name}"] for name in ("y", "d", "pil", "H", "uh")}
    start = make_isac_scene(random_state=0)  # the grid and the priors are those of all scenes
    params = start.params | {"users": truth["uh"], "offsets": np.zeros(3)}
    errors = {}
    for m_step in ("gauss_newton", None):
        model = BilinearSubspaceVBI(
            start.dictionary,
            params,
            support_prior=JointSupport(start.probability, visibility=start.visibility, learn=False),
            constellation=start.constellation,
            param_std=start.param_std,
            m_step=m_step,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(truth["y"].astype(complex), pilots=truth["d"], pilot_mask=truth["pil"])
        errors[m_step] = relative_error(model.response_, truth["H"])
        if m_step:
            nearest = np.abs(model.symbols_ - truth["d"]) < 0.7
            assert np.mean(~nearest[:, ~truth["pil"]]) <= 0.02
    assert errors["gauss_newton"] < 5 * golden[f"{scene}_full_nmse"]
    assert errors["gauss_newton"] < errors[None] / 20


def test_a_warning_tells_that_the_tolerance_was_not_met():
    dictionary, grid, Y, symbols, known, _, _ = tone_problem()
    model = BilinearSubspaceVBI(dictionary, {"frequencies": grid}, m_step=None, max_iter=3)
    with pytest.warns(ConvergenceWarning, match="relative change of the response"):
        model.fit(Y, pilots=symbols, pilot_mask=known)
    assert not model.converged_
    assert model.n_iter_ == 3


class Broken(Tones):
    """Tones with one fault."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def __call__(self, params, columns=None):
        values = super().__call__(params, columns)
        moved = np.any(params["frequencies"] != np.arange(24) / 24)
        if self.fault == "shape":
            return values[:, :, :-1]
        if self.fault == "start" or (self.fault == "moved" and moved):
            values = values * np.nan
        return values


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", "n_entries=24"),
        ("start", "NaN or infinity"),
        ("moved", "not finite at any of"),
    ],
)
def test_faults_of_the_dictionary_are_named(fault, message):
    problem = (Broken(fault), *tone_problem()[1:])
    with pytest.raises(ValueError, match=message):
        fit_tones(problem, n_init=1)


BAD_FITS = {
    "no pilots": ({"pilots": None}, {}, "each of the 2 groups needs a known symbol"),
    "mask alone": ({"pilots": None, "pilot_mask": True}, {}, "without pilots"),
    "group without": ({"pilot_mask": "one group"}, {}, "group 1 has no known symbol"),
    "mask of integers": ({"pilot_mask": np.ones(10, int)}, {}, "must be boolean"),
    "shape of pilots": ({"pilots": np.ones((2, 2, 4))}, {}, "pilots must have shape"),
    "pilots not finite": ({"pilots": np.full((2, 2, 10), np.inf)}, {}, "must be finite"),
    "one value": ({}, {"constellation": [1.0, 1.0]}, "two different numbers"),
    "no constellation": ({}, {"constellation": None, "symbols": "discrete"}, "needs a constell"),
    "probability": ({}, {"support_prior": JointSupport(1.5)}, "must lie in"),
    "name of std": ({}, {"param_std": {"phase": 1.0}}, "phase"),
    "sign of std": ({}, {"param_std": {"frequencies": -1.0}}, "must be positive"),
    "trust": ({}, {"trust_radius": {"frequencies": 0.0}}, "must be positive"),
    "rate": ({}, {"b": -1.0}, "'b' parameter"),
    "noise": ({}, {"noise_variance": 0.0}, "'noise_variance' parameter"),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_wrong_input_is_named(case):
    changes, parameters, message = BAD_FITS[case]
    dictionary, grid, Y, symbols, known, _, _ = tone_problem()
    data = {"pilots": symbols, "pilot_mask": known} | changes
    if isinstance(data["pilot_mask"], str):
        data["pilot_mask"] = np.zeros((2, 2, 10), bool)
        data["pilot_mask"][0] = True
    if case == "no pilots":
        data["pilot_mask"] = None
    model = BilinearSubspaceVBI(dictionary, {"frequencies": grid}, **parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(Y, **data)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.full((2, 10, 24), np.nan), "NaN or infinity"),
        (np.zeros((2, 0, 24)), "non-empty"),
        (np.zeros((1, 2, 10, 24)), "dim 4"),
        (np.zeros((3, 10, 24)), "n_blocks=3"),
    ],
)
def test_wrong_observations_are_named(Y, message):
    dictionary, grid, _, symbols, known, _, _ = tone_problem()
    model = BilinearSubspaceVBI(dictionary, {"frequencies": grid})
    with pytest.raises(ValueError, match=message):
        model.fit(Y, pilots=symbols, pilot_mask=known)


def test_observations_of_zeros_give_zeros():
    dictionary, grid, Y, symbols, known, _, _ = tone_problem()
    model = BilinearSubspaceVBI(dictionary, {"frequencies": grid}, max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(0 * Y, pilots=symbols, pilot_mask=known)
    assert not np.any(model.coef_)
    assert np.all(np.isfinite(model.elbo_))


def test_params_of_an_array_are_refused():
    with pytest.raises(ValueError, match="no function of them"):
        BilinearSubspaceVBI(np.eye(4), {"a": np.ones(4)}).fit(np.ones((3, 4)))
