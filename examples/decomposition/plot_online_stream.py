"""
A stream that puts its first mistakes right
===========================================

:class:`~sparseopt.decomposition.OnlineRobustPCA` sees each frame of a video once and keeps twenty
of them. Objects move slowly here: what they hid during most of the first frames it cannot know, and
it takes them for a part of the background. As more frames come, the ones kept spread over the
whole stream, and loadings that fit too few of them are corrected. The published algorithm keeps
no frames, ``memory_size=0``, and stays with what it has learnt first.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.datasets import make_moving_objects
from sparseopt.decomposition import OnlineRobustPCA

images, masks = make_moving_objects(120, random_state=3)
frames = images.reshape(len(images), -1)
truth = masks.reshape(len(masks), -1)
shown = [19, 44, 119]


def stream(model):
    """Return the overlap of objects found and true ones in each frame, as it comes."""
    overlap, backgrounds = [], {}
    model.partial_fit(frames[:20])  # a first batch, learnt jointly
    for k, frame in enumerate(frames):
        if k >= 20:
            model.partial_fit(frame[None])
        low_rank, sparse = model.decompose(frame[None])
        found = np.abs(sparse[0]) > 0.05
        overlap.append(np.sum(found & truth[k]) / np.sum(found | truth[k]))
        if k in shown:
            backgrounds[k] = low_rank.reshape(images[k].shape)
    return np.array(overlap), backgrounds


results = {
    "20 frames kept": stream(OnlineRobustPCA(2)),
    "none kept, as published": stream(OnlineRobustPCA(2, memory_size=0)),
}
for name, (overlap, _) in results.items():
    print(f"{name:<24} mean overlap, last 20 frames: {overlap[-20:].mean():.2f}")

# %%
# Above, a frame and the backgrounds learnt so far; below, how well objects are found in the frame
# that has just come.

figure = plt.figure(figsize=(9, 8), layout="constrained")
axes = figure.subplot_mosaic(
    [
        ["frame 0", "frame 1", "frame 2"],
        ["kept 0", "kept 1", "kept 2"],
        ["none 0", "none 1", "none 2"],
        ["curve", "curve", "curve"],
    ],
    height_ratios=[1, 1, 1, 1.3],
)
for column, k in enumerate(shown):
    pictures = [images[k], *(backgrounds[k] for _, backgrounds in results.values())]
    for row, picture in zip(("frame", "kept", "none"), pictures, strict=True):
        axis = axes[f"{row} {column}"]
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    axes[f"frame {column}"].set_title(f"after {k + 1} frames")
for row, label in zip(("frame", "kept", "none"), ("frame", *results), strict=True):
    axes[f"{row} 0"].set_ylabel(label.replace(", ", ",\n"))
for name, (overlap, _) in results.items():
    axes["curve"].plot(np.arange(1, len(overlap) + 1), overlap, label=name)
axes["curve"].set(xlabel="frames seen", ylabel="intersection over union", ylim=(0, 1))
axes["curve"].legend(loc="lower right")
plt.show()
