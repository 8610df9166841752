"""Compiled loops of the solvers in :mod:`sparseopt.optimize`."""
