r"""Pictures and video in which a few pixels belong to objects: a real clip, and two generators.

Scenes with small targets are sums of clouds with the amplitude spectrum 1 / f^1.6, a vertical
gradient, Gaussian targets and noise; videos are a still background under drifting light, with
moving ellipses before it. Both come with the exact masks of the objects.
"""

from importlib import resources
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from sparseopt.datasets._causal import _check_range, _generator

CLOUD_EXPONENT = 1.6
CLOUD_STD = 0.05
MOST_FAILURES = 3000  # to find a place for a target
TARGET_EDGE = 0.2  # of a target's peak: the brightness at which its mask ends


@validate_params({"return_X": ["boolean"]}, prefer_skip_nested_validation=True)
def load_pedestrian_frames(*, return_X=False):
    """Load 80 small frames of a still camera over a path with pedestrians.

    ==============   ==================
    Frames                           80
    Height x width              72 x 96
    Values           0 to 255, grey
    Masks                          none
    ==============   ==================

    Parameters
    ----------
    return_X : bool, default=False
        Whether to return the frames alone, one a row: an array of shape (80, 6912).

    Returns
    -------
    clip : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these entries:

        images : ndarray of uint8 of shape (80, 72, 96)
            Frames in order.
        frame_index : ndarray of int of shape (80,)
            Numbers of the frames in the original clip: every fifth of the first 400.
        DESCR : str
            This description.

    X : ndarray of uint8 of shape (80, 6912)
        Only with ``return_X=True``.

    See Also
    --------
    make_moving_objects : Objects with known masks before the background of this clip.

    Notes
    -----
    The frames are those of ``vtest.avi``, a sample of the OpenCV library under the Apache
    licence 2.0, as distributed by Debian in ``opencv-doc`` 4.6.0; they were converted to grey
    and reduced by averaging areas. The licence is beside the file, in
    ``sparseopt/datasets/data``.

    Examples
    --------
    >>> from sparseopt.datasets import load_pedestrian_frames
    >>> clip = load_pedestrian_frames()
    >>> clip.images.shape, clip.images.dtype.name, clip.frame_index[:3].tolist()
    ((80, 72, 96), 'uint8', [0, 5, 10])
    """
    file = resources.files("sparseopt.datasets") / "data" / "pedestrian_frames.npz"
    with file.open("rb") as stream, np.load(stream) as stored:
        images, frame_index = stored["frames"], stored["frame_index"]
    if return_X:
        return images.reshape(len(images), -1)
    return Bunch(images=images, frame_index=frame_index, DESCR=load_pedestrian_frames.__doc__)


