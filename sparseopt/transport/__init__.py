"""Entropic optimal transport."""

from sparseopt.transport._distance import wasserstein_distance
from sparseopt.transport._divergence import sinkhorn_divergence
from sparseopt.transport._ot_kernel import OTKernel
from sparseopt.transport._pairwise import pairwise_sinkhorn
from sparseopt.transport._result import OTResult
from sparseopt.transport._sinkhorn import sinkhorn, sinkhorn_newton_sparse
from sparseopt.transport._sinkhorn_transport import SinkhornTransport
from sparseopt.transport._unbalanced import sinkhorn_unbalanced

__all__ = [
    "OTKernel",
    "OTResult",
    "SinkhornTransport",
    "pairwise_sinkhorn",
    "sinkhorn",
    "sinkhorn_divergence",
    "sinkhorn_newton_sparse",
    "sinkhorn_unbalanced",
    "wasserstein_distance",
]
