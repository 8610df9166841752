"""Weighted greedy and convex sparse linear regression, and single-index models."""

from sparseopt.linear_model._greedy import weighted_omp_path
from sparseopt.linear_model._greedy_delta import greedy_delta
from sparseopt.linear_model._lad_lasso import LADLasso, lad_lasso_path
from sparseopt.linear_model._lad_lasso_cv import LADLassoCV
from sparseopt.linear_model._single_index import SingleIndexRegressor
from sparseopt.linear_model._sparse_logistic import SparseLogisticRegression
from sparseopt.linear_model._sparse_logistic_cv import SparseLogisticRegressionCV
from sparseopt.linear_model._square_root_lasso import (
    SquareRootLasso,
    square_root_lasso,
    square_root_lasso_path,
)
from sparseopt.linear_model._square_root_lasso_cv import SquareRootLassoCV
from sparseopt.linear_model._square_root_solver import InterpolationWarning
from sparseopt.linear_model._weighted_lasso import (
    WeightedLasso,
    WeightedLassoCV,
    weighted_lasso_path,
)
from sparseopt.linear_model._weighted_omp import WeightedOMP
from sparseopt.linear_model._weighted_omp_cv import WeightedOMPCV

__all__ = [
    "InterpolationWarning",
    "LADLasso",
    "LADLassoCV",
    "SingleIndexRegressor",
    "SparseLogisticRegression",
    "SparseLogisticRegressionCV",
    "SquareRootLasso",
    "SquareRootLassoCV",
    "WeightedLasso",
    "WeightedLassoCV",
    "WeightedOMP",
    "WeightedOMPCV",
    "greedy_delta",
    "lad_lasso_path",
    "square_root_lasso",
    "square_root_lasso_path",
    "weighted_lasso_path",
    "weighted_omp_path",
]
