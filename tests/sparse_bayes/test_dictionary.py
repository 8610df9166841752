import array_api_strict
import numpy as np
import pytest

from sparseopt.sparse_bayes import FactoredDictionary
from sparseopt.sparse_bayes._variational._dictionary import DenseDictionary

K, N, M, Q = 3, 4, 5, 7


def draw(rng, *shape, dtype=complex):
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if dtype is complex else values


def make(kind, dtype, rng):
    """Return a dictionary and its entries (K, N, M, Q)."""
    if kind == "dense":
        values = draw(rng, K, N, M, Q, dtype=dtype)
        return DenseDictionary(values), values
    shape = (M, Q) if kind == "shared atoms" else (N, M, Q)
    atoms, phases = draw(rng, *shape, dtype=dtype), draw(rng, K, N, Q, dtype=dtype)
    return FactoredDictionary(atoms, phases), atoms * phases[:, :, None, :]


KINDS = ["dense", "shared atoms", "atoms of blocks"]
DTYPES = [float, complex]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_entries(kind, dtype):
    rng = np.random.default_rng(0)
    dictionary, values = make(kind, dtype, rng)
    v, t = draw(rng, K, Q, dtype=dtype), draw(rng, K, N, M, dtype=dtype)
    assert dictionary.shape == values.shape
    assert dictionary.dtype == values.dtype
    np.testing.assert_allclose(
        dictionary.forward(v), np.einsum("knmq,kq->knm", values, v), rtol=1e-12
    )
    np.testing.assert_allclose(
        dictionary.adjoint(t), np.einsum("knmq,knm->kq", values.conj(), t), rtol=1e-12
    )
    norms = dictionary.squared_norms()
    assert norms.dtype == float
    np.testing.assert_allclose(norms, np.sum(np.abs(values) ** 2, axis=2), rtol=1e-12)
    basis = draw(rng, M, 2, dtype=dtype)
    projected = np.einsum("mr,knmq->knrq", basis.conj(), values)
    np.testing.assert_allclose(
        dictionary.projected_norms(basis), np.sum(np.abs(projected) ** 2, axis=2), rtol=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_columns_can_be_repeated_and_in_any_order(kind):
    dictionary, values = make(kind, complex, np.random.default_rng(1))
    chosen = np.array([5, 0, 0, 3])
    np.testing.assert_allclose(dictionary.columns(chosen), values[..., chosen], rtol=1e-14)
    part = dictionary.take(chosen)
    assert type(part) is type(dictionary)
    assert part.shape == (K, N, M, 4)
    np.testing.assert_allclose(part.columns(np.arange(4)), values[..., chosen], rtol=1e-14)
    empty = dictionary.take(np.array([], dtype=int))
    assert empty.shape == (K, N, M, 0)
    assert np.all(empty.forward(np.zeros((K, 0))) == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_any_array_library(kind):
    rng = np.random.default_rng(2)
    dictionary, values = make(kind, complex, rng)
    strict = array_api_strict.asarray
    if kind == "dense":
        other = DenseDictionary(strict(values))
    else:
        other = FactoredDictionary(strict(dictionary.atoms), strict(dictionary.phases))
    v, t, chosen = draw(rng, K, Q), draw(rng, K, N, M), np.array([1, 4])
    pairs = [
        (other.forward(strict(v)), dictionary.forward(v)),
        (other.adjoint(strict(t)), dictionary.adjoint(t)),
        (other.squared_norms(), dictionary.squared_norms()),
        (other.columns(chosen), dictionary.columns(chosen)),
        (other.take(chosen).squared_norms(), dictionary.squared_norms()[..., chosen]),
    ]
    for found, expected in pairs:
        assert type(found) is type(strict(0))
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_stays(kind):
    rng = np.random.default_rng(3)
    dictionary, values = make(kind, complex, rng)
    if kind == "dense":
        single = DenseDictionary(values.astype(np.complex64))
    else:
        single = FactoredDictionary(
            dictionary.atoms.astype(np.complex64), dictionary.phases.astype(np.complex64)
        )
    v = draw(rng, K, Q).astype(np.complex64)
    assert single.forward(v).dtype == np.complex64
    assert single.squared_norms().dtype == np.float32
    np.testing.assert_allclose(single.forward(v), dictionary.forward(v), rtol=1e-4)


def test_real_atoms_with_complex_phases():
    rng = np.random.default_rng(4)
    atoms, phases = rng.standard_normal((M, Q)), draw(rng, K, N, Q)
    dictionary = FactoredDictionary(atoms, phases)
    assert dictionary.dtype == np.complex128
    np.testing.assert_allclose(
        dictionary.columns(np.arange(Q)), atoms * phases[:, :, None, :], rtol=1e-14
    )


@pytest.mark.parametrize(
    ("atoms", "phases", "message"),
    [
        ((M,), (K, N, Q), r"atoms must have shape .* got \(5,\)"),
        ((M, Q), (N, Q), r"phases must have shape \(n_groups, n_blocks, 7\).* got \(4, 7\)"),
        ((M, Q), (K, N, Q + 1), r"phases must have shape .* got \(3, 4, 8\)"),
        ((N + 1, M, Q), (K, N, Q), "are those of 5 blocks, but phases .* have 4"),
    ],
)
def test_shapes_that_do_not_fit(atoms, phases, message):
    with pytest.raises(ValueError, match=message):
        FactoredDictionary(np.ones(atoms), np.ones(phases))


def test_entries_must_be_floats():
    with pytest.raises(ValueError, match="atoms must hold real or complex floats, got dtype int"):
        FactoredDictionary(np.ones((M, Q), int), np.ones((K, N, Q)))
    with pytest.raises(ValueError, match="phases must hold real or complex floats"):
        FactoredDictionary(np.ones((M, Q)), np.ones((K, N, Q), int))
    with pytest.raises(ValueError, match="a dictionary must hold real or complex floats"):
        DenseDictionary(np.ones((K, N, M, Q), int))
    with pytest.raises(ValueError, match=r"got \(5, 7\)"):
        DenseDictionary(np.ones((M, Q)))
