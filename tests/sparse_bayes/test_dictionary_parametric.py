import array_api_strict
import numpy as np
import pytest

from sparseopt.datasets import IsacDictionary
from sparseopt.sparse_bayes import FactoredDictionary, check_dictionary_gradient
from sparseopt.sparse_bayes._variational._parametric import (
    NonFiniteDictionaryError,
    ParametricDictionary,
)

K, N, M, Q = 2, 3, 6, 5  # as in conftest.py


class Changed:
    """A dictionary whose functions are replaced in part."""

    def __init__(self, base, call=None, **attributes):
        self._base, self._call = base, call or base.__call__
        self.kinds, self.jac = base.kinds, base.jac
        for name, value in attributes.items():
            setattr(self, name, value)

    def __call__(self, params):
        return self._call(params)


@pytest.fixture
def waves(examples):
    return examples.Waves()


@pytest.fixture
def params(waves):
    return waves.draw(np.random.default_rng(0))


def test_columns_of_values_and_derivatives(waves, params):
    chosen = np.array([3, 0, 4])
    whole = Changed(waves)
    whole.jac = lambda params: waves.jac(params)
    values, jac = waves(params), waves.jac(params)
    for dictionary in (waves, whole):  # with an argument columns, and without
        parametric = ParametricDictionary(dictionary, params, (N, M))
        assert parametric.shape == (K, N, M, Q)
        found = parametric.values(params, chosen)
        np.testing.assert_allclose(found.columns(np.arange(3)), values[..., chosen], rtol=1e-14)
        derivatives = parametric.jac(params, chosen)
        assert derivatives["waves"].shape == (K, N, M, 3, 2)
        assert derivatives["shifts"].shape == (K, N, M, 3, 1)
        for name, array in derivatives.items():
            expected = jac[name][..., chosen] if jac[name].ndim == 4 else jac[name][:, :, :, chosen]
            np.testing.assert_allclose(array.reshape(expected.shape), expected, rtol=1e-14)


def test_gradient_of_some_columns(examples, waves, params):
    """A function without the argument gets weights that are zero elsewhere."""
    rng = np.random.default_rng(1)
    chosen = np.array([3, 0])
    G = rng.standard_normal((K, N, M, 2)) + 1j * rng.standard_normal((K, N, M, 2))
    whole = np.zeros((K, N, M, Q), complex)
    whole[..., chosen] = G
    alone = examples.VjpOnly(waves)
    parametric = ParametricDictionary(alone, params, (N, M))
    found, expected = parametric.vjp(params, G, chosen), alone.vjp(params, whole)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


def test_callback_cannot_change_parameters(waves, params):
    def spoil(given):
        values = waves(given)
        given["gains"][:] = 0
        return values

    before = params["gains"].copy()
    ParametricDictionary(Changed(waves, spoil), params, (N, M)).values(params)
    np.testing.assert_array_equal(params["gains"], before)


def test_factored_dictionaries_stay_factored(params):
    atoms, phases = np.ones((M, Q)), np.ones((K, N, Q))

    def function(params):
        return FactoredDictionary(atoms, phases)

    parametric = ParametricDictionary(function, {}, (N, M))
    assert parametric.kinds == {}
    for columns in (None, np.array([1, 2])):
        assert isinstance(parametric.values({}, columns), FactoredDictionary)
    atoms[0, 0] = np.nan
    with pytest.raises(NonFiniteDictionaryError, match="in 1 of 30 entries"):
        parametric.values({})


def assert_refused(error, message, dictionary, params, size=(N, M)):
    with pytest.raises(error, match=message):
        ParametricDictionary(dictionary, params, size)


