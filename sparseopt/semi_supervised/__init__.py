"""Estimators that learn from labelled and unlabelled samples."""

from sparseopt.semi_supervised._label_propagation import GraphLabelPropagation

__all__ = ["GraphLabelPropagation"]
