"""
Line spectra off the grid
=========================

A signal of 64 samples holds five lines, two of them closer than the periodogram can resolve. The
frequencies are where they are, and not on a grid: a sparse model with a column for each of 128
frequencies needs several columns for a line between two of them, and cannot say where it is.

:class:`~sparseopt.sparse_bayes.BilinearSubspaceVBI` lets the columns move. All it needs is a
function that returns the columns for given frequencies, and their derivatives.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.sparse_bayes import (
    BilinearSubspaceVBI,
    IndependentSupport,
    check_dictionary_gradient,
)

n_samples, n_columns = 64, 128
lines = np.array([0.1012, 0.2037, 0.2037 + 0.7 / n_samples, 0.45, 0.7171])
times = np.arange(n_samples) - (n_samples - 1) / 2


class Waves:
    """Complex waves; each has a frequency of its own."""

    kinds = {"frequency": "column"}

    def __call__(self, params, columns=None):
        frequency = params["frequency"] if columns is None else params["frequency"][columns]
        waves = np.exp(2j * np.pi * np.outer(times, frequency))
        return waves[None, None] / np.sqrt(n_samples)  # one group, one block

    def jac(self, params, columns=None):
        return {"frequency": 2j * np.pi * times[:, None] * self(params, columns)}


start = {"frequency": np.arange(n_columns) / n_columns}
print("derivatives off by", check_dictionary_gradient(Waves(), start))


def draw(snr, seed):
    """Return a signal with lines of unit amplitude, and the amplitudes."""
    rng = np.random.default_rng(seed)
    amplitudes = np.exp(2j * np.pi * rng.random(len(lines)))
    noise = rng.standard_normal((n_samples, 2)) @ [1, 1j] * np.sqrt(0.5 * 10 ** (-snr / 10))
    return np.exp(2j * np.pi * np.outer(times, lines)) @ amplitudes + noise, amplitudes


def fit(signal, **options):
    """Return the frequencies and strengths of active columns."""
    model = BilinearSubspaceVBI(
        Waves(),
        start,
        support_prior=IndependentSupport(0.05),
        param_std={"frequency": 0.5 / n_columns},
        **options,
    )
    model.fit(signal[None])  # a single snapshot
    active = model.support_proba_[0] > 0.5
    strength = np.abs(model.coef_[0, active]) / np.sqrt(n_samples)
    return model.params_["frequency"][active], strength


# %%
# First a signal with 15 dB more power in each line than in the noise of a sample. On the grid, the
# two close lines take several columns, and so do others. Columns that move find five lines.

signal, _ = draw(15, seed=0)
fixed, moved = fit(signal, m_step=None), fit(signal)
print(f"on the grid: {len(fixed[0])} lines; moved: {len(moved[0])}, at {moved[0].round(4)}")

# %%
# How well could the frequencies be known at all? The Cramer-Rao bound answers that, from the
# derivatives by frequencies and complex amplitudes.


def bound(snr, amplitudes):
    """Return the smallest standard deviations of the frequencies."""
    waves = np.exp(2j * np.pi * np.outer(times, lines))
    moves = 2j * np.pi * times[:, None] * waves * amplitudes
    slopes = np.hstack([moves, waves, 1j * waves])
    information = 2 * 10 ** (snr / 10) * (slopes.conj().T @ slopes).real
    return np.sqrt(np.diag(np.linalg.inv(information))[: len(lines)])


def error(found):
    """Return the distance of each line from the nearest one found."""
    return np.abs(found[0][:, None] - lines).min(axis=0)


def median_errors(snr, normal):
    """Return the median errors of both fits, and of estimates that reach the bound."""
    trials = [draw(snr, seed) for seed in range(100, 105)]
    fixed = [error(fit(signal, m_step=None)) for signal, _ in trials]
    moved = [error(fit(signal)) for signal, _ in trials]
    ideal = [np.abs(np.outer(bound(snr, amplitudes), normal)) for _, amplitudes in trials]
    return [np.median(fixed), np.median(moved), np.median(ideal)]


ratios = [5, 15, 25, 35]
normal = np.random.default_rng(0).standard_normal(1000)
errors = [median_errors(snr, normal) for snr in ratios]
errors = n_samples * np.array(errors)
for snr, row in zip(ratios, errors, strict=True):
    print(f"{snr:2d} dB: grid {row[0]:.4f}, moved {row[1]:.4f}, bound {row[2]:.4f}")

# %%
# The errors of columns that move fall with the noise, along the bound; those of columns of the grid
# stay what the grid makes them.

figure, (spectrum, errors_axis) = plt.subplots(2, 1, figsize=(9, 7), layout="constrained")
dense = np.linspace(0, 1, 2048, endpoint=False)
periodogram = np.abs(np.exp(-2j * np.pi * np.outer(dense, times)) @ signal) / n_samples
spectrum.plot(dense, periodogram, "0.6", label="periodogram")
for name, (places, strengths), style in (("grid", fixed, "C1s"), ("moved", moved, "C2o")):
    spectrum.stem(places, strengths, linefmt=style[:2], markerfmt=style, basefmt=" ", label=name)
for line in lines:
    spectrum.axvline(line, color="k", linestyle=":", linewidth=1)
spectrum.set(xlabel="frequency (dotted: true)", ylabel="amplitude", xlim=(0, 1))
spectrum.legend()
for values, label, style in zip(errors.T, ("grid", "moved", "bound"), ("C1s-", "C2o-", "k--")):
    errors_axis.semilogy(ratios, values, style, label=label)
errors_axis.set(
    xlabel="signal-to-noise ratio (dB)", ylabel="median error / (1 / number of samples)"
)
errors_axis.legend()
plt.show()
