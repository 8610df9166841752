"""Sparse Bayesian learning: supports and their uncertainty from the evidence."""
