"""
A radio channel by way of a reflecting surface
==============================================

A wall of hundreds of small reflectors passes the signal of a mobile station on to a base station.
To steer it, the base station must know the channel, but it gets few pilots. In angles, the channel
is sparse: all that it receives is a Kronecker product of three known matrices times a tensor whose
support is a product as well, one set of angles an axis.
:class:`~sparseopt.sparse_bayes.KroneckerSBL` estimates such tensors, and never forms the product.

:func:`~sparseopt.datasets.make_irs_mimo_channel` draws channels. Here 288 measurements, under 6
configurations of the surface and with 3 pilots, belong to 18 x 18 x 18 combinations of angles, of
which 9 are there.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_irs_mimo_channel
from sparseopt.sparse_bayes import KroneckerOMP, KroneckerSBL

scene = make_irs_mimo_channel(snr=8, random_state=0)
print([factor.shape for factor in scene.factors], scene.y.shape, scene.coef.shape)
estimates = {}
for m_step in ("am", "svd"):
    model = KroneckerSBL(m_step, noise_variance=scene.noise_variance)
    estimates[m_step] = model.fit(scene.factors, scene.y).coef_
    print(f"{m_step}: error of the channels {scene.channel_nmse(estimates[m_step]):.4f}")

# %%
# The picture has the angles with several paths. At the base station, 16 antennas tell them apart.
# At the surface 6 configurations have to do so, which is hard: here the alternating method ("am")
# finds the block, and that of singular vectors ("svd") mixes it with others that explain the same
# data. The error counts the channels under these configurations only, so that it is small for both.

path = int(np.flatnonzero(scene.supports[1])[0])
panels = {"truth": scene.coef, '"am", 8 dB': estimates["am"], '"svd", 8 dB': estimates["svd"]}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", sharey=True)
for axis, (title, tensor) in zip(axes, panels.items(), strict=True):
    strength = np.abs(tensor[:, path])
    picture = axis.imshow(strength, vmin=0, vmax=np.abs(scene.coef).max(), cmap="magma_r")
    axis.set(title=title, xlabel="angle at the base station")
axes[0].set_ylabel("difference of angles at the surface")
figure.colorbar(picture, ax=axes, label="magnitude")

# %%
# Five methods at several signal-to-noise ratios. Greedy pursuit is told the numbers of paths. The
# others know the noise variance only: the two from above; one whose variances are smooth along the
# angles with several paths, since these are next to each other; and the published settings of the
# alternating method. The latter start from variances that do not depend on the scale of the data,
# and stop after 150 iterations, which is too early where noise is strong.


def methods(scene):
    known = {"noise_variance": scene.noise_variance}
    published = {"prune_tol": (1e-2, 1e-1, 1e-3), "prune_floor": 1e-4, "inner_tol": 1e-4}
    # 150 iterations are part of the published settings; they may stop before convergence.
    return {
        "greedy pursuit": KroneckerOMP((3, 1, 3)),
        "alternating, published settings": KroneckerSBL.published("am", **known, **published),
        "alternating": KroneckerSBL("am", **known),
        "singular vectors": KroneckerSBL("svd", **known),
        "alternating, coupled angles": KroneckerSBL(
            "am", pattern_coupling=(0.5, None, 0.5), **known
        ),
    }


warnings.simplefilter("ignore", ConvergenceWarning)
ratios = [0, 5, 10, 15, 20]
n_channels = 5
errors = {}
for snr in ratios:
    for seed in range(n_channels):
        scene = make_irs_mimo_channel(snr=snr, random_state=seed)
        for name, model in methods(scene).items():
            model.fit(scene.factors, scene.y)
            errors.setdefault(name, []).append(scene.channel_nmse(model.coef_))

figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
for marker, (name, values) in zip("so^vD", errors.items(), strict=True):
    medians = np.median(np.reshape(values, (len(ratios), n_channels)), axis=1)
    axis.semilogy(ratios, medians, marker=marker, label=name)
    print(f"{name:<32}", np.round(medians, 4))
axis.set(
    xlabel="signal-to-noise ratio (dB)",
    ylabel="squared error of the channels, relative",
    title=f"Median of {n_channels} channels",
    xticks=ratios,
)
axis.legend()
axis.grid(alpha=0.3)
plt.show()
