"""What all tests share."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread():
    """The problems of the tests are small: threads cost more there than they bring."""
    with threadpool_limits(limits=1):
        yield
