"""Radio scenes with unknown scatterers, and their parametric dictionary."""

import pickle
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sparseopt.datasets import IsacDictionary, make_isac_scene
from sparseopt.datasets._isac_dictionary import SPEED_OF_LIGHT

DATA = Path(__file__).parents[1] / "data" / "sparse_bayes"
SMALL = {"n_users": 2, "n_subcarriers": 4, "n_symbols": 5, "array_shape": (3, 2)}
SMALL |= {"grid_shape": (3, 2, 1)}


@pytest.fixture(scope="module")
def golden():
    """The reference dictionary, its parameters, and ours."""
    reference = dict(np.load(DATA / "isac_dictionary.npz"))
    shape = (int(reference["Mx"]), int(reference["Mz"]))
    options = {"bandwidth": float(reference["bw"]), "base_station": reference["bs"]}
    offsets = SPEED_OF_LIGHT * reference["t_off"]
    params = {"positions": reference["p"], "users": reference["u"], "offsets": offsets}
    return reference, params, (shape, int(reference["N"])), options


def assert_close(actual, expected, rtol=1e-9):
    assert actual.shape == expected.shape
    assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


def test_reference_dictionary_and_derivatives(golden):
    reference, params, sizes, options = golden
    dictionary = IsacDictionary(*sizes, **options)
    assert_close(dictionary(params), reference["Phi"])
    jac = dictionary.jac(params)
    assert list(jac) == list(dictionary.kinds) == list(params)
    assert_close(jac["positions"], reference["dPhi_dp"])
    assert_close(jac["users"], reference["dPhi_du"])
    assert_close(SPEED_OF_LIGHT * jac["offsets"], reference["dPhi_dt"])


def test_columns_have_unit_energy(golden):
    _, params, sizes, options = golden
    values = IsacDictionary(*sizes, **options)(params)
    assert_allclose(np.sum(np.abs(values) ** 2, axis=(1, 2)), 1)


@pytest.mark.parametrize("separate", [False, True])
def test_derivatives_are_limits_of_differences(golden, separate):
    _, params, sizes, options = golden
    dictionary = IsacDictionary(*sizes, **options, separate_sight=separate)
    jac, step, rng = dictionary.jac(params), 1e-5, np.random.default_rng(0)
    for name, value in params.items():
        move = rng.standard_normal(value.shape)
        ahead, behind = (
            dictionary({**params, name: value + sign * step * move}) for sign in (1, -1)
        )
        difference = (ahead - behind) / (2 * step)
        if name == "positions":
            expected = np.zeros_like(difference)
            expected[..., :5] = np.sum(jac[name][..., :5, :] * move, axis=-1)
            assert not np.any(jac[name][..., 5:, :])  # lines of sight have no position
        elif name == "users":
            expected = np.sum(jac[name] * move[:, None, None, None, :], axis=-1)
        else:
            expected = jac[name] * move[:, None, None, None]
        assert_close(difference, expected, rtol=1e-7)


@pytest.mark.parametrize("separate", [False, True])
def test_gradient_is_that_of_the_derivatives(golden, separate):
    _, params, sizes, options = golden
    dictionary = IsacDictionary(*sizes, **options, separate_sight=separate)
    jac = dictionary.jac(params)
    parts = np.random.default_rng(1).standard_normal((2, *jac["offsets"].shape))
    G = parts[0] + 1j * parts[1]
    gradient = dictionary.vjp(params, G)
    by_column = 2 * np.einsum("knmq,knmqp->qp", G.conj(), jac["positions"]).real
    assert_close(gradient["positions"], by_column[:5], rtol=1e-13)
    by_group = 2 * np.einsum("knmq,knmqp->kp", G.conj(), jac["users"]).real
    assert_close(gradient["users"], by_group, rtol=1e-13)
    assert_close(
        gradient["offsets"], 2 * np.sum(G.conj() * jac["offsets"], axis=(1, 2, 3)).real, 1e-13
    )