@validate_params(
    {
        "n_images": [Interval(Integral, 1, None, closed="left")],
        "shape": [tuple, list],
        "n_targets": [tuple, list, Interval(Integral, 0, None, closed="left")],
        "contrast": [tuple, list],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state", np.random.Generator],
    },
    prefer_skip_nested_validation=True,
)
def make_infrared_targets(
    n_images=12,
    *,
    shape=(128, 128),
    n_targets=(1, 3),
    contrast=(0.15, 0.35),
    noise_std=0.01,
    random_state=None,
):
    r"""Generate infrared-like scenes with small bright targets before clouds.

    Parameters
    ----------
    n_images : int, default=12
        Number of scenes.
    shape : pair of int, default=(128, 128)
        Height and width of a scene, at least 16 each.
    n_targets : int or pair of int, default=(1, 3)
        Number of targets in a scene, or the range from which it is drawn.
    contrast : pair of float, default=(0.15, 0.35)
        Range of the peaks of the targets, on a scale where clouds are between 0 and 1.
    noise_std : float, default=0.01
        Standard deviation of the Gaussian noise.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    images : ndarray of shape (n_images, height, width)
        Scenes, with values in [0, 1].
    masks : ndarray of bool of shape (n_images, height, width)
        Pixels where a target has more than a fifth of its peak. A target covers some ten to
        thirty pixels; targets do not touch.

    Raises
    ------
    ValueError
        If a parameter is out of range, or if the targets do not fit into the scene.

    See Also
    --------
    make_moving_objects : Large objects in video.

    Notes
    -----
    Clouds are Gaussian with the amplitude spectrum :math:`1 / f^{1.6}`, periodic at the border
    of a scene, and brighten from top to bottom. Targets are Gaussian with standard deviations of
    0.9 to 1.7 pixels along each axis.

    Examples
    --------
    >>> from sparseopt.datasets import make_infrared_targets
    >>> images, masks = make_infrared_targets(4, random_state=0)
    >>> images.shape, masks.dtype.name, bool(0 < masks.mean() < 0.01)
    ((4, 128, 128), 'bool', True)
    """
    height, width = _check_shape(shape)
    fewest, most = _check_counts(n_targets)
    low, high = _check_range(contrast, "contrast")
    rng = _generator(random_state)
    images = np.empty((n_images, height, width))
    masks = np.zeros((n_images, height, width), dtype=bool)
    for image, mask in zip(images, masks, strict=True):
        slope = rng.uniform(0.0, 0.2) * np.linspace(-0.5, 0.5, height)[:, None]
        image[:] = 0.47 + CLOUD_STD * _draw_clouds(height, width, rng) + slope
        for centre in _draw_places(rng.integers(fewest, most + 1), height, width, rng):
            spot = _gaussian_spot(centre, rng.uniform(0.9, 1.7, 2), height, width)
            image += rng.uniform(low, high) * spot
            mask |= spot > TARGET_EDGE
        image += noise_std * rng.standard_normal((height, width))
    return np.clip(images, 0, 1, out=images), masks


@validate_params(
    {
        "n_frames": [Interval(Integral, 1, None, closed="left")],
        "background": ["array-like", None],
        "n_objects": [Interval(Integral, 0, None, closed="left")],
        "drift": [Interval(Real, 0, 1, closed="left")],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state", np.random.Generator],
    },
    prefer_skip_nested_validation=True,
)
def make_moving_objects(
    n_frames=100,
    *,
    background=None,
    n_objects=4,
    drift=0.05,
    noise_std=0.01,
    random_state=None,
):
    """Generate video of objects that move before a still background, with their exact masks.

    Parameters
    ----------
    n_frames : int, default=100
        Number of frames.
    background : array-like of shape (height, width), default=None
        What stands still, with values in [0, 1]; by default the median of the frames of
        :func:`load_pedestrian_frames`, of 72 x 96 pixels.
    n_objects : int, default=4
        Number of moving ellipses; their size goes with that of the frame.
    drift : float, default=0.05
        The light rises and falls by this share, slowly and over the whole frame.
    noise_std : float, default=0.01
        Standard deviation of the Gaussian noise.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed or generator; an int makes the result reproducible, and gives what
        ``numpy.random.default_rng`` of this int does.

    Returns
    -------
    images : ndarray of shape (n_frames, height, width)
        Frames, with values in [0, 1].
    masks : ndarray of bool of shape (n_frames, height, width)
        Pixels of the ellipses. Objects leave the frame on one side and come back on the other.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    load_pedestrian_frames : The clip with the default background.

    Notes
    -----
    Each ellipse keeps a brightness, some are darker and some brighter than the path, and bears
    stripes; it moves straight at a constant speed of 0.3 to 0.9 percent of the width a frame,
    plus a small vertical speed. Later objects hide earlier ones.

    Examples
    --------
    >>> from sparseopt.datasets import make_moving_objects
    >>> images, masks = make_moving_objects(20, random_state=0)
    >>> images.shape, bool(masks.any(axis=(1, 2)).all())
    ((20, 72, 96), True)
    """
    still = _check_background(background)
    rng = _generator(random_state)
    height, width = still.shape
    time = np.arange(n_frames)
    light = 1 + drift * np.sin(2 * np.pi * (time / max(n_frames, 2) + rng.uniform()))
    images = light[:, None, None] * still
    masks = np.zeros(images.shape, dtype=bool)
    for _ in range(n_objects):
        half = height * rng.uniform(0.1, 0.13), height * rng.uniform(0.04, 0.06)
        brightness = rng.choice([0.07, 0.75, 0.9]) + rng.uniform(-0.03, 0.03)
        start = np.array([height * rng.uniform(0.15, 0.85), width * rng.uniform()])
        speed = width * rng.uniform(0.003, 0.009) * rng.choice([-1, 1])
        fall = height * rng.uniform(-0.001, 0.001)
        for t in time:
            centre = start[0] + fall * t, (start[1] + speed * t) % width
            inside, across = _ellipse(centre, half, height, width)
            images[t][inside] = (brightness + 0.06 * np.sin(across))[inside]
            masks[t] |= inside
    images += noise_std * rng.standard_normal(images.shape)
    return np.clip(images, 0, 1, out=images), masks


