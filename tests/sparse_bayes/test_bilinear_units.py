"""Units, dtypes and callbacks of bilinear models."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from sparseopt.sparse_bayes import BilinearSubspaceVBI, FactoredDictionary, IndependentSupport
from sparseopt.sparse_bayes._variational._bilinear_function import draw_starts

N_COLUMNS, ENTRIES = 12, 16
GRID = (np.arange(N_COLUMNS) + 0.5) / (2 * N_COLUMNS)
KNOWN = np.arange(6) < 2


def problem(dtype=float):
    """Return a dictionary of one group and two blocks, observations and signs."""
    rng = np.random.default_rng(0)
    Phi = rng.standard_normal((1, 2, 8, 10)) / np.sqrt(8)
    symbols = rng.choice([-1.0, 1.0], size=(1, 2, 6))
    response = Phi[0, :, :, 2] * 2 - Phi[0, :, :, 7] * 1.5
    Y = symbols[0][:, :, None] * response[:, None, :]
    return Phi, (Y + 0.05 * rng.standard_normal(Y.shape)).astype(dtype), symbols


def fit(dictionary, Y, symbols, *, size=1.0, **parameters):
    settings = {
        "constellation": [-size, size],
        "support_prior": IndependentSupport(),
        "n_init": 1,
        "max_iter": 40,
        "random_state": 0,
    }
    model = BilinearSubspaceVBI(dictionary, **settings | parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(Y, pilots=size * symbols, pilot_mask=KNOWN)


@pytest.mark.parametrize(("scale", "size"), [(3.0, 1.0), (64.0, 1.0), (1.0, 5.0), (1e-3, 1e2)])
def test_rates_are_in_units_of_squared_coefficients(scale, size):
    Phi, Y, symbols = problem()
    first = fit(Phi, Y, symbols, b=4.0, b0=1e-3)
    power = (scale / size) ** 2
    second = fit(Phi, Y * scale, symbols, size=size, b=4.0 * power, b0=1e-3 * power)
    assert_allclose(second.coef_, first.coef_ * scale / size, rtol=1e-8)
    assert_allclose(second.coef_variance_, first.coef_variance_ * power, rtol=1e-8)
    assert_allclose(second.noise_variance_, first.noise_variance_ * scale**2, rtol=1e-8)
    assert_allclose(second.response_, first.response_ * scale / size, rtol=1e-8)
    assert_allclose(second.symbols_, first.symbols_ * size, rtol=1e-8)
    assert_allclose(second.elbo_ + Y.size * np.log(scale), first.elbo_, rtol=1e-8)
    other = fit(Phi, Y * scale, symbols, size=size, b=400.0 * power)
    assert abs(other.elbo_[-1] - second.elbo_[-1]) > 1


@pytest.mark.parametrize("n_columns", [6, 12])
def test_few_columns(n_columns):
    # A probability of 0.05 expects less than one of them to be active.
    right = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((16, n_columns)) / 4
        active = np.sort(rng.choice(n_columns, 2, replace=False))
        weights = rng.choice([-1, 1], 2) * rng.uniform(1, 2, 2)
        symbols = rng.choice([-1.0, 1.0], (1, 1, 6))
        Y = symbols[0][:, :, None] * (X[:, active] @ weights)
        model = fit(X, Y + 0.05 * rng.standard_normal(Y.shape), symbols, n_init=2)
        right += np.array_equal(np.flatnonzero(model.support_proba_[0] > 0.5), active)
    assert right >= 5


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_single_precision_of_any_scale(scale):
    Phi, Y, symbols = problem()
    Y = (Y * scale).astype(np.float32)
    model = fit(Phi, Y, symbols)
    assert model.coef_.dtype == np.float32
    assert_allclose(model.transform(Y), symbols, atol=1e-6)
    assert_allclose(model.inverse_transform(symbols), Y, atol=0.3 * scale)


@pytest.mark.parametrize("kind", ["float16", "longdouble", "clongdouble"])
def test_other_precisions_become_double(kind):
    Phi, Y, symbols = problem(kind)
    model = fit(Phi, Y, symbols)
    assert model.coef_.dtype == (complex if kind.startswith("c") else float)
    assert np.array_equal(np.sign(model.transform(Y).real), symbols)


def test_real_data_in_a_complex_dtype_keep_it():
    Phi, Y, symbols = problem(complex)
    model = fit(Phi, Y, symbols)
    found = model.transform(Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = model.inverse_transform(found)
    assert found.dtype == again.dtype == model.coef_.dtype == model.response_.dtype == complex
    assert_allclose(again, Y, atol=0.3)


def test_complex_symbols_of_a_real_model_are_refused():
    Phi, Y, symbols = problem()
    model = fit(Phi, Y, symbols)
    assert_allclose(model.inverse_transform(symbols + 0j), model.inverse_transform(symbols))
    with pytest.raises(ValueError, match="symbols must be real"):
        model.inverse_transform(1j * symbols)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 1e200}, "the largest entry of X"),
        ({"scale": 1e-200}, "the largest entry of X"),
        ({"size": 1e200}, "symbols as large as"),
        ({"size": 1e-200}, "symbols as large as"),
        ({"noise_variance": 1e-30}, "noise_variance=1e-30 is too small"),
        ({"n_inner": 0}, "'n_inner' parameter"),
        ({"n_columns": 0}, "must have shape"),
        ({"support_prior": np.ones(3)}, "'support_prior' parameter"),
    ],
)
def test_what_is_out_of_range_is_named(changes, message):
    Phi, Y, symbols = problem()
    Y = Y * changes.pop("scale", 1.0)
    Phi = Phi[..., : changes.pop("n_columns", 10)]
    with pytest.raises(ValueError, match=message):
        fit(Phi, Y, symbols, **changes)


class Recorder:
    """Keeps coefficients of each iteration, and ends the fit after some."""

    def __init__(self, last):
        self.last, self.coefficients = last, []

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name.startswith("iteration"):
            self.coefficients.append(fitted_estimator.coef_)
        return len(self.coefficients) == self.last

    def teardown(self, estimator, context):
        pass


def test_callbacks_see_coefficients_and_stop():
    Phi, Y, symbols = problem()
    recorder = Recorder(7)
    model = BilinearSubspaceVBI(Phi, constellation=[-3, 3]).set_callbacks(recorder)
    model.fit(64 * Y, pilots=3 * symbols, pilot_mask=KNOWN)
    assert model.n_iter_ == len(recorder.coefficients) == 7
    assert not model.converged_
    assert_allclose(recorder.coefficients[-1], model.coef_)
    assert_allclose(model.history_["objective"], -model.elbo_)


class Tones:
    """Cosines whose frequencies are parameters; ``fault`` says how it misbehaves."""

    def __init__(self, fault=None):
        self.fault, self.kinds, self.memory = fault, {"f": "column"}, {}

    def _turns(self, params):
        return 2 * np.pi * np.arange(ENTRIES)[:, None] * params["f"]

    def _same_memory(self, name, values):
        self.memory.setdefault(name, np.empty_like(values))[...] = values
        return self.memory[name]

    def __call__(self, params):
        values = np.cos(self._turns(params))
        if self.fault == "same array":
            return self._same_memory("values", values)[None, None]
        if self.fault in ("factors", "same factors"):
            phases = 1 + params["f"][None, None]
            if self.fault == "same factors":
                phases = self._same_memory("phases", phases)
                values = self._same_memory("values", values)
            return FactoredDictionary(values, phases)
        if self.fault == "not finite off the grid" and np.any(params["f"] != GRID):
            values = values * np.nan
        return values[None, None]

    def jac(self, params):
        slope = -2 * np.pi * np.arange(ENTRIES)[:, None] * np.sin(self._turns(params))
        if self.fault in ("factors", "same factors"):
            slope = slope * (1 + params["f"]) + np.cos(self._turns(params))
        return {"f": slope[None, None]}


class Meddling(Tones):
    """Changes its arguments."""

    def __call__(self, params, columns=None):
        values = super().__call__(params)
        values = values if columns is None else values[..., columns]
        self._meddle(params, columns)
        return values

    def jac(self, params, columns=None):
        slope = super().jac(params)["f"]
        slope = slope if columns is None else slope[..., columns]
        self._meddle(params, columns)
        return {"f": slope}

    def _meddle(self, params, columns):
        params["f"][...] = 7.0
        if columns is not None:
            columns[...] = 0


def fit_tones(dictionary, **parameters):
    rng = np.random.default_rng(1)
    symbols = rng.choice([-1.0, 1.0], size=(1, 1, 6))
    row = Tones()({"f": GRID + 0.004})[0, 0][:, [2, 4]] @ [2.0, 1.5]
    Y = symbols[0][:, :, None] * row + 0.05 * rng.standard_normal((1, 6, ENTRIES))
    settings = {"params": {"f": GRID}, "param_std": {"f": 0.02}, "m_step_start": 3}
    return fit(dictionary, Y, symbols, **settings | parameters)


@pytest.mark.parametrize(
    ("dictionary", "faultless"),
    [
        (Tones("same array"), Tones()),
        (Tones("same factors"), Tones("factors")),
        (Meddling(), Tones()),
    ],
)
def test_callbacks_may_reuse_memory_and_change_arguments(dictionary, faultless):
    expected, found = fit_tones(faultless), fit_tones(dictionary)
    assert np.any(expected.params_["f"] != GRID)
    assert_allclose(found.elbo_, expected.elbo_)
    assert_allclose(found.params_["f"], expected.params_["f"])


def test_starts_without_a_finite_dictionary_are_left_out():
    dictionary = Tones("not finite off the grid")
    expected = fit_tones(dictionary, m_step=None, tol=0)
    found = fit_tones(dictionary, m_step_start=50, tol=0, n_init=4)
    assert_allclose(found.elbo_, expected.elbo_)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"params": {"f": GRID * 1j}}, r"params\['f'\] must hold real numbers"),
        ({"params": {"f": "a"}}, r"params\['f'\] must hold real numbers"),
        ({"params": {"f": [[1.0], [2.0, 3.0]]}}, r"params\['f'\] must hold real numbers"),
        ({"param_std": {"f": 1j}}, r"param_std\['f'\] must hold real numbers"),
        ({"param_std": {"f": np.ones(5)}}, r"param_std\['f'\] must be positive"),
        ({"param_std": {"f": 1e-300}}, r"param_std\['f'\] must be positive"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        fit_tones(Tones(), **parameters)


def test_starts_are_drawn_near_the_given_one():
    params = {"f": np.zeros(2000), "g": np.zeros(3)}
    prior = {"f": (params["f"], np.full(2000, 0.5)), "g": (params["g"], np.inf)}
    starts = [start for start, _ in draw_starts(params, prior, 3, np.random.RandomState(0))]
    assert len(starts) == 3
    assert starts[0] is params
    for start in starts[1:]:
        assert_allclose(start["f"].std(), 0.4 * 0.5, rtol=0.1)
        assert not start["g"].any()
    flat = {"g": (params["g"], np.inf)}
    assert len(list(draw_starts(params, flat, 5, np.random.RandomState(0)))) == 2


def test_screening_gives_another_start():
    Phi, Y, symbols = problem()
    bounds = [fit(Phi, Y, symbols, screening=share, max_iter=1).elbo_[0] for share in (None, 1.0)]
    assert bounds[1] > bounds[0] + 10