COLUMNS = [[5, 0, 2], [1], [5], [5, 5, 1], [4, 3], [], list(range(6))]


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("separate", [False, True])
def test_some_columns_are_columns_of_the_whole(golden, separate, columns):
    _, params, sizes, options = golden
    dictionary = IsacDictionary(*sizes, **options, separate_sight=separate)
    columns = np.array([*columns, 6] if separate else columns, dtype=int)
    # Vectorised functions may round the last entries of an array differently.
    options = {"rtol": 1e-12, "atol": 1e-14}
    assert_allclose(dictionary(params, columns), dictionary(params)[..., columns], **options)
    whole = dictionary.jac(params)
    for name, part in dictionary.jac(params, columns).items():
        assert_allclose(part, whole[name][:, :, :, columns], **options)


@pytest.mark.parametrize("columns", [None, [6, 2, 5], [3, 0]])
def test_factors(golden, columns):
    _, params, sizes, options = golden
    dictionary = IsacDictionary(*sizes, **options, separate_sight=True)
    columns = None if columns is None else np.array(columns)
    atoms, phases = dictionary.factors(params, columns)
    assert_close(atoms * phases[:, :, None, :], dictionary(params, columns), rtol=1e-15)


def test_separate_lines_of_sight(golden):
    _, params, sizes, options = golden
    shared = IsacDictionary(*sizes, **options)
    joint = shared(params)
    separate = IsacDictionary(*sizes, **options, separate_sight=True)(params)
    assert_array_equal(separate[..., :5], joint[..., :5])
    for user in range(2):
        assert_array_equal(separate[user, ..., 5 + user], joint[user, ..., 5])
        assert not np.any(separate[user, ..., 6 - user])
    with pytest.raises(ValueError, match="separate_sight=True"):
        shared.factors(params)
    atoms, phases = shared.factors(params, np.arange(5))
    assert_close(atoms * phases[:, :, None, :], joint[..., :5], rtol=1e-15)


@pytest.mark.parametrize("separate", [False, True])
def test_other_array_libraries_and_precisions(golden, separate):
    _, params, sizes, options = golden
    dictionary = IsacDictionary(*sizes, **options, separate_sight=separate)
    strict = {name: array_api_strict.asarray(value) for name, value in params.items()}
    columns = np.array([5, 1])
    expected = dictionary(params, columns)
    values = dictionary(strict, columns)
    assert isinstance(values, type(strict["users"]))
    assert_array_equal(np.asarray(values), expected)
    for name, part in dictionary.jac(strict, columns).items():
        assert_allclose(np.asarray(part), dictionary.jac(params, columns)[name], rtol=1e-12)
    G = dictionary(params)
    strict_G = array_api_strict.asarray(G)
    for name, part in dictionary.vjp(strict, strict_G).items():
        assert_close(np.asarray(part), dictionary.vjp(params, G)[name], rtol=1e-12)
    single = {name: value.astype(np.float32) for name, value in params.items()}
    assert dictionary(single).dtype == np.complex64
    assert_close(dictionary(single, columns), expected, rtol=1e-3)
    whole = {name: np.round(value).astype(int) for name, value in params.items()}
    same = {name: np.round(value) for name, value in params.items()}
    assert_array_equal(dictionary(whole), dictionary(same))


@pytest.mark.parametrize("seed", [0, 1])
def test_reference_scenes(seed):
    reference = np.load(DATA / "isac_scene.npz")
    truth = {name[2:]: reference[name] for name in reference if name[0] == str(seed)}
    scene = make_isac_scene(snr=10, random_state=seed)
    assert_close(scene.true_params["positions"], truth["ps"], rtol=1e-15)
    assert_close(scene.true_params["users"], truth["u"], rtol=1e-15)
    assert_close(scene.true_params["offsets"] / SPEED_OF_LIGHT, truth["to"], rtol=1e-14)
    assert_array_equal(scene.coef[:, :-1] != 0, truth["V"])
    assert_close(scene.coef, truth["x"], rtol=1e-14)
    assert_close(scene.symbols, truth["d"], rtol=1e-15)
    assert_close(scene.channel, truth["H"], rtol=1e-12)
    assert_array_equal(scene.pilot_mask, truth["pil"])
    assert_close(scene.params["users"], truth["uh"], rtol=1e-15)
    assert scene.noise_variance == pytest.approx(float(truth["s2"]), rel=1e-12)
    assert_close(scene.y, truth["y"], rtol=1e-6)  # stored in single precision
    noise = scene.y - np.einsum("knl,knm->nlm", truth["d"], truth["H"])
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(scene.noise_variance, rel=0.05)


