"""Sparse tensors behind Kronecker-structured dictionaries, random and of radio channels."""

import pickle
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sparseopt.datasets import make_irs_mimo_channel, make_kronecker_sparse

DATA = Path(__file__).parents[1] / "data" / "sparse_bayes"
SMALL = {"n_receive": 8, "n_transmit": 4, "n_elements": 64, "n_grid": 10, "n_patterns": 5}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kron_real", {"n_nonzero": (2, 3, 2), "snr": 20.0, "random_state": 100}),
        (
            "kron_complex",
            {"n_nonzero": (2, 2, 3), "snr": 25.0, "complex_data": True, "random_state": 102},
        ),
    ],
)
def test_reference_problems(name, options):
    reference = np.load(DATA / f"{name}.npz")
    problem = make_kronecker_sparse((10, 10, 10), (6, 7, 8), **options)
    for number, factor in enumerate(problem.factors, start=1):
        assert_array_equal(factor, reference[f"A{number}"])
    assert_allclose(problem.coef.ravel(), reference["x_true"], rtol=1e-14)
    assert_allclose(problem.y, reference["y"], rtol=1e-12, atol=1e-13)
    assert problem.noise_variance == pytest.approx(float(reference["noise_var"]), rel=1e-14)


@pytest.mark.parametrize("complex_data", [False, True])
@pytest.mark.parametrize("n_targets", [None, 3])
@pytest.mark.parametrize(
    ("n", "m", "sizes"),
    [((12,), (7,), (3,)), ((6, 5), (9, 3), (2, 4)), ((3, 4, 2, 5), (2, 3, 4, 2), (1, 2, 2, 5))],
)
def test_measurements_are_a_kronecker_product(n, m, sizes, n_targets, complex_data):
    for separable in (False, True):
        problem = make_kronecker_sparse(
            n,
            m,
            n_nonzero=sizes,
            separable=separable,
            n_targets=n_targets,
            snr=None,
            complex_data=complex_data,
            random_state=0,
        )
        columns = () if n_targets is None else (n_targets,)
        assert [factor.shape for factor in problem.factors] == list(zip(m, n))
        assert problem.coef.shape == n + columns
        assert problem.y.shape == (np.prod(m), *columns)
        assert problem.coef.dtype == problem.y.dtype == (complex if complex_data else float)
        dictionary = reduce(np.kron, problem.factors)
        flat = problem.coef.reshape(np.prod(n), *columns)
        assert_allclose(problem.y, dictionary @ flat, rtol=1e-11, atol=1e-12)
        assert problem.noise_variance == 0
        assert [int(support.sum()) for support in problem.supports] == list(sizes)
        on = reduce(np.multiply.outer, problem.supports)
        expected = on if n_targets is None else np.repeat(on[..., None], 3, axis=-1)
        assert_array_equal(problem.coef != 0, expected)


def test_values():
    options = {"n_nonzero": 4, "n_targets": 2, "random_state": 3}
    separable = make_kronecker_sparse((9, 8, 7), (4, 4, 4), **options).coef
    independent = make_kronecker_sparse((9, 8, 7), (4, 4, 4), separable=False, **options).coef
    for target in range(2):
        assert np.linalg.matrix_rank(separable[..., target].reshape(9, 56)) == 1
        assert np.linalg.matrix_rank(independent[..., target].reshape(9, 56)) == 4
    first, second = np.moveaxis(separable, -1, 0)
    assert not np.allclose(first / np.linalg.norm(first), second / np.linalg.norm(second))


@pytest.mark.parametrize("complex_data", [False, True])
def test_noise_has_the_stated_level(complex_data):
    options = {"complex_data": complex_data, "random_state": 1}
    clean = make_kronecker_sparse((9, 9), (70, 80), snr=None, **options)
    noisy = make_kronecker_sparse((9, 9), (70, 80), snr=12.0, **options)
    assert_array_equal(clean.coef, noisy.coef)
    noise = noisy.y - clean.y
    assert noisy.noise_variance == pytest.approx(np.mean(abs(clean.y) ** 2) / 10**1.2)
    assert np.mean(abs(noise) ** 2) == pytest.approx(noisy.noise_variance, rel=0.06)
    if complex_data:
        assert np.mean(noise.real**2) == pytest.approx(noisy.noise_variance / 2, rel=0.08)
        assert abs(np.mean(noise**2)) < 0.06 * noisy.noise_variance