def test_wrong_values(waves, params):
    cases = {
        r"must have shape \(n_groups, n_blocks=3, n_entries=6, n_columns\), got \(2, 3, 5, 5\)": (
            lambda p: waves(p)[:, :, :-1]
        ),
        r"must have shape \(n_groups, n_blocks, n_entries, n_columns\), got \(3, 6, 5\)": (
            lambda p: waves(p)[0]
        ),
        r"dictionary\(params\) must hold real or complex floats, got dtype int": (
            lambda p: np.ones((K, N, M, Q), int)
        ),
    }
    for message, call in cases.items():
        assert_refused(ValueError, message, Changed(waves, call), params)
    assert_refused(TypeError, "returned None", Changed(waves, lambda p: None), params)
    assert_refused(TypeError, "must be a function", 3, params)
    assert_refused(TypeError, "dictionary.jac must be a function", Changed(waves, jac=3), params)

    def spoilt(params):
        values = waves(params)
        values[0, 0, :2, 0] = np.inf
        return values

    message = r"dictionary\(params\) returned NaN or infinity in 2 of 180 entries"
    assert_refused(NonFiniteDictionaryError, message, Changed(waves, spoilt), params)


def test_shape_must_not_change(waves, params):
    parametric = ParametricDictionary(waves, params, (N, M))
    parametric.callback = lambda params: waves(params)[..., :-1]
    with pytest.raises(ValueError, match=r"n_groups=2, .*, n_columns=5\), got \(2, 3, 6, 4\)"):
        parametric.values(params)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("waves", np.zeros((6, 2)), r"'waves'\] of kind 'column' must have shape .* 5 columns"),
        ("waves", np.zeros((2, 2, 2)), r"'waves'\] of kind 'column' .* got \(2, 2, 2\)"),
        ("shifts", np.zeros(3), r"'shifts'\] of kind 'group' must have shape \(2,\) or \(2, p\)"),
        ("gains", np.ones((M, 1)), r"'gains'\] of kind 'shared' must have shape \(\) or \(p,\)"),
        ("loss", np.nan, r"params\['loss'\] must be finite"),
        ("loss", np.array(1j), r"params\['loss'\] must be real"),
    ],
)
def test_wrong_parameters(waves, params, name, value, message):
    assert_refused(
        ValueError,
        message,
        Changed(waves, lambda p: np.ones((K, N, M, Q))),
        {**params, name: value},
    )


def test_wrong_kinds(waves, params):
    def bare(params):
        return np.ones((K, N, M, Q))

    assert_refused(ValueError, "has no attribute kinds: .*'gains'", bare, params)
    assert_refused(
        ValueError, "kinds must be a dict with the names", Changed(waves, kinds=["a"]), params
    )
    kinds = waves.kinds | {"gains": "row"}
    message = r"kinds\['gains'\] must be one of column, group, shared, got 'row'"
    assert_refused(ValueError, message, Changed(waves, kinds=kinds), params)
    fewer = {name: kind for name, kind in waves.kinds.items() if name != "gains"}
    assert_refused(ValueError, "kinds must be a dict with", Changed(waves, kinds=fewer), params)
    parametric = ParametricDictionary(waves, params, (N, M))
    with pytest.raises(ValueError, match=r"params must have .*got"):
        parametric.values({"waves": params["waves"]})
    with pytest.raises(ValueError, match=r"params\['shifts'\] must have shape \(2,\), got \(3,\)"):
        parametric.values(params | {"shifts": np.zeros(3)})


