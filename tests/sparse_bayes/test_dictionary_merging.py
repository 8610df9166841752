import array_api_strict
import numpy as np
import pytest

from sparseopt.sparse_bayes import FactoredDictionary
from sparseopt.sparse_bayes._variational._dictionary import DenseDictionary
from sparseopt.sparse_bayes._variational._merging import merge_columns
from sparseopt.sparse_bayes._variational._screening import screen_columns, signal_rank

KINDS = {"waves": "column", "shifts": "group"}


def waves(frequencies, n_groups=2, n_blocks=3, n_entries=16):
    """Return waves, the phases of whose groups differ at random."""
    turns = np.exp(1j * np.multiply.outer(np.arange(n_entries), frequencies))
    rng = np.random.default_rng(5)
    phases = np.exp(1j * rng.uniform(0, 6, (n_groups, 1, 1, len(frequencies))))
    blocks = np.exp(1j * np.multiply.outer(np.arange(n_blocks), frequencies))[:, None, :]
    return turns * phases * blocks


def state(frequencies, columns, n_columns=8):
    rng = np.random.default_rng(6)
    mean = np.zeros((2, n_columns), complex)
    mean[:, columns] = rng.standard_normal((2, len(columns), 2)) @ [1, 1j]
    rho, proba = np.full((2, n_columns), 1e5), np.full((2, n_columns), 0.01)
    rho[:, columns], proba[:, columns] = rng.uniform(0.5, 2, (2, 2, len(columns)))
    proba[:, columns] = rng.uniform(0.6, 1, (2, len(columns)))
    initial = {"waves": np.linspace(0, 1, n_columns - 1), "shifts": np.zeros(2)}
    params = {name: value.copy() for name, value in initial.items()}
    own = columns < n_columns - 1
    params["waves"][columns[own]] = np.asarray(frequencies)[own]
    return mean, rho, proba, params, initial


def merge(frequencies, columns, change=lambda mean: mean, coherence=0.98, kinds=KINDS):
    values, columns = waves(frequencies), np.asarray(columns)
    mean, *rest = state(frequencies, columns)
    mean = change(mean)
    merged = merge_columns(
        values, columns, mean, *rest, kinds, coherence=coherence, idle_precision=1e5
    )
    return values, mean, rest, merged


def strong(column):
    def change(mean):
        mean[:, column] *= 100
        return mean

    return change


def test_equal_columns_become_one_and_the_response_stays():
    frequencies, columns = [0.3, 0.7, 0.3, 1.1], [1, 2, 4, 5]
    values, mean, (rho, proba, params, initial), merged = merge(frequencies, columns, strong(4))
    np.testing.assert_array_equal(merged.pairs, [[4, 1]])
    response = np.einsum("knmc,kc->knm", values, mean[:, columns])
    after = np.einsum("knmc,kc->knm", values, merged.mean[:, columns])
    np.testing.assert_allclose(after, response, rtol=1e-10)
    assert np.all(merged.mean[:, 1] == 0)
    assert np.all(merged.proba[:, 1] == 0)
    assert np.all(merged.rho[:, 1] == 1e5)
    np.testing.assert_array_equal(merged.rho[:, 4], np.minimum(rho[:, 1], rho[:, 4]))
    np.testing.assert_array_equal(merged.proba[:, 4], np.maximum(proba[:, 1], proba[:, 4]))
    assert merged.params["waves"][1] == initial["waves"][1]
    assert merged.params["waves"][4] == 0.3
    others = [2, 5]
    np.testing.assert_array_equal(merged.mean[:, others], mean[:, others])
    np.testing.assert_array_equal(merged.params["waves"][others], params["waves"][others])


def test_inputs_stay_as_they_were():
    frequencies, columns = [0.3, 0.3], np.array([1, 4])
    given = state(frequencies, columns)
    mean, rho, proba, params = given[:4]
    copies = mean.copy(), rho.copy(), proba.copy(), params["waves"].copy()
    merge_columns(waves(frequencies), columns, *given, KINDS, coherence=0.9, idle_precision=1e5)
    for value, copy in zip((mean, rho, proba, params["waves"]), copies, strict=True):
        np.testing.assert_array_equal(value, copy)


