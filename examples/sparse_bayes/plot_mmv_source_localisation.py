"""
Where sound comes from: many snapshots, one support
===================================================

Eight microphones in a row, half a wavelength apart, record three sources far away. Each snapshot
is a complex vector, a combination of the responses to the directions with new amplitudes each
time; the directions stay. The dictionary has a column for each of 181 directions, far more than
microphones, and neighbouring columns are nearly equal.

The Fourier beamformer projects on each column, and blurs sources that are closer than its beam is
wide. :class:`~sparseopt.sparse_bayes.SparseBayesRegressor` fits all snapshots with common
variances: these are the power that comes from each direction.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.sparse_bayes import SparseBayesRegressor

n_microphones, n_snapshots, noise_variance = 8, 60, 0.05
angles = np.linspace(-90, 90, 181)
sources = np.array([-20.0, 12.0, 20.0])


def response(degrees):
    """Return the responses of the row of microphones, one column a direction."""
    phase = np.pi * np.arange(n_microphones)[:, None] * np.sin(np.deg2rad(degrees))
    return np.exp(1j * phase)


def complex_normal(rng, *shape):
    """Return circular complex normal numbers of variance 1."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


rng = np.random.default_rng(1)
amplitudes = complex_normal(rng, len(sources), n_snapshots)
noise = np.sqrt(noise_variance) * complex_normal(rng, n_microphones, n_snapshots)
recorded = response(sources) @ amplitudes + noise
dictionary = response(angles)

# %%
# One model for all snapshots, and one for each snapshot alone; its powers are averaged
# afterwards. The fast rule changes one direction at a time, which suits a dictionary of nearly
# equal columns.

model = SparseBayesRegressor("fast", noise_variance=noise_variance, fit_intercept=False)
together = model.fit(dictionary, recorded).gamma_
apart = model.set_params(joint=False).fit(dictionary, recorded).gamma_.mean(axis=0)
beams = np.mean(np.abs(dictionary.conj().T @ recorded) ** 2, axis=1) / n_microphones**2
for name, power in (("together", together), ("apart", apart)):
    found = angles[power > 0.05 * power.max()]
    print(f"snapshots {name}: power from {len(found)} directions, {np.round(found)}")

# %%
# Eight microphones cannot separate directions closer than about 14 degrees by beams, so that the
# sources at 12 and 20 degrees melt into one. Together, the snapshots tell them apart, though one
# source is shared by two neighbouring columns; a snapshot alone puts power near them, in another
# place each time.

figure, axes = plt.subplots(3, 1, figsize=(9, 7), sharex=True, layout="constrained")
axes[0].plot(angles, beams, "C0")
axes[1].stem(angles[apart > 0], apart[apart > 0], "C1", markerfmt="C1.", basefmt=" ")
axes[2].stem(angles[together > 0], together[together > 0], "C2", markerfmt="C2.", basefmt=" ")
titles = ("beamformer", "sparse Bayes, snapshots apart", "sparse Bayes, common variances")
for axis, title in zip(axes, titles, strict=True):
    for source in sources:
        axis.axvline(source, color="k", linestyle=":", linewidth=1)
    axis.set(title=title, ylabel="power", ylim=(0, None))
axes[2].set(xlabel="direction in degrees (dotted: true)", xlim=(-60, 60))
plt.show()