def test_wrong_derivatives(examples, waves, params):
    def without(name):
        return lambda p: {key: value for key, value in waves.jac(p).items() if key != name}

    def with_(name, change):
        return lambda p: waves.jac(p) | {name: change(waves.jac(p)[name])}

    cases = {
        r"jac\(params\) must be a dict with .*'loss'.* got": without("loss"),
        r"jac\(params\)\['waves'\] must have shape \(2, 3, 6, 5, 2\), got \(2, 3, 6, 5\)": with_(
            "waves", lambda a: a[..., 0]
        ),
        r"jac\(params\)\['loss'\] must have shape \(2, 3, 6, 5\), got \(2, 3, 6, 5, 1\)": with_(
            "loss", lambda a: a[..., None]
        ),
        r"jac\(params\)\['gains'\] returned NaN": with_("gains", lambda a: a * np.nan),
    }
    for message, jac in cases.items():
        parametric = ParametricDictionary(Changed(waves, jac=jac), params, (N, M))
        with pytest.raises(ValueError, match=message):
            parametric.jac(params)
    alone = examples.VjpOnly(waves)
    G = np.ones((K, N, M, Q))
    good = alone.vjp(params, G)
    cases = {
        r"vjp\(params, G\)\['waves'\] must have shape \(4, 2\), got \(5, 2\)": np.zeros((5, 2)),
        r"vjp\(params, G\)\['waves'\] must be real": 1j * good["waves"],
        r"vjp\(params, G\)\['waves'\] returned NaN or infinity in 8 of 8": good["waves"] * np.nan,
    }
    for message, value in cases.items():
        alone.vjp = lambda p, G, value=value: good | {"waves": value}
        parametric = ParametricDictionary(alone, params, (N, M))
        with pytest.raises(ValueError, match=message):
            parametric.vjp(params, G)


def test_derivatives_that_steps_need(examples, waves, params):
    bare = ParametricDictionary(Changed(waves, jac=None), params, (N, M))
    with pytest.raises(ValueError, match=r"needs derivatives by .*'gains'.*or keep its parameters"):
        bare.require_derivatives("gradient")
    alone = ParametricDictionary(examples.VjpOnly(waves), params, (N, M))
    alone.require_derivatives("gradient")
    with pytest.raises(ValueError, match="has only vjp"):
        alone.require_derivatives("gauss_newton")
    fixed = ParametricDictionary(lambda params: np.ones((K, N, M, Q)), {}, (N, M))
    fixed.require_derivatives("gauss_newton")


def test_values_go_to_the_library_of_the_data(waves, params):
    like = array_api_strict.asarray(np.zeros(1))
    seen = []

    def function(params):  # computes on the host, whatever it is given
        seen.append(type(params["gains"]))
        return waves({name: np.asarray(value) for name, value in params.items()})

    parametric = ParametricDictionary(Changed(waves, function), params, (N, M), like=like)
    assert set(seen) == {type(like)}
    assert type(parametric.values(params).values) is type(like)


@pytest.mark.parametrize("is_complex", [True, False])
def test_right_derivatives_pass(examples, is_complex):
    waves = examples.Waves(is_complex)
    params = waves.draw(np.random.default_rng(1), n_columns=50)
    for dictionary in (waves, examples.VjpOnly(waves)):
        errors = check_dictionary_gradient(dictionary, params, random_state=0)
        assert errors.keys() == params.keys()
        assert max(errors.values()) <= 1e-6
    both = Changed(waves, vjp=examples.VjpOnly(waves).vjp)
    assert max(check_dictionary_gradient(both, params, random_state=1).values()) <= 1e-6


@pytest.mark.parametrize("name", ["waves", "shifts", "tilts", "gains", "loss"])
@pytest.mark.parametrize("fault", ["sign", "one entry", "zero", "scale"])
def test_wrong_derivatives_are_named(examples, waves, params, name, fault):
    def spoil(array):
        array = np.array(array)
        if fault == "one entry":
            array[np.unravel_index(np.argmax(np.abs(array)), array.shape)] *= 1.01
            return array
        return array * {"sign": -1, "zero": 0, "scale": 1.001}[fault]

    def jac(params):
        return waves.jac(params) | {name: spoil(waves.jac(params)[name])}

    message = rf"dictionary.jac disagrees with central differences .* by params\['{name}'\].*column"
    with pytest.raises(ValueError, match=message):
        check_dictionary_gradient(Changed(waves, jac=jac), params, random_state=0)
    alone = examples.VjpOnly(waves)
    right = alone.vjp
    alone.vjp = lambda p, G: right(p, G) | {name: spoil(right(p, G)[name])}
    message = rf"dictionary.vjp disagrees with central differences .* by params\['{name}'\]"
    with pytest.raises(ValueError, match=message):
        check_dictionary_gradient(alone, params, random_state=0)


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_parameters_of_any_scale(scale):
    """Delays in nanoseconds and frequencies in megahertz need other steps."""

    class Delays:
        kinds = {"delays": "column"}

        def __call__(self, params):
            return np.exp(1j * np.outer(np.arange(8), params["delays"] / scale))[None, None]

        def jac(self, params):
            return {"delays": 1j * np.arange(8)[:, None] / scale * self(params)}

    for delays in (scale * np.array([0.5, 2.0]), scale * np.array([300.0, 1e4]), np.zeros(2)):
        errors = check_dictionary_gradient(Delays(), {"delays": delays}, random_state=0)
        assert errors["delays"] <= 1e-5


