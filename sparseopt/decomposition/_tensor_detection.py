r"""Whether a rank-one part stands out from what pure noise has to offer.

Under independent normal entries of standard deviation one, f is a spherical p-spin model: its
largest value over the unit sphere is near :math:`E_0 \sqrt{d}`, where :math:`E_0` is the zero of
the complexity of its critical points (A. Auffinger, G. Ben Arous & J. Cerny, Communications on
Pure and Applied Mathematics 66 (2013)).
"""

import math

import numpy as np

# The zeros of the complexity; for matrices, the edge of the semicircle.
GROUND_STATE = {2: math.sqrt(2.0), 3: 1.65700, 4: 1.79409, 5: 1.88799, 6: 1.95867}
MARGIN = 1.05  # for orders from 3
# Of |eigenvalues|, either of which may be large: 97.5 % of the Tracy-Widom law, beta = 1.
EDGE_QUANTILE = 1.4538
MEDIAN_SPREAD = 1.166  # times 1 / sqrt(n): relative standard deviation of a median absolute value


def signal_to_noise(values, noise_scale, n_features):
    """Return absolute values of f over the noise's standard deviation and the root of d.

    Infinite without noise, and zero for zeros.
    """
    values = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = values / (noise_scale * math.sqrt(n_features))
    return np.where(values > 0, ratios, 0.0)


def detection_threshold(order, n_features, *, estimated):
    """Return the ratio that pure noise exceeds in at most 5 of 100 tensors.

    Parameters
    ----------
    order : int
        Number of modes.
    n_features : int
        Length of each.
    estimated : bool
        Whether the scale of the noise is the median absolute value of the entries, which varies
        where these are few.

    Returns
    -------
    float
    """
    if order == 2:
        threshold = GROUND_STATE[2] * (1 + EDGE_QUANTILE / 2 / n_features ** (2 / 3))
    else:
        # The largest values of small tensors vary more: simulated for d from 2 to 80.
        small = 0.2 / n_features + 0.4 / n_features**2
        threshold = GROUND_STATE[order] * (MARGIN + small)
    if not estimated:
        return threshold
    spread = MEDIAN_SPREAD / math.sqrt(math.comb(n_features + order - 1, order))
    return threshold * (1 + 2.5 * spread**2)
