"""What all tests share."""

import os

import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

# SciPy reads this when it is first imported; scikit-learn's array-API checks need it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

# Continuous integration repeats the same examples; a run by hand looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread():
    """The problems of the tests are small: threads cost more there than they bring."""
    with threadpool_limits(limits=1):
        yield
