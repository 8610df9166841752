"""Losses, penalties and the solvers that combine them."""

from sparseopt.optimize._coordinate_descent import coordinate_descent
from sparseopt.optimize._losses import (
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    PoissonLoss,
    SquaredLoss,
)
from sparseopt.optimize._penalties import L1, ElasticNet

__all__ = [
    "L1",
    "ElasticNet",
    "HuberLoss",
    "LogisticLoss",
    "MultinomialLoss",
    "PoissonLoss",
    "SquaredLoss",
    "coordinate_descent",
]