def test_different_columns_stay():
    _, mean, (rho, _, params, _), merged = merge([0.3, 0.5, 0.9], [1, 2, 4])
    assert merged.pairs.shape == (0, 2)
    assert merged.mean is mean
    assert merged.rho is rho
    assert merged.params is params


def test_coherence_is_the_limit():
    near = [0.3, 0.33]
    values = waves(near)
    product = np.abs(np.einsum("knm,knm->k", values[..., 0].conj(), values[..., 1])).sum()
    coherence = product / np.linalg.norm(values[..., 0]) / np.linalg.norm(values[..., 1])
    assert 0.9 < coherence < 0.999
    assert len(merge(near, [1, 2], coherence=coherence - 1e-6)[3].pairs) == 1
    assert len(merge(near, [1, 2], coherence=coherence + 1e-6)[3].pairs) == 0


@pytest.mark.parametrize("strongest", [1, 7])
def test_columns_without_parameters_are_kept(strongest):
    """Column 7 has no row; it takes over even a stronger column."""
    _, _, _, merged = merge([0.3, 0.3], [1, 7], strong(strongest))
    np.testing.assert_array_equal(merged.pairs, [[7, 1]])
    assert merged.proba[0, 7] > 0.5


def test_columns_of_a_fixed_grid_stay():
    _, _, _, merged = merge([0.3, 0.3], [1, 4], kinds={"waves": "shared", "shifts": "group"})
    assert len(merged.pairs) == 0


def test_many_columns_at_one_place():
    frequencies, columns = [0.3] * 4, [1, 2, 4, 5]
    values, mean, _, merged = merge(frequencies, columns, strong(2))
    assert set(merged.pairs[:, 0]) == {2}
    assert sorted(merged.pairs[:, 1]) == [1, 4, 5]
    response = np.einsum("knmc,kc->knm", values, mean[:, columns])
    after = np.einsum("knmc,kc->knm", values, merged.mean[:, columns])
    np.testing.assert_allclose(after, response, rtol=1e-10)


def test_a_column_of_zeros_is_like_no_other():
    values, columns = waves([0.3, 0.3]), np.array([1, 4])
    values[..., 1] = 0
    given = state([0.3, 0.3], columns)
    merged = merge_columns(values, columns, *given, KINDS, coherence=0.5, idle_precision=1.0)
    assert len(merged.pairs) == 0


def test_merging_in_any_array_library():
    strict = array_api_strict.asarray
    frequencies, columns = [0.3, 0.7, 0.3], np.array([1, 2, 4])
    mean, *rest = state(frequencies, columns)
    arguments = {"coherence": 0.98, "idle_precision": 1e5}
    expected = merge_columns(waves(frequencies), columns, mean, *rest, KINDS, **arguments)
    found = merge_columns(
        strict(waves(frequencies)), columns, strict(mean), *rest, KINDS, **arguments
    )
    assert type(found.mean) is type(strict(0))
    np.testing.assert_allclose(np.asarray(found.mean), expected.mean, rtol=1e-12)


def draw_signals(rng, atoms, sources, shape, noise, is_complex=True):
    def normal(*shape):
        values = rng.standard_normal(shape)
        return values + 1j * rng.standard_normal(shape) if is_complex else values

    strength = normal(*shape, len(sources))
    return strength @ atoms[:, sources].T + noise * normal(*shape, len(atoms))


@pytest.mark.parametrize("is_complex", [True, False])
@pytest.mark.parametrize("n_signals", [0, 1, 3, 6])
def test_rank_of_signals(is_complex, n_signals):
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(20):
        atoms = rng.standard_normal((10, n_signals))
        Y = draw_signals(rng, atoms, np.arange(n_signals), (8, 50), 0.1, is_complex)
        flat = Y.reshape(-1, 10)
        eigenvalues = np.linalg.eigvalsh(flat.T @ flat.conj() / len(flat))
        hits += signal_rank(eigenvalues, len(flat), 1.0 if is_complex else 0.5) == n_signals
    assert hits >= 18