def test_structure_of_the_scene():
    scene = make_isac_scene(snr=None, n_pilots=2, random_state=3)
    assert scene.noise_variance == 0
    assert_allclose(np.einsum("knl,knm->nlm", scene.symbols, scene.channel), scene.y, atol=1e-14)
    values = scene.dictionary(scene.true_params)
    assert_allclose(np.einsum("knmq,kq->knm", values, scene.coef), scene.channel, atol=1e-14)
    assert_array_equal(scene.pilots[:, :, :2], scene.symbols[:, :, :2])
    assert not np.any(scene.pilots[:, :, 2:])
    assert_array_equal(scene.pilot_mask[3], [True] * 2 + [False] * 6)
    assert_array_equal(np.unique(scene.symbols), np.sort(scene.constellation))
    assert_allclose(np.abs(scene.coef[:, -1]), 1.5)
    echoes = np.abs(scene.coef[:, :-1])
    assert np.all((echoes == 0) | ((echoes >= 0.6) & (echoes <= 1.4)))
    places = scene.true_params["positions"]
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    assert np.all(distance[np.triu_indices(5, 1)] >= 10)


def test_start_and_its_spread():
    scenes = [make_isac_scene(random_state=seed) for seed in range(60)]
    first = scenes[0]
    assert first.params["positions"].shape == (128, 3)
    assert_allclose(first.pitch, 5)
    assert_array_equal(first.param_std["positions"], [2.5, 2.5, 2.5])
    corners = first.params["positions"][[0, 1, -1]] - [0, 50, 5]
    assert_allclose(corners, [[-17.5, -17.5, -2.5], [-17.5, -17.5, 2.5], [17.5, 17.5, 2.5]])
    assert_array_equal(first.params["offsets"], 0)
    assert len(first.probability) == len(first.visibility) == 129
    assert first.probability[-1] == first.visibility[-1] == 0.999
    for scene in scenes:
        nearest = np.abs(scene.positions[:, None] - scene.params["positions"]).max(axis=-1)
        assert nearest.min(axis=1).max() <= 2.5
        assert_array_equal(scene.params["users"][:, 2], scene.true_params["users"][:, 2])
    wrong = np.array([s.params["users"] - s.true_params["users"] for s in scenes])[..., :2]
    assert np.std(wrong) == pytest.approx(first.param_std["users"][0], rel=0.15)
    offsets = np.array([s.true_params["offsets"] for s in scenes]) / first.param_std["offsets"]
    assert np.abs(offsets).max() <= 1
    assert np.std(offsets) == pytest.approx(1 / np.sqrt(3), rel=0.15)


def test_scatterers_that_nobody_sees():
    scene = make_isac_scene(n_users=1, visibility=0.3, random_state=0)
    seen = scene.coef[0, :-1] != 0
    assert 0 < seen.sum() < 5
    assert_array_equal(scene.positions, scene.true_params["positions"][seen])
    blind = make_isac_scene(visibility=0.0, random_state=0)
    assert blind.positions.shape == (0, 3)
    assert blind.localisation_error(blind.params["positions"]).shape == (0,)


