"""Weighted greedy and convex sparse linear regression."""

from sparseopt.linear_model._weighted_lasso import (
    WeightedLasso,
    WeightedLassoCV,
    weighted_lasso_path,
)

__all__ = ["WeightedLasso", "WeightedLassoCV", "weighted_lasso_path"]
