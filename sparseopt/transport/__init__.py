"""Entropic optimal transport."""

from sparseopt.transport._result import OTResult
from sparseopt.transport._sinkhorn import sinkhorn, sinkhorn_newton_sparse

__all__ = ["OTResult", "sinkhorn", "sinkhorn_newton_sparse"]
