"""Benchmarks of the sparse linear models: one benchopt folder a problem."""
