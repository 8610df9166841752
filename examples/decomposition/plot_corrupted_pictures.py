"""
A scratched picture with holes, mended by its own pattern
==========================================================

A brick wall repeats itself: as a matrix of grey values it is nearly of low rank. Scratches are
sparse errors, and lost pixels are missing entries, so that
:func:`~sparseopt.decomposition.robust_pca` restores both from the pattern of the whole picture. A
median filter knows only the neighbourhood of a pixel: wide enough to see past the scratches, it
wipes out the joints as well.

The picture is scikit-image's ``brick`` at half size, a photograph from CC0Textures under the CC0
licence.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.decomposition import robust_pca

folder = Path(__file__).parent if "__file__" in globals() else Path.cwd()
wall = plt.imread(folder / "brick_wall.png").astype(float)

# %%
# Sixteen scratches, black or white, cover a tenth of the wall; three pixels in ten are lost at
# random and become NaN. Nothing tells which of the other pixels a scratch has hit.

rng = np.random.default_rng(0)
rows, columns = np.indices(wall.shape)
damaged = wall.copy()
for _ in range(16):
    angle = rng.uniform(0.2, 1.4) * rng.choice([-1, 1])
    down, right = rows - rng.uniform(30, 226), columns - rng.uniform(30, 226)
    across = np.abs(down * np.cos(angle) - right * np.sin(angle))
    along = np.abs(down * np.sin(angle) + right * np.cos(angle))
    damaged[(across < 1.5) & (along < 70)] = rng.choice([0.0, 1.0])
scratched = damaged != wall
damaged[rng.random(wall.shape) < 0.3] = np.nan


def median_filter(picture, radius):
    """Return the median of the known pixels in a square around each pixel."""
    side = 2 * radius + 1
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(picture, radius, constant_values=np.nan), (side, side)
    )
    return np.nanmedian(windows, axis=(2, 3))


def quality(picture):
    """Return the signal-to-noise ratio of a picture, in decibels."""
    return -10 * np.log10(np.mean((np.clip(picture, 0, 1) - wall) ** 2))


# %%
# Weight and treatment of missing entries are the defaults; grey values need no more accuracy than
# ``tol=1e-5``. The median filter has the best of four window sizes, chosen with the true picture in
# view.

result = robust_pca(damaged, tol=1e-5)
filtered = max((median_filter(damaged, radius) for radius in (1, 2, 3, 4)), key=quality)
print(f"{scratched.mean():.0%} of the pixels scratched, {np.isnan(damaged).mean():.0%} lost")
print(f"gap {result.dual_gap:.0e} after {result.nit} iterations, rank {result.x.rank}")

panels = {
    "damaged (lost pixels white)": np.nan_to_num(damaged, nan=1.0),
    f"median filter: {quality(filtered):.1f} dB": filtered,
    f"robust PCA: {quality(result.low_rank):.1f} dB": result.low_rank,
}
figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set_title(title)
    axis.set_axis_off()
plt.show()
