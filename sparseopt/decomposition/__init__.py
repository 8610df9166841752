"""Low-rank and sparse decompositions of matrices, certified."""

from sparseopt.decomposition._segmentation_metrics import segmentation_metrics
from sparseopt.decomposition._shrinkage import (
    effective_rank,
    singular_value_threshold,
    soft_threshold,
)

__all__ = [
    "effective_rank",
    "segmentation_metrics",
    "singular_value_threshold",
    "soft_threshold",
]
