"""Low-rank and sparse decompositions of matrices, certified."""

from sparseopt.decomposition._shrinkage import (
    effective_rank,
    singular_value_threshold,
    soft_threshold,
)

__all__ = [
    "effective_rank",
    "singular_value_threshold",
    "soft_threshold",
]
