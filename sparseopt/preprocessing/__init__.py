"""Orthogonal-polynomial features, their index sets and their intrinsic weights."""

from sparseopt.preprocessing._index_sets import hyperbolic_cross
from sparseopt.preprocessing._polynomial import OrthogonalPolynomialFeatures, intrinsic_weights

__all__ = ["OrthogonalPolynomialFeatures", "hyperbolic_cross", "intrinsic_weights"]
