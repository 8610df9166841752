"""Whether a median agrees with a recorded one, given how much medians of few trials vary."""

import numpy as np
from scipy.stats import binom

WITHIN, BETTER, SCATTER, WORSE = "within", "better", "scatter", "WORSE"
LEGEND = (
    f"verdicts: {WITHIN} the factor, or {BETTER} by more; {SCATTER}: above it, but the 95 % "
    f"interval of the median is not; {WORSE}: above it by more than that"
)


def interval(values):
    """Return bounds that hold the median of the law of ``values`` with at least 95 %."""
    ordered = np.sort(values)
    # The number of values below the median is binomial, whatever their law.
    rank = int(binom.ppf(0.025, len(ordered), 0.5))
    low = max(rank - 1, 0)
    return float(ordered[low]), float(ordered[len(ordered) - 1 - low])


def verdict(values, reference, factor):
    """Return a word for the median of ``values`` next to a recorded median."""
    median = float(np.median(values))
    if median < reference / factor:
        return BETTER
    if median <= reference * factor:
        return WITHIN
    return SCATTER if interval(values)[0] <= reference * factor else WORSE
