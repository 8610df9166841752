"""Weighted greedy and convex sparse linear regression."""

__all__: list[str] = []
