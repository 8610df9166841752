"""Every public estimator against scikit-learn's checks and the library's own."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks as sklearn_checks

from sparseopt.testing import all_estimators, parametrize_with_checks

ESTIMATORS = [estimator() for _, estimator in all_estimators()]


@sklearn_checks(ESTIMATORS)
def test_scikit_learn_check(estimator, check):
    if "array_api" in str(check):
        pytest.skip("scikit-learn's array-API checks need SCIPY_ARRAY_API=1 in the environment")
    check(estimator)  # each check asserts


@parametrize_with_checks(ESTIMATORS)
def test_library_check(estimator, check):
    check(type(estimator).__name__, estimator)  # each check asserts
