"""The checks that every estimator of this library passes."""

from sparseopt.testing._checks import (
    all_estimators,
    check_sparseopt_estimator,
    estimator_checks,
    expected_failed_checks,
    parametrize_with_checks,
)

__all__ = [
    "all_estimators",
    "check_sparseopt_estimator",
    "estimator_checks",
    "expected_failed_checks",
    "parametrize_with_checks",
]
