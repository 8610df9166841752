"""Priors of the support against enumeration of all supports, and against reference data."""

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, logsumexp
from sklearn.base import clone

from sparseopt.sparse_bayes import (
    GridMRFSupport,
    IndependentSupport,
    JointSupport,
    MarkovChainSupport,
)
from sparseopt.sparse_bayes._variational._support_messages import (
    Grid,
    grid_neighbours,
    learn_chain,
)

REFERENCE = Path(__file__).parents[1] / "data" / "sparse_bayes" / "messages.npz"
CHAIN = {"p01": 0.1, "p10": 0.3}
EXACT_GRID = {"probability": 0.2, "coupling": 1.3, "max_sweeps": 200, "tol": 1e-15}
# What the enumeration covers; (K, Q) = (2, 5).
TREES = {
    "independent": IndependentSupport([[0.1], [0.3]]),
    "joint": JointSupport(0.2, 0.7, leakage=0.01),
    "joint arrays": JointSupport([0.1, 0.2, 0.3, 0.2, 0.9], [[0.7], [0.4]], leakage=0.02),
    "no leakage": JointSupport(0.2, 0.7, leakage=0.0),
    "leakage learnt": JointSupport(0.3, 0.7, leakage=0.05, learn_leakage=True),
    "chains": MarkovChainSupport(**CHAIN),
    "common chain": MarkovChainSupport(**CHAIN, visibility=0.6, leakage=0.01),
    "chain and more": MarkovChainSupport(**CHAIN, length=3, extra_probability=[0.9, 0.2]),
    "common chain and more": MarkovChainSupport(
        **CHAIN, length=4, visibility=0.8, extra_probability=0.99
    ),
    "lines": GridMRFSupport((5,), **EXACT_GRID),
    "common line and more": GridMRFSupport((4,), **EXACT_GRID, visibility=0.7, leakage=0.1),
}


def draw(seed=0, shape=(2, 5), size=3.0):
    return size * np.random.default_rng(seed).standard_normal(shape)


def states(n):
    return np.array(list(itertools.product([0, 1], repeat=n)))


def log_bernoulli(state, proba):
    return np.sum(np.where(state == 1, np.log(proba), np.log1p(-proba)), axis=-1)


def field_log_prior(prior, n):
    """Log probabilities of all states of the common support (2^n,)."""
    c = states(n)
    if isinstance(prior, JointSupport):
        return c, log_bernoulli(c, np.broadcast_to(prior.probability, (n,)))
    if isinstance(prior, MarkovChainSupport):
        on = prior.p01 / (prior.p01 + prior.p10)
        transition = np.log([[1 - prior.p01, prior.p01], [prior.p10, 1 - prior.p10]])
        value = np.log(np.where(c[:, 0] == 1, on, 1 - on))
        return c, value + transition[c[:, :-1], c[:, 1:]].sum(axis=1)
    grid = c.reshape(-1, *prior.shape)
    value = logit(prior.probability) * c.sum(axis=1)
    for axis in range(1, grid.ndim):
        left = np.take(grid, range(grid.shape[axis] - 1), axis)
        right = np.take(grid, range(1, grid.shape[axis]), axis)
        value = value + prior.coupling * (left * right).reshape(len(c), -1).sum(axis=1)
    return c, value - logsumexp(value)


