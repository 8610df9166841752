"""SparseBayesRegressor against scikit-learn's ARDRegression: processor times and evidence.

scikit-learn has no parameter for a known noise variance; a sharp prior on it does the same. The
evidence of both is computed here, from the variances alone.
"""

from functools import cache

import numpy as np
from sklearn.linear_model import ARDRegression

from benchmarks.clock import timed
from sparseopt.sparse_bayes import SparseBayesRegressor

SEEDS, REPEATS = range(3), 9
PINNED = 1e12  # samples' worth of belief in the noise that is given


def draw(n, p, seed, *, snr=15.0):
    """Return X, y, the noise variance and the weights, of which 10 or 15 are not zero."""
    rng = np.random.default_rng(seed)
    n_strong = {1000: 15}.get(p, 10)
    X = rng.standard_normal((n, p))
    coef = np.zeros(p)
    coef[rng.choice(p, n_strong, replace=False)] = 2 * rng.standard_normal(n_strong)
    signal = X @ coef
    noise = float(np.mean(signal**2)) / 10 ** (snr / 10)
    return X, signal + np.sqrt(noise) * rng.standard_normal(n), noise, coef


def negative_log_evidence(X, y, variances, noise):
    """Return twice the negative log evidence of centred data, up to a constant."""
    X, y = X - X.mean(axis=0), y - y.mean()
    S = noise * np.eye(len(y)) + (X * variances) @ X.T
    return float(np.linalg.slogdet(S)[1] + y @ np.linalg.solve(S, y))


def _fits(X, y, noise):
    """Return both estimators, with the noise given, or None to learn it."""
    pinned = {} if noise is None else {"alpha_1": PINNED, "alpha_2": PINNED * noise}
    return ARDRegression(**pinned), SparseBayesRegressor(noise_variance=noise)


def _in_turns(peer, own, X, y, *, slow):
    """Return the smallest times of both; a slow peer fits once."""
    best = [np.inf, np.inf]
    for repeat in range(REPEATS):
        for number, model in enumerate((peer, own)):
            if number == 1 or repeat == 0 or not slow:
                seconds, _ = timed(lambda fit=model.fit: fit(X, y))
                best[number] = min(best[number], seconds)
    return best


@cache
def race(n, p, *, learns):
    """Return the smallest ratio of times over the seeds, with what else there is to know."""
    SparseBayesRegressor().fit(*draw(30, 10, 0)[:2])  # compiles
    rows = []
    for seed in SEEDS:
        X, y, noise, coef = draw(n, p, seed)
        peer, own = _fits(X, y, None if learns else noise)
        peer_seconds, own_seconds = _in_turns(peer, own, X, y, slow=p > n)
        kept = peer.lambda_ < peer.threshold_lambda
        peer_variances = np.where(kept, 1 / peer.lambda_, 0)
        own_nll, peer_nll = (
            negative_log_evidence(X, y, variances, noise if p >= n else found)
            for variances, found in (
                (own.gamma_, own.noise_variance_),
                (peer_variances, 1 / peer.alpha_),
            )
        )
        errors = [np.sum((fit.coef_ - coef) ** 2) / np.sum(coef**2) for fit in (own, peer)]
        shares = own.noise_variance_ / noise, 1 / peer.alpha_ / noise
        rows.append((peer_seconds / own_seconds, own_nll - peer_nll, *errors, *shares))
    return np.array(rows)


def speed(n, p, *, learns):
    """Return how many times faster than ARDRegression, at worst."""
    ratios, _, own, peer, own_noise, peer_noise = race(n, p, learns=learns).T
    remark = f"{min(ratios):.1f} to {max(ratios):.1f}; errors of weights {own.mean():.1e} / "
    remark += f"{peer.mean():.1e}"
    if learns:
        remark += f", noise {own_noise.mean():.2f} / {peer_noise.mean():.3f} of the true one"
    return float(min(ratios)), remark


def evidence(n, p, *, learns):
    """Return by how much nll is above ARDRegression's, at worst; at most 0 is no worse."""
    differences = race(n, p, learns=learns)[:, 1]
    at = "the true noise" if p >= n or not learns else "each one's noise"
    return float(max(differences)), f"{min(differences):.2f} to {max(differences):.2f}, at {at}"


def large(n=500, p=20_000):
    """Return the processor seconds of the rule "fast" with many features, noise learnt."""
    timed(lambda: SparseBayesRegressor("fast").fit(*draw(30, 50, 0)[:2]))  # compiles
    X, y, noise, coef = draw(n, p, 0)
    learnt, given = SparseBayesRegressor("fast"), SparseBayesRegressor("fast", noise_variance=noise)
    seconds, _ = timed(lambda: learnt.fit(X, y))
    known_seconds, _ = timed(lambda: given.fit(X, y))
    errors = [np.sum((fit.coef_ - coef) ** 2) / np.sum(coef**2) for fit in (learnt, given)]
    remark = f"noise learnt; given {known_seconds:.1f} s; errors of weights {errors[0]:.1e}, "
    return seconds, remark + f"{errors[1]:.1e}"
