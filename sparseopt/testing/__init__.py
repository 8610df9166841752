"""The checks that every estimator of this library passes."""

from sparseopt.testing._checks import (
    all_estimators,
    check_sparseopt_estimator,
    estimator_checks,
    expected_failed_checks,
    parametrize_with_checks,
)
from sparseopt.testing._complex_checks import complex_checks, parametrize_with_complex_checks

__all__ = [
    "all_estimators",
    "check_sparseopt_estimator",
    "complex_checks",
    "estimator_checks",
    "expected_failed_checks",
    "parametrize_with_checks",
    "parametrize_with_complex_checks",
]