def log_prior(prior, K, Q):
    """Log probabilities of all supports (2^(K Q), K, Q)."""
    s = states(K * Q).reshape(-1, K, Q)
    if isinstance(prior, IndependentSupport):
        proba = np.broadcast_to(prior.probability, (K, Q))
        return s, log_bernoulli(s.reshape(len(s), -1), proba.ravel())
    n = prior._n_covered(Q)
    extra = np.broadcast_to(prior.extra_probability, (K, Q - n)).ravel()
    value = log_bernoulli(s[:, :, n:].reshape(len(s), -1), extra)
    c, field = field_log_prior(prior, n)
    if prior.visibility is None:
        numbers = s[:, :, :n] @ (1 << np.arange(n)[::-1])
        return s, value + field[numbers].sum(axis=1)
    with np.errstate(divide="ignore"):
        eta = np.broadcast_to(prior.visibility, (K, n))
        epsilon = np.broadcast_to(prior.leakage, (K, n))
        seen = np.where(s[:, :, :n] == 1, np.log(eta), np.log1p(-eta)).sum(axis=1)
        leaked = np.where(s[:, :, :n] == 1, np.log(epsilon), np.log1p(-epsilon)).sum(axis=1)
    terms = [field[i] + np.where(c[i] == 1, seen, leaked).sum(axis=1) for i in range(len(c))]
    return s, value + logsumexp(np.array(terms), axis=0)


def enumerate_extrinsic(s, log_proba, llr):
    out = np.empty_like(llr)
    for index in np.ndindex(*llr.shape):
        others = llr.copy()
        others[index] = 0
        weights = log_proba + (s * others).sum(axis=(1, 2))
        out[index] = np.exp(logsumexp(weights, b=s[(slice(None), *index)]) - logsumexp(weights))
    return out


