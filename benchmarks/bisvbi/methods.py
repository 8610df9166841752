"""The methods that are compared on radio scenes: the full one, each part left out, and rivals.

Every method is a function of a scene and returns an Estimate. All know what a receiver knows, but
for "genie symbols" (all symbols) and "matching pursuit" (the level of the noise).
"""

import itertools
import warnings
from typing import NamedTuple

import numpy as np

from sparseopt.linear_model import weighted_omp_path
from sparseopt.sparse_bayes import BilinearSubspaceVBI, IndependentSupport, JointSupport

MOST_COLUMNS = 30  # of matching pursuit; scenes have 13.5 on average


class Estimate(NamedTuple):
    """``channel`` (K, N, M), ``symbols`` (K, N, L), ``positions`` (n, 3) of the columns that are
    probably active, lines of sight apart, and ``n_iter``.
    """

    channel: np.ndarray
    symbols: np.ndarray
    positions: np.ndarray
    n_iter: int


def model(scene, **options):
    """Return the full method, or a variant."""
    defaults = {
        "support_prior": JointSupport(scene.probability, scene.visibility),
        "constellation": scene.constellation,
        "param_std": scene.param_std,
        "random_state": 0,
    }
    return BilinearSubspaceVBI(scene.dictionary, scene.params, **defaults | options)


def full(scene, **options):
    """Fit the full method, or a variant."""
    fitted = _fit(model(scene, **options), scene.y, scene.pilots, scene.pilot_mask)
    return _estimate(fitted, fitted.symbols_)


def full_inverse(scene):
    """Keep all covariances, by the inverse of a K Q x K Q matrix."""
    return full(scene, covariance="full")


def independent(scene):
    """Let the users' supports have nothing to do with each other."""
    users = len(scene.pilots)
    probability = np.tile(scene.probability * scene.visibility, (users, 1))
    return full(scene, support_prior=IndependentSupport(probability))


def unrefined(scene):
    """Leave grid, users and clocks where they are."""
    return full(scene, m_step=None)


def pilots_only(scene):
    """Estimate channels from the pilots, then detect symbols."""
    known = scene.pilot_mask.all(axis=0)
    pilots = scene.pilots[:, :, known]
    mask = np.ones(pilots.shape[1:], dtype=bool)
    fitted = _fit(model(scene), scene.y[:, known], pilots, mask)
    return _estimate(fitted, detect(scene, fitted.response_))


def genie(scene):
    """Be told all symbols."""
    mask = np.ones_like(scene.pilot_mask)
    fitted = _fit(model(scene), scene.y, scene.symbols, mask)
    return _estimate(fitted, scene.symbols)


def matching_pursuit(scene):
    """Estimate channels from the pilots by orthogonal matching pursuit on the grid."""
    values = scene.dictionary(scene.params)  # (K, N, M, Q)
    K, Q = values.shape[0], values.shape[3]
    known = scene.pilot_mask.all(axis=0)
    signals = scene.pilots[:, :, known]  # (K, N, L')
    design = np.einsum("knl,knmq->nlmkq", signals, values).reshape(-1, K * Q)
    target = scene.y[:, known].ravel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = weighted_omp_path(
            design,
            target,
            loss="omp",
            tol=target.size * scene.noise_variance,
            n_nonzero_coefs=MOST_COLUMNS,
        )
    coef = path.x.reshape(K, Q)
    channel = (values @ coef[:, None, :, None])[..., 0]
    chosen = np.any(coef != 0, axis=0)[:-1]
    positions = scene.params["positions"][chosen]
    return Estimate(channel, detect(scene, channel), positions, path.nit)


def detect(scene, channel):
    """Return the most likely symbols (K, N, L), given channels; pilots as they are."""
    users = len(channel)
    choices = np.array(list(itertools.product(scene.constellation, repeat=users)))  # (C, K)
    signals = choices @ np.swapaxes(channel, 0, 1)  # (N, C, M)
    # ||y - s||^2 without ||y||^2
    score = np.sum(np.abs(signals) ** 2, axis=2)[:, None] - 2 * np.real(
        scene.y @ np.conj(np.swapaxes(signals, 1, 2))
    )
    best = np.moveaxis(choices[np.argmin(score, axis=2)], -1, 0)
    return np.where(scene.pilot_mask, scene.pilots, best)


def _fit(estimator, y, pilots, mask):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(y, pilots=pilots, pilot_mask=mask)


def _estimate(fitted, symbols):
    active = np.any(fitted.support_proba_ > 0.5, axis=0)
    positions = fitted.params_["positions"]
    positions = positions[active[: len(positions)]]
    return Estimate(fitted.response_, symbols, positions, fitted.n_iter_)


METHODS = {
    "full method": full,
    "independent support": independent,
    "full inverse": full_inverse,
    "no refinement": unrefined,
    "pilots only": pilots_only,
    "matching pursuit": matching_pursuit,
    "genie symbols": genie,
}


def errors(scene, estimate):
    """Return the errors of an estimate, by name."""
    distances = scene.localisation_error(estimate.positions)
    return {
        "nmse": scene.channel_nmse(estimate.channel),
        "ser": scene.symbol_error_rate(estimate.symbols),
        "distance": float(np.median(distances)),
        "missed": float(np.mean(distances >= 5.0)),
        "columns": len(estimate.positions),
        "n_iter": int(estimate.n_iter),
    }
