"""Images and masks as a user gives them: stacks, single images or rows, of any numbers."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_array

from sparseopt.decomposition._segmentation_metrics import check_masks

FLOATS = [np.float64, np.float32]
ROUNDING_STD = 12**-0.5  # standard deviation of numbers rounded to integers
FEWEST_LEVELS = 16  # of images that count as rounded
MOST_VALUES = 200_000  # that are looked at for their levels


def shape_of_rows(image_shape, n_pixels):
    """Return height and width of images in rows of ``n_pixels``; one side may be given as -1."""
    sides = tuple(image_shape)
    known = [side for side in sides if isinstance(side, Integral) and side > 0]
    if len(sides) != 2 or len(known) + sides.count(-1) != 2 or not known:
        raise ValueError(
            "image_shape must be a pair of positive integers, of which one may be -1, got "
            f"{image_shape!r}."
        )
    if n_pixels % np.prod(known) or (len(known) == 2 and n_pixels != np.prod(known)):
        raise ValueError(f"image_shape={image_shape!r} does not fit rows of {n_pixels} pixels.")
    return tuple(n_pixels // known[0] if side == -1 else int(side) for side in sides)


def check_image_stack(X):
    """Return images of shape (n_images, height, width) or (height, width), in a floating dtype."""
    X = check_array(X, dtype=FLOATS, allow_nd=True, input_name="X")
    if X.ndim > 3 or 0 in X.shape:
        raise ValueError(
            "X must have shape (n_images, height, width) or (height, width), or "
            f"(n_images, height * width) with image_shape=(height, width), got {X.shape}."
        )
    return X


def check_size_of_values(images):
    """Raise if sums of squares of the values could overflow."""
    limit = float(np.finfo(images.dtype).max) ** 0.5 / 1e6
    largest = float(np.max(np.abs(images)))
    if largest > limit:
        raise ValueError(
            f"X must have values of at most {limit:.1g} in {images.dtype}, got {largest:.3g}: "
            "divide the images by a constant."
        )


def masks_like(y, shape, *, flat):
    """Return masks as booleans in the shape of the images, or None if there are none.

    Labels of whole images are none. With ``flat``, masks may be rows.
    """
    if y is None:
        return None
    y = np.asarray(y)
    if y.shape == shape[:1]:
        return None
    allowed = [shape]
    if flat:
        allowed.append((shape[0], shape[1] * shape[2]))
    elif shape[0] == 1:
        allowed.append(shape[1:])
    if y.shape not in allowed:
        raise ValueError(f"y must be masks in the shape of the images, got {y.shape}.")
    return check_masks(y.reshape(shape), "y")


def rounding_noise(images, accuracy):
    """Return the standard deviation below which there is no noise.

    Values are known to a share ``accuracy`` of the largest, and to the step of their levels.
    """
    largest = float(np.max(np.abs(images)))
    least = ROUNDING_STD * _step_of_levels(images)
    return max(least, accuracy * largest, float(np.finfo(np.float64).tiny))


def _step_of_levels(images):
    """Return the distance of the evenly spaced levels that all values are on, 0 if there is none.

    Few levels may be those of drawn images, which are exact.
    """
    values = images.ravel()
    levels = np.unique(values[:: -(-values.size // MOST_VALUES)]).astype(np.float64)
    if len(levels) < FEWEST_LEVELS:
        return 0.0
    span = levels[-1] - levels[0]
    step = span / np.round(span / np.min(np.diff(levels)))
    places = (levels - levels[0]) / step
    return float(step) if np.max(np.abs(places - np.round(places))) < 0.02 else 0.0