def test_rank_without_noise_or_data():
    rng = np.random.default_rng(8)
    flat = rng.standard_normal((100, 4)) @ rng.standard_normal((4, 9))
    assert signal_rank(np.linalg.eigvalsh(flat.T @ flat), 100, 0.5) == 4
    few = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 9))
    assert signal_rank(np.linalg.eigvalsh(few.T @ few), 6, 0.5) == 2
    assert signal_rank(np.zeros(5), 10) == 0
    assert signal_rank(np.array([2.0]), 10) == 0


def array_dictionaries(n_columns=64, n_entries=12):
    sines = np.linspace(-1, 1, n_columns, endpoint=False)
    atoms = np.exp(1j * np.pi * np.outer(np.arange(n_entries), sines))
    rng = np.random.default_rng(9)
    phases = np.exp(1j * rng.uniform(0, 6, (2, 3, n_columns)))
    factored = FactoredDictionary(atoms, phases)
    return atoms, factored, DenseDictionary(factored.columns(np.arange(n_columns)))


def test_spectrum_peaks_at_the_sources():
    atoms, factored, dense = array_dictionaries()
    sources = [5, 20, 41]
    Y = draw_signals(np.random.default_rng(10), atoms, sources, (3, 100), 0.03)
    found = screen_columns(Y, factored)
    assert found.rank == 3
    assert sorted(np.argsort(found.spectrum)[-3:]) == sources
    flat = Y.reshape(-1, 12)
    vectors = np.linalg.eigh(flat.T @ flat.conj())[1][:, :-3]
    music = 12 / np.sum(np.abs(vectors.conj().T @ atoms) ** 2, axis=0)
    np.testing.assert_allclose(found.spectrum, music, rtol=1e-9)
    np.testing.assert_allclose(screen_columns(Y, dense).spectrum, music, rtol=1e-9)
    assert len(found.columns) == 32
    assert np.all(np.diff(found.columns) > 0)
    assert set(sources) <= set(found.columns)
    worst = np.setdiff1d(np.arange(64), found.columns)
    assert found.spectrum[worst].max() <= found.spectrum[found.columns].min()


@pytest.mark.parametrize(("share", "n_kept"), [(0.05, 4), (1e-9, 1), (1.0, 64)])
def test_share_of_columns(share, n_kept):
    atoms, factored, _ = array_dictionaries()
    Y = draw_signals(np.random.default_rng(11), atoms, [5, 20], (3, 30), 0.1)
    assert len(screen_columns(Y, factored, share=share).columns) == n_kept


def test_all_columns_stay_without_a_noise_subspace():
    atoms, factored, _ = array_dictionaries()
    Y = draw_signals(np.random.default_rng(12), atoms, [5, 20], (3, 30), 0.1)
    for rank in (0, 12):
        found = screen_columns(Y, factored, rank=rank)
        np.testing.assert_array_equal(found.columns, np.arange(64))
    single = FactoredDictionary(np.ones((1, 5)), np.ones((1, 1, 5)))
    assert len(screen_columns(np.ones((1, 9, 1)), single).columns) == 5
    assert len(screen_columns(np.zeros((3, 9, 12), complex), factored).columns) == 64


def test_screening_in_any_array_library():
    atoms, factored, dense = array_dictionaries()
    strict = array_api_strict.asarray
    Y = draw_signals(np.random.default_rng(13), atoms, [5, 20], (3, 30), 0.1)
    other = FactoredDictionary(strict(factored.atoms), strict(factored.phases))
    for dictionary in (other, DenseDictionary(strict(dense.values))):
        found, expected = screen_columns(strict(Y), dictionary), screen_columns(Y, factored)
        np.testing.assert_array_equal(found.columns, expected.columns)
        np.testing.assert_allclose(found.spectrum, expected.spectrum, rtol=1e-9)