def test_error_of_the_channel():
    scene = make_isac_scene(**SMALL, random_state=0)
    assert scene.channel_nmse(scene.channel) == 0
    assert scene.channel_nmse(np.zeros_like(scene.channel)) == 1
    assert scene.channel_nmse(1.1j * scene.channel) == pytest.approx(2.21)
    with pytest.raises(ValueError, match=r"channel must have shape \(2, 4, 6\), got \(4, 2, 6\)"):
        scene.channel_nmse(np.swapaxes(scene.channel, 0, 1))


def test_errors_of_symbols():
    scene = make_isac_scene(**SMALL, n_pilots=2, random_state=0)
    symbols = scene.symbols * 0.4 * np.exp(0.7j)  # still the nearest ones: pi / 4 is too far
    assert scene.symbol_error_rate(symbols) == 0
    symbols[:, :, :2] = 7.0  # those are known
    symbols[0, 1, 2] *= -1
    symbols[1, 3, 4] *= 1j
    assert scene.symbol_error_rate(symbols) == pytest.approx(2 / (2 * 4 * 3))
    with pytest.raises(ValueError, match="symbols must have shape"):
        scene.symbol_error_rate(symbols[0])
    known = make_isac_scene(**SMALL, n_pilots=5, random_state=0)
    assert np.isnan(known.symbol_error_rate(known.symbols))


def test_errors_of_places():
    scene = make_isac_scene(visibility=1.0, random_state=0)
    truth = scene.positions
    shifts = np.array([1.0, 2.0, 0.5, 3.0, 1.5])
    moved = truth + shifts[:, None] * [0, 0, 1.0]
    far = np.array([[500.0, 0, 0]])
    assert_allclose(scene.localisation_error(np.r_[far, moved[::-1], far]), shifts)
    assert_allclose(scene.localisation_error(moved[[4, 1]]), [10, 2, 10, 10, 1.5])
    assert_allclose(scene.localisation_error(far, cutoff=4), 4)
    assert_allclose(scene.localisation_error(np.empty((0, 3))), 10)
    with pytest.raises(ValueError, match=r"positions must have shape \(n, 3\), got \(3,\)"):
        scene.localisation_error(truth[0])


def test_assignment_minimises_the_sum():
    scene = make_isac_scene(visibility=1.0, n_scatterers=2, separation=0.0, random_state=0)
    first, second = scene.positions
    along = (second - first) / np.linalg.norm(second - first)
    # The first place is nearest to both; greedy matching of the first scatterer costs more.
    places = np.array([first + 0.4 * (second - first), first - 3.0 * along])
    gap = np.linalg.norm(second - first)
    errors = scene.localisation_error(places, cutoff=1e3)
    assert_allclose(errors, [3.0, 0.6 * gap])


def test_scene_is_pickled_and_reproduced():
    scene = make_isac_scene(**SMALL, random_state=np.random.default_rng(4))
    assert_array_equal(make_isac_scene(**SMALL, random_state=4).y, scene.y)
    restored = pickle.loads(pickle.dumps(scene))
    assert restored.channel_nmse(0 * scene.channel) == 1
    assert_array_equal(restored.dictionary(scene.params), scene.dictionary(scene.params))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_pilots": 6}, "n_pilots must be at most n_symbols=5, got 6"),
        ({"n_pilots": -1}, "n_pilots"),
        ({"n_scatterers": 0}, "n_scatterers"),
        ({"n_scatterers": 60}, "n_scatterers=60 could not be placed at least separation=10.0 m"),
        ({"array_shape": (3,)}, r"array_shape must hold 2 integers >= 1, got \(3,\)"),
        ({"array_shape": 3}, "array_shape"),
        ({"grid_shape": (3, 0, 1)}, r"grid_shape must hold 3 integers >= 1, got \(3, 0, 1\)"),
        ({"grid_shape": (3, 2.0, 1)}, "grid_shape"),
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"separation": -1.0}, "separation"),
        ({"visibility": 1.5}, "visibility"),
        ({"snr": np.inf}, "snr"),
        ({"random_state": "seed"}, "random_state"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        make_isac_scene(**SMALL | options)