def _check_shape(shape):
    sides_are_integers = all(isinstance(side, Integral) for side in shape)
    if len(shape) != 2 or not sides_are_integers or min(shape) < 16:
        raise ValueError(f"shape must be a pair of integers of at least 16, got {shape!r}.")
    return shape


def _check_counts(n_targets):
    if isinstance(n_targets, Integral):
        return n_targets, n_targets
    integers = all(isinstance(count, Integral) for count in n_targets)
    if len(n_targets) != 2 or not integers or not 0 <= n_targets[0] <= n_targets[1]:
        raise ValueError(
            f"n_targets must be an integer >= 0 or a pair of them in order, got {n_targets!r}."
        )
    return n_targets


def _check_background(background):
    if background is None:
        return np.median(load_pedestrian_frames().images, axis=0) / 255
    still = np.asarray(background, dtype=np.float64)
    if still.ndim != 2 or min(still.shape) < 16:
        raise ValueError(
            f"background must be one image of at least 16 x 16 pixels, got shape {still.shape}."
        )
    if not np.all((still >= 0) & (still <= 1)):
        raise ValueError("background must have values in [0, 1].")
    return still


def _draw_clouds(height, width, rng):
    """Return a periodic Gaussian field of mean 0 and variance 1 over the image."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(rng.standard_normal((height, width)))
    field = np.fft.irfft2(white * frequency**-CLOUD_EXPONENT, s=(height, width))
    return field / field.std()


def _draw_places(n_places, height, width, rng, margin=6, distance=16.0):
    """Return centres (row, column) that are far from each other and from the border."""
    places = []
    failures = 0  # in a row
    while len(places) < n_places and failures < MOST_FAILURES:
        place = rng.uniform((margin, margin), (height - margin, width - margin))
        failures += 1
        if all(np.hypot(*(place - other)) >= distance for other in places):
            places.append(place)
            failures = 0
    if len(places) < n_places:
        raise ValueError(
            f"n_targets={n_places} targets do not fit into an image of shape {(height, width)}: "
            "they keep 16 pixels apart."
        )
    return places


def _gaussian_spot(centre, scales, height, width):
    rows = np.exp(-0.5 * ((np.arange(height) - centre[0]) / scales[0]) ** 2)
    columns = np.exp(-0.5 * ((np.arange(width) - centre[1]) / scales[1]) ** 2)
    return rows[:, None] * columns


def _ellipse(centre, half, height, width):
    """Return the pixels of an ellipse that wraps round at the sides, and the phase of stripes."""
    down = (np.arange(height) - centre[0])[:, None]
    across = (np.arange(width) - centre[1] + width / 2) % width - width / 2
    inside = (down / half[0]) ** 2 + (across / half[1]) ** 2 <= 1
    return inside, np.broadcast_to(2 * np.pi * down / (half[0] / 2), inside.shape)
