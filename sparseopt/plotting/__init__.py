"""Drawings of fitted models."""

from sparseopt.plotting._dag import DAGDisplay

__all__ = ["DAGDisplay"]
