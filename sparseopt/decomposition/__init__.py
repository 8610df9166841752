"""Low-rank and sparse decompositions of matrices, certified; rank-one parts of noisy tensors."""

from sparseopt.decomposition._implicit_tensor import FactoredTensor, TensorOperator
from sparseopt.decomposition._online_robust_pca import OnlineRobustPCA
from sparseopt.decomposition._robust_pca import RobustPCA
from sparseopt.decomposition._robust_pca_cv import RobustPCACV
from sparseopt.decomposition._robust_pca_function import robust_pca
from sparseopt.decomposition._robust_pca_path import robust_pca_path
from sparseopt.decomposition._segmentation_metrics import segmentation_metrics
from sparseopt.decomposition._segmenter import SparseObjectSegmenter
from sparseopt.decomposition._shrinkage import (
    effective_rank,
    singular_value_threshold,
    soft_threshold,
)
from sparseopt.decomposition._tensor_pca import TensorPCA

__all__ = [
    "FactoredTensor",
    "OnlineRobustPCA",
    "RobustPCA",
    "RobustPCACV",
    "SparseObjectSegmenter",
    "TensorOperator",
    "TensorPCA",
    "effective_rank",
    "robust_pca",
    "robust_pca_path",
    "segmentation_metrics",
    "singular_value_threshold",
    "soft_threshold",
]
