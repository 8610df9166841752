"""Frequencies off the grid: as good as the Cramer-Rao bound lets them be."""

import numpy as np
import pytest

from sparseopt.sparse_bayes import BilinearSubspaceVBI, IndependentSupport

N_SAMPLES, N_COLUMNS = 48, 96
TIMES = np.arange(N_SAMPLES) - (N_SAMPLES - 1) / 2
LINES = np.array([0.1012, 0.3037, 0.3037 + 0.7 / N_SAMPLES, 0.7171])  # two closer than 1 / samples


class Waves:
    kinds = {"frequency": "column"}

    def __call__(self, params, columns=None):
        frequency = params["frequency"] if columns is None else params["frequency"][columns]
        return np.exp(2j * np.pi * np.outer(TIMES, frequency))[None, None] / np.sqrt(N_SAMPLES)

    def jac(self, params, columns=None):
        return {"frequency": 2j * np.pi * TIMES[:, None] * self(params, columns)}


def trial(snr, seed):
    """Return squared errors of the lines, and the bounds on their means."""
    rng = np.random.default_rng(seed)
    amplitudes = np.exp(2j * np.pi * rng.random(len(LINES)))
    waves = np.exp(2j * np.pi * np.outer(TIMES, LINES))
    noise = rng.standard_normal((N_SAMPLES, 2)) @ [1, 1j] * np.sqrt(0.5 * 10 ** (-snr / 10))
    model = BilinearSubspaceVBI(
        Waves(),
        {"frequency": np.arange(N_COLUMNS) / N_COLUMNS},
        support_prior=IndependentSupport(0.05),
        param_std={"frequency": 0.5 / N_COLUMNS},
    )
    model.fit((waves @ amplitudes + noise)[None])
    found = model.params_["frequency"][model.support_proba_[0] > 0.5]
    slopes = np.hstack([2j * np.pi * TIMES[:, None] * waves * amplitudes, waves, 1j * waves])
    information = 2 * 10 ** (snr / 10) * (slopes.conj().T @ slopes).real
    bounds = np.diag(np.linalg.inv(information))[: len(LINES)]
    return np.abs(found[:, None] - LINES).min(axis=0) ** 2, bounds


@pytest.mark.parametrize("snr", [15, 30])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_errors_reach_the_bound(snr):
    errors, bounds = np.array([trial(snr, seed) for seed in range(8)]).swapaxes(0, 1)
    ratio = np.sqrt(np.mean(errors[:, [0, 3]] / bounds[:, [0, 3]]))  # lines by themselves
    assert 0.6 < ratio < 1.5
    # of the close lines the median, since a pair may end in a wrong optimum
    assert np.median(np.sqrt(errors[:, 1:3] / bounds[:, 1:3])) < 1.2
