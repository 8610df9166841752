"""Comparisons of bilinear subspace variational Bayes with simpler methods and costlier forms."""
