"""The processor time of a function."""

import time
import warnings

from threadpoolctl import threadpool_limits


def timed(function, repeats=1):
    """Return the smallest processor time of ``function``, on one thread, and its last value."""
    seconds = float("inf")
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(repeats):
            start = time.process_time()
            value = function()
            seconds = min(seconds, time.process_time() - start)
    return seconds, value
