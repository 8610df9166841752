"""
People before a still background
================================

Frames of a still camera are nearly the same picture: stacked as rows they form a matrix of low
rank, plus few pixels where somebody walks. Robust PCA tells both apart, though everybody is on the
picture all the time and no frame is empty.

:class:`~sparseopt.decomposition.SparseObjectSegmenter` learns the background of
:func:`~sparseopt.datasets.load_pedestrian_frames` from the first 60 frames, with no masks. In the
other 20 it finds who was not there before, one frame at a time.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.datasets import load_pedestrian_frames
from sparseopt.decomposition import SparseObjectSegmenter

images = load_pedestrian_frames().images
segmenter = SparseObjectSegmenter("nuclear", threshold=30, min_area=6, random_state=0)
segmenter.fit(images[:60])
print(f"images that span the background: {len(segmenter.components_)}")
print(f"noise: {segmenter.noise_std_:.1f} of 255 grey levels")

# %%
# ``transform`` returns background and objects, which sum to the frame up to noise; ``predict``
# the masks, here without regions of fewer than six pixels. The noise is so small that faint
# shadows stand out from it too: a threshold of 30 times the noise leaves them in the objects but
# keeps them out of the masks. What stays left of the pole is where somebody stood in almost half of
# the first frames, and became part of the background.

chosen = [60, 67, 74]
background, objects = np.moveaxis(segmenter.transform(images[chosen]), 1, 0)
masks = segmenter.predict(images[chosen])
figure, axes = plt.subplots(3, 3, figsize=(9, 7), layout="constrained")
for row, frame in enumerate(chosen):
    axes[row, 0].imshow(images[frame], cmap="gray", vmin=0, vmax=255)
    axes[row, 0].contour(masks[row], [0.5], colors="C1", linewidths=1)
    axes[row, 1].imshow(background[row], cmap="gray", vmin=0, vmax=255)
    axes[row, 2].imshow(objects[row], cmap="RdBu_r", vmin=-150, vmax=150)
    axes[row, 0].set_ylabel(f"frame {frame}")
for axis, title in zip(axes[0], ("frame and masks", "background", "objects"), strict=True):
    axis.set_title(title)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
plt.show()