def test_random_states_of_the_tensor():
    first, again, other = (
        make_kronecker_sparse((4, 5), (3, 3), n_nonzero=2, random_state=state)
        for state in (0, np.random.default_rng(0), 1)
    )
    assert_array_equal(first.y, again.y)
    assert not np.array_equal(first.y, other.y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": ()}, "input_shape must hold one integer >= 1"),
        ({"input_shape": (3, 0)}, r"input_shape must hold .* got \(3, 0\)"),
        ({"output_shape": (2, 2.5)}, "output_shape must hold"),
        ({"output_shape": (2, 2, 2)}, "same length, .* got 2 and 3"),
        ({"n_nonzero": 5}, r"at most input_shape=\(4, 5\), got 5"),
        ({"n_nonzero": (1, 2, 3)}, "n_nonzero must have one entry a factor"),
        ({"n_nonzero": 0}, "n_nonzero"),
        ({"n_nonzero": (0, 1)}, "n_nonzero must hold"),
        ({"n_targets": 0}, "n_targets"),
        ({"snr": np.inf}, "snr"),
        ({"snr": "high"}, "snr"),
        ({"complex_data": 2}, "complex_data"),
        ({"random_state": "seed"}, "random_state"),
    ],
)
def test_bad_parameters_of_the_tensor(options, message):
    good = {"input_shape": (4, 5), "output_shape": (3, 3), "n_nonzero": 2}
    with pytest.raises(ValueError, match=message):
        make_kronecker_sparse(**good | options)


def test_reference_channel():
    reference = np.load(DATA / "irs_small.npz")
    scene = make_irs_mimo_channel(**SMALL, snr=15.0, random_state=0)
    names = {"pilots": "X", "patterns": "W", "incoming": "H1", "outgoing": "H2", "y": "y"}
    for name, published in names.items():
        scale = np.abs(reference[published]).max()
        assert_allclose(scene[name], reference[published], rtol=0, atol=1e-13 * scale)
    for number, factor in enumerate(scene.factors, start=1):
        assert_allclose(factor, reference[f"A{number}"], rtol=0, atol=1e-14)
    assert scene.noise_variance == pytest.approx(float(reference["noise_var"]), rel=1e-13)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("angle_spread", [1, 3, 10])
def test_signal_is_in_the_range_of_the_dictionary(seed, angle_spread):
    scene = make_irs_mimo_channel(**SMALL, angle_spread=angle_spread, snr=None, random_state=seed)
    dictionary = reduce(np.kron, scene.factors)
    error = np.linalg.norm(dictionary @ scene.coef.ravel() - scene.y)
    # Many angles can cancel, and then the terms, not the sum, bound what rounding does.
    terms = scene.y if angle_spread <= 3 else np.abs(dictionary) @ np.abs(scene.coef.ravel())
    assert error <= 2e-14 * np.linalg.norm(terms)
    # An independent way to the same signal: matrix by matrix, as the receiver sees it.
    received = [
        (scene.outgoing @ np.diag(pattern) @ scene.incoming @ scene.pilots).ravel(order="F")
        for pattern in scene.patterns.T
    ]
    assert_allclose(scene.y, np.concatenate(received), rtol=1e-10, atol=1e-12)
    assert scene.noise_variance == 0


def test_channel_factors_and_error():
    scene = make_irs_mimo_channel(**SMALL, random_state=2)
    truth = [scene.outgoing @ np.diag(w) @ scene.incoming for w in scene.patterns.T]
    assert_allclose(scene.channels, [matrix.T for matrix in truth], rtol=1e-10, atol=1e-11)
    product = reduce(np.kron, scene.channel_factors) @ scene.coef.ravel()
    assert_allclose(product.reshape(scene.channels.shape), scene.channels, rtol=0, atol=1e-11)
    assert scene.channel_nmse(scene.coef) < 1e-25
    assert scene.channel_nmse(0 * scene.coef) == 1
    assert scene.channel_nmse(1.1 * scene.coef.ravel()) == pytest.approx(0.01)
    # Every configuration counts as much as any other, however weak its channel is.
    guess = scene.coef + np.eye(10)[:, :, None] * (1 + 0.5j)
    estimate = (reduce(np.kron, scene.channel_factors) @ guess.ravel()).reshape(5, 4, 8)
    ratios = [
        np.linalg.norm(a - b.T) ** 2 / np.linalg.norm(b) ** 2 for a, b in zip(estimate, truth)
    ]
    assert scene.channel_nmse(guess) == pytest.approx(np.mean(ratios))


