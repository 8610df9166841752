"""The ground floor: arrays and devices, iteration, results, parallel runs, validation."""

from sparseopt._core._arrays import array_namespace, is_numpy, kernels_for, to_numpy
from sparseopt._core._complex import ComplexSupportMixin, accepts_complex
from sparseopt._core._estimator import FitReporter, fitting
from sparseopt._core._iteration import Progress, Status, describe_end, iterate, scipy_callback
from sparseopt._core._parallel import run_parallel, short_products, spawn_seeds
from sparseopt._core._validation import (
    check_at_least_one,
    check_nonnegative,
    check_penalty_weights,
    check_regression_data,
)

__all__ = [
    "ComplexSupportMixin",
    "FitReporter",
    "Progress",
    "Status",
    "accepts_complex",
    "array_namespace",
    "check_at_least_one",
    "check_nonnegative",
    "check_penalty_weights",
    "check_regression_data",
    "describe_end",
    "fitting",
    "is_numpy",
    "iterate",
    "kernels_for",
    "run_parallel",
    "scipy_callback",
    "short_products",
    "spawn_seeds",
    "to_numpy",
]
