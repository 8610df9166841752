"""What all tests share."""

import os

import pytest
from threadpoolctl import threadpool_limits

# SciPy reads this when it is first imported; scikit-learn's array-API checks need it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread():
    """The problems of the tests are small: threads cost more there than they bring."""
    with threadpool_limits(limits=1):
        yield
