"""Every public estimator against scikit-learn's checks and the library's own."""

from sklearn.utils.estimator_checks import parametrize_with_checks as sklearn_checks

from sparseopt.testing import (
    all_estimators,
    expected_failed_checks,
    parametrize_with_checks,
    parametrize_with_complex_checks,
)

# The checks are for rows that are samples, which images are when they are flattened.
PARAMETERS = {
    "RobustPCACV": {"lams": 3, "n_masks": 2, "random_state": 0},
    "SingleIndexRegressor": {"random_state": 0},
    "SparseObjectSegmenter": {"image_shape": (1, -1)},
    "TensorPCA": {"random_state": 0},
}
ESTIMATORS = [estimator(**PARAMETERS.get(name, {})) for name, estimator in all_estimators()]


@sklearn_checks(ESTIMATORS, expected_failed_checks=expected_failed_checks)
def test_scikit_learn_check(estimator, check):
    assert check(estimator) is None


@parametrize_with_checks(ESTIMATORS)
def test_library_check(estimator, check):
    assert check(type(estimator).__name__, estimator) is None


@parametrize_with_complex_checks(ESTIMATORS)
def test_complex_check(estimator, check):
    assert check(type(estimator).__name__, estimator) is None
