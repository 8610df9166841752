"""The updates of bilinear models: golden trajectories, expectations, bounds."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sparseopt.sparse_bayes import IndependentSupport, JointSupport
from sparseopt.sparse_bayes._variational._bilinear_state import (
    BilinearModel,
    BilinearState,
    Observations,
    Refinement,
    Schedule,
)
from sparseopt.sparse_bayes._variational._design import BilinearDesign
from sparseopt.sparse_bayes._variational._dictionary import DenseDictionary
from sparseopt.sparse_bayes._variational._local_fit import dictionary_gradient, local_fit
from sparseopt.sparse_bayes._variational._precisions import GammaPrior
from sparseopt.sparse_bayes._variational._state import Settings, Start
from sparseopt.sparse_bayes._variational._symbols import (
    discrete_symbols,
    gaussian_symbols,
    initial_symbols,
)

DATA = Path(__file__).parents[1] / "data" / "sparse_bayes"
QPSK = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)
PRIOR = GammaPrior(1.0, 1.0, 1.0, 1e-5)


@pytest.fixture(scope="module")
def golden():
    return np.load(DATA / "bilinear.npz")


def golden_state(golden, mode, covariance="diag"):
    K, N = golden["Phi"].shape[:2]
    known = np.broadcast_to(golden["pilot"], (K, N, golden["pilot"].shape[1]))
    pilots = np.where(known, golden["d_true"], 0)
    observations = Observations(golden["y"], pilots, known, QPSK)
    if mode == "gauss":
        support, first = IndependentSupport(0.08, learn=False), 0.08
    else:
        support, first = JointSupport(0.1, visibility=0.8, leakage=1e-6, learn=False), 0.08
    return make_state(
        golden["Phi"],
        observations,
        support,
        Settings(PRIOR, covariance, n_inner=500),
        first,
        discrete=0 if mode == "disc" else None,
    )


def make_state(Phi, observations, support, settings, first, discrete=None):
    design = BilinearDesign(
        DenseDictionary(Phi),
        observations.Y,
        initial_symbols(observations.pilots, observations.known),
    )
    refinement = Refinement(None, {}, {})
    model = BilinearModel(None, observations, settings, refinement, Schedule(0, discrete, 0))
    start = Start(np.ones(design.shape), np.full(design.shape, first))
    return BilinearState(design, model, {}, support, start)


@pytest.mark.parametrize("mode", ["gauss", "disc"])
def test_trajectories_are_the_golden_ones(golden, mode):
    state = golden_state(golden, mode)
    bounds = []
    for iteration in range(1, 41):
        bounds.append(-state.step().objective)
        if iteration not in (1, 2, 40):
            continue
        rtol = 1e-4 if iteration == 40 else 1e-6
        found = {
            "mean": state.mean,
            "var": state.posterior.variance,
            "support": state.proba,
            "kappa": state.noise.mean,
            "dmean": state.symbols.mean,
        }
        for name, value in found.items():
            expected = golden[f"{mode}_{iteration}_{name}"]
            assert_allclose(value, expected, rtol=rtol, atol=rtol * np.abs(expected).max())
        if iteration == 2:
            assert_allclose(state.residual, golden[f"{mode}_2_resid"], rtol=1e-6)
            moments = state.local_moments(np.arange(24))
            fit = local_fit(golden["Phi"], moments)
            gradient = dictionary_gradient(fit, moments)
            expected = golden[f"{mode}_2_grad"]
            assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    if mode == "gauss":
        assert_allclose(bounds, golden["gauss_elbo"], rtol=1e-6)
        assert np.diff(bounds).min() >= -1e-9 * abs(bounds[-1])


def random_problem(seed, is_complex, K=2, N=3, L=6, M=8, Q=12):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        values = rng.standard_normal(shape)
        return (values + 1j * rng.standard_normal(shape)) / np.sqrt(2) if is_complex else values

    Phi = normal(K, N, M, Q) / np.sqrt(M * N)
    x = np.zeros((K, Q), Phi.dtype)
    x[:, [2, 7]] = 2 * normal(K, 2)
    d = rng.choice(QPSK if is_complex else np.array([-1.0, 1.0]), (K, N, L))
    y = np.einsum("knl,knmq,kq->nlm", d, Phi, x) + 0.05 * normal(N, L, M)
    known = np.zeros((K, N, L), bool)
    known[:, :, :2] = True
    known[0, 0, 3] = True  # of one group only
    values = QPSK if is_complex else np.array([-1.0, 1.0])
    return Phi, x, d, Observations(y, np.where(known, d, 0), known, values)


@pytest.mark.parametrize("is_complex", [True, False])
@pytest.mark.parametrize("discrete", [None, 0])
@pytest.mark.parametrize(
    "support", [IndependentSupport(0.1), JointSupport(0.1, visibility=0.8)], ids=repr
)
@pytest.mark.parametrize("covariance", ["diag", "full"])
@pytest.mark.parametrize("collapse", [False, True])
def test_bound_never_falls(is_complex, discrete, support, covariance, collapse):
    Phi, _, _, observations = random_problem(0, is_complex)
    settings = Settings(PRIOR, covariance, n_inner=3, collapse=collapse)
    state = make_state(Phi, observations, support, settings, 0.1, discrete)
    bounds = [-state.step().objective for _ in range(40)]
    assert np.diff(bounds).min() >= -1e-9 * abs(bounds[-1])


@pytest.mark.parametrize("is_complex", [True, False])
@pytest.mark.parametrize("discrete", [None, 0])
@pytest.mark.parametrize("covariance", ["subspace", "full"])
def test_expected_residual_is_that_of_samples(is_complex, discrete, covariance):
    Phi, _, _, observations = random_problem(1, is_complex)
    settings = Settings(PRIOR, covariance, n_inner=50, noise_variance=0.5)
    state = make_state(Phi, observations, IndependentSupport(0.1), settings, 0.1, discrete)
    for _ in range(3):
        state.step()
    rng = np.random.default_rng(2)
    samples = [sampled_residual(state, Phi, observations, rng) for _ in range(4000)]
    error = np.std(samples) / np.sqrt(len(samples))
    assert abs(np.mean(samples) - state.residual) < 4 * error


def sampled_residual(state, Phi, observations, rng):
    """Draw coefficients and symbols from the posterior, and return the squared residual."""
    is_complex = np.iscomplexobj(Phi)

    def normal(shape):
        values = rng.standard_normal(shape)
        return (values + 1j * rng.standard_normal(shape)) / np.sqrt(2) if is_complex else values

    posterior = state.posterior
    x = state.mean + np.sqrt(posterior.variance) * normal(state.mean.shape)
    if len(posterior.active):
        root = np.linalg.cholesky(posterior.block)
        x.flat[posterior.active] = state.mean.flat[posterior.active] + root @ normal(len(root))
    d = sample_symbols(state, observations, normal, rng)
    return np.sum(np.abs(observations.Y - np.einsum("knl,knmq,kq->nlm", d, Phi, x)) ** 2)


def sample_symbols(state, observations, normal, rng):
    known, symbols = observations.known, state.symbols
    if symbols.proba is not None:
        shape = symbols.mean.shape
        flat = symbols.proba.reshape(-1, len(observations.constellation))
        drawn = [rng.choice(observations.constellation, p=row / row.sum()) for row in flat]
        return np.where(known, observations.pilots, np.array(drawn).reshape(shape))
    d = np.array(symbols.mean)
    # The symbols of the last update: its covariances, pattern by pattern.
    precision = state.noise.mean
    for n, time in np.ndindex(known.shape[1:]):
        free = np.flatnonzero(~known[:, n, time])
        if len(free):
            moments = (state.design.products + state.design.spread)[n][np.ix_(free, free)]
            covariance = np.linalg.inv(np.eye(len(free)) + precision * moments)
            d[free, n, time] += np.linalg.cholesky(covariance) @ normal(len(free))
    return d


@pytest.mark.parametrize("is_complex", [True, False])
def test_gaussian_symbols_minimise_their_exponent(is_complex):
    Phi, x, _, observations = random_problem(3, is_complex)
    images = np.einsum("knmq,kq->nkm", Phi, x)
    products = images.conj() @ images.swapaxes(1, 2)
    scores = images.conj() @ observations.Y.swapaxes(1, 2)
    half = 1.0 if is_complex else 0.5
    found = gaussian_symbols(
        products, scores, 7.0, observations.pilots, observations.known, half
    ).mean
    fitted = np.einsum("knl,nkm->nlm", found, images)
    gradient = found - 7.0 * np.einsum("nkm,nlm->knl", images.conj(), observations.Y - fitted)
    assert_allclose(gradient[~observations.known], 0, atol=1e-10)
    assert_allclose(found[observations.known], observations.pilots[observations.known])


def test_discrete_symbols_equal_enumeration_for_one_group():
    Phi, x, _, observations = random_problem(4, True, K=1)
    images = np.einsum("knmq,kq->nkm", Phi, x)
    products = images.conj() @ images.swapaxes(1, 2)
    scores = images.conj() @ observations.Y.swapaxes(1, 2)
    start = np.zeros(observations.known.shape, complex)
    found = discrete_symbols(
        products, scores, 3.0, observations.pilots, observations.known, 1.0, QPSK, start
    )
    misfit = observations.Y[None] - QPSK[:, None, None, None] * images[None, :, 0, None, :]
    weights = np.exp(-3.0 * np.sum(np.abs(misfit) ** 2, axis=3))
    weights = np.moveaxis(weights / weights.sum(axis=0), 0, 2)
    free = ~observations.known[0]
    assert_allclose(found.proba[0][free], weights[free], rtol=1e-9, atol=1e-12)
    assert_allclose(found.mean[0][free], (weights @ QPSK)[free], rtol=1e-9, atol=1e-12)
    assert_allclose(found.proba[0][~free].max(axis=1), 1)


def test_all_symbols_known_is_the_linear_model():
    from sparseopt.sparse_bayes._variational._design import LinearDesign
    from sparseopt.sparse_bayes._variational._state import VariationalState

    Phi, _, d, observations = random_problem(5, True, K=1)
    known = np.ones_like(observations.known)
    observations = observations._replace(pilots=d, known=known)
    settings = Settings(PRIOR, "subspace", n_inner=100)
    state = make_state(Phi, observations, IndependentSupport(0.1), settings, 0.1)
    stacked = np.concatenate([symbol * Phi[0, n] for n, row in enumerate(d[0]) for symbol in row])
    design = LinearDesign(stacked, observations.Y.reshape(-1, 1))
    start = Start(np.ones(design.shape), np.full(design.shape, 0.1))
    linear = VariationalState(design, IndependentSupport(0.1), settings, start)
    for _ in range(20):
        bilinear_bound, linear_bound = -state.step().objective, -linear.step().objective
    assert_allclose(bilinear_bound, linear_bound, rtol=1e-9)
    assert_allclose(state.mean, linear.mean, rtol=1e-8, atol=1e-10)
    assert_allclose(state.proba, linear.proba, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("discrete", [None, 0])
def test_order_of_columns_groups_and_snapshots_does_not_matter(discrete):
    Phi, _, _, seen = random_problem(6, True)
    rng = np.random.default_rng(7)
    columns, snapshots = rng.permutation(12), rng.permutation(6)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)) + 1j * rng.standard_normal((8, 8)))[0]
    groups = np.arange(2) if discrete == 0 else np.array([1, 0])  # discrete sweeps have an order
    settings = Settings(PRIOR, "subspace", n_inner=50)
    state = make_state(Phi, seen, JointSupport(0.1), settings, 0.1, discrete)
    other = make_state(
        (rotation @ Phi)[groups][..., columns],
        seen._replace(
            Y=seen.Y[:, snapshots] @ rotation.T,
            pilots=seen.pilots[groups][..., snapshots],
            known=seen.known[groups][..., snapshots],
        ),
        JointSupport(0.1),
        settings,
        0.1,
        discrete,
    )
    for _ in range(10):
        bound, other_bound = state.step().objective, other.step().objective
    assert_allclose(other_bound, bound, rtol=1e-9)
    assert_allclose(other.mean, state.mean[groups][:, columns], rtol=1e-7, atol=1e-9)
    assert_allclose(other.symbols.mean, state.symbols.mean[groups][..., snapshots], atol=1e-7)
