"""Generators of the published experiments and of the speed comparisons."""

from sparseopt.datasets._approximation import make_iso_exponential
from sparseopt.datasets._regression import make_correlated_regression, make_text_like_regression
from sparseopt.datasets._sparse_recovery import make_sparse_recovery

__all__ = [
    "make_correlated_regression",
    "make_iso_exponential",
    "make_sparse_recovery",
    "make_text_like_regression",
]
