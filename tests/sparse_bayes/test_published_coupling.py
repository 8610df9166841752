"""The published coupled runs against their loop written with dense matrices.

The nonnegative fit makes them chaotic where the data say little; these scenes say enough.
"""

from functools import reduce

import numpy as np
import pytest
from scipy.optimize import nnls

from sparseopt.datasets import make_irs_mimo_channel
from sparseopt.sparse_bayes import KroneckerSBL

SHARES = (1e-2, 1e-1, 1e-2)
COUPLING_FLOOR = 1e-5


def neighbours(n, strength):
    return np.eye(n) + strength * (np.eye(n, k=1) + np.eye(n, k=-1))


def dense_posterior(factors, y, g, s2):
    dictionary, variances = reduce(np.kron, factors), reduce(np.kron, g)
    gain = variances[:, None] * dictionary.conj().T
    gain = np.linalg.solve((s2 * np.eye(len(y)) + dictionary @ gain).T, gain.T).T
    return gain @ y, variances - variances * np.einsum("ij,ji->i", gain, dictionary).real


def sweep(moments, g, couplings):
    """Return the next variances: nonnegative fits of the means over the other axes."""
    g = list(g)
    for d, C in enumerate(couplings):
        others = [np.ones(len(v)) if e == d else v for e, v in enumerate(g)]
        ratios = moments / reduce(np.multiply.outer, others)
        target = ratios.mean(axis=tuple({0, 1, 2} - {d}))
        g[d] = target if C is None else C @ nnls(C, target)[0] + COUPLING_FLOOR * target.max()
    norms = [np.linalg.norm(v) for v in g[:2]]
    return [g[0] / norms[0], g[1] / norms[1], g[2] * norms[0] * norms[1]]


def change(new, old):
    new, old = (reduce(np.kron, g) for g in (new, old))
    return np.linalg.norm(new - old) / np.linalg.norm(old)


def published_loop(factors, y, s2, strength):
    """Return coefficients and the number of iterations."""
    sizes = [factor.shape[1] for factor in factors]
    couplings = [neighbours(sizes[0], strength), None, neighbours(sizes[2], strength)]
    g = [np.ones(n) if C is None else C.sum(axis=1) for n, C in zip(sizes, couplings)]
    kept = [np.arange(n) for n in sizes]
    factors = list(factors)

    def everywhere():
        return [np.bincount(k, v, n) for k, v, n in zip(kept, g, sizes)]

    n_iter, moved = 0, np.inf
    while n_iter < 150 and moved > 1e-4:
        n_iter += 1
        before = everywhere()
        for d, share in enumerate(SHARES):
            mask = g[d] >= share * g[d].max()
            g[d], kept[d], factors[d] = g[d][mask], kept[d][mask], factors[d][:, mask]
            if couplings[d] is not None:
                couplings[d] = couplings[d][np.ix_(mask, mask)]
        mean, variance = dense_posterior(factors, y, g, s2)
        moments = (variance + np.abs(mean) ** 2).reshape([len(v) for v in g])
        for _ in range(9):
            start, g = g, sweep(moments, g, couplings)
            if change(g, start) <= 1e-4:
                break
        moved = change(everywhere(), before)
    coef = np.zeros(sizes, dtype=complex)
    coef[np.ix_(*kept)] = dense_posterior(factors, y, g, s2)[0].reshape([len(v) for v in g])
    return coef, n_iter


@pytest.mark.parametrize("strength", [0.5, 0.8])
@pytest.mark.parametrize("seed", [1, 3, 5])
def test_published_coupled_run(seed, strength):
    scene = make_irs_mimo_channel(8, 4, 64, n_grid=8, n_patterns=5, snr=25.0, random_state=seed)
    expected, n_iter = published_loop(scene.factors, scene.y, scene.noise_variance, strength)
    model = KroneckerSBL.published(
        pattern_coupling=(strength, None, strength),
        prune_tol=SHARES,
        noise_variance=scene.noise_variance,
    ).fit(scene.factors, scene.y)
    assert model.n_iter_ == n_iter
    assert np.linalg.norm(model.coef_ - expected) < 1e-8 * np.linalg.norm(expected)
