"""Sparse Bayesian learning: supports and their uncertainty from the evidence."""

from sparseopt.sparse_bayes._kronecker_dictionary import KroneckerDictionary
from sparseopt.sparse_bayes._kronecker_omp import KroneckerOMP
from sparseopt.sparse_bayes._kronecker_sbl import KroneckerSBL
from sparseopt.sparse_bayes._metrics import nmse, support_recovery_rate
from sparseopt.sparse_bayes._sparse_bayes_function import sparse_bayes
from sparseopt.sparse_bayes._sparse_bayes_regressor import SparseBayesRegressor
from sparseopt.sparse_bayes._sparse_bayes_regressor_cv import SparseBayesRegressorCV
from sparseopt.sparse_bayes._variational._bilinear_subspace_vbi import BilinearSubspaceVBI
from sparseopt.sparse_bayes._variational._dictionary import FactoredDictionary
from sparseopt.sparse_bayes._variational._gradient_check import check_dictionary_gradient
from sparseopt.sparse_bayes._variational._structured_support import (
    GridMRFSupport,
    MarkovChainSupport,
)
from sparseopt.sparse_bayes._variational._subspace_vbi import SubspaceVBIRegressor
from sparseopt.sparse_bayes._variational._support_priors import IndependentSupport, JointSupport

__all__ = [
    "BilinearSubspaceVBI",
    "FactoredDictionary",
    "GridMRFSupport",
    "IndependentSupport",
    "JointSupport",
    "KroneckerDictionary",
    "KroneckerOMP",
    "KroneckerSBL",
    "MarkovChainSupport",
    "SparseBayesRegressor",
    "SparseBayesRegressorCV",
    "SubspaceVBIRegressor",
    "check_dictionary_gradient",
    "nmse",
    "sparse_bayes",
    "support_recovery_rate",
]