@pytest.mark.parametrize("name", TREES)
def test_trees_equal_enumeration(name):
    prior, llr = TREES[name], draw()
    prior.check(*llr.shape)
    s, log_proba = log_prior(prior, *llr.shape)
    assert np.isclose(logsumexp(log_proba), 0, atol=1e-12)
    expected = enumerate_extrinsic(s, log_proba, llr)
    np.testing.assert_allclose(prior.extrinsic(llr), expected, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(expit(prior.extrinsic_log_odds(llr)), expected, rtol=1e-11)
    marginal = np.exp(log_proba) @ s.reshape(len(s), -1)
    prior_probability = prior.prior_probability(*llr.shape)
    np.testing.assert_allclose(prior_probability.ravel(), marginal, rtol=1e-11)
    value = logsumexp(log_proba + (s * llr).sum(axis=(1, 2)))
    assert np.isclose(prior.log_partition(llr), value, rtol=1e-12)


def test_common_probabilities_equal_enumeration():
    llr = draw(3)
    for name in ("joint", "joint arrays", "common chain", "common line and more"):
        prior = TREES[name]
        n = prior._n_covered(5)
        c, field = field_log_prior(prior, n)
        eta = np.broadcast_to(prior.visibility, (2, n))
        epsilon = np.broadcast_to(prior.leakage, (2, n))
        proba = np.where(c[:, None] == 1, eta, epsilon)
        weights = field + np.log(1 - proba + proba * np.exp(llr[:, :n])).sum(axis=(1, 2))
        expected = np.exp(weights - logsumexp(weights)) @ c
        np.testing.assert_allclose(prior.common_proba(llr)[:n], expected, rtol=1e-11)
    assert IndependentSupport().common_proba(llr) is None
    assert MarkovChainSupport().common_proba(llr) is None


def test_columns_after_the_field_are_present_if_any_group_is_active():
    llr = draw(4)
    prior = TREES["common chain and more"]
    silent = expit(-llr[:, 4] - logit(0.99))
    assert np.isclose(prior.common_proba(llr)[4], 1 - silent.prod(), rtol=1e-12)


def test_messages_equal_the_reference():
    with np.load(REFERENCE, allow_pickle=False) as data:
        llr = data["llr"]
        prior = JointSupport(data["lam"][()], data["eta"][()], leakage=data["eps"][()])
        np.testing.assert_allclose(prior.extrinsic(llr), data["joint_ext"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            prior.common_proba(llr), data["joint_common"], rtol=0, atol=1e-12
        )
        chain = MarkovChainSupport(data["p01"][()], data["p10"][()])
        np.testing.assert_allclose(chain.extrinsic(llr), data["chain_ext"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", TREES)
def test_nothing_hears_its_own_evidence(name):
    prior, llr = TREES[name], draw(1)
    if isinstance(prior, GridMRFSupport):
        # Exact in one sweep; others end when all messages have settled, own ones too.
        prior = clone(prior).set_params(damping=0.0, max_sweeps=1)
    before = prior.extrinsic_log_odds(llr)
    for index in np.ndindex(*llr.shape):
        for value in (-700.0, 0.3, 1e5):
            changed = llr.copy()
            changed[index] = value
            assert prior.extrinsic_log_odds(changed)[index] == before[index]


@pytest.mark.parametrize("name", [name for name in TREES if name != "joint arrays"])
def test_groups_may_change_places(name):
    prior, llr = TREES[name], draw(2, (4, 5))
    if name == "independent":
        prior = IndependentSupport(0.2)
    if name == "chain and more":
        prior = clone(prior).set_params(extra_probability=0.4)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(prior.extrinsic(llr[order]), prior.extrinsic(llr)[order], rtol=1e-12)
    assert np.isclose(prior.log_partition(llr[order]), prior.log_partition(llr), rtol=1e-12)


@pytest.mark.parametrize("name", TREES)
@given(seed=st.integers(0, 1000), size=st.sampled_from([0.1, 3.0, 30.0]))
@settings(max_examples=10, deadline=None)
def test_learning_never_lowers_the_evidence(name, seed, size):
    prior, llr = TREES[name], draw(seed, size=size)
    value = prior.log_partition(llr)
    for _ in range(5):
        prior = prior.m_step(llr)
        prior.check(*llr.shape)
        better = prior.log_partition(llr)
        assert better >= value - 1e-12 * max(1.0, abs(value))
        value = better


@pytest.mark.parametrize("name", ["independent", "joint", "chains", "common chain", "lines"])
def test_learning_ends_where_the_evidence_is_flat(name):
    prior, llr = TREES[name], draw(7, (2, 60)) + 0.5
    names = [key for key in ("probability", "visibility", "p01", "p10") if hasattr(prior, key)]
    names = [key for key in names if getattr(prior, key) is not None]
    for _ in range(3000):
        prior = prior.m_step(llr)
    for key in names:
        value = np.asarray(getattr(prior, key), dtype=float)
        step = 1e-5 * np.minimum(value, 1 - value)
        up = clone(prior).set_params(**{key: value + step}).log_partition(llr)
        down = clone(prior).set_params(**{key: value - step}).log_partition(llr)
        assert abs(up - down) <= 1e-9 * abs(up)


def test_independent_probability_becomes_the_mean_posterior():
    llr = draw(8)
    posterior = expit(llr + logit(0.2))
    prior = IndependentSupport(0.2).m_step(llr)
    assert np.isclose(prior.probability, posterior.mean(), rtol=1e-14)
    tied = IndependentSupport([0.2, 0.2, 0.1, 0.2, 0.1]).m_step(llr).probability
    assert tied.shape == (5,)
    np.testing.assert_allclose(tied[[0, 1, 3]], posterior[:, [0, 1, 3]].mean(), rtol=1e-14)


def test_chain_transitions_equal_enumeration():
    """With a start that is not learnt from, the M-step is a ratio of expected transitions."""
    llr = draw(9, (1, 7))
    prior = MarkovChainSupport(**CHAIN)
    c, field = field_log_prior(prior, 7)
    weights = field + c @ llr[0]
    weights = np.exp(weights - logsumexp(weights))
    start = weights @ c[:, 0]
    counts = [[weights @ ((c[:, :-1] == i) & (c[:, 1:] == j)).sum(axis=1) for j in (0, 1)]
              for i in (0, 1)]  # fmt: skip
    p01, p10 = learn_chain(llr, **CHAIN)
    # Stationary points of the expected log-likelihood.
    first = (counts[0][1] + start) / p01 - counts[0][0] / (1 - p01) - 1 / (p01 + p10)
    second = (counts[1][0] + 1 - start) / p10 - counts[1][1] / (1 - p10) - 1 / (p01 + p10)
    np.testing.assert_allclose([first, second], 0, atol=1e-8)


def test_nothing_is_learnt_if_so_asked():
    llr = draw()
    for prior in TREES.values():
        fixed = clone(prior).set_params(learn=False)
        assert fixed.m_step(llr) is fixed
        before = repr(prior.get_params())
        prior.m_step(llr)
        assert repr(prior.get_params()) == before


def test_visibility_of_groups_is_learnt_apart():
    rng = np.random.default_rng(0)
    common = rng.random(2000) < 0.3
    truth = np.array([[0.9], [0.4], [0.6], [0.7]])
    seen = common & (rng.random((4, 2000)) < truth)
    prior = JointSupport(0.1, [[0.7], [0.6], [0.65], [0.66]])
    for _ in range(50):
        prior = prior.m_step(np.where(seen, 12.0, -12.0))
    np.testing.assert_allclose(prior.visibility, truth, atol=0.06)
    assert abs(prior.probability - 0.3) < 0.03


def test_visibility_stays_above_leakage():
    """Evidence that columns are there, but in no group where the common support is."""
    llr = np.full((2, 6), -4.0)
    llr[:, 0] = 1.0
    prior = JointSupport(0.5, 0.3, leakage=0.05, learn_leakage=True)
    for _ in range(200):
        prior = prior.m_step(llr)
        prior.check(2, 6)
    assert prior.leakage < prior.visibility


@pytest.mark.parametrize("size", [700.0, 1e4, 1e6])
@pytest.mark.parametrize("name", TREES)
def test_overwhelming_evidence_is_no_trouble(name, size):
    prior, llr = TREES[name], size * np.sign(draw(5))
    odds = prior.extrinsic_log_odds(llr)
    assert np.all(np.isfinite(odds))
    assert np.all(np.abs(odds) < 100)
    assert np.isfinite(prior.log_partition(llr))
    prior.m_step(llr).check(*llr.shape)
    # What is certain can be enumerated: one support.
    s, log_proba = log_prior(prior, *llr.shape)
    best = np.max(log_proba + (s * llr).sum(axis=(1, 2)))
    assert np.isclose(prior.log_partition(llr), best, rtol=1e-12, atol=1e-8)


def test_probabilities_that_round_to_one_keep_their_log_odds():
    prior = MarkovChainSupport(1e-12, 1e-12)
    llr = np.array([[100.0, -60.0, 100.0]])
    odds = prior.extrinsic_log_odds(llr)[0, 1]
    assert np.isclose(odds, 2 * np.log(1e12), rtol=1e-3)
    assert prior.extrinsic(llr)[0, 1] == 1.0


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 2, 2)])
def test_grid_without_coupling_is_independent(shape):
    llr = draw(10, (2, 9))
    grid = GridMRFSupport(shape, 0.15, coupling=0, extra_probability=0.15)
    plain = IndependentSupport(0.15)
    np.testing.assert_allclose(grid.extrinsic(llr), plain.extrinsic(llr), rtol=1e-14)
    assert np.isclose(grid.log_partition(llr), plain.log_partition(llr), rtol=1e-13)
    seen = GridMRFSupport(shape, 0.15, coupling=0, visibility=0.6, extra_probability=0.2)
    joint, n = JointSupport(0.15, 0.6), int(np.prod(shape))
    np.testing.assert_allclose(seen.extrinsic(llr)[:, :n], joint.extrinsic(llr[:, :n]), rtol=1e-13)


def test_neighbours_of_cells():
    np.testing.assert_array_equal(grid_neighbours((2, 3))[[0, 4]], [[-1, 3, -1, 1], [1, -1, 3, 5]])
    neighbours = grid_neighbours((3, 4, 5))
    assert (neighbours >= 0).sum() == 2 * (2 * 4 * 5 + 3 * 3 * 5 + 3 * 4 * 4)
    assert np.all(neighbours[1 * 20 + 1 * 5 + 2] == [7, 47, 22, 32, 26, 28])


@pytest.mark.parametrize("coupling", [0.3, 0.8])
def test_plane_is_near_enumeration(coupling):
    """Loops of four are short: the approximation shows, and is small for a weak coupling."""
    llr = draw(11, (1, 9), size=1.5)
    prior = GridMRFSupport((3, 3), 0.2, coupling, max_sweeps=100, tol=1e-12)
    s, log_proba = log_prior(prior, 1, 9)
    expected = enumerate_extrinsic(s, log_proba, llr)
    error = np.abs(prior.extrinsic(llr) - expected).max()
    value = logsumexp(log_proba + (s * llr).sum(axis=(1, 2)))
    difference = abs(prior.log_partition(llr) - value)
    assert error <= {0.3: 2e-3, 0.8: 3e-2}[coupling]
    assert difference <= {0.3: 1e-3, 0.8: 3e-2}[coupling]


def test_damping_and_order_do_not_change_where_sweeps_end():
    llr = draw(12, (2, 12))
    settled = {"max_sweeps": 500, "tol": 1e-14}
    damped = GridMRFSupport((3, 4), 0.1, 0.9, **settled)
    plain = GridMRFSupport((3, 4), 0.1, 0.9, damping=0.0, **settled)
    odds = damped.extrinsic_log_odds(llr)
    np.testing.assert_allclose(plain.extrinsic_log_odds(llr), odds, rtol=1e-10)
    turned = llr.reshape(2, 3, 4)[:, ::-1].swapaxes(1, 2).reshape(2, 12)
    other = GridMRFSupport((4, 3), 0.1, 0.9, **settled).extrinsic_log_odds(turned)
    back = other.reshape(2, 4, 3).swapaxes(1, 2)[:, ::-1].reshape(2, 12)
    np.testing.assert_allclose(back, odds, rtol=1e-10)


def test_bethe_is_stationary_in_the_evidence():
    """Its derivatives are the beliefs, as those of a log partition function must be."""
    llr = draw(13, (1, 9))
    prior = GridMRFSupport((3, 3), 0.2, 1.0, max_sweeps=500, tol=1e-14)
    beliefs = expit(prior.extrinsic_log_odds(llr) + llr)[0]
    slopes = []
    for q in range(9):
        up, down = llr.copy(), llr.copy()
        up[0, q] += 1e-5
        down[0, q] -= 1e-5
        slopes.append((prior.log_partition(up) - prior.log_partition(down)) / 2e-5)
    np.testing.assert_allclose(slopes, beliefs, atol=1e-8)


def sample_grid(shape, field, coupling, n_sweeps, rng):
    """Gibbs samples of the lattice field."""
    neighbours = grid_neighbours(shape)
    state = (rng.random(len(neighbours)) < expit(field)).astype(float)
    for _ in range(n_sweeps):
        for i in range(len(state)):
            active = state[neighbours[i][neighbours[i] >= 0]].sum()
            state[i] = rng.random() < expit(field + coupling * active)
    return state


def test_grid_parameters_are_learnt_from_a_sample():
    state = sample_grid((40, 40), -2.5, 0.9, 60, np.random.default_rng(1))
    prior = GridMRFSupport((40, 40), 0.3, 0.1)
    for _ in range(10):
        prior = prior.m_step(np.where(state == 1, 20.0, -20.0)[None])
    assert abs(logit(prior.probability) + 2.5) < 0.2
    assert abs(prior.coupling - 0.9) < 0.2
    noisy = 4 * (state - 0.5) + 2 * np.random.default_rng(2).standard_normal(1600)
    before = GridMRFSupport((40, 40), 0.3, 0.1)
    learnt = before
    for _ in range(30):
        learnt = learnt.m_step(noisy[None])
    assert learnt.log_partition(noisy[None]) > before.log_partition(noisy[None]) + 10
    assert abs(learnt.coupling - 0.9) < 0.4


def test_derivatives_of_the_evidence_are_differences_of_moments():
    """On the line exactly; they lead the learning."""
    llr = draw(14, (1, 5))
    prior = TREES["lines"]
    grid = prior._grid()
    moments = []
    for evidence in (llr, np.zeros((1, 5))):
        c, field = field_log_prior(prior, 5)
        weights = field + c @ evidence[0]
        weights = np.exp(weights - logsumexp(weights))
        padded = np.pad(c, ((0, 0), (1, 1)))
        number = padded[:, :-2] + padded[:, 2:]
        table = np.array(
            [[weights @ ((c == i) & (number == m)).sum(axis=1) for m in range(3)] for i in (0, 1)]
        )
        np.testing.assert_allclose(grid._summary(evidence)[1], table, rtol=1e-11)
        moments.append([table[1].sum(), table[1] @ [0, 0.5, 1]])
    step = 1e-5
    slopes = [
        (
            grid._replace(**{name: getattr(grid, name) + step}).log_partition(llr)
            - grid._replace(**{name: getattr(grid, name) - step}).log_partition(llr)
        )
        / (2 * step)
        for name in ("field", "coupling")
    ]
    np.testing.assert_allclose(slopes, np.subtract(*moments), rtol=1e-7)


@given(seed=st.integers(0, 1000), coupling=st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=15, deadline=None)
def test_learning_a_grid_never_lowers_its_evidence(seed, coupling):
    llr = draw(seed, (1, 36)) - 1.0
    prior = GridMRFSupport((6, 6), 0.1, coupling)
    value = prior.log_partition(llr)
    for _ in range(8):
        prior = prior.m_step(llr)
        prior.check(1, 36)
        better = prior.log_partition(llr)
        assert better >= value - 1e-10
        value = better


def test_a_single_cluster_does_not_couple_everything():
    """Pseudo-likelihood would: active cells have active neighbours, and no others are."""
    llr = np.full((10, 10), -8.0)
    llr[2:4, 5:7] = 8.0
    prior = GridMRFSupport((10, 10))
    for _ in range(100):
        prior = prior.m_step(llr.reshape(1, -1))
    assert prior.prior_probability(1, 100).mean() < 0.2
    assert prior.coupling > 1


def test_sweeps_end_early_once_settled():
    llr = draw(15, (1, 30))
    grid = Grid(grid_neighbours((30,)), -1.0, 0.7, 0.0, 50, 0.0)
    np.testing.assert_array_equal(grid.messages(llr), grid._replace(max_sweeps=1).messages(llr))


@pytest.mark.parametrize("name", TREES)
def test_priors_are_cloned_and_pickled(name):
    prior, llr = TREES[name], draw(16)
    for copy in (clone(prior), pickle.loads(pickle.dumps(prior))):
        np.testing.assert_array_equal(copy.extrinsic(llr), prior.extrinsic(llr))


WRONG = [
    (IndependentSupport(0.0), ValueError, r"probability must lie in \(0, 1\), got 0.0"),
    (IndependentSupport(1), ValueError, r"probability must lie in \(0, 1\), got 1"),
    (IndependentSupport([0.2, np.nan, 0.1, 0.1]), ValueError, "got nan"),
    (IndependentSupport([0.2, 0.1]), ValueError, r"broadcasts to \(3, 4\), got the shape \(2,\)"),
    (IndependentSupport("often"), TypeError, "probability must be a number"),
    (IndependentSupport([[0.1], [0.1, 0.2]]), TypeError, "probability must be a number"),
    (JointSupport(np.full((3, 4), 0.1)), ValueError, r"broadcasts to \(4,\)"),
    (JointSupport(0.1, 1.2), ValueError, "visibility must lie"),
    (JointSupport(0.1, None), TypeError, "visibility must be a number"),
    (JointSupport(0.1, 0.5, leakage=-0.1), ValueError, r"leakage must lie in \[0, 1\)"),
    (JointSupport(0.1, 0.5, leakage=0.5), ValueError, "leakage must be less than visibility"),
    (MarkovChainSupport(0, 0.2), ValueError, "p01 must lie"),
    (MarkovChainSupport(0.1, [0.2]), ValueError, r"p10 must be a number or .* \(\)"),
    (MarkovChainSupport(length=5), ValueError, "length must be at most .* 4, got 5"),
    (MarkovChainSupport(length=2.0), TypeError, "length must be an integer"),
    (MarkovChainSupport(length=0), ValueError, "length must be at least 1"),
    (MarkovChainSupport(length=3, extra_probability=1.0), ValueError, "extra_probability must"),
    (MarkovChainSupport(length=2, visibility=[0.1, 0.2, 0.3]), ValueError, r"to \(3, 2\)"),
    (GridMRFSupport((2, 3)), ValueError, r"at most as many cells as there are columns, 4"),
    (GridMRFSupport((2, -2)), ValueError, "shape, in each entry, must be at least 1"),
    (GridMRFSupport(4), TypeError, "shape must be a tuple of integers, got 4"),
    (GridMRFSupport(()), TypeError, "shape must be a tuple"),
    (GridMRFSupport((2, 2), 0.0), ValueError, "probability must lie"),
    (GridMRFSupport((2, 2), coupling=-1), ValueError, r"coupling must lie in \[0, 50.0\], got -1"),
    (GridMRFSupport((2, 2), coupling=None), TypeError, "coupling must be a number"),
    (GridMRFSupport((2, 2), damping=1.0), ValueError, r"damping must lie in \[0, 1\), got 1.0"),
    (GridMRFSupport((2, 2), max_sweeps=0), ValueError, "max_sweeps must be at least 1"),
    (GridMRFSupport((2, 2), tol=-1.0), ValueError, "tol must lie"),
    (GridMRFSupport((2,), extra_probability=[0.1] * 3), ValueError, r"to \(3, 2\)"),
]


@pytest.mark.parametrize(("prior", "error", "message"), WRONG)
def test_wrong_parameters_are_named(prior, error, message):
    with pytest.raises(error, match=message):
        prior.check(3, 4)


@pytest.mark.parametrize("name", TREES)
def test_wrong_ratios_are_refused(name):
    prior = TREES[name]
    for method in (prior.extrinsic, prior.log_partition, prior.m_step):
        with pytest.raises(ValueError, match="llr must be finite"):
            method(np.full((2, 5), np.nan))
        with pytest.raises(ValueError, match=r"llr must have the shape .* got .* \(5,\)"):
            method(np.zeros(5))


def test_ratios_may_be_integers_in_a_list():
    for prior in TREES.values():
        llr = [[1, -2, 3, 0, 1], [0, 1, -1, 2, -3]]
        np.testing.assert_array_equal(
            prior.extrinsic(llr), prior.extrinsic(np.array(llr, dtype=float))
        )


def test_wrong_parameters_are_refused_wherever_they_matter():
    with pytest.raises(ValueError, match="p01 must lie"):
        MarkovChainSupport(0.0).extrinsic(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="as many cells"):
        GridMRFSupport((2, 2)).prior_probability(1, 3)


@pytest.mark.parametrize("prior", [IndependentSupport(0.1), JointSupport(0.1)], ids=repr)
def test_a_support_that_seems_empty_stays_possible(prior):
    for _ in range(50):
        prior = prior.m_step(np.full((2, 10), -20.0))
    size = 20 if isinstance(prior, IndependentSupport) else 10
    assert prior.probability == pytest.approx(0.5 / size)
    for _ in range(5):
        prior = prior.m_step(np.full((2, 10), 20.0))
    assert prior.probability > 0.9
