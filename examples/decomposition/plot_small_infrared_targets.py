"""
Small targets before clouds
===========================

A target of a few pixels is no brighter than the clouds, only brighter than what is next to it.
:class:`~sparseopt.decomposition.SparseObjectSegmenter` splits an image into a background and
sparse objects; here it learns its parameters from the masks of six scenes and is tested on six
others, against the top-hat transform and the infrared patch-image model. Each of these gets the
threshold that is best on the six scenes, too.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from sparseopt.datasets import make_infrared_targets
from sparseopt.decomposition import SparseObjectSegmenter, segmentation_metrics

images, masks = make_infrared_targets(12, random_state=0)
train, test = slice(0, 6), slice(6, 12)


def top_hat(images):
    return images - ndimage.grey_opening(images, (1, 9, 9))


shares = np.linspace(0.05, 0.95, 46)
hats = top_hat(images)
thresholds = shares * hats[train].max()
ious = [segmentation_metrics(masks[train], hats[train] > t).iou for t in thresholds]
patches = SparseObjectSegmenter("patch_nuclear", lam=2.0).fit(images[train], masks[train])
unrolled = SparseObjectSegmenter().fit(images[train], masks[train])

found = {
    "top-hat": hats[test] > thresholds[np.argmax(ious)],
    "patch-image model": patches.predict(images[test]),
    "unrolled opening": unrolled.predict(images[test]),
}

# %%
# All three find all targets with few false alarms. They differ in the shapes, which the
# intersection over union (IoU) compares pixel by pixel.

scores = {name: segmentation_metrics(masks[test], mask) for name, mask in found.items()}
for name, score in scores.items():
    print(f"{name:18s} IoU {score.iou:.2f}  detected {score.pd:.0%}  false alarms {score.fa:.1e}")

scene = int(np.argmax(masks[test].sum(axis=(1, 2))))
figure, axes = plt.subplots(2, 4, figsize=(11, 5.6), layout="constrained")
labels, _ = ndimage.label(masks[test][scene])
largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
row, column = (int(np.clip(x.mean(), 12, 115)) for x in np.nonzero(largest))
window = slice(row - 12, row + 13), slice(column - 12, column + 13)
pictures = {"truth": masks[test], **found}
for axis, (name, mask) in zip(axes.T, pictures.items(), strict=True):
    for part, view in zip(axis, ((slice(None), slice(None)), window), strict=True):
        part.imshow(images[test][scene][view], cmap="gray")
        part.contour(mask[scene][view], [0.5], colors="C1", linewidths=1.2)
        part.set(xticks=[], yticks=[])
    score = f", IoU {scores[name].iou:.2f}" if name in scores else ""
    axis[0].set_title(name + score)
axes[0, 0].set_ylabel("a test scene")
axes[1, 0].set_ylabel("around a target")
plt.show()