@pytest.mark.parametrize("published", ["am", "svd", "csbl", "pcsbl"])
def test_error_of_published_channels(published):
    # The published estimates are channels; the projection on the factors loses nothing of them.
    reference = np.load(DATA / "irs_small.npz")
    scene = make_irs_mimo_channel(**SMALL, snr=15.0, random_state=0)
    channels = reference[f"Hvec_{published}"].T.reshape(5, 4, 8)
    dictionary = reduce(np.kron, scene.channel_factors)
    coef, *_ = np.linalg.lstsq(dictionary, channels.ravel(), rcond=None)
    expected = float(reference[f"nmse_{published}"])
    assert scene.channel_nmse(coef) == pytest.approx(expected, rel=1e-8)


def test_structure_of_the_channel():
    scene = make_irs_mimo_channel(n_grid=12, angle_spread=4, random_state=5)
    assert [factor.shape for factor in scene.factors] == [(6, 12), (3, 12), (16, 12)]
    assert [int(support.sum()) for support in scene.supports] == [4, 1, 4]
    for support in (scene.supports[0], scene.supports[2]):
        assert np.sum(support & ~np.roll(support, 1)) == 1  # one block of the circle
    assert np.linalg.matrix_rank(scene.coef.reshape(12, 144)) == 1
    assert_array_equal(scene.coef != 0, reduce(np.multiply.outer, scene.supports))
    assert_allclose(np.abs(scene.pilots), 1 / np.sqrt(6))
    assert_allclose(np.linalg.norm(scene.patterns, axis=0), 1)
    assert np.linalg.matrix_rank(scene.incoming) == np.linalg.matrix_rank(scene.outgoing) == 1
    assert_allclose(np.linalg.norm(scene.factors[2], axis=0), 1)


def test_every_channel_is_seen():
    # Signs cancel now and then: of two antennas, for one pilot, in a quarter of the cases.
    for seed in range(60):
        scene = make_irs_mimo_channel(
            2, 2, 4, n_grid=4, n_pilots=1, n_patterns=3, angle_spread=1, random_state=seed
        )
        power = np.sum(np.abs(scene.channels) ** 2, axis=(1, 2))
        assert power.min() > 1e-6 * power.max()
        assert scene.noise_variance > 1e-8 * np.sum(np.abs(scene.coef) ** 2)
        assert_allclose(np.abs(scene.pilots), 1 / np.sqrt(2))
        assert_allclose(np.abs(scene.patterns), 1 / 2)
        assert scene.channel_nmse(2 * scene.coef) == pytest.approx(1)


def test_noise_of_the_channel():
    clean, noisy = (
        make_irs_mimo_channel(n_pilots=40, n_patterns=20, snr=snr, random_state=0)
        for snr in (None, 8.0)
    )
    assert_array_equal(clean.coef, noisy.coef)
    assert noisy.noise_variance == pytest.approx(np.mean(abs(clean.y) ** 2) / 10**0.8)
    assert np.mean(abs(noisy.y - clean.y) ** 2) == pytest.approx(noisy.noise_variance, rel=0.05)


def test_scene_is_pickled():
    scene = make_irs_mimo_channel(**SMALL, random_state=0)
    restored = pickle.loads(pickle.dumps(scene))
    assert_array_equal(restored.y, scene.y)
    assert restored.channel_nmse(2 * scene.coef) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"angle_spread": 11}, "angle_spread must be at most n_grid=10, got 11"),
        ({"angle_spread": 0}, "angle_spread"),
        ({"n_receive": 0}, "n_receive"),
        ({"n_pilots": 1.5}, "n_pilots"),
        ({"snr": np.nan}, "snr"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_parameters_of_the_channel(options, message):
    with pytest.raises(ValueError, match=message):
        make_irs_mimo_channel(**SMALL | options)
