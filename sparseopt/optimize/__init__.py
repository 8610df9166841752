"""Losses, penalties and the solvers that combine them."""

from sparseopt.optimize._coordinate_descent import coordinate_descent
from sparseopt.optimize._losses import SquaredLoss
from sparseopt.optimize._penalties import L1, ElasticNet

__all__ = ["L1", "ElasticNet", "SquaredLoss", "coordinate_descent"]
