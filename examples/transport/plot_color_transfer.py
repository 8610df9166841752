"""
The colours of one photograph in another
========================================

Pixels are points in the space of colours, and optimal transport maps one photograph's points to
the other's at least cost. :class:`~sparseopt.transport.SinkhornTransport` learns the map from a
sample of pixels and applies it to all of them: the entropic map is defined for any colour, not
only for those of the sample.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

from sparseopt.transport import SinkhornTransport

china, flower = (image[::2, ::2] / 255 for image in load_sample_images().images)
rng = np.random.default_rng(0)


def sample(image, n=700):
    """Return the colours of some pixels."""
    pixels = image.reshape(-1, 3)
    return pixels[rng.choice(len(pixels), n, replace=False)]


# %%
# One fit serves both directions: ``transform`` gives the temple the colours of the flower, and
# ``inverse_transform`` the flower those of the temple. More regularisation makes the map smoother
# and its colours paler.

figure, axes = plt.subplots(2, 3, figsize=(11, 5), layout="constrained")
axes[0, 0].imshow(china)
axes[1, 0].imshow(flower)
axes[0, 0].set_title("photographs")
source, target = sample(china), sample(flower)
for (top, bottom), reg in zip(axes[:, 1:].T, (0.01, 0.1), strict=True):
    model = SinkhornTransport(reg, X_target=target).fit(source)
    print(f"reg={reg}: {model.n_iter_} iterations, score {model.score(source):.2g}")
    top.imshow(model.transform(china.reshape(-1, 3)).reshape(china.shape).clip(0, 1))
    bottom.imshow(model.inverse_transform(flower.reshape(-1, 3)).reshape(flower.shape).clip(0, 1))
    top.set_title(f"with the other's colours, reg={reg}")
for axis in axes.flat:
    axis.set_axis_off()
plt.show()
