"""Variational Bayes with subspace-constrained covariances: linear and bilinear models."""
