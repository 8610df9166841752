"""Losses, penalties and the solvers that combine them."""

from sparseopt.optimize._block_coordinate_descent import block_coordinate_descent
from sparseopt.optimize._coordinate_descent import coordinate_descent
from sparseopt.optimize._graphs import (
    color_graph,
    forest_solve,
    greedy_forest,
    tree_partition,
)
from sparseopt.optimize._langevin import langevin_average
from sparseopt.optimize._losses import (
    HuberLoss,
    LogisticLoss,
    MultinomialLoss,
    PoissonLoss,
    SquaredLoss,
)
from sparseopt.optimize._penalties import L1, Box, ElasticNet, GroupL2, NonNegative
from sparseopt.optimize._sgd_average import sgd_average
from sparseopt.optimize._tree_descent import GraphQuadratic, tree_block_descent

__all__ = [
    "L1",
    "Box",
    "ElasticNet",
    "GraphQuadratic",
    "GroupL2",
    "HuberLoss",
    "LogisticLoss",
    "MultinomialLoss",
    "NonNegative",
    "PoissonLoss",
    "SquaredLoss",
    "block_coordinate_descent",
    "color_graph",
    "coordinate_descent",
    "forest_solve",
    "greedy_forest",
    "langevin_average",
    "sgd_average",
    "tree_block_descent",
    "tree_partition",
]