def test_single_precision(waves, params):
    single = Changed(waves, lambda p: waves(p).astype(np.complex64))
    single.jac = lambda p: {n: np.asarray(a, np.complex64) for n, a in waves.jac(p).items()}
    assert max(check_dictionary_gradient(single, params, random_state=0).values()) <= 5e-3
    single.jac = lambda p: {n: 1.05 * np.asarray(a, np.complex64) for n, a in waves.jac(p).items()}
    with pytest.raises(ValueError, match=r"more than rtol=0\.00"):
        check_dictionary_gradient(single, params, random_state=0)


def test_a_kind_that_is_wrong_is_found():
    """A row that moves other columns, too, is no parameter of its column."""

    class Coupled:
        kinds = {"theta": "column"}

        def __call__(self, params):
            theta = params["theta"] + np.roll(params["theta"], 1)
            return np.exp(1j * np.outer(np.arange(6), theta))[None, None]

        def jac(self, params):
            return {"theta": 1j * np.arange(6)[:, None] * self(params)}

    with pytest.raises(ValueError, match=r"disagrees .* params\['theta'\]"):
        check_dictionary_gradient(Coupled(), {"theta": np.array([0.1, 0.2, 0.7])}, random_state=0)


def test_columns_that_are_not_those_of_the_whole(waves, params):
    class Shifted(type(waves)):
        def __call__(self, params, columns=None):
            return super().__call__(params, None if columns is None else (columns + 1) % Q)

    with pytest.raises(ValueError, match="must be those columns of dictionary"):
        check_dictionary_gradient(Shifted(), params, random_state=0)


def test_nothing_to_check(waves, params):
    with pytest.raises(ValueError, match="neither jac nor vjp"):
        check_dictionary_gradient(Changed(waves, jac=None), params)
    with pytest.raises(ValueError, match="params is empty"):
        check_dictionary_gradient(lambda params: np.ones((1, 1, 2, 2)), {})


def test_large_dictionaries_are_cheap(waves):
    params = waves.draw(np.random.default_rng(2), n_columns=2000)
    seen = []

    class Counting(type(waves)):
        def __call__(self, params, columns=None):
            seen.append(2000 if columns is None else len(columns))
            return super().__call__(params, columns)

    check_dictionary_gradient(Counting(), params, random_state=0)
    assert sum(count == 2000 for count in seen) <= 2
    assert max(count for count in seen if count != 2000) <= 32


@pytest.mark.parametrize("separate_sight", [False, True])
def test_dictionary_of_the_isac_scene(separate_sight):
    rng = np.random.default_rng(3)
    dictionary = IsacDictionary((3, 2), 4, separate_sight=separate_sight)
    params = {
        "positions": rng.uniform([-18, 32, 1], [18, 68, 9], (7, 3)),
        "users": rng.uniform([-10, 20, 1], [10, 40, 2], (2, 3)),
        "offsets": rng.uniform(-1, 1, 2),
    }
    errors = check_dictionary_gradient(dictionary, params, random_state=0)
    assert max(errors.values()) <= 1e-6
